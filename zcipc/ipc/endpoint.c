// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints: life, death, and look-up.
 *
 * An endpoint dies when its address space does or its file is released, whichever comes first: a
 * child that inherited the file descriptor must not keep what was sent to its parent, and nor must
 * what a process executes later. An endpoint stays in memory until the last reference is gone.
 *
 * What is mapped from an endpoint tells of the end of the address space, when it is closed. Of an
 * endpoint that has nothing mapped for a while an MMU notifier does, which all of an address space
 * have in common. Not of all: whoever has one pays for it each time that anything is unmapped.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mmu_notifier.h>
#include <linux/pid_namespace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "base/counters.h"
#include "base/limits.h"
#include "base/test.h"
#include "base/trace.h"
#include "mem/account.h"
#include "mem/recycle.h"
#include "map/space.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/notify.h"
#include "ipc/policy.h"
#include "ipc/queue.h"
#include "ipc/room.h"

/* What one takes, with its file, its inode, and what watches its address space. */
#define ZCIPC_ENDPOINT_BYTES	(kmalloc_size_roundup(sizeof(struct zcipc_endpoint)) + SZ_1K)

/* All live endpoints by id. */
static DEFINE_XARRAY(zcipc_endpoints);
static atomic64_t zcipc_last_endpoint;

/* What files of endpoints have. */
static const struct file_operations *zcipc_endpoint_fops;

/* An endpoint has so long to map something. */
#define ZCIPC_WATCH_DELAY	(HZ / 4)

/**
 * struct zcipc_mm - an address space with endpoints that nothing is mapped from
 * @notifier: tells when it ends; a reference for each endpoint that has ever been such a one
 * @lock: protects @endpoints
 * @endpoints: which are these, if they are not dead
 */
struct zcipc_mm {
	struct mmu_notifier notifier;
	struct mutex lock; /* protects endpoints */
	struct list_head endpoints;
};

/* An endpoint that is not dead, with a reference, or NULL. */
static struct zcipc_endpoint *zcipc_mm_first(struct zcipc_mm *zmm)
{
	struct zcipc_endpoint *ep;

	mutex_lock(&zmm->lock);
	ep = list_first_entry_or_null(&zmm->endpoints, struct zcipc_endpoint, mm_entry);
	if (ep) {
		kref_get(&ep->kref);
		list_del_init(&ep->mm_entry);
	}
	mutex_unlock(&zmm->lock);
	return ep;
}

/*
 * The address space ends: by exit or exec of the last one who used it. Files may live on, in other
 * processes or in what has been executed.
 */
static void zcipc_mm_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct zcipc_mm *zmm = container_of(notifier, struct zcipc_mm, notifier);
	struct zcipc_endpoint *ep;

	while ((ep = zcipc_mm_first(zmm))) {
		zcipc_endpoint_shutdown(ep);
		zcipc_endpoint_put(ep);
	}
}

static struct mmu_notifier *zcipc_mm_alloc(struct mm_struct *mm)
{
	struct zcipc_mm *zmm = kzalloc(sizeof(*zmm), GFP_KERNEL);

	if (!zmm)
		return ERR_PTR(-ENOMEM);
	mutex_init(&zmm->lock);
	INIT_LIST_HEAD(&zmm->endpoints);
	return &zmm->notifier;
}

static void zcipc_mm_free(struct mmu_notifier *notifier)
{
	kfree(container_of(notifier, struct zcipc_mm, notifier));
}

static const struct mmu_notifier_ops zcipc_mm_ops = {
	.release = zcipc_mm_release,
	.alloc_notifier = zcipc_mm_alloc,
	.free_notifier = zcipc_mm_free,
};

/*
 * Has an endpoint told when its address space ends, which somebody uses. Returns false if that is
 * to be tried again: nobody waits for whoever has the mmap_lock.
 */
static bool zcipc_mm_watch(struct zcipc_endpoint *ep)
{
	struct mmu_notifier *notifier;
	struct zcipc_mm *zmm;

	if (rwsem_is_locked(&ep->space.mm->mmap_lock))
		return false;
	notifier = mmu_notifier_get(&zcipc_mm_ops, ep->space.mm);
	if (IS_ERR(notifier))
		return false;
	zmm = container_of(notifier, struct zcipc_mm, notifier);
	mutex_lock(&ep->space.lock);
	ep->zmm = zmm;
	if (!ep->space.dead) {
		mutex_lock(&zmm->lock);
		list_add_tail(&ep->mm_entry, &zmm->endpoints);
		mutex_unlock(&zmm->lock);
	}
	mutex_unlock(&ep->space.lock);
	return true;
}

/* Not of one that is dead: its shutdown sees to it that nothing is queued, or will be. */
static void zcipc_endpoint_watch_soon(struct zcipc_endpoint *ep)
{
	mutex_lock(&ep->space.lock);
	kref_get(&ep->kref);
	if (ep->space.dead || ep->zmm ||
	    !queue_delayed_work(zcipc_workers, &ep->watch, ZCIPC_WATCH_DELAY))
		zcipc_endpoint_put(ep);
	mutex_unlock(&ep->space.lock);
}

/* An endpoint has existed for a while, or something of it has been unmapped. */
static void zcipc_endpoint_watch(struct work_struct *work)
{
	struct zcipc_endpoint *ep = container_of(to_delayed_work(work), struct zcipc_endpoint,
						 watch);

	if (!mmget_not_zero(ep->space.mm)) {
		zcipc_endpoint_shutdown(ep);
	} else {
		/* What is mapped from it has its inode, but for views, which do not count. */
		if (!READ_ONCE(ep->space.dead) && !ep->zmm &&
		    !mapping_mapped(ep->space.inode->i_mapping) && !zcipc_mm_watch(ep))
			zcipc_endpoint_watch_soon(ep);
		/* If it ends with this, others do not wait for that. */
		mmput_async(ep->space.mm);
	}
	zcipc_endpoint_put(ep);
}

/*
 * Something that was mapped from an endpoint is closed. If the address space goes away, the
 * endpoint does, although a child may keep the file open.
 */
static void zcipc_endpoint_closed(struct zcipc_space *space)
{
	struct zcipc_endpoint *ep = container_of(space, struct zcipc_endpoint, space);

	if (!atomic_read(&space->mm->mm_users))
		zcipc_endpoint_shutdown(ep);
	else
		zcipc_endpoint_watch_soon(ep);
}

static void zcipc_endpoint_changed(struct zcipc_space *space)
{
	zcipc_endpoint_wake_all(container_of(space, struct zcipc_endpoint, space));
}

static const struct zcipc_space_ops zcipc_endpoint_space_ops = {
	.changed = zcipc_endpoint_changed,
	.closed = zcipc_endpoint_closed,
	.unplaced = zcipc_cap_unplaced,
	.emptied = zcipc_cap_emptied,
};

/**
 * zcipc_endpoint_create() - an endpoint for the current process
 *
 * Context: May sleep.
 * Return: the endpoint with one reference, or -EDQUOT, -ENOMEM
 */
struct zcipc_endpoint *zcipc_endpoint_create(void)
{
	struct zcipc_endpoint *ep;
	int ret;

	ep = kzalloc(sizeof(*ep), GFP_KERNEL_ACCOUNT);
	if (!ep)
		return ERR_PTR(-ENOMEM);
	kref_init(&ep->kref);
	INIT_LIST_HEAD(&ep->messages);
	init_waitqueue_head(&ep->recv_wait);
	init_waitqueue_head(&ep->room_wait);
	ep->queue_depth = ZCIPC_MAX_MESSAGES;

	ret = zcipc_space_begin(&ep->space, &zcipc_endpoint_space_ops);
	if (ret)
		goto err_free;
	ret = -ENOMEM;
	ep->space.user = zcipc_user_get();
	if (!ep->space.user)
		goto err_space;
	zcipc_recycle_begin(&ep->kept, ep->space.user);
	ret = zcipc_charge_overhead(ep->space.user, ZCIPC_ENDPOINT_BYTES);
	if (ret)
		goto err_user;
	INIT_DELAYED_WORK(&ep->watch, zcipc_endpoint_watch);
	INIT_LIST_HEAD(&ep->mm_entry);
	ep->cred = get_current_cred();
	ep->pid = get_pid(task_tgid(current));
	ep->node = numa_mem_id();
	ep->pin_limit = zcipc_pin_limit();
	ep->space.mm = current->mm;
	mmgrab(ep->space.mm);
	ep->space.id = atomic64_inc_return(&zcipc_last_endpoint);
	zcipc_stat_inc(ENDPOINTS);
	ret = xa_err(xa_store(&zcipc_endpoints, ep->space.id, ep, GFP_KERNEL_ACCOUNT));
	if (ret) {
		zcipc_endpoint_put(ep);
		return ERR_PTR(ret);
	}
	zcipc_endpoint_watch_soon(ep);
	return ep;

err_user:
	zcipc_user_put(ep->space.user);
err_space:
	zcipc_space_end(&ep->space);
err_free:
	kfree(ep);
	return ERR_PTR(ret);
}

static void zcipc_endpoint_free(struct kref *kref)
{
	struct zcipc_endpoint *ep = container_of(kref, struct zcipc_endpoint, kref);

	WARN_ON_ONCE(ep->ncaps || !list_empty(&ep->messages));
	zcipc_cap_free_table(ep);
	zcipc_notice_release(ep, ep->spare);
	zcipc_space_end(&ep->space);
	if (ep->zmm)
		mmu_notifier_put(&ep->zmm->notifier);
	zcipc_policy_end(ep);
	put_cred(ep->cred);
	put_pid(ep->pid);
	mmdrop(ep->space.mm);
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_ENDPOINT_BYTES);
	zcipc_user_put(ep->space.user);
	kfree_rcu(ep, rcu);
	zcipc_stat_dec(ENDPOINTS);
}

void zcipc_endpoint_put(struct zcipc_endpoint *ep)
{
	kref_put(&ep->kref, zcipc_endpoint_free);
}

/**
 * zcipc_endpoint_get() - find a peer
 * @id: endpoint id
 *
 * Return: the endpoint with a reference, or -ESRCH if it is dead, -ENOENT if it never was
 */
struct zcipc_endpoint *zcipc_endpoint_get(u64 id)
{
	struct zcipc_endpoint *ep;

	rcu_read_lock();
	ep = xa_load(&zcipc_endpoints, id);
	if (ep && !kref_get_unless_zero(&ep->kref))
		ep = NULL;
	rcu_read_unlock();
	if (ep)
		return ep;
	return ERR_PTR(id && id <= atomic64_read(&zcipc_last_endpoint) ? -ESRCH : -ENOENT);
}

/**
 * zcipc_endpoint_get_fd() - find a peer by one of the caller's file descriptors
 * @fd: what user space gave
 *
 * Return: the endpoint with a reference, which may be dead, or -EBADF
 */
struct zcipc_endpoint *zcipc_endpoint_get_fd(u64 fd)
{
	struct zcipc_endpoint *ep = ERR_PTR(-EBADF);
	struct file *file = fd <= INT_MAX ? fget(fd) : NULL;

	if (!file)
		return ep;
	if (file->f_op == zcipc_endpoint_fops) {
		ep = file->private_data;
		kref_get(&ep->kref);
	}
	fput(file);
	return ep;
}

/**
 * zcipc_endpoint_shutdown() - everything comes to an end
 * @ep: the endpoint. Only the first call does something.
 *
 * What was moved to the endpoint and not received goes back to the senders, all else is dropped.
 *
 * Context: May sleep. The caller may hold the mmap_lock of the endpoint's own mm if nobody uses
 * that any more.
 */
void zcipc_endpoint_shutdown(struct zcipc_endpoint *ep)
{
	struct zcipc_mm *zmm;
	bool first;

	mutex_lock(&ep->space.lock);
	first = !ep->space.dead;
	WRITE_ONCE(ep->space.dead, true);
	zmm = ep->zmm;
	mutex_unlock(&ep->space.lock);
	if (!first)
		return;
	if (cancel_delayed_work(&ep->watch))
		zcipc_endpoint_put(ep);
	if (zmm) {
		mutex_lock(&zmm->lock);
		list_del_init(&ep->mm_entry);
		mutex_unlock(&zmm->lock);
	}
	xa_erase(&zcipc_endpoints, ep->space.id);
	wake_up_all(&ep->recv_wait);
	wake_up_all(&ep->room_wait);
	zcipc_test_point("shutdown");

	zcipc_message_return_all(ep);
	mutex_lock(&ep->space.lock);
	zcipc_cap_remove_all(ep);
	mutex_unlock(&ep->space.lock);
	zcipc_recycle_end(&ep->kept);
}

/* Counts a call of a type, to whom the caller says, that failed. No lock is held. */
void zcipc_endpoint_failed(struct zcipc_endpoint *sender, u64 peer, u32 type, int error)
{
	/* What a signal interrupts is not over. */
	unsigned int errnum = error == -ERESTARTSYS ? EINTR : -error;

	trace_zcipc_fail(sender->space.id, peer, type, -(int)errnum);
	mutex_lock(&sender->space.lock);
	zcipc_count(&sender->space, NULL, FAILURES, 1);
	mutex_unlock(&sender->space.lock);
	if (errnum < ZCIPC_STATS_ERRORS)
		this_cpu_inc(zcipc_stats.errors[errnum]);
}

/* The next endpoint of a process (NULL: of any), from an id on, with a reference, or NULL. */
struct zcipc_endpoint *zcipc_endpoint_next(const struct pid *pid, unsigned long *id)
{
	struct zcipc_endpoint *ep;

	rcu_read_lock();
	xa_for_each_start(&zcipc_endpoints, *id, ep, *id)
		if ((!pid || ep->pid == pid) && kref_get_unless_zero(&ep->kref))
			break;
	rcu_read_unlock();
	return ep;
}

int zcipc_endpoint_init(const struct file_operations *fops)
{
	zcipc_endpoint_fops = fops;
	return zcipc_space_init();
}

void zcipc_endpoint_exit(void)
{
	zcipc_space_exit();
	/* Notifiers of address spaces are freed some time after the last reference is gone. */
	mmu_notifier_synchronize();
	WARN_ON_ONCE(!xa_empty(&zcipc_endpoints));
	/* The last endpoints may still be waiting for kfree_rcu(), which needs nothing of ours. */
}

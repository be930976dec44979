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
#include <linux/mount.h>
#include <linux/pid_namespace.h>
#include <linux/pseudo_fs.h>
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
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/notify.h"
#include "ipc/policy.h"
#include "ipc/queue.h"

/* What one takes, with its file, its inode, and what watches its address space. */
#define ZCIPC_ENDPOINT_BYTES	(kmalloc_size_roundup(sizeof(struct zcipc_endpoint)) + SZ_1K)

/* All live endpoints by id. */
static DEFINE_XARRAY(zcipc_endpoints);
static atomic64_t zcipc_last_endpoint;

static struct vfsmount *zcipc_mnt;

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

	if (rwsem_is_locked(&ep->mm->mmap_lock))
		return false;
	notifier = mmu_notifier_get(&zcipc_mm_ops, ep->mm);
	if (IS_ERR(notifier))
		return false;
	zmm = container_of(notifier, struct zcipc_mm, notifier);
	mutex_lock(&ep->lock);
	ep->zmm = zmm;
	if (!ep->dead) {
		mutex_lock(&zmm->lock);
		list_add_tail(&ep->mm_entry, &zmm->endpoints);
		mutex_unlock(&zmm->lock);
	}
	mutex_unlock(&ep->lock);
	return true;
}

/* Not of one that is dead: its shutdown sees to it that nothing is queued, or will be. */
static void zcipc_endpoint_watch_soon(struct zcipc_endpoint *ep)
{
	mutex_lock(&ep->lock);
	kref_get(&ep->kref);
	if (ep->dead || ep->zmm ||
	    !queue_delayed_work(zcipc_workers, &ep->watch, ZCIPC_WATCH_DELAY))
		zcipc_endpoint_put(ep);
	mutex_unlock(&ep->lock);
}

/* An endpoint has existed for a while, or something of it has been unmapped. */
static void zcipc_endpoint_watch(struct work_struct *work)
{
	struct zcipc_endpoint *ep = container_of(to_delayed_work(work), struct zcipc_endpoint,
						 watch);

	if (!mmget_not_zero(ep->mm)) {
		zcipc_endpoint_shutdown(ep);
	} else {
		/* What is mapped from it has its inode, but for views, which do not count. */
		if (!READ_ONCE(ep->dead) && !ep->zmm && !mapping_mapped(ep->inode->i_mapping) &&
		    !zcipc_mm_watch(ep))
			zcipc_endpoint_watch_soon(ep);
		/* If it ends with this, others do not wait for that. */
		mmput_async(ep->mm);
	}
	zcipc_endpoint_put(ep);
}

/**
 * zcipc_endpoint_unmapped() - something that was mapped from an endpoint is closed
 * @ep: the endpoint, whose lock is not held
 * @vma: the VMA that showed it
 *
 * If the address space goes away, the endpoint does, although a child may keep the file open.
 */
void zcipc_endpoint_unmapped(struct zcipc_endpoint *ep, const struct vm_area_struct *vma)
{
	if (vma->vm_mm != ep->mm)
		return;
	if (!atomic_read(&ep->mm->mm_users))
		zcipc_endpoint_shutdown(ep);
	else
		zcipc_endpoint_watch_soon(ep);
}

/**
 * zcipc_endpoint_create() - an endpoint for the current process
 *
 * Context: May sleep.
 * Return: the endpoint with one reference, or -EDQUOT, -ENOMEM
 */
struct zcipc_endpoint *zcipc_endpoint_create(void)
{
	struct zcipc_endpoint *ep;
	int ret = -ENOMEM;

	ep = kzalloc(sizeof(*ep), GFP_KERNEL_ACCOUNT);
	if (!ep)
		return ERR_PTR(-ENOMEM);
	kref_init(&ep->kref);
	mutex_init(&ep->lock);
	mutex_init(&ep->adopt_lock);
	init_rwsem(&ep->hide_lock);
	ep->slots = RB_ROOT;
	INIT_LIST_HEAD(&ep->messages);
	init_waitqueue_head(&ep->recv_wait);
	init_waitqueue_head(&ep->room_wait);
	ep->queue_depth = ZCIPC_MAX_MESSAGES;

	ep->inode = alloc_anon_inode(zcipc_mnt->mnt_sb);
	if (IS_ERR(ep->inode)) {
		ret = PTR_ERR(ep->inode);
		goto err_free;
	}
	i_size_write(ep->inode, MAX_LFS_FILESIZE);
	ret = -ENOMEM;
	ep->user = zcipc_user_get();
	if (!ep->user)
		goto err_inode;
	zcipc_recycle_begin(&ep->kept, ep->user);
	ret = zcipc_charge_overhead(ep->user, ZCIPC_ENDPOINT_BYTES);
	if (ret)
		goto err_user;
	INIT_DELAYED_WORK(&ep->watch, zcipc_endpoint_watch);
	INIT_LIST_HEAD(&ep->mm_entry);
	ep->cred = get_current_cred();
	ep->pid = get_pid(task_tgid(current));
	ep->node = numa_mem_id();
	ep->pin_limit = zcipc_pin_limit();
	ep->mm = current->mm;
	mmgrab(ep->mm);
	ep->id = atomic64_inc_return(&zcipc_last_endpoint);
	zcipc_stat_inc(ENDPOINTS);
	ret = xa_err(xa_store(&zcipc_endpoints, ep->id, ep, GFP_KERNEL_ACCOUNT));
	if (ret) {
		zcipc_endpoint_put(ep);
		return ERR_PTR(ret);
	}
	zcipc_endpoint_watch_soon(ep);
	return ep;

err_user:
	zcipc_user_put(ep->user);
err_inode:
	iput(ep->inode);
err_free:
	kfree(ep);
	return ERR_PTR(ret);
}

static void zcipc_endpoint_free(struct kref *kref)
{
	struct zcipc_endpoint *ep = container_of(kref, struct zcipc_endpoint, kref);
	int i;

	WARN_ON_ONCE(ep->ncaps || !RB_EMPTY_ROOT(&ep->slots) ||
		     !list_empty(&ep->messages));
	zcipc_cap_free_table(ep);
	zcipc_notice_release(ep, ep->spare);
	for (i = 0; i < ZCIPC_WINDOW_MAX; i++)
		zcipc_window_end(ep, &ep->windows[i]);
	if (ep->zmm)
		mmu_notifier_put(&ep->zmm->notifier);
	zcipc_policy_end(ep);
	put_cred(ep->cred);
	put_pid(ep->pid);
	mmdrop(ep->mm);
	iput(ep->inode);
	zcipc_uncharge_overhead(ep->user, ZCIPC_ENDPOINT_BYTES);
	zcipc_user_put(ep->user);
	kfree_rcu(ep, rcu);
	zcipc_stat_dec(ENDPOINTS);
}

void zcipc_endpoint_put(struct zcipc_endpoint *ep)
{
	kref_put(&ep->kref, zcipc_endpoint_free);
}

/* Is it dead, or its address space gone, so that it is about to be shut down, or should be? */
bool zcipc_endpoint_gone(const struct zcipc_endpoint *ep)
{
	return READ_ONCE(ep->dead) || !atomic_read(&ep->mm->mm_users);
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

	mutex_lock(&ep->lock);
	first = !ep->dead;
	WRITE_ONCE(ep->dead, true);
	zmm = ep->zmm;
	mutex_unlock(&ep->lock);
	if (!first)
		return;
	if (cancel_delayed_work(&ep->watch))
		zcipc_endpoint_put(ep);
	if (zmm) {
		mutex_lock(&zmm->lock);
		list_del_init(&ep->mm_entry);
		mutex_unlock(&zmm->lock);
	}
	xa_erase(&zcipc_endpoints, ep->id);
	wake_up_all(&ep->recv_wait);
	wake_up_all(&ep->room_wait);
	zcipc_test_point("shutdown");

	zcipc_message_return_all(ep);
	mutex_lock(&ep->lock);
	zcipc_cap_remove_all(ep);
	mutex_unlock(&ep->lock);
	zcipc_recycle_end(&ep->kept);
}

/* Takes the locks of two endpoints, which may be the same, in the order that everybody does. */
void zcipc_endpoints_lock(struct zcipc_endpoint *a, struct zcipc_endpoint *b)
{
	if (a->id > b->id)
		swap(a, b);
	mutex_lock(&a->lock);
	if (a != b)
		mutex_lock_nested(&b->lock, SINGLE_DEPTH_NESTING);
}

void zcipc_endpoints_unlock(struct zcipc_endpoint *a, struct zcipc_endpoint *b)
{
	mutex_unlock(&a->lock);
	if (a != b)
		mutex_unlock(&b->lock);
}

/* zcipc_region_lock(), of one that somebody else has locked. */
void zcipc_region_wait(struct zcipc_region *region, struct zcipc_endpoint *ep,
		       struct zcipc_endpoint *other)
{
	zcipc_region_get(region);
	zcipc_endpoints_unlock(ep, other);
	mutex_lock(&region->lock);
	zcipc_endpoints_lock(ep, other);
}

/* Counts a call of a type, to whom the caller says, that failed. No lock is held. */
void zcipc_endpoint_failed(struct zcipc_endpoint *sender, u64 peer, u32 type, int error)
{
	/* What a signal interrupts is not over. */
	unsigned int errnum = error == -ERESTARTSYS ? EINTR : -error;

	trace_zcipc_fail(sender->id, peer, type, -(int)errnum);
	mutex_lock(&sender->lock);
	zcipc_count(sender, NULL, FAILURES, 1);
	mutex_unlock(&sender->lock);
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

static int zcipc_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, 0x7a636970) ? 0 : -ENOMEM;
}

/* No owner: the mount would keep the module from being unloaded. Open files do. */
static struct file_system_type zcipc_fs_type = {
	.name = "zcipc",
	.init_fs_context = zcipc_init_fs_context,
	.kill_sb = kill_anon_super,
};

/* A file that is nobody's yet, of an endpoint's own inode, or an errno. */
struct file *zcipc_endpoint_file(struct zcipc_endpoint *ep, int flags,
				 const struct file_operations *fops)
{
	struct file *file;

	ihold(ep->inode);
	file = alloc_file_pseudo(ep->inode, zcipc_mnt, "zcipc", flags, fops);
	if (IS_ERR(file))
		iput(ep->inode);
	return file;
}

int zcipc_endpoint_init(const struct file_operations *fops)
{
	zcipc_endpoint_fops = fops;
	zcipc_mnt = kern_mount(&zcipc_fs_type);
	return PTR_ERR_OR_ZERO(zcipc_mnt);
}

void zcipc_endpoint_exit(void)
{
	kern_unmount(zcipc_mnt);
	/* Notifiers of address spaces are freed some time after the last reference is gone. */
	mmu_notifier_synchronize();
	WARN_ON_ONCE(!xa_empty(&zcipc_endpoints));
	/* The last endpoints may still be waiting for kfree_rcu(), which needs nothing of ours. */
}

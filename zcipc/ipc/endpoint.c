// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints: life, death, look-up, and who accepts whom.
 *
 * An endpoint dies when its address space does or its file is released, whichever comes first: a
 * child that inherited the file descriptor must not keep what was sent to its parent, and nor must
 * what a process executes later. An endpoint stays in memory until the last reference is gone.
 *
 * What is mapped from an endpoint tells of the end of the address space, when it is closed. Of an
 * endpoint that has nothing mapped for a while an MMU notifier does, which all of an address space
 * have in common. Not of all: whoever has one pays for it each time that anything is unmapped.
 */
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

#include "base/trace.h"
#include "zcipc.h"

/* What one takes, with its file, its inode, and what watches its address space. */
#define ZCIPC_ENDPOINT_BYTES	(kmalloc_size_roundup(sizeof(struct zcipc_endpoint)) + SZ_1K)

/**
 * struct zcipc_accept - whom an endpoint accepts
 * @rcu: for kfree_rcu()
 * @policy: enum zcipc_policy
 * @n: number of @ids
 * @ids: for ZCIPC_POLICY_LISTED
 */
struct zcipc_accept {
	struct rcu_head rcu;
	u32 policy;
	u32 n;
	u64 ids[];
};

/* All live endpoints by id. */
static DEFINE_XARRAY(zcipc_endpoints);
static atomic64_t zcipc_last_endpoint;

static struct vfsmount *zcipc_mnt;

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
	INIT_LIST_HEAD(&ep->kept);
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

static size_t zcipc_accept_size(const struct zcipc_accept *accept)
{
	return kmalloc_size_roundup(struct_size(accept, ids, accept->n));
}

/* Frees what may still be looked at under RCU, or NULL. */
static void zcipc_accept_free(struct zcipc_endpoint *ep, struct zcipc_accept *accept)
{
	if (!accept)
		return;
	zcipc_uncharge_overhead(ep->user, zcipc_accept_size(accept));
	kfree_rcu(accept, rcu);
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
	zcipc_accept_free(ep, rcu_dereference_protected(ep->accept, true));
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
	zcipc_recycle_end(ep);
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

static bool zcipc_endpoint_lists(const struct zcipc_accept *accept, u64 id)
{
	u32 i;

	for (i = 0; i < accept->n; i++)
		if (accept->ids[i] == id)
			return true;
	return false;
}

static bool zcipc_endpoint_same_user(const struct zcipc_endpoint *ep,
				     const struct zcipc_endpoint *sender)
{
	return uid_eq(ep->cred->euid, sender->cred->euid) &&
	       ep->cred->user_ns == sender->cred->user_ns;
}

/**
 * zcipc_endpoint_accepts() - does an endpoint take what a sender transfers to it?
 * @ep: the endpoint
 * @sender: the sender
 *
 * Credentials are those at open(). As long as the endpoint's lock is held the answer holds.
 */
bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender)
{
	const struct zcipc_accept *accept;
	bool yes;

	if (ep == sender)
		return true;
	if (!rcu_access_pointer(ep->accept))
		return zcipc_endpoint_same_user(ep, sender);
	rcu_read_lock();
	accept = rcu_dereference(ep->accept);
	if (!accept)
		yes = zcipc_endpoint_same_user(ep, sender);
	else if (accept->policy == ZCIPC_POLICY_LISTED)
		yes = zcipc_endpoint_lists(accept, sender->id);
	else
		yes = accept->policy == ZCIPC_POLICY_ANY;
	rcu_read_unlock();
	return yes;
}

/* What a call wants the policy to be: NULL for ZCIPC_POLICY_USER. */
static struct zcipc_accept *zcipc_accept_alloc(struct zcipc_endpoint *ep,
					       const struct zcipc_endpoint_config *cmd)
{
	u32 n = cmd->policy == ZCIPC_POLICY_LISTED ? cmd->nsenders : 0;
	struct zcipc_accept *accept;
	int ret;

	if (cmd->policy == ZCIPC_POLICY_USER)
		return NULL;
	if (cmd->policy > ZCIPC_POLICY_ANY || n > ZCIPC_MAX_SENDERS)
		return ERR_PTR(-EINVAL);
	accept = kzalloc(struct_size(accept, ids, n), GFP_KERNEL_ACCOUNT);
	if (!accept)
		return ERR_PTR(-ENOMEM);
	accept->policy = cmd->policy;
	accept->n = n;
	ret = zcipc_charge_overhead(ep->user, zcipc_accept_size(accept));
	if (ret) {
		kfree(accept);
		return ERR_PTR(ret);
	}
	if (copy_from_user(accept->ids, u64_to_user_ptr(cmd->senders),
			   array_size(n, sizeof(*accept->ids)))) {
		zcipc_accept_free(ep, accept);
		return ERR_PTR(-EFAULT);
	}
	return accept;
}

/**
 * zcipc_endpoint_config() - ZCIPC_IOC_ENDPOINT_CONFIG
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_endpoint_config
 */
int zcipc_endpoint_config(struct zcipc_ucmd *ucmd)
{
	struct zcipc_endpoint_config *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_accept *accept = NULL;
	u32 flags = cmd->flags;
	int ret;

	if (flags & ~(ZCIPC_CONFIG_NAME | ZCIPC_CONFIG_POLICY | ZCIPC_CONFIG_DEPTH |
		      ZCIPC_CONFIG_FULL | ZCIPC_CONFIG_UNRECEIVED))
		return -EOPNOTSUPP;
	if (cmd->__reserved)
		return -EINVAL;
	if (flags & ZCIPC_CONFIG_NAME && !memchr(cmd->name, 0, sizeof(cmd->name)))
		return -EINVAL;
	if (flags & ZCIPC_CONFIG_DEPTH &&
	    (!cmd->queue_depth || cmd->queue_depth > ZCIPC_MAX_MESSAGES))
		return -EINVAL;
	if (flags & ZCIPC_CONFIG_FULL && cmd->full > ZCIPC_FULL_FAIL)
		return -EINVAL;
	if (flags & ZCIPC_CONFIG_UNRECEIVED && cmd->unreceived > ZCIPC_UNRECEIVED_FREE)
		return -EINVAL;
	ret = zcipc_ucmd_probe(ucmd);
	if (ret)
		return ret;
	if (flags & ZCIPC_CONFIG_POLICY) {
		accept = zcipc_accept_alloc(ep, cmd);
		if (IS_ERR(accept))
			return PTR_ERR(accept);
	}

	mutex_lock(&ep->lock);
	if (flags & ZCIPC_CONFIG_NAME)
		strscpy_pad(ep->name, cmd->name, sizeof(ep->name));
	if (flags & ZCIPC_CONFIG_DEPTH)
		ep->queue_depth = cmd->queue_depth;
	if (flags & ZCIPC_CONFIG_FULL)
		WRITE_ONCE(ep->full, cmd->full);
	if (flags & ZCIPC_CONFIG_UNRECEIVED)
		WRITE_ONCE(ep->unreceived, cmd->unreceived);
	if (flags & ZCIPC_CONFIG_POLICY) {
		struct zcipc_accept *old = rcu_dereference_protected(ep->accept, true);

		rcu_assign_pointer(ep->accept, accept);
		zcipc_accept_free(ep, old);
	}
	accept = rcu_dereference_protected(ep->accept, true);
	cmd->policy = accept ? accept->policy : ZCIPC_POLICY_USER;
	cmd->nsenders = accept ? accept->n : 0;
	cmd->queue_depth = ep->queue_depth;
	cmd->full = ep->full;
	cmd->unreceived = ep->unreceived;
	memcpy(cmd->name, ep->name, sizeof(cmd->name));
	if (flags)
		zcipc_endpoint_wake_all(ep);
	mutex_unlock(&ep->lock);
	/* Probed above, and too late to say anything but that it was done. */
	return zcipc_ucmd_respond(ucmd) ? 0 : ret;
}

/**
 * struct zcipc_room_wait - somebody waits for room in an endpoint
 * @wq: in ep->room_wait, in the order of the turns
 * @ep: the endpoint
 * @seq: ep->room_seq, when there was none
 * @need: how much
 */
struct zcipc_room_wait {
	struct wait_queue_entry wq;
	struct zcipc_endpoint *ep;
	u32 seq;
	struct zcipc_room need;
};

/* @key: of this window so many pages will not do, NULL: there is no telling. */
static int zcipc_room_wake(struct wait_queue_entry *wq, unsigned int mode, int flags, void *key)
{
	const struct zcipc_room_wait *wait = container_of(wq, struct zcipc_room_wait, wq);
	const struct zcipc_room *full = key;

	/* It has tried since the last change, or need not try. */
	if (!READ_ONCE(wait->ep->dead) && wait->seq == READ_ONCE(wait->ep->room_seq))
		return 0;
	if (full && full->window == wait->need.window && wait->need.npages >= full->npages)
		return 0;
	return autoremove_wake_function(wq, mode, flags, NULL);
}

/* Takes the place in the line that somebody has had from the beginning. */
static void zcipc_room_enqueue(struct zcipc_room_wait *wait)
{
	const struct zcipc_room_wait *other;
	struct list_head *before;

	/* Mostly it is the last one. */
	list_for_each_prev(before, &wait->ep->room_wait.head) {
		other = container_of(before, struct zcipc_room_wait, wq.entry);
		if (other->need.turn < wait->need.turn)
			break;
	}
	list_add(&wait->wq.entry, before);
}

/*
 * Wakes the first sender in the line that may have room. If the queue is full none has, and the
 * owner of a ring is asked to call when it has received something. The caller holds the lock.
 */
static void zcipc_endpoint_wake_next(struct zcipc_endpoint *ep, struct zcipc_room *full)
{
	if (wq_has_sleeper(&ep->room_wait) && zcipc_message_room(ep))
		__wake_up(&ep->room_wait, TASK_NORMAL, 1, full);
}

/* There is more room in window or queue. The caller holds the lock. */
void zcipc_endpoint_made_room(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	zcipc_endpoint_wake_next(ep, NULL);
}

/* As zcipc_endpoint_made_room(), while the ring is being updated, which cannot be done twice. */
void zcipc_endpoint_made_room_in_ring(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	if (wq_has_sleeper(&ep->room_wait))
		wake_up(&ep->room_wait);
}

/* Whoever waits for room may have another answer now. The caller holds the lock. */
void zcipc_endpoint_wake_all(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	wake_up_all(&ep->room_wait);
}

/**
 * zcipc_endpoint_wait_room() - wait until there is more room, or the endpoint is dead
 * @ep: the endpoint
 * @room_seq: ep->room_seq, when there was no room
 * @need: what there was no room for; @need->turn is kept from one time to the next
 *
 * Those who wait are woken one after the other: zcipc_endpoint_pass_turn() must follow, when the
 * caller has tried again.
 *
 * Return: 0, or -ERESTARTSYS
 */
int zcipc_endpoint_wait_room(struct zcipc_endpoint *ep, u32 room_seq, struct zcipc_room *need)
{
	struct zcipc_room_wait wait = { .ep = ep, .seq = room_seq };
	int ret = 0;

	init_wait_entry(&wait.wq, WQ_FLAG_EXCLUSIVE);
	wait.wq.func = zcipc_room_wake;
	for (;;) {
		spin_lock_irq(&ep->room_wait.lock);
		if (signal_pending(current)) {
			/* Who has been woken is not in the line, and tries first. */
			list_del_init(&wait.wq.entry);
			ret = -ERESTARTSYS;
		} else {
			if (!need->turn)
				need->turn = ++ep->room_turn;
			wait.need = *need;
			if (list_empty(&wait.wq.entry))
				zcipc_room_enqueue(&wait);
			set_current_state(TASK_INTERRUPTIBLE);
		}
		spin_unlock_irq(&ep->room_wait.lock);
		if (READ_ONCE(ep->room_seq) != room_seq || READ_ONCE(ep->dead)) {
			ret = 0;
			break;
		}
		if (ret)
			break;
		schedule();
	}
	finish_wait(&ep->room_wait, &wait.wq);
	return ret;
}

/**
 * zcipc_endpoint_pass_turn() - a sender that was woken has tried again; wake the next one
 * @ep: the endpoint; no lock is held
 * @need: what was tried
 * @ret: what came of it
 *
 * One change can make room for many, or for none but the last in the line. Whoever can know that
 * there is no room is not woken.
 */
void zcipc_endpoint_pass_turn(struct zcipc_endpoint *ep, struct zcipc_room need, int ret)
{
	mutex_lock(&ep->lock);
	if (ret != -EAGAIN)
		need.npages = zcipc_window_room(ep, need.window) + 1;
	zcipc_endpoint_wake_next(ep, &need);
	mutex_unlock(&ep->lock);
}

/* Counts a call of a type, to whom the caller says, that failed. No lock is held. */
void zcipc_endpoint_failed(struct zcipc_endpoint *sender, u64 peer, u32 type, int error)
{
	/* What a signal interrupts is not over. */
	unsigned int errnum = error == -ERESTARTSYS ? EINTR : -error;

	trace_zcipc_fail(sender, peer, type, -(int)errnum);
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

/* No name is everybody's. */
static bool zcipc_endpoint_is_called(struct zcipc_endpoint *ep, const char *name)
{
	bool yes;

	if (!*name)
		return true;
	mutex_lock(&ep->lock);
	yes = !strncmp(ep->name, name, sizeof(ep->name));
	mutex_unlock(&ep->lock);
	return yes;
}

/**
 * zcipc_endpoint_lookup() - ZCIPC_IOC_LOOKUP
 * @ucmd: the call
 *
 * Return: 0 or an errno of struct zcipc_lookup
 */
int zcipc_endpoint_lookup(struct zcipc_ucmd *ucmd)
{
	struct zcipc_lookup *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep;
	bool found = false;
	unsigned long id;
	struct pid *pid;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (cmd->__reserved || cmd->pid <= 0 || !memchr(cmd->name, 0, sizeof(cmd->name)))
		return -EINVAL;
	if (cmd->after == U64_MAX)
		return -ENOENT;
	pid = find_get_pid(cmd->pid);
	if (!pid)
		return -ENOENT;
	for (id = cmd->after + 1; (ep = zcipc_endpoint_next(pid, &id)); id++) {
		found = !zcipc_endpoint_gone(ep) && zcipc_endpoint_is_called(ep, cmd->name);
		zcipc_endpoint_put(ep);
		if (found)
			break;
	}
	put_pid(pid);
	if (!found)
		return -ENOENT;
	cmd->endpoint = id;
	return zcipc_ucmd_respond(ucmd);
}

/**
 * zcipc_endpoint_info() - ZCIPC_IOC_INFO
 * @ucmd: the call
 *
 * Return: 0 or an errno of struct zcipc_info
 */
int zcipc_endpoint_info(struct zcipc_ucmd *ucmd)
{
	struct zcipc_info *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;

	if (cmd->flags)
		return -EOPNOTSUPP;
	cmd->abi = ZCIPC_ABI_VERSION;
	cmd->page_size = PAGE_SIZE;
	cmd->features = 0;
	if (zcipc_frame_can_cache(ZCIPC_CACHE_STREAMING))
		cmd->features |= ZCIPC_FEATURE_STREAMING;
	if (zcipc_frame_can_cache(ZCIPC_CACHE_UNCACHED))
		cmd->features |= ZCIPC_FEATURE_UNCACHED;
	if (zcipc_huge_is_on())
		cmd->features |= ZCIPC_FEATURE_HUGE;
	if (zcipc_import_takes_pmds(false))
		cmd->features |= ZCIPC_FEATURE_HUGE_IMPORT;
	if (zcipc_carry_is_worth(ULONG_MAX))
		cmd->features |= ZCIPC_FEATURE_CARRY;
	if (zcipc_move_short_is_on())
		cmd->features |= ZCIPC_FEATURE_SHORT_MOVE;
	cmd->endpoint = ep->id;
	cmd->max_region_len = (u64)ZCIPC_MAX_REGION_PAGES << PAGE_SHIFT;
	cmd->max_window_len = (u64)ZCIPC_MAX_WINDOW_PAGES << PAGE_SHIFT;
	mutex_lock(&ep->lock);
	cmd->window_addr = ep->windows[ZCIPC_CACHE_DEFAULT].addr;
	cmd->window_len = (u64)ep->windows[ZCIPC_CACHE_DEFAULT].npages << PAGE_SHIFT;
	mutex_unlock(&ep->lock);
	cmd->max_caps = ZCIPC_MAX_CAPS / 2;
	cmd->max_messages = ZCIPC_MAX_MESSAGES;
	return zcipc_ucmd_respond(ucmd);
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

int zcipc_endpoint_init(void)
{
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

// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints: memory, references, look-up, and whom they accept. How they come to life and die is in
 * life.c.
 */
#include "base/base.h"

#include <linux/cred.h>
#include <linux/mmu_notifier.h>

#include "base/trace.h"
#include "mem/account.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"

/* What one takes, with its file, its inode, and what watches its address space. */
#define ZCIPC_ENDPOINT_BYTES	(kmalloc_size_roundup(sizeof(struct zcipc_endpoint)) + SZ_1K)

/* All live endpoints by id. */
static DEFINE_XARRAY(zcipc_endpoints);
static atomic64_t zcipc_last_endpoint;

/* What files of endpoints have. */
static const struct file_operations *zcipc_endpoint_fops;

/*
 * An endpoint for the current process, with one reference, which peers can find. @ops are its
 * space's, @watch is what its work does. May sleep. Or -EDQUOT, -ENOMEM.
 */
struct zcipc_endpoint *zcipc_endpoint_alloc(const struct zcipc_space_ops *ops, work_func_t watch)
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
	INIT_DELAYED_WORK(&ep->watch, watch);
	ep->queue_depth = ZCIPC_MAX_MESSAGES;

	ret = zcipc_space_begin(&ep->space, ops);
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
	if (!ret)
		return ep;
	zcipc_endpoint_put(ep);
	return ERR_PTR(ret);

err_user:
	zcipc_user_put(ep->space.user);
err_space:
	zcipc_space_end(&ep->space);
err_free:
	kfree(ep);
	return ERR_PTR(ret);
}

/* From here on nobody finds it. */
void zcipc_endpoint_unpublish(struct zcipc_endpoint *ep)
{
	xa_erase(&zcipc_endpoints, ep->space.id);
}

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

static size_t zcipc_accept_size(const struct zcipc_accept *accept)
{
	return kmalloc_size_roundup(struct_size(accept, ids, accept->n));
}

/* Frees what may still be looked at under RCU, or NULL. */
static void zcipc_accept_free(struct zcipc_endpoint *ep, struct zcipc_accept *accept)
{
	if (!accept)
		return;
	zcipc_uncharge_overhead(ep->space.user, zcipc_accept_size(accept));
	kfree_rcu(accept, rcu);
}

static void zcipc_endpoint_free(struct kref *kref)
{
	struct zcipc_endpoint *ep = container_of(kref, struct zcipc_endpoint, kref);

	WARN_ON_ONCE(ep->ncaps || !list_empty(&ep->messages) || ep->spare);
	zcipc_cap_free_table(ep);
	zcipc_space_end(&ep->space);
	if (ep->notifier)
		mmu_notifier_put(ep->notifier);
	zcipc_accept_free(ep, rcu_dereference_protected(ep->accept, true));
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

/* An endpoint by its id, with a reference; or -ESRCH if it is dead, -ENOENT if it never was. */
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

/* The endpoint that one of the caller's file descriptors is of, which may be dead, or -EBADF. */
static struct zcipc_endpoint *zcipc_endpoint_get_fd(u64 fd)
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

/*
 * Whom a call names: by id, as zcipc_endpoint_get(), or with ZCIPC_F_PEER_FD by a file descriptor;
 * then the endpoint may be dead, or it is -EBADF.
 */
struct zcipc_endpoint *zcipc_endpoint_get_peer(u64 peer, u32 flags)
{
	return flags & ZCIPC_F_PEER_FD ? zcipc_endpoint_get_fd(peer) : zcipc_endpoint_get(peer);
}

static bool zcipc_policy_is_same_user(const struct zcipc_endpoint *ep,
				      const struct zcipc_endpoint *sender)
{
	return uid_eq(ep->cred->euid, sender->cred->euid) &&
	       ep->cred->user_ns == sender->cred->user_ns;
}

/*
 * Does an endpoint take what a sender transfers to it? Credentials are those at open(). As long as
 * the endpoint's lock is held the answer holds.
 */
bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender)
{
	const struct zcipc_accept *accept;
	bool yes;
	u32 i;

	if (ep == sender)
		return true;
	if (!rcu_access_pointer(ep->accept))
		return zcipc_policy_is_same_user(ep, sender);
	rcu_read_lock();
	accept = rcu_dereference(ep->accept);
	if (accept)
		yes = accept->policy == ZCIPC_POLICY_ANY;
	else
		yes = zcipc_policy_is_same_user(ep, sender);
	for (i = 0; accept && i < accept->n && !yes; i++)
		yes = accept->ids[i] == sender->space.id;
	rcu_read_unlock();
	return yes;
}

/*
 * What a call wants an endpoint's policy to be, for zcipc_policy_set(); NULL for ZCIPC_POLICY_USER.
 * Or -EINVAL, -EDQUOT, -ENOMEM, -EFAULT. May sleep; no lock is held.
 */
struct zcipc_accept *zcipc_policy_alloc(struct zcipc_endpoint *ep,
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
	ret = zcipc_charge_overhead(ep->space.user, zcipc_accept_size(accept));
	if (ret) {
		kfree(accept);
		return ERR_PTR(ret);
	}
	if (!copy_from_user(accept->ids, u64_to_user_ptr(cmd->senders),
			    array_size(n, sizeof(*accept->ids))))
		return accept;
	zcipc_accept_free(ep, accept);
	return ERR_PTR(-EFAULT);
}

/* Changes the policy to what zcipc_policy_alloc() made. The caller holds the endpoint's lock. */
void zcipc_policy_set(struct zcipc_endpoint *ep, struct zcipc_accept *accept)
{
	struct zcipc_accept *old = rcu_dereference_protected(ep->accept,
							     lockdep_is_held(&ep->space.lock));

	rcu_assign_pointer(ep->accept, accept);
	zcipc_accept_free(ep, old);
}

/* Says what the policy is. The caller holds the endpoint's lock. */
void zcipc_policy_tell(const struct zcipc_endpoint *ep, struct zcipc_endpoint_config *cmd)
{
	const struct zcipc_accept *accept =
		rcu_dereference_protected(ep->accept, lockdep_is_held(&ep->space.lock));

	cmd->policy = accept ? accept->policy : ZCIPC_POLICY_USER;
	cmd->nsenders = accept ? accept->n : 0;
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

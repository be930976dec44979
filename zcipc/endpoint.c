// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints: life, death, look-up, and who accepts whom.
 *
 * An endpoint dies when its address space does or its file is released, whichever comes first: a
 * child that inherited the file descriptor must not keep what was sent to its parent. It stays in
 * memory until the last reference is gone.
 */
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/pid_namespace.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "zcipc.h"

/* All live endpoints by id. */
static DEFINE_XARRAY(zcipc_endpoints);
static atomic64_t zcipc_last_endpoint;

static struct vfsmount *zcipc_mnt;

/**
 * zcipc_endpoint_create() - an endpoint for the current process
 *
 * Context: May sleep.
 * Return: the endpoint with one reference, or -ENOMEM
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
	xa_init_flags(&ep->caps, XA_FLAGS_ALLOC);
	ep->slots = RB_ROOT;
	INIT_LIST_HEAD(&ep->messages);
	init_waitqueue_head(&ep->recv_wait);
	init_waitqueue_head(&ep->room_wait);

	ep->inode = alloc_anon_inode(zcipc_mnt->mnt_sb);
	if (IS_ERR(ep->inode)) {
		ret = PTR_ERR(ep->inode);
		goto err_free;
	}
	i_size_write(ep->inode, MAX_LFS_FILESIZE);
	ep->user = zcipc_user_get(current_euid());
	if (!ep->user)
		goto err_inode;
	ep->cred = get_current_cred();
	ep->pid = get_pid(task_tgid(current));
	ep->mm = current->mm;
	mmgrab(ep->mm);
	ep->id = atomic64_inc_return(&zcipc_last_endpoint);
	zcipc_stat_inc(ENDPOINTS);
	ret = xa_err(xa_store(&zcipc_endpoints, ep->id, ep, GFP_KERNEL_ACCOUNT));
	if (ret) {
		zcipc_endpoint_put(ep);
		return ERR_PTR(ret);
	}
	return ep;

err_inode:
	iput(ep->inode);
err_free:
	kfree(ep);
	return ERR_PTR(ret);
}

static void zcipc_endpoint_free(struct kref *kref)
{
	struct zcipc_endpoint *ep = container_of(kref, struct zcipc_endpoint, kref);

	WARN_ON_ONCE(!xa_empty(&ep->caps) || !RB_EMPTY_ROOT(&ep->slots) ||
		     !list_empty(&ep->messages));
	xa_destroy(&ep->caps);
	kvfree(ep->window_used);
	zcipc_user_put(ep->user);
	put_cred(ep->cred);
	put_pid(ep->pid);
	mmdrop(ep->mm);
	iput(ep->inode);
	kfree_rcu(ep, rcu);
	zcipc_stat_dec(ENDPOINTS);
}

void zcipc_endpoint_put(struct zcipc_endpoint *ep)
{
	kref_put(&ep->kref, zcipc_endpoint_free);
}

/* Is the address space gone? Then the endpoint is about to be shut down, or should be. */
static bool zcipc_endpoint_mm_gone(const struct zcipc_endpoint *ep)
{
	return !atomic_read(&ep->mm->mm_users);
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
	struct zcipc_message *msg, *next;
	struct zcipc_cap *cap;
	unsigned long index;
	LIST_HEAD(messages);
	bool first;

	mutex_lock(&ep->lock);
	first = !ep->dead;
	WRITE_ONCE(ep->dead, true);
	list_splice_init(&ep->messages, &messages);
	ep->nmessages = 0;
	mutex_unlock(&ep->lock);
	if (!first)
		return;
	xa_erase(&zcipc_endpoints, ep->id);
	wake_up_all(&ep->recv_wait);
	wake_up_all(&ep->room_wait);
	zcipc_test_point("shutdown");

	list_for_each_entry_safe(msg, next, &messages, entry) {
		list_del(&msg->entry);
		zcipc_message_return(ep, msg);
	}
	mutex_lock(&ep->lock);
	xa_for_each(&ep->caps, index, cap) {
		zcipc_cap_remove(cap);
		cond_resched();
	}
	mutex_unlock(&ep->lock);
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

/* Does an endpoint take what a sender transfers to it? Credentials are those at open(). */
bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender)
{
	return uid_eq(ep->cred->euid, sender->cred->euid) &&
	       ep->cred->user_ns == sender->cred->user_ns;
}

/* There is more room in window, table or queue. The caller holds the endpoint's lock. */
void zcipc_endpoint_made_room(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	if (wq_has_sleeper(&ep->room_wait))
		wake_up_all(&ep->room_wait);
}

/* The first endpoint of a process from an id on, with a reference, or NULL. Sets the id. */
static struct zcipc_endpoint *zcipc_endpoint_next(const struct pid *pid, unsigned long *id)
{
	struct zcipc_endpoint *ep;

	rcu_read_lock();
	xa_for_each_start(&zcipc_endpoints, *id, ep, *id)
		if (ep->pid == pid && kref_get_unless_zero(&ep->kref))
			break;
	rcu_read_unlock();
	return ep;
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
	if (cmd->__reserved || cmd->pid <= 0)
		return -EINVAL;
	if (cmd->after == U64_MAX)
		return -ENOENT;
	pid = find_get_pid(cmd->pid);
	if (!pid)
		return -ENOENT;
	for (id = cmd->after + 1; (ep = zcipc_endpoint_next(pid, &id)); id++) {
		found = !READ_ONCE(ep->dead) && !zcipc_endpoint_mm_gone(ep);
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
	cmd->endpoint = ep->id;
	cmd->max_region_len = (u64)ZCIPC_MAX_REGION_PAGES << PAGE_SHIFT;
	cmd->max_window_len = (u64)ZCIPC_MAX_WINDOW_PAGES << PAGE_SHIFT;
	mutex_lock(&ep->lock);
	cmd->window_addr = ep->window_addr;
	cmd->window_len = (u64)ep->window_npages << PAGE_SHIFT;
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

int zcipc_endpoint_init(void)
{
	zcipc_mnt = kern_mount(&zcipc_fs_type);
	return PTR_ERR_OR_ZERO(zcipc_mnt);
}

void zcipc_endpoint_exit(void)
{
	kern_unmount(zcipc_mnt);
	WARN_ON_ONCE(!xa_empty(&zcipc_endpoints));
	/* The last endpoints may still be waiting for kfree_rcu(), which needs nothing of ours. */
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Whom an endpoint accepts.
 */
#include <linux/cred.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mem/account.h"
#include "ipc/endpoint.h"
#include "ipc/policy.h"

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

static bool zcipc_policy_lists(const struct zcipc_accept *accept, u64 id)
{
	u32 i;

	for (i = 0; i < accept->n; i++)
		if (accept->ids[i] == id)
			return true;
	return false;
}

static bool zcipc_policy_is_same_user(const struct zcipc_endpoint *ep,
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
		return zcipc_policy_is_same_user(ep, sender);
	rcu_read_lock();
	accept = rcu_dereference(ep->accept);
	if (!accept)
		yes = zcipc_policy_is_same_user(ep, sender);
	else if (accept->policy == ZCIPC_POLICY_LISTED)
		yes = zcipc_policy_lists(accept, sender->space.id);
	else
		yes = accept->policy == ZCIPC_POLICY_ANY;
	rcu_read_unlock();
	return yes;
}

/**
 * zcipc_policy_alloc() - what a call wants an endpoint's policy to be
 * @ep: the endpoint
 * @cmd: the call
 *
 * Context: May sleep; no lock is held.
 * Return: what zcipc_policy_set() takes, NULL for ZCIPC_POLICY_USER; or -EINVAL, -EDQUOT, -ENOMEM,
 * -EFAULT
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
	if (copy_from_user(accept->ids, u64_to_user_ptr(cmd->senders),
			   array_size(n, sizeof(*accept->ids)))) {
		zcipc_accept_free(ep, accept);
		return ERR_PTR(-EFAULT);
	}
	return accept;
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

/* Nobody looks at the endpoint any more but under RCU. */
void zcipc_policy_end(struct zcipc_endpoint *ep)
{
	zcipc_accept_free(ep, rcu_dereference_protected(ep->accept, true));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Calls about endpoints: INFO, ENDPOINT_CONFIG, LOOKUP.
 */
#include "base/base.h"
#include "base/ucmd.h"
#include "mem/huge.h"
#include "mem/pins.h"
#include "mem/pool.h"
#include "map/carry.h"
#include "ipc/endpoint.h"
#include "ipc/room.h"
#include "transfer/transfer.h"
#include "calls/calls.h"

/* ZCIPC_IOC_INFO */
int zcipc_endpoint_info(struct zcipc_ucmd *ucmd)
{
	struct zcipc_info *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;

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
	if (READ_ONCE(zcipc_short_moves))
		cmd->features |= ZCIPC_FEATURE_SHORT_MOVE;
	cmd->endpoint = ep->space.id;
	cmd->max_region_len = (u64)ZCIPC_MAX_REGION_PAGES << PAGE_SHIFT;
	cmd->max_window_len = (u64)ZCIPC_MAX_WINDOW_PAGES << PAGE_SHIFT;
	mutex_lock(&ep->space.lock);
	cmd->window_addr = ep->space.windows[ZCIPC_CACHE_DEFAULT].addr;
	cmd->window_len = (u64)ep->space.windows[ZCIPC_CACHE_DEFAULT].npages << PAGE_SHIFT;
	mutex_unlock(&ep->space.lock);
	cmd->max_caps = ZCIPC_MAX_CAPS / 2;
	cmd->max_messages = ZCIPC_MAX_MESSAGES;
	return zcipc_ucmd_respond(ucmd);
}

/* ZCIPC_IOC_ENDPOINT_CONFIG */
int zcipc_endpoint_config(struct zcipc_ucmd *ucmd)
{
	struct zcipc_endpoint_config *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_accept *accept = NULL;
	u32 flags = cmd->flags;

	if (flags & ~(ZCIPC_CONFIG_NAME | ZCIPC_CONFIG_POLICY | ZCIPC_CONFIG_DEPTH |
		      ZCIPC_CONFIG_FULL | ZCIPC_CONFIG_UNRECEIVED | ZCIPC_CONFIG_DROPPED))
		return -EOPNOTSUPP;
	if ((flags & ZCIPC_CONFIG_NAME && !memchr(cmd->name, 0, sizeof(cmd->name))) ||
	    (flags & ZCIPC_CONFIG_DEPTH &&
	     (!cmd->queue_depth || cmd->queue_depth > ZCIPC_MAX_MESSAGES)) ||
	    (flags & ZCIPC_CONFIG_FULL && cmd->full > ZCIPC_FULL_FAIL) ||
	    (flags & ZCIPC_CONFIG_UNRECEIVED && cmd->unreceived > ZCIPC_UNRECEIVED_FREE) ||
	    (flags & ZCIPC_CONFIG_DROPPED && cmd->dropped > ZCIPC_DROPPED_RETURN))
		return -EINVAL;
	if (zcipc_ucmd_probe(ucmd))
		return -EFAULT;
	if (flags & ZCIPC_CONFIG_POLICY) {
		accept = zcipc_policy_alloc(ep, cmd);
		if (IS_ERR(accept))
			return PTR_ERR(accept);
	}

	mutex_lock(&ep->space.lock);
	if (flags & ZCIPC_CONFIG_NAME)
		strscpy_pad(ep->name, cmd->name, sizeof(ep->name));
	if (flags & ZCIPC_CONFIG_DEPTH)
		ep->queue_depth = cmd->queue_depth;
	if (flags & ZCIPC_CONFIG_FULL)
		WRITE_ONCE(ep->full, cmd->full);
	if (flags & ZCIPC_CONFIG_UNRECEIVED)
		WRITE_ONCE(ep->unreceived, cmd->unreceived);
	if (flags & ZCIPC_CONFIG_DROPPED)
		ep->dropped = cmd->dropped;
	if (flags & ZCIPC_CONFIG_POLICY)
		zcipc_policy_set(ep, accept);
	zcipc_policy_tell(ep, cmd);
	cmd->queue_depth = ep->queue_depth;
	cmd->full = ep->full;
	cmd->unreceived = ep->unreceived;
	cmd->dropped = ep->dropped;
	memcpy(cmd->name, ep->name, sizeof(cmd->name));
	if (flags)
		zcipc_endpoint_wake_all(ep);
	mutex_unlock(&ep->space.lock);
	zcipc_ucmd_respond(ucmd);
	return 0;
}

/* ZCIPC_IOC_LOOKUP */
int zcipc_endpoint_lookup(struct zcipc_ucmd *ucmd)
{
	struct zcipc_lookup *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep;
	bool found = false;
	unsigned long id;
	struct pid *pid;

	if (cmd->__reserved || cmd->pid <= 0 || !memchr(cmd->name, 0, sizeof(cmd->name)))
		return -EINVAL;
	if (cmd->after == U64_MAX)
		return -ENOENT;
	pid = find_get_pid(cmd->pid);
	if (!pid)
		return -ENOENT;
	for (id = cmd->after + 1; (ep = zcipc_endpoint_next(pid, &id)); id++) {
		mutex_lock(&ep->space.lock);
		/* No name is everybody's. */
		found = !zcipc_space_gone(&ep->space) &&
			(!*cmd->name || !strncmp(ep->name, cmd->name, sizeof(ep->name)));
		mutex_unlock(&ep->space.lock);
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

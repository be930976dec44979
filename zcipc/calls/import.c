// SPDX-License-Identifier: GPL-2.0
/*
 * Calls about the caller's own memory: REGION_IMPORT, REGION_ORDINARY.
 */
#include <linux/mm.h>

#include "base/compat.h"
#include "base/limits.h"
#include "base/ucmd.h"
#include "mem/region.h"
#include "map/file.h"
#include "map/slot.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "transfer/import.h"
#include "calls/calls.h"

/* ZCIPC_IOC_REGION_IMPORT */
int zcipc_import_memory(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_import *cmd = ucmd->cmd;
	u64 addr = zcipc_untagged(cmd->addr);
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (!cmd->len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(cmd->len) ||
	    cmd->len >> PAGE_SHIFT > ZCIPC_MAX_REGION_PAGES ||
	    addr + cmd->len < addr || addr + cmd->len > TASK_SIZE)
		return -EINVAL;
	ret = zcipc_ucmd_probe(ucmd);
	if (ret)
		return ret;
	ret = zcipc_import_adopt(ucmd, addr, cmd->len >> PAGE_SHIFT, false, &cmd->cap,
				 &cmd->region);
	if (ret == -EOPNOTSUPP)
		ret = zcipc_import_file(ucmd->ep, addr, cmd->len >> PAGE_SHIFT, false,
					&cmd->cap, &cmd->region);
	if (ret)
		return ret;
	if (zcipc_ucmd_respond(ucmd))
		zcipc_import_forget(ucmd->ep, cmd->cap);
	return 0;
}

/* What one's own capability names: all of it is copied, and what is one's own memory given back. */
static int zcipc_import_ordinary_cap(struct zcipc_endpoint *ep, u64 token, u64 *copied)
{
	unsigned long addr = 0, end = 0;
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;
	int ret;

	ret = zcipc_import_copy_all(ep, token, copied);
	if (ret)
		return ret;
	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return PTR_ERR(cap);
	list_for_each_entry(slot, &cap->extent.slots, entry) {
		if (!slot->addr)
			continue;
		addr = slot->addr;
		end = addr + (slot->npages << PAGE_SHIFT);
	}
	zcipc_region_unlock_put(cap->extent.region);
	ret = zcipc_import_give_back(ep, token, addr, end, copied);
	zcipc_import_populate(ep, token);
	return ret;
}

/* ZCIPC_IOC_REGION_ORDINARY */
int zcipc_import_ordinary(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_ordinary *cmd = ucmd->cmd;
	u64 addr = zcipc_untagged(cmd->addr), end = addr + cmd->len;
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (cmd->cap ? cmd->addr || cmd->len :
	    !cmd->len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(cmd->len) ||
	    end < addr || end > TASK_SIZE)
		return -EINVAL;
	ret = zcipc_ucmd_probe(ucmd);
	if (ret)
		return ret;
	cmd->copied = 0;
	if (cmd->cap)
		ret = zcipc_import_ordinary_cap(ucmd->ep, cmd->cap, &cmd->copied);
	else
		ret = zcipc_import_give_back(ucmd->ep, 0, addr, end, &cmd->copied);
	if (ret)
		return ret;
	zcipc_ucmd_respond(ucmd);
	return 0;
}

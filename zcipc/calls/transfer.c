// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that transfer: TRANSFER, GRANT, TRANSFER_BATCH.
 */
#include "base/base.h"

#include <linux/timekeeping.h>

#include "base/ucmd.h"
#include "mem/pool.h"
#include "mem/region.h"
#include "map/file.h"
#include "map/memory.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "transfer/batch.h"
#include "transfer/direct.h"
#include "transfer/transfer.h"
#include "calls/calls.h"

/* Checks what belongs to transfers from memory. */
static int zcipc_transfer_validate_memory(const struct zcipc_transfer *cmd)
{
	u64 addr = zcipc_untagged(cmd->offset), end = addr + cmd->len;

	if (!(cmd->flags & ZCIPC_F_FROM_MEMORY) || cmd->cap || !cmd->len || end < addr ||
	    end > TASK_SIZE ||
	    PAGE_ALIGN(end) - (addr & PAGE_MASK) > ZCIPC_MAX_REGION_PAGES << PAGE_SHIFT ||
	    cmd->flags & ZCIPC_F_REVOKE_OTHERS)
		return -EINVAL;
	if (cmd->type != ZCIPC_MOVE && cmd->flags & ZCIPC_F_UNMAP)
		return -EINVAL;
	if (cmd->type == ZCIPC_SHARE && cmd->flags & (ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK))
		return -EINVAL;
	if (cmd->type == ZCIPC_MOVE && cmd->flags & ZCIPC_F_IMPORT)
		return -EINVAL;
	if (!(cmd->flags & ZCIPC_F_ANY_ALIGN) && !PAGE_ALIGNED(cmd->offset | cmd->len))
		return -EINVAL;
	/* There is no way back from there. */
	if (cmd->flags & ZCIPC_F_NODE_STRICT ||
	    (cmd->cache != ZCIPC_CACHE_DEFAULT && cmd->cache != ZCIPC_CACHE_WRITEBACK))
		return -EOPNOTSUPP;
	return 0;
}

/* Checks a transfer by itself. */
static int zcipc_transfer_validate(const struct zcipc_transfer *cmd)
{
	if (zcipc_transfer_is_plain(cmd))
		return 0;
	if (cmd->flags & ~(ZCIPC_F_STRICT | ZCIPC_F_REVOKE_OTHERS | ZCIPC_F_PEER_FD |
			   ZCIPC_F_NODE_STRICT | ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN |
			   ZCIPC_F_COPY_OK | ZCIPC_F_UNMAP | ZCIPC_F_AUTO |
			   ZCIPC_F_BREAK_HUGE | ZCIPC_F_IMPORT) ||
	    (cmd->cache <= ZCIPC_CACHE_WRITETHROUGH && !zcipc_frame_can_cache(cmd->cache)))
		return -EOPNOTSUPP;
	if (cmd->cache > ZCIPC_CACHE_WRITEBACK ||
	    (cmd->node != ZCIPC_NUMA_RECEIVER && !zcipc_node_valid(cmd->node)))
		return -EINVAL;
	if (cmd->type < ZCIPC_MOVE || cmd->type > ZCIPC_COPY || cmd->rights & ~ZCIPC_RIGHTS_ALL)
		return -EINVAL;
	if (!(cmd->rights & ZCIPC_RIGHT_READ) && (cmd->rights || cmd->type == ZCIPC_SHARE))
		return -EINVAL;
	if (cmd->flags & ZCIPC_F_REVOKE_OTHERS && cmd->type != ZCIPC_MOVE)
		return -EINVAL;
	if (cmd->flags & (ZCIPC_F_AUTO | ZCIPC_F_BREAK_HUGE) && cmd->type != ZCIPC_COPY)
		return -EINVAL;
	if (cmd->__reserved)
		return -EINVAL;
	if (cmd->flags & (ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK |
			  ZCIPC_F_UNMAP | ZCIPC_F_IMPORT))
		return zcipc_transfer_validate_memory(cmd);
	return 0;
}

/* A call that makes one transfer, if it is @valid: 0, or an errno. */
static int zcipc_transfer_run(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			      struct zcipc_direct *direct, int valid)
{
	u64 start = ktime_get_ns();
	int ret = valid ?: zcipc_transfer_make(ucmd, cmd, direct, !ucmd->nonblock);

	if (ret) {
		zcipc_endpoint_failed(ucmd->ep, cmd->peer, cmd->type, ret);
		return ret;
	}
	zcipc_stat_latency(cmd->type, ktime_get_ns() - start);
	return 0;
}

/*
 * Finds the region that memory is, or makes it one, and sets @as_region to a transfer of that, and
 * @file to whether nobody else knows its capability. Returns 0, or an errno, or 1 if what is no
 * region stays what it is, and is moved or copied.
 */
static int zcipc_transfer_find_region(struct zcipc_ucmd *ucmd, const struct zcipc_transfer *cmd,
				      const struct zcipc_direct *direct,
				      struct zcipc_transfer *as_region, bool *file)
{
	bool import = cmd->flags & ZCIPC_F_IMPORT, copy = cmd->type == ZCIPC_COPY;
	unsigned long from = zcipc_direct_from(direct);
	u64 *token = &as_region->cap, *offset = &as_region->offset, id;
	int ret;

	as_region->flags &= ~(ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK |
			      ZCIPC_F_UNMAP | ZCIPC_F_AUTO | ZCIPC_F_IMPORT);
	as_region->len = direct->npages << PAGE_SHIFT;
	/* Of a snapshot it is enough that the whole pages are a region. */
	if (copy && direct->npages)
		ret = zcipc_window_find(&ucmd->ep->space, from, as_region->len, false, token,
					offset);
	else
		ret = zcipc_window_find(&ucmd->ep->space, direct->addr, direct->len,
					cmd->type == ZCIPC_SHARE, token, offset);
	if (ret == -EINVAL && copy)
		return 1;
	if (ret == -ENOENT && (cmd->type == ZCIPC_MOVE || !direct->npages || (copy && !import)))
		return 1;
	if (ret == -ENOENT && !import) {
		ret = zcipc_import_check(from, direct->npages, NULL);
		/* What is private could be made a region, but stays what it is. */
		if (!ret)
			return -EOPNOTSUPP;
	} else if (ret == -ENOENT) {
		*offset = 0;
		ret = zcipc_import_adopt(ucmd, from, direct->npages, true, token, &id);
		if (zcipc_direct_may_copy(cmd, ret))
			return 1;
	}
	if (ret == -EOPNOTSUPP && cmd->type == ZCIPC_SHARE) {
		*offset = 0;
		ret = zcipc_import_file(ucmd->ep, from, direct->npages, true, token, &id);
		*file = !ret;
	}
	return ret;
}

/* A transfer from memory. What is a region already is transferred as that. */
static int zcipc_transfer_memory(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd)
{
	struct zcipc_transfer as_region = *cmd;
	struct zcipc_direct direct;
	bool file = false;
	int ret = 1;

	zcipc_direct_init(&direct, cmd);
	if (!zcipc_transfer_copies_all(cmd, cmd->len))
		ret = zcipc_transfer_find_region(ucmd, cmd, &direct, &as_region, &file);
	if (ret > 0)
		return zcipc_transfer_run(ucmd, cmd, &direct, 0);
	ret = zcipc_transfer_run(ucmd, &as_region, cmd->type == ZCIPC_COPY ? &direct : NULL, ret);
	if (file && ret)
		zcipc_cap_remove_token(ucmd->ep, as_region.cap);
	cmd->pages = as_region.pages;
	cmd->copied = as_region.copied;
	cmd->migrated = as_region.migrated;
	cmd->off_node = as_region.off_node;
	cmd->peer_cap = as_region.peer_cap;
	return ret;
}

/* ZCIPC_IOC_TRANSFER */
int zcipc_transfer(struct zcipc_ucmd *ucmd)
{
	struct zcipc_transfer *cmd = ucmd->cmd;
	int ret;

	if (zcipc_move_short(ucmd))
		goto done;
	ret = zcipc_transfer_validate(cmd);
	if (!ret && cmd->flags & ZCIPC_F_FROM_MEMORY)
		ret = zcipc_transfer_memory(ucmd, cmd);
	else
		ret = zcipc_transfer_run(ucmd, cmd, NULL, ret);
	if (ret)
		return ret;
done:
	cmd->result = 0;
	zcipc_ucmd_respond(ucmd);
	return 0;
}

/* ZCIPC_IOC_GRANT */
int zcipc_transfer_grant(struct zcipc_ucmd *ucmd)
{
	struct zcipc_grant *cmd = ucmd->cmd;
	struct zcipc_transfer transfer = {
		.type = ZCIPC_GRANTED,
		.flags = cmd->flags,
		.rights = cmd->rights,
		.cap = cmd->cap,
		.peer = cmd->peer,
		.offset = cmd->offset,
		.len = cmd->len,
		.cookie = cmd->cookie,
		.node = ZCIPC_NODE_ANY,
	};
	int ret = 0;

	if (cmd->flags & ~ZCIPC_F_PEER_FD)
		ret = -EOPNOTSUPP;
	else if (cmd->__reserved || cmd->rights & ~ZCIPC_RIGHTS_ALL ||
		 !(cmd->rights & ZCIPC_RIGHT_READ))
		ret = -EINVAL;
	ret = zcipc_transfer_run(ucmd, &transfer, NULL, ret);
	if (ret)
		return ret;
	cmd->peer_cap = transfer.peer_cap;
	zcipc_ucmd_respond(ucmd);
	return 0;
}

static int zcipc_batch_alloc(struct zcipc_batch *b)
{
	b->cmds = kvmalloc_array(b->n, sizeof(*b->cmds), GFP_KERNEL_ACCOUNT);
	b->entries = kvcalloc(b->n, sizeof(*b->entries), GFP_KERNEL_ACCOUNT);
	b->eps = kvmalloc_array(b->n + 1, sizeof(*b->eps), GFP_KERNEL_ACCOUNT);
	b->regions = kvmalloc_array(b->n, sizeof(*b->regions), GFP_KERNEL_ACCOUNT);
	b->ranges = kvmalloc_array(b->n + 1, sizeof(*b->ranges), GFP_KERNEL_ACCOUNT);
	b->frames = kvmalloc_array(b->n, sizeof(*b->frames), GFP_KERNEL_ACCOUNT);
	if (zcipc_batch_is_atomic(b))
		b->named = kvmalloc_array(b->n, sizeof(*b->named), GFP_KERNEL_ACCOUNT);
	if (!b->cmds || !b->entries || !b->eps || !b->regions || !b->ranges || !b->frames ||
	    (zcipc_batch_is_atomic(b) && !b->named))
		return -ENOMEM;
	return 0;
}

static void zcipc_batch_free(struct zcipc_batch *b)
{
	kvfree(b->named);
	kvfree(b->frames);
	kvfree(b->ranges);
	kvfree(b->regions);
	kvfree(b->eps);
	kvfree(b->entries);
	kvfree(b->cmds);
}

/* Checks a transfer of a batch by itself. */
static int zcipc_batch_validate(const struct zcipc_transfer *cmd, u32 size)
{
	int ret;

	if (cmd->size != size)
		return -EINVAL;
	if (likely(zcipc_transfer_is_plain(cmd)))
		return 0;
	ret = zcipc_transfer_validate(cmd);
	/* That takes one mmap_lock more than there is room for. */
	if (!ret && cmd->flags & ZCIPC_F_FROM_MEMORY)
		return -EOPNOTSUPP;
	return ret;
}

/* Can all transfers be written? Writes a byte of each page as it is. */
static int zcipc_batch_probe(u8 __user *ubuffer, size_t len)
{
	size_t at = 0, last = len - 1;
	u8 byte;

	for (;;) {
		if (get_user(byte, ubuffer + at) || put_user(byte, ubuffer + at))
			return -EFAULT;
		if (at == last)
			return 0;
		at = min(at + PAGE_SIZE, last);
	}
}

/* Reads the transfers, and makes sure that their results can be written. */
static int zcipc_batch_read(struct zcipc_batch *b, const struct zcipc_transfer_batch *cmd)
{
	void __user *ubuffer = u64_to_user_ptr(cmd->transfers);
	bool usual = cmd->transfer_size == sizeof(*b->cmds);
	struct zcipc_batch_entry *entry = b->entries;
	struct zcipc_transfer *t = b->cmds;
	u32 i;

	/* At once. */
	if (usual && copy_from_user(b->cmds, ubuffer, array_size(b->n, sizeof(*b->cmds))))
		return -EFAULT;
	for (i = 0; i < b->n; i++, entry++, t++) {
		if (!usual) {
			memset(t, 0, sizeof(*t));
			entry->invalid = copy_struct_from_user(t, sizeof(*t),
							       ubuffer + i * cmd->transfer_size,
							       cmd->transfer_size);
		}
		if (entry->invalid == -EFAULT)
			return -EFAULT;
		if (!entry->invalid)
			entry->invalid = zcipc_batch_validate(t, cmd->transfer_size);
		entry->ret = entry->invalid;
	}
	return zcipc_batch_probe(ubuffer, array_size(b->n, cmd->transfer_size));
}

/* Writes the results. Returns how many bytes cannot be written: it is too late to say so. */
static unsigned long zcipc_batch_write(struct zcipc_batch *b,
				       const struct zcipc_transfer_batch *cmd)
{
	void __user *ubuffer = u64_to_user_ptr(cmd->transfers);
	u32 len = min_t(u32, cmd->transfer_size, sizeof(*b->cmds));
	struct zcipc_transfer __user *t;
	unsigned long left = 0;
	u32 i;

	if (cmd->transfer_size == sizeof(*b->cmds))
		return copy_to_user(ubuffer, b->cmds, array_size(b->n, sizeof(*b->cmds)));
	for (i = 0; i < b->n && !left; i++) {
		t = ubuffer + i * cmd->transfer_size;
		/* What was not read is left alone, but for the result. */
		if (b->entries[i].invalid == -E2BIG)
			left = put_user(b->cmds[i].result, &t->result);
		else
			left = copy_to_user(t, &b->cmds[i], len);
	}
	return left;
}

/* ZCIPC_IOC_TRANSFER_BATCH */
int zcipc_transfer_batch(struct zcipc_ucmd *ucmd)
{
	struct zcipc_transfer_batch *cmd = ucmd->cmd;
	struct zcipc_batch b = {
		.ucmd = ucmd,
		.src = ucmd->ep,
		.how = cmd->flags & ZCIPC_F_ATOMIC ? ZCIPC_BATCH_ATOMIC : ZCIPC_BATCH_PART,
		.n = cmd->ntransfers,
	};
	int ret, result = 0;
	u32 i;

	if (!b.n || b.n > ZCIPC_MAX_BATCH ||
	    cmd->transfer_size < offsetofend(struct zcipc_transfer, copied))
		return -EINVAL;
	if (cmd->transfer_size > PAGE_SIZE)
		return -E2BIG;
	ret = zcipc_batch_alloc(&b);
	if (!ret)
		ret = zcipc_batch_read(&b, cmd);
	if (!ret)
		ret = zcipc_ucmd_probe(ucmd);
	if (!ret)
		ret = zcipc_batch_make(&b, &result);
	if (ret)
		goto out_free;

	ret = result;
	cmd->done = 0;
	cmd->failed = b.n;
	for (i = b.n; i-- > 0;) {
		b.cmds[i].result = b.entries[i].ret;
		if (!b.cmds[i].result) {
			cmd->done++;
			continue;
		}
		if (b.cmds[i].result != -ECANCELED)
			cmd->failed = i;
		zcipc_endpoint_failed(b.src, b.cmds[i].peer, b.cmds[i].type, b.cmds[i].result);
	}
	zcipc_test_point("sent");
	zcipc_batch_write(&b, cmd);
	/* Probed above, and too late to say anything else. */
	if (zcipc_ucmd_respond(ucmd) && !ret)
		ret = 0;
out_free:
	zcipc_batch_free(&b);
	return ret;
}

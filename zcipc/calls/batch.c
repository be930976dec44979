// SPDX-License-Identifier: GPL-2.0
/*
 * The call about many transfers: TRANSFER_BATCH.
 */
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <linux/zcipc.h>

#include "base/test.h"
#include "base/ucmd.h"
#include "ipc/endpoint.h"
#include "transfer/batch.h"
#include "transfer/transfer.h"
#include "calls/calls.h"

static int zcipc_batch_alloc(struct zcipc_batch *b)
{
	b->cmds = kvcalloc(b->n, sizeof(*b->cmds), GFP_KERNEL_ACCOUNT);
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

/* Checks a transfer by itself. */
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
static int zcipc_batch_probe(const struct zcipc_batch *b, u8 __user *ubuffer)
{
	size_t last = array_size(b->n, sizeof(*b->cmds)) - 1;
	const u8 *cmds = (const u8 *)b->cmds;
	size_t at;

	for (at = 0; at < last; at += PAGE_SIZE)
		if (put_user(cmds[at], ubuffer + at))
			return -EFAULT;
	return put_user(cmds[last], ubuffer + last);
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
		if (!usual)
			entry->invalid = copy_struct_from_user(t, sizeof(*t),
							       ubuffer + i * cmd->transfer_size,
							       cmd->transfer_size);
		if (entry->invalid == -EFAULT)
			return -EFAULT;
		if (!entry->invalid)
			entry->invalid = zcipc_batch_validate(t, cmd->transfer_size);
		entry->ret = entry->invalid;
	}
	if (usual)
		return zcipc_batch_probe(b, ubuffer);
	return fault_in_safe_writeable(ubuffer, array_size(b->n, cmd->transfer_size)) ? -EFAULT : 0;
}

/* Writes the results. It is too late to say that they cannot be written. */
static void zcipc_batch_write(struct zcipc_batch *b, const struct zcipc_transfer_batch *cmd)
{
	void __user *ubuffer = u64_to_user_ptr(cmd->transfers);
	u32 len = min_t(u32, cmd->transfer_size, sizeof(*b->cmds));
	u32 i;

	if (cmd->transfer_size == sizeof(*b->cmds)) {
		if (copy_to_user(ubuffer, b->cmds, array_size(b->n, sizeof(*b->cmds))))
			return;
		return;
	}
	for (i = 0; i < b->n; i++) {
		/* What was not read is left alone. */
		if (b->entries[i].invalid != -E2BIG &&
		    copy_to_user(ubuffer + i * cmd->transfer_size, &b->cmds[i], len))
			return;
		if (len == sizeof(*b->cmds) &&
		    put_user(b->entries[i].ret, &((struct zcipc_transfer __user *)
						  (ubuffer + i * cmd->transfer_size))->result))
			return;
	}
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

	if (cmd->flags & ~ZCIPC_F_ATOMIC)
		return -EOPNOTSUPP;
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

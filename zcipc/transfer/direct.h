/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Transfers from memory: see direct.c.
 */
#ifndef ZCIPC_DIRECT_H
#define ZCIPC_DIRECT_H

#include "base/base.h"
#include "map/insert.h"
#include "transfer/transfer.h"

/**
 * struct zcipc_direct - where a transfer from memory gets its pages
 * @addr: user address, without a tag
 * @tag: to be added to an address to access what is there as the caller would
 * @len: bytes
 * @skip: bytes of the region's first page that come before
 * @span: pages of the region
 * @first: first page of the region that is not copied
 * @npages: number of pages that are not, 0: all is copied
 * @taken: these have been taken away from the caller
 * @copied: bytes that were copied beside that
 */
struct zcipc_direct {
	unsigned long addr;
	unsigned long tag;
	unsigned long len;
	unsigned long skip;
	unsigned long span;
	unsigned long first;
	unsigned long npages;
	bool taken;
	u64 copied;
};

/* User address of the whole pages, or where the memory ends if there are none. */
static inline unsigned long zcipc_direct_from(const struct zcipc_direct *direct)
{
	if (!direct->npages)
		return direct->addr + direct->len;
	return direct->addr - direct->skip + (direct->first << PAGE_SHIFT);
}

/* Is a transfer of memory that is no region's? Else @direct, if it is set, is of a snapshot. */
static inline bool zcipc_transfer_from_memory(const struct zcipc_transfer_state *t)
{
	return t->cmd->flags & ZCIPC_F_FROM_MEMORY;
}

/* Number of pages that the peer gets. */
static inline unsigned long zcipc_transfer_span(const struct zcipc_transfer_state *t)
{
	return t->direct ? t->direct->span : t->npages;
}

/* Is it left to faults to map that? Who takes a snapshot wants to go on, not to wait. */
static inline bool zcipc_transfer_is_lazy(const struct zcipc_transfer_state *t)
{
	return t->ops == &zcipc_snapshot && zcipc_transfer_span(t) > ZCIPC_FAULT_AROUND;
}

/* How many it needs in its window. A file's pages are not placed: see zcipc_message_recv(). */
static inline unsigned long zcipc_transfer_needs(const struct zcipc_transfer_state *t)
{
	return t->ops->places ? zcipc_transfer_span(t) : 0;
}

int zcipc_direct_prepare(struct zcipc_transfer_state *t);
bool zcipc_direct_may_copy(const struct zcipc_transfer *cmd, int ret);
int zcipc_direct_copy_edges(struct zcipc_transfer_state *t);
void zcipc_direct_init(struct zcipc_direct *direct, const struct zcipc_transfer *cmd);
int zcipc_direct_admit(struct zcipc_transfer_state *t);
int zcipc_direct_work(struct zcipc_transfer_state *t);
void zcipc_direct_restore(struct zcipc_transfer_state *t);
void zcipc_direct_end(struct zcipc_transfer_state *t);

#endif /* ZCIPC_DIRECT_H */

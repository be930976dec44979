/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Many transfers with one call: see batch.c.
 */
#ifndef ZCIPC_BATCH_H
#define ZCIPC_BATCH_H

#include "base/base.h"
#include "map/carry.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "transfer/transfer.h"

/* So many pages are carried by a batch. */
#define ZCIPC_BATCH_CARRY	(4U * ZCIPC_MAX_BATCH)

/*
 * How much is done under one set of locks, in pages whose PTEs are moved: all of a batch of small
 * transfers, unless another user has to wait for it.
 */
#define ZCIPC_BATCH_COST	(13UL * ZCIPC_MAX_BATCH)
#define ZCIPC_BATCH_COST_OTHERS	384UL

/**
 * enum zcipc_batch_how - how transfers are made, and with what locks
 * @ZCIPC_BATCH_PART: as many as go together, with all locks
 * @ZCIPC_BATCH_ALONE: one that takes long, as if it were no batch's
 * @ZCIPC_BATCH_ATOMIC: all or none, with all locks
 * @ZCIPC_BATCH_LONG: all or none, and others could wait long for the locks of the endpoints, which
 *	are released meanwhile
 */
enum zcipc_batch_how {
	ZCIPC_BATCH_PART,
	ZCIPC_BATCH_ALONE,
	ZCIPC_BATCH_ATOMIC,
	ZCIPC_BATCH_LONG,
};

/**
 * struct zcipc_batch_entry - one transfer of a batch
 * @t: the transfer
 * @from: what is, or was, the sender's capability: see zcipc_batch_cap()
 * @to: the peer's capability, as long as the locks are held
 * @page: index of its first page in the list of those that are carried, if it is
 * @invalid: what is wrong with what was asked for, or 0
 * @ret: what came of it
 */
struct zcipc_batch_entry {
	struct zcipc_transfer_state t;
	struct zcipc_cap *from;
	struct zcipc_cap *to;
	u16 page;
	s16 invalid;
	int ret;
};

/* The index of a page that is carried. */
static_assert(ZCIPC_BATCH_CARRY <= U16_MAX);

/* Memory is allocated, and cleared, in powers of two. */
static_assert(sizeof(struct zcipc_batch_entry) <= 256);

/* What a transfer of an atomic batch names: the id of the region, and the entry. */
struct zcipc_batch_named {
	u64 region;
	const struct zcipc_batch_entry *entry;
};

/**
 * struct zcipc_batch - a batch under way, or a part of one
 * @ucmd: the call
 * @src: the sender
 * @how: it is made
 * @rest: how the next part is, which begins with the first transfer that is left; LONG: an atomic
 *	batch is to be tried again, as one that takes long
 * @others: some go to another user
 * @n: number of entries
 * @limit: how many of these are made
 * @cost: of all of them
 * @copied: bytes copied because somebody holds frames, or another user gets parts of huge pages
 * @cmds: what was asked for
 * @entries: the entries
 * @neps: number of endpoints
 * @eps: the endpoints to lock: the sender and the peers; when they are locked, each once
 * @sorted: the regions come in the order of their ids
 * @nalloc: entries that need memory
 * @conflict: index of the first transfer of an atomic batch that conflicts with one before it, or n
 * @nnamed: number of transfers of an atomic batch that name something
 * @named: what they name
 * @nregions: number of regions
 * @regions: the regions to lock, with references; when they are locked, each once
 * @nranges: number of ranges
 * @ranges: what is to be unmapped in the sender's windows
 * @npages: pages that are to be moved
 * @carry: those of them whose PTEs are carried
 * @ncarried: the entries before this index are, or have failed
 * @frames: room for some
 */
struct zcipc_batch {
	struct zcipc_ucmd *ucmd;
	struct zcipc_endpoint *src;
	enum zcipc_batch_how how;
	enum zcipc_batch_how rest;
	bool others;
	u32 n;
	u32 limit;
	unsigned long cost;
	u64 copied;
	struct zcipc_transfer *cmds;
	struct zcipc_batch_entry *entries;
	u32 neps;
	struct zcipc_endpoint **eps;
	bool sorted;
	u32 nalloc;
	u32 conflict;
	u32 nnamed;
	struct zcipc_batch_named *named;
	u32 nregions;
	struct zcipc_region **regions;
	u32 nranges;
	struct zcipc_range *ranges;
	unsigned long npages;
	struct zcipc_carry_list carry;
	u32 ncarried;
	struct zcipc_frame **frames;
};

static inline bool zcipc_batch_is_atomic(const struct zcipc_batch *b)
{
	return b->how >= ZCIPC_BATCH_ATOMIC;
}

/* Is that more than those who wait for the locks are to wait for? @others: of another user */
static __always_inline bool zcipc_batch_is_much(bool others, unsigned long cost)
{
	return unlikely(cost > (others ? ZCIPC_BATCH_COST_OTHERS : ZCIPC_BATCH_COST));
}

/* The capability of an entry, which may be revoked, or taken away by earlier entries. */
static __always_inline struct zcipc_cap *zcipc_batch_cap(struct zcipc_batch *b,
							 struct zcipc_batch_entry *entry)
{
	u64 token = entry->t.cmd->cap;

	if (entry->ret)
		return ERR_PTR(entry->ret);
	return likely(zcipc_cap_is_at(b->src, entry->from, token)) ? entry->from :
								     zcipc_cap_find(b->src, token);
}

/* batch-prepare.c */
void zcipc_batch_prepare(struct zcipc_batch *b);
void zcipc_batch_look(struct zcipc_batch *b);

/* batch-carry.c */
void zcipc_batch_dismiss(struct zcipc_batch *b, struct zcipc_batch_entry *entry);
void zcipc_batch_carry(struct zcipc_batch *b);
void zcipc_batch_end_carry(struct zcipc_batch *b);
void zcipc_batch_unmap(struct zcipc_batch *b);
void zcipc_batch_populate(struct zcipc_batch *b);

/* batch.c */
int zcipc_batch_make(const struct zcipc_batch *all, int *result);

#endif /* ZCIPC_BATCH_H */

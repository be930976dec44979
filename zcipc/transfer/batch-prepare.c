// SPDX-License-Identifier: GPL-2.0
/*
 * What is done about a batch before anything is changed: which transfers go together, what they
 * need, and, once all is locked, which of them there still can be.
 */
#include "base/base.h"

#include <linux/sort.h>

#include "base/trace.h"
#include "mem/region.h"
#include "map/carry.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "transfer/batch.h"
#include "transfer/transfer.h"

/* A transfer costs as much as some more pages, and a copy of a page as several. */
#define ZCIPC_BATCH_ENTRY_COST	7
#define ZCIPC_BATCH_COPY_COST	8

/* So many transfers can be atomic if another user has to wait for them. */
#define ZCIPC_BATCH_ATOMIC_OTHERS	64U

/* Finds the peer, which is mostly that of the one before, @last, if there is one. */
static int zcipc_batch_find_peer(struct zcipc_batch *b, struct zcipc_batch_entry *entry,
				 const struct zcipc_batch_entry *last)
{
	int ret;

	if (last && last->t.cmd->peer == entry->t.cmd->peer &&
	    !((last->t.cmd->flags ^ entry->t.cmd->flags) & ZCIPC_F_PEER_FD)) {
		entry->t.dst = last->t.dst;
		entry->t.borrowed = true;
		return 0;
	}
	ret = zcipc_transfer_find_peer(&entry->t);
	if (!ret && zcipc_batch_is_atomic(b) && b->n > ZCIPC_BATCH_ATOMIC_OTHERS &&
	    entry->t.dst->space.user != b->src->space.user)
		ret = -E2BIG;
	if (!ret && entry->t.dst != b->eps[b->neps - 1])
		b->eps[b->neps++] = entry->t.dst;
	return ret;
}

/* What a transfer costs those who wait for its locks, if it is not one of a few small pages. */
static noinline unsigned long zcipc_batch_cost_any(const struct zcipc_transfer_state *t,
						   const struct zcipc_region *region)
{
	unsigned long n = ZCIPC_BATCH_ENTRY_COST;

	if (zcipc_transfer_is_long(t, region))
		return ZCIPC_BATCH_COST + 1;
	/* Nothing is placed. */
	if (region->file)
		return n;
	if (t->cmd->cache != ZCIPC_CACHE_DEFAULT || t->ops->copies ||
	    t->cmd->node != ZCIPC_NODE_ANY ||
	    (t->cmd->type == ZCIPC_COPY && (region->pinnable || region->npinned || region->cache)))
		n += t->npages * ZCIPC_BATCH_COPY_COST;
	else
		n += zcipc_region_entries(region, t->first, t->npages);
	if (t->cmd->type != ZCIPC_SHARE || t->cmd->node != ZCIPC_NODE_ANY)
		n += READ_ONCE(region->nuses);
	return n;
}

/* What a transfer costs those who wait for its locks. */
static __always_inline unsigned long zcipc_batch_cost(const struct zcipc_transfer_state *t,
						      const struct zcipc_region *region)
{
	if (likely(t->npages <= ZCIPC_LONG_COPIES && t->cmd->type != ZCIPC_COPY &&
		   t->cmd->cache == ZCIPC_CACHE_DEFAULT && t->cmd->node == ZCIPC_NODE_ANY &&
		   !zcipc_region_has_many(region) && !t->cmd->flags))
		return t->npages + ZCIPC_BATCH_ENTRY_COST +
		       (t->cmd->type == ZCIPC_MOVE ? READ_ONCE(region->nuses) : 0);
	return zcipc_batch_cost_any(t, region);
}

/*
 * Adds an entry to those that are made under one set of locks. Returns false if there is no room
 * for it there. Without the region's lock all this is a guess.
 */
static __always_inline bool zcipc_batch_takes(struct zcipc_batch *b,
					      struct zcipc_batch_entry *entry,
					      const struct zcipc_region *region)
{
	unsigned long cost = b->cost + zcipc_batch_cost(&entry->t, region);
	bool others = b->others || entry->t.dst->space.user != b->src->space.user;

	if (zcipc_batch_is_much(others, cost)) {
		/* There has to be one. */
		if (!zcipc_batch_is_atomic(b) && entry > b->entries)
			return false;
		b->how = zcipc_batch_is_atomic(b) ? ZCIPC_BATCH_LONG : ZCIPC_BATCH_ALONE;
	}
	b->others = others;
	b->cost = cost;
	return true;
}

static int zcipc_batch_compare_named(const void *a, const void *b)
{
	const struct zcipc_batch_named *x = a, *y = b;

	if (x->region != y->region)
		return x->region < y->region ? -1 : 1;
	return x->entry->t.first < y->entry->t.first ? -1 :
	       x->entry->t.first > y->entry->t.first;
}

/* Does one of the first @n transfers move pages that another one of these names? */
static bool zcipc_batch_conflicts(const struct zcipc_batch *b, u32 n)
{
	unsigned long end = 0, moved = 0;
	u64 region = 0;
	u32 i;

	for (i = 0; i < b->nnamed; i++) {
		const struct zcipc_transfer_state *t = &b->named[i].entry->t;
		bool moves = t->cmd->type == ZCIPC_MOVE;

		if (b->named[i].entry >= b->entries + n)
			continue;
		if (b->named[i].region != region) {
			region = b->named[i].region;
			end = 0;
			moved = 0;
		}
		if (t->first < (moves ? end : moved))
			return true;
		end = max(end, t->first + t->npages);
		if (moves)
			moved = end;
	}
	return false;
}

/*
 * Finds the first transfer of an atomic batch that conflicts with one before it. What a token names
 * does not change, so no lock is needed for that.
 */
static void zcipc_batch_find_conflict(struct zcipc_batch *b)
{
	b->conflict = b->n;
	/* Each has a region of its own. */
	if (b->sorted && b->nnamed == b->nregions)
		return;
	sort(b->named, b->nnamed, sizeof(*b->named), zcipc_batch_compare_named, NULL);
	for (; zcipc_batch_conflicts(b, b->conflict); b->conflict--)
		cond_resched();
}

/* Finds the peers and allocates. Entries that there is no room for are left to another part. */
void zcipc_batch_prepare(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *last = NULL, *end = b->entries + b->n;
	struct zcipc_transfer *cmd = b->cmds;
	bool atomic = zcipc_batch_is_atomic(b);
	struct zcipc_cap *cap;
	u64 region = 0;
	u32 i, neps;

	if (b->how == ZCIPC_BATCH_ALONE) {
		b->n = 1;
		return;
	}
	b->eps[b->neps++] = b->src;
	b->sorted = true;
	mutex_lock(&b->src->space.lock);
	for (entry = b->entries; entry < end && b->how != ZCIPC_BATCH_ALONE; entry++, cmd++) {
		neps = b->neps;
		entry->t.cmd = cmd;
		entry->t.src = b->src;
		entry->t.keep_cache = atomic;
		entry->t.brief = true;
		if (!entry->ret)
			entry->ret = zcipc_batch_find_peer(b, entry, last);
		if (entry->ret)
			continue;
		last = entry;
		cap = zcipc_transfer_find(&entry->t);
		if (IS_ERR(cap)) {
			entry->ret = PTR_ERR(cap);
			continue;
		}
		if (unlikely(!zcipc_batch_takes(b, entry, cap->extent.region))) {
			b->neps = neps;
			break;
		}
		entry->from = cap;
		if (atomic)
			b->named[b->nnamed++] = (struct zcipc_batch_named){
				.region = cap->extent.region->id, .entry = entry,
			};
		if (cap->extent.region->id < region)
			b->sorted = false;
		if (cap->extent.region->id != region)
			b->regions[b->nregions++] = zcipc_region_get(cap->extent.region);
		region = cap->extent.region->id;
		b->nalloc += !zcipc_transfer_is_whole(&entry->t);
		if (entry->t.cmd->type == ZCIPC_MOVE)
			b->npages += entry->t.npages;
	}
	mutex_unlock(&b->src->space.lock);
	b->n = entry - b->entries;
	/* The first of the next part. */
	if (entry < end) {
		zcipc_transfer_free(&entry->t);
		memset(&entry->t, 0, sizeof(entry->t));
	}
	if (b->how == ZCIPC_BATCH_ALONE)
		return;
	if (atomic)
		zcipc_batch_find_conflict(b);
	if (b->how != ZCIPC_BATCH_LONG && zcipc_carry_is_worth(b->npages))
		b->carry.pages = kvmalloc_array(min(b->npages, ZCIPC_BATCH_CARRY),
						sizeof(*b->carry.pages), GFP_KERNEL_ACCOUNT);
	for (i = 0; i < b->n && (b->nalloc || trace_zcipc_prepare_enabled()); i++) {
		entry = &b->entries[i];
		if (!entry->ret)
			entry->ret = zcipc_transfer_alloc(&entry->t);
		if (!entry->ret)
			trace_zcipc_prepare(entry->t.src->space.id, entry->t.dst->space.id,
					    entry->t.cmd->type, entry->t.npages);
	}
}

/*
 * Finds out which transfers there still can be. They can as long as all are locked. What they cost
 * was a guess until now, and may be much more.
 */
void zcipc_batch_look(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;
	const struct zcipc_endpoint *last = NULL;
	unsigned long cost = 0;
	struct zcipc_cap *cap;
	int ret = 0;

	for (entry = b->entries; entry < end; entry++) {
		if (entry->ret)
			continue;
		if (entry->t.dst != last || entry->t.cmd->flags & ZCIPC_F_PEER_FD) {
			/* Who was found by a file descriptor says nothing of others. */
			last = entry->t.cmd->flags & ZCIPC_F_PEER_FD ? NULL : entry->t.dst;
			ret = atomic_read(&entry->t.dst->space.mm->mm_users) ?
			      zcipc_transfer_may_send(&entry->t) : -ESRCH;
		}
		entry->ret = ret;
		if (ret)
			continue;
		/* What a token names does not change, so rights, range and region are right. */
		cap = zcipc_batch_cap(b, entry);
		if (IS_ERR(cap)) {
			entry->ret = PTR_ERR(cap);
			continue;
		}
		entry->from = cap;
		cost += zcipc_batch_cost(&entry->t, cap->extent.region);
		if (b->how == ZCIPC_BATCH_LONG || !zcipc_batch_is_much(b->others, cost))
			continue;
		if (b->how == ZCIPC_BATCH_ATOMIC)
			b->rest = ZCIPC_BATCH_LONG;
		break;
	}
	b->limit = entry - b->entries;
	b->cost = cost;
}

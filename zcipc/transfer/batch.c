// SPDX-License-Identifier: GPL-2.0
/*
 * Batches: many transfers under one set of locks, and with one TLB shootdown.
 *
 * Others wait for these locks, so what is done under them is limited. A batch of more than that is
 * made in parts, one after the other, and what takes long by itself is a part alone, made as if it
 * were no batch's. An atomic batch has one part. If that is more than it should be, the locks of
 * the endpoints are released while all is prepared, and what is left to do under them is to enter
 * the results in their tables.
 *
 * The locks of all regions and endpoints that take part are taken first, in the order of their ids.
 * Then all that the sender loses or that becomes copy-on-write leaves the sender's page tables at
 * once, before the transfers are made one by one. The peers' page tables are populated at the end.
 * What is most usual, MOVEs to one peer of what nobody else has mapped, is carried: see carry.c.
 *
 * The sender's mmap_lock is held all the time. That is what keeps its VMAs as they are while they
 * are taken apart, and what tells lockdep that these many locks of a kind have an order.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timex.h>
#include <linux/uaccess.h>

#include <linux/zcipc.h>

#include "base/limits.h"
#include "base/test.h"
#include "base/trace.h"
#include "base/ucmd.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/room.h"
#include "transfer/batch.h"
#include "transfer/transfer.h"

/* So many pages are carried by a batch. */
#define ZCIPC_BATCH_CARRY	(4U * ZCIPC_MAX_BATCH)

/*
 * How much is done under one set of locks, in pages whose PTEs are moved: all of a batch of small
 * transfers, unless another user has to wait for it. A transfer costs as much as some more pages,
 * and a copy of a page as several.
 */
#define ZCIPC_BATCH_COST	(13UL * ZCIPC_MAX_BATCH)
#define ZCIPC_BATCH_COST_OTHERS	384UL
#define ZCIPC_BATCH_ENTRY_COST	7
#define ZCIPC_BATCH_COPY_COST	8

/* So many transfers can be atomic if another user has to wait for them. */
#define ZCIPC_BATCH_ATOMIC_OTHERS	64U

/* How often a batch waits for a region without the mmap_lock. */
#define ZCIPC_BATCH_TRIES	16

/**
 * struct zcipc_batch_entry - one transfer of a batch
 * @t: the transfer
 * @from: the sender's capability; before the locks are held, and when an earlier transfer took it,
 *	what was it
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

/**
 * struct zcipc_batch_named - what a transfer of an atomic batch names
 * @region: id of a region
 * @t: the transfer
 * @index: of its entry
 */
struct zcipc_batch_named {
	u64 region;
	const struct zcipc_transfer_state *t;
	u32 index;
};

/**
 * struct zcipc_batch - a batch under way, or a part of one
 * @ucmd: the call
 * @src: the sender
 * @atomic: all or none
 * @alone: its only transfer takes long, and is made as if it were no batch's
 * @is_long: others could wait long for the locks of an atomic batch
 * @rest_alone: the first transfer that it leaves to the next part takes long
 * @rest_long: an atomic batch is to be tried again, as one that takes long
 * @counted: a part of it has been counted as a batch
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
 * @carry_mm: the peer's mm, locked for that, if it is another one, or NULL
 * @frames: room for some
 */
struct zcipc_batch {
	struct zcipc_ucmd *ucmd;
	struct zcipc_endpoint *src;
	bool atomic;
	bool alone;
	bool is_long;
	bool rest_alone;
	bool rest_long;
	bool counted;
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
	struct mm_struct *carry_mm;
	struct zcipc_frame **frames;
};

static int zcipc_batch_alloc(struct zcipc_batch *b)
{
	b->cmds = kvcalloc(b->n, sizeof(*b->cmds), GFP_KERNEL_ACCOUNT);
	b->entries = kvcalloc(b->n, sizeof(*b->entries), GFP_KERNEL_ACCOUNT);
	b->eps = kvmalloc_array(b->n + 1, sizeof(*b->eps), GFP_KERNEL_ACCOUNT);
	b->regions = kvmalloc_array(b->n, sizeof(*b->regions), GFP_KERNEL_ACCOUNT);
	b->ranges = kvmalloc_array(b->n + 1, sizeof(*b->ranges), GFP_KERNEL_ACCOUNT);
	b->frames = kvmalloc_array(b->n, sizeof(*b->frames), GFP_KERNEL_ACCOUNT);
	if (b->atomic)
		b->named = kvmalloc_array(b->n, sizeof(*b->named), GFP_KERNEL_ACCOUNT);
	if (!b->cmds || !b->entries || !b->eps || !b->regions || !b->ranges || !b->frames ||
	    (b->atomic && !b->named))
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

/* Frees what a part has needed, but for the arrays, which the next one uses again. */
static void zcipc_batch_end(struct zcipc_batch *b)
{
	u32 i;

	/* Backwards: the first of those that go to a peer has the reference. */
	for (i = b->n; i-- > 0;)
		zcipc_transfer_free(&b->entries[i].t);
	for (i = 0; i < b->nregions; i++)
		zcipc_region_put(b->regions[i]);
	kvfree(b->carry.pages);
}

/* A transfer that nothing has been done about. What was is zero. */
static __always_inline void zcipc_batch_init_entry(const struct zcipc_batch *b,
						   struct zcipc_batch_entry *entry,
						   struct zcipc_transfer *cmd)
{
	entry->t.cmd = cmd;
	entry->t.src = b->src;
	entry->t.keep_cache = b->atomic;
	entry->t.brief = true;
}

/* Checks a transfer by itself. */
static int zcipc_batch_validate(const struct zcipc_transfer *cmd, u32 size)
{
	int ret;

	if (cmd->size != size)
		return -EINVAL;
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
		zcipc_batch_init_entry(b, entry, t);
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
	if (!ret && b->atomic && b->n > ZCIPC_BATCH_ATOMIC_OTHERS &&
	    entry->t.dst->space.user != b->src->space.user)
		ret = -E2BIG;
	if (!ret && entry->t.dst != b->eps[b->neps - 1])
		b->eps[b->neps++] = entry->t.dst;
	return ret;
}

static int zcipc_batch_alloc_entry(struct zcipc_batch_entry *entry)
{
	int ret = zcipc_transfer_alloc(&entry->t);

	if (!ret)
		trace_zcipc_prepare(entry->t.src->space.id, entry->t.dst->space.id,
				    entry->t.cmd->type, entry->t.npages);
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
	if (t->cmd->cache != ZCIPC_CACHE_DEFAULT || t->copy || t->cmd->node != ZCIPC_NODE_ANY ||
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

/* Is that more than those who wait for the locks are to wait for? @others: of another user */
static __always_inline bool zcipc_batch_is_much(bool others, unsigned long cost)
{
	return unlikely(cost > (others ? ZCIPC_BATCH_COST_OTHERS : ZCIPC_BATCH_COST));
}

/* Have earlier transfers of the batch made so many of it that this one takes long? */
static __always_inline bool zcipc_batch_has_grown(const struct zcipc_transfer_state *t,
						  const struct zcipc_region *region)
{
	return unlikely(zcipc_region_has_many(region)) && zcipc_transfer_is_long(t, region);
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
		if (!b->atomic && entry > b->entries)
			return false;
		b->is_long = b->atomic;
		b->alone = !b->atomic;
	}
	b->others = others;
	b->cost = cost;
	return true;
}

/* Does one of two transfers of a region move pages that the other names? */
static bool zcipc_batch_conflict(const struct zcipc_transfer_state *x,
				 const struct zcipc_transfer_state *y)
{
	return (x->cmd->type == ZCIPC_MOVE || y->cmd->type == ZCIPC_MOVE) &&
	       x->first < y->first + y->npages && y->first < x->first + x->npages;
}

static int zcipc_batch_compare_named(const void *a, const void *b)
{
	const struct zcipc_batch_named *x = a, *y = b;

	if (x->region != y->region)
		return x->region < y->region ? -1 : 1;
	return x->t->first < y->t->first ? -1 : x->t->first > y->t->first;
}

/* Do any two transfers of an atomic batch conflict? */
static bool zcipc_batch_conflicts(struct zcipc_batch *b)
{
	unsigned long end = 0, moved = 0;
	u32 i;

	/* Each has a region of its own. */
	if (b->sorted && b->nnamed == b->nregions)
		return false;
	sort(b->named, b->nnamed, sizeof(*b->named), zcipc_batch_compare_named, NULL);
	for (i = 0; i < b->nnamed; i++) {
		const struct zcipc_transfer_state *t = b->named[i].t;
		bool moves = t->cmd->type == ZCIPC_MOVE;

		if (!i || b->named[i].region != b->named[i - 1].region) {
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
	u32 i, j, first = b->n;

	b->conflict = b->n;
	if (!zcipc_batch_conflicts(b))
		return;
	for (i = 0; i < b->nnamed; i++) {
		for (j = i + 1; j < b->nnamed && b->named[j].region == b->named[i].region; j++)
			if (zcipc_batch_conflict(b->named[i].t, b->named[j].t))
				first = min(first, max(b->named[i].index, b->named[j].index));
		cond_resched();
	}
	b->conflict = first;
}

/* Finds the peers and allocates. Entries that there is no room for are left to another part. */
static void zcipc_batch_prepare(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *last = NULL, *end = b->entries + b->n;
	struct zcipc_endpoint *unused = NULL;
	struct zcipc_cap *cap;
	u64 region = 0;
	u32 i, neps;

	if (b->alone) {
		b->n = 1;
		return;
	}
	b->eps[b->neps++] = b->src;
	b->sorted = true;
	mutex_lock(&b->src->space.lock);
	for (entry = b->entries; entry < end && !b->alone; entry++) {
		neps = b->neps;
		if (!entry->ret)
			entry->ret = zcipc_batch_find_peer(b, entry, last);
		if (entry->ret)
			continue;
		cap = zcipc_transfer_look(&entry->t);
		if (IS_ERR(cap)) {
			last = entry;
			entry->ret = PTR_ERR(cap);
			continue;
		}
		if (unlikely(!zcipc_batch_takes(b, entry, cap->extent.region))) {
			unused = entry->t.borrowed ? NULL : entry->t.dst;
			b->neps = neps;
			memset(&entry->t, 0, sizeof(entry->t));
			zcipc_batch_init_entry(b, entry, b->cmds + (entry - b->entries));
			break;
		}
		last = entry;
		entry->from = cap;
		if (b->atomic)
			b->named[b->nnamed++] = (struct zcipc_batch_named){
				.region = cap->extent.region->id,
				.t = &entry->t,
				.index = entry - b->entries,
			};
		if (cap->extent.region->id < region)
			b->sorted = false;
		if (cap->extent.region->id != region)
			b->regions[b->nregions++] = zcipc_region_get(cap->extent.region);
		region = cap->extent.region->id;
		b->nalloc += !entry->t.whole;
		if (entry->t.cmd->type == ZCIPC_MOVE)
			b->npages += entry->t.npages;
	}
	mutex_unlock(&b->src->space.lock);
	b->n = entry - b->entries;
	if (unused)
		zcipc_endpoint_put(unused);
	if (b->alone)
		return;
	if (b->atomic)
		zcipc_batch_find_conflict(b);
	if (!b->is_long && zcipc_carry_is_worth(b->npages))
		b->carry.pages = kvmalloc_array(min(b->npages, ZCIPC_BATCH_CARRY),
						sizeof(*b->carry.pages), GFP_KERNEL_ACCOUNT);
	for (i = 0; i < b->n && (b->nalloc || trace_zcipc_prepare_enabled()); i++)
		if (!b->entries[i].ret)
			b->entries[i].ret = zcipc_batch_alloc_entry(&b->entries[i]);
}

static int zcipc_batch_compare_eps(const void *a, const void *b)
{
	u64 x = (*(struct zcipc_endpoint * const *)a)->space.id;
	u64 y = (*(struct zcipc_endpoint * const *)b)->space.id;

	return x < y ? -1 : x > y;
}

static int zcipc_batch_compare_regions(const void *a, const void *b)
{
	u64 x = (*(struct zcipc_region * const *)a)->id;
	u64 y = (*(struct zcipc_region * const *)b)->id;

	return x < y ? -1 : x > y;
}

/* Puts the endpoints in the order in which they are locked, each once. */
static void zcipc_batch_sort_endpoints(struct zcipc_batch *b)
{
	u32 i, n = b->neps;

	sort(b->eps, n, sizeof(*b->eps), zcipc_batch_compare_eps, NULL);
	for (b->neps = 0, i = 0; i < n; i++)
		if (!i || b->eps[i] != b->eps[i - 1])
			b->eps[b->neps++] = b->eps[i];
}

static void zcipc_batch_lock_endpoints(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->neps; i++)
		mutex_lock_nest_lock(&b->eps[i]->space.lock, &b->src->space.mm->mmap_lock);
}

static void zcipc_batch_unlock_endpoints(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->neps; i++)
		mutex_unlock(&b->eps[i]->space.lock);
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

/* Puts the regions in the order in which they are locked, each once. */
static void zcipc_batch_sort_regions(struct zcipc_batch *b)
{
	u32 i, n = b->nregions;

	/* None comes twice if the second one would be next to the first. */
	if (b->sorted)
		return;
	sort(b->regions, n, sizeof(*b->regions), zcipc_batch_compare_regions, NULL);
	for (b->nregions = 0, i = 0; i < n; i++) {
		if (b->nregions && b->regions[i] == b->regions[b->nregions - 1])
			zcipc_region_put(b->regions[i]);
		else
			b->regions[b->nregions++] = b->regions[i];
	}
}

/* Locks the peers' new regions, which nobody else knows, if they stay without frames for long. */
static void zcipc_batch_lock_new(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; b->is_long && i < b->n; i++)
		if (b->entries[i].t.region)
			mutex_lock_nest_lock(&b->entries[i].t.region->lock,
					     &b->src->space.mm->mmap_lock);
}

static void zcipc_batch_unlock_new(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; b->is_long && i < b->n; i++)
		if (b->entries[i].t.region)
			mutex_unlock(&b->entries[i].t.region->lock);
}

/*
 * Locks the sender's address space and all regions, before the endpoints. Whoever has a region may
 * keep it long, and all other threads of the sender need the mmap_lock meanwhile. Returns 0, or
 * -EINTR, with nothing locked.
 */
static int zcipc_batch_lock_regions(struct zcipc_batch *b)
{
	struct mm_struct *mm = b->src->space.mm;
	struct zcipc_region *region;
	u32 i, tries = 0;

again:
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	for (i = 0; i < b->nregions; i++) {
		region = b->regions[i];
		/* Who never finds all free at once has to stand in line at last. */
		if (likely(!mutex_is_locked(&region->lock)) || tries > ZCIPC_BATCH_TRIES) {
			mutex_lock_nest_lock(&region->lock, &mm->mmap_lock);
			continue;
		}
		while (i-- > 0)
			mutex_unlock(&b->regions[i]->lock);
		mmap_read_unlock(mm);
		if (mutex_lock_killable(&region->lock))
			return -EINTR;
		mutex_unlock(&region->lock);
		tries++;
		goto again;
	}
	zcipc_batch_lock_new(b);
	return 0;
}

/*
 * Finds out which transfers there still can be. They can as long as all are locked. What they cost
 * was a guess until now, and may be much more.
 */
static void zcipc_batch_look(struct zcipc_batch *b)
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
			ret = 0;
			if (entry->t.dst->space.dead ||
			    !atomic_read(&entry->t.dst->space.mm->mm_users))
				ret = -ESRCH;
			else if (!zcipc_transfer_accepted(&entry->t))
				ret = -EPERM;
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
		if (b->is_long || !zcipc_batch_is_much(b->others, cost))
			continue;
		b->rest_long = b->atomic;
		break;
	}
	b->limit = entry - b->entries;
	b->cost = cost;
}

/* Releases the locks, and does on the way what needs those of the regions alone. */
static void zcipc_batch_unlock(struct zcipc_batch *b)
{
	u32 i;

	zcipc_batch_unlock_endpoints(b);
	for (i = 0; b->is_long && i < b->n; i++) {
		if (!b->entries[i].ret)
			zcipc_transfer_finish(&b->entries[i].t, b->entries[i].from);
		cond_resched();
	}
	zcipc_batch_unlock_new(b);
	/* The last transfer of a region does not free it: see zcipc_transfer_free(). */
	for (i = 0; i < b->nregions; i++)
		mutex_unlock(&b->regions[i]->lock);
}

/* The sender's mappings of a range, if there is room to note them all. */
static bool zcipc_batch_add_ranges(struct zcipc_batch *b, const struct zcipc_transfer_state *t,
				   struct zcipc_region *region)
{
	u32 old = b->nranges;
	struct zcipc_slot *slot;
	struct zcipc_extent *extent;

	for (extent = zcipc_extent_next(region, NULL, t->first, t->npages); extent;
	     extent = zcipc_extent_next(region, extent, t->first, t->npages)) {
		if (extent->space != &b->src->space)
			continue;
		list_for_each_entry(slot, &extent->slots, entry) {
			unsigned long start = max(t->first, slot->first);
			unsigned long end = min(t->first + t->npages, slot->first + slot->npages);

			if (start >= end)
				continue;
			if (b->nranges == b->n) {
				b->nranges = old;
				return false;
			}
			b->ranges[b->nranges].pgoff = slot->pgoff + start - slot->first;
			b->ranges[b->nranges++].npages = end - start;
		}
	}
	return true;
}

/* The only mapping of what an entry moves, if it can be carried, or NULL. */
static struct zcipc_slot *zcipc_batch_carries(const struct zcipc_batch_entry *entry)
{
	const struct zcipc_transfer_state *t = &entry->t;
	const struct zcipc_cap *cap = entry->from;
	const struct zcipc_region *region = cap->extent.region;
	struct zcipc_slot *slot;

	if (t->cmd->type != ZCIPC_MOVE || t->cmd->cache != ZCIPC_CACHE_DEFAULT ||
	    t->cmd->node != ZCIPC_NODE_ANY || region->npinned || region->parts || region->special ||
	    region->file || cap->extent.nslots != 1 ||
	    region->extents.next != &cap->extent.region_entry ||
	    region->extents.prev != &cap->extent.region_entry)
		return NULL;
	slot = list_first_entry(&cap->extent.slots, struct zcipc_slot, entry);
	if (t->first < slot->first || t->first + t->npages > slot->first + slot->npages ||
	    zcipc_slot_is_pfnmap(slot))
		return NULL;
	return slot;
}

/* Puts back what is not moved after all, or cannot be carried. */
static void zcipc_batch_return(struct zcipc_batch *b, struct zcipc_batch_entry *entry)
{
	if (!entry->t.carried)
		return;
	zcipc_carry_list_return(&b->carry, entry->page, entry->t.npages);
	entry->t.carried = false;
	b->ncarried = min_t(u32, b->ncarried, entry - b->entries);
}

/* Gives up what was carried, and its place in the peer. */
static void zcipc_batch_dismiss(struct zcipc_batch *b, struct zcipc_batch_entry *entry)
{
	zcipc_batch_return(b, entry);
	if (entry->t.admitted)
		zcipc_transfer_dismiss(&entry->t);
}

/*
 * Finds out what can be carried: transfers to one peer, up to the first that is different. They are
 * given their places in the peer already, in their order, so that those after them are none the
 * worse, nor better, for that.
 */
static void zcipc_batch_carry(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->limit;
	unsigned int max = min(b->npages, ZCIPC_BATCH_CARRY);
	struct zcipc_endpoint *dst = NULL;

	if (!b->carry.pages)
		return;
	for (entry = b->entries; entry < end; entry++) {
		struct zcipc_transfer_state *t = &entry->t;
		struct zcipc_slot *slot;

		if (entry->ret)
			continue;
		slot = zcipc_batch_carries(entry);
		if (!slot || t->npages > max - b->carry.n)
			break;
		if (t->dst != dst) {
			if (dst || t->dst == b->src)
				break;
			dst = t->dst;
			b->carry.src = &b->src->space;
			b->carry.dst = &dst->space;
			if (dst->space.mm != b->src->space.mm) {
				if (!mmget_not_zero(dst->space.mm))
					break;
				/* Nobody may wait for a second one. */
				if (!mmap_read_trylock(dst->space.mm)) {
					mmput_async(dst->space.mm);
					return;
				}
				b->carry_mm = dst->space.mm;
			}
		}
		if (zcipc_transfer_admit_plain(t, entry->from->extent.region))
			break;
		entry->page = b->carry.n;
		if (!zcipc_carry_list_add(&b->carry, slot, t->first, t->npages, t->pgoff,
					  t->rights & ZCIPC_RIGHT_WRITE)) {
			zcipc_transfer_dismiss(t);
			break;
		}
		t->carried = true;
	}
	b->ncarried = entry - b->entries;
	if (b->carry.n && !zcipc_carry_is_worth(b->carry.n)) {
		while (entry-- > b->entries)
			if (entry->t.admitted)
				zcipc_batch_dismiss(b, entry);
		b->carry.n = 0;
	}
}

/* Nothing is carried any more. */
static void zcipc_batch_unlock_peer(struct zcipc_batch *b)
{
	if (!b->carry_mm)
		return;
	mmap_read_unlock(b->carry_mm);
	mmput_async(b->carry_mm);
	b->carry_mm = NULL;
}

/*
 * Core mm is to unmap what an entry carries, though nothing will be left there: MMU notifiers hear
 * of it by that. There is room for one range of each entry.
 */
static void zcipc_batch_add_carried(struct zcipc_batch *b, const struct zcipc_batch_entry *entry)
{
	b->ranges[b->nranges++] = (struct zcipc_range){
		.pgoff = linear_page_index(b->carry.from, b->carry.pages[entry->page].from),
		.npages = entry->t.npages,
	};
}

/* Takes all out of the sender's page tables that has to go. */
static void zcipc_batch_unmap(struct zcipc_batch *b)
{
	bool watched = mm_has_notifiers(b->src->space.mm);
	unsigned int held;
	u32 i;

	for (i = watched ? 0 : b->ncarried; i < b->limit; i++) {
		struct zcipc_transfer_state *t = &b->entries[i].t;

		if (b->entries[i].ret)
			continue;
		if (t->carried && watched)
			zcipc_batch_add_carried(b, &b->entries[i]);
		if (t->carried)
			continue;
		cond_resched();
		if ((t->cmd->type == ZCIPC_MOVE || t->cmd->type == ZCIPC_COPY) &&
		    !zcipc_region_has_many(b->entries[i].from->extent.region))
			t->unmapped =
				zcipc_batch_add_ranges(b, t, b->entries[i].from->extent.region);
	}
	if (!b->carry.n) {
		zcipc_window_unmap_ranges(&b->src->space, b->ranges, b->nranges);
		return;
	}
	/* Whatever is unmapped now, it flushes all. */
	inc_tlb_flush_pending(b->src->space.mm);
	zcipc_carry_list_take(&b->carry);
	/* That there is a VMA is known of these alone. */
	b->ranges[b->nranges++] = (struct zcipc_range){
		.pgoff = linear_page_index(b->carry.from, b->carry.pages->from), .npages = 1,
	};
	zcipc_window_unmap_ranges(&b->src->space, b->ranges, b->nranges);
	dec_tlb_flush_pending(b->src->space.mm);
	zcipc_test_point("unmapped");
	held = zcipc_carry_list_held(&b->carry, 0);
	if (held == b->carry.n)
		return;
	b->nranges = 0;
	for (i = 0; i < b->n; i++) {
		struct zcipc_batch_entry *entry = &b->entries[i];

		if (!entry->t.carried)
			continue;
		if (held < entry->page + entry->t.npages) {
			zcipc_batch_return(b, entry);
			entry->t.unmapped = zcipc_batch_add_ranges(b, &entry->t,
								   entry->from->extent.region);
			held = zcipc_carry_list_held(&b->carry, entry->page + entry->t.npages);
		}
	}
	zcipc_window_unmap_ranges(&b->src->space, b->ranges, b->nranges);
}

/* Carries out what has been begun. */
static __always_inline void zcipc_batch_commit(struct zcipc_batch *b,
					       struct zcipc_batch_entry *entry,
					       struct zcipc_cap *cap)
{
	struct zcipc_transfer_state *t = &entry->t;

	/* Of what is carried, the capability has one slot. */
	if (t->carried && t->whole && !t->charged && cap->extent.slots.next == &cap->slot.entry) {
		zcipc_transfer_pass(t, cap);
		entry->to = cap;
	} else {
		entry->to = zcipc_transfer_commit(t, cap, false);
		entry->from = cap;
	}
}

/* Bytes that have been copied, which nobody could foresee. */
static u64 zcipc_batch_copied(const struct zcipc_batch_entry *entry)
{
	return entry->t.plan.held + ((u64)entry->t.plan.nloose << PAGE_SHIFT);
}

/*
 * Makes one transfer after the other. Returns how many: the rest is left to another part if copies,
 * which nobody could foresee, have taken long. Of those the first may be one that takes long.
 */
static u32 zcipc_batch_each(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries;
	u32 i, made = b->limit;

	b->rest_alone = !made;
	for (i = 0; i < made; i++, entry++) {
		struct zcipc_cap *cap = zcipc_batch_cap(b, entry);

		if (!(i % 16))
			cond_resched();
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
		else if (zcipc_batch_has_grown(&entry->t, cap->extent.region))
			entry->ret = -E2BIG;
		else
			entry->ret = zcipc_transfer_begin(&entry->t, cap);
		if (!entry->ret)
			zcipc_batch_commit(b, entry, cap);
		else
			zcipc_batch_dismiss(b, entry);
		if (likely(!entry->t.plan.held && !entry->t.plan.nloose && entry->ret != -E2BIG))
			continue;
		b->copied += zcipc_batch_copied(entry);
		b->rest_alone = !IS_ERR(cap) && entry->ret == -E2BIG;
		if (b->rest_alone)
			made = i;
		else if (b->copied > ZCIPC_LONG_COPIES << PAGE_SHIFT)
			made = i + 1;
	}
	for (i = made; i < b->n; i++) {
		zcipc_batch_dismiss(b, &b->entries[i]);
		b->entries[i].ret = -ECANCELED;
	}
	return made;
}

/* Index of the first that has failed, or n. */
static u32 zcipc_batch_failed(const struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->n && !b->entries[i].ret; i++)
		;
	return i;
}

/*
 * Does what takes long, which nobody who needs the endpoints waits for. All are admitted, and keep
 * their places. Returns the index of the one that fails, or n, and sets @begun to how many are to
 * be aborted then.
 */
static u32 zcipc_batch_work(struct zcipc_batch *b, u32 *begun)
{
	struct zcipc_batch_entry *entry;
	u32 i, j;

	zcipc_batch_unlock_endpoints(b);
	zcipc_test_point("long");
	/* At once, unless that takes long itself. */
	if (b->cost <= ZCIPC_BATCH_COST) {
		mutex_lock(&b->src->space.lock);
		zcipc_batch_unmap(b);
		mutex_unlock(&b->src->space.lock);
	}
	for (i = 0; i < b->n; i++) {
		entry = &b->entries[i];
		entry->ret = zcipc_transfer_work(&entry->t, entry->from);
		if (entry->ret)
			break;
		cond_resched();
	}
	*begun = i;
	zcipc_batch_lock_endpoints(b);
	for (j = 0; i == b->n && j < b->n; j++) {
		entry = &b->entries[j];
		entry->ret = zcipc_transfer_recheck(&entry->t);
		if (entry->ret)
			return j;
	}
	return i;
}

/* Takes back what has been begun, and what has been admitted. */
static void zcipc_batch_abort(struct zcipc_batch *b, u32 begun)
{
	u32 i;

	while (begun-- > 0)
		zcipc_transfer_abort(&b->entries[begun].t, b->entries[begun].from);
	for (i = 0; i < b->n; i++)
		zcipc_batch_dismiss(b, &b->entries[i]);
	/* Others may have seen that there was no room because of it. */
	for (i = 0; b->is_long && i < b->neps; i++)
		zcipc_endpoint_made_room(b->eps[i]);
}

/*
 * Looks at each page of an atomic batch that takes long, which nobody who needs the endpoints waits
 * for. The regions' locks keep the capabilities.
 */
static void zcipc_batch_survey(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;

	zcipc_batch_unlock_endpoints(b);
	zcipc_test_point("surveys");
	for (entry = b->entries; entry < end; entry++) {
		entry->t.brief = false;
		zcipc_transfer_survey(&entry->t, entry->from->extent.region);
		cond_resched();
	}
	zcipc_batch_lock_endpoints(b);
	for (entry = b->entries; entry < end; entry++)
		entry->ret = zcipc_transfer_may_send(&entry->t);
}

/* Begins all, so that they can be committed. Returns the index of the one that fails, or n. */
static u32 zcipc_batch_begin_all(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry;
	unsigned long slots = 0;
	struct zcipc_cap *cap;
	u32 i, begun;

	i = zcipc_batch_failed(b);
	if (i == b->n && b->is_long) {
		zcipc_batch_survey(b);
		i = zcipc_batch_failed(b);
	}
	if (i < b->n)
		return i;
	for (i = 0; i < b->n; i++) {
		entry = &b->entries[i];
		cap = zcipc_batch_cap(b, entry);
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
		else if (i == b->conflict)
			entry->ret = -EINVAL;
		/* They are taken from the sender one by one, with all locks. */
		if (!entry->ret && b->is_long && entry->t.cmd->type == ZCIPC_MOVE &&
		    entry->t.npages == cap->extent.npages) {
			slots += cap->extent.nslots;
			if (zcipc_batch_is_much(b->others, slots))
				entry->ret = -E2BIG;
		}
		if (!entry->ret)
			entry->ret = b->is_long ? zcipc_transfer_admit(&entry->t, cap) :
						  zcipc_transfer_begin(&entry->t, cap);
		b->copied += zcipc_batch_copied(entry);
		if (!b->is_long && b->copied > ZCIPC_LONG_COPIES << PAGE_SHIFT && !entry->ret) {
			zcipc_transfer_abort(&entry->t, cap);
			entry->ret = -E2BIG;
		}
		if (entry->ret)
			break;
		cond_resched();
	}
	begun = b->is_long ? 0 : i;
	if (i == b->n && b->is_long)
		i = zcipc_batch_work(b, &begun);
	if (i == b->n)
		return i;
	/* Those behind it may have their place already. */
	zcipc_batch_abort(b, begun);
	/* A snapshot has frames by now, or the peer another window: all begins anew. */
	b->rest_long = (!b->is_long && b->entries[i].ret == -E2BIG) ||
		       (b->entries[i].t.again && !signal_pending(current));
	return i;
}

/* All or none. */
static int zcipc_batch_atomic(struct zcipc_batch *b)
{
	u32 failed = zcipc_batch_begin_all(b);
	u32 i;

	for (i = 0; i < b->n; i++) {
		struct zcipc_batch_entry *entry = &b->entries[i];

		if (failed == b->n)
			zcipc_batch_commit(b, entry, entry->from);
		else if (i != failed)
			entry->ret = -ECANCELED;
	}
	return failed == b->n ? 0 : b->entries[failed].ret;
}

/* The next transfer from @i on that was carried out, and whose PTEs are to be made, or n. */
static u32 zcipc_batch_next(const struct zcipc_batch *b, u32 i)
{
	while (i < b->n && (b->entries[i].ret || b->entries[i].t.carried))
		i++;
	return i;
}

/*
 * How many pages of a slot there are to insert. Later transfers of the batch may have revoked what
 * an earlier one gave, or have moved pages of it away.
 */
static unsigned long zcipc_batch_shown(const struct zcipc_slot *slot)
{
	struct zcipc_frame **frames;
	unsigned long n;

	/* A file's pages are not placed at all. */
	if (!zcipc_cap_of(slot->extent) || slot->extent->revoked)
		return 0;
	frames = slot->extent->region->frames + slot->first;
	for (n = 0; n < slot->npages && frames[n]; n++)
		;
	return n;
}

/*
 * Inserts the PTEs of transfers to one peer, from @i on. Returns the first that goes to another.
 * The locks that are held, of all who have the frames, are as good as the regions' locks, which not
 * all are held: nobody else has found the new regions yet.
 */
static u32 zcipc_batch_populate_peer(struct zcipc_batch *b, u32 i, bool locked)
{
	struct zcipc_endpoint *dst = b->entries[i].t.dst;
	struct zcipc_populate populate = { .space = &dst->space };

	while (i < b->n && b->entries[i].t.dst == dst) {
		struct zcipc_slot *slot = &b->entries[i].to->slot;
		unsigned long pgoff = slot->pgoff;
		unsigned long npages = zcipc_batch_shown(slot);
		bool writable = slot->writable;
		struct zcipc_frame **frames;

		i = zcipc_batch_next(b, i + 1);
		if (!npages)
			continue;
		if (slot->extent->region->nhuge) {
			if (locked)
				zcipc_slot_populate_huge(slot, 0, slot->npages);
			continue;
		}
		frames = slot->extent->region->frames + slot->first;
		if (zcipc_slot_is_special(slot)) {
			if (locked)
				zcipc_window_populate(&dst->space, pgoff, zcipc_slot_addr(slot),
						      frames, npages, writable, true);
			continue;
		}
		if (npages == 1) {
			/* Single pages side by side go together. */
			b->frames[0] = *frames;
			frames = b->frames;
			while (i < b->n && b->entries[i].t.dst == dst) {
				slot = &b->entries[i].to->slot;
				if (slot->npages != 1 || slot->pgoff != pgoff + npages ||
				    slot->writable != writable || !zcipc_batch_shown(slot) ||
				    zcipc_slot_is_special(slot))
					break;
				frames[npages++] = slot->extent->region->frames[slot->first];
				i = zcipc_batch_next(b, i + 1);
			}
		}
		if (locked)
			zcipc_populate_add(&populate, pgoff, frames, npages, writable);
	}
	zcipc_populate_finish(&populate);
	return i;
}

/*
 * Inserts the PTEs of all transfers. The locks make that the frames stay, so an mmap_lock can only
 * be tried for: where somebody else has it, faults have to do.
 */
static void zcipc_batch_populate(struct zcipc_batch *b)
{
	u32 i = zcipc_batch_next(b, b->ncarried);

	while (i < b->n) {
		struct mm_struct *mm = b->entries[i].t.dst->space.mm;
		bool own = mm == b->src->space.mm;
		bool alive = own || mmget_not_zero(mm);
		bool locked = own || (alive && mmap_read_trylock(mm));

		i = zcipc_batch_populate_peer(b, i, locked);
		if (own)
			continue;
		if (locked)
			mmap_read_unlock(mm);
		if (alive)
			mmput_async(mm);
	}
}

/*
 * Under all locks. Nobody sees a state in between. Returns what came of an atomic batch, and sets
 * @made to how many transfers need not be tried again.
 */
static int zcipc_batch_locked(struct zcipc_batch *b, u32 *made)
{
	cycles_t start = get_cycles();
	int ret = 0;

	if (!b->is_long && (!b->atomic || zcipc_batch_failed(b) == b->n)) {
		zcipc_batch_carry(b);
		zcipc_batch_unmap(b);
	}
	if (b->atomic)
		ret = zcipc_batch_atomic(b);
	else
		*made = zcipc_batch_each(b);
	if (b->rest_long)
		*made = 0;
	zcipc_carry_list_give(&b->carry);
	if (b->carry.n)
		zcipc_endpoint_made_room(b->src);
	zcipc_batch_unlock_peer(b);
	/* Faults do it where that takes long. */
	if (!b->is_long)
		zcipc_batch_populate(b);
	zcipc_count(&b->src->space, NULL, BATCHES, !b->counted);
	b->counted = true;
	zcipc_count(&b->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	return ret;
}

/* A transfer that takes long: as if it were no batch's. */
static void zcipc_batch_alone(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries;

	entry->ret = zcipc_transfer_make(b->ucmd, entry->t.cmd, NULL, false);
	/* A batch waits for nothing: what was there went away again, and a signal came. */
	if (entry->ret == -ERESTARTSYS)
		entry->ret = -EAGAIN;
	if (b->counted)
		return;
	b->counted = true;
	mutex_lock(&b->src->space.lock);
	zcipc_count(&b->src->space, NULL, BATCHES, 1);
	mutex_unlock(&b->src->space.lock);
}

/*
 * Makes as many of the transfers as go together, and sets @made to how many. None, if the first has
 * to be made alone, or an atomic batch as one that takes long: the next call does that. @result:
 * what comes of an atomic batch. Returns 0, or -EINTR, with nothing done.
 */
static int zcipc_batch_part(struct zcipc_batch *b, u32 *made, int *result)
{
	int ret;

	zcipc_batch_prepare(b);
	zcipc_test_point("prepared");
	*made = b->n;
	if (b->alone) {
		zcipc_batch_alone(b);
		return 0;
	}
	zcipc_batch_sort_regions(b);
	zcipc_batch_sort_endpoints(b);
	ret = zcipc_batch_lock_regions(b);
	if (ret)
		return ret;
	zcipc_batch_lock_endpoints(b);
	zcipc_batch_look(b);
	if (b->rest_long)
		*made = 0;
	else
		*result = zcipc_batch_locked(b, made);
	zcipc_batch_unlock(b);
	mmap_read_unlock(b->src->space.mm);
	return 0;
}

/* Makes all transfers, part by part. Results and context as zcipc_batch_part(). */
static int zcipc_batch_parts(const struct zcipc_batch *all, int *result)
{
	bool alone = false, is_long = false, counted = false;
	struct zcipc_batch_entry *entry;
	struct zcipc_batch b;
	u32 at, i, made;
	int ret;

	for (at = 0; at < all->n; at += made) {
		if (at && fatal_signal_pending(current))
			return -EINTR;
		b = *all;
		b.cmds += at;
		b.entries += at;
		b.n -= at;
		b.alone = alone;
		b.is_long = is_long;
		b.counted = counted;
		ret = zcipc_batch_part(&b, &made, result);
		zcipc_batch_end(&b);
		if (ret)
			return ret;
		counted = b.counted;
		alone = b.rest_alone;
		is_long = b.rest_long;
		for (i = made; i < b.n; i++) {
			entry = &b.entries[i];
			entry->ret = entry->invalid;
			entry->from = NULL;
			memset(&entry->t, 0, sizeof(entry->t));
			zcipc_batch_init_entry(&b, entry, b.cmds + i);
		}
	}
	return 0;
}

/**
 * zcipc_transfer_batch() - ZCIPC_IOC_TRANSFER_BATCH
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_transfer_batch
 */
int zcipc_transfer_batch(struct zcipc_ucmd *ucmd)
{
	struct zcipc_transfer_batch *cmd = ucmd->cmd;
	struct zcipc_batch b = {
		.ucmd = ucmd,
		.src = ucmd->ep,
		.atomic = cmd->flags & ZCIPC_F_ATOMIC,
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
		ret = zcipc_batch_parts(&b, &result);
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

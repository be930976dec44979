// SPDX-License-Identifier: GPL-2.0
/*
 * Batches: many transfers under one set of locks, and with one TLB shootdown.
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

#include "trace.h"
#include "zcipc.h"

/* So many pages are carried by a batch. */
#define ZCIPC_BATCH_CARRY	(4U * ZCIPC_MAX_BATCH)

/**
 * struct zcipc_batch_entry - one transfer of a batch
 * @t: the transfer
 * @from: the sender's capability; before the locks are held, and when an earlier transfer took it,
 *	what was it
 * @to: the peer's capability, as long as the locks are held
 * @page: index of its first page in the list of those that are carried, if it is
 * @ret: what came of it
 */
struct zcipc_batch_entry {
	struct zcipc_transfer_state t;
	struct zcipc_cap *from;
	struct zcipc_cap *to;
	unsigned int page;
	int ret;
};

/* Memory is allocated, and cleared, in powers of two. */
static_assert(sizeof(struct zcipc_batch_entry) <= 256);

/**
 * struct zcipc_batch - a batch under way
 * @src: the sender
 * @atomic: all or none
 * @n: number of entries
 * @cmds: what was asked for
 * @entries: the entries
 * @neps: number of endpoints
 * @eps: the endpoints to lock: the sender and the peers; when they are locked, each once
 * @sorted: the regions come in the order of their ids
 * @nalloc: entries that need memory
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
	struct zcipc_endpoint *src;
	bool atomic;
	u32 n;
	struct zcipc_transfer *cmds;
	struct zcipc_batch_entry *entries;
	u32 neps;
	struct zcipc_endpoint **eps;
	bool sorted;
	u32 nalloc;
	u32 nregions;
	struct zcipc_region **regions;
	u32 nranges;
	struct zcipc_range *ranges;
	unsigned long npages;
	struct zcipc_carry_list carry;
	u32 ncarried;
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
	if (!b->cmds || !b->entries || !b->eps || !b->regions || !b->ranges || !b->frames)
		return -ENOMEM;
	return 0;
}

static void zcipc_batch_free(struct zcipc_batch *b)
{
	u32 i;

	/* Backwards: the first of those that go to a peer has the reference. */
	for (i = b->n; b->entries && i-- > 0;)
		zcipc_transfer_free(&b->entries[i].t);
	for (i = 0; i < b->nregions; i++)
		zcipc_region_put(b->regions[i]);
	kvfree(b->carry.pages);
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
		entry->t.cmd = t;
		entry->t.src = b->src;
		entry->t.keep_cache = b->atomic;
		if (!usual)
			entry->ret = copy_struct_from_user(t, sizeof(*t),
							   ubuffer + i * cmd->transfer_size,
							   cmd->transfer_size);
		if (entry->ret == -EFAULT)
			return -EFAULT;
		if (!entry->ret)
			entry->ret = zcipc_batch_validate(t, cmd->transfer_size);
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
		if (b->entries[i].ret != -E2BIG &&
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
	if (!ret && entry->t.dst != b->eps[b->neps - 1])
		b->eps[b->neps++] = entry->t.dst;
	return ret;
}

static int zcipc_batch_alloc_entry(struct zcipc_batch_entry *entry)
{
	int ret = zcipc_transfer_alloc(&entry->t);

	if (!ret)
		trace_zcipc_prepare(entry->t.src, entry->t.dst, entry->t.cmd->type,
				    entry->t.npages);
	return ret;
}

/* Finds the peers and allocates. */
static void zcipc_batch_prepare(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *last = NULL, *end = b->entries + b->n;
	struct zcipc_cap *cap;
	u64 region = 0;
	u32 i;

	b->eps[b->neps++] = b->src;
	b->sorted = true;
	mutex_lock(&b->src->lock);
	for (entry = b->entries; entry < end; entry++) {
		if (!entry->ret)
			entry->ret = zcipc_batch_find_peer(b, entry, last);
		if (entry->ret)
			continue;
		last = entry;
		cap = zcipc_transfer_look(&entry->t);
		if (IS_ERR(cap)) {
			entry->ret = PTR_ERR(cap);
			continue;
		}
		entry->from = cap;
		if (cap->region->id < region)
			b->sorted = false;
		if (cap->region->id != region)
			b->regions[b->nregions++] = zcipc_region_get(cap->region);
		region = cap->region->id;
		b->nalloc += !entry->t.whole;
		if (entry->t.cmd->type == ZCIPC_MOVE)
			b->npages += entry->t.npages;
	}
	mutex_unlock(&b->src->lock);
	if (zcipc_carry_is_worth(b->npages))
		b->carry.pages = kvmalloc_array(min(b->npages, ZCIPC_BATCH_CARRY),
						sizeof(*b->carry.pages), GFP_KERNEL_ACCOUNT);
	for (i = 0; i < b->n && (b->nalloc || trace_zcipc_prepare_enabled()); i++)
		if (!b->entries[i].ret)
			b->entries[i].ret = zcipc_batch_alloc_entry(&b->entries[i]);
}

static int zcipc_batch_compare_eps(const void *a, const void *b)
{
	u64 x = (*(struct zcipc_endpoint * const *)a)->id;
	u64 y = (*(struct zcipc_endpoint * const *)b)->id;

	return x < y ? -1 : x > y;
}

static int zcipc_batch_compare_regions(const void *a, const void *b)
{
	u64 x = (*(struct zcipc_region * const *)a)->id;
	u64 y = (*(struct zcipc_region * const *)b)->id;

	return x < y ? -1 : x > y;
}

/* Locks all endpoints. */
static void zcipc_batch_lock_endpoints(struct zcipc_batch *b)
{
	u32 i, n = b->neps;

	sort(b->eps, n, sizeof(*b->eps), zcipc_batch_compare_eps, NULL);
	for (b->neps = 0, i = 0; i < n; i++) {
		if (i && b->eps[i] == b->eps[i - 1])
			continue;
		b->eps[b->neps++] = b->eps[i];
		mutex_lock_nest_lock(&b->eps[i]->lock, &b->src->mm->mmap_lock);
	}
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

/* Locks all regions, before the endpoints. */
static void zcipc_batch_lock_regions(struct zcipc_batch *b)
{
	u32 i, n = b->nregions;

	if (!b->sorted)
		sort(b->regions, n, sizeof(*b->regions), zcipc_batch_compare_regions, NULL);
	for (b->nregions = 0, i = 0; i < n; i++) {
		struct zcipc_region *region = b->regions[i];

		if (b->nregions && region == b->regions[b->nregions - 1]) {
			zcipc_region_put(region);
			continue;
		}
		b->regions[b->nregions++] = region;
		mutex_lock_nest_lock(&region->lock, &b->src->mm->mmap_lock);
	}
}

/* Finds out which transfers there still can be. They can as long as all are locked. */
static void zcipc_batch_look(struct zcipc_batch *b)
{
	const struct zcipc_endpoint *last = NULL;
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;
	struct zcipc_cap *cap;
	int ret = 0;

	for (entry = b->entries; entry < end; entry++) {
		if (entry->ret)
			continue;
		if (entry->t.dst != last || entry->t.cmd->flags & ZCIPC_F_PEER_FD) {
			/* Who was found by a file descriptor says nothing of others. */
			last = entry->t.cmd->flags & ZCIPC_F_PEER_FD ? NULL : entry->t.dst;
			ret = 0;
			if (entry->t.dst->dead || !atomic_read(&entry->t.dst->mm->mm_users))
				ret = -ESRCH;
			else if (!zcipc_transfer_accepted(&entry->t))
				ret = -EPERM;
		}
		entry->ret = ret;
		if (ret)
			continue;
		/* What a token names does not change, so rights, range and region are right. */
		cap = zcipc_batch_cap(b, entry);
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
	}
}

static void zcipc_batch_unlock(struct zcipc_batch *b)
{
	u32 i;

	/* The last transfer of a region does not free it: see zcipc_transfer_free(). */
	for (i = 0; i < b->nregions; i++)
		mutex_unlock(&b->regions[i]->lock);
	for (i = 0; i < b->neps; i++)
		mutex_unlock(&b->eps[i]->lock);
}

/* The sender's mappings of a range, if there is room to note them all. */
static bool zcipc_batch_add_ranges(struct zcipc_batch *b, const struct zcipc_transfer_state *t,
				   struct zcipc_region *region)
{
	u32 old = b->nranges;
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;

	for (cap = zcipc_cap_overlap(region, NULL, t->first, t->npages); cap;
	     cap = zcipc_cap_overlap(region, cap, t->first, t->npages)) {
		if (cap->ep != b->src)
			continue;
		list_for_each_entry(slot, &cap->slots, cap_entry) {
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
	const struct zcipc_region *region = cap->region;
	struct zcipc_slot *slot;

	if (t->cmd->type != ZCIPC_MOVE || t->cmd->cache != ZCIPC_CACHE_DEFAULT ||
	    t->cmd->node != ZCIPC_NODE_ANY || region->npinned || region->parts || region->special ||
	    region->file || cap->nslots != 1 || region->caps.next != &cap->region_entry ||
	    region->caps.prev != &cap->region_entry)
		return NULL;
	slot = list_first_entry(&cap->slots, struct zcipc_slot, cap_entry);
	if (t->first < slot->first || t->first + t->npages > slot->first + slot->npages ||
	    slot->addr)
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
 * worse, nor better, for that. Returns the peer's mm, locked, if it is another one, or NULL.
 */
static struct mm_struct *zcipc_batch_carry(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;
	unsigned int max = min(b->npages, ZCIPC_BATCH_CARRY);
	struct zcipc_endpoint *dst = NULL;
	struct mm_struct *mm = NULL;

	if (!b->carry.pages)
		return NULL;
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
			b->carry.src = b->src;
			b->carry.dst = dst;
			if (dst->mm != b->src->mm) {
				if (!mmget_not_zero(dst->mm))
					break;
				mm = dst->mm;
				/* Nobody may wait for a second one. */
				if (!mmap_read_trylock(mm)) {
					mmput_async(mm);
					return NULL;
				}
			}
		}
		if (zcipc_transfer_admit_plain(t, entry->from->region))
			break;
		entry->page = b->carry.n;
		if (!zcipc_carry_list_add(&b->carry, slot, t)) {
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
	return mm;
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
	bool watched = mm_has_notifiers(b->src->mm);
	unsigned int held;
	u32 i;

	for (i = watched ? 0 : b->ncarried; i < b->n; i++) {
		struct zcipc_transfer_state *t = &b->entries[i].t;

		if (b->entries[i].ret)
			continue;
		if (t->carried && watched)
			zcipc_batch_add_carried(b, &b->entries[i]);
		if (t->carried)
			continue;
		cond_resched();
		if (t->cmd->type == ZCIPC_MOVE || t->cmd->type == ZCIPC_COPY)
			t->unmapped = zcipc_batch_add_ranges(b, t, b->entries[i].from->region);
	}
	if (!b->carry.n) {
		zcipc_window_unmap_ranges(b->src, b->ranges, b->nranges);
		return;
	}
	/* Whatever is unmapped now, it flushes all. */
	inc_tlb_flush_pending(b->src->mm);
	zcipc_carry_list_take(&b->carry);
	/* That there is a VMA is known of these alone. */
	b->ranges[b->nranges++] = (struct zcipc_range){
		.pgoff = linear_page_index(b->carry.from, b->carry.pages->from), .npages = 1,
	};
	zcipc_window_unmap_ranges(b->src, b->ranges, b->nranges);
	dec_tlb_flush_pending(b->src->mm);
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
								   entry->from->region);
			held = zcipc_carry_list_held(&b->carry, entry->page + entry->t.npages);
		}
	}
	zcipc_window_unmap_ranges(b->src, b->ranges, b->nranges);
}

/* Carries out what has been begun. */
static __always_inline void zcipc_batch_commit(struct zcipc_batch_entry *entry,
					       struct zcipc_cap *cap)
{
	struct zcipc_transfer_state *t = &entry->t;

	/* Of what is carried, the capability has one slot. */
	if (t->carried && t->whole && !t->charged && cap->slots.next == &cap->slot.cap_entry) {
		zcipc_transfer_pass(t, cap);
		entry->to = cap;
	} else {
		entry->to = zcipc_transfer_commit(t, cap, false);
	}
}

static void zcipc_batch_each(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries;
	u32 i;

	for (i = 0; i < b->n; i++, entry++) {
		struct zcipc_cap *cap = zcipc_batch_cap(b, entry);

		if (!(i % 16))
			cond_resched();
		entry->ret = IS_ERR(cap) ? PTR_ERR(cap) : zcipc_transfer_begin(&entry->t, cap);
		if (!entry->ret)
			zcipc_batch_commit(entry, cap);
		else
			zcipc_batch_dismiss(b, entry);
	}
}

/* Does one of two transfers move pages that the other names? */
static bool zcipc_batch_conflict(const struct zcipc_batch_entry *x,
				 const struct zcipc_batch_entry *y)
{
	return (x->t.cmd->type == ZCIPC_MOVE || y->t.cmd->type == ZCIPC_MOVE) &&
	       x->from->region == y->from->region &&
	       x->t.first < y->t.first + y->t.npages && y->t.first < x->t.first + x->t.npages;
}

/* Index of the first that has failed, or n. */
static u32 zcipc_batch_failed(const struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->n && !b->entries[i].ret; i++)
		;
	return i;
}

/* Begins all, so that they can be committed. Returns the index of the one that fails, or n. */
static u32 zcipc_batch_begin_all(struct zcipc_batch *b)
{
	struct zcipc_cap *cap;
	u32 i, j;

	i = zcipc_batch_failed(b);
	if (i < b->n)
		return i;
	for (i = 0; i < b->n; i++) {
		struct zcipc_batch_entry *entry = &b->entries[i];

		cap = zcipc_batch_cap(b, entry);
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
		for (j = 0; j < i && !entry->ret; j++)
			if (zcipc_batch_conflict(&b->entries[j], entry))
				entry->ret = -EINVAL;
		if (!entry->ret)
			entry->ret = zcipc_transfer_begin(&entry->t, cap);
		if (entry->ret)
			break;
		cond_resched();
	}
	if (i == b->n)
		return i;
	for (j = i; j-- > 0;)
		zcipc_transfer_abort(&b->entries[j].t, b->entries[j].from);
	/* Those behind it may have their place already. */
	for (j = 0; j < b->n; j++)
		zcipc_batch_dismiss(b, &b->entries[j]);
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
			zcipc_batch_commit(entry, entry->from);
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
	if (!slot->cap || slot->cap->revoked)
		return 0;
	frames = slot->cap->region->frames + slot->first;
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
	struct zcipc_populate populate = { .ep = dst };

	while (i < b->n && b->entries[i].t.dst == dst) {
		struct zcipc_slot *slot = &b->entries[i].to->slot;
		unsigned long pgoff = slot->pgoff;
		unsigned long npages = zcipc_batch_shown(slot);
		bool writable = slot->writable;
		struct zcipc_frame **frames;

		i = zcipc_batch_next(b, i + 1);
		if (!npages)
			continue;
		if (slot->cap->region->nhuge) {
			if (locked)
				zcipc_slot_populate_huge(slot, 0, slot->npages);
			continue;
		}
		frames = slot->cap->region->frames + slot->first;
		if (slot->cap->region->special) {
			if (locked)
				zcipc_window_populate(dst, pgoff, zcipc_slot_addr(slot), frames,
						      npages, writable, true);
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
				    slot->cap->region->special)
					break;
				frames[npages++] = slot->cap->region->frames[slot->first];
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
		struct mm_struct *mm = b->entries[i].t.dst->mm;
		bool own = mm == b->src->mm;
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

/* Under all locks. Nobody sees a state in between. */
static int zcipc_batch_locked(struct zcipc_batch *b)
{
	cycles_t start = get_cycles();
	struct mm_struct *mm = NULL;
	int ret = 0;

	if (!b->atomic || zcipc_batch_failed(b) == b->n) {
		mm = zcipc_batch_carry(b);
		zcipc_batch_unmap(b);
	}
	if (b->atomic)
		ret = zcipc_batch_atomic(b);
	else
		zcipc_batch_each(b);
	zcipc_carry_list_give(&b->carry);
	if (b->carry.n)
		zcipc_endpoint_made_room(b->src);
	if (mm) {
		mmap_read_unlock(mm);
		mmput_async(mm);
	}
	zcipc_batch_populate(b);
	zcipc_count(b->src, NULL, BATCHES, 1);
	zcipc_count(b->src, NULL, REMAP_CYCLES, get_cycles() - start);
	return ret;
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
		.src = ucmd->ep,
		.atomic = cmd->flags & ZCIPC_F_ATOMIC,
		.n = cmd->ntransfers,
	};
	u32 i;
	int ret;

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
	if (ret)
		goto out_free;
	zcipc_batch_prepare(&b);
	zcipc_test_point("prepared");

	ret = mmap_read_lock_killable(b.src->mm);
	if (ret)
		goto out_free;
	zcipc_batch_lock_regions(&b);
	zcipc_batch_lock_endpoints(&b);
	zcipc_batch_look(&b);
	ret = zcipc_batch_locked(&b);
	zcipc_batch_unlock(&b);
	mmap_read_unlock(b.src->mm);

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
		zcipc_stat_failure(b.src, b.cmds[i].peer, b.cmds[i].type, b.cmds[i].result);
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

// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables of a batch: what leaves the sender's at once, what is carried from there to a peer's
 * (see map/carry.c), and what is entered in the peers' at the end.
 */
#include "base/base.h"

#include <linux/mmu_notifier.h>

#include "mem/region.h"
#include "map/carry.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "transfer/batch.h"
#include "transfer/transfer.h"

/* Notes that the sender's mappings of a range are to go, if there is room to note them all. */
static void zcipc_batch_add_ranges(struct zcipc_batch *b, struct zcipc_batch_entry *entry)
{
	struct zcipc_region *region = entry->from->extent.region;
	struct zcipc_transfer_state *t = &entry->t;
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
				return;
			}
			b->ranges[b->nranges].pgoff = slot->pgoff + start - slot->first;
			b->ranges[b->nranges++].npages = end - start;
		}
	}
	if (t->ptes == ZCIPC_PTES_LEFT)
		t->ptes = ZCIPC_PTES_UNMAPPED;
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
	    region->file)
		return NULL;
	slot = zcipc_move_only_slot(cap);
	if (!slot || t->first < slot->first ||
	    t->first + t->npages > slot->first + slot->npages)
		return NULL;
	return slot;
}

/* Puts back what is not moved after all, or cannot be carried. */
static void zcipc_batch_return(struct zcipc_batch *b, struct zcipc_batch_entry *entry)
{
	if (entry->t.ptes != ZCIPC_PTES_CARRIED)
		return;
	zcipc_carry_list_return(&b->carry, entry->page, entry->t.npages);
	entry->t.ptes = ZCIPC_PTES_LEFT;
	b->ncarried = min_t(u32, b->ncarried, entry - b->entries);
}

/* Takes back what has been carried, begun and admitted. */
void zcipc_batch_dismiss(struct zcipc_batch *b, struct zcipc_batch_entry *entry)
{
	zcipc_batch_return(b, entry);
	zcipc_transfer_abort(&entry->t, entry->from);
}

/* Locks a peer's mm, unless it is the sender's. Nobody may wait for a second mmap_lock. */
static bool zcipc_batch_lock_peer(const struct zcipc_batch *b, struct mm_struct *mm)
{
	return mm == b->src->space.mm || zcipc_transfer_lock_mm(mm);
}

static void zcipc_batch_unlock_peer(const struct zcipc_batch *b, struct mm_struct *mm)
{
	if (mm != b->src->space.mm)
		zcipc_transfer_unlock_mm(mm);
}

/*
 * Finds out what can be carried: transfers to one peer, up to the first that is different. They are
 * given their places in the peer already, in their order, so that those after them are none the
 * worse, nor better, for that.
 */
void zcipc_batch_carry(struct zcipc_batch *b)
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
			if (!zcipc_batch_lock_peer(b, dst->space.mm))
				return;
			b->carry.src = &b->src->space;
			b->carry.dst = &dst->space;
		}
		if (zcipc_move_admit_plain(t, entry->from->extent.region))
			break;
		entry->page = b->carry.n;
		if (!zcipc_carry_list_add(&b->carry, slot, t->first, t->npages, t->pgoff,
					  t->rights & ZCIPC_RIGHT_WRITE)) {
			zcipc_batch_dismiss(b, entry);
			break;
		}
		t->ptes = ZCIPC_PTES_CARRIED;
	}
	b->ncarried = entry - b->entries;
	if (b->carry.n && !zcipc_carry_is_worth(b->carry.n)) {
		while (entry-- > b->entries)
			zcipc_batch_dismiss(b, entry);
		b->carry.n = 0;
	}
}

/* Nothing is carried any more. */
void zcipc_batch_end_carry(struct zcipc_batch *b)
{
	if (b->carry.dst)
		zcipc_batch_unlock_peer(b, b->carry.dst->mm);
}

/*
 * Takes all out of the sender's page tables that has to go. Core mm is to unmap what is carried,
 * too, though nothing will be left there: MMU notifiers hear of it by that.
 */
void zcipc_batch_unmap(struct zcipc_batch *b)
{
	bool watched = mm_has_notifiers(b->src->space.mm);
	unsigned int held;
	u32 i;

	for (i = watched ? 0 : b->ncarried; i < b->limit; i++) {
		struct zcipc_transfer_state *t = &b->entries[i].t;

		if (b->entries[i].ret || (t->ptes == ZCIPC_PTES_CARRIED && !watched))
			continue;
		cond_resched();
		/* What is carried comes first, and has one mapping each: it is always noted. */
		if ((t->cmd->type == ZCIPC_MOVE || t->cmd->type == ZCIPC_COPY) &&
		    !zcipc_region_has_many(b->entries[i].from->extent.region))
			zcipc_batch_add_ranges(b, &b->entries[i]);
	}
	if (!b->carry.n) {
		zcipc_window_unmap_ranges(&b->src->space, b->ranges, b->nranges);
		return;
	}
	/* Whatever is unmapped now, it flushes all. */
	inc_tlb_flush_pending(b->src->space.mm);
	zcipc_carry_list_take(&b->carry);
	/* That there is a VMA is known of these alone. For this one there is room beyond @n. */
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

		if (entry->t.ptes != ZCIPC_PTES_CARRIED)
			continue;
		if (held < entry->page + entry->t.npages) {
			zcipc_batch_return(b, entry);
			zcipc_batch_add_ranges(b, entry);
			held = zcipc_carry_list_held(&b->carry, entry->page + entry->t.npages);
		}
	}
	zcipc_window_unmap_ranges(&b->src->space, b->ranges, b->nranges);
}

/* The next transfer from @i on that was carried out, and whose PTEs are to be made, or n. */
static u32 zcipc_batch_next(const struct zcipc_batch *b, u32 i)
{
	while (i < b->n && (b->entries[i].ret || b->entries[i].t.ptes == ZCIPC_PTES_CARRIED))
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
		if (slot->extent->region->nhuge || zcipc_slot_is_special(slot)) {
			if (locked)
				zcipc_slot_populate(slot, 0, slot->npages);
			continue;
		}
		frames = slot->extent->region->frames + slot->first;
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
void zcipc_batch_populate(struct zcipc_batch *b)
{
	u32 i = zcipc_batch_next(b, b->ncarried);

	while (i < b->n) {
		struct mm_struct *mm = b->entries[i].t.dst->space.mm;
		bool locked = zcipc_batch_lock_peer(b, mm);

		i = zcipc_batch_populate_peer(b, i, locked);
		if (locked)
			zcipc_batch_unlock_peer(b, mm);
	}
}

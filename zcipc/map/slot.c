// SPDX-License-Identifier: GPL-2.0
/*
 * Slots: which range of an extent is where in the file of a space.
 */
#include "base/base.h"
#include "mem/account.h"
#include "map/file.h"
#include "map/insert.h"
#include "map/map.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/unmap.h"

/* Where a slot is: a user address, or the file offset of one that is executable. */
u64 zcipc_slot_addr(const struct zcipc_slot *slot)
{
	if (slot->addr || slot->view)
		return slot->addr;
	if (zcipc_slot_is_exec(slot))
		return (u64)slot->pgoff << PAGE_SHIFT;
	return zcipc_window_addr(slot->extent->space, slot->pgoff);
}

/* Where bytes of an extent are mapped, not executable, or 0. The caller holds the space's lock. */
u64 zcipc_slots_addr(const struct zcipc_extent *extent, u64 offset, u64 len)
{
	const struct zcipc_slot *slot;
	unsigned long pgoff, npages;
	u64 first, addr;

	list_for_each_entry(slot, &extent->slots, entry) {
		first = (u64)(slot->first - extent->first) << PAGE_SHIFT;
		if (offset < first || offset + len > first + ((u64)slot->npages << PAGE_SHIFT) ||
		    zcipc_slot_is_exec(slot))
			continue;
		pgoff = slot->pgoff + ((offset - first) >> PAGE_SHIFT);
		npages = DIV_ROUND_UP(offset_in_page(offset) + len, PAGE_SIZE);
		if (zcipc_window_lost_any(extent->space, pgoff, npages))
			continue;
		addr = zcipc_slot_addr(slot);
		/* A file's range can be about to be mapped, or unmapped. */
		if (addr)
			return addr + offset - first;
	}
	return 0;
}

static bool zcipc_slot_less(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct zcipc_slot, node)->pgoff <
	       rb_entry(b, struct zcipc_slot, node)->pgoff;
}

/* The first slot that occupies a page from @pgoff on, or NULL. */
struct zcipc_slot *zcipc_slot_find_from(struct zcipc_space *space, unsigned long pgoff)
{
	struct rb_node *node = space->slots.rb_node;
	struct zcipc_slot *slot, *found = NULL;

	lockdep_assert_held(&space->lock);
	while (node) {
		slot = rb_entry(node, struct zcipc_slot, node);
		if (slot->pgoff + slot->npages > pgoff) {
			found = slot;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

/* The slot that occupies a page of the window, or NULL. The caller holds the space's lock. */
struct zcipc_slot *zcipc_slot_find(struct zcipc_space *space, unsigned long pgoff)
{
	struct zcipc_slot *slot = zcipc_slot_find_from(space, pgoff);

	return slot && slot->pgoff <= pgoff ? slot : NULL;
}

/* Enters a slot among those of its space. Many come right behind the last one. */
static __always_inline void zcipc_slot_enter(struct zcipc_space *space, struct zcipc_slot *slot)
{
	struct zcipc_slot *last = space->last_slot, *next = space->last_next;

	if (last && last->pgoff < slot->pgoff && (!next || slot->pgoff < next->pgoff)) {
		if (!last->node.rb_right)
			rb_link_node(&slot->node, &last->node, &last->node.rb_right);
		else
			rb_link_node(&slot->node, &next->node, &next->node.rb_left);
		rb_insert_color(&slot->node, &space->slots);
	} else {
		rb_add(&slot->node, &space->slots, zcipc_slot_less);
		space->last_next = rb_entry_safe(rb_next(&slot->node), struct zcipc_slot, node);
	}
	space->last_slot = slot;
}

/* What of a slot depends on its place. */
static __always_inline void zcipc_slot_place(struct zcipc_slot *slot, unsigned long pgoff,
					     bool writable)
{
	slot->pgoff = pgoff;
	slot->addr = 0;
	slot->writable = writable;
	slot->nmapped = 0;
	slot->around = ZCIPC_FAULT_AROUND / 4;
	slot->next = pgoff;
	slot->streak = 0;
	slot->written = pgoff;
	slot->view = NULL;
	zcipc_slot_enter(slot->extent->space, slot);
	zcipc_count(slot->extent->space, NULL, MAPS, 1);
}

/* A slot that is no part of a capability, charged to a user. Or -EDQUOT, -ENOMEM. */
struct zcipc_slot *zcipc_slot_alloc(struct zcipc_user *user)
{
	struct zcipc_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!slot)
		return ERR_PTR(-ENOMEM);
	ret = zcipc_charge_overhead(user, kmalloc_size_roundup(sizeof(*slot)));
	if (!ret) {
		slot->charged = true;
		return slot;
	}
	kfree(slot);
	return ERR_PTR(ret);
}

/* Frees such a slot, which is not in use. May be NULL. */
void zcipc_slot_free(struct zcipc_slot *slot, struct zcipc_user *user)
{
	if (!slot)
		return;
	zcipc_uncharge_overhead(user, kmalloc_size_roundup(sizeof(*slot)));
	kfree(slot);
}

/**
 * zcipc_slot_install() - make a slot show a range
 * @slot: not in use
 * @extent: installed; the caller holds the locks of its space and of its region
 * @pgoff: reserved, at least for @npages
 * @first: first page in the region, in the range of @extent
 * @npages: number of pages
 * @writable: PTEs may be writable
 */
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_extent *extent, unsigned long pgoff,
			unsigned long first, unsigned long npages, bool writable)
{
	slot->extent = extent;
	slot->npages = npages;
	slot->first = first;
	list_add_tail(&slot->entry, &extent->slots);
	extent->nslots++;
	zcipc_region_count_uses(extent->region, 1);
	zcipc_slot_place(slot, pgoff, writable);
}

/* Takes a slot out of its place. */
static __always_inline void zcipc_slot_leave(struct zcipc_slot *slot, struct zcipc_space *space)
{
	rb_erase(&slot->node, &space->slots);
	if (slot == space->last_slot || slot == space->last_next)
		space->last_slot = NULL;
	zcipc_window_release(space, slot->pgoff, slot->npages);
	if (slot->view) {
		slot->view->slot = NULL;
		/* It is dead, or not mapped. */
		if (slot->view->nvmas)
			space->ndead_views++;
	}
	zcipc_count(space, NULL, MAPS, -1);
}

/*
 * Removes a slot and frees its place, which must not be used again while PTEs are left. The caller
 * holds the locks of space and region.
 */
void zcipc_slot_remove(struct zcipc_slot *slot)
{
	lockdep_assert_held(&slot->extent->space->lock);
	lockdep_assert_held(&slot->extent->region->lock);
	zcipc_slot_leave(slot, slot->extent->space);
	list_del(&slot->entry);
	slot->extent->nslots--;
	zcipc_region_count_uses(slot->extent->region, -1);
	if (slot->charged)
		zcipc_slot_free(slot, slot->extent->space->user);
}

/*
 * Shows what a slot showed to the space that its capability has just been passed on to, by @from.
 * It is unmapped, and @pgoff is reserved. The caller holds the locks of both spaces, and the
 * region's. Returns the user address.
 */
u64 zcipc_slot_pass(struct zcipc_slot *slot, struct zcipc_space *from, unsigned long pgoff,
		    bool writable)
{
	lockdep_assert_held(&from->lock);
	lockdep_assert_held(&slot->extent->space->lock);
	lockdep_assert_held(&slot->extent->region->lock);
	zcipc_slot_leave(slot, from);
	zcipc_slot_place(slot, pgoff, writable);
	return zcipc_window_addr(slot->extent->space, pgoff);
}

/*
 * Locks the region of the slot that occupies a page, and returns the slot, or NULL. The space's
 * lock may be released in between: the caller has to know of nothing else.
 */
struct zcipc_slot *zcipc_slot_find_locked(struct zcipc_space *space, unsigned long pgoff)
{
	struct zcipc_region *region;
	struct zcipc_slot *slot;

	while ((slot = zcipc_slot_find(space, pgoff))) {
		region = slot->extent->region;
		if (zcipc_region_lock(region, space, space))
			break;
		slot = zcipc_slot_find(space, pgoff);
		if (slot && slot->extent->region == region) {
			zcipc_region_put(region);
			break;
		}
		zcipc_region_unlock_put(region);
	}
	return slot;
}

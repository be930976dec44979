// SPDX-License-Identifier: GPL-2.0
/*
 * Slots: which range of a capability is where in the file of an endpoint.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "base/limits.h"
#include "base/test.h"
#include "mem/account.h"
#include "mem/region.h"
#include "map/fault.h"
#include "map/file.h"
#include "map/map.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/room.h"

/* Where a slot is: a user address, or the file offset of one that is executable. */
u64 zcipc_slot_addr(const struct zcipc_slot *slot)
{
	if (slot->addr || slot->view)
		return slot->addr;
	if (zcipc_slot_is_exec(slot))
		return (u64)slot->pgoff << PAGE_SHIFT;
	return zcipc_window_addr(slot->cap->ep, slot->pgoff);
}

/*
 * Where a range of a capability is mapped, all of it and not executable, or 0. Bytes. The caller
 * holds the endpoint's lock.
 */
u64 zcipc_slots_addr(const struct zcipc_cap *cap, u64 offset, u64 len)
{
	const struct zcipc_slot *slot;
	unsigned long pgoff, npages;
	u64 first, addr;

	list_for_each_entry(slot, &cap->slots, cap_entry) {
		first = (u64)(slot->first - cap->first) << PAGE_SHIFT;
		if (offset < first || offset + len > first + ((u64)slot->npages << PAGE_SHIFT) ||
		    zcipc_slot_is_exec(slot))
			continue;
		pgoff = slot->pgoff + ((offset - first) >> PAGE_SHIFT);
		npages = DIV_ROUND_UP(offset_in_page(offset) + len, PAGE_SIZE);
		if (zcipc_window_lost_any(cap->ep, pgoff, npages))
			continue;
		addr = zcipc_slot_addr(slot);
		/* A file's range can be about to be mapped. */
		if (addr)
			return addr + offset - first;
	}
	return 0;
}

static int zcipc_slot_compare(const void *key, const struct rb_node *node)
{
	const struct zcipc_slot *slot = rb_entry(node, struct zcipc_slot, node);
	unsigned long pgoff = *(const unsigned long *)key;

	if (pgoff < slot->pgoff)
		return -1;
	return pgoff >= slot->pgoff + slot->npages;
}

static bool zcipc_slot_less(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct zcipc_slot, node)->pgoff <
	       rb_entry(b, struct zcipc_slot, node)->pgoff;
}

/* The slot that occupies a page of the window, or NULL. The caller holds the endpoint's lock. */
struct zcipc_slot *zcipc_slot_find(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	struct rb_node *node = rb_find(&pgoff, &ep->slots, zcipc_slot_compare);

	lockdep_assert_held(&ep->lock);
	return node ? rb_entry(node, struct zcipc_slot, node) : NULL;
}

/* Enters a slot among those of its endpoint. Many come right behind the last one. */
static __always_inline void zcipc_slot_enter(struct zcipc_endpoint *ep, struct zcipc_slot *slot)
{
	struct zcipc_slot *last = ep->last_slot, *next = ep->last_next;

	if (last && last->pgoff < slot->pgoff && (!next || slot->pgoff < next->pgoff)) {
		if (!last->node.rb_right)
			rb_link_node(&slot->node, &last->node, &last->node.rb_right);
		else
			rb_link_node(&slot->node, &next->node, &next->node.rb_left);
		rb_insert_color(&slot->node, &ep->slots);
	} else {
		rb_add(&slot->node, &ep->slots, zcipc_slot_less);
		ep->last_next = rb_entry_safe(rb_next(&slot->node), struct zcipc_slot, node);
	}
	ep->last_slot = slot;
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
	zcipc_slot_enter(slot->cap->ep, slot);
	zcipc_count(slot->cap->ep, NULL, MAPS, 1);
}

/* A slot that is none of a capability's own, charged to a user. Or -EDQUOT, -ENOMEM. */
struct zcipc_slot *zcipc_slot_alloc(struct zcipc_user *user)
{
	struct zcipc_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!slot)
		return ERR_PTR(-ENOMEM);
	ret = zcipc_charge_overhead(user, kmalloc_size_roundup(sizeof(*slot)));
	if (!ret)
		return slot;
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
 * @cap: installed; the caller holds the locks of its endpoint and of its region
 * @pgoff: reserved, at least for @npages
 * @first: first page in the region, in the range of @cap
 * @npages: number of pages
 * @writable: PTEs may be writable
 */
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_cap *cap, unsigned long pgoff,
			unsigned long first, unsigned long npages, bool writable)
{
	slot->cap = cap;
	slot->npages = npages;
	slot->first = first;
	list_add_tail(&slot->cap_entry, &cap->slots);
	cap->nslots++;
	zcipc_region_count_uses(cap->region, 1);
	zcipc_slot_place(slot, pgoff, writable);
}

/* Takes a slot out of its place. */
static __always_inline void zcipc_slot_leave(struct zcipc_slot *slot, struct zcipc_endpoint *ep)
{
	rb_erase(&slot->node, &ep->slots);
	if (slot == ep->last_slot || slot == ep->last_next)
		ep->last_slot = NULL;
	zcipc_window_free(ep, slot->pgoff, slot->npages);
	if (slot->view)
		zcipc_file_detach(slot->view);
	zcipc_count(ep, NULL, MAPS, -1);
}

/**
 * zcipc_slot_remove() - remove a slot and free its place
 * @slot: shows nothing any more: a place must not be used again while PTEs are left. The caller
 *	holds the locks of endpoint and region.
 */
void zcipc_slot_remove(struct zcipc_slot *slot)
{
	lockdep_assert_held(&slot->cap->ep->lock);
	lockdep_assert_held(&slot->cap->region->lock);
	zcipc_slot_leave(slot, slot->cap->ep);
	list_del(&slot->cap_entry);
	slot->cap->nslots--;
	zcipc_region_count_uses(slot->cap->region, -1);
	if (slot != &slot->cap->slot)
		zcipc_slot_free(slot, slot->cap->ep->user);
}

/**
 * zcipc_slot_pass() - show what a slot shows to another endpoint
 * @slot: a slot whose capability has just been passed on; what it shows is unmapped
 * @from: whose the capability was; the caller holds the locks of both endpoints, and the region's
 * @pgoff: reserved in the other one's window
 * @writable: PTEs may be writable
 *
 * Return: the user address there
 */
u64 zcipc_slot_pass(struct zcipc_slot *slot, struct zcipc_endpoint *from, unsigned long pgoff,
		    bool writable)
{
	lockdep_assert_held(&from->lock);
	lockdep_assert_held(&slot->cap->ep->lock);
	lockdep_assert_held(&slot->cap->region->lock);
	zcipc_slot_leave(slot, from);
	zcipc_slot_place(slot, pgoff, writable);
	return zcipc_window_addr(slot->cap->ep, pgoff);
}

/* The first slot that occupies a page from @pgoff on, or NULL. */
struct zcipc_slot *zcipc_slot_find_from(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	struct rb_node *node = ep->slots.rb_node;
	struct zcipc_slot *slot, *found = NULL;

	lockdep_assert_held(&ep->lock);
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

/*
 * Locks the region of the slot that occupies a page. The endpoint's lock may be released in
 * between: the caller has to know of nothing else. Returns the slot, or NULL, and nothing is
 * locked.
 */
struct zcipc_slot *zcipc_slot_find_locked(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	struct zcipc_region *region;
	struct zcipc_slot *slot;

	while ((slot = zcipc_slot_find(ep, pgoff))) {
		region = slot->cap->region;
		if (zcipc_region_lock(region, ep, ep))
			break;
		slot = zcipc_slot_find(ep, pgoff);
		if (slot && slot->cap->region == region) {
			zcipc_region_put(region);
			break;
		}
		zcipc_region_unlock_put(region);
	}
	return slot;
}

/* The slot that begins at a user address. The caller holds the endpoint's lock. */
static struct zcipc_slot *zcipc_slot_find_addr(struct zcipc_endpoint *ep, u64 addr)
{
	const struct zcipc_window *window = zcipc_window_around(ep, addr);

	if (!window)
		return NULL;
	return zcipc_slot_find(ep, zcipc_window_pgoff(window - ep->windows) +
			       ((addr - window->addr) >> PAGE_SHIFT));
}

/**
 * zcipc_slot_remove_at() - unmap and remove the slot that begins somewhere
 * @ep: the endpoint
 * @addr: as zcipc_slot_addr() says
 * @exec: it is executable, and @addr a file offset
 *
 * Context: May sleep; no lock is held. The current task is the endpoint's.
 * Return: 0, or -ENOENT, -EINTR
 */
int zcipc_slot_remove_at(struct zcipc_endpoint *ep, u64 addr, bool exec)
{
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	int ret = -ENOENT;

	mutex_lock(&ep->lock);
	slot = exec ? zcipc_slot_find(ep, addr >> PAGE_SHIFT) : zcipc_slot_find_addr(ep, addr);
	if (slot)
		slot = zcipc_slot_find_locked(ep, slot->pgoff);
	if (slot) {
		region = slot->cap->region;
		if (zcipc_slot_is_exec(slot) == exec && zcipc_slot_addr(slot) == addr) {
			/* It takes its time, and the region's lock keeps the slot. */
			mutex_unlock(&ep->lock);
			if (slot->npages > ZCIPC_LONG_PAGES)
				zcipc_test_point("long");
			zcipc_slot_unmap(slot);
			mutex_lock(&ep->lock);
			zcipc_slot_remove(slot);
			zcipc_endpoint_made_room(ep);
			ret = 0;
		}
		mutex_unlock(&region->lock);
	}
	mutex_unlock(&ep->lock);
	return ret && !exec ? zcipc_file_unmap_at(ep, addr, 0) : ret;
}

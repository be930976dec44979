/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Slots: which range of a capability is where.
 */
#ifndef ZCIPC_SLOT_H
#define ZCIPC_SLOT_H

#include "base/base.h"
#include "mem/region.h"
#include "map/extent.h"
#include "map/window.h"

struct zcipc_view;

/**
 * struct zcipc_slot - a range of an extent that is mapped
 * @node: in space->slots
 * @extent: the extent
 * @entry: in extent->slots
 * @pgoff: file offset, in pages: of a place in a window, or outside
 * @addr: user address of adopted memory, or of a view, 0 as long as that is not mapped, or is being
 *	unmapped; otherwise 0: that of the window, or, of an executable mapping, any
 * @npages: its length
 * @first: first page in the region
 * @nmapped: of adopted memory: pages that VMAs show at @addr; space->lock
 * @writable: PTEs may be writable
 * @charged: zcipc_slot_alloc() has made it: it is not a part of a capability
 * @secret: of adopted memory: it is not to be in core dumps
 * @around: how many pages the last fault brought
 * @next: file offset, in pages, of the one behind them
 * @streak: how many pages have been written to one after the other
 * @written: file offset, in pages, of the one behind them
 * @view: how a range of a file is shown, or NULL
 */
struct zcipc_slot {
	struct rb_node node;
	struct zcipc_extent *extent;
	struct list_head entry;
	unsigned long pgoff;
	unsigned long addr;
	unsigned long npages;
	unsigned long first;
	unsigned long nmapped;
	bool writable;
	bool charged;
	bool secret;
	unsigned int around;
	unsigned long next;
	unsigned int streak;
	unsigned long written;
	struct zcipc_view *view;
};

struct zcipc_slot *zcipc_slot_alloc(struct zcipc_user *user);
void zcipc_slot_free(struct zcipc_slot *slot, struct zcipc_user *user);
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_extent *extent, unsigned long pgoff,
			unsigned long first, unsigned long npages, bool writable);
void zcipc_slot_remove(struct zcipc_slot *slot);
u64 zcipc_slot_pass(struct zcipc_slot *slot, struct zcipc_space *from, unsigned long pgoff,
		    bool writable);
struct zcipc_slot *zcipc_slot_find(struct zcipc_space *space, unsigned long pgoff);
u64 zcipc_slot_addr(const struct zcipc_slot *slot);

/*
 * Is the VMA that shows a slot VM_PFNMAP, so that its PTEs are special, whatever the frames are?
 * That of adopted memory is, so that core mm refuses to discard what it cannot: an allocator would
 * take it for zero.
 */
static inline bool zcipc_slot_is_pfnmap(const struct zcipc_slot *slot)
{
	return slot->addr || zcipc_window_is_pfnmap(slot->pgoff);
}

static inline bool zcipc_slot_is_special(const struct zcipc_slot *slot)
{
	return slot->extent->region->special || zcipc_slot_is_pfnmap(slot);
}

u64 zcipc_slots_addr(const struct zcipc_extent *extent, u64 offset, u64 len);

#endif /* ZCIPC_SLOT_H */

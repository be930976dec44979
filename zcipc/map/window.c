// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: the VMA in which an endpoint sees memory, the slots in it, and its faults. The only file
 * that touches VMAs and PTEs of windows, but for carry.c.
 *
 * A slot is a range of file offsets of the endpoint's own inode. Taking pages away is done by core
 * mm for such a range, in all VMAs and with all TLB flushes that are due. PTEs are inserted with
 * vm_insert_pages(), which knows how to count them, and are read-only: page_mkwrite makes
 * vma_set_page_prot() leave out the write bit. Where a slot and a frame are writable the bit is set
 * right after that.
 *
 * A PTE never shows anything but the frame that the slot's region has at that place, and is never
 * writable, nor dirty, unless slot and frame are writable: see zcipc.h for why that holds.
 */
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/userfaultfd_k.h>

#include "map/pt.h"
#include "base/trace.h"
#include "zcipc.h"

/* The most that a fault brings of memory that is read from its beginning to its end. */
#define ZCIPC_FAULT_AROUND_MAX	512U

/* The most pages between two ranges that are unmapped together. */
#define ZCIPC_HIDE_MAX		512UL

/* And the most from the first to the last of them. */
#define ZCIPC_HIDE_SPAN		1048576UL

/* A VMA of adopted memory that is smaller is always joined with what is imported next to it. */
#define ZCIPC_JOIN_MIN		(16UL << PAGE_SHIFT)

/* And of what is larger than that, all in all, none is. */
#define ZCIPC_JOIN_MAX		(ZCIPC_UNMAP_PAGES << PAGE_SHIFT)

/* Work between two calls of cond_resched(). */
#define ZCIPC_INSERT_CHUNK	512UL

/*
 * File offsets, in pages: what is outside of windows has all that are left. Adopted memory has the
 * upper half of all, where the offset follows from the address.
 */
#define ZCIPC_OUTSIDE_START	ZCIPC_RING_END
#define ZCIPC_OUTSIDE_END		ZCIPC_ADOPTED_START
#define ZCIPC_ADOPTED_START	(1UL << (62 - PAGE_SHIFT))
#define ZCIPC_ADOPTED_END		(MAX_LFS_FILESIZE >> PAGE_SHIFT)

static_assert(ZCIPC_MAX_WINDOW_PAGES <= 1UL << ZCIPC_WINDOW_SHIFT);
static_assert(ZCIPC_WINDOW_OFFSET(1) == 1ULL << (ZCIPC_WINDOW_SHIFT + PAGE_SHIFT));
static_assert(ZCIPC_RING_OFFSET == (u64)ZCIPC_RING_START << PAGE_SHIFT);
static_assert(ZCIPC_RING_OFFSET_HEAD == (u64)ZCIPC_RING_HEAD_START << PAGE_SHIFT);

static const struct vm_operations_struct zcipc_window_ops;
static const struct vm_operations_struct zcipc_pinnable_ops;
static const struct vm_operations_struct zcipc_adopted_ops;

/* Is it a part of a window of an endpoint, or of memory that it adopted? */
static bool zcipc_vma_is_of(const struct vm_area_struct *vma, const struct zcipc_endpoint *ep)
{
	return (vma->vm_ops == &zcipc_window_ops || vma->vm_ops == &zcipc_pinnable_ops ||
		vma->vm_ops == &zcipc_adopted_ops) && vma->vm_private_data == ep;
}

static unsigned long zcipc_window_pgoff(unsigned int which)
{
	return (unsigned long)which << ZCIPC_WINDOW_SHIFT;
}

/* Which page of its window a file offset is. */
static unsigned long zcipc_window_index(unsigned long pgoff)
{
	return pgoff & ((1UL << ZCIPC_WINDOW_SHIFT) - 1);
}

/* The window that a file offset belongs to, which need not be there, or NULL. */
static struct zcipc_window *zcipc_window_at(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	unsigned long which = pgoff >> ZCIPC_WINDOW_SHIFT;

	return which < ZCIPC_WINDOW_MAX ? &ep->windows[which] : NULL;
}

/* User address of an offset in a window. */
u64 zcipc_window_addr(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	const struct zcipc_window *window = zcipc_window_at(ep, pgoff);

	return window->addr + (zcipc_window_index(pgoff) << PAGE_SHIFT);
}

/* Have any pages of a range of file offsets left their window? */
static bool zcipc_window_lost_any(struct zcipc_endpoint *ep, unsigned long pgoff,
				  unsigned long npages)
{
	const struct zcipc_window *window = zcipc_window_at(ep, pgoff);
	unsigned long start = zcipc_window_index(pgoff), end = start + npages, n, at;

	for (; window && window->lost && start < end; start += n) {
		const unsigned long *lost = window->lost[start / ZCIPC_WINDOW_PIECE];

		at = start % ZCIPC_WINDOW_PIECE;
		n = min(end - start, ZCIPC_WINDOW_PIECE - at);
		if (lost && find_next_bit(lost, at + n, at) < at + n)
			return true;
	}
	return false;
}

static bool zcipc_slot_is_exec(const struct zcipc_slot *slot)
{
	return slot->pgoff >= ZCIPC_OUTSIDE_START && !slot->addr && !slot->view;
}

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

/* All pages of a piece of a window are used. */
static unsigned long zcipc_window_all[BITS_TO_LONGS(ZCIPC_WINDOW_PIECE)];

void zcipc_window_init(void)
{
	bitmap_fill(zcipc_window_all, ZCIPC_WINDOW_PIECE);
}

/* The first page from @start on that is used, or @end. */
static unsigned long zcipc_window_next_used(const struct zcipc_window *window,
					    unsigned long start, unsigned long end)
{
	while (start < end) {
		const unsigned long *piece = window->used[start / ZCIPC_WINDOW_PIECE];
		unsigned long at = start % ZCIPC_WINDOW_PIECE;
		unsigned long n = min(end - start, ZCIPC_WINDOW_PIECE - at);
		unsigned long used = piece ? find_next_bit(piece, at + n, at) - at : n;

		start += min(used, n);
		if (used < n)
			break;
	}
	return start;
}

/* The first page from @start on that is not used, or the window's end. */
static unsigned long zcipc_window_next_free(const struct zcipc_window *window,
					    unsigned long start)
{
	while (start < window->npages) {
		const unsigned long *piece = window->used[start / ZCIPC_WINDOW_PIECE];
		unsigned long at = start % ZCIPC_WINDOW_PIECE;
		unsigned long n = min(window->npages - start, ZCIPC_WINDOW_PIECE - at);
		unsigned long free = piece ? find_next_zero_bit(piece, at + n, at) - at : 0;

		start += min(free, n);
		if (free < n)
			break;
	}
	return start;
}

/* Notes that pages of a piece are used, or not. Most callers have one page. */
static __always_inline void zcipc_piece_mark(unsigned long *piece, unsigned long start,
					     unsigned long npages, bool used)
{
	if (npages == 1)
		__assign_bit(start, piece, used);
	else if (npages == ZCIPC_HUGE_PAGES && !(start % BITS_PER_LONG))
		memset(piece + BIT_WORD(start), used ? 0xff : 0,
		       ZCIPC_HUGE_PAGES / BITS_PER_BYTE);
	else if (!((start | npages) % BITS_PER_LONG))
		memset(piece + BIT_WORD(start), used ? 0xff : 0, npages / BITS_PER_BYTE);
	else if (used)
		bitmap_set(piece, start, npages);
	else
		bitmap_clear(piece, start, npages);
}

/* Notes that pages are used, or not. There is a bitmap for each piece of them. */
static __always_inline void zcipc_window_mark(struct zcipc_window *window, unsigned long start,
					      unsigned long npages, bool used)
{
	unsigned long at = start % ZCIPC_WINDOW_PIECE;
	unsigned long left = npages, n;

	for (; left; left -= n, at = 0) {
		unsigned long *piece = window->used[(start + npages - left) / ZCIPC_WINDOW_PIECE];

		n = min(left, ZCIPC_WINDOW_PIECE - at);
		if (likely(piece != zcipc_window_all))
			zcipc_piece_mark(piece, at, n, used);
	}
}

/* Notes that pages are not used, but for what has left the window. */
static noinline void zcipc_window_unmark(struct zcipc_window *window, unsigned long start,
					 unsigned long npages)
{
	unsigned long end = start + npages, n, at, bit;

	zcipc_window_mark(window, start, npages, false);
	for (; window->lost && start < end; start += n) {
		const unsigned long *lost = window->lost[start / ZCIPC_WINDOW_PIECE];
		unsigned long *used = window->used[start / ZCIPC_WINDOW_PIECE];

		at = start % ZCIPC_WINDOW_PIECE;
		n = min(end - start, ZCIPC_WINDOW_PIECE - at);
		if (!lost || used == zcipc_window_all)
			continue;
		for (bit = find_next_bit(lost, at + n, at); bit < at + n;
		     bit = find_next_bit(lost, at + n, bit + 1))
			__set_bit(bit, used);
	}
}

/* Bytes of a bitmap for a piece. A small window has but one. */
static size_t zcipc_window_piece_size(const struct zcipc_window *window)
{
	return BITS_TO_LONGS(min(window->npages, ZCIPC_WINDOW_PIECE)) * sizeof(long);
}

/* Makes sure that there is a bitmap. Returns 0, or -EDQUOT, -ENOMEM. */
static int zcipc_window_make_piece(struct zcipc_endpoint *ep, struct zcipc_window *window,
				   unsigned long **piece, gfp_t gfp)
{
	size_t size = zcipc_window_piece_size(window);
	int ret;

	if (*piece)
		return 0;
	ret = zcipc_charge_overhead(ep->user, size);
	if (ret)
		return ret;
	*piece = kvzalloc(size, gfp | GFP_KERNEL_ACCOUNT);
	if (*piece)
		return 0;
	zcipc_uncharge_overhead(ep->user, size);
	return -ENOMEM;
}

/* Marks pages that are not used as used, if there is memory to know that. */
static int zcipc_window_take(struct zcipc_endpoint *ep, struct zcipc_window *window,
			     unsigned long start, unsigned long npages)
{
	unsigned long i, last = (start + npages - 1) / ZCIPC_WINDOW_PIECE;
	int ret;

	for (i = start / ZCIPC_WINDOW_PIECE; i <= last; i++) {
		ret = zcipc_window_make_piece(ep, window, &window->used[i], ZCIPC_GFP_LOCKED);
		if (ret)
			return ret;
	}
	zcipc_window_mark(window, start, npages, true);
	window->nused += npages;
	return 0;
}

static void zcipc_window_free_piece(struct zcipc_endpoint *ep, struct zcipc_window *window,
				    unsigned long *piece)
{
	if (!piece || piece == zcipc_window_all)
		return;
	zcipc_uncharge_overhead(ep->user, zcipc_window_piece_size(window));
	kvfree(piece);
}

/* Bytes of the arrays of bitmaps. */
static size_t zcipc_window_array_size(unsigned long npages)
{
	return 2 * DIV_ROUND_UP(npages, ZCIPC_WINDOW_PIECE) * sizeof(unsigned long *);
}

/* The end of a window, or nothing if there is none. */
void zcipc_window_end(struct zcipc_endpoint *ep, struct zcipc_window *window)
{
	unsigned long i, n = 2 * DIV_ROUND_UP(window->npages, ZCIPC_WINDOW_PIECE);

	if (!window->used)
		return;
	for (i = 0; i < n; i++)
		zcipc_window_free_piece(ep, window, window->used[i]);
	zcipc_uncharge_overhead(ep->user, zcipc_window_array_size(window->npages));
	kvfree(window->used);
	memset(window, 0, sizeof(*window));
}

/*
 * Pages have left the window: somebody has unmapped them, or mapped something else there. Nothing
 * is placed there any more. Where there is no memory to note which pages these are, or the user may
 * have no more, the whole piece is given up. The caller holds the endpoint's lock.
 */
static void zcipc_window_lose(struct zcipc_endpoint *ep, struct zcipc_window *window,
			      unsigned long start, unsigned long npages)
{
	unsigned long end = start + npages, n, at;

	/* The second half of the array. */
	window->lost = window->used + DIV_ROUND_UP(window->npages, ZCIPC_WINDOW_PIECE);
	for (; start < end; start += n) {
		unsigned long **lost = &window->lost[start / ZCIPC_WINDOW_PIECE];
		unsigned long **used = &window->used[start / ZCIPC_WINDOW_PIECE];

		at = start % ZCIPC_WINDOW_PIECE;
		n = min(end - start, ZCIPC_WINDOW_PIECE - at);
		cond_resched();
		if (*lost == zcipc_window_all)
			continue;
		if (n < ZCIPC_WINDOW_PIECE &&
		    !zcipc_window_make_piece(ep, window, lost, ZCIPC_GFP_LOCKED) &&
		    !zcipc_window_make_piece(ep, window, used, ZCIPC_GFP_LOCKED)) {
			bitmap_set(*lost, at, n);
			bitmap_set(*used, at, n);
			continue;
		}
		zcipc_window_free_piece(ep, window, *lost);
		*lost = zcipc_window_all;
		if (*used)
			memset(*used, 0xff, zcipc_window_piece_size(window));
		else
			*used = zcipc_window_all;
	}
}

/* Finds pages that begin @align pages behind a multiple of ZCIPC_HUGE_PAGES, and reserves them. */
static int zcipc_window_reserve_huge(struct zcipc_endpoint *ep, struct zcipc_window *window,
				     unsigned long npages, long align, unsigned long *start)
{
	unsigned long used = window->npages - window->huge_hint;
	bool first = true;
	int ret;

	do {
		if (used < npages + align)
			return -EAGAIN;
		*start = ALIGN_DOWN(used - npages - align, ZCIPC_HUGE_PAGES) + align;
		used = zcipc_window_next_used(window, *start, *start + npages);
		if (used < *start + npages)
			first = false;
	} while (used < *start + npages);
	ret = zcipc_window_take(ep, window, *start, npages);
	/* Only what has no gap behind it says where the last gap is. */
	if (!ret && first)
		window->huge_hint = window->npages - *start;
	return ret;
}

/* Makes the hint that of a free page, or the end, and tries again. */
static noinline int zcipc_window_reserve_later(struct zcipc_endpoint *ep, unsigned int which,
					       unsigned long *pgoff)
{
	struct zcipc_window *window = &ep->windows[which];
	int ret;

	window->hint = zcipc_window_next_free(window, window->hint);
	if (window->hint >= window->npages)
		return -EAGAIN;
	ret = zcipc_window_make_piece(ep, window,
				      &window->used[window->hint / ZCIPC_WINDOW_PIECE],
				      ZCIPC_GFP_LOCKED);
	return ret ?: zcipc_window_reserve_one(ep, which, pgoff);
}

/* zcipc_window_reserve(), of a single page. It is mostly where the hint says. */
int zcipc_window_reserve_one(struct zcipc_endpoint *ep, unsigned int which, unsigned long *pgoff)
{
	struct zcipc_window *window = &ep->windows[which];
	unsigned long start = window->hint, *piece;

	lockdep_assert_held(&ep->lock);
	if (start >= window->npages)
		return window->npages ? -EAGAIN : -ENOBUFS;
	piece = window->used[start / ZCIPC_WINDOW_PIECE];
	if (!piece || test_bit(start % ZCIPC_WINDOW_PIECE, piece))
		return zcipc_window_reserve_later(ep, which, pgoff);
	__set_bit(start % ZCIPC_WINDOW_PIECE, piece);
	window->nused++;
	window->hint = start + 1;
	*pgoff = zcipc_window_pgoff(which) + start;
	return 0;
}

/* zcipc_window_reserve(), of any number of pages. */
int zcipc_window_reserve_many(struct zcipc_endpoint *ep, unsigned int which, unsigned long npages,
			      long align, unsigned long *pgoff)
{
	struct zcipc_window *window = &ep->windows[which];
	unsigned long start, used;
	int ret = -EAGAIN;

	lockdep_assert_held(&ep->lock);
	if (npages > window->npages)
		return -ENOBUFS;
	if (align >= 0)
		ret = zcipc_window_reserve_huge(ep, window, npages, align, &start);
	if (!ret)
		*pgoff = zcipc_window_pgoff(which) + start;
	if (ret != -EAGAIN)
		return ret;
	for (used = window->hint;; used++) {
		start = zcipc_window_next_free(window, used);
		if (npages > window->npages - start)
			return -EAGAIN;
		used = zcipc_window_next_used(window, start, start + npages);
		if (used == start + npages)
			break;
	}
	ret = zcipc_window_take(ep, window, start, npages);
	if (ret)
		return ret;
	/* Only what has no gap before it says where the first gap is. */
	if (start == window->hint)
		window->hint = start + npages;
	*pgoff = zcipc_window_pgoff(which) + start;
	return 0;
}

static __always_inline void zcipc_window_free(struct zcipc_endpoint *ep, unsigned long pgoff,
					      unsigned long npages)
{
	struct zcipc_window *window = zcipc_window_at(ep, pgoff);
	unsigned long start = zcipc_window_index(pgoff);

	/* The others are not used again. */
	if (!window)
		return;
	window->nused -= npages;
	if (npages == 1 && likely(!window->lost))
		__clear_bit(start % ZCIPC_WINDOW_PIECE, window->used[start / ZCIPC_WINDOW_PIECE]);
	else
		zcipc_window_unmark(window, start, npages);
	window->hint = min(window->hint, start);
	if (window->huge_hint)
		window->huge_hint = min(window->huge_hint,
					window->npages - min(window->npages, start + npages));
	/* Where PMDs may be: what is at the end of an empty window can be used in any way. */
	if (!window->nused)
		window->huge_low = window->npages;
}

/* How many pages of a window are free, at most. The caller holds the lock. */
unsigned long zcipc_window_room(const struct zcipc_endpoint *ep, unsigned int which)
{
	const struct zcipc_window *window = &ep->windows[which];

	return window->npages - min(window->npages, window->nused);
}

/*
 * Is there still the window where pages were reserved, and are they in it? The caller holds the
 * lock.
 */
bool zcipc_window_has(struct zcipc_endpoint *ep, u32 id, unsigned long pgoff,
		      unsigned long npages)
{
	lockdep_assert_held(&ep->lock);
	return zcipc_window_at(ep, pgoff)->id == id && !zcipc_window_lost_any(ep, pgoff, npages);
}

/* Takes zcipc_window_reserve() back. The caller holds the endpoint's lock. */
void zcipc_window_release(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages)
{
	zcipc_window_free(ep, pgoff, npages);
}

/* May there be PMDs in a range of file offsets? They cannot be hidden, as PTEs can. */
static bool zcipc_window_may_be_huge(struct zcipc_endpoint *ep, unsigned long pgoff,
				     unsigned long npages)
{
	const struct zcipc_window *window = zcipc_window_at(ep, pgoff);

	return window && zcipc_window_index(pgoff) + npages > window->huge_low;
}

/**
 * zcipc_window_reserve_outside() - file offsets for what is not mapped in a window
 * @ep: the endpoint; the caller holds its lock
 * @npages: number of pages
 * @pgoff: [out] first page, as a file offset
 *
 * Return: 0, or -ENOBUFS when all have been used
 */
int zcipc_window_reserve_outside(struct zcipc_endpoint *ep, unsigned long npages,
				 unsigned long *pgoff)
{
	lockdep_assert_held(&ep->lock);
	*pgoff = ep->next_outside ?: ZCIPC_OUTSIDE_START;
	if (npages > ZCIPC_OUTSIDE_END - *pgoff)
		return -ENOBUFS;
	ep->next_outside = *pgoff + npages;
	return 0;
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

static void zcipc_window_unmap_locked(struct zcipc_endpoint *ep, unsigned long pgoff,
				      unsigned long npages)
{
	lockdep_assert_held(&ep->hide_lock);
	unmap_mapping_pages(ep->inode->i_mapping, pgoff, npages, false);
	zcipc_stat_inc(SHOOTDOWNS);
	trace_zcipc_unmap(ep, pgoff, npages);
}

/**
 * zcipc_window_unmap() - take file offsets of an endpoint out of all page tables
 * @ep: the endpoint
 * @pgoff: the first one, in pages
 * @npages: number of pages
 *
 * TLBs are flushed when this returns.
 *
 * Context: May sleep. Who wants that they stay away holds the locks of all regions that they show.
 */
void zcipc_window_unmap(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages)
{
	unsigned long n, at = 0;

	for (; npages; pgoff += n, npages -= n) {
		/* No PMD of a window is taken apart for that. */
		if (npages > ZCIPC_UNMAP_PAGES && zcipc_window_at(ep, pgoff))
			at = zcipc_window_addr(ep, pgoff) >> PAGE_SHIFT;
		n = min(npages, ZCIPC_UNMAP_PAGES - at % ZCIPC_UNMAP_PAGES);
		down_read(&ep->hide_lock);
		zcipc_window_unmap_locked(ep, pgoff, n);
		up_read(&ep->hide_lock);
		cond_resched();
	}
}

/* Takes what a slot shows out of all page tables. Of a view it is for good. */
void zcipc_slot_unmap(struct zcipc_slot *slot)
{
	if (slot->view)
		zcipc_file_unmap(slot->view);
	else
		zcipc_window_unmap(slot->cap->ep, slot->pgoff, slot->npages);
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

/* The window that an address is in, or NULL. */
static struct zcipc_window *zcipc_window_around(struct zcipc_endpoint *ep, unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < ZCIPC_WINDOW_MAX; i++)
		if (addr >= ep->windows[i].addr &&
		    (addr - ep->windows[i].addr) >> PAGE_SHIFT < ep->windows[i].npages)
			return &ep->windows[i];
	return NULL;
}

/* The first slot that occupies a page from @pgoff on, or NULL. */
static struct zcipc_slot *zcipc_slot_find_from(struct zcipc_endpoint *ep, unsigned long pgoff)
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
static struct zcipc_slot *zcipc_slot_find_locked(struct zcipc_endpoint *ep, unsigned long pgoff)
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

/*
 * The VMA that shows a file offset at an address where the endpoint's owner has not replaced it, or
 * NULL. The caller holds the mmap_lock and the endpoint's lock.
 */
struct vm_area_struct *zcipc_window_lookup(struct zcipc_endpoint *ep, unsigned long pgoff,
					   unsigned long addr)
{
	const struct zcipc_window *window = zcipc_window_at(ep, pgoff);
	struct vm_area_struct *vma = window ? window->vma : NULL;

	lockdep_assert_held(&ep->lock);
	if (vma && zcipc_vma_is_attached(vma))
		return vma;
	vma = vma_lookup(ep->mm, addr);
	if (!vma || !zcipc_vma_is_of(vma, ep))
		return NULL;
	return linear_page_index(vma, addr) == pgoff ? vma : NULL;
}

/* Does a range still show what it showed at first? As zcipc_window_lookup(). */
static bool zcipc_window_shows(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long addr,
			       unsigned long npages)
{
	unsigned long n;

	while (npages) {
		const struct vm_area_struct *vma = zcipc_window_lookup(ep, pgoff, addr);

		if (!vma)
			return false;
		n = min(npages, (vma->vm_end - addr) >> PAGE_SHIFT);
		pgoff += n;
		addr += n << PAGE_SHIFT;
		npages -= n;
	}
	return true;
}

/**
 * zcipc_window_find() - find the region that memory of the current task belongs to
 * @ep: the current task's endpoint
 * @addr: user address
 * @len: bytes
 * @share: it is to be shared; else what is a file's is as any other memory
 * @token: [out] a capability for it
 * @offset: [out] bytes from the beginning of that one's range
 *
 * What the owner has unmapped or replaced is no region's, wherever it lies.
 *
 * Context: May sleep; no lock is held.
 * Return: 0, or -ENOENT when it is not one region's, -EINVAL when it is, but not page-aligned,
 * -EOPNOTSUPP when it is a file's region's, but another endpoint's, or not all of it, -EINTR
 */
int zcipc_window_find(struct zcipc_endpoint *ep, unsigned long addr, unsigned long len, bool share,
		      u64 *token, u64 *offset)
{
	const struct vm_area_struct *vma;
	const struct zcipc_slot *slot;
	unsigned long pgoff, npages;
	int ret;

	ret = mmap_read_lock_killable(ep->mm);
	if (ret)
		return ret;
	ret = -ENOENT;
	vma = vma_lookup(ep->mm, addr);
	if (!vma)
		goto out;
	pgoff = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
	npages = (PAGE_ALIGN(addr + len) - (addr & PAGE_MASK)) >> PAGE_SHIFT;
	mutex_lock(&ep->lock);
	if (!zcipc_vma_is_of(vma, ep)) {
		if (share)
			ret = zcipc_file_find(ep, vma, addr, npages, token, offset);
		if (!ret && !PAGE_ALIGNED(addr | len))
			ret = -EINVAL;
		goto unlock;
	}
	slot = zcipc_slot_find(ep, pgoff);
	if (slot && slot->pgoff + slot->npages - pgoff >= npages &&
	    zcipc_window_shows(ep, pgoff, addr & PAGE_MASK, npages)) {
		*token = slot->cap->token;
		*offset = (u64)(slot->first + pgoff - slot->pgoff - slot->cap->first) << PAGE_SHIFT;
		ret = PAGE_ALIGNED(addr | len) ? 0 : -EINVAL;
	}
unlock:
	mutex_unlock(&ep->lock);
out:
	mmap_read_unlock(ep->mm);
	return ret;
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

/**
 * struct zcipc_writable - PTEs whose write bit is to be set, if the frame allows it
 * @vma: that they are in
 * @addr: user address of the first one
 * @which: a bit for each page that has just been inserted, or NULL: see @frames
 * @frames: that PTEs must have, or NULL
 */
struct zcipc_writable {
	struct vm_area_struct *vma;
	unsigned long addr;
	const unsigned long *which;
	struct zcipc_frame **frames;
};

static int zcipc_pte_make_writable(pte_t *ptep, unsigned long addr, void *data)
{
	const struct zcipc_writable *writable = data;
	struct vm_area_struct *vma = writable->vma;
	pte_t pte = ptep_get(ptep);
	unsigned long i = (addr - writable->addr) >> PAGE_SHIFT;
	struct zcipc_frame *frame;

	if (writable->which && !test_bit(i, writable->which))
		return 0;
	if (!pte_present(pte))
		return 0;
	/* The frames are not imported ones, and where they are not said not parts of huge ones. */
	frame = writable->frames ? writable->frames[i] : (struct zcipc_frame *)pte_page(pte);
	if (zcipc_frame_page(frame) != pte_page(pte))
		return 0;
	if (!pte_write(pte) && zcipc_frame_exclusive(frame))
		set_pte_at(vma->vm_mm, addr, ptep, zcipc_pt_mkwrite(pte));
	return 0;
}

/* vm_insert_pages() of parts of huge frames. zcipc_huge_refs() has to know of it. */
static int zcipc_vma_insert_parts(struct vm_area_struct *vma, unsigned long addr,
				  struct zcipc_frame **frames, unsigned long npages)
{
	struct zcipc_huge_frame *huge;
	struct page *pages[32];
	unsigned long n, left;
	int ret = 0;

	for (; npages && !ret; npages -= n, frames += n, addr += n << PAGE_SHIFT) {
		if (zcipc_frame_is_crowded(*frames))
			return -ENOSPC;
		huge = zcipc_frame_huge(*frames);
		for (n = 0; n < min(npages, ARRAY_SIZE(pages)); n++) {
			if (zcipc_frame_huge(frames[n]) != huge)
				break;
			pages[n] = zcipc_frame_page(frames[n]);
		}
		left = n;
		/* One of the two tells of each PTE that it comes, or has come. */
		atomic_inc(&huge->inserting);
		/* Before the first PTE. */
		smp_mb__after_atomic();
		ret = vm_insert_pages(vma, addr, pages, &left);
		/* After the last one. */
		smp_mb__before_atomic();
		atomic_inc(&huge->inserted);
		/* Before nobody is inserting. */
		smp_mb__after_atomic();
		atomic_dec(&huge->inserting);
	}
	return ret;
}

/* How many of some single pages can be mapped: those before the first that too many have. */
static unsigned long zcipc_frames_to_insert(struct zcipc_frame **frames, unsigned long npages)
{
	unsigned long n;

	for (n = 0; n < npages && !zcipc_frame_is_crowded(frames[n]); n++)
		;
	return n;
}

/* PTEs as the VMA's protection has them. */
static int zcipc_vma_insert_plain(struct vm_area_struct *vma, unsigned long addr,
				  struct zcipc_frame **frames, unsigned long npages)
{
	unsigned long left;
	int ret = 0;

	if (zcipc_frame_is_part(*frames))
		return zcipc_vma_insert_parts(vma, addr, frames, npages);
	left = zcipc_frames_to_insert(frames, npages);
	if (left < npages)
		ret = -ENOSPC;
	if (left)
		ret = vm_insert_pages(vma, addr, (struct page **)frames, &left) ?: ret;
	return ret;
}

static int zcipc_pte_is_read_only(pte_t *ptep, unsigned long addr, void *data)
{
	pte_t pte = ptep_get(ptep);

	return pte_present(pte) && !pte_write(pte);
}

/*
 * PTEs that are writable from the beginning, of exclusive frames. The endpoint's lock keeps all
 * others from the VMA's protection, which core mm looks at for nothing but what is inserted: who
 * changes it has the mmap_lock for writing. Nor does core mm look when it brings back what it moved
 * or made inaccessible for a while: these pages are not movable, and NUMA balancing leaves
 * VM_MIXEDMAP alone.
 *
 * There is no better way that all kernels have. Of the functions that count what they insert
 * modules can have those that take the VMA's protection, and later vmf_insert_page_mkwrite(), for
 * one page of a fault. A writable protection that mmap() leaves there would not last, since
 * mprotect() makes it anew, read-only because of page_mkwrite, and would be wrong for all that is
 * inserted read-only. To insert with a copy of the VMA would depend on core mm never minding which
 * one it is given.
 */
static int zcipc_vma_insert_exclusive(struct vm_area_struct *vma, unsigned long addr,
				      struct zcipc_frame **frames, unsigned long npages)
{
	pgprot_t prot = vma->vm_page_prot;
	pte_t pte = pte_mkdirty(zcipc_pte_mkwrite(pte_mkyoung(pfn_pte(0, prot))));
	int ret;

	/* They may be left from when the VMA was read-only. */
	if (zcipc_pt_apply_existing(vma->vm_mm, addr, npages, zcipc_pte_is_read_only, NULL))
		zcipc_pt_zap(vma, addr, npages);
	WRITE_ONCE(vma->vm_page_prot, pte_pgprot(pte));
	ret = zcipc_vma_insert_plain(vma, addr, frames, npages);
	WRITE_ONCE(vma->vm_page_prot, prot);
	return ret;
}

/* zcipc_vma_insert_pages(), where nothing that is read-only may become writable. */
static int zcipc_vma_insert_final(struct vm_area_struct *vma, unsigned long addr,
				  struct zcipc_frame **frames, unsigned long npages)
{
	unsigned long i, n;
	int ret = 0;

	/* What is there already is no reason to leave out what comes after it. */
	for (i = 0; i < npages && (!ret || ret == -EBUSY); i += n) {
		unsigned long at = addr + (i << PAGE_SHIFT);
		bool exclusive = zcipc_frame_exclusive(frames[i]);

		for (n = 1; i + n < npages; n++)
			if (zcipc_frame_exclusive(frames[i + n]) != exclusive)
				break;
		ret = exclusive ? zcipc_vma_insert_exclusive(vma, at, frames + i, n) :
				  zcipc_vma_insert_plain(vma, at, frames + i, n);
	}
	return ret;
}

/*
 * Ordinary PTEs, which pages that the module allocated can have. Returns what vm_insert_pages()
 * says, or -ENOSPC if there are too many of a page.
 */
static int zcipc_vma_insert_pages(struct vm_area_struct *vma, unsigned long addr,
				  struct zcipc_frame **frames, unsigned long npages, bool writable)
{
	struct zcipc_writable all = { .vma = vma, .addr = addr, .frames = frames };
	unsigned long i = 0;
	int ret;

	if (ZCIPC_TLB_STAYS_READ_ONLY && writable)
		return zcipc_vma_insert_final(vma, addr, frames, npages);
	ret = zcipc_vma_insert_plain(vma, addr, frames, npages);
	if (!writable)
		return ret;
	/* Of a snapshot most cannot be, or all. */
	while (i < npages && !zcipc_frame_exclusive(frames[i]))
		i++;
	while (i < npages && !zcipc_frame_exclusive(frames[npages - 1]))
		npages--;
	/* Also where PTEs were there before: a page may just have become writable. */
	if (i < npages)
		zcipc_pt_apply_existing(vma->vm_mm, addr + (i << PAGE_SHIFT), npages - i,
					zcipc_pte_make_writable, &all);
	return ret;
}

/**
 * struct zcipc_special - special PTEs to be inserted
 * @vma: that they are in
 * @addr: user address of the first one
 * @frames: what they are to show
 * @writable: they may be writable, if the frame is
 */
struct zcipc_special {
	struct vm_area_struct *vma;
	unsigned long addr;
	struct zcipc_frame **frames;
	bool writable;
};

static int zcipc_pte_insert_special(pte_t *ptep, unsigned long addr, void *data)
{
	const struct zcipc_special *special = data;
	struct zcipc_frame *frame = special->frames[(addr - special->addr) >> PAGE_SHIFT];
	bool writable = special->writable && zcipc_frame_exclusive(frame);
	struct page *page = zcipc_frame_page(frame);
	pte_t old = ptep_get(ptep);

	/* What is there stays, unless it can be made writable. */
	if (!pte_none(old) && (!writable || !pte_present(old) || pte_write(old) ||
			       pte_pfn(old) != page_to_pfn(page)))
		return 0;
	if (ZCIPC_TLB_STAYS_READ_ONLY && !pte_none(old))
		return -EEXIST;
	if (special->vma->vm_flags & VM_MAYEXEC)
		zcipc_sync_code(page, special->vma->vm_page_prot);
	set_pte_at(special->vma->vm_mm, addr, ptep,
		   zcipc_pt_pte(page, special->vma->vm_page_prot, writable, true));
	return 0;
}

/* What fails need not fail for lack of memory: then a fault is to be begun anew. */
static int zcipc_vma_insert_special(struct zcipc_special *special, unsigned long npages)
{
	struct vm_area_struct *vma = special->vma;
	int ret = zcipc_pt_apply(vma->vm_mm, special->addr, npages, zcipc_pte_insert_special,
				 special);

	if (ret == -EEXIST) {
		zcipc_pt_zap(vma, special->addr, npages);
		ret = zcipc_pt_apply(vma->vm_mm, special->addr, npages, zcipc_pte_insert_special,
				     special);
	}
	return ret ? -EAGAIN : 0;
}

/*
 * Inserts PTEs, in a part of a window or of a mapping outside. The caller holds the mmap_lock or
 * the VMA's lock, and the locks of the endpoint and of all regions that the frames belong to.
 */
static int zcipc_vma_insert(struct vm_area_struct *vma, unsigned long pgoff,
			    struct zcipc_frame **frames, unsigned long npages, bool writable,
			    bool special)
{
	unsigned long addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
	unsigned long n, end = addr + (npages << PAGE_SHIFT);
	int ret = 0;

	trace_zcipc_insert(vma->vm_private_data, pgoff, npages);
	writable = writable && vma->vm_flags & VM_WRITE;
	for (; !ret && addr < end; addr += n << PAGE_SHIFT, frames += n, npages -= n) {
		unsigned long kind = zcipc_frame_kind(*frames);
		struct zcipc_special some = {
			.vma = vma, .addr = addr, .frames = frames, .writable = writable,
		};

		for (n = 1; n < npages && (special || zcipc_frame_kind(frames[n]) == kind); n++)
			;
		if (special || kind == ZCIPC_FRAME_IMPORTED)
			ret = zcipc_vma_insert_special(&some, n);
		else
			ret = zcipc_vma_insert_pages(vma, addr, frames, n, writable);
	}
	return ret;
}

/* Is it the only mapping of its region? */
static bool zcipc_slot_is_only(const struct zcipc_slot *slot)
{
	return list_is_singular(&slot->cap->region->caps) && list_is_singular(&slot->cap->slots);
}

/*
 * Inserts the PMD of a block that is a huge frame. Core mm's function for that makes it special on
 * newer kernels, so that get_user_pages() would not take it. An imported one must not be taken, and
 * is an anonymous page, of which core mm expects, and with PAGE_TABLE_CHECK demands, that who can
 * write to it alone has it mapped.
 *
 * One of the module's own could be taken, and so must never be where nobody is to hold anything:
 * in a VMA that is VM_PFNMAP, say. There is none, since such a frame never takes the place of what
 * is imported (see zcipc_huge_shared()), all other copies are single pages, and no region that is
 * special is made of them.
 *
 * Return: 0, -EAGAIN if a fault has to do it, -ENOENT if PTEs have to do
 */
static int zcipc_slot_insert_huge(struct zcipc_slot *slot, struct vm_area_struct *vma,
				  unsigned long pgoff)
{
	unsigned long index = ALIGN_DOWN(slot->first + pgoff - slot->pgoff, ZCIPC_HUGE_PAGES);
	struct zcipc_frame *frame = slot->cap->region->frames[index];
	bool imported = zcipc_frame_is_imported(frame), writable;
	struct zcipc_window *window;
	unsigned long addr;
	int ret;

	/* The block may begin before the slot does. */
	pgoff = slot->pgoff + index - slot->first;
	addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
	if (index < slot->first || slot->first + slot->npages - index < ZCIPC_HUGE_PAGES ||
	    addr < vma->vm_start || addr + PMD_SIZE > vma->vm_end || addr & ~PMD_MASK ||
	    (imported && !(zcipc_slot_is_only(slot) &&
			   zcipc_import_takes_pmds(vma->vm_flags & VM_PFNMAP))) ||
	    WARN_ON_ONCE(!imported && zcipc_slot_is_special(slot)))
		return -ENOENT;
	writable = slot->writable && vma->vm_flags & VM_WRITE && zcipc_huge_exclusive(frame);
	ret = zcipc_pt_insert_pmd(vma, addr, zcipc_frame_page(frame), writable, imported);
	if (ret == -EAGAIN)
		return ret;
	window = zcipc_window_at(slot->cap->ep, pgoff);
	if (window && !ret)
		window->huge_low = min(window->huge_low, zcipc_window_index(pgoff));
	trace_zcipc_insert(slot->cap->ep, pgoff, ZCIPC_HUGE_PAGES);
	return ret;
}

/**
 * zcipc_slot_insert() - insert PTEs
 * @slot: the slot; the caller holds the locks of endpoint and region
 * @vma: shows the slot; the caller holds the mmap_lock or the VMA's lock
 * @pgoff: first page, as a file offset, in both @slot and @vma
 * @npages: number of pages, all in both
 *
 * Stops at a page that has been moved away.
 *
 * Return: 0, or what vm_insert_pages() says: -EBUSY if something is mapped already, -ENOMEM; or
 * -ENOSPC at a page that is mapped too often
 */
static int zcipc_slot_insert(struct zcipc_slot *slot, struct vm_area_struct *vma,
			     unsigned long pgoff, unsigned long npages)
{
	unsigned long first = slot->first + pgoff - slot->pgoff;
	struct zcipc_frame **frames = slot->cap->region->frames + first;
	unsigned long n;

	lockdep_assert_held(&slot->cap->ep->lock);
	lockdep_assert_held(&slot->cap->region->lock);
	/* There may be a PMD behind the end of the block. */
	if (slot->cap->region->nhuge)
		npages = min(npages, ZCIPC_HUGE_PAGES - first % ZCIPC_HUGE_PAGES);
	for (n = 0; n < npages && frames[n]; n++)
		;
	return n ? zcipc_vma_insert(vma, pgoff, frames, n, slot->writable,
				    zcipc_slot_is_special(slot)) : 0;
}

/**
 * zcipc_window_populate() - insert PTEs of frames that slots show
 * @ep: the endpoint; the caller holds its lock and the mmap_lock of its mm
 * @pgoff: file offset, in pages, of the first one
 * @addr: its user address
 * @frames: the frames; the caller holds the locks of their regions
 * @npages: their number
 * @writable: of all of them
 * @special: of all of them
 *
 * The endpoint's process need not be the current one. What cannot be inserted (no memory, the owner
 * has unmapped a part of the window) is left to faults.
 */
void zcipc_window_populate(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long addr,
			   struct zcipc_frame **frames, unsigned long npages, bool writable,
			   bool special)
{
	lockdep_assert_held(&ep->lock);
	mmap_assert_locked(ep->mm);
	while (npages) {
		struct vm_area_struct *vma = zcipc_window_lookup(ep, pgoff, addr);
		unsigned long n;

		if (!vma || !(vma->vm_flags & VM_READ))
			return;
		n = min3(npages, (vma->vm_end - addr) >> PAGE_SHIFT, ZCIPC_INSERT_CHUNK);
		if (zcipc_vma_insert(vma, pgoff, frames, n, writable, special))
			return;
		pgoff += n;
		addr += n << PAGE_SHIFT;
		frames += n;
		npages -= n;
		cond_resched();
	}
}

/* Sets the write bits of what has been inserted since the last time. */
void zcipc_populate_finish(struct zcipc_populate *p)
{
	struct zcipc_writable writable = { .vma = p->vma, .which = p->writable };

	if (p->vma && p->any_writable && p->vma->vm_flags & VM_WRITE) {
		writable.addr = zcipc_window_addr(p->ep, p->start);
		zcipc_pt_apply_existing(p->ep->mm, writable.addr, p->end - p->start,
					zcipc_pte_make_writable, &writable);
	}
	p->vma = NULL;
}

/**
 * zcipc_populate_add() - insert some of many PTEs, in ascending order if possible
 * @p: all zero before the first call, but for the endpoint; see zcipc_populate_finish()
 * @pgoff: file offset, in pages, of the first one, in a window
 * @frames: the frames
 * @npages: their number
 * @writable: of all of them
 *
 * As zcipc_window_populate(), but cheaper for pages that are near each other.
 */
void zcipc_populate_add(struct zcipc_populate *p, unsigned long pgoff,
			struct zcipc_frame **frames, unsigned long npages, bool writable)
{
	unsigned long addr, n, left = npages;

	for (n = 0; n < npages && !zcipc_frame_kind(frames[n]); n++)
		if (zcipc_frame_is_crowded(frames[n]))
			return;
	if (n < npages || npages > ZCIPC_POPULATE_SPAN) {
		zcipc_window_populate(p->ep, pgoff, zcipc_window_addr(p->ep, pgoff), frames, npages,
				      writable, false);
		return;
	}
	if (!p->vma || pgoff < p->end || pgoff + npages > p->limit) {
		struct vm_area_struct *vma;

		addr = zcipc_window_addr(p->ep, pgoff);
		zcipc_populate_finish(p);
		vma = zcipc_window_lookup(p->ep, pgoff, addr);
		if (!vma || !(vma->vm_flags & VM_READ))
			return;
		p->vma = vma;
		p->start = pgoff;
		p->limit = min(pgoff + ZCIPC_POPULATE_SPAN, vma->vm_pgoff + vma_pages(vma));
		p->any_writable = false;
		bitmap_zero(p->writable, ZCIPC_POPULATE_SPAN);
		if (pgoff + npages > p->limit)
			return;
	}
	addr = p->vma->vm_start + ((pgoff - p->vma->vm_pgoff) << PAGE_SHIFT);
	if (ZCIPC_TLB_STAYS_READ_ONLY)
		zcipc_vma_insert_pages(p->vma, addr, frames, npages,
				       writable && p->vma->vm_flags & VM_WRITE);
	else
		vm_insert_pages(p->vma, addr, (struct page **)frames, &left);
	trace_zcipc_insert(p->ep, pgoff, npages);
	p->end = pgoff + npages;
	if (writable && !ZCIPC_TLB_STAYS_READ_ONLY) {
		bitmap_set(p->writable, pgoff - p->start, npages - left);
		p->any_writable = true;
	}
}

/* zcipc_slot_populate_some(), of a region that has huge frames, or may have. */
void zcipc_slot_populate_huge(struct zcipc_slot *slot, unsigned long i, unsigned long end)
{
	struct zcipc_region *region = slot->cap->region;
	unsigned long addr = zcipc_slot_addr(slot);
	struct vm_area_struct *vma = NULL;
	unsigned long n, k;

	for (; i < end; i += n) {
		unsigned long index = slot->first + i, at = addr + (i << PAGE_SHIFT);

		n = min(end - i, ZCIPC_HUGE_PAGES - index % ZCIPC_HUGE_PAGES);
		if (zcipc_region_huge_at(region, index, n)) {
			if (!vma || at >= vma->vm_end)
				vma = zcipc_window_lookup(slot->cap->ep, slot->pgoff + i, at);
			if (!vma || !(vma->vm_flags & VM_READ))
				return;
			if (zcipc_slot_insert_huge(slot, vma, slot->pgoff + i) != -ENOENT)
				continue;
		}
		for (k = 0; k < n && region->frames[index + k]; k++)
			;
		zcipc_window_populate(slot->cap->ep, slot->pgoff + i, at, region->frames + index,
				      k, slot->writable, zcipc_slot_is_special(slot));
		if (k < n)
			return;
	}
}

/* As zcipc_slot_populate(), of a region that is one huge frame. */
void zcipc_slot_populate_block(struct zcipc_slot *slot)
{
	struct vm_area_struct *vma = zcipc_window_lookup(slot->cap->ep, slot->pgoff,
							 zcipc_slot_addr(slot));

	if (vma && vma->vm_flags & VM_READ &&
	    zcipc_slot_insert_huge(slot, vma, slot->pgoff) == -ENOENT)
		zcipc_slot_populate_huge(slot, 0, slot->npages);
}

/* Inserts PTEs of a slot, from its page @i on, up to one that has been moved away. */
void zcipc_slot_populate_some(struct zcipc_slot *slot, unsigned long i, unsigned long end)
{
	struct zcipc_frame **frames = slot->cap->region->frames + slot->first + i;
	unsigned long n;

	lockdep_assert_held(&slot->cap->region->lock);
	if (slot->cap->region->nhuge) {
		zcipc_slot_populate_huge(slot, i, end);
		return;
	}
	for (n = 0; n < end - i && frames[n]; n++)
		;
	zcipc_window_populate(slot->cap->ep, slot->pgoff + i,
			      zcipc_slot_addr(slot) + (i << PAGE_SHIFT), frames, n, slot->writable,
			      zcipc_slot_is_special(slot));
}

/* Inserts the PTEs of a new slot, up to a page that has been moved away. */
void zcipc_slot_populate(struct zcipc_slot *slot)
{
	zcipc_slot_populate_some(slot, 0, slot->npages);
}

/**
 * zcipc_slot_populate_long() - insert PTEs without keeping others from the endpoint
 * @slot: the slot; the caller holds the lock of its region, which keeps the slot, and the
 *	mmap_lock, but no lock of an endpoint
 *
 * What is not inserted, because others wait for the mmap_lock, say, is left to faults.
 */
void zcipc_slot_populate_long(struct zcipc_slot *slot)
{
	struct zcipc_endpoint *ep = slot->cap->ep;
	unsigned long i, end;

	for (i = 0; i < slot->npages && !fatal_signal_pending(current); i = end) {
		/* Blocks are not taken apart. */
		end = slot->npages;
		if (zcipc_region_huge_at(slot->cap->region, slot->first + i, end - i))
			end = i + ZCIPC_HUGE_PAGES;
		else
			end = min(end, ALIGN(slot->first + i + 1, ZCIPC_POPULATE_PAGES) -
				       slot->first);
		if (slot->npages > ZCIPC_LONG_PAGES)
			zcipc_test_point("populates");
		/* Whoever waits for the mmap_lock does not wait for this. */
		if (mmap_lock_is_contended(ep->mm))
			break;
		mutex_lock(&ep->lock);
		zcipc_slot_populate_some(slot, i, end);
		mutex_unlock(&ep->lock);
		cond_resched();
	}
}

/**
 * struct zcipc_hidden - PTEs that are out of their page table for a moment
 * @mm: whose
 * @addr: user address of the first page
 * @leave: a bit for each page whose PTE is left alone
 * @ptes: for each page its PTE, none if there was nothing to hide
 */
struct zcipc_hidden {
	struct mm_struct *mm;
	unsigned long addr;
	unsigned long *leave;
	pte_t *ptes;
};

static int zcipc_pte_hide(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_hidden *hidden = data;
	unsigned long i = (addr - hidden->addr) >> PAGE_SHIFT;

	if (!test_bit(i, hidden->leave) && pte_present(ptep_get(ptep)))
		hidden->ptes[i] = ptep_get_and_clear(hidden->mm, addr, ptep);
	return 0;
}

static int zcipc_pte_restore(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_hidden *hidden = data;
	pte_t pte = hidden->ptes[(addr - hidden->addr) >> PAGE_SHIFT];

	if (!pte_none(pte))
		set_pte_at(hidden->mm, addr, ptep, pte);
	return 0;
}

/* Hides what is mapped in a range of a window, as far as the window has not been replaced. */
static void zcipc_window_hide(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long end,
			      struct zcipc_hidden *hidden)
{
	while (pgoff < end) {
		unsigned long addr = zcipc_window_addr(ep, pgoff);
		struct vm_area_struct *vma = zcipc_window_lookup(ep, pgoff, addr);
		unsigned long n = 1;

		if (vma) {
			n = min(end - pgoff, (vma->vm_end - addr) >> PAGE_SHIFT);
			zcipc_pt_apply_existing(ep->mm, addr, n, zcipc_pte_hide, hidden);
		} else {
			cond_resched();
		}
		pgoff += n;
	}
}

/* Restores all that is hidden, one page table after the other. */
static void zcipc_window_restore(struct zcipc_hidden *hidden, unsigned long npages)
{
	unsigned long i, first, last, next;

	for (i = 0; i < npages; i = next) {
		unsigned long addr = hidden->addr + (i << PAGE_SHIFT);

		next = min(npages, i + ((ALIGN(addr + 1, PMD_SIZE) - addr) >> PAGE_SHIFT));
		for (first = i; first < next && pte_none(hidden->ptes[first]); first++)
			;
		if (first == next)
			continue;
		for (last = next - 1; pte_none(hidden->ptes[last]); last--)
			;
		zcipc_pt_apply_must(hidden->mm, hidden->addr + (first << PAGE_SHIFT),
				    last - first + 1, zcipc_pte_restore, hidden);
	}
}

/*
 * Unmaps ranges that are near each other, in ascending order, with one call to core mm, which means
 * one flush. What lies between them is hidden from that call. Nobody misses it: faults wait for the
 * endpoint's lock, who wants to unmap what is hidden, for which he has the lock of its region,
 * waits for hide_lock, and TLB entries that are left lead to the same frames. mmap_lock and
 * endpoint's lock keep everybody away who would look at the PTEs, except core mm's DONTNEED and the
 * like, which find nothing and need not.
 */
static void zcipc_window_unmap_near(struct zcipc_endpoint *ep, const struct zcipc_range *ranges,
				    unsigned int n)
{
	unsigned long start = ranges[0].pgoff;
	unsigned long npages = ranges[n - 1].pgoff + ranges[n - 1].npages - start;
	struct zcipc_hidden hidden = { .mm = ep->mm };
	unsigned int i;

	/* Executable mappings can be anywhere. */
	if (n > 1 && npages <= ZCIPC_HIDE_SPAN && zcipc_window_at(ep, start) &&
	    !zcipc_window_may_be_huge(ep, start, npages)) {
		hidden.addr = zcipc_window_addr(ep, start);
		hidden.leave = bitmap_zalloc(npages, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		hidden.ptes = kvcalloc(npages, sizeof(*hidden.ptes),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	}
	/* A stranger can unmap much at a time. */
	if (hidden.ptes && hidden.leave && down_write_trylock(&ep->hide_lock)) {
		for (i = 0; i < n; i++)
			bitmap_set(hidden.leave, ranges[i].pgoff - start, ranges[i].npages);
		zcipc_window_hide(ep, start, start + npages, &hidden);
		zcipc_test_point("hidden");
		zcipc_window_unmap_locked(ep, start, npages);
		zcipc_window_restore(&hidden, npages);
		up_write(&ep->hide_lock);
	} else {
		for (i = 0; i < n; i++)
			zcipc_window_unmap(ep, ranges[i].pgoff, ranges[i].npages);
	}
	kvfree(hidden.ptes);
	bitmap_free(hidden.leave);
}

static int zcipc_range_compare(const void *a, const void *b)
{
	const struct zcipc_range *x = a, *y = b;

	return x->pgoff < y->pgoff ? -1 : x->pgoff > y->pgoff;
}

/**
 * zcipc_window_unmap_ranges() - take ranges out of page tables with as few TLB flushes as possible
 * @ep: the endpoint; the caller holds its lock and the mmap_lock of its mm
 * @ranges: the ranges, in any order and overlapping as they like; are sorted and merged
 * @n: number of ranges
 */
void zcipc_window_unmap_ranges(struct zcipc_endpoint *ep, struct zcipc_range *ranges,
			       unsigned int n)
{
	unsigned int i, first, last;

	lockdep_assert_held(&ep->lock);
	mmap_assert_locked(ep->mm);
	if (!n)
		return;
	for (i = 1; i < n && ranges[i].pgoff >= ranges[i - 1].pgoff; i++)
		;
	if (i < n)
		sort(ranges, n, sizeof(*ranges), zcipc_range_compare, NULL);
	for (first = 0, last = 0, i = 1; i < n; i++) {
		unsigned long end = ranges[last].pgoff + ranges[last].npages;
		bool same = zcipc_window_at(ep, ranges[i].pgoff) ==
			    zcipc_window_at(ep, ranges[last].pgoff);

		if (same && ranges[i].pgoff <= end) {
			end = max(end, ranges[i].pgoff + ranges[i].npages);
			ranges[last].npages = end - ranges[last].pgoff;
			continue;
		}
		/* Too far away: to hide so much would cost more than another flush. */
		if (!same || ranges[i].pgoff - end > ZCIPC_HIDE_MAX) {
			zcipc_window_unmap_near(ep, ranges + first, last - first + 1);
			first = last + 1;
		}
		ranges[++last] = ranges[i];
	}
	zcipc_window_unmap_near(ep, ranges + first, last - first + 1);
}

/**
 * struct zcipc_touch - somebody touches a page that an endpoint has mapped
 * @vma: where
 * @pgoff: file offset of the page, in pages
 * @addr: user address
 * @page: mapped there, with a reference by the caller, or NULL
 * @write: to write
 * @fault: the fault, or NULL: then @buf is not
 * @buf: kernel memory to be copied from or to, or NULL: a PTE is to be inserted
 * @len: how much, in the same page
 */
struct zcipc_touch {
	struct vm_area_struct *vma;
	unsigned long pgoff;
	unsigned long addr;
	const struct page *page;
	bool write;
	struct vm_fault *fault;
	void *buf;
	int len;
};

static void zcipc_touch_copy(const struct zcipc_touch *touch, struct zcipc_frame *frame)
{
	void *p = kmap_local_page(zcipc_frame_page(frame)) + offset_in_page(touch->addr);

	if (touch->write) {
		memcpy(p, touch->buf, touch->len);
		flush_dcache_page(zcipc_frame_page(frame));
	} else {
		memcpy(touch->buf, p, touch->len);
	}
	kunmap_local(p);
}

/* Somebody may be writing to all pages. Returns how many more have been made ready for that. */
static unsigned long zcipc_touch_ahead(const struct zcipc_touch *touch, struct zcipc_slot *slot,
				       unsigned long index)
{
	unsigned long left = min(slot->pgoff + slot->npages - touch->pgoff,
				 (touch->vma->vm_end - touch->addr) >> PAGE_SHIFT) - 1;

	/* The next block may be a huge frame. */
	if (slot->cap->region->nhuge)
		left = min(left, -index % ZCIPC_HUGE_PAGES);
	if (slot->streak < ZCIPC_COW_STREAK) {
		slot->streak++;
		return 0;
	}
	return zcipc_cow_break_ahead(slot->cap->ep, slot->cap->region, index,
				     min(left, ZCIPC_COW_AHEAD));
}

/* Under the locks of endpoint and region. @broken: the page was a part of another huge frame. */
static vm_fault_t zcipc_touch_frame(const struct zcipc_touch *touch, struct zcipc_slot *slot,
				    unsigned long index, bool broken)
{
	struct vm_area_struct *vma = touch->vma;
	unsigned long pgoff = touch->pgoff;
	unsigned long before = 0, n = 1;
	int ret;

	if (touch->buf) {
		zcipc_touch_copy(touch, slot->cap->region->frames[index]);
		return VM_FAULT_NOPAGE;
	}
	if (!touch->write) {
		slot->around = touch->pgoff == slot->next ?
			       min(4 * slot->around, ZCIPC_FAULT_AROUND_MAX) : ZCIPC_FAULT_AROUND;
		n = min3(slot->pgoff + slot->npages - touch->pgoff,
			 (vma->vm_end - touch->addr) >> PAGE_SHIFT, (unsigned long)slot->around);
		slot->next = touch->pgoff + n;
	} else if (touch->pgoff != slot->written) {
		slot->streak = 0;
	} else {
		n += zcipc_touch_ahead(touch, slot, index + 1);
	}
	if (touch->write)
		slot->written = touch->pgoff + n;
	if (broken && (zcipc_region_is_huge(slot->cap->region, index) ||
		       !zcipc_pt_has_table(vma->vm_mm, touch->addr))) {
		/* Nothing of the block is mapped any more. */
		before = min3(index % ZCIPC_HUGE_PAGES, pgoff - slot->pgoff,
			      (touch->addr - vma->vm_start) >> PAGE_SHIFT);
		n = before + min3(ZCIPC_HUGE_PAGES - index % ZCIPC_HUGE_PAGES,
				  slot->pgoff + slot->npages - pgoff,
				  (vma->vm_end - touch->addr) >> PAGE_SHIFT);
	}
	zcipc_count(slot->cap->ep, slot->cap->region, FAULTS, 1);
	if (zcipc_region_is_huge(slot->cap->region, index) &&
	    zcipc_slot_insert_huge(slot, vma, touch->pgoff) != -ENOENT)
		return VM_FAULT_NOPAGE;
	ret = zcipc_slot_insert(slot, vma, pgoff - before, n);
	if (ret == -ENOMEM)
		return VM_FAULT_OOM;
	/* It may be a page behind it that cannot be mapped, or somebody else has mapped it. */
	if (ret == -ENOSPC && zcipc_frame_is_crowded(slot->cap->region->frames[index]) &&
	    !zcipc_pt_shows(vma->vm_mm, touch->addr & PAGE_MASK))
		return VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

/*
 * Somebody has locked the region of what is touched, for who knows how long. If that is possible,
 * the task waits for him without the mmap_lock, which all other threads need: then core mm has to
 * begin the fault anew. The caller holds the endpoint's lock, which is released if this returns
 * what the fault is to return; otherwise 0 is returned.
 */
static vm_fault_t zcipc_touch_waits(const struct zcipc_touch *touch, struct zcipc_endpoint *ep)
{
	struct vm_fault *vmf = touch->fault;
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	struct file *file;

	/* A kernel thread might drop the last reference to the file while this code still runs. */
	if (!vmf || current->flags & PF_KTHREAD)
		return 0;
	slot = zcipc_slot_find(ep, touch->pgoff);
	if (!slot || !mutex_is_locked(&slot->cap->region->lock))
		return 0;
	/*
	 * A fault of a page that is mapped has to keep the lock. It becomes one that need not, but
	 * not again and again because others read the page meanwhile.
	 */
	if (vmf->flags & FAULT_FLAG_MKWRITE) {
		if (ep->zapped == touch->pgoff + 1)
			return 0;
		ep->zapped = touch->pgoff + 1;
		mutex_unlock(&ep->lock);
		zcipc_pt_zap(touch->vma, touch->addr & PAGE_MASK, 1);
		return VM_FAULT_NOPAGE;
	}
	/* Once: else others who have it by turns could keep the task from it for ever. */
	if (!fault_flag_allow_retry_first(vmf->flags) || vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return 0;
	region = zcipc_region_get(slot->cap->region);
	mutex_unlock(&ep->lock);
	/* Without the VMA nothing else keeps the module. */
	file = get_file(vmf->vma->vm_file);
	zcipc_fault_unlock(vmf);
	/* Core mm looks for what may have killed the task. */
	if (!mutex_lock_killable(&region->lock))
		mutex_unlock(&region->lock);
	zcipc_region_put(region);
	fput(file);
	return VM_FAULT_RETRY;
}

/*
 * A fault: of a page that is not mapped, or a write to one mapped read-only. Inserts the PTE
 * itself, under the locks, instead of leaving it to core mm after they are released, when the page
 * may have been moved away.
 */
static vm_fault_t zcipc_window_touch(const struct zcipc_touch *touch)
{
	struct zcipc_endpoint *ep = touch->vma->vm_private_data;
	struct zcipc_frame *spare = NULL;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct zcipc_region *region;
	bool again, huge, spare_huge = false;
	struct zcipc_frame *frame;
	struct zcipc_slot *slot;
	unsigned long index;

	/*
	 * A child got the VMA by MADV_DOFORK: it is not ours to serve. Userfaultfd's write-protect
	 * markers take the place of PTEs, and would have to be resolved by its reader.
	 */
	if (touch->vma->vm_mm != ep->mm || userfaultfd_wp(touch->vma))
		return VM_FAULT_SIGBUS;
	do {
		vm_fault_t waited;

		again = false;
		mutex_lock(&ep->lock);
		waited = zcipc_touch_waits(touch, ep);
		if (waited) {
			zcipc_cow_spare_put(spare);
			return waited;
		}
		slot = zcipc_slot_find_locked(ep, touch->pgoff);
		if (!slot)
			goto unlock;
		region = slot->cap->region;
		zcipc_test_point("fault");
		if (slot->cap->revoked || (touch->write && !slot->writable))
			goto unlock_region;
		index = slot->first + touch->pgoff - slot->pgoff;
		frame = region->frames[index];
		if (!frame)
			goto unlock_region;
		huge = zcipc_region_is_huge(region, index);
		if (touch->write && zcipc_cow_break(ep, region, index, &spare,
						    touch->page == zcipc_frame_page(frame))) {
			again = true;
			spare_huge = zcipc_cow_breaks_huge(region, index);
			goto unlock_region;
		}
		if (touch->write && ep->zapped == touch->pgoff + 1)
			ep->zapped = 0;
		ret = zcipc_touch_frame(touch, slot, index,
					huge && (frame != region->frames[index] ||
						 !zcipc_region_is_huge(region, index)));
unlock_region:
		mutex_unlock(&region->lock);
unlock:
		mutex_unlock(&ep->lock);
		if (again)
			zcipc_cow_spare(&spare, spare_huge);
	} while (again && spare);
	zcipc_cow_spare_put(spare);
	return ret;
}

static vm_fault_t zcipc_window_resolve(struct vm_fault *vmf, bool write)
{
	struct zcipc_touch touch = {
		.vma = vmf->vma, .pgoff = vmf->pgoff, .addr = vmf->address, .write = write,
		.fault = vmf,
		/* A page_mkwrite caller has a reference to the page that was mapped. */
		.page = vmf->page,
	};

	return zcipc_window_touch(&touch);
}

static vm_fault_t zcipc_window_fault(struct vm_fault *vmf)
{
	return zcipc_window_resolve(vmf, vmf->flags & FAULT_FLAG_WRITE);
}

static vm_fault_t zcipc_window_mkwrite(struct vm_fault *vmf)
{
	return zcipc_window_resolve(vmf, true);
}

/* Maps nothing. That it exists lets newer kernels take faults under the VMA's lock alone. */
static vm_fault_t zcipc_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return 0;
}

/*
 * ptrace() and /proc/<pid>/mem of what get_user_pages() cannot take: imported memory. With no more
 * rights than the mapping has, and up to the end of a page.
 */
static int zcipc_window_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
			       int write)
{
	struct zcipc_touch touch = {
		.vma = vma, .pgoff = linear_page_index(vma, addr), .addr = addr, .write = write,
		.buf = buf, .len = min_t(int, len, PAGE_SIZE - offset_in_page(addr)),
	};

	if (!(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		return -EFAULT;
	return zcipc_window_touch(&touch) == VM_FAULT_NOPAGE ? touch.len : -EFAULT;
}

/* The kernel splits the VMA, or copies it: for mremap(), which then fails, or for a child. */
static void zcipc_window_open(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;
	struct zcipc_window *window;

	if (zcipc_pt_is_inherited(vma, ep->mm))
		return;
	mutex_lock(&ep->lock);
	window = zcipc_window_at(ep, vma->vm_pgoff);
	window->nvmas++;
	window->vma = NULL;
	mutex_unlock(&ep->lock);
}

/*
 * File offsets of a window are not mapped any more. Who has not heard of a slot there is not told
 * where it is; if there is no window any more, there is no slot.
 */
static void zcipc_window_unplace(struct zcipc_endpoint *ep, unsigned long pgoff,
				 unsigned long npages, bool gone)
{
	unsigned long end = pgoff + npages;
	struct zcipc_region *region;
	struct zcipc_slot *slot;

	while ((slot = zcipc_slot_find_from(ep, pgoff)) && slot->pgoff < end) {
		pgoff = slot->pgoff + slot->npages;
		if (slot == &slot->cap->slot)
			slot->cap->msg.addr = 0;
		if (!gone)
			continue;
		slot = zcipc_slot_find_locked(ep, slot->pgoff);
		if (!slot)
			continue;
		region = slot->cap->region;
		zcipc_slot_remove(slot);
		mutex_unlock(&region->lock);
		cond_resched();
	}
}

static void zcipc_window_close(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;
	struct zcipc_window *window;
	unsigned long npages;

	if (vma->vm_mm != ep->mm)
		return;
	mutex_lock(&ep->lock);
	window = zcipc_window_at(ep, vma->vm_pgoff);
	/* The offset of what 6.1 takes back when it fails to split a VMA means nothing. */
	if (vma->vm_start == vma->vm_end)
		window = zcipc_window_around(ep, vma->vm_start) ?: window;
	window->vma = NULL;
	if (!--window->nvmas) {
		npages = window->npages;
		/* Nothing new comes in, though the lock may be released, nor what was reserved. */
		window->npages = 0;
		window->id = 0;
		zcipc_window_unplace(ep, zcipc_window_pgoff(window - ep->windows), npages, false);
		zcipc_window_unplace(ep, zcipc_window_pgoff(window - ep->windows), npages, true);
		window->npages = npages;
		zcipc_window_end(ep, window);
	} else if (vma->vm_start != vma->vm_end && !zcipc_endpoint_gone(ep)) {
		zcipc_window_lose(ep, window, zcipc_window_index(vma->vm_pgoff), vma_pages(vma));
		zcipc_window_unplace(ep, vma->vm_pgoff, vma_pages(vma), false);
	}
	/* Who waits for room may wait for ever. */
	zcipc_endpoint_wake_all(ep);
	mutex_unlock(&ep->lock);
	zcipc_endpoint_unmapped(ep, vma);
}

/* The place is known to peers. */
static int zcipc_window_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static const struct vm_operations_struct zcipc_window_ops = {
	.open = zcipc_window_open,
	.close = zcipc_window_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_window_fault,
	.map_pages = zcipc_window_map_pages,
	.page_mkwrite = zcipc_window_mkwrite,
	.pfn_mkwrite = zcipc_window_mkwrite,
	.access = zcipc_window_access,
};

/*
 * All that is mapped here is writable. Without mkwrite core mm takes the memory for what is never
 * written back, and lets it be pinned for long.
 */
static const struct vm_operations_struct zcipc_pinnable_ops = {
	.open = zcipc_window_open,
	.close = zcipc_window_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_window_fault,
	.map_pages = zcipc_window_map_pages,
};

/* What is counted of it does not change when the kernel splits the VMA. */
static void zcipc_outside_open(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;

	zcipc_pt_is_inherited(vma, ep->mm);
}

/* Its slot stays. */
static void zcipc_exec_close(struct vm_area_struct *vma)
{
	zcipc_endpoint_unmapped(vma->vm_private_data, vma);
}

/* Never writable. */
static const struct vm_operations_struct zcipc_exec_ops = {
	.open = zcipc_outside_open,
	.close = zcipc_exec_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_window_fault,
	.map_pages = zcipc_window_map_pages,
	.access = zcipc_window_access,
};

/*
 * The last page of a slot of adopted memory is about to go. The capability stays if somebody knows
 * it, but nobody is to be told an address where there is something else by then.
 */
static void zcipc_adopted_end(struct zcipc_endpoint *ep, struct zcipc_slot *slot)
{
	struct zcipc_region *region;

	if (slot->cap->implicit) {
		zcipc_cap_remove(slot->cap);
		return;
	}
	slot = zcipc_slot_find_locked(ep, slot->pgoff);
	if (!slot)
		return;
	region = slot->cap->region;
	if (slot->addr && !slot->nmapped && !slot->cap->unready)
		zcipc_slot_remove(slot);
	mutex_unlock(&region->lock);
}

/* Does a VMA show a slot where it belongs? One that mremap() makes, which then fails, does not. */
static bool zcipc_adopted_shows(const struct vm_area_struct *vma, const struct zcipc_slot *slot)
{
	return slot->addr && vma->vm_start - (vma->vm_pgoff << PAGE_SHIFT) ==
			     slot->addr - (slot->pgoff << PAGE_SHIFT);
}

/* What the current task is adopting, or NULL. The caller holds the endpoint's lock. */
static struct zcipc_adoption *zcipc_adoption_own(const struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->lock);
	return ep->adoption && ep->adoption->task == current ? ep->adoption : NULL;
}

/* Does a VMA go because a larger one takes its place, which will show the same slots? */
static bool zcipc_adopted_is_joined(const struct zcipc_endpoint *ep,
				    const struct vm_area_struct *vma)
{
	const struct zcipc_adoption *adoption = zcipc_adoption_own(ep);
	const struct zcipc_slot *slot;

	if (!adoption || vma->vm_start < adoption->start || vma->vm_end > adoption->end)
		return false;
	slot = adoption->slot;
	return zcipc_adopted_shows(vma, slot) &&
	       (vma->vm_end <= slot->addr ||
		vma->vm_start >= slot->addr + (slot->npages << PAGE_SHIFT));
}

/* Pages are counted, not VMAs: to split one changes nothing, so nobody has to hear of that. */
static void zcipc_adopted_close(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;
	unsigned long at = vma->vm_pgoff, end = at + vma_pages(vma), from;
	struct zcipc_slot *slot;

	if (vma->vm_mm != ep->mm)
		return;
	mutex_lock(&ep->lock);
	if (zcipc_adopted_is_joined(ep, vma)) {
		ep->adoption->emptied = true;
		mutex_unlock(&ep->lock);
		return;
	}
	/* What 6.1 takes back when it fails to split a VMA has no pages. */
	while ((slot = zcipc_slot_find_from(ep, at)) && slot->pgoff < end) {
		from = max(at, slot->pgoff);
		at = slot->pgoff + slot->npages;
		if (!zcipc_adopted_shows(vma, slot))
			continue;
		slot->nmapped -= min(at, end) - from;
		if (slot->nmapped)
			continue;
		zcipc_adopted_end(ep, slot);
		/* One VMA may have shown thousands, and strangers wait for the lock. */
		mutex_unlock(&ep->lock);
		cond_resched();
		mutex_lock(&ep->lock);
	}
	mutex_unlock(&ep->lock);
	zcipc_endpoint_unmapped(ep, vma);
}

/*
 * Core mm asks for the name of what it is about to dump, with the mmap_lock for writing, and dumps
 * whatever has one. It takes pages for that, which it can only of a VMA that is not VM_PFNMAP. So
 * this is the end of special PTEs: a process that dumps its core does nothing else any more.
 */
static const char *zcipc_adopted_name(struct vm_area_struct *vma)
{
	const struct zcipc_endpoint *ep = vma->vm_private_data;
	struct mm_struct *mm = vma->vm_mm;

	/* Other processes that have the same mm go on. */
	if (!(current->flags & PF_DUMPCORE) || current->mm != mm || mm != ep->mm ||
	    atomic_read(&mm->mm_users) > get_nr_threads(current) ||
	    vma->vm_flags & VM_DONTDUMP || !zcipc_mm_flag(mm, MMF_DUMP_ANON_PRIVATE))
		return NULL;
	zcipc_vm_flags_mod(vma, VM_MIXEDMAP, VM_PFNMAP);
	zcipc_pt_zap(vma, vma->vm_start, vma_pages(vma));
	return "zcipc";
}

static bool zcipc_adopted_is_dumped(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_MIXEDMAP;
}

/* Gives core mm a copy of a page to be dumped. It goes when the next one is asked for. */
static vm_fault_t zcipc_adopted_dump(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct zcipc_endpoint *ep = vma->vm_private_data;
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT);
	struct zcipc_frame *frame = NULL;
	struct zcipc_slot *slot;

	if (!page)
		return VM_FAULT_OOM;
	mutex_lock(&ep->lock);
	slot = zcipc_slot_find_locked(ep, vmf->pgoff);
	if (slot) {
		if (!slot->cap->revoked)
			frame = slot->cap->region->frames[slot->first + vmf->pgoff - slot->pgoff];
		if (frame)
			copy_highpage(page, zcipc_frame_page(frame));
		mutex_unlock(&slot->cap->region->lock);
	}
	mutex_unlock(&ep->lock);
	if (!frame) {
		put_page(page);
		return VM_FAULT_SIGBUS;
	}
	if (vmf->address > vma->vm_start)
		zcipc_pt_zap(vma, vmf->address - PAGE_SIZE, 1);
	vmf->page = page;
	return 0;
}

static vm_fault_t zcipc_adopted_fault(struct vm_fault *vmf)
{
	return zcipc_adopted_is_dumped(vmf->vma) ? zcipc_adopted_dump(vmf) :
						    zcipc_window_fault(vmf);
}

static vm_fault_t zcipc_adopted_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return zcipc_adopted_is_dumped(vmf->vma) ? 0 : zcipc_window_map_pages(vmf, start, end);
}

/* Nobody writes to a copy. */
static vm_fault_t zcipc_adopted_mkwrite(struct vm_fault *vmf)
{
	return zcipc_adopted_is_dumped(vmf->vma) ? VM_FAULT_SIGBUS : zcipc_window_mkwrite(vmf);
}

/* The file offset, in pages, that memory at a user address has when it is adopted. */
static unsigned long zcipc_adopted_pgoff(unsigned long addr)
{
	return ZCIPC_ADOPTED_START + (addr >> PAGE_SHIFT);
}

/**
 * zcipc_adopted_reserve() - file offsets for memory that is to be adopted
 * @ep: the endpoint; the caller holds its lock
 * @addr: user address
 * @npages: number of pages
 * @pgoff: [out] first page, as a file offset
 *
 * What is side by side in memory is so in the file, too, so that one VMA can show it. A slot of
 * what was adopted there before may still have some of the offsets, if only a part of it was
 * unmapped. Then it gets others.
 *
 * Return: 0, or -ENOBUFS when all have been used
 */
int zcipc_adopted_reserve(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
			  unsigned long *pgoff)
{
	const struct zcipc_slot *slot;

	*pgoff = zcipc_adopted_pgoff(addr);
	slot = zcipc_slot_find_from(ep, *pgoff);
	if (*pgoff + npages > ZCIPC_ADOPTED_END || (slot && slot->pgoff < *pgoff + npages))
		return zcipc_window_reserve_outside(ep, npages, pgoff);
	return 0;
}

static const struct vm_operations_struct zcipc_adopted_ops = {
	.open = zcipc_outside_open,
	.close = zcipc_adopted_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_adopted_fault,
	.map_pages = zcipc_adopted_map_pages,
	.page_mkwrite = zcipc_adopted_mkwrite,
	.pfn_mkwrite = zcipc_adopted_mkwrite,
	.access = zcipc_window_access,
	.name = zcipc_adopted_name,
};

/*
 * Can a VMA be one with adopted memory beside it? Only if it is as it was made: what madvise() and
 * mprotect() have changed would be lost. The caller holds the mmap_lock.
 */
static bool zcipc_adopted_can_join(const struct zcipc_endpoint *ep,
				   const struct vm_area_struct *vma, const struct zcipc_slot *slot)
{
	unsigned long flags = ep->adopted_flags | (slot->secret ? VM_DONTDUMP : 0);

	/* Core mm tries to lock all that mmap() makes, but nothing that is VM_PFNMAP. */
	return vma->vm_ops == &zcipc_adopted_ops && vma->vm_private_data == ep &&
	       vma->vm_pgoff == zcipc_adopted_pgoff(vma->vm_start) &&
	       !((vma->vm_flags ^ flags) & ~(VM_SOFTDIRTY | VM_LOCKED | VM_LOCKONFAULT));
}

/**
 * zcipc_adopted_join() - choose what becomes one VMA with memory that is being adopted
 * @ep: the endpoint
 * @adoption: of the current task; its range grows by what is chosen
 *
 * Core mm never makes one VMA of two that are VM_PFNMAP. So the new one takes the place of those
 * beside it, whose PTEs all have to be made anew. To take those alone that are not larger, again
 * and again, leaves few VMAs, and makes few PTEs anew each time: N imports of a page make log2(N)
 * VMAs, and each PTE as often. A few pages more cost next to nothing, and else a page between two
 * that are larger would stay alone. Nobody's small import waits for what is large, of which there
 * are few in any case.
 *
 * Context: May sleep; no lock is held but @ep's adopt_lock.
 */
void zcipc_adopted_join(struct zcipc_endpoint *ep, struct zcipc_adoption *adoption)
{
	const struct zcipc_slot *slot = adoption->slot;
	const struct vm_area_struct *vma;
	unsigned long all, most, joined;

	if (slot->pgoff != zcipc_adopted_pgoff(slot->addr))
		return;
	mmap_read_lock(ep->mm);
	for (;;) {
		all = adoption->end - adoption->start;
		joined = all - (slot->npages << PAGE_SHIFT);
		most = min(max(all, ZCIPC_JOIN_MIN), ZCIPC_JOIN_MAX - joined);
		vma = vma_lookup(ep->mm, adoption->start - 1);
		if (vma && vma->vm_end == adoption->start &&
		    vma->vm_end - vma->vm_start <= most && zcipc_adopted_can_join(ep, vma, slot)) {
			adoption->start = vma->vm_start;
			continue;
		}
		vma = vma_lookup(ep->mm, adoption->end);
		if (vma && vma->vm_start == adoption->end &&
		    vma->vm_end - vma->vm_start <= most && zcipc_adopted_can_join(ep, vma, slot)) {
			adoption->end = vma->vm_end;
			continue;
		}
		break;
	}
	mmap_read_unlock(ep->mm);
}

/* Is all of a range what can be joined, or, if it has been unmapped for that, nobody's? */
static bool zcipc_adopted_is_all(const struct zcipc_endpoint *ep,
				 const struct zcipc_adoption *adoption, unsigned long addr,
				 unsigned long end)
{
	const struct vm_area_struct *vma;

	while (addr < end) {
		vma = find_vma(ep->mm, addr);
		if (vma && vma->vm_start <= addr) {
			if (!zcipc_adopted_can_join(ep, vma, adoption->slot))
				return false;
			addr = vma->vm_end;
		} else {
			if (!adoption->emptied)
				return false;
			addr = vma ? vma->vm_start : end;
		}
	}
	return true;
}

/**
 * zcipc_adopted_may_replace() - is what mmap() is about to replace what it is meant to replace?
 * @ep: the endpoint
 * @addr: user address
 * @end: where the new mapping is to end
 *
 * Other threads may have unmapped what was chosen to be joined, may have mapped something else
 * there, which is none of this endpoint's business, or may have changed it.
 *
 * Context: The caller holds the mmap_lock for writing, until all is mapped.
 * Return: whether it is, or nothing is being adopted
 */
bool zcipc_adopted_may_replace(struct zcipc_endpoint *ep, unsigned long addr, unsigned long end)
{
	const struct zcipc_adoption *adoption;
	const struct zcipc_slot *slot;
	bool may = true;

	mutex_lock(&ep->lock);
	adoption = zcipc_adoption_own(ep);
	if (adoption) {
		slot = adoption->slot;
		may = zcipc_adopted_is_all(ep, adoption, addr, min(end, slot->addr)) &&
		      zcipc_adopted_is_all(ep, adoption,
					   max(addr, slot->addr + (slot->npages << PAGE_SHIFT)),
					   end);
	}
	mutex_unlock(&ep->lock);
	return may;
}

/**
 * zcipc_adopted_populate() - insert PTEs of adopted memory in a range, if the mmap_lock is free
 * @ep: the endpoint
 * @addr: user address: where the range begins
 * @end: where it ends
 *
 * What is not inserted is left to faults.
 *
 * Context: May sleep; no lock is held but @ep's adopt_lock.
 */
void zcipc_adopted_populate(struct zcipc_endpoint *ep, unsigned long addr, unsigned long end)
{
	unsigned long pgoff = zcipc_adopted_pgoff(addr), last = zcipc_adopted_pgoff(end);
	struct zcipc_region *region;
	struct zcipc_slot *slot;

	if (!mmap_read_trylock(ep->mm))
		return;
	while (pgoff < last) {
		mutex_lock(&ep->lock);
		slot = zcipc_slot_find_from(ep, pgoff);
		if (slot && slot->pgoff < last)
			slot = zcipc_slot_find_locked(ep, slot->pgoff);
		else
			slot = NULL;
		region = slot ? zcipc_region_get(slot->cap->region) : NULL;
		mutex_unlock(&ep->lock);
		if (!slot)
			break;
		pgoff = slot->pgoff + slot->npages;
		if (!slot->cap->revoked)
			zcipc_slot_populate_long(slot);
		zcipc_region_unlock_put(region);
	}
	mmap_read_unlock(ep->mm);
}

/**
 * zcipc_adopted_find() - the first of a range that is adopted memory
 * @ep: the endpoint that has adopted it
 * @addr: user address: where the range begins
 * @end: where it ends
 * @found: [out] what one VMA shows of one slot, or shows where a slot was, as far as it is in the
 *	range
 *
 * Context: May sleep; no lock is held.
 * Return: whether there is one
 */
bool zcipc_adopted_find(struct zcipc_endpoint *ep, unsigned long addr, unsigned long end,
			struct zcipc_adopted *found)
{
	struct vm_area_struct *vma;
	struct zcipc_slot *slot;
	unsigned long pgoff, end_pgoff;

	mmap_read_lock(ep->mm);
	for (vma = find_vma(ep->mm, addr); vma && vma->vm_start < end;
	     vma = find_vma(ep->mm, vma->vm_end))
		if (vma->vm_ops == &zcipc_adopted_ops && vma->vm_private_data == ep)
			break;
	if (!vma || vma->vm_start >= end) {
		mmap_read_unlock(ep->mm);
		return false;
	}
	*found = (struct zcipc_adopted){
		.addr = max(addr, vma->vm_start), .end = min(end, vma->vm_end),
		.prot = (vma->vm_flags & VM_READ ? PROT_READ : 0) |
			(vma->vm_flags & VM_WRITE ? PROT_WRITE : 0),
	};
	pgoff = vma->vm_pgoff + ((found->addr - vma->vm_start) >> PAGE_SHIFT);
	mutex_lock(&ep->lock);
	slot = zcipc_slot_find_from(ep, pgoff);
	/* What is behind it in the same VMA is another slot's, or was. */
	if (slot) {
		end_pgoff = slot->pgoff > pgoff ? slot->pgoff : slot->pgoff + slot->npages;
		found->end = min(found->end, found->addr + ((end_pgoff - pgoff) << PAGE_SHIFT));
	}
	if (slot && slot->pgoff <= pgoff && slot->addr && !slot->cap->unready) {
		found->token = slot->cap->token;
		found->first = slot->first + pgoff - slot->pgoff;
	}
	mutex_unlock(&ep->lock);
	mmap_read_unlock(ep->mm);
	return true;
}

/* mmap() of a window. */
static int zcipc_window_make(struct zcipc_endpoint *ep, struct vm_area_struct *vma,
			     unsigned int which)
{
	struct zcipc_window *window = &ep->windows[which];
	bool pinnable = which == ZCIPC_WINDOW_PINNABLE;
	bool unpinnable = which == ZCIPC_WINDOW_UNPINNABLE;
	unsigned long npages = vma_pages(vma);
	unsigned long **used;
	size_t size = zcipc_window_array_size(npages);
	int ret;

	if (vma->vm_pgoff != zcipc_window_pgoff(which) || npages > ZCIPC_MAX_WINDOW_PAGES)
		return -EINVAL;
	if (!pinnable && !unpinnable && !zcipc_frame_can_cache(which))
		return -EOPNOTSUPP;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	ret = zcipc_charge_overhead(ep->user, size);
	if (ret)
		return ret;
	used = kvzalloc(size, GFP_KERNEL_ACCOUNT);
	if (!used) {
		zcipc_uncharge_overhead(ep->user, size);
		return -ENOMEM;
	}

	mutex_lock(&ep->lock);
	if (window->used) {
		ret = -EBUSY;
	} else {
		window->id = ++ep->window_id;
		window->addr = vma->vm_start;
		window->npages = npages;
		window->nvmas = 1;
		window->vma = vma;
		window->huge_low = npages;
		zcipc_endpoint_seen(ep);
		swap(window->used, used);
	}
	mutex_unlock(&ep->lock);
	if (ret) {
		zcipc_uncharge_overhead(ep->user, size);
		kvfree(used);
		return ret;
	}
	if (!pinnable && !unpinnable)
		vma->vm_page_prot = zcipc_frame_pgprot(vma->vm_page_prot, which);
	vma->vm_ops = pinnable ? &zcipc_pinnable_ops : &zcipc_window_ops;
	zcipc_vm_flags_mod(vma, (unpinnable ? VM_PFNMAP : VM_MIXEDMAP) | VM_DONTDUMP, VM_MAYEXEC);
	return 0;
}

/*
 * mmap() of what ZCIPC_IOC_MAP gave an offset for, or of a part of it; or of memory that is being
 * adopted, in its place; or of a view.
 */
static int zcipc_window_make_outside(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	unsigned long kind = VM_MIXEDMAP | VM_DONTDUMP;
	const struct vm_operations_struct *ops = &zcipc_exec_ops;
	unsigned long never = VM_MAYWRITE;
	struct zcipc_adoption *adoption;
	struct zcipc_view *view = NULL;
	struct zcipc_slot *slot;
	int ret = -EINVAL;

	mutex_lock(&ep->lock);
	slot = zcipc_slot_find(ep, vma->vm_pgoff);
	adoption = zcipc_adoption_own(ep);
	if (adoption) {
		slot = adoption->slot;
		if (vma->vm_start >= adoption->start && vma->vm_end <= adoption->end &&
		    zcipc_adopted_shows(vma, slot))
			ret = 0;
		/* What is joined has been counted, and may be mapped without the new memory. */
		if (!ret && vma->vm_start <= slot->addr && vma->vm_end > slot->addr)
			slot->nmapped = slot->npages;
		ops = &zcipc_adopted_ops;
		kind = VM_PFNMAP | (slot->secret ? VM_DONTDUMP : 0);
		/* personality(READ_IMPLIES_EXEC) may have asked for it. */
		never = VM_EXEC | VM_MAYEXEC;
	} else if (slot && slot->view) {
		if (slot->pgoff == vma->vm_pgoff && zcipc_file_may_mmap(slot->view, vma))
			view = slot->view;
	} else if (slot && slot->addr) {
		/* Only the kernel maps that. */
	} else if (vma->vm_flags & VM_WRITE) {
		ret = -EACCES;
	} else if (slot && vma_pages(vma) <= slot->pgoff + slot->npages - vma->vm_pgoff) {
		vma->vm_page_prot = zcipc_frame_pgprot(vma->vm_page_prot,
						       slot->cap->region->cache);
		ret = 0;
	}
	mutex_unlock(&ep->lock);
	/* It is kept by the current task, which is in zcipc_file_map(). */
	if (view)
		return zcipc_file_mmap(view, vma);
	if (ret)
		return ret;
	vma->vm_ops = ops;
	zcipc_vm_flags_mod(vma, kind, never);
	return 0;
}

/**
 * zcipc_window_mmap() - mmap() of an endpoint
 * @ep: the endpoint
 * @vma: the new VMA
 *
 * Context: The caller holds the mmap_lock for writing.
 * Return: 0, or -EPERM from another address space, -EINVAL for what is not a shared mapping at an
 * offset that means something, -EACCES for a window that is executable and for executable memory
 * that is writable, -EBUSY if there is such a window, -EOPNOTSUPP for a cache policy that the
 * machine has not, -ENOMEM
 */
int zcipc_window_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	int ret;

	zcipc_test_point("mmap");
	if (vma->vm_mm != ep->mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= ZCIPC_RING_START && vma->vm_pgoff < ZCIPC_RING_END)
		return zcipc_ring_mmap(ep, vma);
	if (vma->vm_pgoff < ZCIPC_OUTSIDE_START)
		ret = zcipc_window_make(ep, vma, vma->vm_pgoff >> ZCIPC_WINDOW_SHIFT);
	else
		ret = zcipc_window_make_outside(ep, vma);
	/* A view has its own ideas. */
	if (ret || vma->vm_file->f_mapping != ep->inode->i_mapping)
		return ret;
	/*
	 * Not inherited, not grown, and, but for adopted memory, not dumped: the contents are also
	 * other processes'. What is unmapped has been used once, as far as this VMA goes:
	 * VM_SEQ_READ tells core mm not to note that for page reclaim, which does not know these
	 * pages.
	 */
	zcipc_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_SEQ_READ, 0);
	vma->vm_private_data = ep;
	if (vma->vm_ops == &zcipc_adopted_ops)
		ep->adopted_flags = vma->vm_flags & ~VM_DONTDUMP;
	return 0;
}

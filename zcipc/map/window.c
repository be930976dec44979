// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: where in them things are placed. A place is a range of file offsets of the space's own
 * inode. Offset and address differ by a constant for as long as the window is there: mremap() of it
 * is refused, and it does not grow.
 *
 * Each window has bitmaps of its pages, one for each ZCIPC_WINDOW_PIECE of them where there has
 * been something. They are charged to the owner. A bit of @used says that a slot has the page, that
 * a transfer has reserved it, or that it is lost; one of @lost that the owner has unmapped it, or
 * mapped something else over it. Nothing is ever placed again where a page is lost: what is at that
 * address is none of the module's business. If there is no memory to note that, or the owner may
 * have no more, all of the piece is given up (zcipc_window_all).
 *
 * All this is changed under the space's lock. Who reserves a place holds no reference: it is the
 * transfer's until zcipc_slot_install() or zcipc_window_release(), and the window may be unmapped
 * meanwhile. So a transfer that has released the lock asks again (zcipc_window_has()): by the
 * window's id, since another one may have taken its place, and by what is lost.
 *
 * A place is freed when its slot is removed, and that is only when no PTE of it is left. Otherwise
 * the next one who gets it would show what was there, or vm_insert_pages() would find the old PTE.
 * With the PTE the TLB entry has gone. A reference that get_user_pages() took by it is one to the
 * page, not to the place: it does not matter who has that next.
 *
 * Free places are taken from the beginning, first fit, so that there are page tables already, and
 * few of them. Where PTEs have been, the page table stays, and no PMD can be inserted for as long
 * as the window is there. So what PMDs are to show is placed from the end, at an address with the
 * right offset in 2 MiB. Where the two meet, in a window that is nearly full, PTEs have to do. PMDs
 * cannot be hidden, as PTEs can: @huge_low says from which page on there may be some.
 *
 * @hint and @huge_hint say up to where, from either end, all is used: so many small messages cost
 * no search. They go on only by what leaves no gap behind.
 *
 * Of VMAs there is no list. Mostly one shows all of a window, and is remembered (@vma), until core
 * mm splits it or closes one: zcipc_window_open(), zcipc_window_close(). Where core mm can tell
 * that it is still attached it needs not be looked up (zcipc_window_lookup()). It is used under the
 * mmap_lock, which keeps it, and the space's lock, under which it is forgotten. A child that got a
 * copy of it by fork() is another mm, and none of the window's: zcipc_pt_is_inherited().
 *
 * Executable and adopted memory, and views of files, have offsets outside of all windows, where no
 * place is free again, or where it follows from the address: see map.h.
 *
 * rmap and reclaim know nothing of windows. The inode's address_space has their VMAs, for
 * unmap_mapping_pages(), and no pages.
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "base/compat.h"
#include "base/limits.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "map/map.h"
#include "map/space.h"
#include "map/window.h"

static_assert(ZCIPC_MAX_WINDOW_PAGES <= 1UL << ZCIPC_WINDOW_SHIFT);
static_assert(ZCIPC_WINDOW_OFFSET(1) == 1ULL << (ZCIPC_WINDOW_SHIFT + PAGE_SHIFT));
static_assert(ZCIPC_RING_OFFSET == (u64)ZCIPC_RING_START << PAGE_SHIFT);
static_assert(ZCIPC_RING_OFFSET_HEAD == (u64)ZCIPC_RING_HEAD_START << PAGE_SHIFT);

/* Have any pages of a range of file offsets left their window? */
bool zcipc_window_lost_any(struct zcipc_space *space, unsigned long pgoff,
			   unsigned long npages)
{
	const struct zcipc_window *window = zcipc_window_at(space, pgoff);
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
void zcipc_window_unmark(struct zcipc_window *window, unsigned long start, unsigned long npages)
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
static int zcipc_window_make_piece(struct zcipc_space *space, struct zcipc_window *window,
				   unsigned long **piece, gfp_t gfp)
{
	size_t size = zcipc_window_piece_size(window);
	int ret;

	if (*piece)
		return 0;
	ret = zcipc_charge_overhead(space->user, size);
	if (ret)
		return ret;
	*piece = kvzalloc(size, gfp | GFP_KERNEL_ACCOUNT);
	if (*piece)
		return 0;
	zcipc_uncharge_overhead(space->user, size);
	return -ENOMEM;
}

/* Marks pages that are not used as used, if there is memory to know that. */
static int zcipc_window_take(struct zcipc_space *space, struct zcipc_window *window,
			     unsigned long start, unsigned long npages)
{
	unsigned long i, last = (start + npages - 1) / ZCIPC_WINDOW_PIECE;
	int ret;

	for (i = start / ZCIPC_WINDOW_PIECE; i <= last; i++) {
		ret = zcipc_window_make_piece(space, window, &window->used[i], ZCIPC_GFP_LOCKED);
		if (ret)
			return ret;
	}
	zcipc_window_mark(window, start, npages, true);
	window->nused += npages;
	return 0;
}

static void zcipc_window_free_piece(struct zcipc_space *space, struct zcipc_window *window,
				    unsigned long *piece)
{
	if (!piece || piece == zcipc_window_all)
		return;
	zcipc_uncharge_overhead(space->user, zcipc_window_piece_size(window));
	kvfree(piece);
}

/* Bytes of the arrays of bitmaps. */
size_t zcipc_window_array_size(unsigned long npages)
{
	return 2 * DIV_ROUND_UP(npages, ZCIPC_WINDOW_PIECE) * sizeof(unsigned long *);
}

/* The end of a window, or nothing if there is none. */
void zcipc_window_end(struct zcipc_space *space, struct zcipc_window *window)
{
	unsigned long i, n = 2 * DIV_ROUND_UP(window->npages, ZCIPC_WINDOW_PIECE);

	if (!window->used)
		return;
	for (i = 0; i < n; i++)
		zcipc_window_free_piece(space, window, window->used[i]);
	zcipc_uncharge_overhead(space->user, zcipc_window_array_size(window->npages));
	kvfree(window->used);
	memset(window, 0, sizeof(*window));
}

/*
 * Pages have left the window: somebody has unmapped them, or mapped something else there. Nothing
 * is placed there any more. Where there is no memory to note which pages these are, or the user may
 * have no more, the whole piece is given up. The caller holds the space's lock.
 */
void zcipc_window_lose(struct zcipc_space *space, struct zcipc_window *window,
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
		    !zcipc_window_make_piece(space, window, lost, ZCIPC_GFP_LOCKED) &&
		    !zcipc_window_make_piece(space, window, used, ZCIPC_GFP_LOCKED)) {
			bitmap_set(*lost, at, n);
			bitmap_set(*used, at, n);
			continue;
		}
		zcipc_window_free_piece(space, window, *lost);
		*lost = zcipc_window_all;
		if (*used)
			memset(*used, 0xff, zcipc_window_piece_size(window));
		else
			*used = zcipc_window_all;
	}
}

/* Finds pages that begin @align pages behind a multiple of ZCIPC_HUGE_PAGES, and reserves them. */
static int zcipc_window_reserve_huge(struct zcipc_space *space, struct zcipc_window *window,
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
	ret = zcipc_window_take(space, window, *start, npages);
	/* Only what has no gap behind it says where the last gap is. */
	if (!ret && first)
		window->huge_hint = window->npages - *start;
	return ret;
}

/* Makes the hint that of a free page, or the end, and tries again. */
static noinline int zcipc_window_reserve_later(struct zcipc_space *space, unsigned int which,
					       unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	int ret;

	window->hint = zcipc_window_next_free(window, window->hint);
	if (window->hint >= window->npages)
		return -EAGAIN;
	ret = zcipc_window_make_piece(space, window,
				      &window->used[window->hint / ZCIPC_WINDOW_PIECE],
				      ZCIPC_GFP_LOCKED);
	return ret ?: zcipc_window_reserve_one(space, which, pgoff);
}

/* zcipc_window_reserve(), of a single page. It is mostly where the hint says. */
int zcipc_window_reserve_one(struct zcipc_space *space, unsigned int which, unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long start = window->hint, *piece;

	lockdep_assert_held(&space->lock);
	if (start >= window->npages)
		return window->npages ? -EAGAIN : -ENOBUFS;
	piece = window->used[start / ZCIPC_WINDOW_PIECE];
	if (!piece || test_bit(start % ZCIPC_WINDOW_PIECE, piece))
		return zcipc_window_reserve_later(space, which, pgoff);
	__set_bit(start % ZCIPC_WINDOW_PIECE, piece);
	window->nused++;
	window->hint = start + 1;
	*pgoff = zcipc_window_pgoff(which) + start;
	return 0;
}

/* zcipc_window_reserve(), of any number of pages. */
int zcipc_window_reserve_many(struct zcipc_space *space, unsigned int which, unsigned long npages,
			      long align, unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long start, used;
	int ret = -EAGAIN;

	lockdep_assert_held(&space->lock);
	if (npages > window->npages)
		return -ENOBUFS;
	if (align >= 0)
		ret = zcipc_window_reserve_huge(space, window, npages, align, &start);
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
	ret = zcipc_window_take(space, window, start, npages);
	if (ret)
		return ret;
	/* Only what has no gap before it says where the first gap is. */
	if (start == window->hint)
		window->hint = start + npages;
	*pgoff = zcipc_window_pgoff(which) + start;
	return 0;
}

/* How many pages of a window are free, at most. The caller holds the lock. */
unsigned long zcipc_window_room(const struct zcipc_space *space, unsigned int which)
{
	const struct zcipc_window *window = &space->windows[which];

	return window->npages - min(window->npages, window->nused);
}

/*
 * Is there still the window where pages were reserved, and are they in it? The caller holds the
 * lock.
 */
bool zcipc_window_has(struct zcipc_space *space, u32 id, unsigned long pgoff,
		      unsigned long npages)
{
	lockdep_assert_held(&space->lock);
	return zcipc_window_at(space, pgoff)->id == id &&
	       !zcipc_window_lost_any(space, pgoff, npages);
}

/* Takes zcipc_window_reserve() back. The caller holds the space's lock. */
void zcipc_window_release(struct zcipc_space *space, unsigned long pgoff, unsigned long npages)
{
	zcipc_window_free(space, pgoff, npages);
}

/* May there be PMDs in a range of file offsets? They cannot be hidden, as PTEs can. */
bool zcipc_window_may_be_huge(struct zcipc_space *space, unsigned long pgoff,
			      unsigned long npages)
{
	const struct zcipc_window *window = zcipc_window_at(space, pgoff);

	return window && zcipc_window_index(pgoff) + npages > window->huge_low;
}

/**
 * zcipc_window_reserve_outside() - file offsets for what is not mapped in a window
 * @space: the space; the caller holds its lock
 * @npages: number of pages
 * @pgoff: [out] first page, as a file offset
 *
 * Return: 0, or -ENOBUFS when all have been used
 */
int zcipc_window_reserve_outside(struct zcipc_space *space, unsigned long npages,
				 unsigned long *pgoff)
{
	lockdep_assert_held(&space->lock);
	*pgoff = space->next_outside ?: ZCIPC_OUTSIDE_START;
	if (npages > ZCIPC_OUTSIDE_END - *pgoff)
		return -ENOBUFS;
	space->next_outside = *pgoff + npages;
	return 0;
}

/* The window that an address is in, or NULL. */
struct zcipc_window *zcipc_window_around(struct zcipc_space *space, unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < ZCIPC_WINDOW_MAX; i++)
		if (addr >= space->windows[i].addr &&
		    (addr - space->windows[i].addr) >> PAGE_SHIFT < space->windows[i].npages)
			return &space->windows[i];
	return NULL;
}

/* Does a VMA show something of a space, in a window or outside, or its ring? */
bool zcipc_window_is_vma(const struct zcipc_space *space, const struct vm_area_struct *vma)
{
	return vma->vm_file && vma->vm_file->f_mapping == space->inode->i_mapping;
}

/*
 * The VMA that shows a file offset at an address where the space's owner has not replaced it, or
 * NULL. The caller holds the mmap_lock and the space's lock.
 */
struct vm_area_struct *zcipc_window_lookup(struct zcipc_space *space, unsigned long pgoff,
					   unsigned long addr)
{
	const struct zcipc_window *window = zcipc_window_at(space, pgoff);
	struct vm_area_struct *vma = window ? window->vma : NULL;

	lockdep_assert_held(&space->lock);
	if (vma && zcipc_vma_is_attached(vma))
		return vma;
	vma = vma_lookup(space->mm, addr);
	if (!vma || !zcipc_window_is_vma(space, vma))
		return NULL;
	return linear_page_index(vma, addr) == pgoff ? vma : NULL;
}

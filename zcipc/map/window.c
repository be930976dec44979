// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: where in them things are placed. A place is a range of file offsets of the space's own
 * inode. Offset and address differ by a constant for as long as the window is there: mremap() of it
 * is refused, and it does not grow.
 *
 * Each window has bitmaps of its pages, one for each ZCIPC_WINDOW_PIECE of them where there has
 * been something, which the owner is charged for. A bit of @used says that a slot has the page,
 * that a transfer has reserved it, or that it is lost; one of @lost that the owner has unmapped it,
 * or mapped something else over it. Nothing is ever placed there again. If there is no memory to
 * note what is lost, or the owner may have no more, all of the piece is given up.
 *
 * All this is changed under the space's lock. A place that is reserved is the transfer's until
 * zcipc_slot_install() or zcipc_window_release(), but the window may be unmapped meanwhile. So a
 * transfer that has released the lock asks again: zcipc_window_has().
 *
 * A place is freed when its slot is removed, and that is only when no PTE of it is left, nor TLB
 * entry. Otherwise the next one who gets it would show what was there. A reference that
 * get_user_pages() took is one to the page, not to the place.
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
 * Mostly one VMA shows all of a window, and is remembered, until core mm splits it or closes one:
 * zcipc_window_open(), zcipc_window_close(). It is used under the mmap_lock, which keeps it, and
 * the space's lock, under which it is forgotten. A child that got a copy of it by fork() is another
 * mm, and none of the window's: zcipc_pt_is_inherited().
 *
 * Executable and adopted memory, and views of files, have offsets outside of all windows: see
 * map.h. Rmap and reclaim know nothing of windows. The inode's address_space has their VMAs, for
 * unmap_mapping_pages(), and no pages.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "map/map.h"
#include "map/space.h"
#include "map/window.h"

static_assert(ZCIPC_MAX_WINDOW_PAGES <= 1UL << ZCIPC_WINDOW_SHIFT);
static_assert(ZCIPC_WINDOW_OFFSET(1) == 1ULL << (ZCIPC_WINDOW_SHIFT + PAGE_SHIFT));
static_assert(ZCIPC_RING_OFFSET == (u64)ZCIPC_RING_START << PAGE_SHIFT);
static_assert(ZCIPC_RING_OFFSET_HEAD == (u64)ZCIPC_RING_HEAD_START << PAGE_SHIFT);

/* The first page from @start on whose bit is set, or is not, or @end. No bitmap has no bit set. */
static __always_inline unsigned long zcipc_window_next(unsigned long *const *pieces,
						       unsigned long start, unsigned long end,
						       bool set)
{
	unsigned long at, stop, found;

	for (; start < end; start += stop - at) {
		const unsigned long *piece = pieces[start / ZCIPC_WINDOW_PIECE];

		at = start % ZCIPC_WINDOW_PIECE;
		stop = min(at + end - start, ZCIPC_WINDOW_PIECE);
		if (!piece)
			found = set ? stop : at;
		else if (set)
			found = find_next_bit(piece, stop, at);
		else
			found = find_next_zero_bit(piece, stop, at);
		if (found < stop)
			return start + found - at;
	}
	return end;
}

/* Have any pages of a range of file offsets left their window? */
bool zcipc_window_lost_any(struct zcipc_space *space, unsigned long pgoff,
			   unsigned long npages)
{
	const struct zcipc_window *window = zcipc_window_at(space, pgoff);
	unsigned long start = zcipc_window_index(pgoff), end = start + npages;

	return window && window->lost && zcipc_window_next(window->lost, start, end, true) < end;
}

/* All pages of a piece of a window are used. */
static unsigned long zcipc_window_all[BITS_TO_LONGS(ZCIPC_WINDOW_PIECE)] = {
	[0 ... BITS_TO_LONGS(ZCIPC_WINDOW_PIECE) - 1] = ~0UL,
};

/* Notes that pages are used, or not. There is a bitmap for each piece of them. */
static __always_inline void zcipc_window_mark(struct zcipc_window *window, unsigned long start,
					      unsigned long npages, bool used)
{
	unsigned long at, n;

	for (; npages; npages -= n, start += n) {
		unsigned long *piece = window->used[start / ZCIPC_WINDOW_PIECE];

		at = start % ZCIPC_WINDOW_PIECE;
		n = min(npages, ZCIPC_WINDOW_PIECE - at);
		if (piece == zcipc_window_all)
			continue;
		if (!((at | n) % BITS_PER_LONG))
			memset(piece + BIT_WORD(at), used ? 0xff : 0, n / BITS_PER_BYTE);
		else if (used)
			bitmap_set(piece, at, n);
		else
			bitmap_clear(piece, at, n);
	}
}

/* Notes that pages are not used, but for what has left the window. */
static noinline void zcipc_window_unmark(struct zcipc_window *window, unsigned long start,
					 unsigned long npages)
{
	unsigned long end = start + npages, next = end;

	for (; start < end; start = next) {
		if (window->lost) {
			start = zcipc_window_next(window->lost, start, end, false);
			next = zcipc_window_next(window->lost, start, end, true);
		}
		zcipc_window_mark(window, start, next - start, false);
	}
}

/* Memory that the owner pays for, all zero; or -EDQUOT, -ENOMEM. */
static void *zcipc_window_alloc(struct zcipc_space *space, size_t size, gfp_t gfp)
{
	int ret = zcipc_charge_overhead(space->user, size);
	void *p;

	if (ret)
		return ERR_PTR(ret);
	p = kvzalloc(size, gfp | __GFP_ACCOUNT);
	if (p)
		return p;
	zcipc_uncharge_overhead(space->user, size);
	return ERR_PTR(-ENOMEM);
}

static void zcipc_window_free(struct zcipc_space *space, void *p, size_t size)
{
	zcipc_uncharge_overhead(space->user, size);
	kvfree(p);
}

/* Bytes of a bitmap for a piece. A small window has but one. */
static size_t zcipc_window_piece_size(const struct zcipc_window *window)
{
	return BITS_TO_LONGS(min(window->npages, ZCIPC_WINDOW_PIECE)) * sizeof(long);
}

/* Makes sure that there is a bitmap. Returns 0, or -EDQUOT, -ENOMEM. */
static int zcipc_window_make_piece(struct zcipc_space *space, struct zcipc_window *window,
				   unsigned long **piece)
{
	unsigned long *made;

	if (*piece)
		return 0;
	made = zcipc_window_alloc(space, zcipc_window_piece_size(window), ZCIPC_GFP_LOCKED);
	if (!IS_ERR(made))
		*piece = made;
	return PTR_ERR_OR_ZERO(made);
}

static void zcipc_window_free_piece(struct zcipc_space *space, struct zcipc_window *window,
				    unsigned long *piece)
{
	if (piece && piece != zcipc_window_all)
		zcipc_window_free(space, piece, zcipc_window_piece_size(window));
}

/* How many pieces a window has. Of each there can be two bitmaps. */
static unsigned long zcipc_window_npieces(unsigned long npages)
{
	return DIV_ROUND_UP(npages, ZCIPC_WINDOW_PIECE);
}

/* A new window, which a VMA shows. Returns 0, or -EBUSY if there is one, -EDQUOT, -ENOMEM. */
int zcipc_window_begin(struct zcipc_space *space, unsigned int which, struct vm_area_struct *vma)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long npages = vma_pages(vma), **used;
	size_t size = 2 * zcipc_window_npieces(npages) * sizeof(*used);

	/* To make room for it can take long, and senders need the lock. */
	used = zcipc_window_alloc(space, size, GFP_KERNEL);
	if (IS_ERR(used))
		return PTR_ERR(used);
	mutex_lock(&space->lock);
	if (!window->used) {
		*window = (struct zcipc_window){
			.id = ++space->window_id, .addr = vma->vm_start, .npages = npages,
			.nvmas = 1, .vma = vma, .used = used, .huge_low = npages,
		};
		used = NULL;
	}
	mutex_unlock(&space->lock);
	if (!used)
		return 0;
	zcipc_window_free(space, used, size);
	return -EBUSY;
}

/* The end of a window, or nothing if there is none. */
void zcipc_window_end(struct zcipc_space *space, struct zcipc_window *window)
{
	unsigned long i, n = 2 * zcipc_window_npieces(window->npages);

	if (!window->used)
		return;
	for (i = 0; i < n; i++)
		zcipc_window_free_piece(space, window, window->used[i]);
	zcipc_window_free(space, window->used, n * sizeof(*window->used));
	memset(window, 0, sizeof(*window));
}

/* Pages have left the window, for good. The caller holds the space's lock. */
void zcipc_window_lose(struct zcipc_space *space, struct zcipc_window *window,
		       unsigned long start, unsigned long npages)
{
	unsigned long end = start + npages, n, at;

	/* The second half of the array. */
	window->lost = window->used + zcipc_window_npieces(window->npages);
	for (; start < end; start += n) {
		unsigned long **lost = &window->lost[start / ZCIPC_WINDOW_PIECE];
		unsigned long **used = &window->used[start / ZCIPC_WINDOW_PIECE];

		at = start % ZCIPC_WINDOW_PIECE;
		n = min(end - start, ZCIPC_WINDOW_PIECE - at);
		cond_resched();
		if (*lost == zcipc_window_all)
			continue;
		if (n < ZCIPC_WINDOW_PIECE &&
		    !zcipc_window_make_piece(space, window, lost) &&
		    !zcipc_window_make_piece(space, window, used)) {
			bitmap_set(*lost, at, n);
			bitmap_set(*used, at, n);
			continue;
		}
		zcipc_window_free_piece(space, window, *lost);
		zcipc_window_free_piece(space, window, *used);
		*lost = zcipc_window_all;
		*used = zcipc_window_all;
	}
}

/* Marks pages that are not used as used, if there is memory to know that. */
static int zcipc_window_take(struct zcipc_space *space, unsigned int which, unsigned long start,
			     unsigned long npages, unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long i, last = (start + npages - 1) / ZCIPC_WINDOW_PIECE;
	int ret;

	for (i = start / ZCIPC_WINDOW_PIECE; i <= last; i++) {
		ret = zcipc_window_make_piece(space, window, &window->used[i]);
		if (ret)
			return ret;
	}
	zcipc_window_mark(window, start, npages, true);
	window->nused += npages;
	*pgoff = zcipc_window_pgoff(which) + start;
	return 0;
}

/* Finds pages that begin @align pages behind a multiple of ZCIPC_HUGE_PAGES, and reserves them. */
static int zcipc_window_reserve_huge(struct zcipc_space *space, unsigned int which,
				     unsigned long npages, long align, unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long used = window->npages - window->huge_hint, start, end;
	bool first = true;
	int ret;

	for (;; first = false) {
		if (used < npages + align)
			return -EAGAIN;
		start = ALIGN_DOWN(used - npages - align, ZCIPC_HUGE_PAGES) + align;
		end = start + npages;
		used = zcipc_window_next(window->used, start, end, true);
		if (used == end)
			break;
	}
	ret = zcipc_window_take(space, which, start, npages, pgoff);
	/* Only what has no gap behind it says where the last gap is. */
	if (!ret && first)
		window->huge_hint = window->npages - start;
	return ret;
}

/* zcipc_window_reserve(), of any number of pages, wherever the hint is. */
static noinline int zcipc_window_reserve_many(struct zcipc_space *space, unsigned int which,
					      unsigned long npages, long align,
					      unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long start, used;
	int ret;

	if (npages > window->npages)
		return -ENOBUFS;
	if (align >= 0) {
		ret = zcipc_window_reserve_huge(space, which, npages, align, pgoff);
		if (ret != -EAGAIN)
			return ret;
	}
	start = zcipc_window_next(window->used, window->hint, window->npages, false);
	window->hint = start;
	/* Now the hint is right, and that is all that it takes. */
	if (npages == 1 && start < window->npages && window->used[start / ZCIPC_WINDOW_PIECE])
		return zcipc_window_reserve(space, which, npages, align, pgoff);
	for (;;) {
		if (npages > window->npages - start)
			return -EAGAIN;
		used = zcipc_window_next(window->used, start, start + npages, true);
		if (used == start + npages)
			break;
		start = zcipc_window_next(window->used, used, window->npages, false);
	}
	ret = zcipc_window_take(space, which, start, npages, pgoff);
	/* Only what has no gap before it says where the first gap is. */
	if (!ret && start == window->hint)
		window->hint = start + npages;
	return ret;
}

/**
 * zcipc_window_reserve() - find room in a window
 * @space: the space; the caller holds its lock
 * @which: zcipc_region_window()
 * @npages: number of pages
 * @align: zcipc_region_alignment()
 * @pgoff: [out] first page, as a file offset
 *
 * zcipc_slot_install() or zcipc_window_release() must follow.
 *
 * Return: 0, or -ENOBUFS when the window could not have room even if it were empty, -EAGAIN when
 * there is no gap that is large enough, -EDQUOT, -ENOMEM
 */
int zcipc_window_reserve(struct zcipc_space *space, unsigned int which, unsigned long npages,
			 long align, unsigned long *pgoff)
{
	struct zcipc_window *window = &space->windows[which];
	unsigned long start = window->hint, *piece;

	lockdep_assert_held(&space->lock);
	/* A single page is mostly where the hint says. */
	if (npages != 1 || start >= window->npages)
		return zcipc_window_reserve_many(space, which, npages, align, pgoff);
	piece = window->used[start / ZCIPC_WINDOW_PIECE];
	if (!piece || test_bit(start % ZCIPC_WINDOW_PIECE, piece))
		return zcipc_window_reserve_many(space, which, npages, align, pgoff);
	__set_bit(start % ZCIPC_WINDOW_PIECE, piece);
	window->nused++;
	window->hint = start + 1;
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
 * Is there still the window where pages were reserved, not another one in its place, and are they
 * in it? The caller holds the lock.
 */
bool zcipc_window_has(struct zcipc_space *space, u32 id, unsigned long pgoff,
		      unsigned long npages)
{
	lockdep_assert_held(&space->lock);
	return zcipc_window_at(space, pgoff)->id == id &&
	       !zcipc_window_lost_any(space, pgoff, npages);
}

/* Frees places, whose slot has gone or never came. The caller holds the space's lock. */
void zcipc_window_release(struct zcipc_space *space, unsigned long pgoff, unsigned long npages)
{
	struct zcipc_window *window = zcipc_window_at(space, pgoff);
	unsigned long start = zcipc_window_index(pgoff);

	/*
	 * Those outside of windows need not be free, or have those of their address: when the last
	 * page that was adopted there is not mapped any more, there is no PTE left.
	 */
	if (!window)
		return;
	window->nused -= npages;
	window->hint = min(window->hint, start);
	if (window->huge_hint)
		window->huge_hint = min(window->huge_hint,
					window->npages - min(window->npages, start + npages));
	/* Where PMDs may be: what is at the end of an empty window can be used in any way. */
	if (!window->nused)
		window->huge_low = window->npages;
	if (npages == 1 && likely(!window->lost))
		__clear_bit(start % ZCIPC_WINDOW_PIECE, window->used[start / ZCIPC_WINDOW_PIECE]);
	else
		zcipc_window_unmark(window, start, npages);
}

/* May there be PMDs in a range of file offsets? They cannot be hidden, as PTEs can. */
bool zcipc_window_may_be_huge(struct zcipc_space *space, unsigned long pgoff,
			      unsigned long npages)
{
	const struct zcipc_window *window = zcipc_window_at(space, pgoff);

	return window && zcipc_window_index(pgoff) + npages > window->huge_low;
}

/* File offsets for what is not mapped in a window. Returns 0, or -ENOBUFS: all have been used. */
int zcipc_window_reserve_outside(struct zcipc_space *space, unsigned long npages,
				 unsigned long *pgoff)
{
	lockdep_assert_held(&space->lock);
	*pgoff = space->next_outside;
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
 * The VMA that shows a file offset at an address, or NULL if the owner has replaced it. The caller
 * holds the mmap_lock and the space's lock.
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

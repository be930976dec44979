// SPDX-License-Identifier: GPL-2.0
/*
 * Takes pages of a space away. Core mm does that for a range of file offsets, in all VMAs and
 * with all TLB flushes that are due. For many ranges there is but one flush.
 */
#include "base/base.h"

#include <linux/sort.h>

#include "base/trace.h"
#include "map/extent.h"
#include "map/file.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/unmap.h"
#include "map/window.h"

/* The most pages between two ranges that are unmapped together. */
#define ZCIPC_HIDE_MAX		512UL

/* And the most from the first to the last of them. */
#define ZCIPC_HIDE_SPAN		1048576UL

static void zcipc_window_unmap_locked(struct zcipc_space *space, unsigned long pgoff,
				      unsigned long npages)
{
	lockdep_assert_held(&space->hide_lock);
	unmap_mapping_pages(space->inode->i_mapping, pgoff, npages, false);
	zcipc_stat_inc(SHOOTDOWNS);
	trace_zcipc_unmap(space->id, pgoff, npages);
}

/*
 * Takes file offsets of a space out of all page tables. TLBs are flushed when this returns. Who
 * wants that they stay away holds the locks of all regions that they show. May sleep.
 */
void zcipc_window_unmap(struct zcipc_space *space, unsigned long pgoff, unsigned long npages)
{
	unsigned long n, at = 0;

	for (; npages; pgoff += n, npages -= n) {
		/* No PMD of a window is taken apart for that. */
		if (npages > ZCIPC_UNMAP_PAGES && zcipc_window_at(space, pgoff))
			at = zcipc_window_addr(space, pgoff) >> PAGE_SHIFT;
		n = min(npages, ZCIPC_UNMAP_PAGES - at % ZCIPC_UNMAP_PAGES);
		down_read(&space->hide_lock);
		zcipc_window_unmap_locked(space, pgoff, n);
		up_read(&space->hide_lock);
		cond_resched();
	}
}

/* Takes what a slot shows out of all page tables. Of a view it is for good. */
void zcipc_slot_unmap(struct zcipc_slot *slot)
{
	if (slot->view)
		zcipc_view_unmap(slot->view);
	else
		zcipc_window_unmap(slot->extent->space, slot->pgoff, slot->npages);
}

/**
 * struct zcipc_hidden - PTEs that are out of their page table for a moment
 * @mm: whose
 * @addr: user address of the first page
 * @pgoff: its file offset, in pages
 * @range: the next range of those that are left alone; the last one ends where all does
 * @ptes: for each page its PTE, none if there was nothing to hide
 */
struct zcipc_hidden {
	struct mm_struct *mm;
	unsigned long addr;
	unsigned long pgoff;
	const struct zcipc_range *range;
	pte_t *ptes;
};

static int zcipc_pte_hide(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_hidden *hidden = data;
	unsigned long i = (addr - hidden->addr) >> PAGE_SHIFT;

	while (hidden->pgoff + i >= hidden->range->pgoff + hidden->range->npages)
		hidden->range++;
	if (hidden->pgoff + i < hidden->range->pgoff && pte_present(ptep_get(ptep)))
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

/* Hides what is mapped in a part of a window, as far as the window has not been replaced. */
static void zcipc_window_hide(struct zcipc_space *space, struct zcipc_hidden *hidden,
			      unsigned long npages)
{
	unsigned long i, n;

	for (i = 0; i < npages; i += n) {
		unsigned long addr = hidden->addr + (i << PAGE_SHIFT);
		struct vm_area_struct *vma = zcipc_window_lookup(space, hidden->pgoff + i, addr);

		n = vma ? min(npages - i, (vma->vm_end - addr) >> PAGE_SHIFT) : 1;
		if (vma)
			zcipc_pt_apply_existing(space->mm, addr, n, zcipc_pte_hide, hidden);
		cond_resched();
	}
}

/* Restores all that is hidden, one page table after the other. */
static void zcipc_window_restore(struct zcipc_hidden *hidden, unsigned long npages)
{
	unsigned long i, n;

	for (i = 0; i < npages; i += n) {
		unsigned long addr = hidden->addr + (i << PAGE_SHIFT);

		n = 1;
		if (pte_none(hidden->ptes[i]))
			continue;
		n = zcipc_pt_rest(addr, npages - i);
		zcipc_pt_apply_must(hidden->mm, addr, n, zcipc_pte_restore, hidden);
	}
}

/*
 * Unmaps ranges that are near each other, in ascending order, with one call to core mm, which means
 * one flush. What lies between them is hidden from that call. Nobody misses it: faults wait for the
 * space's lock, who wants to unmap what is hidden waits for hide_lock, and TLB entries that are
 * left lead to the same frames. mmap_lock and space's lock keep everybody away who would look at
 * the PTEs, except core mm's DONTNEED and the like, which find nothing and need not.
 */
static void zcipc_window_unmap_near(struct zcipc_space *space, const struct zcipc_range *ranges,
				    unsigned int n)
{
	unsigned long start = ranges[0].pgoff;
	unsigned long npages = ranges[n - 1].pgoff + ranges[n - 1].npages - start;
	struct zcipc_hidden hidden = { .mm = space->mm, .pgoff = start, .range = ranges };
	unsigned int i;

	/* Executable mappings can be anywhere. */
	if (n > 1 && npages <= ZCIPC_HIDE_SPAN && zcipc_window_at(space, start) &&
	    !zcipc_window_may_be_huge(space, start, npages)) {
		hidden.addr = zcipc_window_addr(space, start);
		hidden.ptes = kvcalloc(npages, sizeof(*hidden.ptes),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	}
	/* A stranger can unmap much at a time. */
	if (hidden.ptes && down_write_trylock(&space->hide_lock)) {
		zcipc_window_hide(space, &hidden, npages);
		zcipc_test_point("hidden");
		zcipc_window_unmap_locked(space, start, npages);
		zcipc_window_restore(&hidden, npages);
		up_write(&space->hide_lock);
	} else {
		for (i = 0; i < n; i++)
			zcipc_window_unmap(space, ranges[i].pgoff, ranges[i].npages);
	}
	kvfree(hidden.ptes);
}

static int zcipc_range_compare(const void *a, const void *b)
{
	const struct zcipc_range *x = a, *y = b;

	return x->pgoff < y->pgoff ? -1 : x->pgoff > y->pgoff;
}

/*
 * Takes ranges out of page tables with as few TLB flushes as possible. They may be in any order and
 * overlap, and are sorted and merged. The caller holds the space's lock and its mm's mmap_lock.
 */
void zcipc_window_unmap_ranges(struct zcipc_space *space, struct zcipc_range *ranges,
			       unsigned int n)
{
	unsigned int i, first, last;

	lockdep_assert_held(&space->lock);
	mmap_assert_locked(space->mm);
	if (!n)
		return;
	for (i = 1; i < n && ranges[i].pgoff >= ranges[i - 1].pgoff; i++)
		;
	if (i < n)
		sort(ranges, n, sizeof(*ranges), zcipc_range_compare, NULL);
	for (first = 0, last = 0, i = 1; i < n; i++) {
		unsigned long end = ranges[last].pgoff + ranges[last].npages;
		bool same = zcipc_window_at(space, ranges[i].pgoff) ==
			    zcipc_window_at(space, ranges[last].pgoff);

		if (same && ranges[i].pgoff <= end) {
			end = max(end, ranges[i].pgoff + ranges[i].npages);
			ranges[last].npages = end - ranges[last].pgoff;
			continue;
		}
		/* Too far away: to hide so much would cost more than another flush. */
		if (!same || ranges[i].pgoff - end > ZCIPC_HIDE_MAX) {
			zcipc_window_unmap_near(space, ranges + first, last - first + 1);
			first = last + 1;
		}
		ranges[++last] = ranges[i];
	}
	zcipc_window_unmap_near(space, ranges + first, last - first + 1);
}

/*
 * Takes a range of a region out of all page tables but those of the space @except, if that is not
 * NULL. Slots stay, so faults bring the pages back once the region's lock, which the caller holds,
 * is released. All TLBs are flushed when this returns: until then the contents change only through
 * references that are not mappings.
 */
void zcipc_region_unmap(struct zcipc_region *region, unsigned long first, unsigned long npages,
			const struct zcipc_space *except)
{
	struct zcipc_slot *slot;
	struct zcipc_extent *extent;

	lockdep_assert_held(&region->lock);
	for (extent = zcipc_extent_next(region, NULL, first, npages); extent;
	     extent = zcipc_extent_next(region, extent, first, npages)) {
		if (extent->space == except)
			continue;
		list_for_each_entry(slot, &extent->slots, entry) {
			unsigned long start = max(first, slot->first);
			unsigned long end = min(first + npages, slot->first + slot->npages);

			if (start < end)
				zcipc_window_unmap(extent->space, slot->pgoff + start - slot->first,
						   end - start);
		}
		cond_resched();
	}
}

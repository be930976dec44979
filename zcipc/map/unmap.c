// SPDX-License-Identifier: GPL-2.0
/*
 * Takes pages of a space away. Core mm does that for a range of file offsets, in all VMAs and
 * with all TLB flushes that are due. For many ranges there is but one flush.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sort.h>

#include "base/counters.h"
#include "base/limits.h"
#include "base/test.h"
#include "base/trace.h"
#include "map/extent.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/unmap.h"
#include "map/vma.h"
#include "map/view.h"
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

/**
 * zcipc_window_unmap() - take file offsets of a space out of all page tables
 * @space: the space
 * @pgoff: the first one, in pages
 * @npages: number of pages
 *
 * TLBs are flushed when this returns.
 *
 * Context: May sleep. Who wants that they stay away holds the locks of all regions that they show.
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
static void zcipc_window_hide(struct zcipc_space *space, unsigned long pgoff, unsigned long end,
			      struct zcipc_hidden *hidden)
{
	while (pgoff < end) {
		unsigned long addr = zcipc_window_addr(space, pgoff);
		struct vm_area_struct *vma = zcipc_window_lookup(space, pgoff, addr);
		unsigned long n = 1;

		if (vma) {
			n = min(end - pgoff, (vma->vm_end - addr) >> PAGE_SHIFT);
			zcipc_pt_apply_existing(space->mm, addr, n, zcipc_pte_hide, hidden);
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
 * space's lock, who wants to unmap what is hidden, for which he has the lock of its region,
 * waits for hide_lock, and TLB entries that are left lead to the same frames. mmap_lock and
 * space's lock keep everybody away who would look at the PTEs, except core mm's DONTNEED and the
 * like, which find nothing and need not.
 */
static void zcipc_window_unmap_near(struct zcipc_space *space, const struct zcipc_range *ranges,
				    unsigned int n)
{
	unsigned long start = ranges[0].pgoff;
	unsigned long npages = ranges[n - 1].pgoff + ranges[n - 1].npages - start;
	struct zcipc_hidden hidden = { .mm = space->mm };
	unsigned int i;

	/* Executable mappings can be anywhere. */
	if (n > 1 && npages <= ZCIPC_HIDE_SPAN && zcipc_window_at(space, start) &&
	    !zcipc_window_may_be_huge(space, start, npages)) {
		hidden.addr = zcipc_window_addr(space, start);
		hidden.leave = bitmap_zalloc(npages, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		hidden.ptes = kvcalloc(npages, sizeof(*hidden.ptes),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	}
	/* A stranger can unmap much at a time. */
	if (hidden.ptes && hidden.leave && down_write_trylock(&space->hide_lock)) {
		for (i = 0; i < n; i++)
			bitmap_set(hidden.leave, ranges[i].pgoff - start, ranges[i].npages);
		zcipc_window_hide(space, start, start + npages, &hidden);
		zcipc_test_point("hidden");
		zcipc_window_unmap_locked(space, start, npages);
		zcipc_window_restore(&hidden, npages);
		up_write(&space->hide_lock);
	} else {
		for (i = 0; i < n; i++)
			zcipc_window_unmap(space, ranges[i].pgoff, ranges[i].npages);
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
 * @space: the space; the caller holds its lock and the mmap_lock of its mm
 * @ranges: the ranges, in any order and overlapping as they like; are sorted and merged
 * @n: number of ranges
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

/**
 * zcipc_region_unmap() - take a range out of all page tables
 * @region: the region; the caller holds its lock
 * @first: first page
 * @npages: number of pages
 * @except: a space whose mappings of the range have gone already, or NULL
 *
 * Slots stay, so faults bring the pages back once the lock is released. All TLBs are flushed when
 * this returns: until then the contents change only through references that are not mappings.
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

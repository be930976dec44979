// SPDX-License-Identifier: GPL-2.0
/*
 * Carrying: PTEs of what is moved are taken out of the sender's page tables, and made anew in the
 * receiver's. The page's reference and count of mappings go along. To unmap a page and to map it
 * again gives both back and takes them again, for the same page, which costs several times as much.
 *
 * It is for what nearly all MOVEs are: of a range that the sender alone has mapped, once, and whose
 * pages nobody holds. Whatever is different goes the other way, after all has been put back.
 * Snapshots do the same within the sender's page tables, where the PTEs come back read-only. For
 * batches there are lists of pages, which are taken and inserted one page table after the other.
 *
 * From when a PTE is taken until it is made anew its reference and its mapping are the carry's. So
 * each that has been taken is made in one place: in the receiver's table, or in that where it was.
 * That must not fail. The receiver's VMA and tables are looked for, and made, before anything is
 * taken; a table that has gone again meanwhile is made until it stays.
 *
 * Locks. The caller has the region's, and those of both spaces: so nobody inserts a PTE of the
 * range, and its frames and slots stay. The receiver's mmap_lock is held until the PTEs are there,
 * the sender's while they can still come back: for reading, which keeps VMAs, fork() and mremap()
 * out. Nobody waits for one while he has the other. Meanwhile threads that touch the range have
 * faults, and wait for the locks of space and region.
 *
 * TLBs. As always when PTEs go away nobody knows that nobody uses them until all TLBs are flushed.
 * Core mm does that for whoever says, by inc_tlb_flush_pending(), that there are changes it does
 * not know of, when it unmaps anything of the same address space. That is asked for after the last
 * PTE is taken. It also tells MMU notifiers of the range; for a list the caller sees to that.
 *
 * get_user_pages(). Only when TLBs are flushed it is counted who has a reference beyond the
 * region's and that of the PTE: one that was taken without locks, by a PTE that was still there, is
 * seen, or is given back by who took it (see pt.c). If there is any all is put back. From then on
 * there is no PTE to get one by.
 *
 * rmap and reclaim look for none of the module's pages, so nobody minds that a page is counted as
 * mapped while no PTE shows it. Resident pages are counted for each address space: who carries from
 * one to another corrects both. Newer kernels note of large folios also which address spaces have
 * them mapped (CONFIG_MM_ID). Parts of these are not carried to another one.
 *
 * A single PTE, or a few, are not worth the flush of all TLB entries. They are made special
 * instead, which is how core mm is told that it has nothing to count there, and then unmapped as
 * any other: what is flushed is these pages alone. get_user_pages() fails meanwhile. As long as
 * nobody holds a page that is as if it was called later.
 *
 * Special PTEs of a region are carried with nothing to count. They are not made ordinary ones, nor
 * the other way round. PMDs have nothing to be carried, since nobody counts them.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>

#include <linux/zcipc.h>

#include "base/compat.h"
#include "base/counters.h"
#include "base/limits.h"
#include "base/test.h"
#include "base/trace.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/pins.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/insert.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/unmap.h"
#include "map/vma.h"
#include "map/window.h"

/*
 * So many PTEs are worth the flush of a whole address space. Where core mm has to choose on x86 it
 * takes that for cheaper than 34 pages one by one; here each page is cheaper besides.
 */
static unsigned int carry_min = 16;
module_param(carry_min, uint, 0644);
MODULE_PARM_DESC(carry_min,
		 "from how many pages on a MOVE carries page table entries over (0: never)");

/* Are so many pages worth it? */
bool zcipc_carry_is_worth(unsigned long npages)
{
	unsigned int least = READ_ONCE(carry_min);

	return least && npages >= least;
}

static __always_inline pte_t zcipc_carry_pte(const struct zcipc_frame *frame, pgprot_t prot,
					     bool writable, bool special)
{
	return zcipc_pt_pte(zcipc_frame_page(frame), prot, writable && zcipc_frame_exclusive(frame),
			    special || zcipc_frame_is_imported(frame));
}

/* One end of what is carried: a range of page tables. */
struct zcipc_carry_end {
	struct zcipc_carry *carry;
	struct vm_area_struct *vma;
	unsigned long addr;
	bool writable;
};

static int zcipc_carry_take(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_carry_end *end = data;

	if (!pte_present(ptep_get(ptep)))
		return 0;
	ptep_get_and_clear(end->vma->vm_mm, addr, ptep);
	__set_bit((addr - end->addr) >> PAGE_SHIFT, end->carry->which);
	return 0;
}

static int zcipc_carry_put(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_carry_end *end = data;
	unsigned long i = (addr - end->addr) >> PAGE_SHIFT;

	if (test_bit(i, end->carry->which))
		set_pte_at(end->vma->vm_mm, addr, ptep,
			   zcipc_carry_pte(end->carry->frames[i], end->vma->vm_page_prot,
					   end->writable, end->carry->special));
	return 0;
}

/*
 * Inserts PTEs that were taken, one page table after the other. Nothing may fail any more.
 */
static void zcipc_carry_insert(struct zcipc_carry *carry, struct vm_area_struct *vma,
			       unsigned long addr, bool writable)
{
	struct zcipc_carry_end end = {
		.carry = carry, .vma = vma, .addr = addr,
		.writable = writable && vma->vm_flags & VM_WRITE,
	};
	unsigned long i;

	for_each_set_bit(i, carry->which, carry->npages) {
		unsigned long at = addr + (i << PAGE_SHIFT);
		unsigned long n = min(carry->npages - i,
				      (ALIGN(at + 1, PMD_SIZE) - at) >> PAGE_SHIFT);

		zcipc_pt_apply_must(vma->vm_mm, at, n, zcipc_carry_put, &end);
		i += n - 1;
		cond_resched();
	}
}

/* Has nobody a reference to what was taken, but the region and the PTE? */
static bool zcipc_carry_is_free(const struct zcipc_carry *carry)
{
	struct folio *huge = NULL;
	unsigned long i;

	for (i = 0; i < carry->npages; i++) {
		const struct zcipc_frame *frame = carry->frames[i];

		if (i % ZCIPC_RESCHED_PAGES == ZCIPC_RESCHED_PAGES - 1)
			cond_resched();
		/* Who holds what a snapshot has, too, holds it for reading. */
		if (!zcipc_frame_exclusive(frame))
			continue;
		/* Only of single pages PTEs are taken for references of others. */
		if (zcipc_frame_kind(frame) || carry->special ?
		    !zcipc_frame_is_free(frame, &huge) :
		    zcipc_frame_refs(frame) != test_bit(i, carry->which))
			return false;
	}
	return true;
}

/*
 * Begins with a range: the only mapping of it, which is the sender's, or NULL. @to_pfnmap: PTEs are
 * to go to a VMA that is VM_PFNMAP.
 */
static struct zcipc_slot *zcipc_carry_begin(struct zcipc_carry *carry,
					    const struct zcipc_region *region, unsigned long first,
					    unsigned long npages, const struct zcipc_space *space,
					    bool to_pfnmap)
{
	struct zcipc_slot *slot;
	struct zcipc_extent *extent;

	carry->frames = region->frames + first;
	carry->first = first;
	carry->npages = npages;
	carry->special = region->special;
	if (!list_is_singular(&region->extents))
		return NULL;
	extent = list_first_entry(&region->extents, struct zcipc_extent, region_entry);
	if (extent->space != space || !list_is_singular(&extent->slots))
		return NULL;
	slot = list_first_entry(&extent->slots, struct zcipc_slot, entry);
	if (first < slot->first || first + npages > slot->first + slot->npages)
		return NULL;
	/* What is special there only is not to be so elsewhere, nor the other way round. */
	if ((zcipc_slot_is_pfnmap(slot) || to_pfnmap) && !region->special &&
	    region->npinned + region->nholes < region->npages)
		return NULL;
	if (npages > ZCIPC_CARRY_SMALL)
		carry->which = bitmap_zalloc(npages, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	else
		bitmap_zero(carry->which, npages);
	return carry->which ? slot : NULL;
}

/* Takes the PTEs of a slot, with where they were, under the mmap_lock. */
static bool zcipc_carry_out_locked(struct zcipc_carry *carry, struct zcipc_slot *slot,
				   struct vm_area_struct **vma, unsigned long *addr)
{
	unsigned long skip = carry->first - slot->first;
	unsigned long i, size = carry->npages << PAGE_SHIFT;
	struct zcipc_carry_end end = { .carry = carry };
	struct mm_struct *mm = slot->extent->space->mm;
	bool huge = slot->extent->region->nhuge;

	lockdep_assert_held(&mm->mmap_lock);
	lockdep_assert_held(&slot->extent->region->lock);
	end.addr = zcipc_slot_addr(slot) + (skip << PAGE_SHIFT);
	end.vma = zcipc_window_lookup(slot->extent->space, slot->pgoff + skip, end.addr);
	if (!end.vma || end.addr + size > end.vma->vm_end)
		return false;
	/* Huge frames can be mapped by either. */
	for (i = end.addr; huge && i < end.addr + size; i = ALIGN(i + 1, PMD_SIZE))
		if (zcipc_pt_has_pmd(mm, i))
			return false;
	*vma = end.vma;
	*addr = end.addr;
	inc_tlb_flush_pending(mm);
	zcipc_pt_apply_existing(mm, end.addr, carry->npages, zcipc_carry_take, &end);
	zcipc_window_unmap(slot->extent->space, slot->pgoff + skip, carry->npages);
	dec_tlb_flush_pending(mm);
	zcipc_test_point("unmapped");
	if (zcipc_carry_is_free(carry))
		return true;
	zcipc_carry_insert(carry, end.vma, end.addr, slot->writable);
	bitmap_zero(carry->which, carry->npages);
	return false;
}

/**
 * zcipc_carry_out() - take the PTEs of a range that is to be moved
 * @carry: zcipc_carry_init()
 * @region: the caller holds its lock
 * @first: first page of the range, of which all are there
 * @npages: number of pages
 * @src: the sender, the current task's; the caller holds its lock
 * @dst: the receiver; the caller holds its lock, and its mmap_lock
 * @pgoff: where it is to be mapped there, as a file offset
 *
 * zcipc_carry_in() must follow when this returns true, and zcipc_carry_free() in any case.
 *
 * Return: true when the PTEs are taken, nothing else shows the range, and nobody holds a page of
 * it. Otherwise all is as it was.
 */
bool zcipc_carry_out(struct zcipc_carry *carry, struct zcipc_region *region, unsigned long first,
		     unsigned long npages, struct zcipc_space *src, struct zcipc_space *dst,
		     unsigned long pgoff)
{
	const bool to_pfnmap = zcipc_window_is_pfnmap(pgoff);
	struct vm_area_struct *vma;
	struct zcipc_slot *slot;
	unsigned long addr;
	bool done = false;

	/* See above: of large folios it is noted who has mapped them. */
	if (IS_ENABLED(CONFIG_MM_ID) && src->mm != dst->mm && (region->parts || region->npinned))
		return false;
	/* The receiver is to have PMDs where it can. */
	if (!zcipc_carry_is_worth(npages) ||
	    (zcipc_region_alignment(region, first, npages, true) >= 0 &&
	     !(region->npinned && !zcipc_import_takes_pmds(to_pfnmap))))
		return false;
	slot = zcipc_carry_begin(carry, region, first, npages, src, to_pfnmap);
	if (!slot)
		return false;
	carry->addr = zcipc_window_addr(dst, pgoff);
	carry->vma = zcipc_window_lookup(dst, pgoff, carry->addr);
	if (!carry->vma || !(carry->vma->vm_flags & VM_READ) || userfaultfd_wp(carry->vma) ||
	    carry->addr + (npages << PAGE_SHIFT) > carry->vma->vm_end)
		return false;
	/* The page tables come first: where there is no memory it is another way. */
	if (zcipc_pt_apply(dst->mm, carry->addr, npages, NULL, NULL))
		return false;
	/* Nobody may wait for a second one. */
	if (src->mm == dst->mm || mmap_read_trylock(src->mm)) {
		done = zcipc_carry_out_locked(carry, slot, &vma, &addr);
		if (src->mm != dst->mm)
			mmap_read_unlock(src->mm);
	}
	carry->out = done;
	if (done)
		carry->from = src->mm;
	return done;
}

/**
 * zcipc_carry_in() - insert what zcipc_carry_out() has taken
 * @carry: the locks are still held
 * @slot: the receiver's
 *
 * What the sender had not mapped is inserted as any other page, and so is what comes before: of a
 * range of which only the last pages were taken.
 */
void zcipc_carry_in(struct zcipc_carry *carry, struct zcipc_slot *slot)
{
	struct mm_struct *to = carry->vma->vm_mm;
	unsigned long i, end, n, skip = slot->npages - carry->npages;
	unsigned long pgoff = slot->pgoff + skip;

	if (skip)
		zcipc_slot_populate_some(slot, 0, skip);
	trace_zcipc_insert(slot->extent->space->id, pgoff, carry->npages);
	/* It may be a new region's now. */
	carry->frames = slot->extent->region->frames + slot->first + skip;
	zcipc_carry_insert(carry, carry->vma, carry->addr, slot->writable);
	for_each_clear_bitrange(i, end, carry->which, carry->npages)
		zcipc_window_populate(slot->extent->space, pgoff + i,
				      carry->addr + (i << PAGE_SHIFT), carry->frames + i, end - i,
				      slot->writable, carry->special);
	/* Special PTEs are not counted. */
	if (carry->from == to || carry->special)
		return;
	n = bitmap_weight(carry->which, carry->npages);
	if (slot->extent->region->npinned)
		for_each_set_bit(i, carry->which, carry->npages)
			n -= zcipc_frame_is_imported(carry->frames[i]);
	zcipc_mm_add_file_pages(carry->from, -n);
	zcipc_mm_add_file_pages(to, n);
}

/**
 * zcipc_carry_freeze() - take the PTEs of a range of which there is to be a snapshot
 * @carry: zcipc_carry_init()
 * @region: the caller holds its lock
 * @first: first page of the range, of which all are there
 * @npages: number of pages
 * @src: the sender, the current task's; the caller holds its lock
 * @locked: the caller holds its mmap_lock, too
 * @any: be it worth it or not
 *
 * zcipc_carry_thaw() must follow when this returns true, and zcipc_carry_free() in any case.
 *
 * Return: as of zcipc_carry_out()
 */
bool zcipc_carry_freeze(struct zcipc_carry *carry, struct zcipc_region *region,
			unsigned long first, unsigned long npages, struct zcipc_space *src,
			bool locked, bool any)
{
	struct zcipc_slot *slot;

	/* There PTEs cannot be read-only. */
	if (region->pinnable || (!any && !zcipc_carry_is_worth(npages)))
		return false;
	slot = zcipc_carry_begin(carry, region, first, npages, src, false);
	if (!slot || (!locked && !mmap_read_trylock(src->mm)))
		return false;
	carry->from = locked ? NULL : src->mm;
	carry->writable = slot->writable;
	if (zcipc_carry_out_locked(carry, slot, &carry->vma, &carry->addr))
		return true;
	if (carry->from)
		mmap_read_unlock(carry->from);
	return false;
}

/**
 * zcipc_carry_thaw() - put back what zcipc_carry_freeze() has taken, read-only if shared by now
 * @carry: the locks are still held
 */
void zcipc_carry_thaw(struct zcipc_carry *carry)
{
	zcipc_carry_insert(carry, carry->vma, carry->addr, carry->writable);
	if (carry->from)
		mmap_read_unlock(carry->from);
}

/* Makes PTEs of the first pages of a slot, ordinary frames of no other region. */
static void zcipc_carry_own(const struct zcipc_slot *slot, const struct vm_area_struct *vma,
			    unsigned long addr, pte_t *ptep, unsigned long npages)
{
	struct page **pages = (struct page **)slot->extent->region->frames + slot->first;
	bool writable = slot->writable && vma->vm_flags & VM_WRITE;
	unsigned long i;

	for (i = 0; i < npages; i++, addr += PAGE_SIZE)
		set_pte_at(vma->vm_mm, addr, ptep + i,
			   zcipc_pt_pte(pages[i], vma->vm_page_prot, writable, false));
}

/* Makes the PTEs of a slot special, if all are there. */
static bool zcipc_carry_disown(const struct zcipc_slot *slot, const struct vm_area_struct *vma,
			       unsigned long addr, pte_t *ptep)
{
	unsigned long i;

	/* First: what has been made special has to go before it can be an ordinary one again. */
	for (i = 0; i < slot->npages; i++)
		if (!pte_present(ptep_get(ptep + i)))
			return false;
	for (i = 0; i < slot->npages; i++)
		set_pte_at(vma->vm_mm, addr + (i << PAGE_SHIFT), ptep + i,
			   pte_mkspecial(ptep_get(ptep + i)));
	return true;
}

/* zcipc_carry_few_out() under the sender's mmap_lock. */
static bool zcipc_carry_few_locked(const struct zcipc_slot *slot)
{
	struct page **pages = (struct page **)slot->extent->region->frames + slot->first;
	struct zcipc_space *src = slot->extent->space;
	unsigned long addr = zcipc_slot_addr(slot);
	unsigned long i, npages = slot->npages;
	struct vm_area_struct *vma;
	spinlock_t *ptl; /* of @ptep's table */
	pte_t *ptep;
	bool all;

	lockdep_assert_held(&src->mm->mmap_lock);
	lockdep_assert_held(&slot->extent->region->lock);
	vma = zcipc_window_lookup(src, slot->pgoff, addr);
	if (!vma || userfaultfd_wp(vma) || addr + (npages << PAGE_SHIFT) > vma->vm_end)
		return false;
	ptep = zcipc_pt_is_one_table(addr, npages) ? zcipc_pt_lock(src->mm, addr, &ptl) : NULL;
	if (!ptep)
		return false;
	all = zcipc_carry_disown(slot, vma, addr, ptep);
	zcipc_pt_unlock(ptl);
	if (!all)
		return false;
	/* There are no other PTEs, nor anybody who would hide these: he would have our lock. */
	zcipc_pt_zap(vma, addr, npages);
	zcipc_stat_inc(SHOOTDOWNS);
	trace_zcipc_unmap(src->id, slot->pgoff, npages);
	zcipc_test_point("unmapped");
	/* The region's, and that which came with the PTE. */
	for (i = 0; i < npages; i++)
		if (page_count(pages[i]) != 2)
			break;
	if (i == npages)
		return true;
	ptep = zcipc_pt_lock_must(src->mm, addr, &ptl);
	zcipc_carry_own(slot, vma, addr, ptep, npages);
	zcipc_pt_unlock(ptl);
	return false;
}

/**
 * zcipc_carry_few_out() - take the PTEs of a few pages that are to be moved
 * @to: [out] where it is to be
 * @slot: the only mapping of the pages, which are ordinary ones, of no other region; the caller
 *	holds the locks of its space, which is the current task's, and of its region
 * @dst: the receiver; the caller holds its lock, and its mmap_lock
 * @pgoff: where it is to be mapped there, as a file offset
 *
 * Return: true when the PTEs are taken, and nobody holds a page: zcipc_carry_few_in() must follow.
 * Otherwise all is as it was.
 */
bool zcipc_carry_few_out(struct zcipc_carry_to *to, const struct zcipc_slot *slot,
			 struct zcipc_space *dst, unsigned long pgoff)
{
	struct mm_struct *from = slot->extent->space->mm;
	bool done;

	to->addr = zcipc_window_addr(dst, pgoff);
	to->vma = zcipc_window_lookup(dst, pgoff, to->addr);
	if (!to->vma || !(to->vma->vm_flags & VM_READ) || userfaultfd_wp(to->vma) ||
	    to->addr + (slot->npages << PAGE_SHIFT) > to->vma->vm_end)
		return false;
	/* There is nothing in it: nobody inserts anything but who holds the receiver's lock. */
	if (!zcipc_pt_is_one_table(to->addr, slot->npages) ||
	    !zcipc_pt_has_table(dst->mm, to->addr))
		return false;
	to->from = from;
	/* Nobody may wait for a second one. */
	if (from == dst->mm)
		return zcipc_carry_few_locked(slot);
	if (!mmap_read_trylock(from))
		return false;
	done = zcipc_carry_few_locked(slot);
	mmap_read_unlock(from);
	return done;
}

/**
 * zcipc_carry_few_in() - insert what zcipc_carry_few_out() has taken
 * @to: what that has found; the locks are still held
 * @slot: the receiver's
 */
void zcipc_carry_few_in(const struct zcipc_carry_to *to, const struct zcipc_slot *slot)
{
	struct mm_struct *mm = to->vma->vm_mm;
	spinlock_t *ptl; /* of @ptep's table */
	pte_t *ptep;

	ptep = zcipc_pt_lock_must(mm, to->addr, &ptl);
	zcipc_carry_own(slot, to->vma, to->addr, ptep, slot->npages);
	zcipc_pt_unlock(ptl);
	trace_zcipc_insert(slot->extent->space->id, slot->pgoff, slot->npages);
	if (to->from == mm)
		return;
	zcipc_mm_add_file_pages(to->from, -(long)slot->npages);
	zcipc_mm_add_file_pages(mm, slot->npages);
}

/* Is a page's place in the same page table as that of the one before it, and not before that? */
static bool zcipc_carry_goes_on(unsigned long before, unsigned long addr)
{
	return addr >= before && !((addr ^ before) & PMD_MASK);
}

/* The VMAs that the first pages of a list are in. */
static bool zcipc_carry_list_look(struct zcipc_carry_list *list, unsigned long at, u64 addr,
				  unsigned long pgoff)
{
	list->from = zcipc_window_lookup(list->src, at, addr);
	list->to = zcipc_window_lookup(list->dst, pgoff, zcipc_window_addr(list->dst, pgoff));
	if (!list->from || !list->to || !(list->to->vm_flags & VM_READ) ||
	    userfaultfd_wp(list->to))
		return false;
	list->from_base = list->from->vm_start - (list->from->vm_pgoff << PAGE_SHIFT);
	list->from_writable = list->from->vm_flags & VM_WRITE;
	list->to_base = list->to->vm_start - (list->to->vm_pgoff << PAGE_SHIFT);
	list->to_writable = list->to->vm_flags & VM_WRITE;
	return true;
}

/*
 * Makes the page tables for more pages, all of which have to be in one VMA each, as nearly all
 * windows are.
 */
static noinline bool zcipc_carry_list_prepare(struct zcipc_carry_list *list,
					      const struct zcipc_slot *slot, unsigned long first,
					      unsigned long npages, unsigned long pgoff)
{
	unsigned long skip = first - slot->first, at = slot->pgoff + skip;
	unsigned long from, to, len = npages << PAGE_SHIFT;

	if (!list->n && !zcipc_carry_list_look(list, at,
					       zcipc_slot_addr(slot) + (skip << PAGE_SHIFT), pgoff))
		return false;
	from = list->from_base + (at << PAGE_SHIFT);
	to = list->to_base + (pgoff << PAGE_SHIFT);
	if (from < list->from->vm_start || from + len > list->from->vm_end ||
	    to < list->to->vm_start || to + len > list->to->vm_end ||
	    zcipc_pt_apply(list->dst->mm, to, npages, NULL, NULL))
		return false;
	/* More pages can be where there are page tables by now. */
	list->to_start = max(list->to->vm_start, to & PMD_MASK);
	list->to_end = min(list->to->vm_end, ALIGN(to + len, PMD_SIZE));
	return true;
}

/**
 * zcipc_carry_list_add() - note pages that are to be moved
 * @list: there is room for them
 * @slot: the only mapping of the region; the caller holds that one's lock
 * @first: first page in the region; all are there
 * @npages: number of pages
 * @pgoff: where they are to be, reserved
 * @writable: their PTEs may be writable there
 *
 * Return: false if these cannot be carried
 */
bool zcipc_carry_list_add(struct zcipc_carry_list *list, const struct zcipc_slot *slot,
			  unsigned long first, unsigned long npages, unsigned long pgoff,
			  bool writable)
{
	unsigned long at = slot->pgoff + first - slot->first;
	unsigned long len = npages << PAGE_SHIFT;
	struct zcipc_carry_page *page;
	struct zcipc_frame **frames;
	unsigned long from, to, i;

	from = list->from_base + (at << PAGE_SHIFT);
	to = list->to_base + (pgoff << PAGE_SHIFT);
	/* The page tables come first: after that nothing can fail. */
	if (!list->n || from < list->from->vm_start || from + len > list->from->vm_end ||
	    to < list->to_start || to + len > list->to_end) {
		if (!zcipc_carry_list_prepare(list, slot, first, npages, pgoff))
			return false;
		from = list->from_base + (at << PAGE_SHIFT);
		to = list->to_base + (pgoff << PAGE_SHIFT);
	}
	frames = slot->extent->region->frames + first;
	page = list->pages + list->n;
	list->n += npages;
	i = npages;
	do {
		page->from = from;
		page->to = to;
		page->frame = *frames++;
		page->writable = writable && list->to_writable;
		page->was_writable = slot->writable && list->from_writable;
		page->taken = false;
		page++;
		from += PAGE_SIZE;
		to += PAGE_SIZE;
	} while (--i);
	return true;
}

/**
 * zcipc_carry_list_take() - take the PTEs of what is in a list
 * @list: the caller flushes the TLBs next
 */
void zcipc_carry_list_take(struct zcipc_carry_list *list)
{
	struct zcipc_carry_page *page = list->pages, *end = page + list->n;
	struct mm_struct *mm = list->src->mm;
	unsigned long last;
	spinlock_t *ptl; /* of @table */
	pte_t *table, *ptep;

	while (page < end) {
		last = page->from;
		table = zcipc_pt_lock(mm, last & PMD_MASK, &ptl);
		if (!table) {
			page++;
			continue;
		}
		for (; page < end && zcipc_carry_goes_on(last, page->from); page++) {
			last = page->from;
			ptep = table + pte_index(last);
			if (!pte_present(ptep_get(ptep)))
				continue;
			ptep_get_and_clear(mm, last, ptep);
			page->taken = true;
		}
		zcipc_pt_unlock(ptl);
		cond_resched();
	}
}

/**
 * zcipc_carry_list_held() - find pages that anybody has, beyond their region and the PTEs taken
 * @list: zcipc_carry_list_take() has taken them, and TLBs are flushed
 * @i: index of the first page to look at
 *
 * It may be that another PTE shows one: that of a second mapping, say. Of what a snapshot has, too,
 * nobody knows.
 *
 * Return: the index of the first one that is held, or @list->n
 */
unsigned int zcipc_carry_list_held(const struct zcipc_carry_list *list, unsigned int i)
{
	for (; i < list->n; i++)
		if (!zcipc_frame_exclusive(list->pages[i].frame) ||
		    zcipc_frame_refs(list->pages[i].frame) != list->pages[i].taken)
			break;
	return i;
}

/**
 * zcipc_carry_list_return() - put back PTEs of pages that are not moved after all
 * @list: zcipc_carry_list_take() has taken them
 * @first: index of the first page
 * @npages: number of pages
 */
void zcipc_carry_list_return(struct zcipc_carry_list *list, unsigned int first,
			     unsigned long npages)
{
	struct zcipc_carry_page *page = list->pages + first, *end = page + npages;
	struct mm_struct *mm = list->src->mm;
	spinlock_t *ptl; /* of @ptep's table */
	pte_t *ptep;

	for (; page < end; page++) {
		if (page->taken) {
			ptep = zcipc_pt_lock_must(mm, page->from, &ptl);
			set_pte_at(mm, page->from, ptep,
				   zcipc_carry_pte(page->frame, list->from->vm_page_prot,
						   page->was_writable, false));
			zcipc_pt_unlock(ptl);
		}
		page->taken = false;
		page->frame = NULL;
	}
}

/**
 * zcipc_carry_list_give() - insert PTEs that were taken
 * @list: pages that are not moved have been put back
 *
 * What the sender had not mapped is inserted as any other page.
 */
void zcipc_carry_list_give(struct zcipc_carry_list *list)
{
	struct zcipc_carry_page *page = list->pages, *end = page + list->n;
	struct mm_struct *mm;
	long left = 0, n = 0;
	unsigned long last;
	spinlock_t *ptl; /* of @table */
	pte_t *table;

	if (!list->n)
		return;
	mm = list->dst->mm;
	while (page < end) {
		const struct zcipc_carry_page *first = page;

		last = page->to;
		table = zcipc_pt_lock_must(mm, last & PMD_MASK, &ptl);
		for (; page < end && zcipc_carry_goes_on(last, page->to); page++) {
			last = page->to;
			if (!page->taken) {
				left += !!page->frame;
				continue;
			}
			set_pte_at(mm, page->to, table + pte_index(page->to),
				   zcipc_carry_pte(page->frame, list->to->vm_page_prot,
						   page->writable, false));
			n++;
		}
		zcipc_pt_unlock(ptl);
		trace_zcipc_insert(list->dst->id, linear_page_index(list->to, first->to),
				   page - first);
		cond_resched();
	}
	for (page = list->pages; left && page < end; page++) {
		if (!page->frame || page->taken)
			continue;
		zcipc_window_populate(list->dst, linear_page_index(list->to, page->to), page->to,
				      &page->frame, 1, page->writable, false);
		left--;
	}
	if (!n || list->src->mm == mm)
		return;
	zcipc_mm_add_file_pages(list->src->mm, -n);
	zcipc_mm_add_file_pages(mm, n);
}

void zcipc_carry_free(struct zcipc_carry *carry)
{
	if (carry->which != carry->small)
		bitmap_free(carry->which);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Carrying: PTEs of what is moved are taken out of the sender's page tables, and made anew in the
 * receiver's. The page's reference and count of mappings go along. To unmap a page and to map it
 * again gives both back and takes them again, for the same page, which costs several times as much.
 *
 * It is for what nearly all MOVEs are: of a range that the sender alone has mapped, once, and whose
 * pages nobody holds. Whatever is different goes the other way, after all has been put back.
 * Snapshots do the same within the sender's page tables, where the PTEs come back read-only. For
 * batches there are lists of pages.
 *
 * From when a PTE is taken until it is made anew its reference and its mapping are the carry's. So
 * each that has been taken is made in one place: in the receiver's table, or where it was. That
 * must not fail. The receiver's VMA and tables are looked for, and made, before anything is taken;
 * a table that has gone again meanwhile is made until it stays.
 *
 * Locks. The caller has the region's, and those of both spaces: so nobody inserts a PTE of the
 * range, and its frames and slots stay. The receiver's mmap_lock is held until the PTEs are there,
 * the sender's while they can still come back: for reading, which keeps VMAs, fork() and mremap()
 * out. Nobody waits for one while he has the other. Threads that touch the range meanwhile wait in
 * a fault for the locks of space and region.
 *
 * TLBs. Core mm flushes all, when it unmaps anything of an address space, for whoever says by
 * inc_tlb_flush_pending() that there are changes that it does not know of. That is asked for after
 * the last PTE is taken. It also tells MMU notifiers of the range; for a list the caller sees to
 * that.
 *
 * get_user_pages(). Only when TLBs are flushed it is counted who has a reference beyond the
 * region's and that of the PTE: one that was taken without locks is seen, or is given back by who
 * took it (see pt.c). If there is any all is put back.
 *
 * rmap and reclaim look for none of the module's pages, so nobody minds that a page is counted as
 * mapped while no PTE shows it. Who carries from one address space to another corrects how many
 * resident pages both have. Newer kernels note of large folios also which address spaces have
 * them mapped (CONFIG_MM_ID). Parts of these are not carried to another one.
 *
 * A few PTEs are not worth the flush of all TLB entries. They are made special instead, which is
 * how core mm is told that it has nothing to count there, and then unmapped as any other.
 * get_user_pages() fails meanwhile. As long as nobody holds a page that is as if it was called
 * later.
 *
 * Special PTEs of a region are carried with nothing to count. They are not made ordinary ones, nor
 * the other way round. PMDs have nothing to be carried, since nobody counts them.
 */
#include "base/base.h"

#include <linux/userfaultfd_k.h>

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

/* The VMA that shows a range of the receiver's window, if PTEs can be made in it, or NULL. */
static __always_inline struct vm_area_struct *
zcipc_carry_receiver(struct zcipc_space *dst, unsigned long pgoff, unsigned long addr,
		     unsigned long npages)
{
	struct vm_area_struct *vma = zcipc_window_lookup(dst, pgoff, addr);

	if (!vma || !(vma->vm_flags & VM_READ) || userfaultfd_wp(vma) ||
	    addr + (npages << PAGE_SHIFT) > vma->vm_end)
		return NULL;
	return vma;
}

static int zcipc_carry_take(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_carry *carry = data;

	if (!pte_present(ptep_get(ptep)))
		return 0;
	ptep_get_and_clear(carry->vma->vm_mm, addr, ptep);
	__set_bit((addr - carry->addr) >> PAGE_SHIFT, carry->which);
	return 0;
}

static int zcipc_carry_put(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_carry *carry = data;
	unsigned long i = (addr - carry->addr) >> PAGE_SHIFT;

	if (test_bit(i, carry->which))
		set_pte_at(carry->vma->vm_mm, addr, ptep,
			   zcipc_carry_pte(carry->frames[i], carry->vma->vm_page_prot,
					   carry->writable, carry->special));
	return 0;
}

/* Inserts PTEs that were taken, one page table after the other. Nothing may fail any more. */
static void zcipc_carry_insert(struct zcipc_carry *carry)
{
	unsigned long i, n;

	carry->writable = carry->slot->writable && carry->vma->vm_flags & VM_WRITE;
	for_each_set_bit(i, carry->which, carry->npages) {
		unsigned long addr = carry->addr + (i << PAGE_SHIFT);

		n = zcipc_pt_rest(addr, carry->npages - i);
		zcipc_pt_apply_must(carry->vma->vm_mm, addr, n, zcipc_carry_put, carry);
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
 * Begins with a range. Returns false unless there is but one mapping of it, which is the sender's.
 * @to_pfnmap: PTEs are to go to a VMA that is VM_PFNMAP.
 */
static bool zcipc_carry_begin(struct zcipc_carry *carry, const struct zcipc_region *region,
			      unsigned long first, unsigned long npages,
			      const struct zcipc_space *space, bool to_pfnmap)
{
	struct zcipc_extent *extent;
	struct zcipc_slot *slot;
	unsigned long *which;

	carry->frames = region->frames + first;
	carry->first = first;
	carry->npages = npages;
	carry->special = region->special;
	if (!list_is_singular(&region->extents))
		return false;
	extent = list_first_entry(&region->extents, struct zcipc_extent, region_entry);
	if (extent->space != space || !list_is_singular(&extent->slots))
		return false;
	slot = list_first_entry(&extent->slots, struct zcipc_slot, entry);
	if (first < slot->first || first + npages > slot->first + slot->npages)
		return false;
	/* What is special there only is not to be so elsewhere, nor the other way round. */
	if ((zcipc_slot_is_pfnmap(slot) || to_pfnmap) && !region->special &&
	    region->npinned + region->nholes < region->npages)
		return false;
	/* What it was begun with before, if it was, is not smaller. */
	if (npages > ZCIPC_CARRY_SMALL && carry->which == carry->small) {
		which = bitmap_zalloc(npages, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
		if (!which)
			return false;
		carry->which = which;
	} else {
		bitmap_zero(carry->which, npages);
	}
	carry->slot = slot;
	return true;
}

/* Takes the PTEs, under the sender's mmap_lock. */
static bool zcipc_carry_out_locked(struct zcipc_carry *carry)
{
	const struct zcipc_slot *slot = carry->slot;
	unsigned long skip = carry->first - slot->first, pgoff = slot->pgoff + skip;
	unsigned long addr = zcipc_slot_addr(slot) + (skip << PAGE_SHIFT);
	unsigned long i, end = addr + (carry->npages << PAGE_SHIFT);
	struct zcipc_space *space = slot->extent->space;
	struct mm_struct *mm = space->mm;

	lockdep_assert_held(&mm->mmap_lock);
	lockdep_assert_held(&slot->extent->region->lock);
	carry->vma = zcipc_window_lookup(space, pgoff, addr);
	carry->addr = addr;
	if (!carry->vma || end > carry->vma->vm_end)
		return false;
	/* Huge frames can be mapped by either. */
	for (i = addr; slot->extent->region->nhuge && i < end; i = ALIGN(i + 1, PMD_SIZE))
		if (zcipc_pt_has_pmd(mm, i))
			return false;
	inc_tlb_flush_pending(mm);
	zcipc_pt_apply_existing(mm, addr, carry->npages, zcipc_carry_take, carry);
	zcipc_window_unmap(space, pgoff, carry->npages);
	dec_tlb_flush_pending(mm);
	zcipc_test_point("unmapped");
	if (zcipc_carry_is_free(carry))
		return true;
	zcipc_carry_insert(carry);
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
	unsigned long addr = zcipc_window_addr(dst, pgoff);
	struct vm_area_struct *vma;
	bool done;

	/* See above: of large folios it is noted who has mapped them. */
	if (IS_ENABLED(CONFIG_MM_ID) && src->mm != dst->mm && (region->parts || region->npinned))
		return false;
	/* The receiver is to have PMDs where it can. */
	if (!zcipc_carry_is_worth(npages) ||
	    (zcipc_region_alignment(region, first, npages, true) >= 0 &&
	     !(region->npinned && !zcipc_import_takes_pmds(to_pfnmap))))
		return false;
	if (!zcipc_carry_begin(carry, region, first, npages, src, to_pfnmap))
		return false;
	vma = zcipc_carry_receiver(dst, pgoff, addr, npages);
	/* The page tables come first: where there is no memory it is another way. */
	if (!vma || zcipc_pt_apply(dst->mm, addr, npages, NULL, NULL))
		return false;
	/* Nobody may wait for a second one. */
	if (src->mm != dst->mm && !mmap_read_trylock(src->mm))
		return false;
	done = zcipc_carry_out_locked(carry);
	if (src->mm != dst->mm)
		mmap_read_unlock(src->mm);
	carry->from = done ? src->mm : NULL;
	carry->vma = vma;
	carry->addr = addr;
	return done;
}

/*
 * Inserts what zcipc_carry_out() has taken, under the same locks. What the sender had not mapped is
 * inserted as any other page, and so is what comes before: of a range of which only the last pages
 * were taken.
 */
void zcipc_carry_in(struct zcipc_carry *carry, struct zcipc_slot *slot)
{
	struct mm_struct *to = carry->vma->vm_mm;
	unsigned long i, end, n, skip = slot->npages - carry->npages;
	unsigned long pgoff = slot->pgoff + skip;

	if (skip)
		zcipc_slot_populate(slot, 0, skip);
	trace_zcipc_insert(slot->extent->space->id, pgoff, carry->npages);
	/* It may be a new region's now. */
	carry->frames = slot->extent->region->frames + slot->first + skip;
	carry->slot = slot;
	zcipc_carry_insert(carry);
	for_each_clear_bitrange(i, end, carry->which, carry->npages)
		zcipc_slot_populate(slot, skip + i, skip + end);
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

/*
 * Takes the PTEs of a range of which there is to be a snapshot, as zcipc_carry_out() does: then
 * zcipc_carry_thaw() must follow. @locked: the caller holds the sender's mmap_lock, too
 */
bool zcipc_carry_freeze(struct zcipc_carry *carry, struct zcipc_region *region,
			unsigned long first, unsigned long npages, struct zcipc_space *src,
			bool locked)
{
	/* There PTEs cannot be read-only. */
	if (region->pinnable || !zcipc_carry_begin(carry, region, first, npages, src, false) ||
	    (!locked && !mmap_read_trylock(src->mm)))
		return false;
	if (zcipc_carry_out_locked(carry))
		return true;
	if (!locked)
		mmap_read_unlock(src->mm);
	return false;
}

/* Puts back what zcipc_carry_freeze() has taken, read-only if it is shared by now. */
void zcipc_carry_thaw(struct zcipc_carry *carry, bool locked)
{
	zcipc_carry_insert(carry);
	if (!locked)
		mmap_read_unlock(carry->vma->vm_mm);
}

/* Makes PTEs of the pages of a slot, ordinary frames of no other region, in one page table. */
static __always_inline void zcipc_carry_own(const struct zcipc_slot *slot,
					    const struct vm_area_struct *vma, unsigned long addr)
{
	struct page **pages = (struct page **)slot->extent->region->frames + slot->first;
	bool writable = slot->writable && vma->vm_flags & VM_WRITE;
	spinlock_t *ptl; /* of @ptep's table */
	pte_t *ptep = zcipc_pt_lock_must(vma->vm_mm, addr, &ptl);
	unsigned long i;

	for (i = 0; i < slot->npages; i++, addr += PAGE_SIZE)
		set_pte_at(vma->vm_mm, addr, ptep + i,
			   zcipc_pt_pte(pages[i], vma->vm_page_prot, writable, false));
	zcipc_pt_unlock(ptl);
}

/* Makes the PTEs of a slot special, if all are there, in one page table. */
static bool zcipc_carry_disown(const struct zcipc_slot *slot, const struct vm_area_struct *vma,
			       unsigned long addr)
{
	unsigned long i, npages = slot->npages;
	spinlock_t *ptl; /* of @ptep's table */
	pte_t *ptep;

	if (pte_index(addr) + npages > PTRS_PER_PTE)
		return false;
	ptep = zcipc_pt_lock(vma->vm_mm, addr, &ptl);
	if (!ptep)
		return false;
	/* First: what has been made special has to go before it can be an ordinary one again. */
	for (i = 0; i < npages && pte_present(ptep_get(ptep + i)); i++)
		;
	if (i == npages)
		for (i = 0; i < npages; i++)
			set_pte_at(vma->vm_mm, addr + (i << PAGE_SHIFT), ptep + i,
				   pte_mkspecial(ptep_get(ptep + i)));
	zcipc_pt_unlock(ptl);
	return i == npages;
}

/* zcipc_carry_few_out() under the sender's mmap_lock. */
static bool zcipc_carry_few_locked(const struct zcipc_slot *slot)
{
	struct page **pages = (struct page **)slot->extent->region->frames + slot->first;
	struct zcipc_space *src = slot->extent->space;
	unsigned long addr = zcipc_slot_addr(slot);
	unsigned long i, npages = slot->npages;
	struct vm_area_struct *vma;

	lockdep_assert_held(&src->mm->mmap_lock);
	lockdep_assert_held(&slot->extent->region->lock);
	vma = zcipc_window_lookup(src, slot->pgoff, addr);
	if (!vma || userfaultfd_wp(vma) || addr + (npages << PAGE_SHIFT) > vma->vm_end ||
	    !zcipc_carry_disown(slot, vma, addr))
		return false;
	/* There are no other PTEs, nor anybody who would hide these: he would have our lock. */
	zcipc_pt_zap(vma, addr, npages);
	zcipc_stat_inc(SHOOTDOWNS);
	trace_zcipc_unmap(src->id, slot->pgoff, npages);
	zcipc_test_point("unmapped");
	/* The region's, and that which came with the PTE. */
	for (i = 0; i < npages && page_count(pages[i]) == 2; i++)
		;
	if (i < npages)
		zcipc_carry_own(slot, vma, addr);
	return i == npages;
}

/**
 * zcipc_carry_few_out() - take the PTEs of a few pages that are to be moved
 * @slot: the only mapping of the pages, which are ordinary ones, of no other region; the caller
 *	holds the locks of its space, which is the current task's, and of its region
 * @dst: the receiver; the caller holds its lock, and its mmap_lock
 * @pgoff: where it is to be mapped there, as a file offset
 *
 * Return: the receiver's VMA when the PTEs are taken, and nobody holds a page:
 * zcipc_carry_few_in() must follow. NULL: all is as it was.
 */
struct vm_area_struct *zcipc_carry_few_out(const struct zcipc_slot *slot, struct zcipc_space *dst,
					   unsigned long pgoff)
{
	unsigned long addr = zcipc_window_addr(dst, pgoff);
	struct vm_area_struct *vma = zcipc_carry_receiver(dst, pgoff, addr, slot->npages);
	struct mm_struct *from = slot->extent->space->mm;

	/* There is nothing in it: nobody inserts anything but who holds the receiver's lock. */
	if (!vma || pte_index(addr) + slot->npages > PTRS_PER_PTE ||
	    !zcipc_pt_has_table(dst->mm, addr))
		return NULL;
	/* Nobody may wait for a second one. */
	if (from != dst->mm && !mmap_read_trylock(from))
		return NULL;
	if (!zcipc_carry_few_locked(slot))
		vma = NULL;
	if (from != dst->mm)
		mmap_read_unlock(from);
	return vma;
}

/* Inserts what zcipc_carry_few_out() has taken, under the same locks. @vma: what it returned */
void zcipc_carry_few_in(const struct zcipc_slot *slot, const struct vm_area_struct *vma,
			struct mm_struct *from)
{
	zcipc_carry_own(slot, vma, zcipc_pt_addr(vma, slot->pgoff));
	trace_zcipc_insert(slot->extent->space->id, slot->pgoff, slot->npages);
	if (from == vma->vm_mm)
		return;
	zcipc_mm_add_file_pages(from, -(long)slot->npages);
	zcipc_mm_add_file_pages(vma->vm_mm, slot->npages);
}

/* Is a page's place in the same page table as that of the one before it, and not before that? */
static bool zcipc_carry_goes_on(unsigned long before, unsigned long addr)
{
	return addr >= before && !((addr ^ before) & PMD_MASK);
}

/* The VMAs that the first pages of a list are in. All have to be, as nearly all windows are one. */
static noinline bool zcipc_carry_list_look(struct zcipc_carry_list *list,
					   const struct zcipc_slot *slot, unsigned long skip,
					   unsigned long pgoff)
{
	list->from = zcipc_window_lookup(list->src, slot->pgoff + skip,
					 zcipc_slot_addr(slot) + (skip << PAGE_SHIFT));
	list->to = zcipc_carry_receiver(list->dst, pgoff, zcipc_window_addr(list->dst, pgoff), 1);
	list->to_end = 0;
	return list->from && list->to;
}

/* Makes the page tables for more pages. */
static noinline bool zcipc_carry_list_prepare(struct zcipc_carry_list *list, unsigned long to,
					      unsigned long npages)
{
	unsigned long end = to + (npages << PAGE_SHIFT);

	if (to < list->to->vm_start || end > list->to->vm_end ||
	    zcipc_pt_apply(list->dst->mm, to, npages, NULL, NULL))
		return false;
	/* More pages can be where there are page tables by now. */
	list->to_start = max(list->to->vm_start, to & PMD_MASK);
	list->to_end = min(list->to->vm_end, ALIGN(end, PMD_SIZE));
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
	struct zcipc_frame **frames = slot->extent->region->frames + first;
	unsigned long i, from, to, len = npages << PAGE_SHIFT;
	unsigned long skip = first - slot->first;
	struct zcipc_carry_page *page;

	if (!list->n && !zcipc_carry_list_look(list, slot, skip, pgoff))
		return false;
	from = zcipc_pt_addr(list->from, slot->pgoff + skip);
	to = zcipc_pt_addr(list->to, pgoff);
	if (from < list->from->vm_start || from + len > list->from->vm_end)
		return false;
	/* The page tables come first: after that nothing can fail. */
	if ((to < list->to_start || to + len > list->to_end) &&
	    !zcipc_carry_list_prepare(list, to, npages))
		return false;
	page = list->pages + list->n;
	list->n += npages;
	for (i = 0; i < npages; i++, page++, from += PAGE_SIZE, to += PAGE_SIZE) {
		page->from = from;
		page->to = to;
		page->frame = frames[i];
		page->writable = writable;
		page->was_writable = slot->writable;
		page->taken = false;
	}
	return true;
}

/* Takes the PTEs of what is in a list. The caller flushes the TLBs next. */
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

/*
 * The first page of a list, from @i on, that anybody has beyond its region and the PTE taken, or
 * list->n. TLBs are flushed. It may be that another PTE shows it: that of a second mapping, say. Of
 * what a snapshot has, too, nobody knows.
 */
unsigned int zcipc_carry_list_held(const struct zcipc_carry_list *list, unsigned int i)
{
	for (; i < list->n; i++)
		if (!zcipc_frame_exclusive(list->pages[i].frame) ||
		    zcipc_frame_refs(list->pages[i].frame) != list->pages[i].taken)
			break;
	return i;
}

/* Puts back what zcipc_carry_list_take() has taken of pages that are not moved after all. */
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
						   page->was_writable &&
						   list->from->vm_flags & VM_WRITE, false));
			zcipc_pt_unlock(ptl);
		}
		page->taken = false;
		page->frame = NULL;
	}
}

/* Inserts PTEs that were taken, and, as any other page, what the sender had not mapped. */
void zcipc_carry_list_give(struct zcipc_carry_list *list)
{
	struct zcipc_carry_page *page = list->pages, *end = page + list->n;
	struct mm_struct *mm;
	long left = 0, n = 0;
	bool writable;
	unsigned long last;
	spinlock_t *ptl; /* of @table */
	pte_t *table;

	if (!list->n)
		return;
	mm = list->dst->mm;
	writable = list->to->vm_flags & VM_WRITE;
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
						   writable && page->writable, false));
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
		zcipc_vma_insert(list->to, linear_page_index(list->to, page->to), &page->frame, 1,
				 page->writable, false);
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

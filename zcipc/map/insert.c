// SPDX-License-Identifier: GPL-2.0
/*
 * Inserts PTEs, and PMDs, of frames: with vm_insert_pages(), which knows how to count them. PTEs
 * are read-only then: page_mkwrite makes vma_set_page_prot() leave out the write bit. Where a slot
 * and a frame are writable the bit is set right after that.
 *
 * A PTE never shows anything but the frame that the slot's region has at that place, and is never
 * writable, nor dirty, unless slot and frame are writable: see space.h for why that holds.
 */
#include "base/base.h"
#include "base/trace.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/pins.h"
#include "mem/region.h"
#include "map/insert.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/window.h"

/* Work between two calls of cond_resched(). */
#define ZCIPC_INSERT_CHUNK	512UL

/**
 * struct zcipc_ptes - PTEs to be inserted, or to be made writable
 * @vma: that they are in
 * @addr: user address of the first one
 * @frames: what they show; NULL: what is there, which are single pages
 * @writable: those that are inserted may be writable, if the frame is
 * @which: a bit for each one that is to be made writable, if the frame is; NULL: all
 */
struct zcipc_ptes {
	struct vm_area_struct *vma;
	unsigned long addr;
	struct zcipc_frame **frames;
	bool writable;
	const unsigned long *which;
};

static int zcipc_pte_make_writable(pte_t *ptep, unsigned long addr, void *data)
{
	const struct zcipc_ptes *ptes = data;
	pte_t pte = ptep_get(ptep);
	unsigned long i = (addr - ptes->addr) >> PAGE_SHIFT;
	struct zcipc_frame *frame;

	if (!pte_present(pte) || pte_write(pte) || (ptes->which && !test_bit(i, ptes->which)))
		return 0;
	frame = ptes->frames ? ptes->frames[i] : (struct zcipc_frame *)pte_page(pte);
	if (zcipc_frame_page(frame) == pte_page(pte) && zcipc_frame_exclusive(frame))
		set_pte_at(ptes->vma->vm_mm, addr, ptep, zcipc_pt_mkwrite(pte));
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

/* PTEs as the VMA's protection has them. */
static int zcipc_vma_insert_plain(struct vm_area_struct *vma, unsigned long addr,
				  struct zcipc_frame **frames, unsigned long npages)
{
	unsigned long n, left;
	int ret = 0;

	if (zcipc_frame_is_part(*frames))
		return zcipc_vma_insert_parts(vma, addr, frames, npages);
	for (n = 0; n < npages && !zcipc_frame_is_crowded(frames[n]); n++)
		;
	left = n;
	if (n)
		ret = vm_insert_pages(vma, addr, (struct page **)frames, &left);
	return !ret && n < npages ? -ENOSPC : ret;
}

static int zcipc_pte_is_read_only(pte_t *ptep, unsigned long addr, void *data)
{
	pte_t pte = ptep_get(ptep);

	return pte_present(pte) && !pte_write(pte);
}

/*
 * PTEs that are writable from the beginning, of exclusive frames. The space's lock keeps all
 * others from the VMA's protection, which core mm looks at for nothing but what is inserted: who
 * changes it has the mmap_lock for writing. Nor does core mm look when it brings back what it moved
 * or made inaccessible for a while: these pages are not movable, and NUMA balancing leaves
 * VM_MIXEDMAP alone.
 *
 * No kernel exports a better way: what counts the pages takes the VMA's protection, or inserts but
 * one page of a fault. That it would take that of a copy of the VMA nobody promises. A writable
 * protection from mmap() on would be wrong for all that is inserted read-only, and mprotect() makes
 * it anew because of page_mkwrite.
 */
static int zcipc_vma_insert_exclusive(struct vm_area_struct *vma, unsigned long addr,
				      struct zcipc_frame **frames, unsigned long npages)
{
	pgprot_t prot = vma->vm_page_prot;
	pte_t pte = zcipc_pt_mkwrite(pfn_pte(0, prot));
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
	struct zcipc_ptes all = { .vma = vma, .addr = addr, .frames = frames };
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

static int zcipc_pte_insert_special(pte_t *ptep, unsigned long addr, void *data)
{
	const struct zcipc_ptes *ptes = data;
	struct vm_area_struct *vma = ptes->vma;
	struct zcipc_frame *frame = ptes->frames[(addr - ptes->addr) >> PAGE_SHIFT];
	bool writable = ptes->writable && zcipc_frame_exclusive(frame);
	struct page *page = zcipc_frame_page(frame);
	pte_t old = ptep_get(ptep);

	/* What is there stays, unless it can be made writable. */
	if (!pte_none(old) && (!writable || !pte_present(old) || pte_write(old) ||
			       pte_pfn(old) != page_to_pfn(page)))
		return 0;
	if (ZCIPC_TLB_STAYS_READ_ONLY && !pte_none(old))
		return -EEXIST;
	if (vma->vm_flags & VM_MAYEXEC)
		zcipc_sync_code(page, vma->vm_page_prot);
	set_pte_at(vma->vm_mm, addr, ptep, zcipc_pt_pte(page, vma->vm_page_prot, writable, true));
	return 0;
}

/* What fails need not fail for lack of memory: then a fault is to be begun anew. */
static int zcipc_vma_insert_special(struct zcipc_ptes *ptes, unsigned long npages)
{
	struct mm_struct *mm = ptes->vma->vm_mm;
	int ret;

	while ((ret = zcipc_pt_apply(mm, ptes->addr, npages, zcipc_pte_insert_special,
				     ptes)) == -EEXIST)
		zcipc_pt_zap(ptes->vma, ptes->addr, npages);
	return ret ? -EAGAIN : 0;
}

/**
 * zcipc_vma_insert() - insert PTEs of frames of slots, up to a page that has been moved away
 * @vma: shows the slots; the caller holds the mmap_lock or the VMA's lock
 * @pgoff: first page, as a file offset, in the VMA
 * @frames: the frames; the caller holds the locks of the space and of all of their regions
 * @npages: number of pages, all in the VMA; no PMD shows any of them
 * @writable: of all slots
 * @special: of all slots
 *
 * Return: 0, or what vm_insert_pages() says: -EBUSY if something is mapped already, -ENOMEM; or
 * -ENOSPC at a page that is mapped too often, -ENOENT at one that has been moved away, -EAGAIN
 */
int zcipc_vma_insert(struct vm_area_struct *vma, unsigned long pgoff, struct zcipc_frame **frames,
		     unsigned long npages, bool writable, bool special)
{
	const struct zcipc_space *space = vma->vm_private_data;
	unsigned long addr = zcipc_pt_addr(vma, pgoff);
	unsigned long n;
	int ret = 0;

	lockdep_assert_held(&space->lock);
	trace_zcipc_insert(space->id, pgoff, npages);
	writable = writable && vma->vm_flags & VM_WRITE;
	for (; !ret && npages; addr += n << PAGE_SHIFT, frames += n, npages -= n) {
		unsigned long kind = zcipc_frame_kind(*frames);
		struct zcipc_ptes some = {
			.vma = vma, .addr = addr, .frames = frames, .writable = writable,
		};

		if (!*frames)
			return -ENOENT;
		for (n = 1; n < npages && frames[n]; n++)
			if (!special && zcipc_frame_kind(frames[n]) != kind)
				break;
		if (special || kind == ZCIPC_FRAME_IMPORTED)
			ret = zcipc_vma_insert_special(&some, n);
		else
			ret = zcipc_vma_insert_pages(vma, addr, frames, n, writable);
	}
	return ret;
}

/*
 * Inserts the PMD of a block that is a huge frame. get_user_pages() must not take an imported one:
 * that is an anonymous page, of which core mm expects, and with PAGE_TABLE_CHECK demands, that who
 * can write to it alone has it mapped.
 *
 * One of the module's own could be taken, and so must never be where nobody is to hold anything:
 * in a VMA that is VM_PFNMAP, say. There is none, since such a frame never takes the place of what
 * is imported (see zcipc_huge_shared()), all other copies are single pages, and no region that is
 * special is made of them.
 *
 * Return: 0, -EAGAIN if a fault has to do it, -ENOENT if PTEs have to do
 */
int zcipc_slot_insert_huge(struct zcipc_slot *slot, struct vm_area_struct *vma,
			   unsigned long pgoff)
{
	unsigned long index = ALIGN_DOWN(slot->first + pgoff - slot->pgoff, ZCIPC_HUGE_PAGES);
	const struct zcipc_extent *extent = slot->extent;
	struct zcipc_frame *frame = extent->region->frames[index];
	bool imported = zcipc_frame_is_imported(frame), writable;
	struct zcipc_window *window;
	unsigned long addr;
	int ret;

	/* The block may begin before the slot does. */
	pgoff = slot->pgoff + index - slot->first;
	addr = zcipc_pt_addr(vma, pgoff);
	if (index < slot->first || slot->first + slot->npages - index < ZCIPC_HUGE_PAGES ||
	    addr < vma->vm_start || addr + PMD_SIZE > vma->vm_end || addr & ~PMD_MASK ||
	    (imported && !(list_is_singular(&extent->region->extents) && extent->nslots == 1 &&
			   zcipc_import_takes_pmds(vma->vm_flags & VM_PFNMAP))) ||
	    WARN_ON_ONCE(!imported && zcipc_slot_is_special(slot)))
		return -ENOENT;
	writable = slot->writable && vma->vm_flags & VM_WRITE && zcipc_huge_exclusive(frame);
	ret = zcipc_pt_insert_pmd(vma, addr, zcipc_frame_page(frame), writable, imported);
	if (ret == -EAGAIN)
		return ret;
	window = zcipc_window_at(extent->space, pgoff);
	if (window && !ret)
		window->huge_low = min(window->huge_low, zcipc_window_index(pgoff));
	trace_zcipc_insert(extent->space->id, pgoff, ZCIPC_HUGE_PAGES);
	return ret;
}

/*
 * As zcipc_vma_insert(), of pages that may be in several VMAs, under the mmap_lock. The space's
 * process need not be the current one. Returns false where something cannot be inserted (no memory,
 * the owner has unmapped a part of the window): that is left to faults, with all that is behind it.
 */
static bool zcipc_window_populate(struct zcipc_space *space, unsigned long pgoff,
				  unsigned long addr, struct zcipc_frame **frames,
				  unsigned long npages, bool writable, bool special)
{
	unsigned long n;

	mmap_assert_locked(space->mm);
	for (; npages; npages -= n, frames += n, pgoff += n, addr += n << PAGE_SHIFT) {
		struct vm_area_struct *vma = zcipc_window_lookup(space, pgoff, addr);

		if (!vma || !(vma->vm_flags & VM_READ))
			return false;
		n = min3(npages, (vma->vm_end - addr) >> PAGE_SHIFT, ZCIPC_INSERT_CHUNK);
		if (zcipc_vma_insert(vma, pgoff, frames, n, writable, special))
			return false;
		cond_resched();
	}
	return true;
}

/* Sets the write bits of what has been inserted since the last time. */
void zcipc_populate_finish(struct zcipc_populate *p)
{
	struct zcipc_ptes ptes = { .vma = p->vma, .which = p->writable };

	if (p->vma && p->vma->vm_flags & VM_WRITE &&
	    !bitmap_empty(p->writable, p->end - p->start)) {
		ptes.addr = zcipc_pt_addr(p->vma, p->start);
		zcipc_pt_apply_existing(p->space->mm, ptes.addr, p->end - p->start,
					zcipc_pte_make_writable, &ptes);
	}
	p->vma = NULL;
}

/*
 * Inserts some of many PTEs of a window, in ascending order if possible; see
 * zcipc_populate_finish(). The caller holds the mmap_lock, and the locks of the space and of the
 * frames' regions. What cannot be inserted is left to faults.
 */
void zcipc_populate_add(struct zcipc_populate *p, unsigned long pgoff,
			struct zcipc_frame **frames, unsigned long npages, bool writable)
{
	unsigned long n, left = npages, addr = zcipc_window_addr(p->space, pgoff);
	struct vm_area_struct *vma;

	for (n = 0; n < npages && !zcipc_frame_kind(frames[n]); n++)
		if (zcipc_frame_is_crowded(frames[n]))
			return;
	if (n < npages || npages > ZCIPC_POPULATE_SPAN || ZCIPC_TLB_STAYS_READ_ONLY) {
		zcipc_window_populate(p->space, pgoff, addr, frames, npages, writable, false);
		return;
	}
	if (!p->vma || pgoff < p->end || pgoff + npages > p->limit) {
		zcipc_populate_finish(p);
		vma = zcipc_window_lookup(p->space, pgoff, addr);
		if (!vma || !(vma->vm_flags & VM_READ))
			return;
		p->vma = vma;
		p->start = pgoff;
		p->end = pgoff;
		p->limit = min(pgoff + ZCIPC_POPULATE_SPAN, vma->vm_pgoff + vma_pages(vma));
		bitmap_zero(p->writable, ZCIPC_POPULATE_SPAN);
		if (pgoff + npages > p->limit)
			return;
	}
	vm_insert_pages(p->vma, addr, (struct page **)frames, &left);
	trace_zcipc_insert(p->space->id, pgoff, npages);
	p->end = pgoff + npages;
	if (writable)
		bitmap_set(p->writable, pgoff - p->start, npages - left);
}

/*
 * Inserts what a slot shows, from its page @i on and before @end, up to one that has been moved
 * away. The caller holds the mmap_lock, and the locks of the space and of the region, or of all who
 * have the frames.
 */
void zcipc_slot_populate(struct zcipc_slot *slot, unsigned long i, unsigned long end)
{
	struct zcipc_region *region = slot->extent->region;
	struct zcipc_space *space = slot->extent->space;
	unsigned long addr = zcipc_slot_addr(slot);
	struct vm_area_struct *vma = NULL;
	unsigned long n;

	for (; i < end; i += n) {
		unsigned long index = slot->first + i, at = addr + (i << PAGE_SHIFT);

		n = min(end - i, ZCIPC_HUGE_PAGES - index % ZCIPC_HUGE_PAGES);
		if (zcipc_region_huge_at(region, index, n)) {
			if (!vma || at >= vma->vm_end)
				vma = zcipc_window_lookup(space, slot->pgoff + i, at);
			if (!vma || !(vma->vm_flags & VM_READ))
				return;
			if (zcipc_slot_insert_huge(slot, vma, slot->pgoff + i) != -ENOENT)
				continue;
		}
		/* PMDs that are behind what cannot be inserted are worth another try. */
		if (!zcipc_window_populate(space, slot->pgoff + i, at, region->frames + index, n,
					   slot->writable, zcipc_slot_is_special(slot)) &&
		    !region->nhuge)
			return;
	}
}

/*
 * As zcipc_slot_populate(), of all of a slot, without keeping others from the space: the caller
 * holds the lock of the region, which keeps the slot, and the mmap_lock, but no lock of a space.
 * What is not inserted, because others wait for the mmap_lock, say, is left to faults.
 */
void zcipc_slot_populate_long(struct zcipc_slot *slot)
{
	struct zcipc_region *region = slot->extent->region;
	struct zcipc_space *space = slot->extent->space;
	unsigned long i, end;

	lockdep_assert_held(&region->lock);
	for (i = 0; i < slot->npages && !fatal_signal_pending(current); i = end) {
		/* Blocks are not taken apart. */
		if (zcipc_region_huge_at(region, slot->first + i, slot->npages - i))
			end = i + ZCIPC_HUGE_PAGES;
		else
			end = min(slot->npages, ALIGN(slot->first + i + 1, ZCIPC_POPULATE_PAGES) -
						slot->first);
		if (slot->npages > ZCIPC_LONG_PAGES)
			zcipc_test_point("populates");
		/* Whoever waits for the mmap_lock does not wait for this. */
		if (mmap_lock_is_contended(space->mm))
			break;
		mutex_lock(&space->lock);
		zcipc_slot_populate(slot, i, end);
		mutex_unlock(&space->lock);
		cond_resched();
	}
}

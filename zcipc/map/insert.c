// SPDX-License-Identifier: GPL-2.0
/*
 * Inserts PTEs, and PMDs, of frames: with vm_insert_pages(), which knows how to count them. PTEs
 * are read-only then: page_mkwrite makes vma_set_page_prot() leave out the write bit. Where a slot
 * and a frame are writable the bit is set right after that.
 *
 * A PTE never shows anything but the frame that the slot's region has at that place, and is never
 * writable, nor dirty, unless slot and frame are writable: see space.h for why that holds.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "base/compat.h"
#include "base/limits.h"
#include "base/test.h"
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
#include "map/vma.h"
#include "map/window.h"

/* Work between two calls of cond_resched(). */
#define ZCIPC_INSERT_CHUNK	512UL

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
 * PTEs that are writable from the beginning, of exclusive frames. The space's lock keeps all
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
 * the VMA's lock, and the locks of the space and of all regions that the frames belong to.
 */
static int zcipc_vma_insert(struct vm_area_struct *vma, unsigned long pgoff,
			    struct zcipc_frame **frames, unsigned long npages, bool writable,
			    bool special)
{
	const struct zcipc_space *space = vma->vm_private_data;
	unsigned long addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
	unsigned long n, end = addr + (npages << PAGE_SHIFT);
	int ret = 0;

	trace_zcipc_insert(space->id, pgoff, npages);
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
	return list_is_singular(&slot->extent->region->extents) &&
	       list_is_singular(&slot->extent->slots);
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
int zcipc_slot_insert_huge(struct zcipc_slot *slot, struct vm_area_struct *vma,
			   unsigned long pgoff)
{
	unsigned long index = ALIGN_DOWN(slot->first + pgoff - slot->pgoff, ZCIPC_HUGE_PAGES);
	struct zcipc_frame *frame = slot->extent->region->frames[index];
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
	window = zcipc_window_at(slot->extent->space, pgoff);
	if (window && !ret)
		window->huge_low = min(window->huge_low, zcipc_window_index(pgoff));
	trace_zcipc_insert(slot->extent->space->id, pgoff, ZCIPC_HUGE_PAGES);
	return ret;
}

/**
 * zcipc_slot_insert() - insert PTEs
 * @slot: the slot; the caller holds the locks of space and region
 * @vma: shows the slot; the caller holds the mmap_lock or the VMA's lock
 * @pgoff: first page, as a file offset, in both @slot and @vma
 * @npages: number of pages, all in both
 *
 * Stops at a page that has been moved away.
 *
 * Return: 0, or what vm_insert_pages() says: -EBUSY if something is mapped already, -ENOMEM; or
 * -ENOSPC at a page that is mapped too often
 */
int zcipc_slot_insert(struct zcipc_slot *slot, struct vm_area_struct *vma,
		      unsigned long pgoff, unsigned long npages)
{
	unsigned long first = slot->first + pgoff - slot->pgoff;
	struct zcipc_frame **frames = slot->extent->region->frames + first;
	unsigned long n;

	lockdep_assert_held(&slot->extent->space->lock);
	lockdep_assert_held(&slot->extent->region->lock);
	/* There may be a PMD behind the end of the block. */
	if (slot->extent->region->nhuge)
		npages = min(npages, ZCIPC_HUGE_PAGES - first % ZCIPC_HUGE_PAGES);
	for (n = 0; n < npages && frames[n]; n++)
		;
	return n ? zcipc_vma_insert(vma, pgoff, frames, n, slot->writable,
				    zcipc_slot_is_special(slot)) : 0;
}

/**
 * zcipc_window_populate() - insert PTEs of frames that slots show
 * @space: the space; the caller holds its lock and the mmap_lock of its mm
 * @pgoff: file offset, in pages, of the first one
 * @addr: its user address
 * @frames: the frames; the caller holds the locks of their regions
 * @npages: their number
 * @writable: of all of them
 * @special: of all of them
 *
 * The space's process need not be the current one. What cannot be inserted (no memory, the owner
 * has unmapped a part of the window) is left to faults.
 */
void zcipc_window_populate(struct zcipc_space *space, unsigned long pgoff, unsigned long addr,
			   struct zcipc_frame **frames, unsigned long npages, bool writable,
			   bool special)
{
	lockdep_assert_held(&space->lock);
	mmap_assert_locked(space->mm);
	while (npages) {
		struct vm_area_struct *vma = zcipc_window_lookup(space, pgoff, addr);
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
		writable.addr = zcipc_window_addr(p->space, p->start);
		zcipc_pt_apply_existing(p->space->mm, writable.addr, p->end - p->start,
					zcipc_pte_make_writable, &writable);
	}
	p->vma = NULL;
}

/**
 * zcipc_populate_add() - insert some of many PTEs, in ascending order if possible
 * @p: all zero before the first call, but for the space; see zcipc_populate_finish()
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
		zcipc_window_populate(p->space, pgoff, zcipc_window_addr(p->space, pgoff), frames,
				      npages, writable, false);
		return;
	}
	if (!p->vma || pgoff < p->end || pgoff + npages > p->limit) {
		struct vm_area_struct *vma;

		addr = zcipc_window_addr(p->space, pgoff);
		zcipc_populate_finish(p);
		vma = zcipc_window_lookup(p->space, pgoff, addr);
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
	trace_zcipc_insert(p->space->id, pgoff, npages);
	p->end = pgoff + npages;
	if (writable && !ZCIPC_TLB_STAYS_READ_ONLY) {
		bitmap_set(p->writable, pgoff - p->start, npages - left);
		p->any_writable = true;
	}
}

/* zcipc_slot_populate_some(), of a region that has huge frames, or may have. */
void zcipc_slot_populate_huge(struct zcipc_slot *slot, unsigned long i, unsigned long end)
{
	struct zcipc_region *region = slot->extent->region;
	unsigned long addr = zcipc_slot_addr(slot);
	struct vm_area_struct *vma = NULL;
	unsigned long n, k;

	for (; i < end; i += n) {
		unsigned long index = slot->first + i, at = addr + (i << PAGE_SHIFT);

		n = min(end - i, ZCIPC_HUGE_PAGES - index % ZCIPC_HUGE_PAGES);
		if (zcipc_region_huge_at(region, index, n)) {
			if (!vma || at >= vma->vm_end)
				vma = zcipc_window_lookup(slot->extent->space, slot->pgoff + i, at);
			if (!vma || !(vma->vm_flags & VM_READ))
				return;
			if (zcipc_slot_insert_huge(slot, vma, slot->pgoff + i) != -ENOENT)
				continue;
		}
		for (k = 0; k < n && region->frames[index + k]; k++)
			;
		zcipc_window_populate(slot->extent->space, slot->pgoff + i, at,
				      region->frames + index, k, slot->writable,
				      zcipc_slot_is_special(slot));
		if (k < n)
			return;
	}
}

/* As zcipc_slot_populate(), of a region that is one huge frame. */
void zcipc_slot_populate_block(struct zcipc_slot *slot)
{
	struct vm_area_struct *vma = zcipc_window_lookup(slot->extent->space, slot->pgoff,
							 zcipc_slot_addr(slot));

	if (vma && vma->vm_flags & VM_READ &&
	    zcipc_slot_insert_huge(slot, vma, slot->pgoff) == -ENOENT)
		zcipc_slot_populate_huge(slot, 0, slot->npages);
}

/* Inserts PTEs of a slot, from its page @i on, up to one that has been moved away. */
void zcipc_slot_populate_some(struct zcipc_slot *slot, unsigned long i, unsigned long end)
{
	struct zcipc_frame **frames = slot->extent->region->frames + slot->first + i;
	unsigned long n;

	lockdep_assert_held(&slot->extent->region->lock);
	if (slot->extent->region->nhuge) {
		zcipc_slot_populate_huge(slot, i, end);
		return;
	}
	for (n = 0; n < end - i && frames[n]; n++)
		;
	zcipc_window_populate(slot->extent->space, slot->pgoff + i,
			      zcipc_slot_addr(slot) + (i << PAGE_SHIFT), frames, n, slot->writable,
			      zcipc_slot_is_special(slot));
}

/* Inserts the PTEs of a new slot, up to a page that has been moved away. */
void zcipc_slot_populate(struct zcipc_slot *slot)
{
	zcipc_slot_populate_some(slot, 0, slot->npages);
}

/**
 * zcipc_slot_populate_long() - insert PTEs without keeping others from the space
 * @slot: the slot; the caller holds the lock of its region, which keeps the slot, and the
 *	mmap_lock, but no lock of a space
 *
 * What is not inserted, because others wait for the mmap_lock, say, is left to faults.
 */
void zcipc_slot_populate_long(struct zcipc_slot *slot)
{
	struct zcipc_space *space = slot->extent->space;
	unsigned long i, end;

	for (i = 0; i < slot->npages && !fatal_signal_pending(current); i = end) {
		/* Blocks are not taken apart. */
		end = slot->npages;
		if (zcipc_region_huge_at(slot->extent->region, slot->first + i, end - i))
			end = i + ZCIPC_HUGE_PAGES;
		else
			end = min(end, ALIGN(slot->first + i + 1, ZCIPC_POPULATE_PAGES) -
				       slot->first);
		if (slot->npages > ZCIPC_LONG_PAGES)
			zcipc_test_point("populates");
		/* Whoever waits for the mmap_lock does not wait for this. */
		if (mmap_lock_is_contended(space->mm))
			break;
		mutex_lock(&space->lock);
		zcipc_slot_populate_some(slot, i, end);
		mutex_unlock(&space->lock);
		cond_resched();
	}
}

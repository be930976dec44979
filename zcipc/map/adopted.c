// SPDX-License-Identifier: GPL-2.0
/*
 * VMAs of adopted memory, which stays where it was: what imports map, and what goes again.
 */
#include "base/base.h"

#include <linux/sched/coredump.h>

#include "mem/frame.h"
#include "mem/region.h"
#include "map/adopted.h"
#include "map/insert.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/window.h"

/* A VMA of adopted memory that is smaller is always joined with what is imported next to it. */
#define ZCIPC_JOIN_MIN		(16UL << PAGE_SHIFT)

/* And of what is larger than that, all in all, none is. */
#define ZCIPC_JOIN_MAX		(ZCIPC_UNMAP_PAGES << PAGE_SHIFT)

/*
 * The last page of a slot is about to go. The capability stays if somebody knows it, but nobody is
 * to be told an address where there is something else by then.
 */
static void zcipc_adopted_end(struct zcipc_space *space, struct zcipc_slot *slot)
{
	struct zcipc_region *region;

	if (space->ops->emptied(slot))
		return;
	slot = zcipc_slot_find_locked(space, slot->pgoff);
	if (!slot)
		return;
	region = slot->extent->region;
	if (slot->addr && !slot->nmapped && !slot->extent->unready)
		zcipc_slot_remove(slot);
	mutex_unlock(&region->lock);
}

/* Does a VMA show a slot where it belongs? One that mremap() makes, which then fails, does not. */
static bool zcipc_adopted_shows(const struct vm_area_struct *vma, const struct zcipc_slot *slot)
{
	return slot->addr && vma->vm_start - (vma->vm_pgoff << PAGE_SHIFT) ==
			     slot->addr - (slot->pgoff << PAGE_SHIFT);
}

/* What the current task is adopting, or NULL. The caller holds the space's lock. */
static struct zcipc_adoption *zcipc_adoption_own(const struct zcipc_space *space)
{
	lockdep_assert_held(&space->lock);
	return space->adoption && space->adoption->task == current ? space->adoption : NULL;
}

/* The same, if a VMA shows some of it, or of what is beside it and becomes one VMA with it. */
struct zcipc_adoption *zcipc_adoption_of(const struct zcipc_space *space,
					 const struct vm_area_struct *vma)
{
	struct zcipc_adoption *adoption = zcipc_adoption_own(space);

	return adoption && vma->vm_start >= adoption->start && vma->vm_end <= adoption->end &&
	       zcipc_adopted_shows(vma, adoption->slot) ? adoption : NULL;
}

/*
 * Does a VMA go because a larger one takes its place, which will show the same slots, or is it that
 * larger one, which could not be made? Then what is beside the new memory is to be mapped again.
 */
static bool zcipc_adopted_is_joined(const struct zcipc_space *space,
				    const struct vm_area_struct *vma)
{
	struct zcipc_adoption *adoption = zcipc_adoption_of(space, vma);
	struct zcipc_slot *slot;
	unsigned long end;

	if (!adoption)
		return false;
	slot = adoption->slot;
	end = slot->addr + (slot->npages << PAGE_SHIFT);
	if (vma->vm_start < end && vma->vm_end > slot->addr)
		slot->nmapped = 0;
	if (vma->vm_start < slot->addr || vma->vm_end > end)
		adoption->emptied = true;
	return true;
}

/* Pages are counted, not VMAs: to split one changes nothing, so nobody has to hear of that. */
static void zcipc_adopted_close(struct vm_area_struct *vma)
{
	struct zcipc_space *space = vma->vm_private_data;
	unsigned long at = vma->vm_pgoff, end = at + vma_pages(vma), from;
	struct zcipc_slot *slot;

	if (vma->vm_mm != space->mm)
		return;
	mutex_lock(&space->lock);
	if (zcipc_adopted_is_joined(space, vma))
		at = end;
	/* What 6.1 takes back when it fails to split a VMA has no pages. */
	while ((slot = zcipc_slot_find_from(space, at)) && slot->pgoff < end) {
		from = max(at, slot->pgoff);
		at = slot->pgoff + slot->npages;
		if (zcipc_adopted_shows(vma, slot)) {
			slot->nmapped -= min(at, end) - from;
			if (!slot->nmapped)
				zcipc_adopted_end(space, slot);
		}
		/* There may be thousands, and strangers wait for the lock. */
		mutex_unlock(&space->lock);
		cond_resched();
		mutex_lock(&space->lock);
	}
	mutex_unlock(&space->lock);
	zcipc_space_closed(space, vma);
}

/*
 * Core mm asks for the name of what it is about to dump, with the mmap_lock for writing, and dumps
 * whatever has one. It takes pages for that, which it can only of a VMA that is not VM_PFNMAP. So
 * this is the end of special PTEs: a process that dumps its core does nothing else any more.
 */
static const char *zcipc_adopted_name(struct vm_area_struct *vma)
{
	const struct zcipc_space *space = vma->vm_private_data;
	struct mm_struct *mm = vma->vm_mm;

	/* Other processes that have the same mm go on. */
	if (!(current->flags & PF_DUMPCORE) || current->mm != mm || mm != space->mm ||
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
	struct zcipc_space *space = vma->vm_private_data;
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT);
	struct zcipc_frame *frame = NULL;
	struct zcipc_region *region;
	struct zcipc_slot *slot;

	if (!page)
		return VM_FAULT_OOM;
	mutex_lock(&space->lock);
	slot = zcipc_slot_find_locked(space, vmf->pgoff);
	if (slot) {
		region = slot->extent->region;
		if (!slot->extent->revoked)
			frame = region->frames[slot->first + vmf->pgoff - slot->pgoff];
		if (frame)
			copy_highpage(page, zcipc_frame_page(frame));
		mutex_unlock(&region->lock);
	}
	mutex_unlock(&space->lock);
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

/* Nobody writes to a copy. */
static vm_fault_t zcipc_adopted_mkwrite(struct vm_fault *vmf)
{
	return zcipc_adopted_is_dumped(vmf->vma) ? VM_FAULT_SIGBUS : zcipc_window_fault(vmf);
}

/* The file offset, in pages, that memory at a user address has when it is adopted. */
static unsigned long zcipc_adopted_pgoff(unsigned long addr)
{
	return ZCIPC_ADOPTED_START + (addr >> PAGE_SHIFT);
}

/*
 * File offsets for memory that is to be adopted, as zcipc_window_reserve_outside(). What is side by
 * side in memory is so in the file, too, so that one VMA can show it; unless a slot of what was
 * adopted there before still has some of the offsets, since only a part of it was unmapped.
 */
int zcipc_adopted_reserve(struct zcipc_space *space, unsigned long addr, unsigned long npages,
			  unsigned long *pgoff)
{
	const struct zcipc_slot *slot;

	*pgoff = zcipc_adopted_pgoff(addr);
	slot = zcipc_slot_find_from(space, *pgoff);
	if (*pgoff + npages > ZCIPC_ADOPTED_END || (slot && slot->pgoff < *pgoff + npages))
		return zcipc_window_reserve_outside(space, npages, pgoff);
	return 0;
}

const struct vm_operations_struct zcipc_adopted_ops = {
	.open = zcipc_outside_open,
	.close = zcipc_adopted_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_adopted_fault,
	.map_pages = zcipc_window_map_pages,
	.page_mkwrite = zcipc_adopted_mkwrite,
	.pfn_mkwrite = zcipc_adopted_mkwrite,
	.access = zcipc_window_access,
	.name = zcipc_adopted_name,
};

/*
 * Can a VMA of at most so many bytes be one with adopted memory beside it? Only if it is as it was
 * made: what madvise() and mprotect() have changed would be lost. The caller holds the mmap_lock.
 */
static bool zcipc_adopted_can_join(const struct zcipc_space *space,
				   const struct vm_area_struct *vma, const struct zcipc_slot *slot,
				   unsigned long most)
{
	unsigned long flags = space->adopted_flags | (slot->secret ? VM_DONTDUMP : 0);

	/* Core mm tries to lock all that mmap() makes, but nothing that is VM_PFNMAP. */
	return vma && vma->vm_end - vma->vm_start <= most && vma->vm_ops == &zcipc_adopted_ops &&
	       vma->vm_private_data == space &&
	       vma->vm_pgoff == zcipc_adopted_pgoff(vma->vm_start) &&
	       !((vma->vm_flags ^ flags) & ~(VM_SOFTDIRTY | VM_LOCKED | VM_LOCKONFAULT));
}

/**
 * zcipc_adopted_join() - choose what becomes one VMA with memory that is being adopted
 * @space: the space
 * @adoption: of the current task; its range grows by what is chosen
 *
 * Core mm never makes one VMA of two that are VM_PFNMAP. So the new one takes the place of those
 * beside it, whose PTEs all have to be made anew. It takes those that are not larger, again and
 * again: N imports of a page make log2(N) VMAs, and each PTE as often. Small ones cost next to
 * nothing, and could else stay alone between two that are larger. No small import waits for what is
 * large, of which there are few in any case.
 *
 * Context: May sleep; no lock is held but @space's adopt_lock.
 */
void zcipc_adopted_join(struct zcipc_space *space, struct zcipc_adoption *adoption)
{
	const struct zcipc_slot *slot = adoption->slot;
	const struct vm_area_struct *below, *above;
	unsigned long all, most, joined;

	if (slot->pgoff != zcipc_adopted_pgoff(slot->addr))
		return;
	mmap_read_lock(space->mm);
	for (;;) {
		all = adoption->end - adoption->start;
		joined = all - (slot->npages << PAGE_SHIFT);
		most = min(max(all, ZCIPC_JOIN_MIN), ZCIPC_JOIN_MAX - joined);
		below = vma_lookup(space->mm, adoption->start - 1);
		above = vma_lookup(space->mm, adoption->end);
		if (zcipc_adopted_can_join(space, below, slot, most) &&
		    below->vm_end == adoption->start)
			adoption->start = below->vm_start;
		else if (zcipc_adopted_can_join(space, above, slot, most) &&
			 above->vm_start == adoption->end)
			adoption->end = above->vm_end;
		else
			break;
	}
	mmap_read_unlock(space->mm);
}

/*
 * Does mmap() of a range, if it is for an import, replace what was chosen to be joined? Others may
 * have unmapped it, have mapped something else there, or have changed it. The caller holds the
 * mmap_lock for writing, until all is mapped.
 */
bool zcipc_adopted_may_replace(struct zcipc_space *space, unsigned long addr, unsigned long end)
{
	const struct zcipc_adoption *adoption;
	const struct vm_area_struct *vma;
	const struct zcipc_slot *slot;

	mutex_lock(&space->lock);
	adoption = zcipc_adoption_own(space);
	mutex_unlock(&space->lock);
	if (!adoption)
		return true;
	/* It is the current task's own. */
	slot = adoption->slot;
	while (addr < end) {
		vma = find_vma(space->mm, addr);
		if (addr - slot->addr < slot->npages << PAGE_SHIFT) {
			addr = slot->addr + (slot->npages << PAGE_SHIFT);
		} else if (vma && vma->vm_start <= addr) {
			if (!zcipc_adopted_can_join(space, vma, slot, ULONG_MAX))
				return false;
			addr = vma->vm_end;
		} else {
			/* It has been unmapped for that, or was nobody's. */
			if (!adoption->emptied)
				return false;
			addr = vma ? vma->vm_start : end;
		}
	}
	return true;
}

/*
 * Inserts PTEs of adopted memory in a range, if the mmap_lock is free. The rest is left to faults.
 * May sleep; no lock is held but @space's adopt_lock.
 */
void zcipc_adopted_populate(struct zcipc_space *space, unsigned long addr, unsigned long end)
{
	unsigned long pgoff = zcipc_adopted_pgoff(addr), last = zcipc_adopted_pgoff(end);
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	bool locked;

	if (!mmap_read_trylock(space->mm))
		return;
	while (pgoff < last && !mmap_lock_is_contended(space->mm) &&
	       !fatal_signal_pending(current)) {
		mutex_lock(&space->lock);
		slot = zcipc_slot_find_from(space, pgoff);
		if (!slot || slot->pgoff >= last) {
			mutex_unlock(&space->lock);
			break;
		}
		pgoff = slot->pgoff + slot->npages;
		region = zcipc_region_get(slot->extent->region);
		/* A stranger may have it for long. */
		locked = mutex_trylock(&region->lock);
		mutex_unlock(&space->lock);
		if (locked && !slot->extent->revoked)
			zcipc_slot_populate_long(slot);
		if (locked)
			mutex_unlock(&region->lock);
		zcipc_region_put(region);
	}
	mmap_read_unlock(space->mm);
}

/**
 * zcipc_adopted_find() - the first of a range that is adopted memory
 * @space: the space that has adopted it
 * @addr: user address: where the range begins
 * @end: where it ends
 * @found: [out] what one VMA shows of one slot, or shows where a slot was, as far as it is in the
 *	range
 *
 * Context: May sleep; no lock is held.
 * Return: whether there is one
 */
bool zcipc_adopted_find(struct zcipc_space *space, unsigned long addr, unsigned long end,
			struct zcipc_adopted *found)
{
	struct vm_area_struct *vma;
	struct zcipc_slot *slot;
	unsigned long pgoff, end_pgoff;

	mmap_read_lock(space->mm);
	for (vma = find_vma(space->mm, addr); vma && vma->vm_start < end;
	     vma = find_vma(space->mm, vma->vm_end))
		if (vma->vm_ops == &zcipc_adopted_ops && vma->vm_private_data == space)
			break;
	if (!vma || vma->vm_start >= end) {
		mmap_read_unlock(space->mm);
		return false;
	}
	*found = (struct zcipc_adopted){
		.addr = max(addr, vma->vm_start), .end = min(end, vma->vm_end),
		.prot = (vma->vm_flags & VM_READ ? PROT_READ : 0) |
			(vma->vm_flags & VM_WRITE ? PROT_WRITE : 0),
	};
	pgoff = vma->vm_pgoff + ((found->addr - vma->vm_start) >> PAGE_SHIFT);
	mutex_lock(&space->lock);
	slot = zcipc_slot_find_from(space, pgoff);
	/* What is behind it in the same VMA is another slot's, or was. */
	if (slot) {
		end_pgoff = slot->pgoff > pgoff ? slot->pgoff : slot->pgoff + slot->npages;
		found->end = min(found->end, found->addr + ((end_pgoff - pgoff) << PAGE_SHIFT));
	}
	if (slot && slot->pgoff <= pgoff && slot->addr && !slot->extent->unready) {
		found->token = slot->extent->token;
		found->first = slot->first + pgoff - slot->pgoff;
	}
	mutex_unlock(&space->lock);
	mmap_read_unlock(space->mm);
	return true;
}

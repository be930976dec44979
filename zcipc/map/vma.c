// SPDX-License-Identifier: GPL-2.0
/*
 * VMAs of a space: made, split, closed, and what they show at an address.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/pool.h"
#include "mem/region.h"
#include "map/adopted.h"
#include "map/file.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/unmap.h"
#include "map/window.h"

/* Does a range still show what it showed at first? As zcipc_window_lookup(). */
static bool zcipc_window_shows(struct zcipc_space *space, unsigned long pgoff, unsigned long addr,
			       unsigned long npages)
{
	unsigned long n;

	for (; npages; npages -= n, pgoff += n, addr += n << PAGE_SHIFT) {
		const struct vm_area_struct *vma = zcipc_window_lookup(space, pgoff, addr);

		if (!vma)
			return false;
		n = min(npages, (vma->vm_end - addr) >> PAGE_SHIFT);
	}
	return true;
}

/**
 * zcipc_window_find() - find the region that memory of the current task belongs to
 * @space: the current task's space
 * @addr: user address
 * @len: bytes
 * @share: it is to be shared; else what is a file's is as any other memory
 * @token: [out] a capability for it
 * @offset: [out] bytes from the beginning of that one's range
 *
 * Context: May sleep; no lock is held.
 * Return: 0, or -ENOENT when it is not one region's, -EINVAL when it is, but not page-aligned,
 * -EOPNOTSUPP when it is a file's region's, but another space's, or not all of it, -EINTR
 */
int zcipc_window_find(struct zcipc_space *space, unsigned long addr, unsigned long len, bool share,
		      u64 *token, u64 *offset)
{
	const struct zcipc_slot *slot = NULL;
	const struct vm_area_struct *vma;
	const struct zcipc_view *view;
	unsigned long pgoff, npages;
	int ret;

	ret = mmap_read_lock_killable(space->mm);
	if (ret)
		return ret;
	ret = -ENOENT;
	vma = vma_lookup(space->mm, addr);
	if (!vma)
		goto out;
	pgoff = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
	npages = (PAGE_ALIGN(addr + len) - (addr & PAGE_MASK)) >> PAGE_SHIFT;
	view = share ? zcipc_view_of(vma) : NULL;
	mutex_lock(&space->lock);
	if (view) {
		/* What is not served is not there: it has been revoked, or is another space's. */
		ret = -EOPNOTSUPP;
		if (view->space == space && npages <= (vma->vm_end - addr) >> PAGE_SHIFT)
			slot = view->slot;
	} else if (zcipc_window_is_vma(space, vma)) {
		slot = zcipc_slot_find(space, pgoff);
		if (slot && (zcipc_slot_is_exec(slot) ||
			     slot->pgoff + slot->npages - pgoff < npages ||
			     !zcipc_window_shows(space, pgoff, addr & PAGE_MASK, npages)))
			slot = NULL;
	}
	if (slot) {
		pgoff -= view ? view->pgoff : slot->pgoff;
		*token = slot->extent->token;
		*offset = (u64)(slot->first + pgoff - slot->extent->first) << PAGE_SHIFT;
		ret = PAGE_ALIGNED(addr | len) ? 0 : -EINVAL;
	}
	mutex_unlock(&space->lock);
out:
	mmap_read_unlock(space->mm);
	return ret;
}

/*
 * Unmaps and removes the slot of the current task's space that zcipc_slot_addr() says is at @addr.
 * May sleep; no lock is held. Returns 0, or -ENOENT, -EINTR.
 */
int zcipc_window_remove_at(struct zcipc_space *space, u64 addr, bool exec)
{
	const struct zcipc_window *window = NULL;
	unsigned long pgoff = addr >> PAGE_SHIFT;
	struct zcipc_slot *slot = NULL;
	struct zcipc_region *region;
	int ret = -ENOENT;

	mutex_lock(&space->lock);
	if (!exec)
		window = zcipc_window_around(space, addr);
	if (window)
		pgoff = zcipc_window_pgoff(window - space->windows) +
			((addr - window->addr) >> PAGE_SHIFT);
	if (exec || window)
		slot = zcipc_slot_find_locked(space, pgoff);
	if (slot) {
		region = slot->extent->region;
		if (zcipc_slot_is_exec(slot) == exec && zcipc_slot_addr(slot) == addr) {
			/* It takes its time, and the region's lock keeps the slot. */
			mutex_unlock(&space->lock);
			if (slot->npages > ZCIPC_LONG_PAGES)
				zcipc_test_point("long");
			zcipc_slot_unmap(slot);
			mutex_lock(&space->lock);
			zcipc_slot_remove(slot);
			ret = 0;
		}
		mutex_unlock(&region->lock);
	}
	mutex_unlock(&space->lock);
	return ret && !exec ? zcipc_file_unmap_at(space, addr, 0) : ret;
}

/* The kernel splits the VMA, or copies it: for mremap(), which then fails, or for a child. */
static void zcipc_window_open(struct vm_area_struct *vma)
{
	struct zcipc_space *space = vma->vm_private_data;
	struct zcipc_window *window;

	if (zcipc_pt_is_inherited(vma, space->mm))
		return;
	mutex_lock(&space->lock);
	window = zcipc_window_at(space, vma->vm_pgoff);
	window->nvmas++;
	window->vma = NULL;
	mutex_unlock(&space->lock);
}

/* File offsets are not mapped any more: nobody is told of them. @gone: with the whole window. */
static void zcipc_window_unplace(struct zcipc_space *space, unsigned long pgoff,
				 unsigned long npages, bool gone)
{
	unsigned long end = pgoff + npages;
	struct zcipc_region *region;
	struct zcipc_slot *slot;

	while ((slot = zcipc_slot_find_from(space, pgoff)) && slot->pgoff < end) {
		pgoff = slot->pgoff + slot->npages;
		space->ops->unplaced(slot);
		if (!gone)
			continue;
		slot = zcipc_slot_find_locked(space, slot->pgoff);
		if (!slot)
			continue;
		region = slot->extent->region;
		zcipc_slot_remove(slot);
		mutex_unlock(&region->lock);
		cond_resched();
	}
}

static void zcipc_window_close(struct vm_area_struct *vma)
{
	struct zcipc_space *space = vma->vm_private_data;
	struct zcipc_window *window;
	unsigned long pgoff, npages;

	if (vma->vm_mm != space->mm)
		return;
	mutex_lock(&space->lock);
	window = zcipc_window_at(space, vma->vm_pgoff);
	/* Of what 6.1 takes back when it fails to split a VMA only the end means anything. */
	if (vma->vm_start == vma->vm_end)
		window = zcipc_window_around(space, vma->vm_end - 1) ?: window;
	window->vma = NULL;
	if (!--window->nvmas) {
		npages = window->npages;
		pgoff = zcipc_window_pgoff(window - space->windows);
		/* Nothing new comes in, though the lock may be released, nor what was reserved. */
		window->npages = 0;
		window->id = 0;
		zcipc_window_unplace(space, pgoff, npages, false);
		zcipc_window_unplace(space, pgoff, npages, true);
		window->npages = npages;
		zcipc_window_end(space, window);
	} else if (vma->vm_start != vma->vm_end && !zcipc_space_gone(space)) {
		zcipc_window_lose(space, window, zcipc_window_index(vma->vm_pgoff), vma_pages(vma));
		zcipc_window_unplace(space, vma->vm_pgoff, vma_pages(vma), false);
	}
	/* Who waits for room may wait for ever. */
	space->ops->changed(space);
	mutex_unlock(&space->lock);
	zcipc_space_closed(space, vma);
}

static const struct vm_operations_struct zcipc_window_ops = {
	.open = zcipc_window_open,
	.close = zcipc_window_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_window_fault,
	.map_pages = zcipc_window_map_pages,
	.page_mkwrite = zcipc_window_fault,
	.pfn_mkwrite = zcipc_window_fault,
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

/* Its slot stays. */
static void zcipc_exec_close(struct vm_area_struct *vma)
{
	zcipc_space_closed(vma->vm_private_data, vma);
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

/* mmap() of a window. */
static int zcipc_window_make(struct zcipc_space *space, struct vm_area_struct *vma)
{
	unsigned int which = vma->vm_pgoff >> ZCIPC_WINDOW_SHIFT;
	bool pinnable = which == ZCIPC_WINDOW_PINNABLE;
	bool unpinnable = which == ZCIPC_WINDOW_UNPINNABLE;
	int ret;

	if (vma->vm_pgoff != zcipc_window_pgoff(which) || vma_pages(vma) > ZCIPC_MAX_WINDOW_PAGES)
		return -EINVAL;
	if (!pinnable && !unpinnable && !zcipc_frame_can_cache(which))
		return -EOPNOTSUPP;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	ret = zcipc_window_begin(space, which, vma);
	if (ret)
		return ret;
	if (!pinnable && !unpinnable)
		vma->vm_page_prot = zcipc_frame_pgprot(vma->vm_page_prot, which);
	vma->vm_ops = pinnable ? &zcipc_pinnable_ops : &zcipc_window_ops;
	/* What others have, too, is not for core dumps. */
	zcipc_vm_flags_mod(vma, (unpinnable ? VM_PFNMAP : VM_MIXEDMAP) | VM_DONTDUMP, VM_MAYEXEC);
	return 0;
}

/* mmap() of what ZCIPC_IOC_MAP gave an offset for, of memory that is being adopted, or a view. */
static int zcipc_window_make_outside(struct zcipc_space *space, struct vm_area_struct *vma)
{
	unsigned long kind = VM_MIXEDMAP | VM_DONTDUMP;
	const struct vm_operations_struct *ops = &zcipc_exec_ops;
	unsigned long never = VM_MAYWRITE;
	struct zcipc_adoption *adoption;
	struct zcipc_view *view = NULL;
	struct zcipc_slot *slot;
	int ret = -EINVAL;

	mutex_lock(&space->lock);
	slot = zcipc_slot_find(space, vma->vm_pgoff);
	adoption = zcipc_adoption_of(space, vma);
	if (adoption) {
		slot = adoption->slot;
		/* What is joined has been counted, and may be mapped without the new memory. */
		if (vma->vm_start <= slot->addr && vma->vm_end > slot->addr)
			slot->nmapped = slot->npages;
		ret = 0;
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
						       slot->extent->region->cache);
		ret = 0;
	}
	mutex_unlock(&space->lock);
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
 * zcipc_window_mmap() - mmap() of a space
 * @space: the space
 * @vma: the new VMA, in the space's mm, VM_SHARED, at an offset that is not a ring's
 *
 * Context: The caller holds the mmap_lock for writing.
 * Return: 0, or -EINVAL for an offset that means nothing, -EACCES for a window that is executable
 * and for executable memory that is writable, -EBUSY if there is such a window, -EOPNOTSUPP for a
 * cache policy that the machine has not, -ENOMEM
 */
int zcipc_window_mmap(struct zcipc_space *space, struct vm_area_struct *vma)
{
	int ret;

	if (vma->vm_pgoff < ZCIPC_OUTSIDE_START)
		ret = zcipc_window_make(space, vma);
	else
		ret = zcipc_window_make_outside(space, vma);
	/* A view has its own ideas. */
	if (ret || !zcipc_window_is_vma(space, vma))
		return ret;
	/* VM_SEQ_READ: what is unmapped is not noted for reclaim, which does not know the pages. */
	/* Capabilities are the process's, and its children have none; nor can places move. */
	zcipc_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_SEQ_READ, 0);
	vma->vm_private_data = space;
	if (vma->vm_ops == &zcipc_adopted_ops)
		space->adopted_flags = vma->vm_flags & ~VM_DONTDUMP;
	return 0;
}

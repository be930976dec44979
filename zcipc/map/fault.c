// SPDX-License-Identifier: GPL-2.0
/*
 * Faults in what a space has mapped.
 */
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/userfaultfd_k.h>

#include "base/compat.h"
#include "base/test.h"
#include "mem/frame.h"
#include "mem/region.h"
#include "map/cow.h"
#include "map/fault.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"

/* The most that a fault brings of memory that is read from its beginning to its end. */
#define ZCIPC_FAULT_AROUND_MAX	512U

/**
 * struct zcipc_touch - somebody touches a page that a space has mapped
 * @vma: where
 * @pgoff: file offset of the page, in pages
 * @addr: user address
 * @page: mapped there, with a reference by the caller, or NULL
 * @write: to write
 * @fault: the fault, or NULL: then @buf is not
 * @buf: kernel memory to be copied from or to, or NULL: a PTE is to be inserted
 * @len: how much, in the same page
 */
struct zcipc_touch {
	struct vm_area_struct *vma;
	unsigned long pgoff;
	unsigned long addr;
	const struct page *page;
	bool write;
	struct vm_fault *fault;
	void *buf;
	int len;
};

static void zcipc_touch_copy(const struct zcipc_touch *touch, struct zcipc_frame *frame)
{
	void *p = kmap_local_page(zcipc_frame_page(frame)) + offset_in_page(touch->addr);

	if (touch->write) {
		memcpy(p, touch->buf, touch->len);
		flush_dcache_page(zcipc_frame_page(frame));
	} else {
		memcpy(touch->buf, p, touch->len);
	}
	kunmap_local(p);
}

/* Somebody may be writing to all pages. Returns how many more have been made ready for that. */
static unsigned long zcipc_touch_ahead(const struct zcipc_touch *touch, struct zcipc_slot *slot,
				       unsigned long index)
{
	unsigned long left = min(slot->pgoff + slot->npages - touch->pgoff,
				 (touch->vma->vm_end - touch->addr) >> PAGE_SHIFT) - 1;

	/* The next block may be a huge frame. */
	if (slot->extent->region->nhuge)
		left = min(left, -index % ZCIPC_HUGE_PAGES);
	if (slot->streak < ZCIPC_COW_STREAK) {
		slot->streak++;
		return 0;
	}
	return zcipc_cow_break_ahead(slot->extent->space, slot->extent->region, index,
				     min(left, ZCIPC_COW_AHEAD));
}

/* Under the locks of space and region. @broken: the page was a part of another huge frame. */
static vm_fault_t zcipc_touch_frame(const struct zcipc_touch *touch, struct zcipc_slot *slot,
				    unsigned long index, bool broken)
{
	struct vm_area_struct *vma = touch->vma;
	unsigned long pgoff = touch->pgoff;
	unsigned long before = 0, n = 1;
	int ret;

	if (touch->buf) {
		zcipc_touch_copy(touch, slot->extent->region->frames[index]);
		return VM_FAULT_NOPAGE;
	}
	if (!touch->write) {
		slot->around = touch->pgoff == slot->next ?
			       min(4 * slot->around, ZCIPC_FAULT_AROUND_MAX) : ZCIPC_FAULT_AROUND;
		n = min3(slot->pgoff + slot->npages - touch->pgoff,
			 (vma->vm_end - touch->addr) >> PAGE_SHIFT, (unsigned long)slot->around);
		slot->next = touch->pgoff + n;
	} else if (touch->pgoff != slot->written) {
		slot->streak = 0;
	} else {
		n += zcipc_touch_ahead(touch, slot, index + 1);
	}
	if (touch->write)
		slot->written = touch->pgoff + n;
	if (broken && (zcipc_region_is_huge(slot->extent->region, index) ||
		       !zcipc_pt_has_table(vma->vm_mm, touch->addr))) {
		/* Nothing of the block is mapped any more. */
		before = min3(index % ZCIPC_HUGE_PAGES, pgoff - slot->pgoff,
			      (touch->addr - vma->vm_start) >> PAGE_SHIFT);
		n = before + min3(ZCIPC_HUGE_PAGES - index % ZCIPC_HUGE_PAGES,
				  slot->pgoff + slot->npages - pgoff,
				  (vma->vm_end - touch->addr) >> PAGE_SHIFT);
	}
	zcipc_count(slot->extent->space, slot->extent->region, FAULTS, 1);
	if (zcipc_region_is_huge(slot->extent->region, index) &&
	    zcipc_slot_insert_huge(slot, vma, touch->pgoff) != -ENOENT)
		return VM_FAULT_NOPAGE;
	ret = zcipc_slot_insert(slot, vma, pgoff - before, n);
	if (ret == -ENOMEM)
		return VM_FAULT_OOM;
	/* It may be a page behind it that cannot be mapped, or somebody else has mapped it. */
	if (ret == -ENOSPC && zcipc_frame_is_crowded(slot->extent->region->frames[index]) &&
	    !zcipc_pt_shows(vma->vm_mm, touch->addr & PAGE_MASK))
		return VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

/*
 * Somebody has locked the region of what is touched, for who knows how long. If that is possible,
 * the task waits for him without the mmap_lock, which all other threads need: then core mm has to
 * begin the fault anew. The caller holds the space's lock, which is released if this returns
 * what the fault is to return; otherwise 0 is returned.
 */
static vm_fault_t zcipc_touch_waits(const struct zcipc_touch *touch, struct zcipc_space *space)
{
	struct vm_fault *vmf = touch->fault;
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	struct file *file;

	/* A kernel thread might drop the last reference to the file while this code still runs. */
	if (!vmf || current->flags & PF_KTHREAD)
		return 0;
	slot = zcipc_slot_find(space, touch->pgoff);
	if (!slot || !mutex_is_locked(&slot->extent->region->lock))
		return 0;
	/*
	 * A fault of a page that is mapped has to keep the lock. It becomes one that need not, but
	 * not again and again because others read the page meanwhile.
	 */
	if (vmf->flags & FAULT_FLAG_MKWRITE) {
		if (space->zapped == touch->pgoff + 1)
			return 0;
		space->zapped = touch->pgoff + 1;
		mutex_unlock(&space->lock);
		zcipc_pt_zap(touch->vma, touch->addr & PAGE_MASK, 1);
		return VM_FAULT_NOPAGE;
	}
	/* Once: else others who have it by turns could keep the task from it for ever. */
	if (!fault_flag_allow_retry_first(vmf->flags) || vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return 0;
	region = zcipc_region_get(slot->extent->region);
	mutex_unlock(&space->lock);
	/* Without the VMA nothing else keeps the module. */
	file = get_file(vmf->vma->vm_file);
	zcipc_fault_unlock(vmf);
	/* Core mm looks for what may have killed the task. */
	if (!mutex_lock_killable(&region->lock))
		mutex_unlock(&region->lock);
	zcipc_region_put(region);
	fput(file);
	return VM_FAULT_RETRY;
}

/*
 * A fault: of a page that is not mapped, or a write to one mapped read-only. Inserts the PTE
 * itself, under the locks, instead of leaving it to core mm after they are released, when the page
 * may have been moved away.
 */
static vm_fault_t zcipc_window_touch(const struct zcipc_touch *touch)
{
	struct zcipc_space *space = touch->vma->vm_private_data;
	struct zcipc_frame *spare = NULL;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct zcipc_region *region;
	bool again, huge, spare_huge = false;
	struct zcipc_frame *frame;
	struct zcipc_slot *slot;
	unsigned long index;

	/*
	 * A child got the VMA by MADV_DOFORK: it is not ours to serve. Userfaultfd's write-protect
	 * markers take the place of PTEs, and would have to be resolved by its reader.
	 */
	if (touch->vma->vm_mm != space->mm || userfaultfd_wp(touch->vma))
		return VM_FAULT_SIGBUS;
	do {
		vm_fault_t waited;

		again = false;
		mutex_lock(&space->lock);
		waited = zcipc_touch_waits(touch, space);
		if (waited) {
			zcipc_cow_spare_put(spare);
			return waited;
		}
		slot = zcipc_slot_find_locked(space, touch->pgoff);
		if (!slot)
			goto unlock;
		region = slot->extent->region;
		zcipc_test_point("fault");
		if (slot->extent->revoked || (touch->write && !slot->writable))
			goto unlock_region;
		index = slot->first + touch->pgoff - slot->pgoff;
		frame = region->frames[index];
		if (!frame)
			goto unlock_region;
		huge = zcipc_region_is_huge(region, index);
		if (touch->write && zcipc_cow_break(space, region, index, &spare,
						    touch->page == zcipc_frame_page(frame))) {
			again = true;
			spare_huge = zcipc_cow_breaks_huge(region, index);
			goto unlock_region;
		}
		if (touch->write && space->zapped == touch->pgoff + 1)
			space->zapped = 0;
		ret = zcipc_touch_frame(touch, slot, index,
					huge && (frame != region->frames[index] ||
						 !zcipc_region_is_huge(region, index)));
unlock_region:
		mutex_unlock(&region->lock);
unlock:
		mutex_unlock(&space->lock);
		if (again)
			zcipc_cow_spare(&spare, spare_huge);
	} while (again && spare);
	zcipc_cow_spare_put(spare);
	return ret;
}

static vm_fault_t zcipc_window_resolve(struct vm_fault *vmf, bool write)
{
	struct zcipc_touch touch = {
		.vma = vmf->vma, .pgoff = vmf->pgoff, .addr = vmf->address, .write = write,
		.fault = vmf,
		/* A page_mkwrite caller has a reference to the page that was mapped. */
		.page = vmf->page,
	};

	return zcipc_window_touch(&touch);
}

vm_fault_t zcipc_window_fault(struct vm_fault *vmf)
{
	return zcipc_window_resolve(vmf, vmf->flags & FAULT_FLAG_WRITE);
}

vm_fault_t zcipc_window_mkwrite(struct vm_fault *vmf)
{
	return zcipc_window_resolve(vmf, true);
}

/* Maps nothing. That it exists lets newer kernels take faults under the VMA's lock alone. */
vm_fault_t zcipc_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return 0;
}

/*
 * ptrace() and /proc/<pid>/mem of what get_user_pages() cannot take: imported memory. With no more
 * rights than the mapping has, and up to the end of a page.
 */
int zcipc_window_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
			int write)
{
	struct zcipc_touch touch = {
		.vma = vma, .pgoff = linear_page_index(vma, addr), .addr = addr, .write = write,
		.buf = buf, .len = min_t(int, len, PAGE_SIZE - offset_in_page(addr)),
	};

	if (!(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		return -EFAULT;
	return zcipc_window_touch(&touch) == VM_FAULT_NOPAGE ? touch.len : -EFAULT;
}

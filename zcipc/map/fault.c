// SPDX-License-Identifier: GPL-2.0
/*
 * Faults in what a space has mapped.
 */
#include "base/base.h"

#include <linux/userfaultfd_k.h>

#include "mem/frame.h"
#include "mem/region.h"
#include "map/cow.h"
#include "map/insert.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"

/* The most that a fault brings of memory that is read from its beginning to its end. */
#define ZCIPC_FAULT_AROUND_MAX	512U

/*
 * Somebody may be writing to all pages. Returns how many of the @left pages behind the one that is
 * written to have been made ready for that, too.
 */
static unsigned long zcipc_touch_ahead(struct zcipc_slot *slot, unsigned long index,
				       unsigned long left)
{
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
static vm_fault_t zcipc_touch_insert(const struct vm_fault *vmf, struct zcipc_slot *slot,
				     unsigned long index, bool broken)
{
	struct vm_area_struct *vma = vmf->vma;
	struct zcipc_region *region = slot->extent->region;
	unsigned long left = min(slot->pgoff + slot->npages - vmf->pgoff,
				 (vma->vm_end - vmf->address) >> PAGE_SHIFT);
	unsigned long before = 0, n = 1;
	int ret;

	if (!(vmf->flags & FAULT_FLAG_WRITE)) {
		slot->around = vmf->pgoff == slot->next ?
			       min(4 * slot->around, ZCIPC_FAULT_AROUND_MAX) : ZCIPC_FAULT_AROUND;
		n = min_t(unsigned long, left, slot->around);
		slot->next = vmf->pgoff + n;
	} else {
		if (vmf->pgoff == slot->written)
			n += zcipc_touch_ahead(slot, index + 1, left - 1);
		else
			slot->streak = 0;
		slot->written = vmf->pgoff + n;
	}
	if (broken && (zcipc_region_is_huge(region, index) ||
		       !zcipc_pt_has_table(vma->vm_mm, vmf->address))) {
		/* Nothing of the block is mapped any more. */
		before = min3(index % ZCIPC_HUGE_PAGES, vmf->pgoff - slot->pgoff,
			      (vmf->address - vma->vm_start) >> PAGE_SHIFT);
		n = before + min(left, ZCIPC_HUGE_PAGES - index % ZCIPC_HUGE_PAGES);
	}
	zcipc_count(slot->extent->space, region, FAULTS, 1);
	if (zcipc_region_is_huge(region, index) &&
	    zcipc_slot_insert_huge(slot, vma, vmf->pgoff) != -ENOENT)
		return VM_FAULT_NOPAGE;
	/* There may be a PMD behind the end of the block. */
	if (region->nhuge)
		n = min(n, ZCIPC_HUGE_PAGES - (index - before) % ZCIPC_HUGE_PAGES);
	ret = zcipc_vma_insert(vma, vmf->pgoff - before, region->frames + index - before, n,
			       slot->writable, zcipc_slot_is_special(slot));
	if (ret == -ENOMEM)
		return VM_FAULT_OOM;
	/* It may be a page behind it that cannot be mapped, or somebody else has mapped it. */
	if (ret == -ENOSPC && zcipc_frame_is_crowded(region->frames[index]) &&
	    !zcipc_pt_shows(vma->vm_mm, vmf->address))
		return VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

/*
 * Somebody has locked the region of what is touched, for who knows how long. If that is possible,
 * the task waits for him without the mmap_lock, which all other threads need: then core mm has to
 * begin the fault anew. Returns 0, or releases the space's lock and says what the fault returns.
 */
static vm_fault_t zcipc_touch_waits(struct vm_fault *vmf, struct zcipc_space *space)
{
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	struct file *file;

	/* A kernel thread might drop the last reference to the file while this code still runs. */
	if (current->flags & PF_KTHREAD)
		return 0;
	slot = zcipc_slot_find(space, vmf->pgoff);
	if (!slot || !mutex_is_locked(&slot->extent->region->lock))
		return 0;
	/*
	 * A fault of a page that is mapped has to keep the lock. It becomes one that need not, but
	 * not again and again because others read the page meanwhile.
	 */
	if (vmf->flags & FAULT_FLAG_MKWRITE) {
		if (space->zapped == vmf->pgoff + 1)
			return 0;
		space->zapped = vmf->pgoff + 1;
		mutex_unlock(&space->lock);
		zcipc_pt_zap(vmf->vma, vmf->address & PAGE_MASK, 1);
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

/* Under the locks of space and region. Returns 0 if another spare frame is needed. */
static vm_fault_t zcipc_touch_slot(const struct vm_fault *vmf, struct zcipc_slot *slot,
				   struct zcipc_frame **spare, void *buf, int len)
{
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	struct zcipc_space *space = slot->extent->space;
	struct zcipc_region *region = slot->extent->region;
	unsigned long index = slot->first + vmf->pgoff - slot->pgoff;
	struct zcipc_frame *frame;
	struct page *page;
	bool huge;

	zcipc_test_point("fault");
	if (slot->extent->revoked || (write && !slot->writable) || !region->frames[index])
		return VM_FAULT_SIGBUS;
	frame = region->frames[index];
	huge = zcipc_region_is_huge(region, index);
	/* A page_mkwrite caller has a reference to the page that was mapped. */
	if (write && zcipc_cow_break(space, region, index, spare,
				     vmf->page == zcipc_frame_page(frame)))
		return 0;
	if (write && space->zapped == vmf->pgoff + 1)
		space->zapped = 0;
	if (!buf)
		return zcipc_touch_insert(vmf, slot, index,
					  huge && (frame != region->frames[index] ||
						   !zcipc_region_is_huge(region, index)));
	page = zcipc_frame_page(region->frames[index]);
	if (write)
		memcpy_to_page(page, offset_in_page(vmf->address), buf, len);
	else
		memcpy_from_page(buf, page, offset_in_page(vmf->address), len);
	return VM_FAULT_NOPAGE;
}

/*
 * A fault: of a page that is not mapped, or a write to one mapped read-only. Inserts the PTE
 * itself, under the locks: core mm would do it when the page may have been moved away. With a
 * buffer it copies from or to the page instead.
 */
static vm_fault_t zcipc_window_touch(struct vm_fault *vmf, void *buf, int len)
{
	struct zcipc_space *space = vmf->vma->vm_private_data;
	struct zcipc_frame *spare = NULL;
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	bool huge = false;
	vm_fault_t ret;

	/*
	 * A child got the VMA by MADV_DOFORK: it is not ours to serve. Userfaultfd's write-protect
	 * markers take the place of PTEs, and would have to be resolved by its reader.
	 */
	if (vmf->vma->vm_mm != space->mm || userfaultfd_wp(vmf->vma))
		return VM_FAULT_SIGBUS;
	do {
		mutex_lock(&space->lock);
		ret = zcipc_touch_waits(vmf, space);
		if (ret)
			break;
		ret = VM_FAULT_SIGBUS;
		slot = zcipc_slot_find_locked(space, vmf->pgoff);
		if (slot) {
			region = slot->extent->region;
			ret = zcipc_touch_slot(vmf, slot, &spare, buf, len);
			huge = !ret && zcipc_cow_breaks_huge(region, slot->first + vmf->pgoff -
							     slot->pgoff);
			mutex_unlock(&region->lock);
		}
		mutex_unlock(&space->lock);
		if (!ret)
			zcipc_cow_spare(&spare, huge);
	} while (!ret && spare);
	zcipc_cow_spare_put(spare);
	return ret ?: VM_FAULT_SIGBUS;
}

/* Also page_mkwrite: core mm says by the flags that it is a write. */
vm_fault_t zcipc_window_fault(struct vm_fault *vmf)
{
	return zcipc_window_touch(vmf, NULL, 0);
}

/* Maps nothing. That it exists lets newer kernels take faults under the VMA's lock alone. */
vm_fault_t zcipc_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return 0;
}

/*
 * ptrace() and /proc/<pid>/mem of what get_user_pages() cannot take: imported memory. With no more
 * rights than the mapping has, and up to the end of a page. No flag lets it wait as a fault may.
 */
int zcipc_window_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
			int write)
{
	struct vm_fault vmf = {
		.vma = vma, .pgoff = linear_page_index(vma, addr), .address = addr,
		.flags = write ? FAULT_FLAG_WRITE : 0,
	};

	if (!(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		return -EFAULT;
	len = min_t(int, len, PAGE_SIZE - offset_in_page(addr));
	return zcipc_window_touch(&vmf, buf, len) == VM_FAULT_NOPAGE ? len : -EFAULT;
}

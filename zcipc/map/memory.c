// SPDX-License-Identifier: GPL-2.0
/*
 * The current task's own memory: can it be taken away, and how that is done, and undone.
 */
#include "base/base.h"

#include <linux/pkeys.h>
#include <linux/userfaultfd_k.h>

#include "mem/frame.h"
#include "mem/region.h"
#include "map/memory.h"
#include "map/pt.h"

/* zcipc_import_check(), of a VMA. */
static int zcipc_import_check_vma(struct vm_area_struct *vma, bool *secret)
{
	/* Tags of memory (arm64) would be lost on the way. */
	if (!vma_is_anonymous(vma) || userfaultfd_armed(vma) ||
	    vma->vm_flags & (VM_SHARED | VM_SPECIAL | VM_HUGETLB | VM_MTE))
		return -EOPNOTSUPP;
	if ((vma->vm_flags & (VM_READ | VM_WRITE)) != (VM_READ | VM_WRITE))
		return -EACCES;
	/* The stack has to grow, and code to run; the new mapping has no protection key. */
	if (!secret)
		return 0;
	if (vma->vm_flags & (VM_GROWSDOWN | VM_EXEC) || vma_pkey(vma))
		return -EOPNOTSUPP;
	if (vma->vm_flags & VM_DONTDUMP)
		*secret = true;
	return 0;
}

/* zcipc_import_check(), for a caller who holds the mmap_lock. @lock: to lock the VMAs, too. */
static int zcipc_import_check_locked(unsigned long addr, unsigned long npages, bool *secret,
				     bool lock)
{
	unsigned long end = addr + (npages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	int ret;

	mmap_assert_locked(current->mm);
	for (; addr < end; addr = vma->vm_end) {
		vma = vma_lookup(current->mm, addr);
		ret = vma ? zcipc_import_check_vma(vma, secret) : -EFAULT;
		if (ret)
			return ret;
		if (lock)
			zcipc_pt_write_lock(vma);
	}
	return 0;
}

/*
 * Is memory of the current task all there, and can it be taken away? Or, with @secret, be adopted:
 * then that is set if any of it is not to be in core dumps. May sleep; no lock is held. Returns 0,
 * or -EFAULT, -EACCES, -EOPNOTSUPP, -EINTR.
 */
int zcipc_import_check(unsigned long addr, unsigned long npages, bool *secret)
{
	int ret = mmap_read_lock_killable(current->mm);

	if (ret)
		return ret;
	ret = zcipc_import_check_locked(addr, npages, secret, false);
	mmap_read_unlock(current->mm);
	return ret;
}

/*
 * Locks memory that is to be taken away. The caller holds the current task's mmap_lock for writing,
 * and none of the module's locks. Returns 0, or an errno of zcipc_import_check().
 */
int zcipc_import_lock(unsigned long addr, unsigned long npages)
{
	return zcipc_import_check_locked(addr, npages, NULL, true);
}

/*
 * Takes imported memory away, after zcipc_import_lock(), under the same mmap_lock. Whoever looks
 * there next finds new memory, which is zero. TLBs are flushed when this returns.
 */
void zcipc_import_zap(unsigned long addr, unsigned long npages)
{
	unsigned long end = addr + (npages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	bool was_locked = false;
	unsigned long next;

	for (; addr < end; addr = next) {
		vma = vma_lookup(current->mm, addr);
		next = min(end, vma->vm_end);
		was_locked |= vma->vm_flags & VM_LOCKED;
		zcipc_pt_zap_anonymous(vma, addr, (next - addr) >> PAGE_SHIFT);
		zcipc_stat_inc(SHOOTDOWNS);
	}
	/* Core mm keeps a reference to what was mlocked, until it notes that this is no more. */
	if (was_locked)
		zcipc_lru_drain();
}

/* Puts back the contents of what has been taken away. Returns how many bytes are lost. */
unsigned long zcipc_import_restore(struct zcipc_region *region, unsigned long first,
				   unsigned long npages, unsigned long addr)
{
	unsigned long i, at, ret, lost = 0;

	for (i = 0; i < npages; i++) {
		struct page *page = zcipc_frame_page(region->frames[first + i]);

		/* It is pinned, so nobody but the caller ever maps it. */
		if (zcipc_page_mapcount(page))
			continue;
		at = addr + (i << PAGE_SHIFT);
		ret = vm_mmap(NULL, at, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, 0);
		/* It may still be there, and just be empty. */
		if (!IS_ERR_VALUE(ret) || ret == -EEXIST)
			lost += copy_to_user((void __user *)at, page_address(page), PAGE_SIZE);
		else
			lost += PAGE_SIZE;
		cond_resched();
	}
	return lost;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables of what a space shows: the only file that walks to an entry. VMAs of windows, of
 * executable memory and of adopted memory are VM_MIXEDMAP or VM_PFNMAP, and the module alone fills
 * their tables. (Views are VMAs of files: core mm fills those.)
 *
 * There are three kinds of entries. An ordinary PTE has a page reference, and counts as a mapping
 * and as a resident page: core mm does that when it inserts one (vm_insert_pages()), and takes it
 * back when one goes. A special PTE has nothing: as far as core mm goes there is no page. What is
 * imported has such, and so has all that nobody is to hold, and all in a VMA that is VM_PFNMAP. A
 * PMD has nothing either. The regions' own reference keeps what these two show.
 *
 * An entry shows what the slot's region has at that place, or is none. It is writable only if slot
 * and frame are, and clean if it is not: see cow.c. Entries are made under the locks of the space
 * and of the region, and the mmap_lock or the VMA's lock. Core mm makes none but for core dumps
 * (adopted.c), and takes some away at any time. So none is never wrong: a fault brings back what is
 * to be there. unmap.c hides some for a moment.
 *
 * The tables above a page table stay while the caller holds the mmap_lock or the VMA's lock. The
 * page table itself need not: newer kernels take one away that MADV_DONTNEED finds empty, under the
 * VMA's lock for reading. They clear the PMD with the table's lock, and free the table by RCU. So
 * an entry is looked for, locked, and looked for again, as core mm's pte_offset_map_lock() does,
 * which modules cannot call; and no pointer into a table outlives its lock.
 *
 * Where nothing may fail any more, since PTEs have been taken that must go somewhere, a table is
 * made again and again until it stays long enough. With PF_MEMALLOC that can use the reserves, and
 * no memory cgroup refuses it.
 *
 * An entry is looked at by ptep_get() and changed by ptep_get_and_clear() and set_pte_at(), never
 * by its address alone. arm64 folds 16 entries, or more, of one folio into one (contpte), and takes
 * that apart before one of them changes. Meanwhile all are none, with the table locked: who touches
 * them has a fault, which finds that there is nothing to do.
 *
 * get_user_pages() without locks takes a reference to an ordinary PTE's page, looks at the PTE
 * again, and gives the reference back if that is another one. So whoever has cleared a PTE and then
 * counts references sees each that lasts, and perhaps one that is about to go. With locks it takes
 * its reference with the table's lock. By a special PTE it gets nothing in either way.
 *
 * rmap and reclaim find none of the module's pages: they are in no LRU list and have no mapping.
 * Special PTEs are no mappings of imported ones, and the pins keep core mm from moving them.
 *
 * fork(). These VMAs are VM_DONTCOPY. If madvise() has ended that: see zcipc_pt_is_inherited().
 */
#include "base/base.h"
#include "map/pt.h"

#ifdef CONFIG_ARM64_MTE
/*
 * set_pte_at() calls it where memory has tags, and no kernel exports it. None of the module's VMAs
 * has any: they are no VM_MTE.
 */
#ifdef ZCIPC_HAS_MTE_SYNC_NR
void mte_sync_tags(pte_t pte, unsigned int nr)
#else
void mte_sync_tags(pte_t old, pte_t pte)
#endif
{
	WARN_ON_ONCE(1);
}
#endif

/**
 * zcipc_pt_apply_existing() - do something to the PTEs of a range that are not none
 * @mm: whose; the caller holds its mmap_lock, or the VMA's lock
 * @addr: where the range begins, in a VMA of the module's that it does not leave
 * @npages: its length; what a PMD shows is passed over
 * @fn: with the table's lock held; what it returns but 0 ends it
 * @data: for @fn
 *
 * Context: May sleep.
 * Return: 0, or what @fn has returned
 */
int zcipc_pt_apply_existing(struct mm_struct *mm, unsigned long addr, unsigned long npages,
			    pte_fn_t fn, void *data)
{
	unsigned long i, n;
	spinlock_t *ptl; /* of @ptep's table */
	pte_t *ptep;
	int ret = 0;

	for (; npages && !ret; npages -= n, addr += n << PAGE_SHIFT) {
		n = zcipc_pt_rest(addr, npages);
		ptep = zcipc_pt_lock(mm, addr, &ptl);
		if (ptep) {
			for (i = 0; i < n && !ret; i++)
				if (!pte_none(ptep_get(ptep + i)))
					ret = fn(ptep + i, addr + (i << PAGE_SHIFT), data);
			zcipc_pt_unlock(ptl);
		}
		if (npages > n)
			cond_resched();
	}
	return ret;
}

/*
 * As zcipc_pt_apply_existing(), of all PTEs of a range, for which tables are made. No PMD shows any
 * of it. Without a function it makes the tables. Returns also -ENOMEM, be it that somebody takes a
 * table away that has just been made.
 */
int zcipc_pt_apply(struct mm_struct *mm, unsigned long addr, unsigned long npages, pte_fn_t fn,
		   void *data)
{
	unsigned long n;
	int ret = 0;

	for (; npages && !ret; npages -= n, addr += n << PAGE_SHIFT) {
		n = zcipc_pt_rest(addr, npages);
		ret = apply_to_page_range(mm, addr, n << PAGE_SHIFT, fn, data);
		if (npages > n)
			cond_resched();
	}
	return ret;
}

/* zcipc_pt_apply() of what is in one page table, which must not fail. @fn never does. */
void zcipc_pt_apply_must(struct mm_struct *mm, unsigned long addr, unsigned long npages,
			 pte_fn_t fn, void *data)
{
	unsigned int flags = memalloc_noreclaim_save();

	while (apply_to_page_range(mm, addr, npages << PAGE_SHIFT, fn, data))
		cond_resched();
	memalloc_noreclaim_restore(flags);
}

static int zcipc_pt_look(pte_t *ptep, unsigned long addr, void *data)
{
	return pte_present(ptep_get(ptep));
}

/* Is there a PTE of a page? The caller holds the mmap_lock or the VMA's lock. */
bool zcipc_pt_shows(struct mm_struct *mm, unsigned long addr)
{
	return zcipc_pt_apply_existing(mm, addr, 1, zcipc_pt_look, NULL);
}

/*
 * As zcipc_pt_pmd(), where there was none. Core mm makes the tables above it along with the page
 * table of a page nearby, for which there is no use, where it is not in the way of another PMD.
 * NULL: the fault that does it makes those above alone.
 */
static pmd_t *zcipc_pt_make_pmd(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long nearby = max(vma->vm_start, addr & PUD_MASK);

	if (nearby >> PMD_SHIFT == addr >> PMD_SHIFT)
		nearby = vma->vm_end & PMD_MASK;
	if (nearby >= vma->vm_end || nearby >> PUD_SHIFT != addr >> PUD_SHIFT ||
	    zcipc_pt_apply(vma->vm_mm, nearby, 1, NULL, NULL))
		return NULL;
	return zcipc_pt_pmd(vma->vm_mm, addr);
}

/**
 * zcipc_pt_insert_pmd() - insert a PMD, or make one writable
 * @vma: where; the caller holds the mmap_lock, or its lock
 * @addr: user address, a multiple of PMD_SIZE; all that the PMD shows is in the VMA
 * @page: the first page of those that it is to show
 * @writable: it is to be writable
 * @unpinnable: nobody is to hold the pages
 *
 * Core mm counts neither a mapping nor a reference for it. It is special where there is such a
 * thing: get_user_pages() finds it nevertheless, but not without locks.
 *
 * Context: May sleep.
 * Return: 0, -EAGAIN if a fault has to do it, -ENOENT if there is a page table
 */
int zcipc_pt_insert_pmd(struct vm_area_struct *vma, unsigned long addr, struct page *page,
			bool writable, bool unpinnable)
{
	pmd_t new = pmd_mkhuge(pfn_pmd(page_to_pfn(page), vma->vm_page_prot)), old;
	pmd_t *pmd = zcipc_pt_pmd(vma->vm_mm, addr) ?: zcipc_pt_make_pmd(vma, addr);
	spinlock_t *ptl; /* of @pmd's table */
	int ret = 0;

	if (!pmd)
		return -EAGAIN;
	new = zcipc_pmd_mkuncounted(new);
	if (unpinnable)
		new = zcipc_pmd_mkunpinnable(new);
	if (writable)
		new = pmd_mkdirty(zcipc_pmd_mkwrite(pmd_mkyoung(new)));
	if (vma->vm_flags & VM_MAYEXEC)
		zcipc_sync_code(page, vma->vm_page_prot);
again:
	ptl = pmd_lock(vma->vm_mm, pmd);
	old = *pmd;
	if (ZCIPC_TLB_STAYS_READ_ONLY && pmd_leaf(old) && pmd_write(new) && !pmd_write(old)) {
		spin_unlock(ptl);
		zcipc_pt_zap(vma, addr, PMD_SIZE >> PAGE_SHIFT);
		goto again;
	}
	if (pmd_none(old) || (pmd_leaf(old) && pmd_write(new) && !pmd_write(old)))
		set_pmd_at(vma->vm_mm, addr, pmd, new);
	else if (!pmd_leaf(old))
		ret = -ENOENT;
	spin_unlock(ptl);
	return ret;
}

/*
 * Takes pages of one of the module's VMAs out of page tables, wherever the same file offsets are
 * mapped, and flushes TLBs. The caller holds the mmap_lock, or the VMA's lock. May sleep.
 */
void zcipc_pt_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long npages)
{
	unmap_mapping_pages(vma->vm_file->f_mapping, linear_page_index(vma, addr), npages, false);
}

/*
 * Is a VMA of the module's, that is opened, a copy that a child gets of one of @mm? Then it shows
 * nothing, for good. None is copied on fork() but by MADV_DOFORK, which newer kernels refuse. The
 * caller holds the mmap_lock of the VMA's mm for writing. May sleep.
 */
bool zcipc_pt_is_inherited(struct vm_area_struct *vma, const struct mm_struct *mm)
{
	if (likely(vma->vm_mm == mm))
		return false;
	/* So core mm does not go on to copy the PTEs. */
	zcipc_vm_flags_mod(vma, VM_WIPEONFORK, 0);
	/* Before 6.8.8 it has done so by now. The parent's own come back with faults. */
	if (vma->vm_flags & (VM_MIXEDMAP | VM_PFNMAP))
		zcipc_pt_zap(vma, vma->vm_start, vma_pages(vma));
	return true;
}

/*
 * Locks a VMA that is not the module's as for a change, under the mmap_lock for writing, with which
 * it is released. Page faults hold a VMA's lock for reading while they wait for what others than
 * core mm have. So this comes before all locks of the module's. May sleep.
 */
void zcipc_pt_write_lock(struct vm_area_struct *vma)
{
	mmap_assert_write_locked(vma->vm_mm);
	/* Where there are such locks that takes it. */
	zcipc_vm_flags_mod(vma, 0, 0);
}

/*
 * Takes pages of private anonymous memory away as MADV_DONTNEED does, after zcipc_pt_write_lock().
 * Of the functions that do so core mm exports one, and that for VMAs of drivers only. So this VMA
 * says that it is one, for as long as nobody can look: page faults and all who walk through VMAs
 * wait for the lock. What becomes of a page depends on its PTE, which says that it is an ordinary
 * one. May sleep.
 */
void zcipc_pt_zap_anonymous(struct vm_area_struct *vma, unsigned long addr, unsigned long npages)
{
	mmap_assert_write_locked(vma->vm_mm);
	zcipc_vm_flags_mod(vma, VM_PFNMAP, 0);
	zcipc_zap_special(vma, addr, npages << PAGE_SHIFT);
	zcipc_vm_flags_mod(vma, 0, VM_PFNMAP);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Page tables: the only place that knows how to get at an entry. See pt.c.
 */
#ifndef ZCIPC_PT_H
#define ZCIPC_PT_H

#include "base/base.h"

/* The entry for a PMD, or NULL where the tables above it are not there. */
static inline pmd_t *zcipc_pt_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	/* What a PUD shows is not ours. */
	if (pud_none(*pud))
		return NULL;
	return pmd_offset(pud, addr);
}

/* Does a PMD show an address? The caller holds the mmap_lock or the VMA's lock. */
static inline bool zcipc_pt_has_pmd(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = zcipc_pt_pmd(mm, addr);

	return pmd && pmd_leaf(READ_ONCE(*pmd));
}

/* Is there a page table? Then there is no PMD; the table can go at any time. */
static inline bool zcipc_pt_has_table(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = zcipc_pt_pmd(mm, addr);
	pmd_t val = pmd ? READ_ONCE(*pmd) : __pmd(0);

	return !pmd_none(val) && !pmd_leaf(val) && !pmd_bad(val);
}

/* A PTE as core mm has it after the page was written to. */
static inline pte_t zcipc_pt_mkwrite(pte_t pte)
{
	return pte_mkdirty(zcipc_pte_mkwrite(pte_mkyoung(pte)));
}

/*
 * A PTE of a page, with a VMA's protection, which has none writable. A special one is such that
 * nobody can hold the page, and core mm does not count it.
 */
static __always_inline pte_t zcipc_pt_pte(struct page *page, pgprot_t prot, bool writable,
					  bool special)
{
	pte_t pte = pfn_pte(page_to_pfn(page), prot);

	if (special)
		pte = pte_mkspecial(pte);
	return writable ? zcipc_pt_mkwrite(pte) : pte;
}

/* Where a VMA has a file offset, in pages. */
static inline unsigned long zcipc_pt_addr(const struct vm_area_struct *vma, unsigned long pgoff)
{
	return vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
}

/* How many of @npages pages from an address on are in the same page table. */
static inline unsigned long zcipc_pt_rest(unsigned long addr, unsigned long npages)
{
	return min(npages, PTRS_PER_PTE - pte_index(addr));
}

/*
 * Locks the page table that an address of a VMA is in, under the mmap_lock or the VMA's lock.
 * Returns the entry, which is there until zcipc_pt_unlock(), with those beside it in the same
 * table; or NULL if there is no table.
 */
static __always_inline pte_t *zcipc_pt_lock(struct mm_struct *mm, unsigned long addr,
					    spinlock_t **ptlp)
{
	pmd_t *pmd = zcipc_pt_pmd(mm, addr), val;
	spinlock_t *ptl; /* of the table */

	if (!pmd)
		return NULL;
	/* It keeps the memory of a table that goes away meanwhile. */
	rcu_read_lock();
	for (;;) {
		val = READ_ONCE(*pmd);
		if (pmd_none(val) || pmd_leaf(val) || pmd_bad(val))
			break;
		ptl = pte_lockptr(mm, &val);
		spin_lock(ptl);
		if (likely(pmd_same(val, READ_ONCE(*pmd)))) {
			/* For sparse, which cannot follow this: as if nothing was locked. */
			__release(ptl);
			__release(RCU);
			*ptlp = ptl;
			return pte_offset_kernel(&val, addr);
		}
		spin_unlock(ptl);
	}
	rcu_read_unlock();
	return NULL;
}

static __always_inline void zcipc_pt_unlock(spinlock_t *ptl)
{
	__acquire(RCU);
	__acquire(ptl);
	spin_unlock(ptl);
	rcu_read_unlock();
}

void zcipc_pt_apply_must(struct mm_struct *mm, unsigned long addr, unsigned long npages,
			 pte_fn_t fn, void *data);

/* zcipc_pt_lock(), with a new page table if there is none, nor a PMD. May sleep. */
static __always_inline pte_t *zcipc_pt_lock_must(struct mm_struct *mm, unsigned long addr,
						 spinlock_t **ptlp)
{
	pte_t *ptep;

	while (unlikely(!(ptep = zcipc_pt_lock(mm, addr, ptlp))))
		zcipc_pt_apply_must(mm, addr, 1, NULL, NULL);
	return ptep;
}

int zcipc_pt_apply_existing(struct mm_struct *mm, unsigned long addr, unsigned long npages,
			    pte_fn_t fn, void *data);
int zcipc_pt_apply(struct mm_struct *mm, unsigned long addr, unsigned long npages, pte_fn_t fn,
		   void *data);
bool zcipc_pt_shows(struct mm_struct *mm, unsigned long addr);
int zcipc_pt_insert_pmd(struct vm_area_struct *vma, unsigned long addr, struct page *page,
			bool writable, bool unpinnable);
void zcipc_pt_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long npages);
bool zcipc_pt_is_inherited(struct vm_area_struct *vma, const struct mm_struct *mm);
void zcipc_pt_write_lock(struct vm_area_struct *vma);
void zcipc_pt_zap_anonymous(struct vm_area_struct *vma, unsigned long addr, unsigned long npages);

#endif /* ZCIPC_PT_H */

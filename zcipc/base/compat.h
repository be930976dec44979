/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between kernels. What a kernel has conftest.sh finds out: ZCIPC_HAS_*.
 */
#ifndef ZCIPC_COMPAT_H
#define ZCIPC_COMPAT_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "base/config.h"

#ifdef ZCIPC_HAS_FOLIO_BATCH_H
#include <linux/folio_batch.h>
#else
#include <linux/pagevec.h>
#endif

#ifndef ZCIPC_HAS_VM_FLAGS_MOD
static inline void zcipc_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				      unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#else
#define zcipc_vm_flags_mod(vma, set, clear)	vm_flags_mod(vma, set, clear)
#endif

#ifndef ZCIPC_HAS_MKWRITE_NOVMA
#define zcipc_pte_mkwrite(pte)			pte_mkwrite(pte)
#define zcipc_pmd_mkwrite(pmd)			pmd_mkwrite(pmd)
#else
/* Of a VMA that is not a shadow stack. */
#define zcipc_pte_mkwrite(pte)			pte_mkwrite_novma(pte)
#define zcipc_pmd_mkwrite(pmd)			pmd_mkwrite_novma(pmd)
#endif

#ifdef ZCIPC_HAS_DOUBLE_MAP
/* PTEs and PMDs that map a huge anonymous page, or parts of it. */
static inline int zcipc_folio_mapcount(struct folio *folio)
{
	struct page *page = &folio->page;
	long i, nr = folio_nr_pages(folio);
	int count = compound_mapcount(page);

	for (i = 0; i < nr; i++)
		count += atomic_read(&page[i]._mapcount) + 1;
	return PageDoubleMap(page) ? count - nr : count;
}

/* Those that map one of its pages. */
#define zcipc_page_mapcount(page)		page_mapcount(page)
#else
#define zcipc_folio_mapcount(folio)		folio_mapcount(folio)

static inline int zcipc_page_mapcount(struct page *page)
{
	struct folio *folio = page_folio(page);
	int count = atomic_read(&page->_mapcount) + 1;

	return folio_test_large(folio) ? count + folio_entire_mapcount(folio) : count;
}
#endif

/*
 * A PMD that core mm does not count. Newer kernels take a mapping and a reference away for each
 * that is not special, and no kernel does for one that is. Kernels that have none do so for none.
 * Some have special PMDs, but not on this architecture: nothing is left uncounted there.
 */
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
#define zcipc_pmd_mkuncounted(pmd)		pmd_mkspecial(pmd)
#else
#define zcipc_pmd_mkuncounted(pmd)		(pmd)
#endif
#define ZCIPC_UNCOUNTED_PMDS \
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && \
	 (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) || !IS_ENABLED(ZCIPC_HAS_PMD_MKSPECIAL)))

/*
 * A PMD that get_user_pages() takes no more than special PTEs. Of one of a device's memory it asks
 * for the driver, and there is none. Newer kernels have no such PMDs. They take no special one
 * without locks; with locks they do, but for VMAs that are VM_PFNMAP, which they look at first.
 */
#if defined(CONFIG_TRANSPARENT_HUGEPAGE) && defined(CONFIG_ARCH_HAS_PTE_DEVMAP)
#define zcipc_pmd_mkunpinnable(pmd)		pmd_mkdevmap(pmd)
#else
#define zcipc_pmd_mkunpinnable(pmd)		(pmd)
#endif

/* Is there such a PMD, in VMAs that are VM_PFNMAP? */
#define ZCIPC_UNPINNABLE_PMDS \
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && \
	 (IS_ENABLED(CONFIG_ARCH_HAS_PTE_DEVMAP) || IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP)))

/*
 * And in others? Where page tables are not mapped before they are looked at, MADV_COLD takes one of
 * a device for a broken one. It leaves VM_PFNMAP alone.
 */
#define ZCIPC_UNPINNABLE_PMDS_MIXED \
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && \
	 IS_ENABLED(CONFIG_ARCH_HAS_PTE_DEVMAP) && IS_ENABLED(ZCIPC_HAS_PTE_OFFSET_MAP))

/*
 * Can a CPU keep a read-only TLB entry of a PTE that has become writable, and fault again and again
 * for it? x86 looks at the PTE once more before it faults; elsewhere core mm flushes in the fault,
 * or, on arm64, whenever it makes a PTE writable. Modules cannot flush: so there nothing that is
 * read-only becomes writable without going away first.
 */
#define ZCIPC_TLB_STAYS_READ_ONLY		IS_ENABLED(CONFIG_ARM64)

/*
 * Lets instruction fetches see what a page has, before it is mapped where it may be executed. Core
 * mm does so as it sets a PTE, but arm64 not if that is special. Without flush_dcache_page() since
 * the last time it does nothing.
 */
static inline void zcipc_sync_code(struct page *page, pgprot_t prot)
{
#ifdef CONFIG_ARM64
	__sync_icache_dcache(pfn_pte(page_to_pfn(page), prot));
#endif
}

/*
 * Would a VMA be found now that was found before, and has not been closed since? One that is being
 * unmapped is closed last, under the mmap_lock for reading. False where core mm does not tell.
 */
static inline bool zcipc_vma_is_attached(const struct vm_area_struct *vma)
{
#if defined(CONFIG_PER_VMA_LOCK) && defined(ZCIPC_HAS_VMA_DETACHED)
	return !vma->detached;
#elif defined(CONFIG_PER_VMA_LOCK) && defined(ZCIPC_HAS_VMA_REFCNT)
	return refcount_read(&vma->vm_refcnt);
#else
	return false;
#endif
}

/*
 * Pages that were touched not long ago may have a reference of this CPU's list of pages to be added
 * to the LRU, or of that of pages that have been mlocked, or are so no more. These go with this.
 */
static inline void zcipc_lru_drain(void)
{
#ifdef ZCIPC_HAS_PAGEVEC
	struct pagevec none;

	pagevec_init(&none);
	__pagevec_release(&none);
#else
	struct folio_batch none;

	folio_batch_init(&none);
	__folio_batch_release(&none);
#endif
}

/*
 * An address of the current task's memory without the bits that the CPU ignores (arm64's tags, or
 * x86's LAM), as calls of core mm take it. Whatever that needs is exported where it needs anything.
 */
static inline unsigned long zcipc_untagged(u64 addr)
{
	return untagged_addr((unsigned long)addr);
}

/* Where core mm would map something for the current task: where PMDs can be, if there are any. */
static inline unsigned long zcipc_unmapped_area(struct file *file, unsigned long addr,
						unsigned long len, unsigned long pgoff,
						unsigned long flags)
{
#if defined(CONFIG_TRANSPARENT_HUGEPAGE)
	return thp_get_unmapped_area(file, addr, len, pgoff, flags);
#elif defined(ZCIPC_HAS_UNMAPPED_AREA)
	return mm_get_unmapped_area(file, addr, len, pgoff, flags);
#elif defined(ZCIPC_HAS_UNMAPPED_AREA_OF)
	return mm_get_unmapped_area(current->mm, file, addr, len, pgoff, flags);
#else
	return current->mm->get_unmapped_area(file, addr, len, pgoff, flags);
#endif
}

/* An address space has more, or fewer, pages of files mapped than core mm has counted. */
static inline void zcipc_mm_add_file_pages(struct mm_struct *mm, long n)
{
#ifdef ZCIPC_HAS_PERCPU_RSS
	percpu_counter_add(&mm->rss_stat[MM_FILEPAGES], n);
#else
	atomic_long_add(n, &mm->rss_stat.count[MM_FILEPAGES]);
#endif
}

typedef unsigned long (*zcipc_shrink_fn)(struct shrinker *shrinker, struct shrink_control *sc);

static inline struct shrinker *zcipc_shrinker_register(zcipc_shrink_fn count, zcipc_shrink_fn scan)
{
#ifdef ZCIPC_HAS_SHRINKER_ALLOC
	struct shrinker *shrinker = shrinker_alloc(0, "zcipc");
#else
	struct shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);
#endif

	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
#ifdef ZCIPC_HAS_SHRINKER_ALLOC
	shrinker_register(shrinker);
#else
	shrinker->seeks = DEFAULT_SEEKS;
	if (register_shrinker(shrinker, "zcipc")) {
		kfree(shrinker);
		return NULL;
	}
#endif
	return shrinker;
}

static inline void zcipc_shrinker_free(struct shrinker *shrinker)
{
#ifdef ZCIPC_HAS_SHRINKER_ALLOC
	shrinker_free(shrinker);
#else
	unregister_shrinker(shrinker);
	kfree(shrinker);
#endif
}

/* Releases what a fault holds that can be begun anew: the mmap_lock, or, later, the VMA's. */
#ifndef ZCIPC_HAS_RELEASE_FAULT_LOCK
static inline void zcipc_fault_unlock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#else
#define zcipc_fault_unlock(vmf)			release_fault_lock(vmf)
#endif

/* Takes a range out of a VMA that is VM_PFNMAP. */
static inline void zcipc_zap_special(struct vm_area_struct *vma, unsigned long addr,
				     unsigned long len)
{
#ifdef ZCIPC_HAS_ZAP_SPECIAL
	zap_special_vma_range(vma, addr, len);
#else
	zap_vma_ptes(vma, addr, len);
#endif
}

/* A file's path, to be set while nobody else has the file. */
#ifdef ZCIPC_HAS_FILE_CONST_PATH
#define zcipc_file_path(file)			(&(file)->__f_path)
#else
#define zcipc_file_path(file)			(&(file)->f_path)
#endif

#ifdef ZCIPC_HAS_VFS_MMAP
#define zcipc_file_do_mmap(file, vma)		vfs_mmap(file, vma)
#else
#define zcipc_file_do_mmap(file, vma)		call_mmap(file, vma)
#endif

/* Is a bit set in the flags of an address space? */
#ifdef ZCIPC_HAS_MM_FLAGS_TEST
#define zcipc_mm_flag(mm, bit)			mm_flags_test(bit, mm)
#else
#define zcipc_mm_flag(mm, bit)			test_bit(bit, &(mm)->flags)
#endif

#endif /* ZCIPC_COMPAT_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between the supported kernels. No other file looks at the kernel's version.
 */
#ifndef ZCIPC_COMPAT_H
#define ZCIPC_COMPAT_H

#include <linux/mm.h>
#include <linux/pagevec.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "zcipc needs Linux 6.1 or later"
#endif
/* carry.c walks to page tables that only go with their VMA. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0) && defined(CONFIG_PT_RECLAIM)
#error "zcipc is not made for kernels where MADV_DONTNEED frees page tables"
#endif
#ifndef CONFIG_MMU_NOTIFIER
#error "zcipc needs CONFIG_MMU_NOTIFIER, which KVM selects, to be told when an address space ends"
#endif
#ifndef CONFIG_64BIT
#error "zcipc needs a 64-bit kernel: endpoint ids are indices of an xarray"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void zcipc_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				      unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#else
#define zcipc_vm_flags_mod(vma, set, clear)	vm_flags_mod(vma, set, clear)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define zcipc_pte_mkwrite(pte)			pte_mkwrite(pte)
#define zcipc_pmd_mkwrite(pmd)			pmd_mkwrite(pmd)
#define zcipc_ptep_get(ptep)			(*(ptep))
#else
/* Of a VMA that is not a shadow stack. */
#define zcipc_pte_mkwrite(pte)			pte_mkwrite_novma(pte)
#define zcipc_pmd_mkwrite(pmd)			pmd_mkwrite_novma(pmd)
#define zcipc_ptep_get(ptep)			ptep_get(ptep)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
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
 * A PMD that get_user_pages() takes no more than special PTEs: it asks for the driver whose memory
 * it is, and there is none. Before 6.5 MADV_COLD takes such a PMD for a broken one.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0) && defined(CONFIG_ARCH_HAS_PTE_DEVMAP) && \
	defined(CONFIG_TRANSPARENT_HUGEPAGE)
#define ZCIPC_UNPINNABLE_PMDS			true
#define zcipc_pmd_mkunpinnable(pmd)		pmd_mkdevmap(pmd)
#else
#define ZCIPC_UNPINNABLE_PMDS			false
#define zcipc_pmd_mkunpinnable(pmd)		(pmd)
#endif

/*
 * Would a VMA be found now that was found before, and has not been closed since? One that is being
 * unmapped is closed last, under the mmap_lock for reading. False where core mm does not tell.
 */
static inline bool zcipc_vma_is_attached(const struct vm_area_struct *vma)
{
#if defined(CONFIG_PER_VMA_LOCK) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	return !vma->detached;
#else
	return false;
#endif
}

/*
 * Pages that were touched not long ago may have a reference of this CPU's list of pages to be added
 * to the LRU. That goes with this.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
static inline void zcipc_lru_drain(void)
{
	struct pagevec none;

	pagevec_init(&none);
	__pagevec_release(&none);
}
#else
static inline void zcipc_lru_drain(void)
{
	struct folio_batch none;

	folio_batch_init(&none);
	__folio_batch_release(&none);
}
#endif

/* An address space has more, or fewer, pages of files mapped than core mm has counted. */
static inline void zcipc_mm_add_file_pages(struct mm_struct *mm, long n)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	atomic_long_add(n, &mm->rss_stat.count[MM_FILEPAGES]);
#else
	percpu_counter_add(&mm->rss_stat[MM_FILEPAGES], n);
#endif
}

typedef unsigned long (*zcipc_shrink_fn)(struct shrinker *shrinker, struct shrink_control *sc);

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline struct shrinker *zcipc_shrinker_register(zcipc_shrink_fn count, zcipc_shrink_fn scan)
{
	struct shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);

	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker->seeks = DEFAULT_SEEKS;
	if (!register_shrinker(shrinker, "zcipc"))
		return shrinker;
	kfree(shrinker);
	return NULL;
}

static inline void zcipc_shrinker_free(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(shrinker);
}
#else
static inline struct shrinker *zcipc_shrinker_register(zcipc_shrink_fn count, zcipc_shrink_fn scan)
{
	struct shrinker *shrinker = shrinker_alloc(0, "zcipc");

	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker_register(shrinker);
	return shrinker;
}

#define zcipc_shrinker_free(shrinker)		shrinker_free(shrinker)
#endif

/* Releases what a fault holds that can be begun anew: the mmap_lock, or, later, the VMA's. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
static inline void zcipc_fault_unlock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#else
#define zcipc_fault_unlock(vmf)			release_fault_lock(vmf)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
/* Takes a range out of a VMA that it is in. */
static inline void zcipc_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long len)
{
	zap_page_range(vma, addr, len);
}
#else
static inline void zcipc_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long len)
{
	zap_page_range_single(vma, addr, len, NULL);
}
#endif

#endif /* ZCIPC_COMPAT_H */

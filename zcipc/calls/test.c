// SPDX-License-Identifier: GPL-2.0
/*
 * What tests look at, by parameters of a module built with ZCIPC_TEST=1.
 *
 * Other users of page tables: who writes an address and a number of pages to test_watch reads from
 * it how many of them core mm has not told MMU notifiers to forget since; 0 ends that.
 *
 * PMDs: who writes a range to test_pmds reads from it by how many it was mapped.
 *
 * Cache attributes: who writes a user address to test_pte reads from it what its own page table
 * says there, and what the kernel's says of the same page.
 */
#include "base/base.h"

#include <linux/mmu_notifier.h>
#include <asm/pgtable.h>

#include "map/pt.h"

#define TEST_WATCH_PAGES	1024UL

static struct mm_struct *test_watch_mm;
static unsigned long test_watch_addr;
static unsigned long test_watch_npages;
static DECLARE_BITMAP(test_watch_left, TEST_WATCH_PAGES);

static int test_watch_invalidate(struct mmu_notifier *notifier,
				 const struct mmu_notifier_range *range)
{
	unsigned long end = test_watch_addr + (test_watch_npages << PAGE_SHIFT);
	unsigned long from = max(range->start, test_watch_addr);
	unsigned long to = min(range->end, end);

	for (; from < to; from += PAGE_SIZE)
		clear_bit((from - test_watch_addr) >> PAGE_SHIFT, test_watch_left);
	return 0;
}

static const struct mmu_notifier_ops test_watch_ops = {
	.invalidate_range_start = test_watch_invalidate,
};

static struct mmu_notifier test_watch_notifier = { .ops = &test_watch_ops };

static int test_watch_set(const char *val, const struct kernel_param *kp)
{
	unsigned long addr, npages = 0;
	int ret;

	if (test_watch_mm) {
		mmu_notifier_unregister(&test_watch_notifier, test_watch_mm);
		mmdrop(test_watch_mm);
		test_watch_mm = NULL;
	}
	if (sscanf(val, "%lu %lu", &addr, &npages) < 2)
		return 0;
	test_watch_addr = addr;
	test_watch_npages = min(npages, TEST_WATCH_PAGES);
	bitmap_zero(test_watch_left, TEST_WATCH_PAGES);
	bitmap_set(test_watch_left, 0, test_watch_npages);
	ret = mmu_notifier_register(&test_watch_notifier, current->mm);
	if (ret)
		return ret;
	test_watch_mm = current->mm;
	mmgrab(test_watch_mm);
	return 0;
}

static int test_watch_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%u\n", bitmap_weight(test_watch_left, TEST_WATCH_PAGES));
}

static const struct kernel_param_ops test_watch_param_ops = {
	.set = test_watch_set,
	.get = test_watch_get,
};

module_param_cb(test_watch, &test_watch_param_ops, NULL, 0600);
MODULE_PARM_DESC(test_watch, "pages of the writer; then how many have not been invalidated");

static unsigned int test_npmds;

/* "ADDRESS LENGTH" of the writer. Core mm tells nobody of VMAs that are VM_PFNMAP. */
static int test_pmds_set(const char *val, const struct kernel_param *kp)
{
	struct mm_struct *mm = current->mm;
	unsigned long addr, len, end;

	if (sscanf(val, "%li %li", &addr, &len) != 2)
		return -EINVAL;
	test_npmds = 0;
	mmap_read_lock(mm);
	for (end = addr + len; addr < end; addr += PMD_SIZE)
		test_npmds += vma_lookup(mm, addr) && zcipc_pt_has_pmd(mm, addr);
	mmap_read_unlock(mm);
	return 0;
}

static const struct kernel_param_ops test_pmds_ops = {
	.set = test_pmds_set,
	.get = param_get_uint,
};

module_param_cb(test_pmds, &test_pmds_ops, &test_npmds, 0600);
MODULE_PARM_DESC(test_pmds, "a range of the writer's; then by how many PMDs it was mapped");

#ifdef CONFIG_X86

static unsigned long test_pfn;
static unsigned long test_user_bits;

static int test_pte_look(pte_t *ptep, unsigned long addr, void *data)
{
	pte_t pte = ptep_get(ptep);

	if (pte_present(pte)) {
		test_pfn = pte_pfn(pte);
		test_user_bits = pte_flags(pte) & _PAGE_CACHE_MASK;
	}
	return 0;
}

static int test_pte_set(const char *val, const struct kernel_param *kp)
{
	struct mm_struct *mm = current->mm;
	unsigned long addr;
	int ret = kstrtoul(val, 0, &addr);

	if (ret)
		return ret;
	/* "0": look at the kernel's mapping of the same page again. */
	if (!addr)
		return 0;
	test_pfn = 0;
	mmap_read_lock(mm);
	ret = zcipc_pt_apply_existing(mm, addr & PAGE_MASK, 1, test_pte_look, NULL);
	mmap_read_unlock(mm);
	return ret ?: test_pfn ? 0 : -ENOENT;
}

/* "PFN USER KERNEL": cache bits of the user's PTE when it was looked at, and the kernel's now. */
static int test_pte_get(char *buffer, const struct kernel_param *kp)
{
	unsigned int level;
	pte_t *ptep;

	if (!test_pfn)
		return -ENOENT;
	ptep = lookup_address((unsigned long)pfn_to_kaddr(test_pfn), &level);
	if (!ptep || !pte_present(*ptep))
		return -ENOENT;
	return sysfs_emit(buffer, "0x%lx 0x%lx 0x%lx\n", test_pfn, test_user_bits,
			  level == PG_LEVEL_4K ? pte_flags(*ptep) & _PAGE_CACHE_MASK :
			  pte_flags(*ptep) & (_PAGE_PWT | _PAGE_PCD));
}

static const struct kernel_param_ops test_pte_ops = {
	.set = test_pte_set,
	.get = test_pte_get,
};

module_param_cb(test_pte, &test_pte_ops, NULL, 0600);
MODULE_PARM_DESC(test_pte, "an address of the writer; then its page frame and cache bits");

#endif

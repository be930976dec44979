// SPDX-License-Identifier: GPL-2.0
/*
 * What only tests need. Only in modules built with ZCIPC_TEST=1.
 *
 * Delay points: whoever comes to the one that is named by the parameter test_point waits there for
 * test_delay_ms, with the locks that it holds; if that is 0, until test_point is written again.
 *
 * Other users of page tables: who writes an address and a number of pages to test_watch reads from
 * it how many of them core mm has not told MMU notifiers to forget since; 0 ends that.
 *
 * Cache attributes: who writes a user address to test_pte reads from it what its own page table
 * says there, and what the kernel's says of the same page.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <linux/wait.h>

#include <asm/pgtable.h>

#include "map/pt.h"
#include "zcipc.h"

static char test_point[16];
static unsigned int test_hits;
/* How often test_point was written: a change lets go whoever waits without a limit. */
static unsigned int test_named;
static DECLARE_WAIT_QUEUE_HEAD(test_wait);

static unsigned int test_delay_ms = 100;
module_param(test_delay_ms, uint, 0600);
MODULE_PARM_DESC(test_delay_ms, "how long to wait at the delay point, 0: until it is named anew");
module_param(test_hits, uint, 0400);
MODULE_PARM_DESC(test_hits, "how often the delay point was reached since it was named");

/* Fewer than can be had in a test. */
unsigned int zcipc_max_refs = INT_MAX / 2;
module_param_named(test_max_refs, zcipc_max_refs, uint, 0600);
MODULE_PARM_DESC(test_max_refs, "how many references a page may have that is to be mapped");

static int test_point_set(const char *val, const struct kernel_param *kp)
{
	WRITE_ONCE(test_hits, 0);
	strscpy(test_point, val, sizeof(test_point));
	strreplace(test_point, '\n', '\0');
	WRITE_ONCE(test_named, test_named + 1);
	wake_up_all(&test_wait);
	return 0;
}

static int test_point_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", test_point);
}

static const struct kernel_param_ops test_point_ops = {
	.set = test_point_set,
	.get = test_point_get,
};

module_param_cb(test_point, &test_point_ops, NULL, 0600);
MODULE_PARM_DESC(test_point, "the delay point, empty: none");

void zcipc_test_point(const char *name)
{
	unsigned int named = READ_ONCE(test_named), ms;

	if (strcmp(test_point, name))
		return;
	ms = READ_ONCE(test_delay_ms);
	WRITE_ONCE(test_hits, READ_ONCE(test_hits) + 1);
	if (ms)
		msleep(ms);
	else
		wait_event(test_wait, READ_ONCE(test_named) != named);
}

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

static int test_pmds_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%u\n", test_npmds);
}

static const struct kernel_param_ops test_pmds_ops = {
	.set = test_pmds_set,
	.get = test_pmds_get,
};

module_param_cb(test_pmds, &test_pmds_ops, NULL, 0600);
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

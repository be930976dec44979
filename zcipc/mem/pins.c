// SPDX-License-Identifier: GPL-2.0
/*
 * Frames that were somebody's own memory before: they are pinned.
 *
 * They stay anonymous pages. Drivers can map these by special PTEs only, which are not counted, and
 * which get_user_pages() does not take. Somebody else holds one if it has more references than are
 * accounted for: pins, PTEs of others and the swap cache.
 *
 * References and pins of a huge page are counted for all of it, so which of its parts are pinned
 * here is noted. Where a block of a region has all of them, in order, PMDs show it: see huge.c.
 */
#include "base/base.h"

#include <linux/cpu.h>
#include <linux/hugetlb.h>
#include <linux/sched/isolation.h>

#include "mem/account.h"
#include "mem/frame.h"
#include "mem/parts.h"
#include "mem/pins.h"
#include "mem/region.h"

/* Pages that are pinned at once. */
#define ZCIPC_PIN_BATCH		512UL

/**
 * struct zcipc_import - the frames of one call
 * @left: how many are in use
 * @user: who has been charged for this struct
 * @size: bytes of that
 * @drain: to some core mm had references that it would give back if it were asked to
 * @huge: some are parts of huge pages
 * @again: a bit for each frame that is a second pin of a huge page's part
 * @frames: all that there were
 */
struct zcipc_import {
	atomic_long_t left;
	struct zcipc_user *user;
	u32 size;
	bool drain;
	bool huge;
	unsigned long *again;
	struct zcipc_imported frames[];
};

/**
 * struct zcipc_huge - a huge page of which parts are imported
 * @rcu: for kfree_rcu()
 * @nframes: how many frames are parts of it: more than are imported, if some are so twice
 * @parts: whose they are; those that are not imported no region has
 * @pinned: a bit for each that is imported
 */
struct zcipc_huge {
	struct rcu_head rcu;
	unsigned int nframes;
	struct zcipc_parts parts;
	DECLARE_BITMAP(pinned, ZCIPC_HUGE_PAGES);
};

/* By number of the first page. The xarray's lock protects what is in it, too, but for @parts. */
static DEFINE_XARRAY(zcipc_huge_pages);

/* Whose the parts of a huge page are. The caller keeps one that is imported. */
struct zcipc_parts *zcipc_import_parts(struct folio *folio)
{
	struct zcipc_huge *huge = xa_load(&zcipc_huge_pages, folio_pfn(folio));

	return &huge->parts;
}

/*
 * Notes pins of a huge page. One that is there already is none of ours as far as anybody who looks
 * for holders goes: two regions would have the same page. Returns 0, or -EOPNOTSUPP, -ENOMEM.
 */
static int zcipc_huge_pin(struct folio *folio, struct zcipc_import *import, unsigned long at,
			  unsigned long n)
{
	unsigned long i, pfn = folio_pfn(folio);
	struct zcipc_huge *huge, *new;
	unsigned int npins = 0;
	int ret;

	if (folio_nr_pages(folio) > ZCIPC_HUGE_PAGES)
		return -EOPNOTSUPP;
	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	zcipc_parts_init(&new->parts, folio_nr_pages(folio), true);
	xa_lock(&zcipc_huge_pages);
	ret = __xa_insert(&zcipc_huge_pages, pfn, new, GFP_KERNEL_ACCOUNT);
	/* The lock may have been released before, but not since. */
	huge = ret == -ENOMEM ? NULL : xa_load(&zcipc_huge_pages, pfn);
	for (i = at; huge && i < at + n; i++) {
		if (__test_and_set_bit(folio_page_idx(folio, import->frames[i].page),
				       huge->pinned))
			__set_bit(i, import->again);
		else
			npins++;
	}
	if (huge) {
		huge->nframes += n;
		zcipc_parts_lose(&huge->parts, -(long)npins);
	}
	xa_unlock(&zcipc_huge_pages);
	if (huge != new)
		kfree(new);
	if (!huge)
		return ret;
	/* It may be that all of them are, or that these are copied before long. */
	zcipc_parts_join(&huge->parts, import->user, n, false);
	return 0;
}

/* @again: it was none of ours as far as anybody who looks for holders goes. */
static void zcipc_huge_unpin(struct folio *folio, const struct page *page, bool again)
{
	unsigned long pfn = folio_pfn(folio);
	struct zcipc_huge *huge;

	xa_lock(&zcipc_huge_pages);
	huge = xa_load(&zcipc_huge_pages, pfn);
	if (!again) {
		__clear_bit(folio_page_idx(folio, page), huge->pinned);
		/* Nobody's region has this part, but it stays, and is pinned. */
		zcipc_parts_lose(&huge->parts, 1);
	}
	if (--huge->nframes)
		huge = NULL;
	else
		__xa_erase(&zcipc_huge_pages, pfn);
	xa_unlock(&zcipc_huge_pages);
	if (!huge)
		return;
	zcipc_parts_end(&huge->parts);
	kfree_rcu(huge, rcu);
}

/* How many of the references to a huge page are ours. */
static unsigned int zcipc_huge_pins(struct folio *folio)
{
	const struct zcipc_huge *huge;
	unsigned int npins;

	rcu_read_lock();
	huge = xa_load(&zcipc_huge_pages, folio_pfn(folio));
	npins = huge ? folio_nr_pages(folio) - READ_ONCE(huge->parts.ngone) : 0;
	rcu_read_unlock();
	return npins;
}

/**
 * zcipc_import_refs() - references of others
 * @frame: not mapped by any region
 * @mapped: it may still be mapped where it was imported from
 *
 * Unless @mapped, never says that there are none while there is one. Of a huge page of which a part
 * is mapped nobody can tell whose references are whose: they come and go with forks and unmaps.
 *
 * Return: how many there are, at least
 */
int zcipc_import_refs(const struct zcipc_imported *frame, bool mapped)
{
	struct folio *folio = page_folio(frame->page);
	long refs, known;

	refs = folio_ref_count(folio);
	if (!folio_test_large(folio)) {
		known = GUP_PIN_COUNTING_BIAS + folio_test_swapcache(folio);
		if (mapped)
			known += zcipc_page_mapcount(frame->page);
		return refs - known;
	}
	/* In this order: what comes or goes in between must not hide what is there. */
	smp_rmb();
	known = zcipc_folio_mapcount(folio);
	if (!mapped && (known || folio_test_swapcache(folio)))
		return 1;
	known += zcipc_huge_pins(folio);
	/* And still so: see above. */
	smp_rmb();
	if (folio_ref_count(folio) != refs)
		return 1;
	return refs - known;
}

/**
 * zcipc_import_is_free() - has nobody else a reference?
 * @frame: as for zcipc_import_refs()
 * @mapped: as for zcipc_import_refs()
 * @huge: the huge page that was last found to be free, or NULL. That it is mapped nowhere means
 *	that it stays free.
 */
bool zcipc_import_is_free(const struct zcipc_imported *frame, bool mapped, struct folio **huge)
{
	struct folio *folio = page_folio(frame->page);

	/* What nearly all are. */
	if (!folio_test_large(folio) &&
	    folio_ref_count(folio) == GUP_PIN_COUNTING_BIAS + mapped)
		return true;
	if (folio == *huge)
		return true;
	if (zcipc_import_refs(frame, mapped) > 0)
		return false;
	if (folio_test_large(folio))
		*huge = folio;
	return true;
}

/* One frame less is in use. */
static void zcipc_import_leave(struct zcipc_import *import)
{
	if (!atomic_long_dec_and_test(&import->left))
		return;
	zcipc_uncharge_overhead(import->user, import->size);
	zcipc_user_put(import->user);
	bitmap_free(import->again);
	kvfree(import);
}

/* The last region has done with a frame. */
void zcipc_import_put(struct zcipc_imported *frame)
{
	struct zcipc_import *import = frame->import;
	struct folio *folio = page_folio(frame->page);

	/* First, so that a pin that is still there is never taken for another's. */
	if (folio_test_large(folio))
		zcipc_huge_unpin(folio, frame->page,
				 test_bit(frame - import->frames, import->again));
	unpin_user_page(frame->page);
	zcipc_import_leave(import);
}

/* Some pages that have been pinned become frames: returns how many, or an errno if none. */
static long zcipc_import_add(struct zcipc_import *import, unsigned long at,
			     struct zcipc_region *region, unsigned long first,
			     struct page **pages, unsigned long n)
{
	unsigned long i, k;
	int ret = 0;

	for (i = 0; i < n; i = k) {
		struct folio *folio = page_folio(pages[i]);

		for (k = i; k < n && page_folio(pages[k]) == folio; k++) {
			struct zcipc_imported *frame = &import->frames[at + k];

			frame->page = pages[k];
			frame->import = import;
			atomic_long_set(&frame->state, ZCIPC_FRAME_ONE);
		}
		/* It is on its way there. */
		if (!folio_test_lru(folio))
			import->drain = true;
		/* The VMAs may have been replaced since they were looked at. */
		if (!folio_test_anon(folio) || folio_test_hugetlb(folio)) {
			ret = -EOPNOTSUPP;
		} else if (folio_test_large(folio)) {
			import->huge = true;
			ret = zcipc_huge_pin(folio, import, at + i, k - i);
		}
		if (ret) {
			unpin_user_pages(pages + i, n - i);
			return ret;
		}
		atomic_long_add(k - i, &import->left);
		zcipc_stat_add(FRAMES, k - i);
		region->npinned += k - i;
		for (; i < k; i++)
			region->frames[first + i] = zcipc_frame_of(&import->frames[at + i]);
	}
	return n;
}

/* Charges for what is kept of huge pages though it is not imported. */
static int zcipc_import_charge_rest(const struct zcipc_import *import, unsigned long npages,
				    unsigned long limit)
{
	struct folio *folio, *last = NULL;
	unsigned long i;
	int ret = 0;

	for (i = 0; i < npages && !ret; i++) {
		folio = page_folio(import->frames[i].page);
		if (folio != last && folio_test_large(folio))
			ret = zcipc_parts_charge(zcipc_import_parts(folio), import->user, limit);
		last = folio;
		zcipc_resched(i);
	}
	return ret;
}

static bool huge_import = true;
module_param(huge_import, bool, 0644);
MODULE_PARM_DESC(huge_import, "huge pages of imported memory are mapped as such where they can be");

/* Can a VMA, which is VM_PFNMAP or not, have PMDs of imported memory? Nobody is to hold it. */
bool zcipc_import_takes_pmds(bool pfnmap)
{
	return READ_ONCE(huge_import) &&
	       (pfnmap ? ZCIPC_UNPINNABLE_PMDS : ZCIPC_UNPINNABLE_PMDS_MIXED);
}

/* Finds blocks that are a huge page each, all in order, which a PMD can show. */
static void zcipc_import_find_blocks(struct zcipc_region *region, unsigned long first,
				     unsigned long npages)
{
	unsigned long at = ALIGN(first, ZCIPC_HUGE_PAGES);

	if (!ZCIPC_UNPINNABLE_PMDS || !READ_ONCE(huge_import))
		return;
	for (; at + ZCIPC_HUGE_PAGES <= first + npages; at += ZCIPC_HUGE_PAGES) {
		if (zcipc_parts_all(region->frames + at, ZCIPC_HUGE_PAGES) == ZCIPC_HUGE_PAGES)
			zcipc_region_set_huge(region, at);
		cond_resched();
	}
}

static struct zcipc_import *zcipc_import_alloc(struct zcipc_user *user, unsigned long npages)
{
	struct zcipc_import *import;
	size_t size = struct_size(import, frames, npages);
	int ret = -ENOMEM;

	import = kvmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!import)
		return ERR_PTR(-ENOMEM);
	/* One for as long as this takes. */
	*import = (struct zcipc_import){
		.left = ATOMIC_LONG_INIT(1),
		.size = kmalloc_size_roundup(size) + npages / BITS_PER_BYTE,
		.again = bitmap_zalloc(npages, GFP_KERNEL_ACCOUNT),
	};
	if (import->again)
		ret = zcipc_charge_overhead(user, import->size);
	if (ret) {
		bitmap_free(import->again);
		kvfree(import);
		return ERR_PTR(ret);
	}
	import->user = zcipc_user_ref(user);
	return import;
}

static long zcipc_import_drain_cpu(void *unused)
{
	zcipc_lru_drain();
	return 0;
}

/*
 * Makes core mm give back references that it has to pages touched not long ago. Not on CPUs that
 * are to be left alone: what was touched there may be copied.
 */
static void zcipc_import_drain(void)
{
	unsigned int cpu;

	cpus_read_lock();
	for_each_cpu_and(cpu, cpu_online_mask, housekeeping_cpumask(HK_TYPE_WQ))
		work_on_cpu(cpu, zcipc_import_drain_cpu, NULL);
	cpus_read_unlock();
}

/* Pins memory whose pages have been charged, and makes frames of it. */
static int zcipc_import_pin_charged(struct zcipc_import *import, struct zcipc_region *region,
				    unsigned long first, unsigned long npages, unsigned long addr)
{
	struct page **pages = kmalloc_array(ZCIPC_PIN_BATCH, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	unsigned long i = 0;
	int ret = 0;
	long n;

	if (!pages)
		return -ENOMEM;
	while (!ret && i < npages) {
		n = pin_user_pages_fast(addr + (i << PAGE_SHIFT), min(npages - i, ZCIPC_PIN_BATCH),
					FOLL_WRITE | FOLL_LONGTERM, pages);
		if (n > 0)
			n = zcipc_import_add(import, i, region, first + i, pages, n);
		/* Another thread may have made it a region since it was looked at. */
		if (n == -EEXIST)
			ret = -EOPNOTSUPP;
		else if (n <= 0)
			ret = n ?: -EFAULT;
		else if (fatal_signal_pending(current))
			ret = -EINTR;
		i += n;
		cond_resched();
	}
	kfree(pages);
	return ret;
}

/**
 * zcipc_import_pin() - make the current task's memory a part of a region
 * @region: new, without frames in that part, and without imported ones; nobody else knows it
 * @first: first page of the part
 * @npages: its length
 * @addr: user address of what zcipc_import_check() found to be right
 * @limit: what the region's user may have pinned
 * @keep: the region keeps parts of huge pages, so its user pays for the rest
 *
 * The memory stays where it is.
 *
 * Context: May sleep; no lock is held.
 * Return: 0, or -EFAULT, -EOPNOTSUPP, -ENOLCK, -EDQUOT, -ENOMEM, -EINTR; then zcipc_region_put()
 * unpins what was pinned
 */
int zcipc_import_pin(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     unsigned long addr, unsigned long limit, bool keep)
{
	struct zcipc_import *import;
	int ret;

	ret = zcipc_charge_pins(region->user, npages, limit);
	if (ret)
		return ret;
	import = zcipc_import_alloc(region->user, npages);
	if (IS_ERR(import)) {
		ret = PTR_ERR(import);
		goto out;
	}
	ret = zcipc_import_pin_charged(import, region, first, npages, addr);
	if (!ret && import->huge && keep)
		ret = zcipc_import_charge_rest(import, npages, limit);
	if (!ret && import->huge)
		zcipc_import_find_blocks(region, first, npages);
	if (!ret && import->drain)
		zcipc_import_drain();
	zcipc_import_leave(import);
out:
	zcipc_uncharge_pins(region->user, npages - region->npinned);
	return ret;
}

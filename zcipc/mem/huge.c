// SPDX-License-Identifier: GPL-2.0
/*
 * Huge frames: 2 MiB of memory that are allocated at once. A region does not have a huge frame, it
 * has *parts* of one, each of which is a frame as any other: it can be moved away, be shared with a
 * snapshot, and be replaced, alone. What makes huge frames fast is that a *block* of a region, 512
 * pages at a multiple of 512, may have all parts of one in order. Then one PMD shows it, and one
 * look at the reference count tells whether anybody holds it.
 *
 * Core mm counts references for all of a huge frame, and so nobody can tell which part it is that
 * somebody holds: all are taken for held then. PMDs are not counted, neither as references nor as
 * mappings; PTEs are counted as both.
 *
 * A block can also be an imported huge page. Its parts are imported frames, each with a state of
 * its own, one behind the other in memory: pins.c has them. PMDs that show it are such as
 * get_user_pages() does not take.
 *
 * A huge frame is freed as a whole: who pays for parts that no region has any more is in parts.c.
 */
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "base/compat.h"
#include "base/counters.h"
#include "base/test.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/parts.h"
#include "mem/pins.h"

/* Blocks of fewer pages are made of single frames. Tests make it less. */
static uint huge_min = ZCIPC_HUGE_PAGES;
module_param(huge_min, uint, 0644);
MODULE_PARM_DESC(huge_min, "from how many pages on a block is a huge frame (0: never)");

static struct kmem_cache *zcipc_huge_cache;

/*
 * Are there huge frames? Not of more than so much (a PMD maps 512 MiB where pages have 64 KiB): all
 * of one is zeroed, looked at, copied when it is written to, and paid for, at once, be it for a
 * message that is a little shorter.
 */
bool zcipc_huge_is_on(void)
{
	return ZCIPC_UNCOUNTED_PMDS && PMD_SIZE <= SZ_32M && READ_ONCE(huge_min);
}

/**
 * zcipc_huge_alloc() - allocate a huge frame
 * @gfp: as for zcipc_frame_alloc()
 * @node: as for zcipc_frame_alloc()
 * @n: how many parts it has, at most ZCIPC_HUGE_PAGES; the others do not exist
 *
 * Context: May sleep.
 * Return: the first part, or NULL if there is to be none, or no memory
 */
struct zcipc_frame *zcipc_huge_alloc(gfp_t gfp, int node, unsigned int n)
{
	struct zcipc_huge_frame *huge;
	struct page *page;
	unsigned int i;

	if (!zcipc_huge_is_on() || n < READ_ONCE(huge_min))
		return NULL;
	huge = kmem_cache_alloc(zcipc_huge_cache, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!huge)
		return NULL;
	page = zcipc_pages_alloc(gfp | __GFP_HIGHMEM | __GFP_ACCOUNT | __GFP_COMP, node,
				 ZCIPC_HUGE_ORDER);
	if (!page) {
		kmem_cache_free(zcipc_huge_cache, huge);
		return NULL;
	}
	huge->nmade = n;
	atomic_set(&huge->nparts, n);
	atomic_set(&huge->nshared, 0);
	atomic_set(&huge->inserting, 0);
	atomic_set(&huge->inserted, 0);
	zcipc_parts_init(&huge->parts, 0, false);
	for (i = 0; i < n; i++)
		atomic_long_set(&huge->state[i], ZCIPC_FRAME_ONE);
	set_page_private(page, (unsigned long)huge);
	zcipc_stat_add(FRAMES, n);
	return zcipc_frame_of_part(page);
}

/* A region of a user's gets all parts of a new huge frame, from the first on. */
void zcipc_huge_parts(struct zcipc_frame *frame, struct zcipc_frame **frames, unsigned int n,
		      struct zcipc_user *user)
{
	struct page *page = zcipc_frame_page(frame);
	unsigned int i;

	zcipc_parts_join(&zcipc_frame_huge(frame)->parts, user, n, true);
	for (i = 0; i < n; i++)
		frames[i] = zcipc_frame_of_part(page + i);
}

static void zcipc_huge_free(struct zcipc_huge_frame *huge, struct page *page)
{
	WARN_ON_ONCE(huge->parts.first.user || huge->parts.first.next);
	set_page_private(page, 0);
	put_page(page);
	kmem_cache_free(zcipc_huge_cache, huge);
}

/* No region has a part any more. */
void zcipc_huge_put_part(struct zcipc_frame *frame)
{
	struct page *page = compound_head(zcipc_frame_page(frame));
	struct zcipc_huge_frame *huge = zcipc_frame_huge(frame);

	if (atomic_long_read(zcipc_frame_state(frame)) & ZCIPC_FRAME_WAS_SHARED)
		atomic_dec(&huge->nshared);
	atomic_long_set(zcipc_frame_state(frame), 0);
	zcipc_parts_lose(&huge->parts, 1);
	if (atomic_dec_and_test(&huge->nparts))
		zcipc_huge_free(huge, page);
}

/* The first part of an imported block: they are all in order. */
static struct zcipc_imported *zcipc_huge_imported(const struct zcipc_frame *frame)
{
	struct zcipc_imported *part = zcipc_frame_imported(frame);

	return part - page_to_pfn(part->page) % ZCIPC_HUGE_PAGES;
}

/* Have all parts of an imported block, of which @frame is one, a state below @state? */
bool zcipc_huge_imported_below(const struct zcipc_frame *frame, long state)
{
	const struct zcipc_imported *parts = zcipc_huge_imported(frame);
	unsigned int i;

	for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
		if (atomic_long_read(&parts[i].state) >= state)
			return false;
	return true;
}

/**
 * zcipc_huge_share() - one more region has all parts
 * @frame: the first part; the caller holds the lock of a region that has all
 * @user: whose it is
 */
void zcipc_huge_share(struct zcipc_frame *frame, struct zcipc_user *user)
{
	struct zcipc_huge_frame *huge;
	unsigned int i, n = 0;

	zcipc_parts_join(zcipc_frame_parts(frame), user, ZCIPC_HUGE_PAGES, true);
	if (zcipc_frame_is_imported(frame)) {
		for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
			zcipc_state_share(&zcipc_huge_imported(frame)[i].state);
		return;
	}
	huge = zcipc_frame_huge(frame);
	for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
		n += zcipc_state_share(&huge->state[i]);
	if (n)
		atomic_add(n, &huge->nshared);
}

/**
 * zcipc_huge_sole() - do all parts belong to one region only?
 * @frame: the first part; the caller holds the lock of a region that has all
 */
bool zcipc_huge_sole(struct zcipc_frame *frame)
{
	struct zcipc_huge_frame *huge;
	unsigned int i;

	if (zcipc_frame_is_imported(frame))
		return zcipc_huge_imported_below(frame, 2 * ZCIPC_FRAME_ONE);
	huge = zcipc_frame_huge(frame);
	if (!atomic_read(&huge->nshared))
		return true;
	for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
		if (atomic_long_read(&huge->state[i]) >= 2 * ZCIPC_FRAME_ONE)
			return false;
	return true;
}

/**
 * zcipc_huge_put() - a region gives up all parts
 * @frame: the first part; all are the region's, and mapped for it no more. The caller holds its
 *	lock, or nobody else knows it
 * @user: whose it is; NULL if no other region has any of it
 */
void zcipc_huge_put(struct zcipc_frame *frame, struct zcipc_user *user)
{
	struct page *page = zcipc_frame_page(frame);
	struct zcipc_huge_frame *huge;
	unsigned int i;

	if (zcipc_frame_is_imported(frame)) {
		struct zcipc_imported *parts = zcipc_huge_imported(frame);

		zcipc_parts_leave(zcipc_frame_parts(frame), user, ZCIPC_HUGE_PAGES);
		for (i = 0; i < ZCIPC_HUGE_PAGES; i++) {
			if (!zcipc_state_leave(&parts[i].state))
				continue;
			zcipc_stat_dec(FRAMES);
			zcipc_import_put(parts + i);
		}
		return;
	}
	huge = zcipc_frame_huge(frame);
	if (user)
		zcipc_parts_leave(&huge->parts, user, ZCIPC_HUGE_PAGES);
	if (zcipc_huge_sole(frame)) {
		zcipc_stat_add(FRAMES, -ZCIPC_HUGE_PAGES);
		zcipc_huge_free(huge, page);
		return;
	}
	for (i = 0; i < ZCIPC_HUGE_PAGES; i++) {
		if (atomic_long_sub_return(ZCIPC_FRAME_ONE, &huge->state[i]) >= ZCIPC_FRAME_ONE)
			continue;
		zcipc_stat_dec(FRAMES);
		zcipc_huge_put_part(zcipc_frame_of_part(page + i));
	}
}

/* Nobody holds it: the only region that has it may write to it again. As zcipc_huge_sole(). */
void zcipc_huge_reuse(struct zcipc_frame *frame)
{
	struct zcipc_huge_frame *huge;
	unsigned int i;

	if (zcipc_frame_is_imported(frame)) {
		for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
			atomic_long_andnot(ZCIPC_FRAME_WAS_SHARED,
					   &zcipc_huge_imported(frame)[i].state);
		return;
	}
	huge = zcipc_frame_huge(frame);
	for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
		atomic_long_set(&huge->state[i], ZCIPC_FRAME_ONE);
	atomic_set(&huge->nshared, 0);
}

/**
 * zcipc_huge_complete() - take the parts that no region has
 * @frame: one of these
 * @n: how many they are, if the region whose lock the caller holds has all others
 *
 * zcipc_huge_revive() must follow for each of them.
 *
 * Return: true, or false if it is otherwise, or somebody holds any part
 */
bool zcipc_huge_complete(struct zcipc_frame *frame, unsigned int n)
{
	struct zcipc_huge_frame *huge = zcipc_frame_huge(frame);
	int nparts = ZCIPC_HUGE_PAGES - n;

	if (atomic_cmpxchg(&huge->nparts, nparts, ZCIPC_HUGE_PAGES) != nparts)
		return false;
	/* Nobody maps what no region has: who does not hold it now never will. */
	if (zcipc_huge_refs(frame) <= 0)
		return true;
	atomic_set(&huge->nparts, nparts);
	return false;
}

/*
 * A part is a region's again, and nobody else's; @user is whose that is. It is not mapped writable:
 * as far as that goes it is as those beside it, which a snapshot had.
 */
void zcipc_huge_revive(struct zcipc_frame *frame, struct zcipc_user *user)
{
	struct zcipc_huge_frame *huge = zcipc_frame_huge(frame);

	zcipc_parts_regain(&huge->parts, 1);
	zcipc_parts_join(&huge->parts, user, 1, true);
	atomic_long_set(zcipc_frame_state(frame), ZCIPC_FRAME_ONE | ZCIPC_FRAME_WAS_SHARED);
	atomic_inc(&huge->nshared);
	zcipc_stat_inc(FRAMES);
}

/**
 * zcipc_huge_refs() - references that are neither regions' nor PTEs
 * @frame: a part; not mapped by a PTE of the region whose lock the caller holds
 *
 * Return: how many there are, at least; more than anybody has if that cannot be told now
 */
int zcipc_huge_refs(const struct zcipc_frame *frame)
{
	struct folio *folio = page_folio(zcipc_frame_page(frame));
	struct zcipc_huge_frame *huge = zcipc_frame_huge(frame);
	int inserted = atomic_read(&huge->inserted);
	int refs, mapped;

	/* Those of zcipc_vma_insert_parts(): who has begun, or ended, since then is seen below. */
	smp_rmb();
	if (atomic_read(&huge->inserting))
		return INT_MAX;
	/* Whoever begins from here on is seen below, too. */
	smp_rmb();
	refs = folio_ref_count(folio);
	if (refs == 1)
		return 0;
	/* In this order: a PTE that goes in between must not hide a reference. */
	smp_rmb();
	zcipc_test_point("counted");
	mapped = zcipc_folio_mapcount(folio);
	zcipc_test_point("counted");
	/* Nor one that comes, be it that it, or another, goes again. */
	smp_rmb();
	if (folio_ref_count(folio) != refs || atomic_read(&huge->inserting))
		return INT_MAX;
	/* Who is not inserting any more has said before that it was done. */
	smp_rmb();
	if (atomic_read(&huge->inserted) != inserted)
		return INT_MAX;
	return refs - 1 - mapped;
}

/* Whose the parts are of the huge page that a frame is a part of. */
struct zcipc_parts *zcipc_frame_parts(const struct zcipc_frame *frame)
{
	if (zcipc_frame_is_part(frame))
		return &zcipc_frame_huge(frame)->parts;
	return zcipc_import_parts(page_folio(zcipc_frame_page(frame)));
}

/**
 * zcipc_huge_all_parts() - does a range begin with all parts of a huge page, in order?
 * @frames: the frames of a range; the caller holds the lock of the region
 * @npages: how many
 *
 * Return: how many parts these are, or 0
 */
unsigned long zcipc_huge_all_parts(struct zcipc_frame **frames, unsigned long npages)
{
	struct page *page = zcipc_frame_page(frames[0]);
	unsigned long i, n = compound_nr(page);

	if (page != compound_head(page))
		return 0;
	if (zcipc_frame_is_part(frames[0]))
		n = zcipc_frame_huge(frames[0])->nmade;
	if (n > npages)
		return 0;
	for (i = 1; i < n; i++)
		if (!frames[i] || zcipc_frame_page(frames[i]) != page + i)
			return 0;
	return n;
}

int zcipc_huge_init(void)
{
	zcipc_huge_cache = kmem_cache_create("zcipc_huge", sizeof(struct zcipc_huge_frame), 0,
					     SLAB_ACCOUNT, NULL);
	return zcipc_huge_cache ? 0 : -ENOMEM;
}

void zcipc_huge_exit(void)
{
	kmem_cache_destroy(zcipc_huge_cache);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Huge frames: 2 MiB of memory that are allocated, and freed, at once. A region has *parts* of one,
 * each of which is a frame as any other: it can be moved away, be shared with a snapshot, and be
 * replaced, alone. Huge frames are fast where a *block* of a region, 512 pages at a multiple of
 * 512, has all parts of one in order: one PMD shows it, and one look at the reference count tells
 * whether anybody holds it.
 *
 * Core mm counts references for all of a huge frame: if somebody holds one part, all are taken for
 * held. PMDs are not counted, neither as references nor as mappings; PTEs are counted as both.
 *
 * A block can also be an imported huge page. Its parts are imported frames, one behind the other in
 * memory: see pins.c. get_user_pages() does not take the PMDs that show it.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/huge.h"
#include "mem/parts.h"

/* Blocks of fewer pages are made of single frames. Tests make it less. */
static uint huge_min = ZCIPC_HUGE_PAGES;
module_param(huge_min, uint, 0644);
MODULE_PARM_DESC(huge_min, "from how many pages on a block is a huge frame (0: never)");

static struct kmem_cache *zcipc_huge_cache;

/*
 * Are there huge frames? Not of more than so much (a PMD maps 512 MiB where pages have 64 KiB): all
 * of one is zeroed, looked at, copied, and paid for at once.
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
	zcipc_parts_end(&huge->parts);
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

/* The state of the first part of a block, of which @frame is one; the next is @step behind it. */
static atomic_long_t *zcipc_huge_states(const struct zcipc_frame *frame, size_t *step)
{
	if (zcipc_frame_is_part(frame)) {
		*step = 1;
		return zcipc_frame_huge(frame)->state;
	}
	*step = sizeof(struct zcipc_imported) / sizeof(atomic_long_t);
	return &zcipc_huge_imported(frame)->state;
}

/* Have all parts of a block, of which @frame is one, a state below @state? */
bool zcipc_huge_below(const struct zcipc_frame *frame, long state)
{
	size_t step;
	const atomic_long_t *one = zcipc_huge_states(frame, &step);
	unsigned int i;

	for (i = 0; i < ZCIPC_HUGE_PAGES; i++, one += step)
		if (atomic_long_read(one) >= state)
			return false;
	return true;
}

/* One more region, a user's, has all parts. The caller holds the lock of a region that has all. */
void zcipc_huge_share(struct zcipc_frame *frame, struct zcipc_user *user)
{
	size_t step;
	atomic_long_t *state = zcipc_huge_states(frame, &step);
	unsigned int i, n = 0;

	zcipc_parts_join(zcipc_frame_parts(frame), user, ZCIPC_HUGE_PAGES, true);
	for (i = 0; i < ZCIPC_HUGE_PAGES; i++, state += step)
		n += zcipc_state_share(state);
	if (n && zcipc_frame_is_part(frame))
		atomic_add(n, &zcipc_frame_huge(frame)->nshared);
}

/**
 * zcipc_huge_put() - a region gives up all parts
 * @frame: the first part; all are the region's, and mapped for it no more. The caller holds its
 *	lock, or nobody else knows it
 * @user: whose it is; NULL if no region has any of it
 */
void zcipc_huge_put(struct zcipc_frame *frame, struct zcipc_user *user)
{
	struct zcipc_imported *part = zcipc_frame_imported(frame);
	struct page *page = zcipc_frame_page(frame);
	struct zcipc_huge_frame *huge;
	unsigned int i;

	if (user)
		zcipc_parts_leave(zcipc_frame_parts(frame), user, ZCIPC_HUGE_PAGES);
	for (i = 0; zcipc_frame_is_imported(frame) && i < ZCIPC_HUGE_PAGES; i++, part++) {
		if (!zcipc_state_leave(&part->state))
			continue;
		zcipc_stat_dec(FRAMES);
		zcipc_import_put(part);
	}
	if (zcipc_frame_is_imported(frame))
		return;
	huge = zcipc_frame_huge(frame);
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
	size_t step;
	atomic_long_t *state = zcipc_huge_states(frame, &step);
	unsigned int i;

	for (i = 0; i < ZCIPC_HUGE_PAGES; i++, state += step)
		atomic_long_andnot(ZCIPC_FRAME_WAS_SHARED, state);
	if (zcipc_frame_is_part(frame))
		atomic_set(&zcipc_frame_huge(frame)->nshared, 0);
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

	zcipc_parts_lose(&huge->parts, -1);
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

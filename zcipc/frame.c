// SPDX-License-Identifier: GPL-2.0
/*
 * Frames: pages that regions are made of. Owns page->private of those that the module allocated; it
 * has the number of regions that a frame belongs to, times ZCIPC_FRAME_ONE, its cache policy, and
 * ZCIPC_FRAME_WAS_SHARED. All these regions together have one page reference. Each PTE has one, and
 * so has whoever pinned the page: the difference tells whether a frame is held elsewhere. What was
 * somebody's memory before is import.c's.
 *
 * To change the cache policy of a page, the kernel's own mapping of it included, is expensive:
 * frames that are not write-back come from pools, and go back to them. What has not been used for a
 * while is made write-back again and freed.
 *
 * The number grows only under the lock of a region that the frame belongs to. So for a region whose
 * lock is held a frame that it has alone stays that way.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#ifdef CONFIG_X86
#include <asm/memtype.h>
#include <asm/set_memory.h>
#endif

#include "zcipc.h"

/* Frames whose policy is changed at once. */
#define ZCIPC_CACHE_BATCH	64

/* A pool that has more gives some back. */
#define ZCIPC_POOL_MAX		256U

static unsigned int pool_ms = 10000;
module_param(pool_ms, uint, 0644);
MODULE_PARM_DESC(pool_ms, "how long to keep unused frames that are not write-back (0: not at all)");

/**
 * struct zcipc_pool - frames of one cache policy that no region has, linked by page->lru
 * @pages: nobody has a reference to these
 * @npages: their number
 * @held: somebody still has: not to be used again, nor made write-back, before that ends
 */
struct zcipc_pool {
	struct list_head pages;
	unsigned int npages;
	struct list_head held;
};

static struct zcipc_pool zcipc_pools[ZCIPC_WINDOW_MAX];

static DEFINE_SPINLOCK(zcipc_pools_lock);

static void zcipc_pools_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(zcipc_pools_reaper, zcipc_pools_work);

/* Can frames have a cache policy on this machine? */
bool zcipc_frame_can_cache(unsigned int cache)
{
	switch (cache) {
	case ZCIPC_CACHE_DEFAULT:
		return true;
#ifdef CONFIG_X86
	case ZCIPC_CACHE_STREAMING:
		/* Without PAT it would be uncached, and called something else. */
		return pat_enabled();
	case ZCIPC_CACHE_UNCACHED:
		return true;
#endif
	}
	return false;
}

/* What PTEs of frames with a cache policy look like. */
pgprot_t zcipc_frame_pgprot(pgprot_t prot, unsigned int cache)
{
	if (cache == ZCIPC_CACHE_STREAMING)
		return pgprot_writecombine(prot);
	if (cache == ZCIPC_CACHE_UNCACHED)
		return pgprot_noncached(prot);
	return prot;
}

/* Makes the kernel's own mapping of write-back pages something else, or of others write-back. */
static int zcipc_pages_set_cache(struct page **pages, unsigned int npages, unsigned int cache)
{
#ifdef CONFIG_X86
	if (cache == ZCIPC_CACHE_STREAMING)
		return set_pages_array_wc(pages, npages);
	if (cache == ZCIPC_CACHE_UNCACHED)
		return set_pages_array_uc(pages, npages);
	return set_pages_array_wb(pages, npages);
#else
	return 0;
#endif
}

/* Frees pages that are not write-back. If that cannot be changed they are lost. */
static void zcipc_pages_free(struct page **pages, unsigned int npages)
{
	unsigned int i;

	if (WARN_ON_ONCE(npages && zcipc_pages_set_cache(pages, npages, ZCIPC_CACHE_DEFAULT)))
		return;
	for (i = 0; i < npages; i++)
		put_page(pages[i]);
}

/* Takes pages out of a pool until it has no more than @max, and frees them. */
static void zcipc_pool_shrink(struct zcipc_pool *pool, unsigned int max)
{
	struct page *pages[ZCIPC_CACHE_BATCH];
	unsigned int n;

	do {
		spin_lock(&zcipc_pools_lock);
		for (n = 0; n < ZCIPC_CACHE_BATCH && pool->npages > max; n++) {
			pages[n] = list_first_entry(&pool->pages, struct page, lru);
			list_del(&pages[n]->lru);
			pool->npages--;
		}
		spin_unlock(&zcipc_pools_lock);
		zcipc_pages_free(pages, n);
		cond_resched();
	} while (n);
}

static void zcipc_pool_add(struct zcipc_pool *pool, struct page *page)
{
	spin_lock(&zcipc_pools_lock);
	if (page_count(page) > 1) {
		list_add(&page->lru, &pool->held);
	} else {
		list_add(&page->lru, &pool->pages);
		pool->npages++;
	}
	spin_unlock(&zcipc_pools_lock);
	mod_delayed_work(system_wq, &zcipc_pools_reaper, msecs_to_jiffies(READ_ONCE(pool_ms)));
}

/* Nothing was added for a while: frees what can be freed. */
static void zcipc_pools_work(struct work_struct *work)
{
	bool again = false;
	unsigned int i;

	for (i = ZCIPC_CACHE_STREAMING; i < ZCIPC_WINDOW_MAX; i++) {
		struct zcipc_pool *pool = &zcipc_pools[i];
		struct page *page, *next;

		spin_lock(&zcipc_pools_lock);
		list_for_each_entry_safe(page, next, &pool->held, lru) {
			if (page_count(page) > 1) {
				again = true;
				continue;
			}
			list_move(&page->lru, &pool->pages);
			pool->npages++;
		}
		spin_unlock(&zcipc_pools_lock);
		zcipc_pool_shrink(pool, 0);
	}
	if (again)
		schedule_delayed_work(&zcipc_pools_reaper, HZ);
}

void zcipc_frame_init(void)
{
	unsigned int i;

	for (i = 0; i < ZCIPC_WINDOW_MAX; i++) {
		INIT_LIST_HEAD(&zcipc_pools[i].pages);
		INIT_LIST_HEAD(&zcipc_pools[i].held);
	}
}

/* When the module goes nobody has a mapping; a reference that is left is none of the kernel's. */
void zcipc_frame_exit(void)
{
	unsigned int i;

	cancel_delayed_work_sync(&zcipc_pools_reaper);
	for (i = ZCIPC_CACHE_STREAMING; i < ZCIPC_WINDOW_MAX; i++) {
		struct zcipc_pool *pool = &zcipc_pools[i];
		struct page *page;

		list_for_each_entry(page, &pool->held, lru)
			pool->npages++;
		list_splice_init(&pool->held, &pool->pages);
		zcipc_pool_shrink(pool, 0);
	}
}

/* Pages on a node, or, for NUMA_NO_NODE, where the current task's memory policy has them. */
struct page *zcipc_pages_alloc(gfp_t gfp, int node, unsigned int order)
{
	return node == NUMA_NO_NODE ? alloc_pages(gfp, order) : alloc_pages_node(node, gfp, order);
}

/* A page from a pool, on a node if one is wanted, or NULL. */
static struct page *zcipc_pool_take(struct zcipc_pool *pool, int node)
{
	struct page *page, *found = NULL;

	spin_lock(&zcipc_pools_lock);
	list_for_each_entry(page, &pool->pages, lru) {
		if (node == NUMA_NO_NODE || page_to_nid(page) == node) {
			found = page;
			list_del(&page->lru);
			pool->npages--;
			break;
		}
	}
	spin_unlock(&zcipc_pools_lock);
	return found;
}

/* A page that is not write-back, from a pool or new. More new ones go to the pool. */
static struct page *zcipc_pool_alloc(gfp_t gfp, int node, unsigned int cache)
{
	struct zcipc_pool *pool = &zcipc_pools[cache];
	struct page *page = zcipc_pool_take(pool, node);
	struct page *pages[ZCIPC_CACHE_BATCH];
	unsigned int n;

	if (!page) {
		for (n = 0; n < ZCIPC_CACHE_BATCH; n++) {
			/* It is enough to get one. */
			pages[n] = zcipc_pages_alloc(n ? (gfp & ~__GFP_NOFAIL) | __GFP_NORETRY |
						     __GFP_NOWARN : gfp, node, 0);
			if (!pages[n])
				break;
		}
		if (!n)
			return NULL;
		if (zcipc_pages_set_cache(pages, n, cache)) {
			zcipc_pages_free(pages, n);
			return NULL;
		}
		page = pages[--n];
		while (n--)
			zcipc_pool_add(pool, pages[n]);
	}
	if (gfp & __GFP_ZERO)
		clear_highpage(page);
	return page;
}

/**
 * zcipc_frame_alloc() - a frame for one region
 * @gfp: GFP_KERNEL or a weaker mask; __GFP_ZERO unless the caller overwrites all of it
 * @node: where it should be, or, with __GFP_THISNODE, must be; NUMA_NO_NODE: where the current
 *	task's memory policy has it
 * @cache: enum zcipc_cache, one that zcipc_frame_can_cache()
 *
 * Return: the frame, or NULL. Charged to the current task's memory cgroup, unless it comes from a
 * pool: then it is still charged to that of the one who filled it.
 */
struct zcipc_frame *zcipc_frame_alloc(gfp_t gfp, int node, unsigned int cache)
{
	struct page *page;

	gfp |= __GFP_HIGHMEM | __GFP_ACCOUNT;
	if (cache == ZCIPC_CACHE_DEFAULT)
		page = zcipc_pages_alloc(gfp, node, 0);
	else
		page = zcipc_pool_alloc(gfp, node, cache);
	if (page) {
		set_page_private(page, ZCIPC_FRAME_ONE | cache << ZCIPC_FRAME_CACHE_SHIFT);
		zcipc_stat_inc(FRAMES);
	}
	return (struct zcipc_frame *)page;
}

/**
 * zcipc_frame_copy() - a copy of a frame, with the same cache policy
 * @frame: the frame
 * @gfp: as for zcipc_frame_alloc()
 * @node: as for zcipc_frame_alloc()
 *
 * Return: the copy, or NULL
 */
struct zcipc_frame *zcipc_frame_copy(struct zcipc_frame *frame, gfp_t gfp, int node)
{
	struct zcipc_frame *copy = zcipc_frame_alloc(gfp, node, zcipc_frame_cache(frame));

	if (copy)
		copy_highpage(zcipc_frame_page(copy), zcipc_frame_page(frame));
	return copy;
}

/**
 * zcipc_frames_set_cache() - change the cache policy of frames
 * @frames: the frames, NULL in between is skipped; all with the same policy, each in one region
 *	only, not imported, not mapped and not held. The caller holds the region's lock.
 * @npages: length of the array
 * @cache: enum zcipc_cache, one that zcipc_frame_can_cache()
 *
 * Context: May sleep.
 * Return: 0, or -ENOMEM with nothing changed
 */
int zcipc_frames_set_cache(struct zcipc_frame **frames, unsigned long npages,
			   unsigned int cache)
{
	struct page *some[ZCIPC_CACHE_BATCH];
	unsigned long i = 0, done = 0;
	unsigned int n, k, old;
	int ret = 0;

	while (!ret && i < npages) {
		for (n = 0; n < ZCIPC_CACHE_BATCH && i < npages; i++)
			if (frames[i])
				some[n++] = zcipc_frame_page(frames[i]);
		if (!n)
			break;
		old = zcipc_frame_cache((struct zcipc_frame *)some[0]);
		if (old)
			ret = zcipc_pages_set_cache(some, n, ZCIPC_CACHE_DEFAULT);
		if (!ret && cache)
			ret = zcipc_pages_set_cache(some, n, cache);
		if (ret) {
			/* Whatever they are now. */
			zcipc_pages_set_cache(some, n, ZCIPC_CACHE_DEFAULT);
			if (old)
				zcipc_pages_set_cache(some, n, old);
			if (done)
				zcipc_frames_set_cache(frames, done, old);
			return -ENOMEM;
		}
		for (k = 0; k < n; k++)
			set_page_private(some[k], ZCIPC_FRAME_ONE |
					 cache << ZCIPC_FRAME_CACHE_SHIFT);
		done = i;
		cond_resched();
	}
	return ret;
}

/* One more region has this frame. The caller holds the lock of one that has it. */
void zcipc_frame_share(struct zcipc_frame *frame)
{
	atomic_long_t *state = zcipc_frame_state(frame);

	if (zcipc_frame_exclusive(frame)) {
		atomic_long_set(state, (atomic_long_read(state) + ZCIPC_FRAME_ONE) |
				ZCIPC_FRAME_WAS_SHARED);
		if (zcipc_frame_is_part(frame))
			atomic_inc(&zcipc_frame_huge(frame)->nshared);
	} else {
		atomic_long_add(ZCIPC_FRAME_ONE, state);
	}
}

/* Nobody holds it: the only region that has it may write to it again. */
void zcipc_frame_reuse(struct zcipc_frame *frame)
{
	atomic_long_andnot(ZCIPC_FRAME_WAS_SHARED, zcipc_frame_state(frame));
	if (zcipc_frame_is_part(frame))
		atomic_dec(&zcipc_frame_huge(frame)->nshared);
}

/*
 * One region less has this frame, which is not mapped for that region any more. @user: whose it is;
 * NULL if the frame was never a region's.
 */
void zcipc_frame_put(struct zcipc_frame *frame, struct zcipc_user *user)
{
	unsigned int cache = zcipc_frame_cache(frame);
	struct page *page;

	if (!zcipc_frame_exclusive(frame) &&
	    atomic_long_sub_return(ZCIPC_FRAME_ONE, zcipc_frame_state(frame)) >= ZCIPC_FRAME_ONE)
		return;
	zcipc_stat_dec(FRAMES);
	if (zcipc_frame_is_imported(frame)) {
		zcipc_import_put(zcipc_frame_imported(frame));
		return;
	}
	if (zcipc_frame_is_part(frame)) {
		zcipc_huge_put_part(frame, user);
		return;
	}
	page = zcipc_frame_page(frame);
	set_page_private(page, 0);
	if (!cache) {
		put_page(page);
		return;
	}
	zcipc_pool_add(&zcipc_pools[cache], page);
	if (READ_ONCE(zcipc_pools[cache].npages) >= ZCIPC_POOL_MAX + ZCIPC_CACHE_BATCH)
		zcipc_pool_shrink(&zcipc_pools[cache], ZCIPC_POOL_MAX);
}

/**
 * zcipc_frame_held() - has anybody a reference?
 * @frame: of one region only, whose lock the caller holds, and which is unmapped everywhere
 * @extra: references that the caller knows of
 * @nheld: how many frames of a range have been found held, or NULL
 *
 * A reference may be one that is about to go, of somebody who walked the page tables before they
 * changed: so look again before believing it. But not for each of many frames: others wait for the
 * locks.
 *
 * Return: true if somebody holds the frame
 */
bool zcipc_frame_held(struct zcipc_frame *frame, int extra, unsigned int *nheld)
{
	int tries;

	for (tries = 0; tries < 3; tries++) {
		if (zcipc_frame_refs(frame) <= extra)
			return false;
		if (nheld && *nheld >= 16)
			return true;
		usleep_range(10, 50);
	}
	if (nheld)
		(*nheld)++;
	return true;
}

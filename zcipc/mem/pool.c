// SPDX-License-Identifier: GPL-2.0
/*
 * Pools: frames that are write-combining or uncached, one for each cache policy.
 *
 * The kernel's own mapping of such a frame has to be so, too. To change a part of one of its 2 MiB
 * entries splits it for good, and all in it is slower from then on. So these frames come in blocks
 * of 2 MiB, which are changed as a whole, and stay what they are.
 *
 * No user has more frames of a pool than are free. So whoever comes later finds some.
 *
 * A region with a cache policy has frames of that policy's pool only, which no other region has.
 * Their PTEs are special, so nobody can hold one that is free again.
 */
#include "base/base.h"

#include <linux/capability.h>

#ifdef CONFIG_X86
#include <asm/memtype.h>
#include <asm/set_memory.h>
#endif

#include "mem/account.h"
#include "mem/frame.h"
#include "mem/pool.h"

static unsigned int pool_mib = 32;
module_param(pool_mib, uint, 0644);
MODULE_PARM_DESC(pool_mib, "MiB of each cache policy for who has no CAP_SYS_RAWIO");

/**
 * struct zcipc_block - 2 MiB of one cache policy
 * @entry: in the list of the pool's blocks
 * @pages: the first of its pages, each of which has one reference
 * @used: which are some region's
 * @users: who asked for these, with a reference
 */
struct zcipc_block {
	struct list_head entry;
	struct page *pages;
	DECLARE_BITMAP(used, ZCIPC_HUGE_PAGES);
	struct zcipc_user *users[ZCIPC_HUGE_PAGES];
};

/**
 * struct zcipc_pool - the blocks of one cache policy
 * @blocks: those that are full come last
 * @nblocks: their number
 * @nlimited: pages of regions of users whom the pool's size limits
 * @nothers: of those of others
 */
struct zcipc_pool {
	struct list_head blocks;
	unsigned int nblocks;
	unsigned long nlimited;
	unsigned long nothers;
};

static struct zcipc_pool zcipc_pools[] = {
	[ZCIPC_CACHE_STREAMING] = { LIST_HEAD_INIT(zcipc_pools[ZCIPC_CACHE_STREAMING].blocks) },
	[ZCIPC_CACHE_UNCACHED] = { LIST_HEAD_INIT(zcipc_pools[ZCIPC_CACHE_UNCACHED].blocks) },
};

/* One at a time makes a block: the next one may find that it is enough. */
static DEFINE_MUTEX(zcipc_pools_growth);

/* Protects the pools, their blocks, and what zcipc_user_pooled() counts. */
static DEFINE_SPINLOCK(zcipc_pools_lock);

/* The blocks of all pools, by page frame number / ZCIPC_HUGE_PAGES. */
static DEFINE_XARRAY(zcipc_blocks);

/* Can frames have a cache policy on this machine? */
bool zcipc_frame_can_cache(unsigned int cache)
{
#ifdef CONFIG_X86
	/* Without PAT it would be uncached, and called something else. */
	if (cache == ZCIPC_CACHE_STREAMING)
		return pat_enabled();
	if (cache == ZCIPC_CACHE_UNCACHED)
		return true;
#endif
	return cache == ZCIPC_CACHE_DEFAULT;
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

/* Makes the kernel's own mapping of a write-back block something else, or of others write-back. */
static int zcipc_block_set_cache(const struct zcipc_block *block, unsigned int cache)
{
#ifdef CONFIG_X86
	unsigned long addr = (unsigned long)page_address(block->pages);

	if (cache == ZCIPC_CACHE_STREAMING)
		return set_memory_wc(addr, ZCIPC_HUGE_PAGES);
	if (cache == ZCIPC_CACHE_UNCACHED)
		return set_memory_uc(addr, ZCIPC_HUGE_PAGES);
	return set_memory_wb(addr, ZCIPC_HUGE_PAGES);
#else
	return 0;
#endif
}

static unsigned long zcipc_block_index(const struct page *page)
{
	return page_to_pfn(page) / ZCIPC_HUGE_PAGES;
}

/* Frees a block that is in no pool. If it cannot be write-back again its pages are lost. */
static void zcipc_block_free(struct zcipc_block *block)
{
	unsigned int i;

	WARN_ON_ONCE(!bitmap_empty(block->used, ZCIPC_HUGE_PAGES));
	xa_erase(&zcipc_blocks, zcipc_block_index(block->pages));
	if (!WARN_ON_ONCE(zcipc_block_set_cache(block, ZCIPC_CACHE_DEFAULT)))
		for (i = 0; i < ZCIPC_HUGE_PAGES; i++)
			__free_page(block->pages + i);
	kfree(block);
}

/* A block for a pool, on a node (NUMA_NO_NODE: on any), or NULL. */
static struct zcipc_block *zcipc_block_alloc(unsigned int cache, int node)
{
	struct zcipc_block *block = kzalloc(sizeof(*block), GFP_KERNEL);
	gfp_t gfp = GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;

	if (!block)
		return NULL;
	/* It is the module's, whoever was the first to need one: nobody's cgroup pays for it. */
	if (node != NUMA_NO_NODE)
		gfp |= __GFP_THISNODE;
	block->pages = zcipc_pages_alloc(gfp, node, get_order(PMD_SIZE));
	if (!block->pages) {
		kfree(block);
		return NULL;
	}
	split_page(block->pages, get_order(PMD_SIZE));
	if (zcipc_block_set_cache(block, cache) ||
	    xa_err(xa_store(&zcipc_blocks, zcipc_block_index(block->pages), block, GFP_KERNEL))) {
		/* It may have changed in part. */
		zcipc_block_free(block);
		return NULL;
	}
	return block;
}

static unsigned int zcipc_pool_max(void)
{
	return READ_ONCE(pool_mib) / (PMD_SIZE >> 20);
}

/* The limits of pools are none for who can reach all memory anyway. */
static bool zcipc_pool_unlimited(void)
{
	return ns_capable_noaudit(&init_user_ns, CAP_SYS_RAWIO);
}

/* May a pool have another block for a user? What others than the limited ones have is extra. */
static bool zcipc_pool_may_grow(const struct zcipc_pool *pool, struct zcipc_user *user,
				unsigned int cache)
{
	unsigned int max = zcipc_pool_max();

	if (zcipc_user_pooled(user, cache))
		max += DIV_ROUND_UP(READ_ONCE(pool->nothers), ZCIPC_HUGE_PAGES);
	return READ_ONCE(pool->nblocks) < max || zcipc_pool_unlimited();
}

/* Gives a pool another block. Returns 0, or -EDQUOT, -ENOMEM. */
static int zcipc_pool_grow(unsigned int cache, struct zcipc_user *user, int node)
{
	struct zcipc_pool *pool = &zcipc_pools[cache];
	struct zcipc_block *block;

	lockdep_assert_held(&zcipc_pools_growth);
	if (!zcipc_pool_may_grow(pool, user, cache))
		return -EDQUOT;
	block = zcipc_block_alloc(cache, node);
	if (!block)
		return -ENOMEM;
	spin_lock(&zcipc_pools_lock);
	pool->nblocks++;
	list_add(&block->entry, &pool->blocks);
	spin_unlock(&zcipc_pools_lock);
	return 0;
}

/* A user has more pages, or fewer. */
static void zcipc_pool_count(struct zcipc_pool *pool, struct zcipc_user *user,
			     unsigned int cache, long n)
{
	unsigned long *pooled = zcipc_user_pooled(user, cache);

	if (pooled) {
		*pooled += n;
		pool->nlimited += n;
	} else {
		pool->nothers += n;
	}
}

/* May a user have one more? */
static bool zcipc_pool_admits(const struct zcipc_pool *pool, struct zcipc_user *user,
			      unsigned int cache)
{
	const unsigned long *pooled = zcipc_user_pooled(user, cache);
	unsigned long npages = zcipc_pool_max() * ZCIPC_HUGE_PAGES;

	return !pooled || *pooled + pool->nlimited < npages || zcipc_pool_unlimited();
}

/* A page for a user, NULL if no block has one on that node (NUMA_NO_NODE: on any), or -EDQUOT. */
static struct page *zcipc_pool_take(unsigned int cache, struct zcipc_user *user, int node)
{
	struct zcipc_pool *pool = &zcipc_pools[cache];
	struct zcipc_block *block;
	struct page *page = NULL;
	unsigned int i;

	spin_lock(&zcipc_pools_lock);
	if (!zcipc_pool_admits(pool, user, cache)) {
		page = ERR_PTR(-EDQUOT);
		goto out;
	}
	list_for_each_entry(block, &pool->blocks, entry) {
		i = find_first_zero_bit(block->used, ZCIPC_HUGE_PAGES);
		if (i == ZCIPC_HUGE_PAGES)
			break;
		if (node != NUMA_NO_NODE && page_to_nid(block->pages) != node)
			continue;
		__set_bit(i, block->used);
		block->users[i] = zcipc_user_ref(user);
		page = block->pages + i;
		if (bitmap_full(block->used, ZCIPC_HUGE_PAGES))
			list_move_tail(&block->entry, &pool->blocks);
		zcipc_pool_count(pool, user, cache, 1);
		break;
	}
out:
	spin_unlock(&zcipc_pools_lock);
	return page;
}

/**
 * zcipc_pool_alloc() - a page with a cache policy
 * @user: who asks for it, and is in the pool's debt until it comes back
 * @cache: enum zcipc_cache, one that zcipc_frame_can_cache(), not write-back
 * @gfp: __GFP_ZERO unless the caller overwrites all of it; __GFP_THISNODE if @node is a must
 * @node: where it should be, or NUMA_NO_NODE
 *
 * Context: May sleep.
 * Return: the page, or -EDQUOT when the pool has not that many, -ENOMEM without 2 MiB in one piece
 */
struct page *zcipc_pool_alloc(struct zcipc_user *user, unsigned int cache, gfp_t gfp, int node)
{
	struct page *page;
	int ret;

	while (!(page = zcipc_pool_take(cache, user, node))) {
		mutex_lock(&zcipc_pools_growth);
		page = zcipc_pool_take(cache, user, node);
		ret = page ? 0 : zcipc_pool_grow(cache, user, node);
		mutex_unlock(&zcipc_pools_growth);
		if (page)
			break;
		if (!ret)
			continue;
		/* Another node is better than nothing. */
		if (node == NUMA_NO_NODE || gfp & __GFP_THISNODE)
			return ERR_PTR(ret);
		node = NUMA_NO_NODE;
	}
	if (!IS_ERR(page) && gfp & __GFP_ZERO)
		clear_highpage(page);
	return page;
}

/* Takes a page back. The caller may sleep. */
void zcipc_pool_put(struct page *page, unsigned int cache)
{
	struct zcipc_block *block = xa_load(&zcipc_blocks, zcipc_block_index(page));
	unsigned int i = page_to_pfn(page) % ZCIPC_HUGE_PAGES;
	struct zcipc_pool *pool = &zcipc_pools[cache];
	struct zcipc_user *user = block->users[i];
	bool goes;

	spin_lock(&zcipc_pools_lock);
	__clear_bit(i, block->used);
	zcipc_pool_count(pool, user, cache, -1);
	list_move(&block->entry, &pool->blocks);
	goes = bitmap_empty(block->used, ZCIPC_HUGE_PAGES) && pool->nblocks > zcipc_pool_max();
	if (goes) {
		list_del(&block->entry);
		pool->nblocks--;
	}
	spin_unlock(&zcipc_pools_lock);
	zcipc_user_put(user);
	if (goes)
		zcipc_block_free(block);
}

/* When the module goes no region is left. */
void zcipc_pool_exit(void)
{
	struct zcipc_block *block, *next;
	unsigned int i;

	for (i = ZCIPC_CACHE_STREAMING; i < ARRAY_SIZE(zcipc_pools); i++)
		list_for_each_entry_safe(block, next, &zcipc_pools[i].blocks, entry)
			zcipc_block_free(block);
}

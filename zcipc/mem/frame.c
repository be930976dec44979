// SPDX-License-Identifier: GPL-2.0
/*
 * Frames: pages that regions are made of. page->private of those that the module allocated is the
 * frame's state. All regions that have a frame have one page reference together. Each PTE has one,
 * and so has whoever pinned the page: the difference tells whether a frame is held elsewhere.
 *
 * The number of regions grows only under the lock of a region that has the frame. So for a region
 * whose lock is held a frame that it has alone stays that way.
 */
#include "base/base.h"

#include <linux/delay.h>

#include "mem/account.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/pins.h"
#include "mem/pool.h"

static struct zcipc_frame *zcipc_frame_make(struct page *page, unsigned int cache)
{
	set_page_private(page, ZCIPC_FRAME_ONE | cache << ZCIPC_FRAME_CACHE_SHIFT);
	zcipc_stat_inc(FRAMES);
	return (struct zcipc_frame *)page;
}

/**
 * zcipc_frame_alloc() - a write-back frame for one region
 * @gfp: GFP_KERNEL or a weaker mask; __GFP_ZERO unless the caller overwrites all of it
 * @node: where it should be, or, with __GFP_THISNODE, must be; NUMA_NO_NODE: where the current
 *	task's memory policy has it
 *
 * Return: the frame, charged to the current task's memory cgroup, or NULL
 */
struct zcipc_frame *zcipc_frame_alloc(gfp_t gfp, int node)
{
	struct page *page = zcipc_pages_alloc(gfp | __GFP_HIGHMEM | __GFP_ACCOUNT, node, 0);

	return page ? zcipc_frame_make(page, ZCIPC_CACHE_DEFAULT) : NULL;
}

/*
 * A frame with a cache policy, one that zcipc_frame_can_cache(). Otherwise as zcipc_frame_alloc(),
 * but -ENOMEM, or, for other policies than DEFAULT, -EDQUOT.
 */
struct zcipc_frame *zcipc_frame_alloc_cached(struct zcipc_user *user, unsigned int cache,
					     gfp_t gfp, int node)
{
	struct page *page;

	if (cache == ZCIPC_CACHE_DEFAULT)
		return zcipc_frame_alloc(gfp, node) ?: ERR_PTR(-ENOMEM);
	page = zcipc_pool_alloc(user, cache, gfp, node);
	return IS_ERR(page) ? ERR_CAST(page) : zcipc_frame_make(page, cache);
}

/* A write-back copy of a frame, or NULL. Otherwise as zcipc_frame_alloc(). */
struct zcipc_frame *zcipc_frame_copy(struct zcipc_frame *frame, gfp_t gfp, int node)
{
	struct zcipc_frame *copy = zcipc_frame_alloc(gfp, node);

	if (copy)
		copy_highpage(zcipc_frame_page(copy), zcipc_frame_page(frame));
	return copy;
}

/* A copy of a frame with a cache policy. Otherwise as zcipc_frame_alloc_cached(). */
struct zcipc_frame *zcipc_frame_copy_cached(struct zcipc_frame *frame, struct zcipc_user *user,
					    unsigned int cache, gfp_t gfp, int node)
{
	struct zcipc_frame *copy = zcipc_frame_alloc_cached(user, cache, gfp, node);

	if (!IS_ERR(copy))
		copy_highpage(zcipc_frame_page(copy), zcipc_frame_page(frame));
	return copy;
}

/* One more region has this frame, a @user's. The caller holds the lock of one that has it. */
void zcipc_frame_share(struct zcipc_frame *frame, struct zcipc_user *user)
{
	if (zcipc_frame_in_huge(frame))
		zcipc_parts_join(zcipc_frame_parts(frame), user, 1, true);
	if (zcipc_state_share(zcipc_frame_state(frame)) && zcipc_frame_is_part(frame))
		atomic_inc(&zcipc_frame_huge(frame)->nshared);
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

	/* First: when no region has it any more it may go with the last of the others. */
	if (zcipc_frame_in_huge(frame))
		zcipc_parts_leave(zcipc_frame_parts(frame), user, 1);
	if (!zcipc_state_leave(zcipc_frame_state(frame)))
		return;
	zcipc_stat_dec(FRAMES);
	if (zcipc_frame_is_imported(frame)) {
		zcipc_import_put(zcipc_frame_imported(frame));
		return;
	}
	if (zcipc_frame_is_part(frame)) {
		zcipc_huge_put_part(frame);
		return;
	}
	page = zcipc_frame_page(frame);
	set_page_private(page, 0);
	if (cache)
		zcipc_pool_put(page, cache);
	else
		put_page(page);
}

/**
 * zcipc_frame_held() - has anybody a reference?
 * @frame: of one region only, whose lock the caller holds, and which is unmapped everywhere
 * @extra: references that the caller knows of
 * @nheld: how many frames of a range have been found held, or NULL
 *
 * Somebody who walked the page tables before they changed may be about to give a reference up: so
 * look again. But not for each of many frames: others wait for the locks.
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

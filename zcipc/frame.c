// SPDX-License-Identifier: GPL-2.0
/*
 * Frames: pages that regions are made of. Owns page->private, which has the number of regions that
 * a frame belongs to, times ZCIPC_FRAME_ONE, and ZCIPC_FRAME_WAS_SHARED. All these regions together
 * have one page reference. Each PTE has one, and so has whoever pinned the page: the difference
 * tells whether a frame is held elsewhere.
 *
 * The number grows only under the lock of a region that the frame belongs to. So for a region whose
 * lock is held a frame that it has alone stays that way.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/highmem.h>

#include "zcipc.h"

static_assert(sizeof_field(struct page, private) == sizeof(atomic_long_t));

static atomic_long_t *zcipc_frame_count(struct page *page)
{
	return (atomic_long_t *)&page->private;
}

/**
 * zcipc_frame_alloc() - a frame for one region
 * @gfp: GFP_KERNEL or a weaker mask; __GFP_ZERO unless the caller overwrites all of it
 *
 * Return: the frame, or NULL. Charged to the current task's memory cgroup.
 */
struct page *zcipc_frame_alloc(gfp_t gfp)
{
	struct page *page = alloc_page(gfp | __GFP_HIGHMEM | __GFP_ACCOUNT);

	if (page) {
		set_page_private(page, ZCIPC_FRAME_ONE);
		zcipc_stat_inc(FRAMES);
	}
	return page;
}

/**
 * zcipc_frame_copy() - a copy of a frame
 * @page: the frame
 * @gfp: as for zcipc_frame_alloc()
 *
 * Return: the copy, or NULL
 */
struct page *zcipc_frame_copy(struct page *page, gfp_t gfp)
{
	struct page *copy = zcipc_frame_alloc(gfp);

	if (copy)
		copy_highpage(copy, page);
	return copy;
}

/* One more region has this frame. The caller holds the lock of one that has it. */
void zcipc_frame_share(struct page *page)
{
	if (zcipc_frame_exclusive(page))
		set_page_private(page, 2 * ZCIPC_FRAME_ONE + ZCIPC_FRAME_WAS_SHARED);
	else
		atomic_long_add(ZCIPC_FRAME_ONE, zcipc_frame_count(page));
}

/* One region less has this frame. It is not mapped for that region any more. */
void zcipc_frame_put(struct page *page)
{
	if (!zcipc_frame_exclusive(page) &&
	    atomic_long_sub_return(ZCIPC_FRAME_ONE, zcipc_frame_count(page)) >= ZCIPC_FRAME_ONE)
		return;
	set_page_private(page, 0);
	zcipc_stat_dec(FRAMES);
	put_page(page);
}

/**
 * zcipc_frame_held() - has anybody a reference?
 * @page: a frame of one region only, whose lock the caller holds, and which is unmapped everywhere
 * @extra: references that the caller knows of
 *
 * A reference may be one that is about to go, of somebody who walked the page tables before they
 * changed: so look again before believing it.
 *
 * Return: true if somebody holds the frame
 */
bool zcipc_frame_held(struct page *page, int extra)
{
	int tries;

	for (tries = 0; tries < 3; tries++) {
		if (page_count(page) <= 1 + extra)
			return false;
		usleep_range(10, 50);
	}
	return true;
}

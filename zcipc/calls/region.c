// SPDX-License-Identifier: GPL-2.0
/*
 * Calls about regions: REGION_CREATE, REGION_QUERY.
 */
#include "base/base.h"
#include "base/ucmd.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/pool.h"
#include "mem/recycle.h"
#include "mem/region.h"
#include "map/file.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "calls/calls.h"

/* Is a block to be a huge frame, and is there one? @n is how many pages of it there are. */
static bool zcipc_region_fill_huge(struct zcipc_region *region, unsigned long first,
				   unsigned long n, gfp_t gfp,
				   const struct zcipc_region_create *cmd)
{
	struct zcipc_frame *frame;

	if (region->cache != ZCIPC_CACHE_DEFAULT || cmd->flags & ZCIPC_CREATE_NO_HUGE ||
	    region->special || first % ZCIPC_HUGE_PAGES)
		return false;
	/* Who did not ask for it need not wait for memory to be compacted. */
	gfp |= __GFP_NORETRY;
	if (!(cmd->flags & ZCIPC_CREATE_HUGE))
		gfp &= ~__GFP_DIRECT_RECLAIM;
	frame = zcipc_huge_alloc(gfp, cmd->node, n);
	if (!frame)
		return false;
	zcipc_huge_parts(frame, region->frames + first, n, region->user);
	region->parts = true;
	if (n == ZCIPC_HUGE_PAGES)
		zcipc_region_set_huge(region, first);
	return true;
}

/* Allocates the frames of a new region. */
static int zcipc_region_fill(struct zcipc_region *region, gfp_t gfp,
			     const struct zcipc_region_create *cmd)
{
	struct zcipc_frame *frame;
	unsigned long i, n;

	for (i = 0; i < region->npages; i += n) {
		n = min(region->npages - i, ZCIPC_HUGE_PAGES);
		if (!zcipc_region_fill_huge(region, i, n, gfp, cmd)) {
			frame = zcipc_frame_alloc_cached(region->user, cmd->cache, gfp, cmd->node);
			if (IS_ERR(frame))
				return PTR_ERR(frame);
			region->frames[i] = frame;
			n = 1;
		}
		if (cmd->cache)
			cond_resched();
		if (!(i % ZCIPC_HUGE_PAGES)) {
			cond_resched();
			if (fatal_signal_pending(current))
				return -EINTR;
		}
	}
	return 0;
}

/* A region with frames: one that the endpoint had before, if that is allowed, or a new one. */
static struct zcipc_region *zcipc_region_obtain(struct zcipc_endpoint *ep, unsigned long npages,
						const struct zcipc_region_create *cmd)
{
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN;
	struct zcipc_region *region;
	int ret;

	if (cmd->flags & ZCIPC_CREATE_RECYCLED && cmd->node == NUMA_NO_NODE) {
		region = zcipc_recycle_take(&ep->kept, npages, cmd->flags);
		if (region)
			return region;
	}
	region = zcipc_region_alloc(ep->space.user, npages, true);
	if (IS_ERR(region))
		return region;
	if (cmd->flags & ZCIPC_CREATE_NODE_STRICT && cmd->node != ZCIPC_NODE_ANY)
		gfp |= __GFP_THISNODE;
	region->pinnable = cmd->flags & ZCIPC_CREATE_PINNABLE;
	region->unpinnable = cmd->flags & ZCIPC_CREATE_UNPINNABLE;
	zcipc_region_set_cache(region, cmd->cache);
	ret = zcipc_region_fill(region, gfp, cmd);
	if (!ret)
		return region;
	zcipc_region_put(region);
	return ERR_PTR(ret);
}

/* Enters a new region in its owner's table, and places it. The caller holds the endpoint's lock. */
static int zcipc_region_enter(struct zcipc_endpoint *ep, struct zcipc_region *region,
			      struct zcipc_cap *cap, struct zcipc_region_create *cmd)
{
	unsigned int which = zcipc_region_window(&ep->space, region, 0, true);
	unsigned long npages = region->npages, pgoff;
	int ret;

	ret = zcipc_cap_reserve(ep, 1, GFP_KERNEL);
	if (!ret && cmd->flags & ZCIPC_CREATE_MAP)
		ret = zcipc_window_reserve(&ep->space, which, npages,
					   zcipc_region_alignment(region, 0, npages, true), &pgoff);
	if (ret)
		return ret;
	zcipc_region_lock_new(region);
	zcipc_cap_enter(cap, ep);
	zcipc_cap_install(cap, region, NULL, 0, npages, ZCIPC_RIGHTS_ALL);
	cmd->addr = 0;
	if (cmd->flags & ZCIPC_CREATE_MAP) {
		zcipc_slot_install(&cap->slot, &cap->extent, pgoff, 0, npages, true);
		cmd->addr = zcipc_slot_addr(&cap->slot);
	}
	cmd->cap = cap->extent.token;
	cmd->region = region->id;
	cmd->len = (u64)npages << PAGE_SHIFT;
	cmd->huge = (u64)region->nhuge * ZCIPC_HUGE_PAGES << PAGE_SHIFT;
	return 0;
}

static int zcipc_region_create_check(const struct zcipc_region_create *cmd)
{
	if (cmd->flags & ~(ZCIPC_CREATE_MAP | ZCIPC_CREATE_HUGE | ZCIPC_CREATE_PINNABLE |
			   ZCIPC_CREATE_NODE_STRICT | ZCIPC_CREATE_NO_HUGE |
			   ZCIPC_CREATE_RECYCLED | ZCIPC_CREATE_UNPINNABLE) ||
	    (cmd->flags & (ZCIPC_CREATE_PINNABLE | ZCIPC_CREATE_RECYCLED) &&
	     cmd->cache != ZCIPC_CACHE_DEFAULT) ||
	    (cmd->cache <= ZCIPC_CACHE_WRITETHROUGH && !zcipc_frame_can_cache(cmd->cache)))
		return -EOPNOTSUPP;
	if (cmd->cache > ZCIPC_CACHE_UNCACHED || !zcipc_node_valid(cmd->node) ||
	    !cmd->len || !PAGE_ALIGNED(cmd->len) ||
	    cmd->len >> PAGE_SHIFT > ZCIPC_MAX_REGION_PAGES)
		return -EINVAL;
	if (cmd->flags & ZCIPC_CREATE_HUGE &&
	    (cmd->flags & (ZCIPC_CREATE_NO_HUGE | ZCIPC_CREATE_UNPINNABLE) || cmd->cache))
		return -EINVAL;
	if (cmd->flags & ZCIPC_CREATE_PINNABLE && cmd->flags & ZCIPC_CREATE_UNPINNABLE)
		return -EINVAL;
	return 0;
}

/* ZCIPC_IOC_REGION_CREATE */
int zcipc_region_create(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_create *cmd = ucmd->cmd;
	bool map = cmd->flags & ZCIPC_CREATE_MAP;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct mm_struct *mm = ep->space.mm;
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	unsigned long npages;
	int ret;

	ret = zcipc_region_create_check(cmd);
	if (ret)
		return ret;
	npages = cmd->len >> PAGE_SHIFT;
	if (cmd->flags & ZCIPC_CREATE_HUGE)
		npages = ALIGN(npages, ZCIPC_HUGE_PAGES);
	region = zcipc_region_obtain(ep, npages, cmd);
	if (IS_ERR(region))
		return PTR_ERR(region);
	region->maker = ep->space.id;
	cap = zcipc_cap_alloc(NUMA_NO_NODE);
	ret = cap ? 0 : -ENOMEM;
	if (!ret && map)
		ret = mmap_read_lock_killable(mm);
	if (ret)
		goto out;
	mutex_lock(&ep->space.lock);
	ret = zcipc_region_enter(ep, region, cap, cmd);
	if (!ret && map && npages <= ZCIPC_LONG_PAGES)
		zcipc_slot_populate(&cap->slot, 0, npages);
	mutex_unlock(&ep->space.lock);
	if (!ret && map && npages > ZCIPC_LONG_PAGES)
		zcipc_slot_populate_long(&cap->slot);
	if (map)
		mmap_read_unlock(mm);
	if (ret)
		goto out;
	mutex_unlock(&region->lock);
	cap = NULL;
	ret = zcipc_ucmd_respond(ucmd);
	if (ret)
		zcipc_cap_remove_token(ep, cmd->cap);
out:
	zcipc_cap_free(cap);
	zcipc_region_put(region);
	return ret;
}

/* ZCIPC_IOC_REGION_QUERY */
int zcipc_region_query(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_query *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_region *region;
	struct zcipc_cap *cap, *other;
	struct zcipc_frame *frame;
	unsigned long i, end;
	int node;

	if (cmd->__reserved)
		return -EINVAL;
	cap = zcipc_cap_find_region(ep, cmd->cap);
	if (IS_ERR(cap))
		return PTR_ERR(cap);
	region = cap->extent.region;
	cmd->region = region->id;
	cmd->region_len = (u64)region->npages << PAGE_SHIFT;
	cmd->offset = (u64)cap->extent.first << PAGE_SHIFT;
	cmd->len = (u64)cap->extent.npages << PAGE_SHIFT;
	cmd->rights = cap->rights;
	cmd->present = region->file ? cmd->len : 0;
	cmd->shared = 0;
	cmd->node = ZCIPC_NODE_ANY;
	end = cap->extent.first + cap->extent.npages;
	for (i = cap->extent.first; region->frames && i < end; i++) {
		frame = region->frames[i];
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if (!frame)
			continue;
		node = page_to_nid(zcipc_frame_page(frame));
		if (!cmd->present)
			cmd->node = node;
		else if (cmd->node != node)
			cmd->node = ZCIPC_NODE_ANY;
		cmd->present += PAGE_SIZE;
		if (!zcipc_frame_sole(frame))
			cmd->shared += PAGE_SIZE;
	}
	cmd->caps = 0;
	cmd->maps = 0;
	list_for_each_entry(other, &region->extents, extent.region_entry) {
		cmd->caps++;
		cmd->maps += other->extent.nslots;
		cond_resched();
	}
	cmd->derived = zcipc_cap_derived(cap);
	cmd->depth = zcipc_cap_depth(cap);
	cmd->cache = region->cache;
	zcipc_region_unlock_put(region);
	return zcipc_ucmd_respond(ucmd);
}

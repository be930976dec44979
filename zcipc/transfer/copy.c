// SPDX-License-Identifier: GPL-2.0
/*
 * COPY: the peer gets a region of its own. A snapshot shares the frames with the sender's region,
 * copy-on-write; where that costs more, or cannot be, all are copied.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/cow.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "transfer/direct.h"
#include "transfer/transfer.h"

static int zcipc_copy_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	const struct zcipc_region *region = cap->extent.region;

	/* Nobody can pin it for long. */
	if (t->cache == region->cache)
		t->window = zcipc_region_window(&t->dst->space, region,
						t->ops->copies ? 0 : t->npinned, false);
	else
		t->window = t->cache;
	return 0;
}

/* The sender's endpoint, if nothing of the range is mapped there any more, else NULL. */
static struct zcipc_space *zcipc_copy_unmapped(const struct zcipc_transfer_state *t)
{
	return t->ptes == ZCIPC_PTES_UNMAPPED ? &t->src->space : NULL;
}

/* First page of the copy that is the sender's region's. */
static unsigned long zcipc_copy_at(const struct zcipc_transfer_state *t)
{
	return t->direct ? t->direct->first : 0;
}

/* Are copies on the node where they have to be? */
static int zcipc_copy_is_near(struct zcipc_transfer_state *t)
{
	if (t->plan.node == NUMA_NO_NODE)
		return 0;
	t->plan.off_node = zcipc_region_off_node(t->region, zcipc_copy_at(t), t->npages,
						 t->plan.node);
	return t->plan.off_node && t->plan.node_strict ? -ENOMEM : 0;
}

/* Copies all frames. */
static int zcipc_copy_work_all(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	int node = t->plan.node != NUMA_NO_NODE ? t->plan.node : READ_ONCE(t->dst->node);
	bool frozen = zcipc_cow_look(region, t->first, t->npages) == ZCIPC_COW_NOTHING;
	bool same_mm = t->src->space.mm == t->dst->space.mm;
	bool carried = !frozen && t->carry &&
		       zcipc_carry_freeze(t->carry, region, t->first, t->npages, &t->src->space,
					  same_mm);
	int ret;

	/* The instant is now: whoever writes next waits for the region's lock. */
	if (!frozen && !carried)
		zcipc_region_unmap(region, t->first, t->npages, zcipc_copy_unmapped(t));
	zcipc_test_point("frozen");
	/* What has been carried nobody holds. */
	ret = zcipc_cow_copy(region, t->first, t->npages, t->region, zcipc_copy_at(t),
			     t->cache, node, t->plan.strict && !carried);
	if (carried)
		zcipc_carry_thaw(t->carry, same_mm);
	return ret ?: zcipc_copy_is_near(t);
}

/* Takes a snapshot. */
static int zcipc_copy_snapshot(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	unsigned long at = zcipc_copy_at(t);
	bool same_mm = t->src->space.mm == t->dst->space.mm;
	enum zcipc_cow_freeze freeze;
	u32 unused = t->npages;
	bool carried;
	int ret;

	if (t->torn)
		t->plan.mended = zcipc_cow_mend(region, t->first, t->npages);
	/* Others of the batch, and what has been done just now, may have changed that. */
	if (t->dst->space.user != region->user)
		t->nloose = zcipc_region_count_loose(region, t->first, t->npages, &unused);
	freeze = zcipc_cow_look(region, t->first, t->npages);
	/* PTEs of huge frames do not last: who writes to one that is his alone again unmaps it. */
	carried = freeze == ZCIPC_COW_ALL && t->carry && zcipc_carry_is_worth(t->npages) &&
		  !t->nloose &&
		  (t->plan.mended ||
		   zcipc_region_alignment(region, t->first, t->npages, true) < 0) &&
		  zcipc_carry_freeze(t->carry, region, t->first, t->npages, &t->src->space,
				     same_mm);
	if (carried || (freeze == ZCIPC_COW_NOTHING && !t->nloose)) {
		zcipc_test_point("frozen");
		zcipc_cow_share(region, t->first, t->npages, t->region, at);
		if (carried)
			zcipc_carry_thaw(t->carry, same_mm);
		return 0;
	}
	ret = zcipc_cow_snapshot(region, t->first, t->npages, t->region, at,
				 zcipc_copy_unmapped(t), freeze, &t->plan);
	/* Copies may be elsewhere than the frames are. */
	if (ret || !(t->plan.held + t->plan.nloose))
		return ret;
	return zcipc_copy_is_near(t);
}

static int zcipc_copy_work_snapshot(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	int ret = 0;

	if (t->plan.node != NUMA_NO_NODE)
		ret = zcipc_transfer_migrate(t, cap);
	if (!ret)
		ret = zcipc_copy_snapshot(t, cap->extent.region);
	/* Those of the snapshot: the peer's user is charged for what it has of the region's. */
	if (!ret && t->pins)
		t->npinned = zcipc_region_count_pins(t->region, 0, t->region->npages);
	return ret;
}

static void zcipc_copy_commit_all(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	/* The frames are the same, and so is who may hold them. */
	t->region->unpinnable = cap->extent.region->unpinnable;
	zcipc_region_set_cache(t->region, t->cache);
}

static void zcipc_copy_commit_snapshot(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	zcipc_copy_commit_all(t, cap);
	if (cap->rights & ZCIPC_RIGHT_WRITE)
		cap->extent.region->break_huge = t->cmd->flags & ZCIPC_F_BREAK_HUGE;
	if (!t->pins)
		return;
	/* What has been copied need not be pinned. */
	t->region->npinned = t->npinned;
	zcipc_uncharge_pins(t->dst->space.user, t->pins - t->npinned);
}

const struct zcipc_transfer_ops zcipc_snapshot = {
	.right = ZCIPC_RIGHT_READ,
	.fresh = true,
	.places = true,
	.admit = zcipc_copy_admit,
	.work = zcipc_copy_work_snapshot,
	.commit = zcipc_copy_commit_snapshot,
};

/* As ZCIPC_F_AUTO has it, or as no two regions have a frame of a pool. */
const struct zcipc_transfer_ops zcipc_copy = {
	.right = ZCIPC_RIGHT_READ,
	.copies = true,
	.fresh = true,
	.places = true,
	.admit = zcipc_copy_admit,
	.work = zcipc_copy_work_all,
	.commit = zcipc_copy_commit_all,
};

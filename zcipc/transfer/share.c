// SPDX-License-Identifier: GPL-2.0
/*
 * SHARE, also of a file's range, and GRANT: the peer's capability is derived from the sender's, and
 * the region stays as it is, unless it is to have another cache policy, or to be on another node.
 */
#include "base/base.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "transfer/transfer.h"

/* Does any capability but this one name pages of the range? */
bool zcipc_transfer_others_hold(const struct zcipc_transfer_state *t, const struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_extent *other = zcipc_extent_next(region, NULL, t->first, t->npages);

	return other != &cap->extent ||
	       zcipc_extent_next(region, other, t->first, t->npages);
}

/* Brings the frames of a range that is not moved to a node, if they are nobody else's. */
int zcipc_transfer_migrate(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	int ret;

	t->plan.off_node = zcipc_region_off_node(region, t->first, t->npages, t->plan.node);
	if (!t->plan.off_node)
		return 0;
	if (zcipc_transfer_others_hold(t, cap))
		return t->plan.node_strict ? -EBUSY : 0;
	t->plan.off_node = 0;
	zcipc_region_unmap(region, t->first, t->npages, NULL);
	ret = zcipc_region_plan(region, t->first, t->npages, ZCIPC_GFP_LOCKED, &t->plan);
	if (!ret)
		zcipc_region_replace(region, t->first, &t->plan);
	return ret;
}

static int zcipc_share_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	const struct zcipc_region *region = cap->extent.region;
	int ret;

	if (zcipc_cap_depth(cap) >= ZCIPC_MAX_DEPTH)
		return -ENOBUFS;
	ret = zcipc_transfer_choose_window(t, region);
	if (ret || t->cache == region->cache)
		return ret;
	/* Both will have it, in windows for the new policy, so it is the whole region's. */
	return list_is_singular(&region->extents) && list_empty(&cap->extent.slots) ? 0 : -EBUSY;
}

static int zcipc_share_work(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;

	if (t->cache == region->cache)
		return t->plan.node == NUMA_NO_NODE ? 0 : zcipc_transfer_migrate(t, cap);
	/* Who holds pages of what is to be shared may go on to write to them. */
	t->plan.strict = true;
	return zcipc_region_plan(region, 0, region->npages, ZCIPC_GFP_LOCKED, &t->plan);
}

const struct zcipc_transfer_ops zcipc_share = {
	.right = ZCIPC_RIGHT_GRANT,
	.places = true,
	.admit = zcipc_share_admit,
	.work = zcipc_share_work,
};

/* Nothing is mapped before the peer wants it, or, of a file, receives it. */
const struct zcipc_transfer_ops zcipc_grant = {
	.right = ZCIPC_RIGHT_GRANT,
	.admit = zcipc_share_admit,
};

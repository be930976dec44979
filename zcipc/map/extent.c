// SPDX-License-Identifier: GPL-2.0
/*
 * Extents, by their ranges: the way from a page of a region to all that may map it.
 */
#include "base/base.h"

#include <linux/interval_tree_generic.h>

#include "mem/region.h"
#include "map/extent.h"
#include "map/space.h"

static unsigned long zcipc_extent_first(const struct zcipc_extent *extent)
{
	return extent->first;
}

static unsigned long zcipc_extent_last(const struct zcipc_extent *extent)
{
	return extent->first + extent->npages - 1;
}

INTERVAL_TREE_DEFINE(struct zcipc_extent, range_node, unsigned long, range_last,
		     zcipc_extent_first, zcipc_extent_last, static, zcipc_ranges)

/* Names a range. The caller holds the locks of space and region; the latter gets a reference. */
void zcipc_extent_install(struct zcipc_extent *extent, struct zcipc_region *region,
			  unsigned long first, unsigned long npages)
{
	lockdep_assert_held(&extent->space->lock);
	lockdep_assert_held(&region->lock);
	extent->region = zcipc_region_get(region);
	extent->first = first;
	extent->npages = npages;
	list_add_tail(&extent->region_entry, &region->extents);
	zcipc_ranges_insert(extent, &region->ranges);
	zcipc_region_count_uses(region, 1);
}

/* It is as good as gone, but for its owner. The caller holds the region's lock. */
void zcipc_extent_revoke(struct zcipc_extent *extent)
{
	struct zcipc_region *region = extent->region;

	lockdep_assert_held(&region->lock);
	WRITE_ONCE(extent->revoked, true);
	zcipc_ranges_remove(extent, &region->ranges);
	zcipc_region_count_uses(region, -1);
	list_move_tail(&extent->region_entry, &region->revoked);
}

/* Takes it out of its region, whose lock the caller holds. The reference is left. */
void zcipc_extent_detach(struct zcipc_extent *extent)
{
	if (!extent->revoked)
		zcipc_extent_revoke(extent);
	list_del(&extent->region_entry);
}

/*
 * The next extent that names pages of a range, and is not revoked, or NULL. After NULL it is the
 * first. The caller holds the region's lock.
 */
struct zcipc_extent *zcipc_extent_next(struct zcipc_region *region, struct zcipc_extent *extent,
				       unsigned long first, unsigned long npages)
{
	lockdep_assert_held(&region->lock);
	if (extent)
		return zcipc_ranges_iter_next(extent, first, first + npages - 1);
	return zcipc_ranges_iter_first(&region->ranges, first, first + npages - 1);
}

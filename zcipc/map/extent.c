// SPDX-License-Identifier: GPL-2.0
/*
 * Extents, by their ranges: the way from a page of a region to all that may map it.
 */
#include <linux/interval_tree_generic.h>
#include <linux/list.h>
#include <linux/lockdep.h>

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

/* One that is nobody's yet, and is all zero. */
void zcipc_extent_init(struct zcipc_extent *extent)
{
	INIT_LIST_HEAD(&extent->region_entry);
	INIT_LIST_HEAD(&extent->slots);
}

/**
 * zcipc_extent_install() - name a range
 * @extent: of a space whose lock the caller holds
 * @region: what it names; the caller holds its lock. Gets a reference.
 * @first: first page of the range
 * @npages: number of pages
 */
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
	struct zcipc_region *region = extent->region;

	lockdep_assert_held(&region->lock);
	if (!extent->revoked) {
		zcipc_ranges_remove(extent, &region->ranges);
		zcipc_region_count_uses(region, -1);
	}
	list_del(&extent->region_entry);
}

/**
 * zcipc_extent_next() - go through the extents that name pages of a range
 * @region: the region; the caller holds its lock
 * @extent: the one before, NULL: from the beginning
 * @first: first page
 * @npages: number of pages
 *
 * Return: the next one that is not revoked, or NULL
 */
struct zcipc_extent *zcipc_extent_next(struct zcipc_region *region, struct zcipc_extent *extent,
				       unsigned long first, unsigned long npages)
{
	lockdep_assert_held(&region->lock);
	if (extent)
		return zcipc_ranges_iter_next(extent, first, first + npages - 1);
	return zcipc_ranges_iter_first(&region->ranges, first, first + npages - 1);
}

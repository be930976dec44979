/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Extents: ranges of regions that spaces may map, and where they do. A capability has one.
 */
#ifndef ZCIPC_EXTENT_H
#define ZCIPC_EXTENT_H

#include "base/base.h"

struct zcipc_region;
struct zcipc_space;

/**
 * struct zcipc_extent - a range of a region that a space may map
 * @token: what user space calls it, unique in the space for all time
 * @space: whose it is
 * @region: the region, with a reference
 * @first: first page of the range in the region
 * @npages: length of the range
 * @revoked: dead: nothing is mapped by it and nothing will be. Set under the region's lock
 * @unready: of memory that is being adopted; space->lock
 * @nslots: number of @slots
 * @region_entry: in region->extents, or region->revoked; region->lock
 * @range_node: in region->ranges, unless it is revoked; region->lock, as the next one
 * @range_last: the last page of all ranges at and below that node
 * @slots: struct zcipc_slot.entry; changed under both locks, read under either
 */
struct zcipc_extent {
	u64 token;
	struct zcipc_space *space;
	struct zcipc_region *region;
	unsigned long first;
	unsigned long npages;
	bool revoked;
	bool unready;
	u32 nslots;
	struct list_head region_entry;
	struct rb_node range_node;
	unsigned long range_last;
	struct list_head slots;
};

void zcipc_extent_install(struct zcipc_extent *extent, struct zcipc_region *region,
			  unsigned long first, unsigned long npages);
void zcipc_extent_revoke(struct zcipc_extent *extent);
void zcipc_extent_detach(struct zcipc_extent *extent);
struct zcipc_extent *zcipc_extent_next(struct zcipc_region *region, struct zcipc_extent *extent,
				       unsigned long first, unsigned long npages);

#endif /* ZCIPC_EXTENT_H */

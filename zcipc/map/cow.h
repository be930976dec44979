/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Copy-on-write: see cow.c.
 */
#ifndef ZCIPC_COW_H
#define ZCIPC_COW_H

#include "base/base.h"

struct zcipc_space;
struct zcipc_frame;
struct zcipc_plan;
struct zcipc_region;

/* Of a range: all is to be unmapped, or just what can be writable, or nothing is. */
enum zcipc_cow_freeze {
	ZCIPC_COW_ALL,
	ZCIPC_COW_SOME,
	ZCIPC_COW_NOTHING,
};

/* To unmap a run of pages alone pays off where there is but one in so many. */
#define ZCIPC_COW_RUN		32UL

/* To copy so many pages is cheaper than to share all pages of 2 MiB one by one. */
#define ZCIPC_COW_MEND		16U

/* So many pages are copied at once, */
#define ZCIPC_COW_AHEAD		16UL

/* when that many have been written one after the other. */
#define ZCIPC_COW_STREAK	16U

enum zcipc_cow_freeze zcipc_cow_look(const struct zcipc_region *region, unsigned long first,
				     unsigned long npages);
void zcipc_cow_share(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     struct zcipc_region *snapshot, unsigned long at);
bool zcipc_cow_is_torn(const struct zcipc_region *region, unsigned long first,
		       unsigned long npages);
u64 zcipc_cow_mend(struct zcipc_region *region, unsigned long first, unsigned long npages);
int zcipc_cow_snapshot(struct zcipc_region *region, unsigned long first, unsigned long npages,
		       struct zcipc_region *snapshot, unsigned long at,
		       const struct zcipc_space *except, enum zcipc_cow_freeze freeze,
		       struct zcipc_plan *plan);
unsigned long zcipc_cow_break_ahead(struct zcipc_space *space, struct zcipc_region *region,
				    unsigned long index, unsigned long max);
int zcipc_cow_copy(struct zcipc_region *region, unsigned long first, unsigned long npages,
		   struct zcipc_region *snapshot, unsigned long at,
		   unsigned int cache, int node, bool strict);
bool zcipc_cow_breaks_huge(const struct zcipc_region *region, unsigned long index);
void zcipc_cow_spare(struct zcipc_frame **spare, bool huge);
void zcipc_cow_spare_put(struct zcipc_frame *spare);
int zcipc_cow_break(struct zcipc_space *space, struct zcipc_region *region, unsigned long index,
		    struct zcipc_frame **spare, int extra);

#endif /* ZCIPC_COW_H */

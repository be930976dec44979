/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What becomes of frames that cannot be given away as they are: see plan.c.
 */
#ifndef ZCIPC_PLAN_H
#define ZCIPC_PLAN_H

#include "base/base.h"

struct zcipc_frame;
struct zcipc_region;

/**
 * struct zcipc_plan - frames of a range that are to be replaced
 * @take: also those that somebody holds: the range is to be given away
 * @strict: fail if somebody holds one
 * @node_strict: fail if one cannot be there
 * @brief: fail if copies would take long
 * @others: another user gets the range: see zcipc_region_fate()
 * @cache: the policy that they are to have; if the region's is another one, all are replaced
 * @node: where they are to be, or NUMA_NO_NODE
 * @npages: length of the range
 * @copies: a copy, or NULL, for each page of the range; NULL if no frame is to be replaced
 * @held: bytes to be copied because somebody holds the frames
 * @mended: bytes copied to make blocks huge frames again
 * @migrated: bytes to be copied because they are on another node
 * @off_node: bytes that will not be on @node
 * @nheld: frames found held so far
 * @nloose: frames to be copied because another user gets only parts of a huge page
 * @spares: frames for copies, by page->lru; their cache policy is write-back
 */
struct zcipc_plan {
	bool take;
	bool strict;
	bool node_strict;
	bool brief;
	bool others;
	u8 cache;
	int node;
	u32 npages;
	struct zcipc_frame **copies;
	u64 held;
	u64 mended;
	u64 migrated;
	u64 off_node;
	unsigned int nheld;
	u32 nloose;
	struct list_head spares;
};

int zcipc_region_plan(struct zcipc_region *region, unsigned long first, unsigned long npages,
		      gfp_t gfp, struct zcipc_plan *plan);
u64 zcipc_region_off_node(const struct zcipc_region *region, unsigned long first,
			  unsigned long npages, int node);
void zcipc_region_plan_free(struct zcipc_plan *plan);
void zcipc_region_replace(struct zcipc_region *region, unsigned long first,
			  struct zcipc_plan *plan);

#endif /* ZCIPC_PLAN_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of frames of a region that cannot be given away as they are: somebody holds them,
 * they are on another node, have another cache policy, or are parts of what another user has.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/plan.h"
#include "mem/region.h"

/* Bytes of a range that are not on a node. */
u64 zcipc_region_off_node(const struct zcipc_region *region, unsigned long first,
			  unsigned long npages, int node)
{
	unsigned long i;
	u64 off = 0;

	for (i = first; i < first + npages; i++) {
		if (region->frames[i] && page_to_nid(zcipc_frame_page(region->frames[i])) != node)
			off += PAGE_SIZE;
		zcipc_resched(i);
	}
	return off;
}

/* Is a frame on another node than it should be? */
static bool zcipc_plan_is_away(const struct zcipc_plan *plan, const struct zcipc_frame *frame)
{
	return plan->node != NUMA_NO_NODE && page_to_nid(zcipc_frame_page(frame)) != plan->node;
}

/* What is copied only because it is away stays there if there is no memory. */
static gfp_t zcipc_plan_gfp_near(gfp_t gfp)
{
	return (gfp & ~__GFP_NOFAIL) | __GFP_THISNODE | __GFP_NORETRY | __GFP_NOWARN;
}

/* Would there be more copies, with @n more, than others are to wait for? */
static bool zcipc_plan_is_much(const struct zcipc_plan *plan, unsigned long n)
{
	return plan->brief && (plan->held >> PAGE_SHIFT) + plan->nloose + n > ZCIPC_LONG_COPIES;
}

/* Gives some copies up. */
static void zcipc_plan_drop(struct zcipc_plan *plan, unsigned long i, unsigned long n)
{
	unsigned long end = i + n;

	for (; plan->copies && i < end; i++) {
		if (plan->copies[i])
			zcipc_frame_put(plan->copies[i], NULL);
		plan->copies[i] = NULL;
		zcipc_resched(i);
	}
}

/* Copies a frame: to a spare, if there is one that can be it. They are write-back, and anywhere. */
static int zcipc_plan_copy(struct zcipc_plan *plan, const struct zcipc_region *region,
			   struct zcipc_frame *frame, unsigned long i, gfp_t gfp)
{
	struct page *spare = list_first_entry_or_null(&plan->spares, struct page, lru);
	struct zcipc_frame *copy = (struct zcipc_frame *)spare;

	if (!plan->copies)
		plan->copies = kvcalloc(plan->npages, sizeof(copy), gfp & ~__GFP_THISNODE);
	if (!plan->copies)
		return -ENOMEM;
	if (spare && !plan->cache && !(gfp & __GFP_THISNODE)) {
		list_del(&spare->lru);
		copy_highpage(spare, zcipc_frame_page(frame));
	} else {
		copy = zcipc_frame_copy_cached(frame, region->user, plan->cache, gfp, plan->node);
	}
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	plan->copies[i] = copy;
	return 0;
}

/* Notes whether a page will be on the node where it should be. */
static int zcipc_plan_check_node(struct zcipc_plan *plan, const struct zcipc_frame *frame,
				 unsigned long i)
{
	if (plan->copies && plan->copies[i])
		frame = plan->copies[i];
	if (!zcipc_plan_is_away(plan, frame))
		return 0;
	plan->off_node += PAGE_SIZE;
	return plan->node_strict ? -EBUSY : 0;
}

/* Copies @n pages from @index on. */
static int zcipc_plan_copy_range(struct zcipc_plan *plan, const struct zcipc_region *region,
				 unsigned long index, unsigned long i, unsigned long n, gfp_t gfp)
{
	struct zcipc_frame **frame = region->frames + index;
	unsigned long end = i + n;
	int ret = 0;

	for (; i < end && !ret; i++, frame++) {
		zcipc_resched(i);
		if (fatal_signal_pending(current) && !(gfp & __GFP_NOFAIL))
			return -EINTR;
		ret = zcipc_plan_copy(plan, region, *frame, i, gfp);
		if (!ret)
			ret = zcipc_plan_check_node(plan, *frame, i);
	}
	return ret;
}

/*
 * Another user could get all parts of a huge page as they are, but that is on the wrong node. If
 * somebody else has some it stays there; otherwise all are copied, or, without memory, none.
 */
static int zcipc_plan_away(struct zcipc_plan *plan, const struct zcipc_region *region,
			   unsigned long index, unsigned long i, unsigned long n, gfp_t gfp)
{
	int ret = -EBUSY;
	unsigned long k;

	for (k = 0; k < n && zcipc_frame_exclusive(region->frames[index + k]); k++)
		;
	if (k == n)
		ret = zcipc_plan_copy_range(plan, region, index, i, n, zcipc_plan_gfp_near(gfp));
	if (!ret)
		plan->migrated += n << PAGE_SHIFT;
	if (!ret || plan->node_strict)
		return ret;
	zcipc_plan_drop(plan, i, n);
	plan->off_node += n << PAGE_SHIFT;
	return 0;
}

/* Parts of huge pages, of which another user gets @left. [out] @n: how many have been planned. */
static int zcipc_plan_parts(struct zcipc_plan *plan, const struct zcipc_region *region,
			    unsigned long index, unsigned long left, unsigned long i, gfp_t gfp,
			    unsigned long *n)
{
	enum zcipc_fate fate = zcipc_region_fate(region, index, left, &plan->nheld, n);
	bool away = zcipc_plan_is_away(plan, region->frames[index]);

	cond_resched();
	if (fate == ZCIPC_FATE_GO && !away)
		return 0;
	if (plan->strict && fate == ZCIPC_FATE_HELD)
		return -EBUSY;
	if (zcipc_plan_is_much(plan, *n))
		return -E2BIG;
	if (fate == ZCIPC_FATE_GO)
		return zcipc_plan_away(plan, region, index, i, *n, gfp);
	if (fate == ZCIPC_FATE_HELD)
		plan->held += *n << PAGE_SHIFT;
	else
		plan->nloose += *n;
	if (plan->node_strict)
		gfp |= __GFP_THISNODE;
	return zcipc_plan_copy_range(plan, region, index, i, *n, gfp);
}

/* A frame that is to have another cache policy is another frame. */
static int zcipc_plan_cache(struct zcipc_plan *plan, const struct zcipc_region *region,
			    struct zcipc_frame *frame, unsigned long i, gfp_t gfp)
{
	/* To read uncached memory takes long. */
	cond_resched();
	/* What a snapshot has, too, others can hold for reading only. */
	if (plan->strict && zcipc_frame_exclusive(frame) &&
	    zcipc_frame_held(frame, 0, &plan->nheld))
		return -EBUSY;
	if (plan->node_strict)
		gfp |= __GFP_THISNODE;
	return zcipc_plan_copy(plan, region, frame, i, gfp);
}

/* What is to be done with one page. */
static int zcipc_plan_frame(struct zcipc_plan *plan, const struct zcipc_region *region,
			    struct zcipc_frame *frame, unsigned long i, gfp_t gfp)
{
	bool held, away = zcipc_plan_is_away(plan, frame);
	int ret = 0;

	if (!zcipc_frame_exclusive(frame) || (!plan->take && !away))
		return 0;
	/* Nobody can hold what is from a pool; a copy would have to be from there, too. */
	held = !plan->cache && zcipc_frame_held(frame, 0, &plan->nheld);
	if (held && plan->take) {
		if (plan->strict)
			return -EBUSY;
		ret = zcipc_plan_copy(plan, region, frame, i, gfp);
		if (!ret)
			plan->held += PAGE_SIZE;
	} else if (!held && away) {
		ret = zcipc_plan_copy(plan, region, frame, i, zcipc_plan_gfp_near(gfp));
		if (!ret)
			plan->migrated += PAGE_SIZE;
		else if (!plan->node_strict)
			ret = 0;
	}
	return ret;
}

/**
 * zcipc_region_plan() - find the frames that have to be replaced, and copy them
 * @region: the region; the caller holds its lock, and has unmapped the range
 * @first: first page
 * @npages: number of pages
 * @gfp: for the copies
 * @plan: [in] what for; [out] the copies and the counts, which were zero
 *
 * Of a range that is to be given away, so that nobody can reach it by a reference to its pages, a
 * frame that is held is to be replaced by a copy; its holder keeps it. A frame that belongs to
 * another region too is left: whoever holds it can only have it for reading, and the region does
 * not write to it (zcipc_cow_break() looks again).
 *
 * Frames on another node are replaced if nobody else has them. If the region's cache policy is not
 * the plan's, all are. Parts of huge pages are, if another user gets only some of them.
 *
 * zcipc_region_replace() or zcipc_region_plan_free() must follow, before anything is mapped again.
 *
 * Return: 0, or -EBUSY (strict), -E2BIG (brief), -ENOMEM, -EINTR, -EDQUOT (of a cache policy), with
 * nothing allocated
 */
int zcipc_region_plan(struct zcipc_region *region, unsigned long first, unsigned long npages,
		      gfp_t gfp, struct zcipc_plan *plan)
{
	bool all = plan->cache != region->cache;
	bool anywhere = plan->node == NUMA_NO_NODE && !all;
	struct folio *huge = NULL;
	unsigned long i, n;
	int ret = 0;

	lockdep_assert_held(&region->lock);
	plan->npages = npages;
	for (i = 0; i < npages && !ret; i++) {
		struct zcipc_frame *frame = region->frames[first + i];

		zcipc_resched(i + 1);
		if (!frame)
			continue;
		if (plan->others && !all && zcipc_frame_in_huge(frame)) {
			ret = zcipc_plan_parts(plan, region, first + i, npages - i, i, gfp, &n);
			i += n - 1;
			continue;
		}
		if (anywhere && zcipc_region_huge_at(region, first + i, npages - i) &&
		    zcipc_frame_is_free(frame, &huge)) {
			i += ZCIPC_HUGE_PAGES - 1;
			continue;
		}
		/* What nearly all are: nobody else's. */
		if (anywhere && zcipc_frame_exclusive(frame) && zcipc_frame_is_free(frame, &huge))
			continue;
		if (fatal_signal_pending(current) && !(gfp & __GFP_NOFAIL))
			ret = -EINTR;
		else if (all)
			ret = zcipc_plan_cache(plan, region, frame, i, gfp);
		else
			ret = zcipc_plan_frame(plan, region, frame, i, gfp);
		if (!ret)
			ret = zcipc_plan_check_node(plan, frame, i);
		if (!ret && zcipc_plan_is_much(plan, 0))
			ret = -E2BIG;
	}
	if (ret)
		zcipc_region_plan_free(plan);
	return ret;
}

/* Gives a plan up. */
void zcipc_region_plan_free(struct zcipc_plan *plan)
{
	zcipc_plan_drop(plan, 0, plan->npages);
	kvfree(plan->copies);
	plan->copies = NULL;
}

/**
 * zcipc_region_replace() - carry a plan out
 * @region: the region; the caller has held its lock since zcipc_region_plan()
 * @first: first page
 * @plan: what zcipc_region_plan() made
 */
void zcipc_region_replace(struct zcipc_region *region, unsigned long first,
			  struct zcipc_plan *plan)
{
	struct zcipc_frame *frame;
	unsigned long i;

	lockdep_assert_held(&region->lock);
	if (!plan->copies)
		return;
	for (i = 0; i < plan->npages; i++) {
		zcipc_resched(i);
		if (!plan->copies[i])
			continue;
		frame = region->frames[first + i];
		zcipc_region_set_frame(region, first + i, plan->copies[i]);
		zcipc_frame_put(frame, region->user);
	}
	kvfree(plan->copies);
	plan->copies = NULL;
}

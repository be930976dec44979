// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of frames of a region that cannot be given away as they are: somebody holds them,
 * they are on another node, have another cache policy, or are parts of what another user has.
 */
#include <linux/highmem.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "base/limits.h"
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
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
	return off;
}

/* A copy of a frame that is held, which may have been prepared. */
static struct zcipc_frame *zcipc_region_copy_held(struct zcipc_frame *frame, gfp_t gfp,
						  struct zcipc_plan *plan)
{
	struct page *spare = list_first_entry_or_null(&plan->spares, struct page, lru);

	if (!spare)
		return zcipc_frame_copy(frame, gfp, plan->node);
	list_del(&spare->lru);
	copy_highpage(spare, zcipc_frame_page(frame));
	return (struct zcipc_frame *)spare;
}

/* Room for copies, if there is none yet. */
static bool zcipc_region_plan_copies(gfp_t gfp, struct zcipc_plan *plan)
{
	if (!plan->copies)
		plan->copies = kvcalloc(plan->npages, sizeof(*plan->copies), gfp);
	return plan->copies;
}

/* A frame that is to have another cache policy is another frame. */
static int zcipc_region_plan_cache(struct zcipc_frame *frame, unsigned long i, gfp_t gfp,
				   struct zcipc_user *user, struct zcipc_plan *plan)
{
	struct zcipc_frame *copy;

	/* To read uncached memory takes long. */
	cond_resched();
	/* What a snapshot has, too, others can hold for reading only. */
	if (plan->strict && zcipc_frame_exclusive(frame) &&
	    zcipc_frame_held(frame, 0, &plan->nheld))
		return -EBUSY;
	if (!zcipc_region_plan_copies(gfp, plan))
		return -ENOMEM;
	if (plan->node_strict)
		gfp |= __GFP_THISNODE;
	copy = zcipc_frame_copy_cached(frame, user, plan->cache, gfp, plan->node);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	plan->copies[i] = copy;
	if (plan->node != NUMA_NO_NODE && page_to_nid(zcipc_frame_page(copy)) != plan->node)
		plan->off_node += PAGE_SIZE;
	return 0;
}

/*
 * Another user could get all parts of a huge page as they are, but that is on the wrong node. If
 * somebody else has some it stays there; otherwise all are copied, or, without memory, none.
 */
static int zcipc_region_plan_away(struct zcipc_frame **frames, unsigned long i, unsigned long n,
				  gfp_t gfp, struct zcipc_plan *plan)
{
	bool sole = true;
	unsigned long k;

	gfp = (gfp & ~__GFP_NOFAIL) | __GFP_THISNODE | __GFP_NORETRY | __GFP_NOWARN;
	for (k = 0; k < n && sole; k++)
		sole = zcipc_frame_exclusive(frames[k]);
	if (!sole && plan->node_strict)
		return -EBUSY;
	sole = sole && zcipc_region_plan_copies(gfp, plan);
	for (k = 0; k < n && sole; k++) {
		if (!(k % ZCIPC_RESCHED_PAGES))
			cond_resched();
		plan->copies[i + k] = zcipc_frame_copy(frames[k], gfp, plan->node);
		if (!plan->copies[i + k])
			break;
	}
	if (k == n && sole) {
		plan->migrated += n << PAGE_SHIFT;
		return 0;
	}
	if (plan->node_strict)
		return -ENOMEM;
	while (sole && k-- > 0) {
		zcipc_frame_put(plan->copies[i + k], NULL);
		plan->copies[i + k] = NULL;
	}
	plan->off_node += n << PAGE_SHIFT;
	return 0;
}

/* Another user gets a copy of a part of a huge page. */
static int zcipc_region_plan_part(struct zcipc_frame *frame, unsigned long i, gfp_t gfp,
				  struct zcipc_plan *plan)
{
	struct zcipc_frame *copy;

	if (plan->node_strict)
		gfp |= __GFP_THISNODE;
	copy = zcipc_region_copy_held(frame, gfp, plan);
	if (!copy)
		return -ENOMEM;
	plan->copies[i] = copy;
	if (plan->node != NUMA_NO_NODE && page_to_nid(zcipc_frame_page(copy)) != plan->node)
		plan->off_node += PAGE_SIZE;
	return 0;
}

/* Would there be more copies, with @n more, than others are to wait for? */
static bool zcipc_region_plan_is_much(const struct zcipc_plan *plan, unsigned long n)
{
	return plan->brief && (plan->held >> PAGE_SHIFT) + plan->nloose + n > ZCIPC_LONG_COPIES;
}

/*
 * As zcipc_region_plan(), of parts of huge pages of which another user gets @left pages, from
 * @index on. Sets @n to how many pages have been planned.
 */
static int zcipc_region_plan_parts(const struct zcipc_region *region, unsigned long index,
				   unsigned long left, unsigned long i, gfp_t gfp,
				   struct zcipc_plan *plan, unsigned long *n)
{
	enum zcipc_fate fate = zcipc_region_fate(region, index, left, &plan->nheld, n);
	bool away = plan->node != NUMA_NO_NODE &&
		    page_to_nid(zcipc_frame_page(region->frames[index])) != plan->node;
	unsigned long k;
	int ret = 0;

	cond_resched();
	if (fate == ZCIPC_FATE_GO && !away)
		return 0;
	if (plan->strict && fate == ZCIPC_FATE_HELD)
		return -EBUSY;
	if (zcipc_region_plan_is_much(plan, *n))
		return -E2BIG;
	if (fate == ZCIPC_FATE_GO)
		return zcipc_region_plan_away(region->frames + index, i, *n, gfp, plan);
	if (!zcipc_region_plan_copies(gfp, plan))
		return -ENOMEM;
	for (k = 0; k < *n && !ret; k++) {
		if (!(k % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if (fatal_signal_pending(current) && !(gfp & __GFP_NOFAIL))
			ret = -EINTR;
		else
			ret = zcipc_region_plan_part(region->frames[index + k], i + k, gfp, plan);
	}
	if (fate == ZCIPC_FATE_HELD)
		plan->held += *n << PAGE_SHIFT;
	else
		plan->nloose += *n;
	return ret;
}

/* What is to be done with one page. */
static int zcipc_region_plan_frame(struct zcipc_frame *frame, unsigned long i, gfp_t gfp,
				   struct zcipc_user *user, struct zcipc_plan *plan)
{
	int node = page_to_nid(zcipc_frame_page(frame));
	bool away = plan->node != NUMA_NO_NODE && node != plan->node;
	struct zcipc_frame *copy = NULL;
	bool held;

	if (!plan->take && !away)
		return 0;
	if (zcipc_frame_exclusive(frame)) {
		/* Nobody can hold what is from a pool; a copy would have to be from there, too. */
		held = !plan->cache && zcipc_frame_held(frame, 0, &plan->nheld);
		if (held && plan->take && plan->strict)
			return -EBUSY;
		if (!held && !away)
			return 0;
		if ((!held || plan->take) && !zcipc_region_plan_copies(gfp, plan))
			return -ENOMEM;
		if (held && plan->take) {
			copy = zcipc_region_copy_held(frame, gfp, plan);
			if (!copy)
				return -ENOMEM;
			plan->held += PAGE_SIZE;
		} else if (!held) {
			copy = zcipc_frame_copy_cached(frame, user, plan->cache,
						       (gfp & ~__GFP_NOFAIL) | __GFP_THISNODE |
						       __GFP_NORETRY | __GFP_NOWARN, plan->node);
			if (IS_ERR(copy) && plan->node_strict)
				return PTR_ERR(copy);
			if (IS_ERR(copy))
				copy = NULL;
			else
				plan->migrated += PAGE_SIZE;
		}
		if (copy)
			plan->copies[i] = copy;
	}
	if (copy)
		node = page_to_nid(zcipc_frame_page(copy));
	if (plan->node != NUMA_NO_NODE && node != plan->node) {
		if (plan->node_strict)
			return -EBUSY;
		plan->off_node += PAGE_SIZE;
	}
	return 0;
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
	struct folio *huge = NULL;
	unsigned long i, n;
	int ret = 0;

	lockdep_assert_held(&region->lock);
	plan->npages = npages;
	for (i = 0; i < npages && !ret; i++) {
		struct zcipc_frame *frame = region->frames[first + i];

		if (i % ZCIPC_RESCHED_PAGES == ZCIPC_RESCHED_PAGES - 1)
			cond_resched();
		if (plan->others && frame && !all && zcipc_frame_in_huge(frame)) {
			ret = zcipc_region_plan_parts(region, first + i, npages - i, i, gfp, plan,
						      &n);
			i += n - 1;
			continue;
		}
		if (plan->node == NUMA_NO_NODE && !all &&
		    zcipc_region_huge_at(region, first + i, npages - i) &&
		    zcipc_frame_is_free(frame, &huge)) {
			i += ZCIPC_HUGE_PAGES - 1;
			continue;
		}
		/* What nearly all are: nobody else's, and anywhere will do. */
		if (!frame || (plan->node == NUMA_NO_NODE && !all &&
			       zcipc_frame_exclusive(frame) && zcipc_frame_is_free(frame, &huge)))
			continue;
		if (fatal_signal_pending(current) && !(gfp & __GFP_NOFAIL))
			ret = -EINTR;
		else if (all)
			ret = zcipc_region_plan_cache(frame, i, gfp, region->user, plan);
		else
			ret = zcipc_region_plan_frame(frame, i, gfp, region->user, plan);
		if (!ret && zcipc_region_plan_is_much(plan, 0))
			ret = -E2BIG;
	}
	if (ret)
		zcipc_region_plan_free(plan);
	return ret;
}

/* Gives a plan up. */
void zcipc_region_plan_free(struct zcipc_plan *plan)
{
	unsigned long i;

	if (!plan->copies)
		return;
	for (i = 0; i < plan->npages; i++) {
		if (plan->copies[i])
			zcipc_frame_put(plan->copies[i], NULL);
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
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
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if (!plan->copies[i])
			continue;
		frame = region->frames[first + i];
		zcipc_region_set_frame(region, first + i, plan->copies[i]);
		zcipc_frame_put(frame, region->user);
	}
	kvfree(plan->copies);
	plan->copies = NULL;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Regions: make, take apart, free, and what is done to all mappings of one.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/huge.h"
#include "mem/parts.h"
#include "mem/region.h"

static atomic64_t zcipc_last_region;

/* Goes through what has been revoked of a region, if whoever did that cannot. */
static work_func_t zcipc_region_reaper;

/* What is above knows who reaps: once, before there is a region. */
void zcipc_region_init(work_func_t reaper)
{
	zcipc_region_reaper = reaper;
}

/* A region without anything, but for @bytes that it is going to need. Or -EDQUOT, -ENOMEM. */
static struct zcipc_region *zcipc_region_make(struct zcipc_user *user, unsigned long npages,
					      size_t bytes)
{
	struct zcipc_region *region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!region)
		return ERR_PTR(-ENOMEM);
	region->overhead = kmalloc_size_roundup(sizeof(*region)) + kmalloc_size_roundup(bytes);
	ret = zcipc_charge_overhead(user, region->overhead);
	if (ret) {
		kfree(region);
		return ERR_PTR(ret);
	}
	kref_init(&region->kref);
	region->id = atomic64_inc_return(&zcipc_last_region);
	region->npages = npages;
	region->user = zcipc_user_ref(user);
	mutex_init(&region->lock);
	INIT_LIST_HEAD(&region->extents);
	region->ranges = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&region->revoked);
	INIT_WORK(&region->reap, zcipc_region_reaper);
	zcipc_stat_inc(REGIONS);
	return region;
}

/**
 * zcipc_region_alloc() - a region without frames
 * @user: who owns it
 * @npages: size, 1 to ZCIPC_MAX_REGION_PAGES
 * @charge: charge the user; otherwise zcipc_region_split() does
 *
 * Context: May sleep.
 * Return: the region with one reference, or -EDQUOT, -ENOMEM
 */
struct zcipc_region *zcipc_region_alloc(struct zcipc_user *user, unsigned long npages, bool charge)
{
	unsigned long ncharged = charge ? npages : 0;
	unsigned long nblocks = DIV_ROUND_UP(npages, ZCIPC_HUGE_PAGES);
	struct zcipc_region *region;
	int ret;

	region = zcipc_region_make(user, npages, npages * sizeof(*region->frames));
	if (IS_ERR(region))
		return region;
	region->huge = &region->few_huge;
	ret = zcipc_charge(user, ncharged);
	if (ret)
		goto err;
	region->ncharged = ncharged;
	ret = -ENOMEM;
	region->frames = kvcalloc(npages, sizeof(*region->frames), GFP_KERNEL_ACCOUNT);
	if (!region->frames)
		goto err;
	if (nblocks > BITS_PER_LONG)
		region->huge = bitmap_zalloc(nblocks, GFP_KERNEL_ACCOUNT);
	if (region->huge)
		return region;
err:
	zcipc_region_put(region);
	return ERR_PTR(ret);
}

/* A region that is a range of a file, of which it takes over the reference. Or -EDQUOT, -ENOMEM. */
struct zcipc_region *zcipc_region_alloc_file(struct zcipc_user *user, unsigned long npages,
					     struct file *file, unsigned long pgoff)
{
	struct zcipc_region *region = zcipc_region_make(user, npages, 0);

	if (!IS_ERR(region)) {
		region->file = file;
		region->file_pgoff = pgoff;
	}
	return region;
}

/* Makes it another region, as far as anybody can tell. Nobody else knows it. */
void zcipc_region_renew(struct zcipc_region *region)
{
	region->id = atomic64_inc_return(&zcipc_last_region);
	region->maker = 0;
	region->break_huge = false;
	memset(region->stats, 0, sizeof(region->stats));
}

struct zcipc_region *zcipc_region_get(struct zcipc_region *region)
{
	kref_get(&region->kref);
	return region;
}

static void zcipc_region_free(struct kref *kref)
{
	struct zcipc_region *region = container_of(kref, struct zcipc_region, kref);
	unsigned long i;

	WARN_ON_ONCE(!list_empty(&region->extents) || !list_empty(&region->revoked));
	if (region->file)
		fput(region->file);
	/* First: parts of huge pages may be charged again. */
	zcipc_uncharge(region->user, region->ncharged);
	zcipc_uncharge_pins(region->user, region->npinned);
	for (i = 0; region->frames && i < region->npages; i++) {
		if (!(i % ZCIPC_HUGE_PAGES))
			cond_resched();
		if (zcipc_region_huge_at(region, i, region->npages - i)) {
			zcipc_huge_put(region->frames[i], region->user);
			i += ZCIPC_HUGE_PAGES - 1;
		} else if (region->frames[i]) {
			zcipc_frame_put(region->frames[i], region->user);
		}
	}
	zcipc_uncharge_overhead(region->user, region->overhead);
	zcipc_user_put(region->user);
	if (region->huge != &region->few_huge)
		bitmap_free(region->huge);
	kvfree(region->frames);
	kfree(region);
	zcipc_stat_dec(REGIONS);
}

void zcipc_region_put(struct zcipc_region *region)
{
	kref_put(&region->kref, zcipc_region_free);
}

/* How many frames of a range are pinned. */
unsigned long zcipc_region_count_pins(const struct zcipc_region *region, unsigned long first,
				      unsigned long npages)
{
	unsigned long i, n = 0;

	for (i = first; i < first + npages; i++) {
		n += zcipc_frame_is_imported(region->frames[i]);
		zcipc_resched(i);
	}
	return n;
}

/* How many parts of a huge page begin at a page, if all are there, in a range of @npages: or 0. */
static unsigned long zcipc_region_all_parts(const struct zcipc_region *region, unsigned long index,
					    unsigned long npages)
{
	if (zcipc_region_huge_at(region, index, npages))
		return ZCIPC_HUGE_PAGES;
	return zcipc_parts_all(region->frames + index, npages);
}

/*
 * May another user get parts of a huge page, all of which are given? Not if many have some already,
 * that one and the giver included; nor if what is there has been imported twice, and some not.
 */
static bool zcipc_region_may_give(const struct zcipc_frame *frame)
{
	const struct zcipc_parts *parts = zcipc_frame_parts(frame);

	return READ_ONCE(parts->nusers) < ZCIPC_PART_USERS && !READ_ONCE(parts->ngone);
}

/**
 * zcipc_region_count_loose() - of how much of a range does another user get copies in any case?
 * @region: the region; the caller holds its lock
 * @first: first page of the range
 * @npages: number of pages
 * @npinned: how many of the range are pinned; decreased by how many of these are not all there
 *
 * Return: how many pages are parts of huge pages of which there are not all, or which too many
 * users have; see zcipc_region_fate()
 */
unsigned long zcipc_region_count_loose(const struct zcipc_region *region, unsigned long first,
				       unsigned long npages, u32 *npinned)
{
	unsigned long i, all, n = 0, end = first + npages;

	if (!region->parts && !region->npinned)
		return 0;
	for (i = first; i < end; i += all) {
		struct zcipc_frame *frame = region->frames[i];

		all = 1;
		cond_resched();
		if (!frame || !zcipc_frame_in_huge(frame))
			continue;
		all = zcipc_region_all_parts(region, i, end - i);
		/* Where all are there it may be otherwise a moment later. */
		if (!all && zcipc_frame_is_imported(frame))
			(*npinned)--;
		if (all && zcipc_region_may_give(frame))
			continue;
		all = max(all, 1UL);
		n += all;
	}
	return n;
}

/**
 * zcipc_region_fate() - what becomes of parts of a huge page when another user gets them?
 * @region: the region; the caller holds its lock
 * @index: a page that is a part of a huge page, with nothing of that before it that is there; what
 *	this is about is not mapped writable
 * @npages: how many pages from there on are given
 * @nheld: as for zcipc_frame_held()
 * @n: [out] how many pages this is about
 *
 * Parts of a huge page keep all of it. So they are another user's only where it gets all of them,
 * and all as they are: otherwise that one gets copies of all that it gets: see parts.c.
 */
enum zcipc_fate zcipc_region_fate(const struct zcipc_region *region, unsigned long index,
				  unsigned long npages, unsigned int *nheld, unsigned long *n)
{
	struct zcipc_frame **frames = region->frames + index;
	unsigned long i, all = zcipc_region_all_parts(region, index, npages);

	*n = max(all, 1UL);
	/* Who holds what a snapshot has, too, holds it for reading. */
	for (i = 0; i < *n && !zcipc_frame_exclusive(frames[i]); i++)
		;
	if (i < *n && zcipc_frame_held(frames[i], 0, nheld))
		return ZCIPC_FATE_HELD;
	return all && zcipc_region_may_give(frames[0]) ? ZCIPC_FATE_GO : ZCIPC_FATE_LOOSE;
}

/**
 * zcipc_region_give_parts() - what a region has of huge pages becomes another user's
 * @region: the region, of which nothing is loose
 * @from: whose they are
 * @to: the other one, or the same; pays from now on for what no region has any more
 */
void zcipc_region_give_parts(const struct zcipc_region *region, struct zcipc_user *from,
			     struct zcipc_user *to)
{
	struct zcipc_parts *parts;
	unsigned long i, n;

	if (!region->parts && !region->npinned)
		return;
	for (i = 0; i < region->npages; i += n) {
		n = 1;
		cond_resched();
		if (!region->frames[i] || !zcipc_frame_in_huge(region->frames[i]))
			continue;
		n = max(zcipc_region_all_parts(region, i, region->npages - i), 1UL);
		parts = zcipc_frame_parts(region->frames[i]);
		zcipc_parts_join(parts, to, n, true);
		zcipc_parts_leave(parts, from, n);
	}
}

/* The block that a page is in is no huge frame any more. PMDs must go before the lock does. */
void zcipc_region_clear_huge(struct zcipc_region *region, unsigned long index)
{
	if (!zcipc_region_is_huge(region, index))
		return;
	__clear_bit(index / ZCIPC_HUGE_PAGES, region->huge);
	region->nhuge--;
}

/**
 * zcipc_region_alignment() - where should a range be mapped, so that PMDs can show it?
 * @region: the region; the caller holds its lock
 * @first: first page of the range
 * @npages: number of pages
 * @only: there will be no other mapping of it
 *
 * Return: how many pages behind the beginning of a block, or -1: anywhere
 */
long zcipc_region_alignment(const struct zcipc_region *region, unsigned long first,
			    unsigned long npages, bool only)
{
	unsigned long end = (first + npages) / ZCIPC_HUGE_PAGES;

	/* Of imported memory there are no two PMDs, and page tables would be left behind. */
	if (!region->nhuge || (region->npinned && !only) ||
	    find_next_bit(region->huge, end, DIV_ROUND_UP(first, ZCIPC_HUGE_PAGES)) >= end)
		return -1;
	return first % ZCIPC_HUGE_PAGES;
}

/* Pages of a range up to the end of its last block that is a huge frame. 0: there is none. */
unsigned long zcipc_region_head(const struct zcipc_region *region, unsigned long first,
				unsigned long npages)
{
	unsigned long end = (first + npages) / ZCIPC_HUGE_PAGES, last;

	if (!region->nhuge)
		return 0;
	last = find_last_bit(region->huge, end);
	if (last >= end || last * ZCIPC_HUGE_PAGES < first)
		return 0;
	return (last + 1) * ZCIPC_HUGE_PAGES - first;
}

/* Replaces a frame, which the caller has to put, by one that is not imported. */
void zcipc_region_set_frame(struct zcipc_region *region, unsigned long index,
			    struct zcipc_frame *frame)
{
	lockdep_assert_held(&region->lock);
	if (zcipc_frame_is_imported(region->frames[index])) {
		region->npinned--;
		zcipc_uncharge_pins(region->user, 1);
	}
	zcipc_region_clear_huge(region, index);
	region->frames[index] = frame;
}

/**
 * zcipc_region_inherit() - make a new region one of the same kind
 * @region: the region; the caller holds its lock
 * @part: a new region that nobody else knows
 */
void zcipc_region_inherit(const struct zcipc_region *region, struct zcipc_region *part)
{
	lockdep_assert_held(&region->lock);
	part->pinnable = region->pinnable;
	part->unpinnable = region->unpinnable;
	part->special = region->special;
	part->cache = region->cache;
	part->parts = region->parts;
	part->break_huge = region->break_huge;
}

/**
 * zcipc_region_split() - move a range of frames to a region of its own
 * @region: the region; the caller holds its lock, and has unmapped the range
 * @first: first page of the range, which is as long as @part
 * @part: a new region, whose frames nobody has seen; it has inherited what @region is
 *
 * Leaves a hole. The charge moves along. Another user has been charged for what is pinned.
 */
void zcipc_region_split(struct zcipc_region *region, unsigned long first,
			struct zcipc_region *part)
{
	size_t size = array_size(part->npages, sizeof(*part->frames));
	unsigned long i, end = first + part->npages;

	lockdep_assert_held(&region->lock);
	if (region->npinned)
		part->npinned = zcipc_region_count_pins(region, first, part->npages);
	region->npinned -= part->npinned;
	for (i = first; region->nhuge && i < end; i = ALIGN(i + 1, ZCIPC_HUGE_PAGES)) {
		if (!(first % ZCIPC_HUGE_PAGES) && zcipc_region_huge_at(region, i, end - i))
			zcipc_region_set_huge(part, i - first);
		zcipc_region_clear_huge(region, i);
	}
	memcpy(part->frames, region->frames + first, size);
	memset(region->frames + first, 0, size);
	if (part->user != region->user) {
		zcipc_uncharge_pins(region->user, part->npinned);
		zcipc_region_give_parts(part, region->user, part->user);
	}
	region->nholes += part->npages;
	if (!part->ncharged) {
		part->ncharged = part->npages;
		zcipc_charge_force(part->user, part->npages);
	}
	region->ncharged -= part->npages;
	zcipc_uncharge(region->user, part->npages);
}

/* Makes a user, who has been charged for all of it, the one who pays for a region. */
void zcipc_region_own(struct zcipc_region *region, struct zcipc_user *user)
{
	lockdep_assert_held(&region->lock);
	zcipc_uncharge(region->user, region->ncharged);
	zcipc_uncharge_pins(region->user, region->npinned);
	zcipc_uncharge_overhead(region->user, region->overhead);
	zcipc_charge_overhead_force(user, region->overhead);
	zcipc_region_give_parts(region, region->user, user);
	zcipc_user_ref(user);
	zcipc_user_put(region->user);
	region->user = user;
}

/* All frames of a region have this policy from now on. Nothing of it is mapped. */
void zcipc_region_set_cache(struct zcipc_region *region, u32 cache)
{
	region->cache = cache;
	/* Nobody is to hold a frame that goes back to a pool. */
	region->special = region->unpinnable || cache != ZCIPC_CACHE_DEFAULT;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Recycling: a region that has been dropped is kept, contents and all, for the next one of the same
 * size that its endpoint creates. That is the one that dropped it, or, if that agrees, the one that
 * created it: so neither who sends and receives all the time allocates and zeroes anything, nor who
 * only sends.
 *
 * Only for endpoints that ask for such memory, and only what was the dropper's alone: all of the
 * region, which it could read, in frames that no other region has and nobody holds. It stays
 * charged to the endpoint's user, until that user needs room, or the machine does.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/recycle.h"
#include "mem/region.h"

static unsigned int recycle_mib = 64;
module_param(recycle_mib, uint, 0644);
MODULE_PARM_DESC(recycle_mib, "MiB of dropped regions that an endpoint keeps, if it asks for such");

/* Of those that an endpoint keeps this many, which were dropped last, may be what it wants next. */
#define ZCIPC_RECYCLE_LOOK	16

/* So many are taken out of the lists at once. */
#define ZCIPC_RECYCLE_DRAIN	64

/* Protects the lists: all, and each user's, the last dropped at the end; each endpoint's, first. */
static DEFINE_SPINLOCK(zcipc_recycle_lock);
static LIST_HEAD(zcipc_recycled);
static unsigned long zcipc_recycled_pages;

static struct shrinker *zcipc_recycle_shrinker;

/* Takes a region out of the lists: it exists again, be it to be freed. */
static void zcipc_recycle_remove(struct zcipc_region *region)
{
	list_del(&region->recycled);
	list_del(&region->owned);
	list_del(&region->kept);
	region->keeper->npages -= region->npages;
	zcipc_recycled_pages -= region->npages;
	zcipc_stat_inc(REGIONS);
	zcipc_stat_add(FRAMES, region->npages);
}

/* A kept region: of @kept, or of @user, or, if both are NULL, of anybody; or NULL. */
static struct zcipc_region *zcipc_recycle_first(struct zcipc_kept *kept, struct zcipc_user *user)
{
	if (kept)
		return list_first_entry_or_null(&kept->regions, struct zcipc_region, kept);
	if (user)
		return list_first_entry_or_null(&user->kept, struct zcipc_region, owned);
	return list_first_entry_or_null(&zcipc_recycled, struct zcipc_region, recycled);
}

/* Frees some kept regions: see zcipc_recycle_first(). Returns their pages. */
static unsigned long zcipc_recycle_drain(struct zcipc_kept *kept, struct zcipc_user *user,
					 unsigned long max)
{
	struct zcipc_region *region, *next;
	unsigned long n = 0;
	unsigned int i;
	LIST_HEAD(gone);

	spin_lock(&zcipc_recycle_lock);
	for (i = 0; i < ZCIPC_RECYCLE_DRAIN && n < max; i++) {
		region = zcipc_recycle_first(kept, user);
		if (!region)
			break;
		zcipc_recycle_remove(region);
		list_add_tail(&region->recycled, &gone);
		n += region->npages;
	}
	spin_unlock(&zcipc_recycle_lock);
	list_for_each_entry_safe(region, next, &gone, recycled)
		zcipc_region_put(region);
	return n;
}

/* Nothing is kept yet. */
void zcipc_recycle_begin(struct zcipc_kept *kept, struct zcipc_user *user)
{
	*kept = (struct zcipc_kept){ .user = user };
	INIT_LIST_HEAD(&kept->regions);
}

/* Nothing is kept any more, whoever drops it. */
void zcipc_recycle_end(struct zcipc_kept *kept)
{
	spin_lock(&zcipc_recycle_lock);
	kept->ended = true;
	spin_unlock(&zcipc_recycle_lock);
	while (READ_ONCE(kept->wanted) && zcipc_recycle_drain(kept, NULL, ULONG_MAX))
		cond_resched();
}

/* A user has no room: frees some that is kept of his. Returns whether there was anything. */
static bool zcipc_recycle_free(struct zcipc_user *user)
{
	return READ_ONCE(zcipc_recycled_pages) && zcipc_recycle_drain(NULL, user, ULONG_MAX);
}

/* Does nobody but the region itself have any of its frames? */
static bool zcipc_recycle_alone(const struct zcipc_region *region)
{
	struct folio *huge = NULL;
	unsigned long i;

	for (i = 0; i < region->npages; i++) {
		const struct zcipc_frame *frame = region->frames[i];

		if (!zcipc_frame_is_free(frame, &huge))
			return false;
		if (zcipc_region_huge_at(region, i, region->npages - i) &&
		    zcipc_huge_exclusive(frame))
			i += ZCIPC_HUGE_PAGES - 1;
		else if (!zcipc_frame_exclusive(frame))
			return false;
		zcipc_resched(i);
	}
	return true;
}

/**
 * zcipc_recycle_keep() - keep a region that has been dropped, or not
 * @kept: the endpoint's for which it would be
 * @region: had no other capability than that, which was for all of it, and readable. The caller has
 *	a reference, which goes if it is kept
 *
 * Return: whether it is
 */
bool zcipc_recycle_keep(struct zcipc_kept *kept, struct zcipc_region *region)
{
	unsigned long max = (unsigned long)READ_ONCE(recycle_mib) << (20 - PAGE_SHIFT);
	bool keep;

	/* Whoever has a reference may still do something with it. */
	if (kref_read(&region->kref) != 1 || region->user != kept->user ||
	    region->file || region->npinned || region->nholes || region->cache ||
	    region->ncharged != region->npages || !zcipc_recycle_alone(region))
		return false;
	spin_lock(&zcipc_recycle_lock);
	keep = !kept->ended && kept->npages + region->npages <= max;
	if (keep) {
		region->keeper = kept;
		list_add(&region->kept, &kept->regions);
		list_add_tail(&region->owned, &region->user->kept);
		list_add_tail(&region->recycled, &zcipc_recycled);
		kept->npages += region->npages;
		zcipc_recycled_pages += region->npages;
		zcipc_stat_dec(REGIONS);
		zcipc_stat_add(FRAMES, -(long)region->npages);
	}
	spin_unlock(&zcipc_recycle_lock);
	return keep;
}

/**
 * zcipc_recycle_take() - find a kept region
 * @kept: the endpoint's
 * @npages: size
 * @flags: enum zcipc_create_flags
 *
 * Return: the region, with one reference, charged to the endpoint's user, which is a new one as far
 * as anybody can tell but for its contents; or NULL
 */
struct zcipc_region *zcipc_recycle_take(struct zcipc_kept *kept, unsigned long npages, u32 flags)
{
	struct zcipc_region *region;
	unsigned int left = ZCIPC_RECYCLE_LOOK;

	WRITE_ONCE(kept->wanted, true);
	spin_lock(&zcipc_recycle_lock);
	list_for_each_entry(region, &kept->regions, kept) {
		if (!left--)
			break;
		if (region->npages != npages ||
		    region->pinnable != !!(flags & ZCIPC_CREATE_PINNABLE) ||
		    region->special != !!(flags & ZCIPC_CREATE_UNPINNABLE) ||
		    (flags & ZCIPC_CREATE_NO_HUGE && region->parts) ||
		    (flags & ZCIPC_CREATE_HUGE && region->nhuge * ZCIPC_HUGE_PAGES < npages))
			continue;
		zcipc_recycle_remove(region);
		spin_unlock(&zcipc_recycle_lock);
		zcipc_region_renew(region);
		return region;
	}
	spin_unlock(&zcipc_recycle_lock);
	return NULL;
}

static unsigned long zcipc_recycle_shrink_count(struct shrinker *shrinker,
						struct shrink_control *sc)
{
	return READ_ONCE(zcipc_recycled_pages) ?: SHRINK_EMPTY;
}

static unsigned long zcipc_recycle_shrink(struct shrinker *shrinker, struct shrink_control *sc)
{
	return zcipc_recycle_drain(NULL, NULL, sc->nr_to_scan) ?: SHRINK_STOP;
}

int zcipc_recycle_init(void)
{
	zcipc_account_init(zcipc_recycle_free);
	zcipc_recycle_shrinker = zcipc_shrinker_register(zcipc_recycle_shrink_count,
							 zcipc_recycle_shrink);
	return zcipc_recycle_shrinker ? 0 : -ENOMEM;
}

void zcipc_recycle_exit(void)
{
	zcipc_shrinker_free(zcipc_recycle_shrinker);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Regions: ordered sets of frames with an identity.
 */
#ifndef ZCIPC_REGION_H
#define ZCIPC_REGION_H

#include "base/base.h"

#include <linux/topology.h>

#include "mem/frame.h"

struct zcipc_kept;

/**
 * struct zcipc_region - an ordered set of frames with an identity
 * @kref: one reference for each capability
 * @id: never used again
 * @npages: its size
 * @maker: id of the endpoint that has created it, 0: none
 * @user: who is charged for it. Changes under @lock.
 * @ncharged: pages charged to @user
 * @overhead: bytes charged to @user for this struct and its arrays
 * @cache: enum zcipc_cache of all frames, DEFAULT for write-back; changes under @lock and the lock
 *	of the sole owner's endpoint
 * @pinnable: frames can be pinned for long, so they are never shared with a snapshot
 * @unpinnable: it was asked for that PTEs are special, whatever the cache policy
 * @special: PTEs are special: get_user_pages() takes none of the frames, and nobody counts them
 * @file: the file that it is a range of, or NULL; then it has no frames, and only SHARE works
 * @file_pgoff: where it begins there, in pages
 * @reap: goes through @revoked, if the one who revoked cannot
 * @keeper: of a region that no capability names: who gets it next
 * @kept: in keeper->regions, of those
 * @owned: in user->kept
 * @recycled: in the list of all of those
 * @lock: protects all that follows, and the PTEs that map the region
 * @extents: what names it: struct zcipc_extent.region_entry; through them, all slots
 * @ranges: the same extents, by their ranges
 * @revoked: capabilities that are dead, and still have to be taken out of their tables
 * @frames: NULL where they have been moved away
 * @nholes: how many are NULL
 * @nuses: capabilities, but for revoked ones, and slots of all of them
 * @parts: some may be parts of huge frames
 * @break_huge: a huge frame that a snapshot has, too, is copied as a whole when it is written to
 * @huge: a bit for each block that is a huge frame, or an imported huge page: all its parts, in
 *	order
 * @few_huge: where these are, if they are few
 * @nhuge: number of bits set
 * @npinned: imported ones among them, charged to @user
 * @stats: by enum zcipc_stat
 */
struct zcipc_region {
	struct kref kref;
	u64 id;
	unsigned long npages;
	u64 maker;
	struct zcipc_user *user;
	unsigned long ncharged;
	size_t overhead;
	u32 cache;
	bool pinnable;
	bool unpinnable;
	bool special;
	struct file *file;
	unsigned long file_pgoff;
	struct work_struct reap;
	struct zcipc_kept *keeper;
	struct list_head kept;
	struct list_head owned;
	struct list_head recycled;

	struct mutex lock; /* protects all that follows, and PTEs */
	struct list_head extents;
	struct rb_root_cached ranges;
	struct list_head revoked;
	struct zcipc_frame **frames;
	unsigned long nholes;
	unsigned long nuses;
	bool parts;
	bool break_huge;
	unsigned long *huge;
	unsigned long few_huge;
	unsigned long nhuge;
	unsigned long npinned;
	u64 stats[ZCIPC_STAT_COUNT];
};

/* Is it ZCIPC_NODE_ANY, or a node that has memory? */
static inline bool zcipc_node_valid(int node)
{
	return node == ZCIPC_NODE_ANY ||
	       (node >= 0 && node < MAX_NUMNODES && node_state(node, N_MEMORY));
}

static_assert(ZCIPC_NODE_ANY == NUMA_NO_NODE);

void zcipc_region_init(work_func_t reaper);
struct zcipc_region *zcipc_region_alloc(struct zcipc_user *user, unsigned long npages,
					bool charge);
struct zcipc_region *zcipc_region_alloc_file(struct zcipc_user *user, unsigned long npages,
					     struct file *file, unsigned long pgoff);
void zcipc_region_renew(struct zcipc_region *region);
struct zcipc_region *zcipc_region_get(struct zcipc_region *region);
void zcipc_region_put(struct zcipc_region *region);

/* Locks a region that nobody else knows, whatever locks are held. */
static inline void zcipc_region_lock_new(struct zcipc_region *region)
{
	WARN_ON_ONCE(!mutex_trylock(&region->lock));
}

/* After zcipc_region_lock() has returned false. */
static inline void zcipc_region_unlock_put(struct zcipc_region *region)
{
	mutex_unlock(&region->lock);
	zcipc_region_put(region);
}

void zcipc_region_set_cache(struct zcipc_region *region, u32 cache);

/**
 * enum zcipc_fate - what becomes of parts of a huge page when another user gets them
 * @ZCIPC_FATE_GO: that user gets them as they are
 * @ZCIPC_FATE_HELD: gets copies, since somebody holds some
 * @ZCIPC_FATE_LOOSE: gets copies, since they are not all that there are
 */
enum zcipc_fate { ZCIPC_FATE_GO, ZCIPC_FATE_HELD, ZCIPC_FATE_LOOSE };

unsigned long zcipc_region_count_loose(const struct zcipc_region *region, unsigned long first,
				       unsigned long npages, u32 *npinned);
void zcipc_region_give_parts(const struct zcipc_region *region, struct zcipc_user *from,
			     struct zcipc_user *to);
enum zcipc_fate zcipc_region_fate(const struct zcipc_region *region, unsigned long index,
				  unsigned long npages, unsigned int *nheld, unsigned long *n);
unsigned long zcipc_region_head(const struct zcipc_region *region, unsigned long first,
				unsigned long npages);
void zcipc_region_inherit(const struct zcipc_region *region, struct zcipc_region *part);
void zcipc_region_split(struct zcipc_region *region, unsigned long first,
			struct zcipc_region *part);
void zcipc_region_own(struct zcipc_region *region, struct zcipc_user *user);
unsigned long zcipc_region_count_pins(const struct zcipc_region *region, unsigned long first,
				      unsigned long npages);
void zcipc_region_set_frame(struct zcipc_region *region, unsigned long index,
			    struct zcipc_frame *frame);
void zcipc_region_clear_huge(struct zcipc_region *region, unsigned long index);
long zcipc_region_alignment(const struct zcipc_region *region, unsigned long first,
			    unsigned long npages, bool only);

/**
 * zcipc_region_present() - are all pages of a range there, none moved away? A file's are.
 * @region: the region; the caller holds its lock
 * @first: first page
 * @npages: number of pages
 */
static inline bool zcipc_region_present(const struct zcipc_region *region, unsigned long first,
					unsigned long npages)
{
	unsigned long i;

	lockdep_assert_held(&region->lock);
	for (i = first; region->nholes && i < first + npages; i++)
		if (!region->frames[i])
			return false;
	return true;
}

/* The caller holds the region's lock. Others look without. */
static inline void zcipc_region_count_uses(struct zcipc_region *region, long n)
{
	WRITE_ONCE(region->nuses, region->nuses + n);
}

/* Are there so many capabilities and mappings that to visit them all takes long? */
static inline bool zcipc_region_has_many(const struct zcipc_region *region)
{
	return READ_ONCE(region->nuses) > ZCIPC_LONG_USES;
}

/* A block is a huge frame. */
static inline void zcipc_region_set_huge(struct zcipc_region *region, unsigned long first)
{
	__set_bit(first / ZCIPC_HUGE_PAGES, region->huge);
	region->nhuge++;
}

/* Is the block that a page is in a huge frame? */
static inline bool zcipc_region_is_huge(const struct zcipc_region *region, unsigned long index)
{
	return region->nhuge && test_bit(index / ZCIPC_HUGE_PAGES, region->huge);
}

/* How many entries of page tables a range takes: one for each block that is a huge frame. */
static inline unsigned long zcipc_region_entries(const struct zcipc_region *region,
						 unsigned long first, unsigned long npages)
{
	unsigned long i = DIV_ROUND_UP(first, ZCIPC_HUGE_PAGES);
	unsigned long end = (first + npages) / ZCIPC_HUGE_PAGES;

	if (region->nhuge)
		for_each_set_bit_from(i, region->huge, end)
			npages -= ZCIPC_HUGE_PAGES - 1;
	return npages;
}

/* Does one begin at a page, which is all in a range of which @npages are left? */
static inline bool zcipc_region_huge_at(const struct zcipc_region *region, unsigned long index,
					unsigned long npages)
{
	return region->nhuge && !(index % ZCIPC_HUGE_PAGES) && npages >= ZCIPC_HUGE_PAGES &&
	       zcipc_region_is_huge(region, index);
}

#endif /* ZCIPC_REGION_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots. A frame that belongs to several regions is read-only in all their mappings. The first
 * write by one of them gives that region a copy of its own. See frame.c for who counts what.
 *
 * What always holds, and is changed under the lock of a region that has the frame:
 *
 *   A frame is exclusive, or no PTE of it is writable. It is exclusive when one region has it, and
 *   it has not been shared since somebody last made sure that nobody holds it.
 *
 *   A frame never changes by a region's mappings while more than one region has it.
 *
 * For who holds the region's lock an exclusive frame stays exclusive. Of a shared one the others
 * may let go at any time. Who does not see that makes a copy that was not needed.
 *
 * The instant of a snapshot is when the last mapping of the range has gone. Who writes later has a
 * fault, and waits for the region's lock, which is held until all frames are shared. To take just
 * the write bit away would not be enough: mprotect() and userfaultfd make a dirty PTE of a shared
 * mapping writable without asking anybody. So a PTE that is inserted read-only must be clean.
 *
 * Who has a page for I/O writes to it without a fault. So after the unmap, when get_user_pages()
 * finds nothing there any more, references are counted: of a frame that somebody holds the snapshot
 * gets a copy, and the region keeps it, which is what the holder expects. Frames that are shared
 * already can only be held for reading. Those of pinnable regions are always copied.
 *
 * A write finds one of three things. The frame is exclusive: it is mapped writable. The region
 * alone has it, but it was shared once: somebody may hold it for reading from that time, who must
 * not see what is written now. So all mappings go, references are counted, and if there are none it
 * is exclusive again. Otherwise the region gets a copy. All its mappings of the page go before the
 * old frame is put: the other regions have that, or nobody.
 *
 * What a write may need is allocated without locks, as a spare: who has to free the memory for it
 * may be waiting for them. The caller tries again with that.
 *
 * A block that is a huge frame is shared, reused and, where that was asked for, copied as a whole.
 * A write to a part that others have, too, takes it apart for its region: a PMD is writable as a
 * whole.
 */
#include "base/base.h"
#include "base/trace.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/cow.h"
#include "map/space.h"
#include "map/unmap.h"

/*
 * Pages of a range, from @i on, that can be mapped writable; [out] the first. 0: none are left.
 * Does not count to more than @max, but for huge frames.
 */
static unsigned long zcipc_cow_writable(const struct zcipc_region *region, unsigned long first,
					unsigned long npages, unsigned long *i, unsigned long max)
{
	unsigned long n, k = *i;

	while (k < npages && !zcipc_frame_exclusive(region->frames[first + k])) {
		if (zcipc_region_huge_at(region, first + k, npages - k) &&
		    zcipc_huge_shared(region->frames[first + k]))
			k += ZCIPC_HUGE_PAGES;
		else
			k++;
		if (!(k % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
	*i = k;
	for (n = 0; k + n < npages && n < max; n++) {
		if (!zcipc_frame_exclusive(region->frames[first + k + n]))
			break;
		if (zcipc_region_huge_at(region, first + k + n, npages - k - n) &&
		    zcipc_huge_exclusive(region->frames[first + k + n]))
			n += ZCIPC_HUGE_PAGES - 1;
		if (!(n % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
	return n;
}

/*
 * How much of a range has to be made read-only for a snapshot? What belongs to another region
 * already is mapped read-only everywhere. The caller holds the region's lock.
 */
enum zcipc_cow_freeze zcipc_cow_look(const struct zcipc_region *region, unsigned long first,
				     unsigned long npages)
{
	unsigned long i, n, runs = 0, sum = 0;

	if (region->pinnable)
		return ZCIPC_COW_ALL;
	for (i = 0; (n = zcipc_cow_writable(region, first, npages, &i, npages / 2 + 1)); i += n) {
		sum += n;
		if (++runs > npages / ZCIPC_COW_RUN || sum > npages / 2)
			return ZCIPC_COW_ALL;
	}
	return runs ? ZCIPC_COW_SOME : ZCIPC_COW_NOTHING;
}

/**
 * struct zcipc_cow_torn - a block that is a huge frame but for a few pages
 * @part: the first part
 * @n: how many pages
 * @pages: which of the block
 */
struct zcipc_cow_torn {
	struct page *part;
	unsigned int n;
	u16 pages[ZCIPC_COW_MEND];
};

/*
 * Is a block a huge frame but for a few pages, which the region alone has, while no region has the
 * parts that were there before?
 */
static bool zcipc_cow_look_torn(const struct zcipc_region *region, unsigned long first,
				struct zcipc_cow_torn *torn)
{
	struct zcipc_frame **frames = region->frames + first;
	const struct zcipc_huge_frame *huge;
	unsigned int i, n;

	if (zcipc_region_is_huge(region, first))
		return false;
	for (i = 0; !zcipc_frame_is_part(frames[i]); i++)
		if (i == ZCIPC_COW_MEND)
			return false;
	torn->part = compound_head(zcipc_frame_page(frames[i]));
	torn->n = 0;
	/* What no region has; it is not to be more than what this one has not. */
	huge = zcipc_frame_huge(frames[i]);
	n = huge->nmade - atomic_read(&huge->nparts);
	if (!n || n > ZCIPC_COW_MEND)
		return false;
	for (i = 0; i < ZCIPC_HUGE_PAGES; i++) {
		if (frames[i] == zcipc_frame_of_part(torn->part + i))
			continue;
		if (torn->n == n || zcipc_frame_kind(frames[i]) || !zcipc_frame_sole(frames[i]))
			return false;
		torn->pages[torn->n++] = i;
	}
	return torn->n == n;
}

/* Has zcipc_cow_mend() anything to do? The caller holds the region's lock. */
bool zcipc_cow_is_torn(const struct zcipc_region *region, unsigned long first,
		       unsigned long npages)
{
	struct zcipc_cow_torn torn;
	unsigned long i;

	if (!region->parts || region->pinnable)
		return false;
	for (i = 0; i + ZCIPC_HUGE_PAGES <= npages; i += ZCIPC_HUGE_PAGES) {
		if (zcipc_cow_look_torn(region, first + i, &torn))
			return true;
		cond_resched();
	}
	return false;
}

/* Makes a block a huge frame again. Returns false if somebody holds a page that matters. */
static bool zcipc_cow_mend_block(struct zcipc_region *region, unsigned long first,
				 const struct zcipc_cow_torn *torn)
{
	struct zcipc_frame **frames = region->frames + first, *part;
	unsigned int i, n;

	for (i = 0; i < torn->n; i += n) {
		for (n = 1; i + n < torn->n && torn->pages[i + n] == torn->pages[i] + n; n++)
			;
		zcipc_region_unmap(region, first + torn->pages[i], n, NULL);
	}
	for (i = 0; i < torn->n; i++)
		if (zcipc_frame_refs(frames[torn->pages[i]]))
			return false;
	if (!zcipc_huge_complete(zcipc_frame_of_part(torn->part + torn->pages[0]), torn->n))
		return false;
	for (i = 0; i < torn->n; i++) {
		n = torn->pages[i];
		part = zcipc_frame_of_part(torn->part + n);
		zcipc_huge_revive(part, region->user);
		copy_highpage(zcipc_frame_page(part), zcipc_frame_page(frames[n]));
		flush_dcache_page(zcipc_frame_page(part));
		zcipc_frame_put(frames[n], region->user);
		frames[n] = part;
	}
	zcipc_region_set_huge(region, first);
	return true;
}

/*
 * Makes blocks of a range huge frames again that are it but for a few pages. Returns the bytes that
 * were copied.
 *
 * A page that is written to when a snapshot has it gets a frame of its own, and the rest of its
 * 2 MiB is handled page by page from then on. When the snapshot has gone, and before there is the
 * next one, the few that were written to are copied back. Who holds one of these may write to it
 * meanwhile, and who holds any part of the huge frame may be reading what is to be overwritten:
 * then the block remains as it is.
 */
u64 zcipc_cow_mend(struct zcipc_region *region, unsigned long first, unsigned long npages)
{
	struct zcipc_cow_torn torn;
	unsigned long i;
	u64 n = 0;

	lockdep_assert_held(&region->lock);
	for (i = 0; i + ZCIPC_HUGE_PAGES <= npages; i += ZCIPC_HUGE_PAGES) {
		if (zcipc_cow_look_torn(region, first + i, &torn) &&
		    zcipc_cow_mend_block(region, first + i, &torn))
			n += torn.n;
		cond_resched();
	}
	return n << PAGE_SHIFT;
}

/*
 * Shares a block that is a huge frame, if one begins there and there are that many pages @left, or
 * else a page. Returns how many pages that were.
 */
static __always_inline unsigned long zcipc_cow_share_next(struct zcipc_region *region,
							  unsigned long index, unsigned long left,
							  struct zcipc_region *snapshot,
							  unsigned long at)
{
	if (!zcipc_region_huge_at(region, index, left)) {
		zcipc_frame_share(region->frames[index], snapshot->user);
		snapshot->frames[at] = region->frames[index];
		return 1;
	}
	zcipc_huge_share(region->frames[index], snapshot->user);
	memcpy(snapshot->frames + at, region->frames + index,
	       ZCIPC_HUGE_PAGES * sizeof(*snapshot->frames));
	if (!(at % ZCIPC_HUGE_PAGES))
		zcipc_region_set_huge(snapshot, at);
	cond_resched();
	return ZCIPC_HUGE_PAGES;
}

/* As zcipc_cow_snapshot(), of a range that nobody can write to, be it as he holds a page. */
void zcipc_cow_share(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     struct zcipc_region *snapshot, unsigned long at)
{
	unsigned long i, n;

	lockdep_assert_held(&region->lock);
	snapshot->parts = region->parts;
	for (i = 0; i < npages; i += n) {
		n = zcipc_cow_share_next(region, first + i, npages - i, snapshot, at + i);
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
}

/* A snapshot gets a copy of a frame that it cannot have. */
static int zcipc_cow_snapshot_copy(struct zcipc_region *snapshot, unsigned long at,
				   struct zcipc_frame *frame, const struct zcipc_plan *plan)
{
	gfp_t gfp = ZCIPC_GFP_LOCKED | (plan->node_strict ? __GFP_THISNODE : 0);

	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	snapshot->frames[at] = zcipc_frame_copy(frame, gfp, plan->node);
	return snapshot->frames[at] ? 0 : -ENOMEM;
}

/*
 * As zcipc_cow_snapshot(), of parts of a huge page, of which another user gets @left pages, from
 * @index on. Sets @n to how many pages that has been.
 */
static int zcipc_cow_snapshot_parts(struct zcipc_region *region, unsigned long index,
				    unsigned long left, struct zcipc_region *snapshot,
				    unsigned long at, struct zcipc_plan *plan, unsigned long *n)
{
	enum zcipc_fate fate = zcipc_region_fate(region, index, left, &plan->nheld, n);
	unsigned long i;
	int ret;

	if (plan->strict && fate == ZCIPC_FATE_HELD)
		return -EBUSY;
	if (fate == ZCIPC_FATE_GO) {
		zcipc_cow_share(region, index, *n, snapshot, at);
		return 0;
	}
	for (i = 0; i < *n; i++) {
		ret = zcipc_cow_snapshot_copy(snapshot, at + i, region->frames[index + i], plan);
		if (ret)
			return ret;
	}
	if (fate == ZCIPC_FATE_HELD)
		plan->held += *n << PAGE_SHIFT;
	else
		plan->nloose += *n;
	return 0;
}

/**
 * zcipc_cow_snapshot() - fill a region with the contents of a range at one instant
 * @region: the region; the caller holds its lock
 * @first: first page of the range
 * @npages: length of the range
 * @snapshot: a new region without frames there that nobody else knows
 * @at: where in the snapshot the range begins
 * @except: a space whose mappings of the range have gone already, or NULL
 * @freeze: zcipc_cow_look()
 * @plan: says where copies are to be, and whether there may be any; counts what is copied
 *
 * Freezes the range, then shares its frames, or copies those that somebody holds.
 *
 * Return: 0, or -EBUSY (strict), -ENOMEM, -EINTR; then @snapshot may have some frames, and
 * @region's contents and rights are as they were.
 */
int zcipc_cow_snapshot(struct zcipc_region *region, unsigned long first, unsigned long npages,
		       struct zcipc_region *snapshot, unsigned long at,
		       const struct zcipc_space *except, enum zcipc_cow_freeze freeze,
		       struct zcipc_plan *plan)
{
	bool others = snapshot->user != region->user && !region->pinnable;
	struct folio *huge = NULL;
	unsigned long i, n;
	int ret;

	lockdep_assert_held(&region->lock);
	snapshot->parts = region->parts;
	if (freeze == ZCIPC_COW_ALL) {
		zcipc_region_unmap(region, first, npages, except);
	} else {
		for (i = 0; (n = zcipc_cow_writable(region, first, npages, &i, npages)); i += n)
			zcipc_region_unmap(region, first + i, n, except);
	}
	zcipc_test_point("frozen");
	for (i = 0; i < npages; i += n) {
		struct zcipc_frame *frame = region->frames[first + i];
		bool exclusive = zcipc_frame_exclusive(frame);
		bool free;

		n = 1;
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if (others && zcipc_frame_in_huge(frame)) {
			ret = zcipc_cow_snapshot_parts(region, first + i, npages - i, snapshot,
						       at + i, plan, &n);
			if (ret)
				return ret;
			continue;
		}
		/*
		 * Only that says so of all of a block that is a huge frame. Single frames that are
		 * shared can only be held for reading. Those of pinnable regions, which anybody may
		 * be about to pin for long, are always copied.
		 */
		free = !region->pinnable &&
		       (exclusive || zcipc_region_huge_at(region, first + i, npages - i)) &&
		       zcipc_frame_is_free(frame, &huge);
		if (free || (!region->pinnable &&
			     (!exclusive || !zcipc_frame_held(frame, 0, &plan->nheld)))) {
			n = zcipc_cow_share_next(region, first + i, free ? npages - i : 1,
						 snapshot, at + i);
			continue;
		}
		if (plan->strict)
			return -EBUSY;
		ret = zcipc_cow_snapshot_copy(snapshot, at + i, frame, plan);
		if (ret)
			return ret;
		plan->held += PAGE_SIZE;
	}
	return 0;
}

/* Makes a huge frame writable as a whole, if the region alone has it. */
static bool zcipc_cow_reuse_block(struct zcipc_region *region, unsigned long index, int extra)
{
	struct zcipc_frame *frame = region->frames[ALIGN_DOWN(index, ZCIPC_HUGE_PAGES)];

	if (!zcipc_region_is_huge(region, index) || !zcipc_huge_sole(frame))
		return false;
	zcipc_region_unmap(region, ALIGN_DOWN(index, ZCIPC_HUGE_PAGES), ZCIPC_HUGE_PAGES, NULL);
	if (zcipc_frame_held(frame, extra, NULL))
		return false;
	zcipc_huge_reuse(frame);
	return true;
}

/*
 * Is a write to a page, which is there, to copy all of its block? Of a huge frame of which nobody
 * can write to any part: there are no mappings that are writable, and no pins for writing. Never of
 * an imported one: the copy could be held, where that could not. Under the region's lock.
 */
bool zcipc_cow_breaks_huge(const struct zcipc_region *region, unsigned long index)
{
	return region->break_huge && zcipc_region_is_huge(region, index) &&
	       zcipc_huge_shared(region->frames[index]);
}

/* Puts a copy in the place of a huge frame. */
static void zcipc_cow_break_huge(struct zcipc_region *region, unsigned long first,
				 struct zcipc_frame *copy)
{
	struct zcipc_frame *frame = region->frames[first];
	struct page *from = zcipc_frame_page(frame), *to = zcipc_frame_page(copy);
	unsigned long i;

	for (i = 0; i < ZCIPC_HUGE_PAGES; i++) {
		copy_highpage(to + i, from + i);
		cond_resched();
	}
	zcipc_test_point("broken");
	zcipc_huge_parts(copy, region->frames + first, ZCIPC_HUGE_PAGES, region->user);
	zcipc_region_unmap(region, first, ZCIPC_HUGE_PAGES, NULL);
	zcipc_huge_put(frame, region->user);
}

/* Frees what zcipc_cow_break() did not need, or nothing. */
void zcipc_cow_spare_put(struct zcipc_frame *spare)
{
	if (spare && zcipc_frame_is_part(spare))
		zcipc_huge_put(spare, NULL);
	else if (spare)
		zcipc_frame_put(spare, NULL);
}

/*
 * Allocates what zcipc_cow_break() needs, in the place of what it did not need: a huge frame, if
 * there is one to be had without waiting, or a frame, or NULL without memory. May sleep; no lock is
 * held.
 */
void zcipc_cow_spare(struct zcipc_frame **spare, bool huge)
{
	gfp_t gfp = (GFP_KERNEL & ~__GFP_DIRECT_RECLAIM) | __GFP_NORETRY | __GFP_NOWARN;

	zcipc_cow_spare_put(*spare);
	*spare = huge ? zcipc_huge_alloc(gfp, NUMA_NO_NODE, ZCIPC_HUGE_PAGES) : NULL;
	if (!*spare)
		*spare = zcipc_frame_alloc(GFP_KERNEL, NUMA_NO_NODE);
}

/**
 * zcipc_cow_copy() - fill a region with copies of a range
 * @region: the region; the caller holds its lock
 * @first: first page of the range: it is nowhere mapped writable
 * @npages: length of the range
 * @snapshot: as for zcipc_cow_snapshot()
 * @at: as for zcipc_cow_snapshot()
 * @cache: policy of the copies
 * @node: where the copies are to be, or NUMA_NO_NODE
 * @strict: fail if somebody could write to a frame meanwhile, as he holds it
 *
 * Return: as of zcipc_cow_snapshot(), and -EDQUOT
 */
int zcipc_cow_copy(struct zcipc_region *region, unsigned long first, unsigned long npages,
		   struct zcipc_region *snapshot, unsigned long at,
		   unsigned int cache, int node, bool strict)
{
	struct zcipc_frame *copy;
	unsigned int nheld = 0;
	unsigned long i;

	lockdep_assert_held(&region->lock);
	for (i = 0; i < npages; i++) {
		struct zcipc_frame *frame = region->frames[first + i];

		if (strict && zcipc_frame_exclusive(frame) &&
		    (region->pinnable || zcipc_frame_held(frame, 0, &nheld)))
			return -EBUSY;
		copy = zcipc_frame_copy_cached(frame, snapshot->user, cache, ZCIPC_GFP_LOCKED,
					       node);
		if (IS_ERR(copy))
			return PTR_ERR(copy);
		snapshot->frames[at + i] = copy;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/**
 * zcipc_cow_break() - make a page of a region writable in place
 * @space: who writes; the caller holds its lock
 * @region: the region; the caller holds its lock
 * @index: the page, which is there
 * @spare: what zcipc_cow_spare() allocated, or NULL; taken if a copy is needed
 * @extra: references to the page that the caller knows of
 *
 * All mappings of the page go. The caller inserts it for the one who wrote. A huge frame that is
 * not all the region's own is none any more after that, unless zcipc_cow_breaks_huge() and @spare
 * is huge, too: then all of it is copied.
 *
 * Return: 0, or -EAGAIN when a spare frame is needed
 */
int zcipc_cow_break(struct zcipc_space *space, struct zcipc_region *region, unsigned long index,
		    struct zcipc_frame **spare, int extra)
{
	struct zcipc_frame *frame = region->frames[index];
	unsigned long n = 1;

	lockdep_assert_held(&region->lock);
	if (zcipc_frame_exclusive(frame)) {
		if (zcipc_region_is_huge(region, index) && !zcipc_huge_exclusive(frame)) {
			zcipc_region_clear_huge(region, index);
			zcipc_region_unmap(region, index, 1, NULL);
		}
		return 0;
	}
	if (zcipc_cow_reuse_block(region, index, extra)) {
		n = ZCIPC_HUGE_PAGES;
		goto reused;
	}
	if (zcipc_cow_breaks_huge(region, index)) {
		if (!*spare)
			return -EAGAIN;
		if (zcipc_frame_is_part(*spare)) {
			zcipc_cow_break_huge(region, ALIGN_DOWN(index, ZCIPC_HUGE_PAGES), *spare);
			n = ZCIPC_HUGE_PAGES;
			goto copied;
		}
	}
	if (zcipc_frame_sole(frame)) {
		zcipc_region_clear_huge(region, index);
		zcipc_region_unmap(region, index, 1, NULL);
		if (!zcipc_frame_held(frame, extra, NULL)) {
			zcipc_frame_reuse(frame);
			goto reused;
		}
	}
	if (!*spare || zcipc_frame_is_part(*spare))
		return -EAGAIN;
	copy_highpage(zcipc_frame_page(*spare), zcipc_frame_page(frame));
	zcipc_test_point("broken");
	zcipc_region_set_frame(region, index, *spare);
	zcipc_region_unmap(region, index, 1, NULL);
	zcipc_frame_put(frame, region->user);
copied:
	*spare = NULL;
	zcipc_count(space, region, COPIED_WRITE, n << PAGE_SHIFT);
	trace_zcipc_cow_break(space->id, region->id, index, true);
	return 0;
reused:
	zcipc_count(space, region, REUSED, n);
	trace_zcipc_cow_break(space->id, region->id, index, false);
	return 0;
}

/*
 * Gives a region copies of its own of up to @max pages, at most ZCIPC_COW_AHEAD, before they are
 * asked for. Returns how many pages are writable now that were not; the caller inserts them. Under
 * the locks of region and space, which is who writes one page after the other.
 */
unsigned long zcipc_cow_break_ahead(struct zcipc_space *space, struct zcipc_region *region,
				    unsigned long index, unsigned long max)
{
	struct zcipc_frame *frame, *copy, *old[ZCIPC_COW_AHEAD];
	unsigned long i, n;

	lockdep_assert_held(&region->lock);
	for (n = 0; n < max; n++) {
		frame = region->frames[index + n];
		/* What may not have to be copied is left to zcipc_cow_break(). */
		if (!frame || zcipc_frame_sole(frame))
			break;
		copy = zcipc_frame_copy(frame, GFP_NOWAIT | __GFP_NOWARN, NUMA_NO_NODE);
		if (!copy)
			break;
		old[n] = frame;
		zcipc_region_set_frame(region, index + n, copy);
	}
	if (!n)
		return 0;
	zcipc_region_unmap(region, index, n, NULL);
	for (i = 0; i < n; i++)
		zcipc_frame_put(old[i], region->user);
	zcipc_count(space, region, COPIED_WRITE, n << PAGE_SHIFT);
	return n;
}

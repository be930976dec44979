// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots. A frame that belongs to several regions is read-only in all their mappings. The first
 * write by one of them gives that region a copy of its own. See frame.c for who counts what.
 *
 * Mappings become read-only by going away: faults bring them back without the write bit. To take
 * just the write bit away would be cheaper, but not enough: the PTE would still be dirty, and
 * mprotect() and userfaultfd make a dirty PTE of a shared mapping writable without asking anybody.
 * For the same reason a PTE that is inserted read-only must be clean.
 */
#include <linux/highmem.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "trace.h"
#include "zcipc.h"

/* Has each frame of a range been shared, so that no mapping of it is writable? */
bool zcipc_cow_is_frozen(const struct zcipc_region *region, unsigned long first,
			 unsigned long npages)
{
	unsigned long i;

	for (i = 0; i < npages; i++) {
		if (zcipc_frame_exclusive(region->frames[first + i]))
			return false;
		if (i % ZCIPC_RESCHED_PAGES == ZCIPC_RESCHED_PAGES - 1)
			cond_resched();
	}
	return true;
}

/**
 * zcipc_cow_share() - fill a region with frames that nobody can write to meanwhile
 * @region: the region; the caller holds its lock
 * @first: first page of the range: nobody can write to it, be it as he holds a page
 * @npages: length of the range
 * @snapshot: as for zcipc_cow_snapshot()
 * @at: as for zcipc_cow_snapshot()
 */
void zcipc_cow_share(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     struct zcipc_region *snapshot, unsigned long at)
{
	unsigned long i;

	lockdep_assert_held(&region->lock);
	for (i = 0; i < npages; i++) {
		zcipc_frame_share(region->frames[first + i]);
		snapshot->frames[at + i] = region->frames[first + i];
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
}

/**
 * zcipc_cow_snapshot() - fill a region with the contents of a range at one instant
 * @region: the region; the caller holds its lock
 * @first: first page of the range
 * @npages: length of the range
 * @snapshot: a new region without frames there that nobody else knows
 * @at: where in the snapshot the range begins
 * @except: an endpoint whose mappings of the range have gone already, or NULL
 * @strict: fail instead of copying
 * @held: increased by the bytes copied
 *
 * The instant is when the last mapping has gone: what was written until then is in, and later
 * writers wait for the region's lock. A frame with a pin could be written to through the pin
 * later: the snapshot gets a copy, and the region keeps the frame for itself, as the owner of the
 * pin expects. So it is with all frames of a region from which pins are expected.
 *
 * Return: 0, or -EBUSY (strict), -ENOMEM, -EINTR; then @snapshot may have some frames, and
 * @region's contents and rights are as they were.
 */
int zcipc_cow_snapshot(struct zcipc_region *region, unsigned long first, unsigned long npages,
		       struct zcipc_region *snapshot, unsigned long at,
		       const struct zcipc_endpoint *except, bool strict, u64 *held)
{
	struct folio *huge = NULL;
	unsigned int nheld = 0;
	unsigned long i;

	lockdep_assert_held(&region->lock);
	zcipc_region_unmap(region, first, npages, except);
	zcipc_test_point("frozen");
	for (i = 0; i < npages; i++) {
		struct zcipc_frame *frame = region->frames[first + i];

		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if ((nheld || region->pinnable) && fatal_signal_pending(current))
			return -EINTR;
		if (!region->pinnable &&
		    (!zcipc_frame_exclusive(frame) || zcipc_frame_is_free(frame, &huge) ||
		     !zcipc_frame_held(frame, 0, &nheld))) {
			zcipc_frame_share(frame);
			snapshot->frames[at + i] = frame;
			continue;
		}
		if (strict)
			return -EBUSY;
		snapshot->frames[at + i] = zcipc_frame_copy(frame, GFP_KERNEL | __GFP_NORETRY |
							    __GFP_NOWARN, NUMA_NO_NODE);
		if (!snapshot->frames[at + i])
			return -ENOMEM;
		*held += PAGE_SIZE;
	}
	return 0;
}

/**
 * zcipc_cow_break() - make a page of a region writable in place
 * @ep: who writes; the caller holds its lock
 * @region: the region; the caller holds its lock
 * @index: the page, which is there
 * @spare: a frame that the caller allocated, or NULL; taken if a copy is needed
 * @extra: references to the page that the caller knows of
 *
 * A frame that belongs to this region alone is reused, unless somebody has held it since it was
 * shared: it may be a reader who must not see what is written from now on.
 *
 * All mappings of the page go: so that its references can be counted, and so that all see the copy.
 * The caller inserts it for the one who wrote; faults bring it back to the others.
 *
 * Return: 0, or -EAGAIN when a spare frame is needed, of the region's cache policy
 */
int zcipc_cow_break(struct zcipc_endpoint *ep, struct zcipc_region *region, unsigned long index,
		    struct zcipc_frame **spare, int extra)
{
	struct zcipc_frame *frame = region->frames[index];

	lockdep_assert_held(&region->lock);
	if (zcipc_frame_exclusive(frame))
		return 0;
	if (zcipc_frame_sole(frame)) {
		zcipc_region_unmap(region, index, 1, NULL);
		if (!zcipc_frame_held(frame, extra, NULL)) {
			atomic_long_andnot(ZCIPC_FRAME_WAS_SHARED, zcipc_frame_state(frame));
			zcipc_count(ep, region, REUSED, 1);
			trace_zcipc_cow_break(ep, region, index, false);
			return 0;
		}
	}
	if (!*spare || zcipc_frame_cache(*spare) != region->cache)
		return -EAGAIN;
	copy_highpage(zcipc_frame_page(*spare), zcipc_frame_page(frame));
	zcipc_test_point("broken");
	zcipc_region_set_frame(region, index, *spare);
	*spare = NULL;
	zcipc_region_unmap(region, index, 1, NULL);
	zcipc_frame_put(frame);
	zcipc_count(ep, region, COPIED_WRITE, PAGE_SIZE);
	trace_zcipc_cow_break(ep, region, index, true);
	return 0;
}

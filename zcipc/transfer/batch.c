// SPDX-License-Identifier: GPL-2.0
/*
 * Batches: many transfers under one set of locks, and with one TLB shootdown.
 *
 * Others wait for these locks, so what is done under them is limited. A batch of more than that is
 * made in parts, one after the other, and what takes long by itself is a part alone, made as if it
 * were no batch's. An atomic batch has one part. If that is more than it should be, the locks of
 * the endpoints are released while all is prepared, and what is left to do under them is to enter
 * the results in their tables.
 *
 * The locks of all regions and endpoints that take part are taken first, in the order of their ids.
 * Then all that the sender loses or that becomes copy-on-write leaves the sender's page tables at
 * once, before the transfers are made one by one. The peers' page tables are populated at the end.
 * What is most usual, MOVEs to one peer of what nobody else has mapped, is carried: see
 * batch-carry.c.
 *
 * The sender's mmap_lock is held all the time. That is what keeps its VMAs as they are while they
 * are taken apart, and what tells lockdep that these many locks of a kind have an order.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timex.h>

#include <linux/zcipc.h>

#include "base/limits.h"
#include "base/test.h"
#include "mem/region.h"
#include "map/carry.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/room.h"
#include "transfer/batch.h"
#include "transfer/transfer.h"

/* How often a batch waits for a region without the mmap_lock. */
#define ZCIPC_BATCH_TRIES	16

/* Frees what a part has needed, but for the arrays, which the next one uses again. */
static void zcipc_batch_end(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries + b->n;
	u32 i;

	/* Backwards: the first of those that go to a peer has the reference. */
	while (entry-- > b->entries)
		zcipc_transfer_free(&entry->t);
	for (i = 0; i < b->nregions; i++)
		zcipc_region_put(b->regions[i]);
	kvfree(b->carry.pages);
}

static int zcipc_batch_compare_eps(const void *a, const void *b)
{
	u64 x = (*(struct zcipc_endpoint * const *)a)->space.id;
	u64 y = (*(struct zcipc_endpoint * const *)b)->space.id;

	return x < y ? -1 : x > y;
}

static int zcipc_batch_compare_regions(const void *a, const void *b)
{
	u64 x = (*(struct zcipc_region * const *)a)->id;
	u64 y = (*(struct zcipc_region * const *)b)->id;

	return x < y ? -1 : x > y;
}

/* Puts the endpoints in the order in which they are locked, each once. */
static void zcipc_batch_sort_endpoints(struct zcipc_batch *b)
{
	u32 i, n = b->neps;

	sort(b->eps, n, sizeof(*b->eps), zcipc_batch_compare_eps, NULL);
	for (b->neps = 0, i = 0; i < n; i++)
		if (!i || b->eps[i] != b->eps[i - 1])
			b->eps[b->neps++] = b->eps[i];
}

static void zcipc_batch_lock_endpoints(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->neps; i++)
		mutex_lock_nest_lock(&b->eps[i]->space.lock, &b->src->space.mm->mmap_lock);
}

static void zcipc_batch_unlock_endpoints(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->neps; i++)
		mutex_unlock(&b->eps[i]->space.lock);
}

/* Puts the regions in the order in which they are locked, each once. */
static void zcipc_batch_sort_regions(struct zcipc_batch *b)
{
	u32 i, n = b->nregions;

	/* None comes twice if the second one would be next to the first. */
	if (b->sorted)
		return;
	sort(b->regions, n, sizeof(*b->regions), zcipc_batch_compare_regions, NULL);
	for (b->nregions = 0, i = 0; i < n; i++) {
		if (b->nregions && b->regions[i] == b->regions[b->nregions - 1])
			zcipc_region_put(b->regions[i]);
		else
			b->regions[b->nregions++] = b->regions[i];
	}
}

/* Locks the peers' new regions, which nobody else knows, if they stay without frames for long. */
static void zcipc_batch_lock_new(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; b->how == ZCIPC_BATCH_LONG && i < b->n; i++)
		if (b->entries[i].t.region)
			mutex_lock_nest_lock(&b->entries[i].t.region->lock,
					     &b->src->space.mm->mmap_lock);
}

static void zcipc_batch_unlock_new(struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; b->how == ZCIPC_BATCH_LONG && i < b->n; i++)
		if (b->entries[i].t.region)
			mutex_unlock(&b->entries[i].t.region->lock);
}

/*
 * Locks the sender's address space and all regions, before the endpoints. Whoever has a region may
 * keep it long, and all other threads of the sender need the mmap_lock meanwhile. Returns 0, or
 * -EINTR, with nothing locked.
 */
static int zcipc_batch_lock_regions(struct zcipc_batch *b)
{
	struct mm_struct *mm = b->src->space.mm;
	struct zcipc_region *region;
	u32 i, tries = 0;

again:
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	for (i = 0; i < b->nregions; i++) {
		region = b->regions[i];
		/* Who never finds all free at once has to stand in line at last. */
		if (likely(!mutex_is_locked(&region->lock)) || tries > ZCIPC_BATCH_TRIES) {
			mutex_lock_nest_lock(&region->lock, &mm->mmap_lock);
			continue;
		}
		while (i-- > 0)
			mutex_unlock(&b->regions[i]->lock);
		mmap_read_unlock(mm);
		if (mutex_lock_killable(&region->lock))
			return -EINTR;
		mutex_unlock(&region->lock);
		tries++;
		goto again;
	}
	zcipc_batch_lock_new(b);
	return 0;
}

/* Releases the locks, and does on the way what needs those of the regions alone. */
static void zcipc_batch_unlock(struct zcipc_batch *b)
{
	u32 i;

	zcipc_batch_unlock_endpoints(b);
	for (i = 0; b->how == ZCIPC_BATCH_LONG && i < b->n; i++) {
		if (!b->entries[i].ret)
			zcipc_transfer_finish(&b->entries[i].t, b->entries[i].from);
		cond_resched();
	}
	zcipc_batch_unlock_new(b);
	/* The last transfer of a region does not free it: see zcipc_transfer_free(). */
	for (i = 0; i < b->nregions; i++)
		mutex_unlock(&b->regions[i]->lock);
}

/* Have earlier transfers of the batch made so many of it that this one takes long? */
static __always_inline bool zcipc_batch_has_grown(const struct zcipc_transfer_state *t,
						  const struct zcipc_region *region)
{
	return unlikely(zcipc_region_has_many(region)) && zcipc_transfer_is_long(t, region);
}

/* Carries out what has been begun. */
static __always_inline void zcipc_batch_commit(struct zcipc_batch *b,
					       struct zcipc_batch_entry *entry,
					       struct zcipc_cap *cap)
{
	struct zcipc_transfer_state *t = &entry->t;

	/* Of what is carried, the capability has one slot. */
	if (t->ptes == ZCIPC_PTES_CARRIED && zcipc_transfer_is_whole(t) &&
	    t->dst->space.user == cap->extent.region->user &&
	    cap->extent.slots.next == &cap->slot.entry) {
		zcipc_move_pass(t, cap);
		entry->to = cap;
	} else {
		entry->to = zcipc_transfer_commit(t, cap, false);
		entry->from = cap;
	}
}

/* Bytes that have been copied, which nobody could foresee. */
static u64 zcipc_batch_copied(const struct zcipc_batch_entry *entry)
{
	return entry->t.plan.held + ((u64)entry->t.plan.nloose << PAGE_SHIFT);
}

/*
 * Makes one transfer after the other. Returns how many: the rest is left to another part if copies,
 * which nobody could foresee, have taken long. Of those the first may be one that takes long.
 */
static u32 zcipc_batch_each(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries;
	u32 i, made = b->limit;

	if (!made)
		b->rest = ZCIPC_BATCH_ALONE;
	for (i = 0; i < made; i++, entry++) {
		struct zcipc_cap *cap = zcipc_batch_cap(b, entry);

		if (!(i % 16))
			cond_resched();
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
		else if (zcipc_batch_has_grown(&entry->t, cap->extent.region))
			entry->ret = -E2BIG;
		else
			entry->ret = zcipc_transfer_begin(&entry->t, cap);
		if (!entry->ret)
			zcipc_batch_commit(b, entry, cap);
		else
			zcipc_batch_dismiss(b, entry);
		if (likely(!entry->t.plan.held && !entry->t.plan.nloose && entry->ret != -E2BIG))
			continue;
		b->copied += zcipc_batch_copied(entry);
		if (!IS_ERR(cap) && entry->ret == -E2BIG) {
			b->rest = ZCIPC_BATCH_ALONE;
			made = i;
		} else if (b->copied > ZCIPC_LONG_COPIES << PAGE_SHIFT) {
			made = i + 1;
		}
	}
	for (i = made; i < b->n; i++) {
		zcipc_batch_dismiss(b, &b->entries[i]);
		b->entries[i].ret = -ECANCELED;
	}
	return made;
}

/* Index of the first that has failed, or n. */
static u32 zcipc_batch_failed(const struct zcipc_batch *b)
{
	u32 i;

	for (i = 0; i < b->n && !b->entries[i].ret; i++)
		;
	return i;
}

/*
 * Does what takes long, which nobody who needs the endpoints waits for. All are admitted, and keep
 * their places. Returns the index of the one that fails, or n.
 */
static u32 zcipc_batch_work(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry;
	u32 i;

	zcipc_batch_unlock_endpoints(b);
	zcipc_test_point("long");
	/* At once, unless that takes long itself. */
	if (b->cost <= ZCIPC_BATCH_COST) {
		mutex_lock(&b->src->space.lock);
		zcipc_batch_unmap(b);
		mutex_unlock(&b->src->space.lock);
	}
	for (i = 0; i < b->n; i++) {
		entry = &b->entries[i];
		entry->ret = zcipc_transfer_work(&entry->t, entry->from);
		if (entry->ret)
			break;
		cond_resched();
	}
	zcipc_batch_lock_endpoints(b);
	if (i < b->n)
		return i;
	for (i = 0; i < b->n; i++) {
		entry = &b->entries[i];
		entry->ret = zcipc_transfer_recheck(&entry->t);
		if (entry->ret)
			break;
	}
	return i;
}

/* Takes back what has been begun, and what has been admitted. */
static void zcipc_batch_abort(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries + b->n;
	u32 i;

	while (entry-- > b->entries)
		zcipc_batch_dismiss(b, entry);
	/* Others may have seen that there was no room because of it. */
	for (i = 0; b->how == ZCIPC_BATCH_LONG && i < b->neps; i++)
		zcipc_endpoint_made_room(b->eps[i]);
}

/*
 * Looks at each page of an atomic batch that takes long, which nobody who needs the endpoints waits
 * for. The regions' locks keep the capabilities.
 */
static void zcipc_batch_survey(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;

	zcipc_batch_unlock_endpoints(b);
	zcipc_test_point("surveys");
	for (entry = b->entries; entry < end; entry++) {
		entry->t.brief = false;
		zcipc_transfer_survey(&entry->t, entry->from->extent.region);
		cond_resched();
	}
	zcipc_batch_lock_endpoints(b);
	for (entry = b->entries; entry < end; entry++)
		entry->ret = zcipc_transfer_may_send(&entry->t);
}

/* Begins all, so that they can be committed. Returns the index of the one that fails, or n. */
static u32 zcipc_batch_begin_all(struct zcipc_batch *b)
{
	bool is_long = b->how == ZCIPC_BATCH_LONG;
	struct zcipc_batch_entry *entry;
	unsigned long slots = 0;
	struct zcipc_cap *cap;
	u32 i;

	i = zcipc_batch_failed(b);
	if (i == b->n && is_long) {
		zcipc_batch_survey(b);
		i = zcipc_batch_failed(b);
	}
	if (i < b->n)
		return i;
	for (i = 0; i < b->n; i++) {
		entry = &b->entries[i];
		cap = zcipc_batch_cap(b, entry);
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
		else if (i == b->conflict)
			entry->ret = -EINVAL;
		/* They are taken from the sender one by one, with all locks. */
		if (!entry->ret && is_long && entry->t.cmd->type == ZCIPC_MOVE &&
		    entry->t.npages == cap->extent.npages) {
			slots += cap->extent.nslots;
			if (zcipc_batch_is_much(b->others, slots))
				entry->ret = -E2BIG;
		}
		if (!entry->ret)
			entry->ret = is_long ? zcipc_transfer_admit(&entry->t, cap) :
					       zcipc_transfer_begin(&entry->t, cap);
		b->copied += zcipc_batch_copied(entry);
		if (!is_long && b->copied > ZCIPC_LONG_COPIES << PAGE_SHIFT && !entry->ret)
			entry->ret = -E2BIG;
		if (entry->ret)
			break;
		cond_resched();
	}
	if (i == b->n && is_long)
		i = zcipc_batch_work(b);
	if (i == b->n)
		return i;
	/* Those behind it may have their place already. */
	zcipc_batch_abort(b);
	/* A snapshot has frames by now, or the peer another window: all begins anew. */
	entry = &b->entries[i];
	if (entry->ret == -ERESTART ? !signal_pending(current) : !is_long && entry->ret == -E2BIG)
		b->rest = ZCIPC_BATCH_LONG;
	if (entry->ret == -ERESTART)
		entry->ret = -EAGAIN;
	return i;
}

/* All or none. */
static int zcipc_batch_atomic(struct zcipc_batch *b)
{
	u32 failed = zcipc_batch_begin_all(b);
	u32 i;

	for (i = 0; i < b->n; i++) {
		struct zcipc_batch_entry *entry = &b->entries[i];

		if (failed == b->n)
			zcipc_batch_commit(b, entry, entry->from);
		else if (i != failed)
			entry->ret = -ECANCELED;
	}
	return failed == b->n ? 0 : b->entries[failed].ret;
}

/*
 * Under all locks. Nobody sees a state in between. Returns what came of an atomic batch, and sets
 * @made to how many transfers need not be tried again.
 */
static int zcipc_batch_locked(struct zcipc_batch *b, u32 *made)
{
	cycles_t start = get_cycles();
	int ret = 0;

	if (b->how == ZCIPC_BATCH_PART ||
	    (b->how == ZCIPC_BATCH_ATOMIC && zcipc_batch_failed(b) == b->n)) {
		zcipc_batch_carry(b);
		zcipc_batch_unmap(b);
	}
	if (zcipc_batch_is_atomic(b))
		ret = zcipc_batch_atomic(b);
	else
		*made = zcipc_batch_each(b);
	if (b->rest == ZCIPC_BATCH_LONG)
		*made = 0;
	zcipc_carry_list_give(&b->carry);
	if (b->carry.n)
		zcipc_endpoint_made_room(b->src);
	zcipc_batch_unlock_peer(b);
	/* Faults do it where that takes long. */
	if (b->how != ZCIPC_BATCH_LONG)
		zcipc_batch_populate(b);
	zcipc_count(&b->src->space, NULL, BATCHES, !b->counted);
	b->counted = true;
	zcipc_count(&b->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	return ret;
}

/* A transfer that takes long: as if it were no batch's. */
static void zcipc_batch_alone(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry = b->entries;

	entry->ret = zcipc_transfer_make(b->ucmd, b->cmds, NULL, false);
	/* A batch waits for nothing: what was there went away again, and a signal came. */
	if (entry->ret == -ERESTARTSYS)
		entry->ret = -EAGAIN;
	if (b->counted)
		return;
	b->counted = true;
	mutex_lock(&b->src->space.lock);
	zcipc_count(&b->src->space, NULL, BATCHES, 1);
	mutex_unlock(&b->src->space.lock);
}

/*
 * Makes as many of the transfers as go together, and sets @made to how many. None, if the first has
 * to be made alone, or an atomic batch as one that takes long: the next call does that. @result:
 * what comes of an atomic batch. Returns 0, or -EINTR, with nothing done.
 */
static int zcipc_batch_part(struct zcipc_batch *b, u32 *made, int *result)
{
	int ret;

	zcipc_batch_prepare(b);
	zcipc_test_point("prepared");
	*made = b->n;
	if (b->how == ZCIPC_BATCH_ALONE) {
		zcipc_batch_alone(b);
		return 0;
	}
	zcipc_batch_sort_regions(b);
	zcipc_batch_sort_endpoints(b);
	ret = zcipc_batch_lock_regions(b);
	if (ret)
		return ret;
	zcipc_batch_lock_endpoints(b);
	zcipc_batch_look(b);
	if (b->rest == ZCIPC_BATCH_LONG)
		*made = 0;
	else
		*result = zcipc_batch_locked(b, made);
	zcipc_batch_unlock(b);
	mmap_read_unlock(b->src->space.mm);
	return 0;
}

/* Makes all transfers, part by part. Results and context as zcipc_batch_part(). */
int zcipc_batch_make(const struct zcipc_batch *all, int *result)
{
	enum zcipc_batch_how how = all->how;
	struct zcipc_batch_entry *entry;
	bool counted = false;
	struct zcipc_batch b;
	u32 at, made;
	int ret;

	for (at = 0; at < all->n; at += made) {
		if (at && fatal_signal_pending(current))
			return -EINTR;
		b = *all;
		b.cmds += at;
		b.entries += at;
		b.n -= at;
		b.how = how;
		b.counted = counted;
		ret = zcipc_batch_part(&b, &made, result);
		zcipc_batch_end(&b);
		if (ret)
			return ret;
		counted = b.counted;
		how = b.rest;
		for (entry = b.entries + made; entry < b.entries + b.n; entry++) {
			entry->ret = entry->invalid;
			entry->from = NULL;
			memset(&entry->t, 0, sizeof(entry->t));
		}
	}
	return 0;
}

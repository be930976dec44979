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
#include "base/base.h"

#include <linux/sort.h>
#include <linux/timex.h>

#include "mem/region.h"
#include "ipc/endpoint.h"
#include "ipc/room.h"
#include "transfer/batch.h"

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

/*
 * Locks the sender's address space and all regions. Whoever has a region may keep it long, and all
 * other threads of the sender need the mmap_lock meanwhile. Returns 0, or -EINTR.
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
	/* Those of the peers, which nobody else knows, if they stay without frames for long. */
	for (i = 0; b->how == ZCIPC_BATCH_LONG && i < b->n; i++) {
		region = b->entries[i].t.region;
		if (region)
			mutex_lock_nest_lock(&region->lock, &mm->mmap_lock);
	}
	return 0;
}

/* Releases the locks, and does on the way what needs those of the regions alone. */
static void zcipc_batch_unlock(struct zcipc_batch *b)
{
	u32 i;

	zcipc_batch_unlock_endpoints(b);
	for (i = 0; b->how == ZCIPC_BATCH_LONG && i < b->n; i++) {
		struct zcipc_transfer_state *t = &b->entries[i].t;

		if (!b->entries[i].ret)
			zcipc_transfer_finish(t, b->entries[i].from);
		if (t->region)
			mutex_unlock(&t->region->lock);
		cond_resched();
	}
	/* The last transfer of a region does not free it: see zcipc_transfer_free(). */
	for (i = 0; i < b->nregions; i++)
		mutex_unlock(&b->regions[i]->lock);
}

/*
 * Passes the capability on, if nothing else is left to be done. It has one slot, if it is carried.
 * Other transfers of the batch may have moved pages away.
 */
static __always_inline bool zcipc_batch_pass(struct zcipc_batch_entry *entry,
					     struct zcipc_cap *cap)
{
	struct zcipc_transfer_state *t = &entry->t;

	if (t->ptes != ZCIPC_PTES_CARRIED || !zcipc_transfer_is_whole(t) ||
	    t->dst->space.user != cap->extent.region->user ||
	    cap->extent.slots.next != &cap->slot.entry ||
	    !zcipc_region_present(cap->extent.region, t->first, t->npages))
		return false;
	zcipc_move_pass(t, cap);
	entry->to = cap;
	return true;
}

/* Bytes that have been copied, which nobody could foresee. */
static u64 zcipc_batch_copied(const struct zcipc_batch_entry *entry)
{
	return entry->t.plan.held + ((u64)entry->t.plan.nloose << PAGE_SHIFT);
}

/*
 * Makes one transfer after the other. Returns how many: the rest is left to another part if copies,
 * which nobody could foresee, have taken long, or if the next one would.
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
		if (!IS_ERR(cap) && zcipc_batch_pass(entry, cap))
			continue;
		/* Earlier ones may have made so many of the region that this one takes long. */
		if (IS_ERR(cap))
			entry->ret = PTR_ERR(cap);
		else if (zcipc_region_has_many(cap->extent.region) &&
			 zcipc_transfer_is_long(&entry->t, cap->extent.region))
			entry->ret = -E2BIG;
		else
			entry->ret = zcipc_transfer_begin(&entry->t, cap);
		if (!entry->ret) {
			entry->to = zcipc_transfer_commit(&entry->t, cap);
			entry->from = cap;
		} else {
			zcipc_batch_dismiss(b, entry);
		}
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

/* The first that has failed, or NULL. */
static struct zcipc_batch_entry *zcipc_batch_failed(const struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry;

	for (entry = b->entries; entry < b->entries + b->n; entry++)
		if (entry->ret)
			return entry;
	return NULL;
}

/*
 * Does what takes long, which nobody who needs the endpoints waits for, up to what fails. All are
 * admitted, and keep their places.
 */
static void zcipc_batch_work(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;
	int ret = 0;

	zcipc_batch_unlock_endpoints(b);
	zcipc_test_point("long");
	/* At once, unless that takes long itself. */
	if (b->cost <= ZCIPC_BATCH_COST) {
		mutex_lock(&b->src->space.lock);
		zcipc_batch_unmap(b);
		mutex_unlock(&b->src->space.lock);
	}
	for (entry = b->entries; entry < end && !ret; entry++) {
		ret = zcipc_transfer_work(&entry->t, entry->from);
		entry->ret = ret;
		cond_resched();
	}
	zcipc_batch_lock_endpoints(b);
	for (entry = b->entries; entry < end && !ret; entry++) {
		ret = zcipc_transfer_recheck(&entry->t);
		entry->ret = ret;
	}
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

/* Begins a transfer of an atomic batch, or admits it if that takes long. Returns 0 or an errno. */
static int zcipc_batch_begin(struct zcipc_batch *b, struct zcipc_batch_entry *entry,
			     unsigned long *nslots)
{
	struct zcipc_cap *cap = zcipc_batch_cap(b, entry);
	struct zcipc_transfer_state *t = &entry->t;
	int ret;

	if (IS_ERR(cap))
		return PTR_ERR(cap);
	if (entry == b->entries + b->conflict)
		return -EINVAL;
	if (b->how == ZCIPC_BATCH_LONG) {
		/* They are taken from the sender one by one, with all locks. */
		if (t->cmd->type == ZCIPC_MOVE && t->npages == cap->extent.npages)
			*nslots += cap->extent.nslots;
		return zcipc_batch_is_much(b->others, *nslots) ? -E2BIG :
								 zcipc_transfer_admit(t, cap);
	}
	ret = zcipc_transfer_begin(t, cap);
	b->copied += zcipc_batch_copied(entry);
	if (!ret && b->copied > ZCIPC_LONG_COPIES << PAGE_SHIFT)
		ret = -E2BIG;
	return ret;
}

/* Begins all, so that they can be committed, up to the one that fails. */
static void zcipc_batch_begin_all(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *end = b->entries + b->n;
	unsigned long nslots = 0;

	if (b->how == ZCIPC_BATCH_LONG)
		zcipc_batch_survey(b);
	if (zcipc_batch_failed(b))
		return;
	for (entry = b->entries; entry < end; entry++) {
		entry->ret = zcipc_batch_begin(b, entry, &nslots);
		if (entry->ret)
			return;
		cond_resched();
	}
	if (b->how == ZCIPC_BATCH_LONG)
		zcipc_batch_work(b);
}

/* Takes back what there is of the others when one has failed. */
static void zcipc_batch_abort(struct zcipc_batch *b, struct zcipc_batch_entry *failed)
{
	bool is_long = b->how == ZCIPC_BATCH_LONG, anew = !is_long && failed->ret == -E2BIG;
	struct zcipc_batch_entry *entry = b->entries + b->n;
	u32 i;

	while (entry-- > b->entries)
		zcipc_batch_dismiss(b, entry);
	/* Others may have seen that there was no room because of it. */
	for (i = 0; is_long && i < b->neps; i++)
		zcipc_endpoint_made_room(b->eps[i]);
	/* A snapshot has frames by now, or the peer another window: all begins anew. */
	if (failed->ret == -ERESTART) {
		failed->ret = -EAGAIN;
		anew = !signal_pending(current);
	}
	if (anew)
		b->rest = ZCIPC_BATCH_LONG;
}

/* All or none. Returns what came of it. */
static int zcipc_batch_atomic(struct zcipc_batch *b)
{
	struct zcipc_batch_entry *entry, *failed = zcipc_batch_failed(b);

	if (!failed) {
		zcipc_batch_begin_all(b);
		failed = zcipc_batch_failed(b);
		if (failed)
			zcipc_batch_abort(b, failed);
	}
	for (entry = b->entries; entry < b->entries + b->n; entry++) {
		if (failed && entry != failed)
			entry->ret = -ECANCELED;
		else if (!failed && !zcipc_batch_pass(entry, entry->from))
			entry->to = zcipc_transfer_commit(&entry->t, entry->from);
	}
	return failed ? failed->ret : 0;
}

/*
 * Under all locks. Nobody sees a state in between. Returns how many transfers need not be tried
 * again, and sets @result to what came of an atomic batch.
 */
static u32 zcipc_batch_locked(struct zcipc_batch *b, int *result)
{
	cycles_t start = get_cycles();
	u32 made = b->n;

	if (b->how == ZCIPC_BATCH_PART ||
	    (b->how == ZCIPC_BATCH_ATOMIC && !zcipc_batch_failed(b))) {
		zcipc_batch_carry(b);
		zcipc_batch_unmap(b);
	}
	if (zcipc_batch_is_atomic(b))
		*result = zcipc_batch_atomic(b);
	else
		made = zcipc_batch_each(b);
	zcipc_carry_list_give(&b->carry);
	if (b->carry.n)
		zcipc_endpoint_made_room(b->src);
	zcipc_batch_end_carry(b);
	/* Faults do it where that takes long. */
	if (b->how != ZCIPC_BATCH_LONG)
		zcipc_batch_populate(b);
	zcipc_count(&b->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	return made;
}

/*
 * Makes as many of the transfers as go together. Returns how many, or -EINTR, with nothing done.
 * None, if the first has to be made alone, or an atomic batch as one that takes long: the next call
 * does that. @result: as zcipc_batch_locked()
 */
static int zcipc_batch_part(struct zcipc_batch *b, int *result)
{
	u32 made = 0;

	zcipc_batch_prepare(b);
	zcipc_test_point("prepared");
	if (b->how == ZCIPC_BATCH_ALONE) {
		/* As if it were no batch's. */
		b->entries->ret = zcipc_transfer_make(b->ucmd, b->cmds, NULL, false);
		/* A batch waits for nothing: what was there went away again, and a signal came. */
		if (b->entries->ret == -ERESTARTSYS)
			b->entries->ret = -EAGAIN;
		return 1;
	}
	zcipc_batch_sort_regions(b);
	zcipc_batch_sort_endpoints(b);
	if (zcipc_batch_lock_regions(b))
		return -EINTR;
	zcipc_batch_lock_endpoints(b);
	zcipc_batch_look(b);
	if (b->rest != ZCIPC_BATCH_LONG)
		made = zcipc_batch_locked(b, result);
	zcipc_batch_unlock(b);
	mmap_read_unlock(b->src->space.mm);
	return b->rest == ZCIPC_BATCH_LONG ? 0 : made;
}

/*
 * Makes all transfers, part by part. Returns 0, and what came of each in its entry, and of an
 * atomic batch in @result; or -EINTR.
 */
int zcipc_batch_make(const struct zcipc_batch *all, int *result)
{
	enum zcipc_batch_how how = all->how;
	struct zcipc_batch_entry *entry;
	struct zcipc_batch b;
	int made;
	u32 at;

	for (at = 0; at < all->n; at += made) {
		if (at && fatal_signal_pending(current))
			return -EINTR;
		b = *all;
		b.cmds += at;
		b.entries += at;
		b.n -= at;
		b.how = how;
		made = zcipc_batch_part(&b, result);
		zcipc_batch_end(&b);
		if (made < 0)
			return made;
		how = b.rest;
		for (entry = b.entries + made; entry < b.entries + b.n; entry++) {
			entry->ret = entry->invalid;
			entry->from = NULL;
			memset(&entry->t, 0, sizeof(entry->t));
		}
	}
	mutex_lock(&all->src->space.lock);
	zcipc_count(&all->src->space, NULL, BATCHES, 1);
	mutex_unlock(&all->src->space.lock);
	return 0;
}

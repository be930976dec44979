// SPDX-License-Identifier: GPL-2.0
/*
 * What a transfer has to do with the peer: finds it, takes room in its queue, its table and its
 * window, and delivers there. The caller holds the peer's lock where nothing else is said.
 */
#include "base/base.h"
#include "base/trace.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/queue.h"
#include "transfer/direct.h"
#include "transfer/transfer.h"

/* Does the peer accept the sender? May be asked with and without the peer's lock. */
static bool zcipc_transfer_accepted(const struct zcipc_transfer_state *t)
{
	return t->cmd->flags & ZCIPC_F_PEER_FD || zcipc_endpoint_accepts(t->dst, t->src);
}

/* Sets the peer, whose lock is not held, with a reference: 0, or -EBADF, -ENOENT, -ESRCH, -EPERM */
int zcipc_transfer_find_peer(struct zcipc_transfer_state *t)
{
	struct zcipc_endpoint *peer = zcipc_endpoint_get_peer(t->cmd->peer, t->cmd->flags);

	if (IS_ERR(peer))
		return PTR_ERR(peer);
	t->dst = peer;
	return zcipc_transfer_accepted(t) ? 0 : -EPERM;
}

/* May the peer be sent to? */
int zcipc_transfer_may_send(const struct zcipc_transfer_state *t)
{
	if (t->dst->space.dead)
		return -ESRCH;
	return zcipc_transfer_accepted(t) ? 0 : -EPERM;
}

/* zcipc_transfer_reserve_at(), for a region that is to be mapped there, or a snapshot of it. */
int zcipc_transfer_reserve(struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	unsigned long npages = zcipc_transfer_needs(t);
	long align = -1;

	/* A snapshot of unaligned memory begins earlier than what is not copied. */
	if (npages && region->nhuge && (!t->direct || region == t->region))
		align = zcipc_region_alignment(region, t->first, t->npages,
					       t->cmd->type != ZCIPC_SHARE);
	/* A new region has huge frames only where they stay at the same place in it. */
	if (align > 0 && t->region)
		align = -1;
	if (t->torn && !t->ops->copies)
		align = 0;
	return zcipc_transfer_reserve_at(t, npages, align);
}

/*
 * Is what was reserved for a transfer still there, and can be used? Returns 0 or an errno;
 * -ERESTART if it has gone, and another try has to reserve something else.
 */
int zcipc_transfer_recheck(struct zcipc_transfer_state *t)
{
	int ret = zcipc_transfer_may_send(t);

	if (ret || !t->ops->places ||
	    zcipc_window_has(&t->dst->space, t->window_id, t->pgoff, zcipc_transfer_span(t)))
		return ret;
	return -ERESTART;
}

/* What is to become of the frames. @user: whose they are */
void zcipc_transfer_plan(struct zcipc_transfer_state *t, const struct zcipc_user *user)
{
	u32 flags = t->cmd->flags;
	int node = t->cmd->node;

	memset(&t->plan, 0, sizeof(t->plan));
	INIT_LIST_HEAD(&t->plan.spares);
	t->plan.take = t->cmd->type == ZCIPC_MOVE;
	t->plan.others = t->plan.take && t->dst->space.user != user;
	t->plan.strict = flags & ZCIPC_F_STRICT;
	t->plan.cache = t->cache;
	t->plan.brief = t->brief;
	t->plan.node = node == ZCIPC_NUMA_RECEIVER ? READ_ONCE(t->dst->node) : node;
	t->plan.node_strict = flags & ZCIPC_F_NODE_STRICT;
}

/*
 * Notes and counts what a transfer that is being carried out does. Its place in the queue is the
 * message's now. @region: the sender's, or NULL; the caller holds its lock, and the sender's
 */
void zcipc_transfer_results(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	static const enum zcipc_stat stats[] = {
		[ZCIPC_MOVE] = ZCIPC_STAT_MOVES,
		[ZCIPC_SHARE] = ZCIPC_STAT_SHARES,
		[ZCIPC_COPY] = ZCIPC_STAT_COPIES,
		[ZCIPC_GRANTED] = ZCIPC_STAT_GRANTS,
	};
	/* Parts of pages are copied in any case. */
	unsigned long npages = t->direct ? t->direct->npages : t->npages;
	const struct zcipc_plan *plan = &t->plan;
	struct zcipc_space *src = &t->src->space;
	struct zcipc_transfer *cmd = t->cmd;
	u64 loose = (u64)plan->nloose << PAGE_SHIFT;
	u64 copied, recached = 0, asked_for = 0;

	if (t->ops->copies && !t->cache && !region->cache)
		asked_for = (u64)t->npages << PAGE_SHIFT;
	else if (t->ops->copies)
		recached = (u64)t->npages << PAGE_SHIFT;
	else if (region && t->cache != region->cache)
		recached = (u64)plan->npages << PAGE_SHIFT;
	copied = plan->held + plan->mended + recached + loose;
	t->dst->nreserved--;
	zcipc_count_add(src, region, stats[cmd->type], 1);
	trace_zcipc_commit(src->id, t->dst->space.id, cmd->type,
			   t->region ? t->region->id : region->id, t->npages,
			   copied + plan->migrated);
	cmd->copied = copied + asked_for;
	cmd->migrated = plan->migrated;
	cmd->off_node = plan->off_node;
	if (cmd->type == ZCIPC_GRANTED)
		return;
	copied += plan->migrated + asked_for;
	/* To share a part with another policy all of the region is copied. */
	cmd->pages = npages - min(npages, copied >> PAGE_SHIFT);
	zcipc_count(src, region, PAGES, cmd->pages);
	if (t->direct) {
		cmd->copied += t->direct->copied;
		zcipc_count(src, NULL, COPIED_MEMORY, t->direct->copied);
	}
	if (!copied)
		return;
	zcipc_count(src, region, COPIED_HELD, plan->held);
	zcipc_count(src, region, COPIED_NODE, plan->migrated);
	zcipc_count(src, region, COPIED_AUTO, asked_for);
	zcipc_count(src, region, COPIED_CACHE, recached);
	zcipc_count(src, region, COPIED_MENDED, plan->mended);
	zcipc_count(src, region, COPIED_PARTS, loose);
}

/*
 * Locks the peer's address space, if it exists and is not busy, to map what is delivered. It is
 * kept for just that, as its process does not come to its end before. Otherwise faults have to map.
 */
bool zcipc_transfer_lock_mm(struct mm_struct *mm)
{
	if (!mmget_not_zero(mm))
		return false;
	if (mmap_read_trylock(mm))
		return true;
	mmput_async(mm);
	return false;
}

void zcipc_transfer_unlock_mm(struct mm_struct *mm)
{
	mmap_read_unlock(mm);
	/* If the peer has exited this takes its address space down: not in our context. */
	mmput_async(mm);
}

/*
 * The peer's part, which cannot fail. @from: the sender's capability, or NULL. The caller holds the
 * locks of the peer and of what it gets. Returns the peer's capability, valid as long as its lock
 * is held.
 */
struct zcipc_cap *zcipc_transfer_deliver(struct zcipc_transfer_state *t, struct zcipc_cap *from)
{
	struct zcipc_region *region = t->region ?: from->extent.region;
	unsigned long npages = zcipc_transfer_span(t), first = t->region ? 0 : t->first;
	u64 addr = 0, skip = t->direct ? t->direct->skip : 0;
	u64 len = t->direct ? t->direct->len : (u64)npages << PAGE_SHIFT;
	u32 sender_rights = from ? from->rights : ZCIPC_RIGHTS_ALL;
	struct zcipc_transfer *cmd = t->cmd;
	struct zcipc_cap *cap = t->cap;

	if (region->cache != t->cache)
		zcipc_region_set_cache(region, t->cache);
	/* A whole region comes with its capability. */
	if (cap == from) {
		cap->rights = t->rights;
	} else {
		zcipc_cap_enter(cap, t->dst);
		zcipc_cap_install(cap, region, t->region ? NULL : from, first, npages, t->rights);
	}
	if (t->ops->places) {
		zcipc_slot_install(&cap->slot, &cap->extent, t->pgoff, first, npages,
				   t->rights & ZCIPC_RIGHT_WRITE);
		zcipc_test_point("committed");
		if (t->carry && t->carry->from)
			zcipc_carry_in(t->carry, &cap->slot);
		else if (t->carry && !zcipc_transfer_is_lazy(t))
			zcipc_slot_populate(&cap->slot, 0, npages);
		addr = zcipc_slot_addr(&cap->slot) + skip;
	}
	cap->msg = zcipc_message_of_transfer(cmd->type, region->id, addr, skip, len, cmd->cookie,
					     sender_rights,
					     region->file && cmd->type != ZCIPC_GRANTED);
	cmd->peer_cap = cap->extent.token;
	zcipc_message_queue(t->dst, &cap->msg, t->src);
	t->cap = NULL;
	return cap;
}

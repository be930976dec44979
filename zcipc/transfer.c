// SPDX-License-Identifier: GPL-2.0
/*
 * Transfers: prepare everything that can fail, commit by changing the tables, then populate the
 * peer's page tables. The peer's mmap_lock is held all the time, so that its window cannot change;
 * see the locking order in zcipc.h.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "zcipc.h"

/**
 * struct zcipc_transfer_state - a transfer under way
 * @cmd: what was asked for
 * @src: the sender
 * @dst: the peer, with a reference
 * @msg: for the peer's queue
 * @slot: for the peer's window
 * @cap: for the peer's table
 * @region: for the peer, if it gets a new one: charged to it, not filled
 * @npages: length of the range
 * @whole: the range is all that the sender's capability names
 */
struct zcipc_transfer_state {
	struct zcipc_transfer *cmd;
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	struct zcipc_message *msg;
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;
	struct zcipc_region *region;
	unsigned long npages;
	bool whole;
};

static int zcipc_transfer_validate(const struct zcipc_transfer *cmd)
{
	if (cmd->flags & ~ZCIPC_F_STRICT || cmd->rights & ZCIPC_RIGHT_EXEC || cmd->cache ||
	    cmd->node != ZCIPC_NODE_ANY)
		return -EOPNOTSUPP;
	if (cmd->type < ZCIPC_MOVE || cmd->type > ZCIPC_COPY || cmd->rights & ~ZCIPC_RIGHTS_ALL)
		return -EINVAL;
	if (!(cmd->rights & ZCIPC_RIGHT_READ) && (cmd->rights || cmd->type == ZCIPC_SHARE))
		return -EINVAL;
	return 0;
}

/* Finds the sender's capability and checks what it is to be used for. */
static struct zcipc_cap *zcipc_transfer_source(struct zcipc_transfer_state *t,
					       unsigned long *first, unsigned long *npages)
{
	static const u32 needed[] = {
		[ZCIPC_MOVE] = ZCIPC_RIGHT_MOVE,
		[ZCIPC_SHARE] = ZCIPC_RIGHT_GRANT,
		[ZCIPC_COPY] = ZCIPC_RIGHT_READ,
	};
	const struct zcipc_transfer *cmd = t->cmd;
	struct zcipc_cap *cap;
	int ret;

	cap = zcipc_cap_find(t->src, cmd->cap);
	if (IS_ERR(cap))
		return cap;
	ret = zcipc_cap_range(cap, cmd->offset, cmd->len, first, npages);
	if (ret)
		return ERR_PTR(ret);
	if (!(cap->rights & needed[cmd->type]))
		return ERR_PTR(-EACCES);
	/* A snapshot is the peer's own, it can have rights to it that the sender has not. */
	if (cmd->type != ZCIPC_COPY && cmd->rights & ~cap->rights)
		return ERR_PTR(-EACCES);
	return cap;
}

/* Allocates what the transfer needs, before any lock that others wait for. */
static int zcipc_transfer_prepare(struct zcipc_transfer_state *t)
{
	unsigned long first, region_npages = 0;
	struct zcipc_cap *cap;
	bool charge = true;

	mutex_lock(&t->src->lock);
	cap = zcipc_transfer_source(t, &first, &t->npages);
	if (!IS_ERR(cap)) {
		region_npages = cap->region->npages;
		t->whole = t->npages == cap->npages;
		/* What a user moves to itself is charged already. */
		if (t->cmd->type == ZCIPC_MOVE)
			charge = t->dst->user != cap->region->user;
	}
	mutex_unlock(&t->src->lock);
	if (IS_ERR(cap))
		return PTR_ERR(cap);

	t->msg = zcipc_message_alloc(t->src);
	t->slot = kzalloc(sizeof(*t->slot), GFP_KERNEL_ACCOUNT);
	t->cap = zcipc_cap_alloc();
	if (!t->msg || !t->slot || !t->cap)
		return -ENOMEM;
	/* A whole region moves as it is. */
	if (t->cmd->type == ZCIPC_COPY ||
	    (t->cmd->type == ZCIPC_MOVE && t->npages != region_npages)) {
		t->region = zcipc_region_alloc(t->dst->user, t->npages, charge);
		if (IS_ERR(t->region))
			return PTR_ERR(t->region);
	}
	return 0;
}

static void zcipc_transfer_free(struct zcipc_transfer_state *t)
{
	zcipc_message_free(t->msg);
	kfree(t->slot);
	kfree(t->cap);
	if (!IS_ERR_OR_NULL(t->region))
		zcipc_region_put(t->region);
}

/* Takes room in the peer's table and window, or none. */
static int zcipc_transfer_reserve(struct zcipc_transfer_state *t)
{
	int ret;

	if (t->dst->nmessages >= ZCIPC_MAX_MESSAGES)
		return -EAGAIN;
	ret = zcipc_slot_reserve(t->dst, t->slot, t->npages);
	if (ret)
		return ret;
	ret = zcipc_cap_reserve(t->dst, t->cap, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (ret)
		zcipc_slot_abort(t->dst, t->slot);
	return ret;
}

static void zcipc_transfer_unreserve(struct zcipc_transfer_state *t)
{
	zcipc_cap_abort(t->cap);
	zcipc_slot_abort(t->dst, t->slot);
}

/* Does any capability but this one name pages of the range? */
static bool zcipc_transfer_others_hold(const struct zcipc_cap *cap, unsigned long first,
				       unsigned long npages)
{
	const struct zcipc_cap *other;

	list_for_each_entry(other, &cap->region->caps, region_entry)
		if (other != cap && first < other->first + other->npages &&
		    other->first < first + npages)
			return true;
	return false;
}

/* Everything about a MOVE that can fail. The frames are then reachable through the region alone. */
static int zcipc_transfer_take(struct zcipc_transfer_state *t, struct zcipc_cap *cap,
			       unsigned long first)
{
	bool charge = !t->region && t->dst->user != cap->region->user;
	int ret;

	if (zcipc_transfer_others_hold(cap, first, t->npages))
		return -EBUSY;
	if (charge) {
		ret = zcipc_charge(t->dst->user, cap->region->ncharged);
		if (ret)
			return ret;
	}
	zcipc_region_unmap(cap->region, first, t->npages);
	zcipc_test_point("unmapped");
	ret = zcipc_region_isolate(cap->region, first, t->npages, t->cmd->flags & ZCIPC_F_STRICT,
				   GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, &t->cmd->copied);
	if (charge) {
		if (ret)
			zcipc_uncharge(t->dst->user, cap->region->ncharged);
		else
			zcipc_region_own(cap->region, t->dst->user);
	}
	return ret;
}

/*
 * The transfer, under the peer's mmap_lock and both endpoints' locks. Any error leaves everything
 * as it was, but for PTEs that faults will bring back. -EAGAIN: wait for room in the peer.
 */
static int zcipc_transfer_locked(struct zcipc_transfer_state *t)
{
	struct zcipc_transfer *cmd = t->cmd;
	struct zcipc_cap *gone = NULL;
	struct zcipc_region *region;
	unsigned long first, npages;
	struct zcipc_cap *cap;
	u32 rights;
	int ret;

	if (t->dst->dead)
		return -ESRCH;
	cap = zcipc_transfer_source(t, &first, &npages);
	if (IS_ERR(cap))
		return PTR_ERR(cap);
	region = cap->region;
	rights = cmd->rights;
	if (!rights)
		rights = cmd->type == ZCIPC_COPY ? ZCIPC_RIGHTS_ALL : cap->rights;

	mutex_lock(&region->lock);
	cmd->copied = 0;
	ret = zcipc_region_present(region, first, npages) ? zcipc_transfer_reserve(t) : -ENOENT;
	if (ret)
		goto out_unlock;
	if (cmd->type == ZCIPC_MOVE)
		ret = zcipc_transfer_take(t, cap, first);
	else if (cmd->type == ZCIPC_COPY)
		ret = zcipc_cow_snapshot(region, first, t->region, cmd->flags & ZCIPC_F_STRICT,
					 &cmd->copied);
	if (ret) {
		zcipc_transfer_unreserve(t);
		goto out_unlock;
	}

	/* Nothing fails from here on. */
	t->msg->type = cmd->type;
	t->msg->rights = rights;
	t->msg->token = t->cap->token;
	t->msg->addr = zcipc_slot_addr(t->dst, t->slot);
	t->msg->len = (u64)npages << PAGE_SHIFT;
	t->msg->cookie = cmd->cookie;
	cmd->pages = npages - (cmd->copied >> PAGE_SHIFT);
	if (cmd->type == ZCIPC_MOVE) {
		if (t->region)
			zcipc_region_split(region, first, t->region);
		if (t->whole) {
			zcipc_cap_detach(cap);
			zcipc_endpoint_made_room(t->src);
			gone = cap;
		}
	}
	if (t->region) {
		mutex_unlock(&region->lock);
		region = t->region;
		mutex_lock(&region->lock);
		first = 0;
	}
	t->msg->region = region->id;
	zcipc_cap_install(t->cap, region, first, npages, rights);
	zcipc_slot_install(t->slot, t->cap, first, rights & ZCIPC_RIGHT_WRITE);
	zcipc_test_point("committed");
	zcipc_slot_populate(t->slot);
	mutex_unlock(&region->lock);
	zcipc_message_queue(t->dst, t->msg);
	t->msg = NULL;
	t->slot = NULL;
	t->cap = NULL;
	if (gone)
		zcipc_cap_free(gone);
	return 0;

out_unlock:
	mutex_unlock(&region->lock);
	return ret;
}

/* One try. Sets @room_seq to what it was when there was no room. */
static int zcipc_transfer_try(struct zcipc_transfer_state *t, u32 *room_seq)
{
	struct mm_struct *mm = t->dst->mm;
	int ret;

	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = mmap_read_lock_killable(mm);
	if (!ret) {
		zcipc_endpoints_lock(t->src, t->dst);
		ret = zcipc_transfer_locked(t);
		*room_seq = t->dst->room_seq;
		zcipc_endpoints_unlock(t->src, t->dst);
		mmap_read_unlock(mm);
	}
	/* If the peer has exited this takes its address space down: not in our context. */
	mmput_async(mm);
	return ret;
}

static bool zcipc_transfer_worth_a_try(const struct zcipc_transfer_state *t, u32 room_seq)
{
	return READ_ONCE(t->dst->room_seq) != room_seq || READ_ONCE(t->dst->dead);
}

static void zcipc_transfer_count(const struct zcipc_transfer *cmd)
{
	if (cmd->type == ZCIPC_MOVE)
		zcipc_stat_inc(MOVES);
	else if (cmd->type == ZCIPC_SHARE)
		zcipc_stat_inc(SHARES);
	else
		zcipc_stat_inc(COPIES);
	zcipc_stat_add(PAGES, cmd->pages);
	zcipc_stat_add(COPIED_HELD, cmd->copied);
}

/**
 * zcipc_transfer() - ZCIPC_IOC_TRANSFER
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_transfer, or -ERESTARTSYS
 */
int zcipc_transfer(struct zcipc_ucmd *ucmd)
{
	struct zcipc_transfer_state t = { .cmd = ucmd->cmd, .src = ucmd->ep };
	u32 room_seq;
	int ret;

	ret = zcipc_transfer_validate(t.cmd);
	if (ret)
		return ret;
	t.dst = zcipc_endpoint_get(t.cmd->peer);
	if (IS_ERR(t.dst))
		return PTR_ERR(t.dst);
	ret = -EPERM;
	if (!zcipc_endpoint_accepts(t.dst, t.src))
		goto out_put;
	ret = zcipc_ucmd_probe(ucmd);
	if (ret)
		goto out_put;
	ret = zcipc_transfer_prepare(&t);
	if (ret)
		goto out_free;
	zcipc_test_point("prepared");

	while ((ret = zcipc_transfer_try(&t, &room_seq)) == -EAGAIN && !ucmd->nonblock) {
		/*
		 * Whoever makes room tells. So does the end of the peer's window; but a peer that
		 * has unmapped that, and whose child keeps the file open, dies in silence.
		 */
		long left = wait_event_interruptible_timeout(t.dst->room_wait,
				zcipc_transfer_worth_a_try(&t, room_seq), HZ);

		if (left < 0) {
			ret = left;
			break;
		}
	}
	if (!ret) {
		zcipc_test_point("sent");
		zcipc_transfer_count(t.cmd);
		/* Probed above, and too late to say anything but that it was done. */
		if (zcipc_ucmd_respond(ucmd))
			ret = 0;
	}
out_free:
	zcipc_transfer_free(&t);
out_put:
	zcipc_endpoint_put(t.dst);
	return ret;
}

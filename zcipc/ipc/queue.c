// SPDX-License-Identifier: GPL-2.0
/*
 * Messages: queue, receive, and the way back to the sender.
 *
 * A message is a part of the capability that it tells of, and goes with it. Only one that tells
 * that a capability is gone is all that is left of it, and is freed when it has been received. So
 * are notifications, of which a capability has any number.
 */
#include <linux/pid.h>
#include <linux/pagemap.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/uidgid.h>

#include <linux/zcipc.h>

#include "base/counters.h"
#include "base/test.h"
#include "base/trace.h"
#include "mem/account.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/notify.h"
#include "ipc/queue.h"
#include "ipc/ring.h"

static struct zcipc_notice *zcipc_message_notice(const struct zcipc_message *msg)
{
	return container_of(msg, struct zcipc_notice, msg);
}

/* The capability that a message tells of. */
struct zcipc_cap *zcipc_message_cap(const struct zcipc_message *msg)
{
	if (msg->type == ZCIPC_NOTIFIED)
		return zcipc_message_notice(msg)->cap;
	return container_of(msg, struct zcipc_cap, msg);
}

/* The capability is in no table. */
static bool zcipc_message_alone(const struct zcipc_message *msg)
{
	return msg->type == ZCIPC_REVOKED;
}

/**
 * zcipc_message_queue() - append a message
 * @ep: the endpoint; the caller holds its lock and has looked for room
 * @msg: the message, in no list, as one of the functions in queue.h has made it
 * @sender: who sends it
 */
void zcipc_message_queue(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			 const struct zcipc_endpoint *sender)
{
	lockdep_assert_held(&ep->space.lock);
	msg->sender = sender->space.id;
	msg->pid = get_pid(sender->pid);
	msg->uid = sender->cred->euid;
	WRITE_ONCE(ep->nmessages, ep->nmessages + 1);
	zcipc_stat_inc(MESSAGES);
	if (!ep->ring || !zcipc_ring_add(ep, msg)) {
		list_add_tail(&msg->entry, &ep->messages);
		if (ep->ring)
			zcipc_ring_update(ep);
	}
	if (wq_has_sleeper(&ep->recv_wait))
		wake_up(&ep->recv_wait);
}

/* Takes a message out of the queue. Returns whether it was there. */
bool zcipc_message_unqueue(struct zcipc_endpoint *ep, struct zcipc_message *msg)
{
	lockdep_assert_held(&ep->space.lock);
	if (list_empty(&msg->entry))
		return false;
	list_del_init(&msg->entry);
	put_pid(msg->pid);
	WRITE_ONCE(ep->nmessages, ep->nmessages - 1);
	zcipc_stat_dec(MESSAGES);
	return true;
}

/* Gives what a MOVE brought back to its sender, if it is still there. */
static void zcipc_message_give_back(struct zcipc_endpoint *ep, struct zcipc_endpoint *sender,
				    u64 token)
{
	struct zcipc_region *region;
	struct zcipc_plan plan = {
		.take = true, .node = NUMA_NO_NODE, .spares = LIST_HEAD_INIT(plan.spares),
	};
	unsigned long first;
	struct zcipc_cap *cap;
	int ret;

	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return;
	region = cap->extent.region;
	first = cap->extent.first;
	plan.cache = region->cache;
	plan.others = sender->space.user != region->user;
	/* This may take long. */
	zcipc_test_point("returns");
	zcipc_region_unmap(region, cap->extent.first, cap->extent.npages, NULL);
	/* The dead peer may have used the memory before it asked for the message. */
	ret = zcipc_region_plan(region, cap->extent.first, cap->extent.npages,
				GFP_KERNEL | __GFP_NOFAIL, &plan);
	zcipc_endpoints_lock(ep, sender);
	if (ret)
		goto out_unlock;
	if (sender->space.dead || zcipc_cap_reserve(sender, 1, GFP_KERNEL | __GFP_NOFAIL)) {
		zcipc_region_plan_free(&plan);
		goto out_unlock;
	}
	zcipc_cap_give(cap, sender);
	cap->rights = cap->msg.sender_rights;
	zcipc_count(&ep->space, region, COPIED_HELD, plan.held);
	zcipc_count(&ep->space, region, COPIED_PARTS, (u64)plan.nloose << PAGE_SHIFT);
	cap->msg = zcipc_message_returned(&cap->msg);
	zcipc_message_queue(sender, &cap->msg, ep);
	zcipc_count(&sender->space, region, RETURNED, 1);
	zcipc_endpoints_unlock(ep, sender);
	/* With the region's lock alone: nobody has used the capability yet. */
	zcipc_region_replace(region, first, &plan);
	zcipc_charge_force(sender->space.user, region->ncharged);
	zcipc_charge_pins_force(sender->space.user, region->npinned);
	zcipc_region_own(region, sender->space.user);
	zcipc_region_unlock_put(region);
	return;
out_unlock:
	zcipc_endpoints_unlock(ep, sender);
	zcipc_region_unlock_put(region);
}

/**
 * zcipc_message_return_all() - what becomes of the messages of a receiver that died
 * @ep: the receiver, dead
 *
 * What was moved to it goes back to the sender, beyond all limits. If that is not possible, or not
 * what the sender wants, it stays with the receiver, whose capabilities are dropped next.
 *
 * Context: May sleep.
 */
void zcipc_message_return_all(struct zcipc_endpoint *ep)
{
	struct zcipc_endpoint *sender;
	struct zcipc_message *msg;
	struct zcipc_cap *cap;
	u64 sender_id, token;

	mutex_lock(&ep->space.lock);
	zcipc_ring_remove(ep);
	while ((msg = list_first_entry_or_null(&ep->messages, struct zcipc_message, entry))) {
		cap = zcipc_message_cap(msg);
		zcipc_message_unqueue(ep, msg);
		if (zcipc_message_alone(msg)) {
			zcipc_cap_free(cap);
			continue;
		}
		if (msg->type != ZCIPC_MOVE || msg->flags & ZCIPC_MESSAGE_RETURNED)
			continue;
		token = cap->extent.token;
		sender_id = msg->sender;
		mutex_unlock(&ep->space.lock);
		/* From here on the capability can be revoked. */
		sender = zcipc_endpoint_get(sender_id);
		if (!IS_ERR(sender)) {
			if (READ_ONCE(sender->unreceived) == ZCIPC_UNRECEIVED_RETURN)
				zcipc_message_give_back(ep, sender, token);
			zcipc_endpoint_put(sender);
		}
		mutex_lock(&ep->space.lock);
	}
	mutex_unlock(&ep->space.lock);
}

/* The oldest message of a list that is still true, or NULL. */
struct zcipc_message *zcipc_message_valid(struct zcipc_endpoint *ep, struct list_head *messages)
{
	struct zcipc_message *msg;

	lockdep_assert_held(&ep->space.lock);
	while ((msg = list_first_entry_or_null(messages, struct zcipc_message, entry))) {
		if (zcipc_message_alone(msg) || !READ_ONCE(zcipc_message_cap(msg)->extent.revoked))
			break;
		/* Nor will zcipc_cap_bury() tell that it is gone. */
		msg->unheard = !msg->shown;
		zcipc_message_unqueue(ep, msg);
	}
	return msg;
}

/* The oldest message that is still true, or NULL. */
struct zcipc_message *zcipc_message_first(struct zcipc_endpoint *ep)
{
	struct zcipc_message *msg = NULL;

	lockdep_assert_held(&ep->space.lock);
	if (ep->ring) {
		zcipc_ring_update(ep);
		msg = zcipc_message_valid(ep, zcipc_ring_messages(ep));
	}
	return msg ?: zcipc_message_valid(ep, &ep->messages);
}

/* Does a message wait? No lock is held. */
bool zcipc_message_waits(struct zcipc_endpoint *ep)
{
	if (READ_ONCE(ep->ring)) {
		mutex_lock(&ep->space.lock);
		if (ep->ring)
			zcipc_ring_update(ep);
		mutex_unlock(&ep->space.lock);
	}
	return READ_ONCE(ep->nmessages);
}

/* zcipc_message_room(), of an endpoint that seems to have none. */
bool zcipc_message_make_room(struct zcipc_endpoint *ep)
{
	if (!ep->ring)
		return false;
	zcipc_ring_update(ep);
	if (!zcipc_message_fits(ep) && zcipc_ring_want_call(ep))
		zcipc_ring_update(ep);
	return zcipc_message_fits(ep);
}

/* What the receiver is told, but for the sender's ids. */
void zcipc_message_describe(const struct zcipc_message *msg, struct zcipc_recv *recv)
{
	const struct zcipc_cap *cap = zcipc_message_cap(msg);

	recv->type = msg->type;
	recv->rights = cap->rights;
	recv->cap = cap->extent.token;
	recv->region = msg->region;
	recv->addr = msg->addr;
	if (msg->type == ZCIPC_NOTIFIED)
		recv->addr = zcipc_slots_addr(&cap->extent, msg->offset, msg->len);
	recv->len = msg->len;
	recv->cookie = msg->cookie;
	recv->sender = msg->sender;
	recv->message_flags = msg->flags;
	recv->offset = msg->offset;
}

/* Takes a message that the receiver has got out of the queue. The caller holds the lock. */
void zcipc_message_received(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			    const struct zcipc_recv *recv)
{
	zcipc_message_unqueue(ep, msg);
	if (zcipc_message_alone(msg))
		zcipc_cap_free(zcipc_message_cap(msg));
	else if (msg->type == ZCIPC_NOTIFIED)
		zcipc_notice_free(ep, zcipc_message_notice(msg));
	zcipc_count(&ep->space, NULL, RECEIVED, 1);
	trace_zcipc_receive(ep->space.id, recv);
}

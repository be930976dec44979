// SPDX-License-Identifier: GPL-2.0
/*
 * Messages: what one is about, and how it leaves the queue.
 *
 * A message is a part of the capability that it tells of, and goes with it. Only one that tells
 * that a capability is gone is all that is left of it, and is freed when it has been received.
 *
 * A capability has any number of notifications. Each has memory of its own, which goes when the
 * capability does, or when it is received; then the endpoint keeps one for the next, so that who
 * notifies and receives by turns allocates nothing.
 */
#include "base/base.h"
#include "base/trace.h"
#include "mem/account.h"
#include "map/slot.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"

/* What a notification takes. */
#define ZCIPC_NOTICE_BYTES	kmalloc_size_roundup(sizeof(struct zcipc_notice))

/*
 * Memory for a notification, charged to whom it is for, or -EDQUOT, -ENOMEM. The caller holds the
 * endpoint's lock, and others wait for that.
 */
struct zcipc_notice *zcipc_notice_alloc(struct zcipc_endpoint *ep)
{
	struct zcipc_notice *notice = NULL;
	int ret;

	swap(ep->spare, notice);
	if (notice)
		return notice;
	ret = zcipc_charge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	if (ret)
		return ERR_PTR(ret);
	notice = kmalloc(sizeof(*notice), ZCIPC_GFP_LOCKED | __GFP_ACCOUNT);
	if (notice)
		return notice;
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	return ERR_PTR(-ENOMEM);
}

/* Frees a notification that is nowhere, or NULL. */
void zcipc_notice_release(struct zcipc_endpoint *ep, struct zcipc_notice *notice)
{
	if (!notice)
		return;
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	kfree(notice);
}

/* The end of a notification that is in no queue any more. The caller holds the endpoint's lock. */
void zcipc_notice_free(struct zcipc_endpoint *ep, struct zcipc_notice *notice)
{
	lockdep_assert_held(&ep->space.lock);
	list_del(&notice->entry);
	swap(ep->spare, notice);
	zcipc_notice_release(ep, notice);
}

/* The capability that a message tells of. */
struct zcipc_cap *zcipc_message_cap(const struct zcipc_message *msg)
{
	if (msg->type == ZCIPC_NOTIFIED)
		return container_of(msg, struct zcipc_notice, msg)->cap;
	return container_of(msg, struct zcipc_cap, msg);
}

/* Takes a message out of the queue, if it is there. The caller holds the endpoint's lock. */
void zcipc_message_unqueue(struct zcipc_endpoint *ep, struct zcipc_message *msg)
{
	lockdep_assert_held(&ep->space.lock);
	if (list_empty(&msg->entry))
		return;
	list_del_init(&msg->entry);
	put_pid(msg->pid);
	WRITE_ONCE(ep->nmessages, ep->nmessages - 1);
	zcipc_stat_dec(MESSAGES);
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
		zcipc_notice_free(ep, container_of(msg, struct zcipc_notice, msg));
	zcipc_count(&ep->space, NULL, RECEIVED, 1);
	trace_zcipc_receive(ep->space.id, recv);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Queues: a message comes in, the oldest one, and whether there is room for another.
 */
#include <linux/list.h>
#include <linux/pid.h>

#include "base/counters.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"
#include "ipc/queue.h"
#include "ipc/ring.h"

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


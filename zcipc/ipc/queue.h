/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queues of messages, and rings, from which they are read without a call.
 */
#ifndef ZCIPC_QUEUE_H
#define ZCIPC_QUEUE_H

#include "base/base.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"

void zcipc_message_queue(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			 const struct zcipc_endpoint *sender);
bool zcipc_message_waits(struct zcipc_endpoint *ep);
struct zcipc_message *zcipc_message_first(struct zcipc_endpoint *ep);
bool zcipc_message_make_room(struct zcipc_endpoint *ep);
int zcipc_ring_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma);
void zcipc_ring_pass(struct zcipc_endpoint *ep, const struct zcipc_message *msg);
void zcipc_ring_remove(struct zcipc_endpoint *ep);

static inline bool zcipc_message_fits(const struct zcipc_endpoint *ep)
{
	return ep->nmessages + ep->nreserved < ep->queue_depth;
}

/* Is there room for one more? The caller holds the endpoint's lock. */
static inline bool zcipc_message_room(struct zcipc_endpoint *ep)
{
	return zcipc_message_fits(ep) || zcipc_message_make_room(ep);
}

#endif /* ZCIPC_QUEUE_H */

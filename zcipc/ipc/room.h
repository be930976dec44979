/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Senders that wait for room.
 */
#ifndef ZCIPC_ROOM_H
#define ZCIPC_ROOM_H

#include "base/base.h"
#include "ipc/endpoint.h"

/**
 * struct zcipc_room - what a message needs in an endpoint, besides its place in the queue
 * @window: which of the windows
 * @npages: so many pages in it, or 0
 * @turn: who waits for it is behind those with lower numbers; 0: nobody has waited for it
 */
struct zcipc_room {
	unsigned int window;
	unsigned long npages;
	u64 turn;
};

void zcipc_endpoint_made_room(struct zcipc_endpoint *ep);
int zcipc_endpoint_wait_room(struct zcipc_endpoint *ep, u32 room_seq, struct zcipc_room *need);
void zcipc_endpoint_pass_turn(struct zcipc_endpoint *ep, struct zcipc_room need, int ret);

/* As zcipc_endpoint_made_room(), while the ring is being updated, which cannot be done twice. */
static inline void zcipc_endpoint_made_room_in_ring(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->space.lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	if (wq_has_sleeper(&ep->room_wait))
		wake_up(&ep->room_wait);
}

/* Whoever waits for room may have another answer now. The caller holds the lock. */
static inline void zcipc_endpoint_wake_all(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->space.lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	wake_up_all(&ep->room_wait);
}

#endif /* ZCIPC_ROOM_H */

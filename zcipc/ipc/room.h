/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Senders that wait for room.
 */
#ifndef ZCIPC_ROOM_H
#define ZCIPC_ROOM_H

#include <linux/types.h>

struct zcipc_endpoint;

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
void zcipc_endpoint_made_room_in_ring(struct zcipc_endpoint *ep);
void zcipc_endpoint_wake_all(struct zcipc_endpoint *ep);
int zcipc_endpoint_wait_room(struct zcipc_endpoint *ep, u32 room_seq, struct zcipc_room *need);
void zcipc_endpoint_pass_turn(struct zcipc_endpoint *ep, struct zcipc_room need, int ret);

#endif /* ZCIPC_ROOM_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Receive rings: of endpoints of this process, and of peers.
 */
#ifndef __SELFTEST_ZCIPC_RING
#define __SELFTEST_ZCIPC_RING

#include <linux/zcipc.h>

#include "memory.h"
#include "peer.h"

/* Of a ring with one page of them. */
#define ENTRIES		((unsigned int)(psize / ZCIPC_RING_ENTRY_SIZE))

struct ring {
	const volatile struct zcipc_ring *shared;
	volatile struct zcipc_ring_head *head;
	size_t len;
};

/* In the process that has the endpoint. */
struct ring *ring_of(const struct ep *ep);
void ring_close(struct ep *ep);

int ring_open(struct ep *ep, size_t npages);
int ring_read(struct ep *ep, struct zcipc_recv *m);
int ring_pass(struct ep *ep, __u32 n);
int ring_take(struct ep *ep, struct zcipc_recv *m);

/* Of an endpoint in this process. */
short ready(const struct ep *ep);
__u32 head_of(const struct ep *ep);
void head_set(const struct ep *ep, __u32 head);

#endif

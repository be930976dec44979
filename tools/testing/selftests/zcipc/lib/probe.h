/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What processes find in their windows, and of capabilities, in memory that all of them have: many
 * answers with one call.
 */
#ifndef __SELFTEST_ZCIPC_PROBE
#define __SELFTEST_ZCIPC_PROBE

#include <linux/zcipc.h>

#include "peer.h"

struct probe {
	__u64 addr;
	__u64 val;
	int sig;
	bool write;
};

struct inquiry {
	struct zcipc_region_query q;
	int err;
};

#define PROBES		1024
#define INQUIRIES	512

struct desk {
	struct probe probes[PROBES];
	struct inquiry inquiries[INQUIRIES];
};

void *shared_memory(size_t len);
void touch(struct probe *p);
int query(struct ep *ep, struct inquiry *i);

/* For ep_call(). */
long call_probe(struct ep *ep, struct call *c);
long call_inquire(struct ep *ep, struct call *c);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of statistics look at: all counters, in all the places where they are.
 */
#ifndef __SELFTEST_ZCIPC_STATS_H
#define __SELFTEST_ZCIPC_STATS_H

#include "zcipc_utils.h"

#define N 16
#define B_PAGES 64
#define USER 1000
#define NOBODY 65534

#define DEBUGFS	"/sys/kernel/debug/zcipc"
#define TRACEFS	"/sys/kernel/tracing"
#define EVENTS	TRACEFS "/events/zcipc/enable"

/* The counters that follow from what was done alone. @text: as fdinfo and debugfs call it. */
static const struct counter {
	const char *name;
	const char *text;
	size_t offset;
} counters[] = {
#define COUNTER(_name, _text)	{ #_name, _text, offsetof(struct zcipc_stats, _name) }
	COUNTER(endpoints, "endpoints"),
	COUNTER(regions, "regions"),
	COUNTER(frames, "frames"),
	COUNTER(caps, "capabilities"),
	COUNTER(maps, "mappings"),
	COUNTER(messages, "messages"),
	COUNTER(moves, "moves"),
	COUNTER(shares, "shares"),
	COUNTER(copies, "copies"),
	COUNTER(received, "received"),
	COUNTER(returned, "returned"),
	COUNTER(pages, "pages"),
	COUNTER(copied_write, "copied-write"),
	COUNTER(copied_held, "copied-held"),
	COUNTER(reused, "reused"),
	COUNTER(faults, "faults"),
	COUNTER(transfers, NULL),
	COUNTER(bytes, NULL),
	COUNTER(grants, "grants"),
	COUNTER(revoked, "revoked"),
	COUNTER(batches, "batches"),
	COUNTER(copied_node, "copied-node"),
	COUNTER(shootdowns, "shootdowns"),
	COUNTER(failures, "failures"),
	COUNTER(notifications, "notifications"),
};

static __u64 counter(const struct zcipc_stats *stats, const struct counter *c)
{
	return *(const __u64 *)((const char *)stats + c->offset);
}

enum view { MODULE, A, B, REGION, VIEWS };

/* One look at everything. */
struct look {
	struct zcipc_stats stats[VIEWS];
	bool there[VIEWS];
	__u64 errors[ZCIPC_STATS_ERRORS];
	__u64 latencies[ZCIPC_STATS_TYPES][ZCIPC_STATS_BUCKETS];
};

static int zc_stats_of(struct ep *ep, __u32 flags, __u64 cap, struct zcipc_stats *cmd)
{
	*cmd = (struct zcipc_stats){ .size = sizeof(*cmd), .flags = flags, .cap = cap };
	return zc_ioctl(ep, ZCIPC_IOC_STATS, cmd);
}

static int give(struct ep *from, struct ep *to, __u64 cap, __u32 rights, __u64 *peer_cap)
{
	struct zcipc_grant cmd = {
		.size = sizeof(cmd), .cap = cap, .peer = to->id, .rights = rights,
		.cookie = 0xc00c1e,
	};
	int rc = zc_ioctl(from, ZCIPC_IOC_GRANT, &cmd);

	if (!rc)
		*peer_cap = cmd.peer_cap;
	return rc;
}

static int notify(struct ep *from, struct ep *to, __u64 cap, __u64 peer_cap)
{
	struct zcipc_notify cmd = notify_cmd(to, cap, peer_cap, 0, 0);

	return zc_notify(from, &cmd);
}

static int take_back(struct ep *ep, struct ep *owner, __u64 cap)
{
	struct zcipc_revoke cmd = { .size = sizeof(cmd), .cap = cap, .peer = owner->id };

	return zc_ioctl(ep, ZCIPC_IOC_REVOKE, &cmd);
}

static int set_up(struct ep *ep, struct zcipc_endpoint_config cmd)
{
	cmd.size = sizeof(cmd);
	return zc_ioctl(ep, ZCIPC_IOC_ENDPOINT_CONFIG, &cmd);
}

FIXTURE(stats)
{
	struct base base;
	struct ep a, b;
	int fds[2];
	int quota;
	bool tracing;
};

FIXTURE_SETUP(stats)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, B_PAGES);
	ASSERT_EQ(0, pipe(self->fds));
	self->quota = -1;
}

FIXTURE_TEARDOWN(stats)
{
	char text[16];

	if (self->tracing)
		file_write(EVENTS, "0");
	if (self->quota >= 0) {
		snprintf(text, sizeof(text), "%d", self->quota);
		file_write(QUOTA, text);
	}
	close(self->fds[0]);
	close(self->fds[1]);
	base_teardown(_metadata, &self->base);
}

/* @cap: of @by, for the region that is to be looked at, or 0. */
static void look(struct __test_metadata *_metadata, FIXTURE_DATA(stats) *self, struct ep *by,
		 __u64 cap, struct look *l)
{
	memset(l, 0, sizeof(*l));
	l->stats[MODULE] = (struct zcipc_stats){
		.size = sizeof(struct zcipc_stats), .errors = (uintptr_t)l->errors,
		.latencies = (uintptr_t)l->latencies,
	};
	TEST_OK(zc_ioctl(&self->base.ep, ZCIPC_IOC_STATS, &l->stats[MODULE]));
	l->there[MODULE] = true;
	TEST_OK(zc_stats_of(&self->a, ZCIPC_STATS_ENDPOINT, 0, &l->stats[A]));
	l->there[A] = true;
	l->there[B] = self->b.sock >= 0;
	if (l->there[B])
		TEST_OK(zc_stats_of(&self->b, ZCIPC_STATS_ENDPOINT, 0, &l->stats[B]));
	l->there[REGION] = cap;
	if (cap)
		TEST_OK(zc_stats_of(by, ZCIPC_STATS_REGION, cap, &l->stats[REGION]));
}

#define test_look(by, cap, l)	look(_metadata, self, by, cap, l)

#endif

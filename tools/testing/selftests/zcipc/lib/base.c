// SPDX-License-Identifier: GPL-2.0-only
#include "base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "params.h"
#include "threads.h"

/* The first six members are what exists at the moment. */
bool same_live(const struct zcipc_stats *a, const struct zcipc_stats *b)
{
	return !memcmp(&a->endpoints, &b->endpoints, 6 * sizeof(__u64));
}

/* Until that exists which is wanted, or nothing has changed each time that somebody looked. */
static bool wait_for_stats(struct ep *ep, const struct zcipc_stats *want,
			   struct zcipc_stats *now, unsigned int tries)
{
	struct zcipc_stats before = *want;
	unsigned int i;

	for (i = 0; i < tries; i++, msleep(5)) {
		if (zc_stats(ep, now))
			return false;
		if (same_live(now, want))
			return true;
		if (!same_live(now, &before))
			i = 0;
		before = *now;
	}
	return false;
}

/* Returns what open() returned, for the endpoint that asks for statistics. */
int base_begin(struct base *base)
{
	static const struct zcipc_stats nothing = { .endpoints = 1 };
	bool off = getenv("ZCIPC_OFF");
	int rc;

	/* A test that was ended may have left somebody there. */
	if (points_exist())
		point_go();
	rc = ep_open(&base->ep, 0, 0);
	/* Nearly always, so that there is no need for many pages; or as whoever runs this wants. */
	carry_set(getenv("ZCIPC_CARRY") ?: off ? "0" : "2");
	/* Or single pages that are parts of huge frames. */
	huge_set(getenv("ZCIPC_HUGE") ?: off ? "0" : NULL);
	mechanisms_set(!off);
	/* A process of the test before may not be gone yet. What that one has lost stays. */
	if (!rc)
		wait_for_stats(&base->ep, &nothing, &base->stats, 200);
	return rc;
}

/* Is all as it was? */
bool base_end(struct base *base)
{
	const struct zcipc_stats *was = &base->stats;
	struct zcipc_stats now;
	unsigned int i;
	bool same;

	if (points_exist())
		point_go();
	for (i = 0; i < neps && i < EPS; i++)
		if (eps[i] != &base->ep)
			ep_end(eps[i]);
	same = wait_for_stats(&base->ep, was, &now, 4000);
	if (!same)
		fprintf(stderr,
			"# left: ep %lld region %lld frame %lld cap %lld map %lld message %lld\n",
			(long long)now.endpoints - was->endpoints,
			(long long)now.regions - was->regions,
			(long long)now.frames - was->frames,
			(long long)now.caps - was->caps,
			(long long)now.maps - was->maps,
			(long long)now.messages - was->messages);
	ep_end(&base->ep);
	return same;
}

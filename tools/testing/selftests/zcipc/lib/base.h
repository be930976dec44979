/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is checked around every test: whoever takes part in it goes at its end, and then nothing may
 * be left.
 */
#ifndef __SELFTEST_ZCIPC_BASE
#define __SELFTEST_ZCIPC_BASE

#include "peer.h"

#include <linux/zcipc.h>

struct base {
	struct ep ep;			/* the one that asks for statistics */
	struct zcipc_stats stats;
};

int base_begin(struct base *base);
bool base_end(struct base *base);
bool same_live(const struct zcipc_stats *a, const struct zcipc_stats *b);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What random tests share: chance, what is expected of an operation, and what to say when it fails.
 *
 * ZCIPC_SEED, ZCIPC_SECONDS (of each test).
 */
#ifndef __SELFTEST_ZCIPC_CHANCE
#define __SELFTEST_ZCIPC_CHANCE

#include <stdbool.h>

#include <linux/types.h>

#include "kselftest.h"

/* Of each thread. */
extern __thread __u64 prng;

__u64 rnd(void);
unsigned int below(unsigned int n);
bool percent(unsigned int n);
__u64 now_ms(void);
__u64 number_from_env(const char *name, __u64 other);

/* --- what failed, and what led to it */

extern __u64 seed;
extern unsigned long nops, nrefused;
extern bool failed;

#define HISTORY	30
#define NOTE	200
extern char history[HISTORY][NOTE];

__printf(1, 2) void note(const char *fmt, ...);
__printf(1, 2) void fail(const char *fmt, ...);
void hang(int sig);

#define CHECK(condition, fmt, ...)					\
do {									\
	if (!(condition))						\
		fail("line %d: " fmt, __LINE__, ##__VA_ARGS__);		\
} while (0)

#define CHECK_EQ(want, got, what)					\
	CHECK((__u64)(want) == (__u64)(got), "%s %s: %#llx, not %#llx", what, #got,	\
	      (unsigned long long)(got), (unsigned long long)(want))

/* --- what may come of an operation */

/* The errors that apply to an operation. */
extern unsigned int nreasons;

void fails(int err);
bool as_expected(int rc);

#endif

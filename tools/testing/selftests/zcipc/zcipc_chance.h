/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What random tests share: chance, what is expected of an operation, and what to say when it fails.
 *
 * ZCIPC_SEED, ZCIPC_SECONDS (of each test).
 */
#ifndef __SELFTEST_ZCIPC_CHANCE
#define __SELFTEST_ZCIPC_CHANCE

#include "zcipc_utils.h"

#include <stdarg.h>

/* --- chance */

/* Of each thread. */
static __thread __u64 prng;

static __u64 rnd(void)
{
	__u64 z = (prng += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned int below(unsigned int n)
{
	return rnd() % n;
}

static bool percent(unsigned int n)
{
	return below(100) < n;
}

static __u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static __u64 number_from_env(const char *name, __u64 other)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : other;
}

/* --- what failed, and what led to it */

static __u64 seed;
static unsigned long nops, nrefused;
static bool failed;
static char history[30][200];

static __printf(1, 2) void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(history[nops % ARRAY_SIZE(history)], sizeof(history[0]), fmt, args);
	va_end(args);
}

static __printf(1, 2) void fail(const char *fmt, ...)
{
	unsigned int i;
	va_list args;

	/* What follows the first failure follows from it. */
	if (failed)
		return;
	failed = true;
	fprintf(stderr, "# ZCIPC_SEED=%llu step %lu: ", (unsigned long long)seed, nops);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	for (i = 1; i <= ARRAY_SIZE(history); i++) {
		const char *text = history[(nops + i) % ARRAY_SIZE(history)];

		if (*text)
			fprintf(stderr, "# - %s\n", text);
	}
}

/* Whoever ends a test that hangs says so first. */
static void hang(int sig)
{
	fail("hangs: signal %d", sig);
	_exit(KSFT_FAIL);
}

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
static bool reasons[ZCIPC_STATS_ERRORS];
static unsigned int nreasons;

static void fails(int err)
{
	reasons[err] = true;
	nreasons++;
}

/* True if it succeeded, and may. */
static bool as_expected(int rc)
{
	int err = rc < 0 ? errno : 0, want = 0;
	bool fits = nreasons ? reasons[err] : !err;

	while (nreasons && !reasons[want])
		want++;
	CHECK(fits, "%s, not %s", strerror(err), want ? strerror(want) : "success");
	memset(reasons, 0, sizeof(reasons));
	nrefused += nreasons != 0;
	nreasons = 0;
	return !err && fits;
}

#endif

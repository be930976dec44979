// SPDX-License-Identifier: GPL-2.0-only
#include "chance.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/zcipc.h>

/* --- chance */

/* Of each thread. */
__thread __u64 prng;

__u64 rnd(void)
{
	__u64 z = (prng += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

unsigned int below(unsigned int n)
{
	return rnd() % n;
}

bool percent(unsigned int n)
{
	return below(100) < n;
}

__u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

__u64 number_from_env(const char *name, __u64 other)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : other;
}

/* --- what failed, and what led to it */

__u64 seed;
unsigned long nops, nrefused;
bool failed;
char history[HISTORY][NOTE];

void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(history[nops % HISTORY], NOTE, fmt, args);
	va_end(args);
}

void fail(const char *fmt, ...)
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
	for (i = 1; i <= HISTORY; i++) {
		const char *text = history[(nops + i) % HISTORY];

		if (*text)
			fprintf(stderr, "# - %s\n", text);
	}
}

/* Whoever ends a test that hangs says so first. */
void hang(int sig)
{
	fail("hangs: signal %d", sig);
	_exit(KSFT_FAIL);
}

/* --- what may come of an operation */

/* The errors that apply to an operation. */
static bool reasons[ZCIPC_STATS_ERRORS];
unsigned int nreasons;

void fails(int err)
{
	reasons[err] = true;
	nreasons++;
}

/* True if it succeeded, and may. */
bool as_expected(int rc)
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

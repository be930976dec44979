/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ends tests that hang, and no others.
 *
 * The harness gives each test so many seconds. How long a test takes says more of the machine than
 * of the module, so here a test is ended only when it gets nowhere: when none of its assertions was
 * evaluated for HANG_SECONDS. What a test waits for is a condition, or a count, never a time.
 */
#ifndef __SELFTEST_ZCIPC_WATCH
#define __SELFTEST_ZCIPC_WATCH

#include <sys/types.h>

/* Shared with all processes of a test. */
extern volatile unsigned long *watch_steps;

/* The test got somewhere. Its assertions say so, and loops that have none. */
static inline void progress(void)
{
	++*watch_steps;
}

/**
 * struct watched - what the harness runs
 * @pid: the test's process, 0: there is none
 * @name: the test
 */
struct watched {
	pid_t pid;
	const char *name;
};

void watch_start(struct watched (*now)(void), void (*timed_out)(pid_t pid));

#endif

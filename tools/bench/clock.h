/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The clock of all programs here. Calls nothing of theirs.
 */
#ifndef ZCIPC_CLOCK_H
#define ZCIPC_CLOCK_H

#include <time.h>

/* Nanoseconds, or, with QEMU's -icount shift=0, instructions. Inline: it is in what it times. */
static inline long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/*
 * The kernel still does things in the background after boot. Waits until a loop takes as long as it
 * has instructions, or gives up. Returns the last time per instruction.
 */
double settle(void);

#endif /* ZCIPC_CLOCK_H */

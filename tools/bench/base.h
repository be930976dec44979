/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Errors, turns of two processes, and memory with marks in it.
 *
 * Who calls whom: zcipc-bench.c (options, the processes that play ping-pong, the figures) calls
 * peers.c and transfers.c (the mechanisms), and all of them call base.c.
 */
#ifndef ZCIPC_BASE_H
#define ZCIPC_BASE_H

#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#define PAGE		4096UL
#define HUGE_PAGE	(2UL << 20)

/* Exit status, as of kselftests. */
#define SKIPPED		4

/* What errors are about: a mechanism, and bytes. */
extern const char *running;
extern size_t running_len;

/* Says what happened, and errno. Returns the status with which to exit. */
int complain(const char *fmt, ...);

#define die(...)	_exit(complain(__VA_ARGS__))

/* Not a call that failed, but a message that is not what it should be. */
#define wrong(...) do {					\
	errno = EBADMSG;				\
	die(__VA_ARGS__);				\
} while (0)

/* Announces message @n, and waits for it. */
void post(__u32 *turn, __u32 n);
void await(__u32 *turn, __u32 n);
/* Waits until both processes are here: 0, and 1. */
void barrier(__u32 reached[2], int me);

char *private_memory(size_t len, bool huge);
char *shared_memory(size_t len);

/* Marks every @step-th page. */
void stamp(char *p, size_t npages, __u64 seq, size_t step);
/* Touches every page. Returns how many do not have their mark. */
size_t touch(const char *p, size_t npages, __u64 seq);

#endif /* ZCIPC_BASE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Errors and sizes.
 *
 * Who calls whom: zcipc-demo.c (options, the file, the table) calls run.c (the two processes, the
 * clock, the digest), which calls the mechanism it is given: kernel.c (what every kernel has) or
 * transfers.c (MOVE, SHARE and COPY). All of them call base.c.
 */
#ifndef ZCIPC_BASE_H
#define ZCIPC_BASE_H

#include <errno.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HUMAN_LEN	16

/* What errors begin with: the end of a progress line that is on the screen, and who it is. */
extern const char *clear_line;
extern const char *role;

#define warn(format, ...)							\
	fprintf(stderr, "%szcipc-demo: %s" format "\n", clear_line, role, ##__VA_ARGS__)

#define die(format, ...) do {							\
	warn(format, ##__VA_ARGS__);						\
	exit(1);								\
} while (0)

#define die_errno(format, ...)	die(format ": %s", ##__VA_ARGS__, strerror(errno))

char *human(char buf[HUMAN_LEN], __u64 bytes);
size_t page_size(void);
size_t page_align(size_t len);

#endif /* ZCIPC_BASE_H */

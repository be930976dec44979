/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file whose reads and writes end when a test wants them to: a FUSE file system that is nothing
 * but this file, and is mounted nowhere. Who reads it waits until the test serves it. The server is
 * whoever calls fuse_serve(), there is no thread for it.
 */
#ifndef __SELFTEST_ZCIPC_FUSE
#define __SELFTEST_ZCIPC_FUSE

#include <stdbool.h>
#include <stddef.h>

#include <linux/fuse.h>
#include <linux/types.h>

/* What the file consists of. */
#define STALLED_BYTE	0xee
#define STALLED_WORD	0xeeeeeeeeeeeeeeeeULL

/* More than anybody reads or writes at once. */
#define STALLED_MAX	262144

/**
 * struct stalled - such a file
 * @dev: the server's end, -1: there is no file
 * @mount: the file system
 * @fd: the file
 * @size: its length
 * @open_flags: FOPEN_x
 * @flags: O_x
 * @opened: fd is what open() returned
 * @got: what was written to it last
 * @ngot: length of that
 */
struct stalled {
	int dev;
	int mount;
	int fd;
	size_t size;
	__u32 open_flags;
	int flags;
	bool opened;
	char got[STALLED_MAX];
	size_t ngot;
};

bool stalled_exists(void);
int stalled_open(struct stalled *f, size_t size, __u32 open_flags, int flags);
void stalled_close(struct stalled *f);
bool stalled_waits(const struct stalled *f, int ms);
int fuse_serve(struct stalled *f, int ms);

#endif

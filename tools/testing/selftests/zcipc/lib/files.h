/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where files are, and what they are made with.
 */
#ifndef __SELFTEST_ZCIPC_FILES
#define __SELFTEST_ZCIPC_FILES

/* Each returns an fd, or -1. */
int file_memfd(void);
int file_root(void);
int file_tmpfs(void);
int file_huge(void);
int file_ext4(void);

#endif

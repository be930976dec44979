/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of files begin with: a file of each kind, mapped here, and two peers.
 */
#ifndef __SELFTEST_ZCIPC_FILES_H
#define __SELFTEST_ZCIPC_FILES_H

#include "zcipc_utils.h"
#include "lib/files.h"

#define N 8
#define RIGHTS_READ ZCIPC_RIGHT_READ

FIXTURE(file)
{
	struct base base;
	struct ep a, b, c;
	int fd;
	char *p;
};

FIXTURE_VARIANT(file)
{
	int (*make)(void);		/* NULL: memory without a name */
};

FIXTURE_VARIANT_ADD(file, memfd) { .make = file_memfd };
FIXTURE_VARIANT_ADD(file, anonymous) { .make = NULL };
FIXTURE_VARIANT_ADD(file, tmpfs) { .make = file_tmpfs };
FIXTURE_VARIANT_ADD(file, huge) { .make = file_huge };
FIXTURE_VARIANT_ADD(file, root) { .make = file_root };
FIXTURE_VARIANT_ADD(file, ext4) { .make = file_ext4 };

FIXTURE_SETUP(file)
{
	base_setup(_metadata, &self->base);
	/* They need no windows. */
	test_open(&self->a, 0, O_NONBLOCK);
	ASSERT_FALSE(peer_fork(&self->b) || peer_open(&self->b, 0, O_NONBLOCK));
	ASSERT_FALSE(peer_fork(&self->c) || peer_open(&self->c, 0, O_NONBLOCK));
	self->fd = -1;
	if (variant->make) {
		self->fd = variant->make();
		if (self->fd < 0)
			SKIP(return, "no such file: %s", strerror(errno));
		ASSERT_EQ(0, ftruncate(self->fd, N * psize));
	}
	self->p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE,
		       MAP_SHARED | (variant->make ? 0 : MAP_ANONYMOUS), self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->p);
	ASSERT_EQ(0, fill(self->p, N, 1));
}

FIXTURE_TEARDOWN(file)
{
	munmap(self->p, N * psize);
	if (self->fd >= 0)
		close(self->fd);
	base_teardown(_metadata, &self->base);
}

#endif

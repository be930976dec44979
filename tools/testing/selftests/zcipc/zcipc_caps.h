/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of capabilities begin with: a region, and others who may get some of it.
 */
#ifndef __SELFTEST_ZCIPC_CAPS_H
#define __SELFTEST_ZCIPC_CAPS_H

#include "zcipc_utils.h"

#define N 16
#define RIGHTS_R	ZCIPC_RIGHT_READ
#define RIGHTS_RG	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_GRANT)
#define RIGHTS_RX	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC)

FIXTURE(caps)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
};

FIXTURE_VARIANT(caps)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(caps, local) { .remote = false, };
FIXTURE_VARIANT_ADD(caps, process) { .remote = true, };

FIXTURE_SETUP(caps)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 256));
	test_open(&self->c, 256, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(caps)

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests that compare the module with a model begin with: a seed, and how long they go on.
 */
#ifndef __SELFTEST_ZCIPC_MODEL_H
#define __SELFTEST_ZCIPC_MODEL_H

#include "zcipc_utils.h"
#include "lib/chance.h"

FIXTURE(model)
{
	struct base base;
	__u64 end;
};

FIXTURE_SETUP(model)
{
	base_setup(_metadata, &self->base);
	signal(SIGURG, hang);
	seed = number_from_env("ZCIPC_SEED", (time(NULL) ^ getpid()) & 0xffffff);
	self->end = now_ms() + 1000 * number_from_env("ZCIPC_SECONDS", 4);
	TH_LOG("ZCIPC_SEED=%llu", (unsigned long long)seed);
}

FIXTURE_TEARDOWN_BASE(model)

#endif

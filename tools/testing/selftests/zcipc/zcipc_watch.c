// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests that hang, for scripts/test-selftests, which sees to it that they are ended, and that all
 * others are run. They fail, each in its way: do not run them for anything else.
 */
#include "zcipc_utils.h"

FIXTURE(watch)
{
	struct base base;
	struct ep a;
};

FIXTURE_SETUP(watch)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 16, 0);
}

FIXTURE_TEARDOWN_BASE(watch)

TEST_F(watch, before)
{
	EXPECT_TRUE(points_exist());
}

TEST_F(watch, sleeps)
{
	for (;;)
		pause();
}

TEST_F(watch, spins)
{
	for (;;)
		sched_yield();
}

/* Calls succeed, and nothing comes of them. */
TEST_F(watch, polls)
{
	struct zcipc_stats stats;

	while (!zc_stats(&self->a, &stats))
		msleep(1);
}

/* A call that cannot be interrupted. */
TEST_F(watch, in_the_kernel)
{
	struct buf buf;

	test_create(&self->a, 1, &buf);
	point_set("prepared", 300000);
	test_send(&self->a, &self->a, ZCIPC_MOVE, buf.cap);
}

/* Takes longer than a test may that gets nowhere, and than it takes to see that one is stuck. */
TEST_F(watch, slow)
{
	int i;

	for (i = 0; i < 20; i++) {
		msleep(1000);
		EXPECT_EQ(0, getenv("ZCIPC_HANG") ? 0 : 1);
	}
}

TEST_F(watch, after)
{
	EXPECT_TRUE(points_exist());
}

TEST_HARNESS_MAIN

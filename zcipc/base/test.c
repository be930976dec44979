// SPDX-License-Identifier: GPL-2.0
/*
 * Delay points. Only in modules built with ZCIPC_TEST=1.
 *
 * Whoever comes to the one that is named by the parameter test_point waits there for test_delay_ms,
 * with the locks that it holds; if that is 0, until test_point is written again.
 */
#include "base/base.h"

#include <linux/delay.h>

static char test_point[16];
static unsigned int test_hits;
/* How often test_point was written: a change lets go whoever waits without a limit. */
static unsigned int test_named;
static DECLARE_WAIT_QUEUE_HEAD(test_wait);

static unsigned int test_delay_ms = 100;
module_param(test_delay_ms, uint, 0600);
MODULE_PARM_DESC(test_delay_ms, "how long to wait at the delay point, 0: until it is named anew");
module_param(test_hits, uint, 0400);
MODULE_PARM_DESC(test_hits, "how often the delay point was reached since it was named");

/* Fewer than can be had in a test. */
unsigned int zcipc_max_refs = INT_MAX / 2;
module_param_named(test_max_refs, zcipc_max_refs, uint, 0600);
MODULE_PARM_DESC(test_max_refs, "how many references a page may have that is to be mapped");

static int test_point_set(const char *val, const struct kernel_param *kp)
{
	WRITE_ONCE(test_hits, 0);
	strscpy(test_point, val, sizeof(test_point));
	strreplace(test_point, '\n', '\0');
	WRITE_ONCE(test_named, test_named + 1);
	wake_up_all(&test_wait);
	return 0;
}

static int test_point_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", test_point);
}

static const struct kernel_param_ops test_point_ops = {
	.set = test_point_set,
	.get = test_point_get,
};

module_param_cb(test_point, &test_point_ops, NULL, 0600);
MODULE_PARM_DESC(test_point, "the delay point, empty: none");

void zcipc_test_point(const char *name)
{
	unsigned int named = READ_ONCE(test_named), ms;

	if (strcmp(test_point, name))
		return;
	ms = READ_ONCE(test_delay_ms);
	WRITE_ONCE(test_hits, READ_ONCE(test_hits) + 1);
	if (ms)
		msleep(ms);
	else
		wait_event(test_wait, READ_ONCE(test_named) != named);
}

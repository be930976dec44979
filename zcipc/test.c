// SPDX-License-Identifier: GPL-2.0
/*
 * Delay points, for tests: whoever comes to the one that is named by the parameter test_point waits
 * there for test_delay_ms, with the locks that it holds. Only in modules built with ZCIPC_TEST=1.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/string.h>

#include "zcipc.h"

static char test_point[16];
static unsigned int test_hits;

static unsigned int test_delay_ms = 100;
module_param(test_delay_ms, uint, 0600);
MODULE_PARM_DESC(test_delay_ms, "how long to wait at the delay point");
module_param(test_hits, uint, 0400);
MODULE_PARM_DESC(test_hits, "how often the delay point was reached since it was named");

static int test_point_set(const char *val, const struct kernel_param *kp)
{
	WRITE_ONCE(test_hits, 0);
	strscpy(test_point, val, sizeof(test_point));
	strreplace(test_point, '\n', '\0');
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
	if (strcmp(test_point, name))
		return;
	WRITE_ONCE(test_hits, READ_ONCE(test_hits) + 1);
	msleep(READ_ONCE(test_delay_ms));
}

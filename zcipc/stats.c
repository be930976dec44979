// SPDX-License-Identifier: GPL-2.0
/*
 * Counters, per CPU. Those of what exists go up on one CPU and down on another: only sums mean
 * anything.
 */
#define pr_fmt(fmt) "zcipc: " fmt

#include <linux/printk.h>

#include "zcipc.h"

DEFINE_PER_CPU(u64 [ZCIPC_STAT_COUNT], zcipc_stats);

static_assert(sizeof(struct zcipc_stats) - offsetof(struct zcipc_stats, endpoints) ==
	      ZCIPC_STAT_COUNT * sizeof(u64));

static u64 zcipc_stat_sum(enum zcipc_stat stat)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu(zcipc_stats[stat], cpu);
	return sum;
}

/**
 * zcipc_stats_get() - ZCIPC_IOC_STATS
 * @ucmd: the call
 *
 * Return: 0 or an errno of struct zcipc_stats
 */
int zcipc_stats_get(struct zcipc_ucmd *ucmd)
{
	struct zcipc_stats *cmd = ucmd->cmd;
	u64 *out = &cmd->endpoints;
	enum zcipc_stat stat;

	if (cmd->flags)
		return -EOPNOTSUPP;
	for (stat = 0; stat < ZCIPC_STAT_COUNT; stat++)
		out[stat] = zcipc_stat_sum(stat);
	return zcipc_ucmd_respond(ucmd);
}

/* Says what is left when the module goes: nothing, or there is a bug. */
void zcipc_stats_exit(void)
{
	static const char * const names[] = {
		[ZCIPC_STAT_ENDPOINTS] = "endpoints",
		[ZCIPC_STAT_REGIONS] = "regions",
		[ZCIPC_STAT_FRAMES] = "frames",
		[ZCIPC_STAT_CAPS] = "capabilities",
		[ZCIPC_STAT_MAPS] = "mappings",
		[ZCIPC_STAT_MESSAGES] = "messages",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (zcipc_stat_sum(i))
			pr_err("leak: %lld %s\n", (s64)zcipc_stat_sum(i), names[i]);
}

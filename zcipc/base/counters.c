// SPDX-License-Identifier: GPL-2.0
/*
 * Counters of the module. They are per CPU, so that none costs a shared cache line. What exists
 * goes up on one CPU and down on another: only sums mean anything.
 */
#define pr_fmt(fmt) "zcipc: " fmt

#include "base/base.h"

#include <linux/build_bug.h>
#include <linux/printk.h>

DEFINE_PER_CPU(struct zcipc_counters, zcipc_stats);

const char * const zcipc_stat_names[] = {
	[ZCIPC_STAT_ENDPOINTS] = "endpoints",
	[ZCIPC_STAT_REGIONS] = "regions",
	[ZCIPC_STAT_FRAMES] = "frames",
	[ZCIPC_STAT_CAPS] = "capabilities",
	[ZCIPC_STAT_MAPS] = "mappings",
	[ZCIPC_STAT_MESSAGES] = "messages",
	[ZCIPC_STAT_MOVES] = "moves",
	[ZCIPC_STAT_SHARES] = "shares",
	[ZCIPC_STAT_COPIES] = "copies",
	[ZCIPC_STAT_RECEIVED] = "received",
	[ZCIPC_STAT_RETURNED] = "returned",
	[ZCIPC_STAT_PAGES] = "pages",
	[ZCIPC_STAT_COPIED_WRITE] = "copied-write",
	[ZCIPC_STAT_COPIED_HELD] = "copied-held",
	[ZCIPC_STAT_REUSED] = "reused",
	[ZCIPC_STAT_FAULTS] = "faults",
	[ZCIPC_STAT_GRANTS] = "grants",
	[ZCIPC_STAT_NOTIFICATIONS] = "notifications",
	[ZCIPC_STAT_REVOKED] = "revoked",
	[ZCIPC_STAT_BATCHES] = "batches",
	[ZCIPC_STAT_COPIED_NODE] = "copied-node",
	[ZCIPC_STAT_COPIED_MEMORY] = "copied-memory",
	[ZCIPC_STAT_COPIED_AUTO] = "copied-auto",
	[ZCIPC_STAT_COPIED_CACHE] = "copied-cache",
	[ZCIPC_STAT_COPIED_MENDED] = "copied-mended",
	[ZCIPC_STAT_COPIED_PARTS] = "copied-parts",
	[ZCIPC_STAT_SHOOTDOWNS] = "shootdowns",
	[ZCIPC_STAT_FAILURES] = "failures",
	[ZCIPC_STAT_REMAP_CYCLES] = "remap-cycles",
};

static_assert(ARRAY_SIZE(zcipc_stat_names) == ZCIPC_STAT_COUNT);

/* What all CPUs have counted in one of the members of zcipc_stats. */
u64 zcipc_stat_sum(const u64 __percpu *counter)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(counter, cpu);
	return sum;
}

/* Counts a call that took so long. */
void zcipc_stat_latency(u32 type, u64 ns)
{
	unsigned int bucket = min(ilog2(ns | 1), ZCIPC_STATS_BUCKETS - 1);

	this_cpu_inc(zcipc_stats.latencies[min_t(u32, type, ZCIPC_STATS_TYPES) - 1][bucket]);
}

/* Says what is left when the module goes: nothing, or there is a bug. */
void zcipc_counters_exit(void)
{
	enum zcipc_stat stat;
	s64 left;

	for (stat = 0; stat <= ZCIPC_STAT_MESSAGES; stat++) {
		left = zcipc_stat_sum(&zcipc_stats.stats[stat]);
		if (left)
			pr_err("leak: %lld %s\n", left, zcipc_stat_names[stat]);
	}
}

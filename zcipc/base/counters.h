/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is counted, and the counters of the module. Those of an endpoint and of a region, which have
 * the same numbers, are changed under its lock.
 */
#ifndef ZCIPC_COUNTERS_H
#define ZCIPC_COUNTERS_H

#include <linux/percpu.h>

#include <linux/zcipc.h>

/*
 * All but the first six only grow. Up to FAULTS the order is that of the members of struct
 * zcipc_stats.
 */
enum zcipc_stat {
	ZCIPC_STAT_ENDPOINTS,
	ZCIPC_STAT_REGIONS,
	ZCIPC_STAT_FRAMES,
	ZCIPC_STAT_CAPS,
	ZCIPC_STAT_MAPS,
	ZCIPC_STAT_MESSAGES,
	ZCIPC_STAT_MOVES,
	ZCIPC_STAT_SHARES,
	ZCIPC_STAT_COPIES,
	ZCIPC_STAT_RECEIVED,
	ZCIPC_STAT_RETURNED,
	ZCIPC_STAT_PAGES,
	ZCIPC_STAT_COPIED_WRITE,
	ZCIPC_STAT_COPIED_HELD,
	ZCIPC_STAT_REUSED,
	ZCIPC_STAT_FAULTS,
	ZCIPC_STAT_GRANTS,
	ZCIPC_STAT_NOTIFICATIONS,
	ZCIPC_STAT_REVOKED,
	ZCIPC_STAT_BATCHES,
	ZCIPC_STAT_COPIED_NODE,
	ZCIPC_STAT_COPIED_MEMORY,
	ZCIPC_STAT_COPIED_AUTO,
	ZCIPC_STAT_COPIED_CACHE,
	ZCIPC_STAT_COPIED_MENDED,
	ZCIPC_STAT_COPIED_PARTS,
	ZCIPC_STAT_SHOOTDOWNS,
	ZCIPC_STAT_FAILURES,
	ZCIPC_STAT_REMAP_CYCLES,
	ZCIPC_STAT_COUNT
};

/**
 * struct zcipc_counters - counters of one CPU
 * @stats: by enum zcipc_stat
 * @errors: calls that failed, by errno
 * @latencies: calls that succeeded, by type and power of two of nanoseconds
 */
struct zcipc_counters {
	u64 stats[ZCIPC_STAT_COUNT];
	u64 errors[ZCIPC_STATS_ERRORS];
	u64 latencies[ZCIPC_STATS_TYPES][ZCIPC_STATS_BUCKETS];
};

DECLARE_PER_CPU(struct zcipc_counters, zcipc_stats);

#define zcipc_stat_add(stat, n)	this_cpu_add(zcipc_stats.stats[ZCIPC_STAT_##stat], n)
#define zcipc_stat_inc(stat)	zcipc_stat_add(stat, 1)
#define zcipc_stat_dec(stat)	zcipc_stat_add(stat, -1)

/* Of each counter, as files show it. */
extern const char * const zcipc_stat_names[];

u64 zcipc_stat_sum(const u64 __percpu *counter);
void zcipc_stat_latency(u32 type, u64 ns);
void zcipc_counters_exit(void);

#endif /* ZCIPC_COUNTERS_H */

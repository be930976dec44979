// SPDX-License-Identifier: GPL-2.0
/*
 * The ways to see counters: an ioctl, fdinfo, and files in debugfs.
 */
#include "base/base.h"

#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "base/ucmd.h"
#include "mem/account.h"
#include "mem/region.h"
#include "map/slot.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "calls/calls.h"

/* What user space sees first are the first counters, in their order. */
static_assert(offsetof(struct zcipc_stats, cap) - offsetof(struct zcipc_stats, endpoints) ==
	      (ZCIPC_STAT_FAULTS + 1) * sizeof(u64));

static struct dentry *zcipc_debugfs;

/* The module's errors and latencies, where the caller wants them. */
static int zcipc_stats_tables(const struct zcipc_stats *cmd)
{
	u64 __user *errors = u64_to_user_ptr(cmd->errors);
	u64 __user *latencies = u64_to_user_ptr(cmd->latencies);
	unsigned int i;

	for (i = 0; errors && i < ZCIPC_STATS_ERRORS; i++)
		if (put_user(zcipc_stat_sum(&zcipc_stats.errors[i]), errors++))
			return -EFAULT;
	for (i = 0; latencies && i < ZCIPC_STATS_TYPES * ZCIPC_STATS_BUCKETS; i++)
		if (put_user(zcipc_stat_sum(zcipc_stats.latencies[0] + i), latencies++))
			return -EFAULT;
	return 0;
}

/* What is to be seen of counters. */
static void zcipc_stats_fill(struct zcipc_stats *cmd, const u64 *stats)
{
	u64 *out = &cmd->endpoints;
	enum zcipc_stat stat;

	for (stat = 0; stat <= ZCIPC_STAT_FAULTS; stat++)
		out[stat] = stats[stat];
	cmd->transfers = cmd->moves + cmd->shares + cmd->copies;
	cmd->copied_node = stats[ZCIPC_STAT_COPIED_NODE];
	cmd->copied_memory = stats[ZCIPC_STAT_COPIED_MEMORY];
	cmd->copied_auto = stats[ZCIPC_STAT_COPIED_AUTO];
	cmd->copied_cache = stats[ZCIPC_STAT_COPIED_CACHE];
	cmd->copied_mended = stats[ZCIPC_STAT_COPIED_MENDED];
	cmd->copied_parts = stats[ZCIPC_STAT_COPIED_PARTS];
	cmd->bytes = (cmd->pages << PAGE_SHIFT) + cmd->copied_held + cmd->copied_node +
		     cmd->copied_memory + cmd->copied_auto + cmd->copied_mended +
		     cmd->copied_parts + cmd->copied_cache;
	cmd->remap_cycles = stats[ZCIPC_STAT_REMAP_CYCLES];
	cmd->avg_remap_cycles = cmd->transfers ?
		div64_u64(cmd->remap_cycles, cmd->transfers) : 0;
	cmd->grants = stats[ZCIPC_STAT_GRANTS];
	cmd->revoked = stats[ZCIPC_STAT_REVOKED];
	cmd->batches = stats[ZCIPC_STAT_BATCHES];
	cmd->shootdowns = stats[ZCIPC_STAT_SHOOTDOWNS];
	cmd->failures = stats[ZCIPC_STAT_FAILURES];
	cmd->notifications = stats[ZCIPC_STAT_NOTIFICATIONS];
}

static void zcipc_stats_module(u64 *stats)
{
	enum zcipc_stat stat;

	for (stat = 0; stat < ZCIPC_STAT_COUNT; stat++)
		stats[stat] = zcipc_stat_sum(&zcipc_stats.stats[stat]);
}

/* The caller holds the endpoint's lock. */
static void zcipc_stats_endpoint(const struct zcipc_endpoint *ep, u64 *stats)
{
	memcpy(stats, ep->space.stats, sizeof(ep->space.stats));
	stats[ZCIPC_STAT_ENDPOINTS] = 1;
	stats[ZCIPC_STAT_CAPS] = ep->ncaps;
	stats[ZCIPC_STAT_MESSAGES] = ep->nmessages;
}

/* The caller holds the region's lock. */
static void zcipc_stats_region(const struct zcipc_region *region, u64 *stats)
{
	const struct zcipc_cap *cap;
	unsigned long i;

	memcpy(stats, region->stats, sizeof(region->stats));
	stats[ZCIPC_STAT_REGIONS] = 1;
	for (i = 0; region->frames && i < region->npages; i++) {
		stats[ZCIPC_STAT_FRAMES] += !!region->frames[i];
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
	list_for_each_entry(cap, &region->extents, extent.region_entry) {
		stats[ZCIPC_STAT_CAPS]++;
		stats[ZCIPC_STAT_MAPS] += cap->extent.nslots;
		cond_resched();
	}
}

/* ZCIPC_IOC_STATS */
int zcipc_stats_get(struct zcipc_ucmd *ucmd)
{
	struct zcipc_stats *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	u64 stats[ZCIPC_STAT_COUNT] = {};
	struct zcipc_cap *cap;
	int ret = 0;

	if (cmd->flags == (ZCIPC_STATS_ENDPOINT | ZCIPC_STATS_REGION) ||
	    (cmd->flags != ZCIPC_STATS_REGION && cmd->cap) ||
	    (cmd->flags && (cmd->errors || cmd->latencies)))
		return -EINVAL;
	if (!cmd->flags) {
		zcipc_stats_module(stats);
		ret = zcipc_stats_tables(cmd);
	} else if (cmd->flags == ZCIPC_STATS_ENDPOINT) {
		mutex_lock(&ep->space.lock);
		zcipc_stats_endpoint(ep, stats);
		mutex_unlock(&ep->space.lock);
	} else {
		cap = zcipc_cap_find_region(ep, cmd->cap);
		if (IS_ERR(cap))
			return PTR_ERR(cap);
		zcipc_stats_region(cap->extent.region, stats);
		zcipc_region_unlock_put(cap->extent.region);
	}
	if (ret)
		return ret;
	zcipc_stats_fill(cmd, stats);
	cmd->user_overhead = zcipc_user_overhead(ep->space.user);
	cmd->user_pages = zcipc_user_pages(ep->space.user);
	cmd->user_peak = atomic_long_read(&ep->space.user->peak);
	cmd->user_pinned = atomic_long_read(&ep->space.user->npinned);
	return zcipc_ucmd_respond(ucmd);
}

static void zcipc_stats_show_all(struct seq_file *m, const u64 *stats, enum zcipc_stat first)
{
	enum zcipc_stat stat;

	for (stat = first; stat < ZCIPC_STAT_COUNT; stat++)
		seq_printf(m, "zcipc-%s:\t%llu\n", zcipc_stat_names[stat], stats[stat]);
}

/* What fdinfo and debugfs say of an endpoint. */
void zcipc_stats_show_endpoint(struct seq_file *m, struct zcipc_endpoint *ep)
{
	u64 stats[ZCIPC_STAT_COUNT] = {};
	unsigned int i;

	mutex_lock(&ep->space.lock);
	seq_printf(m, "zcipc-endpoint:\t%llu\n", ep->space.id);
	seq_printf(m, "zcipc-name:\t%*pE\n", (int)strlen(ep->name), ep->name);
	seq_printf(m, "zcipc-dead:\t%d\n", ep->space.dead);
	/* Some cache policies have none. */
	for (i = 0; i < ZCIPC_WINDOW_MAX; i++)
		if (i <= ZCIPC_CACHE_UNCACHED || i >= ZCIPC_WINDOW_PINNABLE)
			seq_printf(m, "zcipc-window-%u:\t%lu of %lu pages used\n", i,
				   ep->space.windows[i].nused, ep->space.windows[i].npages);
	seq_printf(m, "zcipc-queue-depth:\t%u\n", ep->queue_depth);
	zcipc_stats_endpoint(ep, stats);
	mutex_unlock(&ep->space.lock);
	zcipc_stats_show_all(m, stats, ZCIPC_STAT_CAPS);
}

static int zcipc_stats_show(struct seq_file *m, void *v)
{
	static const char * const types[ZCIPC_STATS_TYPES] = { "move", "share", "copy", "grant" };
	u64 stats[ZCIPC_STAT_COUNT];
	unsigned int i, bucket;
	u64 n;

	zcipc_stats_module(stats);
	zcipc_stats_show_all(m, stats, 0);
	for (i = 0; i < ZCIPC_STATS_ERRORS; i++) {
		n = zcipc_stat_sum(&zcipc_stats.errors[i]);
		if (n)
			seq_printf(m, "zcipc-failures-%u:\t%llu\n", i, n);
	}
	for (i = 0; i < ZCIPC_STATS_TYPES; i++) {
		for (bucket = 0; bucket < ZCIPC_STATS_BUCKETS; bucket++) {
			n = zcipc_stat_sum(&zcipc_stats.latencies[i][bucket]);
			if (n)
				seq_printf(m, "zcipc-latency-%s-from-%lu-ns:\t%llu\n", types[i],
					   bucket ? BIT(bucket) : 0, n);
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(zcipc_stats);

static int zcipc_endpoints_show(struct seq_file *m, void *v)
{
	struct zcipc_endpoint *ep;
	unsigned long id = 0;

	while ((ep = zcipc_endpoint_next(NULL, &id))) {
		seq_printf(m, "zcipc-pid:\t%d\n", pid_nr(ep->pid));
		seq_printf(m, "zcipc-uid:\t%u\n", from_kuid_munged(&init_user_ns, ep->cred->euid));
		zcipc_stats_show_endpoint(m, ep);
		seq_putc(m, '\n');
		zcipc_endpoint_put(ep);
		id++;
		cond_resched();
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(zcipc_endpoints);

void zcipc_stats_init(void)
{
	zcipc_debugfs = debugfs_create_dir("zcipc", NULL);
	debugfs_create_file("stats", 0400, zcipc_debugfs, NULL, &zcipc_stats_fops);
	debugfs_create_file("endpoints", 0400, zcipc_debugfs, NULL, &zcipc_endpoints_fops);
}

/* Before anything is torn down that the files in debugfs look at. */
void zcipc_stats_hide(void)
{
	debugfs_remove(zcipc_debugfs);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parameters of the module, and of the kernel: delay points of a module built for tests, the quota,
 * how pages are carried over, how large frames are, KSM.
 */
#ifndef __SELFTEST_ZCIPC_PARAMS
#define __SELFTEST_ZCIPC_PARAMS

#include <stdbool.h>

#include <linux/zcipc.h>

#define PARAMETERS	"/sys/module/zcipc/parameters/"

void file_write(const char *path, const char *text);
void number_write(const char *path, long n);
long file_number(const char *path, const char *word);

/* Delay points */
#define POINT_PARAMETER	PARAMETERS "test_"
bool points_exist(void);
void point_set(const char *name, unsigned int ms);
void point_stop(const char *name);
void point_go(void);
bool point_reached(void);
bool point_reached_by(long n);

/* The quota */
#define QUOTA		PARAMETERS "quota_mib"
void quota_set(long mib);
__u64 owned(const struct zcipc_stats *stats);

/* How a MOVE gets pages from one page table to another */
#define CARRY		PARAMETERS "carry_min"
void carry_set(const char *npages);

/* How large a frame is */
#define HUGE_MIN	PARAMETERS "huge_min"
void huge_set(const char *npages);

/* What only costs time if it is missing */
#define SHORT_MOVES	PARAMETERS "short_moves"
#define HUGE_IMPORT	PARAMETERS "huge_import"
void mechanisms_set(bool on);

/* What was set before for KSM. */
struct ksm_settings {
	long run, scan, sleep;
};

#define KSM		"/sys/kernel/mm/ksm/"
void ksm_start(struct ksm_settings *old, long scan);
void ksm_end(const struct ksm_settings *old);

#endif

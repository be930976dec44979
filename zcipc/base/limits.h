/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Limits: what user space may have, and how long others may be kept waiting.
 */
#ifndef ZCIPC_LIMITS_H
#define ZCIPC_LIMITS_H

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/types.h>

#include <linux/zcipc.h>

#define ZCIPC_RIGHTS_ALL \
	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_EXEC | ZCIPC_RIGHT_GRANT | \
	 ZCIPC_RIGHT_MOVE)

/* Limits, reported by ZCIPC_IOC_INFO. The page counts keep tables and bitmaps below 32 MiB. */
#define ZCIPC_MAX_REGION_PAGES	(4UL << 20)
#define ZCIPC_MAX_WINDOW_PAGES	(1UL << (40 - PAGE_SHIFT))
#define ZCIPC_MAX_CAPS		(1024U * 1024)
#define ZCIPC_MAX_MESSAGES	1024U
#define ZCIPC_MAX_DEPTH		1024U
#define ZCIPC_MAX_SLOTS		1024U

/* While locks are held that others wait for. */
#define ZCIPC_GFP_LOCKED	(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

/*
 * What takes longer than this many pages do is not done with the lock of an endpoint. To move or
 * share page table entries takes less, copies of what somebody holds take more; so does what has
 * many capabilities and mappings, which are all visited, unmapped, or revoked.
 */
#define ZCIPC_LONG_PAGES	512UL
#define ZCIPC_LONG_ENTRIES	1024UL
#define ZCIPC_LONG_INSERTED	256UL
#define ZCIPC_LONG_COPIES	64UL
#define ZCIPC_LONG_USES		128UL
#define ZCIPC_LONG_MAPPED	256U

/* Core mm unmaps so much at a time: whoever changes a window's VMA waits for that. */
#define ZCIPC_UNMAP_PAGES	4096UL

/* Of what is long, this many PTEs are inserted before others have a turn. */
#define ZCIPC_POPULATE_PAGES	128UL

/* A loop over the pages of a region lets others run after this many. */
#define ZCIPC_RESCHED_PAGES	1024

static inline void zcipc_resched(unsigned long i)
{
	if (!(i % ZCIPC_RESCHED_PAGES))
		cond_resched();
}

#endif /* ZCIPC_LIMITS_H */

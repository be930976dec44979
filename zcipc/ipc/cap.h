/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Capabilities: what an endpoint may do with a range of a region.
 */
#ifndef ZCIPC_CAP_H
#define ZCIPC_CAP_H

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "mem/region.h"
#include "ipc/endpoint.h"
#include "ipc/table.h"

struct zcipc_slot;

extern struct workqueue_struct *zcipc_workers;

/* Frees a capability that is in no table, and its region with the last one. May be NULL. */
static inline void zcipc_cap_free(struct zcipc_cap *cap)
{
	if (!cap)
		return;
	if (cap->extent.region)
		zcipc_region_put(cap->extent.region);
	if (cap->revoker)
		zcipc_endpoint_put(cap->revoker);
	zcipc_cap_release(cap);
}

u64 zcipc_cap_kill_tree(struct zcipc_cap *root, bool keep, struct zcipc_endpoint *revoker);
void zcipc_cap_remove_locked(struct zcipc_cap *cap);
void zcipc_cap_forget(struct zcipc_cap *cap);
void zcipc_cap_unplaced(struct zcipc_slot *slot);
bool zcipc_cap_emptied(struct zcipc_slot *slot);

/**
 * zcipc_cap_range() - check a range that user space gave
 * @cap: the capability
 * @offset: bytes from the beginning of the capability's range
 * @len: bytes, 0: up to its end
 * @first: [out] first page in the region
 * @npages: [out] number of pages
 *
 * Return: 0, or -EINVAL
 */
static inline int zcipc_cap_range(const struct zcipc_cap *cap, u64 offset, u64 len,
				  unsigned long *first, unsigned long *npages)
{
	u64 end = (u64)cap->extent.npages << PAGE_SHIFT;

	*first = cap->extent.first;
	*npages = cap->extent.npages;
	if (!(offset | len))
		return 0;
	if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len) || offset >= end || len > end - offset)
		return -EINVAL;
	*first = cap->extent.first + (offset >> PAGE_SHIFT);
	*npages = (len ?: end - offset) >> PAGE_SHIFT;
	return 0;
}

void zcipc_cap_install(struct zcipc_cap *cap, struct zcipc_region *region,
		       struct zcipc_cap *parent, unsigned long first, unsigned long npages,
		       u32 rights);
void zcipc_cap_detach(struct zcipc_cap *cap, bool stay);
void zcipc_cap_remove(struct zcipc_cap *cap);
void zcipc_cap_remove_token(struct zcipc_endpoint *ep, u64 token);
void zcipc_cap_remove_all(struct zcipc_endpoint *ep);
void zcipc_cap_pass(struct zcipc_cap *cap, struct zcipc_endpoint *to);
void zcipc_cap_give(struct zcipc_cap *cap, struct zcipc_endpoint *to);
struct zcipc_cap *zcipc_cap_lock_region(struct zcipc_cap *cap, struct zcipc_endpoint *other);
struct zcipc_cap *zcipc_cap_find_region(struct zcipc_endpoint *ep, u64 token);
struct zcipc_cap *zcipc_cap_find_locked(struct zcipc_endpoint *ep, struct zcipc_endpoint *other,
					u64 token);
u32 zcipc_cap_depth(const struct zcipc_cap *cap);
u32 zcipc_cap_derived(const struct zcipc_cap *root);
u64 zcipc_cap_kill_range(struct zcipc_region *region, unsigned long first, unsigned long npages,
			 const struct zcipc_cap *except, struct zcipc_endpoint *revoker);
void zcipc_cap_reap(struct zcipc_region *region, u64 n);
int zcipc_cap_init(void);
void zcipc_cap_exit(void);

#endif /* ZCIPC_CAP_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Capabilities: what an endpoint may do with a range of a region.
 */
#ifndef ZCIPC_CAP_H
#define ZCIPC_CAP_H

#include "base/base.h"

#include <linux/nospec.h>

#include "mem/region.h"
#include "map/extent.h"
#include "map/slot.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"

/**
 * struct zcipc_cap - a capability: what one endpoint may do with a range of a region
 * @extent: the range, and where it is mapped; the space is that of whose table it is in
 * @rights: enum zcipc_right
 * @implicit: nobody has been told the token. Of adopted memory: goes when that is unmapped. Of a
 *	file: goes with the last that is derived from it
 * @revoker: who revoked it, with a reference; region->lock
 * @parent: what it is derived from, or NULL; region->lock, as the next two
 * @children: what is derived from it
 * @sibling: in parent->children
 * @slot: the first of extent.slots, if it came with one
 * @notices: notifications of the endpoint that it has not received; its lock, as the next one
 * @msg: tells the endpoint of it
 */
struct zcipc_cap {
	struct zcipc_extent extent;
	u32 rights;
	bool implicit;
	struct zcipc_endpoint *revoker;
	struct zcipc_cap *parent;
	struct list_head children;
	struct list_head sibling;
	struct zcipc_slot slot;
	struct list_head notices;
	struct zcipc_message msg;
};

/* In whose table it is. */
static inline struct zcipc_endpoint *zcipc_cap_ep(const struct zcipc_cap *cap)
{
	return container_of(cap->extent.space, struct zcipc_endpoint, space);
}

static inline struct zcipc_cap *zcipc_cap_of(struct zcipc_extent *extent)
{
	return container_of(extent, struct zcipc_cap, extent);
}

#define ZCIPC_TOKEN_INDEX_BITS	20
#define ZCIPC_TOKEN_INDEX_MASK	((1ULL << ZCIPC_TOKEN_INDEX_BITS) - 1)

/* What has been paid for is paid for as long as there are no more than so many less. */
#define ZCIPC_CAPS_SPARE	1024U

struct zcipc_cap *zcipc_cap_alloc(int node);
void zcipc_cap_release(struct zcipc_cap *cap);
void zcipc_cap_refund(struct zcipc_endpoint *ep, u32 n);
void zcipc_cap_free_table(struct zcipc_endpoint *ep);
int zcipc_cap_reserve_more(struct zcipc_endpoint *ep, u32 n, gfp_t gfp);

/**
 * zcipc_cap_reserve() - make sure that zcipc_cap_enter() has a place
 * @ep: the endpoint; the caller holds its lock until then, or counts what it will enter as reserved
 * @n: number of capabilities that are to be entered, besides those that are reserved
 * @gfp: for the table; with __GFP_NOFAIL the limit does not count either
 *
 * Return: 0, or -ENOBUFS, -EDQUOT, -ENOMEM
 */
static inline int zcipc_cap_reserve(struct zcipc_endpoint *ep, u32 n, gfp_t gfp)
{
	n += ep->nreserved;
	if (likely(ep->ncaps + n <= min(ep->caps_paid, ZCIPC_MAX_CAPS / 2)))
		return 0;
	return zcipc_cap_reserve_more(ep, n, gfp);
}

/*
 * Is a token, which zcipc_cap_find() has found, still that of a capability, which may be gone by
 * now? @ep's lock is held, and tables do not shrink.
 */
static inline bool zcipc_cap_is_at(const struct zcipc_endpoint *ep, const struct zcipc_cap *cap,
				   u64 token)
{
	return ep->caps[token & ZCIPC_TOKEN_INDEX_MASK] == cap && cap->extent.token == token &&
	       !READ_ONCE(cap->extent.revoked);
}

/* Tables have odd numbers in their free entries. */
static inline bool zcipc_cap_entry_is_free(const void *entry)
{
	return (unsigned long)entry & 1;
}

/* The capability that has a token, revoked or not, or NULL. */
static inline struct zcipc_cap *zcipc_cap_at(struct zcipc_endpoint *ep, u64 token)
{
	u32 index = token & ZCIPC_TOKEN_INDEX_MASK;
	void *entry;

	lockdep_assert_held(&ep->space.lock);
	if (index >= ep->caps_size)
		return NULL;
	entry = ep->caps[array_index_nospec(index, ep->caps_size)];
	if (zcipc_cap_entry_is_free(entry) || ((struct zcipc_cap *)entry)->extent.token != token)
		return NULL;
	return entry;
}

/* A free entry is an odd number: the index's last generation, and the next free index. */
static __always_inline void *zcipc_cap_free_entry(u64 generation, u32 next)
{
	return (void *)((generation << ZCIPC_TOKEN_INDEX_BITS | next) << 1 | 1);
}

/* Enters a capability in a table: it gets its token. The lock is held since zcipc_cap_reserve(). */
static inline void zcipc_cap_enter(struct zcipc_cap *cap, struct zcipc_endpoint *ep)
{
	u32 index = ep->caps_free;
	void *entry = ep->caps[index];

	lockdep_assert_held(&ep->space.lock);
	ep->caps_free = (unsigned long)entry >> 1 & ZCIPC_TOKEN_INDEX_MASK;
	ep->caps[index] = cap;
	ep->ncaps++;
	cap->extent.token = (((unsigned long)entry >> (ZCIPC_TOKEN_INDEX_BITS + 1)) + 1)
		     << ZCIPC_TOKEN_INDEX_BITS | index;
	cap->extent.space = &ep->space;
}

/* Takes a capability out of its table. The caller holds the lock. */
static __always_inline void zcipc_cap_erase(struct zcipc_cap *cap)
{
	struct zcipc_endpoint *ep = zcipc_cap_ep(cap);
	u32 index = cap->extent.token & ZCIPC_TOKEN_INDEX_MASK;

	ep->caps[index] = zcipc_cap_free_entry(cap->extent.token >> ZCIPC_TOKEN_INDEX_BITS,
					       ep->caps_free);
	ep->caps_free = index;
	ep->ncaps--;
	if (unlikely(ep->caps_paid >= ep->ncaps + ep->nreserved + ZCIPC_CAPS_SPARE))
		zcipc_cap_refund(ep, ZCIPC_CAPS_SPARE / 2);
}

struct zcipc_cap *zcipc_cap_missing(const struct zcipc_endpoint *ep, u64 token);

/**
 * zcipc_cap_find() - look a token up
 * @ep: the endpoint; the caller holds its lock
 * @token: what user space gave
 *
 * Return: the capability, which may be revoked as long as its region's lock is not held; or
 * -ESTALE when it is gone, -ENOENT when it never was
 */
static inline struct zcipc_cap *zcipc_cap_find(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap = zcipc_cap_at(ep, token);

	if (unlikely(!cap))
		return zcipc_cap_missing(ep, token);
	return READ_ONCE(cap->extent.revoked) || cap->extent.unready ? ERR_PTR(-ESTALE) : cap;
}

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
int zcipc_table_init(void);
void zcipc_table_exit(void);

#endif /* ZCIPC_CAP_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Capabilities: an endpoint's table, look-up by token, and the calls that use nothing else.
 *
 * A token is a generation and an index. The generation grows with each token that the endpoint
 * makes, so a token is never made twice, and one that is not in the table can be told apart: it is
 * stale if its generation has been, and otherwise never existed here.
 */
#include <linux/log2.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "zcipc.h"

#define ZCIPC_TOKEN_INDEX_BITS	20
#define ZCIPC_TOKEN_INDEX_MASK	((1ULL << ZCIPC_TOKEN_INDEX_BITS) - 1)

static_assert(ilog2(ZCIPC_MAX_CAPS) <= ZCIPC_TOKEN_INDEX_BITS);

struct zcipc_cap *zcipc_cap_alloc(void)
{
	struct zcipc_cap *cap = kzalloc(sizeof(*cap), GFP_KERNEL_ACCOUNT);

	if (cap) {
		INIT_LIST_HEAD(&cap->region_entry);
		INIT_LIST_HEAD(&cap->slots);
	}
	return cap;
}

/**
 * zcipc_cap_reserve() - give a capability a place and a token
 * @ep: the endpoint; the caller holds its lock until zcipc_cap_install() or zcipc_cap_abort()
 * @cap: a new capability
 * @gfp: for the table; with __GFP_NOFAIL the limit does not count either
 *
 * Return: 0, or -ENOBUFS, -ENOMEM
 */
int zcipc_cap_reserve(struct zcipc_endpoint *ep, struct zcipc_cap *cap, gfp_t gfp)
{
	u32 index;
	int ret;

	lockdep_assert_held(&ep->lock);
	/* Half of the indices are never needed but for what comes back from dead peers. */
	if (ep->ncaps >= ZCIPC_MAX_CAPS / 2 && !(gfp & __GFP_NOFAIL))
		return -ENOBUFS;
	ret = xa_alloc(&ep->caps, &index, cap, XA_LIMIT(0, ZCIPC_MAX_CAPS - 1), gfp);
	if (ret)
		return ret == -EBUSY ? -ENOBUFS : ret;
	ep->ncaps++;
	if (!ep->next_generation) {
		ep->first_generation = get_random_u64() >> (ZCIPC_TOKEN_INDEX_BITS + 1) | 1;
		ep->next_generation = ep->first_generation;
	}
	cap->token = ep->next_generation++ << ZCIPC_TOKEN_INDEX_BITS | index;
	cap->ep = ep;
	return 0;
}

/**
 * zcipc_cap_install() - make a capability valid
 * @cap: reserved; the caller still holds the endpoint's lock
 * @region: what it names; the caller holds its lock. Gets a reference.
 * @first: first page of the range
 * @npages: number of pages
 * @rights: enum zcipc_right
 */
void zcipc_cap_install(struct zcipc_cap *cap, struct zcipc_region *region, unsigned long first,
		       unsigned long npages, u32 rights)
{
	lockdep_assert_held(&cap->ep->lock);
	lockdep_assert_held(&region->lock);
	cap->region = zcipc_region_get(region);
	cap->first = first;
	cap->npages = npages;
	cap->rights = rights;
	list_add_tail(&cap->region_entry, &region->caps);
	zcipc_stat_inc(CAPS);
}

static void zcipc_cap_erase(struct zcipc_cap *cap)
{
	xa_erase(&cap->ep->caps, cap->token & ZCIPC_TOKEN_INDEX_MASK);
	cap->ep->ncaps--;
}

/* Takes zcipc_cap_reserve() back. The capability remains the caller's to free. */
void zcipc_cap_abort(struct zcipc_cap *cap)
{
	zcipc_cap_erase(cap);
}

static void zcipc_cap_remove_slots(struct zcipc_cap *cap)
{
	struct zcipc_slot *slot, *next;

	list_for_each_entry_safe(slot, next, &cap->slots, cap_entry)
		zcipc_slot_remove(slot);
}

/**
 * zcipc_cap_detach() - take a capability and its slots out of everything
 * @cap: the capability; the caller holds the locks of its endpoint and region, and has unmapped
 *	what its slots show
 *
 * zcipc_cap_free() must follow, without the region's lock.
 */
void zcipc_cap_detach(struct zcipc_cap *cap)
{
	lockdep_assert_held(&cap->ep->lock);
	lockdep_assert_held(&cap->region->lock);
	zcipc_cap_remove_slots(cap);
	list_del(&cap->region_entry);
	zcipc_cap_erase(cap);
	zcipc_stat_dec(CAPS);
}

/* Frees a detached capability, and its region with the last one. */
void zcipc_cap_free(struct zcipc_cap *cap)
{
	zcipc_region_put(cap->region);
	kfree(cap);
}

/* Takes a capability away, with all that it gave. The caller holds the endpoint's lock. */
void zcipc_cap_remove(struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->region;
	struct zcipc_slot *slot;

	mutex_lock(&region->lock);
	list_for_each_entry(slot, &cap->slots, cap_entry)
		zcipc_slot_unmap(slot);
	zcipc_cap_detach(cap);
	mutex_unlock(&region->lock);
	zcipc_cap_free(cap);
}

/**
 * zcipc_cap_give() - move a capability to another endpoint's table
 * @cap: the capability; what its slots show is unmapped
 * @to: the endpoint; the caller holds both endpoints' locks, and the region's
 *
 * Cannot fail. The capability has a new token and no slots.
 */
void zcipc_cap_give(struct zcipc_cap *cap, struct zcipc_endpoint *to)
{
	lockdep_assert_held(&cap->region->lock);
	zcipc_cap_remove_slots(cap);
	zcipc_cap_erase(cap);
	WARN_ON_ONCE(zcipc_cap_reserve(to, cap, GFP_KERNEL | __GFP_NOFAIL));
}

/**
 * zcipc_cap_find() - look a token up
 * @ep: the endpoint; the caller holds its lock
 * @token: what user space gave
 *
 * Return: the capability, or -ESTALE when it is gone, -ENOENT when it never was
 */
struct zcipc_cap *zcipc_cap_find(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap = xa_load(&ep->caps, token & ZCIPC_TOKEN_INDEX_MASK);
	u64 generation = token >> ZCIPC_TOKEN_INDEX_BITS;

	lockdep_assert_held(&ep->lock);
	if (cap && cap->token == token)
		return cap;
	if (generation >= ep->first_generation && generation < ep->next_generation)
		return ERR_PTR(-ESTALE);
	return ERR_PTR(-ENOENT);
}

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
int zcipc_cap_range(const struct zcipc_cap *cap, u64 offset, u64 len, unsigned long *first,
		    unsigned long *npages)
{
	u64 end = (u64)cap->npages << PAGE_SHIFT;

	if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len) || offset >= end || len > end - offset)
		return -EINVAL;
	*first = cap->first + (offset >> PAGE_SHIFT);
	*npages = (len ?: end - offset) >> PAGE_SHIFT;
	return 0;
}

/**
 * zcipc_cap_map() - ZCIPC_IOC_MAP
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_map
 */
int zcipc_cap_map(struct zcipc_ucmd *ucmd)
{
	struct zcipc_map *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct mm_struct *mm = ep->mm;
	unsigned long first, npages;
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;
	int ret;

	if (cmd->flags || cmd->rights & ZCIPC_RIGHT_EXEC)
		return -EOPNOTSUPP;
	if (cmd->__reserved || !(cmd->rights & ZCIPC_RIGHT_READ) ||
	    cmd->rights & ~(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE))
		return -EINVAL;
	slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	if (!slot)
		return -ENOMEM;
	ret = mmap_read_lock_killable(mm);
	if (ret)
		goto out_free;
	mutex_lock(&ep->lock);
	cap = zcipc_cap_find(ep, cmd->cap);
	if (IS_ERR(cap)) {
		ret = PTR_ERR(cap);
		goto out_unlock;
	}
	ret = zcipc_cap_range(cap, cmd->offset, cmd->len, &first, &npages);
	if (ret)
		goto out_unlock;
	if (cmd->rights & ~cap->rights) {
		ret = -EACCES;
		goto out_unlock;
	}
	ret = zcipc_slot_reserve(ep, slot, npages);
	if (ret)
		goto out_unlock;
	mutex_lock(&cap->region->lock);
	zcipc_slot_install(slot, cap, first, cmd->rights & ZCIPC_RIGHT_WRITE);
	zcipc_slot_populate(slot);
	mutex_unlock(&cap->region->lock);
	cmd->addr = zcipc_slot_addr(ep, slot);
	slot = NULL;
out_unlock:
	mutex_unlock(&ep->lock);
	mmap_read_unlock(mm);
out_free:
	kfree(slot);
	if (ret)
		return ret;
	ret = zcipc_ucmd_respond(ucmd);
	if (ret)
		zcipc_slot_remove_at(ep, cmd->addr);
	return ret;
}

/**
 * zcipc_cap_unmap() - ZCIPC_IOC_UNMAP
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_unmap
 */
int zcipc_cap_unmap(struct zcipc_ucmd *ucmd)
{
	struct zcipc_unmap *cmd = ucmd->cmd;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (!PAGE_ALIGNED(cmd->addr))
		return -EINVAL;
	return zcipc_slot_remove_at(ucmd->ep, cmd->addr);
}

/**
 * zcipc_cap_drop() - ZCIPC_IOC_DROP
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_drop
 */
int zcipc_cap_drop(struct zcipc_ucmd *ucmd)
{
	struct zcipc_drop *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_cap *cap;
	int ret = 0;

	if (cmd->flags)
		return -EOPNOTSUPP;
	mutex_lock(&ep->lock);
	cap = zcipc_cap_find(ep, cmd->cap);
	if (IS_ERR(cap)) {
		ret = PTR_ERR(cap);
	} else {
		zcipc_cap_remove(cap);
		zcipc_endpoint_made_room(ep);
	}
	mutex_unlock(&ep->lock);
	return ret;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Regions: make, take apart, free, and what is done to all mappings of one.
 */
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "zcipc.h"

static atomic64_t zcipc_last_region;

/**
 * zcipc_region_alloc() - a region without frames
 * @user: who owns it
 * @npages: size, 1 to ZCIPC_MAX_REGION_PAGES
 * @charge: charge the user; otherwise zcipc_region_split() does
 *
 * Context: May sleep.
 * Return: the region with one reference, or -EDQUOT, -ENOMEM
 */
struct zcipc_region *zcipc_region_alloc(struct zcipc_user *user, unsigned long npages, bool charge)
{
	unsigned long ncharged = charge ? npages : 0;
	struct zcipc_region *region;
	int ret;

	ret = zcipc_charge(user, ncharged);
	if (ret)
		return ERR_PTR(ret);
	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		goto err_uncharge;
	region->pages = kvcalloc(npages, sizeof(*region->pages), GFP_KERNEL_ACCOUNT);
	if (!region->pages)
		goto err_free;
	kref_init(&region->kref);
	region->id = atomic64_inc_return(&zcipc_last_region);
	region->npages = npages;
	region->user = zcipc_user_ref(user);
	region->ncharged = ncharged;
	mutex_init(&region->lock);
	INIT_LIST_HEAD(&region->caps);
	zcipc_stat_inc(REGIONS);
	return region;

err_free:
	kfree(region);
err_uncharge:
	zcipc_uncharge(user, ncharged);
	return ERR_PTR(-ENOMEM);
}

struct zcipc_region *zcipc_region_get(struct zcipc_region *region)
{
	kref_get(&region->kref);
	return region;
}

static void zcipc_region_free(struct kref *kref)
{
	struct zcipc_region *region = container_of(kref, struct zcipc_region, kref);
	unsigned long i;

	WARN_ON_ONCE(!list_empty(&region->caps));
	for (i = 0; i < region->npages; i++) {
		if (region->pages[i])
			zcipc_frame_put(region->pages[i]);
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
	zcipc_uncharge(region->user, region->ncharged);
	zcipc_user_put(region->user);
	kvfree(region->pages);
	kfree(region);
	zcipc_stat_dec(REGIONS);
}

void zcipc_region_put(struct zcipc_region *region)
{
	kref_put(&region->kref, zcipc_region_free);
}

/**
 * zcipc_region_present() - are all pages of a range there, none moved away?
 * @region: the region; the caller holds its lock
 * @first: first page
 * @npages: number of pages
 */
bool zcipc_region_present(const struct zcipc_region *region, unsigned long first,
			  unsigned long npages)
{
	unsigned long i;

	lockdep_assert_held(&region->lock);
	for (i = first; i < first + npages; i++)
		if (!region->pages[i])
			return false;
	return true;
}

/**
 * zcipc_region_unmap() - take a range out of all page tables
 * @region: the region; the caller holds its lock
 * @first: first page
 * @npages: number of pages
 *
 * Slots stay, so faults bring the pages back once the lock is released. All TLBs are flushed when
 * this returns: until then the contents change only through references that are not mappings.
 */
void zcipc_region_unmap(struct zcipc_region *region, unsigned long first, unsigned long npages)
{
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;

	lockdep_assert_held(&region->lock);
	list_for_each_entry(cap, &region->caps, region_entry) {
		list_for_each_entry(slot, &cap->slots, cap_entry) {
			unsigned long start = max(first, slot->first);
			unsigned long end = min(first + npages, slot->first + slot->npages);

			if (start < end)
				unmap_mapping_pages(cap->ep->inode->i_mapping,
						    slot->pgoff + start - slot->first, end - start,
						    false);
		}
	}
}

/**
 * zcipc_region_isolate() - make sure that nobody can reach a range by a reference to its pages
 * @region: the region; the caller holds its lock, and has unmapped the range
 * @first: first page
 * @npages: number of pages
 * @strict: fail instead of copying
 * @gfp: for the copies
 * @copied: increased by the bytes copied
 *
 * A frame that is held is replaced by a copy; its holder keeps it. A frame that belongs to another
 * region too is left: whoever holds it can only have it for reading, and the region does not write
 * to it (zcipc_cow_break() looks again).
 *
 * Return: 0, or -EBUSY (strict), -ENOMEM, with nothing changed
 */
int zcipc_region_isolate(struct zcipc_region *region, unsigned long first, unsigned long npages,
			 bool strict, gfp_t gfp, u64 *copied)
{
	struct page **copies = NULL;
	unsigned long i;
	int ret = 0;

	lockdep_assert_held(&region->lock);
	for (i = 0; i < npages; i++) {
		struct page *page = region->pages[first + i];

		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if (!page || !zcipc_frame_exclusive(page) || !zcipc_frame_held(page, 0))
			continue;
		if (strict) {
			ret = -EBUSY;
			break;
		}
		if (!copies)
			copies = kvcalloc(npages, sizeof(*copies), gfp);
		if (copies)
			copies[i] = zcipc_frame_copy(page, gfp);
		if (!copies || !copies[i]) {
			ret = -ENOMEM;
			break;
		}
	}
	if (!copies)
		return ret;
	for (i = 0; i < npages; i++) {
		if (!copies[i])
			continue;
		if (!ret) {
			swap(copies[i], region->pages[first + i]);
			*copied += PAGE_SIZE;
		}
		zcipc_frame_put(copies[i]);
	}
	kvfree(copies);
	return ret;
}

/**
 * zcipc_region_split() - move a range of frames to a region of its own
 * @region: the region; the caller holds its lock, and has unmapped the range
 * @first: first page of the range, which is as long as @part
 * @part: a new region that nobody else knows
 *
 * Leaves a hole. The charge moves along.
 */
void zcipc_region_split(struct zcipc_region *region, unsigned long first,
			struct zcipc_region *part)
{
	lockdep_assert_held(&region->lock);
	memcpy(part->pages, region->pages + first, array_size(part->npages, sizeof(*part->pages)));
	memset(region->pages + first, 0, array_size(part->npages, sizeof(*part->pages)));
	if (!part->ncharged) {
		part->ncharged = part->npages;
		zcipc_charge_force(part->user, part->npages);
	}
	region->ncharged -= part->npages;
	zcipc_uncharge(region->user, part->npages);
}

/* Makes a user, who has been charged for it, the one who pays for a region from now on. */
void zcipc_region_own(struct zcipc_region *region, struct zcipc_user *user)
{
	lockdep_assert_held(&region->lock);
	zcipc_uncharge(region->user, region->ncharged);
	zcipc_user_ref(user);
	zcipc_user_put(region->user);
	region->user = user;
}

/**
 * zcipc_region_create() - ZCIPC_IOC_REGION_CREATE
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_region_create
 */
int zcipc_region_create(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_create *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct mm_struct *mm = ep->mm;
	struct zcipc_region *region;
	struct zcipc_slot *slot = NULL;
	struct zcipc_cap *cap;
	unsigned long npages;
	unsigned long i;
	int ret;

	if (cmd->flags & ~(ZCIPC_CREATE_MAP) || cmd->cache || cmd->node != ZCIPC_NODE_ANY)
		return -EOPNOTSUPP;
	if (!cmd->len || !PAGE_ALIGNED(cmd->len) ||
	    cmd->len >> PAGE_SHIFT > ZCIPC_MAX_REGION_PAGES)
		return -EINVAL;
	npages = cmd->len >> PAGE_SHIFT;

	region = zcipc_region_alloc(ep->user, npages, true);
	if (IS_ERR(region))
		return PTR_ERR(region);
	ret = -ENOMEM;
	for (i = 0; i < npages; i++) {
		region->pages[i] = zcipc_frame_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
		if (!region->pages[i])
			goto err_region;
		if (!(i % ZCIPC_RESCHED_PAGES)) {
			cond_resched();
			if (fatal_signal_pending(current)) {
				ret = -EINTR;
				goto err_region;
			}
		}
	}
	cap = zcipc_cap_alloc();
	if (!cap)
		goto err_region;
	if (cmd->flags & ZCIPC_CREATE_MAP) {
		slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
		if (!slot)
			goto err_cap;
		ret = mmap_read_lock_killable(mm);
		if (ret)
			goto err_slot;
	}

	mutex_lock(&ep->lock);
	ret = zcipc_cap_reserve(ep, cap, GFP_KERNEL_ACCOUNT);
	if (!ret && slot) {
		ret = zcipc_slot_reserve(ep, slot, npages);
		if (ret)
			zcipc_cap_abort(cap);
	}
	if (!ret) {
		mutex_lock(&region->lock);
		zcipc_cap_install(cap, region, 0, npages, ZCIPC_RIGHTS_ALL);
		if (slot) {
			zcipc_slot_install(slot, cap, 0, true);
			zcipc_slot_populate(slot);
			cmd->addr = zcipc_slot_addr(ep, slot);
		} else {
			cmd->addr = 0;
		}
		cmd->cap = cap->token;
		cmd->region = region->id;
		mutex_unlock(&region->lock);
	}
	mutex_unlock(&ep->lock);
	if (slot)
		mmap_read_unlock(mm);
	if (ret)
		goto err_slot;
	zcipc_region_put(region);

	ret = zcipc_ucmd_respond(ucmd);
	if (ret) {
		mutex_lock(&ep->lock);
		cap = zcipc_cap_find(ep, cmd->cap);
		if (!IS_ERR(cap))
			zcipc_cap_remove(cap);
		mutex_unlock(&ep->lock);
	}
	return ret;

err_slot:
	kfree(slot);
err_cap:
	kfree(cap);
err_region:
	zcipc_region_put(region);
	return ret;
}

/**
 * zcipc_region_query() - ZCIPC_IOC_REGION_QUERY
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_region_query
 */
int zcipc_region_query(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_query *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	struct zcipc_cap *other;
	struct zcipc_cap *cap;
	unsigned long i;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (cmd->__reserved)
		return -EINVAL;
	mutex_lock(&ep->lock);
	cap = zcipc_cap_find(ep, cmd->cap);
	if (IS_ERR(cap)) {
		mutex_unlock(&ep->lock);
		return PTR_ERR(cap);
	}
	region = cap->region;
	mutex_lock(&region->lock);
	cmd->region = region->id;
	cmd->region_len = (u64)region->npages << PAGE_SHIFT;
	cmd->offset = (u64)cap->first << PAGE_SHIFT;
	cmd->len = (u64)cap->npages << PAGE_SHIFT;
	cmd->rights = cap->rights;
	cmd->present = 0;
	cmd->shared = 0;
	for (i = cap->first; i < cap->first + cap->npages; i++) {
		struct page *page = region->pages[i];

		if (page)
			cmd->present += PAGE_SIZE;
		if (page && !zcipc_frame_sole(page))
			cmd->shared += PAGE_SIZE;
	}
	cmd->caps = 0;
	cmd->maps = 0;
	list_for_each_entry(other, &region->caps, region_entry) {
		cmd->caps++;
		list_for_each_entry(slot, &other->slots, cap_entry)
			cmd->maps++;
	}
	cmd->cache = ZCIPC_CACHE_DEFAULT;
	cmd->node = ZCIPC_NODE_ANY;
	mutex_unlock(&region->lock);
	mutex_unlock(&ep->lock);
	return zcipc_ucmd_respond(ucmd);
}

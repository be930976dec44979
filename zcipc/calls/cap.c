// SPDX-License-Identifier: GPL-2.0
/*
 * Calls about capabilities: MAP, UNMAP, DROP, DROP_BATCH, REVOKE.
 */
#include "base/base.h"

#include <linux/cacheflush.h>

#include "base/ucmd.h"
#include "mem/frame.h"
#include "mem/recycle.h"
#include "mem/region.h"
#include "map/file.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/room.h"
#include "calls/calls.h"

/*
 * What frames have now is to be executed. Somebody may have executed something else in them before,
 * and core mm makes instruction caches follow once for each page. The caller holds the region's
 * lock.
 */
static void zcipc_cap_has_code(const struct zcipc_region *region, unsigned long first,
			       unsigned long npages)
{
	unsigned long i;

	if (!ARCH_IMPLEMENTS_FLUSH_DCACHE_PAGE)
		return;
	for (i = first; i < first + npages; i++) {
		if (region->frames[i])
			flush_dcache_page(zcipc_frame_page(region->frames[i]));
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
}

/**
 * zcipc_cap_map_file() - map a range of a file's region in the current task's address space
 * @holder: the file of the task's endpoint
 * @token: a capability that names the range and has the rights
 * @region: of the file
 * @first: first page of the range
 * @npages: number of pages
 * @writable: it is to be writable
 * @addr: [out] where it is
 *
 * Context: May sleep; no lock is held.
 * Return: 0 or an errno of struct zcipc_map
 */
int zcipc_cap_map_file(struct file *holder, u64 token, struct zcipc_region *region,
		       unsigned long first, unsigned long npages, bool writable, u64 *addr)
{
	struct zcipc_endpoint *ep = holder->private_data;
	struct zcipc_slot *slot;
	struct zcipc_view *view;
	struct zcipc_cap *cap;
	unsigned long pgoff;
	int ret;

	view = zcipc_file_view(holder, &ep->space, region, first, npages, writable);
	if (IS_ERR(view))
		return PTR_ERR(view);
	slot = zcipc_slot_alloc(ep->space.user);
	if (IS_ERR(slot)) {
		ret = PTR_ERR(slot);
		goto out;
	}
	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find_locked(ep, ep, token);
	ret = PTR_ERR_OR_ZERO(cap);
	if (!ret) {
		ret = zcipc_file_enter(view, slot, &cap->extent, first, &pgoff);
		mutex_unlock(&cap->extent.region->lock);
	}
	mutex_unlock(&ep->space.lock);
	if (ret)
		zcipc_slot_free(slot, ep->space.user);
	else
		ret = zcipc_file_map(view, pgoff, addr);
out:
	/* VMAs have references of their own. */
	fput(view->file);
	return ret;
}

/*
 * Places a range of a capability in a window or, if it is to be executed, outside of them. The
 * caller holds the locks of the endpoint and the region.
 */
static int zcipc_cap_place(struct zcipc_cap *cap, struct zcipc_slot *slot, unsigned long first,
			   unsigned long npages, struct zcipc_map *cmd)
{
	bool only = !cap->extent.nslots && list_is_singular(&cap->extent.region->extents);
	bool writable = cmd->rights & ZCIPC_RIGHT_WRITE;
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_space *space = cap->extent.space;
	unsigned int which = zcipc_region_window(space, region, region->npinned, writable);
	unsigned long pgoff;
	int ret;

	if (cap->extent.nslots >= ZCIPC_MAX_SLOTS)
		return -ENOBUFS;
	if (cmd->rights & ZCIPC_RIGHT_EXEC)
		ret = zcipc_window_reserve_outside(space, npages, &pgoff);
	else
		ret = zcipc_window_reserve(space, which, npages,
					   zcipc_region_alignment(region, first, npages, only),
					   &pgoff);
	if (ret)
		return ret;
	zcipc_slot_install(slot, &cap->extent, pgoff, first, npages, writable);
	cmd->addr = zcipc_slot_addr(slot);
	return 0;
}

/* ZCIPC_IOC_MAP */
int zcipc_cap_map(struct zcipc_ucmd *ucmd)
{
	struct zcipc_map *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct mm_struct *mm = ep->space.mm;
	bool exec = cmd->rights & ZCIPC_RIGHT_EXEC;
	struct zcipc_region *region;
	unsigned long first, npages;
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;
	int ret;

	if (cmd->__reserved || !(cmd->rights & ZCIPC_RIGHT_READ) ||
	    cmd->rights & ~(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_EXEC) ||
	    (cmd->rights & ZCIPC_RIGHT_WRITE && exec))
		return -EINVAL;
	if (zcipc_ucmd_probe(ucmd))
		return -EFAULT;
	slot = zcipc_slot_alloc(ep->space.user);
	if (IS_ERR(slot))
		return PTR_ERR(slot);
	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find_locked(ep, ep, cmd->cap);
	if (IS_ERR(cap)) {
		mutex_unlock(&ep->space.lock);
		zcipc_slot_free(slot, ep->space.user);
		return PTR_ERR(cap);
	}
	region = zcipc_region_get(cap->extent.region);
	ret = zcipc_cap_range(cap, cmd->offset, cmd->len, &first, &npages);
	if (!ret && cmd->rights & ~cap->rights)
		ret = -EACCES;
	if (!ret && !region->file)
		ret = zcipc_cap_place(cap, slot, first, npages, cmd);
	mutex_unlock(&ep->space.lock);
	if (!ret && !region->file) {
		if (exec) {
			zcipc_cap_has_code(region, first, npages);
		} else if (mmap_read_trylock(mm)) {
			/* Else faults do. */
			zcipc_slot_populate_long(slot);
			mmap_read_unlock(mm);
		}
		slot = NULL;
	}
	mutex_unlock(&region->lock);
	zcipc_slot_free(slot, ep->space.user);
	if (!ret && region->file)
		ret = zcipc_cap_map_file(ucmd->file, cmd->cap, region, first, npages,
					 cmd->rights & ZCIPC_RIGHT_WRITE, &cmd->addr);
	zcipc_region_put(region);
	if (!ret)
		zcipc_ucmd_respond(ucmd);
	return ret;
}

/* ZCIPC_IOC_UNMAP */
int zcipc_cap_unmap(struct zcipc_ucmd *ucmd)
{
	struct zcipc_unmap *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	bool offset = cmd->flags & ZCIPC_UNMAP_OFFSET;
	int ret;

	if (!PAGE_ALIGNED(cmd->addr))
		return -EINVAL;
	ret = zcipc_window_remove_at(&ep->space, offset ? cmd->addr : zcipc_untagged(cmd->addr),
				     offset);
	if (ret)
		return ret;
	mutex_lock(&ep->space.lock);
	zcipc_endpoint_made_room(ep);
	mutex_unlock(&ep->space.lock);
	return 0;
}

/* Finds the next view above an address that a capability for a file gave. */
static bool zcipc_cap_view_above(const struct zcipc_cap *cap, u64 *addr)
{
	const struct zcipc_slot *slot;
	u64 next = U64_MAX;

	list_for_each_entry(slot, &cap->extent.slots, entry)
		if (slot->addr > *addr)
			next = min(next, slot->addr);
	*addr = next;
	return next != U64_MAX;
}

/*
 * The endpoint that keeps a region whose capability is dropped, with a reference unless it is @ep,
 * or NULL. @back: @ep agrees that it is who created the region. The caller holds the locks of @ep
 * and of the region.
 */
static struct zcipc_endpoint *zcipc_cap_keeper(struct zcipc_endpoint *ep,
					       const struct zcipc_cap *cap, bool back)
{
	const struct zcipc_region *region = cap->extent.region;
	struct zcipc_endpoint *maker;

	/* Whoever could not read it does not say what is to become of its contents. */
	if (cap->extent.npages != region->npages || !(cap->rights & ZCIPC_RIGHT_READ))
		return NULL;
	if (back && region->maker && region->maker != ep->space.id) {
		maker = zcipc_endpoint_get(region->maker);
		/* Nobody gets what another user pays for. */
		if (!IS_ERR(maker) && READ_ONCE(maker->kept.wanted) &&
		    maker->kept.user == region->user)
			return maker;
		if (!IS_ERR(maker))
			zcipc_endpoint_put(maker);
	}
	return READ_ONCE(ep->kept.wanted) ? ep : NULL;
}

/* Drops a capability. No lock is held. Returns 0 or an errno of struct zcipc_drop. */
static int zcipc_cap_drop_one(struct zcipc_endpoint *ep, u64 token, bool back)
{
	struct zcipc_endpoint *keeper = NULL;
	struct zcipc_region *region = NULL;
	struct zcipc_cap *cap;
	u64 last = 0;
	int ret;

again:
	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find_locked(ep, ep, token);
	if (IS_ERR(cap)) {
		mutex_unlock(&ep->space.lock);
		return PTR_ERR(cap);
	}
	if (cap->extent.region->file && zcipc_cap_view_above(cap, &last)) {
		mutex_unlock(&cap->extent.region->lock);
		mutex_unlock(&ep->space.lock);
		/* What is not there is in pieces, or another thread is unmapping it. */
		ret = zcipc_file_unmap_at(&ep->space, last, token);
		if (ret && ret != -ENOENT)
			return ret;
		goto again;
	}
	if (cap->extent.nslots && cap->slot.addr && cap->slot.nmapped) {
		zcipc_cap_forget(cap);
	} else {
		keeper = zcipc_cap_keeper(ep, cap, back || ep->dropped == ZCIPC_DROPPED_RETURN);
		if (keeper)
			region = zcipc_region_get(cap->extent.region);
		zcipc_cap_remove_locked(cap);
		zcipc_endpoint_made_room(ep);
	}
	mutex_unlock(&ep->space.lock);
	zcipc_test_point("keeps");
	if (region && !zcipc_recycle_keep(&keeper->kept, region))
		zcipc_region_put(region);
	if (keeper && keeper != ep)
		zcipc_endpoint_put(keeper);
	return 0;
}

/* ZCIPC_IOC_DROP */
int zcipc_cap_drop(struct zcipc_ucmd *ucmd)
{
	struct zcipc_drop *cmd = ucmd->cmd;

	return zcipc_cap_drop_one(ucmd->ep, cmd->cap, cmd->flags & ZCIPC_DROP_RETURN);
}

/* ZCIPC_IOC_DROP_BATCH */
int zcipc_cap_drop_batch(struct zcipc_ucmd *ucmd)
{
	struct zcipc_drop_batch *cmd = ucmd->cmd;
	const u64 __user *user = u64_to_user_ptr((u64)zcipc_untagged(cmd->caps));
	u64 token;
	int ret = 0;
	u32 n;

	if (!cmd->ncaps || cmd->ncaps > ZCIPC_MAX_BATCH)
		return -EINVAL;
	if (zcipc_ucmd_probe(ucmd))
		return -EFAULT;
	for (n = 0; n < cmd->ncaps; n++) {
		ret = get_user(token, user + n);
		if (!ret && n && fatal_signal_pending(current))
			ret = -EINTR;
		if (!ret)
			ret = zcipc_cap_drop_one(ucmd->ep, token, cmd->flags & ZCIPC_DROP_RETURN);
		if (ret)
			break;
		cond_resched();
	}
	if (!n)
		return ret;
	cmd->dropped = n;
	zcipc_ucmd_respond(ucmd);
	return 0;
}

/* Is a capability derived from one of an endpoint's? The caller holds the region's lock. */
static bool zcipc_cap_is_derived(const struct zcipc_cap *cap, const struct zcipc_endpoint *ep)
{
	while ((cap = cap->parent))
		if (zcipc_cap_ep(cap) == ep)
			return true;
	return false;
}

/* ZCIPC_IOC_REVOKE */
int zcipc_cap_revoke(struct zcipc_ucmd *ucmd)
{
	struct zcipc_revoke *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_endpoint *owner = ep;
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	int ret;

	if (zcipc_ucmd_probe(ucmd))
		return -EFAULT;
	if (cmd->peer && cmd->peer != ep->space.id) {
		owner = zcipc_endpoint_get(cmd->peer);
		if (IS_ERR(owner))
			return PTR_ERR(owner);
	}
	cap = zcipc_cap_find_region(owner, cmd->cap);
	ret = PTR_ERR_OR_ZERO(cap);
	if (!ret) {
		region = cap->extent.region;
		if (owner == ep || zcipc_cap_is_derived(cap, ep))
			cmd->revoked = zcipc_cap_kill_tree(cap, cmd->flags & ZCIPC_REVOKE_KEEP,
							   ep);
		else
			ret = -ENOENT;
		zcipc_test_point("killed");
		mutex_unlock(&region->lock);
		zcipc_test_point("revoked");
		if (!ret)
			zcipc_cap_reap(region, cmd->revoked);
		zcipc_region_put(region);
	}
	if (owner != ep) {
		zcipc_endpoint_put(owner);
		/* Nobody needs to know what tokens others have, or had. */
		ret = ret ? -ENOENT : 0;
	}
	if (!ret)
		zcipc_ucmd_respond(ucmd);
	return ret;
}

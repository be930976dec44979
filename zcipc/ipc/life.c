// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints: how they come to life, and die.
 *
 * An endpoint dies when its address space does or its file is released, whichever comes first: a
 * child that inherited the file descriptor must not keep what was sent to its parent, and nor must
 * what a process executes later. An endpoint stays in memory until the last reference is gone.
 *
 * What is mapped from an endpoint tells of the end of the address space, when it is closed. Of an
 * endpoint that has nothing mapped for a while an MMU notifier does, which all of an address space
 * have in common. Not of all: whoever has one pays for it each time that anything is unmapped.
 */
#include "base/base.h"

#include <linux/mmu_notifier.h>

#include "mem/account.h"
#include "mem/plan.h"
#include "mem/recycle.h"
#include "mem/region.h"
#include "map/space.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"
#include "ipc/queue.h"
#include "ipc/room.h"

/* An endpoint has so long to map something. */
#define ZCIPC_WATCH_DELAY	(HZ / 4)

/**
 * struct zcipc_mm - an address space with endpoints that nothing is mapped from
 * @notifier: tells when it ends; a reference for each endpoint that has ever been such a one
 * @endpoints: which are these, if they are not dead; zcipc_mm_lock
 */
struct zcipc_mm {
	struct mmu_notifier notifier;
	struct list_head endpoints;
};

/* Nothing is done under it but to change such a list. */
static DEFINE_MUTEX(zcipc_mm_lock);

/*
 * The address space ends: by exit or exec of the last one who used it. Files may live on, in other
 * processes or in what has been executed.
 */
static void zcipc_mm_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct zcipc_mm *zmm = container_of(notifier, struct zcipc_mm, notifier);
	struct zcipc_endpoint *ep;

	mutex_lock(&zcipc_mm_lock);
	while ((ep = list_first_entry_or_null(&zmm->endpoints, struct zcipc_endpoint, mm_entry))) {
		kref_get(&ep->kref);
		list_del_init(&ep->mm_entry);
		mutex_unlock(&zcipc_mm_lock);
		zcipc_endpoint_shutdown(ep);
		zcipc_endpoint_put(ep);
		mutex_lock(&zcipc_mm_lock);
	}
	mutex_unlock(&zcipc_mm_lock);
}

static struct mmu_notifier *zcipc_mm_alloc(struct mm_struct *mm)
{
	struct zcipc_mm *zmm = kzalloc(sizeof(*zmm), GFP_KERNEL);

	if (!zmm)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&zmm->endpoints);
	return &zmm->notifier;
}

static void zcipc_mm_free(struct mmu_notifier *notifier)
{
	kfree(container_of(notifier, struct zcipc_mm, notifier));
}

static const struct mmu_notifier_ops zcipc_mm_ops = {
	.release = zcipc_mm_release,
	.alloc_notifier = zcipc_mm_alloc,
	.free_notifier = zcipc_mm_free,
};

/*
 * Has an endpoint told when its address space ends, which somebody uses. Returns false if that is
 * to be tried again: nobody waits for whoever has the mmap_lock.
 */
static bool zcipc_mm_watch(struct zcipc_endpoint *ep)
{
	struct mmu_notifier *notifier;
	struct zcipc_mm *zmm;

	if (rwsem_is_locked(&ep->space.mm->mmap_lock))
		return false;
	notifier = mmu_notifier_get(&zcipc_mm_ops, ep->space.mm);
	if (IS_ERR(notifier))
		return false;
	zmm = container_of(notifier, struct zcipc_mm, notifier);
	mutex_lock(&ep->space.lock);
	ep->notifier = notifier;
	if (!ep->space.dead) {
		mutex_lock(&zcipc_mm_lock);
		list_add_tail(&ep->mm_entry, &zmm->endpoints);
		mutex_unlock(&zcipc_mm_lock);
	}
	mutex_unlock(&ep->space.lock);
	return true;
}

/* Not of one that is dead: its shutdown sees to it that nothing is queued, or will be. */
static void zcipc_endpoint_watch_soon(struct zcipc_endpoint *ep)
{
	mutex_lock(&ep->space.lock);
	kref_get(&ep->kref);
	if (ep->space.dead || ep->notifier ||
	    !queue_delayed_work(zcipc_workers, &ep->watch, ZCIPC_WATCH_DELAY))
		zcipc_endpoint_put(ep);
	mutex_unlock(&ep->space.lock);
}

/* An endpoint has existed for a while, or something of it has been unmapped. */
static void zcipc_endpoint_watch(struct work_struct *work)
{
	struct zcipc_endpoint *ep = container_of(to_delayed_work(work), struct zcipc_endpoint,
						 watch);

	if (!mmget_not_zero(ep->space.mm)) {
		zcipc_endpoint_shutdown(ep);
	} else {
		/* What is mapped from it has its inode, but for views, which do not count. */
		if (!READ_ONCE(ep->space.dead) && !ep->notifier &&
		    !mapping_mapped(ep->space.inode->i_mapping) && !zcipc_mm_watch(ep))
			zcipc_endpoint_watch_soon(ep);
		/* If it ends with this, others do not wait for that. */
		mmput_async(ep->space.mm);
	}
	zcipc_endpoint_put(ep);
}

/*
 * Something that was mapped from an endpoint is closed. If the address space goes away, the
 * endpoint does, although a child may keep the file open.
 */
static void zcipc_endpoint_closed(struct zcipc_space *space)
{
	struct zcipc_endpoint *ep = container_of(space, struct zcipc_endpoint, space);

	if (!atomic_read(&space->mm->mm_users))
		zcipc_endpoint_shutdown(ep);
	else
		zcipc_endpoint_watch_soon(ep);
}

static void zcipc_endpoint_changed(struct zcipc_space *space)
{
	zcipc_endpoint_wake_all(container_of(space, struct zcipc_endpoint, space));
}

static const struct zcipc_space_ops zcipc_life_ops = {
	.changed = zcipc_endpoint_changed,
	.closed = zcipc_endpoint_closed,
	.unplaced = zcipc_cap_unplaced,
	.emptied = zcipc_cap_emptied,
};

/* An endpoint for the current process, with one reference, or -EDQUOT, -ENOMEM. May sleep. */
struct zcipc_endpoint *zcipc_endpoint_create(void)
{
	struct zcipc_endpoint *ep = zcipc_endpoint_alloc(&zcipc_life_ops, zcipc_endpoint_watch);

	if (!IS_ERR(ep))
		zcipc_endpoint_watch_soon(ep);
	return ep;
}

/* Gives what a MOVE brought back to its sender, if it is still there. */
static void zcipc_message_give_back(struct zcipc_endpoint *ep, struct zcipc_endpoint *sender,
				    u64 token)
{
	struct zcipc_plan plan = {
		.take = true, .node = NUMA_NO_NODE, .spares = LIST_HEAD_INIT(plan.spares),
	};
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	int ret;

	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return;
	region = cap->extent.region;
	plan.cache = region->cache;
	plan.others = sender->space.user != region->user;
	/* This may take long. */
	zcipc_test_point("returns");
	zcipc_region_unmap(region, cap->extent.first, cap->extent.npages, NULL);
	/* The dead peer may have used the memory before it asked for the message. */
	ret = zcipc_region_plan(region, cap->extent.first, cap->extent.npages,
				GFP_KERNEL | __GFP_NOFAIL, &plan);
	zcipc_endpoints_lock(ep, sender);
	if (ret || sender->space.dead ||
	    zcipc_cap_reserve(sender, 1, GFP_KERNEL | __GFP_NOFAIL)) {
		zcipc_region_plan_free(&plan);
		zcipc_endpoints_unlock(ep, sender);
		goto out;
	}
	zcipc_cap_give(cap, sender);
	cap->rights = cap->msg.sender_rights;
	zcipc_count(&ep->space, region, COPIED_HELD, plan.held);
	zcipc_count(&ep->space, region, COPIED_PARTS, (u64)plan.nloose << PAGE_SHIFT);
	/* It is not in the sender's window. */
	cap->msg = (struct zcipc_message) {
		.type = cap->msg.type,
		.flags = ZCIPC_MESSAGE_RETURNED,
		.region = cap->msg.region,
		.offset = cap->msg.offset,
		.len = cap->msg.len,
		.cookie = cap->msg.cookie,
	};
	zcipc_message_queue(sender, &cap->msg, ep);
	zcipc_count(&sender->space, region, RETURNED, 1);
	zcipc_endpoints_unlock(ep, sender);
	/* With the region's lock alone: nobody has used the capability yet. */
	zcipc_region_replace(region, cap->extent.first, &plan);
	zcipc_charge_force(sender->space.user, region->ncharged);
	zcipc_charge_pins(sender->space.user, region->npinned, ULONG_MAX);
	zcipc_region_own(region, sender->space.user);
out:
	zcipc_region_unlock_put(region);
}

/*
 * What was moved to an endpoint that has died goes back to the sender, beyond all limits. If that
 * is not possible, or not what the sender wants, it stays, as all else: the capabilities are
 * dropped next. No lock is held.
 */
static void zcipc_message_return_all(struct zcipc_endpoint *ep)
{
	struct zcipc_endpoint *sender;
	struct zcipc_message *msg;
	struct zcipc_cap *cap;
	u64 sender_id, token;

	mutex_lock(&ep->space.lock);
	zcipc_ring_remove(ep);
	while ((msg = list_first_entry_or_null(&ep->messages, struct zcipc_message, entry))) {
		cap = zcipc_message_cap(msg);
		zcipc_message_unqueue(ep, msg);
		if (zcipc_message_alone(msg)) {
			zcipc_cap_free(cap);
			continue;
		}
		if (msg->type != ZCIPC_MOVE || msg->flags & ZCIPC_MESSAGE_RETURNED)
			continue;
		token = cap->extent.token;
		sender_id = msg->sender;
		mutex_unlock(&ep->space.lock);
		/* From here on the capability can be revoked. */
		sender = zcipc_endpoint_get(sender_id);
		if (!IS_ERR(sender)) {
			if (READ_ONCE(sender->unreceived) == ZCIPC_UNRECEIVED_RETURN)
				zcipc_message_give_back(ep, sender, token);
			zcipc_endpoint_put(sender);
		}
		mutex_lock(&ep->space.lock);
	}
	mutex_unlock(&ep->space.lock);
}

/**
 * zcipc_endpoint_shutdown() - everything comes to an end
 * @ep: the endpoint. Only the first call does something: what was moved to it and not received
 *	goes back to the senders, all else is dropped
 *
 * Context: May sleep. The caller may hold the mmap_lock of the endpoint's own mm if nobody uses
 * that any more.
 */
void zcipc_endpoint_shutdown(struct zcipc_endpoint *ep)
{
	bool first;

	mutex_lock(&ep->space.lock);
	first = !ep->space.dead;
	WRITE_ONCE(ep->space.dead, true);
	mutex_unlock(&ep->space.lock);
	if (!first)
		return;
	if (cancel_delayed_work(&ep->watch))
		zcipc_endpoint_put(ep);
	mutex_lock(&zcipc_mm_lock);
	list_del_init(&ep->mm_entry);
	mutex_unlock(&zcipc_mm_lock);
	zcipc_endpoint_unpublish(ep);
	wake_up_all(&ep->recv_wait);
	wake_up_all(&ep->room_wait);
	zcipc_test_point("shutdown");

	zcipc_message_return_all(ep);
	mutex_lock(&ep->space.lock);
	zcipc_cap_remove_all(ep);
	zcipc_notice_release(ep, ep->spare);
	ep->spare = NULL;
	mutex_unlock(&ep->space.lock);
	zcipc_recycle_end(&ep->kept);
}

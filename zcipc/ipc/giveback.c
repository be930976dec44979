// SPDX-License-Identifier: GPL-2.0
/*
 * What was moved to a receiver that has died goes back to its sender.
 */
#include <linux/list.h>

#include <linux/zcipc.h>

#include "base/test.h"
#include "mem/account.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/giveback.h"
#include "ipc/message.h"
#include "ipc/queue.h"
#include "ipc/ring.h"

/* Gives what a MOVE brought back to its sender, if it is still there. */
static void zcipc_message_give_back(struct zcipc_endpoint *ep, struct zcipc_endpoint *sender,
				    u64 token)
{
	struct zcipc_region *region;
	struct zcipc_plan plan = {
		.take = true, .node = NUMA_NO_NODE, .spares = LIST_HEAD_INIT(plan.spares),
	};
	unsigned long first;
	struct zcipc_cap *cap;
	int ret;

	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return;
	region = cap->extent.region;
	first = cap->extent.first;
	plan.cache = region->cache;
	plan.others = sender->space.user != region->user;
	/* This may take long. */
	zcipc_test_point("returns");
	zcipc_region_unmap(region, cap->extent.first, cap->extent.npages, NULL);
	/* The dead peer may have used the memory before it asked for the message. */
	ret = zcipc_region_plan(region, cap->extent.first, cap->extent.npages,
				GFP_KERNEL | __GFP_NOFAIL, &plan);
	zcipc_endpoints_lock(ep, sender);
	if (ret)
		goto out_unlock;
	if (sender->space.dead || zcipc_cap_reserve(sender, 1, GFP_KERNEL | __GFP_NOFAIL)) {
		zcipc_region_plan_free(&plan);
		goto out_unlock;
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
	zcipc_region_replace(region, first, &plan);
	zcipc_charge_force(sender->space.user, region->ncharged);
	zcipc_charge_pins_force(sender->space.user, region->npinned);
	zcipc_region_own(region, sender->space.user);
	zcipc_region_unlock_put(region);
	return;
out_unlock:
	zcipc_endpoints_unlock(ep, sender);
	zcipc_region_unlock_put(region);
}

/**
 * zcipc_message_return_all() - what becomes of the messages of a receiver that died
 * @ep: the receiver, dead
 *
 * What was moved to it goes back to the sender, beyond all limits. If that is not possible, or not
 * what the sender wants, it stays with the receiver, whose capabilities are dropped next.
 *
 * Context: May sleep.
 */
void zcipc_message_return_all(struct zcipc_endpoint *ep)
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

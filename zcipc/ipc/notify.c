// SPDX-License-Identifier: GPL-2.0
/*
 * Notifications: messages about memory that the receiver has already.
 *
 * A capability has but one message of its own, which tells that it came. So a notification has
 * memory for itself. It goes when its capability does, or when it is received; then the endpoint
 * keeps one for the next, so that who notifies and receives by turns allocates nothing.
 *
 * Nothing is derived or mapped, so no mmap_lock is needed. The locks of both endpoints and of the
 * region keep the two capabilities as they are until the message is in the queue. There whoever
 * takes the receiver's away finds it.
 */
#include <linux/slab.h>

#include <linux/zcipc.h>

#include "base/limits.h"
#include "base/trace.h"
#include "mem/account.h"
#include "mem/region.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/notify.h"
#include "ipc/policy.h"
#include "ipc/queue.h"

/* What one takes. */
#define ZCIPC_NOTICE_BYTES	kmalloc_size_roundup(sizeof(struct zcipc_notice))

/*
 * Memory for one, charged to whom it is for, or -EDQUOT, -ENOMEM. The caller holds the endpoint's
 * lock, and others wait for that.
 */
static struct zcipc_notice *zcipc_notice_alloc(struct zcipc_endpoint *ep)
{
	struct zcipc_notice *notice = NULL;
	int ret;

	swap(ep->spare, notice);
	if (notice)
		return notice;
	ret = zcipc_charge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	if (ret)
		return ERR_PTR(ret);
	notice = kmalloc(sizeof(*notice), ZCIPC_GFP_LOCKED | __GFP_ACCOUNT);
	if (notice)
		return notice;
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	return ERR_PTR(-ENOMEM);
}

/* Frees a notification that is nowhere, or NULL. */
void zcipc_notice_release(struct zcipc_endpoint *ep, struct zcipc_notice *notice)
{
	if (!notice)
		return;
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	kfree(notice);
}

/**
 * zcipc_notice_free() - the end of a notification that is in no queue any more
 * @ep: whom it is for; the caller holds its lock
 * @notice: the notification
 */
void zcipc_notice_free(struct zcipc_endpoint *ep, struct zcipc_notice *notice)
{
	lockdep_assert_held(&ep->space.lock);
	list_del(&notice->entry);
	swap(ep->spare, notice);
	zcipc_notice_release(ep, notice);
}

/**
 * zcipc_notices_end() - a capability leaves its endpoint
 * @cap: the capability; the caller holds its endpoint's lock
 *
 * Nobody hears what has not been received about it.
 */
void zcipc_notices_end(struct zcipc_cap *cap)
{
	struct zcipc_notice *notice, *next;

	lockdep_assert_held(&zcipc_cap_ep(cap)->space.lock);
	list_for_each_entry_safe(notice, next, &cap->notices, entry) {
		zcipc_message_unqueue(zcipc_cap_ep(cap), &notice->msg);
		zcipc_notice_free(zcipc_cap_ep(cap), notice);
	}
}

/*
 * What of the peer's a notification is about: a capability for what @cap is for, or an error that
 * tells nothing about any other. Sets where the range begins in it. The caller holds all locks.
 */
static struct zcipc_cap *zcipc_notify_find(struct zcipc_endpoint *peer, const struct zcipc_cap *cap,
					   const struct zcipc_notify *cmd, u64 len, u64 *offset)
{
	struct zcipc_cap *theirs = cap->parent;
	u64 start = ((u64)cap->extent.first << PAGE_SHIFT) + cmd->offset;

	if (cmd->peer_cap)
		theirs = zcipc_cap_find(peer, cmd->peer_cap);
	if (IS_ERR_OR_NULL(theirs) || zcipc_cap_ep(theirs) != peer ||
	    theirs->extent.region != cap->extent.region)
		return ERR_PTR(-ENOENT);
	if (start < (u64)theirs->extent.first << PAGE_SHIFT ||
	    start + len > (u64)(theirs->extent.first + theirs->extent.npages) << PAGE_SHIFT)
		return ERR_PTR(-ENOENT);
	*offset = start - ((u64)theirs->extent.first << PAGE_SHIFT);
	return theirs;
}

/* Queues the message. The caller holds all locks. */
static int zcipc_notify_send(struct zcipc_endpoint *ep, struct zcipc_endpoint *peer,
			     const struct zcipc_cap *cap, const struct zcipc_notify *cmd)
{
	u64 size = (u64)cap->extent.npages << PAGE_SHIFT, len, offset;
	struct zcipc_notice *notice;
	struct zcipc_cap *theirs;

	if (cmd->offset >= size || cmd->len > size - cmd->offset)
		return -EINVAL;
	len = cmd->len ?: size - cmd->offset;
	theirs = zcipc_notify_find(peer, cap, cmd, len, &offset);
	if (IS_ERR(theirs))
		return PTR_ERR(theirs);
	if (!zcipc_message_room(peer))
		return -EAGAIN;
	notice = zcipc_notice_alloc(peer);
	if (IS_ERR(notice))
		return PTR_ERR(notice);
	notice->msg = zcipc_message_of_notice(cap->extent.region->id, offset, len, cmd->cookie);
	notice->cap = theirs;
	list_add_tail(&notice->entry, &theirs->notices);
	zcipc_count(&ep->space, cap->extent.region, NOTIFICATIONS, 1);
	trace_zcipc_notify(ep->space.id, peer->space.id, notice->msg.region, notice->msg.len);
	zcipc_message_queue(peer, &notice->msg, ep);
	return 0;
}

/**
 * zcipc_notify_try() - notify a peer, if there is room
 * @ep: who does
 * @peer: whom
 * @cmd: of what
 * @room_seq: [out] peer->room_seq, as it was when there was no room
 *
 * Context: May sleep; no lock is held.
 * Return: 0 or an errno of struct zcipc_notify, -EAGAIN if there is no room
 */
int zcipc_notify_try(struct zcipc_endpoint *ep, struct zcipc_endpoint *peer,
		     const struct zcipc_notify *cmd, u32 *room_seq)
{
	struct zcipc_cap *cap;
	int ret;

	zcipc_endpoints_lock(ep, peer);
	cap = zcipc_cap_find_locked(ep, peer, cmd->cap);
	*room_seq = peer->room_seq;
	if (zcipc_space_gone(&peer->space))
		ret = -ESRCH;
	else if (!(cmd->flags & ZCIPC_F_PEER_FD) && !zcipc_endpoint_accepts(peer, ep))
		ret = -EPERM;
	else
		ret = IS_ERR(cap) ? PTR_ERR(cap) : zcipc_notify_send(ep, peer, cap, cmd);
	if (!IS_ERR(cap))
		mutex_unlock(&cap->extent.region->lock);
	zcipc_endpoints_unlock(ep, peer);
	return ret;
}

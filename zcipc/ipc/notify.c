// SPDX-License-Identifier: GPL-2.0
/*
 * Notifications: messages about memory that the receiver has already.
 *
 * Nothing is derived or mapped, so no mmap_lock is needed. The locks of both endpoints and of the
 * region keep the two capabilities as they are until the message is in the queue. There whoever
 * takes the receiver's away finds it.
 */
#include "base/base.h"
#include "base/trace.h"
#include "mem/region.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"
#include "ipc/queue.h"

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
	notice->msg = (struct zcipc_message) {
		.type = ZCIPC_NOTIFIED,
		.region = cap->extent.region->id,
		.offset = offset,
		.len = len,
		.cookie = cmd->cookie,
	};
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

// SPDX-License-Identifier: GPL-2.0
/*
 * Calls about messages: RECV, NOTIFY.
 */
#include "base/base.h"

#include <linux/pid_namespace.h>

#include "base/ucmd.h"
#include "mem/region.h"
#include "map/file.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/message.h"
#include "ipc/queue.h"
#include "ipc/room.h"
#include "calls/calls.h"

/* Takes a message out of the queue once user space has it: -EFAULT means that it has to fault. */
static int zcipc_message_deliver(struct zcipc_ucmd *ucmd, struct zcipc_message *msg)
{
	struct zcipc_recv *cmd = ucmd->cmd;
	int ret;

	lockdep_assert_held(&ucmd->ep->space.lock);
	zcipc_message_describe(msg, cmd);
	cmd->sender_pid = pid_vnr(msg->pid);
	cmd->sender_uid = from_kuid_munged(current_user_ns(), msg->uid);
	cmd->pending = ucmd->ep->nmessages - 1;
	pagefault_disable();
	ret = zcipc_ucmd_respond(ucmd);
	pagefault_enable();
	if (ret)
		return ret;
	if (ucmd->ep->ring)
		zcipc_ring_pass(ucmd->ep, msg);
	zcipc_message_received(ucmd->ep, msg, cmd);
	zcipc_endpoint_made_room(ucmd->ep);
	return 0;
}

/* Of the oldest message, which is about a range of a file that is to be mapped, or NULL. */
static struct zcipc_cap *zcipc_message_unmapped(struct zcipc_endpoint *ep)
{
	struct zcipc_message *msg = zcipc_message_first(ep);

	return msg && msg->unmapped ? zcipc_message_cap(msg) : NULL;
}

/*
 * Maps what the oldest message is about, if it is a range of a file: only a task of the receiver's
 * can do that. Where it does not work the message has no address.
 *
 * If all is well the endpoint's lock is held on return, and @msg is the oldest message, or NULL. So
 * what has just been mapped can be delivered before it is revoked: else nobody would unmap it.
 */
static int zcipc_message_map(struct zcipc_ucmd *ucmd, struct zcipc_message **msg)
{
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_region *region;
	unsigned long first, npages;
	struct zcipc_cap *cap;
	u64 token, addr = 0;
	bool writable;
	int ret;

	/* One after the other: nobody receives it meanwhile. */
	ret = mutex_lock_killable(&ep->space.adopt_lock);
	if (ret)
		return ret;
	mutex_lock(&ep->space.lock);
	cap = zcipc_message_unmapped(ep);
	if (!cap) {
		*msg = zcipc_message_first(ep);
		goto out;
	}
	region = zcipc_region_get(cap->extent.region);
	token = cap->extent.token;
	first = cap->extent.first;
	npages = cap->extent.npages;
	writable = cap->rights & ZCIPC_RIGHT_WRITE;
	mutex_unlock(&ep->space.lock);
	ret = zcipc_cap_map_file(ucmd->file, token, region, first, npages, writable, &addr);
	zcipc_region_put(region);
	zcipc_test_point("mapped");
	if (ret == -EINTR)
		goto out;
	ret = 0;
	mutex_lock(&ep->space.lock);
	cap = zcipc_message_unmapped(ep);
	if (cap && cap->extent.token == token) {
		cap->msg.addr = addr;
		cap->msg.unmapped = false;
		*msg = &cap->msg;
		goto out;
	}
	/* It has been revoked, and nobody will know where it was. */
	if (addr) {
		mutex_unlock(&ep->space.lock);
		vm_munmap(addr, npages << PAGE_SHIFT);
		mutex_lock(&ep->space.lock);
	}
	*msg = zcipc_message_first(ep);
out:
	mutex_unlock(&ep->space.adopt_lock);
	return ret;
}

/* ZCIPC_IOC_RECV */
int zcipc_message_recv(struct zcipc_ucmd *ucmd)
{
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_message *msg;
	int ret;

	zcipc_endpoint_seen(ep);
	for (;;) {
		mutex_lock(&ep->space.lock);
		msg = zcipc_message_first(ep);
		while (msg && msg->unmapped) {
			mutex_unlock(&ep->space.lock);
			ret = zcipc_message_map(ucmd, &msg);
			if (ret)
				return ret;
		}
		ret = msg ? zcipc_message_deliver(ucmd, msg) : -EAGAIN;
		mutex_unlock(&ep->space.lock);
		if (!ret)
			break;
		if (ret == -EFAULT) {
			if (!fault_in_safe_writeable(ucmd->ubuffer, ucmd->user_size))
				continue;
			/* For the next one who waits. */
			wake_up(&ep->recv_wait);
			return ret;
		}
		if (ucmd->nonblock)
			return ret;
		ret = wait_event_interruptible_exclusive(ep->recv_wait,
							 READ_ONCE(ep->nmessages));
		if (ret)
			return ret;
	}
	zcipc_test_point("received");
	return 0;
}

/* ZCIPC_IOC_NOTIFY */
int zcipc_notify(struct zcipc_ucmd *ucmd)
{
	const struct zcipc_notify *cmd = ucmd->cmd;
	struct zcipc_endpoint *peer;
	struct zcipc_room need = {};
	u32 room_seq;
	int ret;

	if (cmd->flags & ~ZCIPC_F_PEER_FD) {
		ret = -EOPNOTSUPP;
		goto out;
	}
	peer = zcipc_endpoint_get_peer(cmd->peer, cmd->flags);
	ret = PTR_ERR_OR_ZERO(peer);
	if (ret)
		goto out;
	while ((ret = zcipc_notify_try(ucmd->ep, peer, cmd, &room_seq)) == -EAGAIN &&
	       !ucmd->nonblock && READ_ONCE(peer->full) == ZCIPC_FULL_WAIT) {
		ret = zcipc_endpoint_wait_room(peer, room_seq, &need);
		if (ret)
			break;
	}
	if (need.turn)
		zcipc_endpoint_pass_turn(peer, need, ret);
	zcipc_endpoint_put(peer);
out:
	if (ret)
		zcipc_endpoint_failed(ucmd->ep, cmd->peer, ZCIPC_NOTIFIED, ret);
	return ret;
}

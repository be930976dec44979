// SPDX-License-Identifier: GPL-2.0
/*
 * NOTIFY.
 */
#include <linux/zcipc.h>

#include "base/ucmd.h"
#include "ipc/endpoint.h"
#include "ipc/notify.h"
#include "ipc/room.h"
#include "calls/calls.h"

/* ZCIPC_IOC_NOTIFY */
int zcipc_notify(struct zcipc_ucmd *ucmd)
{
	const struct zcipc_notify *cmd = ucmd->cmd;
	struct zcipc_endpoint *peer;
	struct zcipc_room need = {};
	bool waited = false;
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
		if (waited)
			zcipc_endpoint_pass_turn(peer, need, ret);
		ret = zcipc_endpoint_wait_room(peer, room_seq, &need);
		if (ret)
			break;
		waited = true;
	}
	if (waited)
		zcipc_endpoint_pass_turn(peer, need, ret);
	zcipc_endpoint_put(peer);
out:
	if (ret)
		zcipc_endpoint_failed(ucmd->ep, cmd->peer, ZCIPC_NOTIFIED, ret);
	return ret;
}

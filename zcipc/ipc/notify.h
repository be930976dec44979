/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Notifications.
 */
#ifndef ZCIPC_NOTIFY_H
#define ZCIPC_NOTIFY_H

#include <linux/types.h>

#include <linux/zcipc.h>

struct zcipc_endpoint;

int zcipc_notify_try(struct zcipc_endpoint *ep, struct zcipc_endpoint *peer,
		     const struct zcipc_notify *cmd, u32 *room_seq);

#endif /* ZCIPC_NOTIFY_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Notifications.
 */
#ifndef ZCIPC_NOTIFY_H
#define ZCIPC_NOTIFY_H

#include <linux/list.h>
#include <linux/types.h>

#include <linux/zcipc.h>

#include "ipc/queue.h"

struct zcipc_cap;
struct zcipc_endpoint;

/**
 * struct zcipc_notice - a notification; all is protected by the endpoint's lock
 * @msg: the message
 * @cap: the capability that it is about, of whom it is for
 * @entry: in cap->notices
 */
struct zcipc_notice {
	struct zcipc_message msg;
	struct zcipc_cap *cap;
	struct list_head entry;
};

void zcipc_notice_release(struct zcipc_endpoint *ep, struct zcipc_notice *notice);
void zcipc_notice_free(struct zcipc_endpoint *ep, struct zcipc_notice *notice);
void zcipc_notices_end(struct zcipc_cap *cap);
int zcipc_notify_try(struct zcipc_endpoint *ep, struct zcipc_endpoint *peer,
		     const struct zcipc_notify *cmd, u32 *room_seq);

#endif /* ZCIPC_NOTIFY_H */

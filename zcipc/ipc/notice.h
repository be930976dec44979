/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Notices: memory for notifications.
 */
#ifndef ZCIPC_NOTICE_H
#define ZCIPC_NOTICE_H

#include <linux/list.h>

#include "ipc/message.h"

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

struct zcipc_notice *zcipc_notice_alloc(struct zcipc_endpoint *ep);
void zcipc_notice_release(struct zcipc_endpoint *ep, struct zcipc_notice *notice);
void zcipc_notice_free(struct zcipc_endpoint *ep, struct zcipc_notice *notice);

#endif /* ZCIPC_NOTICE_H */

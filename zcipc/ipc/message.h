/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages: what they say.
 */
#ifndef ZCIPC_MESSAGE_H
#define ZCIPC_MESSAGE_H

#include "base/base.h"

struct zcipc_cap;
struct zcipc_endpoint;

/**
 * struct zcipc_message - tells an endpoint what it got. Part of a capability, or a notification
 * @entry: in ep->messages or the ring's, or empty
 * @type: enum zcipc_type or enum zcipc_message_type
 * @flags: enum zcipc_message_flags
 * @region: the region's id
 * @addr: where it is mapped, or 0; of a notification it is found out when it is received
 * @offset: where it begins in the capability's range, in bytes
 * @len: bytes
 * @cookie: the sender's
 * @sender: endpoint id
 * @pid: the sender's thread group, with a reference until the message is received
 * @uid: the sender's effective user
 * @sender_rights: what the sender had, and gets back if it comes back
 * @unheard: the capability was revoked before the endpoint received the message, and never will
 * @unmapped: it is a range of a file, which the endpoint has to map when it receives this
 * @shown: it has been put into a ring: the owner may know of it, though it has not received it
 * @number: which in the ring
 */
struct zcipc_message {
	struct list_head entry;
	u32 type;
	u32 flags;
	u64 region;
	u64 addr;
	u64 offset;
	u64 len;
	u64 cookie;
	u64 sender;
	struct pid *pid;
	kuid_t uid;
	u32 sender_rights;
	bool unheard;
	bool unmapped;
	bool shown;
	u32 number;
};

/*
 * What a message says. No message is another one that has been changed: each is made as a whole,
 * but for what zcipc_message_queue() sets.
 */
static __always_inline struct zcipc_message
zcipc_message_of_transfer(u32 type, u64 region, u64 addr, u64 offset, u64 len, u64 cookie,
			  u32 sender_rights, bool unmapped)
{
	return (struct zcipc_message) {
		.type = type,
		.region = region,
		.addr = addr,
		.offset = offset,
		.len = len,
		.cookie = cookie,
		.sender_rights = sender_rights,
		.unmapped = unmapped,
	};
}

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
void zcipc_message_unqueue(struct zcipc_endpoint *ep, struct zcipc_message *msg);
void zcipc_message_describe(const struct zcipc_message *msg, struct zcipc_recv *recv);
void zcipc_message_received(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			    const struct zcipc_recv *recv);
struct zcipc_cap *zcipc_message_cap(const struct zcipc_message *msg);

/* notify.c */
int zcipc_notify_try(struct zcipc_endpoint *ep, struct zcipc_endpoint *peer,
		     const struct zcipc_notify *cmd, u32 *room_seq);

/* The capability is in no table. */
static inline bool zcipc_message_alone(const struct zcipc_message *msg)
{
	return msg->type == ZCIPC_REVOKED;
}

#endif /* ZCIPC_MESSAGE_H */

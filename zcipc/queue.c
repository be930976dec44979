// SPDX-License-Identifier: GPL-2.0
/*
 * Messages: queue, receive, and the way back to the sender.
 */
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "zcipc.h"

/**
 * zcipc_message_alloc() - a message that says who sends it
 * @sender: the sender
 *
 * Context: May sleep.
 * Return: the message, or NULL
 */
struct zcipc_message *zcipc_message_alloc(const struct zcipc_endpoint *sender)
{
	struct zcipc_message *msg = kzalloc(sizeof(*msg), GFP_KERNEL_ACCOUNT);

	if (msg) {
		msg->sender = sender->id;
		msg->pid = get_pid(sender->pid);
		msg->uid = sender->cred->euid;
	}
	return msg;
}

void zcipc_message_free(struct zcipc_message *msg)
{
	if (!msg)
		return;
	put_pid(msg->pid);
	kfree(msg);
}

/* Appends a message. The caller holds the endpoint's lock and has looked for room. */
void zcipc_message_queue(struct zcipc_endpoint *ep, struct zcipc_message *msg)
{
	lockdep_assert_held(&ep->lock);
	list_add_tail(&msg->entry, &ep->messages);
	ep->nmessages++;
	zcipc_stat_inc(MESSAGES);
	wake_up(&ep->recv_wait);
}

/* Gives what a MOVE brought back to its sender, if it is still there. Both are locked. */
static bool zcipc_message_give_back(struct zcipc_endpoint *ep, struct zcipc_endpoint *sender,
				    struct zcipc_message *msg)
{
	struct zcipc_cap *cap = zcipc_cap_find(ep, msg->token);
	struct zcipc_region *region;
	u64 copied = 0;

	if (sender->dead || IS_ERR(cap))
		return false;
	region = cap->region;
	mutex_lock(&region->lock);
	zcipc_region_unmap(region, cap->first, cap->npages);
	zcipc_cap_give(cap, sender);
	/* The dead peer may have used the memory before it asked for the message. */
	zcipc_region_isolate(region, cap->first, cap->npages, false, GFP_KERNEL | __GFP_NOFAIL,
			     &copied);
	zcipc_stat_add(COPIED_HELD, copied);
	zcipc_charge_force(sender->user, region->ncharged);
	zcipc_region_own(region, sender->user);
	mutex_unlock(&region->lock);

	msg->flags |= ZCIPC_MESSAGE_RETURNED;
	msg->token = cap->token;
	msg->addr = 0;
	msg->sender = ep->id;
	put_pid(msg->pid);
	msg->pid = get_pid(ep->pid);
	msg->uid = ep->cred->euid;
	zcipc_message_queue(sender, msg);
	zcipc_stat_inc(RETURNED);
	return true;
}

/**
 * zcipc_message_return() - what becomes of a message whose receiver died
 * @ep: the receiver, dead
 * @msg: the message, in no queue; taken over
 *
 * What was moved goes back to the sender, beyond all limits. If that is not possible it stays with
 * the receiver, whose capabilities are dropped next.
 *
 * Context: May sleep.
 */
void zcipc_message_return(struct zcipc_endpoint *ep, struct zcipc_message *msg)
{
	struct zcipc_endpoint *sender = ERR_PTR(-ESRCH);
	bool returned = false;

	zcipc_stat_dec(MESSAGES);
	if (msg->type == ZCIPC_MOVE && !(msg->flags & ZCIPC_MESSAGE_RETURNED))
		sender = zcipc_endpoint_get(msg->sender);
	if (!IS_ERR(sender)) {
		zcipc_endpoints_lock(ep, sender);
		returned = zcipc_message_give_back(ep, sender, msg);
		zcipc_endpoints_unlock(ep, sender);
		zcipc_endpoint_put(sender);
	}
	if (!returned)
		zcipc_message_free(msg);
}

/* Takes the oldest message, or says what to do instead. */
static struct zcipc_message *zcipc_message_next(struct zcipc_endpoint *ep, u32 *pending)
{
	struct zcipc_message *msg;

	mutex_lock(&ep->lock);
	msg = list_first_entry_or_null(&ep->messages, struct zcipc_message, entry);
	if (msg) {
		list_del(&msg->entry);
		*pending = --ep->nmessages;
	}
	mutex_unlock(&ep->lock);
	return msg;
}

/**
 * zcipc_message_recv() - ZCIPC_IOC_RECV
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_recv, or -ERESTARTSYS
 */
int zcipc_message_recv(struct zcipc_ucmd *ucmd)
{
	struct zcipc_recv *cmd = ucmd->cmd;
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_message *msg;
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;
	while (!(msg = zcipc_message_next(ep, &cmd->pending))) {
		if (ucmd->nonblock)
			return -EAGAIN;
		ret = wait_event_interruptible_exclusive(ep->recv_wait,
							 READ_ONCE(ep->nmessages));
		if (ret)
			return ret;
	}
	zcipc_test_point("received");
	cmd->type = msg->type;
	cmd->rights = msg->rights;
	cmd->cap = msg->token;
	cmd->region = msg->region;
	cmd->addr = msg->addr;
	cmd->len = msg->len;
	cmd->cookie = msg->cookie;
	cmd->sender = msg->sender;
	cmd->sender_pid = pid_vnr(msg->pid);
	cmd->sender_uid = from_kuid_munged(current_user_ns(), msg->uid);
	cmd->message_flags = msg->flags;

	ret = zcipc_ucmd_respond(ucmd);
	mutex_lock(&ep->lock);
	if (ret) {
		/* Not told, so not received. */
		list_add(&msg->entry, &ep->messages);
		ep->nmessages++;
		wake_up(&ep->recv_wait);
	} else {
		zcipc_endpoint_made_room(ep);
	}
	mutex_unlock(&ep->lock);
	if (ret)
		return ret;
	zcipc_message_free(msg);
	zcipc_stat_dec(MESSAGES);
	zcipc_stat_inc(RECEIVED);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Endpoints: one open of the device, by one address space.
 *
 * An *endpoint* (one open file, bound to one mm) has a *space*, which is what it has mapped, a
 * table of *capabilities* and a queue of *messages*. A capability names a range of a *region*, its
 * *extent*; a *slot* is a place in the space where a range of an extent is mapped. A region is an
 * array of *frames*, which are pages that count in page->private how many regions they belong to.
 *
 * Locks: see map/space.h. That of the space is the endpoint's.
 */
#ifndef ZCIPC_ENDPOINT_H
#define ZCIPC_ENDPOINT_H

#include "base/base.h"

#include <linux/topology.h>

#include "mem/recycle.h"
#include "mem/region.h"
#include "map/space.h"

struct cred;
struct mmu_notifier;
struct zcipc_accept;
struct zcipc_notice;
struct zcipc_receive_ring;

/**
 * struct zcipc_endpoint - one open of the device
 * @kref: the file has a reference, and everybody who uses it outside of @lock and RCU
 * @rcu: for kfree_rcu(): look-ups by id
 * @cred: the opener's
 * @watch: sees to it that the end of @mm is noticed; has a reference while it is queued
 * @notifier: tells of that, where no VMA would; or NULL. Changes once, under the lock
 * @mm_entry: in the list of those that the notifier tells of, unless it is dead
 * @pid: the opener's thread group, which a later process with the same number does not match
 * @pin_limit: pages that @user may have pinned, as it was when the endpoint was opened
 * @kept: regions that it has dropped, or created and got back, and may want again
 * @space: what it has mapped; space.lock protects everything that follows
 * @caps: the table: index -> struct zcipc_cap, or what cap.c makes of a free entry
 * @caps_size: its size
 * @caps_paid: how many capabilities @user has been charged for
 * @caps_free: index of the first free entry
 * @ncaps: entries that are not free
 * @first_generation: of each index; random, so that another endpoint's tokens are not taken for own
 *	ones. 0: there is no table yet
 * @messages: that wait and are not in the ring, oldest first
 * @nmessages: how many wait, those in the ring included
 * @spare: for the next notification, or NULL
 * @ring: that the owner reads messages from, or NULL
 * @recv_wait: waits for a message
 * @room_wait: peers that wait for room in window or queue: struct zcipc_room_wait
 * @room_turn: of the last one who began to wait; under @room_wait's lock
 * @room_seq: changes when there is more room, or another answer
 * @nreserved: places in queue and table that are taken, but not yet filled
 * @queue_depth: messages that may wait
 * @full: enum zcipc_full
 * @unreceived: enum zcipc_unreceived
 * @dropped: enum zcipc_dropped
 * @name: what the owner calls it
 * @accept: whom it accepts, NULL for ZCIPC_POLICY_USER; read under RCU or @lock
 * @node: the NUMA node where the owner was last seen; no lock
 */
struct zcipc_endpoint {
	struct kref kref;
	struct rcu_head rcu;
	struct delayed_work watch;
	struct mmu_notifier *notifier;
	struct list_head mm_entry;
	const struct cred *cred;
	struct pid *pid;
	unsigned long pin_limit;
	struct zcipc_kept kept;

	struct zcipc_space space;
	void **caps;
	u32 caps_size;
	u32 caps_paid;
	u32 caps_free;
	u32 ncaps;
	u64 first_generation;
	struct list_head messages;
	u32 nmessages;
	struct zcipc_notice *spare;
	struct zcipc_receive_ring *ring;
	wait_queue_head_t recv_wait;
	wait_queue_head_t room_wait;
	u64 room_turn;
	u32 room_seq;
	u32 nreserved;
	u32 queue_depth;
	u32 full;
	u32 unreceived;
	u32 dropped;
	char name[ZCIPC_NAME_LEN];
	struct zcipc_accept __rcu *accept;
	int node;
};

struct zcipc_endpoint *zcipc_endpoint_alloc(const struct zcipc_space_ops *ops, work_func_t watch);
void zcipc_endpoint_unpublish(struct zcipc_endpoint *ep);
struct zcipc_endpoint *zcipc_endpoint_get(u64 id);
struct zcipc_endpoint *zcipc_endpoint_get_peer(u64 peer, u32 flags);
void zcipc_endpoint_put(struct zcipc_endpoint *ep);
bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender);
struct zcipc_accept *zcipc_policy_alloc(struct zcipc_endpoint *ep,
					const struct zcipc_endpoint_config *cmd);
void zcipc_policy_set(struct zcipc_endpoint *ep, struct zcipc_accept *accept);
void zcipc_policy_tell(const struct zcipc_endpoint *ep, struct zcipc_endpoint_config *cmd);
void zcipc_endpoint_failed(struct zcipc_endpoint *sender, u64 peer, u32 type, int error);

/* The owner is here: its memory should be, too. */
static inline void zcipc_endpoint_seen(struct zcipc_endpoint *ep)
{
	if (READ_ONCE(ep->node) != numa_mem_id())
		WRITE_ONCE(ep->node, numa_mem_id());
}

struct zcipc_endpoint *zcipc_endpoint_next(const struct pid *pid, unsigned long *id);

/* life.c */
struct zcipc_endpoint *zcipc_endpoint_create(void);
void zcipc_endpoint_shutdown(struct zcipc_endpoint *ep);

int zcipc_endpoint_init(const struct file_operations *fops);
void zcipc_endpoint_exit(void);

/* Takes the locks of two endpoints, which may be the same, in the order that everybody does. */
static inline void zcipc_endpoints_lock(struct zcipc_endpoint *a, struct zcipc_endpoint *b)
{
	zcipc_spaces_lock(&a->space, &b->space);
}

static inline void zcipc_endpoints_unlock(struct zcipc_endpoint *a, struct zcipc_endpoint *b)
{
	zcipc_spaces_unlock(&a->space, &b->space);
}

#endif /* ZCIPC_ENDPOINT_H */

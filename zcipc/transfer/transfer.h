/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A transfer under way, and its steps: see transfer.c.
 */
#ifndef ZCIPC_TRANSFER_H
#define ZCIPC_TRANSFER_H

#include "base/base.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/slot.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/queue.h"

struct zcipc_carry;
struct zcipc_direct;
struct zcipc_transfer_state;
struct zcipc_ucmd;

/**
 * struct zcipc_transfer_ops - what a kind of transfer is, and what it does at each step
 * @right: that the sender needs
 * @copies: all frames are copied
 * @fresh: the peer gets a new region
 * @places: in the peer's window
 * @admit: what else has to be so before there is room taken in the peer. Sets the window.
 * @work: what can fail then; needs the lock of the region alone
 * @abort: takes @work back
 * @commit: what cannot fail, with all locks
 * @settle: what that leaves to be done beside replacing frames; needs the regions' locks alone
 *
 * What there is nothing to be done for is NULL, but for @admit.
 */
struct zcipc_transfer_ops {
	u32 right;
	bool copies;
	bool fresh;
	bool places;
	int (*admit)(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
	int (*work)(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
	void (*abort)(struct zcipc_transfer_state *t, struct zcipc_region *region);
	void (*commit)(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
	void (*settle)(struct zcipc_transfer_state *t, struct zcipc_region *region);
};

/**
 * enum zcipc_transfer_stage - how far a transfer has come
 * @ZCIPC_PREPARED: nothing is taken from anybody
 * @ZCIPC_ADMITTED: there is room for it in the peer, and the peer's user is charged for pins
 * @ZCIPC_BEGUN: all that can fail is done, and the sender can no longer reach what is moved
 */
enum zcipc_transfer_stage { ZCIPC_PREPARED, ZCIPC_ADMITTED, ZCIPC_BEGUN };

/**
 * enum zcipc_transfer_ptes - what a batch has done to the sender's PTEs of a range
 * @ZCIPC_PTES_LEFT: nothing
 * @ZCIPC_PTES_UNMAPPED: they have gone
 * @ZCIPC_PTES_CARRIED: they have been taken, for the peer, and nobody holds any of the frames
 */
enum zcipc_transfer_ptes { ZCIPC_PTES_LEFT, ZCIPC_PTES_UNMAPPED, ZCIPC_PTES_CARRIED };

/**
 * struct zcipc_transfer_state - a transfer under way
 * @cmd: what was asked for, and the results
 * @src: the sender
 * @dst: the peer, with a reference
 * @ops: which kind it is, once its capability has been found
 * @first: first page of the range in the sender's region
 * @npages: length of the range
 * @rights: of the peer's capability
 * @cache: policy that the peer's region is to have
 * @window: which of the peer's windows it is to be mapped in
 * @stage: how far it has come
 * @ptes: what a batch has done ahead of that
 * @borrowed: the peer is another transfer's, that is freed later
 * @charge: a new region would be charged to somebody who does not pay for the old one
 * @keep_cache: no cache policy changes, since other transfers of the batch may be about the region
 * @brief: it is made with the locks of both endpoints, so there is no time to copy much
 * @window_id: of the window that was the peer's when it was admitted
 * @pgoff: where it is to be mapped there
 * @present: all pages of the range are there; this and the next three as of the last look
 * @torn: of a snapshot: there are blocks to be made huge frames again
 * @npinned: frames that are pinned, later those of the snapshot; 0 where nobody else will pay
 * @nloose: frames of which another user gets copies in any case
 * @pins: charged to the peer's user
 * @cap: for the peer's table, unless the sender's goes over
 * @region: for the peer, if it gets a new one: charged to it, not filled
 * @direct: the memory that it is of, at least in part, or NULL
 * @plan: what becomes of frames that cannot be given away
 * @carry: PTEs that go from the sender to the peer, whose mmap_lock is held; or NULL
 * @gone: the sender's capability, to be freed
 * @revoked: the region of which capabilities have to be reaped, with a reference
 * @nrevoked: how many
 */
struct zcipc_transfer_state {
	struct zcipc_transfer *cmd;
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	const struct zcipc_transfer_ops *ops;
	unsigned long first;
	unsigned long npages;
	u32 rights;
	u32 cache;
	unsigned int window;
	enum zcipc_transfer_stage stage : 8;
	enum zcipc_transfer_ptes ptes : 8;
	bool borrowed;
	bool charge;
	bool keep_cache;
	bool brief;
	bool present;
	bool torn;
	u32 window_id;
	unsigned long pgoff;
	u32 npinned;
	u32 nloose;
	u32 pins;
	struct zcipc_cap *cap;
	struct zcipc_region *region;
	struct zcipc_direct *direct;
	struct zcipc_plan plan;
	struct zcipc_carry *carry;
	struct zcipc_cap *gone;
	struct zcipc_region *revoked;
	u64 nrevoked;
};

/* Is it a MOVE that wants nothing special? Such a thing is always valid. */
static inline bool zcipc_transfer_is_plain(const struct zcipc_transfer *cmd)
{
	return cmd->type == ZCIPC_MOVE && cmd->node == ZCIPC_NODE_ANY &&
	       !(cmd->flags | cmd->rights | cmd->cache | cmd->__reserved);
}

/* peer.c */
int zcipc_transfer_find_peer(struct zcipc_transfer_state *t);
int zcipc_transfer_may_send(const struct zcipc_transfer_state *t);
int zcipc_transfer_reserve(struct zcipc_transfer_state *t, const struct zcipc_region *region);
int zcipc_transfer_recheck(struct zcipc_transfer_state *t);
void zcipc_transfer_plan(struct zcipc_transfer_state *t, const struct zcipc_user *user);
void zcipc_transfer_results(struct zcipc_transfer_state *t, struct zcipc_region *region);
bool zcipc_transfer_lock_mm(struct mm_struct *mm);
void zcipc_transfer_unlock_mm(struct mm_struct *mm);
struct zcipc_cap *zcipc_transfer_deliver(struct zcipc_transfer_state *t, struct zcipc_cap *from);

/*
 * Takes room in an endpoint's queue and table for one message, and in a window for @npages, if
 * there are any, as zcipc_region_alignment() has it. The caller holds its lock. Returns 0 or an
 * errno; -EAGAIN: there is no room.
 */
static inline int zcipc_transfer_room(struct zcipc_endpoint *ep, unsigned int window,
				      unsigned long npages, long align, unsigned long *pgoff)
{
	int ret;

	if (!zcipc_message_room(ep))
		return -EAGAIN;
	ret = zcipc_cap_reserve(ep, 1, ZCIPC_GFP_LOCKED);
	if (ret || !npages)
		return ret;
	return zcipc_window_reserve(&ep->space, window, npages, align, pgoff);
}

/* Sets the window, and finds out whether another cache policy than now is possible. */
static inline int zcipc_transfer_choose_window(struct zcipc_transfer_state *t,
					       const struct zcipc_region *region)
{
	if (t->cache == region->cache) {
		t->window = zcipc_region_window(&t->dst->space, region, region->npinned,
						t->rights & ZCIPC_RIGHT_WRITE);
		return 0;
	}
	t->window = t->cache;
	return t->keep_cache || region->npinned || region->pinnable ? -EOPNOTSUPP : 0;
}

/* zcipc_transfer_room() for a transfer, which zcipc_transfer_abort() gives back. */
static inline int zcipc_transfer_reserve_at(struct zcipc_transfer_state *t, unsigned long npages,
					    long align)
{
	struct zcipc_endpoint *dst = t->dst;
	int ret = zcipc_transfer_room(dst, t->window, npages, align, &t->pgoff);

	if (ret)
		return ret;
	t->window_id = dst->space.windows[t->window].id;
	dst->nreserved++;
	t->stage = ZCIPC_ADMITTED;
	return 0;
}

/* share.c */
extern const struct zcipc_transfer_ops zcipc_share;
extern const struct zcipc_transfer_ops zcipc_grant;
bool zcipc_transfer_others_hold(const struct zcipc_transfer_state *t, const struct zcipc_cap *cap);
int zcipc_transfer_migrate(struct zcipc_transfer_state *t, struct zcipc_cap *cap);

/* copy.c */
extern const struct zcipc_transfer_ops zcipc_snapshot;
extern const struct zcipc_transfer_ops zcipc_copy;

/* move.c */
extern const struct zcipc_transfer_ops zcipc_move;
extern const struct zcipc_transfer_ops zcipc_move_part;

/* Is a whole region moved? It goes over with its capability, and nothing is allocated. */
static inline bool zcipc_transfer_is_whole(const struct zcipc_transfer_state *t)
{
	return t->ops == &zcipc_move;
}

/* The only mapping of a region, if the only capability for it has one, or NULL. */
static inline struct zcipc_slot *zcipc_move_only_slot(const struct zcipc_cap *cap)
{
	struct zcipc_slot *slot = list_first_entry(&cap->extent.slots, struct zcipc_slot, entry);

	return cap->extent.nslots == 1 && list_is_singular(&cap->extent.region->extents) &&
	       !zcipc_slot_is_pfnmap(slot) ? slot : NULL;
}

extern bool zcipc_short_moves;
bool zcipc_move_short(struct zcipc_ucmd *ucmd);
int zcipc_move_admit_plain(struct zcipc_transfer_state *t, const struct zcipc_region *region);
void zcipc_move_pass(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_move_revoke_others(struct zcipc_transfer_state *t, struct zcipc_cap *cap);

/* transfer.c */
bool zcipc_transfer_copies_all(const struct zcipc_transfer *cmd, u64 len);
struct zcipc_cap *zcipc_transfer_find(struct zcipc_transfer_state *t);
int zcipc_transfer_alloc(struct zcipc_transfer_state *t);
bool zcipc_transfer_is_long(const struct zcipc_transfer_state *t,
			    const struct zcipc_region *region);
void zcipc_transfer_survey(struct zcipc_transfer_state *t, const struct zcipc_region *region);
int zcipc_transfer_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
int zcipc_transfer_work(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
int zcipc_transfer_begin(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_abort(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
struct zcipc_cap *zcipc_transfer_commit(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_finish(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_free_all(struct zcipc_transfer_state *t);

/* Frees what is left of a transfer, done or not. No lock is held. */
static inline void zcipc_transfer_free(struct zcipc_transfer_state *t)
{
	if (!t->borrowed || !zcipc_transfer_is_whole(t) || t->revoked)
		zcipc_transfer_free_all(t);
}

int zcipc_transfer_make(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			struct zcipc_direct *direct, bool wait);

#endif /* ZCIPC_TRANSFER_H */

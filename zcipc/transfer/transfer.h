/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A transfer: see transfer.c.
 */
#ifndef ZCIPC_TRANSFER_H
#define ZCIPC_TRANSFER_H

#include <linux/types.h>

#include <linux/zcipc.h>

#include "mem/plan.h"
#include "mem/region.h"
#include "ipc/cap.h"

struct zcipc_carry;
struct zcipc_direct;
struct zcipc_endpoint;
struct zcipc_ucmd;

/**
 * struct zcipc_transfer_state - a transfer under way
 * @cmd: what was asked for, and the results
 * @src: the sender
 * @dst: the peer, with a reference
 * @first: first page of the range in the sender's region
 * @npages: length of the range
 * @rights: of the peer's capability
 * @cache: policy that the peer's region is to have
 * @window: where it is to be mapped
 * @borrowed: the peer is another transfer's, that is freed later
 * @whole: a whole region is to be moved, with its capability
 * @copy: the peer gets copies of all frames
 * @recached: because of a cache policy
 * @charge: a new region would be charged to somebody who does not pay for the old one
 * @file: the region is a file's
 * @set_cache: a region is to have another policy than now
 * @keep_cache: it must not, since other transfers of the same batch may be about it
 * @present: all pages of the range are there
 * @mend: of a snapshot: there are blocks to be made huge frames again
 * @charged: the peer's user has been charged
 * @admitted: zcipc_transfer_admit() has done its part
 * @carried: the PTEs of the range have been taken, and nobody holds any of its frames
 * @brief: it is made with the locks of both endpoints, so there is no time to copy much
 * @again: what was reserved has gone meanwhile: another try has to reserve something else
 * @unmapped: the sender's mappings of the range have gone already
 * @revokes: others' capabilities are still to be revoked
 * @pgoff: where it is to be mapped
 * @window_id: in the window that was the peer's then
 * @npinned: frames that are pinned, of the range, later of a snapshot; 0 where nobody else will pay
 * @nloose: frames of which another user gets copies in any case, when they were last looked at
 * @pins: charged to the peer's user
 * @cap: for the peer's table, unless @whole
 * @region: for the peer, if it gets a new one: charged to it, not filled
 * @direct: it is straight from the caller's memory
 * @plan: what becomes of frames that cannot be given away
 * @carry: PTEs that go from the sender to the peer; NULL: none do
 * @gone: the sender's capability, to be freed
 * @revoked: the region of which capabilities have to be reaped, with a reference
 * @nrevoked: how many
 */
struct zcipc_transfer_state {
	struct zcipc_transfer *cmd;
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	unsigned long first;
	unsigned long npages;
	u32 rights;
	u32 cache;
	unsigned int window;
	bool borrowed;
	bool whole;
	bool copy;
	bool recached;
	bool charge;
	bool file;
	bool set_cache;
	bool keep_cache;
	bool present;
	bool mend;
	bool charged;
	bool admitted;
	bool carried;
	bool brief;
	bool again;
	bool unmapped;
	bool revokes;
	unsigned long pgoff;
	u32 window_id;
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

int zcipc_transfer_validate_all(const struct zcipc_transfer *cmd);

/* Checks a transfer by itself. A MOVE that wants nothing special is always right. */
static inline int zcipc_transfer_validate(const struct zcipc_transfer *cmd)
{
	if (likely(cmd->type == ZCIPC_MOVE && cmd->node == ZCIPC_NODE_ANY &&
		   !(cmd->flags | cmd->rights | cmd->cache | cmd->__reserved)))
		return 0;
	return zcipc_transfer_validate_all(cmd);
}

int zcipc_transfer_find_peer(struct zcipc_transfer_state *t);
bool zcipc_transfer_accepted(const struct zcipc_transfer_state *t);
struct zcipc_cap *zcipc_transfer_source(struct zcipc_transfer_state *t);
struct zcipc_cap *zcipc_transfer_look(struct zcipc_transfer_state *t);
int zcipc_transfer_alloc(struct zcipc_transfer_state *t);
void zcipc_transfer_survey(struct zcipc_transfer_state *t, const struct zcipc_region *region);
int zcipc_transfer_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
int zcipc_transfer_admit_plain(struct zcipc_transfer_state *t, const struct zcipc_region *region);
void zcipc_transfer_dismiss(struct zcipc_transfer_state *t);
int zcipc_transfer_work(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
int zcipc_transfer_begin_any(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
bool zcipc_transfer_is_long(const struct zcipc_transfer_state *t,
			    const struct zcipc_region *region);
int zcipc_transfer_make(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			struct zcipc_direct *direct, bool wait);

/**
 * zcipc_transfer_begin() - all that can fail
 * @t: the transfer, prepared
 * @cap: what zcipc_transfer_source() found; the caller holds the locks of both endpoints and the
 *	region, and the capability is not revoked
 *
 * zcipc_transfer_commit() or zcipc_transfer_abort() must follow, under the same locks.
 *
 * Return: 0 or an errno. Then all is as it was, but for PTEs that faults will bring back. -EAGAIN:
 * there is no room in the peer.
 */
static inline int zcipc_transfer_begin(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	/* Of what is carried, nothing is left to be done but the charge. */
	if (t->carried && t->dst->space.user == cap->extent.region->user &&
	    zcipc_region_present(cap->extent.region, t->first, t->npages))
		return 0;
	return zcipc_transfer_begin_any(t, cap);
}

void zcipc_transfer_abort(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_pass(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
struct zcipc_cap *zcipc_transfer_commit(struct zcipc_transfer_state *t, struct zcipc_cap *cap,
					bool populate);
void zcipc_transfer_finish(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_free_all(struct zcipc_transfer_state *t);

/* Frees what is left of a transfer, done or not. No lock is held. */
static inline void zcipc_transfer_free(struct zcipc_transfer_state *t)
{
	/* Of a whole region nothing was allocated. */
	if (!t->whole || !t->borrowed || t->revoked)
		zcipc_transfer_free_all(t);
}

int zcipc_transfer_reserve(struct zcipc_transfer_state *t, const struct zcipc_region *region);
void zcipc_transfer_unreserve(struct zcipc_transfer_state *t);
void zcipc_transfer_plan(struct zcipc_transfer_state *t);
struct zcipc_cap *zcipc_transfer_deliver(struct zcipc_transfer_state *t,
					 struct zcipc_region *region, struct zcipc_cap *parent,
					 u32 sender_rights, bool populate);
void zcipc_transfer_results(struct zcipc_transfer_state *t, struct zcipc_region *region);
int zcipc_transfer(struct zcipc_ucmd *ucmd);
int zcipc_transfer_grant(struct zcipc_ucmd *ucmd);
int zcipc_transfer_may_send(const struct zcipc_transfer_state *t);
int zcipc_transfer_recheck(struct zcipc_transfer_state *t);

#endif /* ZCIPC_TRANSFER_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * The frame of all transfers: the steps that each goes through, and how a single one does. What a
 * kind of transfer does at a step is in its struct zcipc_transfer_ops: see move.c, share.c, copy.c.
 * What all do at the peer is in peer.c. A batch goes through the same steps: see batch.c.
 *
 *   find     looks the capability up, and so finds out which kind it is, with the sender's lock
 *   alloc    allocates for the peer, without locks
 *   survey   looks at each page, with the region's lock
 *   admit    checks all that can be checked, charges pins, and takes room in the peer, with the
 *            locks of both endpoints and of the region
 *   work     takes the pages from the sender, or freezes them, and decides what is copied. It is
 *            the last that can fail, and needs the region's lock alone. begin is admit and work.
 *   commit   enters the results in both tables, maps them, and tells the peer, with all locks
 *   finish   replaces frames, passes charges on, revokes what others have, with the region's lock
 *
 * A brief transfer makes all steps from the survey on with one set of locks, and commit does what
 * finish would. A long one releases those of the endpoints, which others wait for, while it
 * surveys, works and finishes. It holds the lock of the region all that time, and that of the
 * peer's new region from commit on: so the capability stays, and nobody sees frames that are not
 * there yet. What has been taken in the peer is counted there as reserved, but the window may go:
 * see zcipc_transfer_recheck().
 *
 * The endpoints' locks are taken in the order of the ids, then the region's. Who has to wait for
 * that releases those of the endpoints, and looks again. Nobody waits for the peer's mmap_lock:
 * where it is not to be had, the peer's faults map what it gets. A reference keeps the peer from
 * find_peer on, another one its address space during each try. The capability keeps the region.
 *
 * A failure changes nothing: abort takes back what admit and work have done. Frames stay the
 * region's until commit, which cannot fail; only PTEs may have gone, and the sender's faults bring
 * them back. When there is no room a single transfer waits, without locks, and tries again.
 */
#include "base/base.h"

#include <linux/timex.h>

#include "base/trace.h"
#include "base/ucmd.h"
#include "mem/account.h"
#include "map/carry.h"
#include "map/cow.h"
#include "map/insert.h"
#include "ipc/room.h"
#include "transfer/direct.h"
#include "transfer/transfer.h"

/*
 * Up to this size it costs less to copy memory than to make it a region first: "make bench" has
 * both, as zcipc-auto-memory and zcipc-copy-memory. Of what is a region already it has -0 and -100:
 * it does not depend on the size, but on how much is written later.
 */
static unsigned int auto_copy_max = 65536;
module_param(auto_copy_max, uint, 0644);
MODULE_PARM_DESC(auto_copy_max, "bytes up to which ZCIPC_F_AUTO copies (0: never)");

/* Is a COPY of so many bytes to be made by copying them all? */
bool zcipc_transfer_copies_all(const struct zcipc_transfer *cmd, u64 len)
{
	return cmd->flags & ZCIPC_F_AUTO && len <= READ_ONCE(auto_copy_max);
}

/* The cache policy that the peer's region is to have. */
static u32 zcipc_transfer_cache(const struct zcipc_transfer_state *t,
				const struct zcipc_region *region)
{
	/* What has been copied of it already, parts of pages, is write-back. */
	if (t->direct || t->cmd->cache == ZCIPC_CACHE_WRITEBACK)
		return ZCIPC_CACHE_DEFAULT;
	return t->cmd->cache == ZCIPC_CACHE_DEFAULT ? region->cache : t->cmd->cache;
}

/* Which kind a transfer is. Of a COPY it is a guess without the region's lock. */
static __always_inline const struct zcipc_transfer_ops *
zcipc_transfer_kind(const struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	if (t->cmd->type == ZCIPC_MOVE)
		return t->npages == region->npages ? &zcipc_move : &zcipc_move_part;
	if (t->cmd->type != ZCIPC_COPY)
		return t->cmd->type == ZCIPC_SHARE && !region->file ? &zcipc_share : &zcipc_grant;
	if (region->cache || zcipc_transfer_cache(t, region) ||
	    zcipc_transfer_copies_all(t->cmd, (u64)t->npages << PAGE_SHIFT))
		return &zcipc_copy;
	return &zcipc_snapshot;
}

/*
 * Finds the sender's capability, checks what it is to be used for, and sets kind, range and rights.
 * The caller holds the sender's lock. Returns that, or -ESTALE, -ENOENT, -EINVAL, -EACCES.
 */
struct zcipc_cap *zcipc_transfer_find(struct zcipc_transfer_state *t)
{
	const struct zcipc_transfer *cmd = t->cmd;
	struct zcipc_cap *cap;
	int ret;

	cap = zcipc_cap_find(t->src, cmd->cap);
	if (IS_ERR(cap))
		return cap;
	ret = zcipc_cap_range(cap, cmd->offset, cmd->len, &t->first, &t->npages);
	if (ret)
		return ERR_PTR(ret);
	t->ops = zcipc_transfer_kind(t, cap->extent.region);
	if (!(cap->rights & t->ops->right))
		return ERR_PTR(-EACCES);
	/* How others' writes are served is not for those to say who only read. */
	if (cmd->flags & ZCIPC_F_BREAK_HUGE && !(cap->rights & ZCIPC_RIGHT_WRITE))
		return ERR_PTR(-EACCES);
	/* A snapshot is the peer's own, it can have rights to it that the sender has not. */
	if (cmd->type != ZCIPC_COPY && cmd->rights & ~cap->rights)
		return ERR_PTR(-EACCES);
	t->rights = cmd->rights;
	if (!t->rights)
		t->rights = cmd->type == ZCIPC_COPY ? ZCIPC_RIGHTS_ALL : cap->rights;
	/* What a user moves to itself is charged already. */
	if (!zcipc_transfer_is_whole(t))
		t->charge = cmd->type != ZCIPC_MOVE ||
			    t->dst->space.user != READ_ONCE(cap->extent.region->user);
	return cap;
}

/*
 * Allocates what a transfer needs, after zcipc_transfer_find(). No lock is held that others wait
 * for. Returns 0, or -ENOMEM, -EDQUOT; zcipc_transfer_free() must follow in any case.
 */
int zcipc_transfer_alloc(struct zcipc_transfer_state *t)
{
	struct zcipc_region *region;

	if (zcipc_transfer_is_whole(t))
		return 0;
	t->cap = zcipc_cap_alloc(READ_ONCE(t->dst->node));
	if (!t->cap)
		return -ENOMEM;
	if (!t->ops->fresh)
		return 0;
	region = zcipc_region_alloc(t->dst->space.user, zcipc_transfer_span(t), t->charge);
	if (IS_ERR(region))
		return PTR_ERR(region);
	t->region = region;
	return t->direct ? zcipc_direct_copy_edges(t) : 0;
}

/* Is it so much that nobody can be asked to wait? Without the region's lock it is a guess. */
bool zcipc_transfer_is_long(const struct zcipc_transfer_state *t,
			    const struct zcipc_region *region)
{
	bool set_cache = t->cmd->cache != ZCIPC_CACHE_DEFAULT;
	unsigned long most, n = t->npages;

	/* Each page is looked at. */
	if (n > ZCIPC_LONG_PAGES &&
	    (region->nholes || (region->npinned && t->dst->space.user != READ_ONCE(region->user))))
		return true;
	if (!t->ops->places || region->file)
		return false;
	/* All mappings of what is moved or copied go, whoever has them. */
	if ((t->cmd->type != ZCIPC_SHARE || t->cmd->node != ZCIPC_NODE_ANY) &&
	    zcipc_region_has_many(region))
		return true;
	/* Then it is all of the region. */
	if (set_cache && t->cmd->type == ZCIPC_SHARE)
		n = region->npages;
	if (n <= ZCIPC_LONG_COPIES)
		return false;
	/* Of those there is no snapshot but copies. */
	if (set_cache || (t->cmd->type == ZCIPC_COPY && (region->pinnable || region->npinned ||
							 region->cache)))
		return true;
	if (n > ZCIPC_LONG_PAGES && (t->cmd->type == ZCIPC_COPY ||
				     t->cmd->node != ZCIPC_NODE_ANY ||
				     n > 32 * ZCIPC_LONG_ENTRIES))
		return true;
	/* To insert a page costs more than to carry it over. */
	most = t->cmd->type == ZCIPC_SHARE ? ZCIPC_LONG_INSERTED : ZCIPC_LONG_ENTRIES;
	return n > most && zcipc_region_entries(region, t->first, n) > most;
}

/* All that zcipc_transfer_admit() has to know of each page. Needs the region's lock alone. */
void zcipc_transfer_survey(struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	bool others = t->dst->space.user != region->user;
	u32 type = t->cmd->type;

	t->torn = false;
	t->npinned = 0;
	t->nloose = 0;
	t->present = zcipc_region_present(region, t->first, t->npages);
	if (!t->present || (type != ZCIPC_COPY && type != ZCIPC_MOVE))
		return;
	if (region->npinned && (type == ZCIPC_COPY || others))
		t->npinned = zcipc_region_count_pins(region, t->first, t->npages);
	if (others)
		t->nloose = zcipc_region_count_loose(region, t->first, t->npages, &t->npinned);
	/* A snapshot is not mended where it has no use for it, nor where it may be elsewhere. */
	t->torn = type == ZCIPC_COPY && !t->direct && !(t->first % ZCIPC_HUGE_PAGES) &&
		  !(t->cmd->flags & ZCIPC_F_STRICT) && t->cmd->node == ZCIPC_NODE_ANY &&
		  zcipc_cow_is_torn(region, t->first, t->npages);
}

/*
 * All that can fail before anything is unmapped. If it is not brief, zcipc_transfer_survey() has
 * been called since the region was locked. Locks and results are those of zcipc_transfer_begin().
 */
int zcipc_transfer_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	int ret;

	/* Others can reach its pages, and it is not for us to say where they are. */
	if (region->file && (t->ops->places || t->cmd->cache != ZCIPC_CACHE_DEFAULT ||
			     t->cmd->flags & ZCIPC_F_NODE_STRICT))
		return -EOPNOTSUPP;
	if (t->brief)
		zcipc_transfer_survey(t, region);
	if (!t->present)
		return -ENOENT;
	t->cache = zcipc_transfer_cache(t, region);
	if (t->cmd->type == ZCIPC_COPY)
		t->ops = zcipc_transfer_kind(t, region);
	ret = t->ops->admit(t, cap);
	if (!ret && t->brief && !t->ops->copies && t->cache == region->cache &&
	    t->nloose > ZCIPC_LONG_COPIES)
		ret = -E2BIG;
	/* What the peer's user will have pinned, and has not now. */
	t->pins = t->ops->copies ? 0 : t->npinned;
	if (!ret && t->pins)
		ret = zcipc_charge_pins(t->dst->space.user, t->pins, t->dst->pin_limit);
	if (ret)
		return ret;
	ret = zcipc_transfer_reserve(t, region);
	if (ret)
		zcipc_uncharge_pins(t->dst->space.user, t->pins);
	return ret;
}

/* What can fail after zcipc_transfer_admit(). Needs the lock of the region alone. */
int zcipc_transfer_work(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	int ret = 0;

	if (t->ptes != ZCIPC_PTES_CARRIED)
		zcipc_transfer_plan(t, cap->extent.region->user);
	if (t->ops->work)
		ret = t->ops->work(t, cap);
	if (!ret)
		t->stage = ZCIPC_BEGUN;
	return ret;
}

/* Takes back what there is of zcipc_transfer_admit() and zcipc_transfer_work(). */
void zcipc_transfer_abort(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	if (t->stage == ZCIPC_PREPARED)
		return;
	if (t->stage == ZCIPC_BEGUN) {
		zcipc_region_plan_free(&t->plan);
		if (t->ops->abort)
			t->ops->abort(t, cap->extent.region);
	}
	t->stage = ZCIPC_PREPARED;
	zcipc_uncharge_pins(t->dst->space.user, t->pins);
	t->dst->nreserved--;
	/* The owner may have unmapped it since, and mapped another one. */
	if (t->ops->places && t->dst->space.windows[t->window].id == t->window_id)
		zcipc_window_release(&t->dst->space, t->pgoff, zcipc_transfer_span(t));
}

/**
 * zcipc_transfer_begin() - all that can fail
 * @t: the transfer, prepared
 * @cap: what zcipc_transfer_find() found, not revoked; the caller holds the locks of both endpoints
 *	and the region until zcipc_transfer_commit() or zcipc_transfer_abort()
 *
 * Return: 0 or an errno. Then all is as it was, but for PTEs that faults will bring back. -EAGAIN:
 * there is no room in the peer.
 */
int zcipc_transfer_begin(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	int ret = 0;

	/* Other transfers of the same batch may have moved pages away. */
	if (t->stage == ZCIPC_PREPARED)
		ret = zcipc_transfer_admit(t, cap);
	else if (!zcipc_region_present(cap->extent.region, t->first, t->npages))
		ret = -ENOENT;
	if (!ret)
		ret = zcipc_transfer_work(t, cap);
	if (ret)
		zcipc_transfer_abort(t, cap);
	return ret;
}

/* What a committed transfer leaves to be done to the frames and their charges. */
static void zcipc_transfer_settle(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	/* A SHARE with another cache policy is one of all of the region. */
	if (t->plan.copies)
		zcipc_region_replace(region, t->cmd->type == ZCIPC_SHARE ? 0 : t->first,
				     &t->plan);
	if (t->ops->settle)
		t->ops->settle(t, region);
}

/**
 * zcipc_transfer_commit() - the rest, which cannot fail
 * @t: the transfer, begun; the caller still holds all locks
 * @cap: the sender's capability, or NULL: see zcipc_transfer_long()
 *
 * If it is not brief the caller holds the lock of the peer's new region, too, and with @cap
 * zcipc_transfer_finish() must follow.
 *
 * Return: the peer's capability, valid as long as its lock is held
 */
struct zcipc_cap *zcipc_transfer_commit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap ? cap->extent.region : NULL;

	zcipc_transfer_results(t, region);
	if (t->brief)
		zcipc_move_revoke_others(t, cap);
	if (t->ops->commit)
		t->ops->commit(t, cap);
	if (t->brief)
		zcipc_transfer_settle(t, region);
	/* Nobody else knows it. */
	if (t->brief && t->region)
		zcipc_region_lock_new(t->region);
	cap = zcipc_transfer_deliver(t, cap);
	if (t->brief && t->region)
		mutex_unlock(&t->region->lock);
	return cap;
}

/*
 * The last part of a transfer that is not brief. @cap: what was the sender's capability. Needs the
 * locks of the regions alone, of the peer's new one, too. The caller has held them all the time: so
 * nobody has seen frames that are not there yet.
 */
void zcipc_transfer_finish(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	zcipc_test_point("settles");
	zcipc_transfer_settle(t, cap->extent.region);
	zcipc_move_revoke_others(t, cap);
}

/* Gives back what another try prepares again. */
static void zcipc_transfer_give_up(struct zcipc_transfer_state *t)
{
	zcipc_cap_free(t->cap);
	if (t->region)
		zcipc_region_put(t->region);
	t->cap = NULL;
	t->region = NULL;
}

void zcipc_transfer_free_all(struct zcipc_transfer_state *t)
{
	zcipc_transfer_give_up(t);
	zcipc_cap_free(t->gone);
	if (t->revoked) {
		zcipc_cap_reap(t->revoked, t->nrevoked);
		zcipc_region_put(t->revoked);
	}
	if (t->dst && !t->borrowed)
		zcipc_endpoint_put(t->dst);
}

/* Everything that a transfer needs. Context and results are those of zcipc_transfer_alloc(). */
static int zcipc_transfer_prepare(struct zcipc_transfer_state *t)
{
	struct zcipc_cap *cap;

	if (zcipc_transfer_from_memory(t))
		return zcipc_direct_prepare(t);
	mutex_lock(&t->src->space.lock);
	cap = zcipc_transfer_find(t);
	mutex_unlock(&t->src->space.lock);
	return IS_ERR(cap) ? PTR_ERR(cap) : zcipc_transfer_alloc(t);
}

/* zcipc_transfer_admit() of many pages, which are looked at without the locks of the endpoints. */
static int zcipc_transfer_admit_long(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	zcipc_endpoints_unlock(t->src, t->dst);
	zcipc_test_point("surveys");
	zcipc_transfer_survey(t, cap->extent.region);
	zcipc_endpoints_lock(t->src, t->dst);
	return zcipc_transfer_may_send(t) ?: zcipc_transfer_admit(t, cap);
}

/*
 * A transfer of many pages: the locks of the endpoints, which others wait for, are released while
 * it is made. That of the region, which is held all the time, keeps the capability. @from: that, or
 * NULL of memory that is no region's.
 */
static int zcipc_transfer_long(struct zcipc_transfer_state *t, struct zcipc_cap *from)
{
	struct zcipc_endpoint *src = t->src, *dst = t->dst;
	struct mm_struct *mm = dst->space.mm;
	struct zcipc_cap *to = NULL;
	int ret;

	ret = from ? zcipc_transfer_admit_long(t, from) : zcipc_direct_admit(t);
	if (ret)
		return ret;
	zcipc_endpoints_unlock(src, dst);
	zcipc_test_point("long");
	ret = from ? zcipc_transfer_work(t, from) : zcipc_direct_work(t);
	if (t->region)
		zcipc_region_lock_new(t->region);
	zcipc_endpoints_lock(src, dst);
	ret = ret ?: zcipc_transfer_recheck(t);
	if (!ret) {
		to = zcipc_transfer_commit(t, from);
	} else {
		zcipc_transfer_abort(t, from);
		/* Others have seen that there was no room because of it. */
		zcipc_endpoint_made_room(dst);
	}
	zcipc_endpoints_unlock(src, dst);
	/* First, as nobody else is to have it mapped by PMDs then. */
	if (to && from)
		zcipc_transfer_finish(t, from);
	if (to && t->ops->places && !zcipc_transfer_is_lazy(t) && zcipc_transfer_lock_mm(mm)) {
		zcipc_slot_populate_long(&to->slot);
		zcipc_transfer_unlock_mm(mm);
	}
	if (t->region)
		mutex_unlock(&t->region->lock);
	zcipc_endpoints_lock(src, dst);
	return ret;
}

/* A transfer with all locks at once. Returns -E2BIG if that would take long. */
static int zcipc_transfer_brief(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct mm_struct *mm = t->dst->space.mm;
	struct zcipc_carry carry;
	bool populate;
	int ret;

	if (zcipc_transfer_is_long(t, cap->extent.region))
		return -E2BIG;
	t->brief = true;
	populate = zcipc_transfer_lock_mm(mm);
	zcipc_carry_init(&carry);
	t->carry = populate ? &carry : NULL;
	ret = zcipc_transfer_begin(t, cap);
	if (!ret)
		zcipc_transfer_commit(t, cap);
	t->carry = NULL;
	if (populate)
		zcipc_transfer_unlock_mm(mm);
	zcipc_carry_free(&carry);
	t->brief = false;
	return ret;
}

/* Under both endpoints' locks. */
static int zcipc_transfer_locked(struct zcipc_transfer_state *t)
{
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	int ret;

	ret = zcipc_transfer_may_send(t);
	if (ret)
		return ret;
	if (zcipc_transfer_from_memory(t))
		return zcipc_transfer_long(t, NULL);
	cap = zcipc_transfer_find(t);
	if (IS_ERR(cap))
		return PTR_ERR(cap);
	zcipc_test_point("found");
	cap = zcipc_cap_lock_region(cap, t->dst);
	if (!cap)
		return -ESTALE;
	region = cap->extent.region;
	/* The locks may have been released. */
	ret = zcipc_transfer_may_send(t);
	if (!ret && cap->extent.revoked)
		ret = -ESTALE;
	if (!ret)
		ret = zcipc_transfer_brief(t, cap);
	if (ret == -E2BIG)
		ret = zcipc_transfer_long(t, cap);
	mutex_unlock(&region->lock);
	return ret;
}

/* One try. Sets @room_seq to what it was when there was no room. */
static int zcipc_transfer_try(struct zcipc_transfer_state *t, u32 *room_seq)
{
	cycles_t start;
	int ret;

	if (!atomic_read(&t->dst->space.mm->mm_users))
		return -ESRCH;
	zcipc_endpoints_lock(t->src, t->dst);
	start = get_cycles();
	ret = zcipc_transfer_locked(t);
	if (!ret && t->cmd->type != ZCIPC_GRANTED)
		zcipc_count(&t->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	*room_seq = t->dst->room_seq;
	zcipc_endpoints_unlock(t->src, t->dst);
	if (ret && t->direct)
		zcipc_direct_restore(t);
	return ret;
}

/**
 * zcipc_transfer_make() - a single transfer, from finding the peer on
 * @ucmd: the call that it is a part of
 * @cmd: the transfer, validated
 * @direct: it is from memory, or NULL
 * @wait: for room, if there is none
 *
 * Return: 0 or an errno of struct zcipc_transfer, or -ERESTARTSYS
 */
int zcipc_transfer_make(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			struct zcipc_direct *direct, bool wait)
{
	struct zcipc_transfer_state t = { .cmd = cmd, .src = ucmd->ep, .direct = direct };
	struct zcipc_room need = {};
	u32 room_seq;
	int ret;

	ret = zcipc_transfer_find_peer(&t);
	if (!ret)
		ret = zcipc_ucmd_probe(ucmd);
	if (!ret)
		ret = zcipc_transfer_prepare(&t);
	if (ret)
		goto out_free;
	trace_zcipc_prepare(t.src->space.id, t.dst->space.id, cmd->type, t.npages);
	zcipc_test_point("prepared");

	while ((ret = zcipc_transfer_try(&t, &room_seq)) == -EAGAIN || ret == -ERESTART) {
		bool gone = ret == -ERESTART;
		/* A region may be filled; memory may be something else after a wait. */
		bool anew = gone || zcipc_transfer_from_memory(&t);

		if (!gone && (!wait || READ_ONCE(t.dst->full) != ZCIPC_FULL_WAIT))
			break;
		need.window = t.window;
		need.npages = zcipc_transfer_needs(&t);
		if (anew)
			zcipc_transfer_give_up(&t);
		if (gone) {
			if (signal_pending(current))
				ret = -ERESTARTSYS;
		} else {
			ret = zcipc_endpoint_wait_room(t.dst, room_seq, &need);
		}
		if (ret == -ERESTARTSYS)
			break;
		ret = anew ? zcipc_transfer_prepare(&t) : 0;
		if (ret)
			break;
	}
	if (need.turn)
		zcipc_endpoint_pass_turn(t.dst, need, ret);
	if (!ret)
		zcipc_test_point("sent");
	if (!ret && t.direct)
		zcipc_direct_end(&t);
out_free:
	zcipc_transfer_free(&t);
	return ret;
}

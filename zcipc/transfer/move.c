// SPDX-License-Identifier: GPL-2.0
/*
 * MOVE: of a whole region, which goes over with the sender's capability, or of a part of one, which
 * becomes a region of its own.
 *
 * What is most usual goes a short way: a whole region that is a few frames, or one of 2 MiB, to a
 * peer of the same user. The sender alone has a capability for it, and has it mapped, once, and
 * nobody holds it. That is what messages are that go back and forth, and of these it is not the
 * memory that costs, but all that has to be looked at, though it is nearly never there. The order
 * is that of transfer.c. Whatever is different goes that way instead, also what fails: until
 * nothing can fail any more nothing has been changed, but for PTEs that faults bring back.
 */
#include "base/base.h"

#include <linux/timekeeping.h>
#include <linux/timex.h>

#include "base/trace.h"
#include "base/ucmd.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/plan.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/queue.h"
#include "ipc/room.h"
#include "transfer/transfer.h"

/*
 * A MOVE on the short way: of a huge frame, or PTEs are carried to @vma. The peer is to have it at
 * @pgoff. The capability is the sender's, and then the peer's.
 */
struct zcipc_short_move {
	struct zcipc_transfer *cmd;
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	struct zcipc_cap *cap;
	unsigned long pgoff;
	bool huge;
	struct vm_area_struct *vma;
};

/* What cannot fail: the capability goes over as it is, with its slot. @populate: not in a batch */
static __always_inline void zcipc_short_commit(const struct zcipc_short_move *m, u32 rights,
					       bool populate)
{
	struct zcipc_transfer *cmd = m->cmd;
	struct zcipc_cap *cap = m->cap;
	struct zcipc_region *region = cap->extent.region;
	u32 sender_rights = cap->rights;
	u64 addr;

	zcipc_count(&m->src->space, region, MOVES, 1);
	zcipc_count(&m->src->space, region, PAGES, region->npages);
	trace_zcipc_commit(m->src->space.id, m->dst->space.id, ZCIPC_MOVE, region->id,
			   region->npages, 0);
	cmd->pages = region->npages;
	cmd->copied = 0;
	cmd->migrated = 0;
	cmd->off_node = 0;
	zcipc_cap_pass(cap, m->dst);
	cap->rights = rights;
	addr = zcipc_slot_pass(&cap->slot, &m->src->space, m->pgoff, rights & ZCIPC_RIGHT_WRITE);
	zcipc_test_point("committed");
	if (populate && m->huge)
		zcipc_slot_populate(&cap->slot, 0, region->npages);
	else if (populate)
		zcipc_carry_few_in(&cap->slot, m->vma, m->src->space.mm);
	cap->msg = zcipc_message_of_transfer(ZCIPC_MOVE, region->id, addr, 0,
					     (u64)region->npages << PAGE_SHIFT, cmd->cookie,
					     sender_rights, false);
	cmd->peer_cap = cap->extent.token;
	zcipc_message_queue(m->dst, &cap->msg, m->src);
}

bool zcipc_short_moves = true;
module_param_named(short_moves, zcipc_short_moves, bool, 0644);
MODULE_PARM_DESC(short_moves, "a MOVE of what only the sender knows goes a shorter way");

/* The only mapping of a region that can go this way, or NULL. Sets whether it is a huge frame. */
static struct zcipc_slot *zcipc_short_slot(struct zcipc_short_move *m)
{
	const struct zcipc_region *region = m->cap->extent.region;
	unsigned long npages = region->npages;
	struct zcipc_slot *slot = &m->cap->slot;
	const struct zcipc_frame *frame;
	unsigned long i;

	/* That slot goes over with the capability. */
	if (m->cap->extent.revoked || m->cap->extent.npages != npages ||
	    !(m->cap->rights & ZCIPC_RIGHT_MOVE) ||
	    (m->cmd->len && m->cmd->len != npages << PAGE_SHIFT) ||
	    region->user != m->dst->space.user || slot->npages != npages ||
	    zcipc_move_only_slot(m->cap) != slot)
		return NULL;
	m->huge = npages == ZCIPC_HUGE_PAGES && region->nhuge && !region->npinned;
	if (m->huge)
		return zcipc_huge_refs(region->frames[0]) > 0 ? NULL : slot;
	if (npages > ZCIPC_CARRY_FEW || region->special || region->file)
		return NULL;
	/* Those of the region and of the PTE are all the references that there are. */
	for (i = 0; i < npages; i++) {
		frame = region->frames[i];
		if (!frame || zcipc_frame_kind(frame) || !zcipc_frame_exclusive(frame) ||
		    page_count((struct page *)frame) != 2)
			return NULL;
	}
	return slot;
}

/* Under the region's lock, too. */
static bool zcipc_short_region(struct zcipc_short_move *m)
{
	const struct zcipc_region *region = m->cap->extent.region;
	struct zcipc_slot *slot = zcipc_short_slot(m);
	unsigned int window;
	bool taken;

	if (!slot)
		return false;
	window = zcipc_region_window(&m->dst->space, region, region->npinned,
				     m->cap->rights & ZCIPC_RIGHT_WRITE);
	if (zcipc_transfer_room(m->dst, window, region->npages, m->huge ? 0 : -1, &m->pgoff))
		return false;
	zcipc_test_point("looked");
	if (m->huge) {
		zcipc_slot_unmap(slot);
		zcipc_test_point("unmapped");
		taken = zcipc_huge_refs(region->frames[0]) <= 0;
	} else {
		m->vma = zcipc_carry_few_out(slot, &m->dst->space, m->pgoff);
		taken = m->vma;
	}
	/* Somebody holds it. */
	if (!taken) {
		zcipc_window_release(&m->dst->space, m->pgoff, region->npages);
		return false;
	}
	/* Not before it is sure that it goes this way. */
	trace_zcipc_prepare(m->src->space.id, m->dst->space.id, ZCIPC_MOVE, region->npages);
	m->cmd->result = 0;
	zcipc_short_commit(m, m->cap->rights, true);
	zcipc_endpoint_made_room(m->src);
	return true;
}

/* Under both endpoints' locks. The peer's address space exists. */
static bool zcipc_short_locked(struct zcipc_short_move *m)
{
	struct mm_struct *mm = m->dst->space.mm;
	struct zcipc_region *region;
	cycles_t start = get_cycles();
	bool done = false;

	if (m->dst->space.dead || !zcipc_endpoint_accepts(m->dst, m->src))
		return false;
	m->cap = zcipc_cap_find(m->src, m->cmd->cap);
	if (IS_ERR(m->cap))
		return false;
	region = m->cap->extent.region;
	zcipc_test_point("found");
	/* Whoever has to wait for it goes the long way. */
	if (!mutex_trylock(&region->lock))
		return false;
	if (mmap_read_trylock(mm)) {
		done = zcipc_short_region(m);
		mmap_read_unlock(mm);
	}
	mutex_unlock(&region->lock);
	if (done)
		zcipc_count(&m->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	return done;
}

/*
 * ZCIPC_IOC_TRANSFER, if it can go the short way. Returns whether it has been carried out; if not,
 * it is for zcipc_transfer() to say what becomes of it.
 */
bool zcipc_move_short(struct zcipc_ucmd *ucmd)
{
	struct zcipc_short_move m = { .cmd = ucmd->cmd, .src = ucmd->ep };
	u64 start = ktime_get_ns();
	bool done = false;
	struct mm_struct *mm;

	if (!zcipc_transfer_is_plain(m.cmd) || m.cmd->offset || !READ_ONCE(zcipc_short_moves))
		return false;
	m.dst = zcipc_endpoint_get(m.cmd->peer);
	if (IS_ERR(m.dst))
		return false;
	mm = m.dst->space.mm;
	if (m.src == m.dst || zcipc_ucmd_probe(ucmd) || !mmget_not_zero(mm))
		goto out_put;
	zcipc_test_point("prepared");
	zcipc_endpoints_lock(m.src, m.dst);
	done = zcipc_short_locked(&m);
	zcipc_endpoints_unlock(m.src, m.dst);
	/* If the peer has exited this takes its address space down: not in our context. */
	mmput_async(mm);
	if (done) {
		zcipc_test_point("sent");
		zcipc_stat_latency(ZCIPC_MOVE, ktime_get_ns() - start);
	}
out_put:
	zcipc_endpoint_put(m.dst);
	return done;
}

/*
 * zcipc_transfer_commit() of a whole region whose PTEs have been taken, and which nobody new is
 * charged for. The capability is the only one, with @cap->slot alone. The caller tells that the
 * sender has more room.
 */
void zcipc_move_pass(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_short_move m = {
		.cmd = t->cmd, .src = t->src, .dst = t->dst, .cap = cap, .pgoff = t->pgoff,
	};

	t->dst->nreserved--;
	zcipc_short_commit(&m, t->rights, false);
}

/*
 * zcipc_transfer_admit(), of frames that are neither pinned nor huge, that nobody else has a
 * capability for, and that are to stay as they are. Such a thing needs nothing but room.
 */
int zcipc_move_admit_plain(struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	if (!zcipc_region_present(region, t->first, t->npages))
		return -ENOENT;
	t->cache = region->cache;
	zcipc_transfer_choose_window(t, region);
	return zcipc_transfer_reserve_at(t, t->npages, -1);
}

static int zcipc_move_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	if (!(t->cmd->flags & ZCIPC_F_REVOKE_OTHERS) && zcipc_transfer_others_hold(t, cap))
		return -EBUSY;
	/* All mappings of the capability are removed, with the locks of both endpoints. */
	if (t->npages == cap->extent.npages && t->dst->space.user != t->src->space.user &&
	    cap->extent.nslots > ZCIPC_LONG_MAPPED)
		return -E2BIG;
	return zcipc_transfer_choose_window(t, cap->extent.region);
}

/*
 * Takes a range whose last block that is a huge frame has pages behind it: up to there it is
 * unmapped, and will be shown by PMDs, and what is behind is carried. Returns 0, -EAGAIN if it has
 * to go the other way, with a new plan, or what zcipc_region_plan() says.
 */
static int zcipc_move_take_mixed(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	unsigned long head = zcipc_region_head(region, t->first, t->npages);
	int ret;

	if (!head || !zcipc_carry_is_worth(t->npages - head))
		return -EAGAIN;
	zcipc_region_unmap(region, t->first, head, NULL);
	ret = zcipc_region_plan(region, t->first, head, ZCIPC_GFP_LOCKED, &t->plan);
	if (ret)
		return ret;
	/* Nothing can fail after that. */
	if (zcipc_carry_out(t->carry, region, t->first + head, t->npages - head, &t->src->space,
			    &t->dst->space, t->pgoff + head))
		return 0;
	zcipc_region_plan_free(&t->plan);
	return -EAGAIN;
}

/* Takes a range from the sender. The frames are then reachable through the region alone. */
static int zcipc_move_take(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	bool unmapped = t->ptes == ZCIPC_PTES_UNMAPPED;
	int ret;

	if (t->ptes == ZCIPC_PTES_CARRIED)
		return 0;
	if (t->carry && t->cache == region->cache && !t->nloose &&
	    t->plan.node == NUMA_NO_NODE) {
		/* Where that works nothing is to be replaced. */
		if (zcipc_carry_out(t->carry, region, t->first, t->npages, &t->src->space,
				    &t->dst->space, t->pgoff))
			return 0;
		if (region->nhuge) {
			ret = zcipc_move_take_mixed(t, region);
			if (ret != -EAGAIN)
				return ret;
			zcipc_transfer_plan(t, region->user);
		}
	}
	if (!unmapped || !list_is_singular(&region->extents))
		zcipc_region_unmap(region, t->first, t->npages, unmapped ? &t->src->space : NULL);
	zcipc_test_point("unmapped");
	return zcipc_region_plan(region, t->first, t->npages, ZCIPC_GFP_LOCKED, &t->plan);
}

/* The peer's user pays for a whole region, who may not have before. */
static void zcipc_move_abort_whole(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	if (t->dst->space.user != region->user)
		zcipc_uncharge(t->dst->space.user, region->ncharged);
}

static int zcipc_move_work_whole(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	int ret = 0;

	if (t->dst->space.user != region->user)
		ret = zcipc_charge(t->dst->space.user, region->ncharged);
	if (ret)
		return ret;
	ret = zcipc_move_take(t, region);
	if (ret)
		zcipc_move_abort_whole(t, region);
	return ret;
}

static int zcipc_move_work_part(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	int ret;

	/* The new region is charged from the beginning, but who would pay was a guess. */
	if (!t->region->ncharged && t->dst->space.user != region->user) {
		ret = zcipc_charge(t->dst->space.user, t->npages);
		if (ret)
			return ret;
		t->region->ncharged = t->npages;
	}
	return zcipc_move_take(t, region);
}

/*
 * Revokes what others have of what was moved. Needs the region's lock alone, which has been held
 * since that was unmapped: so nobody has used one of these capabilities in between.
 */
void zcipc_move_revoke_others(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;

	if (!(t->cmd->flags & ZCIPC_F_REVOKE_OTHERS))
		return;
	zcipc_test_point("revokes");
	t->nrevoked = zcipc_cap_kill_range(region, t->first, t->npages, cap, t->src);
	if (t->nrevoked)
		t->revoked = zcipc_region_get(region);
}

static void zcipc_move_commit_whole(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	t->cap = cap;
	zcipc_cap_give(cap, t->dst);
	zcipc_endpoint_made_room(t->src);
}

static void zcipc_move_commit_part(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	zcipc_region_inherit(cap->extent.region, t->region);
	if (t->npages != cap->extent.npages)
		return;
	zcipc_cap_detach(cap, !t->brief && t->cmd->flags & ZCIPC_F_REVOKE_OTHERS);
	zcipc_endpoint_made_room(t->src);
	t->gone = cap;
}

/* What has been copied need not be pinned. */
static void zcipc_move_settle_pins(struct zcipc_transfer_state *t,
				   const struct zcipc_region *region)
{
	if (t->pins)
		zcipc_uncharge_pins(t->dst->space.user, t->pins -
				    zcipc_region_count_pins(region, t->first, t->npages));
}

static void zcipc_move_settle_whole(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	zcipc_move_settle_pins(t, region);
	if (t->dst->space.user != region->user)
		zcipc_region_own(region, t->dst->space.user);
}

static void zcipc_move_settle_part(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	zcipc_move_settle_pins(t, region);
	zcipc_region_split(region, t->first, t->region);
}

const struct zcipc_transfer_ops zcipc_move = {
	.right = ZCIPC_RIGHT_MOVE,
	.places = true,
	.admit = zcipc_move_admit,
	.work = zcipc_move_work_whole,
	.abort = zcipc_move_abort_whole,
	.commit = zcipc_move_commit_whole,
	.settle = zcipc_move_settle_whole,
};

const struct zcipc_transfer_ops zcipc_move_part = {
	.right = ZCIPC_RIGHT_MOVE,
	.fresh = true,
	.places = true,
	.admit = zcipc_move_admit,
	.work = zcipc_move_work_part,
	.commit = zcipc_move_commit_part,
	.settle = zcipc_move_settle_part,
};

// SPDX-License-Identifier: GPL-2.0
/*
 * The short way of a MOVE: of a whole region that is a few frames, or one of 2 MiB, to a peer of
 * the same user. The sender alone has a capability for it, and has it mapped, once, and nobody
 * holds it. That is what messages are that go back and forth, and of these it is not the memory
 * that costs, but all that has to be looked at, though it is nearly never there.
 *
 * The order is that of transfer.c. Whatever is different goes that way instead, also what fails:
 * until nothing can fail any more nothing has been changed, but for PTEs that faults bring back.
 */
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/timekeeping.h>
#include <linux/timex.h>

#include <linux/zcipc.h>

#include "base/counters.h"
#include "base/test.h"
#include "base/trace.h"
#include "base/ucmd.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/insert.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/policy.h"
#include "ipc/queue.h"
#include "ipc/room.h"
#include "transfer/move.h"

/**
 * struct zcipc_move - a MOVE on the short way
 * @cmd: what was asked for, and the results
 * @src: the sender
 * @dst: the peer
 * @cap: the sender's capability, and then the peer's
 * @pgoff: where the peer is to have it mapped
 * @huge: it is a huge frame, else the PTEs are carried
 * @to: where that goes to
 */
struct zcipc_move {
	struct zcipc_transfer *cmd;
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	struct zcipc_cap *cap;
	unsigned long pgoff;
	bool huge;
	struct zcipc_carry_to to;
};

static bool short_moves = true;
module_param(short_moves, bool, 0644);
MODULE_PARM_DESC(short_moves, "a MOVE of what only the sender knows goes a shorter way");

bool zcipc_move_short_is_on(void)
{
	return READ_ONCE(short_moves);
}

/* Is nothing asked for that is not usual? */
static bool zcipc_move_is_usual(const struct zcipc_transfer *cmd)
{
	return cmd->type == ZCIPC_MOVE && cmd->node == ZCIPC_NODE_ANY &&
	       !(cmd->flags | cmd->rights | cmd->cache | cmd->__reserved | cmd->offset);
}

/* The only mapping of a region that can go this way, or NULL. Sets whether it is a huge frame. */
static struct zcipc_slot *zcipc_move_slot(struct zcipc_move *m)
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
	    region->user != m->dst->space.user || !list_is_singular(&region->extents) ||
	    m->cap->extent.nslots != 1 || m->cap->extent.slots.next != &slot->entry ||
	    slot->npages != npages || zcipc_slot_is_pfnmap(slot))
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

/* Takes a place in the peer's window, if there is one, and room for the rest. */
static bool zcipc_move_reserve(struct zcipc_move *m)
{
	const struct zcipc_region *region = m->cap->extent.region;
	unsigned int window = zcipc_region_window(&m->dst->space, region, region->npinned,
						  m->cap->rights & ZCIPC_RIGHT_WRITE);

	return zcipc_message_room(m->dst) &&
	       !zcipc_cap_reserve(m->dst, 1, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN) &&
	       !zcipc_window_reserve(&m->dst->space, window, region->npages, m->huge ? 0 : -1,
				     &m->pgoff);
}

/* Takes the frame out of the sender's page table, unless somebody holds it. */
static bool zcipc_move_take(struct zcipc_move *m, struct zcipc_slot *slot)
{
	zcipc_test_point("looked");
	if (!m->huge)
		return zcipc_carry_few_out(&m->to, slot, &m->dst->space, m->pgoff);
	zcipc_slot_unmap(slot);
	zcipc_test_point("unmapped");
	return zcipc_huge_refs(m->cap->extent.region->frames[0]) <= 0;
}

/* What cannot fail. */
static void zcipc_move_commit(struct zcipc_move *m)
{
	struct zcipc_transfer *cmd = m->cmd;
	struct zcipc_cap *cap = m->cap;
	struct zcipc_region *region = cap->extent.region;
	u64 addr;

	/* Not before it is sure that it goes this way. */
	trace_zcipc_prepare(m->src->space.id, m->dst->space.id, ZCIPC_MOVE, region->npages);
	cmd->pages = region->npages;
	cmd->copied = 0;
	cmd->migrated = 0;
	cmd->off_node = 0;
	cmd->result = 0;
	zcipc_count(&m->src->space, region, MOVES, 1);
	zcipc_count(&m->src->space, region, PAGES, region->npages);
	trace_zcipc_commit(m->src->space.id, m->dst->space.id, ZCIPC_MOVE, region->id,
			   region->npages, 0);
	zcipc_cap_pass(cap, m->dst);
	addr = zcipc_slot_pass(&cap->slot, &m->src->space, m->pgoff,
			       cap->rights & ZCIPC_RIGHT_WRITE);
	zcipc_endpoint_made_room(m->src);
	cmd->peer_cap = cap->extent.token;
	zcipc_test_point("committed");
	if (m->huge)
		zcipc_slot_populate_block(&cap->slot);
	else
		zcipc_carry_few_in(&m->to, &cap->slot);
	cap->msg = zcipc_message_of_transfer(ZCIPC_MOVE, region->id, addr, 0,
					     (u64)region->npages << PAGE_SHIFT, cmd->cookie,
					     cap->rights, false);
	zcipc_message_queue(m->dst, &cap->msg, m->src);
}

/* Under the region's lock, too. */
static bool zcipc_move_region(struct zcipc_move *m)
{
	struct zcipc_slot *slot = zcipc_move_slot(m);

	if (!slot || !zcipc_move_reserve(m))
		return false;
	if (!zcipc_move_take(m, slot)) {
		zcipc_window_release(&m->dst->space, m->pgoff, m->cap->extent.region->npages);
		return false;
	}
	zcipc_move_commit(m);
	return true;
}

/* Under both endpoints' locks. The peer's address space exists. */
static bool zcipc_move_locked(struct zcipc_move *m)
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
		done = zcipc_move_region(m);
		mmap_read_unlock(mm);
	}
	mutex_unlock(&region->lock);
	if (done)
		zcipc_count(&m->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	return done;
}

/**
 * zcipc_move_short() - ZCIPC_IOC_TRANSFER, if it can go the short way
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: true when it has been carried out; false if it is for zcipc_transfer() to say what
 * becomes of it
 */
bool zcipc_move_short(struct zcipc_ucmd *ucmd)
{
	struct zcipc_move m = { .cmd = ucmd->cmd, .src = ucmd->ep };
	u64 start = ktime_get_ns();
	bool done = false;
	struct mm_struct *mm;

	if (!zcipc_move_is_usual(m.cmd) || !zcipc_move_short_is_on())
		return false;
	m.dst = zcipc_endpoint_get(m.cmd->peer);
	if (IS_ERR(m.dst))
		return false;
	mm = m.dst->space.mm;
	if (m.src == m.dst || zcipc_ucmd_probe(ucmd) || !mmget_not_zero(mm))
		goto out_put;
	zcipc_test_point("prepared");
	zcipc_endpoints_lock(m.src, m.dst);
	done = zcipc_move_locked(&m);
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

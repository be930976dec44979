// SPDX-License-Identifier: GPL-2.0
/*
 * Transfers: prepare everything that can fail, commit by changing the tables, then populate the
 * peer's page tables.
 *
 * zcipc_transfer_alloc() allocates, without locks. zcipc_transfer_begin() does what else can fail,
 * under the locks of both endpoints and of the region, and can be taken back by
 * zcipc_transfer_abort(). zcipc_transfer_commit() cannot fail. A single transfer populates before
 * anybody sees the result, if it gets the peer's mmap_lock, for which it does not wait. A grant is
 * a transfer that maps nothing.
 *
 * What takes long, zcipc_transfer_long() does with the lock of the region alone. Of a batch each
 * such transfer is made by itself, but for one that is atomic: see batch.c.
 */
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/timex.h>

#include <linux/zcipc.h>

#include "base/compat.h"
#include "base/counters.h"
#include "base/limits.h"
#include "base/test.h"
#include "base/trace.h"
#include "base/ucmd.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/plan.h"
#include "mem/pool.h"
#include "mem/region.h"
#include "map/carry.h"
#include "map/cow.h"
#include "map/fault.h"
#include "map/file.h"
#include "map/insert.h"
#include "map/memory.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "map/vma.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/policy.h"
#include "ipc/queue.h"
#include "ipc/room.h"
#include "transfer/direct.h"
#include "transfer/import.h"
#include "transfer/move.h"
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
static bool zcipc_transfer_copies(const struct zcipc_transfer *cmd, u64 len)
{
	return cmd->flags & ZCIPC_F_AUTO && len <= READ_ONCE(auto_copy_max);
}

/* Checks what belongs to transfers from memory. */
static int zcipc_transfer_validate_memory(const struct zcipc_transfer *cmd)
{
	u64 addr = zcipc_untagged(cmd->offset), end = addr + cmd->len;

	if (!(cmd->flags & ZCIPC_F_FROM_MEMORY) || cmd->cap || !cmd->len || end < addr ||
	    end > TASK_SIZE ||
	    PAGE_ALIGN(end) - (addr & PAGE_MASK) > ZCIPC_MAX_REGION_PAGES << PAGE_SHIFT ||
	    cmd->flags & ZCIPC_F_REVOKE_OTHERS)
		return -EINVAL;
	if (cmd->type != ZCIPC_MOVE && cmd->flags & ZCIPC_F_UNMAP)
		return -EINVAL;
	if (cmd->type == ZCIPC_SHARE && cmd->flags & (ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK))
		return -EINVAL;
	if (cmd->type == ZCIPC_MOVE && cmd->flags & ZCIPC_F_IMPORT)
		return -EINVAL;
	if (!(cmd->flags & ZCIPC_F_ANY_ALIGN) && !PAGE_ALIGNED(cmd->offset | cmd->len))
		return -EINVAL;
	/* There is no way back from there. */
	if (cmd->flags & ZCIPC_F_NODE_STRICT ||
	    (cmd->cache != ZCIPC_CACHE_DEFAULT && cmd->cache != ZCIPC_CACHE_WRITEBACK))
		return -EOPNOTSUPP;
	return 0;
}

/* zcipc_transfer_validate(), of whatever it is. */
int zcipc_transfer_validate_all(const struct zcipc_transfer *cmd)
{
	if (cmd->flags & ~(ZCIPC_F_STRICT | ZCIPC_F_REVOKE_OTHERS | ZCIPC_F_PEER_FD |
			   ZCIPC_F_NODE_STRICT | ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN |
			   ZCIPC_F_COPY_OK | ZCIPC_F_UNMAP | ZCIPC_F_AUTO |
			   ZCIPC_F_BREAK_HUGE | ZCIPC_F_IMPORT) ||
	    cmd->cache == ZCIPC_CACHE_WRITETHROUGH ||
	    (cmd->cache <= ZCIPC_CACHE_UNCACHED && !zcipc_frame_can_cache(cmd->cache)))
		return -EOPNOTSUPP;
	if (cmd->cache > ZCIPC_CACHE_WRITEBACK ||
	    (cmd->node != ZCIPC_NUMA_RECEIVER && !zcipc_node_valid(cmd->node)))
		return -EINVAL;
	if (cmd->type < ZCIPC_MOVE || cmd->type > ZCIPC_COPY || cmd->rights & ~ZCIPC_RIGHTS_ALL)
		return -EINVAL;
	if (!(cmd->rights & ZCIPC_RIGHT_READ) && (cmd->rights || cmd->type == ZCIPC_SHARE))
		return -EINVAL;
	if (cmd->flags & ZCIPC_F_REVOKE_OTHERS && cmd->type != ZCIPC_MOVE)
		return -EINVAL;
	if (cmd->flags & (ZCIPC_F_AUTO | ZCIPC_F_BREAK_HUGE) && cmd->type != ZCIPC_COPY)
		return -EINVAL;
	if (cmd->__reserved)
		return -EINVAL;
	if (cmd->flags & (ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK |
			  ZCIPC_F_UNMAP | ZCIPC_F_IMPORT))
		return zcipc_transfer_validate_memory(cmd);
	return 0;
}

/* Finds the sender's capability and checks what it is to be used for. Sets range and rights. */
static __always_inline struct zcipc_cap *zcipc_transfer_find(struct zcipc_transfer_state *t)
{
	static const u32 needed[] = {
		[ZCIPC_MOVE] = ZCIPC_RIGHT_MOVE,
		[ZCIPC_SHARE] = ZCIPC_RIGHT_GRANT,
		[ZCIPC_COPY] = ZCIPC_RIGHT_READ,
		[ZCIPC_GRANTED] = ZCIPC_RIGHT_GRANT,
	};
	const struct zcipc_transfer *cmd = t->cmd;
	struct zcipc_cap *cap;
	int ret;

	cap = zcipc_cap_find(t->src, cmd->cap);
	if (IS_ERR(cap))
		return cap;
	ret = zcipc_cap_range(cap, cmd->offset, cmd->len, &t->first, &t->npages);
	if (ret)
		return ERR_PTR(ret);
	if (!(cap->rights & needed[cmd->type]))
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
	return cap;
}

struct zcipc_cap *zcipc_transfer_source(struct zcipc_transfer_state *t)
{
	return zcipc_transfer_find(t);
}

/**
 * zcipc_transfer_find_peer() - set the peer
 * @t: the transfer
 *
 * Return: 0 and a reference to the peer, or -EBADF, -ENOENT, -ESRCH, -EPERM
 */
int zcipc_transfer_find_peer(struct zcipc_transfer_state *t)
{
	struct zcipc_endpoint *peer;

	if (t->cmd->flags & ZCIPC_F_PEER_FD)
		peer = zcipc_endpoint_get_fd(t->cmd->peer);
	else
		peer = zcipc_endpoint_get(t->cmd->peer);
	if (IS_ERR(peer))
		return PTR_ERR(peer);
	t->dst = peer;
	return zcipc_transfer_accepted(t) ? 0 : -EPERM;
}

/* Does the peer accept the sender? May be asked with and without the peer's lock. */
bool zcipc_transfer_accepted(const struct zcipc_transfer_state *t)
{
	return t->cmd->flags & ZCIPC_F_PEER_FD || zcipc_endpoint_accepts(t->dst, t->src);
}

/* Notes what a transfer needs; the caller holds the sender's lock. Returns its capability. */
struct zcipc_cap *zcipc_transfer_look(struct zcipc_transfer_state *t)
{
	struct zcipc_cap *cap = zcipc_transfer_find(t);

	if (IS_ERR(cap))
		return cap;
	t->whole = t->cmd->type == ZCIPC_MOVE && t->npages == cap->extent.region->npages;
	if (t->whole)
		return cap;
	t->copy = zcipc_transfer_copies(t->cmd, (u64)t->npages << PAGE_SHIFT);
	/* What a user moves to itself is charged already. */
	t->charge = t->cmd->type != ZCIPC_MOVE ||
		    t->dst->space.user != READ_ONCE(cap->extent.region->user);
	return cap;
}

/**
 * zcipc_transfer_alloc() - allocate what a transfer needs
 * @t: the transfer; zcipc_transfer_look() has found that
 *
 * zcipc_transfer_free() must follow, whatever this returns.
 *
 * Context: May sleep. No lock is held that others wait for.
 * Return: 0, or -ENOMEM, -EDQUOT
 */
int zcipc_transfer_alloc(struct zcipc_transfer_state *t)
{
	struct zcipc_region *region;

	if (t->whole)
		return 0;
	t->cap = zcipc_cap_alloc(READ_ONCE(t->dst->node));
	if (!t->cap)
		return -ENOMEM;
	if (t->cmd->type == ZCIPC_COPY || t->cmd->type == ZCIPC_MOVE) {
		region = zcipc_region_alloc(t->dst->space.user, zcipc_transfer_span(t), t->charge);
		if (IS_ERR(region))
			return PTR_ERR(region);
		t->region = region;
		if (t->direct)
			return zcipc_direct_copy_edges(t);
	}
	return 0;
}

/* Everything that a transfer needs. Context and results are those of zcipc_transfer_alloc(). */
static int zcipc_transfer_prepare(struct zcipc_transfer_state *t)
{
	struct zcipc_cap *cap;

	if (t->direct && !t->direct->snapshot)
		return zcipc_direct_prepare(t);
	mutex_lock(&t->src->space.lock);
	cap = zcipc_transfer_look(t);
	mutex_unlock(&t->src->space.lock);
	return IS_ERR(cap) ? PTR_ERR(cap) : zcipc_transfer_alloc(t);
}

void zcipc_transfer_free_all(struct zcipc_transfer_state *t)
{
	zcipc_cap_free(t->cap);
	zcipc_cap_free(t->gone);
	if (t->region)
		zcipc_region_put(t->region);
	if (t->revoked) {
		zcipc_cap_reap(t->revoked, t->nrevoked);
		zcipc_region_put(t->revoked);
	}
	if (t->dst && !t->borrowed)
		zcipc_endpoint_put(t->dst);
}

/* Does any capability but this one name pages of the range? */
static bool zcipc_transfer_others_hold(const struct zcipc_transfer_state *t,
				       const struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_extent *other = zcipc_extent_next(region, NULL, t->first, t->npages);

	return other != &cap->extent ||
	       zcipc_extent_next(region, other, t->first, t->npages);
}

/* Takes room in the peer's queue, table and window, or none. */
int zcipc_transfer_reserve(struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	struct zcipc_endpoint *dst = t->dst;
	long align = -1;
	int ret;

	if (!zcipc_message_room(dst))
		return -EAGAIN;
	ret = zcipc_cap_reserve(dst, 1, ZCIPC_GFP_LOCKED);
	if (ret)
		return ret;
	if (zcipc_transfer_places(t)) {
		/* A snapshot of unaligned memory begins earlier than what is not copied. */
		if (region && region->nhuge && (!t->direct || region == t->region))
			align = zcipc_region_alignment(region, t->first, t->npages,
						       t->cmd->type != ZCIPC_SHARE);
		/* A new region has huge frames only where they stay at the same place in it. */
		if (align > 0 && t->region)
			align = -1;
		if (t->mend)
			align = 0;
		ret = zcipc_window_reserve(&dst->space, t->window, zcipc_transfer_span(t), align,
					   &t->pgoff);
		if (ret)
			return ret;
		t->window_id = dst->space.windows[t->window].id;
	}
	dst->nreserved++;
	return 0;
}

void zcipc_transfer_unreserve(struct zcipc_transfer_state *t)
{
	zcipc_uncharge_pins(t->dst->space.user, t->pins);
	t->dst->nreserved--;
	/* The owner may have unmapped it since, and mapped another one. */
	if (zcipc_transfer_places(t) && t->dst->space.windows[t->window].id == t->window_id)
		zcipc_window_release(&t->dst->space, t->pgoff, zcipc_transfer_span(t));
}

/* Are blocks of a region to be made huge frames again, before there is a snapshot? */
static bool zcipc_transfer_mends(const struct zcipc_transfer_state *t)
{
	const struct zcipc_transfer *cmd = t->cmd;

	/* Not where the snapshot has no use for it, nor where that may be the wrong node. */
	return cmd->type == ZCIPC_COPY && !t->direct && !(t->first % ZCIPC_HUGE_PAGES) &&
	       !(cmd->flags & ZCIPC_F_STRICT) && cmd->node == ZCIPC_NODE_ANY;
}

/**
 * zcipc_transfer_survey() - all that zcipc_transfer_admit() has to know of each page
 * @t: the transfer
 * @region: the sender's; the caller holds its lock, and needs no other
 */
void zcipc_transfer_survey(struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	u32 type = t->cmd->type;

	t->npinned = 0;
	t->nloose = 0;
	t->mend = false;
	t->present = zcipc_region_present(region, t->first, t->npages);
	if (!t->present)
		return;
	if (region->npinned &&
	    (type == ZCIPC_COPY || (type == ZCIPC_MOVE && t->dst->space.user != region->user)))
		t->npinned = zcipc_region_count_pins(region, t->first, t->npages);
	if ((type == ZCIPC_COPY || type == ZCIPC_MOVE) && t->dst->space.user != region->user)
		t->nloose = zcipc_region_count_loose(region, t->first, t->npages, &t->npinned);
	t->mend = zcipc_transfer_mends(t) && zcipc_cow_is_torn(region, t->first, t->npages);
}

/* What the peer's user will have pinned, and has not now. */
static int zcipc_transfer_charge_pins(struct zcipc_transfer_state *t)
{
	int ret;

	t->pins = 0;
	if (!t->npinned || t->copy)
		return 0;
	ret = zcipc_charge_pins(t->dst->space.user, t->npinned, t->dst->pin_limit);
	if (!ret)
		t->pins = t->npinned;
	return ret;
}

/* What is to become of the frames. */
void zcipc_transfer_plan(struct zcipc_transfer_state *t)
{
	u32 flags = t->cmd->flags;
	int node = t->cmd->node;

	memset(&t->plan, 0, sizeof(t->plan));
	INIT_LIST_HEAD(&t->plan.spares);
	/* Who holds pages of what is to be shared may go on to write to them. */
	t->plan.strict = flags & ZCIPC_F_STRICT ||
			 (t->set_cache && t->cmd->type == ZCIPC_SHARE);
	t->plan.cache = t->cache;
	t->plan.brief = t->brief;
	t->plan.node = node == ZCIPC_NUMA_RECEIVER ? READ_ONCE(t->dst->node) : node;
	t->plan.node_strict = flags & ZCIPC_F_NODE_STRICT;
}

/*
 * Takes a range whose last block that is a huge frame has pages behind it: up to there it is
 * unmapped, and will be shown by PMDs, and what is behind is carried. Returns 0, -EAGAIN if it has
 * to go the other way, with a new plan, or what zcipc_region_plan() says.
 */
static int zcipc_transfer_take_mixed(struct zcipc_transfer_state *t, struct zcipc_region *region)
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

/* Everything about a MOVE that can fail. The frames are then reachable through the region alone. */
static int zcipc_transfer_take(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	int ret;

	/* A new region is charged from the beginning. */
	t->charged = !t->region && t->dst->space.user != region->user;
	if (t->charged) {
		ret = zcipc_charge(t->dst->space.user, region->ncharged);
		if (ret)
			return ret;
	}
	/* Who would pay was a guess. */
	if (t->region && !t->region->ncharged && t->dst->space.user != region->user) {
		ret = zcipc_charge(t->dst->space.user, t->npages);
		if (ret)
			return ret;
		t->region->ncharged = t->npages;
	}
	if (t->carried)
		return 0;
	t->plan.take = true;
	t->plan.others = t->dst->space.user != region->user;
	if (t->carry && !t->set_cache && !t->nloose && t->plan.node == NUMA_NO_NODE) {
		/* Where that works nothing is to be replaced. */
		if (zcipc_carry_out(t->carry, region, t->first, t->npages, &t->src->space,
				    &t->dst->space, t->pgoff))
			return 0;
		if (region->nhuge) {
			ret = zcipc_transfer_take_mixed(t, region);
			if (!ret)
				return 0;
			if (ret != -EAGAIN)
				goto out_uncharge;
			zcipc_transfer_plan(t);
			t->plan.take = true;
			t->plan.others = t->dst->space.user != region->user;
		}
	}
	if (!t->unmapped || !list_is_singular(&region->extents))
		zcipc_region_unmap(region, t->first, t->npages,
				   t->unmapped ? &t->src->space : NULL);
	zcipc_test_point("unmapped");
	ret = zcipc_region_plan(region, t->first, t->npages, ZCIPC_GFP_LOCKED, &t->plan);
out_uncharge:
	if (ret && t->charged)
		zcipc_uncharge(t->dst->space.user, region->ncharged);
	return ret;
}

/* Everything about a COPY that is made by copying that can fail. */
static int zcipc_transfer_copy(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	int node = t->plan.node != NUMA_NO_NODE ? t->plan.node : READ_ONCE(t->dst->node);
	unsigned long at = t->direct ? t->direct->first : 0;
	bool frozen = zcipc_cow_look(region, t->first, t->npages) == ZCIPC_COW_NOTHING;
	bool carried = !frozen && t->carry &&
		       zcipc_carry_freeze(t->carry, region, t->first, t->npages, &t->src->space,
					  t->src->space.mm == t->dst->space.mm, true);
	int ret;

	/* The instant is now: whoever writes next waits for the region's lock. */
	if (!frozen && !carried)
		zcipc_region_unmap(region, t->first, t->npages,
				   t->unmapped ? &t->src->space : NULL);
	zcipc_test_point("frozen");
	/* What has been carried nobody holds. */
	ret = zcipc_cow_copy(region, t->first, t->npages, t->region, at, t->cache, node,
			     t->plan.strict && !carried);
	if (carried)
		zcipc_carry_thaw(t->carry);
	if (ret || t->plan.node == NUMA_NO_NODE)
		return ret;
	t->plan.off_node = zcipc_region_off_node(t->region, at, t->npages, t->plan.node);
	return t->plan.off_node && t->plan.node_strict ? -ENOMEM : 0;
}

/* Everything about a COPY that can fail. */
static int zcipc_transfer_snapshot(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	unsigned long at = t->direct ? t->direct->first : 0;
	enum zcipc_cow_freeze freeze;
	u32 unused = t->npages;
	int ret;

	if (t->copy)
		return zcipc_transfer_copy(t, region);
	if (t->mend)
		t->plan.mended = zcipc_cow_mend(region, t->first, t->npages);
	/* Others of the batch, and what has been done just now, may have changed that. */
	if (t->dst->space.user != region->user)
		t->nloose = zcipc_region_count_loose(region, t->first, t->npages, &unused);
	freeze = zcipc_cow_look(region, t->first, t->npages);
	if (freeze == ZCIPC_COW_NOTHING && !t->nloose) {
		zcipc_test_point("frozen");
		zcipc_cow_share(region, t->first, t->npages, t->region, at);
		return 0;
	}
	/* PTEs of huge frames do not last: who writes to one that is his alone again unmaps it. */
	if (freeze == ZCIPC_COW_ALL && t->carry && !t->nloose &&
	    (t->plan.mended || zcipc_region_alignment(region, t->first, t->npages, true) < 0) &&
	    zcipc_carry_freeze(t->carry, region, t->first, t->npages, &t->src->space,
			       t->src->space.mm == t->dst->space.mm, false)) {
		zcipc_test_point("frozen");
		zcipc_cow_share(region, t->first, t->npages, t->region, at);
		zcipc_carry_thaw(t->carry);
		return 0;
	}
	ret = zcipc_cow_snapshot(region, t->first, t->npages, t->region, at,
				 t->unmapped ? &t->src->space : NULL, freeze,
				 t->cmd->flags & ZCIPC_F_STRICT, &t->plan);
	if (ret || t->plan.node == NUMA_NO_NODE || !(t->plan.held + t->plan.nloose))
		return ret;
	/* Copies may be elsewhere than the frames are. */
	t->plan.off_node = zcipc_region_off_node(t->region, at, t->npages, t->plan.node);
	return t->plan.off_node && t->plan.node_strict ? -ENOMEM : 0;
}

/* Brings the frames of a range that is not moved to a node, if they are nobody else's. */
static int zcipc_transfer_migrate(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	int ret;

	t->plan.off_node = zcipc_region_off_node(region, t->first, t->npages, t->plan.node);
	if (!t->plan.off_node)
		return 0;
	if (zcipc_transfer_others_hold(t, cap))
		return t->plan.node_strict ? -EBUSY : 0;
	t->plan.off_node = 0;
	zcipc_region_unmap(region, t->first, t->npages, NULL);
	ret = zcipc_region_plan(region, t->first, t->npages, ZCIPC_GFP_LOCKED, &t->plan);
	if (!ret)
		zcipc_region_replace(region, t->first, &t->plan);
	return ret;
}

/* Which cache policy is it to be, and if another one than now, can it be? Also sets the window. */
static int zcipc_transfer_may_set_cache(struct zcipc_transfer_state *t,
					const struct zcipc_cap *cap)
{
	const struct zcipc_region *region = cap->extent.region;
	u32 type = t->cmd->type;

	t->cache = t->cmd->cache;
	if (t->cache == ZCIPC_CACHE_DEFAULT)
		t->cache = region->cache;
	else if (t->cache == ZCIPC_CACHE_WRITEBACK)
		t->cache = ZCIPC_CACHE_DEFAULT;
	/* What has been copied of it already, parts of pages, is write-back. */
	if (t->direct)
		t->cache = ZCIPC_CACHE_DEFAULT;
	/* No two regions have a frame of a pool. */
	t->recached = type == ZCIPC_COPY && (t->cache || region->cache);
	t->set_cache = type != ZCIPC_COPY && t->cache != region->cache;
	t->copy = t->recached || zcipc_transfer_copies(t->cmd, (u64)t->npages << PAGE_SHIFT);
	if (t->cache != region->cache)
		t->window = t->cache;
	else if (type == ZCIPC_COPY) /* which nobody can pin for long */
		t->window = zcipc_region_window(&t->dst->space, region, t->copy ? 0 : t->npinned,
						false);
	else
		t->window = zcipc_region_window(&t->dst->space, region, region->npinned,
						t->rights & ZCIPC_RIGHT_WRITE);
	if (!t->set_cache)
		return 0;
	if (t->keep_cache || region->npinned || region->pinnable)
		return -EOPNOTSUPP;
	/* Both will have it, in windows for the new policy, so it is the whole region's. */
	if (type == ZCIPC_SHARE &&
	    (!list_is_singular(&region->extents) || !list_empty(&cap->extent.slots)))
		return -EBUSY;
	return 0;
}

/**
 * zcipc_transfer_admit() - all that can fail before anything is unmapped
 * @t: the transfer, prepared; if it is not brief, zcipc_transfer_survey() has been called since the
 *	region was locked
 * @cap: as for zcipc_transfer_begin()
 *
 * zcipc_transfer_begin() or zcipc_transfer_dismiss() must follow, under the same locks.
 *
 * Return: 0 or an errno. -EAGAIN: there is no room in the peer.
 */
int zcipc_transfer_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	u32 type = t->cmd->type;
	int ret;

	t->file = region->file;
	/* Others can reach its pages, and it is not for us to say where they are. */
	if (t->file && (type == ZCIPC_MOVE || type == ZCIPC_COPY ||
			t->cmd->cache != ZCIPC_CACHE_DEFAULT ||
			t->cmd->flags & ZCIPC_F_NODE_STRICT))
		return -EOPNOTSUPP;
	if (t->brief)
		zcipc_transfer_survey(t, region);
	if (!t->present)
		return -ENOENT;
	if (type == ZCIPC_MOVE && !(t->cmd->flags & ZCIPC_F_REVOKE_OTHERS) &&
	    zcipc_transfer_others_hold(t, cap))
		return -EBUSY;
	if (type != ZCIPC_MOVE && type != ZCIPC_COPY &&
	    zcipc_cap_depth(cap) >= ZCIPC_MAX_DEPTH)
		return -ENOBUFS;
	/* All mappings of the capability are removed, with the locks of both endpoints. */
	if (type == ZCIPC_MOVE && t->npages == cap->extent.npages &&
	    t->dst->space.user != t->src->space.user && cap->extent.nslots > ZCIPC_LONG_MAPPED)
		return -E2BIG;
	ret = zcipc_transfer_may_set_cache(t, cap);
	if (!ret && t->brief && !t->copy && !t->set_cache && t->nloose > ZCIPC_LONG_COPIES)
		ret = -E2BIG;
	if (!ret)
		ret = zcipc_transfer_charge_pins(t);
	if (ret)
		return ret;
	t->mend = t->mend && !t->copy;
	ret = zcipc_transfer_reserve(t, region);
	if (ret)
		zcipc_uncharge_pins(t->dst->space.user, t->pins);
	t->admitted = !ret;
	return ret;
}

/*
 * zcipc_transfer_admit(), of a MOVE of frames that are neither pinned nor huge, that nobody else
 * has a capability for, and that are to stay as they are. Such a thing needs nothing but room.
 */
int zcipc_transfer_admit_plain(struct zcipc_transfer_state *t, const struct zcipc_region *region)
{
	struct zcipc_endpoint *dst = t->dst;
	int ret;

	if (!zcipc_region_present(region, t->first, t->npages))
		return -ENOENT;
	if (!zcipc_message_room(dst))
		return -EAGAIN;
	t->cache = region->cache;
	t->window = zcipc_region_window(&dst->space, region, region->npinned,
					t->rights & ZCIPC_RIGHT_WRITE);
	ret = zcipc_cap_reserve(dst, 1, ZCIPC_GFP_LOCKED) ?:
	      zcipc_window_reserve(&dst->space, t->window, t->npages, -1, &t->pgoff);
	if (ret)
		return ret;
	t->window_id = dst->space.windows[t->window].id;
	dst->nreserved++;
	t->admitted = true;
	return 0;
}

/* Takes zcipc_transfer_admit() back. */
void zcipc_transfer_dismiss(struct zcipc_transfer_state *t)
{
	t->admitted = false;
	zcipc_transfer_unreserve(t);
}

/* What can fail after zcipc_transfer_admit(). Needs the lock of the region alone. */
int zcipc_transfer_work(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	u32 type = t->cmd->type;
	int ret = 0;

	if (!t->carried)
		zcipc_transfer_plan(t);
	if (type == ZCIPC_MOVE)
		ret = zcipc_transfer_take(t, region);
	else if (t->plan.node != NUMA_NO_NODE && !t->file && !t->copy && !t->set_cache)
		ret = zcipc_transfer_migrate(t, cap);
	if (!ret && type == ZCIPC_COPY)
		ret = zcipc_transfer_snapshot(t, region);
	else if (type == ZCIPC_SHARE && t->set_cache)
		ret = zcipc_region_plan(region, 0, region->npages, ZCIPC_GFP_LOCKED, &t->plan);
	if (!ret && type == ZCIPC_COPY && t->pins)
		t->npinned = zcipc_region_count_pins(t->region, 0, t->region->npages);
	return ret;
}

/* zcipc_transfer_begin(), whatever is left to be done. */
int zcipc_transfer_begin_any(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	int ret = 0;

	/* Other transfers of the same batch may have moved pages away. */
	if (!t->admitted)
		ret = zcipc_transfer_admit(t, cap);
	else if (!zcipc_region_present(cap->extent.region, t->first, t->npages))
		ret = -ENOENT;
	if (!ret)
		ret = zcipc_transfer_work(t, cap);
	if (ret && t->admitted)
		zcipc_transfer_dismiss(t);
	return ret;
}

/* Takes zcipc_transfer_begin() back. */
void zcipc_transfer_abort(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	zcipc_region_plan_free(&t->plan);
	if (t->charged)
		zcipc_uncharge(t->dst->space.user, cap->extent.region->ncharged);
	zcipc_transfer_dismiss(t);
}

/* What has been copied need not be pinned. */
static void zcipc_transfer_settle_pins(struct zcipc_transfer_state *t, unsigned long npinned)
{
	zcipc_uncharge_pins(t->dst->space.user, t->pins - npinned);
	t->pins = 0;
}

/*
 * Needs the lock of the region alone, which the caller has held all the time: so nobody has used
 * one of these capabilities since what they name was unmapped.
 */
static void zcipc_transfer_revoke_others(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	unsigned long first = cap->extent.first + (t->cmd->offset >> PAGE_SHIFT);

	zcipc_test_point("revokes");
	t->revokes = false;
	t->nrevoked = zcipc_cap_kill_range(region, first, t->npages, cap, t->src);
	if (t->nrevoked)
		t->revoked = zcipc_region_get(region);
}

/* What a committed transfer leaves to be done to the frames and their charges. */
static void zcipc_transfer_settle(struct zcipc_transfer_state *t, struct zcipc_region *region,
				  unsigned long first)
{
	if (t->cmd->type == ZCIPC_SHARE)
		first = 0;
	if (t->plan.copies)
		zcipc_region_replace(region, first, &t->plan);
	if (t->cmd->type != ZCIPC_MOVE)
		return;
	if (t->pins)
		zcipc_transfer_settle_pins(t, zcipc_region_count_pins(region, first, t->npages));
	if (t->charged)
		zcipc_region_own(region, t->dst->space.user);
	if (t->region)
		zcipc_region_split(region, first, t->region);
}

/**
 * zcipc_transfer_finish() - the last part of a transfer that is not brief
 * @t: the transfer, committed
 * @cap: what was the sender's capability
 *
 * Needs the locks of the regions alone, of the peer's new one, too. The caller has held them all
 * the time: so nobody has seen frames that are not there yet.
 */
void zcipc_transfer_finish(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	zcipc_test_point("settles");
	zcipc_transfer_settle(t, cap->extent.region,
			      cap->extent.first + (t->cmd->offset >> PAGE_SHIFT));
	if (t->revokes)
		zcipc_transfer_revoke_others(t, cap);
}

/* The part of a MOVE that cannot fail. The region is the sender's no longer. */
static void zcipc_transfer_take_commit(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;

	t->revokes = t->cmd->flags & ZCIPC_F_REVOKE_OTHERS;
	if (t->revokes && t->brief)
		zcipc_transfer_revoke_others(t, cap);
	if (!t->region) {
		t->cap = cap;
		zcipc_cap_give(cap, t->dst);
		cap->rights = t->rights;
		zcipc_endpoint_made_room(t->src);
		return;
	}
	zcipc_region_inherit(region, t->region);
	if (t->npages == cap->extent.npages) {
		zcipc_cap_detach(cap, t->revokes);
		zcipc_endpoint_made_room(t->src);
		t->gone = cap;
	}
}

/* Bytes of a region's copied because of ZCIPC_F_AUTO. */
static u64 zcipc_transfer_auto(const struct zcipc_transfer_state *t)
{
	return t->copy && !t->recached ? (u64)t->npages << PAGE_SHIFT : 0;
}

/* Bytes of a region's copied because of its cache policy, or the peer's. */
static u64 zcipc_transfer_recached(const struct zcipc_transfer_state *t)
{
	u64 npages = t->npages;

	if (!t->recached && !t->set_cache)
		return 0;
	if (t->cmd->type == ZCIPC_SHARE)
		npages = t->plan.npages;
	return npages << PAGE_SHIFT;
}

/* Counts a transfer that is being carried out. */
static void zcipc_transfer_count(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	static const enum zcipc_stat stats[] = {
		[ZCIPC_MOVE] = ZCIPC_STAT_MOVES,
		[ZCIPC_SHARE] = ZCIPC_STAT_SHARES,
		[ZCIPC_COPY] = ZCIPC_STAT_COPIES,
		[ZCIPC_GRANTED] = ZCIPC_STAT_GRANTS,
	};
	u64 loose = (u64)t->plan.nloose << PAGE_SHIFT;
	u64 copied = t->plan.held + t->plan.migrated + t->plan.mended + zcipc_transfer_auto(t) +
		     zcipc_transfer_recached(t) + loose;
	/* Parts of pages are copied in any case. */
	unsigned long npages = t->direct ? t->direct->npages : t->npages;

	zcipc_count_add(&t->src->space, region, stats[t->cmd->type], 1);
	if (t->cmd->type == ZCIPC_GRANTED)
		return;
	/* To share a part with another policy all of the region is copied. */
	t->cmd->pages = npages - min(npages, copied >> PAGE_SHIFT);
	zcipc_count(&t->src->space, region, PAGES, t->cmd->pages);
	if (!copied)
		return;
	zcipc_count(&t->src->space, region, COPIED_HELD, t->plan.held);
	zcipc_count(&t->src->space, region, COPIED_NODE, t->plan.migrated);
	zcipc_count(&t->src->space, region, COPIED_AUTO, zcipc_transfer_auto(t));
	zcipc_count(&t->src->space, region, COPIED_CACHE, zcipc_transfer_recached(t));
	zcipc_count(&t->src->space, region, COPIED_MENDED, t->plan.mended);
	zcipc_count(&t->src->space, region, COPIED_PARTS, loose);
}

/* Notes what a transfer that is being carried out does. */
void zcipc_transfer_results(struct zcipc_transfer_state *t, struct zcipc_region *region)
{
	struct zcipc_transfer *cmd = t->cmd;
	u64 copied = t->plan.held + t->plan.mended + zcipc_transfer_recached(t) +
		     ((u64)t->plan.nloose << PAGE_SHIFT);

	t->dst->nreserved--;
	zcipc_transfer_count(t, region);
	trace_zcipc_commit(t->src->space.id, t->dst->space.id, cmd->type,
			   t->region ? t->region->id : region->id, t->npages,
			   copied + t->plan.migrated);
	cmd->copied = copied + zcipc_transfer_auto(t);
	if (t->direct) {
		cmd->copied += t->direct->copied;
		zcipc_count(&t->src->space, NULL, COPIED_MEMORY, t->direct->copied);
	}
	cmd->migrated = t->plan.migrated;
	cmd->off_node = t->plan.off_node;
}

/* Is it left to the peer to map the pages? Who takes a snapshot wants to go on, not to wait. */
static bool zcipc_transfer_lazy(const struct zcipc_transfer_state *t)
{
	return t->cmd->type == ZCIPC_COPY && !t->copy && t->npages > ZCIPC_FAULT_AROUND;
}

/* Tells the peer of its capability, and where it is mapped, 0: nowhere. */
static void zcipc_transfer_tell(struct zcipc_transfer_state *t, struct zcipc_cap *cap, u64 addr,
				u32 sender_rights)
{
	const struct zcipc_direct *direct = t->direct;
	struct zcipc_transfer *cmd = t->cmd;
	u64 len = direct ? direct->len : (u64)t->npages << PAGE_SHIFT;

	cap->msg = zcipc_message_of_transfer(cmd->type, cap->extent.region->id, addr,
					     direct ? direct->skip : 0, len, cmd->cookie,
					     sender_rights,
					     t->file && cmd->type != ZCIPC_GRANTED);
	cmd->peer_cap = cap->extent.token;
	zcipc_message_queue(t->dst, &cap->msg, t->src);
}

/**
 * zcipc_transfer_deliver() - the peer's part, which cannot fail
 * @t: the transfer; the caller holds the locks of the peer and of the region
 * @region: what the peer gets
 * @parent: what it is derived from, for a region that is shared
 * @sender_rights: what the sender had
 * @populate: the caller holds the mmap_lock of the peer's mm too
 *
 * Return: the peer's capability, valid as long as its lock is held
 */
struct zcipc_cap *zcipc_transfer_deliver(struct zcipc_transfer_state *t,
					 struct zcipc_region *region, struct zcipc_cap *parent,
					 u32 sender_rights, bool populate)
{
	struct zcipc_cap *cap = t->cap;
	u64 addr = 0;

	if (region->cache != t->cache)
		zcipc_region_set_cache(region, t->cache);
	/* A whole region comes with its capability. */
	if (cap != parent) {
		zcipc_cap_enter(cap, t->dst);
		zcipc_cap_install(cap, region, parent, t->first, zcipc_transfer_span(t),
				  t->rights);
	}
	if (zcipc_transfer_places(t)) {
		zcipc_slot_install(&cap->slot, &cap->extent, t->pgoff, t->first,
				   zcipc_transfer_span(t), t->rights & ZCIPC_RIGHT_WRITE);
		zcipc_test_point("committed");
		if (t->carry && t->carry->out)
			zcipc_carry_in(t->carry, &cap->slot);
		else if (populate && !zcipc_transfer_lazy(t))
			zcipc_slot_populate(&cap->slot);
		addr = zcipc_slot_addr(&cap->slot) + (t->direct ? t->direct->skip : 0);
	}
	zcipc_transfer_tell(t, cap, addr, sender_rights);
	t->cap = NULL;
	return cap;
}

/**
 * zcipc_transfer_pass() - zcipc_transfer_commit() of a whole region whose PTEs have been taken
 * @t: the transfer, begun; the caller still holds all locks. Nobody new is charged.
 * @cap: the sender's capability, the only one for the region
 *
 * The capability and @cap->slot, the only one that it has, go over as they are. The caller tells
 * that the sender has more room.
 */
void zcipc_transfer_pass(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_transfer *cmd = t->cmd;
	u32 sender_rights = cap->rights;
	u64 addr;

	t->dst->nreserved--;
	zcipc_count(&t->src->space, region, MOVES, 1);
	zcipc_count(&t->src->space, region, PAGES, t->npages);
	trace_zcipc_commit(t->src->space.id, t->dst->space.id, cmd->type, region->id, t->npages, 0);
	cmd->pages = t->npages;
	cmd->copied = 0;
	cmd->migrated = 0;
	cmd->off_node = 0;
	zcipc_cap_pass(cap, t->dst);
	cap->rights = t->rights;
	addr = zcipc_slot_pass(&cap->slot, &t->src->space, t->pgoff, t->rights & ZCIPC_RIGHT_WRITE);
	zcipc_test_point("committed");
	cap->msg = zcipc_message_of_transfer(cmd->type, region->id, addr, 0,
					     (u64)t->npages << PAGE_SHIFT, cmd->cookie,
					     sender_rights, false);
	cmd->peer_cap = cap->extent.token;
	zcipc_message_queue(t->dst, &cap->msg, t->src);
}

/**
 * zcipc_transfer_commit() - the rest
 * @t: the transfer, begun; the caller still holds all locks
 * @cap: the sender's capability
 * @populate: the caller holds the mmap_lock of the peer's mm too
 *
 * If it is not brief the caller holds the lock of the peer's new region, too, and
 * zcipc_transfer_finish() must follow.
 *
 * Return: the peer's capability, valid as long as its lock is held
 */
struct zcipc_cap *zcipc_transfer_commit(struct zcipc_transfer_state *t, struct zcipc_cap *cap,
					bool populate)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_transfer *cmd = t->cmd;
	u32 sender_rights = cap->rights;

	zcipc_transfer_results(t, region);
	if (cmd->type == ZCIPC_MOVE) {
		zcipc_transfer_take_commit(t, cap);
	} else if (cmd->type == ZCIPC_COPY) {
		/* The frames are the same, and so is who may hold them. */
		t->region->unpinnable = region->unpinnable;
		zcipc_region_set_cache(t->region, t->cache);
		if (!t->copy && sender_rights & ZCIPC_RIGHT_WRITE)
			region->break_huge = cmd->flags & ZCIPC_F_BREAK_HUGE;
		/* Those of the snapshot: it was charged for what it has of the region's. */
		if (t->pins) {
			t->region->npinned = t->npinned;
			zcipc_transfer_settle_pins(t, t->npinned);
		}
	}
	if (t->brief)
		zcipc_transfer_settle(t, region, t->first);
	if (!t->region)
		return zcipc_transfer_deliver(t, region, cap, sender_rights, populate);
	/* Nobody else knows it. */
	if (t->brief)
		zcipc_region_lock_new(t->region);
	t->first = 0;
	cap = zcipc_transfer_deliver(t, t->region, NULL, sender_rights, populate);
	if (t->brief)
		mutex_unlock(&t->region->lock);
	return cap;
}

/* May the peer be sent to? Under its lock. */
int zcipc_transfer_may_send(const struct zcipc_transfer_state *t)
{
	if (t->dst->space.dead)
		return -ESRCH;
	return zcipc_transfer_accepted(t) ? 0 : -EPERM;
}

/* Is what was reserved for a transfer still there, and can be used? Under the peer's lock. */
int zcipc_transfer_recheck(struct zcipc_transfer_state *t)
{
	int ret = zcipc_transfer_may_send(t);

	if (ret || !zcipc_transfer_places(t) ||
	    zcipc_window_has(&t->dst->space, t->window_id, t->pgoff, zcipc_transfer_span(t)))
		return ret;
	t->again = true;
	return -EAGAIN;
}

/*
 * A transfer of many pages: the locks of the endpoints, which others wait for, are released while
 * it is made. That of the region, which is held all the time, keeps the capability.
 */
static int zcipc_transfer_long(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	struct zcipc_endpoint *src = t->src, *dst = t->dst;
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_cap *from = cap;
	int ret;

	zcipc_endpoints_unlock(src, dst);
	zcipc_test_point("surveys");
	zcipc_transfer_survey(t, region);
	zcipc_endpoints_lock(src, dst);
	ret = zcipc_transfer_may_send(t);
	if (!ret)
		ret = zcipc_transfer_admit(t, cap);
	if (ret)
		return ret;
	zcipc_endpoints_unlock(src, dst);
	zcipc_test_point("long");
	ret = zcipc_transfer_work(t, cap);
	if (t->region)
		zcipc_region_lock_new(t->region);
	zcipc_endpoints_lock(src, dst);
	if (ret) {
		zcipc_transfer_dismiss(t);
	} else {
		ret = zcipc_transfer_recheck(t);
		if (ret)
			zcipc_transfer_abort(t, cap);
	}
	/* Others have seen that there was no room because of it. */
	if (ret)
		zcipc_endpoint_made_room(dst);
	else
		cap = zcipc_transfer_commit(t, cap, false);
	zcipc_endpoints_unlock(src, dst);
	if (!ret) {
		/* First, as nobody else is to have it mapped by PMDs then. */
		zcipc_transfer_finish(t, from);
		if (zcipc_transfer_places(t) && !zcipc_transfer_lazy(t) &&
		    mmap_read_trylock(dst->space.mm)) {
			zcipc_slot_populate_long(&cap->slot);
			mmap_read_unlock(dst->space.mm);
		}
	}
	if (t->region)
		mutex_unlock(&t->region->lock);
	zcipc_endpoints_lock(src, dst);
	return ret;
}

/* Is it so much that nobody can be asked to wait? Without the region's lock it is a guess. */
bool zcipc_transfer_is_long(const struct zcipc_transfer_state *t,
			    const struct zcipc_region *region)
{
	bool set_cache = t->cmd->cache != ZCIPC_CACHE_DEFAULT;
	unsigned long n = t->npages;

	/* Each page is looked at. */
	if (n > ZCIPC_LONG_PAGES &&
	    (region->nholes || (region->npinned && t->dst->space.user != READ_ONCE(region->user))))
		return true;
	if (!zcipc_transfer_places(t) || region->file)
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
	if (t->cmd->type == ZCIPC_SHARE)
		return n > ZCIPC_LONG_INSERTED &&
		       zcipc_region_entries(region, t->first, n) > ZCIPC_LONG_INSERTED;
	return n > ZCIPC_LONG_ENTRIES &&
	       zcipc_region_entries(region, t->first, n) > ZCIPC_LONG_ENTRIES;
}

/* Under both endpoints' locks. The peer's address space exists. */
static int zcipc_transfer_locked(struct zcipc_transfer_state *t)
{
	struct mm_struct *mm = t->dst->space.mm;
	struct zcipc_carry carry;
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	bool populate;
	int ret;

	ret = zcipc_transfer_may_send(t);
	if (ret)
		return ret;
	cap = zcipc_transfer_source(t);
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
	if (ret)
		goto out_unlock;
	t->brief = !zcipc_transfer_is_long(t, region);
	if (!t->brief) {
		ret = zcipc_transfer_long(t, cap);
		goto out_unlock;
	}
	/* If the peer is busy with its address space, its faults have to map what it gets. */
	populate = mmap_read_trylock(mm);
	if (populate) {
		zcipc_carry_init(&carry);
		t->carry = &carry;
	}
	ret = zcipc_transfer_begin(t, cap);
	if (!ret)
		zcipc_transfer_commit(t, cap, populate);
	if (populate) {
		mmap_read_unlock(mm);
		zcipc_carry_free(&carry);
		t->carry = NULL;
	}
	t->brief = false;
	if (ret == -E2BIG)
		ret = zcipc_transfer_long(t, cap);
out_unlock:
	mutex_unlock(&region->lock);
	return ret;
}

/* One try. Sets @room_seq to what it was when there was no room. */
static int zcipc_transfer_try(struct zcipc_transfer_state *t, u32 *room_seq)
{
	struct mm_struct *mm = t->dst->space.mm;
	cycles_t start;
	int ret;

	if (t->direct && !t->direct->snapshot)
		return zcipc_direct_try(t, room_seq);
	if (!mmget_not_zero(mm))
		return -ESRCH;
	zcipc_endpoints_lock(t->src, t->dst);
	start = get_cycles();
	ret = zcipc_transfer_locked(t);
	if (!ret && t->cmd->type != ZCIPC_GRANTED)
		zcipc_count(&t->src->space, NULL, REMAP_CYCLES, get_cycles() - start);
	*room_seq = t->dst->room_seq;
	zcipc_endpoints_unlock(t->src, t->dst);
	/* If the peer has exited this takes its address space down: not in our context. */
	mmput_async(mm);
	return ret;
}

/* Is all to be prepared anew for another try? */
static bool zcipc_transfer_begins_anew(const struct zcipc_transfer_state *t)
{
	/* Memory may be something else after the caller has waited; a region may be filled. */
	return t->again || (t->direct && !t->direct->snapshot);
}

/* There will be another try. */
static void zcipc_transfer_pause(struct zcipc_transfer_state *t)
{
	if (!zcipc_transfer_begins_anew(t))
		return;
	if (t->direct && !t->direct->snapshot)
		zcipc_direct_end(t, -EAGAIN);
	zcipc_cap_free(t->cap);
	if (t->region)
		zcipc_region_put(t->region);
	t->cap = NULL;
	t->region = NULL;
}

static int zcipc_transfer_again(struct zcipc_transfer_state *t)
{
	if (!zcipc_transfer_begins_anew(t))
		return 0;
	t->again = false;
	if (t->direct && !t->direct->snapshot)
		zcipc_direct_init(t->direct, t->cmd);
	return zcipc_transfer_prepare(t);
}

/**
 * zcipc_transfer_make() - a single transfer, from finding the peer on
 * @ucmd: the call that it is a part of
 * @cmd: the transfer, validated
 * @direct: it is from memory, or NULL
 * @wait: for room, if there is none
 *
 * Context: May sleep. No lock is held.
 * Return: 0 or an errno of struct zcipc_transfer, or -ERESTARTSYS
 */
int zcipc_transfer_make(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			struct zcipc_direct *direct, bool wait)
{
	struct zcipc_transfer_state t = { .cmd = cmd, .src = ucmd->ep, .direct = direct };
	struct zcipc_room need = {};
	bool waited = false;
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

	while ((ret = zcipc_transfer_try(&t, &room_seq)) == -EAGAIN) {
		bool again = t.again;

		if (!again && (!wait || READ_ONCE(t.dst->full) != ZCIPC_FULL_WAIT))
			break;
		need.window = t.window;
		need.npages = zcipc_transfer_places(&t) ? zcipc_transfer_span(&t) : 0;
		zcipc_transfer_pause(&t);
		if (again) {
			if (signal_pending(current))
				ret = -ERESTARTSYS;
		} else {
			if (waited)
				zcipc_endpoint_pass_turn(t.dst, need, ret);
			ret = zcipc_endpoint_wait_room(t.dst, room_seq, &need);
			waited = waited || !ret;
		}
		if (ret == -ERESTARTSYS)
			break;
		ret = zcipc_transfer_again(&t);
		if (ret)
			break;
	}
	if (waited)
		zcipc_endpoint_pass_turn(t.dst, need, ret);
	if (!ret)
		zcipc_test_point("sent");
	if (t.direct)
		zcipc_direct_end(&t, ret);
out_free:
	zcipc_transfer_free(&t);
	return ret;
}

/* A call that makes one transfer, if it is @valid: 0, or an errno. */
static int zcipc_transfer_run(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			      struct zcipc_direct *direct, int valid)
{
	u64 start = ktime_get_ns();
	int ret = valid ?: zcipc_transfer_make(ucmd, cmd, direct, !ucmd->nonblock);

	if (ret) {
		zcipc_endpoint_failed(ucmd->ep, cmd->peer, cmd->type, ret);
		return ret;
	}
	zcipc_stat_latency(cmd->type, ktime_get_ns() - start);
	return 0;
}

/*
 * A transfer from memory, if the call is @valid. What is a region already is transferred as that.
 * What is not stays what it is, and is moved or copied, unless the caller wants it to become one.
 */
static int zcipc_transfer_memory(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd, int valid)
{
	struct zcipc_transfer as_region = *cmd;
	struct zcipc_direct direct = {};
	bool file = false, secret;
	unsigned long from;
	u64 id;
	int ret;

	if (valid)
		return zcipc_transfer_run(ucmd, cmd, NULL, valid);
	zcipc_direct_init(&direct, cmd);
	if (zcipc_transfer_copies(cmd, cmd->len))
		return zcipc_transfer_run(ucmd, cmd, &direct, 0);
	as_region.flags &= ~(ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK |
			     ZCIPC_F_UNMAP | ZCIPC_F_AUTO | ZCIPC_F_IMPORT);
	/* Of a snapshot it is enough that the whole pages are a region. */
	as_region.len = direct.npages << PAGE_SHIFT;
	from = direct.addr - direct.skip + (direct.first << PAGE_SHIFT);
	if (cmd->type == ZCIPC_COPY && direct.npages)
		ret = zcipc_window_find(&ucmd->ep->space, from, as_region.len, false,
					&as_region.cap, &as_region.offset);
	else
		ret = zcipc_window_find(&ucmd->ep->space, direct.addr, direct.len,
					cmd->type == ZCIPC_SHARE, &as_region.cap,
					&as_region.offset);
	if (ret == -ENOENT && (cmd->type == ZCIPC_MOVE || !direct.npages ||
			       (cmd->type == ZCIPC_COPY && !(cmd->flags & ZCIPC_F_IMPORT))))
		return zcipc_transfer_run(ucmd, cmd, &direct, 0);
	if (ret == -EINVAL && cmd->type == ZCIPC_COPY)
		return zcipc_transfer_run(ucmd, cmd, &direct, 0);
	if (ret == -ENOENT && !(cmd->flags & ZCIPC_F_IMPORT)) {
		ret = zcipc_import_check(from, direct.npages, &secret);
		/* What is private could be made a region, but stays what it is. */
		if (!ret)
			return zcipc_transfer_run(ucmd, cmd, NULL, -EOPNOTSUPP);
	} else if (ret == -ENOENT) {
		as_region.offset = 0;
		ret = zcipc_import_adopt(ucmd, from, direct.npages, true, &as_region.cap, &id);
		if (zcipc_direct_may_copy(cmd, ret))
			return zcipc_transfer_run(ucmd, cmd, &direct, 0);
	}
	if (ret == -EOPNOTSUPP && cmd->type == ZCIPC_SHARE) {
		as_region.offset = 0;
		ret = zcipc_import_file(ucmd->ep, from, direct.npages, true, &as_region.cap, &id);
		file = !ret;
	}
	direct.snapshot = cmd->type == ZCIPC_COPY;
	ret = zcipc_transfer_run(ucmd, &as_region, direct.snapshot ? &direct : NULL, ret);
	if (file && ret)
		zcipc_cap_remove_token(ucmd->ep, as_region.cap);
	cmd->pages = as_region.pages;
	cmd->copied = as_region.copied;
	cmd->migrated = as_region.migrated;
	cmd->off_node = as_region.off_node;
	cmd->peer_cap = as_region.peer_cap;
	return ret;
}

/**
 * zcipc_transfer() - ZCIPC_IOC_TRANSFER
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_transfer, or -ERESTARTSYS
 */
int zcipc_transfer(struct zcipc_ucmd *ucmd)
{
	struct zcipc_transfer *cmd = ucmd->cmd;
	int ret;

	if (zcipc_move_short(ucmd))
		goto done;
	ret = zcipc_transfer_validate(cmd);
	if (cmd->flags & ZCIPC_F_FROM_MEMORY)
		ret = zcipc_transfer_memory(ucmd, cmd, ret);
	else
		ret = zcipc_transfer_run(ucmd, cmd, NULL, ret);
	if (ret)
		return ret;
done:
	cmd->result = 0;
	/* Probed before, and too late to say anything but that it was done. */
	zcipc_ucmd_respond(ucmd);
	return 0;
}

/**
 * zcipc_transfer_grant() - ZCIPC_IOC_GRANT
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_grant, or -ERESTARTSYS
 */
int zcipc_transfer_grant(struct zcipc_ucmd *ucmd)
{
	struct zcipc_grant *cmd = ucmd->cmd;
	struct zcipc_transfer transfer = {
		.type = ZCIPC_GRANTED,
		.flags = cmd->flags,
		.rights = cmd->rights,
		.cap = cmd->cap,
		.peer = cmd->peer,
		.offset = cmd->offset,
		.len = cmd->len,
		.cookie = cmd->cookie,
		.node = ZCIPC_NODE_ANY,
	};
	int ret = 0;

	if (cmd->flags & ~ZCIPC_F_PEER_FD)
		ret = -EOPNOTSUPP;
	else if (cmd->__reserved || cmd->rights & ~ZCIPC_RIGHTS_ALL ||
		 !(cmd->rights & ZCIPC_RIGHT_READ))
		ret = -EINVAL;
	ret = zcipc_transfer_run(ucmd, &transfer, NULL, ret);
	if (ret)
		return ret;
	cmd->peer_cap = transfer.peer_cap;
	/* Probed before, and too late to say anything but that it was done. */
	return zcipc_ucmd_respond(ucmd) ? 0 : ret;
}

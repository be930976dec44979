// SPDX-License-Identifier: GPL-2.0
/*
 * Capabilities: the tree of what is derived from what, and how they come and go.
 *
 * The capabilities of a tree are in the tables of many endpoints, whose locks cannot all be held.
 * So they are revoked in two steps. The first, zcipc_cap_kill(), needs only the region's lock: it
 * marks them and unmaps what they mapped. Whoever maps or derives holds that lock, and looks at the
 * mark. The second, zcipc_cap_reap(), takes them out of the tables one by one, and tells the
 * owners.
 */
#include "base/base.h"
#include "base/trace.h"
#include "map/file.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "ipc/queue.h"
#include "ipc/room.h"

/* For what nobody has the time to wait for. */
struct workqueue_struct *zcipc_workers;

/* It is as good as gone, but for the table. */
static void zcipc_cap_set_revoked(struct zcipc_cap *cap, struct zcipc_endpoint *revoker)
{
	zcipc_extent_revoke(&cap->extent);
	kref_get(&revoker->kref);
	cap->revoker = revoker;
}

/*
 * Makes a capability valid that has been entered in a table. @region gets a reference. What it is
 * derived from, @parent, is for the same region and not revoked, or NULL. The caller holds the
 * locks of the endpoint and the region.
 */
void zcipc_cap_install(struct zcipc_cap *cap, struct zcipc_region *region,
		       struct zcipc_cap *parent, unsigned long first, unsigned long npages,
		       u32 rights)
{
	zcipc_extent_install(&cap->extent, region, first, npages);
	cap->rights = rights;
	cap->parent = parent;
	if (parent)
		list_add_tail(&cap->sibling, &parent->children);
	zcipc_stat_inc(CAPS);
}

static void zcipc_cap_remove_slots(struct zcipc_cap *cap)
{
	struct zcipc_slot *slot, *next;

	list_for_each_entry_safe(slot, next, &cap->extent.slots, entry) {
		zcipc_slot_remove(slot);
		cond_resched();
	}
}

/* A worker takes what has been revoked out of the tables. */
static void zcipc_cap_reap_later(struct zcipc_region *region)
{
	zcipc_region_get(region);
	if (!queue_work(zcipc_workers, &region->reap))
		zcipc_region_put(region);
}

/*
 * Something derived from a capability has gone. If nobody was told of that one, and that was the
 * last, it has to go too, with what somebody who guessed its token has mapped. Its endpoint's lock
 * is not held: it is as if that revoked it.
 */
static void zcipc_cap_lost_child(struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_slot *slot;

	if (!cap->implicit || !region->file || cap->extent.revoked || !list_empty(&cap->children))
		return;
	zcipc_cap_set_revoked(cap, zcipc_cap_ep(cap));
	list_for_each_entry(slot, &cap->extent.slots, entry)
		zcipc_slot_unmap(slot);
	zcipc_cap_reap_later(region);
}

/* What is derived from a capability becomes its parent's, or stands alone, unless it is to stay. */
static void zcipc_cap_leave_tree(struct zcipc_cap *cap, bool stay)
{
	struct zcipc_cap *child, *next;

	list_for_each_entry_safe(child, next, &cap->children, sibling) {
		if (stay)
			break;
		child->parent = cap->parent;
		if (cap->parent)
			list_move_tail(&child->sibling, &cap->parent->children);
		else
			list_del_init(&child->sibling);
		cond_resched();
	}
	list_del_init(&cap->sibling);
	if (cap->parent)
		zcipc_cap_lost_child(cap->parent);
}

/* A capability leaves its endpoint: nobody hears what has not been received about it. */
static void zcipc_notices_end(struct zcipc_cap *cap)
{
	struct zcipc_notice *notice, *next;

	list_for_each_entry_safe(notice, next, &cap->notices, entry) {
		zcipc_message_unqueue(zcipc_cap_ep(cap), &notice->msg);
		zcipc_notice_free(zcipc_cap_ep(cap), notice);
	}
}

/*
 * Takes a capability and its slots, of which nothing is mapped any more, out of everything. The
 * caller holds the locks of endpoint and region; zcipc_cap_free() must follow, without the latter.
 * @stay: what is derived from it stays so for the time being, and is revoked before it is freed.
 */
void zcipc_cap_detach(struct zcipc_cap *cap, bool stay)
{
	lockdep_assert_held(&zcipc_cap_ep(cap)->space.lock);
	lockdep_assert_held(&cap->extent.region->lock);
	zcipc_cap_remove_slots(cap);
	zcipc_cap_leave_tree(cap, stay);
	zcipc_extent_detach(&cap->extent);
	zcipc_cap_erase(cap);
	zcipc_message_unqueue(zcipc_cap_ep(cap), &cap->msg);
	zcipc_notices_end(cap);
	zcipc_stat_dec(CAPS);
}

/**
 * zcipc_cap_lock_region() - lock the region of a capability
 * @cap: the capability; the caller holds the lock of its endpoint
 * @other: another endpoint whose lock the caller holds, or the same one
 *
 * Context: as zcipc_region_lock(). What the caller knew of the endpoints may have changed.
 * Return: the capability, valid as long as the region is locked, and possibly revoked; or NULL if
 * it has gone, with no lock of a region
 */
struct zcipc_cap *zcipc_cap_lock_region(struct zcipc_cap *cap, struct zcipc_endpoint *other)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_endpoint *ep = zcipc_cap_ep(cap);
	u64 token = cap->extent.token;

	if (zcipc_region_lock(region, &ep->space, &other->space))
		return cap;
	/* What a token names does not change. */
	cap = zcipc_cap_at(ep, token);
	if (cap)
		zcipc_region_put(region);
	else
		zcipc_region_unlock_put(region);
	return cap;
}

/*
 * Takes a capability away, with all that it gave. The caller holds the locks of endpoint and
 * region. The former is released for what takes long, when the latter keeps the capability; then
 * that is unlocked.
 */
void zcipc_cap_remove_locked(struct zcipc_cap *cap)
{
	bool is_long = cap->extent.npages > ZCIPC_LONG_PAGES || cap->extent.nslots > 1;
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_endpoint *ep = zcipc_cap_ep(cap);
	struct zcipc_slot *slot;

	lockdep_assert_held(&ep->space.lock);
	lockdep_assert_held(&region->lock);
	if (is_long) {
		mutex_unlock(&ep->space.lock);
		zcipc_test_point("long");
	}
	list_for_each_entry(slot, &cap->extent.slots, entry)
		zcipc_slot_unmap(slot);
	if (is_long)
		mutex_lock(&ep->space.lock);
	zcipc_cap_detach(cap, false);
	mutex_unlock(&region->lock);
	/* The region may go with it. */
	if (is_long)
		mutex_unlock(&ep->space.lock);
	zcipc_cap_free(cap);
	if (is_long)
		mutex_lock(&ep->space.lock);
}

/*
 * Takes a capability away, with all that it gave. The caller holds the endpoint's lock, and no
 * other, which may be released in between.
 */
void zcipc_cap_remove(struct zcipc_cap *cap)
{
	cap = zcipc_cap_lock_region(cap, zcipc_cap_ep(cap));
	if (cap)
		zcipc_cap_remove_locked(cap);
}

/*
 * The owner gives up a capability for memory that it has adopted, and still has where it was. The
 * memory stays, and goes with its mapping: the capability is one that nobody has been told of. The
 * caller holds the locks of endpoint and region; the latter is unlocked.
 */
void zcipc_cap_forget(struct zcipc_cap *cap)
{
	struct zcipc_region *region = cap->extent.region;
	struct zcipc_slot *slot, *next;

	list_for_each_entry_safe(slot, next, &cap->extent.slots, entry) {
		if (slot == &cap->slot)
			continue;
		zcipc_slot_unmap(slot);
		zcipc_slot_remove(slot);
	}
	zcipc_cap_leave_tree(cap, false);
	zcipc_notices_end(cap);
	zcipc_cap_erase(cap);
	zcipc_cap_enter(cap, zcipc_cap_ep(cap));
	cap->implicit = true;
	mutex_unlock(&region->lock);
}

/* A slot is not where it was: who has not heard of it is not told. The caller holds the lock. */
void zcipc_cap_unplaced(struct zcipc_slot *slot)
{
	struct zcipc_cap *cap = zcipc_cap_of(slot->extent);

	if (slot == &cap->slot)
		cap->msg.addr = 0;
}

/*
 * Nothing of adopted memory is mapped any more. The capability stays if somebody knows it; if not,
 * this returns true. The caller holds the endpoint's lock, which may be released in between.
 */
bool zcipc_cap_emptied(struct zcipc_slot *slot)
{
	struct zcipc_cap *cap = zcipc_cap_of(slot->extent);

	if (!cap->implicit)
		return false;
	zcipc_cap_remove(cap);
	return true;
}

/* As zcipc_cap_remove(), if it is still there. No lock is held. */
void zcipc_cap_remove_token(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap;

	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find(ep, token);
	if (!IS_ERR(cap))
		zcipc_cap_remove(cap);
	mutex_unlock(&ep->space.lock);
}

/* Takes away all that a dead endpoint has. The caller holds its lock: it is released at times. */
void zcipc_cap_remove_all(struct zcipc_endpoint *ep)
{
	u32 i;

	for (i = 0; i < ep->caps_size; i++) {
		if (!zcipc_cap_entry_is_free(ep->caps[i]))
			zcipc_cap_remove(ep->caps[i]);
		/* Who wants to send something is to hear that it is dead. */
		if (i % 64)
			continue;
		mutex_unlock(&ep->space.lock);
		cond_resched();
		mutex_lock(&ep->space.lock);
	}
}

/*
 * Moves a capability to another endpoint's table, in which zcipc_cap_reserve() made room. It has a
 * new token, and no messages. What its slots show is unmapped; zcipc_slot_pass() must follow, for
 * each. The caller holds the locks of both endpoints and the region. Cannot fail.
 */
void zcipc_cap_pass(struct zcipc_cap *cap, struct zcipc_endpoint *to)
{
	lockdep_assert_held(&cap->extent.region->lock);
	if (!list_empty(&cap->msg.entry))
		zcipc_message_unqueue(zcipc_cap_ep(cap), &cap->msg);
	if (!list_empty(&cap->notices))
		zcipc_notices_end(cap);
	/* Whoever gets it is told the token. */
	cap->implicit = false;
	zcipc_cap_erase(cap);
	zcipc_cap_enter(cap, to);
}

/* As zcipc_cap_pass(), but without the slots. */
void zcipc_cap_give(struct zcipc_cap *cap, struct zcipc_endpoint *to)
{
	zcipc_cap_remove_slots(cap);
	zcipc_cap_pass(cap, to);
}

/**
 * zcipc_cap_find_locked() - zcipc_cap_find(), and lock the region
 * @ep: the endpoint; the caller holds its lock
 * @other: another endpoint whose lock the caller holds, or the same one
 * @token: what user space gave
 *
 * Context: as zcipc_region_lock(). What the caller knew of the endpoints may have changed.
 * Return: the capability, valid as long as the region is locked, or what zcipc_cap_find() says
 */
struct zcipc_cap *zcipc_cap_find_locked(struct zcipc_endpoint *ep, struct zcipc_endpoint *other,
					u64 token)
{
	struct zcipc_cap *cap = zcipc_cap_find(ep, token);

	if (IS_ERR(cap))
		return cap;
	zcipc_test_point("found");
	cap = zcipc_cap_lock_region(cap, other);
	if (!cap)
		return ERR_PTR(-ESTALE);
	if (!cap->extent.revoked)
		return cap;
	mutex_unlock(&cap->extent.region->lock);
	return ERR_PTR(-ESTALE);
}

/**
 * zcipc_cap_find_region() - zcipc_cap_find(), and lock the region alone
 * @ep: the endpoint; the caller holds no lock of an endpoint or a region
 * @token: what user space gave
 *
 * Return: as zcipc_cap_find(). The region's lock keeps the capability and its slots;
 * zcipc_region_unlock_put() must follow, of cap->extent.region as it is now
 */
struct zcipc_cap *zcipc_cap_find_region(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap;

	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find_locked(ep, ep, token);
	if (!IS_ERR(cap))
		zcipc_region_get(cap->extent.region);
	mutex_unlock(&ep->space.lock);
	return cap;
}

/* How many others a capability is derived from. The caller holds the region's lock. */
u32 zcipc_cap_depth(const struct zcipc_cap *cap)
{
	u32 depth = 0;

	while ((cap = cap->parent))
		depth++;
	return depth;
}

/* How many are derived from a capability, at any depth. The caller holds the region's lock. */
u32 zcipc_cap_derived(const struct zcipc_cap *root)
{
	const struct zcipc_cap *cap = root;
	u32 n;

	for (n = 0;; n++) {
		if (!list_empty(&cap->children)) {
			cap = list_first_entry(&cap->children, struct zcipc_cap, sibling);
			continue;
		}
		while (cap != root && list_is_last(&cap->sibling, &cap->parent->children))
			cap = cap->parent;
		if (cap == root)
			return n;
		cap = list_next_entry(cap, sibling);
		cond_resched();
	}
}

/*
 * Revokes one capability, first step. It is in no tree any more. Nothing that it mapped is mapped
 * when this returns, but for views of a file, which bring nothing back: zcipc_file_unmap_range()
 * must follow. zcipc_cap_reap() must, too. Unless @mapped all that it mapped is unmapped already.
 */
static void zcipc_cap_kill(struct zcipc_cap *cap, struct zcipc_endpoint *revoker, bool mapped)
{
	struct zcipc_slot *slot;

	lockdep_assert_held(&cap->extent.region->lock);
	zcipc_cap_set_revoked(cap, revoker);
	list_for_each_entry(slot, &cap->extent.slots, entry) {
		if (slot->view)
			zcipc_view_kill(slot->view);
		else if (mapped)
			zcipc_slot_unmap(slot);
	}
	zcipc_count(NULL, cap->extent.region, REVOKED, 1);
	trace_zcipc_revoke(revoker->space.id, zcipc_cap_ep(cap)->space.id, cap->extent.region->id);
}

/* Kills a capability, unless @keep, and all that is derived from it. Returns how many. */
u64 zcipc_cap_kill_tree(struct zcipc_cap *root, bool keep, struct zcipc_endpoint *revoker)
{
	struct zcipc_cap *parent = keep ? NULL : root->parent;
	LIST_HEAD(todo);
	u64 n;

	lockdep_assert_held(&root->extent.region->lock);
	list_splice_tail_init(&root->children, &todo);
	if (!keep) {
		list_del(&root->sibling);
		list_add(&root->sibling, &todo);
	}
	for (n = 0; !list_empty(&todo); n++) {
		struct zcipc_cap *cap = list_first_entry(&todo, struct zcipc_cap, sibling);

		list_del_init(&cap->sibling);
		list_splice_tail_init(&cap->children, &todo);
		cap->parent = NULL;
		zcipc_cap_kill(cap, revoker, true);
		cond_resched();
	}
	/* At once: all views have to be passed, dead ones until their owners unmap them. */
	if (n && root->extent.region->file)
		zcipc_file_unmap_range(root->extent.region, root->extent.first,
				       root->extent.npages);
	if (parent)
		zcipc_cap_lost_child(parent);
	return n;
}

/*
 * Revokes all capabilities that name nothing but pages of a range, but for @except. Returns how
 * many. The caller holds the region's lock, and has unmapped the range. zcipc_cap_reap() must
 * follow.
 */
u64 zcipc_cap_kill_range(struct zcipc_region *region, unsigned long first, unsigned long npages,
			 const struct zcipc_cap *except, struct zcipc_endpoint *revoker)
{
	struct zcipc_cap *cap, *next;
	u64 n = 0;

	lockdep_assert_held(&region->lock);
	/* In the order in which they were given, and are told. */
	list_for_each_entry_safe(cap, next, &region->extents, extent.region_entry) {
		cond_resched();
		if (cap == except || cap->extent.first < first ||
		    cap->extent.first + cap->extent.npages > first + npages)
			continue;
		zcipc_cap_leave_tree(cap, false);
		cap->parent = NULL;
		zcipc_cap_kill(cap, revoker, false);
		n++;
	}
	return n;
}

/* The endpoint of the first capability that is to be reaped, with a reference, or NULL. */
static struct zcipc_endpoint *zcipc_cap_first_revoked(struct zcipc_region *region, u64 *token)
{
	struct zcipc_endpoint *ep = NULL;
	struct zcipc_cap *cap;

	mutex_lock(&region->lock);
	cap = list_first_entry_or_null(&region->revoked, struct zcipc_cap, extent.region_entry);
	if (cap) {
		/* The endpoint's shutdown would have to take it out of the table first. */
		ep = zcipc_cap_ep(cap);
		kref_get(&ep->kref);
		*token = cap->extent.token;
	}
	mutex_unlock(&region->lock);
	return ep;
}

/* Takes a revoked capability out of its table. It becomes a message, unless nobody needs that. */
static void zcipc_cap_bury(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap = zcipc_cap_at(ep, token);
	struct zcipc_endpoint *revoker = NULL;
	struct zcipc_region *region;
	bool known;

	if (cap)
		cap = zcipc_cap_lock_region(cap, ep);
	if (!cap)
		return;
	region = cap->extent.region;
	known = (list_empty(&cap->msg.entry) || cap->msg.shown) && !cap->msg.unheard;
	zcipc_cap_detach(cap, false);
	mutex_unlock(&region->lock);
	if (!cap->implicit || !region->file)
		ep->space.stats[ZCIPC_STAT_REVOKED]++;
	/* Nothing of the region is left to it but its id. */
	cap->msg = (struct zcipc_message) {
		.type = ZCIPC_REVOKED,
		.region = region->id,
		.len = (u64)cap->extent.npages << PAGE_SHIFT,
	};
	cap->extent.region = NULL;
	zcipc_region_put(region);
	if (known && !ep->space.dead && ep != cap->revoker) {
		swap(cap->revoker, revoker);
		zcipc_message_queue(ep, &cap->msg, revoker);
		zcipc_endpoint_put(revoker);
	} else {
		zcipc_cap_free(cap);
	}
	zcipc_endpoint_made_room(ep);
}

/**
 * zcipc_cap_reap() - revoke, second step: take capabilities out of the tables, first killed first
 * @region: the region; a reference is held by the caller
 * @n: how many the caller has killed
 *
 * Context: May sleep; no lock is held. Leaves to a worker what others kill meanwhile, or, when the
 * task is killed, the rest.
 */
void zcipc_cap_reap(struct zcipc_region *region, u64 n)
{
	struct zcipc_endpoint *ep;
	u64 token;

	/* Some that others killed may come before. */
	for (n = 2 * n + 1; n && (ep = zcipc_cap_first_revoked(region, &token)); n--) {
		mutex_lock(&ep->space.lock);
		zcipc_cap_bury(ep, token);
		mutex_unlock(&ep->space.lock);
		zcipc_endpoint_put(ep);
		cond_resched();
		if (fatal_signal_pending(current))
			break;
	}
	if (!list_empty_careful(&region->revoked))
		zcipc_cap_reap_later(region);
}

static void zcipc_cap_reap_work(struct work_struct *work)
{
	struct zcipc_region *region = container_of(work, struct zcipc_region, reap);

	zcipc_cap_reap(region, U32_MAX);
	zcipc_region_put(region);
}

int zcipc_cap_init(void)
{
	zcipc_region_init(zcipc_cap_reap_work);
	zcipc_workers = alloc_workqueue("zcipc", WQ_UNBOUND, 0);
	return zcipc_workers ? 0 : -ENOMEM;
}

void zcipc_cap_exit(void)
{
	destroy_workqueue(zcipc_workers);
}

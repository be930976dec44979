// SPDX-License-Identifier: GPL-2.0
/*
 * Who pays for parts of a huge page. Such a page is kept as a whole as long as any region has a
 * part of it. So that nobody keeps 2 MiB for the price of a page, each user whose regions have a
 * part also pays for the parts that no region has any more.
 *
 * Nobody pays for what others do: parts go to another user only when all are there and go together,
 * see zcipc_region_fate(). So who has some has had them all, and has given up itself what no region
 * has any more.
 */
#include "base/base.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/parts.h"

/**
 * zcipc_parts_init() - nobody has any
 * @parts: those of a huge page
 * @ngone: how many there are that no region has, which somebody will have to pay for
 * @pinned: they count as pinned
 */
void zcipc_parts_init(struct zcipc_parts *parts, unsigned int ngone, bool pinned)
{
	spin_lock_init(&parts->lock);
	parts->ngone = ngone;
	parts->nusers = 0;
	parts->pinned = pinned;
	parts->first = (struct zcipc_part_user){};
}

static struct zcipc_part_user *zcipc_parts_find(struct zcipc_parts *parts,
						const struct zcipc_user *user)
{
	struct zcipc_part_user *u = &parts->first;

	while (u && u->user != user)
		u = u->next;
	return u;
}

/* No user has a part any more. */
void zcipc_parts_end(struct zcipc_parts *parts)
{
	struct zcipc_part_user *u, *next;

	WARN_ON_ONCE(parts->nusers);
	for (u = parts->first.next; u; u = next) {
		next = u->next;
		kfree(u);
	}
}

/* Charges a user for @n more parts, or, if that is negative, for fewer. */
static void zcipc_parts_pay(const struct zcipc_parts *parts, struct zcipc_user *user, long n)
{
	if (n < 0) {
		zcipc_uncharge(user, -n);
		if (parts->pinned)
			zcipc_uncharge_pins(user, -n);
	} else if (n) {
		zcipc_charge_force(user, n);
		if (parts->pinned)
			zcipc_charge_pins(user, n, ULONG_MAX);
	}
}

/**
 * zcipc_parts_join() - a user's regions have more parts
 * @parts: those of a huge page, of which the caller keeps one
 * @user: the user
 * @n: how many more
 * @pays: and pays from now on for what no region has any more; otherwise goes on to do so, if that
 *	was so before
 *
 * Context: May sleep.
 */
void zcipc_parts_join(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n,
		      bool pays)
{
	struct zcipc_part_user *u, *new = NULL;

	for (;;) {
		spin_lock(&parts->lock);
		if (new) {
			new->next = parts->first.next;
			parts->first.next = new;
		}
		u = zcipc_parts_find(parts, user) ?: zcipc_parts_find(parts, NULL);
		if (u)
			break;
		spin_unlock(&parts->lock);
		/* It is as good as never, small, and nothing can be taken back any more. */
		new = kzalloc(sizeof(*new), GFP_KERNEL | __GFP_NOFAIL);
	}
	if (!u->user) {
		u->user = zcipc_user_ref(user);
		parts->nusers++;
	}
	u->nparts += n;
	if (pays && !u->pays) {
		u->pays = true;
		zcipc_parts_pay(parts, user, parts->ngone);
	}
	spin_unlock(&parts->lock);
}

/* As zcipc_parts_join(), but fewer. Who has none any more pays nothing. */
void zcipc_parts_leave(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n)
{
	struct zcipc_part_user *u;
	bool last = false;

	spin_lock(&parts->lock);
	u = zcipc_parts_find(parts, user);
	if (!WARN_ON_ONCE(!u || u->nparts < n)) {
		u->nparts -= n;
		last = !u->nparts;
	}
	if (last) {
		if (u->pays)
			zcipc_parts_pay(parts, user, -(long)parts->ngone);
		u->pays = false;
		u->user = NULL;
		parts->nusers--;
	}
	spin_unlock(&parts->lock);
	if (last)
		zcipc_user_put(user);
}

/* No region has @n parts any more, or, if that is negative, one has so many again. */
void zcipc_parts_lose(struct zcipc_parts *parts, long n)
{
	struct zcipc_part_user *u;

	spin_lock(&parts->lock);
	parts->ngone += n;
	for (u = &parts->first; u; u = u->next)
		if (u->pays)
			zcipc_parts_pay(parts, u->user, n);
	spin_unlock(&parts->lock);
}

/**
 * zcipc_parts_charge() - zcipc_parts_join() of a user who may not be able to pay
 * @parts: those of an imported huge page, of which the user has some already, and keeps them
 * @user: the user
 * @limit: what may be pinned
 *
 * What the user gives up of the huge page during this call is charged in any case, as it is after.
 *
 * Context: May sleep.
 * Return: 0, or -EDQUOT, -ENOLCK
 */
int zcipc_parts_charge(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long limit)
{
	struct zcipc_part_user *u;
	long n;
	int ret;

	spin_lock(&parts->lock);
	u = zcipc_parts_find(parts, user);
	n = u->pays ? 0 : parts->ngone;
	spin_unlock(&parts->lock);
	ret = zcipc_charge(user, n);
	if (ret)
		return ret;
	ret = zcipc_charge_pins(user, n, limit);
	if (ret) {
		zcipc_uncharge(user, n);
		return ret;
	}
	spin_lock(&parts->lock);
	/* To make room for what is charged may sleep: meanwhile there are more, or fewer. */
	zcipc_parts_pay(parts, user, (u->pays ? 0 : parts->ngone) - n);
	u->pays = true;
	spin_unlock(&parts->lock);
	return 0;
}

/**
 * zcipc_parts_all() - does a range begin with all parts of a huge page, in order?
 * @frames: the frames of a range; the caller holds the lock of the region
 * @npages: how many
 *
 * Return: how many parts these are, or 0
 */
unsigned long zcipc_parts_all(struct zcipc_frame **frames, unsigned long npages)
{
	struct page *page = zcipc_frame_page(frames[0]);
	unsigned long i, n = compound_nr(page);

	if (page != compound_head(page))
		return 0;
	if (zcipc_frame_is_part(frames[0]))
		n = zcipc_frame_huge(frames[0])->nmade;
	if (n > npages)
		return 0;
	for (i = 1; i < n; i++)
		if (zcipc_frame_page(frames[i]) != page + i)
			return 0;
	return n;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Who pays for parts of a huge page. Such a page is kept as a whole as long as any region has a
 * part of it. So that nobody keeps 2 MiB for the price of a page, each user whose regions have a
 * part also pays for the parts that no region has any more.
 *
 * Nobody pays for what others do: parts go to another user only when all are there and go together,
 * see zcipc_region_fate(). So who has some has had them all, and has given up itself what no region
 * has any more.
 *
 * How many parts a user has is more than there are where several of its regions have the same ones.
 */
#include <linux/slab.h>

#include "mem/account.h"
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

/* Charges a user for @n more parts, or, if that is negative, for fewer. */
static void zcipc_parts_pay(const struct zcipc_parts *parts, struct zcipc_part_user *u, long n)
{
	u->npaid += n;
	if (n < 0) {
		zcipc_uncharge(u->user, -n);
		if (parts->pinned)
			zcipc_uncharge_pins(u->user, -n);
	} else if (n) {
		zcipc_charge_force(u->user, n);
		if (parts->pinned)
			zcipc_charge_pins(u->user, n, ULONG_MAX);
	}
}

/* An entry for a user who has none, or NULL: one has to be allocated. */
static struct zcipc_part_user *zcipc_parts_free_entry(struct zcipc_parts *parts,
						      struct zcipc_part_user *new)
{
	if (!parts->first.user)
		return &parts->first;
	if (new) {
		new->next = parts->first.next;
		parts->first.next = new;
	}
	return new;
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
		u = zcipc_parts_find(parts, user) ?: zcipc_parts_free_entry(parts, new);
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
	u->pays = u->pays || pays;
	if (u->pays && u->npaid < parts->ngone)
		zcipc_parts_pay(parts, u, parts->ngone - u->npaid);
	if (u == new)
		new = NULL;
	spin_unlock(&parts->lock);
	kfree(new);
}

/**
 * zcipc_parts_leave() - a user's regions have fewer parts
 * @parts: those of a huge page, of which the caller keeps one
 * @user: the user
 * @n: how many less
 *
 * Who has none any more pays nothing.
 */
void zcipc_parts_leave(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n)
{
	struct zcipc_part_user *u, *before;

	spin_lock(&parts->lock);
	u = zcipc_parts_find(parts, user);
	if (WARN_ON_ONCE(!u || u->nparts < n)) {
		spin_unlock(&parts->lock);
		return;
	}
	u->nparts -= n;
	if (u->nparts) {
		spin_unlock(&parts->lock);
		return;
	}
	zcipc_parts_pay(parts, u, -(long)u->npaid);
	parts->nusers--;
	if (u == &parts->first) {
		u->user = NULL;
		u->pays = false;
		u = NULL;
	} else {
		for (before = &parts->first; before->next != u; before = before->next)
			;
		before->next = u->next;
	}
	spin_unlock(&parts->lock);
	zcipc_user_put(user);
	kfree(u);
}

/**
 * zcipc_parts_lose() - parts that no region has any more
 * @parts: those of a huge page, which stays for as long as this takes
 * @n: how many
 */
void zcipc_parts_lose(struct zcipc_parts *parts, unsigned int n)
{
	struct zcipc_part_user *u;

	spin_lock(&parts->lock);
	parts->ngone += n;
	for (u = &parts->first; u; u = u->next)
		if (u->pays && u->npaid < parts->ngone)
			zcipc_parts_pay(parts, u, min(n, parts->ngone - u->npaid));
	spin_unlock(&parts->lock);
}

/**
 * zcipc_parts_regain() - parts that a region has again
 * @parts: those of a huge page, which stays for as long as this takes
 * @n: how many
 */
void zcipc_parts_regain(struct zcipc_parts *parts, unsigned int n)
{
	struct zcipc_part_user *u;

	spin_lock(&parts->lock);
	parts->ngone -= n;
	for (u = &parts->first; u; u = u->next)
		if (u->npaid > parts->ngone)
			zcipc_parts_pay(parts, u, -(long)(u->npaid - parts->ngone));
	spin_unlock(&parts->lock);
}

/**
 * zcipc_parts_charge() - zcipc_parts_join() of a user who may not be able to pay
 * @parts: those of a huge page, of which the user has some already, without paying, and keeps them
 * @user: the user
 * @limit: what may be pinned
 *
 * Context: May sleep.
 * Return: 0, or -EDQUOT, -ENOLCK
 */
int zcipc_parts_charge(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long limit)
{
	unsigned int more, has = 0;
	struct zcipc_part_user *u;
	int ret = 0;

	/* To make room for what is charged may sleep. Meanwhile there are more, or fewer. */
	do {
		spin_lock(&parts->lock);
		u = zcipc_parts_find(parts, user);
		more = parts->ngone - min(parts->ngone, u->npaid);
		if (more <= has) {
			u->npaid += more;
			u->pays = true;
			has -= more;
			more = 0;
		} else {
			more -= has;
		}
		spin_unlock(&parts->lock);
		if (more)
			ret = zcipc_charge(user, more);
		if (more && !ret && parts->pinned) {
			ret = zcipc_charge_pins(user, more, limit);
			if (ret)
				zcipc_uncharge(user, more);
		}
		if (!ret)
			has += more;
	} while (!ret && more);
	zcipc_uncharge(user, has);
	if (parts->pinned)
		zcipc_uncharge_pins(user, has);
	return ret;
}

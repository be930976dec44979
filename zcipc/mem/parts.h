/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parts of huge pages, and who pays for them: see parts.c.
 */
#ifndef ZCIPC_PARTS_H
#define ZCIPC_PARTS_H

#include <linux/spinlock.h>
#include <linux/types.h>

struct zcipc_user;

/**
 * struct zcipc_part_user - a user whose regions have parts of a huge page
 * @next: another one
 * @user: the user, with a reference, or NULL: nobody
 * @nparts: how many, one that several regions have counts as many times
 * @npaid: for how many that no region has the user is charged
 * @pays: the user is to be charged
 */
struct zcipc_part_user {
	struct zcipc_part_user *next;
	struct zcipc_user *user;
	unsigned long nparts;
	unsigned int npaid;
	bool pays;
};

/* So many users have parts of a huge page; others get copies. */
#define ZCIPC_PART_USERS		16U

/**
 * struct zcipc_parts - the parts of a huge page, and who pays for them: see parts.c
 * @lock: of the other members
 * @ngone: how many no region has
 * @nusers: how many users have some
 * @pinned: they count as pinned, too
 * @first: who has some
 */
struct zcipc_parts {
	spinlock_t lock; /* of the other members */
	unsigned int ngone;
	unsigned int nusers;
	bool pinned;
	struct zcipc_part_user first;
};

void zcipc_parts_init(struct zcipc_parts *parts, unsigned int ngone, bool pinned);
void zcipc_parts_join(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n,
		      bool pays);
void zcipc_parts_leave(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n);
void zcipc_parts_lose(struct zcipc_parts *parts, unsigned int n);
void zcipc_parts_regain(struct zcipc_parts *parts, unsigned int n);
int zcipc_parts_charge(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long limit);

#endif /* ZCIPC_PARTS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Parts of huge pages, and who pays for them: see parts.c.
 */
#ifndef ZCIPC_PARTS_H
#define ZCIPC_PARTS_H

#include "base/base.h"

struct zcipc_frame;
struct zcipc_user;

/**
 * struct zcipc_part_user - a user whose regions have parts of a huge page
 * @next: another one
 * @user: the user, with a reference, or NULL: nobody
 * @nparts: how many, one that several regions have counts as many times
 * @pays: the user is charged for all that no region has
 */
struct zcipc_part_user {
	struct zcipc_part_user *next;
	struct zcipc_user *user;
	unsigned long nparts;
	bool pays;
};

/* So many users have parts of a huge page; others get copies. */
#define ZCIPC_PART_USERS		16U

/**
 * struct zcipc_parts - the parts of a huge page, and who pays for them
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
void zcipc_parts_end(struct zcipc_parts *parts);
void zcipc_parts_join(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n,
		      bool pays);
void zcipc_parts_leave(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n);
void zcipc_parts_lose(struct zcipc_parts *parts, long n);
unsigned long zcipc_parts_all(struct zcipc_frame **frames, unsigned long npages);
int zcipc_parts_charge(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long limit);

#endif /* ZCIPC_PARTS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Regions that nobody names, but somebody may want again: see recycle.c.
 */
#ifndef ZCIPC_RECYCLE_H
#define ZCIPC_RECYCLE_H

#include "base/base.h"

struct zcipc_region;
struct zcipc_user;

/**
 * struct zcipc_kept - regions that are kept for an endpoint
 * @user: whose they are
 * @wanted: the endpoint wants such
 * @ended: it is dead
 * @regions: which are kept, the last dropped first
 * @npages: their pages
 */
struct zcipc_kept {
	struct zcipc_user *user;
	bool wanted;
	bool ended;
	struct list_head regions;
	unsigned long npages;
};

void zcipc_recycle_begin(struct zcipc_kept *kept, struct zcipc_user *user);
void zcipc_recycle_end(struct zcipc_kept *kept);
bool zcipc_recycle_keep(struct zcipc_kept *kept, struct zcipc_region *region);
struct zcipc_region *zcipc_recycle_take(struct zcipc_kept *kept, unsigned long npages, u32 flags);
int zcipc_recycle_init(void);
void zcipc_recycle_exit(void);

#endif /* ZCIPC_RECYCLE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Regions that nobody names, but somebody may want again: see recycle.c.
 */
#ifndef ZCIPC_RECYCLE_H
#define ZCIPC_RECYCLE_H

#include <linux/types.h>

struct zcipc_endpoint;
struct zcipc_region;
struct zcipc_user;

void zcipc_recycle_end(struct zcipc_endpoint *ep);
bool zcipc_recycle_free(struct zcipc_user *user);
bool zcipc_recycle_keep(struct zcipc_endpoint *ep, struct zcipc_region *region);
struct zcipc_region *zcipc_recycle_take(struct zcipc_endpoint *ep, unsigned long npages, u32 flags);
int zcipc_recycle_init(void);
void zcipc_recycle_exit(void);

#endif /* ZCIPC_RECYCLE_H */

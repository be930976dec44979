/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames with a cache policy: see pool.c.
 */
#ifndef ZCIPC_POOL_H
#define ZCIPC_POOL_H

#include "base/base.h"

#include <linux/pgtable.h>

struct zcipc_user;

bool zcipc_frame_can_cache(unsigned int cache);
pgprot_t zcipc_frame_pgprot(pgprot_t prot, unsigned int cache);
struct page *zcipc_pool_alloc(struct zcipc_user *user, unsigned int cache, gfp_t gfp, int node);
void zcipc_pool_put(struct page *page, unsigned int cache);
void zcipc_pool_exit(void);

#endif /* ZCIPC_POOL_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Many transfers with one call: see batch.c.
 */
#ifndef ZCIPC_BATCH_H
#define ZCIPC_BATCH_H

#include <linux/types.h>

struct zcipc_ucmd;

int zcipc_transfer_batch(struct zcipc_ucmd *ucmd);

#endif /* ZCIPC_BATCH_H */

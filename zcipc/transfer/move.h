/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The short way of a MOVE: see move.c.
 */
#ifndef ZCIPC_MOVE_H
#define ZCIPC_MOVE_H

#include <linux/types.h>

struct zcipc_ucmd;

bool zcipc_move_short_is_on(void);
bool zcipc_move_short(struct zcipc_ucmd *ucmd);

#endif /* ZCIPC_MOVE_H */

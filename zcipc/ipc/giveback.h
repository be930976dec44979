/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way back of what was moved.
 */
#ifndef ZCIPC_GIVEBACK_H
#define ZCIPC_GIVEBACK_H

struct zcipc_endpoint;

void zcipc_message_return_all(struct zcipc_endpoint *ep);

#endif /* ZCIPC_GIVEBACK_H */

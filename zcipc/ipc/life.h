/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How endpoints come to life, and die.
 */
#ifndef ZCIPC_LIFE_H
#define ZCIPC_LIFE_H

struct zcipc_endpoint;

struct zcipc_endpoint *zcipc_endpoint_create(void);
void zcipc_endpoint_shutdown(struct zcipc_endpoint *ep);

#endif /* ZCIPC_LIFE_H */

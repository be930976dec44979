/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whom an endpoint accepts.
 */
#ifndef ZCIPC_POLICY_H
#define ZCIPC_POLICY_H

#include <linux/types.h>

#include <linux/zcipc.h>

struct zcipc_accept;
struct zcipc_endpoint;

bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender);
struct zcipc_accept *zcipc_policy_alloc(struct zcipc_endpoint *ep,
					const struct zcipc_endpoint_config *cmd);
void zcipc_policy_set(struct zcipc_endpoint *ep, struct zcipc_accept *accept);
void zcipc_policy_tell(const struct zcipc_endpoint *ep, struct zcipc_endpoint_config *cmd);
void zcipc_policy_end(struct zcipc_endpoint *ep);

#endif /* ZCIPC_POLICY_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each ioctl does: checks what user space wants, has it done, and answers. Each may sleep and
 * is called without any lock; it returns 0 or an errno of its struct in include/uapi/linux/zcipc.h.
 */
#ifndef ZCIPC_CALLS_H
#define ZCIPC_CALLS_H

struct zcipc_ucmd;

/* endpoint.c */
int zcipc_endpoint_config(struct zcipc_ucmd *ucmd);
int zcipc_endpoint_lookup(struct zcipc_ucmd *ucmd);
int zcipc_endpoint_info(struct zcipc_ucmd *ucmd);

#endif /* ZCIPC_CALLS_H */

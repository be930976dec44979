/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages that are read without a call: see ring.c.
 */
#ifndef ZCIPC_RING_H
#define ZCIPC_RING_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/types.h>

struct zcipc_endpoint;
struct zcipc_message;

int zcipc_ring_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma);
void zcipc_ring_update(struct zcipc_endpoint *ep);
bool zcipc_ring_add(struct zcipc_endpoint *ep, struct zcipc_message *msg);
struct list_head *zcipc_ring_messages(struct zcipc_endpoint *ep);
void zcipc_ring_pass(struct zcipc_endpoint *ep, const struct zcipc_message *msg);
bool zcipc_ring_want_call(struct zcipc_endpoint *ep);
void zcipc_ring_remove(struct zcipc_endpoint *ep);

#endif /* ZCIPC_RING_H */

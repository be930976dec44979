/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VMAs of an endpoint.
 */
#ifndef ZCIPC_VMA_H
#define ZCIPC_VMA_H

#include <linux/mm.h>
#include <linux/types.h>

struct zcipc_endpoint;

int zcipc_window_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma);
int zcipc_window_find(struct zcipc_endpoint *ep, unsigned long addr, unsigned long len, bool share,
		      u64 *token, u64 *offset);
struct vm_area_struct *zcipc_window_lookup(struct zcipc_endpoint *ep, unsigned long pgoff,
					   unsigned long addr);

#endif /* ZCIPC_VMA_H */

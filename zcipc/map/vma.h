/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VMAs of a space.
 */
#ifndef ZCIPC_VMA_H
#define ZCIPC_VMA_H

#include <linux/mm.h>
#include <linux/types.h>

struct zcipc_space;

int zcipc_window_mmap(struct zcipc_space *space, struct vm_area_struct *vma);
int zcipc_window_find(struct zcipc_space *space, unsigned long addr, unsigned long len, bool share,
		      u64 *token, u64 *offset);
struct vm_area_struct *zcipc_window_lookup(struct zcipc_space *space, unsigned long pgoff,
					   unsigned long addr);

#endif /* ZCIPC_VMA_H */

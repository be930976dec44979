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
int zcipc_window_remove_at(struct zcipc_space *space, u64 addr, bool exec);

#endif /* ZCIPC_VMA_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ranges of files, and views of them: see file.c.
 */
#ifndef ZCIPC_FILE_H
#define ZCIPC_FILE_H

#include <linux/mm.h>
#include <linux/types.h>

struct file;
struct zcipc_extent;
struct zcipc_region;
struct zcipc_slot;
struct zcipc_space;
struct zcipc_view;

int zcipc_file_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
bool zcipc_file_may_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
struct file *zcipc_file_view(struct file *holder, struct zcipc_space *space,
			     struct zcipc_region *region, unsigned long first,
			     unsigned long npages, bool writable);
int zcipc_file_enter(struct file *file, struct zcipc_slot *slot, struct zcipc_extent *extent,
		     unsigned long first, unsigned long *pgoff);
int zcipc_file_map(struct file *file, unsigned long pgoff, u64 *addr);
int zcipc_file_unmap_at(struct zcipc_space *space, u64 addr, u64 token);
int zcipc_file_find(struct zcipc_space *space, const struct vm_area_struct *vma,
		    unsigned long addr, unsigned long npages, u64 *token, u64 *offset);
struct file *zcipc_file_get(unsigned long addr, unsigned long npages, unsigned long *pgoff,
			    u32 *rights);

#endif /* ZCIPC_FILE_H */

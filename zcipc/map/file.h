/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ranges of files, and views of them: see file.c.
 */
#ifndef ZCIPC_FILE_H
#define ZCIPC_FILE_H

#include <linux/mm.h>
#include <linux/types.h>

struct file;
struct zcipc_endpoint;
struct zcipc_region;
struct zcipc_view;

int zcipc_file_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
bool zcipc_file_may_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
void zcipc_file_kill(struct zcipc_view *view);
void zcipc_file_unmap_range(struct zcipc_region *region, unsigned long first,
			    unsigned long npages);
void zcipc_file_unmap(struct zcipc_view *view);
void zcipc_file_detach(struct zcipc_view *view);
int zcipc_file_map(struct file *holder, u64 token, struct zcipc_region *region,
		   unsigned long first, unsigned long npages, bool writable, u64 *addr);
int zcipc_file_unmap_at(struct zcipc_endpoint *ep, u64 addr, u64 token);
int zcipc_file_find(struct zcipc_endpoint *ep, const struct vm_area_struct *vma,
		    unsigned long addr, unsigned long npages, u64 *token, u64 *offset);
int zcipc_file_import(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
		      bool implicit, u64 *token, u64 *id);

#endif /* ZCIPC_FILE_H */

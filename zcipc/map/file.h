/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ranges of files, and views of them: see file.c.
 */
#ifndef ZCIPC_FILE_H
#define ZCIPC_FILE_H

#include "base/base.h"

struct zcipc_extent;
struct zcipc_region;
struct zcipc_slot;
struct zcipc_space;

/**
 * struct zcipc_view - how a space sees a range of a file
 * @orig: what the file's own mappings have, or NULL before the first one
 * @holder: the endpoint's file: it is not closed before the mapping is gone
 * @space: that endpoint's
 * @real: the region's file
 * @file: VMAs have a reference to this one; the view goes with it
 * @slot: what it shows, NULL: nothing yet, or no more; space->lock
 * @mapper: the task that may map it now, or NULL; space->lock
 * @nvmas: its VMAs; space->lock
 * @pgoff: where it begins in the file, in pages
 * @npages: its length
 * @writable: it may be written to
 * @lock: PTEs are inserted under it
 * @dead: and from now on none are
 */
struct zcipc_view {
	const struct vm_operations_struct *orig;
	struct file *holder;
	struct zcipc_space *space;
	struct file *real;
	struct file *file;
	struct zcipc_slot *slot;
	struct task_struct *mapper;
	unsigned int nvmas;
	unsigned long pgoff;
	unsigned long npages;
	bool writable;
	spinlock_t lock; /* PTEs */
	bool dead;
};

struct zcipc_view *zcipc_view_of(const struct vm_area_struct *vma);
void zcipc_view_kill(struct zcipc_view *view);
void zcipc_file_unmap_range(struct zcipc_region *region, unsigned long first,
			    unsigned long npages);
void zcipc_view_unmap(struct zcipc_view *view);
int zcipc_file_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
bool zcipc_file_may_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
struct zcipc_view *zcipc_file_view(struct file *holder, struct zcipc_space *space,
				   struct zcipc_region *region, unsigned long first,
				   unsigned long npages, bool writable);
int zcipc_file_enter(struct zcipc_view *view, struct zcipc_slot *slot,
		     struct zcipc_extent *extent, unsigned long first, unsigned long *pgoff);
int zcipc_file_map(struct zcipc_view *view, unsigned long pgoff, u64 *addr);
int zcipc_file_unmap_at(struct zcipc_space *space, u64 addr, u64 token);
struct file *zcipc_file_get(unsigned long addr, unsigned long npages, unsigned long *pgoff,
			    u32 *rights);

#endif /* ZCIPC_FILE_H */

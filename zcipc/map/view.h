/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Views: how ranges of files are shown. See file.c.
 */
#ifndef ZCIPC_VIEW_H
#define ZCIPC_VIEW_H

#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct file;
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
 * @slot: what it shows, or NULL; space->lock
 * @mapper: the task that may map it now, or NULL; space->lock
 * @nvmas: its VMAs; space->lock
 * @unmapped: somebody is unmapping it; space->lock
 * @left: it is counted in space->ndead_views; space->lock
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
	bool unmapped;
	bool left;
	unsigned long pgoff;
	unsigned long npages;
	bool writable;
	spinlock_t lock; /* PTEs */
	bool dead;
};

void zcipc_view_kill(struct zcipc_view *view);
void zcipc_file_unmap_range(struct zcipc_region *region, unsigned long first,
			    unsigned long npages);
void zcipc_view_unmap(struct zcipc_view *view);
void zcipc_view_detach(struct zcipc_view *view);

#endif /* ZCIPC_VIEW_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inserts PTEs.
 */
#ifndef ZCIPC_INSERT_H
#define ZCIPC_INSERT_H

#include "base/base.h"

struct zcipc_space;
struct zcipc_frame;
struct zcipc_slot;

/* A fault brings this many pages, for a start. */
#define ZCIPC_FAULT_AROUND	16UL

void zcipc_slot_populate(struct zcipc_slot *slot, unsigned long i, unsigned long end);
void zcipc_slot_populate_long(struct zcipc_slot *slot);

/* Two page tables' worth is enough to make look-ups rare. */
#define ZCIPC_POPULATE_SPAN	1024UL

/**
 * struct zcipc_populate - many PTEs being inserted
 * @space: the space
 * @vma: part of a window that was used last, or NULL
 * @start: file offset, in pages, from which on @writable counts
 * @end: behind what was inserted last
 * @limit: where @vma or @writable end
 * @writable: a bit for each page whose write bit is still to be set
 */
struct zcipc_populate {
	struct zcipc_space *space;
	struct vm_area_struct *vma;
	unsigned long start;
	unsigned long end;
	unsigned long limit;
	DECLARE_BITMAP(writable, ZCIPC_POPULATE_SPAN);
};

void zcipc_populate_add(struct zcipc_populate *p, unsigned long pgoff,
			struct zcipc_frame **frames, unsigned long npages, bool writable);
void zcipc_populate_finish(struct zcipc_populate *p);
int zcipc_vma_insert(struct vm_area_struct *vma, unsigned long pgoff, struct zcipc_frame **frames,
		     unsigned long npages, bool writable, bool special);

#endif /* ZCIPC_INSERT_H */

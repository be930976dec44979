/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files that map windows have in common, and nobody else may use.
 */
#ifndef ZCIPC_MAP_H
#define ZCIPC_MAP_H

#include "map/adopted.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/window.h"

/*
 * File offsets, in pages: what is outside of windows has all that are left. Adopted memory has the
 * upper half of all, where the offset follows from the address.
 */
#define ZCIPC_OUTSIDE_START	ZCIPC_RING_END
#define ZCIPC_OUTSIDE_END	ZCIPC_ADOPTED_START
#define ZCIPC_ADOPTED_START	(1UL << (62 - PAGE_SHIFT))
#define ZCIPC_ADOPTED_END	(MAX_LFS_FILESIZE >> PAGE_SHIFT)

static inline unsigned long zcipc_window_pgoff(unsigned int which)
{
	return (unsigned long)which << ZCIPC_WINDOW_SHIFT;
}

static inline bool zcipc_slot_is_exec(const struct zcipc_slot *slot)
{
	return slot->pgoff >= ZCIPC_OUTSIDE_START && !slot->addr && !slot->view;
}

/* window.c */
bool zcipc_window_lost_any(struct zcipc_space *space, unsigned long pgoff,
			   unsigned long npages);
int zcipc_window_begin(struct zcipc_space *space, unsigned int which, struct vm_area_struct *vma);
void zcipc_window_lose(struct zcipc_space *space, struct zcipc_window *window,
		       unsigned long start, unsigned long npages);
bool zcipc_window_may_be_huge(struct zcipc_space *space, unsigned long pgoff,
			      unsigned long npages);
struct zcipc_window *zcipc_window_around(struct zcipc_space *space, unsigned long addr);

/* slot.c */
struct zcipc_slot *zcipc_slot_find_from(struct zcipc_space *space, unsigned long pgoff);
struct zcipc_slot *zcipc_slot_find_locked(struct zcipc_space *space, unsigned long pgoff);

/* insert.c */
int zcipc_slot_insert_huge(struct zcipc_slot *slot, struct vm_area_struct *vma,
			   unsigned long pgoff);

/* fault.c */
vm_fault_t zcipc_window_fault(struct vm_fault *vmf);
vm_fault_t zcipc_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end);
int zcipc_window_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
			int write);

/* space.c */
void zcipc_outside_open(struct vm_area_struct *vma);

/* adopted.c */
struct zcipc_adoption *zcipc_adoption_of(const struct zcipc_space *space,
					 const struct vm_area_struct *vma);
extern const struct vm_operations_struct zcipc_adopted_ops;

#endif /* ZCIPC_MAP_H */

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
size_t zcipc_window_array_size(unsigned long npages);
void zcipc_window_lose(struct zcipc_space *space, struct zcipc_window *window,
		       unsigned long start, unsigned long npages);
void zcipc_window_unmark(struct zcipc_window *window, unsigned long start, unsigned long npages);
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
int zcipc_window_mremap(struct vm_area_struct *vma);
void zcipc_outside_open(struct vm_area_struct *vma);

/* adopted.c */
bool zcipc_adopted_shows(const struct vm_area_struct *vma, const struct zcipc_slot *slot);
struct zcipc_adoption *zcipc_adoption_own(const struct zcipc_space *space);
extern const struct vm_operations_struct zcipc_adopted_ops;

/* Frees places in a window. The caller holds the lock. */
static inline void zcipc_window_free(struct zcipc_space *space, unsigned long pgoff,
				     unsigned long npages)
{
	struct zcipc_window *window = zcipc_window_at(space, pgoff);
	unsigned long start = zcipc_window_index(pgoff);

	/*
	 * Those outside of windows need not be free. What is adopted has those of its address: when
	 * the last page of it is not mapped any more, there is no PTE left.
	 */
	if (!window)
		return;
	window->nused -= npages;
	if (npages == 1 && likely(!window->lost))
		__clear_bit(start % ZCIPC_WINDOW_PIECE, window->used[start / ZCIPC_WINDOW_PIECE]);
	else
		zcipc_window_unmark(window, start, npages);
	window->hint = min(window->hint, start);
	if (window->huge_hint)
		window->huge_hint = min(window->huge_hint,
					window->npages - min(window->npages, start + npages));
	/* Where PMDs may be: what is at the end of an empty window can be used in any way. */
	if (!window->nused)
		window->huge_low = window->npages;
}

#endif /* ZCIPC_MAP_H */

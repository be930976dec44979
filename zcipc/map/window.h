/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows: where a space sees memory.
 */
#ifndef ZCIPC_WINDOW_H
#define ZCIPC_WINDOW_H

#include "base/base.h"

struct zcipc_space;

/*
 * Windows of a space: for DEFAULT, STREAMING, UNCACHED, what can be pinned for long, and what
 * cannot be held at all. The last one is VM_PFNMAP, the others are VM_MIXEDMAP.
 */
#define ZCIPC_WINDOW_PINNABLE	(ZCIPC_CACHE_WRITEBACK + 1)
#define ZCIPC_WINDOW_UNPINNABLE	(ZCIPC_WINDOW_PINNABLE + 1)
#define ZCIPC_WINDOW_MAX	(ZCIPC_WINDOW_UNPINNABLE + 1)

/* File offsets, in pages: each window has as many as it could use, and so has the ring. */
#define ZCIPC_WINDOW_SHIFT	(40 - PAGE_SHIFT)
#define ZCIPC_RING_START	((unsigned long)ZCIPC_WINDOW_MAX << ZCIPC_WINDOW_SHIFT)
#define ZCIPC_RING_HEAD_START	((unsigned long)(ZCIPC_WINDOW_MAX + 1) << ZCIPC_WINDOW_SHIFT)
#define ZCIPC_RING_END		((unsigned long)(ZCIPC_WINDOW_MAX + 2) << ZCIPC_WINDOW_SHIFT)

/* Pages of a window that one bitmap is for. */
#define ZCIPC_WINDOW_PIECE	262144UL

/**
 * struct zcipc_window - where a space sees memory of one kind: see window.c
 * @id: another one for each window that there has been, 0: there is none
 * @addr: user address
 * @npages: its size, 0: there is no window
 * @nvmas: VMAs that are parts of it
 * @vma: the only one there ever was, which may be going away, or NULL
 * @used: bitmaps of pieces of it: what is not free. NULL: no bit is set
 * @lost: likewise: what has been unmapped. In the same array as @used; NULL: nothing
 * @nused: pages that slots occupy
 * @hint: no page before this one is free
 * @huge_low: no PMD shows a page before this one
 * @huge_hint: how many pages at the end are not free
 */
struct zcipc_window {
	u32 id;
	unsigned long addr;
	unsigned long npages;
	unsigned long nvmas;
	struct vm_area_struct *vma;
	unsigned long **used;
	unsigned long **lost;
	unsigned long nused;
	unsigned long hint;
	unsigned long huge_low;
	unsigned long huge_hint;
};

int zcipc_window_reserve(struct zcipc_space *space, unsigned int which, unsigned long npages,
			 long align, unsigned long *pgoff);
int zcipc_window_reserve_outside(struct zcipc_space *space, unsigned long npages,
				 unsigned long *pgoff);
void zcipc_window_end(struct zcipc_space *space, struct zcipc_window *window);
unsigned long zcipc_window_room(const struct zcipc_space *space, unsigned int which);
bool zcipc_window_has(struct zcipc_space *space, u32 id, unsigned long pgoff,
		      unsigned long npages);
void zcipc_window_release(struct zcipc_space *space, unsigned long pgoff, unsigned long npages);

/**
 * struct zcipc_range - a range of file offsets of a space
 * @pgoff: first page
 * @npages: number of pages
 */
struct zcipc_range {
	unsigned long pgoff;
	unsigned long npages;
};

/* Is a page of a space's file in the window that is VM_PFNMAP? */
static inline bool zcipc_window_is_pfnmap(unsigned long pgoff)
{
	return pgoff >> ZCIPC_WINDOW_SHIFT == ZCIPC_WINDOW_UNPINNABLE;
}

int zcipc_window_mmap(struct zcipc_space *space, struct vm_area_struct *vma);
int zcipc_window_find(struct zcipc_space *space, unsigned long addr, unsigned long len, bool share,
		      u64 *token, u64 *offset);
int zcipc_window_remove_at(struct zcipc_space *space, u64 addr, bool exec);
bool zcipc_window_is_vma(const struct zcipc_space *space, const struct vm_area_struct *vma);
struct vm_area_struct *zcipc_window_lookup(struct zcipc_space *space, unsigned long pgoff,
					   unsigned long addr);

#endif /* ZCIPC_WINDOW_H */

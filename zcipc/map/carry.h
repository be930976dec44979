/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PTEs on their way from one page table to another: see carry.c.
 */
#ifndef ZCIPC_CARRY_H
#define ZCIPC_CARRY_H

#include "base/base.h"

struct zcipc_space;
struct zcipc_frame;
struct zcipc_region;
struct zcipc_slot;

#define ZCIPC_CARRY_SMALL	1024UL

/* The most pages of zcipc_carry_few_out(). Core mm flushes few more one by one. */
#define ZCIPC_CARRY_FEW		32UL

/**
 * struct zcipc_carry - PTEs on their way from one page table to another
 * @from: from whom they have been taken for another one, or NULL
 * @slot: where they are taken, then where they are to be
 * @vma: likewise
 * @addr: user address of the first one there
 * @writable: they may be writable there
 * @special: the region's are
 * @frames: what they show
 * @first: first page in the region, until it is moved
 * @npages: number of pages
 * @which: a bit for each page whose PTE has been taken
 * @small: for a few
 */
struct zcipc_carry {
	struct mm_struct *from;
	const struct zcipc_slot *slot;
	struct vm_area_struct *vma;
	unsigned long addr;
	bool writable;
	bool special;
	struct zcipc_frame **frames;
	unsigned long first;
	unsigned long npages;
	unsigned long *which;
	DECLARE_BITMAP(small, ZCIPC_CARRY_SMALL);
};

static inline void zcipc_carry_init(struct zcipc_carry *carry)
{
	carry->from = NULL;
	carry->which = carry->small;
}

/**
 * struct zcipc_carry_page - one of a list of pages whose PTEs are carried
 * @from: user address in the sender
 * @to: user address in the receiver
 * @frame: what is there; NULL: it has been put back
 * @writable: the PTE is to be writable, if the VMA and the frame may be
 * @was_writable: so it was in the sender
 * @taken: the sender had a PTE, which is out of its page table
 */
struct zcipc_carry_page {
	unsigned long from;
	unsigned long to;
	struct zcipc_frame *frame;
	bool writable;
	bool was_writable;
	bool taken;
};

/**
 * struct zcipc_carry_list - pages of many regions whose PTEs are carried
 * @src: the sender, the current task's; its lock and its mmap_lock are held
 * @dst: the receiver, another space; its lock and its mmap_lock are held
 * @from: the sender's VMA
 * @to: the receiver's VMA
 * @to_start: user address in it, from which on there are page tables
 * @to_end: up to where
 * @n: number of pages
 * @pages: the pages
 */
struct zcipc_carry_list {
	struct zcipc_space *src;
	struct zcipc_space *dst;
	struct vm_area_struct *from;
	struct vm_area_struct *to;
	unsigned long to_start;
	unsigned long to_end;
	unsigned int n;
	struct zcipc_carry_page *pages;
};

struct vm_area_struct *zcipc_carry_few_out(const struct zcipc_slot *slot, struct zcipc_space *dst,
					   unsigned long pgoff);
void zcipc_carry_few_in(const struct zcipc_slot *slot, const struct vm_area_struct *vma,
			struct mm_struct *from);
bool zcipc_carry_is_worth(unsigned long npages);
bool zcipc_carry_list_add(struct zcipc_carry_list *list, const struct zcipc_slot *slot,
			  unsigned long first, unsigned long npages, unsigned long pgoff,
			  bool writable);
void zcipc_carry_list_take(struct zcipc_carry_list *list);
unsigned int zcipc_carry_list_held(const struct zcipc_carry_list *list, unsigned int i);
void zcipc_carry_list_return(struct zcipc_carry_list *list, unsigned int first,
			     unsigned long npages);
void zcipc_carry_list_give(struct zcipc_carry_list *list);
bool zcipc_carry_out(struct zcipc_carry *carry, struct zcipc_region *region, unsigned long first,
		     unsigned long npages, struct zcipc_space *src, struct zcipc_space *dst,
		     unsigned long pgoff);
void zcipc_carry_in(struct zcipc_carry *carry, struct zcipc_slot *slot);
bool zcipc_carry_freeze(struct zcipc_carry *carry, struct zcipc_region *region,
			unsigned long first, unsigned long npages, struct zcipc_space *src,
			bool locked);
void zcipc_carry_thaw(struct zcipc_carry *carry, bool locked);
void zcipc_carry_free(struct zcipc_carry *carry);

#endif /* ZCIPC_CARRY_H */

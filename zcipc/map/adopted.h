/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Adopted memory: it stays where it was.
 */
#ifndef ZCIPC_ADOPTED_H
#define ZCIPC_ADOPTED_H

#include "base/base.h"

struct zcipc_space;
struct zcipc_slot;

/**
 * struct zcipc_adoption - memory that is being adopted
 * @task: who may map it, and alone looks at what follows
 * @slot: its slot
 * @start: user address: where the VMA begins that is to show it, and what is beside it
 * @end: where that ends
 * @emptied: some of what is beside it has been unmapped for that; space->lock
 */
struct zcipc_adoption {
	struct task_struct *task;
	struct zcipc_slot *slot;
	unsigned long start;
	unsigned long end;
	bool emptied;
};

/**
 * struct zcipc_adopted - where adopted memory is mapped
 * @addr: user address of the first page
 * @end: where it ends
 * @prot: PROT_READ and PROT_WRITE, as they are set
 * @token: the capability's, 0 if that has gone
 * @first: page of its region that is at @addr
 */
struct zcipc_adopted {
	unsigned long addr;
	unsigned long end;
	unsigned long prot;
	u64 token;
	unsigned long first;
};

bool zcipc_adopted_find(struct zcipc_space *space, unsigned long addr, unsigned long end,
			struct zcipc_adopted *found);
void zcipc_adopted_join(struct zcipc_space *space, struct zcipc_adoption *adoption);
bool zcipc_adopted_may_replace(struct zcipc_space *space, unsigned long addr, unsigned long end);
void zcipc_adopted_populate(struct zcipc_space *space, unsigned long addr, unsigned long end);
int zcipc_adopted_reserve(struct zcipc_space *space, unsigned long addr, unsigned long npages,
			  unsigned long *pgoff);

#endif /* ZCIPC_ADOPTED_H */

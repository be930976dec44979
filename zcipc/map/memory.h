/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The current task's own memory.
 */
#ifndef ZCIPC_MEMORY_H
#define ZCIPC_MEMORY_H

#include "base/base.h"

struct zcipc_region;

int zcipc_import_check(unsigned long addr, unsigned long npages, bool *secret);
int zcipc_import_lock(unsigned long addr, unsigned long npages);
void zcipc_import_zap(unsigned long addr, unsigned long npages);
unsigned long zcipc_import_restore(struct zcipc_region *region, unsigned long first,
				   unsigned long npages, unsigned long addr);

#endif /* ZCIPC_MEMORY_H */

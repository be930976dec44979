/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes PTEs away.
 */
#ifndef ZCIPC_UNMAP_H
#define ZCIPC_UNMAP_H

#include "base/base.h"

struct zcipc_space;
struct zcipc_range;
struct zcipc_region;
struct zcipc_slot;

void zcipc_window_unmap(struct zcipc_space *space, unsigned long pgoff, unsigned long npages);
void zcipc_slot_unmap(struct zcipc_slot *slot);
void zcipc_window_unmap_ranges(struct zcipc_space *space, struct zcipc_range *ranges,
			       unsigned int n);
void zcipc_region_unmap(struct zcipc_region *region, unsigned long first, unsigned long npages,
			const struct zcipc_space *except);

#endif /* ZCIPC_UNMAP_H */

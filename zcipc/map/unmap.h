/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes PTEs away.
 */
#ifndef ZCIPC_UNMAP_H
#define ZCIPC_UNMAP_H

#include <linux/types.h>

struct zcipc_endpoint;
struct zcipc_range;
struct zcipc_region;
struct zcipc_slot;

void zcipc_window_unmap(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages);
void zcipc_slot_unmap(struct zcipc_slot *slot);
void zcipc_window_unmap_ranges(struct zcipc_endpoint *ep, struct zcipc_range *ranges,
			       unsigned int n);
void zcipc_region_unmap(struct zcipc_region *region, unsigned long first, unsigned long npages,
			const struct zcipc_endpoint *except);

#endif /* ZCIPC_UNMAP_H */

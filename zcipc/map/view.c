// SPDX-License-Identifier: GPL-2.0
/*
 * Takes what views show away. What else there is about them is in file.c.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "base/counters.h"
#include "mem/region.h"
#include "map/space.h"
#include "map/view.h"

/* From here on faults bring nothing back. zcipc_file_unmap_range() must follow. */
void zcipc_view_kill(struct zcipc_view *view)
{
	spin_lock(&view->lock);
	view->dead = true;
	spin_unlock(&view->lock);
}

/* Takes a range of a file's region out of all page tables. The caller holds the region's lock. */
void zcipc_file_unmap_range(struct zcipc_region *region, unsigned long first, unsigned long npages)
{
	unmap_mapping_pages(region->file->f_mapping, region->file_pgoff + first, npages, false);
	zcipc_stat_inc(SHOOTDOWNS);
}

/* Takes what a view shows out of all page tables for good. The caller holds the region's lock. */
void zcipc_view_unmap(struct zcipc_view *view)
{
	zcipc_view_kill(view);
	unmap_mapping_pages(view->real->f_mapping, view->pgoff, view->npages, false);
	zcipc_stat_inc(SHOOTDOWNS);
}

/* Its slot goes: it is dead, or not mapped. The caller holds the space's lock. */
void zcipc_view_detach(struct zcipc_view *view)
{
	view->slot = NULL;
	if (!view->nvmas)
		return;
	view->left = true;
	view->space->ndead_views++;
}

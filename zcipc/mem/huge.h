/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Huge frames, and who holds frames of any kind.
 */
#ifndef ZCIPC_HUGE_H
#define ZCIPC_HUGE_H

#include "base/base.h"
#include "mem/frame.h"
#include "mem/pins.h"

bool zcipc_huge_is_on(void);
struct zcipc_parts *zcipc_frame_parts(const struct zcipc_frame *frame);
struct zcipc_frame *zcipc_huge_alloc(gfp_t gfp, int node, unsigned int n);
void zcipc_huge_parts(struct zcipc_frame *frame, struct zcipc_frame **frames, unsigned int n,
		      struct zcipc_user *user);
void zcipc_huge_put_part(struct zcipc_frame *frame);
void zcipc_huge_put(struct zcipc_frame *frame, struct zcipc_user *user);
void zcipc_huge_share(struct zcipc_frame *frame, struct zcipc_user *user);
void zcipc_huge_reuse(struct zcipc_frame *frame);
bool zcipc_huge_complete(struct zcipc_frame *frame, unsigned int n);
void zcipc_huge_revive(struct zcipc_frame *frame, struct zcipc_user *user);
int zcipc_huge_refs(const struct zcipc_frame *frame);
int zcipc_huge_init(void);
void zcipc_huge_exit(void);
bool zcipc_huge_below(const struct zcipc_frame *frame, long state);

/*
 * Are all parts shared, so that no mapping of one is writable? Of imported ones that is not known.
 */
static inline bool zcipc_huge_shared(const struct zcipc_frame *frame)
{
	return !zcipc_frame_is_imported(frame) &&
	       atomic_read(&zcipc_frame_huge(frame)->nshared) == ZCIPC_HUGE_PAGES;
}

/* Is no part shared, so that a PMD may be writable? The caller holds the lock of the region. */
static inline bool zcipc_huge_exclusive(const struct zcipc_frame *frame)
{
	if (zcipc_frame_is_imported(frame))
		return zcipc_huge_below(frame, ZCIPC_FRAME_ONE + 1);
	return !atomic_read(&zcipc_frame_huge(frame)->nshared);
}

/* Do all parts belong to one region only? As zcipc_huge_exclusive(). */
static inline bool zcipc_huge_sole(const struct zcipc_frame *frame)
{
	return zcipc_huge_exclusive(frame) || zcipc_huge_below(frame, 2 * ZCIPC_FRAME_ONE);
}

/* How many references there are that are neither PTEs of regions nor their own. */
static inline int zcipc_frame_refs(const struct zcipc_frame *frame)
{
	if (zcipc_frame_is_imported(frame))
		return zcipc_import_refs(zcipc_frame_imported(frame), false);
	if (zcipc_frame_is_part(frame))
		return zcipc_huge_refs(frame);
	return page_count((struct page *)frame) - 1;
}

/*
 * Are there none? @huge is as for zcipc_import_is_free(). Of a huge frame others may come to hold
 * parts, but not these.
 */
static inline bool zcipc_frame_is_free(const struct zcipc_frame *frame, struct folio **huge)
{
	struct folio *folio;

	if (likely(!zcipc_frame_kind(frame)))
		return page_count((struct page *)frame) == 1;
	if (zcipc_frame_is_imported(frame))
		return zcipc_import_is_free(zcipc_frame_imported(frame), false, huge);
	folio = page_folio(zcipc_frame_page(frame));
	if (folio == *huge)
		return true;
	if (zcipc_huge_refs(frame) > 0)
		return false;
	*huge = folio;
	return true;
}

#endif /* ZCIPC_HUGE_H */

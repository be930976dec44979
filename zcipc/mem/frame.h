/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames: what regions are made of.
 */
#ifndef ZCIPC_FRAME_H
#define ZCIPC_FRAME_H

#include "base/base.h"
#include "mem/parts.h"

struct zcipc_import;

struct zcipc_frame *zcipc_frame_alloc(gfp_t gfp, int node);
struct zcipc_frame *zcipc_frame_alloc_cached(struct zcipc_user *user, unsigned int cache,
					     gfp_t gfp, int node);
struct zcipc_frame *zcipc_frame_copy(struct zcipc_frame *frame, gfp_t gfp, int node);
struct zcipc_frame *zcipc_frame_copy_cached(struct zcipc_frame *frame, struct zcipc_user *user,
					    unsigned int cache, gfp_t gfp, int node);
void zcipc_frame_share(struct zcipc_frame *frame, struct zcipc_user *user);
void zcipc_frame_reuse(struct zcipc_frame *frame);
void zcipc_frame_put(struct zcipc_frame *frame, struct zcipc_user *user);
bool zcipc_frame_held(struct zcipc_frame *frame, int extra, unsigned int *nheld);

/* Pages on a node, or, for NUMA_NO_NODE, where the current task's memory policy has them. */
static inline struct page *zcipc_pages_alloc(gfp_t gfp, int node, unsigned int order)
{
	return node == NUMA_NO_NODE ? alloc_pages(gfp, order) : alloc_pages_node(node, gfp, order);
}

/**
 * struct zcipc_imported - a frame that was somebody's memory before
 * @page: an anonymous page, or a part of a huge one, pinned
 * @state: as page->private of other frames
 * @import: what it is a part of
 */
struct zcipc_imported {
	struct page *page;
	atomic_long_t state;
	struct zcipc_import *import;
};

/*
 * A frame is a struct page that the module allocated; or, where bit 0 is set, a struct
 * zcipc_imported: core mm does not let drivers map anonymous pages by ordinary PTEs, nor use their
 * page->private; or, where bit 1 is set, the struct page of a part of a huge frame.
 */

#define ZCIPC_FRAME_IMPORTED	1UL
#define ZCIPC_FRAME_PART	2UL
#define ZCIPC_FRAME_KIND	(ZCIPC_FRAME_IMPORTED | ZCIPC_FRAME_PART)

static inline bool zcipc_frame_is_imported(const struct zcipc_frame *frame)
{
	return (unsigned long)frame & ZCIPC_FRAME_IMPORTED;
}

static inline bool zcipc_frame_is_part(const struct zcipc_frame *frame)
{
	return (unsigned long)frame & ZCIPC_FRAME_PART;
}

static inline unsigned long zcipc_frame_kind(const struct zcipc_frame *frame)
{
	return (unsigned long)frame & ZCIPC_FRAME_KIND;
}

static inline struct zcipc_imported *zcipc_frame_imported(const struct zcipc_frame *frame)
{
	return (struct zcipc_imported *)((unsigned long)frame & ~ZCIPC_FRAME_IMPORTED);
}

static inline struct zcipc_frame *zcipc_frame_of(struct zcipc_imported *imported)
{
	return (struct zcipc_frame *)((unsigned long)imported | ZCIPC_FRAME_IMPORTED);
}

static inline struct zcipc_frame *zcipc_frame_of_part(struct page *page)
{
	return (struct zcipc_frame *)((unsigned long)page | ZCIPC_FRAME_PART);
}

static inline struct page *zcipc_frame_page(const struct zcipc_frame *frame)
{
	if (zcipc_frame_is_imported(frame))
		return zcipc_frame_imported(frame)->page;
	return (struct page *)((unsigned long)frame & ~ZCIPC_FRAME_PART);
}

/*
 * Has a page too many references to be mapped? Each PTE of it is one, and core mm counts these in
 * an int, which nothing keeps from overflowing. Parts of a huge frame have them together.
 */
static inline bool zcipc_frame_is_crowded(const struct zcipc_frame *frame)
{
	unsigned int refs = folio_ref_count(page_folio(zcipc_frame_page(frame)));

	return unlikely(refs > zcipc_max_refs);
}

/*
 * The state of a frame: how many regions it belongs to, its cache policy, and whether it ever
 * belonged to two. Only then can somebody have a read-only pin of it who must not see later writes.
 */
#define ZCIPC_FRAME_ONE			8L
#define ZCIPC_FRAME_CACHE_SHIFT		1
#define ZCIPC_FRAME_CACHE_MASK		6L
#define ZCIPC_FRAME_WAS_SHARED		1L

static_assert(sizeof_field(struct page, private) == sizeof(atomic_long_t));

/* What one PMD maps. */
#define ZCIPC_HUGE_ORDER		(PMD_SHIFT - PAGE_SHIFT)
#define ZCIPC_HUGE_PAGES		(PMD_SIZE / PAGE_SIZE)

/**
 * struct zcipc_huge_frame - a huge frame. page->private of its first page leads here
 * @nmade: how many parts there were at first
 * @nparts: how many are a region's
 * @nshared: how many are not exclusive, of those
 * @inserting: how many are inserting PTEs of parts right now
 * @inserted: how often that was done
 * @parts: whose they are
 * @state: of each part, as page->private of other frames
 */
struct zcipc_huge_frame {
	unsigned int nmade;
	atomic_t nparts;
	atomic_t nshared;
	atomic_t inserting;
	atomic_t inserted;
	struct zcipc_parts parts;
	atomic_long_t state[ZCIPC_HUGE_PAGES];
};

/* The huge frame that a frame is a part of. */
static inline struct zcipc_huge_frame *zcipc_frame_huge(const struct zcipc_frame *frame)
{
	return (struct zcipc_huge_frame *)page_private(compound_head(zcipc_frame_page(frame)));
}

static inline atomic_long_t *zcipc_frame_state(const struct zcipc_frame *frame)
{
	if (likely(!zcipc_frame_kind(frame)))
		return (atomic_long_t *)&((struct page *)frame)->private;
	if (zcipc_frame_is_imported(frame))
		return &zcipc_frame_imported(frame)->state;
	return &zcipc_frame_huge(frame)->state[page_to_pfn(zcipc_frame_page(frame)) %
					       ZCIPC_HUGE_PAGES];
}

/* Is a frame a part of a huge page? */
static inline bool zcipc_frame_in_huge(const struct zcipc_frame *frame)
{
	if (likely(!zcipc_frame_kind(frame)))
		return false;
	return zcipc_frame_is_part(frame) ||
	       folio_test_large(page_folio(zcipc_frame_page(frame)));
}

static inline bool zcipc_state_exclusive(const atomic_long_t *state)
{
	return (atomic_long_read(state) & ~ZCIPC_FRAME_CACHE_MASK) == ZCIPC_FRAME_ONE;
}

/* One more region has the frame. Returns whether it was exclusive. */
static inline bool zcipc_state_share(atomic_long_t *state)
{
	if (!zcipc_state_exclusive(state)) {
		atomic_long_add(ZCIPC_FRAME_ONE, state);
		return false;
	}
	atomic_long_set(state, (atomic_long_read(state) + ZCIPC_FRAME_ONE) |
			ZCIPC_FRAME_WAS_SHARED);
	return true;
}

/* One region less has the frame. Returns whether that was the last one. */
static inline bool zcipc_state_leave(atomic_long_t *state)
{
	return zcipc_state_exclusive(state) ||
	       atomic_long_sub_return(ZCIPC_FRAME_ONE, state) < ZCIPC_FRAME_ONE;
}

/**
 * zcipc_frame_exclusive() - may the region write to this frame in place?
 * @frame: of a region whose lock the caller holds
 *
 * Return: true if it belongs to no other region, and nobody but the region's own users can have a
 * reference to it.
 */
static inline bool zcipc_frame_exclusive(const struct zcipc_frame *frame)
{
	return zcipc_state_exclusive(zcipc_frame_state(frame));
}

/* As zcipc_frame_exclusive(), but others may have references from the time when it was shared. */
static inline bool zcipc_frame_sole(const struct zcipc_frame *frame)
{
	return atomic_long_read(zcipc_frame_state(frame)) < 2 * ZCIPC_FRAME_ONE;
}

/* enum zcipc_cache of a frame. */
static inline unsigned int zcipc_frame_cache(const struct zcipc_frame *frame)
{
	return (atomic_long_read(zcipc_frame_state(frame)) & ZCIPC_FRAME_CACHE_MASK) >>
	       ZCIPC_FRAME_CACHE_SHIFT;
}

#endif /* ZCIPC_FRAME_H */

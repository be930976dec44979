/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Spaces: what an endpoint, which owns it, has mapped in its address space.
 *
 * Locking order: mmap_lock -> a VMA's lock -> region->lock -> space->lock -> space->hide_lock ->
 * what core mm takes to map and unmap. Many locks of regions, or of spaces, are taken in the order
 * of their ids.
 *
 * Nobody waits for the lock of a region, which others may hold for long, with that of a space,
 * which strangers need. But a region is found through a space: see zcipc_region_lock().
 *
 * Nobody waits for an mmap_lock while he has another: the second one can only be tried for. No
 * access to user memory, and no mmput(), under any of these.
 *
 * PTEs that map a region are inserted under the locks of the space and of the region, and only
 * there. So whoever holds the region's lock and has unmapped a page knows that it stays unmapped.
 */
#ifndef ZCIPC_SPACE_H
#define ZCIPC_SPACE_H

#include "base/base.h"
#include "mem/region.h"
#include "map/window.h"

struct zcipc_adoption;
struct zcipc_slot;

/**
 * struct zcipc_space_ops - what the owner of a space has to know
 * @changed: a window has gone, or a part of it: who waits for room may have another answer. The
 *	caller holds the lock
 * @closed: a VMA of the space's mm is closed; the lock is not held
 * @unplaced: a slot is not where it was; the caller holds the lock
 * @emptied: no page of a slot of adopted memory is mapped any more; the caller holds the lock,
 *	which may be released in between. Returns whether the slot has gone with what it belonged to
 */
struct zcipc_space_ops {
	void (*changed)(struct zcipc_space *space);
	void (*closed)(struct zcipc_space *space);
	void (*unplaced)(struct zcipc_slot *slot);
	bool (*emptied)(struct zcipc_slot *slot);
};

/**
 * struct zcipc_space - what an endpoint has mapped
 * @ops: what its owner has to know
 * @id: of the endpoint, never used again
 * @mm: by mmgrab(): the struct, not the address space
 * @user: who pays
 * @inode: private to this space, so that its i_mapping holds its windows' VMAs and no others
 * @adopt_lock: outermost of all: one import at a time
 * @known_vmas: so many the owner's process could have when an import last looked; under @adopt_lock
 * @adopted_flags: of the last VMA of adopted memory, as it was made; but for VM_DONTDUMP. Under
 *	@mm's mmap_lock
 * @hide_lock: innermost of all: whoever takes PTEs away reads, so that none is hidden from him; who
 *	hides some writes, and does not wait for that
 * @lock: protects everything that follows, and the rest of the endpoint
 * @dead: the endpoint is shut down: nothing comes in any more
 * @windows: by enum zcipc_cache, or ZCIPC_WINDOW_PINNABLE, ZCIPC_WINDOW_UNPINNABLE
 * @window_id: of the newest of them
 * @next_outside: file offset, in pages, for the next mapping outside of windows
 * @zapped: file offset, in pages, + 1, of the page that was unmapped last so that who writes to it
 *	can wait without the mmap_lock; or 0
 * @adoption: what may be mapped as adopted memory now, or NULL
 * @ndead_views: views of files that are dead, but still have VMAs
 * @slots: by file offset
 * @last_slot: the one of them that was installed last, or NULL
 * @last_next: the one behind that, or NULL
 * @stats: by enum zcipc_stat
 */
struct zcipc_space {
	const struct zcipc_space_ops *ops;
	u64 id;
	struct mm_struct *mm;
	struct zcipc_user *user;
	struct inode *inode;

	struct mutex adopt_lock; /* one import at a time */
	int known_vmas;
	unsigned long adopted_flags;
	struct rw_semaphore hide_lock; /* PTEs are not hidden */
	struct mutex lock; /* protects all that follows, and the endpoint */
	bool dead;
	struct zcipc_window windows[ZCIPC_WINDOW_MAX];
	u32 window_id;
	unsigned long next_outside;
	unsigned long zapped;
	struct zcipc_adoption *adoption;
	unsigned int ndead_views;
	struct rb_root slots;
	struct zcipc_slot *last_slot;
	struct zcipc_slot *last_next;
	u64 stats[ZCIPC_STAT_COUNT];
};

/* Which page of its window a file offset is. */
static inline unsigned long zcipc_window_index(unsigned long pgoff)
{
	return pgoff & ((1UL << ZCIPC_WINDOW_SHIFT) - 1);
}

/* The window that a file offset belongs to, which need not be there, or NULL. */
static inline struct zcipc_window *zcipc_window_at(struct zcipc_space *space, unsigned long pgoff)
{
	unsigned long which = pgoff >> ZCIPC_WINDOW_SHIFT;

	return which < ZCIPC_WINDOW_MAX ? &space->windows[which] : NULL;
}

/* User address of an offset in a window. */
static inline u64 zcipc_window_addr(struct zcipc_space *space, unsigned long pgoff)
{
	const struct zcipc_window *window = zcipc_window_at(space, pgoff);

	return window->addr + (zcipc_window_index(pgoff) << PAGE_SHIFT);
}

int zcipc_space_begin(struct zcipc_space *space, const struct zcipc_space_ops *ops);
void zcipc_space_end(struct zcipc_space *space);
void zcipc_spaces_lock(struct zcipc_space *a, struct zcipc_space *b);
void zcipc_spaces_unlock(struct zcipc_space *a, struct zcipc_space *b);
struct file *zcipc_space_clone(struct zcipc_space *space, const struct file *real, int flags,
			       const struct file_operations *fops);
int zcipc_window_mremap(struct vm_area_struct *vma);
int zcipc_space_init(void);
void zcipc_space_exit(void);

/* Is it dead, or its address space gone, so that it is about to be shut down, or should be? */
static inline bool zcipc_space_gone(const struct zcipc_space *space)
{
	return READ_ONCE(space->dead) || !atomic_read(&space->mm->mm_users);
}

/* Something that was mapped from a space is closed. No lock is held. */
static inline void zcipc_space_closed(struct zcipc_space *space, const struct vm_area_struct *vma)
{
	if (vma->vm_mm == space->mm)
		space->ops->closed(space);
}

/*
 * The window that a mapping of a region with @npinned imported pages belongs in. Where there is no
 * mkwrite, which is what forbids pins for writing, nothing keeps PTEs from becoming writable.
 */
static inline unsigned int zcipc_region_window(const struct zcipc_space *space,
					       const struct zcipc_region *region, u32 npinned,
					       bool writable)
{
	if (region->pinnable && writable)
		return ZCIPC_WINDOW_PINNABLE;
	if (!region->cache && (region->unpinnable || npinned) &&
	    space->windows[ZCIPC_WINDOW_UNPINNABLE].used)
		return ZCIPC_WINDOW_UNPINNABLE;
	return region->cache;
}

void zcipc_region_wait(struct zcipc_region *region, struct zcipc_space *space,
		       struct zcipc_space *other);

/**
 * zcipc_region_lock() - lock a region that has been found through a space
 * @region: the region
 * @space: the space; the caller holds its lock
 * @other: another one whose lock the caller holds, or @space
 *
 * Context: May sleep; no other lock of a space or a region is held.
 * Return: true, or false if those locks have been released in between. Then the caller has a
 * reference to the region, and has to find out whether the space still has it.
 */
static inline bool zcipc_region_lock(struct zcipc_region *region, struct zcipc_space *space,
				     struct zcipc_space *other)
{
	if (likely(mutex_trylock(&region->lock)))
		return true;
	zcipc_region_wait(region, space, other);
	return false;
}

/* Counts for the module, a space, and a region; the caller holds the locks of the two. */
static inline void zcipc_count_add(struct zcipc_space *space, struct zcipc_region *region,
				   enum zcipc_stat stat, u64 n)
{
	this_cpu_add(zcipc_stats.stats[stat], n);
	if (space)
		space->stats[stat] += n;
	if (region)
		region->stats[stat] += n;
}

#define zcipc_count(space, region, stat, n) \
	zcipc_count_add(space, region, ZCIPC_STAT_##stat, n)

#endif /* ZCIPC_SPACE_H */

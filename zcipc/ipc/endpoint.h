/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Endpoints: one open of the device, by one address space.
 *
 * An *endpoint* (one open file, bound to one mm) has a table of *capabilities*, a *window* (a VMA)
 * and a queue of *messages*. A capability names a range of a *region*; a *slot* is a place in the
 * window where a range of a capability is mapped. A region is an array of *frames*, which are pages
 * that count in page->private how many regions they belong to.
 *
 * Locking order: mmap_lock -> a VMA's lock -> region->lock -> endpoint->lock ->
 * endpoint->hide_lock -> what core mm takes to map and unmap. Many locks of regions, or of
 * endpoints, are taken in the order of their ids.
 *
 * A region is found through an endpoint, whose lock is held then. So its lock is tried for, and if
 * somebody else has it, the endpoint's lock is released first: zcipc_region_lock(). Nobody waits
 * for the lock of a region, which others may hold for long, with that of an endpoint, which
 * strangers need.
 *
 * Nobody waits for an mmap_lock while he has another: the second one can only be tried for. No
 * access to user memory, and no mmput(), under any of these.
 *
 * PTEs that map a region are inserted under the locks of the endpoint and of the region, and only
 * there. So whoever holds the region's lock and has unmapped a page knows that it stays unmapped.
 */
#ifndef ZCIPC_ENDPOINT_H
#define ZCIPC_ENDPOINT_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rbtree.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/topology.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/zcipc.h>

#include "base/counters.h"
#include "mem/recycle.h"
#include "mem/region.h"
#include "map/window.h"

struct cred;
struct pid;
struct zcipc_accept;
struct zcipc_adoption;
struct zcipc_mm;
struct zcipc_notice;
struct zcipc_receive_ring;
struct zcipc_slot;
struct zcipc_user;

/**
 * struct zcipc_endpoint - one open of the device
 * @kref: the file has a reference, and everybody who uses it outside of @lock and RCU
 * @rcu: for kfree_rcu(): look-ups by id
 * @id: never used again
 * @mm: the opener's, by mmgrab(): the struct, not the address space
 * @cred: the opener's
 * @watch: sees to it that the end of @mm is noticed; has a reference while it is queued
 * @zmm: tells of that, where no VMA would; or NULL. Changes once, under @lock
 * @mm_entry: in zmm->endpoints, unless it is dead
 * @pid: the opener's thread group, which a later process with the same number does not match
 * @user: who pays
 * @pin_limit: pages that @user may have pinned, as it was when the endpoint was opened
 * @inode: private to this endpoint, so that its i_mapping holds its window's VMAs and no others
 * @kept: regions that it has dropped, and may want again
 * @adopt_lock: outermost of all: one import at a time
 * @known_vmas: so many the owner's process could have when an import last looked; under @adopt_lock
 * @adopted_flags: of the last VMA of adopted memory, as it was made; but for VM_DONTDUMP. Under
 *	@mm's mmap_lock
 * @hide_lock: innermost of all: whoever takes PTEs away reads, so that none is hidden from him; who
 *	hides some writes, and does not wait for that
 * @lock: protects everything that follows
 * @dead: shut down: nothing comes in any more
 * @caps: the table: index -> struct zcipc_cap, or what cap.c makes of a free entry
 * @caps_size: its size
 * @caps_paid: how many capabilities @user has been charged for
 * @caps_free: index of the first free entry
 * @ncaps: entries that are not free
 * @first_generation: of each index; random, so that another endpoint's tokens are not taken for own
 *	ones. 0: there is no table yet
 * @windows: by enum zcipc_cache, or ZCIPC_WINDOW_PINNABLE, ZCIPC_WINDOW_UNPINNABLE
 * @window_id: of the newest of them
 * @next_outside: file offset, in pages, for the next mapping outside of windows; 0: there was none
 * @zapped: file offset, in pages, + 1, of the page that was unmapped last so that who writes to it
 *	can wait without the mmap_lock; or 0
 * @adoption: what may be mapped as adopted memory now, or NULL
 * @ndead_views: views of files that are dead, but still have VMAs
 * @slots: by file offset
 * @last_slot: the one of them that was installed last, or NULL
 * @last_next: the one behind that, or NULL
 * @messages: that wait and are not in the ring, oldest first
 * @nmessages: how many wait, those in the ring included
 * @spare: for the next notification, or NULL
 * @ring: that the owner reads messages from, or NULL
 * @recv_wait: waits for a message
 * @room_wait: peers that wait for room in window or queue: struct zcipc_room_wait
 * @room_turn: of the last one who began to wait; under @room_wait's lock
 * @room_seq: changes when there is more room, or another answer
 * @nreserved: places in queue and table that are taken, but not yet filled
 * @queue_depth: messages that may wait
 * @full: enum zcipc_full
 * @unreceived: enum zcipc_unreceived
 * @name: what the owner calls it
 * @accept: whom it accepts, NULL for ZCIPC_POLICY_USER; read under RCU or @lock
 * @node: the NUMA node where the owner was last seen; no lock
 * @stats: by enum zcipc_stat
 */
struct zcipc_endpoint {
	struct kref kref;
	struct rcu_head rcu;
	u64 id;
	struct mm_struct *mm;
	struct delayed_work watch;
	struct zcipc_mm *zmm;
	struct list_head mm_entry;
	const struct cred *cred;
	struct pid *pid;
	struct zcipc_user *user;
	unsigned long pin_limit;
	struct inode *inode;
	struct zcipc_kept kept;

	struct mutex adopt_lock; /* one import at a time */
	int known_vmas;
	unsigned long adopted_flags;
	struct rw_semaphore hide_lock; /* PTEs are not hidden */
	struct mutex lock; /* protects all that follows */
	bool dead;
	void **caps;
	u32 caps_size;
	u32 caps_paid;
	u32 caps_free;
	u32 ncaps;
	u64 first_generation;
	struct zcipc_window windows[ZCIPC_WINDOW_MAX];
	u32 window_id;
	unsigned long next_outside;
	unsigned long zapped;
	struct zcipc_adoption *adoption;
	unsigned int ndead_views;
	struct rb_root slots;
	struct zcipc_slot *last_slot;
	struct zcipc_slot *last_next;
	struct list_head messages;
	u32 nmessages;
	struct zcipc_notice *spare;
	struct zcipc_receive_ring *ring;
	wait_queue_head_t recv_wait;
	wait_queue_head_t room_wait;
	u64 room_turn;
	u32 room_seq;
	u32 nreserved;
	u32 queue_depth;
	u32 full;
	u32 unreceived;
	char name[ZCIPC_NAME_LEN];
	struct zcipc_accept __rcu *accept;
	int node;
	u64 stats[ZCIPC_STAT_COUNT];
};

struct zcipc_endpoint *zcipc_endpoint_create(void);
void zcipc_endpoint_shutdown(struct zcipc_endpoint *ep);
void zcipc_endpoint_unmapped(struct zcipc_endpoint *ep, const struct vm_area_struct *vma);
struct zcipc_endpoint *zcipc_endpoint_get(u64 id);
struct zcipc_endpoint *zcipc_endpoint_get_fd(u64 fd);
void zcipc_endpoint_put(struct zcipc_endpoint *ep);
bool zcipc_endpoint_gone(const struct zcipc_endpoint *ep);
void zcipc_endpoints_lock(struct zcipc_endpoint *a, struct zcipc_endpoint *b);
void zcipc_endpoints_unlock(struct zcipc_endpoint *a, struct zcipc_endpoint *b);
void zcipc_endpoint_failed(struct zcipc_endpoint *sender, u64 peer, u32 type, int error);

/* The owner is here: its memory should be, too. */
static inline void zcipc_endpoint_seen(struct zcipc_endpoint *ep)
{
	if (READ_ONCE(ep->node) != numa_mem_id())
		WRITE_ONCE(ep->node, numa_mem_id());
}

struct zcipc_endpoint *zcipc_endpoint_next(const struct pid *pid, unsigned long *id);
struct file *zcipc_endpoint_file(struct zcipc_endpoint *ep, int flags,
				 const struct file_operations *fops);
int zcipc_endpoint_init(const struct file_operations *fops);
void zcipc_endpoint_exit(void);

/*
 * The window of an endpoint that a mapping of a region belongs in, with @npinned imported pages.
 * Where there is no mkwrite, which is what forbids pins for writing, nothing keeps PTEs from
 * becoming writable.
 */
static inline unsigned int zcipc_region_window(const struct zcipc_endpoint *ep,
					       const struct zcipc_region *region, u32 npinned,
					       bool writable)
{
	if (region->pinnable && writable)
		return ZCIPC_WINDOW_PINNABLE;
	if (!region->cache && (region->unpinnable || npinned) &&
	    ep->windows[ZCIPC_WINDOW_UNPINNABLE].used)
		return ZCIPC_WINDOW_UNPINNABLE;
	return region->cache;
}

void zcipc_region_wait(struct zcipc_region *region, struct zcipc_endpoint *ep,
		       struct zcipc_endpoint *other);

/**
 * zcipc_region_lock() - lock a region that has been found through an endpoint
 * @region: the region
 * @ep: the endpoint; the caller holds its lock
 * @other: another one whose lock the caller holds, or @ep
 *
 * Context: May sleep; no other lock of an endpoint or a region is held.
 * Return: true, or false if the locks of the endpoints have been released in between. All are held
 * in any case. After false the caller has a reference to the region, and has to find out whether
 * the endpoint still has it.
 */
static inline bool zcipc_region_lock(struct zcipc_region *region, struct zcipc_endpoint *ep,
				     struct zcipc_endpoint *other)
{
	if (likely(mutex_trylock(&region->lock)))
		return true;
	zcipc_region_wait(region, ep, other);
	return false;
}

/* Counts for the module, an endpoint, and a region; the caller holds the locks of the two. */
static inline void zcipc_count_add(struct zcipc_endpoint *ep, struct zcipc_region *region,
				   enum zcipc_stat stat, u64 n)
{
	this_cpu_add(zcipc_stats.stats[stat], n);
	if (ep)
		ep->stats[stat] += n;
	if (region)
		region->stats[stat] += n;
}

#define zcipc_count(ep, region, stat, n) \
	zcipc_count_add(ep, region, ZCIPC_STAT_##stat, n)

#endif /* ZCIPC_ENDPOINT_H */

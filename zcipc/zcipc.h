/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the module share. DESIGN in short:
 *
 * An *endpoint* (one open file, bound to one mm) has a table of *capabilities*, a *window* (a VMA)
 * and a queue of *messages*. A capability names a range of a *region*; a *slot* is a place in the
 * window where a range of a capability is mapped. A region is an array of *frames*, which are pages
 * that count in page->private how many regions they belong to.
 *
 * Locking order: mmap_lock -> endpoint->lock (two: lower id first) -> region->lock -> what core mm
 * takes to map and unmap.
 *
 * Never more than one mmap_lock. No access to user memory, and no mmput(), under any of these.
 *
 * PTEs that map a region are inserted under the locks of the endpoint and of the region, and only
 * there. So whoever holds the region's lock and has unmapped a page knows that it stays unmapped.
 */
#ifndef ZCIPC_H
#define ZCIPC_H

#include <linux/cred.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rbtree.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include <linux/zcipc.h>

#include "compat.h"

#define ZCIPC_RIGHTS_ALL \
	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_GRANT | ZCIPC_RIGHT_MOVE)

/* Limits, reported by ZCIPC_IOC_INFO. The page counts keep tables and bitmaps below 32 MiB. */
#define ZCIPC_MAX_REGION_PAGES	(4UL << 20)
#define ZCIPC_MAX_WINDOW_PAGES	(256UL << 20)
#define ZCIPC_MAX_CAPS		(1024U * 1024)
#define ZCIPC_MAX_MESSAGES	1024U

/* A loop over the pages of a region lets others run after this many. */
#define ZCIPC_RESCHED_PAGES	1024

struct file;
struct inode;
struct pid;

/**
 * struct zcipc_user - what one user owns
 * @entry: in the list of users
 * @uid: the user
 * @refs: endpoints and regions that refer to this
 * @npages: pages charged
 */
struct zcipc_user {
	struct list_head entry;
	kuid_t uid;
	refcount_t refs;
	atomic_long_t npages;
};

/**
 * struct zcipc_endpoint - one open of the device
 * @kref: the file has a reference, and everybody who uses it outside of @lock and RCU
 * @rcu: for kfree_rcu(): look-ups by id
 * @id: never used again
 * @mm: the opener's, by mmgrab(): the struct, not the address space
 * @cred: the opener's
 * @pid: the opener's thread group, which a later process with the same number does not match
 * @user: who pays
 * @inode: private to this endpoint, so that its i_mapping holds its window's VMAs and no others
 * @lock: protects everything that follows
 * @dead: shut down: nothing comes in any more
 * @caps: the table: index -> struct zcipc_cap
 * @ncaps: entries of @caps
 * @first_generation: random, so that another endpoint's tokens are not taken for own ones
 * @next_generation: for the next token
 * @window_addr: user address, 0: no window yet
 * @window_npages: its size
 * @window_nvmas: VMAs of @mm that are parts of it
 * @window_used: a bit for each page that a slot occupies
 * @window_hint: no page before this one is free
 * @slots: by page offset in the window
 * @messages: received, oldest first
 * @nmessages: their number
 * @recv_wait: waits for @messages to have one
 * @room_wait: peers that wait for room in window, table or queue
 * @room_seq: changes when there is more room
 */
struct zcipc_endpoint {
	struct kref kref;
	struct rcu_head rcu;
	u64 id;
	struct mm_struct *mm;
	const struct cred *cred;
	struct pid *pid;
	struct zcipc_user *user;
	struct inode *inode;

	struct mutex lock; /* protects all that follows */
	bool dead;
	struct xarray caps;
	u32 ncaps;
	u64 first_generation;
	u64 next_generation;
	unsigned long window_addr;
	unsigned long window_npages;
	unsigned long window_nvmas;
	unsigned long *window_used;
	unsigned long window_hint;
	struct rb_root slots;
	struct list_head messages;
	u32 nmessages;
	wait_queue_head_t recv_wait;
	wait_queue_head_t room_wait;
	u32 room_seq;
};

/**
 * struct zcipc_region - an ordered set of frames with an identity
 * @kref: one reference for each capability
 * @id: never used again
 * @npages: its size
 * @user: who is charged for it. Changes under @lock and the lock of the sole owner's endpoint.
 * @ncharged: pages charged to @user
 * @lock: protects all that follows, and the PTEs that map the region
 * @caps: struct zcipc_cap.region_entry, and through them all slots
 * @pages: the frames, NULL where they have been moved away
 */
struct zcipc_region {
	struct kref kref;
	u64 id;
	unsigned long npages;
	struct zcipc_user *user;
	unsigned long ncharged;

	struct mutex lock; /* protects all that follows, and PTEs */
	struct list_head caps;
	struct page **pages;
};

/**
 * struct zcipc_cap - a capability: what one endpoint may do with a range of a region
 * @token: what user space calls it, unique in the endpoint for all time
 * @ep: whose table it is in
 * @region: the region, with a reference
 * @first: first page of the range in the region
 * @npages: length of the range
 * @rights: enum zcipc_right
 * @region_entry: in region->caps; region->lock
 * @slots: struct zcipc_slot.cap_entry; changed under both locks, read under either
 */
struct zcipc_cap {
	u64 token;
	struct zcipc_endpoint *ep;
	struct zcipc_region *region;
	unsigned long first;
	unsigned long npages;
	u32 rights;
	struct list_head region_entry;
	struct list_head slots;
};

/**
 * struct zcipc_slot - a range of a capability, mapped in the window
 * @node: in ep->slots
 * @cap: the capability
 * @cap_entry: in cap->slots
 * @pgoff: first page in the window, which is also the file offset
 * @npages: its length
 * @first: first page in the region
 * @writable: PTEs may be writable
 */
struct zcipc_slot {
	struct rb_node node;
	struct zcipc_cap *cap;
	struct list_head cap_entry;
	unsigned long pgoff;
	unsigned long npages;
	unsigned long first;
	bool writable;
};

/**
 * struct zcipc_message - tells an endpoint what it got. Plain values, no references but @pid
 * @entry: in ep->messages
 * @type: enum zcipc_type
 * @flags: enum zcipc_message_flags
 * @rights: of the capability
 * @token: the capability
 * @region: its region's id
 * @addr: where it is mapped, or 0
 * @len: bytes
 * @cookie: the sender's
 * @sender: endpoint id
 * @pid: the sender's thread group
 * @uid: the sender's effective user
 */
struct zcipc_message {
	struct list_head entry;
	u32 type;
	u32 flags;
	u32 rights;
	u64 token;
	u64 region;
	u64 addr;
	u64 len;
	u64 cookie;
	u64 sender;
	struct pid *pid;
	kuid_t uid;
};

/**
 * struct zcipc_ucmd - one ioctl under way
 * @ep: the caller's endpoint
 * @nonblock: its file is O_NONBLOCK
 * @ubuffer: the caller's struct
 * @user_size: its size as the caller knows it
 * @cmd: the kernel's copy of it
 * @size: its size as the kernel knows it
 */
struct zcipc_ucmd {
	struct zcipc_endpoint *ep;
	bool nonblock;
	void __user *ubuffer;
	u32 user_size;
	void *cmd;
	u32 size;
};

/* main.c */
int zcipc_ucmd_respond(struct zcipc_ucmd *ucmd);
int zcipc_ucmd_probe(struct zcipc_ucmd *ucmd);

/* account.c */
struct zcipc_user *zcipc_user_get(kuid_t uid);
struct zcipc_user *zcipc_user_ref(struct zcipc_user *user);
void zcipc_user_put(struct zcipc_user *user);
int zcipc_charge(struct zcipc_user *user, unsigned long npages);
void zcipc_charge_force(struct zcipc_user *user, unsigned long npages);
void zcipc_uncharge(struct zcipc_user *user, unsigned long npages);

/* endpoint.c */
struct zcipc_endpoint *zcipc_endpoint_create(void);
void zcipc_endpoint_shutdown(struct zcipc_endpoint *ep);
struct zcipc_endpoint *zcipc_endpoint_get(u64 id);
void zcipc_endpoint_put(struct zcipc_endpoint *ep);
void zcipc_endpoints_lock(struct zcipc_endpoint *a, struct zcipc_endpoint *b);
void zcipc_endpoints_unlock(struct zcipc_endpoint *a, struct zcipc_endpoint *b);
bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender);
void zcipc_endpoint_made_room(struct zcipc_endpoint *ep);
int zcipc_endpoint_lookup(struct zcipc_ucmd *ucmd);
int zcipc_endpoint_info(struct zcipc_ucmd *ucmd);
int zcipc_endpoint_init(void);
void zcipc_endpoint_exit(void);

/* cap.c */
struct zcipc_cap *zcipc_cap_alloc(void);
int zcipc_cap_reserve(struct zcipc_endpoint *ep, struct zcipc_cap *cap, gfp_t gfp);
void zcipc_cap_install(struct zcipc_cap *cap, struct zcipc_region *region, unsigned long first,
		       unsigned long npages, u32 rights);
void zcipc_cap_abort(struct zcipc_cap *cap);
void zcipc_cap_detach(struct zcipc_cap *cap);
void zcipc_cap_free(struct zcipc_cap *cap);
void zcipc_cap_remove(struct zcipc_cap *cap);
void zcipc_cap_give(struct zcipc_cap *cap, struct zcipc_endpoint *to);
struct zcipc_cap *zcipc_cap_find(struct zcipc_endpoint *ep, u64 token);
int zcipc_cap_range(const struct zcipc_cap *cap, u64 offset, u64 len, unsigned long *first,
		    unsigned long *npages);
int zcipc_cap_map(struct zcipc_ucmd *ucmd);
int zcipc_cap_unmap(struct zcipc_ucmd *ucmd);
int zcipc_cap_drop(struct zcipc_ucmd *ucmd);

/* region.c */
struct zcipc_region *zcipc_region_alloc(struct zcipc_user *user, unsigned long npages,
					bool charge);
struct zcipc_region *zcipc_region_get(struct zcipc_region *region);
void zcipc_region_put(struct zcipc_region *region);
bool zcipc_region_present(const struct zcipc_region *region, unsigned long first,
			  unsigned long npages);
void zcipc_region_unmap(struct zcipc_region *region, unsigned long first, unsigned long npages);
int zcipc_region_isolate(struct zcipc_region *region, unsigned long first, unsigned long npages,
			 bool strict, gfp_t gfp, u64 *copied);
void zcipc_region_split(struct zcipc_region *region, unsigned long first,
			struct zcipc_region *part);
void zcipc_region_own(struct zcipc_region *region, struct zcipc_user *user);
int zcipc_region_create(struct zcipc_ucmd *ucmd);
int zcipc_region_query(struct zcipc_ucmd *ucmd);

/* frame.c */
struct page *zcipc_frame_alloc(gfp_t gfp);
struct page *zcipc_frame_copy(struct page *page, gfp_t gfp);
void zcipc_frame_share(struct page *page);
void zcipc_frame_put(struct page *page);
bool zcipc_frame_held(struct page *page, int extra);

/*
 * page->private of a frame: how many regions it belongs to, and whether it ever belonged to two.
 * Only then can somebody have a read-only pin of it who must not see later writes.
 */
#define ZCIPC_FRAME_ONE			2UL
#define ZCIPC_FRAME_WAS_SHARED		1UL

/**
 * zcipc_frame_exclusive() - may the region write to this frame in place?
 * @page: a frame of a region whose lock the caller holds
 *
 * Return: true if it belongs to no other region, and nobody but the region's own users can have a
 * reference to it.
 */
static inline bool zcipc_frame_exclusive(const struct page *page)
{
	return page_private(page) == ZCIPC_FRAME_ONE;
}

/* As zcipc_frame_exclusive(), but others may have references from the time when it was shared. */
static inline bool zcipc_frame_sole(const struct page *page)
{
	return page_private(page) < 2 * ZCIPC_FRAME_ONE;
}

/* cow.c */
int zcipc_cow_snapshot(struct zcipc_region *region, unsigned long first,
		       struct zcipc_region *snapshot, bool strict, u64 *copied);
int zcipc_cow_break(struct zcipc_region *region, unsigned long index, struct page **spare,
		    int extra);

/* window.c */
int zcipc_window_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma);
int zcipc_slot_reserve(struct zcipc_endpoint *ep, struct zcipc_slot *slot, unsigned long npages);
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_cap *cap, unsigned long first,
			bool writable);
void zcipc_slot_abort(struct zcipc_endpoint *ep, struct zcipc_slot *slot);
void zcipc_slot_unmap(struct zcipc_slot *slot);
void zcipc_slot_remove(struct zcipc_slot *slot);
int zcipc_slot_remove_at(struct zcipc_endpoint *ep, u64 addr);
struct zcipc_slot *zcipc_slot_find(struct zcipc_endpoint *ep, unsigned long pgoff);
void zcipc_slot_populate(struct zcipc_slot *slot);
u64 zcipc_slot_addr(const struct zcipc_endpoint *ep, const struct zcipc_slot *slot);

/* queue.c */
struct zcipc_message *zcipc_message_alloc(const struct zcipc_endpoint *sender);
void zcipc_message_free(struct zcipc_message *msg);
void zcipc_message_queue(struct zcipc_endpoint *ep, struct zcipc_message *msg);
void zcipc_message_return(struct zcipc_endpoint *ep, struct zcipc_message *msg);
int zcipc_message_recv(struct zcipc_ucmd *ucmd);

/* transfer.c */
int zcipc_transfer(struct zcipc_ucmd *ucmd);

/* stats.c */

/* All but the first six only grow. The order is that of the members of struct zcipc_stats. */
enum zcipc_stat {
	ZCIPC_STAT_ENDPOINTS,
	ZCIPC_STAT_REGIONS,
	ZCIPC_STAT_FRAMES,
	ZCIPC_STAT_CAPS,
	ZCIPC_STAT_MAPS,
	ZCIPC_STAT_MESSAGES,
	ZCIPC_STAT_MOVES,
	ZCIPC_STAT_SHARES,
	ZCIPC_STAT_COPIES,
	ZCIPC_STAT_RECEIVED,
	ZCIPC_STAT_RETURNED,
	ZCIPC_STAT_PAGES,
	ZCIPC_STAT_COPIED_WRITE,
	ZCIPC_STAT_COPIED_HELD,
	ZCIPC_STAT_REUSED,
	ZCIPC_STAT_FAULTS,
	ZCIPC_STAT_COUNT
};

DECLARE_PER_CPU(u64 [ZCIPC_STAT_COUNT], zcipc_stats);

#define zcipc_stat_add(stat, n)	this_cpu_add(zcipc_stats[ZCIPC_STAT_##stat], n)
#define zcipc_stat_inc(stat)	zcipc_stat_add(stat, 1)
#define zcipc_stat_dec(stat)	zcipc_stat_add(stat, -1)

int zcipc_stats_get(struct zcipc_ucmd *ucmd);
void zcipc_stats_exit(void);

/* test.c: delay points, only in a module built for tests */
#ifdef ZCIPC_TEST
void zcipc_test_point(const char *name);
#else
static inline void zcipc_test_point(const char *name)
{
}
#endif

#endif /* ZCIPC_H */

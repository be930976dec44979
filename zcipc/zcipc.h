/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the module share. DESIGN in short:
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
#ifndef ZCIPC_H
#define ZCIPC_H

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/rbtree.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/zcipc.h>

#include "base/compat.h"
#include "base/counters.h"
#include "base/test.h"
#include "base/ucmd.h"

#define ZCIPC_RIGHTS_ALL \
	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_EXEC | ZCIPC_RIGHT_GRANT | \
	 ZCIPC_RIGHT_MOVE)

/* Limits, reported by ZCIPC_IOC_INFO. The page counts keep tables and bitmaps below 32 MiB. */
#define ZCIPC_MAX_REGION_PAGES	(4UL << 20)
#define ZCIPC_MAX_WINDOW_PAGES	(1UL << (40 - PAGE_SHIFT))
#define ZCIPC_MAX_CAPS		(1024U * 1024)
#define ZCIPC_MAX_MESSAGES	1024U
#define ZCIPC_MAX_DEPTH		1024U
#define ZCIPC_MAX_SLOTS		1024U

/* While locks are held that others wait for. */
#define ZCIPC_GFP_LOCKED	(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

/*
 * What takes longer than this many pages do is not done with the lock of an endpoint. To move or
 * share page table entries takes less, copies of what somebody holds take more; so does what has
 * many capabilities and mappings, which are all visited, unmapped, or revoked.
 */
#define ZCIPC_LONG_PAGES	512UL
#define ZCIPC_LONG_ENTRIES	1024UL
#define ZCIPC_LONG_INSERTED	256UL
#define ZCIPC_LONG_COPIES	64UL
#define ZCIPC_LONG_USES		128UL
#define ZCIPC_LONG_MAPPED	256U

/* Core mm unmaps so much at a time: whoever changes a window's VMA waits for that. */
#define ZCIPC_UNMAP_PAGES	4096UL

/* Of what is long, this many PTEs are inserted before others have a turn. */
#define ZCIPC_POPULATE_PAGES	128UL

/* A loop over the pages of a region lets others run after this many. */
#define ZCIPC_RESCHED_PAGES	1024

struct pid;
struct zcipc_accept;
struct zcipc_adoption;
struct zcipc_mm;
struct zcipc_notice;
struct zcipc_owner;
struct zcipc_receive_ring;
struct zcipc_view;

/**
 * struct zcipc_user - what one user owns
 * @entry: in the list of users
 * @uid: the effective user
 * @locker: the real user, who has what is pinned
 * @owner: whose limits count, NULL: there are none
 * @refs: endpoints and regions that refer to this
 * @npages: pages of regions charged
 * @overhead: bytes charged for what the kernel needs beside these
 * @peak: the most pages that ever were charged, all in all
 * @npinned: pages pinned, a part of @locker->locked_vm
 * @kept: regions that are kept for endpoints, charged to this
 */
struct zcipc_user {
	struct list_head entry;
	kuid_t uid;
	struct user_struct *locker;
	struct zcipc_owner *owner;
	refcount_t refs;
	atomic_long_t npages;
	atomic_long_t overhead;
	atomic_long_t peak;
	atomic_long_t npinned;
	struct list_head kept;
};

/*
 * Windows of an endpoint: for DEFAULT, STREAMING, UNCACHED, what can be pinned for long, and what
 * cannot be held at all. The last one is VM_PFNMAP, the others are VM_MIXEDMAP.
 */
#define ZCIPC_WINDOW_PINNABLE	(ZCIPC_CACHE_WRITEBACK + 1)
#define ZCIPC_WINDOW_UNPINNABLE	(ZCIPC_WINDOW_PINNABLE + 1)
#define ZCIPC_WINDOW_MAX	(ZCIPC_WINDOW_UNPINNABLE + 1)

/* File offsets, in pages: each window has as many as it could use, and so has the ring. */
#define ZCIPC_WINDOW_SHIFT	(40 - PAGE_SHIFT)
#define ZCIPC_RING_START	((unsigned long)ZCIPC_WINDOW_MAX << ZCIPC_WINDOW_SHIFT)
#define ZCIPC_RING_HEAD_START	((unsigned long)(ZCIPC_WINDOW_MAX + 1) << ZCIPC_WINDOW_SHIFT)
#define ZCIPC_RING_END		((unsigned long)(ZCIPC_WINDOW_MAX + 2) << ZCIPC_WINDOW_SHIFT)

/* Pages of a window that one bitmap is for. There is one only where something is placed. */
#define ZCIPC_WINDOW_PIECE	262144UL

/**
 * struct zcipc_window - where an endpoint sees memory of one kind
 * @id: another one for each window that there has been, 0: there is none
 * @addr: user address
 * @npages: its size, 0: there is no window
 * @nvmas: VMAs that are parts of it
 * @vma: the only one there ever was, which may be going away, or NULL
 * @used: bitmaps of pieces of it, NULL: no bit is set. A bit is set for each page that a slot
 *	occupies, or that has been unmapped
 * @lost: likewise, of what has been unmapped, in the same array as @used; or NULL
 * @nused: pages that slots occupy
 * @hint: no page before this one is free
 * @huge_low: no PMD shows a page before this one
 * @huge_hint: how many pages at the end are not free
 */
struct zcipc_window {
	u32 id;
	unsigned long addr;
	unsigned long npages;
	unsigned long nvmas;
	struct vm_area_struct *vma;
	unsigned long **used;
	unsigned long **lost;
	unsigned long nused;
	unsigned long hint;
	unsigned long huge_low;
	unsigned long huge_hint;
};

/**
 * struct zcipc_room - what a message needs in an endpoint, besides its place in the queue
 * @window: which of the windows
 * @npages: so many pages in it, or 0
 * @turn: who waits for it is behind those with lower numbers; 0: nobody has waited for it
 */
struct zcipc_room {
	unsigned int window;
	unsigned long npages;
	u64 turn;
};

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
 * @recycles: wants regions that it has dropped
 * @kept: which are these
 * @nkept: their pages
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
	bool recycles;
	struct list_head kept;
	unsigned long nkept;

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

/**
 * struct zcipc_region - an ordered set of frames with an identity
 * @kref: one reference for each capability
 * @id: never used again
 * @npages: its size
 * @user: who is charged for it. Changes under @lock.
 * @ncharged: pages charged to @user
 * @overhead: bytes charged to @user for this struct and its arrays
 * @cache: enum zcipc_cache of all frames, DEFAULT for write-back; changes under @lock and the lock
 *	of the sole owner's endpoint
 * @pinnable: frames can be pinned for long, so they are never shared with a snapshot
 * @unpinnable: it was asked for that PTEs are special, whatever the cache policy
 * @special: PTEs are special: get_user_pages() takes none of the frames, and nobody counts them
 * @file: the file that it is a range of, or NULL; then it has no frames, and only SHARE works
 * @file_pgoff: where it begins there, in pages
 * @reap: goes through @revoked, if the one who revoked cannot
 * @keeper: of a region that no capability names: who gets it next
 * @kept: in keeper->kept, of those
 * @owned: in user->kept
 * @recycled: in the list of all of those
 * @lock: protects all that follows, and the PTEs that map the region
 * @caps: struct zcipc_cap.region_entry, and through them all slots
 * @ranges: the same capabilities, by their ranges
 * @revoked: capabilities that are dead, and still have to be taken out of their tables
 * @frames: NULL where they have been moved away
 * @nholes: how many are NULL
 * @nuses: capabilities, but for revoked ones, and slots of all of them
 * @parts: some may be parts of huge frames
 * @break_huge: a huge frame that a snapshot has, too, is copied as a whole when it is written to
 * @huge: a bit for each block that is a huge frame, or an imported huge page: all its parts, in
 *	order
 * @few_huge: where these are, if they are few
 * @nhuge: number of bits set
 * @npinned: imported ones among them, charged to @user
 * @stats: by enum zcipc_stat
 */
struct zcipc_region {
	struct kref kref;
	u64 id;
	unsigned long npages;
	struct zcipc_user *user;
	unsigned long ncharged;
	size_t overhead;
	u32 cache;
	bool pinnable;
	bool unpinnable;
	bool special;
	struct file *file;
	unsigned long file_pgoff;
	struct work_struct reap;
	struct zcipc_endpoint *keeper;
	struct list_head kept;
	struct list_head owned;
	struct list_head recycled;

	struct mutex lock; /* protects all that follows, and PTEs */
	struct list_head caps;
	struct rb_root_cached ranges;
	struct list_head revoked;
	struct zcipc_frame **frames;
	unsigned long nholes;
	unsigned long nuses;
	bool parts;
	bool break_huge;
	unsigned long *huge;
	unsigned long few_huge;
	unsigned long nhuge;
	unsigned long npinned;
	u64 stats[ZCIPC_STAT_COUNT];
};

/**
 * struct zcipc_slot - a range of a capability that is mapped
 * @node: in ep->slots
 * @cap: the capability
 * @cap_entry: in cap->slots
 * @pgoff: file offset, in pages: of a place in a window, or outside
 * @addr: user address of adopted memory; 0: that of the window, or, of an executable mapping, any
 * @npages: its length
 * @first: first page in the region
 * @nmapped: of adopted memory: pages that VMAs show at @addr; ep->lock
 * @writable: PTEs may be writable
 * @secret: of adopted memory: it is not to be in core dumps
 * @around: how many pages the last fault brought
 * @next: file offset, in pages, of the one behind them
 * @streak: how many pages have been written to one after the other
 * @written: file offset, in pages, of the one behind them
 * @view: how a range of a file is shown, or NULL
 */
struct zcipc_slot {
	struct rb_node node;
	struct zcipc_cap *cap;
	struct list_head cap_entry;
	unsigned long pgoff;
	unsigned long addr;
	unsigned long npages;
	unsigned long first;
	unsigned long nmapped;
	bool writable;
	bool secret;
	unsigned int around;
	unsigned long next;
	unsigned int streak;
	unsigned long written;
	struct zcipc_view *view;
};

/**
 * struct zcipc_adoption - memory that is being adopted
 * @task: who may map it, and alone looks at what follows
 * @slot: its slot
 * @start: user address: where the VMA begins that is to show it, and what is beside it
 * @end: where that ends
 * @emptied: some of what is beside it has been unmapped for that; ep->lock
 */
struct zcipc_adoption {
	struct task_struct *task;
	struct zcipc_slot *slot;
	unsigned long start;
	unsigned long end;
	bool emptied;
};

/**
 * struct zcipc_message - tells an endpoint what it got. Part of a capability, or a notification
 * @entry: in ep->messages or the ring's, or empty
 * @type: enum zcipc_type or enum zcipc_message_type
 * @flags: enum zcipc_message_flags
 * @region: the region's id
 * @addr: where it is mapped, or 0; of a notification it is found out when it is received
 * @offset: where it begins in the capability's range, in bytes
 * @len: bytes
 * @cookie: the sender's
 * @sender: endpoint id
 * @pid: the sender's thread group, with a reference until the message is received
 * @uid: the sender's effective user
 * @sender_rights: what the sender had, and gets back if it comes back
 * @unheard: the capability was revoked before the endpoint received the message, and never will
 * @unmapped: it is a range of a file, which the endpoint has to map when it receives this
 * @shown: it has been put into a ring: the owner may know of it, though it has not received it
 * @number: which in the ring
 */
struct zcipc_message {
	struct list_head entry;
	u32 type;
	u32 flags;
	u64 region;
	u64 addr;
	u64 offset;
	u64 len;
	u64 cookie;
	u64 sender;
	struct pid *pid;
	kuid_t uid;
	u32 sender_rights;
	bool unheard;
	bool unmapped;
	bool shown;
	u32 number;
};

/**
 * struct zcipc_cap - a capability: what one endpoint may do with a range of a region
 * @token: what user space calls it, unique in the endpoint for all time
 * @ep: whose table it is in
 * @region: the region, with a reference
 * @first: first page of the range in the region
 * @npages: length of the range
 * @rights: enum zcipc_right
 * @revoked: dead: nothing is mapped by it and nothing will be, only the table still has it. Set
 *	under the region's lock.
 * @implicit: nobody has been told the token. Of adopted memory: goes when that is unmapped. Of a
 *	file: goes with the last that is derived from it
 * @unready: of memory that is being adopted; cannot be found; ep->lock
 * @nslots: number of @slots
 * @revoker: who did that, with a reference; region->lock
 * @parent: what it is derived from, or NULL; region->lock, as the next two
 * @children: what is derived from it
 * @sibling: in parent->children
 * @region_entry: in region->caps, or region->revoked; region->lock
 * @range_node: in region->ranges, unless it is revoked; region->lock, as the next one
 * @range_last: the last page of all ranges at and below that node
 * @slots: struct zcipc_slot.cap_entry; changed under both locks, read under either
 * @slot: the first of them, if it came with one
 * @notices: notifications of the endpoint that it has not received; ep->lock, as the next one
 * @msg: tells the endpoint of it
 */
struct zcipc_cap {
	u64 token;
	struct zcipc_endpoint *ep;
	struct zcipc_region *region;
	unsigned long first;
	unsigned long npages;
	u32 rights;
	bool revoked;
	bool implicit;
	bool unready;
	u32 nslots;
	struct zcipc_endpoint *revoker;
	struct zcipc_cap *parent;
	struct list_head children;
	struct list_head sibling;
	struct list_head region_entry;
	struct rb_node range_node;
	unsigned long range_last;
	struct list_head slots;
	struct zcipc_slot slot;
	struct list_head notices;
	struct zcipc_message msg;
};

/**
 * struct zcipc_notice - a notification; all is protected by the endpoint's lock
 * @msg: the message
 * @cap: the capability that it is about, of whom it is for
 * @entry: in cap->notices
 */
struct zcipc_notice {
	struct zcipc_message msg;
	struct zcipc_cap *cap;
	struct list_head entry;
};

/* account.c */
struct zcipc_user *zcipc_user_get(void);
struct zcipc_user *zcipc_user_ref(struct zcipc_user *user);
void zcipc_user_put(struct zcipc_user *user);
int zcipc_charge(struct zcipc_user *user, unsigned long npages);
void zcipc_charge_force(struct zcipc_user *user, unsigned long npages);
void zcipc_uncharge(struct zcipc_user *user, unsigned long npages);
int zcipc_charge_overhead(struct zcipc_user *user, size_t bytes);
void zcipc_charge_overhead_force(struct zcipc_user *user, size_t bytes);
void zcipc_uncharge_overhead(struct zcipc_user *user, size_t bytes);
unsigned long *zcipc_user_pooled(struct zcipc_user *user, unsigned int cache);
unsigned long zcipc_user_pages(const struct zcipc_user *user);
unsigned long zcipc_user_overhead(const struct zcipc_user *user);
unsigned long zcipc_pin_limit(void);
int zcipc_charge_pins(struct zcipc_user *user, unsigned long npages, unsigned long limit);
void zcipc_charge_pins_force(struct zcipc_user *user, unsigned long npages);
void zcipc_uncharge_pins(struct zcipc_user *user, unsigned long npages);

/* endpoint.c */
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

/* policy.c */
bool zcipc_endpoint_accepts(const struct zcipc_endpoint *ep, const struct zcipc_endpoint *sender);
struct zcipc_accept *zcipc_policy_alloc(struct zcipc_endpoint *ep,
					const struct zcipc_endpoint_config *cmd);
void zcipc_policy_set(struct zcipc_endpoint *ep, struct zcipc_accept *accept);
void zcipc_policy_tell(const struct zcipc_endpoint *ep, struct zcipc_endpoint_config *cmd);
void zcipc_policy_end(struct zcipc_endpoint *ep);

/* room.c */
void zcipc_endpoint_made_room(struct zcipc_endpoint *ep);
void zcipc_endpoint_made_room_in_ring(struct zcipc_endpoint *ep);
void zcipc_endpoint_wake_all(struct zcipc_endpoint *ep);
int zcipc_endpoint_wait_room(struct zcipc_endpoint *ep, u32 room_seq, struct zcipc_room *need);
void zcipc_endpoint_pass_turn(struct zcipc_endpoint *ep, struct zcipc_room need, int ret);

/* cap.c */
#define ZCIPC_TOKEN_INDEX_BITS	20
#define ZCIPC_TOKEN_INDEX_MASK	((1ULL << ZCIPC_TOKEN_INDEX_BITS) - 1)

extern struct workqueue_struct *zcipc_workers;

struct zcipc_cap *zcipc_cap_alloc(int node);
int zcipc_cap_reserve_more(struct zcipc_endpoint *ep, u32 n, gfp_t gfp);

/**
 * zcipc_cap_reserve() - make sure that zcipc_cap_enter() has a place
 * @ep: the endpoint; the caller holds its lock until then, or counts what it will enter as reserved
 * @n: number of capabilities that are to be entered, besides those that are reserved
 * @gfp: for the table; with __GFP_NOFAIL the limit does not count either
 *
 * Return: 0, or -ENOBUFS, -EDQUOT, -ENOMEM
 */
static inline int zcipc_cap_reserve(struct zcipc_endpoint *ep, u32 n, gfp_t gfp)
{
	n += ep->nreserved;
	if (likely(ep->ncaps + n <= min(ep->caps_paid, ZCIPC_MAX_CAPS / 2)))
		return 0;
	return zcipc_cap_reserve_more(ep, n, gfp);
}

/*
 * Is a token, which zcipc_cap_find() has found, still that of a capability, which may be gone by
 * now? @ep's lock is held, and tables do not shrink.
 */
static inline bool zcipc_cap_is_at(const struct zcipc_endpoint *ep, const struct zcipc_cap *cap,
				   u64 token)
{
	return ep->caps[token & ZCIPC_TOKEN_INDEX_MASK] == cap && cap->token == token &&
	       !READ_ONCE(cap->revoked);
}

/* Tables have odd numbers in their free entries. */
static inline bool zcipc_cap_entry_is_free(const void *entry)
{
	return (unsigned long)entry & 1;
}

/* The capability that has a token, revoked or not, or NULL. */
static inline struct zcipc_cap *zcipc_cap_at(struct zcipc_endpoint *ep, u64 token)
{
	u32 index = token & ZCIPC_TOKEN_INDEX_MASK;
	void *entry;

	lockdep_assert_held(&ep->lock);
	if (index >= ep->caps_size)
		return NULL;
	entry = ep->caps[array_index_nospec(index, ep->caps_size)];
	if (zcipc_cap_entry_is_free(entry) || ((struct zcipc_cap *)entry)->token != token)
		return NULL;
	return entry;
}

u64 zcipc_cap_kill_tree(struct zcipc_cap *root, bool keep, struct zcipc_endpoint *revoker);
void zcipc_cap_remove_locked(struct zcipc_cap *cap);
void zcipc_cap_forget(struct zcipc_cap *cap);
struct zcipc_cap *zcipc_cap_missing(const struct zcipc_endpoint *ep, u64 token);

/**
 * zcipc_cap_find() - look a token up
 * @ep: the endpoint; the caller holds its lock
 * @token: what user space gave
 *
 * It may be revoked as long as its region's lock is not held.
 *
 * Return: the capability, or -ESTALE when it is gone, -ENOENT when it never was
 */
static inline struct zcipc_cap *zcipc_cap_find(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap = zcipc_cap_at(ep, token);

	if (unlikely(!cap))
		return zcipc_cap_missing(ep, token);
	return READ_ONCE(cap->revoked) || cap->unready ? ERR_PTR(-ESTALE) : cap;
}

/**
 * zcipc_cap_range() - check a range that user space gave
 * @cap: the capability
 * @offset: bytes from the beginning of the capability's range
 * @len: bytes, 0: up to its end
 * @first: [out] first page in the region
 * @npages: [out] number of pages
 *
 * Return: 0, or -EINVAL
 */
static inline int zcipc_cap_range(const struct zcipc_cap *cap, u64 offset, u64 len,
				  unsigned long *first, unsigned long *npages)
{
	u64 end = (u64)cap->npages << PAGE_SHIFT;

	*first = cap->first;
	*npages = cap->npages;
	if (!(offset | len))
		return 0;
	if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len) || offset >= end || len > end - offset)
		return -EINVAL;
	*first = cap->first + (offset >> PAGE_SHIFT);
	*npages = (len ?: end - offset) >> PAGE_SHIFT;
	return 0;
}

void zcipc_cap_enter(struct zcipc_cap *cap, struct zcipc_endpoint *ep);
void zcipc_cap_install(struct zcipc_cap *cap, struct zcipc_region *region,
		       struct zcipc_cap *parent, unsigned long first, unsigned long npages,
		       u32 rights);
void zcipc_cap_detach(struct zcipc_cap *cap, bool stay);
void zcipc_cap_free(struct zcipc_cap *cap);
void zcipc_cap_remove(struct zcipc_cap *cap);
void zcipc_cap_remove_token(struct zcipc_endpoint *ep, u64 token);
void zcipc_cap_free_table(struct zcipc_endpoint *ep);
void zcipc_cap_remove_all(struct zcipc_endpoint *ep);
void zcipc_cap_pass(struct zcipc_cap *cap, struct zcipc_endpoint *to);
void zcipc_cap_give(struct zcipc_cap *cap, struct zcipc_endpoint *to);
struct zcipc_cap *zcipc_cap_overlap(struct zcipc_region *region, struct zcipc_cap *cap,
				    unsigned long first, unsigned long npages);

struct zcipc_cap *zcipc_cap_lock_region(struct zcipc_cap *cap, struct zcipc_endpoint *other);
struct zcipc_cap *zcipc_cap_find_region(struct zcipc_endpoint *ep, u64 token);
struct zcipc_cap *zcipc_cap_find_locked(struct zcipc_endpoint *ep, struct zcipc_endpoint *other,
					u64 token);
u32 zcipc_cap_depth(const struct zcipc_cap *cap);
u32 zcipc_cap_derived(const struct zcipc_cap *cap);
u64 zcipc_cap_kill_range(struct zcipc_region *region, unsigned long first, unsigned long npages,
			 const struct zcipc_cap *except, struct zcipc_endpoint *revoker);
void zcipc_cap_reap(struct zcipc_region *region, u64 n);
void zcipc_cap_reap_work(struct work_struct *work);
int zcipc_cap_init(void);
void zcipc_cap_exit(void);

/* region.c */

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

/* Is it ZCIPC_NODE_ANY, or a node that has memory? */
static inline bool zcipc_node_valid(int node)
{
	return node == ZCIPC_NODE_ANY ||
	       (node >= 0 && node < MAX_NUMNODES && node_state(node, N_MEMORY));
}

static_assert(ZCIPC_NODE_ANY == NUMA_NO_NODE);

/**
 * struct zcipc_plan - frames of a range that are to be replaced
 * @take: also those that somebody holds: the range is to be given away
 * @strict: fail if somebody holds one
 * @node_strict: fail if one cannot be there
 * @brief: fail if copies would take long
 * @others: another user gets the range: see zcipc_region_fate()
 * @cache: the policy that they are to have; if the region's is another one, all are replaced
 * @node: where they are to be, or NUMA_NO_NODE
 * @npages: length of the range
 * @copies: a copy, or NULL, for each page of the range; NULL if no frame is to be replaced
 * @held: bytes to be copied because somebody holds the frames
 * @mended: bytes copied to make blocks huge frames again
 * @migrated: bytes to be copied because they are on another node
 * @off_node: bytes that will not be on @node
 * @nheld: frames found held so far
 * @nloose: frames to be copied because another user gets only parts of a huge page
 * @spares: frames for copies, by page->lru; their cache policy is write-back
 */
struct zcipc_plan {
	bool take;
	bool strict;
	bool node_strict;
	bool brief;
	bool others;
	u8 cache;
	int node;
	u32 npages;
	struct zcipc_frame **copies;
	u64 held;
	u64 mended;
	u64 migrated;
	u64 off_node;
	unsigned int nheld;
	u32 nloose;
	struct list_head spares;
};

struct zcipc_region *zcipc_region_alloc(struct zcipc_user *user, unsigned long npages,
					bool charge);
struct zcipc_region *zcipc_region_alloc_file(struct zcipc_user *user, unsigned long npages,
					     struct file *file, unsigned long pgoff);
void zcipc_region_renew(struct zcipc_region *region);
struct zcipc_region *zcipc_region_get(struct zcipc_region *region);
void zcipc_region_put(struct zcipc_region *region);
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

/* Locks a region that nobody else knows, whatever locks are held. */
static inline void zcipc_region_lock_new(struct zcipc_region *region)
{
	WARN_ON_ONCE(!mutex_trylock(&region->lock));
}

/* After zcipc_region_lock() has returned false. */
static inline void zcipc_region_unlock_put(struct zcipc_region *region)
{
	mutex_unlock(&region->lock);
	zcipc_region_put(region);
}

void zcipc_region_unmap(struct zcipc_region *region, unsigned long first, unsigned long npages,
			const struct zcipc_endpoint *except);
int zcipc_region_plan(struct zcipc_region *region, unsigned long first, unsigned long npages,
		      gfp_t gfp, struct zcipc_plan *plan);
u64 zcipc_region_off_node(const struct zcipc_region *region, unsigned long first,
			  unsigned long npages, int node);
void zcipc_region_plan_free(struct zcipc_plan *plan);
void zcipc_region_replace(struct zcipc_region *region, unsigned long first,
			  struct zcipc_plan *plan);
void zcipc_region_set_cache(struct zcipc_region *region, u32 cache);

/**
 * enum zcipc_fate - what becomes of parts of a huge page when another user gets them
 * @ZCIPC_FATE_GO: that user gets them as they are
 * @ZCIPC_FATE_HELD: gets copies, since somebody holds some
 * @ZCIPC_FATE_LOOSE: gets copies, since they are not all that there are
 */
enum zcipc_fate { ZCIPC_FATE_GO, ZCIPC_FATE_HELD, ZCIPC_FATE_LOOSE };

unsigned long zcipc_region_count_loose(const struct zcipc_region *region, unsigned long first,
				       unsigned long npages, u32 *npinned);
void zcipc_region_pay_parts(const struct zcipc_region *region);
enum zcipc_fate zcipc_region_fate(const struct zcipc_region *region, unsigned long index,
				  unsigned long npages, unsigned int *nheld, unsigned long *n);
unsigned long zcipc_region_head(const struct zcipc_region *region, unsigned long first,
				unsigned long npages);
void zcipc_region_inherit(const struct zcipc_region *region, struct zcipc_region *part);
void zcipc_region_split(struct zcipc_region *region, unsigned long first,
			struct zcipc_region *part);
void zcipc_region_own(struct zcipc_region *region, struct zcipc_user *user);
unsigned long zcipc_region_count_pins(const struct zcipc_region *region, unsigned long first,
				      unsigned long npages);
void zcipc_region_set_frame(struct zcipc_region *region, unsigned long index,
			    struct zcipc_frame *frame);
void zcipc_region_share_huge(const struct zcipc_region *region, unsigned long first,
			     struct zcipc_region *other, unsigned long at, unsigned long npages);
void zcipc_region_set_huge(struct zcipc_region *region, unsigned long first);
void zcipc_region_clear_huge(struct zcipc_region *region, unsigned long index);
long zcipc_region_alignment(const struct zcipc_region *region, unsigned long first,
			    unsigned long npages, bool only);

/**
 * zcipc_region_present() - are all pages of a range there, none moved away? A file's are.
 * @region: the region; the caller holds its lock
 * @first: first page
 * @npages: number of pages
 */
static inline bool zcipc_region_present(const struct zcipc_region *region, unsigned long first,
					unsigned long npages)
{
	unsigned long i;

	lockdep_assert_held(&region->lock);
	for (i = first; region->nholes && i < first + npages; i++)
		if (!region->frames[i])
			return false;
	return true;
}

/* recycle.c */
void zcipc_recycle_end(struct zcipc_endpoint *ep);
bool zcipc_recycle_free(struct zcipc_user *user);
bool zcipc_recycle_keep(struct zcipc_endpoint *ep, struct zcipc_region *region);
struct zcipc_region *zcipc_recycle_take(struct zcipc_endpoint *ep, unsigned long npages, u32 flags);
int zcipc_recycle_init(void);
void zcipc_recycle_exit(void);

/* frame.c */
struct page *zcipc_pages_alloc(gfp_t gfp, int node, unsigned int order);
struct zcipc_frame *zcipc_frame_alloc(gfp_t gfp, int node);
struct zcipc_frame *zcipc_frame_alloc_cached(struct zcipc_user *user, unsigned int cache,
					     gfp_t gfp, int node);
struct zcipc_frame *zcipc_frame_copy(struct zcipc_frame *frame, gfp_t gfp, int node);
struct zcipc_frame *zcipc_frame_copy_cached(struct zcipc_frame *frame, struct zcipc_user *user,
					    unsigned int cache, gfp_t gfp, int node);
void zcipc_frame_share(struct zcipc_frame *frame, struct zcipc_user *user);
void zcipc_frame_reuse(struct zcipc_frame *frame);
void zcipc_frame_put(struct zcipc_frame *frame, struct zcipc_user *user);
void zcipc_frame_put_left(struct zcipc_frame *frame);
bool zcipc_frame_held(struct zcipc_frame *frame, int extra, unsigned int *nheld);

/* pool.c */
bool zcipc_frame_can_cache(unsigned int cache);
pgprot_t zcipc_frame_pgprot(pgprot_t prot, unsigned int cache);
struct page *zcipc_pool_alloc(struct zcipc_user *user, unsigned int cache, gfp_t gfp, int node);
void zcipc_pool_put(struct page *page, unsigned int cache);
void zcipc_pool_exit(void);

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
struct zcipc_frame;

#define ZCIPC_FRAME_IMPORTED	1UL
#define ZCIPC_FRAME_PART	2UL
#define ZCIPC_FRAME_KIND	(ZCIPC_FRAME_IMPORTED | ZCIPC_FRAME_PART)

/* import.c */
int zcipc_import_refs(const struct zcipc_imported *frame, bool mapped);
bool zcipc_import_is_free(const struct zcipc_imported *frame, bool mapped, struct folio **huge);
void zcipc_import_put(struct zcipc_imported *frame);
int zcipc_import_check(unsigned long addr, unsigned long npages, bool *secret);
int zcipc_import_pin(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     unsigned long addr, unsigned long limit, bool keep);
bool zcipc_import_takes_pmds(bool pfnmap);
int zcipc_import_lock(unsigned long addr, unsigned long npages);
void zcipc_import_zap(unsigned long addr, unsigned long npages);
unsigned long zcipc_import_restore(struct zcipc_region *region, unsigned long first,
				   unsigned long npages, unsigned long addr);
int zcipc_import_adopt(struct zcipc_ucmd *ucmd, unsigned long addr, unsigned long npages,
		       bool implicit, u64 *token, u64 *id);
struct zcipc_parts *zcipc_import_parts(struct folio *folio);
void zcipc_import_populate(struct zcipc_endpoint *ep, u64 token);
void zcipc_import_forget(struct zcipc_endpoint *ep, u64 token);
int zcipc_import_copy_all(struct zcipc_endpoint *ep, u64 token, u64 *copied);
int zcipc_import_give_back(struct zcipc_endpoint *ep, u64 token, unsigned long addr,
			   unsigned long end, u64 *copied);

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
 * struct zcipc_part_user - a user whose regions have parts of a huge page
 * @next: another one
 * @user: the user, with a reference, or NULL: nobody
 * @nparts: how many, one that several regions have counts as many times
 * @npaid: for how many that no region has the user is charged
 * @pays: the user is to be charged
 */
struct zcipc_part_user {
	struct zcipc_part_user *next;
	struct zcipc_user *user;
	unsigned long nparts;
	unsigned int npaid;
	bool pays;
};

/* So many users have parts of a huge page; others get copies. */
#define ZCIPC_PART_USERS		16U

/**
 * struct zcipc_parts - the parts of a huge page, and who pays for them: see parts.c
 * @lock: of the other members
 * @ngone: how many no region has
 * @nusers: how many users have some
 * @pinned: they count as pinned, too
 * @first: who has some
 */
struct zcipc_parts {
	spinlock_t lock; /* of the other members */
	unsigned int ngone;
	unsigned int nusers;
	bool pinned;
	struct zcipc_part_user first;
};

/* parts.c */
void zcipc_parts_init(struct zcipc_parts *parts, unsigned int ngone, bool pinned);
void zcipc_parts_join(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n,
		      bool pays);
void zcipc_parts_leave(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long n);
void zcipc_parts_lose(struct zcipc_parts *parts, unsigned int n);
void zcipc_parts_regain(struct zcipc_parts *parts, unsigned int n);
int zcipc_parts_charge(struct zcipc_parts *parts, struct zcipc_user *user, unsigned long limit);

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

/* The caller holds the region's lock. Others look without. */
static inline void zcipc_region_count_uses(struct zcipc_region *region, long n)
{
	WRITE_ONCE(region->nuses, region->nuses + n);
}

/* Are there so many capabilities and mappings that to visit them all takes long? */
static inline bool zcipc_region_has_many(const struct zcipc_region *region)
{
	return READ_ONCE(region->nuses) > ZCIPC_LONG_USES;
}

/* Is the block that a page is in a huge frame? */
static inline bool zcipc_region_is_huge(const struct zcipc_region *region, unsigned long index)
{
	return region->nhuge && index / ZCIPC_HUGE_PAGES < region->npages / ZCIPC_HUGE_PAGES &&
	       test_bit(index / ZCIPC_HUGE_PAGES, region->huge);
}

/* How many entries of page tables a range takes: one for each block that is a huge frame. */
static inline unsigned long zcipc_region_entries(const struct zcipc_region *region,
						 unsigned long first, unsigned long npages)
{
	unsigned long i, n = npages;

	if (!region->nhuge)
		return n;
	for (i = ALIGN(first, ZCIPC_HUGE_PAGES); i + ZCIPC_HUGE_PAGES <= first + npages;
	     i += ZCIPC_HUGE_PAGES)
		if (zcipc_region_is_huge(region, i))
			n -= ZCIPC_HUGE_PAGES - 1;
	return n;
}

/* Does one begin at a page, which is all in a range of which @npages are left? */
static inline bool zcipc_region_huge_at(const struct zcipc_region *region, unsigned long index,
					unsigned long npages)
{
	return region->nhuge && !(index % ZCIPC_HUGE_PAGES) && npages >= ZCIPC_HUGE_PAGES &&
	       zcipc_region_is_huge(region, index);
}

/* Is a frame a part of a huge page? */
static inline bool zcipc_frame_in_huge(const struct zcipc_frame *frame)
{
	if (likely(!zcipc_frame_kind(frame)))
		return false;
	return zcipc_frame_is_part(frame) ||
	       folio_test_large(page_folio(zcipc_frame_page(frame)));
}

/* huge.c */
bool zcipc_huge_is_on(void);
struct zcipc_parts *zcipc_frame_parts(const struct zcipc_frame *frame);
struct zcipc_frame *zcipc_huge_alloc(gfp_t gfp, int node, unsigned int n);
void zcipc_huge_parts(struct zcipc_frame *frame, struct zcipc_frame **frames, unsigned int n,
		      struct zcipc_user *user);
void zcipc_huge_put_part(struct zcipc_frame *frame);
void zcipc_huge_put(struct zcipc_frame *frame, struct zcipc_user *user);
void zcipc_huge_share(struct zcipc_frame *frame, struct zcipc_user *user);
unsigned long zcipc_huge_all_parts(struct zcipc_frame **frames, unsigned long npages);
bool zcipc_huge_sole(struct zcipc_frame *frame);
void zcipc_huge_reuse(struct zcipc_frame *frame);
bool zcipc_huge_complete(struct zcipc_frame *frame, unsigned int n);
void zcipc_huge_revive(struct zcipc_frame *frame, struct zcipc_user *user);
int zcipc_huge_refs(const struct zcipc_frame *frame);
int zcipc_huge_init(void);
void zcipc_huge_exit(void);

bool zcipc_huge_imported_below(const struct zcipc_frame *frame, long state);

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
		return zcipc_huge_imported_below(frame, ZCIPC_FRAME_ONE + 1);
	return !atomic_read(&zcipc_frame_huge(frame)->nshared);
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
	return (atomic_long_read(zcipc_frame_state(frame)) & ~ZCIPC_FRAME_CACHE_MASK) ==
	       ZCIPC_FRAME_ONE;
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

/* cow.c */

/* Of a range: all is to be unmapped, or just what can be writable, or nothing is. */
enum zcipc_cow_freeze {
	ZCIPC_COW_ALL,
	ZCIPC_COW_SOME,
	ZCIPC_COW_NOTHING,
};

/* To unmap a run of pages alone pays off where there is but one in so many. */
#define ZCIPC_COW_RUN		32UL

/* To copy so many pages is cheaper than to share all pages of 2 MiB one by one. */
#define ZCIPC_COW_MEND		16U

/* So many pages are copied at once, */
#define ZCIPC_COW_AHEAD		16UL

/* when that many have been written one after the other. */
#define ZCIPC_COW_STREAK	16U

enum zcipc_cow_freeze zcipc_cow_look(const struct zcipc_region *region, unsigned long first,
				     unsigned long npages);
void zcipc_cow_share(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     struct zcipc_region *snapshot, unsigned long at);
bool zcipc_cow_is_torn(const struct zcipc_region *region, unsigned long first,
		       unsigned long npages);
u64 zcipc_cow_mend(struct zcipc_region *region, unsigned long first, unsigned long npages);
int zcipc_cow_snapshot(struct zcipc_region *region, unsigned long first, unsigned long npages,
		       struct zcipc_region *snapshot, unsigned long at,
		       const struct zcipc_endpoint *except, enum zcipc_cow_freeze freeze,
		       bool strict, struct zcipc_plan *plan);
unsigned long zcipc_cow_break_ahead(struct zcipc_endpoint *ep, struct zcipc_region *region,
				    unsigned long index, unsigned long max);
int zcipc_cow_copy(struct zcipc_region *region, unsigned long first, unsigned long npages,
		   struct zcipc_region *snapshot, unsigned long at,
		   unsigned int cache, int node, bool strict);
bool zcipc_cow_breaks_huge(const struct zcipc_region *region, unsigned long index);
void zcipc_cow_spare(struct zcipc_frame **spare, bool huge);
void zcipc_cow_spare_put(struct zcipc_frame *spare);
int zcipc_cow_break(struct zcipc_endpoint *ep, struct zcipc_region *region, unsigned long index,
		    struct zcipc_frame **spare, int extra);

/* window.c */
int zcipc_window_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma);

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

bool zcipc_adopted_find(struct zcipc_endpoint *ep, unsigned long addr, unsigned long end,
			struct zcipc_adopted *found);
void zcipc_adopted_join(struct zcipc_endpoint *ep, struct zcipc_adoption *adoption);
bool zcipc_adopted_may_replace(struct zcipc_endpoint *ep, unsigned long addr, unsigned long end);
void zcipc_adopted_populate(struct zcipc_endpoint *ep, unsigned long addr, unsigned long end);
int zcipc_adopted_reserve(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
			  unsigned long *pgoff);
int zcipc_window_reserve_one(struct zcipc_endpoint *ep, unsigned int which, unsigned long *pgoff);
int zcipc_window_reserve_many(struct zcipc_endpoint *ep, unsigned int which, unsigned long npages,
			      long align, unsigned long *pgoff);

/**
 * zcipc_window_reserve() - find room in a window
 * @ep: the endpoint; the caller holds its lock
 * @which: zcipc_region_window()
 * @npages: number of pages
 * @align: zcipc_region_alignment()
 * @pgoff: [out] first page, as a file offset
 *
 * What PMDs are to show lies at the window's end, since PTEs leave their page tables behind, where
 * no PMD can be.
 *
 * First fit, so that page tables which are there already are used again. zcipc_slot_install() or
 * zcipc_window_release() must follow.
 *
 * Return: 0, or -ENOBUFS when the window could not have room even if it were empty, -EAGAIN when
 * there is no gap that is large enough, -EDQUOT, -ENOMEM
 */
static inline int zcipc_window_reserve(struct zcipc_endpoint *ep, unsigned int which,
				       unsigned long npages, long align, unsigned long *pgoff)
{
	if (npages == 1)
		return zcipc_window_reserve_one(ep, which, pgoff);
	return zcipc_window_reserve_many(ep, which, npages, align, pgoff);
}

int zcipc_window_reserve_outside(struct zcipc_endpoint *ep, unsigned long npages,
				 unsigned long *pgoff);
void zcipc_window_init(void);
void zcipc_window_end(struct zcipc_endpoint *ep, struct zcipc_window *window);
unsigned long zcipc_window_room(const struct zcipc_endpoint *ep, unsigned int which);
bool zcipc_window_has(struct zcipc_endpoint *ep, u32 id, unsigned long pgoff,
		      unsigned long npages);
void zcipc_window_release(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages);
struct zcipc_slot *zcipc_slot_alloc(struct zcipc_user *user);
void zcipc_slot_free(struct zcipc_slot *slot, struct zcipc_user *user);
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_cap *cap, unsigned long pgoff,
			unsigned long first, unsigned long npages, bool writable);
void zcipc_window_unmap(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages);
void zcipc_slot_unmap(struct zcipc_slot *slot);
void zcipc_slot_remove(struct zcipc_slot *slot);
u64 zcipc_slot_pass(struct zcipc_slot *slot, struct zcipc_endpoint *from, unsigned long pgoff,
		    bool writable);
int zcipc_slot_remove_at(struct zcipc_endpoint *ep, u64 addr, bool exec);
struct zcipc_slot *zcipc_slot_find(struct zcipc_endpoint *ep, unsigned long pgoff);
void zcipc_slot_populate(struct zcipc_slot *slot);
void zcipc_slot_populate_long(struct zcipc_slot *slot);
void zcipc_slot_populate_some(struct zcipc_slot *slot, unsigned long i, unsigned long end);
void zcipc_slot_populate_huge(struct zcipc_slot *slot, unsigned long i, unsigned long end);
void zcipc_slot_populate_block(struct zcipc_slot *slot);

/* A fault brings this many pages, for a start. */
#define ZCIPC_FAULT_AROUND	16UL

/* Two page tables' worth is enough to make look-ups rare. */
#define ZCIPC_POPULATE_SPAN	1024UL

/**
 * struct zcipc_populate - many PTEs being inserted; the locks are those of zcipc_window_populate()
 * @ep: the endpoint
 * @vma: part of a window that was used last, or NULL
 * @start: file offset, in pages, from which on @writable counts
 * @end: behind what was inserted last
 * @limit: where @vma or @writable end
 * @any_writable: @writable is not empty
 * @writable: a bit for each page whose write bit is still to be set
 */
struct zcipc_populate {
	struct zcipc_endpoint *ep;
	struct vm_area_struct *vma;
	unsigned long start;
	unsigned long end;
	unsigned long limit;
	bool any_writable;
	DECLARE_BITMAP(writable, ZCIPC_POPULATE_SPAN);
};

void zcipc_populate_add(struct zcipc_populate *p, unsigned long pgoff,
			struct zcipc_frame **frames, unsigned long npages, bool writable);
void zcipc_populate_finish(struct zcipc_populate *p);

/**
 * struct zcipc_range - a range of file offsets of an endpoint
 * @pgoff: first page
 * @npages: number of pages
 */
struct zcipc_range {
	unsigned long pgoff;
	unsigned long npages;
};

void zcipc_window_unmap_ranges(struct zcipc_endpoint *ep, struct zcipc_range *ranges,
			       unsigned int n);
u64 zcipc_slot_addr(const struct zcipc_slot *slot);

/* Is a page of an endpoint's file in the window that is VM_PFNMAP? */
static inline bool zcipc_window_is_pfnmap(unsigned long pgoff)
{
	return pgoff >> ZCIPC_WINDOW_SHIFT == ZCIPC_WINDOW_UNPINNABLE;
}

/*
 * Is the VMA that shows a slot VM_PFNMAP, so that its PTEs are special, whatever the frames are?
 * That of adopted memory is, so that core mm refuses to discard what it cannot: an allocator would
 * take it for zero.
 */
static inline bool zcipc_slot_is_pfnmap(const struct zcipc_slot *slot)
{
	return slot->addr || zcipc_window_is_pfnmap(slot->pgoff);
}

static inline bool zcipc_slot_is_special(const struct zcipc_slot *slot)
{
	return slot->cap->region->special || zcipc_slot_is_pfnmap(slot);
}

u64 zcipc_slots_addr(const struct zcipc_cap *cap, u64 offset, u64 len);
int zcipc_window_find(struct zcipc_endpoint *ep, unsigned long addr, unsigned long len, bool share,
		      u64 *token, u64 *offset);

u64 zcipc_window_addr(struct zcipc_endpoint *ep, unsigned long pgoff);
struct vm_area_struct *zcipc_window_lookup(struct zcipc_endpoint *ep, unsigned long pgoff,
					   unsigned long addr);

void zcipc_window_populate(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long addr,
			   struct zcipc_frame **frames, unsigned long npages, bool writable,
			   bool special);

/* carry.c */
#define ZCIPC_CARRY_SMALL	1024UL

/* The most pages of zcipc_carry_few_out(). Core mm flushes few more one by one. */
#define ZCIPC_CARRY_FEW		32UL

/**
 * struct zcipc_carry - PTEs on their way from one page table to another
 * @out: they have been taken
 * @from: from whom; of a snapshot, whose mmap_lock has to be given back, or NULL
 * @writable: of a snapshot: where they were they may be
 * @special: the region's are
 * @vma: where they are to be
 * @addr: user address of the first one there
 * @frames: what they show
 * @first: first page in the region, until it is moved
 * @npages: number of pages
 * @which: a bit for each page whose PTE has been taken
 * @small: for a few
 */
struct zcipc_carry {
	bool out;
	struct mm_struct *from;
	bool writable;
	bool special;
	struct vm_area_struct *vma;
	unsigned long addr;
	struct zcipc_frame **frames;
	unsigned long first;
	unsigned long npages;
	unsigned long *which;
	DECLARE_BITMAP(small, ZCIPC_CARRY_SMALL);
};

static inline void zcipc_carry_init(struct zcipc_carry *carry)
{
	carry->out = false;
	carry->which = carry->small;
}

/**
 * struct zcipc_carry_page - one of a list of pages whose PTEs are carried
 * @from: user address in the sender
 * @to: user address in the receiver
 * @frame: what is there; NULL: it has been put back
 * @writable: the PTE is to be writable, if the frame may be
 * @was_writable: so it was in the sender
 * @taken: the sender had a PTE, which is out of its page table
 */
struct zcipc_carry_page {
	unsigned long from;
	unsigned long to;
	struct zcipc_frame *frame;
	bool writable;
	bool was_writable;
	bool taken;
};

/**
 * struct zcipc_carry_list - pages of many regions whose PTEs are carried
 * @src: the sender, the current task's; its lock and its mmap_lock are held
 * @dst: the receiver, another endpoint; its lock and its mmap_lock are held
 * @from: the sender's VMA
 * @from_base: what to add to file offsets of it, in bytes, for addresses
 * @from_writable: its PTEs may be writable
 * @to: the receiver's VMA
 * @to_base: what to add to file offsets of it, in bytes, for addresses
 * @to_start: user address in it, from which on there are page tables
 * @to_end: up to where
 * @to_writable: its PTEs may be writable
 * @n: number of pages
 * @pages: the pages
 */
struct zcipc_carry_list {
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	struct vm_area_struct *from;
	unsigned long from_base;
	bool from_writable;
	struct vm_area_struct *to;
	unsigned long to_base;
	unsigned long to_start;
	unsigned long to_end;
	bool to_writable;
	unsigned int n;
	struct zcipc_carry_page *pages;
};

/**
 * struct zcipc_carry_to - where a few PTEs are carried to
 * @from: from whom
 * @vma: the receiver's VMA
 * @addr: user address there, of the first page
 */
struct zcipc_carry_to {
	struct mm_struct *from;
	struct vm_area_struct *vma;
	unsigned long addr;
};

bool zcipc_carry_few_out(struct zcipc_carry_to *to, const struct zcipc_slot *slot,
			 struct zcipc_endpoint *dst, unsigned long pgoff);
void zcipc_carry_few_in(const struct zcipc_carry_to *to, const struct zcipc_slot *slot);
bool zcipc_carry_is_worth(unsigned long npages);
struct zcipc_transfer_state;

bool zcipc_carry_list_add(struct zcipc_carry_list *list, const struct zcipc_slot *slot,
			  const struct zcipc_transfer_state *t);
void zcipc_carry_list_take(struct zcipc_carry_list *list);
unsigned int zcipc_carry_list_held(const struct zcipc_carry_list *list, unsigned int i);
void zcipc_carry_list_return(struct zcipc_carry_list *list, unsigned int first,
			     unsigned long npages);
void zcipc_carry_list_give(struct zcipc_carry_list *list);
bool zcipc_carry_out(struct zcipc_carry *carry, struct zcipc_region *region, unsigned long first,
		     unsigned long npages, struct zcipc_endpoint *src, struct zcipc_endpoint *dst,
		     unsigned long pgoff);
void zcipc_carry_in(struct zcipc_carry *carry, struct zcipc_slot *slot);
bool zcipc_carry_freeze(struct zcipc_carry *carry, struct zcipc_region *region,
			unsigned long first, unsigned long npages, struct zcipc_endpoint *src,
			bool locked, bool any);
void zcipc_carry_thaw(struct zcipc_carry *carry);
void zcipc_carry_free(struct zcipc_carry *carry);

/* file.c */
int zcipc_file_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
bool zcipc_file_may_mmap(struct zcipc_view *view, struct vm_area_struct *vma);
void zcipc_file_kill(struct zcipc_view *view);
void zcipc_file_unmap_range(struct zcipc_region *region, unsigned long first,
			    unsigned long npages);
void zcipc_file_unmap(struct zcipc_view *view);
void zcipc_file_detach(struct zcipc_view *view);
int zcipc_file_map(struct file *holder, u64 token, struct zcipc_region *region,
		   unsigned long first, unsigned long npages, bool writable, u64 *addr);
int zcipc_file_unmap_at(struct zcipc_endpoint *ep, u64 addr, u64 token);
int zcipc_file_find(struct zcipc_endpoint *ep, const struct vm_area_struct *vma,
		    unsigned long addr, unsigned long npages, u64 *token, u64 *offset);
int zcipc_file_import(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
		      bool implicit, u64 *token, u64 *id);

/* queue.c */

/*
 * What messages say. No message is another one that has been changed: there is a function for each
 * kind, which names all members but those that zcipc_message_queue() sets.
 */
static __always_inline struct zcipc_message
zcipc_message_of_transfer(u32 type, u64 region, u64 addr, u64 offset, u64 len, u64 cookie,
			  u32 sender_rights, bool unmapped)
{
	return (struct zcipc_message) {
		.type = type,
		.flags = 0,
		.region = region,
		.addr = addr,
		.offset = offset,
		.len = len,
		.cookie = cookie,
		.sender_rights = sender_rights,
		.unheard = false,
		.unmapped = unmapped,
		.shown = false,
		.number = 0,
	};
}

/* Of a MOVE that comes back to its sender, in whose window it is not. */
static inline struct zcipc_message zcipc_message_returned(const struct zcipc_message *sent)
{
	return (struct zcipc_message) {
		.type = sent->type,
		.flags = ZCIPC_MESSAGE_RETURNED,
		.region = sent->region,
		.addr = 0,
		.offset = sent->offset,
		.len = sent->len,
		.cookie = sent->cookie,
		.sender_rights = sent->sender_rights,
		.unheard = false,
		.unmapped = false,
		.shown = false,
		.number = 0,
	};
}

/* Of a capability that has been revoked. Nothing of the region is left to it but its id. */
static inline struct zcipc_message zcipc_message_of_end(u64 region, unsigned long npages)
{
	return (struct zcipc_message) {
		.type = ZCIPC_REVOKED,
		.flags = 0,
		.region = region,
		.addr = 0,
		.offset = 0,
		.len = (u64)npages << PAGE_SHIFT,
		.cookie = 0,
		.sender_rights = 0,
		.unheard = false,
		.unmapped = false,
		.shown = false,
		.number = 0,
	};
}

/* Of a notification: where it is mapped is looked up when it is received. */
static inline struct zcipc_message zcipc_message_of_notice(u64 region, u64 offset, u64 len,
							   u64 cookie)
{
	return (struct zcipc_message) {
		.type = ZCIPC_NOTIFIED,
		.flags = 0,
		.region = region,
		.addr = 0,
		.offset = offset,
		.len = len,
		.cookie = cookie,
		.sender_rights = 0,
		.unheard = false,
		.unmapped = false,
		.shown = false,
		.number = 0,
	};
}

void zcipc_message_queue(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			 const struct zcipc_endpoint *sender);
bool zcipc_message_unqueue(struct zcipc_endpoint *ep, struct zcipc_message *msg);
struct zcipc_message *zcipc_message_valid(struct zcipc_endpoint *ep, struct list_head *messages);
void zcipc_message_describe(const struct zcipc_message *msg, struct zcipc_recv *recv);
void zcipc_message_received(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			    const struct zcipc_recv *recv);
void zcipc_message_return_all(struct zcipc_endpoint *ep);
bool zcipc_message_waits(struct zcipc_endpoint *ep);
struct zcipc_message *zcipc_message_first(struct zcipc_endpoint *ep);
struct zcipc_cap *zcipc_message_cap(const struct zcipc_message *msg);
bool zcipc_message_make_room(struct zcipc_endpoint *ep);

static inline bool zcipc_message_fits(const struct zcipc_endpoint *ep)
{
	return ep->nmessages + ep->nreserved < ep->queue_depth;
}

/* Is there room for one more? The caller holds the endpoint's lock. */
static inline bool zcipc_message_room(struct zcipc_endpoint *ep)
{
	return zcipc_message_fits(ep) || zcipc_message_make_room(ep);
}

/* notify.c */
void zcipc_notice_release(struct zcipc_endpoint *ep, struct zcipc_notice *notice);
void zcipc_notice_free(struct zcipc_endpoint *ep, struct zcipc_notice *notice);
void zcipc_notices_end(struct zcipc_cap *cap);
int zcipc_notify_try(struct zcipc_endpoint *ep, struct zcipc_endpoint *peer,
		     const struct zcipc_notify *cmd, u32 *room_seq);

/* ring.c */
int zcipc_ring_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma);
void zcipc_ring_update(struct zcipc_endpoint *ep);
bool zcipc_ring_add(struct zcipc_endpoint *ep, struct zcipc_message *msg);
struct list_head *zcipc_ring_messages(struct zcipc_endpoint *ep);
void zcipc_ring_pass(struct zcipc_endpoint *ep, const struct zcipc_message *msg);
bool zcipc_ring_want_call(struct zcipc_endpoint *ep);
void zcipc_ring_remove(struct zcipc_endpoint *ep);

/* transfer.c */

/**
 * struct zcipc_transfer_state - a transfer under way
 * @cmd: what was asked for, and the results
 * @src: the sender
 * @dst: the peer, with a reference
 * @first: first page of the range in the sender's region
 * @npages: length of the range
 * @rights: of the peer's capability
 * @cache: policy that the peer's region is to have
 * @window: where it is to be mapped
 * @borrowed: the peer is another transfer's, that is freed later
 * @whole: a whole region is to be moved, with its capability
 * @copy: the peer gets copies of all frames
 * @recached: because of a cache policy
 * @charge: a new region would be charged to somebody who does not pay for the old one
 * @file: the region is a file's
 * @set_cache: a region is to have another policy than now
 * @keep_cache: it must not, since other transfers of the same batch may be about it
 * @present: all pages of the range are there
 * @mend: of a snapshot: there are blocks to be made huge frames again
 * @charged: the peer's user has been charged
 * @admitted: zcipc_transfer_admit() has done its part
 * @carried: the PTEs of the range have been taken, and nobody holds any of its frames
 * @brief: it is made with the locks of both endpoints, so there is no time to copy much
 * @again: what was reserved has gone meanwhile: another try has to reserve something else
 * @unmapped: the sender's mappings of the range have gone already
 * @revokes: others' capabilities are still to be revoked
 * @pgoff: where it is to be mapped
 * @window_id: in the window that was the peer's then
 * @npinned: frames that are pinned, of the range, later of a snapshot; 0 where nobody else will pay
 * @nloose: frames of which another user gets copies in any case, when they were last looked at
 * @pins: charged to the peer's user
 * @cap: for the peer's table, unless @whole
 * @region: for the peer, if it gets a new one: charged to it, not filled
 * @direct: it is straight from the caller's memory
 * @plan: what becomes of frames that cannot be given away
 * @carry: PTEs that go from the sender to the peer; NULL: none do
 * @gone: the sender's capability, to be freed
 * @revoked: the region of which capabilities have to be reaped, with a reference
 * @nrevoked: how many
 */
struct zcipc_transfer_state {
	struct zcipc_transfer *cmd;
	struct zcipc_endpoint *src;
	struct zcipc_endpoint *dst;
	unsigned long first;
	unsigned long npages;
	u32 rights;
	u32 cache;
	unsigned int window;
	bool borrowed;
	bool whole;
	bool copy;
	bool recached;
	bool charge;
	bool file;
	bool set_cache;
	bool keep_cache;
	bool present;
	bool mend;
	bool charged;
	bool admitted;
	bool carried;
	bool brief;
	bool again;
	bool unmapped;
	bool revokes;
	unsigned long pgoff;
	u32 window_id;
	u32 npinned;
	u32 nloose;
	u32 pins;
	struct zcipc_cap *cap;
	struct zcipc_region *region;
	struct zcipc_direct *direct;
	struct zcipc_plan plan;
	struct zcipc_carry *carry;
	struct zcipc_cap *gone;
	struct zcipc_region *revoked;
	u64 nrevoked;
};

int zcipc_transfer_validate_all(const struct zcipc_transfer *cmd);

/* Checks a transfer by itself. A MOVE that wants nothing special is always right. */
static inline int zcipc_transfer_validate(const struct zcipc_transfer *cmd)
{
	if (likely(cmd->type == ZCIPC_MOVE && cmd->node == ZCIPC_NODE_ANY &&
		   !(cmd->flags | cmd->rights | cmd->cache | cmd->__reserved)))
		return 0;
	return zcipc_transfer_validate_all(cmd);
}

int zcipc_transfer_find_peer(struct zcipc_transfer_state *t);
bool zcipc_transfer_accepted(const struct zcipc_transfer_state *t);
struct zcipc_cap *zcipc_transfer_source(struct zcipc_transfer_state *t);
struct zcipc_cap *zcipc_transfer_look(struct zcipc_transfer_state *t);
int zcipc_transfer_alloc(struct zcipc_transfer_state *t);
void zcipc_transfer_survey(struct zcipc_transfer_state *t, const struct zcipc_region *region);
int zcipc_transfer_admit(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
int zcipc_transfer_admit_plain(struct zcipc_transfer_state *t, const struct zcipc_region *region);
void zcipc_transfer_dismiss(struct zcipc_transfer_state *t);
int zcipc_transfer_work(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
int zcipc_transfer_begin_any(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
bool zcipc_transfer_is_long(const struct zcipc_transfer_state *t,
			    const struct zcipc_region *region);
int zcipc_transfer_make(struct zcipc_ucmd *ucmd, struct zcipc_transfer *cmd,
			struct zcipc_direct *direct, bool wait);

/**
 * zcipc_transfer_begin() - all that can fail
 * @t: the transfer, prepared
 * @cap: what zcipc_transfer_source() found; the caller holds the locks of both endpoints and the
 *	region, and the capability is not revoked
 *
 * zcipc_transfer_commit() or zcipc_transfer_abort() must follow, under the same locks.
 *
 * Return: 0 or an errno. Then all is as it was, but for PTEs that faults will bring back. -EAGAIN:
 * there is no room in the peer.
 */
static inline int zcipc_transfer_begin(struct zcipc_transfer_state *t, struct zcipc_cap *cap)
{
	/* Of what is carried, nothing is left to be done but the charge. */
	if (t->carried && t->dst->user == cap->region->user &&
	    zcipc_region_present(cap->region, t->first, t->npages))
		return 0;
	return zcipc_transfer_begin_any(t, cap);
}

void zcipc_transfer_abort(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_pass(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
struct zcipc_cap *zcipc_transfer_commit(struct zcipc_transfer_state *t, struct zcipc_cap *cap,
					bool populate);
void zcipc_transfer_finish(struct zcipc_transfer_state *t, struct zcipc_cap *cap);
void zcipc_transfer_free_all(struct zcipc_transfer_state *t);

/* Frees what is left of a transfer, done or not. No lock is held. */
static inline void zcipc_transfer_free(struct zcipc_transfer_state *t)
{
	/* Of a whole region nothing was allocated. */
	if (!t->whole || !t->borrowed || t->revoked)
		zcipc_transfer_free_all(t);
}

int zcipc_transfer_reserve(struct zcipc_transfer_state *t, const struct zcipc_region *region);
void zcipc_transfer_unreserve(struct zcipc_transfer_state *t);
void zcipc_transfer_plan(struct zcipc_transfer_state *t);
struct zcipc_cap *zcipc_transfer_deliver(struct zcipc_transfer_state *t,
					 struct zcipc_region *region, struct zcipc_cap *parent,
					 u32 sender_rights, bool populate);
void zcipc_transfer_results(struct zcipc_transfer_state *t, struct zcipc_region *region);
int zcipc_transfer(struct zcipc_ucmd *ucmd);
int zcipc_transfer_grant(struct zcipc_ucmd *ucmd);

/* move.c */
bool zcipc_move_short_is_on(void);
bool zcipc_move_short(struct zcipc_ucmd *ucmd);

/* direct.c */

/**
 * struct zcipc_direct - where a transfer from memory gets its pages
 * @addr: user address, without a tag
 * @tag: to be added to an address to access what is there as the caller would
 * @len: bytes
 * @skip: bytes of the region's first page that come before
 * @span: pages of the region
 * @first: first page of the region that is not copied
 * @npages: number of pages that are not, 0: all is copied
 * @snapshot: they are a region's already, of which a snapshot is taken
 * @keep: what others can reach, or is read-only, is copied and stays where it is
 * @taken: the pages have gone from where they were
 * @copied: bytes that were copied beside that
 */
struct zcipc_direct {
	unsigned long addr;
	unsigned long tag;
	unsigned long len;
	unsigned long skip;
	unsigned long span;
	unsigned long first;
	unsigned long npages;
	bool snapshot;
	bool keep;
	bool taken;
	u64 copied;
};

/* Is anything placed in the peer's window? A file's pages are not: see zcipc_message_recv(). */
static inline bool zcipc_transfer_places(const struct zcipc_transfer_state *t)
{
	return t->cmd->type != ZCIPC_GRANTED && !t->file;
}

/* Number of pages that the peer gets. */
static inline unsigned long zcipc_transfer_span(const struct zcipc_transfer_state *t)
{
	return t->direct ? t->direct->span : t->npages;
}

int zcipc_transfer_may_send(const struct zcipc_transfer_state *t);
int zcipc_transfer_recheck(struct zcipc_transfer_state *t);

int zcipc_direct_prepare(struct zcipc_transfer_state *t);
bool zcipc_direct_may_copy(const struct zcipc_transfer *cmd, int ret);
int zcipc_direct_copy_edges(struct zcipc_transfer_state *t);
void zcipc_direct_init(struct zcipc_direct *direct, const struct zcipc_transfer *cmd);
int zcipc_direct_try(struct zcipc_transfer_state *t, u32 *room_seq);
void zcipc_direct_end(struct zcipc_transfer_state *t, int ret);

/* batch.c */
int zcipc_transfer_batch(struct zcipc_ucmd *ucmd);

/* stats.c */

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

#endif /* ZCIPC_H */

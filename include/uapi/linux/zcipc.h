/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * zcipc: hand pages from one process to another without copying them.
 *
 * A process opens /dev/zcipc and has an *endpoint*. It maps a *window* once, with
 *
 *	mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
 *
 * and the kernel places *regions* of memory in it: its own, made with ZCIPC_IOC_REGION_CREATE, and
 * those that peers transfer to it. A 64-bit *capability* in the endpoint's table names a region, or
 * a range of one, and carries rights. ZCIPC_IOC_TRANSFER hands a range to a peer: the pages are in
 * the peer's window when the call returns, and ZCIPC_IOC_RECV tells the peer where.
 *
 * Capabilities form a tree. ZCIPC_IOC_GRANT and SHARE *derive* one for a peer from one's own, with
 * the same rights or fewer, for the same range or a part of it; the peer can do the same with what
 * it got. ZCIPC_IOC_REVOKE takes back what was derived, at any depth, with all mappings. When a
 * capability in the middle is dropped, those derived from it become its parent's. New memory, what
 * was moved and snapshots begin a tree of their own.
 *
 * An endpoint belongs to the address space that opened it. After fork() the child has neither the
 * window nor the use of the endpoint, after exec() the new program has not: both open their own.
 * An endpoint whose address space is gone is dead: its capabilities are dropped, and what was moved
 * to it and not yet received goes back to the sender, unless that wants it to be freed.
 *
 * Touching the window where nothing is placed, where the pages have been moved away, or writing
 * without the right to, raises SIGBUS.
 *
 * What is unmapped of a window, or mapped over, is not used any more, nor, when there is no memory
 * to note that, or the user has all he may have, the GiB around it; and a message that waits has no
 * address there. With the last part of a window all that was placed in it is unmapped; the
 * capabilities stay, and the window can be mapped again, anywhere and in any size.
 *
 * Calls
 * -----
 * Each call takes a pointer to a struct whose first member "size" is the struct's size as the
 * caller knows it. A shorter struct of an older program is taken as if the missing members were 0,
 * a longer one of a newer program is taken if what this kernel does not know is 0. Members marked
 * [out] are written on success; the others are left alone, and after a failure so are all of them.
 * Members named __reserved must be 0. All structs have the same layout for 32-bit programs.
 * Addresses of the caller's memory may be tagged as for madvise(2) (arm64's tagged address ABI,
 * x86's linear address masking).
 *
 * Errors, the same for all calls (each call lists the ones that it adds):
 *
 * ENOTTY	no such call
 * EINVAL	a value that no version would take: "size" is too small, an address, offset or
 *		length is not a multiple of the page size or lies outside, rights without READ
 * E2BIG	something is set behind the part of the struct that this kernel knows, or "size" is
 *		greater than a page
 * EOPNOTSUPP	a flag, value, or call that is reserved for a later version, or that this kernel
 *		cannot do
 * EFAULT	the struct cannot be read or written
 * EPERM	the endpoint belongs to another address space (fork, exec, a received file
 *		descriptor), or the peer does not accept the caller
 * ENOENT	there never was such a capability, endpoint or mapping, or pages of the range have
 *		been moved away
 * ESTALE	the capability has been one of this endpoint's, and is gone
 * EACCES	the capability lacks a right that the call needs
 * ESRCH	the peer is dead
 * EBUSY	somebody else holds what has to be given away alone
 * ENOBUFS	a capability table is full, the derivation is too deep, or the window is missing
 *		or too small for the range even when it is empty
 * EAGAIN	there is no room at the moment, or no message, and the endpoint is O_NONBLOCK, or
 *		the peer wants nobody to wait for it
 * EBADF	what should be a file descriptor of an endpoint is none
 * EDQUOT	the quota of the user who would own the pages, or what the kernel needs to know of
 *		them, is used up, or all users together have as much as they may
 * ENOLCK	RLIMIT_MEMLOCK does not allow the user who would own the pages to have more pinned
 * ENOMEM	the kernel found no memory
 * EINTR	a signal came while the call waited, and nothing was done
 * ECANCELED	another transfer of an atomic batch failed (only as a result in the batch)
 *
 * A call that fails has changed nothing.
 */
#ifndef _UAPI_LINUX_ZCIPC_H
#define _UAPI_LINUX_ZCIPC_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ZCIPC_DEVICE		"/dev/zcipc"

/* Raised only when a program that was right before would no longer be. */
#define ZCIPC_ABI_VERSION	1

#define ZCIPC_IOC_TYPE		0xBC

#define ZCIPC_IOC_INFO			_IO(ZCIPC_IOC_TYPE, 0x00)
#define ZCIPC_IOC_ENDPOINT_CONFIG	_IO(ZCIPC_IOC_TYPE, 0x01)
#define ZCIPC_IOC_LOOKUP		_IO(ZCIPC_IOC_TYPE, 0x02)
#define ZCIPC_IOC_REGION_CREATE		_IO(ZCIPC_IOC_TYPE, 0x03)
#define ZCIPC_IOC_REGION_IMPORT		_IO(ZCIPC_IOC_TYPE, 0x04)
#define ZCIPC_IOC_REGION_QUERY		_IO(ZCIPC_IOC_TYPE, 0x05)
#define ZCIPC_IOC_MAP			_IO(ZCIPC_IOC_TYPE, 0x06)
#define ZCIPC_IOC_UNMAP			_IO(ZCIPC_IOC_TYPE, 0x07)
#define ZCIPC_IOC_TRANSFER		_IO(ZCIPC_IOC_TYPE, 0x08)
#define ZCIPC_IOC_TRANSFER_BATCH	_IO(ZCIPC_IOC_TYPE, 0x09)
#define ZCIPC_IOC_RECV			_IO(ZCIPC_IOC_TYPE, 0x0a)
#define ZCIPC_IOC_GRANT			_IO(ZCIPC_IOC_TYPE, 0x0b)
#define ZCIPC_IOC_REVOKE		_IO(ZCIPC_IOC_TYPE, 0x0c)
#define ZCIPC_IOC_DROP			_IO(ZCIPC_IOC_TYPE, 0x0d)
#define ZCIPC_IOC_STATS			_IO(ZCIPC_IOC_TYPE, 0x0e)
#define ZCIPC_IOC_REGION_ORDINARY	_IO(ZCIPC_IOC_TYPE, 0x0f)
#define ZCIPC_IOC_NOTIFY		_IO(ZCIPC_IOC_TYPE, 0x10)
#define ZCIPC_IOC_DROP_BATCH		_IO(ZCIPC_IOC_TYPE, 0x11)

/**
 * enum zcipc_right - what the holder of a capability may do
 * @ZCIPC_RIGHT_READ: map it and read; take a snapshot (COPY). Every capability has it.
 * @ZCIPC_RIGHT_WRITE: map it writable
 * @ZCIPC_RIGHT_EXEC: map it executable. No mapping is writable and executable.
 * @ZCIPC_RIGHT_GRANT: let others have it too (SHARE, ZCIPC_IOC_GRANT), with the same rights or
 *	fewer
 * @ZCIPC_RIGHT_MOVE: own it: give it away, or take it (MOVE), from all others with
 *	ZCIPC_F_REVOKE_OTHERS. Give this right to those only who may do that.
 */
enum zcipc_right {
	ZCIPC_RIGHT_READ	= 1 << 0,
	ZCIPC_RIGHT_WRITE	= 1 << 1,
	ZCIPC_RIGHT_EXEC	= 1 << 2,
	ZCIPC_RIGHT_GRANT	= 1 << 3,
	ZCIPC_RIGHT_MOVE	= 1 << 4,
};

/**
 * enum zcipc_cache - cache policy of a region or a transfer
 * @ZCIPC_CACHE_DEFAULT: write-back; of a transfer: as the region has it
 * @ZCIPC_CACHE_STREAMING: write-combining, for what the CPU only writes, in order
 * @ZCIPC_CACHE_UNCACHED: no caching
 * @ZCIPC_CACHE_WRITETHROUGH: reserved, EOPNOTSUPP: no kernel lets a module have such memory
 * @ZCIPC_CACHE_WRITEBACK: of a transfer: write-back, also if the region has another policy
 *
 * All mappings of a page have its region's policy, the kernel's own included. So a region with
 * another policy than write-back is not placed in the window that begins at file offset 0, but in
 * one that the owner makes for that policy: see ZCIPC_WINDOW_OFFSET(). INFO says which policies the
 * machine has.
 *
 * Pages that are not write-back come from a pool of their policy (module parameter pool_mib), of
 * which a user can have as many as are free: EDQUOT beyond that, but for CAP_SYS_RAWIO. They cannot
 * be held, as with ZCIPC_CREATE_UNPINNABLE, and no two regions have the same one. So COPY copies
 * them all, as each transfer does that changes the policy.
 */
enum zcipc_cache {
	ZCIPC_CACHE_DEFAULT		= 0,
	ZCIPC_CACHE_STREAMING		= 1,
	ZCIPC_CACHE_UNCACHED		= 2,
	ZCIPC_CACHE_WRITETHROUGH	= 3,
	ZCIPC_CACHE_WRITEBACK		= 4,
};

/* The file offset for mmap() of the window for regions with a cache policy (not WRITEBACK). */
#define ZCIPC_WINDOW_OFFSET(cache)	((__u64)(cache) << 40)

/* The file offset for mmap() of the window for regions that can be pinned. */
#define ZCIPC_WINDOW_OFFSET_PINNABLE	((__u64)5 << 40)

/*
 * The file offset for mmap() of a window for what nobody can hold: memory that was not created by
 * ZCIPC_IOC_REGION_CREATE but imported, or sent as it was, and regions with
 * ZCIPC_CREATE_UNPINNABLE. Without such a window this is placed in the one at file offset 0. In it
 * huge pages of imported memory cost little more than a page on each kernel (see
 * ZCIPC_FEATURE_HUGE_IMPORT); I/O that takes pages instead of copying fails with EFAULT, whatever
 * becomes of the region; and madvise() that would discard pages or mappings fails with EINVAL.
 */
#define ZCIPC_WINDOW_OFFSET_UNPINNABLE	((__u64)6 << 40)

/* The file offsets for mmap() of a receive ring: see struct zcipc_ring. */
#define ZCIPC_RING_OFFSET		((__u64)7 << 40)
#define ZCIPC_RING_OFFSET_HEAD		((__u64)8 << 40)

/*
 * NUMA nodes: a number, no preference, or (for a transfer) where the peer was when it last opened
 * its endpoint, mapped a window, or received.
 */
#define ZCIPC_NODE_ANY		(-1)
#define ZCIPC_NUMA_RECEIVER	(-2)

/**
 * enum zcipc_feature - what not every machine has
 * @ZCIPC_FEATURE_STREAMING: ZCIPC_CACHE_STREAMING
 * @ZCIPC_FEATURE_UNCACHED: ZCIPC_CACHE_UNCACHED
 * @ZCIPC_FEATURE_HUGE: regions are made of frames of 2 MiB, each of which costs little more than a
 *	page. Here as below that is for pages of 4 KiB: a frame is as large as what the last page
 *	table but one maps by an entry, which is 32 MiB with pages of 16 KiB. There are none where
 *	that is more
 * @ZCIPC_FEATURE_HUGE_IMPORT: so do imported huge pages, in each window; else only where they were
 *	adopted, and in the window at ZCIPC_WINDOW_OFFSET_UNPINNABLE
 * @ZCIPC_FEATURE_CARRY: a MOVE of many pages takes page table entries from one process to the other
 * @ZCIPC_FEATURE_SHORT_MOVE: a MOVE of a region that only its owner knows goes a shorter way
 *
 * Apart from policies these say what is fast. Module parameters switch them off.
 */
enum zcipc_feature {
	ZCIPC_FEATURE_STREAMING	= 1 << 0,
	ZCIPC_FEATURE_UNCACHED	= 1 << 1,
	ZCIPC_FEATURE_HUGE	= 1 << 2,
	ZCIPC_FEATURE_HUGE_IMPORT = 1 << 3,
	ZCIPC_FEATURE_CARRY	= 1 << 4,
	ZCIPC_FEATURE_SHORT_MOVE = 1 << 5,
};

/**
 * struct zcipc_info - ZCIPC_IOC_INFO: what this kernel can do, and who the caller is
 * @size: sizeof(struct zcipc_info)
 * @flags: must be 0
 * @abi: [out] ZCIPC_ABI_VERSION of the module
 * @page_size: [out] bytes; addresses, offsets and lengths are multiples of it
 * @features: [out] enum zcipc_feature
 * @endpoint: [out] the caller's endpoint id, by which peers address it; never used again
 * @max_region_len: [out] bytes, the largest region
 * @max_window_len: [out] bytes, the largest window
 * @window_addr: [out] where the window is mapped, 0: not yet
 * @window_len: [out] bytes
 * @max_caps: [out] capabilities that one endpoint can have
 * @max_messages: [out] messages that wait in one endpoint's queue
 */
struct zcipc_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 page_size;
	__aligned_u64 features;
	__aligned_u64 endpoint;
	__aligned_u64 max_region_len;
	__aligned_u64 max_window_len;
	__aligned_u64 window_addr;
	__aligned_u64 window_len;
	__u32 max_caps;
	__u32 max_messages;
};

/* Bytes of an endpoint's name, with the final 0. */
#define ZCIPC_NAME_LEN		32

/**
 * enum zcipc_policy - whose transfers, grants and notifications an endpoint accepts, but its own
 * @ZCIPC_POLICY_USER: endpoints opened by the same effective user in the same user namespace
 * @ZCIPC_POLICY_NOBODY: none
 * @ZCIPC_POLICY_LISTED: the endpoints that are listed
 * @ZCIPC_POLICY_ANY: everybody's. What is moved or copied is charged to the receiver's quota.
 *
 * Whoever was given the endpoint's file descriptor (see ZCIPC_F_PEER_FD) is accepted in any case.
 */
enum zcipc_policy {
	ZCIPC_POLICY_USER	= 0,
	ZCIPC_POLICY_NOBODY	= 1,
	ZCIPC_POLICY_LISTED	= 2,
	ZCIPC_POLICY_ANY	= 3,
};

/**
 * enum zcipc_full - what happens to senders while window, table or queue have no room
 * @ZCIPC_FULL_WAIT: they wait, unless their endpoint is O_NONBLOCK
 * @ZCIPC_FULL_FAIL: they get EAGAIN
 */
enum zcipc_full {
	ZCIPC_FULL_WAIT		= 0,
	ZCIPC_FULL_FAIL		= 1,
};

/**
 * enum zcipc_unreceived - what becomes of what the endpoint moved to one that dies before it has
 *	received it
 * @ZCIPC_UNRECEIVED_RETURN: it comes back, as a message: see ZCIPC_MESSAGE_RETURNED
 * @ZCIPC_UNRECEIVED_FREE: it is freed. For a sender that does not call ZCIPC_IOC_RECV, or has no
 *	use for it: what came back would be charged to its user for as long as the endpoint exists
 */
enum zcipc_unreceived {
	ZCIPC_UNRECEIVED_RETURN	= 0,
	ZCIPC_UNRECEIVED_FREE	= 1,
};

/**
 * enum zcipc_dropped - where memory goes that the endpoint drops
 * @ZCIPC_DROPPED_FREE: nowhere, but see ZCIPC_DROP_RETURN
 * @ZCIPC_DROPPED_RETURN: back to who created it, as if each ZCIPC_IOC_DROP had ZCIPC_DROP_RETURN
 */
enum zcipc_dropped {
	ZCIPC_DROPPED_FREE	= 0,
	ZCIPC_DROPPED_RETURN	= 1,
};

/**
 * enum zcipc_config_flags - what ZCIPC_IOC_ENDPOINT_CONFIG sets
 * @ZCIPC_CONFIG_NAME: @name
 * @ZCIPC_CONFIG_POLICY: @policy, and @senders if that is ZCIPC_POLICY_LISTED
 * @ZCIPC_CONFIG_DEPTH: @queue_depth
 * @ZCIPC_CONFIG_FULL: @full
 * @ZCIPC_CONFIG_UNRECEIVED: @unreceived
 * @ZCIPC_CONFIG_DROPPED: @dropped
 */
enum zcipc_config_flags {
	ZCIPC_CONFIG_NAME	= 1 << 0,
	ZCIPC_CONFIG_POLICY	= 1 << 1,
	ZCIPC_CONFIG_DEPTH	= 1 << 2,
	ZCIPC_CONFIG_FULL	= 1 << 3,
	ZCIPC_CONFIG_UNRECEIVED	= 1 << 4,
	ZCIPC_CONFIG_DROPPED	= 1 << 5,
};

/**
 * struct zcipc_endpoint_config - ZCIPC_IOC_ENDPOINT_CONFIG: set and read the endpoint's settings
 * @size: sizeof(struct zcipc_endpoint_config)
 * @flags: enum zcipc_config_flags; 0: only read
 * @policy: [in, out] enum zcipc_policy
 * @full: [in, out] enum zcipc_full
 * @queue_depth: [in, out] messages that may wait, 1 to max_messages of INFO, which it is at first
 * @nsenders: [in, out] number of listed endpoints, up to ZCIPC_MAX_SENDERS
 * @senders: address of an array of endpoint ids (__u64). Not written.
 * @name: [in, out] a string, empty at first. Need not be unique.
 * @unreceived: [in, out] enum zcipc_unreceived
 * @dropped: [in, out] enum zcipc_dropped
 *
 * Members that are not set are ignored, and all but @senders are written with what is in force.
 * A change is in force for all calls that have not come to an end, also for those that wait. Fewer
 * places in the queue than there are messages do away with none.
 *
 * Errors: EDQUOT, ENOMEM.
 */
struct zcipc_endpoint_config {
	__u32 size;
	__u32 flags;
	__u32 policy;
	__u32 full;
	__u32 queue_depth;
	__u32 nsenders;
	__aligned_u64 senders;
	char name[ZCIPC_NAME_LEN];
	__u32 unreceived;
	__u32 dropped;
};

#define ZCIPC_MAX_SENDERS	256

/**
 * struct zcipc_lookup - ZCIPC_IOC_LOOKUP: find a process's endpoint
 * @size: sizeof(struct zcipc_lookup)
 * @flags: must be 0
 * @pid: process id, as the caller's pid namespace numbers it
 * @__reserved: must be 0
 * @after: 0, or an endpoint id: only ids greater than this one. Walks a process's endpoints.
 * @endpoint: [out] the process's endpoint with the lowest id
 * @name: empty, or only endpoints with this name
 *
 * An endpoint belongs to the process that opened it, however its file descriptor travels. A process
 * id that has been used again is another process.
 *
 * Errors: ENOENT no such process, or it has no (further) live endpoint.
 */
struct zcipc_lookup {
	__u32 size;
	__u32 flags;
	__s32 pid;
	__u32 __reserved;
	__aligned_u64 after;
	__aligned_u64 endpoint;
	char name[ZCIPC_NAME_LEN];
};

/**
 * enum zcipc_create_flags - flags of ZCIPC_IOC_REGION_CREATE
 * @ZCIPC_CREATE_MAP: place the region in the window too, readable and writable
 * @ZCIPC_CREATE_HUGE: 2 MiB frames, also if memory has to be compacted for them. @len is
 *	rounded up to a multiple of 2 MiB. With ZCIPC_CACHE_DEFAULT only, else EINVAL
 * @ZCIPC_CREATE_PINNABLE: it can be pinned for long (io_uring's fixed buffers, RDMA). Writable
 *	mappings of it are placed in the window at ZCIPC_WINDOW_OFFSET_PINNABLE. Its pages are never
 *	shared with a snapshot: COPY copies them all. With ZCIPC_CACHE_DEFAULT only.
 * @ZCIPC_CREATE_NODE_STRICT: ENOMEM if @node has not enough memory; otherwise other nodes give it
 * @ZCIPC_CREATE_NO_HUGE: no 2 MiB frames; with ZCIPC_CREATE_HUGE EINVAL
 * @ZCIPC_CREATE_RECYCLED: the memory need not be zero: it may be, and contain, what was in a region
 *	of the same size that the endpoint dropped, or created and got back (ZCIPC_DROP_RETURN).
 *	From its first such call on that is kept for the next, up to module parameter recycle_mib,
 *	if nobody else has any of it. It remains charged until there is no room for something else.
 *	With ZCIPC_CACHE_DEFAULT only
 * @ZCIPC_CREATE_UNPINNABLE: nobody can hold its pages beyond their mappings. I/O that takes pages
 *	instead of copying (O_DIRECT, vmsplice, io_uring's fixed buffers, process_vm_readv() by
 *	others) fails with EFAULT or EEXIST, and the pages do not count as resident memory. So no
 *	transfer has to copy it, or fails with ZCIPC_F_STRICT; REVOKE leaves nothing behind; and to
 *	map and unmap it costs less. What is split off it is the same, and so are snapshots of it.
 *	With ZCIPC_CREATE_PINNABLE or ZCIPC_CREATE_HUGE EINVAL
 */
enum zcipc_create_flags {
	ZCIPC_CREATE_MAP	= 1 << 0,
	ZCIPC_CREATE_HUGE	= 1 << 1,
	ZCIPC_CREATE_PINNABLE	= 1 << 2,
	ZCIPC_CREATE_NODE_STRICT = 1 << 3,
	ZCIPC_CREATE_NO_HUGE	= 1 << 4,
	ZCIPC_CREATE_RECYCLED	= 1 << 5,
	ZCIPC_CREATE_UNPINNABLE	= 1 << 6,
};

/**
 * struct zcipc_region_create - ZCIPC_IOC_REGION_CREATE: new memory
 * @size: sizeof(struct zcipc_region_create)
 * @flags: enum zcipc_create_flags
 * @len: [in, out] bytes, a multiple of the page size
 * @cache: enum zcipc_cache
 * @node: the node that the memory is to be on, or ZCIPC_NODE_ANY: as the caller's memory policy
 *	(set_mempolicy(2)) says
 * @cap: [out] capability with all rights
 * @addr: [out] with ZCIPC_CREATE_MAP where it is mapped, otherwise 0
 * @region: [out] the region's id, never used again
 * @huge: [out] bytes that are in 2 MiB frames
 *
 * The memory is zero, but see ZCIPC_CREATE_RECYCLED. It is charged to the quota of whoever owns it,
 * the endpoint's user at first, and to the caller's memory cgroup until it is freed, wherever it is
 * moved. A copy is charged to the memory cgroup of whoever makes it: by a transfer, or by a write
 * to a snapshot.
 *
 * Of memory with ZCIPC_CACHE_DEFAULT each whole 2 MiB are one 2 MiB frame, where there is one to be
 * had without waiting. It is moved, shared and copied as one, and costs about what one page does;
 * and as one it is taken for held when anybody holds a page of it. Pages of it can be transferred
 * alone; then, and when a page is written that a snapshot has, it is mapped by pages from there on,
 * though not copied as a whole, but see ZCIPC_F_BREAK_HUGE. ZCIPC_COPY says when that ends. Of 2
 * MiB those pages that are in no region any more are charged to whose region had them last, until
 * the rest goes, too: who sends snapshots or parts to somebody whom it does not trust with that
 * uses ZCIPC_CREATE_NO_HUGE.
 *
 * Errors: ENOBUFS, EDQUOT, ENOMEM. EAGAIN with ZCIPC_CREATE_MAP when the window has no gap that is
 * large enough: this call does not wait.
 */
struct zcipc_region_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 len;
	__u32 cache;
	__s32 node;
	__aligned_u64 cap;
	__aligned_u64 addr;
	__aligned_u64 region;
	__aligned_u64 huge;
};

/**
 * struct zcipc_region_import - ZCIPC_IOC_REGION_IMPORT: make the caller's own memory a region
 * @size: sizeof(struct zcipc_region_import)
 * @flags: must be 0
 * @addr: where it begins, a multiple of the page size
 * @len: bytes, a multiple of the page size
 * @cap: [out] capability with all rights, or, of shared memory, with those that its mapping has,
 *	and GRANT
 * @region: [out] the region's id, never used again
 *
 * Nothing is copied. The memory stays at its address, with its contents, also while other threads
 * use it; but from now on it is a mapping of the region. Then MOVE, SHARE and COPY work as on any
 * other region. What changes for the program:
 *
 * - a child does not inherit it, mremap() refuses it, and so does madvise() if it is to discard it
 *   (MADV_DONTNEED and so on: EINVAL; allocators that cannot do that write zeros instead);
 * - I/O that takes pages instead of copying (O_DIRECT, vmsplice, io_uring's fixed buffers,
 *   MSG_ZEROCOPY, process_vm_readv() by others) fails with EFAULT or EEXIST, in the receiver of it
 *   too; so do futexes that processes share;
 * - munmap() takes the mapping away, but the memory is freed when no capability is left: DROP
 *   leaves it to the mapping.
 *
 * ZCIPC_IOC_REGION_ORDINARY ends all that. Core dumps have the memory if they would have had it
 * before: not if any of it was MADV_DONTDUMP, nor if other processes have the same address space
 * (CLONE_VM). It does not count as resident memory, and /proc/PID/pagemap shows none.
 *
 * All this is of private anonymous memory (malloc(), mmap() with MAP_PRIVATE | MAP_ANONYMOUS),
 * readable and writable. Never touched, swapped, merged (KSM) and huge pages are taken as they are;
 * several mappings side by side are one region. A thread that unmaps or discards a part of it
 * during the call may find it there again afterwards.
 *
 * The memory is charged to the quota of the endpoint's user, and, as it is pinned, to
 * RLIMIT_MEMLOCK. Both go along when it is moved to an endpoint of another user, whose limit is the
 * one that its process had when it opened the endpoint. A huge page of which only a part is
 * imported stays as a whole, until no part is: so long the rest is pinned, too, and is charged to
 * the quota and to RLIMIT_MEMLOCK of whoever had the first part imported. What is given up of one
 * is such a rest, beyond the quota if need be. One that is imported as a whole, and begins at a
 * multiple of its size from @addr, is mapped as a whole, and costs about what a page does: from
 * Linux 6.5 on, and where it is mapped once.
 *
 * A range in the middle of a mapping makes three of it. What is imported next to other imported
 * memory is one mapping with that, if that is not larger, or small, and if nothing else was asked
 * for there (mprotect(2), madvise(2)): so 256 pages that are imported one by one are some ten
 * mappings. Each is a region of its own all the same, and what is unmapped or made ordinary in the
 * middle of them makes two mappings of one.
 *
 * Before the limit of mappings that a process can have (sysctl vm.max_map_count) some 60 are left:
 * an import that would take them is ENOMEM, so that mmap() still works, and REGION_ORDINARY, which
 * makes one of the three again. To find out, an import into a process that has more than some 450
 * mappings may make up to 128 for a moment.
 *
 * Shared memory is nobody's own, and the region is just a name for a range of its file: of a memfd,
 * of tmpfs, of a MAP_SHARED mapping without a file, or of a file on a disk. Nothing about the
 * caller's mapping changes, nothing is charged or pinned, and only SHARE and ZCIPC_IOC_GRANT work,
 * since others can reach it. Whoever is given it maps the file's pages, which are as ordinary there
 * as they are here: see ZCIPC_SHARE.
 *
 * A struct that another thread makes unwritable during the call is not filled in; the result 0
 * stands, and the capability goes when the range is unmapped.
 *
 * Errors: EFAULT where nothing is mapped. EACCES where it is not both readable and writable, or,
 * of shared memory, not readable, or of a file that the caller may not write to: REVOKE makes all
 * who have mapped it fault once more. EOPNOTSUPP for other memory: private of a file, shared of a
 * device, of FUSE or a network file system, executable, huge pages of hugetlbfs, a stack that
 * grows, with a protection key (pkeys(7)), what userfaultfd watches, more than one range of a file,
 * and what is a region already.
 * ENOLCK, EDQUOT, EINTR. ENOMEM, also when the process has too many mappings. When the kernel finds
 * no memory to put the contents back either, the process is killed.
 */
struct zcipc_region_import {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 len;
	__aligned_u64 cap;
	__aligned_u64 region;
};

/**
 * struct zcipc_region_ordinary - ZCIPC_IOC_REGION_ORDINARY: copy what is imported
 * @size: sizeof(struct zcipc_region_ordinary)
 * @flags: must be 0
 * @cap: a capability, or 0: all memory in a range that has become a region of this endpoint's
 * @addr: without @cap where the range begins, a multiple of the page size; otherwise 0
 * @len: bytes, a multiple of the page size; with @cap 0
 * @copied: [out] bytes copied; with a capability those of the caller's own memory twice
 *
 * With a capability imported pages in its range are replaced by copies, in all mappings of the
 * region. Contents and addresses stay. From then on the memory takes part in all I/O in the windows
 * of those who have it, and what was pinned is not any more. Who holds one of the old pages keeps
 * that.
 *
 * Where the caller's own memory became the region, it is private anonymous memory again, at the
 * same addresses, with the same contents and protection: its children inherit it, MADV_DONTNEED
 * clears it, it is one mapping with its neighbours. It is no mapping of the region any more, so
 * others do not see what is written to it. @cap stays, and with it the memory of the region: DROP
 * gives it up. Of what was moved away the memory reads as zero. What madvise() and mlock() had been
 * told of it, MADV_DONTDUMP too, has to be said again. No other thread may use the memory during
 * this call: it could find zeros, or lose what it writes.
 *
 * A process that is going to fork() calls this before for what its child is to inherit.
 *
 * What has been copied until an error stays copied. Errors: ENOENT, ESTALE, EINVAL, EINTR; ENOMEM,
 * also when the process has made so many mappings after the last import that it can make none;
 * EOPNOTSUPP of what is sealed (mseal(2)); ENOLCK of what mlockall(2) would lock too much of. When
 * there is no memory to put the contents to, the process is killed.
 */
struct zcipc_region_ordinary {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
	__aligned_u64 addr;
	__aligned_u64 len;
	__aligned_u64 copied;
};

/**
 * struct zcipc_region_query - ZCIPC_IOC_REGION_QUERY: what a capability names
 * @size: sizeof(struct zcipc_region_query)
 * @flags: must be 0
 * @cap: the capability
 * @region: [out] the region's id
 * @region_len: [out] bytes, the whole region
 * @offset: [out] bytes, where the capability's range begins in the region
 * @len: [out] bytes, the capability's range
 * @present: [out] bytes of the range that have not been moved away
 * @shared: [out] bytes of the range whose frames a snapshot shares, so that a write copies
 * @rights: [out] enum zcipc_right
 * @caps: [out] capabilities for this region, everybody's
 * @maps: [out] mappings of this region, everybody's
 * @cache: [out] enum zcipc_cache, DEFAULT for write-back
 * @node: [out] the node that all of the range is on, or ZCIPC_NODE_ANY
 * @__reserved: must be 0
 * @derived: [out] capabilities derived from this one, at any depth
 * @depth: [out] how many others this one is derived from
 */
struct zcipc_region_query {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
	__aligned_u64 region;
	__aligned_u64 region_len;
	__aligned_u64 offset;
	__aligned_u64 len;
	__aligned_u64 present;
	__aligned_u64 shared;
	__u32 rights;
	__u32 caps;
	__u32 maps;
	__u32 cache;
	__s32 node;
	__u32 __reserved;
	__u32 derived;
	__u32 depth;
};

/**
 * struct zcipc_map - ZCIPC_IOC_MAP: place a range in the window
 * @size: sizeof(struct zcipc_map)
 * @flags: must be 0
 * @cap: the capability
 * @offset: bytes from the beginning of the capability's range
 * @len: bytes; 0: up to the end of the range
 * @rights: ZCIPC_RIGHT_READ, with ZCIPC_RIGHT_WRITE if it is to be writable, or with
 *	ZCIPC_RIGHT_EXEC if it is to be executable
 * @__reserved: must be 0
 * @addr: [out] where it is; of shared memory that was imported, not in the window
 *
 * A range can be mapped more than once, with one capability up to 1024 times.
 *
 * Of shared memory that was imported, mappings that are good for nothing any more stay where they
 * are until munmap(), and everybody's REVOKE has to pass them: see struct zcipc_revoke. An endpoint
 * that has 256 of these gets ENOBUFS until it has unmapped some.
 *
 * The window is never executable. With ZCIPC_RIGHT_EXEC nothing is placed in it: @addr is a file
 * offset, never used again, at which the caller can then
 * mmap(NULL, len, PROT_READ | PROT_EXEC, MAP_SHARED, fd, addr), and which is good until
 * ZCIPC_IOC_UNMAP, or until the capability is gone. What was written before this call can be
 * executed; who writes later does what the machine wants for that (__builtin___clear_cache()).
 *
 * Errors: ENOENT, ESTALE, EACCES, ENOBUFS, EDQUOT, ENOMEM. EAGAIN when the window has no gap that
 * is large enough: this call does not wait.
 */
struct zcipc_map {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
	__aligned_u64 offset;
	__aligned_u64 len;
	__u32 rights;
	__u32 __reserved;
	__aligned_u64 addr;
};

/**
 * enum zcipc_unmap_flags - flags of ZCIPC_IOC_UNMAP
 * @ZCIPC_UNMAP_OFFSET: @addr is the file offset of an executable mapping
 */
enum zcipc_unmap_flags {
	ZCIPC_UNMAP_OFFSET	= 1 << 0,
};

/**
 * struct zcipc_unmap - ZCIPC_IOC_UNMAP: take a mapping out of the window
 * @size: sizeof(struct zcipc_unmap)
 * @flags: enum zcipc_unmap_flags
 * @addr: the address at which something was mapped, by whichever call
 *
 * The capability stays. Do not use munmap() for this: it takes a part of the window away for good.
 * Only for what is mapped outside of it munmap() does the same.
 *
 * Errors: ENOENT nothing is mapped that begins there.
 */
struct zcipc_unmap {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
};

/**
 * enum zcipc_drop_flags - flags of ZCIPC_IOC_DROP
 * @ZCIPC_DROP_RETURN: the memory goes back to the endpoint that created it, with what it contains,
 *	for its next region with ZCIPC_CREATE_RECYCLED. So who sends to somebody who only receives
 *	allocates and zeroes nothing. It does so if @cap names all of a region of which nobody else
 *	has anything, and which is charged to the user of that endpoint; if not, or if that does not
 *	want it, it is dropped as without this flag. A part that was moved, a copy, and what was
 *	imported have been created by nobody.
 */
enum zcipc_drop_flags {
	ZCIPC_DROP_RETURN	= 1 << 0,
};

/**
 * struct zcipc_drop - ZCIPC_IOC_DROP: give a capability up
 * @size: sizeof(struct zcipc_drop)
 * @flags: enum zcipc_drop_flags
 * @cap: the capability
 *
 * Takes its mappings out of the window. What was derived from it stays, as derived from what it was
 * derived from itself. The memory is freed with the last capability. Memory that was imported stays
 * where it was as long as it is mapped there; munmap() gives it back. A peer's shared memory is
 * unmapped, too, outside of the window, but for a mapping that is in pieces by now: no other thread
 * is to munmap() it meanwhile.
 *
 * Errors: ENOENT, ESTALE, EINTR.
 */
struct zcipc_drop {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
};

/**
 * struct zcipc_drop_batch - ZCIPC_IOC_DROP_BATCH: give many capabilities up
 * @size: sizeof(struct zcipc_drop_batch)
 * @flags: enum zcipc_drop_flags
 * @caps: address of an array of capabilities (__u64). Not written.
 * @ncaps: its length, 1 to ZCIPC_MAX_BATCH
 * @dropped: [out] how many were dropped
 *
 * Drops one after the other, as ZCIPC_IOC_DROP, up to the first that cannot be. It is an error only
 * if that is the first of all.
 *
 * Errors: those of struct zcipc_drop.
 */
struct zcipc_drop_batch {
	__u32 size;
	__u32 flags;
	__aligned_u64 caps;
	__u32 ncaps;
	__u32 dropped;
};

/**
 * enum zcipc_type - kinds of transfer
 * @ZCIPC_MOVE: the caller loses the pages: its mappings of the range and, if that was all that the
 *	capability named, the capability are gone when the call returns, for all threads. The peer
 *	has the same frames. A whole region keeps its id, a part of one becomes a new region. Needs
 *	the right MOVE. EBUSY when another capability names any of the pages, but see
 *	ZCIPC_F_REVOKE_OTHERS. A frame that somebody holds beyond its mappings (I/O that is under
 *	way, a page in a pipe) is copied: the holder keeps the old one.
 * @ZCIPC_SHARE: both have the same memory. The peer gets a capability for the range with @rights,
 *	derived from the caller's. Needs the right GRANT and those that are given. Shared memory
 *	(see REGION_IMPORT) is not placed in the peer's window, but mapped elsewhere when the peer
 *	receives the message, which has no address if that does not work (a seal of the file, no
 *	memory, too many dead mappings: see struct zcipc_map).
 * @ZCIPC_COPY: the peer gets a new region with the contents of the range at one instant. Frames are
 *	shared until either side writes to them. A frame that somebody holds beyond its mappings
 *	is copied at once. Needs the right READ. Of more than some pages none is mapped before the
 *	peer touches it: whoever takes a snapshot does not wait for that. Where 2 MiB were one frame
 *	until a few pages of it (up to 16) were written to after an earlier snapshot, which is no
 *	more, these are copied back first, so that it is one again for both. Not with
 *	ZCIPC_F_STRICT, or if @node is given, or somebody holds any page of the 2 MiB.
 *
 * A huge page stays as long as anybody has a page of it. So with MOVE and COPY another user gets
 * pages of one as they are only where it gets all of them, and otherwise copies (@copied). So
 * nobody pays for what another user keeps.
 */
enum zcipc_type {
	ZCIPC_MOVE	= 1,
	ZCIPC_SHARE	= 2,
	ZCIPC_COPY	= 3,
};

/**
 * enum zcipc_transfer_flags - flags of ZCIPC_IOC_TRANSFER and others
 * @ZCIPC_F_STRICT: EBUSY instead of copying a frame that somebody holds. COPY: nor is any page
 *	copied to make 2 MiB one frame again
 * @ZCIPC_F_REVOKE_OTHERS: MOVE: capabilities for nothing but pages of the range are revoked,
 *	whoever has them; those that name others too keep these, and lose what is moved
 * @ZCIPC_F_PEER_FD: @peer is a file descriptor of the peer's endpoint, as received over a socket or
 *	inherited, instead of an endpoint id. The peer's policy does not matter then.
 * @ZCIPC_F_NODE_STRICT: fail, with EBUSY or ENOMEM, if not all pages can be on @node
 * @ZCIPC_F_ATOMIC: for ZCIPC_IOC_TRANSFER_BATCH alone: all transfers or none
 * @ZCIPC_F_FROM_MEMORY: what is sent is not a region, but memory: @offset is its address, and @cap
 *	is 0. Not in a batch. See "Transfers from memory".
 * @ZCIPC_F_ANY_ALIGN: MOVE and COPY from memory: address and length need not be multiples of the
 *	page size. Pages of which only a part is sent are copied; the peer finds zeros beside that
 *	part. For COPY they are copied before the instant of the snapshot.
 * @ZCIPC_F_COPY_OK: MOVE and COPY from memory: copy what cannot be had otherwise, instead of
 *	failing with EOPNOTSUPP, EACCES, ENOLCK, or EDQUOT because of the rest of a huge page. Then
 *	the memory is left as it is, also by MOVE, and a COPY is not of one instant.
 * @ZCIPC_F_UNMAP: MOVE from memory: unmap the range, as munmap() does
 * @ZCIPC_F_AUTO: COPY: if the range is so small that this is cheaper (module parameter
 *	auto_copy_max), copy it to memory of the peer's right away, instead of sharing frames until
 *	somebody writes. The result is the same, but that @copied has all bytes, and @pages is 0,
 *	and that no later write has to copy. Of a region it is still of one instant. Memory is then
 *	copied as it is: it does not become a region, all that the caller can read will do, nobody
 *	who holds a page matters, and it is not of one instant.
 * @ZCIPC_F_BREAK_HUGE: COPY: the caller is going to write to all of the region again. From then on,
 *	until a COPY of the region without this flag by somebody with the right WRITE, the first
 *	write to 2 MiB of it that are one frame, of which a snapshot has all, copies the 2 MiB to
 *	another such frame at once, as long as there is one to be had without waiting. Needs the
 *	right WRITE, too. The snapshot is written to as others are, by pages. No effect on a range
 *	that ZCIPC_F_AUTO copies, nor on imported memory
 * @ZCIPC_F_IMPORT: SHARE and COPY from memory: make the range a region first, which stays where it
 *	is, as REGION_IMPORT does
 */
enum zcipc_transfer_flags {
	ZCIPC_F_STRICT		= 1 << 0,
	ZCIPC_F_REVOKE_OTHERS	= 1 << 1,
	ZCIPC_F_PEER_FD		= 1 << 2,
	ZCIPC_F_NODE_STRICT	= 1 << 3,
	ZCIPC_F_ATOMIC		= 1 << 4,
	ZCIPC_F_FROM_MEMORY	= 1 << 5,
	ZCIPC_F_ANY_ALIGN	= 1 << 6,
	ZCIPC_F_COPY_OK		= 1 << 7,
	ZCIPC_F_UNMAP		= 1 << 8,
	ZCIPC_F_AUTO		= 1 << 9,
	ZCIPC_F_BREAK_HUGE	= 1 << 10,
	ZCIPC_F_IMPORT		= 1 << 11,
};

/*
 * Transfers from memory
 * ---------------------
 * Any pointer and length, with ZCIPC_F_FROM_MEMORY. The memory is of the kinds that
 * ZCIPC_IOC_REGION_IMPORT takes, and for MOVE also a stack, executable, or with a protection key.
 *
 * MOVE takes the pages away: the range reads as zero when the call returns, as after
 * MADV_DONTNEED, and can be used again. A thread that writes to a whole page of it during the call
 * writes to what is sent, or to what is there afterwards; what it writes to a part of a page, or
 * after it discarded the page (MADV_DONTNEED), may be lost. The peer gets a region with all rights,
 * or with those of @rights, whose memory is imported: see REGION_IMPORT for what that means for
 * I/O. It is charged to the peer's user, pins included. Of a huge page of which a part stays mapped
 * the other part is copied, as if somebody held it.
 *
 * COPY copies whatever can be read, to memory that the peer has dropped if there is such, and costs
 * about what process_vm_readv() does. It is not of one instant. The caller's memory stays what it
 * is: it can be freed, forked, discarded and used again as any other. SHARE of private memory is
 * EOPNOTSUPP: create a region, import the memory, or use a memfd.
 *
 * With ZCIPC_F_IMPORT both make the range a region first, which stays where it is: as REGION_IMPORT
 * does, with all that says of such memory, but its capability goes when the range is unmapped. It
 * remains a region when the transfer fails. So a COPY of much is a snapshot of one instant that
 * copies nothing until somebody writes.
 *
 * Of shared memory only SHARE makes a region, with or without that flag. The capability goes with
 * the last that is derived from it, or when the transfer fails.
 *
 * A range that lies in a mapping of a region is transferred as a part of that region. It has to be
 * page-aligned then, but for COPY, and ZCIPC_F_UNMAP does nothing.
 *
 * Errors, besides those of TRANSFER: EFAULT and EACCES as for REGION_IMPORT. EOPNOTSUPP for other
 * kinds of memory, of shared memory but for SHARE, and with NODE_STRICT or a cache policy. EBUSY
 * with ZCIPC_F_STRICT when somebody holds a page. If that happens only while the pages are being
 * taken away, the contents are put back, but to other pages: whoever got hold of one in that moment
 * keeps it.
 */

/**
 * struct zcipc_transfer - ZCIPC_IOC_TRANSFER: hand pages to a peer
 * @size: sizeof(struct zcipc_transfer)
 * @flags: enum zcipc_transfer_flags
 * @type: enum zcipc_type
 * @rights: the rights of the peer's capability. SHARE: must be given. MOVE and COPY: 0 stands for
 *	all that the caller's capability has, and for all that there are, respectively. The peer's
 *	mapping is writable when they include WRITE.
 * @cap: the caller's capability
 * @peer: endpoint id; the caller's own is allowed
 * @offset: bytes from the beginning of the capability's range; from memory: an address
 * @len: bytes; 0, but not from memory: up to the end of the range
 * @cookie: passed on with the message
 * @cache: enum zcipc_cache. If it is another policy than the region's, all is copied: see there. A
 *	MOVE sets it for what is moved, a COPY for the snapshot, and SHARE for all of the region:
 *	EBUSY if the caller has mapped the region, shares it already, or if somebody holds pages.
 * @node: ZCIPC_NODE_ANY, ZCIPC_NUMA_RECEIVER, or a node. Pages that lie elsewhere are copied to it
 *	if nobody else has them; see @off_node for the others.
 * @pages: [out] pages handed over without copying them
 * @copied: [out] bytes copied, because somebody held the frames, of parts of pages, of parts of
 *	huge pages for another user, because of ZCIPC_F_AUTO or a cache policy, and to make 2 MiB
 *	one frame again (ZCIPC_COPY)
 * @peer_cap: [out] the peer's token, for ZCIPC_IOC_REVOKE
 * @migrated: [out] bytes copied, because they were on another node
 * @off_node: [out] bytes that are not on @node, if one was asked for
 * @result: [out] in a batch, 0 or a negative errno; otherwise 0
 * @__reserved: must be 0
 *
 * Whom a peer accepts is up to its policy, see enum zcipc_policy.
 *
 * While the peer's window or queue has no room the call waits, or fails with EAGAIN when the
 * endpoint is O_NONBLOCK or the peer wants it so.
 *
 * A transfer to oneself has its uses: a peer to which a region was granted takes a snapshot of it
 * (COPY), or takes it away (MOVE), without the help of the one who granted it.
 *
 * A struct that another thread makes unwritable during the call is not filled in; the transfer and
 * the result 0 stand.
 *
 * Errors: ENOENT, ESTALE, EACCES, EPERM, ESRCH, EBUSY, ENOBUFS, EAGAIN, EDQUOT, ENOMEM, EINTR.
 * ENOLCK of imported memory. E2BIG of a MOVE of all that @cap names to an endpoint of another user,
 * if it is mapped more than 256 times.
 */
struct zcipc_transfer {
	__u32 size;
	__u32 flags;
	__u32 type;
	__u32 rights;
	__aligned_u64 cap;
	__aligned_u64 peer;
	__aligned_u64 offset;
	__aligned_u64 len;
	__aligned_u64 cookie;
	__u32 cache;
	__s32 node;
	__aligned_u64 pages;
	__aligned_u64 copied;
	__aligned_u64 peer_cap;
	__aligned_u64 migrated;
	__aligned_u64 off_node;
	__s32 result;
	__u32 __reserved;
};

#define ZCIPC_MAX_BATCH		1024

/**
 * struct zcipc_transfer_batch - ZCIPC_IOC_TRANSFER_BATCH: many transfers at once
 * @size: sizeof(struct zcipc_transfer_batch)
 * @flags: 0 or ZCIPC_F_ATOMIC
 * @transfers: address of an array of struct zcipc_transfer
 * @ntransfers: its length, 1 to ZCIPC_MAX_BATCH
 * @transfer_size: sizeof(struct zcipc_transfer), which the transfers' own @size must be equal to
 * @done: [out] how many were carried out
 * @failed: [out] index of the first that was not, or @ntransfers
 *
 * As if the transfers were made one after the other, but nobody sees a state in between, and the
 * caller's mappings of all that it loses or that becomes copy-on-write go with one TLB shootdown
 * where single transfers take one each: also if they are scattered, as long as no two neighbours
 * are more than 2 MiB apart. What somebody holds can take another one, for all of it.
 *
 * Calls of the endpoints that take part wait meanwhile. So a large batch is made in parts, for each
 * of which that is true: any number of transfers of up to 4 pages on average, but no more than 48
 * of one page to an endpoint of another user. A transfer that takes long by itself, as one of more
 * than 1 to 4 MiB can, is a part of its own, and so is one that copies much, or is of a region with
 * more than 128 capabilities and mappings. An atomic batch has one part, whose shootdowns can be
 * more.
 *
 * Each transfer has its own @result, and is carried out whatever becomes of the others. None waits:
 * EAGAIN when there is no room.
 *
 * With ZCIPC_F_ATOMIC all are carried out, or none. Then the call fails with the errno of the first
 * that cannot be, and its @result alone is set, those of the others are ECANCELED; the array and
 * this struct are written also in this case. EINVAL if pages that one moves are named by another,
 * EOPNOTSUPP if one asks for a change of the cache policy, E2BIG if there are more than 64 and one
 * is for an endpoint of another user, or if the caller has mapped what is moved more than 13312
 * times, 384 with an endpoint of another user.
 *
 * Errors: those of ZCIPC_IOC_TRANSFER that a @result can have, for ZCIPC_F_ATOMIC; ENOMEM.
 */
struct zcipc_transfer_batch {
	__u32 size;
	__u32 flags;
	__aligned_u64 transfers;
	__u32 ntransfers;
	__u32 transfer_size;
	__u32 done;
	__u32 failed;
};

/**
 * struct zcipc_grant - ZCIPC_IOC_GRANT: derive a capability for a peer
 * @size: sizeof(struct zcipc_grant)
 * @flags: 0 or ZCIPC_F_PEER_FD
 * @cap: the caller's capability, which needs the right GRANT
 * @peer: endpoint id; the caller's own is allowed
 * @offset: bytes from the beginning of the capability's range
 * @len: bytes; 0: up to the end of the range
 * @cookie: passed on with the message
 * @rights: enum zcipc_right, READ and any others that @cap has
 * @__reserved: must be 0
 * @peer_cap: [out] the peer's token, for ZCIPC_IOC_REVOKE
 *
 * As SHARE, but nothing is mapped: the peer uses ZCIPC_IOC_MAP when it wants to, or transfers from
 * it. Takes no room in its window, and waits for room in the queue as ZCIPC_IOC_TRANSFER does.
 *
 * Errors: ENOENT, ESTALE, EACCES, EPERM, ESRCH, ENOBUFS, EAGAIN, EDQUOT, ENOMEM, EINTR.
 */
struct zcipc_grant {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
	__aligned_u64 peer;
	__aligned_u64 offset;
	__aligned_u64 len;
	__aligned_u64 cookie;
	__u32 rights;
	__u32 __reserved;
	__aligned_u64 peer_cap;
};

/**
 * struct zcipc_notify - ZCIPC_IOC_NOTIFY: tell a peer of a range that both have
 * @size: sizeof(struct zcipc_notify)
 * @flags: 0 or ZCIPC_F_PEER_FD
 * @cap: the caller's capability, with whichever rights
 * @peer: endpoint id; the caller's own is allowed
 * @peer_cap: the peer's token for the same region, as SHARE and GRANT return it; 0: that of the
 *	capability from which @cap is derived, which must be the peer's
 * @offset: bytes from the beginning of the range of @cap. Need not be a multiple of the page size
 * @len: bytes, nor need this; 0: up to the end of the range
 * @cookie: passed on with the message
 *
 * For memory that is shared once and used again and again: the peer gets a message that says what
 * of its own capability is meant, and where it has that mapped. Nothing is derived, mapped, or
 * changed in any way, and there is nothing to drop. The memory is not looked at either: pages of
 * the range may have been moved away.
 *
 * Messages about a capability that the peer loses before it has received them are never received.
 *
 * Waits for room in the queue as ZCIPC_IOC_TRANSFER does.
 *
 * Errors: ENOENT, also if @peer_cap is none of the peer's, for another region, or for a range that
 * does not have all of the caller's; ESTALE for @cap, EPERM, ESRCH, EAGAIN, EDQUOT, ENOMEM, EINTR.
 */
struct zcipc_notify {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
	__aligned_u64 peer;
	__aligned_u64 peer_cap;
	__aligned_u64 offset;
	__aligned_u64 len;
	__aligned_u64 cookie;
};

/**
 * enum zcipc_revoke_flags - flags of ZCIPC_IOC_REVOKE
 * @ZCIPC_REVOKE_KEEP: the capability itself stays, only what was derived from it goes
 */
enum zcipc_revoke_flags {
	ZCIPC_REVOKE_KEEP	= 1 << 0,
};

/**
 * struct zcipc_revoke - ZCIPC_IOC_REVOKE: kill a capability and all that was derived from it
 * @size: sizeof(struct zcipc_revoke)
 * @flags: enum zcipc_revoke_flags
 * @cap: a capability
 * @peer: 0: @cap is one of the caller's. Otherwise it is one of the endpoint with this id, and must
 *	be derived from a capability of the caller's.
 * @revoked: [out] how many capabilities were revoked
 *
 * When the call returns there is no mapping left that was made with any of them, in any process or
 * TLB, and none of the tokens is good for anything (ESTALE). Those who lost one, other than the
 * caller, get a message, ZCIPC_REVOKED, unless they had not received the one that brought it: then
 * they never hear of it. The message is beyond the limit of the queue.
 *
 * Shared memory that was imported, and mapped outside of a window, raises SIGBUS from then on, and
 * its addresses stay taken until munmap(). Who leaves 256 such mappings to themselves gets no more:
 * see struct zcipc_map.
 *
 * What somebody holds beyond its mappings (I/O that is under way, a page in a pipe) stays held, as
 * after munmap(): a page that a victim put in a pipe shows what is written to it later. Memory that
 * must be nobody else's is to be moved: see ZCIPC_MOVE.
 *
 * Errors: ENOENT, also if @cap is a capability of the peer's but not derived from one of the
 * caller's; ESTALE, ESRCH.
 */
struct zcipc_revoke {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
	__aligned_u64 peer;
	__aligned_u64 revoked;
};

/**
 * enum zcipc_message_type - messages that no transfer brought
 * @ZCIPC_GRANTED: by ZCIPC_IOC_GRANT
 * @ZCIPC_REVOKED: @cap is no longer there; @sender is the one who revoked it, @addr and @cookie
 *	are 0
 * @ZCIPC_NOTIFIED: by ZCIPC_IOC_NOTIFY; @cap is one that the endpoint has
 */
enum zcipc_message_type {
	ZCIPC_GRANTED	= 4,
	ZCIPC_REVOKED	= 5,
	ZCIPC_NOTIFIED	= 6,
};

/**
 * enum zcipc_message_flags - what is particular about a message
 * @ZCIPC_MESSAGE_RETURNED: the caller had moved this to an endpoint that died before it received
 *	it. @sender is that endpoint. The capability is the caller's again, with the rights that it
 *	had, and not mapped.
 */
enum zcipc_message_flags {
	ZCIPC_MESSAGE_RETURNED	= 1 << 0,
};

/**
 * struct zcipc_recv - ZCIPC_IOC_RECV: take the next message
 * @size: sizeof(struct zcipc_recv)
 * @flags: must be 0
 * @type: [out] enum zcipc_type or enum zcipc_message_type
 * @rights: [out] enum zcipc_right of @cap
 * @cap: [out] the capability received, or that the message is about
 * @region: [out] the region's id
 * @addr: [out] where it is mapped, 0 if it is not; of ZCIPC_NOTIFIED where all of what it is about
 *	is, and not executable
 * @len: [out] bytes, exactly what was sent
 * @cookie: [out] as the sender gave it
 * @sender: [out] the sender's endpoint id
 * @sender_pid: [out] the sender's process id in the caller's pid namespace, 0 if it has none there
 * @sender_uid: [out] the effective user who opened the sender's endpoint
 * @message_flags: [out] enum zcipc_message_flags
 * @pending: [out] messages that are still in the queue
 * @offset: [out] bytes from the beginning of the capability's range to what was sent; 0 unless it
 *	was sent with ZCIPC_F_ANY_ALIGN, or is ZCIPC_NOTIFIED
 *
 * Waits for a message, or fails with EAGAIN when the endpoint is O_NONBLOCK. poll() reports POLLIN
 * when there is one. Messages can also be read from a ring: see struct zcipc_ring.
 *
 * Errors: EAGAIN, EINTR.
 */
struct zcipc_recv {
	__u32 size;
	__u32 flags;
	__u32 type;
	__u32 rights;
	__aligned_u64 cap;
	__aligned_u64 region;
	__aligned_u64 addr;
	__aligned_u64 len;
	__aligned_u64 cookie;
	__aligned_u64 sender;
	__s32 sender_pid;
	__u32 sender_uid;
	__u32 message_flags;
	__u32 pending;
	__aligned_u64 offset;
};

/* Bytes from one entry of a ring to the next. */
#define ZCIPC_RING_ENTRY_SIZE	128

/**
 * enum zcipc_ring_flags - what a ring's owner has to do
 * @ZCIPC_RING_CALL: messages wait that did not fit, or senders that wait for room: once the owner
 *	has moved the head it has to call poll() with POLLIN, or ZCIPC_IOC_RECV
 */
enum zcipc_ring_flags {
	ZCIPC_RING_CALL		= 1 << 0,
};

/**
 * struct zcipc_ring - messages that can be read without a call
 * @tail: how many messages have been put into the ring, modulo 2^32
 * @flags: enum zcipc_ring_flags
 * @nentries: entries, a power of two
 * @entry_size: ZCIPC_RING_ENTRY_SIZE
 *
 * A receiver that polls, instead of sleeping in ZCIPC_IOC_RECV, maps a ring:
 *
 *	ring = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, ZCIPC_RING_OFFSET)
 *	head = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, ZCIPC_RING_OFFSET_HEAD)
 *
 * where @len is one page, which begins with this struct, and as many as the entries take: 1 to 32
 * pages, a power of two. Message number N is a struct zcipc_recv (what is behind its size is 0) at
 *
 *	(char *)ring + page_size + N % nentries * entry_size
 *
 * and is there when @tail, read with acquire semantics, is past N. struct zcipc_ring_head at @head
 * says how far the owner has come. Whoever has read an entry, and does not need it any more, adds 1
 * to that with release semantics, then, after a full barrier, reads @flags, and does what they ask
 * for. poll() can also be used to sleep.
 *
 * All messages that the endpoint gets come into the ring, in order, and are not received before the
 * head is past them: until then they take room in the queue, and what was moved goes back if the
 * owner dies. When the ring is full the others wait. ZCIPC_IOC_RECV still takes the oldest message
 * that is not received, and moves the head past it. Threads that use one ring have to exclude each
 * other from that.
 *
 * An entry is as ZCIPC_IOC_RECV gives the message, but for @pending, which is 0, @addr of a file's
 * memory that it brings, which is 0 too (the owner uses ZCIPC_IOC_MAP), and @sender_pid and
 * @sender_uid, which are in the namespaces of the process as it opened the endpoint. It does not
 * change. What it tells of may have been revoked: then the message ZCIPC_REVOKED follows.
 *
 * The ring is not inherited, never writable, and goes when all of it has been unmapped. Messages
 * that the head is not past are received by ZCIPC_IOC_RECV, or in the next ring. A head that is not
 * between what it was and @tail is taken as if it had not been moved.
 *
 * Errors of mmap(): EACCES when the ring is to be writable, or either executable, EBUSY when the
 * endpoint has a ring, EINVAL for another length and for the head when there is no ring, EPERM,
 * EDQUOT, ENOMEM.
 */
struct zcipc_ring {
	__u32 tail;
	__u32 flags;
	__u32 nentries;
	__u32 entry_size;
};

/**
 * struct zcipc_ring_head - written by the owner of a ring
 * @head: how many messages have been received, modulo 2^32; 0 at first
 */
struct zcipc_ring_head {
	__u32 head;
};

/**
 * enum zcipc_stats_flags - whose counters
 * @ZCIPC_STATS_ENDPOINT: the caller's endpoint's: what it has, sent, received, and was served
 * @ZCIPC_STATS_REGION: those of the region that @cap names
 *
 * 0: the whole module's.
 */
enum zcipc_stats_flags {
	ZCIPC_STATS_ENDPOINT	= 1 << 0,
	ZCIPC_STATS_REGION	= 1 << 1,
};

#define ZCIPC_STATS_ERRORS	134	/* errnos 0 to 133 */
#define ZCIPC_STATS_TYPES	4	/* MOVE, SHARE, COPY, GRANT */
#define ZCIPC_STATS_BUCKETS	32	/* 0: 0 or 1 ns, N: 2^N up to 2^(N+1), the last: and more */

/**
 * struct zcipc_stats - ZCIPC_IOC_STATS: counters
 * @size: sizeof(struct zcipc_stats)
 * @flags: enum zcipc_stats_flags
 * @endpoints: [out] that exist now
 * @regions: [out] that exist now
 * @frames: [out] pages that exist now
 * @caps: [out] capabilities that exist now
 * @maps: [out] mappings that exist now
 * @messages: [out] that wait now
 * @moves: [out] transfers of this type that succeeded, since the module was loaded, as all that
 *	follow
 * @shares: [out] transfers of this type
 * @copies: [out] transfers of this type
 * @received: [out] messages received
 * @returned: [out] messages that went back to their sender
 * @pages: [out] pages handed over without copying them
 * @copied_write: [out] bytes copied because a page of a snapshot was written to
 * @copied_held: [out] bytes copied because somebody held the frame at a MOVE or COPY
 * @reused: [out] frames written to that only one region used any longer, and that were not copied
 * @faults: [out] page faults served
 *
 * @cap: with ZCIPC_STATS_REGION, otherwise 0
 * @transfers: [out] MOVE, SHARE and COPY together
 * @bytes: [out] of these transfers, handed over or copied
 * @remap_cycles: [out] CPU cycles that they took to take pages away and to place them, without
 *	waiting for anybody
 * @avg_remap_cycles: [out] of one transfer
 * @grants: [out] capabilities that ZCIPC_IOC_GRANT derived
 * @revoked: [out] capabilities that were revoked
 * @batches: [out] of at least one transfer
 * @copied_node: [out] bytes copied because they were on another node
 * @copied_memory: [out] bytes copied from memory: parts of pages, what cannot be handed over, and
 *	because of ZCIPC_F_AUTO
 * @copied_auto: [out] bytes of regions copied because of ZCIPC_F_AUTO
 * @notifications: [out] messages that ZCIPC_IOC_NOTIFY sent
 * @copied_mended: [out] bytes copied at a COPY to make 2 MiB one frame again
 * @user_pinned: [out] pages that are pinned for the caller's user because they are imported
 * @shootdowns: [out] how often mapped pages were taken out of page tables: each time the TLBs of
 *	all CPUs that run a process which had them are flushed
 * @failures: [out] TRANSFER, single or in a batch, GRANT and NOTIFY that failed
 * @user_pages: [out] pages charged to the quota of the caller's user at the moment, what nobody has
 *	any more of huge pages of which the user has a part included
 * @user_overhead: [out] how many of these are not a region's, but what the kernel needs to know of
 *	the user's endpoints, windows, regions, capabilities, mappings, and rings
 * @user_peak: [out] the most that ever were
 * @copied_cache: [out] bytes copied because they have, or got, a cache policy
 * @copied_parts: [out] bytes copied because another user got only parts of a huge page
 * @errors: 0, or the address of __u64 [ZCIPC_STATS_ERRORS]: [out] @failures by errno
 * @latencies: 0, or the address of __u64 [ZCIPC_STATS_TYPES][ZCIPC_STATS_BUCKETS]: [out] how many
 *	calls of each type that succeeded took how long, waiting included; a batch's transfers have
 *	none
 *
 * The counters are not one snapshot: they are added up while they change. Of an endpoint or a
 * region those that make no sense for it are 0, and @errors and @latencies must be 0.
 *
 * Errors: ENOENT, ESTALE for @cap.
 */
struct zcipc_stats {
	__u32 size;
	__u32 flags;
	__aligned_u64 endpoints;
	__aligned_u64 regions;
	__aligned_u64 frames;
	__aligned_u64 caps;
	__aligned_u64 maps;
	__aligned_u64 messages;
	__aligned_u64 moves;
	__aligned_u64 shares;
	__aligned_u64 copies;
	__aligned_u64 received;
	__aligned_u64 returned;
	__aligned_u64 pages;
	__aligned_u64 copied_write;
	__aligned_u64 copied_held;
	__aligned_u64 reused;
	__aligned_u64 faults;
	__aligned_u64 cap;
	__aligned_u64 transfers;
	__aligned_u64 bytes;
	__aligned_u64 remap_cycles;
	__aligned_u64 avg_remap_cycles;
	__aligned_u64 grants;
	__aligned_u64 revoked;
	__aligned_u64 batches;
	__aligned_u64 copied_node;
	__aligned_u64 shootdowns;
	__aligned_u64 failures;
	__aligned_u64 user_pages;
	__aligned_u64 user_peak;
	__aligned_u64 errors;
	__aligned_u64 latencies;
	__aligned_u64 copied_memory;
	__aligned_u64 user_pinned;
	__aligned_u64 copied_auto;
	__aligned_u64 notifications;
	__aligned_u64 copied_mended;
	__aligned_u64 user_overhead;
	__aligned_u64 copied_cache;
	__aligned_u64 copied_parts;
};

#endif /* _UAPI_LINUX_ZCIPC_H */

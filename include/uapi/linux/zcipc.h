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
 * An endpoint belongs to the address space that opened it. After fork() the child has neither the
 * window nor the use of the endpoint, after exec() the new program has not: both open their own.
 * An endpoint whose address space is gone is dead: its capabilities are dropped, and what was moved
 * to it and not yet received goes back to the sender.
 *
 * Touching the window where nothing is placed, where the pages have been moved away, or writing
 * without the right to, raises SIGBUS.
 *
 * Calls
 * -----
 * Each call takes a pointer to a struct whose first member "size" is the struct's size as the
 * caller knows it. A shorter struct of an older program is taken as if the missing members were 0,
 * a longer one of a newer program is taken if what this kernel does not know is 0. Members marked
 * [out] are written on success; the others are left alone, and after a failure so are all of them.
 * Members named __reserved must be 0. All structs have the same layout for 32-bit programs.
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
 * ENOBUFS	a capability table is full, or the window is missing or too small for the range even
 *		when it is empty
 * EAGAIN	there is no room at the moment, or no message, and the endpoint is O_NONBLOCK
 * EDQUOT	the memory quota of the user who would own the pages is used up
 * ENOMEM	the kernel found no memory
 * EINTR	a signal came while the call waited, and nothing was done
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
#define ZCIPC_IOC_ENDPOINT_CONFIG	_IO(ZCIPC_IOC_TYPE, 0x01)	/* EOPNOTSUPP */
#define ZCIPC_IOC_LOOKUP		_IO(ZCIPC_IOC_TYPE, 0x02)
#define ZCIPC_IOC_REGION_CREATE		_IO(ZCIPC_IOC_TYPE, 0x03)
#define ZCIPC_IOC_REGION_IMPORT		_IO(ZCIPC_IOC_TYPE, 0x04)	/* EOPNOTSUPP */
#define ZCIPC_IOC_REGION_QUERY		_IO(ZCIPC_IOC_TYPE, 0x05)
#define ZCIPC_IOC_MAP			_IO(ZCIPC_IOC_TYPE, 0x06)
#define ZCIPC_IOC_UNMAP			_IO(ZCIPC_IOC_TYPE, 0x07)
#define ZCIPC_IOC_TRANSFER		_IO(ZCIPC_IOC_TYPE, 0x08)
#define ZCIPC_IOC_TRANSFER_BATCH	_IO(ZCIPC_IOC_TYPE, 0x09)	/* EOPNOTSUPP */
#define ZCIPC_IOC_RECV			_IO(ZCIPC_IOC_TYPE, 0x0a)
#define ZCIPC_IOC_GRANT			_IO(ZCIPC_IOC_TYPE, 0x0b)	/* EOPNOTSUPP */
#define ZCIPC_IOC_REVOKE		_IO(ZCIPC_IOC_TYPE, 0x0c)	/* EOPNOTSUPP */
#define ZCIPC_IOC_DROP			_IO(ZCIPC_IOC_TYPE, 0x0d)
#define ZCIPC_IOC_STATS			_IO(ZCIPC_IOC_TYPE, 0x0e)

/**
 * enum zcipc_right - what the holder of a capability may do
 * @ZCIPC_RIGHT_READ: map it and read; take a snapshot (COPY). Every capability has it.
 * @ZCIPC_RIGHT_WRITE: map it writable
 * @ZCIPC_RIGHT_EXEC: reserved, EOPNOTSUPP
 * @ZCIPC_RIGHT_GRANT: let others have it too (SHARE), with the same rights or fewer
 * @ZCIPC_RIGHT_MOVE: give it away (MOVE)
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
 * @ZCIPC_CACHE_DEFAULT: write-back
 * @ZCIPC_CACHE_STREAMING: write-combining. Reserved, EOPNOTSUPP
 * @ZCIPC_CACHE_UNCACHED: reserved, EOPNOTSUPP
 */
enum zcipc_cache {
	ZCIPC_CACHE_DEFAULT	= 0,
	ZCIPC_CACHE_STREAMING	= 1,
	ZCIPC_CACHE_UNCACHED	= 2,
};

/* NUMA nodes: no preference. Other values are reserved, EOPNOTSUPP. */
#define ZCIPC_NODE_ANY		(-1)

/**
 * struct zcipc_info - ZCIPC_IOC_INFO: what this kernel can do, and who the caller is
 * @size: sizeof(struct zcipc_info)
 * @flags: must be 0
 * @abi: [out] ZCIPC_ABI_VERSION of the module
 * @page_size: [out] bytes; addresses, offsets and lengths are multiples of it
 * @features: [out] bits of optional features; none is defined yet
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

/**
 * struct zcipc_lookup - ZCIPC_IOC_LOOKUP: find a process's endpoint
 * @size: sizeof(struct zcipc_lookup)
 * @flags: must be 0
 * @pid: process id, as the caller's pid namespace numbers it
 * @__reserved: must be 0
 * @after: 0, or an endpoint id: only ids greater than this one. Walks a process's endpoints.
 * @endpoint: [out] the process's endpoint with the lowest id
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
};

/**
 * enum zcipc_create_flags - flags of ZCIPC_IOC_REGION_CREATE
 * @ZCIPC_CREATE_MAP: place the region in the window too, readable and writable
 * @ZCIPC_CREATE_HUGE: 2 MiB frames. Reserved, EOPNOTSUPP
 * @ZCIPC_CREATE_PINNABLE: long-term pins for I/O. Reserved, EOPNOTSUPP
 */
enum zcipc_create_flags {
	ZCIPC_CREATE_MAP	= 1 << 0,
	ZCIPC_CREATE_HUGE	= 1 << 1,
	ZCIPC_CREATE_PINNABLE	= 1 << 2,
};

/**
 * struct zcipc_region_create - ZCIPC_IOC_REGION_CREATE: new memory
 * @size: sizeof(struct zcipc_region_create)
 * @flags: enum zcipc_create_flags
 * @len: bytes, a multiple of the page size
 * @cache: enum zcipc_cache
 * @node: ZCIPC_NODE_ANY
 * @cap: [out] capability with all rights
 * @addr: [out] with ZCIPC_CREATE_MAP where it is mapped, otherwise 0
 * @region: [out] the region's id, never used again
 *
 * The memory is zero. It is charged to the quota of the endpoint's user and to the caller's memory
 * cgroup.
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
 * @cache: [out] enum zcipc_cache
 * @node: [out] ZCIPC_NODE_ANY
 * @__reserved: must be 0
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
};

/**
 * struct zcipc_map - ZCIPC_IOC_MAP: place a range in the window
 * @size: sizeof(struct zcipc_map)
 * @flags: must be 0
 * @cap: the capability
 * @offset: bytes from the beginning of the capability's range
 * @len: bytes; 0: up to the end of the range
 * @rights: ZCIPC_RIGHT_READ, with ZCIPC_RIGHT_WRITE if it is to be writable
 * @__reserved: must be 0
 * @addr: [out] where it is
 *
 * A range can be mapped more than once.
 *
 * Errors: ENOENT, ESTALE, EACCES, ENOBUFS, ENOMEM. EAGAIN when the window has no gap that is large
 * enough: this call does not wait.
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
 * struct zcipc_unmap - ZCIPC_IOC_UNMAP: take a mapping out of the window
 * @size: sizeof(struct zcipc_unmap)
 * @flags: must be 0
 * @addr: the address at which something was mapped, by whichever call
 *
 * The capability stays. Do not use munmap() for this: it takes a part of the window away for good.
 *
 * Errors: ENOENT nothing is mapped that begins there.
 */
struct zcipc_unmap {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
};

/**
 * struct zcipc_drop - ZCIPC_IOC_DROP: give a capability up
 * @size: sizeof(struct zcipc_drop)
 * @flags: must be 0
 * @cap: the capability
 *
 * Takes its mappings out of the window. The memory is freed with the last capability.
 *
 * Errors: ENOENT, ESTALE.
 */
struct zcipc_drop {
	__u32 size;
	__u32 flags;
	__aligned_u64 cap;
};

/**
 * enum zcipc_type - kinds of transfer
 * @ZCIPC_MOVE: the caller loses the pages: its mappings of the range and, if that was all that the
 *	capability named, the capability are gone when the call returns, for all threads. The peer
 *	has the same frames. A whole region keeps its id, a part of one becomes a new region. Needs
 *	the right MOVE. EBUSY when another capability names any of the pages. A frame that somebody
 *	holds beyond its mappings (I/O that is under way, a page in a pipe) is copied: the holder
 *	keeps the old one.
 * @ZCIPC_SHARE: both have the same memory. The peer gets a capability for the range with @rights.
 *	Needs the right GRANT and those that are given.
 * @ZCIPC_COPY: the peer gets a new region with the contents of the range at one instant. Frames are
 *	shared until either side writes to them. A frame that somebody holds beyond its mappings
 *	is copied at once. Needs the right READ.
 */
enum zcipc_type {
	ZCIPC_MOVE	= 1,
	ZCIPC_SHARE	= 2,
	ZCIPC_COPY	= 3,
};

/**
 * enum zcipc_transfer_flags - flags of ZCIPC_IOC_TRANSFER
 * @ZCIPC_F_STRICT: EBUSY instead of copying a frame that somebody holds
 */
enum zcipc_transfer_flags {
	ZCIPC_F_STRICT		= 1 << 0,
};

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
 * @offset: bytes from the beginning of the capability's range
 * @len: bytes; 0: up to the end of the range
 * @cookie: passed on with the message
 * @cache: ZCIPC_CACHE_DEFAULT
 * @node: ZCIPC_NODE_ANY
 * @pages: [out] pages handed over without copying them
 * @copied: [out] bytes copied, because somebody held the frames
 *
 * A peer accepts a caller whose endpoint was opened by the same effective user in the same user
 * namespace as its own.
 *
 * While the peer's window or queue has no room the call waits, or fails with EAGAIN when the
 * endpoint is O_NONBLOCK.
 *
 * A struct that another thread makes unwritable during the call is not filled in; the transfer and
 * the result 0 stand.
 *
 * Errors: ENOENT, ESTALE, EACCES, EPERM, ESRCH, EBUSY, ENOBUFS, EAGAIN, EDQUOT, ENOMEM, EINTR.
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
};

/**
 * enum zcipc_message_flags - what is particular about a message
 * @ZCIPC_MESSAGE_RETURNED: the caller had moved this to an endpoint that died before it received
 *	it. @sender is that endpoint. The capability is the caller's again, and not mapped.
 */
enum zcipc_message_flags {
	ZCIPC_MESSAGE_RETURNED	= 1 << 0,
};

/**
 * struct zcipc_recv - ZCIPC_IOC_RECV: take the next message
 * @size: sizeof(struct zcipc_recv)
 * @flags: must be 0
 * @type: [out] enum zcipc_type
 * @rights: [out] enum zcipc_right of @cap
 * @cap: [out] the capability received
 * @region: [out] the region's id
 * @addr: [out] where it is mapped, 0 if it is not
 * @len: [out] bytes
 * @cookie: [out] as the sender gave it
 * @sender: [out] the sender's endpoint id
 * @sender_pid: [out] the sender's process id in the caller's pid namespace, 0 if it has none there
 * @sender_uid: [out] the effective user who opened the sender's endpoint
 * @message_flags: [out] enum zcipc_message_flags
 * @pending: [out] messages that are still in the queue
 *
 * Waits for a message, or fails with EAGAIN when the endpoint is O_NONBLOCK. poll() reports POLLIN
 * when there is one.
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
};

/**
 * struct zcipc_stats - ZCIPC_IOC_STATS: counters of the whole module
 * @size: sizeof(struct zcipc_stats)
 * @flags: must be 0
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
 * The counters are not one snapshot: they are added up while they change.
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
};

#endif /* _UAPI_LINUX_ZCIPC_H */

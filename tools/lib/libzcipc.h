/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libzcipc: the calls of zcipc as functions.
 *
 *	struct zcipc_region_create region = zcipc_region_init(len, 0);
 *	struct zcipc_transfer move;
 *	struct zcipc_endpoint e;
 *
 *	if (zcipc_open(&e, 1 << 30, 0) || zcipc_create(&e, &region))
 *		return -1;
 *	fill((char *)region.addr, len);
 *	move = zcipc_transfer_init(ZCIPC_MOVE, region.cap, peer);
 *	return zcipc_transfer(&e, &move);
 *
 * and the peer, which has opened an endpoint as well, and passed its @id on:
 *
 *	struct zcipc_recv msg;
 *
 *	if (zcipc_receive(&e, &msg))
 *		return -1;
 *	use((char *)msg.addr, msg.len);
 *	return zcipc_drop(&e, msg.cap);
 *
 * The structs are those of <linux/zcipc.h>, which explains their members and all errors. The
 * functions named _init give each member a safe value: new memory is zero and mapped, what is
 * shared can only be read, pages stay on their node. Other members can be set before the call. What
 * is not here is an ioctl() on @fd.
 *
 * Functions that return an int return -1 and set errno when they fail, and then have changed
 * nothing. None prints anything or ends the process. Threads can share an endpoint.
 */
#ifndef LIBZCIPC_H
#define LIBZCIPC_H

#include <linux/zcipc.h>
#include <stddef.h>
#include <sys/ioctl.h>

/**
 * struct zcipc_endpoint - an endpoint that this process has opened
 * @fd: file descriptor, which poll() finds readable when there is a message
 * @id: endpoint id, by which peers address it
 * @features: enum zcipc_feature
 * @window: where the window begins, NULL if there is none
 * @window_len: bytes
 *
 * A child cannot use it after fork(), and opens its own.
 */
struct zcipc_endpoint {
	int fd;
	__u64 id;
	__u64 features;
	void *window;
	size_t window_len;
};

/**
 * zcipc_open() - open an endpoint and map its window
 * @e: set on success
 * @window_len: bytes, for all that is to be mapped at the same time: addresses, not memory. 0: no
 *	window, for an endpoint in which nothing is mapped
 * @flags: 0, or O_NONBLOCK: calls that would wait fail with EAGAIN
 *
 * Return: 0, or -1 with errno: ENOENT: the module is not loaded; EPROTONOSUPPORT: it has another
 * interface; EACCES, EDQUOT, EINVAL, EMFILE, ENOMEM as of open() and mmap().
 */
int zcipc_open(struct zcipc_endpoint *e, size_t window_len, int flags);

/**
 * zcipc_close() - unmap the window and close the endpoint, which drops all its capabilities
 * @e: endpoint, which no other thread uses any more
 *
 * errno stays as it is. Other mappings of @fd keep the endpoint until they are unmapped.
 */
void zcipc_close(struct zcipc_endpoint *e);

/**
 * zcipc_region_init() - what zcipc_create() is to make
 * @len: bytes, a multiple of the page size
 * @flags: enum zcipc_create_flags; ZCIPC_CREATE_MAP is added
 *
 * Return: the struct.
 */
static inline struct zcipc_region_create zcipc_region_init(size_t len, __u32 flags)
{
	struct zcipc_region_create region = {
		.size = sizeof(region),
		.flags = ZCIPC_CREATE_MAP | flags,
		.len = len,
		.node = ZCIPC_NODE_ANY,
	};

	return region;
}

/**
 * zcipc_create() - make a region of new memory
 * @e: endpoint
 * @region: of zcipc_region_init(); its @cap, @addr, @len and @huge are set
 *
 * Return: 0, or -1 with errno: EAGAIN: the window has no room now; ENOBUFS: it never has; EDQUOT,
 * EINVAL, ENOMEM, EOPNOTSUPP.
 */
static inline int zcipc_create(const struct zcipc_endpoint *e, struct zcipc_region_create *region)
{
	return ioctl(e->fd, ZCIPC_IOC_REGION_CREATE, region);
}

/**
 * zcipc_import() - make memory of the caller a region, which stays where it is
 * @e: endpoint
 * @addr: where it begins, a multiple of the page size
 * @len: bytes, a multiple of the page size
 * @cap: its capability, set on success
 *
 * Return: 0, or -1 with errno: EOPNOTSUPP: such memory cannot be a region; EACCES, EDQUOT, EFAULT,
 * EINTR, EINVAL, ENOLCK, ENOMEM.
 */
static inline int zcipc_import(const struct zcipc_endpoint *e, void *addr, size_t len, __u64 *cap)
{
	struct zcipc_region_import cmd = {
		.size = sizeof(cmd),
		.addr = (unsigned long)addr,
		.len = len,
	};

	if (ioctl(e->fd, ZCIPC_IOC_REGION_IMPORT, &cmd))
		return -1;
	*cap = cmd.cap;
	return 0;
}

/**
 * zcipc_transfer_init() - hand all that a capability names to a peer
 * @type: ZCIPC_MOVE, ZCIPC_SHARE (to be read) or ZCIPC_COPY
 * @cap: capability
 * @peer: endpoint id of the peer
 *
 * Return: the struct, for zcipc_transfer() or zcipc_transfer_batch().
 */
static inline struct zcipc_transfer zcipc_transfer_init(__u32 type, __u64 cap, __u64 peer)
{
	struct zcipc_transfer transfer = {
		.size = sizeof(transfer),
		.type = type,
		.rights = type == ZCIPC_SHARE ? ZCIPC_RIGHT_READ : 0U,
		.cap = cap,
		.peer = peer,
		.node = ZCIPC_NODE_ANY,
	};

	return transfer;
}

/**
 * zcipc_memory_init() - hand memory that need not be a region to a peer
 * @type: ZCIPC_MOVE, ZCIPC_SHARE (to be read) or ZCIPC_COPY
 * @addr: where it begins, a multiple of the page size unless ZCIPC_F_ANY_ALIGN is set
 * @len: bytes, likewise
 * @peer: endpoint id of the peer
 *
 * Return: the struct, for zcipc_transfer().
 */
static inline struct zcipc_transfer zcipc_memory_init(__u32 type, const void *addr, size_t len,
						      __u64 peer)
{
	struct zcipc_transfer transfer = zcipc_transfer_init(type, 0, peer);

	transfer.flags = ZCIPC_F_FROM_MEMORY;
	transfer.offset = (unsigned long)addr;
	transfer.len = len;
	return transfer;
}

/**
 * zcipc_transfer() - hand pages to a peer; waits while that has no room
 * @e: endpoint
 * @transfer: of an _init function; its @pages, @copied and @peer_cap are set
 *
 * After a MOVE of a region touching it is SIGBUS; memory that is no region reads as zero.
 *
 * Return: 0, or -1 with errno: ESRCH: the peer is dead; EPERM: it does not accept the caller;
 * EAGAIN: it has no room, and nobody is to wait; ENOENT, ESTALE: there is no such capability or
 * peer; E2BIG, EACCES, EBUSY, EDQUOT, EINTR, EINVAL, ENOBUFS, ENOLCK, ENOMEM, EOPNOTSUPP; of memory
 * also EFAULT.
 */
static inline int zcipc_transfer(const struct zcipc_endpoint *e, struct zcipc_transfer *transfer)
{
	return ioctl(e->fd, ZCIPC_IOC_TRANSFER, transfer);
}

/**
 * zcipc_transfer_batch() - many transfers at once, none of which waits
 * @e: endpoint
 * @transfers: of zcipc_transfer_init(); in each @result and what zcipc_transfer() sets is set
 * @n: how many, 1 to ZCIPC_MAX_BATCH
 * @flags: 0, or ZCIPC_F_ATOMIC: all or none
 *
 * Return: how many were carried out, or -1 with errno: EINVAL, ENOMEM; with ZCIPC_F_ATOMIC that of
 * the first which cannot be.
 */
static inline int zcipc_transfer_batch(const struct zcipc_endpoint *e,
				       struct zcipc_transfer *transfers, __u32 n, __u32 flags)
{
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.transfers = (unsigned long)transfers,
		.ntransfers = n,
		.transfer_size = sizeof(*transfers),
	};

	return ioctl(e->fd, ZCIPC_IOC_TRANSFER_BATCH, &cmd) ? -1 : (int)cmd.done;
}

/**
 * zcipc_receive() - take the next message; waits for one
 * @e: endpoint
 * @msg: set; its @type, enum zcipc_type or zcipc_message_type, says what @cap and @addr are
 *
 * Return: 0, or -1 with errno: EINTR; EAGAIN: there is none, and the endpoint is O_NONBLOCK.
 */
static inline int zcipc_receive(const struct zcipc_endpoint *e, struct zcipc_recv *msg)
{
	*msg = (struct zcipc_recv){ .size = sizeof(*msg) };
	return ioctl(e->fd, ZCIPC_IOC_RECV, msg);
}

/**
 * zcipc_drop() - give a capability up, with its mappings
 * @e: endpoint
 * @cap: capability
 *
 * Return: 0, or -1 with errno: ESTALE: it is gone already; ENOENT, EINTR.
 */
static inline int zcipc_drop(const struct zcipc_endpoint *e, __u64 cap)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .cap = cap };

	return ioctl(e->fd, ZCIPC_IOC_DROP, &cmd);
}

/**
 * zcipc_give_back() - let what is dropped go back to the endpoints that have created it
 * @e: endpoint; of all that it drops from now on
 *
 * With what it contains: they see what was written to it. They get it as the next region that they
 * create with ZCIPC_CREATE_RECYCLED, and need no new memory for that.
 *
 * Return: 0, or -1 with errno.
 */
static inline int zcipc_give_back(const struct zcipc_endpoint *e)
{
	struct zcipc_endpoint_config config = {
		.size = sizeof(config),
		.flags = ZCIPC_CONFIG_DROPPED,
		.dropped = ZCIPC_DROPPED_RETURN,
	};

	return ioctl(e->fd, ZCIPC_IOC_ENDPOINT_CONFIG, &config);
}

#endif /* LIBZCIPC_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * MOVE, SHARE and COPY. Each message is a region of its own: the producer makes it and maps it, the
 * consumer finds it in its window and drops it.
 */

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/zcipc.h>

#include "base.h"
#include "mechanism.h"

/* The message being filled and the one before it, with as much again to spare. */
#define WINDOW_MESSAGES		4

static void zcipc_call(struct side *side, unsigned long call, const char *name, void *arg)
{
	if (ioctl(side->fd, call, arg))
		die_errno("%s", name);
}

/* The endpoint belongs to the process that opens it, so this comes after the fork. */
static void zcipc_start(struct side *side)
{
	side->fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);
	if (side->fd < 0)
		die_errno("cannot open %s (is the module loaded?)", ZCIPC_DEVICE);
	if (mmap(NULL, WINDOW_MESSAGES * side->size, PROT_READ | PROT_WRITE, MAP_SHARED, side->fd,
		 0) == MAP_FAILED)
		die_errno("mmap of the window");
}

static __u64 zcipc_start_consumer(struct side *side)
{
	struct zcipc_info info = { .size = sizeof(info) };

	zcipc_start(side);
	zcipc_call(side, ZCIPC_IOC_INFO, "INFO", &info);
	return info.endpoint;
}

static void zcipc_prepare(struct side *side, size_t len)
{
	struct zcipc_region_create create = {
		.size	= sizeof(create),
		.flags	= ZCIPC_CREATE_MAP,
		.len	= page_align(len),
		.node	= ZCIPC_NODE_ANY,
	};

	zcipc_call(side, ZCIPC_IOC_REGION_CREATE, "REGION_CREATE", &create);
	side->token = create.cap;
	side->data = (void *)(unsigned long)create.addr;
}

static void zcipc_send(struct side *side, size_t len)
{
	struct zcipc_transfer transfer = {
		.size	= sizeof(transfer),
		.type	= side->mech->type,
		.rights	= side->mech->type == ZCIPC_SHARE ? ZCIPC_RIGHT_READ : 0,
		.cap	= side->token,
		.peer	= side->peer,
		.cookie	= len,
		.node	= ZCIPC_NODE_ANY,
	};

	zcipc_call(side, ZCIPC_IOC_TRANSFER, "TRANSFER", &transfer);
	side->copied += transfer.copied;
}

static size_t zcipc_receive(struct side *side)
{
	struct zcipc_recv recv = { .size = sizeof(recv) };

	zcipc_call(side, ZCIPC_IOC_RECV, "RECV", &recv);
	if (recv.type != side->mech->type || recv.len != page_align(recv.cookie))
		die("received type %u with %llu of %llu bytes", recv.type,
		    (unsigned long long)recv.cookie, (unsigned long long)recv.len);
	if (recv.type == ZCIPC_SHARE && recv.rights != ZCIPC_RIGHT_READ)
		die("received rights %#x instead of READ", recv.rights);
	side->token = recv.cap;
	side->data = (void *)(unsigned long)recv.addr;
	return recv.cookie;
}

static void zcipc_drop(struct side *side, size_t len)
{
	struct zcipc_drop drop = { .size = sizeof(drop), .cap = side->token };

	(void)len;
	zcipc_call(side, ZCIPC_IOC_DROP, "DROP", &drop);
}

/* What the consumer has is a snapshot: it must not see this. */
static void zcipc_overwrite(struct side *side, size_t len)
{
	struct zcipc_stats before = { .size = sizeof(before) };
	struct zcipc_stats after = { .size = sizeof(after) };

	zcipc_call(side, ZCIPC_IOC_STATS, "STATS", &before);
	memset(side->data, 0xa5, page_align(len));
	zcipc_call(side, ZCIPC_IOC_STATS, "STATS", &after);
	side->copied_write += after.copied_write - before.copied_write;
	zcipc_drop(side, len);
}

const struct mechanism mech_copy = {
	.key		= "copy",
	.name		= "zcipc COPY",
	.type		= ZCIPC_COPY,
	.copies_write	= true,
	.zero		= true,
	.start_consumer	= zcipc_start_consumer,
	.start_producer	= zcipc_start,
	.prepare	= zcipc_prepare,
	.send		= zcipc_send,
	.receive	= zcipc_receive,
	.finish		= zcipc_overwrite,
	.release	= zcipc_drop,
};

const struct mechanism mech_share = {
	.key		= "share",
	.name		= "zcipc SHARE",
	.type		= ZCIPC_SHARE,
	.zero		= true,
	.start_consumer	= zcipc_start_consumer,
	.start_producer	= zcipc_start,
	.prepare	= zcipc_prepare,
	.send		= zcipc_send,
	.receive	= zcipc_receive,
	.finish		= zcipc_drop,
	.release	= zcipc_drop,
};

const struct mechanism mech_move = {
	.key		= "move",
	.name		= "zcipc MOVE",
	.type		= ZCIPC_MOVE,
	.zero		= true,
	.start_consumer	= zcipc_start_consumer,
	.start_producer	= zcipc_start,
	.prepare	= zcipc_prepare,
	.send		= zcipc_send,
	.receive	= zcipc_receive,
	.release	= zcipc_drop,
};

// SPDX-License-Identifier: GPL-2.0
/*
 * MOVE, SHARE and COPY. Each message is a region of its own: the producer makes it and maps it, the
 * consumer finds it in its window and drops it.
 */

#include "base.h"
#include "libzcipc.h"
#include "mechanism.h"

/* The message being filled and the one before it, with as much again to spare. */
#define WINDOW_MESSAGES		4

/* It belongs to the process that opens it, so there is none before the fork. */
static struct zcipc_endpoint endpoint;

static __u64 endpoint_start(struct side *side)
{
	if (zcipc_open(&endpoint, WINDOW_MESSAGES * side->size, 0))
		die_errno("cannot open %s (is the module loaded?)", ZCIPC_DEVICE);
	return endpoint.id;
}

static void region_prepare(struct side *side, size_t len)
{
	struct zcipc_region_create region = zcipc_region_init(page_align(len), 0);

	if (zcipc_create(&endpoint, &region))
		die_errno("REGION_CREATE");
	side->token = region.cap;
	side->data = (void *)(unsigned long)region.addr;
}

static void region_send(struct side *side, size_t len)
{
	struct zcipc_transfer transfer = zcipc_transfer_init(side->mech->type, side->token,
							     side->peer);

	transfer.cookie = len;
	if (zcipc_transfer(&endpoint, &transfer))
		die_errno("TRANSFER");
	side->copied += transfer.copied;
}

static size_t region_receive(struct side *side)
{
	struct zcipc_recv msg;

	if (zcipc_receive(&endpoint, &msg))
		die_errno("RECV");
	if (msg.type != side->mech->type || msg.len != page_align(msg.cookie))
		die("received type %u with %llu of %llu bytes", msg.type,
		    (unsigned long long)msg.cookie, (unsigned long long)msg.len);
	if (msg.type == ZCIPC_SHARE && msg.rights != ZCIPC_RIGHT_READ)
		die("received rights %#x instead of READ", msg.rights);
	side->token = msg.cap;
	side->data = (void *)(unsigned long)msg.addr;
	return msg.cookie;
}

static void region_drop(struct side *side, size_t len)
{
	(void)len;
	if (zcipc_drop(&endpoint, side->token))
		die_errno("DROP");
}

/* Bytes copied by writes to what is in a snapshot, everybody's. */
static __u64 copied_by_writes(void)
{
	struct zcipc_stats stats = { .size = sizeof(stats) };

	if (ioctl(endpoint.fd, ZCIPC_IOC_STATS, &stats))
		die_errno("STATS");
	return stats.copied_write;
}

/* What the consumer has is a snapshot: it must not see this. */
static void region_overwrite(struct side *side, size_t len)
{
	__u64 before = copied_by_writes();

	memset(side->data, 0xa5, page_align(len));
	side->copied_write += copied_by_writes() - before;
	region_drop(side, len);
}

const struct mechanism mech_copy = {
	.key		= "copy",
	.name		= "zcipc COPY",
	.type		= ZCIPC_COPY,
	.copies_write	= true,
	.zero		= true,
	.start		= endpoint_start,
	.prepare	= region_prepare,
	.send		= region_send,
	.receive	= region_receive,
	.finish		= region_overwrite,
	.release	= region_drop,
};

const struct mechanism mech_share = {
	.key		= "share",
	.name		= "zcipc SHARE",
	.type		= ZCIPC_SHARE,
	.zero		= true,
	.start		= endpoint_start,
	.prepare	= region_prepare,
	.send		= region_send,
	.receive	= region_receive,
	.finish		= region_drop,
	.release	= region_drop,
};

const struct mechanism mech_move = {
	.key		= "move",
	.name		= "zcipc MOVE",
	.type		= ZCIPC_MOVE,
	.zero		= true,
	.start		= endpoint_start,
	.prepare	= region_prepare,
	.send		= region_send,
	.receive	= region_receive,
	.release	= region_drop,
};

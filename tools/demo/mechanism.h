/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A mechanism: what run.c has it do. Each is in kernel.c or transfers.c.
 */
#ifndef ZCIPC_MECHANISM_H
#define ZCIPC_MECHANISM_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/**
 * struct side - one process's view of a mechanism
 * @mech: the mechanism
 * @size: bytes, the longest message; a multiple of the page size
 * @fd: its end of what @mech->connect made, or what it opened itself
 * @peer: in the producer what the consumer's start returned, in the consumer 0
 * @data: the message: where the producer fills it in, where the consumer found it
 * @token: what names @data for the mechanism, if it needs that
 * @copied: bytes that the hand-overs copied, as far as the mechanism counts them itself
 * @copied_write: bytes that later writes of the producer copied
 */
struct side {
	const struct mechanism *mech;
	size_t size;
	int fd;
	__u64 peer;
	void *data;
	__u64 token;
	__u64 copied;
	__u64 copied_write;
};

/**
 * struct mechanism - a way to hand a message over
 * @key: its name in --only
 * @name: its name in the table
 * @type: zcipc: enum zcipc_type
 * @copies: how often the kernel copies each byte, when that is known beforehand
 * @copies_write: the producer's overwriting of a sent message copies it
 * @zero: it promises a hand-over without a copy and without a fault of the receiver
 * @connect: before the fork: makes the consumer's and the producer's end, in this order
 * @start: gets either ready, the consumer first; what it returns there is the producer's @peer
 * @prepare: producer: makes @data point to memory for the next message of @len bytes
 * @send: producer: hands over @len bytes. The timed part begins before this ...
 * @receive: consumer: waits for a message, sets @data, returns its length. ... and ends after this
 *	and a look at every page.
 * @finish: producer: the consumer has the message of @len bytes
 * @release: consumer: done with the message of @len bytes
 *
 * All but @prepare, @send and @receive may be missing.
 */
struct mechanism {
	const char *key;
	const char *name;
	__u32 type;
	unsigned int copies;
	bool copies_write;
	bool zero;
	void (*connect)(int fd[2], size_t size);
	__u64 (*start)(struct side *side);
	void (*prepare)(struct side *side, size_t len);
	void (*send)(struct side *side, size_t len);
	size_t (*receive)(struct side *side);
	void (*finish)(struct side *side, size_t len);
	void (*release)(struct side *side, size_t len);
};

extern const struct mechanism mech_pipe, mech_readv, mech_memfd;
extern const struct mechanism mech_copy, mech_share, mech_move;

#endif /* ZCIPC_MECHANISM_H */

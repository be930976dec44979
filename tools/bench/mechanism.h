/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A mechanism: what zcipc-bench.c has it do, and what zcipc-bench.c gives it for that.
 */
#ifndef ZCIPC_MECHANISM_H
#define ZCIPC_MECHANISM_H

#include <linux/types.h>
#include <sys/types.h>

#define BATCH		256

/**
 * enum spent - time that is kept apart, in one of the two processes
 * @PAUSED: not a part of the message's cost
 * @CALL: in the mechanism's send()
 * @RELEASE: in its release()
 */
enum spent { PAUSED, CALL, RELEASE, NSPENT };

/**
 * enum flags - how a mechanism is to be driven
 * @ALONE: one process plays both parts, and nobody is woken up
 * @NOTIFY: send() tells nobody: a futex does, as for those that have premapped memory
 * @UNTIMED: neither taking a buffer nor filling it is part of the cost
 * @SHORT: its release is not part of what a page costs, as in a hop that goes back
 * @HUGE: of frames of 2 MiB, the cost of which is of interest; a multiple of that, but for @min
 * @SMALL: none of it is in frames of 2 MiB
 * @SNAPSHOT: parts of the source are written to after it was sent, see @written
 * @OWN_TOUCH: receive() touches and verifies the pages itself
 * @WITH_WAKE: what one page costs is told with the wake-up
 * @EMPTY: nothing is sent
 * @ENTRIES: many messages at once, of a page each
 * @POLLED: as zcipc-move-4k, -2m or -fast, but received from a ring: what one page costs is told of
 *	that one
 * @FAST: of regions that cannot be pinned
 */
enum flags {
	ALONE		= 1 << 0,
	NOTIFY		= 1 << 1,
	UNTIMED		= 1 << 2,
	SHORT		= 1 << 3,
	HUGE		= 1 << 4,
	SNAPSHOT	= 1 << 5,
	OWN_TOUCH	= 1 << 6,
	WITH_WAKE	= 1 << 7,
	EMPTY		= 1 << 8,
	ENTRIES		= 1 << 9,
	SMALL		= 1 << 10,
	POLLED		= 1 << 11,
	FAST		= 1 << 12,
};

/* What both processes map. */
struct shared {
	__u32 turn[2];			/* the last message announced to this side */
	__u32 barrier[2];
	__u64 endpoint[2];
	void *addr[2];
	pid_t pid[2];
	long long spent[2][NSPENT];	/* by this side, up to now */
	double hop, call, release;	/* what a typical one took */
	double mean;			/* what one took on average */
};

/**
 * struct side - one of the two processes that send messages to each other in turns
 * @mech: the mechanism
 * @sh: what both see
 * @me: 0 begins
 * @len: bytes, of each message
 * @npages: pages of 4 KiB
 * @seq: number of the message under way, which marks every page of it
 * @tx: the message to send
 * @rx: the one received
 * @fd: what the mechanism connects the two with: [i] is side i's end, or where it reads
 * @wfd: where side i writes, if it is a pipe
 * @own_fd: a file of the mechanism's
 * @area: memory of the mechanism's
 * @cap: zcipc: the capability of @tx
 * @peer_cap: zcipc: that of the other side, for the same region
 * @got: zcipc: that of @rx
 * @caps: those of a batch
 */
struct side {
	const struct mechanism *mech;
	struct shared *sh;
	int me;
	size_t len, npages;
	__u64 seq;
	char *tx, *rx;
	int fd[2], wfd[2], own_fd;
	char *area;
	__u64 cap, peer_cap, got, caps[BATCH];
};

/**
 * struct mechanism - a way to hand messages over
 * @name: in the CSV
 * @flags: enum flags
 * @written: percentage of the pages that the sender writes to after it has sent a snapshot
 * @min: bytes of the shortest message, 0: a page
 * @max: bytes of the longest message, 0: any
 * @option: what makes several mechanisms of the same functions
 * @missing: NULL, or says what this machine lacks, or NULL
 * @connect: before the processes exist
 * @start: in each of them; may use barrier()
 * @take: take a buffer
 * @send: send @tx
 * @receive: wait for the message (but see NOTIFY) and set @rx
 * @release: be done with @rx
 * @finish: at the end, in the one who began
 *
 * All but @send may be NULL.
 */
struct mechanism {
	const char *name;
	unsigned int flags;
	int written;
	size_t min, max;
	int option;
	const char *(*missing)(const struct mechanism *mech);
	void (*connect)(struct side *s);
	void (*start)(struct side *s);
	void (*take)(struct side *s);
	void (*send)(struct side *s);
	void (*receive)(struct side *s);
	void (*release)(struct side *s);
	void (*finish)(struct side *s);
};

/* What Linux has, and what zcipc has: peers.c, transfers.c. A name of NULL ends each. */
extern const struct mechanism peers[], zcipcs[];

#endif /* ZCIPC_MECHANISM_H */

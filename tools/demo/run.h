/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One run: a file through one mechanism, in messages of one size.
 */
#ifndef ZCIPC_RUN_H
#define ZCIPC_RUN_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define SHA256_LEN	32

/**
 * struct result - what a run found
 * @messages: how many were needed
 * @ns: nanoseconds, the median of the timed parts
 * @faults: page faults of the consumer in the timed parts
 * @copied: bytes copied by the hand-overs
 * @copied_write: bytes copied because the producer wrote to what it had sent
 * @digest: SHA-256 of what the consumer received
 */
struct result {
	__u64 messages;
	__u64 ns;
	__u64 faults;
	__u64 copied;
	__u64 copied_write;
	unsigned char digest[SHA256_LEN];
};

/**
 * struct run - one way through the file
 * @mech: the mechanism
 * @size: bytes, the message size
 * @file: the contents
 * @len: bytes, how much of it is sent
 * @nth: how many runs came before
 * @nruns: how many there are
 */
struct run {
	const struct mechanism *mech;
	size_t size;
	const unsigned char *file;
	size_t len;
	unsigned int nth;
	unsigned int nruns;
};

bool run_once(const struct run *run, struct result *result);
void sha256(const void *data, size_t len, unsigned char digest[SHA256_LEN]);

#endif /* ZCIPC_RUN_H */

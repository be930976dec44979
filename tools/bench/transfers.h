/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What zcipc-bench.c asks of the transfers that it does not ask of each mechanism.
 */
#ifndef ZCIPC_TRANSFERS_H
#define ZCIPC_TRANSFERS_H

#include <stdbool.h>

/**
 * struct load - what else the endpoints have to carry
 * @endpoints: other endpoints
 * @regions: other regions, in the window of the sender
 * @queues: other endpoints whose queues are full
 */
struct load {
	long endpoints, regions, queues;
};

extern struct load load;

/* Bytes of kernel memory for each frame of 4 KiB, or part of 2 MiB, beside the frame itself. */
double frame_overhead(bool huge);

#endif /* ZCIPC_TRANSFERS_H */

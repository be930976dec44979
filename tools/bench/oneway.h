/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Streams of messages from a producer to a consumer: see oneway.c.
 */
#ifndef ZCIPC_ONEWAY_H
#define ZCIPC_ONEWAY_H

#include <stddef.h>

/* The name of the @i-th way in which messages can go, NULL behind the last one. */
const char *stream_name(unsigned int i);

/* Why it cannot be measured here, or NULL. */
const char *stream_missing(unsigned int i);

/* What a message of @len bytes costs from end to end, both sides together, or less than 0. */
double stream_cost(unsigned int i, size_t len);

/* What filling and reading it takes alone. */
double stream_own(size_t len);

#endif /* ZCIPC_ONEWAY_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What only a module that is built for tests has.
 */
#ifndef ZCIPC_TEST_H
#define ZCIPC_TEST_H

#include <linux/limits.h>

#ifdef ZCIPC_TEST

void zcipc_test_point(const char *name);

/* So many references a page may have that is to be mapped once more. */
extern unsigned int zcipc_max_refs;

#else

static inline void zcipc_test_point(const char *name)
{
}

#define zcipc_max_refs	(INT_MAX / 2U)

#endif

#endif /* ZCIPC_TEST_H */

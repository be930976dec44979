/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults in what a space has mapped.
 */
#ifndef ZCIPC_FAULT_H
#define ZCIPC_FAULT_H

#include <linux/types.h>

/* A fault brings this many pages, for a start. */
#define ZCIPC_FAULT_AROUND	16UL

#endif /* ZCIPC_FAULT_H */

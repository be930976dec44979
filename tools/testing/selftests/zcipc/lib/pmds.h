/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is mapped by PMDs.
 */
#ifndef __SELFTEST_ZCIPC_PMDS
#define __SELFTEST_ZCIPC_PMDS

#include "params.h"
#include "peer.h"

/* Exists in a module built for tests. */
#define PMDS	PARAMETERS "test_pmds"

long pmd_mapped(pid_t pid, const char *p);
long ep_pmds(const struct ep *ep, const char *p);
long ep_hidden_pmds(struct ep *ep, const char *p, size_t npages);
int ep_map_unpinnable(struct ep *ep, char **window);

#endif

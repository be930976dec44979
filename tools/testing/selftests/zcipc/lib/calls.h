/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The calls of the interface.
 *
 * zc_x() makes a call, and returns what it returned. Every one checks that nothing was written but
 * what the interface says is written. Lengths and offsets are pages, unless a comment says bytes.
 */
#ifndef __SELFTEST_ZCIPC_CALLS
#define __SELFTEST_ZCIPC_CALLS

#include <linux/zcipc.h>

#include "peer.h"

#define RIGHTS_ALL \
	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_EXEC | ZCIPC_RIGHT_GRANT | \
	 ZCIPC_RIGHT_MOVE)
#define RIGHTS_RW	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE)

struct buf {
	__u64 cap;
	__u64 region;
	char *p;
	size_t npages;
	size_t huge;		/* pages that are in 2 MiB frames */
};

bool has_feature(__u32 feature);
bool has_results(unsigned int nr);
int zc_ioctl(struct ep *ep, unsigned int nr, void *cmd);

/* Endpoints */
int zc_config(struct ep *ep, struct zcipc_endpoint_config *cmd);
int zc_policy(struct ep *ep, __u32 policy);
int zc_depth(struct ep *ep, __u32 depth);
int zc_lookup(struct ep *ep, pid_t pid, __u64 after, __u64 *id);
int zc_stats(struct ep *ep, struct zcipc_stats *cmd);

/* Regions */
int zc_create(struct ep *ep, size_t npages, struct buf *b);
int zc_create_flags(struct ep *ep, size_t npages, __u32 flags, struct buf *b);
int zc_import(struct ep *ep, char *p, size_t npages, struct buf *b);
int zc_query(struct ep *ep, __u64 cap, struct zcipc_region_query *cmd);
int zc_map(struct ep *ep, __u64 cap, size_t first, size_t npages, __u32 rights, char **p);
int zc_unmap(struct ep *ep, const char *p);
int zc_drop(struct ep *ep, __u64 cap);
int zc_drop_flags(struct ep *ep, __u64 cap, __u32 flags);
int zc_drop_batch(struct ep *ep, const __u64 *caps, __u32 n, __u32 flags, __u32 *dropped);

/* Transfers */
struct zcipc_transfer transfer_cmd(struct ep *to, __u32 type, __u64 cap, size_t first,
				   size_t npages, __u32 rights);
int zc_transfer(struct ep *from, struct zcipc_transfer *cmd);
int zc_send(struct ep *from, struct ep *to, __u32 type, __u64 cap);
int zc_send_part(struct ep *from, struct ep *to, __u32 type, __u64 cap, size_t first,
		 size_t npages);
int zc_send_rights(struct ep *from, struct ep *to, __u32 type, __u64 cap, __u32 rights);
int zc_pass(struct ep *from, struct ep *to, __u32 type, __u64 cap, struct buf *b);
int zc_pass_rights(struct ep *from, struct ep *to, __u32 type, __u64 cap, __u32 rights,
		   struct buf *b);
/* Straight from memory. Bytes. */
struct zcipc_transfer direct_cmd(struct ep *to, __u32 type, const void *p, size_t len, __u32 flags);
int zc_direct(struct ep *from, struct ep *to, __u32 type, const void *p, size_t len, __u32 flags);

/* What arrives */
int zc_recv(struct ep *ep, struct zcipc_recv *cmd);
int zc_take(struct ep *ep, struct buf *b);

/* Capabilities */
struct zcipc_grant grant_cmd(struct ep *to, __u64 cap, size_t first, size_t npages, __u32 rights);
int zc_grant(struct ep *from, struct zcipc_grant *cmd);
int zc_grant_rights(struct ep *from, struct ep *to, __u64 cap, __u32 rights);
int zc_give(struct ep *from, struct ep *to, __u64 cap, __u32 rights, struct buf *b);
int zc_give_part(struct ep *from, struct ep *to, __u64 cap, size_t first, size_t npages,
		 __u32 rights, struct buf *b);
int zc_revoke(struct ep *ep, const struct ep *peer, __u64 cap, __u32 flags, __u64 *n);
/* Bytes. */
struct zcipc_notify notify_cmd(struct ep *to, __u64 cap, __u64 peer_cap, __u64 offset, __u64 len);
int zc_notify(struct ep *from, struct zcipc_notify *cmd);

/* Memory that has been imported becomes ordinary memory. A range is bytes. */
int zc_ordinary(struct ep *ep, __u64 cap, __u64 *copied);
int zc_ordinary_range(struct ep *ep, __u64 cap, const void *p, size_t len, __u64 *copied);

/* Many transfers in one call, of an endpoint in this process. */
int zc_batch(struct ep *ep, struct zcipc_transfer *t, __u32 n, __u32 flags,
	     struct zcipc_transfer_batch *out);

/* A SHARE from memory, and what the peer receives. */
int zc_share(struct ep *from, struct ep *to, const char *p, size_t npages, __u32 rights,
	     struct zcipc_recv *m);
char *addr_of(const struct zcipc_recv *m);

/* For ep_call(). */
long call_stale(struct ep *ep, struct call *c);

#endif

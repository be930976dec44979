// SPDX-License-Identifier: GPL-2.0-only
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kselftest.h"
#include "memory.h"

/* Has this machine, with this kernel, one of enum zcipc_feature? */
bool has_feature(__u32 feature)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);
	bool has = !ioctl(fd, ZCIPC_IOC_INFO, &info) && info.features & feature;

	close(fd);
	return has;
}

/* What calls write: members from one up to another that they do not write. */
#define OUT(_call, _type, _from, _to)					\
	{ _call, offsetof(struct _type, _from), offsetof(struct _type, _to), false }
#define OUT_END(_call, _type, _from)					\
	{ _call, offsetof(struct _type, _from), sizeof(struct _type), false }

static const struct written {
	unsigned int nr;
	size_t from;
	size_t to;
	bool read;	/* too */
} written[] = {
	OUT_END(ZCIPC_IOC_INFO, zcipc_info, abi),
	{ ZCIPC_IOC_ENDPOINT_CONFIG, offsetof(struct zcipc_endpoint_config, policy),
	  offsetof(struct zcipc_endpoint_config, senders), true },
	{ ZCIPC_IOC_ENDPOINT_CONFIG, offsetof(struct zcipc_endpoint_config, name),
	  sizeof(struct zcipc_endpoint_config), true },
	OUT(ZCIPC_IOC_LOOKUP, zcipc_lookup, endpoint, name),
	{ ZCIPC_IOC_REGION_CREATE, offsetof(struct zcipc_region_create, len),
	  offsetof(struct zcipc_region_create, cache), true },
	OUT_END(ZCIPC_IOC_REGION_CREATE, zcipc_region_create, cap),
	OUT_END(ZCIPC_IOC_REGION_IMPORT, zcipc_region_import, cap),
	OUT_END(ZCIPC_IOC_REGION_ORDINARY, zcipc_region_ordinary, copied),
	OUT(ZCIPC_IOC_REGION_QUERY, zcipc_region_query, region, __reserved),
	OUT_END(ZCIPC_IOC_REGION_QUERY, zcipc_region_query, derived),
	OUT_END(ZCIPC_IOC_MAP, zcipc_map, addr),
	OUT(ZCIPC_IOC_TRANSFER, zcipc_transfer, pages, __reserved),
	OUT_END(ZCIPC_IOC_TRANSFER_BATCH, zcipc_transfer_batch, done),
	OUT_END(ZCIPC_IOC_RECV, zcipc_recv, type),
	OUT_END(ZCIPC_IOC_GRANT, zcipc_grant, peer_cap),
	OUT_END(ZCIPC_IOC_REVOKE, zcipc_revoke, revoked),
	OUT_END(ZCIPC_IOC_DROP_BATCH, zcipc_drop_batch, dropped),
	OUT(ZCIPC_IOC_STATS, zcipc_stats, endpoints, cap),
	OUT(ZCIPC_IOC_STATS, zcipc_stats, transfers, errors),
	OUT_END(ZCIPC_IOC_STATS, zcipc_stats, copied_memory),
};

/* Does a call write to its struct at all? */
bool has_results(unsigned int nr)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(written); i++)
		if (written[i].nr == nr)
			return true;
	return false;
}

/*
 * One call. Members for results hold garbage before. After a failure the struct must be what it
 * was, after a success all but the results must be.
 */
int zc_ioctl(struct ep *ep, unsigned int nr, void *cmd)
{
	struct call c = { .fn = call_ioctl, .n = nr };
	unsigned char expected[sizeof(c.cmd)];
	size_t i, size = *(__u32 *)cmd;
	int rc;

	memcpy(c.cmd, cmd, size);
	for (i = 0; i < ARRAY_SIZE(written); i++)
		if (written[i].nr == nr && !written[i].read)
			memset(c.cmd + written[i].from, 0xcc, written[i].to - written[i].from);
	memcpy(expected, c.cmd, size);
	rc = ep_call(ep, &c);
	if (rc && errno == EOWNERDEAD)
		return rc;
	for (i = 0; i < ARRAY_SIZE(written) && !rc; i++)
		if (written[i].nr == nr)
			memcpy(expected + written[i].from, c.cmd + written[i].from,
			       written[i].to - written[i].from);
	if (memcmp(c.cmd, expected, size)) {
		fprintf(stderr, "# call %#x returned %d and wrote what it must not\n", nr, rc);
		errno = EUCLEAN;
		return -1;
	}
	if (!rc)
		memcpy(cmd, c.cmd, size);
	return rc;
}

int zc_create_flags(struct ep *ep, size_t npages, __u32 flags, struct buf *b)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = flags | (ep->win ? ZCIPC_CREATE_MAP : 0),
		.len = npages * psize, .node = ZCIPC_NODE_ANY,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_CREATE, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = cmd.len / psize,
				   .p = (char *)(uintptr_t)cmd.addr, .huge = cmd.huge / psize };
	return rc;
}

/* Or as whoever runs this wants. */
int zc_create(struct ep *ep, size_t npages, struct buf *b)
{
	return zc_create_flags(ep, npages, getenv("ZCIPC_UNPINNABLE") ?
			       ZCIPC_CREATE_UNPINNABLE : 0, b);
}

int zc_query(struct ep *ep, __u64 cap, struct zcipc_region_query *cmd)
{
	*cmd = (struct zcipc_region_query){ .size = sizeof(*cmd), .cap = cap };
	return zc_ioctl(ep, ZCIPC_IOC_REGION_QUERY, cmd);
}

int zc_map(struct ep *ep, __u64 cap, size_t first, size_t npages, __u32 rights, char **p)
{
	struct zcipc_map cmd = {
		.size = sizeof(cmd), .cap = cap, .offset = first * psize, .len = npages * psize,
		.rights = rights,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_MAP, &cmd);

	if (!rc)
		*p = (char *)(uintptr_t)cmd.addr;
	return rc;
}

int zc_unmap(struct ep *ep, const char *p)
{
	struct zcipc_unmap cmd = { .size = sizeof(cmd), .addr = (uintptr_t)p };

	return zc_ioctl(ep, ZCIPC_IOC_UNMAP, &cmd);
}

int zc_drop(struct ep *ep, __u64 cap)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .cap = cap };

	return zc_ioctl(ep, ZCIPC_IOC_DROP, &cmd);
}

int zc_drop_flags(struct ep *ep, __u64 cap, __u32 flags)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .flags = flags, .cap = cap };

	return zc_ioctl(ep, ZCIPC_IOC_DROP, &cmd);
}

/* Of an endpoint in this process. */
int zc_drop_batch(struct ep *ep, const __u64 *caps, __u32 n, __u32 flags, __u32 *dropped)
{
	struct zcipc_drop_batch cmd = {
		.size = sizeof(cmd), .flags = flags, .caps = (uintptr_t)caps, .ncaps = n,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_DROP_BATCH, &cmd);

	if (!rc)
		*dropped = cmd.dropped;
	return rc;
}

int zc_lookup(struct ep *ep, pid_t pid, __u64 after, __u64 *id)
{
	struct zcipc_lookup cmd = { .size = sizeof(cmd), .pid = pid, .after = after };
	int rc = zc_ioctl(ep, ZCIPC_IOC_LOOKUP, &cmd);

	if (!rc)
		*id = cmd.endpoint;
	return rc;
}

int zc_stats(struct ep *ep, struct zcipc_stats *cmd)
{
	*cmd = (struct zcipc_stats){ .size = sizeof(*cmd) };
	return zc_ioctl(ep, ZCIPC_IOC_STATS, cmd);
}

int zc_recv(struct ep *ep, struct zcipc_recv *cmd)
{
	*cmd = (struct zcipc_recv){ .size = sizeof(*cmd) };
	return zc_ioctl(ep, ZCIPC_IOC_RECV, cmd);
}

/* Receives what is wanted for its contents only. */
int zc_take(struct ep *ep, struct buf *b)
{
	struct zcipc_recv m;
	int rc = zc_recv(ep, &m);

	if (!rc)
		*b = (struct buf){ .cap = m.cap, .region = m.region, .npages = m.len / psize,
				   .p = (char *)(uintptr_t)m.addr };
	return rc;
}

struct zcipc_transfer transfer_cmd(struct ep *to, __u32 type, __u64 cap, size_t first,
				   size_t npages, __u32 rights)
{
	return (struct zcipc_transfer){
		.size = sizeof(struct zcipc_transfer), .type = type, .cap = cap, .peer = to->id,
		.offset = first * psize, .len = npages * psize, .rights = rights,
		.cookie = 0xc00c1e, .node = ZCIPC_NODE_ANY,
	};
}

int zc_transfer(struct ep *from, struct zcipc_transfer *cmd)
{
	return zc_ioctl(from, ZCIPC_IOC_TRANSFER, cmd);
}

/* A range, with as many rights as there are. */
int zc_send_part(struct ep *from, struct ep *to, __u32 type, __u64 cap, size_t first,
		 size_t npages)
{
	struct zcipc_transfer cmd = transfer_cmd(to, type, cap, first, npages,
						 type == ZCIPC_SHARE ? RIGHTS_ALL : 0);

	return zc_transfer(from, &cmd);
}

int zc_send(struct ep *from, struct ep *to, __u32 type, __u64 cap)
{
	return zc_send_part(from, to, type, cap, 0, 0);
}

int zc_send_rights(struct ep *from, struct ep *to, __u32 type, __u64 cap, __u32 rights)
{
	struct zcipc_transfer cmd = transfer_cmd(to, type, cap, 0, 0, rights);

	return zc_transfer(from, &cmd);
}

/* Sends and receives. */
int zc_pass(struct ep *from, struct ep *to, __u32 type, __u64 cap, struct buf *b)
{
	return zc_send(from, to, type, cap) ? -1 : zc_take(to, b);
}

int zc_pass_rights(struct ep *from, struct ep *to, __u32 type, __u64 cap, __u32 rights,
		   struct buf *b)
{
	return zc_send_rights(from, to, type, cap, rights) ? -1 : zc_take(to, b);
}

int zc_import(struct ep *ep, char *p, size_t npages, struct buf *b)
{
	struct zcipc_region_import cmd = {
		.size = sizeof(cmd), .addr = (uintptr_t)p, .len = npages * psize,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_IMPORT, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = npages,
				   .p = p };
	return rc;
}

/* From memory, which becomes a region if it has to stay. */
struct zcipc_transfer direct_cmd(struct ep *to, __u32 type, const void *p, size_t len, __u32 flags)
{
	struct zcipc_transfer cmd = transfer_cmd(to, type, 0, 0, 0, 0);

	cmd.flags = ZCIPC_F_FROM_MEMORY | flags;
	if (type != ZCIPC_MOVE)
		cmd.flags |= ZCIPC_F_IMPORT;
	cmd.offset = (uintptr_t)p;
	cmd.len = len;
	if (type == ZCIPC_SHARE)
		cmd.rights = RIGHTS_ALL;
	return cmd;
}

int zc_direct(struct ep *from, struct ep *to, __u32 type, const void *p, size_t len, __u32 flags)
{
	struct zcipc_transfer cmd = direct_cmd(to, type, p, len, flags);

	return zc_transfer(from, &cmd);
}

struct zcipc_grant grant_cmd(struct ep *to, __u64 cap, size_t first, size_t npages, __u32 rights)
{
	return (struct zcipc_grant){
		.size = sizeof(struct zcipc_grant), .cap = cap, .peer = to->id,
		.offset = first * psize, .len = npages * psize, .rights = rights,
		.cookie = 0x96a27ed,
	};
}

int zc_grant(struct ep *from, struct zcipc_grant *cmd)
{
	return zc_ioctl(from, ZCIPC_IOC_GRANT, cmd);
}

int zc_grant_rights(struct ep *from, struct ep *to, __u64 cap, __u32 rights)
{
	struct zcipc_grant cmd = grant_cmd(to, cap, 0, 0, rights);

	return zc_grant(from, &cmd);
}

struct zcipc_notify notify_cmd(struct ep *to, __u64 cap, __u64 peer_cap, __u64 offset, __u64 len)
{
	return (struct zcipc_notify){
		.size = sizeof(struct zcipc_notify), .cap = cap, .peer = to->id,
		.peer_cap = peer_cap, .offset = offset, .len = len, .cookie = 0x207e,
	};
}

int zc_notify(struct ep *from, struct zcipc_notify *cmd)
{
	return zc_ioctl(from, ZCIPC_IOC_NOTIFY, cmd);
}

/* Grants and receives. */
int zc_give_part(struct ep *from, struct ep *to, __u64 cap, size_t first, size_t npages,
		 __u32 rights, struct buf *b)
{
	struct zcipc_grant cmd = grant_cmd(to, cap, first, npages, rights);

	if (zc_grant(from, &cmd) || zc_take(to, b))
		return -1;
	if (b->cap == cmd.peer_cap)
		return 0;
	errno = EUCLEAN;
	return -1;
}

int zc_give(struct ep *from, struct ep *to, __u64 cap, __u32 rights, struct buf *b)
{
	return zc_give_part(from, to, cap, 0, 0, rights, b);
}

/* One's own, for which @peer is NULL, or a peer's. */
int zc_revoke(struct ep *ep, const struct ep *peer, __u64 cap, __u32 flags, __u64 *n)
{
	struct zcipc_revoke cmd = {
		.size = sizeof(cmd), .flags = flags, .cap = cap, .peer = peer ? peer->id : 0,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REVOKE, &cmd);

	if (!rc)
		*n = cmd.revoked;
	return rc;
}

int zc_config(struct ep *ep, struct zcipc_endpoint_config *cmd)
{
	cmd->size = sizeof(*cmd);
	return zc_ioctl(ep, ZCIPC_IOC_ENDPOINT_CONFIG, cmd);
}

int zc_policy(struct ep *ep, __u32 policy)
{
	struct zcipc_endpoint_config cmd = { .flags = ZCIPC_CONFIG_POLICY, .policy = policy };

	return zc_config(ep, &cmd);
}

int zc_depth(struct ep *ep, __u32 depth)
{
	struct zcipc_endpoint_config cmd = { .flags = ZCIPC_CONFIG_DEPTH, .queue_depth = depth };

	return zc_config(ep, &cmd);
}

int zc_ordinary_range(struct ep *ep, __u64 cap, const void *p, size_t len, __u64 *copied)
{
	struct zcipc_region_ordinary cmd = {
		.size = sizeof(cmd), .cap = cap, .addr = (uintptr_t)p, .len = len,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_ORDINARY, &cmd);

	if (!rc)
		*copied = cmd.copied;
	return rc;
}

int zc_ordinary(struct ep *ep, __u64 cap, __u64 *copied)
{
	return zc_ordinary_range(ep, cap, NULL, 0, copied);
}

/*
 * A batch of an endpoint in this process. Members for results hold garbage before, and after a
 * transfer that was not carried out still do, but for its result.
 */
int zc_batch(struct ep *ep, struct zcipc_transfer *t, __u32 n, __u32 flags,
	     struct zcipc_transfer_batch *out)
{
	const size_t from = offsetof(struct zcipc_transfer, pages);
	const size_t to = offsetof(struct zcipc_transfer, __reserved);
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .flags = flags, .transfers = (uintptr_t)t, .ntransfers = n,
		.transfer_size = sizeof(*t), .done = 0xcccccccc, .failed = 0xcccccccc,
	};
	struct zcipc_transfer *want = malloc(n * sizeof(*t));
	__u32 i, done = 0, failed = n;
	int rc, err;

	for (i = 0; i < n; i++)
		memset((char *)&t[i] + from, 0xcc, to - from);
	memcpy(want, t, n * sizeof(*t));
	rc = ioctl(ep->fd, ZCIPC_IOC_TRANSFER_BATCH, &cmd);
	err = errno;
	for (i = 0; i < n; i++) {
		if (!t[i].result)
			memcpy((char *)&want[i] + from, (char *)&t[i] + from, to - from);
		want[i].result = t[i].result;
		if (!t[i].result)
			done++;
		else if (failed == n && t[i].result != -ECANCELED)
			failed = i;
	}
	/* Nothing at all is written when the call as such fails. */
	if (rc && cmd.done == 0xcccccccc) {
		done = 0xcccccccc;
		failed = 0xcccccccc;
	}
	if (memcmp(want, t, n * sizeof(*t)) || cmd.done != done || cmd.failed != failed) {
		fprintf(stderr, "# a batch wrote wrong things: done %u not %u, failed %u not %u\n",
			cmd.done, done, cmd.failed, failed);
		err = EUCLEAN;
		rc = -1;
	}
	free(want);
	if (out)
		*out = cmd;
	errno = err;
	return rc;
}

/* Which call does not say that a capability is gone? 0: all do. */
long call_stale(struct ep *ep, struct call *c)
{
	struct zcipc_stats stats = { .size = sizeof(stats), .flags = ZCIPC_STATS_REGION,
				     .cap = c->val };
	struct zcipc_region_query q;
	__u32 type;
	__u64 n;
	char *p;

	if (!zc_query(ep, c->val, &q) || errno != ESTALE)
		return ZCIPC_IOC_REGION_QUERY;
	if (!zc_map(ep, c->val, 0, 0, ZCIPC_RIGHT_READ, &p) || errno != ESTALE)
		return ZCIPC_IOC_MAP;
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		if (!zc_send(ep, ep, type, c->val) || errno != ESTALE)
			return ZCIPC_IOC_TRANSFER;
	if (!zc_grant_rights(ep, ep, c->val, ZCIPC_RIGHT_READ) || errno != ESTALE)
		return ZCIPC_IOC_GRANT;
	if (!zc_revoke(ep, NULL, c->val, 0, &n) || errno != ESTALE)
		return ZCIPC_IOC_REVOKE;
	if (!zc_revoke(ep, NULL, c->val, ZCIPC_REVOKE_KEEP, &n) || errno != ESTALE)
		return ZCIPC_IOC_REVOKE;
	if (!zc_drop(ep, c->val) || errno != ESTALE)
		return ZCIPC_IOC_DROP;
	/* Statistics of one region need not be there. */
	if (!zc_ioctl(ep, ZCIPC_IOC_STATS, &stats) || (errno != ESTALE && errno != EOPNOTSUPP))
		return ZCIPC_IOC_STATS;
	return 0;
}

int zc_share(struct ep *from, struct ep *to, const char *p, size_t npages, __u32 rights,
	     struct zcipc_recv *m)
{
	struct zcipc_transfer cmd = direct_cmd(to, ZCIPC_SHARE, p, npages * psize, 0);

	cmd.rights = rights;
	if (zc_transfer(from, &cmd))
		return -1;
	if (cmd.copied || cmd.pages != npages) {
		errno = EUCLEAN;
		return -1;
	}
	return zc_recv(to, m);
}

char *addr_of(const struct zcipc_recv *m)
{
	return (char *)(uintptr_t)m->addr;
}

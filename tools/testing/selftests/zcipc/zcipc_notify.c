// SPDX-License-Identifier: GPL-2.0-only
/*
 * Notifications: messages about memory that both have already.
 *
 * Guarantees: G3 (what fails changes nothing), G6 rights and revocation, G8 clean death, G11
 * bounded, G12 waiting.
 * Attacks: tokens of others, ranges beyond what either has, capabilities that go meanwhile.
 */
#include "zcipc_utils.h"

#define N 4

FIXTURE(notify)
{
	struct base base;
	struct ep a, b;
	struct buf src;		/* of a */
	struct buf dst;		/* the same, shared with b */
};

/* Where b is. */
FIXTURE_VARIANT(notify)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(notify, local) { .remote = false };
FIXTURE_VARIANT_ADD(notify, process) { .remote = true };

FIXTURE_SETUP(notify)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	if (variant->remote) {
		ASSERT_FALSE(peer_fork(&self->b) ||
			     peer_open(&self->b, WINDOW_PAGES, O_NONBLOCK));
	} else {
		test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
	}
	test_create(&self->a, N, &self->src);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &self->dst);
}

FIXTURE_TEARDOWN_BASE(notify)

/* Of all of what @cap names. */
static int tell(struct ep *from, struct ep *to, __u64 cap, __u64 peer_cap, __u64 cookie)
{
	struct zcipc_notify cmd = notify_cmd(to, cap, peer_cap, 0, 0);

	cmd.cookie = cookie;
	return zc_notify(from, &cmd);
}

#define test_tell(...)			TEST_OK(tell(__VA_ARGS__))
#define test_err_tell(err, ...)		TEST_ERR(err, tell(__VA_ARGS__))

/* The next message says that, and of which range of the receiver's capability. */
#define test_told(ep, _cap, _addr, _offset, _len)			\
do {									\
	struct zcipc_recv __m;						\
									\
	test_recv(ep, &__m);						\
	ASSERT_EQ(ZCIPC_NOTIFIED, __m.type);				\
	ASSERT_EQ(_cap, __m.cap);					\
	ASSERT_EQ((uintptr_t)(_addr), __m.addr);			\
	ASSERT_EQ(_offset, __m.offset);					\
	ASSERT_EQ(_len, __m.len);					\
} while (0)

/* So many messages wait, in all queues. */
#define test_waiting(n)							\
do {									\
	struct zcipc_stats __s;						\
									\
	test_stats(&self->base.ep, &__s);				\
	ASSERT_EQ(n, __s.messages);					\
} while (0)

/* G1: payload in both directions, all that the message says, and nothing else happens. */
TEST_F(notify, both_ways)
{
	const struct {
		__u64 offset, len, want;
	} ranges[] = {
		{ 0, 0, N * psize }, { 0, N * psize, N * psize }, { psize, psize, psize },
		{ psize, 0, (N - 1) * psize }, { 8, 8, 8 }, { 3 * psize - 8, 16, 16 },
		{ N * psize - 1, 1, 1 }, { N * psize - 1, 0, 1 }, { 1, 0, N * psize - 1 },
	};
	struct zcipc_stats before, after;
	struct zcipc_region_query q;
	struct zcipc_notify cmd;
	struct zcipc_recv m;
	unsigned int i, way;
	__u64 val;

	/* Both have touched all of it. */
	test_fill(&self->a, self->src.p, N, 1);
	test_check(&self->b, self->dst.p, N, 1);
	test_stats(&self->base.ep, &before);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		/* There, back, and back to the one who need not be told which one it was. */
		for (way = 0; way < 3; way++) {
			struct ep *from = way ? &self->b : &self->a;
			struct ep *to = way ? &self->a : &self->b;
			struct buf *tx = way ? &self->dst : &self->src;
			struct buf *rx = way ? &self->src : &self->dst;
			__u64 at = ranges[i].offset / 8 * 8;

			ASSERT_EQ(0, ep_write(from, tx->p + at, 10 * i + way));
			cmd = notify_cmd(to, tx->cap, way == 2 ? 0 : rx->cap, ranges[i].offset,
					 ranges[i].len);
			cmd.cookie = 100 + 10 * i + way;
			test_notify(from, &cmd);
			test_recv(to, &m);
			EXPECT_EQ(ZCIPC_NOTIFIED, m.type);
			EXPECT_EQ(RIGHTS_ALL, m.rights);
			EXPECT_EQ(rx->cap, m.cap);
			EXPECT_EQ(self->src.region, m.region);
			EXPECT_EQ((uintptr_t)rx->p + ranges[i].offset, m.addr);
			EXPECT_EQ(ranges[i].offset, m.offset);
			EXPECT_EQ(ranges[i].want, m.len);
			EXPECT_EQ(cmd.cookie, m.cookie);
			EXPECT_EQ(from->id, m.sender);
			EXPECT_EQ(from->pid, m.sender_pid);
			EXPECT_EQ(getuid(), m.sender_uid);
			EXPECT_EQ(0, m.message_flags);
			EXPECT_EQ(0, m.pending);
			ASSERT_EQ(0, ep_read(to, (char *)(uintptr_t)m.addr -
						 ranges[i].offset % 8, &val));
			EXPECT_EQ(10 * i + way, val);
			test_err_recv(EAGAIN, to, &m);
		}
	}
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	EXPECT_EQ(before.notifications + i * way, after.notifications);
	EXPECT_EQ(before.received + i * way, after.received);
	EXPECT_EQ(before.grants, after.grants);
	EXPECT_EQ(before.transfers, after.transfers);
	EXPECT_EQ(before.shootdowns, after.shootdowns);
	EXPECT_EQ(before.faults, after.faults);
	EXPECT_EQ(before.failures, after.failures);
	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ(2, q.caps);
	EXPECT_EQ(1, q.derived);
	/* It counts for the sender and the region, too. */
	after = (struct zcipc_stats){ .size = sizeof(after), .flags = ZCIPC_STATS_ENDPOINT };
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_STATS, &after));
	EXPECT_EQ(i, after.notifications);
	after = (struct zcipc_stats){ .size = sizeof(after), .flags = ZCIPC_STATS_REGION,
				      .cap = self->src.cap };
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_STATS, &after));
	EXPECT_EQ(i * way, after.notifications);
}

/* Offsets are those of each one's own capability, addresses those of the receiver. */
TEST_F(notify, part)
{
	struct zcipc_notify cmd;
	struct buf part;
	char *p, *again;

	test_give_part(&self->a, &self->b, self->src.cap, 1, 2, RIGHTS_RW, &part);
	/* Nowhere. */
	cmd = notify_cmd(&self->b, self->src.cap, part.cap, psize + 5, 7);
	test_notify(&self->a, &cmd);
	test_told(&self->b, part.cap, NULL, 5, 7);
	/* It counts where it is when it is received. */
	test_notify(&self->a, &cmd);
	test_map(&self->b, part.cap, 0, 1, ZCIPC_RIGHT_READ, &p);
	test_told(&self->b, part.cap, p + 5, 5, 7);
	/* Not all of it is there. */
	cmd = notify_cmd(&self->b, self->src.cap, part.cap, psize, 2 * psize);
	test_notify(&self->a, &cmd);
	test_told(&self->b, part.cap, NULL, 0, 2 * psize);
	cmd.offset = 2 * psize;
	cmd.len = 1;
	test_notify(&self->a, &cmd);
	test_told(&self->b, part.cap, NULL, psize, 1);
	test_map(&self->b, part.cap, 1, 1, ZCIPC_RIGHT_READ, &again);
	test_notify(&self->a, &cmd);
	test_told(&self->b, part.cap, again, psize, 1);
	test_unmap(&self->b, again);
	test_notify(&self->a, &cmd);
	test_unmap(&self->b, p);
	test_told(&self->b, part.cap, NULL, psize, 1);
	/* To the end of what the sender has. */
	test_tell(&self->b, &self->a, part.cap, self->src.cap, 0);
	test_told(&self->a, self->src.cap, self->src.p + psize, psize, 2 * psize);

	/* The peer's has not all of it. */
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap, part.cap, 0);
	cmd = notify_cmd(&self->b, self->src.cap, part.cap, psize - 1, 2);
	test_err_notify(ENOENT, &self->a, &cmd);
	cmd = notify_cmd(&self->b, self->src.cap, part.cap, 3 * psize - 1, 2);
	test_err_notify(ENOENT, &self->a, &cmd);
	cmd.len = 1;
	test_notify(&self->a, &cmd);
	test_told(&self->b, part.cap, NULL, 2 * psize - 1, 1);
	test_waiting(0);
}

/* The file offset of an executable mapping is no address. */
TEST_F(notify, executable)
{
	struct zcipc_map map = { .size = sizeof(map), .rights = ZCIPC_RIGHT_READ |
							       ZCIPC_RIGHT_EXEC };
	struct buf code;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &code);
	map.cap = code.cap;
	TEST_OK(zc_ioctl(&self->b, ZCIPC_IOC_MAP, &map));
	test_tell(&self->a, &self->b, self->src.cap, code.cap, 0);
	test_told(&self->b, code.cap, NULL, 0, N * psize);
}

/* With the right to read and no other, also to oneself. */
TEST_F(notify, rights)
{
	struct zcipc_recv m;
	struct buf reader;

	test_give(&self->a, &self->b, self->src.cap, ZCIPC_RIGHT_READ, &reader);
	test_tell(&self->b, &self->a, reader.cap, self->src.cap, 1);
	test_told(&self->a, self->src.cap, self->src.p, 0, N * psize);
	test_tell(&self->a, &self->b, self->src.cap, reader.cap, 2);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_RIGHT_READ, m.rights);
	EXPECT_EQ(2, m.cookie);
	test_tell(&self->b, &self->b, reader.cap, self->dst.cap, 3);
	test_told(&self->b, self->dst.cap, self->dst.p, 0, N * psize);
	test_tell(&self->a, &self->a, self->src.cap, self->src.cap, 4);
	test_told(&self->a, self->src.cap, self->src.p, 0, N * psize);
}

/* G3, G6: whatever is wrong, nobody hears of it, nor what others have. */
TEST_F(notify, errors)
{
	struct zcipc_endpoint_config listed = {
		.flags = ZCIPC_CONFIG_POLICY, .policy = ZCIPC_POLICY_LISTED, .nsenders = 1,
	};
	struct zcipc_stats before, after;
	struct buf other, theirs, third;
	struct zcipc_notify cmd;
	struct zcipc_recv m;
	struct ep c;

	test_open(&c, WINDOW_PAGES, O_NONBLOCK);
	test_create(&self->a, N, &other);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, other.cap, &theirs);
	test_pass(&self->b, &c, ZCIPC_SHARE, self->dst.cap, &third);
	test_stats(&self->base.ep, &before);

	/* The range. */
	cmd = notify_cmd(&self->b, self->src.cap, self->dst.cap, N * psize, 0);
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.offset = ~0ULL;
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.len = 1;
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.len = 2;
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.offset = 0;
	cmd.len = N * psize + 1;
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.len = ~0ULL;
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.offset = 1;
	test_err_notify(EINVAL, &self->a, &cmd);
	cmd.offset = psize;
	cmd.len = (N - 1) * psize + 1;
	test_err_notify(EINVAL, &self->a, &cmd);

	/* The caller's capability. */
	test_err_tell(ENOENT, &self->a, &self->b, 0, self->dst.cap, 0);
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap ^ 1ULL << 62, self->dst.cap, 0);
	test_err_tell(ENOENT, &self->a, &self->b, self->dst.cap, self->dst.cap, 0);

	/* The peer's. */
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap, self->src.cap, 0);
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap, ~0ULL, 0);
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap, theirs.cap, 0);
	test_err_tell(ENOENT, &self->a, &self->b, other.cap, self->dst.cap, 0);
	test_err_tell(ENOENT, &self->a, &c, self->src.cap, self->dst.cap, 0);
	/* Derived from nothing, or not from the peer's. */
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap, 0, 0);
	test_err_tell(ENOENT, &self->b, &c, self->dst.cap, 0, 0);
	test_err_tell(ENOENT, &c, &self->a, third.cap, 0, 0);
	test_tell(&c, &self->b, third.cap, 0, 0);
	test_told(&self->b, self->dst.cap, self->dst.p, 0, N * psize);

	/* The peer. */
	cmd = notify_cmd(&self->b, self->src.cap, self->dst.cap, 0, 0);
	cmd.peer = 0;
	test_err_notify(ENOENT, &self->a, &cmd);
	cmd.peer = ~0ULL;
	test_err_notify(ENOENT, &self->a, &cmd);
	cmd.flags = ZCIPC_F_PEER_FD;
	test_err_notify(EBADF, &self->a, &cmd);
	cmd.peer = 0;
	test_err_notify(EBADF, &self->a, &cmd);
	test_policy(&c, ZCIPC_POLICY_NOBODY);
	test_err_tell(EPERM, &self->a, &c, self->src.cap, third.cap, 0);
	test_err_tell(EPERM, &self->a, &c, self->src.cap, 0, 0);
	test_err_tell(EPERM, &self->a, &c, 0, 0, 0);
	/* Whoever was given the descriptor need not be accepted. */
	cmd = notify_cmd(&c, self->src.cap, third.cap, 0, 0);
	cmd.peer = c.fd;
	cmd.flags = ZCIPC_F_PEER_FD;
	test_notify(&self->a, &cmd);
	test_told(&c, third.cap, third.p, 0, N * psize);
	listed.senders = (uintptr_t)&self->b.id;
	test_config(&c, &listed);
	test_err_tell(EPERM, &self->a, &c, self->src.cap, third.cap, 0);
	test_tell(&self->b, &c, self->dst.cap, third.cap, 0);
	test_told(&c, third.cap, third.p, 0, N * psize);

	test_err_recv(EAGAIN, &self->a, &m);
	test_err_recv(EAGAIN, &self->b, &m);
	test_err_recv(EAGAIN, &c, &m);
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	EXPECT_EQ(before.notifications + 3, after.notifications);
	EXPECT_EQ(before.failures + 27, after.failures);

	/* What is gone. */
	test_drop(&c, third.cap);
	test_err_tell(ESTALE, &c, &self->b, third.cap, 0, 0);
	test_err_tell(ENOENT, &self->b, &c, self->dst.cap, third.cap, 0);
	ep_end(&c);
	test_err_tell(ESRCH, &self->b, &c, self->dst.cap, third.cap, 0);
}

/* What becomes of messages about a capability that goes before they are received? */
FIXTURE(lost)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, dst, other, kept;
};

FIXTURE_SETUP(lost)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->c, WINDOW_PAGES, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &self->dst);
	test_create(&self->a, N, &self->other);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->other.cap, &self->kept);
	test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, 1);
	test_tell(&self->a, &self->b, self->other.cap, self->kept.cap, 2);
	test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, 3);
	test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, 4);
	test_waiting(4);
}

FIXTURE_TEARDOWN_BASE(lost)

/* Of the four only the second is there. */
#define test_only_kept()						\
do {									\
	test_waiting(1);						\
	test_told(&self->b, self->kept.cap, self->kept.p, 0, N * psize);	\
} while (0)

TEST_F(lost, dropped)
{
	struct zcipc_recv m;

	test_drop(&self->b, self->dst.cap);
	test_only_kept();
	test_err_recv(EAGAIN, &self->b, &m);
}

TEST_F(lost, revoked)
{
	struct zcipc_recv m;
	__u64 n;

	test_revoke(&self->a, &self->b, self->dst.cap, 0, &n);
	EXPECT_EQ(1, n);
	test_waiting(2);
	test_told(&self->b, self->kept.cap, self->kept.p, 0, N * psize);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(self->dst.cap, m.cap);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* The sender's own is not what they are about. */
TEST_F(lost, sender_dropped)
{
	struct zcipc_recv m;
	unsigned int i;

	test_drop(&self->a, self->src.cap);
	test_drop(&self->a, self->other.cap);
	for (i = 1; i <= 4; i++) {
		test_recv(&self->b, &m);
		EXPECT_EQ(ZCIPC_NOTIFIED, m.type);
		EXPECT_EQ(i, m.cookie);
	}
	/* It stands alone now. */
	test_err_tell(ENOENT, &self->b, &self->a, self->dst.cap, 0, 0);
}

/* The capability goes to somebody else, under another name. */
TEST_F(lost, moved)
{
	struct zcipc_transfer cmd = transfer_cmd(&self->c, ZCIPC_MOVE, self->dst.cap, 0, 0, 0);
	struct zcipc_recv m;

	cmd.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->b, &cmd);
	test_told(&self->b, self->kept.cap, self->kept.p, 0, N * psize);
	test_err_recv(EAGAIN, &self->b, &m);
	test_recv(&self->c, &m);
	EXPECT_EQ(ZCIPC_MOVE, m.type);
	test_err_recv(EAGAIN, &self->c, &m);
	test_recv(&self->a, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	test_waiting(0);
}

/* A MOVE takes a part: who had no more is told, who had more keeps that. */
TEST_F(lost, part_moved)
{
	struct zcipc_transfer cmd = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 2, 0);
	struct zcipc_notify first = notify_cmd(&self->b, self->src.cap, 0, 0, psize);
	struct zcipc_recv m;
	struct buf part;

	/* Behind what is in the queue. */
	cmd.flags = ZCIPC_F_REVOKE_OTHERS;
	test_grant_rights(&self->a, &self->b, self->other.cap, ZCIPC_RIGHT_READ);
	while (!zc_recv(&self->b, &m) && m.type != ZCIPC_GRANTED)
		;
	test_give_part(&self->a, &self->b, self->src.cap, 0, 2, RIGHTS_RW, &part);
	first.peer_cap = part.cap;
	test_notify(&self->a, &first);
	first.peer_cap = self->dst.cap;
	test_notify(&self->a, &first);
	test_transfer(&self->a, &cmd);
	test_told(&self->b, self->dst.cap, self->dst.p, 0, psize);
	test_gone(&self->b, self->dst.p, 2);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(part.cap, m.cap);
	test_err_recv(EAGAIN, &self->b, &m);
	/* It is not looked at. */
	test_notify(&self->a, &first);
	test_told(&self->b, self->dst.cap, self->dst.p, 0, psize);
}

/* G8: what waits for one who dies is nobody's. */
TEST_F(lost, receiver_dies)
{
	struct zcipc_recv m;

	ep_end(&self->b);
	test_err_recv(EAGAIN, &self->a, &m);
	test_waiting(0);
	test_err_tell(ESRCH, &self->a, &self->b, self->src.cap, self->dst.cap, 0);
}

/* What one who is dead has said is still true. */
TEST_F(lost, sender_dies)
{
	struct zcipc_recv m;
	unsigned int i;

	ep_end(&self->a);
	for (i = 1; i <= 4; i++) {
		test_recv(&self->b, &m);
		EXPECT_EQ(ZCIPC_NOTIFIED, m.type);
		EXPECT_EQ(i, m.cookie);
		EXPECT_EQ(self->a.id, m.sender);
	}
	test_fill(&self->b, self->dst.p, N, 2);
}

/* A peer process that is killed, with and without messages. */
TEST_F(notify, killed)
{
	unsigned int i, j;
	struct buf dst;
	struct ep c;

	for (i = 0; i < 4; i++) {
		test_start(&c, true, WINDOW_PAGES);
		test_pass(&self->a, &c, ZCIPC_SHARE, self->src.cap, &dst);
		for (j = 0; j < 10 * i; j++)
			test_tell(&self->a, &c, self->src.cap, dst.cap, j);
		ep_end(&c);
		ASSERT_TRUE(wait_until(tell(&self->a, &c, self->src.cap, dst.cap, 0) &&
				       errno == ESRCH));
	}
}

/* G11, G12: a full queue. */
TEST_F(notify, full)
{
	struct zcipc_recv m;
	struct buf dst;
	unsigned int i;

	test_depth(&self->b, 3);
	for (i = 0; i < 3; i++)
		test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, i);
	test_err_tell(EAGAIN, &self->a, &self->b, self->src.cap, self->dst.cap, 3);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, ZCIPC_RIGHT_READ);
	/* Nothing of what is wrong can be waited for. */
	test_err_tell(ENOENT, &self->a, &self->b, self->src.cap, self->dst.cap + 1, 3);
	for (i = 0; i < 3; i++) {
		test_recv(&self->b, &m);
		EXPECT_EQ(i, m.cookie);
		EXPECT_EQ(2 - i, m.pending);
	}
	/* What nobody will hear takes no room. */
	test_give(&self->a, &self->b, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	for (i = 0; i < 3; i++)
		test_tell(&self->a, &self->b, self->src.cap, dst.cap, i);
	test_err_tell(EAGAIN, &self->a, &self->b, self->src.cap, self->dst.cap, 3);
	test_drop(&self->b, dst.cap);
	for (i = 0; i < 3; i++)
		test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, i);
	test_waiting(3);
}

/* As many as a queue can have. */
TEST_F(notify, many)
{
	struct zcipc_recv m;
	unsigned int i;

	for (i = 0; i < 1024; i++)
		test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, i);
	test_err_tell(EAGAIN, &self->a, &self->b, self->src.cap, self->dst.cap, i);
	for (i = 0; i < 512; i++) {
		test_recv(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
	}
	test_waiting(512);
	test_drop(&self->b, self->dst.cap);
	test_waiting(0);
	test_err_recv(EAGAIN, &self->b, &m);
}

struct waiter {
	struct ep *from, *to;
	__u64 cap, peer_cap;
	pthread_t thread;
	volatile pid_t tid;
	int err;
	struct zcipc_recv m;
};

static void *tell_thread(void *arg)
{
	struct waiter *w = arg;

	w->tid = gettid();
	w->err = tell(w->from, w->to, w->cap, w->peer_cap, 0x3a17) ? errno : 0;
	return NULL;
}

static void *recv_thread(void *arg)
{
	struct waiter *w = arg;

	w->tid = gettid();
	w->err = zc_recv(w->to, &w->m) ? errno : 0;
	return NULL;
}

/* Starts a thread, which is asleep in its call when this returns. */
static void waiter_start(struct __test_metadata *_metadata, struct waiter *w,
			 void *(*fn)(void *arg))
{
	w->tid = 0;
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, fn, w));
	ASSERT_TRUE(wait_until(thread_sleeps(w->tid)));
}

static void *revoke_thread(void *arg)
{
	struct waiter *w = arg;
	__u64 n;

	w->err = zc_revoke(w->from, w->to, w->peer_cap, 0, &n) ? errno : 0;
	return NULL;
}

/* G6: what is dead is not told, though its capability is still in the table, and told later. */
TEST_F(lost, revoked_halfway)
{
	struct waiter w = { .from = &self->a, .to = &self->b, .peer_cap = self->dst.cap };
	struct zcipc_recv m;

	need_points();
	point_stop("revoked");
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, revoke_thread, &w));
	ASSERT_TRUE(point_reached());
	test_told(&self->b, self->kept.cap, self->kept.p, 0, N * psize);
	point_go();
	ASSERT_TRUE(wait_until(!zc_recv(&self->b, &m)));
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(self->dst.cap, m.cap);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.err);
	test_waiting(0);
}

/* G12: the sender waits for room until there is some, a signal comes, or the peer dies. */
TEST_F(notify, sender_waits)
{
	struct zcipc_endpoint_config fail = { .flags = ZCIPC_CONFIG_FULL,
					      .full = ZCIPC_FULL_FAIL };
	struct sigaction action = { .sa_handler = on_signal };
	struct waiter w = { .from = &self->a, .to = &self->b, .cap = self->src.cap,
			    .peer_cap = self->dst.cap };
	struct zcipc_recv m;

	sigaction(SIGUSR1, &action, NULL);
	fcntl(self->a.fd, F_SETFL, O_RDWR);
	test_depth(&self->b, 1);
	test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, 0);

	waiter_start(_metadata, &w, tell_thread);
	pthread_kill(w.thread, SIGUSR1);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(EINTR, w.err);
	test_waiting(1);

	waiter_start(_metadata, &w, tell_thread);
	test_recv(&self->b, &m);
	EXPECT_EQ(0, m.cookie);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.err);

	/* What it is about goes, and with it what took the room. */
	waiter_start(_metadata, &w, tell_thread);
	test_drop(&self->b, self->dst.cap);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(ENOENT, w.err);
	test_err_recv(EAGAIN, &self->b, &m);

	/* The peer does not want anybody to wait. */
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &self->dst);
	w.peer_cap = self->dst.cap;
	test_tell(&self->a, &self->b, self->src.cap, self->dst.cap, 0);
	waiter_start(_metadata, &w, tell_thread);
	test_config(&self->b, &fail);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(EAGAIN, w.err);
	test_err_tell(EAGAIN, &self->a, &self->b, self->src.cap, self->dst.cap, 0);
	fail.full = ZCIPC_FULL_WAIT;
	test_config(&self->b, &fail);

	waiter_start(_metadata, &w, tell_thread);
	ep_end(&self->b);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(ESRCH, w.err);
}

/* G12: a receiver that sleeps is woken up. */
TEST_F(notify, receiver_waits)
{
	struct waiter w = { .to = &self->a };

	fcntl(self->a.fd, F_SETFL, O_RDWR);
	waiter_start(_metadata, &w, recv_thread);
	test_fill(&self->b, self->dst.p, N, 7);
	test_tell(&self->b, &self->a, self->dst.cap, 0, 8);
	pthread_join(w.thread, NULL);
	ASSERT_EQ(0, w.err);
	EXPECT_EQ(ZCIPC_NOTIFIED, w.m.type);
	EXPECT_EQ(8, w.m.cookie);
	test_check(&self->a, (char *)(uintptr_t)w.m.addr, N, 7);
}

/* Memory that was imported is at its own address, also when the sender does not know its token. */
TEST_F(notify, imported)
{
	struct zcipc_recv m;
	struct buf dst;
	char *p;

	p = memory_touched(N);
	test_direct(&self->a, &self->b, ZCIPC_SHARE, p, N * psize, 0);
	test_take(&self->b, &dst);
	test_tell(&self->b, &self->a, dst.cap, 0, 0);
	test_recv(&self->a, &m);
	EXPECT_EQ((uintptr_t)p, m.addr);
	EXPECT_EQ(dst.region, m.region);
	/* There are still those to be lost. */
	test_tell(&self->b, &self->a, dst.cap, 0, 0);
	munmap(p, N * psize);
	test_err_recv(EAGAIN, &self->a, &m);
	test_err_tell(ENOENT, &self->b, &self->a, dst.cap, 0, 0);
}

/* Shared memory, which is mapped when the message that brings it is received. */
TEST_F(notify, file)
{
	struct zcipc_recv m;
	struct buf src;
	char *p;

	p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	test_import(&self->a, p, N, &src);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	test_tell(&self->a, &self->b, src.cap, m.cap, 0);
	test_told(&self->b, m.cap, m.addr, 0, N * psize);
	test_tell(&self->b, &self->a, m.cap, 0, 0);
	/* The owner's mapping is none of a region. */
	test_told(&self->a, src.cap, NULL, 0, N * psize);
	munmap(p, N * psize);
	/* It keeps the endpoint. */
	if (!variant->remote)
		munmap((void *)(uintptr_t)m.addr, N * psize);
}

/* --- races */

struct racer {
	struct ep *from, *to;
	__u64 cap;
	volatile __u64 peer_cap;
	volatile bool stop;
	unsigned int told;
	int err;
};

static void *racer_thread(void *arg)
{
	struct racer *r = arg;

	while (!r->stop && !r->err) {
		if (!tell(r->from, r->to, r->cap, r->peer_cap, 0))
			r->told++;
		else if (errno != ENOENT && errno != EAGAIN && errno != ESTALE)
			r->err = errno;
	}
	return NULL;
}

/*
 * G6: when REVOKE or DROP has returned there is no message about what has gone, nor does one come
 * while others go on notifying.
 */
TEST_F(notify, revoked_meanwhile)
{
	struct racer r[2] = {
		{ .from = &self->a, .to = &self->b, .cap = self->src.cap },
		{ .from = &self->a, .to = &self->b, .cap = self->src.cap },
	};
	unsigned int i, seen = 0, rounds = loops(variant->remote ? 200 : 1000);
	pthread_t thread[2];
	struct zcipc_recv m;
	struct buf dst;
	__u64 n;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, racer_thread, &r[i]));
	for (i = 0; i < rounds; i++) {
		struct zcipc_grant cmd = grant_cmd(&self->b, self->src.cap, 0, 0,
						   ZCIPC_RIGHT_READ);

		test_grant(&self->a, &cmd);
		test_take(&self->b, &dst);
		ASSERT_EQ(cmd.peer_cap, dst.cap);
		r[0].peer_cap = dst.cap;
		r[1].peer_cap = dst.cap;
		/* One at least. */
		ASSERT_TRUE(wait_until(!zc_recv(&self->b, &m)));
		ASSERT_EQ(ZCIPC_NOTIFIED, m.type);
		ASSERT_EQ(dst.cap, m.cap);
		ASSERT_EQ(0, m.addr);
		if (i & 1)
			test_drop(&self->b, dst.cap);
		else
			test_revoke(&self->a, &self->b, dst.cap, 0, &n);
		while (!zc_recv(&self->b, &m)) {
			seen += m.type == ZCIPC_REVOKED;
			ASSERT_EQ(ZCIPC_REVOKED, m.type);
			ASSERT_EQ(dst.cap, m.cap);
		}
	}
	EXPECT_EQ((rounds + 1) / 2, seen);
	for (i = 0; i < 2; i++) {
		r[i].stop = true;
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, r[i].err) TH_LOG("%s", strerror(r[i].err));
	}
	EXPECT_GE(r[0].told + r[1].told, rounds);
}

/* G8: both ways between processes of which one is killed, at any moment. */
TEST_F(notify, killed_meanwhile)
{
	unsigned int i, rounds = loops(50);
	struct racer r = { .from = &self->a };
	pthread_t thread;
	struct buf dst;
	struct ep c;

	if (variant->remote)
		SKIP(return, "there is a process in any case");
	for (i = 0; i < rounds; i++) {
		test_start(&c, true, WINDOW_PAGES);
		test_pass(&self->a, &c, ZCIPC_SHARE, self->src.cap, &dst);
		r = (struct racer){ .from = &self->a, .to = &c, .cap = self->src.cap,
				    .peer_cap = dst.cap };
		ASSERT_EQ(0, pthread_create(&thread, NULL, racer_thread, &r));
		ASSERT_TRUE(wait_until(*(volatile unsigned int *)&r.told > i || r.err));
		ep_end(&c);
		ASSERT_TRUE(wait_until(*(volatile int *)&r.err));
		pthread_join(thread, NULL);
		ASSERT_EQ(ESRCH, r.err);
	}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Capabilities that are derived from others, and taken back; mappings that are executable; and whom
 * an endpoint accepts.
 *
 * Guarantees: G2 (MOVE from others, REVOKE: no mapping outlives the call), G3, G6 rights and
 * identity, G8 death at any point, G11 limits, G12 waiting.
 * Attacks: deriving upwards, use of what was revoked or dropped, or is somebody else's; execution
 * without the right, also by mprotect() (13). Many grants and drops, revoking while others map,
 * fault, transfer, grant and receive, trees that are deep and wide, a revoke that is killed (26).
 * Descriptors sent over a socket (27). A quota that somebody else's transfers use up, a queue that
 * nobody empties (28). Foreign users and namespaces, a policy that changes while a sender waits
 * (29). SIGKILL at the points of a revoke (30).
 */
#include <poll.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "zcipc_utils.h"

#define N 16
#define NOBODY 65534
#define RIGHTS_R	ZCIPC_RIGHT_READ
#define RIGHTS_RG	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_GRANT)
#define RIGHTS_RX	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC)

/* --- grants */

FIXTURE(caps)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
};

FIXTURE_VARIANT(caps)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(caps, local) { .remote = false, };
FIXTURE_VARIANT_ADD(caps, process) { .remote = true, };

FIXTURE_SETUP(caps)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 256));
	test_open(&self->c, 256, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(caps)

/* What the message says, and that nothing but a capability has come to be. */
TEST_F(caps, granted)
{
	struct zcipc_grant g = grant_cmd(&self->b, self->src.cap, 4, 3, RIGHTS_RW);
	struct zcipc_stats before, after;
	struct zcipc_region_query q;
	struct zcipc_recv m;

	test_stats(&self->base.ep, &before);
	test_grant(&self->a, &g);
	test_recv(&self->b, &m);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(ZCIPC_GRANTED, m.type);
	EXPECT_EQ(g.peer_cap, m.cap);
	EXPECT_EQ(RIGHTS_RW, m.rights);
	EXPECT_EQ(self->src.region, m.region);
	EXPECT_EQ(0, m.addr);
	EXPECT_EQ(3 * psize, m.len);
	EXPECT_EQ(g.cookie, m.cookie);
	EXPECT_EQ(self->a.id, m.sender);
	EXPECT_EQ(getpid(), m.sender_pid);
	EXPECT_EQ(geteuid(), m.sender_uid);
	EXPECT_EQ(0, m.message_flags);
	EXPECT_EQ(0, m.pending);
	EXPECT_EQ(before.caps + 1, after.caps);
	EXPECT_EQ(before.maps, after.maps);
	EXPECT_EQ(before.frames, after.frames);
	EXPECT_EQ(before.regions, after.regions);

	test_query(&self->b, m.cap, &q);
	EXPECT_EQ(self->src.region, q.region);
	EXPECT_EQ(4 * psize, q.offset);
	EXPECT_EQ(3 * psize, q.len);
	EXPECT_EQ(RIGHTS_RW, q.rights);
	EXPECT_EQ(2, q.caps);
	EXPECT_EQ(1, q.maps);
	EXPECT_EQ(1, q.depth);
	EXPECT_EQ(0, q.derived);
	test_tree(&self->a, self->src.cap, 0, 1);
	test_quiet(&self->b);
}

/* 13: MAP gives what the capability has, and no more; the memory is the granter's. */
TEST_F(caps, map_what_was_granted)
{
	static const __u32 kinds[] = { RIGHTS_R, RIGHTS_RW, RIGHTS_RX };
	struct buf dst;
	__u32 have;
	size_t i;
	char *p;

	for (have = 0; have <= RIGHTS_ALL; have++) {
		if (!(have & ZCIPC_RIGHT_READ))
			continue;
		test_give(&self->a, &self->b, self->src.cap, have, &dst);
		for (i = 0; i < ARRAY_SIZE(kinds); i++) {
			if (kinds[i] & ~have) {
				test_err_map(EACCES, &self->b, dst.cap, 0, 0, kinds[i], &p);
				continue;
			}
			test_map(&self->b, dst.cap, 0, 0, kinds[i], &p);
			if (kinds[i] == RIGHTS_RX)
				continue;
			test_check(&self->b, p, N, 1);
			ASSERT_EQ(kinds[i] == RIGHTS_RW ? 0 : SIGBUS,
				  ep_write(&self->b, p, pattern(1, 0, 0)));
		}
		test_drop(&self->b, dst.cap);
	}
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RW, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_fill(&self->b, p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
}

/* Parts, and parts of parts. */
TEST_F(caps, ranges)
{
	static const size_t bad[][2] = { { 0, 9 }, { 8, 0 }, { 7, 2 }, { 1UL << 40, 1 } };
	struct zcipc_grant g;
	struct buf dst, next;
	size_t i;
	char *p;

	test_give_part(&self->a, &self->b, self->src.cap, 4, 8, RIGHTS_RG, &dst);
	EXPECT_EQ(8, dst.npages);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_check_from(&self->b, p, 4, 8, 1);
	test_map(&self->b, dst.cap, 2, 3, RIGHTS_R, &p);
	test_check_from(&self->b, p, 6, 3, 1);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		test_err_map(EINVAL, &self->b, dst.cap, bad[i][0], bad[i][1], RIGHTS_R, &p);
		g = grant_cmd(&self->c, dst.cap, bad[i][0], bad[i][1], RIGHTS_R);
		test_err_grant(EINVAL, &self->b, &g);
		test_err_send_part(EINVAL, &self->b, &self->c, ZCIPC_COPY, dst.cap, bad[i][0],
				   bad[i][1]);
	}
	g = grant_cmd(&self->c, dst.cap, 0, 1, RIGHTS_R);
	g.offset = 1;
	test_err_grant(EINVAL, &self->b, &g);
	g.offset = 0;
	g.len = psize + 1;
	test_err_grant(EINVAL, &self->b, &g);

	test_give_part(&self->b, &self->c, dst.cap, 6, 0, RIGHTS_R, &next);
	EXPECT_EQ(2, next.npages);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &p);
	test_check_from(&self->c, p, 10, 2, 1);
	test_tree(&self->c, next.cap, 2, 0);
	test_tree(&self->b, dst.cap, 1, 1);
	test_tree(&self->a, self->src.cap, 0, 2);
}

/* 13: nobody derives upwards, for every set of rights that can be had and every one asked for. */
TEST_F(caps, rights_never_grow)
{
	struct buf dst, next;
	__u32 have, want;

	for (have = 0; have <= RIGHTS_ALL; have++) {
		if (!(have & ZCIPC_RIGHT_READ))
			continue;
		test_give(&self->a, &self->b, self->src.cap, have, &dst);
		for (want = 0; want <= RIGHTS_ALL; want++) {
			if (!(want & ZCIPC_RIGHT_READ))
				continue;
			if (!(have & ZCIPC_RIGHT_GRANT) || want & ~have) {
				test_err_grant_rights(EACCES, &self->b, &self->c, dst.cap, want);
				test_err_send_rights(EACCES, &self->b, &self->c, ZCIPC_SHARE,
						     dst.cap, want);
			} else {
				struct zcipc_region_query q;

				test_give(&self->b, &self->c, dst.cap, want, &next);
				test_query(&self->c, next.cap, &q);
				ASSERT_EQ(want, q.rights);
				test_drop(&self->c, next.cap);
			}
		}
		test_drop(&self->b, dst.cap);
	}
	test_quiet(&self->c);
	test_users(&self->a, self->src.cap, 1, 1);
}

/* G3: what fails has changed nothing. */
TEST_F(caps, grant_fails)
{
	struct zcipc_stats before, after;
	struct buf foreign, old;
	struct zcipc_grant g;
	static struct ep dead;

	test_open(&dead, 1, 0);
	ep_end(&dead);
	test_create(&self->c, N, &foreign);
	test_create(&self->a, N, &old);
	test_drop(&self->a, old.cap);
	test_stats(&self->base.ep, &before);

	test_err_grant_rights(ESRCH, &self->a, &dead, self->src.cap, RIGHTS_R);
	dead.id = 1ULL << 60;
	test_err_grant_rights(ENOENT, &self->a, &dead, self->src.cap, RIGHTS_R);
	dead.id = 0;
	test_err_grant_rights(ENOENT, &self->a, &dead, self->src.cap, RIGHTS_R);
	test_err_grant_rights(ENOENT, &self->a, &self->b, foreign.cap, RIGHTS_R);
	test_err_grant_rights(ENOENT, &self->a, &self->b, 0, RIGHTS_R);
	test_err_grant_rights(ESTALE, &self->a, &self->b, old.cap, RIGHTS_R);
	g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_R);
	g.flags = ZCIPC_F_STRICT;
	test_err_grant(EOPNOTSUPP, &self->a, &g);
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));

	/* A hole. */
	test_send_part(&self->a, &self->a, ZCIPC_MOVE, self->src.cap, 2, 1);
	test_err_grant_rights(ENOENT, &self->a, &self->b, self->src.cap, RIGHTS_R);
	g = grant_cmd(&self->b, self->src.cap, 0, 3, RIGHTS_R);
	test_err_grant(ENOENT, &self->a, &g);
	g = grant_cmd(&self->b, self->src.cap, 3, 0, RIGHTS_R);
	test_grant(&self->a, &g);
	test_tree(&self->a, self->src.cap, 0, 1);
}

TEST_F(caps, grant_to_oneself)
{
	struct buf mine, dst;
	char *p;
	__u64 n;

	test_create(&self->b, 2, &mine);
	test_fill(&self->b, mine.p, 2, 5);
	test_give(&self->b, &self->b, mine.cap, RIGHTS_R, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_check(&self->b, p, 2, 5);
	test_touch_write(SIGBUS, &self->b, p);
	test_tree(&self->b, dst.cap, 1, 0);
	/* One's own, by the long way, too. */
	test_revoke(&self->b, &self->b, dst.cap, 0, &n);
	ASSERT_EQ(1, n);
	test_gone(&self->b, p, 2);
	test_stale(&self->b, dst.cap);
	test_check(&self->b, mine.p, 2, 5);
	/* Whoever revokes is not told. */
	test_quiet(&self->b);
}

/* 13, G6: tokens mean something to their owner alone. */
TEST_F(caps, foreign_tokens)
{
	struct zcipc_region_query q;
	struct buf dst;
	__u64 n;
	char *p;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &dst);
	test_err_query(ENOENT, &self->c, dst.cap, &q);
	test_err_map(ENOENT, &self->c, dst.cap, 0, 0, RIGHTS_R, &p);
	test_err_send(ENOENT, &self->c, &self->c, ZCIPC_COPY, dst.cap);
	test_err_grant_rights(ENOENT, &self->c, &self->c, dst.cap, RIGHTS_R);
	test_err_drop(ENOENT, &self->c, dst.cap);
	test_err_revoke(ENOENT, &self->c, NULL, dst.cap, 0, &n);
	test_err_revoke(ENOENT, &self->c, &self->b, dst.cap, 0, &n);
	test_err_query(ENOENT, &self->a, dst.cap, &q);
	test_err_query(ENOENT, &self->b, self->src.cap, &q);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_check(&self->b, p, N, 1);
}

/* --- pull: the grantee transfers what was granted to it, to itself and to others */

TEST_F(caps, pull_copy)
{
	struct buf dst, copy, third;
	__u64 n;

	test_give_part(&self->a, &self->b, self->src.cap, 4, 8, RIGHTS_R, &dst);
	test_pass(&self->b, &self->b, ZCIPC_COPY, dst.cap, &copy);
	test_pass(&self->b, &self->c, ZCIPC_COPY, dst.cap, &third);
	test_fill(&self->a, self->src.p, N, 2);
	test_check_from(&self->b, copy.p, 4, 8, 1);
	test_check_from(&self->c, third.p, 4, 8, 1);
	/* Snapshots belong to whom they were given, from the beginning. */
	test_tree(&self->b, copy.cap, 0, 0);
	test_fill(&self->b, copy.p, 8, 3);
	test_revoke(&self->a, NULL, self->src.cap, 0, &n);
	ASSERT_EQ(2, n);
	test_check(&self->b, copy.p, 8, 3);
	test_check_from(&self->c, third.p, 4, 8, 1);
	test_send(&self->b, &self->a, ZCIPC_MOVE, copy.cap);
}

TEST_F(caps, pull_share)
{
	struct buf dst, shared;
	__u64 n;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst);
	test_err_send_rights(EACCES, &self->b, &self->b, ZCIPC_SHARE, dst.cap, RIGHTS_R);
	test_err_send_rights(EACCES, &self->b, &self->c, ZCIPC_SHARE, dst.cap, RIGHTS_R);
	test_drop(&self->b, dst.cap);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &dst);
	test_pass_rights(&self->b, &self->c, ZCIPC_SHARE, dst.cap, RIGHTS_RW, &shared);
	test_tree(&self->c, shared.cap, 2, 0);
	test_fill(&self->c, shared.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	/* What was shared is derived as what was granted is. */
	test_revoke(&self->a, &self->b, dst.cap, 0, &n);
	ASSERT_EQ(2, n);
	test_gone(&self->c, shared.p, N);
	test_stale(&self->c, shared.cap);
	take_revoked(_metadata, &self->c, shared.cap, &self->a);
	test_fill(&self->a, self->src.p, N, 3);
}

/* The grantee takes it for itself, or for a third. */
static void pull_move(struct __test_metadata *_metadata, FIXTURE_DATA(caps) *self, struct ep *to)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer t;
	struct buf dst, other, moved;
	char *p, *q;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &dst);
	test_err_send(EACCES, &self->b, to, ZCIPC_MOVE, dst.cap);
	t = transfer_cmd(to, ZCIPC_MOVE, dst.cap, 0, 0, 0);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_err_transfer(EACCES, &self->b, &t);
	test_drop(&self->b, dst.cap);

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &dst);
	test_give(&self->a, &self->c, self->src.cap, RIGHTS_R, &other);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_map(&self->c, other.cap, 0, 0, RIGHTS_R, &q);
	test_stats(&self->base.ep, &before);
	test_err_send(EBUSY, &self->b, to, ZCIPC_MOVE, dst.cap);
	test_check(&self->a, self->src.p, N, 1);
	t = transfer_cmd(to, ZCIPC_MOVE, dst.cap, 0, 0, 0);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->b, &t);
	EXPECT_EQ(N, t.pages);
	EXPECT_EQ(0, t.copied);
	test_gone(&self->a, self->src.p, N);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	test_stale(&self->a, self->src.cap);
	test_stale(&self->b, dst.cap);
	test_stale(&self->c, other.cap);
	take_revoked(_metadata, &self->a, self->src.cap, &self->b);
	test_quiet(&self->a);
	if (to == &self->c) {
		test_take(to, &moved);
		take_revoked(_metadata, &self->c, other.cap, &self->b);
	} else {
		take_revoked(_metadata, &self->c, other.cap, &self->b);
		test_take(to, &moved);
	}
	test_quiet(&self->c);
	test_quiet(&self->b);
	EXPECT_EQ(t.peer_cap, moved.cap);
	EXPECT_EQ(self->src.region, moved.region);
	test_check(to, moved.p, N, 1);
	test_fill(to, moved.p, N, 2);
	test_tree(to, moved.cap, 0, 0);
	test_users(to, moved.cap, 1, 1);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.frames, after.frames);
	EXPECT_EQ(before.regions, after.regions);
	EXPECT_EQ(before.caps - 2, after.caps);
	/* It is its own now. */
	test_pass(to, &self->a, ZCIPC_MOVE, moved.cap, &dst);
	test_check(&self->a, dst.p, N, 2);
}

TEST_F(caps, pull_move_to_oneself)
{
	pull_move(_metadata, self, &self->b);
}

TEST_F(caps, pull_move_to_third)
{
	pull_move(_metadata, self, &self->c);
}

/* --- MOVE that revokes */

/* Of a part: who has nothing but that loses it, who has more keeps the rest. */
TEST_F(caps, move_part_from_others)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 4, 4, 0);
	struct buf inside, equal, overlap, all, below, got;
	char *p_inside, *p_overlap, *p_all, *p_below;

	test_give_part(&self->a, &self->b, self->src.cap, 5, 2, RIGHTS_RG, &inside);
	test_give_part(&self->a, &self->b, self->src.cap, 4, 4, RIGHTS_R, &equal);
	test_give_part(&self->a, &self->c, self->src.cap, 6, 4, RIGHTS_RG, &overlap);
	test_give_part(&self->c, &self->b, overlap.cap, 0, 2, RIGHTS_R, &below);
	test_give(&self->a, &self->c, self->src.cap, RIGHTS_RW, &all);
	test_map(&self->b, inside.cap, 0, 0, RIGHTS_R, &p_inside);
	test_map(&self->c, overlap.cap, 0, 0, RIGHTS_R, &p_overlap);
	test_map(&self->b, below.cap, 0, 0, RIGHTS_R, &p_below);
	test_map(&self->c, all.cap, 0, 0, RIGHTS_RW, &p_all);
	test_err_transfer(EBUSY, &self->a, &t);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &t);
	EXPECT_EQ(4, t.pages);

	test_take(&self->b, &got);
	EXPECT_NE(self->src.region, got.region);
	test_check_from(&self->b, got.p, 4, 4, 1);
	test_tree(&self->b, got.cap, 0, 0);
	test_users(&self->b, got.cap, 1, 1);
	take_revoked(_metadata, &self->b, inside.cap, &self->a);
	take_revoked(_metadata, &self->b, equal.cap, &self->a);
	take_revoked(_metadata, &self->b, below.cap, &self->a);
	test_quiet(&self->b);
	test_quiet(&self->c);
	test_gone(&self->b, p_inside, 2);
	test_gone(&self->b, p_below, 2);
	test_stale(&self->b, inside.cap);
	test_stale(&self->b, equal.cap);
	test_stale(&self->b, below.cap);

	test_gone(&self->c, p_overlap, 2);
	test_check_from(&self->c, p_overlap + 2 * psize, 8, 2, 1);
	test_check(&self->c, p_all, 4, 1);
	test_gone(&self->c, p_all + 4 * psize, 4);
	test_check_from(&self->c, p_all + 8 * psize, 8, 8, 1);
	test_gone(&self->a, self->src.p + 4 * psize, 4);
	test_check_from(&self->a, self->src.p + 8 * psize, 8, 8, 1);
	test_err_send(ENOENT, &self->c, &self->b, ZCIPC_COPY, all.cap);
	test_err_send_part(ENOENT, &self->c, &self->b, ZCIPC_COPY, all.cap, 7, 1);
	test_err_send_part(ENOENT, &self->a, &self->b, ZCIPC_SHARE, self->src.cap, 3, 2);
	test_send_part(&self->c, &self->c, ZCIPC_COPY, all.cap, 8, 0);
	test_tree(&self->a, self->src.cap, 0, 2);
	test_tree(&self->c, overlap.cap, 1, 0);
	test_tree(&self->c, all.cap, 1, 0);
	test_users(&self->a, self->src.cap, 3, 3);
	/* What is new is not what was there. */
	test_fill(&self->b, got.p, 4, 2);
	test_check(&self->a, self->src.p, 4, 1);
}

/* One's own second capability is revoked, too. The first stays, if it names more. */
TEST_F(caps, move_from_oneself)
{
	struct zcipc_transfer t = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 2, 0);
	struct buf second, got;
	char *p;

	test_give_part(&self->a, &self->a, self->src.cap, 0, 2, RIGHTS_R, &second);
	test_map(&self->a, second.cap, 0, 0, RIGHTS_R, &p);
	test_err_transfer(EBUSY, &self->a, &t);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &t);
	test_gone(&self->a, p, 2);
	test_stale(&self->a, second.cap);
	test_quiet(&self->a);
	test_take(&self->c, &got);
	test_check(&self->c, got.p, 2, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
}

/* G3: a MOVE that fails has revoked nobody, whatever it fails for. */
TEST_F(caps, move_fails_and_revokes_nobody)
{
	struct zcipc_transfer t = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	struct iovec iov = { self->src.p + (N - 1) * psize, psize };
	struct zcipc_stats before, after;
	struct buf dst, moved, big;
	static struct ep none;
	int fds[2];
	char *p;

	test_open(&none, 0, 0);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RW, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
	test_create(&self->c, 250, &big);
	test_stats(&self->base.ep, &before);

	t.flags = ZCIPC_F_REVOKE_OTHERS | ZCIPC_F_STRICT;
	test_err_transfer(EAGAIN, &self->a, &t);
	t.peer = none.id;
	test_err_transfer(ENOBUFS, &self->a, &t);
	t.peer = self->c.id;
	test_drop(&self->c, big.cap);
	test_err_transfer(EBUSY, &self->a, &t);
	t.type = ZCIPC_COPY;
	test_err_transfer(EINVAL, &self->a, &t);
	t.type = ZCIPC_SHARE;
	t.rights = RIGHTS_R;
	test_err_transfer(EINVAL, &self->a, &t);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.caps - 1, after.caps);
	EXPECT_EQ(before.maps - 1, after.maps);
	test_quiet(&self->b);
	test_check(&self->b, p, N, 1);
	test_fill(&self->b, p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_tree(&self->b, dst.cap, 1, 0);

	/* A copy for the holder's sake is no failure. */
	t = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &t);
	EXPECT_EQ(psize, t.copied);
	test_take(&self->c, &moved);
	test_check(&self->c, moved.p, N, 2);
	test_gone(&self->b, p, N);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	close(fds[0]);
	close(fds[1]);
}

/* --- REVOKE */

TEST_F(caps, revoke_own)
{
	struct zcipc_stats before, after;
	struct buf mine, dst, next, self_dst;
	char *p, *q;
	__u64 n;

	test_stats(&self->base.ep, &before);
	test_create(&self->a, N, &mine);
	test_give(&self->a, &self->b, mine.cap, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &dst);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_give(&self->a, &self->a, mine.cap, RIGHTS_R, &self_dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	test_fill(&self->b, p, N, 3);
	test_check(&self->c, q, N, 3);
	test_revoke(&self->a, NULL, mine.cap, 0, &n);
	EXPECT_EQ(4, n);
	test_gone(&self->a, mine.p, N);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	test_stale(&self->a, mine.cap);
	test_stale(&self->a, self_dst.cap);
	test_stale(&self->b, dst.cap);
	test_stale(&self->c, next.cap);
	test_err_unmap(ENOENT, &self->b, p);
	test_quiet(&self->a);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_quiet(&self->b);
	test_quiet(&self->c);
	/* G8: the memory went with the last one. */
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
}

TEST_F(caps, revoke_keep)
{
	struct buf dst, next;
	char *p, *q;
	__u64 n;

	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(0, n);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG, &dst);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	/* Of a peer's: that one stays. */
	test_revoke(&self->a, &self->b, dst.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(1, n);
	test_gone(&self->c, q, N);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_check(&self->b, p, N, 1);
	test_tree(&self->b, dst.cap, 1, 0);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_check(&self->a, self->src.p, N, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
	test_users(&self->a, self->src.cap, 1, 1);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_check(&self->b, p, N, 1);
	test_send(&self->b, &self->c, ZCIPC_COPY, dst.cap);
}

/* 13: by peer and token: only what is derived from one's own. */
TEST_F(caps, revoke_of_peer)
{
	struct zcipc_stats before, after;
	struct buf dst, next, sibling, foreign, old;
	static struct ep dead;
	char *p, *q, *r;
	__u64 n;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG, &dst);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_give(&self->a, &self->c, self->src.cap, RIGHTS_RG, &sibling);
	test_create(&self->b, 1, &foreign);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &old);
	test_drop(&self->b, old.cap);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	test_map(&self->c, sibling.cap, 0, 0, RIGHTS_R, &r);
	test_open(&dead, 1, 0);
	ep_end(&dead);
	test_stats(&self->base.ep, &before);

	/* What one's own is derived from, what is derived from that, another tree, nothing. */
	test_err_revoke(ENOENT, &self->b, &self->a, self->src.cap, 0, &n);
	test_err_revoke(ENOENT, &self->b, &self->a, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_err_revoke(ENOENT, &self->b, &self->c, sibling.cap, 0, &n);
	test_err_revoke(ENOENT, &self->c, &self->b, dst.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, foreign.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, old.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, next.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, 0, 0, &n);
	test_err_revoke(ENOENT, &self->a, NULL, dst.cap, 0, &n);
	test_err_revoke(ESRCH, &self->a, &dead, dst.cap, 0, &n);
	dead.id = 1ULL << 60;
	test_err_revoke(ENOENT, &self->a, &dead, dst.cap, 0, &n);
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	test_check(&self->c, q, N, 1);

	test_revoke(&self->a, &self->b, dst.cap, 0, &n);
	EXPECT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	test_stale(&self->b, dst.cap);
	test_stale(&self->c, next.cap);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_err_revoke(ENOENT, &self->a, &self->b, dst.cap, 0, &n);
	test_check(&self->c, r, N, 1);
	test_tree(&self->a, self->src.cap, 0, 1);
	test_tree(&self->c, sibling.cap, 1, 0);
	test_quiet(&self->b);
	test_quiet(&self->c);
}

/* Over many processes. Whoever is above, or beside, what is revoked keeps all. */
#define CHAIN 6

TEST_F(caps, revoke_deep)
{
	struct buf b[CHAIN], side[CHAIN];
	static struct ep ep[CHAIN];
	char *p[CHAIN];
	int i, cut;
	__u64 n;

	for (i = 0; i < CHAIN; i++)
		TEST_OK(start_nonblock(&ep[i], i & 1 ? variant->remote : false, 64));
	for (cut = CHAIN - 1; cut > 0; cut--) {
		test_create(&ep[0], N, &b[0]);
		test_fill(&ep[0], b[0].p, N, 1);
		p[0] = b[0].p;
		for (i = 1; i < CHAIN; i++) {
			test_give(&ep[i - 1], &ep[i], b[i - 1].cap, RIGHTS_RG, &b[i]);
			test_map(&ep[i], b[i].cap, 0, 0, RIGHTS_R, &p[i]);
			test_give(&ep[i - 1], &ep[0], b[i - 1].cap, RIGHTS_R, &side[i]);
		}
		for (i = 0; i < CHAIN; i++)
			test_tree(&ep[i], b[i].cap, i, 2 * (CHAIN - 1 - i));
		/* By each who is above, in turn: its own, or somebody else's. */
		i = cut / 2;
		test_revoke(&ep[i], &ep[cut], b[cut].cap, 0, &n);
		ASSERT_EQ(1 + 2 * (CHAIN - 1 - cut), n);
		for (i = 0; i < cut; i++) {
			test_check(&ep[i], p[i], N, 1);
			test_tree(&ep[i], b[i].cap, i, 2 * (cut - 1 - i) + 1);
		}
		for (i = cut; i < CHAIN; i++) {
			test_gone(&ep[i], p[i], N);
			test_stale(&ep[i], b[i].cap);
			take_revoked(_metadata, &ep[i], b[i].cap, &ep[cut / 2]);
		}
		for (i = 1; i < CHAIN; i++) {
			struct zcipc_region_query q;

			ASSERT_EQ(i <= cut ? 0 : -1, zc_query(&ep[0], side[i].cap, &q));
			if (i > cut && cut / 2)
				take_revoked(_metadata, &ep[0], side[i].cap, &ep[cut / 2]);
		}
		test_revoke(&ep[0], NULL, b[0].cap, 0, &n);
		ASSERT_EQ(1 + cut - 1 + cut, n);
		for (i = 1; i < cut; i++)
			take_revoked(_metadata, &ep[i], b[i].cap, &ep[0]);
		for (i = 0; i < CHAIN; i++)
			test_quiet(&ep[i]);
	}
}

/* Nobody hears of the end of what it has not heard of. All others hear of it once. */
TEST_F(caps, revoked_before_received)
{
	struct zcipc_grant g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_R);
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 0, 0,
					       RIGHTS_R);
	struct zcipc_stats before, after;
	struct buf heard, kept;
	struct zcipc_recv m;
	__u64 n;

	test_create(&self->c, 1, &kept);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &heard);
	test_stats(&self->base.ep, &before);
	test_grant(&self->a, &g);
	test_transfer(&self->a, &t);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(3, n);
	test_send(&self->c, &self->b, ZCIPC_MOVE, kept.cap);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(heard.cap, m.cap);
	EXPECT_EQ(1, m.pending);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_MOVE, m.type);
	EXPECT_EQ(0, m.pending);
	test_quiet(&self->b);
	test_stale(&self->b, g.peer_cap);
	test_stale(&self->b, t.peer_cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.maps, after.maps);
	EXPECT_EQ(before.messages, after.messages);

	/* By its token, which the granter knows before the peer does. */
	g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_R);
	test_grant(&self->a, &g);
	test_revoke(&self->a, &self->b, g.peer_cap, 0, &n);
	EXPECT_EQ(1, n);
	test_quiet(&self->b);
}

/* REVOKED has room where nothing else has, and takes what others would need. */
TEST_F(caps, revoked_beyond_queue)
{
	struct buf dst[4], kept;
	__u64 n;
	int i;

	for (i = 0; i < 4; i++)
		test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst[i]);
	test_depth(&self->b, 1);
	test_grant_rights(&self->a, &self->b, self->src.cap, RIGHTS_R);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	for (i = 0; i < 4; i++)
		test_revoke(&self->a, &self->b, dst[i].cap, 0, &n);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	test_take(&self->b, &kept);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	for (i = 0; i < 4; i++)
		take_revoked(_metadata, &self->b, dst[i].cap, &self->a);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst[0]);
	test_quiet(&self->b);
	test_tree(&self->b, kept.cap, 1, 0);
}

/* --- threads that use a mapping all the time, in whichever process has it */

#define HAMMERS 2

static struct hammer {
	pthread_t thread;
	char *p;
	size_t npages;
	bool writes;
	volatile unsigned long stored;
	volatile unsigned long faulted;
} hammers[HAMMERS];
static volatile bool hammers_stop;

/* Without a system call in between, in which a TLB could be flushed by chance. */
static void *hammer_thread(void *arg)
{
	struct hammer *h = arg;
	volatile __u64 *word;
	size_t page = 0;
	cpu_set_t set;
	__u64 val;

	CPU_ZERO(&set);
	CPU_SET((h - hammers) % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
	if (sigsetjmp(touch_env, 0))
		h->faulted++;
	touching = 1;
	while (!hammers_stop) {
		word = (volatile __u64 *)(h->p + page * psize);
		page = (page + 1) % h->npages;
		val = *word;
		if (h->writes)
			*word = val + 1;
		h->stored++;
	}
	touching = 0;
	return NULL;
}

static long call_hammer(struct ep *ep, struct call *c)
{
	int i;

	(void)ep;
	hammers_stop = false;
	for (i = 0; i < HAMMERS; i++) {
		hammers[i] = (struct hammer){ .p = (char *)(uintptr_t)c->addr, .npages = c->n,
					      .writes = c->val };
		pthread_create(&hammers[i].thread, NULL, hammer_thread, &hammers[i]);
		if (!wait_until(hammers[i].stored > 2 * c->n))
			return -1;
	}
	return 0;
}

/* All have faulted since, and then nobody gets through any more? */
static long call_hammers_fault(struct ep *ep, struct call *c)
{
	unsigned long faulted, stored[HAMMERS];
	int i;

	(void)ep;
	(void)c;
	for (i = 0; i < HAMMERS; i++) {
		faulted = hammers[i].faulted;
		if (!wait_until(hammers[i].faulted > faulted + 2))
			return -1;
		stored[i] = hammers[i].stored;
	}
	msleep(2);
	for (i = 0; i < HAMMERS; i++)
		if (hammers[i].stored != stored[i])
			return -1;
	return 0;
}

static long call_hammer_stop(struct ep *ep, struct call *c)
{
	int i;

	(void)ep;
	(void)c;
	hammers_stop = true;
	for (i = 0; i < HAMMERS; i++)
		pthread_join(hammers[i].thread, NULL);
	return 0;
}

/* What can end a mapping that was derived, without the help of the one who has it. */
enum end { END_REVOKE, END_KEEP, END_PEER, END_MOVE };

/*
 * G2: from the return on, nobody who lost a mapping reads or writes through it, on any CPU, and
 * what the owner then stores stays. With the root the memory goes, too: a debug kernel would see
 * stores.
 */
static void end_under_access(struct __test_metadata *_metadata, FIXTURE_DATA(caps) *self,
			     enum end end, bool shared, bool writes)
{
	struct zcipc_transfer t;
	struct buf src, dst, own;
	size_t i;
	__u64 n;
	char *p;

	test_create(&self->a, N, &src);
	if (shared) {
		test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, src.cap, RIGHTS_RW, &dst);
		p = dst.p;
	} else {
		test_give(&self->a, &self->b, src.cap, RIGHTS_RW, &dst);
		test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	}
	own = src;
	test_call(&self->b, call_hammer, .addr = (uintptr_t)p, .n = N, .val = writes);
	switch (end) {
	case END_REVOKE:
		test_revoke(&self->a, NULL, src.cap, 0, &n);
		ASSERT_EQ(2, n);
		break;
	case END_KEEP:
		test_revoke(&self->a, NULL, src.cap, ZCIPC_REVOKE_KEEP, &n);
		ASSERT_EQ(1, n);
		break;
	case END_PEER:
		test_revoke(&self->a, &self->b, dst.cap, 0, &n);
		ASSERT_EQ(1, n);
		break;
	case END_MOVE:
		t = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 0, 0, 0);
		t.flags = ZCIPC_F_REVOKE_OTHERS;
		test_transfer(&self->a, &t);
		test_take(&self->c, &own);
		break;
	}
	for (i = 0; i < N && end != END_REVOKE; i++)
		((volatile __u64 *)(own.p + i * psize))[0] = 0x5ec7e7 + i;
	test_call(&self->b, call_hammers_fault);
	for (i = 0; i < N && end != END_REVOKE; i++)
		ASSERT_EQ(0x5ec7e7 + i, ((volatile __u64 *)(own.p + i * psize))[0]);
	test_call(&self->b, call_hammer_stop);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	if (end != END_REVOKE)
		test_drop(end == END_MOVE ? &self->c : &self->a, own.cap);
}

TEST_F(caps, revoke_under_access)
{
	unsigned int i, n = loops(fewer(24));

	for (i = 0; i < n; i++)
		end_under_access(_metadata, self, i & 1 ? END_KEEP : END_PEER, i & 2, !(i & 4));
}

TEST_F(caps, revoke_own_under_access)
{
	unsigned int i, n = loops(fewer(8));

	for (i = 0; i < n; i++)
		end_under_access(_metadata, self, END_REVOKE, i & 1, true);
}

TEST_F(caps, move_from_others_under_access)
{
	unsigned int i, n = loops(fewer(12));

	for (i = 0; i < n; i++)
		end_under_access(_metadata, self, END_MOVE, i & 1, !(i & 2));
}

/* --- DROP, and death, in the middle of a tree */

static void leave(struct __test_metadata *_metadata, struct ep *ep, __u64 cap, bool die)
{
	struct zcipc_stats before, after;

	if (!die) {
		test_drop(ep, cap);
		return;
	}
	test_stats(ep, &before);
	ep_end(ep);
	test_open(ep, 64, 0);
	ASSERT_TRUE(wait_until(!zc_stats(ep, &after) && after.endpoints == before.endpoints));
}

/* a -> b -> c -> d, and b -> e. b, or c, goes: its children are its parent's. */
static void leave_middle(struct __test_metadata *_metadata, FIXTURE_DATA(caps) *self, bool remote,
			 bool die)
{
	static struct ep mid;
	struct buf b, c, d, e;
	char *p, *q;
	__u64 n;

	TEST_OK(start_nonblock(&mid, remote, 64));
	test_give(&self->a, &mid, self->src.cap, RIGHTS_RG, &b);
	test_give(&mid, &self->b, b.cap, RIGHTS_RG, &c);
	test_give(&self->b, &self->c, c.cap, RIGHTS_R, &d);
	test_give(&mid, &self->c, b.cap, RIGHTS_R, &e);
	test_map(&self->c, d.cap, 0, 0, RIGHTS_R, &p);
	test_map(&self->b, c.cap, 0, 0, RIGHTS_R, &q);
	test_tree(&self->a, self->src.cap, 0, 4);
	test_tree(&mid, b.cap, 1, 3);
	test_tree(&self->b, c.cap, 2, 1);
	test_tree(&self->c, d.cap, 3, 0);
	test_tree(&self->c, e.cap, 2, 0);

	leave(_metadata, &mid, b.cap, die);
	test_tree(&self->a, self->src.cap, 0, 3);
	test_tree(&self->b, c.cap, 1, 1);
	test_tree(&self->c, d.cap, 2, 0);
	test_tree(&self->c, e.cap, 1, 0);
	test_check(&self->c, p, N, 1);
	test_check(&self->b, q, N, 1);
	/* Nobody is nobody's. */
	test_err_revoke(ENOENT, &self->b, &self->c, e.cap, 0, &n);
	test_revoke(&self->a, &self->c, e.cap, 0, &n);
	ASSERT_EQ(1, n);
	take_revoked(_metadata, &self->c, e.cap, &self->a);
	test_tree(&self->a, self->src.cap, 0, 2);

	test_drop(&self->b, c.cap);
	test_tree(&self->a, self->src.cap, 0, 1);
	test_tree(&self->c, d.cap, 1, 0);
	test_gone(&self->b, q, N);
	test_check(&self->c, p, N, 1);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	ASSERT_EQ(1, n);
	test_gone(&self->c, p, N);
	take_revoked(_metadata, &self->c, d.cap, &self->a);
	test_quiet(&self->b);
	test_tree(&self->a, self->src.cap, 0, 0);
}

TEST_F(caps, drop_middle)
{
	leave_middle(_metadata, self, variant->remote, false);
}

TEST_F(caps, middle_dies)
{
	leave_middle(_metadata, self, variant->remote, true);
}

/* The root goes: what was derived from it stands alone, with all that it had. */
static void leave_root(struct __test_metadata *_metadata, FIXTURE_DATA(caps) *self, bool die)
{
	struct buf b, c, d;
	char *p, *q, *r;
	__u64 n;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG | ZCIPC_RIGHT_MOVE, &b);
	test_give(&self->b, &self->c, b.cap, RIGHTS_RG, &c);
	test_give(&self->a, &self->c, self->src.cap, RIGHTS_RG, &d);
	test_map(&self->b, b.cap, 0, 0, RIGHTS_R, &p);
	test_map(&self->c, c.cap, 0, 0, RIGHTS_R, &q);
	test_map(&self->c, d.cap, 0, 0, RIGHTS_R, &r);
	leave(_metadata, &self->a, self->src.cap, die);
	test_tree(&self->b, b.cap, 0, 1);
	test_tree(&self->c, c.cap, 1, 0);
	test_tree(&self->c, d.cap, 0, 0);
	test_check(&self->b, p, N, 1);
	test_check(&self->c, q, N, 1);
	test_err_revoke(ENOENT, &self->a, &self->b, b.cap, 0, &n);
	test_err_revoke(ENOENT, &self->b, &self->c, d.cap, 0, &n);
	test_revoke(&self->b, NULL, b.cap, 0, &n);
	ASSERT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	test_check(&self->c, r, N, 1);
	take_revoked(_metadata, &self->c, c.cap, &self->b);
	test_quiet(&self->b);
	test_quiet(&self->c);
	test_users(&self->c, d.cap, 1, 1);
	test_revoke(&self->c, NULL, d.cap, 0, &n);
	ASSERT_EQ(1, n);
	test_gone(&self->c, r, N);
}

TEST_F(caps, drop_root)
{
	leave_root(_metadata, self, false);
}

TEST_F(caps, root_dies)
{
	leave_root(_metadata, self, true);
}

/* What is moved begins a tree of its own, also with its former holders' consent. */
TEST_F(caps, tree_of_moved)
{
	struct buf dst, next, moved;
	__u64 n;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &dst);
	test_drop(&self->a, self->src.cap);
	test_pass(&self->b, &self->c, ZCIPC_MOVE, dst.cap, &moved);
	test_tree(&self->c, moved.cap, 0, 0);
	test_give(&self->c, &self->b, moved.cap, RIGHTS_R, &next);
	test_send_part(&self->c, &self->b, ZCIPC_SHARE, moved.cap, 2, 2);
	test_take(&self->b, &dst);
	test_tree(&self->c, moved.cap, 0, 2);
	test_revoke(&self->c, &self->b, dst.cap, 0, &n);
	ASSERT_EQ(1, n);
	test_gone(&self->b, dst.p, 2);
	test_revoke(&self->c, &self->b, next.cap, 0, &n);
	ASSERT_EQ(1, n);
	take_revoked(_metadata, &self->b, dst.cap, &self->c);
	take_revoked(_metadata, &self->b, next.cap, &self->c);
	test_check(&self->c, moved.p, N, 1);
}

/* A region that comes back from a dead peer comes back without what the peer made of it. */
TEST_F(caps, returned_is_not_derived)
{
	static struct ep v;

	TEST_OK(start_nonblock(&v, variant->remote, 64));
	test_send(&self->a, &v, ZCIPC_MOVE, self->src.cap);
	ep_end(&v);
	take_returned(_metadata, &self->a, &v, N, self->src.region, 1);
	test_quiet(&self->a);
}

/* Only what has been a token is stale. Whatever differs from each in one bit never was one. */
TEST_F(caps, tokens_never_given)
{
	struct zcipc_region_query q;
	__u64 tokens[64], token;
	unsigned int i, k, bit;
	bool gone[64];
	struct buf b;
	struct ep ep;

	test_open(&ep, 64, O_NONBLOCK);
	for (i = 0; i < ARRAY_SIZE(tokens); i++) {
		test_create(&ep, 1, &b);
		tokens[i] = b.cap;
		gone[i] = i % 3;
		if (gone[i])
			test_drop(&ep, b.cap);
	}
	for (i = 0; i < ARRAY_SIZE(tokens); i++) {
		if (gone[i])
			test_err_query(ESTALE, &ep, tokens[i], &q);
		else
			test_query(&ep, tokens[i], &q);
		for (bit = 0; bit < 64; bit++) {
			token = tokens[i] ^ 1ULL << bit;
			for (k = 0; k < ARRAY_SIZE(tokens) && tokens[k] != token; k++)
				;
			if (k == ARRAY_SIZE(tokens))
				test_err_query(ENOENT, &ep, token, &q);
		}
	}
}

/* --- calls that other threads make */

static int job_map(struct job *j)
{
	return zc_map(j->ep, j->cap, 0, 0, RIGHTS_R, &j->p);
}

static int job_map_exec(struct job *j)
{
	return zc_map(j->ep, j->cap, 0, 0, RIGHTS_RX, &j->p);
}

static int job_read(struct job *j)
{
	return ep_read(j->ep, j->p, &j->n) ? -1 : 0;
}

static int job_recv(struct job *j)
{
	return zc_recv(j->ep, &j->m);
}

static int job_query(struct job *j)
{
	struct zcipc_region_query q;

	return zc_query(j->ep, j->cap, &q);
}

static int job_revoke(struct job *j)
{
	return zc_revoke(j->ep, j->to, j->cap, j->flags, &j->n);
}

static int job_exit(struct job *j)
{
	struct call c = { .fn = call_exit };

	ep_call(j->ep, &c);
	return 0;
}

static int job_kill(struct job *j)
{
	return kill(j->ep->pid, SIGKILL);
}

/* --- no room in the peer's queue */

FIXTURE(wait)
{
	struct base base;
	struct ep a, b;
	struct buf src;
	struct job job;
};

FIXTURE_VARIANT(wait)
{
	int (*fn)(struct job *j);
	__u32 type;
};

FIXTURE_VARIANT_ADD(wait, grant) { .fn = job_grant, };
FIXTURE_VARIANT_ADD(wait, share) { .fn = job_send, .type = ZCIPC_SHARE, };
FIXTURE_VARIANT_ADD(wait, copy) { .fn = job_send, .type = ZCIPC_COPY, };
FIXTURE_VARIANT_ADD(wait, move) { .fn = job_send, .type = ZCIPC_MOVE, };

/* A sender that waits, because the queue has one place, which is taken. */
FIXTURE_SETUP(wait)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, 0);
	test_open(&self->b, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
	test_depth(&self->b, 1);
	test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 0, 1);
	self->job = (struct job){ .fn = variant->fn, .ep = &self->a, .to = &self->b,
				  .cap = self->src.cap, .type = variant->type, .rights = RIGHTS_R };
	job_start(&self->job);
	ASSERT_TRUE(wait_until(thread_sleeps(self->job.tid)));
}

FIXTURE_TEARDOWN_BASE(wait)

/* The second message, after the first, and nothing else. */
static void check_arrived(struct __test_metadata *_metadata, FIXTURE_DATA(wait) *self)
{
	struct zcipc_recv m;

	ASSERT_EQ(0, self->job.rc) TH_LOG("%s", strerror(self->job.err));
	test_recv(&self->b, &m);
	EXPECT_EQ(N * psize, m.len);
	test_quiet(&self->b);
}

/* It fails, and has done nothing. */
static void check_failed(struct __test_metadata *_metadata, FIXTURE_DATA(wait) *self, int err)
{
	struct zcipc_recv m;

	job_join(&self->job);
	EXPECT_EQ(-1, self->job.rc);
	EXPECT_EQ(err, self->job.err) TH_LOG("%s", strerror(self->job.err));
	test_recv(&self->b, &m);
	EXPECT_EQ(psize, m.len);
	test_quiet(&self->b);
}

TEST_F(wait, for_a_place)
{
	struct buf first;

	test_take(&self->b, &first);
	job_join(&self->job);
	check_arrived(_metadata, self);
}

/* The receiver makes its queue longer. */
TEST_F(wait, for_a_longer_queue)
{
	struct buf first;

	test_depth(&self->b, 2);
	job_join(&self->job);
	test_take(&self->b, &first);
	EXPECT_EQ(1, first.npages);
	check_arrived(_metadata, self);
}

/* The policy is asked again, not only when the call begins. */
TEST_F(wait, and_is_not_accepted)
{
	test_policy(&self->b, ZCIPC_POLICY_NOBODY);
	check_failed(_metadata, self, EPERM);
	test_check(&self->a, self->src.p, N, 1);
}

TEST_F(wait, and_is_not_listed)
{
	__u64 ids[] = { self->a.id + 1000, self->base.ep.id };
	struct zcipc_endpoint_config config = {
		.flags = ZCIPC_CONFIG_POLICY, .policy = ZCIPC_POLICY_LISTED,
		.nsenders = ARRAY_SIZE(ids), .senders = (uintptr_t)ids,
	};

	test_config(&self->b, &config);
	check_failed(_metadata, self, EPERM);
	test_check(&self->a, self->src.p, N, 1);
}

TEST_F(wait, and_must_not_any_more)
{
	struct zcipc_endpoint_config config = {
		.flags = ZCIPC_CONFIG_FULL, .full = ZCIPC_FULL_FAIL,
	};

	test_config(&self->b, &config);
	check_failed(_metadata, self, EAGAIN);
	test_check(&self->a, self->src.p, N, 1);
}

/* What it is to send is taken back meanwhile. */
TEST_F(wait, and_is_revoked)
{
	struct zcipc_recv m;
	__u64 n;

	test_revoke(&self->a, NULL, self->src.cap, 0, &n);
	EXPECT_EQ(1, n);
	test_recv(&self->b, &m);
	EXPECT_EQ(psize, m.len);
	job_join(&self->job);
	EXPECT_EQ(-1, self->job.rc);
	EXPECT_EQ(ESTALE, self->job.err);
	test_quiet(&self->b);
}

/* --- deep and wide */

#define DEEP	1000

/* A hundred thousand, if there is time for that. */
static int wide(void)
{
	return fewer(fewer(100000));
}

FIXTURE(big)
{
	struct base base;
	struct ep a, b, p;
	struct buf src;
};

FIXTURE_SETUP(big)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	test_open(&self->b, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->p, true, 64));
	test_create(&self->a, 1, &self->src);
	test_fill(&self->a, self->src.p, 1, 1);
}

FIXTURE_TEARDOWN_BASE(big)

/* The same as test_give(), for many. */
static int give_fast(struct ep *from, struct ep *to, __u64 cap, __u64 *got)
{
	struct zcipc_grant g = grant_cmd(to, cap, 0, 0, RIGHTS_RG);
	struct zcipc_recv m = { .size = sizeof(m) };

	if (ioctl(from->fd, ZCIPC_IOC_GRANT, &g) || ioctl(to->fd, ZCIPC_IOC_RECV, &m))
		return -1;
	*got = m.cap;
	return m.cap == g.peer_cap ? 0 : -1;
}

/* 26: as deep as it goes, and no deeper. */
TEST_F(big, depth_limit)
{
	__u64 caps[1025] = { self->src.cap }, n;
	int i, depth = 1024;
	struct buf last;

	for (i = 0; i < depth; i++)
		ASSERT_EQ(0, give_fast(&self->a, &self->a, caps[i], &caps[i + 1]));
	test_tree(&self->a, caps[depth], depth, 0);
	test_tree(&self->a, caps[0], 0, depth);
	test_err_grant_rights(ENOBUFS, &self->a, &self->a, caps[depth], RIGHTS_R);
	test_err_send_rights(ENOBUFS, &self->a, &self->b, ZCIPC_SHARE, caps[depth], RIGHTS_R);
	test_pass(&self->a, &self->b, ZCIPC_COPY, caps[depth], &last);
	test_check(&self->b, last.p, 1, 1);
	/* With one less above there is room for one. */
	test_drop(&self->a, caps[depth / 2]);
	test_tree(&self->a, caps[depth], depth - 1, 0);
	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, caps[depth], RIGHTS_RG, &last);
	test_err_grant_rights(ENOBUFS, &self->b, &self->b, last.cap, RIGHTS_R);
	test_revoke(&self->a, NULL, caps[0], ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(depth, n);
	test_gone(&self->b, last.p, 1);
	take_revoked(_metadata, &self->b, last.cap, &self->a);
	test_users(&self->a, self->src.cap, 1, 1);
}

/* A process that transfers all the time. */
static struct pinger {
	pthread_t thread;
	struct ep *ep;
	__u64 cap;
	volatile unsigned long n;
	volatile int err;
	volatile bool stop;
} pinger;

static void *ping_thread(void *arg)
{
	struct pinger *p = arg;
	struct buf buf = { .cap = p->cap };

	while (!p->stop && !p->err) {
		if (zc_pass(p->ep, p->ep, ZCIPC_MOVE, buf.cap, &buf))
			p->err = errno;
		p->n++;
	}
	return NULL;
}

static long call_ping(struct ep *ep, struct call *c)
{
	pinger = (struct pinger){ .ep = ep, .cap = c->val };
	pthread_create(&pinger.thread, NULL, ping_thread, &pinger);
	return 0;
}

/* It goes on. */
static long call_pings(struct ep *ep, struct call *c)
{
	unsigned long n = pinger.n;

	(void)ep;
	c->n = n;
	return wait_until(pinger.n > n + 2) && !pinger.err ? 0 : -1;
}

static long call_ping_stop(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	pinger.stop = true;
	pthread_join(pinger.thread, NULL);
	return pinger.err ? -1 : 0;
}

/* Takes all messages, which must all be of capabilities that were revoked. */
static void drain_revoked(struct __test_metadata *_metadata, struct ep *ep, __u32 n)
{
	struct zcipc_recv m = { .size = sizeof(m) };

	while (n--) {
		ASSERT_EQ(0, ioctl(ep->fd, ZCIPC_IOC_RECV, &m));
		ASSERT_EQ(ZCIPC_REVOKED, m.type);
		ASSERT_EQ(n, m.pending);
	}
}

/* 26: a chain of a thousand, and a hundred thousand siblings, in one call. Others go on. */
TEST_F(big, revoke_deep_and_wide)
{
	struct zcipc_stats before, after;
	__u64 cap = self->src.cap, got[2], n;
	int i, n_wide = wide();
	struct buf theirs;

	test_create(&self->p, 1, &theirs);
	test_call(&self->p, call_ping, .val = theirs.cap);
	test_stats(&self->base.ep, &before);
	for (i = 0; i < DEEP; i++)
		ASSERT_EQ(0, give_fast(&self->a, &self->a, cap, &cap));
	for (i = 0; i < n_wide; i++)
		ASSERT_EQ(0, give_fast(&self->a, i & 1 ? &self->b : &self->a, self->src.cap,
				       &got[i & 1]));
	test_tree(&self->a, self->src.cap, 0, DEEP + n_wide);
	test_call(&self->p, call_pings);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(DEEP + n_wide, n);
	test_call(&self->p, call_pings);
	test_tree(&self->a, self->src.cap, 0, 0);
	test_stale(&self->a, cap);
	test_stale(&self->a, got[0]);
	test_stale(&self->b, got[1]);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.caps, after.caps);
	drain_revoked(_metadata, &self->b, n_wide / 2);
	test_quiet(&self->a);
	test_quiet(&self->b);
	test_call(&self->p, call_ping_stop);
}

/* The same for what takes it all away without a REVOKE. */
TEST_F(big, move_from_many)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	__u64 cap = self->src.cap, got;
	struct buf dst;
	int i, n_wide = wide() / 10;

	for (i = 0; i < DEEP; i++)
		ASSERT_EQ(0, give_fast(&self->a, &self->a, cap, &cap));
	for (i = 0; i < n_wide; i++)
		ASSERT_EQ(0, give_fast(&self->a, &self->a, i & 1 ? self->src.cap : cap, &got));
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &t);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, 1, 1);
	test_tree(&self->b, dst.cap, 0, 0);
	test_users(&self->b, dst.cap, 1, 1);
	test_stale(&self->a, cap);
	test_stale(&self->a, got);
	test_quiet(&self->a);
}

/* One with very many children goes, from below and from above. */
TEST_F(big, drop_with_many_children)
{
	__u64 top, mid, got;
	int i, n_wide = wide() / 4;

	ASSERT_EQ(0, give_fast(&self->a, &self->a, self->src.cap, &top));
	ASSERT_EQ(0, give_fast(&self->a, &self->a, top, &mid));
	for (i = 0; i < n_wide; i++)
		ASSERT_EQ(0, give_fast(&self->a, &self->b, mid, &got));
	test_drop(&self->a, mid);
	test_tree(&self->a, top, 1, n_wide);
	test_drop(&self->a, self->src.cap);
	test_tree(&self->a, top, 0, n_wide);
	test_drop(&self->a, top);
	test_tree(&self->b, got, 0, 0);
	test_users(&self->b, got, n_wide, 0);
	ep_end(&self->b);
}

/* Grants many of its own to somebody else. */
static long call_grant_many(struct ep *ep, struct call *c)
{
	struct ep to = { .id = c->val };
	__u64 i;

	for (i = 0; i < c->n; i++) {
		struct zcipc_grant g = grant_cmd(&to, c->addr, 0, 0, RIGHTS_R);

		if (ioctl(ep->fd, ZCIPC_IOC_GRANT, &g))
			return -1;
	}
	return 0;
}

/*
 * 26, 30: whoever revokes is killed on the way. Either nothing has been revoked yet, or all is, and
 * everybody hears of it.
 */
static void kill_revoker(struct __test_metadata *_metadata, FIXTURE_DATA(big) *self, int n_wide,
			 const char *point, unsigned int usec)
{
	struct call revoke = { .fn = call_ioctl, .n = ZCIPC_IOC_REVOKE };
	struct zcipc_revoke cmd = { .size = sizeof(cmd), .flags = ZCIPC_REVOKE_KEEP };
	struct zcipc_recv m = { .size = sizeof(m) };
	struct zcipc_stats stats;
	struct buf theirs;
	__u64 *caps, last;
	int i, live = 0;
	struct ep v;

	caps = malloc(n_wide * sizeof(*caps));
	ASSERT_NE(NULL, caps);
	TEST_OK(start_nonblock(&v, true, 64));
	test_create(&v, 1, &theirs);
	for (i = 0; i < n_wide; i++) {
		if (!(i % 1000))
			test_call(&v, call_grant_many, .n = n_wide - i < 1000 ? n_wide - i : 1000,
				  .addr = theirs.cap, .val = self->a.id);
		ASSERT_EQ(0, ioctl(self->a.fd, ZCIPC_IOC_RECV, &m));
		caps[i] = m.cap;
	}
	cmd.cap = theirs.cap;
	memcpy(revoke.cmd, &cmd, sizeof(cmd));
	if (point)
		point_stop(point);
	ASSERT_EQ(0, ep_send(&v, &revoke));
	if (point) {
		ASSERT_TRUE(point_reached());
		test_stale(&self->a, caps[n_wide / 2]);
		kill(v.pid, SIGKILL);
		point_go();
	} else {
		struct timespec ts = { .tv_nsec = usec * 1000 };

		nanosleep(&ts, NULL);
	}
	ep_end(&v);
	neps--;
	for (i = 0; i < n_wide; i++) {
		struct zcipc_drop drop = { .size = sizeof(drop), .cap = caps[i] };

		/* Only what is there can be dropped. What is not says why. */
		if (!ioctl(self->a.fd, ZCIPC_IOC_DROP, &drop))
			live++;
		else
			ASSERT_EQ(ESTALE, errno);
	}
	ASSERT_TRUE(live == 0 || live == n_wide) TH_LOG("%d of %d are left", live, n_wide);
	if (point)
		ASSERT_EQ(0, live);
	last = live ? 0 : n_wide;
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) && stats.messages == last))
		TH_LOG("%llu messages", (unsigned long long)stats.messages);
	drain_revoked(_metadata, &self->a, last);
	test_quiet(&self->a);
	free(caps);
}

TEST_F(big, killed_while_revoking)
{
	unsigned int i, n = loops(5);

	for (i = 0; i < n; i++)
		kill_revoker(_metadata, self, fewer(4000), NULL, 1 + 200 * i);
	need_points();
	kill_revoker(_metadata, self, wide(), "revoked", 0);
}

/* 26: grants and drops, one after the other: no token twice, and nothing left. */
TEST_F(big, cycles)
{
	struct zcipc_stats before, after;
	unsigned int i, n = loops(fewer(fewer(30000)));
	__u64 got, last = 0;

	test_stats(&self->base.ep, &before);
	for (i = 0; i < n; i++) {
		struct zcipc_drop drop = { .size = sizeof(drop) };

		ASSERT_EQ(0, give_fast(&self->a, &self->b, self->src.cap, &got));
		ASSERT_LT(last, got);
		last = got;
		drop.cap = got;
		ASSERT_EQ(0, ioctl(self->b.fd, ZCIPC_IOC_DROP, &drop));
	}
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	test_tree(&self->a, self->src.cap, 0, 0);
}

/* --- REVOKE against everything else */

FIXTURE(against)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
};

FIXTURE_VARIANT(against)
{
	int (*fn)(struct job *j);	/* what the victim does meanwhile */
	const char *point;		/* where it is held up, or nowhere in particular */
	__u32 type;
	bool remote;
};

#define AGAINST(_name, _fn, _point, _type, _remote)			\
	FIXTURE_VARIANT_ADD(against, _name)				\
	{ .fn = _fn, .point = _point, .type = _type, .remote = _remote, }

AGAINST(map, job_map, NULL, 0, false);
AGAINST(map_process, job_map, NULL, 0, true);
AGAINST(map_found, job_map, "found", 0, false);
AGAINST(map_found_process, job_map, "found", 0, true);
AGAINST(map_exec_found, job_map_exec, "found", 0, true);
AGAINST(unmap, job_unmap, NULL, 0, false);
AGAINST(unmap_process, job_unmap, NULL, 0, true);
AGAINST(fault, job_read, NULL, 0, false);
AGAINST(fault_process, job_read, NULL, 0, true);
AGAINST(fault_fault, job_read, "fault", 0, false);
AGAINST(fault_fault_process, job_read, "fault", 0, true);
AGAINST(share, job_send, NULL, ZCIPC_SHARE, false);
AGAINST(share_process, job_send, NULL, ZCIPC_SHARE, true);
AGAINST(share_prepared, job_send, "prepared", ZCIPC_SHARE, false);
AGAINST(share_found, job_send, "found", ZCIPC_SHARE, true);
AGAINST(share_committed, job_send, "committed", ZCIPC_SHARE, false);
AGAINST(share_sent, job_send, "sent", ZCIPC_SHARE, true);
AGAINST(copy, job_send, NULL, ZCIPC_COPY, false);
AGAINST(copy_process, job_send, NULL, ZCIPC_COPY, true);
AGAINST(copy_found, job_send, "found", ZCIPC_COPY, false);
AGAINST(copy_frozen, job_send, "frozen", ZCIPC_COPY, true);
AGAINST(grant, job_grant, NULL, 0, false);
AGAINST(grant_process, job_grant, NULL, 0, true);
AGAINST(grant_prepared, job_grant, "prepared", 0, true);
AGAINST(grant_found, job_grant, "found", 0, false);
AGAINST(recv, job_recv, NULL, 0, false);
AGAINST(recv_process, job_recv, NULL, 0, true);
AGAINST(recv_received, job_recv, "received", 0, true);
AGAINST(drop, job_drop, NULL, 0, false);
AGAINST(drop_process, job_drop, NULL, 0, true);
AGAINST(query_found, job_query, "found", 0, false);

FIXTURE_SETUP(against)
{
	if (variant->point)
		need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 256));
	test_open(&self->c, 256, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(against)

/*
 * One capability of the victim's, which is in the middle of something. When REVOKE has returned
 * there is none but the owner's, and no mapping but the owner's; whatever the victim was about to
 * have, it has not, and nor has anybody whom it gave it to.
 */
static void revoke_against(struct __test_metadata *_metadata, FIXTURE_DATA(against) *self,
			   const FIXTURE_VARIANT(against) *variant, unsigned int round)
{
	struct zcipc_grant g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_RG | RIGHTS_RX);
	struct job j = { .fn = variant->fn, .ep = &self->b, .to = &self->c,
			 .type = variant->type, .rights = RIGHTS_R };
	bool heard = variant->fn != job_recv;
	unsigned int i, told = 0;
	struct zcipc_recv m;
	char *p = NULL;
	struct buf buf;
	int rc, err;
	__u64 n = 0;

	test_grant(&self->a, &g);
	j.cap = g.peer_cap;
	if (heard) {
		test_take(&self->b, &buf);
		test_map(&self->b, j.cap, 0, 0, RIGHTS_R, &p);
		j.p = p;
	}
	if (variant->fn == job_read)
		test_call(&self->b, call_forget, .addr = (uintptr_t)p, .n = N * psize);
	if (variant->point)
		point_set(variant->point, 40);
	job_start(&j);
	if (variant->point) {
		ASSERT_TRUE(point_reached());
		point_go();
	}
	for (i = 0; i < round % 16 && !variant->point; i++)
		sched_yield();
	if (round & 1)
		rc = zc_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	else
		rc = zc_revoke(&self->a, &self->b, j.cap, 0, &n);
	err = errno;
	test_users(&self->a, self->src.cap, 1, 1);
	job_join(&j);

	if (variant->fn == job_recv)
		heard = !j.rc;
	if (variant->fn == job_drop && !j.rc) {
		ASSERT_TRUE(!rc || err == ENOENT);
	} else {
		ASSERT_EQ(0, rc) TH_LOG("%s", strerror(err));
		ASSERT_LE(1, n);
	}
	/* A read has raised SIGBUS. */
	if (j.rc && variant->fn != job_read)
		ASSERT_EQ(variant->fn == job_recv ? EAGAIN :
			  variant->fn == job_unmap ? ENOENT : ESTALE, j.err);
	if (p)
		test_gone(&self->b, p, N);
	if (variant->fn == job_map && !j.rc)
		test_gone(&self->b, j.p, N);
	if (variant->fn == job_read && !j.rc)
		ASSERT_EQ(pattern(1, 0, 0), j.n);
	test_stale(&self->b, j.cap);

	while (!zc_recv(&self->b, &m)) {
		ASSERT_EQ(ZCIPC_REVOKED, m.type);
		ASSERT_EQ(j.cap, m.cap);
		told++;
	}
	ASSERT_EQ(EAGAIN, errno);
	ASSERT_EQ(heard && !(variant->fn == job_drop && !j.rc), told);
	if (variant->type == ZCIPC_COPY && !j.rc) {
		test_take(&self->c, &buf);
		test_check(&self->c, buf.p, N, 1);
		test_drop(&self->c, buf.cap);
	}
	test_quiet(&self->c);
	test_check(&self->a, self->src.p, N, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
}

TEST_F(against, revoke)
{
	unsigned int i, n = variant->point ? 2 : loops(fewer(32));

	for (i = 0; i < n; i++)
		revoke_against(_metadata, self, variant, i);
}

/* The grantee takes it away from the owner, who takes it away from the grantee: one of them. */
FIXTURE(winner)
{
	struct base base;
	struct ep a, b, c;
};

FIXTURE_VARIANT(winner)
{
	const char *point;
	__u32 flags;
};

#define WINNER(_name, _point, _flags)					\
	FIXTURE_VARIANT_ADD(winner, _name) { .point = _point, .flags = _flags, }

WINNER(any, NULL, 0);
WINNER(any_keep, NULL, ZCIPC_REVOKE_KEEP);
WINNER(prepared, "prepared", 0);
WINNER(found_keep, "found", ZCIPC_REVOKE_KEEP);
WINNER(unmapped, "unmapped", 0);
WINNER(committed_keep, "committed", ZCIPC_REVOKE_KEEP);
WINNER(sent, "sent", 0);

FIXTURE_SETUP(winner)
{
	if (variant->point)
		need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	test_open(&self->b, 64, O_NONBLOCK);
	test_open(&self->c, 64, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(winner)

TEST_F(winner, revoke_or_move)
{
	unsigned int i, k, n = variant->point ? 2 : loops(fewer(32));
	struct buf src, dst, moved;
	struct zcipc_recv m;
	__u64 count;
	int rc, err;
	char *p;

	for (i = 0; i < n; i++) {
		struct job j = { .fn = job_send, .ep = &self->b, .to = &self->c,
				 .type = ZCIPC_MOVE, .flags = ZCIPC_F_REVOKE_OTHERS };

		test_create(&self->a, N, &src);
		test_fill(&self->a, src.p, N, i + 1);
		test_give(&self->a, &self->b, src.cap, RIGHTS_ALL, &dst);
		test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
		j.cap = dst.cap;
		if (variant->point)
			point_set(variant->point, 40);
		job_start(&j);
		if (variant->point) {
			ASSERT_TRUE(point_reached());
			point_go();
		}
		for (k = 0; k < i && !variant->point; k++)
			sched_yield();
		rc = zc_revoke(&self->a, NULL, src.cap, variant->flags, &count);
		err = errno;
		/* Whoever won, this one is not the grantee's any more. */
		test_gone(&self->b, p, N);
		job_join(&j);
		test_stale(&self->b, dst.cap);
		if (j.rc) {
			ASSERT_EQ(ESTALE, j.err);
			ASSERT_EQ(0, rc);
			take_revoked(_metadata, &self->b, dst.cap, &self->a);
			if (variant->flags) {
				test_check(&self->a, src.p, N, i + 1);
				test_drop(&self->a, src.cap);
			}
		} else {
			ASSERT_EQ(-1, rc);
			ASSERT_EQ(ESTALE, err);
			test_gone(&self->a, src.p, N);
			test_take(&self->c, &moved);
			test_check(&self->c, moved.p, N, i + 1);
			test_users(&self->c, moved.cap, 1, 1);
			test_drop(&self->c, moved.cap);
			take_revoked(_metadata, &self->a, src.cap, &self->b);
		}
		test_err_recv(EAGAIN, &self->a, &m);
		test_quiet(&self->b);
		test_quiet(&self->c);
	}
}

/*
 * Between the two steps of a REVOKE: nothing is mapped any more, but the tables still have it. For
 * the victim it is over already, and what it does then must not bring anything back.
 */
FIXTURE(between)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, heard;
	struct zcipc_grant unheard;
	char *p;
	struct job job;
};

FIXTURE_VARIANT(between)
{
	bool remote;
	__u32 flags;
};

FIXTURE_VARIANT_ADD(between, local) { .remote = false, };
FIXTURE_VARIANT_ADD(between, local_keep) { .flags = ZCIPC_REVOKE_KEEP, };
FIXTURE_VARIANT_ADD(between, process) { .remote = true, };
FIXTURE_VARIANT_ADD(between, process_keep) { .remote = true, .flags = ZCIPC_REVOKE_KEEP, };

FIXTURE_SETUP(between)
{
	need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 64));
	test_open(&self->c, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &self->heard);
	test_map(&self->b, self->heard.cap, 0, 0, RIGHTS_RW, &self->p);
	self->unheard = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_ALL);
	test_grant(&self->a, &self->unheard);
	self->job = (struct job){ .fn = job_revoke, .ep = &self->a, .cap = self->src.cap,
				  .flags = variant->flags };
	point_set("revoked", 100);
	job_start(&self->job);
	ASSERT_TRUE(point_reached());
	point_go();
}

FIXTURE_TEARDOWN_BASE(between)

static void revoke_ends(struct __test_metadata *_metadata, FIXTURE_DATA(between) *self)
{
	job_join(&self->job);
	EXPECT_EQ(0, self->job.rc);
	EXPECT_EQ(self->job.flags ? 2 : 3, self->job.n);
}

TEST_F(between, nothing_works)
{
	test_gone(&self->b, self->p, N);
	test_stale(&self->b, self->heard.cap);
	test_stale(&self->b, self->unheard.peer_cap);
	test_gone(&self->b, self->p, N);
	revoke_ends(_metadata, self);
	test_gone(&self->b, self->p, N);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
	test_quiet(&self->b);
}

/* What arrives then is received. Nobody hears of the end of what it has not heard of. */
TEST_F(between, receive)
{
	unsigned int moved = 0, told = 0;
	bool ended = false;
	struct zcipc_recv m;
	struct buf mine;

	test_create(&self->c, 1, &mine);
	test_send(&self->c, &self->b, ZCIPC_MOVE, mine.cap);
	for (;;) {
		if (!zc_recv(&self->b, &m)) {
			ASSERT_TRUE(m.type == ZCIPC_MOVE ||
				    (m.type == ZCIPC_REVOKED && m.cap == self->heard.cap));
			moved += m.type == ZCIPC_MOVE;
			told += m.type == ZCIPC_REVOKED;
			continue;
		}
		ASSERT_EQ(EAGAIN, errno);
		if (ended)
			break;
		revoke_ends(_metadata, self);
		ended = true;
	}
	EXPECT_EQ(1, moved);
	EXPECT_EQ(1, told);
	test_quiet(&self->b);
}

/* Its place in the window is free when the call has returned. Before, nobody else gets it. */
TEST_F(between, place)
{
	struct buf next;

	while (zc_create(&self->b, 64, &next)) {
		ASSERT_EQ(EAGAIN, errno);
		test_gone(&self->b, self->p, N);
		msleep(5);
	}
	test_check(&self->b, next.p, 64, 0);
	revoke_ends(_metadata, self);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
	test_quiet(&self->b);
}

TEST_F(between, unmap)
{
	int rc = zc_unmap(&self->b, self->p);

	EXPECT_TRUE(!rc || errno == ENOENT);
	revoke_ends(_metadata, self);
	test_gone(&self->b, self->p, N);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
}

TEST_F(between, victim_dies)
{
	ep_end(&self->b);
	revoke_ends(_metadata, self);
}

TEST_F(between, victim_closes)
{
	struct call c = { .fn = call_close };

	ep_call(&self->b, &c);
	revoke_ends(_metadata, self);
}

/* For the owner it is over, too. */
TEST_F(between, owner_goes_on)
{
	struct buf moved, dst;
	__u64 n;

	if (!variant->flags) {
		test_stale(&self->a, self->src.cap);
		test_gone(&self->a, self->src.p, N);
		revoke_ends(_metadata, self);
		return;
	}
	test_users(&self->a, self->src.cap, 1, 1);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(0, n);
	test_pass(&self->a, &self->c, ZCIPC_MOVE, self->src.cap, &moved);
	test_fill(&self->c, moved.p, N, 2);
	test_give(&self->c, &self->a, moved.cap, RIGHTS_R, &dst);
	revoke_ends(_metadata, self);
	test_check(&self->c, moved.p, N, 2);
	test_tree(&self->c, moved.cap, 0, 1);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
	test_quiet(&self->b);
}

/* --- REVOKE against death, and against many */

FIXTURE(storm)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	volatile bool stop;
};

FIXTURE_SETUP(storm)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(storm)

/* 30: the victim is going away, in whichever way, while its capability is revoked. */
static void revoke_dying(struct __test_metadata *_metadata, FIXTURE_DATA(storm) *self,
			 int (*fn)(struct job *j), const char *point, unsigned int round)
{
	struct job j = { .fn = fn, .ep = &self->b };
	struct zcipc_recv m;
	struct buf dst;
	unsigned int i;
	char *p;
	__u64 n;

	TEST_OK(start_nonblock(&self->b, true, 64));
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	if (round % 3)
		test_grant_rights(&self->b, &self->a, dst.cap, RIGHTS_R);
	if (point)
		point_set(point, 100);
	job_start(&j);
	if (point) {
		ASSERT_TRUE(point_reached());
		point_go();
	}
	for (i = 0; i < round * 4; i++)
		sched_yield();
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_users(&self->a, self->src.cap, 1, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
	job_join(&j);
	ep_end(&self->b);
	neps--;
	test_err_recv(EAGAIN, &self->a, &m);
	test_check(&self->a, self->src.p, N, 1);
}

TEST_F(storm, victim_dies)
{
	unsigned int i, n = loops(fewer(12));

	for (i = 0; i < n; i++)
		revoke_dying(_metadata, self, i & 1 ? job_exit : job_kill, NULL, i);
	need_points();
	for (i = 0; i < 2; i++)
		revoke_dying(_metadata, self, i & 1 ? job_exit : job_kill, "shutdown", i);
}

/* What victims do all the time: map, read, share and grant on, and drop, whatever they get. */
struct victim {
	pthread_t thread;
	struct ep *ep, *to;
	volatile bool *stop;
	volatile unsigned long n;
	volatile int err;
};

static bool victim_may_get(int err)
{
	return err == ESTALE || err == EAGAIN;
}

static void *victim_thread(void *arg)
{
	struct victim *v = arg;
	struct zcipc_recv m;
	__u64 val;
	char *p;

	while (!*v->stop && !v->err) {
		if (zc_recv(v->ep, &m)) {
			if (errno != EAGAIN)
				v->err = errno;
			sched_yield();
			continue;
		}
		v->n++;
		if (m.type == ZCIPC_REVOKED)
			continue;
		if (zc_map(v->ep, m.cap, 0, 0, RIGHTS_R, &p)) {
			if (!victim_may_get(errno))
				v->err = errno;
		} else if (!touch_read(p, &val) && val != pattern(1, 0, 0)) {
			v->err = EUCLEAN;
		}
		if (v->n % 3 && zc_send_rights(v->ep, v->to, ZCIPC_SHARE, m.cap, RIGHTS_RG) &&
		    !victim_may_get(errno))
			v->err = errno;
		if (v->n % 2 && zc_grant_rights(v->ep, v->to, m.cap, RIGHTS_RG) &&
		    !victim_may_get(errno))
			v->err = errno;
		if (v->n % 5 == 0 && zc_drop(v->ep, m.cap) && !victim_may_get(errno))
			v->err = errno;
	}
	return NULL;
}

TEST_F(storm, revoke_while_all_goes_on)
{
	unsigned int i, k, n = loops(fewer(100));
	struct victim v[2];
	__u64 count;

	test_open(&self->b, 64 * N, O_NONBLOCK);
	test_open(&self->c, 64 * N, O_NONBLOCK);
	test_depth(&self->b, 16);
	test_depth(&self->c, 16);
	for (i = 0; i < 2; i++) {
		v[i] = (struct victim){ .ep = i ? &self->b : &self->c,
					.to = i ? &self->c : &self->b, .stop = &self->stop };
		pthread_create(&v[i].thread, NULL, victim_thread, &v[i]);
	}
	for (i = 0; i < n; i++) {
		unsigned long before = v[0].n + v[1].n;
		int rc = zc_grant_rights(&self->a, i & 1 ? &self->b : &self->c, self->src.cap,
					 RIGHTS_RG);

		ASSERT_TRUE(!rc || errno == EAGAIN);
		for (k = 0; k < i % 20; k++)
			sched_yield();
		/* There is a message, so somebody gets one. */
		if (i % 8 == 0)
			ASSERT_TRUE(wait_until(v[0].n + v[1].n > before || v[0].err || v[1].err));
		test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &count);
		/* At this moment there is nobody else who could derive anything. */
		test_users(&self->a, self->src.cap, 1, 1);
	}
	self->stop = true;
	for (i = 0; i < 2; i++) {
		pthread_join(v[i].thread, NULL);
		EXPECT_EQ(0, v[i].err) TH_LOG("%s", strerror(v[i].err));
	}
	test_check(&self->a, self->src.p, N, 1);
}

/* --- executable mappings */

/* A function that returns a number of up to 16 bits. 0: not known for this machine. */
static __u64 code(__u64 val)
{
	struct utsname name;

	if (uname(&name))
		return 0;
	/* mov $val, %eax; ret */
	if (!strcmp(name.machine, "x86_64") || name.machine[0] == 'i')
		return 0xc3ULL << 40 | val << 8 | 0xb8;
	/* mov w0, #val; ret */
	if (!strcmp(name.machine, "aarch64"))
		return 0xd65f03c0ULL << 32 | val << 5 | 0x52800000;
	return 0;
}

#define can_run()	(!!code(0))

/* Writes a function where others may execute it already: see struct zcipc_map. */
static long call_code(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	long rc = call_write(ep, c);

	if (!rc)
		__builtin___clear_cache(p, p + sizeof(__u64));
	return rc;
}

static int ep_code(struct ep *ep, char *p, __u64 val)
{
	struct call c = { .fn = call_code, .addr = (uintptr_t)p, .val = code(val) };

	return ep_call(ep, &c);
}

/* What it returns, or a signal, negative. */
static long call_run(struct ep *ep, struct call *c)
{
	int sig = sigsetjmp(touch_env, 0);
	int rc = -sig;

	(void)ep;
	if (!sig) {
		touching = 1;
		rc = ((int (*)(void))(uintptr_t)c->addr)();
	}
	touching = 0;
	return rc;
}

static int ep_run(struct ep *ep, const char *p)
{
	struct call c = { .fn = call_run, .addr = (uintptr_t)p };

	return ep_call(ep, &c);
}

/* What this process has mapped, and would keep an endpoint. */
static struct exec_map {
	void *p;
	size_t len;
} exec_maps[64];
static unsigned int nexec_maps;

static long call_mmap(struct ep *ep, struct call *c)
{
	void *p = mmap(NULL, c->n, c->val, c->val2, ep->fd, c->addr);

	c->addr = (uintptr_t)p;
	if (p == MAP_FAILED)
		return -1;
	exec_maps[nexec_maps++ % ARRAY_SIZE(exec_maps)] = (struct exec_map){ p, c->n };
	return 0;
}

static long call_mprotect(struct ep *ep, struct call *c)
{
	(void)ep;
	return mprotect((void *)(uintptr_t)c->addr, c->n, c->val);
}

/* Pages, not bytes, but for the offset, which is what MAP gave. */
static int ep_mmap(struct ep *ep, const char *offset, size_t npages, int prot, int flags, char **p)
{
	struct call c = { .fn = call_mmap, .addr = (uintptr_t)offset, .n = npages * psize,
			  .val = prot, .val2 = flags };
	int rc = ep_call(ep, &c);

	*p = (char *)(uintptr_t)c.addr;
	return rc;
}

static int ep_mprotect(struct ep *ep, char *p, size_t npages, int prot)
{
	struct call c = { .fn = call_mprotect, .addr = (uintptr_t)p, .n = npages * psize,
			  .val = prot };

	return ep_call(ep, &c);
}

#define test_mmap(...)			TEST_OK(ep_mmap(__VA_ARGS__))
#define test_err_mmap(err, ...)		TEST_ERR(err, ep_mmap(__VA_ARGS__))
#define test_run(val, ep, p)		ASSERT_EQ(val, ep_run(ep, p))

#define PROT_RX (PROT_READ | PROT_EXEC)

static int zc_unmap_exec(struct ep *ep, const char *offset)
{
	struct zcipc_unmap cmd = { .size = sizeof(cmd), .flags = ZCIPC_UNMAP_OFFSET,
				   .addr = (uintptr_t)offset };

	return zc_ioctl(ep, ZCIPC_IOC_UNMAP, &cmd);
}

FIXTURE(exec)
{
	struct base base;
	struct ep a, b;
	struct buf src, dst;
	char *offset;
	char *p;
};

FIXTURE_VARIANT(exec)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(exec, local) { .remote = false, };
FIXTURE_VARIANT_ADD(exec, process) { .remote = true, };

/* The owner writes a function at the beginning of each page, a peer has them executable. */
FIXTURE_SETUP(exec)
{
	int i;

	if (!can_run())
		SKIP(return, "no machine code for this machine");
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 64));
	test_create(&self->a, N, &self->src);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, ep_write(&self->a, self->src.p + i * psize, code(100 + i)));
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &self->dst);
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_RX, &self->offset);
	test_mmap(&self->b, self->offset, N, PROT_RX, MAP_SHARED, &self->p);
	for (i = 0; i < N; i++)
		test_run(100 + i, &self->b, self->p + i * psize);
}

FIXTURE_TEARDOWN(exec)
{
	unsigned int i;

	for (i = 0; i < nexec_maps; i++)
		munmap(exec_maps[i].p, exec_maps[i].len);
	base_teardown(_metadata, &self->base);
}

/* A child has nothing of it. */
static long call_fork_touch(struct ep *ep, struct call *c)
{
	__u64 val;
	pid_t pid;
	int status;

	(void)ep;
	if (madvise((void *)(uintptr_t)c->addr, c->n, MADV_DOFORK))
		return -errno;
	pid = fork();
	if (!pid)
		_exit(touch_read((void *)(uintptr_t)c->addr, &val));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

TEST_F(exec, forked)
{
	struct call c = { .fn = call_fork_touch, .addr = (uintptr_t)self->p, .n = N * psize };
	long rc = ep_call(&self->b, &c);

	if (rc == -EINVAL)
		SKIP(return, "this kernel lets no child inherit it");
	ASSERT_EQ(SIGBUS, rc);
	test_run(100, &self->b, self->p);
}

TEST_F(exec, runs)
{
	struct zcipc_region_query q;
	char *p;

	/* Of the same memory: what the owner writes is executed. */
	ASSERT_EQ(0, ep_code(&self->a, self->src.p + psize, 42));
	test_run(42, &self->b, self->p + psize);
	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ(2, q.maps);
	EXPECT_EQ(0, (uintptr_t)self->offset % psize);
	EXPECT_LE(ZCIPC_WINDOW_OFFSET(3), (uintptr_t)self->offset);
	/* As often as one likes, and also without execution. */
	test_mmap(&self->b, self->offset, N, PROT_EXEC, MAP_SHARED, &p);
	test_run(42, &self->b, p + psize);
	test_mmap(&self->b, self->offset, N, PROT_READ, MAP_SHARED, &p);
	test_touch_read(0, &self->b, p);
	test_run(-SIGSEGV, &self->b, p);
	TEST_OK(ep_mprotect(&self->b, p, N, PROT_RX));
	test_run(100, &self->b, p);
	/* Also without a window. */
	if (!variant->remote) {
		static struct ep none;
		struct buf dst;

		test_open(&none, 0, O_NONBLOCK);
		test_give(&self->a, &none, self->src.cap, RIGHTS_RX, &dst);
		test_map(&none, dst.cap, 0, 0, RIGHTS_RX, &p);
		test_mmap(&none, p, N, PROT_RX, MAP_SHARED, &p);
		test_run(42, &none, p + psize);
	}
}

/* 13: who has the right has no way to write there, who can write has no way to execute. */
TEST_F(exec, never_writable)
{
	static const int prots[] = { PROT_WRITE, PROT_READ | PROT_WRITE, PROT_WRITE | PROT_EXEC,
				     PROT_READ | PROT_WRITE | PROT_EXEC };
	struct iovec local, remote;
	__u64 bad = code(66);
	char path[32], *p;
	size_t i;
	int fd;

	test_touch_write(SIGSEGV, &self->b, self->p);
	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		test_err_mmap(EACCES, &self->b, self->offset, N, prots[i], MAP_SHARED, &p);
		TEST_ERR(EACCES, ep_mprotect(&self->b, self->p, N, prots[i]));
	}
	test_err_map(EINVAL, &self->b, self->dst.cap, 0, 0, RIGHTS_RW | ZCIPC_RIGHT_EXEC, &p);
	test_err_map(EINVAL, &self->b, self->dst.cap, 0, 0, ZCIPC_RIGHT_EXEC, &p);
	/* The kernel's ways, which ask nobody for PROT_WRITE. */
	snprintf(path, sizeof(path), "/proc/%d/mem", self->b.pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		EXPECT_EQ(-1, pwrite(fd, &bad, 8, (uintptr_t)self->p));
	close(fd);
	local = (struct iovec){ &bad, 8 };
	remote = (struct iovec){ self->p, 8 };
	EXPECT_EQ(-1, process_vm_writev(self->b.pid, &local, 1, &remote, 1, 0));
	if (variant->remote && !ptrace(PTRACE_SEIZE, self->b.pid, 0, 0)) {
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, self->b.pid, 0, 0));
		waitpid(self->b.pid, NULL, __WALL);
		EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, self->b.pid, self->p, bad));
		ptrace(PTRACE_DETACH, self->b.pid, 0, 0);
	}
	test_run(100, &self->b, self->p);
	/* The window is never executable. */
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_RW, &p);
	TEST_ERR(EACCES, ep_mprotect(&self->b, p, N, PROT_RX));
	TEST_ERR(EACCES, ep_mprotect(&self->b, p, N, PROT_EXEC));
	test_run(-SIGSEGV, &self->b, p);
}

/* 13: not without the right. */
TEST_F(exec, needs_right)
{
	struct buf dst, next;
	char *p;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL & ~ZCIPC_RIGHT_EXEC, &dst);
	test_err_map(EACCES, &self->b, dst.cap, 0, 0, RIGHTS_RX, &p);
	test_err_grant_rights(EACCES, &self->b, &self->b, dst.cap, RIGHTS_RX);
	test_err_send_rights(EACCES, &self->b, &self->b, ZCIPC_SHARE, dst.cap, RIGHTS_RX);
	test_err_send_rights(EACCES, &self->b, &self->b, ZCIPC_MOVE, dst.cap, RIGHTS_RX);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_run(-SIGSEGV, &self->b, p);
	/* A snapshot is its owner's. */
	test_pass(&self->b, &self->b, ZCIPC_COPY, dst.cap, &next);
	test_map(&self->b, next.cap, 0, 0, RIGHTS_RX, &p);
	test_mmap(&self->b, p, N, PROT_RX, MAP_SHARED, &p);
	test_run(101, &self->b, p + psize);
}

/* Offsets: what they are good for, and nothing else is. */
TEST_F(exec, offsets)
{
	char *part, *p, *q;
	struct buf dst;
	int i;

	/* A part of the mapping, and a mapping of a part. */
	test_mmap(&self->b, self->offset + 4 * psize, 2, PROT_RX, MAP_SHARED, &p);
	test_run(104, &self->b, p);
	test_run(105, &self->b, p + psize);
	test_map(&self->b, self->dst.cap, 8, 2, RIGHTS_RX, &part);
	ASSERT_TRUE(part >= self->offset + N * psize || part + 2 * psize <= self->offset);
	test_mmap(&self->b, part, 2, PROT_RX, MAP_SHARED, &p);
	test_run(108, &self->b, p);
	test_run(109, &self->b, p + psize);
	test_err_mmap(EINVAL, &self->b, part, 3, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part + psize, 2, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part + 2 * psize, 1, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part + (1ULL << 30), 1, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part, 2, PROT_RX, MAP_PRIVATE, &q);
	test_err_mmap(EINVAL, &self->b, part, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, &q);
	test_err_mmap(EINVAL, &self->a, part, 2, PROT_RX, MAP_SHARED, &q);

	/* Addresses are one thing, offsets another. */
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_R, &q);
	test_err_unmap(ENOENT, &self->b, part);
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, q));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, NULL));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, part + psize));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, (char *)-psize));
	TEST_ERR(EINVAL, zc_unmap_exec(&self->b, part + 1));
	TEST_OK(zc_unmap_exec(&self->b, part));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, part));
	test_run(-SIGBUS, &self->b, p);
	test_err_mmap(EINVAL, &self->b, part, 2, PROT_RX, MAP_SHARED, &q);

	/* Never used again: what is mapped there shows nothing new. */
	for (i = 0; i < 8; i++) {
		test_give(&self->a, &self->b, self->src.cap, RIGHTS_RX, &dst);
		test_map(&self->b, dst.cap, 0, 2, RIGHTS_RX, &q);
		ASSERT_LT(part, q);
		part = q;
		test_run(-SIGBUS, &self->b, p);
		test_drop(&self->b, dst.cap);
	}
	/* The first is still there. */
	test_run(100, &self->b, self->p);
}

/* munmap() of it, or of parts of it, takes nothing but what is seen away. */
TEST_F(exec, munmap)
{
	struct call c = { .fn = call_munmap, .addr = (uintptr_t)self->p + psize, .n = 2 * psize };

	TEST_OK(ep_call(&self->b, &c));
	test_run(100, &self->b, self->p);
	test_run(103, &self->b, self->p + 3 * psize);
	test_run(-SIGSEGV, &self->b, self->p + psize);
	test_users(&self->a, self->src.cap, 2, 2);
	test_mmap(&self->b, self->offset, N, PROT_RX, MAP_SHARED, &self->p);
	test_run(101, &self->b, self->p + psize);
	if (!variant->remote)
		ASSERT_EQ(MAP_FAILED, mremap(self->p, N * psize, 2 * N * psize, MREMAP_MAYMOVE));
}

/* G4: a snapshot is one of the code, too. */
TEST_F(exec, snapshot)
{
	struct buf copy;
	char *p;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	test_map(&self->b, copy.cap, 0, 0, RIGHTS_RX, &p);
	test_mmap(&self->b, p, N, PROT_RX, MAP_SHARED, &p);
	test_run(102, &self->b, p + 2 * psize);
	test_run(102, &self->b, self->p + 2 * psize);
	ASSERT_EQ(0, ep_code(&self->a, self->src.p + 2 * psize, 77));
	test_run(77, &self->b, self->p + 2 * psize);
	test_run(102, &self->b, p + 2 * psize);
	ASSERT_EQ(0, ep_code(&self->b, copy.p + 3 * psize, 78));
	test_run(103, &self->b, self->p + 3 * psize);
	test_run(78, &self->b, p + 3 * psize);
}

/* A part that is moved away is gone, the rest runs. */
TEST_F(exec, part_is_moved)
{
	struct zcipc_transfer t = transfer_cmd(&self->a, ZCIPC_MOVE, self->src.cap, 4, 2, 0);
	struct buf moved;
	int i;

	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &t);
	test_take(&self->a, &moved);
	for (i = 0; i < N; i++)
		test_run(i == 4 || i == 5 ? -SIGBUS : 100 + i, &self->b, self->p + i * psize);
	ASSERT_EQ(0, ep_write(&self->a, moved.p, code(1)));
	test_run(-SIGBUS, &self->b, self->p + 4 * psize);
}

/* Has a page been made known to instruction caches? Not where they see what is written anyway. */
static bool page_is_known(const char *p)
{
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0, bits = 0;

	if (pread(map, &entry, sizeof(entry), (uintptr_t)p / psize * sizeof(entry)) < 0 ||
	    pread(flags, &bits, sizeof(bits),
		  (entry & ((1ULL << 55) - 1)) * sizeof(bits)) < 0)
		bits = 0;
	close(map);
	close(flags);
	/* KPF_ARCH, which is PG_arch_1. */
	return entry >> 63 && bits >> 38 & 1;
}

/* Where one function was there is the next, be the pages new or not, whatever maps them. */
TEST_F(exec, written_again)
{
	static const __u32 kinds[] = { 0, ZCIPC_CREATE_UNPINNABLE, ZCIPC_CREATE_HUGE };
	bool known[ARRAY_SIZE(kinds)];
	char *offset, *window, *p;
	static struct ep ep;
	struct buf b;
	__u64 val;
	size_t i;

	if (variant->remote)
		SKIP(return, "one kind of peer is enough");
	test_open(&ep, 2 * huge_pages, O_NONBLOCK);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		test_create_flags(&ep, 1, kinds[i], &b);
		window = b.p;
		for (val = 1; val < 4; val++) {
			ASSERT_EQ(0, ep_write(&ep, window, code(100 * i + val)));
			test_map(&ep, b.cap, 0, 0, RIGHTS_RX, &offset);
			EXPECT_FALSE(page_is_known(window));
			test_mmap(&ep, offset, b.npages, PROT_RX, MAP_SHARED, &p);
			test_run(100 * i + val, &ep, p);
			known[i] = page_is_known(window);
			EXPECT_EQ(known[0], known[i]);
			TEST_OK(zc_unmap_exec(&ep, offset));
		}
		test_drop(&ep, b.cap);
	}
}

/* Another process has neither the offsets nor the mappings. */
TEST_F(exec, other_process)
{
	struct call c = { .fn = call_send_fd };
	int fd, status;
	pid_t pid;

	if (variant->remote) {
		ASSERT_EQ(0, ep_send(&self->b, &c));
		fd = recv_fd(self->b.sock);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ep_wait(&self->b, &c));
		ASSERT_EQ(MAP_FAILED, mmap(NULL, N * psize, PROT_RX, MAP_SHARED, fd,
					   (uintptr_t)self->offset));
		ASSERT_EQ(EPERM, errno);
		close(fd);
		return;
	}
	pid = fork();
	if (!pid) {
		void *p = mmap(NULL, N * psize, PROT_RX, MAP_SHARED, self->b.fd,
			       (uintptr_t)self->offset);

		if (p != MAP_FAILED || errno != EPERM)
			_exit(1);
		_exit(ep_run(&self->b, self->p) == -SIGSEGV ? 0 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	test_run(100, &self->b, self->p);
}

/* It ends with whatever ends it, and does not come back. */
FIXTURE(exec_end)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, dst;
	char *offset;
	char *p;
};

enum exec_end { BY_UNMAP, BY_DROP, BY_REVOKE, BY_PEER, BY_OWN, BY_PULL, BY_MOVE };

FIXTURE_VARIANT(exec_end)
{
	enum exec_end how;
};

FIXTURE_VARIANT_ADD(exec_end, unmap) { .how = BY_UNMAP, };
FIXTURE_VARIANT_ADD(exec_end, drop) { .how = BY_DROP, };
FIXTURE_VARIANT_ADD(exec_end, revoke) { .how = BY_REVOKE, };
FIXTURE_VARIANT_ADD(exec_end, revoke_of_peer) { .how = BY_PEER, };
FIXTURE_VARIANT_ADD(exec_end, revoke_own) { .how = BY_OWN, };
FIXTURE_VARIANT_ADD(exec_end, pull) { .how = BY_PULL, };
FIXTURE_VARIANT_ADD(exec_end, move_from_others) { .how = BY_MOVE, };

FIXTURE_SETUP(exec_end)
{
	int i;

	if (!can_run())
		SKIP(return, "no machine code for this machine");
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, true, 64));
	test_open(&self->c, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, ep_write(&self->a, self->src.p + i * psize, code(100 + i)));
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &self->dst);
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_RX, &self->offset);
	test_mmap(&self->b, self->offset, N, PROT_RX, MAP_SHARED, &self->p);
}

FIXTURE_TEARDOWN_BASE(exec_end)

TEST_F(exec_end, ends)
{
	struct zcipc_transfer t;
	char *p;
	__u64 n;
	int i;

	for (i = 0; i < N; i++)
		test_run(100 + i, &self->b, self->p + i * psize);
	switch (variant->how) {
	case BY_UNMAP:
		TEST_OK(zc_unmap_exec(&self->b, self->offset));
		break;
	case BY_DROP:
		test_drop(&self->b, self->dst.cap);
		break;
	case BY_REVOKE:
		test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
		break;
	case BY_PEER:
		test_revoke(&self->a, &self->b, self->dst.cap, 0, &n);
		break;
	case BY_OWN:
		test_revoke(&self->b, NULL, self->dst.cap, 0, &n);
		break;
	case BY_PULL:
		t = transfer_cmd(&self->b, ZCIPC_MOVE, self->dst.cap, 0, 0, 0);
		t.flags = ZCIPC_F_REVOKE_OTHERS;
		test_transfer(&self->b, &t);
		break;
	case BY_MOVE:
		t = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
		t.flags = ZCIPC_F_REVOKE_OTHERS;
		test_transfer(&self->a, &t);
		break;
	}
	for (i = 0; i < N; i++)
		test_run(-SIGBUS, &self->b, self->p + i * psize);
	test_touch_read(SIGBUS, &self->b, self->p);
	test_err_mmap(EINVAL, &self->b, self->offset, N, PROT_RX, MAP_SHARED, &p);
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, self->offset));
	if (variant->how == BY_UNMAP || variant->how == BY_DROP || variant->how == BY_OWN)
		test_touch_read(0, &self->a, self->src.p);
}

/* --- whom an endpoint accepts */

enum who { SAME_USER, OTHER_USER, OTHER_USERNS };

FIXTURE(policy)
{
	struct base base;
	struct ep a, p;		/* p is the one whose policy it is */
	struct buf src, theirs;
};

FIXTURE_VARIANT(policy)
{
	enum who who;
};

FIXTURE_VARIANT_ADD(policy, same_user) { .who = SAME_USER, };
FIXTURE_VARIANT_ADD(policy, other_user) { .who = OTHER_USER, };
FIXTURE_VARIANT_ADD(policy, other_userns) { .who = OTHER_USERNS, };

FIXTURE_SETUP(policy)
{
	struct stat st;

	ASSERT_EQ(0, stat(ZCIPC_DEVICE, &st));
	if (variant->who == OTHER_USER && (geteuid() || (st.st_mode & 0666) != 0666))
		SKIP(return, "needs to be root, and a device that others can open");
	base_setup(_metadata, &self->base);
	test_open(&self->a, 1100, O_NONBLOCK);
	ASSERT_EQ(0, peer_fork(&self->p));
	if (variant->who == OTHER_USER)
		test_call(&self->p, call_setuid, .n = NOBODY);
	if (variant->who == OTHER_USERNS) {
		struct call c = { .fn = call_unshare, .n = CLONE_NEWUSER };

		if (ep_call(&self->p, &c))
			SKIP(return, "no user namespaces: %s", strerror(errno));
	}
	if (peer_open(&self->p, 1100, O_NONBLOCK))
		SKIP(return, "cannot open the device: %s", strerror(errno));
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
	test_create(&self->p, 1, &self->theirs);
}

FIXTURE_TEARDOWN_BASE(policy)

/* Sends in all ways, and expects the same from each. */
static void try_all(struct __test_metadata *_metadata, FIXTURE_DATA(policy) *self, bool accepted,
		    bool by_fd, int fd)
{
	struct zcipc_transfer t;
	struct zcipc_grant g;
	struct zcipc_recv m;
	struct buf mine;
	__u32 type;

	for (type = ZCIPC_MOVE; type <= ZCIPC_GRANTED; type++) {
		test_create(&self->a, 1, &mine);
		t = transfer_cmd(&self->p, type, mine.cap, 0, 0,
				 type == ZCIPC_SHARE ? RIGHTS_R : 0);
		g = grant_cmd(&self->p, mine.cap, 0, 0, RIGHTS_R);
		if (by_fd) {
			t.flags = ZCIPC_F_PEER_FD;
			g.flags = ZCIPC_F_PEER_FD;
			t.peer = fd;
			g.peer = fd;
		}
		if (accepted) {
			if (type == ZCIPC_GRANTED)
				test_grant(&self->a, &g);
			else
				test_transfer(&self->a, &t);
			test_recv(&self->p, &m);
			ASSERT_EQ(type, m.type);
			ASSERT_EQ(self->a.id, m.sender);
			test_drop(&self->p, m.cap);
		} else if (type == ZCIPC_GRANTED) {
			test_err_grant(EPERM, &self->a, &g);
		} else {
			test_err_transfer(EPERM, &self->a, &t);
		}
		if (type != ZCIPC_MOVE || !accepted)
			test_drop(&self->a, mine.cap);
	}
	test_quiet(&self->p);
}

static void list(struct __test_metadata *_metadata, struct ep *ep, const __u64 *ids, __u32 n)
{
	struct zcipc_endpoint_config config = {
		.flags = ZCIPC_CONFIG_POLICY, .policy = ZCIPC_POLICY_LISTED, .nsenders = n,
	};
	struct call poke = { .fn = call_write };
	struct buf at;
	__u32 i;

	/* The list has to be in the memory of whoever makes the call. */
	test_create(ep, 1, &at);
	for (i = 0; i < n; i++) {
		poke.addr = (uintptr_t)at.p + 8 * i;
		poke.val = ids[i];
		TEST_OK(ep_call(ep, &poke));
	}
	config.senders = (uintptr_t)at.p;
	test_config(ep, &config);
	EXPECT_EQ(ZCIPC_POLICY_LISTED, config.policy);
	EXPECT_EQ(n, config.nsenders);
	test_drop(ep, at.cap);
}

/* 29: each policy with each kind of sender. */
TEST_F(policy, matrix)
{
	bool same = variant->who == SAME_USER;
	__u64 ids[4] = { 1, self->a.id, self->p.id, ~0ULL }, others[2] = { self->base.ep.id, 0 };
	int i;

	try_all(_metadata, self, same, false, 0);
	test_policy(&self->p, ZCIPC_POLICY_NOBODY);
	try_all(_metadata, self, false, false, 0);
	test_policy(&self->p, ZCIPC_POLICY_ANY);
	try_all(_metadata, self, true, false, 0);
	list(_metadata, &self->p, ids, 4);
	try_all(_metadata, self, true, false, 0);
	list(_metadata, &self->p, others, 2);
	try_all(_metadata, self, false, false, 0);
	list(_metadata, &self->p, NULL, 0);
	try_all(_metadata, self, false, false, 0);
	test_policy(&self->p, ZCIPC_POLICY_USER);
	try_all(_metadata, self, same, false, 0);
	/* One's own are always accepted. */
	for (i = ZCIPC_POLICY_USER; i <= ZCIPC_POLICY_ANY; i++) {
		struct buf buf;

		test_policy(&self->p, i);
		test_pass(&self->p, &self->p, ZCIPC_MOVE, self->theirs.cap, &self->theirs);
		test_give(&self->p, &self->p, self->theirs.cap, RIGHTS_R, &buf);
		test_drop(&self->p, buf.cap);
	}
	/* The sender's policy is about what it receives. */
	test_policy(&self->a, ZCIPC_POLICY_NOBODY);
	try_all(_metadata, self, true, false, 0);
	test_err_send(EPERM, &self->p, &self->a, ZCIPC_MOVE, self->theirs.cap);
}

/* 27, 29: who was given the descriptor is accepted, for transfers and grants. */
TEST_F(policy, by_descriptor)
{
	struct call c = { .fn = call_send_fd };
	struct zcipc_transfer t;
	struct buf dst;
	int fd, i;

	ASSERT_EQ(0, ep_send(&self->p, &c));
	fd = recv_fd(self->p.sock);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ep_wait(&self->p, &c));
	for (i = ZCIPC_POLICY_USER; i <= ZCIPC_POLICY_ANY; i++) {
		test_policy(&self->p, i);
		try_all(_metadata, self, true, true, fd);
	}
	test_policy(&self->p, ZCIPC_POLICY_NOBODY);
	try_all(_metadata, self, false, false, 0);
	/* One's own. */
	t = transfer_cmd(&self->a, ZCIPC_COPY, self->src.cap, 0, 0, 0);
	t.flags = ZCIPC_F_PEER_FD;
	t.peer = self->a.fd;
	test_transfer(&self->a, &t);
	test_take(&self->a, &dst);
	test_check(&self->a, dst.p, N, 1);
	/* A dead one. */
	ep_end(&self->p);
	t.peer = fd;
	test_err_transfer(ESRCH, &self->a, &t);
	close(fd);
	test_err_transfer(EBADF, &self->a, &t);
}

/* 27: what is no endpoint's. */
TEST_F(policy, bad_descriptors)
{
	int fds[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int path = open(ZCIPC_DEVICE, O_PATH | O_CLOEXEC);
	struct zcipc_transfer t;
	struct zcipc_grant g;
	unsigned int i;

	ASSERT_EQ(0, pipe(fds));
	const __u64 bad[] = { fds[0], fds[1], null, path, -1, 1000000, ~0ULL, ~0U, 1ULL << 31,
			      1ULL << 32 | self->a.fd, self->p.id };

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		if (bad[i] == (__u64)self->a.fd)
			continue;
		t = transfer_cmd(&self->p, ZCIPC_COPY, self->src.cap, 0, 0, 0);
		t.flags = ZCIPC_F_PEER_FD;
		t.peer = bad[i] == self->p.id ? bad[i] + 100000 : bad[i];
		test_err_transfer(EBADF, &self->a, &t);
		g = grant_cmd(&self->p, self->src.cap, 0, 0, RIGHTS_R);
		g.flags = ZCIPC_F_PEER_FD;
		g.peer = t.peer;
		test_err_grant(EBADF, &self->a, &g);
	}
	close(fds[0]);
	close(fds[1]);
	close(null);
	close(path);
	test_tree(&self->a, self->src.cap, 0, 0);
	test_quiet(&self->p);
}

/* --- quotas of two users */

FIXTURE(strangers)
{
	struct base base;
	struct ep a, p;
	long quota;
};

FIXTURE_SETUP(strangers)
{
	struct stat st;

	ASSERT_EQ(0, stat(ZCIPC_DEVICE, &st));
	if (geteuid() || (st.st_mode & 0666) != 0666)
		SKIP(return, "needs to be root, and a device that others can open");
	base_setup(_metadata, &self->base);
	self->quota = file_number(QUOTA, NULL);
	if (self->quota < 0 || access(QUOTA, W_OK))
		SKIP(return, "the quota cannot be set");
	test_open(&self->a, 1100, O_NONBLOCK);
	ASSERT_EQ(0, peer_fork(&self->p));
	test_call(&self->p, call_setuid, .n = NOBODY);
	TEST_OK(peer_open(&self->p, 1100, O_NONBLOCK));
	test_policy(&self->a, ZCIPC_POLICY_ANY);
	test_policy(&self->p, ZCIPC_POLICY_ANY);
	/* 256 pages, as long as these have no less than 4 KiB. */
	quota_set(psize / 4096);
}

FIXTURE_TEARDOWN(strangers)
{
	quota_set(self->quota);
	base_teardown(_metadata, &self->base);
}

/* 28: of 2 MiB what is in no region any more is paid for by the one who had it last. */
TEST_F(strangers, rest_of_huge)
{
	struct zcipc_stats before, after;
	struct buf b, part;

	need_huge();
	quota_set(100);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, HUGE_PAGES, ZCIPC_CREATE_HUGE, &b);
	ASSERT_EQ(HUGE_PAGES, b.huge);
	test_pass(&self->a, &self->p, ZCIPC_MOVE, b.cap, &b);
	test_send_part(&self->p, &self->p, ZCIPC_MOVE, b.cap, 3, 1);
	test_take(&self->p, &part);
	test_drop(&self->p, b.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	test_stats(&self->p, &after);
	EXPECT_EQ(HUGE_PAGES, owned(&after));
	test_drop(&self->p, part.cap);
	test_stats(&self->p, &after);
	EXPECT_EQ(0, owned(&after));
}

/* 28: nobody pays for what another one keeps, nor keeps what another one pays for. */
TEST_F(strangers, rest_of_huge_of_two)
{
	struct zcipc_stats before, after;
	struct buf b, part;

	need_huge();
	quota_set(100);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, HUGE_PAGES, ZCIPC_CREATE_HUGE, &b);
	test_send_part(&self->a, &self->p, ZCIPC_MOVE, b.cap, 3, 2);
	test_take(&self->p, &part);
	test_drop(&self->a, b.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.copied_parts + 2 * psize, after.copied_parts);
	test_stats(&self->p, &after);
	EXPECT_EQ(2, owned(&after));
	test_drop(&self->p, part.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
	test_stats(&self->p, &after);
	EXPECT_EQ(0, owned(&after));
}

/* 28: also of a snapshot, whoever made the memory. */
TEST_F(strangers, rest_of_huge_snapshot)
{
	struct zcipc_stats before, after;
	struct buf b, copy, part;

	need_huge();
	quota_set(100);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, HUGE_PAGES, ZCIPC_CREATE_HUGE, &b);
	test_pass(&self->a, &self->p, ZCIPC_COPY, b.cap, &copy);
	test_drop(&self->a, b.cap);
	test_send_part(&self->p, &self->p, ZCIPC_MOVE, copy.cap, 1, HUGE_PAGES - 1);
	test_take(&self->p, &part);
	test_drop(&self->p, part.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	test_stats(&self->p, &after);
	EXPECT_EQ(HUGE_PAGES, owned(&after));
	test_drop(&self->p, copy.cap);
	test_stats(&self->p, &after);
	EXPECT_EQ(0, owned(&after));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
}

/* 28: what a stranger moves or copies here, or takes from a stranger, is charged here. */
TEST_F(strangers, quota)
{
	/* What the kernel needs beside it is charged, too: it is less than that. */
	const size_t more = 24, quota = 256 - more;
	struct buf big, small, mine, got;
	struct zcipc_transfer t;

	TEST_OK(zc_create(&self->a, quota - 8, &big));
	TEST_OK(zc_create(&self->a, 8, &small));
	TEST_OK(zc_create(&self->p, 2 * more, &mine));
	/* No room there. */
	TEST_ERR(EDQUOT, zc_send(&self->a, &self->p, ZCIPC_MOVE, big.cap));
	TEST_ERR(EDQUOT, zc_send_part(&self->a, &self->p, ZCIPC_MOVE, big.cap, 0, quota - 15));
	TEST_ERR(EDQUOT, zc_send(&self->a, &self->p, ZCIPC_COPY, big.cap));
	ASSERT_EQ(0, ep_fill(&self->a, big.p, quota - 8, 3));
	/* Sharing and granting cost the owner alone. */
	TEST_OK(zc_send(&self->a, &self->p, ZCIPC_SHARE, big.cap));
	TEST_OK(zc_take(&self->p, &got));
	/* Taking it costs whoever takes it. */
	t = transfer_cmd(&self->p, ZCIPC_MOVE, got.cap, 0, 0, 0);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	TEST_ERR(EDQUOT, zc_transfer(&self->p, &t));
	ASSERT_EQ(0, ep_check(&self->a, big.p, quota - 8, 3));
	TEST_ERR(EDQUOT, zc_create(&self->a, more + 9, &small));
	/* Room there, and then here. */
	TEST_OK(zc_drop(&self->p, mine.cap));
	TEST_OK(zc_unmap(&self->p, got.p));
	TEST_OK(zc_transfer(&self->p, &t));
	TEST_OK(zc_take(&self->p, &got));
	ASSERT_EQ(0, ep_check(&self->p, got.p, quota - 8, 3));
	TEST_OK(zc_create(&self->a, quota - 8, &big));
	TEST_ERR(EDQUOT, zc_create(&self->p, more + 9, &mine));
	/* A part takes its part of the charge along. */
	TEST_ERR(EDQUOT, zc_send_part(&self->a, &self->p, ZCIPC_MOVE, big.cap, 0, more + 9));
	TEST_OK(zc_send_part(&self->a, &self->p, ZCIPC_MOVE, big.cap, 0, 8));
	TEST_OK(zc_create(&self->a, 8, &mine));
	TEST_ERR(EDQUOT, zc_create(&self->a, more + 1, &mine));
}

/* --- settings */

FIXTURE(config)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_SETUP(config)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	test_open(&self->b, 64, O_NONBLOCK);
	test_create(&self->a, 1, &self->src);
	test_fill(&self->a, self->src.p, 1, 1);
}

FIXTURE_TEARDOWN_BASE(config)

static void check_config(struct __test_metadata *_metadata, struct ep *ep, __u32 policy, __u32 n,
			 __u32 depth, __u32 full, const char *name)
{
	struct zcipc_endpoint_config c = { .policy = ~0U, .full = ~0U, .queue_depth = ~0U,
					   .nsenders = ~0U, .senders = 1 };

	memset(c.name, 'x', sizeof(c.name));
	test_config(ep, &c);
	EXPECT_EQ(policy, c.policy);
	EXPECT_EQ(n, c.nsenders);
	EXPECT_EQ(depth, c.queue_depth);
	EXPECT_EQ(full, c.full);
	EXPECT_STREQ(name, c.name);
	EXPECT_EQ(1, c.senders);
}

TEST_F(config, set_and_read)
{
	struct zcipc_info info = { .size = sizeof(info) };
	__u64 ids[2] = { 1, 2 };
	struct zcipc_endpoint_config c;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	check_config(_metadata, &self->a, ZCIPC_POLICY_USER, 0, info.max_messages, ZCIPC_FULL_WAIT,
		     "");
	/* One at a time; the others' values do not matter. */
	c = (struct zcipc_endpoint_config){ .flags = ZCIPC_CONFIG_NAME, .policy = 99, .full = 99,
					    .queue_depth = 0, .name = "one" };
	test_config(&self->a, &c);
	EXPECT_EQ(info.max_messages, c.queue_depth);
	check_config(_metadata, &self->a, ZCIPC_POLICY_USER, 0, info.max_messages, ZCIPC_FULL_WAIT,
		     "one");
	c = (struct zcipc_endpoint_config){ .flags = ZCIPC_CONFIG_DEPTH, .policy = 99, .full = 99,
					    .queue_depth = 7 };
	test_config(&self->a, &c);
	EXPECT_STREQ("one", c.name);
	c = (struct zcipc_endpoint_config){ .flags = ZCIPC_CONFIG_FULL, .policy = 99,
					    .full = ZCIPC_FULL_FAIL };
	test_config(&self->a, &c);
	c = (struct zcipc_endpoint_config){ .flags = ZCIPC_CONFIG_POLICY, .full = 99,
					    .policy = ZCIPC_POLICY_LISTED, .nsenders = 2,
					    .senders = (uintptr_t)ids };
	test_config(&self->a, &c);
	check_config(_metadata, &self->a, ZCIPC_POLICY_LISTED, 2, 7, ZCIPC_FULL_FAIL, "one");
	/* All at once. The list is for one policy alone. */
	c = (struct zcipc_endpoint_config){
		.flags = ZCIPC_CONFIG_NAME | ZCIPC_CONFIG_DEPTH | ZCIPC_CONFIG_FULL |
			 ZCIPC_CONFIG_POLICY,
		.policy = ZCIPC_POLICY_ANY, .queue_depth = 1024, .nsenders = 9, .senders = 1,
		.name = "a name of thirty-one characters",
	};
	test_config(&self->a, &c);
	check_config(_metadata, &self->a, ZCIPC_POLICY_ANY, 0, 1024, ZCIPC_FULL_WAIT,
		     "a name of thirty-one characters");
	check_config(_metadata, &self->b, ZCIPC_POLICY_USER, 0, info.max_messages, ZCIPC_FULL_WAIT,
		     "");
}

/* Is less than so many pages charged to an endpoint's user? */
static bool owns_less(struct ep *ep, __u64 npages)
{
	struct zcipc_stats now;

	return !zc_stats(ep, &now) && now.user_pages < npages;
}

/*
 * G9: who has no use for what peers died without having received gets nothing back, and is charged
 * for nothing. For what has been sent before that counts, too, and can be taken back.
 */
TEST_F(config, unreceived)
{
	struct zcipc_endpoint_config c = { .flags = ZCIPC_CONFIG_UNRECEIVED };
	unsigned int i, late, is_freed;
	struct zcipc_stats before;
	struct zcipc_recv m;
	struct buf buf;
	struct ep peer;

	for (i = 0; i < 4; i++) {
		late = i & 1;
		is_freed = i >> 1;
		test_start(&peer, true, 64);
		test_stats(&self->a, &before);
		test_create(&self->a, 8, &buf);
		test_fill(&self->a, buf.p, 8, 1);
		c.unreceived = late ? !is_freed : is_freed;
		test_config(&self->a, &c);
		test_send(&self->a, &peer, ZCIPC_MOVE, buf.cap);
		c.unreceived = is_freed;
		test_config(&self->a, &c);
		EXPECT_EQ(is_freed, c.unreceived);
		ep_end(&peer);
		if (!is_freed)
			take_returned(_metadata, &self->a, &peer, 8, buf.region, 1);
		ASSERT_TRUE(wait_until(owns_less(&self->a, before.user_pages + 8)));
		test_err_recv(EAGAIN, &self->a, &m);
	}
	c.unreceived = ZCIPC_UNRECEIVED_FREE + 1;
	test_err_config(EINVAL, &self->a, &c);
	c.unreceived = ZCIPC_UNRECEIVED_FREE;
	c.__reserved = 1;
	test_err_config(EINVAL, &self->a, &c);
	c = (struct zcipc_endpoint_config){};
	test_config(&self->a, &c);
	EXPECT_EQ(ZCIPC_UNRECEIVED_FREE, c.unreceived);
	test_config(&self->b, &c);
	EXPECT_EQ(ZCIPC_UNRECEIVED_RETURN, c.unreceived);
}

/* G3: what fails changes nothing, not even what else was asked for. */
TEST_F(config, bad_values)
{
	static __u64 ids[ZCIPC_MAX_SENDERS + 1];
	struct zcipc_endpoint_config c, good = {
		.flags = ZCIPC_CONFIG_NAME | ZCIPC_CONFIG_DEPTH | ZCIPC_CONFIG_FULL |
			 ZCIPC_CONFIG_POLICY,
		.policy = ZCIPC_POLICY_NOBODY, .queue_depth = 5, .full = ZCIPC_FULL_FAIL,
		.name = "good",
	};
	const struct {
		int err;
		__u32 policy, full, depth, n;
		__u64 senders;
		char fill;
	} bad[] = {
		{ EINVAL, ZCIPC_POLICY_ANY + 1, 0, 1, 0, 0, 0 },
		{ EINVAL, ~0U, 0, 1, 0, 0, 0 },
		{ EINVAL, 0, ZCIPC_FULL_FAIL + 1, 1, 0, 0, 0 },
		{ EINVAL, 0, ~0U, 1, 0, 0, 0 },
		{ EINVAL, 0, 0, 0, 0, 0, 0 },
		{ EINVAL, 0, 0, 1025, 0, 0, 0 },
		{ EINVAL, 0, 0, ~0U, 0, 0, 0 },
		{ EINVAL, 0, 0, 1, 0, 0, 'x' },
		{ EINVAL, ZCIPC_POLICY_LISTED, 0, 1, ZCIPC_MAX_SENDERS + 1, (uintptr_t)ids, 0 },
		{ EINVAL, ZCIPC_POLICY_LISTED, 0, 1, ~0U, (uintptr_t)ids, 0 },
		{ EFAULT, ZCIPC_POLICY_LISTED, 0, 1, 1, 0, 0 },
		{ EFAULT, ZCIPC_POLICY_LISTED, 0, 1, 1, ~0ULL - 7, 0 },
		{ EFAULT, ZCIPC_POLICY_LISTED, 0, 1, 1, 1ULL << 63, 0 },
		{ EFAULT, ZCIPC_POLICY_LISTED, 0, 1, 256, (uintptr_t)self->a.win, 0 },
	};
	unsigned int i;

	test_config(&self->a, &good);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		c = (struct zcipc_endpoint_config){
			.flags = good.flags, .policy = bad[i].policy, .full = bad[i].full,
			.queue_depth = bad[i].depth, .nsenders = bad[i].n,
			.senders = bad[i].senders, .name = "bad",
		};
		if (bad[i].fill)
			memset(c.name, bad[i].fill, sizeof(c.name));
		if (bad[i].senders == (uintptr_t)self->a.win)
			c.senders += psize - 64;
		test_err_config(bad[i].err, &self->a, &c);
		check_config(_metadata, &self->a, ZCIPC_POLICY_NOBODY, 0, 5, ZCIPC_FULL_FAIL,
			     "good");
	}
	c = (struct zcipc_endpoint_config){
		.flags = ZCIPC_CONFIG_POLICY, .policy = ZCIPC_POLICY_LISTED,
		.nsenders = ZCIPC_MAX_SENDERS, .senders = (uintptr_t)ids,
	};
	ids[ZCIPC_MAX_SENDERS - 1] = self->b.id;
	test_config(&self->a, &c);
	test_err_grant_rights(ENOENT, &self->b, &self->a, self->src.cap, RIGHTS_R);
	ids[ZCIPC_MAX_SENDERS - 1] = 0;
	test_config(&self->a, &c);
	test_err_grant_rights(EPERM, &self->b, &self->a, self->src.cap, RIGHTS_R);
}

/* G9: a short queue. What is in it stays when it becomes shorter. */
TEST_F(config, queue_depth)
{
	struct buf buf;
	int i;

	for (i = 0; i < 6; i++)
		test_send(&self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_depth(&self->b, 6);
	test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	test_depth(&self->b, 1);
	for (i = 0; i < 6; i++) {
		test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_SHARE, self->src.cap);
		test_take(&self->b, &buf);
		test_check(&self->b, buf.p, 1, 1);
	}
	test_quiet(&self->b);
	test_send(&self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_MOVE, self->src.cap);
	test_check(&self->a, self->src.p, 1, 1);
	test_depth(&self->b, 2);
	test_send(&self->a, &self->b, ZCIPC_MOVE, self->src.cap);
	test_take(&self->b, &buf);
	test_take(&self->b, &buf);
	test_check(&self->b, buf.p, 1, 1);
}

/* Nobody has to wait who does not want to be waited for. */
TEST_F(config, full_fail)
{
	struct zcipc_endpoint_config c = { .flags = ZCIPC_CONFIG_FULL | ZCIPC_CONFIG_DEPTH,
					   .full = ZCIPC_FULL_FAIL, .queue_depth = 1 };
	struct buf mine, dst;
	struct ep *b = &self->b;

	/* The sender would. */
	fcntl(self->a.fd, F_SETFL, 0);
	test_config(b, &c);
	test_send(&self->a, b, ZCIPC_COPY, self->src.cap);
	test_err_send(EAGAIN, &self->a, b, ZCIPC_COPY, self->src.cap);
	test_err_grant_rights(EAGAIN, &self->a, b, self->src.cap, RIGHTS_R);
	test_take(b, &dst);
	/* Nor for a place in the window. */
	test_create(b, 63, &mine);
	test_err_send(EAGAIN, &self->a, b, ZCIPC_MOVE, self->src.cap);
	test_drop(b, mine.cap);
	test_pass(&self->a, b, ZCIPC_MOVE, self->src.cap, &dst);
	test_check(b, dst.p, 1, 1);
}

static int zc_lookup_name(struct ep *ep, pid_t pid, __u64 after, const char *name, __u64 *id)
{
	struct zcipc_lookup cmd = { .size = sizeof(cmd), .pid = pid, .after = after };
	int rc;

	memcpy(cmd.name, name, strnlen(name, sizeof(cmd.name)));
	rc = zc_ioctl(ep, ZCIPC_IOC_LOOKUP, &cmd);
	if (!rc)
		*id = cmd.endpoint;
	return rc;
}

#define test_lookup_name(...)		TEST_OK(zc_lookup_name(__VA_ARGS__))
#define test_err_lookup_name(err, ...)	TEST_ERR(err, zc_lookup_name(__VA_ARGS__))

static void call_it(struct __test_metadata *_metadata, struct ep *ep, const char *name)
{
	struct zcipc_endpoint_config c = { .flags = ZCIPC_CONFIG_NAME };

	snprintf(c.name, sizeof(c.name), "%s", name);
	test_config(ep, &c);
}

TEST_F(config, lookup_by_name)
{
	static const char longest[] = "a name of thirty-one characters";
	pid_t me = getpid();
	static struct ep c, p;
	__u64 id;

	test_open(&c, 1, 0);
	TEST_OK(start_nonblock(&p, true, 1));
	call_it(_metadata, &self->a, "one");
	call_it(_metadata, &self->b, "two");
	call_it(_metadata, &c, "one");
	call_it(_metadata, &p, "one");
	test_lookup_name(&self->a, me, 0, "two", &id);
	EXPECT_EQ(self->b.id, id);
	test_err_lookup_name(ENOENT, &self->a, me, id, "two", &id);
	test_lookup_name(&p, me, 0, "one", &id);
	EXPECT_EQ(self->a.id, id);
	test_lookup_name(&p, me, id, "one", &id);
	EXPECT_EQ(c.id, id);
	test_err_lookup_name(ENOENT, &p, me, id, "one", &id);
	test_lookup_name(&self->a, p.pid, 0, "one", &id);
	EXPECT_EQ(p.id, id);
	test_err_lookup_name(ENOENT, &self->a, p.pid, 0, "two", &id);
	test_err_lookup_name(ENOENT, &self->a, me, 0, "on", &id);
	test_err_lookup_name(ENOENT, &self->a, me, 0, "onee", &id);
	test_err_lookup_name(ENOENT, &self->a, me, 0, "One", &id);
	/* No name is any name. */
	test_lookup_name(&self->a, me, self->base.ep.id, "", &id);
	EXPECT_EQ(self->a.id, id);
	test_lookup(&self->a, me, id, &id);
	EXPECT_EQ(self->b.id, id);
	/* As long as it can be, one longer, and none any more. */
	call_it(_metadata, &self->b, longest);
	test_lookup_name(&self->a, me, 0, longest, &id);
	EXPECT_EQ(self->b.id, id);
	test_err_lookup_name(ENOENT, &self->a, me, 0, "two", &id);
	test_err_lookup_name(EINVAL, &self->a, me, 0, "a name of thirty-one characters+", &id);
	call_it(_metadata, &self->b, "");
	test_err_lookup_name(ENOENT, &self->a, me, 0, longest, &id);
	/* Nothing is left of the longer name behind the shorter one. */
	call_it(_metadata, &self->a, longest);
	call_it(_metadata, &self->a, "o");
	test_lookup_name(&self->a, me, 0, "o", &id);
	EXPECT_EQ(self->a.id, id);
	/* The dead have no name. */
	ep_end(&c);
	test_err_lookup_name(ENOENT, &self->a, me, 0, "one", &id);
	ep_end(&p);
	test_err_lookup_name(ENOENT, &self->a, p.pid, 0, "one", &id);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Capabilities that are derived from others: grants, what a grantee transfers, a MOVE that takes a
 * region from all who have it, and grants that wait for room.
 *
 * Guarantees: G2 (MOVE from others), G3 all or nothing, G6 rights and identity, G12 waiting.
 * Attacks: deriving upwards, use of what is somebody else's or was never given (13).
 */
#include <sys/uio.h>

#include "zcipc_caps.h"

/* --- grants */

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

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tree of what is derived from what: its middle and its root go, and it is deep and wide.
 *
 * Guarantees: G2 (no mapping outlives a REVOKE), G6 identity, G8 death at any point, G11 limits.
 * Attacks: use of what was dropped (13). Many grants and drops, trees that are deep and wide, a
 * revoke that is killed (26, 30).
 */
#include "zcipc_caps.h"

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

TEST_HARNESS_MAIN

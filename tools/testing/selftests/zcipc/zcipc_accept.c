// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whom an endpoint accepts, and what else is set for it.
 *
 * Guarantees: G3 all or nothing, G6 identity, G9 back-pressure, G11 limits.
 * Attacks: descriptors sent over a socket (27). A queue that nobody empties (28). Foreign users and
 * namespaces, a policy that changes while a sender waits (29).
 */
#include <sched.h>
#include <sys/stat.h>

#include "zcipc_utils.h"

#define N 16
#define NOBODY 65534
#define RIGHTS_R	ZCIPC_RIGHT_READ

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
	c = (struct zcipc_endpoint_config){ .flags = ZCIPC_CONFIG_DROPPED,
					    .dropped = ZCIPC_DROPPED_RETURN + 1 };
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

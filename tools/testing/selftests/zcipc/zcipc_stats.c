// SPDX-License-Identifier: GPL-2.0-only
/*
 * Statistics: what each counter counts, for the module, endpoints and regions.
 *
 * Each step is surrounded by two looks at everything. What a test does not say must not have
 * changed, so that a counter that counts too much is noticed wherever it does.
 *
 * Guarantees: G1 (what is copied is reported), G7 (nothing for other users).
 */
#include "zcipc_stats.h"

static const char * const views[] = { "module", "a", "b", "region" };

/* What is to have grown between two looks; all else is not. */
struct want {
	struct zcipc_stats stats[VIEWS];
	int error;	/* of all failures */
	bool batch;	/* transfers are not timed */
};

static __u64 latencies(const struct look *l, unsigned int type)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < ZCIPC_STATS_BUCKETS; i++)
		sum += l->latencies[type][i];
	return sum;
}

static void grew(struct __test_metadata *_metadata, const char *what, const struct look *before,
		 const struct look *after, struct want *want)
{
	const struct zcipc_stats *module = &want->stats[MODULE];
	__u64 calls[ZCIPC_STATS_TYPES];
	unsigned int view, i;

	for (view = 0; view < VIEWS; view++) {
		struct zcipc_stats *w = &want->stats[view];

		if (!before->there[view] || !after->there[view])
			continue;
		w->transfers = w->moves + w->shares + w->copies;
		w->bytes = w->pages * psize + w->copied_held + w->copied_node;
		for (i = 0; i < ARRAY_SIZE(counters); i++)
			EXPECT_EQ((long long)counter(w, &counters[i]),
				  (long long)(counter(&after->stats[view], &counters[i]) -
					      counter(&before->stats[view], &counters[i])))
				TH_LOG("%s: %s: %s", what, views[view], counters[i].name);
	}
	for (i = 0; i < ZCIPC_STATS_ERRORS; i++)
		EXPECT_EQ((int)i == want->error ? module->failures : 0,
			  after->errors[i] - before->errors[i])
			TH_LOG("%s: %s", what, strerror(i));
	calls[ZCIPC_MOVE - 1] = want->batch ? 0 : module->moves;
	calls[ZCIPC_SHARE - 1] = want->batch ? 0 : module->shares;
	calls[ZCIPC_COPY - 1] = want->batch ? 0 : module->copies;
	calls[ZCIPC_GRANTED - 1] = module->grants;
	for (i = 0; i < ZCIPC_STATS_TYPES; i++)
		EXPECT_EQ(calls[i], latencies(after, i) - latencies(before, i))
			TH_LOG("%s: latencies of type %u", what, i + 1);
}

#define test_grew(what, ...)						\
do {									\
	struct want __want = __VA_ARGS__;				\
									\
	grew(_metadata, what, &before, &after, &__want);		\
} while (0)

/* One transfer of a whole region; the peer's token. */
static int zc_send_token(struct ep *from, struct ep *to, __u32 type, __u64 cap, __u64 *token)
{
	struct zcipc_transfer t = transfer_cmd(to, type, cap, 0, 0,
					       type == ZCIPC_SHARE ? RIGHTS_ALL : 0);
	int rc = zc_transfer(from, &t);

	*token = t.peer_cap;
	return rc;
}

static const size_t sizes[] = { 1, 2, N };

TEST_F(stats, move)
{
	struct look before, after;
	struct buf src, dst;
	__u64 token;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		n = sizes[i];
		test_create(&self->a, n, &src);
		test_look(&self->a, src.cap, &before);
		TEST_OK(zc_send_token(&self->a, &self->b, ZCIPC_MOVE, src.cap, &token));
		test_look(&self->b, token, &after);
		test_grew("move", {
			.stats[MODULE] = { .moves = 1, .pages = n, .messages = 1,
					   .shootdowns = 1 },
			.stats[A] = { .moves = 1, .pages = n, .caps = -1, .maps = -1 },
			.stats[B] = { .caps = 1, .maps = 1, .messages = 1 },
			.stats[REGION] = { .moves = 1, .pages = n },
		});
		before = after;
		test_take(&self->b, &dst);
		test_look(&self->b, token, &after);
		test_grew("receive", {
			.stats[MODULE] = { .received = 1, .messages = -1 },
			.stats[B] = { .received = 1, .messages = -1 },
		});
		test_drop(&self->b, dst.cap);
	}
}

/* The part begins with counters of its own. */
TEST_F(stats, move_part)
{
	struct zcipc_transfer t;
	struct look before, after;
	struct zcipc_stats part;
	struct buf src;
	size_t i;

	test_create(&self->a, N, &src);
	t = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 3, 2, 0);
	test_look(&self->a, src.cap, &before);
	test_transfer(&self->a, &t);
	test_look(&self->a, src.cap, &after);
	test_grew("part", {
		.stats[MODULE] = { .moves = 1, .pages = 2, .messages = 1, .shootdowns = 1,
				   .regions = 1, .caps = 1, .maps = 1 },
		.stats[A] = { .moves = 1, .pages = 2 },
		.stats[B] = { .caps = 1, .maps = 1, .messages = 1 },
		.stats[REGION] = { .moves = 1, .pages = 2, .frames = -2 },
	});
	TEST_OK(zc_stats_of(&self->b, ZCIPC_STATS_REGION, t.peer_cap, &part));
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		size_t offset = counters[i].offset;
		__u64 want = 0;

		if (offset == offsetof(struct zcipc_stats, frames))
			want = 2;
		else if (offset == offsetof(struct zcipc_stats, regions) ||
			 offset == offsetof(struct zcipc_stats, caps) ||
			 offset == offsetof(struct zcipc_stats, maps))
			want = 1;
		EXPECT_EQ(want, counter(&part, &counters[i])) TH_LOG("%s", counters[i].name);
	}
}

TEST_F(stats, share)
{
	struct look before, after;
	struct buf src;
	__u64 token;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		n = sizes[i];
		test_create(&self->a, n, &src);
		test_look(&self->a, src.cap, &before);
		TEST_OK(zc_send_token(&self->a, &self->b, ZCIPC_SHARE, src.cap, &token));
		test_look(&self->b, token, &after);
		test_grew("share", {
			.stats[MODULE] = { .shares = 1, .pages = n, .messages = 1, .caps = 1,
					   .maps = 1 },
			.stats[A] = { .shares = 1, .pages = n },
			.stats[B] = { .caps = 1, .maps = 1, .messages = 1 },
			.stats[REGION] = { .shares = 1, .pages = n, .caps = 1, .maps = 1 },
		});
	}
}

/* Counted for the region that the snapshot is of. */
TEST_F(stats, copy)
{
	struct look before, after;
	struct buf src;
	__u64 token;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		n = sizes[i];
		test_create(&self->a, n, &src);
		test_look(&self->a, src.cap, &before);
		TEST_OK(zc_send_token(&self->a, &self->b, ZCIPC_COPY, src.cap, &token));
		test_look(&self->a, src.cap, &after);
		test_grew("copy", {
			.stats[MODULE] = { .copies = 1, .pages = n, .messages = 1, .caps = 1,
					   .maps = 1, .regions = 1, .shootdowns = 1 },
			.stats[A] = { .copies = 1, .pages = n },
			.stats[B] = { .caps = 1, .maps = 1, .messages = 1 },
			.stats[REGION] = { .copies = 1, .pages = n },
		});
	}
}

/* No transfer: nothing is handed over. */
TEST_F(stats, grant_and_revoke)
{
	struct look before, after;
	struct zcipc_recv m;
	struct buf src;
	__u64 token;
	char *p;

	test_create(&self->a, N, &src);
	test_look(&self->a, src.cap, &before);
	TEST_OK(give(&self->a, &self->b, src.cap, RIGHTS_RW, &token));
	test_look(&self->a, src.cap, &after);
	test_grew("grant", {
		.stats[MODULE] = { .grants = 1, .caps = 1, .messages = 1 },
		.stats[A] = { .grants = 1 },
		.stats[B] = { .caps = 1, .messages = 1 },
		.stats[REGION] = { .grants = 1, .caps = 1 },
	});
	test_recv(&self->b, &m);
	ASSERT_EQ(token, m.cap);
	test_look(&self->a, src.cap, &before);
	test_map(&self->b, token, 0, 0, RIGHTS_RW, &p);
	test_touch_write(0, &self->b, p);
	test_look(&self->a, src.cap, &after);
	test_grew("map", {
		.stats[MODULE] = { .maps = 1 },
		.stats[B] = { .maps = 1 },
		.stats[REGION] = { .maps = 1 },
	});
	before = after;
	TEST_OK(notify(&self->a, &self->b, src.cap, token));
	test_look(&self->a, src.cap, &after);
	test_grew("notify", {
		.stats[MODULE] = { .notifications = 1, .messages = 1 },
		.stats[A] = { .notifications = 1 },
		.stats[B] = { .messages = 1 },
		.stats[REGION] = { .notifications = 1 },
	});
	before = after;
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_NOTIFIED, m.type);
	test_look(&self->a, src.cap, &after);
	test_grew("receive", {
		.stats[MODULE] = { .received = 1, .messages = -1 },
		.stats[B] = { .received = 1, .messages = -1 },
	});
	before = after;
	TEST_ERR(ENOENT, notify(&self->a, &self->b, src.cap, 0));
	test_look(&self->a, src.cap, &after);
	test_grew("no notification", {
		.stats[MODULE] = { .failures = 1 },
		.stats[A] = { .failures = 1 },
		.error = ENOENT,
	});
	before = after;
	TEST_OK(take_back(&self->a, &self->b, token));
	test_look(&self->a, src.cap, &after);
	test_grew("revoke", {
		.stats[MODULE] = { .revoked = 1, .caps = -1, .maps = -1, .messages = 1,
				   .shootdowns = 1 },
		.stats[B] = { .revoked = 1, .caps = -1, .maps = -1, .messages = 1 },
		.stats[REGION] = { .revoked = 1, .caps = -1, .maps = -1 },
	});
	test_touch_read(SIGBUS, &self->b, p);
}

TEST_F(stats, returned)
{
	struct look before, after;
	struct zcipc_recv m;
	struct buf src;

	test_create(&self->a, N, &src);
	test_look(&self->a, src.cap, &before);
	test_send(&self->a, &self->b, ZCIPC_MOVE, src.cap);
	ep_end(&self->b);
	ASSERT_TRUE(wait_until(!zc_recv(&self->a, &m)));
	ASSERT_EQ(ZCIPC_MESSAGE_RETURNED, m.message_flags);
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &after.stats[MODULE]) &&
			       after.stats[MODULE].endpoints < before.stats[MODULE].endpoints));
	test_look(&self->a, m.cap, &after);
	test_grew("returned", {
		.stats[MODULE] = { .moves = 1, .pages = N, .returned = 1, .received = 1,
				   .endpoints = -1, .maps = -1, .shootdowns = 1 },
		.stats[A] = { .moves = 1, .pages = N, .returned = 1, .received = 1, .maps = -1 },
		.stats[REGION] = { .moves = 1, .pages = N, .returned = 1, .maps = -1 },
	});
}

/* The first write copies, the second finds the frame alone. */
TEST_F(stats, copy_on_write)
{
	struct look before, after;
	struct buf src, dst;

	test_create(&self->a, 2, &src);
	test_fill(&self->a, src.p, 2, 1);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &dst);
	test_look(&self->a, src.cap, &before);
	test_touch_write(0, &self->a, src.p + psize);
	test_look(&self->a, src.cap, &after);
	test_grew("break", {
		.stats[MODULE] = { .copied_write = psize, .faults = 1, .frames = 1,
				   .shootdowns = 1 },
		.stats[A] = { .copied_write = psize, .faults = 1 },
		.stats[REGION] = { .copied_write = psize, .faults = 1 },
	});
	test_look(&self->b, dst.cap, &before);
	test_touch_write(0, &self->b, dst.p + psize);
	test_look(&self->b, dst.cap, &after);
	test_grew("reuse", {
		.stats[MODULE] = { .reused = 1, .faults = 1, .shootdowns = 1 },
		.stats[B] = { .reused = 1, .faults = 1 },
		.stats[REGION] = { .reused = 1, .faults = 1 },
	});
	/* Both have it for themselves now. */
	before = after;
	test_touch_write(0, &self->a, src.p + psize);
	test_touch_write(0, &self->b, dst.p + psize);
	test_look(&self->b, dst.cap, &after);
	test_grew("own", { .error = 0 });
}

static int hold(int *fds, char *p, size_t npages)
{
	struct iovec iov = { p, npages * psize };

	return vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) == (ssize_t)(npages * psize) ? 0 : -1;
}

/* Bytes that are copied are handed over as well, but no pages. */
TEST_F(stats, held)
{
	struct look before, after;
	struct buf src;
	__u64 token;

	test_create(&self->a, N, &src);
	test_fill(&self->a, src.p, N, 1);
	ASSERT_EQ(0, hold(self->fds, src.p + psize, 3));
	test_look(&self->a, src.cap, &before);
	TEST_OK(zc_send_token(&self->a, &self->b, ZCIPC_COPY, src.cap, &token));
	test_look(&self->a, src.cap, &after);
	/* PTEs are taken to be made read-only, put back, and taken for good. */
	test_grew("copy of held pages", {
		.stats[MODULE] = { .copies = 1, .pages = N - 3, .copied_held = 3 * psize,
				   .frames = 3, .messages = 1, .caps = 1, .maps = 1,
				   .regions = 1, .shootdowns = 2 },
		.stats[A] = { .copies = 1, .pages = N - 3, .copied_held = 3 * psize },
		.stats[B] = { .caps = 1, .maps = 1, .messages = 1 },
		.stats[REGION] = { .copies = 1, .pages = N - 3, .copied_held = 3 * psize },
	});
	EXPECT_EQ(N * psize, after.stats[A].bytes - before.stats[A].bytes);
	before = after;
	TEST_OK(zc_send_token(&self->a, &self->b, ZCIPC_MOVE, src.cap, &token));
	test_look(&self->b, token, &after);
	test_grew("move of held pages", {
		.stats[MODULE] = { .moves = 1, .pages = N - 3, .copied_held = 3 * psize,
				   .messages = 1, .shootdowns = 2 },
		.stats[A] = { .moves = 1, .pages = N - 3, .copied_held = 3 * psize, .caps = -1,
			      .maps = -1 },
		.stats[B] = { .caps = 1, .maps = 1, .messages = 1 },
		.stats[REGION] = { .moves = 1, .pages = N - 3, .copied_held = 3 * psize },
	});
}

/* Each brings 16 pages. What raises SIGBUS is not served. */
TEST_F(stats, faults)
{
	struct look before, after;
	struct buf src, dst;
	size_t page;

	test_create(&self->a, 64, &src);
	test_fill(&self->a, src.p, 64, 1);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &dst);
	test_look(&self->a, src.cap, &before);
	for (page = 0; page < 64; page++)
		test_touch_read(0, &self->a, src.p + page * psize);
	test_look(&self->a, src.cap, &after);
	/* Its pages have become read-only, and are there. */
	test_grew("read by the sender", { .error = 0 });
	test_look(&self->b, dst.cap, &before);
	for (page = 0; page < 64; page++)
		test_touch_read(0, &self->b, dst.p + page * psize);
	test_look(&self->b, dst.cap, &after);
	/* 16 pages, and the rest. */
	test_grew("read by the peer", {
		.stats[MODULE] = { .faults = 2 },
		.stats[B] = { .faults = 2 },
		.stats[REGION] = { .faults = 2 },
	});
	test_look(&self->a, src.cap, &before);
	test_touch_read(0, &self->a, src.p);
	test_touch_read(SIGBUS, &self->a, self->a.win + (WINDOW_PAGES - 1) * psize);
	test_look(&self->a, src.cap, &after);
	test_grew("nothing", { .error = 0 });
}

/* One for each mapping, none for what is not mapped, one for a batch. */
TEST_F(stats, shootdowns)
{
	struct zcipc_transfer t[8];
	struct look before, after;
	struct buf src, dst, b[16];
	struct zcipc_transfer_batch out;
	unsigned int i;
	char *p;

	test_create(&self->a, N, &src);
	test_map(&self->a, src.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	test_look(&self->a, 0, &before);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &dst);
	test_look(&self->a, 0, &after);
	test_grew("two mappings", {
		.stats[MODULE] = { .moves = 1, .pages = N, .shootdowns = 2, .maps = -1,
				   .received = 1 },
		.stats[A] = { .moves = 1, .pages = N, .caps = -1, .maps = -2 },
		.stats[B] = { .caps = 1, .maps = 1, .received = 1 },
	});
	test_drop(&self->b, dst.cap);

	test_create(&self->a, N, &src);
	test_unmap(&self->a, src.p);
	test_look(&self->a, 0, &before);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &dst);
	test_look(&self->a, 0, &after);
	test_grew("no mapping", {
		.stats[MODULE] = { .moves = 1, .pages = N, .maps = 1, .received = 1 },
		.stats[A] = { .moves = 1, .pages = N, .caps = -1 },
		.stats[B] = { .caps = 1, .maps = 1, .received = 1 },
	});
	test_drop(&self->b, dst.cap);

	for (i = 0; i < 16; i++)
		test_create(&self->a, 1, &b[i]);
	for (i = 0; i < 8; i++)
		t[i] = transfer_cmd(&self->b, ZCIPC_MOVE, b[2 * i].cap, 0, 0, 0);
	test_look(&self->a, b[1].cap, &before);
	TEST_OK(zc_batch(&self->a, t, 8, 0, &out));
	ASSERT_EQ(8, out.done);
	test_look(&self->a, b[1].cap, &after);
	test_grew("batch", {
		.stats[MODULE] = { .moves = 8, .pages = 8, .messages = 8, .shootdowns = 1,
				   .batches = 1 },
		.stats[A] = { .moves = 8, .pages = 8, .caps = -8, .maps = -8, .batches = 1 },
		.stats[B] = { .caps = 8, .maps = 8, .messages = 8 },
		.batch = true,
	});
}

/* A transfer that fails, and what must be all that is counted. */
static void fail(struct __test_metadata *_metadata, FIXTURE_DATA(stats) *self, int error,
		 struct zcipc_transfer t)
{
	struct look before, after;

	test_look(&self->a, 0, &before);
	test_err_transfer(error, &self->a, &t);
	test_look(&self->a, 0, &after);
	test_grew(strerror(error), {
		.stats[MODULE] = { .failures = 1 },
		.stats[A] = { .failures = 1 },
		.error = error,
	});
}

#define test_fail(error, ...)	fail(_metadata, self, error, __VA_ARGS__)

TEST_F(stats, failures)
{
	struct buf src, big, gone, shared, readonly;
	struct zcipc_transfer t, *ro;
	struct look before, after;
	__u64 token;
	struct ep c;

	test_create(&self->a, N, &src);
	test_create(&self->a, 2 * B_PAGES, &big);
	test_create(&self->a, 1, &gone);
	test_create(&self->a, 1, &shared);
	test_drop(&self->a, gone.cap);
	test_pass_rights(&self->a, &self->a, ZCIPC_SHARE, shared.cap, ZCIPC_RIGHT_READ, &readonly);
	test_open(&c, 0, 0);
	ep_end(&c);

	test_fail(ENOENT, transfer_cmd(&self->b, ZCIPC_MOVE, 12345, 0, 0, 0));
	test_fail(ESTALE, transfer_cmd(&self->b, ZCIPC_MOVE, gone.cap, 0, 0, 0));
	test_fail(EACCES, transfer_cmd(&self->b, ZCIPC_SHARE, readonly.cap, 0, 0, RIGHTS_RW));
	test_fail(EACCES, transfer_cmd(&self->b, ZCIPC_MOVE, readonly.cap, 0, 0, 0));
	test_fail(EBUSY, transfer_cmd(&self->b, ZCIPC_MOVE, shared.cap, 0, 0, 0));
	test_fail(ESRCH, transfer_cmd(&c, ZCIPC_MOVE, src.cap, 0, 0, 0));
	test_fail(ENOBUFS, transfer_cmd(&self->b, ZCIPC_MOVE, big.cap, 0, 0, 0));
	test_fail(EINVAL, transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, N, 1, 0));
	/* Also what is wrong by itself, whatever it is for. */
	test_fail(EINVAL, transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 0, 0, 0));
	t = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
	t.flags = 1 << 20;
	test_fail(EOPNOTSUPP, t);
	t.flags = ZCIPC_F_PEER_FD;
	t.peer = 9999;
	test_fail(EBADF, t);

	ro = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)ro);
	*ro = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
	ASSERT_EQ(0, mprotect(ro, psize, PROT_READ));
	test_look(&self->a, src.cap, &before);
	TEST_ERR(EFAULT, ioctl(self->a.fd, ZCIPC_IOC_TRANSFER, ro));
	test_look(&self->a, src.cap, &after);
	test_grew("EFAULT", {
		.stats[MODULE] = { .failures = 1 },
		.stats[A] = { .failures = 1 },
		.error = EFAULT,
	});
	munmap(ro, psize);

	self->quota = file_number(QUOTA, NULL);
	file_write(QUOTA, "1");
	test_fail(EDQUOT, transfer_cmd(&self->a, ZCIPC_COPY, big.cap, 0, 0, 0));
	file_write(QUOTA, "0");

	TEST_OK(set_up(&self->b, (struct zcipc_endpoint_config){
		.flags = ZCIPC_CONFIG_POLICY, .policy = ZCIPC_POLICY_NOBODY }));
	test_fail(EPERM, transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0));
	TEST_OK(set_up(&self->b, (struct zcipc_endpoint_config){
		.flags = ZCIPC_CONFIG_POLICY | ZCIPC_CONFIG_DEPTH,
		.policy = ZCIPC_POLICY_USER, .queue_depth = 1 }));
	test_send(&self->a, &self->b, ZCIPC_SHARE, src.cap);
	test_fail(EAGAIN, transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 0, 0, RIGHTS_ALL));

	/* A grant is one too. */
	test_look(&self->a, readonly.cap, &before);
	TEST_ERR(EACCES, give(&self->a, &self->b, readonly.cap, RIGHTS_RW, &token));
	TEST_ERR(EACCES, give(&self->a, &self->b, readonly.cap, ZCIPC_RIGHT_READ, &token));
	test_look(&self->a, readonly.cap, &after);
	test_grew("grant without the right", {
		.stats[MODULE] = { .failures = 2 },
		.stats[A] = { .failures = 2 },
		.error = EACCES,
	});
	before = after;
	TEST_ERR(EINVAL, give(&self->a, &self->b, src.cap, 0, &token));
	test_look(&self->a, readonly.cap, &after);
	test_grew("grant of nothing", {
		.stats[MODULE] = { .failures = 1 },
		.stats[A] = { .failures = 1 },
		.error = EINVAL,
	});
}

/* In a batch each transfer counts for itself. */
TEST_F(stats, failures_in_a_batch)
{
	struct zcipc_transfer t[4];
	struct look before, after;
	struct buf b[4];
	struct zcipc_transfer_batch out;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		test_create(&self->a, 1, &b[i]);
		t[i] = transfer_cmd(&self->b, ZCIPC_MOVE, b[i].cap, 0, 0, 0);
	}
	t[1].cap = 12345;
	t[2].cap = 12346;
	test_look(&self->a, b[1].cap, &before);
	TEST_OK(zc_batch(&self->a, t, 4, 0, &out));
	ASSERT_EQ(2, out.done);
	test_look(&self->a, b[1].cap, &after);
	test_grew("batch", {
		.stats[MODULE] = { .moves = 2, .pages = 2, .messages = 2, .shootdowns = 1,
				   .batches = 1, .failures = 2 },
		.stats[A] = { .moves = 2, .pages = 2, .caps = -2, .maps = -2, .batches = 1,
			      .failures = 2 },
		.stats[B] = { .caps = 2, .maps = 2, .messages = 2 },
		.error = ENOENT, .batch = true,
	});
}

/* How long a call took, waiting included. */
TEST_F(stats, latencies)
{
	struct look before, after;
	struct timespec start, end;
	__u64 ns, token;
	struct buf src;
	unsigned int i;

	need_points();
	test_create(&self->a, 1, &src);
	test_look(&self->a, 0, &before);
	clock_gettime(CLOCK_MONOTONIC, &start);
	point_set("prepared", 200);
	TEST_OK(give(&self->a, &self->b, src.cap, RIGHTS_RW, &token));
	point_go();
	clock_gettime(CLOCK_MONOTONIC, &end);
	test_look(&self->a, 0, &after);
	ns = (end.tv_sec - start.tv_sec) * 1000000000ULL + end.tv_nsec - start.tv_nsec;
	for (i = 0; i < ZCIPC_STATS_BUCKETS; i++) {
		__u64 n = after.latencies[ZCIPC_GRANTED - 1][i] -
			  before.latencies[ZCIPC_GRANTED - 1][i];

		/* 200 ms is in the bucket from 2^27 on. */
		if (i < 27 || 1ULL << i > ns)
			EXPECT_EQ(0, n) TH_LOG("bucket %u, %llu ns", i, ns);
	}
	EXPECT_EQ(1, latencies(&after, ZCIPC_GRANTED - 1) - latencies(&before, ZCIPC_GRANTED - 1));
}

/* What is made out of other counters, for all views, and the cycles. */
TEST_F(stats, sums)
{
	struct look before, after;
	struct buf src, dst;
	__u32 type;
	int view;

	test_create(&self->a, N, &src);
	test_look(&self->a, src.cap, &before);
	ASSERT_EQ(0, hold(self->fds, src.p, 1));
	for (type = ZCIPC_COPY; type >= ZCIPC_MOVE; type--) {
		test_pass(&self->a, &self->b, type, src.cap, &dst);
		test_drop(&self->b, dst.cap);
		if (type != ZCIPC_MOVE)
			test_look(&self->a, src.cap, &after);
	}
	for (view = 0; view < VIEWS; view++) {
		const struct zcipc_stats *s = &after.stats[view];

		EXPECT_EQ(s->moves + s->shares + s->copies, s->transfers);
		EXPECT_EQ(s->pages * psize + s->copied_held + s->copied_node, s->bytes);
		EXPECT_EQ(s->transfers ? s->remap_cycles / s->transfers : 0, s->avg_remap_cycles);
	}
	EXPECT_EQ(2, after.stats[A].transfers);
	EXPECT_EQ(2 * N * psize, after.stats[A].bytes);
	EXPECT_NE(0, after.stats[MODULE].avg_remap_cycles);
	EXPECT_NE(0, after.stats[A].avg_remap_cycles);
	EXPECT_EQ(after.stats[MODULE].remap_cycles - before.stats[MODULE].remap_cycles,
		  after.stats[A].remap_cycles - before.stats[A].remap_cycles);
}

/* What an endpoint or a region cannot have. */
TEST_F(stats, makes_no_sense)
{
	struct zcipc_transfer t;
	struct buf src, dst;
	struct look l;
	struct zcipc_transfer_batch out;

	test_create(&self->a, N, &src);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &dst);
	test_touch_write(0, &self->a, src.p);
	t = transfer_cmd(&self->a, ZCIPC_SHARE, src.cap, 0, 0, RIGHTS_RW);
	TEST_OK(zc_batch(&self->a, &t, 1, 0, &out));
	t.cap = 12345;
	test_err_transfer(ENOENT, &self->a, &t);
	test_take(&self->a, &dst);
	test_look(&self->a, src.cap, &l);
	EXPECT_EQ(3, l.stats[MODULE].endpoints);
	EXPECT_EQ(1, l.stats[A].endpoints);
	EXPECT_EQ(0, l.stats[A].regions);
	EXPECT_EQ(0, l.stats[A].frames);
	EXPECT_EQ(0, l.stats[A].shootdowns);
	EXPECT_EQ(1, l.stats[REGION].regions);
	EXPECT_EQ(N, l.stats[REGION].frames);
	EXPECT_EQ(2, l.stats[REGION].caps);
	EXPECT_EQ(2, l.stats[REGION].maps);
	EXPECT_EQ(0, l.stats[REGION].endpoints);
	EXPECT_EQ(0, l.stats[REGION].messages);
	EXPECT_EQ(0, l.stats[REGION].received);
	EXPECT_EQ(0, l.stats[REGION].batches);
	EXPECT_EQ(0, l.stats[REGION].shootdowns);
	EXPECT_EQ(0, l.stats[REGION].failures);
	EXPECT_EQ(0, l.stats[REGION].remap_cycles);
	EXPECT_EQ(0, l.stats[REGION].avg_remap_cycles);
}

TEST_F(stats, user)
{
	struct zcipc_stats first, now;
	struct buf a, b;
	__u64 peak;
	size_t n;

	test_stats(&self->a, &first);
	EXPECT_GE(first.user_peak, first.user_pages);
	EXPECT_LT(0, first.user_overhead);
	/* More than there ever were. */
	n = first.user_peak - first.user_pages + 10;
	ASSERT_GE(WINDOW_PAGES, n);
	test_create(&self->a, n, &a);
	test_stats(&self->a, &now);
	EXPECT_EQ(owned(&first) + n, owned(&now));
	EXPECT_LE(first.user_peak + 10, now.user_peak);
	EXPECT_EQ(now.user_pages, now.user_peak);
	/* A snapshot is charged as if it were copied; in all views it is the same user. */
	test_send_part(&self->a, &self->b, ZCIPC_COPY, a.cap, 0, 7);
	TEST_OK(zc_stats_of(&self->b, ZCIPC_STATS_ENDPOINT, 0, &now));
	EXPECT_EQ(owned(&first) + n + 7, owned(&now));
	EXPECT_EQ(now.user_pages, now.user_peak);
	peak = now.user_peak;
	test_take(&self->b, &b);
	TEST_OK(zc_stats_of(&self->b, ZCIPC_STATS_REGION, b.cap, &now));
	EXPECT_EQ(owned(&first) + n + 7, owned(&now));
	test_drop(&self->b, b.cap);
	test_drop(&self->a, a.cap);
	test_stats(&self->a, &now);
	EXPECT_EQ(owned(&first), owned(&now));
	EXPECT_EQ(peak, now.user_peak);
}

TEST_F(stats, errors)
{
	__u64 table[ZCIPC_STATS_ERRORS];
	struct zcipc_stats cmd;
	struct buf src, gone;
	__u32 flags;

	test_create(&self->a, 1, &src);
	test_create(&self->a, 1, &gone);
	test_drop(&self->a, gone.cap);
	TEST_ERR(EINVAL, zc_stats_of(&self->a, ZCIPC_STATS_ENDPOINT | ZCIPC_STATS_REGION, 0, &cmd));
	TEST_ERR(EINVAL, zc_stats_of(&self->a, ZCIPC_STATS_ENDPOINT | ZCIPC_STATS_REGION, src.cap,
				     &cmd));
	TEST_ERR(EOPNOTSUPP, zc_stats_of(&self->a, 1 << 2, 0, &cmd));
	TEST_ERR(EINVAL, zc_stats_of(&self->a, 0, src.cap, &cmd));
	TEST_ERR(EINVAL, zc_stats_of(&self->a, ZCIPC_STATS_ENDPOINT, src.cap, &cmd));
	TEST_ERR(ENOENT, zc_stats_of(&self->a, ZCIPC_STATS_REGION, 0, &cmd));
	TEST_ERR(ENOENT, zc_stats_of(&self->a, ZCIPC_STATS_REGION, 12345, &cmd));
	TEST_ERR(ENOENT, zc_stats_of(&self->b, ZCIPC_STATS_REGION, src.cap, &cmd));
	TEST_ERR(ESTALE, zc_stats_of(&self->a, ZCIPC_STATS_REGION, gone.cap, &cmd));
	for (flags = 0; flags <= ZCIPC_STATS_REGION; flags++) {
		__u64 cap = flags == ZCIPC_STATS_REGION ? src.cap : 0;

		cmd = (struct zcipc_stats){ .size = sizeof(cmd), .flags = flags, .cap = cap,
					    .errors = flags ? (uintptr_t)table : 8 };
		TEST_ERR(flags ? EINVAL : EFAULT, zc_ioctl(&self->a, ZCIPC_IOC_STATS, &cmd));
		cmd.errors = 0;
		cmd.latencies = flags ? (uintptr_t)table : 8;
		TEST_ERR(flags ? EINVAL : EFAULT, zc_ioctl(&self->a, ZCIPC_IOC_STATS, &cmd));
		cmd.latencies = 0;
		TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_STATS, &cmd));
	}
}

TEST_HARNESS_MAIN

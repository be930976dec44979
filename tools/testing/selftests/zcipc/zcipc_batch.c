// SPDX-License-Identifier: GPL-2.0-only
/*
 * ZCIPC_IOC_TRANSFER_BATCH: many transfers in one call.
 *
 * Covered: each transfer has its own result, whatever becomes of the others; all or none with
 * ZCIPC_F_ATOMIC; snapshots of several regions are one instant; nothing waits; structs of other
 * sizes and memory that cannot be read or written; batches in rings, with other threads that map
 * and unmap.
 */
#include <sched.h>
#include <sys/uio.h>

#include "zcipc_utils.h"

FIXTURE(batch)
{
	struct base base;
	struct ep a, b, c;
	volatile bool stop;
};

FIXTURE_SETUP(batch)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, true, WINDOW_PAGES);
	test_open(&self->c, WINDOW_PAGES, 0);
}

FIXTURE_TEARDOWN_BASE(batch)

/* --- results */

static int set_config(struct ep *ep, __u32 flags, __u32 policy, __u32 depth)
{
	struct zcipc_endpoint_config cmd = {
		.size = sizeof(cmd), .flags = flags, .policy = policy, .queue_depth = depth,
	};

	return zc_ioctl(ep, ZCIPC_IOC_ENDPOINT_CONFIG, &cmd);
}

/* Wrong transfers of all kinds among right ones: these are carried out, those say why not. */
TEST_F(batch, results)
{
	struct zcipc_transfer t[24], bad;
	struct zcipc_transfer_batch out;
	int want[24] = {};
	struct ep dead, nobody;
	struct buf src[24], weak, got;
	struct zcipc_recv m;
	__u32 i, n = 0;
	__u64 stale;

	test_start(&dead, true, 64);
	ep_end(&dead);
	test_start(&nobody, true, 64);
	TEST_OK(set_config(&nobody, ZCIPC_CONFIG_POLICY, ZCIPC_POLICY_NOBODY, 0));
	test_create(&self->a, 1, &src[0]);
	stale = src[0].cap;
	test_drop(&self->a, stale);
	test_create(&self->c, 1, &src[0]);
	test_pass_rights(&self->c, &self->a, ZCIPC_SHARE, src[0].cap, ZCIPC_RIGHT_READ, &weak);
	for (i = 0; i < 24; i++) {
		test_create(&self->a, 2, &src[i]);
		test_fill(&self->a, src[i].p, 2, 1 + i);
		t[i] = transfer_cmd(i % 4 < 2 ? &self->b : &self->c, ZCIPC_MOVE, src[i].cap, 0, 0,
				    0);
		t[i].cookie = 100 + i;
	}
#define WRONG(err, member, value)					\
do {									\
	n += 2;								\
	bad = t[n - 1];							\
	bad.member = value;						\
	t[n - 1] = bad;							\
	want[n - 1] = -(err);						\
} while (0)
	WRONG(ENOENT, cap, 1ULL << 62 | 5);
	WRONG(ESTALE, cap, stale);
	WRONG(EINVAL, size, sizeof(t[0]) - 8);
	WRONG(EOPNOTSUPP, flags, 1U << 30);
	WRONG(EACCES, cap, weak.cap);
	WRONG(ESRCH, peer, dead.id);
	WRONG(ENOENT, peer, 1ULL << 40);
	WRONG(EINVAL, offset, 2 * psize);
	WRONG(EPERM, peer, nobody.id);
	WRONG(EINVAL, type, 7);
	WRONG(EINVAL, __reserved, 1);
	WRONG(EOPNOTSUPP, flags, ZCIPC_F_ATOMIC);
	ASSERT_EQ(24, n);
	test_batch(&self->a, t, n, 0, &out);
	EXPECT_EQ(12, out.done);
	EXPECT_EQ(1, out.failed);
	for (i = 0; i < n; i++) {
		EXPECT_EQ(want[i], t[i].result) TH_LOG("%u: %s", i, strerror(-t[i].result));
		if (t[i].result) {
			test_check(&self->a, src[i].p, 2, 1 + i);
			continue;
		}
		EXPECT_EQ(2, t[i].pages);
		EXPECT_EQ(0, t[i].copied);
		EXPECT_EQ(0, t[i].migrated);
		EXPECT_EQ(0, t[i].off_node);
		test_recv(i % 4 < 2 ? &self->b : &self->c, &m);
		EXPECT_EQ(100 + i, m.cookie);
		EXPECT_EQ(t[i].peer_cap, m.cap);
		EXPECT_EQ(src[i].region, m.region);
		EXPECT_EQ(self->a.id, m.sender);
		test_check(i % 4 < 2 ? &self->b : &self->c, (char *)(uintptr_t)m.addr, 2, 1 + i);
		test_gone(&self->a, src[i].p, 2);
		test_err_drop(ESTALE, &self->a, src[i].cap);
	}
	/* None at all. */
	t[0] = t[1];
	t[1] = t[3];
	test_batch(&self->a, t, 2, 0, &out);
	EXPECT_EQ(0, out.done);
	EXPECT_EQ(0, out.failed);
	/* It was not used up by what failed. */
	test_pass(&self->a, &self->b, ZCIPC_MOVE, src[3].cap, &got);
}

/* As if one after the other: all types, parts, one region again and again. */
TEST_F(batch, mixed)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer t[8];
	struct buf src, other, got[6];
	struct zcipc_transfer_batch out;
	unsigned int i;

	test_create(&self->a, 6, &src);
	test_create(&self->a, 3, &other);
	test_fill(&self->a, src.p, 6, 1);
	test_fill(&self->a, other.p, 3, 2);
	t[0] = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 0, 0, 0);
	t[1] = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 1, 2, 0);
	t[2] = transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 4, 2, RIGHTS_RW);
	t[3] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 4, 1, 0);	/* shared by now */
	t[4] = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 1, 1, 0);	/* moved away by now */
	t[5] = transfer_cmd(&self->b, ZCIPC_MOVE, other.cap, 0, 0, 0);
	t[6] = transfer_cmd(&self->c, ZCIPC_MOVE, other.cap, 0, 0, 0);	/* no longer there */
	t[7] = transfer_cmd(&self->a, ZCIPC_COPY, src.cap, 3, 1, 0);	/* to itself */
	test_stats(&self->base.ep, &before);
	test_batch(&self->a, t, 8, 0, &out);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(5, out.done);
	EXPECT_EQ(3, out.failed);
	EXPECT_EQ(0, t[0].result);
	EXPECT_EQ(0, t[1].result);
	EXPECT_EQ(0, t[2].result);
	EXPECT_EQ(-EBUSY, t[3].result);
	EXPECT_EQ(-ENOENT, t[4].result);
	EXPECT_EQ(0, t[5].result);
	EXPECT_EQ(-ESTALE, t[6].result);
	EXPECT_EQ(0, t[7].result);
	EXPECT_EQ(before.moves + 2, after.moves);
	EXPECT_EQ(before.copies + 2, after.copies);
	EXPECT_EQ(before.shares + 1, after.shares);
	EXPECT_EQ(before.failures + 3, after.failures);
	for (i = 0; i < 3; i++)
		test_take(&self->b, &got[i]);
	test_take(&self->c, &got[3]);
	test_take(&self->a, &got[4]);
	ASSERT_EQ(6, got[0].npages);
	test_check(&self->b, got[0].p, 6, 1);
	ASSERT_EQ(2, got[1].npages);
	ASSERT_EQ(src.region, got[1].region);
	test_check_from(&self->b, got[1].p, 4, 2, 1);
	ASSERT_EQ(other.region, got[2].region);
	test_check(&self->b, got[2].p, 3, 2);
	test_check_from(&self->c, got[3].p, 1, 2, 1);
	test_check_from(&self->a, got[4].p, 3, 1, 1);
	test_gone(&self->a, src.p + psize, 2);
	/* The place of the other one has been used again. */
	ASSERT_EQ(other.p, got[4].p);
	test_gone(&self->a, other.p + psize, 2);
	/* The share is one, and the snapshot is not. */
	test_fill(&self->b, got[1].p, 2, 5);
	test_check(&self->a, src.p + 4 * psize, 2, 5);
	test_check(&self->b, got[0].p, 6, 1);
	test_fill(&self->a, src.p, 1, 6);
	test_check(&self->b, got[0].p, 6, 1);
}

/* What an earlier transfer of the same batch gave is taken away by a later one. */
TEST_F(batch, given_and_taken)
{
	struct zcipc_transfer t[3];
	struct buf src, got;
	struct zcipc_recv m;
	size_t npages;

	for (npages = 1; npages <= 4; npages++) {
		test_create(&self->a, 4, &src);
		test_fill(&self->a, src.p, 4, 1);
		t[0] = transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 0, npages, RIGHTS_RW);
		t[1] = transfer_cmd(&self->a, ZCIPC_SHARE, src.cap, 0, 1, RIGHTS_RW);
		t[2] = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 0, 1 + npages % 2, 0);
		t[2].flags = ZCIPC_F_REVOKE_OTHERS;
		test_batch_all(&self->a, t, 3, 0);
		test_take(&self->c, &got);
		test_check(&self->c, got.p, 1 + npages % 2, 1);
		test_gone(&self->a, src.p, 1 + npages % 2);
		/* Of what names other pages as well, these are left. */
		if (npages > 1 + npages % 2) {
			test_recv(&self->b, &m);
			test_gone(&self->b, (char *)(uintptr_t)m.addr, 1 + npages % 2);
			test_check_from(&self->b,
					(char *)(uintptr_t)m.addr + (1 + npages % 2) * psize,
					1 + npages % 2, npages - 1 - npages % 2, 1);
			test_drop(&self->b, m.cap);
		}
		test_drop(&self->a, src.cap);
		test_drop(&self->c, got.cap);
	}
}

static void *copy_thread(void *arg)
{
	struct zcipc_transfer *t = arg;
	struct ep *ep = (struct ep *)(uintptr_t)t[0].cookie;
	struct zcipc_transfer_batch out;

	t[0].cookie = 0;
	return (void *)(intptr_t)zc_batch(ep, t, 2, 0, &out);
}

struct revoker {
	struct ep *ep;
	__u64 cap;
	volatile pid_t tid;
	volatile bool go, done;
	__u64 n;
};

static void *revoke_thread(void *arg)
{
	struct revoker *r = arg;

	r->tid = gettid();
	while (!r->go)
		sched_yield();
	if (zc_revoke(r->ep, NULL, r->cap, ZCIPC_REVOKE_KEEP, &r->n))
		r->n = 0;
	r->done = true;
	return NULL;
}

/*
 * What lies between two slots of a batch is out of the page table for a moment. Who revokes it then
 * must not miss it.
 */
TEST_F(batch, revoked_while_hidden)
{
	struct revoker r = { .ep = &self->a };
	struct zcipc_transfer t[2];
	struct buf src, x, p, y;
	pthread_t threads[2];
	void *rc;

	need_points();
	test_create(&self->a, 1, &src);
	test_fill(&self->a, src.p, 1, 1);
	test_create(&self->c, 1, &x);
	test_send_rights(&self->a, &self->c, ZCIPC_SHARE, src.cap, RIGHTS_RW);
	test_take(&self->c, &p);
	test_create(&self->c, 1, &y);
	test_fill(&self->c, x.p, 1, 2);
	test_fill(&self->c, p.p, 1, 1);
	test_fill(&self->c, y.p, 1, 3);
	ASSERT_EQ(x.p + psize, p.p);
	ASSERT_EQ(p.p + psize, y.p);
	t[0] = transfer_cmd(&self->b, ZCIPC_COPY, x.cap, 0, 0, 0);
	t[1] = transfer_cmd(&self->b, ZCIPC_COPY, y.cap, 0, 0, 0);
	t[0].cookie = (uintptr_t)&self->c;
	/* By its own token: to find that of the other it would have to wait for the batch. */
	r.cap = src.cap;
	/* No thread can be made while the batch has the mmap_lock. */
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, revoke_thread, &r));
	point_stop("hidden");
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, copy_thread, t));
	ASSERT_TRUE(point_reached());
	r.go = true;
	ASSERT_TRUE(wait_until(r.done || thread_waits(r.tid)));
	point_go();
	pthread_join(threads[1], NULL);
	EXPECT_EQ(1, r.n);
	test_gone(&self->c, p.p, 1);
	pthread_join(threads[0], &rc);
	EXPECT_EQ(NULL, rc);
	test_gone(&self->c, p.p, 1);
	/* Nor does it come back with what takes its place. */
	test_create(&self->c, 1, &p);
	test_fill(&self->c, p.p, 1, 4);
	test_check(&self->a, src.p, 1, 1);
}

/* There is no room: nobody waits, although the descriptor is one that waits. */
TEST_F(batch, no_room)
{
	struct zcipc_transfer t[8];
	struct zcipc_transfer_batch out;
	struct buf src[8], got;
	struct ep small;
	unsigned int i;

	test_start(&small, true, 4);
	for (i = 0; i < 8; i++)
		test_create(&self->a, 1, &src[i]);
	for (i = 0; i < 8; i++)
		t[i] = transfer_cmd(&small, ZCIPC_MOVE, src[i].cap, 0, 0, 0);
	test_batch(&self->a, t, 8, 0, &out);
	EXPECT_EQ(4, out.done);
	EXPECT_EQ(4, out.failed);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i < 4 ? 0 : -EAGAIN, t[i].result);
	/* Together they have no room, though each has. */
	test_take(&small, &got);
	test_drop(&small, got.cap);
	for (i = 0; i < 2; i++)
		t[i] = transfer_cmd(&small, ZCIPC_MOVE, src[4 + i].cap, 0, 0, 0);
	test_err_batch(EAGAIN, &self->a, t, 2, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(1, out.failed);
	EXPECT_EQ(-ECANCELED, t[0].result);
	EXPECT_EQ(-EAGAIN, t[1].result);

	TEST_OK(set_config(&self->b, ZCIPC_CONFIG_DEPTH, 0, 2));
	for (i = 0; i < 4; i++)
		t[i] = transfer_cmd(&self->b, ZCIPC_COPY, src[4 + i].cap, 0, 0, 0);
	test_batch(&self->a, t, 4, 0, &out);
	EXPECT_EQ(2, out.done);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(i < 2 ? 0 : -EAGAIN, t[i].result);
	for (i = 0; i < 2; i++)
		test_take(&self->b, &got);
	test_err_batch(EAGAIN, &self->a, t, 4, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(2, out.failed);
	test_batch_all(&self->a, t, 2, ZCIPC_F_ATOMIC);
	test_err_batch(EOPNOTSUPP, &self->a, t, 2, ZCIPC_F_STRICT, &out);
}

/* --- all or none */

#define N 4

/* Nothing has changed? */
static void check_nothing_done(struct __test_metadata *_metadata, struct ep *a, struct ep *b,
			       const struct buf *src, const struct zcipc_stats *before)
{
	struct zcipc_region_query q;
	struct zcipc_stats after;
	unsigned int i;

	test_stats(a, &after);
	ASSERT_TRUE(same_live(before, &after));
	ASSERT_EQ(before->moves, after.moves);
	ASSERT_EQ(before->shares, after.shares);
	ASSERT_EQ(before->copies, after.copies);
	ASSERT_EQ(before->pages, after.pages);
	ASSERT_EQ(before->copied_held, after.copied_held);
	ASSERT_EQ(owned(before), owned(&after));
	for (i = 0; i < N; i++) {
		test_check(a, src[i].p, 2, 1 + i);
		test_query(a, src[i].cap, &q);
		ASSERT_EQ(src[i].region, q.region);
		ASSERT_EQ(2 * psize, q.present);
		ASSERT_EQ(1, q.caps);
		ASSERT_EQ(1, q.maps);
		ASSERT_EQ(RIGHTS_ALL, q.rights);
		/* Writable as before. */
		test_fill(a, src[i].p, 2, 1 + i);
		test_query(a, src[i].cap, &q);
		ASSERT_EQ(0, q.shared);
	}
	test_stats(a, &after);
	ASSERT_EQ(before->copied_write, after.copied_write);
	test_stats(b, &after);
	ASSERT_EQ(before->messages, after.messages);
}

TEST_F(batch, atomic_none)
{
	struct zcipc_transfer t[N], good[N];
	struct zcipc_transfer_batch out;
	struct zcipc_stats before;
	struct buf src[N], got;
	unsigned int i, k, at;

	for (i = 0; i < N; i++) {
		test_create(&self->a, 2, &src[i]);
		test_fill(&self->a, src[i].p, 2, 1 + i);
	}
	good[0] = transfer_cmd(&self->b, ZCIPC_MOVE, src[0].cap, 0, 0, 0);
	good[1] = transfer_cmd(&self->c, ZCIPC_COPY, src[1].cap, 0, 0, 0);
	good[2] = transfer_cmd(&self->b, ZCIPC_SHARE, src[2].cap, 0, 0, RIGHTS_RW);
	good[3] = transfer_cmd(&self->c, ZCIPC_MOVE, src[3].cap, 1, 1, 0);
	for (at = 0; at < N; at++) {
		for (k = 0; k < 5; k++) {
			static const int errs[] = { EINVAL, ENOENT, ENOENT, EOPNOTSUPP, EINVAL };

			memcpy(t, good, sizeof(t));
			if (k == 0)
				t[at].offset = 2 * psize;
			else if (k == 1)
				t[at].cap = 1ULL << 62 | 5;
			else if (k == 2)
				t[at].peer = 1ULL << 40;
			else if (k == 3)
				t[at].flags = 1U << 30;
			else
				t[at].size++;
			test_stats(&self->a, &before);
			test_err_batch(errs[k], &self->a, t, N, ZCIPC_F_ATOMIC, &out);
			ASSERT_EQ(0, out.done);
			ASSERT_EQ(at, out.failed);
			for (i = 0; i < N; i++)
				ASSERT_EQ(i == at ? -errs[k] : -ECANCELED, t[i].result);
			check_nothing_done(_metadata, &self->a, &self->b, src, &before);
		}
	}
	/* Ranges that one moves and another names, in either order, but not merely the same. */
	for (at = 0; at < 2; at++) {
		memcpy(t, good, sizeof(t));
		t[at].cap = src[3].cap;
		t[at].offset = psize;
		test_stats(&self->a, &before);
		test_err_batch(EINVAL, &self->a, t, N, ZCIPC_F_ATOMIC, &out);
		ASSERT_EQ(3, out.failed);
		check_nothing_done(_metadata, &self->a, &self->b, src, &before);
	}
	/* The other half of the region does not matter. */
	t[0] = transfer_cmd(&self->b, ZCIPC_MOVE, src[3].cap, 0, 1, 0);
	t[1] = good[3];
	t[1].peer = self->b.id;
	test_batch_all(&self->a, t, 2, ZCIPC_F_ATOMIC);
	for (i = 0; i < 2; i++) {
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, i, 1, 4);
	}
	/* As it has no pages left, it goes. */
	test_drop(&self->a, src[3].cap);
	good[3] = transfer_cmd(&self->c, ZCIPC_COPY, src[1].cap, 1, 1, 0);
	test_batch_all(&self->a, good, N, ZCIPC_F_ATOMIC);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, 2, 1);
	test_gone(&self->a, src[0].p, 2);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, 2, 3);
	test_take(&self->c, &got);
	test_check(&self->c, got.p, 2, 2);
	test_take(&self->c, &got);
	test_check_from(&self->c, got.p, 1, 1, 2);
}

/* Another cache policy is for single transfers, or for batches that are not atomic. */
TEST_F(batch, atomic_keeps_cache)
{
	struct zcipc_info info = { .size = sizeof(info) };
	struct zcipc_transfer t[2];
	struct zcipc_transfer_batch out;
	struct buf src[2];
	unsigned int i;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	if (!(info.features & ZCIPC_FEATURE_UNCACHED))
		SKIP(return, "the machine has no other cache policy");
	for (i = 0; i < 2; i++) {
		test_create(&self->a, 1, &src[i]);
		test_fill(&self->a, src[i].p, 1, 1 + i);
		t[i] = transfer_cmd(&self->b, ZCIPC_MOVE, src[i].cap, 0, 0, 0);
	}
	t[1].cache = ZCIPC_CACHE_UNCACHED;
	test_err_batch(EOPNOTSUPP, &self->a, t, 2, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(1, out.failed);
	EXPECT_EQ(-ECANCELED, t[0].result);
	for (i = 0; i < 2; i++)
		test_check(&self->a, src[i].p, 1, 1 + i);
}

/* Copies take memory from the quota: all together. */
TEST_F(batch, atomic_quota)
{
	const char *path = "/sys/module/zcipc/parameters/quota_mib";
	long old = file_number(path, NULL);
	/* Of 256 pages. What the kernel needs beside it is charged, too, and is less than @more. */
	size_t more = 40, quarter = 256 / 4 - more / 5;
	struct zcipc_transfer_batch out;
	struct zcipc_transfer t[3];
	struct zcipc_stats stats;
	struct buf src, got = {};
	char text[24];
	unsigned int i;

	if (old < 0 || access(path, W_OK))
		SKIP(return, "the quota cannot be set");
	test_create(&self->a, quarter, &src);
	test_fill(&self->a, src.p, quarter, 1);
	for (i = 0; i < 3; i++)
		t[i] = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 0, 0, 0);
	number_write(path, psize / 4096);
	EXPECT_EQ(0, zc_create(&self->c, more, &got));
	EXPECT_EQ(-1, zc_batch(&self->a, t, 3, ZCIPC_F_ATOMIC, &out));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(2, out.failed);
	EXPECT_EQ(0, zc_stats(&self->a, &stats));
	EXPECT_EQ(quarter + more, owned(&stats));
	EXPECT_EQ(0, zc_drop(&self->c, got.cap));
	EXPECT_EQ(0, zc_batch(&self->a, t, 3, ZCIPC_F_ATOMIC, &out));
	EXPECT_EQ(3, out.done);
	EXPECT_EQ(0, zc_stats(&self->a, &stats));
	EXPECT_EQ(4 * quarter, owned(&stats));
	snprintf(text, sizeof(text), "%ld", old);
	file_write(path, text);
	for (i = 0; i < 3; i++) {
		test_take(&self->b, &got);
		test_check(&self->b, got.p, quarter, 1);
	}
}

/* --- what takes long */

/* More pages than are copied with the endpoints' locks, because somebody holds them. */
#define HELD 128
/* Of one of two transfers: only both together are more. */
#define HELD_BOTH 48

/* They are read by nobody. */
static int hold(int fds[2], const struct buf *b)
{
	struct iovec iov = { b->p, b->npages * psize };

	if (pipe(fds) || fcntl(fds[1], F_SETPIPE_SZ, iov.iov_len) < 0)
		return -1;
	return vmsplice(fds[1], &iov, 1, 0) == (ssize_t)iov.iov_len ? 0 : -1;
}

/* The live state is as before, and so is what is charged. */
static void check_as_before(struct __test_metadata *_metadata, struct ep *ep,
			    const struct zcipc_stats *before)
{
	struct zcipc_stats now;

	/* What a process of a peer has given up may take a moment. */
	ASSERT_TRUE(wait_until(!zc_stats(ep, &now) && same_live(before, &now) &&
			       owned(before) == owned(&now)))
		TH_LOG("frames %lld regions %lld caps %lld pages %lld",
		       (long long)(now.frames - before->frames),
		       (long long)(now.regions - before->regions),
		       (long long)(now.caps - before->caps),
		       (long long)(owned(&now) - owned(before)));
}

/*
 * That an atomic batch takes long may be known only when some of it has been prepared. Whether all
 * or none of it is made in the end, nothing is left of that.
 */
TEST_F(batch, atomic_and_held)
{
	static const struct {
		__u32 types[2];
		bool fails;
	} cases[] = {
		{ { ZCIPC_COPY, ZCIPC_COPY }, false }, { { ZCIPC_COPY, ZCIPC_MOVE }, false },
		{ { ZCIPC_MOVE, ZCIPC_COPY }, false }, { { ZCIPC_MOVE, ZCIPC_MOVE }, false },
		{ { ZCIPC_SHARE, ZCIPC_MOVE }, false },
		{ { ZCIPC_COPY, ZCIPC_MOVE }, true }, { { ZCIPC_MOVE, ZCIPC_MOVE }, true },
		{ { ZCIPC_SHARE, ZCIPC_MOVE }, true },
	};
	static const size_t held[] = { HELD, HELD_BOTH };
	struct zcipc_stats empty, before;
	struct zcipc_transfer_batch out;
	struct zcipc_transfer t[3];
	struct buf src[3], got;
	size_t i, k, n, runs;
	int fds[3][2];

	if (getenv("ZCIPC_UNPINNABLE"))
		SKIP(return, "nobody can hold it");
	for (runs = 0; runs < ARRAY_SIZE(held) * ARRAY_SIZE(cases); runs++) {
		n = held[runs / ARRAY_SIZE(cases)];
		k = runs % ARRAY_SIZE(cases);
		test_stats(&self->a, &empty);
		for (i = 0; i < ARRAY_SIZE(src); i++) {
			test_create_flags(&self->a, i < 2 ? n : 1, ZCIPC_CREATE_NO_HUGE, &src[i]);
			test_fill(&self->a, src[i].p, src[i].npages, 1 + i);
			ASSERT_EQ(0, hold(fds[i], &src[i]));
			t[i] = transfer_cmd(i ? &self->c : &self->b,
					    i < 2 ? cases[k].types[i] : ZCIPC_MOVE, src[i].cap,
					    0, 0, 0);
			if (t[i].type == ZCIPC_SHARE)
				t[i].rights = RIGHTS_RW;
		}
		t[2].flags = cases[k].fails ? ZCIPC_F_STRICT : 0;
		test_stats(&self->a, &before);
		if (cases[k].fails) {
			test_err_batch(EBUSY, &self->a, t, 3, ZCIPC_F_ATOMIC, &out);
			ASSERT_EQ(2, out.failed);
			ASSERT_EQ(0, out.done);
			check_as_before(_metadata, &self->a, &before);
		} else {
			test_batch_all(&self->a, t, 3, ZCIPC_F_ATOMIC);
		}
		for (i = 0; i < ARRAY_SIZE(src); i++) {
			close(fds[i][0]);
			close(fds[i][1]);
			if (!cases[k].fails) {
				struct ep *to = i ? &self->c : &self->b;

				test_take(to, &got);
				EXPECT_EQ(src[i].npages, got.npages);
				test_check(to, got.p, got.npages, 1 + i);
				test_drop(to, got.cap);
			}
			if (cases[k].fails || t[i].type != ZCIPC_MOVE) {
				test_check(&self->a, src[i].p, src[i].npages, 1 + i);
				test_fill(&self->a, src[i].p, src[i].npages, 1 + i);
				test_drop(&self->a, src[i].cap);
			} else {
				test_gone(&self->a, src[i].p, src[i].npages);
			}
		}
		check_as_before(_metadata, &self->a, &empty);
	}
}

/* However many capabilities a transfer revokes, none of them is of use to the next one. */
TEST_F(batch, revoked_before_the_next)
{
	static const unsigned int others[] = { 1, 125, 126, 127, 128, 300 };
	struct zcipc_region_query q;
	struct zcipc_transfer t[4];
	struct buf src, first, last, other, got;
	struct zcipc_stats empty;
	unsigned int i, k, shared;

	/* Some are derived from what is moved, and all are. */
	for (k = 0; k < 4 * ARRAY_SIZE(others); k++) {
		test_stats(&self->a, &empty);
		test_create(&self->a, 1, &first);
		test_create(&self->a, 2, &src);
		test_create(&self->a, 1, &last);
		test_fill(&self->a, src.p, 2, 1);
		other = src;
		for (i = 0; i < others[k / 4]; i++)
			test_give_part(&self->a, &self->a, k & 2 ? other.cap : src.cap, 0,
				       k & 2 ? 0 : 1, RIGHTS_ALL, &other);
		/* Before it is revoked, and after. */
		shared = k & 1 ? 1 : 2;
		t[0] = transfer_cmd(&self->b, ZCIPC_MOVE, first.cap, 0, 0, 0);
		t[3 - shared] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
		t[3 - shared].flags = ZCIPC_F_REVOKE_OTHERS;
		t[shared] = transfer_cmd(&self->c, ZCIPC_SHARE, other.cap, 0, 0, RIGHTS_RW);
		t[3] = transfer_cmd(&self->b, ZCIPC_MOVE, last.cap, 0, 0, 0);
		test_batch(&self->a, t, 4, 0, NULL);
		for (i = 0; i < 4; i++)
			ASSERT_EQ(i == 2 && shared == 2 ? -ESTALE : 0, t[i].result)
				TH_LOG("%u of %u", i, others[k / 4]);
		test_err_query(ESTALE, &self->a, other.cap, &q);
		if (shared == 1)
			test_err_query(ESTALE, &self->c, t[1].peer_cap, &q);
		for (i = 0; i < 3; i++) {
			test_take(&self->b, &got);
			if (got.npages == 2)
				test_check(&self->b, got.p, 2, 1);
			test_drop(&self->b, got.cap);
		}
		check_as_before(_metadata, &self->a, &empty);
	}
}

/* --- one instant */

struct counter {
	pthread_t thread;
	char *p[2];
	volatile bool *stop;
	volatile __u64 n;
	int wrong;
};

static void *count_thread(void *arg)
{
	struct counter *c = arg;

	run_on(1);
	while (!*c->stop) {
		__u64 val = c->n + 1;

		if (touch_write(c->p[0], val) || touch_write(c->p[1], val))
			c->wrong++;
		c->n = val;
	}
	return NULL;
}

/* The first page is never behind the second one, nor more than one step ahead. */
TEST_F(batch, copy_one_instant)
{
	struct counter c = { .stop = &self->stop };
	struct buf src[2], gap, got;
	struct zcipc_transfer t[2];
	__u64 val[2];
	unsigned int round, i;

	test_create(&self->a, 1, &src[0]);
	test_create(&self->a, 1, &gap);
	test_create(&self->a, 1, &src[1]);
	for (i = 0; i < 2; i++) {
		c.p[i] = src[i].p;
		ASSERT_EQ(0, touch_write(c.p[i], 0));
	}
	pthread_create(&c.thread, NULL, count_thread, &c);
	for (round = 0; round < loops(300); round++) {
		__u64 n = c.n;

		ASSERT_TRUE(wait_until(c.n > n + 2));
		/* A snapshot that is torn shows in one order or the other. */
		for (i = 0; i < 2; i++)
			t[i] = transfer_cmd(&self->c, ZCIPC_COPY, src[i ^ (round & 1)].cap, 0, 0,
					    0);
		if (round % 3)
			test_batch_all(&self->a, t, 2, round % 3 == 1 ? ZCIPC_F_ATOMIC : 0);
		else
			test_batch_all(&self->a, t, 2, 0);
		for (i = 0; i < 2; i++) {
			test_take(&self->c, &got);
			ASSERT_EQ(0, touch_read(got.p, &val[i ^ (round & 1)]));
			test_drop(&self->c, got.cap);
		}
		ASSERT_GE(val[0], val[1]);
		ASSERT_LE(val[0], val[1] + 1);
	}
	self->stop = true;
	pthread_join(c.thread, NULL);
	ASSERT_EQ(0, c.wrong);
}

/* --- sizes */

static int raw_batch(struct ep *ep, const void *transfers, __u32 n, __u32 size)
{
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)transfers, .ntransfers = n,
		.transfer_size = size,
	};

	return zc_ioctl(ep, ZCIPC_IOC_TRANSFER_BATCH, &cmd);
}

#define OLD_SIZE (offsetof(struct zcipc_transfer, copied) + 8)

TEST_F(batch, sizes)
{
	static struct zcipc_transfer many[ZCIPC_MAX_BATCH + 1];
	struct zcipc_transfer t;
	char wide[3][sizeof(t) + 8] = {};
	char old[2][OLD_SIZE];
	struct zcipc_transfer_batch out;
	struct buf src, got;
	struct ep *a = &self->a;
	char *p, *end;
	size_t i, n;

	test_create(a, ZCIPC_MAX_BATCH, &src);
	test_fill(a, src.p, ZCIPC_MAX_BATCH, 1);
	for (i = 0; i <= ZCIPC_MAX_BATCH; i++) {
		many[i] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, i, 1, 0);
		many[i].cookie = i;
	}
	TEST_ERR(EINVAL, raw_batch(a, many, 0, sizeof(t)));
	TEST_ERR(EINVAL, raw_batch(a, many, ZCIPC_MAX_BATCH + 1, sizeof(t)));
	TEST_ERR(EINVAL, raw_batch(a, many, ~0U, sizeof(t)));
	TEST_ERR(EINVAL, raw_batch(a, many, 1, 0));
	TEST_ERR(EINVAL, raw_batch(a, many, 1, OLD_SIZE - 1));
	TEST_ERR(E2BIG, raw_batch(a, many, 1, psize + 1));

	/* What an older program knows of it. */
	for (i = 0; i < 2; i++) {
		t = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, i, 1, 0);
		t.size = OLD_SIZE;
		t.copied = ~0ULL;
		memcpy(old[i], &t, OLD_SIZE);
	}
	TEST_OK(raw_batch(a, old, 2, OLD_SIZE));
	for (i = 0; i < 2; i++) {
		memcpy(&t, old[i], OLD_SIZE);
		EXPECT_EQ(1, t.pages);
		EXPECT_EQ(0, t.copied);
		EXPECT_EQ(OLD_SIZE, t.size);
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, i, 1, 1);
	}
	/* What a newer program knows: one that uses it has a result of its own. */
	for (i = 0; i < 3; i++) {
		t = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, i, 1, 0);
		t.size = sizeof(t) + 8;
		memcpy(wide[i], &t, sizeof(t));
	}
	wide[1][sizeof(t) + 3] = 1;
	TEST_OK(raw_batch(a, wide, 3, sizeof(t) + 8));
	for (i = 0; i < 3; i++) {
		memcpy(&t, wide[i], sizeof(t));
		EXPECT_EQ(i == 1 ? -E2BIG : 0, t.result);
		EXPECT_EQ(i == 1, wide[i][sizeof(t) + 3]);
	}
	for (i = 0; i < 2; i++) {
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, 2 * i, 1, 1);
	}

	/* Memory that ends in the middle, or cannot be written. */
	p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	end = p + psize;
	ASSERT_EQ(0, munmap(end, psize));
	memcpy(end - sizeof(t) - 8, many, sizeof(t) + 8);
	TEST_ERR(EFAULT, raw_batch(a, end - sizeof(t) - 8, 2, sizeof(t)));
	TEST_ERR(EFAULT, raw_batch(a, NULL, 1, sizeof(t)));
	TEST_ERR(EFAULT, raw_batch(a, (void *)~0xfffUL, 2, sizeof(t)));
	memcpy(p, many, 4 * sizeof(t));
	ASSERT_EQ(0, mprotect(p, psize, PROT_READ));
	TEST_ERR(EFAULT, raw_batch(a, p, 4, sizeof(t)));
	p = mmap(NULL, 4 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	n = 4 * psize / sizeof(t);
	memcpy(p, many, n * sizeof(t));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, mprotect(p + i * psize, psize, PROT_READ));
		TEST_ERR(EFAULT, raw_batch(a, p, n, sizeof(t)));
		ASSERT_EQ(0, mprotect(p + i * psize, psize, PROT_READ | PROT_WRITE));
		ASSERT_EQ(0, memcmp(p, many, n * sizeof(t)));
	}
	test_check(a, src.p, ZCIPC_MAX_BATCH, 1);

	/* As many as there can be. */
	test_batch_all(a, many, ZCIPC_MAX_BATCH, 0);
	test_gone(a, src.p, ZCIPC_MAX_BATCH);
	for (i = 0; i < ZCIPC_MAX_BATCH; i++) {
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, i, 1, 1);
	}
	test_err_batch(ENOENT, a, many, ZCIPC_MAX_BATCH, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(0, out.failed);
}

/* --- rings */

#define NODE_REGIONS 16

/* Regions that a node of a ring has. Each is filled with a seed of its own. */
struct node {
	struct buf bufs[8 * NODE_REGIONS];
	size_t n;
	volatile bool stop;
};

static int node_receive(struct ep *ep, struct node *node)
{
	while (node->n < ARRAY_SIZE(node->bufs)) {
		struct zcipc_recv m = { .size = sizeof(m) };

		if (ioctl(ep->fd, ZCIPC_IOC_RECV, &m))
			return errno == EAGAIN ? 0 : -1;
		node->bufs[node->n++] = (struct buf){
			.cap = m.cap, .p = (char *)(uintptr_t)m.addr, .npages = m.len / psize,
		};
	}
	return 0;
}

/* Maps and unmaps, next to the window and with memory of its own. */
static void *mapping_thread(void *arg)
{
	struct node *node = arg;

	while (!node->stop) {
		char *p = mmap(NULL, 8 * psize, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			continue;
		p[0] = 1;
		p[4 * psize] = 1;
		munmap(p + 2 * psize, 3 * psize);
		munmap(p, 8 * psize);
	}
	return NULL;
}

/*
 * Sends all it has to the next one, again and again. Returns the sum of the seeds of what it has in
 * the end, or -1 if one is not what it was.
 */
static long call_node(struct ep *ep, struct call *c)
{
	struct zcipc_transfer t[8 * NODE_REGIONS];
	struct ep next = { .id = c->addr };
	struct node node = {};
	pthread_t thread;
	size_t i, k, round;
	long sum = 0;

	fcntl(ep->fd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < NODE_REGIONS && c->val; i++) {
		if (zc_create(ep, 1 + i % 3, &node.bufs[i]) ||
		    fill(node.bufs[i].p, 1 + i % 3, c->val + i))
			return -1;
		node.n++;
	}
	if (c->n && pthread_create(&thread, NULL, mapping_thread, &node))
		return -1;
	for (round = 0; round < c->n; round++) {
		if (node_receive(ep, &node))
			return -1;
		for (i = 0; i < node.n; i++) {
			t[i] = transfer_cmd(&next, ZCIPC_MOVE, node.bufs[i].cap, 0, 0, 0);
			t[i].cookie = i;
		}
		if (node.n &&
		    zc_batch(ep, t, node.n, round & 1 ? ZCIPC_F_ATOMIC : 0, NULL) &&
		    errno != EAGAIN)
			return -1;
		for (k = 0, i = 0; i < node.n; i++) {
			if (t[i].result && t[i].result != -EAGAIN && t[i].result != -ECANCELED)
				return -1;
			if (t[i].result)
				node.bufs[k++] = node.bufs[i];
		}
		node.n = k;
		sched_yield();
	}
	if (c->n) {
		node.stop = true;
		pthread_join(thread, NULL);
	}
	/* The seed is in the first word; the other words have to agree with it. */
	if (!c->n && node_receive(ep, &node))
		return -1;
	for (i = 0; i < node.n; i++) {
		__u64 val, seed;

		if (touch_read(node.bufs[i].p, &val))
			return -1;
		seed = (val - pattern(0, 0, 0)) >> 48;
		if (check(node.bufs[i].p, 0, node.bufs[i].npages, seed))
			return -1;
		sum += seed;
	}
	return sum;
}

struct node_runner {
	pthread_t thread;
	struct ep *ep;
	struct call c;
};

static void *node_thread(void *arg)
{
	struct node_runner *r = arg;

	r->c.rc = ep_call(r->ep, &r->c);
	return NULL;
}

static void run_ring(struct __test_metadata *_metadata, bool remote, unsigned int n)
{
	struct node_runner runners[3];
	static struct ep ring[3];
	unsigned int i, k;
	long sum = 0, want = 0;

	for (i = 0; i < n; i++)
		test_start(&ring[i], remote, 256);
	for (i = 0; i < n; i++) {
		runners[i] = (struct node_runner){
			.ep = &ring[i],
			.c = { .fn = call_node, .addr = ring[(i + 1) % n].id, .n = loops(300),
			       .val = 1 + 100 * i },
		};
		for (k = 0; k < NODE_REGIONS; k++)
			want += 1 + 100 * i + k;
		pthread_create(&runners[i].thread, NULL, node_thread, &runners[i]);
	}
	for (i = 0; i < n; i++)
		pthread_join(runners[i].thread, NULL);
	for (i = 0; i < n; i++) {
		struct call rest = { .fn = call_node };

		ASSERT_LE(0, runners[i].c.rc);
		sum += runners[i].c.rc;
		/* What was still on its way. */
		rest.rc = ep_call(&ring[i], &rest);
		ASSERT_LE(0, rest.rc);
		sum += rest.rc;
	}
	ASSERT_EQ(want, sum);
	for (i = 0; i < n; i++)
		ep_end(&ring[i]);
	neps -= n;
}

/* Batches in both directions, and around in a circle: no deadlock, nothing lost. */
TEST_F(batch, rings)
{
	unsigned int n;

	for (n = 2; n <= 3; n++) {
		run_ring(_metadata, true, n);
		run_ring(_metadata, false, n);
	}
}

TEST_HARNESS_MAIN

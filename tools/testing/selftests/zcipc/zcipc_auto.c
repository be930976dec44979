// SPDX-License-Identifier: GPL-2.0-only
/*
 * ZCIPC_F_AUTO: snapshots of little memory are copied at once.
 *
 * Covered: the size that decides; the same result on both ways, of regions, of memory, of a part of
 * a page, in a batch; one instant; later writes, which neither cross nor copy; holders; imported,
 * pinnable and shared frames; the quota; failures.
 */
#include <sys/uio.h>

#include "zcipc_utils.h"

#define AUTO "/sys/module/zcipc/parameters/auto_copy_max"

/* Pages up to which it copies here. */
#define LIMIT 4

FIXTURE(auto)
{
	struct base base;
	struct ep a, b;
	struct buf src;
	long old;
};

FIXTURE_VARIANT(auto)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(auto, here) { .remote = false, };
FIXTURE_VARIANT_ADD(auto, process) { .remote = true, };

FIXTURE_SETUP(auto)
{
	base_setup(_metadata, &self->base);
	self->old = file_number(AUTO, NULL);
	if (self->old < 0 || access(AUTO, W_OK))
		SKIP(return, "the limit cannot be set");
	number_write(AUTO, LIMIT * psize);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, variant->remote, WINDOW_PAGES);
	test_create(&self->a, 2 * LIMIT, &self->src);
	test_fill(&self->a, self->src.p, 2 * LIMIT, 1);
}

FIXTURE_TEARDOWN(auto)
{
	if (self->old >= 0)
		number_write(AUTO, self->old);
	base_teardown(_metadata, &self->base);
}

static struct zcipc_transfer copy_cmd(struct ep *to, __u64 cap, size_t npages, __u32 flags)
{
	struct zcipc_transfer t = transfer_cmd(to, ZCIPC_COPY, cap, 0, npages, 0);

	t.flags = ZCIPC_F_AUTO | flags;
	return t;
}

/* What the statistics say of one transfer of a region. */
static bool counted(const struct zcipc_stats *before, const struct zcipc_stats *after,
		    size_t pages, size_t copied)
{
	return after->copies == before->copies + 1 && after->pages == before->pages + pages &&
	       after->copied_auto == before->copied_auto + copied &&
	       after->bytes == before->bytes + pages * psize + copied &&
	       after->copied_held == before->copied_held;
}

/* G6: who may only read what it sends may not write to it afterwards. */
TEST_F(auto, read_only)
{
	struct buf got, copy;
	struct zcipc_transfer t;

	test_pass_rights(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, ZCIPC_RIGHT_READ, &got);
	test_check(&self->b, got.p, LIMIT, 1);
	test_touch_write(SIGBUS, &self->b, got.p);
	t = copy_cmd(&self->a, got.cap, LIMIT, 0);
	test_transfer(&self->b, &t);
	ASSERT_EQ(LIMIT * psize, t.copied);
	test_touch_write(SIGBUS, &self->b, got.p);
	test_take(&self->a, &copy);
	test_fill(&self->a, copy.p, LIMIT, 2);
	test_check(&self->b, got.p, LIMIT, 1);
}

/* Up to the limit all is copied, above it nothing is. Writes do not cross, nor copy again. */
TEST_F(auto, limit)
{
	struct zcipc_stats before, after;
	struct zcipc_region_query q;
	struct zcipc_transfer t;
	struct buf dst;
	size_t n;

	for (n = 1; n <= LIMIT + 1; n++) {
		const bool copied = n <= LIMIT;

		t = copy_cmd(&self->b, self->src.cap, n, 0);
		test_stats(&self->base.ep, &before);
		test_transfer(&self->a, &t);
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(copied ? n * psize : 0, t.copied);
		EXPECT_EQ(copied ? 0 : n, t.pages);
		EXPECT_TRUE(counted(&before, &after, t.pages, t.copied));
		/* The sender's pages are where they were. */
		if (copied) {
			test_fill(&self->a, self->src.p, n, 1);
			test_stats(&self->base.ep, &before);
			EXPECT_EQ(after.faults, before.faults);
		}
		test_take(&self->b, &dst);
		ASSERT_EQ(n, dst.npages);
		test_check(&self->b, dst.p, n, 1);
		test_query(&self->a, self->src.cap, &q);
		EXPECT_EQ(copied ? 0 : n * psize, q.shared);
		test_stats(&self->base.ep, &before);
		test_fill(&self->a, self->src.p, n, 2);
		test_check(&self->b, dst.p, n, 1);
		test_fill(&self->b, dst.p, n, 3);
		test_check(&self->a, self->src.p, n, 2);
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(before.copied_write + (copied ? 0 : n * psize), after.copied_write);
		test_drop(&self->b, dst.cap);
		test_fill(&self->a, self->src.p, n, 1);
	}
	number_write(AUTO, 0);
	t = copy_cmd(&self->b, self->src.cap, 1, 0);
	test_transfer(&self->a, &t);
	EXPECT_EQ(0, t.copied);
	EXPECT_EQ(1, t.pages);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, 1, 1);
	/* Without the flag the limit is of no interest. */
	number_write(AUTO, LIMIT * psize);
	t = copy_cmd(&self->b, self->src.cap, 1, 0);
	t.flags = 0;
	test_transfer(&self->a, &t);
	EXPECT_EQ(1, t.pages);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, 1, 1);
}

TEST_F(auto, only_of_copy)
{
	struct zcipc_grant grant = {
		.size = sizeof(grant), .flags = ZCIPC_F_AUTO, .cap = self->src.cap,
		.peer = self->b.id, .rights = ZCIPC_RIGHT_READ,
	};
	struct zcipc_transfer t = copy_cmd(&self->b, self->src.cap, 1, 0);

	t.type = ZCIPC_MOVE;
	test_err_transfer(EINVAL, &self->a, &t);
	t.type = ZCIPC_SHARE;
	t.rights = ZCIPC_RIGHT_READ;
	test_err_transfer(EINVAL, &self->a, &t);
	TEST_ERR(EOPNOTSUPP, zc_ioctl(&self->a, ZCIPC_IOC_GRANT, &grant));
	test_check(&self->a, self->src.p, 2 * LIMIT, 1);
}

/* The same, many at once; and of what a snapshot has, too. */
TEST_F(auto, batch)
{
	struct zcipc_transfer t[3];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)t, .ntransfers = 3,
		.transfer_size = sizeof(t[0]),
	};
	struct buf dst[3];
	unsigned int i, round;

	for (round = 0; round < 2; round++) {
		t[0] = copy_cmd(&self->b, self->src.cap, LIMIT, 0);
		t[1] = copy_cmd(&self->b, self->src.cap, LIMIT + 1, 0);
		t[2] = copy_cmd(&self->b, self->src.cap, 1, 0);
		cmd.flags = round ? ZCIPC_F_ATOMIC : 0;
		TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &cmd));
		ASSERT_EQ(3, cmd.done);
		EXPECT_EQ(LIMIT * psize, t[0].copied);
		EXPECT_EQ(LIMIT + 1, t[1].pages);
		EXPECT_EQ(psize, t[2].copied);
		for (i = 0; i < 3; i++)
			test_take(&self->b, &dst[i]);
		test_fill(&self->a, self->src.p, 2 * LIMIT, 2);
		for (i = 0; i < 3; i++) {
			test_check(&self->b, dst[i].p, dst[i].npages, 1);
			test_fill(&self->b, dst[i].p, dst[i].npages, 3 + i);
		}
		for (i = 0; i < 3; i++)
			test_check(&self->b, dst[i].p, dst[i].npages, 3 + i);
		test_check(&self->a, self->src.p, 2 * LIMIT, 2);
		test_fill(&self->a, self->src.p, 2 * LIMIT, 1);
		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst[0]);
	}
}

/* --- one instant */

struct sender {
	struct ep *ep;
	struct zcipc_transfer t;
};

static void *send_thread(void *arg)
{
	struct sender *s = arg;

	return (void *)(intptr_t)zc_transfer(s->ep, &s->t);
}

struct writer {
	char *p;
	volatile pid_t tid;
	volatile bool go;
	volatile bool done;
};

static void *write_thread(void *arg)
{
	struct writer *w = arg;

	w->tid = gettid();
	while (!w->go)
		sched_yield();
	touch_write(w->p, 77);
	w->done = true;
	return NULL;
}

/* Who writes after the instant waits until it has been copied. */
TEST_F(auto, writers_wait)
{
	struct writer w = { .p = self->src.p + psize };
	struct sender s = { .ep = &self->a, .t = copy_cmd(&self->b, self->src.cap, 2, 0) };
	pthread_t threads[2];
	struct buf dst;
	void *rc;
	__u64 val;

	need_points();
	point_stop("frozen");
	/* No thread can be made while the sender has the mmap_lock. */
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, write_thread, &w));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, send_thread, &s));
	ASSERT_TRUE(point_reached());
	w.go = true;
	EXPECT_TRUE(wait_until(w.done || thread_waits(w.tid)));
	point_go();
	pthread_join(threads[0], &rc);
	pthread_join(threads[1], NULL);
	ASSERT_EQ(NULL, rc);
	EXPECT_EQ(2 * psize, s.t.copied);
	ASSERT_TRUE(w.done);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, 2, 1);
	ASSERT_EQ(0, touch_read(w.p, &val));
	EXPECT_EQ(77, val);
}

struct counter {
	char *p[2];
	volatile bool stop;
	volatile __u64 n;
};

static void *count_thread(void *arg)
{
	struct counter *c = arg;

	while (!c->stop) {
		__u64 val = c->n + 1;

		if (touch_write(c->p[0], val) || touch_write(c->p[1], val))
			break;
		c->n = val;
	}
	return NULL;
}

/* The first page is never behind the last one, nor more than one step ahead. */
TEST_F(auto, one_instant)
{
	struct counter c = { .p = { self->src.p, self->src.p + (LIMIT - 1) * psize } };
	struct zcipc_transfer t;
	unsigned int round;
	pthread_t thread;
	__u64 val[2];
	struct buf dst;

	touch_write(c.p[0], 0);
	touch_write(c.p[1], 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, count_thread, &c));
	for (round = 0; round < loops(300); round++) {
		const __u64 n = c.n;

		ASSERT_TRUE(wait_until(c.n > n + 2));
		t = copy_cmd(&self->b, self->src.cap, LIMIT, 0);
		test_transfer(&self->a, &t);
		ASSERT_EQ(LIMIT * psize, t.copied);
		test_take(&self->b, &dst);
		ASSERT_EQ(0, ep_read(&self->b, dst.p, &val[0]));
		ASSERT_EQ(0, ep_read(&self->b, dst.p + (LIMIT - 1) * psize, &val[1]));
		ASSERT_GE(val[0], val[1]);
		ASSERT_LE(val[0], val[1] + 1);
		test_drop(&self->b, dst.cap);
	}
	c.stop = true;
	pthread_join(thread, NULL);
}

/* --- holders */

TEST_F(auto, held)
{
	struct zcipc_transfer t = copy_cmd(&self->b, self->src.cap, 2, ZCIPC_F_STRICT);
	struct iovec iov = { self->src.p, psize };
	struct zcipc_stats before, after;
	char *page = malloc(psize);
	struct buf dst;
	int fds[2];

	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
	test_stats(&self->base.ep, &before);
	test_err_transfer(EBUSY, &self->a, &t);
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	EXPECT_EQ(before.copied_auto, after.copied_auto);
	test_check(&self->a, self->src.p, 2 * LIMIT, 1);
	/* Neither does the holder lose the page, nor has the peer it. */
	t = copy_cmd(&self->b, self->src.cap, 2, 0);
	test_transfer(&self->a, &t);
	EXPECT_EQ(2 * psize, t.copied);
	test_take(&self->b, &dst);
	test_fill(&self->b, dst.p, 2, 2);
	ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
	EXPECT_EQ(0, check(page, 0, 1, 1));
	test_check(&self->a, self->src.p, 2 * LIMIT, 1);
	/* Nobody holds it any more. */
	t = copy_cmd(&self->b, self->src.cap, 2, ZCIPC_F_STRICT);
	test_transfer(&self->a, &t);
	EXPECT_EQ(2 * psize, t.copied);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, 2, 1);
	close(fds[0]);
	close(fds[1]);
	free(page);
}

/* Copies of what is pinned are not. */
TEST_F(auto, imported)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer t;
	struct buf own, dst;
	char *p = mmap(NULL, LIMIT * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, fill(p, LIMIT, 4));
	test_import(&self->a, p, LIMIT, &own);
	t = copy_cmd(&self->b, own.cap, LIMIT, 0);
	test_stats(&self->base.ep, &before);
	test_transfer(&self->a, &t);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(LIMIT * psize, t.copied);
	EXPECT_EQ(before.user_pinned, after.user_pinned);
	EXPECT_EQ(owned(&before) + LIMIT, owned(&after));
	test_take(&self->b, &dst);
	test_fill(&self->a, p, LIMIT, 5);
	test_check(&self->b, dst.p, LIMIT, 4);
	test_fill(&self->b, dst.p, LIMIT, 6);
	test_check(&self->a, p, LIMIT, 5);
	test_drop(&self->a, own.cap);
	munmap(p, LIMIT * psize);
}

/* --- from memory */

/* It does not become a region, is not pinned, and need not be its owner's alone. */
TEST_F(auto, memory)
{
	static const struct {
		size_t skip, len;
	} parts[] = {
		{ 0, 1 }, { 24, 100 }, { 4000, 200 }, { 8, LIMIT * 4096 }, { 4088, 8 },
	};
	struct zcipc_stats before, after;
	const size_t len = 2 * LIMIT * psize;
	struct zcipc_transfer t;
	struct zcipc_recv m;
	unsigned int i, k;
	char *p;

	for (k = 0; k < 3; k++) {
		/* Private, shared, read-only. */
		p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 (k == 1 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(0, fill(p, 2 * LIMIT, 7));
		if (k == 2)
			ASSERT_EQ(0, mprotect(p, len, PROT_READ));
		for (i = 0; i < ARRAY_SIZE(parts); i++) {
			const size_t skip = parts[i].skip, n = parts[i].len;
			const size_t span = (skip + n + psize - 1) / psize;

			t = transfer_cmd(&self->b, ZCIPC_COPY, 0, 0, 0, 0);
			t.flags = ZCIPC_F_AUTO | ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN |
				  ZCIPC_F_IMPORT;
			t.offset = (uintptr_t)p + skip;
			t.len = n;
			test_stats(&self->base.ep, &before);
			test_transfer(&self->a, &t);
			test_stats(&self->base.ep, &after);
			EXPECT_EQ(n, t.copied);
			EXPECT_EQ(0, t.pages);
			EXPECT_EQ(before.regions + 1, after.regions);
			EXPECT_EQ(before.user_pinned, after.user_pinned);
			/* It may be what the receiver has dropped, and still pays for. */
			EXPECT_GE(owned(&before) + span, owned(&after));
			EXPECT_LE(owned(&before), owned(&after));
			EXPECT_EQ(before.copied_memory + n, after.copied_memory);
			EXPECT_EQ(before.shootdowns, after.shootdowns);
			test_recv(&self->b, &m);
			EXPECT_EQ(n, m.len);
			EXPECT_EQ(skip % psize, m.offset);
			/* Nothing that was not sent. */
			if (!variant->remote) {
				const char *got = (char *)(uintptr_t)m.addr - m.offset;
				size_t j;

				EXPECT_EQ(0, memcmp(got + m.offset, p + skip, n));
				for (j = 0; j < span * psize; j++)
					if (j < m.offset || j >= m.offset + n)
						ASSERT_EQ(0, got[j]);
			}
			test_drop(&self->b, m.cap);
		}
		/* Without the flag for it as little may be sent of a page as always. */
		t.flags &= ~ZCIPC_F_ANY_ALIGN;
		test_err_transfer(EINVAL, &self->a, &t);
		/* What is more than that has to be memory that can become a region. */
		t = transfer_cmd(&self->b, ZCIPC_COPY, 0, 0, 0, 0);
		t.flags = ZCIPC_F_AUTO | ZCIPC_F_FROM_MEMORY | ZCIPC_F_IMPORT;
		t.offset = (uintptr_t)p;
		t.len = (LIMIT + 1) * psize;
		if (k) {
			test_err_transfer(k == 1 ? EOPNOTSUPP : EACCES, &self->a, &t);
		} else {
			test_stats(&self->base.ep, &before);
			test_transfer(&self->a, &t);
			test_stats(&self->base.ep, &after);
			EXPECT_EQ(LIMIT + 1, t.pages);
			EXPECT_EQ(0, t.copied);
			EXPECT_EQ(before.regions + 2, after.regions);
			test_recv(&self->b, &m);
			test_check(&self->b, (char *)(uintptr_t)m.addr, LIMIT + 1, 7);
			test_drop(&self->b, m.cap);
		}
		test_check(&self->a, p, 2 * LIMIT, 7);
		ASSERT_EQ(0, munmap(p, len));
		/* Nothing is there. */
		t.len = psize;
		test_err_transfer(EFAULT, &self->a, &t);
	}
}

/* --- what fails changes nothing */

TEST_F(auto, quota)
{
	const long old = file_number(QUOTA, NULL);
	/* Three fit into 256 pages, with what the kernel needs beside them. */
	const size_t quarter = 256 / 4 + 4;
	struct zcipc_stats before, after;
	struct zcipc_transfer t;
	struct buf src, dst;
	unsigned int i;
	int err;

	number_write(AUTO, quarter * psize);
	test_create(&self->a, quarter, &src);
	test_fill(&self->a, src.p, quarter, 1);
	quota_set(psize / 4096);
	for (i = 0; i < 2; i++) {
		t = copy_cmd(&self->b, src.cap, quarter, 0);
		EXPECT_EQ(0, zc_transfer(&self->a, &t));
		EXPECT_EQ(quarter * psize, t.copied);
	}
	test_stats(&self->base.ep, &before);
	t = copy_cmd(&self->b, src.cap, quarter, 0);
	err = zc_transfer(&self->a, &t) ? errno : 0;
	quota_set(old);
	EXPECT_EQ(EDQUOT, err);
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	EXPECT_EQ(owned(&before), owned(&after));
	test_check(&self->a, src.p, quarter, 1);
	for (i = 0; i < 2; i++) {
		test_take(&self->b, &dst);
		test_check(&self->b, dst.p, quarter, 1);
	}
}

TEST_HARNESS_MAIN

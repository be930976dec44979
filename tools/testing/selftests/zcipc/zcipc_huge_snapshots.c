// SPDX-License-Identifier: GPL-2.0-only
/*
 * Snapshots of 2 MiB frames: whoever writes to one afterwards gets a frame of its own, at once or
 * page by page, and what was written goes back to its frame before the next snapshot.
 *
 * Guarantees: G1 zero copy, G4 snapshot, G5 coherent SHARE, G8 accounting, G10 ordinary memory.
 * Attacks: 7-9 (holders of a part), 10 (snapshots).
 */
#include <sys/uio.h>

#include "zcipc_huge.h"

/* A snapshot of all, after which the sender is going to write to all. */
static int zc_pass_break(struct ep *from, struct ep *to, __u64 cap, struct buf *b)
{
	struct zcipc_transfer t = transfer_cmd(to, ZCIPC_COPY, cap, 0, 0, 0);

	t.flags = ZCIPC_F_BREAK_HUGE;
	return zc_transfer(from, &t) ? -1 : zc_take(to, b);
}

#define test_pass_break(...)	TEST_OK(zc_pass_break(__VA_ARGS__))

/* G4, G8: one written byte copies 2 MiB, and only for the sender. PMDs stay. */
TEST_F(huge, break_huge)
{
	struct zcipc_stats before, sent, after;
	struct buf dst, two;
	size_t i;

	test_stats(&self->base.ep, &before);
	test_pass_break(&self->a, &self->b, self->src.cap, &dst);
	test_pass_break(&self->a, &self->b, self->src.cap, &two);
	test_check(&self->b, dst.p, N, 1);
	test_stats(&self->base.ep, &sent);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, ep_write(&self->a, self->src.p + 77 * psize + 7 * i, 99));
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(before.copied_write + BLOCK * psize, after.copied_write);
		ASSERT_EQ(before.frames + BLOCK, after.frames);
		ASSERT_EQ(owned(&sent), owned(&after));
	}
	test_check(&self->a, self->src.p, 77, 1);
	test_check_from(&self->a, self->src.p + 78 * psize, 78, N - 78, 1);
	EXPECT_EQ(2, ep_pmds(&self->a, self->src.p));
	EXPECT_EQ(2, ep_pmds(&self->b, dst.p));
	test_fill(&self->a, self->src.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_check(&self->b, dst.p, N, 1);
	test_check(&self->b, two.p, N, 1);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + N * psize, after.copied_write);
	EXPECT_EQ(before.frames + N, after.frames);
	EXPECT_EQ(2, ep_pmds(&self->a, self->src.p));
	/* What the peer writes is copied by pages. */
	ASSERT_EQ(0, ep_write(&self->b, dst.p + 3 * psize, 5));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + (N + 1) * psize, after.copied_write);
	test_check(&self->b, two.p, N, 1);
	test_drop(&self->b, dst.cap);
	test_drop(&self->b, two.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.frames, after.frames);
	EXPECT_EQ(owned(&before), owned(&after));
	test_check(&self->a, self->src.p, N, 2);
}

/* Of imported memory pages are copied, as without the flag. What cannot be held stays so. */
TEST_F(blocks, break_huge)
{
	size_t n = variant->imported ? 1 : BLOCK;
	struct zcipc_stats before, after;
	struct buf src, dst;
	struct iovec iov;
	int fds[2], i, ret;

	ASSERT_EQ(0, pipe(fds));
	test_pass(&self->a, &self->a, ZCIPC_MOVE, self->src.cap, &src);
	test_stats(&self->base.ep, &before);
	test_pass_break(&self->a, &self->b, src.cap, &dst);
	test_check(&self->a, src.p, N, 1);
	ASSERT_EQ(0, ep_write(&self->a, src.p + 700 * psize, 99));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + n * psize, after.copied_write);
	EXPECT_EQ(before.frames + n, after.frames);
	EXPECT_EQ(variant->imported ? self->npmds / 2 : 2, blocks_pmds(&self->a, src.p, N));
	for (i = 0; i < 2; i++) {
		iov = (struct iovec){ .iov_base = src.p + (700 + i) * psize, .iov_len = psize };
		errno = 0;
		ret = vmsplice(fds[1], &iov, 1, 0);
		/* The copy is memory as any other, unless the window forbids it. */
		EXPECT_TRUE(variant->unpinnable || (variant->imported && i) ?
			    ret < 0 && (errno == EFAULT || errno == EEXIST) : ret == (int)psize);
	}
	close(fds[0]);
	close(fds[1]);
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->a, src.p, N, 2);
	test_check(&self->a, src.p, N, 2);
	test_check(&self->b, dst.p, N, 1);
	test_drop(&self->b, dst.cap);
	test_drop(&self->a, src.cap);
}

/* A stream: each is copied once, and nothing is left. */
TEST_F(huge, break_huge_stream)
{
	struct zcipc_stats before, after;
	struct buf dst;
	unsigned int i;

	test_stats(&self->base.ep, &before);
	for (i = 0; i < 6; i++) {
		test_pass_break(&self->a, &self->b, self->src.cap, &dst);
		/* Also when the peer has written to some of it. */
		test_fill(&self->b, dst.p, i < 3 ? 0 : 10, 100);
		test_fill(&self->a, self->src.p, N, 2 + i);
		test_check_from(&self->b, dst.p + 10 * psize, 10, N - 10, 1 + i);
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(before.frames + N, after.frames);
		/* Of these the old ones are nobody's, but a part of what the peer still has. */
		ASSERT_EQ(owned(&before) + N + (i < 3 ? 0 : 10), owned(&after));
		test_drop(&self->b, dst.cap);
		test_check(&self->a, self->src.p, N, 2 + i);
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(before.frames, after.frames);
		ASSERT_EQ(owned(&before), owned(&after));
		ASSERT_EQ(2, ep_pmds(&self->a, self->src.p));
	}
	EXPECT_EQ(before.copied_write + (6 * N + 3 * 10) * psize, after.copied_write);
}

/* The last COPY of somebody who may write says how. What is moved to others stays as it was. */
TEST_F(huge, break_huge_until)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_COPY, 0, 0, 0, 0);
	struct zcipc_stats before, after;
	struct buf dst, reader, moved;

	test_pass_break(&self->a, &self->b, self->src.cap, &dst);
	test_drop(&self->b, dst.cap);
	/* Who only reads has no say, */
	test_give(&self->a, &self->b, self->src.cap, ZCIPC_RIGHT_READ, &reader);
	t.cap = reader.cap;
	t.flags = ZCIPC_F_BREAK_HUGE;
	test_err_transfer(EACCES, &self->b, &t);
	test_pass(&self->b, &self->b, ZCIPC_COPY, reader.cap, &dst);
	test_drop(&self->b, reader.cap);
	test_stats(&self->base.ep, &before);
	ASSERT_EQ(0, ep_write(&self->a, self->src.p, 99));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + BLOCK * psize, after.copied_write);
	/* nor who fails, */
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	t.cap = self->src.cap;
	t.peer = 1ULL << 40;
	test_err_transfer(ENOENT, &self->a, &t);
	ASSERT_EQ(0, ep_write(&self->a, self->src.p, 98));
	test_stats(&self->base.ep, &before);
	EXPECT_EQ(after.copied_write + psize, before.copied_write);
	/* nor who had it before. */
	test_pass_break(&self->a, &self->b, self->src.cap, &dst);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &moved);
	ASSERT_EQ(0, ep_write(&self->b, moved.p + BLOCK * psize, 97));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + BLOCK * psize, after.copied_write);
}

TEST_F(huge, break_huge_errors)
{
	static const __u32 types[] = { ZCIPC_MOVE, ZCIPC_SHARE };
	struct zcipc_grant grant = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_RW);
	struct zcipc_transfer t;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		t = transfer_cmd(&self->b, types[i], self->src.cap, 0, 0, RIGHTS_RW);
		t.flags = ZCIPC_F_BREAK_HUGE;
		test_err_transfer(EINVAL, &self->a, &t);
	}
	grant.flags = ZCIPC_F_BREAK_HUGE;
	test_err_grant(EOPNOTSUPP, &self->a, &grant);
	test_check(&self->a, self->src.p, N, 1);
	/* It goes with AUTO, be that what copies it, or not. */
	t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 1, 0);
	t.flags = ZCIPC_F_BREAK_HUGE | ZCIPC_F_AUTO;
	test_transfer(&self->a, &t);
	EXPECT_EQ(psize, t.copied);
	t.len = 0;
	test_transfer(&self->a, &t);
	EXPECT_EQ(0, t.copied);
}

/* By pages: where there are no 2 MiB frames, or none any more, or not all of one is shared. */
TEST_F(huge, break_huge_by_pages)
{
	struct zcipc_transfer part = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 3,
						  BLOCK + 20, 0);
	struct zcipc_stats before, after;
	struct buf small, dst;
	struct zcipc_recv m;

	test_create_flags(&self->a, N, ZCIPC_CREATE_NO_HUGE, &small);
	test_fill(&self->a, small.p, N, 3);
	test_pass_break(&self->a, &self->b, small.cap, &dst);
	test_stats(&self->base.ep, &before);
	ASSERT_EQ(0, ep_write(&self->a, small.p, 99));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + psize, after.copied_write);
	test_check(&self->b, dst.p, N, 3);
	test_drop(&self->a, small.cap);
	test_drop(&self->b, dst.cap);

	/* Somebody may be writing to the first three pages of it. */
	part.flags = ZCIPC_F_BREAK_HUGE;
	test_transfer(&self->a, &part);
	test_recv(&self->b, &m);
	test_stats(&self->base.ep, &before);
	ASSERT_EQ(0, ep_write(&self->a, self->src.p + 5 * psize, 99));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + psize, after.copied_write);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 3, BLOCK + 20, 1);
	test_drop(&self->b, m.cap);

	test_fill(&self->a, self->src.p, N, 1);
	test_pass_break(&self->a, &self->b, self->src.cap, &dst);
	huge_set("0");
	test_stats(&self->base.ep, &before);
	ASSERT_EQ(0, ep_write(&self->a, self->src.p + (BLOCK + 7) * psize, 99));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + psize, after.copied_write);
	EXPECT_EQ(before.frames + 1, after.frames);
	EXPECT_EQ(0, ep_pmds(&self->a, self->src.p));
	huge_set(NULL);
	test_fill(&self->a, self->src.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_check(&self->b, dst.p, N, 1);
}

/* G5: who shares it sees what is written, through PMDs and through PTEs. The snapshot does not. */
TEST_F(huge, break_huge_shared)
{
	struct zcipc_transfer part = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 100,
						  BLOCK + 412, RIGHTS_RW);
	struct zcipc_stats before, after;
	struct buf all, dst;
	struct zcipc_recv m;
	__u64 val;
	char *p;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &all);
	test_transfer(&self->a, &part);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_pass_break(&self->a, &self->b, self->src.cap, &dst);
	test_check(&self->a, self->src.p, N, 1);
	test_check(&self->b, all.p, N, 1);
	test_check_from(&self->b, p, 100, BLOCK + 412, 1);
	test_stats(&self->base.ep, &before);
	/* A page that is mapped, by a PTE. */
	ASSERT_EQ(0, ep_write(&self->b, p + 8, 55));
	ASSERT_EQ(0, ep_read(&self->a, self->src.p + 100 * psize + 8, &val));
	ASSERT_EQ(55, val);
	ASSERT_EQ(0, ep_write(&self->a, self->src.p + (BLOCK + 3) * psize + 8, 66));
	ASSERT_EQ(0, ep_read(&self->b, all.p + (BLOCK + 3) * psize + 8, &val));
	ASSERT_EQ(66, val);
	ASSERT_EQ(0, ep_read(&self->b, p + (BLOCK + 3 - 100) * psize + 8, &val));
	ASSERT_EQ(66, val);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + 2 * BLOCK * psize, after.copied_write);
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->b, all.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_check_from(&self->b, p, 100, BLOCK + 412, 2);
	test_check(&self->b, dst.p, N, 1);
}

/* G4: who holds a page for reading keeps the old contents. 9, 10 */
TEST_F(huge, break_huge_held)
{
	struct iovec iov = { .iov_base = self->src.p + 3 * psize, .iov_len = psize };
	struct zcipc_stats before, after;
	char page[8192];
	struct buf dst;
	int fds[2], i;

	for (i = 0; i < 2; i++) {
		test_pass_break(&self->a, &self->b, self->src.cap, &dst);
		test_check(&self->a, self->src.p, N, 1 + i);
		ASSERT_EQ(0, pipe(fds));
		ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
		/* Then the sender alone has it. */
		if (i)
			test_drop(&self->b, dst.cap);
		test_stats(&self->base.ep, &before);
		test_fill(&self->a, self->src.p, N, 2 + i);
		test_stats(&self->base.ep, &after);
		/* The other 2 MiB are not held. */
		EXPECT_EQ(before.copied_write + (i ? BLOCK : N) * psize, after.copied_write);
		ASSERT_EQ(psize, read(fds[0], page, psize));
		ASSERT_EQ(pattern(1 + i, 3, 0), *(__u64 *)page);
		close(fds[0]);
		close(fds[1]);
		test_check(&self->a, self->src.p, N, 2 + i);
		EXPECT_EQ(2, ep_pmds(&self->a, self->src.p));
		if (i)
			continue;
		test_check(&self->b, dst.p, N, 1);
		test_drop(&self->b, dst.cap);
	}
}

/* G10: others write to it, with calls. */
TEST_F(huge, break_huge_ordinary)
{
	struct zcipc_stats before, after;
	__u64 vals[2] = { 11, 12 };
	struct iovec here = { vals, 8 }, there = { self->src.p + 9 * psize, 8 };
	struct buf dst;
	int fd;

	test_pass_break(&self->a, &self->b, self->src.cap, &dst);
	test_stats(&self->base.ep, &before);
	ASSERT_EQ(8, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(8, pwrite(fd, vals + 1, 8, (uintptr_t)self->src.p + (BLOCK + 9) * psize));
	close(fd);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + 2 * BLOCK * psize, after.copied_write);
	EXPECT_EQ(11, *(volatile __u64 *)(self->src.p + 9 * psize));
	EXPECT_EQ(12, *(volatile __u64 *)(self->src.p + (BLOCK + 9) * psize));
	EXPECT_EQ(2, ep_pmds(&self->a, self->src.p));
	test_check(&self->a, self->src.p, 9, 1);
	test_check_from(&self->a, self->src.p + (BLOCK + 10) * psize, BLOCK + 10, N - BLOCK - 10,
			1);
	test_check(&self->b, dst.p, N, 1);
}

/* One of several who write at the same time, each to its own word of some pages. */
struct busy {
	char *p;
	size_t npages;
	unsigned int word;
	volatile __u64 n;
	volatile bool stop;
	bool lost;
};

static void *busy_run(void *arg)
{
	struct busy *w = arg;
	__u64 val, before;
	size_t page;

	for (; !w->stop; w->n++) {
		if (!(w->n % YIELD))
			sched_yield();
		page = w->n * 97 % w->npages;
		before = w->n < w->npages ? 0 : w->n + 1 - w->npages;
		if (touch_read(w->p + page * psize + 8 * w->word, &val) || val != before ||
		    touch_write(w->p + page * psize + 8 * w->word, w->n + 1))
			w->lost = true;
	}
	return NULL;
}

/* G4, G5: no write is lost, and no snapshot changes, whoever writes meanwhile. */
TEST_F(huge, break_huge_writers)
{
	struct busy w[3] = {};
	unsigned int i, k, rounds = loops(16);
	pthread_t threads[3];
	struct buf dst;
	__u64 sum[2];
	size_t page;

	for (page = 0; page < N; page++)
		memset(self->src.p + page * psize, 0, psize);
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		w[i].p = self->src.p;
		w[i].word = 10 + i;
		w[i].npages = 2 * BLOCK;
		ASSERT_EQ(0, pthread_create(threads + i, NULL, busy_run, w + i));
		ASSERT_TRUE(wait_until(w[i].n));
	}
	for (i = 0; i < rounds; i++) {
		test_pass_break(&self->a, &self->b, self->src.cap, &dst);
		for (k = 0; k < 2; k++)
			ASSERT_EQ(0, ep_sum(&self->b, dst.p + 80, 3 * psize, 2 * BLOCK / 3, 1 + k,
					    &sum[k]));
		ASSERT_EQ(sum[0], sum[1]) TH_LOG("round %u", i);
		test_drop(&self->b, dst.cap);
	}
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		w[i].stop = true;
		pthread_join(threads[i], NULL);
		EXPECT_FALSE(w[i].lost);
	}
}

#define MODEL_COPIES	4
#define MODEL_STEPS	400

/* Snapshots, with and without the flag, of the whole and of parts, and writes, against a model. */
TEST_F(huge, break_huge_model)
{
	struct {
		struct zcipc_recv m;
		size_t first;
		size_t n;
		__u64 vals[N];
	} copies[MODEL_COPIES] = {};
	const char *env = getenv("ZCIPC_SEED");
	unsigned int seed = env ? atoi(env) : getpid(), step, i, rnd = seed;
	struct zcipc_transfer t;
	__u64 vals[N], val;
	size_t page, n, k;
	char *p;

	for (page = 0; page < N; page++)
		vals[page] = pattern(1, page, 0);
	for (step = 0; step < MODEL_STEPS; step++) {
		i = rand_r(&rnd) % MODEL_COPIES;
		page = rand_r(&rnd) % N;
		n = 1 + rand_r(&rnd) % (rand_r(&rnd) % 8 ? 3 : N);
		if (n > N - page)
			n = N - page;
		switch (rand_r(&rnd) % 4) {
		case 0:
			if (copies[i].n) {
				test_drop(&self->b, copies[i].m.cap);
				copies[i].n = 0;
				break;
			}
			if (rand_r(&rnd) % 4) {
				page = 0;
				n = N;
			}
			t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, page, n, 0);
			t.flags = rand_r(&rnd) % 3 ? ZCIPC_F_BREAK_HUGE : 0;
			test_transfer(&self->a, &t);
			ASSERT_GE(2 * MEND * psize, t.copied);
			test_recv(&self->b, &copies[i].m);
			copies[i].first = page;
			copies[i].n = n;
			memcpy(copies[i].vals, vals + page, n * sizeof(*vals));
			break;
		case 1:
			if (!copies[i].n)
				break;
			p = (char *)(uintptr_t)copies[i].m.addr;
			page %= copies[i].n;
			if (n > copies[i].n - page)
				n = copies[i].n - page;
			for (k = 0; k < n; k++)
				words[k] = step << 20 | (page + k);
			memcpy(copies[i].vals + page, words, n * sizeof(*words));
			ASSERT_EQ(0, ep_write_words(&self->b, p + page * psize, psize, n));
			break;
		case 2:
			/* Somebody else reads it now and then, and has it mapped. */
			for (; n-- > 0; page++) {
				ASSERT_EQ(0, ep_read(&self->a, self->src.p + page * psize, &val));
				ASSERT_EQ(vals[page], val) TH_LOG("seed %u step %u", seed, step);
			}
			break;
		default:
			for (; n-- > 0; page++) {
				vals[page] = (__u64)step << 32 | page;
				ASSERT_EQ(0, ep_write(&self->a, self->src.p + page * psize,
						      vals[page]));
			}
		}
		if (step % 20 && step != MODEL_STEPS - 1)
			continue;
		for (page = 0; page < N; page++) {
			ASSERT_EQ(0, ep_read(&self->a, self->src.p + page * psize, &val));
			ASSERT_EQ(vals[page], val) TH_LOG("seed %u step %u", seed, step);
		}
		for (i = 0; i < MODEL_COPIES; i++) {
			p = (char *)(uintptr_t)copies[i].m.addr;
			ASSERT_EQ(0, ep_read_words(&self->b, p, psize, copies[i].n));
			ASSERT_EQ(0, memcmp(copies[i].vals, words, copies[i].n * sizeof(*words)))
				TH_LOG("seed %u step %u", seed, step);
		}
	}
}

/* --- what was written to after a snapshot goes back to its 2 MiB frame before the next one */

/* Which pages are written to, in a word that check() does not look at. */
struct tear {
	size_t first;
	size_t step;
	size_t n;
};

static int ep_tear(struct ep *ep, char *p, const struct tear *tear, __u64 val)
{
	size_t i;

	for (i = 0; i < tear->n; i++)
		if (ep_write(ep, p + (tear->first + i * tear->step) * psize + 56, val))
			return -1;
	return 0;
}

static int ep_torn(struct ep *ep, const char *p, const struct tear *tear, __u64 want)
{
	__u64 val;
	size_t i;

	for (i = 0; i < tear->n; i++)
		if (ep_read(ep, p + (tear->first + i * tear->step) * psize + 56, &val) ||
		    val != want)
			return -1;
	return 0;
}

/* Takes a snapshot, and has what was copied for it reported, by the result and the statistics. */
static int zc_mend(FIXTURE_DATA(huge) *self, __u32 flags, struct buf *b, __u64 *copied)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 0, 0);
	struct zcipc_stats before, after;

	t.flags = flags;
	if (zc_stats(&self->base.ep, &before) || zc_transfer(&self->a, &t) ||
	    zc_take(&self->b, b) || zc_stats(&self->base.ep, &after))
		return -1;
	*copied = t.copied;
	return t.pages * psize + t.copied == N * psize &&
	       after.pages - before.pages == t.pages && after.bytes - before.bytes == N * psize &&
	       after.copied_mended + after.copied_held - before.copied_mended -
	       before.copied_held == t.copied &&
	       (after.frames - before.frames) * psize == after.copied_held - before.copied_held ?
	       0 : -1;
}

/* After a snapshot that has gone @tear is the sender's alone. */
static int zc_tear(FIXTURE_DATA(huge) *self, const struct tear *tear, __u64 val)
{
	struct buf gone;

	return zc_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &gone) ?:
	       ep_tear(&self->a, self->src.p, tear, val) ?: zc_drop(&self->b, gone.cap);
}

#define test_mend(...)	TEST_OK(zc_mend(__VA_ARGS__))
#define test_tear(...)	TEST_OK(zc_tear(__VA_ARGS__))

/* G1, G4, G8: again and again. Each page that was copied at a write is copied back, once. */
TEST_F(huge, mend_copies_back_once)
{
	static const struct tear tears[] = {
		{ 5, 1, 1 }, { 0, 100, 11 }, { BLOCK - 2 * MEND, 2, 2 * MEND }, { 0, 256, 4 },
		{ BLOCK + 3, 32, MEND - 1 },
	};
	struct zcipc_stats before, torn, after;
	struct buf dst, other;
	__u64 copied;
	size_t i;

	/* The first room that there is would not do. */
	test_create_flags(&self->b, 3, ZCIPC_CREATE_NO_HUGE, &other);
	test_stats(&self->base.ep, &before);
	for (i = 0; i < 3 * ARRAY_SIZE(tears); i++) {
		const struct tear *tear = &tears[i % ARRAY_SIZE(tears)];

		test_tear(self, tear, 100 + i);
		/* Sometimes all is written again. */
		if (i % 3 == 1)
			test_fill(&self->a, self->src.p, N, 1);
		test_stats(&self->base.ep, &torn);
		ASSERT_EQ(owned(&before) + tear->n, owned(&torn));
		ASSERT_EQ(before.frames, torn.frames);
		test_mend(self, 0, &dst, &copied);
		ASSERT_EQ(tear->n * psize, copied) TH_LOG("round %zu", i);
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(owned(&before) + N, owned(&after));
		ASSERT_EQ(torn.copied_mended + copied, after.copied_mended);
		test_check(&self->b, dst.p, N, 1);
		ASSERT_EQ(2, ep_pmds(&self->b, dst.p));
		ASSERT_EQ(0, ep_torn(&self->b, dst.p, tear, 100 + i));
		/* Neither sees what the other one writes now. */
		ASSERT_EQ(0, ep_tear(&self->a, self->src.p, tear, 7));
		ASSERT_EQ(0, ep_torn(&self->b, dst.p, tear, 100 + i));
		test_check(&self->a, self->src.p, N, 1);
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(torn.copied_write + tear->n * psize, after.copied_write);
		test_drop(&self->b, dst.cap);
		ASSERT_EQ(0, ep_torn(&self->a, self->src.p, tear, 7));
		/* There is nothing to be mended when nothing was written. */
		test_mend(self, 0, &dst, &copied);
		ASSERT_EQ(tear->n * psize, copied);
		test_drop(&self->b, dst.cap);
		test_mend(self, 0, &dst, &copied);
		ASSERT_EQ(0, copied);
		test_drop(&self->b, dst.cap);
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(owned(&before), owned(&after));
		ASSERT_EQ(before.frames, after.frames);
	}
}

/* Not if it is too much, or not wanted, or the snapshot has no use for it. */
TEST_F(huge, mend_not)
{
	static const struct tear few = { 5, 7, 4 }, many = { BLOCK, 3, MEND + 1 };
	struct zcipc_transfer part = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 1, BLOCK, 0);
	struct zcipc_transfer node = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 0, 0);
	struct buf dst;
	__u64 copied;

	test_tear(self, &few, 2);
	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &many, 3));
	test_mend(self, ZCIPC_F_STRICT, &dst, &copied);
	EXPECT_EQ(0, copied);
	test_drop(&self->b, dst.cap);
	test_transfer(&self->a, &part);
	EXPECT_EQ(0, part.copied);
	test_take(&self->b, &dst);
	test_drop(&self->b, dst.cap);
	node.node = 0;
	test_transfer(&self->a, &node);
	EXPECT_EQ(0, node.copied);
	test_take(&self->b, &dst);
	test_drop(&self->b, dst.cap);
	/* Now it is. */
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(few.n * psize, copied);
	EXPECT_EQ(0, ep_tear(&self->a, self->src.p, &many, 3));
	test_drop(&self->b, dst.cap);
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(0, copied);
	EXPECT_EQ(0, ep_torn(&self->b, dst.p, &few, 2));
	EXPECT_EQ(0, ep_torn(&self->b, dst.p, &many, 3));
	test_check(&self->b, dst.p, N, 1);
	EXPECT_EQ(1, ep_pmds(&self->b, dst.p));
}

/* Nor is a block looked at of which a page has been moved away, and is nowhere any more. */
TEST_F(huge, mend_what_is_gone)
{
	struct zcipc_transfer block = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, BLOCK,
						   0);
	struct buf part;

	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 7, 1);
	test_take(&self->b, &part);
	test_drop(&self->b, part.cap);
	TEST_ERR(ENOENT, zc_transfer(&self->a, &block));
	block.len = 0;
	TEST_ERR(ENOENT, zc_transfer(&self->a, &block));
	test_check(&self->a, self->src.p, 7, 1);
}

/* G4: an older snapshot has what was there before the write. */
TEST_F(huge, mend_later)
{
	static const struct tear tear = { 9, 60, 8 };
	struct buf old, older, dst;
	__u64 copied;

	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &tear, 1));
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &older);
	test_pass(&self->b, &self->b, ZCIPC_COPY, older.cap, &old);
	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &tear, 2));
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(0, copied);
	test_drop(&self->b, dst.cap);
	test_drop(&self->b, older.cap);
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(0, copied);
	test_drop(&self->b, dst.cap);
	EXPECT_EQ(0, ep_torn(&self->b, old.p, &tear, 1));
	test_check(&self->b, old.p, N, 1);
	test_drop(&self->b, old.cap);
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(tear.n * psize, copied);
	EXPECT_EQ(0, ep_torn(&self->b, dst.p, &tear, 2));
	test_check(&self->b, dst.p, N, 1);
}

/* Two have what is left of a 2 MiB frame. One of them gets all of it. */
TEST_F(huge, mend_one_of_two)
{
	static const struct tear tear = { 3, 50, 5 };
	struct zcipc_stats before, after;
	struct buf got, dst;
	__u64 copied;

	test_stats(&self->base.ep, &before);
	test_tear(self, &tear, 2);
	test_mend(self, ZCIPC_F_STRICT, &got, &copied);
	/* Now each has its own copies of the same pages. */
	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &tear, 3));
	ASSERT_EQ(0, ep_tear(&self->b, got.p, &tear, 4));
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(tear.n * psize, copied);
	test_drop(&self->b, dst.cap);
	test_pass(&self->b, &self->b, ZCIPC_COPY, got.cap, &dst);
	test_check(&self->b, dst.p, N, 1);
	EXPECT_EQ(0, ep_torn(&self->a, self->src.p, &tear, 3));
	EXPECT_EQ(0, ep_torn(&self->b, got.p, &tear, 4));
	EXPECT_EQ(0, ep_torn(&self->b, dst.p, &tear, 4));
	test_check(&self->a, self->src.p, N, 1);
	test_check(&self->b, got.p, N, 1);
	test_drop(&self->b, dst.cap);
	test_drop(&self->b, got.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
}

/* G4, G5: who holds a page of the sender's goes on seeing what is written to it. */
TEST_F(huge, mend_held)
{
	static const struct tear tear = { 3, 50, 5 };
	struct iovec iov = { .iov_base = self->src.p + 53 * psize, .iov_len = psize };
	char *page = malloc(psize);
	struct buf dst;
	__u64 copied;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	test_tear(self, &tear, 2);
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
	test_mend(self, 0, &dst, &copied);
	/* For the snapshot, which is not to see it. */
	EXPECT_EQ(psize, copied);
	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &tear, 3));
	ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
	EXPECT_EQ(3, *(__u64 *)(page + 56));
	EXPECT_EQ(0, ep_torn(&self->b, dst.p, &tear, 2));
	test_drop(&self->b, dst.cap);
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(tear.n * psize, copied);
	EXPECT_EQ(0, ep_torn(&self->b, dst.p, &tear, 3));
	close(fds[0]);
	close(fds[1]);
	free(page);
}

/* G4: who holds a page of a snapshot that has gone does not see what is written later. */
TEST_F(huge, mend_held_part)
{
	static const struct tear tear = { 3, 50, 5 };
	char *page = malloc(psize);
	struct buf gone, dst;
	struct iovec iov;
	__u64 copied;
	int fds[2];

	if (variant->remote)
		SKIP(return, "one kind of peer is enough");
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &tear, 1));
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &gone);
	iov = (struct iovec){ gone.p + 53 * psize, psize };
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &tear, 2));
	test_drop(&self->b, gone.cap);
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(0, copied);
	test_drop(&self->b, dst.cap);
	ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
	EXPECT_EQ(1, *(__u64 *)(page + 56));
	test_mend(self, 0, &dst, &copied);
	EXPECT_EQ(tear.n * psize, copied);
	close(fds[0]);
	close(fds[1]);
	free(page);
}

/* G4, G5: who shares it has it mapped, too, by PTEs and by a PMD. */
TEST_F(huge, mend_shared)
{
	static const struct tear tear = { 101, 50, 5 };
	struct zcipc_transfer part = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 100,
						  BLOCK, RIGHTS_RW);
	struct zcipc_recv m;
	struct buf all, dst;
	unsigned int i;
	__u64 copied;
	char *p;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &all);
	test_transfer(&self->a, &part);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr - 100 * psize;
	for (i = 0; i < 6; i++) {
		test_tear(self, &tear, 10 + i);
		/* All are mapped writable. */
		ASSERT_EQ(0, ep_tear(&self->b, p, &tear, 20 + i));
		ASSERT_EQ(0, ep_tear(&self->b, all.p, &tear, 30 + i));
		test_mend(self, 0, &dst, &copied);
		ASSERT_EQ(tear.n * psize, copied);
		ASSERT_EQ(0, ep_tear(&self->b, i % 2 ? p : all.p, &tear, 40 + i));
		ASSERT_EQ(0, ep_torn(&self->a, self->src.p, &tear, 40 + i));
		ASSERT_EQ(0, ep_torn(&self->b, p, &tear, 40 + i));
		ASSERT_EQ(0, ep_torn(&self->b, all.p, &tear, 40 + i));
		ASSERT_EQ(0, ep_torn(&self->b, dst.p, &tear, 30 + i));
		test_check(&self->b, dst.p, N, 1);
		test_check(&self->b, all.p, N, 1);
		test_drop(&self->b, dst.cap);
	}
}

/* G4, G5: no write is lost, and no snapshot changes, whoever writes meanwhile. */
TEST_F(huge, mend_writers)
{
	unsigned int i, k, rounds = loops(60);
	struct zcipc_stats before, after;
	struct busy w[2] = {};
	pthread_t threads[2];
	__u64 sum[2];
	struct buf dst;
	size_t page;

	for (page = 0; page < N; page++)
		memset(self->src.p + page * psize, 0, psize);
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		w[i].p = self->src.p;
		w[i].word = 10 + i;
		w[i].npages = MEND / 2;
		ASSERT_EQ(0, pthread_create(threads + i, NULL, busy_run, w + i));
		ASSERT_TRUE(wait_until(w[i].n));
	}
	test_stats(&self->base.ep, &before);
	after = before;
	/* Whoever waits to write to a page holds it, so that not each time all is mended. */
	for (i = 0; i < rounds || (after.copied_mended == before.copied_mended &&
				   i < 100 * rounds); i++) {
		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
		for (k = 0; k < 2; k++)
			ASSERT_EQ(0, ep_sum(&self->b, dst.p + 80, psize, BLOCK, 0, &sum[k]));
		ASSERT_EQ(sum[0], sum[1]) TH_LOG("round %u", i);
		test_drop(&self->b, dst.cap);
		test_stats(&self->base.ep, &after);
	}
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		w[i].stop = true;
		pthread_join(threads[i], NULL);
		EXPECT_FALSE(w[i].lost);
	}
	EXPECT_LT(before.copied_mended, after.copied_mended);
}

#define MEND_STEPS	300

/* Snapshots that live for a while, and are written to, too, against a model. */
TEST_F(huge, mend_model)
{
	struct {
		struct buf b;
		__u64 vals[N];
	} copies[3] = {};
	const char *env = getenv("ZCIPC_SEED");
	unsigned int seed = env ? atoi(env) : getpid(), step, i, rnd = seed;
	__u64 vals[N] = {}, val, copied;
	size_t page, n;

	ASSERT_EQ(0, ep_tear(&self->a, self->src.p, &(struct tear){ 0, 1, N }, 0));
	for (step = 1; step <= MEND_STEPS; step++) {
		/* Now and then many, otherwise few. */
		for (n = rand_r(&rnd) % (rand_r(&rnd) % 50 ? 12 : N); n-- > 0;) {
			page = rand_r(&rnd) % N;
			vals[page] = step;
			ASSERT_EQ(0, ep_write(&self->a, self->src.p + page * psize + 56, step));
		}
		i = rand_r(&rnd) % ARRAY_SIZE(copies);
		if (!copies[i].b.cap) {
			test_mend(self, rand_r(&rnd) % 5 ? 0 : ZCIPC_F_STRICT, &copies[i].b,
				  &copied);
			memcpy(copies[i].vals, vals, sizeof(vals));
			continue;
		}
		for (n = rand_r(&rnd) % 3; n-- > 0;) {
			page = rand_r(&rnd) % N;
			copies[i].vals[page] = step;
			ASSERT_EQ(0, ep_write(&self->b, copies[i].b.p + page * psize + 56, step));
		}
		ASSERT_EQ(0, ep_read_words(&self->b, copies[i].b.p + 56, psize, N));
		ASSERT_EQ(0, memcmp(copies[i].vals, words, sizeof(vals)))
			TH_LOG("seed %u step %u", seed, step);
		for (page = step % 5; page < N; page += 5) {
			ASSERT_EQ(0, ep_read(&self->a, self->src.p + page * psize + 56, &val));
			ASSERT_EQ(vals[page], val) TH_LOG("seed %u step %u", seed, step);
		}
		/* Mostly all go, so that there is something to be mended. */
		for (i = 0; i < ARRAY_SIZE(copies) && rand_r(&rnd) % 5; i++) {
			if (copies[i].b.cap)
				test_drop(&self->b, copies[i].b.cap);
			copies[i].b.cap = 0;
		}
	}
	test_check(&self->a, self->src.p, N, 1);
}

TEST_HARNESS_MAIN

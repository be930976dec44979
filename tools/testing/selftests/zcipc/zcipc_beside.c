// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is imported side by side is joined, so that a process has room for many mappings.
 *
 * Guarantees: G2 MOVE, G3, G10 ordinary memory, G11 limits.
 * Attacks: 12 races with the owner.
 */
#include <sched.h>
#include <sys/wait.h>

#include "zcipc_utils.h"

#define N 8

/* --- how many mappings a process can have */

#define MAX_MAP_COUNT "/proc/sys/vm/max_map_count"

/* Too few for all of them, and so many that an import has to look. */
#define MAPPINGS 1500

FIXTURE(scattered)
{
	struct base base;
	struct ep a;
	long max;
	char *p;
};

FIXTURE_SETUP(scattered)
{
	base_setup(_metadata, &self->base);
	self->max = file_number(MAX_MAP_COUNT, NULL);
	self->p = memory_touched(2 * MAPPINGS);
	ASSERT_NE(MAP_FAILED, self->p);
	test_open(&self->a, 0, O_NONBLOCK);
	number_write(MAX_MAP_COUNT, MAPPINGS);
	if (file_number(MAX_MAP_COUNT, NULL) != MAPPINGS)
		SKIP(return, "the limit cannot be set");
}

FIXTURE_TEARDOWN(scattered)
{
	number_write(MAX_MAP_COUNT, self->max);
	munmap(self->p, 2 * MAPPINGS * psize);
	base_teardown(_metadata, &self->base);
}

/* Imports every second page until that fails. Returns how many it did. */
static unsigned int import_scattered(struct ep *ep, char *p, unsigned int max)
{
	unsigned int i;
	struct buf buf;

	for (i = 0; i < max; i++)
		if (zc_import(ep, p + 2 * i * psize, 1, &buf))
			break;
	return i;
}

/* The program's own mappings, of which no two can be merged. Returns how many it could have. */
static unsigned int map_some(unsigned int max)
{
	unsigned int i, n;
	void *p[64];

	for (n = 0; n < max; n++) {
		p[n] = mmap(NULL, psize, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (p[n] == MAP_FAILED)
			break;
	}
	for (i = 0; i < n; i++)
		munmap(p[i], psize);
	return n;
}

/* G11: no import takes the last mapping that a process can have, and all can be undone. */
TEST_F(scattered, until_there_are_too_many)
{
	unsigned int i, n;
	__u64 copied;

	for (i = 0; i < 3; i++) {
		n = import_scattered(&self->a, self->p, MAPPINGS);
		ASSERT_EQ(ENOMEM, errno);
		/* Two for each, but for what there is besides. */
		ASSERT_LT(MAPPINGS / 2 - 200, n);
		ASSERT_GT(MAPPINGS / 2, n);
		ASSERT_EQ(60, map_some(60));
		/* Nothing is left of what looks for room. */
		ASSERT_EQ(0, import_scattered(&self->a, self->p + 2 * n * psize, 1));
		ASSERT_EQ(60, map_some(60));
		test_check(&self->a, self->p, 2 * MAPPINGS, 1);
		TEST_OK(zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
		ASSERT_EQ(n * psize, copied);
		test_check(&self->a, self->p, 2 * MAPPINGS, 1);
		ASSERT_EQ(1, mappings(self->p, self->p + 2 * MAPPINGS * psize, NULL));
	}
}

/* What the process has mapped itself is undone first, then the rest. */
TEST_F(scattered, by_the_program_too)
{
	unsigned int n = import_scattered(&self->a, self->p, MAPPINGS), i;
	static void *own[2 * MAPPINGS];
	__u64 copied;

	ASSERT_EQ(ENOMEM, errno);
	for (i = 0; i < ARRAY_SIZE(own); i++) {
		own[i] = mmap(NULL, psize, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (own[i] == MAP_FAILED)
			break;
	}
	ASSERT_LT(i, ARRAY_SIZE(own));
	/* No mapping at all is to be had, and nothing is lost. */
	ASSERT_EQ(-1, zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
	ASSERT_EQ(ENOMEM, errno);
	test_check(&self->a, self->p, 2 * MAPPINGS, 1);
	ASSERT_EQ(0, munmap(own[--i], psize));
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
	ASSERT_EQ(n * psize, copied);
	test_check(&self->a, self->p, 2 * MAPPINGS, 1);
	while (i)
		munmap(own[--i], psize);
}

/* By a COPY it is the same; nor does it remain a region. */
TEST_F(scattered, copied)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	unsigned int i;
	__u64 copied;
	struct ep b;

	test_open(&b, WINDOW_PAGES, O_NONBLOCK);
	for (i = 0; i < MAPPINGS; i++) {
		cmd = direct_cmd(&b, ZCIPC_COPY, self->p + 2 * i * psize, psize, ZCIPC_F_IMPORT);
		if (zc_transfer(&self->a, &cmd))
			break;
		test_recv(&b, &m);
		test_drop(&b, m.cap);
	}
	ASSERT_EQ(ENOMEM, errno);
	ASSERT_FALSE(is_adopted(self->p + 2 * i * psize));
	ASSERT_EQ(60, map_some(60));
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
	test_check(&self->a, self->p, 2 * MAPPINGS, 1);
}

/* --- what is imported side by side */

#define BESIDE 256

FIXTURE(beside)
{
	struct base base;
	struct ep a, b;
	struct zcipc_stats before;
	char *all, *p;		/* there is a page on both sides of what is adopted */
	struct buf bufs[BESIDE];
};

FIXTURE_VARIANT(beside)
{
	size_t (*nth)(size_t i);	/* which page is the Nth to be imported */
	bool implicit;			/* nobody knows the capabilities */
	long max;			/* mappings that there may be then */
};

static size_t nth_upwards(size_t i)
{
	return i;
}

static size_t nth_downwards(size_t i)
{
	return BESIDE - 1 - i;
}

/* Every second one first. */
static size_t nth_second(size_t i)
{
	return i < BESIDE / 2 ? 2 * i : 2 * (i - BESIDE / 2) + 1;
}

static size_t nth_any(size_t i)
{
	return (i * 151 + (i * i) % 2 * 64) % BESIDE;
}

FIXTURE_VARIANT_ADD(beside, upwards) { .nth = nth_upwards, .max = 10 };
FIXTURE_VARIANT_ADD(beside, downwards) { .nth = nth_downwards, .max = 10 };
FIXTURE_VARIANT_ADD(beside, second) { .nth = nth_second, .max = 10 };
FIXTURE_VARIANT_ADD(beside, any) { .nth = nth_any, .max = 20 };
FIXTURE_VARIANT_ADD(beside, implicit) { .nth = nth_upwards, .implicit = true, .max = 10 };

static int import_beside(struct ep *a, struct ep *b, char *p, bool implicit, struct buf *buf)
{
	struct zcipc_transfer cmd = direct_cmd(b, ZCIPC_COPY, p, psize, ZCIPC_F_IMPORT);
	struct zcipc_recv m;

	if (!implicit)
		return zc_import(a, p, 1, buf);
	return zc_transfer(a, &cmd) || zc_recv(b, &m) || zc_drop(b, m.cap);
}

FIXTURE_SETUP(beside)
{
	size_t i, n;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	self->all = memory_touched(BESIDE + 2);
	self->p = self->all + psize;
	fill(self->p, BESIDE, 1);
	test_stats(&self->a, &self->before);
	for (i = 0; i < BESIDE; i++) {
		n = variant->nth(i);
		TEST_OK(import_beside(&self->a, &self->b, self->p + n * psize, variant->implicit,
				      &self->bufs[n]));
	}
}

FIXTURE_TEARDOWN(beside)
{
	munmap(self->all, (BESIDE + 2) * psize);
	base_teardown(_metadata, &self->base);
}

/* How many mappings adopted memory has in the range. */
static long beside_mappings(FIXTURE_DATA(beside) *self)
{
	return mappings(self->p, self->p + BESIDE * psize, NULL);
}

/* How often a region is mapped. */
static long beside_maps(struct ep *ep, const struct buf *buf)
{
	struct zcipc_region_query q;

	return zc_query(ep, buf->cap, &q) ? -1 : (long)q.maps;
}

/* It is few mappings, and each page is that of its own region. */
TEST_F(beside, few_mappings)
{
	struct zcipc_stats after;
	struct buf got;
	size_t i;

	TH_LOG("%ld mappings", beside_mappings(self));
	ASSERT_GE(variant->max, beside_mappings(self));
	ASSERT_TRUE(is_adopted(self->p) && is_adopted(self->p + (BESIDE - 1) * psize));
	ASSERT_FALSE(is_adopted(self->all) || is_adopted(self->p + BESIDE * psize));
	test_check(&self->a, self->p, BESIDE, 1);
	test_fill(&self->a, self->p, BESIDE, 2);
	test_check(&self->a, self->p, BESIDE, 2);
	for (i = 0; i < BESIDE && !variant->implicit; i += 15) {
		test_pass(&self->a, &self->b, ZCIPC_SHARE, self->bufs[i].cap, &got);
		test_check_from(&self->b, got.p, i, 1, 2);
		test_drop(&self->b, got.cap);
	}
	/* All goes when all is unmapped. */
	for (i = 0; i < BESIDE && !variant->implicit; i++)
		test_drop(&self->a, self->bufs[i].cap);
	test_check(&self->a, self->p, BESIDE, 2);
	ASSERT_EQ(0, munmap(self->p, BESIDE * psize));
	test_stats(&self->a, &after);
	ASSERT_TRUE(same_live(&self->before, &after));
	EXPECT_EQ(self->before.user_pinned, after.user_pinned);
}

/* What goes from the middle takes nothing along, and can come again. */
TEST_F(beside, moved)
{
	char *p = self->p + 100 * psize;
	struct buf got, revoked, again;
	__u64 n;

	if (variant->implicit)
		SKIP(return, "nobody can send it");
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->bufs[100].cap, &got);
	test_check_from(&self->b, got.p, 100, 1, 1);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->a, self->p, 100, 1);
	test_check_from(&self->a, p + psize, 101, BESIDE - 101, 1);
	/* The same addresses, and so the same offsets in the file. */
	ASSERT_EQ(p, mmap(p, psize, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	test_fill(&self->a, p, 1, 5);
	test_import(&self->a, p, 1, &again);
	test_check(&self->a, p, 1, 5);
	test_check_from(&self->b, got.p, 100, 1, 1);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, again.cap, &revoked);
	test_check(&self->b, revoked.p, 1, 5);
	test_revoke(&self->a, NULL, again.cap, 0, &n);
	test_gone(&self->b, revoked.p, 1);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->a, self->p, 100, 1);
	test_check_from(&self->a, p + psize, 101, BESIDE - 101, 1);
}

/* Nor does what is made ordinary, in either way, or unmapped. */
TEST_F(beside, ordinary)
{
	char *p = self->p + 100 * psize;
	__u64 copied;

	TEST_OK(zc_ordinary_range(&self->a, 0, p, psize, &copied));
	ASSERT_EQ(psize, copied);
	ASSERT_FALSE(is_adopted(p));
	ASSERT_TRUE(is_adopted(p - psize) && is_adopted(p + psize));
	if (!variant->implicit) {
		EXPECT_EQ(0, beside_maps(&self->a, &self->bufs[100]));
		EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[99]));
		EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[101]));
		test_ordinary(&self->a, self->bufs[50].cap, &copied);
		ASSERT_EQ(2 * psize, copied);
		ASSERT_FALSE(is_adopted(self->p + 50 * psize));
		ASSERT_TRUE(is_adopted(self->p + 49 * psize));
		ASSERT_TRUE(is_adopted(self->p + 51 * psize));
	}
	test_check(&self->a, self->p, BESIDE, 1);
	test_fill(&self->a, self->p, BESIDE, 2);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p + 20 * psize, 60 * psize, &copied));
	ASSERT_EQ((variant->implicit ? 60 : 59) * psize, copied);
	test_check(&self->a, self->p, BESIDE, 2);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, BESIDE * psize, &copied));
	test_check(&self->a, self->p, BESIDE, 2);
	ASSERT_EQ(0, mappings(self->p, self->p + BESIDE * psize, ZCIPC_DEVICE));
}

/* A slot ends when its last page is unmapped, and not before, whatever else is. */
TEST_F(beside, unmapped)
{
	static const size_t holes[] = { 100, 7, 101, 99, 0, BESIDE - 1 };
	struct zcipc_stats after;
	size_t i, k, n;

	test_stats(&self->a, &self->before);
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		ASSERT_EQ(0, munmap(self->p + holes[i] * psize, psize));
		for (n = 0; n < BESIDE; n++) {
			for (k = 0; k <= i && holes[k] != n; k++)
				;
			if (!variant->implicit)
				ASSERT_EQ(k > i, beside_maps(&self->a, &self->bufs[n]))
					TH_LOG("%zu", n);
			if (k > i)
				EXPECT_EQ(0, ep_check_from(&self->a, self->p + n * psize, n, 1, 1));
			if (k <= i)
				test_touch_read(SIGSEGV, &self->a, self->p + n * psize);
		}
		test_stats(&self->a, &after);
		EXPECT_EQ(self->before.maps - i - 1, after.maps);
		if (variant->implicit)
			EXPECT_EQ(self->before.frames - i - 1, after.frames);
	}
}

/* mremap() copies the VMA before it is refused, and takes that back. Nobody is to count it. */
TEST_F(beside, not_moved)
{
	char *p = self->p + 100 * psize, *to = anonymous(2);
	size_t i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(MAP_FAILED, mremap(p, psize, psize, MREMAP_MAYMOVE | MREMAP_FIXED, to));
		ASSERT_EQ(MAP_FAILED, mremap(p, psize, 2 * psize, MREMAP_MAYMOVE));
		ASSERT_EQ(MAP_FAILED, mremap(p, 0, psize, MREMAP_MAYMOVE));
		test_check(&self->a, self->p, BESIDE, 1);
		if (!variant->implicit)
			EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[100]));
	}
	ASSERT_EQ(0, munmap(p, psize));
	if (!variant->implicit)
		EXPECT_EQ(0, beside_maps(&self->a, &self->bufs[100]));
	test_check(&self->a, self->p, 100, 1);
	test_check_from(&self->a, p + psize, 101, BESIDE - 101, 1);
	munmap(to, 2 * psize);
}

/* A child can have it by MADV_DOFORK. What it does is not counted. */
TEST_F(beside, inherited)
{
	pid_t child;
	int status;

	test_inheritable(self->p, BESIDE * psize);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(munmap(self->p + 10 * psize, psize) ||
		      mprotect(self->p + 20 * psize, psize, PROT_READ) ||
		      munmap(self->p, BESIDE * psize));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	test_check(&self->a, self->p, BESIDE, 1);
	test_fill(&self->a, self->p, BESIDE, 2);
	if (!variant->implicit)
		EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[10]));
	ASSERT_EQ(0, munmap(self->p + 10 * psize, psize));
	if (!variant->implicit)
		EXPECT_EQ(0, beside_maps(&self->a, &self->bufs[10]));
	test_check(&self->a, self->p, 10, 2);
}

FIXTURE(next)
{
	struct base base;
	struct ep a, b;
	char *p;
	struct buf bufs[2 * N];
};

FIXTURE_SETUP(next)
{
	size_t i;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	self->p = memory_touched(2 * N);
	for (i = 0; i < N; i++)
		test_import(&self->a, self->p + i * psize, 1, &self->bufs[i]);
	ASSERT_EQ(1, mappings(self->p, self->p + N * psize, NULL));
}

FIXTURE_TEARDOWN(next)
{
	munmap(self->p, 2 * N * psize);
	base_teardown(_metadata, &self->base);
}

/* What the program has asked for stays, whatever is imported next to it. */
TEST_F(next, keeps_what_was_asked_for)
{
	static const struct {
		int advice;
		const char *flag, *gone;
	} advices[] = {
		{ MADV_DONTDUMP, " dd ", NULL },
		{ MADV_RANDOM, " rr ", NULL },
		{ MADV_NORMAL, NULL, " sr " },
	};
	char *last = self->p + (N - 1) * psize;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		ASSERT_EQ(0, madvise(last, psize, advices[i].advice));
		test_import(&self->a, last + psize, 1, &self->bufs[N + i]);
		if (advices[i].flag)
			ASSERT_TRUE(has_vm_flag(last, advices[i].flag));
		if (advices[i].gone)
			ASSERT_FALSE(has_vm_flag(last, advices[i].gone));
		ASSERT_TRUE(has_vm_flag(last + psize, " sr "));
		last += psize;
	}
	ASSERT_EQ(0, mprotect(last, psize, PROT_READ));
	test_import(&self->a, last + psize, 1, &self->bufs[2 * N - 1]);
	test_touch_write(SIGSEGV, &self->a, last);
	test_check(&self->a, self->p, 2 * N, 1);
	ASSERT_EQ(0, mprotect(last, psize, PROT_NONE));
	test_import(&self->a, last + 2 * psize, 1, &self->bufs[2 * N - 1]);
	test_touch_read(SIGSEGV, &self->a, last);
	ASSERT_EQ(0, mprotect(last, psize, PROT_READ | PROT_WRITE));
	test_check(&self->a, self->p, 2 * N, 1);
}

/* What is not to be dumped is not made one with what is. */
TEST_F(next, secret_is_not_joined)
{
	char *p = self->p + N * psize;

	ASSERT_EQ(0, madvise(p, psize, MADV_DONTDUMP));
	test_import(&self->a, p, 1, &self->bufs[N]);
	ASSERT_TRUE(has_vm_flag(p, " dd "));
	ASSERT_FALSE(has_vm_flag(p - psize, " dd "));
	test_import(&self->a, p + psize, 1, &self->bufs[N + 1]);
	ASSERT_TRUE(has_vm_flag(p, " dd "));
	ASSERT_FALSE(has_vm_flag(p + psize, " dd "));
	ASSERT_EQ(3, mappings(self->p, p + 2 * psize, NULL));
	test_check(&self->a, self->p, 2 * N, 1);
}

/* What has gone does not come back, though its mapping becomes a part of a larger one. */
TEST_F(next, gone_stays_gone)
{
	struct buf got;
	__u64 n;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->bufs[2].cap, &got);
	test_revoke(&self->a, NULL, self->bufs[4].cap, 0, &n);
	test_import(&self->a, self->p + N * psize, 1, &self->bufs[N]);
	ASSERT_EQ(1, mappings(self->p, self->p + (N + 1) * psize, NULL));
	test_touch_read(SIGBUS, &self->a, self->p + 2 * psize);
	test_touch_read(SIGBUS, &self->a, self->p + 4 * psize);
	test_check(&self->a, self->p, 2, 1);
	test_check_from(&self->a, self->p + 3 * psize, 3, 1, 1);
	test_check_from(&self->a, self->p + 5 * psize, 5, N - 5, 1);
	test_check_from(&self->b, got.p, 2, 1, 1);
}

/* A capability goes with the last page that shows it, also if that was joined with others. */
TEST_F(next, dropped)
{
	struct zcipc_stats before, after;
	size_t i;

	for (i = 0; i < N; i++)
		test_drop(&self->a, self->bufs[i].cap);
	for (i = N; i < 2 * N; i++) {
		test_import(&self->a, self->p + i * psize, 1, &self->bufs[i]);
		test_drop(&self->a, self->bufs[i].cap);
	}
	ASSERT_EQ(1, mappings(self->p, self->p + 2 * N * psize, NULL));
	test_check(&self->a, self->p, 2 * N, 1);
	test_stats(&self->a, &before);
	for (i = 0; i < 2 * N; i++) {
		ASSERT_EQ(0, munmap(self->p + (i * 3) % (2 * N) * psize, psize));
		test_stats(&self->a, &after);
		EXPECT_EQ(before.frames - i - 1, after.frames);
		EXPECT_EQ(before.caps - i - 1, after.caps);
	}
}

/* mlock() means nothing for it, and what mlockall() would lock is joined as ever. */
TEST_F(next, locked)
{
	size_t i;

	ASSERT_EQ(0, mlock(self->p, N * psize));
	test_import(&self->a, self->p + N * psize, 1, &self->bufs[N]);
	ASSERT_EQ(1, mappings(self->p, self->p + (N + 1) * psize, NULL));
	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	for (i = N + 1; i < 2 * N; i++)
		test_import(&self->a, self->p + i * psize, 1, &self->bufs[i]);
	ASSERT_EQ(0, munlockall());
	ASSERT_EQ(1, mappings(self->p, self->p + 2 * N * psize, NULL));
	test_check(&self->a, self->p, 2 * N, 1);
	test_fill(&self->a, self->p, 2 * N, 2);
}

/* A page of a region can be unmapped, and become one of its own, while the others stay. */
TEST_F(next, once_more)
{
	char *p = self->p + N * psize;
	struct buf all, part, got;

	test_import(&self->a, p, N, &all);
	ASSERT_EQ(p + psize, mmap(p + psize, psize, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill(p + psize, 1, 7);
	test_import(&self->a, p + psize, 1, &part);
	test_check(&self->a, p + psize, 1, 7);
	test_check_from(&self->a, self->p, 0, N + 1, 1);
	test_check_from(&self->a, p + 2 * psize, N + 2, N - 2, 1);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, part.cap, &got);
	test_check(&self->b, got.p, 1, 7);
	test_touch_read(SIGBUS, &self->a, p + psize);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, all.cap, &got);
	test_check_from(&self->b, got.p, N, N, 1);
	EXPECT_EQ(2, beside_maps(&self->a, &all));
	ASSERT_EQ(0, munmap(p, N * psize));
	EXPECT_EQ(1, beside_maps(&self->a, &all));
	test_check(&self->a, self->p, N, 1);
}

static int job_import(struct job *j)
{
	struct buf buf;

	return zc_import(j->ep, j->p, 1, &buf);
}

/*
 * 12, G3: a thread that knows nothing of the import unmaps what is next to it, and maps something
 * else there, or forbids to write, after it was chosen to be one mapping with the new one.
 */
TEST_F(next, changed_meanwhile)
{
	char *last = self->p + (N - 1) * psize;
	struct job job = { .fn = job_import, .ep = &self->a };
	unsigned int way;

	need_points();
	for (way = 0; way < 4; way++, last += psize) {
		job.p = last + psize;
		point_stop("joined");
		job_start(&job);
		ASSERT_TRUE(point_reached());
		switch (way) {
		case 0:
			ASSERT_EQ(0, mprotect(last, psize, PROT_READ));
			break;
		case 1:
			ASSERT_EQ(0, munmap(last, psize));
			break;
		case 2:
			ASSERT_EQ(last, mmap(last, psize, PROT_READ | PROT_WRITE, MAP_PRIVATE |
					     MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			fill(last, 1, 9);
			break;
		case 3:
			/* In the middle of what is to be joined. */
			last -= psize;
			ASSERT_EQ(last, mmap(last, psize, PROT_READ | PROT_WRITE, MAP_SHARED |
					     MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			fill(last, 1, 9);
			break;
		}
		point_go();
		job_join(&job);
		ASSERT_EQ(0, job.rc) TH_LOG("%s", strerror(job.err));
		ASSERT_TRUE(is_adopted(job.p));
		test_check_from(&self->a, job.p, N + way, 1, 1);
		test_check(&self->a, self->p, N - 1, 1);
		switch (way) {
		case 0:
			test_touch_write(SIGSEGV, &self->a, last);
			test_check_from(&self->a, last, N - 1, 1, 1);
			break;
		case 1:
			test_touch_read(SIGSEGV, &self->a, last);
			break;
		default:
			ASSERT_FALSE(is_adopted(last));
			test_check(&self->a, last, 1, 9);
			break;
		}
	}
}

struct neighbour {
	struct ep *ep;
	char *p;
	volatile bool stop;
	unsigned long wrong, failed, rounds;
};

/* Its page is adopted, and then another one is mapped there: what it has written it finds. */
static void *neighbour_thread(void *arg)
{
	struct neighbour *n = arg;
	volatile __u64 *word = (__u64 *)n->p;
	struct buf buf;

	while (!n->stop) {
		if (mmap(n->p, psize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			n->failed++;
		*word = ++n->rounds;
		sched_yield();
		n->wrong += *word != n->rounds;
		if (zc_import(n->ep, n->p, 1, &buf)) {
			n->failed++;
			continue;
		}
		n->wrong += *word != n->rounds;
		*word = ++n->rounds;
		n->failed += !!zc_drop(n->ep, buf.cap);
		n->wrong += *word != n->rounds;
	}
	return NULL;
}

/* 12, G3: the same, at any moment. */
TEST_F(next, changed_at_any_time)
{
	char *p = self->p + N * psize;
	struct neighbour n = { .ep = &self->a, .p = p };
	pthread_t thread;
	struct buf buf;
	unsigned int i;
	int rc;

	ASSERT_EQ(0, pthread_create(&thread, NULL, neighbour_thread, &n));
	for (i = 0; i < loops(300); i++) {
		rc = zc_import(&self->a, p + psize, 1, &buf);
		if (rc)
			break;
		test_drop(&self->a, buf.cap);
		if (mmap(p + psize, psize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
	}
	n.stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%u imports, %lu rounds", i, n.rounds);
	ASSERT_EQ(loops(300), i) TH_LOG("%s", strerror(errno));
	ASSERT_EQ(0, n.failed);
	ASSERT_EQ(0, n.wrong);
	test_check(&self->a, self->p, N, 1);
}

TEST_HARNESS_MAIN

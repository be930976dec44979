// SPDX-License-Identifier: GPL-2.0-only
/*
 * What was adopted becomes memory of the process's own again, and is in its core dump.
 *
 * Guarantees: G2 MOVE, G3, G5, G10 ordinary memory.
 * Attacks: 12 races with the owner.
 */
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "zcipc_utils.h"

#define N 8

/* --- what was adopted is memory of the process's own again */

FIXTURE(own)
{
	struct base base;
	struct ep a, b;
	struct zcipc_stats before;
	char *all, *p;		/* there is a page on both sides of what is adopted */
	struct buf src;
};

FIXTURE_VARIANT(own)
{
	bool by_cap;		/* or all that is in a range */
	bool implicit;		/* nobody knows a capability */
};

FIXTURE_VARIANT_ADD(own, by_cap) { .by_cap = true };
FIXTURE_VARIANT_ADD(own, by_range) { };
FIXTURE_VARIANT_ADD(own, implicit) { .implicit = true };

FIXTURE_SETUP(own)
{
	struct zcipc_transfer cmd;
	struct buf got;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	self->all = memory_touched(N + 2);
	self->p = self->all + psize;
	fill(self->p, N, 1);
	test_stats(&self->a, &self->before);
	if (variant->implicit) {
		cmd = direct_cmd(&self->b, ZCIPC_COPY, self->p, N * psize, 0);
		test_transfer(&self->a, &cmd);
		test_take(&self->b, &got);
		test_drop(&self->b, got.cap);
	} else {
		test_import(&self->a, self->p, N, &self->src);
	}
}

FIXTURE_TEARDOWN(own)
{
	munmap(self->all, (N + 2) * psize);
	base_teardown(_metadata, &self->base);
}

/* Ends it, and returns how much was copied. What is to be given up is given up. */
static __u64 own_end(struct __test_metadata *_metadata, FIXTURE_DATA(own) *self, bool by_cap)
{
	__u64 copied = 0;

	if (by_cap)
		test_ordinary(&self->a, self->src.cap, &copied);
	else
		TEST_OK(zc_ordinary_range(&self->a, 0, self->p, N * psize, &copied));
	if (self->src.cap)
		test_drop(&self->a, self->src.cap);
	self->src.cap = 0;
	return copied;
}

/* Nothing of it is left: no mapping of its own, no charge, and it can do all that it could. */
TEST_F(own, ordinary_again)
{
	struct zcipc_stats after;
	pid_t child;
	int status;

	test_fill(&self->a, self->p, N, 2);
	EXPECT_EQ((1 + variant->by_cap) * N * psize,
		  own_end(_metadata, self, variant->by_cap));
	test_check(&self->a, self->p, N, 2);
	ASSERT_FALSE(is_adopted(self->p));
	EXPECT_EQ(1, mappings(self->all, self->all + (N + 2) * psize, NULL));
	test_stats(&self->a, &after);
	EXPECT_EQ(self->before.user_pinned, after.user_pinned);
	EXPECT_EQ(owned(&self->before), owned(&after));
	ASSERT_TRUE(same_live(&self->before, &after));
	ASSERT_EQ((long)psize, ep_vmsplice(&self->a, self->p, 1));
	child = fork();
	if (!child)
		_exit(ep_check(&self->a, self->p, N, 2) || fill(self->p, N, 3));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	test_check(&self->a, self->p, N, 2);
	/* As any other it can become a region again. */
	test_import(&self->a, self->p, N, &self->src);
	test_check(&self->a, self->p, N, 2);
	EXPECT_EQ(N * psize, own_end(_metadata, self, false));
	ASSERT_EQ(0, madvise(self->p, N * psize, MADV_DONTNEED));
	EXPECT_EQ(0, self->p[0] | self->p[(N - 1) * psize + 8]);
}

/* Nobody is told an address where there is something else by now. */
TEST_F(own, has_no_address)
{
	struct zcipc_notify n = { .size = sizeof(n), .peer = self->a.id, .cap = self->src.cap };
	struct zcipc_region_query q;
	struct zcipc_recv m;
	unsigned int way;
	__u64 copied;
	char *p;

	if (variant->implicit)
		SKIP(return, "nobody can ask");
	for (way = 0; way < 2; way++) {
		test_query(&self->a, self->src.cap, &q);
		EXPECT_EQ(1, q.maps);
		if (way)
			ASSERT_EQ(0, munmap(self->p, N * psize));
		if (!way && variant->by_cap)
			test_ordinary(&self->a, self->src.cap, &copied);
		if (!way && !variant->by_cap)
			TEST_OK(zc_ordinary_range(&self->a, 0, self->p, N * psize, &copied));
		test_query(&self->a, self->src.cap, &q);
		EXPECT_EQ(0, q.maps);
		EXPECT_EQ(N * psize, q.present);
		n.cap = self->src.cap;
		n.peer_cap = self->src.cap;
		TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_NOTIFY, &n));
		test_recv(&self->a, &m);
		EXPECT_EQ(0, m.addr);
		/* It can be mapped where there is room for it. */
		test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
		test_check(&self->a, p, N, 1);
		test_drop(&self->a, self->src.cap);
		self->src.cap = 0;
		if (!way)
			test_import(&self->a, self->p, N, &self->src);
	}
	ASSERT_EQ(self->p, mmap(self->p, N * psize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
				MAP_FIXED, -1, 0));
}

/* Until then core mm refuses to discard what would still be there. */
TEST_F(own, not_discarded)
{
	static const int advices[] = { MADV_DONTNEED, MADV_FREE, MADV_REMOVE, 24 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		ASSERT_EQ(-1, madvise(self->p, N * psize, advices[i]));
		test_check(&self->a, self->p, N, 1);
	}
	/* Also a page that has been copied since. */
	if (!variant->implicit) {
		struct buf copy;

		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
		test_fill(&self->a, self->p, N, 2);
		ASSERT_EQ(-1, madvise(self->p, N * psize, MADV_DONTNEED));
		test_check(&self->a, self->p, N, 2);
		test_check(&self->b, copy.p, N, 1);
	}
}

/* Protections stay, and contents that the caller cannot read. What is not there stays away. */
TEST_F(own, in_pieces)
{
	test_fill(&self->a, self->p, N, 2);
	ASSERT_EQ(0, mprotect(self->p + psize, psize, PROT_READ));
	ASSERT_EQ(0, mprotect(self->p + 2 * psize, psize, PROT_NONE));
	ASSERT_EQ(0, munmap(self->p + 4 * psize, psize));
	own_end(_metadata, self, variant->by_cap);
	test_check(&self->a, self->p, 2, 2);
	test_touch_write(SIGSEGV, &self->a, self->p + psize);
	test_touch_read(SIGSEGV, &self->a, self->p + 2 * psize);
	test_touch_read(SIGSEGV, &self->a, self->p + 4 * psize);
	test_check_from(&self->a, self->p + 5 * psize, 5, N - 5, 2);
	ASSERT_EQ(0, mprotect(self->p + 2 * psize, psize, PROT_READ));
	test_check_from(&self->a, self->p + 2 * psize, 2, 1, 2);
}

/* A part of the range, and what is outside of it, or is none. */
TEST_F(own, in_part)
{
	struct zcipc_region_ordinary wrong[] = {
		{ .cap = self->src.cap ?: 1, .addr = (uintptr_t)self->p, .len = psize },
		{ .cap = self->src.cap ?: 1, .len = psize },
		{ .addr = (uintptr_t)self->p },
		{ .addr = (uintptr_t)self->p + 8, .len = psize },
		{ .addr = (uintptr_t)self->p, .len = psize + 8 },
		{ .addr = -psize, .len = 2 * psize },
		{ .addr = (uintptr_t)self->p, .len = 1ULL << 63 },
		{ },
	};
	__u64 copied;
	size_t i;

	if (variant->by_cap)
		SKIP(return, "a capability is for all of it");
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		wrong[i].size = sizeof(wrong[i]);
		TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_REGION_ORDINARY, &wrong[i]));
	}
	TEST_OK(zc_ordinary_range(&self->a, 0, self->all, psize, &copied));
	EXPECT_EQ(0, copied);
	TEST_OK(zc_ordinary_range(&self->b, 0, self->p, psize, &copied));
	EXPECT_EQ(0, copied);
	ASSERT_TRUE(is_adopted(self->p));
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p + 2 * psize, 3 * psize, &copied));
	EXPECT_EQ(3 * psize, copied);
	test_check(&self->a, self->p, N, 1);
	ASSERT_TRUE(is_adopted(self->p + psize));
	ASSERT_FALSE(is_adopted(self->p + 2 * psize));
	ASSERT_FALSE(is_adopted(self->p + 4 * psize));
	ASSERT_TRUE(is_adopted(self->p + 5 * psize));
	ASSERT_EQ(0, madvise(self->p + 2 * psize, psize, MADV_DONTNEED));
	test_check(&self->a, self->p + 2 * psize, 1, 0);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->all, (N + 2) * psize, &copied));
	EXPECT_EQ((N - 3) * psize, copied);
	/* Two pieces that were touched apart from each other core mm does not put together. */
	EXPECT_GE(3, mappings(self->all, self->all + (N + 2) * psize, NULL));
}

/* What others have of it they keep, as it was then, with their rights. */
TEST_F(own, others_keep_it)
{
	struct buf shared, copy, moved;

	if (variant->implicit)
		SKIP(return, "nobody else has any of it");
	TEST_OK(zc_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW, &shared));
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	test_fill(&self->b, shared.p, N, 2);
	own_end(_metadata, self, variant->by_cap);
	test_check(&self->a, self->p, N, 2);
	test_fill(&self->a, self->p, N, 3);
	test_check(&self->b, shared.p, N, 2);
	test_check(&self->b, copy.p, N, 1);
	test_fill(&self->b, shared.p, N, 4);
	test_check(&self->a, self->p, N, 3);
	/* Of what has been moved away there is nothing left to be had. */
	test_import(&self->a, self->p, N, &self->src);
	TEST_OK(zc_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 2, 3));
	test_take(&self->b, &moved);
	EXPECT_EQ((N - 3) * (1 + variant->by_cap) * psize,
		  own_end(_metadata, self, variant->by_cap));
	test_check(&self->a, self->p, 2, 3);
	test_check(&self->a, self->p + 2 * psize, 3, 0);
	test_check_from(&self->a, self->p + 5 * psize, 5, N - 5, 3);
	test_check_from(&self->b, moved.p, 2, 3, 3);
}

/* What has been moved away as a whole is zero, and what lies behind it is given back, too. */
TEST_F(own, behind_what_has_gone)
{
	struct buf first, second, got;
	__u64 copied;

	if (variant->by_cap || variant->implicit)
		SKIP(return, "one variant is enough");
	own_end(_metadata, self, false);
	test_import(&self->a, self->p, 2, &first);
	test_import(&self->a, self->p + 2 * psize, N - 2, &second);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, first.cap, &got);
	test_touch_read(SIGBUS, &self->a, self->p);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, N * psize, &copied));
	EXPECT_EQ((N - 2) * psize, copied);
	test_check(&self->a, self->p, 2, 0);
	test_check_from(&self->a, self->p + 2 * psize, 2, N - 2, 1);
	ASSERT_FALSE(is_adopted(self->p) || is_adopted(self->p + 2 * psize));
	test_check(&self->b, got.p, 2, 1);
	test_drop(&self->a, second.cap);
}

static int job_ordinary(struct job *j)
{
	__u64 copied;

	return j->cap ? zc_ordinary(j->ep, j->cap, &copied) :
			zc_ordinary_range(j->ep, 0, j->p, j->n * psize, &copied);
}

/* G2: what is moved away meanwhile is not copied: the contents are the receiver's. */
TEST_F(own, moved_meanwhile)
{
	struct job job = {
		.fn = job_ordinary, .ep = &self->a, .p = self->p, .n = N,
		.cap = variant->by_cap ? self->src.cap : 0,
	};
	struct buf got;

	if (variant->implicit)
		SKIP(return, "nobody can move it");
	need_points();
	point_stop("emptied");
	job_start(&job);
	ASSERT_TRUE(point_reached());
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &got);
	self->src.cap = 0;
	test_fill(&self->b, got.p, N, 7);
	point_go();
	job_join(&job);
	EXPECT_EQ(0, job.rc);
	test_check(&self->a, self->p, N, 0);
	test_check(&self->b, got.p, N, 7);
}

/*
 * Frames that are ordinary already, since a peer made them so, are mapped as the others are where
 * they were before; and where they go they are ordinary.
 */
TEST_F(own, moved_when_ordinary)
{
	static const size_t sizes[] = { 1, 2, 40 };
	struct zcipc_transfer t;
	struct zcipc_transfer_batch batch = {
		.size = sizeof(batch), .transfers = (uintptr_t)&t, .ntransfers = 1,
		.transfer_size = sizeof(t),
	};
	struct buf shared, got, src;
	struct zcipc_stats after;
	unsigned int way;
	__u64 copied;
	size_t i, n;
	char *p;

	if (!variant->by_cap)
		SKIP(return, "one variant is enough");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (way = 0; way < 3; way++) {
			n = sizes[i];
			p = memory_touched(n);
			test_import(&self->a, p, n, &src);
			TEST_OK(zc_pass_rights(&self->a, &self->b, ZCIPC_SHARE, src.cap, RIGHTS_RW,
					       &shared));
			test_ordinary(&self->b, shared.cap, &copied);
			ASSERT_EQ(n * psize, copied);
			test_drop(&self->b, shared.cap);
			test_check(&self->a, p, n, 1);
			test_fill(&self->a, p, n, 2);
			if (way == 0) {
				test_send(&self->a, &self->b, ZCIPC_MOVE, src.cap);
			} else if (way == 1) {
				t = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
				TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &batch));
				ASSERT_EQ(1, batch.done);
			} else {
				test_send(&self->a, &self->b, ZCIPC_COPY, src.cap);
			}
			test_take(&self->b, &got);
			test_check(&self->b, got.p, n, 2);
			ASSERT_EQ((long)psize, ep_vmsplice(&self->b, got.p, 1));
			if (way == 2) {
				test_fill(&self->a, p, n, 3);
				test_check(&self->b, got.p, n, 2);
				test_drop(&self->a, src.cap);
			}
			test_fill(&self->b, got.p, n, 4);
			test_drop(&self->b, got.cap);
			munmap(p, n * psize);
		}
	}
	own_end(_metadata, self, true);
	test_stats(&self->a, &after);
	ASSERT_TRUE(same_live(&self->before, &after));
	EXPECT_EQ(self->before.user_pinned, after.user_pinned);
}

/* --- core dumps */

#define CORE_PATTERN "/proc/sys/kernel/core_pattern"

FIXTURE(core)
{
	char old[256];
};

FIXTURE_VARIANT(core)
{
	bool shared;		/* with a peer, which has written to it */
	bool secret;		/* it was not to be dumped before */
	bool secret_later;
	bool filtered;		/* private memory is not to be dumped at all */
	bool vfork;		/* there is another process that goes on with the same memory */
	bool apart;		/* each page is a region of its own */
	bool found;
};

FIXTURE_VARIANT_ADD(core, adopted) { .found = true };
FIXTURE_VARIANT_ADD(core, shared) { .shared = true, .found = true };
FIXTURE_VARIANT_ADD(core, secret) { .secret = true };
FIXTURE_VARIANT_ADD(core, secret_later) { .secret_later = true };
FIXTURE_VARIANT_ADD(core, filtered) { .filtered = true };
FIXTURE_VARIANT_ADD(core, vfork) { .vfork = true };
FIXTURE_VARIANT_ADD(core, apart) { .apart = true, .found = true };

FIXTURE_SETUP(core)
{
	int fd = open(CORE_PATTERN, O_RDWR | O_CLOEXEC);

	if (fd < 0 || read(fd, self->old, sizeof(self->old) - 1) <= 0)
		SKIP(_exit(KSFT_SKIP), "core dumps cannot be had");
	close(fd);
	file_write(CORE_PATTERN, "/tmp/zcipc-core");
	unlink("/tmp/zcipc-core");
}

FIXTURE_TEARDOWN(core)
{
	file_write(CORE_PATTERN, self->old);
	unlink("/tmp/zcipc-core");
}

#define CORE_PAGES 600UL	/* more than a page table has */

/* Words that nobody finds in the program itself, one for each page. */
static __u64 core_word(size_t i)
{
	return 0x123456789abcdef1ULL * (i + 3);
}

static int core_child(void *unused)
{
	(void)unused;
	return syscall(SYS_kill, syscall(SYS_getpid), SIGSEGV);
}

/* Dies with memory that has been adopted. */
static void core_dump(const FIXTURE_VARIANT(core) *variant)
{
	static char stack[65536];
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct ep a = {}, b = {};
	char *p = anonymous(CORE_PAGES);
	struct zcipc_recv m;
	struct buf src;
	size_t i, n = variant->apart ? 1 : CORE_PAGES;

	for (i = 0; i < CORE_PAGES; i++)
		*(__u64 *)(p + i * psize + 16) = core_word(i);
	if (variant->secret)
		madvise(p + psize, psize, MADV_DONTDUMP);
	if (ep_open(&a, WINDOW_PAGES, O_NONBLOCK) || ep_open(&b, 1024, O_NONBLOCK))
		_exit(1);
	for (i = 0; i < CORE_PAGES; i += n)
		if (zc_import(&a, p + i * psize, n, &src))
			_exit(1);
	if (variant->secret_later && madvise(p, CORE_PAGES * psize, MADV_DONTDUMP))
		_exit(2);
	if (variant->shared) {
		if (zc_send_rights(&a, &b, ZCIPC_SHARE, src.cap, RIGHTS_RW) || zc_recv(&b, &m))
			_exit(3);
		*(__u64 *)((char *)(uintptr_t)m.addr + 5 * psize + 16) = core_word(5) + 1;
	}
	if (variant->filtered)
		file_write("/proc/self/coredump_filter", "0x10");
	if (setrlimit(RLIMIT_CORE, &limit) || prctl(PR_SET_DUMPABLE, 1))
		_exit(4);
	if (variant->vfork) {
		if (clone(core_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
			  NULL) < 0)
			_exit(7);
		/* The child has dumped its core. This one reads and writes as before. */
		for (i = 0; i < CORE_PAGES; i++)
			if (*(__u64 *)(p + i * psize + 16) != core_word(i))
				_exit(5);
		for (i = 0; i < CORE_PAGES; i++)
			*(__u64 *)(p + i * psize + 24) = i;
		kill(getpid(), SIGKILL);
	}
	core_child(NULL);
	_exit(6);
}

/* How many of the words are in the core, in order. */
static size_t core_words(__u64 changed)
{
	int fd = open("/tmp/zcipc-core", O_RDONLY | O_CLOEXEC);
	size_t found = 0;
	struct stat st;
	__u64 want;
	char *m, *p;

	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		return -1;
	m = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	for (p = m + 16; found < CORE_PAGES && p + 8 <= m + st.st_size; p += psize) {
		want = core_word(found) + (found == 5 ? changed : 0);
		if (*(__u64 *)p == want)
			found++;
	}
	munmap(m, st.st_size);
	return found;
}

/* Adopted memory is in core dumps, as it was before. */
TEST_F(core, dumped)
{
	int status;
	pid_t child;

	child = fork();
	if (!child)
		core_dump(variant);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("%#x", status);
	if (!variant->vfork)
		ASSERT_TRUE(WCOREDUMP(status));
	ASSERT_EQ(variant->found ? CORE_PAGES : 0, core_words(variant->shared));
}

TEST_HARNESS_MAIN

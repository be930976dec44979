// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that was there before, and is adopted where it is: which kinds of it, and how much.
 *
 * Guarantees: G1 zero-copy, G2 MOVE, G3, G4 snapshots, G5, G8, G10 ordinary memory.
 * Attacks: 19 kinds of memory, 20 KSM.
 */
#include "zcipc_utils.h"

#define N 8

/* --- kinds of memory */

FIXTURE(adopt)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	__u64 seed;
};

FIXTURE_VARIANT(adopt)
{
	char *(*memory)(size_t npages);
	__u64 seed;
	bool part_of_huge;		/* if there is one: copied as long as the rest is mapped */
};

FIXTURE_VARIANT_ADD(adopt, touched) { .memory = memory_touched, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, untouched) { .memory = anonymous };
FIXTURE_VARIANT_ADD(adopt, read) { .memory = memory_read };
FIXTURE_VARIANT_ADD(adopt, forked) { .memory = memory_forked, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, mixed) { .memory = memory_mixed, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, locked) { .memory = memory_locked, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, huge) { .memory = memory_huge, .seed = 1, .part_of_huge = true };
FIXTURE_VARIANT_ADD(adopt, paged_out) { .memory = memory_paged_out, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, malloc) { .memory = memory_malloc, .seed = 1 };

FIXTURE_SETUP(adopt)
{
	char *p;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	p = variant->memory(N);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_NE(NULL, p);
	self->seed = variant->seed;
	test_import(&self->a, p, N, &self->src);
}

/* The mappings keep the endpoint. */
FIXTURE_TEARDOWN(adopt)
{
	munmap(self->src.p, N * psize);
	base_teardown(_metadata, &self->base);
}

/* Nothing changes for the owner. */
TEST_F(adopt, contents)
{
	struct zcipc_region_query q;

	test_check(&self->a, self->src.p, N, self->seed);
	test_fill(&self->a, self->src.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_query(&self->a, self->src.cap, &q);
	ASSERT_EQ(N * psize, q.len);
	ASSERT_EQ(N * psize, q.present);
	ASSERT_EQ(0, q.shared);
	ASSERT_EQ(1, q.maps);
	ASSERT_EQ(RIGHTS_ALL, q.rights);
}

TEST_F(adopt, move)
{
	struct zcipc_stats before, after;
	struct zcipc_recv m;

	test_stats(&self->a, &before);
	test_send(&self->a, &self->b, ZCIPC_MOVE, self->src.cap);
	test_stats(&self->a, &after);
	if (!variant->part_of_huge)
		ASSERT_EQ(before.copied_held, after.copied_held);
	test_gone(&self->a, self->src.p, N);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, self->seed);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 3);
	/* And on, and back. */
	test_send(&self->b, &self->c, ZCIPC_MOVE, m.cap);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, N, 3);
	test_fill(&self->c, (char *)(uintptr_t)m.addr, N, 4);
	test_send(&self->c, &self->a, ZCIPC_MOVE, m.cap);
	test_recv(&self->a, &m);
	test_check(&self->a, (char *)(uintptr_t)m.addr, N, 4);
	test_fill(&self->a, (char *)(uintptr_t)m.addr, N, 5);
	test_check(&self->a, (char *)(uintptr_t)m.addr, N, 5);
	test_gone(&self->a, self->src.p, N);
	test_stats(&self->a, &after);
	if (!variant->part_of_huge)
		ASSERT_EQ(before.copied_held, after.copied_held);
}

TEST_F(adopt, move_part)
{
	struct zcipc_recv m;

	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 2, 3);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 2, 3, self->seed);
	test_check(&self->a, self->src.p, 2, self->seed);
	test_gone(&self->a, self->src.p + 2 * psize, 3);
	test_check_from(&self->a, self->src.p + 5 * psize, 5, N - 5, self->seed);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, 3, 3);
	test_fill(&self->a, self->src.p + 5 * psize, N - 5, 4);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 3, 3);
}

TEST_F(adopt, share)
{
	struct zcipc_recv m;
	char *p;
	__u64 n;

	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_check(&self->b, p, N, self->seed);
	test_fill(&self->b, p, N, 3);
	test_check(&self->a, self->src.p, N, 3);
	test_fill(&self->a, self->src.p, N, 4);
	test_check(&self->b, p, N, 4);
	/* Read-only is read-only. */
	test_send_rights(&self->a, &self->c, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, N, 4);
	test_touch_write(SIGBUS, &self->c, (char *)(uintptr_t)m.addr);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	ASSERT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, (char *)(uintptr_t)m.addr, N);
	test_check(&self->a, self->src.p, N, 4);
}

TEST_F(adopt, copy)
{
	struct zcipc_recv m, m2;
	char *p, *p2;

	test_send(&self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_fill(&self->a, self->src.p, N, 3);
	test_check(&self->b, p, N, self->seed);
	test_send(&self->b, &self->c, ZCIPC_COPY, m.cap);
	test_recv(&self->c, &m2);
	p2 = (char *)(uintptr_t)m2.addr;
	test_fill(&self->b, p, N, 4);
	test_check(&self->c, p2, N, self->seed);
	test_check(&self->a, self->src.p, N, 3);
	test_drop(&self->b, m.cap);
	test_fill(&self->c, p2, N, 5);
	test_check(&self->c, p2, N, 5);
	test_check(&self->a, self->src.p, N, 3);
}

TEST_F(adopt, owner_dies_not)
{
	struct zcipc_recv m;

	/* The mapping goes, the memory stays with the one who has it. */
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	ASSERT_EQ(0, munmap(self->src.p, N * psize));
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, self->seed);
	test_drop(&self->a, self->src.cap);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, self->seed);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 6);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 6);
}

/* G8: who gives up the capability for its memory keeps the memory, until it is unmapped. */
TEST_F(adopt, dropped)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf dst;
	char *p;

	test_stats(&self->a, &before);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
	test_drop(&self->a, self->src.cap);
	test_err_drop(ESTALE, &self->a, self->src.cap);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->a, self->src.p, N, self->seed);
	test_fill(&self->a, self->src.p, N, 6);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 6);
	test_drop(&self->b, m.cap);
	test_check(&self->a, self->src.p, N, 6);
	test_stats(&self->a, &after);
	EXPECT_EQ(before.user_pinned, after.user_pinned);
	EXPECT_EQ(before.caps, after.caps);
	/* It can still be sent, and what of it is sent is gone. */
	cmd = direct_cmd(&self->b, ZCIPC_COPY, self->src.p, N * psize, 0);
	test_transfer(&self->a, &cmd);
	if (!variant->part_of_huge)
		EXPECT_EQ(N, cmd.pages);
	test_take(&self->b, &dst);
	ASSERT_EQ(0, munmap(self->src.p, N * psize));
	test_check(&self->b, dst.p, N, 6);
	test_drop(&self->b, dst.cap);
	test_stats(&self->a, &after);
	EXPECT_EQ(before.caps - 1, after.caps);
	EXPECT_EQ(before.regions - 1, after.regions);
	EXPECT_GE(before.user_pinned - N, after.user_pinned);
}

/* As unmapped in parts, and with no endpoint's descriptor left but that of the mapping. */
TEST_F(adopt, dropped_and_closed)
{
	test_drop(&self->a, self->src.cap);
	ASSERT_EQ(0, munmap(self->src.p + psize, psize));
	close(self->a.fd);
	self->a.fd = -1;
	munmap(self->a.win, self->a.npages * psize);
	self->a.win = NULL;
	test_check(&self->a, self->src.p, 1, self->seed);
	test_check_from(&self->a, self->src.p + 2 * psize, 2, N - 2, self->seed);
	ASSERT_EQ(0, munmap(self->src.p, N * psize));
}

/* --- other kinds of memory */

FIXTURE(kinds)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(kinds)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
}

FIXTURE_TEARDOWN_BASE(kinds)

/*
 * Refused, and left as it is; copied if that is allowed. What others can reach can be shared, but
 * that is another matter (zcipc_files).
 */
static void test_kind(struct __test_metadata *_metadata, FIXTURE_DATA(kinds) *self, char *p,
		      int err, bool readable, bool shared)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf buf;
	__u32 type;
	__u64 val;

	ASSERT_NE(MAP_FAILED, p);
	if (!shared)
		test_err_import(err, &self->a, p, 2, &buf);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		if (shared && type == ZCIPC_SHARE)
			continue;
		test_err_direct(err, &self->a, &self->b, type, p, 2 * psize, 0);
		if (readable)
			test_check(&self->a, p, 2, 6);
		if (type == ZCIPC_SHARE)
			continue;
		cmd = direct_cmd(&self->b, type, p, 2 * psize, ZCIPC_F_COPY_OK);
		if (!readable) {
			test_err_transfer(EFAULT, &self->a, &cmd);
			continue;
		}
		test_transfer(&self->a, &cmd);
		ASSERT_EQ(0, cmd.pages);
		ASSERT_EQ(2 * psize, cmd.copied);
		test_check(&self->a, p, 2, 6);
		test_recv(&self->b, &m);
		test_check(&self->b, (char *)(uintptr_t)m.addr, 2, 6);
		test_fill(&self->b, (char *)(uintptr_t)m.addr, 2, 7);
		test_check(&self->a, p, 2, 6);
		test_drop(&self->b, m.cap);
	}
	if (!readable)
		ASSERT_NE(0, touch_read(p, &val));
}

#define PROT_WITH_TAGS	0x20

/* Tags (arm64's MTE) would be lost on the way. */
TEST_F(kinds, tags)
{
	int prot = PROT_READ | PROT_WRITE | PROT_WITH_TAGS;
	char *p = mmap(NULL, 2 * psize, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct buf buf;

	/* Where there are none that means nothing, or is refused. */
	if (p == MAP_FAILED || !has_vm_flag(p, " mt "))
		SKIP(return, "memory has no tags here");
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	/* Nor can what is the module's get any. */
	test_create(&self->a, 2, &buf);
	TEST_ERR(EINVAL, mprotect(buf.p, psize, prot));
	test_fill(&self->a, buf.p, 2, 6);
	test_drop(&self->a, buf.cap);
	p = anonymous(2);
	fill(p, 2, 6);
	test_import(&self->a, p, 2, &buf);
	TEST_ERR(EINVAL, mprotect(p, psize, prot));
	test_check(&self->a, p, 2, 6);
	munmap(p, 2 * psize);
}

TEST_F(kinds, shared)
{
	char *p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);

	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, true);
}

TEST_F(kinds, memfd)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, 2 * psize));
	p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, true);
	munmap(p, 2 * psize);
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	p = mmap(NULL, 2 * psize, PROT_READ, MAP_PRIVATE, fd, 0);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	close(fd);
}

TEST_F(kinds, private_of_file)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, 2 * psize));
	p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	close(fd);
}

TEST_F(kinds, read_only)
{
	char *p = memory_touched(2);

	fill(p, 2, 6);
	ASSERT_EQ(0, mprotect(p, 2 * psize, PROT_READ));
	test_kind(_metadata, self, p, EACCES, true, false);
}

TEST_F(kinds, no_access)
{
	char *p = memory_touched(2);

	ASSERT_EQ(0, mprotect(p, 2 * psize, PROT_NONE));
	test_kind(_metadata, self, p, EACCES, false, false);
}

/* Whoever guards memory by a key must not lose that. To give the memory away needs no guard. */
TEST_F(kinds, protection_key)
{
	int key = syscall(SYS_pkey_alloc, 0, 0);
	char *p = memory_touched(2);
	struct zcipc_recv m;
	struct buf buf;

	if (key < 0)
		SKIP(return, "no protection keys: %s", strerror(errno));
	ASSERT_EQ(0, syscall(SYS_pkey_mprotect, p, 2 * psize, PROT_READ | PROT_WRITE, key));
	test_err_import(EOPNOTSUPP, &self->a, p, 2, &buf);
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_SHARE, p, 2 * psize, 0);
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_COPY, p, 2 * psize, 0);
	test_check(&self->a, p, 2, 1);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p, 2 * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 2, 1);
	test_check(&self->a, p, 2, 0);
	syscall(SYS_pkey_free, key);
}

TEST_F(kinds, not_all_there)
{
	char *p = memory_touched(3);
	struct buf buf;
	__u32 type;

	ASSERT_EQ(0, munmap(p + psize, psize));
	test_err_import(EFAULT, &self->a, p, 3, &buf);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EFAULT, &self->a, &self->b, type, p, 3 * psize,
				type == ZCIPC_SHARE ? 0 : ZCIPC_F_COPY_OK);
	test_check(&self->a, p, 1, 1);
	test_check_from(&self->a, p + 2 * psize, 2, 1, 1);
}

TEST_F(kinds, hugetlb)
{
	char *p;

	file_write("/proc/sys/vm/nr_hugepages", "2");
	p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		 -1, 0);
	if (p == MAP_FAILED)
		SKIP(return, "no huge pages: %s", strerror(errno));
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	munmap(p, HUGE);
	file_write("/proc/sys/vm/nr_hugepages", "0");
}

/* Memory that is a region already is that, wherever it came from. */
TEST_F(kinds, regions)
{
	struct zcipc_recv m;
	struct buf buf, buf2;

	test_create(&self->a, N, &buf);
	test_fill(&self->a, buf.p, N, 3);
	test_err_import(EOPNOTSUPP, &self->a, buf.p, N, &buf2);
	test_direct(&self->a, &self->b, ZCIPC_COPY, buf.p + psize, 2 * psize, 0);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 1, 2, 3);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, buf.p, N * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 3);
	test_gone(&self->a, buf.p, N);
	/* Where there is none in the window there is nothing. */
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_MOVE, buf.p, N * psize, 0);
	test_err_import(EOPNOTSUPP, &self->a, buf.p, N, &buf2);
}

/* What is unmapped, or something else now, is not of the region any more. */
TEST_F(kinds, replaced)
{
	char *p = memory_touched(N);
	struct zcipc_recv m;
	struct buf buf;
	__u32 type;

	test_import(&self->a, p, N, &buf);
	ASSERT_EQ(0, munmap(p + 2 * psize, psize));
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, p + psize, 3 * psize, 0);
	test_err_direct(EFAULT, &self->a, &self->b, ZCIPC_COPY, p + psize, 3 * psize,
			ZCIPC_F_COPY_OK);
	ASSERT_EQ(p + 2 * psize, mmap(p + 2 * psize, psize, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, p + psize, 3 * psize, 0);
	test_direct(&self->a, &self->b, ZCIPC_COPY, p + psize, 3 * psize, ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 1, 1, 1);
	test_check(&self->b, (char *)(uintptr_t)m.addr + psize, 1, 0);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr + 2 * psize, 3, 1, 1);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p + 3 * psize, (N - 3) * psize, 0);
	munmap(p, N * psize);
}

/* --- pages that the kernel has merged */

/* The frame that a page is in. 0: none. */
static __u64 frame_of(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / psize * sizeof(entry)) !=
	    sizeof(entry) || !(entry >> 63))
		entry = 0;
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

static long call_frame(struct ep *ep, struct call *c)
{
	(void)ep;
	c->val = frame_of((void *)(uintptr_t)c->addr);
	return 0;
}

static __u64 ep_frame(struct ep *ep, const char *p)
{
	struct call c = { .fn = call_frame, .addr = (uintptr_t)p };

	return ep_call(ep, &c) ? 0 : c.val;
}

static long call_mergeable(struct ep *ep, struct call *c)
{
	char *p = memory_touched(c->n);

	(void)ep;
	c->addr = (uintptr_t)p;
	return madvise(p, c->n * psize, MADV_MERGEABLE);
}

/* New memory with the same contents as all that this has made. */
static char *ep_mergeable(struct ep *ep, size_t npages)
{
	struct call c = { .fn = call_mergeable, .n = npages };

	return ep_call(ep, &c) ? NULL : (char *)(uintptr_t)c.addr;
}

/* Each page of two areas is one page. */
static bool merged(struct ep *a, const char *p, struct ep *b, const char *q, size_t npages)
{
	size_t i;

	for (i = 0; i < npages * psize; i += psize) {
		__u64 frame = ep_frame(a, p + i);

		if (!frame || frame != ep_frame(b, q + i))
			return false;
	}
	return true;
}

FIXTURE(ksm)
{
	struct base base;
	struct ep a, b, c;
	char *p, *q, *r;
	struct ksm_settings old;
};

FIXTURE_SETUP(ksm)
{
	if (access(KSM "run", W_OK))
		SKIP(_exit(KSFT_SKIP), "there is no KSM");
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	ksm_start(&self->old, 1000);
	/* One that is sent, one that stays, and one of another process. */
	self->p = ep_mergeable(&self->a, N);
	self->q = ep_mergeable(&self->a, N);
	self->r = ep_mergeable(&self->b, N);
	ASSERT_NE(NULL, self->p);
	ASSERT_NE(NULL, self->q);
	ASSERT_NE(NULL, self->r);
}

FIXTURE_TEARDOWN(ksm)
{
	munmap(self->p, N * psize);
	munmap(self->q, N * psize);
	base_teardown(_metadata, &self->base);
	ksm_end(&self->old);
}

/* Waits until all are one, and stops it there: it looks at pages, for which it holds them. */
static void ksm_merge(struct __test_metadata *_metadata, FIXTURE_DATA(ksm) *self)
{
	ASSERT_TRUE(wait_until(merged(&self->a, self->p, &self->a, self->q, N) &&
			       merged(&self->a, self->q, &self->b, self->r, N)));
	number_write(KSM "run", 0);
	ASSERT_TRUE(merged(&self->a, self->p, &self->a, self->q, N));
}

/* Whoever else has the pages has them as they were, now and after it has looked at all again. */
static void ksm_others(struct __test_metadata *_metadata, FIXTURE_DATA(ksm) *self)
{
	long scans;
	int i;

	for (i = 0; i < 2; i++) {
		test_check(&self->a, self->q, N, 1);
		test_check(&self->b, self->r, N, 1);
		ASSERT_TRUE(merged(&self->a, self->q, &self->b, self->r, N));
		if (i)
			break;
		number_write(KSM "run", 1);
		scans = file_number(KSM "full_scans", NULL);
		ASSERT_TRUE(wait_until(file_number(KSM "full_scans", NULL) > scans + 2));
	}
	number_write(KSM "run", 0);
}

/* 19, G4: a merged page that is adopted is the owner's alone. */
TEST_F(ksm, adopted)
{
	struct zcipc_transfer cmd;
	struct buf buf, dst, copy;

	ksm_merge(_metadata, self);
	test_import(&self->a, self->p, N, &buf);
	test_check(&self->a, self->p, N, 1);
	test_pass(&self->a, &self->c, ZCIPC_COPY, buf.cap, &copy);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, buf.cap, &dst);
	test_fill(&self->a, self->p, N, 2);
	test_check(&self->b, dst.p, N, 2);
	ksm_others(_metadata, self);
	test_fill(&self->b, dst.p, N, 3);
	test_check(&self->a, self->p, N, 3);
	ksm_others(_metadata, self);
	test_check(&self->c, copy.p, N, 1);
	test_drop(&self->b, dst.cap);
	cmd = transfer_cmd(&self->c, ZCIPC_MOVE, buf.cap, 0, 0, 0);
	cmd.flags = ZCIPC_F_STRICT;
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(N, cmd.pages);
	test_take(&self->c, &dst);
	test_gone(&self->a, self->p, N);
	test_fill(&self->c, dst.p, N, 4);
	ksm_others(_metadata, self);
	test_check(&self->c, dst.p, N, 4);
	test_check(&self->c, copy.p, N, 1);
}

/* 19, G2: and so is one that is sent. */
TEST_F(ksm, moved)
{
	struct zcipc_transfer cmd;
	struct buf dst;

	ksm_merge(_metadata, self);
	cmd = direct_cmd(&self->b, ZCIPC_MOVE, self->p, N * psize, ZCIPC_F_STRICT);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(N, cmd.pages);
	test_check(&self->a, self->p, N, 0);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, N, 1);
	ksm_others(_metadata, self);
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->b, dst.p, N, 2);
	ksm_others(_metadata, self);
	test_check(&self->b, dst.p, N, 2);
	/* What the others write is not what has been sent, either. */
	test_fill(&self->a, self->q, N, 3);
	test_fill(&self->b, self->r, N, 4);
	test_check(&self->b, dst.p, N, 2);
	test_check(&self->a, self->p, N, 0);
	test_check(&self->a, self->q, N, 3);
}

TEST_F(ksm, copied)
{
	struct zcipc_transfer cmd;
	struct buf dst;

	ksm_merge(_metadata, self);
	cmd = direct_cmd(&self->c, ZCIPC_COPY, self->p, N * psize, ZCIPC_F_STRICT);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(N, cmd.pages);
	test_take(&self->c, &dst);
	test_fill(&self->a, self->p, N, 2);
	test_check(&self->c, dst.p, N, 1);
	ksm_others(_metadata, self);
	test_fill(&self->c, dst.p, N, 3);
	test_check(&self->a, self->p, N, 2);
	ksm_others(_metadata, self);
	test_check(&self->c, dst.p, N, 3);
}

/* 5, 20: what has been adopted is not merged any more, whatever its owner would like. */
TEST_F(ksm, advised_after)
{
	char *p = memory_touched(N);
	__u64 frames[N];
	struct buf buf, here, dst;
	int i;

	test_import(&self->a, p, N, &buf);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, buf.cap, &dst);
	/* Nobody can see where the pages are but in a window. */
	test_pass(&self->a, &self->a, ZCIPC_SHARE, buf.cap, &here);
	test_check(&self->a, here.p, N, 1);
	for (i = 0; i < N; i++)
		frames[i] = frame_of(here.p + i * psize);
	ASSERT_EQ(0, madvise(p, N * psize, MADV_MERGEABLE));
	/* That it works is seen by those that are merged. */
	ksm_merge(_metadata, self);
	ksm_others(_metadata, self);
	for (i = 0; i < N; i++) {
		ASSERT_NE(0, frames[i]);
		ASSERT_EQ(frames[i], frame_of(here.p + i * psize));
		ASSERT_NE(frames[i], frame_of(self->q + i * psize));
	}
	test_check(&self->a, p, N, 1);
	test_fill(&self->a, p, N, 2);
	test_check(&self->b, dst.p, N, 2);
	test_fill(&self->b, dst.p, N, 3);
	test_check(&self->a, p, N, 3);
	ASSERT_EQ(0, madvise(p, N * psize, MADV_UNMERGEABLE));
	test_check(&self->a, p, N, 3);
	ksm_others(_metadata, self);
	munmap(p, N * psize);
}

/* --- much at once */

#define LARGE (256UL << 20)
#define LARGE_PAGES (LARGE / psize)

#define PROACTIVENESS "/proc/sys/vm/compaction_proactiveness"

FIXTURE(large)
{
	struct base base;
	struct ep a, b;
	char *p;
	long proactiveness;
};

FIXTURE_VARIANT(large)
{
	int advice;
};

FIXTURE_VARIANT_ADD(large, small) { .advice = MADV_NOHUGEPAGE };
FIXTURE_VARIANT_ADD(large, huge) { .advice = MADV_HUGEPAGE };

/* A word of each page. */
static long call_words(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	size_t i;
	__u64 val;

	(void)ep;
	for (i = 0; i < c->n; i++)
		if (touch_read(p + i * psize + i % 512 * 8, &val) || val != pattern(7, i, 0))
			return i + 1;
	return 0;
}

static long ep_words(struct ep *ep, const char *p)
{
	struct call c = { .fn = call_words, .addr = (uintptr_t)p, .n = LARGE_PAGES };

	return ep_call(ep, &c);
}

FIXTURE_SETUP(large)
{
	size_t i;
	void *p;

	if (!access("/proc/lockdep", F_OK))
		SKIP(_exit(KSFT_SKIP), "takes minutes on a kernel that checks itself");
	if (file_number("/proc/meminfo", "MemAvailable:") < (long)(3 * LARGE / 1024))
		SKIP(_exit(KSFT_SKIP), "too little memory");
	base_setup(_metadata, &self->base);
	quota_set(2 * LARGE >> 20);
	/* Who looks for pages to move holds them meanwhile. */
	self->proactiveness = file_number(PROACTIVENESS, NULL);
	number_write(PROACTIVENESS, 0);
	test_open(&self->a, 2 * LARGE_PAGES, O_NONBLOCK);
	test_start(&self->b, true, 2 * LARGE_PAGES);
	/* Of huge pages all is sent: the rest of one would be copied. */
	ASSERT_EQ(0, posix_memalign(&p, HUGE, LARGE));
	self->p = p;
	madvise(p, LARGE, variant->advice);
	for (i = 0; i < LARGE_PAGES; i++)
		*(__u64 *)(self->p + i * psize + i % 512 * 8) = pattern(7, i, 0);
}

FIXTURE_TEARDOWN(large)
{
	munmap(self->p, LARGE);
	base_teardown(_metadata, &self->base);
	quota_set(0);
	number_write(PROACTIVENESS, self->proactiveness);
}

static __u64 all_copied(const struct zcipc_stats *stats)
{
	return stats->copied_write + stats->copied_held + stats->copied_node +
	       stats->copied_memory;
}

/* G1: whatever the size, nothing is copied. */
TEST_F(large, adopted)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct buf buf;

	test_stats(&self->a, &before);
	test_import(&self->a, self->p, LARGE_PAGES, &buf);
	ASSERT_EQ(0, ep_words(&self->a, self->p));
	cmd = transfer_cmd(&self->b, ZCIPC_MOVE, buf.cap, 0, 0, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(LARGE_PAGES, cmd.pages);
	test_take(&self->b, &buf);
	ASSERT_EQ(0, ep_words(&self->b, buf.p));
	test_gone(&self->a, self->p, 8);
	test_stats(&self->a, &after);
	ASSERT_EQ(all_copied(&before), all_copied(&after));
}

TEST_F(large, direct)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct buf buf;
	size_t i;

	test_stats(&self->a, &before);
	cmd = direct_cmd(&self->b, ZCIPC_MOVE, self->p, LARGE, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(LARGE_PAGES, cmd.pages);
	test_take(&self->b, &buf);
	ASSERT_EQ(0, ep_words(&self->b, buf.p));
	test_stats(&self->a, &after);
	ASSERT_EQ(all_copied(&before), all_copied(&after));
	for (i = 0; i < LARGE; i += 100 * psize)
		test_check(&self->a, self->p + i, 1, 0);
}

/* What is mapped outside of a window, more than is unmapped at a time. */
#define MUCH	4200

FIXTURE(outside)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(outside)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, MUCH, O_NONBLOCK);
	test_open(&self->b, MUCH, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(outside)

TEST_F(outside, much)
{
	struct zcipc_transfer cmd;
	struct buf buf, got;
	int i;

	for (i = 0; i < 3; i++) {
		char *p = mmap(NULL, MUCH * psize, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(MAP_FAILED, p);
		test_fill(&self->a, p, MUCH, 1);
		test_import(&self->a, p, MUCH, &buf);
		cmd = transfer_cmd(&self->b, i == 1 ? ZCIPC_MOVE : ZCIPC_COPY, buf.cap, 0, 0, 0);
		test_transfer(&self->a, &cmd);
		test_take(&self->b, &got);
		test_check(&self->b, got.p, MUCH, 1);
		if (i == 2)
			test_revoke(&self->a, NULL, buf.cap, 0, &buf.region);
		ASSERT_EQ(0, munmap(p, MUCH * psize));
		test_drop(&self->b, got.cap);
	}
}

TEST_F(outside, much_executable)
{
	struct zcipc_unmap unmap = { .size = sizeof(unmap), .flags = ZCIPC_UNMAP_OFFSET };
	struct buf buf;
	char *offset;

	test_create(&self->a, MUCH, &buf);
	test_map(&self->a, buf.cap, 0, 0, ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC, &offset);
	unmap.addr = (uintptr_t)offset;
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_UNMAP, &unmap));
	test_map(&self->a, buf.cap, 0, 0, ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC, &offset);
	test_drop(&self->a, buf.cap);
}

TEST_HARNESS_MAIN

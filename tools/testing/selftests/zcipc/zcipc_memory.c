// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where memory comes from, what is in it, and whether it goes back.
 *
 * Guarantees: G7 no residue, G8 all is released, G11 bounded.
 * Attacks: 22 zeroing, 28 quota. The kernel should be booted with init_on_alloc=0, or it zeroes
 * what the module forgets to.
 */
#include <sys/stat.h>
#include <sys/uio.h>

#include "zcipc_utils.h"

#define PATTERN 0xa5

FIXTURE(memory)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(memory)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, true, WINDOW_PAGES);
}

FIXTURE_TEARDOWN_BASE(memory)

/* Leaves a pattern in the memory that the kernel will hand out next. */
static void litter(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	madvise(p, len, MADV_NOHUGEPAGE);
	memset(p, PATTERN, len);
	munmap(p, len);
}

static bool all_bytes(const char *p, size_t len, unsigned char byte)
{
	return (unsigned char)p[0] == byte && !memcmp(p, p + 1, len - 1);
}

/* 22: fresh memory. */
TEST_F(memory, new_is_zero)
{
	size_t sizes[] = { 1, 16, 600, 3000 };
	struct buf buf;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		litter(4 * sizes[i] * psize);
		test_create(&self->a, sizes[i], &buf);
		ASSERT_TRUE(all_bytes(buf.p, sizes[i] * psize, 0));
		test_drop(&self->a, buf.cap);
	}
}

/* 22: memory that the same endpoint, or another one, had before, and gave up in each way. */
TEST_F(memory, recycled_is_zero)
{
	size_t npages = 200;
	struct buf buf, dst;
	struct ep c;
	int way;

	for (way = 0; way < 5; way++) {
		test_open(&c, 512, 0);
		test_create(&c, npages, &buf);
		memset(buf.p, PATTERN, npages * psize);
		if (way == 1) {
			test_pass(&c, &self->a, ZCIPC_MOVE, buf.cap, &dst);
			test_drop(&self->a, dst.cap);
		} else if (way == 2) {
			test_pass(&c, &self->a, ZCIPC_COPY, buf.cap, &dst);
			memset(buf.p, PATTERN + 1, npages * psize);
			test_drop(&self->a, dst.cap);
		} else if (way == 3) {
			test_send(&c, &self->a, ZCIPC_SHARE, buf.cap);
			test_take(&self->a, &dst);
			test_drop(&c, buf.cap);
			test_drop(&self->a, dst.cap);
		} else if (way == 4) {
			test_drop(&c, buf.cap);
		}
		if (way != 4)
			ep_end(&c);
		test_create(way == 4 ? &c : &self->a, npages, &dst);
		ASSERT_TRUE(all_bytes(dst.p, npages * psize, 0));
		if (way == 4)
			ep_end(&c);
		else
			test_drop(&self->a, dst.cap);
		neps--;
	}
}

/* 22: what is copied is copied to the last byte, into memory that had something else in it. */
TEST_F(memory, copies_are_whole)
{
	size_t npages = 64, i;
	struct buf src, dst;
	int fds[2];

	test_create(&self->a, npages, &src);
	memset(src.p, 0x11, npages * psize);
	test_pass(&self->a, &self->a, ZCIPC_COPY, src.cap, &dst);
	litter(4 * npages * psize);
	for (i = 0; i < npages; i++)
		dst.p[i * psize + i] = 0x22;
	for (i = 0; i < npages; i++) {
		ASSERT_EQ(0x22, dst.p[i * psize + i]);
		dst.p[i * psize + i] = 0x11;
	}
	ASSERT_TRUE(all_bytes(dst.p, npages * psize, 0x11));
	ASSERT_TRUE(all_bytes(src.p, npages * psize, 0x11));
	test_drop(&self->a, dst.cap);

	/* Held frames. */
	ASSERT_EQ(0, pipe(fds));
	for (i = 0; i < 8; i++) {
		struct iovec iov = { src.p + i * psize, psize };

		ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
	}
	litter(4 * npages * psize);
	test_pass(&self->a, &self->a, ZCIPC_MOVE, src.cap, &dst);
	ASSERT_TRUE(all_bytes(dst.p, npages * psize, 0x11));
	close(fds[0]);
	close(fds[1]);
}

/* Pages that are free, in zones or in the lists that CPUs keep. */
static long free_pages(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	char line[256];
	long sum = 0, n;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " nr_free_pages %ld", &n) == 1 ||
		    sscanf(line, " count: %ld", &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

/* All ways that frames are made and freed by, once. */
static void churn(struct __test_metadata *_metadata, struct ep *a, struct ep *b, size_t npages)
{
	struct iovec iov = { .iov_len = 8 * psize };
	struct buf src, dst, back;
	int fds[2];

	test_create(a, npages, &src);
	test_pass(a, b, ZCIPC_COPY, src.cap, &dst);
	test_fill(a, src.p, npages, 1);
	test_drop(b, dst.cap);
	test_pass(a, b, ZCIPC_SHARE, src.cap, &dst);
	test_drop(b, dst.cap);
	ASSERT_EQ(0, pipe(fds));
	iov.iov_base = src.p;
	ASSERT_EQ(iov.iov_len, vmsplice(fds[1], &iov, 1, 0));
	test_pass(a, b, ZCIPC_MOVE, src.cap, &dst);
	close(fds[0]);
	close(fds[1]);
	test_send_part(b, a, ZCIPC_MOVE, dst.cap, npages / 2, npages / 4);
	test_take(a, &back);
	madvise(back.p, back.npages * psize, MADV_DONTNEED);
	test_fill(a, back.p, back.npages, 2);
	test_pass(a, b, ZCIPC_COPY, back.cap, &src);
	test_drop(a, back.cap);
	test_drop(b, dst.cap);
	test_fill(b, src.p, src.npages, 3);
	test_drop(b, src.cap);
}

/* A page that keeps a reference, or a frame that stays in a count, adds up to something. */
TEST_F(memory, all_goes_back)
{
	struct zcipc_stats before, after;
	long npages = 1024, total = 0, start, end;
	unsigned int i;

	test_stats(&self->base.ep, &before);
	churn(_metadata, &self->a, &self->b, npages);
	start = free_pages();
	for (i = 0; i < loops(12); i++) {
		churn(_metadata, &self->a, &self->b, npages);
		total += npages;
	}
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	/* One page in eight, of one kind, would be seen. What the kernel needs meanwhile is not. */
	EXPECT_TRUE(wait_until((end = free_pages()) > start - total / 8))
		TH_LOG("%ld pages of %ld are missing", start - end, total);
}

#define MORE 16

/* G11: the quota is exact, is given back, and follows what is moved. */
TEST_F(memory, quota)
{
	long old = file_number(QUOTA, NULL);
	/* Of 256 pages. What the kernel needs is charged, too: it is less than twice @MORE. */
	size_t half = 256 / 2 - MORE;
	struct buf one, two, three = {}, copy = {};

	if (old < 0 || access(QUOTA, W_OK))
		SKIP(return, "the quota cannot be set");
	quota_set(psize / 4096);
	if (zc_create(&self->a, half, &one) || zc_create(&self->a, half, &two)) {
		quota_set(old);
		ASSERT_EQ(0, errno) TH_LOG("less than the quota can be had");
	}
	EXPECT_EQ(-1, zc_create(&self->a, 2 * MORE, &three));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(-1, zc_send(&self->a, &self->b, ZCIPC_COPY, one.cap));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(-1, zc_send_part(&self->a, &self->b, ZCIPC_COPY, one.cap, 0, 2 * MORE));
	EXPECT_EQ(EDQUOT, errno);
	/* The same user owns it afterwards. */
	EXPECT_EQ(0, zc_pass(&self->a, &self->b, ZCIPC_MOVE, two.cap, &three));
	EXPECT_EQ(0, zc_drop(&self->b, three.cap));
	EXPECT_EQ(0, zc_pass(&self->a, &self->b, ZCIPC_COPY, one.cap, &copy));
	EXPECT_EQ(-1, zc_create(&self->a, 2 * MORE, &three));
	EXPECT_EQ(0, zc_drop(&self->b, copy.cap));
	EXPECT_EQ(0, zc_create(&self->a, half, &three));
	quota_set(old);
}

/* A MOVE of a part needs no room for it twice, and takes its share of the charge along. */
TEST_F(memory, quota_of_parts)
{
	long old = file_number(QUOTA, NULL);
	/* Of 256 pages. What the kernel needs is charged, too: it is less than twice @MORE. */
	size_t half = 256 / 2 - MORE;
	struct buf all = {}, part = {}, next;

	if (old < 0 || access(QUOTA, W_OK))
		SKIP(return, "the quota cannot be set");
	quota_set(psize / 4096);
	EXPECT_EQ(0, zc_create(&self->a, 2 * half, &all));
	EXPECT_EQ(0, zc_send_part(&self->a, &self->b, ZCIPC_MOVE, all.cap, half, half))
		TH_LOG("%s", strerror(errno));
	if (!_metadata->exit_code) {
		EXPECT_EQ(0, zc_take(&self->b, &part));
		EXPECT_EQ(-1, zc_create(&self->a, 2 * MORE, &next));
		EXPECT_EQ(EDQUOT, errno);
		EXPECT_EQ(0, zc_drop(&self->b, part.cap));
		EXPECT_EQ(0, zc_create(&self->a, half, &next));
		EXPECT_EQ(-1, zc_create(&self->a, 2 * MORE, &next));
		EXPECT_EQ(EDQUOT, errno);
	}
	quota_set(old);
}

/* --- memory that is used again */

FIXTURE(recycle)
{
	struct base base;
	struct ep a, b;
	size_t n;
};

FIXTURE_VARIANT(recycle)
{
	size_t npages;
};

FIXTURE_VARIANT_ADD(recycle, small) { .npages = 8 };
FIXTURE_VARIANT_ADD(recycle, huge) { .npages = 512 };

FIXTURE_SETUP(recycle)
{
	struct buf b;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, false, WINDOW_PAGES);
	self->n = variant->npages;
	/* From now on it is kept. */
	test_create_flags(&self->a, 1, ZCIPC_CREATE_RECYCLED, &b);
	test_create_flags(&self->b, 1, ZCIPC_CREATE_RECYCLED, &b);
}

FIXTURE_TEARDOWN_BASE(recycle)

/* Is memory that an endpoint gets what was filled with @seed before? */
static bool comes_back(struct __test_metadata *_metadata, struct ep *ep, size_t n, __u64 seed)
{
	struct buf b;
	__u64 val;

	TEST_OK(zc_create_flags(ep, n, ZCIPC_CREATE_RECYCLED, &b));
	EXPECT_EQ(0, ep_read(ep, b.p + (n - 1) * psize, &val));
	TEST_OK(zc_drop(ep, b.cap));
	return val == pattern(seed, n - 1, 0);
}

/* G1, G8: what was dropped comes back as it was, as another region; and only if that is wanted. */
TEST_F(recycle, comes_back_as_it_was)
{
	struct zcipc_stats before, kept, after;
	struct zcipc_region_query q;
	struct buf one, two, other;

	test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED, &one);
	test_check(&self->a, one.p, self->n, 0);
	test_fill(&self->a, one.p, self->n, 1);
	test_stats(&self->base.ep, &before);
	test_drop(&self->a, one.cap);
	test_stats(&self->base.ep, &kept);
	EXPECT_EQ(before.frames - self->n, kept.frames);
	EXPECT_EQ(before.regions - 1, kept.regions);
	EXPECT_EQ(owned(&before), owned(&kept));
	/* Not for who does not want it, nor for another endpoint, nor where the size differs. */
	test_create(&self->a, self->n, &other);
	test_check(&self->a, other.p, self->n, 0);
	test_drop(&self->a, other.cap);
	test_create_flags(&self->a, self->n - 1, ZCIPC_CREATE_RECYCLED, &other);
	test_check(&self->a, other.p, self->n - 1, 0);
	test_create_flags(&self->b, self->n, ZCIPC_CREATE_RECYCLED, &other);
	test_check(&self->b, other.p, self->n, 0);
	/* That came last, so it is the first to be used. */
	test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED, &other);
	test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED, &two);
	test_check(&self->a, other.p, self->n, 0);
	test_check(&self->a, two.p, self->n, 1);
	ASSERT_NE(one.region, two.region);
	ASSERT_NE(one.cap, two.cap);
	test_err_query(ESTALE, &self->a, one.cap, &q);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before) + 3 * self->n - 1, owned(&after));
	EXPECT_EQ(before.frames + 3 * self->n - 1, after.frames);
}

/* G2, G6: what others have, or hold, or what is not all there, is not used again. */
TEST_F(recycle, not_alone)
{
	struct iovec iov = { .iov_len = psize };
	struct buf one, dst, part;
	int fds[2];

	/* What a peer maps. */
	test_create(&self->a, self->n, &one);
	test_fill(&self->a, one.p, self->n, 2);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, one.cap, &dst);
	test_drop(&self->a, one.cap);
	EXPECT_FALSE(comes_back(_metadata, &self->a, self->n, 2));
	test_check(&self->b, dst.p, self->n, 2);
	test_drop(&self->b, dst.cap);
	EXPECT_TRUE(comes_back(_metadata, &self->b, self->n, 2));
	/* What a snapshot has. */
	test_create(&self->a, self->n, &one);
	test_fill(&self->a, one.p, self->n, 3);
	test_pass(&self->a, &self->b, ZCIPC_COPY, one.cap, &dst);
	test_drop(&self->a, one.cap);
	EXPECT_FALSE(comes_back(_metadata, &self->a, self->n, 3));
	test_check(&self->b, dst.p, self->n, 3);
	test_drop(&self->b, dst.cap);
	/* What somebody holds. */
	test_create(&self->a, self->n, &one);
	test_fill(&self->a, one.p, self->n, 4);
	ASSERT_EQ(0, pipe(fds));
	iov.iov_base = one.p + psize;
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	test_drop(&self->a, one.cap);
	EXPECT_FALSE(comes_back(_metadata, &self->a, self->n, 4));
	close(fds[0]);
	close(fds[1]);
	/* What has been moved away in part. */
	test_create(&self->a, self->n, &one);
	test_fill(&self->a, one.p, self->n, 5);
	test_send_part(&self->a, &self->b, ZCIPC_MOVE, one.cap, 0, 1);
	test_take(&self->b, &part);
	test_drop(&self->a, one.cap);
	EXPECT_FALSE(comes_back(_metadata, &self->a, self->n, 5));
	/* What the endpoint could not see all of. */
	test_create(&self->a, self->n, &one);
	test_fill(&self->a, one.p, self->n, 6);
	test_give_part(&self->a, &self->b, one.cap, 0, 1, ZCIPC_RIGHT_READ, &part);
	test_drop(&self->a, one.cap);
	test_drop(&self->b, part.cap);
	EXPECT_FALSE(comes_back(_metadata, &self->b, self->n, 6));
}

/* G8: room for it is room for others. */
TEST_F(recycle, is_room_for_others)
{
	long old = file_number(QUOTA, NULL);
	struct zcipc_stats before, after;
	struct buf one, two = {};
	int rc;

	test_create(&self->a, self->n, &one);
	test_fill(&self->a, one.p, self->n, 1);
	test_stats(&self->base.ep, &before);
	test_drop(&self->a, one.cap);
	/* The machine wants it. */
	file_write("/proc/sys/vm/drop_caches", "2");
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before) - self->n, owned(&after));
	EXPECT_FALSE(comes_back(_metadata, &self->a, self->n, 1));
	/* The user does, of 768 pages. */
	if (old < 0 || access(QUOTA, W_OK))
		SKIP(return, "the quota cannot be set");
	test_create(&self->a, self->n, &one);
	test_drop(&self->a, one.cap);
	quota_set(3 * psize / 4096);
	/* More than there would be without what is kept. */
	rc = zc_create(&self->b, 768 - 1, &two);
	EXPECT_EQ(-1, rc);
	EXPECT_EQ(EDQUOT, errno);
	quota_set(old);
	test_create(&self->a, self->n, &one);
	test_drop(&self->a, one.cap);
	quota_set(3 * psize / 4096);
	rc = zc_create(&self->b, 768 - MORE, &two);
	quota_set(old);
	ASSERT_EQ(0, rc);
	test_stats(&self->base.ep, &after);
	/* Of larger pages the kernel needs fewer: then a little that is kept has room beside it. */
	EXPECT_EQ(768 - MORE + 2 + (psize > 4096 && self->n < MORE ? self->n : 0), owned(&after));
}

/*
 * G11: nor is it room for more than that. So many are freed in several parts, as one thing after
 * the other is charged: each time there still has to be room.
 */
TEST_F(recycle, no_more_room)
{
	long old = file_number(QUOTA, NULL);
	static struct buf kept[300];
	struct buf two = {};
	int rc, err;
	size_t i;

	if (self->n > 8)
		SKIP(return, "one variant is enough");
	if (old < 0 || access(QUOTA, W_OK))
		SKIP(return, "the quota cannot be set");
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		test_create(&self->a, 1, &kept[i]);
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		test_drop(&self->a, kept[i].cap);
	quota_set(3 * psize / 4096);
	rc = zc_create(&self->b, 768 - 1, &two);
	err = errno;
	quota_set(old);
	EXPECT_EQ(-1, rc);
	EXPECT_EQ(EDQUOT, err);
}

/*
 * Core mm counts references in an int, PTEs among them: before that overflows there are no more
 * PTEs of a page. Those that there are stay, and so does what the memory is for others.
 */
TEST_F(memory, mapped_too_often)
{
	static const unsigned int flags[] = { ZCIPC_CREATE_NO_HUGE, 0 };
	const char *path = POINT_PARAMETER "max_refs";
	unsigned int i, k, mapped, lots = 100;
	char *p[150];
	struct buf src, got;
	char old[24];
	__u64 val;

	if (access(path, W_OK))
		SKIP(return, "the module is not built for tests");
	snprintf(old, sizeof(old), "%ld", file_number(path, NULL));
	for (k = 0; k < ARRAY_SIZE(flags); k++) {
		test_create_flags(&self->a, HUGE_PAGES, flags[k], &src);
		test_fill(&self->a, src.p, HUGE_PAGES, 1);
		file_write(path, "50");
		mapped = 0;
		memset(p, 0, sizeof(p));
		for (i = 0; i < lots; i++) {
			if (zc_map(&self->a, src.cap, 1, 1, RIGHTS_RW, &p[i]))
				break;
			if (!touch_read(p[i], &val))
				mapped++;
		}
		EXPECT_EQ(lots, i);
		EXPECT_LT(40, mapped);
		EXPECT_GT(60, mapped);
		/* Neither read nor written where it is not mapped; both where it is. */
		EXPECT_EQ(SIGBUS, touch_write(p[lots - 1], 1));
		EXPECT_EQ(0, touch_write(p[0] + 8, 2));
		/* The others are all there, where it was mapped first. */
		EXPECT_EQ(0, ep_check(&self->a, src.p, 1, 1));
		EXPECT_EQ(0, touch_read(src.p + psize, &val));
		/* What one gives up another can have. */
		EXPECT_EQ(0, zc_unmap(&self->a, p[0]));
		EXPECT_EQ(0, zc_unmap(&self->a, p[1]));
		EXPECT_EQ(0, touch_read(p[lots - 1], &val));
		EXPECT_EQ(0, touch_read(p[lots - 2], &val));
		EXPECT_EQ(SIGBUS, touch_read(p[lots - 3], &val));
		/* It can be moved away, and is what it was. */
		file_write(path, old);
		EXPECT_EQ(0, touch_read(p[lots - 3], &val));
		test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &got);
		EXPECT_EQ(HUGE_PAGES, got.npages);
		test_drop(&self->b, got.cap);
	}
}

/* --- memory cgroups */

#define CGROUPS "/sys/fs/cgroup/"
#define CGROUP_PAGES 2048

/* In the peer: all that it allocates from now on is charged to another cgroup. */
static long call_cgroup(struct ep *ep, struct call *c)
{
	char path[80];

	(void)ep;
	snprintf(path, sizeof(path), CGROUPS "zcipc%d/cgroup.procs", (int)c->n);
	file_write(path, "0");
	return 0;
}

/* Are so many pages charged to it, but for page tables and the like? */
static bool cgroup_has(int i, size_t npages)
{
	char path[80];
	long charged;

	snprintf(path, sizeof(path), CGROUPS "zcipc%d/memory.current", i);
	charged = file_number(path, NULL) - (long)(npages * psize);
	return labs(charged) < 256 * (long)psize;
}

/*
 * A page stays charged to the cgroup of whoever allocated it, wherever it is moved; copies are
 * charged to who makes them, or makes them necessary. No kernel lets a module change that. What a
 * receiver's cgroup is to pay for the receiver makes itself.
 */
TEST_F(memory, cgroup_of_its_maker)
{
	static const unsigned int flags[] = { 0, ZCIPC_CREATE_NO_HUGE };
	struct call c = { .fn = call_cgroup };
	char path[2][40];
	struct ep p[2];
	struct buf src, got;
	size_t k;
	int i;

	if (access(CGROUPS "cgroup.subtree_control", W_OK))
		SKIP(return, "there are no cgroups of version 2, or they are not ours");
	file_write(CGROUPS "cgroup.subtree_control", "+memory");
	for (i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), CGROUPS "zcipc%d", i);
		ASSERT_TRUE(!mkdir(path[i], 0700) || errno == EEXIST);
		c.n = i;
		TEST_OK(peer_fork(&p[i]));
		TEST_OK(ep_call(&p[i], &c));
		TEST_OK(peer_open(&p[i], 4 * CGROUP_PAGES, 0));
	}
	if (access(CGROUPS "zcipc0/memory.current", R_OK))
		SKIP(return, "cgroups of version 2 have no memory");
	for (k = 0; k < ARRAY_SIZE(flags); k++) {
		EXPECT_TRUE(wait_until(cgroup_has(0, 0) && cgroup_has(1, 0)));
		test_create_flags(&p[0], CGROUP_PAGES, flags[k], &src);
		test_fill(&p[0], src.p, CGROUP_PAGES, 1);
		EXPECT_TRUE(cgroup_has(0, CGROUP_PAGES));
		test_pass(&p[0], &p[1], ZCIPC_MOVE, src.cap, &got);
		test_check(&p[1], got.p, CGROUP_PAGES, 1);
		EXPECT_TRUE(cgroup_has(0, CGROUP_PAGES));
		EXPECT_TRUE(cgroup_has(1, 0));
		/* The other one fills it, and gives it back to who pays. */
		test_fill(&p[1], got.p, CGROUP_PAGES, 2);
		test_pass(&p[1], &p[0], ZCIPC_MOVE, got.cap, &src);
		test_check(&p[0], src.p, CGROUP_PAGES, 2);
		EXPECT_TRUE(cgroup_has(0, CGROUP_PAGES));
		EXPECT_TRUE(cgroup_has(1, 0));
		/* Who has a snapshot pays for nothing until he writes to it. */
		test_pass(&p[0], &p[1], ZCIPC_COPY, src.cap, &got);
		EXPECT_TRUE(cgroup_has(1, 0));
		test_fill(&p[1], got.p, CGROUP_PAGES, 3);
		EXPECT_TRUE(cgroup_has(0, CGROUP_PAGES));
		EXPECT_TRUE(cgroup_has(1, CGROUP_PAGES));
		test_drop(&p[1], got.cap);
		test_drop(&p[0], src.cap);
	}
	EXPECT_TRUE(wait_until(cgroup_has(0, 0) && cgroup_has(1, 0)));
	for (i = 0; i < 2; i++) {
		ep_end(&p[i]);
		EXPECT_TRUE(wait_until(!rmdir(path[i])));
	}
}

TEST_HARNESS_MAIN

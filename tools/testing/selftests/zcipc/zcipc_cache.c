// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cache policies: write-combining and uncached memory, in windows of its own.
 *
 * Covered: all mappings of a page have the same attributes, the kernel's own included, after each
 * kind of transfer, and executable; what a transfer changes, and when it must not; who has a
 * snapshot or holds pages meanwhile; the memory is zero, also from the pool; what a pool has for
 * whom; the kernel's own mapping stays in large pages, and what leaves a pool is write-back again.
 *
 * The attributes are read from page tables, by a module that is built for tests.
 */
#include "zcipc_utils.h"

#define N 4
#define PTE_PARAMETER	"/sys/module/zcipc/parameters/test_pte"
#define POOL_PARAMETER	"/sys/module/zcipc/parameters/pool_mib"
#define NOBODY		65534

/* x86: PWT, which stands for write-combining, and PCD. */
static const long attributes[] = {
	[ZCIPC_CACHE_DEFAULT] = 0,
	[ZCIPC_CACHE_STREAMING] = 0x8,
	[ZCIPC_CACHE_UNCACHED] = 0x10,
};

FIXTURE(cache)
{
	struct base base;
	struct ep a, b;
	long pool_mib;
};

FIXTURE_VARIANT(cache)
{
	__u32 cache;
	__u64 feature;
};

FIXTURE_VARIANT_ADD(cache, streaming) {
	.cache = ZCIPC_CACHE_STREAMING, .feature = ZCIPC_FEATURE_STREAMING,
};

FIXTURE_VARIANT_ADD(cache, uncached) {
	.cache = ZCIPC_CACHE_UNCACHED, .feature = ZCIPC_FEATURE_UNCACHED,
};

/* Windows of this process: an endpoint lives as long as one of them does. */
static struct window {
	void *p;
	size_t len;
} windows[8];

static unsigned int nwindows;

/* A window for a policy. */
static long call_window(struct ep *ep, struct call *c)
{
	void *p = mmap(NULL, c->n * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd,
		       ZCIPC_WINDOW_OFFSET(c->val));

	if (p == MAP_FAILED)
		return -1;
	windows[nwindows++] = (struct window){ p, c->n * psize };
	return 0;
}

static int ep_window(struct ep *ep, __u32 cache, size_t npages)
{
	struct call c = { .fn = call_window, .n = npages, .val = cache };

	return ep_call(ep, &c);
}

FIXTURE_SETUP(cache)
{
	struct zcipc_info info = { .size = sizeof(info) };
	__u32 cache;

	base_setup(_metadata, &self->base);
	self->pool_mib = file_number(POOL_PARAMETER, NULL);
	TEST_OK(zc_ioctl(&self->base.ep, ZCIPC_IOC_INFO, &info));
	if (!(info.features & variant->feature))
		SKIP(_exit(KSFT_SKIP), "the machine does not have this policy");
	test_open(&self->a, 256, 0);
	test_start(&self->b, true, 256);
	for (cache = ZCIPC_CACHE_STREAMING; cache <= ZCIPC_CACHE_UNCACHED; cache++) {
		if (!(info.features >> (cache - ZCIPC_CACHE_STREAMING) & 1))
			continue;
		TEST_OK(ep_window(&self->a, cache, 256));
		TEST_OK(ep_window(&self->b, cache, 256));
	}
}

static void pool_set(long mib)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", mib);
	file_write(POOL_PARAMETER, text);
}

FIXTURE_TEARDOWN(cache)
{
	if (self->pool_mib >= 0)
		pool_set(self->pool_mib);
	while (nwindows--)
		munmap(windows[nwindows].p, windows[nwindows].len);
	base_teardown(_metadata, &self->base);
}

#define need_pte()							\
do {									\
	if (access(PTE_PARAMETER, W_OK))				\
		SKIP(return, "the module is built without test_pte");	\
} while (0)

/* Page frame and bits of an address, or of the last one again if it is 0. */
static long call_pte(struct ep *ep, struct call *c)
{
	int fd = open(PTE_PARAMETER, O_RDWR | O_CLOEXEC);
	char text[64] = "";
	int rc = -1;
	ssize_t n;

	(void)ep;
	if (fd < 0)
		return -1;
	n = snprintf(text, sizeof(text), "%#llx", (unsigned long long)c->addr);
	if (write(fd, text, n) == n && lseek(fd, 0, SEEK_SET) == 0) {
		memset(text, 0, sizeof(text));
		if (read(fd, text, sizeof(text) - 1) > 0 &&
		    sscanf(text, "%llx %llx %llx", (unsigned long long *)&c->n,
			   (unsigned long long *)&c->val, (unsigned long long *)&c->val2) == 3)
			rc = 0;
	}
	close(fd);
	return rc;
}

/* 0: user and kernel map all pages in the way that the policy wants. */
static long call_check_bits(struct ep *ep, struct call *c)
{
	long want = attributes[c->val];
	struct call pte;
	__u64 i, val;

	for (i = 0; i < c->n; i++) {
		pte = (struct call){ .addr = c->addr + i * psize };
		if (touch_read((char *)(uintptr_t)pte.addr, &val) || call_pte(ep, &pte)) {
			fprintf(stderr, "# page %llu: %s\n", (unsigned long long)i,
				strerror(errno));
			return -1;
		}
		if ((long)pte.val != want || (long)pte.val2 != want) {
			fprintf(stderr, "# page %llu: user %#llx kernel %#llx, not %#lx\n",
				(unsigned long long)i, (unsigned long long)pte.val,
				(unsigned long long)pte.val2, want);
			return -1;
		}
	}
	return 0;
}

static int check_bits(struct ep *ep, const char *p, size_t npages, __u32 cache)
{
	struct call c = { .fn = call_check_bits, .addr = (uintptr_t)p, .n = npages, .val = cache };

	return ep_call(ep, &c);
}

#define test_bits(...)	ASSERT_EQ(0, check_bits(__VA_ARGS__))

/* The kernel's bits of the page that was looked at last; -1 if it does not map it. */
static long kernel_bits(void)
{
	struct ep here = { .sock = -1 };
	struct call c = { .fn = call_pte };

	return call_pte(&here, &c) ? -1 : (long)c.val2;
}

/* A kernel that unmaps what is free has nothing that could be wrong. */
#define wait_restored()	wait_until(kernel_bits() <= 0)

static int create_cache(struct ep *ep, __u32 cache, size_t npages, __u32 flags, struct buf *b)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = flags, .len = npages * psize, .cache = cache,
		.node = ZCIPC_NODE_ANY,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_CREATE, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = npages,
				   .p = (char *)(uintptr_t)cmd.addr };
	return rc;
}

#define test_create_cache(...)	TEST_OK(create_cache(__VA_ARGS__))

static int send_cache(struct ep *from, struct ep *to, __u32 type, __u64 cap, size_t first,
		      size_t npages, __u32 cache)
{
	struct zcipc_transfer t = transfer_cmd(to, type, cap, first, npages,
					       type == ZCIPC_SHARE ? RIGHTS_ALL : 0);

	t.cache = cache;
	return zc_transfer(from, &t);
}

static void test_policy_is(struct __test_metadata *_metadata, struct ep *ep, __u64 cap, __u32 cache)
{
	struct zcipc_region_query q;

	test_query(ep, cap, &q);
	ASSERT_EQ(cache, q.cache);
}

/* What a transfer asks for to get a policy. */
static __u32 wish(__u32 cache)
{
	return cache == ZCIPC_CACHE_DEFAULT ? ZCIPC_CACHE_WRITEBACK : cache;
}

/* User's and kernel's bits agree, on every page. */
TEST_F(cache, attributes)
{
	struct buf src, part;
	char *second;

	need_pte();
	test_create_cache(&self->a, variant->cache, 100, ZCIPC_CREATE_MAP, &src);
	test_check(&self->a, src.p, 100, 0);
	test_bits(&self->a, src.p, 100, variant->cache);
	test_fill(&self->a, src.p, 100, 1);
	test_check(&self->a, src.p, 100, 1);
	/* Also what faults bring, and another mapping. */
	ASSERT_EQ(0, madvise(src.p, 100 * psize, MADV_DONTNEED));
	test_check(&self->a, src.p, 100, 1);
	test_bits(&self->a, src.p, 100, variant->cache);
	test_map(&self->a, src.cap, 10, 20, RIGHTS_RW, &second);
	test_bits(&self->a, second, 20, variant->cache);
	test_check_from(&self->a, second, 10, 20, 1);
	test_policy_is(_metadata, &self->a, src.cap, variant->cache);
	/* Memory of other regions is write-back all the time. */
	test_create(&self->a, N, &part);
	test_bits(&self->a, part.p, N, ZCIPC_CACHE_DEFAULT);
	test_policy_is(_metadata, &self->a, part.cap, ZCIPC_CACHE_DEFAULT);
}

/* A region has a place in the window for its policy only. */
TEST_F(cache, windows)
{
	struct zcipc_region_query q;
	struct buf src, got;
	struct ep c;
	char *p;

	test_open(&c, 64, 0);
	TEST_ERR(ENOBUFS, create_cache(&c, variant->cache, 1, ZCIPC_CREATE_MAP, &src));
	test_create_cache(&c, variant->cache, 1, 0, &src);
	test_query(&c, src.cap, &q);
	EXPECT_EQ(variant->cache, q.cache);
	EXPECT_EQ(0, q.maps);
	test_err_map(ENOBUFS, &c, src.cap, 0, 0, RIGHTS_RW, &p);
	test_pass(&c, &self->a, ZCIPC_COPY, src.cap, &got);
	test_check(&self->a, got.p, 1, 0);
	test_err_send(ENOBUFS, &self->a, &c, ZCIPC_MOVE, got.cap);
	TEST_OK(ep_window(&c, variant->cache, 4));
	TEST_ERR(EBUSY, ep_window(&c, variant->cache, 4));
	test_map(&c, src.cap, 0, 0, RIGHTS_RW, &p);
	test_check(&c, p, 1, 0);
	TEST_ERR(ENOBUFS, create_cache(&c, variant->cache, 5, ZCIPC_CREATE_MAP, &src));
	TEST_ERR(EAGAIN, create_cache(&c, variant->cache, 4, ZCIPC_CREATE_MAP, &src));
	TEST_ERR(EOPNOTSUPP, create_cache(&c, ZCIPC_CACHE_WRITETHROUGH, 1, 0, &src));
	TEST_ERR(EINVAL, create_cache(&c, ZCIPC_CACHE_WRITEBACK, 1, 0, &src));
	TEST_ERR(EINVAL, create_cache(&c, 5, 1, 0, &src));
	ASSERT_EQ(-1, ep_window(&c, ZCIPC_CACHE_WRITETHROUGH, 4));
	TEST_ERR(EOPNOTSUPP, send_cache(&self->a, &self->b, ZCIPC_MOVE, got.cap, 0, 0,
					ZCIPC_CACHE_WRITETHROUGH));
	TEST_ERR(EINVAL, send_cache(&self->a, &self->b, ZCIPC_MOVE, got.cap, 0, 0, 5));
	test_check(&self->a, got.p, 1, 0);
}

/* Transfers keep the policy, and so do both sides of a snapshot, which is a copy. */
TEST_F(cache, kept)
{
	struct zcipc_transfer t;
	struct zcipc_stats before, after;
	struct buf src, got, shared, copy, part;

	need_pte();
	test_create_cache(&self->a, variant->cache, N, ZCIPC_CREATE_MAP, &src);
	test_fill(&self->a, src.p, N, 1);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &got);
	test_gone(&self->a, src.p, N);
	test_check(&self->b, got.p, N, 1);
	test_bits(&self->b, got.p, N, variant->cache);
	test_policy_is(_metadata, &self->b, got.cap, variant->cache);
	test_pass(&self->b, &self->a, ZCIPC_SHARE, got.cap, &shared);
	test_bits(&self->a, shared.p, N, variant->cache);
	test_stats(&self->base.ep, &before);
	t = transfer_cmd(&self->a, ZCIPC_COPY, got.cap, 0, 0, 0);
	test_transfer(&self->b, &t);
	EXPECT_EQ(N * psize, t.copied);
	EXPECT_EQ(0, t.pages);
	test_take(&self->a, &copy);
	test_bits(&self->a, copy.p, N, variant->cache);
	test_bits(&self->b, got.p, N, variant->cache);
	test_policy_is(_metadata, &self->a, copy.cap, variant->cache);
	test_fill(&self->a, copy.p, 2, 2);
	test_fill(&self->b, got.p + 2 * psize, 2, 3);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_cache + N * psize, after.copied_cache);
	EXPECT_EQ(before.copied_write, after.copied_write);
	EXPECT_EQ(before.copied_auto, after.copied_auto);
	test_bits(&self->a, copy.p, N, variant->cache);
	test_bits(&self->b, got.p, N, variant->cache);
	test_bits(&self->a, shared.p, N, variant->cache);
	test_check(&self->a, copy.p, 2, 2);
	test_check_from(&self->a, copy.p + 2 * psize, 2, 2, 1);
	test_check(&self->a, shared.p, 2, 1);
	test_check(&self->a, shared.p + 2 * psize, 2, 3);
	/* A part, asked for as it is. */
	TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, copy.cap, 1, 2, variant->cache));
	test_take(&self->b, &part);
	test_bits(&self->b, part.p, 2, variant->cache);
	test_policy_is(_metadata, &self->b, part.cap, variant->cache);
}

#define CHANGED 24

/* The whole way round: each policy to each other one, whole, in part, and shared. */
TEST_F(cache, changed)
{
	static const __u32 others[] = {
		ZCIPC_CACHE_DEFAULT, ZCIPC_CACHE_STREAMING, ZCIPC_CACHE_UNCACHED,
	};
	struct zcipc_info info = { .size = sizeof(info) };
	struct buf src, got, part;
	unsigned int i, way;
	char *p;

	need_pte();
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	for (i = 0; i < 2 * ARRAY_SIZE(others); i++) {
		__u32 from = i & 1 ? others[i / 2] : variant->cache;
		__u32 to = i & 1 ? variant->cache : others[i / 2];

		if (others[i / 2] && !(info.features >> (others[i / 2] - 1) & 1))
			continue;
		for (way = 0; way < 5; way++) {
			/* To be shared by another policy it must not be mapped. */
			test_create_cache(&self->a, from, CHANGED, 0, &src);
			if (way < 2 || way == 4) {
				test_map(&self->a, src.cap, 0, 0, RIGHTS_RW, &src.p);
				test_fill(&self->a, src.p, CHANGED, 1);
			}
			if (way == 0) {
				TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, src.cap, 0, 0,
						   wish(to)));
				test_take(&self->b, &got);
				test_check(&self->b, got.p, CHANGED, 1);
				test_bits(&self->b, got.p, CHANGED, to);
				test_policy_is(_metadata, &self->b, got.cap, to);
				ASSERT_EQ(src.region, got.region);
				test_fill(&self->b, got.p, CHANGED, 2);
				test_check(&self->b, got.p, CHANGED, 2);
				test_drop(&self->b, got.cap);
				continue;
			}
			if (way == 1) {
				TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, src.cap, 4,
						   CHANGED - 8, wish(to)));
				test_take(&self->b, &part);
				test_check_from(&self->b, part.p, 4, CHANGED - 8, 1);
				test_bits(&self->b, part.p, CHANGED - 8, to);
				test_bits(&self->a, src.p, 4, from);
				test_bits(&self->a, src.p + (CHANGED - 4) * psize, 4, from);
				test_policy_is(_metadata, &self->a, src.cap, from);
				test_drop(&self->b, part.cap);
				test_drop(&self->a, src.cap);
				continue;
			}
			if (way == 4) {
				/* What a snapshot has is another matter. */
				TEST_OK(send_cache(&self->a, &self->b, ZCIPC_COPY, src.cap, 2, 9,
						   wish(to)));
				test_take(&self->b, &part);
				test_bits(&self->b, part.p, 9, to);
				test_bits(&self->a, src.p, CHANGED, from);
				test_fill(&self->a, src.p, CHANGED, 2);
				test_check_from(&self->b, part.p, 2, 9, 1);
				test_fill(&self->b, part.p, 9, 3);
				test_check(&self->a, src.p, CHANGED, 2);
				test_policy_is(_metadata, &self->b, part.cap, to);
				test_drop(&self->b, part.cap);
				test_drop(&self->a, src.cap);
				continue;
			}
			/* A part is shared, and the whole region changes. */
			TEST_OK(send_cache(&self->a, &self->b, ZCIPC_SHARE, src.cap,
					   way == 2 ? 0 : 1, way == 2 ? 0 : 3, wish(to)));
			test_take(&self->b, &got);
			test_bits(&self->b, got.p, way == 2 ? CHANGED : 3, to);
			test_policy_is(_metadata, &self->a, src.cap, to);
			test_map(&self->a, src.cap, 0, 0, RIGHTS_RW, &p);
			test_check(&self->a, p, CHANGED, 0);
			test_bits(&self->a, p, CHANGED, to);
			test_fill(&self->b, got.p, 3, 3);
			test_check(&self->a, p + (way == 2 ? 0 : psize), 3, 3);
			test_drop(&self->b, got.cap);
			test_drop(&self->a, src.cap);
		}
	}
}

/* Not while anybody else may map it, and then nothing has changed. */
TEST_F(cache, busy)
{
	const __u32 to = ZCIPC_CACHE_WRITEBACK;
	struct zcipc_stats before, after;
	struct buf src, got = {};
	__u32 type;
	bool other;

	need_pte();
	for (other = false;; other = true) {
		test_create_cache(&self->a, variant->cache, N, ZCIPC_CREATE_MAP, &src);
		test_fill(&self->a, src.p, N, 1);
		/* The caller itself has mapped it, or the peer has. */
		type = other ? ZCIPC_MOVE : ZCIPC_SHARE;
		if (other)
			test_pass(&self->a, &self->b, ZCIPC_SHARE, src.cap, &got);
		test_stats(&self->base.ep, &before);
		TEST_ERR(EBUSY, send_cache(&self->a, &self->b, type, src.cap, 0, 0, to));
		TEST_ERR(EBUSY, send_cache(&self->a, &self->b, type, src.cap, 1, 2, to));
		test_stats(&self->base.ep, &after);
		ASSERT_TRUE(same_live(&before, &after));
		ASSERT_EQ(owned(&before), owned(&after));
		test_policy_is(_metadata, &self->a, src.cap, variant->cache);
		test_check(&self->a, src.p, N, 1);
		test_bits(&self->a, src.p, N, variant->cache);
		if (other) {
			test_check(&self->b, got.p, N, 1);
			test_bits(&self->b, got.p, N, variant->cache);
			test_drop(&self->b, got.cap);
		}
		test_fill(&self->a, src.p, N, 2);
		/* After that it can be. */
		TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, src.cap, 0, 0, to));
		test_take(&self->b, &got);
		test_check(&self->b, got.p, N, 2);
		test_bits(&self->b, got.p, N, ZCIPC_CACHE_DEFAULT);
		test_drop(&self->b, got.cap);
		if (other)
			break;
	}
}

/* Who has a snapshot, or holds a page, keeps what he has; but what is held cannot be shared so. */
TEST_F(cache, others_keep_theirs)
{
	char *text = malloc(psize);
	struct buf src, copy, got;
	struct iovec iov;
	int fds[2];

	need_pte();
	test_create(&self->a, N, &src);
	test_fill(&self->a, src.p, N, 1);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &copy);
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ src.p + psize, psize };
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
	/* To be shared it must not be mapped: with one's own capability alone. */
	test_unmap(&self->a, src.p);
	TEST_OK(send_cache(&self->a, &self->b, ZCIPC_SHARE, src.cap, 0, 0, variant->cache));
	test_take(&self->b, &got);
	test_check(&self->b, got.p, N, 1);
	test_bits(&self->b, got.p, N, variant->cache);
	test_fill(&self->b, got.p, N, 2);
	test_check(&self->b, copy.p, N, 1);
	test_bits(&self->b, copy.p, N, ZCIPC_CACHE_DEFAULT);
	ASSERT_EQ((ssize_t)psize, read(fds[0], text, psize));
	ASSERT_EQ(0, check(text, 1, 1, 1));
	test_drop(&self->b, got.cap);
	test_drop(&self->b, copy.cap);
	test_drop(&self->a, src.cap);
	/* Nobody else has it: who holds it may write to it. */
	test_create(&self->a, N, &src);
	test_fill(&self->a, src.p, N, 3);
	iov = (struct iovec){ src.p + psize, psize };
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
	test_unmap(&self->a, src.p);
	TEST_ERR(EBUSY, send_cache(&self->a, &self->b, ZCIPC_SHARE, src.cap, 0, 0,
				   variant->cache));
	test_policy_is(_metadata, &self->a, src.cap, ZCIPC_CACHE_DEFAULT);
	TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, src.cap, 0, 0, variant->cache));
	test_take(&self->b, &got);
	test_check(&self->b, got.p, N, 3);
	test_fill(&self->b, got.p, N, 4);
	ASSERT_EQ((ssize_t)psize, read(fds[0], text, psize));
	ASSERT_EQ(0, check(text, 1, 1, 3));
	close(fds[0]);
	close(fds[1]);
	free(text);
}

/* By its address, in parts of pages too: what comes of it is write-back, like any other copy. */
TEST_F(cache, copied_from_memory)
{
	static const struct { size_t skip, len; } ranges[] = {
		{ 0, 3 }, { 104, 3 }, { 0, 2 }, { 4000, 1 },
	};
	struct zcipc_transfer t;
	struct buf src, again;
	struct zcipc_recv m;
	size_t i, len;
	char *p;

	test_create_cache(&self->a, variant->cache, N, ZCIPC_CREATE_MAP, &src);
	test_fill(&self->a, src.p, N, 1);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		len = ranges[i].len * psize + (i > 1 ? 200 : 0);
		t = transfer_cmd(&self->a, ZCIPC_COPY, 0, 0, 0, 0);
		t.flags = ZCIPC_F_FROM_MEMORY | ZCIPC_F_ANY_ALIGN;
		t.offset = (uintptr_t)src.p + ranges[i].skip;
		t.len = len;
		test_transfer(&self->a, &t);
		EXPECT_EQ(0, t.pages);
		test_recv(&self->a, &m);
		EXPECT_EQ(len, m.len);
		p = (char *)(uintptr_t)m.addr;
		EXPECT_EQ(0, memcmp(p, src.p + ranges[i].skip, len));
		test_policy_is(_metadata, &self->a, m.cap, ZCIPC_CACHE_DEFAULT);
		test_pass(&self->a, &self->b, ZCIPC_COPY, m.cap, &again);
		test_drop(&self->b, again.cap);
		test_drop(&self->a, m.cap);
	}
}

/* What is from a pool nobody can hold: it goes back there. */
TEST_F(cache, cannot_be_held)
{
	char *text = malloc(psize);
	struct buf src, got;
	struct iovec iov;
	int fds[2], mem;

	test_create_cache(&self->a, variant->cache, N, ZCIPC_CREATE_MAP, &src);
	test_fill(&self->a, src.p, N, 1);
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ src.p, psize };
	EXPECT_EQ(-1, vmsplice(fds[1], &iov, 1, 0));
	/* A debugger copies. */
	mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ((ssize_t)psize, pread(mem, text, psize, (uintptr_t)src.p + psize));
	EXPECT_EQ(0, check(text, 1, 1, 1));
	close(mem);
	free(text);
	/* It can again when it is ordinary memory. */
	TEST_OK(send_cache(&self->a, &self->a, ZCIPC_MOVE, src.cap, 0, 0, ZCIPC_CACHE_WRITEBACK));
	test_take(&self->a, &got);
	iov = (struct iovec){ got.p, psize };
	EXPECT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
	close(fds[0]);
	close(fds[1]);
}

/* Code has the attributes as well. */
TEST_F(cache, executable)
{
	struct buf src;
	char *offset, *p;

	need_pte();
	test_create_cache(&self->a, variant->cache, N, ZCIPC_CREATE_MAP, &src);
	test_fill(&self->a, src.p, N, 1);
	test_map(&self->a, src.cap, 0, 0, ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC, &offset);
	p = mmap(NULL, N * psize, PROT_READ | PROT_EXEC, MAP_SHARED, self->a.fd,
		 (uintptr_t)offset);
	ASSERT_NE(MAP_FAILED, p);
	test_check(&self->a, p, N, 1);
	test_bits(&self->a, p, N, variant->cache);
	/* So it must not change, though it is in no window. */
	test_unmap(&self->a, src.p);
	TEST_ERR(EBUSY, send_cache(&self->a, &self->b, ZCIPC_SHARE, src.cap, 0, 0,
				   ZCIPC_CACHE_WRITEBACK));
	test_bits(&self->a, p, N, variant->cache);
	/* Moved away it does, and what the executable mapping shows is gone. */
	TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, src.cap, 0, 0, ZCIPC_CACHE_WRITEBACK));
	test_touch_read(SIGBUS, &self->a, p);
	munmap(p, N * psize);
}

/* What leaves a pool is write-back again: the kernel gives it to anybody. */
TEST_F(cache, restored)
{
	struct buf src, got;
	unsigned int way, page;

	need_pte();
	if (self->pool_mib < 0 || access(POOL_PARAMETER, W_OK))
		SKIP(return, "the size of the pools cannot be set");
	pool_set(0);
	for (way = 0; way < 4; way++) {
		for (page = 0; page < N; page++) {
			test_create_cache(&self->a, variant->cache, N, ZCIPC_CREATE_MAP, &src);
			test_fill(&self->a, src.p, N, 1);
			if (way == 1) {
				test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &got);
				test_fill(&self->b, got.p, N, 2);
				test_bits(&self->a, src.p + page * psize, 1, variant->cache);
				test_drop(&self->b, got.cap);
			} else if (way == 2) {
				test_pass(&self->a, &self->b, ZCIPC_SHARE, src.cap, &got);
				test_bits(&self->b, got.p + page * psize, 1, variant->cache);
			} else if (way == 3) {
				TEST_OK(send_cache(&self->a, &self->b, ZCIPC_MOVE, src.cap, 0, 0,
						   ZCIPC_CACHE_WRITEBACK));
				test_take(&self->b, &got);
				test_bits(&self->b, got.p + page * psize, 1, ZCIPC_CACHE_DEFAULT);
				test_drop(&self->b, got.cap);
				ASSERT_TRUE(wait_restored());
				continue;
			} else {
				test_bits(&self->a, src.p + page * psize, 1, variant->cache);
			}
			ASSERT_EQ(attributes[variant->cache], kernel_bits());
			test_drop(&self->a, src.cap);
			if (way == 2) {
				/* It is there as long as one has it. */
				ASSERT_EQ(attributes[variant->cache], kernel_bits());
				test_drop(&self->b, got.cap);
			}
			ASSERT_TRUE(wait_restored());
		}
	}
}

/* The same when nobody gives it up: the process that has mapped it is killed. */
TEST_F(cache, restored_after_death)
{
	struct buf src, got;

	need_pte();
	if (self->pool_mib < 0 || access(POOL_PARAMETER, W_OK))
		SKIP(return, "the size of the pools cannot be set");
	pool_set(0);
	test_create_cache(&self->b, variant->cache, N, ZCIPC_CREATE_MAP, &src);
	test_fill(&self->b, src.p, N, 1);
	test_pass(&self->b, &self->a, ZCIPC_SHARE, src.cap, &got);
	test_bits(&self->b, src.p, N, variant->cache);
	test_drop(&self->a, got.cap);
	ASSERT_EQ(attributes[variant->cache], kernel_bits());
	ep_end(&self->b);
	ASSERT_TRUE(wait_restored());
}

/* What comes from the pool has nothing of who had it before. */
TEST_F(cache, pool_is_zero)
{
	struct buf src;
	int i;

	for (i = 0; i < 8; i++) {
		test_create_cache(i & 1 ? &self->a : &self->b, variant->cache, 50,
				  ZCIPC_CREATE_MAP, &src);
		test_check(i & 1 ? &self->a : &self->b, src.p, 50, 0);
		test_fill(i & 1 ? &self->a : &self->b, src.p, 50, 1 + i);
		test_drop(i & 1 ? &self->a : &self->b, src.cap);
	}
}

/* A process of somebody without privileges, whose regions are not mapped. */
static void user_start(struct __test_metadata *_metadata, struct ep *u, uid_t uid)
{
	struct call c = { .fn = call_setuid, .n = uid };

	ASSERT_EQ(0, peer_fork(u));
	TEST_OK(ep_call(u, &c));
	TEST_OK(peer_open(u, 0, O_NONBLOCK));
}

/* As many MiB as there are for the user, up to a number. */
static unsigned long take_mib(struct ep *u, __u32 cache, unsigned long max, struct buf *bufs)
{
	unsigned long mib = 0;

	while (mib < max && !create_cache(u, cache, (1 << 20) / psize, 0, &bufs[mib]))
		mib++;
	return mib;
}

/* Who comes later finds some, too: nobody has more than is free. What is given up is free. */
TEST_F(cache, pool_is_shared)
{
	struct buf bufs[2][16], more;
	unsigned long mib, i;
	struct ep u[2];

	if (self->pool_mib < 0 || access(POOL_PARAMETER, W_OK))
		SKIP(return, "the size of the pools cannot be set");
	pool_set(12);
	for (i = 0; i < 2; i++)
		user_start(_metadata, &u[i], NOBODY - i);
	mib = take_mib(&u[0], variant->cache, 16, bufs[0]);
	EXPECT_EQ(6, mib);
	TEST_ERR(EDQUOT, create_cache(&u[0], variant->cache, (1 << 20) / psize, 0, &more));
	EXPECT_EQ(3, take_mib(&u[1], variant->cache, 16, bufs[1]));
	TEST_ERR(EDQUOT, create_cache(&u[1], variant->cache, (1 << 20) / psize, 0, &more));
	/* Nor by a transfer, which then has changed nothing. Write-back memory has no pool. */
	test_create_cache(&u[1], ZCIPC_CACHE_DEFAULT, N, 0, &more);
	TEST_OK(ep_window(&u[1], variant->cache, N));
	TEST_ERR(EDQUOT, send_cache(&u[1], &u[1], ZCIPC_MOVE, more.cap, 0, 0, variant->cache));
	TEST_ERR(EDQUOT, send_cache(&u[1], &u[1], ZCIPC_SHARE, more.cap, 0, 0, variant->cache));
	TEST_ERR(EDQUOT, send_cache(&u[1], &u[1], ZCIPC_COPY, more.cap, 0, 0, variant->cache));
	test_policy_is(_metadata, &u[1], more.cap, ZCIPC_CACHE_DEFAULT);
	for (i = 0; i < mib; i++)
		test_drop(&u[0], bufs[0][i].cap);
	EXPECT_EQ(1, take_mib(&u[1], variant->cache, 1, &more));
	EXPECT_EQ(4, take_mib(&u[0], variant->cache, 16, bufs[0]));
	/* Root may have more than that. */
	EXPECT_EQ(16, take_mib(&self->a, variant->cache, 16, bufs[1]));
	for (i = 0; i < 2; i++)
		ep_end(&u[i]);
}

/* The kernel's own mapping is not taken apart, however often there is such memory. */
TEST_F(cache, direct_map)
{
	static const char meminfo[] = "/proc/meminfo";
	struct buf bufs[8];
	unsigned int round, i;
	struct ep u;
	long before;

	before = file_number(meminfo, "DirectMap4k:");
	if (before < 0)
		SKIP(return, "the kernel does not say how it maps memory");
	for (round = 0; round < 4; round++) {
		user_start(_metadata, &u, NOBODY);
		ASSERT_EQ(ARRAY_SIZE(bufs), take_mib(&u, variant->cache, ARRAY_SIZE(bufs), bufs));
		for (i = 0; i < ARRAY_SIZE(bufs); i += 2)
			test_drop(&u, bufs[i].cap);
		ep_end(&u);
	}
	EXPECT_EQ(before, file_number(meminfo, "DirectMap4k:"));
}

TEST_HARNESS_MAIN

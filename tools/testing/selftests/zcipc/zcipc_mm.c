// SPDX-License-Identifier: GPL-2.0-only
/*
 * The window as a part of an address space: everything that core mm does to mappings.
 *
 * Guarantees: G2 (forked children), G4 and G6 (no way around write protection), G7, G8.
 * Attacks: 1 use after drop, 2 use after close, 3 munmap and mremap, 4 fork, 5 madvise and its kin,
 * 6 module removal and the ends of slots, 12 userfaultfd, 13 (executable), 16 other mappings.
 */
#include <linux/userfaultfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "zcipc_utils.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	0x8000
#endif

#define N 16

FIXTURE(mm)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_SETUP(mm)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, 0);
	test_open(&self->b, 256, 0);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(mm)

/* After whatever was done to the window: all works, for each type of transfer. */
static void check_works(struct __test_metadata *_metadata, struct ep *a, const struct buf *src,
			struct ep *b)
{
	struct buf dst;

	test_check(a, src->p, N, 1);
	test_pass(a, b, ZCIPC_COPY, src->cap, &dst);
	test_fill(a, src->p, N, 2);
	test_check(b, dst.p, N, 1);
	test_drop(b, dst.cap);
	test_pass(a, b, ZCIPC_SHARE, src->cap, &dst);
	test_fill(b, dst.p, N, 3);
	test_check(a, src->p, N, 3);
	test_drop(b, dst.cap);
	test_pass(a, b, ZCIPC_MOVE, src->cap, &dst);
	test_gone(a, src->p, N);
	test_check(b, dst.p, N, 3);
	test_fill(b, dst.p, N, 4);
}

TEST_F(mm, mmap_rules)
{
	int rw = PROT_READ | PROT_WRITE;
	struct ep none;

	test_open(&none, 0, 0);
	TEST_ERR(EBUSY, mmap(NULL, psize, rw, MAP_SHARED, self->a.fd, 0) == MAP_FAILED ? -1 : 0);
	TEST_ERR(EINVAL, mmap(NULL, psize, rw, MAP_SHARED, none.fd, psize) == MAP_FAILED ? -1 : 0);
	TEST_ERR(EINVAL, mmap(NULL, psize, rw, MAP_PRIVATE, none.fd, 0) == MAP_FAILED ? -1 : 0);
	TEST_ERR(EACCES, mmap(NULL, psize, rw | PROT_EXEC, MAP_SHARED, none.fd, 0) == MAP_FAILED ?
			 -1 : 0);
	TEST_ERR(EACCES, mprotect(self->a.win, psize, rw | PROT_EXEC));
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* 1: a region goes while it is mapped and used. */
TEST_F(mm, use_after_drop)
{
	struct buf next;

	test_drop(&self->a, self->src.cap);
	test_gone(&self->a, self->src.p, N);
	/* The same place in the window, other memory. */
	test_create(&self->a, N, &next);
	ASSERT_EQ(self->src.p, next.p);
	test_check(&self->a, next.p, N, 0);
}

/* 2: the mapping holds the endpoint when no descriptor does. */
TEST_F(mm, use_after_close)
{
	struct zcipc_stats before, after;

	test_stats(&self->base.ep, &before);
	close(self->a.fd);
	self->a.fd = -1;
	test_stats(&self->base.ep, &after);
	ASSERT_TRUE(same_live(&before, &after));
	test_check(&self->a, self->src.p, N, 1);
	test_fill(&self->a, self->src.p, N, 2);
	munmap(self->a.win, 128 * psize);
	munmap(self->a.win + 128 * psize, 128 * psize);
	self->a.win = NULL;
	test_stats(&self->base.ep, &after);
	ASSERT_EQ(before.frames - N, after.frames);
	ASSERT_EQ(before.endpoints - 1, after.endpoints);
}

/* 3: parts of the window are unmapped. The rest works, and what is in the parts can be moved. */
TEST_F(mm, munmap_parts)
{
	struct buf dst;
	char *p;
	size_t i;

	ASSERT_EQ(0, munmap(self->src.p, psize));
	ASSERT_EQ(0, munmap(self->src.p + 7 * psize, psize));
	ASSERT_EQ(0, munmap(self->src.p + (N - 1) * psize, 2 * psize));
	test_touch_read(SIGSEGV, &self->a, self->src.p);
	test_touch_read(SIGSEGV, &self->a, self->src.p + 7 * psize);
	test_check_from(&self->a, self->src.p + psize, 1, 6, 1);
	test_check_from(&self->a, self->src.p + 8 * psize, 8, N - 9, 1);
	/* From a place whose memory is gone to one that has some. */
	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
	for (i = 0; i < N; i++)
		test_touch_read(0, &self->a, p + i * psize);
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	test_fill(&self->a, p + psize, N - 1, 2);
	test_check(&self->b, dst.p, N, 1);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	test_check(&self->b, dst.p, 1, 1);
	test_check(&self->b, dst.p + psize, N - 1, 2);
	test_touch_read(SIGBUS, &self->a, self->src.p + psize);
	/* Nothing arrives where a part of the window is no more. */
	test_pass(&self->b, &self->a, ZCIPC_MOVE, dst.cap, &dst);
	test_check(&self->a, dst.p, 1, 1);
	test_check(&self->a, dst.p + psize, N - 1, 2);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, dst.cap, &dst);
	test_check(&self->b, dst.p + psize, N - 1, 2);
}

/* 3: the window can be thrown away as a whole. What is in it stays, and can still be moved away. */
TEST_F(mm, munmap_all)
{
	struct buf dst;

	ASSERT_EQ(0, munmap(self->a.win, self->a.npages * psize));
	self->a.win = NULL;
	test_touch_read(SIGSEGV, &self->a, self->src.p);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	test_check(&self->b, dst.p, N, 1);
}

TEST_F(mm, mremap)
{
	size_t len = self->a.npages * psize;
	char *win = self->a.win;
	char *to;

	/* A place of which nothing is used. */
	to = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	EXPECT_EQ(MAP_FAILED, mremap(win, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(MAP_FAILED, mremap(win, psize, psize, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(MAP_FAILED, mremap(win, len, 2 * len, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(win, len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	EXPECT_EQ(MAP_FAILED, mremap(win, 0, len, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(win, 0, psize, MREMAP_MAYMOVE));
	test_check(&self->a, self->src.p, N, 1);
	munmap(to, 2 * len);
	EXPECT_EQ(win, mremap(win, len, len / 2, 0));
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* 4: a child has neither window nor endpoint. */
static long call_fork_use(struct ep *ep, struct call *c)
{
	struct zcipc_region_query q;
	__u64 val;

	(void)c;
	if (!zc_query(ep, c->n, &q) || errno != EPERM)
		return -100;
	if (mmap(NULL, psize, PROT_READ, MAP_SHARED, ep->fd, 0) != MAP_FAILED || errno != EPERM)
		return -101;
	return touch_read((void *)(uintptr_t)c->addr, &val);
}

static void child_of(struct __test_metadata *_metadata, struct ep *parent, struct ep *child)
{
	int sv[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	*child = *parent;
	child->pid = fork();
	ASSERT_LE(0, child->pid);
	if (!child->pid) {
		close(sv[0]);
		peer_serve(sv[1], child);
	}
	close(sv[1]);
	child->sock = sv[0];
	eps[neps++] = child;
}

TEST_F(mm, fork)
{
	struct call c = { .fn = call_fork_use, .addr = (uintptr_t)self->src.p,
			  .n = self->src.cap };
	struct ep child;

	child_of(_metadata, &self->a, &child);
	EXPECT_EQ(SIGSEGV, ep_call(&child, &c));
	ep_end(&child);
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* When it inherits the window nevertheless, nothing is in that, nor in what its own child has. */
static long call_grandchild(struct ep *ep, struct call *c)
{
	__u64 val;
	pid_t pid;
	int status;

	(void)ep;
	pid = fork();
	if (!pid)
		_exit(touch_read((void *)(uintptr_t)c->addr, &val));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(mm, fork_with_dofork)
{
	struct call c = { .fn = call_grandchild, .addr = (uintptr_t)self->src.p };
	struct ep child;
	struct buf next;

	test_inheritable(self->a.win, self->a.npages * psize);
	child_of(_metadata, &self->a, &child);
	test_gone(&child, self->src.p, N);
	EXPECT_EQ(SIGBUS, ep_call(&child, &c));
	ASSERT_EQ(0, madvise(self->a.win, self->a.npages * psize, MADV_DONTFORK));
	check_works(_metadata, &self->a, &self->src, &self->b);
	test_create(&self->a, self->a.npages - N, &next);
	test_fill(&self->a, next.p, next.npages, 2);
	test_gone(&child, self->a.win, self->a.npages);
	ep_end(&child);
	test_check(&self->a, next.p, next.npages, 2);
}

/* 4: the parent goes first. */
TEST_F(mm, fork_orphan)
{
	struct ep child;

	test_inheritable(self->a.win, self->a.npages * psize);
	child_of(_metadata, &self->a, &child);
	test_gone(&child, self->src.p, N);
	munmap(self->a.win, self->a.npages * psize);
	test_drop(&self->a, self->src.cap);
	close(self->a.fd);
	self->a.fd = -1;
	self->a.win = NULL;
	test_gone(&child, self->src.p, N);
}

/* 5: advice either fails or changes nothing that can be seen. */
TEST_F(mm, madvise)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE,
		MADV_REMOVE, MADV_DONTFORK, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK,
		MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE,
		24 /* MADV_DONTNEED_LOCKED */, 102 /* MADV_GUARD_INSTALL */, 103 /* _REMOVE */,
	};
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	struct iovec part = { self->src.p + psize, 2 * psize };
	struct buf copy;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		madvise(self->src.p, N * psize, advice[i]);
		test_check(&self->a, self->src.p, N, 1);
		madvise(self->src.p + 3 * psize, psize, advice[i]);
		test_check(&self->a, self->src.p, N, 1);
		syscall(SYS_process_madvise, pidfd, &part, 1, advice[i], 0);
		test_check(&self->a, self->src.p, N, 1);
		/* What is frozen stays so. */
		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
		madvise(self->src.p, N * psize, advice[i]);
		madvise(copy.p, N * psize, advice[i]);
		test_fill(&self->a, self->src.p, N, 2);
		test_check(&self->b, copy.p, N, 1);
		test_fill(&self->a, self->src.p, N, 1);
		test_drop(&self->b, copy.cap);
	}
	close(pidfd);
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* 5: locking, and moving between nodes. */
TEST_F(mm, lock_and_migrate)
{
	void *pages[N];
	int nodes[N], status[N], i;
	unsigned long mask = 1;

	mlock(self->src.p, N * psize);
	test_check(&self->a, self->src.p, N, 1);
	munlock(self->src.p, psize);
	mlock2(self->src.p, 2 * psize, MLOCK_ONFAULT);
	for (i = 0; i < N; i++) {
		pages[i] = self->src.p + i * psize;
		nodes[i] = 0;
	}
	syscall(SYS_move_pages, 0, N, pages, nodes, status, 2 /* MPOL_MF_MOVE */);
	syscall(SYS_mbind, self->a.win, self->a.npages * psize, 2 /* MPOL_BIND */, &mask, 2,
		2 /* MPOL_MF_MOVE */);
	test_check(&self->a, self->src.p, N, 1);
	check_works(_metadata, &self->a, &self->src, &self->b);
}

static long call_mseal(struct ep *ep, struct call *c)
{
	return syscall(SYS_mseal, ep->win, c->n, 0);
}

/* A sealed window can be changed by nobody but the kernel. */
TEST_F(mm, seal)
{
	struct call c = { .fn = call_mseal, .n = 4 * psize };
	struct ep sealed;
	struct buf buf;

	test_start(&sealed, true, 64);
	test_create(&sealed, N, &buf);
	test_fill(&sealed, buf.p, N, 1);
	if (ep_call(&sealed, &c))
		SKIP(return, "mseal: %s", strerror(errno));
	check_works(_metadata, &sealed, &buf, &self->b);
}

TEST_F(mm, proc_files)
{
	static const char * const names[] = { "maps", "smaps", "smaps_rollup", "numa_maps",
					      "pagemap", "stat", "status" };
	static char text[65536];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/proc/self/%s", names[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		if (!strcmp(names[i], "pagemap"))
			lseek(fd, (uintptr_t)self->src.p / psize * 8, SEEK_SET);
		while (read(fd, text, sizeof(text)) == sizeof(text) &&
		       strcmp(names[i], "pagemap"))
			;
		close(fd);
	}
	/* Soft-dirty tracking write-protects. */
	for (i = 1; i <= 5; i++) {
		char what[2] = { '0' + i };

		file_write("/proc/self/clear_refs", what);
		test_check(&self->a, self->src.p, N, 1);
	}
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* 5: something else takes a place in the middle of both windows. No transfer touches that. */
TEST_F(mm, mapped_over)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	char *over_a = self->src.p + 4 * psize, *over_b = self->b.win + 4 * psize;
	struct buf dst, copy;

	ASSERT_EQ(over_a, mmap(over_a, psize, PROT_READ | PROT_WRITE, flags, -1, 0));
	ASSERT_EQ(over_b, mmap(over_b, psize, PROT_READ | PROT_WRITE, flags, -1, 0));
	over_a[0] = 'a';
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	ASSERT_TRUE(copy.p > over_b || copy.p + N * psize <= over_b);
	over_b[0] = 'b';
	test_check(&self->b, copy.p, N, 1);
	test_drop(&self->b, copy.cap);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	ASSERT_EQ('a', over_a[0]);
	ASSERT_EQ('b', over_b[0]);
	test_check(&self->b, dst.p, N, 1);
	test_gone(&self->a, self->src.p, 4);
	test_pass(&self->b, &self->a, ZCIPC_MOVE, dst.cap, &dst);
	ASSERT_EQ('a', over_a[0]);
	ASSERT_EQ(0, munmap(over_b, psize));
}

/* 5, G6: what the owner takes from itself by mprotect() stays taken when something arrives. */
TEST_F(mm, mprotect_receiver)
{
	struct buf dst;

	ASSERT_EQ(0, mprotect(self->b.win, self->b.npages * psize, PROT_READ));
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	test_check(&self->b, dst.p, N, 1);
	test_touch_write(SIGSEGV, &self->b, dst.p);
	ASSERT_EQ(0, mprotect(dst.p, N * psize, PROT_READ | PROT_WRITE));
	test_fill(&self->b, dst.p, N, 2);
	ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, PROT_NONE));
	test_pass(&self->b, &self->a, ZCIPC_MOVE, dst.cap, &dst);
	test_touch_read(SIGSEGV, &self->a, dst.p);
	ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, PROT_READ | PROT_WRITE));
	test_check(&self->a, dst.p, N, 2);
	test_fill(&self->a, dst.p, N, 3);
}

static int toggle(char *p, size_t npages, int first)
{
	return mprotect(p, npages * psize, first) ? -1 :
		mprotect(p, npages * psize, PROT_READ | PROT_WRITE);
}

/* 7, G6: mprotect() does not make writable what a read-only capability shows. */
TEST_F(mm, mprotect_read_only)
{
	static const int first[] = { PROT_READ, PROT_NONE };
	struct buf dst;
	unsigned int i;

	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	for (i = 0; i < ARRAY_SIZE(first); i++) {
		toggle(dst.p, N, first[i]);
		test_check(&self->b, dst.p, N, 1);
		test_touch_write(SIGBUS, &self->b, dst.p);
		toggle(dst.p + psize, 1, first[i]);
		test_touch_write(SIGBUS, &self->b, dst.p + psize);
	}
	test_check(&self->a, self->src.p, N, 1);
}

/*
 * G4: nor what is frozen. Core mm makes a dirty PTE of a shared mapping writable again without
 * asking anybody.
 */
TEST_F(mm, mprotect_frozen)
{
	static const int first[] = { PROT_READ, PROT_NONE };
	struct buf dst;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(first); i++) {
		test_fill(&self->a, self->src.p, N, 1);
		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
		toggle(self->a.win, self->a.npages, first[i]);
		test_fill(&self->a, self->src.p, N, 2);
		test_check(&self->b, dst.p, N, 1);
		test_drop(&self->b, dst.cap);
		/* Protected before the snapshot, unprotected after it. */
		test_fill(&self->a, self->src.p, N, 3);
		ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, first[i]));
		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
		ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize,
				      PROT_READ | PROT_WRITE));
		test_fill(&self->a, self->src.p, N, 4);
		test_check(&self->b, dst.p, N, 3);
		test_drop(&self->b, dst.cap);
	}
}

/* 6: before the first and behind the last page of a slot, and of the window. */
TEST_F(mm, ends_of_slots)
{
	struct buf one, two;
	char *p;

	test_create(&self->a, 1, &one);
	test_create(&self->a, 1, &two);
	test_drop(&self->a, one.cap);
	test_touch_read(SIGBUS, &self->a, two.p - psize);
	test_touch_read(SIGBUS, &self->a, two.p + psize);
	test_touch_write(SIGBUS, &self->a, two.p + psize);
	test_touch_read(SIGBUS, &self->a, self->a.win + (self->a.npages - 1) * psize);
	/* A slot that shows the middle of a region: faults bring nothing from outside of it. */
	test_map(&self->a, self->src.cap, 5, 3, RIGHTS_RW, &p);
	madvise(self->a.win, self->a.npages * psize, MADV_DONTNEED);
	test_check_from(&self->a, p, 5, 3, 1);
	madvise(self->a.win, self->a.npages * psize, MADV_DONTNEED);
	test_touch_read(0, &self->a, two.p);
	test_touch_read(SIGBUS, &self->a, two.p - psize + (p == two.p - psize ? 3 * psize : 0));
	test_check(&self->a, self->src.p, N, 1);
}

/* 6: the module stays while a mapping is left, also without a descriptor. */
TEST_F(mm, rmmod)
{
	if (access("/sys/module/zcipc/refcnt", F_OK))
		SKIP(return, "zcipc is not a module that can be removed");
	close(self->a.fd);
	close(self->b.fd);
	close(self->base.ep.fd);
	self->b.fd = -1;
	TEST_ERR(EWOULDBLOCK, syscall(SYS_delete_module, "zcipc", O_NONBLOCK));
	test_check(&self->a, self->src.p, N, 1);
	self->a.fd = -1;
	test_open(&self->base.ep, 0, 0);
}

/* 12: userfaultfd has no business here. */
static int uffd_open(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

TEST_F(mm, uffd_refused)
{
	static const __u64 modes[] = {
		UFFDIO_REGISTER_MODE_MISSING,
		UFFDIO_REGISTER_MODE_WP,
		UFFDIO_REGISTER_MODE_MINOR,
		UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	/* The second is meant for all kinds of memory, and would get around a snapshot. */
	static const __u64 features[] = { 0, UFFD_FEATURE_WP_ASYNC };
	struct uffdio_range win = { .start = (uintptr_t)self->a.win,
				    .len = self->a.npages * psize };
	struct uffdio_writeprotect wp = { .range = win, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct uffdio_zeropage zero = { .range = win };
	struct uffdio_copy copy = { .dst = win.start, .src = win.start + 64 * psize, .len = psize };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(features); i++) {
		int fd = uffd_open(features[i]);

		if (fd < 0 && !i)
			SKIP(return, "userfaultfd: %s", strerror(errno));
		if (fd < 0)
			continue;
		for (j = 0; j < ARRAY_SIZE(modes); j++) {
			struct uffdio_register reg = { .range = win, .mode = modes[j] };

			EXPECT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
		}
		EXPECT_EQ(-1, ioctl(fd, UFFDIO_COPY, &copy));
		EXPECT_EQ(-1, ioctl(fd, UFFDIO_ZEROPAGE, &zero));
		EXPECT_EQ(-1, ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
		close(fd);
	}
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* The struct of a call may lie in the window, even in what the call moves. */
TEST_F(mm, struct_in_window)
{
	struct zcipc_transfer *t = (struct zcipc_transfer *)self->src.p;
	struct zcipc_recv *m = (struct zcipc_recv *)(self->src.p + psize);
	struct buf big, dst;

	test_create(&self->a, 1, &big);
	*t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 0, 0);
	ASSERT_EQ(0, ioctl(self->a.fd, ZCIPC_IOC_TRANSFER, t));
	ASSERT_EQ(N, t->pages);
	test_take(&self->b, &dst);
	ASSERT_EQ(0, ((struct zcipc_transfer *)dst.p)->pages);

	test_send(&self->b, &self->a, ZCIPC_COPY, dst.cap);
	m->size = sizeof(*m);
	m->flags = 0;
	ASSERT_EQ(0, ioctl(self->a.fd, ZCIPC_IOC_RECV, m));
	ASSERT_EQ(self->b.id, m->sender);

	*t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	ASSERT_EQ(0, ioctl(self->a.fd, ZCIPC_IOC_TRANSFER, t));
	test_gone(&self->a, self->src.p, N);
	test_take(&self->b, &dst);
	ASSERT_EQ(ZCIPC_MOVE, ((struct zcipc_transfer *)dst.p)->type);
}

/* A dump of a process does not contain what others gave it. */
TEST_F(mm, core_dump)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct ep c;
		struct buf buf;

		setrlimit(RLIMIT_CORE, &unlimited);
		if (chdir("/tmp") || ep_open(&c, 16, 0) || zc_create(&c, 4, &buf) ||
		    fill(buf.p, 4, 1))
			_exit(1);
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	unlink("/tmp/core");
	check_works(_metadata, &self->a, &self->src, &self->b);
}

/* --- windows that are no longer whole */

/* Nobody is told an address that is not the window's. */
TEST_F(mm, told_no_foreign_address)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	char *win = self->b.win;
	const int prot = PROT_READ | PROT_WRITE;
	size_t i, len = self->b.npages * psize;
	struct zcipc_recv m;
	struct buf one;

	for (i = 0; i < self->b.npages; i += 3)
		ASSERT_EQ(win + i * psize, mmap(win + i * psize, psize, prot, flags, -1, 0));
	/* What is left are two pages at a time. */
	for (i = 0; i < 100; i++) {
		test_create(&self->a, 1 + i % 2, &one);
		test_fill(&self->a, one.p, 1 + i % 2, 1 + i);
		test_send(&self->a, &self->b, ZCIPC_MOVE, one.cap);
		test_recv(&self->b, &m);
		ASSERT_LE((uintptr_t)win, m.addr);
		ASSERT_GT((uintptr_t)win + len, m.addr);
		ASSERT_NE(0, (m.addr - (uintptr_t)win) / psize % 3);
		test_check(&self->b, (char *)(uintptr_t)m.addr, 1 + i % 2, 1 + i);
		if (i % 5)
			test_drop(&self->b, m.cap);
	}
	/* Nothing of three pages ever fits. */
	ASSERT_EQ(0, fcntl(self->a.fd, F_SETFL, O_NONBLOCK));
	test_create(&self->a, 3, &one);
	test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_MOVE, one.cap);
	for (i = 0; i < self->b.npages; i += 3)
		ASSERT_EQ(0, win[i * psize]);
}

/* A message that waits tells of no address that has gone meanwhile. */
TEST_F(mm, unmapped_before_it_is_received)
{
	struct zcipc_recv m;
	struct buf src[3];
	unsigned int i;
	char *p;

	for (i = 0; i < 3; i++) {
		test_create(&self->a, 4, &src[i]);
		test_fill(&self->a, src[i].p, 4, 5 + i);
		test_send(&self->a, &self->b, i ? ZCIPC_SHARE : ZCIPC_MOVE, src[i].cap);
	}
	/* The end of the first, and the beginning of the second. */
	ASSERT_EQ(0, munmap(self->b.win + 3 * psize, 2 * psize));
	for (i = 0; i < 3; i++) {
		test_recv(&self->b, &m);
		ASSERT_EQ(i < 2, !m.addr);
		ASSERT_EQ(4 * psize, m.len);
		p = (char *)(uintptr_t)m.addr;
		if (!p)
			test_map(&self->b, m.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
		ASSERT_LE(self->b.win + 5 * psize, p);
		test_check(&self->b, p, 4, 5 + i);
	}
}

/* With its last part a window is gone, with all that was placed in it, and can be mapped again. */
TEST_F(mm, window_mapped_again)
{
	const int prot = PROT_READ | PROT_WRITE;
	size_t len = self->b.npages * psize;
	struct zcipc_recv m;
	struct buf dst, more;
	char *win, *p;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	test_send(&self->a, &self->b, ZCIPC_SHARE, self->src.cap);
	ASSERT_EQ(0, munmap(self->b.win, psize));
	ASSERT_EQ(0, munmap(self->b.win + 2 * psize, len - 2 * psize));
	/* There is one page left. */
	ASSERT_EQ(MAP_FAILED, mmap(NULL, 2 * len, prot, MAP_SHARED, self->b.fd, 0));
	ASSERT_EQ(EBUSY, errno);
	ASSERT_EQ(0, munmap(self->b.win + psize, psize));
	test_err_send(ENOBUFS, &self->a, &self->b, ZCIPC_SHARE, self->src.cap);
	win = mmap(NULL, 2 * len, prot, MAP_SHARED, self->b.fd, 0);
	ASSERT_NE(MAP_FAILED, win);
	self->b.win = win;
	self->b.npages *= 2;
	test_recv(&self->b, &m);
	ASSERT_EQ(0, m.addr);
	test_touch_read(SIGBUS, &self->b, win);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_check(&self->b, p, N, 1);
	test_map(&self->b, m.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	test_check(&self->b, p, N, 1);
	test_pass(&self->b, &self->a, ZCIPC_MOVE, dst.cap, &more);
	test_check(&self->a, more.p, N, 1);
	test_drop(&self->b, m.cap);
}

/* A second mmap() of the same window over a part of it fails, and takes that part away. */
TEST_F(mm, mapped_over_by_itself)
{
	struct buf dst;
	char *p;

	p = mmap(self->b.win, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, self->b.fd,
		 0);
	ASSERT_EQ(MAP_FAILED, p);
	ASSERT_EQ(EBUSY, errno);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	ASSERT_LE(self->b.win, dst.p);
	test_check(&self->b, dst.p, N, 1);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of memory after it has been adopted: its owner unmaps it, and does all else with it
 * that can be done with memory; debuggers look at it.
 *
 * Guarantees: G2 exclusive MOVE, G4, G5, G6, G8, G10.
 * Attacks: 3, 4, 5 fork and pieces of a mapping, 7 writes to a read-only share, 19 and 20 what
 * becomes of memory after an import.
 */
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "zcipc_utils.h"

/* --- what becomes of memory after it has been adopted */

#define M 16

/* Adopted by one, who shares it with another. */
FIXTURE(after)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, dst;
	char *p, *q;
};

FIXTURE_SETUP(after)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, fill(self->p, M, 1));
	test_import(&self->a, self->p, M, &self->src);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &self->dst);
	self->q = self->dst.p;
	test_check(&self->b, self->q, M, 1);
}

FIXTURE_TEARDOWN(after)
{
	guarded_free(self->p, M);
	base_teardown(_metadata, &self->base);
}

/* Both see what either writes, in a range. */
static void coherent(struct __test_metadata *_metadata, FIXTURE_DATA(after) *self, size_t first,
		     size_t npages, __u64 seed)
{
	test_fill(&self->a, self->p + first * psize, npages, seed);
	test_check(&self->b, self->q + first * psize, npages, seed);
	test_fill(&self->b, self->q + first * psize, npages, seed + 1);
	test_check(&self->a, self->p + first * psize, npages, seed + 1);
}

/* 20: a child has no mapping of it, nor has it the parent's endpoint. */
TEST_F(after, fork)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int status;
	pid_t pid;
	__u64 val;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (touch_read(self->p, &val) != SIGSEGV ||
		    touch_write(self->p + (M - 1) * psize, 7) != SIGSEGV)
			_exit(1);
		_exit(ioctl(self->a.fd, ZCIPC_IOC_INFO, &info) && errno == EPERM ? 0 : 2);
	}
	coherent(_metadata, self, 0, M, 2);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	coherent(_metadata, self, 0, M, 4);
}

/* 4, 20, G2: nor has one that inherits the mapping by MADV_DOFORK. */
TEST_F(after, fork_in_spite_of_it)
{
	int to[2], from[2], status;
	struct zcipc_recv m;
	char byte;
	pid_t pid;
	__u64 n;

	test_inheritable(self->p, M * psize);
	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 val;
		int i;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; i < M; i++)
			if (touch_read(self->p + i * psize, &val) != SIGBUS)
				_exit(1);
		if (write(from[1], "", 1) != 1 || read(to[0], &byte, 1) != 1)
			_exit(2);
		for (i = 0; i < M; i++)
			if (touch_read(self->p + i * psize, &val) != SIGBUS ||
			    touch_write(self->p + i * psize, 6) != SIGBUS)
				_exit(3);
		_exit(0);
	}
	ASSERT_EQ(1, read(from[0], &byte, 1));
	coherent(_metadata, self, 0, M, 2);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_send(&self->a, &self->c, ZCIPC_MOVE, self->src.cap);
	test_recv(&self->c, &m);
	test_fill(&self->c, (char *)(uintptr_t)m.addr, M, 9);
	ASSERT_EQ(1, write(to[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	test_check(&self->c, (char *)(uintptr_t)m.addr, M, 9);
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
}

/* 20: what is mapped over a part is nobody else's, and hides what is still there. */
TEST_F(after, mapped_over)
{
	struct zcipc_recv m;
	__u64 n;

	ASSERT_EQ(self->p + 4 * psize,
		  mmap(self->p + 4 * psize, 3 * psize, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	test_check(&self->a, self->p + 4 * psize, 3, 0);
	test_fill(&self->a, self->p + 4 * psize, 3, 5);
	test_check(&self->b, self->q, M, 1);
	test_fill(&self->b, self->q, M, 2);
	test_check(&self->a, self->p, 4, 2);
	test_check(&self->a, self->p + 4 * psize, 3, 5);
	test_check_from(&self->a, self->p + 7 * psize, 7, M - 7, 2);
	coherent(_metadata, self, 0, 4, 3);
	coherent(_metadata, self, 7, M - 7, 3);
	/* What is there now can be imported itself, and sent. */
	test_direct(&self->a, &self->c, ZCIPC_MOVE, self->p + 4 * psize, psize, 0);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, 1, 5);
	/* And the region is whole, wherever it goes. */
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_send(&self->a, &self->c, ZCIPC_MOVE, self->src.cap);
	test_gone(&self->a, self->p, 4);
	test_gone(&self->a, self->p + 7 * psize, M - 7);
	test_check_from(&self->a, self->p + 5 * psize, 1, 2, 5);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, 4, 4);
	test_check_from(&self->c, (char *)(uintptr_t)m.addr + 4 * psize, 4, 3, 2);
	test_check(&self->c, (char *)(uintptr_t)m.addr + 7 * psize, M - 7, 4);
}

/* 3, 20: head, middle and tail go, what is left of the mapping works, and the memory is whole. */
TEST_F(after, unmapped)
{
	static const struct {
		size_t first, npages;
	} gone[] = { { 0, 2 }, { 7, 3 }, { M - 1, 1 }, { 5, 1 }, { 3, 1 } };
	struct zcipc_stats before, stats;
	struct zcipc_recv m;
	bool there[M];
	size_t i, k;
	__u64 n;

	memset(there, true, sizeof(there));
	test_stats(&self->a, &before);
	for (i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_EQ(0, munmap(self->p + gone[i].first * psize, gone[i].npages * psize));
		memset(there + gone[i].first, false, gone[i].npages);
		for (k = 0; k < M; k++) {
			if (there[k])
				coherent(_metadata, self, k, 1, 2 + i);
			else
				test_touch_read(SIGSEGV, &self->a, self->p + k * psize);
		}
		/* What is mapped there later has nothing to do with it. */
		ASSERT_NE(MAP_FAILED, mmap(self->p + gone[i].first * psize, psize,
					   PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		test_check(&self->a, self->p + gone[i].first * psize, 1, 0);
		ASSERT_EQ(0, munmap(self->p + gone[i].first * psize, psize));
	}
	test_fill(&self->b, self->q, M, 20);
	test_stats(&self->a, &stats);
	ASSERT_EQ(before.user_pinned, stats.user_pinned);
	ASSERT_EQ(0, munmap(self->p, M * psize));
	test_stats(&self->a, &stats);
	ASSERT_EQ(before.user_pinned, stats.user_pinned);
	test_check(&self->b, self->q, M, 20);
	/* The capability is as good as it was. */
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_send(&self->a, &self->c, ZCIPC_MOVE, self->src.cap);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, M, 20);
}

/* 20, G4: no write to what is read-only, and no way around a snapshot when it is so no longer. */
TEST_F(after, protected)
{
	char *p = self->p + 4 * psize;
	struct buf copy;

	ASSERT_EQ(0, mprotect(p, 3 * psize, PROT_READ));
	test_check(&self->a, self->p, M, 1);
	test_touch_write(SIGSEGV, &self->a, p);
	test_touch_write(SIGSEGV, &self->a, p + 2 * psize);
	test_fill(&self->b, self->q, M, 2);
	test_check(&self->a, self->p, M, 2);
	coherent(_metadata, self, 0, 4, 3);
	coherent(_metadata, self, 7, M - 7, 3);
	test_pass(&self->a, &self->c, ZCIPC_COPY, self->src.cap, &copy);
	test_check_from(&self->a, p, 4, 3, 2);
	ASSERT_EQ(0, mprotect(p, 3 * psize, PROT_READ | PROT_WRITE));
	test_check_from(&self->a, p, 4, 3, 2);
	coherent(_metadata, self, 4, 3, 5);
	coherent(_metadata, self, 0, M, 7);
	test_check(&self->c, copy.p, 4, 4);
	test_check_from(&self->c, copy.p + 4 * psize, 4, 3, 2);
	test_check(&self->c, copy.p + 7 * psize, M - 7, 4);
	/* Not at all, and back. */
	ASSERT_EQ(0, mprotect(self->p, M * psize, PROT_NONE));
	test_touch_read(SIGSEGV, &self->a, self->p);
	test_fill(&self->b, self->q, M, 9);
	ASSERT_EQ(0, mprotect(self->p, M * psize, PROT_READ | PROT_WRITE));
	test_check(&self->a, self->p, M, 9);
	coherent(_metadata, self, 0, M, 10);
	/* Never code. */
	TEST_ERR(EACCES, mprotect(self->p, psize, PROT_READ | PROT_EXEC));
}

/* 5, 20: whatever is advised, the contents stay, and are the same for both. */
TEST_F(after, advised)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE,
		MADV_REMOVE, MADV_DONTFORK, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE, MADV_WIPEONFORK,
		MADV_KEEPONFORK,
	};
	struct buf copy;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		test_fill(&self->a, self->p, M, 1 + i);
		madvise(self->p, M * psize, advice[i]);
		test_check(&self->b, self->q, M, 1 + i);
		test_check(&self->a, self->p, M, 1 + i);
		test_pass(&self->a, &self->c, ZCIPC_COPY, self->src.cap, &copy);
		/* A part of it, which no write has touched since the snapshot. */
		madvise(self->p + 3 * psize, 5 * psize, advice[i]);
		test_check(&self->a, self->p, M, 1 + i);
		coherent(_metadata, self, 0, M, 100);
		test_check(&self->c, copy.p, M, 1 + i);
		test_drop(&self->c, copy.cap);
	}
	/* mlock() is for what core mm could take away. */
	mlock(self->p, M * psize);
	coherent(_metadata, self, 0, M, 100);
	munlock(self->p, M * psize);
	coherent(_metadata, self, 0, M, 100);
}

/* 3, 20: it stays where it is. */
TEST_F(after, mremap)
{
	char *to = mmap(NULL, 4 * M * psize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t len = M * psize;

	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(MAP_FAILED, mremap(self->p, len, 2 * len, MREMAP_MAYMOVE));
	ASSERT_EQ(MAP_FAILED, mremap(self->p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	ASSERT_EQ(MAP_FAILED, mremap(self->p, len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	ASSERT_EQ(MAP_FAILED, mremap(self->p, 0, len, MREMAP_MAYMOVE));
	ASSERT_EQ(MAP_FAILED, mremap(self->p + psize, 2 * psize, 2 * psize,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to + len));
	coherent(_metadata, self, 0, M, 2);
	/* To make it shorter is munmap(). */
	ASSERT_EQ(self->p, mremap(self->p, len, 2 * psize, 0));
	coherent(_metadata, self, 0, 2, 4);
	test_touch_read(SIGSEGV, &self->a, self->p + 2 * psize);
	test_check_from(&self->b, self->q + 2 * psize, 2, M - 2, 3);
	munmap(to, 4 * len);
}

/* 20, G8: the owner dies, the others have it still, and nothing is pinned when they are gone. */
TEST_F(after, death)
{
	struct zcipc_stats before, stats;
	struct buf buf, b, c, copy;
	struct ep owner;
	char *p;

	test_start(&owner, true, WINDOW_PAGES);
	p = test_memory(&owner, M, 5);
	test_stats(&self->a, &before);
	test_import(&owner, p, M, &buf);
	test_pass(&owner, &self->b, ZCIPC_SHARE, buf.cap, &b);
	test_pass(&owner, &self->c, ZCIPC_SHARE, buf.cap, &c);
	test_pass(&owner, &self->a, ZCIPC_COPY, buf.cap, &copy);
	test_fill(&owner, p, 3, 6);
	ep_end(&owner);
	test_check(&self->b, b.p, 3, 6);
	test_check_from(&self->b, b.p + 3 * psize, 3, M - 3, 5);
	test_fill(&self->b, b.p, M, 7);
	test_check(&self->c, c.p, M, 7);
	test_fill(&self->c, c.p, M, 8);
	test_check(&self->b, b.p, M, 8);
	test_check(&self->a, copy.p, M, 5);
	test_drop(&self->a, copy.cap);
	test_drop(&self->b, b.cap);
	test_fill(&self->c, c.p, M, 9);
	test_check(&self->c, c.p, M, 9);
	test_drop(&self->c, c.cap);
	ASSERT_TRUE(wait_until(!zc_stats(&self->a, &stats) &&
			       stats.user_pinned == before.user_pinned));
}

/* In a peer, which does that for some time. Returns how often. */
static long call_add(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	__u64 n;
	size_t i;

	(void)ep;
	for (n = 0; n < c->val; n++) {
		for (i = 0; i < c->n; i++)
			++*((volatile __u64 *)(p + i * psize) + 50);
		if (!(n % 16))
			sched_yield();
	}
	return 0;
}

/* 20: pages that are to be moved to make room for larger ones stay where they are. */
TEST_F(after, compaction)
{
	struct call add = { .fn = call_add, .addr = (uintptr_t)self->q, .n = M,
			    .val = loops(3000) };
	unsigned long nodes[2] = { 1, 2 };
	struct adder adder;
	__u64 i, val;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP(return, "there is no compaction");
	memset(self->p, 0, M * psize);
	ASSERT_EQ(0, adder_start(&adder, self->p, M, 7));
	ASSERT_EQ(0, ep_send(&self->b, &add));
	for (i = 0; i < 20; i++) {
		file_write("/proc/sys/vm/compact_memory", "1");
		/* And to the other node, and back. */
		syscall(SYS_migrate_pages, 0, 8 * sizeof(nodes[0]), &nodes[i % 2],
			&nodes[!(i % 2)]);
	}
	ASSERT_EQ(0, ep_wait(&self->b, &add));
	adder_stop(&adder);
	for (i = 0; i < M; i++) {
		ASSERT_EQ(0, touch_read(self->p + i * psize + 7 * 8, &val));
		ASSERT_EQ(adder.n, val);
		ASSERT_EQ(0, ep_read(&self->b, self->q + i * psize + 7 * 8, &val));
		ASSERT_EQ(adder.n, val);
		ASSERT_EQ(0, touch_read(self->p + i * psize + 50 * 8, &val));
		ASSERT_EQ(loops(3000), val);
	}
}

/* 19, 20: what is sealed cannot be adopted. It can be moved, as it can be discarded. */
TEST_F(after, sealed)
{
	char *p = guarded(M);
	struct zcipc_recv m;
	struct buf buf;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, fill(p, M, 1));
	/* In a child: it stays until the end. */
	if (syscall(SYS_mseal, p, M * psize, 0)) {
		guarded_free(p, M);
		SKIP(return, "mseal: %s", strerror(errno));
	}
	test_err_import(EOPNOTSUPP, &self->a, p, M, &buf);
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_SHARE, p, M * psize, 0);
	test_check(&self->a, p, M, 1);
	ASSERT_EQ(0, mappings(p, p + M * psize, ZCIPC_DEVICE));
	test_direct(&self->a, &self->b, ZCIPC_COPY, p, M * psize, ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p, M * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1);
	test_check(&self->a, p, M, 0);
}

/* --- debuggers */

/* One of a process that stands still for it: by ptrace(), word by word, or by /proc. */
struct debugger {
	const char *name;
	int (*peek)(pid_t pid, const char *p, __u64 *val);
	int (*poke)(pid_t pid, const char *p, __u64 val);
};

static int ptrace_stop(pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return -1;
	return waitpid(pid, NULL, __WALL) == pid ? 0 : -1;
}

static int peek_ptrace(pid_t pid, const char *p, __u64 *val)
{
	int err;

	if (ptrace_stop(pid))
		return -2;
	errno = 0;
	*val = ptrace(PTRACE_PEEKDATA, pid, p, 0);
	err = errno;
	ptrace(PTRACE_DETACH, pid, 0, 0);
	errno = err;
	return err ? -1 : 0;
}

static int poke_ptrace(pid_t pid, const char *p, __u64 val)
{
	int rc, err;

	if (ptrace_stop(pid))
		return -2;
	rc = ptrace(PTRACE_POKEDATA, pid, p, val) ? -1 : 0;
	err = errno;
	ptrace(PTRACE_DETACH, pid, 0, 0);
	errno = err;
	return rc;
}

static int proc_mem(pid_t pid, const char *p, __u64 *val, bool write)
{
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -2;
	n = write ? pwrite(fd, val, 8, (uintptr_t)p) : pread(fd, val, 8, (uintptr_t)p);
	close(fd);
	return n == 8 ? 0 : -1;
}

static int peek_proc(pid_t pid, const char *p, __u64 *val)
{
	return proc_mem(pid, p, val, false);
}

static int poke_proc(pid_t pid, const char *p, __u64 val)
{
	return proc_mem(pid, p, &val, true);
}

FIXTURE(debugger)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	char *p;
};

FIXTURE_VARIANT(debugger)
{
	int (*peek)(pid_t pid, const char *p, __u64 *val);
	int (*poke)(pid_t pid, const char *p, __u64 val);
};

FIXTURE_VARIANT_ADD(debugger, ptrace) { .peek = peek_ptrace, .poke = poke_ptrace };
FIXTURE_VARIANT_ADD(debugger, proc) { .peek = peek_proc, .poke = poke_proc };

FIXTURE_SETUP(debugger)
{
	base_setup(_metadata, &self->base);
	test_start(&self->a, true, WINDOW_PAGES);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	self->p = test_memory(&self->a, M, 1);
	test_import(&self->a, self->p, M, &self->src);
}

FIXTURE_TEARDOWN_BASE(debugger)

#define test_peek(ep, p, want)						\
do {									\
	__u64 __val = 0;						\
									\
	ASSERT_EQ(0, variant->peek((ep)->pid, p, &__val))		\
		TH_LOG("%s", strerror(errno));				\
	ASSERT_EQ((__u64)(want), __val);				\
} while (0)
#define test_poke(ep, p, val)						\
	ASSERT_EQ(0, variant->poke((ep)->pid, p, val)) TH_LOG("%s", strerror(errno))
#define test_err_peek(ep, p)						\
do {									\
	__u64 __val = 0;						\
									\
	ASSERT_EQ(-1, variant->peek((ep)->pid, p, &__val));		\
	ASSERT_EQ(0, __val & ~-1ULL);					\
} while (0)
#define test_err_poke(ep, p)	ASSERT_EQ(-1, variant->poke((ep)->pid, p, 0xbad))
#define test_word(ep, p, want)						\
do {									\
	__u64 __val = 0;						\
									\
	ASSERT_EQ(0, ep_read(ep, p, &__val));				\
	ASSERT_EQ((__u64)(want), __val);				\
} while (0)

/* G10: where it was adopted, wherever it goes, and across the end of a page. */
TEST_F(debugger, sees_and_changes)
{
	struct ep *at[] = { &self->a, &self->b, &self->c };
	char *p = self->p, *edge;
	struct buf buf = self->src;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		if (i)
			test_pass(at[i - 1], at[i], ZCIPC_MOVE, buf.cap, &buf);
		p = buf.p;
		test_peek(at[i], p, i ? 70 + i - 1 : pattern(1, 0, 0));
		test_peek(at[i], p + 3 * psize + 800, pattern(1, 3, 100));
		test_poke(at[i], p, 70 + i);
		test_word(at[i], p, 70 + i);
		/* The last word of one page and the first of the next. */
		edge = p + 5 * psize - 4;
		test_poke(at[i], edge, 0x1111111122222222 + i);
		test_peek(at[i], edge, 0x1111111122222222 + i);
		test_word(at[i], edge, 0x1111111122222222 + i);
		test_word(at[i], p + 2 * psize, pattern(1, 2, 0));
		/* Behind the end there is nothing. */
		test_peek(at[i], p + M * psize - 8, pattern(1, M - 1, 511));
		if (i)
			test_err_peek(at[i], p + M * psize);
	}
	/* Where it was there is nothing to be seen, and nobody to be reached. */
	test_err_peek(&self->a, self->p);
	test_err_poke(&self->a, self->p);
	test_err_poke(&self->a, self->p + 3 * psize);
	test_word(&self->c, p, 72);
	test_word(&self->c, p + 3 * psize, pattern(1, 3, 0));
}

/* 7, G6: who may only read cannot write through a debugger. */
TEST_F(debugger, keeps_to_rights)
{
	struct call protect = { .fn = call_munmap, .addr = (uintptr_t)self->p, .n = psize };
	struct buf dst;

	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	test_peek(&self->b, dst.p, pattern(1, 0, 0));
	test_err_poke(&self->b, dst.p);
	test_err_poke(&self->b, dst.p + psize);
	/* Not before it has been touched, and not when it is a snapshot's page too. */
	test_drop(&self->b, dst.cap);
	test_err_peek(&self->b, dst.p);
	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	test_send(&self->a, &self->c, ZCIPC_COPY, self->src.cap);
	test_err_poke(&self->b, dst.p);
	test_check(&self->a, self->p, M, 1);
	/* The owner can, and the other sees it. */
	test_poke(&self->a, self->p, 9);
	test_peek(&self->b, dst.p, 9);
	/* What is not mapped any more is not there. */
	ASSERT_EQ(0, ep_call(&self->a, &protect));
	test_err_peek(&self->a, self->p);
	test_err_poke(&self->a, self->p);
	test_peek(&self->a, self->p + psize, pattern(1, 1, 0));
	test_peek(&self->b, dst.p, 9);
}

/* G4: a poke is a write: the snapshot keeps what it has, whoever is poked. */
TEST_F(debugger, breaks_snapshots)
{
	struct zcipc_region_query q;
	struct zcipc_stats before, after;
	struct buf copy;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	test_stats(&self->base.ep, &before);
	test_poke(&self->a, self->p + 8, 5);
	test_word(&self->b, copy.p + 8, pattern(1, 0, 1));
	test_peek(&self->b, copy.p + 8, pattern(1, 0, 1));
	test_poke(&self->b, copy.p + psize, 6);
	test_word(&self->a, self->p + psize, pattern(1, 1, 0));
	test_poke(&self->b, copy.p + 3 * psize - 4, 0x3333333344444444);
	test_peek(&self->a, self->p + 3 * psize, pattern(1, 3, 0));
	test_peek(&self->b, copy.p + 3 * psize - 4, 0x3333333344444444);
	test_stats(&self->base.ep, &after);
	/* Pages 0, 1, 2 and 3, and no other. */
	ASSERT_EQ(before.copied_write + 4 * psize, after.copied_write);
	test_query(&self->b, copy.cap, &q);
	ASSERT_EQ((M - 4) * psize, q.shared);
	test_word(&self->a, self->p, pattern(1, 0, 0));
	test_word(&self->a, self->p + 8, 5);
	test_check_from(&self->a, self->p + 2 * psize, 2, M - 2, 1);
	test_check(&self->b, copy.p, 1, 1);
	test_check_from(&self->b, copy.p + 4 * psize, 4, M - 4, 1);
}

/* --- those who take pages */

static long call_take(struct ep *ep, struct call *c)
{
	struct iovec iov = { (void *)(uintptr_t)c->addr, c->n };
	struct io_uring_params params = {};
	int fds[2], rc = -1, ring;

	(void)ep;
	switch (c->val) {
	case 0:
	case 1:
		if (pipe(fds))
			return -2;
		rc = vmsplice(fds[1], &iov, 1, c->val ? SPLICE_F_GIFT : 0);
		break;
	case 2:
		ring = syscall(SYS_io_uring_setup, 4, &params);
		if (ring < 0)
			return -2;
		rc = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1);
		break;
	}
	return rc;
}

/* G10: documented: they get EFAULT, wherever the memory is, and nothing happens to it. */
TEST_F(debugger, takers_of_pages_fail)
{
	struct iovec local, remote;
	char text[16] = "0123456789abcde";
	struct ep *at = &self->a;
	struct buf buf = self->src;
	__u64 way;
	int i;

	for (i = 0; i < 2; i++) {
		local = (struct iovec){ text, 16 };
		remote = (struct iovec){ buf.p + 16, 16 };
		TEST_ERR(EFAULT, process_vm_readv(at->pid, &local, 1, &remote, 1, 0));
		TEST_ERR(EFAULT, process_vm_writev(at->pid, &local, 1, &remote, 1, 0));
		ASSERT_EQ(0, strcmp(text, "0123456789abcde"));
		for (way = 0; way < 3; way++) {
			struct call take = { .fn = call_take, .addr = (uintptr_t)buf.p,
					     .n = psize, .val = way };
			int rc = ep_call(at, &take);

			if (rc == -2)
				continue;
			ASSERT_EQ(-1, rc);
			TH_LOG("%llu: %s", (long long)way, strerror(errno));
			/* 6.1's io_uring has another errno for what is a file's. */
			ASSERT_TRUE(errno == EFAULT || errno == EEXIST ||
				    (way == 2 && errno == EOPNOTSUPP))
				TH_LOG("%llu: %s", (long long)way, strerror(errno));
		}
		test_check(at, buf.p, M, 1);
		test_pass(at, &self->b, ZCIPC_MOVE, buf.cap, &buf);
		at = &self->b;
	}
	/* Who copies has no need of that. */
	test_check(at, buf.p, M, 1);
}

TEST_HARNESS_MAIN

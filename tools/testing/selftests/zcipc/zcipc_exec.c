// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings that are executable.
 *
 * Guarantees: G2 (no mapping outlives what ends it), G4 snapshot, G6 rights.
 * Attacks: execution without the right, also by mprotect() (13).
 */
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "zcipc_utils.h"

#define N 16
#define RIGHTS_R	ZCIPC_RIGHT_READ
#define RIGHTS_RX	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC)

/* A function that returns a number of up to 16 bits. 0: not known for this machine. */
static __u64 code(__u64 val)
{
	struct utsname name;

	if (uname(&name))
		return 0;
	/* mov $val, %eax; ret */
	if (!strcmp(name.machine, "x86_64") || name.machine[0] == 'i')
		return 0xc3ULL << 40 | val << 8 | 0xb8;
	/* mov w0, #val; ret */
	if (!strcmp(name.machine, "aarch64"))
		return 0xd65f03c0ULL << 32 | val << 5 | 0x52800000;
	return 0;
}

#define can_run()	(!!code(0))

/* Writes a function where others may execute it already: see struct zcipc_map. */
static long call_code(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	long rc = call_write(ep, c);

	if (!rc)
		__builtin___clear_cache(p, p + sizeof(__u64));
	return rc;
}

static int ep_code(struct ep *ep, char *p, __u64 val)
{
	struct call c = { .fn = call_code, .addr = (uintptr_t)p, .val = code(val) };

	return ep_call(ep, &c);
}

/* What it returns, or a signal, negative. */
static long call_run(struct ep *ep, struct call *c)
{
	int sig = sigsetjmp(touch_env, 0);
	int rc = -sig;

	(void)ep;
	if (!sig) {
		touching = 1;
		rc = ((int (*)(void))(uintptr_t)c->addr)();
	}
	touching = 0;
	return rc;
}

static int ep_run(struct ep *ep, const char *p)
{
	struct call c = { .fn = call_run, .addr = (uintptr_t)p };

	return ep_call(ep, &c);
}

/* What this process has mapped, and would keep an endpoint. */
static struct exec_map {
	void *p;
	size_t len;
} exec_maps[64];
static unsigned int nexec_maps;

static long call_mmap(struct ep *ep, struct call *c)
{
	void *p = mmap(NULL, c->n, c->val, c->val2, ep->fd, c->addr);

	c->addr = (uintptr_t)p;
	if (p == MAP_FAILED)
		return -1;
	exec_maps[nexec_maps++ % ARRAY_SIZE(exec_maps)] = (struct exec_map){ p, c->n };
	return 0;
}

static long call_mprotect(struct ep *ep, struct call *c)
{
	(void)ep;
	return mprotect((void *)(uintptr_t)c->addr, c->n, c->val);
}

/* Pages, not bytes, but for the offset, which is what MAP gave. */
static int ep_mmap(struct ep *ep, const char *offset, size_t npages, int prot, int flags, char **p)
{
	struct call c = { .fn = call_mmap, .addr = (uintptr_t)offset, .n = npages * psize,
			  .val = prot, .val2 = flags };
	int rc = ep_call(ep, &c);

	*p = (char *)(uintptr_t)c.addr;
	return rc;
}

static int ep_mprotect(struct ep *ep, char *p, size_t npages, int prot)
{
	struct call c = { .fn = call_mprotect, .addr = (uintptr_t)p, .n = npages * psize,
			  .val = prot };

	return ep_call(ep, &c);
}

#define test_mmap(...)			TEST_OK(ep_mmap(__VA_ARGS__))
#define test_err_mmap(err, ...)		TEST_ERR(err, ep_mmap(__VA_ARGS__))
#define test_run(val, ep, p)		ASSERT_EQ(val, ep_run(ep, p))

#define PROT_RX (PROT_READ | PROT_EXEC)

static int zc_unmap_exec(struct ep *ep, const char *offset)
{
	struct zcipc_unmap cmd = { .size = sizeof(cmd), .flags = ZCIPC_UNMAP_OFFSET,
				   .addr = (uintptr_t)offset };

	return zc_ioctl(ep, ZCIPC_IOC_UNMAP, &cmd);
}

FIXTURE(exec)
{
	struct base base;
	struct ep a, b;
	struct buf src, dst;
	char *offset;
	char *p;
};

FIXTURE_VARIANT(exec)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(exec, local) { .remote = false, };
FIXTURE_VARIANT_ADD(exec, process) { .remote = true, };

/* The owner writes a function at the beginning of each page, a peer has them executable. */
FIXTURE_SETUP(exec)
{
	int i;

	if (!can_run())
		SKIP(return, "no machine code for this machine");
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 64));
	test_create(&self->a, N, &self->src);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, ep_write(&self->a, self->src.p + i * psize, code(100 + i)));
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &self->dst);
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_RX, &self->offset);
	test_mmap(&self->b, self->offset, N, PROT_RX, MAP_SHARED, &self->p);
	for (i = 0; i < N; i++)
		test_run(100 + i, &self->b, self->p + i * psize);
}

FIXTURE_TEARDOWN(exec)
{
	unsigned int i;

	for (i = 0; i < nexec_maps; i++)
		munmap(exec_maps[i].p, exec_maps[i].len);
	base_teardown(_metadata, &self->base);
}

/* A child has nothing of it. */
static long call_fork_touch(struct ep *ep, struct call *c)
{
	__u64 val;
	pid_t pid;
	int status;

	(void)ep;
	if (madvise((void *)(uintptr_t)c->addr, c->n, MADV_DOFORK))
		return -errno;
	pid = fork();
	if (!pid)
		_exit(touch_read((void *)(uintptr_t)c->addr, &val));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

TEST_F(exec, forked)
{
	struct call c = { .fn = call_fork_touch, .addr = (uintptr_t)self->p, .n = N * psize };
	long rc = ep_call(&self->b, &c);

	if (rc == -EINVAL)
		SKIP(return, "this kernel lets no child inherit it");
	ASSERT_EQ(SIGBUS, rc);
	test_run(100, &self->b, self->p);
}

TEST_F(exec, runs)
{
	struct zcipc_region_query q;
	char *p;

	/* Of the same memory: what the owner writes is executed. */
	ASSERT_EQ(0, ep_code(&self->a, self->src.p + psize, 42));
	test_run(42, &self->b, self->p + psize);
	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ(2, q.maps);
	EXPECT_EQ(0, (uintptr_t)self->offset % psize);
	EXPECT_LE(ZCIPC_WINDOW_OFFSET(3), (uintptr_t)self->offset);
	/* As often as one likes, and also without execution. */
	test_mmap(&self->b, self->offset, N, PROT_EXEC, MAP_SHARED, &p);
	test_run(42, &self->b, p + psize);
	test_mmap(&self->b, self->offset, N, PROT_READ, MAP_SHARED, &p);
	test_touch_read(0, &self->b, p);
	test_run(-SIGSEGV, &self->b, p);
	TEST_OK(ep_mprotect(&self->b, p, N, PROT_RX));
	test_run(100, &self->b, p);
	/* Also without a window. */
	if (!variant->remote) {
		static struct ep none;
		struct buf dst;

		test_open(&none, 0, O_NONBLOCK);
		test_give(&self->a, &none, self->src.cap, RIGHTS_RX, &dst);
		test_map(&none, dst.cap, 0, 0, RIGHTS_RX, &p);
		test_mmap(&none, p, N, PROT_RX, MAP_SHARED, &p);
		test_run(42, &none, p + psize);
	}
}

/* 13: who has the right has no way to write there, who can write has no way to execute. */
TEST_F(exec, never_writable)
{
	static const int prots[] = { PROT_WRITE, PROT_READ | PROT_WRITE, PROT_WRITE | PROT_EXEC,
				     PROT_READ | PROT_WRITE | PROT_EXEC };
	struct iovec local, remote;
	__u64 bad = code(66);
	char path[32], *p;
	size_t i;
	int fd;

	test_touch_write(SIGSEGV, &self->b, self->p);
	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		test_err_mmap(EACCES, &self->b, self->offset, N, prots[i], MAP_SHARED, &p);
		TEST_ERR(EACCES, ep_mprotect(&self->b, self->p, N, prots[i]));
	}
	test_err_map(EINVAL, &self->b, self->dst.cap, 0, 0, RIGHTS_RW | ZCIPC_RIGHT_EXEC, &p);
	test_err_map(EINVAL, &self->b, self->dst.cap, 0, 0, ZCIPC_RIGHT_EXEC, &p);
	/* The kernel's ways, which ask nobody for PROT_WRITE. */
	snprintf(path, sizeof(path), "/proc/%d/mem", self->b.pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		EXPECT_EQ(-1, pwrite(fd, &bad, 8, (uintptr_t)self->p));
	close(fd);
	local = (struct iovec){ &bad, 8 };
	remote = (struct iovec){ self->p, 8 };
	EXPECT_EQ(-1, process_vm_writev(self->b.pid, &local, 1, &remote, 1, 0));
	if (variant->remote && !ptrace(PTRACE_SEIZE, self->b.pid, 0, 0)) {
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, self->b.pid, 0, 0));
		waitpid(self->b.pid, NULL, __WALL);
		EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, self->b.pid, self->p, bad));
		ptrace(PTRACE_DETACH, self->b.pid, 0, 0);
	}
	test_run(100, &self->b, self->p);
	/* The window is never executable. */
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_RW, &p);
	TEST_ERR(EACCES, ep_mprotect(&self->b, p, N, PROT_RX));
	TEST_ERR(EACCES, ep_mprotect(&self->b, p, N, PROT_EXEC));
	test_run(-SIGSEGV, &self->b, p);
}

/* 13: not without the right. */
TEST_F(exec, needs_right)
{
	struct buf dst, next;
	char *p;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL & ~ZCIPC_RIGHT_EXEC, &dst);
	test_err_map(EACCES, &self->b, dst.cap, 0, 0, RIGHTS_RX, &p);
	test_err_grant_rights(EACCES, &self->b, &self->b, dst.cap, RIGHTS_RX);
	test_err_send_rights(EACCES, &self->b, &self->b, ZCIPC_SHARE, dst.cap, RIGHTS_RX);
	test_err_send_rights(EACCES, &self->b, &self->b, ZCIPC_MOVE, dst.cap, RIGHTS_RX);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_run(-SIGSEGV, &self->b, p);
	/* A snapshot is its owner's. */
	test_pass(&self->b, &self->b, ZCIPC_COPY, dst.cap, &next);
	test_map(&self->b, next.cap, 0, 0, RIGHTS_RX, &p);
	test_mmap(&self->b, p, N, PROT_RX, MAP_SHARED, &p);
	test_run(101, &self->b, p + psize);
}

/* Offsets: what they are good for, and nothing else is. */
TEST_F(exec, offsets)
{
	char *part, *p, *q;
	struct buf dst;
	int i;

	/* A part of the mapping, and a mapping of a part. */
	test_mmap(&self->b, self->offset + 4 * psize, 2, PROT_RX, MAP_SHARED, &p);
	test_run(104, &self->b, p);
	test_run(105, &self->b, p + psize);
	test_map(&self->b, self->dst.cap, 8, 2, RIGHTS_RX, &part);
	ASSERT_TRUE(part >= self->offset + N * psize || part + 2 * psize <= self->offset);
	test_mmap(&self->b, part, 2, PROT_RX, MAP_SHARED, &p);
	test_run(108, &self->b, p);
	test_run(109, &self->b, p + psize);
	test_err_mmap(EINVAL, &self->b, part, 3, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part + psize, 2, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part + 2 * psize, 1, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part + (1ULL << 30), 1, PROT_RX, MAP_SHARED, &q);
	test_err_mmap(EINVAL, &self->b, part, 2, PROT_RX, MAP_PRIVATE, &q);
	test_err_mmap(EINVAL, &self->b, part, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, &q);
	test_err_mmap(EINVAL, &self->a, part, 2, PROT_RX, MAP_SHARED, &q);

	/* Addresses are one thing, offsets another. */
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_R, &q);
	test_err_unmap(ENOENT, &self->b, part);
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, q));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, NULL));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, part + psize));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, (char *)-psize));
	TEST_ERR(EINVAL, zc_unmap_exec(&self->b, part + 1));
	TEST_OK(zc_unmap_exec(&self->b, part));
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, part));
	test_run(-SIGBUS, &self->b, p);
	test_err_mmap(EINVAL, &self->b, part, 2, PROT_RX, MAP_SHARED, &q);

	/* Never used again: what is mapped there shows nothing new. */
	for (i = 0; i < 8; i++) {
		test_give(&self->a, &self->b, self->src.cap, RIGHTS_RX, &dst);
		test_map(&self->b, dst.cap, 0, 2, RIGHTS_RX, &q);
		ASSERT_LT(part, q);
		part = q;
		test_run(-SIGBUS, &self->b, p);
		test_drop(&self->b, dst.cap);
	}
	/* The first is still there. */
	test_run(100, &self->b, self->p);
}

/* munmap() of it, or of parts of it, takes nothing but what is seen away. */
TEST_F(exec, munmap)
{
	struct call c = { .fn = call_munmap, .addr = (uintptr_t)self->p + psize, .n = 2 * psize };

	TEST_OK(ep_call(&self->b, &c));
	test_run(100, &self->b, self->p);
	test_run(103, &self->b, self->p + 3 * psize);
	test_run(-SIGSEGV, &self->b, self->p + psize);
	test_users(&self->a, self->src.cap, 2, 2);
	test_mmap(&self->b, self->offset, N, PROT_RX, MAP_SHARED, &self->p);
	test_run(101, &self->b, self->p + psize);
	if (!variant->remote)
		ASSERT_EQ(MAP_FAILED, mremap(self->p, N * psize, 2 * N * psize, MREMAP_MAYMOVE));
}

/* G4: a snapshot is one of the code, too. */
TEST_F(exec, snapshot)
{
	struct buf copy;
	char *p;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	test_map(&self->b, copy.cap, 0, 0, RIGHTS_RX, &p);
	test_mmap(&self->b, p, N, PROT_RX, MAP_SHARED, &p);
	test_run(102, &self->b, p + 2 * psize);
	test_run(102, &self->b, self->p + 2 * psize);
	ASSERT_EQ(0, ep_code(&self->a, self->src.p + 2 * psize, 77));
	test_run(77, &self->b, self->p + 2 * psize);
	test_run(102, &self->b, p + 2 * psize);
	ASSERT_EQ(0, ep_code(&self->b, copy.p + 3 * psize, 78));
	test_run(103, &self->b, self->p + 3 * psize);
	test_run(78, &self->b, p + 3 * psize);
}

/* A part that is moved away is gone, the rest runs. */
TEST_F(exec, part_is_moved)
{
	struct zcipc_transfer t = transfer_cmd(&self->a, ZCIPC_MOVE, self->src.cap, 4, 2, 0);
	struct buf moved;
	int i;

	t.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &t);
	test_take(&self->a, &moved);
	for (i = 0; i < N; i++)
		test_run(i == 4 || i == 5 ? -SIGBUS : 100 + i, &self->b, self->p + i * psize);
	ASSERT_EQ(0, ep_write(&self->a, moved.p, code(1)));
	test_run(-SIGBUS, &self->b, self->p + 4 * psize);
}

/* Has a page been made known to instruction caches? Not where they see what is written anyway. */
static bool page_is_known(const char *p)
{
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0, bits = 0;

	if (pread(map, &entry, sizeof(entry), (uintptr_t)p / psize * sizeof(entry)) < 0 ||
	    pread(flags, &bits, sizeof(bits),
		  (entry & ((1ULL << 55) - 1)) * sizeof(bits)) < 0)
		bits = 0;
	close(map);
	close(flags);
	/* KPF_ARCH, which is PG_arch_1. */
	return entry >> 63 && bits >> 38 & 1;
}

/* Where one function was there is the next, be the pages new or not, whatever maps them. */
TEST_F(exec, written_again)
{
	static const __u32 kinds[] = { 0, ZCIPC_CREATE_UNPINNABLE, ZCIPC_CREATE_HUGE };
	bool known[ARRAY_SIZE(kinds)];
	char *offset, *window, *p;
	static struct ep ep;
	struct buf b;
	__u64 val;
	size_t i;

	if (variant->remote)
		SKIP(return, "one kind of peer is enough");
	test_open(&ep, 2 * huge_pages, O_NONBLOCK);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		test_create_flags(&ep, 1, kinds[i], &b);
		window = b.p;
		for (val = 1; val < 4; val++) {
			ASSERT_EQ(0, ep_write(&ep, window, code(100 * i + val)));
			test_map(&ep, b.cap, 0, 0, RIGHTS_RX, &offset);
			EXPECT_FALSE(page_is_known(window));
			test_mmap(&ep, offset, b.npages, PROT_RX, MAP_SHARED, &p);
			test_run(100 * i + val, &ep, p);
			known[i] = page_is_known(window);
			EXPECT_EQ(known[0], known[i]);
			TEST_OK(zc_unmap_exec(&ep, offset));
		}
		test_drop(&ep, b.cap);
	}
}

/* Another process has neither the offsets nor the mappings. */
TEST_F(exec, other_process)
{
	struct call c = { .fn = call_send_fd };
	int fd, status;
	pid_t pid;

	if (variant->remote) {
		ASSERT_EQ(0, ep_send(&self->b, &c));
		fd = recv_fd(self->b.sock);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ep_wait(&self->b, &c));
		ASSERT_EQ(MAP_FAILED, mmap(NULL, N * psize, PROT_RX, MAP_SHARED, fd,
					   (uintptr_t)self->offset));
		ASSERT_EQ(EPERM, errno);
		close(fd);
		return;
	}
	pid = fork();
	if (!pid) {
		void *p = mmap(NULL, N * psize, PROT_RX, MAP_SHARED, self->b.fd,
			       (uintptr_t)self->offset);

		if (p != MAP_FAILED || errno != EPERM)
			_exit(1);
		_exit(ep_run(&self->b, self->p) == -SIGSEGV ? 0 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	test_run(100, &self->b, self->p);
}

/* It ends with whatever ends it, and does not come back. */
FIXTURE(exec_end)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, dst;
	char *offset;
	char *p;
};

enum exec_end { BY_UNMAP, BY_DROP, BY_REVOKE, BY_PEER, BY_OWN, BY_PULL, BY_MOVE };

FIXTURE_VARIANT(exec_end)
{
	enum exec_end how;
};

FIXTURE_VARIANT_ADD(exec_end, unmap) { .how = BY_UNMAP, };
FIXTURE_VARIANT_ADD(exec_end, drop) { .how = BY_DROP, };
FIXTURE_VARIANT_ADD(exec_end, revoke) { .how = BY_REVOKE, };
FIXTURE_VARIANT_ADD(exec_end, revoke_of_peer) { .how = BY_PEER, };
FIXTURE_VARIANT_ADD(exec_end, revoke_own) { .how = BY_OWN, };
FIXTURE_VARIANT_ADD(exec_end, pull) { .how = BY_PULL, };
FIXTURE_VARIANT_ADD(exec_end, move_from_others) { .how = BY_MOVE, };

FIXTURE_SETUP(exec_end)
{
	int i;

	if (!can_run())
		SKIP(return, "no machine code for this machine");
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, true, 64));
	test_open(&self->c, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	for (i = 0; i < N; i++)
		ASSERT_EQ(0, ep_write(&self->a, self->src.p + i * psize, code(100 + i)));
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &self->dst);
	test_map(&self->b, self->dst.cap, 0, 0, RIGHTS_RX, &self->offset);
	test_mmap(&self->b, self->offset, N, PROT_RX, MAP_SHARED, &self->p);
}

FIXTURE_TEARDOWN_BASE(exec_end)

TEST_F(exec_end, ends_the_mapping)
{
	struct zcipc_transfer t;
	char *p;
	__u64 n;
	int i;

	for (i = 0; i < N; i++)
		test_run(100 + i, &self->b, self->p + i * psize);
	switch (variant->how) {
	case BY_UNMAP:
		TEST_OK(zc_unmap_exec(&self->b, self->offset));
		break;
	case BY_DROP:
		test_drop(&self->b, self->dst.cap);
		break;
	case BY_REVOKE:
		test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
		break;
	case BY_PEER:
		test_revoke(&self->a, &self->b, self->dst.cap, 0, &n);
		break;
	case BY_OWN:
		test_revoke(&self->b, NULL, self->dst.cap, 0, &n);
		break;
	case BY_PULL:
		t = transfer_cmd(&self->b, ZCIPC_MOVE, self->dst.cap, 0, 0, 0);
		t.flags = ZCIPC_F_REVOKE_OTHERS;
		test_transfer(&self->b, &t);
		break;
	case BY_MOVE:
		t = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
		t.flags = ZCIPC_F_REVOKE_OTHERS;
		test_transfer(&self->a, &t);
		break;
	}
	for (i = 0; i < N; i++)
		test_run(-SIGBUS, &self->b, self->p + i * psize);
	test_touch_read(SIGBUS, &self->b, self->p);
	test_err_mmap(EINVAL, &self->b, self->offset, N, PROT_RX, MAP_SHARED, &p);
	TEST_ERR(ENOENT, zc_unmap_exec(&self->b, self->offset));
	if (variant->how == BY_UNMAP || variant->how == BY_DROP || variant->how == BY_OWN)
		test_touch_read(0, &self->a, self->src.p);
}

TEST_HARNESS_MAIN

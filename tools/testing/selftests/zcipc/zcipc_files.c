// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory that there is already: memfds, tmpfs, MAP_SHARED, page cache.
 *
 * Guarantees: G2 (no MOVE of what others can reach), G5 coherence, G6 rights and revocation, G8
 * death, G10 ordinary memory.
 * Attacks: 3 pieces of a mapping, 4 fork, 7 read-only, 13 rights, 19 kinds of memory, 20 truncation
 * and holes.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "zcipc_utils.h"
#include "lib/files.h"

#define N 8
#define RIGHTS_READ ZCIPC_RIGHT_READ

/* More pages than are copied with the locks of an endpoint. */
#define LONG 700

FIXTURE(file)
{
	struct base base;
	struct ep a, b, c;
	int fd;
	char *p;
};

FIXTURE_VARIANT(file)
{
	int (*make)(void);		/* NULL: memory without a name */
};

FIXTURE_VARIANT_ADD(file, memfd) { .make = file_memfd };
FIXTURE_VARIANT_ADD(file, anonymous) { .make = NULL };
FIXTURE_VARIANT_ADD(file, tmpfs) { .make = file_tmpfs };
FIXTURE_VARIANT_ADD(file, huge) { .make = file_huge };
FIXTURE_VARIANT_ADD(file, root) { .make = file_root };
FIXTURE_VARIANT_ADD(file, ext4) { .make = file_ext4 };

FIXTURE_SETUP(file)
{
	base_setup(_metadata, &self->base);
	/* They need no windows. */
	test_open(&self->a, 0, O_NONBLOCK);
	ASSERT_FALSE(peer_fork(&self->b) || peer_open(&self->b, 0, O_NONBLOCK));
	ASSERT_FALSE(peer_fork(&self->c) || peer_open(&self->c, 0, O_NONBLOCK));
	self->fd = -1;
	if (variant->make) {
		self->fd = variant->make();
		if (self->fd < 0)
			SKIP(return, "no such file: %s", strerror(errno));
		ASSERT_EQ(0, ftruncate(self->fd, N * psize));
	}
	self->p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE,
		       MAP_SHARED | (variant->make ? 0 : MAP_ANONYMOUS), self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->p);
	ASSERT_EQ(0, fill(self->p, N, 1));
}

FIXTURE_TEARDOWN(file)
{
	munmap(self->p, N * psize);
	if (self->fd >= 0)
		close(self->fd);
	base_teardown(_metadata, &self->base);
}

/* Both see one memory, at once, whoever writes. */
TEST_F(file, coherent)
{
	struct zcipc_recv m, m2;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	ASSERT_EQ(ZCIPC_SHARE, m.type);
	ASSERT_EQ(RIGHTS_RW, m.rights);
	ASSERT_EQ(N * psize, m.len);
	ASSERT_NE(0, m.addr);
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	test_check(&self->a, self->p, N, 2);
	test_fill(&self->a, self->p, N, 3);
	test_check(&self->b, addr_of(&m), N, 3);
	/* A part of it, shared once more; the peer writes where it has not read. */
	test_share(&self->a, &self->c, self->p + 2 * psize, 3, RIGHTS_RW, &m2);
	ASSERT_EQ(3 * psize, m2.len);
	test_touch_write(0, &self->c, addr_of(&m2));
	test_fill(&self->c, addr_of(&m2), 3, 4);
	test_check(&self->a, self->p + 2 * psize, 3, 4);
	test_check(&self->b, addr_of(&m) + 2 * psize, 3, 4);
	test_check(&self->a, self->p, 2, 3);
	test_touch_read(SIGSEGV, &self->c, (char *)8);
}

/* What the sender does with its mapping, or its file, is its own affair. */
TEST_F(file, survives)
{
	struct zcipc_recv m;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, munmap(self->p, N * psize));
	if (self->fd >= 0)
		close(self->fd);
	self->fd = -1;
	test_check(&self->b, addr_of(&m), N, 1);
	ep_end(&self->a);
	test_fill(&self->b, addr_of(&m), N, 2);
	test_check(&self->b, addr_of(&m), N, 2);
}

/* Nor does the mapping go with the endpoint's file descriptor. */
static long call_close_fd(struct ep *ep, struct call *c)
{
	(void)c;
	return close(ep->fd);
}

static long call_reopen(struct ep *ep, struct call *c)
{
	(void)c;
	ep->fd = -1;
	return 0;
}

TEST_F(file, closed)
{
	struct call c = { .fn = call_close_fd };
	struct zcipc_stats stats;
	struct zcipc_recv m;
	__u64 maps;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, ep_call(&self->b, &c));
	c = (struct call){ .fn = call_reopen };
	ASSERT_EQ(0, ep_call(&self->b, &c));
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	test_check(&self->a, self->p, N, 2);
	test_stats(&self->base.ep, &stats);
	maps = stats.maps;
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(&m), N * psize, 0, 0, 0));
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) && stats.maps == maps - 1));
}

/* Reading is all that one may do. */
TEST_F(file, read_only)
{
	struct zcipc_recv m, m2;
	struct iovec local = { &m2, 8 }, remote;
	char path[32];
	char *p;
	int fd;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ | ZCIPC_RIGHT_GRANT, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	test_touch_write(SIGSEGV, &self->b, addr_of(&m));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mprotect, addr_of(&m), N * psize,
				   PROT_READ | PROT_WRITE, 0, 0));
	ASSERT_EQ(EACCES, errno);
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_madvise, addr_of(&m), N * psize, MADV_REMOVE,
				   0, 0));
	remote = (struct iovec){ addr_of(&m), 8 };
	ASSERT_EQ(-1, process_vm_writev(self->b.pid, &local, 1, &remote, 1, 0));
	ASSERT_EQ(EFAULT, errno);
	ASSERT_EQ(8, process_vm_readv(self->b.pid, &local, 1, &remote, 1, 0));
	snprintf(path, sizeof(path), "/proc/%d/mem", self->b.pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(-1, pwrite(fd, path, 8, m.addr));
	close(fd);
	test_err_map(EACCES, &self->b, m.cap, 0, N, RIGHTS_RW, &p);
	test_err_share(EACCES, &self->b, &self->c, addr_of(&m), N, RIGHTS_RW, &m2);
	test_share(&self->b, &self->c, addr_of(&m), N, RIGHTS_READ, &m2);
	test_touch_write(SIGSEGV, &self->c, addr_of(&m2));
	test_check(&self->c, addr_of(&m2), N, 1);
	test_check(&self->a, self->p, N, 1);
	/* Nobody shares what he has not. */
	ASSERT_EQ(0, mprotect(self->p, psize, PROT_READ));
	test_err_share(EACCES, &self->a, &self->b, self->p, N, RIGHTS_RW, &m2);
	ASSERT_EQ(0, mprotect(self->p, psize, PROT_NONE));
	test_err_share(EACCES, &self->a, &self->b, self->p, N, RIGHTS_READ, &m2);
}

/* No way leads to the rest of the file, or to a mapping that cannot be revoked. */
TEST_F(file, no_way_out)
{
	struct zcipc_recv m;
	char *p;

	test_share(&self->a, &self->b, self->p + psize, 4, RIGHTS_RW, &m);
	p = addr_of(&m);
	test_fill(&self->b, p, 4, 2);
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_remap_file_pages, p, psize, 0, 5, 0));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mremap, p, 4 * psize, 8 * psize, MREMAP_MAYMOVE,
				   0));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mremap, p, 0, 4 * psize, MREMAP_MAYMOVE, 0));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mremap, p, 4 * psize, 4 * psize,
				   MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mprotect, p, psize, PROT_READ | PROT_EXEC, 0, 0));
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_msync, p, 4 * psize, MS_SYNC, 0, 0));
	test_check(&self->b, p, 4, 2);
	test_check(&self->a, self->p + psize, 4, 2);
	test_check_from(&self->a, self->p + 5 * psize, 5, 3, 1);
}

/* Where in the endpoint's file it is said to be cannot be mapped by anybody else. */
TEST_F(file, not_by_offset)
{
	struct zcipc_recv m;
	size_t i;

	test_share(&self->a, &self->a, self->p, N, RIGHTS_RW, &m);
	/* The first ones outside of windows and rings. */
	for (i = 0; i < 64; i++)
		ASSERT_EQ(MAP_FAILED, mmap(NULL, N * psize, PROT_READ, MAP_SHARED, self->a.fd,
					   ZCIPC_RING_OFFSET_HEAD + (1ULL << 40) + i * psize));
	munmap(addr_of(&m), N * psize);
}

/* A child has nothing. */
static long call_fork_touch(struct ep *ep, struct call *c)
{
	__u64 val;
	pid_t pid;
	int status;

	(void)ep;
	/* Newer kernels let no child inherit it. */
	if (madvise((void *)(uintptr_t)c->addr, c->n, MADV_DOFORK) && errno != EINVAL)
		return -1;
	pid = fork();
	if (!pid)
		_exit(touch_read((void *)(uintptr_t)c->addr, &val));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(file, forked)
{
	struct call c = { .fn = call_fork_touch, .n = N * psize };
	struct zcipc_recv m;
	long rc;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	c.addr = m.addr;
	/* There is nothing, or not even a mapping. */
	rc = ep_call(&self->b, &c);
	ASSERT_TRUE(rc == SIGBUS || rc == SIGSEGV);
	test_check(&self->b, addr_of(&m), N, 1);
}

/* When REVOKE returns there is nothing left, at any depth; the owner does not notice. */
TEST_F(file, revoke)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m, m2;
	__u64 n;
	char *p;

	cmd.rights = RIGHTS_RW | ZCIPC_RIGHT_GRANT;
	test_transfer(&self->a, &cmd);
	test_recv(&self->b, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	test_map(&self->b, m.cap, 2, 2, RIGHTS_RW, &p);
	test_check_from(&self->b, p, 2, 2, 1);
	test_share(&self->b, &self->c, addr_of(&m) + psize, 2, RIGHTS_RW, &m2);
	test_fill(&self->c, addr_of(&m2), 2, 4);
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	ASSERT_EQ(2, n);
	test_gone(&self->b, addr_of(&m), N);
	test_gone(&self->b, p, 2);
	test_gone(&self->c, addr_of(&m2), 2);
	test_check(&self->a, self->p + psize, 2, 4);
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_REVOKED, m.type);
	test_recv(&self->c, &m2);
	ASSERT_EQ(ZCIPC_REVOKED, m2.type);
	/* The owner's own, of which nobody had the token, goes too, and nobody hears of it. */
	test_err_recv(EAGAIN, &self->a, &m);
}

/* A message that is not yet received is not heard of any more. */
TEST_F(file, revoke_unheard)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m;
	__u64 n;

	cmd.rights = RIGHTS_RW;
	test_transfer(&self->a, &cmd);
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	ASSERT_EQ(1, n);
	test_err_recv(EAGAIN, &self->b, &m);
}

struct toucher {
	char *p;
	size_t npages;
	volatile bool stop;
	volatile unsigned long times;
};

static void *touch_all(void *data)
{
	struct toucher *t = data;
	__u64 val;
	size_t i;

	for (i = 0; !t->stop; i = (i + 1) % t->npages) {
		touch_read(t->p + i * psize, &val);
		t->times++;
	}
	return NULL;
}

static struct toucher toucher;

static long call_touch(struct ep *ep, struct call *c)
{
	static pthread_t thread;

	(void)ep;

	if (c->addr) {
		toucher = (struct toucher){ (char *)(uintptr_t)c->addr, c->n, false, 0 };
		return pthread_create(&thread, NULL, touch_all, &toucher);
	}
	toucher.stop = true;
	return pthread_join(thread, NULL);
}

/* Has each page been touched? */
static long call_touched_all(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	return toucher.times > toucher.npages;
}

/* Threads that fault all the time do not get anything back. */
TEST_F(file, revoke_under_faults)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m;
	unsigned int i;
	__u64 n;

	cmd.rights = RIGHTS_RW;
	for (i = 0; i < loops(20); i++) {
		struct call c = { .fn = call_touch, .n = N };

		test_transfer(&self->a, &cmd);
		test_recv(&self->b, &m);
		c.addr = m.addr;
		ASSERT_EQ(0, ep_call(&self->b, &c));
		msleep(i % 4);
		test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
		test_gone(&self->b, addr_of(&m), N);
		c.addr = 0;
		ASSERT_EQ(0, ep_call(&self->b, &c));
		test_gone(&self->b, addr_of(&m), N);
		test_recv(&self->b, &m);
		ASSERT_EQ(ZCIPC_REVOKED, m.type);
	}
}

/* A fault that has its page already, and is as slow as can be. */
TEST_F(file, revoke_of_a_slow_fault)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct call c = { .fn = call_touch, .n = N };
	struct zcipc_recv m;
	__u64 n;

	need_points();
	cmd.rights = RIGHTS_RW;
	/* Nothing there: core mm cannot insert what it does not have. */
	ASSERT_EQ(0, madvise(self->p, N * psize, MADV_REMOVE));
	test_transfer(&self->a, &cmd);
	test_recv(&self->b, &m);
	point_set("view", 300);
	c.addr = m.addr;
	ASSERT_EQ(0, ep_call(&self->b, &c));
	c.fn = call_touched_all;
	ASSERT_TRUE(wait_until(file_number(POINT_PARAMETER "hits", NULL) > 0 ||
			       ep_call(&self->b, &c)));
	/* A fault that waits for the disk is made anew, and finds all that has been read ahead. */
	if (file_number(POINT_PARAMETER "hits", NULL) <= 0)
		SKIP(return, "no fault has come with a page");
	c.fn = call_touch;
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	point_go();
	c.addr = 0;
	ASSERT_EQ(0, ep_call(&self->b, &c));
	test_gone(&self->b, addr_of(&m), N);
}

/* Many views are taken back at once, not each with a walk over all that there are. */
TEST_F(file, revoke_of_many)
{
	struct zcipc_stats before, after;
	struct zcipc_recv m;
	unsigned int i;
	char *p[32];
	__u64 n;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		test_map(&self->b, m.cap, i % N, 1, RIGHTS_RW, &p[i]);
		test_check_from(&self->b, p[i], i % N, 1, 1);
	}
	test_stats(&self->base.ep, &before);
	test_revoke(&self->a, &self->b, m.cap, 0, &n);
	test_stats(&self->base.ep, &after);
	ASSERT_EQ(1, n);
	EXPECT_EQ(1, after.shootdowns - before.shootdowns);
	test_gone(&self->b, addr_of(&m), N);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		test_gone(&self->b, p[i], 1);
}

/* Dead views that an endpoint can have. */
#define MAX_DEAD 256

/* Leaves dead views behind, one for each capability. Returns how many there were. */
static unsigned int leave_dead(struct ep *ep, struct ep *from, const char *p, char **dead,
			       unsigned int max)
{
	struct zcipc_recv m;
	unsigned int i;
	__u64 revoked;

	for (i = 0; i < max; i++) {
		if (zc_share(from, ep, p, N, RIGHTS_READ, &m) || !m.addr)
			break;
		dead[i] = addr_of(&m);
		if (zc_revoke(from, ep, m.cap, 0, &revoked) || zc_recv(ep, &m))
			break;
	}
	return i;
}

/* G11: who leaves what is dead where it is gets no more, and makes nobody's REVOKE slow. */
TEST_F(file, too_many_dead)
{
	static char *dead[MAX_DEAD], *live[2];
	struct zcipc_recv m, old;
	unsigned int i, n;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &old);
	/* What is dropped is unmapped, unless it is in pieces. */
	for (i = 0; i < 10; i++) {
		test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
		test_drop(&self->b, m.cap);
		test_touch_read(SIGSEGV, &self->b, addr_of(&m));
	}
	for (i = 0; i < 10; i++) {
		test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
		dead[i] = addr_of(&m);
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[i] + 3 * psize, psize, 0, 0,
					  0));
		test_drop(&self->b, m.cap);
	}
	ASSERT_EQ(MAX_DEAD - i, leave_dead(&self->b, &self->a, self->p, dead + i, MAX_DEAD - i));
	test_err_map(ENOBUFS, &self->b, old.cap, 0, 0, RIGHTS_READ, &live[0]);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	ASSERT_EQ(0, m.addr);
	/* What it has it keeps, and another endpoint has nothing to do with it. */
	test_check(&self->b, addr_of(&old), N, 1);
	test_share(&self->a, &self->c, self->p, N, RIGHTS_READ, &old);
	ASSERT_NE(0, old.addr);
	/* A piece of a mapping is one still. */
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[0], psize, 0, 0, 0));
	test_err_map(ENOBUFS, &self->b, m.cap, 0, 0, RIGHTS_READ, &live[0]);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[0] + 2 * psize, psize, 0, 0, 0));
	test_err_map(ENOBUFS, &self->b, m.cap, 0, 0, RIGHTS_READ, &live[0]);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[0], N * psize, 0, 0, 0));
	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &live[0]);
	test_check(&self->b, live[0], N, 1);
	/* It counts when it dies, not before. What is unmapped by then does not. */
	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &live[1]);
	test_unmap(&self->b, live[1]);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, live[0], N * psize, 0, 0, 0));
	test_drop(&self->b, m.cap);
	/* Nor has anything been counted twice. */
	for (n = 1; n < MAX_DEAD; n++)
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[n], N * psize, 0, 0, 0));
	ASSERT_EQ(MAX_DEAD, leave_dead(&self->b, &self->a, self->p, dead, MAX_DEAD));
	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	ASSERT_EQ(0, m.addr);
}

/* What could not be mapped is none of them. */
TEST_F(file, not_mapped_is_not_dead)
{
	struct rlimit limit = { 0, 0 }, old;
	struct zcipc_recv m;
	unsigned int i;
	char *p;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	ASSERT_EQ(0, prlimit(self->b.pid, RLIMIT_AS, &limit, &old));
	for (i = 0; i < MAX_DEAD + 10; i++)
		test_err_map(ENOMEM, &self->b, m.cap, 0, 0, RIGHTS_READ, &p);
	ASSERT_EQ(0, prlimit(self->b.pid, RLIMIT_AS, &old, NULL));
	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &p);
	test_check(&self->b, p, N, 1);
}

/* Once nobody has anything that was derived from it, what nobody could drop goes by itself. */
TEST_F(file, nothing_is_left)
{
	struct zcipc_stats before, stats;
	struct zcipc_recv m, m2;
	int i;

	test_stats(&self->base.ep, &before);
	for (i = 0; i < 3; i++) {
		test_share(&self->a, &self->b, self->p, N, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &m);
		test_share(&self->b, &self->c, addr_of(&m), N, RIGHTS_READ, &m2);
		test_stats(&self->base.ep, &stats);
		ASSERT_EQ(before.regions + 1, stats.regions);
		ASSERT_EQ(before.caps + 3, stats.caps);
		ASSERT_EQ(before.maps + 2, stats.maps);
		ASSERT_EQ(before.frames, stats.frames);
		test_drop(&self->b, m.cap);
		test_touch_read(SIGSEGV, &self->b, addr_of(&m));
		test_check(&self->c, addr_of(&m2), N, 1);
		test_stats(&self->base.ep, &stats);
		ASSERT_EQ(before.caps + 2, stats.caps);
		if (i == 1)
			test_drop(&self->c, m2.cap);
		else if (i == 2)
			ep_end(&self->c);
		else
			test_revoke(&self->a, &self->c, m2.cap, 0, &stats.caps);
		if (!i)
			test_recv(&self->c, &m2);
		ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
				       stats.regions == before.regions &&
				       stats.caps == before.caps && stats.maps == before.maps));
	}
	/* Nor is anything left of what did not work. */
	test_depth(&self->b, 1);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_drop(&self->b, m.cap);
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
			       stats.regions == before.regions));
	test_policy(&self->b, ZCIPC_POLICY_NOBODY);
	test_err_share(EPERM, &self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
			       stats.regions == before.regions && stats.caps == before.caps));
}

/* UNMAP, munmap() of all and of a part, and DROP. */
TEST_F(file, unmap)
{
	struct zcipc_region_query query;
	struct zcipc_recv m;
	char *p, *q;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	query.cap = m.cap;
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(1, query.maps);
	ASSERT_EQ(N * psize, query.present);
	ASSERT_EQ(0, query.shared);
	test_err_unmap(ENOENT, &self->b, addr_of(&m) + psize);
	test_unmap(&self->b, addr_of(&m));
	test_touch_read(SIGSEGV, &self->b, addr_of(&m));
	test_err_unmap(ENOENT, &self->b, addr_of(&m));
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(0, query.maps);

	test_map(&self->b, m.cap, 1, 4, RIGHTS_RW, &p);
	test_check_from(&self->b, p, 1, 4, 1);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, p + psize, psize, 0, 0, 0));
	test_check_from(&self->b, p, 1, 1, 1);
	test_check_from(&self->b, p + 2 * psize, 3, 2, 1);
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(1, query.maps);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, p, 4 * psize, 0, 0, 0));
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(0, query.maps);

	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &p);
	test_touch_write(SIGSEGV, &self->b, p);
	/* As often as it is mapped. */
	test_map(&self->b, m.cap, 1, 2, RIGHTS_READ, &q);
	test_drop(&self->b, m.cap);
	test_touch_read(SIGSEGV, &self->b, p);
	test_touch_read(SIGSEGV, &self->b, q);
}

/* How often this thread has to fault to read all pages. */
static long faults(const char *p, size_t npages)
{
	struct rusage before, after;
	__u64 val;
	size_t i;

	getrusage(RUSAGE_THREAD, &before);
	for (i = 0; i < npages; i++)
		touch_read(p + i * psize, &val);
	getrusage(RUSAGE_THREAD, &after);
	return after.ru_minflt - before.ru_minflt;
}

/* Who takes his own mapping away does not disturb those of others. The kernel itself may. */
TEST_F(file, unmap_of_ones_own)
{
	bool undisturbed[2] = {};
	struct zcipc_recv m;
	int i;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	for (i = 0; i < 40 && !(undisturbed[0] && undisturbed[1]); i++) {
		char *p;

		test_map(&self->b, m.cap, 0, 0, RIGHTS_RW, &p);
		test_check(&self->b, p, N, 1);
		faults(self->p, N);
		if (i % 2)
			test_unmap(&self->b, p);
		else
			ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, p, N * psize, 0, 0, 0));
		undisturbed[i % 2] |= !faults(self->p, N);
	}
	ASSERT_TRUE(undisturbed[0]);
	ASSERT_TRUE(undisturbed[1]);
}

/* The token of the sender's capability can be guessed. What it maps goes with it, too. */
TEST_F(file, guessed)
{
	struct zcipc_recv m;
	struct buf buf;
	char *p, *q;

	test_import(&self->a, self->p, N, &buf);
	test_drop(&self->a, buf.cap);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	buf.cap += 1 << 20;
	test_map(&self->a, buf.cap, 0, 0, RIGHTS_RW, &p);
	ASSERT_EQ(0, check(p, 0, N, 1));
	test_drop(&self->b, m.cap);
	ASSERT_TRUE(wait_until(!ep_gone(&self->a, p, N)));
	test_err_map(ESTALE, &self->a, buf.cap, 0, 0, RIGHTS_RW, &q);
	ASSERT_EQ(0, munmap(p, N * psize));
}

/* What cannot be a snapshot is copied if that is all right, from a view as from others. */
TEST_F(file, copied)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf buf, got;
	struct ep d;

	test_open(&d, 64, O_NONBLOCK);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	cmd = direct_cmd(&d, ZCIPC_COPY, addr_of(&m), N * psize, 0);
	test_err_transfer(EOPNOTSUPP, &self->b, &cmd);
	cmd.flags |= ZCIPC_F_COPY_OK;
	test_transfer(&self->b, &cmd);
	ASSERT_EQ(N * psize, cmd.copied);
	test_take(&d, &got);
	test_check(&d, got.p, N, 1);
	cmd.flags |= ZCIPC_F_ANY_ALIGN;
	cmd.offset += 8;
	cmd.len -= 16;
	test_transfer(&self->b, &cmd);
	test_take(&d, &got);
	cmd = direct_cmd(&d, ZCIPC_MOVE, addr_of(&m), N * psize, ZCIPC_F_COPY_OK);
	test_transfer(&self->b, &cmd);
	test_take(&d, &got);
	test_check(&d, got.p, N, 1);
	test_check(&self->b, addr_of(&m), N, 1);
	/* The same with a capability of one's own. */
	test_import(&self->a, self->p, N, &buf);
	cmd = direct_cmd(&d, ZCIPC_COPY, self->p, N * psize, ZCIPC_F_COPY_OK);
	test_transfer(&self->a, &cmd);
	test_take(&d, &got);
	test_check(&d, got.p, N, 1);
}

/* Who watches a file does not hear of views: nobody opens it. */
TEST_F(file, not_opened)
{
	struct zcipc_recv m;
	char path[40], event[512];
	int watch;

	if (self->fd < 0)
		return;
	watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch < 0)
		SKIP(return, "no inotify: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	ASSERT_LE(0, inotify_add_watch(watch, path, IN_OPEN | IN_CLOSE));
	test_share(&self->a, &self->a, self->p, N, RIGHTS_RW, &m);
	test_check(&self->a, addr_of(&m), N, 1);
	test_drop(&self->a, m.cap);
	ASSERT_EQ(0, munmap(addr_of(&m), N * psize));
	ASSERT_EQ(-1, read(watch, event, sizeof(event)));
	ASSERT_EQ(EAGAIN, errno);
	close(watch);
}

/* How many shared mappings there are in an endpoint's process. */
static long call_count_shared(struct ep *ep, struct call *c)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[256];
	long n = 0;

	(void)ep;
	(void)c;
	while (fgets(line, sizeof(line), maps))
		n += !!strstr(line, "-s ");
	fclose(maps);
	return n;
}

/* Revoked just when it is received: nothing is mapped where nobody knows of it. */
TEST_F(file, revoked_in_recv)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct call count = { .fn = call_count_shared };
	struct call c = { .fn = call_ioctl, .n = ZCIPC_IOC_RECV };
	struct zcipc_recv *m = (struct zcipc_recv *)c.cmd;
	long views;
	__u64 n;

	need_points();
	cmd.rights = RIGHTS_RW;
	views = ep_call(&self->b, &count);
	test_transfer(&self->a, &cmd);
	point_set("mapped", 300);
	m->size = sizeof(*m);
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(point_reached());
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	point_go();
	if (ep_wait(&self->b, &c)) {
		ASSERT_EQ(EAGAIN, errno);
	} else {
		ASSERT_EQ(ZCIPC_SHARE, m->type);
		test_gone(&self->b, addr_of(m), N);
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(m), N * psize, 0, 0, 0));
	}
	count = (struct call){ .fn = call_count_shared };
	ASSERT_EQ(views, ep_call(&self->b, &count));
}

/* Revoked just when it is mapped: it is as if it had been before. */
TEST_F(file, revoked_in_map)
{
	struct call c = { .fn = call_ioctl, .n = ZCIPC_IOC_MAP };
	struct zcipc_map *map = (struct zcipc_map *)c.cmd;
	struct call count = { .fn = call_count_shared };
	struct zcipc_recv m;
	long views;
	__u64 n;

	need_points();
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	views = ep_call(&self->b, &count);
	*map = (struct zcipc_map){ .size = sizeof(*map), .cap = m.cap,
				   .rights = ZCIPC_RIGHT_READ };
	point_stop("mmap");
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(point_reached());
	test_revoke(&self->a, &self->b, m.cap, 0, &n);
	point_go();
	ASSERT_EQ(-1, ep_wait(&self->b, &c));
	ASSERT_EQ(ESTALE, errno);
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_REVOKED, m.type);
	count = (struct call){ .fn = call_count_shared };
	ASSERT_EQ(views, ep_call(&self->b, &count));
}

/* IMPORT makes a capability that can be used more than once. */
TEST_F(file, import)
{
	struct zcipc_region_query query;
	struct zcipc_recv m;
	struct buf buf, got;
	char *p;

	test_import(&self->a, self->p, N, &buf);
	test_check(&self->a, self->p, N, 1);
	test_query(&self->a, buf.cap, &query);
	ASSERT_EQ(RIGHTS_RW | ZCIPC_RIGHT_GRANT, query.rights);
	ASSERT_EQ(0, query.maps);
	test_give_part(&self->a, &self->b, buf.cap, 2, 3, RIGHTS_RW, &got);
	test_map(&self->b, got.cap, 1, 1, RIGHTS_RW, &p);
	test_check_from(&self->b, p, 3, 1, 1);
	test_send_rights(&self->a, &self->c, ZCIPC_SHARE, buf.cap, RIGHTS_READ);
	test_recv(&self->c, &m);
	test_check(&self->c, addr_of(&m), N, 1);
	/* Others can reach it. */
	test_err_send(EACCES, &self->a, &self->b, ZCIPC_MOVE, buf.cap);
	test_err_send(EOPNOTSUPP, &self->a, &self->b, ZCIPC_COPY, buf.cap);
	test_drop(&self->b, got.cap);
	test_drop(&self->c, m.cap);
	test_query(&self->a, buf.cap, &query);
	ASSERT_EQ(1, query.caps);
	test_drop(&self->a, buf.cap);
	test_check(&self->a, self->p, N, 1);
}

/* In a batch, beside others. */
TEST_F(file, batch)
{
	struct zcipc_transfer transfers[3];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)transfers, .ntransfers = 3,
		.transfer_size = sizeof(transfers[0]),
	};
	struct zcipc_recv m;
	struct buf buf, own;
	struct ep d;
	int i;

	test_open(&d, 64, O_NONBLOCK);
	test_import(&self->a, self->p, N, &buf);
	test_import(&self->a, memory_touched(2), 2, &own);
	transfers[0] = transfer_cmd(&d, ZCIPC_SHARE, buf.cap, 0, N, 0);
	transfers[1] = transfer_cmd(&d, ZCIPC_SHARE, own.cap, 0, 2, 0);
	transfers[2] = transfer_cmd(&d, ZCIPC_SHARE, buf.cap, 1, 2, 0);
	for (i = 0; i < 3; i++)
		transfers[i].rights = RIGHTS_READ;
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &cmd));
	ASSERT_EQ(3, cmd.done);
	test_recv(&d, &m);
	test_check(&d, addr_of(&m), N, 1);
	munmap(addr_of(&m), N * psize);
	test_recv(&d, &m);
	test_check(&d, addr_of(&m), 2, 1);
	test_recv(&d, &m);
	test_check_from(&d, addr_of(&m), 1, 2, 1);
	munmap(addr_of(&m), 2 * psize);
	munmap(own.p, 2 * psize);
}

/* It is all or none also where something else takes long. */
TEST_F(file, atomic_batch)
{
	struct zcipc_transfer transfers[3];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .flags = ZCIPC_F_ATOMIC, .transfers = (uintptr_t)transfers,
		.ntransfers = 3, .transfer_size = sizeof(transfers[0]),
	};
	struct buf buf, more[2], got;
	struct zcipc_recv m;
	struct ep d, e;
	int i;

	test_open(&d, 4 * LONG, O_NONBLOCK);
	test_open(&e, 4 * LONG, O_NONBLOCK);
	test_import(&d, self->p, N, &buf);
	for (i = 0; i < 2; i++) {
		test_create_flags(&d, LONG, ZCIPC_CREATE_NO_HUGE, &more[i]);
		test_fill(&d, more[i].p, LONG, 2 + i);
		transfers[2 * i] = transfer_cmd(&e, ZCIPC_COPY, more[i].cap, 0, 0, 0);
	}
	transfers[1] = transfer_cmd(&e, ZCIPC_SHARE, buf.cap, 0, N, RIGHTS_READ);
	TEST_OK(zc_ioctl(&d, ZCIPC_IOC_TRANSFER_BATCH, &cmd));
	ASSERT_EQ(3, cmd.done);
	for (i = 0; i < 2; i++) {
		test_take(&e, &got);
		ASSERT_EQ(LONG, got.npages);
		test_check(&e, got.p, LONG, 2 + i);
		if (i)
			break;
		test_recv(&e, &m);
		test_check(&e, addr_of(&m), N, 1);
		munmap(addr_of(&m), N * psize);
	}
}

/* Pages of it take part in I/O, and in futexes of both processes. */
static long call_futex(struct ep *ep, struct call *c)
{
	struct timespec t = { .tv_sec = 20 };

	(void)ep;
	return syscall(SYS_futex, c->addr, FUTEX_WAIT, c->val, &t, NULL, 0);
}

TEST_F(file, ordinary)
{
	struct call c = { .fn = call_futex };
	struct zcipc_recv m;
	int fds[2];
	char path[40];
	__u64 val;
	int fd;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &m);
	/* get_user_pages() of another process, for writing. */
	snprintf(path, sizeof(path), "/proc/%d/mem", self->b.pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	val = 0x1234;
	ASSERT_EQ(8, pwrite(fd, &val, 8, m.addr + psize));
	close(fd);
	ASSERT_EQ(0x1234, *(__u64 *)(self->p + psize));
	/* Pages themselves in a pipe. */
	ASSERT_EQ(0, pipe(fds));
	test_share(&self->b, &self->a, addr_of(&m), N, RIGHTS_READ, &m);
	ASSERT_EQ(psize, vmsplice(fds[1], &(struct iovec){ addr_of(&m), psize }, 1, 0));
	ASSERT_EQ(8, read(fds[0], &val, 8));
	ASSERT_EQ(pattern(1, 0, 0), val);
	close(fds[0]);
	close(fds[1]);
	munmap(addr_of(&m), N * psize);
	/* One sleeps here, and is woken up there. */
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	*(int *)(self->p + 2 * psize) = 5;
	c.addr = m.addr + 2 * psize;
	c.val = 5;
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(wait_until(syscall(SYS_futex, self->p + 2 * psize, FUTEX_WAKE, 1, NULL, NULL,
				       0) == 1));
	ASSERT_EQ(0, ep_wait(&self->b, &c));
}

/* In the peer: takes a mutex, and, if asked to, dies with it. */
static long call_lock(struct ep *ep, struct call *c)
{
	int err = pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)c->addr);

	(void)ep;
	if (!err && c->val)
		_exit(0);
	return err;
}

static long call_unlock(struct ep *ep, struct call *c)
{
	(void)ep;
	return pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)c->addr);
}

/*
 * A mutex that processes share: it is contended, and one of them dies with it. All that it takes is
 * that it is in a file's memory, and has been initialised so.
 */
TEST_F(file, robust_mutex)
{
	pthread_mutex_t *mutex = (pthread_mutex_t *)self->p;
	struct call dies, c = { .fn = call_lock };
	struct zcipc_recv mb, mc;
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(mutex, &attr);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &mb);
	test_share(&self->a, &self->c, self->p, N, RIGHTS_RW, &mc);
	/* One waits until the other one has unlocked it. */
	ASSERT_EQ(0, pthread_mutex_lock(mutex));
	c.addr = mb.addr;
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(wait_until(mutex->__data.__lock & FUTEX_WAITERS));
	ASSERT_EQ(0, pthread_mutex_unlock(mutex));
	ASSERT_EQ(0, ep_wait(&self->b, &c));
	ASSERT_EQ(EBUSY, pthread_mutex_trylock(mutex));
	/* One that waits gets it, and dies with it. The next one is told. */
	dies = (struct call){ .fn = call_lock, .addr = mc.addr, .val = 1 };
	ASSERT_EQ(0, ep_send(&self->c, &dies));
	ASSERT_TRUE(wait_until(mutex->__data.__lock & FUTEX_WAITERS));
	c = (struct call){ .fn = call_unlock, .addr = mb.addr };
	ASSERT_EQ(0, ep_call(&self->b, &c));
	ASSERT_NE(0, ep_wait(&self->c, &dies));
	ASSERT_EQ(EOWNERDEAD, pthread_mutex_lock(mutex));
	ASSERT_EQ(0, pthread_mutex_consistent(mutex));
	ASSERT_EQ(0, pthread_mutex_unlock(mutex));
}

TEST_F(file, errors)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m;
	struct buf buf;
	char *p;

	if (self->fd < 0)
		return;
	cmd.rights = RIGHTS_RW;
	cmd.cache = ZCIPC_CACHE_WRITEBACK;
	test_err_transfer(EOPNOTSUPP, &self->a, &cmd);
	/* Two ranges of the file side by side, in another order. */
	p = mmap(NULL, 2 * psize, PROT_READ, MAP_SHARED, self->fd, psize);
	ASSERT_EQ(p + psize, mmap(p + psize, psize, PROT_READ, MAP_SHARED | MAP_FIXED, self->fd,
				  0));
	test_err_share(EOPNOTSUPP, &self->a, &self->b, p, 2, RIGHTS_READ, &m);
	test_err_import(EOPNOTSUPP, &self->a, p, 2, &buf);
	/* In order it does not matter that there are two. */
	ASSERT_EQ(p + psize, mmap(p + psize, psize, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, self->fd, 2 * psize));
	test_err_share(EACCES, &self->a, &self->b, p, 2, RIGHTS_RW, &m);
	test_share(&self->a, &self->b, p, 2, RIGHTS_READ, &m);
	test_check_from(&self->b, addr_of(&m), 1, 2, 1);
	/* A gap, and other kinds of memory. */
	ASSERT_EQ(0, munmap(p + psize, psize));
	test_err_share(EFAULT, &self->a, &self->b, p, 2, RIGHTS_READ, &m);
	p = mmap(p, 2 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, self->fd, 0);
	test_err_share(EOPNOTSUPP, &self->a, &self->b, p, 2, RIGHTS_READ, &m);
	/* Another endpoint's view of the same process. */
	test_share(&self->a, &self->base.ep, self->p, N, RIGHTS_RW, &m);
	test_err_share(EOPNOTSUPP, &self->a, &self->b, addr_of(&m), N, RIGHTS_READ, &m);
	test_err_import(EOPNOTSUPP, &self->a, addr_of(&m), N, &buf);
	test_err_import(EOPNOTSUPP, &self->base.ep, addr_of(&m), N, &buf);
	munmap(addr_of(&m), N * psize);
	test_drop(&self->base.ep, m.cap);
	munmap(p, 2 * psize);
}

/* What becomes of the file is seen by all. */
TEST_F(file, truncated)
{
	struct zcipc_recv m;
	__u64 val;

	if (self->fd < 0)
		return;
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	ASSERT_EQ(0, ftruncate(self->fd, 3 * psize));
	test_check(&self->b, addr_of(&m), 3, 1);
	test_gone(&self->b, addr_of(&m) + 3 * psize, N - 3);
	ASSERT_EQ(0, ftruncate(self->fd, N * psize));
	ASSERT_EQ(0, ep_read(&self->b, addr_of(&m) + 4 * psize, &val));
	ASSERT_EQ(0, val);
	test_fill(&self->b, addr_of(&m) + 4 * psize, 2, 7);
	test_check(&self->a, self->p + 4 * psize, 2, 7);
	if (fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * psize))
		return;
	ASSERT_EQ(0, ep_read(&self->b, addr_of(&m), &val));
	ASSERT_EQ(0, val);
	test_fill(&self->a, self->p, 2, 8);
	test_check(&self->b, addr_of(&m), 2, 8);
}

/* What is written there is written to the file, also after it has been written back once. */
TEST_F(file, written_back)
{
	struct zcipc_recv m;
	__u64 val;
	int i;

	if (self->fd < 0)
		return;
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	/* So that nothing but the peer's mapping can tell that it is dirty. */
	ASSERT_EQ(0, munmap(self->p, N * psize));
	for (i = 2; i < 5; i++) {
		test_fill(&self->b, addr_of(&m), N, i);
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_msync, addr_of(&m), N * psize, MS_SYNC, 0,
					  0));
		file_write("/proc/sys/vm/drop_caches", "3");
		ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_DONTNEED));
		ASSERT_EQ(8, pread(self->fd, &val, 8, psize));
		ASSERT_EQ(pattern(i, 1, 0), val);
		test_check(&self->b, addr_of(&m), N, i);
	}
}

/* Under pressure they come and go. */
TEST_F(file, paged_out)
{
	struct zcipc_recv m;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	peer_syscall(&self->b, SYS_madvise, addr_of(&m), N * psize, MADV_PAGEOUT, 0, 0);
	madvise(self->p, N * psize, MADV_PAGEOUT);
	file_write("/proc/sys/vm/drop_caches", "3");
	file_write("/proc/sys/vm/compact_memory", "1");
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	test_check(&self->a, self->p, N, 2);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_madvise, addr_of(&m), N * psize, MADV_DONTNEED, 0,
				  0));
	test_check(&self->b, addr_of(&m), N, 2);
}

/* --- seals of memfds */

FIXTURE(seals)
{
	struct base base;
	struct ep a, b;
	int fd;
};

FIXTURE_SETUP(seals)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 0, O_NONBLOCK);
	ASSERT_FALSE(peer_fork(&self->b) || peer_open(&self->b, 0, O_NONBLOCK));
	self->fd = file_memfd();
	ASSERT_EQ(0, ftruncate(self->fd, N * psize));
}

FIXTURE_TEARDOWN(seals)
{
	close(self->fd);
	base_teardown(_metadata, &self->base);
}

/* As long as somebody can write to it, it cannot be sealed against that. */
TEST_F(seals, write)
{
	char *p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	struct zcipc_recv m;
	struct buf buf;
	char *q;

	ASSERT_EQ(0, fill(p, N, 1));
	test_import(&self->a, p, N, &buf);
	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, munmap(p, N * psize));
	ASSERT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	ASSERT_EQ(EBUSY, errno);
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(&m), N * psize, 0, 0, 0));
	ASSERT_TRUE(wait_until(!fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	/* And afterwards nobody can any more, whatever he was given before. */
	test_err_map(EACCES, &self->b, m.cap, 0, N, RIGHTS_RW, &q);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 2);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, buf.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	ASSERT_EQ(0, m.addr);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 2);
}

/*
 * Known: whoever keeps the mapping of what was revoked keeps the file from being sealed, though
 * there is nothing in it. Only its owner can end that.
 */
TEST_F(seals, write_after_revoke)
{
	char *p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	struct zcipc_recv m;
	__u64 n;

	ASSERT_EQ(0, fill(p, N, 1));
	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, munmap(p, N * psize));
	test_check(&self->b, addr_of(&m), N, 1);
	test_revoke(&self->a, &self->b, m.cap, 0, &n);
	test_gone(&self->b, addr_of(&m), N);
	ASSERT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	ASSERT_EQ(EBUSY, errno);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(&m), N * psize, 0, 0, 0));
	ASSERT_TRUE(wait_until(!fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
}

/* New mappings only, the old one stays writable: it is not a way to get more. */
TEST_F(seals, future_write)
{
	char *p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	struct zcipc_recv m;
	char *q;

	ASSERT_EQ(0, fill(p, N, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, m.addr);
	test_err_map(EACCES, &self->b, m.cap, 0, N, RIGHTS_RW, &q);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 1);
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mprotect, q, psize, PROT_READ | PROT_WRITE, 0,
				   0));
	munmap(p, N * psize);
}

/*
 * REVOKE disturbs all who have mapped the file. So one has to be allowed to write to it: nobody has
 * a say about what all programs are made of.
 */
static long call_import_foreign(struct ep *ep, struct call *c)
{
	struct zcipc_region_import cmd = { .size = sizeof(cmd), .len = c->n };
	int fd = open("/zcipc_foreign", O_RDONLY | O_CLOEXEC);

	cmd.addr = (uintptr_t)mmap(NULL, c->n, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (fd < 0 || (void *)(uintptr_t)cmd.addr == MAP_FAILED)
		return -2;
	return ioctl(ep->fd, ZCIPC_IOC_REGION_IMPORT, &cmd);
}

TEST_F(seals, of_others)
{
	struct call import = { .fn = call_import_foreign, .n = N * psize };
	struct call c = { .fn = call_setuid, .n = 65534 };
	struct ep other;
	int fd;

	fd = open("/zcipc_foreign", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ASSERT_EQ(0, ftruncate(fd, N * psize));
	ASSERT_FALSE(peer_fork(&other) || ep_call(&other, &c) || peer_open(&other, 0, 0));
	ASSERT_EQ(-1, ep_call(&other, &import));
	ASSERT_EQ(EACCES, errno);
	ASSERT_EQ(0, fchmod(fd, 0666));
	import = (struct call){ .fn = call_import_foreign, .n = N * psize };
	ASSERT_EQ(0, ep_call(&other, &import));
	close(fd);
	unlink("/zcipc_foreign");
}

/* A file that was opened for reading. */
TEST_F(seals, opened_for_reading)
{
	char path[40];
	struct zcipc_recv m;
	char *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	p = mmap(NULL, N * psize, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	test_err_share(EACCES, &self->a, &self->b, p, N, RIGHTS_RW, &m);
	test_share(&self->a, &self->b, p, N, RIGHTS_READ, &m);
	test_check(&self->b, addr_of(&m), 1, 0);
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mprotect, addr_of(&m), psize,
				   PROT_READ | PROT_WRITE, 0, 0));
	/* Who only reads is in nobody's way. */
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	munmap(p, N * psize);
	close(fd);
}

/* --- what a security module is asked */

/*
 * Two AppArmor profiles without any rules, as the kernel's policy_unpack.c reads them, which takes
 * no compiler: \4 comes before a name, \2 a number, \5 a string, \7 and \x08 around a struct, and a
 * length counts the 0 at the end. Who has the first profile may do everything (mode 1: complain).
 * What he opens is nevertheless not for everybody who gets a descriptor, as files of unconfined
 * tasks are. Who has the second one may use no such file.
 */
#define AA_U32(byte)	"\2" byte "\0\0\0"
#define AA_PROFILE(length, name, mode)						\
	"\4\x08\0version\0" AA_U32("\5")					\
	"\4\x08\0profile\0\7\5" length "\0" name "\0"				\
	"\4\x06\0flags\0\7" AA_U32("\0") AA_U32(mode) AA_U32("\0") "\x08"	\
	AA_U32("\0") AA_U32("\0") AA_U32("\0") AA_U32("\0") "\x08"

static const char aa_policy[] =
	AA_PROFILE("\x0a", "zcipc_all", "\1") AA_PROFILE("\x0b", "zcipc_none", "\0");

static long call_confine(struct ep *ep, struct call *c)
{
	(void)ep;
	file_write("/proc/self/attr/apparmor/current", (const char *)c->cmd);
	return 0;
}

FIXTURE(lsm)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(lsm)
{
	const size_t n = sizeof(aa_policy) - 1;
	int fd;

	base_setup(_metadata, &self->base);
	/* It may be there already. */
	mount("zcipc", "/sys/kernel/security", "securityfs", 0, NULL);
	fd = open("/sys/kernel/security/apparmor/.replace", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "there is no AppArmor: %s", strerror(errno));
	ASSERT_EQ(n, write(fd, aa_policy, n));
	close(fd);
	ASSERT_FALSE(peer_fork(&self->a) || peer_open(&self->a, 0, O_NONBLOCK));
	ASSERT_FALSE(peer_fork(&self->b) || peer_open(&self->b, 0, O_NONBLOCK));
}

FIXTURE_TEARDOWN(lsm)
{
	base_teardown(_metadata, &self->base);
	file_write("/sys/kernel/security/apparmor/.remove", "zcipc_all");
	file_write("/sys/kernel/security/apparmor/.remove", "zcipc_none");
}

/*
 * Known: of a view the security module is asked whether the endpoint's file may be mapped, not the
 * one that it shows. So a process reads and writes, by SHARE, a file that it cannot even map when
 * it has a descriptor. When views ask, the message has no address, and MAP says EACCES.
 */
TEST_F(lsm, not_asked)
{
	struct call all = { .fn = call_confine, .cmd = "changeprofile zcipc_all" };
	struct call none = { .fn = call_confine, .cmd = "changeprofile zcipc_none" };
	const long prot = PROT_READ | PROT_WRITE;
	struct zcipc_recv m;
	long fd, pidfd;
	char *p, *q;

	ASSERT_EQ(0, ep_call(&self->a, &all));
	fd = peer_syscall(&self->a, SYS_openat, NULL, (long)"/zcipc_file", O_RDWR | O_CREAT, 0600,
			  0);
	unlink("/zcipc_file");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, peer_syscall(&self->a, SYS_ftruncate, (void *)fd, N * psize, 0, 0, 0));
	p = (char *)peer_syscall(&self->a, SYS_mmap, NULL, N * psize, prot, MAP_SHARED, fd);
	ASSERT_NE(MAP_FAILED, p);
	test_fill(&self->a, p, N, 1);

	/* The peer has a descriptor, too, which is of no use any more once it is confined. */
	pidfd = peer_syscall(&self->b, SYS_pidfd_open, (void *)(long)self->a.pid, 0, 0, 0, 0);
	fd = peer_syscall(&self->b, SYS_pidfd_getfd, (void *)pidfd, fd, 0, 0, 0);
	ASSERT_LE(0, fd);
	q = (char *)peer_syscall(&self->b, SYS_mmap, NULL, N * psize, prot, MAP_SHARED, fd);
	ASSERT_NE(MAP_FAILED, q);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, q, N * psize, 0, 0, 0));
	ASSERT_EQ(0, ep_call(&self->b, &none));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mmap, NULL, N * psize, PROT_READ, MAP_SHARED, fd));
	ASSERT_EQ(EACCES, errno);

	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_NE(0, m.addr);
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	test_check(&self->a, p, N, 2);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 2);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory that there is already: memfds, tmpfs, MAP_SHARED, page cache.
 *
 * Guarantees: G2 (no MOVE of what others can reach), G5 coherence, G6 rights, G10 ordinary memory.
 * Attacks: 3 pieces of a mapping, 4 fork, 7 read-only, 13 rights, 19 kinds of memory, 20 truncation
 * and holes.
 */
#include <linux/futex.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include "zcipc_files.h"

/* More pages than are copied with the locks of an endpoint. */
#define LONG 700

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
TEST_F(file, survives_the_sender)
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

/* The token of the sender's capability can be guessed. What it maps goes with it, too. */
TEST_F(file, guessed_token_is_revoked)
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

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Endpoints come and go: who one belongs to, who may use it, and what becomes of what it had.
 *
 * Guarantees: G6 (identity), G8 clean death, G9 nothing lost, G12.
 * Attacks: 4 fork, 18 and 29 exec, setuid, user namespaces, foreign users, pids that are used again
 * and pid namespaces, 27 descriptors sent over sockets, 30 vfork and exec by a thread.
 */
#include <poll.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#include "zcipc_utils.h"
#include "lib/ring.h"

#define N 16
#define NOBODY 65534

FIXTURE(life)
{
	struct base base;
	struct ep a, v;
};

FIXTURE_VARIANT(life)
{
	long (*end)(struct ep *ep, struct call *c);
	bool by_kill;
};

static long end_close(struct ep *ep, struct call *c)
{
	return call_close(ep, c);
}

/* The descriptor survives, the address space does not. */
static long end_exec(struct ep *ep, struct call *c)
{
	(void)c;
	fcntl(ep->fd, F_SETFD, 0);
	execl("/bin/sleep", "sleep", "100000", NULL);
	return -1;
}

static void *exec_thread(void *arg)
{
	end_exec(arg, NULL);
	return NULL;
}

static long end_exec_by_thread(struct ep *ep, struct call *c)
{
	pthread_t thread;

	(void)c;
	pthread_create(&thread, NULL, exec_thread, ep);
	pthread_join(thread, NULL);
	return -1;
}

/* A child keeps the descriptor when its parent is gone, until the test closes the socket. */
static long end_orphan(struct ep *ep, struct call *c)
{
	(void)ep;
	if (!fork())
		while (recv(3, c, sizeof(*c), 0) > 0)
			;
	_exit(0);
}

static long end_segv(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	signal(SIGSEGV, SIG_DFL);
	return kill(getpid(), SIGSEGV);
}

FIXTURE_VARIANT_ADD(life, close) { .end = end_close, };
FIXTURE_VARIANT_ADD(life, exit) { .end = call_exit, };
FIXTURE_VARIANT_ADD(life, kill) { .by_kill = true, };
FIXTURE_VARIANT_ADD(life, segv) { .end = end_segv, };
FIXTURE_VARIANT_ADD(life, exec) { .end = end_exec, };
FIXTURE_VARIANT_ADD(life, exec_by_thread) { .end = end_exec_by_thread, };
FIXTURE_VARIANT_ADD(life, orphan) { .end = end_orphan, };

FIXTURE_SETUP(life)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->v, true, 64);
}

FIXTURE_TEARDOWN_BASE(life)

/* The end, in the variant's way. True when the endpoint is known to be dead. */
static bool end(struct ep *a, struct ep *v, const FIXTURE_VARIANT(life) *variant)
{
	struct call c = { .fn = variant->end };
	__u64 id;

	if (variant->by_kill)
		kill(v->pid, SIGKILL);
	else
		ep_send(v, &c);
	return wait_until(zc_lookup(a, v->pid, 0, &id) && errno == ENOENT);
}

/* G9: what was moved to one that dies before it receives it comes back. All else is gone. */
TEST_F(life, unreceived_comes_back)
{
	struct buf whole, part, shared, copied;
	struct zcipc_stats before, after;
	struct zcipc_recv m;

	/* Mapped last, it goes first: what is in the window then still has its address. */
	if (variant->end != end_close)
		TEST_OK(ring_open(&self->v, 1));
	test_create(&self->a, N, &whole);
	test_create(&self->a, N, &part);
	test_create(&self->a, N, &shared);
	test_create(&self->a, N, &copied);
	test_fill(&self->a, whole.p, N, 1);
	test_fill(&self->a, part.p, 8, 3);
	test_fill(&self->a, shared.p, N, 5);
	test_fill(&self->a, copied.p, N, 7);
	test_stats(&self->base.ep, &before);
	test_send(&self->a, &self->v, ZCIPC_SHARE, shared.cap);
	test_send(&self->a, &self->v, ZCIPC_MOVE, whole.cap);
	test_send(&self->a, &self->v, ZCIPC_COPY, copied.cap);
	test_send_part(&self->a, &self->v, ZCIPC_MOVE, part.cap, 0, 8);
	test_gone(&self->a, whole.p, N);

	ASSERT_TRUE(end(&self->a, &self->v, variant));
	take_returned(_metadata, &self->a, &self->v, N, whole.region, 1);
	take_returned(_metadata, &self->a, &self->v, 8, 0, 3);
	test_err_recv(EAGAIN, &self->a, &m);
	test_check(&self->a, shared.p, N, 5);
	test_check(&self->a, copied.p, N, 7);
	test_fill(&self->a, copied.p, N, 8);
	test_err_send(ESRCH, &self->a, &self->v, ZCIPC_MOVE, copied.cap);
	test_send_part(&self->a, &self->a, ZCIPC_MOVE, shared.cap, 0, 1);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.returned + 2, after.returned);
}

/* G8: what was received goes with the one who has it, and nobody else is disturbed. */
TEST_F(life, received_goes)
{
	struct buf moved, shared, copied, theirs, dst;
	struct zcipc_stats before, after;
	struct zcipc_recv m;

	test_stats(&self->base.ep, &before);
	test_create(&self->a, N, &shared);
	test_create(&self->a, N, &copied);
	test_create(&self->a, N, &moved);
	test_fill(&self->a, shared.p, N, 5);
	test_fill(&self->a, copied.p, N, 7);
	test_pass(&self->a, &self->v, ZCIPC_SHARE, shared.cap, &dst);
	test_fill(&self->v, dst.p, N, 6);
	test_pass(&self->a, &self->v, ZCIPC_COPY, copied.cap, &dst);
	test_fill(&self->v, dst.p, 4, 9);
	test_pass(&self->a, &self->v, ZCIPC_MOVE, moved.cap, &dst);
	/* What the dead have sent stays. */
	test_create(&self->v, N, &theirs);
	test_fill(&self->v, theirs.p, N, 11);
	test_send(&self->v, &self->a, ZCIPC_MOVE, theirs.cap);

	ASSERT_TRUE(end(&self->a, &self->v, variant));
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &after) &&
			       after.frames == before.frames + 3 * N));
	test_check(&self->a, shared.p, N, 6);
	test_check(&self->a, copied.p, N, 7);
	test_recv(&self->a, &m);
	EXPECT_EQ(self->v.id, m.sender);
	EXPECT_EQ(0, m.message_flags);
	test_check(&self->a, (char *)(uintptr_t)m.addr, N, 11);
	test_fill(&self->a, (char *)(uintptr_t)m.addr, N, 12);
	test_err_recv(EAGAIN, &self->a, &m);
}

/* G8: both ends go at the same time, with messages under way in both directions. */
TEST_F(life, both_go)
{
	struct buf mine, theirs;
	int i;

	for (i = 0; i < 8; i++) {
		test_create(&self->a, 2, &mine);
		test_create(&self->v, 2, &theirs);
		test_send(&self->a, &self->v, ZCIPC_MOVE, mine.cap);
		test_send(&self->v, &self->a, ZCIPC_MOVE, theirs.cap);
	}
	if (variant->by_kill) {
		kill(self->v.pid, SIGKILL);
	} else {
		struct call c = { .fn = variant->end };

		ep_send(&self->v, &c);
	}
	ep_end(&self->a);
}

/* G9: also to a sender whose own queue and window are full. */
TEST_F(life, comes_back_to_full_queue)
{
	struct zcipc_info info = { .size = sizeof(info) };
	struct buf buf, one;
	struct zcipc_recv m;
	unsigned int i;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	test_create(&self->a, 1, &one);
	test_create(&self->a, N, &buf);
	test_fill(&self->a, buf.p, N, 1);
	test_send(&self->a, &self->v, ZCIPC_MOVE, buf.cap);
	for (i = 0; i < info.max_messages; i++)
		test_send_rights(&self->a, &self->a, ZCIPC_SHARE, one.cap, ZCIPC_RIGHT_READ);
	test_err_send(EAGAIN, &self->a, &self->a, ZCIPC_COPY, one.cap);
	ASSERT_TRUE(end(&self->a, &self->v, variant));
	for (i = 0; i < info.max_messages; i++) {
		test_recv(&self->a, &m);
		ASSERT_EQ(0, m.message_flags);
	}
	take_returned(_metadata, &self->a, &self->v, N, buf.region, 1);
}

/* --- its end is noticed, whatever it had mapped, and whoever still has its descriptor */

/* UNMAPPED: it had a window. */
enum has { NOTHING, UNMAPPED, A_WINDOW, ADOPTED, A_RING };

FIXTURE(end)
{
	struct base base;
	struct ep a, v;
};

FIXTURE_VARIANT(end)
{
	enum has has;
};

FIXTURE_VARIANT_ADD(end, nothing) { .has = NOTHING };
FIXTURE_VARIANT_ADD(end, unmapped) { .has = UNMAPPED };
FIXTURE_VARIANT_ADD(end, window) { .has = A_WINDOW };
FIXTURE_VARIANT_ADD(end, adopted) { .has = ADOPTED };
FIXTURE_VARIANT_ADD(end, ring) { .has = A_RING };

FIXTURE_SETUP(end)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(end)

static long call_have(struct ep *ep, struct call *c)
{
	struct buf buf;
	char *p;

	switch (c->n) {
	case UNMAPPED:
	case A_WINDOW:
		p = mmap(NULL, 64 * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd, 0);
		if (p == MAP_FAILED)
			return -1;
		return c->n == UNMAPPED ? munmap(p, 64 * psize) : 0;
	case A_RING:
		p = mmap(NULL, 2 * psize, PROT_READ, MAP_SHARED, ep->fd, ZCIPC_RING_OFFSET);
		return p == MAP_FAILED ? -1 : 0;
	case ADOPTED:
		return zc_import(ep, memory_touched(2), 2, &buf);
	}
	return 0;
}

/* Somebody else has the same table of descriptors, until the test closes the socket. */
static long end_shared_table(struct ep *ep, struct call *c)
{
	(void)ep;
	if (!syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, NULL, NULL, 0))
		while (recv(3, c, sizeof(*c), 0) > 0)
			;
	_exit(0);
}

/* The descriptor is on its way to the test. */
static long end_in_flight(struct ep *ep, struct call *c)
{
	call_send_fd(ep, c);
	_exit(0);
}

static long end_by_itself(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	return kill(getpid(), SIGKILL);
}

/* What has the same address space executes something else: the endpoint goes on. */
static long call_vfork(struct ep *ep, struct call *c)
{
	int status = -1;
	pid_t pid;

	(void)ep;
	(void)c;
	pid = vfork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* G8, G9: what it had is freed, and what it had not received is its sender's again. */
static void test_end(struct __test_metadata *_metadata, FIXTURE_DATA(end) *self, enum has has,
		     long (*way)(struct ep *ep, struct call *c), bool traced)
{
	struct call have = { .fn = call_have, .n = has };
	struct call last = { .fn = way };
	struct buf theirs, mine;
	struct zcipc_stats stats;
	int fd, status;

	ASSERT_EQ(0, peer_fork(&self->v));
	ASSERT_EQ(0, peer_open(&self->v, 0, 0));
	test_create_flags(&self->v, N, 0, &theirs);
	ASSERT_EQ(0, ep_call(&self->v, &have)) TH_LOG("%s", strerror(errno));
	/* Until nobody waits for it to map something any more. */
	if (has <= UNMAPPED)
		msleep(600);
	test_create(&self->a, N, &mine);
	test_fill(&self->a, mine.p, N, 1);
	/* Without a window nothing can be moved there. */
	if (has == A_WINDOW)
		test_send(&self->a, &self->v, ZCIPC_MOVE, mine.cap);
	else
		test_grant_rights(&self->a, &self->v, mine.cap, RIGHTS_RW);
	if (traced) {
		ASSERT_EQ(0, ptrace(PTRACE_SEIZE, self->v.pid, NULL, NULL));
		ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, self->v.pid, NULL, NULL));
		ASSERT_EQ(self->v.pid, waitpid(self->v.pid, &status, __WALL));
		kill(self->v.pid, SIGKILL);
	} else {
		ASSERT_EQ(0, ep_send(&self->v, &last));
	}
	if (has == A_WINDOW)
		take_returned(_metadata, &self->a, &self->v, N, mine.region, 1);
	else
		test_drop(&self->a, mine.cap);
	/* The endpoint itself goes with the last descriptor. */
	EXPECT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) && !stats.regions &&
			       !stats.frames))
		TH_LOG("%llu regions, %llu frames", (unsigned long long)stats.regions,
		       (unsigned long long)stats.frames);
	if (way == end_in_flight) {
		struct pollfd pfd = { .events = POLLIN };

		fd = recv_fd(self->v.sock);
		ASSERT_LE(0, fd);
		pfd.fd = fd;
		EXPECT_EQ(1, poll(&pfd, 1, -1));
		EXPECT_EQ(POLLHUP, pfd.revents & POLLHUP);
		close(fd);
	}
	ep_end(&self->v);
	neps--;
}

TEST_F(end, of_its_process)
{
	long (*const ways[])(struct ep *ep, struct call *c) = {
		call_exit, end_by_itself, end_exec, end_exec_by_thread, end_orphan,
		end_shared_table, end_in_flight,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		test_end(_metadata, self, variant->has, ways[i], false);
	test_end(_metadata, self, variant->has, NULL, true);
}

TEST_F(end, not_of_a_vfork)
{
	struct call have = { .fn = call_have, .n = variant->has };
	struct call child = { .fn = call_vfork };
	struct buf theirs, mine;

	ASSERT_EQ(0, peer_fork(&self->v));
	ASSERT_EQ(0, peer_open(&self->v, 0, 0));
	test_create_flags(&self->v, N, 0, &theirs);
	ASSERT_EQ(0, ep_call(&self->v, &have)) TH_LOG("%s", strerror(errno));
	ASSERT_EQ(0, ep_call(&self->v, &child));
	test_create(&self->a, 1, &mine);
	test_grant_rights(&self->a, &self->v, mine.cap, RIGHTS_RW);
	test_drop(&self->v, theirs.cap);
}

/* --- identity */

FIXTURE(identity)
{
	struct base base;
	struct ep a, p;
	struct buf src;
};

FIXTURE_SETUP(identity)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	ASSERT_EQ(0, peer_fork(&self->p));
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(identity)

/* Neither accepts the other, and nothing changes hands. */
static void check_strangers(struct __test_metadata *_metadata, struct ep *a, struct ep *p,
			    const struct buf *src)
{
	struct buf theirs;
	__u32 type;

	test_create(p, 1, &theirs);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		test_err_send(EPERM, a, p, type, src->cap);
		test_err_send(EPERM, p, a, type, theirs.cap);
	}
	test_check(a, src->p, N, 1);
	test_check(p, theirs.p, 1, 0);
}

/* 29: another user. */
TEST_F(identity, foreign_user)
{
	struct call c = { .fn = call_setuid, .n = NOBODY };
	struct stat st;

	ASSERT_EQ(0, stat(ZCIPC_DEVICE, &st));
	if (geteuid() || (st.st_mode & 0666) != 0666)
		SKIP(return, "needs to be root, and a device that others can open");
	ASSERT_EQ(0, ep_call(&self->p, &c));
	ASSERT_EQ(0, peer_open(&self->p, 64, 0)) TH_LOG("%s", strerror(errno));
	check_strangers(_metadata, &self->a, &self->p, &self->src);
}

/* 29: an endpoint belongs to the user who opened it, whoever that process is later. */
TEST_F(identity, setuid_after_open)
{
	struct call c = { .fn = call_setuid, .n = NOBODY };
	struct buf dst, theirs;
	struct zcipc_recv m;

	if (geteuid())
		SKIP(return, "needs to be root");
	ASSERT_EQ(0, peer_open(&self->p, 64, 0));
	ASSERT_EQ(0, ep_call(&self->p, &c));
	test_pass(&self->a, &self->p, ZCIPC_COPY, self->src.cap, &dst);
	test_check(&self->p, dst.p, N, 1);
	test_create(&self->p, 1, &theirs);
	test_send(&self->p, &self->a, ZCIPC_MOVE, theirs.cap);
	test_recv(&self->a, &m);
	EXPECT_EQ(0, m.sender_uid);
}

/* 28, 29: the same user number in another user namespace. */
TEST_F(identity, user_namespace)
{
	struct call c = { .fn = call_unshare, .n = CLONE_NEWUSER };

	if (ep_call(&self->p, &c))
		SKIP(return, "no user namespaces: %s", strerror(errno));
	if (peer_open(&self->p, 64, 0))
		SKIP(return, "cannot open the device: %s", strerror(errno));
	check_strangers(_metadata, &self->a, &self->p, &self->src);
}

/* 29: a process id means what it means to whom it is told. */
static long call_lookup_parent(struct ep *ep, struct call *c)
{
	return zc_lookup(ep, c->n, 0, &c->val);
}

TEST_F(identity, pid_namespace)
{
	struct call c = { .fn = call_lookup_parent };
	struct buf theirs;
	struct zcipc_recv m;
	struct ep inside;
	__u64 id;

	if (unshare(CLONE_NEWPID))
		SKIP(return, "no pid namespaces: %s", strerror(errno));
	test_start(&inside, true, 64);
	test_send(&self->a, &inside, ZCIPC_COPY, self->src.cap);
	test_recv(&inside, &m);
	EXPECT_EQ(0, m.sender_pid);
	test_create(&inside, 1, &theirs);
	test_send(&inside, &self->a, ZCIPC_MOVE, theirs.cap);
	test_recv(&self->a, &m);
	EXPECT_EQ(inside.pid, m.sender_pid);
	test_lookup(&self->a, inside.pid, 0, &id);
	EXPECT_EQ(inside.id, id);
	c.n = getpid();
	TEST_ERR(ENOENT, ep_call(&inside, &c));
	c.n = 1;
	c.fn = call_lookup_parent;
	TEST_OK(ep_call(&inside, &c));
	EXPECT_EQ(inside.id, c.val);
}

/* 29: a number that is used again is not the same process, even while the endpoint is kept open. */
TEST_F(identity, pid_used_again)
{
	struct call c = { .fn = call_send_fd };
	pid_t old = self->p.pid, pid;
	char text[16];
	__u64 id;
	int fd;

	if (access("/proc/sys/kernel/ns_last_pid", W_OK))
		SKIP(return, "process ids cannot be chosen");
	ASSERT_EQ(0, peer_open(&self->p, 64, 0));
	ASSERT_EQ(0, ep_send(&self->p, &c));
	fd = recv_fd(self->p.sock);
	ASSERT_LE(0, fd);
	ep_wait(&self->p, &c);
	test_lookup(&self->a, old, 0, &id);
	EXPECT_EQ(self->p.id, id);
	ep_end(&self->p);
	test_err_lookup(ENOENT, &self->a, old, 0, &id);
	snprintf(text, sizeof(text), "%d", old - 1);
	file_write("/proc/sys/kernel/ns_last_pid", text);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	if (pid == old)
		test_err_lookup(ENOENT, &self->a, pid, 0, &id);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	if (pid != old)
		SKIP(return, "somebody else got the process id");
}

/* 27: a descriptor that arrives from elsewhere can be held, and polled, and that is all. */
TEST_F(identity, received_descriptor)
{
	struct call c = { .fn = call_send_fd };
	struct ep foreign = { .sock = -1 };
	struct zcipc_region_query q;
	struct zcipc_stats stats;
	struct pollfd pfd;
	struct buf theirs;
	unsigned int nr;

	ASSERT_EQ(0, peer_open(&self->p, 64, 0));
	test_create(&self->p, N, &theirs);
	test_fill(&self->p, theirs.p, N, 2);
	test_send(&self->a, &self->p, ZCIPC_MOVE, self->src.cap);
	ASSERT_EQ(0, ep_send(&self->p, &c));
	foreign.fd = recv_fd(self->p.sock);
	ASSERT_LE(0, foreign.fd);
	ASSERT_EQ(0, ep_wait(&self->p, &c));

	test_err_query(EPERM, &foreign, theirs.cap, &q);
	for (nr = 0; nr <= _IOC_NR(ZCIPC_IOC_STATS); nr++) {
		struct zcipc_stats any = { .size = sizeof(any) };

		ASSERT_EQ(-1, ioctl(foreign.fd, _IO(ZCIPC_IOC_TYPE, nr), &any));
		ASSERT_TRUE(errno == EPERM || errno == EOPNOTSUPP);
	}
	ASSERT_EQ(MAP_FAILED, mmap(NULL, psize, PROT_READ, MAP_SHARED, foreign.fd, 0));
	ASSERT_EQ(EPERM, errno);
	pfd = (struct pollfd){ .fd = foreign.fd, .events = POLLIN };
	ASSERT_LE(0, poll(&pfd, 1, 0));
	/* Its owner dies, and with it all that it had, though the descriptor is still open. */
	ep_end(&self->p);
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) && stats.frames == N));
	take_returned(_metadata, &self->a, &self->p, N, self->src.region, 1);
	test_err_query(EPERM, &foreign, theirs.cap, &q);
	close(foreign.fd);
}

/* 27: in flight between two sockets when all who know of it are gone. */
TEST_F(identity, descriptor_in_flight)
{
	struct call c = { .fn = call_send_fd };
	struct buf theirs;

	ASSERT_EQ(0, peer_open(&self->p, 64, 0));
	test_create(&self->p, N, &theirs);
	ASSERT_EQ(0, ep_send(&self->p, &c));
	ASSERT_EQ(0, ep_send(&self->p, &c));
	msleep(20);
	ep_end(&self->p);
}

/* 4: a child that closes what it inherited ends nothing. */
TEST_F(identity, fork_and_close)
{
	pid_t pid = fork();

	if (!pid) {
		close(self->a.fd);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	test_check(&self->a, self->src.p, N, 1);
	test_send(&self->a, &self->a, ZCIPC_MOVE, self->src.cap);
	test_take(&self->a, &self->src);
	test_check(&self->a, self->src.p, N, 1);
}

/* 30: a vfork() child has its parent's address space until it has one of its own. */
TEST_F(identity, vfork)
{
	volatile int rc = -1;
	pid_t pid;

	pid = vfork();
	if (!pid) {
		rc = zc_send(&self->a, &self->a, ZCIPC_MOVE, self->src.cap);
		execl("/bin/true", "true", NULL);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	ASSERT_EQ(0, rc);
	test_take(&self->a, &self->src);
	test_check(&self->a, self->src.p, N, 1);
}

TEST_HARNESS_MAIN

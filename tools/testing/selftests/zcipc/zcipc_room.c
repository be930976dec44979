// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transfers for which there is no room, and receivers for which there is no message: who waits, for
 * what, and what ends it.
 *
 * Guarantees: G9 back-pressure, G12 waiting.
 * Attacks: 28 (flooded queue), 30 (signals while waiting).
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include "zcipc_utils.h"

FIXTURE(room)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_SETUP(room)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, 1100, O_NONBLOCK);
	test_create(&self->a, 1, &self->src);
	test_fill(&self->a, self->src.p, 1, 1);
}

FIXTURE_TEARDOWN_BASE(room)

/* G9: a full queue. Nothing is lost, and what did not fit did not happen. */
TEST_F(room, queue_full)
{
	struct zcipc_info info = { .size = sizeof(info) };
	struct zcipc_recv m;
	struct buf other;
	__u32 i;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	test_create(&self->a, 1, &other);
	for (i = 0; i < info.max_messages; i++) {
		struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 0, 0,
						       ZCIPC_RIGHT_READ);

		t.cookie = i;
		test_transfer(&self->a, &t);
	}
	test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_SHARE, self->src.cap);
	test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_err_send(EAGAIN, &self->a, &self->b, ZCIPC_MOVE, other.cap);
	test_check(&self->a, other.p, 1, 0);
	for (i = 0; i < info.max_messages; i++) {
		test_recv(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
		ASSERT_EQ(info.max_messages - 1 - i + !!i, m.pending);
		test_check(&self->b, (char *)(uintptr_t)m.addr, 1, 1);
		if (!i)
			test_send(&self->a, &self->b, ZCIPC_MOVE, other.cap);
	}
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_MOVE, m.type);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* A full window: EAGAIN while something is in the way, ENOBUFS when it could never fit. */
TEST_F(room, window_full)
{
	struct buf big, mine, dst;
	struct ep c;
	char *p;

	test_open(&c, 8, 0);
	test_create(&c, 5, &mine);
	test_create(&self->a, 4, &big);
	test_fill(&self->a, big.p, 4, 1);
	test_err_send(EAGAIN, &self->a, &c, ZCIPC_MOVE, big.cap);
	test_err_send(EAGAIN, &self->a, &c, ZCIPC_COPY, big.cap);
	test_err_create(EAGAIN, &c, 4, &dst);
	test_err_map(EAGAIN, &c, mine.cap, 0, 4, RIGHTS_RW, &p);
	test_err_create(ENOBUFS, &c, 9, &dst);
	test_check(&self->a, big.p, 4, 1);
	test_send_part(&self->a, &c, ZCIPC_COPY, big.cap, 0, 3);
	test_take(&c, &dst);
	test_err_send_part(EAGAIN, &self->a, &c, ZCIPC_COPY, big.cap, 0, 1);
	test_drop(&c, mine.cap);
	test_pass(&self->a, &c, ZCIPC_MOVE, big.cap, &dst);
	test_check(&c, dst.p, 4, 1);
}

struct waiter {
	struct ep *from;
	__u64 cap;
	__u64 to;
	volatile pid_t tid;
	int rc;
	int err;
	struct zcipc_recv m;
};

static void *transfer_thread(void *arg)
{
	struct waiter *w = arg;
	struct ep to = { .id = w->to };

	w->tid = gettid();
	w->rc = zc_send(w->from, &to, ZCIPC_MOVE, w->cap);
	w->err = errno;
	return NULL;
}

static void *recv_thread(void *arg)
{
	struct waiter *w = arg;

	w->tid = gettid();
	w->rc = zc_recv(w->from, &w->m);
	w->err = errno;
	return NULL;
}

static void catch(int flags)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(SIGUSR1, &action, NULL);
}

/*
 * G9, G12: a transfer waits for room, through signals with SA_RESTART, until there is no window
 * any more, and until the peer dies.
 */
TEST_F(room, transfer_waits)
{
	struct buf mine, big, dst;
	struct waiter w = {};
	pthread_t thread;
	struct ep c, d, e;

	test_open(&c, 8, 0);
	test_create(&c, 8, &mine);
	test_open(&d, 64, 0);
	test_create(&d, 4, &big);
	test_fill(&d, big.p, 4, 1);
	w = (struct waiter){ .from = &d, .cap = big.cap, .to = c.id };

	catch(0);
	pthread_create(&thread, NULL, transfer_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	EXPECT_EQ(-1, w.rc);
	EXPECT_EQ(EINTR, w.err);
	test_check(&d, big.p, 4, 1);

	catch(SA_RESTART);
	w.tid = 0;
	pthread_create(&thread, NULL, transfer_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	pthread_kill(thread, SIGUSR1);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	/* It can still be written to while it waits. */
	test_fill(&d, big.p, 4, 2);
	test_unmap(&c, mine.p);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, w.rc);
	test_take(&c, &dst);
	test_check(&c, dst.p, 4, 2);
	test_gone(&d, big.p, 4);

	test_create(&d, 8, &big);
	w = (struct waiter){ .from = &d, .cap = big.cap, .to = c.id };
	pthread_create(&thread, NULL, transfer_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	ASSERT_EQ(0, munmap(c.win, c.npages * psize));
	c.win = NULL;
	pthread_join(thread, NULL);
	EXPECT_EQ(-1, w.rc);
	EXPECT_EQ(ENOBUFS, w.err);
	test_check(&d, big.p, 8, 0);

	/* Only of a process do the window and the endpoint go at once. */
	test_start(&e, true, 8);
	test_create(&e, 8, &mine);
	w.to = e.id;
	w.tid = 0;
	pthread_create(&thread, NULL, transfer_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	ep_end(&e);
	pthread_join(thread, NULL);
	EXPECT_EQ(-1, w.rc);
	EXPECT_EQ(ESRCH, w.err);
	test_check(&d, big.p, 8, 0);
}

/* G12: RECV waits, is interrupted, is restarted, and is woken. */
TEST_F(room, recv_waits)
{
	struct waiter w = {};
	pthread_t thread;
	struct ep c;

	test_open(&c, 8, 0);
	w.from = &c;
	catch(0);
	pthread_create(&thread, NULL, recv_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	EXPECT_EQ(-1, w.rc);
	EXPECT_EQ(EINTR, w.err);

	catch(SA_RESTART);
	w.tid = 0;
	pthread_create(&thread, NULL, recv_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	pthread_kill(thread, SIGUSR1);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	test_send(&self->a, &c, ZCIPC_COPY, self->src.cap);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, w.rc);
	test_check(&c, (char *)(uintptr_t)w.m.addr, 1, 1);
}

/* A waiting RECV does not keep the same endpoint from anything else. */
TEST_F(room, recv_blocks_nobody)
{
	struct waiter w = {};
	pthread_t thread;
	struct buf mine;
	struct ep c;

	test_open(&c, 8, 0);
	w.from = &c;
	pthread_create(&thread, NULL, recv_thread, &w);
	ASSERT_TRUE(wait_until(thread_sleeps(w.tid)));
	test_create(&c, 2, &mine);
	test_fill(&c, mine.p, 2, 1);
	test_send(&c, &c, ZCIPC_MOVE, mine.cap);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, w.rc);
	test_check(&c, (char *)(uintptr_t)w.m.addr, 2, 1);
}

static void *send_soon_thread(void *arg)
{
	struct waiter *w = arg;

	msleep(50);
	return transfer_thread(w);
}

/* G12: poll() and epoll() on a queue. */
TEST_F(room, poll)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct pollfd pfd = { .fd = self->b.fd, .events = POLLIN };
	struct waiter w = { .from = &self->a, .to = self->b.id };
	struct zcipc_recv m;
	pthread_t thread;
	struct buf buf;
	int epfd;

	EXPECT_EQ(0, poll(&pfd, 1, 0));
	test_err_recv(EAGAIN, &self->b, &m);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->b.fd, &event));
	EXPECT_EQ(0, epoll_wait(epfd, &event, 1, 0));

	test_create(&self->a, 1, &buf);
	w.cap = buf.cap;
	pthread_create(&thread, NULL, send_soon_thread, &w);
	EXPECT_EQ(1, poll(&pfd, 1, -1));
	EXPECT_EQ(POLLIN, pfd.revents & (POLLIN | POLLERR | POLLHUP));
	pthread_join(thread, NULL);
	EXPECT_EQ(1, epoll_wait(epfd, &event, 1, -1));
	EXPECT_EQ(0, epoll_wait(epfd, &event, 1, 0));
	test_recv(&self->b, &m);
	EXPECT_EQ(0, poll(&pfd, 1, 0));

	test_create(&self->a, 1, &buf);
	w.cap = buf.cap;
	pthread_create(&thread, NULL, send_soon_thread, &w);
	EXPECT_EQ(1, epoll_wait(epfd, &event, 1, -1));
	pthread_join(thread, NULL);
	close(epfd);
}

/* Sends back what it receives, but lets the other side wait for it. */
struct echo {
	struct ep *ep, *to;
	unsigned int n;
};

static void *echo_thread(void *arg)
{
	struct echo *e = arg;
	struct buf buf;

	while (e->n-- && !zc_take(e->ep, &buf)) {
		msleep(2);
		if (zc_send(e->ep, e->to, ZCIPC_MOVE, buf.cap))
			break;
	}
	return NULL;
}

static volatile sig_atomic_t storm_left;

/* So many a round, and no more: on a slow machine there would be no time for anything else. */
static void on_storm(int sig)
{
	static const struct itimerval calm = {};

	(void)sig;
	if (!--storm_left)
		setitimer(ITIMER_REAL, &calm, NULL);
}

/* 30: a storm of signals loses nothing and sends nothing twice. */
TEST_F(room, signal_storm)
{
	struct itimerval storm = { .it_interval.tv_usec = 700, .it_value.tv_usec = 700 };
	struct itimerval calm = {};
	struct sigaction action = { .sa_handler = on_storm };
	unsigned int i, n = loops(100), interrupted = 0;
	struct ep c, d;
	struct echo echo = { .ep = &d, .to = &c, .n = n };
	pthread_t thread;
	sigset_t alarm;
	struct buf cur;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	test_open(&c, 16, 0);
	test_open(&d, 16, 0);
	test_create(&c, 16, &cur);
	test_fill(&c, cur.p, 16, 1);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	pthread_create(&thread, NULL, echo_thread, &echo);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	for (i = 0; i < n; i++) {
		int rc;

		action.sa_flags = i & 1 ? SA_RESTART : 0;
		sigaction(SIGALRM, &action, NULL);
		storm_left = 50;
		setitimer(ITIMER_REAL, &storm, NULL);
		while ((rc = zc_send(&c, &d, ZCIPC_MOVE, cur.cap)) && errno == EINTR)
			interrupted++;
		while (!rc && (rc = zc_take(&c, &cur)) && errno == EINTR) {
			/* Restarted by the kernel, if that was asked for. */
			ASSERT_EQ(0, i & 1);
			interrupted++;
			rc = 0;
		}
		setitimer(ITIMER_REAL, &calm, NULL);
		TEST_OK(rc);
		test_check(&c, cur.p, 16, 1);
	}
	pthread_join(thread, NULL);
	TH_LOG("%u interrupted", interrupted);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Things that happen at the same time. Where the module has delay points they make sure of that; a
 * test passes in whichever order things then happen.
 *
 * Guarantees: G2 exclusive MOVE (TLBs, faults), G3, G4 snapshot at one instant, G5, G8 death at any
 * point, G9 nothing lost.
 * Attacks: 11 two first writes, 14 stores through a MOVE, 15 and 16 (in part), 17 MOVE against
 * MOVE, 18 and 30 MOVE against munmap, exit, exec, and SIGKILL at every point, 25 a struct that
 * changes, 27 calls on one descriptor from many threads.
 */
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "zcipc_utils.h"

#define N 16
/* More than go the short way. */
#define MANY 40

FIXTURE(race)
{
	struct base base;
	struct ep a, b;
	struct buf src;
	volatile bool stop;
};

FIXTURE_SETUP(race)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, 0);
	test_open(&self->b, 256, 0);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(race)

/* A thread that accesses memory, and what it has seen. */
struct toucher {
	pthread_t thread;
	char *p;
	size_t npages;
	__u64 forbidden;	/* must not be seen */
	__u64 first;		/* first value to store */
	int cpu;
	volatile bool *stop;
	volatile unsigned long stored;
	volatile unsigned long faulted;
	volatile unsigned long seen;
};

/*
 * Stores into the pages as fast as it can: without a system call in between, in which a TLB could
 * be flushed by chance. One handler is armed for the whole of it.
 */
static void *store_thread(void *arg)
{
	struct toucher *t = arg;
	volatile __u64 *word;
	size_t page = 0;

	run_on(t->cpu % sysconf(_SC_NPROCESSORS_ONLN));
	if (sigsetjmp(touch_env, 0))
		t->faulted++;
	touching = 1;
	while (!*t->stop) {
		word = (volatile __u64 *)(t->p + page * psize);
		page = (page + 1) % t->npages;
		if (*word == t->forbidden)
			t->seen++;
		*word = 0xdead0000 + t->stored;
		t->stored++;
	}
	touching = 0;
	return NULL;
}

static void start(struct toucher *t, void *(*fn)(void *arg))
{
	pthread_create(&t->thread, NULL, fn, t);
}

/* 14 without delay points: each word must be stable from the return of the MOVE on. */
static void move_under_stores(struct __test_metadata *_metadata, struct ep *a, struct ep *b,
			      size_t npages, volatile bool *stop, struct toucher *t, int nthreads)
{
	__u64 secret = 0x5ec7e7;
	struct buf src, dst;
	__u64 first[MANY], val;
	size_t i;
	int n;

	*stop = false;
	test_create(a, npages, &src);
	for (n = 0; n < nthreads; n++) {
		unsigned long before;

		t[n] = (struct toucher){ .p = src.p, .npages = npages, .forbidden = secret,
					 .cpu = n, .stop = stop };
		start(&t[n], store_thread);
		before = t[n].stored;
		ASSERT_TRUE(wait_until(t[n].stored > before + 2 * npages));
	}
	ASSERT_EQ(0, zc_pass(a, b, ZCIPC_MOVE, src.cap, &dst));
	for (i = 0; i < npages; i++)
		first[i] = *(volatile __u64 *)(dst.p + i * psize);
	/* Time for stores through a stale TLB entry. */
	for (n = 0; n < 20; n++)
		sched_yield();
	for (i = 0; i < npages; i++)
		ASSERT_EQ(first[i], *(volatile __u64 *)(dst.p + i * psize));
	for (i = 0; i < npages; i++)
		*(volatile __u64 *)(dst.p + i * psize) = secret;
	for (n = 0; n < nthreads; n++)
		EXPECT_TRUE(wait_until(t[n].faulted));
	*stop = true;
	for (n = 0; n < nthreads; n++) {
		pthread_join(t[n].thread, NULL);
		EXPECT_EQ(0, t[n].seen);
	}
	for (i = 0; i < npages; i++) {
		ASSERT_EQ(0, ep_read(b, dst.p + i * psize, &val));
		ASSERT_EQ(secret, val);
	}
	test_drop(b, dst.cap);
}

/* 14, G2: threads on all CPUs store, and load, through a MOVE. */
TEST_F(race, move_under_stores)
{
	static const size_t npages[] = { 1, N, MANY };
	unsigned int i, n = loops(60);
	struct toucher t[2];

	for (i = 0; i < n; i++)
		move_under_stores(_metadata, &self->a, &self->b, npages[i % 3], &self->stop, t,
				  1 + (i / 3 & 1));
}

/* 14: the same with the MOVE held up at each of its steps. */
TEST_F(race, move_under_stores_at_points)
{
	static const char * const points[] = { "prepared", "unmapped", "committed", "sent" };
	struct toucher t[2];
	unsigned int i;

	need_points();
	for (i = 0; i < ARRAY_SIZE(points); i++) {
		point_set(points[i], 30);
		move_under_stores(_metadata, &self->a, &self->b, N, &self->stop, t, 2);
		ASSERT_TRUE(point_reached());
		point_go();
	}
}

/*
 * G2: a place in the window is not handed out while the last one who had it can still be seen
 * through it. A window of one region: the next gets the place as soon as the MOVE, UNMAP, or DROP
 * has freed it.
 */
struct taker {
	struct ep *ep;
	size_t npages;
	struct buf got;
	volatile bool *stop;
	volatile bool ready;
	int wrong;
};

static void *taker_thread(void *arg)
{
	struct taker *t = arg;

	run_on(1);
	t->ready = true;
	while (zc_create(t->ep, t->npages, &t->got))
		if (errno != EAGAIN || *t->stop)
			return NULL;
	t->wrong = check(t->got.p, 0, t->npages, 0) || fill(t->got.p, t->npages, 9);
	return NULL;
}

static void run_taker(struct __test_metadata *_metadata, struct ep *b, int how, const char *point)
{
	volatile bool stop = false;
	struct buf src, dst = {};
	pthread_t thread;
	struct taker t;
	struct ep c;
	char *p;

	test_open(&c, N, 0);
	test_create(&c, N, &src);
	test_fill(&c, src.p, N, 1);
	t = (struct taker){ .ep = &c, .npages = N, .stop = &stop };
	if (point)
		point_set(point, 100);
	pthread_create(&thread, NULL, taker_thread, &t);
	ASSERT_TRUE(wait_until(t.ready));
	switch (how) {
	case 0:
		ASSERT_EQ(0, zc_pass(&c, b, ZCIPC_MOVE, src.cap, &dst));
		break;
	case 1:
		test_unmap(&c, src.p);
		break;
	case 2:
		test_drop(&c, src.cap);
		break;
	}
	pthread_join(thread, NULL);
	ASSERT_EQ(0, t.wrong);
	ASSERT_EQ(src.p, t.got.p);
	if (how == 0) {
		test_check(b, dst.p, N, 1);
		test_drop(b, dst.cap);
	} else if (how == 1) {
		test_drop(&c, t.got.cap);
		test_map(&c, src.cap, 0, 0, RIGHTS_RW, &p);
		test_check(&c, p, N, 1);
	}
	point_go();
	ep_end(&c);
	neps--;
}

TEST_F(race, place_is_free_after_unmap)
{
	unsigned int i, n = loops(10);

	for (i = 0; i < n; i++)
		run_taker(_metadata, &self->b, i % 3, NULL);
}

TEST_F(race, place_is_free_after_unmap_at_points)
{
	static const char * const points[] = { "prepared", "unmapped", "committed", "sent" };
	unsigned int i;

	need_points();
	for (i = 0; i < ARRAY_SIZE(points); i++)
		run_taker(_metadata, &self->b, 0, points[i]);
}

/*
 * G4: a snapshot is one instant. A writer stores 1, 2, 3... in all pages in turn, so at any instant
 * the values go down by one at most once from first to last page.
 */
static void *counter_thread(void *arg)
{
	struct toucher *t = arg;
	__u64 val;
	size_t page;

	run_on(t->cpu % sysconf(_SC_NPROCESSORS_ONLN));
	for (val = t->first; !*t->stop; val++)
		for (page = 0; page < t->npages; page++) {
			if (touch_write(t->p + page * psize, val))
				t->faulted++;
			t->stored++;
		}
	return NULL;
}

static void copy_under_stores(struct __test_metadata *_metadata, struct ep *a, struct ep *b,
			      const struct buf *src, char *through, volatile bool *stop,
			      const char *point)
{
	struct toucher t = { .p = through, .npages = src->npages, .first = 1, .stop = stop,
			     .cpu = 1 };
	__u64 first[N], val;
	unsigned int i, n = point ? 2 : loops(20);
	size_t page;

	*stop = false;
	for (page = 0; page < src->npages; page++)
		ASSERT_EQ(0, ep_write(a, src->p + page * psize, 0));
	start(&t, counter_thread);
	for (i = 0; i < n; i++) {
		unsigned long before = t.stored;
		struct buf dst;
		int steps = 0;

		ASSERT_TRUE(wait_until(t.stored > before + 3 * src->npages));
		if (point)
			point_set(point, 50);
		ASSERT_EQ(0, zc_pass(a, b, ZCIPC_COPY, src->cap, &dst));
		for (page = 0; page < src->npages; page++) {
			first[page] = *(volatile __u64 *)(dst.p + page * psize);
			if (!page)
				continue;
			ASSERT_LE(first[page], first[page - 1]);
			steps += first[page - 1] - first[page];
		}
		ASSERT_GE(1, steps);
		before = t.stored;
		ASSERT_TRUE(wait_until(t.stored > before + 3 * src->npages));
		for (page = 0; page < src->npages; page++) {
			ASSERT_EQ(0, ep_read(b, dst.p + page * psize, &val));
			ASSERT_EQ(first[page], val);
		}
		test_drop(b, dst.cap);
		if (point)
			point_go();
	}
	*stop = true;
	pthread_join(t.thread, NULL);
	ASSERT_EQ(0, t.faulted);
}

TEST_F(race, copy_under_stores)
{
	char *second;

	copy_under_stores(_metadata, &self->a, &self->b, &self->src, self->src.p, &self->stop,
			  NULL);
	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &second);
	copy_under_stores(_metadata, &self->a, &self->b, &self->src, second, &self->stop, NULL);
}

/* A sharer writes, through another endpoint's window. */
TEST_F(race, copy_under_stores_of_sharer)
{
	struct buf shared;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &shared);
	copy_under_stores(_metadata, &self->a, &self->b, &self->src, shared.p, &self->stop, NULL);
}

TEST_F(race, copy_under_stores_at_points)
{
	static const char * const points[] = { "prepared", "frozen", "committed", "sent", "fault",
					       "broken" };
	unsigned int i;

	need_points();
	for (i = 0; i < ARRAY_SIZE(points); i++)
		copy_under_stores(_metadata, &self->a, &self->b, &self->src, self->src.p,
				  &self->stop, points[i]);
}

/* 11: several first writes to one shared frame, through several mappings: one copy, none lost. */
static void *write_word_thread(void *arg)
{
	struct toucher *t = arg;

	run_on(t->cpu % sysconf(_SC_NPROCESSORS_ONLN));
	while (!*t->stop)
		;
	t->faulted = touch_write(t->p, t->first);
	return NULL;
}

static void run_first_writes(struct __test_metadata *_metadata, struct base *base, struct ep *a,
			     struct ep *b, const struct buf *src, volatile bool *stop)
{
	struct zcipc_stats before, after;
	struct toucher t[4] = {};
	struct buf copy, shared;
	char *second;
	int i;

	test_map(a, src->cap, 0, 0, RIGHTS_RW, &second);
	test_pass(a, b, ZCIPC_SHARE, src->cap, &shared);
	test_pass(a, b, ZCIPC_COPY, src->cap, &copy);
	test_stats(&base->ep, &before);
	*stop = false;
	for (i = 0; i < 4; i++) {
		char *p = i == 1 ? second : i == 2 ? shared.p : src->p;

		t[i] = (struct toucher){ .p = p + 8 * (i + 1), .first = 100 + i, .stop = stop,
					 .cpu = i };
		start(&t[i], write_word_thread);
	}
	*stop = true;
	for (i = 0; i < 4; i++) {
		pthread_join(t[i].thread, NULL);
		ASSERT_EQ(0, t[i].faulted);
	}
	test_stats(&base->ep, &after);
	EXPECT_EQ(before.copied_write + psize, after.copied_write);
	EXPECT_EQ(before.frames + 1, after.frames);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(100 + i, ((__u64 *)src->p)[i + 1]);
		ASSERT_EQ(100 + i, ((__u64 *)second)[i + 1]);
		ASSERT_EQ(100 + i, ((__u64 *)shared.p)[i + 1]);
	}
	test_check(b, copy.p, N, 1);
	test_unmap(a, second);
	test_drop(b, shared.cap);
	test_drop(b, copy.cap);
	test_fill(a, src->p, 1, 1);
	for (i = 0; i < 4; i++)
		((__u64 *)src->p)[i + 1] = pattern(1, 0, i + 1);
}

TEST_F(race, first_writes)
{
	unsigned int i, n = loops(10);

	for (i = 0; i < n; i++)
		run_first_writes(_metadata, &self->base, &self->a, &self->b, &self->src,
				 &self->stop);
	need_points();
	point_set("broken", 50);
	run_first_writes(_metadata, &self->base, &self->a, &self->b, &self->src, &self->stop);
	point_set("fault", 50);
	run_first_writes(_metadata, &self->base, &self->a, &self->b, &self->src, &self->stop);
}

/* G2: a fault that has found its page, when the page is moved away. */
static void *read_thread(void *arg)
{
	struct toucher *t = arg;
	__u64 val = 0;

	t->faulted = touch_read(t->p, &val);
	t->stored = val;
	return NULL;
}

TEST_F(race, fault_against_move)
{
	struct buf dst, cur = self->src;
	unsigned int i;

	need_points();
	for (i = 0; i < 4; i++) {
		struct ep *from = i & 1 ? &self->b : &self->a, *to = i & 1 ? &self->a : &self->b;
		struct toucher t = { .p = cur.p };

		madvise(cur.p, N * psize, MADV_DONTNEED);
		point_set("fault", 100);
		start(&t, read_thread);
		ASSERT_TRUE(point_reached());
		point_go();
		test_pass(from, to, ZCIPC_MOVE, cur.cap, &dst);
		test_fill(to, dst.p, N, 2 + i);
		test_gone(from, cur.p, N);
		pthread_join(t.thread, NULL);
		if (!t.faulted)
			ASSERT_EQ(pattern(1 + i, 0, 0), t.stored);
		cur = dst;
	}
}

/* --- 17: MOVE against MOVE */

struct mover {
	pthread_t thread;
	struct ep *from, *to;
	__u64 cap;
	volatile bool *go;
	int rc, err;
};

static void *move_thread(void *arg)
{
	struct mover *m = arg;

	while (!*m->go)
		;
	m->rc = zc_send(m->from, m->to, ZCIPC_MOVE, m->cap);
	m->err = errno;
	return NULL;
}

TEST_F(race, one_winner)
{
	unsigned int i, n = loops(20);
	struct ep c;

	test_open(&c, 256, 0);
	for (i = 0; i < n; i++) {
		struct mover m[2] = {
			{ .from = &self->a, .to = &self->b, .go = &self->stop },
			{ .from = &self->a, .to = &c, .go = &self->stop },
		};
		struct buf src, dst;
		int j, winner;

		self->stop = false;
		test_create(&self->a, N, &src);
		test_fill(&self->a, src.p, N, i + 1);
		if (i < 4 && points_exist())
			point_set(i & 1 ? "prepared" : "unmapped", 20);
		for (j = 0; j < 2; j++) {
			m[j].cap = src.cap;
			pthread_create(&m[j].thread, NULL, move_thread, &m[j]);
		}
		self->stop = true;
		for (j = 0; j < 2; j++)
			pthread_join(m[j].thread, NULL);
		winner = m[0].rc ? 1 : 0;
		ASSERT_EQ(0, m[winner].rc);
		ASSERT_EQ(-1, m[!winner].rc);
		ASSERT_EQ(ESTALE, m[!winner].err);
		test_take(m[winner].to, &dst);
		test_check(m[winner].to, dst.p, N, i + 1);
		test_drop(m[winner].to, dst.cap);
		if (points_exist())
			point_go();
	}
}

/* A ring of endpoints that all pass regions on at the same time. Two: A to B against B to A. */
#define RING 10

struct ring {
	pthread_t thread;
	struct ep *from, *to;
	unsigned int rounds;
	int failed;
};

static void *ring_thread(void *arg)
{
	struct ring *r = arg;
	struct buf buf;
	unsigned int i;

	for (i = 0; i < r->rounds && !r->failed; i++) {
		if (zc_take(r->from, &buf)) {
			r->failed = errno;
			break;
		}
		*(volatile __u64 *)buf.p += 1;
		if (zc_send(r->from, r->to, ZCIPC_MOVE, buf.cap))
			r->failed = errno;
	}
	return NULL;
}

static void run_ring(struct __test_metadata *_metadata, unsigned int size, unsigned int rounds)
{
	static struct ep ring[RING];
	struct ring r[RING];
	struct buf buf;
	__u64 sum = 0;
	unsigned int i;

	for (i = 0; i < size; i++)
		test_open(&ring[i], 64, 0);
	for (i = 0; i < size; i++) {
		test_create(&ring[i], 2, &buf);
		test_send(&ring[i], &ring[i], ZCIPC_MOVE, buf.cap);
		r[i] = (struct ring){ .from = &ring[i], .to = &ring[(i + 1) % size],
				      .rounds = rounds };
	}
	for (i = 0; i < size; i++)
		pthread_create(&r[i].thread, NULL, ring_thread, &r[i]);
	for (i = 0; i < size; i++) {
		pthread_join(r[i].thread, NULL);
		ASSERT_EQ(0, r[i].failed);
	}
	/* Each has one region again. All that was written into them is there. */
	for (i = 0; i < size; i++) {
		test_take(&ring[i], &buf);
		sum += *(__u64 *)buf.p;
		ep_end(&ring[i]);
	}
	neps -= size;
	EXPECT_EQ(size * rounds, sum);
}

TEST_F(race, ring_of_two)
{
	run_ring(_metadata, 2, loops(200));
}

TEST_F(race, ring_of_ten)
{
	run_ring(_metadata, RING, loops(40));
}

/* 25: the struct changes during the call. Whatever the call makes of it must fit together. */
static void *flip_thread(void *arg)
{
	struct toucher *t = arg;
	volatile struct zcipc_transfer *cmd = (void *)t->p;
	unsigned int i;

	run_on(1);
	for (i = 0; !*t->stop; i++) {
		cmd->size = i % 7 ? sizeof(*cmd) : i % 3 ? 8 : ~0U;
		cmd->len = i % 5 ? psize : i % 2 ? N * psize : ~0ULL;
		cmd->offset = i % 4 ? 0 : (N - 1) * psize;
		cmd->rights = i % 11 ? ZCIPC_RIGHT_READ : i % 2 ? ~0U : RIGHTS_ALL;
		cmd->type = i % 3 + 1;
		cmd->flags = !(i % 13);
	}
	return NULL;
}

TEST_F(race, double_fetch)
{
	struct zcipc_transfer cmd = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 1, 0);
	struct toucher t = { .p = (char *)&cmd, .stop = &self->stop };
	unsigned int i, sent = 0, n = loops(2000);
	struct zcipc_recv m;

	fcntl(self->b.fd, F_SETFL, O_NONBLOCK);
	fcntl(self->a.fd, F_SETFL, O_NONBLOCK);
	start(&t, flip_thread);
	for (i = 0; i < n; i++) {
		if (ioctl(self->a.fd, ZCIPC_IOC_TRANSFER, &cmd))
			continue;
		sent++;
		test_recv(&self->b, &m);
		ASSERT_TRUE(m.len && m.len <= N * psize && !(m.len % psize));
		ASSERT_EQ(0, m.rights & ~RIGHTS_ALL);
		test_touch_read(0, &self->b, (char *)(uintptr_t)m.addr + m.len - psize);
		test_drop(&self->b, m.cap);
	}
	self->stop = true;
	pthread_join(t.thread, NULL);
	TH_LOG("%u of %u accepted", sent, n);
}

/* 27: one descriptor, many threads: calls, polls, mappings, duplicates, closes. */
struct abuser {
	pthread_t thread;
	struct ep *ep;
	unsigned int n;
	int kind;
};

static void *abuse_thread(void *arg)
{
	struct abuser *a = arg;
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd pfd = { .fd = a->ep->fd, .events = POLLIN };
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct ep ep = *a->ep;
	unsigned int i;
	struct buf buf;
	void *p;
	int fd;

	for (i = 0; i < a->n; i++) {
		switch (a->kind) {
		case 0:
			if (!zc_create(&ep, 1, &buf) && !zc_send(&ep, &ep, i % 3 + 1, buf.cap)) {
				zc_take(&ep, &buf);
				zc_drop(&ep, buf.cap);
			}
			break;
		case 1:
			poll(&pfd, 1, 0);
			epoll_ctl(epfd, EPOLL_CTL_ADD, ep.fd, &event);
			epoll_wait(epfd, &event, 1, 0);
			epoll_ctl(epfd, EPOLL_CTL_DEL, ep.fd, &event);
			break;
		case 2:
			p = mmap(NULL, 8 * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep.fd, 0);
			if (p != MAP_FAILED)
				munmap(p, 8 * psize);
			break;
		case 3:
			fd = dup(ep.fd);
			epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
			close(fd);
			break;
		}
	}
	close(epfd);
	return NULL;
}

TEST_F(race, one_descriptor)
{
	struct abuser a[6];
	struct ep c;
	int i;

	test_open(&c, 0, O_NONBLOCK);
	for (i = 0; i < 6; i++) {
		a[i] = (struct abuser){ .ep = i < 4 ? &c : &self->a, .n = loops(200),
					.kind = i % 4 };
		pthread_create(&a[i].thread, NULL, abuse_thread, &a[i]);
	}
	for (i = 0; i < 6; i++)
		pthread_join(a[i].thread, NULL);
	test_check(&self->a, self->src.p, N, 1);
}

/*
 * 18, 30: a process goes away, in some way, at each point of what it does, or of what is done to
 * it. What it had is then with one owner, or free: never with two, and not lost.
 */
enum way { KILL, EXIT, EXEC, MUNMAP, CLOSE };

struct rival {
	struct ep *ep;
	enum way way;
};

static void go_away(struct ep *ep, enum way way)
{
	point_reached();
	switch (way) {
	case KILL:
		kill(getpid(), SIGKILL);
		break;
	case EXIT:
		_exit(0);
	case EXEC:
		execl("/bin/true", "true", NULL);
		break;
	case MUNMAP:
		munmap(ep->win, ep->npages * psize);
		break;
	case CLOSE:
		close(ep->fd);
		break;
	}
}

static void *rival_thread(void *arg)
{
	struct rival *r = arg;

	go_away(r->ep, r->way);
	return NULL;
}

/* In the peer: a call, or else a write, while another thread ends it all. */
static long call_with_rival(struct ep *ep, struct call *c)
{
	struct rival r = { .ep = ep, .way = c->val };
	pthread_t thread;
	long rc;

	pthread_create(&thread, NULL, rival_thread, &r);
	if (c->n)
		rc = ioctl(ep->fd, c->n, c->cmd);
	else
		rc = touch_write((void *)(uintptr_t)c->addr, 1);
	pthread_join(thread, NULL);
	return rc;
}

static long call_go_away(struct ep *ep, struct call *c)
{
	go_away(ep, c->val);
	return 0;
}

FIXTURE(death)
{
	struct base base;
	struct ep a, v;
};

FIXTURE_VARIANT(death)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(death, kill) { .way = KILL, };
FIXTURE_VARIANT_ADD(death, exit) { .way = EXIT, };
FIXTURE_VARIANT_ADD(death, exec) { .way = EXEC, };
FIXTURE_VARIANT_ADD(death, munmap) { .way = MUNMAP, };
FIXTURE_VARIANT_ADD(death, close) { .way = CLOSE, };

FIXTURE_SETUP(death)
{
	need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(death)

/* The victim makes a call, and goes away at the point. */
static long victim_calls(struct ep *v, unsigned int nr, const void *cmd, enum way way,
			 const char *point)
{
	struct call c = { .fn = call_with_rival, .n = nr, .val = way };
	long rc;

	if (nr)
		memcpy(c.cmd, cmd, *(__u32 *)cmd);
	else
		c.addr = *(__u64 *)cmd;
	point_set(point, 50);
	rc = ep_call(v, &c);
	point_go();
	return rc;
}

TEST_F(death, of_sender)
{
	static const struct {
		__u32 type;
		const char *point;
	} when[] = {
		{ ZCIPC_MOVE, "prepared" }, { ZCIPC_MOVE, "unmapped" }, { ZCIPC_MOVE, "committed" },
		{ ZCIPC_MOVE, "sent" }, { ZCIPC_COPY, "frozen" }, { ZCIPC_COPY, "committed" },
		{ ZCIPC_SHARE, "committed" }, { ZCIPC_SHARE, "sent" },
	};
	struct zcipc_transfer t;
	struct buf src, dst;
	unsigned int i;
	long rc;

	for (i = 0; i < ARRAY_SIZE(when); i++) {
		test_start(&self->v, true, 64);
		test_create(&self->v, N, &src);
		test_fill(&self->v, src.p, N, 5);
		t = transfer_cmd(&self->a, when[i].type, src.cap, 0, 0,
				 when[i].type == ZCIPC_SHARE ? RIGHTS_ALL : 0);
		rc = victim_calls(&self->v, ZCIPC_IOC_TRANSFER, &t, variant->way, when[i].point);
		ep_end(&self->v);
		neps--;
		if (zc_take(&self->a, &dst)) {
			ASSERT_EQ(EAGAIN, errno);
			ASSERT_NE(0, rc);
			continue;
		}
		test_check(&self->a, dst.p, N, 5);
		test_fill(&self->a, dst.p, N, 6);
		test_drop(&self->a, dst.cap);
	}
}

TEST_F(death, of_receiver)
{
	static const char * const points[] = { "prepared", "unmapped", "committed", "sent" };
	struct call c = { .fn = call_go_away, .val = variant->way };
	struct buf src;
	unsigned int i;
	int rc, err;

	for (i = 0; i < ARRAY_SIZE(points); i++) {
		test_start(&self->v, true, 64);
		test_create(&self->a, N, &src);
		test_fill(&self->a, src.p, N, 5);
		point_set(points[i], 50);
		ASSERT_EQ(0, ep_send(&self->v, &c));
		rc = zc_send(&self->a, &self->v, ZCIPC_MOVE, src.cap);
		err = errno;
		ep_wait(&self->v, &c);
		c = (struct call){ .fn = call_go_away, .val = variant->way };
		point_go();
		ep_end(&self->v);
		neps--;
		if (!rc) {
			take_returned(_metadata, &self->a, &self->v, N, 0, 5);
			continue;
		}
		ASSERT_TRUE(err == ESRCH || err == EAGAIN || err == ENOBUFS);
		test_check(&self->a, src.p, N, 5);
		test_drop(&self->a, src.cap);
	}
}

/* In RECV: it is either received, and gone with the receiver, or it comes back. */
TEST_F(death, in_recv)
{
	struct zcipc_recv m = { .size = sizeof(m) };
	struct zcipc_stats before, after;
	struct buf src;

	test_start(&self->v, true, 64);
	test_create(&self->a, N, &src);
	test_fill(&self->a, src.p, N, 5);
	test_send(&self->a, &self->v, ZCIPC_MOVE, src.cap);
	test_stats(&self->base.ep, &before);
	victim_calls(&self->v, ZCIPC_IOC_RECV, &m, variant->way, "received");
	test_stats(&self->base.ep, &after);
	ep_end(&self->v);
	if (after.received == before.received)
		take_returned(_metadata, &self->a, &self->v, N, 0, 5);
}

/* In a fault, and in the first write to what is shared with a snapshot. */
TEST_F(death, in_fault)
{
	static const char * const points[] = { "fault", "broken" };
	struct buf src, copy;
	unsigned int i;
	__u64 addr;

	for (i = 0; i < ARRAY_SIZE(points); i++) {
		test_start(&self->v, true, 64);
		test_create(&self->v, N, &src);
		test_fill(&self->v, src.p, N, 5);
		test_pass(&self->v, &self->a, ZCIPC_COPY, src.cap, &copy);
		addr = (uintptr_t)src.p;
		victim_calls(&self->v, 0, &addr, variant->way, points[i]);
		ep_end(&self->v);
		neps--;
		test_check(&self->a, copy.p, N, 5);
		test_fill(&self->a, copy.p, N, 6);
		test_drop(&self->a, copy.cap);
	}
}

/* Somebody sends to an endpoint whose end has begun, and dies itself while it waits for it. */
TEST_F(death, in_shutdown)
{
	struct call c = { .fn = call_exit };
	struct buf first, second;
	struct ep other;

	test_start(&self->v, true, 64);
	test_open(&other, 64, 0);
	test_create(&self->a, N, &first);
	test_fill(&self->a, first.p, N, 5);
	test_send(&self->a, &self->v, ZCIPC_MOVE, first.cap);
	test_create(&self->a, N, &second);
	test_create(&other, N, &first);
	test_send(&other, &self->v, ZCIPC_MOVE, first.cap);
	point_set("shutdown", 200);
	ASSERT_EQ(0, ep_send(&self->v, &c));
	ASSERT_TRUE(point_reached());
	point_go();
	test_err_send(ESRCH, &self->a, &self->v, ZCIPC_MOVE, second.cap);
	ep_end(&other);
	take_returned(_metadata, &self->a, &self->v, N, 0, 5);
	test_check(&self->a, second.p, N, 0);
}

TEST_HARNESS_MAIN

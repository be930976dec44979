// SPDX-License-Identifier: GPL-2.0
/*
 * Streams: what a message costs from end to end. A producer writes every byte of each message, a
 * consumer reads every cache line of it, and up to eight are under way. Nothing is subtracted, but
 * beyond_own is without what the same writing and reading takes in one process.
 *
 * One way, the consumer gives each message up. In a round trip it sends each back, and the producer
 * fills that again.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base.h"
#include "clock.h"
#include "libzcipc.h"
#include "oneway.h"

/* Messages under way. */
#define DEPTH		8
#define CACHE_LINE	64
#define WINDOW_LEN	(1024UL << 20)
#define PIPE_SIZE	(1024 << 10)

/* How far one side has come, and whether the other one sleeps until it comes further. */
struct progress {
	__u32 n;
	__u32 sleeps;
};

struct stream_shared {
	struct progress sent;
	struct progress done;
	__u32 barrier[2];
	__u64 endpoint[2];
	long long start;
	long long end;
};

struct stream {
	const struct way *way;
	struct stream_shared *sh;
	int me;
	size_t len;
	int fd[2];
	/* A buffer of the producer's for each message under way, and one of the consumer's. */
	char *area;
	char *buffer;
	struct zcipc_endpoint e;
	__u64 cap;
	/* Messages that this side has sent or received. */
	__u32 n;
	/* Regions that the producer has created. */
	int created;
};

/* How messages go over. A consumer's release() gives up, or sends back, what it has received. */
struct way {
	const char *name;
	bool zcipc;
	__u32 flags;
	void (*connect)(struct stream *s);
	void (*start)(struct stream *s);
	char *(*take)(struct stream *s);
	void (*send)(struct stream *s);
	char *(*receive)(struct stream *s);
	void (*release)(struct stream *s);
};

static void advance(struct progress *p, __u32 n)
{
	__atomic_store_n(&p->n, n, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&p->sleeps, 0, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &p->n, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Sleeps until the other side has come to @n. */
static void reach(struct progress *p, __u32 n)
{
	__u32 seen;

	while ((int)((seen = __atomic_load_n(&p->n, __ATOMIC_SEQ_CST)) - n) < 0) {
		__atomic_store_n(&p->sleeps, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&p->n, __ATOMIC_SEQ_CST) == seen)
			syscall(SYS_futex, &p->n, FUTEX_WAIT, seen, NULL, NULL, 0);
	}
}

/* --- zcipc */

static void zcipc_start(struct stream *s)
{
	struct zcipc_endpoint_config config = {
		.size = sizeof(config), .flags = ZCIPC_CONFIG_DEPTH, .queue_depth = DEPTH,
	};

	if (zcipc_open(&s->e, WINDOW_LEN, 0) || zcipc_give_back(&s->e) ||
	    ioctl(s->e.fd, ZCIPC_IOC_ENDPOINT_CONFIG, &config))
		die(ZCIPC_DEVICE);
	s->sh->endpoint[s->me] = s->e.id;
}

static char *zcipc_take(struct stream *s)
{
	struct zcipc_region_create region = zcipc_region_init(s->len, s->way->flags);

	if (zcipc_create(&s->e, &region))
		die("REGION_CREATE");
	s->cap = region.cap;
	return (char *)region.addr;
}

static void zcipc_send(struct stream *s)
{
	struct zcipc_transfer move =
		zcipc_transfer_init(ZCIPC_MOVE, s->cap, s->sh->endpoint[!s->me]);

	if (zcipc_transfer(&s->e, &move))
		die("TRANSFER");
}

static char *receive(struct stream *s)
{
	struct zcipc_recv msg;

	if (zcipc_receive(&s->e, &msg))
		die("RECV");
	s->cap = msg.cap;
	return (char *)msg.addr;
}

static void zcipc_release(struct stream *s)
{
	if (zcipc_drop(&s->e, s->cap))
		die("DROP");
}

/* Of a round trip: as many regions as may be under way, then those that come back. */
static char *zcipc_take_again(struct stream *s)
{
	if (s->created == DEPTH)
		return receive(s);
	s->created++;
	return zcipc_take(s);
}

/* --- what Linux has */

static void ring_connect(struct stream *s)
{
	s->area = shared_memory(DEPTH * s->len);
}

static void own_start(struct stream *s)
{
	s->buffer = private_memory(s->len, s->len >= HUGE_PAGE);
	if (s->area)
		madvise(s->area, DEPTH * s->len, MADV_POPULATE_WRITE);
}

static char *own_take(struct stream *s)
{
	return s->buffer;
}

static char *slot(struct stream *s)
{
	return s->area + s->n % DEPTH * s->len;
}

static void ring_send(struct stream *s)
{
	reach(&s->sh->done, s->n + 1 - DEPTH);
	memcpy(slot(s), s->buffer, s->len);
	advance(&s->sh->sent, s->n + 1);
}

static char *ring_receive(struct stream *s)
{
	reach(&s->sh->sent, s->n + 1);
	return slot(s);
}

static void done(struct stream *s)
{
	advance(&s->sh->done, s->n + 1);
}

/* Memory that both have, filled in place. */
static char *pool_take(struct stream *s)
{
	reach(&s->sh->done, s->n + 1 - DEPTH);
	return slot(s);
}

static void pool_send(struct stream *s)
{
	advance(&s->sh->sent, s->n + 1);
}

static void pipe_connect(struct stream *s)
{
	if (pipe2(s->fd, O_CLOEXEC) || fcntl(s->fd[0], F_SETPIPE_SZ, PIPE_SIZE) < 0)
		die("pipe");
}

static void pipe_send(struct stream *s)
{
	size_t n = 0;
	ssize_t ret;

	for (; n < s->len; n += ret) {
		ret = write(s->fd[1], s->buffer + n, s->len - n);
		if (ret <= 0)
			die("write");
	}
}

static char *pipe_receive(struct stream *s)
{
	size_t n = 0;
	ssize_t ret;

	for (; n < s->len; n += ret) {
		ret = read(s->fd[0], s->buffer + n, s->len - n);
		if (ret <= 0)
			die("read");
	}
	return s->buffer;
}

static void nothing(struct stream *s)
{
	(void)s;
}

/* What lies in the pipe must not be filled again. */
static void vmsplice_start(struct stream *s)
{
	own_start(s);
	if (!s->me)
		s->area = private_memory(DEPTH * s->len, s->len >= HUGE_PAGE);
}

static void vmsplice_send(struct stream *s)
{
	struct iovec iov = { .iov_base = slot(s), .iov_len = s->len };
	ssize_t ret;

	for (; iov.iov_len; iov.iov_len -= ret) {
		ret = vmsplice(s->fd[1], &iov, 1, 0);
		if (ret <= 0)
			die("vmsplice");
		iov.iov_base = (char *)iov.iov_base + ret;
	}
}

#define ZCIPC_WAY	.zcipc = true, .start = zcipc_start, .send = zcipc_send, .receive = receive

static const struct way ways[] = {
	{ .name = "oneway-naive", ZCIPC_WAY, .take = zcipc_take, .release = zcipc_release,
	  .flags = ZCIPC_CREATE_RECYCLED },
	{ .name = "oneway-huge", ZCIPC_WAY, .take = zcipc_take, .release = zcipc_release,
	  .flags = ZCIPC_CREATE_HUGE | ZCIPC_CREATE_RECYCLED },
	{ .name = "roundtrip-naive", ZCIPC_WAY, .take = zcipc_take_again, .release = zcipc_send },
	{ .name = "roundtrip-huge", ZCIPC_WAY, .take = zcipc_take_again, .release = zcipc_send,
	  .flags = ZCIPC_CREATE_HUGE },
	{ .name = "oneway-ring", .connect = ring_connect, .start = own_start, .take = own_take,
	  .send = ring_send, .receive = ring_receive, .release = done },
	{ .name = "oneway-pool", .connect = ring_connect, .start = own_start, .take = pool_take,
	  .send = pool_send, .receive = ring_receive, .release = done },
	{ .name = "oneway-pipe", .connect = pipe_connect, .start = own_start, .take = own_take,
	  .send = pipe_send, .receive = pipe_receive, .release = nothing },
	{ .name = "oneway-vmsplice", .connect = pipe_connect, .start = vmsplice_start,
	  .take = pool_take, .send = vmsplice_send, .receive = pipe_receive, .release = done },
};

/* --- the two processes */

static void fill(char *p, size_t len, __u64 seq)
{
	volatile __u64 *word = (volatile __u64 *)p;
	size_t i;

	for (i = 0; i < len / sizeof(*word); i++)
		word[i] = seq + i;
}

static void check(const char *p, size_t len, __u64 seq)
{
	const size_t step = CACHE_LINE / sizeof(seq);
	const volatile __u64 *word = (const volatile __u64 *)p;
	__u64 bad = 0;
	size_t i;

	for (i = 0; i < len / sizeof(*word); i += step)
		bad |= word[i] ^ (seq + i);
	if (bad)
		wrong("what a message contains");
}

static __u32 warm_up(size_t len)
{
	return len > HUGE_PAGE ? 2 * DEPTH : 8 * DEPTH;
}

static __u32 messages(size_t len)
{
	return len > HUGE_PAGE ? 2 * DEPTH : 32 * DEPTH;
}

static void play_some(struct stream *s, __u32 end)
{
	char *p;

	for (; s->n < end; s->n++) {
		if (s->me) {
			check(s->way->receive(s), s->len, s->n);
			s->way->release(s);
		} else {
			p = s->way->take(s);
			fill(p, s->len, s->n);
			s->way->send(s);
		}
	}
}

static void play(struct stream *s)
{
	const __u32 first = warm_up(s->len);

	s->way->start(s);
	barrier(s->sh->barrier, s->me);
	play_some(s, first);
	/* None is under way. */
	barrier(s->sh->barrier, s->me);
	s->sh->start = now();
	play_some(s, first + messages(s->len));
	s->sh->end = now();
	barrier(s->sh->barrier, s->me);
}

static pid_t start_side(struct stream *s)
{
	/* Who wakes somebody up goes on until he sleeps himself. */
	const struct sched_param param = { 0 };
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sched_setscheduler(0, SCHED_BATCH, &param);
	play(s);
	_exit(0);
}

double stream_own(size_t len)
{
	char *p = private_memory(len, len >= HUGE_PAGE);
	__u32 i, n = messages(len);
	long long start;
	double cost;

	fill(p, len, 0);
	start = now();
	for (i = 0; i < n; i++) {
		fill(p, len, i);
		check(p, len, i);
	}
	cost = (double)(now() - start) / n;
	munmap(p, len);
	return cost;
}

const char *stream_name(unsigned int i)
{
	return i < sizeof(ways) / sizeof(ways[0]) ? ways[i].name : NULL;
}

const char *stream_missing(unsigned int i)
{
	struct zcipc_endpoint e;

	if (!ways[i].zcipc)
		return NULL;
	if (zcipc_open(&e, 0, 0))
		return "no " ZCIPC_DEVICE;
	zcipc_close(&e);
	return NULL;
}

double stream_cost(unsigned int i, size_t len)
{
	struct stream s = { .way = &ways[i], .len = len, .fd = { -1, -1 } };
	int status, side, bad = 0;
	double cost;

	running = s.way->name;
	running_len = len;
	fflush(NULL);
	s.sh = (struct stream_shared *)shared_memory(sizeof(*s.sh));
	if (s.way->connect)
		s.way->connect(&s);
	for (s.me = 0; s.me < 2; s.me++)
		start_side(&s);
	close(s.fd[0]);
	close(s.fd[1]);
	for (side = 0; side < 2; side++)
		bad |= wait(&status) < 0 || status;
	cost = bad ? -1 : (double)(s.sh->end - s.sh->start) / messages(len);
	if (s.area)
		munmap(s.area, DEPTH * len);
	munmap(s.sh, sizeof(*s.sh));
	running = "end";
	return cost;
}

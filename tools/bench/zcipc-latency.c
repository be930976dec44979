// SPDX-License-Identifier: GPL-2.0
/*
 * How long the calls of one user take while another one does the worst that it can: in guest
 * instructions, where a nanosecond is an instruction (QEMU with -icount shift=0, scripts/latency).
 * Elsewhere the numbers are nanoseconds, and vary.
 *
 * The victim has a real-time priority and sleeps most of the time. It wakes up at any moment of
 * what the attacker does, makes one call about what is its own, and so waits for locks alone. The
 * guest has one CPU, so what the attacker does before it releases a lock counts in full. Each
 * figure is the worst of many calls; the last one says how late the victim woke up, which core mm,
 * too, has a part in.
 *
 * Boot with preempt=full: then the victim also wakes up where the kernel would not let others run
 * by itself.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "libzcipc.h"

#define WINDOW_LEN	(256UL << 20)
#define PAGE		4096UL
#define BATCH		ZCIPC_MAX_BATCH

/* As many transfers can be atomic. */
#define ATOMIC		64

/* Of what the attacker has much of: an eighth of the guest's memory is its quota. */
#define MUCH		(24UL << 20)

/* How often each call is made under each attack. */
#define SAMPLES		30

/* What the worst call may take. */
#define MAX_INSNS	200000

static void *map_window(const struct zcipc_endpoint *e, __u64 offset)
{
	void *p = mmap(NULL, WINDOW_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, offset);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static struct zcipc_endpoint open_endpoint(int flags)
{
	struct zcipc_endpoint e;

	if (zcipc_open(&e, WINDOW_LEN, flags))
		err(1, ZCIPC_DEVICE);
	return e;
}

static __u64 create_region(const struct zcipc_endpoint *e, struct zcipc_region_create region)
{
	/* What was freed before may still be on its way. */
	while (zcipc_create(e, &region)) {
		if (errno != EDQUOT && errno != EAGAIN)
			err(1, "REGION_CREATE");
		usleep(1000);
	}
	return region.cap;
}

static __u64 create(const struct zcipc_endpoint *e, size_t len, __u32 flags)
{
	return create_region(e, zcipc_region_init(len, flags));
}

/* @len: 0: all from @offset on */
static struct zcipc_transfer transfer_of(__u32 type, __u64 cap, __u64 peer, size_t offset,
					 size_t len)
{
	struct zcipc_transfer transfer = zcipc_transfer_init(type, cap, peer);

	transfer.offset = offset;
	transfer.len = len;
	return transfer;
}

static int transfer(const struct zcipc_endpoint *e, __u32 type, __u64 cap, __u64 peer,
		    size_t offset, size_t len)
{
	struct zcipc_transfer cmd = transfer_of(type, cap, peer, offset, len);

	return zcipc_transfer(e, &cmd);
}

static void revoke_cap(const struct zcipc_endpoint *e, __u64 cap, __u32 flags)
{
	struct zcipc_revoke cmd = { .size = sizeof(cmd), .flags = flags, .cap = cap };

	if (ioctl(e->fd, ZCIPC_IOC_REVOKE, &cmd))
		err(1, "REVOKE");
}

/* Receives all that there is, reads from it, and gives it up. */
static void drain(const struct zcipc_endpoint *e)
{
	struct zcipc_recv msg;
	unsigned long i;

	while (!zcipc_receive(e, &msg)) {
		if (msg.type == ZCIPC_REVOKED || msg.type == ZCIPC_NOTIFIED)
			continue;
		for (i = 0; msg.addr && i < msg.len && i < 512 * PAGE; i += PAGE)
			(void)*(volatile char *)(msg.addr + i);
		zcipc_drop(e, msg.cap);
	}
}

/**
 * struct attacker - what an attack has
 * @a: its endpoint
 * @b: another one of its own
 * @victim: the victim's endpoint
 * @cap: a region of @a's
 * @memory: MUCH, not a region
 * @transfers: for batches
 */
struct attacker {
	struct zcipc_endpoint a;
	struct zcipc_endpoint b;
	__u64 victim;
	__u64 cap;
	char *memory;
	struct zcipc_transfer transfers[BATCH];
};

static void share_page(struct attacker *at)
{
	if (transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, PAGE))
		err(1, "SHARE");
}

static void have_pinnable(struct attacker *at)
{
	struct zcipc_region_create region = zcipc_region_init(MUCH, 0);

	map_window(&at->a, ZCIPC_WINDOW_OFFSET_PINNABLE);
	region.flags = ZCIPC_CREATE_PINNABLE | ZCIPC_CREATE_NO_HUGE;
	at->cap = create_region(&at->a, region);
	share_page(at);
}

static void have_much(struct attacker *at)
{
	at->cap = create(&at->a, MUCH, ZCIPC_CREATE_NO_HUGE);
}

static void have_huge(struct attacker *at)
{
	at->cap = create(&at->a, MUCH, ZCIPC_CREATE_HUGE);
}

static void have_holes(struct attacker *at)
{
	have_much(at);
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->b.id, MUCH - PAGE, PAGE))
		err(1, "MOVE");
}

static void have_uncached(struct attacker *at)
{
	struct zcipc_region_create region = zcipc_region_init(8 << 20, 0);

	map_window(&at->a, ZCIPC_WINDOW_OFFSET(ZCIPC_CACHE_UNCACHED));
	region.cache = ZCIPC_CACHE_UNCACHED;
	at->cap = create_region(&at->a, region);
}

static void have_imported(struct attacker *at)
{
	if (zcipc_import(&at->a, at->memory, 6 << 20, &at->cap))
		err(1, "REGION_IMPORT");
}

/* A page that many capabilities name, one of them the victim's. */
static void have_grants(struct attacker *at)
{
	struct zcipc_grant cmd = { .size = sizeof(cmd) };
	struct zcipc_recv msg;
	int i;

	at->cap = create(&at->a, PAGE, 0);
	share_page(at);
	for (i = 0; i < 20000; i++) {
		cmd.cap = at->cap;
		cmd.peer = at->b.id;
		cmd.rights = ZCIPC_RIGHT_READ;
		if (ioctl(at->a.fd, ZCIPC_IOC_GRANT, &cmd))
			err(1, "GRANT");
		zcipc_receive(&at->b, &msg);
	}
}

/* As often as it can be mapped, or @n times. */
static void map_often(struct attacker *at, int n, size_t len)
{
	while (n--) {
		struct zcipc_map cmd = {
			.size = sizeof(cmd), .cap = at->cap, .len = len,
			.rights = ZCIPC_RIGHT_READ,
		};

		if (ioctl(at->a.fd, ZCIPC_IOC_MAP, &cmd))
			break;
	}
}

static void have_maps(struct attacker *at)
{
	at->cap = create(&at->a, PAGE, 0);
	share_page(at);
	map_often(at, 20000, PAGE);
}

static void give_away(struct attacker *at)
{
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0))
		zcipc_drop(&at->a, at->cap);
}

static void move_mapped_times(struct attacker *at, int n)
{
	at->cap = create(&at->a, PAGE, 0);
	map_often(at, n, PAGE);
	give_away(at);
}

static void move_mapped(struct attacker *at)
{
	move_mapped_times(at, 20000);
}

/* No more mappings can be moved to another user. One was made by CREATE. */
static void move_mapped_some(struct attacker *at)
{
	move_mapped_times(at, 255);
}

static void have_pages(struct attacker *at)
{
	at->cap = create(&at->a, BATCH * PAGE, ZCIPC_CREATE_NO_HUGE);
}

static void copy_aside(struct attacker *at)
{
	transfer(&at->a, ZCIPC_COPY, at->cap, at->b.id, 0, 0);
	drain(&at->b);
}

static void copy(struct attacker *at)
{
	transfer(&at->a, ZCIPC_COPY, at->cap, at->victim, 0, 0);
}

static void copy_and_write(struct attacker *at)
{
	unsigned long i;

	copy(at);
	for (i = 0; i < MUCH; i += PAGE)
		((volatile char *)at->a.window)[i] = 1;
}

static void move(struct attacker *at)
{
	have_much(at);
	give_away(at);
}

/* As much as is moved at once, that is, with the locks of both endpoints. */
static void move_some(struct attacker *at)
{
	at->cap = create(&at->a, 1024 * PAGE, ZCIPC_CREATE_NO_HUGE);
	give_away(at);
}

static void share_some(struct attacker *at)
{
	at->cap = create(&at->a, 256 * PAGE, ZCIPC_CREATE_NO_HUGE);
	transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, 0);
	revoke_cap(&at->a, at->cap, 0);
}

static void copy_some(struct attacker *at)
{
	at->cap = create(&at->a, 512 * PAGE, ZCIPC_CREATE_NO_HUGE);
	transfer(&at->a, ZCIPC_COPY, at->cap, at->victim, 0, 0);
	zcipc_drop(&at->a, at->cap);
}

static void move_huge(struct attacker *at)
{
	have_huge(at);
	give_away(at);
}

static void share_and_revoke(struct attacker *at)
{
	transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, 0);
	sched_yield();
	revoke_cap(&at->a, at->cap, ZCIPC_REVOKE_KEEP);
}

static void copy_and_fail(struct attacker *at)
{
	transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0);
	copy(at);
}

static void fill_batch(struct attacker *at, __u32 type)
{
	int i;

	for (i = 0; i < BATCH; i++)
		at->transfers[i] = transfer_of(type, at->cap, at->victim, i * PAGE, PAGE);
}

static void batch_shares(struct attacker *at)
{
	fill_batch(at, ZCIPC_SHARE);
	zcipc_transfer_batch(&at->a, at->transfers, BATCH, 0);
	revoke_cap(&at->a, at->cap, ZCIPC_REVOKE_KEEP);
}

static void batch_copies(struct attacker *at)
{
	fill_batch(at, ZCIPC_COPY);
	zcipc_transfer_batch(&at->a, at->transfers, BATCH, 0);
}

static void batch_moves(struct attacker *at)
{
	have_pages(at);
	fill_batch(at, ZCIPC_MOVE);
	zcipc_transfer_batch(&at->a, at->transfers, BATCH, 0);
	zcipc_drop(&at->a, at->cap);
}

static void atomic_copies(struct attacker *at)
{
	fill_batch(at, ZCIPC_COPY);
	zcipc_transfer_batch(&at->a, at->transfers, ATOMIC, ZCIPC_F_ATOMIC);
}

static void atomic_moves(struct attacker *at)
{
	have_pages(at);
	fill_batch(at, ZCIPC_MOVE);
	zcipc_transfer_batch(&at->a, at->transfers, ATOMIC, ZCIPC_F_ATOMIC);
	zcipc_drop(&at->a, at->cap);
}

/* All but the last can be done. */
static void atomic_fails(struct attacker *at)
{
	fill_batch(at, ZCIPC_MOVE);
	at->transfers[ATOMIC - 1].cap = 0;
	zcipc_transfer_batch(&at->a, at->transfers, ATOMIC, ZCIPC_F_ATOMIC);
}

static void direct_copy(struct attacker *at)
{
	struct zcipc_transfer cmd = zcipc_memory_init(ZCIPC_COPY, at->memory, MUCH, at->victim);

	zcipc_transfer(&at->a, &cmd);
}

static void direct_move(struct attacker *at)
{
	struct zcipc_transfer cmd = zcipc_memory_init(ZCIPC_MOVE, at->memory, MUCH, at->victim);

	memset(at->memory, 1, MUCH);
	zcipc_transfer(&at->a, &cmd);
}

/* What the victim has of an endpoint that dies. */
static void die_with_shares(struct attacker *at)
{
	struct attacker other = { .victim = at->victim };

	other.a = open_endpoint(O_NONBLOCK);
	have_pages(&other);
	at->a = other.a;
	at->cap = other.cap;
	fill_batch(at, ZCIPC_SHARE);
	zcipc_transfer_batch(&other.a, at->transfers, BATCH, 0);
	zcipc_close(&other.a);
}

/* A window in which much that the victim has, too, is mapped goes. */
static void unmap_window(struct attacker *at)
{
	map_often(at, 200, 0);
	munmap(at->a.window, WINDOW_LEN);
	at->a.window = map_window(&at->a, 0);
}

static void notify(struct attacker *at)
{
	struct zcipc_notify cmd = { .size = sizeof(cmd), .cap = at->cap, .peer = at->victim };
	int i;

	for (i = 0; i < 100; i++)
		ioctl(at->a.fd, ZCIPC_IOC_NOTIFY, &cmd);
}

/* Memory that is a file's. */
static void have_file(struct attacker *at)
{
	int fd = memfd_create("zcipc-latency", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, MUCH))
		err(1, "memfd_create");
	at->memory = mmap(NULL, MUCH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at->memory == MAP_FAILED)
		err(1, "mmap");
	memset(at->memory, 1, MUCH);
}

static void share_file(struct attacker *at)
{
	struct zcipc_transfer cmd = zcipc_memory_init(ZCIPC_SHARE, at->memory, MUCH, at->victim);
	struct zcipc_revoke revoke = { .size = sizeof(revoke), .peer = at->victim };

	if (zcipc_transfer(&at->a, &cmd))
		return;
	usleep(1000);
	revoke.cap = cmd.peer_cap;
	/* The victim may have given it up. */
	ioctl(at->a.fd, ZCIPC_IOC_REVOKE, &revoke);
}

/* Others who send, and wait while there is no room. */
static void have_senders(struct attacker *at)
{
	int i;

	have_pages(at);
	for (i = 0; i < 16; i++) {
		struct attacker other = { .victim = at->victim };

		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		other.a = open_endpoint(0);
		have_pages(&other);
		for (;;) {
			transfer(&other.a, ZCIPC_SHARE, other.cap, other.victim, 0, PAGE);
			/* All of them are to leave some time to who has no real-time priority. */
			usleep(2000);
		}
	}
}

static void share(struct attacker *at)
{
	transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, PAGE);
}

/* What tells something, of something large. */
static void ask(struct attacker *at)
{
	struct zcipc_region_query query = { .size = sizeof(query), .cap = at->cap };
	struct zcipc_stats stats = { .size = sizeof(stats) };
	struct zcipc_lookup lookup = { .size = sizeof(lookup), .pid = getppid() };

	if (ioctl(at->a.fd, ZCIPC_IOC_REGION_QUERY, &query))
		err(1, "REGION_QUERY");
	if (ioctl(at->a.fd, ZCIPC_IOC_STATS, &stats))
		err(1, "STATS");
	ioctl(at->a.fd, ZCIPC_IOC_LOOKUP, &lookup);
}

static void have_shared(struct attacker *at)
{
	have_much(at);
	if (transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, 0))
		err(1, "SHARE");
}

static const struct attack {
	const char *name;
	void (*setup)(struct attacker *at);
	void (*round)(struct attacker *at);
} attacks[] = {
	{ "idle", NULL, NULL },
	{ "copy of pinnable memory to another", have_pinnable, copy_aside },
	{ "copy of pinnable memory", have_pinnable, copy },
	{ "copy", have_much, copy },
	{ "copy, write", have_much, copy_and_write },
	{ "copy of 2 MiB frames", have_huge, copy },
	{ "copy of uncached memory", have_uncached, copy },
	{ "copy of imported memory", have_imported, copy },
	{ "copy, move of what is not all there", have_holes, copy_and_fail },
	{ "copy of what many are granted", have_grants, copy },
	{ "copy of what is mapped often", have_maps, copy },
	{ "move of what is mapped often", NULL, move_mapped },
	{ "move of what is mapped 256 times", NULL, move_mapped_some },
	{ "move of 1024 pages", NULL, move_some },
	{ "share of 256 pages, revoke", NULL, share_some },
	{ "copy of 512 pages", NULL, copy_some },
	{ "move", NULL, move },
	{ "move of 2 MiB frames", NULL, move_huge },
	{ "share, revoke", have_much, share_and_revoke },
	{ "batch of shares, revoke", have_pages, batch_shares },
	{ "batch of copies", have_pages, batch_copies },
	{ "batch of moves", NULL, batch_moves },
	{ "atomic batch of copies", have_pages, atomic_copies },
	{ "atomic batch of moves", NULL, atomic_moves },
	{ "atomic batch that fails at its end", have_pages, atomic_fails },
	{ "copy from memory", NULL, direct_copy },
	{ "move from memory", NULL, direct_move },
	{ "death of who shares", NULL, die_with_shares },
	{ "unmapping a window", have_shared, unmap_window },
	{ "notifications", have_shared, notify },
	{ "share of a file, revoke", have_file, share_file },
	{ "senders that wait", have_senders, share },
	{ "questions", have_grants, ask },
};

#define NATTACKS	(sizeof(attacks) / sizeof(attacks[0]))

/**
 * struct victim - what the victim has
 * @a: its endpoint
 * @b: another one of its own
 * @cap: a page that goes from one to the other, and back
 * @msg: the last message
 */
struct victim {
	struct zcipc_endpoint a;
	struct zcipc_endpoint b;
	__u64 cap;
	struct zcipc_recv msg;
};

static void call_create(struct victim *v)
{
	struct zcipc_region_create region = zcipc_region_init(PAGE, 0);

	if (zcipc_create(&v->a, &region)) {
		/* The window or the quota is full of what has been sent. */
		if (errno != EAGAIN && errno != EDQUOT)
			err(1, "REGION_CREATE");
		return;
	}
	*(volatile char *)region.addr = 1;
	zcipc_drop(&v->a, region.cap);
}

static void call_receive(struct victim *v)
{
	zcipc_receive(&v->a, &v->msg);
}

static void call_move(struct victim *v)
{
	struct zcipc_transfer there = zcipc_transfer_init(ZCIPC_MOVE, v->cap, v->a.id), back;
	struct zcipc_recv msg;

	if (zcipc_transfer(&v->b, &there)) {
		if (errno != EAGAIN && errno != EDQUOT)
			err(1, "MOVE");
		return;
	}
	back = zcipc_transfer_init(ZCIPC_MOVE, there.peer_cap, v->b.id);
	if (zcipc_transfer(&v->a, &back) || zcipc_receive(&v->b, &msg))
		err(1, "MOVE back");
	v->cap = back.peer_cap;
}

static void call_mmap(struct victim *v)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)v;
	if (p == MAP_FAILED)
		err(1, "mmap");
	munmap(p, PAGE);
}

static void call_config(struct victim *v)
{
	struct zcipc_endpoint_config cmd = { .size = sizeof(cmd) };
	struct pollfd pfd = { .fd = v->a.fd, .events = POLLIN };

	if (ioctl(v->a.fd, ZCIPC_IOC_ENDPOINT_CONFIG, &cmd))
		err(1, "ENDPOINT_CONFIG");
	poll(&pfd, 1, 0);
}

static void call_nothing(struct victim *v)
{
	(void)v;
}

static const struct call {
	const char *name;
	void (*make)(struct victim *v);
} calls[] = {
	{ "create", call_create },
	{ "recv", call_receive },
	{ "move", call_move },
	{ "mmap", call_mmap },
	{ "config", call_config },
	{ "late", call_nothing },
};

#define NCALLS	(sizeof(calls) / sizeof(calls[0]))

/**
 * struct shared - what both processes have
 * @worst: of each call, and how late the victim woke up
 * @rounds: how often the attack was made
 */
struct shared {
	long long worst[NCALLS];
	volatile long rounds;
};

static void become(int user)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || setgid(user) || setuid(user))
		err(1, "setuid");
}

static void pass_id(int fd, __u64 id)
{
	if (write(fd, &id, sizeof(id)) != sizeof(id))
		err(1, "write");
}

static __u64 take_id(int fd)
{
	__u64 id;

	if (read(fd, &id, sizeof(id)) != sizeof(id))
		err(1, "read");
	return id;
}

static void harm(const struct attack *attack, struct shared *shared, int from, int to)
{
	static struct attacker at;

	struct sched_param param = { .sched_priority = 5 };

	/* Nobody else is to run while the victim waits for this process. */
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		err(1, "sched_setscheduler");
	become(1000);
	at.victim = take_id(from);
	at.a = open_endpoint(O_NONBLOCK);
	at.b = open_endpoint(O_NONBLOCK);
	at.memory = mmap(NULL, MUCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at.memory == MAP_FAILED)
		err(1, "mmap");
	madvise(at.memory, MUCH, MADV_NOHUGEPAGE);
	memset(at.memory, 1, MUCH);
	if (attack->setup)
		attack->setup(&at);
	pass_id(to, at.a.id);
	while (!attack->round)
		pause();
	for (;;) {
		attack->round(&at);
		shared->rounds++;
		/* What the kernel has deferred is to be done before the next one. */
		usleep(50);
	}
}

static void suffer(struct shared *shared, int from, int to)
{
	struct zcipc_endpoint_config config = {
		.size = sizeof(config), .flags = ZCIPC_CONFIG_POLICY, .policy = ZCIPC_POLICY_ANY,
	};
	struct sched_param param = { .sched_priority = 10 };
	static struct victim v;
	unsigned long random = 1;
	unsigned int i;

	if (mlockall(MCL_CURRENT) || sched_setscheduler(0, SCHED_FIFO, &param))
		err(1, "sched_setscheduler");
	become(1001);
	v.a = open_endpoint(O_NONBLOCK);
	v.b = open_endpoint(O_NONBLOCK);
	v.cap = create(&v.b, PAGE, 0);
	if (ioctl(v.a.fd, ZCIPC_IOC_ENDPOINT_CONFIG, &config))
		err(1, "ENDPOINT_CONFIG");
	pass_id(to, v.a.id);
	take_id(from);
	drain(&v.a);
	for (i = 0; i < NCALLS; i++)
		calls[i].make(&v);
	for (i = 0; i < SAMPLES * NCALLS; i++) {
		unsigned int call = i % NCALLS;
		struct timespec ts = {};
		long long start, end;

		random = random * 6364136223846793005UL + 1442695040888963407UL;
		ts.tv_nsec = 200000 + (random >> 33) % 3000000;
		start = now() + ts.tv_nsec;
		nanosleep(&ts, NULL);
		if (call != NCALLS - 1)
			start = now();
		calls[call].make(&v);
		end = now();
		if (end - start > shared->worst[call])
			shared->worst[call] = end - start;
		if (v.msg.cap && v.msg.type != ZCIPC_REVOKED && v.msg.type != ZCIPC_NOTIFIED)
			zcipc_drop(&v.a, v.msg.cap);
		v.msg.cap = 0;
		drain(&v.a);
	}
	exit(0);
}

/* Runs one attack. */
static void run(const struct attack *attack, struct shared *shared)
{
	int to_attacker[2], to_victim[2], status;
	pid_t attacker, victim;

	memset(shared, 0, sizeof(*shared));
	if (pipe(to_attacker) || pipe(to_victim))
		err(1, "pipe");
	fflush(stdout);
	attacker = fork();
	if (!attacker) {
		close(to_attacker[1]);
		close(to_victim[0]);
		harm(attack, shared, to_attacker[0], to_victim[1]);
	}
	victim = fork();
	if (!victim) {
		close(to_attacker[0]);
		close(to_victim[1]);
		suffer(shared, to_victim[0], to_attacker[1]);
	}
	if (attacker < 0 || victim < 0)
		err(1, "fork");
	close(to_attacker[0]);
	close(to_attacker[1]);
	close(to_victim[0]);
	close(to_victim[1]);
	if (waitpid(victim, &status, 0) != victim || status)
		err(1, "the victim has failed");
	if (waitpid(attacker, &status, WNOHANG))
		err(1, "the attacker has failed");
	kill(attacker, SIGKILL);
	waitpid(attacker, &status, 0);
}

int main(int argc, char **argv)
{
	struct sched_param param = { .sched_priority = 20 };
	struct shared *shared;
	long long idle = 0;
	unsigned int i, k;
	int bad = 0;
	FILE *f;

	/* Who has to end an attack does not wait for it. */
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		err(1, "sched_setscheduler");
	/* No real-time task is to be stopped for a while. */
	f = fopen("/proc/sys/kernel/sched_rt_runtime_us", "w");
	if (!f || fputs("-1", f) < 0 || fclose(f))
		err(1, "sched_rt_runtime_us");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	printf("%-36s %7s", "worst call while a stranger does", "rounds");
	for (k = 0; k < NCALLS; k++)
		printf(" %7s", calls[k].name);
	printf("   times\n");
	for (i = 0; i < NATTACKS; i++) {
		long long worst = 0;

		if (i && argc > 1 && !strstr(attacks[i].name, argv[1]))
			continue;
		run(&attacks[i], shared);
		printf("%-36s %7ld", attacks[i].name, shared->rounds);
		for (k = 0; k < NCALLS; k++) {
			printf(" %7lld", shared->worst[k]);
			if (k < NCALLS - 1 && shared->worst[k] > worst)
				worst = shared->worst[k];
		}
		if (!i)
			idle = worst;
		printf(" %7.1f%s\n", (double)worst / idle, worst > MAX_INSNS ? "  too much" : "");
		bad += worst > MAX_INSNS;
		/* An attack that was never made says nothing. */
		if (i && shared->rounds < 3) {
			printf("that was too rarely\n");
			bad++;
		}
	}
	return bad ? 1 : 0;
}

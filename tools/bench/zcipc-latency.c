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
#include <errno.h>
#include <fcntl.h>
#include <linux/zcipc.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

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

static void die(const char *what)
{
	fprintf(stderr, "zcipc-latency: %s: %s\n", what, strerror(errno));
	exit(1);
}

/**
 * struct endpoint - one that is open
 * @fd: file descriptor
 * @id: endpoint id
 * @window: address of its window
 */
struct endpoint {
	int fd;
	__u64 id;
	char *window;
};

static void *map_window(int fd, off_t offset)
{
	void *p = mmap(NULL, WINDOW_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void open_endpoint(struct endpoint *e)
{
	struct zcipc_info info = { .size = sizeof(info) };

	e->fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (e->fd < 0)
		die(ZCIPC_DEVICE);
	e->window = map_window(e->fd, 0);
	if (ioctl(e->fd, ZCIPC_IOC_INFO, &info))
		die("INFO");
	e->id = info.endpoint;
}

static __u64 create(const struct endpoint *e, unsigned long len, __u32 flags, __u32 cache)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = flags, .len = len, .cache = cache,
		.node = ZCIPC_NODE_ANY,
	};

	/* What was freed before may still be on its way. */
	while (ioctl(e->fd, ZCIPC_IOC_REGION_CREATE, &cmd)) {
		if (errno != EDQUOT && errno != EAGAIN)
			die("REGION_CREATE");
		usleep(1000);
	}
	return cmd.cap;
}

static struct zcipc_transfer transfer_of(__u32 type, __u64 cap, __u64 peer, unsigned long offset,
					 unsigned long len)
{
	return (struct zcipc_transfer) {
		.size = sizeof(struct zcipc_transfer), .type = type, .cap = cap, .peer = peer,
		.rights = type == ZCIPC_SHARE ? ZCIPC_RIGHT_READ : 0,
		.offset = offset, .len = len, .node = ZCIPC_NODE_ANY,
	};
}

/* Returns 0 or an errno; @got: the peer's capability */
static int transfer(const struct endpoint *e, __u32 type, __u64 cap, __u64 peer,
		    unsigned long offset, unsigned long len, __u64 *got)
{
	struct zcipc_transfer cmd = transfer_of(type, cap, peer, offset, len);

	if (ioctl(e->fd, ZCIPC_IOC_TRANSFER, &cmd))
		return errno;
	if (got)
		*got = cmd.peer_cap;
	return 0;
}

static int from_memory(const struct endpoint *e, __u32 type, void *p, unsigned long len,
		       __u64 peer)
{
	struct zcipc_transfer cmd = transfer_of(type, 0, peer, (unsigned long)p, len);

	cmd.flags = ZCIPC_F_FROM_MEMORY;
	return ioctl(e->fd, ZCIPC_IOC_TRANSFER, &cmd) ? errno : 0;
}

static int batch(const struct endpoint *e, struct zcipc_transfer *transfers, int n, __u32 flags)
{
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .flags = flags, .transfers = (unsigned long)transfers,
		.ntransfers = n, .transfer_size = sizeof(*transfers),
	};

	return ioctl(e->fd, ZCIPC_IOC_TRANSFER_BATCH, &cmd) ? errno : 0;
}

static void drop(const struct endpoint *e, __u64 cap)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .cap = cap };

	ioctl(e->fd, ZCIPC_IOC_DROP, &cmd);
}

static void revoke_cap(const struct endpoint *e, __u64 cap, __u32 flags)
{
	struct zcipc_revoke cmd = { .size = sizeof(cmd), .flags = flags, .cap = cap };

	if (ioctl(e->fd, ZCIPC_IOC_REVOKE, &cmd))
		die("REVOKE");
}

static int receive(const struct endpoint *e, struct zcipc_recv *cmd)
{
	*cmd = (struct zcipc_recv) { .size = sizeof(*cmd) };
	return ioctl(e->fd, ZCIPC_IOC_RECV, cmd) ? errno : 0;
}

/* Receives all that there is, reads from it, and gives it up. */
static void drain(const struct endpoint *e)
{
	struct zcipc_recv msg;
	unsigned long i;

	while (!receive(e, &msg)) {
		if (msg.type == ZCIPC_REVOKED || msg.type == ZCIPC_NOTIFIED)
			continue;
		for (i = 0; msg.addr && i < msg.len && i < 512 * PAGE; i += PAGE)
			(void)*(volatile char *)(msg.addr + i);
		drop(e, msg.cap);
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
	struct endpoint a;
	struct endpoint b;
	__u64 victim;
	__u64 cap;
	char *memory;
	struct zcipc_transfer transfers[BATCH];
};

static void share_page(struct attacker *at)
{
	if (transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, PAGE, NULL))
		die("SHARE");
}

static void have_pinnable(struct attacker *at)
{
	map_window(at->a.fd, ZCIPC_WINDOW_OFFSET_PINNABLE);
	at->cap = create(&at->a, MUCH, ZCIPC_CREATE_PINNABLE | ZCIPC_CREATE_NO_HUGE, 0);
	share_page(at);
}

static void have_much(struct attacker *at)
{
	at->cap = create(&at->a, MUCH, ZCIPC_CREATE_MAP | ZCIPC_CREATE_NO_HUGE, 0);
}

static void have_huge(struct attacker *at)
{
	at->cap = create(&at->a, MUCH, ZCIPC_CREATE_MAP | ZCIPC_CREATE_HUGE, 0);
}

static void have_holes(struct attacker *at)
{
	have_much(at);
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->b.id, MUCH - PAGE, PAGE, NULL))
		die("MOVE");
}

static void have_uncached(struct attacker *at)
{
	map_window(at->a.fd, ZCIPC_WINDOW_OFFSET(ZCIPC_CACHE_UNCACHED));
	at->cap = create(&at->a, 8 << 20, ZCIPC_CREATE_MAP, ZCIPC_CACHE_UNCACHED);
}

static void have_imported(struct attacker *at)
{
	struct zcipc_region_import cmd = {
		.size = sizeof(cmd), .addr = (unsigned long)at->memory, .len = 6 << 20,
	};

	if (ioctl(at->a.fd, ZCIPC_IOC_REGION_IMPORT, &cmd))
		die("REGION_IMPORT");
	at->cap = cmd.cap;
}

/* A page that many capabilities name, one of them the victim's. */
static void have_grants(struct attacker *at)
{
	struct zcipc_grant cmd = { .size = sizeof(cmd) };
	struct zcipc_recv msg;
	int i;

	at->cap = create(&at->a, PAGE, ZCIPC_CREATE_MAP, 0);
	share_page(at);
	for (i = 0; i < 20000; i++) {
		cmd.cap = at->cap;
		cmd.peer = at->b.id;
		cmd.rights = ZCIPC_RIGHT_READ;
		if (ioctl(at->a.fd, ZCIPC_IOC_GRANT, &cmd))
			die("GRANT");
		receive(&at->b, &msg);
	}
}

/* As often as it can be mapped, or @n times. */
static void map_often(struct attacker *at, int n)
{
	while (n--) {
		struct zcipc_map cmd = {
			.size = sizeof(cmd), .cap = at->cap, .len = PAGE,
			.rights = ZCIPC_RIGHT_READ,
		};

		if (ioctl(at->a.fd, ZCIPC_IOC_MAP, &cmd))
			break;
	}
}

static void have_maps(struct attacker *at)
{
	at->cap = create(&at->a, PAGE, ZCIPC_CREATE_MAP, 0);
	share_page(at);
	map_often(at, 20000);
}

static void move_mapped_times(struct attacker *at, int n)
{
	at->cap = create(&at->a, PAGE, ZCIPC_CREATE_MAP, 0);
	map_often(at, n);
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0, NULL))
		drop(&at->a, at->cap);
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
	at->cap = create(&at->a, BATCH * PAGE, ZCIPC_CREATE_MAP | ZCIPC_CREATE_NO_HUGE, 0);
}

static void copy_aside(struct attacker *at)
{
	transfer(&at->a, ZCIPC_COPY, at->cap, at->b.id, 0, 0, NULL);
	drain(&at->b);
}

static void copy(struct attacker *at)
{
	transfer(&at->a, ZCIPC_COPY, at->cap, at->victim, 0, 0, NULL);
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
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0, NULL))
		drop(&at->a, at->cap);
}

/* As much as is moved at once, that is, with the locks of both endpoints. */
static void move_some(struct attacker *at)
{
	at->cap = create(&at->a, 1024 * PAGE, ZCIPC_CREATE_MAP | ZCIPC_CREATE_NO_HUGE, 0);
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0, NULL))
		drop(&at->a, at->cap);
}

static void share_some(struct attacker *at)
{
	at->cap = create(&at->a, 256 * PAGE, ZCIPC_CREATE_MAP | ZCIPC_CREATE_NO_HUGE, 0);
	transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, 0, NULL);
	revoke_cap(&at->a, at->cap, 0);
}

static void copy_some(struct attacker *at)
{
	at->cap = create(&at->a, 512 * PAGE, ZCIPC_CREATE_MAP | ZCIPC_CREATE_NO_HUGE, 0);
	transfer(&at->a, ZCIPC_COPY, at->cap, at->victim, 0, 0, NULL);
	drop(&at->a, at->cap);
}

static void move_huge(struct attacker *at)
{
	have_huge(at);
	if (transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0, NULL))
		drop(&at->a, at->cap);
}

static void share_and_revoke(struct attacker *at)
{
	transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, 0, NULL);
	sched_yield();
	revoke_cap(&at->a, at->cap, ZCIPC_REVOKE_KEEP);
}

static void copy_and_fail(struct attacker *at)
{
	transfer(&at->a, ZCIPC_MOVE, at->cap, at->victim, 0, 0, NULL);
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
	batch(&at->a, at->transfers, BATCH, 0);
	revoke_cap(&at->a, at->cap, ZCIPC_REVOKE_KEEP);
}

static void batch_copies(struct attacker *at)
{
	fill_batch(at, ZCIPC_COPY);
	batch(&at->a, at->transfers, BATCH, 0);
}

static void batch_moves(struct attacker *at)
{
	have_pages(at);
	fill_batch(at, ZCIPC_MOVE);
	batch(&at->a, at->transfers, BATCH, 0);
	drop(&at->a, at->cap);
}

static void atomic_copies(struct attacker *at)
{
	fill_batch(at, ZCIPC_COPY);
	batch(&at->a, at->transfers, ATOMIC, ZCIPC_F_ATOMIC);
}

static void atomic_moves(struct attacker *at)
{
	have_pages(at);
	fill_batch(at, ZCIPC_MOVE);
	batch(&at->a, at->transfers, ATOMIC, ZCIPC_F_ATOMIC);
	drop(&at->a, at->cap);
}

/* All but the last can be done. */
static void atomic_fails(struct attacker *at)
{
	fill_batch(at, ZCIPC_MOVE);
	at->transfers[ATOMIC - 1].cap = 0;
	batch(&at->a, at->transfers, ATOMIC, ZCIPC_F_ATOMIC);
}

static void direct_copy(struct attacker *at)
{
	from_memory(&at->a, ZCIPC_COPY, at->memory, MUCH, at->victim);
}

static void direct_move(struct attacker *at)
{
	memset(at->memory, 1, MUCH);
	from_memory(&at->a, ZCIPC_MOVE, at->memory, MUCH, at->victim);
}

/* What the victim has of an endpoint that dies. */
static void die_with_shares(struct attacker *at)
{
	struct attacker other = { .victim = at->victim };

	open_endpoint(&other.a);
	have_pages(&other);
	memcpy(&at->a, &other.a, sizeof(at->a));
	at->cap = other.cap;
	fill_batch(at, ZCIPC_SHARE);
	batch(&other.a, at->transfers, BATCH, 0);
	munmap(other.a.window, WINDOW_LEN);
	close(other.a.fd);
}

/* A window in which much that the victim has, too, is mapped goes. */
static void unmap_window(struct attacker *at)
{
	int i;

	for (i = 0; i < 200; i++) {
		struct zcipc_map cmd = {
			.size = sizeof(cmd), .cap = at->cap, .rights = ZCIPC_RIGHT_READ,
		};

		if (ioctl(at->a.fd, ZCIPC_IOC_MAP, &cmd))
			break;
	}
	munmap(at->a.window, WINDOW_LEN);
	at->a.window = map_window(at->a.fd, 0);
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
		die("memfd_create");
	at->memory = mmap(NULL, MUCH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at->memory == MAP_FAILED)
		die("mmap");
	memset(at->memory, 1, MUCH);
}

static void share_file(struct attacker *at)
{
	struct zcipc_transfer cmd = transfer_of(ZCIPC_SHARE, 0, at->victim,
						(unsigned long)at->memory, MUCH);
	struct zcipc_revoke revoke = { .size = sizeof(revoke), .peer = at->victim };

	cmd.flags = ZCIPC_F_FROM_MEMORY;
	if (ioctl(at->a.fd, ZCIPC_IOC_TRANSFER, &cmd))
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
		open_endpoint(&other.a);
		fcntl(other.a.fd, F_SETFL, 0);
		have_pages(&other);
		for (;;) {
			transfer(&other.a, ZCIPC_SHARE, other.cap, other.victim, 0, PAGE, NULL);
			/* All of them are to leave some time to who has no real-time priority. */
			usleep(2000);
		}
	}
}

static void share(struct attacker *at)
{
	transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, PAGE, NULL);
}

/* What tells something, of something large. */
static void ask(struct attacker *at)
{
	struct zcipc_region_query query = { .size = sizeof(query), .cap = at->cap };
	struct zcipc_stats stats = { .size = sizeof(stats) };
	struct zcipc_lookup lookup = { .size = sizeof(lookup), .pid = getppid() };

	if (ioctl(at->a.fd, ZCIPC_IOC_REGION_QUERY, &query))
		die("REGION_QUERY");
	if (ioctl(at->a.fd, ZCIPC_IOC_STATS, &stats))
		die("STATS");
	ioctl(at->a.fd, ZCIPC_IOC_LOOKUP, &lookup);
}

static void have_shared(struct attacker *at)
{
	have_much(at);
	if (transfer(&at->a, ZCIPC_SHARE, at->cap, at->victim, 0, 0, NULL))
		die("SHARE");
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
	struct endpoint a;
	struct endpoint b;
	__u64 cap;
	struct zcipc_recv msg;
};

static void call_create(struct victim *v)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = ZCIPC_CREATE_MAP, .len = PAGE, .node = ZCIPC_NODE_ANY,
	};

	if (ioctl(v->a.fd, ZCIPC_IOC_REGION_CREATE, &cmd)) {
		/* The window or the quota is full of what has been sent. */
		if (errno != EAGAIN && errno != EDQUOT)
			die("REGION_CREATE");
		return;
	}
	*(volatile char *)cmd.addr = 1;
	drop(&v->a, cmd.cap);
}

static void call_receive(struct victim *v)
{
	receive(&v->a, &v->msg);
}

static void call_move(struct victim *v)
{
	struct zcipc_recv msg;

	if (transfer(&v->b, ZCIPC_MOVE, v->cap, v->a.id, 0, 0, &v->cap)) {
		if (errno != EAGAIN && errno != EDQUOT)
			die("MOVE");
		return;
	}
	if (transfer(&v->a, ZCIPC_MOVE, v->cap, v->b.id, 0, 0, &v->cap) || receive(&v->b, &msg))
		die("MOVE back");
}

static void call_mmap(struct victim *v)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)v;
	if (p == MAP_FAILED)
		die("mmap");
	munmap(p, PAGE);
}

static void call_config(struct victim *v)
{
	struct zcipc_endpoint_config cmd = { .size = sizeof(cmd) };
	struct pollfd pfd = { .fd = v->a.fd, .events = POLLIN };

	if (ioctl(v->a.fd, ZCIPC_IOC_ENDPOINT_CONFIG, &cmd))
		die("ENDPOINT_CONFIG");
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
		die("setuid");
}

static void pass_id(int fd, __u64 id)
{
	if (write(fd, &id, sizeof(id)) != sizeof(id))
		die("write");
}

static __u64 take_id(int fd)
{
	__u64 id;

	if (read(fd, &id, sizeof(id)) != sizeof(id))
		die("read");
	return id;
}

static void harm(const struct attack *attack, struct shared *shared, int from, int to)
{
	static struct attacker at;

	struct sched_param param = { .sched_priority = 5 };

	/* Nobody else is to run while the victim waits for this process. */
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		die("sched_setscheduler");
	become(1000);
	at.victim = take_id(from);
	open_endpoint(&at.a);
	open_endpoint(&at.b);
	at.memory = mmap(NULL, MUCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at.memory == MAP_FAILED)
		die("mmap");
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
		die("sched_setscheduler");
	become(1001);
	open_endpoint(&v.a);
	open_endpoint(&v.b);
	v.cap = create(&v.b, PAGE, ZCIPC_CREATE_MAP, 0);
	if (ioctl(v.a.fd, ZCIPC_IOC_ENDPOINT_CONFIG, &config))
		die("ENDPOINT_CONFIG");
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
			drop(&v.a, v.msg.cap);
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
		die("pipe");
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
		die("fork");
	close(to_attacker[0]);
	close(to_attacker[1]);
	close(to_victim[0]);
	close(to_victim[1]);
	if (waitpid(victim, &status, 0) != victim || status)
		die("the victim has failed");
	if (waitpid(attacker, &status, WNOHANG))
		die("the attacker has failed");
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
		die("sched_setscheduler");
	/* No real-time task is to be stopped for a while. */
	f = fopen("/proc/sys/kernel/sched_rt_runtime_us", "w");
	if (!f || fputs("-1", f) < 0 || fclose(f))
		die("sched_rt_runtime_us");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
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

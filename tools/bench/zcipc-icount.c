// SPDX-License-Identifier: GPL-2.0
/*
 * What transfers cost, in guest instructions. Runs where a nanosecond is an instruction: QEMU with
 * -icount shift=0 (scripts/icount). Elsewhere the numbers are nanoseconds, and vary.
 *
 * A result is the median of many samples: some have a timer interrupt in them.
 *
 * Two processes play ping-pong with a region; each touches every page it gets. A pipe that carries
 * one byte back and forth shows what waking each other up costs without any transfer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/zcipc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

#define WINDOW_LEN	(64UL << 20)

#define SAMPLES		100

/* What a hop may cost: of one page beyond what waking up costs, and a page of 1024. */
#define MAX_FIXED	6500
#define MAX_PER_PAGE	200

/* What a page of 1000 may cost: of one huge frame, and small ones behind it. */
#define MAX_MIXED_MOVE	120

/* Transfers in a batch, and what each of them may cost. */
#define BATCH		256
#define MAX_PER_ENTRY	3000

/* What a page of imported memory may cost. */
#define MAX_DIRECT		1200
#define MAX_ADOPT		1100
#define MAX_IMPORTED_HOP	200
/* And a huge one, where it is mapped as such. */
#define MAX_HUGE_DIRECT		240
#define MAX_HUGE_HOP		60

static size_t page_size;

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

static double median(long long *samples)
{
	qsort(samples, SAMPLES, sizeof(*samples), compare);
	return samples[SAMPLES / 2];
}

static void die(const char *what)
{
	fprintf(stderr, "zcipc-icount: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_endpoint(__u64 *id)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(ZCIPC_DEVICE);
	if (mmap(NULL, WINDOW_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		die("mmap");
	if (ioctl(fd, ZCIPC_IOC_INFO, &info))
		die("INFO");
	*id = info.endpoint;
	return fd;
}

static __u64 create(int fd, size_t npages)
{
	struct zcipc_region_create create = {
		.size = sizeof(create),
		.flags = ZCIPC_CREATE_MAP,
		.len = npages * page_size,
		.node = ZCIPC_NODE_ANY,
	};

	if (ioctl(fd, ZCIPC_IOC_REGION_CREATE, &create))
		die("REGION_CREATE");
	return create.cap;
}

static void transfer(int fd, __u64 cap, __u64 peer, __u32 type)
{
	struct zcipc_transfer transfer = {
		.size = sizeof(transfer),
		.type = type,
		.rights = type == ZCIPC_SHARE ? ZCIPC_RIGHT_READ : 0,
		.cap = cap,
		.peer = peer,
		.node = ZCIPC_NODE_ANY,
	};

	if (ioctl(fd, ZCIPC_IOC_TRANSFER, &transfer))
		die("TRANSFER");
	if (transfer.copied)
		fprintf(stderr, "zcipc-icount: %llu bytes copied\n", transfer.copied);
}

/* Receives, reads from every page, and returns the capability. */
static __u64 receive(int fd)
{
	struct zcipc_recv recv = { .size = sizeof(recv) };
	size_t offset;

	if (ioctl(fd, ZCIPC_IOC_RECV, &recv))
		die("RECV");
	for (offset = 0; offset < recv.len; offset += page_size)
		(void)*(volatile char *)(recv.addr + offset);
	return recv.cap;
}

static void drop(int fd, __u64 cap)
{
	struct zcipc_drop drop = { .size = sizeof(drop), .cap = cap };

	if (ioctl(fd, ZCIPC_IOC_DROP, &drop))
		die("DROP");
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* Instructions per hop of a region that two processes move to each other. */
static double ping_pong(size_t npages, long *nfaults)
{
	int to_child[2], to_parent[2];
	long long samples[SAMPLES];
	__u64 own, peer, cap;
	long before = 0;
	pid_t child;
	int fd, i;

	if (pipe(to_child) || pipe(to_parent))
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	fd = open_endpoint(&own);
	if (!child) {
		if (write(to_parent[1], &own, sizeof(own)) != sizeof(own) ||
		    read(to_child[0], &peer, sizeof(peer)) != sizeof(peer))
			die("pipe");
		for (i = -2; i <= SAMPLES; i++)
			transfer(fd, receive(fd), peer, ZCIPC_MOVE);
		/* Keep the endpoint until the last message is received. */
		(void)!read(to_child[0], &peer, 1);
		_exit(0);
	}
	if (write(to_child[1], &own, sizeof(own)) != sizeof(own) ||
	    read(to_parent[0], &peer, sizeof(peer)) != sizeof(peer))
		die("pipe");
	cap = create(fd, npages);
	/* The first hop allocates page tables. */
	transfer(fd, cap, peer, ZCIPC_MOVE);
	cap = receive(fd);
	/* So does this process, which shares its own memory with the child, stack and all. */
	memset(samples, 0, sizeof(samples));
	for (i = -2; i < SAMPLES; i++) {
		long long start;

		/* From the first round on: storing it may be what unshares a page of the stack. */
		if (i <= 0)
			before = faults();
		start = now();
		transfer(fd, cap, peer, ZCIPC_MOVE);
		cap = receive(fd);
		if (i >= 0)
			samples[i] = now() - start;
	}
	*nfaults = faults() - before;
	if (write(to_child[1], "", 1) != 1)
		die("pipe");
	waitpid(child, NULL, 0);
	close(fd);
	return median(samples) / 2;
}

/* The same with one byte in a pipe: two system calls and a wake-up. */
static double pipe_ping_pong(void)
{
	int to_child[2], to_parent[2];
	long long samples[SAMPLES];
	pid_t child;
	char byte;
	int i;

	if (pipe(to_child) || pipe(to_parent))
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	for (i = 0; i < SAMPLES; i++) {
		samples[i] = now();
		if (!child) {
			if (read(to_child[0], &byte, 1) != 1 ||
			    write(to_parent[1], &byte, 1) != 1)
				_exit(1);
		} else if (write(to_child[1], &byte, 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
			die("pipe");
		}
		samples[i] = now() - samples[i];
	}
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	return median(samples) / 2;
}

/* Two endpoints of one process: nobody sleeps, so this is what the two calls cost by themselves. */
static double alone(size_t npages, __u32 type)
{
	long long samples[SAMPLES];
	__u64 id[2], cap, got;
	int fd[2], i;

	fd[0] = open_endpoint(&id[0]);
	fd[1] = open_endpoint(&id[1]);
	cap = create(fd[0], npages);
	for (i = -2; i < SAMPLES; i++) {
		int from = type == ZCIPC_MOVE ? i & 1 : 0;
		long long start = now();

		transfer(fd[from], cap, id[!from], type);
		got = receive(fd[!from]);
		/* The first ones allocate page tables. */
		if (i >= 0)
			samples[i] = now() - start;
		if (type == ZCIPC_MOVE)
			cap = got;
		else
			drop(fd[1], got);
	}
	close(fd[0]);
	close(fd[1]);
	return median(samples);
}

/*
 * One-page regions in every second slot, moved all at once or one by one, to slots side by side,
 * and back to every second one. Per region; the way back is @back.
 */
static double scattered(bool batched, double *back)
{
	struct zcipc_transfer transfers[BATCH];
	struct zcipc_transfer_batch batch = {
		.size = sizeof(batch),
		.transfers = (unsigned long)transfers,
		.ntransfers = BATCH,
		.transfer_size = sizeof(transfers[0]),
	};
	long long samples[2][SAMPLES];
	__u64 id[2], caps[BATCH];
	int fd[2], i, j;

	fd[0] = open_endpoint(&id[0]);
	fd[1] = open_endpoint(&id[1]);
	for (j = 0; j < BATCH; j++) {
		caps[j] = create(fd[0], 1);
		create(fd[0], 1);
	}
	memset(transfers, 0, sizeof(transfers));
	for (i = -2; i < 2 * SAMPLES; i++) {
		int from = i & 1;
		long long start;

		for (j = 0; j < BATCH; j++) {
			transfers[j].size = sizeof(transfers[j]);
			transfers[j].type = ZCIPC_MOVE;
			transfers[j].cap = caps[j];
			transfers[j].peer = id[!from];
			transfers[j].node = ZCIPC_NODE_ANY;
		}
		start = now();
		if (!batched)
			for (j = 0; j < BATCH; j++)
				transfer(fd[from], caps[j], id[!from], ZCIPC_MOVE);
		else if (ioctl(fd[from], ZCIPC_IOC_TRANSFER_BATCH, &batch) || batch.done != BATCH)
			die("TRANSFER_BATCH");
		if (i >= 0)
			samples[from][i / 2] = now() - start;
		for (j = 0; j < BATCH; j++)
			caps[j] = receive(fd[!from]);
	}
	close(fd[0]);
	close(fd[1]);
	*back = median(samples[1]) / BATCH;
	return median(samples[0]) / BATCH;
}

/* What memory that was there before costs. */
struct imported {
	double direct;	/* a direct MOVE, up to all pages touched */
	double adopt;	/* IMPORT, once */
	double hop;	/* TRANSFER + RECV of what was adopted, all pages touched */
};

/* Is imported memory mapped by PMDs in windows of any kind? */
static bool imports_by_pmds(void)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);
	bool does;

	if (fd < 0 || ioctl(fd, ZCIPC_IOC_INFO, &info))
		die("INFO");
	does = info.features & ZCIPC_FEATURE_HUGE_IMPORT;
	close(fd);
	return does;
}

/* A window of so many pages for what nobody can hold. */
static void map_unpinnable(int fd, size_t npages)
{
	const size_t len = 4 * npages * page_size, align = 2UL << 20;
	char *p = mmap(NULL, len + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED ||
	    mmap((void *)(((unsigned long)p + align - 1) & ~(align - 1)), len,
		 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 ZCIPC_WINDOW_OFFSET_UNPINNABLE) == MAP_FAILED)
		die("mmap");
}

static struct imported imported(size_t npages, bool huge, bool unpinnable)
{
	const size_t len = npages * page_size, align = 2UL << 20;
	long long samples[3][SAMPLES];
	int fd[2], i, k, rounds = 10;
	__u64 id[2], cap;
	char *p, *area;

	fd[0] = open_endpoint(&id[0]);
	fd[1] = open_endpoint(&id[1]);
	if (unpinnable) {
		map_unpinnable(fd[0], npages);
		map_unpinnable(fd[1], npages);
	}
	area = mmap(NULL, len + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("mmap");
	p = (char *)(((unsigned long)area + align - 1) & ~(align - 1));
	madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (i = -2; i < SAMPLES; i++) {
		struct zcipc_transfer cmd = {
			.size = sizeof(cmd), .flags = ZCIPC_F_FROM_MEMORY, .type = ZCIPC_MOVE,
			.peer = id[1], .offset = (unsigned long)p, .len = len,
			.node = ZCIPC_NODE_ANY,
		};
		long long start;

		if (i >= rounds) {
			samples[0][i] = samples[0][i - rounds];
			continue;
		}
		memset(p, 1, len);
		start = now();
		if (ioctl(fd[0], ZCIPC_IOC_TRANSFER, &cmd) || cmd.copied)
			die("TRANSFER from memory");
		cap = receive(fd[1]);
		if (i >= 0)
			samples[0][i] = now() - start;
		drop(fd[1], cap);
	}
	for (i = -2; i < SAMPLES; i++) {
		struct zcipc_region_import cmd = {
			.size = sizeof(cmd), .addr = (unsigned long)p, .len = len,
		};
		long long start;

		if (i >= rounds) {
			samples[1][i] = samples[1][i - rounds];
			samples[2][i] = samples[2][i - rounds];
			continue;
		}
		p = mmap(p, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		memset(p, 1, len);
		start = now();
		if (ioctl(fd[0], ZCIPC_IOC_REGION_IMPORT, &cmd))
			die("REGION_IMPORT");
		if (i >= 0)
			samples[1][i] = now() - start;
		cap = cmd.cap;
		for (k = 0; k < 4; k++) {
			start = now();
			transfer(fd[k & 1], cap, id[!(k & 1)], ZCIPC_MOVE);
			cap = receive(fd[!(k & 1)]);
			if (i >= 0)
				samples[2][i] = now() - start;
		}
		drop(fd[0], cap);
	}
	munmap(area, len + align);
	close(fd[0]);
	close(fd[1]);
	return (struct imported){
		.direct = median(samples[0]),
		.adopt = median(samples[1]),
		.hop = median(samples[2]),
	};
}

/* Is all that is only fast switched off? */
static bool off;

/* Within the limits, which are for what is fast. */
static bool is_ok(bool too_much)
{
	if (!too_much || off)
		return true;
	printf("        too much\n");
	return false;
}

static void switch_off(void)
{
	static const char * const values[][2] = {
		{ "carry_min", "0" }, { "huge_min", "0" }, { "short_moves", "N" },
		{ "huge_import", "N" },
	};
	char path[64];
	size_t i;
	int fd;

	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		snprintf(path, sizeof(path), "/sys/module/zcipc/parameters/%s", values[i][0]);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, values[i][1], 1) != 1)
			die(path);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	double entry, single, back, single_back;
	static const size_t sizes[] = { 1, 16, 1024 };
	/* 1000: one huge frame, and others behind it. */
	static const size_t alone_sizes[] = { 1, 16, 1000, 1024 };
	bool ok = true;
	double wake;
	size_t i;

	page_size = sysconf(_SC_PAGESIZE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	off = argc > 1 && !strcmp(argv[1], "off");
	if (off)
		switch_off();
	printf("%.3f ns an instruction\n", settle());
	wake = pipe_ping_pong();
	printf("pipe ping-pong, a byte each way: %.0f a hop\n", wake);
	printf("MOVE ping-pong of two processes, all pages touched:\n");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		long nfaults;
		double hop = ping_pong(sizes[i], &nfaults);

		printf("%6zu pages: %9.0f a hop, %7.1f a page, %ld faults in %d receipts\n",
		       sizes[i], hop, hop / sizes[i], nfaults, SAMPLES);
		ok &= is_ok(nfaults);
		if (sizes[i] == 1)
			printf("        that is  %9.0f more than the pipe\n", hop - wake);
		ok &= is_ok((sizes[i] == 1 && hop - wake > MAX_FIXED) ||
			    (sizes[i] == 1024 && hop / sizes[i] > MAX_PER_PAGE));
	}
	printf("TRANSFER + RECV between two endpoints of one process, all pages touched:\n");
	for (i = 0; i < sizeof(alone_sizes) / sizeof(alone_sizes[0]); i++) {
		size_t npages = alone_sizes[i];
		double move = alone(npages, ZCIPC_MOVE);
		double share = alone(npages, ZCIPC_SHARE);
		double copy = alone(npages, ZCIPC_COPY);

		printf("%6zu pages: MOVE %7.0f (%.1f a page), SHARE %7.0f (%.1f), ", npages,
		       move, move / npages, share, share / npages);
		printf("COPY %7.0f (%.1f)\n", copy, copy / npages);
		ok &= is_ok(npages == 1000 && move / npages > MAX_MIXED_MOVE);
	}
	printf("memory of 1024 pages, instructions a page, all pages touched:\n");
	for (i = 0; i < 3; i++) {
		static const char * const names[] = {
			"4 KiB", "huge", "huge, in windows for what nobody can hold",
		};
		struct imported in = imported(1024, i > 0, i == 2);
		bool pmds = i == 2 || (i && imports_by_pmds());

		printf(" %s: direct MOVE %7.1f, adopted once %7.1f, then a hop %7.1f\n", names[i],
		       in.direct / 1024, in.adopt / 1024, in.hop / 1024);
		ok &= is_ok(in.direct / 1024 > (pmds ? MAX_HUGE_DIRECT : MAX_DIRECT) ||
			    in.hop / 1024 > (pmds ? MAX_HUGE_HOP : MAX_IMPORTED_HOP) ||
			    in.adopt / 1024 > MAX_ADOPT);
	}
	single = scattered(false, &single_back);
	entry = scattered(true, &back);
	printf("%d one-page MOVEs from every second slot: %.0f each, %.0f each in a batch;\n",
	       BATCH, single, entry);
	printf("back to every second one: %.0f and %.0f\n", single_back, back);
	ok &= is_ok(entry > MAX_PER_ENTRY);
	return !ok;
}

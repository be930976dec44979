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
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "libzcipc.h"

#define WINDOW_LEN	(64UL << 20)

#define SAMPLES		100
/* Of what takes long. */
#define FEW_SAMPLES	10

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

static double median(long long *samples, int n)
{
	qsort(samples, n, sizeof(*samples), compare);
	return samples[n / 2];
}

static struct zcipc_endpoint open_endpoint(void)
{
	struct zcipc_endpoint e;

	if (zcipc_open(&e, WINDOW_LEN, 0))
		err(1, ZCIPC_DEVICE);
	return e;
}

static __u64 create(const struct zcipc_endpoint *e, size_t npages)
{
	struct zcipc_region_create region = zcipc_region_init(npages * page_size, 0);

	if (zcipc_create(e, &region))
		err(1, "REGION_CREATE");
	return region.cap;
}

static void transfer(const struct zcipc_endpoint *e, __u64 cap, __u64 peer, __u32 type)
{
	struct zcipc_transfer transfer = zcipc_transfer_init(type, cap, peer);

	if (zcipc_transfer(e, &transfer))
		err(1, "TRANSFER");
	if (transfer.copied)
		fprintf(stderr, "zcipc-icount: %llu bytes copied\n", transfer.copied);
}

/* Receives, reads from every page, and returns the capability. */
static __u64 receive(const struct zcipc_endpoint *e)
{
	struct zcipc_recv msg;
	size_t offset;

	if (zcipc_receive(e, &msg))
		err(1, "RECV");
	for (offset = 0; offset < msg.len; offset += page_size)
		(void)*(volatile char *)(msg.addr + offset);
	return msg.cap;
}

static void drop(const struct zcipc_endpoint *e, __u64 cap)
{
	if (zcipc_drop(e, cap))
		err(1, "DROP");
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
	struct zcipc_endpoint e;
	__u64 peer, cap;
	long before = 0;
	pid_t child;
	int i;

	if (pipe(to_child) || pipe(to_parent))
		err(1, "pipe");
	child = fork();
	if (child < 0)
		err(1, "fork");
	e = open_endpoint();
	if (!child) {
		if (write(to_parent[1], &e.id, sizeof(e.id)) != sizeof(e.id) ||
		    read(to_child[0], &peer, sizeof(peer)) != sizeof(peer))
			err(1, "pipe");
		for (i = -2; i <= SAMPLES; i++)
			transfer(&e, receive(&e), peer, ZCIPC_MOVE);
		/* Keep the endpoint until the last message is received. */
		(void)!read(to_child[0], &peer, 1);
		_exit(0);
	}
	if (write(to_child[1], &e.id, sizeof(e.id)) != sizeof(e.id) ||
	    read(to_parent[0], &peer, sizeof(peer)) != sizeof(peer))
		err(1, "pipe");
	cap = create(&e, npages);
	/* The first hop allocates page tables. */
	transfer(&e, cap, peer, ZCIPC_MOVE);
	cap = receive(&e);
	/* So does this process, which shares its own memory with the child, stack and all. */
	memset(samples, 0, sizeof(samples));
	for (i = -2; i < SAMPLES; i++) {
		long long start;

		/* From the first round on: storing it may be what unshares a page of the stack. */
		if (i <= 0)
			before = faults();
		start = now();
		transfer(&e, cap, peer, ZCIPC_MOVE);
		cap = receive(&e);
		if (i >= 0)
			samples[i] = now() - start;
	}
	*nfaults = faults() - before;
	if (write(to_child[1], "", 1) != 1)
		err(1, "pipe");
	waitpid(child, NULL, 0);
	zcipc_close(&e);
	return median(samples, SAMPLES) / 2;
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
		err(1, "pipe");
	child = fork();
	if (child < 0)
		err(1, "fork");
	for (i = 0; i < SAMPLES; i++) {
		samples[i] = now();
		if (!child) {
			if (read(to_child[0], &byte, 1) != 1 ||
			    write(to_parent[1], &byte, 1) != 1)
				_exit(1);
		} else if (write(to_child[1], &byte, 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
			err(1, "pipe");
		}
		samples[i] = now() - samples[i];
	}
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	return median(samples, SAMPLES) / 2;
}

/* Two endpoints of one process: nobody sleeps, so this is what the two calls cost by themselves. */
static double alone(size_t npages, __u32 type)
{
	long long samples[SAMPLES];
	struct zcipc_endpoint e[2] = { open_endpoint(), open_endpoint() };
	__u64 cap, got;
	int i;

	cap = create(&e[0], npages);
	for (i = -2; i < SAMPLES; i++) {
		int from = type == ZCIPC_MOVE ? i & 1 : 0;
		long long start = now();

		transfer(&e[from], cap, e[!from].id, type);
		got = receive(&e[!from]);
		/* The first ones allocate page tables. */
		if (i >= 0)
			samples[i] = now() - start;
		if (type == ZCIPC_MOVE)
			cap = got;
		else
			drop(&e[1], got);
	}
	zcipc_close(&e[0]);
	zcipc_close(&e[1]);
	return median(samples, SAMPLES);
}

/*
 * One-page regions in every second slot, moved all at once or one by one, to slots side by side,
 * and back to every second one. Per region; the way back is @back.
 */
static double scattered(bool batched, double *back)
{
	struct zcipc_transfer transfers[BATCH];
	long long samples[2][SAMPLES];
	struct zcipc_endpoint e[2] = { open_endpoint(), open_endpoint() };
	__u64 caps[BATCH];
	int i, j;

	for (j = 0; j < BATCH; j++) {
		caps[j] = create(&e[0], 1);
		create(&e[0], 1);
	}
	for (i = -2; i < 2 * SAMPLES; i++) {
		int from = i & 1;
		long long start;

		for (j = 0; j < BATCH; j++)
			transfers[j] = zcipc_transfer_init(ZCIPC_MOVE, caps[j], e[!from].id);
		start = now();
		if (!batched)
			for (j = 0; j < BATCH; j++)
				transfer(&e[from], caps[j], e[!from].id, ZCIPC_MOVE);
		else if (zcipc_transfer_batch(&e[from], transfers, BATCH, 0) != BATCH)
			err(1, "TRANSFER_BATCH");
		if (i >= 0)
			samples[from][i / 2] = now() - start;
		for (j = 0; j < BATCH; j++)
			caps[j] = receive(&e[!from]);
	}
	zcipc_close(&e[0]);
	zcipc_close(&e[1]);
	*back = median(samples[1], SAMPLES) / BATCH;
	return median(samples[0], SAMPLES) / BATCH;
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
	struct zcipc_endpoint e = open_endpoint();

	zcipc_close(&e);
	return e.features & ZCIPC_FEATURE_HUGE_IMPORT;
}

/* A window of so many pages for what nobody can hold. */
static void map_unpinnable(const struct zcipc_endpoint *e, size_t npages)
{
	if (mmap(NULL, 4 * npages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd,
		 ZCIPC_WINDOW_OFFSET_UNPINNABLE) == MAP_FAILED)
		err(1, "mmap");
}

static struct imported imported(size_t npages, bool huge, bool unpinnable)
{
	const size_t len = npages * page_size, align = 2UL << 20;
	long long samples[3][FEW_SAMPLES];
	struct zcipc_endpoint e[2] = { open_endpoint(), open_endpoint() };
	int i, k;
	__u64 cap;
	char *p, *area;

	if (unpinnable) {
		map_unpinnable(&e[0], npages);
		map_unpinnable(&e[1], npages);
	}
	area = mmap(NULL, len + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		err(1, "mmap");
	p = (char *)(((unsigned long)area + align - 1) & ~(align - 1));
	madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (i = -2; i < FEW_SAMPLES; i++) {
		struct zcipc_transfer move = zcipc_memory_init(ZCIPC_MOVE, p, len, e[1].id);
		long long start;

		memset(p, 1, len);
		start = now();
		if (zcipc_transfer(&e[0], &move) || move.copied)
			err(1, "TRANSFER from memory");
		cap = receive(&e[1]);
		if (i >= 0)
			samples[0][i] = now() - start;
		drop(&e[1], cap);
	}
	for (i = -2; i < FEW_SAMPLES; i++) {
		long long start;

		p = mmap(p, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		memset(p, 1, len);
		start = now();
		if (zcipc_import(&e[0], p, len, &cap))
			err(1, "REGION_IMPORT");
		if (i >= 0)
			samples[1][i] = now() - start;
		for (k = 0; k < 4; k++) {
			start = now();
			transfer(&e[k & 1], cap, e[!(k & 1)].id, ZCIPC_MOVE);
			cap = receive(&e[!(k & 1)]);
			if (i >= 0)
				samples[2][i] = now() - start;
		}
		drop(&e[0], cap);
	}
	munmap(area, len + align);
	zcipc_close(&e[0]);
	zcipc_close(&e[1]);
	return (struct imported){
		.direct = median(samples[0], FEW_SAMPLES),
		.adopt = median(samples[1], FEW_SAMPLES),
		.hop = median(samples[2], FEW_SAMPLES),
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
			err(1, "%s", path);
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

// SPDX-License-Identifier: GPL-2.0
/*
 * MOVE, SHARE and COPY.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base.h"
#include "libzcipc.h"
#include "mechanism.h"
#include "transfers.h"

#define AUTO_COPY_MAX	"/sys/module/zcipc/parameters/auto_copy_max"

#define WINDOW_LEN	(16UL << 30)

/* How a COPY is driven: what counts is how long the sender waits for its snapshot. */
#define COPIED		(NOTIFY | UNTIMED | SHORT | SNAPSHOT)

struct load load;

/* This process's. */
static struct zcipc_endpoint endpoint;

/* Where the pages of a batch are. */
static char *pages[BATCH];

static unsigned int old_auto_copy_max;

static const char *no_device(const struct mechanism *mech)
{
	struct zcipc_endpoint e;

	(void)mech;
	if (zcipc_open(&e, 0, 0))
		return "no " ZCIPC_DEVICE;
	zcipc_close(&e);
	return NULL;
}

/* Can it be said how much ZCIPC_F_AUTO copies? */
static const char *no_auto(const struct mechanism *mech)
{
	if (access(AUTO_COPY_MAX, W_OK))
		return "cannot write to " AUTO_COPY_MAX;
	return no_device(mech);
}

static struct zcipc_endpoint open_endpoint(size_t window_len)
{
	struct zcipc_endpoint e;

	if (zcipc_open(&e, window_len, 0))
		die(ZCIPC_DEVICE);
	return e;
}

static char *create(const struct zcipc_endpoint *e, size_t len, __u32 flags, __u64 *cap)
{
	struct zcipc_region_create region = zcipc_region_init(len, flags);

	if (zcipc_create(e, &region))
		die("REGION_CREATE of %zu bytes", len);
	if (flags & ZCIPC_CREATE_HUGE && region.huge != region.len)
		wrong("%llu of %llu bytes are in 2 MiB frames", region.huge, region.len);
	*cap = region.cap;
	return (char *)region.addr;
}

/* Which frames the mechanism is about. */
static __u32 create_flags(const struct side *s)
{
	return s->mech->flags & HUGE ? ZCIPC_CREATE_HUGE :
	       s->mech->flags & SMALL ? ZCIPC_CREATE_NO_HUGE :
	       s->mech->flags & FAST ? ZCIPC_CREATE_UNPINNABLE : 0;
}

static __u64 peer(const struct side *s)
{
	return s->sh->endpoint[!s->me];
}

static void transfer(const struct side *s, struct zcipc_transfer *cmd)
{
	/* What was written to after the last snapshot goes back to its 2 MiB frames. */
	const size_t max = s->mech->written ? (s->npages * s->mech->written / 100 + 1) * PAGE : 0;

	if (zcipc_transfer(&endpoint, cmd))
		die("TRANSFER");
	if (cmd->copied > max)
		wrong("TRANSFER copied %llu bytes", cmd->copied);
}

static void grant(__u64 cap, __u64 to)
{
	struct zcipc_grant cmd = {
		.size = sizeof(cmd), .cap = cap, .peer = to, .rights = ZCIPC_RIGHT_READ,
	};

	if (ioctl(endpoint.fd, ZCIPC_IOC_GRANT, &cmd))
		die("GRANT");
}

static char *take_message(struct side *s)
{
	struct zcipc_recv msg;

	if (zcipc_receive(&endpoint, &msg))
		die("RECV");
	s->got = msg.cap;
	return (char *)msg.addr;
}

static void drop(struct side *s)
{
	if (zcipc_drop(&endpoint, s->got))
		die("DROP");
}

static void carry(void)
{
	__u64 cap;
	long i, j;

	for (i = 0; i < load.regions; i++)
		create(&endpoint, PAGE, 0, &cap);
	for (i = 0; i < load.endpoints; i++)
		open_endpoint(0);
	if (!load.queues)
		return;
	create(&endpoint, PAGE, 0, &cap);
	for (i = 0; i < load.queues; i++) {
		struct zcipc_endpoint other = open_endpoint(0);

		for (j = 0; j < 1024; j++)
			grant(cap, other.id);
	}
}

/* Both have endpoints afterwards, that know each other. */
static void start(struct side *s)
{
	endpoint = open_endpoint(WINDOW_LEN);
	s->sh->endpoint[s->me] = endpoint.id;
	if (!s->me)
		carry();
	barrier(s->sh->barrier, s->me);
}

/* One region, that goes back and forth. */
static void move_start(struct side *s)
{
	start(s);
	if (!s->me)
		s->tx = create(&endpoint, s->len, create_flags(s), &s->cap);
}

/* So does memory that was there before. */
static void import_start(struct side *s)
{
	start(s);
	if (s->me)
		return;
	s->tx = private_memory(s->len, s->mech->flags & HUGE);
	if (zcipc_import(&endpoint, s->tx, s->len, &s->cap))
		die("REGION_IMPORT");
}

/* Each has one of its own. */
static void both_start(struct side *s)
{
	start(s);
	s->tx = create(&endpoint, s->len, create_flags(s), &s->cap);
}

static void auto_copy_max(const char *mode, unsigned int *bytes)
{
	FILE *f = fopen(AUTO_COPY_MAX, mode);

	if (!f || (*mode == 'r' ? fscanf(f, "%u", bytes) : fprintf(f, "%u", *bytes)) < 1 ||
	    fclose(f))
		die(AUTO_COPY_MAX);
}

/* The limit is the whole module's, so it becomes again what it was. */
static void auto_start(struct side *s)
{
	unsigned int all = -1;

	if (!s->me) {
		auto_copy_max("re", &old_auto_copy_max);
		auto_copy_max("we", &all);
	}
	if (!(s->mech->option & ZCIPC_F_FROM_MEMORY))
		both_start(s);
	else
		start(s);
}

static void auto_finish(struct side *s)
{
	(void)s;
	auto_copy_max("we", &old_auto_copy_max);
}

static void region_send(struct side *s)
{
	struct zcipc_transfer cmd = zcipc_transfer_init(s->mech->option, s->cap, peer(s));

	transfer(s, &cmd);
}

/* A snapshot, of a region or of memory. With ZCIPC_F_AUTO it is copied, whatever the size. */
static void snapshot_send(struct side *s)
{
	const bool memory = s->mech->option & ZCIPC_F_FROM_MEMORY;
	struct zcipc_transfer cmd = memory ?
		zcipc_memory_init(ZCIPC_COPY, s->tx, s->len, peer(s)) :
		zcipc_transfer_init(ZCIPC_COPY, s->cap, peer(s));

	cmd.flags = s->mech->option;
	if (zcipc_transfer(&endpoint, &cmd))
		die("TRANSFER");
	if (cmd.copied != (cmd.flags & ZCIPC_F_AUTO ? s->len : 0))
		wrong("TRANSFER copied %llu bytes", cmd.copied);
}

static void receive(struct side *s)
{
	s->rx = take_message(s);
}

/* What was received is the next to be sent. */
static void move_receive(struct side *s)
{
	s->rx = take_message(s);
	s->tx = s->rx;
	s->cap = s->got;
}

static const struct zcipc_ring *ring;
static struct zcipc_ring_head *ring_head;

static void polled_start(struct side *s)
{
	move_start(s);
	ring = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, endpoint.fd, ZCIPC_RING_OFFSET);
	ring_head = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, endpoint.fd,
			 ZCIPC_RING_OFFSET_HEAD);
	if (ring == MAP_FAILED || ring_head == MAP_FAILED)
		die("mmap of a ring");
}

/* Of what move_receive() receives, without a call. */
static void polled_receive(struct side *s)
{
	const struct zcipc_recv *entry;
	__u32 head = ring_head->head;

	while (__atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) == head)
		;
	entry = (void *)((char *)ring + PAGE + head % ring->nentries * ring->entry_size);
	s->got = entry->cap;
	s->rx = (char *)entry->addr;
	s->tx = s->rx;
	s->cap = s->got;
	__atomic_store_n(&ring_head->head, head + 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ring->flags, __ATOMIC_RELAXED))
		die("a ring that is never full");
}

/* SHARE once, then ... */
static void once_start(struct side *s)
{
	struct zcipc_transfer cmd;

	both_start(s);
	cmd = zcipc_transfer_init(ZCIPC_SHARE, s->cap, peer(s));
	transfer(s, &cmd);
	s->peer_cap = cmd.peer_cap;
	receive(s);
	barrier(s->sh->barrier, s->me);
}

/* ... a notification says that there is something in the region, and where, */
static void once_send(struct side *s)
{
	struct zcipc_notify cmd = {
		.size = sizeof(cmd), .cap = s->cap, .peer = peer(s), .peer_cap = s->peer_cap,
		.len = s->len,
	};

	if (ioctl(endpoint.fd, ZCIPC_IOC_NOTIFY, &cmd))
		die("NOTIFY");
}

/* ... or a futex in other memory does. */
static void nothing(struct side *s)
{
	(void)s;
}

static void stream_take(struct side *s)
{
	s->tx = create(&endpoint, s->len, create_flags(s) | ZCIPC_CREATE_RECYCLED, &s->cap);
}

/* Memory that is no region. */
static void direct_start(struct side *s)
{
	start(s);
	s->tx = private_memory(s->len, s->mech->flags & HUGE);
}

/* Memory that has never been sent. */
static void memory_take(struct side *s)
{
	if (s->tx)
		munmap(s->tx, s->len);
	s->tx = private_memory(s->len, false);
}

static void direct_send(struct side *s)
{
	struct zcipc_transfer cmd = zcipc_memory_init(ZCIPC_MOVE, s->tx, s->len, peer(s));

	transfer(s, &cmd);
}

/* One-page regions in every second slot of the sender. */
static void batch_start(struct side *s)
{
	__u64 between;
	int i;

	start(s);
	if (s->me)
		return;
	for (i = 0; i < BATCH; i++) {
		pages[i] = create(&endpoint, PAGE, 0, &s->caps[i]);
		create(&endpoint, PAGE, 0, &between);
	}
}

static void batch_take(struct side *s)
{
	int i;

	for (i = 0; i < BATCH; i++)
		stamp(pages[i], 1, s->seq, 1);
}

static void batch_send(struct side *s)
{
	struct zcipc_transfer transfers[BATCH];
	int i;

	for (i = 0; i < BATCH; i++)
		transfers[i] = zcipc_transfer_init(ZCIPC_MOVE, s->caps[i], peer(s));
	if (zcipc_transfer_batch(&endpoint, transfers, BATCH, 0) != BATCH)
		die("TRANSFER_BATCH");
}

static void batch_receive(struct side *s)
{
	int i;

	for (i = 0; i < BATCH; i++) {
		pages[i] = take_message(s);
		s->caps[i] = s->got;
		if (touch(pages[i], 1, s->seq))
			wrong("page %d of the batch", i);
	}
}

/* What the kernel has allocated for itself, in bytes. */
static double kernel_memory(void)
{
	static const char * const kinds[] = { "Slab:", "VmallocUsed:", "Percpu:" };
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128], kind[64];
	double kib, sum = 0;
	size_t i;

	if (!f)
		die("/proc/meminfo");
	while (fgets(line, sizeof(line), f))
		for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (sscanf(line, "%63s %lf", kind, &kib) == 2 && !strcmp(kind, kinds[i]))
				sum += 1024 * kib;
	fclose(f);
	return sum;
}

/*
 * In regions of 4 MiB, without mappings. They stay: of what is freed the kernel keeps a part, and
 * the next ones would take that.
 */
double frame_overhead(bool huge)
{
	const size_t len = 4 << 20, n = 64;
	struct zcipc_endpoint e = open_endpoint(0);
	double before, after;
	size_t i;

	before = kernel_memory();
	for (i = 0; i < n; i++) {
		struct zcipc_region_create region = zcipc_region_init(len, 0);

		region.flags = huge ? ZCIPC_CREATE_HUGE : ZCIPC_CREATE_NO_HUGE;
		if (zcipc_create(&e, &region))
			die("REGION_CREATE of %zu bytes", len);
	}
	after = kernel_memory();
	return (after - before) / (n * len / PAGE);
}

const struct mechanism zcipcs[] = {
	{ .name = "zcipc-move-4k", .option = ZCIPC_MOVE, .flags = SMALL, .missing = no_device,
	  .start = move_start, .send = region_send, .receive = move_receive },
	{ .name = "zcipc-move-2m", .option = ZCIPC_MOVE, .flags = HUGE, .min = PAGE,
	  .missing = no_device,
	  .start = move_start, .send = region_send, .receive = move_receive },
	{ .name = "zcipc-move-polled", .option = ZCIPC_MOVE, .flags = NOTIFY | POLLED | SMALL,
	  .missing = no_device,
	  .start = polled_start, .send = region_send, .receive = polled_receive },
	{ .name = "zcipc-move-2m-polled", .option = ZCIPC_MOVE, .flags = NOTIFY | POLLED | HUGE,
	  .min = PAGE, .missing = no_device,
	  .start = polled_start, .send = region_send, .receive = polled_receive },
	{ .name = "zcipc-move-fast-polled", .option = ZCIPC_MOVE,
	  .flags = NOTIFY | POLLED | FAST, .missing = no_device,
	  .start = polled_start, .send = region_send, .receive = polled_receive },
	{ .name = "zcipc-move-fast", .option = ZCIPC_MOVE, .flags = FAST, .missing = no_device,
	  .start = move_start, .send = region_send, .receive = move_receive },
	{ .name = "zcipc-move-imported", .option = ZCIPC_MOVE, .missing = no_device,
	  .start = import_start, .send = region_send, .receive = move_receive },
	{ .name = "zcipc-move-imported-2m", .option = ZCIPC_MOVE, .flags = HUGE,
	  .missing = no_device,
	  .start = import_start, .send = region_send, .receive = move_receive },
	{ .name = "zcipc-direct", .flags = UNTIMED, .missing = no_device,
	  .start = direct_start, .send = direct_send, .receive = receive, .release = drop },
	{ .name = "zcipc-direct-2m", .flags = UNTIMED | HUGE, .missing = no_device,
	  .start = direct_start, .send = direct_send, .receive = receive, .release = drop },
	{ .name = "zcipc-stream-4k", .option = ZCIPC_MOVE, .flags = SMALL, .missing = no_device,
	  .start = start, .take = stream_take, .send = region_send, .receive = receive,
	  .release = drop },
	{ .name = "zcipc-stream-fast", .option = ZCIPC_MOVE, .flags = FAST, .missing = no_device,
	  .start = start, .take = stream_take, .send = region_send, .receive = receive,
	  .release = drop },
	{ .name = "zcipc-stream-2m", .option = ZCIPC_MOVE, .flags = HUGE, .missing = no_device,
	  .start = start, .take = stream_take, .send = region_send, .receive = receive,
	  .release = drop },
	{ .name = "zcipc-share", .option = ZCIPC_SHARE, .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-share-once", .option = ZCIPC_SHARE, .flags = WITH_WAKE,
	  .missing = no_device, .start = once_start, .send = once_send, .receive = receive },
	{ .name = "zcipc-share-futex", .option = ZCIPC_SHARE, .flags = WITH_WAKE | NOTIFY,
	  .missing = no_device, .start = once_start, .send = nothing },
	{ .name = "zcipc-copy-0", .option = ZCIPC_COPY, .flags = COPIED, .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-1", .option = ZCIPC_COPY, .flags = COPIED, .written = 1,
	  .min = 1 << 20, .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-100", .option = ZCIPC_COPY, .flags = COPIED, .written = 100,
	  .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-4k-0", .option = ZCIPC_COPY, .flags = COPIED | SMALL,
	  .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-fast-0", .option = ZCIPC_COPY, .flags = COPIED | FAST,
	  .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-fast-1", .option = ZCIPC_COPY, .flags = COPIED | FAST,
	  .written = 1, .min = 1 << 20, .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-fast-100", .option = ZCIPC_COPY, .flags = COPIED | FAST,
	  .written = 100, .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-4k-100", .option = ZCIPC_COPY, .flags = COPIED | SMALL,
	  .written = 100, .missing = no_device,
	  .start = both_start, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-copy-2m-100", .option = ZCIPC_F_BREAK_HUGE, .flags = COPIED | HUGE,
	  .written = 100, .missing = no_device,
	  .start = both_start, .send = snapshot_send, .receive = receive, .release = drop },
	{ .name = "zcipc-auto-0", .option = ZCIPC_F_AUTO, .flags = COPIED, .max = 1 << 20,
	  .missing = no_auto, .start = auto_start, .send = snapshot_send, .receive = receive,
	  .release = drop, .finish = auto_finish },
	{ .name = "zcipc-auto-100", .option = ZCIPC_F_AUTO, .flags = COPIED, .written = 100,
	  .max = 1 << 20, .missing = no_auto, .start = auto_start, .send = snapshot_send,
	  .receive = receive, .release = drop, .finish = auto_finish },
	{ .name = "zcipc-copy-memory", .option = ZCIPC_F_FROM_MEMORY | ZCIPC_F_IMPORT,
	  .flags = COPIED, .max = 1 << 20, .missing = no_device, .start = start,
	  .take = memory_take, .send = snapshot_send, .receive = receive, .release = drop },
	{ .name = "zcipc-auto-memory", .option = ZCIPC_F_FROM_MEMORY | ZCIPC_F_AUTO,
	  .flags = COPIED, .max = 1 << 20, .missing = no_auto,
	  .start = auto_start, .take = memory_take, .send = snapshot_send, .receive = receive,
	  .release = drop, .finish = auto_finish },
	{ .name = "zcipc-batch-256", .flags = UNTIMED | OWN_TOUCH | ENTRIES, .min = BATCH * PAGE,
	  .max = BATCH * PAGE, .missing = no_device,
	  .start = batch_start, .take = batch_take, .send = batch_send, .receive = batch_receive },
	{ .name = "zcipc-msg-64k", .option = ZCIPC_MOVE, .flags = UNTIMED | HUGE,
	  .min = 64 << 10, .max = 64 << 10, .missing = no_device, .start = start,
	  .take = stream_take, .send = region_send, .receive = receive, .release = drop },
	{ .name = "zcipc-msg-1m", .option = ZCIPC_MOVE, .flags = UNTIMED | HUGE, .min = 1 << 20,
	  .max = 1 << 20, .missing = no_device, .start = start, .take = stream_take,
	  .send = region_send, .receive = receive, .release = drop },
	{ .name = NULL },
};

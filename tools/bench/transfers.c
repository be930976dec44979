// SPDX-License-Identifier: GPL-2.0
/*
 * MOVE, SHARE and COPY.
 */
#include <fcntl.h>
#include <linux/zcipc.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base.h"
#include "mechanism.h"
#include "transfers.h"

#define AUTO_COPY_MAX	"/sys/module/zcipc/parameters/auto_copy_max"

#define WINDOW_LEN	(16UL << 30)

struct load load;

/* Where the pages of a batch are. */
static char *pages[BATCH];

static unsigned int old_auto_copy_max;

static const char *device_missing(const struct mechanism *mech)
{
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);

	(void)mech;
	if (fd < 0)
		return "no " ZCIPC_DEVICE;
	close(fd);
	return NULL;
}

/* Can it be said how much ZCIPC_F_AUTO copies? */
static const char *auto_missing(const struct mechanism *mech)
{
	if (access(AUTO_COPY_MAX, W_OK))
		return "cannot write to " AUTO_COPY_MAX;
	return device_missing(mech);
}

static int open_endpoint(__u64 *id)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(ZCIPC_DEVICE);
	if (ioctl(fd, ZCIPC_IOC_INFO, &info))
		die("INFO");
	*id = info.endpoint;
	return fd;
}

static __u64 create(int fd, size_t len, __u32 flags, char **addr)
{
	struct zcipc_region_create create = {
		.size = sizeof(create),
		.flags = ZCIPC_CREATE_MAP | flags,
		.len = len,
		.node = ZCIPC_NODE_ANY,
	};

	if (ioctl(fd, ZCIPC_IOC_REGION_CREATE, &create))
		die("REGION_CREATE of %zu bytes", len);
	if (flags & ZCIPC_CREATE_HUGE && create.huge != create.len)
		wrong("%llu of %llu bytes are in 2 MiB frames", create.huge, create.len);
	if (addr)
		*addr = (char *)create.addr;
	return create.cap;
}

/* Which frames the mechanism is about. */
static __u32 create_flags(const struct side *s)
{
	return s->mech->flags & HUGE ? ZCIPC_CREATE_HUGE :
	       s->mech->flags & SMALL ? ZCIPC_CREATE_NO_HUGE :
	       s->mech->flags & FAST ? ZCIPC_CREATE_UNPINNABLE : 0;
}

static void transfer_init(struct zcipc_transfer *cmd, struct side *s, __u32 type, __u64 cap)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->size = sizeof(*cmd);
	cmd->type = type;
	cmd->rights = type == ZCIPC_SHARE ? ZCIPC_RIGHT_READ : 0;
	cmd->cap = cap;
	cmd->peer = s->sh->endpoint[!s->me];
	cmd->node = ZCIPC_NODE_ANY;
}

static void transfer(struct side *s, struct zcipc_transfer *cmd)
{
	/* What was written to after the last snapshot goes back to its 2 MiB frames. */
	const size_t max = s->mech->written ? (s->npages * s->mech->written / 100 + 1) * PAGE : 0;

	if (ioctl(s->own_fd, ZCIPC_IOC_TRANSFER, cmd))
		die("TRANSFER");
	if (cmd->copied > max)
		wrong("TRANSFER copied %llu bytes", cmd->copied);
}

static void grant(int fd, __u64 cap, __u64 peer)
{
	struct zcipc_grant cmd = {
		.size = sizeof(cmd), .cap = cap, .peer = peer, .rights = ZCIPC_RIGHT_READ,
	};

	if (ioctl(fd, ZCIPC_IOC_GRANT, &cmd))
		die("GRANT");
}

static char *receive(struct side *s)
{
	struct zcipc_recv cmd = { .size = sizeof(cmd) };

	if (ioctl(s->own_fd, ZCIPC_IOC_RECV, &cmd))
		die("RECV");
	s->got = cmd.cap;
	return (char *)cmd.addr;
}

static void drop(struct side *s)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .cap = s->got };

	if (ioctl(s->own_fd, ZCIPC_IOC_DROP, &cmd))
		die("DROP");
}

static void carry(struct side *s)
{
	__u64 cap, id;
	long i, j;

	for (i = 0; i < load.regions; i++)
		create(s->own_fd, PAGE, 0, NULL);
	for (i = 0; i < load.endpoints; i++)
		open_endpoint(&id);
	if (!load.queues)
		return;
	cap = create(s->own_fd, PAGE, 0, NULL);
	for (i = 0; i < load.queues; i++) {
		open_endpoint(&id);
		for (j = 0; j < 1024; j++)
			grant(s->own_fd, cap, id);
	}
}

/* Both have endpoints afterwards, that know each other. */
static void start(struct side *s)
{
	s->own_fd = open_endpoint(&s->sh->endpoint[s->me]);
	if (mmap(NULL, WINDOW_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, s->own_fd, 0) == MAP_FAILED)
		die("mmap of the window");
	if (!s->me)
		carry(s);
	barrier(s->sh->barrier, s->me);
}

/* One region, that goes back and forth. */
static void move_start(struct side *s)
{
	start(s);
	if (!s->me)
		s->cap = create(s->own_fd, s->len, create_flags(s), &s->tx);
}

/* So does memory that was there before. */
static void import_start(struct side *s)
{
	struct zcipc_region_import cmd = { .size = sizeof(cmd), .len = s->len };

	start(s);
	if (s->me)
		return;
	s->tx = private_memory(s->len, s->mech->flags & HUGE);
	cmd.addr = (unsigned long)s->tx;
	if (ioctl(s->own_fd, ZCIPC_IOC_REGION_IMPORT, &cmd))
		die("REGION_IMPORT");
	s->cap = cmd.cap;
}

/* Each has one of its own. */
static void both_start(struct side *s)
{
	start(s);
	s->cap = create(s->own_fd, s->len, create_flags(s), &s->tx);
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

static void zcipc_send(struct side *s)
{
	struct zcipc_transfer cmd;

	transfer_init(&cmd, s, s->mech->option, s->cap);
	transfer(s, &cmd);
}

/* A snapshot, of a region or of memory. With ZCIPC_F_AUTO it is copied, whatever the size. */
static void snapshot_send(struct side *s)
{
	const bool memory = s->mech->option & ZCIPC_F_FROM_MEMORY;
	struct zcipc_transfer cmd;

	transfer_init(&cmd, s, ZCIPC_COPY, memory ? 0 : s->cap);
	cmd.flags = s->mech->option;
	if (memory) {
		cmd.offset = (unsigned long)s->tx;
		cmd.len = s->len;
	}
	if (ioctl(s->own_fd, ZCIPC_IOC_TRANSFER, &cmd))
		die("TRANSFER");
	if (cmd.copied != (cmd.flags & ZCIPC_F_AUTO ? s->len : 0))
		wrong("TRANSFER copied %llu bytes", cmd.copied);
}

static void zcipc_receive(struct side *s)
{
	s->rx = receive(s);
}

/* What was received is the next to be sent. */
static void move_receive(struct side *s)
{
	s->rx = receive(s);
	s->tx = s->rx;
	s->cap = s->got;
}

static const struct zcipc_ring *ring;
static struct zcipc_ring_head *ring_head;

static void polled_start(struct side *s)
{
	move_start(s);
	ring = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, s->own_fd, ZCIPC_RING_OFFSET);
	ring_head = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s->own_fd,
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
	transfer_init(&cmd, s, ZCIPC_SHARE, s->cap);
	transfer(s, &cmd);
	s->peer_cap = cmd.peer_cap;
	zcipc_receive(s);
	barrier(s->sh->barrier, s->me);
}

/* ... a notification says that there is something in the region, and where, */
static void once_send(struct side *s)
{
	struct zcipc_notify cmd = {
		.size = sizeof(cmd), .cap = s->cap, .peer = s->sh->endpoint[!s->me],
		.peer_cap = s->peer_cap, .len = s->len,
	};

	if (ioctl(s->own_fd, ZCIPC_IOC_NOTIFY, &cmd))
		die("NOTIFY");
}

/* ... or a futex in other memory does. */
static void nothing(struct side *s)
{
	(void)s;
}

static void stream_take(struct side *s)
{
	s->cap = create(s->own_fd, s->len, create_flags(s) | ZCIPC_CREATE_RECYCLED, &s->tx);
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
	struct zcipc_transfer cmd;

	transfer_init(&cmd, s, ZCIPC_MOVE, 0);
	cmd.flags = ZCIPC_F_FROM_MEMORY;
	cmd.offset = (unsigned long)s->tx;
	cmd.len = s->len;
	transfer(s, &cmd);
}

/* One-page regions in every second slot of the sender. */
static void batch_start(struct side *s)
{
	int i;

	start(s);
	if (s->me)
		return;
	for (i = 0; i < BATCH; i++) {
		s->caps[i] = create(s->own_fd, PAGE, 0, &pages[i]);
		create(s->own_fd, PAGE, 0, NULL);
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
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd),
		.transfers = (unsigned long)transfers,
		.ntransfers = BATCH,
		.transfer_size = sizeof(transfers[0]),
	};
	int i;

	for (i = 0; i < BATCH; i++)
		transfer_init(&transfers[i], s, ZCIPC_MOVE, s->caps[i]);
	if (ioctl(s->own_fd, ZCIPC_IOC_TRANSFER_BATCH, &cmd) || cmd.done != BATCH)
		die("TRANSFER_BATCH");
}

static void batch_receive(struct side *s)
{
	int i;

	for (i = 0; i < BATCH; i++) {
		pages[i] = receive(s);
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
	double before, after;
	__u64 id;
	int fd = open_endpoint(&id);
	size_t i;

	before = kernel_memory();
	for (i = 0; i < n; i++) {
		struct zcipc_region_create create = {
			.size = sizeof(create),
			.flags = huge ? ZCIPC_CREATE_HUGE : ZCIPC_CREATE_NO_HUGE,
			.len = len,
			.node = ZCIPC_NODE_ANY,
		};

		if (ioctl(fd, ZCIPC_IOC_REGION_CREATE, &create))
			die("REGION_CREATE of %zu bytes", len);
	}
	after = kernel_memory();
	return (after - before) / (n * len / PAGE);
}

const struct mechanism zcipcs[] = {
	{ .name = "zcipc-move-4k", .option = ZCIPC_MOVE, .flags = SMALL,
	  .missing = device_missing,
	  .start = move_start, .send = zcipc_send, .receive = move_receive },
	{ .name = "zcipc-move-2m", .option = ZCIPC_MOVE, .flags = HUGE, .min = PAGE,
	  .missing = device_missing,
	  .start = move_start, .send = zcipc_send, .receive = move_receive },
	{ .name = "zcipc-move-polled", .option = ZCIPC_MOVE, .flags = NOTIFY | POLLED | SMALL,
	  .missing = device_missing,
	  .start = polled_start, .send = zcipc_send, .receive = polled_receive },
	{ .name = "zcipc-move-2m-polled", .option = ZCIPC_MOVE, .flags = NOTIFY | POLLED | HUGE,
	  .min = PAGE, .missing = device_missing,
	  .start = polled_start, .send = zcipc_send, .receive = polled_receive },
	{ .name = "zcipc-move-fast-polled", .option = ZCIPC_MOVE, .flags = NOTIFY | POLLED | FAST,
	  .missing = device_missing,
	  .start = polled_start, .send = zcipc_send, .receive = polled_receive },
	{ .name = "zcipc-move-fast", .option = ZCIPC_MOVE, .flags = FAST,
	  .missing = device_missing,
	  .start = move_start, .send = zcipc_send, .receive = move_receive },
	{ .name = "zcipc-move-imported", .option = ZCIPC_MOVE, .missing = device_missing,
	  .start = import_start, .send = zcipc_send, .receive = move_receive },
	{ .name = "zcipc-move-imported-2m", .option = ZCIPC_MOVE, .flags = HUGE,
	  .missing = device_missing,
	  .start = import_start, .send = zcipc_send, .receive = move_receive },
	{ .name = "zcipc-direct", .flags = UNTIMED, .missing = device_missing,
	  .start = direct_start, .send = direct_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = "zcipc-direct-2m", .flags = UNTIMED | HUGE, .missing = device_missing,
	  .start = direct_start, .send = direct_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = "zcipc-stream-4k", .option = ZCIPC_MOVE, .flags = SMALL,
	  .missing = device_missing,
	  .start = start, .take = stream_take, .send = zcipc_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = "zcipc-stream-fast", .option = ZCIPC_MOVE, .flags = FAST,
	  .missing = device_missing,
	  .start = start, .take = stream_take, .send = zcipc_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = "zcipc-stream-2m", .option = ZCIPC_MOVE, .flags = HUGE,
	  .missing = device_missing,
	  .start = start, .take = stream_take, .send = zcipc_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = "zcipc-share", .option = ZCIPC_SHARE, .missing = device_missing,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-share-once", .option = ZCIPC_SHARE, .flags = WITH_WAKE,
	  .missing = device_missing,
	  .start = once_start, .send = once_send, .receive = zcipc_receive },
	{ .name = "zcipc-share-futex", .option = ZCIPC_SHARE, .flags = WITH_WAKE | NOTIFY,
	  .missing = device_missing, .start = once_start, .send = nothing },
	{ .name = "zcipc-copy-0", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-1", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT, .min = 1 << 20, .written = 1,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-100", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT, .written = 100,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-4k-0", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT | SMALL,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-fast-0", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT | FAST,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-fast-1", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT | FAST, .min = 1 << 20, .written = 1,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-fast-100", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT | FAST, .written = 100,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-4k-100", .option = ZCIPC_COPY, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT | SMALL, .written = 100,
	  .start = both_start, .send = zcipc_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-copy-2m-100", .option = ZCIPC_F_BREAK_HUGE, .missing = device_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT | HUGE, .written = 100,
	  .start = both_start, .send = snapshot_send, .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-auto-0", .option = ZCIPC_F_AUTO, .missing = auto_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT, .max = 1 << 20,
	  .start = auto_start, .send = snapshot_send, .receive = zcipc_receive,
	  .release = drop, .finish = auto_finish },
	{ .name = "zcipc-auto-100", .option = ZCIPC_F_AUTO, .missing = auto_missing,
	  .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT, .max = 1 << 20, .written = 100,
	  .start = auto_start, .send = snapshot_send, .receive = zcipc_receive,
	  .release = drop, .finish = auto_finish },
	{ .name = "zcipc-copy-memory", .option = ZCIPC_F_FROM_MEMORY | ZCIPC_F_IMPORT,
	  .missing = device_missing, .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT, .max = 1 << 20,
	  .start = start, .take = memory_take, .send = snapshot_send,
	  .receive = zcipc_receive, .release = drop },
	{ .name = "zcipc-auto-memory", .option = ZCIPC_F_FROM_MEMORY | ZCIPC_F_AUTO,
	  .missing = auto_missing, .flags = NOTIFY | UNTIMED | SHORT | SNAPSHOT, .max = 1 << 20,
	  .start = auto_start, .take = memory_take, .send = snapshot_send,
	  .receive = zcipc_receive, .release = drop, .finish = auto_finish },
	{ .name = "zcipc-batch-256", .missing = device_missing,
	  .flags = UNTIMED | OWN_TOUCH | ENTRIES, .min = BATCH * PAGE, .max = BATCH * PAGE,
	  .start = batch_start, .take = batch_take, .send = batch_send,
	  .receive = batch_receive },
	{ .name = "zcipc-msg-64k", .option = ZCIPC_MOVE, .flags = UNTIMED | HUGE,
	  .min = 64 << 10, .max = 64 << 10, .missing = device_missing,
	  .start = start, .take = stream_take, .send = zcipc_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = "zcipc-msg-1m", .option = ZCIPC_MOVE, .flags = UNTIMED | HUGE,
	  .min = 1 << 20, .max = 1 << 20, .missing = device_missing,
	  .start = start, .take = stream_take, .send = zcipc_send, .receive = zcipc_receive,
	  .release = drop },
	{ .name = NULL },
};

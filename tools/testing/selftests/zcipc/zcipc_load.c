// SPDX-License-Identifier: GPL-2.0-only
/*
 * Imported memory with all that at once: workers that send, keep and fork, swap, compaction, KSM.
 *
 * Guarantees: G2 exclusive MOVE, G4, G5, G8.
 * Attacks: 17 and 18 races of transfers, 20 what becomes of memory after an import.
 */
#include <linux/loop.h>
#include <poll.h>
#include <sys/swap.h>
#include <sys/wait.h>

#include "zcipc_utils.h"

/* --- all that at once */

#define WORKERS 3
#define KEPT 12
#define LOAD_PAGES 40
#define LOAD_COMMON 7

/* What a worker has, and what must be there. */
struct kept {
	char *p;
	size_t npages;
	__u64 seed;
	__u64 cap;			/* 0: it is memory only */
	bool memory;			/* to be unmapped in the end */
	bool shared;			/* whoever has it only reads */
};

struct worker {
	struct kept kept[KEPT];
	unsigned int nkept;
	__u64 random;
	__u64 seed;
	__u64 next;			/* the endpoint that gets what this one sends */
	char *common;			/* others have the same */
	unsigned int sent, received, failed;
	char why[200];
};

static struct worker worker;

#define load_fails(...)							\
({									\
	snprintf(worker.why, sizeof(worker.why), __VA_ARGS__);		\
	-1;								\
})

static unsigned int load_below(unsigned int n)
{
	worker.random = worker.random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (worker.random >> 33) % n;
}

static int load_check(const struct kept *k, const char *what)
{
	int rc = check(k->p, 0, k->npages, k->seed);

	return rc ? load_fails("%s: %d in %zu pages at %p", what, rc, k->npages, k->p) : 0;
}

static int load_write(struct kept *k)
{
	if (k->shared)
		return 0;
	/* Some of it is the same everywhere, so that there is something to merge. */
	k->seed = load_below(4) ? ++worker.seed : LOAD_COMMON;
	return fill(k->p, k->npages, k->seed) ? load_fails("cannot write") : 0;
}

static int load_drop(struct ep *ep, unsigned int i)
{
	struct kept k = worker.kept[i];

	if (load_check(&k, "in the end"))
		return -1;
	worker.kept[i] = worker.kept[--worker.nkept];
	if (k.cap && zc_drop(ep, k.cap))
		return load_fails("drop: %s", strerror(errno));
	if (k.memory && munmap(k.p, k.npages * psize))
		return load_fails("munmap: %s", strerror(errno));
	return 0;
}

static int load_keep(struct ep *ep, const struct kept *k)
{
	if (worker.nkept == KEPT && load_drop(ep, load_below(KEPT)))
		return -1;
	worker.kept[worker.nkept++] = *k;
	return 0;
}

/* All that has come. The message says what must be in it. */
static int load_receive(struct ep *ep)
{
	struct zcipc_recv m;
	struct kept k;

	while (!zc_recv(ep, &m)) {
		if (m.type == ZCIPC_REVOKED)
			continue;
		k = (struct kept){
			.p = (char *)(uintptr_t)m.addr, .npages = m.len / psize, .seed = m.cookie,
			.cap = m.cap, .shared = m.type == ZCIPC_SHARE,
		};
		worker.received++;
		if (load_check(&k, "received") || load_write(&k) || load_check(&k, "written") ||
		    load_keep(ep, &k))
			return -1;
	}
	return errno == EAGAIN ? 0 : load_fails("recv: %s", strerror(errno));
}

/* A child that has @k too, until it is told to write to it. It does not see what others wrote. */
static pid_t load_fork(const struct kept *k, int *go)
{
	int fds[2];
	pid_t pid;
	char byte;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		byte = read(fds[0], &byte, 1) || check(k->p, 0, k->npages, k->seed) ||
		       fill(k->p, k->npages, 3) || check(k->p, 0, k->npages, 3);
		_exit(byte);
	}
	close(fds[0]);
	*go = fds[1];
	return pid;
}

/* Some memory, adopted or not, is sent. */
static int load_send(struct ep *ep, struct kept *k)
{
	static const __u32 types[] = { ZCIPC_MOVE, ZCIPC_COPY, ZCIPC_SHARE };
	struct zcipc_transfer cmd = {
		.size = sizeof(cmd), .peer = worker.next, .node = ZCIPC_NODE_ANY,
		.cookie = k->seed, .len = k->npages * psize,
	};
	bool adopted = load_below(2);
	struct buf buf = {};

	cmd.type = types[load_below(3)];
	if (cmd.type == ZCIPC_SHARE)
		cmd.rights = ZCIPC_RIGHT_READ;
	if (adopted) {
		if (zc_import(ep, k->p, k->npages, &buf))
			return load_fails("import: %s", strerror(errno));
		k->cap = buf.cap;
		cmd.cap = buf.cap;
	} else {
		cmd.flags = ZCIPC_F_FROM_MEMORY;
		/* Otherwise it is copied, and cannot be shared. */
		if (cmd.type == ZCIPC_SHARE || (cmd.type == ZCIPC_COPY && load_below(2)))
			cmd.flags |= ZCIPC_F_IMPORT;
		cmd.offset = (uintptr_t)k->p;
	}
	if (load_check(k, "before"))
		return -1;
	if (zc_transfer(ep, &cmd)) {
		/* The peer has not received yet. */
		if (errno != EAGAIN)
			return load_fails("transfer: %s", strerror(errno));
		worker.failed++;
		return load_check(k, "not sent");
	}
	worker.sent++;
	if (cmd.type == ZCIPC_SHARE) {
		k->shared = true;
	} else if (cmd.type == ZCIPC_MOVE && !adopted) {
		k->seed = 0;
	} else if (cmd.type == ZCIPC_MOVE) {
		/* Nothing is there any more. */
		if (touch_read(k->p, &cmd.cookie) != SIGBUS)
			return load_fails("still there");
		munmap(k->p, k->npages * psize);
		k->p = NULL;
		return 0;
	}
	return load_check(k, "sent") || load_write(k) || load_check(k, "written") ? -1 : 0;
}

static int load_round(struct ep *ep)
{
	struct kept k = { .npages = 1 + load_below(LOAD_PAGES), .memory = true };
	int go = -1, status = 0;
	pid_t pid = 0;
	unsigned int i;

	k.p = mmap(NULL, k.npages * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	if (k.p == MAP_FAILED)
		return load_fails("mmap: %s", strerror(errno));
	if (load_below(2))
		madvise(k.p, k.npages * psize, MADV_MERGEABLE);
	if (load_write(&k))
		return -1;
	if (!load_below(4)) {
		pid = load_fork(&k, &go);
		if (pid < 0)
			return load_fails("fork: %s", strerror(errno));
	}
	if (!load_below(3))
		madvise(k.p, k.npages * psize, MADV_PAGEOUT);
	if (load_send(ep, &k))
		return -1;
	if (pid) {
		close(go);
		if (waitpid(pid, &status, 0) != pid || status)
			return load_fails("the child has other contents: %#x", status);
	}
	if (k.p && (load_check(&k, "after the child") || load_keep(ep, &k)))
		return -1;
	if (load_receive(ep))
		return -1;
	/* What has been there for some time. */
	if (!worker.nkept)
		return 0;
	i = load_below(worker.nkept);
	if (load_check(&worker.kept[i], "kept") || load_write(&worker.kept[i]) ||
	    load_check(&worker.kept[i], "rewritten"))
		return -1;
	if (worker.kept[i].memory && !load_below(2))
		madvise(worker.kept[i].p, worker.kept[i].npages * psize, MADV_PAGEOUT);
	return 0;
}

/* Something to be merged with, from the beginning. */
static long call_load_begin(struct ep *ep, struct call *c)
{
	(void)ep;
	worker = (struct worker){ .random = c->val, .seed = c->val << 14, .next = c->addr };
	worker.common = memory_touched(LOAD_PAGES);
	madvise(worker.common, LOAD_PAGES * psize, MADV_MERGEABLE);
	return fill(worker.common, LOAD_PAGES, LOAD_COMMON);
}

/* So many rounds. */
static long call_load(struct ep *ep, struct call *c)
{
	__u64 i;
	int rc = 0;

	for (i = 0; i < c->n && !rc; i++)
		rc = load_round(ep);
	snprintf((char *)c->cmd, sizeof(c->cmd), "%s in round %llu", worker.why,
		 (unsigned long long)i);
	return rc;
}

/* The rest. */
static long call_load_end(struct ep *ep, struct call *c)
{
	int rc = load_receive(ep);

	while (!rc && worker.nkept)
		rc = load_drop(ep, 0);
	if (!rc && check(worker.common, 0, LOAD_PAGES, LOAD_COMMON))
		rc = load_fails("what was merged has changed");
	c->n = worker.sent;
	c->val = worker.received;
	c->val2 = worker.failed;
	snprintf((char *)c->cmd, sizeof(c->cmd), "%s", worker.why);
	return rc;
}

/* --- swap, on a file in memory */

#define SWAP_PAGES 16384UL

struct swap {
	int ctl, mem, dev;
	char path[32];
	char *p;
	bool on;
};

static void swap_off(struct swap *swap)
{
	if (swap->on)
		swapoff(swap->path);
	if (swap->dev >= 0) {
		ioctl(swap->dev, LOOP_CLR_FD, 0);
		close(swap->dev);
	}
	if (swap->p)
		munmap(swap->p, SWAP_PAGES * psize);
	close(swap->mem);
	close(swap->ctl);
	swap->on = false;
}

static int swap_on(struct swap *swap)
{
	struct loop_config config = {};
	__u32 *header;

	*swap = (struct swap){
		.ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC),
		.mem = memfd_create("zcipc", MFD_CLOEXEC), .dev = -1,
	};
	if (swap->ctl < 0 || swap->mem < 0 || ftruncate(swap->mem, SWAP_PAGES * psize))
		goto fail;
	swap->p = mmap(NULL, SWAP_PAGES * psize, PROT_READ | PROT_WRITE, MAP_SHARED, swap->mem, 0);
	/* It is not to be swapped itself. */
	if (swap->p == MAP_FAILED || mlock(swap->p, SWAP_PAGES * psize)) {
		swap->p = NULL;
		goto fail;
	}
	memcpy(swap->p + psize - 10, "SWAPSPACE2", 10);
	header = (__u32 *)(swap->p + 1024);
	header[0] = 1;
	header[1] = SWAP_PAGES - 1;
	snprintf(swap->path, sizeof(swap->path), "/dev/loop%d",
		 ioctl(swap->ctl, LOOP_CTL_GET_FREE));
	swap->dev = open(swap->path, O_RDWR | O_CLOEXEC);
	config.fd = swap->mem;
	if (swap->dev < 0 || ioctl(swap->dev, LOOP_CONFIGURE, &config) ||
	    swapon(swap->path, 0))
		goto fail;
	swap->on = true;
	return 0;
fail:
	fprintf(stderr, "# no swap: %s\n", strerror(errno));
	swap_off(swap);
	return -1;
}

FIXTURE(load)
{
	struct base base;
	struct ep a;
	struct ep w[WORKERS];
	struct swap swap;
	struct ksm_settings old;
};

FIXTURE_SETUP(load)
{
	unsigned int i;

	base_setup(_metadata, &self->base);
	test_open(&self->a, 0, O_NONBLOCK);
	for (i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, peer_fork(&self->w[i]));
		ASSERT_EQ(0, peer_open(&self->w[i], WINDOW_PAGES, O_NONBLOCK));
	}
	swap_on(&self->swap);
	ksm_start(&self->old, 500);
}

FIXTURE_TEARDOWN(load)
{
	base_teardown(_metadata, &self->base);
	swap_off(&self->swap);
	ksm_end(&self->old);
}

/* All that core mm does to memory, once. */
static void load_disturb(FIXTURE_DATA(load) *self, unsigned int i)
{
	unsigned long nodes[2] = { 1, 2 };
	unsigned int k;

	file_write(KSM "run", "1");
	file_write("/proc/sys/vm/compact_memory", "1");
	for (k = 0; k < WORKERS; k++)
		syscall(SYS_migrate_pages, self->w[k].pid, 8 * sizeof(nodes[0]), &nodes[i % 2],
			&nodes[!(i % 2)]);
	if (!(i % 3))
		file_write("/proc/sys/vm/drop_caches", "3");
	/* All merged pages become many again. */
	if (i % 8 == 7)
		file_write(KSM "run", "2");
	/* And all comes back from swap. */
	if (i % 8 == 3 && self->swap.on && !swapoff(self->swap.path))
		self->swap.on = !swapon(self->swap.path, 0);
}

static bool load_ended(struct ep *ep)
{
	struct pollfd pfd = { .fd = ep->sock, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

/* 20: whatever core mm does, bytes are where they belong. */
TEST_F(load, contents_stay)
{
	struct call c[WORKERS];
	unsigned int i, k, n = loops(access("/proc/lockdep", F_OK) ? 400 : 60);
	unsigned int sent = 0, received = 0, refused = 0;
	long swapped = file_number("/proc/vmstat", "pswpout ");
	long migrated = file_number("/proc/vmstat", "pgmigrate_success ");
	long merged = 0;
	bool ended;

	for (i = 0; i < WORKERS; i++) {
		c[i] = (struct call){
			.fn = call_load_begin, .val = 1 + i,
			.addr = self->w[(i + 1) % WORKERS].id,
		};
		ASSERT_EQ(0, ep_call(&self->w[i], &c[i]));
	}
	if (self->old.run >= 0)
		ASSERT_TRUE(wait_until(file_number(KSM "pages_sharing", NULL) >= LOAD_PAGES));
	for (i = 0; i < WORKERS; i++) {
		c[i] = (struct call){ .fn = call_load, .n = n };
		ASSERT_EQ(0, ep_send(&self->w[i], &c[i]));
	}
	for (k = 0, ended = false; !ended; k++) {
		load_disturb(self, k);
		if (merged < file_number(KSM "pages_sharing", NULL))
			merged = file_number(KSM "pages_sharing", NULL);
		for (i = 0, ended = true; i < WORKERS; i++)
			ended = ended && load_ended(&self->w[i]);
	}
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, ep_wait(&self->w[i], &c[i]))
			TH_LOG("worker %u: %s", i, (char *)c[i].cmd);
	for (i = 0; i < WORKERS; i++) {
		c[i] = (struct call){ .fn = call_load_end };
		EXPECT_EQ(0, ep_call(&self->w[i], &c[i]))
			TH_LOG("worker %u: %s", i, (char *)c[i].cmd);
		sent += c[i].n;
		received += c[i].val;
		refused += c[i].val2;
	}
	swapped = file_number("/proc/vmstat", "pswpout ") - swapped;
	migrated = file_number("/proc/vmstat", "pgmigrate_success ") - migrated;
	TH_LOG("%u sent, %u received, %u not, %u times disturbed", sent, received, refused, k);
	TH_LOG("%ld pages swapped, %ld migrated, up to %ld merged", swapped, migrated, merged);
	EXPECT_EQ(sent, received);
	EXPECT_LT(WORKERS, sent);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables that go while they are used. MADV_DONTNEED of newer kernels (CONFIG_PT_RECLAIM) frees
 * each table in which it leaves nothing, with no lock that keeps others from the same window. So a
 * thread of each process does that to its whole window, over and over, while the window's owner
 * sends and receives. On older kernels the tables stay, and it only empties them.
 *
 * Guarantees: G2, G4, G8, G9 nothing lost. That nothing has been written to a table that is gone
 * shows in what is received, in what is counted as mapped, and in the kernel's log: it compares the
 * counters of each process that ends with what it has unmapped.
 *
 * ZCIPC_LOOPS.
 */
#include <sys/resource.h>

#include "zcipc_utils.h"

/* Page tables of a window, and the pages that each of them is for. */
#define NTABLES		4
#define TABLE_PAGES	(psize / sizeof(__u64))
/* Regions that are sent with one call, and as many that lie between them. */
#define NBATCH		6

/* --- who takes the tables away */

struct discarder {
	pthread_t thread;
	char *p;
	size_t len;
	volatile bool stop;
	volatile unsigned long times;
	volatile int err;
};

/* One in each process. */
static struct discarder discarder;

static void *discard_thread(void *arg)
{
	struct discarder *d = arg;

	/* It is to take what CPU time others leave, not their turns. */
	setpriority(PRIO_PROCESS, gettid(), 19);
	while (!d->stop && !d->err) {
		if (madvise(d->p, d->len, MADV_DONTNEED))
			d->err = errno;
		d->times++;
	}
	return NULL;
}

static long call_discard(struct ep *ep, struct call *c)
{
	(void)c;
	discarder = (struct discarder){ .p = ep->win, .len = ep->npages * psize };
	errno = pthread_create(&discarder.thread, NULL, discard_thread, &discarder);
	return errno ? -1 : 0;
}

/* How often it was done by now. */
static long call_discarded(struct ep *ep, struct call *c)
{
	(void)ep;
	c->val = discarder.times;
	errno = discarder.err;
	return errno ? -1 : 0;
}

static long call_keep(struct ep *ep, struct call *c)
{
	discarder.stop = true;
	pthread_join(discarder.thread, NULL);
	return call_discarded(ep, c);
}

static int ep_discarding(struct ep *ep, long (*fn)(struct ep *ep, struct call *c),
			 unsigned long *times)
{
	struct call c = { .fn = fn };
	int rc = ep_call(ep, &c);

	*times = c.val;
	return rc;
}

static unsigned long discarded(struct ep *ep)
{
	unsigned long times;

	return ep_discarding(ep, call_discarded, &times) ? 0 : times;
}

/* A number of KiB that the kernel has for a process. */
static long status_of(const struct ep *ep, const char *what)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", ep->pid);
	return file_number(path, what);
}

/* --- */

FIXTURE(tables)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_VARIANT(tables)
{
	size_t npages;
};

/* Sizes from which on a MOVE does it in another way each. */
FIXTURE_VARIANT_ADD(tables, 1) { .npages = 1, };
FIXTURE_VARIANT_ADD(tables, 8) { .npages = 8, };
FIXTURE_VARIANT_ADD(tables, 20) { .npages = 20, };
FIXTURE_VARIANT_ADD(tables, 64) { .npages = 64, };

FIXTURE_SETUP(tables)
{
	base_setup(_metadata, &self->base);
	test_start(&self->a, false, NTABLES * TABLE_PAGES);
	test_start(&self->b, true, NTABLES * TABLE_PAGES);
	/* What only begins in a table would be kept with whatever else is in it. */
	ASSERT_EQ(0, (uintptr_t)self->a.win % (TABLE_PAGES * psize));
	ASSERT_EQ(0, (uintptr_t)self->b.win % (TABLE_PAGES * psize));
	test_create(&self->a, variant->npages, &self->src);
	test_fill(&self->a, self->src.p, variant->npages, 1);
}

FIXTURE_TEARDOWN_BASE(tables)

/* Begins with that in both processes. What they have mapped now is returned. */
static void discard_start(struct __test_metadata *_metadata, struct ep *a, struct ep *b,
			  long *resident)
{
	unsigned long times;

	resident[0] = status_of(a, "RssFile:");
	resident[1] = status_of(b, "RssFile:");
	TEST_OK(ep_discarding(a, call_discard, &times));
	TEST_OK(ep_discarding(b, call_discard, &times));
	ASSERT_TRUE(wait_until(discarded(a)));
	ASSERT_TRUE(wait_until(discarded(b)));
}

/*
 * Ends it. Counters of mapped pages are kept for each CPU, so they may be wrong by some hundred
 * pages, but not by more with each round.
 */
static void discard_end(struct __test_metadata *_metadata, struct ep *a, struct ep *b,
			const long *resident, unsigned int rounds)
{
	const long some = 500 * psize / 1024;
	unsigned long times[2];

	TEST_OK(ep_discarding(a, call_keep, &times[0]));
	TEST_OK(ep_discarding(b, call_keep, &times[1]));
	TH_LOG("%u rounds, discarded %lu and %lu times", rounds, times[0], times[1]);
	EXPECT_GT(resident[0] + some, status_of(a, "RssFile:"));
	EXPECT_GT(resident[1] + some, status_of(b, "RssFile:"));
}

/* Contents differ from round to round. */
static __u64 seed_of(unsigned int round)
{
	return 1 + round % 50000;
}

/* G2, G9: a region goes back and forth. It is looked at now and then; in between its PTEs move. */
TEST_F(tables, moved)
{
	struct buf cur = self->src, next;
	unsigned int i, n = loops(300);
	__u64 seed = 1;
	long resident[2];

	discard_start(_metadata, &self->a, &self->b, resident);
	for (i = 0; i < n; i++) {
		struct ep *from = i & 1 ? &self->b : &self->a, *to = i & 1 ? &self->a : &self->b;

		test_pass(from, to, ZCIPC_MOVE, cur.cap, &next);
		if (i % 3 == 0) {
			test_check(to, next.p, variant->npages, seed);
			seed = seed_of(i);
			test_fill(to, next.p, variant->npages, seed);
		}
		cur = next;
	}
	discard_end(_metadata, &self->a, &self->b, resident, n);
	test_check(n & 1 ? &self->b : &self->a, cur.p, variant->npages, seed);
	test_gone(n & 1 ? &self->a : &self->b, self->a.win, variant->npages);
}

/* G4, G8: both ends of a snapshot are write-protected, and written to. */
TEST_F(tables, copied)
{
	unsigned int i, n = loops(25);
	long resident[2];
	struct buf copy;

	discard_start(_metadata, &self->a, &self->b, resident);
	for (i = 0; i < n; i++) {
		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
		if (i & 1)
			test_fill(&self->b, copy.p, variant->npages, 3);
		test_fill(&self->a, self->src.p, variant->npages, seed_of(i + 1));
		test_check(&self->b, copy.p, variant->npages, i & 1 ? 3 : seed_of(i));
		test_drop(&self->b, copy.cap);
		test_check(&self->a, self->src.p, variant->npages, seed_of(i + 1));
	}
	discard_end(_metadata, &self->a, &self->b, resident, n);
}

/* G2, G9: what one call moves lies between other regions, which that call leaves where they are. */
TEST_F(tables, batched)
{
	struct buf moved[NBATCH], kept[NBATCH];
	unsigned int i, k, n = loops(8);
	long resident[2];

	for (k = 0; k < NBATCH; k++) {
		test_create(&self->a, variant->npages, &kept[k]);
		test_fill(&self->a, kept[k].p, variant->npages, 100 + k);
		test_create(&self->a, variant->npages, &moved[k]);
		test_fill(&self->a, moved[k].p, variant->npages, 200 + k);
	}
	discard_start(_metadata, &self->a, &self->b, resident);
	for (i = 0; i < n; i++) {
		struct zcipc_transfer t[NBATCH];

		for (k = 0; k < NBATCH; k++) {
			t[k] = transfer_cmd(&self->b, ZCIPC_MOVE, moved[k].cap, 0, 0, 0);
			/* It is there, unless it goes again at once. */
			test_check(&self->a, kept[k].p, variant->npages, 100 + k);
		}
		TEST_OK(zc_batch(&self->a, t, NBATCH, ZCIPC_F_ATOMIC, NULL));
		for (k = 0; k < NBATCH; k++) {
			test_take(&self->b, &moved[k]);
			test_check(&self->b, moved[k].p, variant->npages, 200 + k);
			test_pass(&self->b, &self->a, ZCIPC_MOVE, moved[k].cap, &moved[k]);
		}
	}
	discard_end(_metadata, &self->a, &self->b, resident, n);
	for (k = 0; k < NBATCH; k++) {
		test_check(&self->a, kept[k].p, variant->npages, 100 + k);
		test_check(&self->a, moved[k].p, variant->npages, 200 + k);
	}
}

/* --- */

FIXTURE(taken)
{
	struct base base;
	struct ep a;
};

FIXTURE_SETUP(taken)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, NTABLES * TABLE_PAGES, 0);
}

FIXTURE_TEARDOWN_BASE(taken)

/* KiB of page tables that go when memory is discarded that has filled some. */
static long tables_taken(const struct ep *ep, char *p)
{
	long before;

	fill(p, NTABLES * TABLE_PAGES, 1);
	before = status_of(ep, "VmPTE:");
	if (madvise(p, NTABLES * TABLE_PAGES * psize, MADV_DONTNEED))
		return -1;
	return before - status_of(ep, "VmPTE:");
}

/*
 * Does the above test what it is to? A kernel that takes the tables of other memory away does so
 * with a window's. What is in the window can be used after that as before.
 */
TEST_F(taken, from_a_window)
{
	const size_t len = NTABLES * TABLE_PAGES * psize;
	const long want = (NTABLES - 1) * psize / 1024;
	char *p = anonymous(NTABLES * TABLE_PAGES);
	struct buf src;
	long taken;

	ASSERT_NE(MAP_FAILED, p);
	madvise(p, len, MADV_NOHUGEPAGE);
	/* In a program that has done little all else stays what it was. */
	if (tables_taken(&self->a, p) < want)
		SKIP(return, "this kernel keeps page tables that are empty");
	test_create_flags(&self->a, NTABLES * TABLE_PAGES, ZCIPC_CREATE_NO_HUGE, &src);
	taken = tables_taken(&self->a, src.p);
	EXPECT_LE(want, taken);
	test_check(&self->a, src.p, NTABLES * TABLE_PAGES, 1);
	test_fill(&self->a, src.p, NTABLES * TABLE_PAGES, 2);
	test_drop(&self->a, src.cap);
	munmap(p, len);
}

TEST_HARNESS_MAIN

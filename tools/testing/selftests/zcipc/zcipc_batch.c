// SPDX-License-Identifier: GPL-2.0-only
/*
 * ZCIPC_IOC_TRANSFER_BATCH: many transfers in one call.
 *
 * Covered: one TLB shootdown for all that the sender loses, also when it is scattered; what lies in
 * between stays, mapped and whole, while threads use it; stores through what is moved away; each
 * transfer has its own result, whatever becomes of the others; all or none with ZCIPC_F_ATOMIC;
 * what is carried over is held by nobody, and goes back if it is not moved after all;
 * snapshots of several regions are one instant; nothing waits; structs of other sizes and memory
 * that cannot be read or written; batches in rings, with other threads that map and unmap.
 */
#include <sched.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "zcipc_utils.h"

#define SCATTERED 256

/* So many pages are carried, rather than unmapped and mapped. */
#define CARRIED 24

FIXTURE(batch)
{
	struct base base;
	struct ep a, b, c;
	volatile bool stop;
};

FIXTURE_SETUP(batch)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, true, WINDOW_PAGES);
	test_open(&self->c, WINDOW_PAGES, 0);
}

FIXTURE_TEARDOWN_BASE(batch)

/* Regions of one page, with neighbours in between. */
struct scattered {
	size_t n;
	struct buf moved[SCATTERED];
	struct buf stays[SCATTERED];
	struct zcipc_transfer t[SCATTERED];
};

static struct scattered scattered;

static void scatter(struct __test_metadata *_metadata, struct ep *ep, size_t n)
{
	struct scattered *s = &scattered;
	size_t i;

	s->n = n;
	for (i = 0; i < n; i++) {
		test_create(ep, 1, &s->moved[i]);
		test_create(ep, 1, &s->stays[i]);
		test_fill(ep, s->moved[i].p, 1, 1 + i);
		test_fill(ep, s->stays[i].p, 1, 1001 + i);
	}
}

/* In one batch, or one by one. */
static int move_scattered(struct ep *from, struct ep *to, bool batch)
{
	struct scattered *s = &scattered;
	struct zcipc_transfer_batch out;
	size_t i;

	for (i = 0; i < s->n; i++)
		s->t[i] = transfer_cmd(to, ZCIPC_MOVE, s->moved[i].cap, 0, 0, 0);
	if (batch)
		return zc_batch(from, s->t, s->n, 0, &out) || out.done != s->n ? -1 : 0;
	for (i = 0; i < s->n; i++)
		if (zc_transfer(from, &s->t[i]))
			return -1;
	return 0;
}

/* Receives all that move_scattered() sent, and sends it back, into the gaps that it left. */
static void bring_back(struct __test_metadata *_metadata, struct ep *from, struct ep *to)
{
	struct scattered *s = &scattered;
	struct buf got;
	size_t i;

	for (i = 0; i < s->n; i++) {
		test_take(from, &got);
		test_check(from, got.p, 1, 1 + i);
		test_pass(from, to, ZCIPC_MOVE, got.cap, &s->moved[i]);
	}
}

/* --- TLBs */

struct spinner {
	pthread_t thread;
	char *p;
	int cpu;
	volatile bool *stop;
	volatile bool busy;
	volatile unsigned long n;
};

/*
 * While it is busy it never enters the kernel by itself, so that its CPU's TLB has to be flushed by
 * an interrupt. Otherwise it leaves the CPU to others.
 */
static void *spin_thread(void *arg)
{
	struct spinner *s = arg;

	run_on(s->cpu);
	/* Others may want the CPU, too: of the thread alone, as Linux has it. */
	setpriority(PRIO_PROCESS, 0, -20);
	while (!*s->stop) {
		((volatile __u64 *)s->p)[2] = ++s->n;
		if (!s->busy)
			sched_yield();
	}
	return NULL;
}

/* TLB shootdowns that a CPU has been interrupted for. Does not map or unmap anything. */
static long tlb_interrupts(int cpu)
{
	static char text[1 << 18];
	int fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;
	char *p;

	if (fd < 0)
		return -1;
	while (len < sizeof(text) - 1 &&
	       (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += n;
	close(fd);
	text[len] = 0;
	p = strstr(text, "TLB:");
	if (!p)
		return -1;
	p += 4;
	while (cpu--)
		strtol(p, &p, 10);
	return strtol(p, NULL, 10);
}

/* Interrupts that moving all takes, in a batch at the most, and one by one at the least. */
#define AT_ONCE		2
#define ONE_BY_ONE	100

/*
 * How often everything was moved until so many interrupts were seen. What else goes on, such as
 * NUMA balancing, has some as well, and who is not running needs none: so that is tried more than
 * once. 0: in vain.
 */
static int count_interrupts(struct __test_metadata *_metadata, struct ep *from, struct ep *to,
			    struct spinner *s, bool batch)
{
	long before, after;
	unsigned long n;
	int i, rc;

	for (i = 1; i <= 50; i++) {
		s->busy = true;
		n = s->n;
		ASSERT_TRUE(wait_until(s->n > n + 1));
		before = tlb_interrupts(s->cpu);
		rc = move_scattered(from, to, batch);
		after = tlb_interrupts(s->cpu);
		s->busy = false;
		ASSERT_EQ(0, rc);
		bring_back(_metadata, to, from);
		if (batch ? after - before <= AT_ONCE : after - before >= ONE_BY_ONE)
			return i;
	}
	return 0;
}

/* 256 pages, of which no two are side by side, go with one shootdown. */
TEST_F(batch, scattered_one_shootdown)
{
	struct spinner s = { .cpu = 1, .stop = &self->stop };
	struct zcipc_stats before, after;
	struct ep *to;
	int i, tries;

	if (!run_on(1) || !run_on(0))
		SKIP(return, "needs two CPUs");
	if (tlb_interrupts(1) < 0)
		SKIP(return, "the kernel does not count these interrupts");
	scatter(_metadata, &self->a, SCATTERED);
	s.p = scattered.stays[SCATTERED / 2].p;
	pthread_create(&s.thread, NULL, spin_thread, &s);
	for (i = 0; i < 2; i++) {
		to = i ? &self->b : &self->c;
		/* By carrying PTEs, and by hiding those in between. */
		carry_set(i ? "1000000" : "2");
		EXPECT_NE(0, count_interrupts(_metadata, &self->a, to, &s, false));
		test_stats(&self->base.ep, &before);
		tries = count_interrupts(_metadata, &self->a, to, &s, true);
		ASSERT_NE(0, tries);
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(before.batches + tries, after.batches);
		/* These have those of what came back one by one as well. */
		EXPECT_GE(before.shootdowns + tries * (SCATTERED + 2), after.shootdowns);
	}
	self->stop = true;
	pthread_join(s.thread, NULL);
}

/* So many transfers can be atomic if one is for another user. */
#define ATOMIC_OTHERS	64

/*
 * Another user waits for no more than a part of a large batch, and none of an atomic one that is
 * too large. Who is the same user has it all with one shootdown, and pages come as they were sent.
 */
TEST_F(batch, of_another_user)
{
	static struct zcipc_transfer t[SCATTERED];
	struct zcipc_stats before, after;
	struct ep u, *to;
	struct call c = { .fn = call_setuid, .n = 65534 };
	struct buf src, got;
	struct zcipc_transfer_batch out;
	__u64 parts;
	int i, j, n;

	TEST_OK(peer_fork(&u));
	TEST_OK(ep_call(&u, &c));
	TEST_OK(peer_open(&u, WINDOW_PAGES, 0));
	test_policy(&u, ZCIPC_POLICY_ANY);
	carry_set("1000000");
	for (i = 0; i < 4; i++) {
		to = i & 1 ? &u : &self->b;
		test_create_flags(&self->a, SCATTERED, ZCIPC_CREATE_NO_HUGE, &src);
		test_fill(&self->a, src.p, SCATTERED, 1);
		for (j = 0; j < SCATTERED; j++)
			t[j] = transfer_cmd(to, ZCIPC_MOVE, src.cap, j, 1, 0);
		n = i == 3 ? ATOMIC_OTHERS : SCATTERED;
		test_stats(&self->base.ep, &before);
		if (n < SCATTERED)
			TEST_ERR(E2BIG, zc_batch(&self->a, t, n + 1, ZCIPC_F_ATOMIC, &out));
		test_batch_all(&self->a, t, n, i & 2 ? ZCIPC_F_ATOMIC : 0);
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(before.batches + 1 + (n < SCATTERED), after.batches);
		/* One for each part; an atomic one whose locks others wait for has more. */
		parts = i == 1 ? SCATTERED / 48 : 1;
		EXPECT_LE(parts, after.shootdowns - before.shootdowns);
		if (parts == 1 && i < 3)
			EXPECT_EQ(1, after.shootdowns - before.shootdowns);
		for (j = 0; j < n; j++) {
			test_take(to, &got);
			ASSERT_EQ(0, ep_check_from(to, got.p, j, 1, 1));
			test_drop(to, got.cap);
		}
	}
}

/* All mappings go with the capability, and another user does not wait for a thousand. */
TEST_F(batch, mapped_too_often)
{
	struct zcipc_region_query q;
	struct zcipc_transfer t;
	struct call c = { .fn = call_setuid, .n = 65534 };
	struct ep u;
	struct buf src, got;
	char *p[256];
	int i;

	TEST_OK(peer_fork(&u));
	TEST_OK(ep_call(&u, &c));
	TEST_OK(peer_open(&u, WINDOW_PAGES, 0));
	test_policy(&u, ZCIPC_POLICY_ANY);
	test_create(&self->a, 1, &src);
	test_fill(&self->a, src.p, 1, 5);
	for (i = 0; i < 256; i++)
		test_map(&self->a, src.cap, 0, 1, ZCIPC_RIGHT_READ, &p[i]);
	t = transfer_cmd(&u, ZCIPC_MOVE, src.cap, 0, 0, 0);
	TEST_ERR(E2BIG, zc_transfer(&self->a, &t));
	test_query(&self->a, src.cap, &q);
	EXPECT_EQ(257, q.maps);
	test_check(&self->a, p[255], 1, 5);
	/* It is the user's own affair. */
	test_send(&self->a, &self->b, ZCIPC_MOVE, src.cap);
	test_take(&self->b, &got);
	test_send(&self->b, &self->a, ZCIPC_MOVE, got.cap);
	test_take(&self->a, &src);
	for (i = 0; i < 255; i++)
		test_map(&self->a, src.cap, 0, 1, ZCIPC_RIGHT_READ, &p[i]);
	test_send(&self->a, &u, ZCIPC_MOVE, src.cap);
	test_take(&u, &got);
	test_check(&u, got.p, 1, 5);
}

/* --- what lies in between */

struct user {
	pthread_t thread;
	struct scattered *s;
	int cpu;
	volatile bool *stop;
	volatile unsigned long rounds;
	int wrong;
};

/* Each has its own word in all neighbours, and knows what it stored there last. */
static void *user_thread(void *arg)
{
	struct user *u = arg;
	__u64 val, round;
	size_t i;

	run_on(u->cpu);
	for (round = 1; !*u->stop; round++) {
		for (i = 0; i < u->s->n; i++) {
			__u64 *word = (__u64 *)u->s->stays[i].p + 200 + u->cpu;

			if (touch_read(word, &val) || (round > 1 && val != round - 1) ||
			    touch_write(word, round))
				u->wrong++;
		}
		u->rounds++;
		sched_yield();
	}
	return NULL;
}

/* The neighbours stay where they are: mapped, writable, whole. */
TEST_F(batch, neighbours_stay)
{
	struct user users[2] = {
		{ .s = &scattered, .cpu = 0, .stop = &self->stop },
		{ .s = &scattered, .cpu = 1, .stop = &self->stop },
	};
	struct zcipc_stats before, after;
	unsigned int round;
	size_t i, n = 64;
	__u64 val;

	scatter(_metadata, &self->a, n);
	for (round = 0; round < 2; round++) {
		/* What is not carried is unmapped with what lies in between, which is hidden. */
		carry_set(round ? "16" : "100");
		ASSERT_EQ(0, move_scattered(&self->a, &self->c, true));
		test_stats(&self->base.ep, &before);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, touch_read((__u64 *)scattered.stays[i].p + 7, &val));
			ASSERT_EQ(0, touch_write((__u64 *)scattered.stays[i].p + 7, i));
			test_check(&self->a, scattered.stays[i].p, 1, 1001 + i);
		}
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(before.faults, after.faults);
		for (i = 0; i < n; i++)
			test_gone(&self->a, scattered.moved[i].p, 1);
		bring_back(_metadata, &self->c, &self->a);
	}

	for (i = 0; i < 2; i++)
		pthread_create(&users[i].thread, NULL, user_thread, &users[i]);
	for (round = 0; round < loops(200); round++) {
		carry_set(round & 1 ? "16" : "100");
		ASSERT_EQ(0, move_scattered(&self->a, &self->c, true));
		for (i = 0; i < n; i++)
			test_take(&self->c, &scattered.moved[i]);
		ASSERT_EQ(0, move_scattered(&self->c, &self->a, true));
		for (i = 0; i < n; i++)
			test_take(&self->a, &scattered.moved[i]);
		if (round & 63)
			continue;
		for (i = 0; i < n; i++)
			test_check(&self->a, scattered.moved[i].p, 1, 1 + i);
	}
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(wait_until(users[i].rounds > 2));
		ASSERT_EQ(0, users[i].wrong);
	}
	self->stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(users[i].thread, NULL);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, users[i].wrong);
	for (i = 0; i < n; i++) {
		test_check(&self->a, scattered.moved[i].p, 1, 1 + i);
		test_check(&self->a, scattered.stays[i].p, 1, 1001 + i);
	}
}

struct storer {
	pthread_t thread;
	struct scattered *s;
	int cpu;
	volatile bool *stop;
	volatile unsigned long stored;
	volatile unsigned long faulted;
};

/* No system call in between. One handler is armed for the whole of it. */
static void *store_thread(void *arg)
{
	struct storer *t = arg;
	size_t i = 0;

	run_on(t->cpu);
	if (sigsetjmp(touch_env, 0))
		t->faulted++;
	touching = 1;
	while (!*t->stop) {
		*(volatile __u64 *)t->s->moved[i].p = 0xdead0000 + t->stored;
		i = (i + 1) % t->s->n;
		t->stored++;
	}
	touching = 0;
	return NULL;
}

/* From the return of the call on nothing that the sender stores arrives. */
TEST_F(batch, stores_stop)
{
	struct buf got[CARRIED];
	struct storer t[2];
	__u64 first[CARRIED], val;
	unsigned int round;
	size_t i, n;
	int k;

	for (round = 0; round < loops(30); round++) {
		/* Enough to be carried, or not. */
		n = round & 1 ? CARRIED : 8;
		self->stop = false;
		scatter(_metadata, &self->a, n);
		for (k = 0; k < 2; k++) {
			t[k] = (struct storer){ .s = &scattered, .cpu = k, .stop = &self->stop };
			pthread_create(&t[k].thread, NULL, store_thread, &t[k]);
			ASSERT_TRUE(wait_until(t[k].stored > 2 * n));
		}
		ASSERT_EQ(0, move_scattered(&self->a, &self->c, true));
		for (i = 0; i < n; i++) {
			test_take(&self->c, &got[i]);
			first[i] = *(volatile __u64 *)got[i].p;
		}
		for (k = 0; k < 20; k++)
			sched_yield();
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, touch_read(got[i].p, &val));
			ASSERT_EQ(first[i], val);
		}
		for (k = 0; k < 2; k++)
			EXPECT_TRUE(wait_until(t[k].faulted));
		self->stop = true;
		for (k = 0; k < 2; k++)
			pthread_join(t[k].thread, NULL);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, touch_read(got[i].p, &val));
			ASSERT_EQ(first[i], val);
			test_drop(&self->c, got[i].cap);
			test_drop(&self->a, scattered.stays[i].cap);
		}
	}
}

/* --- PTEs that are carried, and put back */

/* Some of what is moved is held: copied, or with ZCIPC_F_STRICT not moved. */
TEST_F(batch, carried_and_held)
{
	static const size_t held[] = { 0, 5, CARRIED - 1 };
	struct scattered *s = &scattered;
	struct zcipc_stats before, after;
	struct zcipc_transfer_batch out;
	struct buf got;
	char *page = malloc(psize);
	unsigned int round;
	struct ep *to;
	int fds[2];
	size_t i, k;

	if (getenv("ZCIPC_UNPINNABLE")) {
		free(page);
		SKIP(return, "nobody can hold it");
	}
	ASSERT_NE(NULL, page);
	for (round = 0; round < 4; round++) {
		const bool strict = round & 1;

		to = round & 2 ? &self->b : &self->c;
		scatter(_metadata, &self->a, CARRIED);
		ASSERT_EQ(0, pipe(fds));
		for (k = 0; k < ARRAY_SIZE(held); k++) {
			struct iovec iov = { s->moved[held[k]].p, psize };

			ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
		}
		for (i = 0; i < CARRIED; i++) {
			s->t[i] = transfer_cmd(to, ZCIPC_MOVE, s->moved[i].cap, 0, 0, 0);
			s->t[i].flags = strict ? ZCIPC_F_STRICT : 0;
		}
		test_stats(&self->base.ep, &before);
		test_batch(&self->a, s->t, CARRIED, 0, &out);
		test_stats(&self->base.ep, &after);
		/* One for all, and one for those that are held. */
		EXPECT_GE(before.shootdowns + 2, after.shootdowns);
		EXPECT_EQ(CARRIED - (strict ? ARRAY_SIZE(held) : 0), out.done);
		EXPECT_EQ(before.copied_held + (strict ? 0 : ARRAY_SIZE(held) * psize),
			  after.copied_held);
		for (i = 0, k = 0; i < CARRIED; i++) {
			const bool is_held = k < ARRAY_SIZE(held) && i == held[k];

			k += is_held;
			EXPECT_EQ(is_held && strict ? -EBUSY : 0, s->t[i].result);
			test_check(&self->a, s->stays[i].p, 1, 1001 + i);
			test_drop(&self->a, s->stays[i].cap);
			if (s->t[i].result) {
				test_check(&self->a, s->moved[i].p, 1, 1 + i);
				test_fill(&self->a, s->moved[i].p, 1, 1 + i);
				test_drop(&self->a, s->moved[i].cap);
				continue;
			}
			EXPECT_EQ(is_held, s->t[i].copied == psize);
			EXPECT_EQ(!is_held, s->t[i].pages);
			test_gone(&self->a, s->moved[i].p, 1);
			test_take(to, &got);
			test_check(to, got.p, 1, 1 + i);
			/* What the receiver writes is nobody else's. */
			test_fill(to, got.p, 1, 500 + i);
			test_drop(to, got.cap);
		}
		for (k = 0; k < ARRAY_SIZE(held); k++) {
			ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
			ASSERT_EQ(0, check(page, 0, 1, 1 + held[k]));
		}
		close(fds[0]);
		close(fds[1]);
	}
	free(page);
}

/*
 * Who shows the memory beyond the CPU's page tables, as KVM does to its guest, is told to forget
 * all of it: what is carried as well as what is not.
 */
TEST_F(batch, carried_and_watched)
{
	static const size_t numbers[] = { 1, 4, CARRIED, 2 * CARRIED };
	struct scattered *s = &scattered;
	struct buf got;
	char text[64];
	size_t i, k;

	need_points();
	for (k = 0; k < ARRAY_SIZE(numbers); k++) {
		s->n = numbers[k];
		for (i = 0; i < s->n; i++) {
			test_create(&self->a, 1, &s->moved[i]);
			test_fill(&self->a, s->moved[i].p, 1, 1 + i);
			ASSERT_EQ(s->moved[0].p + i * psize, s->moved[i].p);
		}
		snprintf(text, sizeof(text), "%lu %zu", (unsigned long)s->moved[0].p, s->n);
		file_write(POINT_PARAMETER "watch", text);
		EXPECT_EQ((long)s->n, file_number(POINT_PARAMETER "watch", NULL));
		ASSERT_EQ(0, move_scattered(&self->a, &self->c, true));
		EXPECT_EQ(0, file_number(POINT_PARAMETER "watch", NULL));
		file_write(POINT_PARAMETER "watch", "0");
		for (i = 0; i < s->n; i++) {
			test_take(&self->c, &got);
			test_check(&self->c, got.p, 1, 1 + i);
			test_drop(&self->c, got.cap);
		}
	}
}

/*
 * As if one after the other, also for those whose place was taken early: what fails in its turn
 * stays mapped where it was, and gives its place to those behind it.
 */
TEST_F(batch, carried_in_turn)
{
	struct scattered *s = &scattered;
	struct zcipc_stats before, after;
	struct zcipc_transfer_batch out;
	struct buf region, got;
	struct ep small;
	unsigned int k;
	size_t i;

	for (k = 0; k < 2; k++) {
		test_start(&small, k, 20);
		scatter(_metadata, &self->a, CARRIED);
		test_create(&self->a, 4, &region);
		test_fill(&self->a, region.p, 4, 900);
		for (i = 0; i < CARRIED; i++)
			s->t[i] = transfer_cmd(&small, ZCIPC_MOVE, s->moved[i].cap, 0, 0, 0);
		s->t[1] = transfer_cmd(&small, ZCIPC_MOVE, region.cap, 0, 2, 0);
		s->t[2] = transfer_cmd(&small, ZCIPC_MOVE, region.cap, 1, 2, 0);
		s->t[9].cap = s->moved[0].cap;
		test_batch(&self->a, s->t, CARRIED, 0, &out);
		EXPECT_EQ(19, out.done);
		EXPECT_EQ(2, out.failed);
		for (i = 0; i < CARRIED; i++) {
			int want = i == 2 ? -ENOENT : i == 9 ? -ESTALE : i > 20 ? -EAGAIN : 0;

			EXPECT_EQ(want, s->t[i].result) TH_LOG("%zu", i);
		}
		test_check_from(&self->a, region.p + 2 * psize, 2, 2, 900);
		/* Nothing else needs to be brought back by a fault. */
		test_stats(&self->base.ep, &before);
		test_check(&self->a, s->moved[2].p, 1, 3);
		for (i = 0; i < CARRIED; i++)
			test_check(&self->a, s->stays[i].p, 1, 1001 + i);
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(before.faults, after.faults);
		test_gone(&self->a, region.p, 2);
		test_fill(&self->a, region.p + 2 * psize, 2, 901);
		for (i = 0; i < 21; i++) {
			if (s->t[i].result)
				continue;
			test_take(&small, &got);
			ASSERT_EQ(i == 1 ? 2 : 1, got.npages);
			test_check(&small, got.p, got.npages, i == 1 ? 900 : 1 + i);
			test_fill(&small, got.p, got.npages, 700 + i);
		}
		for (i = 21; i < CARRIED; i++)
			test_check(&self->a, s->moved[i].p, 1, 1 + i);
		/* All or none. */
		for (i = 0; i < 4; i++)
			TEST_OK(zc_create(&self->a, 4, &s->moved[i]));
		for (i = 0; i < 4; i++) {
			test_fill(&self->a, s->moved[i].p, 4, 800 + i);
			s->t[i] = transfer_cmd(&self->c, ZCIPC_MOVE, s->moved[i].cap, 0, 0, 0);
		}
		s->t[4] = transfer_cmd(&self->c, ZCIPC_MOVE, s->moved[1].cap, 1, 1, 0);
		s->t[5] = transfer_cmd(&self->c, ZCIPC_MOVE, s->stays[0].cap, 0, 0, 0);
		test_err_batch(EINVAL, &self->a, s->t, 6, ZCIPC_F_ATOMIC, &out);
		EXPECT_EQ(4, out.failed);
		for (i = 0; i < 4; i++) {
			test_check(&self->a, s->moved[i].p, 4, 800 + i);
			test_fill(&self->a, s->moved[i].p, 4, 800 + i);
		}
		test_check(&self->a, s->stays[0].p, 1, 1001);
		s->t[4] = s->t[5];
		test_batch_all(&self->a, s->t, 5, ZCIPC_F_ATOMIC);
		for (i = 0; i < 5; i++) {
			/* Not a reference has been left behind. */
			EXPECT_EQ(0, s->t[i].copied);
			test_take(&self->c, &got);
			test_check(&self->c, got.p, got.npages, i < 4 ? 800 + i : 1001);
			test_drop(&self->c, got.cap);
		}
		for (i = 1; i < CARRIED; i++)
			test_drop(&self->a, s->stays[i].cap);
		ep_end(&small);
		neps--;
	}
}

/*
 * In any order, mapped by the call that made the region or by another one, touched or not. And
 * behind what can be carried: mapped twice, or not at all, and in parts.
 */
TEST_F(batch, carried_in_any_way)
{
	struct scattered *s = &scattered;
	struct buf got;
	char *p;
	size_t i;

	for (i = 0; i < CARRIED; i++) {
		test_create(&self->a, 2, &s->moved[i]);
		test_fill(&self->a, s->moved[i].p, 2, 1 + i);
		if (i == 0 || (i > 2 && i % 4 == 1))
			TEST_OK(zc_map(&self->a, s->moved[i].cap, 0, 2, RIGHTS_RW, &p));
		if (i == 1 || (i > 2 && i % 4 == 1))
			TEST_OK(zc_unmap(&self->a, s->moved[i].p));
		if (i > 2 && i % 4 == 3)
			ASSERT_EQ(0, madvise(s->moved[i].p, 2 * psize, MADV_DONTNEED));
	}
	for (i = 0; i < CARRIED; i++)
		s->t[i] = transfer_cmd(&self->c, ZCIPC_MOVE, s->moved[CARRIED - 1 - i].cap, 0, 0,
				       0);
	s->t[CARRIED - 1 - 2].len = psize;
	s->t[CARRIED] = transfer_cmd(&self->c, ZCIPC_MOVE, s->moved[2].cap, 1, 1, 0);
	test_batch_all(&self->a, s->t, CARRIED + 1, 0);
	for (i = CARRIED; i-- > 0;) {
		EXPECT_EQ(0, s->t[CARRIED - 1 - i].copied);
		test_gone(&self->a, s->moved[i].p, 2);
		test_take(&self->c, &got);
		ASSERT_EQ(i == 2 ? 1 : 2, got.npages);
		test_check(&self->c, got.p, got.npages, 1 + i);
		test_fill(&self->c, got.p, got.npages, 500 + i);
		test_drop(&self->c, got.cap);
	}
	test_take(&self->c, &got);
	test_check_from(&self->c, got.p, 1, 1, 3);
	test_drop(&self->c, got.cap);
}

/* Who waits until the sender has room is told of what is carried away from there. */
TEST_F(batch, carried_makes_room)
{
	struct call c = { .fn = call_ioctl, .n = ZCIPC_IOC_TRANSFER };
	struct scattered *s = &scattered;
	struct zcipc_transfer t;
	struct buf region, got;
	struct ep full;
	size_t i;

	test_open(&full, CARRIED, 0);
	s->n = CARRIED;
	for (i = 0; i < CARRIED; i++)
		test_create(&full, 1, &s->moved[i]);
	test_create(&self->b, 1, &region);
	test_fill(&self->b, region.p, 1, 7);
	t = transfer_cmd(&full, ZCIPC_MOVE, region.cap, 0, 0, 0);
	memcpy(c.cmd, &t, sizeof(t));
	ASSERT_EQ(0, ep_send(&self->b, &c));
	msleep(100);
	ASSERT_EQ(0, move_scattered(&full, &self->c, true));
	EXPECT_EQ(0, ep_wait(&self->b, &c));
	test_take(&full, &got);
	test_check(&full, got.p, 1, 7);
	ep_end(&full);
	neps--;
}

/* --- results */

static int set_config(struct ep *ep, __u32 flags, __u32 policy, __u32 depth)
{
	struct zcipc_endpoint_config cmd = {
		.size = sizeof(cmd), .flags = flags, .policy = policy, .queue_depth = depth,
	};

	return zc_ioctl(ep, ZCIPC_IOC_ENDPOINT_CONFIG, &cmd);
}

/* Wrong transfers of all kinds among right ones: these are carried out, those say why not. */
TEST_F(batch, results)
{
	struct zcipc_transfer t[24], bad;
	struct zcipc_transfer_batch out;
	int want[24] = {};
	struct ep dead, nobody;
	struct buf src[24], weak, got;
	struct zcipc_recv m;
	__u32 i, n = 0;
	__u64 stale;

	test_start(&dead, true, 64);
	ep_end(&dead);
	test_start(&nobody, true, 64);
	TEST_OK(set_config(&nobody, ZCIPC_CONFIG_POLICY, ZCIPC_POLICY_NOBODY, 0));
	test_create(&self->a, 1, &src[0]);
	stale = src[0].cap;
	test_drop(&self->a, stale);
	test_create(&self->c, 1, &src[0]);
	test_pass_rights(&self->c, &self->a, ZCIPC_SHARE, src[0].cap, ZCIPC_RIGHT_READ, &weak);
	for (i = 0; i < 24; i++) {
		test_create(&self->a, 2, &src[i]);
		test_fill(&self->a, src[i].p, 2, 1 + i);
		t[i] = transfer_cmd(i % 4 < 2 ? &self->b : &self->c, ZCIPC_MOVE, src[i].cap, 0, 0,
				    0);
		t[i].cookie = 100 + i;
	}
#define WRONG(err, member, value)					\
do {									\
	n += 2;								\
	bad = t[n - 1];							\
	bad.member = value;						\
	t[n - 1] = bad;							\
	want[n - 1] = -(err);						\
} while (0)
	WRONG(ENOENT, cap, 1ULL << 62 | 5);
	WRONG(ESTALE, cap, stale);
	WRONG(EINVAL, size, sizeof(t[0]) - 8);
	WRONG(EOPNOTSUPP, flags, 1U << 30);
	WRONG(EACCES, cap, weak.cap);
	WRONG(ESRCH, peer, dead.id);
	WRONG(ENOENT, peer, 1ULL << 40);
	WRONG(EINVAL, offset, 2 * psize);
	WRONG(EPERM, peer, nobody.id);
	WRONG(EINVAL, type, 7);
	WRONG(EINVAL, __reserved, 1);
	WRONG(EOPNOTSUPP, flags, ZCIPC_F_ATOMIC);
	ASSERT_EQ(24, n);
	test_batch(&self->a, t, n, 0, &out);
	EXPECT_EQ(12, out.done);
	EXPECT_EQ(1, out.failed);
	for (i = 0; i < n; i++) {
		EXPECT_EQ(want[i], t[i].result) TH_LOG("%u: %s", i, strerror(-t[i].result));
		if (t[i].result) {
			test_check(&self->a, src[i].p, 2, 1 + i);
			continue;
		}
		EXPECT_EQ(2, t[i].pages);
		EXPECT_EQ(0, t[i].copied);
		EXPECT_EQ(0, t[i].migrated);
		EXPECT_EQ(0, t[i].off_node);
		test_recv(i % 4 < 2 ? &self->b : &self->c, &m);
		EXPECT_EQ(100 + i, m.cookie);
		EXPECT_EQ(t[i].peer_cap, m.cap);
		EXPECT_EQ(src[i].region, m.region);
		EXPECT_EQ(self->a.id, m.sender);
		test_check(i % 4 < 2 ? &self->b : &self->c, (char *)(uintptr_t)m.addr, 2, 1 + i);
		test_gone(&self->a, src[i].p, 2);
		test_err_drop(ESTALE, &self->a, src[i].cap);
	}
	/* None at all. */
	t[0] = t[1];
	t[1] = t[3];
	test_batch(&self->a, t, 2, 0, &out);
	EXPECT_EQ(0, out.done);
	EXPECT_EQ(0, out.failed);
	/* It was not used up by what failed. */
	test_pass(&self->a, &self->b, ZCIPC_MOVE, src[3].cap, &got);
}

/* As if one after the other: all types, parts, one region again and again. */
TEST_F(batch, mixed)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer t[8];
	struct buf src, other, got[6];
	struct zcipc_transfer_batch out;
	unsigned int i;

	test_create(&self->a, 6, &src);
	test_create(&self->a, 3, &other);
	test_fill(&self->a, src.p, 6, 1);
	test_fill(&self->a, other.p, 3, 2);
	t[0] = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 0, 0, 0);
	t[1] = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 1, 2, 0);
	t[2] = transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 4, 2, RIGHTS_RW);
	t[3] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 4, 1, 0);	/* shared by now */
	t[4] = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 1, 1, 0);	/* moved away by now */
	t[5] = transfer_cmd(&self->b, ZCIPC_MOVE, other.cap, 0, 0, 0);
	t[6] = transfer_cmd(&self->c, ZCIPC_MOVE, other.cap, 0, 0, 0);	/* no longer there */
	t[7] = transfer_cmd(&self->a, ZCIPC_COPY, src.cap, 3, 1, 0);	/* to itself */
	test_stats(&self->base.ep, &before);
	test_batch(&self->a, t, 8, 0, &out);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(5, out.done);
	EXPECT_EQ(3, out.failed);
	EXPECT_EQ(0, t[0].result);
	EXPECT_EQ(0, t[1].result);
	EXPECT_EQ(0, t[2].result);
	EXPECT_EQ(-EBUSY, t[3].result);
	EXPECT_EQ(-ENOENT, t[4].result);
	EXPECT_EQ(0, t[5].result);
	EXPECT_EQ(-ESTALE, t[6].result);
	EXPECT_EQ(0, t[7].result);
	EXPECT_EQ(before.moves + 2, after.moves);
	EXPECT_EQ(before.copies + 2, after.copies);
	EXPECT_EQ(before.shares + 1, after.shares);
	EXPECT_EQ(before.failures + 3, after.failures);
	for (i = 0; i < 3; i++)
		test_take(&self->b, &got[i]);
	test_take(&self->c, &got[3]);
	test_take(&self->a, &got[4]);
	ASSERT_EQ(6, got[0].npages);
	test_check(&self->b, got[0].p, 6, 1);
	ASSERT_EQ(2, got[1].npages);
	ASSERT_EQ(src.region, got[1].region);
	test_check_from(&self->b, got[1].p, 4, 2, 1);
	ASSERT_EQ(other.region, got[2].region);
	test_check(&self->b, got[2].p, 3, 2);
	test_check_from(&self->c, got[3].p, 1, 2, 1);
	test_check_from(&self->a, got[4].p, 3, 1, 1);
	test_gone(&self->a, src.p + psize, 2);
	/* The place of the other one has been used again. */
	ASSERT_EQ(other.p, got[4].p);
	test_gone(&self->a, other.p + psize, 2);
	/* The share is one, and the snapshot is not. */
	test_fill(&self->b, got[1].p, 2, 5);
	test_check(&self->a, src.p + 4 * psize, 2, 5);
	test_check(&self->b, got[0].p, 6, 1);
	test_fill(&self->a, src.p, 1, 6);
	test_check(&self->b, got[0].p, 6, 1);
}

/* What an earlier transfer of the same batch gave is taken away by a later one. */
TEST_F(batch, given_and_taken)
{
	struct zcipc_transfer t[3];
	struct buf src, got;
	struct zcipc_recv m;
	size_t npages;

	for (npages = 1; npages <= 4; npages++) {
		test_create(&self->a, 4, &src);
		test_fill(&self->a, src.p, 4, 1);
		t[0] = transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 0, npages, RIGHTS_RW);
		t[1] = transfer_cmd(&self->a, ZCIPC_SHARE, src.cap, 0, 1, RIGHTS_RW);
		t[2] = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 0, 1 + npages % 2, 0);
		t[2].flags = ZCIPC_F_REVOKE_OTHERS;
		test_batch_all(&self->a, t, 3, 0);
		test_take(&self->c, &got);
		test_check(&self->c, got.p, 1 + npages % 2, 1);
		test_gone(&self->a, src.p, 1 + npages % 2);
		/* Of what names other pages as well, these are left. */
		if (npages > 1 + npages % 2) {
			test_recv(&self->b, &m);
			test_gone(&self->b, (char *)(uintptr_t)m.addr, 1 + npages % 2);
			test_check_from(&self->b,
					(char *)(uintptr_t)m.addr + (1 + npages % 2) * psize,
					1 + npages % 2, npages - 1 - npages % 2, 1);
			test_drop(&self->b, m.cap);
		}
		test_drop(&self->a, src.cap);
		test_drop(&self->c, got.cap);
	}
}

static void *copy_thread(void *arg)
{
	struct zcipc_transfer *t = arg;
	struct ep *ep = (struct ep *)(uintptr_t)t[0].cookie;
	struct zcipc_transfer_batch out;

	t[0].cookie = 0;
	return (void *)(intptr_t)zc_batch(ep, t, 2, 0, &out);
}

struct revoker {
	struct ep *ep;
	__u64 cap;
	volatile pid_t tid;
	volatile bool go, done;
	__u64 n;
};

static void *revoke_thread(void *arg)
{
	struct revoker *r = arg;

	r->tid = gettid();
	while (!r->go)
		sched_yield();
	if (zc_revoke(r->ep, NULL, r->cap, ZCIPC_REVOKE_KEEP, &r->n))
		r->n = 0;
	r->done = true;
	return NULL;
}

/*
 * What lies between two slots of a batch is out of the page table for a moment. Who revokes it then
 * must not miss it.
 */
TEST_F(batch, revoked_while_hidden)
{
	struct revoker r = { .ep = &self->a };
	struct zcipc_transfer t[2];
	struct buf src, x, p, y;
	pthread_t threads[2];
	void *rc;

	need_points();
	test_create(&self->a, 1, &src);
	test_fill(&self->a, src.p, 1, 1);
	test_create(&self->c, 1, &x);
	test_send_rights(&self->a, &self->c, ZCIPC_SHARE, src.cap, RIGHTS_RW);
	test_take(&self->c, &p);
	test_create(&self->c, 1, &y);
	test_fill(&self->c, x.p, 1, 2);
	test_fill(&self->c, p.p, 1, 1);
	test_fill(&self->c, y.p, 1, 3);
	ASSERT_EQ(x.p + psize, p.p);
	ASSERT_EQ(p.p + psize, y.p);
	t[0] = transfer_cmd(&self->b, ZCIPC_COPY, x.cap, 0, 0, 0);
	t[1] = transfer_cmd(&self->b, ZCIPC_COPY, y.cap, 0, 0, 0);
	t[0].cookie = (uintptr_t)&self->c;
	/* By its own token: to find that of the other it would have to wait for the batch. */
	r.cap = src.cap;
	/* No thread can be made while the batch has the mmap_lock. */
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, revoke_thread, &r));
	point_stop("hidden");
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, copy_thread, t));
	ASSERT_TRUE(point_reached());
	r.go = true;
	ASSERT_TRUE(wait_until(r.done || thread_waits(r.tid)));
	point_go();
	pthread_join(threads[1], NULL);
	EXPECT_EQ(1, r.n);
	test_gone(&self->c, p.p, 1);
	pthread_join(threads[0], &rc);
	EXPECT_EQ(NULL, rc);
	test_gone(&self->c, p.p, 1);
	/* Nor does it come back with what takes its place. */
	test_create(&self->c, 1, &p);
	test_fill(&self->c, p.p, 1, 4);
	test_check(&self->a, src.p, 1, 1);
}

/* There is no room: nobody waits, although the descriptor is one that waits. */
TEST_F(batch, no_room)
{
	struct zcipc_transfer t[8];
	struct zcipc_transfer_batch out;
	struct buf src[8], got;
	struct ep small;
	unsigned int i;

	test_start(&small, true, 4);
	for (i = 0; i < 8; i++)
		test_create(&self->a, 1, &src[i]);
	for (i = 0; i < 8; i++)
		t[i] = transfer_cmd(&small, ZCIPC_MOVE, src[i].cap, 0, 0, 0);
	test_batch(&self->a, t, 8, 0, &out);
	EXPECT_EQ(4, out.done);
	EXPECT_EQ(4, out.failed);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(i < 4 ? 0 : -EAGAIN, t[i].result);
	/* Together they have no room, though each has. */
	test_take(&small, &got);
	test_drop(&small, got.cap);
	for (i = 0; i < 2; i++)
		t[i] = transfer_cmd(&small, ZCIPC_MOVE, src[4 + i].cap, 0, 0, 0);
	test_err_batch(EAGAIN, &self->a, t, 2, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(1, out.failed);
	EXPECT_EQ(-ECANCELED, t[0].result);
	EXPECT_EQ(-EAGAIN, t[1].result);

	TEST_OK(set_config(&self->b, ZCIPC_CONFIG_DEPTH, 0, 2));
	for (i = 0; i < 4; i++)
		t[i] = transfer_cmd(&self->b, ZCIPC_COPY, src[4 + i].cap, 0, 0, 0);
	test_batch(&self->a, t, 4, 0, &out);
	EXPECT_EQ(2, out.done);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(i < 2 ? 0 : -EAGAIN, t[i].result);
	for (i = 0; i < 2; i++)
		test_take(&self->b, &got);
	test_err_batch(EAGAIN, &self->a, t, 4, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(2, out.failed);
	test_batch_all(&self->a, t, 2, ZCIPC_F_ATOMIC);
	test_err_batch(EOPNOTSUPP, &self->a, t, 2, ZCIPC_F_STRICT, &out);
}

/* --- all or none */

#define N 4

/* Nothing has changed? */
static void check_nothing_done(struct __test_metadata *_metadata, struct ep *a, struct ep *b,
			       const struct buf *src, const struct zcipc_stats *before)
{
	struct zcipc_region_query q;
	struct zcipc_stats after;
	unsigned int i;

	test_stats(a, &after);
	ASSERT_TRUE(same_live(before, &after));
	ASSERT_EQ(before->moves, after.moves);
	ASSERT_EQ(before->shares, after.shares);
	ASSERT_EQ(before->copies, after.copies);
	ASSERT_EQ(before->pages, after.pages);
	ASSERT_EQ(before->copied_held, after.copied_held);
	ASSERT_EQ(owned(before), owned(&after));
	for (i = 0; i < N; i++) {
		test_check(a, src[i].p, 2, 1 + i);
		test_query(a, src[i].cap, &q);
		ASSERT_EQ(src[i].region, q.region);
		ASSERT_EQ(2 * psize, q.present);
		ASSERT_EQ(1, q.caps);
		ASSERT_EQ(1, q.maps);
		ASSERT_EQ(RIGHTS_ALL, q.rights);
		/* Writable as before. */
		test_fill(a, src[i].p, 2, 1 + i);
		test_query(a, src[i].cap, &q);
		ASSERT_EQ(0, q.shared);
	}
	test_stats(a, &after);
	ASSERT_EQ(before->copied_write, after.copied_write);
	test_stats(b, &after);
	ASSERT_EQ(before->messages, after.messages);
}

TEST_F(batch, atomic_none)
{
	struct zcipc_transfer t[N], good[N];
	struct zcipc_transfer_batch out;
	struct zcipc_stats before;
	struct buf src[N], got;
	unsigned int i, k, at;

	for (i = 0; i < N; i++) {
		test_create(&self->a, 2, &src[i]);
		test_fill(&self->a, src[i].p, 2, 1 + i);
	}
	good[0] = transfer_cmd(&self->b, ZCIPC_MOVE, src[0].cap, 0, 0, 0);
	good[1] = transfer_cmd(&self->c, ZCIPC_COPY, src[1].cap, 0, 0, 0);
	good[2] = transfer_cmd(&self->b, ZCIPC_SHARE, src[2].cap, 0, 0, RIGHTS_RW);
	good[3] = transfer_cmd(&self->c, ZCIPC_MOVE, src[3].cap, 1, 1, 0);
	for (at = 0; at < N; at++) {
		for (k = 0; k < 5; k++) {
			static const int errs[] = { EINVAL, ENOENT, ENOENT, EOPNOTSUPP, EINVAL };

			memcpy(t, good, sizeof(t));
			if (k == 0)
				t[at].offset = 2 * psize;
			else if (k == 1)
				t[at].cap = 1ULL << 62 | 5;
			else if (k == 2)
				t[at].peer = 1ULL << 40;
			else if (k == 3)
				t[at].flags = 1U << 30;
			else
				t[at].size++;
			test_stats(&self->a, &before);
			test_err_batch(errs[k], &self->a, t, N, ZCIPC_F_ATOMIC, &out);
			ASSERT_EQ(0, out.done);
			ASSERT_EQ(at, out.failed);
			for (i = 0; i < N; i++)
				ASSERT_EQ(i == at ? -errs[k] : -ECANCELED, t[i].result);
			check_nothing_done(_metadata, &self->a, &self->b, src, &before);
		}
	}
	/* Ranges that one moves and another names, in either order, but not merely the same. */
	for (at = 0; at < 2; at++) {
		memcpy(t, good, sizeof(t));
		t[at].cap = src[3].cap;
		t[at].offset = psize;
		test_stats(&self->a, &before);
		test_err_batch(EINVAL, &self->a, t, N, ZCIPC_F_ATOMIC, &out);
		ASSERT_EQ(3, out.failed);
		check_nothing_done(_metadata, &self->a, &self->b, src, &before);
	}
	/* The other half of the region does not matter. */
	t[0] = transfer_cmd(&self->b, ZCIPC_MOVE, src[3].cap, 0, 1, 0);
	t[1] = good[3];
	t[1].peer = self->b.id;
	test_batch_all(&self->a, t, 2, ZCIPC_F_ATOMIC);
	for (i = 0; i < 2; i++) {
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, i, 1, 4);
	}
	/* As it has no pages left, it goes. */
	test_drop(&self->a, src[3].cap);
	good[3] = transfer_cmd(&self->c, ZCIPC_COPY, src[1].cap, 1, 1, 0);
	test_batch_all(&self->a, good, N, ZCIPC_F_ATOMIC);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, 2, 1);
	test_gone(&self->a, src[0].p, 2);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, 2, 3);
	test_take(&self->c, &got);
	test_check(&self->c, got.p, 2, 2);
	test_take(&self->c, &got);
	test_check_from(&self->c, got.p, 1, 1, 2);
}

/* Another cache policy is for single transfers, or for batches that are not atomic. */
TEST_F(batch, atomic_keeps_cache)
{
	struct zcipc_info info = { .size = sizeof(info) };
	struct zcipc_transfer t[2];
	struct zcipc_transfer_batch out;
	struct buf src[2];
	unsigned int i;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	if (!(info.features & ZCIPC_FEATURE_UNCACHED))
		SKIP(return, "the machine has no other cache policy");
	for (i = 0; i < 2; i++) {
		test_create(&self->a, 1, &src[i]);
		test_fill(&self->a, src[i].p, 1, 1 + i);
		t[i] = transfer_cmd(&self->b, ZCIPC_MOVE, src[i].cap, 0, 0, 0);
	}
	t[1].cache = ZCIPC_CACHE_UNCACHED;
	test_err_batch(EOPNOTSUPP, &self->a, t, 2, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(1, out.failed);
	EXPECT_EQ(-ECANCELED, t[0].result);
	for (i = 0; i < 2; i++)
		test_check(&self->a, src[i].p, 1, 1 + i);
}

/* Copies take memory from the quota: all together. */
TEST_F(batch, atomic_quota)
{
	const char *path = "/sys/module/zcipc/parameters/quota_mib";
	long old = file_number(path, NULL);
	/* Of 256 pages. What the kernel needs beside it is charged, too, and is less than @more. */
	size_t more = 40, quarter = 256 / 4 - more / 5;
	struct zcipc_transfer_batch out;
	struct zcipc_transfer t[3];
	struct zcipc_stats stats;
	struct buf src, got = {};
	char text[24];
	unsigned int i;

	if (old < 0 || access(path, W_OK))
		SKIP(return, "the quota cannot be set");
	test_create(&self->a, quarter, &src);
	test_fill(&self->a, src.p, quarter, 1);
	for (i = 0; i < 3; i++)
		t[i] = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 0, 0, 0);
	number_write(path, psize / 4096);
	EXPECT_EQ(0, zc_create(&self->c, more, &got));
	EXPECT_EQ(-1, zc_batch(&self->a, t, 3, ZCIPC_F_ATOMIC, &out));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(2, out.failed);
	EXPECT_EQ(0, zc_stats(&self->a, &stats));
	EXPECT_EQ(quarter + more, owned(&stats));
	EXPECT_EQ(0, zc_drop(&self->c, got.cap));
	EXPECT_EQ(0, zc_batch(&self->a, t, 3, ZCIPC_F_ATOMIC, &out));
	EXPECT_EQ(3, out.done);
	EXPECT_EQ(0, zc_stats(&self->a, &stats));
	EXPECT_EQ(4 * quarter, owned(&stats));
	snprintf(text, sizeof(text), "%ld", old);
	file_write(path, text);
	for (i = 0; i < 3; i++) {
		test_take(&self->b, &got);
		test_check(&self->b, got.p, quarter, 1);
	}
}

/* --- what takes long */

/* More pages than are copied with the endpoints' locks, because somebody holds them. */
#define HELD 128
/* Of one of two transfers: only both together are more. */
#define HELD_BOTH 48

/* They are read by nobody. */
static int hold(int fds[2], const struct buf *b)
{
	struct iovec iov = { b->p, b->npages * psize };

	if (pipe(fds) || fcntl(fds[1], F_SETPIPE_SZ, iov.iov_len) < 0)
		return -1;
	return vmsplice(fds[1], &iov, 1, 0) == (ssize_t)iov.iov_len ? 0 : -1;
}

/* The live state is as before, and so is what is charged. */
static void check_as_before(struct __test_metadata *_metadata, struct ep *ep,
			    const struct zcipc_stats *before)
{
	struct zcipc_stats now;

	/* What a process of a peer has given up may take a moment. */
	ASSERT_TRUE(wait_until(!zc_stats(ep, &now) && same_live(before, &now) &&
			       owned(before) == owned(&now)))
		TH_LOG("frames %lld regions %lld caps %lld pages %lld",
		       (long long)(now.frames - before->frames),
		       (long long)(now.regions - before->regions),
		       (long long)(now.caps - before->caps),
		       (long long)(owned(&now) - owned(before)));
}

/*
 * That an atomic batch takes long may be known only when some of it has been prepared. Whether all
 * or none of it is made in the end, nothing is left of that.
 */
TEST_F(batch, atomic_and_held)
{
	static const struct {
		__u32 types[2];
		bool fails;
	} cases[] = {
		{ { ZCIPC_COPY, ZCIPC_COPY }, false }, { { ZCIPC_COPY, ZCIPC_MOVE }, false },
		{ { ZCIPC_MOVE, ZCIPC_COPY }, false }, { { ZCIPC_MOVE, ZCIPC_MOVE }, false },
		{ { ZCIPC_SHARE, ZCIPC_MOVE }, false },
		{ { ZCIPC_COPY, ZCIPC_MOVE }, true }, { { ZCIPC_MOVE, ZCIPC_MOVE }, true },
		{ { ZCIPC_SHARE, ZCIPC_MOVE }, true },
	};
	static const size_t held[] = { HELD, HELD_BOTH };
	struct zcipc_stats empty, before;
	struct zcipc_transfer_batch out;
	struct zcipc_transfer t[3];
	struct buf src[3], got;
	size_t i, k, n, runs;
	int fds[3][2];

	if (getenv("ZCIPC_UNPINNABLE"))
		SKIP(return, "nobody can hold it");
	for (runs = 0; runs < ARRAY_SIZE(held) * ARRAY_SIZE(cases); runs++) {
		n = held[runs / ARRAY_SIZE(cases)];
		k = runs % ARRAY_SIZE(cases);
		test_stats(&self->a, &empty);
		for (i = 0; i < ARRAY_SIZE(src); i++) {
			test_create_flags(&self->a, i < 2 ? n : 1, ZCIPC_CREATE_NO_HUGE, &src[i]);
			test_fill(&self->a, src[i].p, src[i].npages, 1 + i);
			ASSERT_EQ(0, hold(fds[i], &src[i]));
			t[i] = transfer_cmd(i ? &self->c : &self->b,
					    i < 2 ? cases[k].types[i] : ZCIPC_MOVE, src[i].cap,
					    0, 0, 0);
			if (t[i].type == ZCIPC_SHARE)
				t[i].rights = RIGHTS_RW;
		}
		t[2].flags = cases[k].fails ? ZCIPC_F_STRICT : 0;
		test_stats(&self->a, &before);
		if (cases[k].fails) {
			test_err_batch(EBUSY, &self->a, t, 3, ZCIPC_F_ATOMIC, &out);
			ASSERT_EQ(2, out.failed);
			ASSERT_EQ(0, out.done);
			check_as_before(_metadata, &self->a, &before);
		} else {
			test_batch_all(&self->a, t, 3, ZCIPC_F_ATOMIC);
		}
		for (i = 0; i < ARRAY_SIZE(src); i++) {
			close(fds[i][0]);
			close(fds[i][1]);
			if (!cases[k].fails) {
				struct ep *to = i ? &self->c : &self->b;

				test_take(to, &got);
				EXPECT_EQ(src[i].npages, got.npages);
				test_check(to, got.p, got.npages, 1 + i);
				test_drop(to, got.cap);
			}
			if (cases[k].fails || t[i].type != ZCIPC_MOVE) {
				test_check(&self->a, src[i].p, src[i].npages, 1 + i);
				test_fill(&self->a, src[i].p, src[i].npages, 1 + i);
				test_drop(&self->a, src[i].cap);
			} else {
				test_gone(&self->a, src[i].p, src[i].npages);
			}
		}
		check_as_before(_metadata, &self->a, &empty);
	}
}

/* However many capabilities a transfer revokes, none of them is of use to the next one. */
TEST_F(batch, revoked_before_the_next)
{
	static const unsigned int others[] = { 1, 125, 126, 127, 128, 300 };
	struct zcipc_region_query q;
	struct zcipc_transfer t[4];
	struct buf src, first, last, other, got;
	struct zcipc_stats empty;
	unsigned int i, k, shared;

	/* Some are derived from what is moved, and all are. */
	for (k = 0; k < 4 * ARRAY_SIZE(others); k++) {
		test_stats(&self->a, &empty);
		test_create(&self->a, 1, &first);
		test_create(&self->a, 2, &src);
		test_create(&self->a, 1, &last);
		test_fill(&self->a, src.p, 2, 1);
		other = src;
		for (i = 0; i < others[k / 4]; i++)
			test_give_part(&self->a, &self->a, k & 2 ? other.cap : src.cap, 0,
				       k & 2 ? 0 : 1, RIGHTS_ALL, &other);
		/* Before it is revoked, and after. */
		shared = k & 1 ? 1 : 2;
		t[0] = transfer_cmd(&self->b, ZCIPC_MOVE, first.cap, 0, 0, 0);
		t[3 - shared] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
		t[3 - shared].flags = ZCIPC_F_REVOKE_OTHERS;
		t[shared] = transfer_cmd(&self->c, ZCIPC_SHARE, other.cap, 0, 0, RIGHTS_RW);
		t[3] = transfer_cmd(&self->b, ZCIPC_MOVE, last.cap, 0, 0, 0);
		test_batch(&self->a, t, 4, 0, NULL);
		for (i = 0; i < 4; i++)
			ASSERT_EQ(i == 2 && shared == 2 ? -ESTALE : 0, t[i].result)
				TH_LOG("%u of %u", i, others[k / 4]);
		test_err_query(ESTALE, &self->a, other.cap, &q);
		if (shared == 1)
			test_err_query(ESTALE, &self->c, t[1].peer_cap, &q);
		for (i = 0; i < 3; i++) {
			test_take(&self->b, &got);
			if (got.npages == 2)
				test_check(&self->b, got.p, 2, 1);
			test_drop(&self->b, got.cap);
		}
		check_as_before(_metadata, &self->a, &empty);
	}
}

/* --- one instant */

struct counter {
	pthread_t thread;
	char *p[2];
	volatile bool *stop;
	volatile __u64 n;
	int wrong;
};

static void *count_thread(void *arg)
{
	struct counter *c = arg;

	run_on(1);
	while (!*c->stop) {
		__u64 val = c->n + 1;

		if (touch_write(c->p[0], val) || touch_write(c->p[1], val))
			c->wrong++;
		c->n = val;
	}
	return NULL;
}

/* The first page is never behind the second one, nor more than one step ahead. */
TEST_F(batch, copy_one_instant)
{
	struct counter c = { .stop = &self->stop };
	struct buf src[2], gap, got;
	struct zcipc_transfer t[2];
	__u64 val[2];
	unsigned int round, i;

	test_create(&self->a, 1, &src[0]);
	test_create(&self->a, 1, &gap);
	test_create(&self->a, 1, &src[1]);
	for (i = 0; i < 2; i++) {
		c.p[i] = src[i].p;
		ASSERT_EQ(0, touch_write(c.p[i], 0));
	}
	pthread_create(&c.thread, NULL, count_thread, &c);
	for (round = 0; round < loops(300); round++) {
		__u64 n = c.n;

		ASSERT_TRUE(wait_until(c.n > n + 2));
		/* A snapshot that is torn shows in one order or the other. */
		for (i = 0; i < 2; i++)
			t[i] = transfer_cmd(&self->c, ZCIPC_COPY, src[i ^ (round & 1)].cap, 0, 0,
					    0);
		if (round % 3)
			test_batch_all(&self->a, t, 2, round % 3 == 1 ? ZCIPC_F_ATOMIC : 0);
		else
			test_batch_all(&self->a, t, 2, 0);
		for (i = 0; i < 2; i++) {
			test_take(&self->c, &got);
			ASSERT_EQ(0, touch_read(got.p, &val[i ^ (round & 1)]));
			test_drop(&self->c, got.cap);
		}
		ASSERT_GE(val[0], val[1]);
		ASSERT_LE(val[0], val[1] + 1);
	}
	self->stop = true;
	pthread_join(c.thread, NULL);
	ASSERT_EQ(0, c.wrong);
}

/* --- sizes */

static int raw_batch(struct ep *ep, const void *transfers, __u32 n, __u32 size)
{
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)transfers, .ntransfers = n,
		.transfer_size = size,
	};

	return zc_ioctl(ep, ZCIPC_IOC_TRANSFER_BATCH, &cmd);
}

#define OLD_SIZE (offsetof(struct zcipc_transfer, copied) + 8)

TEST_F(batch, sizes)
{
	static struct zcipc_transfer many[ZCIPC_MAX_BATCH + 1];
	struct zcipc_transfer t;
	char wide[3][sizeof(t) + 8] = {};
	char old[2][OLD_SIZE];
	struct zcipc_transfer_batch out;
	struct buf src, got;
	struct ep *a = &self->a;
	char *p, *end;
	size_t i, n;

	test_create(a, ZCIPC_MAX_BATCH, &src);
	test_fill(a, src.p, ZCIPC_MAX_BATCH, 1);
	for (i = 0; i <= ZCIPC_MAX_BATCH; i++) {
		many[i] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, i, 1, 0);
		many[i].cookie = i;
	}
	TEST_ERR(EINVAL, raw_batch(a, many, 0, sizeof(t)));
	TEST_ERR(EINVAL, raw_batch(a, many, ZCIPC_MAX_BATCH + 1, sizeof(t)));
	TEST_ERR(EINVAL, raw_batch(a, many, ~0U, sizeof(t)));
	TEST_ERR(EINVAL, raw_batch(a, many, 1, 0));
	TEST_ERR(EINVAL, raw_batch(a, many, 1, OLD_SIZE - 1));
	TEST_ERR(E2BIG, raw_batch(a, many, 1, psize + 1));

	/* What an older program knows of it. */
	for (i = 0; i < 2; i++) {
		t = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, i, 1, 0);
		t.size = OLD_SIZE;
		t.copied = ~0ULL;
		memcpy(old[i], &t, OLD_SIZE);
	}
	TEST_OK(raw_batch(a, old, 2, OLD_SIZE));
	for (i = 0; i < 2; i++) {
		memcpy(&t, old[i], OLD_SIZE);
		EXPECT_EQ(1, t.pages);
		EXPECT_EQ(0, t.copied);
		EXPECT_EQ(OLD_SIZE, t.size);
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, i, 1, 1);
	}
	/* What a newer program knows: one that uses it has a result of its own. */
	for (i = 0; i < 3; i++) {
		t = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, i, 1, 0);
		t.size = sizeof(t) + 8;
		memcpy(wide[i], &t, sizeof(t));
	}
	wide[1][sizeof(t) + 3] = 1;
	TEST_OK(raw_batch(a, wide, 3, sizeof(t) + 8));
	for (i = 0; i < 3; i++) {
		memcpy(&t, wide[i], sizeof(t));
		EXPECT_EQ(i == 1 ? -E2BIG : 0, t.result);
		EXPECT_EQ(i == 1, wide[i][sizeof(t) + 3]);
	}
	for (i = 0; i < 2; i++) {
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, 2 * i, 1, 1);
	}

	/* Memory that ends in the middle, or cannot be written. */
	p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	end = p + psize;
	ASSERT_EQ(0, munmap(end, psize));
	memcpy(end - sizeof(t) - 8, many, sizeof(t) + 8);
	TEST_ERR(EFAULT, raw_batch(a, end - sizeof(t) - 8, 2, sizeof(t)));
	TEST_ERR(EFAULT, raw_batch(a, NULL, 1, sizeof(t)));
	TEST_ERR(EFAULT, raw_batch(a, (void *)~0xfffUL, 2, sizeof(t)));
	memcpy(p, many, 4 * sizeof(t));
	ASSERT_EQ(0, mprotect(p, psize, PROT_READ));
	TEST_ERR(EFAULT, raw_batch(a, p, 4, sizeof(t)));
	p = mmap(NULL, 4 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	n = 4 * psize / sizeof(t);
	memcpy(p, many, n * sizeof(t));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, mprotect(p + i * psize, psize, PROT_READ));
		TEST_ERR(EFAULT, raw_batch(a, p, n, sizeof(t)));
		ASSERT_EQ(0, mprotect(p + i * psize, psize, PROT_READ | PROT_WRITE));
		ASSERT_EQ(0, memcmp(p, many, n * sizeof(t)));
	}
	test_check(a, src.p, ZCIPC_MAX_BATCH, 1);

	/* As many as there can be. */
	test_batch_all(a, many, ZCIPC_MAX_BATCH, 0);
	test_gone(a, src.p, ZCIPC_MAX_BATCH);
	for (i = 0; i < ZCIPC_MAX_BATCH; i++) {
		test_take(&self->b, &got);
		test_check_from(&self->b, got.p, i, 1, 1);
	}
	test_err_batch(ENOENT, a, many, ZCIPC_MAX_BATCH, ZCIPC_F_ATOMIC, &out);
	EXPECT_EQ(0, out.failed);
}

/* --- rings */

#define NODE_REGIONS 16

/* Regions that a node of a ring has. Each is filled with a seed of its own. */
struct node {
	struct buf bufs[8 * NODE_REGIONS];
	size_t n;
	volatile bool stop;
};

static int node_receive(struct ep *ep, struct node *node)
{
	while (node->n < ARRAY_SIZE(node->bufs)) {
		struct zcipc_recv m = { .size = sizeof(m) };

		if (ioctl(ep->fd, ZCIPC_IOC_RECV, &m))
			return errno == EAGAIN ? 0 : -1;
		node->bufs[node->n++] = (struct buf){
			.cap = m.cap, .p = (char *)(uintptr_t)m.addr, .npages = m.len / psize,
		};
	}
	return 0;
}

/* Maps and unmaps, next to the window and with memory of its own. */
static void *mapping_thread(void *arg)
{
	struct node *node = arg;

	while (!node->stop) {
		char *p = mmap(NULL, 8 * psize, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			continue;
		p[0] = 1;
		p[4 * psize] = 1;
		munmap(p + 2 * psize, 3 * psize);
		munmap(p, 8 * psize);
	}
	return NULL;
}

/*
 * Sends all it has to the next one, again and again. Returns the sum of the seeds of what it has in
 * the end, or -1 if one is not what it was.
 */
static long call_node(struct ep *ep, struct call *c)
{
	struct zcipc_transfer t[8 * NODE_REGIONS];
	struct ep next = { .id = c->addr };
	struct node node = {};
	pthread_t thread;
	size_t i, k, round;
	long sum = 0;

	fcntl(ep->fd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < NODE_REGIONS && c->val; i++) {
		if (zc_create(ep, 1 + i % 3, &node.bufs[i]) ||
		    fill(node.bufs[i].p, 1 + i % 3, c->val + i))
			return -1;
		node.n++;
	}
	if (c->n && pthread_create(&thread, NULL, mapping_thread, &node))
		return -1;
	for (round = 0; round < c->n; round++) {
		if (node_receive(ep, &node))
			return -1;
		for (i = 0; i < node.n; i++) {
			t[i] = transfer_cmd(&next, ZCIPC_MOVE, node.bufs[i].cap, 0, 0, 0);
			t[i].cookie = i;
		}
		if (node.n &&
		    zc_batch(ep, t, node.n, round & 1 ? ZCIPC_F_ATOMIC : 0, NULL) &&
		    errno != EAGAIN)
			return -1;
		for (k = 0, i = 0; i < node.n; i++) {
			if (t[i].result && t[i].result != -EAGAIN && t[i].result != -ECANCELED)
				return -1;
			if (t[i].result)
				node.bufs[k++] = node.bufs[i];
		}
		node.n = k;
		sched_yield();
	}
	if (c->n) {
		node.stop = true;
		pthread_join(thread, NULL);
	}
	/* The seed is in the first word; the other words have to agree with it. */
	if (!c->n && node_receive(ep, &node))
		return -1;
	for (i = 0; i < node.n; i++) {
		__u64 val, seed;

		if (touch_read(node.bufs[i].p, &val))
			return -1;
		seed = (val - pattern(0, 0, 0)) >> 48;
		if (check(node.bufs[i].p, 0, node.bufs[i].npages, seed))
			return -1;
		sum += seed;
	}
	return sum;
}

struct node_runner {
	pthread_t thread;
	struct ep *ep;
	struct call c;
};

static void *node_thread(void *arg)
{
	struct node_runner *r = arg;

	r->c.rc = ep_call(r->ep, &r->c);
	return NULL;
}

static void run_ring(struct __test_metadata *_metadata, bool remote, unsigned int n)
{
	struct node_runner runners[3];
	static struct ep ring[3];
	unsigned int i, k;
	long sum = 0, want = 0;

	for (i = 0; i < n; i++)
		test_start(&ring[i], remote, 256);
	for (i = 0; i < n; i++) {
		runners[i] = (struct node_runner){
			.ep = &ring[i],
			.c = { .fn = call_node, .addr = ring[(i + 1) % n].id, .n = loops(300),
			       .val = 1 + 100 * i },
		};
		for (k = 0; k < NODE_REGIONS; k++)
			want += 1 + 100 * i + k;
		pthread_create(&runners[i].thread, NULL, node_thread, &runners[i]);
	}
	for (i = 0; i < n; i++)
		pthread_join(runners[i].thread, NULL);
	for (i = 0; i < n; i++) {
		struct call rest = { .fn = call_node };

		ASSERT_LE(0, runners[i].c.rc);
		sum += runners[i].c.rc;
		/* What was still on its way. */
		rest.rc = ep_call(&ring[i], &rest);
		ASSERT_LE(0, rest.rc);
		sum += rest.rc;
	}
	ASSERT_EQ(want, sum);
	for (i = 0; i < n; i++)
		ep_end(&ring[i]);
	neps -= n;
}

/* Batches in both directions, and around in a circle: no deadlock, nothing lost. */
TEST_F(batch, rings)
{
	unsigned int n;

	for (n = 2; n <= 3; n++) {
		run_ring(_metadata, true, n);
		run_ring(_metadata, false, n);
	}
}

TEST_HARNESS_MAIN

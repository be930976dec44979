// SPDX-License-Identifier: GPL-2.0-only
/*
 * How ZCIPC_IOC_TRANSFER_BATCH gets pages from one page table to others.
 *
 * Covered: one TLB shootdown for all that the sender loses, also when it is scattered; what lies in
 * between stays, mapped and whole, while threads use it; stores through what is moved away; what is
 * carried over is held by nobody, and goes back if it is not moved after all.
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

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Imported memory at its limits: what users may pin and own, failures inside, and what everybody
 * else does to it at the same time.
 *
 * Guarantees: G1, G2 exclusive MOVE, G3 all or nothing, G4, G5, G6, G8, G10, G11 bounded.
 * Attacks: 7 writes to a read-only share, 12 userfaultfd, 14 stores through a MOVE, 17 and 18
 * races of transfers, 20 what becomes of memory after an import, 28 RLIMIT_MEMLOCK and quota,
 * 31 fail_nth.
 */
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "zcipc_utils.h"

#define N 8

/* --- what a peer does with its memory */

/* In a range: mappings of the device, and all. */
static long call_mappings(struct ep *ep, struct call *c)
{
	const char *p = (const char *)(uintptr_t)c->addr;

	(void)ep;
	c->val = mappings(p, p + c->n * psize, ZCIPC_DEVICE);
	c->val2 = mappings(p, p + c->n * psize, NULL);
	return 0;
}

/* Is a range ordinary memory, in one piece? Or has it been adopted? */
static bool ep_is_adopted(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_mappings, .addr = (uintptr_t)p, .n = npages };

	return !ep_call(ep, &c) && c.val == 1 && c.val2 == 1;
}

static bool ep_is_ordinary(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_mappings, .addr = (uintptr_t)p, .n = npages };

	return !ep_call(ep, &c) && !c.val && c.val2 == 1;
}

/* What was there before a call that failed. */
#define test_untouched(ep, p, npages, seed)				\
do {									\
	test_check(ep, p, npages, seed);				\
	ASSERT_TRUE(ep_is_ordinary(ep, p, npages));			\
} while (0)

/* What a user has pinned, and owns. */
#define test_user(ep, pinned, pages)					\
do {									\
	struct zcipc_stats __s;						\
									\
	test_stats(ep, &__s);						\
	ASSERT_EQ((__u64)(pinned), __s.user_pinned);			\
	ASSERT_EQ((__u64)(pages), owned(&__s));			\
} while (0)

/* --- RLIMIT_MEMLOCK */

#define LIMIT 32
#define SMALL 3

/* Three users, of which the first has two processes. */
FIXTURE(memlock)
{
	struct base base;
	struct ep u, u2, small, big;
	char *p;
	struct buf buf;
};

FIXTURE_SETUP(memlock)
{
	base_setup(_metadata, &self->base);
	test_user_start(&self->u, 12345, LIMIT);
	test_user_start(&self->u2, 12345, LIMIT);
	test_user_start(&self->small, 12346, SMALL);
	test_user_start(&self->big, 12347, 10 * LIMIT);
	self->p = test_memory(&self->u, LIMIT + 1, 1);
}

FIXTURE_TEARDOWN_BASE(memlock)

/* 28, G11: the whole limit can be had, by one who has not this memory now, and not a page more. */
static void whole_limit(struct __test_metadata *_metadata, struct ep *ep)
{
	struct buf buf, buf2;
	char *p = test_memory(ep, LIMIT + 1, 2);

	test_user(ep, 0, 0);
	test_err_import(ENOLCK, ep, p, LIMIT + 1, &buf);
	test_untouched(ep, p, LIMIT + 1, 2);
	test_user(ep, 0, 0);
	test_import(ep, p, LIMIT, &buf);
	test_err_import(ENOLCK, ep, p + LIMIT * psize, 1, &buf2);
	test_user(ep, LIMIT, LIMIT);
	test_check(ep, p, LIMIT + 1, 2);
	/* The memory is still there. */
	test_drop(ep, buf.cap);
	test_user(ep, LIMIT, LIMIT);
	test_munmap(ep, p, LIMIT + 1);
	test_user(ep, 0, 0);
}

/* 28, G11: exactly the limit, whichever call it is, and nothing is changed beyond it. */
TEST_F(memlock, exact)
{
	char *last = self->p + LIMIT * psize, *p2;
	struct buf buf;
	__u32 type;

	whole_limit(_metadata, &self->u);
	test_import(&self->u, self->p, LIMIT, &self->buf);
	ASSERT_TRUE(ep_is_adopted(&self->u, self->p, LIMIT));
	test_user(&self->u, LIMIT, LIMIT);
	test_err_import(ENOLCK, &self->u, last, 1, &buf);
	test_err_direct(ENOLCK, &self->u, &self->big, ZCIPC_SHARE, last, psize, 0);
	test_err_direct(ENOLCK, &self->u, &self->big, ZCIPC_COPY, last, psize, 0);
	/* What cannot be pinned can be copied. */
	test_direct(&self->u, &self->big, ZCIPC_COPY, last, psize, ZCIPC_F_COPY_OK);
	TEST_OK(zc_take(&self->big, &buf));
	test_drop(&self->big, buf.cap);
	test_err_direct(ENOLCK, &self->u, &self->u2, ZCIPC_MOVE, last, psize, 0);
	test_direct(&self->u, &self->u2, ZCIPC_MOVE, last, psize, ZCIPC_F_COPY_OK);
	TEST_OK(zc_take(&self->u2, &buf));
	test_drop(&self->u2, buf.cap);
	test_err_send(ENOLCK, &self->u, &self->u2, ZCIPC_COPY, self->buf.cap);
	ASSERT_TRUE(ep_is_ordinary(&self->u, last, 1));
	test_check_from(&self->u, last, LIMIT, 1, 1);
	/* It is the user's limit, not the process's. */
	p2 = test_memory(&self->u2, 1, 1);
	for (type = ZCIPC_SHARE; type <= ZCIPC_COPY; type++)
		test_err_direct(ENOLCK, &self->u2, &self->big, type, p2, psize, 0);
	test_err_import(ENOLCK, &self->u2, p2, 1, &buf);
	test_untouched(&self->u2, p2, 1, 1);
	/* One page that was dropped is kept for the next copy. */
	test_user(&self->u, LIMIT, LIMIT + 1);
	/* What has been adopted already is not adopted again. */
	test_send(&self->u, &self->u2, ZCIPC_SHARE, self->buf.cap);
	test_direct(&self->u, &self->u2, ZCIPC_SHARE, self->p, LIMIT * psize, 0);
	test_user(&self->u, LIMIT, LIMIT + 1);
	test_user(&self->big, 0, 1);
	test_check(&self->u, self->p, LIMIT, 1);
	/* Nor is what is not imported pinned: it is beyond this limit. */
	test_create(&self->u, LIMIT, &buf);
	test_user(&self->u, LIMIT, 2 * LIMIT + 1);
}

/* 28, G11: what is given up in any way can be had again, all of it. */
TEST_F(memlock, freed)
{
	struct zcipc_recv m;
	struct zcipc_stats s;
	__u64 n;
	int i;

	test_import(&self->u, self->p, LIMIT, &self->buf);
	test_drop(&self->u, self->buf.cap);
	test_munmap(&self->u, self->p, LIMIT + 1);
	whole_limit(_metadata, &self->u);

	self->p = test_memory(&self->u, LIMIT, 1);
	test_import(&self->u, self->p, LIMIT, &self->buf);
	test_revoke(&self->u, NULL, self->buf.cap, 0, &n);
	test_munmap(&self->u, self->p, LIMIT);
	whole_limit(_metadata, &self->u2);

	/* The mapping alone does not hold it, nor is it freed with the mapping. */
	self->p = test_memory(&self->u, LIMIT, 1);
	test_import(&self->u, self->p, LIMIT, &self->buf);
	test_munmap(&self->u, self->p, LIMIT);
	test_user(&self->u, LIMIT, LIMIT);
	test_drop(&self->u, self->buf.cap);
	whole_limit(_metadata, &self->u2);

	/* To another user, in one piece and in many. */
	self->p = test_memory(&self->u, LIMIT, 1);
	test_import(&self->u, self->p, LIMIT, &self->buf);
	test_send(&self->u, &self->big, ZCIPC_MOVE, self->buf.cap);
	test_user(&self->big, LIMIT, LIMIT);
	whole_limit(_metadata, &self->u);
	test_recv(&self->big, &m);
	test_check(&self->big, (char *)(uintptr_t)m.addr, LIMIT, 1);
	test_drop(&self->big, m.cap);
	test_user(&self->big, 0, 0);
	test_munmap(&self->u, self->p, LIMIT);
	self->p = test_memory(&self->u, LIMIT, 1);
	test_import(&self->u, self->p, LIMIT, &self->buf);
	for (i = 0; i < LIMIT; i += 4) {
		test_send_part(&self->u, &self->big, ZCIPC_MOVE, self->buf.cap, i, 4);
		test_user(&self->u, LIMIT - i - 4, LIMIT - i - 4);
		test_user(&self->big, i + 4, i + 4);
	}
	whole_limit(_metadata, &self->u);
	for (i = 0; i < LIMIT; i += 4) {
		test_recv(&self->big, &m);
		test_drop(&self->big, m.cap);
	}
	test_user(&self->big, 0, 0);
	test_munmap(&self->u, self->p, LIMIT);

	/* Nobody knows the capability of what is adopted on the way: it goes with munmap(). */
	self->p = test_memory(&self->u, LIMIT, 1);
	test_direct(&self->u, &self->u, ZCIPC_SHARE, self->p, LIMIT * psize, 0);
	test_recv(&self->u, &m);
	test_drop(&self->u, m.cap);
	test_user(&self->u, LIMIT, LIMIT);
	test_munmap(&self->u, self->p + 3 * psize, 5);
	test_user(&self->u, LIMIT, LIMIT);
	test_munmap(&self->u, self->p + 8 * psize, LIMIT - 8);
	test_munmap(&self->u, self->p, 3);
	whole_limit(_metadata, &self->u);

	/* The mapping keeps the endpoint, and that the memory. */
	self->p = test_memory(&self->u, LIMIT, 1);
	test_import(&self->u, self->p, LIMIT, &self->buf);
	ASSERT_EQ(0, ep_call(&self->u, &(struct call){ .fn = call_close }));
	test_check(&self->u, self->p, LIMIT, 1);
	test_user(&self->u2, LIMIT, LIMIT);
	test_munmap(&self->u, self->p, LIMIT);
	ASSERT_TRUE(wait_until(!zc_stats(&self->u2, &s) && !s.user_pinned));
	whole_limit(_metadata, &self->u2);

	/* Death. */
	self->p = test_memory(&self->u2, LIMIT, 1);
	test_import(&self->u2, self->p, LIMIT, &self->buf);
	test_user_start(&self->u, 12345, LIMIT);
	test_user(&self->u, LIMIT, LIMIT);
	ep_end(&self->u2);
	ASSERT_TRUE(wait_until(!zc_stats(&self->u, &s) && !s.user_pinned));
	whole_limit(_metadata, &self->u);
}

/* 28, G3, G11: the limit that counts is the receiver's, as it was when it opened its endpoint. */
TEST_F(memlock, moved)
{
	struct call raise = { .fn = call_limit, .n = RLIMIT_MEMLOCK, .val = psize };
	struct zcipc_recv m;

	/* One page too many. */
	test_import(&self->u, self->p, SMALL + 1, &self->buf);
	test_err_send(ENOLCK, &self->u, &self->small, ZCIPC_MOVE, self->buf.cap);
	test_err_send(ENOLCK, &self->u, &self->small, ZCIPC_COPY, self->buf.cap);
	test_user(&self->u, SMALL + 1, SMALL + 1);
	test_user(&self->small, 0, 0);
	test_check(&self->u, self->p, SMALL + 1, 1);
	test_fill(&self->u, self->p, SMALL + 1, 2);
	/* What it may have now does not matter. */
	ASSERT_EQ(0, ep_call(&self->small, &raise));
	test_send_part(&self->u, &self->small, ZCIPC_MOVE, self->buf.cap, 0, SMALL);
	test_user(&self->u, 1, 1);
	test_user(&self->small, SMALL, SMALL);
	test_recv(&self->small, &m);
	test_check(&self->small, (char *)(uintptr_t)m.addr, SMALL, 2);
	test_err_send_part(ENOLCK, &self->u, &self->small, ZCIPC_MOVE, self->buf.cap, SMALL, 1);
	test_check_from(&self->u, self->p + SMALL * psize, SMALL, 1, 2);
	/* On to a third. Nothing is left. */
	test_send(&self->small, &self->big, ZCIPC_MOVE, m.cap);
	test_user(&self->small, 0, 0);
	test_user(&self->big, SMALL, SMALL);
	test_send_part(&self->u, &self->small, ZCIPC_MOVE, self->buf.cap, SMALL, 1);
	test_user(&self->u, 0, 0);
	test_user(&self->small, 1, 1);
}

/* 28, G3, G11: straight from memory the receiver alone has to have room. */
TEST_F(memlock, direct)
{
	struct zcipc_recv m;

	test_err_direct(ENOLCK, &self->u, &self->small, ZCIPC_MOVE, self->p, (SMALL + 1) * psize,
			0);
	test_err_direct(ENOLCK, &self->u, &self->small, ZCIPC_MOVE, self->p + 8,
			(SMALL + 2) * psize, ZCIPC_F_ANY_ALIGN);
	test_untouched(&self->u, self->p, LIMIT + 1, 1);
	test_user(&self->small, 0, 0);
	test_direct(&self->u, &self->small, ZCIPC_MOVE, self->p, SMALL * psize, 0);
	test_user(&self->small, SMALL, SMALL);
	test_user(&self->u, 0, 0);
	/* Copied parts of pages are not pinned. */
	test_direct(&self->u, &self->small, ZCIPC_MOVE, self->p + SMALL * psize + 8, psize,
		    ZCIPC_F_ANY_ALIGN);
	test_user(&self->small, SMALL, SMALL + 2);
	test_err_direct(ENOLCK, &self->u, &self->small, ZCIPC_MOVE, self->p + 8 * psize, psize, 0);
	test_recv(&self->small, &m);
	test_check(&self->small, (char *)(uintptr_t)m.addr, SMALL, 1);
	test_drop(&self->small, m.cap);
	test_user(&self->small, 0, 2);
	/* More than the sender itself may have pinned. */
	test_direct(&self->u, &self->big, ZCIPC_MOVE, self->p, (LIMIT + 1) * psize, 0);
	test_user(&self->big, LIMIT + 1, LIMIT + 1);
	test_user(&self->u, 0, 0);
	whole_limit(_metadata, &self->u);
}

/* 28, G11: a snapshot is charged to who gets it, and each page that has been copied to nobody. */
TEST_F(memlock, copied)
{
	struct zcipc_recv m;
	char *p;

	test_import(&self->u, self->p, N, &self->buf);
	test_send(&self->u, &self->big, ZCIPC_COPY, self->buf.cap);
	test_recv(&self->big, &m);
	p = (char *)(uintptr_t)m.addr;
	test_user(&self->u, N, N);
	test_user(&self->big, N, N);
	/* Whoever writes first has a page that is not imported. */
	test_fill(&self->big, p, 2, 7);
	test_user(&self->u, N, N);
	test_user(&self->big, N - 2, N);
	test_fill(&self->u, self->p + 2 * psize, 1, 8);
	test_user(&self->u, N - 1, N);
	test_user(&self->big, N - 2, N);
	/* The other one then reuses it, and it is still pinned. */
	test_fill(&self->u, self->p, 3, 9);
	test_fill(&self->big, p + 2 * psize, 1, 9);
	test_user(&self->u, N - 1, N);
	test_user(&self->big, N - 2, N);
	/* What of it is moved on is charged as it is. */
	test_err_send(ENOLCK, &self->big, &self->small, ZCIPC_MOVE, m.cap);
	test_send_part(&self->big, &self->small, ZCIPC_MOVE, m.cap, 0, SMALL);
	test_user(&self->small, SMALL - 2, SMALL);
	test_user(&self->big, N - SMALL, N - SMALL);
	/* The last one has it alone, and pays until it is gone. */
	test_drop(&self->u, self->buf.cap);
	test_user(&self->u, N - 1, N);
	test_munmap(&self->u, self->p, N);
	test_user(&self->u, 0, 0);
	test_drop(&self->big, m.cap);
	test_user(&self->big, 0, 0);
	test_recv(&self->small, &m);
	test_drop(&self->small, m.cap);
	test_user(&self->small, 0, 0);
	/* From memory both are charged, each for its own. */
	self->p = test_memory(&self->u, LIMIT, 1);
	test_direct(&self->u, &self->big, ZCIPC_COPY, self->p, N * psize, 0);
	test_user(&self->u, N, N);
	test_user(&self->big, N, N);
	test_munmap(&self->u, self->p, N);
	test_user(&self->u, 0, 0);
	test_user(&self->big, N, N);
	whole_limit(_metadata, &self->u);
}

/* 28, G11: a page that is copied because somebody holds it is not pinned by who gets the copy. */
TEST_F(memlock, held)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	__u32 type;

	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type += ZCIPC_COPY - ZCIPC_MOVE) {
		self->p = test_memory(&self->u, N, 1);
		test_hold(&self->u, self->p + psize, 2);
		test_import(&self->u, self->p, N, &self->buf);
		cmd = transfer_cmd(&self->big, type, self->buf.cap, 0, 0, 0);
		cmd.flags = ZCIPC_F_STRICT;
		test_err_transfer(EBUSY, &self->u, &cmd);
		test_user(&self->u, N, N);
		test_user(&self->big, 0, 0);
		cmd.flags = 0;
		test_transfer(&self->u, &cmd);
		ASSERT_EQ(2 * psize, cmd.copied);
		test_user(&self->u, type == ZCIPC_MOVE ? 0 : N, type == ZCIPC_MOVE ? 0 : N);
		test_user(&self->big, N - 2, N);
		test_hold_end(&self->u);
		test_recv(&self->big, &m);
		test_check(&self->big, (char *)(uintptr_t)m.addr, N, 1);
		test_drop(&self->big, m.cap);
		test_user(&self->big, 0, 0);
		if (type == ZCIPC_COPY)
			test_drop(&self->u, self->buf.cap);
		test_munmap(&self->u, self->p, N);
	}
	self->p = test_memory(&self->u, N, 1);
	test_hold(&self->u, self->p + psize, 2);
	test_err_direct(EBUSY, &self->u, &self->big, ZCIPC_MOVE, self->p, N * psize,
			ZCIPC_F_STRICT);
	test_user(&self->big, 0, 0);
	test_untouched(&self->u, self->p, N, 1);
	test_direct(&self->u, &self->big, ZCIPC_MOVE, self->p, N * psize, 0);
	test_user(&self->big, N - 2, N);
	test_hold_end(&self->u);
	whole_limit(_metadata, &self->u);
}

/* 28, G11: who shares pays, and nobody else; also when only the other one still has it. */
TEST_F(memlock, shared)
{
	struct zcipc_recv m, m2;

	test_import(&self->u, self->p, LIMIT, &self->buf);
	test_send(&self->u, &self->small, ZCIPC_SHARE, self->buf.cap);
	test_recv(&self->small, &m);
	test_send(&self->small, &self->big, ZCIPC_SHARE, m.cap);
	test_recv(&self->big, &m2);
	test_fill(&self->big, (char *)(uintptr_t)m2.addr, LIMIT, 5);
	test_check(&self->u, self->p, LIMIT, 5);
	test_user(&self->u, LIMIT, LIMIT);
	test_user(&self->small, 0, 0);
	test_user(&self->big, 0, 0);
	test_drop(&self->u, self->buf.cap);
	test_drop(&self->small, m.cap);
	test_user(&self->u, LIMIT, LIMIT);
	test_check(&self->big, (char *)(uintptr_t)m2.addr, LIMIT, 5);
	test_munmap(&self->u, self->p, LIMIT);
	test_user(&self->u, LIMIT, LIMIT);
	test_drop(&self->big, m2.cap);
	whole_limit(_metadata, &self->u);
}

/* 28: all privileges in a user namespace are none here. */
TEST_F(memlock, namespace)
{
	struct call limit = { .fn = call_limit, .n = RLIMIT_MEMLOCK, .val = SMALL * psize };
	struct call user = { .fn = call_setuid, .n = 12345 };
	struct call unshare = { .fn = call_unshare, .n = CLONE_NEWUSER };
	struct ep ep;
	char *p;

	ASSERT_EQ(0, peer_fork(&ep));
	ASSERT_EQ(0, ep_call(&ep, &limit));
	ASSERT_EQ(0, ep_call(&ep, &user));
	if (ep_call(&ep, &unshare))
		SKIP(return, "no user namespaces: %s", strerror(errno));
	TEST_OK(peer_open(&ep, WINDOW_PAGES, O_NONBLOCK));
	test_policy(&ep, ZCIPC_POLICY_ANY);
	p = test_memory(&ep, SMALL + 1, 1);
	test_err_import(ENOLCK, &ep, p, SMALL + 1, &self->buf);
	test_untouched(&ep, p, SMALL + 1, 1);
	test_import(&ep, p, SMALL, &self->buf);
	/* And it is still the same user. */
	test_user(&self->u, SMALL, SMALL);
	test_err_direct(ENOLCK, &self->u, &ep, ZCIPC_MOVE, self->p, psize, 0);
	test_drop(&ep, self->buf.cap);
	test_err_direct(ENOLCK, &self->u, &ep, ZCIPC_MOVE, self->p, (SMALL + 1) * psize, 0);
	test_untouched(&self->u, self->p, LIMIT + 1, 1);
}

/* 28: who opened the endpoint with privileges, and has none now, can pin no more than others. */
TEST_F(memlock, privileges_dropped)
{
	struct call limit = { .fn = call_limit, .n = RLIMIT_MEMLOCK, .val = SMALL * psize };
	struct call user = { .fn = call_setuid, .n = 12345 };
	struct ep ep;
	char *p;

	ASSERT_EQ(0, peer_fork(&ep));
	TEST_OK(peer_open(&ep, WINDOW_PAGES, O_NONBLOCK));
	ASSERT_EQ(0, ep_call(&ep, &limit));
	ASSERT_EQ(0, ep_call(&ep, &user));
	p = test_memory(&ep, SMALL + 1, 1);
	test_err_import(ENOLCK, &ep, p, SMALL + 1, &self->buf);
	test_untouched(&ep, p, SMALL + 1, 1);
	test_import(&ep, p, SMALL, &self->buf);
	test_check(&ep, p, SMALL + 1, 1);
}

/* Locks a range, and all that is to be mapped from now on. */
static long call_lock(struct ep *ep, struct call *c)
{
	(void)ep;
	if (!c->n)
		return munlockall();
	return mlock((void *)(uintptr_t)c->addr, c->n * psize) || mlockall(MCL_FUTURE) ? -1 : 0;
}

/* 28, G3: mmap() has limits and an errno of its own for what is to be locked. */
TEST_F(memlock, locked_from_now_on)
{
	struct call lock = { .fn = call_lock, .addr = (uintptr_t)self->p, .n = LIMIT * 3 / 4 };
	struct call unlock = { .fn = call_lock };

	ASSERT_EQ(0, ep_call(&self->u, &lock));
	/* This much is locked, and as much again cannot be. */
	test_err_import(ENOLCK, &self->u, self->p, LIMIT * 3 / 4, &self->buf);
	test_check(&self->u, self->p, LIMIT + 1, 1);
	test_user(&self->u, 0, 0);
	ASSERT_EQ(0, ep_call(&self->u, &unlock));
	test_import(&self->u, self->p, LIMIT * 3 / 4, &self->buf);
	test_check(&self->u, self->p, LIMIT + 1, 1);
	test_drop(&self->u, self->buf.cap);
	test_munmap(&self->u, self->p, LIMIT + 1);
	whole_limit(_metadata, &self->u);
}

static long call_area(struct ep *ep, struct call *c)
{
	char *p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)ep;
	if (p == MAP_FAILED)
		return -1;
	/* A huge page would be charged as a whole, which is more than the limit. */
	madvise(p, HUGE, MADV_NOHUGEPAGE);
	c->addr = (uintptr_t)p;
	return 0;
}

/* 28, G11: nothing is lost or gained on the way, however often and in whatever way it goes. */
TEST_F(memlock, cycles)
{
	struct call area = { .fn = call_area };
	unsigned int i, seed = 1;
	struct zcipc_recv m;
	struct buf buf;
	size_t n;
	char *p;

	ASSERT_EQ(0, ep_call(&self->u, &area));
	for (i = 0; i < loops(120); i++) {
		seed = seed * 1103515245 + 12345;
		n = 1 + (seed >> 16) % LIMIT;
		/* In mappings of their own, and in parts of a large one. */
		p = i % 2 ? test_memory(&self->u, n, 1) :
			    (char *)(uintptr_t)area.addr + (seed >> 24) * psize;
		test_fill(&self->u, p, n, 1);
		switch (i % 10 / 2) {
		case 0:
			test_import(&self->u, p, n, &buf);
			test_drop(&self->u, buf.cap);
			test_munmap(&self->u, p, n);
			break;
		case 1:
			test_import(&self->u, p, n, &buf);
			test_send(&self->u, &self->big, ZCIPC_MOVE, buf.cap);
			test_recv(&self->big, &m);
			test_drop(&self->big, m.cap);
			test_munmap(&self->u, p, n);
			break;
		case 2:
			test_direct(&self->u, &self->u2, ZCIPC_MOVE, p, n * psize, 0);
			test_recv(&self->u2, &m);
			test_drop(&self->u2, m.cap);
			break;
		case 3:
			test_direct(&self->u, &self->big, ZCIPC_COPY, p, n * psize, 0);
			test_recv(&self->big, &m);
			test_fill(&self->u, p, 1 + n / 3, 4);
			test_fill(&self->big, (char *)(uintptr_t)m.addr, 1 + n / 2, 5);
			test_munmap(&self->u, p, n);
			test_drop(&self->big, m.cap);
			break;
		case 4:
			test_err_direct(ENOLCK, &self->u, &self->u2, ZCIPC_MOVE,
					(char *)(uintptr_t)area.addr, (LIMIT + 1) * psize, 0);
			test_err_direct(n > SMALL ? ENOLCK : 0, &self->u, &self->small, ZCIPC_MOVE,
					p, n * psize, 0);
			if (n > SMALL)
				break;
			test_recv(&self->small, &m);
			test_drop(&self->small, m.cap);
			break;
		}
		/* A hole in the huge page is filled again. */
		if (!(i % 2))
			ASSERT_EQ(0, ep_call(&self->u, &area));
	}
	test_user(&self->small, 0, 0);
	test_user(&self->big, 0, 0);
	whole_limit(_metadata, &self->u);
	whole_limit(_metadata, &self->u2);
}

/* --- the quota */

/* What fits in, and what does not in addition: the kernel needs some beside them. */
#define QUOTA_PAGES 232
#define QUOTA_MORE 30

FIXTURE(quota)
{
	struct base base;
	struct ep u, a;
	char *p;
};

FIXTURE_SETUP(quota)
{
	base_setup(_metadata, &self->base);
	if (access(QUOTA, W_OK))
		SKIP(return, "there is no quota to be set");
	test_user_start(&self->u, 12345, 4 * QUOTA_PAGES);
	test_user_start(&self->a, 12346, 4 * QUOTA_PAGES);
	self->p = test_memory(&self->a, QUOTA_PAGES + QUOTA_MORE, 1);
	quota_set(1);
}

FIXTURE_TEARDOWN(quota)
{
	quota_set(0);
	base_teardown(_metadata, &self->base);
}

/* 28, G3, G11: exactly the quota can be imported. */
TEST_F(quota, import)
{
	char *last = self->p + QUOTA_PAGES * psize;
	struct buf buf, buf2;

	test_err_import(EDQUOT, &self->a, self->p, QUOTA_PAGES + QUOTA_MORE, &buf);
	test_user(&self->a, 0, 0);
	test_untouched(&self->a, self->p, QUOTA_PAGES + QUOTA_MORE, 1);
	test_import(&self->a, self->p, QUOTA_PAGES, &buf);
	test_user(&self->a, QUOTA_PAGES, QUOTA_PAGES);
	test_err_import(EDQUOT, &self->a, last, QUOTA_MORE, &buf2);
	test_err_create(EDQUOT, &self->a, QUOTA_MORE, &buf2);
	test_err_direct(EDQUOT, &self->a, &self->u, ZCIPC_SHARE, last,
			QUOTA_MORE * psize, 0);
	test_err_direct(EDQUOT, &self->a, &self->u, ZCIPC_COPY, last,
			QUOTA_MORE * psize, ZCIPC_F_COPY_OK);
	test_user(&self->a, QUOTA_PAGES, QUOTA_PAGES);
	test_user(&self->u, 0, 0);
	test_check_from(&self->a, last, QUOTA_PAGES, QUOTA_MORE, 1);
	ASSERT_TRUE(ep_is_ordinary(&self->a, last, QUOTA_MORE));
	/* To be shared costs nothing, to be given away frees it. */
	test_direct(&self->a, &self->u, ZCIPC_SHARE, self->p, QUOTA_PAGES * psize, 0);
	test_user(&self->u, 0, 0);
	test_drop(&self->a, buf.cap);
	test_user(&self->a, QUOTA_PAGES, QUOTA_PAGES);
	TEST_OK(zc_take(&self->u, &buf));
	test_drop(&self->u, buf.cap);
	test_user(&self->a, QUOTA_PAGES, QUOTA_PAGES);
	test_munmap(&self->a, self->p, QUOTA_PAGES);
	test_user(&self->a, 0, 0);
	test_import(&self->a, last, 2, &buf);
	test_user(&self->a, 2, 2);
}

/* 28, G3, G11: straight from memory the receiver's quota counts, for parts of pages too. */
TEST_F(quota, direct)
{
	struct zcipc_recv m;
	struct buf buf;

	test_err_direct(EDQUOT, &self->a, &self->u, ZCIPC_MOVE, self->p,
			(QUOTA_PAGES + QUOTA_MORE) * psize, 0);
	test_err_direct(EDQUOT, &self->a, &self->u, ZCIPC_MOVE, self->p + 1,
			(QUOTA_PAGES + QUOTA_MORE - 1) * psize, ZCIPC_F_ANY_ALIGN);
	test_untouched(&self->a, self->p, QUOTA_PAGES + QUOTA_MORE, 1);
	test_user(&self->u, 0, 0);
	/* That the sender has nothing left does not matter. */
	test_create(&self->a, QUOTA_PAGES, &buf);
	test_direct(&self->a, &self->u, ZCIPC_MOVE, self->p, QUOTA_PAGES * psize, 0);
	test_user(&self->u, QUOTA_PAGES, QUOTA_PAGES);
	test_user(&self->a, 0, QUOTA_PAGES);
	test_err_direct(EDQUOT, &self->a, &self->u, ZCIPC_MOVE, self->p + 5,
			QUOTA_MORE * psize, ZCIPC_F_ANY_ALIGN);
	test_drop(&self->a, buf.cap);
	test_recv(&self->u, &m);
	test_check(&self->u, (char *)(uintptr_t)m.addr, QUOTA_PAGES, 1);
	/* What is the receiver's cannot become the sender's either. */
	test_import(&self->a, self->p, QUOTA_MORE, &buf);
	test_err_send(EDQUOT, &self->u, &self->a, ZCIPC_MOVE, m.cap);
	test_check(&self->u, (char *)(uintptr_t)m.addr, QUOTA_PAGES, 1);
	test_err_send(EDQUOT, &self->a, &self->u, ZCIPC_COPY, buf.cap);
	test_err_send(EDQUOT, &self->a, &self->u, ZCIPC_MOVE, buf.cap);
	test_user(&self->a, QUOTA_MORE, QUOTA_MORE);
	test_user(&self->u, QUOTA_PAGES, QUOTA_PAGES);
	test_drop(&self->u, m.cap);
	test_user(&self->u, 0, 0);
	test_send(&self->a, &self->u, ZCIPC_MOVE, buf.cap);
	test_user(&self->a, 0, 0);
	test_user(&self->u, QUOTA_MORE, QUOTA_MORE);
}

/* --- failures inside */

#define FAULTS "/sys/kernel/debug/"
#define FAIL_TIMES 1000000

/* Which allocations fail, and what the call says then. */
static const struct fault_kind {
	const char *name;
	int error;
} fault_kinds[] = {
	{ "failslab", ENOMEM },
	{ "fail_page_alloc", ENOMEM },
	{ "fail_usercopy", EFAULT },
};

static void fault_set(const char *kind, const char *name, long val)
{
	char path[80], text[24];

	snprintf(path, sizeof(path), FAULTS "%s/%s", kind, name);
	snprintf(text, sizeof(text), "%ld", val);
	file_write(path, text);
}

static long fault_get(const char *kind, const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), FAULTS "%s/%s", kind, name);
	return file_number(path, NULL);
}

/* Memory as a child gets it: all ordinary, and in its own mapping. */
static char *fault_memory(size_t npages)
{
	char *p = guarded(npages);

	if (p)
		fill(p, npages, 1);
	return p;
}

static char *fault_untouched(size_t npages)
{
	return guarded(npages);
}

static char *fault_locked(size_t npages)
{
	char *p = fault_memory(npages);

	mlock(p, npages * psize);
	return p;
}

/* What is in a struct that could not be written to. */
#define UNTOLD 0xccccccccccccccccULL

/* What nobody may see a trace of when a call has failed. */
struct trail {
	struct zcipc_stats stats;
	long nmappings;
	long locked;
};

FIXTURE(fault)
{
	struct base base;
	struct ep a, b;
	int fd;
	char *p;
	struct buf src;			/* of what is a region */
	struct zcipc_recv m;		/* what has been received */
	struct trail before;
};

FIXTURE_VARIANT(fault)
{
	char *(*memory)(size_t npages);
	size_t npages;		/* of it */
	__u32 type;		/* 0: REGION_IMPORT */
	__u32 flags;
	__u64 seed;
	size_t from;		/* the part that is taken, in bytes */
	size_t len;
	bool memfd;
	bool region;		/* it is one already */
	bool beside;		/* what is next to the part has become one */
	bool receive;		/* what fails is that the peer maps it */
};

#define FAULT(name, ...) FIXTURE_VARIANT_ADD(fault, name) { __VA_ARGS__ }
#define PART(_memory, n, first, len_)					\
	.memory = (_memory), .npages = (n), .seed = 1, .from = (first), .len = (len_)
#define TOUCHED		PART(fault_memory, N, 0, N * 4096)
#define UNTOUCHED	.memory = fault_untouched, .npages = N, .len = N * 4096
#define MIDDLE		PART(fault_memory, 3 * N, N * 4096, N * 4096)
#define ANY		PART(fault_memory, N, 100, 5 * 4096)
#define LOCKED		PART(fault_locked, N, 0, N * 4096)
#define HUGE_ALL	PART(guarded_huge_filled, 512, 0, 512 * 4096)
#define HUGE_PART	PART(guarded_huge_filled, 512, 8192, 256 * 4096)
#define MEMFD		PART(NULL, N, 0, N * 4096), .memfd = true
#define REGION		PART(NULL, 3 * N, 0, 3 * N * 4096), .region = true
#define REGION_PART	PART(NULL, 3 * N, N * 4096, 2 * N * 4096), .region = true

FAULT(import, TOUCHED);
FAULT(import_untouched, UNTOUCHED);
FAULT(import_middle, MIDDLE);
FAULT(import_beside, MIDDLE, .beside = true);
FAULT(import_locked, LOCKED);
FAULT(import_huge, HUGE_ALL);
FAULT(move, TOUCHED, .type = ZCIPC_MOVE);
FAULT(move_untouched, UNTOUCHED, .type = ZCIPC_MOVE);
FAULT(move_middle, MIDDLE, .type = ZCIPC_MOVE);
FAULT(move_huge, HUGE_PART, .type = ZCIPC_MOVE);
FAULT(move_any, ANY, .type = ZCIPC_MOVE, .flags = ZCIPC_F_ANY_ALIGN);
FAULT(move_unmap, TOUCHED, .type = ZCIPC_MOVE, .flags = ZCIPC_F_UNMAP);
FAULT(share, TOUCHED, .type = ZCIPC_SHARE);
FAULT(copy, TOUCHED, .type = ZCIPC_COPY);
FAULT(copy_huge, HUGE_ALL, .type = ZCIPC_COPY);
FAULT(copy_memfd, MEMFD, .type = ZCIPC_COPY, .flags = ZCIPC_F_COPY_OK);
FAULT(copy_auto, ANY, .type = ZCIPC_COPY, .flags = ZCIPC_F_AUTO | ZCIPC_F_ANY_ALIGN);
FAULT(share_memfd, MEMFD, .type = ZCIPC_SHARE);
FAULT(map_memfd, MEMFD, .type = ZCIPC_SHARE, .receive = true);
FAULT(move_memfd, MEMFD, .type = ZCIPC_MOVE, .flags = ZCIPC_F_COPY_OK | ZCIPC_F_ANY_ALIGN);

FAULT(region_move, REGION, .type = ZCIPC_MOVE);
FAULT(region_move_part, REGION_PART, .type = ZCIPC_MOVE);
FAULT(region_share, REGION_PART, .type = ZCIPC_SHARE);
FAULT(region_copy, REGION, .type = ZCIPC_COPY);
FAULT(region_copy_part, REGION_PART, .type = ZCIPC_COPY);

FIXTURE_SETUP(fault)
{
	size_t i;

	base_setup(_metadata, &self->base);
	self->fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->fd < 0)
		SKIP(return, "/proc/self/fail-nth: %s", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(fault_kinds); i++) {
		fault_set(fault_kinds[i].name, "verbose", 0);
		fault_set(fault_kinds[i].name, "times", FAIL_TIMES);
		fault_set(fault_kinds[i].name, "probability", 0);
	}
	fault_set("failslab", "cache-filter", 0);
	fault_set("failslab", "ignore-gfp-wait", 0);
	fault_set("fail_page_alloc", "ignore-gfp-wait", 0);
	fault_set("fail_page_alloc", "ignore-gfp-highmem", 0);
	fault_set("fail_page_alloc", "min-order", 0);
	test_open(&self->a, 3 * 512, O_NONBLOCK);
	test_open(&self->b, 3 * 512, O_NONBLOCK);
}

FIXTURE_TEARDOWN(fault)
{
	if (self->fd >= 0) {
		close(self->fd);
		fault_set("failslab", "ignore-gfp-wait", 1);
		fault_set("fail_page_alloc", "ignore-gfp-wait", 1);
		fault_set("fail_page_alloc", "ignore-gfp-highmem", 1);
		fault_set("fail_page_alloc", "min-order", 1);
	}
	base_teardown(_metadata, &self->base);
}

/* A transfer from memory, with as many rights as there are. */
static int fault_send(FIXTURE_DATA(fault) *self, const FIXTURE_VARIANT(fault) *variant)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, variant->type, self->p + variant->from,
					       variant->len, variant->flags);

	if (variant->region)
		cmd = transfer_cmd(&self->b, variant->type, self->src.cap, variant->from / psize,
				   variant->len / psize, 0);
	if ((variant->memfd || variant->region) && variant->type == ZCIPC_SHARE)
		cmd.rights = RIGHTS_RW;
	return zc_transfer(&self->a, &cmd);
}

/* The call that is to fail, and after it what the memory is then. */
static int fault_call(FIXTURE_DATA(fault) *self, const FIXTURE_VARIANT(fault) *variant,
		      struct buf *buf)
{
	char *p = self->p + variant->from;

	if (variant->receive)
		return zc_recv(&self->b, &self->m);
	if (!variant->type)
		return zc_import(&self->a, p, variant->len / psize, buf);
	return fault_send(self, variant);
}

/* The Nth allocation fails from now on. */
static void fault_begin(FIXTURE_DATA(fault) *self, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(self->fd, text, strlen(text), 0) < 0)
		fprintf(stderr, "# fail-nth: %s\n", strerror(errno));
}

/* Which has failed: an index of fault_kinds, or -1 for none. */
static int fault_end(FIXTURE_DATA(fault) *self)
{
	size_t i;
	int kind;

	/* That may fail too. */
	while (pwrite(self->fd, "0", 1, 0) < 0)
		;
	for (i = 0, kind = -1; i < ARRAY_SIZE(fault_kinds); i++) {
		if (fault_get(fault_kinds[i].name, "times") == FAIL_TIMES)
			continue;
		fault_set(fault_kinds[i].name, "times", FAIL_TIMES);
		kind = i;
	}
	return kind;
}

/*
 * fail-nth shows what is left of N: 0 is a fault that was injected. It is read by a copy to user
 * space, which may be the one that fails.
 */
static bool fault_injected(FIXTURE_DATA(fault) *self)
{
	char text[16] = "";

	return pread(self->fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
}

static void fault_look(FIXTURE_DATA(fault) *self, struct trail *trail)
{
	zc_stats(&self->base.ep, &trail->stats);
	trail->nmappings = mappings(NULL, (char *)-1UL, NULL);
	trail->locked = file_number("/proc/self/status", "VmLck:");
}

static char *fault_memfd(size_t npages)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC);
	char *p = MAP_FAILED;

	if (!ftruncate(fd, npages * psize))
		p = mmap(NULL, npages * psize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return NULL;
	fill(p, npages, 1);
	return p;
}

/* What nobody knows a capability of. */
static void fault_import(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self, size_t from,
			 size_t end)
{
	struct buf buf;

	test_import(&self->a, self->p + from, (end - from) / psize, &buf);
	test_drop(&self->a, buf.cap);
}

static void fault_start(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			const FIXTURE_VARIANT(fault) *variant)
{
	if (variant->region) {
		test_create(&self->a, variant->npages, &self->src);
		self->p = self->src.p;
		fill(self->p, variant->npages, 1);
	} else {
		self->p = variant->memfd ? fault_memfd(variant->npages) :
			  variant->memory(variant->npages);
	}
	ASSERT_NE(NULL, self->p);
	if (variant->beside) {
		fault_import(_metadata, self, 0, variant->from);
		fault_import(_metadata, self, variant->from + variant->len,
			     variant->npages * psize);
	}
	if (variant->receive)
		TEST_OK(fault_send(self, variant));
	fault_look(self, &self->before);
}

/* All that is in the range goes, and the next round has new memory. */
static void fault_finish(FIXTURE_DATA(fault) *self, const FIXTURE_VARIANT(fault) *variant)
{
	/* Of what was moved as a whole it has gone. */
	if (variant->region)
		zc_drop(&self->a, self->src.cap);
	else if (variant->memfd)
		munmap(self->p, variant->npages * psize);
	else
		guarded_free(self->p, variant->npages);
}

static bool same_user(const struct zcipc_stats *a, const struct zcipc_stats *b)
{
	return a->user_pinned == b->user_pinned && owned(a) == owned(b);
}

/* Nothing has changed, but that SHARE and COPY may have got as far as to adopt the memory. */
static void fault_failed(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			 const FIXTURE_VARIANT(fault) *variant)
{
	size_t npages = variant->len / psize;
	char *p = self->p + variant->from;
	struct zcipc_stats *before = &self->before.stats;
	struct trail after;

	ASSERT_EQ(0, check(self->p, 0, variant->npages, variant->seed));
	fault_look(self, &after);
	if (!variant->region && variant->type > ZCIPC_MOVE && mappings(p, p + 1, ZCIPC_DEVICE)) {
		before->regions++;
		before->caps++;
		before->maps++;
		before->frames += npages;
		before->user_pages += npages;
		before->user_pinned += npages;
	}
	ASSERT_TRUE(same_live(before, &after.stats));
	ASSERT_TRUE(same_user(before, &after.stats));
	ASSERT_EQ(self->before.locked, after.locked);
	/* Core mm does not join what it has split for a part in the middle. */
	ASSERT_LE(self->before.nmappings, after.nmappings);
	ASSERT_GE(self->before.nmappings + (variant->from ? 2 : 0), after.nmappings);
	ASSERT_EQ(0, fill(self->p, variant->npages, 2));
	ASSERT_EQ(0, check(self->p, 0, variant->npages, 2));
	ASSERT_EQ(0, fill(self->p, variant->npages, 1));
}

/* It has arrived, and is what it should be. Takes it away again. */
static void fault_succeeded(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			    const FIXTURE_VARIANT(fault) *variant, __u64 seed,
			    const struct buf *buf)
{
	size_t skip = variant->from % psize, first = variant->from / psize + !!skip;
	size_t npages = (variant->from + variant->len) / psize - first;
	struct zcipc_recv m;
	char *p;

	if (!variant->type) {
		ASSERT_EQ(0, check(self->p, 0, variant->npages, seed));
		ASSERT_EQ(0, fill(self->p, variant->npages, 3));
		ASSERT_EQ(0, check(self->p, 0, variant->npages, 3));
		ASSERT_EQ(1, mappings(self->p + variant->from,
				      self->p + variant->from + variant->len, NULL));
		/* What nobody was told of goes with the mapping. */
		if (buf->cap != UNTOLD)
			test_drop(&self->a, buf->cap);
		return;
	}
	if (variant->receive)
		m = self->m;
	else
		test_recv(&self->b, &m);
	ASSERT_EQ(variant->len, m.len);
	/* It may not have been mapped, for lack of memory. */
	if (variant->receive && !m.addr) {
		test_map(&self->b, m.cap, 0, 0, RIGHTS_RW, &p);
		m.addr = (uintptr_t)p;
	}
	p = (char *)(uintptr_t)m.addr + (skip ? psize - skip : 0);
	ASSERT_EQ(0, check(p, first, npages, seed));
	if (variant->type == ZCIPC_MOVE && !variant->memfd)
		seed = 0;
	if (seed)
		ASSERT_EQ(0, check(self->p, 0, variant->npages, seed));
	if (!seed && !(variant->flags & ZCIPC_F_UNMAP))
		ASSERT_EQ(variant->region ? SIGBUS : 0,
			  check(self->p + first * psize, 0, npages, 0));
	test_drop(&self->b, m.cap);
	if (variant->memfd && variant->type == ZCIPC_SHARE)
		munmap((void *)(uintptr_t)m.addr, m.len);
}

/* Where a page of this process is. */
static __u64 page_frame(const char *p)
{
	__u64 entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / psize * sizeof(entry)) < 0)
		entry = 0;
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

/* Where one says that VMAs are among what fails when only some of all small allocations do. */
#define FAULT_VMAS "/sys/kernel/slab/vm_area_struct/failslab"

/* From so many bytes of VMAs on this task gets none as many times as are said. */
static void fault_many_begin(int fd, size_t space, long times)
{
	file_write(FAULT_VMAS, "1");
	fault_set("failslab", "cache-filter", 1);
	fault_set("failslab", "space", space);
	fault_set("failslab", "times", times);
	fault_set("failslab", "interval", 1);
	fault_set("failslab", "task-filter", 1);
	fault_set("failslab", "probability", 100);
	if (pwrite(fd, "1", 1, 0) != 1)
		fprintf(stderr, "# make-it-fail: %s\n", strerror(errno));
}

/* Returns how many did. To open a file could be the next to fail, so it is open. */
static long fault_many_end(int fd, long times)
{
	long left;

	if (pwrite(fd, "0", 1, 0) != 1)
		fprintf(stderr, "# make-it-fail: %s\n", strerror(errno));
	left = fault_get("failslab", "times");
	fault_set("failslab", "probability", 0);
	fault_set("failslab", "task-filter", 0);
	fault_set("failslab", "space", 0);
	fault_set("failslab", "times", FAIL_TIMES);
	fault_set("failslab", "cache-filter", 0);
	file_write(FAULT_VMAS, "0");
	return times - left;
}

/* G3, G7: nobody goes on with zeros where there is no memory to put the contents back. */
static void killed_for_what_is_lost(struct __test_metadata *_metadata, int many)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int own = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
		char *p = fault_memory(N);
		struct buf buf;
		struct ep ep;

		if (own < 0 || !p || ep_open(&ep, N, 0))
			_exit(1);
		fault_many_begin(own, 0, FAIL_TIMES);
		zc_import(&ep, p, N, &buf);
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	fault_many_end(many, FAIL_TIMES);
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("status %x", status);
	ASSERT_EQ(SIGKILL, WTERMSIG(status));
}

/*
 * 31, G3: mmap() takes away what is there before it fails. Also when it fails each time it is
 * tried the contents are put back. Only a VMA is denied to it: of other allocations a kernel may
 * want any number, and to put the contents back needs some, too.
 */
static void mmap_fails_for_good(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
				const FIXTURE_VARIANT(fault) *variant)
{
	int many = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
	unsigned int failed = 0, restored = 0;
	long times = 3, hit = 1;	/* as often as the module tries it */
	struct zcipc_stats empty, stats;
	struct buf buf = {};
	int rc, err;
	size_t space;
	__u64 frame;

	test_stats(&self->base.ep, &empty);

	ASSERT_LE(0, many);
	for (space = 0; hit; space += 64) {
		fault_start(_metadata, self, variant);
		frame = page_frame(self->p + variant->from);
		ASSERT_NE(0, frame);
		fault_many_begin(many, space, times);
		rc = fault_call(self, variant, &buf);
		err = errno;
		hit = fault_many_end(many, times);
		if (rc) {
			ASSERT_EQ(ENOMEM, err) TH_LOG("%zu: %s", space, strerror(err));
			failed++;
			restored += frame != page_frame(self->p + variant->from);
			fault_failed(_metadata, self, variant);
			TEST_OK(fault_call(self, variant, &buf));
			fault_succeeded(_metadata, self, variant, 1, &buf);
		} else {
			fault_succeeded(_metadata, self, variant, variant->seed, &buf);
		}
		fault_finish(self, variant);
		test_stats(&self->base.ep, &stats);
		ASSERT_TRUE(same_live(&empty, &stats)) TH_LOG("%zu", space);
		ASSERT_TRUE(same_user(&empty, &stats)) TH_LOG("%zu", space);
	}
	killed_for_what_is_lost(_metadata, many);
	close(many);
	TH_LOG("%u calls failed, %u restored the contents", failed, restored);
	/* Else nothing was tested. */
	ASSERT_NE(0, restored);
}

/*
 * 31, G3, G7, G8: one allocation after the other fails, or a copy from or to user space, until none
 * is left that could. The call succeeds in spite of it, or has changed nothing, and works then.
 */
TEST_F(fault, nth)
{
	unsigned int n, failed = 0, nkinds[ARRAY_SIZE(fault_kinds)] = {};
	struct zcipc_stats empty, stats;
	struct buf buf = {};
	int rc, err, kind, clean = 0;
	bool injected;

	test_stats(&self->base.ep, &empty);
	/* How many there are differs a bit from time to time. */
	for (n = 1; clean < 4; n++) {
		ASSERT_GT(2000, n);
		fault_start(_metadata, self, variant);
		fault_begin(self, n);
		rc = fault_call(self, variant, &buf);
		err = errno;
		injected = fault_injected(self);
		kind = fault_end(self);
		clean = injected ? 0 : clean + 1;
		if (injected) {
			ASSERT_LE(0, kind);
			nkinds[kind]++;
		}
		if (rc) {
			ASSERT_TRUE(injected) TH_LOG("%u: %s", n, strerror(err));
			ASSERT_EQ(fault_kinds[kind].error, err)
				TH_LOG("%u, %s: %s", n, fault_kinds[kind].name, strerror(err));
			failed++;
			fault_failed(_metadata, self, variant);
			TEST_OK(fault_call(self, variant, &buf));
			fault_succeeded(_metadata, self, variant, 1, &buf);
		} else {
			if (buf.cap == UNTOLD)
				ASSERT_EQ(EFAULT, fault_kinds[kind].error);
			fault_succeeded(_metadata, self, variant, variant->seed, &buf);
		}
		fault_finish(self, variant);
		/* What nobody can drop goes a moment later. */
		ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
				       same_live(&empty, &stats))) TH_LOG("%u", n);
		ASSERT_TRUE(same_user(&empty, &stats)) TH_LOG("%u", n);
	}
	TH_LOG("injected: %u slab, %u pages, %u copies; %u calls failed", nkinds[0], nkinds[1],
	       nkinds[2], failed);
	/* Else nothing was tested. RECV, and what moves a region, do without what they lack. */
	ASSERT_LE(variant->receive || variant->region ? 1 : 3, failed);
	/* What is copied at once is never adopted. */
	if (variant->type != ZCIPC_MOVE && !(variant->flags & ZCIPC_F_AUTO) &&
	    variant->memory == fault_memory)
		mmap_fails_for_good(_metadata, self, variant);
}

/* --- what becomes of memory after it has been adopted */

#define M 16

/* Adopted by one, who shares it with another. */
FIXTURE(after)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, dst;
	char *p, *q;
};

FIXTURE_SETUP(after)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, fill(self->p, M, 1));
	test_import(&self->a, self->p, M, &self->src);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &self->dst);
	self->q = self->dst.p;
	test_check(&self->b, self->q, M, 1);
}

FIXTURE_TEARDOWN(after)
{
	guarded_free(self->p, M);
	base_teardown(_metadata, &self->base);
}

/* Both see what either writes, in a range. */
static void coherent(struct __test_metadata *_metadata, FIXTURE_DATA(after) *self, size_t first,
		     size_t npages, __u64 seed)
{
	test_fill(&self->a, self->p + first * psize, npages, seed);
	test_check(&self->b, self->q + first * psize, npages, seed);
	test_fill(&self->b, self->q + first * psize, npages, seed + 1);
	test_check(&self->a, self->p + first * psize, npages, seed + 1);
}

/* 20: a child has no mapping of it, nor has it the parent's endpoint. */
TEST_F(after, fork)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int status;
	pid_t pid;
	__u64 val;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (touch_read(self->p, &val) != SIGSEGV ||
		    touch_write(self->p + (M - 1) * psize, 7) != SIGSEGV)
			_exit(1);
		_exit(ioctl(self->a.fd, ZCIPC_IOC_INFO, &info) && errno == EPERM ? 0 : 2);
	}
	coherent(_metadata, self, 0, M, 2);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	coherent(_metadata, self, 0, M, 4);
}

/* 4, 20, G2: nor has one that inherits the mapping by MADV_DOFORK. */
TEST_F(after, fork_in_spite_of_it)
{
	int to[2], from[2], status;
	struct zcipc_recv m;
	char byte;
	pid_t pid;
	__u64 n;

	test_inheritable(self->p, M * psize);
	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 val;
		int i;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; i < M; i++)
			if (touch_read(self->p + i * psize, &val) != SIGBUS)
				_exit(1);
		if (write(from[1], "", 1) != 1 || read(to[0], &byte, 1) != 1)
			_exit(2);
		for (i = 0; i < M; i++)
			if (touch_read(self->p + i * psize, &val) != SIGBUS ||
			    touch_write(self->p + i * psize, 6) != SIGBUS)
				_exit(3);
		_exit(0);
	}
	ASSERT_EQ(1, read(from[0], &byte, 1));
	coherent(_metadata, self, 0, M, 2);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_send(&self->a, &self->c, ZCIPC_MOVE, self->src.cap);
	test_recv(&self->c, &m);
	test_fill(&self->c, (char *)(uintptr_t)m.addr, M, 9);
	ASSERT_EQ(1, write(to[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	test_check(&self->c, (char *)(uintptr_t)m.addr, M, 9);
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
}

/* 20: what is mapped over a part is nobody else's, and hides what is still there. */
TEST_F(after, mapped_over)
{
	struct zcipc_recv m;
	__u64 n;

	ASSERT_EQ(self->p + 4 * psize,
		  mmap(self->p + 4 * psize, 3 * psize, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	test_check(&self->a, self->p + 4 * psize, 3, 0);
	test_fill(&self->a, self->p + 4 * psize, 3, 5);
	test_check(&self->b, self->q, M, 1);
	test_fill(&self->b, self->q, M, 2);
	test_check(&self->a, self->p, 4, 2);
	test_check(&self->a, self->p + 4 * psize, 3, 5);
	test_check_from(&self->a, self->p + 7 * psize, 7, M - 7, 2);
	coherent(_metadata, self, 0, 4, 3);
	coherent(_metadata, self, 7, M - 7, 3);
	/* What is there now can be imported itself, and sent. */
	test_direct(&self->a, &self->c, ZCIPC_MOVE, self->p + 4 * psize, psize, 0);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, 1, 5);
	/* And the region is whole, wherever it goes. */
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_send(&self->a, &self->c, ZCIPC_MOVE, self->src.cap);
	test_gone(&self->a, self->p, 4);
	test_gone(&self->a, self->p + 7 * psize, M - 7);
	test_check_from(&self->a, self->p + 5 * psize, 1, 2, 5);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, 4, 4);
	test_check_from(&self->c, (char *)(uintptr_t)m.addr + 4 * psize, 4, 3, 2);
	test_check(&self->c, (char *)(uintptr_t)m.addr + 7 * psize, M - 7, 4);
}

/* 3, 20: head, middle and tail go, what is left of the mapping works, and the memory is whole. */
TEST_F(after, unmapped)
{
	static const struct {
		size_t first, npages;
	} gone[] = { { 0, 2 }, { 7, 3 }, { M - 1, 1 }, { 5, 1 }, { 3, 1 } };
	struct zcipc_stats before, stats;
	struct zcipc_recv m;
	bool there[M];
	size_t i, k;
	__u64 n;

	memset(there, true, sizeof(there));
	test_stats(&self->a, &before);
	for (i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_EQ(0, munmap(self->p + gone[i].first * psize, gone[i].npages * psize));
		memset(there + gone[i].first, false, gone[i].npages);
		for (k = 0; k < M; k++) {
			if (there[k])
				coherent(_metadata, self, k, 1, 2 + i);
			else
				test_touch_read(SIGSEGV, &self->a, self->p + k * psize);
		}
		/* What is mapped there later has nothing to do with it. */
		ASSERT_NE(MAP_FAILED, mmap(self->p + gone[i].first * psize, psize,
					   PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		test_check(&self->a, self->p + gone[i].first * psize, 1, 0);
		ASSERT_EQ(0, munmap(self->p + gone[i].first * psize, psize));
	}
	test_fill(&self->b, self->q, M, 20);
	test_stats(&self->a, &stats);
	ASSERT_EQ(before.user_pinned, stats.user_pinned);
	ASSERT_EQ(0, munmap(self->p, M * psize));
	test_stats(&self->a, &stats);
	ASSERT_EQ(before.user_pinned, stats.user_pinned);
	test_check(&self->b, self->q, M, 20);
	/* The capability is as good as it was. */
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_send(&self->a, &self->c, ZCIPC_MOVE, self->src.cap);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, M, 20);
}

/* 20, G4: no write to what is read-only, and no way around a snapshot when it is so no longer. */
TEST_F(after, protected)
{
	char *p = self->p + 4 * psize;
	struct buf copy;

	ASSERT_EQ(0, mprotect(p, 3 * psize, PROT_READ));
	test_check(&self->a, self->p, M, 1);
	test_touch_write(SIGSEGV, &self->a, p);
	test_touch_write(SIGSEGV, &self->a, p + 2 * psize);
	test_fill(&self->b, self->q, M, 2);
	test_check(&self->a, self->p, M, 2);
	coherent(_metadata, self, 0, 4, 3);
	coherent(_metadata, self, 7, M - 7, 3);
	test_pass(&self->a, &self->c, ZCIPC_COPY, self->src.cap, &copy);
	test_check_from(&self->a, p, 4, 3, 2);
	ASSERT_EQ(0, mprotect(p, 3 * psize, PROT_READ | PROT_WRITE));
	test_check_from(&self->a, p, 4, 3, 2);
	coherent(_metadata, self, 4, 3, 5);
	coherent(_metadata, self, 0, M, 7);
	test_check(&self->c, copy.p, 4, 4);
	test_check_from(&self->c, copy.p + 4 * psize, 4, 3, 2);
	test_check(&self->c, copy.p + 7 * psize, M - 7, 4);
	/* Not at all, and back. */
	ASSERT_EQ(0, mprotect(self->p, M * psize, PROT_NONE));
	test_touch_read(SIGSEGV, &self->a, self->p);
	test_fill(&self->b, self->q, M, 9);
	ASSERT_EQ(0, mprotect(self->p, M * psize, PROT_READ | PROT_WRITE));
	test_check(&self->a, self->p, M, 9);
	coherent(_metadata, self, 0, M, 10);
	/* Never code. */
	TEST_ERR(EACCES, mprotect(self->p, psize, PROT_READ | PROT_EXEC));
}

/* 5, 20: whatever is advised, the contents stay, and are the same for both. */
TEST_F(after, advised)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE,
		MADV_REMOVE, MADV_DONTFORK, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE, MADV_WIPEONFORK,
		MADV_KEEPONFORK,
	};
	struct buf copy;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		test_fill(&self->a, self->p, M, 1 + i);
		madvise(self->p, M * psize, advice[i]);
		test_check(&self->b, self->q, M, 1 + i);
		test_check(&self->a, self->p, M, 1 + i);
		test_pass(&self->a, &self->c, ZCIPC_COPY, self->src.cap, &copy);
		/* A part of it, which no write has touched since the snapshot. */
		madvise(self->p + 3 * psize, 5 * psize, advice[i]);
		test_check(&self->a, self->p, M, 1 + i);
		coherent(_metadata, self, 0, M, 100);
		test_check(&self->c, copy.p, M, 1 + i);
		test_drop(&self->c, copy.cap);
	}
	/* mlock() is for what core mm could take away. */
	mlock(self->p, M * psize);
	coherent(_metadata, self, 0, M, 100);
	munlock(self->p, M * psize);
	coherent(_metadata, self, 0, M, 100);
}

/* 3, 20: it stays where it is. */
TEST_F(after, mremap)
{
	char *to = mmap(NULL, 4 * M * psize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t len = M * psize;

	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(MAP_FAILED, mremap(self->p, len, 2 * len, MREMAP_MAYMOVE));
	ASSERT_EQ(MAP_FAILED, mremap(self->p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	ASSERT_EQ(MAP_FAILED, mremap(self->p, len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	ASSERT_EQ(MAP_FAILED, mremap(self->p, 0, len, MREMAP_MAYMOVE));
	ASSERT_EQ(MAP_FAILED, mremap(self->p + psize, 2 * psize, 2 * psize,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to + len));
	coherent(_metadata, self, 0, M, 2);
	/* To make it shorter is munmap(). */
	ASSERT_EQ(self->p, mremap(self->p, len, 2 * psize, 0));
	coherent(_metadata, self, 0, 2, 4);
	test_touch_read(SIGSEGV, &self->a, self->p + 2 * psize);
	test_check_from(&self->b, self->q + 2 * psize, 2, M - 2, 3);
	munmap(to, 4 * len);
}

/* 20, G8: the owner dies, the others have it still, and nothing is pinned when they are gone. */
TEST_F(after, death)
{
	struct zcipc_stats before, stats;
	struct buf buf, b, c, copy;
	struct ep owner;
	char *p;

	test_start(&owner, true, WINDOW_PAGES);
	p = test_memory(&owner, M, 5);
	test_stats(&self->a, &before);
	test_import(&owner, p, M, &buf);
	test_pass(&owner, &self->b, ZCIPC_SHARE, buf.cap, &b);
	test_pass(&owner, &self->c, ZCIPC_SHARE, buf.cap, &c);
	test_pass(&owner, &self->a, ZCIPC_COPY, buf.cap, &copy);
	test_fill(&owner, p, 3, 6);
	ep_end(&owner);
	test_check(&self->b, b.p, 3, 6);
	test_check_from(&self->b, b.p + 3 * psize, 3, M - 3, 5);
	test_fill(&self->b, b.p, M, 7);
	test_check(&self->c, c.p, M, 7);
	test_fill(&self->c, c.p, M, 8);
	test_check(&self->b, b.p, M, 8);
	test_check(&self->a, copy.p, M, 5);
	test_drop(&self->a, copy.cap);
	test_drop(&self->b, b.cap);
	test_fill(&self->c, c.p, M, 9);
	test_check(&self->c, c.p, M, 9);
	test_drop(&self->c, c.cap);
	ASSERT_TRUE(wait_until(!zc_stats(&self->a, &stats) &&
			       stats.user_pinned == before.user_pinned));
}

/* In a peer, which does that for some time. Returns how often. */
static long call_add(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	__u64 n;
	size_t i;

	(void)ep;
	for (n = 0; n < c->val; n++) {
		for (i = 0; i < c->n; i++)
			++*((volatile __u64 *)(p + i * psize) + 50);
		if (!(n % 16))
			sched_yield();
	}
	return 0;
}

/* 20: pages that are to be moved to make room for larger ones stay where they are. */
TEST_F(after, compaction)
{
	struct call add = { .fn = call_add, .addr = (uintptr_t)self->q, .n = M,
			    .val = loops(3000) };
	unsigned long nodes[2] = { 1, 2 };
	struct adder adder;
	__u64 i, val;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP(return, "there is no compaction");
	memset(self->p, 0, M * psize);
	ASSERT_EQ(0, adder_start(&adder, self->p, M, 7));
	ASSERT_EQ(0, ep_send(&self->b, &add));
	for (i = 0; i < 20; i++) {
		file_write("/proc/sys/vm/compact_memory", "1");
		/* And to the other node, and back. */
		syscall(SYS_migrate_pages, 0, 8 * sizeof(nodes[0]), &nodes[i % 2],
			&nodes[!(i % 2)]);
	}
	ASSERT_EQ(0, ep_wait(&self->b, &add));
	adder_stop(&adder);
	for (i = 0; i < M; i++) {
		ASSERT_EQ(0, touch_read(self->p + i * psize + 7 * 8, &val));
		ASSERT_EQ(adder.n, val);
		ASSERT_EQ(0, ep_read(&self->b, self->q + i * psize + 7 * 8, &val));
		ASSERT_EQ(adder.n, val);
		ASSERT_EQ(0, touch_read(self->p + i * psize + 50 * 8, &val));
		ASSERT_EQ(loops(3000), val);
	}
}

/* 19, 20: what is sealed cannot be adopted. It can be moved, as it can be discarded. */
TEST_F(after, sealed)
{
	char *p = guarded(M);
	struct zcipc_recv m;
	struct buf buf;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, fill(p, M, 1));
	/* In a child: it stays until the end. */
	if (syscall(SYS_mseal, p, M * psize, 0)) {
		guarded_free(p, M);
		SKIP(return, "mseal: %s", strerror(errno));
	}
	test_err_import(EOPNOTSUPP, &self->a, p, M, &buf);
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_SHARE, p, M * psize, 0);
	test_check(&self->a, p, M, 1);
	ASSERT_EQ(0, mappings(p, p + M * psize, ZCIPC_DEVICE));
	test_direct(&self->a, &self->b, ZCIPC_COPY, p, M * psize, ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p, M * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1);
	test_check(&self->a, p, M, 0);
}

/* --- others that use the memory at the same time */

#define ROUNDS 200

FIXTURE(threads)
{
	struct base base;
	struct ep a, b;
	char *p;
};

FIXTURE_SETUP(threads)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(threads)

/* Documented for what others can do to memory during a call: it is not there, or not as it was. */
static bool race_error(int err)
{
	return err == EFAULT || err == EACCES || err == EOPNOTSUPP;
}

/* 12, 20: no write of a thread is lost by an import, at whatever moment it comes. */
TEST_F(threads, import_loses_no_write)
{
	unsigned int i, n = loops(ROUNDS);
	struct adder adder;
	struct buf buf;
	size_t k;

	for (i = 0; i < n; i++) {
		self->p = i % 4 ? guarded(M) : guarded_huge();
		ASSERT_NE(NULL, self->p);
		/* With and without pages that are there already. */
		memset(self->p, 0, i % 3 * M / 2 * psize);
		ASSERT_EQ(0, adder_start(&adder, self->p, M, i % 512));
		if (i % 2)
			ASSERT_TRUE(wait_until(adder.started));
		test_import(&self->a, self->p, M, &buf);
		adder_stop(&adder);
		for (k = 0; k < M; k++)
			ASSERT_EQ(adder.n,
				  *(volatile __u64 *)(self->p + k * psize + i % 512 * 8));
		test_drop(&self->a, buf.cap);
		guarded_free(self->p, i % 4 ? M : HUGE / psize);
	}
}

/* A word that says that it is from here, and when it was written. */
#define STAMP		0x5a17ULL
#define stamp(n)	(STAMP << 48 | (n))
#define is_stamp(val, n)	((val) >> 48 == STAMP && ((val) & ~(STAMP << 48)) <= (n))

/* Writes stamps to all words of a range, again and again. */
struct writer {
	pthread_t thread;
	char *p;
	size_t npages;
	volatile bool stop;
	volatile __u64 n;
};

static void *writer_run(void *arg)
{
	struct writer *writer = arg;
	volatile __u64 *words = (volatile __u64 *)writer->p;
	size_t i;

	while (!writer->stop) {
		__u64 n = writer->n + 1;

		/* First, so that nobody sees a stamp that is newer. */
		__atomic_store_n(&writer->n, n, __ATOMIC_SEQ_CST);
		for (i = 0; i < writer->npages * psize / 8; i += 8)
			words[i] = stamp(n);
	}
	return NULL;
}

/* 14, 17, G2: what arrives has been written, each word as a whole, and does not change again. */
TEST_F(threads, move_takes_what_was_written)
{
	unsigned int i, n = loops(ROUNDS), old = 0;
	size_t words = M * psize / 8, k;
	struct writer writer = { .npages = M };
	__u64 *copy = malloc(M * psize);
	struct zcipc_recv m;

	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	writer.p = self->p;
	ASSERT_EQ(0, pthread_create(&writer.thread, NULL, writer_run, &writer));
	for (i = 0; i < n; i++) {
		const volatile __u64 *got;
		__u64 last;

		test_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, M * psize, 0);
		last = writer.n;
		test_recv(&self->b, &m);
		got = (const volatile __u64 *)(uintptr_t)m.addr;
		for (k = 0; k < words; k++) {
			copy[k] = got[k];
			ASSERT_TRUE(!copy[k] || (!(k % 8) && is_stamp(copy[k], last)))
				TH_LOG("word %zu: %llx of %llx", k, (long long)copy[k],
				       (long long)last);
			old += !!copy[k];
		}
		/* Until the sender has written to all of its new memory. */
		ASSERT_TRUE(wait_until(writer.n > last + 1));
		for (k = 0; k < words; k++)
			ASSERT_EQ(copy[k], got[k]);
		test_drop(&self->b, m.cap);
	}
	writer.stop = true;
	pthread_join(writer.thread, NULL);
	/* Some came in while there was something to be seen. */
	ASSERT_NE(0, old);
	guarded_free(self->p, M);
	free(copy);
}

/* What another thread does to parts of a range while it is imported and sent. */
struct disturber {
	pthread_t thread;
	char *p;
	volatile bool stop;
	volatile unsigned int n;
	unsigned int bad;
};

/* Sometimes nothing, so that some calls meet it and others do not. */
static bool disturb_next(struct disturber *d)
{
	if (!(++d->n % 8))
		msleep(1);
	return !d->stop;
}

/* Two pages, always others. */
static char *disturb_at(const struct disturber *d)
{
	return d->p + d->n * 3 % (M - 1) * psize;
}

static void *disturb_discard(void *arg)
{
	struct disturber *d = arg;

	while (disturb_next(d))
		madvise(disturb_at(d), 2 * psize, MADV_DONTNEED);
	return NULL;
}

static void *disturb_unmap(void *arg)
{
	struct disturber *d = arg;

	while (disturb_next(d)) {
		char *p = disturb_at(d);

		munmap(p, 2 * psize);
		if (mmap(p, 2 * psize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			d->bad++;
	}
	return NULL;
}

static void *disturb_protect(void *arg)
{
	struct disturber *d = arg;

	while (disturb_next(d)) {
		mprotect(disturb_at(d), 2 * psize, PROT_READ);
		mprotect(disturb_at(d), 2 * psize, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

/* Children that write to what they have inherited. */
static void *disturb_fork(void *arg)
{
	struct disturber *d = arg;
	int status;
	pid_t pid;
	size_t i;

	while (disturb_next(d)) {
		pid = fork();
		if (!pid) {
			for (i = 0; i < M; i++)
				touch_write(d->p + i * psize, 0xbad);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			d->bad++;
	}
	return NULL;
}

FIXTURE(disturbed)
{
	struct base base;
	struct ep a, b;
	struct disturber d;
	char *p;
};

FIXTURE_VARIANT(disturbed)
{
	void *(*run)(void *arg);
	bool loses;	/* contents */
};

FIXTURE_VARIANT_ADD(disturbed, discard) { .run = disturb_discard, .loses = true };
FIXTURE_VARIANT_ADD(disturbed, unmap) { .run = disturb_unmap, .loses = true };
FIXTURE_VARIANT_ADD(disturbed, protect) { .run = disturb_protect };
FIXTURE_VARIANT_ADD(disturbed, fork) { .run = disturb_fork };

FIXTURE_SETUP(disturbed)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	self->d.p = self->p;
	ASSERT_EQ(0, pthread_create(&self->d.thread, NULL, variant->run, &self->d));
}

FIXTURE_TEARDOWN(disturbed)
{
	if (self->d.thread) {
		self->d.stop = true;
		pthread_join(self->d.thread, NULL);
		EXPECT_EQ(0, self->d.bad);
		EXPECT_NE(0, self->d.n);
	}
	guarded_free(self->p, M);
	base_teardown(_metadata, &self->base);
}

/* Each page is as it was filled, or has been discarded, as a whole. */
static void disturbed_check(struct __test_metadata *_metadata,
			    const FIXTURE_VARIANT(disturbed) *variant, const char *p, size_t n,
			    __u64 seed)
{
	size_t i, k;

	for (i = 0; i < n; i++) {
		const __u64 *words = (const __u64 *)(p + i * psize);
		__u64 first, val;

		if (touch_read(words, &first)) {
			ASSERT_TRUE(variant->loses);
			continue;
		}
		ASSERT_TRUE(first == pattern(seed, i, 0) || (!first && variant->loses))
			TH_LOG("page %zu: %llx", i, (long long)first);
		for (k = 1; k < SAMPLES; k++) {
			if (touch_read(words + sample(k), &val))
				break;
			ASSERT_TRUE(val == pattern(seed, i, sample(k)) ||
				    (!val && variant->loses))
				TH_LOG("page %zu: %llx", i, (long long)val);
		}
	}
}

/* New memory, filled as far as the other one leaves it there. */
static void disturbed_memory(struct __test_metadata *_metadata, FIXTURE_DATA(disturbed) *self,
			     __u64 seed)
{
	size_t i, k;

	ASSERT_EQ(self->p, mmap(self->p, M * psize, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	for (i = 0; i < M; i++)
		for (k = 0; k < SAMPLES; k++)
			while (touch_write((__u64 *)(self->p + i * psize) + sample(k),
					   pattern(seed, i, sample(k))))
				sched_yield();
}

/* 12, 18, G8: imports succeed, or fail as the interface says, and show what was there. */
TEST_F(disturbed, import)
{
	unsigned int i, n = loops(ROUNDS), done = 0;
	struct buf buf;

	for (i = 0; i < n; i++) {
		disturbed_memory(_metadata, self, 1 + i % 100);
		if (zc_import(&self->a, self->p, M, &buf)) {
			ASSERT_TRUE(race_error(errno)) TH_LOG("%s", strerror(errno));
			disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
			continue;
		}
		done++;
		disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
		test_drop(&self->a, buf.cap);
	}
	TH_LOG("%u of %u", done, n);
}

/* 17, 18, G2, G8: and so does MOVE. Nobody but the receiver writes to what arrives. */
TEST_F(disturbed, move)
{
	unsigned int i, n = loops(ROUNDS), done = 0;
	struct zcipc_recv m;

	for (i = 0; i < n; i++) {
		disturbed_memory(_metadata, self, 1 + i % 100);
		if (zc_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, M * psize, 0)) {
			ASSERT_TRUE(race_error(errno)) TH_LOG("%s", strerror(errno));
			disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
			continue;
		}
		done++;
		test_recv(&self->b, &m);
		disturbed_check(_metadata, variant, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_fill(&self->b, (char *)(uintptr_t)m.addr, M, 200);
		sched_yield();
		test_check(&self->b, (char *)(uintptr_t)m.addr, M, 200);
		test_drop(&self->b, m.cap);
	}
	TH_LOG("%u of %u", done, n);
}

/* 17, 18, G4, G8: and so do SHARE and COPY, whose own capability nobody knows. */
TEST_F(disturbed, copy)
{
	unsigned int i, n = loops(ROUNDS), done = 0;
	struct zcipc_stats before, stats;
	struct zcipc_recv m;

	test_stats(&self->a, &before);
	for (i = 0; i < n; i++) {
		disturbed_memory(_metadata, self, 1 + i % 100);
		if (zc_direct(&self->a, &self->b, i % 2 ? ZCIPC_COPY : ZCIPC_SHARE, self->p,
			      M * psize, 0)) {
			/* ESTALE: it has been unmapped, and was gone before it was shared. */
			ASSERT_TRUE(race_error(errno) || errno == ESTALE)
				TH_LOG("%s", strerror(errno));
			disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
			continue;
		}
		done++;
		test_recv(&self->b, &m);
		disturbed_check(_metadata, variant, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_drop(&self->b, m.cap);
	}
	ASSERT_EQ(self->p, mmap(self->p, M * psize, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	test_stats(&self->a, &stats);
	ASSERT_EQ(before.user_pinned, stats.user_pinned);
	ASSERT_EQ(before.caps, stats.caps);
	TH_LOG("%u of %u", done, n);
}

/* 15, 18: a peer reads, by references to pages, what is imported and sent meanwhile. */
TEST_F(threads, read_by_a_peer)
{
	unsigned int i, n = loops(ROUNDS);
	volatile __u64 *count;
	struct zcipc_recv m;
	struct buf buf;
	int status;
	pid_t pid;
	__u64 last;

	self->p = guarded(M);
	count = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)count);
	ASSERT_NE(NULL, self->p);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		static __u64 words[64 * 1024 / 8];
		struct iovec local = { words, M * psize }, remote = { self->p, M * psize };
		size_t k;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (; !count[1]; count[0]++) {
			ssize_t got = process_vm_readv(getppid(), &local, 1, &remote, 1, 0);

			if (got < 0 && errno != EFAULT)
				_exit(1);
			for (k = 0; got > 0 && k < (size_t)got / psize; k++)
				if (words[k * 512] && words[k * 512] >> 40 << 40 !=
				    (pattern(words[k * 512] >> 48, k, 0) >> 40 << 40))
					_exit(2);
		}
		_exit(0);
	}
	ASSERT_TRUE(wait_until(count[0]));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, fill(self->p, M, 1 + i % 100));
		test_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, M * psize, 0);
		test_recv(&self->b, &m);
		test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_check(&self->a, self->p, M, 0);
		test_drop(&self->b, m.cap);
		ASSERT_EQ(0, fill(self->p, M, 1 + i % 100));
		test_import(&self->a, self->p, M, &buf);
		test_check(&self->a, self->p, M, 1 + i % 100);
		test_send(&self->a, &self->b, ZCIPC_MOVE, buf.cap);
		test_recv(&self->b, &m);
		test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_drop(&self->b, m.cap);
		ASSERT_EQ(self->p, mmap(self->p, M * psize, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	}
	last = count[0];
	ASSERT_TRUE(wait_until(count[0] > last));
	count[1] = 1;
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	guarded_free(self->p, M);
}

/* Two threads take the same memory at the same time. */
struct taker {
	pthread_t thread;
	struct ep *from, *to;
	char *p;
	size_t npages;
	int rc, err;
};

static void *taker_run(void *arg)
{
	struct taker *t = arg;

	t->rc = zc_direct(t->from, t->to, ZCIPC_MOVE, t->p, t->npages * psize, 0);
	t->err = errno;
	return NULL;
}

FIXTURE(twice)
{
	struct base base;
	struct ep a, b, c, d;
	struct taker takers[2];
	char *p;
};

FIXTURE_VARIANT(twice)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(twice, small) { };
FIXTURE_VARIANT_ADD(twice, huge) { .huge = true };

FIXTURE_SETUP(twice)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->d, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	self->p = variant->huge ? guarded_huge_filled(M) : guarded(M);
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, fill(self->p, M, 1));
}

FIXTURE_TEARDOWN_BASE(twice)

/* 15, 17, G2: pages that both have pinned before either has taken them: no two owners of one. */
TEST_F(twice, moved)
{
	struct taker *t = self->takers;
	struct zcipc_recv m, m2;
	int i;

	need_points();
	t[0] = (struct taker){ .from = &self->a, .to = &self->b, .p = self->p, .npages = M };
	t[1] = (struct taker){ .from = &self->d, .to = &self->c, .p = self->p, .npages = M };
	point_stop("prepared");
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, taker_run, &t[i]));
		ASSERT_TRUE(point_reached_by(i + 1));
	}
	point_go();
	for (i = 0; i < 2; i++)
		pthread_join(t[i].thread, NULL);
	ASSERT_EQ(0, t[0].rc) TH_LOG("%s", strerror(t[0].err));
	ASSERT_EQ(0, t[1].rc) TH_LOG("%s", strerror(t[1].err));
	test_recv(&self->b, &m);
	test_recv(&self->c, &m2);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, M, 2);
	test_fill(&self->c, (char *)(uintptr_t)m2.addr, M, 3);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 2);
	test_check(&self->c, (char *)(uintptr_t)m2.addr, M, 3);
	test_check(&self->a, self->p, M, 0);
}

/* --- debuggers */

/* One of a process that stands still for it: by ptrace(), word by word, or by /proc. */
struct debugger {
	const char *name;
	int (*peek)(pid_t pid, const char *p, __u64 *val);
	int (*poke)(pid_t pid, const char *p, __u64 val);
};

static int ptrace_stop(pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return -1;
	return waitpid(pid, NULL, __WALL) == pid ? 0 : -1;
}

static int peek_ptrace(pid_t pid, const char *p, __u64 *val)
{
	int err;

	if (ptrace_stop(pid))
		return -2;
	errno = 0;
	*val = ptrace(PTRACE_PEEKDATA, pid, p, 0);
	err = errno;
	ptrace(PTRACE_DETACH, pid, 0, 0);
	errno = err;
	return err ? -1 : 0;
}

static int poke_ptrace(pid_t pid, const char *p, __u64 val)
{
	int rc, err;

	if (ptrace_stop(pid))
		return -2;
	rc = ptrace(PTRACE_POKEDATA, pid, p, val) ? -1 : 0;
	err = errno;
	ptrace(PTRACE_DETACH, pid, 0, 0);
	errno = err;
	return rc;
}

static int proc_mem(pid_t pid, const char *p, __u64 *val, bool write)
{
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -2;
	n = write ? pwrite(fd, val, 8, (uintptr_t)p) : pread(fd, val, 8, (uintptr_t)p);
	close(fd);
	return n == 8 ? 0 : -1;
}

static int peek_proc(pid_t pid, const char *p, __u64 *val)
{
	return proc_mem(pid, p, val, false);
}

static int poke_proc(pid_t pid, const char *p, __u64 val)
{
	return proc_mem(pid, p, &val, true);
}

FIXTURE(debugger)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	char *p;
};

FIXTURE_VARIANT(debugger)
{
	int (*peek)(pid_t pid, const char *p, __u64 *val);
	int (*poke)(pid_t pid, const char *p, __u64 val);
};

FIXTURE_VARIANT_ADD(debugger, ptrace) { .peek = peek_ptrace, .poke = poke_ptrace };
FIXTURE_VARIANT_ADD(debugger, proc) { .peek = peek_proc, .poke = poke_proc };

FIXTURE_SETUP(debugger)
{
	base_setup(_metadata, &self->base);
	test_start(&self->a, true, WINDOW_PAGES);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	self->p = test_memory(&self->a, M, 1);
	test_import(&self->a, self->p, M, &self->src);
}

FIXTURE_TEARDOWN_BASE(debugger)

#define test_peek(ep, p, want)						\
do {									\
	__u64 __val = 0;						\
									\
	ASSERT_EQ(0, variant->peek((ep)->pid, p, &__val))		\
		TH_LOG("%s", strerror(errno));				\
	ASSERT_EQ((__u64)(want), __val);				\
} while (0)
#define test_poke(ep, p, val)						\
	ASSERT_EQ(0, variant->poke((ep)->pid, p, val)) TH_LOG("%s", strerror(errno))
#define test_err_peek(ep, p)						\
do {									\
	__u64 __val = 0;						\
									\
	ASSERT_EQ(-1, variant->peek((ep)->pid, p, &__val));		\
	ASSERT_EQ(0, __val & ~-1ULL);					\
} while (0)
#define test_err_poke(ep, p)	ASSERT_EQ(-1, variant->poke((ep)->pid, p, 0xbad))
#define test_word(ep, p, want)						\
do {									\
	__u64 __val = 0;						\
									\
	ASSERT_EQ(0, ep_read(ep, p, &__val));				\
	ASSERT_EQ((__u64)(want), __val);				\
} while (0)

/* G10: where it was adopted, wherever it goes, and across the end of a page. */
TEST_F(debugger, sees_and_changes)
{
	struct ep *at[] = { &self->a, &self->b, &self->c };
	char *p = self->p, *edge;
	struct buf buf = self->src;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		if (i)
			test_pass(at[i - 1], at[i], ZCIPC_MOVE, buf.cap, &buf);
		p = buf.p;
		test_peek(at[i], p, i ? 70 + i - 1 : pattern(1, 0, 0));
		test_peek(at[i], p + 3 * psize + 800, pattern(1, 3, 100));
		test_poke(at[i], p, 70 + i);
		test_word(at[i], p, 70 + i);
		/* The last word of one page and the first of the next. */
		edge = p + 5 * psize - 4;
		test_poke(at[i], edge, 0x1111111122222222 + i);
		test_peek(at[i], edge, 0x1111111122222222 + i);
		test_word(at[i], edge, 0x1111111122222222 + i);
		test_word(at[i], p + 2 * psize, pattern(1, 2, 0));
		/* Behind the end there is nothing. */
		test_peek(at[i], p + M * psize - 8, pattern(1, M - 1, 511));
		if (i)
			test_err_peek(at[i], p + M * psize);
	}
	/* Where it was there is nothing to be seen, and nobody to be reached. */
	test_err_peek(&self->a, self->p);
	test_err_poke(&self->a, self->p);
	test_err_poke(&self->a, self->p + 3 * psize);
	test_word(&self->c, p, 72);
	test_word(&self->c, p + 3 * psize, pattern(1, 3, 0));
}

/* 7, G6: who may only read cannot write through a debugger. */
TEST_F(debugger, keeps_to_rights)
{
	struct call protect = { .fn = call_munmap, .addr = (uintptr_t)self->p, .n = psize };
	struct buf dst;

	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	test_peek(&self->b, dst.p, pattern(1, 0, 0));
	test_err_poke(&self->b, dst.p);
	test_err_poke(&self->b, dst.p + psize);
	/* Not before it has been touched, and not when it is a snapshot's page too. */
	test_drop(&self->b, dst.cap);
	test_err_peek(&self->b, dst.p);
	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	test_send(&self->a, &self->c, ZCIPC_COPY, self->src.cap);
	test_err_poke(&self->b, dst.p);
	test_check(&self->a, self->p, M, 1);
	/* The owner can, and the other sees it. */
	test_poke(&self->a, self->p, 9);
	test_peek(&self->b, dst.p, 9);
	/* What is not mapped any more is not there. */
	ASSERT_EQ(0, ep_call(&self->a, &protect));
	test_err_peek(&self->a, self->p);
	test_err_poke(&self->a, self->p);
	test_peek(&self->a, self->p + psize, pattern(1, 1, 0));
	test_peek(&self->b, dst.p, 9);
}

/* G4: a poke is a write: the snapshot keeps what it has, whoever is poked. */
TEST_F(debugger, breaks_snapshots)
{
	struct zcipc_region_query q;
	struct zcipc_stats before, after;
	struct buf copy;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	test_stats(&self->base.ep, &before);
	test_poke(&self->a, self->p + 8, 5);
	test_word(&self->b, copy.p + 8, pattern(1, 0, 1));
	test_peek(&self->b, copy.p + 8, pattern(1, 0, 1));
	test_poke(&self->b, copy.p + psize, 6);
	test_word(&self->a, self->p + psize, pattern(1, 1, 0));
	test_poke(&self->b, copy.p + 3 * psize - 4, 0x3333333344444444);
	test_peek(&self->a, self->p + 3 * psize, pattern(1, 3, 0));
	test_peek(&self->b, copy.p + 3 * psize - 4, 0x3333333344444444);
	test_stats(&self->base.ep, &after);
	/* Pages 0, 1, 2 and 3, and no other. */
	ASSERT_EQ(before.copied_write + 4 * psize, after.copied_write);
	test_query(&self->b, copy.cap, &q);
	ASSERT_EQ((M - 4) * psize, q.shared);
	test_word(&self->a, self->p, pattern(1, 0, 0));
	test_word(&self->a, self->p + 8, 5);
	test_check_from(&self->a, self->p + 2 * psize, 2, M - 2, 1);
	test_check(&self->b, copy.p, 1, 1);
	test_check_from(&self->b, copy.p + 4 * psize, 4, M - 4, 1);
}

/* --- those who take pages */

static long call_take(struct ep *ep, struct call *c)
{
	struct iovec iov = { (void *)(uintptr_t)c->addr, c->n };
	struct io_uring_params params = {};
	int fds[2], rc = -1, ring;

	(void)ep;
	switch (c->val) {
	case 0:
	case 1:
		if (pipe(fds))
			return -2;
		rc = vmsplice(fds[1], &iov, 1, c->val ? SPLICE_F_GIFT : 0);
		break;
	case 2:
		ring = syscall(SYS_io_uring_setup, 4, &params);
		if (ring < 0)
			return -2;
		rc = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1);
		break;
	}
	return rc;
}

/* G10: documented: they get EFAULT, wherever the memory is, and nothing happens to it. */
TEST_F(debugger, takers_of_pages_fail)
{
	struct iovec local, remote;
	char text[16] = "0123456789abcde";
	struct ep *at = &self->a;
	struct buf buf = self->src;
	__u64 way;
	int i;

	for (i = 0; i < 2; i++) {
		local = (struct iovec){ text, 16 };
		remote = (struct iovec){ buf.p + 16, 16 };
		TEST_ERR(EFAULT, process_vm_readv(at->pid, &local, 1, &remote, 1, 0));
		TEST_ERR(EFAULT, process_vm_writev(at->pid, &local, 1, &remote, 1, 0));
		ASSERT_EQ(0, strcmp(text, "0123456789abcde"));
		for (way = 0; way < 3; way++) {
			struct call take = { .fn = call_take, .addr = (uintptr_t)buf.p,
					     .n = psize, .val = way };
			int rc = ep_call(at, &take);

			if (rc == -2)
				continue;
			ASSERT_EQ(-1, rc);
			TH_LOG("%llu: %s", (long long)way, strerror(errno));
			/* 6.1's io_uring has another errno for what is a file's. */
			ASSERT_TRUE(errno == EFAULT || errno == EEXIST ||
				    (way == 2 && errno == EOPNOTSUPP))
				TH_LOG("%llu: %s", (long long)way, strerror(errno));
		}
		test_check(at, buf.p, M, 1);
		test_pass(at, &self->b, ZCIPC_MOVE, buf.cap, &buf);
		at = &self->b;
	}
	/* Who copies has no need of that. */
	test_check(at, buf.p, M, 1);
}

/* --- userfaultfd */

/* 12, 19: memory that userfaultfd watches is its owner's to fill. */
TEST_F(threads, userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg;
	struct zcipc_recv m;
	struct buf buf;
	__u32 type;
	int fd;

	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, fill(self->p, M, 1));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	/* Not all of it. */
	reg = (struct uffdio_register){
		.range = { .start = (uintptr_t)self->p + 3 * psize, .len = 2 * psize },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	test_err_import(EOPNOTSUPP, &self->a, self->p, M, &buf);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, self->p, M * psize, 0);
	test_check(&self->a, self->p, M, 1);
	ASSERT_EQ(0, mappings(self->p, self->p + M * psize, ZCIPC_DEVICE));
	test_direct(&self->a, &self->b, ZCIPC_COPY, self->p, M * psize, ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1);
	test_drop(&self->b, m.cap);
	/* Beside it all is as ever. */
	test_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, 3 * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 3, 1);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
	test_import(&self->a, self->p + 3 * psize, M - 3, &buf);
	test_check_from(&self->a, buf.p, 3, M - 3, 1);
	/* And what has been adopted cannot be watched. */
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	ASSERT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	reg.mode = UFFDIO_REGISTER_MODE_WP;
	ASSERT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	close(fd);
	guarded_free(self->p, M);
}

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
TEST_F(load, contents)
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

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Imported memory at its limits: what users may pin, and own.
 *
 * Guarantees: G3 all or nothing, G8, G11 bounded.
 * Attacks: 28 RLIMIT_MEMLOCK and quota.
 */
#include <sched.h>
#include <sys/resource.h>

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
			QUOTA_MORE * psize, 0);
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

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that was there before: adopted where it is, and sent straight from it.
 *
 * Guarantees: G1 zero-copy, G2 MOVE, G3, G4 snapshots, G5, G10, G11 limits.
 * Attacks: 8 and 9 pins, 12 races with the owner, 15 pins and MOVE, 19 kinds of memory, 20 KSM,
 * 21 memory that is not provided, 28 with pins.
 */
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "zcipc_utils.h"
#include "lib/fuse.h"

#define N 8

/* --- kinds of memory */

FIXTURE(adopt)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	__u64 seed;
};

FIXTURE_VARIANT(adopt)
{
	char *(*memory)(size_t npages);
	__u64 seed;
	bool part_of_huge;		/* if there is one: copied as long as the rest is mapped */
};

FIXTURE_VARIANT_ADD(adopt, touched) { .memory = memory_touched, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, untouched) { .memory = anonymous };
FIXTURE_VARIANT_ADD(adopt, read) { .memory = memory_read };
FIXTURE_VARIANT_ADD(adopt, forked) { .memory = memory_forked, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, mixed) { .memory = memory_mixed, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, locked) { .memory = memory_locked, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, huge) { .memory = memory_huge, .seed = 1, .part_of_huge = true };
FIXTURE_VARIANT_ADD(adopt, paged_out) { .memory = memory_paged_out, .seed = 1 };
FIXTURE_VARIANT_ADD(adopt, malloc) { .memory = memory_malloc, .seed = 1 };

FIXTURE_SETUP(adopt)
{
	char *p;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->c, WINDOW_PAGES, O_NONBLOCK);
	p = variant->memory(N);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_NE(NULL, p);
	self->seed = variant->seed;
	test_import(&self->a, p, N, &self->src);
}

/* The mappings keep the endpoint. */
FIXTURE_TEARDOWN(adopt)
{
	munmap(self->src.p, N * psize);
	base_teardown(_metadata, &self->base);
}

/* Nothing changes for the owner. */
TEST_F(adopt, contents)
{
	struct zcipc_region_query q;

	test_check(&self->a, self->src.p, N, self->seed);
	test_fill(&self->a, self->src.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_query(&self->a, self->src.cap, &q);
	ASSERT_EQ(N * psize, q.len);
	ASSERT_EQ(N * psize, q.present);
	ASSERT_EQ(0, q.shared);
	ASSERT_EQ(1, q.maps);
	ASSERT_EQ(RIGHTS_ALL, q.rights);
}

TEST_F(adopt, move)
{
	struct zcipc_stats before, after;
	struct zcipc_recv m;

	test_stats(&self->a, &before);
	test_send(&self->a, &self->b, ZCIPC_MOVE, self->src.cap);
	test_stats(&self->a, &after);
	if (!variant->part_of_huge)
		ASSERT_EQ(before.copied_held, after.copied_held);
	test_gone(&self->a, self->src.p, N);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, self->seed);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 3);
	/* And on, and back. */
	test_send(&self->b, &self->c, ZCIPC_MOVE, m.cap);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, N, 3);
	test_fill(&self->c, (char *)(uintptr_t)m.addr, N, 4);
	test_send(&self->c, &self->a, ZCIPC_MOVE, m.cap);
	test_recv(&self->a, &m);
	test_check(&self->a, (char *)(uintptr_t)m.addr, N, 4);
	test_fill(&self->a, (char *)(uintptr_t)m.addr, N, 5);
	test_check(&self->a, (char *)(uintptr_t)m.addr, N, 5);
	test_gone(&self->a, self->src.p, N);
	test_stats(&self->a, &after);
	if (!variant->part_of_huge)
		ASSERT_EQ(before.copied_held, after.copied_held);
}

TEST_F(adopt, move_part)
{
	struct zcipc_recv m;

	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 2, 3);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 2, 3, self->seed);
	test_check(&self->a, self->src.p, 2, self->seed);
	test_gone(&self->a, self->src.p + 2 * psize, 3);
	test_check_from(&self->a, self->src.p + 5 * psize, 5, N - 5, self->seed);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, 3, 3);
	test_fill(&self->a, self->src.p + 5 * psize, N - 5, 4);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 3, 3);
}

TEST_F(adopt, share)
{
	struct zcipc_recv m;
	char *p;
	__u64 n;

	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_check(&self->b, p, N, self->seed);
	test_fill(&self->b, p, N, 3);
	test_check(&self->a, self->src.p, N, 3);
	test_fill(&self->a, self->src.p, N, 4);
	test_check(&self->b, p, N, 4);
	/* Read-only is read-only. */
	test_send_rights(&self->a, &self->c, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, N, 4);
	test_touch_write(SIGBUS, &self->c, (char *)(uintptr_t)m.addr);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	ASSERT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, (char *)(uintptr_t)m.addr, N);
	test_check(&self->a, self->src.p, N, 4);
}

TEST_F(adopt, copy)
{
	struct zcipc_recv m, m2;
	char *p, *p2;

	test_send(&self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_fill(&self->a, self->src.p, N, 3);
	test_check(&self->b, p, N, self->seed);
	test_send(&self->b, &self->c, ZCIPC_COPY, m.cap);
	test_recv(&self->c, &m2);
	p2 = (char *)(uintptr_t)m2.addr;
	test_fill(&self->b, p, N, 4);
	test_check(&self->c, p2, N, self->seed);
	test_check(&self->a, self->src.p, N, 3);
	test_drop(&self->b, m.cap);
	test_fill(&self->c, p2, N, 5);
	test_check(&self->c, p2, N, 5);
	test_check(&self->a, self->src.p, N, 3);
}

TEST_F(adopt, owner_dies_not)
{
	struct zcipc_recv m;

	/* The mapping goes, the memory stays with the one who has it. */
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	ASSERT_EQ(0, munmap(self->src.p, N * psize));
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, self->seed);
	test_drop(&self->a, self->src.cap);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, self->seed);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 6);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 6);
}

/* G8: who gives up the capability for its memory keeps the memory, until it is unmapped. */
TEST_F(adopt, dropped)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf dst;
	char *p;

	test_stats(&self->a, &before);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
	test_drop(&self->a, self->src.cap);
	test_err_drop(ESTALE, &self->a, self->src.cap);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->a, self->src.p, N, self->seed);
	test_fill(&self->a, self->src.p, N, 6);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 6);
	test_drop(&self->b, m.cap);
	test_check(&self->a, self->src.p, N, 6);
	test_stats(&self->a, &after);
	EXPECT_EQ(before.user_pinned, after.user_pinned);
	EXPECT_EQ(before.caps, after.caps);
	/* It can still be sent, and what of it is sent is gone. */
	cmd = direct_cmd(&self->b, ZCIPC_COPY, self->src.p, N * psize, 0);
	test_transfer(&self->a, &cmd);
	if (!variant->part_of_huge)
		EXPECT_EQ(N, cmd.pages);
	test_take(&self->b, &dst);
	ASSERT_EQ(0, munmap(self->src.p, N * psize));
	test_check(&self->b, dst.p, N, 6);
	test_drop(&self->b, dst.cap);
	test_stats(&self->a, &after);
	EXPECT_EQ(before.caps - 1, after.caps);
	EXPECT_EQ(before.regions - 1, after.regions);
	EXPECT_GE(before.user_pinned - N, after.user_pinned);
}

/* As unmapped in parts, and with no endpoint's descriptor left but that of the mapping. */
TEST_F(adopt, dropped_and_closed)
{
	test_drop(&self->a, self->src.cap);
	ASSERT_EQ(0, munmap(self->src.p + psize, psize));
	close(self->a.fd);
	self->a.fd = -1;
	munmap(self->a.win, self->a.npages * psize);
	self->a.win = NULL;
	test_check(&self->a, self->src.p, 1, self->seed);
	test_check_from(&self->a, self->src.p + 2 * psize, 2, N - 2, self->seed);
	ASSERT_EQ(0, munmap(self->src.p, N * psize));
}

/* --- straight from memory */

FIXTURE(direct)
{
	struct base base;
	struct ep a, b, c;
	char *p;
	__u64 seed;
};

FIXTURE_VARIANT(direct)
{
	char *(*memory)(size_t npages);
	__u64 seed;
	bool part_of_huge;		/* if there is one: copied as long as the rest is mapped */
};

FIXTURE_VARIANT_ADD(direct, touched) { .memory = memory_touched, .seed = 1 };
FIXTURE_VARIANT_ADD(direct, untouched) { .memory = anonymous };
FIXTURE_VARIANT_ADD(direct, read) { .memory = memory_read };
FIXTURE_VARIANT_ADD(direct, forked) { .memory = memory_forked, .seed = 1 };
FIXTURE_VARIANT_ADD(direct, mixed) { .memory = memory_mixed, .seed = 1 };
FIXTURE_VARIANT_ADD(direct, locked) { .memory = memory_locked, .seed = 1 };
FIXTURE_VARIANT_ADD(direct, huge) { .memory = memory_huge, .seed = 1, .part_of_huge = true };
FIXTURE_VARIANT_ADD(direct, paged_out) { .memory = memory_paged_out, .seed = 1 };
FIXTURE_VARIANT_ADD(direct, malloc) { .memory = memory_malloc, .seed = 1 };

FIXTURE_SETUP(direct)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->c, WINDOW_PAGES, O_NONBLOCK);
	self->p = variant->memory(N);
	ASSERT_NE(MAP_FAILED, self->p);
	ASSERT_NE(NULL, self->p);
	self->seed = variant->seed;
}

FIXTURE_TEARDOWN(direct)
{
	munmap(self->p, N * psize);
	base_teardown(_metadata, &self->base);
}

/* The pages go, and what is there now is new. */
TEST_F(direct, move)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_MOVE, self->p, N * psize, 0);
	struct zcipc_recv m;
	int round;

	for (round = 0; round < 3; round++) {
		test_transfer(&self->a, &cmd);
		if (!variant->part_of_huge)
			ASSERT_EQ(0, cmd.copied);
		ASSERT_EQ(N * psize, cmd.pages * psize + cmd.copied);
		test_check(&self->a, self->p, N, 0);
		test_fill(&self->a, self->p, N, 9 + round);
		test_recv(&self->b, &m);
		ASSERT_EQ(N * psize, m.len);
		ASSERT_EQ(0, m.offset);
		ASSERT_EQ(RIGHTS_ALL, m.rights);
		test_check(&self->b, (char *)(uintptr_t)m.addr, N,
			   round ? 8ULL + round : self->seed);
		test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 30);
		test_check(&self->a, self->p, N, 9 + round);
		if (round == 1)
			test_drop(&self->b, m.cap);
	}
}

TEST_F(direct, move_to_oneself)
{
	struct zcipc_recv m;

	test_direct(&self->a, &self->c, ZCIPC_MOVE, self->p + psize, 2 * psize, 0);
	test_recv(&self->c, &m);
	test_check_from(&self->c, (char *)(uintptr_t)m.addr, 1, 2, self->seed);
	test_check(&self->a, self->p, 1, self->seed);
	test_check(&self->a, self->p + psize, 2, 0);
	test_check_from(&self->a, self->p + 3 * psize, 3, N - 3, self->seed);
	test_direct(&self->a, &self->a, ZCIPC_MOVE, self->p, psize, ZCIPC_F_UNMAP);
	test_touch_read(SIGSEGV, &self->a, self->p);
	test_recv(&self->a, &m);
	test_check(&self->a, (char *)(uintptr_t)m.addr, 1, self->seed);
}

/* It stays, as a region that goes with its mapping. */
TEST_F(direct, share)
{
	struct zcipc_recv m;
	char *p;

	test_direct(&self->a, &self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_check(&self->b, p, N, self->seed);
	test_fill(&self->a, self->p, N, 2);
	test_check(&self->b, p, N, 2);
	test_fill(&self->b, p, N, 3);
	test_check(&self->a, self->p, N, 3);
	/* Now it is one: a part of it can be sent too. */
	test_direct(&self->a, &self->c, ZCIPC_COPY, self->p + psize, 3 * psize, 0);
	test_fill(&self->a, self->p, N, 4);
	test_recv(&self->c, &m);
	test_check_from(&self->c, (char *)(uintptr_t)m.addr, 1, 3, 3);
	test_check(&self->b, p, N, 4);
}

TEST_F(direct, copy)
{
	struct zcipc_stats stats;
	struct zcipc_recv m[3];
	int i;

	for (i = 0; i < 3; i++) {
		test_direct(&self->a, &self->b, ZCIPC_COPY, self->p, N * psize, 0);
		test_fill(&self->a, self->p, N, 2 + i);
	}
	for (i = 0; i < 3; i++)
		test_recv(&self->b, &m[i]);
	for (i = 0; i < 3; i++)
		test_check(&self->b, (char *)(uintptr_t)m[i].addr, N, i ? 1ULL + i : self->seed);
	/* Nobody knows the sender's capability. It goes with the mapping, also in parts. */
	test_stats(&self->a, &stats);
	ASSERT_EQ(4, stats.caps);
	ASSERT_EQ(0, munmap(self->p + psize, psize));
	ASSERT_EQ(0, munmap(self->p, psize));
	test_stats(&self->a, &stats);
	ASSERT_EQ(4, stats.caps);
	ASSERT_EQ(0, munmap(self->p + 2 * psize, (N - 2) * psize));
	test_stats(&self->a, &stats);
	ASSERT_EQ(3, stats.caps);
	test_check(&self->b, (char *)(uintptr_t)m[0].addr, N, self->seed);
}

/* What does not work changes nothing. */
TEST_F(direct, fails)
{
	struct zcipc_transfer cmd;
	struct ep small, dead;
	size_t len = N * psize;
	struct buf full;
	__u32 type;

	test_open(&small, N - 1, O_NONBLOCK);
	test_open(&dead, N, 0);
	ep_end(&dead);
	test_depth(&self->c, 1);
	test_create(&self->a, 1, &full);
	test_send(&self->a, &self->c, ZCIPC_COPY, full.cap);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		test_err_direct(EINVAL, &self->a, &self->b, type, self->p + 8, len - 8, 0);
		test_err_direct(EINVAL, &self->a, &self->b, type, self->p, len - 8, 0);
		test_err_direct(EINVAL, &self->a, &self->b, type, self->p, 0, 0);
		test_err_direct(EINVAL, &self->a, &self->b, type, self->p, -psize, 0);
		test_err_direct(EINVAL, &self->a, &self->b, type, (void *)(-4 * psize), psize, 0);
		test_err_direct(EINVAL, &self->a, &self->b, type, self->p, len,
				ZCIPC_F_REVOKE_OTHERS);
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, self->p, len,
				ZCIPC_F_NODE_STRICT);
		cmd = direct_cmd(&self->b, type, self->p, len, 0);
		cmd.cap = full.cap;
		test_err_transfer(EINVAL, &self->a, &cmd);
		cmd = direct_cmd(&self->b, type, self->p, len, 0);
		cmd.cache = ZCIPC_CACHE_STREAMING;
		test_err_transfer(EOPNOTSUPP, &self->a, &cmd);
		cmd = direct_cmd(&self->b, type, self->p, len, 0);
		cmd.flags &= ~(ZCIPC_F_FROM_MEMORY | ZCIPC_F_IMPORT);
		test_err_transfer(ENOENT, &self->a, &cmd);
		if (type == ZCIPC_MOVE)
			continue;
		test_err_direct(EINVAL, &self->a, &self->b, type, self->p, len, ZCIPC_F_UNMAP);
	}
	test_err_direct(EINVAL, &self->a, &self->b, ZCIPC_SHARE, self->p, len, ZCIPC_F_COPY_OK);
	test_err_direct(EINVAL, &self->a, &self->b, ZCIPC_SHARE, self->p, len, ZCIPC_F_ANY_ALIGN);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		test_err_direct(ENOBUFS, &self->a, &small, type, self->p, len, 0);
		test_err_direct(ESRCH, &self->a, &dead, type, self->p, len, 0);
		test_err_direct(EAGAIN, &self->a, &self->c, type, self->p, len, 0);
		test_check(&self->a, self->p, N, self->seed);
	}
	test_fill(&self->a, self->p, N, 7);
	test_check(&self->a, self->p, N, 7);
}

/* --- any pointer and length */

#define BYTES (5 * psize)

static void bytes_fill(unsigned char *p, size_t n, unsigned int seed)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (seed + i * 7 + (i >> 8)) | 1;
}

static int call_bytes(const unsigned char *p, size_t from, size_t n, unsigned int seed)
{
	size_t i;

	for (i = from; i < from + n; i++)
		if (p[i - from] != (unsigned char)((seed + i * 7 + (i >> 8)) | 1))
			return i + 1;
	return 0;
}

static long call_check_bytes(struct ep *ep, struct call *c)
{
	const unsigned char *page = (void *)(uintptr_t)(c->addr & ~(psize - 1));
	const unsigned char *p = (void *)(uintptr_t)c->addr;
	size_t i;

	(void)ep;
	/* Beside it there is nothing. */
	for (i = 0; page + i < p; i++)
		if (page[i])
			return -1;
	for (i = (uintptr_t)p % psize + c->n; i % psize; i++)
		if (page[i])
			return -2;
	return call_bytes(p, c->val, c->n, 5);
}

static int ep_check_bytes(struct ep *ep, __u64 addr, size_t from, size_t n)
{
	struct call c = { .fn = call_check_bytes, .addr = addr, .n = n, .val = from };

	return ep_call(ep, &c);
}

FIXTURE(bytes)
{
	struct base base;
	struct ep a, b;
	unsigned char *p;
};

FIXTURE_SETUP(bytes)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	self->p = (unsigned char *)anonymous(BYTES / psize);
	ASSERT_NE(MAP_FAILED, (void *)self->p);
}

FIXTURE_TEARDOWN_BASE(bytes)

TEST_F(bytes, any)
{
	const size_t from[] = { 0, 1, 8, psize - 1, psize, psize + 1, psize + 1904, 2 * psize - 1 };
	const size_t lens[] = { 1, 5, psize - 1, psize, psize + 1, 2 * psize - 1, 2 * psize,
				2 * psize + 1, 3 * psize - 288 };
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	size_t i, k, j, whole;

	for (i = 0; i < ARRAY_SIZE(from); i++) {
		for (k = 0; k < ARRAY_SIZE(lens); k++) {
			size_t to = from[i] + lens[k];

			bytes_fill(self->p, BYTES, 5);
			cmd = direct_cmd(&self->b, ZCIPC_MOVE, self->p + from[i], lens[k],
					 ZCIPC_F_ANY_ALIGN);
			test_transfer(&self->a, &cmd);
			whole = (to & ~(psize - 1)) > ((from[i] + psize - 1) & ~(psize - 1)) ?
				to / psize - (from[i] + psize - 1) / psize : 0;
			ASSERT_EQ(whole, cmd.pages);
			ASSERT_EQ(lens[k] - whole * psize, cmd.copied);
			/* Gone where it was, and nothing else. */
			ASSERT_EQ(0, call_bytes(self->p, 0, from[i], 5));
			for (j = from[i]; j < to; j++)
				ASSERT_EQ(0, self->p[j]);
			ASSERT_EQ(0, call_bytes(self->p + to, to, BYTES - to, 5));
			test_recv(&self->b, &m);
			ASSERT_EQ(lens[k], m.len);
			ASSERT_EQ(from[i] % psize, m.offset);
			ASSERT_EQ(from[i] % psize, m.addr % psize);
			ASSERT_EQ(0, ep_check_bytes(&self->b, m.addr, from[i], m.len));
			test_drop(&self->b, m.cap);
		}
	}
}

#ifndef PR_SET_TAGGED_ADDR_CTRL
#define PR_SET_TAGGED_ADDR_CTRL	55
#define PR_TAGGED_ADDR_ENABLE	1UL
#endif

/* The CPU ignores the top byte, so each call that takes memory does, too. */
static void *tagged(const void *p)
{
	return (void *)((uintptr_t)p | 0x2aUL << 56);
}

TEST_F(bytes, tagged)
{
	struct zcipc_region_ordinary ordinary = { .size = sizeof(ordinary), .len = 2 * psize };
	char *p = (char *)self->p;
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf buf;

	if (prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0))
		SKIP(return, "pointers have no tags here");
	/* Pages, and parts of others at both ends. */
	bytes_fill(self->p, BYTES, 5);
	cmd = direct_cmd(&self->b, ZCIPC_MOVE, tagged(p + 9), 2 * psize, ZCIPC_F_ANY_ALIGN);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ((uintptr_t)tagged(p + 9), cmd.offset);
	ASSERT_EQ(1, cmd.pages);
	ASSERT_EQ(psize, cmd.copied);
	ASSERT_EQ(0, p[9]);
	ASSERT_EQ(0, p[2 * psize + 8]);
	ASSERT_EQ(0, call_bytes(self->p + 2 * psize + 9, 2 * psize + 9, BYTES - 2 * psize - 9, 5));
	test_recv(&self->b, &m);
	ASSERT_EQ(9, m.offset);
	ASSERT_EQ(0, ep_check_bytes(&self->b, m.addr, 9, m.len));
	test_drop(&self->b, m.cap);
	/* Copies, and a region of it; what is a region is found by such a pointer, too. */
	fill(p, 2, 6);
	cmd = direct_cmd(&self->b, ZCIPC_COPY, tagged(p), 2 * psize, 0);
	cmd.flags &= ~ZCIPC_F_IMPORT;
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(2 * psize, cmd.copied);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 2, 6);
	test_drop(&self->b, m.cap);
	test_import(&self->a, tagged(p), 2, &buf);
	test_direct(&self->a, &self->b, ZCIPC_SHARE, tagged(p), 2 * psize, 0);
	test_recv(&self->b, &m);
	ASSERT_EQ(buf.region, m.region);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 2, 6);
	test_drop(&self->b, m.cap);
	ordinary.addr = (uintptr_t)tagged(p);
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_REGION_ORDINARY, &ordinary));
	ASSERT_EQ(2 * psize, ordinary.copied);
	test_check(&self->a, p, 2, 6);
	test_drop(&self->a, buf.cap);
	/* In a window. */
	test_create(&self->a, 2, &buf);
	test_unmap(&self->a, tagged(buf.p));
	test_touch_read(SIGBUS, &self->a, buf.p);
	test_drop(&self->a, buf.cap);
	/* Nothing but a tag is overlooked. */
	cmd = direct_cmd(&self->b, ZCIPC_MOVE, (void *)((uintptr_t)p | 1UL << 55), psize, 0);
	test_err_transfer(EINVAL, &self->a, &cmd);
}

/* The same with a snapshot, of which the sender keeps all. */
TEST_F(bytes, any_copy)
{
	const size_t from[] = { 0, 1, psize - 1, psize, psize + 1904 };
	const size_t lens[] = { 1, psize, psize + 1, 2 * psize - 1, 3 * psize - 288 };
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	size_t i, k, whole;

	for (i = 0; i < ARRAY_SIZE(from); i++) {
		for (k = 0; k < ARRAY_SIZE(lens); k++) {
			size_t to = from[i] + lens[k];

			/* No region the first time, then a part of it is one. */
			if (!k)
				mmap(self->p, BYTES, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			bytes_fill(self->p, BYTES, 5);
			cmd = direct_cmd(&self->b, ZCIPC_COPY, self->p + from[i], lens[k],
					 ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK);
			test_transfer(&self->a, &cmd);
			whole = (to & ~(psize - 1)) > ((from[i] + psize - 1) & ~(psize - 1)) ?
				to / psize - (from[i] + psize - 1) / psize : 0;
			if (cmd.pages)
				ASSERT_EQ(whole, cmd.pages);
			ASSERT_EQ(lens[k] - cmd.pages * psize, cmd.copied);
			ASSERT_EQ(0, call_bytes(self->p, 0, BYTES, 5));
			bytes_fill(self->p, BYTES, 6);
			test_recv(&self->b, &m);
			ASSERT_EQ(lens[k], m.len);
			ASSERT_EQ(from[i] % psize, m.offset);
			ASSERT_EQ(from[i] % psize, m.addr % psize);
			ASSERT_EQ(0, ep_check_bytes(&self->b, m.addr, from[i], m.len));
			ASSERT_EQ(0, call_bytes(self->p, 0, BYTES, 6));
			test_drop(&self->b, m.cap);
		}
	}
	munmap(self->p, BYTES);
}

/* What is on the stack can be sent too. */
TEST_F(bytes, stack)
{
	unsigned char local[1000];
	struct zcipc_recv m;

	bytes_fill(local, sizeof(local), 5);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, local, sizeof(local), ZCIPC_F_ANY_ALIGN);
	test_recv(&self->b, &m);
	ASSERT_EQ(0, ep_check_bytes(&self->b, m.addr, 0, sizeof(local)));
	ASSERT_EQ(0, local[0]);
	ASSERT_EQ(0, local[sizeof(local) - 1]);
}

/* --- other kinds of memory */

FIXTURE(kinds)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(kinds)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(kinds)

/*
 * Refused, and left as it is; copied if that is allowed. What others can reach can be shared, but
 * that is another matter (zcipc_files).
 */
static void test_kind(struct __test_metadata *_metadata, FIXTURE_DATA(kinds) *self, char *p,
		      int err, bool readable, bool shared)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf buf;
	__u32 type;
	__u64 val;

	ASSERT_NE(MAP_FAILED, p);
	if (!shared)
		test_err_import(err, &self->a, p, 2, &buf);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		if (shared && type == ZCIPC_SHARE)
			continue;
		test_err_direct(err, &self->a, &self->b, type, p, 2 * psize, 0);
		if (readable)
			test_check(&self->a, p, 2, 6);
		if (type == ZCIPC_SHARE)
			continue;
		cmd = direct_cmd(&self->b, type, p, 2 * psize, ZCIPC_F_COPY_OK);
		if (!readable) {
			test_err_transfer(EFAULT, &self->a, &cmd);
			continue;
		}
		test_transfer(&self->a, &cmd);
		ASSERT_EQ(0, cmd.pages);
		ASSERT_EQ(2 * psize, cmd.copied);
		test_check(&self->a, p, 2, 6);
		test_recv(&self->b, &m);
		test_check(&self->b, (char *)(uintptr_t)m.addr, 2, 6);
		test_fill(&self->b, (char *)(uintptr_t)m.addr, 2, 7);
		test_check(&self->a, p, 2, 6);
		test_drop(&self->b, m.cap);
	}
	if (!readable)
		ASSERT_NE(0, touch_read(p, &val));
}

#define PROT_WITH_TAGS	0x20

/* Tags (arm64's MTE) would be lost on the way. */
TEST_F(kinds, tags)
{
	int prot = PROT_READ | PROT_WRITE | PROT_WITH_TAGS;
	char *p = mmap(NULL, 2 * psize, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct buf buf;

	/* Where there are none that means nothing, or is refused. */
	if (p == MAP_FAILED || !has_vm_flag(p, " mt "))
		SKIP(return, "memory has no tags here");
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	/* Nor can what is the module's get any. */
	test_create(&self->a, 2, &buf);
	TEST_ERR(EINVAL, mprotect(buf.p, psize, prot));
	test_fill(&self->a, buf.p, 2, 6);
	test_drop(&self->a, buf.cap);
	p = anonymous(2);
	fill(p, 2, 6);
	test_import(&self->a, p, 2, &buf);
	TEST_ERR(EINVAL, mprotect(p, psize, prot));
	test_check(&self->a, p, 2, 6);
	munmap(p, 2 * psize);
}

TEST_F(kinds, shared)
{
	char *p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);

	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, true);
}

TEST_F(kinds, memfd)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, 2 * psize));
	p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, true);
	munmap(p, 2 * psize);
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	p = mmap(NULL, 2 * psize, PROT_READ, MAP_PRIVATE, fd, 0);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	close(fd);
}

TEST_F(kinds, private_of_file)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, 2 * psize));
	p = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	close(fd);
}

TEST_F(kinds, read_only)
{
	char *p = memory_touched(2);

	fill(p, 2, 6);
	ASSERT_EQ(0, mprotect(p, 2 * psize, PROT_READ));
	test_kind(_metadata, self, p, EACCES, true, false);
}

TEST_F(kinds, no_access)
{
	char *p = memory_touched(2);

	ASSERT_EQ(0, mprotect(p, 2 * psize, PROT_NONE));
	test_kind(_metadata, self, p, EACCES, false, false);
}

/* Whoever guards memory by a key must not lose that. To give the memory away needs no guard. */
TEST_F(kinds, protection_key)
{
	int key = syscall(SYS_pkey_alloc, 0, 0);
	char *p = memory_touched(2);
	struct zcipc_recv m;
	struct buf buf;

	if (key < 0)
		SKIP(return, "no protection keys: %s", strerror(errno));
	ASSERT_EQ(0, syscall(SYS_pkey_mprotect, p, 2 * psize, PROT_READ | PROT_WRITE, key));
	test_err_import(EOPNOTSUPP, &self->a, p, 2, &buf);
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_SHARE, p, 2 * psize, 0);
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_COPY, p, 2 * psize, 0);
	test_check(&self->a, p, 2, 1);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p, 2 * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 2, 1);
	test_check(&self->a, p, 2, 0);
	syscall(SYS_pkey_free, key);
}

TEST_F(kinds, not_all_there)
{
	char *p = memory_touched(3);
	struct buf buf;
	__u32 type;

	ASSERT_EQ(0, munmap(p + psize, psize));
	test_err_import(EFAULT, &self->a, p, 3, &buf);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EFAULT, &self->a, &self->b, type, p, 3 * psize,
				type == ZCIPC_SHARE ? 0 : ZCIPC_F_COPY_OK);
	test_check(&self->a, p, 1, 1);
	test_check_from(&self->a, p + 2 * psize, 2, 1, 1);
}

TEST_F(kinds, hugetlb)
{
	char *p;

	file_write("/proc/sys/vm/nr_hugepages", "2");
	p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		 -1, 0);
	if (p == MAP_FAILED)
		SKIP(return, "no huge pages: %s", strerror(errno));
	fill(p, 2, 6);
	test_kind(_metadata, self, p, EOPNOTSUPP, true, false);
	munmap(p, HUGE);
	file_write("/proc/sys/vm/nr_hugepages", "0");
}

/* Memory that is a region already is that, wherever it came from. */
TEST_F(kinds, regions)
{
	struct zcipc_recv m;
	struct buf buf, buf2;

	test_create(&self->a, N, &buf);
	test_fill(&self->a, buf.p, N, 3);
	test_err_import(EOPNOTSUPP, &self->a, buf.p, N, &buf2);
	test_direct(&self->a, &self->b, ZCIPC_COPY, buf.p + psize, 2 * psize, 0);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 1, 2, 3);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, buf.p, N * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 3);
	test_gone(&self->a, buf.p, N);
	/* Where there is none in the window there is nothing. */
	test_err_direct(EOPNOTSUPP, &self->a, &self->b, ZCIPC_MOVE, buf.p, N * psize, 0);
	test_err_import(EOPNOTSUPP, &self->a, buf.p, N, &buf2);
}

/* What is unmapped, or something else now, is not of the region any more. */
TEST_F(kinds, replaced)
{
	char *p = memory_touched(N);
	struct zcipc_recv m;
	struct buf buf;
	__u32 type;

	test_import(&self->a, p, N, &buf);
	ASSERT_EQ(0, munmap(p + 2 * psize, psize));
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, p + psize, 3 * psize, 0);
	test_err_direct(EFAULT, &self->a, &self->b, ZCIPC_COPY, p + psize, 3 * psize,
			ZCIPC_F_COPY_OK);
	ASSERT_EQ(p + 2 * psize, mmap(p + 2 * psize, psize, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, p + psize, 3 * psize, 0);
	test_direct(&self->a, &self->b, ZCIPC_COPY, p + psize, 3 * psize, ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 1, 1, 1);
	test_check(&self->b, (char *)(uintptr_t)m.addr + psize, 1, 0);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr + 2 * psize, 3, 1, 1);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p + 3 * psize, (N - 3) * psize, 0);
	munmap(p, N * psize);
}

/* --- somebody holds pages */

enum source { CREATED, ADOPTED, DIRECT };

/* A call that has pages for as long as a file's server does not answer. */
struct in_flight {
	struct stalled file;
	pthread_t thread;
	ssize_t (*call)(struct in_flight *io);
	char *map;		/* the file, or NULL */
	char *p;
	size_t len;
	ssize_t rc;
	bool started;
	bool done;
};

/* Who has pages beyond their mapping, and what he does with them. */
struct holder {
	struct in_flight io;
	int fds[2];
	int ring;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	pid_t child;
	int to_child[2], from_child[2];
	char *p;
};

/* A pipe. 0, or an errno. */
static int hold_pipe(struct holder *h, char *p, size_t npages)
{
	struct iovec iov = { p, npages * psize };
	ssize_t n = vmsplice(h->fds[1], &iov, 1, SPLICE_F_NONBLOCK);

	return n == (ssize_t)iov.iov_len ? 0 : errno;
}

/* A buffer that io_uring has pinned for as long as it likes, and reads a pipe into. */
static int hold_fixed(struct holder *h, char *p, size_t npages)
{
	struct iovec iov = { p, npages * psize };
	struct io_sqring_offsets *sq = &h->params.sq_off;
	size_t len;

	h->ring = syscall(SYS_io_uring_setup, 4, &h->params);
	if (h->ring < 0)
		return errno;
	len = sq->array + h->params.sq_entries * sizeof(__u32);
	h->sq = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, h->ring, IORING_OFF_SQ_RING);
	h->sqes = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED, h->ring, IORING_OFF_SQES);
	if (h->sq == MAP_FAILED || (void *)h->sqes == MAP_FAILED)
		return errno;
	if (syscall(SYS_io_uring_register, h->ring, IORING_REGISTER_BUFFERS, &iov, 1))
		return errno;
	return 0;
}

static void *in_flight_run(void *arg)
{
	struct in_flight *io = arg;

	io->rc = io->call(io);
	if (io->rc < 0)
		io->rc = -errno;
	__atomic_store_n(&io->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Begins a call, and returns when it has its pages: 0, or an errno. */
static int in_flight_start(struct in_flight *io, char *p, size_t npages, bool map,
			   ssize_t (*call)(struct in_flight *io))
{
	int err;

	io->p = p;
	io->len = npages * psize;
	io->call = call;
	if (stalled_open(&io->file, io->len, map ? 0 : FOPEN_DIRECT_IO, map ? 0 : O_DIRECT))
		return errno;
	if (map) {
		io->map = mmap(NULL, io->len, PROT_READ | PROT_WRITE, MAP_PRIVATE, io->file.fd, 0);
		if (io->map == MAP_FAILED)
			return errno;
	}
	err = pthread_create(&io->thread, NULL, in_flight_run, io);
	if (err)
		return err;
	io->started = true;
	/* What it asks the server for comes after it has taken the pages. */
	return stalled_waits(&io->file, -1) && !io->done ? 0 : ETIME;
}

/* Lets it go on, and waits for its end. */
static int in_flight_end(struct in_flight *io)
{
	int i;

	for (i = 0; i < WAIT_TRIES && !__atomic_load_n(&io->done, __ATOMIC_ACQUIRE); i++)
		if (fuse_serve(&io->file, 5) < 0)
			return -1;
	return io->done && io->rc == (ssize_t)io->len ? 0 : -1;
}

/* Whatever state it is in. */
static void in_flight_free(struct in_flight *io)
{
	stalled_close(&io->file);
	if (io->started)
		pthread_join(io->thread, NULL);
	if (io->map)
		munmap(io->map, io->len);
}

/* O_DIRECT: the file's server writes to the pages, or reads them. */
static ssize_t in_flight_read(struct in_flight *io)
{
	return pread(io->file.fd, io->p, io->len, 0);
}

static ssize_t in_flight_write(struct in_flight *io)
{
	return pwrite(io->file.fd, io->p, io->len, 0);
}

/* Pins for a moment only, had not the other side of the copy to be read from the file first. */
static ssize_t in_flight_vm_readv(struct in_flight *io)
{
	struct iovec local = { io->map, io->len }, remote = { io->p, io->len };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

static ssize_t in_flight_vm_writev(struct in_flight *io)
{
	struct iovec local = { io->map, io->len }, remote = { io->p, io->len };

	return process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
}

static int hold_direct_read(struct holder *h, char *p, size_t npages)
{
	return in_flight_start(&h->io, p, npages, false, in_flight_read);
}

static int hold_direct_write(struct holder *h, char *p, size_t npages)
{
	return in_flight_start(&h->io, p, npages, false, in_flight_write);
}

static int hold_vm_readv(struct holder *h, char *p, size_t npages)
{
	return in_flight_start(&h->io, p, npages, true, in_flight_vm_readv);
}

static int hold_vm_writev(struct holder *h, char *p, size_t npages)
{
	return in_flight_start(&h->io, p, npages, true, in_flight_vm_writev);
}

/* A child that has inherited the memory. */
static int hold_child(struct holder *h, char *p, size_t npages)
{
	char byte;

	if (pipe(h->to_child) || pipe(h->from_child))
		return errno;
	h->child = fork();
	if (h->child)
		return h->child < 0 ? errno : 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(h->to_child[0], 3);
	dup2(h->from_child[1], 4);
	syscall(SYS_close_range, 5, ~0U, 0);
	if (read(3, &byte, 1) != 1)
		_exit(1);
	/* It sees what was there when it was born, and what it writes is its own. */
	byte = check(p, 1, npages, 1) || fill(p, npages, 8) || check(p, 0, npages, 8);
	if (write(4, &byte, 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

/* The old bytes are still there: 0. */
static int check_pipe(struct holder *h, size_t npages)
{
	char *text = malloc(npages * psize);
	size_t n = 0;
	int rc = -1;

	while (n < npages * psize) {
		ssize_t got = read(h->fds[0], text + n, npages * psize - n);

		if (got <= 0)
			break;
		n += got;
	}
	if (n == npages * psize)
		rc = check(text, 1, npages, 1);
	free(text);
	return rc;
}

/* Writes to the pages it has pinned: 0. */
static int check_fixed(struct holder *h, size_t npages)
{
	struct io_uring_sqe *sqe = h->sqes;
	__u32 *tail = (__u32 *)(h->sq + h->params.sq_off.tail);
	__u32 *array = (__u32 *)(h->sq + h->params.sq_off.array);
	char text[64];

	(void)npages;
	memset(text, 0xee, sizeof(text));
	if (write(h->fds[1], text, sizeof(text)) != sizeof(text))
		return -1;
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED, .fd = h->fds[0], .addr = (uintptr_t)h->p,
		.len = sizeof(text), .off = -1, .buf_index = 0,
	};
	array[*tail & (h->params.sq_entries - 1)] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, h->ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1 ?
		0 : -1;
}

/* Writes to the pages it has. */
static int check_in_flight(struct holder *h, size_t npages)
{
	(void)npages;
	return in_flight_end(&h->io);
}

/* The old bytes are what goes to the file, or comes out of the copy. */
static int check_direct_write(struct holder *h, size_t npages)
{
	if (in_flight_end(&h->io) || h->io.file.ngot != npages * psize)
		return -1;
	return check(h->io.file.got, 1, npages, 1);
}

static int check_vm_readv(struct holder *h, size_t npages)
{
	return in_flight_end(&h->io) ? -1 : check(h->io.map, 1, npages, 1);
}

static int check_child(struct holder *h, size_t npages)
{
	char byte = 1;

	(void)npages;
	if (write(h->to_child[1], "", 1) != 1 || read(h->from_child[0], &byte, 1) != 1)
		return -1;
	return byte;
}

FIXTURE(held)
{
	struct base base;
	struct ep a, b;
	struct holder h;
	struct buf src;
};

FIXTURE_VARIANT(held)
{
	int (*hold)(struct holder *h, char *p, size_t npages);
	int (*check)(struct holder *h, size_t npages);
	enum source source;
	__u32 type;
	bool writes;			/* the holder, to what it holds */
	bool lasts;			/* its pin does */
	bool unshared;			/* it has pages of its own */
	bool needs_fuse;
};

#define HELD(name, _source, _type, ...)					\
	FIXTURE_VARIANT_ADD(held, name) {				\
		.source = (_source), .type = (_type), __VA_ARGS__	\
	}
#define BY_PIPE		.hold = hold_pipe, .check = check_pipe
#define BY_FIXED	.hold = hold_fixed, .check = check_fixed, .writes = true, .lasts = true
#define BY_CHILD	.hold = hold_child, .check = check_child, .unshared = true
#define BY_READ		.hold = hold_direct_read, .check = check_in_flight, .writes = true, \
			.needs_fuse = true
#define BY_WRITE	.hold = hold_direct_write, .check = check_direct_write, .needs_fuse = true
#define BY_READV	.hold = hold_vm_readv, .check = check_vm_readv, .needs_fuse = true
#define BY_WRITEV	.hold = hold_vm_writev, .check = check_in_flight, .writes = true, \
			.needs_fuse = true

HELD(pipe_created_move, CREATED, ZCIPC_MOVE, BY_PIPE);
HELD(pipe_created_copy, CREATED, ZCIPC_COPY, BY_PIPE);
HELD(pipe_adopted_move, ADOPTED, ZCIPC_MOVE, BY_PIPE);
HELD(pipe_adopted_copy, ADOPTED, ZCIPC_COPY, BY_PIPE);
HELD(pipe_direct_move, DIRECT, ZCIPC_MOVE, BY_PIPE);
HELD(pipe_direct_copy, DIRECT, ZCIPC_COPY, BY_PIPE);
HELD(fixed_created_move, CREATED, ZCIPC_MOVE, BY_FIXED);
HELD(fixed_created_copy, CREATED, ZCIPC_COPY, BY_FIXED);
HELD(fixed_adopted_move, ADOPTED, ZCIPC_MOVE, BY_FIXED);
HELD(fixed_adopted_copy, ADOPTED, ZCIPC_COPY, BY_FIXED);
HELD(fixed_direct_move, DIRECT, ZCIPC_MOVE, BY_FIXED);
HELD(fixed_direct_copy, DIRECT, ZCIPC_COPY, BY_FIXED);
HELD(child_adopted_move, ADOPTED, ZCIPC_MOVE, BY_CHILD);
HELD(child_adopted_copy, ADOPTED, ZCIPC_COPY, BY_CHILD);
HELD(child_direct_move, DIRECT, ZCIPC_MOVE, BY_CHILD);
HELD(child_direct_copy, DIRECT, ZCIPC_COPY, BY_CHILD);
HELD(odirect_read_created_move, CREATED, ZCIPC_MOVE, BY_READ);
HELD(odirect_read_created_copy, CREATED, ZCIPC_COPY, BY_READ);
HELD(odirect_read_adopted_move, ADOPTED, ZCIPC_MOVE, BY_READ);
HELD(odirect_read_adopted_copy, ADOPTED, ZCIPC_COPY, BY_READ);
HELD(odirect_read_direct_move, DIRECT, ZCIPC_MOVE, BY_READ);
HELD(odirect_read_direct_copy, DIRECT, ZCIPC_COPY, BY_READ);
HELD(odirect_write_created_move, CREATED, ZCIPC_MOVE, BY_WRITE);
HELD(odirect_write_created_copy, CREATED, ZCIPC_COPY, BY_WRITE);
HELD(odirect_write_adopted_move, ADOPTED, ZCIPC_MOVE, BY_WRITE);
HELD(odirect_write_adopted_copy, ADOPTED, ZCIPC_COPY, BY_WRITE);
HELD(odirect_write_direct_move, DIRECT, ZCIPC_MOVE, BY_WRITE);
HELD(odirect_write_direct_copy, DIRECT, ZCIPC_COPY, BY_WRITE);
HELD(vm_readv_created_move, CREATED, ZCIPC_MOVE, BY_READV);
HELD(vm_readv_created_copy, CREATED, ZCIPC_COPY, BY_READV);
HELD(vm_readv_adopted_move, ADOPTED, ZCIPC_MOVE, BY_READV);
HELD(vm_readv_adopted_copy, ADOPTED, ZCIPC_COPY, BY_READV);
HELD(vm_readv_direct_move, DIRECT, ZCIPC_MOVE, BY_READV);
HELD(vm_readv_direct_copy, DIRECT, ZCIPC_COPY, BY_READV);
HELD(vm_writev_created_move, CREATED, ZCIPC_MOVE, BY_WRITEV);
HELD(vm_writev_created_copy, CREATED, ZCIPC_COPY, BY_WRITEV);
HELD(vm_writev_adopted_move, ADOPTED, ZCIPC_MOVE, BY_WRITEV);
HELD(vm_writev_adopted_copy, ADOPTED, ZCIPC_COPY, BY_WRITEV);
HELD(vm_writev_direct_move, DIRECT, ZCIPC_MOVE, BY_WRITEV);
HELD(vm_writev_direct_copy, DIRECT, ZCIPC_COPY, BY_WRITEV);

FIXTURE_SETUP(held)
{
	if (variant->needs_fuse && !stalled_exists())
		SKIP(_exit(KSFT_SKIP), "there is no FUSE");
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	ASSERT_EQ(0, pipe(self->h.fds));
	self->h.ring = -1;
	self->h.io.file.dev = -1;
	self->h.io.file.fd = -1;
	self->h.io.file.mount = -1;
	if (variant->source == CREATED) {
		test_create(&self->a, N, &self->src);
		test_fill(&self->a, self->src.p, N, 1);
	} else {
		self->src.p = memory_touched(N);
	}
	self->h.p = self->src.p + psize;
}

FIXTURE_TEARDOWN(held)
{
	close(self->h.fds[0]);
	close(self->h.fds[1]);
	close(self->h.ring);
	in_flight_free(&self->h.io);
	if (self->h.child)
		kill(self->h.child, SIGKILL);
	if (variant->source != CREATED)
		munmap(self->src.p, N * psize);
	base_teardown(_metadata, &self->base);
}

/* 9, 15: who holds pages keeps them, and never shares them with who gets them. */
TEST_F(held, keeps)
{
	size_t held = variant->unshared ? 0 : 2 * psize;
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	__u64 val = 0;
	char *p;
	int err;

	err = variant->hold(&self->h, self->h.p, 2);
	if (variant->source == CREATED && variant->lasts) {
		/* Core mm pins no memory of this kind for long. */
		ASSERT_TRUE(err == EFAULT || err == EOPNOTSUPP) TH_LOG("%s", strerror(err));
		return;
	}
	ASSERT_EQ(0, err) TH_LOG("%s", strerror(err));
	if (variant->source == ADOPTED)
		test_import(&self->a, self->src.p, N, &self->src);
	cmd = variant->source == DIRECT ?
		direct_cmd(&self->b, variant->type, self->src.p, N * psize, ZCIPC_F_STRICT) :
		transfer_cmd(&self->b, variant->type, self->src.cap, 0, 0, 0);
	cmd.flags |= ZCIPC_F_STRICT;
	if (held) {
		test_err_transfer(EBUSY, &self->a, &cmd);
		test_check(&self->a, self->src.p, N, 1);
		cmd.flags &= ~ZCIPC_F_STRICT;
	}
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(held, cmd.copied);
	ASSERT_EQ(N - held / psize, cmd.pages);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_check(&self->b, p, N, 1);
	if (variant->type == ZCIPC_COPY) {
		test_check(&self->a, self->src.p, N, 1);
		/* The owner's writes are not the peer's. Nor the holder's, if he only reads. */
		if (variant->writes || variant->unshared)
			test_fill(&self->a, self->src.p, N, 2);
	} else if (variant->source == DIRECT) {
		test_check(&self->a, self->src.p, N, 0);
		test_fill(&self->a, self->src.p, N, 2);
	}
	test_check(&self->b, p, N, 1);
	test_fill(&self->b, p, N, 3);
	ASSERT_EQ(0, variant->check(&self->h, 2));
	test_check(&self->b, p, N, 3);
	if (variant->type == ZCIPC_COPY && variant->writes) {
		/* He wrote to what is still the owner's. */
		ASSERT_EQ(0, touch_read(self->h.p, &val));
		ASSERT_EQ(0xeeeeeeeeeeeeeeee, val);
	} else if (variant->source == DIRECT && variant->type == ZCIPC_MOVE) {
		test_check(&self->a, self->src.p, N, 2);
	}
}

/* --- what I/O can pin */

FIXTURE(io)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	struct holder h;
};

FIXTURE_SETUP(io)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->c, WINDOW_PAGES, O_NONBLOCK);
	self->h.ring = -1;
	ASSERT_EQ(0, pipe(self->h.fds));
}

FIXTURE_TEARDOWN(io)
{
	if (self->h.ring >= 0)
		close(self->h.ring);
	if (self->src.p)
		munmap(self->src.p, self->src.npages * psize);
	base_teardown(_metadata, &self->base);
}

/*
 * G10: imported memory is not for those who take pages, until it is made ordinary: in a window by
 * whoever has it, where it was before by its owner, who has it alone from then on.
 */
TEST_F(io, ordinary)
{
	struct zcipc_stats before, after;
	struct zcipc_recv m;
	__u64 copied;
	char *p;

	test_stats(&self->a, &before);
	test_import(&self->a, memory_touched(40), 40, &self->src);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	ASSERT_EQ(-EFAULT, ep_vmsplice(&self->b, p, 1));
	ASSERT_EQ(-EFAULT, ep_vmsplice(&self->a, self->src.p, 1));
	test_stats(&self->a, &after);
	ASSERT_EQ(before.user_pinned + 40, after.user_pinned);
	/* A part of it, by a capability for that part: then all of it. */
	test_fill(&self->b, p, 40, 2);
	test_ordinary(&self->b, m.cap, &copied);
	ASSERT_EQ(40 * psize, copied);
	test_stats(&self->a, &after);
	ASSERT_EQ(before.user_pinned, after.user_pinned);
	ASSERT_EQ(before.copied_memory + 40 * psize, after.copied_memory);
	test_check(&self->a, self->src.p, 40, 2);
	test_fill(&self->a, self->src.p, 40, 3);
	test_check(&self->b, p, 40, 3);
	ASSERT_EQ((long)psize, ep_vmsplice(&self->b, p + 3 * psize, 1));
	ASSERT_EQ(-EFAULT, ep_vmsplice(&self->a, self->src.p, 1));
	test_ordinary(&self->a, self->src.cap, &copied);
	ASSERT_EQ(40 * psize, copied);
	ASSERT_EQ((long)psize, ep_vmsplice(&self->a, self->src.p, 1));
	test_fill(&self->a, self->src.p, 40, 4);
	test_check(&self->b, p, 40, 3);
	test_ordinary(&self->a, self->src.cap, &copied);
	ASSERT_EQ(0, copied);
	test_err_ordinary(ENOENT, &self->a, m.cap + 1, &copied);
}

/* Only what the capability names, and without an effect on a snapshot. */
TEST_F(io, ordinary_part)
{
	struct zcipc_recv snapshot;
	struct buf part;
	__u64 copied;

	test_import(&self->a, memory_touched(N), N, &self->src);
	test_send(&self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_recv(&self->b, &snapshot);
	test_give_part(&self->a, &self->c, self->src.cap, 2, 3, RIGHTS_RW, &part);
	test_map(&self->c, part.cap, 0, 0, RIGHTS_RW, &part.p);
	test_ordinary(&self->c, part.cap, &copied);
	ASSERT_EQ(3 * psize, copied);
	test_check(&self->a, self->src.p, N, 1);
	ASSERT_EQ(3 * (long)psize, ep_vmsplice(&self->c, part.p, 3));
	ASSERT_EQ(-EFAULT, ep_vmsplice(&self->a, self->src.p + 2 * psize, 1));
	test_fill(&self->a, self->src.p, N, 2);
	test_check(&self->b, (char *)(uintptr_t)snapshot.addr, N, 1);
	test_check_from(&self->c, part.p, 2, 3, 2);
	test_ordinary(&self->b, snapshot.cap, &copied);
	test_check(&self->b, (char *)(uintptr_t)snapshot.addr, N, 1);
	test_check(&self->a, self->src.p, N, 2);
}

/* --- what was adopted is memory of the process's own again */

FIXTURE(own)
{
	struct base base;
	struct ep a, b;
	struct zcipc_stats before;
	char *all, *p;		/* there is a page on both sides of what is adopted */
	struct buf src;
};

FIXTURE_VARIANT(own)
{
	bool by_cap;		/* or all that is in a range */
	bool implicit;		/* nobody knows a capability */
};

FIXTURE_VARIANT_ADD(own, by_cap) { .by_cap = true };
FIXTURE_VARIANT_ADD(own, by_range) { };
FIXTURE_VARIANT_ADD(own, implicit) { .implicit = true };

FIXTURE_SETUP(own)
{
	struct zcipc_transfer cmd;
	struct buf got;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	self->all = memory_touched(N + 2);
	self->p = self->all + psize;
	fill(self->p, N, 1);
	test_stats(&self->a, &self->before);
	if (variant->implicit) {
		cmd = direct_cmd(&self->b, ZCIPC_COPY, self->p, N * psize, 0);
		test_transfer(&self->a, &cmd);
		test_take(&self->b, &got);
		test_drop(&self->b, got.cap);
	} else {
		test_import(&self->a, self->p, N, &self->src);
	}
}

FIXTURE_TEARDOWN(own)
{
	munmap(self->all, (N + 2) * psize);
	base_teardown(_metadata, &self->base);
}

/* Ends it, and returns how much was copied. What is to be given up is given up. */
static __u64 own_end(struct __test_metadata *_metadata, FIXTURE_DATA(own) *self, bool by_cap)
{
	__u64 copied = 0;

	if (by_cap)
		test_ordinary(&self->a, self->src.cap, &copied);
	else
		TEST_OK(zc_ordinary_range(&self->a, 0, self->p, N * psize, &copied));
	if (self->src.cap)
		test_drop(&self->a, self->src.cap);
	self->src.cap = 0;
	return copied;
}

/* Nothing of it is left: no mapping of its own, no charge, and it can do all that it could. */
TEST_F(own, again)
{
	struct zcipc_stats after;
	pid_t child;
	int status;

	test_fill(&self->a, self->p, N, 2);
	EXPECT_EQ((1 + variant->by_cap) * N * psize,
		  own_end(_metadata, self, variant->by_cap));
	test_check(&self->a, self->p, N, 2);
	ASSERT_FALSE(is_adopted(self->p));
	EXPECT_EQ(1, mappings(self->all, self->all + (N + 2) * psize, NULL));
	test_stats(&self->a, &after);
	EXPECT_EQ(self->before.user_pinned, after.user_pinned);
	EXPECT_EQ(owned(&self->before), owned(&after));
	ASSERT_TRUE(same_live(&self->before, &after));
	ASSERT_EQ((long)psize, ep_vmsplice(&self->a, self->p, 1));
	child = fork();
	if (!child)
		_exit(ep_check(&self->a, self->p, N, 2) || fill(self->p, N, 3));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	test_check(&self->a, self->p, N, 2);
	/* As any other it can become a region again. */
	test_import(&self->a, self->p, N, &self->src);
	test_check(&self->a, self->p, N, 2);
	EXPECT_EQ(N * psize, own_end(_metadata, self, false));
	ASSERT_EQ(0, madvise(self->p, N * psize, MADV_DONTNEED));
	EXPECT_EQ(0, self->p[0] | self->p[(N - 1) * psize + 8]);
}

/* Nobody is told an address where there is something else by now. */
TEST_F(own, has_no_address)
{
	struct zcipc_notify n = { .size = sizeof(n), .peer = self->a.id, .cap = self->src.cap };
	struct zcipc_region_query q;
	struct zcipc_recv m;
	unsigned int way;
	__u64 copied;
	char *p;

	if (variant->implicit)
		SKIP(return, "nobody can ask");
	for (way = 0; way < 2; way++) {
		test_query(&self->a, self->src.cap, &q);
		EXPECT_EQ(1, q.maps);
		if (way)
			ASSERT_EQ(0, munmap(self->p, N * psize));
		if (!way && variant->by_cap)
			test_ordinary(&self->a, self->src.cap, &copied);
		if (!way && !variant->by_cap)
			TEST_OK(zc_ordinary_range(&self->a, 0, self->p, N * psize, &copied));
		test_query(&self->a, self->src.cap, &q);
		EXPECT_EQ(0, q.maps);
		EXPECT_EQ(N * psize, q.present);
		n.cap = self->src.cap;
		n.peer_cap = self->src.cap;
		TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_NOTIFY, &n));
		test_recv(&self->a, &m);
		EXPECT_EQ(0, m.addr);
		/* It can be mapped where there is room for it. */
		test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
		test_check(&self->a, p, N, 1);
		test_drop(&self->a, self->src.cap);
		self->src.cap = 0;
		if (!way)
			test_import(&self->a, self->p, N, &self->src);
	}
	ASSERT_EQ(self->p, mmap(self->p, N * psize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
				MAP_FIXED, -1, 0));
}

/* Until then core mm refuses to discard what would still be there. */
TEST_F(own, not_discarded)
{
	static const int advices[] = { MADV_DONTNEED, MADV_FREE, MADV_REMOVE, 24 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		ASSERT_EQ(-1, madvise(self->p, N * psize, advices[i]));
		test_check(&self->a, self->p, N, 1);
	}
	/* Also a page that has been copied since. */
	if (!variant->implicit) {
		struct buf copy;

		test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
		test_fill(&self->a, self->p, N, 2);
		ASSERT_EQ(-1, madvise(self->p, N * psize, MADV_DONTNEED));
		test_check(&self->a, self->p, N, 2);
		test_check(&self->b, copy.p, N, 1);
	}
}

/* Protections stay, and contents that the caller cannot read. What is not there stays away. */
TEST_F(own, in_pieces)
{
	test_fill(&self->a, self->p, N, 2);
	ASSERT_EQ(0, mprotect(self->p + psize, psize, PROT_READ));
	ASSERT_EQ(0, mprotect(self->p + 2 * psize, psize, PROT_NONE));
	ASSERT_EQ(0, munmap(self->p + 4 * psize, psize));
	own_end(_metadata, self, variant->by_cap);
	test_check(&self->a, self->p, 2, 2);
	test_touch_write(SIGSEGV, &self->a, self->p + psize);
	test_touch_read(SIGSEGV, &self->a, self->p + 2 * psize);
	test_touch_read(SIGSEGV, &self->a, self->p + 4 * psize);
	test_check_from(&self->a, self->p + 5 * psize, 5, N - 5, 2);
	ASSERT_EQ(0, mprotect(self->p + 2 * psize, psize, PROT_READ));
	test_check_from(&self->a, self->p + 2 * psize, 2, 1, 2);
}

/* A part of the range, and what is outside of it, or is none. */
TEST_F(own, in_part)
{
	struct zcipc_region_ordinary wrong[] = {
		{ .cap = self->src.cap ?: 1, .addr = (uintptr_t)self->p, .len = psize },
		{ .cap = self->src.cap ?: 1, .len = psize },
		{ .addr = (uintptr_t)self->p },
		{ .addr = (uintptr_t)self->p + 8, .len = psize },
		{ .addr = (uintptr_t)self->p, .len = psize + 8 },
		{ .addr = -psize, .len = 2 * psize },
		{ .addr = (uintptr_t)self->p, .len = 1ULL << 63 },
		{ },
	};
	__u64 copied;
	size_t i;

	if (variant->by_cap)
		SKIP(return, "a capability is for all of it");
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		wrong[i].size = sizeof(wrong[i]);
		TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_REGION_ORDINARY, &wrong[i]));
	}
	TEST_OK(zc_ordinary_range(&self->a, 0, self->all, psize, &copied));
	EXPECT_EQ(0, copied);
	TEST_OK(zc_ordinary_range(&self->b, 0, self->p, psize, &copied));
	EXPECT_EQ(0, copied);
	ASSERT_TRUE(is_adopted(self->p));
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p + 2 * psize, 3 * psize, &copied));
	EXPECT_EQ(3 * psize, copied);
	test_check(&self->a, self->p, N, 1);
	ASSERT_TRUE(is_adopted(self->p + psize));
	ASSERT_FALSE(is_adopted(self->p + 2 * psize));
	ASSERT_FALSE(is_adopted(self->p + 4 * psize));
	ASSERT_TRUE(is_adopted(self->p + 5 * psize));
	ASSERT_EQ(0, madvise(self->p + 2 * psize, psize, MADV_DONTNEED));
	test_check(&self->a, self->p + 2 * psize, 1, 0);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->all, (N + 2) * psize, &copied));
	EXPECT_EQ((N - 3) * psize, copied);
	/* Two pieces that were touched apart from each other core mm does not put together. */
	EXPECT_GE(3, mappings(self->all, self->all + (N + 2) * psize, NULL));
}

/* What others have of it they keep, as it was then, with their rights. */
TEST_F(own, others_keep_it)
{
	struct buf shared, copy, moved;

	if (variant->implicit)
		SKIP(return, "nobody else has any of it");
	TEST_OK(zc_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, RIGHTS_RW, &shared));
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &copy);
	test_fill(&self->b, shared.p, N, 2);
	own_end(_metadata, self, variant->by_cap);
	test_check(&self->a, self->p, N, 2);
	test_fill(&self->a, self->p, N, 3);
	test_check(&self->b, shared.p, N, 2);
	test_check(&self->b, copy.p, N, 1);
	test_fill(&self->b, shared.p, N, 4);
	test_check(&self->a, self->p, N, 3);
	/* Of what has been moved away there is nothing left to be had. */
	test_import(&self->a, self->p, N, &self->src);
	TEST_OK(zc_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 2, 3));
	test_take(&self->b, &moved);
	EXPECT_EQ((N - 3) * (1 + variant->by_cap) * psize,
		  own_end(_metadata, self, variant->by_cap));
	test_check(&self->a, self->p, 2, 3);
	test_check(&self->a, self->p + 2 * psize, 3, 0);
	test_check_from(&self->a, self->p + 5 * psize, 5, N - 5, 3);
	test_check_from(&self->b, moved.p, 2, 3, 3);
}

/* What has been moved away as a whole is zero, and what lies behind it is given back, too. */
TEST_F(own, behind_what_has_gone)
{
	struct buf first, second, got;
	__u64 copied;

	if (variant->by_cap || variant->implicit)
		SKIP(return, "one variant is enough");
	own_end(_metadata, self, false);
	test_import(&self->a, self->p, 2, &first);
	test_import(&self->a, self->p + 2 * psize, N - 2, &second);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, first.cap, &got);
	test_touch_read(SIGBUS, &self->a, self->p);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, N * psize, &copied));
	EXPECT_EQ((N - 2) * psize, copied);
	test_check(&self->a, self->p, 2, 0);
	test_check_from(&self->a, self->p + 2 * psize, 2, N - 2, 1);
	ASSERT_FALSE(is_adopted(self->p) || is_adopted(self->p + 2 * psize));
	test_check(&self->b, got.p, 2, 1);
	test_drop(&self->a, second.cap);
}

static int job_ordinary(struct job *j)
{
	__u64 copied;

	return j->cap ? zc_ordinary(j->ep, j->cap, &copied) :
			zc_ordinary_range(j->ep, 0, j->p, j->n * psize, &copied);
}

/* G2: what is moved away meanwhile is not copied: the contents are the receiver's. */
TEST_F(own, moved_meanwhile)
{
	struct job job = {
		.fn = job_ordinary, .ep = &self->a, .p = self->p, .n = N,
		.cap = variant->by_cap ? self->src.cap : 0,
	};
	struct buf got;

	if (variant->implicit)
		SKIP(return, "nobody can move it");
	need_points();
	point_stop("emptied");
	job_start(&job);
	ASSERT_TRUE(point_reached());
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &got);
	self->src.cap = 0;
	test_fill(&self->b, got.p, N, 7);
	point_go();
	job_join(&job);
	EXPECT_EQ(0, job.rc);
	test_check(&self->a, self->p, N, 0);
	test_check(&self->b, got.p, N, 7);
}

/*
 * Frames that are ordinary already, since a peer made them so, are mapped as the others are where
 * they were before; and where they go they are ordinary.
 */
TEST_F(own, moved_when_ordinary)
{
	static const size_t sizes[] = { 1, 2, 40 };
	struct zcipc_transfer t;
	struct zcipc_transfer_batch batch = {
		.size = sizeof(batch), .transfers = (uintptr_t)&t, .ntransfers = 1,
		.transfer_size = sizeof(t),
	};
	struct buf shared, got, src;
	struct zcipc_stats after;
	unsigned int way;
	__u64 copied;
	size_t i, n;
	char *p;

	if (!variant->by_cap)
		SKIP(return, "one variant is enough");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (way = 0; way < 3; way++) {
			n = sizes[i];
			p = memory_touched(n);
			test_import(&self->a, p, n, &src);
			TEST_OK(zc_pass_rights(&self->a, &self->b, ZCIPC_SHARE, src.cap, RIGHTS_RW,
					       &shared));
			test_ordinary(&self->b, shared.cap, &copied);
			ASSERT_EQ(n * psize, copied);
			test_drop(&self->b, shared.cap);
			test_check(&self->a, p, n, 1);
			test_fill(&self->a, p, n, 2);
			if (way == 0) {
				test_send(&self->a, &self->b, ZCIPC_MOVE, src.cap);
			} else if (way == 1) {
				t = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
				TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &batch));
				ASSERT_EQ(1, batch.done);
			} else {
				test_send(&self->a, &self->b, ZCIPC_COPY, src.cap);
			}
			test_take(&self->b, &got);
			test_check(&self->b, got.p, n, 2);
			ASSERT_EQ((long)psize, ep_vmsplice(&self->b, got.p, 1));
			if (way == 2) {
				test_fill(&self->a, p, n, 3);
				test_check(&self->b, got.p, n, 2);
				test_drop(&self->a, src.cap);
			}
			test_fill(&self->b, got.p, n, 4);
			test_drop(&self->b, got.cap);
			munmap(p, n * psize);
		}
	}
	own_end(_metadata, self, true);
	test_stats(&self->a, &after);
	ASSERT_TRUE(same_live(&self->before, &after));
	EXPECT_EQ(self->before.user_pinned, after.user_pinned);
}

/* --- core dumps */

#define CORE_PATTERN "/proc/sys/kernel/core_pattern"

FIXTURE(core)
{
	char old[256];
};

FIXTURE_VARIANT(core)
{
	bool shared;		/* with a peer, which has written to it */
	bool secret;		/* it was not to be dumped before */
	bool secret_later;
	bool filtered;		/* private memory is not to be dumped at all */
	bool vfork;		/* there is another process that goes on with the same memory */
	bool apart;		/* each page is a region of its own */
	bool found;
};

FIXTURE_VARIANT_ADD(core, adopted) { .found = true };
FIXTURE_VARIANT_ADD(core, shared) { .shared = true, .found = true };
FIXTURE_VARIANT_ADD(core, secret) { .secret = true };
FIXTURE_VARIANT_ADD(core, secret_later) { .secret_later = true };
FIXTURE_VARIANT_ADD(core, filtered) { .filtered = true };
FIXTURE_VARIANT_ADD(core, vfork) { .vfork = true };
FIXTURE_VARIANT_ADD(core, apart) { .apart = true, .found = true };

FIXTURE_SETUP(core)
{
	int fd = open(CORE_PATTERN, O_RDWR | O_CLOEXEC);

	if (fd < 0 || read(fd, self->old, sizeof(self->old) - 1) <= 0)
		SKIP(_exit(KSFT_SKIP), "core dumps cannot be had");
	close(fd);
	file_write(CORE_PATTERN, "/tmp/zcipc-core");
	unlink("/tmp/zcipc-core");
}

FIXTURE_TEARDOWN(core)
{
	file_write(CORE_PATTERN, self->old);
	unlink("/tmp/zcipc-core");
}

#define CORE_PAGES 600UL	/* more than a page table has */

/* Words that nobody finds in the program itself, one for each page. */
static __u64 core_word(size_t i)
{
	return 0x123456789abcdef1ULL * (i + 3);
}

static int core_child(void *unused)
{
	(void)unused;
	return syscall(SYS_kill, syscall(SYS_getpid), SIGSEGV);
}

/* Dies with memory that has been adopted. */
static void core_dump(const FIXTURE_VARIANT(core) *variant)
{
	static char stack[65536];
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct ep a = {}, b = {};
	char *p = anonymous(CORE_PAGES);
	struct zcipc_recv m;
	struct buf src;
	size_t i, n = variant->apart ? 1 : CORE_PAGES;

	for (i = 0; i < CORE_PAGES; i++)
		*(__u64 *)(p + i * psize + 16) = core_word(i);
	if (variant->secret)
		madvise(p + psize, psize, MADV_DONTDUMP);
	if (ep_open(&a, WINDOW_PAGES, O_NONBLOCK) || ep_open(&b, 1024, O_NONBLOCK))
		_exit(1);
	for (i = 0; i < CORE_PAGES; i += n)
		if (zc_import(&a, p + i * psize, n, &src))
			_exit(1);
	if (variant->secret_later && madvise(p, CORE_PAGES * psize, MADV_DONTDUMP))
		_exit(2);
	if (variant->shared) {
		if (zc_send_rights(&a, &b, ZCIPC_SHARE, src.cap, RIGHTS_RW) || zc_recv(&b, &m))
			_exit(3);
		*(__u64 *)((char *)(uintptr_t)m.addr + 5 * psize + 16) = core_word(5) + 1;
	}
	if (variant->filtered)
		file_write("/proc/self/coredump_filter", "0x10");
	if (setrlimit(RLIMIT_CORE, &limit) || prctl(PR_SET_DUMPABLE, 1))
		_exit(4);
	if (variant->vfork) {
		if (clone(core_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
			  NULL) < 0)
			_exit(7);
		/* The child has dumped its core. This one reads and writes as before. */
		for (i = 0; i < CORE_PAGES; i++)
			if (*(__u64 *)(p + i * psize + 16) != core_word(i))
				_exit(5);
		for (i = 0; i < CORE_PAGES; i++)
			*(__u64 *)(p + i * psize + 24) = i;
		kill(getpid(), SIGKILL);
	}
	core_child(NULL);
	_exit(6);
}

/* How many of the words are in the core, in order. */
static size_t core_words(__u64 changed)
{
	int fd = open("/tmp/zcipc-core", O_RDONLY | O_CLOEXEC);
	size_t found = 0;
	struct stat st;
	__u64 want;
	char *m, *p;

	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		return -1;
	m = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	for (p = m + 16; found < CORE_PAGES && p + 8 <= m + st.st_size; p += psize) {
		want = core_word(found) + (found == 5 ? changed : 0);
		if (*(__u64 *)p == want)
			found++;
	}
	munmap(m, st.st_size);
	return found;
}

/* Adopted memory is in core dumps, as it was before. */
TEST_F(core, dumped)
{
	int status;
	pid_t child;

	child = fork();
	if (!child)
		core_dump(variant);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("%#x", status);
	if (!variant->vfork)
		ASSERT_TRUE(WCOREDUMP(status));
	ASSERT_EQ(variant->found ? CORE_PAGES : 0, core_words(variant->shared));
}

/* A region for pins: a window of its own. */
static int create_pinnable(struct ep *ep, size_t npages, struct buf *b)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .len = npages * psize, .node = ZCIPC_NODE_ANY,
		.flags = ZCIPC_CREATE_MAP | ZCIPC_CREATE_PINNABLE,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_CREATE, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = npages,
				   .p = (char *)(uintptr_t)cmd.addr };
	return rc;
}

static char *pinnable_window(struct ep *ep, size_t npages)
{
	return mmap(NULL, npages * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd,
		    ZCIPC_WINDOW_OFFSET_PINNABLE);
}

/* G10, 9: pins for as long as the holder likes, and what MOVE and COPY make of them. */
TEST_F(io, pinnable)
{
	struct zcipc_transfer cmd;
	struct buf src, dst;
	char *win, *win2;
	__u64 val = 0;
	int err;

	TEST_ERR(ENOBUFS, create_pinnable(&self->a, N, &src));
	win = pinnable_window(&self->a, 2 * N);
	ASSERT_NE(MAP_FAILED, win);
	TEST_OK(create_pinnable(&self->a, N, &src));
	ASSERT_TRUE(src.p >= win && src.p < win + 2 * N * psize);
	test_fill(&self->a, src.p, N, 1);
	self->h.p = src.p + psize;
	err = hold_fixed(&self->h, self->h.p, 2);
	if (err == EOPNOTSUPP) {
		munmap(win, 2 * N * psize);
		SKIP(return, "this kernel's io_uring does not take such memory: %s", strerror(err));
	}
	ASSERT_EQ(0, err) TH_LOG("%s", strerror(err));
	ASSERT_EQ(0, check_fixed(&self->h, 2));
	ASSERT_EQ(0, touch_read(self->h.p, &val));
	ASSERT_EQ(0xeeeeeeeeeeeeeeee, val);
	test_fill(&self->a, src.p, N, 1);

	/* A snapshot is copied, all of it, and an ordinary region. */
	cmd = transfer_cmd(&self->b, ZCIPC_COPY, src.cap, 0, 0, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(N * psize, cmd.copied);
	ASSERT_EQ(0, cmd.pages);
	test_take(&self->b, &dst);
	ASSERT_EQ(0, check_fixed(&self->h, 2));
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->a, src.p, N, 1);

	/* Who may only read has it in the ordinary window, where it stays read-only. */
	test_pass_rights(&self->a, &self->c, ZCIPC_SHARE, src.cap, ZCIPC_RIGHT_READ, &dst);
	ASSERT_TRUE(dst.p >= self->c.win && dst.p < self->c.win + WINDOW_PAGES * psize);
	test_check(&self->c, dst.p, N, 1);
	test_touch_write(SIGBUS, &self->c, dst.p);
	test_drop(&self->c, dst.cap);

	/* The peer needs such a window for the rest. What is pinned is copied. */
	test_err_send(ENOBUFS, &self->a, &self->c, ZCIPC_MOVE, src.cap);
	win2 = pinnable_window(&self->c, 2 * N);
	ASSERT_NE(MAP_FAILED, win2);
	cmd = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 0, 0, 0);
	cmd.flags = ZCIPC_F_STRICT;
	test_err_transfer(EBUSY, &self->a, &cmd);
	cmd.flags = 0;
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(2 * psize, cmd.copied);
	test_take(&self->c, &dst);
	test_check(&self->c, dst.p, N, 1);
	ASSERT_EQ(0, check_fixed(&self->h, 2));
	test_check(&self->c, dst.p, N, 1);
	test_gone(&self->a, src.p, N);
	munmap(win, 2 * N * psize);
	munmap(win2, 2 * N * psize);
}

/* --- huge pages */

static bool is_huge(const char *p)
{
	char path[64], line[256];
	unsigned long start, end, kb = 0;
	bool here = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/smaps");
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)p >= start && (uintptr_t)p < end;
		if (here && sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb;
}

/* A huge page that is really one, or NULL. */
static char *huge_page(void)
{
	char *p = anonymous(2 * HUGE / psize);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, HUGE, MADV_HUGEPAGE);
	fill(p, HUGE / psize, 1);
	return is_huge(p) ? p : NULL;
}

/* G1: as a whole it is not copied, also in parts once nothing of it is mapped elsewhere. */
TEST_F(io, huge)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	char *p = huge_page();
	struct zcipc_recv m;

	if (!p)
		SKIP(return, "there is no huge page to be had");
	test_stats(&self->a, &before);
	cmd = direct_cmd(&self->c, ZCIPC_MOVE, p, HUGE, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	test_recv(&self->c, &m);
	cmd = transfer_cmd(&self->b, ZCIPC_MOVE, m.cap, 100, 7, 0);
	test_transfer(&self->c, &cmd);
	ASSERT_EQ(0, cmd.copied);
	test_drop(&self->c, m.cap);
	test_recv(&self->b, &m);
	test_check_from(&self->b, (char *)(uintptr_t)m.addr, 100, 7, 1);
	test_drop(&self->b, m.cap);
	/* What is kept as a whole is charged as a whole. */
	p = huge_page();
	if (!p)
		SKIP(return, "there is only one huge page to be had");
	test_import(&self->a, p + 3 * psize, 5, &self->src);
	test_stats(&self->a, &after);
	ASSERT_EQ(before.user_pinned + 512, after.user_pinned);
	test_fill(&self->a, self->src.p, 5, 2);
	munmap(p, 3 * psize);
	munmap(p + 8 * psize, HUGE - 8 * psize);
	/* Now there is nothing else. */
	cmd = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	test_recv(&self->c, &m);
	test_check(&self->c, (char *)(uintptr_t)m.addr, 5, 2);
	test_drop(&self->c, m.cap);
	test_stats(&self->a, &after);
	ASSERT_EQ(before.user_pinned, after.user_pinned);
}

struct sender {
	struct ep *from, *to;
	char *p;
	size_t len;
	__u32 flags;
	volatile pid_t tid;
	int rc;
};

static void *send_thread(void *arg)
{
	struct sender *s = arg;
	struct zcipc_transfer cmd = direct_cmd(s->to, ZCIPC_MOVE, s->p, s->len, s->flags);

	s->tid = gettid();
	/* That endpoint waits. */
	s->rc = ioctl(s->from->fd, ZCIPC_IOC_TRANSFER, &cmd) ? errno : 0;
	return NULL;
}

/* G2: a range that waits to be sent, and is sent to somebody else: one of them gets new memory. */
TEST_F(io, sent_twice)
{
	char *p = memory_touched(16);
	struct ep waits, full;
	struct zcipc_recv m, m2;
	struct sender s;
	struct buf buf;
	pthread_t thread;

	test_open(&waits, WINDOW_PAGES, 0);
	test_open(&full, WINDOW_PAGES, O_NONBLOCK);
	test_depth(&full, 1);
	test_create(&self->a, 1, &buf);
	test_send(&self->a, &full, ZCIPC_COPY, buf.cap);
	s = (struct sender){ .from = &waits, .to = &full, .p = p, .len = 16 * psize };
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_thread, &s));
	ASSERT_TRUE(wait_until(thread_sleeps(s.tid)));
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p, 16 * psize, 0);
	test_recv(&full, &m);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, s.rc);
	test_recv(&self->b, &m);
	test_recv(&full, &m2);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 16, 1);
	test_fill(&full, (char *)(uintptr_t)m2.addr, 16, 3);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 16, 1);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, 16, 4);
	test_check(&full, (char *)(uintptr_t)m2.addr, 16, 3);
}

/* G2: the same range, sent to two peers at the same time. */
TEST_F(io, pinned_twice)
{
	struct zcipc_recv m, m2;
	char *p = huge_page();
	struct sender s;
	struct ep other;
	pthread_t thread;

	need_points();
	if (!p)
		SKIP(return, "there is no huge page to be had");
	test_open(&other, WINDOW_PAGES, 0);
	s = (struct sender){ .from = &other, .to = &self->c, .p = p, .len = HUGE };
	point_set("prepared", 500);
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_thread, &s));
	test_direct(&self->a, &self->b, ZCIPC_MOVE, p, HUGE, 0);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, s.rc);
	test_recv(&self->b, &m);
	test_recv(&self->c, &m2);
	test_fill(&self->c, (char *)(uintptr_t)m2.addr, 16, 3);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, 16, 4);
	test_check(&self->c, (char *)(uintptr_t)m2.addr, 16, 3);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 16, 4);
}

/*
 * 15, G2, G3: somebody gets hold of a page when it is about to be taken away. The contents are put
 * back, or the page is copied; what is held is what it was.
 */
TEST_F(io, held_in_the_last_moment)
{
	static const __u32 flags[] = { ZCIPC_F_STRICT, 0 };
	char *p = memory_touched(16), held[65536];
	struct zcipc_stats before, after;
	struct zcipc_recv m;
	struct sender s;
	pthread_t thread;
	unsigned int i;

	need_points();
	test_stats(&self->a, &before);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		s = (struct sender){ .from = &self->a, .to = &self->b, .p = p, .len = 16 * psize,
				     .flags = flags[i] };
		point_stop("expected");
		ASSERT_EQ(0, pthread_create(&thread, NULL, send_thread, &s));
		ASSERT_TRUE(point_reached());
		ASSERT_EQ(0, hold_pipe(&self->h, p + 3 * psize, 1));
		point_go();
		pthread_join(thread, NULL);
		ASSERT_EQ(flags[i] ? EBUSY : 0, s.rc);
		test_stats(&self->a, &after);
		if (flags[i]) {
			test_check(&self->a, p, 16, 1);
			ASSERT_TRUE(same_live(&before, &after));
			ASSERT_EQ(before.user_pinned, after.user_pinned);
		} else {
			test_check(&self->a, p, 16, 0);
			test_recv(&self->b, &m);
			test_check(&self->b, (char *)(uintptr_t)m.addr, 16, 2);
			test_fill(&self->b, (char *)(uintptr_t)m.addr, 16, 3);
			ASSERT_EQ(before.copied_held + psize, after.copied_held);
		}
		test_fill(&self->a, p, 16, 2);
		ASSERT_EQ((ssize_t)psize, read(self->h.fds[0], held, psize));
		ASSERT_EQ(0, check(held, 3, 1, i + 1));
	}
}

/* 13: a process whose readable memory is executable by default. */
TEST_F(io, never_executable)
{
	char line[256], *p = memory_touched(1);
	bool found = false;
	unsigned long start;
	FILE *f;

	ASSERT_NE(-1, personality(0x0400000 /* READ_IMPLIES_EXEC */));
	test_import(&self->a, p, 1, &self->src);
	f = fopen("/proc/self/maps", "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-", &start) != 1 || start != (uintptr_t)p)
			continue;
		found = true;
		EXPECT_NE(NULL, strstr(line, " rw-s")) TH_LOG("%s", line);
	}
	fclose(f);
	ASSERT_TRUE(found);
	ASSERT_EQ(-1, mprotect(p, psize, PROT_READ | PROT_EXEC));
	test_check(&self->a, p, 1, 1);
}

/* --- nobody holds pages */

#define BUSY 16

struct toucher {
	char *p;
	bool stop;
	bool go;
};

/* Touches pages that are new again and again, on whatever CPU it runs. */
static void *touch_thread(void *arg)
{
	struct toucher *t = arg;
	size_t i;

	run_on(1);
	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		if (!__atomic_load_n(&t->go, __ATOMIC_ACQUIRE)) {
			sched_yield();
			continue;
		}
		for (i = 1; i < BUSY; i += 2)
			*(volatile char *)(t->p + i * psize) = 1;
		__atomic_store_n(&t->go, false, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* G1: what looks held, but is only being looked at by core mm, is copied very rarely. */
TEST_F(io, hardly_ever_copied)
{
	unsigned long pages = 0, copied = 0;
	struct toucher t = {};
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	unsigned int i, k;
	pthread_t thread;

	t.p = anonymous(BUSY);
	madvise(t.p, BUSY * psize, MADV_NOHUGEPAGE);
	run_on(0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_thread, &t));
	for (i = 0; i < loops(1000); i++) {
		__atomic_store_n(&t.go, true, __ATOMIC_RELEASE);
		for (k = 0; k < BUSY; k += 2)
			*(volatile char *)(t.p + k * psize) = 2;
		while (__atomic_load_n(&t.go, __ATOMIC_ACQUIRE))
			sched_yield();
		cmd = direct_cmd(&self->c, ZCIPC_MOVE, t.p, BUSY * psize, 0);
		test_transfer(&self->a, &cmd);
		pages += BUSY;
		copied += cmd.copied / psize;
		test_recv(&self->c, &m);
		for (k = 0; k < BUSY; k++)
			ASSERT_EQ(2 - k % 2, *(char *)(uintptr_t)(m.addr + k * psize));
		test_drop(&self->c, m.cap);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	munmap(t.p, BUSY * psize);
	TH_LOG("%lu of %lu pages copied", copied, pages);
	ASSERT_LE(copied * 10000, pages + 10000);
}

/* --- memory whose owner does not provide it */

/* The call of a peer's thread, which waits for memory. */
struct stuck {
	pthread_t thread;
	unsigned int nr;
	int fd;
	unsigned char cmd[512];
	void *arg;
	int rc;
	int err;
	bool done;
};

static void *stuck_thread(void *arg)
{
	struct stuck *stuck = arg;

	stuck->rc = ioctl(stuck->fd, stuck->nr, stuck->arg);
	stuck->err = errno;
	__atomic_store_n(&stuck->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static struct stuck stuck;

/* With the struct that is sent along, or one at an address. */
static long call_stuck(struct ep *ep, struct call *c)
{
	stuck = (struct stuck){ .nr = c->n, .fd = ep->fd };
	memcpy(stuck.cmd, c->cmd, sizeof(stuck.cmd));
	stuck.arg = c->addr ? (void *)(uintptr_t)c->addr : stuck.cmd;
	return pthread_create(&stuck.thread, NULL, stuck_thread, &stuck) ? -1 : 0;
}

/* 1: it still is, else what came of it. */
static long call_stuck_result(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	if (!__atomic_load_n(&stuck.done, __ATOMIC_ACQUIRE))
		return 1;
	errno = stuck.err;
	return stuck.rc;
}

static int ep_stuck_result(struct ep *ep)
{
	struct call c = { .fn = call_stuck_result };

	return ep_call(ep, &c);
}

static int watch_fd = -1;

/* New memory that nobody provides for: userfaultfd watches it. */
static long call_watched(struct ep *ep, struct call *c)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .len = c->n * psize }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	char *p = anonymous(c->n);

	(void)ep;
	reg.range.start = (uintptr_t)p;
	c->addr = (uintptr_t)p;
	watch_fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (watch_fd < 0 || ioctl(watch_fd, UFFDIO_API, &api))
		return -1;
	return ioctl(watch_fd, UFFDIO_REGISTER, &reg);
}

/* Waits until somebody waits. */
static long call_watched_waits(struct ep *ep, struct call *c)
{
	struct pollfd pfd = { .fd = watch_fd, .events = POLLIN };

	(void)ep;
	(void)c;
	return poll(&pfd, 1, -1) == 1 && pfd.revents & POLLIN ? 0 : -1;
}

static long call_unwatch(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	return close(watch_fd);
}

static long call_touched(struct ep *ep, struct call *c)
{
	(void)ep;
	c->addr = (uintptr_t)memory_touched(c->n);
	return 0;
}

enum stalls { IN_MEMORY, IN_STRUCT, IN_BATCH, IN_WATCHED };

FIXTURE(stall)
{
	struct base base;
	struct ep v, b, c;
	struct stalled file;
	char *map;
};

FIXTURE_VARIANT(stall)
{
	enum stalls where;
	__u32 type;
	size_t skip;			/* bytes of a page that are not sent */
};

FIXTURE_VARIANT_ADD(stall, move) { .where = IN_MEMORY, .type = ZCIPC_MOVE };
FIXTURE_VARIANT_ADD(stall, copy) { .where = IN_MEMORY, .type = ZCIPC_COPY };
FIXTURE_VARIANT_ADD(stall, copy_part) { .where = IN_MEMORY, .type = ZCIPC_COPY, .skip = 24 };
FIXTURE_VARIANT_ADD(stall, call) { .where = IN_STRUCT };
FIXTURE_VARIANT_ADD(stall, batch) { .where = IN_BATCH };
FIXTURE_VARIANT_ADD(stall, watched_move) { .where = IN_WATCHED, .type = ZCIPC_MOVE };
FIXTURE_VARIANT_ADD(stall, watched_copy) { .where = IN_WATCHED, .type = ZCIPC_COPY };

FIXTURE_SETUP(stall)
{
	int fd;

	if (variant->where == IN_WATCHED) {
		fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			SKIP(_exit(KSFT_SKIP), "userfaultfd: %s", strerror(errno));
		close(fd);
	} else if (!stalled_exists()) {
		SKIP(_exit(KSFT_SKIP), "there is no FUSE");
	}
	base_setup(_metadata, &self->base);
	if (variant->where == IN_WATCHED) {
		self->file = (struct stalled){ .dev = -1, .mount = -1, .fd = -1 };
	} else {
		ASSERT_EQ(0, stalled_open(&self->file, N * psize, 0, 0));
		self->map = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				 self->file.fd, 0);
		ASSERT_NE(MAP_FAILED, self->map);
	}
	/* They have inherited the mapping, not the server. */
	test_start(&self->v, true, WINDOW_PAGES);
	test_start(&self->b, true, WINDOW_PAGES);
	test_open(&self->c, WINDOW_PAGES, O_NONBLOCK);
}

FIXTURE_TEARDOWN(stall)
{
	stalled_close(&self->file);
	if (self->map)
		munmap(self->map, N * psize);
	base_teardown(_metadata, &self->base);
}

/* A thread of the victim waits for memory. */
static void stall(struct __test_metadata *_metadata, FIXTURE_DATA(stall) *self,
		  const FIXTURE_VARIANT(stall) *variant)
{
	struct call watch = { .fn = call_watched, .n = N }, waits = { .fn = call_watched_waits };
	struct call c = { .fn = call_stuck, .n = ZCIPC_IOC_TRANSFER };
	struct zcipc_transfer_batch batch = {
		.size = sizeof(batch), .transfers = (uintptr_t)self->map, .ntransfers = 2,
		.transfer_size = sizeof(struct zcipc_transfer),
	};
	struct zcipc_transfer cmd;
	char *p = self->map;
	struct buf buf;

	if (variant->where == IN_WATCHED) {
		ASSERT_EQ(0, ep_call(&self->v, &watch));
		p = (char *)(uintptr_t)watch.addr;
	}
	cmd = direct_cmd(&self->b, variant->type, p + variant->skip,
			 N * psize - 2 * variant->skip, ZCIPC_F_COPY_OK);
	if (variant->skip)
		cmd.flags |= ZCIPC_F_ANY_ALIGN;
	switch (variant->where) {
	case IN_MEMORY:
	case IN_WATCHED:
		/* Without a copy it is not waited for. */
		test_err_import(EOPNOTSUPP, &self->v, p, N, &buf);
		test_err_direct(EOPNOTSUPP, &self->v, &self->b, variant->type, p, N * psize, 0);
		memcpy(c.cmd, &cmd, sizeof(cmd));
		break;
	case IN_STRUCT:
		c.addr = (uintptr_t)p;
		break;
	case IN_BATCH:
		c.n = ZCIPC_IOC_TRANSFER_BATCH;
		memcpy(c.cmd, &batch, sizeof(batch));
		break;
	}
	ASSERT_EQ(0, ep_call(&self->v, &c));
	ASSERT_TRUE(variant->where == IN_WATCHED ? !ep_call(&self->v, &waits) :
						   stalled_waits(&self->file, -1));
	ASSERT_EQ(1, ep_stuck_result(&self->v));
}

/* Sends one page and receives it. */
static void pass_one(struct __test_metadata *_metadata, struct ep *from, struct ep *to, __u32 type)
{
	struct buf src, dst;

	test_create(from, 1, &src);
	test_fill(from, src.p, 1, 5);
	test_pass(from, to, type, src.cap, &dst);
	test_check(to, dst.p, 1, 5);
	test_fill(to, dst.p, 1, 6);
	test_check(to, dst.p, 1, 6);
	test_drop(to, dst.cap);
	if (type != ZCIPC_MOVE)
		test_drop(from, src.cap);
}

/* Sends memory and receives it. */
static void pass_memory(struct __test_metadata *_metadata, struct ep *from, struct ep *to,
			__u32 type)
{
	struct call memory = { .fn = call_touched, .n = N };
	struct buf buf;
	char *p;

	ASSERT_EQ(0, ep_call(from, &memory));
	p = (char *)(uintptr_t)memory.addr;
	test_direct(from, to, type, p, N * psize, 0);
	test_take(to, &buf);
	test_check(to, buf.p, N, 1);
	test_drop(to, buf.cap);
	test_check(from, p, N, type == ZCIPC_MOVE ? 0 : 1);
	if (from->sock < 0)
		munmap(p, N * psize);
}

/* Whoever else there is, be it in the same endpoint or process. */
static void others_go_on(struct __test_metadata *_metadata, FIXTURE_DATA(stall) *self)
{
	struct zcipc_stats stats;
	__u32 type;

	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		pass_one(_metadata, &self->c, &self->b, type);
		pass_one(_metadata, &self->b, &self->v, type);
		pass_one(_metadata, &self->v, &self->b, type);
		pass_memory(_metadata, &self->c, &self->b, type);
		pass_memory(_metadata, &self->c, &self->v, type);
		pass_memory(_metadata, &self->v, &self->b, type);
	}
	test_stats(&self->c, &stats);
	test_stats(&self->v, &stats);
	ASSERT_EQ(1, ep_stuck_result(&self->v));
}

/* 21: nobody else waits for it, and who does can be killed. */
TEST_F(stall, killed)
{
	struct zcipc_recv m;

	stall(_metadata, self, variant);
	others_go_on(_metadata, self);
	ASSERT_EQ(0, kill(self->v.pid, SIGKILL));
	ASSERT_TRUE(wait_until(waitpid(self->v.pid, NULL, WNOHANG) == self->v.pid));
	pass_one(_metadata, &self->c, &self->b, ZCIPC_MOVE);
	pass_memory(_metadata, &self->c, &self->b, ZCIPC_MOVE);
	/* Nothing of what had been begun has come. */
	test_direct(&self->c, &self->b, ZCIPC_COPY, "only this", 10,
		    ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	ASSERT_EQ(10, m.len);
}

/* 21: it goes on when the memory is there. */
TEST_F(stall, goes_on)
{
	size_t from = variant->skip, to = N * psize - variant->skip, i;
	struct call unwatch = { .fn = call_unwatch };
	struct zcipc_recv m;
	__u64 val;
	int rc;

	stall(_metadata, self, variant);
	others_go_on(_metadata, self);
	if (variant->where == IN_WATCHED)
		ASSERT_EQ(0, ep_call(&self->v, &unwatch));
	for (i = 0; i < WAIT_TRIES; i++) {
		rc = ep_stuck_result(&self->v);
		if (rc != 1)
			break;
		if (variant->where == IN_WATCHED)
			msleep(5);
		else if (fuse_serve(&self->file, 5) < 0)
			break;
	}
	if (variant->where == IN_STRUCT) {
		ASSERT_EQ(-1, rc);
		ASSERT_EQ(E2BIG, errno);
		return;
	}
	ASSERT_EQ(0, rc) TH_LOG("%s", strerror(errno));
	/* The peer gets no message of those in a batch, which are all wrong. */
	if (variant->where == IN_BATCH) {
		pass_one(_metadata, &self->v, &self->b, ZCIPC_MOVE);
		return;
	}
	test_recv(&self->b, &m);
	ASSERT_EQ(to - from, m.len);
	ASSERT_EQ(from, m.offset);
	for (i = 0; i < N * psize; i += sizeof(val)) {
		ASSERT_EQ(0, ep_read(&self->b, (char *)(uintptr_t)m.addr - m.offset + i, &val));
		ASSERT_EQ(i < from || i >= to || variant->where == IN_WATCHED ? 0 : STALLED_WORD,
			  val);
		/* Most are like the others: a call for each word takes long. */
		if (i % psize >= 64 && i % psize < psize - 64)
			i = i / psize * psize + psize - 64 - sizeof(val);
	}
}

/* --- pages that the kernel has merged */

/* The frame that a page is in. 0: none. */
static __u64 frame_of(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / psize * sizeof(entry)) !=
	    sizeof(entry) || !(entry >> 63))
		entry = 0;
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

static long call_frame(struct ep *ep, struct call *c)
{
	(void)ep;
	c->val = frame_of((void *)(uintptr_t)c->addr);
	return 0;
}

static __u64 ep_frame(struct ep *ep, const char *p)
{
	struct call c = { .fn = call_frame, .addr = (uintptr_t)p };

	return ep_call(ep, &c) ? 0 : c.val;
}

static long call_mergeable(struct ep *ep, struct call *c)
{
	char *p = memory_touched(c->n);

	(void)ep;
	c->addr = (uintptr_t)p;
	return madvise(p, c->n * psize, MADV_MERGEABLE);
}

/* New memory with the same contents as all that this has made. */
static char *ep_mergeable(struct ep *ep, size_t npages)
{
	struct call c = { .fn = call_mergeable, .n = npages };

	return ep_call(ep, &c) ? NULL : (char *)(uintptr_t)c.addr;
}

/* Each page of two areas is one page. */
static bool merged(struct ep *a, const char *p, struct ep *b, const char *q, size_t npages)
{
	size_t i;

	for (i = 0; i < npages * psize; i += psize) {
		__u64 frame = ep_frame(a, p + i);

		if (!frame || frame != ep_frame(b, q + i))
			return false;
	}
	return true;
}

FIXTURE(ksm)
{
	struct base base;
	struct ep a, b, c;
	char *p, *q, *r;
	struct ksm_settings old;
};

FIXTURE_SETUP(ksm)
{
	if (access(KSM "run", W_OK))
		SKIP(_exit(KSFT_SKIP), "there is no KSM");
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	ksm_start(&self->old, 1000);
	/* One that is sent, one that stays, and one of another process. */
	self->p = ep_mergeable(&self->a, N);
	self->q = ep_mergeable(&self->a, N);
	self->r = ep_mergeable(&self->b, N);
	ASSERT_NE(NULL, self->p);
	ASSERT_NE(NULL, self->q);
	ASSERT_NE(NULL, self->r);
}

FIXTURE_TEARDOWN(ksm)
{
	munmap(self->p, N * psize);
	munmap(self->q, N * psize);
	base_teardown(_metadata, &self->base);
	ksm_end(&self->old);
}

/* Waits until all are one, and stops it there: it looks at pages, for which it holds them. */
static void ksm_merge(struct __test_metadata *_metadata, FIXTURE_DATA(ksm) *self)
{
	ASSERT_TRUE(wait_until(merged(&self->a, self->p, &self->a, self->q, N) &&
			       merged(&self->a, self->q, &self->b, self->r, N)));
	number_write(KSM "run", 0);
	ASSERT_TRUE(merged(&self->a, self->p, &self->a, self->q, N));
}

/* Whoever else has the pages has them as they were, now and after it has looked at all again. */
static void ksm_others(struct __test_metadata *_metadata, FIXTURE_DATA(ksm) *self)
{
	long scans;
	int i;

	for (i = 0; i < 2; i++) {
		test_check(&self->a, self->q, N, 1);
		test_check(&self->b, self->r, N, 1);
		ASSERT_TRUE(merged(&self->a, self->q, &self->b, self->r, N));
		if (i)
			break;
		number_write(KSM "run", 1);
		scans = file_number(KSM "full_scans", NULL);
		ASSERT_TRUE(wait_until(file_number(KSM "full_scans", NULL) > scans + 2));
	}
	number_write(KSM "run", 0);
}

/* 19, G4: a merged page that is adopted is the owner's alone. */
TEST_F(ksm, adopted)
{
	struct zcipc_transfer cmd;
	struct buf buf, dst, copy;

	ksm_merge(_metadata, self);
	test_import(&self->a, self->p, N, &buf);
	test_check(&self->a, self->p, N, 1);
	test_pass(&self->a, &self->c, ZCIPC_COPY, buf.cap, &copy);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, buf.cap, &dst);
	test_fill(&self->a, self->p, N, 2);
	test_check(&self->b, dst.p, N, 2);
	ksm_others(_metadata, self);
	test_fill(&self->b, dst.p, N, 3);
	test_check(&self->a, self->p, N, 3);
	ksm_others(_metadata, self);
	test_check(&self->c, copy.p, N, 1);
	test_drop(&self->b, dst.cap);
	cmd = transfer_cmd(&self->c, ZCIPC_MOVE, buf.cap, 0, 0, 0);
	cmd.flags = ZCIPC_F_STRICT;
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(N, cmd.pages);
	test_take(&self->c, &dst);
	test_gone(&self->a, self->p, N);
	test_fill(&self->c, dst.p, N, 4);
	ksm_others(_metadata, self);
	test_check(&self->c, dst.p, N, 4);
	test_check(&self->c, copy.p, N, 1);
}

/* 19, G2: and so is one that is sent. */
TEST_F(ksm, moved)
{
	struct zcipc_transfer cmd;
	struct buf dst;

	ksm_merge(_metadata, self);
	cmd = direct_cmd(&self->b, ZCIPC_MOVE, self->p, N * psize, ZCIPC_F_STRICT);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(N, cmd.pages);
	test_check(&self->a, self->p, N, 0);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, N, 1);
	ksm_others(_metadata, self);
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->b, dst.p, N, 2);
	ksm_others(_metadata, self);
	test_check(&self->b, dst.p, N, 2);
	/* What the others write is not what has been sent, either. */
	test_fill(&self->a, self->q, N, 3);
	test_fill(&self->b, self->r, N, 4);
	test_check(&self->b, dst.p, N, 2);
	test_check(&self->a, self->p, N, 0);
	test_check(&self->a, self->q, N, 3);
}

TEST_F(ksm, copied)
{
	struct zcipc_transfer cmd;
	struct buf dst;

	ksm_merge(_metadata, self);
	cmd = direct_cmd(&self->c, ZCIPC_COPY, self->p, N * psize, ZCIPC_F_STRICT);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(N, cmd.pages);
	test_take(&self->c, &dst);
	test_fill(&self->a, self->p, N, 2);
	test_check(&self->c, dst.p, N, 1);
	ksm_others(_metadata, self);
	test_fill(&self->c, dst.p, N, 3);
	test_check(&self->a, self->p, N, 2);
	ksm_others(_metadata, self);
	test_check(&self->c, dst.p, N, 3);
}

/* 5, 20: what has been adopted is not merged any more, whatever its owner would like. */
TEST_F(ksm, advised_after)
{
	char *p = memory_touched(N);
	__u64 frames[N];
	struct buf buf, here, dst;
	int i;

	test_import(&self->a, p, N, &buf);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, buf.cap, &dst);
	/* Nobody can see where the pages are but in a window. */
	test_pass(&self->a, &self->a, ZCIPC_SHARE, buf.cap, &here);
	test_check(&self->a, here.p, N, 1);
	for (i = 0; i < N; i++)
		frames[i] = frame_of(here.p + i * psize);
	ASSERT_EQ(0, madvise(p, N * psize, MADV_MERGEABLE));
	/* That it works is seen by those that are merged. */
	ksm_merge(_metadata, self);
	ksm_others(_metadata, self);
	for (i = 0; i < N; i++) {
		ASSERT_NE(0, frames[i]);
		ASSERT_EQ(frames[i], frame_of(here.p + i * psize));
		ASSERT_NE(frames[i], frame_of(self->q + i * psize));
	}
	test_check(&self->a, p, N, 1);
	test_fill(&self->a, p, N, 2);
	test_check(&self->b, dst.p, N, 2);
	test_fill(&self->b, dst.p, N, 3);
	test_check(&self->a, p, N, 3);
	ASSERT_EQ(0, madvise(p, N * psize, MADV_UNMERGEABLE));
	test_check(&self->a, p, N, 3);
	ksm_others(_metadata, self);
	munmap(p, N * psize);
}

/* --- much at once */

#define LARGE (256UL << 20)
#define LARGE_PAGES (LARGE / psize)

#define PROACTIVENESS "/proc/sys/vm/compaction_proactiveness"

FIXTURE(large)
{
	struct base base;
	struct ep a, b;
	char *p;
	long proactiveness;
};

FIXTURE_VARIANT(large)
{
	int advice;
};

FIXTURE_VARIANT_ADD(large, small) { .advice = MADV_NOHUGEPAGE };
FIXTURE_VARIANT_ADD(large, huge) { .advice = MADV_HUGEPAGE };

/* A word of each page. */
static long call_words(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	size_t i;
	__u64 val;

	(void)ep;
	for (i = 0; i < c->n; i++)
		if (touch_read(p + i * psize + i % 512 * 8, &val) || val != pattern(7, i, 0))
			return i + 1;
	return 0;
}

static long ep_words(struct ep *ep, const char *p)
{
	struct call c = { .fn = call_words, .addr = (uintptr_t)p, .n = LARGE_PAGES };

	return ep_call(ep, &c);
}

FIXTURE_SETUP(large)
{
	size_t i;
	void *p;

	if (!access("/proc/lockdep", F_OK))
		SKIP(_exit(KSFT_SKIP), "takes minutes on a kernel that checks itself");
	if (file_number("/proc/meminfo", "MemAvailable:") < (long)(3 * LARGE / 1024))
		SKIP(_exit(KSFT_SKIP), "too little memory");
	base_setup(_metadata, &self->base);
	quota_set(2 * LARGE >> 20);
	/* Who looks for pages to move holds them meanwhile. */
	self->proactiveness = file_number(PROACTIVENESS, NULL);
	number_write(PROACTIVENESS, 0);
	test_open(&self->a, 2 * LARGE_PAGES, O_NONBLOCK);
	test_start(&self->b, true, 2 * LARGE_PAGES);
	/* Of huge pages all is sent: the rest of one would be copied. */
	ASSERT_EQ(0, posix_memalign(&p, HUGE, LARGE));
	self->p = p;
	madvise(p, LARGE, variant->advice);
	for (i = 0; i < LARGE_PAGES; i++)
		*(__u64 *)(self->p + i * psize + i % 512 * 8) = pattern(7, i, 0);
}

FIXTURE_TEARDOWN(large)
{
	munmap(self->p, LARGE);
	base_teardown(_metadata, &self->base);
	quota_set(0);
	number_write(PROACTIVENESS, self->proactiveness);
}

static __u64 all_copied(const struct zcipc_stats *stats)
{
	return stats->copied_write + stats->copied_held + stats->copied_node +
	       stats->copied_memory;
}

/* G1: whatever the size, nothing is copied. */
TEST_F(large, adopted)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct buf buf;

	test_stats(&self->a, &before);
	test_import(&self->a, self->p, LARGE_PAGES, &buf);
	ASSERT_EQ(0, ep_words(&self->a, self->p));
	cmd = transfer_cmd(&self->b, ZCIPC_MOVE, buf.cap, 0, 0, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(LARGE_PAGES, cmd.pages);
	test_take(&self->b, &buf);
	ASSERT_EQ(0, ep_words(&self->b, buf.p));
	test_gone(&self->a, self->p, 8);
	test_stats(&self->a, &after);
	ASSERT_EQ(all_copied(&before), all_copied(&after));
}

TEST_F(large, direct)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct buf buf;
	size_t i;

	test_stats(&self->a, &before);
	cmd = direct_cmd(&self->b, ZCIPC_MOVE, self->p, LARGE, 0);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, cmd.copied);
	ASSERT_EQ(LARGE_PAGES, cmd.pages);
	test_take(&self->b, &buf);
	ASSERT_EQ(0, ep_words(&self->b, buf.p));
	test_stats(&self->a, &after);
	ASSERT_EQ(all_copied(&before), all_copied(&after));
	for (i = 0; i < LARGE; i += 100 * psize)
		test_check(&self->a, self->p + i, 1, 0);
}

/* What is mapped outside of a window, more than is unmapped at a time. */
#define MUCH	4200

FIXTURE(outside)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(outside)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, MUCH, O_NONBLOCK);
	test_open(&self->b, MUCH, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(outside)

TEST_F(outside, much)
{
	struct zcipc_transfer cmd;
	struct buf buf, got;
	int i;

	for (i = 0; i < 3; i++) {
		char *p = mmap(NULL, MUCH * psize, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(MAP_FAILED, p);
		test_fill(&self->a, p, MUCH, 1);
		test_import(&self->a, p, MUCH, &buf);
		cmd = transfer_cmd(&self->b, i == 1 ? ZCIPC_MOVE : ZCIPC_COPY, buf.cap, 0, 0, 0);
		test_transfer(&self->a, &cmd);
		test_take(&self->b, &got);
		test_check(&self->b, got.p, MUCH, 1);
		if (i == 2)
			test_revoke(&self->a, NULL, buf.cap, 0, &buf.region);
		ASSERT_EQ(0, munmap(p, MUCH * psize));
		test_drop(&self->b, got.cap);
	}
}

TEST_F(outside, much_executable)
{
	struct zcipc_unmap unmap = { .size = sizeof(unmap), .flags = ZCIPC_UNMAP_OFFSET };
	struct buf buf;
	char *offset;

	test_create(&self->a, MUCH, &buf);
	test_map(&self->a, buf.cap, 0, 0, ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC, &offset);
	unmap.addr = (uintptr_t)offset;
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_UNMAP, &unmap));
	test_map(&self->a, buf.cap, 0, 0, ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC, &offset);
	test_drop(&self->a, buf.cap);
}

/* --- what was sent stays what it was */

#define test_touch_read_zero(ep, p)					\
do {									\
	__u64 __val = 1;						\
									\
	ASSERT_EQ(0, ep_read(ep, p, &__val));				\
	ASSERT_EQ(0, __val);						\
} while (0)

FIXTURE(plain)
{
	struct base base;
	struct ep a, b;
	char *p;
};

FIXTURE_SETUP(plain)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	self->p = memory_touched(N);
	ASSERT_NE(NULL, self->p);
	test_fill(&self->a, self->p, N, 1);
}

FIXTURE_TEARDOWN(plain)
{
	munmap(self->p, N * psize);
	base_teardown(_metadata, &self->base);
}

static struct zcipc_transfer plain_cmd(struct ep *to, __u32 type, const void *p, size_t len)
{
	struct zcipc_transfer cmd = direct_cmd(to, type, p, len, ZCIPC_F_ANY_ALIGN);

	cmd.flags &= ~ZCIPC_F_IMPORT;
	if (type == ZCIPC_SHARE)
		cmd.flags &= ~ZCIPC_F_ANY_ALIGN;
	return cmd;
}

/* COPY changes nothing about the memory: it is inherited, discarded and given back as any other. */
TEST_F(plain, copied)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct buf buf;
	pid_t child;
	int status;

	test_stats(&self->a, &before);
	cmd = plain_cmd(&self->b, ZCIPC_COPY, self->p, N * psize);
	test_transfer(&self->a, &cmd);
	EXPECT_EQ(N * psize, cmd.copied);
	EXPECT_EQ(0, cmd.pages);
	test_fill(&self->a, self->p, N, 2);
	test_take(&self->b, &buf);
	test_check(&self->b, buf.p, N, 1);
	ASSERT_FALSE(is_adopted(self->p));
	test_stats(&self->a, &after);
	EXPECT_EQ(before.user_pinned, after.user_pinned);
	EXPECT_EQ(owned(&before) + N, owned(&after));
	child = fork();
	if (!child)
		_exit(ep_check(&self->a, self->p, N, 2) ? 1 : 0);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, madvise(self->p, N * psize, MADV_DONTNEED));
	EXPECT_EQ(0, self->p[0]);
	EXPECT_EQ(0, self->p[(N - 1) * psize + 8]);
	test_check(&self->b, buf.p, N, 1);
}

/* What can be read can be copied: here what cannot be written to. */
TEST_F(plain, whatever_can_be_read)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;

	cmd = plain_cmd(&self->b, ZCIPC_COPY, "some text", 10);
	test_transfer(&self->a, &cmd);
	test_recv(&self->b, &m);
	EXPECT_EQ(10, m.len);
	ASSERT_EQ(0, mprotect(self->p, psize, PROT_READ));
	cmd = plain_cmd(&self->b, ZCIPC_COPY, self->p, N * psize);
	test_transfer(&self->a, &cmd);
	ASSERT_EQ(0, mprotect(self->p, psize, PROT_NONE));
	test_err_transfer(EFAULT, &self->a, &cmd);
	ASSERT_EQ(0, mprotect(self->p, psize, PROT_READ | PROT_WRITE));
}

/* Private memory is shared only by who wants that; what is shared already can be. */
TEST_F(plain, shared)
{
	struct zcipc_transfer cmd = plain_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize);
	struct buf buf;
	char *p;

	test_err_transfer(EOPNOTSUPP, &self->a, &cmd);
	ASSERT_FALSE(is_adopted(self->p));
	test_check(&self->a, self->p, N, 1);
	p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	test_fill(&self->a, p, N, 3);
	cmd = plain_cmd(&self->b, ZCIPC_SHARE, p, N * psize);
	cmd.rights = RIGHTS_RW;
	test_transfer(&self->a, &cmd);
	test_take(&self->b, &buf);
	test_check(&self->b, buf.p, N, 3);
	ASSERT_EQ(0, munmap(p, N * psize));
	test_err_transfer(EFAULT, &self->a, &cmd);
	/* What is a region is one. */
	test_import(&self->a, self->p, N, &buf);
	cmd = plain_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize);
	test_transfer(&self->a, &cmd);
	cmd = plain_cmd(&self->b, ZCIPC_COPY, self->p, N * psize);
	test_transfer(&self->a, &cmd);
	EXPECT_EQ(0, cmd.copied);
	EXPECT_EQ(N, cmd.pages);
	cmd = plain_cmd(&self->b, ZCIPC_MOVE, self->p, psize);
	cmd.flags |= ZCIPC_F_IMPORT;
	test_err_transfer(EINVAL, &self->a, &cmd);
}

/* What the receiver drops is what it gets next. G7: the rest of a page is zero. */
TEST_F(plain, to_dropped_memory)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	unsigned int i;
	char *p;

	cmd = plain_cmd(&self->b, ZCIPC_COPY, self->p, N * psize);
	test_transfer(&self->a, &cmd);
	test_recv(&self->b, &m);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 7);
	test_drop(&self->b, m.cap);
	test_stats(&self->a, &before);
	for (i = 0; i < 20; i++) {
		/* A part of the first page, and of the last. */
		cmd = plain_cmd(&self->b, ZCIPC_COPY, self->p + 100, N * psize - 300);
		test_transfer(&self->a, &cmd);
		test_stats(&self->a, &after);
		ASSERT_EQ(before.user_pages, after.user_pages);
		test_recv(&self->b, &m);
		p = (char *)(uintptr_t)m.addr - 100;
		ASSERT_EQ(N * psize - 300, m.len);
		ASSERT_EQ(0, (uintptr_t)p % psize);
		ASSERT_EQ(0, ep_check_from(&self->b, p + psize, 1, N - 2, 1));
		test_touch_read_zero(&self->b, p);
		test_touch_read_zero(&self->b, p + N * psize - 200);
		test_touch_read_zero(&self->b, p + N * psize - 8);
		test_drop(&self->b, m.cap);
	}
}

/* --- how many mappings a process can have */

#define MAX_MAP_COUNT "/proc/sys/vm/max_map_count"

/* Too few for all of them, and so many that an import has to look. */
#define MAPPINGS 1500

FIXTURE(scattered)
{
	struct base base;
	struct ep a;
	long max;
	char *p;
};

FIXTURE_SETUP(scattered)
{
	base_setup(_metadata, &self->base);
	self->max = file_number(MAX_MAP_COUNT, NULL);
	self->p = memory_touched(2 * MAPPINGS);
	ASSERT_NE(MAP_FAILED, self->p);
	test_open(&self->a, 0, O_NONBLOCK);
	number_write(MAX_MAP_COUNT, MAPPINGS);
	if (file_number(MAX_MAP_COUNT, NULL) != MAPPINGS)
		SKIP(return, "the limit cannot be set");
}

FIXTURE_TEARDOWN(scattered)
{
	number_write(MAX_MAP_COUNT, self->max);
	munmap(self->p, 2 * MAPPINGS * psize);
	base_teardown(_metadata, &self->base);
}

/* Imports every second page until that fails. Returns how many it did. */
static unsigned int import_scattered(struct ep *ep, char *p, unsigned int max)
{
	unsigned int i;
	struct buf buf;

	for (i = 0; i < max; i++)
		if (zc_import(ep, p + 2 * i * psize, 1, &buf))
			break;
	return i;
}

/* The program's own mappings, of which no two can be merged. Returns how many it could have. */
static unsigned int map_some(unsigned int max)
{
	unsigned int i, n;
	void *p[64];

	for (n = 0; n < max; n++) {
		p[n] = mmap(NULL, psize, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (p[n] == MAP_FAILED)
			break;
	}
	for (i = 0; i < n; i++)
		munmap(p[i], psize);
	return n;
}

/* G11: no import takes the last mapping that a process can have, and all can be undone. */
TEST_F(scattered, until_there_are_too_many)
{
	unsigned int i, n;
	__u64 copied;

	for (i = 0; i < 3; i++) {
		n = import_scattered(&self->a, self->p, MAPPINGS);
		ASSERT_EQ(ENOMEM, errno);
		/* Two for each, but for what there is besides. */
		ASSERT_LT(MAPPINGS / 2 - 200, n);
		ASSERT_GT(MAPPINGS / 2, n);
		ASSERT_EQ(60, map_some(60));
		/* Nothing is left of what looks for room. */
		ASSERT_EQ(0, import_scattered(&self->a, self->p + 2 * n * psize, 1));
		ASSERT_EQ(60, map_some(60));
		test_check(&self->a, self->p, 2 * MAPPINGS, 1);
		TEST_OK(zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
		ASSERT_EQ(n * psize, copied);
		test_check(&self->a, self->p, 2 * MAPPINGS, 1);
		ASSERT_EQ(1, mappings(self->p, self->p + 2 * MAPPINGS * psize, NULL));
	}
}

/* What the process has mapped itself is undone first, then the rest. */
TEST_F(scattered, by_the_program_too)
{
	unsigned int n = import_scattered(&self->a, self->p, MAPPINGS), i;
	static void *own[2 * MAPPINGS];
	__u64 copied;

	ASSERT_EQ(ENOMEM, errno);
	for (i = 0; i < ARRAY_SIZE(own); i++) {
		own[i] = mmap(NULL, psize, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (own[i] == MAP_FAILED)
			break;
	}
	ASSERT_LT(i, ARRAY_SIZE(own));
	/* No mapping at all is to be had, and nothing is lost. */
	ASSERT_EQ(-1, zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
	ASSERT_EQ(ENOMEM, errno);
	test_check(&self->a, self->p, 2 * MAPPINGS, 1);
	ASSERT_EQ(0, munmap(own[--i], psize));
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
	ASSERT_EQ(n * psize, copied);
	test_check(&self->a, self->p, 2 * MAPPINGS, 1);
	while (i)
		munmap(own[--i], psize);
}

/* By a COPY it is the same; nor does it remain a region. */
TEST_F(scattered, copied)
{
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	unsigned int i;
	__u64 copied;
	struct ep b;

	test_open(&b, WINDOW_PAGES, O_NONBLOCK);
	for (i = 0; i < MAPPINGS; i++) {
		cmd = direct_cmd(&b, ZCIPC_COPY, self->p + 2 * i * psize, psize, ZCIPC_F_IMPORT);
		if (zc_transfer(&self->a, &cmd))
			break;
		test_recv(&b, &m);
		test_drop(&b, m.cap);
	}
	ASSERT_EQ(ENOMEM, errno);
	ASSERT_FALSE(is_adopted(self->p + 2 * i * psize));
	ASSERT_EQ(60, map_some(60));
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, 2 * MAPPINGS * psize, &copied));
	test_check(&self->a, self->p, 2 * MAPPINGS, 1);
}

/* --- what is imported side by side */

#define BESIDE 256

FIXTURE(beside)
{
	struct base base;
	struct ep a, b;
	struct zcipc_stats before;
	char *all, *p;		/* there is a page on both sides of what is adopted */
	struct buf bufs[BESIDE];
};

FIXTURE_VARIANT(beside)
{
	size_t (*nth)(size_t i);	/* which page is the Nth to be imported */
	bool implicit;			/* nobody knows the capabilities */
	long max;			/* mappings that there may be then */
};

static size_t nth_upwards(size_t i)
{
	return i;
}

static size_t nth_downwards(size_t i)
{
	return BESIDE - 1 - i;
}

/* Every second one first. */
static size_t nth_second(size_t i)
{
	return i < BESIDE / 2 ? 2 * i : 2 * (i - BESIDE / 2) + 1;
}

static size_t nth_any(size_t i)
{
	return (i * 151 + (i * i) % 2 * 64) % BESIDE;
}

FIXTURE_VARIANT_ADD(beside, upwards) { .nth = nth_upwards, .max = 10 };
FIXTURE_VARIANT_ADD(beside, downwards) { .nth = nth_downwards, .max = 10 };
FIXTURE_VARIANT_ADD(beside, second) { .nth = nth_second, .max = 10 };
FIXTURE_VARIANT_ADD(beside, any) { .nth = nth_any, .max = 20 };
FIXTURE_VARIANT_ADD(beside, implicit) { .nth = nth_upwards, .implicit = true, .max = 10 };

static int import_beside(struct ep *a, struct ep *b, char *p, bool implicit, struct buf *buf)
{
	struct zcipc_transfer cmd = direct_cmd(b, ZCIPC_COPY, p, psize, ZCIPC_F_IMPORT);
	struct zcipc_recv m;

	if (!implicit)
		return zc_import(a, p, 1, buf);
	return zc_transfer(a, &cmd) || zc_recv(b, &m) || zc_drop(b, m.cap);
}

FIXTURE_SETUP(beside)
{
	size_t i, n;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	self->all = memory_touched(BESIDE + 2);
	self->p = self->all + psize;
	fill(self->p, BESIDE, 1);
	test_stats(&self->a, &self->before);
	for (i = 0; i < BESIDE; i++) {
		n = variant->nth(i);
		TEST_OK(import_beside(&self->a, &self->b, self->p + n * psize, variant->implicit,
				      &self->bufs[n]));
	}
}

FIXTURE_TEARDOWN(beside)
{
	munmap(self->all, (BESIDE + 2) * psize);
	base_teardown(_metadata, &self->base);
}

/* How many mappings adopted memory has in the range. */
static long beside_mappings(FIXTURE_DATA(beside) *self)
{
	return mappings(self->p, self->p + BESIDE * psize, NULL);
}

/* How often a region is mapped. */
static long beside_maps(struct ep *ep, const struct buf *buf)
{
	struct zcipc_region_query q;

	return zc_query(ep, buf->cap, &q) ? -1 : (long)q.maps;
}

/* It is few mappings, and each page is that of its own region. */
TEST_F(beside, few)
{
	struct zcipc_stats after;
	struct buf got;
	size_t i;

	TH_LOG("%ld mappings", beside_mappings(self));
	ASSERT_GE(variant->max, beside_mappings(self));
	ASSERT_TRUE(is_adopted(self->p) && is_adopted(self->p + (BESIDE - 1) * psize));
	ASSERT_FALSE(is_adopted(self->all) || is_adopted(self->p + BESIDE * psize));
	test_check(&self->a, self->p, BESIDE, 1);
	test_fill(&self->a, self->p, BESIDE, 2);
	test_check(&self->a, self->p, BESIDE, 2);
	for (i = 0; i < BESIDE && !variant->implicit; i += 15) {
		test_pass(&self->a, &self->b, ZCIPC_SHARE, self->bufs[i].cap, &got);
		test_check_from(&self->b, got.p, i, 1, 2);
		test_drop(&self->b, got.cap);
	}
	/* All goes when all is unmapped. */
	for (i = 0; i < BESIDE && !variant->implicit; i++)
		test_drop(&self->a, self->bufs[i].cap);
	test_check(&self->a, self->p, BESIDE, 2);
	ASSERT_EQ(0, munmap(self->p, BESIDE * psize));
	test_stats(&self->a, &after);
	ASSERT_TRUE(same_live(&self->before, &after));
	EXPECT_EQ(self->before.user_pinned, after.user_pinned);
}

/* What goes from the middle takes nothing along, and can come again. */
TEST_F(beside, moved)
{
	char *p = self->p + 100 * psize;
	struct buf got, revoked, again;
	__u64 n;

	if (variant->implicit)
		SKIP(return, "nobody can send it");
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->bufs[100].cap, &got);
	test_check_from(&self->b, got.p, 100, 1, 1);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->a, self->p, 100, 1);
	test_check_from(&self->a, p + psize, 101, BESIDE - 101, 1);
	/* The same addresses, and so the same offsets in the file. */
	ASSERT_EQ(p, mmap(p, psize, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	test_fill(&self->a, p, 1, 5);
	test_import(&self->a, p, 1, &again);
	test_check(&self->a, p, 1, 5);
	test_check_from(&self->b, got.p, 100, 1, 1);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, again.cap, &revoked);
	test_check(&self->b, revoked.p, 1, 5);
	test_revoke(&self->a, NULL, again.cap, 0, &n);
	test_gone(&self->b, revoked.p, 1);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->a, self->p, 100, 1);
	test_check_from(&self->a, p + psize, 101, BESIDE - 101, 1);
}

/* Nor does what is made ordinary, in either way, or unmapped. */
TEST_F(beside, ordinary)
{
	char *p = self->p + 100 * psize;
	__u64 copied;

	TEST_OK(zc_ordinary_range(&self->a, 0, p, psize, &copied));
	ASSERT_EQ(psize, copied);
	ASSERT_FALSE(is_adopted(p));
	ASSERT_TRUE(is_adopted(p - psize) && is_adopted(p + psize));
	if (!variant->implicit) {
		EXPECT_EQ(0, beside_maps(&self->a, &self->bufs[100]));
		EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[99]));
		EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[101]));
		test_ordinary(&self->a, self->bufs[50].cap, &copied);
		ASSERT_EQ(2 * psize, copied);
		ASSERT_FALSE(is_adopted(self->p + 50 * psize));
		ASSERT_TRUE(is_adopted(self->p + 49 * psize));
		ASSERT_TRUE(is_adopted(self->p + 51 * psize));
	}
	test_check(&self->a, self->p, BESIDE, 1);
	test_fill(&self->a, self->p, BESIDE, 2);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p + 20 * psize, 60 * psize, &copied));
	ASSERT_EQ((variant->implicit ? 60 : 59) * psize, copied);
	test_check(&self->a, self->p, BESIDE, 2);
	TEST_OK(zc_ordinary_range(&self->a, 0, self->p, BESIDE * psize, &copied));
	test_check(&self->a, self->p, BESIDE, 2);
	ASSERT_EQ(0, mappings(self->p, self->p + BESIDE * psize, ZCIPC_DEVICE));
}

/* A slot ends when its last page is unmapped, and not before, whatever else is. */
TEST_F(beside, unmapped)
{
	static const size_t holes[] = { 100, 7, 101, 99, 0, BESIDE - 1 };
	struct zcipc_stats after;
	size_t i, k, n;

	test_stats(&self->a, &self->before);
	for (i = 0; i < ARRAY_SIZE(holes); i++) {
		ASSERT_EQ(0, munmap(self->p + holes[i] * psize, psize));
		for (n = 0; n < BESIDE; n++) {
			for (k = 0; k <= i && holes[k] != n; k++)
				;
			if (!variant->implicit)
				ASSERT_EQ(k > i, beside_maps(&self->a, &self->bufs[n]))
					TH_LOG("%zu", n);
			if (k > i)
				EXPECT_EQ(0, ep_check_from(&self->a, self->p + n * psize, n, 1, 1));
			if (k <= i)
				test_touch_read(SIGSEGV, &self->a, self->p + n * psize);
		}
		test_stats(&self->a, &after);
		EXPECT_EQ(self->before.maps - i - 1, after.maps);
		if (variant->implicit)
			EXPECT_EQ(self->before.frames - i - 1, after.frames);
	}
}

/* mremap() copies the VMA before it is refused, and takes that back. Nobody is to count it. */
TEST_F(beside, not_moved)
{
	char *p = self->p + 100 * psize, *to = anonymous(2);
	size_t i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(MAP_FAILED, mremap(p, psize, psize, MREMAP_MAYMOVE | MREMAP_FIXED, to));
		ASSERT_EQ(MAP_FAILED, mremap(p, psize, 2 * psize, MREMAP_MAYMOVE));
		ASSERT_EQ(MAP_FAILED, mremap(p, 0, psize, MREMAP_MAYMOVE));
		test_check(&self->a, self->p, BESIDE, 1);
		if (!variant->implicit)
			EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[100]));
	}
	ASSERT_EQ(0, munmap(p, psize));
	if (!variant->implicit)
		EXPECT_EQ(0, beside_maps(&self->a, &self->bufs[100]));
	test_check(&self->a, self->p, 100, 1);
	test_check_from(&self->a, p + psize, 101, BESIDE - 101, 1);
	munmap(to, 2 * psize);
}

/* A child can have it by MADV_DOFORK. What it does is not counted. */
TEST_F(beside, inherited)
{
	pid_t child;
	int status;

	test_inheritable(self->p, BESIDE * psize);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(munmap(self->p + 10 * psize, psize) ||
		      mprotect(self->p + 20 * psize, psize, PROT_READ) ||
		      munmap(self->p, BESIDE * psize));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	test_check(&self->a, self->p, BESIDE, 1);
	test_fill(&self->a, self->p, BESIDE, 2);
	if (!variant->implicit)
		EXPECT_EQ(1, beside_maps(&self->a, &self->bufs[10]));
	ASSERT_EQ(0, munmap(self->p + 10 * psize, psize));
	if (!variant->implicit)
		EXPECT_EQ(0, beside_maps(&self->a, &self->bufs[10]));
	test_check(&self->a, self->p, 10, 2);
}

FIXTURE(next)
{
	struct base base;
	struct ep a, b;
	char *p;
	struct buf bufs[2 * N];
};

FIXTURE_SETUP(next)
{
	size_t i;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, WINDOW_PAGES, O_NONBLOCK);
	self->p = memory_touched(2 * N);
	for (i = 0; i < N; i++)
		test_import(&self->a, self->p + i * psize, 1, &self->bufs[i]);
	ASSERT_EQ(1, mappings(self->p, self->p + N * psize, NULL));
}

FIXTURE_TEARDOWN(next)
{
	munmap(self->p, 2 * N * psize);
	base_teardown(_metadata, &self->base);
}

/* What the program has asked for stays, whatever is imported next to it. */
TEST_F(next, keeps)
{
	static const struct {
		int advice;
		const char *flag, *gone;
	} advices[] = {
		{ MADV_DONTDUMP, " dd ", NULL },
		{ MADV_RANDOM, " rr ", NULL },
		{ MADV_NORMAL, NULL, " sr " },
	};
	char *last = self->p + (N - 1) * psize;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		ASSERT_EQ(0, madvise(last, psize, advices[i].advice));
		test_import(&self->a, last + psize, 1, &self->bufs[N + i]);
		if (advices[i].flag)
			ASSERT_TRUE(has_vm_flag(last, advices[i].flag));
		if (advices[i].gone)
			ASSERT_FALSE(has_vm_flag(last, advices[i].gone));
		ASSERT_TRUE(has_vm_flag(last + psize, " sr "));
		last += psize;
	}
	ASSERT_EQ(0, mprotect(last, psize, PROT_READ));
	test_import(&self->a, last + psize, 1, &self->bufs[2 * N - 1]);
	test_touch_write(SIGSEGV, &self->a, last);
	test_check(&self->a, self->p, 2 * N, 1);
	ASSERT_EQ(0, mprotect(last, psize, PROT_NONE));
	test_import(&self->a, last + 2 * psize, 1, &self->bufs[2 * N - 1]);
	test_touch_read(SIGSEGV, &self->a, last);
	ASSERT_EQ(0, mprotect(last, psize, PROT_READ | PROT_WRITE));
	test_check(&self->a, self->p, 2 * N, 1);
}

/* What is not to be dumped is not made one with what is. */
TEST_F(next, secret)
{
	char *p = self->p + N * psize;

	ASSERT_EQ(0, madvise(p, psize, MADV_DONTDUMP));
	test_import(&self->a, p, 1, &self->bufs[N]);
	ASSERT_TRUE(has_vm_flag(p, " dd "));
	ASSERT_FALSE(has_vm_flag(p - psize, " dd "));
	test_import(&self->a, p + psize, 1, &self->bufs[N + 1]);
	ASSERT_TRUE(has_vm_flag(p, " dd "));
	ASSERT_FALSE(has_vm_flag(p + psize, " dd "));
	ASSERT_EQ(3, mappings(self->p, p + 2 * psize, NULL));
	test_check(&self->a, self->p, 2 * N, 1);
}

/* What has gone does not come back, though its mapping becomes a part of a larger one. */
TEST_F(next, gone)
{
	struct buf got;
	__u64 n;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->bufs[2].cap, &got);
	test_revoke(&self->a, NULL, self->bufs[4].cap, 0, &n);
	test_import(&self->a, self->p + N * psize, 1, &self->bufs[N]);
	ASSERT_EQ(1, mappings(self->p, self->p + (N + 1) * psize, NULL));
	test_touch_read(SIGBUS, &self->a, self->p + 2 * psize);
	test_touch_read(SIGBUS, &self->a, self->p + 4 * psize);
	test_check(&self->a, self->p, 2, 1);
	test_check_from(&self->a, self->p + 3 * psize, 3, 1, 1);
	test_check_from(&self->a, self->p + 5 * psize, 5, N - 5, 1);
	test_check_from(&self->b, got.p, 2, 1, 1);
}

/* A capability goes with the last page that shows it, also if that was joined with others. */
TEST_F(next, dropped)
{
	struct zcipc_stats before, after;
	size_t i;

	for (i = 0; i < N; i++)
		test_drop(&self->a, self->bufs[i].cap);
	for (i = N; i < 2 * N; i++) {
		test_import(&self->a, self->p + i * psize, 1, &self->bufs[i]);
		test_drop(&self->a, self->bufs[i].cap);
	}
	ASSERT_EQ(1, mappings(self->p, self->p + 2 * N * psize, NULL));
	test_check(&self->a, self->p, 2 * N, 1);
	test_stats(&self->a, &before);
	for (i = 0; i < 2 * N; i++) {
		ASSERT_EQ(0, munmap(self->p + (i * 3) % (2 * N) * psize, psize));
		test_stats(&self->a, &after);
		EXPECT_EQ(before.frames - i - 1, after.frames);
		EXPECT_EQ(before.caps - i - 1, after.caps);
	}
}

/* mlock() means nothing for it, and what mlockall() would lock is joined as ever. */
TEST_F(next, locked)
{
	size_t i;

	ASSERT_EQ(0, mlock(self->p, N * psize));
	test_import(&self->a, self->p + N * psize, 1, &self->bufs[N]);
	ASSERT_EQ(1, mappings(self->p, self->p + (N + 1) * psize, NULL));
	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	for (i = N + 1; i < 2 * N; i++)
		test_import(&self->a, self->p + i * psize, 1, &self->bufs[i]);
	ASSERT_EQ(0, munlockall());
	ASSERT_EQ(1, mappings(self->p, self->p + 2 * N * psize, NULL));
	test_check(&self->a, self->p, 2 * N, 1);
	test_fill(&self->a, self->p, 2 * N, 2);
}

/* A page of a region can be unmapped, and become one of its own, while the others stay. */
TEST_F(next, once_more)
{
	char *p = self->p + N * psize;
	struct buf all, part, got;

	test_import(&self->a, p, N, &all);
	ASSERT_EQ(p + psize, mmap(p + psize, psize, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill(p + psize, 1, 7);
	test_import(&self->a, p + psize, 1, &part);
	test_check(&self->a, p + psize, 1, 7);
	test_check_from(&self->a, self->p, 0, N + 1, 1);
	test_check_from(&self->a, p + 2 * psize, N + 2, N - 2, 1);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, part.cap, &got);
	test_check(&self->b, got.p, 1, 7);
	test_touch_read(SIGBUS, &self->a, p + psize);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, all.cap, &got);
	test_check_from(&self->b, got.p, N, N, 1);
	EXPECT_EQ(2, beside_maps(&self->a, &all));
	ASSERT_EQ(0, munmap(p, N * psize));
	EXPECT_EQ(1, beside_maps(&self->a, &all));
	test_check(&self->a, self->p, N, 1);
}

static int job_import(struct job *j)
{
	struct buf buf;

	return zc_import(j->ep, j->p, 1, &buf);
}

/*
 * 12, G3: a thread that knows nothing of the import unmaps what is next to it, and maps something
 * else there, or forbids to write, after it was chosen to be one mapping with the new one.
 */
TEST_F(next, changed_meanwhile)
{
	char *last = self->p + (N - 1) * psize;
	struct job job = { .fn = job_import, .ep = &self->a };
	unsigned int way;

	need_points();
	for (way = 0; way < 4; way++, last += psize) {
		job.p = last + psize;
		point_stop("joined");
		job_start(&job);
		ASSERT_TRUE(point_reached());
		switch (way) {
		case 0:
			ASSERT_EQ(0, mprotect(last, psize, PROT_READ));
			break;
		case 1:
			ASSERT_EQ(0, munmap(last, psize));
			break;
		case 2:
			ASSERT_EQ(last, mmap(last, psize, PROT_READ | PROT_WRITE, MAP_PRIVATE |
					     MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			fill(last, 1, 9);
			break;
		case 3:
			/* In the middle of what is to be joined. */
			last -= psize;
			ASSERT_EQ(last, mmap(last, psize, PROT_READ | PROT_WRITE, MAP_SHARED |
					     MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			fill(last, 1, 9);
			break;
		}
		point_go();
		job_join(&job);
		ASSERT_EQ(0, job.rc) TH_LOG("%s", strerror(job.err));
		ASSERT_TRUE(is_adopted(job.p));
		test_check_from(&self->a, job.p, N + way, 1, 1);
		test_check(&self->a, self->p, N - 1, 1);
		switch (way) {
		case 0:
			test_touch_write(SIGSEGV, &self->a, last);
			test_check_from(&self->a, last, N - 1, 1, 1);
			break;
		case 1:
			test_touch_read(SIGSEGV, &self->a, last);
			break;
		default:
			ASSERT_FALSE(is_adopted(last));
			test_check(&self->a, last, 1, 9);
			break;
		}
	}
}

struct neighbour {
	struct ep *ep;
	char *p;
	volatile bool stop;
	unsigned long wrong, failed, rounds;
};

/* Its page is adopted, and then another one is mapped there: what it has written it finds. */
static void *neighbour_thread(void *arg)
{
	struct neighbour *n = arg;
	volatile __u64 *word = (__u64 *)n->p;
	struct buf buf;

	while (!n->stop) {
		if (mmap(n->p, psize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			n->failed++;
		*word = ++n->rounds;
		sched_yield();
		n->wrong += *word != n->rounds;
		if (zc_import(n->ep, n->p, 1, &buf)) {
			n->failed++;
			continue;
		}
		n->wrong += *word != n->rounds;
		*word = ++n->rounds;
		n->failed += !!zc_drop(n->ep, buf.cap);
		n->wrong += *word != n->rounds;
	}
	return NULL;
}

/* 12, G3: the same, at any moment. */
TEST_F(next, changed_at_any_time)
{
	char *p = self->p + N * psize;
	struct neighbour n = { .ep = &self->a, .p = p };
	pthread_t thread;
	struct buf buf;
	unsigned int i;
	int rc;

	ASSERT_EQ(0, pthread_create(&thread, NULL, neighbour_thread, &n));
	for (i = 0; i < loops(300); i++) {
		rc = zc_import(&self->a, p + psize, 1, &buf);
		if (rc)
			break;
		test_drop(&self->a, buf.cap);
		if (mmap(p + psize, psize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
	}
	n.stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%u imports, %lu rounds", i, n.rounds);
	ASSERT_EQ(loops(300), i) TH_LOG("%s", strerror(errno));
	ASSERT_EQ(0, n.failed);
	ASSERT_EQ(0, n.wrong);
	test_check(&self->a, self->p, N, 1);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bill for imported memory: who pays for a huge page of which others have parts.
 *
 * Guarantees: G2 MOVE, G3 all or nothing, G8 all is released, G11 bounded.
 */
#include <sys/resource.h>

#include "zcipc_utils.h"

#define MIB		1048576UL
#define HUGE_SIZE	(2 * MIB)
#define NOBODY		65534

#define MEMINFO		"/proc/meminfo"

/* --- imported memory */

/* Bytes of huge pages that the machine has. */
static long huge_bytes(void)
{
	long kib = file_number(MEMINFO, "AnonHugePages:");

	return kib > 0 ? kib * 1024 : 0;
}

static char *huge_page(void)
{
	char *p = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	madvise(p, HUGE_SIZE, MADV_HUGEPAGE);
	memset(p, 1, HUGE_SIZE);
	return p;
}

FIXTURE(pins)
{
	struct base base;
	struct ep a, b;
	struct zcipc_stats before;
};

FIXTURE_SETUP(pins)
{
	base_setup(_metadata, &self->base);
	need_huge();
	test_open(&self->a, 8 * WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, 8 * WINDOW_PAGES, O_NONBLOCK);
	if (!huge_page() || !huge_bytes())
		SKIP(return, "there are no huge pages");
	test_stats(&self->a, &self->before);
}

FIXTURE_TEARDOWN(pins)
{
	quota_set(0);
	base_teardown(_metadata, &self->base);
}

/* So much more is charged than in the beginning, to the quota as to RLIMIT_MEMLOCK. */
#define test_kept(npages)							\
do {										\
	struct zcipc_stats __now;						\
										\
	test_stats(&self->a, &__now);						\
	ASSERT_EQ(self->before.user_pinned + (npages), __now.user_pinned);	\
	ASSERT_EQ(owned(&self->before) + (npages), owned(&__now));		\
} while (0)

/* A huge page is kept as long as any part of it is pinned, and so long it is charged. */
TEST_F(pins, most_given_away)
{
	struct buf buf, got;
	unsigned int i;
	char *p;

	for (i = 0; i < 4; i++) {
		p = huge_page();
		ASSERT_NE(NULL, p);
		test_import(&self->a, p, 512, &buf);
		test_kept(512 * (i + 1));
		test_send_part(&self->a, &self->b, ZCIPC_MOVE, buf.cap, 1, 511);
		test_take(&self->b, &got);
		test_kept(512 * (i + 1));
		test_drop(&self->b, got.cap);
		ASSERT_EQ(0, munmap(p, HUGE_SIZE));
		test_kept(512 * (i + 1));
	}
}

/* The other way round, and then all of it. */
TEST_F(pins, until_the_last_part)
{
	struct buf buf, got[512];
	char *p = huge_page();
	unsigned int i;

	test_import(&self->a, p, 512, &buf);
	for (i = 0; i < 512; i++) {
		test_send_part(&self->a, &self->b, ZCIPC_MOVE, buf.cap, i, 1);
		test_take(&self->b, &got[i]);
	}
	for (i = 0; i < 512; i++) {
		test_kept(512);
		test_drop(&self->b, got[(i * 37 + 11) % 512].cap);
	}
	test_kept(0);
	ASSERT_EQ(0, munmap(p, HUGE_SIZE));
}

/* Of a huge page that is imported bit by bit the rest is charged once. */
TEST_F(pins, bit_by_bit)
{
	struct zcipc_stats now;
	char *p = huge_page();
	struct zcipc_recv m[16];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(m); i++) {
		test_direct(&self->a, &self->b, ZCIPC_MOVE, p + i * 32 * psize, 32 * psize, 0);
		test_recv(&self->b, &m[i]);
		test_stats(&self->a, &now);
		/* What had to be copied is not pinned. */
		EXPECT_GE(self->before.user_pinned + 512, now.user_pinned);
	}
	for (i = 0; i < ARRAY_SIZE(m); i++)
		test_drop(&self->b, m[i].cap);
	test_kept(0);
}

/* What has been made a user's own, of that user's. */
static long call_huge_page(struct ep *ep, struct call *c)
{
	char *p = huge_page();

	(void)ep;
	c->addr = (uintptr_t)p;
	return p ? 0 : -1;
}

/* Another user, who may have so many bytes pinned; has a huge page, which nobody else has. */
#define test_another(u, bytes)						\
({									\
	struct rlimit __limit = { (bytes), (bytes) };			\
	struct call __page = { .fn = call_huge_page };			\
									\
	ASSERT_EQ(0, peer_fork(u));					\
	ASSERT_EQ(0, prlimit((u)->pid, RLIMIT_MEMLOCK, &__limit, NULL)); \
	test_call(u, call_setuid, .n = NOBODY);				\
	TEST_OK(peer_open(u, 8 * WINDOW_PAGES, O_NONBLOCK));		\
	test_policy(u, ZCIPC_POLICY_ANY);				\
	ASSERT_EQ(0, ep_call(u, &__page));				\
	(char *)(uintptr_t)__page.addr;					\
})

/* G3: a limit that is exceeded by the rest of a huge page leaves all as it was. */
TEST_F(pins, rest_beyond_the_limit)
{
	struct zcipc_stats now;
	struct zcipc_transfer t;
	struct buf buf;
	struct ep u;
	__u64 val;
	char *p;

	p = test_another(&u, 100 * psize);
	/* 50 pages would be allowed, but 512 are kept. */
	test_err_direct(ENOLCK, &u, &u, ZCIPC_MOVE, p + 7 * psize, 50 * psize, 0);
	test_stats(&u, &now);
	EXPECT_EQ(0, now.user_pinned);
	EXPECT_EQ(0, owned(&now));
	EXPECT_EQ(0, ep_read(&u, p + 7 * psize, &val));
	EXPECT_EQ(0x0101010101010101ULL, val);
	/* Copied, and left. What was copied before that came out counts once. */
	t = direct_cmd(&u, ZCIPC_MOVE, p + 7 * psize + 1, 50 * psize - 2,
		       ZCIPC_F_ANY_ALIGN | ZCIPC_F_COPY_OK);
	test_transfer(&u, &t);
	EXPECT_EQ(0, t.pages);
	EXPECT_EQ(50 * psize - 2, t.copied);
	EXPECT_EQ(0, ep_read(&u, p + 7 * psize, &val));
	EXPECT_EQ(0x0101010101010101ULL, val);
	TEST_OK(zc_take(&u, &buf));
	test_stats(&u, &now);
	EXPECT_EQ(0, now.user_pinned);
	EXPECT_EQ(50, owned(&now));
}

/* G3, G11: a quota that is exceeded by the rest of a huge page, where any number may be pinned. */
TEST_F(pins, rest_beyond_the_quota)
{
	struct zcipc_stats before, now;
	struct buf buf;
	struct ep u;
	__u64 val;
	char *p;

	p = test_another(&u, RLIM_INFINITY);
	quota_set(1);
	test_stats(&u, &before);
	/* 50 pages would be allowed, but 512 are kept. */
	test_err_direct(EDQUOT, &u, &u, ZCIPC_MOVE, p + 7 * psize, 50 * psize, 0);
	test_stats(&u, &now);
	EXPECT_EQ(before.user_pages, now.user_pages);
	EXPECT_EQ(0, now.user_pinned);
	EXPECT_EQ(0, ep_read(&u, p + 56 * psize, &val));
	EXPECT_EQ(0x0101010101010101ULL, val);
	/* Copied, and left. */
	test_direct(&u, &u, ZCIPC_MOVE, p + 7 * psize, 50 * psize, ZCIPC_F_COPY_OK);
	TEST_OK(zc_take(&u, &buf));
	test_stats(&u, &now);
	EXPECT_EQ(0, now.user_pinned);
	EXPECT_EQ(50, owned(&now));
}

/* G2, G11: of a huge page's part that is moved from memory another user gets copies, and pays. */
TEST_F(pins, part_to_another)
{
	struct zcipc_stats before, now;
	struct buf buf;
	struct ep u;
	char *p;

	test_another(&u, 100 * psize);
	p = huge_page();
	ASSERT_NE(NULL, p);
	quota_set(1);
	test_stats(&self->a, &before);
	test_direct(&self->a, &u, ZCIPC_MOVE, p + 7 * psize, 50 * psize, 0);
	/* Taken away all the same. */
	EXPECT_EQ(0, p[7 * psize]);
	EXPECT_EQ(0, p[56 * psize]);
	EXPECT_EQ(1, p[57 * psize]);
	test_stats(&self->a, &now);
	/* As long as the rest is mapped nobody can tell that no part is held. */
	EXPECT_EQ(before.copied_parts + before.copied_held + 50 * psize,
		  now.copied_parts + now.copied_held);
	EXPECT_EQ(owned(&before), owned(&now));
	EXPECT_EQ(before.user_pinned, now.user_pinned);
	TEST_OK(zc_take(&u, &buf));
	test_stats(&u, &now);
	EXPECT_EQ(0, now.user_pinned);
	EXPECT_EQ(50, owned(&now));
}

/* --- parts of huge pages that other users have */

FIXTURE(parts)
{
	struct base base;
	struct ep a, b, u[3];
	struct zcipc_stats before;
};

FIXTURE_VARIANT(parts)
{
	bool imported;
};

FIXTURE_VARIANT_ADD(parts, created) { .imported = false };
FIXTURE_VARIANT_ADD(parts, imported) { .imported = true };

FIXTURE_SETUP(parts)
{
	unsigned int i;

	base_setup(_metadata, &self->base);
	need_huge();
	test_open(&self->a, 8 * WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, 8 * WINDOW_PAGES, O_NONBLOCK);
	if (!huge_page() || !huge_bytes())
		SKIP(return, "there are no huge pages");
	for (i = 0; i < ARRAY_SIZE(self->u); i++) {
		ASSERT_EQ(0, peer_fork(&self->u[i]));
		test_call(&self->u[i], call_setuid, .n = NOBODY - i);
		TEST_OK(peer_open(&self->u[i], 8 * WINDOW_PAGES, O_NONBLOCK));
		test_policy(&self->u[i], ZCIPC_POLICY_ANY);
	}
	test_stats(&self->a, &self->before);
}

FIXTURE_TEARDOWN(parts)
{
	base_teardown(_metadata, &self->base);
}

/* A region of one huge page. */
#define test_huge(buf)								\
do {										\
	if (variant->imported) {						\
		char *__p = huge_page();					\
										\
		ASSERT_NE(NULL, __p);						\
		test_import(&self->a, __p, 512, buf);				\
	} else {								\
		test_create_flags(&self->a, 512, ZCIPC_CREATE_HUGE, buf);	\
	}									\
	test_fill(&self->a, (buf)->p, 512, 3);					\
} while (0)

/* Gives it up; what has been adopted stays until it is unmapped. */
#define test_give_up(buf)							\
do {										\
	test_drop(&self->a, (buf)->cap);					\
	if (variant->imported)							\
		ASSERT_EQ(0, munmap((buf)->p, HUGE_SIZE));			\
} while (0)

/* Writes to the last pages, since those behind what is written to may be copied, too. */
#define test_write_last(ep, buf, npages, seed)					\
	test_fill(ep, (buf)->p + (512 - (npages)) * psize, npages, seed)

/* So many pages are charged to a user, beyond what was in the beginning. */
#define test_pays(ep, npages)							\
do {										\
	__u64 __before = (ep) == &self->a ? owned(&self->before) : 0;		\
	struct zcipc_stats __now;						\
										\
	test_stats(ep, &__now);							\
	EXPECT_EQ(__before + (npages), owned(&__now));				\
} while (0)

/* G11: who keeps a page that was sent costs its sender nothing. */
TEST_F(parts, kept_by_the_receiver)
{
	struct zcipc_stats before, now;
	struct buf buf, own, got[8];
	unsigned int i, n = 0;

	test_stats(&self->a, &before);
	for (i = 0; i < ARRAY_SIZE(got); i++) {
		test_huge(&buf);
		/* From then on it is mapped by pages, whose PTEs could be carried. */
		if (i > 3) {
			test_send_part(&self->a, &self->b, ZCIPC_MOVE, buf.cap, 511, 1);
			test_take(&self->b, &own);
			test_drop(&self->b, own.cap);
			test_check(&self->a, buf.p, 511, 3);
		}
		test_send_part(&self->a, &self->u[0], i % 2 ? ZCIPC_MOVE : ZCIPC_COPY, buf.cap,
			       i * 60, 1 + 5 * i);
		TEST_OK(zc_take(&self->u[0], &got[i]));
		test_give_up(&buf);
		test_pays(&self->a, 0);
		n += 1 + 5 * i;
	}
	test_stats(&self->a, &now);
	EXPECT_EQ(before.copied_parts + n * psize, now.copied_parts);
	EXPECT_EQ(self->before.user_pinned, now.user_pinned);
	for (i = 0; i < ARRAY_SIZE(got); i++)
		test_check_from(&self->u[0], got[i].p, i * 60, 1 + 5 * i, 3);
	test_pays(&self->u[0], n);
	test_stats(&self->u[0], &now);
	EXPECT_EQ(0, now.user_pinned);
}

/* Nor does who keeps a page of what both had cost the other anything. */
TEST_F(parts, kept_by_the_sender)
{
	struct zcipc_stats before, now;
	struct buf buf, got;

	test_stats(&self->a, &before);
	test_huge(&buf);
	test_pass(&self->a, &self->u[0], ZCIPC_COPY, buf.cap, &got);
	test_pays(&self->a, 512);
	test_pays(&self->u[0], 512);
	test_write_last(&self->a, &buf, 511, 5);
	test_pays(&self->a, 512);
	test_check(&self->u[0], got.p, 512, 3);
	test_drop(&self->u[0], got.cap);
	test_pays(&self->u[0], 0);
	test_pays(&self->a, 512 + 511);
	test_give_up(&buf);
	test_pays(&self->a, 0);
	test_stats(&self->a, &now);
	/* That was a huge page for both. */
	EXPECT_EQ(before.copied_parts, now.copied_parts);
}

/* The same, the other way round. */
TEST_F(parts, snapshot_kept)
{
	struct buf buf, got;

	test_huge(&buf);
	test_pass(&self->a, &self->u[0], ZCIPC_COPY, buf.cap, &got);
	test_write_last(&self->u[0], &got, 511, 5);
	test_give_up(&buf);
	test_pays(&self->a, 0);
	test_pays(&self->u[0], 512 + 511);
	/* Its own parts go as a whole, or as copies. */
	test_pass(&self->u[0], &self->u[1], ZCIPC_MOVE, got.cap, &got);
	test_pays(&self->u[0], 0);
	test_pays(&self->u[1], 512);
	test_check(&self->u[1], got.p, 1, 3);
	test_check(&self->u[1], got.p + psize, 511, 5);
	test_drop(&self->u[1], got.cap);
	test_pays(&self->u[1], 0);
}

/* Many have the same huge page; each keeps something else, and pays for what it gave up. */
TEST_F(parts, of_many)
{
	struct buf buf, own, got[3];
	unsigned int i, k;

	test_huge(&buf);
	test_pass(&self->a, &self->b, ZCIPC_COPY, buf.cap, &own);
	for (i = 0; i < 3; i++) {
		test_pass(&self->a, &self->u[i], ZCIPC_COPY, buf.cap, &got[i]);
		/* The others still have them. */
		test_write_last(&self->u[i], &got[i], 100 * (i + 1), 7 + i);
		test_pays(&self->u[i], 512);
	}
	test_pays(&self->a, 2 * 512);
	test_give_up(&buf);
	test_drop(&self->b, own.cap);
	test_pays(&self->a, 0);
	/* 100 pages nobody has. */
	for (i = 0; i < 3; i++)
		test_pays(&self->u[i], 512 + 100);
	for (i = 0; i < 3; i++) {
		size_t n = 512 - 100 * (i + 1);

		test_check(&self->u[i], got[i].p, n, 3);
		test_check(&self->u[i], got[i].p + n * psize, 512 - n, 7 + i);
	}
	/* The one who has most gives it up; then there are 200 which nobody has. */
	for (i = 0; i < 3; i++) {
		test_drop(&self->u[i], got[i].cap);
		test_pays(&self->u[i], 0);
		for (k = i + 1; k < 3; k++)
			test_pays(&self->u[k], 512 + 100 * (i + 2));
	}
}

/* A snapshot that is moved on is whole, and its sender has done with it. */
TEST_F(parts, snapshot_moved_on)
{
	struct buf buf, own, got;

	test_huge(&buf);
	test_pass(&self->a, &self->b, ZCIPC_COPY, buf.cap, &own);
	test_pass(&self->b, &self->u[0], ZCIPC_MOVE, own.cap, &got);
	test_pays(&self->a, 512);
	test_pays(&self->u[0], 512);
	test_write_last(&self->a, &buf, 500, 5);
	test_check(&self->u[0], got.p, 512, 3);
	/* Here nobody else has them any more. */
	test_send_part(&self->u[0], &self->u[0], ZCIPC_MOVE, got.cap, 212, 300);
	TEST_OK(zc_take(&self->u[0], &own));
	test_pays(&self->u[0], 512);
	test_drop(&self->u[0], own.cap);
	test_pays(&self->u[0], 512);
	test_pays(&self->a, 512 + 300);
	test_drop(&self->u[0], got.cap);
	test_pays(&self->u[0], 0);
	test_pays(&self->a, 512 + 500);
	test_give_up(&buf);
	test_pays(&self->a, 0);
}

/* What comes back from who died with it is the sender's again, parts and all. */
TEST_F(parts, returned)
{
	struct buf buf;

	test_huge(&buf);
	test_send(&self->a, &self->u[0], ZCIPC_MOVE, buf.cap);
	test_pays(&self->a, 0);
	test_pays(&self->u[0], 512);
	ep_end(&self->u[0]);
	take_returned(_metadata, &self->a, &self->u[0], 512, buf.region, 3);
	test_pays(&self->a, 0);
	if (variant->imported)
		ASSERT_EQ(0, munmap(buf.p, HUGE_SIZE));
}

static __u64 owned_now(struct ep *ep)
{
	struct zcipc_stats now;

	return zc_stats(ep, &now) ? 0 : owned(&now);
}

/* A call that another thread makes. */
static void *transfer_thread(void *arg)
{
	void **args = arg;

	return (void *)(long)zc_transfer(args[0], args[1]);
}

/* Somebody holds a page, as I/O under way does. */
#define test_hold_page(p, fds)						\
do {									\
	struct iovec __iov = { .iov_base = (p), .iov_len = psize };	\
									\
	ASSERT_EQ(0, pipe(fds));					\
	ASSERT_EQ((ssize_t)psize, vmsplice((fds)[1], &__iov, 1, 0));	\
} while (0)

static void let_go(int *fds)
{
	close(fds[0]);
	close(fds[1]);
}

/* Where some parts are copied, since somebody holds them, all are, also what nobody can hold. */
TEST_F(parts, held_copy)
{
	struct buf buf, own, got;
	int fds[2];

	if (variant->imported)
		SKIP(return, "nobody can hold it");
	test_huge(&buf);
	/* Its first page is one that a snapshot had. */
	test_send_part(&self->a, &self->b, ZCIPC_COPY, buf.cap, 0, 1);
	test_take(&self->b, &own);
	test_drop(&self->b, own.cap);
	test_hold_page(buf.p + 5 * psize, fds);
	test_pass(&self->a, &self->u[0], ZCIPC_COPY, buf.cap, &got);
	test_pays(&self->u[0], 512);
	let_go(fds);
	test_give_up(&buf);
	test_pays(&self->a, 0);
	test_pays(&self->u[0], 512);
	test_check(&self->u[0], got.p, 512, 3);
}

TEST_F(parts, held_move)
{
	struct buf buf, own, got, rest;
	int fds[2];

	if (variant->imported)
		SKIP(return, "nobody can hold it");
	test_huge(&buf);
	test_send_part(&self->a, &self->b, ZCIPC_COPY, buf.cap, 0, 1);
	test_take(&self->b, &own);
	test_hold_page(buf.p + 5 * psize, fds);
	test_pass(&self->a, &self->u[0], ZCIPC_MOVE, buf.cap, &got);
	let_go(fds);
	test_pays(&self->a, 512);
	test_drop(&self->b, own.cap);
	test_pays(&self->a, 0);
	test_send_part(&self->u[0], &self->u[0], ZCIPC_MOVE, got.cap, 1, 511);
	TEST_OK(zc_take(&self->u[0], &rest));
	test_drop(&self->u[0], rest.cap);
	/* A page by itself. */
	test_pays(&self->u[0], 1);
	test_check(&self->u[0], got.p, 1, 3);
}

/* Where some parts go to another node, so do all, or none. */
TEST_F(parts, another_node)
{
	const struct { __u32 type; bool shared; } cases[] = {
		{ ZCIPC_MOVE, false }, { ZCIPC_MOVE, true },
		{ ZCIPC_COPY, false }, { ZCIPC_COPY, true },
	};
	struct zcipc_region_query query;
	struct zcipc_transfer t;
	struct buf buf, own;
	struct zcipc_recv m;
	unsigned int i, left;
	int node;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "needs two nodes");
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		test_huge(&buf);
		test_query(&self->a, buf.cap, &query);
		node = !query.node;
		if (cases[i].shared) {
			test_send_part(&self->a, &self->b, ZCIPC_COPY, buf.cap, 0, 1);
			test_take(&self->b, &own);
		}
		t = transfer_cmd(&self->u[0], cases[i].type, buf.cap, 0, 0, 0);
		t.node = node;
		test_transfer(&self->a, &t);
		/* It has got all of the huge page, or nothing of it. */
		left = t.copied || t.migrated ? 1 : 512;
		TEST_OK(zc_recv(&self->u[0], &m));
		test_pays(&self->u[0], 512);
		test_query(&self->u[0], m.cap, &query);
		if (cases[i].type == ZCIPC_MOVE) {
			EXPECT_EQ(cases[i].shared ? 512 : 1, left);
			EXPECT_EQ(cases[i].shared ? 0 : HUGE_SIZE, t.migrated);
			EXPECT_EQ(cases[i].shared ? HUGE_SIZE : 0, t.off_node);
			EXPECT_EQ(cases[i].shared ? !node : node, query.node);
			EXPECT_EQ(0, t.copied);
		}
		if (cases[i].shared)
			test_drop(&self->b, own.cap);
		if (cases[i].type == ZCIPC_COPY)
			test_give_up(&buf);
		else if (variant->imported)
			ASSERT_EQ(0, munmap(buf.p, HUGE_SIZE));
		test_pays(&self->a, 0);
		t = transfer_cmd(&self->u[0], ZCIPC_MOVE, m.cap, 1, 511, 0);
		test_transfer(&self->u[0], &t);
		test_drop(&self->u[0], t.peer_cap);
		test_pays(&self->u[0], left);
		test_drop(&self->u[0], m.cap);
		test_pays(&self->u[0], 0);
	}
}

/* Copies of parts are on the node that was asked for. */
TEST_F(parts, copied_to_node)
{
	struct zcipc_region_query query;
	struct zcipc_transfer t;
	struct zcipc_recv m;
	struct buf buf;
	int node;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "needs two nodes");
	for (node = 0; node < 2; node++) {
		test_huge(&buf);
		t = transfer_cmd(&self->u[0], ZCIPC_COPY, buf.cap, 100, 100, 0);
		t.node = node;
		t.flags = ZCIPC_F_NODE_STRICT;
		test_transfer(&self->a, &t);
		EXPECT_EQ(0, t.off_node);
		TEST_OK(zc_recv(&self->u[0], &m));
		test_query(&self->u[0], m.cap, &query);
		EXPECT_EQ(node, query.node);
		test_give_up(&buf);
		test_drop(&self->u[0], m.cap);
	}
}

/* More than some users do not have parts of a huge page, whoever comes and goes meanwhile. */
TEST_F(parts, more_users)
{
	struct zcipc_stats now;
	struct buf buf, got[18];
	struct ep users[18];
	unsigned int i;

	test_huge(&buf);
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		ASSERT_EQ(0, peer_fork(&users[i]));
		test_call(&users[i], call_setuid, .n = 12400 + i);
		TEST_OK(peer_open(&users[i], WINDOW_PAGES, O_NONBLOCK));
		test_policy(&users[i], ZCIPC_POLICY_ANY);
		test_pass(&self->a, &users[i], ZCIPC_COPY, buf.cap, &got[i]);
		test_check(&users[i], got[i].p, 512, 3);
		test_stats(&users[i], &now);
		EXPECT_EQ(512, owned(&now));
		/* 16 with the one who made it. */
		EXPECT_EQ(variant->imported && i < 15 ? 512 : 0, now.user_pinned);
	}
	test_stats(&self->a, &now);
	EXPECT_EQ(self->before.copied_parts + 3 * HUGE_SIZE, now.copied_parts);
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		test_drop(&users[i], got[i].cap);
		test_stats(&users[i], &now);
		EXPECT_EQ(0, owned(&now));
		EXPECT_EQ(0, now.user_pinned);
		ep_end(&users[i]);
	}
	test_give_up(&buf);
	test_pays(&self->a, 0);
}

/* Who sent something gets back what is left of it, and nothing to pay for. */
TEST_F(parts, returned_in_part)
{
	struct zcipc_transfer t, part;
	struct zcipc_recv m;
	struct buf buf, got;

	test_huge(&buf);
	t = transfer_cmd(&self->u[0], ZCIPC_MOVE, buf.cap, 0, 0, 0);
	test_transfer(&self->a, &t);
	/* A third has all of it. */
	part = transfer_cmd(&self->u[1], ZCIPC_COPY, t.peer_cap, 0, 0, 0);
	test_transfer(&self->u[0], &part);
	TEST_OK(zc_take(&self->u[1], &got));
	part = transfer_cmd(&self->u[0], ZCIPC_MOVE, t.peer_cap, 1, 511, 0);
	test_transfer(&self->u[0], &part);
	test_drop(&self->u[0], part.peer_cap);
	ep_end(&self->u[0]);
	ASSERT_TRUE(wait_until(!zc_recv(&self->a, &m)));
	ASSERT_EQ(ZCIPC_MESSAGE_RETURNED, m.message_flags);
	ASSERT_TRUE(wait_until(owned_now(&self->a) == owned(&self->before) + 1));
	test_drop(&self->u[1], got.cap);
	test_pays(&self->a, 1);
	test_drop(&self->a, m.cap);
	test_pays(&self->a, 0);
	if (variant->imported)
		ASSERT_EQ(0, munmap(buf.p, HUGE_SIZE));
}

/* What is copied to memory that the receiver has had before is no part of anything. */
TEST_F(parts, recycled)
{
	struct zcipc_region_create create = {
		.size = sizeof(create), .len = psize, .node = ZCIPC_NODE_ANY,
		.flags = ZCIPC_CREATE_RECYCLED,
	};
	struct zcipc_stats before, now;
	struct zcipc_transfer t;
	struct buf own, rest;
	char *p;

	if (variant->imported)
		SKIP(return, "imported memory is not recycled");
	test_stats(&self->a, &before);
	TEST_OK(zc_ioctl(&self->u[0], ZCIPC_IOC_REGION_CREATE, &create));
	TEST_OK(zc_create_flags(&self->u[0], 512, ZCIPC_CREATE_HUGE, &own));
	test_send_part(&self->u[0], &self->u[0], ZCIPC_MOVE, own.cap, 256, 256);
	TEST_OK(zc_take(&self->u[0], &rest));
	test_drop(&self->u[0], rest.cap);
	p = mmap(NULL, 256 * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	memset(p, 7, 256 * psize);
	t = direct_cmd(&self->u[0], ZCIPC_MOVE, p, 256 * psize, ZCIPC_F_COPY_OK);
	test_transfer(&self->a, &t);
	EXPECT_EQ(256 * psize, t.copied);
	test_stats(&self->a, &now);
	EXPECT_EQ(before.copied_parts, now.copied_parts);
}

/* Nor does the receiver pay for the rest of what is moved to it while that is under way. */
TEST_F(parts, under_way)
{
	struct zcipc_transfer t;
	struct buf most;
	pthread_t thread;
	void *args[2];
	char *p;

	if (!variant->imported)
		SKIP(return, "only what is not a region yet is imported meanwhile");
	need_points();
	p = huge_page();
	ASSERT_NE(NULL, p);
	test_import(&self->a, p, 511, &most);
	test_pays(&self->a, 512);
	t = direct_cmd(&self->u[0], ZCIPC_MOVE, p + 511 * psize, psize, 0);
	args[0] = &self->a;
	args[1] = &t;
	point_stop("prepared");
	ASSERT_EQ(0, pthread_create(&thread, NULL, transfer_thread, args));
	ASSERT_TRUE(point_reached());
	test_pays(&self->a, 511);
	test_pays(&self->u[0], 1);
	test_drop(&self->a, most.cap);
	ASSERT_EQ(0, munmap(p, 511 * psize));
	test_pays(&self->a, 0);
	test_pays(&self->u[0], 1);
	point_go();
	ASSERT_EQ(0, pthread_join(thread, NULL));
	test_pays(&self->a, 0);
	test_pays(&self->u[0], 1);
}

TEST_HARNESS_MAIN

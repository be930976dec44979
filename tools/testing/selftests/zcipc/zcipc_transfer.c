// SPDX-License-Identifier: GPL-2.0-only
/*
 * MOVE, SHARE and COPY: who has what afterwards, with which rights, at what cost.
 *
 * Guarantees: G1 zero copy, G2 exclusive MOVE, G3 all or nothing, G4 snapshot (in any depth and
 * order), G5 coherent SHARE, G6 rights.
 * Attacks: 10 snapshot trees, 11 (in part), 13 rights, 16 second mappings.
 */
#include <sys/uio.h>

#include "zcipc_utils.h"

FIXTURE(transfer)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_VARIANT(transfer)
{
	__u32 type;
	size_t npages;
	bool remote;
};

#define VARIANT(_name, _type, _npages, _remote)				\
	FIXTURE_VARIANT_ADD(transfer, _name)				\
	{ .type = _type, .npages = _npages, .remote = _remote, }

VARIANT(move_1, ZCIPC_MOVE, 1, false);
VARIANT(move_16_process, ZCIPC_MOVE, 16, true);
VARIANT(move_600, ZCIPC_MOVE, 600, false);
VARIANT(share_1_process, ZCIPC_SHARE, 1, true);
VARIANT(share_16, ZCIPC_SHARE, 16, false);
VARIANT(share_600_process, ZCIPC_SHARE, 600, true);
VARIANT(copy_1, ZCIPC_COPY, 1, false);
VARIANT(copy_16_process, ZCIPC_COPY, 16, true);
VARIANT(copy_600, ZCIPC_COPY, 600, false);

FIXTURE_SETUP(transfer)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, variant->remote, WINDOW_PAGES);
	test_create(&self->a, variant->npages, &self->src);
	test_fill(&self->a, self->src.p, variant->npages, 1);
}

FIXTURE_TEARDOWN_BASE(transfer)

/* After a transfer of all of @src: who sees whose writes? */
static void check_relation(struct __test_metadata *_metadata, __u32 type, struct ep *a,
			   const struct buf *src, struct ep *b, const struct buf *dst)
{
	char *last_src = src->p + (src->npages - 1) * psize;
	char *last_dst = dst->p + (src->npages - 1) * psize;
	struct zcipc_region_query q;
	__u64 val;

	if (type == ZCIPC_MOVE) {
		test_err_query(ESTALE, a, src->cap, &q);
		test_gone(a, src->p, src->npages);
		ASSERT_EQ(src->region, dst->region);
		test_fill(b, dst->p, dst->npages, 2);
		return;
	}
	ASSERT_EQ(type == ZCIPC_SHARE, src->region == dst->region);
	test_check(a, src->p, src->npages, 1);
	ASSERT_EQ(0, ep_write(a, last_src, 77));
	ASSERT_EQ(0, ep_read(b, last_dst, &val));
	ASSERT_EQ(type == ZCIPC_SHARE ? 77 : pattern(1, src->npages - 1, 0), val);
	ASSERT_EQ(0, ep_write(b, last_dst, 88));
	ASSERT_EQ(0, ep_read(a, last_src, &val));
	ASSERT_EQ(type == ZCIPC_SHARE ? 88 : 77, val);
}

/* G1, G2, G4, G5: contents, message, statistics, and what is left with the sender. */
TEST_F(transfer, whole)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, variant->type, self->src.cap, 0, 0,
					       variant->type == ZCIPC_SHARE ? RIGHTS_ALL : 0);
	struct zcipc_stats before, after;
	struct zcipc_recv m;
	struct buf dst;

	test_stats(&self->base.ep, &before);
	test_transfer(&self->a, &t);
	test_recv(&self->b, &m);
	test_stats(&self->base.ep, &after);

	EXPECT_EQ(variant->npages, t.pages);
	EXPECT_EQ(0, t.copied);
	EXPECT_EQ(before.pages + variant->npages, after.pages);
	EXPECT_EQ(before.copied_held, after.copied_held);
	EXPECT_EQ(before.copied_write, after.copied_write);
	EXPECT_EQ(before.frames, after.frames);
	EXPECT_EQ(before.regions + (variant->type == ZCIPC_COPY), after.regions);
	EXPECT_EQ(before.moves + (variant->type == ZCIPC_MOVE), after.moves);
	EXPECT_EQ(before.shares + (variant->type == ZCIPC_SHARE), after.shares);
	EXPECT_EQ(before.copies + (variant->type == ZCIPC_COPY), after.copies);
	EXPECT_EQ(before.received + 1, after.received);

	EXPECT_EQ(variant->type, m.type);
	EXPECT_EQ(RIGHTS_ALL, m.rights);
	EXPECT_EQ(variant->npages * psize, m.len);
	EXPECT_EQ(0xc00c1e, m.cookie);
	EXPECT_EQ(self->a.id, m.sender);
	EXPECT_EQ(getpid(), m.sender_pid);
	EXPECT_EQ(geteuid(), m.sender_uid);
	EXPECT_EQ(0, m.message_flags);
	EXPECT_EQ(0, m.pending);

	dst = (struct buf){ .cap = m.cap, .region = m.region, .npages = variant->npages,
			    .p = (char *)(uintptr_t)m.addr };
	test_check(&self->b, dst.p, dst.npages, 1);
	check_relation(_metadata, variant->type, &self->a, &self->src, &self->b, &dst);
}

/* G1: the pages are there without a fault; large snapshots with a few, which bring many each. */
TEST_F(transfer, no_fault)
{
	struct zcipc_stats before, after;
	struct buf dst;

	test_pass(&self->a, &self->b, variant->type, self->src.cap, &dst);
	test_stats(&self->base.ep, &before);
	test_check(&self->b, dst.p, dst.npages, 1);
	test_stats(&self->base.ep, &after);
	if (variant->type == ZCIPC_COPY && variant->npages > 16) {
		EXPECT_LT(before.faults, after.faults);
		EXPECT_GE(before.faults + 5, after.faults);
		return;
	}
	EXPECT_EQ(before.faults, after.faults);
	if (variant->type == ZCIPC_COPY)
		return;
	test_fill(&self->b, dst.p, dst.npages, 2);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.faults, after.faults);
}

/* G2: a part of a region. What is left of it works as before. */
TEST_F(transfer, part)
{
	size_t n = variant->npages, first = n / 3, len = n < 3 ? 1 : n / 3;
	struct zcipc_region_query q;
	struct buf dst, again;
	char *p;

	test_send_part(&self->a, &self->b, variant->type, self->src.cap, first, len);
	test_take(&self->b, &dst);
	ASSERT_EQ(len, dst.npages);
	test_check_from(&self->b, dst.p, first, len, 1);
	test_check(&self->a, self->src.p, first, 1);
	test_check_from(&self->a, self->src.p + (first + len) * psize, first + len,
			n - first - len, 1);
	if (variant->type != ZCIPC_MOVE || len == n)
		return;

	EXPECT_NE(self->src.region, dst.region);
	test_gone(&self->a, self->src.p + first * psize, len);
	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ(n * psize, q.len);
	EXPECT_EQ((n - len) * psize, q.present);
	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
	test_check(&self->a, p, first, 1);
	test_gone(&self->a, p + first * psize, len);
	test_err_send(ENOENT, &self->a, &self->b, ZCIPC_MOVE, self->src.cap);
	test_err_send(ENOENT, &self->a, &self->b, ZCIPC_SHARE, self->src.cap);
	test_err_send(ENOENT, &self->a, &self->b, ZCIPC_COPY, self->src.cap);
	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 0, first);
	test_take(&self->b, &again);
	test_check(&self->b, again.p, first, 1);
	test_gone(&self->a, p, first + len);
	test_check_from(&self->a, self->src.p + (first + len) * psize, first + len,
			n - first - len, 1);
}

/* G4: a snapshot of what others have in part is one of all of it. */
TEST_F(transfer, again)
{
	size_t npages = variant->npages, i;
	struct buf first, dst;

	if (variant->type != ZCIPC_COPY || npages < 2)
		return;
	/* The first page, then all but the last, then all. */
	test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 0, 1);
	test_take(&self->b, &first);
	for (i = npages - 1; i <= npages; i++) {
		test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 0, i);
		test_take(&self->b, &dst);
		test_fill(&self->a, self->src.p, npages, 2);
		test_check(&self->b, dst.p, i, 1);
		test_drop(&self->b, dst.cap);
		test_fill(&self->a, self->src.p, npages, 1);
		test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 0, 1);
		test_take(&self->b, &dst);
		test_check(&self->b, dst.p, 1, 1);
		test_drop(&self->b, dst.cap);
		/* The second time there is nothing to be made read-only. */
		test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 0, 1);
		test_take(&self->b, &dst);
		test_fill(&self->a, self->src.p, 1, 3);
		test_check(&self->b, dst.p, 1, 1);
		test_drop(&self->b, dst.cap);
		test_fill(&self->a, self->src.p, npages, 1);
		test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 0, 1);
		test_take(&self->b, &dst);
		test_drop(&self->b, dst.cap);
	}
	test_check(&self->b, first.p, 1, 1);
}

/* G4: where little has been written since the last snapshot, that is what has to be frozen. */
TEST_F(transfer, few_written)
{
	static const size_t few[] = { 0, 3, 4, 300, 599 };
	struct buf first, dst;
	__u64 val;
	size_t i;

	if (variant->type != ZCIPC_COPY || variant->npages < 600)
		return;
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &first);
	for (i = 0; i < ARRAY_SIZE(few); i++)
		ASSERT_EQ(0, ep_write(&self->a, self->src.p + few[i] * psize, 70 + i));
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	test_fill(&self->a, self->src.p, variant->npages, 2);
	test_check(&self->b, first.p, variant->npages, 1);
	for (i = 0; i < ARRAY_SIZE(few); i++) {
		ASSERT_EQ(0, ep_read(&self->b, dst.p + few[i] * psize, &val));
		ASSERT_EQ(70 + i, val);
		ASSERT_EQ(0, ep_write(&self->b, dst.p + few[i] * psize,
				      pattern(1, few[i], 0)));
	}
	test_check(&self->b, dst.p, variant->npages, 1);
	test_check(&self->a, self->src.p, variant->npages, 2);
}

/* G4, G5: page after page is written after a COPY: whoever shares the region sees all of it. */
TEST_F(transfer, written_in_order)
{
	size_t n = variant->npages;
	struct buf shared, snapshot;

	if (variant->type != ZCIPC_SHARE || n < 600)
		return;
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &shared);
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &snapshot);
	test_check(&self->a, self->src.p, n, 1);
	test_check(&self->b, shared.p, n, 1);
	test_fill(&self->a, self->src.p, n - 5, 2);
	test_check(&self->b, shared.p, n - 5, 2);
	test_check_from(&self->b, shared.p + (n - 5) * psize, n - 5, 5, 1);
	test_check(&self->b, snapshot.p, n, 1);
}

/* 16: the sender maps the range several times. */
TEST_F(transfer, mapped_often)
{
	size_t n = variant->npages;
	char *p[3];
	struct buf dst;
	int i;

	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p[0]);
	test_map(&self->a, self->src.cap, n / 2, 0, ZCIPC_RIGHT_READ, &p[1]);
	test_map(&self->a, self->src.cap, 0, n - n / 2, RIGHTS_RW, &p[2]);
	test_check_from(&self->a, p[1], n / 2, n - n / 2, 1);
	test_touch_write(SIGBUS, &self->a, p[1]);
	test_pass(&self->a, &self->b, variant->type, self->src.cap, &dst);
	test_check(&self->b, dst.p, n, 1);
	if (variant->type == ZCIPC_MOVE) {
		test_gone(&self->a, p[0], n);
		test_gone(&self->a, p[1], n - n / 2);
		test_gone(&self->a, p[2], n - n / 2);
	} else {
		/* A write through one mapping is seen through all, whatever was shared before. */
		test_fill(&self->a, p[0], n, 3);
		test_check(&self->a, self->src.p, n, 3);
		test_check_from(&self->a, p[1], n / 2, n - n / 2, 3);
		test_check(&self->a, p[2], n - n / 2, 3);
		test_check(&self->b, dst.p, n, variant->type == ZCIPC_SHARE ? 3 : 1);
		for (i = 0; i < 3; i++)
			test_unmap(&self->a, p[i]);
		test_check(&self->a, self->src.p, n, 3);
	}
}

TEST_F(transfer, unmapped)
{
	struct buf dst;

	test_unmap(&self->a, self->src.p);
	test_gone(&self->a, self->src.p, variant->npages);
	test_pass(&self->a, &self->b, variant->type, self->src.cap, &dst);
	test_check(&self->b, dst.p, dst.npages, 1);
	test_fill(&self->b, dst.p, dst.npages, 2);
}

TEST_F(transfer, to_self)
{
	struct buf dst;

	test_pass(&self->a, &self->a, variant->type, self->src.cap, &dst);
	ASSERT_NE(self->src.p, dst.p);
	test_check(&self->a, dst.p, dst.npages, 1);
	check_relation(_metadata, variant->type, &self->a, &self->src, &self->a, &dst);
}

/* There and back again: the same region, the same bytes, and no frame more or less. */
TEST_F(transfer, round_trips)
{
	struct zcipc_stats before, after;
	struct buf dst, cur = self->src;
	int i;

	test_stats(&self->base.ep, &before);
	for (i = 0; i < 6; i++) {
		struct ep *from = i & 1 ? &self->b : &self->a;
		struct ep *to = i & 1 ? &self->a : &self->b;

		test_pass(from, to, variant->type, cur.cap, &dst);
		if (variant->type != ZCIPC_MOVE)
			test_drop(from, cur.cap);
		cur = dst;
		test_check(to, cur.p, cur.npages, i ? i + 1 : 1);
		test_fill(to, cur.p, cur.npages, i + 2);
	}
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.frames, after.frames);
	EXPECT_EQ(before.copied_held, after.copied_held);
	/* A frame whose last other user is gone is reused. */
	EXPECT_EQ(before.copied_write, after.copied_write);
	EXPECT_EQ(before.reused + (variant->type == ZCIPC_COPY ? 6 * variant->npages : 0),
		  after.reused);
}

/* G3: what fails has changed nothing. */
TEST_F(transfer, failures)
{
	__u32 rights = variant->type == ZCIPC_SHARE ? RIGHTS_ALL : 0;
	struct zcipc_stats before, after;
	struct zcipc_transfer t;
	struct ep none, small, dead;
	struct buf dst;

	test_open(&none, 0, 0);
	test_open(&small, variant->npages > 1 ? variant->npages - 1 : 0, 0);
	test_open(&dead, 1, 0);
	ep_end(&dead);
	test_stats(&self->base.ep, &before);

	test_err_send(ENOBUFS, &self->a, &none, variant->type, self->src.cap);
	test_err_send(ENOBUFS, &self->a, &small, variant->type, self->src.cap);
	test_err_send(ESRCH, &self->a, &dead, variant->type, self->src.cap);
	dead.id = 1ULL << 60;
	test_err_send(ENOENT, &self->a, &dead, variant->type, self->src.cap);
	dead.id = 0;
	test_err_send(ENOENT, &self->a, &dead, variant->type, self->src.cap);
	test_err_send(ENOENT, &self->a, &self->b, variant->type, 0);
	test_err_send_part(EINVAL, &self->a, &self->b, variant->type, self->src.cap, 0,
			   variant->npages + 1);
	test_err_send_part(EINVAL, &self->a, &self->b, variant->type, self->src.cap,
			   variant->npages, 0);

	t = transfer_cmd(&self->b, variant->type, self->src.cap, 0, 0, rights);
	t.flags = ZCIPC_F_IMPORT << 1;
	test_err_transfer(EOPNOTSUPP, &self->a, &t);
	t = transfer_cmd(&self->b, variant->type, self->src.cap, 0, 0, rights);
	t.cache = ZCIPC_CACHE_WRITETHROUGH;
	test_err_transfer(EOPNOTSUPP, &self->a, &t);
	t.cache = ZCIPC_CACHE_WRITEBACK + 1;
	test_err_transfer(EINVAL, &self->a, &t);
	t = transfer_cmd(&self->b, variant->type, self->src.cap, 0, 0, rights);
	t.node = 1000;
	test_err_transfer(EINVAL, &self->a, &t);
	t.node = ZCIPC_NUMA_RECEIVER - 1;
	test_err_transfer(EINVAL, &self->a, &t);
	test_err_send_rights(EINVAL, &self->a, &self->b, variant->type, self->src.cap,
			     ZCIPC_RIGHT_WRITE);

	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	EXPECT_EQ(before.pages, after.pages);
	test_check(&self->a, self->src.p, self->src.npages, 1);
	test_fill(&self->a, self->src.p, self->src.npages, 2);
	test_pass(&self->a, &self->b, variant->type, self->src.cap, &dst);
	test_check(&self->b, dst.p, dst.npages, 2);
}

/* G6: fewer rights, and what they keep their holder from. */
TEST_F(transfer, read_only)
{
	struct buf dst, copy;
	struct ep c;
	char *p;

	test_open(&c, WINDOW_PAGES, 0);
	test_pass_rights(&self->a, &self->b, variant->type, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	test_check(&self->b, dst.p, dst.npages, 1);
	test_touch_write(SIGBUS, &self->b, dst.p);
	test_err_map(EACCES, &self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_map(&self->b, dst.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	test_touch_write(SIGBUS, &self->b, p);
	test_err_send_rights(EACCES, &self->b, &c, ZCIPC_SHARE, dst.cap, ZCIPC_RIGHT_READ);
	test_err_send(EACCES, &self->b, &c, ZCIPC_MOVE, dst.cap);
	test_err_send(EACCES, &self->b, &self->b, ZCIPC_MOVE, dst.cap);
	/* A snapshot may be taken, and belongs to whom it was given. */
	test_pass(&self->b, &c, ZCIPC_COPY, dst.cap, &copy);
	test_fill(&c, copy.p, copy.npages, 5);
	test_check(&self->b, dst.p, dst.npages, 1);
	if (variant->type != ZCIPC_MOVE)
		test_check(&self->a, self->src.p, self->src.npages, 1);
}

FIXTURE(pair)
{
	struct base base;
	struct ep a, b, c;
};

FIXTURE_SETUP(pair)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, true, WINDOW_PAGES);
	test_open(&self->c, WINDOW_PAGES, 0);
}

FIXTURE_TEARDOWN_BASE(pair)

/* 13: nobody derives upwards, for every set of rights that can be had and every one asked for. */
TEST_F(pair, rights_never_grow)
{
	__u32 have, want;
	struct buf src, dst;
	char *p;

	test_create(&self->a, 1, &src);
	for (have = 0; have <= RIGHTS_ALL; have++) {
		if (have & ~RIGHTS_ALL || !(have & ZCIPC_RIGHT_READ))
			continue;
		test_pass_rights(&self->a, &self->c, ZCIPC_SHARE, src.cap, have, &dst);
		for (want = 0; want <= RIGHTS_ALL; want++) {
			bool more = want & ~have;

			if (want & ~RIGHTS_ALL || !(want & ZCIPC_RIGHT_READ))
				continue;
			if (!(have & ZCIPC_RIGHT_GRANT) || more)
				test_err_send_rights(EACCES, &self->c, &self->a, ZCIPC_SHARE,
						     dst.cap, want);
			/* The owner's capability is in the way of a MOVE. Rights come first. */
			test_err_send_rights(!(have & ZCIPC_RIGHT_MOVE) || more ? EACCES : EBUSY,
					     &self->c, &self->a, ZCIPC_MOVE, dst.cap, want);
		}
		ASSERT_EQ(have & ZCIPC_RIGHT_WRITE ? 0 : SIGBUS, ep_write(&self->c, dst.p, 1));
		if (!(have & ZCIPC_RIGHT_WRITE))
			test_err_map(EACCES, &self->c, dst.cap, 0, 0, RIGHTS_RW, &p);
		test_drop(&self->c, dst.cap);
	}
}

/* 13: after drop, of another endpoint, never made. */
TEST_F(pair, dead_tokens)
{
	struct zcipc_region_query q;
	struct buf src, other;
	char *p;
	int i;

	test_create(&self->a, 2, &src);
	test_create(&self->c, 2, &other);
	test_err_query(ENOENT, &self->c, src.cap, &q);
	test_err_query(ENOENT, &self->b, src.cap, &q);
	test_err_map(ENOENT, &self->c, src.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	test_err_drop(ENOENT, &self->c, src.cap);
	test_err_send(ENOENT, &self->c, &self->c, ZCIPC_SHARE, src.cap);
	test_drop(&self->a, src.cap);
	test_gone(&self->a, src.p, 2);
	/* Also when its place in the table is used again. */
	for (i = 0; i < 4; i++)
		test_create(&self->a, 1, &other);
	test_err_query(ESTALE, &self->a, src.cap, &q);
	test_err_map(ESTALE, &self->a, src.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	test_err_drop(ESTALE, &self->a, src.cap);
	test_err_send(ESTALE, &self->a, &self->b, ZCIPC_MOVE, src.cap);
	test_err_send(ESTALE, &self->a, &self->b, ZCIPC_COPY, src.cap);
	for (i = 0; i < 64; i++) {
		if (!zc_query(&self->a, src.cap ^ 1ULL << i, &q)) {
			ASSERT_NE(src.region, q.region);
			continue;
		}
		ASSERT_TRUE(errno == ENOENT || errno == ESTALE);
	}
}

/* G2: what another capability names cannot be moved, all else can. */
TEST_F(pair, move_busy)
{
	struct buf src, shared, dst;
	char *second;

	test_create(&self->a, 4, &src);
	test_fill(&self->a, src.p, 4, 1);
	test_send_part(&self->a, &self->b, ZCIPC_SHARE, src.cap, 1, 1);
	test_take(&self->b, &shared);
	test_err_send(EBUSY, &self->a, &self->c, ZCIPC_MOVE, src.cap);
	test_err_send_part(EBUSY, &self->a, &self->c, ZCIPC_MOVE, src.cap, 1, 1);
	test_err_send(EBUSY, &self->b, &self->c, ZCIPC_MOVE, shared.cap);
	test_check(&self->a, src.p, 4, 1);
	test_check_from(&self->b, shared.p, 1, 1, 1);
	test_send_part(&self->a, &self->c, ZCIPC_MOVE, src.cap, 2, 2);
	test_take(&self->c, &dst);
	test_check_from(&self->c, dst.p, 2, 2, 1);
	test_drop(&self->b, shared.cap);
	test_gone(&self->b, shared.p, 1);
	/* The last two pages are a hole now. */
	test_map(&self->a, src.cap, 1, 3, RIGHTS_RW, &second);
	test_send_part(&self->a, &self->c, ZCIPC_MOVE, src.cap, 0, 2);
	test_take(&self->c, &dst);
	test_check(&self->c, dst.p, 2, 1);
	test_gone(&self->a, src.p, 4);
	test_gone(&self->a, second, 3);
}

/* G5: what is shared stays the same memory for all, before, during and after snapshots. */
TEST_F(pair, share_after_copy)
{
	struct buf src, shared, copy, copy2;
	struct zcipc_region_query q;
	char *second;

	test_create(&self->a, 8, &src);
	test_fill(&self->a, src.p, 8, 1);
	test_map(&self->a, src.cap, 0, 0, RIGHTS_RW, &second);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, src.cap, &shared);
	test_pass(&self->a, &self->c, ZCIPC_COPY, src.cap, &copy);
	test_query(&self->a, src.cap, &q);
	EXPECT_EQ(8 * psize, q.shared);
	EXPECT_EQ(2, q.caps);
	EXPECT_EQ(3, q.maps);
	/* All mappings show the shared frames when one is written to. */
	test_check(&self->a, src.p, 8, 1);
	test_check(&self->a, second, 8, 1);
	test_check(&self->b, shared.p, 8, 1);
	test_fill(&self->b, shared.p, 4, 2);
	test_check(&self->a, src.p, 4, 2);
	test_check(&self->a, second, 4, 2);
	test_query(&self->a, src.cap, &q);
	EXPECT_EQ(4 * psize, q.shared);
	test_pass(&self->b, &self->c, ZCIPC_COPY, shared.cap, &copy2);
	test_check(&self->a, second, 4, 2);
	test_check(&self->b, shared.p, 4, 2);
	test_fill(&self->a, second, 8, 3);
	test_check(&self->b, shared.p, 8, 3);
	test_check(&self->a, src.p, 8, 3);
	test_check(&self->c, copy.p, 8, 1);
	test_check(&self->c, copy2.p, 4, 2);
	test_check_from(&self->c, copy2.p + 4 * psize, 4, 4, 1);
}

static long page_tables(const struct ep *ep)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", ep->pid);
	return file_number(path, "VmPTE:");
}

/*
 * G8, G11: a snapshot of memory of which little has been touched makes no page tables for the rest.
 * There may be no memory for them when it is too late to fail.
 */
TEST_F(pair, copy_of_untouched)
{
	struct buf src, copy, copy2;
	long before;
	char *last;

	test_create_flags(&self->a, WINDOW_PAGES, ZCIPC_CREATE_NO_HUGE, &src);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &copy);
	last = copy.p + (WINDOW_PAGES - 1) * psize;
	test_fill(&self->b, copy.p, 1, 1);
	test_fill(&self->b, last, 1, 2);
	before = page_tables(&self->b);
	ASSERT_LT(0, before);
	test_pass(&self->b, &self->c, ZCIPC_COPY, copy.cap, &copy2);
	EXPECT_GE(before + 4, page_tables(&self->b));
	test_fill(&self->b, copy.p, 1, 3);
	test_check(&self->b, last, 1, 2);
	test_check(&self->c, copy2.p, 1, 1);
	test_check(&self->c, copy2.p + (WINDOW_PAGES - 1) * psize, 1, 2);
	test_check(&self->c, copy2.p + WINDOW_PAGES / 2 * psize, 1, 0);
}

/*
 * The same for a MOVE that fails, since somebody holds a page: PTEs that were carried are put back.
 * That is done of 1024 pages at most. They are in three page tables, and the second is missing.
 */
TEST_F(pair, move_of_untouched)
{
	enum { NPAGES = 1024 };
	struct ep self_ep = { .pid = getpid() };
	struct zcipc_transfer t;
	struct buf src, copy, before_it;
	struct iovec iov;
	long before;
	int fds[2];

	test_create(&self->c, 100, &before_it);
	test_create_flags(&self->a, NPAGES, ZCIPC_CREATE_NO_HUGE, &src);
	test_pass(&self->a, &self->c, ZCIPC_COPY, src.cap, &copy);
	ASSERT_NE(0, (uintptr_t)copy.p % (2UL << 20));
	test_fill(&self->c, copy.p, 1, 1);
	test_fill(&self->c, copy.p + (NPAGES - 1) * psize, 1, 2);
	iov = (struct iovec){ copy.p, psize };
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	t = transfer_cmd(&self->b, ZCIPC_MOVE, copy.cap, 0, 0, 0);
	t.flags = ZCIPC_F_STRICT;
	before = page_tables(&self_ep);
	ASSERT_LT(0, before);
	test_err_transfer(EBUSY, &self->c, &t);
	EXPECT_EQ(before, page_tables(&self_ep));
	test_check(&self->c, copy.p, 1, 1);
	test_check(&self->c, copy.p + (NPAGES - 1) * psize, 1, 2);
	close(fds[0]);
	close(fds[1]);
}

/* --- a region that is a few frames, or a huge one, and alone: it goes a shorter way than others */

FIXTURE(frame)
{
	struct base base;
	struct ep a, b;
	struct buf src;
	int fds[2];
};

FIXTURE_VARIANT(frame)
{
	__u32 flags;
	size_t npages;
};

FIXTURE_VARIANT_ADD(frame, small) { .flags = ZCIPC_CREATE_NO_HUGE, .npages = 1 };
FIXTURE_VARIANT_ADD(frame, few) { .flags = ZCIPC_CREATE_NO_HUGE, .npages = 7 };
FIXTURE_VARIANT_ADD(frame, huge) { .flags = ZCIPC_CREATE_HUGE, .npages = HUGE_PAGES };

FIXTURE_SETUP(frame)
{
	base_setup(_metadata, &self->base);
	if (variant->flags & ZCIPC_CREATE_HUGE)
		need_huge();
	test_open(&self->a, 4 * HUGE_PAGES, 0);
	test_start(&self->b, true, 4 * HUGE_PAGES);
	test_create_flags(&self->a, variant->npages, variant->flags, &self->src);
	test_fill(&self->a, self->src.p, variant->npages, 1);
	ASSERT_EQ(0, pipe(self->fds));
	/* The first one makes page tables, and goes the long way. */
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &self->src);
	test_pass(&self->b, &self->a, ZCIPC_MOVE, self->src.cap, &self->src);
	test_check(&self->a, self->src.p, variant->npages, 1);
}

FIXTURE_TEARDOWN(frame)
{
	close(self->fds[0]);
	close(self->fds[1]);
	base_teardown(_metadata, &self->base);
}

/* What was in a page when it was put into a pipe is still in there. */
static void check_pipe(struct __test_metadata *_metadata, const int *fds, size_t first, __u64 seed)
{
	char *page = anonymous(1);

	ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
	EXPECT_EQ(0, check(page, first, 1, seed));
	munmap(page, psize);
}

/* G2: who holds it keeps it, and the receiver gets a copy; or nothing happens. */
TEST_F(frame, held)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	struct iovec iov = { self->src.p + (variant->npages - 1) * psize, psize };
	struct buf got;

	ASSERT_EQ(psize, vmsplice(self->fds[1], &iov, 1, 0));
	t.flags = ZCIPC_F_STRICT;
	test_err_transfer(EBUSY, &self->a, &t);
	test_check(&self->a, self->src.p, variant->npages, 1);
	t.flags = 0;
	test_transfer(&self->a, &t);
	/* Of 2 MiB nobody can tell which page it is. */
	EXPECT_EQ(variant->npages == HUGE_PAGES ? HUGE_PAGES * psize : psize, t.copied);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, variant->npages, 1);
	test_fill(&self->b, got.p, variant->npages, 2);
	check_pipe(_metadata, self->fds, variant->npages - 1, 1);
	test_gone(&self->a, self->src.p, variant->npages);
}

static void *frame_sender(void *arg)
{
	struct call *c = arg;

	c->rc = zc_transfer((struct ep *)(uintptr_t)c->addr, (struct zcipc_transfer *)c->cmd);
	return NULL;
}

/* The same for who comes to hold it after somebody has looked, but before it is unmapped. */
TEST_F(frame, held_meanwhile)
{
	struct call c = { .addr = (uintptr_t)&self->a };
	struct iovec iov = { self->src.p + (variant->npages - 1) * psize, psize };
	struct zcipc_transfer t;
	pthread_t thread;
	struct buf got;

	need_points();
	if (!has_feature(ZCIPC_FEATURE_SHORT_MOVE))
		SKIP(return, "the short way is switched off");
	t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	memcpy(c.cmd, &t, sizeof(t));
	point_stop("looked");
	ASSERT_EQ(0, pthread_create(&thread, NULL, frame_sender, &c));
	ASSERT_TRUE(point_reached());
	ASSERT_EQ(psize, vmsplice(self->fds[1], &iov, 1, 0));
	point_go();
	pthread_join(thread, NULL);
	ASSERT_EQ(0, c.rc);
	memcpy(&t, c.cmd, sizeof(t));
	/* Of 2 MiB nobody can tell which page it is. */
	EXPECT_EQ(variant->npages == HUGE_PAGES ? HUGE_PAGES * psize : psize, t.copied);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, variant->npages, 1);
	test_fill(&self->b, got.p, variant->npages, 2);
	check_pipe(_metadata, self->fds, variant->npages - 1, 1);
	test_gone(&self->a, self->src.p, variant->npages);
}

/* Who shows it beyond the CPU's page tables, as KVM does to its guest, is told to forget it. */
TEST_F(frame, watched)
{
	struct buf got;
	char text[64];

	need_points();
	snprintf(text, sizeof(text), "%lu %zu", (unsigned long)self->src.p, variant->npages);
	file_write(POINT_PARAMETER "watch", text);
	EXPECT_EQ((long)variant->npages, file_number(POINT_PARAMETER "watch", NULL));
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &got);
	EXPECT_EQ(0, file_number(POINT_PARAMETER "watch", NULL));
	file_write(POINT_PARAMETER "watch", "0");
	test_check(&self->b, got.p, variant->npages, 1);
}

/* One page is held instead of being mapped: it is copied, and no other. */
TEST_F(frame, held_unmapped)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	char *last = self->src.p + (variant->npages - 1) * psize;
	struct iovec iov = { last, psize };
	struct buf got;

	/* What is carried would have its PTEs made anew, whatever they were. */
	carry_set("100");
	ASSERT_EQ(psize, vmsplice(self->fds[1], &iov, 1, 0));
	ASSERT_EQ(0, madvise(last, psize, MADV_DONTNEED));
	test_transfer(&self->a, &t);
	EXPECT_EQ(variant->npages == HUGE_PAGES ? HUGE_PAGES * psize : psize, t.copied);
	test_take(&self->b, &got);
	test_gone(&self->a, self->src.p, variant->npages);
	test_fill(&self->b, got.p, variant->npages, 2);
	check_pipe(_metadata, self->fds, variant->npages - 1, 1);
}

/* Nothing is left of a second mapping. */
TEST_F(frame, mapped_twice)
{
	struct buf got;
	char *p;

	test_map(&self->a, self->src.cap, 0, 0, RIGHTS_RW, &p);
	test_fill(&self->a, p, variant->npages, 2);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &got);
	test_gone(&self->a, p, variant->npages);
	test_gone(&self->a, self->src.p, variant->npages);
	test_check(&self->b, got.p, variant->npages, 2);
	test_pass(&self->b, &self->a, ZCIPC_MOVE, got.cap, &got);
	test_check(&self->a, got.p, variant->npages, 2);
}

/* What arrives is as accessible as the window there is, also where that has been cut up. */
TEST_F(frame, window_in_parts)
{
	size_t len = variant->npages * psize;
	struct buf there, got;
	char *place = self->src.p;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &there);
	ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, PROT_READ));
	ASSERT_EQ(0, mprotect(self->a.win + 2 * HUGE_PAGES * psize, psize, PROT_READ | PROT_WRITE));
	test_pass(&self->b, &self->a, ZCIPC_MOVE, there.cap, &got);
	ASSERT_EQ(place, got.p);
	test_touch_write(SIGSEGV, &self->a, place);
	test_check(&self->a, place, variant->npages, 1);
	ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, PROT_READ | PROT_WRITE));
	test_fill(&self->a, place, variant->npages, 2);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, got.cap, &there);
	test_gone(&self->a, place, variant->npages);

	ASSERT_EQ(0, munmap(place, len));
	test_pass(&self->b, &self->a, ZCIPC_MOVE, there.cap, &got);
	ASSERT_TRUE(got.p >= place + len || got.p + len <= place);
	test_touch_read(SIGSEGV, &self->a, place);
	test_check(&self->a, got.p, variant->npages, 2);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, got.cap, &there);
	test_check(&self->b, there.p, variant->npages, 2);
}

/* A window that is read-only as a whole. */
TEST_F(frame, window_read_only)
{
	struct buf there, got;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &there);
	ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, PROT_READ));
	test_pass(&self->b, &self->a, ZCIPC_MOVE, there.cap, &got);
	test_touch_write(SIGSEGV, &self->a, got.p);
	test_check(&self->a, got.p, variant->npages, 1);
	ASSERT_EQ(0, mprotect(self->a.win, self->a.npages * psize, PROT_READ | PROT_WRITE));
	test_fill(&self->a, got.p, variant->npages, 2);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, got.cap, &there);
	test_check(&self->b, there.p, variant->npages, 2);
}

/* KiB of file pages that somebody has mapped. Older kernels count after some faults only. */
static long rss_file(const struct ep *ep)
{
	char path[32];

	munmap(memory_touched(200), 200 * psize);
	snprintf(path, sizeof(path), "/proc/%d/status", ep->pid);
	return file_number(path, "RssFile:");
}

/* Core mm knows who has how much mapped. It may be wrong by some hundred pages, not by all. */
TEST_F(frame, resident)
{
	enum { MANY = 1000 };
	struct ep self_ep = { .pid = getpid() };
	static struct buf b[MANY];
	long before[2], after[2];
	size_t i;

	if (variant->npages == HUGE_PAGES)
		SKIP(return, "nobody counts PMDs");
	for (i = 0; i < MANY; i += variant->npages) {
		test_create_flags(&self->a, variant->npages, ZCIPC_CREATE_NO_HUGE, &b[i]);
		test_fill(&self->a, b[i].p, variant->npages, 1 + i);
	}
	before[0] = rss_file(&self_ep);
	before[1] = rss_file(&self->b);
	for (i = 0; i < MANY; i += variant->npages)
		test_pass(&self->a, &self->b, ZCIPC_MOVE, b[i].cap, &b[i]);
	after[0] = rss_file(&self_ep);
	after[1] = rss_file(&self->b);
	EXPECT_GT(before[0] - 2000, after[0]);
	EXPECT_LT(before[1] + 2000, after[1]);
	for (i = 0; i < MANY; i += variant->npages)
		test_check(&self->b, b[i].p, variant->npages, 1 + i);
}

/* G4: a break copies the page that was written to, all of it, and no other. */
TEST_F(pair, cow_break_copies_the_right_frame)
{
	struct zcipc_stats before, after;
	struct buf src, copy;
	char *old;
	int i, n = 16;

	old = malloc(n * psize);
	ASSERT_NE(NULL, old);
	test_create(&self->a, n, &src);
	for (i = 0; i < (int)(n * psize / sizeof(int)); i++)
		((int *)src.p)[i] = i * 2654435761u;
	memcpy(old, src.p, n * psize);
	test_pass(&self->a, &self->c, ZCIPC_COPY, src.cap, &copy);
	test_stats(&self->base.ep, &before);
	for (i = 0; i < n; i++) {
		char *mine = (i & 1 ? src.p : copy.p) + i * psize;
		char *other = (i & 1 ? copy.p : src.p) + i * psize;

		mine[psize / 2] ^= 1;
		ASSERT_EQ(0, memcmp(other, old + i * psize, psize));
		ASSERT_NE(0, memcmp(mine, old + i * psize, psize));
		mine[psize / 2] ^= 1;
		ASSERT_EQ(0, memcmp(src.p, old, n * psize));
		ASSERT_EQ(0, memcmp(copy.p, old, n * psize));
	}
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + n * psize, after.copied_write);
	EXPECT_EQ(before.frames + n, after.frames);
	free(old);
}

/*
 * 10: four generations of snapshots, a write at each, and they go in every order. Page i is
 * written to in generation i, so there are two frames for it: that of generation i, and that of all
 * others.
 */
#define LEVELS 4

static void run_snapshot_tree(struct __test_metadata *_metadata, struct ep *stat, struct ep *ep,
			      const int *order)
{
	struct zcipc_stats base, now;
	bool alive[LEVELS];
	struct buf level[LEVELS];
	int i, j, step;

	test_stats(stat, &base);
	test_create(ep, LEVELS, &level[0]);
	test_fill(ep, level[0].p, LEVELS, 1);
	for (i = 1; i < LEVELS; i++)
		test_pass(ep, ep, ZCIPC_COPY, level[i - 1].cap, &level[i]);
	for (i = 0; i < LEVELS; i++) {
		ASSERT_EQ(0, ep_write(ep, level[i].p + i * psize, 100 + i));
		alive[i] = true;
	}
	for (step = 0; step <= LEVELS; step++) {
		__u64 frames = 0;

		for (i = 0; i < LEVELS; i++) {
			bool others = false;

			for (j = 0; j < LEVELS; j++)
				others |= j != i && alive[j];
			frames += alive[i] + others;
			for (j = 0; j < LEVELS && alive[i]; j++) {
				__u64 val;

				ASSERT_EQ(0, ep_read(ep, level[i].p + j * psize, &val));
				ASSERT_EQ(i == j ? 100ULL + i : pattern(1, j, 0), val);
			}
		}
		test_stats(stat, &now);
		ASSERT_EQ(base.frames + frames, now.frames);
		if (step == LEVELS)
			break;
		test_drop(ep, level[order[step]].cap);
		alive[order[step]] = false;
	}
}

TEST_F(pair, snapshots_of_snapshots)
{
	int i, order[LEVELS];

	for (i = 0; i < 256; i++) {
		int seen = 0, k;

		for (k = 0; k < LEVELS; k++) {
			order[k] = i >> 2 * k & 3;
			seen |= 1 << order[k];
		}
		if (seen == 15)
			run_snapshot_tree(_metadata, &self->base.ep, &self->a, order);
	}
}

/* A MOVE of what snapshots share: frames go along, and still copy on write. */
TEST_F(pair, move_of_snapshot)
{
	struct zcipc_transfer t;
	struct buf src, copy, moved;

	test_create(&self->a, 8, &src);
	test_fill(&self->a, src.p, 8, 1);
	test_pass(&self->a, &self->c, ZCIPC_COPY, src.cap, &copy);
	t = transfer_cmd(&self->b, ZCIPC_MOVE, copy.cap, 2, 4, 0);
	test_transfer(&self->c, &t);
	EXPECT_EQ(4, t.pages);
	test_take(&self->b, &moved);
	test_fill(&self->a, src.p, 8, 2);
	test_check_from(&self->b, moved.p, 2, 4, 1);
	test_check(&self->c, copy.p, 2, 1);
	test_fill(&self->b, moved.p, 4, 3);
	test_check(&self->a, src.p, 8, 2);
}

TEST_HARNESS_MAIN

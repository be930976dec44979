// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is dropped goes back to who has created it, if both want that, and many drops at once.
 *
 * Guarantees: G1 no copy, G2 MOVE, G7 no residue, G8 the end, G11 charges.
 */
#include "zcipc_utils.h"

FIXTURE(returned)
{
	struct base base;
	struct ep a, b, c;	/* a creates, b drops */
	size_t n;
};

FIXTURE_VARIANT(returned)
{
	size_t npages;
	__u32 create;
	bool by_setting;	/* of the endpoint; or by a flag of each DROP */
	bool remote;
};

FIXTURE_VARIANT_ADD(returned, small) { .npages = 8, .remote = true };
FIXTURE_VARIANT_ADD(returned, page) { .npages = 1, .by_setting = true, .remote = true };
FIXTURE_VARIANT_ADD(returned, huge) { .npages = 512, .remote = true };
FIXTURE_VARIANT_ADD(returned, many) { .npages = 1000, .by_setting = true };
FIXTURE_VARIANT_ADD(returned, unpinnable) { .npages = 8, .create = ZCIPC_CREATE_UNPINNABLE };

FIXTURE_SETUP(returned)
{
	struct buf b;

	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, variant->remote, WINDOW_PAGES);
	test_open(&self->c, WINDOW_PAGES, O_NONBLOCK);
	self->n = variant->npages;
	/* From now on it is kept. */
	test_create_flags(&self->a, 1, ZCIPC_CREATE_RECYCLED | ZCIPC_CREATE_NO_HUGE, &b);
}

FIXTURE_TEARDOWN_BASE(returned)

static void agree(struct __test_metadata *_metadata, struct ep *ep, __u32 dropped)
{
	struct zcipc_endpoint_config config = { .flags = ZCIPC_CONFIG_DROPPED,
						.dropped = dropped };

	TEST_OK(zc_config(ep, &config));
	ASSERT_EQ(dropped, config.dropped);
}

/* Drops what @ep has, agreeing that it goes back, in the variant's way. */
static void drop_back(struct __test_metadata *_metadata, const FIXTURE_VARIANT(returned) *variant,
		      struct ep *ep, __u64 cap)
{
	if (variant->by_setting)
		agree(_metadata, ep, ZCIPC_DROPPED_RETURN);
	test_drop_flags(ep, cap, variant->by_setting ? 0 : ZCIPC_DROP_RETURN);
	if (variant->by_setting)
		agree(_metadata, ep, ZCIPC_DROPPED_FREE);
}

/* A region of a's that b has, and that b has written @seed to. */
static void sent(struct __test_metadata *_metadata, FIXTURE_DATA(returned) *self,
		 const FIXTURE_VARIANT(returned) *variant, __u64 seed, struct buf *src,
		 struct buf *dst)
{
	test_create_flags(&self->a, self->n, variant->create, src);
	test_fill(&self->a, src->p, self->n, 99);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, src->cap, dst);
	test_check(&self->b, dst->p, self->n, 99);
	test_fill(&self->b, dst->p, self->n, seed);
}

/* What a's next region contains: what was filled with @seed, or nothing. */
static void next_is(struct __test_metadata *_metadata, FIXTURE_DATA(returned) *self,
		    const FIXTURE_VARIANT(returned) *variant, __u64 seed)
{
	struct buf b;

	test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &b);
	test_check(&self->a, b.p, self->n, seed);
	test_fill(&self->a, b.p, self->n, 77);
	test_check(&self->a, b.p, self->n, 77);
	/* Not to be kept for the next one. */
	test_pass(&self->a, &self->c, ZCIPC_MOVE, b.cap, &b);
	test_check(&self->c, b.p, self->n, 77);
	test_drop(&self->c, b.cap);
}

/* It is there again, with what it contains, and nobody else reaches it. */
TEST_F(returned, comes_back_as_it_was)
{
	struct zcipc_stats before, kept, after;
	struct zcipc_region_query q;
	struct buf src, dst, again;

	sent(_metadata, self, variant, 1, &src, &dst);
	test_stats(&self->base.ep, &before);
	drop_back(_metadata, variant, &self->b, dst.cap);
	test_stats(&self->base.ep, &kept);
	EXPECT_EQ(before.frames - self->n, kept.frames);
	EXPECT_EQ(before.regions - 1, kept.regions);
	EXPECT_EQ(before.caps - 1, kept.caps);
	EXPECT_EQ(before.maps - 1, kept.maps);
	EXPECT_EQ(owned(&before), owned(&kept));
	test_gone(&self->b, dst.p, self->n);
	/* Not for another endpoint, nor for who does not want it. */
	test_create_flags(&self->c, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &again);
	test_check(&self->c, again.p, self->n, 0);
	test_create_flags(&self->a, self->n, variant->create, &again);
	test_check(&self->a, again.p, self->n, 0);
	test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &again);
	test_check(&self->a, again.p, self->n, 1);
	ASSERT_NE(src.region, again.region);
	test_err_query(ESTALE, &self->b, dst.cap, &q);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before) + 2 * self->n, owned(&after));
	EXPECT_EQ(before.frames + 2 * self->n, after.frames);
	EXPECT_EQ(before.copied_held, after.copied_held);
}

/* So it goes on and on, with a page here and there, and without any new memory. */
TEST_F(returned, stream)
{
	struct buf src, dst;
	unsigned int i;

	sent(_metadata, self, variant, 1, &src, &dst);
	for (i = 1; i < 20; i++) {
		drop_back(_metadata, variant, &self->b, dst.cap);
		test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED | variant->create,
				  &src);
		test_check(&self->a, src.p, self->n, i);
		test_fill(&self->a, src.p, self->n, 100 + i);
		test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &dst);
		test_gone(&self->a, src.p, self->n);
		test_check(&self->b, dst.p, self->n, 100 + i);
		test_fill(&self->b, dst.p, self->n, i + 1);
	}
}

/* G7: without its holder's word nobody sees what it contains. */
TEST_F(returned, not_without_consent)
{
	struct buf src, dst;

	sent(_metadata, self, variant, 1, &src, &dst);
	test_drop(&self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	/* Nor if others have agreed, or it was agreed before. */
	agree(_metadata, &self->a, ZCIPC_DROPPED_RETURN);
	agree(_metadata, &self->c, ZCIPC_DROPPED_RETURN);
	agree(_metadata, &self->b, ZCIPC_DROPPED_RETURN);
	agree(_metadata, &self->b, ZCIPC_DROPPED_FREE);
	sent(_metadata, self, variant, 2, &src, &dst);
	test_drop(&self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	/* With it, it comes from whoever has it last. */
	sent(_metadata, self, variant, 3, &src, &dst);
	test_pass(&self->b, &self->c, ZCIPC_MOVE, dst.cap, &dst);
	test_drop(&self->c, dst.cap);
	next_is(_metadata, self, variant, 3);
}

/* G2, G6: what others have, or hold, or what is not all there, does not go back. */
TEST_F(returned, not_of_others)
{
	struct iovec iov = { .iov_len = psize };
	struct buf src, dst, other;
	int fds[2];

	/* What is shared. */
	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 1);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, src.cap, &dst);
	drop_back(_metadata, variant, &self->b, dst.cap);
	test_check(&self->a, src.p, self->n, 1);
	next_is(_metadata, self, variant, 0);
	sent(_metadata, self, variant, 2, &src, &dst);
	test_pass(&self->b, &self->c, ZCIPC_SHARE, dst.cap, &other);
	drop_back(_metadata, variant, &self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	test_check(&self->c, other.p, self->n, 2);
	test_drop(&self->c, other.cap);
	/* What a snapshot has. */
	sent(_metadata, self, variant, 3, &src, &dst);
	test_pass(&self->b, &self->c, ZCIPC_COPY, dst.cap, &other);
	drop_back(_metadata, variant, &self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	test_check(&self->c, other.p, self->n, 3);
	test_drop(&self->c, other.cap);
	/* What was not created, but copied. */
	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 4);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &dst);
	test_pass(&self->a, &self->c, ZCIPC_MOVE, src.cap, &other);
	test_drop(&self->c, other.cap);
	drop_back(_metadata, variant, &self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	/* What somebody holds. */
	if (variant->remote || variant->create)
		return;
	sent(_metadata, self, variant, 5, &src, &dst);
	ASSERT_EQ(0, pipe(fds));
	iov.iov_base = dst.p + psize;
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	drop_back(_metadata, variant, &self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	close(fds[0]);
	close(fds[1]);
}

/* A part that was moved is a region that nobody has created. */
TEST_F(returned, not_a_part)
{
	struct zcipc_transfer cmd;
	struct buf src, dst, part;

	if (self->n < 2)
		SKIP(return, "a page has no parts");
	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 1);
	test_send_part(&self->a, &self->b, ZCIPC_MOVE, src.cap, 0, 1);
	test_take(&self->b, &dst);
	drop_back(_metadata, variant, &self->b, dst.cap);
	test_create_flags(&self->a, 1, ZCIPC_CREATE_RECYCLED | variant->create, &dst);
	test_check(&self->a, dst.p, 1, 0);
	/* What has holes is not all that was created. */
	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 1);
	test_give(&self->a, &self->b, src.cap, RIGHTS_RW, &dst);
	cmd = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 0, 1, 0);
	cmd.flags = ZCIPC_F_REVOKE_OTHERS;
	test_transfer(&self->a, &cmd);
	test_take(&self->c, &part);
	test_drop(&self->a, src.cap);
	drop_back(_metadata, variant, &self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
}

/* G7, G11: who never asked for such memory gets none, and pays for none. */
TEST_F(returned, only_if_wanted)
{
	struct zcipc_stats before, after;
	struct buf src, dst;

	test_stats(&self->base.ep, &before);
	test_create_flags(&self->c, self->n, variant->create, &src);
	test_fill(&self->c, src.p, self->n, 1);
	test_pass(&self->c, &self->b, ZCIPC_MOVE, src.cap, &dst);
	drop_back(_metadata, variant, &self->b, dst.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	test_create_flags(&self->c, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &src);
	test_check(&self->c, src.p, self->n, 0);
}

/* G8: it is freed when its maker dies, before or after. */
TEST_F(returned, freed_with_its_maker)
{
	struct zcipc_stats before, after;
	struct buf src, dst;
	struct ep maker;
	int i;

	for (i = 0; i < 2; i++) {
		test_stats(&self->base.ep, &before);
		test_open(&maker, WINDOW_PAGES, O_NONBLOCK);
		test_create_flags(&maker, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &src);
		test_pass(&maker, &self->b, ZCIPC_MOVE, src.cap, &dst);
		if (i)
			ep_end(&maker);
		drop_back(_metadata, variant, &self->b, dst.cap);
		if (!i)
			ep_end(&maker);
		test_stats(&self->base.ep, &after);
		EXPECT_EQ(owned(&before), owned(&after));
		EXPECT_EQ(before.frames, after.frames);
		EXPECT_EQ(before.endpoints, after.endpoints);
	}
}

static int job_drop_back(struct job *j)
{
	return zc_drop_flags(j->ep, j->cap, ZCIPC_DROP_RETURN);
}

/* Its maker dies just when it is to be kept for that one. */
TEST_F(returned, freed_after_its_maker)
{
	struct zcipc_stats before, after;
	struct job drop = { .fn = job_drop_back, .ep = &self->b };
	struct buf src, dst;
	struct ep maker;

	need_points();
	test_stats(&self->base.ep, &before);
	test_open(&maker, WINDOW_PAGES, O_NONBLOCK);
	test_create_flags(&maker, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &src);
	test_pass(&maker, &self->b, ZCIPC_MOVE, src.cap, &dst);
	drop.cap = dst.cap;
	point_stop("keeps");
	job_start(&drop);
	ASSERT_TRUE(point_reached());
	ep_end(&maker);
	point_go();
	job_join(&drop);
	ASSERT_EQ(0, drop.rc);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
	EXPECT_EQ(before.endpoints, after.endpoints);
}

/* What is copied to memory that is kept is nobody's creation, though that was. */
TEST_F(returned, not_of_a_copy)
{
	char *p = memory_touched(self->n);
	struct zcipc_transfer cmd = direct_cmd(&self->a, ZCIPC_COPY, p, self->n * psize, 0);
	struct buf src, dst;

	if (variant->create)
		SKIP(return, "copies are not of such memory");
	cmd.flags &= ~ZCIPC_F_IMPORT;
	test_create_flags(&self->a, self->n, ZCIPC_CREATE_RECYCLED, &src);
	test_fill(&self->a, src.p, self->n, 5);
	test_drop(&self->a, src.cap);
	test_transfer(&self->c, &cmd);
	test_take(&self->a, &dst);
	test_check(&self->a, dst.p, self->n, 1);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, dst.cap, &dst);
	drop_back(_metadata, variant, &self->b, dst.cap);
	next_is(_metadata, self, variant, 0);
	munmap(p, self->n * psize);
}

/* G11: memory that another user pays for by now does not go back. */
TEST_F(returned, not_from_another_user)
{
	struct zcipc_stats before, after;
	struct buf src, dst;
	struct ep user;

	test_user_start(&user, 12345, 0);
	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 1);
	test_stats(&user, &before);
	test_pass(&self->a, &user, ZCIPC_MOVE, src.cap, &dst);
	drop_back(_metadata, variant, &user, dst.cap);
	test_stats(&user, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	next_is(_metadata, self, variant, 0);
	/* It is dropped as any other: kept, for who wants that. */
	test_create_flags(&user, 1, ZCIPC_CREATE_RECYCLED | ZCIPC_CREATE_NO_HUGE, &src);
	test_drop(&user, src.cap);
	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 2);
	test_pass(&self->a, &user, ZCIPC_MOVE, src.cap, &dst);
	drop_back(_metadata, variant, &user, dst.cap);
	test_create_flags(&user, self->n, ZCIPC_CREATE_RECYCLED | variant->create, &dst);
	test_check(&user, dst.p, self->n, 2);
	next_is(_metadata, self, variant, 0);
}

/* Own regions are kept as without it. */
TEST_F(returned, by_its_maker)
{
	struct buf src;

	test_create_flags(&self->a, self->n, variant->create, &src);
	test_fill(&self->a, src.p, self->n, 1);
	drop_back(_metadata, variant, &self->a, src.cap);
	next_is(_metadata, self, variant, 1);
}

/* Many at once: all go, in their order, up to the first that there is not. */
TEST_F(returned, many_at_once)
{
	__u64 caps[8], none = 0;
	struct zcipc_stats before, after;
	struct buf src, dst;
	__u32 i, n = 77;

	if (variant->remote)
		SKIP(return, "the array is this process's");
	test_stats(&self->base.ep, &before);
	for (i = 0; i < 3; i++) {
		sent(_metadata, self, variant, 1 + i, &src, &dst);
		caps[i] = dst.cap;
	}
	TEST_OK(zc_drop_batch(&self->b, caps, 3, ZCIPC_DROP_RETURN, &n));
	EXPECT_EQ(3, n);
	/* The last one first. */
	for (i = 3; i; i--)
		next_is(_metadata, self, variant, i);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.caps, after.caps);
	EXPECT_EQ(owned(&before), owned(&after));

	sent(_metadata, self, variant, 4, &src, &dst);
	caps[3] = dst.cap;
	sent(_metadata, self, variant, 5, &src, &dst);
	caps[5] = dst.cap;
	caps[4] = caps[0];
	TEST_OK(zc_drop_batch(&self->b, caps + 3, 3, 0, &n));
	EXPECT_EQ(1, n);
	TEST_ERR(ESTALE, zc_drop_batch(&self->b, caps + 4, 2, 0, &n));
	test_check(&self->b, dst.p, self->n, 5);
	TEST_OK(zc_drop_batch(&self->b, caps + 5, 1, 0, &n));
	EXPECT_EQ(1, n);
	next_is(_metadata, self, variant, 0);

	TEST_ERR(EINVAL, zc_drop_batch(&self->b, caps, 0, 0, &n));
	TEST_ERR(EINVAL, zc_drop_batch(&self->b, caps, ZCIPC_MAX_BATCH + 1, 0, &n));
	TEST_ERR(EFAULT, zc_drop_batch(&self->b, (__u64 *)8, 1, 0, &n));
	TEST_ERR(ENOENT, zc_drop_batch(&self->b, &none, 1, 0, &n));
	TEST_ERR(EOPNOTSUPP, zc_drop_batch(&self->b, caps, 1, 1U << 31, &n));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * 2 MiB frames, and imported 2 MiB pages: mapped by PMDs, moved and shared as one, written to and
 * taken apart by pages.
 *
 * Guarantees: G1 zero copy, G2 exclusive MOVE, G3 all or nothing, G4 snapshot, G5 coherent SHARE,
 * G8 accounting, G10 ordinary memory.
 * Attacks: 7-9 (holders of a part), 10 (snapshots), 18 (the window taken apart).
 */
#include <sys/uio.h>

#include "zcipc_huge.h"

static int ep_forget(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_forget, .addr = (uintptr_t)p, .n = npages * psize };

	return ep_call(ep, &c);
}

/* What is asked for, what there is. */
TEST_F(huge, create)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = ZCIPC_CREATE_HUGE, .len = BLOCK * psize,
		.node = ZCIPC_NODE_ANY, .cache = ZCIPC_CACHE_UNCACHED,
	};
	struct zcipc_stats before, after;
	struct buf b;

	EXPECT_EQ(0, (uintptr_t)self->src.p % (BLOCK * psize));
	EXPECT_EQ(2, ep_pmds(&self->a, self->src.p));
	test_create_flags(&self->a, N, ZCIPC_CREATE_NO_HUGE, &b);
	EXPECT_EQ(0, b.huge);
	EXPECT_EQ(N, b.npages);
	test_drop(&self->a, b.cap);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, 1, ZCIPC_CREATE_HUGE, &b);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(BLOCK, b.npages);
	EXPECT_EQ(BLOCK, b.huge);
	EXPECT_EQ(before.frames + BLOCK, after.frames);
	EXPECT_EQ(owned(&before) + BLOCK, owned(&after));
	test_check(&self->a, b.p, 0, 0);
	test_drop(&self->a, b.cap);
	test_err_create_flags(EINVAL, &self->a, BLOCK, ZCIPC_CREATE_HUGE | ZCIPC_CREATE_NO_HUGE,
			      &b);
	TEST_ERR(has_feature(ZCIPC_FEATURE_UNCACHED) ? EINVAL : EOPNOTSUPP,
		 zc_ioctl(&self->a, ZCIPC_IOC_REGION_CREATE, &cmd));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
}

/* What is new is zero, also where other contents were before. */
TEST_F(huge, zero)
{
	unsigned int i;
	struct buf b;
	__u64 val;
	size_t k;

	for (i = 0; i < 3; i++) {
		test_create(&self->a, BLOCK, &b);
		for (k = 0; k < BLOCK; k++) {
			ASSERT_EQ(0, ep_read(&self->a, b.p + k * psize + 8 * (k % 512), &val));
			ASSERT_EQ(0, val);
		}
		test_fill(&self->a, b.p, BLOCK, 5);
		test_drop(&self->a, b.cap);
	}
}

/* G1, G2: back and forth, without a copy, and in the end without a fault. */
TEST_F(blocks, move)
{
	struct zcipc_stats before, after;
	struct buf there, back = self->src;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		test_stats(&self->base.ep, &before);
		test_pass(&self->a, &self->b, ZCIPC_MOVE, back.cap, &there);
		test_gone(&self->a, back.p, N);
		test_check(&self->b, there.p, N, 1 + 2 * i);
		test_fill(&self->b, there.p, N, 2 + 2 * i);
		ASSERT_EQ(self->npmds, blocks_pmds(&self->b, there.p, N));
		test_pass(&self->b, &self->a, ZCIPC_MOVE, there.cap, &back);
		test_gone(&self->b, there.p, N);
		test_check(&self->a, back.p, N, 2 + 2 * i);
		test_fill(&self->a, back.p, N, 3 + 2 * i);
		ASSERT_EQ(self->npmds, blocks_pmds(&self->a, back.p, N));
		test_stats(&self->base.ep, &after);
		ASSERT_EQ(before.copied_held, after.copied_held);
		ASSERT_EQ(before.copied_write, after.copied_write);
		ASSERT_EQ(before.frames, after.frames);
		if (i)
			ASSERT_EQ(before.faults, after.faults);
	}
}

/* What came while the window was read-only is written to when it is so no longer. */
TEST_F(blocks, read_only_window)
{
	char *win = self->windows[0] ?: self->a.win;
	struct buf there, back;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &there);
	ASSERT_EQ(0, mprotect(win, HUGE_WINDOW * psize, PROT_READ));
	test_pass(&self->b, &self->a, ZCIPC_MOVE, there.cap, &back);
	test_check(&self->a, back.p, N, 1);
	test_touch_write(SIGSEGV, &self->a, back.p);
	ASSERT_EQ(0, mprotect(win, HUGE_WINDOW * psize, PROT_READ | PROT_WRITE));
	test_fill(&self->a, back.p, N, 2);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, back.cap, &there);
	test_check(&self->b, there.p, N, 2);
}

/* G5, G7: both have it, by PMDs, until it is revoked. */
TEST_F(blocks, share)
{
	struct buf dst;
	__u64 n, val;
	size_t i;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &dst);
	test_check(&self->b, dst.p, N, 1);
	/* What was imported is mapped so for one of them only. */
	ASSERT_EQ(variant->imported ? 0 : 2, blocks_pmds(&self->b, dst.p, N));
	for (i = 0; i < N; i += 100) {
		ASSERT_EQ(0, ep_write(&self->b, dst.p + i * psize, 70 + i));
		ASSERT_EQ(0, ep_read(&self->a, self->src.p + i * psize, &val));
		ASSERT_EQ(70 + i, val);
	}
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	ASSERT_EQ(1, n);
	test_gone(&self->b, dst.p, N);
	ASSERT_EQ(0, ep_read(&self->a, self->src.p, &val));
	EXPECT_EQ(self->own_npmds, blocks_pmds(&self->a, self->src.p, N));
}

/* A range of it is shared: PMDs where they can be. */
TEST_F(blocks, share_part)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 100,
					       BLOCK + 412, RIGHTS_RW);
	struct zcipc_recv m;
	__u64 val;
	char *p;

	test_transfer(&self->a, &t);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_check_from(&self->b, p, 100, BLOCK + 412, 1);
	EXPECT_EQ(variant->imported ? 0 : 1, blocks_pmds(&self->b, p, BLOCK + 412));
	ASSERT_EQ(0, ep_write(&self->b, p + 500 * psize, 33));
	ASSERT_EQ(0, ep_read(&self->a, self->src.p + 600 * psize, &val));
	ASSERT_EQ(33, val);
	if (p > self->b.win)
		test_touch_read(SIGBUS, &self->b, p - psize);
}

/* G4: one written byte copies a page. Who is left alone can write to all of it again. */
TEST_F(blocks, copy)
{
	struct zcipc_stats before, after;
	struct zcipc_region_query q;
	struct buf dst;
	__u64 val;

	test_stats(&self->base.ep, &before);
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	test_check(&self->b, dst.p, N, 1);
	test_check(&self->a, self->src.p, N, 1);
	EXPECT_EQ(self->npmds, blocks_pmds(&self->b, dst.p, N));
	EXPECT_EQ(self->own_npmds, blocks_pmds(&self->a, self->src.p, N));
	test_stats(&self->base.ep, &after);
	ASSERT_EQ(before.frames, after.frames);
	ASSERT_EQ(before.copied_write, after.copied_write);
	/* Neither sees what the other writes. */
	ASSERT_EQ(0, ep_write(&self->b, dst.p + 7 * psize, 77));
	ASSERT_EQ(0, ep_read(&self->a, self->src.p + 7 * psize, &val));
	ASSERT_EQ(pattern(1, 7, 0), val);
	ASSERT_EQ(0, ep_write(&self->a, self->src.p + (BLOCK + 9) * psize, 99));
	ASSERT_EQ(0, ep_read(&self->b, dst.p + (BLOCK + 9) * psize, &val));
	ASSERT_EQ(pattern(1, BLOCK + 9, 0), val);
	test_check_from(&self->b, dst.p + 8 * psize, 8, N - 8, 1);
	test_check(&self->a, self->src.p, BLOCK + 9, 1);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + 2 * psize, after.copied_write);
	EXPECT_EQ(self->npmds / 2, blocks_pmds(&self->b, dst.p, N));
	EXPECT_EQ(self->own_npmds / 2, blocks_pmds(&self->a, self->src.p, N));
	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ((N - 2) * psize, q.shared);
	/* The first 2 MiB are not all the sender's own, but those that it has are. */
	test_drop(&self->b, dst.cap);
	test_fill(&self->a, self->src.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + 2 * psize, after.copied_write);
	EXPECT_EQ(self->own_npmds / 2, blocks_pmds(&self->a, self->src.p, N));
}

/* G4: all is written, on either side. */
TEST_F(blocks, copy_all)
{
	struct zcipc_stats before, after;
	struct buf one, two;

	test_stats(&self->base.ep, &before);
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &one);
	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &two);
	test_fill(&self->b, one.p, N, 2);
	test_check(&self->a, self->src.p, N, 1);
	test_fill(&self->a, self->src.p, N, 3);
	test_check(&self->b, one.p, N, 2);
	test_check(&self->b, two.p, N, 1);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + 2 * N * psize, after.copied_write);
	EXPECT_EQ(before.frames + 2 * N, after.frames);
	/* The last one that has them writes in place. */
	test_fill(&self->b, two.p, N, 4);
	test_check(&self->b, two.p, N, 4);
	EXPECT_EQ(self->npmds, blocks_pmds(&self->b, two.p, N));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.copied_write + 2 * N * psize, after.copied_write);
	test_check(&self->b, one.p, N, 2);
	test_check(&self->a, self->src.p, N, 3);
}

/* A part of a snapshot, not at a multiple of 2 MiB. */
TEST_F(blocks, copy_part)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 3, BLOCK + 20,
					       0);
	struct zcipc_recv m;
	char *p;

	test_transfer(&self->a, &t);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	/* Also where no page is shared, but others of the same 2 MiB are. */
	test_fill(&self->a, self->src.p, N, 2);
	test_check_from(&self->b, p, 3, BLOCK + 20, 1);
	test_check(&self->a, self->src.p, N, 2);
	test_fill(&self->b, p, BLOCK + 20, 4);
	test_check(&self->a, self->src.p, N, 2);
}

/* Who can hold a page by a PMD? Of imported memory nobody, be it mapped by PMDs or PTEs. */
TEST_F(blocks, held_by_io)
{
	struct iovec iov = { .iov_base = self->src.p + 700 * psize, .iov_len = psize };
	int fds[2], i, n;
	struct buf dst;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(self->own_npmds, blocks_pmds(&self->a, self->src.p, N));
	n = vmsplice(fds[1], &iov, 1, 0);
	EXPECT_TRUE(variant->imported ? n < 0 && (errno == EFAULT || errno == EEXIST) :
					n == (int)psize);
	EXPECT_EQ(self->own_npmds, blocks_pmds(&self->a, self->src.p, N));
	/* Nor where it was sent to, be it that one of the PMDs is taken apart. */
	test_pass(&self->a, &self->a, ZCIPC_MOVE, self->src.cap, &dst);
	iov.iov_base = dst.p + 700 * psize;
	test_fill(&self->a, dst.p, N, 2);
	for (i = 0; i < 2 && variant->imported; i++) {
		EXPECT_TRUE(vmsplice(fds[1], &iov, 1, 0) < 0 &&
			    (errno == EFAULT || errno == EEXIST));
		TEST_OK(mprotect(dst.p, psize, PROT_READ));
	}
	close(fds[0]);
	close(fds[1]);
}

/* G2, G4: 8: who held a page before it was imported keeps it, and sees nothing of later writes. */
TEST_F(huge, imported_held)
{
	struct zcipc_transfer t, strict;
	char *memory, *p, page[8192];
	struct buf src, dst;
	struct iovec iov;
	int fds[2];

	p = blocks_memory(&memory);
	test_fill(&self->a, p, N, 1);
	iov = (struct iovec){ .iov_base = p + 700 * psize, .iov_len = psize };
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	test_import(&self->a, p, N, &src);
	t = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 0, 0, 0);
	strict = t;
	strict.flags = ZCIPC_F_STRICT;
	test_err_transfer(EBUSY, &self->a, &strict);
	strict.type = ZCIPC_COPY;
	test_err_transfer(EBUSY, &self->a, &strict);
	test_check(&self->a, p, N, 1);
	test_transfer(&self->a, &t);
	/* Nobody can tell which page it is. */
	EXPECT_EQ(BLOCK * psize, t.copied);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->b, dst.p, N, 2);
	ASSERT_EQ(psize, read(fds[0], page, psize));
	ASSERT_EQ(pattern(1, 700, 0), *(__u64 *)page);
	close(fds[0]);
	close(fds[1]);
	test_check(&self->b, dst.p, N, 2);
	munmap(memory, MEMORY);
}

static int remap_page(char *from, char *to)
{
	return mremap(from, psize, psize, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -1;
}

/* Two pages change places, by way of a third, which then is unmapped. */
#define test_swap(one, other, by) do {		\
	TEST_OK(remap_page(one, by));		\
	TEST_OK(remap_page(other, one));	\
	TEST_OK(remap_page(by, other));		\
} while (0)

/* A 2 MiB page, two pages of which have changed places, is none that a PMD could show. */
TEST_F(huge, imported_in_disorder)
{
	const size_t one = BLOCK + 5, other = BLOCK + 99;
	struct buf src, dst;
	char *memory, *p;
	size_t i;

	p = blocks_memory(&memory);
	test_fill(&self->a, p, 2 * BLOCK, 1);
	ASSERT_EQ(2, pmd_mapped(getpid(), p) / 2048);
	test_swap(p + one * psize, p + other * psize, p + (2 * BLOCK + 50) * psize);
	test_import(&self->a, p, 2 * BLOCK, &src);
	for (i = 0; i < 2; i++) {
		test_pass(&self->a, &self->b, i ? ZCIPC_MOVE : ZCIPC_SHARE, src.cap, &dst);
		EXPECT_EQ(i && imports_by_pmds(), ep_pmds(&self->b, dst.p));
		test_check(&self->b, dst.p, one, 1);
		test_check_from(&self->b, dst.p + one * psize, other, 1, 1);
		test_check_from(&self->b, dst.p + (one + 1) * psize, one + 1, other - one - 1, 1);
		test_check_from(&self->b, dst.p + other * psize, one, 1, 1);
		test_check_from(&self->b, dst.p + (other + 1) * psize, other + 1,
				2 * BLOCK - other - 1, 1);
		test_drop(&self->b, dst.cap);
	}
	munmap(memory, MEMORY);
}

/* Straight from memory: PMDs where a block begins at a multiple of 2 MiB in the message, too. */
TEST_F(huge, imported_directly)
{
	static const size_t skip[] = { 0, 3, BLOCK };
	struct zcipc_transfer t;
	char *memory, *p;
	struct buf dst;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(skip); i++) {
		p = blocks_memory(&memory);
		test_fill(&self->a, p, N, 1);
		ASSERT_EQ(2, pmd_mapped(getpid(), p) / 2048);
		t = (struct zcipc_transfer){
			.size = sizeof(t), .type = ZCIPC_MOVE, .flags = ZCIPC_F_FROM_MEMORY,
			.peer = self->b.id, .offset = (uintptr_t)p + skip[i] * psize,
			.len = (N - skip[i]) * psize, .node = ZCIPC_NODE_ANY,
		};
		test_transfer(&self->a, &t);
		test_take(&self->b, &dst);
		test_check_from(&self->b, dst.p, skip[i], N - skip[i], 1);
		/* Of a 2 MiB page that is sent in part the rest is still there: it is copied. */
		EXPECT_EQ(skip[i] == 3 ? (BLOCK - 3) * psize : 0, t.copied);
		EXPECT_EQ(!imports_by_pmds() || skip[i] == 3 ? 0 : skip[i] ? 1 : 2,
			  ep_pmds(&self->b, dst.p));
		test_fill(&self->b, dst.p, N - skip[i], 2);
		test_check(&self->b, dst.p, N - skip[i], 2);
		test_check_from(&self->a, p, 0, skip[i], 1);
		test_check(&self->a, p + skip[i] * psize, N - skip[i], 0);
		test_drop(&self->b, dst.cap);
		munmap(memory, MEMORY);
	}
}

/* G8: a page is moved away alone. What is left of its 2 MiB is paid for by somebody. */
TEST_F(huge, move_part)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 5, 1, 0);
	struct zcipc_stats before, after;
	struct zcipc_recv m;
	char *p;

	test_stats(&self->base.ep, &before);
	test_transfer(&self->a, &t);
	ASSERT_EQ(0, t.copied);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_gone(&self->a, self->src.p + 5 * psize, 1);
	test_check_from(&self->b, p, 5, 1, 1);
	test_check(&self->a, self->src.p, 5, 1);
	test_check_from(&self->a, self->src.p + 6 * psize, 6, N - 6, 1);
	test_fill(&self->a, self->src.p, 5, 2);
	test_fill(&self->a, self->src.p + 6 * psize, N - 6, 2);
	test_check_from(&self->b, p, 5, 1, 1);
	EXPECT_EQ(1, ep_pmds(&self->a, self->src.p));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	test_drop(&self->a, self->src.cap);
	test_check_from(&self->b, p, 5, 1, 1);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before) - N + BLOCK, owned(&after));
	EXPECT_EQ(before.frames - N + 1, after.frames);
	test_drop(&self->b, m.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before) - N, owned(&after));
	EXPECT_EQ(before.frames - N, after.frames);
}

/* 2 MiB of it are moved away, and are one frame as before. */
TEST_F(blocks, move_block)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, BLOCK, BLOCK,
					       0);
	struct zcipc_recv m;
	char *p;

	test_transfer(&self->a, &t);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	test_gone(&self->a, self->src.p + BLOCK * psize, BLOCK);
	test_check_from(&self->b, p, BLOCK, BLOCK, 1);
	EXPECT_EQ(self->npmds / 2, blocks_pmds(&self->b, p, BLOCK));
	test_check(&self->a, self->src.p, BLOCK, 1);
	test_check_from(&self->a, self->src.p + 2 * BLOCK * psize, 2 * BLOCK, 16, 1);
	EXPECT_EQ(self->own_npmds / 2, blocks_pmds(&self->a, self->src.p, N));
	test_fill(&self->b, p, BLOCK, 2);
	test_check(&self->a, self->src.p, BLOCK, 1);
}

/* G2, G4: somebody holds a page: 7-9. */
TEST_F(huge, held)
{
	struct zcipc_transfer strict = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	struct zcipc_transfer t = strict;
	struct iovec iov = { .iov_base = self->src.p + 700 * psize, .iov_len = psize };
	struct zcipc_recv m;
	char page[8192];
	int fds[2];

	strict.flags = ZCIPC_F_STRICT;
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	test_err_transfer(EBUSY, &self->a, &strict);
	strict.type = ZCIPC_COPY;
	test_err_transfer(EBUSY, &self->a, &strict);
	test_check(&self->a, self->src.p, N, 1);
	test_transfer(&self->a, &t);
	/* Nobody can tell which page it is. */
	EXPECT_EQ(BLOCK * psize, t.copied);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 1);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, N, 2);
	ASSERT_EQ(psize, read(fds[0], page, psize));
	ASSERT_EQ(pattern(1, 700, 0), *(__u64 *)page);
	close(fds[0]);
	close(fds[1]);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 2);
}

/* As of one behind the huge frames: what is carried is put back, and goes the other way. */
TEST_F(huge, held_behind)
{
	struct zcipc_transfer strict = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	struct zcipc_transfer t = strict;
	struct iovec iov = { .iov_base = self->src.p + (2 * BLOCK + 3) * psize, .iov_len = psize };
	struct buf got;
	char page[8192];
	int fds[2];

	strict.flags = ZCIPC_F_STRICT;
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	test_err_transfer(EBUSY, &self->a, &strict);
	test_check(&self->a, self->src.p, N, 1);
	test_transfer(&self->a, &t);
	EXPECT_EQ(psize, t.copied);
	test_take(&self->b, &got);
	test_check(&self->b, got.p, N, 1);
	EXPECT_EQ(2, ep_pmds(&self->b, got.p));
	test_fill(&self->b, got.p, N, 2);
	ASSERT_EQ(psize, read(fds[0], page, psize));
	ASSERT_EQ(pattern(1, 2 * BLOCK + 3, 0), *(__u64 *)page);
	close(fds[0]);
	close(fds[1]);
	/* And a part, that begins within a block. */
	test_send_part(&self->b, &self->a, ZCIPC_MOVE, got.cap, 100, N - 100);
	test_take(&self->a, &got);
	test_check_from(&self->a, got.p, 100, N - 100, 2);
}

/* G4: a read-only pin from the time of a snapshot does not see what is written after it. */
TEST_F(huge, held_after_copy)
{
	struct iovec iov = { .iov_base = self->src.p + 3 * psize, .iov_len = psize };
	char page[8192];
	struct buf dst;
	int fds[2];

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	test_check(&self->a, self->src.p, N, 1);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(psize, vmsplice(fds[1], &iov, 1, 0));
	test_drop(&self->b, dst.cap);
	test_fill(&self->a, self->src.p, N, 2);
	ASSERT_EQ(psize, read(fds[0], page, psize));
	ASSERT_EQ(pattern(1, 3, 0), *(__u64 *)page);
	close(fds[0]);
	close(fds[1]);
	test_check(&self->a, self->src.p, N, 2);
}

/* G10: others read and write it. */
TEST_F(huge, ordinary)
{
	size_t size = BLOCK * psize, i;
	struct iovec here, there;
	char *copy = malloc(size);
	pid_t pid;
	struct buf dst;

	ASSERT_NE(NULL, copy);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	test_check(&self->b, dst.p, N, 1);
	pid = self->b.sock < 0 ? getpid() : self->b.pid;
	here = (struct iovec){ copy, size };
	there = (struct iovec){ dst.p + 2 * psize, size };
	ASSERT_EQ(size, process_vm_readv(pid, &here, 1, &there, 1, 0));
	ASSERT_EQ(0, check(copy, 2, BLOCK, 1));
	for (i = 0; i < BLOCK; i++)
		*(__u64 *)(copy + i * psize) = i;
	ASSERT_EQ(size, process_vm_writev(pid, &here, 1, &there, 1, 0));
	for (i = 0; i < BLOCK; i += 50) {
		__u64 val;

		ASSERT_EQ(0, ep_read(&self->b, dst.p + (i + 2) * psize, &val));
		ASSERT_EQ(i, val);
	}
	EXPECT_EQ(2, ep_pmds(&self->b, dst.p));
	free(copy);
}

/* 18: the owner takes his window apart, PMDs and all. */
TEST_F(blocks, window)
{
	char *p = self->src.p;
	struct buf dst;
	__u64 val;

	/* Advice that core mm takes for what it knows. */
	madvise(p + psize, 5 * psize, MADV_COLD);
	madvise(p, N * psize, MADV_PAGEOUT);
	madvise(p, N * psize, MADV_COLLAPSE);
	test_check(&self->a, p, N, 1);
	ASSERT_EQ(variant->imported ? -1 : 0, madvise(p + psize, 5 * psize, MADV_DONTNEED));
	test_check(&self->a, p, N, 1);
	ASSERT_EQ(0, mprotect(p + 10 * psize, psize, PROT_READ));
	test_touch_write(SIGSEGV, &self->a, p + 10 * psize);
	ASSERT_EQ(0, ep_write(&self->a, p + 11 * psize, pattern(1, 11, 0)));
	test_check(&self->a, p, N, 1);
	ASSERT_EQ(0, mprotect(p + 10 * psize, psize, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, ep_write(&self->a, p + 10 * psize, pattern(1, 10, 0)));
	test_check(&self->a, p, N, 1);
	ASSERT_EQ(0, munmap(p + 20 * psize, psize));
	test_check(&self->a, p, 20, 1);
	test_check_from(&self->a, p + 21 * psize, 21, N - 21, 1);
	test_touch_read(SIGSEGV, &self->a, p + 20 * psize);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &dst);
	test_touch_read(SIGBUS, &self->a, p);
	test_check(&self->b, dst.p, N, 1);
	EXPECT_EQ(self->npmds, blocks_pmds(&self->b, dst.p, N));
	/* And back to where no PMD can be. */
	test_pass(&self->b, &self->a, ZCIPC_MOVE, dst.cap, &dst);
	ASSERT_EQ(0, ep_read(&self->a, dst.p, &val));
	ASSERT_EQ(pattern(1, 0, 0), val);
}

/* Single pages and 2 MiB frames come and go at the same addresses. */
TEST_F(huge, places_are_used_again)
{
	static const size_t sizes[] = { BLOCK + 8, 3, BLOCK, 100, 2 * BLOCK, 700 };
	struct buf all[64], dst;
	size_t n, i;

	test_drop(&self->a, self->src.cap);
	/* Until there is no room for another. */
	for (n = 0; n < ARRAY_SIZE(all); n++) {
		size_t size = sizes[n % ARRAY_SIZE(sizes)];

		if (zc_create(&self->a, size, &all[n]))
			break;
		test_fill(&self->a, all[n].p, size, n + 1);
	}
	ASSERT_EQ(EAGAIN, errno);
	ASSERT_LT(12, n);
	for (i = 0; i < n; i++)
		test_check(&self->a, all[i].p, all[i].npages, i + 1);
	for (i = 0; i < n; i += 2)
		test_drop(&self->a, all[i].cap);
	for (i = 1; i < n; i += 2) {
		test_check(&self->a, all[i].p, all[i].npages, i + 1);
		test_pass(&self->a, &self->b, ZCIPC_MOVE, all[i].cap, &dst);
		test_check(&self->b, dst.p, dst.npages, i + 1);
		test_drop(&self->b, dst.cap);
	}
	test_create(&self->a, 4 * BLOCK, &dst);
	test_fill(&self->a, dst.p, 4 * BLOCK, 3);
	test_check(&self->a, dst.p, 4 * BLOCK, 3);
}

/* A batch brings pages that lie on both sides of a 2 MiB frame. */
TEST_F(huge, batch_around)
{
	struct zcipc_transfer t[2];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)t, .ntransfers = ARRAY_SIZE(t),
		.transfer_size = sizeof(t[0]),
	};
	struct buf blocks[3], rest, one[2];
	static struct ep c;
	size_t i;

	/* Not carried. */
	carry_set("100");
	test_open(&c, 4 * BLOCK, 0);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		test_create(&c, BLOCK, &blocks[i]);
	ASSERT_EQ(c.win + BLOCK * psize, blocks[2].p);
	test_fill(&c, blocks[2].p, BLOCK, 2);
	ASSERT_EQ(3, ep_pmds(&c, c.win));
	test_create_flags(&c, BLOCK - 1, ZCIPC_CREATE_NO_HUGE, &rest);
	ASSERT_EQ(c.win, rest.p);
	test_drop(&c, blocks[1].cap);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		test_create(&self->a, 1, &one[i]);
		test_fill(&self->a, one[i].p, 1, 10 + i);
		t[i] = transfer_cmd(&c, ZCIPC_MOVE, one[i].cap, 0, 0, 0);
	}
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &cmd));
	ASSERT_EQ(ARRAY_SIZE(t), cmd.done);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		test_take(&c, &one[i]);
		EXPECT_EQ(c.win + (i ? 2 * BLOCK : BLOCK - 1) * psize, one[i].p);
		test_check(&c, one[i].p, 1, 10 + i);
		test_fill(&c, one[i].p, 1, 20 + i);
	}
	EXPECT_EQ(2, ep_pmds(&c, c.win));
	test_check(&c, blocks[2].p, BLOCK, 2);
}

/* Another cache policy is for pages: they are copied. */
TEST_F(huge, cache)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	struct zcipc_recv m;
	void *window;

	if (variant->remote)
		SKIP(return, "one kind of peer is enough");
	if (!has_feature(ZCIPC_FEATURE_UNCACHED))
		SKIP(return, "there is no such cache policy");
	t.cache = ZCIPC_CACHE_UNCACHED;
	window = mmap(NULL, HUGE_WINDOW * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->b.fd,
		      ZCIPC_WINDOW_OFFSET(ZCIPC_CACHE_UNCACHED));
	ASSERT_NE(MAP_FAILED, window);
	test_transfer(&self->a, &t);
	EXPECT_EQ(N * psize, t.copied);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, N, 1);
	test_drop(&self->b, m.cap);
	munmap(window, HUGE_WINDOW * psize);
}

/* Somebody who writes all the time. */
struct writer {
	char *p;
	volatile bool stop;
	volatile __u64 n;
};

static void *writer_run(void *arg)
{
	struct writer *w = arg;

	while (!w->stop)
		if (touch_write(w->p + (w->n % (2 * BLOCK)) * psize + 8, w->n + 1))
			msleep(1);
		else if (!(++w->n % YIELD))
			sched_yield();
	return NULL;
}

/* G2, G4: a snapshot, and what was moved, does not change while the sender goes on writing. */
TEST_F(blocks, writers)
{
	struct writer w = { .p = self->src.p };
	unsigned int i, k, rounds = loops(20);
	pthread_t thread;
	struct buf dst;
	__u64 sum[2];

	ASSERT_EQ(0, pthread_create(&thread, NULL, writer_run, &w));
	ASSERT_TRUE(wait_until(w.n));
	for (i = 0; i < rounds; i++) {
		bool move = i == rounds - 1;

		test_pass(&self->a, &self->b, move ? ZCIPC_MOVE : ZCIPC_COPY, self->src.cap, &dst);
		for (k = 0; k < 2; k++) {
			ASSERT_EQ(0, ep_sum(&self->b, dst.p + 8, 3 * psize, 2 * BLOCK / 3, 0,
					    &sum[k]));
			msleep(2);
		}
		ASSERT_EQ(sum[0], sum[1]) TH_LOG("round %u", i);
		test_drop(&self->b, dst.cap);
	}
	w.stop = true;
	pthread_join(thread, NULL);
}

/* --- who holds a page is seen, though others map and unmap other parts of the same frame */

struct sender {
	struct ep *ep;
	struct zcipc_transfer t;
	int rc;
};

static void *send_thread(void *arg)
{
	struct sender *s = arg;

	s->rc = zc_transfer(s->ep, &s->t);
	return NULL;
}

static void *write_thread(void *arg)
{
	return touch_write(arg, 0xbad) ? arg : NULL;
}

TEST_F(huge, held_among_mappings)
{
	char *page = malloc(psize);
	struct buf other, got;
	struct sender s = {};
	struct iovec iov;
	pthread_t thread;
	int fds[2];

	need_points();
	ASSERT_EQ(0, pipe(fds));
	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 1, 1);
	test_take(&self->b, &other);
	ASSERT_EQ(0, ep_forget(&self->b, other.p, 1));
	iov = (struct iovec){ self->src.p + 5 * psize, psize };
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
	s.ep = &self->a;
	s.t = transfer_cmd(&self->a, ZCIPC_MOVE, self->src.cap, 5, 1, 0);
	point_stop("counted");
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_thread, &s));
	/* One comes after its references have been counted, and goes after the mappings have. */
	EXPECT_TRUE(point_reached());
	EXPECT_EQ(0, ep_write(&self->b, other.p, 1));
	point_stop("counted");
	EXPECT_TRUE(point_reached());
	EXPECT_EQ(0, ep_forget(&self->b, other.p, 1));
	point_go();
	pthread_join(thread, NULL);
	ASSERT_EQ(0, s.rc);
	EXPECT_EQ(psize, s.t.copied);
	test_take(&self->a, &got);
	test_check_from(&self->a, got.p, 5, 1, 1);
	/* What the receiver writes is not what the one who holds it reads. */
	test_fill(&self->a, got.p, 1, 2);
	ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
	EXPECT_EQ(0, check(page, 5, 1, 1));
	close(fds[0]);
	close(fds[1]);
	free(page);
}

/* So is who has held it since there was a snapshot, when it is written to. */
TEST_F(huge, held_when_written)
{
	char *page = malloc(psize);
	struct buf part, other, got;
	struct iovec iov;
	pthread_t thread;
	void *failed;
	int fds[2];
	__u64 val;

	need_points();
	ASSERT_EQ(0, pipe(fds));
	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 1, 1);
	test_take(&self->b, &other);
	ASSERT_EQ(0, ep_forget(&self->b, other.p, 1));
	/* Mapped by a PTE, read-only. */
	test_send_part(&self->a, &self->a, ZCIPC_MOVE, self->src.cap, 5, 1);
	test_take(&self->a, &part);
	test_pass(&self->a, &self->b, ZCIPC_COPY, part.cap, &got);
	test_drop(&self->b, got.cap);
	ASSERT_EQ(0, ep_read(&self->a, part.p, &val));
	iov = (struct iovec){ part.p, psize };
	ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
	point_stop("counted");
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_thread, part.p));
	EXPECT_TRUE(point_reached());
	EXPECT_EQ(0, ep_write(&self->b, other.p, 1));
	point_go();
	pthread_join(thread, &failed);
	EXPECT_EQ(NULL, failed);
	ASSERT_EQ((ssize_t)psize, read(fds[0], page, psize));
	EXPECT_EQ(0, check(page, 5, 1, 1));
	close(fds[0]);
	close(fds[1]);
	free(page);
}

TEST_HARNESS_MAIN

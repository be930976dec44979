// SPDX-License-Identifier: GPL-2.0-only
/*
 * NUMA: on which node memory is made, and to which one transfers bring it.
 *
 * Covered: new memory on a node that was asked for, and nodes that there are not; MOVE, SHARE and
 * COPY to a node, given by its number or as the place where the receiver is; what is there already,
 * what somebody else has too, and what somebody holds; strict and not.
 *
 * Needs two nodes with memory.
 */
#include <linux/mempolicy.h>
#include <sched.h>

#include "zcipc_utils.h"

#define N 8

FIXTURE(numa)
{
	struct base base;
	struct ep a, b;
	int node[2];
};

/* The nodes that have memory. Returns how many, two at most. */
static int find_nodes(int *node)
{
	char path[64];
	int i, n = 0;

	for (i = 0; i < 1024 && n < 2; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", i);
		if (file_number(path, "MemTotal:") > 0)
			node[n++] = i;
	}
	return n;
}

FIXTURE_SETUP(numa)
{
	base_setup(_metadata, &self->base);
	if (find_nodes(self->node) < 2)
		SKIP(_exit(KSFT_SKIP), "needs two nodes with memory");
	test_open(&self->a, 256, 0);
	test_start(&self->b, true, 256);
}

FIXTURE_TEARDOWN_BASE(numa)

static long set_policy(int mode, unsigned long mask)
{
	return syscall(SYS_set_mempolicy, mode, mask ? &mask : NULL, mask ? 64 : 0);
}

/* Where no node is given, the task's memory policy says where memory is, as for any other. */
TEST_F(numa, task_policy)
{
	static const __u32 flags[] = { 0, ZCIPC_CREATE_NO_HUGE };
	struct zcipc_region_query query = {};
	unsigned int i, k, seen;
	struct buf buf;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, set_policy(MPOL_BIND, 1UL << self->node[i]));
		for (k = 0; k < ARRAY_SIZE(flags); k++) {
			test_create_flags(&self->a, 20, flags[k], &buf);
			test_query(&self->a, buf.cap, &query);
			EXPECT_EQ(self->node[i], query.node);
			test_drop(&self->a, buf.cap);
		}
	}
	ASSERT_EQ(0, set_policy(MPOL_INTERLEAVE, 1UL << self->node[0] | 1UL << self->node[1]));
	test_create_flags(&self->a, 20, ZCIPC_CREATE_NO_HUGE, &buf);
	for (i = 0, seen = 0; i < 20; i++) {
		struct buf part;

		test_send_part(&self->a, &self->a, ZCIPC_MOVE, buf.cap, i, 1);
		test_take(&self->a, &part);
		test_query(&self->a, part.cap, &query);
		seen += query.node == self->node[1];
	}
	/* What else the kernel needs takes its turn, too. */
	EXPECT_LE(5, seen);
	EXPECT_GE(15, seen);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
}

/* The first CPU of a node, or -1. */
static int node_cpu(int node)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	return file_number(path, NULL);
}

static long call_pin(struct ep *ep, struct call *c)
{
	cpu_set_t set;

	(void)ep;
	CPU_ZERO(&set);
	CPU_SET(c->n, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* Sends an endpoint's process to a CPU of a node. */
static int ep_pin(struct ep *ep, int node)
{
	struct call c = { .fn = call_pin, .n = node_cpu(node) };

	return ep_call(ep, &c);
}

/* Where pages are: the node, or -1 if it is not one, or if they are not there. */
static long call_node(struct ep *ep, struct call *c)
{
	int status, node = -1;
	size_t i;

	(void)ep;
	for (i = 0; i < c->n; i++) {
		void *p = (void *)(uintptr_t)(c->addr + i * psize);
		__u64 val;

		status = -1;
		if (touch_read(p, &val) || syscall(SYS_move_pages, 0, 1, &p, NULL, &status, 0) ||
		    status < 0 || (i && status != node))
			return -1;
		node = status;
	}
	return node;
}

static int ep_node(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_node, .addr = (uintptr_t)p, .n = npages };

	return ep_call(ep, &c);
}

/* Page tables and the module agree. */
#define test_node(want, ep, buf, npages_)				\
do {									\
	struct zcipc_region_query __q;					\
									\
	ASSERT_EQ((want), ep_node(ep, (buf)->p, npages_));		\
	test_query(ep, (buf)->cap, &__q);				\
	ASSERT_EQ((want), __q.node);					\
} while (0)

static int create_node(struct ep *ep, int node, size_t npages, __u32 flags, struct buf *b)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = flags | ZCIPC_CREATE_MAP, .len = npages * psize,
		.node = node,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_CREATE, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = npages,
				   .p = (char *)(uintptr_t)cmd.addr };
	return rc;
}

/* Made where it is asked for, and nowhere else if it has to be there. */
TEST_F(numa, create)
{
	static const int none[] = { -2, -3, 1023, 1 << 20, -2147483647 - 1, 2147483647 };
	struct buf b;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		TEST_OK(create_node(&self->a, self->node[i], 100, 0, &b));
		test_node(self->node[i], &self->a, &b, 100);
		test_check(&self->a, b.p, 100, 0);
		TEST_OK(create_node(&self->b, self->node[i], 100, ZCIPC_CREATE_NODE_STRICT, &b));
		test_node(self->node[i], &self->b, &b, 100);
	}
	TEST_OK(create_node(&self->a, ZCIPC_NODE_ANY, 1, 0, &b));
	ASSERT_LE(0, ep_node(&self->a, b.p, 1));
	/* A preference that need not exist to be strict about. */
	TEST_OK(create_node(&self->a, ZCIPC_NODE_ANY, 1, ZCIPC_CREATE_NODE_STRICT, &b));
	for (i = 0; i < ARRAY_SIZE(none); i++) {
		TEST_ERR(EINVAL, create_node(&self->a, none[i], 1, 0, &b));
		TEST_ERR(EINVAL, create_node(&self->a, none[i], 1, ZCIPC_CREATE_NODE_STRICT, &b));
	}
}

/* One transfer of a region of N pages, of which one endpoint alone has frames, on node @from. */
static void bring(struct __test_metadata *_metadata, struct ep *a, struct ep *b, struct ep *stats,
		  __u32 type, int from, int to, __s32 node, __u32 flags)
{
	struct zcipc_stats before, after;
	struct zcipc_transfer t;
	struct buf src, got;
	bool away = from != to;

	TEST_OK(create_node(a, from, N, ZCIPC_CREATE_NODE_STRICT, &src));
	test_fill(a, src.p, N, 1);
	t = transfer_cmd(b, type, src.cap, 0, 0, type == ZCIPC_SHARE ? RIGHTS_RW : 0);
	t.node = node;
	t.flags = flags;
	test_stats(stats, &before);
	test_transfer(a, &t);
	test_stats(stats, &after);
	EXPECT_EQ(away ? N * psize : 0, t.migrated);
	EXPECT_EQ(0, t.off_node);
	EXPECT_EQ(0, t.copied);
	EXPECT_EQ(away ? 0 : N, t.pages);
	EXPECT_EQ(before.copied_node + t.migrated, after.copied_node);
	EXPECT_EQ(before.copied_held, after.copied_held);
	EXPECT_EQ(before.pages + t.pages, after.pages);
	EXPECT_EQ(before.bytes + N * psize, after.bytes);
	EXPECT_EQ(before.frames, after.frames);
	test_take(b, &got);
	test_check(b, got.p, N, 1);
	test_node(to, b, &got, N);
	if (type == ZCIPC_MOVE) {
		test_gone(a, src.p, N);
		ASSERT_EQ(src.region, got.region);
	} else {
		/* The other side has the same frames. */
		test_check(a, src.p, N, 1);
		test_node(to, a, &src, N);
	}
	test_fill(b, got.p, N, 2);
	test_check(b, got.p, N, 2);
	if (type != ZCIPC_MOVE) {
		test_check(a, src.p, N, type == ZCIPC_SHARE ? 2 : 1);
		test_drop(a, src.cap);
	}
	test_drop(b, got.cap);
}

/* Frames that nobody else has come along, whichever way the node is given. */
TEST_F(numa, move_to_node)
{
	__u32 type;
	int i;

	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		for (i = 0; i < 4; i++) {
			int from = self->node[i & 1], to = self->node[i >> 1];

			bring(_metadata, &self->a, &self->b, &self->base.ep, type, from, to, to, 0);
			bring(_metadata, &self->a, &self->b, &self->base.ep, type, from, to, to,
			      ZCIPC_F_NODE_STRICT);
			/* Nobody asks: they stay. */
			bring(_metadata, &self->a, &self->b, &self->base.ep, type, from, from,
			      ZCIPC_NODE_ANY, 0);
		}
}

/* The receiver is where it received last, or mapped a window, whichever CPU the sender is on. */
TEST_F(numa, move_to_receiver)
{
	struct buf src, got;
	struct ep c;
	__u32 type;
	int i;

	for (i = 0; i < 2; i++)
		if (node_cpu(self->node[i]) < 0)
			SKIP(return, "a node has no CPU");
	/* Emulated nodes do. */
	if (node_cpu(self->node[0]) == node_cpu(self->node[1]))
		SKIP(return, "the nodes share their CPUs");
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		for (i = 0; i < 4; i++) {
			int from = self->node[i & 1], to = self->node[i >> 1];

			ASSERT_EQ(0, ep_pin(&self->a, self->node[i & 1]));
			ASSERT_EQ(0, ep_pin(&self->b, to));
			TEST_OK(create_node(&self->a, ZCIPC_NODE_ANY, 1, 0, &src));
			test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &got);
			test_drop(&self->b, got.cap);
			bring(_metadata, &self->a, &self->b, &self->base.ep, type, from, to,
			      ZCIPC_NUMA_RECEIVER, i & 1 ? ZCIPC_F_NODE_STRICT : 0);
		}
	/* One that has received nothing yet, and opens and maps on a node. */
	for (i = 0; i < 2; i++) {
		TEST_OK(peer_fork(&c));
		ASSERT_EQ(0, ep_pin(&c, self->node[i]));
		TEST_OK(peer_open(&c, 64, 0));
		bring(_metadata, &self->a, &c, &self->base.ep, ZCIPC_MOVE, self->node[!i],
		      self->node[i], ZCIPC_NUMA_RECEIVER, ZCIPC_F_NODE_STRICT);
		ep_end(&c);
		neps--;
	}
}

/* In parts, and in a batch. */
TEST_F(numa, parts)
{
	struct zcipc_transfer t[2];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)t, .ntransfers = 2,
		.transfer_size = sizeof(t[0]),
	};
	struct zcipc_region_query q;
	struct buf src, got;
	int i;

	for (i = 0; i < 3; i++) {
		TEST_OK(create_node(&self->a, self->node[0], N, 0, &src));
		test_fill(&self->a, src.p, N, 1);
		t[0] = transfer_cmd(&self->b, ZCIPC_MOVE, src.cap, 1, 2, 0);
		t[0].node = self->node[1];
		t[1] = transfer_cmd(&self->b, ZCIPC_SHARE, src.cap, 4, 3, RIGHTS_RW);
		t[1].node = self->node[1];
		if (!i) {
			test_transfer(&self->a, &t[0]);
			test_transfer(&self->a, &t[1]);
		} else {
			cmd.flags = i == 1 ? 0 : ZCIPC_F_ATOMIC;
			TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &cmd));
			ASSERT_EQ(2, cmd.done);
		}
		EXPECT_EQ(2 * psize, t[0].migrated);
		EXPECT_EQ(3 * psize, t[1].migrated);
		test_take(&self->b, &got);
		test_node(self->node[1], &self->b, &got, 2);
		test_check_from(&self->b, got.p, 1, 2, 1);
		test_drop(&self->b, got.cap);
		test_take(&self->b, &got);
		test_node(self->node[1], &self->b, &got, 3);
		test_check_from(&self->b, got.p, 4, 3, 1);
		ASSERT_EQ(self->node[1], ep_node(&self->a, src.p + 4 * psize, 3));
		ASSERT_EQ(self->node[0], ep_node(&self->a, src.p, 1));
		ASSERT_EQ(self->node[0], ep_node(&self->a, src.p + 3 * psize, 1));
		test_query(&self->a, src.cap, &q);
		ASSERT_EQ(ZCIPC_NODE_ANY, q.node);
		test_check_from(&self->a, src.p + 3 * psize, 3, N - 3, 1);
		test_drop(&self->b, got.cap);
		test_drop(&self->a, src.cap);
	}
}

/* What somebody else has too stays where it is. */
TEST_F(numa, not_alone)
{
	struct buf src, other, got;
	struct zcipc_stats before, after;
	struct zcipc_transfer t;
	int snapshot;
	__u32 type;

	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		for (snapshot = 0; snapshot < 2; snapshot++) {
			/* Cannot be moved anyway. */
			if (type == ZCIPC_MOVE && !snapshot)
				continue;
			TEST_OK(create_node(&self->a, self->node[0], N, 0, &src));
			test_fill(&self->a, src.p, N, 1);
			test_pass(&self->a, &self->b, snapshot ? ZCIPC_COPY : ZCIPC_SHARE, src.cap,
				  &other);
			t = transfer_cmd(&self->b, type, src.cap, 0, 0,
					 type == ZCIPC_SHARE ? RIGHTS_RW : 0);
			t.node = self->node[1];
			t.flags = ZCIPC_F_NODE_STRICT;
			test_stats(&self->base.ep, &before);
			test_err_transfer(EBUSY, &self->a, &t);
			test_stats(&self->base.ep, &after);
			ASSERT_TRUE(same_live(&before, &after));
			ASSERT_EQ(before.copied_node, after.copied_node);
			ASSERT_EQ(owned(&before), owned(&after));
			test_check(&self->a, src.p, N, 1);
			test_node(self->node[0], &self->a, &src, N);
			t.flags = 0;
			test_transfer(&self->a, &t);
			EXPECT_EQ(0, t.migrated);
			EXPECT_EQ(N * psize, t.off_node);
			EXPECT_EQ(N, t.pages);
			test_take(&self->b, &got);
			test_check(&self->b, got.p, N, 1);
			test_node(self->node[0], &self->b, &got, N);
			test_check(&self->b, other.p, N, 1);
			test_drop(&self->b, got.cap);
			test_drop(&self->b, other.cap);
			if (type != ZCIPC_MOVE)
				test_drop(&self->a, src.cap);
		}
}

/* What somebody holds: a MOVE copies it in any case, the others leave it. */
TEST_F(numa, held)
{
	char *text = malloc(psize);
	struct zcipc_transfer t;
	struct iovec iov;
	struct buf src, got;
	int fds[2], strict;
	__u32 type;

	for (type = ZCIPC_MOVE; type <= ZCIPC_SHARE; type++)
		for (strict = 0; strict < 2; strict++) {
			TEST_OK(create_node(&self->a, self->node[0], N, 0, &src));
			test_fill(&self->a, src.p, N, 1);
			ASSERT_EQ(0, pipe(fds));
			iov = (struct iovec){ src.p, psize };
			ASSERT_EQ((ssize_t)psize, vmsplice(fds[1], &iov, 1, 0));
			t = transfer_cmd(&self->b, type, src.cap, 0, 0,
					 type == ZCIPC_SHARE ? RIGHTS_RW : 0);
			t.node = self->node[1];
			t.flags = strict ? ZCIPC_F_NODE_STRICT : 0;
			if (strict && type == ZCIPC_SHARE) {
				test_err_transfer(EBUSY, &self->a, &t);
				test_check(&self->a, src.p, N, 1);
				test_node(self->node[0], &self->a, &src, N);
				t.flags = 0;
			}
			test_transfer(&self->a, &t);
			test_take(&self->b, &got);
			EXPECT_EQ((N - 1) * psize, t.migrated);
			EXPECT_EQ(type == ZCIPC_MOVE ? psize : 0, t.copied);
			EXPECT_EQ(type == ZCIPC_MOVE ? 0 : psize, t.off_node);
			EXPECT_EQ(type == ZCIPC_MOVE ? 0 : 1, t.pages);
			test_check(&self->b, got.p, N, 1);
			if (type == ZCIPC_MOVE)
				test_node(self->node[1], &self->b, &got, N);
			ASSERT_EQ(type == ZCIPC_MOVE ? self->node[1] : self->node[0],
				  ep_node(&self->b, got.p, 1));
			ASSERT_EQ(self->node[1], ep_node(&self->b, got.p + psize, N - 1));
			if (type == ZCIPC_MOVE)
				test_fill(&self->b, got.p, N, 2);
			ASSERT_EQ((ssize_t)psize, read(fds[0], text, psize));
			ASSERT_EQ(0, check(text, 0, 1, 1));
			close(fds[0]);
			close(fds[1]);
			test_drop(&self->b, got.cap);
			if (type != ZCIPC_MOVE)
				test_drop(&self->a, src.cap);
		}
	free(text);
}

/* Nodes that there are not. */
TEST_F(numa, no_such_node)
{
	static const int none[] = { -3, 1023, 1 << 20, 2147483647 };
	struct zcipc_transfer t;
	struct buf src;
	unsigned int i;
	__u32 type;

	test_create(&self->a, 1, &src);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		for (i = 0; i < ARRAY_SIZE(none); i++) {
			t = transfer_cmd(&self->b, type, src.cap, 0, 0,
					 type == ZCIPC_SHARE ? RIGHTS_RW : 0);
			t.node = none[i];
			test_err_transfer(EINVAL, &self->a, &t);
		}
	test_check(&self->a, src.p, 1, 0);
}

TEST_HARNESS_MAIN

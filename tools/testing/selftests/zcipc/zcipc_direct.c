// SPDX-License-Identifier: GPL-2.0-only
/*
 * Straight from memory: any pointer and length, what was sent stays what it was, and memory whose
 * owner does not provide it.
 *
 * Guarantees: G1 zero-copy, G2 MOVE, G3, G4 snapshots, G5, G7 no residue.
 * Attacks: 21 memory that is not provided.
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/personality.h>
#include <sys/wait.h>

#include "zcipc_utils.h"
#include "lib/fuse.h"

#define N 8

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
	test_start(&self->b, true, WINDOW_PAGES);
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
	test_start(&self->b, true, WINDOW_PAGES);
	self->p = (unsigned char *)anonymous(BYTES / psize);
	ASSERT_NE(MAP_FAILED, (void *)self->p);
}

FIXTURE_TEARDOWN_BASE(bytes)

TEST_F(bytes, any_range_moved)
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
TEST_F(bytes, any_range_copied)
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

TEST_HARNESS_MAIN

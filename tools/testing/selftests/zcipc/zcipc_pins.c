// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own ways to memory: get_user_pages() and its users, which read, write, and hold
 * pages beyond their mappings.
 *
 * Guarantees: G2 (pages that somebody holds), G4, G6 rights, G10 ordinary memory.
 * Attacks: 7 writes to a read-only share, 9 pins and snapshots, 15 pins and MOVE.
 */
#include <linux/futex.h>
#include <linux/loop.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "zcipc_utils.h"

#define N 4

/*
 * Ways to write 8 bytes to an address, each without a store by this program. 0, or -1 with errno.
 * They return -2 when there is no such way here.
 */
static int write_read(struct ep *ep, char *p, __u64 val)
{
	int fds[2], rc;

	(void)ep;
	if (pipe(fds))
		return -2;
	rc = write(fds[1], &val, 8) == 8 && read(fds[0], p, 8) == 8 ? 0 : -1;
	close(fds[0]);
	close(fds[1]);
	return rc;
}

static int write_recv(struct ep *ep, char *p, __u64 val)
{
	int sv[2], rc;

	(void)ep;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return -2;
	rc = send(sv[0], &val, 8, 0) == 8 && recv(sv[1], p, 8, 0) == 8 ? 0 : -1;
	close(sv[0]);
	close(sv[1]);
	return rc;
}

static int write_vm(struct ep *ep, char *p, __u64 val)
{
	struct iovec local = { &val, 8 }, remote = { p, 8 };

	return process_vm_writev(ep->pid, &local, 1, &remote, 1, 0) == 8 ? 0 : -1;
}

static int write_proc(struct ep *ep, char *p, __u64 val)
{
	char path[32];
	int fd, rc;

	snprintf(path, sizeof(path), "/proc/%d/mem", ep->pid);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -2;
	rc = pwrite(fd, &val, 8, (uintptr_t)p) == 8 ? 0 : -1;
	close(fd);
	return rc;
}

/* Of another process: a debugger may write to what its victim may not. */
static int write_ptrace(struct ep *ep, char *p, __u64 val)
{
	int rc;

	if (ep->sock < 0)
		return -2;
	if (ptrace(PTRACE_SEIZE, ep->pid, 0, 0) || ptrace(PTRACE_INTERRUPT, ep->pid, 0, 0))
		return -2;
	waitpid(ep->pid, NULL, __WALL);
	rc = ptrace(PTRACE_POKEDATA, ep->pid, p, val) ? -1 : 0;
	ptrace(PTRACE_DETACH, ep->pid, 0, 0);
	return rc;
}

/* A read from a block device past the page cache: the device writes to the page itself. */
static int write_direct(struct ep *ep, char *p, __u64 val)
{
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int mem = memfd_create("zcipc", MFD_CLOEXEC);
	struct loop_config config = { .fd = mem };
	int rc = -2, dev = -1, direct;
	char path[32];
	size_t i;

	(void)ep;
	if (ctl < 0 || mem < 0)
		goto out;
	snprintf(path, sizeof(path), "/dev/loop%d", ioctl(ctl, LOOP_CTL_GET_FREE));
	dev = open(path, O_RDWR | O_CLOEXEC);
	for (i = 0; i < psize; i += 8)
		if (pwrite(mem, &val, 8, i) != 8)
			goto out;
	if (dev < 0 || ioctl(dev, LOOP_CONFIGURE, &config))
		goto out;
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (direct >= 0)
		rc = read(direct, p, psize) == (ssize_t)psize ? 0 : -1;
	i = errno;
	close(direct);
	ioctl(dev, LOOP_CLR_FD, 0);
	errno = i;
out:
	if (dev >= 0)
		close(dev);
	if (ctl >= 0)
		close(ctl);
	close(mem);
	return rc;
}

FIXTURE(writer)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_VARIANT(writer)
{
	int (*write)(struct ep *ep, char *p, __u64 val);
	bool remote;
};

FIXTURE_VARIANT_ADD(writer, read) { .write = write_read, };
FIXTURE_VARIANT_ADD(writer, recv) { .write = write_recv, };
FIXTURE_VARIANT_ADD(writer, vm_writev) { .write = write_vm, };
FIXTURE_VARIANT_ADD(writer, vm_writev_process) { .write = write_vm, .remote = true, };
FIXTURE_VARIANT_ADD(writer, proc_mem) { .write = write_proc, };
FIXTURE_VARIANT_ADD(writer, proc_mem_process) { .write = write_proc, .remote = true, };
FIXTURE_VARIANT_ADD(writer, ptrace) { .write = write_ptrace, .remote = true, };
FIXTURE_VARIANT_ADD(writer, direct) { .write = write_direct, };

FIXTURE_SETUP(writer)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, 0);
	test_start(&self->b, variant->remote, 64);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(writer)

/* G10: it is ordinary memory to all of them. */
TEST_F(writer, writable)
{
	struct buf dst;
	__u64 val;
	int rc;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &dst);
	rc = variant->write(&self->b, dst.p, 42);
	if (rc == -2)
		SKIP(return, "cannot be done here");
	ASSERT_EQ(0, rc) TH_LOG("%s", strerror(errno));
	ASSERT_EQ(0, ep_read(&self->a, self->src.p, &val));
	ASSERT_EQ(42, val);
}

/* 7, G6: not without the right, also when the mapping has been in use, and after mprotect(). */
TEST_F(writer, read_only)
{
	struct buf dst;
	int rc, i;

	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	for (i = 0; i < 2; i++) {
		errno = 0;
		rc = variant->write(&self->b, dst.p, 42);
		if (rc == -2)
			SKIP(return, "cannot be done here");
		EXPECT_EQ(-1, rc);
		EXPECT_TRUE(errno == EFAULT || errno == EIO) TH_LOG("%s", strerror(errno));
		test_check(&self->b, dst.p, N, 1);
		test_check(&self->a, self->src.p, N, 1);
		if (!variant->remote) {
			mprotect(dst.p, N * psize, PROT_READ);
			mprotect(dst.p, N * psize, PROT_READ | PROT_WRITE);
		}
	}
}

/* G4: not through to a snapshot, by either side. */
TEST_F(writer, frozen)
{
	struct buf shared, copy;
	__u64 val;
	int rc;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &shared);
	test_pass(&self->b, &self->b, ZCIPC_COPY, shared.cap, &copy);
	rc = variant->write(&self->b, shared.p, 42);
	if (rc == -2)
		SKIP(return, "cannot be done here");
	ASSERT_EQ(0, rc) TH_LOG("%s", strerror(errno));
	test_check(&self->b, copy.p, N, 1);
	ASSERT_EQ(0, ep_read(&self->a, self->src.p, &val));
	ASSERT_EQ(42, val);
	ASSERT_EQ(0, variant->write(&self->b, copy.p + psize, 43));
	test_check_from(&self->b, shared.p + psize, 1, N - 1, 1);
	ASSERT_EQ(0, ep_read(&self->b, copy.p + psize, &val));
	ASSERT_EQ(43, val);
}

/* G2: not to what has been moved away, nor through it to where it is now. */
TEST_F(writer, moved)
{
	struct buf mine, dst;
	int rc;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &mine);
	test_pass(&self->b, &self->a, ZCIPC_MOVE, mine.cap, &dst);
	rc = variant->write(&self->b, mine.p, 42);
	if (rc == -2)
		SKIP(return, "cannot be done here");
	EXPECT_EQ(-1, rc);
	EXPECT_TRUE(errno == EFAULT || errno == EIO) TH_LOG("%s", strerror(errno));
	test_check(&self->a, dst.p, N, 1);
}

/* --- pages in a pipe: held for as long as nobody reads them */

FIXTURE(pipe)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	int fds[2];
};

FIXTURE_VARIANT(pipe)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(pipe, plain) { .flags = 0, };
FIXTURE_VARIANT_ADD(pipe, gift) { .flags = SPLICE_F_GIFT, };

FIXTURE_SETUP(pipe)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, 0);
	test_open(&self->b, 64, 0);
	test_open(&self->c, 64, 0);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
	ASSERT_EQ(0, pipe(self->fds));
}

FIXTURE_TEARDOWN(pipe)
{
	close(self->fds[0]);
	close(self->fds[1]);
	base_teardown(_metadata, &self->base);
}

static int hold(int *fds, char *p, size_t npages, unsigned int flags)
{
	struct iovec iov = { p, npages * psize };

	return vmsplice(fds[1], &iov, 1, flags | SPLICE_F_NONBLOCK) == (ssize_t)(npages * psize) ?
		0 : -1;
}

/* What is held, as fill() left it? */
static int check_held(int *fds, size_t npages, __u64 seed)
{
	char *text = malloc(npages * psize);
	size_t n = 0;
	int rc = -1;

	while (n < npages * psize) {
		ssize_t got = read(fds[0], text + n, npages * psize - n);

		if (got <= 0)
			break;
		n += got;
	}
	if (n == npages * psize)
		rc = check(text, 0, npages, seed);
	free(text);
	return rc;
}

/* 15, G2: a MOVE of pages that are held copies them, and says so. */
TEST_F(pipe, held_at_move)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	struct zcipc_stats before, after;
	struct buf dst;

	ASSERT_EQ(0, hold(self->fds, self->src.p, 2, variant->flags));
	test_stats(&self->base.ep, &before);
	test_transfer(&self->a, &t);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(2 * psize, t.copied);
	EXPECT_EQ(N - 2, t.pages);
	EXPECT_EQ(before.copied_held + 2 * psize, after.copied_held);
	EXPECT_EQ(before.pages + N - 2, after.pages);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, N, 1);
	test_fill(&self->b, dst.p, N, 2);
	ASSERT_EQ(0, check_held(self->fds, 2, 1));
	test_gone(&self->a, self->src.p, N);
}

/* 15, G3: or, if that is what the caller wants, it fails and all is as before. */
TEST_F(pipe, held_at_strict_move)
{
	struct zcipc_transfer t;
	struct buf dst;
	__u32 type;

	ASSERT_EQ(0, hold(self->fds, self->src.p + (N - 1) * psize, 1, variant->flags));
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++) {
		if (type == ZCIPC_SHARE)
			continue;
		t = transfer_cmd(&self->b, type, self->src.cap, 0, 0, 0);
		t.flags = ZCIPC_F_STRICT;
		test_err_transfer(EBUSY, &self->a, &t);
		test_check(&self->a, self->src.p, N, 1);
	}
	t = transfer_cmd(&self->b, ZCIPC_MOVE, self->src.cap, 0, N - 1, 0);
	t.flags = ZCIPC_F_STRICT;
	test_transfer(&self->a, &t);
	test_take(&self->b, &dst);
	test_check(&self->b, dst.p, N - 1, 1);
	test_touch_read(0, &self->a, self->src.p + (N - 1) * psize);
}

/* 9: held before the snapshot. The snapshot gets copies of those pages. */
TEST_F(pipe, held_at_copy)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 0, 0);
	struct buf dst;

	ASSERT_EQ(0, hold(self->fds, self->src.p, 1, variant->flags));
	test_transfer(&self->a, &t);
	EXPECT_EQ(psize, t.copied);
	EXPECT_EQ(N - 1, t.pages);
	test_take(&self->b, &dst);
	test_fill(&self->b, dst.p, N, 2);
	test_check(&self->a, self->src.p, N, 1);
	ASSERT_EQ(0, check_held(self->fds, 1, 1));
}

/* 9: held after the snapshot, by the receiver, who then gives it all up. The sender writes. */
TEST_F(pipe, held_after_copy)
{
	struct buf dst;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	ASSERT_EQ(0, hold(self->fds, dst.p, N, variant->flags));
	test_drop(&self->b, dst.cap);
	test_fill(&self->a, self->src.p, N, 2);
	ASSERT_EQ(0, check_held(self->fds, N, 1));
	test_check(&self->a, self->src.p, N, 2);
}

/* 9: the same by the sender, who moves its own away. The receiver writes. */
TEST_F(pipe, held_by_sender_after_copy)
{
	struct buf dst, moved;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &dst);
	ASSERT_EQ(0, hold(self->fds, self->src.p, N, variant->flags));
	test_pass(&self->a, &self->c, ZCIPC_MOVE, self->src.cap, &moved);
	test_fill(&self->b, dst.p, N, 2);
	test_fill(&self->c, moved.p, N, 3);
	ASSERT_EQ(0, check_held(self->fds, N, 1));
	test_check(&self->b, dst.p, N, 2);
}

/* 9: a snapshot of what was held and shared, in the next generation. */
TEST_F(pipe, held_in_next_generation)
{
	struct buf first, second;

	test_pass(&self->a, &self->b, ZCIPC_COPY, self->src.cap, &first);
	ASSERT_EQ(0, hold(self->fds, first.p, N, variant->flags));
	test_drop(&self->a, self->src.cap);
	test_pass(&self->b, &self->c, ZCIPC_COPY, first.cap, &second);
	test_drop(&self->b, first.cap);
	test_fill(&self->c, second.p, N, 3);
	ASSERT_EQ(0, check_held(self->fds, N, 1));
}

/* 7, 15: a reader holds what it may only read, gives it up, and the memory goes to a third. */
TEST_F(pipe, held_by_reader)
{
	struct zcipc_transfer t;
	struct buf dst, moved;

	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &dst);
	ASSERT_EQ(0, hold(self->fds, dst.p, N, variant->flags));
	test_drop(&self->b, dst.cap);
	t = transfer_cmd(&self->c, ZCIPC_MOVE, self->src.cap, 0, 0, 0);
	test_transfer(&self->a, &t);
	EXPECT_EQ(N * psize, t.copied);
	test_take(&self->c, &moved);
	test_fill(&self->c, moved.p, N, 2);
	ASSERT_EQ(0, check_held(self->fds, N, 1));
}

/* The holder keeps a page that is freed, and nobody else gets it. */
TEST_F(pipe, held_at_drop)
{
	struct buf next;
	int i;

	ASSERT_EQ(0, hold(self->fds, self->src.p, N, variant->flags));
	test_drop(&self->a, self->src.cap);
	for (i = 0; i < 8; i++) {
		test_create(&self->a, N, &next);
		test_check(&self->a, next.p, N, 0);
		test_fill(&self->a, next.p, N, 2);
	}
	ASSERT_EQ(0, check_held(self->fds, N, 1));
}

/* 15: somebody tries to get hold of the pages all the time. What it has is from before the MOVE. */
struct grabber {
	pthread_t thread;
	char *p;
	int fds[2];
	int rc;
	volatile bool *stop;
	volatile unsigned int got;
};

static void *grab_thread(void *arg)
{
	struct grabber *g = arg;

	while (!*g->stop && !hold(g->fds, g->p, 1, 0)) {
		g->got++;
		/* Room for one more, so that there is always something in the pipe. */
		if (g->got > 2 && check_held(g->fds, 1, 1)) {
			g->rc = -1;
			break;
		}
	}
	return NULL;
}

TEST_F(pipe, grabbed_during_move)
{
	static const char * const points[] = { "", "", "", "unmapped", "committed", "sent" };
	unsigned int i, n = points_exist() ? ARRAY_SIZE(points) : 3;

	for (i = 0; i < n * loops(1); i++) {
		volatile bool stop = false;
		struct grabber g = { .stop = &stop };
		unsigned int held = 0;
		struct buf src, dst;

		test_create(&self->a, 1, &src);
		test_fill(&self->a, src.p, 1, 1);
		g.p = src.p;
		ASSERT_EQ(0, pipe(g.fds));
		pthread_create(&g.thread, NULL, grab_thread, &g);
		ASSERT_TRUE(wait_until(g.got > 5));
		if (points_exist())
			point_set(points[i % n], 30);
		test_pass(&self->a, &self->b, ZCIPC_MOVE, src.cap, &dst);
		test_fill(&self->b, dst.p, 1, 2);
		stop = true;
		pthread_join(g.thread, NULL);
		ASSERT_EQ(0, g.rc);
		/* What it still has. */
		close(g.fds[1]);
		while (!check_held(g.fds, 1, 1))
			held++;
		ASSERT_EQ(g.got > 2 ? 2 : g.got, held);
		test_check(&self->b, dst.p, 1, 2);
		test_drop(&self->b, dst.cap);
		if (points_exist())
			point_go();
		close(g.fds[0]);
	}
}

/* --- regions whose pages nobody can hold */

#define MANY 40

FIXTURE(unpinnable)
{
	struct base base;
	struct ep a, b;
	char *windows[2];	/* of each, for such regions */
	struct buf src;
	int fds[2];
};

FIXTURE_VARIANT(unpinnable)
{
	const char *carry;
	bool windows[2];
};

FIXTURE_VARIANT_ADD(unpinnable, carried) { .carry = "2", };
FIXTURE_VARIANT_ADD(unpinnable, mapped) { .carry = "1000000", };
FIXTURE_VARIANT_ADD(unpinnable, carried_between_windows)
{
	.carry = "2", .windows = { true, true },
};

FIXTURE_VARIANT_ADD(unpinnable, mapped_between_windows)
{
	.carry = "1000000", .windows = { true, true },
};

FIXTURE_VARIANT_ADD(unpinnable, carried_to_window)
{
	.carry = "2", .windows = { false, true },
};

FIXTURE_VARIANT_ADD(unpinnable, carried_from_window)
{
	.carry = "2", .windows = { true, false },
};

/* The window for what nobody can hold, beside the other. */
static char *map_unpinnable(const struct ep *ep)
{
	return mmap(NULL, ep->npages * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd,
		    ZCIPC_WINDOW_OFFSET_UNPINNABLE);
}

static bool is_in(const char *window, const struct ep *ep, const char *p)
{
	return window && p >= window && p < window + ep->npages * psize;
}

FIXTURE_SETUP(unpinnable)
{
	base_setup(_metadata, &self->base);
	carry_set(variant->carry);
	huge_set("1");
	test_open(&self->a, 4 * 512, 0);
	test_open(&self->b, 256, 0);
	if (variant->windows[0])
		self->windows[0] = map_unpinnable(&self->a);
	if (variant->windows[1])
		self->windows[1] = map_unpinnable(&self->b);
	ASSERT_NE(MAP_FAILED, self->windows[0]);
	ASSERT_NE(MAP_FAILED, self->windows[1]);
	test_create_flags(&self->a, MANY, ZCIPC_CREATE_UNPINNABLE, &self->src);
	ASSERT_EQ(variant->windows[0], is_in(self->windows[0], &self->a, self->src.p));
	ASSERT_EQ(0, self->src.huge);
	test_fill(&self->a, self->src.p, MANY, 1);
	ASSERT_EQ(0, pipe(self->fds));
}

FIXTURE_TEARDOWN(unpinnable)
{
	close(self->fds[0]);
	close(self->fds[1]);
	if (self->windows[0])
		munmap(self->windows[0], self->a.npages * psize);
	if (self->windows[1])
		munmap(self->windows[1], self->b.npages * psize);
	base_teardown(_metadata, &self->base);
}

/* Can any of these pages be had? With -1 not one. */
static int hold_any(int *fds, char *p, size_t npages)
{
	size_t i;

	for (i = 0; i < npages; i++) {
		errno = 0;
		if (!hold(fds, p + i * psize, 1, 0) || (errno != EFAULT && errno != EEXIST))
			return i;
	}
	return -1;
}

/* What takes pages fails, what copies works, with the rights that there are. */
TEST_F(unpinnable, only_copying_works)
{
	struct buf shared;
	__u64 val = 0;

	ASSERT_EQ(-1, hold_any(self->fds, self->src.p, MANY));
	errno = 0;
	ASSERT_EQ(-1, write_vm(&self->a, self->src.p, 42));
	ASSERT_EQ(EFAULT, errno);
	ASSERT_NE(0, write_direct(&self->a, self->src.p, 42));
	test_check(&self->a, self->src.p, MANY, 1);
	ASSERT_EQ(0, write_read(&self->a, self->src.p, 42));
	ASSERT_EQ(0, ep_read(&self->a, self->src.p, &val));
	ASSERT_EQ(42, val);
	ASSERT_EQ(0, write_proc(&self->a, self->src.p, 43));
	ASSERT_EQ(0, ep_read(&self->a, self->src.p, &val));
	ASSERT_EQ(43, val);
	test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, ZCIPC_RIGHT_READ, &shared);
	ASSERT_EQ(-1, write_read(&self->b, shared.p, 44));
	ASSERT_EQ(-1, write_proc(&self->b, shared.p, 44));
	ASSERT_EQ(-1, hold_any(self->fds, shared.p, MANY));
	test_check_from(&self->b, shared.p + psize, 1, MANY - 1, 1);
}

/* It stays so, wherever the pages go. */
TEST_F(unpinnable, stays)
{
	struct zcipc_transfer t;
	struct zcipc_transfer_batch batch = {
		.size = sizeof(batch), .transfers = (uintptr_t)&t, .ntransfers = 1,
		.transfer_size = sizeof(t),
	};
	struct buf moved, part, copy, again;
	char *p;

	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &moved);
	EXPECT_EQ(-1, hold_any(self->fds, moved.p, MANY));
	/* A snapshot, and the copies that writes to either make. */
	test_pass(&self->b, &self->a, ZCIPC_COPY, moved.cap, &copy);
	EXPECT_EQ(-1, hold_any(self->fds, copy.p, MANY));
	test_fill(&self->a, copy.p, MANY / 2, 2);
	test_fill(&self->b, moved.p + MANY / 2 * psize, MANY / 2, 3);
	EXPECT_EQ(-1, hold_any(self->fds, copy.p, MANY));
	EXPECT_EQ(-1, hold_any(self->fds, moved.p, MANY));
	test_check(&self->a, copy.p, MANY / 2, 2);
	test_check_from(&self->a, copy.p + MANY / 2 * psize, MANY / 2, MANY / 2, 1);
	test_check(&self->b, moved.p, MANY / 2, 1);
	test_drop(&self->a, copy.cap);
	/* A snapshot that is copied at once. */
	t = transfer_cmd(&self->a, ZCIPC_COPY, moved.cap, 0, 4, 0);
	t.flags = ZCIPC_F_AUTO;
	test_transfer(&self->b, &t);
	ASSERT_EQ(4 * psize, t.copied);
	test_take(&self->a, &copy);
	EXPECT_EQ(-1, hold_any(self->fds, copy.p, 4));
	test_drop(&self->a, copy.cap);
	/* A part of it, another mapping, and what is left. */
	t = transfer_cmd(&self->a, ZCIPC_MOVE, moved.cap, 4, 20, 0);
	t.flags = ZCIPC_F_STRICT;
	test_transfer(&self->b, &t);
	test_take(&self->a, &part);
	EXPECT_EQ(-1, hold_any(self->fds, part.p, 20));
	EXPECT_EQ(-1, hold_any(self->fds, moved.p, 4));
	test_map(&self->a, part.cap, 0, 20, ZCIPC_RIGHT_READ, &p);
	EXPECT_EQ(-1, hold_any(self->fds, p, 20));
	test_check_from(&self->a, p, 4, 16, 1);
	/* In a batch. */
	t = transfer_cmd(&self->b, ZCIPC_MOVE, part.cap, 0, 0, 0);
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &batch));
	ASSERT_EQ(1, batch.done);
	test_take(&self->b, &again);
	EXPECT_EQ(-1, hold_any(self->fds, again.p, 20));
	test_check_from(&self->b, again.p, 4, 16, 1);
}

/* For the next use of the memory, too; and who wants other memory gets other memory. */
TEST_F(unpinnable, recycled)
{
	struct buf b, other;

	test_create_flags(&self->a, 8, ZCIPC_CREATE_RECYCLED | ZCIPC_CREATE_UNPINNABLE, &b);
	test_fill(&self->a, b.p, 8, 5);
	test_drop(&self->a, b.cap);
	test_create_flags(&self->a, 8, ZCIPC_CREATE_RECYCLED | ZCIPC_CREATE_NO_HUGE, &other);
	ASSERT_EQ(0, hold(self->fds, other.p, 8, 0));
	test_create_flags(&self->a, 8, ZCIPC_CREATE_RECYCLED | ZCIPC_CREATE_UNPINNABLE, &b);
	test_check(&self->a, b.p, 8, 5);
	ASSERT_EQ(-1, hold_any(self->fds, b.p, 8));
}

/* What goes where, if there is a window for it. */
TEST_F(unpinnable, window)
{
	char *own = mmap(NULL, 16 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	char *window = self->windows[1], *p;
	struct buf b, dst, imported;
	struct zcipc_recv m;

	ASSERT_NE(MAP_FAILED, own);
	/* What can be held is not for it, be it sent, or a copy of what cannot. */
	test_create_flags(&self->a, 4, ZCIPC_CREATE_NO_HUGE, &b);
	ASSERT_TRUE(is_in(self->a.win, &self->a, b.p));
	test_pass(&self->a, &self->b, ZCIPC_SHARE, b.cap, &dst);
	ASSERT_TRUE(is_in(self->b.win, &self->b, dst.p));
	ASSERT_EQ(0, hold(self->fds, dst.p, 4, 0));
	/* Sent as it was, with copies of what are not whole pages. */
	test_fill(&self->a, own, 8, 3);
	test_direct(&self->a, &self->b, ZCIPC_MOVE, own + 100, 6 * psize, ZCIPC_F_ANY_ALIGN);
	test_recv(&self->b, &m);
	p = (char *)(uintptr_t)m.addr;
	ASSERT_EQ(variant->windows[1], is_in(window, &self->b, p));
	ASSERT_EQ(variant->windows[1] ? -1 : 0, hold_any(self->fds, p - 100, 7));
	test_check_from(&self->b, p - 100 + psize, 1, 5, 3);
	test_drop(&self->b, m.cap);
	/* Imported, for one who already has such, and for one who has not. */
	test_fill(&self->a, own + 8 * psize, 8, 4);
	test_import(&self->a, own + 8 * psize, 8, &imported);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, imported.cap, &dst);
	ASSERT_EQ(variant->windows[1], is_in(window, &self->b, dst.p));
	ASSERT_EQ(-1, hold_any(self->fds, dst.p, 8));
	test_check(&self->b, dst.p, 8, 4);
	test_drop(&self->b, dst.cap);
	test_map(&self->a, imported.cap, 0, 8, ZCIPC_RIGHT_READ, &p);
	ASSERT_EQ(variant->windows[0], is_in(self->windows[0], &self->a, p));
	/* A snapshot of it, and the copies that writes make. */
	test_pass(&self->a, &self->b, ZCIPC_COPY, imported.cap, &dst);
	test_fill(&self->b, dst.p, 4, 5);
	test_fill(&self->a, own + 12 * psize, 4, 6);
	test_check(&self->b, dst.p, 4, 5);
	test_check_from(&self->b, dst.p + 4 * psize, 4, 4, 4);
	test_check(&self->a, own + 8 * psize, 4, 4);
	ASSERT_EQ(variant->windows[1], is_in(window, &self->b, dst.p));
	if (variant->windows[1]) {
		EXPECT_EQ(-1, hold_any(self->fds, dst.p, 8));
		EXPECT_EQ(-1, madvise(dst.p, psize, MADV_DONTNEED));
		EXPECT_EQ(EINVAL, errno);
	} else {
		/* A copy without a PTE to be carried. */
		EXPECT_EQ(0, madvise(dst.p, psize, MADV_DONTNEED));
	}
	test_pass(&self->b, &self->a, ZCIPC_MOVE, dst.cap, &b);
	test_check(&self->a, b.p, 4, 5);
	test_check_from(&self->a, b.p + 4 * psize, 4, 4, 4);
	/* PTEs of copies are not carried as they are, no more than those that there are not. */
	ASSERT_EQ(variant->windows[0], is_in(self->windows[0], &self->a, b.p));
	if (variant->windows[0])
		EXPECT_EQ(-1, hold_any(self->fds, b.p, 8));
	test_pass(&self->a, &self->b, ZCIPC_MOVE, b.cap, &dst);
	test_check(&self->b, dst.p, 4, 5);
	if (variant->windows[1])
		EXPECT_EQ(-1, hold_any(self->fds, dst.p, 8));
	test_fill(&self->b, dst.p, 8, 7);
	/* It is not there any more: the other one does. */
	if (window) {
		ASSERT_EQ(0, munmap(window, self->b.npages * psize));
		self->windows[1] = NULL;
		test_pass(&self->a, &self->b, ZCIPC_MOVE, imported.cap, &dst);
		ASSERT_TRUE(is_in(self->b.win, &self->b, dst.p));
		test_check(&self->b, dst.p, 4, 4);
		test_check_from(&self->b, dst.p + 4 * psize, 0, 4, 6);
	}
	munmap(own, 16 * psize);
}

/* 2 MiB frames could be held, so there are none. */
TEST_F(unpinnable, flags)
{
	struct buf b;

	test_create_flags(&self->a, 2 * 512, ZCIPC_CREATE_UNPINNABLE, &b);
	EXPECT_EQ(0, b.huge);
	EXPECT_EQ(-1, hold_any(self->fds, b.p, 3));
	test_drop(&self->a, b.cap);
	test_err_create_flags(EINVAL, &self->a, 4,
			      ZCIPC_CREATE_UNPINNABLE | ZCIPC_CREATE_PINNABLE, &b);
	test_err_create_flags(EINVAL, &self->a, 4,
			      ZCIPC_CREATE_UNPINNABLE | ZCIPC_CREATE_HUGE, &b);
}

/* KiB of file pages that this process has mapped, as it is told. */
static long rss_file(void)
{
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssFile: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* Nobody's resident memory grows or shrinks. */
TEST_F(unpinnable, not_resident)
{
	struct buf b, there;
	struct ep c;
	long before, after;
	int i;

	test_start(&c, true, 256);
	before = rss_file();
	for (i = 0; i < 100; i++) {
		test_create_flags(&self->a, MANY, ZCIPC_CREATE_UNPINNABLE, &b);
		test_fill(&self->a, b.p, MANY, i + 1);
		test_pass(&self->a, &c, ZCIPC_MOVE, b.cap, &there);
		test_check(&c, there.p, MANY, i + 1);
		test_drop(&c, there.cap);
	}
	after = rss_file();
	/* They would be 15 MiB; what this program maps of its own meanwhile is less. */
	EXPECT_LT(before - 4096, after);
	EXPECT_GT(before + 4096, after);
}

/* --- G10: what else is done with memory */

FIXTURE(use)
{
	struct base base;
	struct ep a, b;
	struct buf src, dst;
};

FIXTURE_SETUP(use)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, 0);
	test_start(&self->b, true, 64);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &self->dst);
}

FIXTURE_TEARDOWN_BASE(use)

TEST_F(use, read_from_outside)
{
	__u64 val = 0;
	struct iovec local = { &val, 8 }, remote = { self->dst.p, 8 };
	char path[32];
	int fds[2], fd;

	ASSERT_EQ(8, process_vm_readv(self->b.pid, &local, 1, &remote, 1, 0));
	ASSERT_EQ(pattern(1, 0, 0), val);
	snprintf(path, sizeof(path), "/proc/%d/mem", self->b.pid);
	fd = open(path, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(8, pread(fd, &val, 8, (uintptr_t)self->dst.p + 8));
	ASSERT_EQ(pattern(1, 0, 1), val);
	close(fd);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, self->b.pid, 0, 0));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, self->b.pid, 0, 0));
	ASSERT_EQ(self->b.pid, waitpid(self->b.pid, NULL, __WALL));
	ASSERT_EQ(pattern(1, 1, 0), ptrace(PTRACE_PEEKDATA, self->b.pid, self->dst.p + psize, 0));
	ptrace(PTRACE_DETACH, self->b.pid, 0, 0);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(8, write(fds[1], self->src.p, 8));
	ASSERT_EQ(8, read(fds[0], &val, 8));
	ASSERT_EQ(pattern(1, 0, 0), val);
	/* What is not there cannot be read. */
	test_drop(&self->b, self->dst.cap);
	ASSERT_EQ(-1, process_vm_readv(self->b.pid, &local, 1, &remote, 1, 0));
	ASSERT_EQ(EFAULT, errno);
	close(fds[0]);
	close(fds[1]);
}

static long call_futex_wait(struct ep *ep, struct call *c)
{
	struct timespec limit = { .tv_sec = 10 };

	(void)ep;
	return syscall(SYS_futex, c->addr, c->n, 0, &limit, NULL, 0);
}

static void *futex_thread(void *arg)
{
	struct call *c = arg;

	c->rc = call_futex_wait(NULL, c);
	return NULL;
}

TEST_F(use, futex_between_threads)
{
	struct call c = { .n = FUTEX_WAIT_PRIVATE, .addr = (uintptr_t)self->src.p, .rc = 1 };
	pthread_t thread;

	*(__u32 *)self->src.p = 0;
	pthread_create(&thread, NULL, futex_thread, &c);
	ASSERT_TRUE(wait_until(syscall(SYS_futex, self->src.p, FUTEX_WAKE_PRIVATE, 1) == 1));
	pthread_join(thread, NULL);
	ASSERT_EQ(0, c.rc);
}

TEST_F(use, futex_between_processes)
{
	struct call c = { .fn = call_futex_wait, .n = FUTEX_WAIT, .addr = (uintptr_t)self->dst.p };

	*(__u32 *)self->src.p = 0;
	if (syscall(SYS_futex, self->src.p, FUTEX_WAKE, 1) && errno == EFAULT)
		SKIP(return, "the memory has no futexes that processes share");
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(wait_until(syscall(SYS_futex, self->src.p, FUTEX_WAKE, 1) == 1));
	ASSERT_EQ(0, ep_wait(&self->b, &c));
}

TEST_HARNESS_MAIN

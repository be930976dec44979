// SPDX-License-Identifier: GPL-2.0-only
/*
 * Imported memory that somebody holds, or is about to: I/O, children, calls that are under way.
 *
 * Guarantees: G1 zero-copy, G2 MOVE, G3, G4 snapshots, G10 ordinary memory.
 * Attacks: 8 and 9 pins, 15 pins and MOVE, 28 with pins.
 */
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/uio.h>

#include "zcipc_utils.h"
#include "lib/fuse.h"

#define N 8

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
	test_start(&self->b, true, WINDOW_PAGES);
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
TEST_F(held, holder_keeps_pages)
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
	test_start(&self->b, true, WINDOW_PAGES);
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

/* --- core dumps */

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
TEST_F(io, huge_page_is_not_copied)
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

/* G8, G16: whoever takes long over his own memory does not keep the receiver from its end. */
TEST_F(io, receiver_dies)
{
	struct sender s = { .from = &self->a, .to = &self->b, .p = memory_touched(16),
			    .len = 16 * psize };
	pthread_t thread;

	need_points();
	test_create(&self->c, 1, &self->src);
	point_stop("unmapped");
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_thread, &s));
	ASSERT_TRUE(point_reached());
	ep_end(&self->b);
	ASSERT_TRUE(wait_until(zc_grant_rights(&self->c, &self->b, self->src.cap,
					       ZCIPC_RIGHT_READ) && errno == ESRCH));
	point_go();
	pthread_join(thread, NULL);
	ASSERT_EQ(ESRCH, s.rc);
	test_check(&self->a, s.p, 16, 1);
	self->src.p = NULL;
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

TEST_HARNESS_MAIN

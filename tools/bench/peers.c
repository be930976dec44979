// SPDX-License-Identifier: GPL-2.0
/*
 * The mechanisms that Linux has, each used as one does who wants it fast.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base.h"
#include "mechanism.h"

/* Of Linux 6.8. */
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE	0x10000

struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

/* What a socket takes at once without looking for more memory than it has. */
#define CHUNK	(64UL << 10)

/* Source and destination of copies. */
static void two_buffers(struct side *s)
{
	s->tx = private_memory(s->len, false);
	s->rx = private_memory(s->len, false);
}

static void nothing(struct side *s)
{
	(void)s;
}

/* --- pipes and sockets */

static void pipe_connect(struct side *s)
{
	int i, fd[2];

	for (i = 0; i < 2; i++) {
		if (pipe2(fd, O_CLOEXEC))
			die("pipe");
		/* What an ordinary user may have. */
		if (fcntl(fd[0], F_SETPIPE_SZ, 1 << 20) < 0)
			die("F_SETPIPE_SZ");
		s->fd[i] = fd[0];
		s->wfd[!i] = fd[1];
	}
}

static void stream_connect(struct side *s)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fd))
		die("socketpair");
}

static void seqpacket_connect(struct side *s)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->fd))
		die("socketpair");
}

static void pipe_send(struct side *s)
{
	size_t done = 0;

	while (done < s->len) {
		ssize_t n = write(s->wfd[s->me], s->tx + done, s->len - done);

		if (n <= 0)
			die("write");
		done += n;
	}
}

static void pipe_receive(struct side *s)
{
	size_t done = 0;

	while (done < s->len) {
		ssize_t n = read(s->fd[s->me], s->rx + done, s->len - done);

		if (n <= 0)
			die("read");
		done += n;
	}
}

/* What waking each other up costs with a pipe. */
static void byte_send(struct side *s)
{
	if (write(s->wfd[s->me], "", 1) != 1)
		die("write");
}

static void byte_receive(struct side *s)
{
	char byte;

	if (read(s->fd[s->me], &byte, 1) != 1)
		die("read");
}

static void vmsplice_send(struct side *s)
{
	struct iovec iov = { .iov_base = s->tx, .iov_len = s->len };

	while (iov.iov_len) {
		ssize_t n = vmsplice(s->wfd[s->me], &iov, 1, 0);

		if (n <= 0)
			die("vmsplice");
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= n;
	}
}

static void socket_send(struct side *s)
{
	size_t done = 0;

	while (done < s->len) {
		size_t want = s->len - done < CHUNK ? s->len - done : CHUNK;
		ssize_t n = send(s->fd[s->me], s->tx + done, want, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		done += n;
	}
}

/* --- process_vm_readv */

static void readv_start(struct side *s)
{
	two_buffers(s);
	s->sh->addr[s->me] = s->tx;
	s->sh->pid[s->me] = getpid();
	barrier(s->sh->barrier, s->me);
	/* Where Yama restricts who may look into whom. Elsewhere it is an error that is none. */
	prctl(PR_SET_PTRACER, s->sh->pid[!s->me], 0, 0, 0);
}

static void readv_receive(struct side *s)
{
	struct iovec local = { .iov_base = s->rx, .iov_len = s->len };
	struct iovec remote = { .iov_base = s->sh->addr[!s->me], .iov_len = s->len };
	ssize_t n = process_vm_readv(s->sh->pid[!s->me], &local, 1, &remote, 1, 0);

	if (n != (ssize_t)s->len)
		die("process_vm_readv");
}

/*
 * --- memfd: each has one, and sends it with each message. Both map it for as long as they need it;
 * of memfd-kept only the receiver does that.
 */

enum memfd { LAZY, POPULATE, HUGETLB, THP };

/* Hugetlb pages for both sides' memfds of 256 MiB. */
#define HUGE_PAGES	256

static const char *memfd_missing(const struct mechanism *mech)
{
	static const char nr[] = "/proc/sys/vm/nr_hugepages";
	static const char thp[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	FILE *f = fopen(mech->option == HUGETLB ? nr : thp, "re");
	char line[128] = "";

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	if (mech->option == HUGETLB && atoi(line) < HUGE_PAGES)
		return "vm.nr_hugepages is below 256";
	if (mech->option == THP && !strstr(line, "[advise]") && !strstr(line, "[always]"))
		return "shmem_enabled of transparent_hugepage is neither advise nor always";
	return NULL;
}

static char *memfd_map(struct side *s, int fd, int prot)
{
	int flags = MAP_SHARED | (s->mech->option == LAZY ? 0 : MAP_POPULATE);
	char *p;

	if (s->mech->option != THP) {
		p = mmap(NULL, s->len, prot, flags, fd, 0);
		if (p == MAP_FAILED)
			die("mmap of a memfd");
		return p;
	}
	/* Mapped by huge entries only where it is aligned. */
	p = mmap(s->area, s->len, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED || madvise(p, s->len, MADV_HUGEPAGE) ||
	    madvise(p, s->len, prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
		die("mmap of a memfd with huge pages");
	return p;
}

static void memfd_unmap(struct side *s, char *p)
{
	if (munmap(p, s->len))
		die("munmap");
}

static void memfd_start(struct side *s)
{
	char *p;

	if (s->mech->option == THP) {
		p = mmap(NULL, s->len + HUGE_PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		s->area = (char *)(((unsigned long)p + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
		munmap(p, s->len + HUGE_PAGE);
	}
	s->own_fd = memfd_create("bench", MFD_CLOEXEC |
				 (s->mech->option == HUGETLB ? MFD_HUGETLB : 0));
	if (s->own_fd < 0 || ftruncate(s->own_fd, s->len))
		die("memfd_create");
	/* The pages are there: what is measured is the mapping. */
	p = memfd_map(s, s->own_fd, PROT_READ | PROT_WRITE);
	stamp(p, s->npages, 0, 1);
	if (s->mech->take)
		memfd_unmap(s, p);
	else
		s->tx = p;
}

static void memfd_take(struct side *s)
{
	s->tx = memfd_map(s, s->own_fd, PROT_READ | PROT_WRITE);
}

/* A message with room for one file descriptor. */
struct fd_message {
	struct msghdr msg;
	struct iovec iov;
	char byte;
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
};

static void fd_message_init(struct fd_message *m)
{
	memset(m, 0, sizeof(*m));
	m->iov = (struct iovec){ .iov_base = &m->byte, .iov_len = 1 };
	m->msg = (struct msghdr){
		.msg_iov = &m->iov,
		.msg_iovlen = 1,
		.msg_control = &m->control,
		.msg_controllen = sizeof(m->control),
	};
}

static void memfd_send(struct side *s)
{
	struct cmsghdr *cmsg;
	struct fd_message m;

	if (s->mech->take)
		memfd_unmap(s, s->tx);
	fd_message_init(&m);
	cmsg = CMSG_FIRSTHDR(&m.msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &s->own_fd, sizeof(int));
	if (sendmsg(s->fd[s->me], &m.msg, MSG_NOSIGNAL) != 1)
		die("sendmsg");
}

static void memfd_receive(struct side *s)
{
	struct cmsghdr *cmsg;
	struct fd_message m;
	int fd;

	fd_message_init(&m);
	if (recvmsg(s->fd[s->me], &m.msg, MSG_CMSG_CLOEXEC) != 1)
		die("recvmsg");
	cmsg = CMSG_FIRSTHDR(&m.msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		wrong("no file descriptor");
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	s->rx = memfd_map(s, fd, PROT_READ);
	close(fd);
}

static void memfd_release(struct side *s)
{
	memfd_unmap(s, s->rx);
}

/* --- premapped memory, one half for each direction, and a futex */

static void pool_connect(struct side *s)
{
	s->area = shared_memory(2 * s->len);
}

static char *half(struct side *s, int i)
{
	char *p = s->area + i * s->len;

	/* This process's page tables. */
	if (s->len && madvise(p, s->len, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE");
	return p;
}

static void pool_start(struct side *s)
{
	s->tx = half(s, s->me);
	s->rx = half(s, !s->me);
}

static void ring_start(struct side *s)
{
	half(s, 0);
	half(s, 1);
	s->tx = private_memory(s->len, false);
	s->rx = s->area + !s->me * s->len;
	if (s->mech->option == 2)
		s->rx = private_memory(s->len, false);
}

static void ring_send(struct side *s)
{
	memcpy(s->area + s->me * s->len, s->tx, s->len);
}

static void ring_receive(struct side *s)
{
	if (s->mech->option == 2)
		memcpy(s->rx, s->area + !s->me * s->len, s->len);
}

/* --- within one process */

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static const char *uffd_missing(const struct mechanism *mech)
{
	int fd = open_uffd();

	(void)mech;
	if (fd < 0)
		return "no UFFDIO_MOVE (Linux 6.8, and the right to use userfaultfd)";
	close(fd);
	return NULL;
}

/* Pages are in @tx, none are in @area. */
static void uffd_start(struct side *s)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int i;

	s->own_fd = open_uffd();
	s->tx = private_memory(s->len, s->mech->option);
	s->area = private_memory(s->len, s->mech->option);
	madvise(s->area, s->len, MADV_DONTNEED);
	for (i = 0; i < 2; i++) {
		reg.range.start = (unsigned long)(i ? s->area : s->tx);
		reg.range.len = s->len;
		if (ioctl(s->own_fd, UFFDIO_REGISTER, &reg))
			die("UFFDIO_REGISTER");
	}
}

static void uffd_send(struct side *s)
{
	struct uffdio_move move = {
		.dst = (unsigned long)s->area,
		.src = (unsigned long)s->tx,
		.len = s->len,
	};

	if (ioctl(s->own_fd, UFFDIO_MOVE, &move))
		die("UFFDIO_MOVE");
}

static void mremap_start(struct side *s)
{
	s->tx = private_memory(s->len, false);
	s->area = private_memory(s->len, false);
	if (munmap(s->area, s->len))
		die("munmap");
}

static void mremap_send(struct side *s)
{
	if (mremap(s->tx, s->len, s->len, MREMAP_MAYMOVE | MREMAP_FIXED, s->area) != s->area)
		die("mremap");
}

static void swap_receive(struct side *s)
{
	s->rx = s->area;
	s->area = s->tx;
	s->tx = s->rx;
}

/* --- fork: the child has a snapshot, and has seen it when the parent has written what it writes */

static void fork_start(struct side *s)
{
	s->tx = private_memory(s->len, false);
	s->area = shared_memory(PAGE);
}

static void fork_send(struct side *s)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (!child) {
		await((__u32 *)s->area, s->seq);
		_exit(touch(s->tx, s->npages, s->seq) != 0);
	}
	s->sh->pid[1] = child;
}

static void fork_receive(struct side *s)
{
	int status;

	post((__u32 *)s->area, s->seq);
	if (waitpid(s->sh->pid[1], &status, 0) < 0 || status)
		wrong("what the child of fork saw");
}

const struct mechanism peers[] = {
	{ .name = "futex", .flags = NOTIFY | EMPTY, .max = PAGE, .send = nothing },
	{ .name = "pipe-byte", .flags = EMPTY, .max = PAGE, .connect = pipe_connect,
	  .send = byte_send, .receive = byte_receive },
	{ .name = "pipe", .connect = pipe_connect, .start = two_buffers,
	  .send = pipe_send, .receive = pipe_receive },
	{ .name = "unix-stream", .connect = stream_connect, .start = two_buffers,
	  .send = socket_send, .receive = pipe_receive },
	{ .name = "unix-seqpacket", .connect = seqpacket_connect, .start = two_buffers,
	  .send = socket_send, .receive = pipe_receive },
	{ .name = "vmsplice", .connect = pipe_connect, .start = two_buffers,
	  .send = vmsplice_send, .receive = pipe_receive },
	{ .name = "process-vm-readv", .flags = NOTIFY, .start = readv_start,
	  .send = nothing, .receive = readv_receive },
	{ .name = "memfd-kept", .option = LAZY,
	  .connect = seqpacket_connect, .start = memfd_start,
	  .send = memfd_send, .receive = memfd_receive, .release = memfd_release },
	{ .name = "memfd-lazy", .option = LAZY,
	  .connect = seqpacket_connect, .start = memfd_start, .take = memfd_take,
	  .send = memfd_send, .receive = memfd_receive, .release = memfd_release },
	{ .name = "memfd-populate", .option = POPULATE,
	  .connect = seqpacket_connect, .start = memfd_start, .take = memfd_take,
	  .send = memfd_send, .receive = memfd_receive, .release = memfd_release },
	{ .name = "memfd-hugetlb", .option = HUGETLB, .flags = HUGE, .missing = memfd_missing,
	  .connect = seqpacket_connect, .start = memfd_start, .take = memfd_take,
	  .send = memfd_send, .receive = memfd_receive, .release = memfd_release },
	{ .name = "memfd-thp", .option = THP, .flags = HUGE, .missing = memfd_missing,
	  .connect = seqpacket_connect, .start = memfd_start, .take = memfd_take,
	  .send = memfd_send, .receive = memfd_receive, .release = memfd_release },
	{ .name = "ring-1copy", .option = 1, .flags = NOTIFY, .connect = pool_connect,
	  .start = ring_start, .send = ring_send, .receive = ring_receive },
	{ .name = "ring-2copy", .option = 2, .flags = NOTIFY, .connect = pool_connect,
	  .start = ring_start, .send = ring_send, .receive = ring_receive },
	{ .name = "pool", .flags = NOTIFY, .connect = pool_connect,
	  .start = pool_start, .send = nothing },
	{ .name = "uffdio-move", .flags = ALONE, .missing = uffd_missing,
	  .start = uffd_start, .send = uffd_send, .receive = swap_receive },
	{ .name = "uffdio-move-thp", .option = 1, .flags = ALONE | HUGE, .missing = uffd_missing,
	  .start = uffd_start, .send = uffd_send, .receive = swap_receive },
	{ .name = "mremap", .flags = ALONE,
	  .start = mremap_start, .send = mremap_send, .receive = swap_receive },
	{ .name = "fork-0", .flags = ALONE | SNAPSHOT | UNTIMED | OWN_TOUCH,
	  .start = fork_start, .send = fork_send, .receive = fork_receive },
	{ .name = "fork-1", .flags = ALONE | SNAPSHOT | UNTIMED | OWN_TOUCH,
	  .min = 1 << 20, .written = 1,
	  .start = fork_start, .send = fork_send, .receive = fork_receive },
	{ .name = "fork-100", .flags = ALONE | SNAPSHOT | UNTIMED | OWN_TOUCH, .written = 100,
	  .start = fork_start, .send = fork_send, .receive = fork_receive },
	{ .name = NULL },
};

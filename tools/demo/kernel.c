// SPDX-License-Identifier: GPL-2.0
/*
 * The mechanisms that every kernel has, each used as one does who wants it fast.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base.h"
#include "mechanism.h"

/* Touched pages, so that the first use of the buffer does not count. */
static void *buffer_alloc(size_t len)
{
	void *buf = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (buf == MAP_FAILED)
		die_errno("mmap of a buffer of %zu bytes", len);
	return buf;
}

/*
 * With a page in front. The kernel aligns large buffers for huge pages, and when the source and the
 * destination of a copy are the same distance from such an address, an emulated CPU finds place for
 * only one of them in its TLB: 12 times slower, which says nothing about the mechanism.
 */
static __u64 buffer_start_apart(struct side *side)
{
	side->data = (char *)buffer_alloc(page_size() + side->size) + page_size();
	return 0;
}

static void buffer_prepare(struct side *side, size_t len)
{
	(void)side;
	(void)len;
}

static void socket_connect(int fd[2], size_t size)
{
	(void)size;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
		die_errno("socketpair");
}

/* pipe: the length goes right before the data, so that one write() does. */

static void pipe_connect(int fd[2], size_t size)
{
	size_t capacity = size > 1 << 20 ? size : 1 << 20;

	if (pipe2(fd, O_CLOEXEC))
		die_errno("pipe");
	/* An ordinary user may have 1 MiB, or less once there are many pipes. */
	while (fcntl(fd[0], F_SETPIPE_SZ, (int)capacity) < 0) {
		capacity /= 2;
		if (capacity < page_size())
			die_errno("F_SETPIPE_SZ");
	}
}

static void pipe_send(struct side *side, size_t len)
{
	size_t *header = (size_t *)side->data - 1;
	size_t left = sizeof(*header) + len;
	const char *p = (const char *)header;

	*header = len;
	while (left) {
		ssize_t n = write(side->fd, p, left);

		if (n < 0)
			die_errno("write to the pipe");
		p += n;
		left -= n;
	}
}

static size_t pipe_receive(struct side *side)
{
	size_t *header = (size_t *)side->data - 1;
	size_t want = sizeof(*header) + side->size;
	size_t got = 0;

	do {
		ssize_t n = read(side->fd, (char *)header + got, want - got);

		if (n < 0)
			die_errno("read from the pipe");
		if (!n)
			die("the pipe ended");
		got += n;
		if (got >= sizeof(*header)) {
			if (*header > side->size)
				die("a message of %zu bytes in the pipe", *header);
			want = sizeof(*header) + *header;
		}
	} while (got < want);
	return *header;
}

const struct mechanism mech_pipe = {
	.key		= "pipe",
	.name		= "pipe",
	.copies		= 2,
	.connect	= pipe_connect,
	.start		= buffer_start_apart,
	.prepare	= buffer_prepare,
	.send		= pipe_send,
	.receive	= pipe_receive,
};

/* process_vm_readv: the producer tells where the data is, the consumer reads it there. */

struct readv_header {
	pid_t pid;
	void *data;
	size_t len;
};

static __u64 readv_start(struct side *side)
{
	if (!side->peer) {
		buffer_start_apart(side);
		return getpid();
	}
	side->data = buffer_alloc(side->size);
	/* Where Yama restricts who may look into whom. Elsewhere it is an error that is none. */
	prctl(PR_SET_PTRACER, (unsigned long)side->peer, 0, 0, 0);
	return 0;
}

static void readv_send(struct side *side, size_t len)
{
	struct readv_header header = { .pid = getpid(), .data = side->data, .len = len };

	if (send(side->fd, &header, sizeof(header), MSG_NOSIGNAL) != sizeof(header))
		die_errno("send");
}

static size_t readv_receive(struct side *side)
{
	struct readv_header header;
	struct iovec local, remote;
	ssize_t n;

	n = recv(side->fd, &header, sizeof(header), 0);
	if (n < 0)
		die_errno("recv");
	if (n != sizeof(header) || header.len > side->size)
		die("the producer sent no proper header");
	local = (struct iovec){ .iov_base = side->data, .iov_len = header.len };
	remote = (struct iovec){ .iov_base = header.data, .iov_len = header.len };
	n = process_vm_readv(header.pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		die_errno("process_vm_readv");
	if ((size_t)n != header.len)
		die("process_vm_readv read %zd of %zu bytes", n, header.len);
	return n;
}

const struct mechanism mech_readv = {
	.key		= "readv",
	.name		= "process_vm_readv",
	.copies		= 1,
	.connect	= socket_connect,
	.start		= readv_start,
	.prepare	= buffer_prepare,
	.send		= readv_send,
	.receive	= readv_receive,
};

/* memfd: a new one for each message, so that nobody has to wait until the consumer is done. */

static void memfd_prepare(struct side *side, size_t len)
{
	int fd = memfd_create("zcipc-demo", MFD_CLOEXEC);

	if (fd < 0)
		die_errno("memfd_create");
	if (ftruncate(fd, len))
		die_errno("ftruncate of a memfd");
	side->data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (side->data == MAP_FAILED)
		die_errno("mmap of a memfd");
	side->token = fd;
}

/* The control message with room for one file descriptor, and @len as the message itself. */
union memfd_control {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void memfd_msghdr(struct msghdr *msg, struct iovec *iov, size_t *len,
			 union memfd_control *control)
{
	*iov = (struct iovec){ .iov_base = len, .iov_len = sizeof(*len) };
	*msg = (struct msghdr){
		.msg_iov = iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(*control),
	};
}

static void memfd_send(struct side *side, size_t len)
{
	union memfd_control control = { 0 };
	int fd = side->token;
	struct cmsghdr *cmsg;
	struct msghdr msg;
	struct iovec iov;

	memfd_msghdr(&msg, &iov, &len, &control);
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(side->fd, &msg, MSG_NOSIGNAL) != sizeof(len))
		die_errno("sendmsg");
}

static size_t memfd_receive(struct side *side)
{
	union memfd_control control;
	struct cmsghdr *cmsg;
	struct msghdr msg;
	struct iovec iov;
	size_t len;
	ssize_t n;
	int fd;

	memfd_msghdr(&msg, &iov, &len, &control);
	n = recvmsg(side->fd, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		die_errno("recvmsg");
	cmsg = CMSG_FIRSTHDR(&msg);
	if (n != sizeof(len) || !cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		die("the producer sent no memfd");
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	side->data = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (side->data == MAP_FAILED)
		die_errno("mmap of a memfd that was received");
	side->token = fd;
	return len;
}

static void memfd_release(struct side *side, size_t len)
{
	if (munmap(side->data, len))
		die_errno("munmap of a memfd");
	close(side->token);
}

const struct mechanism mech_memfd = {
	.key		= "memfd",
	.name		= "memfd + mmap",
	.connect	= socket_connect,
	.prepare	= memfd_prepare,
	.send		= memfd_send,
	.receive	= memfd_receive,
	.finish		= memfd_release,
	.release	= memfd_release,
};

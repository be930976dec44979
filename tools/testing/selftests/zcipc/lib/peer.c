// SPDX-License-Identifier: GPL-2.0-only
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/zcipc.h>

#include "calls.h"
#include "memory.h"

struct ep *eps[EPS];
unsigned int neps;

int ep_send(struct ep *ep, const struct call *c)
{
	return send(ep->sock, c, sizeof(*c), MSG_NOSIGNAL) == sizeof(*c) ? 0 : -1;
}

long ep_wait(struct ep *ep, struct call *c)
{
	ssize_t n;

	do
		n = recv(ep->sock, c, sizeof(*c), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*c)) {
		errno = EOWNERDEAD;
		return -1;
	}
	errno = c->err;
	return c->rc;
}

long ep_call(struct ep *ep, struct call *c)
{
	if (ep->sock < 0)
		return c->fn(ep, c);
	if (ep_send(ep, c)) {
		errno = EOWNERDEAD;
		return -1;
	}
	return ep_wait(ep, c);
}

long call_ioctl(struct ep *ep, struct call *c)
{
	return ioctl(ep->fd, c->n, c->cmd);
}

/* Quotas count for an endpoint that is opened without this. Returns whether it was there. */
bool may_exceed_quota(bool may)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	bool could;

	if (syscall(SYS_capget, &head, data))
		return false;
	could = data[0].effective & 1U << CAP_SYS_RESOURCE;
	data[0].effective &= ~(1U << CAP_SYS_RESOURCE);
	if (may)
		data[0].effective |= 1U << CAP_SYS_RESOURCE;
	syscall(SYS_capset, &head, data);
	return could;
}

static long call_open(struct ep *ep, struct call *c)
{
	struct zcipc_info info = { .size = sizeof(info) };
	bool may = may_exceed_quota(c->val & OPEN_UNLIMITED);

	ep->win = NULL;
	ep->npages = c->n;
	ep->fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC | (c->val & ~OPEN_UNLIMITED));
	may_exceed_quota(may);
	if (ep->fd < 0 || ioctl(ep->fd, ZCIPC_IOC_INFO, &info))
		return -1;
	ep->id = info.endpoint;
	if (!c->n)
		goto out;
	ep->win = mmap(NULL, c->n * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd, 0);
	if (ep->win == MAP_FAILED)
		return -1;
out:
	memcpy(c->cmd, ep, sizeof(*ep));
	return 0;
}

long call_close(struct ep *ep, struct call *c)
{
	(void)c;
	if (ep->win)
		munmap(ep->win, ep->npages * psize);
	ep->win = NULL;
	if (ep->fd >= 0)
		close(ep->fd);
	ep->fd = -1;
	return 0;
}

static long call_read(struct ep *ep, struct call *c)
{
	(void)ep;
	return touch_read((void *)(uintptr_t)c->addr, &c->val);
}

long call_write(struct ep *ep, struct call *c)
{
	(void)ep;
	return touch_write((void *)(uintptr_t)c->addr, c->val);
}

/* Words that are c->val2 bytes apart, from or to the memory that all share. */
static long call_read_words(struct ep *ep, struct call *c)
{
	int sig = 0;
	__u64 i;

	(void)ep;
	for (i = 0; i < c->n && !sig; i++)
		sig = touch_read((char *)(uintptr_t)c->addr + i * c->val2, &words[i]);
	return sig;
}

static long call_write_words(struct ep *ep, struct call *c)
{
	int sig = 0;
	__u64 i;

	(void)ep;
	for (i = 0; i < c->n && !sig; i++)
		sig = touch_write((char *)(uintptr_t)c->addr + i * c->val2, words[i]);
	return sig;
}

static long call_fill(struct ep *ep, struct call *c)
{
	(void)ep;
	return fill((char *)(uintptr_t)c->addr, c->n, c->val);
}

static long call_check(struct ep *ep, struct call *c)
{
	(void)ep;
	return check((char *)(uintptr_t)c->addr, c->val2, c->n, c->val);
}

/* 0: nothing is there any more. Else: what page, from 1, is. */
static long call_gone(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	__u64 page, val;

	(void)ep;
	for (page = 0; page < c->n; page++)
		if (touch_read(p + page * psize, &val) != SIGBUS)
			return page + 1;
	return touch_write(p, 0xbad) != SIGBUS;
}

long call_exit(struct ep *ep, struct call *c)
{
	(void)ep;
	_exit(c->val);
}

int ep_read(struct ep *ep, const char *p, __u64 *val)
{
	struct call c = { .fn = call_read, .addr = (uintptr_t)p };
	int rc = ep_call(ep, &c);

	*val = c.val;
	return rc;
}

int ep_write(struct ep *ep, char *p, __u64 val)
{
	struct call c = { .fn = call_write, .addr = (uintptr_t)p, .val = val };

	return ep_call(ep, &c);
}

/* Into, or out of, words[]. One command, however many they are. */
int ep_read_words(struct ep *ep, const char *p, size_t stride, size_t n)
{
	struct call c = { .fn = call_read_words, .addr = (uintptr_t)p, .n = n, .val2 = stride };

	return ep_call(ep, &c);
}

int ep_write_words(struct ep *ep, char *p, size_t stride, size_t n)
{
	struct call c = { .fn = call_write_words, .addr = (uintptr_t)p, .n = n, .val2 = stride };

	return ep_call(ep, &c);
}

int ep_gone(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_gone, .addr = (uintptr_t)p, .n = npages };

	return ep_call(ep, &c);
}

int ep_fill(struct ep *ep, char *p, size_t npages, __u64 seed)
{
	struct call c = { .fn = call_fill, .addr = (uintptr_t)p, .n = npages, .val = seed };

	return ep_call(ep, &c);
}

int ep_check_from(struct ep *ep, const char *p, size_t first, size_t npages, __u64 seed)
{
	struct call c = { .fn = call_check, .addr = (uintptr_t)p, .n = npages, .val = seed,
			  .val2 = first };

	return ep_call(ep, &c);
}

int ep_check(struct ep *ep, const char *p, size_t npages, __u64 seed)
{
	return ep_check_from(ep, p, 0, npages, seed);
}

int ep_open(struct ep *ep, size_t npages, int flags)
{
	struct call c = { .fn = call_open, .n = npages, .val = flags };

	*ep = (struct ep){ .fd = -1, .sock = -1, .pid = getpid() };
	eps[neps++ % EPS] = ep;
	return ep_call(ep, &c);
}

/* In a peer: makes calls for whoever has the other end, for as long as somebody has. */
void peer_serve(int sock, struct ep *ep)
{
	struct call c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ep->sock = -1;
	while (recv(sock, &c, sizeof(c), 0) == sizeof(c)) {
		errno = 0;
		c.rc = c.fn(ep, &c);
		c.err = errno;
		if (send(sock, &c, sizeof(c), MSG_NOSIGNAL) != sizeof(c))
			break;
	}
	_exit(0);
}

/* A process that has no endpoint yet. It holds none of the descriptors of this one. */
int peer_fork(struct ep *ep)
{
	int sv[2];

	*ep = (struct ep){ .fd = -1, .sock = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -1;
	fflush(NULL);
	ep->pid = fork();
	if (ep->pid < 0)
		return -1;
	if (!ep->pid) {
		dup2(sv[1], 3);
		syscall(SYS_close_range, 4, ~0U, 0);
		ep->pid = getpid();
		peer_serve(3, ep);
	}
	close(sv[1]);
	ep->sock = sv[0];
	eps[neps++ % EPS] = ep;
	return 0;
}

int peer_open(struct ep *ep, size_t npages, int flags)
{
	struct call c = { .fn = call_open, .n = npages, .val = flags };
	struct ep theirs;

	if (ep_call(ep, &c))
		return -1;
	memcpy(&theirs, c.cmd, sizeof(theirs));
	ep->id = theirs.id;
	ep->win = theirs.win;
	ep->npages = theirs.npages;
	return 0;
}

/* An endpoint in a process of its own, or in this one. */
int ep_start(struct ep *ep, bool remote, size_t npages)
{
	if (!remote)
		return ep_open(ep, npages, 0);
	return peer_fork(ep) ? -1 : peer_open(ep, npages, 0);
}

/* Closes one, or ends the process that has it, in the way that it deserves. */
void ep_end(struct ep *ep)
{
	if (ep->sock >= 0) {
		close(ep->sock);
		ep->sock = -1;
		kill(ep->pid, SIGKILL);
		waitpid(ep->pid, NULL, 0);
		/* That is an address in the peer. */
		ep->win = NULL;
	} else if (ep->fd >= 0 || ep->win) {
		call_close(ep, NULL);
	}
}

long call_setuid(struct ep *ep, struct call *c)
{
	(void)ep;
	return setuid(c->n);
}

long call_unshare(struct ep *ep, struct call *c)
{
	(void)ep;
	return unshare(c->n);
}

/* A message that carries a descriptor. */
struct fd_message {
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov;
	struct msghdr msg;
};

static void fd_message_init(struct fd_message *m)
{
	*m = (struct fd_message){
		.control.hdr = {
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		},
		.iov = { &m->byte, 1 },
		.msg = {
			.msg_iov = &m->iov, .msg_iovlen = 1, .msg_control = &m->control,
			.msg_controllen = sizeof(m->control),
		},
	};
}

long call_send_fd(struct ep *ep, struct call *c)
{
	struct fd_message m;

	(void)c;
	fd_message_init(&m);
	memcpy(CMSG_DATA(&m.control.hdr), &ep->fd, sizeof(int));
	return sendmsg(3, &m.msg, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

int recv_fd(int sock)
{
	struct fd_message m;
	int fd = -1;

	fd_message_init(&m);
	if (recvmsg(sock, &m.msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m.msg))
		memcpy(&fd, CMSG_DATA(&m.control.hdr), sizeof(fd));
	return fd;
}

/* An endpoint that never waits. */
int start_nonblock(struct ep *ep, bool remote, size_t npages)
{
	if (!remote)
		return ep_open(ep, npages, O_NONBLOCK);
	return peer_fork(ep) ? -1 : peer_open(ep, npages, O_NONBLOCK);
}

long call_poll(struct ep *ep, struct call *c)
{
	struct pollfd pfd = { .fd = ep->fd, .events = POLLIN };

	(void)c;
	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

long call_munmap(struct ep *ep, struct call *c)
{
	(void)ep;
	return munmap((void *)(uintptr_t)c->addr, c->n);
}

long call_forget(struct ep *ep, struct call *c)
{
	(void)ep;
	return madvise((void *)(uintptr_t)c->addr, c->n, MADV_DONTNEED);
}

/* A system call of a peer's. */
static long call_syscall(struct ep *ep, struct call *c)
{
	const long *a = (const long *)c->cmd;

	(void)ep;
	return syscall(c->n, a[0], a[1], a[2], a[3], a[4], 0);
}

long peer_syscall(struct ep *ep, long nr, const void *p, long b, long c, long d, long e)
{
	struct call call = { .fn = call_syscall, .n = nr };
	long a[5] = { (uintptr_t)p, b, c, d, e };

	memcpy(call.cmd, a, sizeof(a));
	return ep_call(ep, &call);
}

static long call_vmsplice(struct ep *ep, struct call *c)
{
	struct iovec iov = { (void *)(uintptr_t)c->addr, c->n };
	ssize_t n;
	int fds[2];

	(void)ep;
	if (pipe(fds))
		return -1;
	n = vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK);
	close(fds[0]);
	close(fds[1]);
	return n;
}

/* Bytes that could be taken, or an errno. */
long ep_vmsplice(struct ep *ep, const void *p, size_t npages)
{
	struct call c = { .fn = call_vmsplice, .addr = (uintptr_t)p, .n = npages * psize };
	long rc = ep_call(ep, &c);

	/* Which of the two it is depends on how core mm came to the PTE. */
	return rc >= 0 ? rc : errno == EEXIST ? -EFAULT : -errno;
}

static long call_memory(struct ep *ep, struct call *c)
{
	char *p = guarded(c->n);

	(void)ep;
	if (!p)
		return -1;
	c->addr = (uintptr_t)p;
	return c->val ? fill(p, c->n, c->val) : 0;
}

long call_limit(struct ep *ep, struct call *c)
{
	struct rlimit limit = { c->val, c->val };

	(void)ep;
	return setrlimit(c->n, &limit);
}

/* Puts pages into a pipe that stays there. */
static long call_hold(struct ep *ep, struct call *c)
{
	struct iovec iov = { (void *)(uintptr_t)c->addr, c->n * psize };
	static int fds[2];

	(void)ep;
	if (c->val) {
		close(fds[0]);
		close(fds[1]);
		return 0;
	}
	return pipe(fds) || vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) != (ssize_t)iov.iov_len ?
		-1 : 0;
}

char *ep_memory(struct ep *ep, size_t npages, __u64 seed)
{
	struct call c = { .fn = call_memory, .n = npages, .val = seed };

	return ep_call(ep, &c) ? NULL : (char *)(uintptr_t)c.addr;
}

int ep_munmap(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_munmap, .addr = (uintptr_t)p, .n = npages * psize };

	return ep_call(ep, &c);
}

int ep_hold(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_hold, .addr = (uintptr_t)p, .n = npages };

	return ep_call(ep, &c);
}

int ep_hold_end(struct ep *ep)
{
	struct call c = { .fn = call_hold, .val = 1 };

	return ep_call(ep, &c);
}

/* An endpoint of a user without privileges, who may have so many pages pinned. */
int peer_user(struct ep *ep, uid_t uid, size_t limit)
{
	struct call rlimit = { .fn = call_limit, .n = RLIMIT_MEMLOCK, .val = limit * psize };
	struct call user = { .fn = call_setuid, .n = uid };

	if (peer_fork(ep) || ep_call(ep, &rlimit) || ep_call(ep, &user) ||
	    peer_open(ep, WINDOW_PAGES, O_NONBLOCK))
		return -1;
	return zc_policy(ep, ZCIPC_POLICY_ANY);
}

/*
 * The sum over words that are c->val2 bytes apart. With c->val, there is a write to each page after
 * it was read, which makes it take turns with others that write.
 */
static long call_sum(struct ep *ep, struct call *c)
{
	char *p = (char *)(uintptr_t)c->addr;
	__u64 i, val, sum = 0;
	int sig;

	(void)ep;
	for (i = 0; i < c->n; i++, p += c->val2) {
		sig = touch_read(p, &val);
		if (!sig && c->val)
			sig = touch_write((char *)((uintptr_t)p & -psize), c->val);
		if (sig)
			return sig;
		sum = sum * 31 + val;
	}
	c->val = sum;
	return 0;
}

int ep_sum(struct ep *ep, char *p, size_t stride, size_t n, __u64 write, __u64 *sum)
{
	struct call c = { .fn = call_sum, .addr = (uintptr_t)p, .n = n, .val = write,
			  .val2 = stride };
	int rc = ep_call(ep, &c);

	*sum = c.val;
	return rc;
}

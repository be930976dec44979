/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all zcipc tests share.
 *
 * A test talks to endpoints (struct ep), of which each is in the test's own process or in a peer
 * process: one that waits for calls on a socket, makes them, and sends back what came of them. All
 * helpers take either kind, so that most tests are written once and run for both.
 *
 * zc_x() makes a call, and returns what it returned. Every one checks that nothing was written but
 * what the interface says is written. test_x() asserts that it succeeds, test_err_x() expects an
 * errno.
 */
#ifndef __SELFTEST_ZCIPC_UTILS
#define __SELFTEST_ZCIPC_UTILS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include <linux/capability.h>
#include <linux/zcipc.h>

#include "kselftest_harness.h"
#include "zcipc_watch.h"

/* What the C library's headers may be too old to know. */
#ifndef MADV_COLD
#define MADV_COLD		20
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif
#ifndef SYS_mseal
#define SYS_mseal		462
#endif

#define RIGHTS_ALL \
	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_EXEC | ZCIPC_RIGHT_GRANT | \
	 ZCIPC_RIGHT_MOVE)
#define RIGHTS_RW	(ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE)

#define WINDOW_PAGES	4096

static size_t psize;

/* Pages of what one PMD maps: a huge frame, or a huge page of core mm's. */
static size_t huge_pages;

/* What a test takes them to be. With larger pages, which are 32 MiB or more, it needs much more. */
#define HUGE_PAGES	512

/* Iterations of a test that looks for a race. */
static inline unsigned int loops(unsigned int n)
{
	const char *factor = getenv("ZCIPC_LOOPS");

	return n * (factor ? atoi(factor) : 1);
}

static inline void msleep(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* So often is a condition looked at that has to come true: in vain only where something hangs. */
#define WAIT_TRIES	20000

#define wait_until(condition)						\
({									\
	int __tries;							\
									\
	for (__tries = 0; __tries < WAIT_TRIES && !(condition); __tries++) \
		msleep(5);						\
	__tries < WAIT_TRIES;						\
})

/* --- memory that may fault */

/* For words on their way to a peer, or from one. */
#define WORDS		8192
static __u64 *words;

static __thread sigjmp_buf touch_env;
static __thread volatile sig_atomic_t touching;

static void touch_handler(int sig)
{
	if (touching)
		siglongjmp(touch_env, sig);
	/* Again: it may have been sent, by the test's parent, whose child died of it. */
	signal(sig, SIG_DFL);
	raise(sig);
}

static __attribute__((constructor)) void touch_init(void)
{
	struct sigaction action = { .sa_handler = touch_handler, .sa_flags = SA_NODEFER };
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");

	psize = sysconf(_SC_PAGE_SIZE);
	/* A page table fills a page, and has 8 bytes for each page that it maps. */
	huge_pages = psize / 8;
	if (f) {
		if (fscanf(f, "%zu", &huge_pages) == 1)
			huge_pages /= psize;
		fclose(f);
	}
	words = mmap(NULL, WORDS * sizeof(*words), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

/* Both return 0, or the signal that the access raised. */
static int touch_read(const void *p, __u64 *val)
{
	int sig = sigsetjmp(touch_env, 0);

	if (!sig) {
		touching = 1;
		*val = *(const volatile __u64 *)p;
	}
	touching = 0;
	return sig;
}

static int touch_write(void *p, __u64 val)
{
	int sig = sigsetjmp(touch_env, 0);

	if (!sig) {
		touching = 1;
		*(volatile __u64 *)p = val;
	}
	touching = 0;
	return sig;
}

/* What a page is filled with says which page of what it is, in each of its words. */
static inline __u64 pattern(__u64 seed, size_t page, size_t word)
{
	return seed << 48 | (__u64)page << 16 | word | 1ULL << 40;
}

/* First, last and some other words of a page. */
static inline size_t sample(unsigned int i)
{
	static const size_t words[] = { 0, 1, 100, 511 };

	return words[i];
}

#define SAMPLES 4

static int fill(char *p, size_t npages, __u64 seed)
{
	size_t page;
	int i, sig;

	for (page = 0; page < npages; page++) {
		__u64 *words = (__u64 *)(p + page * psize);

		for (i = 0; i < SAMPLES; i++) {
			sig = touch_write(words + sample(i), pattern(seed, page, sample(i)));
			if (sig)
				return sig;
		}
	}
	return 0;
}

/* 0: all is as fill() left it, with page @first of it at @p. -1: it is not. Else: the signal. */
static int check(const char *p, size_t first, size_t npages, __u64 seed)
{
	size_t page;
	__u64 val;
	int i, sig;

	for (page = 0; page < npages; page++) {
		const __u64 *words = (const __u64 *)(p + page * psize);

		for (i = 0; i < SAMPLES; i++) {
			__u64 want = seed ? pattern(seed, first + page, sample(i)) : 0;

			sig = touch_read(words + sample(i), &val);
			if (sig)
				return sig;
			if (val != want) {
				fprintf(stderr, "# page %zu word %zu: %llx, not %llx\n", page,
					sample(i), (unsigned long long)val,
					(unsigned long long)want);
				return -1;
			}
		}
	}
	return 0;
}

/* --- memory that can be imported */

static inline char *anonymous(size_t npages)
{
	return mmap(NULL, npages * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
}

static inline char *memory_touched(size_t npages)
{
	char *p = anonymous(npages);

	fill(p, npages, 1);
	return p;
}

/* --- endpoints, here and in peer processes */

struct ep {
	int fd;			/* -1: closed, or in a peer */
	int sock;		/* to the peer process, -1: none */
	pid_t pid;
	__u64 id;
	char *win;
	size_t npages;
};

struct call {
	long (*fn)(struct ep *ep, struct call *c);
	__u64 addr;
	__u64 n;
	__u64 val;
	__u64 val2;
	__s64 rc;
	int err;
	unsigned char cmd[512];
};

/* All that exist in this process, for the end of the test. */
static struct ep *eps[64];
static unsigned int neps;

static int ep_send(struct ep *ep, const struct call *c)
{
	return send(ep->sock, c, sizeof(*c), MSG_NOSIGNAL) == sizeof(*c) ? 0 : -1;
}

static long ep_wait(struct ep *ep, struct call *c)
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

static long ep_call(struct ep *ep, struct call *c)
{
	if (ep->sock < 0)
		return c->fn(ep, c);
	if (ep_send(ep, c)) {
		errno = EOWNERDEAD;
		return -1;
	}
	return ep_wait(ep, c);
}

static long call_ioctl(struct ep *ep, struct call *c)
{
	return ioctl(ep->fd, c->n, c->cmd);
}

/* Quotas count for an endpoint that is opened without this. Returns whether it was there. */
static inline bool may_exceed_quota(bool may)
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

/* Endpoints are opened as an ordinary user does it, but for flags with this bit. */
#define OPEN_UNLIMITED	0x40000000

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

static long call_close(struct ep *ep, struct call *c)
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

static long call_write(struct ep *ep, struct call *c)
{
	(void)ep;
	return touch_write((void *)(uintptr_t)c->addr, c->val);
}

/* Words that are c->val2 bytes apart, from or to the memory that all share. */
static inline long call_read_words(struct ep *ep, struct call *c)
{
	int sig = 0;
	__u64 i;

	(void)ep;
	for (i = 0; i < c->n && !sig; i++)
		sig = touch_read((char *)(uintptr_t)c->addr + i * c->val2, &words[i]);
	return sig;
}

static inline long call_write_words(struct ep *ep, struct call *c)
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

static inline long call_exit(struct ep *ep, struct call *c)
{
	(void)ep;
	_exit(c->val);
}

static inline int ep_read(struct ep *ep, const char *p, __u64 *val)
{
	struct call c = { .fn = call_read, .addr = (uintptr_t)p };
	int rc = ep_call(ep, &c);

	*val = c.val;
	return rc;
}

static inline int ep_write(struct ep *ep, char *p, __u64 val)
{
	struct call c = { .fn = call_write, .addr = (uintptr_t)p, .val = val };

	return ep_call(ep, &c);
}

/* Into, or out of, words[]. One command, however many they are. */
static inline int ep_read_words(struct ep *ep, const char *p, size_t stride, size_t n)
{
	struct call c = { .fn = call_read_words, .addr = (uintptr_t)p, .n = n, .val2 = stride };

	return ep_call(ep, &c);
}

static inline int ep_write_words(struct ep *ep, char *p, size_t stride, size_t n)
{
	struct call c = { .fn = call_write_words, .addr = (uintptr_t)p, .n = n, .val2 = stride };

	return ep_call(ep, &c);
}

static inline int ep_gone(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_gone, .addr = (uintptr_t)p, .n = npages };

	return ep_call(ep, &c);
}

static inline int ep_fill(struct ep *ep, char *p, size_t npages, __u64 seed)
{
	struct call c = { .fn = call_fill, .addr = (uintptr_t)p, .n = npages, .val = seed };

	return ep_call(ep, &c);
}

static inline int ep_check_from(struct ep *ep, const char *p, size_t first, size_t npages,
				__u64 seed)
{
	struct call c = { .fn = call_check, .addr = (uintptr_t)p, .n = npages, .val = seed,
			  .val2 = first };

	return ep_call(ep, &c);
}

static inline int ep_check(struct ep *ep, const char *p, size_t npages, __u64 seed)
{
	return ep_check_from(ep, p, 0, npages, seed);
}

static inline int ep_open(struct ep *ep, size_t npages, int flags)
{
	struct call c = { .fn = call_open, .n = npages, .val = flags };

	*ep = (struct ep){ .fd = -1, .sock = -1, .pid = getpid() };
	eps[neps++ % ARRAY_SIZE(eps)] = ep;
	return ep_call(ep, &c);
}

/* In a peer: makes calls for whoever has the other end, for as long as somebody has. */
static void peer_serve(int sock, struct ep *ep)
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

/* Has this machine, with this kernel, one of enum zcipc_feature? */
static inline bool has_feature(__u32 feature)
{
	struct zcipc_info info = { .size = sizeof(info) };
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);
	bool has = !ioctl(fd, ZCIPC_IOC_INFO, &info) && info.features & feature;

	close(fd);
	return has;
}

/* A process that has no endpoint yet. It holds none of the descriptors of this one. */
static inline int peer_fork(struct ep *ep)
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
	eps[neps++ % ARRAY_SIZE(eps)] = ep;
	return 0;
}

static inline int peer_open(struct ep *ep, size_t npages, int flags)
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
static inline int ep_start(struct ep *ep, bool remote, size_t npages)
{
	if (!remote)
		return ep_open(ep, npages, 0);
	return peer_fork(ep) ? -1 : peer_open(ep, npages, 0);
}

/* Closes one, or ends the process that has it, in the way that it deserves. */
static inline void ep_end(struct ep *ep)
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

/* --- what a peer does besides calls */

static inline long call_setuid(struct ep *ep, struct call *c)
{
	(void)ep;
	return setuid(c->n);
}

static inline long call_unshare(struct ep *ep, struct call *c)
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

static inline void fd_message_init(struct fd_message *m)
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

static inline long call_send_fd(struct ep *ep, struct call *c)
{
	struct fd_message m;

	(void)c;
	fd_message_init(&m);
	memcpy(CMSG_DATA(&m.control.hdr), &ep->fd, sizeof(int));
	return sendmsg(3, &m.msg, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static inline int recv_fd(int sock)
{
	struct fd_message m;
	int fd = -1;

	fd_message_init(&m);
	if (recvmsg(sock, &m.msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m.msg))
		memcpy(&fd, CMSG_DATA(&m.control.hdr), sizeof(fd));
	return fd;
}

/* What /proc says of a thread of this process. Empty if there is no such file. */
static inline void thread_file(pid_t tid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = 0;
}

/* What a thread of this process is doing. 0: it has not begun yet. */
static inline char thread_state(pid_t tid)
{
	char text[512] = "";
	const char *p;

	if (tid)
		thread_file(tid, "stat", text, sizeof(text));
	p = strrchr(text, ')');
	return p ? p[2] : 0;
}

/*
 * Is it in one of these states, and on no CPU? Who is about to sleep has the state already, and may
 * find that there is no need to; for that it can be seen for long, if other tasks have the CPU.
 */
static inline bool thread_is_off_cpu(pid_t tid, const char *states)
{
	char state = thread_state(tid), text[128] = "";

	if (!state || !strchr(states, state))
		return false;
	thread_file(tid, "syscall", text, sizeof(text));
	return strncmp(text, "running", strlen("running")) && thread_state(tid) == state;
}

/* It is in a call, or somewhere else, and sleeps. */
static inline bool thread_sleeps(pid_t tid)
{
	return thread_is_off_cpu(tid, "S");
}

/* So does one that no signal wakes up, as it waits for a lock. */
static inline bool thread_waits(pid_t tid)
{
	return thread_is_off_cpu(tid, "SD");
}

/* --- calls */

/* What calls write: members from one up to another that they do not write. */
#define OUT(_call, _type, _from, _to)					\
	{ _call, offsetof(struct _type, _from), offsetof(struct _type, _to), false }
#define OUT_END(_call, _type, _from)					\
	{ _call, offsetof(struct _type, _from), sizeof(struct _type), false }

static const struct written {
	unsigned int nr;
	size_t from;
	size_t to;
	bool read;	/* too */
} written[] = {
	OUT_END(ZCIPC_IOC_INFO, zcipc_info, abi),
	{ ZCIPC_IOC_ENDPOINT_CONFIG, offsetof(struct zcipc_endpoint_config, policy),
	  offsetof(struct zcipc_endpoint_config, senders), true },
	{ ZCIPC_IOC_ENDPOINT_CONFIG, offsetof(struct zcipc_endpoint_config, name),
	  offsetof(struct zcipc_endpoint_config, __reserved), true },
	OUT(ZCIPC_IOC_LOOKUP, zcipc_lookup, endpoint, name),
	{ ZCIPC_IOC_REGION_CREATE, offsetof(struct zcipc_region_create, len),
	  offsetof(struct zcipc_region_create, cache), true },
	OUT_END(ZCIPC_IOC_REGION_CREATE, zcipc_region_create, cap),
	OUT_END(ZCIPC_IOC_REGION_IMPORT, zcipc_region_import, cap),
	OUT_END(ZCIPC_IOC_REGION_ORDINARY, zcipc_region_ordinary, copied),
	OUT(ZCIPC_IOC_REGION_QUERY, zcipc_region_query, region, __reserved),
	OUT_END(ZCIPC_IOC_REGION_QUERY, zcipc_region_query, derived),
	OUT_END(ZCIPC_IOC_MAP, zcipc_map, addr),
	OUT(ZCIPC_IOC_TRANSFER, zcipc_transfer, pages, __reserved),
	OUT_END(ZCIPC_IOC_TRANSFER_BATCH, zcipc_transfer_batch, done),
	OUT_END(ZCIPC_IOC_RECV, zcipc_recv, type),
	OUT_END(ZCIPC_IOC_GRANT, zcipc_grant, peer_cap),
	OUT_END(ZCIPC_IOC_REVOKE, zcipc_revoke, revoked),
	OUT(ZCIPC_IOC_STATS, zcipc_stats, endpoints, cap),
	OUT(ZCIPC_IOC_STATS, zcipc_stats, transfers, errors),
	OUT_END(ZCIPC_IOC_STATS, zcipc_stats, copied_memory),
};

/* Does a call write to its struct at all? */
static inline bool has_results(unsigned int nr)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(written); i++)
		if (written[i].nr == nr)
			return true;
	return false;
}

/*
 * One call. Members for results hold garbage before. After a failure the struct must be what it
 * was, after a success all but the results must be.
 */
static inline int zc_ioctl(struct ep *ep, unsigned int nr, void *cmd)
{
	struct call c = { .fn = call_ioctl, .n = nr };
	unsigned char expected[sizeof(c.cmd)];
	size_t i, size = *(__u32 *)cmd;
	int rc;

	memcpy(c.cmd, cmd, size);
	for (i = 0; i < ARRAY_SIZE(written); i++)
		if (written[i].nr == nr && !written[i].read)
			memset(c.cmd + written[i].from, 0xcc, written[i].to - written[i].from);
	memcpy(expected, c.cmd, size);
	rc = ep_call(ep, &c);
	if (rc && errno == EOWNERDEAD)
		return rc;
	for (i = 0; i < ARRAY_SIZE(written) && !rc; i++)
		if (written[i].nr == nr)
			memcpy(expected + written[i].from, c.cmd + written[i].from,
			       written[i].to - written[i].from);
	if (memcmp(c.cmd, expected, size)) {
		fprintf(stderr, "# call %#x returned %d and wrote what it must not\n", nr, rc);
		errno = EUCLEAN;
		return -1;
	}
	if (!rc)
		memcpy(cmd, c.cmd, size);
	return rc;
}

struct buf {
	__u64 cap;
	__u64 region;
	char *p;
	size_t npages;
	size_t huge;		/* pages that are in 2 MiB frames */
};

static inline int zc_create_flags(struct ep *ep, size_t npages, __u32 flags, struct buf *b)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = flags | (ep->win ? ZCIPC_CREATE_MAP : 0),
		.len = npages * psize, .node = ZCIPC_NODE_ANY,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_CREATE, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = cmd.len / psize,
				   .p = (char *)(uintptr_t)cmd.addr, .huge = cmd.huge / psize };
	return rc;
}

/* Or as whoever runs this wants. */
static inline int zc_create(struct ep *ep, size_t npages, struct buf *b)
{
	return zc_create_flags(ep, npages, getenv("ZCIPC_UNPINNABLE") ?
			       ZCIPC_CREATE_UNPINNABLE : 0, b);
}

static inline int zc_query(struct ep *ep, __u64 cap, struct zcipc_region_query *cmd)
{
	*cmd = (struct zcipc_region_query){ .size = sizeof(*cmd), .cap = cap };
	return zc_ioctl(ep, ZCIPC_IOC_REGION_QUERY, cmd);
}

/* Pages, not bytes. */
static inline int zc_map(struct ep *ep, __u64 cap, size_t first, size_t npages, __u32 rights,
			 char **p)
{
	struct zcipc_map cmd = {
		.size = sizeof(cmd), .cap = cap, .offset = first * psize, .len = npages * psize,
		.rights = rights,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_MAP, &cmd);

	if (!rc)
		*p = (char *)(uintptr_t)cmd.addr;
	return rc;
}

static inline int zc_unmap(struct ep *ep, const char *p)
{
	struct zcipc_unmap cmd = { .size = sizeof(cmd), .addr = (uintptr_t)p };

	return zc_ioctl(ep, ZCIPC_IOC_UNMAP, &cmd);
}

static inline int zc_drop(struct ep *ep, __u64 cap)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .cap = cap };

	return zc_ioctl(ep, ZCIPC_IOC_DROP, &cmd);
}

static inline int zc_lookup(struct ep *ep, pid_t pid, __u64 after, __u64 *id)
{
	struct zcipc_lookup cmd = { .size = sizeof(cmd), .pid = pid, .after = after };
	int rc = zc_ioctl(ep, ZCIPC_IOC_LOOKUP, &cmd);

	if (!rc)
		*id = cmd.endpoint;
	return rc;
}

static inline int zc_stats(struct ep *ep, struct zcipc_stats *cmd)
{
	*cmd = (struct zcipc_stats){ .size = sizeof(*cmd) };
	return zc_ioctl(ep, ZCIPC_IOC_STATS, cmd);
}

static inline int zc_recv(struct ep *ep, struct zcipc_recv *cmd)
{
	*cmd = (struct zcipc_recv){ .size = sizeof(*cmd) };
	return zc_ioctl(ep, ZCIPC_IOC_RECV, cmd);
}

/* Receives what is wanted for its contents only. */
static inline int zc_take(struct ep *ep, struct buf *b)
{
	struct zcipc_recv m;
	int rc = zc_recv(ep, &m);

	if (!rc)
		*b = (struct buf){ .cap = m.cap, .region = m.region, .npages = m.len / psize,
				   .p = (char *)(uintptr_t)m.addr };
	return rc;
}

/* Pages, not bytes. */
static inline struct zcipc_transfer transfer_cmd(struct ep *to, __u32 type, __u64 cap, size_t first,
						 size_t npages, __u32 rights)
{
	return (struct zcipc_transfer){
		.size = sizeof(struct zcipc_transfer), .type = type, .cap = cap, .peer = to->id,
		.offset = first * psize, .len = npages * psize, .rights = rights,
		.cookie = 0xc00c1e, .node = ZCIPC_NODE_ANY,
	};
}

static inline int zc_transfer(struct ep *from, struct zcipc_transfer *cmd)
{
	return zc_ioctl(from, ZCIPC_IOC_TRANSFER, cmd);
}

/* A range, with as many rights as there are. */
static inline int zc_send_part(struct ep *from, struct ep *to, __u32 type, __u64 cap, size_t first,
			       size_t npages)
{
	struct zcipc_transfer cmd = transfer_cmd(to, type, cap, first, npages,
						 type == ZCIPC_SHARE ? RIGHTS_ALL : 0);

	return zc_transfer(from, &cmd);
}

static inline int zc_send(struct ep *from, struct ep *to, __u32 type, __u64 cap)
{
	return zc_send_part(from, to, type, cap, 0, 0);
}

static inline int zc_send_rights(struct ep *from, struct ep *to, __u32 type, __u64 cap,
				 __u32 rights)
{
	struct zcipc_transfer cmd = transfer_cmd(to, type, cap, 0, 0, rights);

	return zc_transfer(from, &cmd);
}

/* Sends and receives. */
static inline int zc_pass(struct ep *from, struct ep *to, __u32 type, __u64 cap, struct buf *b)
{
	return zc_send(from, to, type, cap) ? -1 : zc_take(to, b);
}

static inline int zc_pass_rights(struct ep *from, struct ep *to, __u32 type, __u64 cap,
				 __u32 rights, struct buf *b)
{
	return zc_send_rights(from, to, type, cap, rights) ? -1 : zc_take(to, b);
}

static inline int zc_import(struct ep *ep, char *p, size_t npages, struct buf *b)
{
	struct zcipc_region_import cmd = {
		.size = sizeof(cmd), .addr = (uintptr_t)p, .len = npages * psize,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REGION_IMPORT, &cmd);

	if (!rc)
		*b = (struct buf){ .cap = cmd.cap, .region = cmd.region, .npages = npages,
				   .p = p };
	return rc;
}

/* From memory, which becomes a region if it has to stay. Bytes. */
static inline struct zcipc_transfer direct_cmd(struct ep *to, __u32 type, const void *p,
					       size_t len, __u32 flags)
{
	struct zcipc_transfer cmd = transfer_cmd(to, type, 0, 0, 0, 0);

	cmd.flags = ZCIPC_F_FROM_MEMORY | flags;
	if (type != ZCIPC_MOVE)
		cmd.flags |= ZCIPC_F_IMPORT;
	cmd.offset = (uintptr_t)p;
	cmd.len = len;
	if (type == ZCIPC_SHARE)
		cmd.rights = RIGHTS_ALL;
	return cmd;
}

static inline int zc_direct(struct ep *from, struct ep *to, __u32 type, const void *p, size_t len,
			    __u32 flags)
{
	struct zcipc_transfer cmd = direct_cmd(to, type, p, len, flags);

	return zc_transfer(from, &cmd);
}

/* Pages, not bytes. */
static inline struct zcipc_grant grant_cmd(struct ep *to, __u64 cap, size_t first, size_t npages,
					   __u32 rights)
{
	return (struct zcipc_grant){
		.size = sizeof(struct zcipc_grant), .cap = cap, .peer = to->id,
		.offset = first * psize, .len = npages * psize, .rights = rights,
		.cookie = 0x96a27ed,
	};
}

static inline int zc_grant(struct ep *from, struct zcipc_grant *cmd)
{
	return zc_ioctl(from, ZCIPC_IOC_GRANT, cmd);
}

static inline int zc_grant_rights(struct ep *from, struct ep *to, __u64 cap, __u32 rights)
{
	struct zcipc_grant cmd = grant_cmd(to, cap, 0, 0, rights);

	return zc_grant(from, &cmd);
}

/* Bytes. */
static inline struct zcipc_notify notify_cmd(struct ep *to, __u64 cap, __u64 peer_cap,
					     __u64 offset, __u64 len)
{
	return (struct zcipc_notify){
		.size = sizeof(struct zcipc_notify), .cap = cap, .peer = to->id,
		.peer_cap = peer_cap, .offset = offset, .len = len, .cookie = 0x207e,
	};
}

static inline int zc_notify(struct ep *from, struct zcipc_notify *cmd)
{
	return zc_ioctl(from, ZCIPC_IOC_NOTIFY, cmd);
}

/* Grants and receives. */
static inline int zc_give_part(struct ep *from, struct ep *to, __u64 cap, size_t first,
			       size_t npages, __u32 rights, struct buf *b)
{
	struct zcipc_grant cmd = grant_cmd(to, cap, first, npages, rights);

	if (zc_grant(from, &cmd) || zc_take(to, b))
		return -1;
	if (b->cap == cmd.peer_cap)
		return 0;
	errno = EUCLEAN;
	return -1;
}

static inline int zc_give(struct ep *from, struct ep *to, __u64 cap, __u32 rights, struct buf *b)
{
	return zc_give_part(from, to, cap, 0, 0, rights, b);
}

/* One's own, for which @peer is NULL, or a peer's. */
static inline int zc_revoke(struct ep *ep, const struct ep *peer, __u64 cap, __u32 flags, __u64 *n)
{
	struct zcipc_revoke cmd = {
		.size = sizeof(cmd), .flags = flags, .cap = cap, .peer = peer ? peer->id : 0,
	};
	int rc = zc_ioctl(ep, ZCIPC_IOC_REVOKE, &cmd);

	if (!rc)
		*n = cmd.revoked;
	return rc;
}

static inline int zc_config(struct ep *ep, struct zcipc_endpoint_config *cmd)
{
	cmd->size = sizeof(*cmd);
	return zc_ioctl(ep, ZCIPC_IOC_ENDPOINT_CONFIG, cmd);
}

static inline int zc_policy(struct ep *ep, __u32 policy)
{
	struct zcipc_endpoint_config cmd = { .flags = ZCIPC_CONFIG_POLICY, .policy = policy };

	return zc_config(ep, &cmd);
}

static inline int zc_depth(struct ep *ep, __u32 depth)
{
	struct zcipc_endpoint_config cmd = { .flags = ZCIPC_CONFIG_DEPTH, .queue_depth = depth };

	return zc_config(ep, &cmd);
}

#define TEST_OK(call)							\
do {									\
	ASSERT_EQ(0, (call))						\
		TH_LOG("%s: %s", #call, strerror(errno));		\
} while (0)
#define TEST_ERR(err, call)						\
do {									\
	int __rc;							\
									\
	errno = 0;							\
	__rc = (call);							\
	ASSERT_EQ((err), __rc < 0 ? errno : 0)				\
		TH_LOG("%s: %s, not %s", #call, strerror(errno), strerror(err)); \
} while (0)

#define test_create(...)		TEST_OK(zc_create(__VA_ARGS__))
#define test_create_flags(...)		TEST_OK(zc_create_flags(__VA_ARGS__))
#define test_err_create_flags(err, ...)	TEST_ERR(err, zc_create_flags(__VA_ARGS__))
#define test_err_create(err, ...)	TEST_ERR(err, zc_create(__VA_ARGS__))
#define test_import(...)		TEST_OK(zc_import(__VA_ARGS__))
#define test_err_import(err, ...)	TEST_ERR(err, zc_import(__VA_ARGS__))
#define test_direct(...)		TEST_OK(zc_direct(__VA_ARGS__))
#define test_err_direct(err, ...)	TEST_ERR(err, zc_direct(__VA_ARGS__))
#define test_query(...)			TEST_OK(zc_query(__VA_ARGS__))
#define test_err_query(err, ...)	TEST_ERR(err, zc_query(__VA_ARGS__))
#define test_map(...)			TEST_OK(zc_map(__VA_ARGS__))
#define test_err_map(err, ...)		TEST_ERR(err, zc_map(__VA_ARGS__))
#define test_unmap(...)			TEST_OK(zc_unmap(__VA_ARGS__))
#define test_err_unmap(err, ...)	TEST_ERR(err, zc_unmap(__VA_ARGS__))
#define test_drop(...)			TEST_OK(zc_drop(__VA_ARGS__))
#define test_err_drop(err, ...)		TEST_ERR(err, zc_drop(__VA_ARGS__))
#define test_lookup(...)		TEST_OK(zc_lookup(__VA_ARGS__))
#define test_err_lookup(err, ...)	TEST_ERR(err, zc_lookup(__VA_ARGS__))
#define test_stats(...)			TEST_OK(zc_stats(__VA_ARGS__))
#define test_recv(...)			TEST_OK(zc_recv(__VA_ARGS__))
#define test_err_recv(err, ...)		TEST_ERR(err, zc_recv(__VA_ARGS__))
#define test_take(...)			TEST_OK(zc_take(__VA_ARGS__))
#define test_transfer(...)		TEST_OK(zc_transfer(__VA_ARGS__))
#define test_err_transfer(err, ...)	TEST_ERR(err, zc_transfer(__VA_ARGS__))
#define test_send(...)			TEST_OK(zc_send(__VA_ARGS__))
#define test_err_send(err, ...)		TEST_ERR(err, zc_send(__VA_ARGS__))
#define test_send_part(...)		TEST_OK(zc_send_part(__VA_ARGS__))
#define test_err_send_part(err, ...)	TEST_ERR(err, zc_send_part(__VA_ARGS__))
#define test_send_rights(...)		TEST_OK(zc_send_rights(__VA_ARGS__))
#define test_err_send_rights(err, ...)	TEST_ERR(err, zc_send_rights(__VA_ARGS__))
#define test_pass(...)			TEST_OK(zc_pass(__VA_ARGS__))
#define test_pass_rights(...)		TEST_OK(zc_pass_rights(__VA_ARGS__))
#define test_grant(...)			TEST_OK(zc_grant(__VA_ARGS__))
#define test_err_grant(err, ...)	TEST_ERR(err, zc_grant(__VA_ARGS__))
#define test_grant_rights(...)		TEST_OK(zc_grant_rights(__VA_ARGS__))
#define test_err_grant_rights(err, ...)	TEST_ERR(err, zc_grant_rights(__VA_ARGS__))
#define test_notify(...)		TEST_OK(zc_notify(__VA_ARGS__))
#define test_err_notify(err, ...)	TEST_ERR(err, zc_notify(__VA_ARGS__))
#define test_give(...)			TEST_OK(zc_give(__VA_ARGS__))
#define test_give_part(...)		TEST_OK(zc_give_part(__VA_ARGS__))
#define test_revoke(...)		TEST_OK(zc_revoke(__VA_ARGS__))
#define test_err_revoke(err, ...)	TEST_ERR(err, zc_revoke(__VA_ARGS__))
#define test_config(...)		TEST_OK(zc_config(__VA_ARGS__))
#define test_err_config(err, ...)	TEST_ERR(err, zc_config(__VA_ARGS__))
#define test_policy(...)		TEST_OK(zc_policy(__VA_ARGS__))
#define test_depth(...)			TEST_OK(zc_depth(__VA_ARGS__))
#define test_open(...)			TEST_OK(ep_open(__VA_ARGS__))
#define test_start(...)			TEST_OK(ep_start(__VA_ARGS__))

/* Accesses: what signal do they raise, and what is there? */
#define test_touch_read(sig, ep, p)					\
do {									\
	__u64 __val;							\
									\
	ASSERT_EQ((sig), ep_read(ep, p, &__val));			\
} while (0)
#define test_touch_write(sig, ep, p)	ASSERT_EQ((sig), ep_write(ep, p, 0xbad))
#define test_fill(...)			ASSERT_EQ(0, ep_fill(__VA_ARGS__))
#define test_check(...)			ASSERT_EQ(0, ep_check(__VA_ARGS__))
#define test_check_from(...)		ASSERT_EQ(0, ep_check_from(__VA_ARGS__))
#define test_gone(...)			ASSERT_EQ(0, ep_gone(__VA_ARGS__))

/* A MOVE that comes back from a dead peer: as it was sent, and in nobody's window. */
static inline void take_returned(struct __test_metadata *_metadata, struct ep *a, struct ep *from,
				 size_t npages, __u64 region, __u64 seed)
{
	struct zcipc_recv m;
	char *p;

	ASSERT_TRUE(wait_until(!zc_recv(a, &m)));
	ASSERT_EQ(ZCIPC_MESSAGE_RETURNED, m.message_flags);
	ASSERT_EQ(ZCIPC_MOVE, m.type);
	ASSERT_EQ(from->id, m.sender);
	ASSERT_EQ(0, m.addr);
	ASSERT_EQ(npages * psize, m.len);
	ASSERT_EQ(0xc00c1e, m.cookie);
	ASSERT_EQ(RIGHTS_ALL, m.rights);
	if (region)
		ASSERT_EQ(region, m.region);
	test_map(a, m.cap, 0, 0, RIGHTS_RW, &p);
	test_check(a, p, npages, seed);
	test_fill(a, p, npages, seed + 1);
	test_drop(a, m.cap);
}

/* --- the mappings of a process */

/* How many there are in a range, or, with a @name, how many that have it. */
static inline long mappings(const char *start, const char *end, const char *name)
{
	static char text[256 * 1024];
	size_t n = 0;
	long found = 0;
	char *line, *next;
	ssize_t got;
	int fd;

	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += got;
	close(fd);
	text[n] = 0;
	for (line = text; *line; line = next) {
		char *dash;
		const char *from = (const char *)strtoul(line, &dash, 16);
		const char *to = (const char *)strtoul(dash + 1, NULL, 16);

		next = strchr(line, '\n');
		if (!next)
			return -1;
		*next++ = 0;
		if (from < end && to > start && (!name || strstr(line, name)))
			found++;
	}
	return found;
}

/* Has it become a region where it is? */
static inline bool is_adopted(const char *p)
{
	return mappings(p, p + 1, ZCIPC_DEVICE);
}

/* --- calls by other threads */

/**
 * struct job - a call by a thread of its own
 * @thread: the thread
 * @fn: the call
 * @ep: whose
 * @to: the peer
 * @cap: what it is about
 * @type: of a transfer
 * @flags: of the call
 * @p: memory: where, or what came of it
 * @n: a number: of pages, or what came of it
 * @m: a message
 * @tid: the thread's id, once it runs
 * @done: it is over
 * @rc: what the call returned
 * @err: errno, if that is not 0
 */
struct job {
	pthread_t thread;
	int (*fn)(struct job *j);
	struct ep *ep;
	struct ep *to;
	__u64 cap;
	__u32 type;
	__u32 flags;
	char *p;
	__u64 n;
	struct zcipc_recv m;
	volatile pid_t tid;
	volatile bool done;
	int rc;
	int err;
};

static void *job_thread(void *arg)
{
	struct job *j = arg;

	j->tid = gettid();
	j->rc = j->fn(j);
	j->err = j->rc ? errno : 0;
	j->done = true;
	return NULL;
}

static inline void job_start(struct job *j)
{
	j->tid = 0;
	j->done = false;
	pthread_create(&j->thread, NULL, job_thread, j);
}

static inline void job_join(struct job *j)
{
	pthread_join(j->thread, NULL);
}

/* --- delay points of a module built for tests */

#define POINT_PARAMETER "/sys/module/zcipc/parameters/test_"

static inline bool points_exist(void)
{
	return !access(POINT_PARAMETER "point", W_OK);
}

#define need_points()							\
do {									\
	if (!points_exist())						\
		SKIP(return, "the module is built without delay points");	\
} while (0)

/* For what one of HUGE_PAGES shows. */
#define need_huge()							\
do {									\
	if (!has_feature(ZCIPC_FEATURE_HUGE))				\
		SKIP(return, "there are no huge frames");		\
	if (huge_pages != HUGE_PAGES)					\
		SKIP(return, "a huge frame has %zu pages, not %d", huge_pages, HUGE_PAGES); \
} while (0)

/* Makes children inherit a mapping, which newer kernels do not allow of a driver's. */
#define test_inheritable(p, len)					\
do {									\
	int __rc = madvise((void *)(p), len, MADV_DOFORK);		\
									\
	if (__rc && errno == EINVAL)					\
		SKIP(return, "this kernel lets no child inherit it");	\
	ASSERT_EQ(0, __rc);						\
} while (0)

static inline void file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "# %s: %s\n", path, strerror(errno));
	close(fd);
}

static inline void number_write(const char *path, long n)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", n);
	file_write(path, text);
}

/* The first number in a file, or after a word in it. -1: there is none. */
static inline long file_number(const char *path, const char *word)
{
	char text[8192] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *p = text;

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		p = NULL;
	close(fd);
	if (p && word) {
		p = strstr(text, word);
		p = p ? p + strlen(word) : NULL;
	}
	return p ? strtol(p, NULL, 10) : -1;
}

/*
 * Whoever comes to the point from now on sleeps there for so long. What follows may come before
 * that is over, or not, and must be right either way.
 */
static inline void point_set(const char *name, unsigned int ms)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", ms);
	file_write(POINT_PARAMETER "delay_ms", text);
	file_write(POINT_PARAMETER "point", *name ? name : "\n");
}

/* Whoever comes to the point from now on waits there. Those who did so before go on. */
static inline void point_stop(const char *name)
{
	point_set(name, 0);
}

static inline void point_go(void)
{
	point_set("", 0);
}

static inline bool point_reached_by(long n)
{
	return wait_until(file_number(POINT_PARAMETER "hits", NULL) >= n);
}

static inline bool point_reached(void)
{
	return point_reached_by(1);
}

/* --- the quota */

/* Pages of regions that a user is charged for. */
static inline __u64 owned(const struct zcipc_stats *stats)
{
	return stats->user_pages - stats->user_overhead;
}

#define QUOTA "/sys/module/zcipc/parameters/quota_mib"

static inline void quota_set(long mib)
{
	number_write(QUOTA, mib);
}

/* --- KSM, and other things that the kernel does now and then */

#define KSM "/sys/kernel/mm/ksm/"

/* What was set before. */
struct ksm_settings {
	long run, scan, sleep;
};

static inline void ksm_start(struct ksm_settings *old, long scan)
{
	old->run = file_number(KSM "run", NULL);
	old->scan = file_number(KSM "pages_to_scan", NULL);
	old->sleep = file_number(KSM "sleep_millisecs", NULL);
	if (old->run < 0)
		return;
	number_write(KSM "pages_to_scan", scan);
	number_write(KSM "sleep_millisecs", 5);
	number_write(KSM "run", 1);
}

/* What has been merged is so no longer. */
static inline void ksm_end(const struct ksm_settings *old)
{
	if (old->run < 0)
		return;
	number_write(KSM "run", 2);
	number_write(KSM "run", old->run);
	number_write(KSM "pages_to_scan", old->scan);
	number_write(KSM "sleep_millisecs", old->sleep);
}

/* --- how a MOVE gets pages from one page table to another */

#define CARRY "/sys/module/zcipc/parameters/carry_min"

/* From so many pages on by carrying PTEs over, below by unmapping and mapping. */
static inline void carry_set(const char *npages)
{
	file_write(CARRY, npages);
}

/* --- how large a frame is */

#define HUGE_MIN "/sys/module/zcipc/parameters/huge_min"

/* A region's memory is huge frames from so many pages of each on; NULL: if it is as much as one. */
static inline void huge_set(const char *npages)
{
	if (npages)
		file_write(HUGE_MIN, npages);
	else
		number_write(HUGE_MIN, huge_pages);
}

/* --- what only costs time if it is missing */

#define SHORT_MOVES "/sys/module/zcipc/parameters/short_moves"
#define HUGE_IMPORT "/sys/module/zcipc/parameters/huge_import"

static inline void mechanisms_set(bool on)
{
	file_write(SHORT_MOVES, on ? "Y" : "N");
	file_write(HUGE_IMPORT, on ? "Y" : "N");
}

/* --- what is checked around every test */

struct base {
	struct ep ep;			/* the one that asks for statistics */
	struct zcipc_stats stats;
};

/* The first six members are what exists at the moment. */
static inline bool same_live(const struct zcipc_stats *a, const struct zcipc_stats *b)
{
	return !memcmp(&a->endpoints, &b->endpoints, 6 * sizeof(__u64));
}

/* Until that exists which is wanted, or nothing has changed each time that somebody looked. */
static inline bool wait_for_stats(struct ep *ep, const struct zcipc_stats *want,
				  struct zcipc_stats *now, unsigned int tries)
{
	struct zcipc_stats before = *want;
	unsigned int i;

	for (i = 0; i < tries; i++, msleep(5)) {
		if (zc_stats(ep, now))
			return false;
		if (same_live(now, want))
			return true;
		if (!same_live(now, &before))
			i = 0;
		before = *now;
	}
	return false;
}

static inline void base_setup(struct __test_metadata *_metadata, struct base *base)
{
	static const struct zcipc_stats nothing = { .endpoints = 1 };
	bool off = getenv("ZCIPC_OFF");

	if (access(ZCIPC_DEVICE, F_OK))
		SKIP(_exit(KSFT_SKIP), "there is no %s", ZCIPC_DEVICE);
	/* A test that was ended may have left somebody there. */
	if (points_exist())
		point_go();
	test_open(&base->ep, 0, 0);
	/* Nearly always, so that there is no need for many pages; or as whoever runs this wants. */
	carry_set(getenv("ZCIPC_CARRY") ?: off ? "0" : "2");
	/* Or single pages that are parts of huge frames. */
	huge_set(getenv("ZCIPC_HUGE") ?: off ? "0" : NULL);
	mechanisms_set(!off);
	/* A process of the test before may not be gone yet. What that one has lost stays. */
	wait_for_stats(&base->ep, &nothing, &base->stats, 200);
}

/* Everybody goes, and then nothing may be left. */
static inline void base_teardown(struct __test_metadata *_metadata, struct base *base)
{
	struct zcipc_stats now;
	unsigned int i;

	if (points_exist())
		point_go();
	for (i = 0; i < neps && i < ARRAY_SIZE(eps); i++)
		if (eps[i] != &base->ep)
			ep_end(eps[i]);
	EXPECT_TRUE(wait_for_stats(&base->ep, &base->stats, &now, 4000)) {
		TH_LOG("left: ep %lld region %lld frame %lld cap %lld map %lld message %lld",
		       (long long)now.endpoints - base->stats.endpoints,
		       (long long)now.regions - base->stats.regions,
		       (long long)now.frames - base->stats.frames,
		       (long long)now.caps - base->stats.caps,
		       (long long)now.maps - base->stats.maps,
		       (long long)now.messages - base->stats.messages);
	}
	ep_end(&base->ep);
}

/* A fixture that has what the fixtures of most files need: some endpoints. */
#define FIXTURE_TEARDOWN_BASE(name)					\
	FIXTURE_TEARDOWN(name)						\
	{								\
		base_teardown(_metadata, &self->base);			\
	}

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Endpoints, of this process and of peer processes.
 *
 * A peer process waits for calls on a socket, makes them, and sends back what came of them. All
 * helpers take either kind of endpoint.
 */
#ifndef __SELFTEST_ZCIPC_PEER
#define __SELFTEST_ZCIPC_PEER

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <linux/types.h>

#define WINDOW_PAGES	4096

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
#define EPS		64
extern struct ep *eps[EPS];
extern unsigned int neps;

/* Endpoints are opened as an ordinary user does it, but for flags with this bit. */
#define OPEN_UNLIMITED	0x40000000

/* In this process: ep_open() and ep_end(). In another: peer_fork(), peer_open() and ep_end(). */
int ep_open(struct ep *ep, size_t npages, int flags);
int peer_fork(struct ep *ep);
int peer_open(struct ep *ep, size_t npages, int flags);
int peer_user(struct ep *ep, uid_t uid, size_t limit);
int ep_start(struct ep *ep, bool remote, size_t npages);
int start_nonblock(struct ep *ep, bool remote, size_t npages);
void ep_end(struct ep *ep);
void peer_serve(int sock, struct ep *ep);

/* A call in the process that has the endpoint; ep_call() is ep_send() and ep_wait(). */
long ep_call(struct ep *ep, struct call *c);
int ep_send(struct ep *ep, const struct call *c);
long ep_wait(struct ep *ep, struct call *c);

/* Accesses by that process: 0, or the signal that was raised. */
int ep_read(struct ep *ep, const char *p, __u64 *val);
int ep_write(struct ep *ep, char *p, __u64 val);
int ep_read_words(struct ep *ep, const char *p, size_t stride, size_t n);
int ep_write_words(struct ep *ep, char *p, size_t stride, size_t n);
int ep_gone(struct ep *ep, const char *p, size_t npages);
int ep_fill(struct ep *ep, char *p, size_t npages, __u64 seed);
int ep_check(struct ep *ep, const char *p, size_t npages, __u64 seed);
int ep_check_from(struct ep *ep, const char *p, size_t first, size_t npages, __u64 seed);

/* Memory of that process. */
char *ep_memory(struct ep *ep, size_t npages, __u64 seed);
int ep_munmap(struct ep *ep, const char *p, size_t npages);
int ep_hold(struct ep *ep, const char *p, size_t npages);
int ep_hold_end(struct ep *ep);
int ep_sum(struct ep *ep, char *p, size_t stride, size_t n, __u64 write, __u64 *sum);
long ep_vmsplice(struct ep *ep, const void *p, size_t npages);

/* What else it does, for ep_call(). */
long call_ioctl(struct ep *ep, struct call *c);
long call_write(struct ep *ep, struct call *c);
long call_close(struct ep *ep, struct call *c);
long call_exit(struct ep *ep, struct call *c);
long call_setuid(struct ep *ep, struct call *c);
long call_unshare(struct ep *ep, struct call *c);
long call_send_fd(struct ep *ep, struct call *c);
long call_poll(struct ep *ep, struct call *c);
long call_munmap(struct ep *ep, struct call *c);
long call_forget(struct ep *ep, struct call *c);
long call_limit(struct ep *ep, struct call *c);
int recv_fd(int sock);
long peer_syscall(struct ep *ep, long nr, const void *p, long b, long c, long d, long e);

bool may_exceed_quota(bool may);

#endif

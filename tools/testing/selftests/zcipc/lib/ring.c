// SPDX-License-Identifier: GPL-2.0-only
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* Rings of this process, by endpoint. */
#define RINGS	64
static struct ring rings[RINGS];

struct ring *ring_of(const struct ep *ep)
{
	return &rings[ep->id % RINGS];
}

static long call_ring_open(struct ep *ep, struct call *c)
{
	struct ring *r = ring_of(ep);
	void *p;

	r->len = (c->n + 1) * psize;
	p = mmap(NULL, r->len, PROT_READ, MAP_SHARED, ep->fd, ZCIPC_RING_OFFSET);
	if (p == MAP_FAILED)
		return -1;
	r->shared = p;
	p = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd, ZCIPC_RING_OFFSET_HEAD);
	if (p == MAP_FAILED)
		return -1;
	r->head = p;
	return 0;
}

void ring_close(struct ep *ep)
{
	struct ring *r = ring_of(ep);

	if (r->shared)
		munmap((void *)r->shared, r->len);
	if (r->head)
		munmap((void *)r->head, psize);
	*r = (struct ring){};
}

/* The oldest entry that the head is not past. */
static long call_ring_read(struct ep *ep, struct call *c)
{
	const struct ring *r = ring_of(ep);
	__u32 head = r->head->head;

	if (__atomic_load_n(&r->shared->tail, __ATOMIC_ACQUIRE) == head) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(c->cmd, (char *)r->shared + psize + head % r->shared->nentries *
		       r->shared->entry_size, ZCIPC_RING_ENTRY_SIZE);
	return 0;
}

/* Returns whether there was reason for a call. */
static long call_ring_pass(struct ep *ep, struct call *c)
{
	const struct ring *r = ring_of(ep);
	struct pollfd pfd = { .fd = ep->fd, .events = POLLIN };

	__atomic_store_n(&r->head->head, r->head->head + (__u32)c->n, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(r->shared->flags & ZCIPC_RING_CALL))
		return 0;
	poll(&pfd, 1, 0);
	return 1;
}

int ring_open(struct ep *ep, size_t npages)
{
	struct call c = { .fn = call_ring_open, .n = npages };

	return ep_call(ep, &c);
}

int ring_read(struct ep *ep, struct zcipc_recv *m)
{
	struct call c = { .fn = call_ring_read };
	int rc = ep_call(ep, &c);

	if (!rc)
		memcpy(m, c.cmd, sizeof(*m));
	return rc;
}

int ring_pass(struct ep *ep, __u32 n)
{
	struct call c = { .fn = call_ring_pass, .n = n };

	return ep_call(ep, &c);
}

int ring_take(struct ep *ep, struct zcipc_recv *m)
{
	return ring_read(ep, m) || ring_pass(ep, 1) < 0 ? -1 : 0;
}

short ready(const struct ep *ep)
{
	struct pollfd pfd = { .fd = ep->fd, .events = POLLIN };

	poll(&pfd, 1, 0);
	return pfd.revents;
}

__u32 head_of(const struct ep *ep)
{
	return ring_of(ep)->head->head;
}

void head_set(const struct ep *ep, __u32 head)
{
	__atomic_store_n(&ring_of(ep)->head->head, head, __ATOMIC_SEQ_CST);
}

// SPDX-License-Identifier: GPL-2.0-only
#include "probe.h"

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "memory.h"

void *shared_memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The first and the last word of a page. -1: they differ. */
void touch(struct probe *p)
{
	__u64 *words = (__u64 *)(uintptr_t)p->addr, *last = words + psize / 8 - 1, val = 0;

	if (p->write) {
		p->sig = touch_write(words, p->val) ?: touch_write(last, p->val);
		return;
	}
	p->sig = touch_read(words, &p->val) ?: touch_read(last, &val);
	if (!p->sig && val != p->val)
		p->sig = -1;
}

long call_probe(struct ep *ep, struct call *c)
{
	struct probe *p = (void *)(uintptr_t)c->addr;
	__u64 i;

	(void)ep;
	for (i = 0; i < c->n; i++)
		touch(p + i);
	return 0;
}

int query(struct ep *ep, struct inquiry *i)
{
	i->err = ioctl(ep->fd, ZCIPC_IOC_REGION_QUERY, &i->q) ? errno : 0;
	return i->err;
}

long call_inquire(struct ep *ep, struct call *c)
{
	struct inquiry *i = (void *)(uintptr_t)c->addr;

	for (; c->n; c->n--)
		query(ep, i++);
	return 0;
}

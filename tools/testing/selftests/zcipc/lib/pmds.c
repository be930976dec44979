// SPDX-License-Identifier: GPL-2.0-only
#include "pmds.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/zcipc.h>

#include "kselftest.h"
#include "memory.h"

/* What newer headers have for PAGEMAP_SCAN. */
struct scan_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define SCAN _IOWR('f', 16, struct scan_arg)
#define SCAN_HUGE 64

/*
 * How many KiB are mapped by PMDs in a range. -1: this kernel does not tell. Of PMDs that core mm
 * does not count smaps knows nothing.
 */
static long scan_pmds(pid_t pid, unsigned long start, unsigned long end)
{
	struct scan_region regions[64];
	struct scan_arg arg = {
		.size = sizeof(arg), .start = start, .end = end, .vec = (uintptr_t)regions,
		.vec_len = ARRAY_SIZE(regions), .category_mask = SCAN_HUGE,
		.return_mask = SCAN_HUGE,
	};
	char name[64];
	long sum = 0;
	int fd, i, n;

	snprintf(name, sizeof(name), "/proc/%d/pagemap", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = ioctl(fd, SCAN, &arg);
	for (i = 0; i < n; i++)
		sum += (regions[i].end - regions[i].start) >> 10;
	close(fd);
	return n < 0 ? n : sum;
}

/*
 * How many KiB are mapped by PMDs in the VMA that an address is in. -1: there is none. What was
 * imported counts as anonymous memory.
 */
long pmd_mapped(pid_t pid, const char *p)
{
	unsigned long start, end;
	bool found = false;
	char line[256];
	long anon = 0, kib = -1, scanned;
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/smaps", pid);
	f = fopen(line, "r");
	while (f && kib < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			found = (unsigned long)p >= start && (unsigned long)p < end;
			scanned = found ? scan_pmds(pid, start, end) : -1;
			if (scanned >= 0)
				kib = scanned;
		} else if (found && sscanf(line, "AnonHugePages: %ld", &anon) != 1 &&
			   sscanf(line, "FilePmdMapped: %ld", &kib) != 1) {
			continue;
		}
	}
	if (f)
		fclose(f);
	return kib < 0 ? kib : anon + kib;
}

long ep_pmds(const struct ep *ep, const char *p)
{
	return pmd_mapped(ep->sock < 0 ? getpid() : ep->pid, p) / 2048;
}

static long call_hidden_pmds(struct ep *ep, struct call *c)
{
	char text[64];

	(void)ep;
	snprintf(text, sizeof(text), "0x%lx 0x%lx", (unsigned long)c->addr,
		 (unsigned long)(c->n * psize));
	file_write(PMDS, text);
	return file_number(PMDS, NULL);
}

/* As ep_pmds(), of so many pages that core mm tells nobody of. */
long ep_hidden_pmds(struct ep *ep, const char *p, size_t npages)
{
	struct call c = { .fn = call_hidden_pmds, .addr = (uintptr_t)p, .n = npages };

	return ep_call(ep, &c);
}

/* A window for what nobody can hold, at a multiple of 2 MiB, beside the other. */
static long call_map_unpinnable(struct ep *ep, struct call *c)
{
	const size_t block = HUGE_PAGES * psize;
	void *p;

	p = mmap(NULL, ep->npages * psize + block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = (void *)(((uintptr_t)p + block - 1) & ~(block - 1));
	p = mmap(p, ep->npages * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ep->fd,
		 ZCIPC_WINDOW_OFFSET_UNPINNABLE);
	c->addr = (uintptr_t)p;
	return p == MAP_FAILED ? -1 : 0;
}

int ep_map_unpinnable(struct ep *ep, char **window)
{
	struct call c = { .fn = call_map_unpinnable };

	if (ep_call(ep, &c))
		return -1;
	*window = ep->sock < 0 ? (char *)(uintptr_t)c.addr : NULL;
	return 0;
}

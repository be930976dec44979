// SPDX-License-Identifier: GPL-2.0
/*
 * What the mechanisms and zcipc-bench.c are made with. Calls neither.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base.h"

const char *running = "start";
size_t running_len;

int complain(const char *fmt, ...)
{
	/* A limit that a user has is no fault of ours. */
	const bool limit = errno == ENOMEM || errno == EDQUOT;
	int error = errno;
	va_list args;

	fprintf(stderr, "# %s%s, %zu KiB: ", limit ? "SKIP " : "zcipc-bench: ", running,
		running_len >> 10);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(error));
	return limit ? SKIPPED : 1;
}

void post(__u32 *turn, __u32 n)
{
	__atomic_store_n(turn, n, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void await(__u32 *turn, __u32 n)
{
	__u32 seen;

	while ((seen = __atomic_load_n(turn, __ATOMIC_SEQ_CST)) < n)
		syscall(SYS_futex, turn, FUTEX_WAIT, seen, NULL, NULL, 0);
}

void barrier(__u32 reached[2], int me)
{
	__u32 n = reached[me] + 1;

	post(&reached[me], n);
	await(&reached[!me], n);
}

char *private_memory(size_t len, bool huge)
{
	/* Not at the same distance from a huge page each time: emulated TLBs have but one way. */
	static size_t apart;
	size_t skip = huge ? 0 : (++apart & 15) * PAGE;
	const size_t room = len + 2 * HUGE_PAGE;
	char *all = mmap(NULL, room, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p;

	if (all == MAP_FAILED)
		die("mmap of %zu bytes", len);
	p = (char *)(((unsigned long)all + HUGE_PAGE) & ~(HUGE_PAGE - 1)) + skip;
	munmap(all, p - all);
	munmap(p + len, all + room - (p + len));
	madvise(p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (madvise(p, len, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE of %zu bytes", len);
	return p;
}

char *shared_memory(size_t len)
{
	char *p = mmap(NULL, len ? len : PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap of %zu bytes", len);
	return p;
}

void stamp(char *p, size_t npages, __u64 seq, size_t step)
{
	size_t i;

	for (i = 0; i < npages; i += step)
		*(volatile __u64 *)(p + i * PAGE) = (seq << 20) + i;
}

size_t touch(const char *p, size_t npages, __u64 seq)
{
	size_t i, bad = 0;

	for (i = 0; i < npages; i++)
		bad += *(const volatile __u64 *)(p + i * PAGE) != (seq << 20) + i;
	return bad;
}

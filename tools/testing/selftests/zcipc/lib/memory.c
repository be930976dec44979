// SPDX-License-Identifier: GPL-2.0-only
#include "memory.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <linux/zcipc.h>

size_t psize;
size_t huge_pages;
__u64 *words;

__thread sigjmp_buf touch_env;
__thread volatile sig_atomic_t touching;

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

int touch_read(const void *p, __u64 *val)
{
	int sig = sigsetjmp(touch_env, 0);

	if (!sig) {
		touching = 1;
		*val = *(const volatile __u64 *)p;
	}
	touching = 0;
	return sig;
}

int touch_write(void *p, __u64 val)
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
__u64 pattern(__u64 seed, size_t page, size_t word)
{
	return seed << 48 | (__u64)page << 16 | word | 1ULL << 40;
}

size_t sample(unsigned int i)
{
	static const size_t at[SAMPLES] = { 0, 1, 100, 511 };

	return at[i];
}

int fill(char *p, size_t npages, __u64 seed)
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
int check(const char *p, size_t first, size_t npages, __u64 seed)
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

char *anonymous(size_t npages)
{
	return mmap(NULL, npages * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
}

char *memory_touched(size_t npages)
{
	char *p = anonymous(npages);

	fill(p, npages, 1);
	return p;
}

/* How many there are in a range, or, with a @name, how many that have it. */
long mappings(const char *start, const char *end, const char *name)
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
bool is_adopted(const char *p)
{
	return mappings(p, p + 1, ZCIPC_DEVICE);
}

/* The zero page, where a huge one is not in its place. */
char *memory_read(size_t npages)
{
	char *p = anonymous(npages);

	check(p, 0, npages, 0);
	return p;
}

/* Copy-on-write with a child that is still there. Ends with the test. */
char *memory_forked(size_t npages)
{
	char *p = memory_touched(npages);

	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		syscall(SYS_close_range, 3, ~0U, 0);
		pause();
		_exit(0);
	}
	return p;
}

/* Many mappings side by side. */
char *memory_mixed(size_t npages)
{
	char *p = memory_touched(npages);
	size_t i;

	for (i = 0; i < npages; i += 3)
		madvise(p + i * psize, psize, MADV_DONTFORK);
	return p;
}

char *memory_locked(size_t npages)
{
	char *p = memory_touched(npages);

	mlock(p, npages * psize);
	return p;
}

/* Not all of a huge page. */
char *memory_huge(size_t npages)
{
	char *p = anonymous(3 * HUGE / psize);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, HUGE, MADV_HUGEPAGE);
	p += 16 * psize;
	fill(p, npages, 1);
	return p;
}

/* Brought to swap, if there is any, and back by whoever looks. */
char *memory_paged_out(size_t npages)
{
	char *p = memory_touched(npages);

	madvise(p, npages * psize, MADV_PAGEOUT);
	return p;
}

/* Whatever malloc() gives. */
char *memory_malloc(size_t npages)
{
	void *p = NULL;

	if (posix_memalign(&p, psize, npages * psize))
		return NULL;
	fill(p, npages, 1);
	return p;
}

/* Is one of the letters of VmFlags in smaps, with blanks around it, said of a mapping? */
bool has_vm_flag(const char *p, const char *flag)
{
	unsigned long start, end;
	bool here = false, found = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)p >= start && (uintptr_t)p < end;
		else
			found = here && !strncmp(line, "VmFlags:", 8) && strstr(line, flag);
	}
	if (f)
		fclose(f);
	return found;
}

/* Memory of its own, between what cannot be touched. */
char *guarded(size_t npages)
{
	char *p = mmap(NULL, (npages + 2) * psize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p += psize;
	if (mmap(p, npages * psize, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return NULL;
	return p;
}

void guarded_free(char *p, size_t npages)
{
	munmap(p - psize, (npages + 2) * psize);
}

/* A huge page, between what cannot be touched. */
char *guarded_huge(void)
{
	char *p = mmap(NULL, 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start = (char *)(((uintptr_t)p + psize + HUGE - 1) & ~(HUGE - 1));

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, start - psize - p);
	munmap(start + HUGE + psize, p + 2 * HUGE - start - psize);
	if (mmap(start, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		return NULL;
	madvise(start, HUGE, MADV_HUGEPAGE);
	return start;
}

char *guarded_huge_filled(size_t npages)
{
	char *p = guarded_huge();

	if (p)
		fill(p, npages, 1);
	return p;
}

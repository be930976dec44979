// SPDX-License-Identifier: GPL-2.0-only
#include "memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

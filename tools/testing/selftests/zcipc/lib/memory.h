/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory: accesses that may fault, what it is filled with, and memory of the kinds that tests need.
 */
#ifndef __SELFTEST_ZCIPC_MEMORY
#define __SELFTEST_ZCIPC_MEMORY

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/types.h>

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

extern size_t psize;

/* Pages of what one PMD maps: a huge frame, or a huge page of core mm's. */
extern size_t huge_pages;

/* What a test takes them to be. With larger pages, which are 32 MiB or more, it needs much more. */
#define HUGE_PAGES	512

/* That of x86, in bytes. */
#define HUGE		(2UL << 20)

/* For words on their way to a peer, or from one: memory that all processes of a test share. */
#define WORDS		8192
extern __u64 *words;

/* For other accesses: while @touching is set, a signal goes where sigsetjmp() was called. */
extern __thread sigjmp_buf touch_env;
extern __thread volatile sig_atomic_t touching;

/* Each returns 0, or the signal that the access raised. */
int touch_read(const void *p, __u64 *val);
int touch_write(void *p, __u64 val);

/* First, last and some other words of a page: these are filled, and checked. */
#define SAMPLES		4
size_t sample(unsigned int i);
__u64 pattern(__u64 seed, size_t page, size_t word);
int fill(char *p, size_t npages, __u64 seed);
int check(const char *p, size_t first, size_t npages, __u64 seed);

char *anonymous(size_t npages);
char *memory_touched(size_t npages);
char *memory_read(size_t npages);
char *memory_forked(size_t npages);
char *memory_mixed(size_t npages);
char *memory_locked(size_t npages);
char *memory_huge(size_t npages);
char *memory_paged_out(size_t npages);
char *memory_malloc(size_t npages);

/* Between what cannot be touched. */
char *guarded(size_t npages);
char *guarded_huge(void);
char *guarded_huge_filled(size_t npages);
void guarded_free(char *p, size_t npages);

/* The mappings of this process. */
long mappings(const char *start, const char *end, const char *name);
bool is_adopted(const char *p);
bool has_vm_flag(const char *p, const char *flag);

#endif

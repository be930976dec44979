/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model of zcipc_random.c: areas of memory, what is in them, who else has some of it, and what
 * is done to them between transfers.
 */
#ifndef __SELFTEST_RANDOM_AREAS
#define __SELFTEST_RANDOM_AREAS

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include "lib/peer.h"

#define SENDS		1000		/* of an episode */
#define AREAS		10
#define MAX_SEND	257		/* pages */
#define MAX_AREA	512
#define STACK_PAGES	24

/*
 * The arena has a lot for each area, one for the scratch area, and a margin behind. A lot begins
 * with a margin, which belongs to the neighbour. It is far from where the kernel puts things, so
 * that nobody else gets what is unmapped in it.
 */
#define ARENA		0x100000000000UL
#define LOT		1024UL
#define MARGIN		64UL
#define LOTS		(AREAS + 1)
#define SCRATCH		((char *)ARENA + (AREAS * LOT + MARGIN) * psize)
#define SCRATCH_PAGES	48

/* --- memory: what it is, and what is in it */

enum state { PLAIN, NOSTAY, FOREIGN, RDONLY, NONE, HOLE, REGION, DEAD };

/* What somebody, or several who share it, should find. */
struct mem {
	unsigned int refs;
	size_t npages;
	char *bytes;
	bool *gone;
};

/* A region that the sender has, adopted in an area, or in its window. */
struct home {
	struct mem *mem;
	__u64 cap;			/* 0: it goes with the mapping */
	size_t first;			/* page of the area */
	size_t mapped;			/* how many pages still are */
};

struct page {
	enum state state;
	struct home *home;
};

struct area;

/* What an area is at first. */
struct kind {
	const char *name;
	void (*make)(struct area *a);
	bool fixed;			/* its mapping must stay as it is */
};

struct area {
	const struct kind *kind;
	char *lot;
	char *base;
	char *malloced;
	__u64 cap;			/* of a foreign window */
	size_t npages;
	bool locked;
	bool huge;			/* perhaps, in parts */
	struct mem *mem;		/* of what is no region */
	struct page pages[MAX_AREA];
};

extern struct area areas[AREAS];
extern unsigned int nhomes;
extern bool loose;			/* others are there */
extern char *stack;			/* pages of the caller's */

struct mem *mem_new(size_t npages);
char *bytes_of(const struct area *a, size_t page);
bool is_gone(const struct area *a, size_t page);
int read_sig(const struct area *a, size_t page);
int compare(const char *p, const char *want, size_t n);
void area_check(const struct area *a, size_t first, size_t npages);
void margin_check(const char *lot);

/* --- endpoints, and what they have received */

enum { HERE, THERE, ELSEWHERE, RECEIVERS, NO_ROOM = RECEIVERS, FULL, GONE, PEERS };

/* Room in the window for that many of any size, however they are placed. */
#define ITEMS		40
#define WINDOW		((2 * ITEMS + 2) * (MAX_SEND + 1))

struct item {
	struct ep *ep;
	__u64 cap;
	char *p;			/* the first page */
	struct mem *mem;
	size_t first;
	size_t npages;
	bool writable;
	bool shared;
};

extern struct ep sender, peers[PEERS], scratch_ep;
extern struct item items[RECEIVERS][ITEMS];
extern unsigned int nitems[RECEIVERS];
extern unsigned int refuse[PEERS];

/* In memory that all processes have: what is to be compared, or written. */
extern char *desk;

/* That many are compared at once. */
#define RANGES		8

void items_check(const struct item *item, unsigned int n);
void item_write(struct item *item);
void item_drop(struct item *item);
struct item *any_item(void);
bool is_shared(const struct mem *mem, size_t first, size_t npages);

/* --- what becomes of pages of an area */

void home_die(struct area *a, struct home *home);
void set_state(struct area *a, size_t first, size_t npages, enum state state);
struct home *adopt(struct area *a, size_t first, size_t npages, __u64 cap);
struct home *home_of(const struct area *a, size_t first, size_t npages);
size_t predict(const struct area *a, size_t first, size_t npages, bool stay, bool copy);

/* --- children */

extern unsigned int nchildren;

void child_start(void);
void child_end(unsigned int i);

/* --- what is done to areas between transfers */

void map_at(char *p, size_t npages, int prot, int flags, int fd);
bool is_foreign(const struct area *a, size_t first, size_t npages);

/* --- kinds of areas: what they are at first */

void area_change(struct area *a);
void area_renew(struct area *a);
void area_new(struct area *a);
void area_delete(struct area *a);

#endif

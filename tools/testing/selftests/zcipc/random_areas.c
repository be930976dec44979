// SPDX-License-Identifier: GPL-2.0-only
#include "random_areas.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/zcipc.h>

#include "kselftest.h"
#include "lib/calls.h"
#include "lib/chance.h"
#include "lib/memory.h"

/* --- memory: what it is, and what is in it */

/*
 * Why it cannot be taken away, and why it cannot be adopted; which signals accesses raise. Pages of
 * a REGION may have been moved away. DEAD ones have been a region's that is gone.
 */
static const struct {
	const char *name;
	int no_move;
	int no_stay;
	int read_sig;
	int write_sig;
} states[] = {
	[PLAIN] = { "plain", 0, 0, 0, 0 },
	[NOSTAY] = { "stack or code", 0, EOPNOTSUPP, 0, 0 },
	[FOREIGN] = { "foreign", EOPNOTSUPP, EOPNOTSUPP, 0, 0 },
	[RDONLY] = { "read-only", EACCES, EACCES, 0, SIGSEGV },
	[NONE] = { "no access", EACCES, EACCES, SIGSEGV, SIGSEGV },
	[HOLE] = { "hole", EFAULT, EFAULT, SIGSEGV, SIGSEGV },
	[REGION] = { "region", EOPNOTSUPP, EOPNOTSUPP, 0, 0 },
	[DEAD] = { "dead", EOPNOTSUPP, EOPNOTSUPP, SIGBUS, SIGBUS },
};

#define BIT(state)	(1U << (state))
#define ANY		(BIT(DEAD + 1) - 1)
#define OWN		(BIT(PLAIN) | BIT(RDONLY) | BIT(NONE))

struct area areas[AREAS];
unsigned int nhomes;
bool loose;
char *stack;

struct mem *mem_new(size_t npages)
{
	struct mem *mem = malloc(sizeof(*mem));

	*mem = (struct mem){
		.refs = 1, .npages = npages, .bytes = calloc(npages, psize),
		.gone = calloc(npages, sizeof(bool)),
	};
	return mem;
}

static void mem_put(struct mem *mem)
{
	if (--mem->refs)
		return;
	free(mem->bytes);
	free(mem->gone);
	free(mem);
}

/* Never what threads write: see tag(). */
static void random_bytes(char *p, size_t n)
{
	__u64 word = 0;
	size_t i;

	for (i = 0; i < n; i++, word >>= 8) {
		word = i % 8 ? word : rnd();
		p[i] = word & 0x7f;
	}
}

static char *at(const struct area *a, size_t page)
{
	return a->base + page * psize;
}

char *bytes_of(const struct area *a, size_t page)
{
	const struct home *home = a->pages[page].home;

	return home ? home->mem->bytes + (page - home->first) * psize :
		      a->mem->bytes + page * psize;
}

/* A page of a region that has been moved away. */
bool is_gone(const struct area *a, size_t page)
{
	const struct home *home = a->pages[page].home;

	return home && home->mem->gone[page - home->first];
}

int read_sig(const struct area *a, size_t page)
{
	return is_gone(a, page) ? SIGBUS : states[a->pages[page].state].read_sig;
}

static int write_sig(const struct area *a, size_t page)
{
	return is_gone(a, page) ? SIGBUS : states[a->pages[page].state].write_sig;
}

/* 0: they are the same. -1: they are not. Else: the signal. */
int compare(const char *p, const char *want, size_t n)
{
	int sig = sigsetjmp(touch_env, 0);

	if (!sig) {
		touching = 1;
		sig = memcmp(p, want, n) ? -1 : 0;
	}
	touching = 0;
	return sig;
}

/* 0, or the signal. */
static int store(char *p, const char *bytes, size_t n)
{
	int sig = sigsetjmp(touch_env, 0);

	if (!sig) {
		touching = 1;
		memcpy(p, bytes, n);
	}
	touching = 0;
	return sig;
}

/* Is everything as it should be? */
void area_check(const struct area *a, size_t first, size_t npages)
{
	size_t i, k;

	for (i = first; i < first + npages && !failed; i++) {
		int want = read_sig(a, i), sig;

		sig = compare(at(a, i), bytes_of(a, i), psize);
		for (k = 0; sig < 0 && k < psize - 1 && at(a, i)[k] == bytes_of(a, i)[k];)
			k++;
		CHECK(sig != -1 || want, "%s %p page %zu (%s) byte %zu: %#x, not %#x",
		      a->kind->name, a->base, i, states[a->pages[i].state].name, k,
		      at(a, i)[k] & 0xff, bytes_of(a, i)[k] & 0xff);
		CHECK(sig == want, "%s %p page %zu (%s): signal %d, not %d", a->kind->name,
		      a->base, i, states[a->pages[i].state].name, sig, want);
	}
}

/* The neighbour has what it was given. */
void margin_check(const char *lot)
{
	CHECK(!check(lot, 0, MARGIN, 7), "margin of %p", lot);
}

static void area_write(struct area *a, size_t first, size_t npages)
{
	static char text[4096];
	size_t i;

	for (i = first; i < first + npages && !failed; i++) {
		size_t from = percent(50) ? 0 : below(psize), n = 1 + below(psize - from);
		int want = write_sig(a, i), sig;

		random_bytes(text, n);
		sig = store(at(a, i) + from, text, n);
		CHECK(sig == want, "writing %s %p page %zu (%s): signal %d, not %d",
		      a->kind->name, a->base, i, states[a->pages[i].state].name, sig, want);
		if (!sig)
			memcpy(bytes_of(a, i) + from, text, n);
	}
}

/* --- endpoints, and what they have received */

struct ep sender, peers[PEERS], scratch_ep;
struct item items[RECEIVERS][ITEMS];
unsigned int nitems[RECEIVERS];
unsigned int refuse[PEERS] = { [NO_ROOM] = ENOBUFS, [FULL] = EAGAIN, [GONE] = ESRCH };

char *desk;

/* Several ranges, with what should be there one after the other. 0, or the number of one. */
static long call_compare(struct ep *ep, struct call *c)
{
	struct { __u64 addr, n; } ranges[RANGES];
	const char *want = desk;
	unsigned int i;

	(void)ep;
	memcpy(ranges, c->cmd, sizeof(ranges));
	for (i = 0; i < c->n; i++) {
		c->val = compare((char *)(uintptr_t)ranges[i].addr, want, ranges[i].n);
		if (c->val)
			return i + 1;
		want += ranges[i].n;
	}
	return 0;
}

static long call_store(struct ep *ep, struct call *c)
{
	(void)ep;
	return store((char *)(uintptr_t)c->addr, desk, c->n);
}

/* All of one endpoint, up to RANGES. */
void items_check(const struct item *item, unsigned int n)
{
	struct { __u64 addr, n; } ranges[RANGES];
	struct call c = { .fn = call_compare, .n = n };
	char *want = desk;
	unsigned int i;
	long rc;

	for (i = 0; i < n; i++) {
		ranges[i].addr = (uintptr_t)item[i].p;
		ranges[i].n = item[i].npages * psize;
		memcpy(want, item[i].mem->bytes + item[i].first * psize, ranges[i].n);
		want += ranges[i].n;
	}
	memcpy(c.cmd, ranges, n * sizeof(ranges[0]));
	rc = ep_call(item->ep, &c);
	CHECK(rc >= 0, "peer: %s", strerror(errno));
	CHECK(rc <= 0, "%zu pages that endpoint %ld received at %p: %d", item[rc - 1].npages,
	      (long)(item->ep - peers), item[rc - 1].p, (int)c.val);
}

void item_write(struct item *item)
{
	size_t from = below(item->npages * psize);
	struct call c = { .fn = call_store, .addr = (uintptr_t)item->p + from,
			  .n = 1 + below(item->npages * psize - from) };
	int rc;

	random_bytes(desk, c.n);
	rc = ep_call(item->ep, &c);
	CHECK(rc == (item->writable ? 0 : SIGBUS), "writing what was received at %p: %d", item->p,
	      rc);
	if (!rc)
		memcpy(item->mem->bytes + item->first * psize + from, desk, c.n);
}

void item_drop(struct item *item)
{
	unsigned int peer = item->ep - peers;

	CHECK(!zc_drop(item->ep, item->cap), "drop: %s", strerror(errno));
	mem_put(item->mem);
	*item = items[peer][--nitems[peer]];
}

struct item *any_item(void)
{
	unsigned int peer = below(RECEIVERS);

	return nitems[peer] ? &items[peer][below(nitems[peer])] : NULL;
}

/* Has anybody else a capability for pages of it? */
bool is_shared(const struct mem *mem, size_t first, size_t npages)
{
	unsigned int peer, i;

	for (peer = 0; peer < RECEIVERS; peer++) {
		for (i = 0; i < nitems[peer]; i++) {
			const struct item *item = &items[peer][i];

			if (item->shared && item->mem == mem && item->first < first + npages &&
			    first < item->first + item->npages)
				return true;
		}
	}
	return false;
}

/* --- what becomes of pages of an area */

/* A page of a region is not mapped any more. */
static void home_leave(struct home *home)
{
	if (--home->mapped)
		return;
	if (home->cap)
		CHECK(!zc_drop(&sender, home->cap), "drop: %s", strerror(errno));
	mem_put(home->mem);
	free(home);
	nhomes--;
}

/* The capability is gone. The mapping stays, and shows nothing. */
void home_die(struct area *a, struct home *home)
{
	size_t i;

	for (i = 0; i < a->npages; i++)
		if (a->pages[i].home == home)
			a->pages[i] = (struct page){ .state = DEAD };
	mem_put(home->mem);
	free(home);
	nhomes--;
}

void set_state(struct area *a, size_t first, size_t npages, enum state state)
{
	size_t i;

	for (i = first; i < first + npages; i++) {
		struct home *home = a->pages[i].home;

		a->pages[i] = (struct page){ .state = state };
		if (home)
			home_leave(home);
	}
}

static void area_zero(struct area *a, size_t first, size_t npages)
{
	memset(a->mem->bytes + first * psize, 0, npages * psize);
}

struct home *adopt(struct area *a, size_t first, size_t npages, __u64 cap)
{
	struct home *home = malloc(sizeof(*home));
	size_t i;

	*home = (struct home){ .mem = mem_new(npages), .cap = cap, .first = first,
			       .mapped = npages };
	memcpy(home->mem->bytes, bytes_of(a, first), npages * psize);
	for (i = first; i < first + npages; i++)
		a->pages[i] = (struct page){ .state = REGION, .home = home };
	nhomes++;
	return home;
}

/* The region that all of a range is in, or NULL. */
struct home *home_of(const struct area *a, size_t first, size_t npages)
{
	struct home *home = a->pages[first].home;
	size_t i;

	for (i = first; i < first + npages; i++)
		if (a->pages[i].home != home)
			return NULL;
	return home;
}

/*
 * Notes why memory that is no region cannot be taken away or adopted. If that is to be @copied,
 * there is no other reason than that it cannot be read. Returns how much has to be copied.
 */
size_t predict(const struct area *a, size_t first, size_t npages, bool stay, bool copy)
{
	size_t i, n = 0;

	for (i = first; i < first + npages; i++) {
		enum state state = a->pages[i].state;
		int err = stay ? states[state].no_stay : states[state].no_move;

		if (err && copy)
			n = npages;
		if (err && (!copy || read_sig(a, i)))
			fails(copy ? EFAULT : err);
	}
	return n;
}

/* --- children */

#define CHILDREN	3

static struct { pid_t pid; int fd; } children[CHILDREN];
unsigned int nchildren;

/*
 * A child has a copy of the model too. What was its parent's own memory is its own now, and nothing
 * of a region is left. It has nobody to tell whose fault that was.
 */
static void child_check(void)
{
	struct area *a;
	size_t i;

	for (a = areas; a < areas + AREAS; a++) {
		for (i = 0; i < a->npages; i++) {
			enum state state = a->pages[i].state;

			if (state == FOREIGN)
				continue;
			if (state == REGION || state == DEAD)
				a->pages[i] = (struct page){ .state = HOLE };
			area_check(a, i, 1);
		}
	}
}

void child_start(void)
{
	int fds[2];
	pid_t pid;
	char byte;

	if (nchildren == CHILDREN || pipe2(fds, O_CLOEXEC))
		return;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[0], 3);
		syscall(SYS_close_range, 4, ~0U, 0);
		if (read(3, &byte, 1) == 1)
			child_check();
		_exit(failed);
	}
	close(fds[0]);
	children[nchildren].pid = pid;
	children[nchildren++].fd = fds[1];
}

void child_end(unsigned int i)
{
	int status = -1;

	CHECK(write(children[i].fd, "", 1) == 1, "child");
	CHECK(waitpid(children[i].pid, &status, 0) == children[i].pid && !status,
	      "what a child had is not what it was: status %#x", status);
	close(children[i].fd);
	children[i] = children[--nchildren];
}

/* --- what is done to areas between transfers */

void map_at(char *p, size_t npages, int prot, int flags, int fd)
{
	char *got = mmap(p, npages * psize, prot, flags | MAP_FIXED, fd, 0);

	CHECK(got != MAP_FAILED, "mmap: %s", strerror(errno));
}

static void map_fresh(struct area *a, size_t first, size_t npages)
{
	map_at(at(a, first), npages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	set_state(a, first, npages, PLAIN);
	area_zero(a, first, npages);
}

static void map_file(struct area *a, size_t first, size_t npages, int flags)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC);

	CHECK(!ftruncate(fd, npages * psize), "memfd: %s", strerror(errno));
	map_at(at(a, first), npages, PROT_READ | PROT_WRITE, flags, fd);
	close(fd);
	set_state(a, first, npages, FOREIGN);
	area_zero(a, first, npages);
}

static void map_shared_file(struct area *a, size_t first, size_t npages)
{
	map_file(a, first, npages, MAP_SHARED);
}

static void map_private_file(struct area *a, size_t first, size_t npages)
{
	map_file(a, first, npages, MAP_PRIVATE);
}

static void unmap(struct area *a, size_t first, size_t npages)
{
	CHECK(!munmap(at(a, first), npages * psize), "munmap: %s", strerror(errno));
	set_state(a, first, npages, HOLE);
}

static void protect(struct area *a, size_t first, size_t npages, int prot, enum state state)
{
	CHECK(!mprotect(at(a, first), npages * psize, prot), "mprotect: %s", strerror(errno));
	set_state(a, first, npages, state);
}

static void make_read_only(struct area *a, size_t first, size_t npages)
{
	protect(a, first, npages, PROT_READ, RDONLY);
}

static void make_none(struct area *a, size_t first, size_t npages)
{
	protect(a, first, npages, PROT_NONE, NONE);
}

static void make_plain(struct area *a, size_t first, size_t npages)
{
	protect(a, first, npages, PROT_READ | PROT_WRITE, PLAIN);
}

static void make_code(struct area *a, size_t first, size_t npages)
{
	protect(a, first, npages, PROT_READ | PROT_WRITE | PROT_EXEC, NOSTAY);
}

static bool is_region(const struct area *a, size_t page)
{
	return a->pages[page].state == REGION || a->pages[page].state == DEAD;
}

/* Does nothing to regions, is refused for adopted memory, and where memory is locked. */
static void discard(struct area *a, size_t first, size_t npages)
{
	size_t i, end = first + npages;

	if (a->locked)
		return;
	for (; first < end; first = i) {
		for (i = first + 1; i < end && is_region(a, i) == is_region(a, first); i++)
			;
		CHECK(!madvise(at(a, first), (i - first) * psize, MADV_DONTNEED) ||
		      (is_region(a, first) && errno == EINVAL), "madvise: %s", strerror(errno));
		if (!is_region(a, first))
			area_zero(a, first, i - first);
	}
}

static void lock(struct area *a, size_t first, size_t npages)
{
	CHECK(!mlock(at(a, first), npages * psize), "mlock: %s", strerror(errno));
	a->locked = true;
}

static void page_out(struct area *a, size_t first, size_t npages)
{
	/* Refused where memory is locked. */
	madvise(at(a, first), npages * psize, MADV_PAGEOUT);
}

static void split(struct area *a, size_t first, size_t npages)
{
	CHECK(!madvise(at(a, first), npages * psize, MADV_DONTDUMP), "madvise: %s",
	      strerror(errno));
}

static void make_huge(struct area *a, size_t first, size_t npages)
{
	/* Refused where the kernel has none. */
	a->huge = true;
	madvise(at(a, first), npages * psize, MADV_HUGEPAGE);
}

static void look(struct area *a, size_t first, size_t npages)
{
	area_check(a, first, npages);
}

/* What others can reach is shared in another way, which is not this model's: see zcipc_files. */
bool is_foreign(const struct area *a, size_t first, size_t npages)
{
	size_t i;

	for (i = first; i < first + npages; i++)
		if (a->pages[i].state == FOREIGN)
			return true;
	return false;
}

static void import(struct area *a, size_t first, size_t npages)
{
	struct zcipc_region_import cmd = {
		.size = sizeof(cmd), .addr = (uintptr_t)at(a, first), .len = npages * psize,
	};

	if (is_foreign(a, first, npages))
		return;
	predict(a, first, npages, true, false);
	if (as_expected(zc_ioctl(&sender, ZCIPC_IOC_REGION_IMPORT, &cmd)))
		adopt(a, first, npages, cmd.cap);
}

static void kind_window(struct area *a);

/* Gives a region up that is still mapped. Adopted memory stays, and goes with its mapping. */
static void drop_home(struct area *a, size_t first, size_t npages)
{
	struct home *home = a->pages[first].home;

	(void)npages;
	if (!home || !home->cap)
		return;
	CHECK(!zc_drop(&sender, home->cap), "drop: %s", strerror(errno));
	home->cap = 0;
	if (a->kind->make == kind_window)
		home_die(a, home);
}

/* @states: which all pages must have. @remaps: what must not happen to some areas. */
static const struct change {
	const char *name;
	void (*fn)(struct area *a, size_t first, size_t npages);
	unsigned int states;
	bool remaps;
} changes[] = {
	{ "write", area_write, ANY, false },
	{ "look", look, ANY, false },
	{ "write", area_write, ANY, false },
	{ "import", import, ANY, false },
	{ "drop", drop_home, ANY, false },
	{ "discard", discard, OWN | BIT(NOSTAY) | BIT(REGION) | BIT(DEAD), false },
	{ "lock", lock, BIT(PLAIN), false },
	{ "page out", page_out, BIT(PLAIN) | BIT(RDONLY), false },
	{ "fresh", map_fresh, ANY, true },
	{ "fresh", map_fresh, ANY, true },
	{ "fresh", map_fresh, ANY, true },
	{ "fresh", map_fresh, ANY, true },
	{ "unmap", unmap, ANY, true },
	{ "shared file", map_shared_file, ANY, true },
	{ "private file", map_private_file, ANY, true },
	{ "read-only", make_read_only, OWN, true },
	{ "none", make_none, OWN, true },
	{ "plain", make_plain, OWN, true },
	{ "code", make_code, BIT(PLAIN), true },
	{ "split", split, OWN, true },
	{ "huge", make_huge, OWN, true },
};

/* --- kinds of areas: what they are at first */

static void kind_untouched(struct area *a)
{
	(void)a;
}

static void kind_touched(struct area *a)
{
	area_write(a, 0, a->npages);
}

/* Zero pages. */
static void kind_read(struct area *a)
{
	area_check(a, 0, a->npages);
}

static void kind_huge(struct area *a)
{
	a->base = a->lot + (LOT - MAX_AREA) * psize;
	a->npages = MAX_AREA;
	mem_put(a->mem);
	a->mem = mem_new(MAX_AREA);
	map_fresh(a, 0, MAX_AREA);
	make_huge(a, 0, MAX_AREA);
	area_write(a, 0, MAX_AREA);
}

static void kind_mixed(struct area *a)
{
	size_t i;

	kind_touched(a);
	for (i = 0; i < a->npages; i += 3)
		split(a, i, 1);
}

static void kind_forked(struct area *a)
{
	kind_touched(a);
	child_start();
}

static void kind_locked(struct area *a)
{
	kind_touched(a);
	lock(a, 0, a->npages);
}

static void kind_malloced(struct area *a)
{
	a->malloced = malloc((a->npages + 1) * psize);
	a->base = (char *)(((uintptr_t)a->malloced + psize - 1) & ~(psize - 1));
	memset(a->base, 0, a->npages * psize);
	kind_touched(a);
}

static void kind_stack(struct area *a)
{
	a->npages = STACK_PAGES;
	a->base = (char *)(((uintptr_t)stack + psize - 1) & ~(psize - 1));
	memset(a->base, 0, a->npages * psize);
	set_state(a, 0, a->npages, NOSTAY);
	kind_touched(a);
}

static void kind_shared_file(struct area *a)
{
	map_shared_file(a, 0, a->npages);
	kind_touched(a);
}

static void kind_private_file(struct area *a)
{
	map_private_file(a, 0, a->npages);
	area_write(a, below(a->npages), 1);
}

static void kind_read_only(struct area *a)
{
	kind_touched(a);
	make_read_only(a, 0, a->npages);
}

static void kind_none(struct area *a)
{
	kind_touched(a);
	make_none(a, 0, a->npages);
}

static void kind_hole(struct area *a)
{
	kind_touched(a);
	unmap(a, below(a->npages), 1);
}

/* Several regions side by side, here and there with something else in between. */
static void kind_adopted(struct area *a)
{
	size_t i, n;

	kind_touched(a);
	for (i = 0; i < a->npages; i += n) {
		n = 1 + below(a->npages - i);
		if (percent(80))
			import(a, i, n);
	}
}

static void kind_window(struct area *a)
{
	struct buf buf = {};

	CHECK(!zc_create(&sender, a->npages, &buf), "create: %s", strerror(errno));
	a->base = buf.p;
	adopt(a, 0, a->npages, buf.cap);
	kind_touched(a);
}

/* Another endpoint's, which is in this process. */
static void kind_others_window(struct area *a)
{
	struct buf buf = {};

	CHECK(!zc_create(&peers[HERE], a->npages, &buf), "create: %s", strerror(errno));
	a->base = buf.p;
	a->cap = buf.cap;
	set_state(a, 0, a->npages, FOREIGN);
	kind_touched(a);
}

static void kind_patchwork(struct area *a)
{
	unsigned int i;

	kind_touched(a);
	for (i = 0; i < 30; i++)
		area_change(a);
}

static const struct kind kinds[] = {
	{ "touched", kind_touched, false },
	{ "untouched", kind_untouched, false },
	{ "untouched", kind_untouched, false },
	{ "read", kind_read, false },
	{ "huge", kind_huge, false },
	{ "huge", kind_huge, false },
	{ "mixed", kind_mixed, false },
	{ "mixed", kind_mixed, false },
	{ "forked", kind_forked, false },
	{ "forked", kind_forked, false },
	{ "locked", kind_locked, false },
	{ "locked", kind_locked, false },
	{ "malloced", kind_malloced, true },
	{ "malloced", kind_malloced, true },
	{ "stack", kind_stack, true },
	{ "shared file", kind_shared_file, false },
	{ "private file", kind_private_file, false },
	{ "read-only", kind_read_only, false },
	{ "none", kind_none, false },
	{ "hole", kind_hole, false },
	{ "adopted", kind_adopted, false },
	{ "adopted", kind_adopted, false },
	{ "window", kind_window, true },
	{ "other's window", kind_others_window, true },
	{ "patchwork", kind_patchwork, false },
};

void area_change(struct area *a)
{
	const struct change *change = changes + below(ARRAY_SIZE(changes));
	size_t first = below(a->npages), npages, i;

	npages = 1 + below(percent(90) ? 4 : a->npages);
	if (npages > a->npages - first)
		npages = a->npages - first;
	if (change->remaps && a->kind->fixed)
		return;
	for (i = first; i < first + npages; i++)
		if (!(change->states & BIT(a->pages[i].state)))
			return;
	note("%s: %s %p page %zu, %zu pages", change->name, a->kind->name, a->base, first, npages);
	change->fn(a, first, npages);
	nops++;
}

/* Its place in the window may be taken by another now. */
void area_renew(struct area *a)
{
	if (a->kind->make == kind_window && a->pages[0].state == DEAD) {
		area_delete(a);
		area_new(a);
	}
}

/* There is one stack only. */
static const struct kind *any_kind(void)
{
	const struct kind *kind = kinds + below(ARRAY_SIZE(kinds));
	size_t i;

	for (i = 0; i < AREAS && kind->make == kind_stack; i++)
		if (areas[i].kind == kind)
			kind = kinds;
	return kind;
}

void area_new(struct area *a)
{
	char *lot = (char *)ARENA + (a - areas) * LOT * psize;
	size_t npages = 16 + below(percent(80) ? 64 : 300);

	*a = (struct area){ .kind = any_kind(), .lot = lot, .npages = npages };
	a->mem = mem_new(MAX_AREA);
	/* With a neighbour in front of it or behind. */
	a->base = lot + (percent(50) ? MARGIN : LOT - npages) * psize;
	note("new: %s, %zu pages", a->kind->name, npages);
	if (!a->kind->fixed)
		map_fresh(a, 0, npages);
	a->kind->make(a);
	nops++;
}

void area_delete(struct area *a)
{
	note("delete: %s %p", a->kind->name, a->base);
	if (a->kind->make == kind_window) {
		drop_home(a, 0, a->npages);
	} else if (a->malloced) {
		/* As malloc() wants to have it. */
		map_fresh(a, 0, a->npages);
		free(a->malloced);
	} else if (!a->kind->fixed) {
		unmap(a, 0, a->npages);
	}
	if (a->cap)
		CHECK(!zc_drop(&peers[HERE], a->cap), "drop: %s", strerror(errno));
	mem_put(a->mem);
	a->npages = 0;
	nops++;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * What malloc() gave can be sent, and is memory that the allocator can use again.
 *
 * Allocators believe what the kernel says: what was discarded successfully is zero, and calloc()
 * hands it out as it is. Not all believe the same, so this is built once for each of them: the C
 * library's, with WITH_JEMALLOC jemalloc, with WITH_TCMALLOC tcmalloc.
 *
 * Guarantees: G7 no residue, G10 it is ordinary memory.
 * Attacks: 12 races with the owner, 19 kinds of memory.
 */
#include <malloc.h>
#include <sys/wait.h>

#ifdef WITH_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif
#ifdef WITH_TCMALLOC
/* The Makefile says how what it declares is called here. */
#include <gperftools/malloc_extension_c.h>
#endif

#include "zcipc_utils.h"

/* For the largest buffer, which need not begin with a page, and more than one of the others. */
#define PEER_PAGES	16384

static const size_t sizes[] = { 64UL << 10, 1UL << 20, 8UL << 20, 32UL << 20 };

/* So many of them are for tests that do more than one thing with each, so many for threads. */
#define SIZES_OFTEN	3
#define SIZES_THREADS	2

#define NTHREADS	4

/* --- what allocators can be asked, and told: bytes in use, and to give back the others */

#if defined(WITH_JEMALLOC)
static size_t in_use(void)
{
	__u64 now = 1;
	size_t n, size = sizeof(now);

	/* What it counts is up to date when somebody has written to this. */
	mallctl("epoch", NULL, NULL, &now, sizeof(now));
	size = sizeof(n);
	return mallctl("stats.allocated", &n, &size, NULL, 0) ? 0 : n;
}

static int give_back(void)
{
	char name[32];

	snprintf(name, sizeof(name), "arena.%d.purge", MALLCTL_ARENAS_ALL);
	return mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) ?:
	       mallctl(name, NULL, NULL, NULL, 0);
}
#elif defined(WITH_TCMALLOC)
static size_t in_use(void)
{
	size_t n;

	return tcmalloc_number("generic.current_allocated_bytes", &n) ? n : 0;
}

static int give_back(void)
{
	tcmalloc_flush();
	tcmalloc_release();
	return 0;
}
#else
static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static int give_back(void)
{
	malloc_trim(0);
	return 0;
}
#endif

/* --- what is in a buffer */

/*
 * The compiler knows what is in memory that calloc() gave, and that nobody reads what is written
 * before free(). It must not know that it is such memory.
 */
#define opaque __attribute__((noipa))

/* Each word says which one it is, of what. None is zero. */
static __u64 word_of(__u64 seed, size_t i)
{
	return seed << 48 | 1ULL << 40 | i;
}

static opaque void stamp(void *p, size_t len, __u64 seed)
{
	__u64 *words = p;
	size_t i;

	for (i = 0; i < len / sizeof(*words); i++)
		words[i] = word_of(seed, i);
}

/* How many bytes from @p on are as stamp() left them, where @first words are before @p. */
static opaque size_t stamped(const void *p, size_t len, size_t first, __u64 seed)
{
	const __u64 *words = p;
	size_t i;

	for (i = 0; i < len / sizeof(*words) && words[i] == word_of(seed, first + i); i++)
		;
	return i * sizeof(*words);
}

/* How many bytes from @p on are zero. */
static opaque size_t zeros(const void *p, size_t len)
{
	const __u64 *words = p;
	size_t i;

	for (i = 0; i < len / sizeof(*words) && !words[i]; i++)
		;
	return i * sizeof(*words);
}

static long call_stamped(struct ep *ep, struct call *c)
{
	(void)ep;
	return stamped((void *)(uintptr_t)c->addr, c->n, c->val2, c->val);
}

/* --- the ways to send a buffer */

enum sending {
	COPIED,			/* COPY from memory */
	SNAPSHOT,		/* the same, but the memory becomes a region for that */
	MOVED,			/* MOVE from memory */
	REVOKED,		/* imported, shared, revoked, and made ordinary */
	DROPPED,		/* imported, shared, and given up by both */
};

/**
 * struct sent - a buffer that was sent
 * @way: how
 * @p: where it is
 * @len: bytes
 * @inner: its whole pages, which alone can become a region
 * @npages: how many these are
 * @own: the owner's capability for @inner
 * @cap: the peer's
 * @got: where it is at the peer
 * @got_len: bytes
 * @first: words of the buffer before that
 */
struct sent {
	enum sending way;
	char *p;
	size_t len;
	char *inner;
	size_t npages;
	__u64 own;
	__u64 cap;
	char *got;
	size_t got_len;
	size_t first;
};

static bool is_imported(enum sending way)
{
	return way == REVOKED || way == DROPPED;
}

/* Does the buffer remain a region until it is made ordinary? */
static bool stays_region(enum sending way)
{
	return way == SNAPSHOT || way == DROPPED;
}

/* Sends and receives. */
static int zc_lend(struct ep *from, struct ep *to, enum sending way, __u32 flags, char *p,
		   size_t len, struct sent *s)
{
	char *inner = (char *)(((uintptr_t)p + psize - 1) & ~(psize - 1));
	struct zcipc_transfer cmd;
	struct zcipc_recv m;
	struct buf own;

	*s = (struct sent){
		.way = way, .p = p, .len = len, .got_len = len, .inner = inner,
		.npages = (p + len - inner) / psize,
	};
	if (is_imported(way)) {
		if (zc_import(from, inner, s->npages, &own) ||
		    zc_send_rights(from, to, ZCIPC_SHARE, own.cap, ZCIPC_RIGHT_READ))
			return -1;
		s->own = own.cap;
		s->got_len = s->npages * psize;
		s->first = (inner - p) / sizeof(__u64);
	} else {
		cmd = direct_cmd(to, way == MOVED ? ZCIPC_MOVE : ZCIPC_COPY, p, len,
				 ZCIPC_F_ANY_ALIGN | flags);
		if (way == COPIED)
			cmd.flags &= ~ZCIPC_F_IMPORT;
		if (zc_transfer(from, &cmd))
			return -1;
	}
	if (zc_recv(to, &m))
		return -1;
	s->got = (char *)(uintptr_t)m.addr;
	s->cap = m.cap;
	errno = EUCLEAN;
	return m.len == s->got_len ? 0 : -1;
}

/* How many bytes the peer has as they were sent. */
static long ep_stamped(struct ep *ep, const struct sent *s, __u64 seed)
{
	struct call c = { .fn = call_stamped, .addr = (uintptr_t)s->got, .n = s->got_len,
			  .val = seed, .val2 = s->first };

	return ep_call(ep, &c);
}

/* The memory is the allocator's and the program's own again, with the same contents. */
static int zc_own_again(struct ep *ep, const struct sent *s, __u64 cap)
{
	struct zcipc_region_ordinary cmd = { .size = sizeof(cmd), .cap = cap };

	if (!cap) {
		cmd.addr = (uintptr_t)s->inner;
		cmd.len = s->npages * psize;
	}
	return zc_ioctl(ep, ZCIPC_IOC_REGION_ORDINARY, &cmd);
}

/* Ends what was shared. What was sent the peer keeps. */
static int zc_settle(struct ep *from, struct ep *to, const struct sent *s)
{
	struct zcipc_recv m;
	__u64 n;

	if (!is_imported(s->way))
		return 0;
	if (s->way == DROPPED)
		return zc_drop(to, s->cap) ?: zc_drop(from, s->own);
	return zc_revoke(from, to, s->cap, 0, &n) ?: zc_recv(to, &m) ?:
	       ep_gone(to, s->got, s->npages) ?: zc_own_again(from, s, s->own) ?:
	       zc_drop(from, s->own);
}

FIXTURE(alloc)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_VARIANT(alloc)
{
	enum sending way;
};

FIXTURE_VARIANT_ADD(alloc, copied) { .way = COPIED };
FIXTURE_VARIANT_ADD(alloc, snapshot) { .way = SNAPSHOT };
FIXTURE_VARIANT_ADD(alloc, moved) { .way = MOVED };
FIXTURE_VARIANT_ADD(alloc, revoked) { .way = REVOKED };
FIXTURE_VARIANT_ADD(alloc, dropped) { .way = DROPPED };

FIXTURE_SETUP(alloc)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, 0);
	test_start(&self->b, true, PEER_PAGES);
}

FIXTURE_TEARDOWN_BASE(alloc)

/* A buffer that the peer has, or had, and which is as the interface says. The test writes to it. */
static char *sent_buffer(struct __test_metadata *_metadata, FIXTURE_DATA(alloc) *self,
			 enum sending way, size_t len, struct sent *s)
{
	size_t usable;
	char *p = malloc(len);

	ASSERT_NE(NULL, p);
	usable = malloc_usable_size(p);
	stamp(p, len, 1);
	TEST_OK(zc_lend(&self->a, &self->b, way, 0, p, len, s));
	ASSERT_EQ((long)s->got_len, ep_stamped(&self->b, s, 1));
	TEST_OK(zc_settle(&self->a, &self->b, s));
	ASSERT_EQ(stays_region(way), is_adopted(s->inner));
	ASSERT_EQ(stays_region(way), is_adopted(s->inner + (s->npages - 1) * psize));
	/* What the allocator keeps beside it is there, too. */
	ASSERT_EQ(usable, malloc_usable_size(p));
	ASSERT_EQ(len, way == MOVED ? zeros(p, len) : stamped(p, len, 0, 1));
	return p;
}

/* What the peer was sent is as it was, whatever has become of the buffer. */
static void end_sent(struct __test_metadata *_metadata, FIXTURE_DATA(alloc) *self,
		     const struct sent *s)
{
	if (!is_imported(s->way)) {
		ASSERT_EQ((long)s->len, ep_stamped(&self->b, s, 1));
		test_drop(&self->b, s->cap);
	}
	/* The allocator may have given it back, too. */
	TEST_OK(zc_own_again(&self->a, s, 0));
	ASSERT_FALSE(is_adopted(s->inner));
}

/* New memory of that size is zero, and stays so until somebody writes to it. */
static void take_new(struct __test_metadata *_metadata, size_t len, bool purged)
{
	char *p;

	if (purged)
		ASSERT_EQ(0, give_back());
	p = calloc(1, len);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, zeros(p, len))
		TH_LOG("calloc() of %zu bytes", len);
	stamp(p, len, 7);
	free(p);
}

/* If this fails the other tests are of another allocator. */
TEST(allocator)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t before = in_use();
		char *p = malloc(sizes[i]);

		stamp(p, sizes[i], 1);
		EXPECT_LE(before + sizes[i], in_use());
		p = realloc(p, 2 * sizes[i]);
		EXPECT_LE(before + 2 * sizes[i], in_use());
		free(p);
		EXPECT_GT(before + sizes[i], in_use());
		p = calloc(1, sizes[i]);
		EXPECT_EQ(sizes[i], zeros(p, sizes[i]));
		EXPECT_LE(before + sizes[i], in_use());
		free(p);
		EXPECT_EQ(0, give_back());
	}
}

/*
 * G7: what is freed and taken again is zero, whether it is a region still or not. The second time
 * the allocator has seen such a size, and may take it from elsewhere; not so the largest.
 */
TEST_F(alloc, freed)
{
	unsigned int i;
	struct sent s;
	char *p;

	for (i = 0; i < 2 * ARRAY_SIZE(sizes) - 1; i++) {
		size_t len = sizes[i / 2];

		p = sent_buffer(_metadata, self, variant->way, len, &s);
		stamp(p, len, 2);
		free(p);
		take_new(_metadata, len, true);
		take_new(_metadata, len, false);
		end_sent(_metadata, self, &s);
		take_new(_metadata, len, true);
	}
}

/* What was sent is resized with its contents: mremap() refuses a region, which is then copied. */
TEST_F(alloc, resized)
{
	unsigned int i;
	struct sent s;
	char *p;

	for (i = 0; i < SIZES_OFTEN; i++) {
		size_t len = sizes[i];

		p = sent_buffer(_metadata, self, variant->way, len, &s);
		stamp(p, len, 2);
		p = realloc(p, len + len / 2);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(len, stamped(p, len, 0, 2));
		stamp(p, len + len / 2, 3);
		p = realloc(p, len / 2);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(len / 2, stamped(p, len / 2, 0, 3));
		p = realloc(p, len);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(len / 2, stamped(p, len / 2, 0, 3));
		free(p);
		end_sent(_metadata, self, &s);

		/* The same where it is made smaller first. */
		p = sent_buffer(_metadata, self, variant->way, len, &s);
		stamp(p, len, 2);
		p = realloc(p, len / 4);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(len / 4, stamped(p, len / 4, 0, 2));
		free(p);
		take_new(_metadata, len, true);
		end_sent(_metadata, self, &s);
	}
}

/* A child uses the allocator: buffers of other sizes, not the one that was sent. */
static int use_others(void)
{
	static const size_t others[] = { 100, 3000, 200000, 3UL << 20 };
	size_t i;
	char *p;

	for (i = 0; i < 2 * ARRAY_SIZE(others); i++) {
		size_t len = others[i / 2] & ~7UL;

		p = i % 2 ? malloc(len) : calloc(1, len);
		if (!p || (!(i % 2) && zeros(p, len) != len))
			return 10;
		stamp(p, len, 5);
		if (stamped(p, len, 0, 5) != len)
			return 11;
		free(p);
	}
	return 0;
}

/* The buffer is the child's, too: with what was written to it, or with nothing. */
static int use_inherited(char *p, size_t len, __u64 seed)
{
	size_t i;

	if ((seed ? stamped(p, len, 0, seed) : zeros(p, len)) != len)
		return 20;
	stamp(p, len, 6);
	free(p);
	if (give_back())
		return 21;
	for (i = 0; i < 2; i++) {
		p = calloc(1, len);
		if (!p || zeros(p, len) != len)
			return 22;
		stamp(p, len, 6);
		free(p);
	}
	return use_others();
}

/* No child inherits a region. */
static int use_without(const struct sent *s)
{
	__u64 val;

	if (touch_read(s->inner, &val) != SIGSEGV ||
	    touch_read(s->inner + s->npages * psize - sizeof(val), &val) != SIGSEGV)
		return 30;
	return use_others();
}

#define in_child(call)							\
do {									\
	pid_t __child = fork();						\
	int __status;							\
									\
	if (!__child)							\
		_exit(call);						\
	ASSERT_EQ(__child, waitpid(__child, &__status, 0));		\
	ASSERT_EQ(0, __status)						\
		TH_LOG("%s: %d", #call, WEXITSTATUS(__status));		\
} while (0)

/* A child has what the interface says, and an allocator that works. It takes nothing from here. */
TEST_F(alloc, forked)
{
	__u64 seed = variant->way == MOVED ? 0 : 1;
	unsigned int i;
	struct sent s;
	char *p;

	for (i = 0; i < SIZES_OFTEN; i++) {
		size_t len = sizes[i];

		p = sent_buffer(_metadata, self, variant->way, len, &s);
		if (stays_region(variant->way)) {
			in_child(use_without(&s));
			ASSERT_EQ(len, stamped(p, len, 0, 1));
			TEST_OK(zc_own_again(&self->a, &s, 0));
		}
		in_child(use_inherited(p, len, seed));
		ASSERT_EQ(len, seed ? stamped(p, len, 0, seed) : zeros(p, len));
		free(p);
		take_new(_metadata, len, true);
		end_sent(_metadata, self, &s);
	}
}

/* Each size twice. */
#define ROUNDS (2 * SIZES_THREADS)

/**
 * struct worker - a thread that sends what it allocates
 * @job: who sends to whom
 * @way: how
 * @seed: of what is in its buffers
 * @sent: what it has sent
 * @failed: what did not go as it should
 */
struct worker {
	struct job job;
	enum sending way;
	unsigned int seed;
	struct sent sent[ROUNDS];
	const char *failed;
};

static const char *work_once(struct worker *w, size_t len, struct sent *s)
{
	struct job *j = &w->job;
	char *p = malloc(len);

	if (!p)
		return "malloc()";
	stamp(p, len, w->seed);
	/* A part of it may have been a buffer before, and be a region. That much is copied. */
	if (zc_lend(j->ep, j->to, w->way, is_imported(w->way) ? 0 : ZCIPC_F_COPY_OK, p, len, s))
		return "sending";
	if (is_imported(w->way) && ep_stamped(j->to, s, w->seed) != (long)s->got_len)
		return "what was shared";
	if (zc_settle(j->ep, j->to, s))
		return "settling";
	if (w->way == DROPPED && zc_own_again(j->ep, s, 0))
		return "making it ordinary";
	/* What could not be moved was copied. */
	if (w->way != MOVED && stamped(p, len, 0, w->seed) != len)
		return "what was kept";
	stamp(p, len, 100 + w->seed);
	free(p);
	p = calloc(1, len);
	if (!p || zeros(p, len) != len)
		return "calloc()";
	stamp(p, len, 100 + w->seed);
	p = realloc(p, 2 * len);
	if (!p || stamped(p, len, 0, 100 + w->seed) != len)
		return "realloc()";
	free(p);
	if (is_imported(w->way))
		return NULL;
	if (ep_stamped(j->to, s, w->seed) != (long)len)
		return "what was received";
	return zc_drop(j->to, s->cap) ? "dropping" : NULL;
}

static int work(struct job *j)
{
	struct worker *w = (struct worker *)j;
	unsigned int round;

	for (round = 0; round < ROUNDS && !w->failed; round++) {
		w->failed = work_once(w, sizes[(w->seed + round) % SIZES_THREADS], &w->sent[round]);
		if (round % 4 == 3 && give_back())
			w->failed = "purging";
		progress();
	}
	return w->failed ? -1 : 0;
}

/* All at once, from one endpoint to a peer for each. */
TEST_F(alloc, threads)
{
	struct worker workers[NTHREADS] = {};
	struct ep peers[NTHREADS];
	unsigned int i, round;

	for (i = 0; i < NTHREADS; i++)
		test_start(&peers[i], true, PEER_PAGES);
	for (i = 0; i < NTHREADS; i++) {
		workers[i].job = (struct job){ .fn = work, .ep = &self->a, .to = &peers[i] };
		workers[i].way = variant->way;
		workers[i].seed = 1 + i;
		job_start(&workers[i].job);
	}
	for (i = 0; i < NTHREADS; i++)
		job_join(&workers[i].job);
	for (i = 0; i < NTHREADS; i++) {
		EXPECT_EQ(0, workers[i].job.rc)
			TH_LOG("%s: %s", workers[i].failed, strerror(workers[i].job.err));
		for (round = 0; round < ROUNDS && workers[i].sent[round].npages; round++)
			TEST_OK(zc_own_again(&self->a, &workers[i].sent[round], 0));
	}
	/* The end of the test finds them where they are. */
	for (i = 0; i < NTHREADS; i++)
		ep_end(&peers[i]);
}

TEST_HARNESS_MAIN

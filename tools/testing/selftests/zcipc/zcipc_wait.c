// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nobody waits for a stranger: what others do with many pages, or with their own address space,
 * keeps no endpoint from its own affairs; and those who wait for room stand in line.
 *
 * Guarantees: G3 (what fails changes nothing), G8 clean death, G12 waiting.
 * Attacks: a large transfer that goes on and on, by itself and in a batch, of memory that has been
 * shared and without, and touched by who has it; a
 * receiver that takes its window apart, or dies, meanwhile; an mmap_lock that is never free; many
 * senders that wait for one place.
 */
#include "zcipc_utils.h"

/* More than the module moves at once. */
#define MANY 2048
/* More capabilities than it revokes at once. */
#define OTHERS 200

/* In the peer: twice the same transfer, of so many pages and of as many behind them. */
static long call_batch(struct ep *ep, struct call *c)
{
	struct ep to = { .id = c->val };
	struct zcipc_transfer t[2];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .flags = c->val2 >> 32, .transfers = (uintptr_t)t,
		.ntransfers = ARRAY_SIZE(t), .transfer_size = sizeof(*t),
	};
	size_t i, n = (__u32)c->val2 >> 8;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		t[i] = transfer_cmd(&to, c->val2 & 0xff, c->n, i * n, n, 0);
		t[i].flags = c->addr;
	}
	if (zc_ioctl(ep, ZCIPC_IOC_TRANSFER_BATCH, &cmd))
		return -1;
	for (i = 0; i < ARRAY_SIZE(t); i++)
		if (t[i].result)
			return t[i].result;
	return 0;
}

static int job_batch_flags(struct job *j, __u32 flags)
{
	struct call c = { .fn = call_batch, .addr = j->flags, .n = j->cap, .val = j->to->id,
			  .val2 = (__u64)flags << 32 | (j->n ?: MANY / 2) << 8 | j->type };

	return ep_call(j->ep, &c);
}

static int job_batch(struct job *j)
{
	return job_batch_flags(j, 0);
}

static int job_batch_atomic(struct job *j)
{
	return job_batch_flags(j, ZCIPC_F_ATOMIC);
}

/* In the peer: sends so many pages of new memory. */
static long call_send_memory(struct ep *ep, struct call *c)
{
	struct ep to = { .id = c->val };
	char *p = mmap(NULL, c->n * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	if (p == MAP_FAILED || ep_fill(ep, p, c->n, 1))
		return -1;
	c->addr = (uintptr_t)p;
	return zc_direct(ep, &to, ZCIPC_MOVE, p, c->n * psize, 0);
}

static int job_send_memory(struct job *j)
{
	struct call c = { .fn = call_send_memory, .n = MANY, .val = j->to->id };
	int rc = ep_call(j->ep, &c);

	j->p = (char *)(uintptr_t)c.addr;
	return rc;
}

static int job_map(struct job *j)
{
	return zc_map(j->ep, j->cap, 0, 0, RIGHTS_RW, &j->p);
}

static int job_map_read(struct job *j)
{
	return zc_map(j->ep, j->cap, 0, 0, ZCIPC_RIGHT_READ, &j->p);
}

static int job_create(struct job *j)
{
	struct buf b;

	return zc_create(j->ep, MANY, &b);
}

static int job_revoke(struct job *j)
{
	__u64 n;

	return zc_revoke(j->ep, NULL, j->cap, ZCIPC_REVOKE_KEEP, &n);
}

static int job_die(struct job *j)
{
	ep_end(j->ep);
	return 0;
}

/* In the peer: so many pages are held by a pipe. */
static long call_fill_pipe(struct ep *ep, struct call *c)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)c->addr, .iov_len = c->n * psize };
	int fd[2];

	(void)ep;
	if (pipe(fd) || fcntl(fd[1], F_SETPIPE_SZ, c->n * psize) < 0)
		return -1;
	return vmsplice(fd[1], &iov, 1, 0) == (ssize_t)iov.iov_len ? 0 : -1;
}

/* v is who must not have to wait, w another one, in the same process; a is a stranger. */
FIXTURE(stranger)
{
	struct base base;
	struct ep v, w, a;
	struct buf src;		/* of a */
	struct buf shared;	/* what v has of it, if anything */
	struct buf other;	/* a's last capability for a page of it, if it has many */
	struct job job;
	struct job mapper;	/* v's call about that, which has to wait, and no other */
	struct job toucher;	/* so has who touches it */
};

FIXTURE_VARIANT(stranger)
{
	int (*fn)(struct job *j);
	const char *point;	/* where a stops */
	__u32 type;
	__u32 flags;		/* of its region */
	size_t npages;
	bool to_self;
	bool shares;
	bool holds;
	bool granted;		/* it has many more capabilities for a page */
	bool others;		/* and revokes them */
	bool part;		/* they are derived from one for the page alone, which is moved */
	bool mapped;		/* it has mapped a page many times */
	bool touches;		/* v touches what it has */
	bool writes;		/* where it could only read until then */
};

#define STRANGER(_name, ...)						\
	FIXTURE_VARIANT_ADD(stranger, _name) { __VA_ARGS__ }

STRANGER(moves, .fn = job_send, .point = "long", .type = ZCIPC_MOVE,
	 .flags = ZCIPC_CREATE_NO_HUGE);
STRANGER(moves_part, .fn = job_send, .point = "long", .type = ZCIPC_MOVE, .npages = MANY - 1,
	 .flags = ZCIPC_CREATE_NO_HUGE);
STRANGER(moves_held, .fn = job_send, .point = "long", .type = ZCIPC_MOVE, .holds = true);
STRANGER(shares, .fn = job_send, .point = "long", .type = ZCIPC_SHARE,
	 .flags = ZCIPC_CREATE_NO_HUGE);
STRANGER(copies, .fn = job_send, .point = "long", .type = ZCIPC_COPY);
STRANGER(copies_pinnable, .fn = job_send, .point = "long", .type = ZCIPC_COPY,
	 .flags = ZCIPC_CREATE_PINNABLE | ZCIPC_CREATE_NO_HUGE);
STRANGER(copies_shared, .fn = job_send, .point = "long", .type = ZCIPC_COPY,
	 .flags = ZCIPC_CREATE_PINNABLE | ZCIPC_CREATE_NO_HUGE, .to_self = true, .shares = true,
	 .touches = true);
STRANGER(copies_written, .fn = job_send, .point = "long", .type = ZCIPC_COPY,
	 .flags = ZCIPC_CREATE_NO_HUGE, .to_self = true, .shares = true, .touches = true,
	 .writes = true);
STRANGER(batch_copies, .fn = job_batch, .point = "long", .type = ZCIPC_COPY,
	 .flags = ZCIPC_CREATE_NO_HUGE);
STRANGER(batch_moves_held, .fn = job_batch, .point = "long", .type = ZCIPC_MOVE,
	 .flags = ZCIPC_CREATE_NO_HUGE, .holds = true);
STRANGER(atomic_copies, .fn = job_batch_atomic, .point = "long", .type = ZCIPC_COPY,
	 .flags = ZCIPC_CREATE_NO_HUGE);
STRANGER(atomic_moves_held, .fn = job_batch_atomic, .point = "long", .type = ZCIPC_MOVE,
	 .flags = ZCIPC_CREATE_NO_HUGE, .holds = true);
STRANGER(moves_revoking, .fn = job_send, .point = "revokes", .type = ZCIPC_MOVE,
	 .others = true);
STRANGER(batch_moves_revoking, .fn = job_batch, .point = "revokes", .type = ZCIPC_MOVE,
	 .others = true);
STRANGER(atomic_moves_revoking, .fn = job_batch_atomic, .point = "revokes", .type = ZCIPC_MOVE,
	 .others = true);
STRANGER(moves_page_revoking, .fn = job_send, .point = "revokes", .type = ZCIPC_MOVE,
	 .npages = 1, .others = true);
STRANGER(moves_part_revoking, .fn = job_send, .point = "revokes", .type = ZCIPC_MOVE,
	 .npages = 1, .others = true, .part = true);
STRANGER(copies_granted, .fn = job_send, .point = "long", .type = ZCIPC_COPY, .npages = 1,
	 .granted = true);
STRANGER(batch_copies_granted, .fn = job_batch, .point = "long", .type = ZCIPC_COPY, .npages = 1,
	 .granted = true);
STRANGER(moves_mapped, .fn = job_send, .point = "long", .type = ZCIPC_MOVE, .npages = 1,
	 .mapped = true);
STRANGER(copies_mapped, .fn = job_send, .point = "long", .type = ZCIPC_COPY, .npages = 1,
	 .mapped = true);
STRANGER(batch_moves_mapped, .fn = job_batch, .point = "long", .type = ZCIPC_MOVE, .npages = 1,
	 .mapped = true);
STRANGER(atomic_copies_mapped, .fn = job_batch_atomic, .point = "long", .type = ZCIPC_COPY,
	 .npages = 1, .mapped = true);
STRANGER(surveys, .fn = job_send, .point = "surveys", .type = ZCIPC_COPY);
STRANGER(surveys_atomic, .fn = job_batch_atomic, .point = "surveys", .type = ZCIPC_COPY,
	 .npages = 1, .mapped = true);
STRANGER(settles, .fn = job_send, .point = "settles", .type = ZCIPC_MOVE, .npages = MANY - 1,
	 .holds = true);
STRANGER(settles_whole, .fn = job_send, .point = "settles", .type = ZCIPC_MOVE, .holds = true);
STRANGER(settles_atomic, .fn = job_batch_atomic, .point = "settles", .type = ZCIPC_MOVE,
	 .flags = ZCIPC_CREATE_NO_HUGE, .holds = true);
STRANGER(moves_memory, .fn = job_send_memory, .point = "long");
STRANGER(populates, .fn = job_send, .point = "populates", .type = ZCIPC_MOVE,
	 .flags = ZCIPC_CREATE_NO_HUGE);
STRANGER(creates, .fn = job_create, .point = "populates");
STRANGER(maps, .fn = job_map, .point = "populates");
STRANGER(unmaps, .fn = job_unmap, .point = "long");
STRANGER(drops, .fn = job_drop, .point = "long");
STRANGER(drops_shared, .fn = job_drop, .point = "long", .shares = true);
STRANGER(revokes, .fn = job_revoke, .point = "killed", .shares = true);
STRANGER(dies, .fn = job_die, .point = "returns");

FIXTURE_SETUP(stranger)
{
	char *p;
	int i;

	base_setup(_metadata, &self->base);
	test_open(&self->v, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->w, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->a, true, 4 * WINDOW_PAGES);
	/* A window for what can be pinned, as there is one for what cannot. */
	if (variant->flags & ZCIPC_CREATE_PINNABLE) {
		struct ep hidden = self->a;

		hidden.win = NULL;
		test_create_flags(&hidden, MANY, variant->flags, &self->src);
	} else {
		test_create_flags(&self->a, MANY, variant->flags, &self->src);
		test_fill(&self->a, self->src.p, MANY, 1);
	}
	if (variant->holds) {
		struct call c = { .fn = call_fill_pipe, .addr = (uintptr_t)self->src.p, .n = 128 };

		TEST_OK(ep_call(&self->a, &c));
	}
	if (variant->shares) {
		test_send_rights(&self->a, &self->v, ZCIPC_SHARE, self->src.cap,
				 variant->writes ? RIGHTS_RW : ZCIPC_RIGHT_READ);
		test_take(&self->v, &self->shared);
	}
	for (i = 0; variant->mapped && i < OTHERS; i++)
		test_map(&self->a, self->src.cap, 0, 1, RIGHTS_RW, &p);
	if (variant->part)
		TEST_OK(zc_give_part(&self->a, &self->a, self->src.cap, 0, 1, RIGHTS_ALL,
				     &self->src));
	for (i = 0; (variant->others || variant->granted) && i < OTHERS; i++)
		TEST_OK(zc_give_part(&self->a, &self->a, self->src.cap, 0, 1, RIGHTS_RW,
				     &self->other));
	self->job = (struct job){
		.ep = &self->a, .to = variant->to_self ? &self->a : &self->v,
		.cap = self->src.cap, .type = variant->type, .rights = RIGHTS_ALL,
		.n = variant->npages,
		.p = self->src.p, .flags = variant->others ? ZCIPC_F_REVOKE_OTHERS : 0,
	};
}

FIXTURE_TEARDOWN_BASE(stranger)

/* The next message of somebody, whatever others have sent. */
static int take_from(struct ep *ep, const struct ep *from, struct buf *b)
{
	struct zcipc_recv m;

	do {
		if (zc_recv(ep, &m))
			return -1;
	} while (m.sender != from->id);
	*b = (struct buf){ .cap = m.cap, .region = m.region, .npages = m.len / psize,
			   .p = (char *)(uintptr_t)m.addr };
	return 0;
}

/* All that v can do by itself and with w. Returns a line number if something fails. */
static int affairs(struct ep *v, struct ep *w, bool mmaps)
{
	struct zcipc_region_query q;
	struct buf own, other, got;
	char *p, *last;
	void *anon;

#define NEED(x) do { if (!(x)) return __LINE__; } while (0)
	if (!v)
		goto memory;
	last = v->win + (v->npages - 1) * psize;
	NEED(!zc_create(v, 4, &own) && !zc_create(w, 4, &other));
	NEED(!ep_fill(v, own.p, 4, 1) && !ep_fill(w, other.p, 4, 2));
	NEED(!zc_map(v, own.cap, 0, 0, ZCIPC_RIGHT_READ, &p) && !ep_check(v, p, 4, 1));
	NEED(!zc_unmap(v, p) && !zc_query(v, own.cap, &q));
	NEED(!zc_pass(v, w, ZCIPC_COPY, own.cap, &got) && !ep_check(w, got.p, 4, 1));
	NEED(!zc_drop(w, got.cap));
	NEED(!zc_pass(v, w, ZCIPC_MOVE, own.cap, &got) && !zc_drop(w, got.cap));
	NEED(!zc_send(w, v, ZCIPC_SHARE, other.cap) && !take_from(v, w, &got));
	NEED(!ep_check(v, got.p, 4, 2) && !zc_drop(v, got.cap));
	NEED(!zc_send(w, v, ZCIPC_MOVE, other.cap) && !take_from(v, w, &got));
	NEED(!ep_check(v, got.p, 4, 2) && !zc_drop(v, got.cap));
	NEED(!zc_depth(v, 100));
	if (!mmaps)
		return 0;
	/* A fault may have the VMA's lock alone: whoever changes the VMA waits for it. */
	NEED(!mprotect(last, psize, PROT_READ) && !mprotect(last, psize, PROT_READ | PROT_WRITE));
memory:
	anon = mmap(NULL, 2 * psize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(anon != MAP_FAILED && !mprotect(anon, psize, PROT_READ | PROT_WRITE));
	*(volatile char *)anon = 1;
	NEED(!munmap(anon, 2 * psize));
	return 0;
}

struct affairs {
	struct ep *v, *w;	/* NULL: only what is about memory */
	bool mmaps;
	volatile bool go;
	volatile bool done;
	int line;
};

static void *affairs_thread(void *arg)
{
	struct affairs *a = arg;

	while (!a->go)
		msleep(1);
	a->line = affairs(a->v, a->w, a->mmaps);
	a->done = true;
	return NULL;
}

/* Touches a page that is not mapped, or not writable. */
static int job_touch(struct job *j)
{
	__u64 val;

	return j->type ? touch_write(j->p, 1) : touch_read(j->p, &val);
}

TEST_F(stranger, keeps_nobody)
{
	struct affairs affair = { .v = &self->v, .w = &self->w };
	struct buf mine, got = {};
	pthread_t thread;
	int i;

	need_points();
	if (variant->fn == job_die) {
		test_create(&self->v, MANY, &mine);
		test_fill(&self->v, mine.p, MANY, 3);
		test_send(&self->v, &self->a, ZCIPC_MOVE, mine.cap);
	}
	/*
	 * Populating keeps v's mmap_lock, though not against who wants it, if it does not stop
	 * there: so there is a thread already.
	 */
	affair.mmaps = strcmp(variant->point, "populates");
	ASSERT_EQ(0, pthread_create(&thread, NULL, affairs_thread, &affair));
	if (variant->writes) {
		/* A snapshot that makes pages read-only. */
		test_send_part(&self->a, &self->w, ZCIPC_COPY, self->src.cap, 0, 1);
		test_take(&self->w, &got);
		test_check(&self->v, self->shared.p, 1, 1);
	} else if (variant->touches) {
		ASSERT_EQ(0, madvise(self->shared.p, psize, MADV_DONTNEED));
	}
	point_stop(variant->point);
	self->job.fn = variant->fn;
	job_start(&self->job);
	ASSERT_TRUE(point_reached());
	if (variant->shares) {
		self->mapper = (struct job){ .ep = &self->v, .cap = self->shared.cap };
		self->mapper.fn = job_map_read;
		job_start(&self->mapper);
		/* What is revoked it is told at once. */
		ASSERT_TRUE(wait_until(self->mapper.done || thread_waits(self->mapper.tid)));
	}
	if (variant->touches) {
		self->toucher = (struct job){ .ep = &self->v, .p = self->shared.p,
					      .type = variant->writes };
		self->toucher.fn = job_touch;
		job_start(&self->toucher);
		ASSERT_TRUE(wait_until(thread_waits(self->toucher.tid)));
		EXPECT_FALSE(self->toucher.done);
	}
	affair.go = true;
	ASSERT_TRUE(wait_until(affair.done));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, affair.line);
	/* Nor does who sends something to the stranger. */
	if (variant->fn != job_die) {
		test_create(&self->w, 1, &mine);
		test_send(&self->w, &self->a, ZCIPC_COPY, mine.cap);
	}
	EXPECT_FALSE(self->job.done);
	point_go();
	job_join(&self->job);
	EXPECT_EQ(0, self->job.rc) TH_LOG("%s", strerror(self->job.err));
	if (variant->shares)
		job_join(&self->mapper);
	if (variant->touches) {
		job_join(&self->toucher);
		EXPECT_EQ(0, self->toucher.rc);
	}
	if (variant->others) {
		struct zcipc_region_query q;

		test_err_query(ESTALE, &self->a, self->other.cap, &q);
	} else if (!strcmp(variant->point, "settles")) {
		/* It had been delivered by then, and was received among v's affairs. */
		TEST_ERR(EAGAIN, zc_take(&self->v, &got));
	} else if (variant->fn == job_batch || variant->fn == job_batch_atomic) {
		for (i = 0; i < 2; i++) {
			test_take(&self->v, &got);
			EXPECT_EQ(variant->npages ?: MANY / 2, got.npages);
			test_check_from(&self->v, got.p, i * got.npages, got.npages, 1);
		}
	} else if (variant->fn == job_die) {
		take_returned(_metadata, &self->v, &self->a, MANY, 0, 3);
	} else if (self->job.to == &self->v && (variant->type || variant->fn == job_send_memory) &&
		   variant->point[0] != 'p') {
		test_take(&self->v, &got);
		EXPECT_EQ(variant->npages ?: MANY, got.npages);
		test_check(&self->v, got.p, got.npages,
			   variant->flags & ZCIPC_CREATE_PINNABLE ? 0 : 1);
	}
}

/* v sends its own memory to a: v's other threads can use and change their memory all the time. */
FIXTURE(own)
{
	struct base base;
	struct ep v, a;
	struct job sender;
	struct job busy;
};

FIXTURE_VARIANT(own)
{
	const char *point;	/* where v stops, or else: */
	bool waits;		/* a stops with its endpoint locked, and v waits for that */
};

FIXTURE_VARIANT_ADD(own, reserves) { .point = "committed", .waits = true };
FIXTURE_VARIANT_ADD(own, delivers) { .point = "unmapped" };

FIXTURE_SETUP(own)
{
	base_setup(_metadata, &self->base);
	test_open(&self->v, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->a, true, 2 * WINDOW_PAGES);
}

FIXTURE_TEARDOWN_BASE(own)

TEST_F(own, memory_stays_usable)
{
	struct affairs affair = {};
	struct buf src, got;
	pthread_t thread;

	need_points();
	ASSERT_EQ(0, pthread_create(&thread, NULL, affairs_thread, &affair));
	self->sender = (struct job){ .ep = &self->v, .to = &self->a };
	self->sender.fn = job_send_memory;
	point_stop(variant->point);
	if (variant->waits) {
		test_create(&self->a, 1, &src);
		self->busy = (struct job){ .ep = &self->a, .to = &self->a, .cap = src.cap,
					   .type = ZCIPC_MOVE };
		self->busy.fn = job_send;
		job_start(&self->busy);
		ASSERT_TRUE(point_reached());
		job_start(&self->sender);
		ASSERT_TRUE(wait_until(thread_waits(self->sender.tid)));
	} else {
		job_start(&self->sender);
		ASSERT_TRUE(point_reached());
	}
	affair.go = true;
	ASSERT_TRUE(wait_until(affair.done));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, affair.line);
	EXPECT_FALSE(self->sender.done);
	point_go();
	job_join(&self->sender);
	EXPECT_EQ(0, self->sender.rc) TH_LOG("%s", strerror(self->sender.err));
	if (variant->waits) {
		job_join(&self->busy);
		test_take(&self->a, &got);
	}
	test_take(&self->a, &got);
	EXPECT_EQ(MANY, got.npages);
	test_check(&self->a, got.p, MANY, 1);
}

/* What a batch costs others is found out before its regions are locked, and anew afterwards. */
FIXTURE(guess)
{
	struct base base;
	struct ep v, a;
	struct job job;
};

FIXTURE_SETUP(guess)
{
	base_setup(_metadata, &self->base);
	test_open(&self->v, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->a, true, WINDOW_PAGES);
}

FIXTURE_TEARDOWN_BASE(guess)

TEST_F(guess, is_made_again)
{
	static int (* const jobs[])(struct job *j) = { job_batch, job_batch_atomic };
	struct buf src, mine, got;
	unsigned int i, k;
	char *p;

	need_points();
	for (k = 0; k < ARRAY_SIZE(jobs); k++) {
		test_create(&self->a, 2, &src);
		test_fill(&self->a, src.p, 2, 1);
		test_send_rights(&self->a, &self->v, ZCIPC_SHARE, src.cap, ZCIPC_RIGHT_READ);
		test_take(&self->v, &mine);
		self->job = (struct job){ .ep = &self->a, .to = &self->v, .cap = src.cap,
					  .type = ZCIPC_COPY, .n = 1, .fn = jobs[k] };
		point_stop("prepared");
		job_start(&self->job);
		ASSERT_TRUE(point_reached());
		for (i = 0; i < OTHERS; i++)
			test_map(&self->v, mine.cap, 0, 1, ZCIPC_RIGHT_READ, &p);
		point_stop("long");
		EXPECT_TRUE(point_reached());
		point_go();
		job_join(&self->job);
		EXPECT_EQ(0, self->job.rc);
		test_drop(&self->v, mine.cap);
		test_drop(&self->a, src.cap);
		for (i = 0; i < 2; i++) {
			test_take(&self->v, &got);
			test_check_from(&self->v, got.p, i, 1, 1);
			test_drop(&self->v, got.cap);
		}
	}
}

/* Many capabilities and mappings, which a SHARE makes one each of. */
#define GROWN 80

/* In the peer: a batch that SHAREs a region so often that the COPY at its end takes long. */
static long call_grow(struct ep *ep, struct call *c)
{
	struct zcipc_transfer t[GROWN + 1];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)t, .ntransfers = ARRAY_SIZE(t),
		.transfer_size = sizeof(*t),
	};
	struct ep to = { .id = c->val };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		t[i] = transfer_cmd(&to, i < GROWN ? ZCIPC_SHARE : ZCIPC_COPY, c->n, 0, 0,
				    i < GROWN ? ZCIPC_RIGHT_READ : 0);
	if (zc_ioctl(ep, ZCIPC_IOC_TRANSFER_BATCH, &cmd))
		return -1;
	return cmd.done == ARRAY_SIZE(t) ? 0 : -1;
}

static int job_grow(struct job *j)
{
	struct call c = { .fn = call_grow, .n = j->cap, .val = j->to->id };

	return ep_call(j->ep, &c);
}

TEST_F(guess, of_what_the_batch_makes)
{
	struct buf src, got;
	unsigned int i;

	need_points();
	test_create(&self->a, 1, &src);
	test_fill(&self->a, src.p, 1, 1);
	self->job = (struct job){ .ep = &self->a, .to = &self->v, .cap = src.cap,
				  .fn = job_grow };
	point_stop("long");
	job_start(&self->job);
	EXPECT_TRUE(point_reached());
	point_go();
	job_join(&self->job);
	EXPECT_EQ(0, self->job.rc);
	for (i = 0; i <= GROWN; i++) {
		test_take(&self->v, &got);
		test_check(&self->v, got.p, 1, 1);
	}
}

/* What becomes of a long transfer whose receiver changes meanwhile. */
FIXTURE(meanwhile)
{
	struct base base;
	struct ep v, a, b;
	struct buf src;		/* of a, or b */
	struct job job;
};

FIXTURE_VARIANT(meanwhile)
{
	int (*fn)(struct job *j);
	__u32 type;
};

FIXTURE_VARIANT_ADD(meanwhile, move) { .fn = job_send, .type = ZCIPC_MOVE };
FIXTURE_VARIANT_ADD(meanwhile, share) { .fn = job_send, .type = ZCIPC_SHARE };
FIXTURE_VARIANT_ADD(meanwhile, copy) { .fn = job_send, .type = ZCIPC_COPY };
FIXTURE_VARIANT_ADD(meanwhile, memory) { .fn = job_send_memory, .type = ZCIPC_MOVE };

FIXTURE_SETUP(meanwhile)
{
	base_setup(_metadata, &self->base);
	test_open(&self->v, 2 * MANY, 0);
	test_start(&self->a, true, 2 * WINDOW_PAGES);
	test_create_flags(&self->a, MANY, ZCIPC_CREATE_NO_HUGE, &self->src);
	test_fill(&self->a, self->src.p, MANY, 1);
	self->job = (struct job){ .ep = &self->a, .to = &self->v, .cap = self->src.cap,
				  .type = variant->type, .rights = RIGHTS_ALL,
				  .p = self->src.p };
	need_points();
	point_stop("long");
	self->job.fn = variant->fn;
	job_start(&self->job);
	ASSERT_TRUE(point_reached());
}

FIXTURE_TEARDOWN_BASE(meanwhile)

static void window_again(struct __test_metadata *_metadata, struct ep *ep, size_t npages)
{
	ep->win = mmap(NULL, npages * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)ep->win);
	ep->npages = npages;
}

/* It has arrived, as it was. */
static void arrived(struct __test_metadata *_metadata, FIXTURE_DATA(meanwhile) *self,
		    struct buf *got)
{
	point_go();
	job_join(&self->job);
	ASSERT_EQ(0, self->job.rc) TH_LOG("%s", strerror(self->job.err));
	test_take(&self->v, got);
	ASSERT_EQ(MANY, got->npages);
	test_check(&self->v, got->p, MANY, 1);
}

/* It has failed, and the sender has all. */
static void failed(struct __test_metadata *_metadata, FIXTURE_DATA(meanwhile) *self, int err)
{
	point_go();
	job_join(&self->job);
	ASSERT_EQ(-1, self->job.rc);
	ASSERT_EQ(err, self->job.err);
	test_check(&self->a, self->job.p, MANY, 1);
	test_fill(&self->a, self->job.p, MANY, 2);
}

TEST_F(meanwhile, nothing)
{
	struct buf got;

	arrived(_metadata, self, &got);
}

TEST_F(meanwhile, unmapped)
{
	TEST_OK(munmap(self->v.win, self->v.npages * psize));
	self->v.win = NULL;
	failed(_metadata, self, ENOBUFS);
}

TEST_F(meanwhile, mapped_anew)
{
	struct buf got, mine;

	TEST_OK(munmap(self->v.win, self->v.npages * psize));
	window_again(_metadata, &self->v, 3 * MANY);
	/* Takes all the places of the old one: those that were reserved are at either end of it. */
	test_create_flags(&self->v, 2 * MANY, ZCIPC_CREATE_NO_HUGE, &mine);
	test_fill(&self->v, mine.p, 2 * MANY, 5);
	arrived(_metadata, self, &got);
	test_check(&self->v, mine.p, 2 * MANY, 5);
	test_drop(&self->v, got.cap);
	/* All of it can be used. */
	test_drop(&self->v, mine.cap);
	test_create_flags(&self->v, 3 * MANY, ZCIPC_CREATE_NO_HUGE, &mine);
}

TEST_F(meanwhile, mapped_too_small)
{
	struct buf mine;

	TEST_OK(munmap(self->v.win, self->v.npages * psize));
	window_again(_metadata, &self->v, MANY / 2);
	failed(_metadata, self, ENOBUFS);
	test_create_flags(&self->v, MANY / 2, ZCIPC_CREATE_NO_HUGE, &mine);
}

/* Half of the window goes, with what was reserved: the other half has to do. */
TEST_F(meanwhile, punched)
{
	struct buf got;

	/* It lies at one of the ends, and is known to nobody yet. */
	TEST_OK(munmap(self->v.win, MANY * psize));
	arrived(_metadata, self, &got);
	EXPECT_EQ(self->v.win + MANY * psize, got.p);
}

TEST_F(meanwhile, punched_end)
{
	struct buf got;

	TEST_OK(munmap(self->v.win + MANY * psize, MANY * psize));
	arrived(_metadata, self, &got);
	EXPECT_EQ(self->v.win, got.p);
}

TEST_F(meanwhile, died)
{
	ep_end(&self->v);
	failed(_metadata, self, ESRCH);
}

TEST_F(meanwhile, closed_to_it)
{
	struct zcipc_recv m;

	fcntl(self->v.fd, F_SETFL, O_RDWR | O_NONBLOCK);
	test_policy(&self->v, ZCIPC_POLICY_NOBODY);
	failed(_metadata, self, EPERM);
	test_err_recv(EAGAIN, &self->v, &m);
}

/* The sender dies: nothing arrives, or all of it. */
TEST_F(meanwhile, sender_killed)
{
	struct zcipc_recv m;

	fcntl(self->v.fd, F_SETFL, O_RDWR | O_NONBLOCK);
	kill(self->a.pid, SIGKILL);
	point_go();
	job_join(&self->job);
	ep_end(&self->a);
	if (!zc_recv(&self->v, &m))
		test_check(&self->v, (char *)(uintptr_t)m.addr, MANY, 1);
}

/*
 * The window goes, which takes a while, since what it shows is locked; a long transfer that has a
 * place in it is done meanwhile. The places in time are only likely, but any is right.
 */
TEST_F(meanwhile, window_goes)
{
	struct job copy = { .ep = &self->a, .to = &self->a, .type = ZCIPC_COPY };
	struct zcipc_recv m;
	struct buf filler, shared, got;

	/* Let go of the one that the setup has begun. */
	point_go();
	job_join(&self->job);
	ASSERT_EQ(0, self->job.rc);
	test_take(&self->v, &got);
	test_drop(&self->v, got.cap);

	/* What is shared lies behind the gap that the long one will get. */
	fcntl(self->v.fd, F_SETFL, O_RDWR | O_NONBLOCK);
	test_create_flags(&self->v, MANY, ZCIPC_CREATE_NO_HUGE, &filler);
	test_create_flags(&self->a, MANY, ZCIPC_CREATE_NO_HUGE, &shared);
	test_send_part(&self->a, &self->v, ZCIPC_SHARE, shared.cap, 0, 1);
	test_take(&self->v, &got);
	test_drop(&self->v, filler.cap);
	test_start(&self->b, true, 2 * WINDOW_PAGES);
	test_create_flags(&self->b, MANY, ZCIPC_CREATE_NO_HUGE, &self->src);
	test_fill(&self->b, self->src.p, MANY, 1);

	self->job = (struct job){ .ep = &self->b, .to = &self->v, .cap = self->src.cap,
				  .type = variant->type, .rights = RIGHTS_ALL,
				  .p = self->src.p };
	point_set("long", 2000);
	self->job.fn = variant->fn;
	job_start(&self->job);
	ASSERT_TRUE(point_reached());
	msleep(1000);
	copy.cap = shared.cap;
	copy.fn = job_send;
	job_start(&copy);
	ASSERT_TRUE(point_reached_by(2));
	TEST_OK(munmap(self->v.win, self->v.npages * psize));
	self->v.win = NULL;
	job_join(&self->job);
	job_join(&copy);
	ASSERT_EQ(0, copy.rc);
	if (self->job.rc) {
		ASSERT_EQ(ENOBUFS, self->job.err);
	} else {
		/* It came before, and is nowhere now. */
		test_recv(&self->v, &m);
		ASSERT_EQ(0, m.addr);
	}
	test_err_recv(EAGAIN, &self->v, &m);
	window_again(_metadata, &self->v, 2 * MANY);
	test_create_flags(&self->v, 2 * MANY, ZCIPC_CREATE_NO_HUGE, &got);
}

/* --- the mmap_lock of somebody else */

FIXTURE(busy)
{
	struct base base;
	struct ep v, a;
	struct buf src;		/* of v */
};

FIXTURE_SETUP(busy)
{
	base_setup(_metadata, &self->base);
	test_open(&self->v, WINDOW_PAGES, 0);
	test_start(&self->a, true, WINDOW_PAGES);
	test_create(&self->v, 4, &self->src);
	test_fill(&self->v, self->src.p, 4, 1);
}

FIXTURE_TEARDOWN_BASE(busy)

/* In the peer: maps what there is no more room for, and stops in the middle of that. */
static long call_mmap_again(struct ep *ep, struct call *c)
{
	(void)c;
	return mmap(NULL, psize, PROT_READ, MAP_SHARED, ep->fd, 0) != MAP_FAILED;
}

static int job_mmap_again(struct job *j)
{
	struct call c = { .fn = call_mmap_again };

	return ep_call(j->ep, &c);
}

/* G12: a transfer does not wait for a peer that has its mmap_lock all the time. */
TEST_F(busy, mmap_lock)
{
	static const __u32 types[] = { ZCIPC_SHARE, ZCIPC_COPY, ZCIPC_MOVE };
	struct job job = { .ep = &self->a }, sends[ARRAY_SIZE(types)];
	struct buf got;
	unsigned int i;

	need_points();
	point_stop("mmap");
	job.fn = job_mmap_again;
	job_start(&job);
	ASSERT_TRUE(point_reached());
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		sends[i] = (struct job){ .ep = &self->v, .to = &self->a, .cap = self->src.cap,
					 .type = types[i], .rights = RIGHTS_ALL };
		sends[i].fn = job_send;
		job_start(&sends[i]);
		ASSERT_TRUE(wait_until(sends[i].done));
		job_join(&sends[i]);
		/* The last one would have to take it from the first. */
		ASSERT_EQ(i == 2 ? EBUSY : 0, sends[i].err);
	}
	EXPECT_FALSE(job.done);
	point_go();
	job_join(&job);
	ASSERT_EQ(0, job.rc);
	for (i = 0; i < 2; i++) {
		test_take(&self->a, &got);
		test_check(&self->a, got.p, 4, 1);
		test_drop(&self->a, got.cap);
	}
	test_send(&self->v, &self->a, ZCIPC_MOVE, self->src.cap);
	test_take(&self->a, &got);
	test_check(&self->a, got.p, 4, 1);
}

/* --- the line */

#define SENDERS 24

FIXTURE(line)
{
	struct base base;
	struct ep v;
	struct ep from[SENDERS];
	struct job jobs[SENDERS];
};

FIXTURE_SETUP(line)
{
	base_setup(_metadata, &self->base);
	test_open(&self->v, 8, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(line)

/* How often a thread has gone to sleep. */
static unsigned long sleeps(pid_t tid)
{
	char path[64], line[128];
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* A sender of so many pages, which sleeps when this returns. */
static void stand_in_line(struct __test_metadata *_metadata, FIXTURE_DATA(line) *self,
			  unsigned int i, size_t npages)
{
	struct buf b;

	test_open(&self->from[i], 16, 0);
	test_create(&self->from[i], npages, &b);
	self->jobs[i] = (struct job){ .ep = &self->from[i], .to = &self->v, .cap = b.cap,
				      .type = ZCIPC_MOVE };
	self->jobs[i].fn = job_send;
	job_start(&self->jobs[i]);
	ASSERT_TRUE(wait_until(thread_sleeps(self->jobs[i].tid)));
}

static void all_sleep(struct __test_metadata *_metadata, FIXTURE_DATA(line) *self, unsigned int i,
		      unsigned int n)
{
	for (; i < n; i++) {
		ASSERT_FALSE(self->jobs[i].done);
		ASSERT_TRUE(wait_until(thread_sleeps(self->jobs[i].tid)));
	}
}

/*
 * The one who sends next, which is who came first: as soon as there is room in the queue, or also
 * in the window. Returns how often others went to sleep again.
 */
static unsigned long next_in_line(struct __test_metadata *_metadata, FIXTURE_DATA(line) *self,
				  unsigned int i, unsigned int n, bool window)
{
	unsigned long before[SENDERS], sum = 0;
	unsigned int k;
	struct buf got;

	for (k = i; k < n; k++)
		before[k] = sleeps(self->jobs[k].tid);
	test_take(&self->v, &got);
	if (window) {
		/* Who is still at it, because of the queue, may be overtaken. */
		all_sleep(_metadata, self, i, n);
		test_drop(&self->v, got.cap);
	}
	job_join(&self->jobs[i]);
	EXPECT_EQ(0, self->jobs[i].rc);
	if (!window)
		test_drop(&self->v, got.cap);
	all_sleep(_metadata, self, i + 1, n);
	for (k = i + 1; k < n; k++)
		sum += sleeps(self->jobs[k].tid) - before[k];
	return sum;
}

/* G12: first come, first served, and nobody else is woken: of a queue that is full. */
TEST_F(line, queue_in_order)
{
	unsigned long woken = 0;
	struct buf b;
	unsigned int i;

	test_depth(&self->v, 1);
	test_create(&self->v, 1, &b);
	test_send(&self->v, &self->v, ZCIPC_COPY, b.cap);
	for (i = 0; i < SENDERS; i++)
		stand_in_line(_metadata, self, i, 1);
	for (i = 0; i < SENDERS; i++)
		woken += next_in_line(_metadata, self, i, SENDERS, false);
	/* To ask for room takes the lock, for which one may have to sleep. */
	EXPECT_GE(SENDERS, woken);
	test_take(&self->v, &b);
}

/* Of a window that is full. There is a message of room in the queue for each. */
TEST_F(line, window_in_order)
{
	unsigned long woken = 0;
	struct buf b;
	struct ep w;
	unsigned int i;

	test_open(&w, 8, 0);
	test_create(&w, 8, &b);
	test_send(&w, &self->v, ZCIPC_MOVE, b.cap);
	for (i = 0; i < SENDERS; i++)
		stand_in_line(_metadata, self, i, 8);
	for (i = 0; i < SENDERS; i++)
		woken += next_in_line(_metadata, self, i, SENDERS, true);
	EXPECT_GE(2 * SENDERS, woken);
	test_take(&self->v, &b);
}

/* Who needs more than there is keeps nobody away who needs less. */
TEST_F(line, small_behind_large)
{
	struct buf half, rest, got;

	test_create(&self->v, 4, &half);
	test_create(&self->v, 4, &rest);
	stand_in_line(_metadata, self, 0, 8);
	stand_in_line(_metadata, self, 1, 8);
	stand_in_line(_metadata, self, 2, 4);
	test_drop(&self->v, half.cap);
	job_join(&self->jobs[2]);
	EXPECT_EQ(0, self->jobs[2].rc);
	all_sleep(_metadata, self, 0, 2);
	/* The first two keep their places: one has tried in vain, the other was not woken. */
	test_take(&self->v, &got);
	all_sleep(_metadata, self, 0, 2);
	test_drop(&self->v, rest.cap);
	all_sleep(_metadata, self, 0, 2);
	test_drop(&self->v, got.cap);
	ASSERT_TRUE(wait_until(self->jobs[0].done));
	job_join(&self->jobs[0]);
	EXPECT_EQ(0, self->jobs[0].rc);
	all_sleep(_metadata, self, 1, 2);
	test_take(&self->v, &got);
	all_sleep(_metadata, self, 1, 2);
	test_drop(&self->v, got.cap);
	job_join(&self->jobs[1]);
	EXPECT_EQ(0, self->jobs[1].rc);
}

/* One change, room for many. */
TEST_F(line, many_at_once)
{
	struct buf b;
	unsigned int i;

	test_create(&self->v, 8, &b);
	for (i = 0; i < 8; i++)
		stand_in_line(_metadata, self, i, 1);
	test_drop(&self->v, b.cap);
	for (i = 0; i < 8; i++) {
		job_join(&self->jobs[i]);
		EXPECT_EQ(0, self->jobs[i].rc);
	}
}

/* Who leaves the line, by a signal or for good, takes nobody's turn along. */
TEST_F(line, leaving_takes_no_turn)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct buf b, got;
	unsigned int i;

	sigaction(SIGUSR1, &action, NULL);
	test_depth(&self->v, 1);
	test_create(&self->v, 1, &b);
	test_send(&self->v, &self->v, ZCIPC_COPY, b.cap);
	for (i = 0; i < 8; i++)
		stand_in_line(_metadata, self, i, 1);
	for (i = 0; i < 8; i += 2)
		pthread_kill(self->jobs[i].thread, SIGUSR1);
	test_take(&self->v, &got);
	for (i = 0; i < 8; i += 2) {
		job_join(&self->jobs[i]);
		if (self->jobs[i].rc) {
			EXPECT_EQ(EINTR, self->jobs[i].err);
			continue;
		}
		/* The change came before the signal was seen. There is room in the window for 8. */
		test_drop(&self->v, got.cap);
		test_take(&self->v, &got);
	}
	/* Who is about to try again can be overtaken, but all come through. */
	for (i = 1; i < 8; i += 2) {
		test_drop(&self->v, got.cap);
		ASSERT_TRUE(wait_until(!zc_take(&self->v, &got)));
	}
	for (i = 1; i < 8; i += 2) {
		job_join(&self->jobs[i]);
		EXPECT_EQ(0, self->jobs[i].rc);
	}
}

/* What a long transfer had reserved, which fails, is room for the next one. */
TEST_F(line, place_given_back)
{
	struct job job = { .type = ZCIPC_MOVE, .flags = ZCIPC_F_STRICT };
	struct call hold = { .fn = call_fill_pipe, .n = 1 };
	struct zcipc_recv m;
	struct buf src;
	struct ep a;

	need_points();
	ep_end(&self->v);
	test_open(&self->v, 2 * MANY, O_NONBLOCK);
	test_depth(&self->v, 1);
	test_start(&a, true, WINDOW_PAGES);
	test_create_flags(&a, MANY, ZCIPC_CREATE_NO_HUGE, &src);
	hold.addr = (uintptr_t)src.p;
	TEST_OK(ep_call(&a, &hold));
	job.ep = &a;
	job.to = &self->v;
	job.cap = src.cap;
	point_stop("long");
	job.fn = job_send;
	job_start(&job);
	ASSERT_TRUE(point_reached());
	stand_in_line(_metadata, self, 0, 1);
	point_go();
	job_join(&job);
	ASSERT_EQ(EBUSY, job.err);
	job_join(&self->jobs[0]);
	ASSERT_EQ(0, self->jobs[0].rc);
	test_recv(&self->v, &m);
}

/* All hear that there is nobody any more, or that nobody is to wait. */
TEST_F(line, all_hear_of_the_end)
{
	struct zcipc_endpoint_config fail = { .flags = ZCIPC_CONFIG_FULL,
					      .full = ZCIPC_FULL_FAIL };
	struct buf b;
	unsigned int i;

	test_depth(&self->v, 1);
	test_create(&self->v, 1, &b);
	test_send(&self->v, &self->v, ZCIPC_COPY, b.cap);
	for (i = 0; i < 8; i++)
		stand_in_line(_metadata, self, i, 1);
	test_config(&self->v, &fail);
	for (i = 0; i < 8; i++) {
		job_join(&self->jobs[i]);
		EXPECT_EQ(EAGAIN, self->jobs[i].err);
	}
	fail.full = ZCIPC_FULL_WAIT;
	test_config(&self->v, &fail);
	for (i = 8; i < 16; i++)
		stand_in_line(_metadata, self, i, 1);
	TEST_OK(munmap(self->v.win, self->v.npages * psize));
	self->v.win = NULL;
	close(self->v.fd);
	self->v.fd = -1;
	for (i = 8; i < 16; i++) {
		job_join(&self->jobs[i]);
		EXPECT_TRUE(self->jobs[i].err == ESRCH || self->jobs[i].err == ENOBUFS);
	}
}

TEST_HARNESS_MAIN

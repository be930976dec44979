// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages, read in every way, whatever becomes of what they tell of, and of who has the ring that
 * they are in.
 *
 * Guarantees: G7 no residue, G8 clean death, G9 nothing lost.
 */
#include "zcipc_utils.h"
#include "lib/ring.h"

/* Ways to die. */
FIXTURE(end)
{
	struct base base;
	struct ep a, v;
};

FIXTURE_VARIANT(end)
{
	long (*end)(struct ep *ep, struct call *c);
};

static long end_close(struct ep *ep, struct call *c)
{
	ring_close(ep);
	return call_close(ep, c);
}

/* The ring is what is left last. */
static long end_close_first(struct ep *ep, struct call *c)
{
	call_close(ep, c);
	ring_close(ep);
	return 0;
}

static long end_ring_first(struct ep *ep, struct call *c)
{
	ring_close(ep);
	_exit(c->val);
}

static long end_exec(struct ep *ep, struct call *c)
{
	(void)c;
	fcntl(ep->fd, F_SETFD, 0);
	execl("/bin/sleep", "sleep", "100000", NULL);
	return -1;
}

/* A child that has the VMAs, too. */
static long end_orphan(struct ep *ep, struct call *c)
{
	struct ring *r = ring_of(ep);

	madvise((void *)r->shared, r->len, MADV_DOFORK);
	madvise((void *)r->head, psize, MADV_DOFORK);
	if (!fork())
		while (recv(3, c, sizeof(*c), 0) > 0)
			;
	_exit(0);
}

static long end_kill(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	return kill(getpid(), SIGKILL);
}

FIXTURE_VARIANT_ADD(end, close) { .end = end_close };
FIXTURE_VARIANT_ADD(end, close_first) { .end = end_close_first };
FIXTURE_VARIANT_ADD(end, ring_first) { .end = end_ring_first };
FIXTURE_VARIANT_ADD(end, exit) { .end = call_exit };
FIXTURE_VARIANT_ADD(end, kill) { .end = end_kill };
FIXTURE_VARIANT_ADD(end, exec) { .end = end_exec };
FIXTURE_VARIANT_ADD(end, orphan) { .end = end_orphan };

FIXTURE_SETUP(end)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->v, true, 2 * ENTRIES);
}

FIXTURE_TEARDOWN_BASE(end)

/* G8, G9: what the head was past is gone, what it was not past comes back. */
TEST_F(end, comes_back)
{
	struct call c = { .fn = variant->end };
	struct zcipc_recv m, seen;
	struct buf bufs[6];
	int i;

	test_ring_open(&self->v, 1);
	for (i = 0; i < 6; i++) {
		test_create(&self->a, 2, &bufs[i]);
		test_fill(&self->a, bufs[i].p, 2, 10 + i);
		test_send(&self->a, &self->v, ZCIPC_MOVE, bufs[i].cap);
	}
	test_ring_take(&self->v, &m);
	test_ring_take(&self->v, &m);
	/* This one has even been used. */
	test_ring_read(&self->v, &seen);
	test_check(&self->v, (char *)(uintptr_t)seen.addr, 2, 12);
	ep_send(&self->v, &c);
	for (i = 2; i < 6; i++)
		take_returned(_metadata, &self->a, &self->v, 2, bufs[i].region, 10 + i);
	test_err_recv(EAGAIN, &self->a, &m);
}

/* The same when the ring was full, and of a head that cannot be. */
static long call_spoil(struct ep *ep, struct call *c)
{
	head_set(ep, c->n);
	return 0;
}

TEST_F(end, comes_back_full)
{
	struct call c = { .fn = variant->end }, spoil = { .fn = call_spoil, .n = 1000 };
	struct buf bufs[ENTRIES + 4];
	struct zcipc_recv m;
	unsigned int i;

	test_ring_open(&self->v, 1);
	for (i = 0; i < ARRAY_SIZE(bufs); i++) {
		test_create(&self->a, 1, &bufs[i]);
		test_fill(&self->a, bufs[i].p, 1, i + 1);
		test_send(&self->a, &self->v, ZCIPC_MOVE, bufs[i].cap);
	}
	ASSERT_EQ(0, ep_call(&self->v, &spoil));
	ep_send(&self->v, &c);
	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		take_returned(_metadata, &self->a, &self->v, 1, bufs[i].region, i + 1);
	test_err_recv(EAGAIN, &self->a, &m);
}

/* --- every message, in every way, whatever becomes of what it tells of */

enum memory { CREATED, IMPORTED, OF_A_FILE };

/* How the first message is received. SHOWN: it is in the ring, and the owner has not passed it. */
enum receipt { BY_RECV, BY_RING, SHOWN_THEN_RECV, SHOWN, UNHEARD };

enum fate { LIVES, REVOKED, DROPPED, SENDER_DIES, RECEIVER_DIES };

FIXTURE(text)
{
	struct base base;
	struct ep a, b;
	struct buf src;
	char *memory;
	char *view;
	int memfd;
	__u32 type;
	enum receipt how, later;	/* the first message, and those after it */
	enum fate fate;
};

FIXTURE_VARIANT(text)
{
	enum memory memory;
};

FIXTURE_VARIANT_ADD(text, created) { .memory = CREATED };
FIXTURE_VARIANT_ADD(text, imported) { .memory = IMPORTED };
FIXTURE_VARIANT_ADD(text, file) { .memory = OF_A_FILE };

FIXTURE_SETUP(text)
{
	base_setup(_metadata, &self->base);
	self->memfd = -1;
}

static void text_end(FIXTURE_DATA(text) *self)
{
	/* The mapping of a file's range is the owner's, who has to unmap it. */
	if (self->view)
		munmap(self->view, 2 * psize);
	self->view = NULL;
	if (self->b.fd >= 0)
		ring_close(&self->b);
	ep_end(&self->a);
	ep_end(&self->b);
	neps = 1;
	if (self->memory)
		munmap(self->memory, 2 * psize);
	self->memory = NULL;
	if (self->memfd >= 0)
		close(self->memfd);
	self->memfd = -1;
}

FIXTURE_TEARDOWN(text)
{
	if (!__test_passed(_metadata))
		TH_LOG("type %u how %u later %u fate %u", self->type, self->how,
		       self->later, self->fate);
	text_end(self);
	base_teardown(_metadata, &self->base);
}

/* Two endpoints, and a region of the sender's. */
static void text_start(struct __test_metadata *_metadata, FIXTURE_DATA(text) *self,
		       enum memory memory)
{
	test_open(&self->a, 64, O_NONBLOCK);
	test_open(&self->b, 64, O_NONBLOCK);
	switch (memory) {
	case CREATED:
		test_create(&self->a, 2, &self->src);
		test_fill(&self->a, self->src.p, 2, 1);
		return;
	case IMPORTED:
		self->memory = memory_touched(2);
		break;
	case OF_A_FILE:
		self->memfd = syscall(SYS_memfd_create, "text", 0);
		ASSERT_LE(0, self->memfd);
		ASSERT_EQ(0, ftruncate(self->memfd, 2 * psize));
		self->memory = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED,
				    self->memfd, 0);
		ASSERT_NE(MAP_FAILED, self->memory);
		ASSERT_EQ(0, fill(self->memory, 2, 1));
	}
	test_import(&self->a, self->memory, 2, &self->src);
}

/* Sends a message, and says what it has to be. */
static void text_send(struct __test_metadata *_metadata, FIXTURE_DATA(text) *self, __u32 type,
		      struct zcipc_recv *want)
{
	struct zcipc_transfer t = transfer_cmd(&self->b, type, self->src.cap, 0, 0,
					       type == ZCIPC_SHARE ? RIGHTS_RW : 0);
	struct zcipc_grant g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_RW);
	struct zcipc_notify n = notify_cmd(&self->b, self->src.cap, 0, 8, 100);
	struct buf got;

	*want = (struct zcipc_recv){
		.type = type, .region = self->src.region, .len = 2 * psize, .cookie = 0xc00c1e,
		.sender = self->a.id, .rights = RIGHTS_RW,
	};
	switch (type) {
	case ZCIPC_GRANTED:
		test_grant(&self->a, &g);
		want->cap = g.peer_cap;
		want->cookie = g.cookie;
		break;
	case ZCIPC_NOTIFIED:
		test_give(&self->a, &self->b, self->src.cap, RIGHTS_RW, &got);
		n.peer_cap = got.cap;
		test_notify(&self->a, &n);
		want->cap = got.cap;
		want->cookie = n.cookie;
		want->offset = 8;
		want->len = 100;
		break;
	default:
		test_transfer(&self->a, &t);
		want->cap = t.peer_cap;
		want->addr = 1;
		if (type != ZCIPC_SHARE)
			want->rights = RIGHTS_ALL;
		/* A snapshot is a region of its own. */
		if (type == ZCIPC_COPY)
			want->region = 0;
	}
}

static void text_is(struct __test_metadata *_metadata, FIXTURE_DATA(text) *self,
		    const struct zcipc_recv *want, const struct zcipc_recv *got, bool mapped)
{
	ASSERT_EQ(want->type, got->type);
	ASSERT_EQ(want->cap, got->cap);
	if (want->region)
		ASSERT_EQ(want->region, got->region);
	ASSERT_EQ(want->rights, got->rights);
	ASSERT_EQ(want->len, got->len);
	ASSERT_EQ(want->offset, got->offset);
	ASSERT_EQ(want->cookie, got->cookie);
	ASSERT_EQ(want->sender, got->sender);
	ASSERT_EQ(getpid(), got->sender_pid);
	ASSERT_EQ(getuid(), got->sender_uid);
	ASSERT_EQ(want->message_flags, got->message_flags);
	ASSERT_EQ(want->addr && mapped, got->addr != 0);
	if (self->memfd >= 0 && got->addr)
		self->view = (char *)(uintptr_t)got->addr;
}

/* Receives a message, in one of the ways. */
static int text_take(struct ep *ep, enum receipt how, struct zcipc_recv *m)
{
	struct zcipc_recv shown;

	switch (how) {
	case BY_RING:
		return ring_take(ep, m);
	case SHOWN_THEN_RECV:
		if (ring_read(ep, &shown))
			return -1;
		break;
	case SHOWN:
		return ring_read(ep, m);
	default:
		break;
	}
	return zc_recv(ep, m);
}

static void text_case(struct __test_metadata *_metadata, FIXTURE_DATA(text) *self,
		      enum memory memory)
{
	const enum fate fate = self->fate;
	const enum receipt how = self->how;
	const __u32 type = self->type;
	bool ring = how == BY_RING || how == SHOWN_THEN_RECV || how == SHOWN;
	/* Of a file's range, mapping is left to RECV. */
	bool mapped = memory != OF_A_FILE || how == BY_RECV || how == SHOWN_THEN_RECV;
	bool derived = type != ZCIPC_MOVE && type != ZCIPC_COPY;
	struct zcipc_recv want, m;
	__u64 n;

	text_start(_metadata, self, memory);
	/* Else what NOTIFIED is about would be in it, too. */
	if (ring && type != ZCIPC_NOTIFIED)
		test_ring_open(&self->b, 1);
	text_send(_metadata, self, type, &want);
	if (ring && type == ZCIPC_NOTIFIED)
		test_ring_open(&self->b, 1);
	if (how != UNHEARD) {
		TEST_OK(text_take(&self->b, how, &m));
		text_is(_metadata, self, &want, &m, mapped);
	}

	switch (fate) {
	case LIVES:
		break;
	case REVOKED:
		if (derived)
			test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
		break;
	case DROPPED:
		test_drop(&self->b, want.cap);
		break;
	case SENDER_DIES:
		ep_end(&self->a);
		break;
	case RECEIVER_DIES:
		ring_close(&self->b);
		ep_end(&self->b);
		break;
	}

	if (fate == RECEIVER_DIES) {
		/* What is shown has not been received. */
		if (type == ZCIPC_MOVE && (how == UNHEARD || how == SHOWN)) {
			test_recv(&self->a, &m);
			want.cap = m.cap;
			want.sender = m.sender;
			want.message_flags = ZCIPC_MESSAGE_RETURNED;
			want.addr = 0;
			text_is(_metadata, self, &want, &m, false);
		}
		test_err_recv(EAGAIN, &self->a, &m);
		text_end(self);
		return;
	}
	/* The entry remains, whatever becomes of it, until the owner is past it. */
	if (how == SHOWN) {
		TEST_OK(ring_take(&self->b, &m));
		text_is(_metadata, self, &want, &m, mapped);
	} else if (how == UNHEARD && (fate == LIVES || fate == SENDER_DIES ||
				      (fate == REVOKED && !derived))) {
		test_recv(&self->b, &m);
		text_is(_metadata, self, &want, &m, true);
	}
	if (fate == REVOKED && derived && (how != UNHEARD || type == ZCIPC_NOTIFIED)) {
		TEST_OK(text_take(&self->b, self->later, &m));
		want = (struct zcipc_recv){
			.type = ZCIPC_REVOKED, .cap = want.cap, .region = want.region,
			.rights = want.rights, .len = 2 * psize, .sender = want.sender,
		};
		text_is(_metadata, self, &want, &m, false);
	}
	test_err_recv(EAGAIN, &self->b, &m);
	if (ring)
		test_err_ring_read(EAGAIN, &self->b, &m);
	/* What comes next has nothing of it. */
	if (fate == REVOKED && derived) {
		text_send(_metadata, self, ZCIPC_GRANTED, &want);
		TEST_OK(text_take(&self->b, self->later, &m));
		text_is(_metadata, self, &want, &m, true);
	}
	text_end(self);
}

TEST_F(text, told_in_every_way)
{
	static const __u32 types[] = {
		ZCIPC_SHARE, ZCIPC_GRANTED, ZCIPC_NOTIFIED, ZCIPC_MOVE, ZCIPC_COPY,
	};
	/* A file's range can be shared, and no more. */
	const unsigned int ntypes = variant->memory == OF_A_FILE ? 3 : ARRAY_SIZE(types);
	unsigned int i;

	for (i = 0; i < ntypes; i++)
		for (self->how = BY_RECV; self->how <= UNHEARD; self->how++)
			for (self->fate = LIVES; self->fate <= RECEIVER_DIES; self->fate++) {
				self->type = types[i];
				self->later = BY_RECV;
				text_case(_metadata, self, variant->memory);
				if (self->fate != REVOKED || self->how == BY_RECV ||
				    self->how == UNHEARD)
					continue;
				self->later = self->how == SHOWN_THEN_RECV ? self->how : BY_RING;
				text_case(_metadata, self, variant->memory);
			}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Receive rings: messages that are read without a call.
 *
 * Guarantees: G6 rights, G7 no residue, G9 nothing lost, G11 bounded, G12 waiting.
 * Attacks: 4 fork, 13 rights by other ways; a ring's owner who writes what it likes.
 */
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "zcipc_utils.h"
#include "lib/ring.h"

/* Messages that tell of nothing but their number. */
static int number(struct ep *from, struct ep *to, __u64 cap, __u64 n)
{
	struct zcipc_grant cmd = grant_cmd(to, cap, 0, 0, ZCIPC_RIGHT_READ);

	cmd.cookie = n;
	return zc_grant(from, &cmd);
}

FIXTURE(ring)
{
	struct base base;
	struct ep a, b;
	struct buf buf;
};

/* Where the sender is; the receiver is here. */
FIXTURE_VARIANT(ring)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(ring, local) { .remote = false };
FIXTURE_VARIANT_ADD(ring, process) { .remote = true };

FIXTURE_SETUP(ring)
{
	base_setup(_metadata, &self->base);
	if (variant->remote) {
		ASSERT_FALSE(peer_fork(&self->a) ||
			     peer_open(&self->a, WINDOW_PAGES, O_NONBLOCK));
	} else {
		test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	}
	test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
	test_create(&self->a, 4, &self->buf);
	test_fill(&self->a, self->buf.p, 4, 1);
}

FIXTURE_TEARDOWN(ring)
{
	ring_close(&self->a);
	ring_close(&self->b);
	base_teardown(_metadata, &self->base);
}

/* An entry says what RECV says, byte by byte, and nothing else is in the ring. */
TEST_F(ring, as_received)
{
	const __u32 types[] = { ZCIPC_SHARE, ZCIPC_COPY, ZCIPC_GRANTED, ZCIPC_MOVE };
	struct zcipc_stats before, after;
	struct zcipc_recv m, want;
	const char *entries;
	unsigned int i, j;

	test_ring_open(&self->b, 1);
	entries = (const char *)ring_of(&self->b)->shared + psize;
	EXPECT_EQ(ENTRIES, ring_of(&self->b)->shared->nentries);
	EXPECT_EQ(ZCIPC_RING_ENTRY_SIZE, ring_of(&self->b)->shared->entry_size);
	EXPECT_EQ(0, ring_of(&self->b)->shared->tail);
	test_err_ring_read(EAGAIN, &self->b, &m);
	EXPECT_EQ(0, ready(&self->b));
	before.flags = ZCIPC_STATS_ENDPOINT;
	before.size = sizeof(before);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		struct zcipc_transfer t = transfer_cmd(&self->b, types[i], self->buf.cap, 0, 0,
						       types[i] == ZCIPC_SHARE ? RIGHTS_RW : 0);

		t.cookie = 100 + i;
		before = (struct zcipc_stats){
			.size = sizeof(before), .flags = ZCIPC_STATS_ENDPOINT,
		};
		after = before;
		TEST_OK(zc_ioctl(&self->b, ZCIPC_IOC_STATS, &before));
		/* What is left would be somebody else's. */
		t.flags = types[i] == ZCIPC_MOVE ? ZCIPC_F_REVOKE_OTHERS : 0;
		if (types[i] == ZCIPC_GRANTED)
			TEST_OK(number(&self->a, &self->b, self->buf.cap, t.cookie));
		else
			test_transfer(&self->a, &t);
		test_ring_read(&self->b, &m);
		EXPECT_EQ(POLLIN, ready(&self->b));
		EXPECT_EQ(sizeof(m), m.size);
		EXPECT_EQ(0, m.flags);
		EXPECT_EQ(0, m.pending);
		EXPECT_EQ(types[i], m.type);
		EXPECT_EQ(self->a.id, m.sender);
		EXPECT_EQ(self->a.pid, m.sender_pid);
		EXPECT_EQ(getuid(), m.sender_uid);
		EXPECT_EQ(100 + i, m.cookie);
		EXPECT_EQ(4 * psize, m.len);
		EXPECT_EQ(0, m.offset);
		EXPECT_EQ(0, m.message_flags);
		if (types[i] != ZCIPC_GRANTED)
			test_check(&self->b, (char *)(uintptr_t)m.addr, 4, 1);
		/* Now the same by a call. */
		test_recv(&self->b, &want);
		want.size = m.size;
		EXPECT_EQ(0, memcmp(&m, &want, sizeof(m)));
		EXPECT_EQ(i + 1, head_of(&self->b));
		test_err_ring_read(EAGAIN, &self->b, &m);
		EXPECT_EQ(0, ready(&self->b));
		TEST_OK(zc_ioctl(&self->b, ZCIPC_IOC_STATS, &after));
		EXPECT_EQ(before.received + 1, after.received);
		test_drop(&self->b, want.cap);
	}
	for (i = 0; i < ENTRIES; i++)
		for (j = i < 4 ? sizeof(m) : 0; j < ZCIPC_RING_ENTRY_SIZE; j++)
			ASSERT_EQ(0, entries[i * ZCIPC_RING_ENTRY_SIZE + j]);
	for (i = sizeof(struct zcipc_ring); i < psize; i++)
		ASSERT_EQ(0, entries[(long)i - (long)psize]);
}

/* Without any call of the receiver's: content, order, many rounds of a ring that wraps. */
TEST_F(ring, no_call)
{
	struct zcipc_stats stats;
	struct zcipc_recv m;
	unsigned int i;

	test_ring_open(&self->b, 1);
	for (i = 0; i < 5 * ENTRIES; i++) {
		struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_COPY, self->buf.cap, 0, 1,
						       0);

		t.cookie = i;
		test_transfer(&self->a, &t);
		if (i % 7)
			continue;
		while (!ring_read(&self->b, &m)) {
			ASSERT_EQ(head_of(&self->b), m.cookie);
			test_check(&self->b, (char *)(uintptr_t)m.addr, 1, 1);
			ASSERT_EQ(0, ring_pass(&self->b, 1));
		}
	}
	while (!ring_take(&self->b, &m))
		;
	EXPECT_EQ(5 * ENTRIES, head_of(&self->b));
	EXPECT_EQ(0, ready(&self->b));
	test_stats(&self->b, &stats);
	EXPECT_EQ(0, stats.messages);
}

/* Bytes, not pages. */
TEST_F(ring, any_align)
{
	struct zcipc_recv m;
	struct ep *a = &self->a;
	char *p;

	if (variant->remote)
		SKIP(return, "the memory is here");
	p = memory_touched(3);
	test_ring_open(&self->b, 1);
	test_direct(a, &self->b, ZCIPC_COPY, p + 100, psize, ZCIPC_F_ANY_ALIGN);
	test_ring_take(&self->b, &m);
	EXPECT_EQ(100, m.offset);
	EXPECT_EQ(psize, m.len);
	EXPECT_EQ(100, m.addr % psize);
	munmap(p, 3 * psize);
}

/* Both ways by turns, and a second ring takes over where the first ended. */
TEST_F(ring, and_recv)
{
	struct zcipc_recv m;
	unsigned int i;

	TEST_OK(number(&self->a, &self->b, self->buf.cap, 0));
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 1));
	test_ring_open(&self->b, 1);
	for (i = 2; i < 10; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	for (i = 0; i < 6; i++) {
		if (i & 1)
			test_ring_take(&self->b, &m);
		else
			test_recv(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
		ASSERT_EQ(i + 1, head_of(&self->b));
	}
	/* 6 has been seen, but not received. */
	test_ring_read(&self->b, &m);
	ring_close(&self->b);
	test_recv(&self->b, &m);
	EXPECT_EQ(6, m.cookie);
	EXPECT_EQ(3, m.pending);
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 10));
	test_ring_open(&self->b, 2);
	EXPECT_EQ(0, head_of(&self->b));
	for (i = 7; i < 11; i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
	}
	test_err_recv(EAGAIN, &self->b, &m);
	/* Moved the head, and unmapped: that counts. */
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 11));
	test_ring_take(&self->b, &m);
	ring_close(&self->b);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* What does not fit waits its turn. The receiver is told that there is more. */
TEST_F(ring, full)
{
	struct zcipc_recv m;
	unsigned int i, called = 0;

	test_ring_open(&self->b, 1);
	for (i = 0; i < ENTRIES; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	EXPECT_EQ(0, ring_of(&self->b)->shared->flags);
	for (; i < 3 * ENTRIES; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	EXPECT_EQ(ZCIPC_RING_CALL, ring_of(&self->b)->shared->flags);
	EXPECT_EQ(ENTRIES, ring_of(&self->b)->shared->tail);
	for (i = 0; i < 2 * ENTRIES; i++) {
		test_ring_read(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
		called += ring_pass(&self->b, 1);
	}
	EXPECT_EQ(2 * ENTRIES, called);
	/* The last ones do not need it any more. */
	EXPECT_EQ(0, ring_of(&self->b)->shared->flags);
	for (; i < 3 * ENTRIES; i++) {
		test_ring_read(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
		ASSERT_EQ(0, ring_pass(&self->b, 1));
	}
	/* RECV does as well as poll(). */
	for (i = 0; i < ENTRIES + 2; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	head_set(&self->b, head_of(&self->b) + ENTRIES);
	test_recv(&self->b, &m);
	EXPECT_EQ(ENTRIES, m.cookie);
	test_ring_take(&self->b, &m);
	EXPECT_EQ(ENTRIES + 1, m.cookie);
}

/* Each ring size, to the last entry, as far as so many messages may wait. */
TEST_F(ring, sizes)
{
	struct zcipc_info info = { .size = sizeof(info) };
	size_t npages, n, i;
	struct zcipc_recv m;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	for (npages = 1; npages <= 32; npages *= 2) {
		test_ring_open(&self->b, npages);
		n = npages * ENTRIES;
		ASSERT_EQ(n, ring_of(&self->b)->shared->nentries);
		if (n > info.max_messages)
			n = info.max_messages;
		for (i = 0; i < n; i++)
			TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
		ASSERT_EQ(0, ring_of(&self->b)->shared->flags);
		for (i = 0; i < n; i++) {
			test_ring_take(&self->b, &m);
			ASSERT_EQ(i, m.cookie);
		}
		ring_close(&self->b);
	}
}

/* G11: entries take room until the head is past them. */
TEST_F(ring, back_pressure)
{
	struct zcipc_recv m;
	unsigned int i;

	test_ring_open(&self->b, 1);
	test_depth(&self->b, 4);
	for (i = 0; i < 4; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	TEST_ERR(EAGAIN, number(&self->a, &self->b, self->buf.cap, 4));
	EXPECT_EQ(ZCIPC_RING_CALL, ring_of(&self->b)->shared->flags);
	test_ring_read(&self->b, &m);
	TEST_ERR(EAGAIN, number(&self->a, &self->b, self->buf.cap, 4));
	/* Nobody but the sender looks. */
	head_set(&self->b, 2);
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 4));
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 5));
	TEST_ERR(EAGAIN, number(&self->a, &self->b, self->buf.cap, 6));
	for (i = 2; i < 6; i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
	}
}

struct sender {
	struct ep *from, *to;
	__u64 cap;
	unsigned int first, n;
	pthread_t thread;
	pid_t tid;
	int err;
};

static void *send_thread(void *arg)
{
	struct sender *s = arg;
	unsigned int i;

	s->tid = gettid();
	for (i = s->first; i < s->first + s->n && !s->err; i++)
		if (number(s->from, s->to, s->cap, i))
			s->err = errno;
	return NULL;
}

/* The receiver polls its ring, and has so little room that senders wait for it. */
static void ring_to_wait_for(struct __test_metadata *_metadata, FIXTURE_DATA(ring) *self,
			     __u32 depth)
{
	fcntl(self->a.fd, F_SETFL, O_RDWR);
	test_ring_open(&self->b, 1);
	test_depth(&self->b, depth);
}

/* A sender that waits for room goes on when the receiver says that there is some. */
TEST_F(ring, sender_waits)
{
	struct sender s = { .from = &self->a, .to = &self->b, .cap = self->buf.cap, .first = 2,
			    .n = 100 };
	struct zcipc_recv m;
	unsigned int i;

	if (variant->remote)
		SKIP(return, "the sender is a thread");
	ring_to_wait_for(_metadata, self, 2);
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 0));
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 1));
	EXPECT_EQ(0, ring_of(&self->b)->shared->flags);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, send_thread, &s));
	ASSERT_TRUE(wait_until(ring_of(&self->b)->shared->flags));
	ASSERT_TRUE(wait_until(thread_sleeps(s.tid)));
	for (i = 0; i < 102; i++) {
		ASSERT_TRUE(wait_until(!ring_read(&self->b, &m)));
		ASSERT_EQ(i, m.cookie);
		ring_pass(&self->b, 1);
	}
	pthread_join(s.thread, NULL);
	EXPECT_EQ(0, s.err);
}

/* Of many that wait, each goes on, though the receiver calls only when it is asked to. */
TEST_F(ring, senders_wait)
{
	struct sender s[8];
	struct zcipc_recv m;
	unsigned int i;

	if (variant->remote)
		SKIP(return, "the senders are threads");
	ring_to_wait_for(_metadata, self, 1);
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 100));
	for (i = 0; i < ARRAY_SIZE(s); i++) {
		s[i] = (struct sender){ .from = &self->a, .to = &self->b, .cap = self->buf.cap,
					.first = i, .n = 1 };
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, send_thread, &s[i]));
		ASSERT_TRUE(wait_until(thread_sleeps(s[i].tid)));
	}
	for (i = 0; i < ARRAY_SIZE(s) + 1; i++) {
		ASSERT_TRUE(wait_until(!ring_read(&self->b, &m)));
		ring_pass(&self->b, 1);
	}
	for (i = 0; i < ARRAY_SIZE(s); i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].err);
	}
}

static void *move_thread(void *arg)
{
	struct sender *s = arg;

	s->tid = gettid();
	s->err = zc_send(s->from, s->to, ZCIPC_MOVE, s->cap) ? errno : 0;
	return NULL;
}

/* Room in the window counts, though the queue looks full until somebody looks at the head. */
TEST_F(ring, sender_waits_for_window)
{
	struct sender s = { .from = &self->a, .to = &self->b };
	struct buf mine, big;
	struct zcipc_recv m;
	unsigned int i;

	if (variant->remote)
		SKIP(return, "the sender is a thread");
	ring_to_wait_for(_metadata, self, 2);
	test_create_flags(&self->b, WINDOW_PAGES, ZCIPC_CREATE_NO_HUGE, &mine);
	test_create(&self->a, 8, &big);
	s.cap = big.cap;
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, move_thread, &s));
	ASSERT_TRUE(wait_until(thread_sleeps(s.tid)));
	for (i = 0; i < 2; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	for (i = 0; i < 2; i++) {
		test_ring_read(&self->b, &m);
		ASSERT_EQ(0, ring_pass(&self->b, 1));
	}
	test_drop(&self->b, mine.cap);
	ASSERT_TRUE(wait_until(!ring_read(&self->b, &m)));
	ASSERT_EQ(ZCIPC_MOVE, m.type);
	ring_pass(&self->b, 1);
	pthread_join(s.thread, NULL);
	EXPECT_EQ(0, s.err);
}

/* An entry that is in the ring may be known: its end is told. One that is not in it is not. */
TEST_F(ring, revoked)
{
	struct zcipc_recv m, first;
	struct zcipc_grant late;
	unsigned int i;
	__u64 n;

	test_ring_open(&self->b, 1);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->buf.cap, ZCIPC_RIGHT_READ);
	test_ring_read(&self->b, &first);
	test_check(&self->b, (char *)(uintptr_t)first.addr, 4, 1);
	test_revoke(&self->a, &self->b, first.cap, 0, &n);
	EXPECT_EQ(1, n);
	test_gone(&self->b, (char *)(uintptr_t)first.addr, 4);
	test_err_drop(ESTALE, &self->b, first.cap);
	/* Unchanged. */
	test_ring_take(&self->b, &m);
	EXPECT_EQ(0, memcmp(&m, &first, sizeof(m)));
	test_ring_take(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(first.cap, m.cap);
	EXPECT_EQ(self->a.id, m.sender);
	EXPECT_EQ(0, m.addr);
	test_err_ring_read(EAGAIN, &self->b, &m);

	/* RECV does not tell of what is no longer there, and goes past it. */
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->buf.cap, ZCIPC_RIGHT_READ);
	test_ring_read(&self->b, &first);
	test_revoke(&self->a, &self->b, first.cap, 0, &n);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(first.cap, m.cap);
	EXPECT_EQ(4, head_of(&self->b));
	test_err_recv(EAGAIN, &self->b, &m);

	for (i = 0; i < ENTRIES; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	late = grant_cmd(&self->b, self->buf.cap, 0, 0, ZCIPC_RIGHT_READ);
	test_grant(&self->a, &late);
	test_revoke(&self->a, &self->b, late.peer_cap, 0, &n);
	EXPECT_EQ(1, n);
	for (i = 0; i < ENTRIES; i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
	}
	test_err_ring_read(EAGAIN, &self->b, &m);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* Notifications: an entry says what RECV says, and what it told of can go before it is received. */
TEST_F(ring, notified)
{
	struct zcipc_recv m, want;
	struct zcipc_notify cmd;
	struct buf dst, other;
	unsigned int i;

	test_ring_open(&self->b, 1);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->buf.cap, RIGHTS_RW);
	test_ring_take(&self->b, &m);
	dst = (struct buf){ .cap = m.cap, .p = (char *)(uintptr_t)m.addr };
	cmd = notify_cmd(&self->b, self->buf.cap, dst.cap, psize + 8, 16);
	test_notify(&self->a, &cmd);
	test_ring_read(&self->b, &m);
	EXPECT_EQ(ZCIPC_NOTIFIED, m.type);
	EXPECT_EQ(RIGHTS_RW, m.rights);
	EXPECT_EQ(dst.cap, m.cap);
	EXPECT_EQ((uintptr_t)dst.p + psize + 8, m.addr);
	EXPECT_EQ(psize + 8, m.offset);
	EXPECT_EQ(16, m.len);
	EXPECT_EQ(self->a.id, m.sender);
	test_recv(&self->b, &want);
	want.size = m.size;
	EXPECT_EQ(0, memcmp(&m, &want, sizeof(m)));

	/* Rounds of it, more than fit, of which none is received by a call. */
	for (i = 0; i < 3 * ENTRIES; i++) {
		cmd.cookie = i;
		test_notify(&self->a, &cmd);
	}
	for (i = 0; i < 3 * ENTRIES; i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
	}
	test_err_ring_read(EAGAIN, &self->b, &m);

	/* Entries stay. What did not fit is lost, with what had been shown and not received. */
	test_give(&self->a, &self->b, self->buf.cap, ZCIPC_RIGHT_READ, &other);
	cmd.peer_cap = other.cap;
	for (i = 0; i < 2 * ENTRIES; i++) {
		cmd.cookie = i;
		test_notify(&self->a, &cmd);
	}
	test_drop(&self->b, other.cap);
	EXPECT_EQ(0, ready(&self->b));
	cmd.peer_cap = dst.cap;
	cmd.cookie = 3 * ENTRIES;
	test_notify(&self->a, &cmd);
	for (i = 0; i < ENTRIES; i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
		ASSERT_EQ(other.cap, m.cap);
	}
	test_ring_take(&self->b, &m);
	EXPECT_EQ(3 * ENTRIES, m.cookie);
	test_err_ring_read(EAGAIN, &self->b, &m);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* The end of a ring does not make the owner forget what it has seen in it. */
TEST_F(ring, revoked_after_the_ring)
{
	struct zcipc_recv m, first;
	__u64 n;

	test_ring_open(&self->b, 1);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, self->buf.cap, ZCIPC_RIGHT_READ);
	test_ring_read(&self->b, &first);
	ring_close(&self->b);
	test_revoke(&self->a, &self->b, first.cap, 0, &n);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(first.cap, m.cap);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* What an entry told of can be handed on before the head is past it. */
TEST_F(ring, used_before_received)
{
	struct zcipc_recv m, back;
	unsigned int i;

	test_ring_open(&self->b, 1);
	for (i = 0; i < 3 * ENTRIES; i++) {
		test_send(&self->a, &self->b, ZCIPC_MOVE, self->buf.cap);
		test_ring_read(&self->b, &m);
		ASSERT_EQ(ZCIPC_MOVE, m.type);
		test_send(&self->b, &self->a, ZCIPC_MOVE, m.cap);
		test_recv(&self->a, &back);
		self->buf.cap = back.cap;
		test_ring_read(&self->b, &back);
		ASSERT_EQ(0, memcmp(&m, &back, sizeof(m)));
		ASSERT_EQ(0, ring_pass(&self->b, 1));
	}
	/* The ring is full of what is gone. There is a way round it. */
	for (i = 0; i < ENTRIES + 1; i++) {
		test_send(&self->a, &self->b, ZCIPC_MOVE, self->buf.cap);
		if (i == ENTRIES)
			break;
		memcpy(&m, (char *)ring_of(&self->b)->shared + psize +
			   i * ZCIPC_RING_ENTRY_SIZE, sizeof(m));
		test_send(&self->b, &self->a, ZCIPC_MOVE, m.cap);
		test_recv(&self->a, &back);
		self->buf.cap = back.cap;
	}
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 4, 1);
	test_err_recv(EAGAIN, &self->b, &m);
	ring_pass(&self->b, ENTRIES);
	test_err_ring_read(EAGAIN, &self->b, &m);
}

/* G9: what comes back from a dead peer comes into the ring too. */
TEST_F(ring, returned)
{
	struct zcipc_recv m;
	struct buf buf;
	struct ep v;
	char *p;

	test_ring_open(&self->b, 1);
	test_start(&v, true, 64);
	test_create(&self->b, 2, &buf);
	test_fill(&self->b, buf.p, 2, 5);
	test_send(&self->b, &v, ZCIPC_MOVE, buf.cap);
	ep_end(&v);
	ASSERT_TRUE(wait_until(!ring_take(&self->b, &m)));
	EXPECT_EQ(ZCIPC_MOVE, m.type);
	EXPECT_EQ(ZCIPC_MESSAGE_RETURNED, m.message_flags);
	EXPECT_EQ(v.id, m.sender);
	EXPECT_EQ(0, m.addr);
	EXPECT_EQ(buf.region, m.region);
	test_map(&self->b, m.cap, 0, 0, RIGHTS_RW, &p);
	test_check(&self->b, p, 2, 5);
}

/* Memory of a file is mapped by its owner, in MAP or RECV. */
TEST_F(ring, file)
{
	struct zcipc_transfer t;
	struct zcipc_recv m;
	char *p, *mem, *received;
	int i;

	if (variant->remote)
		SKIP(return, "the memory is here");
	mem = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(0, fill(mem, 2, 7));
	test_ring_open(&self->b, 1);
	for (i = 0; i < 2; i++) {
		t = direct_cmd(&self->b, ZCIPC_SHARE, mem, 2 * psize, 0);
		t.rights = RIGHTS_RW;
		test_transfer(&self->a, &t);
	}
	test_ring_take(&self->b, &m);
	EXPECT_EQ(0, m.addr);
	EXPECT_EQ(2 * psize, m.len);
	test_map(&self->b, m.cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	test_check(&self->b, p, 2, 7);
	test_ring_read(&self->b, &m);
	EXPECT_EQ(0, m.addr);
	test_recv(&self->b, &m);
	received = (char *)(uintptr_t)m.addr;
	test_check(&self->b, received, 2, 7);
	munmap(received, 2 * psize);
	munmap(p, 2 * psize);
	munmap(mem, 2 * psize);
}

/* One batch, more than fits. */
TEST_F(ring, batch)
{
	struct zcipc_transfer t[ENTRIES + 8];
	struct zcipc_transfer_batch cmd = {
		.size = sizeof(cmd), .transfers = (uintptr_t)t, .ntransfers = ARRAY_SIZE(t),
		.transfer_size = sizeof(t[0]),
	};
	struct zcipc_recv m;
	unsigned int i;

	if (variant->remote)
		SKIP(return, "the transfers are here");
	test_ring_open(&self->b, 1);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		t[i] = transfer_cmd(&self->b, ZCIPC_COPY, self->buf.cap, 0, 1, 0);
		t[i].cookie = i;
	}
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_TRANSFER_BATCH, &cmd));
	ASSERT_EQ(ARRAY_SIZE(t), cmd.done);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
		test_check(&self->b, (char *)(uintptr_t)m.addr, 1, 1);
	}
}

static int try_mmap(int fd, size_t len, int prot, int flags, __u64 offset)
{
	void *p = mmap(NULL, len, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -1;
	munmap(p, len);
	return 0;
}

/* What can be mapped, and what can be made of it. */
TEST_F(ring, mappings)
{
	const int rw = PROT_READ | PROT_WRITE, fd = self->b.fd;
	const __u64 offset = ZCIPC_RING_OFFSET, head = ZCIPC_RING_OFFSET_HEAD;
	struct zcipc_recv m;
	char byte = 1, *p;
	struct iovec here = { &byte, 1 }, there = { NULL, 1 };
	size_t npages;
	int mem;

	for (npages = 1; npages < 70; npages++) {
		bool good = npages > 1 && npages <= 33 && !((npages - 1) & (npages - 2));

		TEST_ERR(good ? 0 : EINVAL,
			 try_mmap(fd, npages * psize, PROT_READ, MAP_SHARED, offset));
	}
	TEST_ERR(EINVAL, try_mmap(fd, 2 * psize, PROT_READ, MAP_SHARED, offset + psize));
	TEST_ERR(EINVAL, try_mmap(fd, 2 * psize, PROT_READ, MAP_PRIVATE, offset));
	TEST_ERR(EACCES, try_mmap(fd, 2 * psize, rw, MAP_SHARED, offset));
	TEST_ERR(EACCES, try_mmap(fd, 2 * psize, PROT_READ | PROT_EXEC, MAP_SHARED, offset));
	TEST_ERR(EINVAL, try_mmap(fd, psize, rw, MAP_SHARED, head));

	test_ring_open(&self->b, 1);
	TEST_ERR(EBUSY, try_mmap(fd, 2 * psize, PROT_READ, MAP_SHARED, offset));
	TEST_ERR(EINVAL, try_mmap(fd, 2 * psize, rw, MAP_SHARED, head));
	TEST_ERR(EINVAL, try_mmap(fd, psize, rw, MAP_SHARED, head + psize));
	TEST_ERR(EINVAL, try_mmap(fd, psize, rw, MAP_PRIVATE, head));
	TEST_ERR(EACCES, try_mmap(fd, psize, rw | PROT_EXEC, MAP_SHARED, head));
	/* Harmless, and no end of the ring. */
	TEST_OK(try_mmap(fd, psize, rw, MAP_SHARED, head));

	p = (char *)ring_of(&self->b)->shared;
	TEST_ERR(EACCES, mprotect(p, psize, rw));
	TEST_ERR(EACCES, mprotect(p, psize, PROT_READ | PROT_EXEC));
	TEST_ERR(EACCES, mprotect((void *)ring_of(&self->b)->head, psize, PROT_EXEC));
	ASSERT_EQ(SIGSEGV, touch_write(p, 1));
	there.iov_base = p;
	EXPECT_EQ(-1, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ(-1, pwrite(mem, &byte, 1, (uintptr_t)p));
	EXPECT_EQ(1, pread(mem, &byte, 1, (uintptr_t)p));
	close(mem);
	EXPECT_EQ(MAP_FAILED, mremap(p, 2 * psize, 4 * psize, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(p, 2 * psize, 2 * psize, MREMAP_MAYMOVE | MREMAP_FIXED,
				     p + (1 << 30)));

	/* What is taken out of the page tables comes back. */
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 1));
	test_ring_read(&self->b, &m);
	madvise(p, 2 * psize, MADV_DONTNEED);
	madvise((void *)ring_of(&self->b)->head, psize, MADV_DONTNEED);
	test_ring_read(&self->b, &m);
	EXPECT_EQ(1, m.cookie);
	TEST_OK(mlock(p, 2 * psize));
	TEST_OK(munlock(p, 2 * psize));

	/* Piece by piece: as long as there is one the ring is there. */
	munmap((void *)ring_of(&self->b)->head, psize);
	ring_of(&self->b)->head = NULL;
	munmap(p + psize, psize);
	TEST_ERR(EBUSY, try_mmap(fd, 2 * psize, PROT_READ, MAP_SHARED, offset));
	EXPECT_EQ(1, ((struct zcipc_ring *)p)->tail);
	munmap(p, psize);
	test_ring_open(&self->b, 2);
	test_ring_take(&self->b, &m);
	EXPECT_EQ(1, m.cookie);
}

static int in_child(struct ep *ep, const char *p, const char *head)
{
	__u64 val;

	if (touch_read(p, &val) != SIGSEGV || touch_read(head, &val) != SIGSEGV)
		return 1;
	if (!try_mmap(ep->fd, 2 * psize, PROT_READ, MAP_SHARED, ZCIPC_RING_OFFSET) ||
	    errno != EPERM)
		return 2;
	if (!try_mmap(ep->fd, psize, PROT_READ, MAP_SHARED, ZCIPC_RING_OFFSET_HEAD) ||
	    errno != EPERM)
		return 3;
	return 0;
}

/* 4: children have no ring, and theirs is no end of their parents'. */
TEST_F(ring, children)
{
	char *p, *head;
	struct zcipc_recv m;
	int i, status;
	__u64 val;
	pid_t pid;

	test_ring_open(&self->b, 1);
	p = (char *)ring_of(&self->b)->shared;
	head = (char *)ring_of(&self->b)->head;
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 1));
	test_ring_read(&self->b, &m);
	for (i = 0; i < 2; i++) {
		fflush(NULL);
		pid = fork();
		if (!pid)
			_exit(i ? touch_read(p, &val) != SIGBUS || touch_write(head, 5) != SIGBUS :
				  in_child(&self->b, p, head));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		test_inheritable(p, 2 * psize);
		test_inheritable(head, psize);
	}
	test_ring_take(&self->b, &m);
	EXPECT_EQ(1, m.cookie);
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 2));
	test_ring_take(&self->b, &m);
	EXPECT_EQ(2, m.cookie);
}

/* A head that cannot be counts for nothing, and a call puts it right. */
TEST_F(ring, impossible_heads)
{
	static const __u32 heads[] = { 9, 10, 100, 1, 0, -1, 0x7fffffff, 0x80000000, 0x80000002,
				       0xfffffff0 };
	struct zcipc_stats stats;
	struct zcipc_recv m;
	unsigned int i;

	test_ring_open(&self->b, 1);
	test_depth(&self->b, 6);
	for (i = 0; i < 2; i++) {
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
		test_ring_take(&self->b, &m);
	}
	for (; i < 8; i++)
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
	for (i = 0; i < ARRAY_SIZE(heads); i++) {
		head_set(&self->b, heads[i]);
		TEST_ERR(EAGAIN, number(&self->a, &self->b, self->buf.cap, 99));
		EXPECT_EQ(POLLIN, ready(&self->b));
		test_stats(&self->b, &stats);
		EXPECT_EQ(6, stats.messages);
		ASSERT_EQ(heads[i], head_of(&self->b));
	}
	test_recv(&self->b, &m);
	EXPECT_EQ(2, m.cookie);
	EXPECT_EQ(3, head_of(&self->b));
	for (i = 3; i < 8; i++) {
		test_ring_take(&self->b, &m);
		ASSERT_EQ(i, m.cookie);
	}
	test_err_recv(EAGAIN, &self->b, &m);
}

struct scribbler {
	volatile __u32 *head;
	const volatile __u32 *tail;
	volatile bool stop;
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	unsigned int seed = 1;

	while (!s->stop) {
		*s->head = *s->tail - rand_r(&seed) % 8;
		*s->head = rand_r(&seed) << 16 | rand_r(&seed);
	}
	return NULL;
}

/* An owner who writes there all the time spoils its own messages, and nobody's else. */
TEST_F(ring, scribbler)
{
	struct scribbler s = {};
	pthread_t thread;
	struct buf buf;
	struct zcipc_recv m;
	unsigned int i, n;
	struct ep c;
	__u64 revoked;

	test_open(&c, WINDOW_PAGES, O_NONBLOCK);
	test_ring_open(&self->b, 1);
	test_ring_open(&c, 1);
	test_depth(&self->b, 2 * ENTRIES);
	s.head = &ring_of(&self->b)->head->head;
	s.tail = &ring_of(&self->b)->shared->tail;
	ASSERT_EQ(0, pthread_create(&thread, NULL, scribble, &s));
	n = loops(variant->remote ? 200 : 1000);
	for (i = 0; i < n; i++) {
		struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_MOVE, 0, 0, 0, 0);
		struct zcipc_grant grant = grant_cmd(&self->b, self->buf.cap, 0, 0,
						     ZCIPC_RIGHT_READ);

		test_create(&self->a, 1, &buf);
		t.cap = buf.cap;
		if (zc_transfer(&self->a, &t)) {
			ASSERT_EQ(EAGAIN, errno);
			test_drop(&self->a, buf.cap);
		} else if (zc_drop(&self->b, t.peer_cap)) {
			ASSERT_EQ(0, errno);
		}
		/* The first may be received, or both, or none. */
		if (!zc_grant(&self->a, &grant) && i % 4) {
			test_revoke(&self->a, &self->b, grant.peer_cap, 0, &revoked);
			ASSERT_EQ(1, revoked);
		}
		TEST_OK(number(&self->a, &c, self->buf.cap, i));
		test_ring_take(&c, &m);
		ASSERT_EQ(i, m.cookie);
		if (i % 16)
			continue;
		while (!zc_recv(&self->b, &m))
			;
		ASSERT_EQ(EAGAIN, errno);
	}
	s.stop = true;
	pthread_join(thread, NULL);
	while (!zc_recv(&self->b, &m))
		;
	ASSERT_EQ(EAGAIN, errno);
	/* It is as good as new. */
	TEST_OK(number(&self->a, &self->b, self->buf.cap, 12345));
	head_set(&self->b, ring_of(&self->b)->shared->tail - 1);
	test_ring_take(&self->b, &m);
	EXPECT_EQ(12345, m.cookie);
	EXPECT_EQ(0, ready(&self->b));
	ring_close(&c);
}

struct sleeper {
	struct ep *ep;
	int (*sleep)(struct sleeper *s);
	struct zcipc_recv m;
	pthread_t thread;
	pid_t tid;
	int rc;
};

static int sleep_recv(struct sleeper *s)
{
	return zc_recv(s->ep, &s->m);
}

static int sleep_poll(struct sleeper *s)
{
	struct pollfd pfd = { .fd = s->ep->fd, .events = POLLIN };

	if (poll(&pfd, 1, -1) != 1 || pfd.revents != POLLIN)
		return -1;
	return ring_take(s->ep, &s->m);
}

static int sleep_epoll(struct sleeper *s)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epfd = epoll_create1(EPOLL_CLOEXEC), rc;

	rc = epoll_ctl(epfd, EPOLL_CTL_ADD, s->ep->fd, &event);
	if (!rc)
		rc = epoll_wait(epfd, &event, 1, -1) == 1 ? ring_take(s->ep, &s->m) : -1;
	close(epfd);
	return rc;
}

static void *sleep_thread(void *arg)
{
	struct sleeper *s = arg;

	s->tid = gettid();
	s->rc = s->sleep(s);
	return NULL;
}

/* G12: whoever has nothing to do can sleep. What the ring had does not keep it awake. */
TEST_F(ring, sleeps)
{
	int (*const ways[])(struct sleeper *s) = { sleep_recv, sleep_poll, sleep_epoll };
	struct zcipc_recv m;
	unsigned int i;

	test_ring_open(&self->b, 1);
	fcntl(self->b.fd, F_SETFL, O_RDWR);
	for (i = 0; i < 9; i++) {
		struct sleeper s = { .ep = &self->b, .sleep = ways[i % 3] };

		TEST_OK(number(&self->a, &self->b, self->buf.cap, 1000));
		test_ring_take(&self->b, &m);
		ASSERT_EQ(0, pthread_create(&s.thread, NULL, sleep_thread, &s));
		ASSERT_TRUE(wait_until(thread_sleeps(s.tid)));
		TEST_OK(number(&self->a, &self->b, self->buf.cap, i));
		pthread_join(s.thread, NULL);
		ASSERT_EQ(0, s.rc);
		ASSERT_EQ(i, s.m.cookie);
		ASSERT_EQ(2 * i + 2, head_of(&self->b));
	}
}

/* One page back and forth, as fast as it goes, between two that never sleep. */
static long call_echo(struct ep *ep, struct call *c)
{
	struct zcipc_transfer t = { .size = sizeof(t), .type = ZCIPC_MOVE, .peer = c->val,
				    .node = ZCIPC_NODE_ANY };
	struct zcipc_recv m;
	__u64 i, n = c->n;

	for (i = 0; i < n; i++) {
		while (ring_take(ep, &m))
			sched_yield();
		if (*(volatile __u64 *)(uintptr_t)m.addr != i || m.cookie != i) {
			errno = EBADMSG;
			return -1;
		}
		*(volatile __u64 *)(uintptr_t)m.addr = ~i;
		t.cap = m.cap;
		t.cookie = i;
		if (ioctl(ep->fd, ZCIPC_IOC_TRANSFER, &t))
			return -1;
	}
	return 0;
}

TEST_F(ring, ping_pong)
{
	struct call c = { .fn = call_echo, .n = loops(1000), .val = self->b.id };
	struct zcipc_transfer t = transfer_cmd(&self->a, ZCIPC_MOVE, 0, 0, 0, 0);
	volatile __u64 *p;
	struct zcipc_recv m;
	struct buf buf;
	__u64 i;

	if (!variant->remote)
		SKIP(return, "it takes two");
	test_ring_open(&self->a, 1);
	test_ring_open(&self->b, 1);
	ASSERT_EQ(0, ep_send(&self->a, &c));
	test_create(&self->b, 1, &buf);
	t.cap = buf.cap;
	p = (__u64 *)buf.p;
	for (i = 0; i < c.n; i++) {
		*p = i;
		t.cookie = i;
		test_transfer(&self->b, &t);
		while (ring_take(&self->b, &m))
			sched_yield();
		p = (__u64 *)(uintptr_t)m.addr;
		ASSERT_EQ(i, m.cookie);
		ASSERT_EQ(~i, *p);
		t.cap = m.cap;
	}
	ASSERT_EQ(0, ep_wait(&self->a, &c));
}

/* A queue and a ring that are always full: all comes, once, and in order. */
TEST_F(ring, flood)
{
	struct sender s = { .from = &self->a, .to = &self->b, .cap = self->buf.cap,
			    .n = loops(4000) };
	struct zcipc_recv m;
	unsigned int i;

	if (variant->remote)
		SKIP(return, "the sender is a thread");
	fcntl(self->a.fd, F_SETFL, O_RDWR);
	test_ring_open(&self->b, 1);
	test_depth(&self->b, ENTRIES + 3);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, send_thread, &s));
	for (i = 0; i < s.n; i++) {
		while (ring_read(&self->b, &m) && !s.err)
			sched_yield();
		ASSERT_EQ(0, s.err);
		ASSERT_EQ(i, m.cookie);
		test_drop(&self->b, m.cap);
		ring_pass(&self->b, 1);
	}
	pthread_join(s.thread, NULL);
	EXPECT_EQ(0, s.err);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * REVOKE: capabilities are taken back, whatever their owners do with them at the same time.
 *
 * Guarantees: G2 (no mapping outlives the call), G3 all or nothing, G8 death at any point.
 * Attacks: use of what was revoked (13). Revoking while others map, fault, transfer, grant and
 * receive (26). SIGKILL at the points of a revoke (30).
 */
#include <sched.h>

#include "zcipc_caps.h"

/* --- REVOKE */

TEST_F(caps, revoke_own)
{
	struct zcipc_stats before, after;
	struct buf mine, dst, next, self_dst;
	char *p, *q;
	__u64 n;

	test_stats(&self->base.ep, &before);
	test_create(&self->a, N, &mine);
	test_give(&self->a, &self->b, mine.cap, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &dst);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_give(&self->a, &self->a, mine.cap, RIGHTS_R, &self_dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	test_fill(&self->b, p, N, 3);
	test_check(&self->c, q, N, 3);
	test_revoke(&self->a, NULL, mine.cap, 0, &n);
	EXPECT_EQ(4, n);
	test_gone(&self->a, mine.p, N);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	test_stale(&self->a, mine.cap);
	test_stale(&self->a, self_dst.cap);
	test_stale(&self->b, dst.cap);
	test_stale(&self->c, next.cap);
	test_err_unmap(ENOENT, &self->b, p);
	test_quiet(&self->a);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_quiet(&self->b);
	test_quiet(&self->c);
	/* G8: the memory went with the last one. */
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
}

TEST_F(caps, revoke_keep)
{
	struct buf dst, next;
	char *p, *q;
	__u64 n;

	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(0, n);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG, &dst);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	/* Of a peer's: that one stays. */
	test_revoke(&self->a, &self->b, dst.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(1, n);
	test_gone(&self->c, q, N);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_check(&self->b, p, N, 1);
	test_tree(&self->b, dst.cap, 1, 0);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_check(&self->a, self->src.p, N, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
	test_users(&self->a, self->src.cap, 1, 1);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_check(&self->b, p, N, 1);
	test_send(&self->b, &self->c, ZCIPC_COPY, dst.cap);
}

/* 13: by peer and token: only what is derived from one's own. */
TEST_F(caps, revoke_of_peer)
{
	struct zcipc_stats before, after;
	struct buf dst, next, sibling, foreign, old;
	static struct ep dead;
	char *p, *q, *r;
	__u64 n;

	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG, &dst);
	test_give(&self->b, &self->c, dst.cap, RIGHTS_R, &next);
	test_give(&self->a, &self->c, self->src.cap, RIGHTS_RG, &sibling);
	test_create(&self->b, 1, &foreign);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &old);
	test_drop(&self->b, old.cap);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	test_map(&self->c, next.cap, 0, 0, RIGHTS_R, &q);
	test_map(&self->c, sibling.cap, 0, 0, RIGHTS_R, &r);
	test_open(&dead, 1, 0);
	ep_end(&dead);
	test_stats(&self->base.ep, &before);

	/* What one's own is derived from, what is derived from that, another tree, nothing. */
	test_err_revoke(ENOENT, &self->b, &self->a, self->src.cap, 0, &n);
	test_err_revoke(ENOENT, &self->b, &self->a, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_err_revoke(ENOENT, &self->b, &self->c, sibling.cap, 0, &n);
	test_err_revoke(ENOENT, &self->c, &self->b, dst.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, foreign.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, old.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, next.cap, 0, &n);
	test_err_revoke(ENOENT, &self->a, &self->b, 0, 0, &n);
	test_err_revoke(ENOENT, &self->a, NULL, dst.cap, 0, &n);
	test_err_revoke(ESRCH, &self->a, &dead, dst.cap, 0, &n);
	dead.id = 1ULL << 60;
	test_err_revoke(ENOENT, &self->a, &dead, dst.cap, 0, &n);
	test_stats(&self->base.ep, &after);
	EXPECT_TRUE(same_live(&before, &after));
	test_check(&self->c, q, N, 1);

	test_revoke(&self->a, &self->b, dst.cap, 0, &n);
	EXPECT_EQ(2, n);
	test_gone(&self->b, p, N);
	test_gone(&self->c, q, N);
	test_stale(&self->b, dst.cap);
	test_stale(&self->c, next.cap);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	take_revoked(_metadata, &self->c, next.cap, &self->a);
	test_err_revoke(ENOENT, &self->a, &self->b, dst.cap, 0, &n);
	test_check(&self->c, r, N, 1);
	test_tree(&self->a, self->src.cap, 0, 1);
	test_tree(&self->c, sibling.cap, 1, 0);
	test_quiet(&self->b);
	test_quiet(&self->c);
}

/* Over many processes. Whoever is above, or beside, what is revoked keeps all. */
#define CHAIN 6

TEST_F(caps, revoke_deep)
{
	struct buf b[CHAIN], side[CHAIN];
	static struct ep ep[CHAIN];
	char *p[CHAIN];
	int i, cut;
	__u64 n;

	for (i = 0; i < CHAIN; i++)
		TEST_OK(start_nonblock(&ep[i], i & 1 ? variant->remote : false, 64));
	for (cut = CHAIN - 1; cut > 0; cut--) {
		test_create(&ep[0], N, &b[0]);
		test_fill(&ep[0], b[0].p, N, 1);
		p[0] = b[0].p;
		for (i = 1; i < CHAIN; i++) {
			test_give(&ep[i - 1], &ep[i], b[i - 1].cap, RIGHTS_RG, &b[i]);
			test_map(&ep[i], b[i].cap, 0, 0, RIGHTS_R, &p[i]);
			test_give(&ep[i - 1], &ep[0], b[i - 1].cap, RIGHTS_R, &side[i]);
		}
		for (i = 0; i < CHAIN; i++)
			test_tree(&ep[i], b[i].cap, i, 2 * (CHAIN - 1 - i));
		/* By each who is above, in turn: its own, or somebody else's. */
		i = cut / 2;
		test_revoke(&ep[i], &ep[cut], b[cut].cap, 0, &n);
		ASSERT_EQ(1 + 2 * (CHAIN - 1 - cut), n);
		for (i = 0; i < cut; i++) {
			test_check(&ep[i], p[i], N, 1);
			test_tree(&ep[i], b[i].cap, i, 2 * (cut - 1 - i) + 1);
		}
		for (i = cut; i < CHAIN; i++) {
			test_gone(&ep[i], p[i], N);
			test_stale(&ep[i], b[i].cap);
			take_revoked(_metadata, &ep[i], b[i].cap, &ep[cut / 2]);
		}
		for (i = 1; i < CHAIN; i++) {
			struct zcipc_region_query q;

			ASSERT_EQ(i <= cut ? 0 : -1, zc_query(&ep[0], side[i].cap, &q));
			if (i > cut && cut / 2)
				take_revoked(_metadata, &ep[0], side[i].cap, &ep[cut / 2]);
		}
		test_revoke(&ep[0], NULL, b[0].cap, 0, &n);
		ASSERT_EQ(1 + cut - 1 + cut, n);
		for (i = 1; i < cut; i++)
			take_revoked(_metadata, &ep[i], b[i].cap, &ep[0]);
		for (i = 0; i < CHAIN; i++)
			test_quiet(&ep[i]);
	}
}

/* Nobody hears of the end of what it has not heard of. All others hear of it once. */
TEST_F(caps, revoked_before_received)
{
	struct zcipc_grant g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_R);
	struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 0, 0,
					       RIGHTS_R);
	struct zcipc_stats before, after;
	struct buf heard, kept;
	struct zcipc_recv m;
	__u64 n;

	test_create(&self->c, 1, &kept);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &heard);
	test_stats(&self->base.ep, &before);
	test_grant(&self->a, &g);
	test_transfer(&self->a, &t);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(3, n);
	test_send(&self->c, &self->b, ZCIPC_MOVE, kept.cap);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_REVOKED, m.type);
	EXPECT_EQ(heard.cap, m.cap);
	EXPECT_EQ(1, m.pending);
	test_recv(&self->b, &m);
	EXPECT_EQ(ZCIPC_MOVE, m.type);
	EXPECT_EQ(0, m.pending);
	test_quiet(&self->b);
	test_stale(&self->b, g.peer_cap);
	test_stale(&self->b, t.peer_cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(before.maps, after.maps);
	EXPECT_EQ(before.messages, after.messages);

	/* By its token, which the granter knows before the peer does. */
	g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_R);
	test_grant(&self->a, &g);
	test_revoke(&self->a, &self->b, g.peer_cap, 0, &n);
	EXPECT_EQ(1, n);
	test_quiet(&self->b);
}

/* REVOKED has room where nothing else has, and takes what others would need. */
TEST_F(caps, revoked_beyond_queue)
{
	struct buf dst[4], kept;
	__u64 n;
	int i;

	for (i = 0; i < 4; i++)
		test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst[i]);
	test_depth(&self->b, 1);
	test_grant_rights(&self->a, &self->b, self->src.cap, RIGHTS_R);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	for (i = 0; i < 4; i++)
		test_revoke(&self->a, &self->b, dst[i].cap, 0, &n);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	test_take(&self->b, &kept);
	test_err_grant_rights(EAGAIN, &self->a, &self->b, self->src.cap, RIGHTS_R);
	for (i = 0; i < 4; i++)
		take_revoked(_metadata, &self->b, dst[i].cap, &self->a);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_R, &dst[0]);
	test_quiet(&self->b);
	test_tree(&self->b, kept.cap, 1, 0);
}

/* --- threads that use a mapping all the time, in whichever process has it */

#define HAMMERS 2

static struct hammer {
	pthread_t thread;
	char *p;
	size_t npages;
	bool writes;
	volatile unsigned long stored;
	volatile unsigned long faulted;
} hammers[HAMMERS];
static volatile bool hammers_stop;

/* Without a system call in between, in which a TLB could be flushed by chance. */
static void *hammer_thread(void *arg)
{
	struct hammer *h = arg;
	volatile __u64 *word;
	size_t page = 0;
	cpu_set_t set;
	__u64 val;

	CPU_ZERO(&set);
	CPU_SET((h - hammers) % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
	if (sigsetjmp(touch_env, 0))
		h->faulted++;
	touching = 1;
	while (!hammers_stop) {
		word = (volatile __u64 *)(h->p + page * psize);
		page = (page + 1) % h->npages;
		val = *word;
		if (h->writes)
			*word = val + 1;
		h->stored++;
	}
	touching = 0;
	return NULL;
}

static long call_hammer(struct ep *ep, struct call *c)
{
	int i;

	(void)ep;
	hammers_stop = false;
	for (i = 0; i < HAMMERS; i++) {
		hammers[i] = (struct hammer){ .p = (char *)(uintptr_t)c->addr, .npages = c->n,
					      .writes = c->val };
		pthread_create(&hammers[i].thread, NULL, hammer_thread, &hammers[i]);
		if (!wait_until(hammers[i].stored > 2 * c->n))
			return -1;
	}
	return 0;
}

/* All have faulted since, and then nobody gets through any more? */
static long call_hammers_fault(struct ep *ep, struct call *c)
{
	unsigned long faulted, stored[HAMMERS];
	int i;

	(void)ep;
	(void)c;
	for (i = 0; i < HAMMERS; i++) {
		faulted = hammers[i].faulted;
		if (!wait_until(hammers[i].faulted > faulted + 2))
			return -1;
		stored[i] = hammers[i].stored;
	}
	msleep(2);
	for (i = 0; i < HAMMERS; i++)
		if (hammers[i].stored != stored[i])
			return -1;
	return 0;
}

static long call_hammer_stop(struct ep *ep, struct call *c)
{
	int i;

	(void)ep;
	(void)c;
	hammers_stop = true;
	for (i = 0; i < HAMMERS; i++)
		pthread_join(hammers[i].thread, NULL);
	return 0;
}

/* What can end a mapping that was derived, without the help of the one who has it. */
enum end { END_REVOKE, END_KEEP, END_PEER, END_MOVE };

/*
 * G2: from the return on, nobody who lost a mapping reads or writes through it, on any CPU, and
 * what the owner then stores stays. With the root the memory goes, too: a debug kernel would see
 * stores.
 */
static void end_under_access(struct __test_metadata *_metadata, FIXTURE_DATA(caps) *self,
			     enum end end, bool shared, bool writes)
{
	struct zcipc_transfer t;
	struct buf src, dst, own;
	size_t i;
	__u64 n;
	char *p;

	test_create(&self->a, N, &src);
	if (shared) {
		test_pass_rights(&self->a, &self->b, ZCIPC_SHARE, src.cap, RIGHTS_RW, &dst);
		p = dst.p;
	} else {
		test_give(&self->a, &self->b, src.cap, RIGHTS_RW, &dst);
		test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
	}
	own = src;
	test_call(&self->b, call_hammer, .addr = (uintptr_t)p, .n = N, .val = writes);
	switch (end) {
	case END_REVOKE:
		test_revoke(&self->a, NULL, src.cap, 0, &n);
		ASSERT_EQ(2, n);
		break;
	case END_KEEP:
		test_revoke(&self->a, NULL, src.cap, ZCIPC_REVOKE_KEEP, &n);
		ASSERT_EQ(1, n);
		break;
	case END_PEER:
		test_revoke(&self->a, &self->b, dst.cap, 0, &n);
		ASSERT_EQ(1, n);
		break;
	case END_MOVE:
		t = transfer_cmd(&self->c, ZCIPC_MOVE, src.cap, 0, 0, 0);
		t.flags = ZCIPC_F_REVOKE_OTHERS;
		test_transfer(&self->a, &t);
		test_take(&self->c, &own);
		break;
	}
	for (i = 0; i < N && end != END_REVOKE; i++)
		((volatile __u64 *)(own.p + i * psize))[0] = 0x5ec7e7 + i;
	test_call(&self->b, call_hammers_fault);
	for (i = 0; i < N && end != END_REVOKE; i++)
		ASSERT_EQ(0x5ec7e7 + i, ((volatile __u64 *)(own.p + i * psize))[0]);
	test_call(&self->b, call_hammer_stop);
	take_revoked(_metadata, &self->b, dst.cap, &self->a);
	if (end != END_REVOKE)
		test_drop(end == END_MOVE ? &self->c : &self->a, own.cap);
}

TEST_F(caps, revoke_under_access)
{
	unsigned int i, n = loops(fewer(24));

	for (i = 0; i < n; i++)
		end_under_access(_metadata, self, i & 1 ? END_KEEP : END_PEER, i & 2, !(i & 4));
}

TEST_F(caps, revoke_own_under_access)
{
	unsigned int i, n = loops(fewer(8));

	for (i = 0; i < n; i++)
		end_under_access(_metadata, self, END_REVOKE, i & 1, true);
}

TEST_F(caps, move_from_others_under_access)
{
	unsigned int i, n = loops(fewer(12));

	for (i = 0; i < n; i++)
		end_under_access(_metadata, self, END_MOVE, i & 1, !(i & 2));
}

/* --- calls that other threads make */

static int job_map(struct job *j)
{
	return zc_map(j->ep, j->cap, 0, 0, RIGHTS_R, &j->p);
}

static int job_map_exec(struct job *j)
{
	return zc_map(j->ep, j->cap, 0, 0, RIGHTS_RX, &j->p);
}

static int job_read(struct job *j)
{
	return ep_read(j->ep, j->p, &j->n) ? -1 : 0;
}

static int job_recv(struct job *j)
{
	return zc_recv(j->ep, &j->m);
}

static int job_query(struct job *j)
{
	struct zcipc_region_query q;

	return zc_query(j->ep, j->cap, &q);
}

static int job_revoke(struct job *j)
{
	return zc_revoke(j->ep, j->to, j->cap, j->flags, &j->n);
}

static int job_exit(struct job *j)
{
	struct call c = { .fn = call_exit };

	ep_call(j->ep, &c);
	return 0;
}

static int job_kill(struct job *j)
{
	return kill(j->ep->pid, SIGKILL);
}

/* --- REVOKE against everything else */

FIXTURE(against)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
};

FIXTURE_VARIANT(against)
{
	int (*fn)(struct job *j);	/* what the victim does meanwhile */
	const char *point;		/* where it is held up, or nowhere in particular */
	__u32 type;
	bool remote;
};

#define AGAINST(_name, _fn, _point, _type, _remote)			\
	FIXTURE_VARIANT_ADD(against, _name)				\
	{ .fn = _fn, .point = _point, .type = _type, .remote = _remote, }

AGAINST(map, job_map, NULL, 0, false);
AGAINST(map_process, job_map, NULL, 0, true);
AGAINST(map_found, job_map, "found", 0, false);
AGAINST(map_found_process, job_map, "found", 0, true);
AGAINST(map_exec_found, job_map_exec, "found", 0, true);
AGAINST(unmap, job_unmap, NULL, 0, false);
AGAINST(unmap_process, job_unmap, NULL, 0, true);
AGAINST(fault, job_read, NULL, 0, false);
AGAINST(fault_process, job_read, NULL, 0, true);
AGAINST(fault_fault, job_read, "fault", 0, false);
AGAINST(fault_fault_process, job_read, "fault", 0, true);
AGAINST(share, job_send, NULL, ZCIPC_SHARE, false);
AGAINST(share_process, job_send, NULL, ZCIPC_SHARE, true);
AGAINST(share_prepared, job_send, "prepared", ZCIPC_SHARE, false);
AGAINST(share_found, job_send, "found", ZCIPC_SHARE, true);
AGAINST(share_committed, job_send, "committed", ZCIPC_SHARE, false);
AGAINST(share_sent, job_send, "sent", ZCIPC_SHARE, true);
AGAINST(copy, job_send, NULL, ZCIPC_COPY, false);
AGAINST(copy_process, job_send, NULL, ZCIPC_COPY, true);
AGAINST(copy_found, job_send, "found", ZCIPC_COPY, false);
AGAINST(copy_frozen, job_send, "frozen", ZCIPC_COPY, true);
AGAINST(grant, job_grant, NULL, 0, false);
AGAINST(grant_process, job_grant, NULL, 0, true);
AGAINST(grant_prepared, job_grant, "prepared", 0, true);
AGAINST(grant_found, job_grant, "found", 0, false);
AGAINST(recv, job_recv, NULL, 0, false);
AGAINST(recv_process, job_recv, NULL, 0, true);
AGAINST(recv_received, job_recv, "received", 0, true);
AGAINST(drop, job_drop, NULL, 0, false);
AGAINST(drop_process, job_drop, NULL, 0, true);
AGAINST(query_found, job_query, "found", 0, false);

FIXTURE_SETUP(against)
{
	if (variant->point)
		need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 256));
	test_open(&self->c, 256, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(against)

/*
 * One capability of the victim's, which is in the middle of something. When REVOKE has returned
 * there is none but the owner's, and no mapping but the owner's; whatever the victim was about to
 * have, it has not, and nor has anybody whom it gave it to.
 */
static void revoke_against(struct __test_metadata *_metadata, FIXTURE_DATA(against) *self,
			   const FIXTURE_VARIANT(against) *variant, unsigned int round)
{
	struct zcipc_grant g = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_RG | RIGHTS_RX);
	struct job j = { .fn = variant->fn, .ep = &self->b, .to = &self->c,
			 .type = variant->type, .rights = RIGHTS_R };
	bool heard = variant->fn != job_recv;
	unsigned int i, told = 0;
	struct zcipc_recv m;
	char *p = NULL;
	struct buf buf;
	int rc, err;
	__u64 n = 0;

	test_grant(&self->a, &g);
	j.cap = g.peer_cap;
	if (heard) {
		test_take(&self->b, &buf);
		test_map(&self->b, j.cap, 0, 0, RIGHTS_R, &p);
		j.p = p;
	}
	if (variant->fn == job_read)
		test_call(&self->b, call_forget, .addr = (uintptr_t)p, .n = N * psize);
	if (variant->point)
		point_set(variant->point, 40);
	job_start(&j);
	if (variant->point) {
		ASSERT_TRUE(point_reached());
		point_go();
	}
	for (i = 0; i < round % 16 && !variant->point; i++)
		sched_yield();
	if (round & 1)
		rc = zc_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	else
		rc = zc_revoke(&self->a, &self->b, j.cap, 0, &n);
	err = errno;
	test_users(&self->a, self->src.cap, 1, 1);
	job_join(&j);

	if (variant->fn == job_recv)
		heard = !j.rc;
	if (variant->fn == job_drop && !j.rc) {
		ASSERT_TRUE(!rc || err == ENOENT);
	} else {
		ASSERT_EQ(0, rc) TH_LOG("%s", strerror(err));
		ASSERT_LE(1, n);
	}
	/* A read has raised SIGBUS. */
	if (j.rc && variant->fn != job_read)
		ASSERT_EQ(variant->fn == job_recv ? EAGAIN :
			  variant->fn == job_unmap ? ENOENT : ESTALE, j.err);
	if (p)
		test_gone(&self->b, p, N);
	if (variant->fn == job_map && !j.rc)
		test_gone(&self->b, j.p, N);
	if (variant->fn == job_read && !j.rc)
		ASSERT_EQ(pattern(1, 0, 0), j.n);
	test_stale(&self->b, j.cap);

	while (!zc_recv(&self->b, &m)) {
		ASSERT_EQ(ZCIPC_REVOKED, m.type);
		ASSERT_EQ(j.cap, m.cap);
		told++;
	}
	ASSERT_EQ(EAGAIN, errno);
	ASSERT_EQ(heard && !(variant->fn == job_drop && !j.rc), told);
	if (variant->type == ZCIPC_COPY && !j.rc) {
		test_take(&self->c, &buf);
		test_check(&self->c, buf.p, N, 1);
		test_drop(&self->c, buf.cap);
	}
	test_quiet(&self->c);
	test_check(&self->a, self->src.p, N, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
}

TEST_F(against, revoke)
{
	unsigned int i, n = variant->point ? 2 : loops(fewer(32));

	for (i = 0; i < n; i++)
		revoke_against(_metadata, self, variant, i);
}

/* The grantee takes it away from the owner, who takes it away from the grantee: one of them. */
FIXTURE(winner)
{
	struct base base;
	struct ep a, b, c;
};

FIXTURE_VARIANT(winner)
{
	const char *point;
	__u32 flags;
};

#define WINNER(_name, _point, _flags)					\
	FIXTURE_VARIANT_ADD(winner, _name) { .point = _point, .flags = _flags, }

WINNER(any, NULL, 0);
WINNER(any_keep, NULL, ZCIPC_REVOKE_KEEP);
WINNER(prepared, "prepared", 0);
WINNER(found_keep, "found", ZCIPC_REVOKE_KEEP);
WINNER(unmapped, "unmapped", 0);
WINNER(committed_keep, "committed", ZCIPC_REVOKE_KEEP);
WINNER(sent, "sent", 0);

FIXTURE_SETUP(winner)
{
	if (variant->point)
		need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	test_open(&self->b, 64, O_NONBLOCK);
	test_open(&self->c, 64, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(winner)

TEST_F(winner, revoke_or_move)
{
	unsigned int i, k, n = variant->point ? 2 : loops(fewer(32));
	struct buf src, dst, moved;
	struct zcipc_recv m;
	__u64 count;
	int rc, err;
	char *p;

	for (i = 0; i < n; i++) {
		struct job j = { .fn = job_send, .ep = &self->b, .to = &self->c,
				 .type = ZCIPC_MOVE, .flags = ZCIPC_F_REVOKE_OTHERS };

		test_create(&self->a, N, &src);
		test_fill(&self->a, src.p, N, i + 1);
		test_give(&self->a, &self->b, src.cap, RIGHTS_ALL, &dst);
		test_map(&self->b, dst.cap, 0, 0, RIGHTS_RW, &p);
		j.cap = dst.cap;
		if (variant->point)
			point_set(variant->point, 40);
		job_start(&j);
		if (variant->point) {
			ASSERT_TRUE(point_reached());
			point_go();
		}
		for (k = 0; k < i && !variant->point; k++)
			sched_yield();
		rc = zc_revoke(&self->a, NULL, src.cap, variant->flags, &count);
		err = errno;
		/* Whoever won, this one is not the grantee's any more. */
		test_gone(&self->b, p, N);
		job_join(&j);
		test_stale(&self->b, dst.cap);
		if (j.rc) {
			ASSERT_EQ(ESTALE, j.err);
			ASSERT_EQ(0, rc);
			take_revoked(_metadata, &self->b, dst.cap, &self->a);
			if (variant->flags) {
				test_check(&self->a, src.p, N, i + 1);
				test_drop(&self->a, src.cap);
			}
		} else {
			ASSERT_EQ(-1, rc);
			ASSERT_EQ(ESTALE, err);
			test_gone(&self->a, src.p, N);
			test_take(&self->c, &moved);
			test_check(&self->c, moved.p, N, i + 1);
			test_users(&self->c, moved.cap, 1, 1);
			test_drop(&self->c, moved.cap);
			take_revoked(_metadata, &self->a, src.cap, &self->b);
		}
		test_err_recv(EAGAIN, &self->a, &m);
		test_quiet(&self->b);
		test_quiet(&self->c);
	}
}

/*
 * Between the two steps of a REVOKE: nothing is mapped any more, but the tables still have it. For
 * the victim it is over already, and what it does then must not bring anything back.
 */
FIXTURE(between)
{
	struct base base;
	struct ep a, b, c;
	struct buf src, heard;
	struct zcipc_grant unheard;
	char *p;
	struct job job;
};

FIXTURE_VARIANT(between)
{
	bool remote;
	__u32 flags;
};

FIXTURE_VARIANT_ADD(between, local) { .remote = false, };
FIXTURE_VARIANT_ADD(between, local_keep) { .flags = ZCIPC_REVOKE_KEEP, };
FIXTURE_VARIANT_ADD(between, process) { .remote = true, };
FIXTURE_VARIANT_ADD(between, process_keep) { .remote = true, .flags = ZCIPC_REVOKE_KEEP, };

FIXTURE_SETUP(between)
{
	need_points();
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	TEST_OK(start_nonblock(&self->b, variant->remote, 64));
	test_open(&self->c, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_ALL, &self->heard);
	test_map(&self->b, self->heard.cap, 0, 0, RIGHTS_RW, &self->p);
	self->unheard = grant_cmd(&self->b, self->src.cap, 0, 0, RIGHTS_ALL);
	test_grant(&self->a, &self->unheard);
	self->job = (struct job){ .fn = job_revoke, .ep = &self->a, .cap = self->src.cap,
				  .flags = variant->flags };
	point_set("revoked", 100);
	job_start(&self->job);
	ASSERT_TRUE(point_reached());
	point_go();
}

FIXTURE_TEARDOWN_BASE(between)

static void revoke_ends(struct __test_metadata *_metadata, FIXTURE_DATA(between) *self)
{
	job_join(&self->job);
	EXPECT_EQ(0, self->job.rc);
	EXPECT_EQ(self->job.flags ? 2 : 3, self->job.n);
}

TEST_F(between, nothing_works)
{
	test_gone(&self->b, self->p, N);
	test_stale(&self->b, self->heard.cap);
	test_stale(&self->b, self->unheard.peer_cap);
	test_gone(&self->b, self->p, N);
	revoke_ends(_metadata, self);
	test_gone(&self->b, self->p, N);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
	test_quiet(&self->b);
}

/* What arrives then is received. Nobody hears of the end of what it has not heard of. */
TEST_F(between, receive)
{
	unsigned int moved = 0, told = 0;
	bool ended = false;
	struct zcipc_recv m;
	struct buf mine;

	test_create(&self->c, 1, &mine);
	test_send(&self->c, &self->b, ZCIPC_MOVE, mine.cap);
	for (;;) {
		if (!zc_recv(&self->b, &m)) {
			ASSERT_TRUE(m.type == ZCIPC_MOVE ||
				    (m.type == ZCIPC_REVOKED && m.cap == self->heard.cap));
			moved += m.type == ZCIPC_MOVE;
			told += m.type == ZCIPC_REVOKED;
			continue;
		}
		ASSERT_EQ(EAGAIN, errno);
		if (ended)
			break;
		revoke_ends(_metadata, self);
		ended = true;
	}
	EXPECT_EQ(1, moved);
	EXPECT_EQ(1, told);
	test_quiet(&self->b);
}

/* Its place in the window is free when the call has returned. Before, nobody else gets it. */
TEST_F(between, place_is_free)
{
	struct buf next;

	while (zc_create(&self->b, 64, &next)) {
		ASSERT_EQ(EAGAIN, errno);
		test_gone(&self->b, self->p, N);
		msleep(5);
	}
	test_check(&self->b, next.p, 64, 0);
	revoke_ends(_metadata, self);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
	test_quiet(&self->b);
}

TEST_F(between, unmap)
{
	int rc = zc_unmap(&self->b, self->p);

	EXPECT_TRUE(!rc || errno == ENOENT);
	revoke_ends(_metadata, self);
	test_gone(&self->b, self->p, N);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
}

TEST_F(between, victim_dies)
{
	ep_end(&self->b);
	revoke_ends(_metadata, self);
}

TEST_F(between, victim_closes)
{
	struct call c = { .fn = call_close };

	ep_call(&self->b, &c);
	revoke_ends(_metadata, self);
}

/* For the owner it is over, too. */
TEST_F(between, owner_goes_on)
{
	struct buf moved, dst;
	__u64 n;

	if (!variant->flags) {
		test_stale(&self->a, self->src.cap);
		test_gone(&self->a, self->src.p, N);
		revoke_ends(_metadata, self);
		return;
	}
	test_users(&self->a, self->src.cap, 1, 1);
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	EXPECT_EQ(0, n);
	test_pass(&self->a, &self->c, ZCIPC_MOVE, self->src.cap, &moved);
	test_fill(&self->c, moved.p, N, 2);
	test_give(&self->c, &self->a, moved.cap, RIGHTS_R, &dst);
	revoke_ends(_metadata, self);
	test_check(&self->c, moved.p, N, 2);
	test_tree(&self->c, moved.cap, 0, 1);
	take_revoked(_metadata, &self->b, self->heard.cap, &self->a);
	test_quiet(&self->b);
}

/* --- REVOKE against death, and against many */

FIXTURE(storm)
{
	struct base base;
	struct ep a, b, c;
	struct buf src;
	volatile bool stop;
};

FIXTURE_SETUP(storm)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 64, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(storm)

/* 30: the victim is going away, in whichever way, while its capability is revoked. */
static void revoke_dying(struct __test_metadata *_metadata, FIXTURE_DATA(storm) *self,
			 int (*fn)(struct job *j), const char *point, unsigned int round)
{
	struct job j = { .fn = fn, .ep = &self->b };
	struct zcipc_recv m;
	struct buf dst;
	unsigned int i;
	char *p;
	__u64 n;

	TEST_OK(start_nonblock(&self->b, true, 64));
	test_give(&self->a, &self->b, self->src.cap, RIGHTS_RG, &dst);
	test_map(&self->b, dst.cap, 0, 0, RIGHTS_R, &p);
	if (round % 3)
		test_grant_rights(&self->b, &self->a, dst.cap, RIGHTS_R);
	if (point)
		point_set(point, 100);
	job_start(&j);
	if (point) {
		ASSERT_TRUE(point_reached());
		point_go();
	}
	for (i = 0; i < round * 4; i++)
		sched_yield();
	test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &n);
	test_users(&self->a, self->src.cap, 1, 1);
	test_tree(&self->a, self->src.cap, 0, 0);
	job_join(&j);
	ep_end(&self->b);
	neps--;
	test_err_recv(EAGAIN, &self->a, &m);
	test_check(&self->a, self->src.p, N, 1);
}

TEST_F(storm, victim_dies)
{
	unsigned int i, n = loops(fewer(12));

	for (i = 0; i < n; i++)
		revoke_dying(_metadata, self, i & 1 ? job_exit : job_kill, NULL, i);
	need_points();
	for (i = 0; i < 2; i++)
		revoke_dying(_metadata, self, i & 1 ? job_exit : job_kill, "shutdown", i);
}

/* What victims do all the time: map, read, share and grant on, and drop, whatever they get. */
struct victim {
	pthread_t thread;
	struct ep *ep, *to;
	volatile bool *stop;
	volatile unsigned long n;
	volatile int err;
};

static bool victim_may_get(int err)
{
	return err == ESTALE || err == EAGAIN;
}

static void *victim_thread(void *arg)
{
	struct victim *v = arg;
	struct zcipc_recv m;
	__u64 val;
	char *p;

	while (!*v->stop && !v->err) {
		if (zc_recv(v->ep, &m)) {
			if (errno != EAGAIN)
				v->err = errno;
			sched_yield();
			continue;
		}
		v->n++;
		if (m.type == ZCIPC_REVOKED)
			continue;
		if (zc_map(v->ep, m.cap, 0, 0, RIGHTS_R, &p)) {
			if (!victim_may_get(errno))
				v->err = errno;
		} else if (!touch_read(p, &val) && val != pattern(1, 0, 0)) {
			v->err = EUCLEAN;
		}
		if (v->n % 3 && zc_send_rights(v->ep, v->to, ZCIPC_SHARE, m.cap, RIGHTS_RG) &&
		    !victim_may_get(errno))
			v->err = errno;
		if (v->n % 2 && zc_grant_rights(v->ep, v->to, m.cap, RIGHTS_RG) &&
		    !victim_may_get(errno))
			v->err = errno;
		if (v->n % 5 == 0 && zc_drop(v->ep, m.cap) && !victim_may_get(errno))
			v->err = errno;
	}
	return NULL;
}

TEST_F(storm, revoke_while_all_goes_on)
{
	unsigned int i, k, n = loops(fewer(100));
	struct victim v[2];
	__u64 count;

	test_open(&self->b, 64 * N, O_NONBLOCK);
	test_open(&self->c, 64 * N, O_NONBLOCK);
	test_depth(&self->b, 16);
	test_depth(&self->c, 16);
	for (i = 0; i < 2; i++) {
		v[i] = (struct victim){ .ep = i ? &self->b : &self->c,
					.to = i ? &self->c : &self->b, .stop = &self->stop };
		pthread_create(&v[i].thread, NULL, victim_thread, &v[i]);
	}
	for (i = 0; i < n; i++) {
		unsigned long before = v[0].n + v[1].n;
		int rc = zc_grant_rights(&self->a, i & 1 ? &self->b : &self->c, self->src.cap,
					 RIGHTS_RG);

		ASSERT_TRUE(!rc || errno == EAGAIN);
		for (k = 0; k < i % 20; k++)
			sched_yield();
		/* There is a message, so somebody gets one. */
		if (i % 8 == 0)
			ASSERT_TRUE(wait_until(v[0].n + v[1].n > before || v[0].err || v[1].err));
		test_revoke(&self->a, NULL, self->src.cap, ZCIPC_REVOKE_KEEP, &count);
		/* At this moment there is nobody else who could derive anything. */
		test_users(&self->a, self->src.cap, 1, 1);
	}
	self->stop = true;
	for (i = 0; i < 2; i++) {
		pthread_join(v[i].thread, NULL);
		EXPECT_EQ(0, v[i].err) TH_LOG("%s", strerror(v[i].err));
	}
	test_check(&self->a, self->src.p, N, 1);
}

TEST_HARNESS_MAIN

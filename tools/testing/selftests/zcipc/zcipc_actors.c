// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations, by processes that all act at the same time.
 *
 * Nobody can say how an operation ends. But now and then all stand still, and what they know
 * together has to fit: who has what, derived from what, with which contents.
 *
 * ZCIPC_SEED, ZCIPC_SECONDS: see zcipc_model.c.
 */
#include "zcipc_model.h"
#include "lib/chance.h"
#include "lib/probe.h"

#define ALL		(2 * ZCIPC_RIGHT_MOVE - 1)
#define PROCESSES	6
#define REGION_PAGES	8
#define WINDOW		48

/*
 * What a capability was made by: written before the call, by the one who makes it, and known to the
 * one who receives it by the message's cookie, which is the index + 1. Stays for the whole episode,
 * so that what is derived from a capability that is gone can still be followed to where it came
 * from. @parent: index + 1, 0 for one that begins a tree.
 */
struct origin {
	__u64 token;
	__u64 peer;
	__u32 parent;
	__u32 rights;
	__u32 sender_rights;		/* which it has again if it is returned */
	bool revoked;
	const struct zcipc_region_query *live;
	__u32 n_derived;
};

/* A capability that a process thinks it has. */
struct holding {
	__u64 token;
	__u32 origin;
	__u32 rights;
	unsigned int npages;
	bool told;			/* that it was revoked */
	bool lost;			/* it may have been revoked by ourselves */
	struct inquiry inq;
};

/* A mapping that a process thinks it has, until the capability is found to be gone. */
struct view {
	__u64 token;
	__u64 addr;
	unsigned int first;
	unsigned int npages;
	bool writable;
};

#define HOLDINGS	200
#define VIEWS		400
#define ORIGINS		8192
#define DEEP		8

/* A process. What it knows is in memory that all see, for the one who compares. */
struct actor {
	unsigned int me;
	__u64 ids[PROCESSES];
	struct holding holdings[HOLDINGS];
	unsigned int nholdings;
	unsigned int nlive;
	struct view views[VIEWS];
	unsigned int nviews;
	/* Addresses where it is not known what was unmapped. */
	__u64 doubtful[VIEWS];
	unsigned int ndoubtful;
	struct origin origins[ORIGINS];
	unsigned int norigins;
	struct probe probes[VIEWS * REGION_PAGES];
	unsigned long done;
	unsigned long nwritten;
	char history[10][100];
	char failure[200];
};

static struct actor *actors;		/* PROCESSES of them */
static struct ep actor_eps[PROCESSES];

static struct origin *origin_of(__u32 origin)
{
	return origin ? &actors[(origin - 1) / ORIGINS].origins[(origin - 1) % ORIGINS] : NULL;
}

#define ACTOR_CHECK(a, condition, fmt, ...)				\
do {									\
	if (!(condition) && !*(a)->failure)				\
		snprintf((a)->failure, sizeof((a)->failure), "line %d: process %u: " fmt,	\
			 __LINE__, (a)->me, ##__VA_ARGS__);		\
} while (0)

/* The result of a call, which must be one of the errors listed, with 0 at their end, or success. */
static bool may_fail(struct actor *a, const char *what, int rc, const int *errors)
{
	int err = rc < 0 ? errno : 0;

	snprintf(a->history[a->done % ARRAY_SIZE(a->history)], sizeof(a->history[0]), "%u %s: %d",
		 a->me, what, err);
	for (; err && *errors; errors++)
		if (*errors == err)
			break;
	ACTOR_CHECK(a, !err || *errors, "%s: %s", what, strerror(err));
	errno = err;
	return !err;
}

#define MAY_FAIL(a, rc, ...)	may_fail(a, #rc, rc, (const int[]){ __VA_ARGS__, 0 })

static __u32 origin_new(struct actor *a, __u32 parent, __u32 rights, __u64 peer)
{
	struct origin *origin = a->origins + a->norigins;

	*origin = (struct origin){ .parent = parent, .rights = rights, .peer = peer };
	return a->me * ORIGINS + ++a->norigins;
}

static struct holding *holding_add(struct actor *a, __u64 token, __u32 origin, __u32 rights,
				   unsigned int npages)
{
	struct holding *h = a->holdings + a->nholdings++;

	*h = (struct holding){ .token = token, .origin = origin, .rights = rights,
			       .npages = npages };
	return h;
}

static void holding_del(struct actor *a, struct holding *h)
{
	unsigned int i;

	for (i = a->nviews; i-- > 0;)
		if (a->views[i].token == h->token)
			a->views[i] = a->views[--a->nviews];
	*h = a->holdings[--a->nholdings];
}

static void view_add(struct actor *a, __u64 token, __u64 addr, unsigned int first,
		     unsigned int npages, bool writable)
{
	a->views[a->nviews++] = (struct view){ .token = token, .addr = addr, .first = first,
					       .npages = npages, .writable = writable };
}

static bool holding_is_stale(struct ep *ep, struct holding *h)
{
	h->inq.q = (struct zcipc_region_query){ .size = sizeof(h->inq.q), .cap = h->token };
	return query(ep, &h->inq) == ESTALE;
}

/* We may have revoked what is ours. */
static void note_losses(struct ep *ep, struct actor *a)
{
	unsigned int i;

	for (i = 0; i < a->nholdings; i++)
		if (holding_is_stale(ep, a->holdings + i))
			a->holdings[i].lost = true;
}

static bool act_recv(struct ep *ep, struct actor *a)
{
	struct zcipc_recv m;
	struct origin *origin;
	unsigned int i;

	if (!MAY_FAIL(a, zc_recv(ep, &m), EAGAIN))
		return false;
	if (m.type == ZCIPC_REVOKED) {
		for (i = 0; i < a->nholdings; i++)
			if (a->holdings[i].token == m.cap)
				break;
		ACTOR_CHECK(a, i < a->nholdings && !a->holdings[i].told, "revoked: %llx", m.cap);
		if (i == a->nholdings)
			return true;
		a->holdings[i].told = true;
		origin_of(a->holdings[i].origin)->revoked = true;
		return true;
	}
	origin = origin_of(m.cookie);
	if (m.message_flags & ZCIPC_MESSAGE_RETURNED) {
		ACTOR_CHECK(a, m.type == ZCIPC_MOVE, "type %u came back", m.type);
		origin->rights = origin->sender_rights;
	}
	ACTOR_CHECK(a, m.rights == origin->rights, "type %u, flags %x: rights %x, not %x", m.type,
		    m.message_flags, m.rights, origin->rights);
	holding_add(a, m.cap, m.cookie, m.rights, m.len / psize);
	if (m.addr)
		view_add(a, m.cap, m.addr, 0, m.len / psize, m.rights & ZCIPC_RIGHT_WRITE);
	return true;
}

static void act_transfer(struct ep *ep, struct actor *a, struct holding *h)
{
	static const __u32 needed[] = {
		[ZCIPC_MOVE] = ZCIPC_RIGHT_MOVE, [ZCIPC_SHARE] = ZCIPC_RIGHT_GRANT,
		[ZCIPC_COPY] = ZCIPC_RIGHT_READ, [ZCIPC_GRANTED] = ZCIPC_RIGHT_GRANT,
	};
	__u32 type = 1 + below(4), rights = h->rights & (below(3) ? ALL : rnd());
	struct ep peer = { .id = a->ids[below(PROCESSES)] };
	unsigned int first = percent(60) ? 0 : below(h->npages);
	unsigned int npages = percent(60) ? h->npages - first : 1 + below(h->npages - first);
	bool derives = type == ZCIPC_SHARE || type == ZCIPC_GRANTED;
	struct zcipc_transfer cmd;
	struct origin *origin;
	int rc;

	if (!(h->rights & needed[type]) || a->norigins == ORIGINS)
		return;
	rights |= ZCIPC_RIGHT_READ;
	cmd = transfer_cmd(&peer, type, h->token, first, npages, rights);
	cmd.cookie = origin_new(a, derives ? h->origin : 0, rights, peer.id);
	origin = origin_of(cmd.cookie);
	origin->sender_rights = h->rights;
	if (type == ZCIPC_MOVE && percent(60))
		cmd.flags = ZCIPC_F_REVOKE_OTHERS;
	if (type == ZCIPC_COPY && h->rights & ZCIPC_RIGHT_WRITE && percent(30))
		cmd.flags = ZCIPC_F_BREAK_HUGE;
	if (type == ZCIPC_GRANTED) {
		struct zcipc_grant grant = {
			.size = sizeof(grant), .cap = cmd.cap, .peer = cmd.peer,
			.offset = cmd.offset, .len = cmd.len, .cookie = cmd.cookie,
			.rights = rights,
		};

		rc = zc_ioctl(ep, ZCIPC_IOC_GRANT, &grant);
		cmd.peer_cap = grant.peer_cap;
	} else {
		rc = zc_transfer(ep, &cmd);
	}
	if (!MAY_FAIL(a, rc, ENOENT, ESTALE, ESRCH, EAGAIN, EBUSY)) {
		ACTOR_CHECK(a, errno != EBUSY || type == ZCIPC_MOVE, "busy");
		a->norigins--;
		return;
	}
	origin->token = cmd.peer_cap;
	if (type == ZCIPC_MOVE && npages == h->npages)
		holding_del(a, h);
	else if (type == ZCIPC_MOVE && !holding_is_stale(ep, h))
		ACTOR_CHECK(a, h->inq.q.present <= (h->npages - npages) * psize,
			    "%llx has what was moved away", h->token);
	if (cmd.flags)
		note_losses(ep, a);
}

static void act_revoke(struct ep *ep, struct actor *a, struct holding *h)
{
	struct zcipc_revoke cmd = {
		.size = sizeof(cmd), .cap = h->token, .flags = below(3) ? ZCIPC_REVOKE_KEEP : 0,
	};

	if (percent(60) && a->norigins) {
		/* Not long ago, so that it may still be there. */
		unsigned int back = 1 + below(a->norigins < 20 ? a->norigins : 20);
		const struct origin *origin = a->origins + a->norigins - back;

		cmd.cap = origin->token;
		cmd.peer = origin->peer;
	}
	/* What we sent to ourselves is our own. */
	MAY_FAIL(a, zc_ioctl(ep, ZCIPC_IOC_REVOKE, &cmd), ENOENT, ESTALE, ESRCH);
	note_losses(ep, a);
}

static void act_unmap(struct ep *ep, struct actor *a)
{
	unsigned int i, k;
	struct view v;

	if (!a->nviews)
		return;
	i = below(a->nviews);
	v = a->views[i];
	if (!MAY_FAIL(a, zc_unmap(ep, (char *)(uintptr_t)v.addr), ENOENT))
		return;
	/* If the capability is gone, what was there may have been something new. */
	for (k = 0; k < a->nholdings; k++)
		if (a->holdings[k].token == v.token && !holding_is_stale(ep, a->holdings + k))
			break;
	if (k == a->nholdings && a->ndoubtful < VIEWS)
		a->doubtful[a->ndoubtful++] = v.addr;
	a->views[i] = a->views[--a->nviews];
}

static __u64 tag_of(struct actor *a)
{
	return 0x5aULL << 56 | (__u64)a->me << 48 | ++a->nwritten;
}

static void act_touch(struct actor *a)
{
	const struct view *v = a->views + below(a->nviews ?: 1);
	struct probe p = { .write = percent(60) };
	__u64 val;

	if (!a->nviews)
		return;
	p.addr = v->addr + below(v->npages) * psize;
	p.write &= v->writable;
	p.val = tag_of(a);
	if (p.write) {
		touch(&p);
	} else {
		p.sig = touch_read((void *)(uintptr_t)p.addr, &val);
		ACTOR_CHECK(a, p.sig || !val || val >> 56 == 0x5a, "read %llx", val);
	}
	ACTOR_CHECK(a, !p.sig || p.sig == SIGBUS, "signal %d", p.sig);
}

static void act_once(struct ep *ep, struct actor *a)
{
	struct holding *h = a->nholdings ? a->holdings + below(a->nholdings) : NULL;
	unsigned int what = below(100);
	struct buf buf = {};
	unsigned int first;
	char *p = NULL;

	a->done++;
	if (a->nholdings > 40 || a->nviews > VIEWS / 2)
		what = 99;
	if (what < 12 || !h) {
		if (a->norigins < ORIGINS &&
		    MAY_FAIL(a, zc_create_flags(ep, 1 + below(REGION_PAGES), below(2) ?
						ZCIPC_CREATE_UNPINNABLE : 0, &buf), EAGAIN)) {
			holding_add(a, buf.cap, origin_new(a, 0, ALL, 0), ALL, buf.npages);
			view_add(a, buf.cap, (uintptr_t)buf.p, 0, buf.npages, true);
		}
	} else if (what < 22) {
		__u32 rights = h->rights & (below(2) ? ZCIPC_RIGHT_READ : RIGHTS_RW);

		first = below(h->npages);
		if (MAY_FAIL(a, zc_map(ep, h->token, first, h->npages - first, rights, &p),
			     EAGAIN, ESTALE))
			view_add(a, h->token, (uintptr_t)p, first, h->npages - first,
				 rights & ZCIPC_RIGHT_WRITE);
	} else if (what < 30) {
		act_unmap(ep, a);
	} else if (what < 55) {
		act_transfer(ep, a, h);
	} else if (what < 70) {
		act_recv(ep, a);
	} else if (what < 76) {
		act_revoke(ep, a, h);
	} else if (what < 92) {
		act_touch(a);
	} else if (MAY_FAIL(a, zc_drop(ep, h->token), ESTALE)) {
		holding_del(a, h);
	} else if (a->nholdings > 40) {
		/* Revoked: the message says so, then it is forgotten. */
		while (a->nholdings < HOLDINGS / 2 && act_recv(ep, a))
			;
		for (first = a->nholdings; first-- > 0;)
			if (a->holdings[first].told)
				holding_del(a, a->holdings + first);
	}
}

static long call_act(struct ep *ep, struct call *c)
{
	struct actor *a = (void *)(uintptr_t)c->addr;

	prng = c->val;
	for (; c->n && !*a->failure; c->n--)
		act_once(ep, a);
	return 0;
}

enum { LOOK, JUDGE, DROP };

/* Nobody else acts: receives all, and finds out what is there. */
static long call_settle(struct ep *ep, struct call *c)
{
	struct actor *a = (void *)(uintptr_t)c->addr;
	unsigned int i, k;

	while (a->nholdings < HOLDINGS && a->nviews < VIEWS && act_recv(ep, a))
		;
	for (i = 0; i < a->ndoubtful; i++) {
		zc_unmap(ep, (char *)(uintptr_t)a->doubtful[i]);
		for (k = a->nviews; k-- > 0;)
			if (a->views[k].addr == a->doubtful[i])
				a->views[k] = a->views[--a->nviews];
	}
	a->ndoubtful = 0;
	a->nlive = 0;
	for (i = a->nholdings; i-- > 0;) {
		struct holding *h = a->holdings + i;
		bool stale = holding_is_stale(ep, h);

		a->nlive += !stale;
		if (c->n == LOOK)
			continue;
		if (stale) {
			ACTOR_CHECK(a, h->told || h->lost, "%llx is gone", h->token);
			origin_of(h->origin)->revoked = true;
			holding_del(a, h);
			continue;
		}
		ACTOR_CHECK(a, !h->inq.err, "query %llx: %s", h->token, strerror(h->inq.err));
		ACTOR_CHECK(a, !h->told, "%llx is not revoked", h->token);
		ACTOR_CHECK(a, h->inq.q.rights == h->rights, "rights of %llx", h->token);
		ACTOR_CHECK(a, h->inq.q.len == h->npages * psize, "length of %llx", h->token);
		if (c->n == DROP) {
			ACTOR_CHECK(a, !zc_drop(ep, h->token), "drop: %s", strerror(errno));
			holding_del(a, h);
		}
	}
	return 0;
}

static void on_all(long (*fn)(struct ep *, struct call *), __u64 n)
{
	unsigned int i;

	for (i = 0; i < PROCESSES; i++) {
		struct call c = { .fn = fn, .addr = (uintptr_t)(actors + i), .n = n };

		if (ep_call(actor_eps + i, &c))
			fail("process %u: %s", i, strerror(errno));
		if (*actors[i].failure)
			fail("%s", actors[i].failure);
	}
}

/* A page of a region that somebody sees. */
struct sight {
	__u64 region;
	__u64 page;
	struct probe *probe;
	bool writable;
	__u64 val;
};

static int sight_compare(const void *one, const void *other)
{
	const struct sight *a = one, *b = other;

	if (a->region != b->region)
		return a->region < b->region ? -1 : 1;
	return a->page < b->page ? -1 : a->page > b->page;
}

static struct sight sights[PROCESSES * VIEWS * REGION_PAGES];

/* Reads all that is mapped, twice. In between, one of those who can writes something new. */
static void check_sights(void)
{
	unsigned int i, k, nsights = 0, round;
	unsigned int n[PROCESSES] = {};

	for (i = 0; i < PROCESSES; i++) {
		struct actor *a = actors + i;

		for (k = 0; k < a->nviews; k++) {
			const struct view *v = a->views + k;
			const struct zcipc_region_query *q = NULL;
			unsigned int page;

			for (page = 0; page < a->nholdings; page++)
				if (a->holdings[page].token == v->token)
					q = &a->holdings[page].inq.q;
			CHECK(q, "process %u maps what it has not", i);
			for (page = 0; q && page < v->npages; page++) {
				struct probe *p = a->probes + n[i]++;

				*p = (struct probe){ .addr = v->addr + page * psize };
				sights[nsights++] = (struct sight){
					.region = q->region, .probe = p, .writable = v->writable,
					.page = q->offset / psize + v->first + page,
				};
			}
		}
	}
	qsort(sights, nsights, sizeof(sights[0]), sight_compare);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < PROCESSES; i++) {
			struct call c = { .fn = call_probe, .n = n[i],
					  .addr = (uintptr_t)actors[i].probes };

			CHECK(!ep_call(actor_eps + i, &c), "process %u", i);
		}
		for (i = 0; i < nsights; i = k) {
			const struct probe *p = sights[i].probe;
			struct sight *writer = NULL;

			for (k = i; k < nsights && !sight_compare(sights + i, sights + k); k++) {
				struct probe *other = sights[k].probe;

				CHECK(other->sig == p->sig || round == 1,
				      "region %llu page %llu: signals", sights[i].region,
				      sights[i].page);
				CHECK(round != 2 || p->sig || other->val == sights[k].val,
				      "region %llu page %llu: %llx, not %llx", sights[i].region,
				      sights[i].page, other->val, sights[k].val);
				CHECK(round || p->sig || other->val == p->val,
				      "region %llu page %llu: %llx and %llx", sights[i].region,
				      sights[i].page, other->val, p->val);
				sights[k].val = round ? sights[k].val : p->val;
				if (sights[k].writable && !below(k - i + 1))
					writer = sights + k;
				other->write = false;
			}
			if (round || !writer || p->sig)
				continue;
			writer->probe->write = true;
			writer->probe->val = tag_of(actors);
			for (k = i; k < nsights && !sight_compare(sights + i, sights + k); k++)
				sights[k].val = writer->probe->val;
		}
	}
}

static unsigned int count_live(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < PROCESSES; i++)
		n += actors[i].nlive;
	return n;
}

/* What the processes know, taken together. */
static void check_holdings(const struct zcipc_stats *now)
{
	struct holding *all[PROCESSES * HOLDINGS];
	unsigned int i, k, n = 0, nviews = 0, regions = 0;

	for (i = 0; i < PROCESSES; i++) {
		for (k = 0; k < actors[i].norigins; k++) {
			actors[i].origins[k].live = NULL;
			actors[i].origins[k].n_derived = 0;
		}
		nviews += actors[i].nviews;
		for (k = 0; k < actors[i].nholdings; k++)
			all[n++] = actors[i].holdings + k;
	}
	for (i = 0; i < n; i++)
		origin_of(all[i]->origin)->live = &all[i]->inq.q;
	for (i = 0; i < n; i++) {
		const struct zcipc_region_query *q = &all[i]->inq.q, *other;
		unsigned int depth = 0, with_region = 0, first = i;
		struct origin *up = origin_of(all[i]->origin);

		while ((up = origin_of(up->parent))) {
			CHECK(!up->revoked, "derived from what was revoked");
			CHECK(!(q->rights & ~up->rights), "rights %x of %x", q->rights, up->rights);
			if (!up->live)
				continue;
			depth++;
			up->n_derived++;
			CHECK(q->region == up->live->region && q->offset >= up->live->offset &&
			      q->offset + q->len <= up->live->offset + up->live->len,
			      "derived from what has not these pages");
		}
		CHECK_EQ(depth, q->depth, "query");
		for (k = 0; k < n; k++) {
			other = &all[k]->inq.q;
			with_region += other->region == q->region;
			if (other->region == q->region && k < first)
				first = k;
		}
		CHECK_EQ(with_region, q->caps, "query");
		regions += first == i;
	}
	for (i = 0; i < n; i++)
		CHECK_EQ(origin_of(all[i]->origin)->n_derived, all[i]->inq.q.derived, "query");
	CHECK_EQ(nviews, now->maps, "stats");
	CHECK_EQ(regions, now->regions, "stats");
}

/* Is nothing under way any more? All stand still, but somebody may have been killed. */
static bool is_settled(struct ep *ep, struct zcipc_stats *now)
{
	on_all(call_settle, LOOK);
	CHECK(!zc_stats(ep, now), "stats");
	return failed || (now->caps == count_live() && !now->messages &&
			  now->endpoints == 1 + PROCESSES);
}

static void settle(struct ep *ep)
{
	struct zcipc_stats now;

	if (!wait_until(is_settled(ep, &now)))
		fail("%lld capabilities, not %u; %lld messages, %lld endpoints", now.caps,
		     count_live(), now.messages, now.endpoints);
	on_all(call_settle, JUDGE);
	if (failed)
		return;
	check_holdings(&now);
	check_sights();
}

/* What each did last. */
static void tell(void)
{
	unsigned int i, k;

	for (i = 0; i < PROCESSES; i++) {
		const struct actor *a = actors + i;

		for (k = 1; k <= ARRAY_SIZE(a->history); k++)
			fprintf(stderr, "# - %s\n",
				a->history[(a->done + k) % ARRAY_SIZE(a->history)]);
	}
}

static long call_map_unpinnable(struct ep *ep, struct call *c)
{
	void *p = mmap(NULL, c->n * psize, PROT_READ | PROT_WRITE, MAP_SHARED, ep->fd,
		       ZCIPC_WINDOW_OFFSET_UNPINNABLE);

	return p == MAP_FAILED ? -1 : 0;
}

static void actor_start(unsigned int i)
{
	struct call map = { .fn = call_map_unpinnable, .n = 2 * WINDOW };
	struct zcipc_endpoint_config config = {
		.size = sizeof(config), .flags = ZCIPC_CONFIG_DEPTH, .queue_depth = DEEP,
	};
	struct actor *a = actors + i;
	struct ep *ep = actor_eps + i;
	unsigned int k;
	int rc;

	a->me = i;
	a->nholdings = 0;
	a->nviews = 0;
	a->ndoubtful = 0;
	if (i)
		rc = peer_fork(ep) ?: peer_open(ep, 2 * WINDOW, O_NONBLOCK);
	else
		rc = ep_open(ep, 2 * WINDOW, O_NONBLOCK);
	/* Some have a window of their own for what nobody can hold. */
	if (!rc && i % 2)
		rc = ep_call(ep, &map);
	if (rc || zc_ioctl(ep, ZCIPC_IOC_ENDPOINT_CONFIG, &config))
		fail("process %u: %s", i, strerror(errno));
	for (k = 0; k < PROCESSES; k++)
		actors[k].ids[i] = ep->id;
}

#define OPS_PER_ROUND	200
#define OPS_WITH_POINT	60
#define ROUNDS		10

static void round_of_all(struct ep *ep)
{
	static const char * const points[] = {
		"broken", "committed", "fault", "found", "found", "found", "frozen", "prepared",
		"received", "revoked", "sent", "shutdown", "unmapped",
	};
	unsigned int i, victim = percent(20) ? 1 + below(PROCESSES - 1) : 0;
	bool slow = percent(50) && points_exist();
	struct call calls[PROCESSES];

	/* What otherwise happens between two instructions. */
	if (slow)
		point_set(points[below(ARRAY_SIZE(points))], 1);
	for (i = 0; i < PROCESSES; i++)
		calls[i] = (struct call){ .fn = call_act, .addr = (uintptr_t)(actors + i),
					  .n = slow ? OPS_WITH_POINT : OPS_PER_ROUND,
					  .val = rnd() };
	for (i = 1; i < PROCESSES; i++)
		ep_send(actor_eps + i, calls + i);
	if (victim) {
		msleep(below(20));
		ep_end(actor_eps + victim);
	}
	actor_eps[0].sock = -1;
	ep_call(actor_eps, calls);
	for (i = 1; i < PROCESSES; i++)
		if (i != victim && ep_wait(actor_eps + i, calls + i))
			fail("process %u: %s", i, strerror(errno));
	if (slow)
		point_go();
	if (victim)
		actor_start(victim);
	settle(ep);
}

TEST_F(model, all_at_once)
{
	unsigned long total = 0, episodes = 0;
	unsigned int i;

	actors = shared_memory(PROCESSES * sizeof(*actors));
	ASSERT_NE(NULL, actors);
	do {
		memset(actors, 0, PROCESSES * sizeof(*actors));
		prng = seed;
		carry_set(rnd() % 2 ? "2" : "1000000");
		huge_set(rnd() % 2 && huge_pages == HUGE_PAGES ? "1" : NULL);
		for (i = 0; i < PROCESSES; i++)
			actor_start(i);
		for (i = 0; i < ROUNDS && !failed; i++) {
			__u64 next = rnd();

			progress();
			nops++;
			round_of_all(&self->base.ep);
			prng = next;
		}
		if (!failed)
			on_all(call_settle, DROP);
		for (i = 0; i < PROCESSES; i++) {
			total += actors[i].done;
			ep_end(actor_eps + i);
		}
		episodes++;
		if (failed)
			tell();
		ASSERT_FALSE(failed);
		seed++;
	} while (now_ms() < self->end);
	TH_LOG("%lu operations in %lu episodes", total, episodes);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations, against a model of what they should do.
 *
 * The first test executes one operation at a time, and the model says how each must end: with which
 * errno, with which results, with what in whose windows. It is the interface once more, as a
 * program: capabilities and what they are derived from, regions with holes, frames that snapshots
 * share, queues. An operation that several errors apply to may fail with any of these.
 *
 * The second test lets all processes act at the same time. Nobody can say then how an operation
 * ends. But now and then all stand still, and what they know together has to fit.
 *
 * ZCIPC_SEED, ZCIPC_SECONDS (of each test). Both tests are made of episodes that begin with
 * nothing, each with a seed of its own: what a failure prints repeats the episode that failed. In
 * the first test that always fails at the same operation.
 */
#include "zcipc_utils.h"
#include "lib/chance.h"

#include <poll.h>

#define ALL	(2 * ZCIPC_RIGHT_MOVE - 1)
#define PROCESSES	6

/* --- what processes do for the tests, in memory that all have */

struct probe {
	__u64 addr;
	__u64 val;
	int sig;
	bool write;
};

struct inquiry {
	struct zcipc_region_query q;
	int err;
};

#define PROBES		1024
#define INQUIRIES	512

struct desk {
	struct probe probes[PROBES];
	struct inquiry inquiries[INQUIRIES];
};

static void *shared_memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The first and the last word of a page. -1: they differ. */
static void touch(struct probe *p)
{
	__u64 *words = (__u64 *)(uintptr_t)p->addr, *last = words + psize / 8 - 1, val = 0;

	if (p->write) {
		p->sig = touch_write(words, p->val) ?: touch_write(last, p->val);
		return;
	}
	p->sig = touch_read(words, &p->val) ?: touch_read(last, &val);
	if (!p->sig && val != p->val)
		p->sig = -1;
}

static long call_probe(struct ep *ep, struct call *c)
{
	struct probe *p = (void *)(uintptr_t)c->addr;
	__u64 i;

	(void)ep;
	for (i = 0; i < c->n; i++)
		touch(p + i);
	return 0;
}

static int query(struct ep *ep, struct inquiry *i)
{
	i->err = ioctl(ep->fd, ZCIPC_IOC_REGION_QUERY, &i->q) ? errno : 0;
	return i->err;
}

static long call_inquire(struct ep *ep, struct call *c)
{
	struct inquiry *i = (void *)(uintptr_t)c->addr;

	for (; c->n; c->n--)
		query(ep, i++);
	return 0;
}

/* An executable mapping, which need not be one to see what it shows. */
static long call_mmap(struct ep *ep, struct call *c)
{
	void *p = mmap(NULL, c->n, PROT_READ, MAP_SHARED, ep->fd, c->addr);

	c->val = (uintptr_t)p;
	return p == MAP_FAILED ? -1 : 0;
}

/* --- the model */

#define REGION_PAGES	8
#define WINDOW		48
#define SIDES		(PROCESSES + 1)		/* the first and the last are in this process */
#define CAPS		250
#define MAPS		1500
#define QUEUE		600
#define GONE		64

struct frame {
	__u64 val;
	unsigned int regions;
	bool was_shared;		/* since then nobody has written to it */
};

/* @id is 0 as long as nobody has been told. */
struct region {
	__u64 id;
	unsigned int npages;
	struct frame *frames[REGION_PAGES];
};

/* @token is 0 as long as nobody has been told. */
struct cap {
	struct side *side;
	__u64 token;
	struct region *region;
	struct cap *parent;
	unsigned int first;
	unsigned int npages;
	__u32 rights;
};

/* @addr is what the kernel calls it, @seen_at where the process sees it. */
struct map {
	struct cap *cap;
	__u64 addr;
	__u64 seen_at;
	unsigned int first;
	unsigned int npages;
	bool writable;
	bool exec;
};

/*
 * Those of one batch come in any order. @cap: NULL if the message says that it is gone.
 * @sender_rights: which the sender has again if it is returned.
 */
struct message {
	struct cap *cap;
	struct cap *about;		/* of a notification */
	unsigned int batch;
	__u32 sender_rights;
	struct zcipc_recv want;
};

/* An endpoint and its process. @dirty: pages of the window to look at after the operation. */
struct side {
	struct ep ep;
	bool alive;
	unsigned int window;
	unsigned int depth;
	struct message queue[QUEUE];
	unsigned int nqueue;
	__u64 gone[GONE];
	unsigned int ngone;
	__u64 exec_end;
	bool dirty[WINDOW];
	bool dirty_any;
	struct desk *desk;
};

static struct side sides[SIDES];
static struct cap *caps[CAPS + SIDES];
static unsigned int ncaps;
static struct map maps[MAPS];
static unsigned int nmaps;
static unsigned int batch;
static __u64 version;			/* the last number that was used for anything unique */
static __u64 dead_endpoint;
static __u64 nregions, nframes;
static struct zcipc_stats counted;	/* since the episode began */
static struct zcipc_stats before;

/* Executable mappings that are gone, as they were. */
static struct { struct side *side; __u64 seen_at; unsigned int npages; } graves[MAPS];
static unsigned int ngraves;

static int nr(const struct side *side)
{
	return side - sides;
}

static int cap_nr(const struct cap *cap)
{
	unsigned int i;

	for (i = 0; i < ncaps; i++)
		if (caps[i] == cap)
			return i;
	return -1;
}

/* --- the model: mappings */

static void dirty(const struct map *map)
{
	struct side *side = map->cap->side;
	unsigned int i;

	if (map->exec || !side->alive)
		return;
	for (i = 0; i < map->npages; i++)
		side->dirty[(map->addr - (uintptr_t)side->ep.win) / psize + i] = true;
	side->dirty_any = true;
}

static void dirty_range(const struct region *region, unsigned int first, unsigned int npages)
{
	unsigned int i;

	for (i = 0; i < nmaps; i++)
		if (maps[i].cap->region == region && maps[i].first < first + npages &&
		    first < maps[i].first + maps[i].npages)
			dirty(maps + i);
}

static struct map *map_add(struct cap *cap, __u64 addr, unsigned int first, unsigned int npages,
			   bool writable)
{
	maps[nmaps] = (struct map){ .cap = cap, .addr = addr, .seen_at = addr, .first = first,
				    .npages = npages, .writable = writable };
	dirty(maps + nmaps);
	return maps + nmaps++;
}

static void map_del(struct map *map)
{
	struct side *side = map->cap->side;

	dirty(map);
	if (map->exec && side->alive) {
		graves[ngraves].side = side;
		graves[ngraves].seen_at = map->seen_at;
		graves[ngraves++].npages = map->npages;
	}
	*map = maps[--nmaps];
}

static void map_del_all(const struct cap *cap)
{
	unsigned int i;

	for (i = nmaps; i-- > 0;)
		if (maps[i].cap == cap)
			map_del(maps + i);
}

/* The kernel takes the first gap. That is not promised, but tells when there must be none. */
static __u64 place(const struct side *side, unsigned int npages)
{
	bool used[WINDOW] = {};
	unsigned int i, n = 0;

	if (npages > side->window) {
		fails(ENOBUFS);
		return 0;
	}
	for (i = 0; i < nmaps; i++)
		if (maps[i].cap->side == side && !maps[i].exec)
			memset(used + (maps[i].addr - (uintptr_t)side->ep.win) / psize, true,
			       maps[i].npages);
	for (i = 0; i < side->window; i++) {
		n = used[i] ? 0 : n + 1;
		if (n == npages)
			return (uintptr_t)side->ep.win + (i + 1 - n) * psize;
	}
	fails(EAGAIN);
	return 0;
}

/* --- the model: regions and frames */

static void frame_put(struct frame *frame)
{
	if (!frame || --frame->regions)
		return;
	free(frame);
	nframes--;
}

static struct frame *frame_new(__u64 val)
{
	struct frame *frame = malloc(sizeof(*frame));

	*frame = (struct frame){ .val = val, .regions = 1 };
	nframes++;
	return frame;
}

static struct region *region_new(unsigned int npages)
{
	struct region *region = calloc(1, sizeof(*region));

	region->npages = npages;
	nregions++;
	return region;
}

static void region_put(struct region *region)
{
	unsigned int i;

	for (i = 0; i < ncaps; i++)
		if (caps[i]->region == region)
			return;
	for (i = 0; i < region->npages; i++)
		frame_put(region->frames[i]);
	free(region);
	nregions--;
}

static void region_write(struct region *region, unsigned int page, __u64 val)
{
	struct frame **frame = region->frames + page;

	if ((*frame)->regions > 1) {
		frame_put(*frame);
		*frame = frame_new(0);
		counted.copied_write += psize;
	} else if ((*frame)->was_shared) {
		counted.reused++;
	}
	(*frame)->was_shared = false;
	(*frame)->val = val;
}

/* Somebody is told which region it is. */
static void region_learn(struct region *region, __u64 id)
{
	unsigned int i;

	if (!region->id) {
		for (i = 0; i < ncaps; i++)
			CHECK(caps[i]->region->id != id, "the region %llu exists",
			      (unsigned long long)id);
		region->id = id;
	}
	CHECK_EQ(region->id, id, "region");
}

/* --- the model: messages */

static struct message *message_add(struct side *side, struct cap *cap,
				   const struct zcipc_recv *want, const struct side *sender)
{
	struct message *m = side->queue + side->nqueue++;

	*m = (struct message){ .cap = cap, .batch = batch, .want = *want };
	m->want.size = sizeof(m->want);
	m->want.sender = sender->ep.id;
	m->want.sender_pid = sender->ep.pid;
	return m;
}

static void message_del(struct side *side, unsigned int i)
{
	memmove(side->queue + i, side->queue + i + 1,
		(--side->nqueue - i) * sizeof(side->queue[0]));
}

/* Takes the message that brings a capability out of the queue. False if it has been received. */
static bool message_cancel(const struct cap *cap)
{
	struct side *side = cap->side;
	unsigned int i;

	for (i = 0; i < side->nqueue; i++) {
		if (side->queue[i].cap == cap) {
			message_del(side, i);
			return true;
		}
	}
	return false;
}

/* Notifications about what goes are never received. */
static void message_cancel_about(const struct cap *cap)
{
	struct side *side = cap->side;
	unsigned int i;

	for (i = side->nqueue; i-- > 0;)
		if (side->queue[i].about == cap)
			message_del(side, i);
}

/* Is this where a notification may say that the range is? 0: it is nowhere. */
static bool message_addr_right(const struct message *m, __u64 addr)
{
	__u64 start = m->about->first * psize + m->want.offset, first;
	unsigned int i;

	for (i = 0; i < nmaps; i++) {
		first = maps[i].first * psize;
		if (maps[i].cap != m->about || maps[i].exec || start < first ||
		    start + m->want.len > first + maps[i].npages * psize)
			continue;
		if (!addr || addr == maps[i].addr + start - first)
			return addr;
	}
	return !addr;
}

/* --- the model: capabilities */

static struct cap *cap_new(struct side *side, struct region *region, struct cap *parent,
			   unsigned int first, unsigned int npages, __u32 rights)
{
	struct cap *cap = malloc(sizeof(*cap));

	*cap = (struct cap){ .side = side, .region = region, .parent = parent, .first = first,
			     .npages = npages, .rights = rights };
	return caps[ncaps++] = cap;
}

static bool cap_known(const struct side *side, __u64 token)
{
	unsigned int i;

	for (i = 0; i < ncaps; i++)
		if (caps[i]->side == side && caps[i]->token == token)
			return true;
	for (i = 0; i < GONE; i++)
		if (side->gone[i] == token)
			return true;
	return false;
}

static void cap_set_token(struct cap *cap, __u64 token)
{
	CHECK(token && !cap_known(cap->side, token), "token %llx", (unsigned long long)token);
	cap->token = token;
}

/* Leaves a table with all that it gave there. */
static void cap_leave(struct cap *cap)
{
	struct side *side = cap->side;

	map_del_all(cap);
	message_cancel(cap);
	message_cancel_about(cap);
	if (cap->token)
		side->gone[side->ngone++ % GONE] = cap->token;
}

static void cap_del(struct cap *cap)
{
	unsigned int i;

	cap_leave(cap);
	for (i = 0; i < ncaps; i++)
		if (caps[i]->parent == cap)
			caps[i]->parent = cap->parent;
	caps[cap_nr(cap)] = caps[ncaps - 1];
	ncaps--;
	region_put(cap->region);
	free(cap);
}

static bool cap_is_below(const struct cap *cap, const struct cap *root)
{
	while ((cap = cap->parent))
		if (cap == root)
			return true;
	return false;
}

static bool cap_is_derived_from(const struct cap *cap, const struct side *side)
{
	while ((cap = cap->parent))
		if (cap->side == side)
			return true;
	return false;
}

static void cap_kill(struct cap *cap, const struct side *revoker)
{
	struct zcipc_recv want = {
		.type = ZCIPC_REVOKED, .rights = cap->rights, .cap = cap->token,
		.region = cap->region->id, .len = cap->npages * psize,
	};
	struct side *side = cap->side;

	if (!message_cancel(cap) && side != revoker)
		message_add(side, NULL, &want, revoker);
	cap_del(cap);
}

static unsigned int cap_revoke(struct cap *cap, bool keep, const struct side *revoker)
{
	struct cap *doomed[CAPS];
	unsigned int i, n = 0;

	for (i = 0; i < ncaps; i++)
		if (cap_is_below(caps[i], cap) || (caps[i] == cap && !keep))
			doomed[n++] = caps[i];
	for (i = 0; i < n; i++)
		cap_kill(doomed[i], revoker);
	return n;
}

static struct cap *cap_find(const struct side *side, __u64 token)
{
	unsigned int i;

	for (i = 0; token && i < ncaps; i++)
		if (caps[i]->side == side && caps[i]->token == token)
			return caps[i];
	for (i = 0; i < GONE; i++)
		if (token && side->gone[i] == token)
			break;
	fails(i < GONE ? ESTALE : ENOENT);
	return NULL;
}

static bool cap_range(const struct cap *cap, __u64 offset, __u64 len, unsigned int *first,
		      unsigned int *npages)
{
	__u64 end = cap->npages * psize;

	if (offset % psize || len % psize || offset >= end || len > end - offset) {
		fails(EINVAL);
		return false;
	}
	*first = cap->first + offset / psize;
	*npages = (len ?: end - offset) / psize;
	return true;
}

/* --- what to do */

static struct side *pick_side(void)
{
	struct side *side;

	do
		side = sides + below(SIDES);
	while (!side->alive);
	return side;
}

/* One that the endpoint has, NULL: anybody's. */
static struct cap *pick_cap(const struct side *side)
{
	unsigned int i, start = ncaps ? below(ncaps) : 0;

	for (i = 0; i < ncaps; i++) {
		struct cap *cap = caps[(start + i) % ncaps];

		if (cap->token && (!side || cap->side == side))
			return cap;
	}
	return NULL;
}

static __u64 pick_token(const struct side *side)
{
	struct cap *cap;

	if (percent(90)) {
		cap = pick_cap(side);
		if (cap)
			return cap->token;
	}
	switch (below(4)) {
	case 0:
		return 0;
	case 1:
		cap = pick_cap(NULL);
		return cap ? cap->token : 1;
	case 2:
		return side->gone[below(GONE)];
	default:
		return rnd();
	}
}

static const struct cap *peek(const struct side *side, __u64 token)
{
	unsigned int i;

	for (i = 0; i < ncaps; i++)
		if (caps[i]->side == side && caps[i]->token == token)
			return caps[i];
	return NULL;
}

static void pick_range(const struct cap *cap, __u64 *offset, __u64 *len)
{
	unsigned int n = cap ? cap->npages : REGION_PAGES, first = below(n);

	*offset = 0;
	*len = 0;
	if (percent(45))
		return;
	*offset = first * psize;
	*len = below(n - first + 1) * psize;
	if (percent(8))
		*offset = below(12) * psize + !below(3);
	if (percent(8))
		*len = below(12) * psize + !below(3);
	if (!below(100))
		*len = -psize;
}

/* Mostly what the capability has. */
static __u32 pick_rights(const struct cap *cap)
{
	__u32 all = cap && !percent(5) ? cap->rights : ALL;
	__u32 rights = all & (percent(40) ? ALL : (below(ALL + 1) | ZCIPC_RIGHT_READ));

	if (!below(40))
		rights ^= 1 << below(6);
	return rights;
}

static void op_create(struct side *side)
{
	struct zcipc_region_create cmd = {
		.size = sizeof(cmd), .flags = percent(70) ? ZCIPC_CREATE_MAP : 0,
		.len = (1 + below(REGION_PAGES)) * psize, .node = ZCIPC_NODE_ANY,
	};
	struct region *region;
	struct cap *cap;
	__u64 addr = 0;
	unsigned int i;

	if (!below(20))
		cmd.len = below(2) * (psize + 1);
	if (!below(30))
		cmd.flags |= 1 << 15;
	note("%d create %llu pages flags %x", nr(side), cmd.len / psize, cmd.flags);
	if (!cmd.len || cmd.len % psize)
		fails(EINVAL);
	else if (cmd.flags & ZCIPC_CREATE_MAP)
		addr = place(side, cmd.len / psize);
	if (cmd.flags & ~ZCIPC_CREATE_MAP)
		fails(EOPNOTSUPP);
	if (!as_expected(zc_ioctl(&side->ep, ZCIPC_IOC_REGION_CREATE, &cmd)))
		return;
	CHECK_EQ(addr, cmd.addr, "create");
	region = region_new(cmd.len / psize);
	for (i = 0; i < region->npages; i++)
		region->frames[i] = frame_new(0);
	region_learn(region, cmd.region);
	cap = cap_new(side, region, NULL, 0, region->npages, ALL);
	cap_set_token(cap, cmd.cap);
	if (addr)
		map_add(cap, addr, 0, region->npages, true);
}

static void op_map(struct side *side)
{
	static const __u32 useful[] = {
		ZCIPC_RIGHT_READ, RIGHTS_RW, RIGHTS_RW, ZCIPC_RIGHT_READ | ZCIPC_RIGHT_EXEC,
	};
	struct zcipc_map cmd = {
		.size = sizeof(cmd), .cap = pick_token(side), .rights = useful[below(4)],
	};
	unsigned int first = 0, npages = 0;
	struct cap *cap;
	__u64 addr = 0;
	bool exec;

	pick_range(peek(side, cmd.cap), &cmd.offset, &cmd.len);
	if (!below(20))
		cmd.rights = below(64);
	if (!below(60))
		cmd.flags = 1;
	exec = cmd.rights & ZCIPC_RIGHT_EXEC;
	if (cmd.flags)
		fails(EOPNOTSUPP);
	if (!(cmd.rights & ZCIPC_RIGHT_READ) || (cmd.rights & ZCIPC_RIGHT_WRITE && exec) ||
	    cmd.rights & ~(RIGHTS_RW | ZCIPC_RIGHT_EXEC))
		fails(EINVAL);
	cap = cap_find(side, cmd.cap);
	if (cap && cap_range(cap, cmd.offset, cmd.len, &first, &npages)) {
		if (cmd.rights & ~cap->rights)
			fails(EACCES);
		if (!exec)
			addr = place(side, npages);
	}
	note("%d map %d first %u pages %u rights %x", nr(side), cap ? cap_nr(cap) : -1, first,
	     npages, cmd.rights);
	if (!as_expected(zc_ioctl(&side->ep, ZCIPC_IOC_MAP, &cmd)))
		return;
	if (exec) {
		struct call c = { .fn = call_mmap, .addr = cmd.addr, .n = npages * psize };
		struct map *map = map_add(cap, (uintptr_t)side->ep.win, first, 0, false);

		CHECK(cmd.addr >= side->exec_end, "used before: %#llx",
		      (unsigned long long)cmd.addr);
		CHECK_EQ(0, ep_call(&side->ep, &c), "mmap");
		side->exec_end = cmd.addr + npages * psize;
		map->exec = true;
		map->npages = npages;
		map->addr = cmd.addr;
		map->seen_at = c.val;
		return;
	}
	CHECK_EQ(addr, cmd.addr, "map");
	map_add(cap, addr, first, npages, cmd.rights & ZCIPC_RIGHT_WRITE);
}

/* One of the endpoint's, or NULL. */
static struct map *pick_map(const struct side *side)
{
	unsigned int i, start = nmaps ? below(nmaps) : 0;

	for (i = 0; i < nmaps; i++)
		if (maps[(start + i) % nmaps].cap->side == side)
			return maps + (start + i) % nmaps;
	return NULL;
}

static void op_unmap(struct side *side)
{
	struct zcipc_unmap cmd = { .size = sizeof(cmd) };
	struct map *map = pick_map(side);
	unsigned int i;

	if (map) {
		cmd.addr = map->addr;
		cmd.flags = map->exec ? ZCIPC_UNMAP_OFFSET : 0;
	}
	if (!below(10))
		cmd.addr += below(REGION_PAGES) * psize;
	if (!below(40))
		cmd.addr++;
	if (!below(30))
		cmd.flags ^= 1 + below(2);
	note("%d unmap %llx flags %x", nr(side), cmd.addr, cmd.flags);
	for (i = 0; i < nmaps; i++)
		if (maps[i].cap->side == side && maps[i].addr == cmd.addr &&
		    maps[i].exec == (cmd.flags & ZCIPC_UNMAP_OFFSET))
			break;
	if (cmd.addr % psize)
		fails(EINVAL);
	else if (i == nmaps)
		fails(ENOENT);
	if (cmd.flags & ~ZCIPC_UNMAP_OFFSET)
		fails(EOPNOTSUPP);
	if (as_expected(zc_ioctl(&side->ep, ZCIPC_IOC_UNMAP, &cmd)))
		map_del(maps + i);
}

/* Does a capability other than this one name any of its region's pages of a range? */
static bool others_name(const struct cap *cap, unsigned int first, unsigned int npages)
{
	unsigned int i;

	for (i = 0; i < ncaps; i++)
		if (caps[i] != cap && caps[i]->region == cap->region &&
		    caps[i]->first < first + npages &&
		    first < caps[i]->first + caps[i]->npages)
			return true;
	return false;
}

/* What a transfer or grant that succeeds does. */
static void transferred(const struct zcipc_transfer *cmd, struct side *side, struct side *to,
			struct cap *cap, unsigned int first, unsigned int npages, __u64 addr)
{
	bool move = cmd->type == ZCIPC_MOVE, copy = cmd->type == ZCIPC_COPY;
	struct region *region = cap->region;
	struct zcipc_recv want = {
		.type = cmd->type, .rights = cmd->rights, .cap = cmd->peer_cap, .addr = addr,
		.len = npages * psize, .cookie = cmd->cookie,
	};
	__u32 sender_rights = cap->rights;
	struct cap *new = cap;
	unsigned int i;

	if (!want.rights)
		want.rights = copy ? ALL : cap->rights;
	if (move)
		dirty_range(region, first, npages);
	for (i = ncaps; move && cmd->flags & ZCIPC_F_REVOKE_OTHERS && i-- > 0;)
		if (caps[i] != cap && caps[i]->region == region && caps[i]->first >= first &&
		    caps[i]->first + caps[i]->npages <= first + npages)
			cap_kill(caps[i], side);
	if (move && npages == region->npages) {
		/* The region itself. */
		cap_leave(cap);
		cap->side = to;
		cap->token = 0;
		cap->rights = want.rights;
	} else if (move || copy) {
		struct region *part = region_new(npages);

		for (i = 0; i < npages; i++) {
			struct frame **frame = region->frames + first + i;

			part->frames[i] = *frame;
			if (move)
				*frame = NULL;
			else
				(*frame)->regions++;
			part->frames[i]->was_shared |= copy;
		}
		new = cap_new(to, part, NULL, 0, npages, want.rights);
		first = 0;
		if (move && npages == cap->npages)
			cap_del(cap);
	} else {
		new = cap_new(to, region, cap, first, npages, want.rights);
	}
	cap_set_token(new, cmd->peer_cap);
	if (addr)
		map_add(new, addr, first, npages, want.rights & ZCIPC_RIGHT_WRITE);
	message_add(to, new, &want, side)->sender_rights = sender_rights;
	if (cmd->type == ZCIPC_GRANTED)
		return;
	counted.pages += npages;
	counted.moves += move;
	counted.copies += copy;
	counted.shares += cmd->type == ZCIPC_SHARE;
}

static void op_transfer(struct side *side, __u32 type)
{
	static const __u32 needed[] = {
		[ZCIPC_MOVE] = ZCIPC_RIGHT_MOVE, [ZCIPC_SHARE] = ZCIPC_RIGHT_GRANT,
		[ZCIPC_COPY] = ZCIPC_RIGHT_READ, [ZCIPC_GRANTED] = ZCIPC_RIGHT_GRANT,
	};
	struct side *to = pick_side();
	struct zcipc_transfer cmd = transfer_cmd(&to->ep, type, pick_token(side), 0, 0, 0);
	bool derives = type == ZCIPC_SHARE || type == ZCIPC_GRANTED;
	unsigned int i, first = 0, npages = 0;
	struct cap *cap;
	__u64 addr = 0;
	int rc;

	cmd.cookie = ++version;
	pick_range(peek(side, cmd.cap), &cmd.offset, &cmd.len);
	if (derives || percent(50))
		cmd.rights = pick_rights(peek(side, cmd.cap));
	if ((type == ZCIPC_MOVE && percent(40)) || !below(50))
		cmd.flags |= ZCIPC_F_REVOKE_OTHERS;
	if (!derives && percent(20))
		cmd.flags |= ZCIPC_F_STRICT;
	if (type == ZCIPC_COPY ? percent(30) : !below(60))
		cmd.flags |= ZCIPC_F_BREAK_HUGE;
	if (!below(60))
		cmd.flags |= 1U << 31;
	if (side->ep.sock < 0 && to->ep.sock < 0 && percent(40)) {
		cmd.flags |= ZCIPC_F_PEER_FD;
		cmd.peer = to->ep.fd;
	} else if (!below(40)) {
		cmd.peer = below(2) ? dead_endpoint : 1ULL << 40;
		fails(cmd.peer && cmd.peer == dead_endpoint ? ESRCH : ENOENT);
	}

	/* A grant knows fewer flags. */
	if (cmd.flags >> 31 || (type == ZCIPC_GRANTED && cmd.flags & ~ZCIPC_F_PEER_FD))
		fails(EOPNOTSUPP);
	if (cmd.flags & ZCIPC_F_REVOKE_OTHERS && type != ZCIPC_MOVE)
		fails(EINVAL);
	if (cmd.flags & ZCIPC_F_BREAK_HUGE && type != ZCIPC_COPY)
		fails(EINVAL);
	if (cmd.rights & ~ALL || (!(cmd.rights & ZCIPC_RIGHT_READ) && (cmd.rights || derives)))
		fails(EINVAL);
	if (to->nqueue >= to->depth)
		fails(EAGAIN);
	cap = cap_find(side, cmd.cap);
	if (cap && cap_range(cap, cmd.offset, cmd.len, &first, &npages)) {
		if (!(cap->rights & needed[type]))
			fails(EACCES);
		if (cmd.flags & ZCIPC_F_BREAK_HUGE && !(cap->rights & ZCIPC_RIGHT_WRITE))
			fails(EACCES);
		if (type != ZCIPC_COPY && cmd.rights & ~cap->rights)
			fails(EACCES);
		for (i = 0; i < npages; i++)
			if (!cap->region->frames[first + i])
				fails(ENOENT);
		if (type == ZCIPC_MOVE && !(cmd.flags & ZCIPC_F_REVOKE_OTHERS) &&
		    others_name(cap, first, npages))
			fails(EBUSY);
		if (type != ZCIPC_GRANTED)
			addr = place(to, npages);
	}
	note("%d %s %d first %u pages %u to %d rights %x flags %x", nr(side),
	     type == ZCIPC_MOVE ? "move" : type == ZCIPC_COPY ? "copy" :
	     type == ZCIPC_SHARE ? "share" : "grant", cap ? cap_nr(cap) : -1, first, npages,
	     nr(to), cmd.rights, cmd.flags);
	if (type == ZCIPC_GRANTED) {
		struct zcipc_grant grant = {
			.size = sizeof(grant), .flags = cmd.flags, .cap = cmd.cap,
			.peer = cmd.peer, .offset = cmd.offset, .len = cmd.len,
			.cookie = cmd.cookie, .rights = cmd.rights,
		};

		rc = zc_ioctl(&side->ep, ZCIPC_IOC_GRANT, &grant);
		cmd.peer_cap = grant.peer_cap;
	} else {
		rc = zc_transfer(&side->ep, &cmd);
	}
	if (!as_expected(rc))
		return;
	if (type != ZCIPC_GRANTED) {
		CHECK_EQ(npages, cmd.pages, "transfer");
		CHECK_EQ(0, cmd.copied, "transfer");
		CHECK_EQ(0, cmd.migrated, "transfer");
		CHECK_EQ(0, cmd.off_node, "transfer");
		CHECK_EQ(0, cmd.result, "transfer");
	}
	transferred(&cmd, side, to, cap, first, npages, addr);
}

/* The peer's token is mostly that of a capability for the same region. */
static struct side *pick_peer_cap(const struct side *side, struct zcipc_notify *cmd)
{
	const struct cap *cap = cmd->cap ? peek(side, cmd->cap) : NULL;
	unsigned int i, start = ncaps ? below(ncaps) : 0;
	struct side *to = pick_side();

	if (percent(25))
		return cap && cap->parent && percent(80) ? cap->parent->side : to;
	for (i = 0; cap && percent(90) && i < ncaps; i++) {
		const struct cap *theirs = caps[(start + i) % ncaps];

		if (theirs->region == cap->region && theirs->token) {
			cmd->peer_cap = theirs->token;
			return theirs->side;
		}
	}
	cmd->peer_cap = pick_token(to);
	return to;
}

static void op_notify(struct side *side)
{
	struct zcipc_notify cmd = notify_cmd(&side->ep, pick_token(side), 0, 0, 0);
	struct side *to = pick_peer_cap(side, &cmd);
	__u64 start = 0, end = 0, size;
	struct zcipc_recv want;
	struct cap *cap, *theirs = NULL;
	struct message *m;

	cmd.peer = to->ep.id;
	cmd.cookie = ++version;
	pick_range(peek(side, cmd.cap), &cmd.offset, &cmd.len);
	if (percent(30))
		cmd.offset += below(psize);
	if (percent(30))
		cmd.len -= cmd.len ? below(psize) : 0;
	if (!below(60))
		cmd.flags |= 1U << 31;
	if (cmd.flags)
		fails(EOPNOTSUPP);
	if (to->nqueue >= to->depth)
		fails(EAGAIN);
	cap = cap_find(side, cmd.cap);
	if (cap) {
		size = cap->npages * psize;
		start = cap->first * psize + cmd.offset;
		end = start + (cmd.len ?: size - cmd.offset);
		theirs = cmd.peer_cap ? (struct cap *)peek(to, cmd.peer_cap) : cap->parent;
		if (cmd.offset >= size || cmd.len > size - cmd.offset)
			fails(EINVAL);
		else if (!theirs || theirs->side != to || theirs->region != cap->region ||
			 start < theirs->first * psize ||
			 end > (theirs->first + theirs->npages) * psize)
			fails(ENOENT);
	}
	note("%d notify %d of %d of offset %llx len %llx of %d", nr(side),
	     theirs ? cap_nr(theirs) : -1, nr(to), cmd.offset, cmd.len,
	     cap ? cap_nr(cap) : -1);
	if (!as_expected(zc_notify(&side->ep, &cmd)))
		return;
	want = (struct zcipc_recv){
		.type = ZCIPC_NOTIFIED, .rights = theirs->rights, .cap = theirs->token,
		.len = end - start, .cookie = cmd.cookie,
		.offset = start - theirs->first * psize,
	};
	m = message_add(to, NULL, &want, side);
	m->about = theirs;
	counted.notifications++;
}

static void op_recv(struct side *side)
{
	struct message *m = side->queue;
	struct zcipc_recv got, want;
	unsigned int i;

	note("%d receive", nr(side));
	if (!side->nqueue)
		fails(EAGAIN);
	if (!as_expected(zc_recv(&side->ep, &got)))
		return;
	for (i = 0; i < side->nqueue && m[i].batch == m->batch; i++)
		if (m[i].want.cookie == got.cookie &&
		    (!m[i].want.cap || m[i].want.cap == got.cap))
			break;
	if (i == side->nqueue || m[i].batch != m->batch) {
		fail("a message that should not be the next: type %u token %llx cookie %llu",
		     got.type, got.cap, got.cookie);
		return;
	}
	want = m[i].want;
	if (m[i].cap) {
		if (!want.cap)
			cap_set_token(m[i].cap, got.cap);
		region_learn(m[i].cap->region, got.region);
		want.region = got.region;
		want.cap = got.cap;
	}
	if (m[i].about) {
		region_learn(m[i].about->region, got.region);
		want.region = got.region;
		CHECK(message_addr_right(m + i, got.addr), "told the address %llx", got.addr);
		want.addr = got.addr;
	}
	want.pending = side->nqueue - 1;
	CHECK_EQ(want.type, got.type, "receive");
	CHECK_EQ(want.rights, got.rights, "receive");
	CHECK_EQ(want.region, got.region, "receive");
	CHECK_EQ(want.addr, got.addr, "receive");
	CHECK_EQ(want.len, got.len, "receive");
	CHECK_EQ(want.sender, got.sender, "receive");
	CHECK_EQ(want.sender_pid, got.sender_pid, "receive");
	CHECK_EQ(want.message_flags, got.message_flags, "receive");
	CHECK_EQ(want.pending, got.pending, "receive");
	CHECK(!memcmp(&want, &got, sizeof(want)), "received something else");
	message_del(side, i);
	counted.received++;
}

static void op_revoke(struct side *side)
{
	struct zcipc_revoke cmd = {
		.size = sizeof(cmd), .cap = pick_token(side),
		.flags = percent(50) ? ZCIPC_REVOKE_KEEP : 0,
	};
	struct side *owner = side;
	unsigned int i, start, n;
	struct cap *cap = NULL;

	if (percent(40) && ncaps) {
		/* Somebody else's, derived from a capability of ours if there is one. */
		start = below(ncaps);
		for (i = 0; i < ncaps; i++) {
			cap = caps[(start + i) % ncaps];
			if (cap_is_derived_from(cap, side) || percent(3))
				break;
		}
		owner = cap->side;
		cmd.peer = owner->ep.id;
		cmd.cap = cap->token;
	}
	if (!below(40))
		cmd.flags |= 2;
	if (cmd.flags & ~ZCIPC_REVOKE_KEEP)
		fails(EOPNOTSUPP);
	if (owner == side) {
		cap = cap_find(side, cmd.cap);
	} else {
		cap = (struct cap *)peek(owner, cmd.cap);
		if (!cmd.cap || !cap_is_derived_from(cap, side))
			fails(ENOENT);
	}
	if (!below(40)) {
		cmd.peer = below(2) ? dead_endpoint : 1ULL << 40;
		if (cmd.peer)
			fails(cmd.peer == dead_endpoint ? ESRCH : ENOENT);
		else if (owner != side)
			/* Taken for one of its own. */
			fails(ENOENT);
	}
	note("%d revoke %d of %d flags %x", nr(side), cap ? cap_nr(cap) : -1, nr(owner),
	     cmd.flags);
	if (!as_expected(zc_ioctl(&side->ep, ZCIPC_IOC_REVOKE, &cmd)))
		return;
	n = cap_revoke(cap, cmd.flags & ZCIPC_REVOKE_KEEP, side);
	CHECK_EQ(n, cmd.revoked, "revoke");
}

static void op_drop(struct side *side)
{
	struct zcipc_drop cmd = { .size = sizeof(cmd), .cap = pick_token(side) };
	struct cap *cap;

	if (!below(40))
		cmd.flags = 1;
	if (cmd.flags)
		fails(EOPNOTSUPP);
	cap = cap_find(side, cmd.cap);
	note("%d drop %d", nr(side), cap ? cap_nr(cap) : -1);
	if (as_expected(zc_ioctl(&side->ep, ZCIPC_IOC_DROP, &cmd)))
		cap_del(cap);
}

static void op_query(struct side *side)
{
	struct zcipc_region_query cmd;
	__u64 token = pick_token(side);

	note("%d query %llx", nr(side), token);
	cap_find(side, token);
	as_expected(zc_query(&side->ep, token, &cmd));
}

static void run_probes(struct side *side, unsigned int n)
{
	struct call c = { .fn = call_probe, .addr = (uintptr_t)side->desk->probes, .n = n };

	if (n)
		CHECK_EQ(0, ep_call(&side->ep, &c), "probe");
}

static void op_write(struct side *side)
{
	struct probe *p = side->desk->probes;
	struct map *map = pick_map(side);
	struct region *region;
	unsigned int page;
	bool can;

	if (!map || map->exec)
		return;
	region = map->cap->region;
	page = below(map->npages);
	can = map->writable && region->frames[map->first + page];
	*p = (struct probe){ .addr = map->addr + page * psize, .val = ++version, .write = true };
	note("%d write %llu to %d page %u at %llx", nr(side), version, cap_nr(map->cap),
	     map->first + page, p->addr);
	run_probes(side, 1);
	CHECK_EQ(can ? 0 : SIGBUS, p->sig, "write");
	if (can)
		region_write(region, map->first + page, version);
	dirty_range(region, map->first + page, 1);
}

static void op_read(struct side *side)
{
	note("%d read", nr(side));
	if (side->window) {
		side->dirty[below(side->window)] = true;
		side->dirty_any = true;
	}
}

/* --- life and death of processes */

static void side_start(struct side *side)
{
	bool local = nr(side) == 0 || nr(side) == PROCESSES;
	struct desk *desk = side->desk ?: shared_memory(sizeof(*desk));
	struct zcipc_endpoint_config config = {
		.size = sizeof(config), .flags = ZCIPC_CONFIG_DEPTH, .queue_depth = 2 + below(12),
	};
	int rc;

	*side = (struct side){ .alive = true, .desk = desk, .depth = config.queue_depth };
	side->window = percent(80) ? WINDOW : below(REGION_PAGES);
	if (local)
		rc = ep_open(&side->ep, side->window, O_NONBLOCK);
	else
		rc = peer_fork(&side->ep) ?: peer_open(&side->ep, side->window, O_NONBLOCK);
	CHECK(!rc && desk, "start: %s", strerror(errno));
	rc = zc_ioctl(&side->ep, ZCIPC_IOC_ENDPOINT_CONFIG, &config);
	CHECK(!rc, "configure: %s", strerror(errno));
}

/* What has been moved to it and not been received goes back, everything else goes. */
static void op_die(struct side *side)
{
	unsigned int i, k;

	if (side == sides)
		return;
	note("%d dies", nr(side));
	for (i = 0; i < nmaps; i++)
		if (side->ep.sock < 0 && maps[i].exec && maps[i].cap->side == side)
			munmap((void *)(uintptr_t)maps[i].seen_at, maps[i].npages * psize);
	ep_end(&side->ep);
	side->alive = false;
	dead_endpoint = side->ep.id;
	for (i = 0; i < side->nqueue; i++) {
		struct message m = side->queue[i];

		for (k = 0; k < SIDES; k++)
			if (sides[k].alive && sides[k].ep.id == m.want.sender)
				break;
		if (k == SIDES || m.want.type != ZCIPC_MOVE || m.want.message_flags)
			continue;
		side->queue[i].cap = NULL;
		map_del_all(m.cap);
		m.cap->side = sides + k;
		m.cap->token = 0;
		m.cap->rights = m.sender_rights;
		m.want.rights = m.sender_rights;
		m.want.cap = 0;
		m.want.addr = 0;
		m.want.message_flags = ZCIPC_MESSAGE_RETURNED;
		batch++;
		message_add(sides + k, m.cap, &m.want, side);
		counted.returned++;
	}
	side->nqueue = 0;
	for (i = ncaps; i-- > 0;)
		if (caps[i]->side == side)
			cap_del(caps[i]);
	side_start(side);
}

/* --- what is checked */

/* Pages that the operation may have changed, or all that the process can see. */
static void check_pages(struct side *side, bool all)
{
	struct probe *p = side->desk->probes;
	const struct frame *want[PROBES] = {};
	unsigned int where[PROBES], i, k, n = 0;

	if (!all && !side->dirty_any)
		return;
	for (i = 0; i < side->window; i++)
		where[i] = -1;
	for (i = 0; i < side->window; i++) {
		if (all || side->dirty[i]) {
			where[i] = n;
			p[n++].addr = (uintptr_t)side->ep.win + i * psize;
		}
	}
	for (i = 0; i < nmaps; i++) {
		const struct map *map = maps + i;

		if (map->cap->side != side)
			continue;
		for (k = 0; k < map->npages; k++) {
			unsigned int at = n;

			if (map->exec && (!all || n == PROBES))
				break;
			if (map->exec)
				p[n++].addr = map->seen_at + k * psize;
			else
				at = where[(map->addr - (uintptr_t)side->ep.win) / psize + k];
			if (at < n)
				want[at] = map->cap->region->frames[map->first + k];
		}
	}
	for (i = 0; i < n; i++)
		p[i].write = false;
	run_probes(side, n);
	for (i = 0; i < n; i++) {
		CHECK(p[i].sig == (want[i] ? 0 : SIGBUS), "%d %#llx raises %d, not %d", nr(side),
		      p[i].addr, p[i].sig, want[i] ? 0 : SIGBUS);
		CHECK(p[i].sig || !want[i] || p[i].val == want[i]->val, "%d %#llx: %llu, not %llu",
		      nr(side), p[i].addr, p[i].val, want[i]->val);
	}
	memset(side->dirty, 0, sizeof(side->dirty));
	side->dirty_any = false;
}

/* Executable mappings that went show nothing, and are not needed any more. */
static void check_graves(void)
{
	unsigned int i;

	while (ngraves) {
		struct side *side = graves[--ngraves].side;
		__u64 addr = graves[ngraves].seen_at;
		size_t len = graves[ngraves].npages * psize;
		struct call c = { .fn = call_munmap, .addr = addr, .n = len };
		struct probe *p = side->desk->probes;

		for (i = 0; i < len / psize; i++)
			p[i] = (struct probe){ .addr = addr + i * psize };
		run_probes(side, i);
		while (i-- > 0)
			CHECK(p[i].sig == SIGBUS, "%d executable: signal %d", nr(side), p[i].sig);
		CHECK_EQ(0, ep_call(&side->ep, &c), "munmap");
	}
}

static void check_query(const struct cap *cap, const struct zcipc_region_query *q)
{
	__u32 n_present = 0, n_shared = 0, n_caps = 0, n_maps = 0, n_derived = 0, n_depth = 0;
	const struct region *region = cap->region;
	const struct cap *up;
	unsigned int i;

	for (i = cap->first; i < cap->first + cap->npages; i++) {
		n_present += !!region->frames[i];
		n_shared += region->frames[i] && region->frames[i]->regions > 1;
	}
	for (i = 0; i < ncaps; i++) {
		n_caps += caps[i]->region == region;
		n_derived += cap_is_below(caps[i], cap);
	}
	for (i = 0; i < nmaps; i++)
		n_maps += maps[i].cap->region == region;
	for (up = cap->parent; up; up = up->parent)
		n_depth++;
	if (region->id)
		CHECK_EQ(region->id, q->region, "query");
	CHECK_EQ(region->npages * psize, q->region_len, "query");
	CHECK_EQ(cap->first * psize, q->offset, "query");
	CHECK_EQ(cap->npages * psize, q->len, "query");
	CHECK_EQ(n_present * psize, q->present, "query");
	CHECK_EQ(n_shared * psize, q->shared, "query");
	CHECK_EQ(cap->rights, q->rights, "query");
	CHECK_EQ(n_caps, q->caps, "query");
	CHECK_EQ(n_maps, q->maps, "query");
	CHECK_EQ(n_derived, q->derived, "query");
	CHECK_EQ(n_depth, q->depth, "query");
	CHECK_EQ(ZCIPC_CACHE_DEFAULT, q->cache, "query");
}

static void ask(struct side *side, struct inquiry *i, unsigned int n)
{
	struct call c = { .fn = call_inquire, .addr = (uintptr_t)i, .n = n };

	if (n)
		CHECK_EQ(0, ep_call(&side->ep, &c), "inquire");
}

static void check_caps(struct side *side)
{
	struct inquiry *inq = side->desk->inquiries;
	struct cap *asked[INQUIRIES] = {};
	unsigned int i, n = 0;

	for (i = 0; i < ncaps; i++) {
		if (caps[i]->side != side || !caps[i]->token)
			continue;
		asked[n] = caps[i];
		inq[n++].q = (struct zcipc_region_query){ .size = sizeof(inq->q),
							  .cap = caps[i]->token };
	}
	for (i = 0; i < GONE; i++)
		if (side->gone[i])
			inq[n++].q = (struct zcipc_region_query){ .size = sizeof(inq->q),
								  .cap = side->gone[i] };
	ask(side, inq, n);
	for (i = 0; i < n; i++) {
		CHECK_EQ(asked[i] ? 0 : ESTALE, inq[i].err, "query");
		if (asked[i] && !inq[i].err)
			check_query(asked[i], &inq[i].q);
	}
}

static void check_stats(struct ep *ep)
{
	struct zcipc_stats now;
	unsigned int i, n = 0;

	CHECK_EQ(0, zc_stats(ep, &now), "stats");
	for (i = 0; i < SIDES; i++)
		n += sides[i].nqueue;
	CHECK_EQ(before.endpoints + SIDES, now.endpoints, "stats");
	CHECK_EQ(before.regions + nregions, now.regions, "stats");
	CHECK_EQ(before.frames + nframes, now.frames, "stats");
	CHECK_EQ(before.caps + ncaps, now.caps, "stats");
	CHECK_EQ(before.maps + nmaps, now.maps, "stats");
	CHECK_EQ(before.messages + n, now.messages, "stats");
	CHECK_EQ(before.moves + counted.moves, now.moves, "stats");
	CHECK_EQ(before.shares + counted.shares, now.shares, "stats");
	CHECK_EQ(before.copies + counted.copies, now.copies, "stats");
	CHECK_EQ(before.received + counted.received, now.received, "stats");
	CHECK_EQ(before.returned + counted.returned, now.returned, "stats");
	CHECK_EQ(before.pages + counted.pages, now.pages, "stats");
	CHECK_EQ(before.copied_write + counted.copied_write, now.copied_write, "stats");
	CHECK_EQ(before.copied_held, now.copied_held, "stats");
	CHECK_EQ(before.reused + counted.reused, now.reused, "stats");
	CHECK_EQ(before.notifications + counted.notifications, now.notifications, "stats");
}

static void check_all(struct ep *ep)
{
	unsigned int i;

	for (i = 0; i < SIDES && !failed; i++) {
		struct call c = { .fn = call_poll };

		check_pages(sides + i, true);
		check_caps(sides + i);
		CHECK_EQ(sides[i].nqueue ? POLLIN : 0, ep_call(&sides[i].ep, &c), "poll");
	}
	check_stats(ep);
}

static void op_any(void)
{
	struct cap *some = percent(70) ? pick_cap(NULL) : NULL;
	struct side *side = some ? some->side : pick_side();
	unsigned int what = below(1000);

	batch++;
	/* Too many for the model: they are given up. */
	if (ncaps > 150 || nmaps > MAPS - 2 * SIDES) {
		struct cap *cap = pick_cap(NULL);

		op_drop(cap ? cap->side : side);
	} else if (what < 90) {
		op_create(side);
	} else if (what < 200) {
		op_map(side);
	} else if (what < 260) {
		op_unmap(side);
	} else if (what < 350) {
		op_transfer(side, ZCIPC_GRANTED);
	} else if (what < 450) {
		op_transfer(side, ZCIPC_SHARE);
	} else if (what < 520) {
		op_transfer(side, ZCIPC_COPY);
	} else if (what < 620) {
		op_transfer(side, ZCIPC_MOVE);
	} else if (what < 750) {
		op_recv(side);
	} else if (what < 790) {
		op_revoke(side);
	} else if (what < 830) {
		op_drop(side);
	} else if (what < 850) {
		op_query(side);
	} else if (what < 900) {
		op_notify(side);
	} else if (what < 970) {
		op_write(side);
	} else if (what < 997) {
		op_read(side);
	} else {
		op_die(side);
	}
}

#define OPS_PER_EPISODE	1000
#define OPS_PER_CHECK	50

static void episode(struct ep *ep)
{
	unsigned int i, k;

	progress();
	prng = seed;
	carry_set(rnd() % 2 ? "2" : "1000000");
	huge_set(rnd() % 2 && huge_pages == HUGE_PAGES ? "1" : NULL);
	nops = 0;
	memset(history, 0, sizeof(history));
	memset(&counted, 0, sizeof(counted));
	CHECK_EQ(0, zc_stats(ep, &before), "stats");
	/* This endpoint, and no other. */
	before.endpoints = 1;
	for (i = 0; i < SIDES; i++)
		side_start(sides + i);
	for (i = 0; i < OPS_PER_EPISODE && !failed; i++) {
		nops++;
		op_any();
		check_graves();
		for (k = 0; k < SIDES; k++)
			check_pages(sides + k, false);
		if (!(i % OPS_PER_CHECK) && !failed)
			check_all(ep);
	}
	nops++;
	for (i = 0; i < SIDES; i++)
		while (sides[i].nqueue && !failed)
			op_recv(sides + i);
	note("all is dropped");
	while (ncaps && !failed) {
		struct cap *cap = caps[below(ncaps)];

		CHECK_EQ(0, zc_drop(&cap->side->ep, cap->token), "drop");
		cap_del(cap);
	}
	check_graves();
	if (!failed)
		check_all(ep);
	for (i = 0; i < SIDES; i++)
		ep_end(&sides[i].ep);
}

FIXTURE(model)
{
	struct base base;
	__u64 end;
};

FIXTURE_SETUP(model)
{
	base_setup(_metadata, &self->base);
	signal(SIGURG, hang);
	seed = number_from_env("ZCIPC_SEED", (time(NULL) ^ getpid()) & 0xffffff);
	self->end = now_ms() + 1000 * number_from_env("ZCIPC_SECONDS", 4);
	TH_LOG("ZCIPC_SEED=%llu", (unsigned long long)seed);
}

FIXTURE_TEARDOWN_BASE(model)

TEST_F(model, one_by_one)
{
	unsigned long total = 0, episodes = 0;

	do {
		episode(&self->base.ep);
		total += nops;
		episodes++;
		ASSERT_FALSE(failed);
		seed++;
	} while (now_ms() < self->end);
	TH_LOG("%lu operations in %lu episodes, %lu to fail", total, episodes, nrefused);
}

/* --- all at once */

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

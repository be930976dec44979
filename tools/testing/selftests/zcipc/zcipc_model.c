// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations, against a model of what they should do.
 *
 * One operation is executed at a time, and the model says how each must end: with which errno, with
 * which results, with what in whose windows. It is the interface once more, as a program:
 * capabilities and what they are derived from, regions with holes, frames that snapshots share,
 * queues. An operation that several errors apply to may fail with any of these.
 *
 * ZCIPC_SEED, ZCIPC_SECONDS. The test is made of episodes that begin with nothing, each with a seed
 * of its own: what a failure prints repeats the episode that failed, and fails at the same
 * operation.
 */
#include <poll.h>

#include "zcipc_model.h"
#include "lib/chance.h"
#include "model_state.h"

/* An executable mapping, which need not be one to see what it shows. */
static long call_mmap(struct ep *ep, struct call *c)
{
	void *p = mmap(NULL, c->n, PROT_READ, MAP_SHARED, ep->fd, c->addr);

	c->val = (uintptr_t)p;
	return p == MAP_FAILED ? -1 : 0;
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
		cmd.flags = ZCIPC_DROP_RETURN << below(2);
	/* Nobody wants what is returned. */
	if (cmd.flags & ~ZCIPC_DROP_RETURN)
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

TEST_HARNESS_MAIN

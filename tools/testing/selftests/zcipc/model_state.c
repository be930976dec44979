// SPDX-License-Identifier: GPL-2.0-only
#include "model_state.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chance.h"
#include "lib/memory.h"

struct side sides[SIDES];
struct cap *caps[CAPS + SIDES];
unsigned int ncaps;
struct map maps[MAPS];
unsigned int nmaps;
unsigned int batch;
__u64 version;
__u64 dead_endpoint;
__u64 nregions, nframes;
struct zcipc_stats counted;
struct zcipc_stats before;

struct grave graves[MAPS];
unsigned int ngraves;

int nr(const struct side *side)
{
	return side - sides;
}

int cap_nr(const struct cap *cap)
{
	unsigned int i;

	for (i = 0; i < ncaps; i++)
		if (caps[i] == cap)
			return i;
	return -1;
}

/* --- the model: mappings */

void dirty(const struct map *map)
{
	struct side *side = map->cap->side;
	unsigned int i;

	if (map->exec || !side->alive)
		return;
	for (i = 0; i < map->npages; i++)
		side->dirty[(map->addr - (uintptr_t)side->ep.win) / psize + i] = true;
	side->dirty_any = true;
}

void dirty_range(const struct region *region, unsigned int first, unsigned int npages)
{
	unsigned int i;

	for (i = 0; i < nmaps; i++)
		if (maps[i].cap->region == region && maps[i].first < first + npages &&
		    first < maps[i].first + maps[i].npages)
			dirty(maps + i);
}

struct map *map_add(struct cap *cap, __u64 addr, unsigned int first, unsigned int npages,
		    bool writable)
{
	maps[nmaps] = (struct map){ .cap = cap, .addr = addr, .seen_at = addr, .first = first,
				    .npages = npages, .writable = writable };
	dirty(maps + nmaps);
	return maps + nmaps++;
}

void map_del(struct map *map)
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

void map_del_all(const struct cap *cap)
{
	unsigned int i;

	for (i = nmaps; i-- > 0;)
		if (maps[i].cap == cap)
			map_del(maps + i);
}

/* The kernel takes the first gap. That is not promised, but tells when there must be none. */
__u64 place(const struct side *side, unsigned int npages)
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

struct frame *frame_new(__u64 val)
{
	struct frame *frame = malloc(sizeof(*frame));

	*frame = (struct frame){ .val = val, .regions = 1 };
	nframes++;
	return frame;
}

struct region *region_new(unsigned int npages)
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

void region_write(struct region *region, unsigned int page, __u64 val)
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
void region_learn(struct region *region, __u64 id)
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

struct message *message_add(struct side *side, struct cap *cap, const struct zcipc_recv *want,
			    const struct side *sender)
{
	struct message *m = side->queue + side->nqueue++;

	*m = (struct message){ .cap = cap, .batch = batch, .want = *want };
	m->want.size = sizeof(m->want);
	m->want.sender = sender->ep.id;
	m->want.sender_pid = sender->ep.pid;
	return m;
}

void message_del(struct side *side, unsigned int i)
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
bool message_addr_right(const struct message *m, __u64 addr)
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

struct cap *cap_new(struct side *side, struct region *region, struct cap *parent,
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

void cap_set_token(struct cap *cap, __u64 token)
{
	CHECK(token && !cap_known(cap->side, token), "token %llx", (unsigned long long)token);
	cap->token = token;
}

/* Leaves a table with all that it gave there. */
void cap_leave(struct cap *cap)
{
	struct side *side = cap->side;

	map_del_all(cap);
	message_cancel(cap);
	message_cancel_about(cap);
	if (cap->token)
		side->gone[side->ngone++ % GONE] = cap->token;
}

void cap_del(struct cap *cap)
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

bool cap_is_below(const struct cap *cap, const struct cap *root)
{
	while ((cap = cap->parent))
		if (cap == root)
			return true;
	return false;
}

bool cap_is_derived_from(const struct cap *cap, const struct side *side)
{
	while ((cap = cap->parent))
		if (cap->side == side)
			return true;
	return false;
}

void cap_kill(struct cap *cap, const struct side *revoker)
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

unsigned int cap_revoke(struct cap *cap, bool keep, const struct side *revoker)
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

struct cap *cap_find(const struct side *side, __u64 token)
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

bool cap_range(const struct cap *cap, __u64 offset, __u64 len, unsigned int *first,
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

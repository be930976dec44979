// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random pointers and lengths, sent from memory of all kinds, against a model of what they should
 * do.
 *
 * The sender has some areas. For each of their pages the model knows what it is, and what is in it;
 * from that follows how a transfer must end: with which errno, with what at the receiver, and with
 * what left at the sender. Between transfers both sides write, areas are remapped, adopted, and
 * inherited by children, which have to find all as it was when they were born.
 *
 * The first test does that one by one. In the second, other threads of the sender use, map and
 * unmap the memory beside the areas, fork, and there is one area in which all do what they like,
 * while it is sent: there any documented errno will do, and nothing may arrive but what one of them
 * has written.
 *
 * Guarantees: G1 zero-copy, G2 MOVE, G3, G4 snapshots, G5, G7, G8.
 * Attacks: 12 races with the owner, 20 and 21 kinds of memory.
 *
 * ZCIPC_SEED, ZCIPC_SECONDS (of each test): see zcipc_model.c.
 */
#include "zcipc_utils.h"
#include "lib/chance.h"
#include "random_areas.h"

/* --- transfers */

/* What is to be sent: of @area, and which pages that touches. */
struct op {
	struct area *a;
	struct zcipc_transfer cmd;
	size_t first;
	size_t npages;
	unsigned int peer;
	enum { DIRECT, COPIED, OF_REGION } how;
};

static __u32 random_flags(__u32 type, bool aligned, bool fixed)
{
	__u32 flags = ZCIPC_F_FROM_MEMORY;

	if (type != ZCIPC_MOVE)
		flags |= ZCIPC_F_IMPORT;
	if (percent(20))
		flags |= ZCIPC_F_STRICT;
	if (percent(type == ZCIPC_SHARE ? 3 : 35))
		flags |= ZCIPC_F_COPY_OK;
	if (percent(type == ZCIPC_SHARE ? 3 : aligned ? 20 : 90))
		flags |= ZCIPC_F_ANY_ALIGN;
	if (!fixed && percent(type == ZCIPC_MOVE ? 20 : 3))
		flags |= ZCIPC_F_UNMAP;
	if (percent(type == ZCIPC_COPY ? 30 : 3))
		flags |= ZCIPC_F_BREAK_HUGE;
	return flags;
}

/* Bytes from the beginning of the area, and a length: of pages if @aligned, often of a region. */
static void random_range(const struct area *a, bool aligned, size_t *from, size_t *len)
{
	static const size_t most[] = { 2, 2, 2, 2, 16, 16, 16, 16, 64, MAX_SEND };
	size_t n = 1 + below(most[below(ARRAY_SIZE(most))]);
	const struct home *home;

	*from = below(a->npages);
	home = a->pages[*from].home;
	if (home && percent(50)) {
		*from = home->first;
		n = home->mem->npages < MAX_SEND ? home->mem->npages : MAX_SEND;
	}
	*from *= psize;
	*len = n * psize;
	if (*len > a->npages * psize - *from)
		*len = a->npages * psize - *from;
	if (aligned)
		return;
	*from += below(percent(50) ? psize : *len);
	if (*len > a->npages * psize - *from)
		*len = a->npages * psize - *from;
	*len = percent(50) ? 1 + below(*len) : *len;
}

static void random_op(struct op *op)
{
	static const __u32 rights[] = { RIGHTS_ALL, RIGHTS_RW, ZCIPC_RIGHT_READ };
	static const __u32 types[] = { ZCIPC_MOVE, ZCIPC_MOVE, ZCIPC_SHARE, ZCIPC_COPY };
	struct zcipc_transfer *cmd = &op->cmd;
	size_t from, len;
	__u32 type = types[below(ARRAY_SIZE(types))];

	op->a = areas + below(AREAS);
	op->peer = percent(95) ? below(RECEIVERS) : below(PEERS);
	random_range(op->a, percent(type == ZCIPC_SHARE ? 95 : 50), &from, &len);
	op->first = from / psize;
	op->npages = (from + len + psize - 1) / psize - op->first;
	if (type == ZCIPC_SHARE && is_foreign(op->a, op->first, op->npages))
		type = ZCIPC_COPY;
	*cmd = transfer_cmd(peers + op->peer, type, 0, 0, 0, rights[below(ARRAY_SIZE(rights))]);
	if (type != ZCIPC_SHARE && percent(50))
		cmd->rights = 0;
	cmd->offset = (uintptr_t)op->a->base + from;
	cmd->len = len;
	cmd->flags = random_flags(type, !((from | len) % psize), op->a->kind->fixed);
	cmd->cookie = rnd();
}

/* A COPY that begins or ends in the middle of a page: of the whole pages in between. */
static void predict_snapshot(struct op *op)
{
	size_t from = op->cmd.offset - (uintptr_t)op->a->base, i;
	size_t first = (from + psize - 1) / psize, end = (from + op->cmd.len) / psize;
	const struct home *home = first < end ? home_of(op->a, first, end - first) : NULL;

	op->how = OF_REGION;
	if (first >= end)
		op->how = COPIED;
	else if (home)
		for (i = first; i < end; i++)
			if (is_gone(op->a, i))
				fails(ENOENT);
	if (first < end && !home &&
	    predict(op->a, first, end - first, true, op->cmd.flags & ZCIPC_F_COPY_OK))
		op->how = COPIED;
	if (first < end && !home && op->how == OF_REGION && !nreasons)
		adopt(op->a, first, end - first, 0);
	for (i = op->first; i < op->first + op->npages; i++)
		if ((i < first || i >= end) && read_sig(op->a, i))
			fails(EFAULT);
}

/* What must come of it. Returns whether it becomes a region, even if the peer does not take it. */
static bool op_predict(struct op *op)
{
	const struct zcipc_transfer *cmd = &op->cmd;
	const struct home *home = home_of(op->a, op->first, op->npages);
	bool unaligned = (cmd->offset | cmd->len) % psize;
	__u32 forbidden = 0;
	size_t i;

	if (cmd->type != ZCIPC_MOVE)
		forbidden |= ZCIPC_F_UNMAP;
	if (cmd->type != ZCIPC_COPY)
		forbidden |= ZCIPC_F_BREAK_HUGE;
	if (cmd->type == ZCIPC_SHARE)
		forbidden |= ZCIPC_F_COPY_OK | ZCIPC_F_ANY_ALIGN;
	if (cmd->flags & forbidden || (unaligned && !(cmd->flags & ZCIPC_F_ANY_ALIGN)) ||
	    (unaligned && home && cmd->type == ZCIPC_MOVE)) {
		fails(EINVAL);
		return false;
	}
	op->how = OF_REGION;
	if (unaligned && cmd->type == ZCIPC_COPY) {
		predict_snapshot(op);
		if (refuse[op->peer])
			fails(refuse[op->peer]);
		return true;
	}
	if (home) {
		for (i = 0; i < op->npages; i++)
			if (is_gone(op->a, op->first + i))
				fails(ENOENT);
		if (cmd->type == ZCIPC_MOVE &&
		    is_shared(home->mem, op->first - home->first, op->npages))
			fails(EBUSY);
	} else if (predict(op->a, op->first, op->npages, cmd->type != ZCIPC_MOVE,
			   cmd->flags & ZCIPC_F_COPY_OK)) {
		op->how = COPIED;
	} else if (cmd->type == ZCIPC_MOVE) {
		op->how = DIRECT;
	}
	if (!home && op->how == OF_REGION && !nreasons)
		home = adopt(op->a, op->first, op->npages, 0);
	if (refuse[op->peer])
		fails(refuse[op->peer]);
	return home;
}

/* Pages handed over, and bytes copied. */
static void check_counts(const struct op *op)
{
	const struct zcipc_transfer *cmd = &op->cmd;
	size_t first = (cmd->offset + psize - 1) / psize;
	size_t end = (cmd->offset + cmd->len) / psize;
	size_t pages = op->how != COPIED && first < end ? end - first : 0;

	CHECK(cmd->pages * psize + cmd->copied == cmd->len, "%llu pages, %llu bytes copied",
	      (unsigned long long)cmd->pages, (unsigned long long)cmd->copied);
	/* Who forks holds pages for a moment, and a part of a huge page may hold the others. */
	CHECK(cmd->pages == pages || ((loose || op->a->huge) && cmd->pages < pages),
	      "%llu pages, not %zu",
	      (unsigned long long)cmd->pages, pages);
	CHECK(!cmd->migrated && !cmd->off_node && !cmd->result, "results");
}

/* What the message must say. Returns where the first page is. */
static char *check_message(const struct op *op, const struct zcipc_recv *m)
{
	const struct zcipc_transfer *cmd = &op->cmd;
	__u64 skip = cmd->offset % psize;

	CHECK_EQ(cmd->type, m->type, "message");
	CHECK_EQ(cmd->rights ?: RIGHTS_ALL, m->rights, "message");
	CHECK_EQ(cmd->peer_cap, m->cap, "message");
	CHECK_EQ(cmd->len, m->len, "message");
	CHECK_EQ(cmd->cookie, m->cookie, "message");
	CHECK_EQ(sender.id, m->sender, "message");
	CHECK_EQ(getpid(), m->sender_pid, "message");
	CHECK_EQ(0, m->message_flags, "message");
	CHECK_EQ(0, m->pending, "message");
	CHECK_EQ(skip, m->offset, "message");
	CHECK_EQ(skip, m->addr % psize, "message");
	return (char *)(uintptr_t)m->addr - skip;
}

/* What the peer has now. Nothing has been taken from the sender yet. */
static void op_receive(const struct op *op)
{
	const struct zcipc_transfer *cmd = &op->cmd;
	const struct home *home = home_of(op->a, op->first, op->npages);
	struct item *item = &items[op->peer][nitems[op->peer]++];
	size_t skip = cmd->offset % psize, left = cmd->len, i, n;
	struct zcipc_recv m;

	*item = (struct item){ .ep = peers + op->peer, .npages = op->npages,
			       .writable = !cmd->rights || cmd->rights & ZCIPC_RIGHT_WRITE };
	if (cmd->type == ZCIPC_SHARE) {
		item->shared = true;
		item->mem = home->mem;
		item->mem->refs++;
		item->first = op->first - home->first;
	} else {
		item->mem = mem_new(op->npages);
		for (i = 0; i < op->npages; i++, left -= n, skip = 0) {
			n = left < psize - skip ? left : psize - skip;
			memcpy(item->mem->bytes + i * psize + skip,
			       bytes_of(op->a, op->first + i) + skip, n);
		}
	}
	memset(&m, 0, sizeof(m));
	CHECK(!zc_recv(item->ep, &m), "recv: %s", strerror(errno));
	item->p = check_message(op, &m);
	item->cap = m.cap;
	if (!failed)
		items_check(item, 1);
}

/* What has been moved is not the sender's any more. */
static void op_take(const struct op *op)
{
	const struct zcipc_transfer *cmd = &op->cmd;
	size_t from = cmd->offset - (uintptr_t)op->a->base, i;
	struct home *home = home_of(op->a, op->first, op->npages);
	size_t first = (from + psize - 1) / psize, end = (from + cmd->len) / psize;

	if (op->how == DIRECT) {
		memset(op->a->mem->bytes + from, 0, cmd->len);
		if (cmd->flags & ZCIPC_F_UNMAP && first < end)
			set_state(op->a, first, end - first, HOLE);
	} else if (op->how == OF_REGION) {
		for (i = 0; i < op->npages; i++)
			home->mem->gone[op->first - home->first + i] = true;
		if (op->npages == home->mem->npages)
			home_die(op->a, home);
	}
}

/* What was sent, and what is beside it. */
static void op_check(const struct op *op)
{
	size_t first = op->first ? op->first - 1 : 0, end = op->first + op->npages + 1;

	area_check(op->a, first, (end < op->a->npages ? end : op->a->npages) - first);
	if (!loose && op->a->base == op->a->lot + MARGIN * psize)
		margin_check(op->a->lot);
	if (!loose && op->a->base + op->a->npages * psize == op->a->lot + LOT * psize)
		margin_check(op->a->lot + LOT * psize);
}

static void send_one(void)
{
	static const char * const types[] = { "", "MOVE", "SHARE", "COPY" };
	struct op op = {};
	int rc;

	random_op(&op);
	while (op.peer < RECEIVERS && nitems[op.peer] == ITEMS)
		item_drop(&items[op.peer][below(ITEMS)]);
	note("%s of %s %#llx+%#llx (%p page %zu, %zu pages) to %u flags %#x rights %#x",
	     types[op.cmd.type], op.a->kind->name, (unsigned long long)op.cmd.offset,
	     (unsigned long long)op.cmd.len, op.a->base, op.first, op.npages, op.peer,
	     op.cmd.flags, op.cmd.rights);
	op_predict(&op);
	rc = zc_transfer(&sender, &op.cmd);
	if (rc && errno == EBUSY && (loose || op.a->huge) && op.cmd.flags & ZCIPC_F_STRICT &&
	    !nreasons)
		fails(EBUSY);
	if (as_expected(rc)) {
		check_counts(&op);
		op_receive(&op);
		if (op.cmd.type == ZCIPC_MOVE)
			op_take(&op);
	}
	op_check(&op);
	nops++;
	area_renew(op.a);
}

/* --- the episode */

static unsigned long nsends;
static __u64 end_ms;

/* What fails at the end of an episode that had no time may need more of it to be repeated. */
static bool is_over(unsigned int i)
{
	return failed || i >= SENDS || (i >= SENDS / 50 && now_ms() >= end_ms);
}

static void check_all(void)
{
	struct zcipc_stats stats;
	unsigned int peer, i, n = 0;

	for (i = 0; i < AREAS && !failed; i++)
		area_check(areas + i, 0, areas[i].npages);
	for (i = 0; i <= LOTS && !loose; i++)
		margin_check((char *)ARENA + i * LOT * psize);
	for (peer = 0; peer < RECEIVERS; peer++) {
		n += nitems[peer];
		for (i = 0; i < nitems[peer] && !failed; i += RANGES)
			items_check(&items[peer][i],
				    nitems[peer] - i < RANGES ? nitems[peer] - i : RANGES);
	}
	/* The full endpoint's one, and those of other's windows. */
	n += nhomes + 1;
	for (i = 0; i < AREAS; i++)
		n += areas[i].npages && areas[i].cap;
	CHECK(!zc_stats(&sender, &stats), "stats: %s", strerror(errno));
	if (!loose)
		CHECK_EQ(n, stats.caps, "stats");
}

/* One thing that is no transfer. */
static void other_op(void)
{
	struct area *a = areas + below(AREAS);
	struct item *item = any_item();
	unsigned int what = below(100);

	if (what < 50) {
		area_change(a);
		area_renew(a);
	} else if (what < 57) {
		area_delete(a);
		area_new(a);
	} else if (what < 62) {
		note("fork");
		child_start();
	} else if (what < 64 && nchildren) {
		note("end of a child");
		child_end(below(nchildren));
	} else if (what < 80 && item) {
		note("drop");
		item_drop(item);
	} else if (what < 92 && item) {
		note("write to what was received at %p", item->p);
		item_write(item);
	} else if (item) {
		items_check(item, 1);
	}
	nops++;
}

static void peers_start(void)
{
	struct zcipc_endpoint_config depth = { .flags = ZCIPC_CONFIG_DEPTH, .queue_depth = 1 };
	struct buf buf = {};
	unsigned int i;
	int rc;

	rc = ep_open(&sender, LOT * AREAS, O_NONBLOCK);
	rc = rc ?: ep_open(&scratch_ep, WINDOW, O_NONBLOCK);
	for (i = 0; i < PEERS; i++) {
		size_t npages = i == NO_ROOM ? 0 : WINDOW;

		if (i == THERE || i == ELSEWHERE)
			rc = rc ?: peer_fork(peers + i) ?: peer_open(peers + i, npages, O_NONBLOCK);
		else
			rc = rc ?: ep_open(peers + i, npages, O_NONBLOCK);
	}
	ep_end(peers + GONE);
	rc = rc ?: zc_create(&sender, 1, &buf) ?: zc_config(peers + FULL, &depth) ?:
		zc_send(&sender, peers + FULL, ZCIPC_MOVE, buf.cap);
	CHECK(!rc, "endpoints: %s", strerror(errno));
}

static void arena_make(void)
{
	unsigned int i;

	map_at((char *)ARENA, LOTS * LOT + MARGIN, PROT_READ | PROT_WRITE,
	       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	for (i = 0; i <= LOTS; i++)
		fill((char *)ARENA + i * LOT * psize, MARGIN, 7);
}

static void episode_begin(void)
{
	unsigned int i;

	prng = seed;
	carry_set(rnd() % 2 ? "2" : "1000000");
	nops = 0;
	memset(history, 0, sizeof(history));
	neps = 1;
	arena_make();
	peers_start();
	for (i = 0; i < AREAS && !failed; i++)
		area_new(areas + i);
}

static void episode_sends(void)
{
	unsigned int i;

	for (i = 0; !is_over(i); i++) {
		progress();
		while (!failed && percent(50))
			other_op();
		if (!failed)
			send_one();
		if (!failed && i % 100 == 99)
			check_all();
		nsends++;
	}
}

/* All go, and nothing is left but the endpoints. */
static void episode_end(void)
{
	struct zcipc_stats now;
	unsigned int i;

	while (nchildren)
		child_end(0);
	for (i = 0; i < RECEIVERS; i++)
		while (nitems[i] && !failed)
			item_drop(&items[i][0]);
	for (i = 0; i < AREAS && !failed; i++)
		area_delete(areas + i);
	munmap((char *)ARENA, (LOTS * LOT + MARGIN) * psize);
	CHECK(!zc_stats(&sender, &now), "stats: %s", strerror(errno));
	if (!failed) {
		CHECK_EQ(1, now.caps, "stats");
		CHECK_EQ(1, now.regions, "stats");
		CHECK_EQ(1, now.frames, "stats");
		CHECK_EQ(1, now.maps, "stats");
		CHECK_EQ(1, now.messages, "stats");
		CHECK_EQ(0, now.user_pinned, "stats");
	}
	for (i = 0; i < PEERS; i++)
		ep_end(peers + i);
	ep_end(&scratch_ep);
	/* What they kept for the next COPY is gone. The full one's message has come back. */
	CHECK(!zc_stats(&sender, &now), "stats: %s", strerror(errno));
	if (!failed)
		CHECK_EQ(1, owned(&now), "stats");
	ep_end(&sender);
}

FIXTURE(random)
{
	struct base base;
	__u64 start;
};

FIXTURE_SETUP(random)
{
	base_setup(_metadata, &self->base);
	signal(SIGURG, hang);
	seed = number_from_env("ZCIPC_SEED", (time(NULL) ^ getpid()) & 0xffffff);
	self->start = now_ms();
	end_ms = self->start + 1000 * number_from_env("ZCIPC_SECONDS", 4);
	TH_LOG("ZCIPC_SEED=%llu", (unsigned long long)seed);
	/* Where nobody asks for a huge page there is none. */
	file_write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	desk = mmap(NULL, RANGES * (MAX_SEND + 1) * psize, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)desk);
}

FIXTURE_TEARDOWN_BASE(random)

static void episode(void (*sends)(void))
{
	char pages[(STACK_PAGES + 1) * 4096];

	stack = pages;
	episode_begin();
	sends();
	if (!failed)
		check_all();
	episode_end();
	stack = NULL;
}

#define RUN(sends)							\
do {									\
	unsigned long episodes = 0;					\
									\
	do {								\
		episode(sends);						\
		episodes++;						\
		ASSERT_FALSE(failed);					\
		seed++;							\
	} while (now_ms() < end_ms);					\
	TH_LOG("%lu transfers in %lu episodes, %lu calls to fail, %llu transfers/s", nsends,	\
	       episodes, nrefused,					\
	       nsends * 1000ULL / (unsigned long long)(now_ms() - self->start + 1));	\
} while (0)

TEST_F(random, one_by_one)
{
	RUN(episode_sends);
}

/* --- all at once */

static volatile bool stop;

/*
 * What a thread writes: its number is in each byte, so that it cannot be torn to pieces that are
 * nobody's. Zero is nobody's too.
 */
static __u64 tag(unsigned int writer)
{
	return (rnd() & 0x0f0f0f0f0f0f0f0f) | 0x8080808080808080 | writer * 0x1010101010101010;
}

static bool is_tag(unsigned char byte)
{
	return !byte || (byte & 0xf0) == 0x80 || (byte & 0xf0) == 0x90;
}

/*
 * Lets the others do something too, above all the one who sends: a thread rests four times as long
 * as it has worked. Some kernels take very long to fork.
 */
static void rest(__u64 since)
{
	msleep(below(4) + 4 * (now_ms() - since));
}

enum { SCRATCH_WRITERS = 2, NEIGHBOUR = SCRATCH_WRITERS };

/* The first word of each page of the margins. */
static __u64 margins[LOTS + 1][MARGIN];

/* Some pages, with what is in them: one owner, who finds there what it has left. */
static void use_margin(__u64 *words, char *p, unsigned int n)
{
	__u64 val = tag(NEIGHBOUR);

	switch (below(6)) {
	case 0:
		munmap(p, n * psize);
		msleep(below(2));
		map_at(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		memset(words, 0, n * sizeof(*words));
		break;
	case 1:
		map_at(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		memset(words, 0, n * sizeof(*words));
		break;
	case 2:
		CHECK(!touch_write(p, val), "writing the page %p", p);
		*words = val;
		break;
	default:
		CHECK(!compare(p, (char *)words, sizeof(*words)), "the page %p", p);
	}
}

static void *neighbour(void *arg)
{
	unsigned int i;
	__u64 since;

	prng = (uintptr_t)arg;
	for (i = 0; i < (LOTS + 1) * MARGIN; i++)
		margins[i / MARGIN][i % MARGIN] = pattern(7, i % MARGIN, 0);
	for (since = now_ms(); !stop && !failed; rest(since), since = now_ms()) {
		unsigned int lot = below(LOTS + 1), page = below(MARGIN);

		use_margin(&margins[lot][page], (char *)ARENA + (lot * LOT + page) * psize,
			   1 + below(MARGIN - page));
	}
	return NULL;
}

/* Children that end at once, or after a while. */
static void *forker(void *arg)
{
	__u64 since;
	pid_t pid;

	prng = (uintptr_t)arg;
	for (since = now_ms(); !stop && !failed; rest(since), since = now_ms()) {
		unsigned int ms = percent(50) ? 0 : below(20);

		pid = fork();
		if (!pid) {
			if (ms)
				msleep(ms);
			_exit(0);
		}
		CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork: %s", strerror(errno));
	}
	return NULL;
}

static void scratch_send(void)
{
	size_t first = below(SCRATCH_PAGES), n = 1 + below(SCRATCH_PAGES - first);
	__u32 type = 1 + below(3);
	struct zcipc_transfer cmd = transfer_cmd(&scratch_ep, type, 0, 0, 0, RIGHTS_RW);

	cmd.flags = random_flags(type, true, false);
	cmd.offset = (uintptr_t)SCRATCH + first * psize;
	cmd.len = n * psize;
	if (cmd.flags & ZCIPC_F_ANY_ALIGN && percent(50)) {
		cmd.offset += below(psize);
		cmd.len -= psize - 1 - below(psize);
	}
	if (!zc_transfer(&sender, &cmd))
		return;
	switch (errno) {
	case EINVAL: case EFAULT: case EACCES: case EOPNOTSUPP: case EBUSY: case ENOENT:
	case ESTALE: case EAGAIN:
		return;
	}
	fail("scratch: %s", strerror(errno));
}

static void scratch_import(char *p, size_t npages)
{
	struct zcipc_region_import cmd = {
		.size = sizeof(cmd), .addr = (uintptr_t)p, .len = npages * psize,
	};

	if (zc_ioctl(&sender, ZCIPC_IOC_REGION_IMPORT, &cmd))
		CHECK(errno == EFAULT || errno == EACCES || errno == EOPNOTSUPP, "scratch: %s",
		      strerror(errno));
	else
		CHECK(!zc_drop(&sender, cmd.cap) || errno == ESTALE, "scratch: %s",
		      strerror(errno));
}

/* Does to the scratch area what comes to its mind. */
static void *scratch_user(void *arg)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	static const int advice[] = { MADV_DONTNEED, MADV_HUGEPAGE, MADV_PAGEOUT };
	unsigned int me = (uintptr_t)arg % SCRATCH_WRITERS, i;
	__u64 since;

	prng = (uintptr_t)arg;
	for (since = now_ms(); !stop && !failed; rest(since), since = now_ms()) {
		size_t first = below(SCRATCH_PAGES), n = 1 + below(SCRATCH_PAGES - first);
		char *p = SCRATCH + first * psize;

		switch (below(12)) {
		case 0:
			munmap(p, n * psize);
			break;
		case 1: case 2:
			map_at(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
			break;
		case 3:
			mprotect(p, n * psize, prots[below(ARRAY_SIZE(prots))]);
			break;
		case 4:
			madvise(p, n * psize, advice[below(ARRAY_SIZE(advice))]);
			break;
		case 5:
			scratch_import(p, n);
			break;
		case 6:
			scratch_send();
			break;
		default:
			for (i = 0; i < 50; i++)
				touch_write(SCRATCH + below(SCRATCH_PAGES * psize / 8) * 8,
					    tag(me));
		}
	}
	return NULL;
}

/* Receives what was sent from there. It is what somebody wrote, and zero beside that. */
static void scratch_receive(void)
{
	struct zcipc_recv m;

	while (!failed && !zc_recv(&scratch_ep, &m)) {
		const unsigned char *p = (void *)(uintptr_t)m.addr, *page = p - m.offset;
		size_t i, end = (m.offset + m.len + psize - 1) / psize * psize;

		for (i = 0; i < end && !failed; i++) {
			bool inside = i >= m.offset && i < m.offset + m.len;

			CHECK(inside ? is_tag(page[i]) : !page[i],
			      "scratch, at byte %zu of %llu after %llu: %#x", i,
			      (unsigned long long)m.len, (unsigned long long)m.offset, page[i]);
		}
		CHECK(!zc_drop(&scratch_ep, m.cap), "drop: %s", strerror(errno));
	}
}

static void episode_with_threads(void)
{
	void *(*fns[])(void *) = { scratch_user, scratch_user, neighbour, forker };
	pthread_t threads[ARRAY_SIZE(fns)];
	unsigned int i;

	stop = false;
	for (i = 0; i < ARRAY_SIZE(fns); i++)
		CHECK(!pthread_create(threads + i, NULL, fns[i], (void *)(seed * 2000 + i)),
		      "thread");
	for (i = 0; !is_over(i); i++) {
		progress();
		while (!failed && percent(50))
			other_op();
		if (!failed)
			send_one();
		if (percent(20))
			scratch_send();
		scratch_receive();
		if (!failed && i % 100 == 99)
			check_all();
		nsends++;
	}
	stop = true;
	for (i = 0; i < ARRAY_SIZE(fns); i++)
		pthread_join(threads[i], NULL);
	scratch_receive();
}

TEST_F(random, all_at_once)
{
	loose = true;
	RUN(episode_with_threads);
}

TEST_HARNESS_MAIN

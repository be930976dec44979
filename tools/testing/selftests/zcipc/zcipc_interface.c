// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interface as such: structs and their lengths, flags, values, pointers, errnos. Also built as
 * a 32-bit program, zcipc_compat, where everything must be the same.
 *
 * Guarantees: G3 (what fails changes nothing), G7 (nothing is written but results, by all helpers),
 * G13 durable interface.
 * Attacks: 23, 24, 25 (wrong descriptors, 32-bit), 29 (LOOKUP).
 */
#include "zcipc_utils.h"

#define N 4

FIXTURE(interface)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_SETUP(interface)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 256, O_NONBLOCK);
	test_open(&self->b, 256, O_NONBLOCK);
	test_create(&self->a, N, &self->src);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(interface)

union any_cmd {
	__u32 head[2];		/* size and flags, in all of them */
	struct zcipc_info info;
	struct zcipc_endpoint_config config;
	struct zcipc_lookup lookup;
	struct zcipc_region_create create;
	struct zcipc_region_import import;
	struct zcipc_region_ordinary ordinary;
	struct zcipc_region_query query;
	struct zcipc_map map;
	struct zcipc_unmap unmap;
	struct zcipc_transfer transfer;
	struct zcipc_transfer_batch batch;
	struct zcipc_recv recv;
	struct zcipc_grant grant;
	struct zcipc_notify notify;
	struct zcipc_revoke revoke;
	struct zcipc_drop drop;
	struct zcipc_drop_batch drops;
	struct zcipc_stats stats;
	unsigned char bytes[512];
};

/* Each call, with what makes it succeed, and what takes back what it did. */
#define CALL(_name, _nr, _type, _last, _flags)				\
	{ _name, _nr, offsetof(struct _type, _last) + sizeof(((struct _type *)0)->_last), \
	  sizeof(struct _type), _flags }

static const struct one_call {
	const char *name;
	unsigned int nr;
	__u32 first_size;	/* in the first version that had the call */
	__u32 size;
	__u32 flags;		/* that exist, and go with what prepare() makes */
} calls[] = {
	CALL("INFO", ZCIPC_IOC_INFO, zcipc_info, max_messages, 0),
	CALL("CONFIG", ZCIPC_IOC_ENDPOINT_CONFIG, zcipc_endpoint_config, name,
	     ZCIPC_CONFIG_NAME | ZCIPC_CONFIG_POLICY | ZCIPC_CONFIG_DEPTH | ZCIPC_CONFIG_FULL |
	     ZCIPC_CONFIG_UNRECEIVED | ZCIPC_CONFIG_DROPPED),
	CALL("LOOKUP", ZCIPC_IOC_LOOKUP, zcipc_lookup, endpoint, 0),
	CALL("CREATE", ZCIPC_IOC_REGION_CREATE, zcipc_region_create, region,
	     ZCIPC_CREATE_MAP | ZCIPC_CREATE_NODE_STRICT | ZCIPC_CREATE_PINNABLE |
	     ZCIPC_CREATE_HUGE | ZCIPC_CREATE_NO_HUGE | ZCIPC_CREATE_RECYCLED |
	     ZCIPC_CREATE_UNPINNABLE),
	CALL("IMPORT", ZCIPC_IOC_REGION_IMPORT, zcipc_region_import, region, 0),
	CALL("QUERY", ZCIPC_IOC_REGION_QUERY, zcipc_region_query, __reserved, 0),
	CALL("MAP", ZCIPC_IOC_MAP, zcipc_map, addr, 0),
	CALL("UNMAP", ZCIPC_IOC_UNMAP, zcipc_unmap, addr, 0),
	CALL("TRANSFER", ZCIPC_IOC_TRANSFER, zcipc_transfer, copied,
	     ZCIPC_F_STRICT | ZCIPC_F_PEER_FD | ZCIPC_F_NODE_STRICT | ZCIPC_F_AUTO |
	     ZCIPC_F_BREAK_HUGE),
	CALL("BATCH", ZCIPC_IOC_TRANSFER_BATCH, zcipc_transfer_batch, failed, ZCIPC_F_ATOMIC),
	CALL("RECV", ZCIPC_IOC_RECV, zcipc_recv, pending, 0),
	CALL("GRANT", ZCIPC_IOC_GRANT, zcipc_grant, peer_cap, ZCIPC_F_PEER_FD),
	CALL("REVOKE", ZCIPC_IOC_REVOKE, zcipc_revoke, revoked, ZCIPC_REVOKE_KEEP),
	CALL("DROP", ZCIPC_IOC_DROP, zcipc_drop, cap, ZCIPC_DROP_RETURN),
	CALL("DROP_BATCH", ZCIPC_IOC_DROP_BATCH, zcipc_drop_batch, dropped, ZCIPC_DROP_RETURN),
	CALL("ORDINARY", ZCIPC_IOC_REGION_ORDINARY, zcipc_region_ordinary, copied, 0),
	CALL("NOTIFY", ZCIPC_IOC_NOTIFY, zcipc_notify, cookie, ZCIPC_F_PEER_FD),
	CALL("STATS", ZCIPC_IOC_STATS, zcipc_stats, faults, ZCIPC_STATS_ENDPOINT),
};

/* Flags that exist, but not for what prepare() makes. */
static const struct {
	unsigned int nr;
	__u32 flag;
	int err;
} misfits[] = {
	{ ZCIPC_IOC_UNMAP, ZCIPC_UNMAP_OFFSET, ENOENT },
	{ ZCIPC_IOC_TRANSFER, ZCIPC_F_REVOKE_OTHERS, EINVAL },
	{ ZCIPC_IOC_TRANSFER, ZCIPC_F_FROM_MEMORY, EINVAL },
	{ ZCIPC_IOC_TRANSFER, ZCIPC_F_ANY_ALIGN, EINVAL },
	{ ZCIPC_IOC_TRANSFER, ZCIPC_F_COPY_OK, EINVAL },
	{ ZCIPC_IOC_TRANSFER, ZCIPC_F_UNMAP, EINVAL },
	{ ZCIPC_IOC_TRANSFER, ZCIPC_F_IMPORT, EINVAL },
	{ ZCIPC_IOC_STATS, ZCIPC_STATS_REGION, ENOENT },
};

/* Makes a struct of a call that succeeds. What it needs is made, too. */
static void prepare(struct __test_metadata *_metadata, const struct one_call *call, struct ep *a,
		    struct ep *b, const struct buf *src, union any_cmd *cmd)
{
	static struct zcipc_transfer entry;
	static __u64 cap;
	struct buf buf;
	char *p;

	memset(cmd, 0, sizeof(*cmd));
	switch (call->nr) {
	case ZCIPC_IOC_ENDPOINT_CONFIG:
		cmd->config.queue_depth = 1024;
		break;
	case ZCIPC_IOC_LOOKUP:
		cmd->lookup.pid = getpid();
		break;
	case ZCIPC_IOC_REGION_CREATE:
		cmd->create.len = psize;
		cmd->create.node = ZCIPC_NODE_ANY;
		break;
	case ZCIPC_IOC_REGION_IMPORT:
		p = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, p);
		cmd->import.addr = (uintptr_t)p;
		cmd->import.len = psize;
		break;
	case ZCIPC_IOC_REGION_ORDINARY:
		cmd->ordinary.cap = src->cap;
		break;
	case ZCIPC_IOC_REGION_QUERY:
		cmd->query.cap = src->cap;
		break;
	case ZCIPC_IOC_MAP:
		cmd->map.cap = src->cap;
		cmd->map.rights = ZCIPC_RIGHT_READ;
		break;
	case ZCIPC_IOC_UNMAP:
		test_map(a, src->cap, 0, 0, ZCIPC_RIGHT_READ, &p);
		cmd->unmap.addr = (uintptr_t)p;
		break;
	case ZCIPC_IOC_TRANSFER:
		cmd->transfer = transfer_cmd(b, ZCIPC_COPY, src->cap, 0, 0, 0);
		break;
	case ZCIPC_IOC_TRANSFER_BATCH:
		entry = transfer_cmd(b, ZCIPC_COPY, src->cap, 0, 0, 0);
		cmd->batch.transfers = (uintptr_t)&entry;
		cmd->batch.ntransfers = 1;
		cmd->batch.transfer_size = sizeof(entry);
		break;
	case ZCIPC_IOC_RECV:
		test_send(a, a, ZCIPC_COPY, src->cap);
		break;
	case ZCIPC_IOC_GRANT:
		cmd->grant.cap = src->cap;
		cmd->grant.peer = b->id;
		cmd->grant.rights = ZCIPC_RIGHT_READ;
		break;
	case ZCIPC_IOC_NOTIFY:
		test_give(a, b, src->cap, ZCIPC_RIGHT_READ, &buf);
		cmd->notify = notify_cmd(b, src->cap, buf.cap, 0, 0);
		break;
	case ZCIPC_IOC_REVOKE:
		test_create(a, 1, &buf);
		cmd->revoke.cap = buf.cap;
		break;
	case ZCIPC_IOC_DROP:
		test_create(a, 1, &buf);
		cmd->drop.cap = buf.cap;
		break;
	case ZCIPC_IOC_DROP_BATCH:
		test_create(a, 1, &buf);
		cap = buf.cap;
		cmd->drops.caps = (uintptr_t)&cap;
		cmd->drops.ncaps = 1;
		break;
	}
	cmd->head[0] = call->size;
}

/* Takes back what a call did that succeeded, or what prepare() made for one that failed. */
static void undo(struct __test_metadata *_metadata, const struct one_call *call, struct ep *a,
		 struct ep *b, const union any_cmd *cmd, bool succeeded)
{
	struct buf buf;

	switch (call->nr) {
	case ZCIPC_IOC_REGION_CREATE:
		if (succeeded)
			test_drop(a, cmd->create.cap);
		break;
	case ZCIPC_IOC_REGION_IMPORT:
		if (succeeded)
			test_drop(a, cmd->import.cap);
		munmap((void *)(uintptr_t)cmd->import.addr, psize);
		break;
	case ZCIPC_IOC_MAP:
		if (succeeded)
			test_unmap(a, (char *)(uintptr_t)cmd->map.addr);
		break;
	case ZCIPC_IOC_UNMAP:
		if (!succeeded)
			test_unmap(a, (char *)(uintptr_t)cmd->unmap.addr);
		break;
	case ZCIPC_IOC_TRANSFER:
	case ZCIPC_IOC_TRANSFER_BATCH:
	case ZCIPC_IOC_GRANT:
		if (succeeded) {
			test_take(b, &buf);
			test_drop(b, buf.cap);
		}
		break;
	case ZCIPC_IOC_NOTIFY:
		if (succeeded)
			test_take(b, &buf);
		test_drop(b, cmd->notify.peer_cap);
		break;
	case ZCIPC_IOC_RECV:
		if (!succeeded)
			test_take(a, &buf);
		test_drop(a, succeeded ? cmd->recv.cap : buf.cap);
		break;
	case ZCIPC_IOC_REVOKE:
		if (!succeeded || cmd->head[1] & ZCIPC_REVOKE_KEEP)
			test_drop(a, cmd->revoke.cap);
		break;
	case ZCIPC_IOC_DROP:
		if (!succeeded)
			test_drop(a, cmd->drop.cap);
		break;
	case ZCIPC_IOC_DROP_BATCH:
		if (!succeeded)
			test_drop(a, *(__u64 *)(uintptr_t)cmd->drops.caps);
		break;
	}
}

/*
 * One call with a struct of which @size bytes are claimed, and @tail is behind what this version
 * knows. Whatever it returns, only as much has come to be as must, and nothing is written behind
 * what is claimed.
 */
static void run_call(struct __test_metadata *_metadata, FIXTURE_DATA(interface) *self,
		     const struct one_call *call, __u32 size, __u32 flags, unsigned char tail,
		     int want)
{
	struct zcipc_stats before, after;
	static char page[2 * 65536];	/* two of the largest */
	union any_cmd cmd;
	int rc, err;
	__u32 i;

	test_stats(&self->base.ep, &before);
	prepare(_metadata, call, &self->a, &self->b, &self->src, &cmd);
	if (flags == ZCIPC_F_PEER_FD && call->nr == ZCIPC_IOC_TRANSFER)
		cmd.transfer.peer = self->b.fd;
	else if (flags == ZCIPC_F_PEER_FD && call->nr == ZCIPC_IOC_GRANT)
		cmd.grant.peer = self->b.fd;
	else if (flags == ZCIPC_F_PEER_FD && call->nr == ZCIPC_IOC_NOTIFY)
		cmd.notify.peer = self->b.fd;
	memset(page, 0, sizeof(page));
	memcpy(page, &cmd, call->size);
	for (i = size; i < call->size && !want; i++)
		page[i] = 0xcc;
	((__u32 *)page)[0] = size;
	((__u32 *)page)[1] = flags;
	page[call->size] = tail;
	rc = ioctl(self->a.fd, call->nr, page);
	err = rc ? errno : 0;
	ASSERT_EQ(want, err) TH_LOG("%s with size %u, flags %#x, tail %u", call->name, size, flags,
				    tail);
	if (rc) {
		memcpy(&cmd, page, call->size);
		((__u32 *)page)[0] = call->size;
	}
	for (i = size; i < call->size && !want; i++)
		ASSERT_EQ(0xcc, (unsigned char)page[i]);
	ASSERT_EQ(tail, (unsigned char)page[call->size]);
	undo(_metadata, call, &self->a, &self->b, rc ? &cmd : (union any_cmd *)page, !rc);
	test_stats(&self->base.ep, &after);
	ASSERT_TRUE(same_live(&before, &after)) TH_LOG("%s", call->name);
}

/* 24: lengths. */
TEST_F(interface, lengths)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		const struct one_call *call = &calls[i];

		run_call(_metadata, self, call, 0, 0, 0, EINVAL);
		run_call(_metadata, self, call, 4, 0, 0, EINVAL);
		run_call(_metadata, self, call, call->first_size - 1, 0, 0, EINVAL);
		run_call(_metadata, self, call, call->first_size, 0, 0, 0);
		if (call->first_size < call->size) {
			run_call(_metadata, self, call, call->first_size + 1, 0, 0, 0);
			run_call(_metadata, self, call, call->size - 1, 0, 0, 0);
		}
		run_call(_metadata, self, call, call->size, 0, 0, 0);
		run_call(_metadata, self, call, call->size, 0, 1, 0);
		run_call(_metadata, self, call, call->size + 1, 0, 0, 0);
		run_call(_metadata, self, call, call->size + 1, 0, 1, E2BIG);
		run_call(_metadata, self, call, psize, 0, 0, 0);
		run_call(_metadata, self, call, psize, 0, 1, E2BIG);
		run_call(_metadata, self, call, psize + 1, 0, 0, E2BIG);
		run_call(_metadata, self, call, ~0U, 0, 0, E2BIG);
	}
}

/* 24, G13: each flag that there is not, alone. */
TEST_F(interface, flags)
{
	unsigned int i, j;
	int bit, want;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (bit = 0; bit < 32; bit++) {
			want = calls[i].flags & 1U << bit ? 0 : EOPNOTSUPP;
			for (j = 0; j < ARRAY_SIZE(misfits); j++)
				if (misfits[j].nr == calls[i].nr && misfits[j].flag == 1U << bit)
					want = misfits[j].err;
			run_call(_metadata, self, &calls[i], calls[i].size, 1U << bit, 0, want);
		}
	}
}

TEST_F(interface, no_such_call)
{
	union any_cmd cmd = { .head = { 8 } };
	unsigned int i;

	for (i = _IOC_NR(ZCIPC_IOC_DROP_BATCH) + 1; i < 256; i++)
		TEST_ERR(ENOTTY, ioctl(self->a.fd, _IO(ZCIPC_IOC_TYPE, i), &cmd));
	TEST_ERR(ENOTTY, ioctl(self->a.fd, _IO(ZCIPC_IOC_TYPE - 1, 0), &cmd));
	TEST_ERR(ENOTTY, ioctl(self->a.fd, _IOWR(ZCIPC_IOC_TYPE, 0, cmd), &cmd));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		int null = open("/dev/null", O_RDWR);

		TEST_ERR(ENOTTY, ioctl(null, calls[i].nr, &cmd));
		close(null);
		TEST_ERR(EBADF, ioctl(-1, calls[i].nr, &cmd));
	}
	EXPECT_EQ(-1, read(self->a.fd, &cmd, 8));
	EXPECT_EQ(-1, write(self->a.fd, &cmd, 8));
}

/* What is switched off, INFO does not have. */
TEST_F(interface, info_of_what_is_off)
{
	const __u64 all = ZCIPC_FEATURE_HUGE | ZCIPC_FEATURE_HUGE_IMPORT | ZCIPC_FEATURE_CARRY |
			  ZCIPC_FEATURE_SHORT_MOVE;
	struct zcipc_info on = { .size = sizeof(on) }, off = on;
	static const struct {
		const char *path, *off, *on;
		__u64 feature;
	} switches[] = {
		{ HUGE_MIN, "0", "512", ZCIPC_FEATURE_HUGE },
		{ HUGE_IMPORT, "N", "Y", ZCIPC_FEATURE_HUGE_IMPORT },
		{ CARRY, "0", "16", ZCIPC_FEATURE_CARRY },
		{ SHORT_MOVES, "N", "Y", ZCIPC_FEATURE_SHORT_MOVE },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(switches); i++)
		file_write(switches[i].path, switches[i].on);
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &on));
	EXPECT_EQ(ZCIPC_FEATURE_CARRY | ZCIPC_FEATURE_SHORT_MOVE,
		  on.features & (ZCIPC_FEATURE_CARRY | ZCIPC_FEATURE_SHORT_MOVE));
	for (i = 0; i < ARRAY_SIZE(switches); i++) {
		file_write(switches[i].path, switches[i].off);
		TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &off));
		EXPECT_EQ(on.features & ~switches[i].feature, off.features);
		file_write(switches[i].path, switches[i].on);
	}
	for (i = 0; i < ARRAY_SIZE(switches); i++)
		file_write(switches[i].path, switches[i].off);
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &off));
	EXPECT_EQ(on.features & ~all, off.features);
}

TEST_F(interface, info)
{
	struct zcipc_info one = { .size = sizeof(one) }, two = { .size = sizeof(two) };

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &one));
	TEST_OK(zc_ioctl(&self->b, ZCIPC_IOC_INFO, &two));
	EXPECT_EQ(ZCIPC_ABI_VERSION, one.abi);
	EXPECT_EQ(psize, one.page_size);
	EXPECT_EQ(0, one.features & ~(ZCIPC_FEATURE_STREAMING | ZCIPC_FEATURE_UNCACHED |
				      ZCIPC_FEATURE_HUGE | ZCIPC_FEATURE_HUGE_IMPORT |
				      ZCIPC_FEATURE_CARRY | ZCIPC_FEATURE_SHORT_MOVE));
	EXPECT_EQ(two.features, one.features);
	EXPECT_LT(0, one.endpoint);
	EXPECT_LT(one.endpoint, two.endpoint);
	EXPECT_EQ((uintptr_t)self->a.win, one.window_addr);
	EXPECT_EQ(self->a.npages * psize, one.window_len);
	EXPECT_LE(1ULL << 30, one.max_region_len);
	EXPECT_LE(1ULL << 30, one.max_window_len);
	EXPECT_LT(1000, one.max_caps);
	EXPECT_LT(100, one.max_messages);
	TEST_OK(zc_ioctl(&self->base.ep, ZCIPC_IOC_INFO, &one));
	EXPECT_EQ(0, one.window_addr);
	EXPECT_EQ(0, one.window_len);
}

TEST_F(interface, lookup)
{
	__u64 id;

	/* The fixture's three, in the order in which they were opened. */
	test_lookup(&self->a, getpid(), 0, &id);
	EXPECT_EQ(self->base.ep.id, id);
	test_lookup(&self->a, getpid(), id, &id);
	EXPECT_EQ(self->a.id, id);
	test_lookup(&self->a, getpid(), id, &id);
	EXPECT_EQ(self->b.id, id);
	test_err_lookup(ENOENT, &self->a, getpid(), id, &id);
	test_err_lookup(ENOENT, &self->a, getpid(), ~0ULL, &id);
	test_err_lookup(ENOENT, &self->a, 1, 0, &id);
	test_err_lookup(ENOENT, &self->a, 0x7fffffff, 0, &id);
	test_err_lookup(EINVAL, &self->a, 0, 0, &id);
	test_err_lookup(EINVAL, &self->a, -1, 0, &id);
	ep_end(&self->a);
	test_lookup(&self->b, getpid(), self->base.ep.id, &id);
	EXPECT_EQ(self->b.id, id);
}

/* 24: each offset with each length, against what the interface says. */
TEST_F(interface, ranges)
{
	const __u64 values[] = { 0, 1, psize - 1, psize, psize + 1, (N - 1) * psize, N * psize,
				 (N + 1) * psize, 1ULL << 31, 1ULL << 32, 1ULL << 63,
				 -(__u64)psize, ~0ULL };
	__u64 end = N * psize;
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		for (j = 0; j < ARRAY_SIZE(values); j++) {
			__u64 offset = values[i], len = values[j];
			bool valid = !(offset % psize) && !(len % psize) && offset < end &&
				     len <= end - offset;
			struct zcipc_map map = {
				.size = sizeof(map), .cap = self->src.cap, .offset = offset,
				.len = len, .rights = ZCIPC_RIGHT_READ,
			};
			struct zcipc_transfer t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap,
							       0, 0, 0);
			struct buf buf;

			t.offset = offset;
			t.len = len;
			if (!valid) {
				TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
				test_err_transfer(EINVAL, &self->a, &t);
				continue;
			}
			len = len ? len : end - offset;
			TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
			test_check_from(&self->a, (char *)(uintptr_t)map.addr, offset / psize,
					len / psize, 1);
			test_unmap(&self->a, (char *)(uintptr_t)map.addr);
			test_transfer(&self->a, &t);
			EXPECT_EQ(len / psize, t.pages);
			test_take(&self->b, &buf);
			EXPECT_EQ(len / psize, buf.npages);
			test_check_from(&self->b, buf.p, offset / psize, len / psize, 1);
			test_drop(&self->b, buf.cap);
		}
		if (values[i] % psize) {
			TEST_ERR(EINVAL, zc_unmap(&self->a, (char *)(uintptr_t)values[i]));
		} else if (values[i] <= UINTPTR_MAX) {
			test_err_unmap(ENOENT, &self->a, (char *)(uintptr_t)values[i]);
			test_err_unmap(ENOENT, &self->a, self->src.p + N * psize + values[i]);
		}
	}
	test_err_unmap(ENOENT, &self->a, self->src.p + psize);
}

TEST_F(interface, create_lengths)
{
	struct zcipc_region_create cmd = { .size = sizeof(cmd), .node = ZCIPC_NODE_ANY };
	struct zcipc_info info = { .size = sizeof(info) };
	unsigned int i;

	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_INFO, &info));
	const __u64 bad[] = { 0, 1, psize - 1, psize + 1, 1ULL << 63, -(__u64)psize, ~0ULL,
			      info.max_region_len + psize };

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		cmd.len = bad[i];
		TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_REGION_CREATE, &cmd));
	}
	cmd.len = psize;
	TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_REGION_CREATE, &cmd));
	EXPECT_EQ(0, cmd.addr);
	cmd.flags = ZCIPC_CREATE_MAP;
	cmd.len = (self->a.npages + 1) * psize;
	TEST_ERR(ENOBUFS, zc_ioctl(&self->a, ZCIPC_IOC_REGION_CREATE, &cmd));
	TEST_ERR(ENOBUFS, zc_ioctl(&self->base.ep, ZCIPC_IOC_REGION_CREATE, &cmd));
}

/* Values of members that are reserved, or that nobody could mean. */
TEST_F(interface, values)
{
	struct zcipc_lookup lookup;
	struct zcipc_transfer t;
	struct zcipc_grant grant;
	struct zcipc_map map;
	unsigned int i;

	for (i = 0; i < 32; i++) {
		__u32 rights = ZCIPC_RIGHT_READ | 1U << i;

		map = (struct zcipc_map){ .size = sizeof(map), .cap = self->src.cap,
					  .rights = rights };
		if (rights & ~(RIGHTS_RW | ZCIPC_RIGHT_EXEC))
			TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
		if (!(rights & ~RIGHTS_ALL))
			continue;
		t = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 0, 0, rights);
		test_err_transfer(EINVAL, &self->a, &t);
		grant = (struct zcipc_grant){ .size = sizeof(grant), .cap = self->src.cap,
					      .peer = self->b.id, .rights = rights };
		TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_GRANT, &grant));
	}
	grant = (struct zcipc_grant){ .size = sizeof(grant), .cap = self->src.cap,
				      .peer = self->b.id };
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_GRANT, &grant));
	grant.rights = ZCIPC_RIGHT_WRITE;
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_GRANT, &grant));
	grant.rights = ZCIPC_RIGHT_READ;
	grant.__reserved = 1;
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_GRANT, &grant));
	map = (struct zcipc_map){ .size = sizeof(map), .cap = self->src.cap };
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
	map.rights = ZCIPC_RIGHT_WRITE;
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
	map.rights = RIGHTS_RW | ZCIPC_RIGHT_EXEC;
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
	map.rights = ZCIPC_RIGHT_READ;
	map.__reserved = 1;
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
	lookup = (struct zcipc_lookup){ .size = sizeof(lookup), .pid = getpid(), .__reserved = 1 };
	TEST_ERR(EINVAL, zc_ioctl(&self->a, ZCIPC_IOC_LOOKUP, &lookup));
	for (i = 0; i < 6; i++) {
		t = transfer_cmd(&self->b, i, self->src.cap, 0, 0, 0);
		if (i < ZCIPC_MOVE || i > ZCIPC_COPY)
			test_err_transfer(EINVAL, &self->a, &t);
	}
	t = transfer_cmd(&self->b, ZCIPC_SHARE, self->src.cap, 0, 0, 0);
	test_err_transfer(EINVAL, &self->a, &t);
	t = transfer_cmd(&self->b, ZCIPC_COPY, self->src.cap, 0, 0, 0);
	t.__reserved = 1;
	test_err_transfer(EINVAL, &self->a, &t);
}

/* What a later version will take. */
TEST_F(interface, not_yet)
{
	struct zcipc_region_create create = {
		.size = sizeof(create),
		.len = psize,
		.node = ZCIPC_NODE_ANY,
		.cache = ZCIPC_CACHE_WRITETHROUGH,
	};

	TEST_ERR(EOPNOTSUPP, zc_ioctl(&self->a, ZCIPC_IOC_REGION_CREATE, &create));
	create.flags = ZCIPC_CREATE_PINNABLE;
	create.cache = ZCIPC_CACHE_UNCACHED;
	TEST_ERR(EOPNOTSUPP, zc_ioctl(&self->a, ZCIPC_IOC_REGION_CREATE, &create));
}

/* 24: a struct that cannot be written: nothing is done. One that cannot be read: likewise. */
TEST_F(interface, bad_pointers)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	struct zcipc_stats before, after;
	union any_cmd cmd;
	unsigned int i;
	char *page;

	page = mmap(NULL, 2 * psize, PROT_READ | PROT_WRITE, flags, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, mprotect(page + psize, psize, PROT_NONE));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		const struct one_call *call = &calls[i];
		char *last = page + psize - call->size + 8;

		TEST_ERR(EFAULT, ioctl(self->a.fd, call->nr, NULL));
		TEST_ERR(EFAULT, ioctl(self->a.fd, call->nr, page + psize));
		TEST_ERR(EFAULT, ioctl(self->a.fd, call->nr, page + psize - 2));
		test_stats(&self->base.ep, &before);
		prepare(_metadata, call, &self->a, &self->b, &self->src, &cmd);
		if (call->size > 8) {
			memcpy(last, &cmd, call->size - 8);
			TEST_ERR(EFAULT, ioctl(self->a.fd, call->nr, last));
		}
		memcpy(page, &cmd, call->size);
		ASSERT_EQ(0, mprotect(page, psize, PROT_READ));
		/* Calls without results do not write. */
		if (has_results(call->nr)) {
			TEST_ERR(EFAULT, ioctl(self->a.fd, call->nr, page));
			ASSERT_EQ(0, memcmp(page, &cmd, call->size));
			undo(_metadata, call, &self->a, &self->b, &cmd, false);
		} else {
			TEST_OK(ioctl(self->a.fd, call->nr, page));
			undo(_metadata, call, &self->a, &self->b, &cmd, true);
		}
		ASSERT_EQ(0, mprotect(page, psize, PROT_READ | PROT_WRITE));
		test_stats(&self->base.ep, &after);
		ASSERT_TRUE(same_live(&before, &after)) TH_LOG("%s", call->name);
	}
	test_check(&self->a, self->src.p, N, 1);
	munmap(page, 2 * psize);
}

/* A message whose receiver gave a bad address is still there, and still the first. */
TEST_F(interface, recv_is_not_lost)
{
	struct zcipc_recv m;

	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 0, 1);
	test_send_part(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, 1, 2);
	TEST_ERR(EFAULT, ioctl(self->b.fd, ZCIPC_IOC_RECV, NULL));
	char *page = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	((__u32 *)page)[0] = sizeof(m);
	mprotect(page, psize, PROT_READ);
	TEST_ERR(EFAULT, ioctl(self->b.fd, ZCIPC_IOC_RECV, page));
	munmap(page, psize);
	test_recv(&self->b, &m);
	EXPECT_EQ(psize, m.len);
	EXPECT_EQ(1, m.pending);
	test_recv(&self->b, &m);
	EXPECT_EQ(2 * psize, m.len);
	EXPECT_EQ(0, m.pending);
	test_err_recv(EAGAIN, &self->b, &m);
}

/* The layout of a ring, and that its offsets can be mapped. */
TEST_F(interface, ring)
{
	const struct zcipc_ring *ring;
	struct zcipc_ring_head *head;
	struct zcipc_recv m, entry;

	EXPECT_EQ(16, sizeof(*ring));
	EXPECT_EQ(4, sizeof(*head));
	EXPECT_EQ(88, sizeof(entry));
	ring = mmap64(NULL, 2 * psize, PROT_READ, MAP_SHARED, self->b.fd, ZCIPC_RING_OFFSET);
	ASSERT_NE(MAP_FAILED, ring);
	head = mmap64(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->b.fd,
		      ZCIPC_RING_OFFSET_HEAD);
	ASSERT_NE(MAP_FAILED, head);
	test_send_part(&self->a, &self->b, ZCIPC_COPY, self->src.cap, 1, 2);
	EXPECT_EQ(1, ring->tail);
	EXPECT_EQ(psize / ring->entry_size, ring->nentries);
	memcpy(&entry, (char *)ring + psize, sizeof(entry));
	test_recv(&self->b, &m);
	EXPECT_EQ(0, memcmp(&entry, &m, sizeof(m)));
	test_check_from(&self->b, (char *)(uintptr_t)entry.addr, 1, 2, 1);
	EXPECT_EQ(1, head->head);
	munmap(head, psize);
	munmap((void *)ring, 2 * psize);
}

TEST_F(interface, query)
{
	struct zcipc_region_query q;
	struct buf dst;

	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ(self->src.region, q.region);
	EXPECT_EQ(N * psize, q.region_len);
	EXPECT_EQ(0, q.offset);
	EXPECT_EQ(N * psize, q.len);
	EXPECT_EQ(N * psize, q.present);
	EXPECT_EQ(0, q.shared);
	EXPECT_EQ(RIGHTS_ALL, q.rights);
	EXPECT_EQ(1, q.caps);
	EXPECT_EQ(1, q.maps);
	EXPECT_EQ(ZCIPC_CACHE_DEFAULT, q.cache);
	EXPECT_TRUE(q.node >= ZCIPC_NODE_ANY && q.node < 64);
	EXPECT_EQ(0, q.derived);
	EXPECT_EQ(0, q.depth);
	test_send_part(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, 1, 2);
	test_take(&self->b, &dst);
	test_query(&self->b, dst.cap, &q);
	EXPECT_EQ(self->src.region, q.region);
	EXPECT_EQ(N * psize, q.region_len);
	EXPECT_EQ(psize, q.offset);
	EXPECT_EQ(2 * psize, q.len);
	EXPECT_EQ(2, q.caps);
	EXPECT_EQ(2, q.maps);
	EXPECT_EQ(0, q.derived);
	EXPECT_EQ(1, q.depth);
	test_query(&self->a, self->src.cap, &q);
	EXPECT_EQ(1, q.derived);
	EXPECT_EQ(0, q.depth);
}

/* The whole of it, from one end to the other. */
TEST_F(interface, flow)
{
	struct buf shared, copy, moved;
	__u32 type;

	test_pass(&self->a, &self->b, ZCIPC_SHARE, self->src.cap, &shared);
	test_fill(&self->b, shared.p, N, 2);
	test_check(&self->a, self->src.p, N, 2);
	test_pass(&self->b, &self->a, ZCIPC_COPY, shared.cap, &copy);
	test_fill(&self->a, self->src.p, N, 3);
	test_check(&self->a, copy.p, N, 2);
	test_check(&self->b, shared.p, N, 3);
	test_err_send(EBUSY, &self->a, &self->b, ZCIPC_MOVE, self->src.cap);
	test_drop(&self->b, shared.cap);
	test_pass(&self->a, &self->b, ZCIPC_MOVE, self->src.cap, &moved);
	test_check(&self->b, moved.p, N, 3);
	test_gone(&self->a, self->src.p, N);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_send(ESTALE, &self->a, &self->b, type, self->src.cap);
}

TEST_HARNESS_MAIN

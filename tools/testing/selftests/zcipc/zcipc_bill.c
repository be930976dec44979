// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bill: what a user makes the kernel hold is charged to that user, has limits, and goes back.
 * What is somebody else's is not charged.
 *
 * Guarantees: G8 all is released, G11 bounded.
 * Attacks: a quota that somebody else's transfers use up (28).
 *
 * What the machine has lost is compared with what the user is charged for: neither may exceed the
 * other by more than 5 % and 1 MiB, of some 20 MiB of anything.
 */
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "zcipc_utils.h"

#define MIB		1048576UL
#define NOBODY		65534
#define TIB		(MIB * MIB)

#define TOTAL		"/sys/module/zcipc/parameters/total_mib"
#define MEMINFO		"/proc/meminfo"

/* Bytes of free pages that CPUs keep for themselves, which MemAvailable has not. */
static long kept_by_cpus(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	char line[256];
	long n, sum = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %ld", &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum * psize;
}

/* Bytes that can still be had, when everybody has given back what he does not need. */
static long available(void)
{
	long most = 0, now;
	unsigned int same;

	for (same = 0; same < 5; same++) {
		/* What waits for a grace period goes. */
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		file_write("/proc/sys/vm/drop_caches", "3");
		file_write("/sys/kernel/slab/zcipc_cap/shrink", "1");
		msleep(50);
		now = file_number(MEMINFO, "MemAvailable:") * 1024 + kept_by_cpus();
		if (now > most + 64 * 1024)
			same = 0;
		if (now > most)
			most = now;
	}
	return most;
}

/*
 * What core mm charges the process for, and the locks of page tables, if it allocates these: with
 * PREEMPT_RT they are too large to be anywhere else.
 */
static long page_tables(void)
{
	long bytes = file_number("/proc/self/status", "VmPTE:") * 1024;
	long lock = file_number("/sys/kernel/slab/page->ptl/slab_size", NULL);

	return lock > 0 ? bytes + bytes / (long)psize * lock : bytes;
}

static __u64 charged(const struct zcipc_stats *stats)
{
	return (stats->user_pages + stats->user_pinned) * psize;
}

FIXTURE(bill)
{
	struct base base;
	struct ep a, b;
	struct zcipc_stats before;
	long available;
	int fds[2000];
	unsigned int nfds;
	/* Mappings of these, which keep them open. */
	char *maps[400];
	size_t lens[400];
	unsigned int nmaps;
};

FIXTURE_SETUP(bill)
{
	struct rlimit files = { 4096, 4096 };

	if (!access("/proc/lockdep", F_OK))
		SKIP(_exit(KSFT_SKIP), "a kernel that checks itself needs more for everything");
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	base_setup(_metadata, &self->base);
	test_open(&self->a, 8 * WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, 8 * WINDOW_PAGES, O_NONBLOCK);
	quota_set(200);
	test_stats(&self->a, &self->before);
	self->available = available() + page_tables();
}

FIXTURE_TEARDOWN(bill)
{
	while (self->nmaps--)
		munmap(self->maps[self->nmaps], self->lens[self->nmaps]);
	while (self->nfds)
		close(self->fds[--self->nfds]);
	base_teardown(_metadata, &self->base);
	quota_set(0);
}

/* Compares what has gone since the beginning. */
#define test_bill()								\
do {										\
	struct zcipc_stats __now;						\
	long __lost, __charged;							\
										\
	test_stats(&self->a, &__now);						\
	__lost = self->available - available() - page_tables();			\
	__charged = charged(&__now) - charged(&self->before);			\
	EXPECT_GE(__charged + __charged / 20 + (long)MIB, __lost)		\
		TH_LOG("charged %ld KiB", __charged >> 10);			\
	EXPECT_GE(__lost + __lost / 20 + (long)MIB, __charged)			\
		TH_LOG("lost %ld KiB", __lost >> 10);				\
} while (0)

/* Maps something of what is open, for the rest of the test. Where it cannot be: MAP_FAILED. */
#define map_more(_fd, len, prot, offset)					\
({										\
	char *__p = mmap(NULL, len, prot, MAP_SHARED, _fd, offset);		\
										\
	if (__p != MAP_FAILED) {						\
		self->maps[self->nmaps] = __p;					\
		self->lens[self->nmaps++] = (len);				\
	}									\
	__p;									\
})

static int open_more(int *fds, unsigned int *nfds)
{
	bool may = may_exceed_quota(false);
	int fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC);

	may_exceed_quota(may);
	if (fd >= 0)
		fds[(*nfds)++] = fd;
	return fd;
}

TEST_F(bill, endpoints)
{
	while (self->nfds < 2000)
		ASSERT_LE(0, open_more(self->fds, &self->nfds));
	test_bill();
}

/* What can be seen costs something only when something is placed there. */
TEST_F(bill, empty_windows)
{
	struct zcipc_stats now;
	unsigned int i, n;
	int fd;

	while (self->nfds < 50) {
		fd = open_more(self->fds, &self->nfds);
		ASSERT_LE(0, fd);
		for (i = 0; i < 5; i++)
			map_more(fd, TIB, PROT_READ | PROT_WRITE, ZCIPC_WINDOW_OFFSET(i));
		map_more(fd, TIB, PROT_READ | PROT_WRITE, ZCIPC_WINDOW_OFFSET_PINNABLE);
		map_more(fd, TIB, PROT_READ | PROT_WRITE, ZCIPC_WINDOW_OFFSET_UNPINNABLE);
	}
	n = self->nfds;
	test_bill();
	test_stats(&self->a, &now);
	/* Four kinds at least, some KiB each. */
	EXPECT_GE(n * 6 * 16 * 1024, charged(&now) - charged(&self->before));
}

/* What is placed in a window costs its place, too. */
TEST_F(bill, much_placed)
{
	struct buf buf, more;
	struct ep wide;
	unsigned int i, k;

	test_open(&wide, TIB / psize, O_NONBLOCK);
	test_create_flags(&self->a, 2000, ZCIPC_CREATE_NO_HUGE, &buf);
	for (i = 0; i < 30; i++) {
		test_pass(&self->a, &wide, ZCIPC_SHARE, buf.cap, &more);
		for (k = 0; k < 1000; k++)
			test_map(&wide, more.cap, 0, 2000, ZCIPC_RIGHT_READ, &more.p);
	}
	test_bill();
	ep_end(&wide);
}

TEST_F(bill, capabilities)
{
	struct buf buf;
	unsigned int i;
	struct zcipc_recv m;

	test_create(&self->a, 1, &buf);
	for (i = 0; i < 40000; i++) {
		test_grant_rights(&self->a, &self->b, buf.cap, ZCIPC_RIGHT_READ);
		test_recv(&self->b, &m);
	}
	test_bill();
}

TEST_F(bill, capabilities_given_back)
{
	static __u64 caps[20000];
	struct zcipc_stats now;
	struct buf buf;
	struct zcipc_recv m;
	unsigned int i;

	test_create(&self->a, 1, &buf);
	for (i = 0; i < ARRAY_SIZE(caps); i++) {
		test_grant_rights(&self->a, &self->b, buf.cap, ZCIPC_RIGHT_READ);
		test_recv(&self->b, &m);
		caps[i] = m.cap;
	}
	for (i = 0; i < ARRAY_SIZE(caps); i++)
		test_drop(&self->b, caps[i]);
	test_bill();
	test_stats(&self->a, &now);
	/* The table stays, and what is kept for the next ones. */
	EXPECT_GE(self->before.user_overhead + 250, now.user_overhead);
}

TEST_F(bill, mappings)
{
	struct buf buf, more[40];
	unsigned int i, k;
	char *p;

	test_create(&self->a, 1, &buf);
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		test_grant_rights(&self->a, &self->a, buf.cap, ZCIPC_RIGHT_READ);
		test_take(&self->a, &more[i]);
		for (k = 0; k < 200; k++)
			test_map(&self->a, more[i].cap, 0, 0, ZCIPC_RIGHT_READ, &p);
	}
	test_bill();
}

TEST_F(bill, messages)
{
	struct buf buf;
	unsigned int i;

	test_create(&self->a, 1, &buf);
	for (i = 0; i < 1024; i++)
		test_send(&self->a, &self->b, ZCIPC_SHARE, buf.cap);
	test_bill();
}

TEST_F(bill, notices)
{
	struct zcipc_notify cmd;
	struct buf buf, got;
	unsigned int i;

	test_create(&self->a, 1, &buf);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, buf.cap, &got);
	cmd = notify_cmd(&self->b, buf.cap, got.cap, 0, 0);
	for (i = 0; i < 1024; i++)
		test_notify(&self->a, &cmd);
	test_bill();
}

TEST_F(bill, rings)
{
	int fd;

	while (self->nfds < 150) {
		fd = open_more(self->fds, &self->nfds);
		ASSERT_LE(0, fd);
		ASSERT_NE(MAP_FAILED, map_more(fd, 33 * psize, PROT_READ, ZCIPC_RING_OFFSET));
	}
	test_bill();
}

TEST_F(bill, small_regions)
{
	struct buf buf;
	unsigned int i;

	for (i = 0; i < 5000; i++)
		test_create(&self->a, 1, &buf);
	test_bill();
}

TEST_F(bill, snapshots)
{
	struct buf buf, copies[30];
	unsigned int i;

	test_create(&self->a, 200, &buf);
	for (i = 0; i < ARRAY_SIZE(copies); i++) {
		test_pass(&self->a, &self->b, ZCIPC_COPY, buf.cap, &copies[i]);
		/* Until then they cost less than they may come to. */
		test_fill(&self->b, copies[i].p, 200, 3);
	}
	test_bill();
}

TEST_F(bill, large_region)
{
	struct buf buf;

	test_create_flags(&self->a, 20 * MIB / psize, ZCIPC_CREATE_NO_HUGE, &buf);
	test_create_flags(&self->a, 20 * MIB / psize, ZCIPC_CREATE_HUGE, &buf);
	test_bill();
}

TEST_F(bill, views)
{
	static char *views[1000];
	struct zcipc_map map;
	struct buf buf;
	unsigned int i;
	char *p;

	p = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	*p = 1;
	test_import(&self->a, p, 1, &buf);
	for (i = 0; i < ARRAY_SIZE(views); i++) {
		map = (struct zcipc_map){ .size = sizeof(map), .cap = buf.cap,
					  .rights = ZCIPC_RIGHT_READ };
		TEST_OK(zc_ioctl(&self->a, ZCIPC_IOC_MAP, &map));
		views[i] = (char *)(uintptr_t)map.addr;
	}
	test_bill();
	for (i = 0; i < ARRAY_SIZE(views); i++)
		ASSERT_EQ(0, munmap(views[i], psize));
}

/* --- limits */

FIXTURE(limits)
{
	struct base base;
	struct ep u[6];
	unsigned int n;
};

FIXTURE_SETUP(limits)
{
	base_setup(_metadata, &self->base);
	if (access(TOTAL, W_OK))
		SKIP(return, "the limits cannot be set");
}

FIXTURE_TEARDOWN(limits)
{
	number_write(TOTAL, 0);
	quota_set(0);
	base_teardown(_metadata, &self->base);
}

/* Another user. */
#define test_next_user(uid)						\
({									\
	struct ep *__u = &self->u[self->n++];				\
									\
	ASSERT_EQ(0, peer_fork(__u));					\
	test_call(__u, call_setuid, .n = (uid));			\
	TEST_OK(peer_open(__u, 0, O_NONBLOCK));				\
	__u;								\
})

/* As many MiB as the user can have, up to a number; then what the errno was. */
static unsigned long take_all(struct ep *u, unsigned long max, int *err)
{
	struct zcipc_region_create cmd;
	unsigned long mib = 0;

	*err = 0;
	for (; mib < max && !*err; mib += !*err) {
		cmd = (struct zcipc_region_create){ .size = sizeof(cmd), .len = MIB,
						    .node = ZCIPC_NODE_ANY };
		if (zc_ioctl(u, ZCIPC_IOC_REGION_CREATE, &cmd))
			*err = errno;
	}
	return mib;
}

/* G11: one user has an eighth, all have half, and the last one still gets what is kept for such. */
TEST_F(limits, by_default)
{
	unsigned long total = file_number(MEMINFO, "MemTotal:") / 1024, mib, sum = 0, i;
	struct ep *u;
	int err;

	if (file_number(MEMINFO, "MemAvailable:") / 1024 < (long)total * 5 / 8)
		SKIP(return, "too little memory is free");
	for (i = 0; i < ARRAY_SIZE(self->u); i++) {
		u = test_next_user(12300 + i);
		mib = take_all(u, total, &err);
		EXPECT_EQ(EDQUOT, err);
		EXPECT_GE(total / 8, mib);
		if (i < 3)
			EXPECT_LE(total / 8 - 3, mib);
		sum += mib;
	}
	EXPECT_GE(total / 2, sum);
	EXPECT_LE(total / 2 - 5, sum);
}

/* A greedy one cannot keep another from his first 64 MiB. */
TEST_F(limits, first_of_another)
{
	struct ep *greedy, *other;
	int err;

	quota_set(1000);
	number_write(TOTAL, 256);
	greedy = test_next_user(12300);
	EXPECT_EQ(256 - 64 - 1, take_all(greedy, 1000, &err));
	EXPECT_EQ(EDQUOT, err);
	other = test_next_user(12301);
	EXPECT_LE(62, take_all(other, 1000, &err));
	EXPECT_EQ(EDQUOT, err);
}

/* Who may exceed quotas does. */
TEST_F(limits, privileged)
{
	struct ep *u;
	struct ep a;
	int err;

	quota_set(1);
	number_write(TOTAL, 2);
	u = test_next_user(12300);
	EXPECT_EQ(0, take_all(u, 10, &err));
	EXPECT_EQ(EDQUOT, err);
	test_open(&a, 0, O_NONBLOCK | OPEN_UNLIMITED);
	EXPECT_EQ(10, take_all(&a, 10, &err));
	ep_end(&a);
	test_open(&a, 0, O_NONBLOCK);
	EXPECT_EQ(0, take_all(&a, 10, &err));
	EXPECT_EQ(EDQUOT, err);
}

/* G11: to make holes in a window is no way around the quota. */
TEST_F(limits, holes_in_a_window)
{
	struct zcipc_stats now;
	struct ep a, b;
	struct buf buf;
	unsigned int i;

	test_open(&a, TIB / psize, O_NONBLOCK);
	test_open(&b, WINDOW_PAGES, O_NONBLOCK);
	test_create(&b, 2, &buf);
	test_fill(&b, buf.p, 2, 3);
	quota_set(1);
	for (i = 0; i < 200; i++)
		ASSERT_EQ(0, munmap(a.win + (i + 1) * (TIB / 256) + psize, psize));
	test_stats(&a, &now);
	EXPECT_GE(MIB / psize, now.user_pages);
	/* What is left of it is used, when there is room for what is placed. */
	quota_set(16);
	test_pass(&b, &a, ZCIPC_SHARE, buf.cap, &buf);
	ASSERT_LE(a.win, buf.p);
	test_check(&a, buf.p, 2, 3);
	ep_end(&a);
	ep_end(&b);
}

/* G11: nor are notifications. */
TEST_F(limits, notifications)
{
	struct zcipc_notify cmd;
	struct zcipc_stats now;
	unsigned int i, k, n = 0;
	struct ep b[20], a;
	struct buf buf, got;

	test_open(&a, WINDOW_PAGES, O_NONBLOCK);
	test_create(&a, 1, &buf);
	quota_set(1);
	for (k = 0; k < ARRAY_SIZE(b); k++) {
		test_open(&b[k], WINDOW_PAGES, O_NONBLOCK);
		test_pass(&a, &b[k], ZCIPC_SHARE, buf.cap, &got);
		cmd = notify_cmd(&b[k], buf.cap, got.cap, 0, 0);
		for (i = 0; i < 1024 && !zc_notify(&a, &cmd); i++)
			n++;
		if (i < 1024)
			break;
	}
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_LT(1024, n);
	test_stats(&a, &now);
	EXPECT_GE(MIB / psize, now.user_pages);
	for (; k < ARRAY_SIZE(b); k--)
		ep_end(&b[k]);
	ep_end(&a);
}

/* Ids that a user has in his namespace are his, however many they are. */
TEST_F(limits, user_namespaces)
{
	static const char * const names[] = { "uid_map", "gid_map" };
	unsigned long sum = 0;
	unsigned int i, k;
	struct ep *u;
	int err, fd;
	char text[64];

	quota_set(8);
	for (i = 0; i < 3; i++) {
		struct call c = { .fn = call_unshare, .n = CLONE_NEWUSER };

		u = &self->u[self->n++];
		ASSERT_EQ(0, peer_fork(u));
		test_call(u, call_setuid, .n = 12300);
		if (ep_call(u, &c))
			SKIP(return, "there are no user namespaces");
		/* One id that no other process has, as newuidmap(1) gives it. */
		for (k = 0; k < ARRAY_SIZE(names); k++) {
			snprintf(text, sizeof(text), "/proc/%d/%s", u->pid, names[k]);
			fd = open(text, O_WRONLY);
			ASSERT_LE(0, fd);
			snprintf(text, sizeof(text), "1 %u 1", 200000 + i);
			ASSERT_LT(0, write(fd, text, strlen(text)));
			close(fd);
		}
		test_call(u, call_setuid, .n = 1);
		TEST_OK(peer_open(u, 0, O_NONBLOCK));
		sum += take_all(u, 100, &err);
		EXPECT_EQ(EDQUOT, err);
	}
	EXPECT_EQ(7, sum);
	/* It is the one of whoever made them, too. */
	u = test_next_user(12300);
	EXPECT_EQ(0, take_all(u, 100, &err));
}

/* --- quotas of two users */

FIXTURE(strangers)
{
	struct base base;
	struct ep a, p;
	long quota;
};

FIXTURE_SETUP(strangers)
{
	struct stat st;

	ASSERT_EQ(0, stat(ZCIPC_DEVICE, &st));
	if (geteuid() || (st.st_mode & 0666) != 0666)
		SKIP(return, "needs to be root, and a device that others can open");
	base_setup(_metadata, &self->base);
	self->quota = file_number(QUOTA, NULL);
	if (self->quota < 0 || access(QUOTA, W_OK))
		SKIP(return, "the quota cannot be set");
	test_open(&self->a, 1100, O_NONBLOCK);
	ASSERT_EQ(0, peer_fork(&self->p));
	test_call(&self->p, call_setuid, .n = NOBODY);
	TEST_OK(peer_open(&self->p, 1100, O_NONBLOCK));
	test_policy(&self->a, ZCIPC_POLICY_ANY);
	test_policy(&self->p, ZCIPC_POLICY_ANY);
	/* 256 pages, as long as these have no less than 4 KiB. */
	quota_set(psize / 4096);
}

FIXTURE_TEARDOWN(strangers)
{
	quota_set(self->quota);
	base_teardown(_metadata, &self->base);
}

/* 28: of 2 MiB what is in no region any more is paid for by the one who had it last. */
TEST_F(strangers, rest_of_huge)
{
	struct zcipc_stats before, after;
	struct buf b, part;

	need_huge();
	quota_set(100);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, HUGE_PAGES, ZCIPC_CREATE_HUGE, &b);
	ASSERT_EQ(HUGE_PAGES, b.huge);
	test_pass(&self->a, &self->p, ZCIPC_MOVE, b.cap, &b);
	test_send_part(&self->p, &self->p, ZCIPC_MOVE, b.cap, 3, 1);
	test_take(&self->p, &part);
	test_drop(&self->p, b.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	test_stats(&self->p, &after);
	EXPECT_EQ(HUGE_PAGES, owned(&after));
	test_drop(&self->p, part.cap);
	test_stats(&self->p, &after);
	EXPECT_EQ(0, owned(&after));
}

/* 28: nobody pays for what another one keeps, nor keeps what another one pays for. */
TEST_F(strangers, rest_of_huge_of_two)
{
	struct zcipc_stats before, after;
	struct buf b, part;

	need_huge();
	quota_set(100);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, HUGE_PAGES, ZCIPC_CREATE_HUGE, &b);
	test_send_part(&self->a, &self->p, ZCIPC_MOVE, b.cap, 3, 2);
	test_take(&self->p, &part);
	test_drop(&self->a, b.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.copied_parts + 2 * psize, after.copied_parts);
	test_stats(&self->p, &after);
	EXPECT_EQ(2, owned(&after));
	test_drop(&self->p, part.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
	test_stats(&self->p, &after);
	EXPECT_EQ(0, owned(&after));
}

/* 28: also of a snapshot, whoever made the memory. */
TEST_F(strangers, rest_of_huge_snapshot)
{
	struct zcipc_stats before, after;
	struct buf b, copy, part;

	need_huge();
	quota_set(100);
	test_stats(&self->base.ep, &before);
	test_create_flags(&self->a, HUGE_PAGES, ZCIPC_CREATE_HUGE, &b);
	test_pass(&self->a, &self->p, ZCIPC_COPY, b.cap, &copy);
	test_drop(&self->a, b.cap);
	test_send_part(&self->p, &self->p, ZCIPC_MOVE, copy.cap, 1, HUGE_PAGES - 1);
	test_take(&self->p, &part);
	test_drop(&self->p, part.cap);
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	test_stats(&self->p, &after);
	EXPECT_EQ(HUGE_PAGES, owned(&after));
	test_drop(&self->p, copy.cap);
	test_stats(&self->p, &after);
	EXPECT_EQ(0, owned(&after));
	test_stats(&self->base.ep, &after);
	EXPECT_EQ(owned(&before), owned(&after));
	EXPECT_EQ(before.frames, after.frames);
}

/* 28: what a stranger moves or copies here, or takes from a stranger, is charged here. */
TEST_F(strangers, quota)
{
	/* What the kernel needs beside it is charged, too: it is less than that. */
	const size_t more = 24, quota = 256 - more;
	struct buf big, small, mine, got;
	struct zcipc_transfer t;

	TEST_OK(zc_create(&self->a, quota - 8, &big));
	TEST_OK(zc_create(&self->a, 8, &small));
	TEST_OK(zc_create(&self->p, 2 * more, &mine));
	/* No room there. */
	TEST_ERR(EDQUOT, zc_send(&self->a, &self->p, ZCIPC_MOVE, big.cap));
	TEST_ERR(EDQUOT, zc_send_part(&self->a, &self->p, ZCIPC_MOVE, big.cap, 0, quota - 15));
	TEST_ERR(EDQUOT, zc_send(&self->a, &self->p, ZCIPC_COPY, big.cap));
	ASSERT_EQ(0, ep_fill(&self->a, big.p, quota - 8, 3));
	/* Sharing and granting cost the owner alone. */
	TEST_OK(zc_send(&self->a, &self->p, ZCIPC_SHARE, big.cap));
	TEST_OK(zc_take(&self->p, &got));
	/* Taking it costs whoever takes it. */
	t = transfer_cmd(&self->p, ZCIPC_MOVE, got.cap, 0, 0, 0);
	t.flags = ZCIPC_F_REVOKE_OTHERS;
	TEST_ERR(EDQUOT, zc_transfer(&self->p, &t));
	ASSERT_EQ(0, ep_check(&self->a, big.p, quota - 8, 3));
	TEST_ERR(EDQUOT, zc_create(&self->a, more + 9, &small));
	/* Room there, and then here. */
	TEST_OK(zc_drop(&self->p, mine.cap));
	TEST_OK(zc_unmap(&self->p, got.p));
	TEST_OK(zc_transfer(&self->p, &t));
	TEST_OK(zc_take(&self->p, &got));
	ASSERT_EQ(0, ep_check(&self->p, got.p, quota - 8, 3));
	TEST_OK(zc_create(&self->a, quota - 8, &big));
	TEST_ERR(EDQUOT, zc_create(&self->p, more + 9, &mine));
	/* A part takes its part of the charge along. */
	TEST_ERR(EDQUOT, zc_send_part(&self->a, &self->p, ZCIPC_MOVE, big.cap, 0, more + 9));
	TEST_OK(zc_send_part(&self->a, &self->p, ZCIPC_MOVE, big.cap, 0, 8));
	TEST_OK(zc_create(&self->a, 8, &mine));
	TEST_ERR(EDQUOT, zc_create(&self->a, more + 1, &mine));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory that there is already, and is taken back; seals, and what a security module is
 * asked.
 *
 * Guarantees: G6 rights and revocation, G8 death, G11 bounded.
 * Attacks: 7 read-only, 13 rights, 26 revoking while others fault and map.
 */
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "zcipc_files.h"

/* When REVOKE returns there is nothing left, at any depth; the owner does not notice. */
TEST_F(file, revoke)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m, m2;
	__u64 n;
	char *p;

	cmd.rights = RIGHTS_RW | ZCIPC_RIGHT_GRANT;
	test_transfer(&self->a, &cmd);
	test_recv(&self->b, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	test_map(&self->b, m.cap, 2, 2, RIGHTS_RW, &p);
	test_check_from(&self->b, p, 2, 2, 1);
	test_share(&self->b, &self->c, addr_of(&m) + psize, 2, RIGHTS_RW, &m2);
	test_fill(&self->c, addr_of(&m2), 2, 4);
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	ASSERT_EQ(2, n);
	test_gone(&self->b, addr_of(&m), N);
	test_gone(&self->b, p, 2);
	test_gone(&self->c, addr_of(&m2), 2);
	test_check(&self->a, self->p + psize, 2, 4);
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_REVOKED, m.type);
	test_recv(&self->c, &m2);
	ASSERT_EQ(ZCIPC_REVOKED, m2.type);
	/* The owner's own, of which nobody had the token, goes too, and nobody hears of it. */
	test_err_recv(EAGAIN, &self->a, &m);
}

/* A message that is not yet received is not heard of any more. */
TEST_F(file, revoke_unheard)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m;
	__u64 n;

	cmd.rights = RIGHTS_RW;
	test_transfer(&self->a, &cmd);
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	ASSERT_EQ(1, n);
	test_err_recv(EAGAIN, &self->b, &m);
}

struct toucher {
	char *p;
	size_t npages;
	volatile bool stop;
	volatile unsigned long times;
};

static void *touch_all(void *data)
{
	struct toucher *t = data;
	__u64 val;
	size_t i;

	for (i = 0; !t->stop; i = (i + 1) % t->npages) {
		touch_read(t->p + i * psize, &val);
		t->times++;
	}
	return NULL;
}

static struct toucher toucher;

static long call_touch(struct ep *ep, struct call *c)
{
	static pthread_t thread;

	(void)ep;

	if (c->addr) {
		toucher = (struct toucher){ (char *)(uintptr_t)c->addr, c->n, false, 0 };
		return pthread_create(&thread, NULL, touch_all, &toucher);
	}
	toucher.stop = true;
	return pthread_join(thread, NULL);
}

/* Has each page been touched? */
static long call_touched_all(struct ep *ep, struct call *c)
{
	(void)ep;
	(void)c;
	return toucher.times > toucher.npages;
}

/* Threads that fault all the time do not get anything back. */
TEST_F(file, revoke_under_faults)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct zcipc_recv m;
	unsigned int i;
	__u64 n;

	cmd.rights = RIGHTS_RW;
	for (i = 0; i < loops(20); i++) {
		struct call c = { .fn = call_touch, .n = N };

		test_transfer(&self->a, &cmd);
		test_recv(&self->b, &m);
		c.addr = m.addr;
		ASSERT_EQ(0, ep_call(&self->b, &c));
		msleep(i % 4);
		test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
		test_gone(&self->b, addr_of(&m), N);
		c.addr = 0;
		ASSERT_EQ(0, ep_call(&self->b, &c));
		test_gone(&self->b, addr_of(&m), N);
		test_recv(&self->b, &m);
		ASSERT_EQ(ZCIPC_REVOKED, m.type);
	}
}

/* A fault that has its page already, and is as slow as can be. */
TEST_F(file, revoke_of_a_slow_fault)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct call c = { .fn = call_touch, .n = N };
	struct zcipc_recv m;
	__u64 n;

	need_points();
	cmd.rights = RIGHTS_RW;
	/* Nothing there: core mm cannot insert what it does not have. */
	ASSERT_EQ(0, madvise(self->p, N * psize, MADV_REMOVE));
	test_transfer(&self->a, &cmd);
	test_recv(&self->b, &m);
	point_set("view", 300);
	c.addr = m.addr;
	ASSERT_EQ(0, ep_call(&self->b, &c));
	c.fn = call_touched_all;
	ASSERT_TRUE(wait_until(file_number(POINT_PARAMETER "hits", NULL) > 0 ||
			       ep_call(&self->b, &c)));
	/* A fault that waits for the disk is made anew, and finds all that has been read ahead. */
	if (file_number(POINT_PARAMETER "hits", NULL) <= 0)
		SKIP(return, "no fault has come with a page");
	c.fn = call_touch;
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	point_go();
	c.addr = 0;
	ASSERT_EQ(0, ep_call(&self->b, &c));
	test_gone(&self->b, addr_of(&m), N);
}

/* Many views are taken back at once, not each with a walk over all that there are. */
TEST_F(file, revoke_of_many)
{
	struct zcipc_stats before, after;
	struct zcipc_recv m;
	unsigned int i;
	char *p[32];
	__u64 n;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		test_map(&self->b, m.cap, i % N, 1, RIGHTS_RW, &p[i]);
		test_check_from(&self->b, p[i], i % N, 1, 1);
	}
	test_stats(&self->base.ep, &before);
	test_revoke(&self->a, &self->b, m.cap, 0, &n);
	test_stats(&self->base.ep, &after);
	ASSERT_EQ(1, n);
	EXPECT_EQ(1, after.shootdowns - before.shootdowns);
	test_gone(&self->b, addr_of(&m), N);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		test_gone(&self->b, p[i], 1);
}

/* Dead views that an endpoint can have. */
#define MAX_DEAD 256

/* Leaves dead views behind, one for each capability. Returns how many there were. */
static unsigned int leave_dead(struct ep *ep, struct ep *from, const char *p, char **dead,
			       unsigned int max)
{
	struct zcipc_recv m;
	unsigned int i;
	__u64 revoked;

	for (i = 0; i < max; i++) {
		if (zc_share(from, ep, p, N, RIGHTS_READ, &m) || !m.addr)
			break;
		dead[i] = addr_of(&m);
		if (zc_revoke(from, ep, m.cap, 0, &revoked) || zc_recv(ep, &m))
			break;
	}
	return i;
}

/* G11: who leaves what is dead where it is gets no more, and makes nobody's REVOKE slow. */
TEST_F(file, too_many_dead)
{
	static char *dead[MAX_DEAD], *live[2];
	struct zcipc_recv m, old;
	unsigned int i, n;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &old);
	/* What is dropped is unmapped, unless it is in pieces. */
	for (i = 0; i < 10; i++) {
		test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
		test_drop(&self->b, m.cap);
		test_touch_read(SIGSEGV, &self->b, addr_of(&m));
	}
	for (i = 0; i < 10; i++) {
		test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
		dead[i] = addr_of(&m);
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[i] + 3 * psize, psize, 0, 0,
					  0));
		test_drop(&self->b, m.cap);
	}
	ASSERT_EQ(MAX_DEAD - i, leave_dead(&self->b, &self->a, self->p, dead + i, MAX_DEAD - i));
	test_err_map(ENOBUFS, &self->b, old.cap, 0, 0, RIGHTS_READ, &live[0]);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	ASSERT_EQ(0, m.addr);
	/* What it has it keeps, and another endpoint has nothing to do with it. */
	test_check(&self->b, addr_of(&old), N, 1);
	test_share(&self->a, &self->c, self->p, N, RIGHTS_READ, &old);
	ASSERT_NE(0, old.addr);
	/* A piece of a mapping is one still. */
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[0], psize, 0, 0, 0));
	test_err_map(ENOBUFS, &self->b, m.cap, 0, 0, RIGHTS_READ, &live[0]);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[0] + 2 * psize, psize, 0, 0, 0));
	test_err_map(ENOBUFS, &self->b, m.cap, 0, 0, RIGHTS_READ, &live[0]);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[0], N * psize, 0, 0, 0));
	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &live[0]);
	test_check(&self->b, live[0], N, 1);
	/* It counts when it dies, not before. What is unmapped by then does not. */
	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &live[1]);
	test_unmap(&self->b, live[1]);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, live[0], N * psize, 0, 0, 0));
	test_drop(&self->b, m.cap);
	/* Nor has anything been counted twice. */
	for (n = 1; n < MAX_DEAD; n++)
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, dead[n], N * psize, 0, 0, 0));
	ASSERT_EQ(MAX_DEAD, leave_dead(&self->b, &self->a, self->p, dead, MAX_DEAD));
	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	ASSERT_EQ(0, m.addr);
}

/* What could not be mapped is none of them. */
TEST_F(file, not_mapped_is_not_dead)
{
	struct rlimit limit = { 0, 0 }, old;
	struct zcipc_recv m;
	unsigned int i;
	char *p;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_READ, &m);
	ASSERT_EQ(0, prlimit(self->b.pid, RLIMIT_AS, &limit, &old));
	for (i = 0; i < MAX_DEAD + 10; i++)
		test_err_map(ENOMEM, &self->b, m.cap, 0, 0, RIGHTS_READ, &p);
	ASSERT_EQ(0, prlimit(self->b.pid, RLIMIT_AS, &old, NULL));
	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &p);
	test_check(&self->b, p, N, 1);
}

/* Once nobody has anything that was derived from it, what nobody could drop goes by itself. */
TEST_F(file, nothing_is_left)
{
	struct zcipc_stats before, stats;
	struct zcipc_recv m, m2;
	int i;

	test_stats(&self->base.ep, &before);
	for (i = 0; i < 3; i++) {
		test_share(&self->a, &self->b, self->p, N, RIGHTS_RW | ZCIPC_RIGHT_GRANT, &m);
		test_share(&self->b, &self->c, addr_of(&m), N, RIGHTS_READ, &m2);
		test_stats(&self->base.ep, &stats);
		ASSERT_EQ(before.regions + 1, stats.regions);
		ASSERT_EQ(before.caps + 3, stats.caps);
		ASSERT_EQ(before.maps + 2, stats.maps);
		ASSERT_EQ(before.frames, stats.frames);
		test_drop(&self->b, m.cap);
		test_touch_read(SIGSEGV, &self->b, addr_of(&m));
		test_check(&self->c, addr_of(&m2), N, 1);
		test_stats(&self->base.ep, &stats);
		ASSERT_EQ(before.caps + 2, stats.caps);
		if (i == 1)
			test_drop(&self->c, m2.cap);
		else if (i == 2)
			ep_end(&self->c);
		else
			test_revoke(&self->a, &self->c, m2.cap, 0, &stats.caps);
		if (!i)
			test_recv(&self->c, &m2);
		ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
				       stats.regions == before.regions &&
				       stats.caps == before.caps && stats.maps == before.maps));
	}
	/* Nor is anything left of what did not work. */
	test_depth(&self->b, 1);
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_drop(&self->b, m.cap);
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
			       stats.regions == before.regions));
	test_policy(&self->b, ZCIPC_POLICY_NOBODY);
	test_err_share(EPERM, &self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
			       stats.regions == before.regions && stats.caps == before.caps));
}

/* UNMAP, munmap() of all and of a part, and DROP. */
TEST_F(file, unmap)
{
	struct zcipc_region_query query;
	struct zcipc_recv m;
	char *p, *q;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	query.cap = m.cap;
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(1, query.maps);
	ASSERT_EQ(N * psize, query.present);
	ASSERT_EQ(0, query.shared);
	test_err_unmap(ENOENT, &self->b, addr_of(&m) + psize);
	test_unmap(&self->b, addr_of(&m));
	test_touch_read(SIGSEGV, &self->b, addr_of(&m));
	test_err_unmap(ENOENT, &self->b, addr_of(&m));
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(0, query.maps);

	test_map(&self->b, m.cap, 1, 4, RIGHTS_RW, &p);
	test_check_from(&self->b, p, 1, 4, 1);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, p + psize, psize, 0, 0, 0));
	test_check_from(&self->b, p, 1, 1, 1);
	test_check_from(&self->b, p + 2 * psize, 3, 2, 1);
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(1, query.maps);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, p, 4 * psize, 0, 0, 0));
	test_query(&self->b, m.cap, &query);
	ASSERT_EQ(0, query.maps);

	test_map(&self->b, m.cap, 0, 0, RIGHTS_READ, &p);
	test_touch_write(SIGSEGV, &self->b, p);
	/* As often as it is mapped. */
	test_map(&self->b, m.cap, 1, 2, RIGHTS_READ, &q);
	test_drop(&self->b, m.cap);
	test_touch_read(SIGSEGV, &self->b, p);
	test_touch_read(SIGSEGV, &self->b, q);
}

/* How often this thread has to fault to read all pages. */
static long faults(const char *p, size_t npages)
{
	struct rusage before, after;
	__u64 val;
	size_t i;

	getrusage(RUSAGE_THREAD, &before);
	for (i = 0; i < npages; i++)
		touch_read(p + i * psize, &val);
	getrusage(RUSAGE_THREAD, &after);
	return after.ru_minflt - before.ru_minflt;
}

/* Who takes his own mapping away does not disturb those of others. The kernel itself may. */
TEST_F(file, unmap_of_ones_own)
{
	bool undisturbed[2] = {};
	struct zcipc_recv m;
	int i;

	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	test_check(&self->b, addr_of(&m), N, 1);
	for (i = 0; i < 40 && !(undisturbed[0] && undisturbed[1]); i++) {
		char *p;

		test_map(&self->b, m.cap, 0, 0, RIGHTS_RW, &p);
		test_check(&self->b, p, N, 1);
		faults(self->p, N);
		if (i % 2)
			test_unmap(&self->b, p);
		else
			ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, p, N * psize, 0, 0, 0));
		undisturbed[i % 2] |= !faults(self->p, N);
	}
	ASSERT_TRUE(undisturbed[0]);
	ASSERT_TRUE(undisturbed[1]);
}

/* How many shared mappings there are in an endpoint's process. */
static long call_count_shared(struct ep *ep, struct call *c)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[256];
	long n = 0;

	(void)ep;
	(void)c;
	while (fgets(line, sizeof(line), maps))
		n += !!strstr(line, "-s ");
	fclose(maps);
	return n;
}

/* Revoked just when it is received: nothing is mapped where nobody knows of it. */
TEST_F(file, revoked_in_recv)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, ZCIPC_SHARE, self->p, N * psize, 0);
	struct call count = { .fn = call_count_shared };
	struct call c = { .fn = call_ioctl, .n = ZCIPC_IOC_RECV };
	struct zcipc_recv *m = (struct zcipc_recv *)c.cmd;
	long views;
	__u64 n;

	need_points();
	cmd.rights = RIGHTS_RW;
	views = ep_call(&self->b, &count);
	test_transfer(&self->a, &cmd);
	point_set("mapped", 300);
	m->size = sizeof(*m);
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(point_reached());
	test_revoke(&self->a, &self->b, cmd.peer_cap, 0, &n);
	point_go();
	if (ep_wait(&self->b, &c)) {
		ASSERT_EQ(EAGAIN, errno);
	} else {
		ASSERT_EQ(ZCIPC_SHARE, m->type);
		test_gone(&self->b, addr_of(m), N);
		ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(m), N * psize, 0, 0, 0));
	}
	count = (struct call){ .fn = call_count_shared };
	ASSERT_EQ(views, ep_call(&self->b, &count));
}

/* Revoked just when it is mapped: it is as if it had been before. */
TEST_F(file, revoked_in_map)
{
	struct call c = { .fn = call_ioctl, .n = ZCIPC_IOC_MAP };
	struct zcipc_map *map = (struct zcipc_map *)c.cmd;
	struct call count = { .fn = call_count_shared };
	struct zcipc_recv m;
	long views;
	__u64 n;

	need_points();
	test_share(&self->a, &self->b, self->p, N, RIGHTS_RW, &m);
	views = ep_call(&self->b, &count);
	*map = (struct zcipc_map){ .size = sizeof(*map), .cap = m.cap,
				   .rights = ZCIPC_RIGHT_READ };
	point_stop("mmap");
	ASSERT_EQ(0, ep_send(&self->b, &c));
	ASSERT_TRUE(point_reached());
	test_revoke(&self->a, &self->b, m.cap, 0, &n);
	point_go();
	ASSERT_EQ(-1, ep_wait(&self->b, &c));
	ASSERT_EQ(ESTALE, errno);
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_REVOKED, m.type);
	count = (struct call){ .fn = call_count_shared };
	ASSERT_EQ(views, ep_call(&self->b, &count));
}

/* --- seals of memfds */

FIXTURE(seals)
{
	struct base base;
	struct ep a, b;
	int fd;
};

FIXTURE_SETUP(seals)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, 0, O_NONBLOCK);
	ASSERT_FALSE(peer_fork(&self->b) || peer_open(&self->b, 0, O_NONBLOCK));
	self->fd = file_memfd();
	ASSERT_EQ(0, ftruncate(self->fd, N * psize));
}

FIXTURE_TEARDOWN(seals)
{
	close(self->fd);
	base_teardown(_metadata, &self->base);
}

/* As long as somebody can write to it, it cannot be sealed against that. */
TEST_F(seals, write)
{
	char *p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	struct zcipc_recv m;
	struct buf buf;
	char *q;

	ASSERT_EQ(0, fill(p, N, 1));
	test_import(&self->a, p, N, &buf);
	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, munmap(p, N * psize));
	ASSERT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	ASSERT_EQ(EBUSY, errno);
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(&m), N * psize, 0, 0, 0));
	ASSERT_TRUE(wait_until(!fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	/* And afterwards nobody can any more, whatever he was given before. */
	test_err_map(EACCES, &self->b, m.cap, 0, N, RIGHTS_RW, &q);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 2);
	test_send_rights(&self->a, &self->b, ZCIPC_SHARE, buf.cap, RIGHTS_RW);
	test_recv(&self->b, &m);
	ASSERT_EQ(0, m.addr);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 2);
}

/*
 * Known: whoever keeps the mapping of what was revoked keeps the file from being sealed, though
 * there is nothing in it. Only its owner can end that.
 */
TEST_F(seals, write_after_revoke)
{
	char *p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	struct zcipc_recv m;
	__u64 n;

	ASSERT_EQ(0, fill(p, N, 1));
	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, munmap(p, N * psize));
	test_check(&self->b, addr_of(&m), N, 1);
	test_revoke(&self->a, &self->b, m.cap, 0, &n);
	test_gone(&self->b, addr_of(&m), N);
	ASSERT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	ASSERT_EQ(EBUSY, errno);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, addr_of(&m), N * psize, 0, 0, 0));
	ASSERT_TRUE(wait_until(!fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
}

/* New mappings only, the old one stays writable: it is not a way to get more. */
TEST_F(seals, future_write)
{
	char *p = mmap(NULL, N * psize, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	struct zcipc_recv m;
	char *q;

	ASSERT_EQ(0, fill(p, N, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_EQ(0, m.addr);
	test_err_map(EACCES, &self->b, m.cap, 0, N, RIGHTS_RW, &q);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 1);
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mprotect, q, psize, PROT_READ | PROT_WRITE, 0,
				   0));
	munmap(p, N * psize);
}

/*
 * REVOKE disturbs all who have mapped the file. So one has to be allowed to write to it: nobody has
 * a say about what all programs are made of.
 */
static long call_import_foreign(struct ep *ep, struct call *c)
{
	struct zcipc_region_import cmd = { .size = sizeof(cmd), .len = c->n };
	int fd = open("/zcipc_foreign", O_RDONLY | O_CLOEXEC);

	cmd.addr = (uintptr_t)mmap(NULL, c->n, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (fd < 0 || (void *)(uintptr_t)cmd.addr == MAP_FAILED)
		return -2;
	return ioctl(ep->fd, ZCIPC_IOC_REGION_IMPORT, &cmd);
}

TEST_F(seals, of_others)
{
	struct call import = { .fn = call_import_foreign, .n = N * psize };
	struct call c = { .fn = call_setuid, .n = 65534 };
	struct ep other;
	int fd;

	fd = open("/zcipc_foreign", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ASSERT_EQ(0, ftruncate(fd, N * psize));
	ASSERT_FALSE(peer_fork(&other) || ep_call(&other, &c) || peer_open(&other, 0, 0));
	ASSERT_EQ(-1, ep_call(&other, &import));
	ASSERT_EQ(EACCES, errno);
	ASSERT_EQ(0, fchmod(fd, 0666));
	import = (struct call){ .fn = call_import_foreign, .n = N * psize };
	ASSERT_EQ(0, ep_call(&other, &import));
	close(fd);
	unlink("/zcipc_foreign");
}

/* A file that was opened for reading. */
TEST_F(seals, opened_for_reading)
{
	char path[40];
	struct zcipc_recv m;
	char *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	p = mmap(NULL, N * psize, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	test_err_share(EACCES, &self->a, &self->b, p, N, RIGHTS_RW, &m);
	test_share(&self->a, &self->b, p, N, RIGHTS_READ, &m);
	test_check(&self->b, addr_of(&m), 1, 0);
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mprotect, addr_of(&m), psize,
				   PROT_READ | PROT_WRITE, 0, 0));
	/* Who only reads is in nobody's way. */
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	munmap(p, N * psize);
	close(fd);
}

/* --- what a security module is asked */

/*
 * Two AppArmor profiles without any rules, as the kernel's policy_unpack.c reads them, which takes
 * no compiler: \4 comes before a name, \2 a number, \5 a string, \7 and \x08 around a struct, and a
 * length counts the 0 at the end. Who has the first profile may do everything (mode 1: complain).
 * What he opens is nevertheless not for everybody who gets a descriptor, as files of unconfined
 * tasks are. Who has the second one may use no such file.
 */
#define AA_U32(byte)	"\2" byte "\0\0\0"
#define AA_PROFILE(length, name, mode)						\
	"\4\x08\0version\0" AA_U32("\5")					\
	"\4\x08\0profile\0\7\5" length "\0" name "\0"				\
	"\4\x06\0flags\0\7" AA_U32("\0") AA_U32(mode) AA_U32("\0") "\x08"	\
	AA_U32("\0") AA_U32("\0") AA_U32("\0") AA_U32("\0") "\x08"

static const char aa_policy[] =
	AA_PROFILE("\x0a", "zcipc_all", "\1") AA_PROFILE("\x0b", "zcipc_none", "\0");

static long call_confine(struct ep *ep, struct call *c)
{
	(void)ep;
	file_write("/proc/self/attr/apparmor/current", (const char *)c->cmd);
	return 0;
}

FIXTURE(lsm)
{
	struct base base;
	struct ep a, b;
};

FIXTURE_SETUP(lsm)
{
	const size_t n = sizeof(aa_policy) - 1;
	int fd;

	base_setup(_metadata, &self->base);
	/* It may be there already. */
	mount("zcipc", "/sys/kernel/security", "securityfs", 0, NULL);
	fd = open("/sys/kernel/security/apparmor/.replace", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "there is no AppArmor: %s", strerror(errno));
	ASSERT_EQ(n, write(fd, aa_policy, n));
	close(fd);
	ASSERT_FALSE(peer_fork(&self->a) || peer_open(&self->a, 0, O_NONBLOCK));
	ASSERT_FALSE(peer_fork(&self->b) || peer_open(&self->b, 0, O_NONBLOCK));
}

FIXTURE_TEARDOWN(lsm)
{
	base_teardown(_metadata, &self->base);
	file_write("/sys/kernel/security/apparmor/.remove", "zcipc_all");
	file_write("/sys/kernel/security/apparmor/.remove", "zcipc_none");
}

/*
 * Known: of a view the security module is asked whether the endpoint's file may be mapped, not the
 * one that it shows. So a process reads and writes, by SHARE, a file that it cannot even map when
 * it has a descriptor. When views ask, the message has no address, and MAP says EACCES.
 */
TEST_F(lsm, not_asked)
{
	struct call all = { .fn = call_confine, .cmd = "changeprofile zcipc_all" };
	struct call none = { .fn = call_confine, .cmd = "changeprofile zcipc_none" };
	const long prot = PROT_READ | PROT_WRITE;
	struct zcipc_recv m;
	long fd, pidfd;
	char *p, *q;

	ASSERT_EQ(0, ep_call(&self->a, &all));
	fd = peer_syscall(&self->a, SYS_openat, NULL, (long)"/zcipc_file", O_RDWR | O_CREAT, 0600,
			  0);
	unlink("/zcipc_file");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, peer_syscall(&self->a, SYS_ftruncate, (void *)fd, N * psize, 0, 0, 0));
	p = (char *)peer_syscall(&self->a, SYS_mmap, NULL, N * psize, prot, MAP_SHARED, fd);
	ASSERT_NE(MAP_FAILED, p);
	test_fill(&self->a, p, N, 1);

	/* The peer has a descriptor, too, which is of no use any more once it is confined. */
	pidfd = peer_syscall(&self->b, SYS_pidfd_open, (void *)(long)self->a.pid, 0, 0, 0, 0);
	fd = peer_syscall(&self->b, SYS_pidfd_getfd, (void *)pidfd, fd, 0, 0, 0);
	ASSERT_LE(0, fd);
	q = (char *)peer_syscall(&self->b, SYS_mmap, NULL, N * psize, prot, MAP_SHARED, fd);
	ASSERT_NE(MAP_FAILED, q);
	ASSERT_EQ(0, peer_syscall(&self->b, SYS_munmap, q, N * psize, 0, 0, 0));
	ASSERT_EQ(0, ep_call(&self->b, &none));
	ASSERT_EQ(-1, peer_syscall(&self->b, SYS_mmap, NULL, N * psize, PROT_READ, MAP_SHARED, fd));
	ASSERT_EQ(EACCES, errno);

	test_share(&self->a, &self->b, p, N, RIGHTS_RW, &m);
	ASSERT_NE(0, m.addr);
	test_check(&self->b, addr_of(&m), N, 1);
	test_fill(&self->b, addr_of(&m), N, 2);
	test_check(&self->a, p, N, 2);
	test_map(&self->b, m.cap, 0, N, RIGHTS_READ, &q);
	test_check(&self->b, q, N, 2);
}

TEST_HARNESS_MAIN

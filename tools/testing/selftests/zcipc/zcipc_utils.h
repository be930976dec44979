/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all zcipc tests share.
 *
 * A test talks to endpoints (struct ep), of which each is in the test's own process or in a peer
 * process. All helpers take either kind, so that most tests are written once and run for both. The
 * helpers are in lib/; what is here needs kselftest_harness.h, of which a program has one copy: the
 * assertions, and what is around each test.
 *
 * zc_x() makes a call, and returns what it returned. test_x() asserts that it succeeds,
 * test_err_x() expects an errno.
 */
#ifndef __SELFTEST_ZCIPC_UTILS
#define __SELFTEST_ZCIPC_UTILS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include <linux/zcipc.h>

#include "kselftest_harness.h"
#include "lib/base.h"
#include "lib/calls.h"
#include "lib/memory.h"
#include "lib/params.h"
#include "lib/peer.h"
#include "lib/threads.h"
#include "lib/watch.h"

/* --- who ends tests that hang: see lib/watch.h */

/* No test is ended by the harness's own alarm(), which would end those that are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	0

/* Every assertion ends with this, which is the only place to learn of one that holds. */
#undef OPTIONAL_HANDLER
#define OPTIONAL_HANDLER(_assert)					\
	for (progress(); _metadata->trigger; _metadata->trigger =	\
			__bail(_assert, _metadata))

#ifndef READ_ONCE
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#endif

static struct watched watch_now(void)
{
	struct __test_metadata *t = READ_ONCE(__active_test);

	return t ? (struct watched){ .pid = t->pid, .name = t->name } : (struct watched){};
}

static void watch_timed_out(pid_t pid)
{
	struct __test_metadata *t = READ_ONCE(__active_test);

	if (t && t->pid == pid)
		t->timed_out = true;
}

/* Arguments for the harness that name each test behind the one called @after. */
static char **watch_rest(char *program, const char *after, int *argc)
{
	static struct __fixture_variant_metadata none = { .name = "" };
	struct __fixture_variant_metadata *v;
	struct __fixture_metadata *f;
	struct __test_metadata *t;
	char **argv = malloc(sizeof(*argv));
	bool behind = false;
	char name[1024];

	argv[0] = program;
	*argc = 1;
	for (f = __fixture_list; f; f = f->next)
		for (v = f->variant ?: &none; v; v = v->next)
			for (t = f->tests; t; t = t->next) {
				snprintf(name, sizeof(name), "%s%s%s.%s", f->name,
					 v->name[0] ? "." : "", v->name, t->name);
				if (behind) {
					argv = realloc(argv, (*argc + 3) * sizeof(*argv));
					argv[(*argc)++] = "-r";
					argv[(*argc)++] = strdup(name);
					argv[*argc] = NULL;
				}
				behind |= !strcmp(name, after);
			}
	return argv;
}

/* With ZCIPC_AFTER, only the tests behind the one of that name: where another run was ended. */
static int watch_main(int argc, char **argv)
{
	const char *after = getenv("ZCIPC_AFTER");

	watch_start(watch_now, watch_timed_out);
	if (after && *after) {
		argv = watch_rest(argv[0], after, &argc);
		if (argc == 1)
			return KSFT_PASS;
	}
	return test_harness_run(argc, argv);
}

#undef TEST_HARNESS_MAIN
#define TEST_HARNESS_MAIN						\
int main(int argc, char **argv)						\
{									\
	return watch_main(argc, argv);					\
}

/* --- calls, and what is expected of them */

#define TEST_OK(call)							\
do {									\
	ASSERT_EQ(0, (call))						\
		TH_LOG("%s: %s", #call, strerror(errno));		\
} while (0)
#define TEST_ERR(err, call)						\
do {									\
	int __rc;							\
									\
	errno = 0;							\
	__rc = (call);							\
	ASSERT_EQ((err), __rc < 0 ? errno : 0)				\
		TH_LOG("%s: %s, not %s", #call, strerror(errno), strerror(err)); \
} while (0)

#define test_create(...)		TEST_OK(zc_create(__VA_ARGS__))
#define test_create_flags(...)		TEST_OK(zc_create_flags(__VA_ARGS__))
#define test_err_create_flags(err, ...)	TEST_ERR(err, zc_create_flags(__VA_ARGS__))
#define test_err_create(err, ...)	TEST_ERR(err, zc_create(__VA_ARGS__))
#define test_import(...)		TEST_OK(zc_import(__VA_ARGS__))
#define test_err_import(err, ...)	TEST_ERR(err, zc_import(__VA_ARGS__))
#define test_direct(...)		TEST_OK(zc_direct(__VA_ARGS__))
#define test_err_direct(err, ...)	TEST_ERR(err, zc_direct(__VA_ARGS__))
#define test_query(...)			TEST_OK(zc_query(__VA_ARGS__))
#define test_err_query(err, ...)	TEST_ERR(err, zc_query(__VA_ARGS__))
#define test_map(...)			TEST_OK(zc_map(__VA_ARGS__))
#define test_err_map(err, ...)		TEST_ERR(err, zc_map(__VA_ARGS__))
#define test_unmap(...)			TEST_OK(zc_unmap(__VA_ARGS__))
#define test_err_unmap(err, ...)	TEST_ERR(err, zc_unmap(__VA_ARGS__))
#define test_drop(...)			TEST_OK(zc_drop(__VA_ARGS__))
#define test_drop_flags(...)		TEST_OK(zc_drop_flags(__VA_ARGS__))
#define test_err_drop(err, ...)		TEST_ERR(err, zc_drop(__VA_ARGS__))
#define test_lookup(...)		TEST_OK(zc_lookup(__VA_ARGS__))
#define test_err_lookup(err, ...)	TEST_ERR(err, zc_lookup(__VA_ARGS__))
#define test_stats(...)			TEST_OK(zc_stats(__VA_ARGS__))
#define test_recv(...)			TEST_OK(zc_recv(__VA_ARGS__))
#define test_err_recv(err, ...)		TEST_ERR(err, zc_recv(__VA_ARGS__))
#define test_take(...)			TEST_OK(zc_take(__VA_ARGS__))
#define test_transfer(...)		TEST_OK(zc_transfer(__VA_ARGS__))
#define test_err_transfer(err, ...)	TEST_ERR(err, zc_transfer(__VA_ARGS__))
#define test_send(...)			TEST_OK(zc_send(__VA_ARGS__))
#define test_err_send(err, ...)		TEST_ERR(err, zc_send(__VA_ARGS__))
#define test_send_part(...)		TEST_OK(zc_send_part(__VA_ARGS__))
#define test_err_send_part(err, ...)	TEST_ERR(err, zc_send_part(__VA_ARGS__))
#define test_send_rights(...)		TEST_OK(zc_send_rights(__VA_ARGS__))
#define test_err_send_rights(err, ...)	TEST_ERR(err, zc_send_rights(__VA_ARGS__))
#define test_pass(...)			TEST_OK(zc_pass(__VA_ARGS__))
#define test_pass_rights(...)		TEST_OK(zc_pass_rights(__VA_ARGS__))
#define test_grant(...)			TEST_OK(zc_grant(__VA_ARGS__))
#define test_err_grant(err, ...)	TEST_ERR(err, zc_grant(__VA_ARGS__))
#define test_grant_rights(...)		TEST_OK(zc_grant_rights(__VA_ARGS__))
#define test_err_grant_rights(err, ...)	TEST_ERR(err, zc_grant_rights(__VA_ARGS__))
#define test_notify(...)		TEST_OK(zc_notify(__VA_ARGS__))
#define test_err_notify(err, ...)	TEST_ERR(err, zc_notify(__VA_ARGS__))
#define test_give(...)			TEST_OK(zc_give(__VA_ARGS__))
#define test_give_part(...)		TEST_OK(zc_give_part(__VA_ARGS__))
#define test_revoke(...)		TEST_OK(zc_revoke(__VA_ARGS__))
#define test_err_revoke(err, ...)	TEST_ERR(err, zc_revoke(__VA_ARGS__))
#define test_config(...)		TEST_OK(zc_config(__VA_ARGS__))
#define test_err_config(err, ...)	TEST_ERR(err, zc_config(__VA_ARGS__))
#define test_policy(...)		TEST_OK(zc_policy(__VA_ARGS__))
#define test_depth(...)			TEST_OK(zc_depth(__VA_ARGS__))
#define test_ordinary(...)		TEST_OK(zc_ordinary(__VA_ARGS__))
#define test_err_ordinary(err, ...)	TEST_ERR(err, zc_ordinary(__VA_ARGS__))
#define test_batch(...)			TEST_OK(zc_batch(__VA_ARGS__))
#define test_err_batch(err, ...)	TEST_ERR(err, zc_batch(__VA_ARGS__))
#define test_share(...)			TEST_OK(zc_share(__VA_ARGS__))
#define test_err_share(err, ...)	TEST_ERR(err, zc_share(__VA_ARGS__))
#define test_ring_open(...)		TEST_OK(ring_open(__VA_ARGS__))
#define test_ring_read(...)		TEST_OK(ring_read(__VA_ARGS__))
#define test_ring_take(...)		TEST_OK(ring_take(__VA_ARGS__))
#define test_err_ring_read(err, ...)	TEST_ERR(err, ring_read(__VA_ARGS__))
#define test_open(...)			TEST_OK(ep_open(__VA_ARGS__))
#define test_start(...)			TEST_OK(ep_start(__VA_ARGS__))
#define test_user_start(...)		TEST_OK(peer_user(__VA_ARGS__))

/* All of a batch succeed. */
#define test_batch_all(ep, t, n, flags)					\
do {									\
	struct zcipc_transfer_batch __out;				\
									\
	test_batch(ep, t, n, flags, &__out);				\
	ASSERT_EQ((__u32)(n), __out.done)				\
		TH_LOG("%u: %s", __out.failed, strerror(-(t)[__out.failed].result)); \
	ASSERT_EQ((__u32)(n), __out.failed);				\
} while (0)

/* Something else that a peer does. */
#define test_call(ep, _fn, ...)						\
do {									\
	struct call __c = { .fn = _fn, __VA_ARGS__ };			\
									\
	TEST_OK(ep_call(ep, &__c));					\
} while (0)

/* Memory of a peer. */
#define test_memory(ep, npages, seed)					\
({									\
	char *__p = ep_memory(ep, npages, seed);			\
									\
	ASSERT_NE(NULL, __p);						\
	__p;								\
})
#define test_munmap(...)		ASSERT_EQ(0, ep_munmap(__VA_ARGS__))
#define test_hold(...)			ASSERT_EQ(0, ep_hold(__VA_ARGS__))
#define test_hold_end(...)		ASSERT_EQ(0, ep_hold_end(__VA_ARGS__))

/* Accesses: what signal do they raise, and what is there? */
#define test_touch_read(sig, ep, p)					\
do {									\
	__u64 __val;							\
									\
	ASSERT_EQ((sig), ep_read(ep, p, &__val));			\
} while (0)
#define test_touch_write(sig, ep, p)	ASSERT_EQ((sig), ep_write(ep, p, 0xbad))
#define test_fill(...)			ASSERT_EQ(0, ep_fill(__VA_ARGS__))
#define test_check(...)			ASSERT_EQ(0, ep_check(__VA_ARGS__))
#define test_check_from(...)		ASSERT_EQ(0, ep_check_from(__VA_ARGS__))
#define test_gone(...)			ASSERT_EQ(0, ep_gone(__VA_ARGS__))

/* No message, and poll() says so too. */
#define test_quiet(ep)							\
do {									\
	struct call __c = { .fn = call_poll };				\
	struct zcipc_recv __m;						\
									\
	ASSERT_EQ(0, ep_call(ep, &__c));				\
	test_err_recv(EAGAIN, ep, &__m);				\
} while (0)

/* Where a capability is in its tree. */
#define test_tree(ep, cap, _depth, _derived)				\
do {									\
	struct zcipc_region_query __q;					\
									\
	test_query(ep, cap, &__q);					\
	ASSERT_EQ(_depth, __q.depth);					\
	ASSERT_EQ(_derived, __q.derived);				\
} while (0)

/* How many capabilities and mappings there are of what one names. */
#define test_users(ep, cap, _caps, _maps)				\
do {									\
	struct zcipc_region_query __q;					\
									\
	test_query(ep, cap, &__q);					\
	ASSERT_EQ(_caps, __q.caps);					\
	ASSERT_EQ(_maps, __q.maps);					\
} while (0)

/* The next message says that a capability is gone. */
static inline void take_revoked(struct __test_metadata *_metadata, struct ep *ep, __u64 cap,
				const struct ep *by)
{
	struct zcipc_recv m;

	test_recv(ep, &m);
	ASSERT_EQ(ZCIPC_REVOKED, m.type);
	ASSERT_EQ(cap, m.cap);
	ASSERT_EQ(by->id, m.sender);
	ASSERT_EQ(0, m.addr);
	ASSERT_EQ(0, m.cookie);
	ASSERT_EQ(0, m.message_flags);
}

/* G6, 13: a token that is good for nothing any more. */
#define test_stale(ep, cap)						\
do {									\
	struct call __c = { .fn = call_stale, .val = cap };		\
									\
	ASSERT_EQ(0, ep_call(ep, &__c));				\
} while (0)

/* A MOVE that comes back from a dead peer: as it was sent, and in nobody's window. */
static inline void take_returned(struct __test_metadata *_metadata, struct ep *a, struct ep *from,
				 size_t npages, __u64 region, __u64 seed)
{
	struct zcipc_recv m;
	char *p;

	ASSERT_TRUE(wait_until(!zc_recv(a, &m)));
	ASSERT_EQ(ZCIPC_MESSAGE_RETURNED, m.message_flags);
	ASSERT_EQ(ZCIPC_MOVE, m.type);
	ASSERT_EQ(from->id, m.sender);
	ASSERT_EQ(0, m.addr);
	ASSERT_EQ(npages * psize, m.len);
	ASSERT_EQ(0xc00c1e, m.cookie);
	ASSERT_EQ(RIGHTS_ALL, m.rights);
	if (region)
		ASSERT_EQ(region, m.region);
	test_map(a, m.cap, 0, 0, RIGHTS_RW, &p);
	test_check(a, p, npages, seed);
	test_fill(a, p, npages, seed + 1);
	test_drop(a, m.cap);
}

#define need_points()							\
do {									\
	if (!points_exist())						\
		SKIP(return, "the module is built without delay points");	\
} while (0)

/* For what one of HUGE_PAGES shows. */
#define need_huge()							\
do {									\
	if (!has_feature(ZCIPC_FEATURE_HUGE))				\
		SKIP(return, "there are no huge frames");		\
	if (huge_pages != HUGE_PAGES)					\
		SKIP(return, "a huge frame has %zu pages, not %d", huge_pages, HUGE_PAGES); \
} while (0)

/* Makes children inherit a mapping, which newer kernels do not allow of a driver's. */
#define test_inheritable(p, len)					\
do {									\
	int __rc = madvise((void *)(p), len, MADV_DOFORK);		\
									\
	if (__rc && errno == EINVAL)					\
		SKIP(return, "this kernel lets no child inherit it");	\
	ASSERT_EQ(0, __rc);						\
} while (0)

/* --- around each test */

static inline void base_setup(struct __test_metadata *_metadata, struct base *base)
{
	if (access(ZCIPC_DEVICE, F_OK))
		SKIP(_exit(KSFT_SKIP), "there is no %s", ZCIPC_DEVICE);
	TEST_OK(base_begin(base));
}

/* Everybody goes, and then nothing may be left. */
static inline void base_teardown(struct __test_metadata *_metadata, struct base *base)
{
	EXPECT_TRUE(base_end(base));
}

/* A fixture that has what the fixtures of most files need: some endpoints. */
#define FIXTURE_TEARDOWN_BASE(name)					\
	FIXTURE_TEARDOWN(name)						\
	{								\
		base_teardown(_metadata, &self->base);			\
	}

#endif

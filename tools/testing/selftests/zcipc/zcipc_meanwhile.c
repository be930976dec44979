// SPDX-License-Identifier: GPL-2.0-only
/*
 * Imported memory that others use, unmap and fault at the same time.
 *
 * Guarantees: G1, G2 exclusive MOVE, G4, G5, G8.
 * Attacks: 12 userfaultfd, 14 stores through a MOVE, 17 and 18 races of transfers, 20 what becomes
 * of memory after an import.
 */
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "zcipc_utils.h"

/* --- what becomes of memory after it has been adopted */

#define M 16

/* --- others that use the memory at the same time */

#define ROUNDS 200

FIXTURE(threads)
{
	struct base base;
	struct ep a, b;
	char *p;
};

FIXTURE_SETUP(threads)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
}

FIXTURE_TEARDOWN_BASE(threads)

/* Documented for what others can do to memory during a call: it is not there, or not as it was. */
static bool race_error(int err)
{
	return err == EFAULT || err == EACCES || err == EOPNOTSUPP;
}

/* 12, 20: no write of a thread is lost by an import, at whatever moment it comes. */
TEST_F(threads, import_loses_no_write)
{
	unsigned int i, n = loops(ROUNDS);
	struct adder adder;
	struct buf buf;
	size_t k;

	for (i = 0; i < n; i++) {
		self->p = i % 4 ? guarded(M) : guarded_huge();
		ASSERT_NE(NULL, self->p);
		/* With and without pages that are there already. */
		memset(self->p, 0, i % 3 * M / 2 * psize);
		ASSERT_EQ(0, adder_start(&adder, self->p, M, i % 512));
		if (i % 2)
			ASSERT_TRUE(wait_until(adder.started));
		test_import(&self->a, self->p, M, &buf);
		adder_stop(&adder);
		for (k = 0; k < M; k++)
			ASSERT_EQ(adder.n,
				  *(volatile __u64 *)(self->p + k * psize + i % 512 * 8));
		test_drop(&self->a, buf.cap);
		guarded_free(self->p, i % 4 ? M : HUGE / psize);
	}
}

/* A word that says that it is from here, and when it was written. */
#define STAMP		0x5a17ULL
#define stamp(n)	(STAMP << 48 | (n))
#define is_stamp(val, n)	((val) >> 48 == STAMP && ((val) & ~(STAMP << 48)) <= (n))

/* Writes stamps to all words of a range, again and again. */
struct writer {
	pthread_t thread;
	char *p;
	size_t npages;
	volatile bool stop;
	volatile __u64 n;
};

static void *writer_run(void *arg)
{
	struct writer *writer = arg;
	volatile __u64 *words = (volatile __u64 *)writer->p;
	size_t i;

	while (!writer->stop) {
		__u64 n = writer->n + 1;

		/* First, so that nobody sees a stamp that is newer. */
		__atomic_store_n(&writer->n, n, __ATOMIC_SEQ_CST);
		for (i = 0; i < writer->npages * psize / 8; i += 8)
			words[i] = stamp(n);
	}
	return NULL;
}

/* 14, 17, G2: what arrives has been written, each word as a whole, and does not change again. */
TEST_F(threads, move_takes_what_was_written)
{
	unsigned int i, n = loops(ROUNDS), old = 0;
	size_t words = M * psize / 8, k;
	struct writer writer = { .npages = M };
	__u64 *copy = malloc(M * psize);
	struct zcipc_recv m;

	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	writer.p = self->p;
	ASSERT_EQ(0, pthread_create(&writer.thread, NULL, writer_run, &writer));
	for (i = 0; i < n; i++) {
		const volatile __u64 *got;
		__u64 last;

		test_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, M * psize, 0);
		last = writer.n;
		test_recv(&self->b, &m);
		got = (const volatile __u64 *)(uintptr_t)m.addr;
		for (k = 0; k < words; k++) {
			copy[k] = got[k];
			ASSERT_TRUE(!copy[k] || (!(k % 8) && is_stamp(copy[k], last)))
				TH_LOG("word %zu: %llx of %llx", k, (long long)copy[k],
				       (long long)last);
			old += !!copy[k];
		}
		/* Until the sender has written to all of its new memory. */
		ASSERT_TRUE(wait_until(writer.n > last + 1));
		for (k = 0; k < words; k++)
			ASSERT_EQ(copy[k], got[k]);
		test_drop(&self->b, m.cap);
	}
	writer.stop = true;
	pthread_join(writer.thread, NULL);
	/* Some came in while there was something to be seen. */
	ASSERT_NE(0, old);
	guarded_free(self->p, M);
	free(copy);
}

/* What another thread does to parts of a range while it is imported and sent. */
struct disturber {
	pthread_t thread;
	char *p;
	volatile bool stop;
	volatile unsigned int n;
	unsigned int bad;
};

/* Sometimes nothing, so that some calls meet it and others do not. */
static bool disturb_next(struct disturber *d)
{
	if (!(++d->n % 8))
		msleep(1);
	return !d->stop;
}

/* Two pages, always others. */
static char *disturb_at(const struct disturber *d)
{
	return d->p + d->n * 3 % (M - 1) * psize;
}

static void *disturb_discard(void *arg)
{
	struct disturber *d = arg;

	while (disturb_next(d))
		madvise(disturb_at(d), 2 * psize, MADV_DONTNEED);
	return NULL;
}

static void *disturb_unmap(void *arg)
{
	struct disturber *d = arg;

	while (disturb_next(d)) {
		char *p = disturb_at(d);

		munmap(p, 2 * psize);
		if (mmap(p, 2 * psize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			d->bad++;
	}
	return NULL;
}

static void *disturb_protect(void *arg)
{
	struct disturber *d = arg;

	while (disturb_next(d)) {
		mprotect(disturb_at(d), 2 * psize, PROT_READ);
		mprotect(disturb_at(d), 2 * psize, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

/* Children that write to what they have inherited. */
static void *disturb_fork(void *arg)
{
	struct disturber *d = arg;
	int status;
	pid_t pid;
	size_t i;

	while (disturb_next(d)) {
		pid = fork();
		if (!pid) {
			for (i = 0; i < M; i++)
				touch_write(d->p + i * psize, 0xbad);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			d->bad++;
	}
	return NULL;
}

FIXTURE(disturbed)
{
	struct base base;
	struct ep a, b;
	struct disturber d;
	char *p;
};

FIXTURE_VARIANT(disturbed)
{
	void *(*run)(void *arg);
	bool loses;	/* contents */
};

FIXTURE_VARIANT_ADD(disturbed, discard) { .run = disturb_discard, .loses = true };
FIXTURE_VARIANT_ADD(disturbed, unmap) { .run = disturb_unmap, .loses = true };
FIXTURE_VARIANT_ADD(disturbed, protect) { .run = disturb_protect };
FIXTURE_VARIANT_ADD(disturbed, fork) { .run = disturb_fork };

FIXTURE_SETUP(disturbed)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->b, WINDOW_PAGES, O_NONBLOCK);
	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	self->d.p = self->p;
	ASSERT_EQ(0, pthread_create(&self->d.thread, NULL, variant->run, &self->d));
}

FIXTURE_TEARDOWN(disturbed)
{
	if (self->d.thread) {
		self->d.stop = true;
		pthread_join(self->d.thread, NULL);
		EXPECT_EQ(0, self->d.bad);
		EXPECT_NE(0, self->d.n);
	}
	guarded_free(self->p, M);
	base_teardown(_metadata, &self->base);
}

/* Each page is as it was filled, or has been discarded, as a whole. */
static void disturbed_check(struct __test_metadata *_metadata,
			    const FIXTURE_VARIANT(disturbed) *variant, const char *p, size_t n,
			    __u64 seed)
{
	size_t i, k;

	for (i = 0; i < n; i++) {
		const __u64 *words = (const __u64 *)(p + i * psize);
		__u64 first, val;

		if (touch_read(words, &first)) {
			ASSERT_TRUE(variant->loses);
			continue;
		}
		ASSERT_TRUE(first == pattern(seed, i, 0) || (!first && variant->loses))
			TH_LOG("page %zu: %llx", i, (long long)first);
		for (k = 1; k < SAMPLES; k++) {
			if (touch_read(words + sample(k), &val))
				break;
			ASSERT_TRUE(val == pattern(seed, i, sample(k)) ||
				    (!val && variant->loses))
				TH_LOG("page %zu: %llx", i, (long long)val);
		}
	}
}

/* New memory, filled as far as the other one leaves it there. */
static void disturbed_memory(struct __test_metadata *_metadata, FIXTURE_DATA(disturbed) *self,
			     __u64 seed)
{
	size_t i, k;

	ASSERT_EQ(self->p, mmap(self->p, M * psize, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	for (i = 0; i < M; i++)
		for (k = 0; k < SAMPLES; k++)
			while (touch_write((__u64 *)(self->p + i * psize) + sample(k),
					   pattern(seed, i, sample(k))))
				sched_yield();
}

/* 12, 18, G8: imports succeed, or fail as the interface says, and show what was there. */
TEST_F(disturbed, import)
{
	unsigned int i, n = loops(ROUNDS), done = 0;
	struct buf buf;

	for (i = 0; i < n; i++) {
		disturbed_memory(_metadata, self, 1 + i % 100);
		if (zc_import(&self->a, self->p, M, &buf)) {
			ASSERT_TRUE(race_error(errno)) TH_LOG("%s", strerror(errno));
			disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
			continue;
		}
		done++;
		disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
		test_drop(&self->a, buf.cap);
	}
	TH_LOG("%u of %u", done, n);
}

/* 17, 18, G2, G8: and so does MOVE. Nobody but the receiver writes to what arrives. */
TEST_F(disturbed, move)
{
	unsigned int i, n = loops(ROUNDS), done = 0;
	struct zcipc_recv m;

	for (i = 0; i < n; i++) {
		disturbed_memory(_metadata, self, 1 + i % 100);
		if (zc_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, M * psize, 0)) {
			ASSERT_TRUE(race_error(errno)) TH_LOG("%s", strerror(errno));
			disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
			continue;
		}
		done++;
		test_recv(&self->b, &m);
		disturbed_check(_metadata, variant, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_fill(&self->b, (char *)(uintptr_t)m.addr, M, 200);
		sched_yield();
		test_check(&self->b, (char *)(uintptr_t)m.addr, M, 200);
		test_drop(&self->b, m.cap);
	}
	TH_LOG("%u of %u", done, n);
}

/* 17, 18, G4, G8: and so do SHARE and COPY, whose own capability nobody knows. */
TEST_F(disturbed, copy)
{
	unsigned int i, n = loops(ROUNDS), done = 0;
	struct zcipc_stats before, stats;
	struct zcipc_recv m;

	test_stats(&self->a, &before);
	for (i = 0; i < n; i++) {
		disturbed_memory(_metadata, self, 1 + i % 100);
		if (zc_direct(&self->a, &self->b, i % 2 ? ZCIPC_COPY : ZCIPC_SHARE, self->p,
			      M * psize, 0)) {
			/* ESTALE: it has been unmapped, and was gone before it was shared. */
			ASSERT_TRUE(race_error(errno) || errno == ESTALE)
				TH_LOG("%s", strerror(errno));
			disturbed_check(_metadata, variant, self->p, M, 1 + i % 100);
			continue;
		}
		done++;
		test_recv(&self->b, &m);
		disturbed_check(_metadata, variant, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_drop(&self->b, m.cap);
	}
	ASSERT_EQ(self->p, mmap(self->p, M * psize, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	test_stats(&self->a, &stats);
	ASSERT_EQ(before.user_pinned, stats.user_pinned);
	ASSERT_EQ(before.caps, stats.caps);
	TH_LOG("%u of %u", done, n);
}

/* 15, 18: a peer reads, by references to pages, what is imported and sent meanwhile. */
TEST_F(threads, read_by_a_peer)
{
	unsigned int i, n = loops(ROUNDS);
	volatile __u64 *count;
	struct zcipc_recv m;
	struct buf buf;
	int status;
	pid_t pid;
	__u64 last;

	self->p = guarded(M);
	count = mmap(NULL, psize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)count);
	ASSERT_NE(NULL, self->p);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		static __u64 words[64 * 1024 / 8];
		struct iovec local = { words, M * psize }, remote = { self->p, M * psize };
		size_t k;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (; !count[1]; count[0]++) {
			ssize_t got = process_vm_readv(getppid(), &local, 1, &remote, 1, 0);

			if (got < 0 && errno != EFAULT)
				_exit(1);
			for (k = 0; got > 0 && k < (size_t)got / psize; k++)
				if (words[k * 512] && words[k * 512] >> 40 << 40 !=
				    (pattern(words[k * 512] >> 48, k, 0) >> 40 << 40))
					_exit(2);
		}
		_exit(0);
	}
	ASSERT_TRUE(wait_until(count[0]));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, fill(self->p, M, 1 + i % 100));
		test_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, M * psize, 0);
		test_recv(&self->b, &m);
		test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_check(&self->a, self->p, M, 0);
		test_drop(&self->b, m.cap);
		ASSERT_EQ(0, fill(self->p, M, 1 + i % 100));
		test_import(&self->a, self->p, M, &buf);
		test_check(&self->a, self->p, M, 1 + i % 100);
		test_send(&self->a, &self->b, ZCIPC_MOVE, buf.cap);
		test_recv(&self->b, &m);
		test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1 + i % 100);
		test_drop(&self->b, m.cap);
		ASSERT_EQ(self->p, mmap(self->p, M * psize, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	}
	last = count[0];
	ASSERT_TRUE(wait_until(count[0] > last));
	count[1] = 1;
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	guarded_free(self->p, M);
}

/* Two threads take the same memory at the same time. */
struct taker {
	pthread_t thread;
	struct ep *from, *to;
	char *p;
	size_t npages;
	int rc, err;
};

static void *taker_run(void *arg)
{
	struct taker *t = arg;

	t->rc = zc_direct(t->from, t->to, ZCIPC_MOVE, t->p, t->npages * psize, 0);
	t->err = errno;
	return NULL;
}

FIXTURE(twice)
{
	struct base base;
	struct ep a, b, c, d;
	struct taker takers[2];
	char *p;
};

FIXTURE_VARIANT(twice)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(twice, small) { };
FIXTURE_VARIANT_ADD(twice, huge) { .huge = true };

FIXTURE_SETUP(twice)
{
	base_setup(_metadata, &self->base);
	test_open(&self->a, WINDOW_PAGES, O_NONBLOCK);
	test_open(&self->d, WINDOW_PAGES, O_NONBLOCK);
	test_start(&self->b, true, WINDOW_PAGES);
	test_start(&self->c, true, WINDOW_PAGES);
	self->p = variant->huge ? guarded_huge_filled(M) : guarded(M);
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, fill(self->p, M, 1));
}

FIXTURE_TEARDOWN_BASE(twice)

/* 15, 17, G2: pages that both have pinned before either has taken them: no two owners of one. */
TEST_F(twice, moved_to_one_owner)
{
	struct taker *t = self->takers;
	struct zcipc_recv m, m2;
	int i;

	need_points();
	t[0] = (struct taker){ .from = &self->a, .to = &self->b, .p = self->p, .npages = M };
	t[1] = (struct taker){ .from = &self->d, .to = &self->c, .p = self->p, .npages = M };
	point_stop("prepared");
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, taker_run, &t[i]));
		ASSERT_TRUE(point_reached_by(i + 1));
	}
	point_go();
	for (i = 0; i < 2; i++)
		pthread_join(t[i].thread, NULL);
	ASSERT_EQ(0, t[0].rc) TH_LOG("%s", strerror(t[0].err));
	ASSERT_EQ(0, t[1].rc) TH_LOG("%s", strerror(t[1].err));
	test_recv(&self->b, &m);
	test_recv(&self->c, &m2);
	test_fill(&self->b, (char *)(uintptr_t)m.addr, M, 2);
	test_fill(&self->c, (char *)(uintptr_t)m2.addr, M, 3);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 2);
	test_check(&self->c, (char *)(uintptr_t)m2.addr, M, 3);
	test_check(&self->a, self->p, M, 0);
}

/* --- userfaultfd */

/* 12, 19: memory that userfaultfd watches is its owner's to fill. */
TEST_F(threads, userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg;
	struct zcipc_recv m;
	struct buf buf;
	__u32 type;
	int fd;

	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	self->p = guarded(M);
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, fill(self->p, M, 1));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	/* Not all of it. */
	reg = (struct uffdio_register){
		.range = { .start = (uintptr_t)self->p + 3 * psize, .len = 2 * psize },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	test_err_import(EOPNOTSUPP, &self->a, self->p, M, &buf);
	for (type = ZCIPC_MOVE; type <= ZCIPC_COPY; type++)
		test_err_direct(EOPNOTSUPP, &self->a, &self->b, type, self->p, M * psize, 0);
	test_check(&self->a, self->p, M, 1);
	ASSERT_EQ(0, mappings(self->p, self->p + M * psize, ZCIPC_DEVICE));
	test_direct(&self->a, &self->b, ZCIPC_COPY, self->p, M * psize, ZCIPC_F_COPY_OK);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, M, 1);
	test_drop(&self->b, m.cap);
	/* Beside it all is as ever. */
	test_direct(&self->a, &self->b, ZCIPC_MOVE, self->p, 3 * psize, 0);
	test_recv(&self->b, &m);
	test_check(&self->b, (char *)(uintptr_t)m.addr, 3, 1);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
	test_import(&self->a, self->p + 3 * psize, M - 3, &buf);
	test_check_from(&self->a, buf.p, 3, M - 3, 1);
	/* And what has been adopted cannot be watched. */
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	ASSERT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	reg.mode = UFFDIO_REGISTER_MODE_WP;
	ASSERT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
	close(fd);
	guarded_free(self->p, M);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls in which something fails inside: each allocation in turn.
 *
 * Guarantees: G3 all or nothing, G7 no residue, G8.
 * Attacks: 31 fail_nth.
 */
#include <sys/wait.h>

#include "zcipc_utils.h"

#define N 8

#define FAULTS "/sys/kernel/debug/"
#define FAIL_TIMES 1000000

/* Which allocations fail, and what the call says then. */
static const struct fault_kind {
	const char *name;
	int error;
} fault_kinds[] = {
	{ "failslab", ENOMEM },
	{ "fail_page_alloc", ENOMEM },
	{ "fail_usercopy", EFAULT },
};

static void fault_set(const char *kind, const char *name, long val)
{
	char path[80], text[24];

	snprintf(path, sizeof(path), FAULTS "%s/%s", kind, name);
	snprintf(text, sizeof(text), "%ld", val);
	file_write(path, text);
}

static long fault_get(const char *kind, const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), FAULTS "%s/%s", kind, name);
	return file_number(path, NULL);
}

/* Memory as a child gets it: all ordinary, and in its own mapping. */
static char *fault_memory(size_t npages)
{
	char *p = guarded(npages);

	if (p)
		fill(p, npages, 1);
	return p;
}

static char *fault_untouched(size_t npages)
{
	return guarded(npages);
}

static char *fault_locked(size_t npages)
{
	char *p = fault_memory(npages);

	mlock(p, npages * psize);
	return p;
}

/* What is in a struct that could not be written to. */
#define UNTOLD 0xccccccccccccccccULL

/* What nobody may see a trace of when a call has failed. */
struct trail {
	struct zcipc_stats stats;
	long nmappings;
	long locked;
};

FIXTURE(fault)
{
	struct base base;
	struct ep a, b;
	int fd;
	char *p;
	struct buf src;			/* of what is a region */
	struct zcipc_recv m;		/* what has been received */
	struct trail before;
};

FIXTURE_VARIANT(fault)
{
	char *(*memory)(size_t npages);
	size_t npages;		/* of it */
	__u32 type;		/* 0: REGION_IMPORT */
	__u32 flags;
	__u64 seed;
	size_t from;		/* the part that is taken, in bytes */
	size_t len;
	bool memfd;
	bool region;		/* it is one already */
	bool beside;		/* what is next to the part has become one */
	bool receive;		/* what fails is that the peer maps it */
};

#define FAULT(name, ...) FIXTURE_VARIANT_ADD(fault, name) { __VA_ARGS__ }
#define PART(_memory, n, first, len_)					\
	.memory = (_memory), .npages = (n), .seed = 1, .from = (first), .len = (len_)
#define TOUCHED		PART(fault_memory, N, 0, N * 4096)
#define UNTOUCHED	.memory = fault_untouched, .npages = N, .len = N * 4096
#define MIDDLE		PART(fault_memory, 3 * N, N * 4096, N * 4096)
#define ANY		PART(fault_memory, N, 100, 5 * 4096)
#define LOCKED		PART(fault_locked, N, 0, N * 4096)
#define HUGE_ALL	PART(guarded_huge_filled, 512, 0, 512 * 4096)
#define HUGE_PART	PART(guarded_huge_filled, 512, 8192, 256 * 4096)
#define MEMFD		PART(NULL, N, 0, N * 4096), .memfd = true
#define REGION		PART(NULL, 3 * N, 0, 3 * N * 4096), .region = true
#define REGION_PART	PART(NULL, 3 * N, N * 4096, 2 * N * 4096), .region = true

FAULT(import, TOUCHED);
FAULT(import_untouched, UNTOUCHED);
FAULT(import_middle, MIDDLE);
FAULT(import_beside, MIDDLE, .beside = true);
FAULT(import_locked, LOCKED);
FAULT(import_huge, HUGE_ALL);
FAULT(move, TOUCHED, .type = ZCIPC_MOVE);
FAULT(move_untouched, UNTOUCHED, .type = ZCIPC_MOVE);
FAULT(move_middle, MIDDLE, .type = ZCIPC_MOVE);
FAULT(move_huge, HUGE_PART, .type = ZCIPC_MOVE);
FAULT(move_any, ANY, .type = ZCIPC_MOVE, .flags = ZCIPC_F_ANY_ALIGN);
FAULT(move_unmap, TOUCHED, .type = ZCIPC_MOVE, .flags = ZCIPC_F_UNMAP);
FAULT(share, TOUCHED, .type = ZCIPC_SHARE);
FAULT(copy, TOUCHED, .type = ZCIPC_COPY);
FAULT(copy_huge, HUGE_ALL, .type = ZCIPC_COPY);
FAULT(copy_memfd, MEMFD, .type = ZCIPC_COPY, .flags = ZCIPC_F_COPY_OK);
FAULT(copy_auto, ANY, .type = ZCIPC_COPY, .flags = ZCIPC_F_AUTO | ZCIPC_F_ANY_ALIGN);
FAULT(share_memfd, MEMFD, .type = ZCIPC_SHARE);
FAULT(map_memfd, MEMFD, .type = ZCIPC_SHARE, .receive = true);
FAULT(move_memfd, MEMFD, .type = ZCIPC_MOVE, .flags = ZCIPC_F_COPY_OK | ZCIPC_F_ANY_ALIGN);

FAULT(region_move, REGION, .type = ZCIPC_MOVE);
FAULT(region_move_part, REGION_PART, .type = ZCIPC_MOVE);
FAULT(region_share, REGION_PART, .type = ZCIPC_SHARE);
FAULT(region_copy, REGION, .type = ZCIPC_COPY);
FAULT(region_copy_part, REGION_PART, .type = ZCIPC_COPY);

FIXTURE_SETUP(fault)
{
	size_t i;

	base_setup(_metadata, &self->base);
	self->fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->fd < 0)
		SKIP(return, "/proc/self/fail-nth: %s", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(fault_kinds); i++) {
		fault_set(fault_kinds[i].name, "verbose", 0);
		fault_set(fault_kinds[i].name, "times", FAIL_TIMES);
		fault_set(fault_kinds[i].name, "probability", 0);
	}
	fault_set("failslab", "cache-filter", 0);
	fault_set("failslab", "ignore-gfp-wait", 0);
	fault_set("fail_page_alloc", "ignore-gfp-wait", 0);
	fault_set("fail_page_alloc", "ignore-gfp-highmem", 0);
	fault_set("fail_page_alloc", "min-order", 0);
	test_open(&self->a, 3 * 512, O_NONBLOCK);
	test_open(&self->b, 3 * 512, O_NONBLOCK);
}

FIXTURE_TEARDOWN(fault)
{
	if (self->fd >= 0) {
		close(self->fd);
		fault_set("failslab", "ignore-gfp-wait", 1);
		fault_set("fail_page_alloc", "ignore-gfp-wait", 1);
		fault_set("fail_page_alloc", "ignore-gfp-highmem", 1);
		fault_set("fail_page_alloc", "min-order", 1);
	}
	base_teardown(_metadata, &self->base);
}

/* A transfer from memory, with as many rights as there are. */
static int fault_send(FIXTURE_DATA(fault) *self, const FIXTURE_VARIANT(fault) *variant)
{
	struct zcipc_transfer cmd = direct_cmd(&self->b, variant->type, self->p + variant->from,
					       variant->len, variant->flags);

	if (variant->region)
		cmd = transfer_cmd(&self->b, variant->type, self->src.cap, variant->from / psize,
				   variant->len / psize, 0);
	if ((variant->memfd || variant->region) && variant->type == ZCIPC_SHARE)
		cmd.rights = RIGHTS_RW;
	return zc_transfer(&self->a, &cmd);
}

/* The call that is to fail, and after it what the memory is then. */
static int fault_call(FIXTURE_DATA(fault) *self, const FIXTURE_VARIANT(fault) *variant,
		      struct buf *buf)
{
	char *p = self->p + variant->from;

	if (variant->receive)
		return zc_recv(&self->b, &self->m);
	if (!variant->type)
		return zc_import(&self->a, p, variant->len / psize, buf);
	return fault_send(self, variant);
}

/* The Nth allocation fails from now on. */
static void fault_begin(FIXTURE_DATA(fault) *self, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(self->fd, text, strlen(text), 0) < 0)
		fprintf(stderr, "# fail-nth: %s\n", strerror(errno));
}

/* Which has failed: an index of fault_kinds, or -1 for none. */
static int fault_end(FIXTURE_DATA(fault) *self)
{
	size_t i;
	int kind;

	/* That may fail too. */
	while (pwrite(self->fd, "0", 1, 0) < 0)
		;
	for (i = 0, kind = -1; i < ARRAY_SIZE(fault_kinds); i++) {
		if (fault_get(fault_kinds[i].name, "times") == FAIL_TIMES)
			continue;
		fault_set(fault_kinds[i].name, "times", FAIL_TIMES);
		kind = i;
	}
	return kind;
}

/*
 * fail-nth shows what is left of N: 0 is a fault that was injected. It is read by a copy to user
 * space, which may be the one that fails.
 */
static bool fault_injected(FIXTURE_DATA(fault) *self)
{
	char text[16] = "";

	return pread(self->fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
}

static void fault_look(FIXTURE_DATA(fault) *self, struct trail *trail)
{
	zc_stats(&self->base.ep, &trail->stats);
	trail->nmappings = mappings(NULL, (char *)-1UL, NULL);
	trail->locked = file_number("/proc/self/status", "VmLck:");
}

static char *fault_memfd(size_t npages)
{
	int fd = memfd_create("zcipc", MFD_CLOEXEC);
	char *p = MAP_FAILED;

	if (!ftruncate(fd, npages * psize))
		p = mmap(NULL, npages * psize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return NULL;
	fill(p, npages, 1);
	return p;
}

/* What nobody knows a capability of. */
static void fault_import(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self, size_t from,
			 size_t end)
{
	struct buf buf;

	test_import(&self->a, self->p + from, (end - from) / psize, &buf);
	test_drop(&self->a, buf.cap);
}

static void fault_start(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			const FIXTURE_VARIANT(fault) *variant)
{
	if (variant->region) {
		test_create(&self->a, variant->npages, &self->src);
		self->p = self->src.p;
		fill(self->p, variant->npages, 1);
	} else {
		self->p = variant->memfd ? fault_memfd(variant->npages) :
			  variant->memory(variant->npages);
	}
	ASSERT_NE(NULL, self->p);
	if (variant->beside) {
		fault_import(_metadata, self, 0, variant->from);
		fault_import(_metadata, self, variant->from + variant->len,
			     variant->npages * psize);
	}
	if (variant->receive)
		TEST_OK(fault_send(self, variant));
	fault_look(self, &self->before);
}

/* All that is in the range goes, and the next round has new memory. */
static void fault_finish(FIXTURE_DATA(fault) *self, const FIXTURE_VARIANT(fault) *variant)
{
	/* Of what was moved as a whole it has gone. */
	if (variant->region)
		zc_drop(&self->a, self->src.cap);
	else if (variant->memfd)
		munmap(self->p, variant->npages * psize);
	else
		guarded_free(self->p, variant->npages);
}

static bool same_user(const struct zcipc_stats *a, const struct zcipc_stats *b)
{
	return a->user_pinned == b->user_pinned && owned(a) == owned(b);
}

/* Nothing has changed, but that SHARE and COPY may have got as far as to adopt the memory. */
static void fault_failed(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			 const FIXTURE_VARIANT(fault) *variant)
{
	size_t npages = variant->len / psize;
	char *p = self->p + variant->from;
	struct zcipc_stats *before = &self->before.stats;
	struct trail after;

	ASSERT_EQ(0, check(self->p, 0, variant->npages, variant->seed));
	fault_look(self, &after);
	if (!variant->region && variant->type > ZCIPC_MOVE && mappings(p, p + 1, ZCIPC_DEVICE)) {
		before->regions++;
		before->caps++;
		before->maps++;
		before->frames += npages;
		before->user_pages += npages;
		before->user_pinned += npages;
	}
	ASSERT_TRUE(same_live(before, &after.stats));
	ASSERT_TRUE(same_user(before, &after.stats));
	ASSERT_EQ(self->before.locked, after.locked);
	/* Core mm does not join what it has split for a part in the middle. */
	ASSERT_LE(self->before.nmappings, after.nmappings);
	ASSERT_GE(self->before.nmappings + (variant->from ? 2 : 0), after.nmappings);
	ASSERT_EQ(0, fill(self->p, variant->npages, 2));
	ASSERT_EQ(0, check(self->p, 0, variant->npages, 2));
	ASSERT_EQ(0, fill(self->p, variant->npages, 1));
}

/* It has arrived, and is what it should be. Takes it away again. */
static void fault_succeeded(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			    const FIXTURE_VARIANT(fault) *variant, __u64 seed,
			    const struct buf *buf)
{
	size_t skip = variant->from % psize, first = variant->from / psize + !!skip;
	size_t npages = (variant->from + variant->len) / psize - first;
	struct zcipc_recv m;
	char *p;

	if (!variant->type) {
		ASSERT_EQ(0, check(self->p, 0, variant->npages, seed));
		ASSERT_EQ(0, fill(self->p, variant->npages, 3));
		ASSERT_EQ(0, check(self->p, 0, variant->npages, 3));
		ASSERT_EQ(1, mappings(self->p + variant->from,
				      self->p + variant->from + variant->len, NULL));
		/* What nobody was told of goes with the mapping. */
		if (buf->cap != UNTOLD)
			test_drop(&self->a, buf->cap);
		return;
	}
	if (variant->receive)
		m = self->m;
	else
		test_recv(&self->b, &m);
	ASSERT_EQ(variant->len, m.len);
	/* It may not have been mapped, for lack of memory. */
	if (variant->receive && !m.addr) {
		test_map(&self->b, m.cap, 0, 0, RIGHTS_RW, &p);
		m.addr = (uintptr_t)p;
	}
	p = (char *)(uintptr_t)m.addr + (skip ? psize - skip : 0);
	ASSERT_EQ(0, check(p, first, npages, seed));
	if (variant->type == ZCIPC_MOVE && !variant->memfd)
		seed = 0;
	if (seed)
		ASSERT_EQ(0, check(self->p, 0, variant->npages, seed));
	if (!seed && !(variant->flags & ZCIPC_F_UNMAP))
		ASSERT_EQ(variant->region ? SIGBUS : 0,
			  check(self->p + first * psize, 0, npages, 0));
	test_drop(&self->b, m.cap);
	if (variant->memfd && variant->type == ZCIPC_SHARE)
		munmap((void *)(uintptr_t)m.addr, m.len);
}

/* Where a page of this process is. */
static __u64 page_frame(const char *p)
{
	__u64 entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / psize * sizeof(entry)) < 0)
		entry = 0;
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

/* Where one says that VMAs are among what fails when only some of all small allocations do. */
#define FAULT_VMAS "/sys/kernel/slab/vm_area_struct/failslab"

/* From so many bytes of VMAs on this task gets none as many times as are said. */
static void fault_many_begin(int fd, size_t space, long times)
{
	file_write(FAULT_VMAS, "1");
	fault_set("failslab", "cache-filter", 1);
	fault_set("failslab", "space", space);
	fault_set("failslab", "times", times);
	fault_set("failslab", "interval", 1);
	fault_set("failslab", "task-filter", 1);
	fault_set("failslab", "probability", 100);
	if (pwrite(fd, "1", 1, 0) != 1)
		fprintf(stderr, "# make-it-fail: %s\n", strerror(errno));
}

/* Returns how many did. To open a file could be the next to fail, so it is open. */
static long fault_many_end(int fd, long times)
{
	long left;

	if (pwrite(fd, "0", 1, 0) != 1)
		fprintf(stderr, "# make-it-fail: %s\n", strerror(errno));
	left = fault_get("failslab", "times");
	fault_set("failslab", "probability", 0);
	fault_set("failslab", "task-filter", 0);
	fault_set("failslab", "space", 0);
	fault_set("failslab", "times", FAIL_TIMES);
	fault_set("failslab", "cache-filter", 0);
	file_write(FAULT_VMAS, "0");
	return times - left;
}

/* G3, G7: nobody goes on with zeros where there is no memory to put the contents back. */
static void killed_for_what_is_lost(struct __test_metadata *_metadata, int many)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int own = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
		char *p = fault_memory(N);
		struct buf buf;
		struct ep ep;

		if (own < 0 || !p || ep_open(&ep, N, 0))
			_exit(1);
		fault_many_begin(own, 0, FAIL_TIMES);
		zc_import(&ep, p, N, &buf);
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	fault_many_end(many, FAIL_TIMES);
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("status %x", status);
	ASSERT_EQ(SIGKILL, WTERMSIG(status));
}

/*
 * 31, G3: mmap() takes away what is there before it fails. Also when it fails each time it is
 * tried the contents are put back. Only a VMA is denied to it: of other allocations a kernel may
 * want any number, and to put the contents back needs some, too.
 */
static void mmap_fails_for_good(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
				const FIXTURE_VARIANT(fault) *variant)
{
	int many = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
	unsigned int failed = 0, restored = 0;
	long times = 3, hit = 1;	/* as often as the module tries it */
	struct zcipc_stats empty, stats;
	struct buf buf = {};
	int rc, err;
	size_t space;
	__u64 frame;

	test_stats(&self->base.ep, &empty);

	ASSERT_LE(0, many);
	for (space = 0; hit; space += 64) {
		fault_start(_metadata, self, variant);
		frame = page_frame(self->p + variant->from);
		ASSERT_NE(0, frame);
		fault_many_begin(many, space, times);
		rc = fault_call(self, variant, &buf);
		err = errno;
		hit = fault_many_end(many, times);
		if (rc) {
			ASSERT_EQ(ENOMEM, err) TH_LOG("%zu: %s", space, strerror(err));
			failed++;
			restored += frame != page_frame(self->p + variant->from);
			fault_failed(_metadata, self, variant);
			TEST_OK(fault_call(self, variant, &buf));
			fault_succeeded(_metadata, self, variant, 1, &buf);
		} else {
			fault_succeeded(_metadata, self, variant, variant->seed, &buf);
		}
		fault_finish(self, variant);
		test_stats(&self->base.ep, &stats);
		ASSERT_TRUE(same_live(&empty, &stats)) TH_LOG("%zu", space);
		ASSERT_TRUE(same_user(&empty, &stats)) TH_LOG("%zu", space);
	}
	killed_for_what_is_lost(_metadata, many);
	close(many);
	TH_LOG("%u calls failed, %u restored the contents", failed, restored);
	/* Else nothing was tested. */
	ASSERT_NE(0, restored);
}

/*
 * 31, G3, G7, G8: one allocation after the other fails, or a copy from or to user space, until none
 * is left that could. The call succeeds in spite of it, or has changed nothing, and works then.
 */
TEST_F(fault, all_or_nothing)
{
	unsigned int n, failed = 0, nkinds[ARRAY_SIZE(fault_kinds)] = {};
	struct zcipc_stats empty, stats;
	struct buf buf = {};
	int rc, err, kind, clean = 0;
	bool injected;

	test_stats(&self->base.ep, &empty);
	/* How many there are differs a bit from time to time. */
	for (n = 1; clean < 4; n++) {
		ASSERT_GT(2000, n);
		fault_start(_metadata, self, variant);
		fault_begin(self, n);
		rc = fault_call(self, variant, &buf);
		err = errno;
		injected = fault_injected(self);
		kind = fault_end(self);
		clean = injected ? 0 : clean + 1;
		if (injected) {
			ASSERT_LE(0, kind);
			nkinds[kind]++;
		}
		if (rc) {
			ASSERT_TRUE(injected) TH_LOG("%u: %s", n, strerror(err));
			ASSERT_EQ(fault_kinds[kind].error, err)
				TH_LOG("%u, %s: %s", n, fault_kinds[kind].name, strerror(err));
			failed++;
			fault_failed(_metadata, self, variant);
			TEST_OK(fault_call(self, variant, &buf));
			fault_succeeded(_metadata, self, variant, 1, &buf);
		} else {
			if (buf.cap == UNTOLD)
				ASSERT_EQ(EFAULT, fault_kinds[kind].error);
			fault_succeeded(_metadata, self, variant, variant->seed, &buf);
		}
		fault_finish(self, variant);
		/* What nobody can drop goes a moment later. */
		ASSERT_TRUE(wait_until(!zc_stats(&self->base.ep, &stats) &&
				       same_live(&empty, &stats))) TH_LOG("%u", n);
		ASSERT_TRUE(same_user(&empty, &stats)) TH_LOG("%u", n);
	}
	TH_LOG("injected: %u slab, %u pages, %u copies; %u calls failed", nkinds[0], nkinds[1],
	       nkinds[2], failed);
	/* Else nothing was tested. RECV, and what moves a region, do without what they lack. */
	ASSERT_LE(variant->receive || variant->region ? 1 : 3, failed);
	/* What is copied at once is never adopted. */
	if (variant->type != ZCIPC_MOVE && !(variant->flags & ZCIPC_F_AUTO) &&
	    variant->memory == fault_memory)
		mmap_fails_for_good(_metadata, self, variant);
}

TEST_HARNESS_MAIN

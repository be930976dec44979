// SPDX-License-Identifier: GPL-2.0
/*
 * One run: a producer and a consumer process, and the file from the one to the other.
 *
 * They talk about each message on a socket pair, so that one at a time is under way:
 *
 *	producer				consumer
 *	fills the message
 *	sends it	----- mechanism ---->	receives it, looks at every page
 *			<---- RECEIVED ------
 *	lets go of it; COPY: overwrites it
 *			----- GO ON -------->	hashes it, releases it
 *			<---- DONE ----------
 *
 * The clock runs from "sends" to the end of "looks at every page". The first message is a rehearsal
 * with the same contents as the second and does not count: it pages in the code and the stacks.
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base.h"
#include "mechanism.h"
#include "run.h"

enum { PRODUCER, CONSUMER, NROLES };

static const char * const role_name[NROLES] = { "producer", "consumer" };

/* What the processes of a run and their parent have in common. */
struct board {
	__u64 start_ns;
	struct result result;
};

/* --- the digest */

static EVP_MD_CTX *sha256_begin(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		die("libcrypto cannot do SHA-256");
	return ctx;
}

static void sha256_add(EVP_MD_CTX *ctx, const void *data, size_t len)
{
	if (!EVP_DigestUpdate(ctx, data, len))
		die("libcrypto failed to add to a SHA-256");
}

static void sha256_end(EVP_MD_CTX *ctx, unsigned char digest[SHA256_LEN])
{
	if (!EVP_DigestFinal_ex(ctx, digest, NULL))
		die("libcrypto failed to finish a SHA-256");
	EVP_MD_CTX_free(ctx);
}

void sha256(const void *data, size_t len, unsigned char digest[SHA256_LEN])
{
	EVP_MD_CTX *ctx = sha256_begin();

	sha256_add(ctx, data, len);
	sha256_end(ctx, digest);
}

/* --- the conversation */

enum word { RECEIVED = 1, GO_ON, DONE };

static void tell(int control, __u64 what)
{
	if (send(control, &what, sizeof(what), MSG_NOSIGNAL) != sizeof(what))
		die_errno("cannot talk to the peer");
}

static __u64 hear(int control)
{
	__u64 what;
	ssize_t n = recv(control, &what, sizeof(what), 0);

	if (n < 0)
		die_errno("cannot listen to the peer");
	if (n != sizeof(what))
		die("the peer is gone");
	return what;
}

static void hear_word(int control, enum word word)
{
	__u64 what = hear(control);

	if (what != word)
		die("the peer said %llu instead of %d", (unsigned long long)what, word);
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static size_t message_len(const struct run *run, size_t offset)
{
	size_t left = run->len - offset;

	return left < run->size ? left : run->size;
}

static void produce_one(const struct run *run, struct side *side, int control, struct board *board,
			size_t offset)
{
	const struct mechanism *mech = run->mech;
	size_t len = message_len(run, offset);

	mech->prepare(side, len);
	memcpy(side->data, run->file + offset, len);
	/* Of the message before, or that the consumer is ready. */
	hear_word(control, DONE);

	__atomic_store_n(&board->start_ns, now_ns(), __ATOMIC_RELEASE);
	mech->send(side, len);

	hear_word(control, RECEIVED);
	if (mech->finish)
		mech->finish(side, len);
	tell(control, GO_ON);
}

static void produce(const struct run *run, struct side *side, int control, struct board *board)
{
	const struct mechanism *mech = run->mech;
	struct result *result = &board->result;
	size_t offset;

	side->peer = hear(control);
	if (mech->start)
		mech->start(side);

	produce_one(run, side, control, board, 0);
	side->copied = 0;
	side->copied_write = 0;
	for (offset = 0; offset < run->len; offset += run->size)
		produce_one(run, side, control, board, offset);
	hear_word(control, DONE);

	result->copied = side->copied + (__u64)run->len * mech->copies;
	result->copied_write = side->copied_write;
}

static void touch(const void *data, size_t len)
{
	size_t step = page_size();
	size_t offset;

	for (offset = 0; offset < len; offset += step)
		(void)__atomic_load_n((const unsigned char *)data + offset, __ATOMIC_RELAXED);
}

static __u64 faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Returns how many nanoseconds the timed part took. A hash of NULL is the rehearsal. */
static __u64 consume_one(const struct run *run, struct side *side, int control,
			 struct board *board, size_t offset, EVP_MD_CTX *hash)
{
	__u64 faults_before, faults_after, start_ns, end_ns;
	size_t len;

	faults_before = faults();
	len = run->mech->receive(side);
	if (len != message_len(run, offset))
		die("received %zu instead of %zu bytes", len, message_len(run, offset));
	touch(side->data, len);
	end_ns = now_ns();
	faults_after = faults();

	start_ns = __atomic_load_n(&board->start_ns, __ATOMIC_ACQUIRE);

	tell(control, RECEIVED);
	hear_word(control, GO_ON);
	if (hash) {
		sha256_add(hash, side->data, len);
		board->result.faults += faults_after - faults_before;
	}
	if (run->mech->release)
		run->mech->release(side, len);
	return end_ns - start_ns;
}

static int compare_ns(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return (x > y) - (x < y);
}

static void show_progress(const struct run *run, size_t offset)
{
	static __u64 last_ns;
	__u64 ns = now_ns();
	double fraction = (run->nth + (double)offset / run->len) / run->nruns;
	char size[HUMAN_LEN];

	if (!*clear_line || ns - last_ns < 100 * 1000 * 1000)
		return;
	last_ns = ns;
	fprintf(stderr, "%s%3.0f%%  %s, messages of %s", clear_line, 100 * fraction,
		run->mech->name, human(size, run->size));
}

static void consume(const struct run *run, struct side *side, int control, struct board *board)
{
	size_t n = 0, offset, messages = (run->len + run->size - 1) / run->size;
	EVP_MD_CTX *hash = sha256_begin();
	__u64 *ns = calloc(messages, sizeof(*ns));

	if (!ns)
		die_errno("calloc");
	tell(control, run->mech->start ? run->mech->start(side) : 0);
	tell(control, DONE);
	consume_one(run, side, control, board, 0, NULL);
	for (offset = 0; offset < run->len; offset += run->size) {
		show_progress(run, offset);
		tell(control, DONE);
		ns[n++] = consume_one(run, side, control, board, offset, hash);
	}
	sha256_end(hash, board->result.digest);
	qsort(ns, n, sizeof(*ns), compare_ns);
	board->result.ns = ns[n / 2];
	board->result.messages = n;
	free(ns);
	tell(control, DONE);
}

/* --- the processes */

/* Each on a CPU of its own when there are two, or the scheduler's choice would be measured too. */
static void choose_cpu(int which)
{
	cpu_set_t allowed, mine;
	int cpu, nth = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	CPU_ZERO(&mine);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && nth++ == which)
			CPU_SET(cpu, &mine);
	if (CPU_COUNT(&mine))
		sched_setaffinity(0, sizeof(mine), &mine);
}

static pid_t start(const struct run *run, int which, const int control[NROLES],
		   const int data[NROLES], struct board *board)
{
	struct side side = { .mech = run->mech, .size = run->size, .fd = data[which] };
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid)
		return pid;

	role = which == PRODUCER ? "producer: " : "consumer: ";
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		die_errno("PR_SET_PDEATHSIG");
	if (getppid() != parent)
		_exit(1);
	choose_cpu(which);
	/* So that each sees the end of the other. */
	close(control[!which]);
	close(data[!which]);
	(which == PRODUCER ? produce : consume)(run, &side, control[which], board);
	exit(0);
}

/* Returns whether both succeeded; when one has not, there is nothing left for the other to do. */
static bool reap(pid_t pid[NROLES])
{
	bool ok = true;
	int left, which, status;

	for (left = NROLES; left; left--) {
		pid_t done = wait(&status);

		if (done < 0)
			die_errno("wait");
		which = done == pid[PRODUCER] ? PRODUCER : CONSUMER;
		pid[which] = 0;
		if (!status)
			continue;
		if (ok && WIFSIGNALED(status))
			warn("the %s was killed by signal %d (%s)", role_name[which],
			     WTERMSIG(status), strsignal(WTERMSIG(status)));
		ok = false;
		if (pid[!which])
			kill(pid[!which], SIGKILL);
	}
	return ok;
}

bool run_once(const struct run *run, struct result *result)
{
	int control[NROLES], data[NROLES] = { -1, -1 }, ends[2];
	struct board *board;
	pid_t pid[NROLES];
	bool ok;

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		die_errno("mmap");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control))
		die_errno("socketpair");
	if (run->mech->connect) {
		run->mech->connect(ends, run->size);
		data[CONSUMER] = ends[0];
		data[PRODUCER] = ends[1];
	}

	fflush(NULL);
	pid[CONSUMER] = start(run, CONSUMER, control, data, board);
	if (pid[CONSUMER] < 0)
		die_errno("fork");
	pid[PRODUCER] = start(run, PRODUCER, control, data, board);
	if (pid[PRODUCER] < 0) {
		int fork_errno = errno;

		kill(pid[CONSUMER], SIGKILL);
		waitpid(pid[CONSUMER], NULL, 0);
		errno = fork_errno;
		die_errno("fork");
	}
	close(control[PRODUCER]);
	close(control[CONSUMER]);
	if (run->mech->connect) {
		close(ends[0]);
		close(ends[1]);
	}

	ok = reap(pid);
	*result = board->result;
	munmap(board, sizeof(*board));
	return ok;
}

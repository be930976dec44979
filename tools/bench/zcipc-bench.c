// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to hand a message over: zcipc beside everything that Linux has.
 *
 * Two processes send a message back and forth: fill it (a mark in each page), send it, receive it,
 * touch and verify every page, release it. Half of such a round is what a message costs, with all
 * that both sides do. What filling and touching costs on memory that is mapped is measured and
 * taken off; so is, but for per_message, what waking each other up with a futex costs.
 * Nanoseconds; where QEMU runs with -icount shift=0, that is instructions.
 */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base.h"
#include "clock.h"
#include "mechanism.h"
#include "oneway.h"
#include "transfers.h"

#define MAX_SAMPLES	300
#define MAX_PAIRS	64
#define WARM_UP		3

enum outcome { GOOD, BAD, NONE };

static bool icount;
static double clock_cost, wake;

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/*
 * What most samples are: the median. Where it is time that counts the tenth percentile: other load
 * of the machine can only add to it.
 */
static double typical(double *samples, int n)
{
	qsort(samples, n, sizeof(*samples), compare);
	if (!icount)
		return samples[n / 10];
	return n % 2 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
}

/* --- two processes */

/* Since @start, which, like this, has read the clock: that is nobody's time. */
static void spend(struct side *s, enum spent what, long long start)
{
	long long *spent = s->sh->spent[s->me], cost = clock_cost;
	long long t = now() - start;

	if (what == PAUSED) {
		spent[PAUSED] += t + cost;
	} else {
		spent[what] += t - cost;
		spent[PAUSED] += 2 * cost;
	}
}

static void fill(struct side *s)
{
	if (s->mech->take)
		s->mech->take(s);
	if (s->tx)
		stamp(s->tx, s->npages, s->seq, 1);
}

static void send_message(struct side *s)
{
	const struct mechanism *m = s->mech;
	long long start = 0;

	s->seq++;
	if (m->flags & UNTIMED)
		start = now();
	fill(s);
	if (m->flags & UNTIMED)
		spend(s, PAUSED, start);
	start = now();
	m->send(s);
	spend(s, CALL, start);
	if (m->written)
		stamp(s->tx, s->npages, ~s->seq, 100 / m->written);
	if (m->flags & NOTIFY)
		post(&s->sh->turn[!s->me], s->seq);
}

static void receive_message(struct side *s)
{
	const struct mechanism *m = s->mech;
	long long start;
	size_t bad;

	if (!(m->flags & ALONE))
		s->seq++;
	if (m->flags & NOTIFY)
		await(&s->sh->turn[s->me], s->seq);
	if (m->receive)
		m->receive(s);
	if (s->rx && !(m->flags & OWN_TOUCH)) {
		bad = touch(s->rx, s->npages, s->seq);
		if (bad)
			wrong("message %llu: %zu of %zu pages", s->seq, bad, s->npages);
	}
	if (m->release) {
		start = now();
		m->release(s);
		spend(s, RELEASE, start);
	}
}

/* How many rounds are worth it. */
static int nsamples(size_t npages)
{
	size_t n = (icount ? 8192 : 32768) / (npages ? npages : 1);
	size_t max = icount ? 50 : MAX_SAMPLES;

	return n > max ? max : n < 3 ? 3 : n;
}

static void play(struct side *s)
{
	double hop[MAX_SAMPLES], call[MAX_SAMPLES], release[MAX_SAMPLES];
	const bool alone = s->mech->flags & ALONE;
	long long (*spent)[NSPENT] = s->sh->spent;
	int i, n = nsamples(s->npages);

	memset(hop, 0, sizeof(hop));
	memset(call, 0, sizeof(call));
	memset(release, 0, sizeof(release));
	if (s->mech->start)
		s->mech->start(s);
	barrier(s->sh->barrier, s->me);
	for (i = -WARM_UP; i < n && s->me; i++) {
		receive_message(s);
		send_message(s);
	}
	for (i = -WARM_UP; i < n && !s->me; i++) {
		long long paused = spent[0][PAUSED] + spent[1][PAUSED];
		long long called = spent[0][CALL];
		long long released = spent[0][RELEASE] + spent[1][RELEASE];
		long long t = now();

		send_message(s);
		receive_message(s);
		t = now() - t - clock_cost;
		if (i < 0)
			continue;
		t -= spent[0][PAUSED] + spent[1][PAUSED] - paused;
		released = spent[0][RELEASE] + spent[1][RELEASE] - released;
		hop[i] = alone ? t : t / 2.0;
		release[i] = alone ? released : released / 2.0;
		call[i] = spent[0][CALL] - called;
	}
	/* Nobody goes while the other one may need him. */
	barrier(s->sh->barrier, s->me);
	if (s->me)
		return;
	if (s->mech->finish)
		s->mech->finish(s);
	for (i = 0; i < n; i++)
		s->sh->mean += hop[i] / n;
	s->sh->hop = typical(hop, n);
	s->sh->call = typical(call, n);
	s->sh->release = typical(release, n);
}

/* The @n-th of the CPUs that there are for us, if there are so many. */
static void pin(int n)
{
	cpu_set_t all, one;
	int cpu;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	n %= CPU_COUNT(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || n--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/*
 * As many mappings as a program of some size has. With few of them it is a matter of luck whether
 * one more needs another node in the kernel's tree of mappings, each time it is made.
 */
static void inhabit(void)
{
	int i;

	for (i = 0; i < 24; i++)
		if (mmap(NULL, PAGE, i & 1 ? PROT_NONE : PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0) == MAP_FAILED)
			die("mmap");
}

static pid_t start_side(struct side *s, int pair)
{
	/*
	 * Who wakes somebody up is not preempted, but goes on until he sleeps himself. Otherwise it
	 * would depend on how long each has run lately, and so would the cost of waking up.
	 */
	const struct sched_param param = { 0 };
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sched_setscheduler(0, SCHED_BATCH, &param);
	pin(2 * pair + s->me);
	inhabit();
	play(s);
	_exit(0);
}

/* Plays, @npairs times at once. */
static enum outcome run(const struct mechanism *m, size_t len, int npairs, struct shared *result)
{
	pid_t pids[2 * MAX_PAIRS];
	struct shared *sh[MAX_PAIRS];
	int i, n = 0, status;
	enum outcome outcome = GOOD;

	running = m->name;
	running_len = len;
	fflush(NULL);
	for (i = 0; i < npairs; i++) {
		struct side s = {
			.mech = m, .len = len, .npages = m->flags & EMPTY ? 0 : len / PAGE,
			.fd = { -1, -1 }, .wfd = { -1, -1 },
		};
		int j;

		sh[i] = (struct shared *)shared_memory(sizeof(*sh[i]));
		s.sh = sh[i];
		if (m->flags & ALONE)
			s.sh->barrier[1] = ~0U;
		if (m->connect)
			m->connect(&s);
		for (s.me = 0; s.me < (m->flags & ALONE ? 1 : 2); s.me++)
			pids[n++] = start_side(&s, i);
		for (j = 0; j < 2; j++) {
			close(s.fd[j]);
			close(s.wfd[j]);
		}
		if (s.area)
			munmap(s.area, 2 * len);
	}
	for (i = n; i; i--) {
		if (wait(&status) < 0)
			die("wait");
		if (status && outcome == GOOD) {
			int j;

			outcome = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED ? NONE : BAD;
			if (WIFSIGNALED(status))
				fprintf(stderr, "# zcipc-bench: %s: killed by signal %d\n",
					m->name, WTERMSIG(status));
			for (j = 0; j < n; j++)
				kill(pids[j], SIGKILL);
		}
	}
	for (i = 0; i < npairs; i++) {
		result[i] = *sh[i];
		munmap(sh[i], sizeof(*sh[i]));
	}
	running = "end";
	running_len = 0;
	return outcome;
}

/* --- figures */

static void row(const char *name, size_t size, const char *metric, double value, const char *unit)
{
	printf("%s,%zu,%s,%.1f,%s\n", name, size, metric, value,
	       unit ? unit : icount ? "instructions" : "ns");
	fflush(stdout);
}

/* What filling and touching take where everything is mapped. */
static void own_cost(size_t npages, double *filling, double *touching)
{
	char *p = private_memory(npages * PAGE, false);
	int i, n = nsamples(npages);
	double samples[2][MAX_SAMPLES];
	long long start;

	stamp(p, npages, 0, 1);
	for (i = 0; i < n; i++) {
		start = now();
		stamp(p, npages, i, 1);
		samples[0][i] = now() - start - clock_cost;
		start = now();
		if (touch(p, npages, i))
			wrong("memory does not keep what is in it");
		samples[1][i] = now() - start - clock_cost;
	}
	munmap(p, npages * PAGE);
	*filling = typical(samples[0], n);
	*touching = typical(samples[1], n);
}

/* One message, with the wake-up. */
static double per_message(const struct mechanism *m, size_t len, const struct shared *r)
{
	static double filling, touching;
	static size_t last;

	if (m->flags & EMPTY)
		return r->hop;
	if (last != len)
		own_cost(len / PAGE, &filling, &touching);
	last = len;
	return r->hop - touching - (m->flags & UNTIMED ? 0 : filling) - filling * m->written / 100;
}

static void figures(const struct mechanism *m, size_t len, const struct shared *r)
{
	const double npages = len / PAGE, message = per_message(m, len, r);
	const double cost = message - (m->flags & ALONE ? 0 : wake);
	const double hop = cost - (m->flags & SHORT ? r->release : 0);

	if (m->flags & EMPTY) {
		row(m->name, 0, "per_message", message, NULL);
		return;
	}
	row(m->name, len, "per_message", message, NULL);
	if (m->flags & ENTRIES) {
		row(m->name, len, "per_entry", r->call / npages, NULL);
		row(m->name, len, "received_per_entry", cost / npages, NULL);
		return;
	}
	row(m->name, len, "per_page", hop / npages, NULL);
	if (len == PAGE && m->flags & POLLED)
		row(m->flags & HUGE ? "zcipc-move-2m" : m->flags & FAST ? "zcipc-move-fast" :
		    "zcipc-move-4k", len, "fixed_polled", hop, NULL);
	else if (len == PAGE)
		row(m->name, len, "fixed", m->flags & WITH_WAKE ? message : hop, NULL);
	if (m->flags & HUGE && len >= HUGE_PAGE)
		row(m->name, len, "per_2m_page", hop / (len / HUGE_PAGE), NULL);
	if (m->flags & SNAPSHOT)
		row(m->name, len, "call_per_page", r->call / npages, NULL);
	if (m->flags & SHORT)
		row(m->name, len, "release_per_page", r->release / npages, NULL);
}

static size_t available(void)
{
	char line[128];
	size_t kib = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %zu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

static bool usable(const struct mechanism *m)
{
	const char *missing = m->missing ? m->missing(m) : NULL;

	if (missing)
		printf("# SKIP %s: %s\n", m->name, missing);
	return !missing;
}

static bool fits(const struct mechanism *m, size_t len)
{
	const size_t min = m->flags & HUGE && !m->min ? HUGE_PAGE : m->min;

	return len >= min && (!m->max || len <= m->max);
}

static const struct mechanism *find(const char *name)
{
	const struct mechanism *m;

	for (m = zcipcs; m->name; m++)
		if (!strcmp(m->name, name))
			return m;
	for (m = peers; m->name; m++)
		if (!strcmp(m->name, name))
			return m;
	return NULL;
}

/*
 * The least of some: it depends on where the scheduler's clock is, and 400 instructions more are
 * not to be taken off from others.
 */
static bool measure_wake(void)
{
	struct shared r;
	int i;

	for (i = 0; i < 5; i++) {
		if (run(find("futex"), PAGE, 1, &r) != GOOD)
			return false;
		if (!i || r.hop < wake)
			wake = r.hop;
	}
	return true;
}

static bool measure(const struct mechanism *m, size_t first, size_t last)
{
	bool ok = true;
	struct shared r;
	size_t len;

	if (!usable(m))
		return true;
	/* That of time depends on what else the machine does. */
	if (!icount && !measure_wake())
		return false;
	for (len = first; len <= last; len *= 4) {
		if (!fits(m, len))
			continue;
		/* Each side's source and destination, and what is between them. */
		if (6 * len > available()) {
			printf("# SKIP %s: %zu MiB of memory would be needed for %zu MiB\n",
			       m->name, 6 * len >> 20, len >> 20);
			continue;
		}
		switch (run(m, len, 1, &r)) {
		case GOOD:
			figures(m, len, &r);
			break;
		case BAD:
			ok = false;
			break;
		case NONE:
			return ok;
		}
	}
	return ok;
}

/* Streams: what a message costs from end to end, and how much of that is not the program's own. */
static bool measure_streams(const char *only, size_t first, size_t last)
{
	bool ok = true;
	double cost;
	size_t len;
	int i;

	for (i = 0; stream_name(i); i++) {
		const char *name = stream_name(i), *missing;

		if (only && strcmp(only, name))
			continue;
		missing = stream_missing(i);
		if (missing)
			printf("# SKIP %s: %s\n", name, missing);
		for (len = first; !missing && len <= last; len *= 16) {
			cost = stream_cost(i, len);
			ok &= cost >= 0;
			if (cost < 0)
				continue;
			row(name, len, "end_to_end", cost, NULL);
			row(name, len, "beyond_own", cost - stream_own(len), NULL);
		}
	}
	return ok;
}

/* What frames take beside themselves, in a process of its own, so that none are left. */
static bool measure_memory(void)
{
	int status;
	pid_t pid;

	if (!usable(find("zcipc-move-4k")))
		return true;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		row("zcipc-move-4k", PAGE, "frame_overhead", frame_overhead(false), "bytes");
		row("zcipc-move-2m", PAGE, "frame_overhead", frame_overhead(true), "bytes");
		exit(0);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

/* What becomes of it when there are many others. */
static bool measure_growth(void)
{
	static const char * const names[] = {
		"zcipc-move-4k", "zcipc-move-2m", "zcipc-move-fast", "zcipc-share", "zcipc-copy-0",
		"zcipc-stream-4k", "zcipc-batch-256",
	};
	static const struct {
		const char *what;
		long *load;
		long values[4];
	} loads[] = {
		{ "endpoints", &load.endpoints, { 1, 10, 100, 1000 } },
		{ "regions", &load.regions, { 1, 100, 10000, 100000 } },
		{ "queues", &load.queues, { 1, 10, 100 } },
	};
	size_t i, j, k;
	bool ok = true;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct mechanism *m = find(names[i]);
		const size_t len = m->min ? m->min : PAGE;

		if (!usable(m))
			continue;
		for (j = 0; j < sizeof(loads) / sizeof(loads[0]); j++) {
			for (k = 0; k < 4 && loads[j].values[k]; k++) {
				char metric[64];
				enum outcome outcome;
				struct shared r;

				*loads[j].load = loads[j].values[k];
				sprintf(metric, "%s_%ld", loads[j].what, loads[j].values[k]);
				outcome = run(m, len, 1, &r);
				if (outcome == GOOD)
					row(m->name, len, metric, per_message(m, len, &r), NULL);
				ok &= outcome != BAD;
			}
			*loads[j].load = 0;
		}
	}
	return ok;
}

/* How many messages in a second when every two CPUs have a pair of processes. */
static bool measure_scaling(void)
{
	static const char * const names[] = {
		"zcipc-move-4k", "zcipc-move-fast", "process-vm-readv", "memfd-kept",
		"ring-1copy",
	};
	static const size_t sizes[] = { 4 << 10, 64 << 10, 1 << 20 };
	int ncpus = sysconf(_SC_NPROCESSORS_ONLN);
	int npairs = ncpus < 2 ? 1 : ncpus / 2;
	struct shared r[MAX_PAIRS];
	bool ok = true;
	size_t i, j;

	if (npairs > MAX_PAIRS)
		npairs = MAX_PAIRS;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct mechanism *m = find(names[i]);

		for (j = 0; j < sizeof(sizes) / sizeof(sizes[0]) && usable(m); j++) {
			double rate = 0;
			char metric[64];
			int pair;

			if (run(m, sizes[j], npairs, r) != GOOD) {
				ok = false;
				continue;
			}
			for (pair = 0; pair < npairs; pair++)
				rate += 1e9 / r[pair].mean;
			sprintf(metric, "rate_%d_cpus", ncpus);
			row(m->name, sizes[j], metric, rate, "messages/s");
		}
	}
	return ok;
}

/* Sleeping takes no time where instructions are counted. */
static void wait_until_idle(void)
{
	double per_insn;

	sleep(30);
	per_insn = settle();
	if (per_insn > 0.99 && per_insn < 1.01)
		return;
	errno = ETIMEDOUT;
	die("the guest is never idle, or its nanoseconds are no instructions");
}

static void calibrate(void)
{
	double samples[101];
	int i;

	for (i = 0; i < 101; i++) {
		long long start = now();

		samples[i] = now() - start;
	}
	clock_cost = typical(samples, 101);
	if (!measure_wake())
		exit(1);
	printf("# reading the clock: %.0f, waking up with a futex: %.0f\n", clock_cost, wake);
}

static void list(const struct mechanism *m)
{
	for (; m->name; m++)
		printf("%s\n", m->name);
}

static void help(FILE *f)
{
	fputs("usage: zcipc-bench [OPTION]... [MECHANISM]...\n\n"
	      "  --min SIZE     the shortest message (4K)\n"
	      "  --max SIZE     the longest (256M); each is four times the one before\n"
	      "  --growth       cost with many endpoints, regions, and full queues\n"
	      "  --streams      one way and round trip, from end to end, up to 16M\n"
	      "  --scaling      messages in a second, with a pair of processes for every 2 CPUs\n"
	      "  --icount       a nanosecond is an instruction: wait until the guest is idle\n"
	      "  --list         the names of all mechanisms\n\n"
	      "Measures the mechanisms named (all), or what --growth and --scaling say, and prints\n"
	      "mechanism,size_bytes,metric,value,unit. Lines with a # are remarks, such as why\n"
	      "something is skipped. Metrics:\n\n"
	      "  per_message    fill, send, receive, touch, release; all that both sides do, and\n"
	      "                 the wake-up, but not the filling and touching on mapped memory\n"
	      "  per_page       the same without the wake-up, for 4 KiB; of COPY without release\n"
	      "  per_2m_page    the same for 2 MiB\n"
	      "  fixed          what one page costs; of zcipc-share-*: with the wake-up\n"
	      "  call_per_page  until the call that takes the snapshot returns\n"
	      "  release_per_page  what it takes to be done with the snapshot\n"
	      "  per_entry      of TRANSFER_BATCH; received_per_entry: with RECV and touching\n"
	      "  end_to_end     of a stream: a message, with all that both sides do\n"
	      "  beyond_own     the same without filling and reading it where it is mapped\n"
	      "  frame_overhead  bytes for each 4 KiB of a region beside themselves\n",
	      f);
}

static size_t size_of(const char *arg)
{
	static const char units[] = "KMG";
	const char *unit;
	char *end;
	size_t size = strtoul(arg, &end, 0);

	for (unit = units; *unit && *end && *unit != *end; unit++)
		;
	if (*end && *unit) {
		size <<= 10 * (unit - units + 1);
		end++;
	}
	if (*end || !size || size % PAGE || size > (4UL << 30)) {
		fprintf(stderr, "zcipc-bench: no size of whole pages up to 4G: %s\n", arg);
		exit(2);
	}
	return size;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "min", required_argument, NULL, 'm' }, { "max", required_argument, NULL, 'M' },
		{ "growth", no_argument, NULL, 'g' }, { "scaling", no_argument, NULL, 's' },
		{ "streams", no_argument, NULL, 'S' },
		{ "icount", no_argument, NULL, 'i' }, { "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	static const struct rlimit nofile = { 4096, 4096 };
	static const struct rlimit memlock = { RLIM_INFINITY, RLIM_INFINITY };
	size_t min = PAGE, max = 256UL << 20;
	bool growth = false, scaling = false, streams = false, ok = true;
	const struct mechanism *m;
	int c, i;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'm':
			min = size_of(optarg);
			break;
		case 'M':
			max = size_of(optarg);
			break;
		case 'g':
			growth = true;
			break;
		case 's':
			scaling = true;
			break;
		case 'S':
			streams = true;
			break;
		case 'i':
			icount = true;
			break;
		case 'l':
			list(zcipcs);
			list(peers);
			return 0;
		case 'h':
			help(stdout);
			return 0;
		default:
			help(stderr);
			return 2;
		}
	}
	for (i = optind; i < argc; i++) {
		if (!streams && !find(argv[i])) {
			fprintf(stderr, "zcipc-bench: no such mechanism (--list): %s\n", argv[i]);
			return 2;
		}
	}
	if (sysconf(_SC_PAGESIZE) != PAGE) {
		errno = EOPNOTSUPP;
		die("pages are not of 4 KiB");
	}
	/* As far as one may. */
	setrlimit(RLIMIT_NOFILE, &nofile);
	setrlimit(RLIMIT_MEMLOCK, &memlock);
	if (icount)
		wait_until_idle();
	calibrate();
	if (streams) {
		max = max < 16UL << 20 ? max : 16UL << 20;
		for (i = optind; i < argc; i++)
			ok &= measure_streams(argv[i], min, max);
		if (optind == argc)
			ok &= measure_streams(NULL, min, max);
		return !ok;
	}
	for (i = optind; i < argc; i++)
		ok &= measure(find(argv[i]), min, max);
	if (optind == argc && !growth && !scaling) {
		ok &= measure_memory();
		for (m = zcipcs; m->name; m++)
			ok &= measure(m, min, max);
		for (m = peers; m->name; m++)
			ok &= measure(m, min, max);
	}
	if (growth)
		ok &= measure_growth();
	if (scaling)
		ok &= measure_scaling();
	return !ok;
}

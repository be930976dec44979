/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ends tests that hang, and no others.
 *
 * The harness gives each test so many seconds. How long a test takes says more of the machine than
 * of the module, so here a test is ended only when it gets nowhere: when none of its assertions was
 * evaluated for HANG_SECONDS. What a test waits for is a condition, or a count, never a time.
 */
#ifndef __SELFTEST_ZCIPC_WATCH
#define __SELFTEST_ZCIPC_WATCH

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

/* No test is ended by the harness's own alarm(), which would end those that are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	0

/* Without an assertion for so long, a test hangs. ZCIPC_HANG is another number. */
#define HANG_SECONDS		420
/* So long does a process take to die at the most, if it can. Or as long as the other limit. */
#define DIE_SECONDS		60
/* Whoever reads the output hears this often of a test that takes long. */
#define TELL_SECONDS		120
/* The status of a program that could not end its test: the kernel is not to be used any more. */
#define HANG_STATUS		9

#ifndef READ_ONCE
#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
#endif

/* Shared with all children. */
static volatile unsigned long *watch_steps;

/* The test got somewhere. Its assertions say so, and loops that have none. */
static inline void progress(void)
{
	++*watch_steps;
}

/* Every assertion ends with this, which is the only place to learn of one that holds. */
#undef OPTIONAL_HANDLER
#define OPTIONAL_HANDLER(_assert)					\
	for (progress(); _metadata->trigger; _metadata->trigger =	\
			__bail(_assert, _metadata))

/* With write(): the main thread may have forked, or be in stdio, at any moment. */
static void watch_say(const char *name, const char *what, unsigned int seconds)
{
	char text[200];
	int len = snprintf(text, sizeof(text), "# %s: %s %u s\n", name, what, seconds);

	if (write(STDOUT_FILENO, text, len) < 0)
		_exit(HANG_STATUS);
}

/*
 * Seconds are counted one by one as they are slept: a machine that stands still for a while, or has
 * other things to do, counts fewer.
 */
static void *watch_run(void *arg)
{
	const char *env = getenv("ZCIPC_HANG");
	const unsigned int limit = env ? atoi(env) : HANG_SECONDS;
	const unsigned int die = limit < DIE_SECONDS ? limit : DIE_SECONDS;
	const struct timespec second = { .tv_sec = 1 };
	unsigned int still = 0, all = 0, dying = 0;
	unsigned long steps = 0;
	pid_t pid = 0, killed = 0;

	while (!nanosleep(&second, NULL)) {
		struct __test_metadata *t = READ_ONCE(__active_test);

		if (!t || t->pid != pid || *watch_steps != steps) {
			all = t && t->pid == pid ? all + 1 : 0;
			pid = t ? t->pid : 0;
			steps = *watch_steps;
			still = 0;
		} else {
			still++;
			all++;
		}
		/* The harness does not wait for all processes of a test: one may be stuck. */
		if (!killed || kill(-killed, 0)) {
			killed = 0;
		} else if (dying++ == die) {
			watch_say("the test before", "cannot be ended for", die);
			_exit(HANG_STATUS);
		}
		if (!pid)
			continue;
		if (still == limit) {
			watch_say(t->name, "hangs: it got nowhere for", limit);
			/* Whoever can say more may do so. Others ignore this signal. */
			kill(pid, SIGURG);
		} else if (still == limit + 5) {
			t->timed_out = true;
			killed = pid;
			dying = 0;
			kill(-pid, SIGKILL);
		} else if (all && !(all % TELL_SECONDS)) {
			watch_say(t->name, "goes on, since", all);
		}
	}
	/* No signal comes here: there is no clock. */
	perror("# no watch over hangs");
	_exit(KSFT_FAIL);
	return arg;
}

/* Before any test is run, so that children inherit what they write to. */
static __attribute__((constructor)) void watch_init(void)
{
	pthread_t thread;

	watch_steps = mmap(NULL, sizeof(*watch_steps), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (watch_steps == MAP_FAILED || pthread_create(&thread, NULL, watch_run, NULL)) {
		perror("# no watch over hangs");
		_exit(KSFT_FAIL);
	}
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

#endif

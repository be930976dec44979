// SPDX-License-Identifier: GPL-2.0-only
#include "watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

/* Without an assertion for so long, a test hangs. ZCIPC_HANG is another number. */
#define HANG_SECONDS		420
/* So long does a process take to die at the most, if it can. Or as long as the other limit. */
#define DIE_SECONDS		60
/* Whoever reads the output hears this often of a test that takes long. */
#define TELL_SECONDS		120
/* The status of a program that could not end its test: the kernel is not to be used any more. */
#define HANG_STATUS		9

volatile unsigned long *watch_steps;

static struct watched (*watched_now)(void);
static void (*watched_timed_out)(pid_t pid);

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
		struct watched t = watched_now();

		if (!t.pid || t.pid != pid || *watch_steps != steps) {
			all = t.pid && t.pid == pid ? all + 1 : 0;
			pid = t.pid;
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
			watch_say(t.name, "hangs: it got nowhere for", limit);
			/* Whoever can say more may do so. Others ignore this signal. */
			kill(pid, SIGURG);
		} else if (still == limit + 5) {
			watched_timed_out(pid);
			killed = pid;
			dying = 0;
			kill(-pid, SIGKILL);
		} else if (all && !(all % TELL_SECONDS)) {
			watch_say(t.name, "goes on, since", all);
		}
	}
	/* No signal comes here: there is no clock. */
	perror("# no watch over hangs");
	_exit(KSFT_FAIL);
	return arg;
}

/* Before any test is run, so that children inherit what they write to. */
void watch_start(struct watched (*now)(void), void (*timed_out)(pid_t pid))
{
	pthread_t thread;

	watched_now = now;
	watched_timed_out = timed_out;
	watch_steps = mmap(NULL, sizeof(*watch_steps), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (watch_steps == MAP_FAILED || pthread_create(&thread, NULL, watch_run, NULL)) {
		perror("# no watch over hangs");
		_exit(KSFT_FAIL);
	}
}

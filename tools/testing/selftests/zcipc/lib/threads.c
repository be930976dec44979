// SPDX-License-Identifier: GPL-2.0-only
#include "threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Iterations of a test that looks for a race. */
unsigned int loops(unsigned int n)
{
	const char *factor = getenv("ZCIPC_LOOPS");

	return n * (factor ? atoi(factor) : 1);
}

void msleep(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* What /proc says of a thread of this process. Empty if there is no such file. */
static void thread_file(pid_t tid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = 0;
}

/* 0: it has not begun yet. */
char thread_state(pid_t tid)
{
	char text[512] = "";
	const char *p;

	if (tid)
		thread_file(tid, "stat", text, sizeof(text));
	p = strrchr(text, ')');
	return p ? p[2] : 0;
}

/*
 * Is it in one of these states, and on no CPU? Who is about to sleep has the state already, and may
 * find that there is no need to; for that it can be seen for long, if other tasks have the CPU.
 */
bool thread_is_off_cpu(pid_t tid, const char *states)
{
	char state = thread_state(tid), text[128] = "";

	if (!state || !strchr(states, state))
		return false;
	thread_file(tid, "syscall", text, sizeof(text));
	return strncmp(text, "running", strlen("running")) && thread_state(tid) == state;
}

/* It is in a call, or somewhere else, and sleeps. */
bool thread_sleeps(pid_t tid)
{
	return thread_is_off_cpu(tid, "S");
}

/* So does one that no signal wakes up, as it waits for a lock. */
bool thread_waits(pid_t tid)
{
	return thread_is_off_cpu(tid, "SD");
}

static void *job_thread(void *arg)
{
	struct job *j = arg;

	j->tid = gettid();
	j->rc = j->fn(j);
	j->err = j->rc ? errno : 0;
	j->done = true;
	return NULL;
}

void job_start(struct job *j)
{
	j->tid = 0;
	j->done = false;
	pthread_create(&j->thread, NULL, job_thread, j);
}

void job_join(struct job *j)
{
	pthread_join(j->thread, NULL);
}

// SPDX-License-Identifier: GPL-2.0-only
#include "threads.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

/* Iterations of a test that looks for a race. */
unsigned int loops(unsigned int n)
{
	const char *factor = getenv("ZCIPC_LOOPS");

	return n * (factor ? atoi(factor) : 1);
}

/* Rounds on a kernel built for debugging, which is slower by an order of magnitude. */
unsigned int fewer(unsigned int n)
{
	return access("/proc/lockdep", F_OK) ? n : (n + 3) / 4;
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
static char thread_state(pid_t tid)
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
static bool thread_is_off_cpu(pid_t tid, const char *states)
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

bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

void on_signal(int sig)
{
	(void)sig;
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

int job_send(struct job *j)
{
	struct zcipc_transfer t = transfer_cmd(j->to, j->type, j->cap, 0, j->n,
					       j->type == ZCIPC_SHARE ? j->rights : 0);

	t.flags |= j->flags;
	return zc_transfer(j->ep, &t);
}

int job_grant(struct job *j)
{
	return zc_grant_rights(j->ep, j->to, j->cap, ZCIPC_RIGHT_READ);
}

int job_unmap(struct job *j)
{
	return zc_unmap(j->ep, j->p);
}

int job_drop(struct job *j)
{
	return zc_drop(j->ep, j->cap);
}

static void *adder_run(void *arg)
{
	struct adder *adder = arg;
	size_t i;

	while (!adder->stop) {
		for (i = 0; i < adder->npages; i++)
			++*((volatile __u64 *)(adder->p + i * psize) + adder->word);
		adder->n++;
		adder->started = true;
	}
	return NULL;
}

int adder_start(struct adder *adder, char *p, size_t npages, size_t word)
{
	*adder = (struct adder){ .p = p, .npages = npages, .word = word };
	return pthread_create(&adder->thread, NULL, adder_run, adder);
}

void adder_stop(struct adder *adder)
{
	wait_until(adder->started);
	adder->stop = true;
	pthread_join(adder->thread, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads, what they do, and waiting for it.
 */
#ifndef __SELFTEST_ZCIPC_THREADS
#define __SELFTEST_ZCIPC_THREADS

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "calls.h"

unsigned int loops(unsigned int n);
unsigned int fewer(unsigned int n);
void msleep(unsigned int ms);

/* So often is a condition looked at that has to come true: in vain only where something hangs. */
#define WAIT_TRIES	20000

#define wait_until(condition)						\
({									\
	int __tries;							\
									\
	for (__tries = 0; __tries < WAIT_TRIES && !(condition); __tries++) \
		msleep(5);						\
	__tries < WAIT_TRIES;						\
})

/* What a thread of this process is doing. */
bool thread_sleeps(pid_t tid);
bool thread_waits(pid_t tid);
bool run_on(int cpu);

/* A handler, for signals that are to interrupt something. */
void on_signal(int sig);

/**
 * struct job - a call by a thread of its own
 * @thread: the thread
 * @fn: the call
 * @ep: whose
 * @to: the peer
 * @cap: what it is about
 * @type: of a transfer
 * @rights: of one that shares
 * @flags: of the call
 * @p: memory: where, or what came of it
 * @n: a number: of pages, or what came of it
 * @m: a message
 * @tid: the thread's id, once it runs
 * @done: it is over
 * @rc: what the call returned
 * @err: errno, if that is not 0
 */
struct job {
	pthread_t thread;
	int (*fn)(struct job *j);
	struct ep *ep;
	struct ep *to;
	__u64 cap;
	__u32 type;
	__u32 rights;
	__u32 flags;
	char *p;
	__u64 n;
	struct zcipc_recv m;
	volatile pid_t tid;
	volatile bool done;
	int rc;
	int err;
};

void job_start(struct job *j);
void job_join(struct job *j);

/* What one does, for @fn. */
int job_send(struct job *j);
int job_grant(struct job *j);
int job_unmap(struct job *j);
int job_drop(struct job *j);

/* Adds one to some words of each page, again and again. */
struct adder {
	pthread_t thread;
	char *p;
	size_t npages;
	size_t word;
	volatile bool stop;
	volatile bool started;
	__u64 n;
};

int adder_start(struct adder *adder, char *p, size_t npages, size_t word);
void adder_stop(struct adder *adder);

#endif

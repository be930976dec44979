// SPDX-License-Identifier: GPL-2.0-only
#include "params.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "threads.h"

#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"

/* As it was when the program began. */
static long numa_balancing;

__attribute__((constructor)) static void numa_balancing_init(void)
{
	numa_balancing = file_number(NUMA_BALANCING, NULL);
}

bool points_exist(void)
{
	return !access(POINT_PARAMETER "point", W_OK);
}

void file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "# %s: %s\n", path, strerror(errno));
	close(fd);
}

void number_write(const char *path, long n)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", n);
	file_write(path, text);
}

/* The first number in a file, or after a word in it. -1: there is none. */
long file_number(const char *path, const char *word)
{
	char text[8192] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *p = text;

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		p = NULL;
	close(fd);
	if (p && word) {
		p = strstr(text, word);
		p = p ? p + strlen(word) : NULL;
	}
	return p ? strtol(p, NULL, 10) : -1;
}

/*
 * Whoever comes to the point from now on sleeps there for so long. What follows may come before
 * that is over, or not, and must be right either way.
 */
void point_set(const char *name, unsigned int ms)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", ms);
	file_write(POINT_PARAMETER "delay_ms", text);
	file_write(POINT_PARAMETER "point", *name ? name : "\n");
}

/*
 * Whoever comes to the point from now on waits there. Those who did so before go on. Who waits may
 * hold the mmap_lock, and then a fault of the test's own would wait for ever. NUMA balancing makes
 * faults at any time, so it is off meanwhile.
 */
void point_stop(const char *name)
{
	number_write(NUMA_BALANCING, 0);
	point_set(name, 0);
}

void point_go(void)
{
	point_set("", 0);
	number_write(NUMA_BALANCING, numa_balancing);
}

bool point_reached_by(long n)
{
	return wait_until(file_number(POINT_PARAMETER "hits", NULL) >= n);
}

bool point_reached(void)
{
	return point_reached_by(1);
}

/* Pages of regions that a user is charged for. */
__u64 owned(const struct zcipc_stats *stats)
{
	return stats->user_pages - stats->user_overhead;
}

void quota_set(long mib)
{
	number_write(QUOTA, mib);
}

void ksm_start(struct ksm_settings *old, long scan)
{
	old->run = file_number(KSM "run", NULL);
	old->scan = file_number(KSM "pages_to_scan", NULL);
	old->sleep = file_number(KSM "sleep_millisecs", NULL);
	if (old->run < 0)
		return;
	number_write(KSM "pages_to_scan", scan);
	number_write(KSM "sleep_millisecs", 5);
	number_write(KSM "run", 1);
}

/* What has been merged is so no longer. */
void ksm_end(const struct ksm_settings *old)
{
	if (old->run < 0)
		return;
	number_write(KSM "run", 2);
	number_write(KSM "run", old->run);
	number_write(KSM "pages_to_scan", old->scan);
	number_write(KSM "sleep_millisecs", old->sleep);
}

/* From so many pages on by carrying PTEs over, below by unmapping and mapping. */
void carry_set(const char *npages)
{
	file_write(CARRY, npages);
}

/* A region's memory is huge frames from so many pages of each on; NULL: if it is as much as one. */
void huge_set(const char *npages)
{
	if (npages)
		file_write(HUGE_MIN, npages);
	else
		number_write(HUGE_MIN, huge_pages);
}

void mechanisms_set(bool on)
{
	file_write(SHORT_MOVES, on ? "Y" : "N");
	file_write(HUGE_IMPORT, on ? "Y" : "N");
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What all other parts of the demo call. Calls none of them.
 */
#include <unistd.h>

#include "base.h"

const char *clear_line = "";
const char *role = "";

size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

size_t page_align(size_t len)
{
	return (len + page_size() - 1) & ~(page_size() - 1);
}

char *human(char buf[HUMAN_LEN], __u64 bytes)
{
	static const char * const unit[] = { " B", " KiB", " MiB", " GiB" };
	unsigned int i = 0;
	double n = bytes;

	for (; n >= 1024 && i < 3; i++)
		n /= 1024;
	snprintf(buf, HUMAN_LEN, "%.*f%s", n != (__u64)n, n, bytes ? unit[i] : "");
	return buf;
}

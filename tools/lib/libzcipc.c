// SPDX-License-Identifier: GPL-2.0
/*
 * How an endpoint begins and ends. What is one call is in the header.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libzcipc.h"

static int map_window(struct zcipc_endpoint *e, size_t len)
{
	if (!len)
		return 0;
	e->window = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, 0);
	if (e->window == MAP_FAILED)
		return -1;
	e->window_len = len;
	return 0;
}

int zcipc_open(struct zcipc_endpoint *e, size_t window_len, int flags)
{
	struct zcipc_endpoint opened = { .fd = open(ZCIPC_DEVICE, O_RDWR | O_CLOEXEC | flags) };
	struct zcipc_info info = { .size = sizeof(info) };

	if (opened.fd < 0)
		return -1;
	if (ioctl(opened.fd, ZCIPC_IOC_INFO, &info))
		goto fail;
	if (info.abi != ZCIPC_ABI_VERSION) {
		errno = EPROTONOSUPPORT;
		goto fail;
	}
	if (map_window(&opened, window_len))
		goto fail;
	opened.id = info.endpoint;
	opened.features = info.features;
	*e = opened;
	return 0;
fail:
	zcipc_close(&opened);
	return -1;
}

void zcipc_close(struct zcipc_endpoint *e)
{
	int error = errno;

	if (e->window_len)
		munmap(e->window, e->window_len);
	close(e->fd);
	errno = error;
}

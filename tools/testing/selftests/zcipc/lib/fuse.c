// SPDX-License-Identifier: GPL-2.0-only
#include "fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Room for the headers, too. */
#define STALLED_BUFFER	(STALLED_MAX + 4096)

static char stalled_request[STALLED_BUFFER];
static char stalled_answer[STALLED_BUFFER];

/* Does somebody wait? */
bool stalled_waits(const struct stalled *f, int ms)
{
	struct pollfd pfd = { .fd = f->dev, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1 && pfd.revents & POLLIN;
}

/* Answers one request. Returns its opcode, 0 if none came, -1 if that failed. */
int fuse_serve(struct stalled *f, int ms)
{
	const struct fuse_in_header *in = (void *)stalled_request;
	const void *arg = in + 1;
	struct fuse_out_header *out = (void *)stalled_answer;
	void *result = out + 1;
	size_t len = 0;
	int error = 0;

	if (!stalled_waits(f, ms))
		return 0;
	if (read(f->dev, stalled_request, sizeof(stalled_request)) < 0)
		return -1;
	memset(stalled_answer, 0, 256);
	switch (in->opcode) {
	case FUSE_INIT: {
		const struct fuse_init_in *init = arg;
		struct fuse_init_out *o = result;

		o->major = FUSE_KERNEL_VERSION;
		o->minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor :
								     FUSE_KERNEL_MINOR_VERSION;
		o->max_readahead = init->max_readahead;
		o->max_write = STALLED_MAX;
		len = sizeof(*o);
		break;
	}
	case FUSE_OPEN:
		/* Who closes it is not to wait. */
		((struct fuse_open_out *)result)->open_flags = f->open_flags | FOPEN_NOFLUSH;
		len = sizeof(struct fuse_open_out);
		break;
	case FUSE_GETATTR: {
		struct fuse_attr_out *o = result;

		o->attr_valid = 1000000;
		o->attr.ino = FUSE_ROOT_ID;
		o->attr.size = f->size;
		o->attr.mode = S_IFREG | 0600;
		o->attr.nlink = 1;
		len = sizeof(*o);
		break;
	}
	case FUSE_READ: {
		const struct fuse_read_in *r = arg;

		if (r->offset < f->size)
			len = f->size - r->offset;
		if (len > r->size)
			len = r->size;
		if (len > STALLED_MAX)
			len = STALLED_MAX;
		memset(result, STALLED_BYTE, len);
		break;
	}
	case FUSE_WRITE: {
		const struct fuse_write_in *w = arg;

		f->ngot = w->size;
		memcpy(f->got, w + 1, w->size);
		((struct fuse_write_out *)result)->size = w->size;
		len = sizeof(struct fuse_write_out);
		break;
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return in->opcode;
	default:
		error = -EOPNOTSUPP;
	}
	*out = (struct fuse_out_header){
		.len = sizeof(*out) + len, .error = error, .unique = in->unique,
	};
	return write(f->dev, out, out->len) == (ssize_t)out->len ? (int)in->opcode : -1;
}

static void *stalled_open_thread(void *arg)
{
	struct stalled *f = arg;
	struct stat st;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->mount);
	fd = open(path, f->flags | O_RDWR | O_CLOEXEC);
	/* So that the kernel knows how long it is. */
	if (fd >= 0 && (fstat(fd, &st) || (size_t)st.st_size != f->size)) {
		close(fd);
		fd = -1;
	}
	f->fd = fd;
	__atomic_store_n(&f->opened, true, __ATOMIC_RELEASE);
	return NULL;
}

/* The end of the server: whoever waits fails. */
void stalled_close(struct stalled *f)
{
	if (f->dev >= 0)
		close(f->dev);
	if (f->fd >= 0)
		close(f->fd);
	if (f->mount >= 0)
		close(f->mount);
	f->dev = -1;
	f->fd = -1;
	f->mount = -1;
}

/* 0, or -1 where there is no FUSE, or it does not work as it should. */
int stalled_open(struct stalled *f, size_t size, __u32 open_flags, int flags)
{
	pthread_t thread;
	char number[16];
	int fs = -1;

	*f = (struct stalled){
		.mount = -1, .fd = -1, .size = size, .open_flags = open_flags, .flags = flags,
	};
	f->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (f->dev < 0)
		return -1;
	fs = syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
	snprintf(number, sizeof(number), "%d", f->dev);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "fd", number, 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "rootmode", "100600", 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "user_id", "0", 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "group_id", "0", 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		goto fail;
	f->mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	fs = -1;
	if (f->mount < 0 || fuse_serve(f, -1) != FUSE_INIT ||
	    pthread_create(&thread, NULL, stalled_open_thread, f))
		goto fail;
	while (!__atomic_load_n(&f->opened, __ATOMIC_ACQUIRE))
		fuse_serve(f, 5);
	pthread_join(thread, NULL);
	if (f->fd >= 0)
		return 0;
fail:
	fprintf(stderr, "# FUSE: %s\n", strerror(errno));
	if (fs >= 0)
		close(fs);
	stalled_close(f);
	errno = EIO;
	return -1;
}

/* Is there FUSE at all? */
bool stalled_exists(void)
{
	return !access("/dev/fuse", R_OK | W_OK);
}

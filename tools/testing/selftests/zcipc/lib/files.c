// SPDX-License-Identifier: GPL-2.0-only
#include "files.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

int file_memfd(void)
{
	return memfd_create("zcipc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static int file_at(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	unlink(path);
	return fd;
}

int file_root(void)
{
	return file_at("/zcipc_file");
}

int file_tmpfs(void)
{
	int fd;

	if (mount("zcipc", "/mnt", "tmpfs", 0, NULL))
		return -1;
	fd = file_at("/mnt/file");
	umount2("/mnt", MNT_DETACH);
	return fd;
}

int file_huge(void)
{
	int fd;

	if (mount("zcipc", "/mnt", "tmpfs", 0, "huge=always"))
		return -1;
	fd = file_at("/mnt/file");
	umount2("/mnt", MNT_DETACH);
	return fd;
}

/* On a disk, by way of a loop device. It goes with the last that is open of the file system. */
int file_ext4(void)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	int disk, loop, control, fd = -1;
	char dev[32];

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -1;
	snprintf(dev, sizeof(dev), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	disk = memfd_create("disk", MFD_CLOEXEC);
	loop = open(dev, O_RDWR | O_CLOEXEC);
	if (!ftruncate(disk, 4 << 20) && !ioctl(loop, LOOP_SET_FD, disk) &&
	    !ioctl(loop, LOOP_SET_STATUS64, &info)) {
		char command[80];

		snprintf(command, sizeof(command), "mke2fs -F %s >/dev/null 2>&1", dev);
		if (!system(command) && !mount(dev, "/mnt", "ext4", 0, NULL)) {
			fd = file_at("/mnt/file");
			umount2("/mnt", MNT_DETACH);
		}
	}
	close(loop);
	close(disk);
	return fd;
}

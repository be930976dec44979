/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One ioctl under way.
 */
#ifndef ZCIPC_UCMD_H
#define ZCIPC_UCMD_H

#include "base/base.h"

struct file;
struct zcipc_endpoint;

/**
 * struct zcipc_ucmd - one ioctl under way
 * @ep: the caller's endpoint
 * @file: its file
 * @nonblock: which is O_NONBLOCK
 * @ubuffer: the caller's struct
 * @user_size: its size as the caller knows it
 * @cmd: the kernel's copy of it
 * @size: its size as the kernel knows it
 */
struct zcipc_ucmd {
	struct zcipc_endpoint *ep;
	struct file *file;
	bool nonblock;
	void __user *ubuffer;
	u32 user_size;
	void *cmd;
	u32 size;
};

int zcipc_ucmd_respond(struct zcipc_ucmd *ucmd);
int zcipc_ucmd_probe(struct zcipc_ucmd *ucmd);

#endif /* ZCIPC_UCMD_H */

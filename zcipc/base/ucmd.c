// SPDX-License-Identifier: GPL-2.0
/*
 * A call's struct: written back to where it was read from.
 */
#include "base/base.h"
#include "base/ucmd.h"

/**
 * zcipc_ucmd_respond() - write a call's struct back
 * @ucmd: the call
 *
 * Context: May sleep, holds no lock that a page fault needs.
 * Return: 0 or -EFAULT
 */
int zcipc_ucmd_respond(struct zcipc_ucmd *ucmd)
{
	/* As when it was read. */
	if (ucmd->size == sizeof(struct zcipc_transfer) && ucmd->user_size == ucmd->size)
		return copy_to_user(ucmd->ubuffer, ucmd->cmd, sizeof(struct zcipc_transfer)) ?
		       -EFAULT : 0;
	if (copy_to_user(ucmd->ubuffer, ucmd->cmd, min(ucmd->size, ucmd->user_size)))
		return -EFAULT;
	return 0;
}

/**
 * zcipc_ucmd_probe() - find out whether a call's struct can be written back
 * @ucmd: the call, as it was read
 *
 * For calls that cannot be undone. Changes nothing: writes the first and the last byte as they are.
 *
 * Context: May sleep, holds no lock that a page fault needs.
 * Return: 0 or -EFAULT
 */
int zcipc_ucmd_probe(struct zcipc_ucmd *ucmd)
{
	u32 last = min(ucmd->size, ucmd->user_size) - 1;
	u8 __user *ubuffer = ucmd->ubuffer;
	u8 *cmd = ucmd->cmd;

	if (put_user(cmd[0], ubuffer) || put_user(cmd[last], ubuffer + last))
		return -EFAULT;
	return 0;
}

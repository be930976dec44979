// SPDX-License-Identifier: GPL-2.0
/*
 * The device, its file operations, and the table of calls.
 */
#include "base/base.h"

#include <linux/miscdevice.h>
#include <linux/nospec.h>
#include <linux/poll.h>

#include "base/ucmd.h"
#include "mem/huge.h"
#include "mem/pool.h"
#include "mem/recycle.h"
#include "map/adopted.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "ipc/queue.h"
#include "calls/calls.h"

static int zcipc_open(struct inode *inode, struct file *file)
{
	struct zcipc_endpoint *ep;

	if (!current->mm)
		return -EPERM;
	ep = zcipc_endpoint_create();
	if (IS_ERR(ep))
		return PTR_ERR(ep);
	file->private_data = ep;
	/* VMAs of this file are found through this mapping, and only they. */
	file->f_mapping = ep->space.inode->i_mapping;
	return nonseekable_open(inode, file);
}

static int zcipc_release(struct inode *inode, struct file *file)
{
	struct zcipc_endpoint *ep = file->private_data;

	zcipc_endpoint_shutdown(ep);
	zcipc_endpoint_put(ep);
	return 0;
}

static __poll_t zcipc_poll(struct file *file, poll_table *wait)
{
	struct zcipc_endpoint *ep = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &ep->recv_wait, wait);
	if (zcipc_message_waits(ep))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(ep->space.dead))
		mask |= EPOLLHUP;
	return mask;
}

static void zcipc_show_fdinfo(struct seq_file *m, struct file *file)
{
	zcipc_stats_show_endpoint(m, file->private_data);
}

/*
 * mmap(): 0, or -EPERM from another address space, -EINVAL for what is not a shared mapping, or
 * what zcipc_ring_mmap() and zcipc_window_mmap() say.
 */
static int zcipc_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = file->private_data;

	zcipc_test_point("mmap");
	if (vma->vm_mm != ep->space.mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	zcipc_endpoint_seen(ep);
	if (vma->vm_pgoff >= ZCIPC_RING_START && vma->vm_pgoff < ZCIPC_RING_END)
		return zcipc_ring_mmap(ep, vma);
	return zcipc_window_mmap(&ep->space, vma);
}

/* Of MAP_FIXED core mm asks, too, before it unmaps anything. */
static unsigned long zcipc_get_unmapped_area(struct file *file, unsigned long addr,
					     unsigned long len, unsigned long pgoff,
					     unsigned long flags)
{
	struct zcipc_endpoint *ep = file->private_data;

	if (flags & MAP_FIXED && !zcipc_adopted_may_replace(&ep->space, addr, addr + len))
		return -EBUSY;
	return zcipc_unmapped_area(file, addr, len, pgoff, flags);
}

/* Room for the struct of any call. All begin with the same two members. */
union zcipc_cmd {
	struct {
		u32 size;
		u32 flags;
	};
	struct zcipc_transfer transfer;
	struct zcipc_stats largest;
};

/**
 * struct zcipc_call - what to do for an ioctl
 * @size: of the struct as this kernel knows it
 * @min_size: of the struct in the first version that had the call
 * @flags: that there are
 * @execute: does it, on a copy of the struct
 */
struct zcipc_call {
	u32 size;
	u32 min_size;
	u32 flags;
	int (*execute)(struct zcipc_ucmd *ucmd);
};

/* The call looks at them itself. */
#define ZCIPC_ANY_FLAGS	(~0U)

#define ZCIPC_CALL(ioctl, fn, type, last, known) \
	[_IOC_NR(ioctl)] = { \
		.size = sizeof(struct type) + \
			BUILD_BUG_ON_ZERO(sizeof(union zcipc_cmd) < sizeof(struct type)), \
		.min_size = offsetofend(struct type, last), \
		.flags = known, \
		.execute = fn, \
	}

static const struct zcipc_call zcipc_calls[] = {
	ZCIPC_CALL(ZCIPC_IOC_INFO, zcipc_endpoint_info, zcipc_info, max_messages, 0),
	ZCIPC_CALL(ZCIPC_IOC_ENDPOINT_CONFIG, zcipc_endpoint_config, zcipc_endpoint_config, name,
		   ZCIPC_ANY_FLAGS),
	ZCIPC_CALL(ZCIPC_IOC_LOOKUP, zcipc_endpoint_lookup, zcipc_lookup, endpoint, 0),
	ZCIPC_CALL(ZCIPC_IOC_REGION_CREATE, zcipc_region_create, zcipc_region_create, region,
		   ZCIPC_ANY_FLAGS),
	ZCIPC_CALL(ZCIPC_IOC_REGION_IMPORT, zcipc_import_memory, zcipc_region_import, region, 0),
	ZCIPC_CALL(ZCIPC_IOC_REGION_QUERY, zcipc_region_query, zcipc_region_query, __reserved, 0),
	ZCIPC_CALL(ZCIPC_IOC_MAP, zcipc_cap_map, zcipc_map, addr, 0),
	ZCIPC_CALL(ZCIPC_IOC_UNMAP, zcipc_cap_unmap, zcipc_unmap, addr, ZCIPC_UNMAP_OFFSET),
	ZCIPC_CALL(ZCIPC_IOC_TRANSFER, zcipc_transfer, zcipc_transfer, copied, ZCIPC_ANY_FLAGS),
	ZCIPC_CALL(ZCIPC_IOC_TRANSFER_BATCH, zcipc_transfer_batch, zcipc_transfer_batch, failed,
		   ZCIPC_F_ATOMIC),
	ZCIPC_CALL(ZCIPC_IOC_RECV, zcipc_message_recv, zcipc_recv, pending, 0),
	ZCIPC_CALL(ZCIPC_IOC_GRANT, zcipc_transfer_grant, zcipc_grant, peer_cap, ZCIPC_ANY_FLAGS),
	ZCIPC_CALL(ZCIPC_IOC_REVOKE, zcipc_cap_revoke, zcipc_revoke, revoked, ZCIPC_REVOKE_KEEP),
	ZCIPC_CALL(ZCIPC_IOC_DROP, zcipc_cap_drop, zcipc_drop, cap, ZCIPC_DROP_RETURN),
	ZCIPC_CALL(ZCIPC_IOC_REGION_ORDINARY, zcipc_import_ordinary, zcipc_region_ordinary, copied,
		   0),
	ZCIPC_CALL(ZCIPC_IOC_NOTIFY, zcipc_notify, zcipc_notify, cookie, ZCIPC_ANY_FLAGS),
	ZCIPC_CALL(ZCIPC_IOC_DROP_BATCH, zcipc_cap_drop_batch, zcipc_drop_batch, dropped,
		   ZCIPC_DROP_RETURN),
	ZCIPC_CALL(ZCIPC_IOC_STATS, zcipc_stats_get, zcipc_stats, faults,
		   ZCIPC_STATS_ENDPOINT | ZCIPC_STATS_REGION),
};

static long zcipc_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct zcipc_ucmd ucmd = {
		.ep = file->private_data,
		.file = file,
		.nonblock = file->f_flags & O_NONBLOCK,
		.ubuffer = (void __user *)arg,
	};
	const struct zcipc_call *call;
	unsigned int nr = _IOC_NR(cmd);
	/* As much of it as the call knows is filled in, and no more is ever looked at. */
	union zcipc_cmd buffer __uninitialized;
	int ret;

	if (cmd != _IO(ZCIPC_IOC_TYPE, nr) || nr >= ARRAY_SIZE(zcipc_calls))
		return -ENOTTY;
	call = &zcipc_calls[array_index_nospec(nr, ARRAY_SIZE(zcipc_calls))];
	/* The numbers in between are reserved for calls that a later version will have. */
	if (!call->execute)
		return -EOPNOTSUPP;
	if (current->mm != ucmd.ep->space.mm)
		return -EPERM;

	if (get_user(ucmd.user_size, (u32 __user *)ucmd.ubuffer))
		return -EFAULT;
	if (ucmd.user_size > PAGE_SIZE)
		return -E2BIG;
	if (ucmd.user_size < call->min_size)
		return -EINVAL;
	/* What is done most often, and costs less where the size is known when this is compiled. */
	if (call->execute == zcipc_transfer && ucmd.user_size == sizeof(buffer.transfer))
		ret = copy_from_user(&buffer.transfer, ucmd.ubuffer, sizeof(buffer.transfer)) ?
		      -EFAULT : 0;
	else
		ret = copy_struct_from_user(&buffer, call->size, ucmd.ubuffer, ucmd.user_size);
	if (ret)
		return ret;
	/* It may have changed in between. */
	buffer.size = ucmd.user_size;
	if (buffer.flags & ~call->flags)
		return -EOPNOTSUPP;
	ucmd.cmd = &buffer;
	ucmd.size = call->size;
	return call->execute(&ucmd);
}

static const struct file_operations zcipc_fops = {
	.owner = THIS_MODULE,
	.open = zcipc_open,
	.release = zcipc_release,
	.poll = zcipc_poll,
	.mmap = zcipc_mmap,
	.get_unmapped_area = zcipc_get_unmapped_area,
	.show_fdinfo = zcipc_show_fdinfo,
	.unlocked_ioctl = zcipc_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice zcipc_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "zcipc",
	.fops = &zcipc_fops,
	.mode = 0666,
};

static int __init zcipc_init(void)
{
	int ret;

	ret = zcipc_huge_init();
	if (ret)
		return ret;
	ret = zcipc_recycle_init();
	if (ret)
		goto err_huge;
	ret = zcipc_table_init();
	if (ret)
		goto err_recycle;
	ret = zcipc_cap_init();
	if (ret)
		goto err_table;
	ret = zcipc_endpoint_init(&zcipc_fops);
	if (ret)
		goto err_cap;
	ret = misc_register(&zcipc_device);
	if (ret)
		goto err_endpoint;
	zcipc_stats_init();
	return 0;

err_endpoint:
	zcipc_endpoint_exit();
err_cap:
	zcipc_cap_exit();
err_table:
	zcipc_table_exit();
err_recycle:
	zcipc_recycle_exit();
err_huge:
	zcipc_huge_exit();
	return ret;
}

static void __exit zcipc_exit(void)
{
	zcipc_stats_hide();
	misc_deregister(&zcipc_device);
	/* A worker may have the last reference to an endpoint, which must go before the mount. */
	zcipc_cap_exit();
	zcipc_table_exit();
	zcipc_endpoint_exit();
	zcipc_recycle_exit();
	zcipc_pool_exit();
	zcipc_huge_exit();
	zcipc_counters_exit();
}

module_init(zcipc_init);
module_exit(zcipc_exit);

MODULE_DESCRIPTION("Zero-copy IPC: hands pages from one process to another");
MODULE_LICENSE("GPL");
/* Or some distributions' modprobe would refuse it. */
MODULE_INFO(supported, "external");
#ifdef ZCIPC_VERSION
MODULE_VERSION(__stringify(ZCIPC_VERSION));
#endif

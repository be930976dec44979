// SPDX-License-Identifier: GPL-2.0
/*
 * Notices: memory for notifications.
 *
 * A capability has but one message of its own, which tells that it came. So a notification has
 * memory for itself. It goes when its capability does, or when it is received; then the endpoint
 * keeps one for the next, so that who notifies and receives by turns allocates nothing.
 */
#include <linux/slab.h>

#include "base/limits.h"
#include "mem/account.h"
#include "ipc/endpoint.h"
#include "ipc/notice.h"

/* What one takes. */
#define ZCIPC_NOTICE_BYTES	kmalloc_size_roundup(sizeof(struct zcipc_notice))

/*
 * Memory for one, charged to whom it is for, or -EDQUOT, -ENOMEM. The caller holds the endpoint's
 * lock, and others wait for that.
 */
struct zcipc_notice *zcipc_notice_alloc(struct zcipc_endpoint *ep)
{
	struct zcipc_notice *notice = NULL;
	int ret;

	swap(ep->spare, notice);
	if (notice)
		return notice;
	ret = zcipc_charge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	if (ret)
		return ERR_PTR(ret);
	notice = kmalloc(sizeof(*notice), ZCIPC_GFP_LOCKED | __GFP_ACCOUNT);
	if (notice)
		return notice;
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	return ERR_PTR(-ENOMEM);
}

/* Frees a notification that is nowhere, or NULL. */
void zcipc_notice_release(struct zcipc_endpoint *ep, struct zcipc_notice *notice)
{
	if (!notice)
		return;
	zcipc_uncharge_overhead(ep->space.user, ZCIPC_NOTICE_BYTES);
	kfree(notice);
}

/**
 * zcipc_notice_free() - the end of a notification that is in no queue any more
 * @ep: whom it is for; the caller holds its lock
 * @notice: the notification
 */
void zcipc_notice_free(struct zcipc_endpoint *ep, struct zcipc_notice *notice)
{
	lockdep_assert_held(&ep->space.lock);
	list_del(&notice->entry);
	swap(ep->spare, notice);
	zcipc_notice_release(ep, notice);
}

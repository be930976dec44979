// SPDX-License-Identifier: GPL-2.0
/*
 * What each user owns. A region is charged to one user at its full size, so that a later write to
 * a snapshot never exceeds a quota. Memory cgroups are charged by the page allocator.
 *
 * What is pinned of imported memory counts towards RLIMIT_MEMLOCK, with all else that the kernel
 * has pinned for the user.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "zcipc.h"

static unsigned long quota_mib;
module_param(quota_mib, ulong, 0644);
MODULE_PARM_DESC(quota_mib, "MiB of regions that one user can own (0: a quarter of the memory)");

static LIST_HEAD(zcipc_users);
static DEFINE_MUTEX(zcipc_users_lock);

/**
 * zcipc_user_get() - find or make the account of the current task's user
 *
 * Context: May sleep.
 * Return: the account with a reference, or NULL without memory
 */
struct zcipc_user *zcipc_user_get(void)
{
	struct user_struct *locker = current_user();
	kuid_t uid = current_euid();
	struct zcipc_user *user, *new;

	/* Not under the lock, which whoever reclaims memory may need. */
	new = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
	mutex_lock(&zcipc_users_lock);
	list_for_each_entry(user, &zcipc_users, entry) {
		if (uid_eq(user->uid, uid) && user->locker == locker) {
			refcount_inc(&user->refs);
			goto out;
		}
	}
	user = new;
	new = NULL;
	if (user) {
		user->uid = uid;
		user->locker = get_uid(locker);
		refcount_set(&user->refs, 1);
		INIT_LIST_HEAD(&user->kept);
		list_add(&user->entry, &zcipc_users);
	}
out:
	mutex_unlock(&zcipc_users_lock);
	kfree(new);
	return user;
}

struct zcipc_user *zcipc_user_ref(struct zcipc_user *user)
{
	refcount_inc(&user->refs);
	return user;
}

void zcipc_user_put(struct zcipc_user *user)
{
	if (!refcount_dec_and_mutex_lock(&user->refs, &zcipc_users_lock))
		return;
	list_del(&user->entry);
	mutex_unlock(&zcipc_users_lock);
	WARN_ON_ONCE(atomic_long_read(&user->npages));
	WARN_ON_ONCE(atomic_long_read(&user->npinned));
	free_uid(user->locker);
	kfree(user);
}

static unsigned long zcipc_quota(void)
{
	unsigned long mib = READ_ONCE(quota_mib);

	return mib ? mib << (20 - PAGE_SHIFT) : totalram_pages() / 4;
}

static void zcipc_user_peak(struct zcipc_user *user, long npages)
{
	long peak = atomic_long_read(&user->peak);

	while (npages > peak && !atomic_long_try_cmpxchg(&user->peak, &peak, npages))
		;
}

/**
 * zcipc_charge() - charge pages to a user
 * @user: the user
 * @npages: how many
 *
 * Return: 0, or -EDQUOT when that would exceed the quota
 */
int zcipc_charge(struct zcipc_user *user, unsigned long npages)
{
	unsigned long quota = zcipc_quota();
	long old = atomic_long_read(&user->npages);

	do {
		/* What is kept for later use is no reason to refuse. */
		while (npages && (npages > quota || old > quota - npages)) {
			if (npages > quota || !zcipc_recycle_free(user))
				return -EDQUOT;
			old = atomic_long_read(&user->npages);
		}
	} while (!atomic_long_try_cmpxchg(&user->npages, &old, old + npages));
	zcipc_user_peak(user, old + npages);
	return 0;
}

/* For what cannot be refused: a region that comes back, or a part of what was charged before. */
void zcipc_charge_force(struct zcipc_user *user, unsigned long npages)
{
	zcipc_user_peak(user, atomic_long_add_return(npages, &user->npages));
}

void zcipc_uncharge(struct zcipc_user *user, unsigned long npages)
{
	WARN_ON_ONCE(atomic_long_sub_return(npages, &user->npages) < 0);
}

/* How many pages the current task may have pinned, as things are now. */
unsigned long zcipc_pin_limit(void)
{
	return capable(CAP_IPC_LOCK) ? ULONG_MAX : rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

/**
 * zcipc_charge_pins() - charge pinned pages to a user
 * @user: the user
 * @npages: how many
 * @limit: how many the user may have in all
 *
 * Return: 0, or -ENOMEM when that would exceed the limit
 */
int zcipc_charge_pins(struct zcipc_user *user, unsigned long npages, unsigned long limit)
{
	long old = atomic_long_read(&user->locker->locked_vm);

	do {
		/* Where all is allowed there can be more than that. */
		if (npages && limit != ULONG_MAX &&
		    (npages > limit || old > (long)(limit - npages)))
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&user->locker->locked_vm, &old, old + npages));
	atomic_long_add(npages, &user->npinned);
	return 0;
}

/* For what cannot be refused. */
void zcipc_charge_pins_force(struct zcipc_user *user, unsigned long npages)
{
	atomic_long_add(npages, &user->locker->locked_vm);
	atomic_long_add(npages, &user->npinned);
}

void zcipc_uncharge_pins(struct zcipc_user *user, unsigned long npages)
{
	if (!npages)
		return;
	atomic_long_sub(npages, &user->locker->locked_vm);
	WARN_ON_ONCE(atomic_long_sub_return(npages, &user->npinned) < 0);
}

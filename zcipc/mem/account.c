// SPDX-License-Identifier: GPL-2.0
/*
 * What each user owns. A region is charged to one user at its full size, so that a later write to
 * a snapshot never exceeds a quota; and so is all that the kernel has to know for the user, at what
 * it takes. Memory cgroups are charged by the page allocator.
 *
 * There are two limits: of what one owner has, and of what all have. None counts for who has
 * CAP_SYS_RESOURCE in the initial user namespace when he opens an endpoint.
 *
 * What is pinned of imported memory counts towards RLIMIT_MEMLOCK, with all else that the kernel
 * has pinned for the user.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#include <linux/zcipc.h>

#include "mem/account.h"

static unsigned long quota_mib;
module_param(quota_mib, ulong, 0644);
MODULE_PARM_DESC(quota_mib, "MiB that one user can own (0: an eighth of the memory)");

static unsigned long total_mib;
module_param(total_mib, ulong, 0644);
MODULE_PARM_DESC(total_mib, "MiB that all users can own together (0: half of the memory)");

/* Who owns no more than this is served from what greedier users cannot have. Bytes. */
#define ZCIPC_FIRST_BYTES	(64L << 20)

/**
 * struct zcipc_owner - whose limits count for a user
 * @entry: in the list of owners
 * @uid: the effective user, or who made the outermost user namespace that the user is in
 * @ns: that namespace, if root made it: then its users are one owner; otherwise NULL
 * @refs: users that refer to this
 * @held: bytes charged to all of them
 * @pooled: frames of each cache policy that are theirs; protected by the pools' lock
 */
struct zcipc_owner {
	struct list_head entry;
	kuid_t uid;
	struct user_namespace *ns;
	unsigned int refs;
	atomic_long_t held;
	unsigned long pooled[ZCIPC_CACHE_UNCACHED + 1];
};

static LIST_HEAD(zcipc_owners);
static LIST_HEAD(zcipc_users);
/* Protects the two lists, and the references of owners. */
static DEFINE_MUTEX(zcipc_users_lock);

/* Bytes charged to all owners. */
static atomic_long_t zcipc_held;

/*
 * Who has the limits of the current task's user? Whoever makes a user namespace gets a range of
 * user ids, and must not get the quota of each. Sets the namespace if it stands for itself.
 */
static kuid_t zcipc_owner_uid(struct user_namespace **ns)
{
	struct user_namespace *outer = current_user_ns();

	*ns = NULL;
	if (outer == &init_user_ns)
		return current_euid();
	while (outer->parent != &init_user_ns)
		outer = outer->parent;
	if (uid_eq(outer->owner, GLOBAL_ROOT_UID))
		*ns = outer;
	return outer->owner;
}

/* Finds the owner, or makes @new it, with a reference. */
static struct zcipc_owner *zcipc_owner_get(struct zcipc_owner *new)
{
	struct user_namespace *ns;
	kuid_t uid = zcipc_owner_uid(&ns);
	struct zcipc_owner *owner;

	lockdep_assert_held(&zcipc_users_lock);
	list_for_each_entry(owner, &zcipc_owners, entry) {
		if (uid_eq(owner->uid, uid) && owner->ns == ns) {
			owner->refs++;
			return owner;
		}
	}
	new->uid = uid;
	new->ns = ns ? get_user_ns(ns) : NULL;
	new->refs = 1;
	list_add(&new->entry, &zcipc_owners);
	return new;
}

/* Returns what is to be freed, or NULL. */
static struct zcipc_owner *zcipc_owner_put(struct zcipc_owner *owner)
{
	lockdep_assert_held(&zcipc_users_lock);
	if (!owner || --owner->refs)
		return NULL;
	list_del(&owner->entry);
	return owner;
}

static void zcipc_owner_free(struct zcipc_owner *owner)
{
	if (!owner)
		return;
	WARN_ON_ONCE(atomic_long_read(&owner->held));
	if (owner->ns)
		put_user_ns(owner->ns);
	kfree(owner);
}

/**
 * zcipc_user_get() - find or make the account of the current task's user
 *
 * Context: May sleep.
 * Return: the account with a reference, or NULL without memory
 */
struct zcipc_user *zcipc_user_get(void)
{
	struct user_struct *locker = current_user();
	/* Nobody has asked for it: it is no attempt that an audit should report. */
	bool limited = !ns_capable_noaudit(&init_user_ns, CAP_SYS_RESOURCE);
	struct zcipc_owner *new_owner, *owner = NULL;
	kuid_t uid = current_euid();
	struct zcipc_user *user, *new;

	/* Not under the lock, which whoever reclaims memory may need. */
	new = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
	new_owner = kzalloc(sizeof(*owner), GFP_KERNEL_ACCOUNT);
	if (!new || !new_owner) {
		kfree(new);
		kfree(new_owner);
		return NULL;
	}
	mutex_lock(&zcipc_users_lock);
	if (limited)
		owner = zcipc_owner_get(new_owner);
	if (owner == new_owner)
		new_owner = NULL;
	list_for_each_entry(user, &zcipc_users, entry) {
		if (uid_eq(user->uid, uid) && user->locker == locker && user->owner == owner) {
			refcount_inc(&user->refs);
			/* The user has one already. */
			zcipc_owner_put(owner);
			goto out;
		}
	}
	user = new;
	new = NULL;
	user->uid = uid;
	user->locker = get_uid(locker);
	user->owner = owner;
	refcount_set(&user->refs, 1);
	INIT_LIST_HEAD(&user->kept);
	list_add(&user->entry, &zcipc_users);
out:
	mutex_unlock(&zcipc_users_lock);
	kfree(new);
	kfree(new_owner);
	return user;
}

struct zcipc_user *zcipc_user_ref(struct zcipc_user *user)
{
	refcount_inc(&user->refs);
	return user;
}

void zcipc_user_put(struct zcipc_user *user)
{
	struct zcipc_owner *owner;

	if (!refcount_dec_and_mutex_lock(&user->refs, &zcipc_users_lock))
		return;
	list_del(&user->entry);
	owner = zcipc_owner_put(user->owner);
	mutex_unlock(&zcipc_users_lock);
	WARN_ON_ONCE(atomic_long_read(&user->npages));
	WARN_ON_ONCE(atomic_long_read(&user->overhead));
	WARN_ON_ONCE(atomic_long_read(&user->npinned));
	zcipc_owner_free(owner);
	free_uid(user->locker);
	kfree(user);
}

/* How many bytes a parameter allows, or, if it is 0, the memory divided by something. */
static long zcipc_limit(unsigned long mib, unsigned int divisor)
{
	if (mib)
		return min(mib, LONG_MAX >> 20) << 20;
	return totalram_pages() / divisor << PAGE_SHIFT;
}

/* Adds to a sum, if it stays within a limit. */
static bool zcipc_add_within(atomic_long_t *sum, long bytes, long limit)
{
	long old = atomic_long_read(sum);

	do {
		if (old > limit - bytes)
			return false;
	} while (!atomic_long_try_cmpxchg(sum, &old, old + bytes));
	return true;
}

/*
 * Charges bytes to an owner. One who has more than a little leaves an eighth of what there is for
 * all, and no less than what one may have at first, if that is not most of it.
 */
static bool zcipc_owner_charge(struct zcipc_owner *owner, long bytes)
{
	long total = zcipc_limit(READ_ONCE(total_mib), 2);

	if (!zcipc_add_within(&owner->held, bytes, zcipc_limit(READ_ONCE(quota_mib), 8)))
		return false;
	if (atomic_long_read(&owner->held) > ZCIPC_FIRST_BYTES)
		total -= max(total / 8, min(total / 2, ZCIPC_FIRST_BYTES));
	if (zcipc_add_within(&zcipc_held, bytes, total))
		return true;
	atomic_long_sub(bytes, &owner->held);
	return false;
}

static bool (*zcipc_account_free)(struct zcipc_user *user);

/* How to free something of a user that is only kept for later use: returns whether it has. */
void zcipc_account_init(bool (*free)(struct zcipc_user *user))
{
	zcipc_account_free = free;
}

/* Charges bytes to whoever has the limits of a user. Returns 0, or -EDQUOT. */
static int zcipc_charge_owner(struct zcipc_user *user, long bytes)
{
	/* What is kept for later use is no reason to refuse. */
	while (bytes && user->owner && !zcipc_owner_charge(user->owner, bytes))
		if (!zcipc_account_free(user))
			return -EDQUOT;
	return 0;
}

static void zcipc_charge_owner_force(struct zcipc_user *user, long bytes)
{
	if (!user->owner)
		return;
	atomic_long_add(bytes, &user->owner->held);
	atomic_long_add(bytes, &zcipc_held);
}

static void zcipc_uncharge_owner(struct zcipc_user *user, long bytes)
{
	if (!user->owner)
		return;
	WARN_ON_ONCE(atomic_long_sub_return(bytes, &user->owner->held) < 0);
	WARN_ON_ONCE(atomic_long_sub_return(bytes, &zcipc_held) < 0);
}

/* Pages that are charged to a user, what the kernel needs beside those of regions included. */
unsigned long zcipc_user_pages(const struct zcipc_user *user)
{
	return atomic_long_read(&user->npages) + zcipc_user_overhead(user);
}

/* As many of these are not a region's. */
unsigned long zcipc_user_overhead(const struct zcipc_user *user)
{
	return DIV_ROUND_UP(atomic_long_read(&user->overhead), PAGE_SIZE);
}

static void zcipc_user_peak(struct zcipc_user *user)
{
	long npages = zcipc_user_pages(user), peak = atomic_long_read(&user->peak);

	while (npages > peak && !atomic_long_try_cmpxchg(&user->peak, &peak, npages))
		;
}

/**
 * zcipc_charge() - charge pages to a user
 * @user: the user
 * @npages: how many
 *
 * Return: 0, or -EDQUOT when that would exceed a quota
 */
int zcipc_charge(struct zcipc_user *user, unsigned long npages)
{
	int ret = zcipc_charge_owner(user, npages << PAGE_SHIFT);

	if (ret)
		return ret;
	atomic_long_add(npages, &user->npages);
	zcipc_user_peak(user);
	return 0;
}

/* For what cannot be refused: a region that comes back, or a part of what was charged before. */
void zcipc_charge_force(struct zcipc_user *user, unsigned long npages)
{
	zcipc_charge_owner_force(user, npages << PAGE_SHIFT);
	atomic_long_add(npages, &user->npages);
	zcipc_user_peak(user);
}

void zcipc_uncharge(struct zcipc_user *user, unsigned long npages)
{
	zcipc_uncharge_owner(user, npages << PAGE_SHIFT);
	WARN_ON_ONCE(atomic_long_sub_return(npages, &user->npages) < 0);
}

/**
 * zcipc_charge_overhead() - charge what the kernel needs to know of something
 * @user: the user
 * @bytes: how much memory that is
 *
 * Return: 0, or -EDQUOT when that would exceed a quota
 */
int zcipc_charge_overhead(struct zcipc_user *user, size_t bytes)
{
	int ret = zcipc_charge_owner(user, bytes);

	if (ret)
		return ret;
	atomic_long_add(bytes, &user->overhead);
	zcipc_user_peak(user);
	return 0;
}

/* For what cannot be refused. */
void zcipc_charge_overhead_force(struct zcipc_user *user, size_t bytes)
{
	zcipc_charge_owner_force(user, bytes);
	atomic_long_add(bytes, &user->overhead);
	zcipc_user_peak(user);
}

void zcipc_uncharge_overhead(struct zcipc_user *user, size_t bytes)
{
	zcipc_uncharge_owner(user, bytes);
	WARN_ON_ONCE(atomic_long_sub_return(bytes, &user->overhead) < 0);
}

/* Counts frames of a pool for whoever has the limits of a user; NULL if there are none. */
unsigned long *zcipc_user_pooled(struct zcipc_user *user, unsigned int cache)
{
	return user->owner ? &user->owner->pooled[cache] : NULL;
}

/* How many pages the current task may have pinned, as things are now. */
unsigned long zcipc_pin_limit(void)
{
	if (ns_capable_noaudit(&init_user_ns, CAP_IPC_LOCK))
		return ULONG_MAX;
	return rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

/**
 * zcipc_charge_pins() - charge pinned pages to a user
 * @user: the user
 * @npages: how many
 * @limit: how many the user may have in all
 *
 * Return: 0, or -ENOLCK when that would exceed the limit
 */
int zcipc_charge_pins(struct zcipc_user *user, unsigned long npages, unsigned long limit)
{
	long old = atomic_long_read(&user->locker->locked_vm);

	do {
		/* Where all is allowed there can be more than that. */
		if (npages && limit != ULONG_MAX &&
		    (npages > limit || old > (long)(limit - npages)))
			return -ENOLCK;
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

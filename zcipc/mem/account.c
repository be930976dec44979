// SPDX-License-Identifier: GPL-2.0
/*
 * What each user owns. A region is charged to one user at its full size, so that a later write to
 * a snapshot never exceeds a quota; all that the kernel has to know for the user is charged, too.
 * Memory cgroups are charged by the page allocator.
 *
 * One limit is for each owner, another for all. None counts for who has CAP_SYS_RESOURCE in the
 * initial user namespace when he opens an endpoint. What is pinned counts towards RLIMIT_MEMLOCK.
 */
#include "base/base.h"

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/sched/user.h>
#include <linux/user_namespace.h>

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
 * @nusers: users that refer to this
 * @held: bytes charged to all of them
 * @pooled: frames of each cache policy that are theirs; protected by the pools' lock
 */
struct zcipc_owner {
	struct list_head entry;
	kuid_t uid;
	struct user_namespace *ns;
	unsigned int nusers;
	atomic_long_t held;
	unsigned long pooled[ZCIPC_CACHE_UNCACHED + 1];
};

static LIST_HEAD(zcipc_owners);
static LIST_HEAD(zcipc_users);
/* Protects the two lists, and how many users owners have. */
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

/* Finds the owner, or makes @new it. */
static struct zcipc_owner *zcipc_owner_find(struct zcipc_owner *new)
{
	struct user_namespace *ns;
	kuid_t uid = zcipc_owner_uid(&ns);
	struct zcipc_owner *owner;

	lockdep_assert_held(&zcipc_users_lock);
	list_for_each_entry(owner, &zcipc_owners, entry)
		if (uid_eq(owner->uid, uid) && owner->ns == ns)
			return owner;
	new->uid = uid;
	new->ns = ns;
	if (ns)
		get_user_ns(ns);
	list_add(&new->entry, &zcipc_owners);
	return new;
}

static void zcipc_owner_put(struct zcipc_owner *owner)
{
	lockdep_assert_held(&zcipc_users_lock);
	if (!owner || --owner->nusers)
		return;
	list_del(&owner->entry);
	WARN_ON_ONCE(atomic_long_read(&owner->held));
	if (owner->ns)
		put_user_ns(owner->ns);
	kfree(owner);
}

struct zcipc_user *zcipc_user_ref(struct zcipc_user *user)
{
	refcount_inc(&user->refs);
	return user;
}

/* Finds or makes the account of the current task's user: with a reference, or NULL. May sleep. */
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
		owner = zcipc_owner_find(new_owner);
	list_for_each_entry(user, &zcipc_users, entry) {
		if (uid_eq(user->uid, uid) && user->locker == locker && user->owner == owner) {
			zcipc_user_ref(user);
			goto out;
		}
	}
	user = new;
	new = NULL;
	/* An owner is new only if the user is. */
	if (owner)
		owner->nusers++;
	if (owner == new_owner)
		new_owner = NULL;
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

void zcipc_user_put(struct zcipc_user *user)
{
	if (!refcount_dec_and_mutex_lock(&user->refs, &zcipc_users_lock))
		return;
	list_del(&user->entry);
	zcipc_owner_put(user->owner);
	mutex_unlock(&zcipc_users_lock);
	WARN_ON_ONCE(atomic_long_read(&user->regions));
	WARN_ON_ONCE(atomic_long_read(&user->overhead));
	WARN_ON_ONCE(atomic_long_read(&user->npinned));
	free_uid(user->locker);
	kfree(user);
}

/* How many bytes a parameter allows, or, if it is 0, a fraction of the memory. */
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

/* Pages that are charged to a user, with the overhead. */
unsigned long zcipc_user_pages(const struct zcipc_user *user)
{
	return (atomic_long_read(&user->regions) >> PAGE_SHIFT) + zcipc_user_overhead(user);
}

unsigned long zcipc_user_overhead(const struct zcipc_user *user)
{
	return DIV_ROUND_UP(atomic_long_read(&user->overhead), PAGE_SIZE);
}

/* Adds bytes, which the owner has been charged for, to one of a user's sums. */
static void zcipc_user_add(struct zcipc_user *user, atomic_long_t *sum, long bytes)
{
	long peak = atomic_long_read(&user->peak), npages;

	atomic_long_add(bytes, sum);
	npages = zcipc_user_pages(user);
	while (npages > peak && !atomic_long_try_cmpxchg(&user->peak, &peak, npages))
		;
}

static int zcipc_user_charge(struct zcipc_user *user, atomic_long_t *sum, long bytes)
{
	/* What is kept for later use is no reason to refuse. */
	while (bytes && user->owner && !zcipc_owner_charge(user->owner, bytes))
		if (!zcipc_account_free(user))
			return -EDQUOT;
	zcipc_user_add(user, sum, bytes);
	return 0;
}

static void zcipc_user_charge_force(struct zcipc_user *user, atomic_long_t *sum, long bytes)
{
	if (user->owner) {
		atomic_long_add(bytes, &user->owner->held);
		atomic_long_add(bytes, &zcipc_held);
	}
	zcipc_user_add(user, sum, bytes);
}

static void zcipc_user_uncharge(struct zcipc_user *user, atomic_long_t *sum, long bytes)
{
	if (user->owner) {
		WARN_ON_ONCE(atomic_long_sub_return(bytes, &user->owner->held) < 0);
		WARN_ON_ONCE(atomic_long_sub_return(bytes, &zcipc_held) < 0);
	}
	WARN_ON_ONCE(atomic_long_sub_return(bytes, sum) < 0);
}

/* Charges pages of regions to a user. Returns 0, or -EDQUOT when that would exceed a quota. */
int zcipc_charge(struct zcipc_user *user, unsigned long npages)
{
	return zcipc_user_charge(user, &user->regions, npages << PAGE_SHIFT);
}

/* For what cannot be refused: a region that comes back, or a part of what was charged before. */
void zcipc_charge_force(struct zcipc_user *user, unsigned long npages)
{
	zcipc_user_charge_force(user, &user->regions, npages << PAGE_SHIFT);
}

void zcipc_uncharge(struct zcipc_user *user, unsigned long npages)
{
	zcipc_user_uncharge(user, &user->regions, npages << PAGE_SHIFT);
}

/* Charges what the kernel needs to know of something, as zcipc_charge(). */
int zcipc_charge_overhead(struct zcipc_user *user, size_t bytes)
{
	return zcipc_user_charge(user, &user->overhead, bytes);
}

void zcipc_charge_overhead_force(struct zcipc_user *user, size_t bytes)
{
	zcipc_user_charge_force(user, &user->overhead, bytes);
}

void zcipc_uncharge_overhead(struct zcipc_user *user, size_t bytes)
{
	zcipc_user_uncharge(user, &user->overhead, bytes);
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
 * @limit: how many the user may have in all, or ULONG_MAX for what cannot be refused
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

void zcipc_uncharge_pins(struct zcipc_user *user, unsigned long npages)
{
	if (!npages)
		return;
	atomic_long_sub(npages, &user->locker->locked_vm);
	WARN_ON_ONCE(atomic_long_sub_return(npages, &user->npinned) < 0);
}

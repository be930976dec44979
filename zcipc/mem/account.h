/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who pays for memory: see account.c.
 */
#ifndef ZCIPC_ACCOUNT_H
#define ZCIPC_ACCOUNT_H

#include "base/base.h"

struct zcipc_owner;

/**
 * struct zcipc_user - what one user owns
 * @entry: in the list of users
 * @uid: the effective user
 * @locker: the real user, who has what is pinned
 * @owner: whose limits count, NULL: there are none
 * @refs: endpoints and regions that refer to this
 * @regions: bytes charged for the pages of regions
 * @overhead: bytes charged for what the kernel needs beside these
 * @peak: the most pages that ever were charged, all in all
 * @npinned: pages pinned, a part of @locker->locked_vm
 * @kept: regions that are kept for endpoints, charged to this
 */
struct zcipc_user {
	struct list_head entry;
	kuid_t uid;
	struct user_struct *locker;
	struct zcipc_owner *owner;
	refcount_t refs;
	atomic_long_t regions;
	atomic_long_t overhead;
	atomic_long_t peak;
	atomic_long_t npinned;
	struct list_head kept;
};

void zcipc_account_init(bool (*free)(struct zcipc_user *user));
struct zcipc_user *zcipc_user_get(void);
struct zcipc_user *zcipc_user_ref(struct zcipc_user *user);
void zcipc_user_put(struct zcipc_user *user);
int zcipc_charge(struct zcipc_user *user, unsigned long npages);
void zcipc_charge_force(struct zcipc_user *user, unsigned long npages);
void zcipc_uncharge(struct zcipc_user *user, unsigned long npages);
int zcipc_charge_overhead(struct zcipc_user *user, size_t bytes);
void zcipc_charge_overhead_force(struct zcipc_user *user, size_t bytes);
void zcipc_uncharge_overhead(struct zcipc_user *user, size_t bytes);
unsigned long *zcipc_user_pooled(struct zcipc_user *user, unsigned int cache);
unsigned long zcipc_user_pages(const struct zcipc_user *user);
unsigned long zcipc_user_overhead(const struct zcipc_user *user);
unsigned long zcipc_pin_limit(void);
int zcipc_charge_pins(struct zcipc_user *user, unsigned long npages, unsigned long limit);
void zcipc_uncharge_pins(struct zcipc_user *user, unsigned long npages);

#endif /* ZCIPC_ACCOUNT_H */

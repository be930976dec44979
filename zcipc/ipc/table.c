// SPDX-License-Identifier: GPL-2.0
/*
 * Tables of capabilities: memory for them, and look-up by token.
 *
 * A token is an index and a generation, which grows each time that a capability gets that index. So
 * a token is never made twice, and one that is not in the table can be told apart: it is stale if
 * its index has had that generation, and otherwise never existed here.
 */
#include "base/base.h"

#include <linux/random.h>

#include "mem/account.h"
#include "map/extent.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"

static_assert(ilog2(ZCIPC_MAX_CAPS) <= ZCIPC_TOKEN_INDEX_BITS);
/* A free entry has room for an index, a generation, and what tells it from a pointer. */
static_assert(BITS_PER_LONG == 64);

static struct kmem_cache *zcipc_caps;

/* Capabilities are charged so many at a time. */
#define ZCIPC_CAPS_PAID		16U

/* A capability that is in no table yet, in memory of a NUMA node, or NULL. */
struct zcipc_cap *zcipc_cap_alloc(int node)
{
	struct zcipc_cap *cap = kmem_cache_alloc_node(zcipc_caps, GFP_KERNEL | __GFP_ZERO, node);

	if (cap) {
		INIT_LIST_HEAD(&cap->children);
		INIT_LIST_HEAD(&cap->sibling);
		INIT_LIST_HEAD(&cap->extent.slots);
		INIT_LIST_HEAD(&cap->notices);
		INIT_LIST_HEAD(&cap->msg.entry);
	}
	return cap;
}

/* Charges what capabilities need. With __GFP_NOFAIL it does. */
static int zcipc_cap_charge(struct zcipc_endpoint *ep, size_t bytes, gfp_t gfp)
{
	if (!(gfp & __GFP_NOFAIL))
		return zcipc_charge_overhead(ep->space.user, bytes);
	zcipc_charge_overhead_force(ep->space.user, bytes);
	return 0;
}

static int zcipc_cap_grow_table(struct zcipc_endpoint *ep, gfp_t gfp)
{
	u32 size = max(16U, 2 * ep->caps_size);
	void **caps;
	int ret;
	u32 i;

	if (size > ZCIPC_MAX_CAPS)
		return -ENOBUFS;
	caps = kvmalloc_array(size, sizeof(*caps), gfp | GFP_KERNEL_ACCOUNT);
	if (!caps)
		return -ENOMEM;
	ret = zcipc_cap_charge(ep, (size - ep->caps_size) * sizeof(*caps), gfp);
	if (ret) {
		kvfree(caps);
		return ret;
	}
	if (ep->caps_size)
		memcpy(caps, ep->caps, array_size(ep->caps_size, sizeof(*caps)));
	/* A free entry has a bit less for it, and there is to be room to grow. */
	if (!ep->first_generation)
		ep->first_generation = get_random_u64() >> (ZCIPC_TOKEN_INDEX_BITS + 2) | 1;
	for (i = ep->caps_size; i < size; i++)
		caps[i] = zcipc_cap_free_entry(ep->first_generation - 1, i + 1);
	/* There can be free ones still: a batch reserves many at once. Behind the last is none. */
	caps[size - 1] = zcipc_cap_free_entry(ep->first_generation - 1,
					      ep->caps_size ? ep->caps_free : 0);
	kvfree(ep->caps);
	ep->caps = caps;
	ep->caps_free = ep->caps_size;
	ep->caps_size = size;
	return 0;
}

/* zcipc_cap_reserve(), when there is no place yet. */
int zcipc_cap_reserve_more(struct zcipc_endpoint *ep, u32 n, gfp_t gfp)
{
	u32 more;
	int ret;

	lockdep_assert_held(&ep->space.lock);
	/* Half of the indices are never needed but for what comes back from dead peers. */
	if (ep->ncaps + n > ZCIPC_MAX_CAPS / 2 && !(gfp & __GFP_NOFAIL))
		return -ENOBUFS;
	while (ep->ncaps + n > ep->caps_size) {
		ret = zcipc_cap_grow_table(ep, gfp);
		if (ret)
			return ret;
	}
	if (ep->ncaps + n <= ep->caps_paid)
		return 0;
	more = ALIGN(ep->ncaps + n, ZCIPC_CAPS_PAID) - ep->caps_paid;
	ret = zcipc_cap_charge(ep, more * kmem_cache_size(zcipc_caps), gfp);
	if (!ret)
		ep->caps_paid += more;
	return ret;
}

/* There are fewer than have been paid for. The caller holds the lock. */
void zcipc_cap_refund(struct zcipc_endpoint *ep, u32 n)
{
	ep->caps_paid -= n;
	zcipc_uncharge_overhead(ep->space.user, n * kmem_cache_size(zcipc_caps));
}

/* The end of an endpoint's table. */
void zcipc_cap_free_table(struct zcipc_endpoint *ep)
{
	zcipc_cap_refund(ep, ep->caps_paid);
	zcipc_uncharge_overhead(ep->space.user, ep->caps_size * sizeof(*ep->caps));
	kvfree(ep->caps);
}

/* Why zcipc_cap_find() did not find a token. */
struct zcipc_cap *zcipc_cap_missing(const struct zcipc_endpoint *ep, u64 token)
{
	u64 last, generation = token >> ZCIPC_TOKEN_INDEX_BITS;
	u32 index = token & ZCIPC_TOKEN_INDEX_MASK;
	const void *entry;

	if (index >= ep->caps_size || generation < ep->first_generation)
		return ERR_PTR(-ENOENT);
	entry = ep->caps[array_index_nospec(index, ep->caps_size)];
	/* The generation that the index has, or had last. */
	if (zcipc_cap_entry_is_free(entry))
		last = (unsigned long)entry >> (ZCIPC_TOKEN_INDEX_BITS + 1);
	else
		last = ((const struct zcipc_cap *)entry)->extent.token >> ZCIPC_TOKEN_INDEX_BITS;
	return ERR_PTR(generation > last ? -ENOENT : -ESTALE);
}

/* Frees the memory of a capability to which nothing is left. */
void zcipc_cap_release(struct zcipc_cap *cap)
{
	kmem_cache_free(zcipc_caps, cap);
}

int zcipc_table_init(void)
{
	zcipc_caps = KMEM_CACHE(zcipc_cap, SLAB_ACCOUNT);
	return zcipc_caps ? 0 : -ENOMEM;
}

void zcipc_table_exit(void)
{
	kmem_cache_destroy(zcipc_caps);
}

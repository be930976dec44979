// SPDX-License-Identifier: GPL-2.0
/*
 * Direct transfers: MOVE straight from the caller's memory, which need not be a region before, and
 * need not begin or end at a page. The pages in between are taken out of the caller's address
 * space, and become a region of the peer's. The rest is copied. So it is for COPY, where the pages
 * in between are a snapshot of a region.
 *
 * While pages go away from the caller's memory its mmap_lock is held for writing, with the VMAs'
 * locks, and no lock of anybody else's. The peer's mmap_lock is only tried for, afterwards; where
 * somebody else has it, faults have to do.
 */
#include "base/base.h"
#include "mem/frame.h"
#include "mem/huge.h"
#include "mem/pins.h"
#include "mem/plan.h"
#include "mem/recycle.h"
#include "mem/region.h"
#include "map/memory.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "transfer/direct.h"

/* Copies a part of the caller's memory to new frames. The rest of them is zero. */
static int zcipc_direct_copy(struct zcipc_transfer_state *t, unsigned long addr, unsigned long end)
{
	struct zcipc_direct *direct = t->direct;
	unsigned long start = direct->addr - direct->skip;
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN;

	while (addr < end) {
		unsigned long n = min(end - addr, PAGE_SIZE - offset_in_page(addr));
		struct zcipc_frame **frame = &t->region->frames[(addr - start) >> PAGE_SHIFT];

		if (!*frame)
			*frame = zcipc_frame_alloc(gfp, NUMA_NO_NODE);
		if (!*frame)
			return -ENOMEM;
		if (n < PAGE_SIZE)
			clear_highpage(zcipc_frame_page(*frame));
		if (copy_from_user(page_address(zcipc_frame_page(*frame)) + offset_in_page(addr),
				   (void __user *)(addr + direct->tag), n))
			return -EFAULT;
		direct->copied += n;
		addr += n;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/* Is what cannot be handed over, for a reason, to be copied? */
bool zcipc_direct_may_copy(const struct zcipc_transfer *cmd, int ret)
{
	return cmd->flags & ZCIPC_F_COPY_OK &&
	       (ret == -EOPNOTSUPP || ret == -EACCES || ret == -ENOLCK || ret == -EDQUOT);
}

/* What is to be copied, and what not, of the memory that a transfer names. */
void zcipc_direct_init(struct zcipc_direct *direct, const struct zcipc_transfer *cmd)
{
	unsigned long addr = zcipc_untagged(cmd->offset), end = addr + cmd->len;
	unsigned long from = PAGE_ALIGN(addr), to = end & PAGE_MASK;

	*direct = (struct zcipc_direct){};
	direct->addr = addr;
	direct->tag = cmd->offset - addr;
	direct->len = cmd->len;
	direct->skip = offset_in_page(addr);
	direct->span = (PAGE_ALIGN(end) - (addr & PAGE_MASK)) >> PAGE_SHIFT;
	if (from < to) {
		direct->first = (from - direct->addr + direct->skip) >> PAGE_SHIFT;
		direct->npages = (to - from) >> PAGE_SHIFT;
	}
}

/* Copies what comes before and after the whole pages, or all if there are none. */
int zcipc_direct_copy_edges(struct zcipc_transfer_state *t)
{
	const struct zcipc_direct *direct = t->direct;
	unsigned long end = direct->addr + direct->len;
	unsigned long from = zcipc_direct_from(direct);
	int ret = zcipc_direct_copy(t, direct->addr, from);

	return ret ?: zcipc_direct_copy(t, from + (direct->npages << PAGE_SHIFT), end);
}

/* Pages are taken from where they are, or all is copied, and stays there. */
static const struct zcipc_transfer_ops zcipc_direct_moves = { .fresh = true, .places = true };
static const struct zcipc_transfer_ops zcipc_direct_copies = { .fresh = true, .places = true };

/* Makes the region. @copy: all is copied */
static int zcipc_direct_fill(struct zcipc_transfer_state *t, bool copy)
{
	struct zcipc_direct *direct = t->direct;
	struct zcipc_region *region = NULL;
	int ret = 0;

	t->ops = copy ? &zcipc_direct_copies : &zcipc_direct_moves;
	/* Where all is copied there may be memory that the peer has dropped. */
	if (copy)
		region = zcipc_recycle_take(&t->dst->kept, t->npages, 0);
	if (!region)
		region = zcipc_region_alloc(t->dst->space.user, t->npages, true);
	if (IS_ERR(region))
		return PTR_ERR(region);
	t->region = region;
	if (copy) {
		direct->first = 0;
		direct->npages = 0;
		direct->copied = 0;
	} else {
		ret = zcipc_import_check(direct->addr & PAGE_MASK, t->npages, NULL);
	}
	/* First: this may wait for as long as anybody likes, and pins are to be for a moment. */
	ret = ret ?: zcipc_direct_copy_edges(t);
	if (ret || !direct->npages)
		return ret;
	return zcipc_import_pin(region, direct->first, direct->npages, zcipc_direct_from(direct),
				t->dst->pin_limit, t->dst->space.user == t->src->space.user);
}

/*
 * Makes a region of memory that stays where it is for now. No lock is held. Returns 0 or an errno
 * of struct zcipc_transfer.
 */
int zcipc_direct_prepare(struct zcipc_transfer_state *t)
{
	bool copy = t->cmd->type == ZCIPC_COPY;
	int ret;

	zcipc_direct_init(t->direct, t->cmd);
	t->npages = t->direct->span;
	t->rights = t->cmd->rights ?: ZCIPC_RIGHTS_ALL;
	t->cap = zcipc_cap_alloc(READ_ONCE(t->dst->node));
	if (!t->cap)
		return -ENOMEM;
	ret = zcipc_direct_fill(t, copy);
	/* What others can reach, or is read-only, stays where it is. */
	if (copy || !zcipc_direct_may_copy(t->cmd, ret))
		return ret;
	if (t->region)
		zcipc_region_put(t->region);
	t->region = NULL;
	return zcipc_direct_fill(t, true);
}

/*
 * Frames that somebody holds while they are still mapped will be held afterwards. Then it is too
 * late to fail, as it is for parts of huge pages, which another user does not get.
 */
static int zcipc_direct_expect_held(struct zcipc_transfer_state *t)
{
	unsigned long i, all = 0, end = t->direct->first + t->direct->npages;
	bool others = t->dst->space.user != t->src->space.user, is_free;
	struct zcipc_frame **frames = t->region->frames;
	struct folio *huge = NULL;
	struct zcipc_frame *spare;

	for (i = t->direct->first; i < end; i++) {
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
		if (others && i >= all && zcipc_frame_in_huge(frames[i]))
			all = i + zcipc_parts_all(frames + i, end - i);
		is_free = zcipc_import_is_free(zcipc_frame_imported(frames[i]), true, &huge);
		if (is_free && (!others || i < all || !zcipc_frame_in_huge(frames[i])))
			continue;
		if (!is_free && t->cmd->flags & ZCIPC_F_STRICT)
			return -EBUSY;
		spare = zcipc_frame_alloc(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, t->plan.node);
		if (!spare)
			return -ENOMEM;
		list_add(&zcipc_frame_page(spare)->lru, &t->plan.spares);
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static void zcipc_direct_free_spares(struct zcipc_transfer_state *t)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &t->plan.spares, lru) {
		list_del(&page->lru);
		zcipc_frame_put((struct zcipc_frame *)page, NULL);
	}
}

/*
 * Takes the pages away from where they were. For that the caller's mmap_lock is held for writing,
 * which keeps all its threads from their memory: so nothing that others have is waited for, and
 * there is room at the peer already.
 */
static int zcipc_direct_zap(struct zcipc_transfer_state *t)
{
	const struct zcipc_direct *direct = t->direct;
	unsigned long from = zcipc_direct_from(direct);
	struct mm_struct *mm = t->src->space.mm;
	int ret;

	ret = mmap_write_lock_killable(mm);
	if (ret)
		return ret;
	ret = zcipc_import_lock(from, direct->npages);
	if (!ret)
		ret = zcipc_direct_expect_held(t);
	zcipc_test_point("expected");
	if (!ret)
		zcipc_import_zap(from, direct->npages);
	mmap_write_unlock(mm);
	return ret;
}

/* What has been taken away becomes the region's. Only a strict transfer can fail. */
static int zcipc_direct_take(struct zcipc_transfer_state *t)
{
	int ret = 0;

	t->plan.strict = false;
	zcipc_region_lock_new(t->region);
	WARN_ON_ONCE(zcipc_region_plan(t->region, 0, t->npages, GFP_KERNEL | __GFP_NOFAIL,
				       &t->plan));
	if (t->plan.held && t->cmd->flags & ZCIPC_F_STRICT) {
		zcipc_region_plan_free(&t->plan);
		ret = -EBUSY;
	} else {
		zcipc_region_replace(t->region, 0, &t->plan);
		/* What is left it has got whole, so from now on it pays for what it gives up. */
		if (t->plan.others)
			zcipc_region_give_parts(t->region, t->region->user, t->region->user);
	}
	mutex_unlock(&t->region->lock);
	return ret;
}

/* Takes room at the peer, as zcipc_transfer_admit(). */
int zcipc_direct_admit(struct zcipc_transfer_state *t)
{
	t->window = zcipc_region_window(&t->dst->space, t->region, t->region->npinned, true);
	return zcipc_transfer_reserve(t, t->region);
}

/*
 * Takes the pages from the caller, as zcipc_transfer_work(). No lock is held. Leaves nothing for
 * zcipc_transfer_abort(), so it is not ZCIPC_BEGUN: zcipc_direct_restore() gives the pages back.
 */
int zcipc_direct_work(struct zcipc_transfer_state *t)
{
	int ret = 0;

	zcipc_transfer_plan(t, t->src->space.user);
	if (t->direct->npages) {
		ret = zcipc_direct_zap(t);
		t->direct->taken = !ret;
	}
	zcipc_test_point("unmapped");
	if (t->direct->taken)
		ret = zcipc_direct_take(t);
	zcipc_direct_free_spares(t);
	return ret;
}

/* Gives the pages back after a failure: somebody got hold of one in the last moment, say. */
void zcipc_direct_restore(struct zcipc_transfer_state *t)
{
	const struct zcipc_direct *direct = t->direct;

	if (direct->taken && zcipc_import_restore(t->region, direct->first, direct->npages,
						  zcipc_direct_from(direct)))
		send_sig(SIGKILL, current, 1);
}

/* What is left to be done to the caller's memory, of which all has been sent. No lock is held. */
void zcipc_direct_end(struct zcipc_transfer_state *t)
{
	const struct zcipc_direct *direct = t->direct;
	unsigned long end = direct->addr + direct->len, from = zcipc_direct_from(direct);
	unsigned long to = from + (direct->npages << PAGE_SHIFT);
	unsigned long left, tag = direct->tag;

	if (t->ops != &zcipc_direct_moves)
		return;
	/* Pages of which only a part was sent. Who makes them unwritable meanwhile keeps them. */
	left = clear_user((void __user *)(direct->addr + tag), from - direct->addr) +
	       clear_user((void __user *)(to + tag), end - to);
	if (!left && direct->npages && t->cmd->flags & ZCIPC_F_UNMAP)
		vm_munmap(from, to - from);
}

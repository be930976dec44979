// SPDX-License-Identifier: GPL-2.0
/*
 * Calls about the caller's own memory: REGION_IMPORT makes it a region that stays where it is, and
 * REGION_ORDINARY makes it ordinary again.
 */
#include "base/base.h"
#include "base/ucmd.h"
#include "mem/account.h"
#include "mem/frame.h"
#include "mem/pins.h"
#include "mem/region.h"
#include "map/adopted.h"
#include "map/file.h"
#include "map/insert.h"
#include "map/memory.h"
#include "map/slot.h"
#include "map/unmap.h"
#include "ipc/cap.h"
#include "ipc/endpoint.h"
#include "calls/calls.h"

/* Pages that are copied under one round of locks. */
#define ZCIPC_COPY_BATCH	16UL

/* With no more VMAs than this a process is far from any limit (vm.max_map_count). */
#define ZCIPC_FEW_VMAS		512

/* So many are left to a process after an import, which itself can take two. */
#define ZCIPC_SPARE_VMAS	64

/* So many are tried at once. The more, the longer is the result good for. */
#define ZCIPC_GUARD_VMAS	(2UL * ZCIPC_SPARE_VMAS)

/* How many VMAs of its own the current task's process can have at the moment, up to a number. */
static long zcipc_import_guard(unsigned long max)
{
	unsigned long addr, i, n, len = (2 * max - 1) << PAGE_SHIFT;

	/*
	 * Shared, so that it has a file of its own, and no neighbour is merged with it. Each hole
	 * makes one VMA more. Others may map something there, so holes are never unmapped again.
	 */
	addr = vm_mmap(NULL, 0, len, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, 0);
	if (IS_ERR_VALUE(addr))
		return addr;
	for (n = 1; n < max; n++)
		if (vm_munmap(addr + ((2 * n - 1) << PAGE_SHIFT), PAGE_SIZE))
			break;
	/* Each is a VMA, or is the end of one: nothing is split, so no limit forbids it. */
	for (i = 0; i < n - 1; i++)
		vm_munmap(addr + ((2 * i) << PAGE_SHIFT), PAGE_SIZE);
	vm_munmap(addr + ((2 * i) << PAGE_SHIFT), len - ((2 * i) << PAGE_SHIFT));
	return n;
}

/*
 * Leaves an import VMAs to spare? At the limit no mmap() of the process works any more, and that of
 * zcipc_import_give_back_one() would not either. Modules cannot see the limit, so they have to try.
 * The caller holds ep->space.adopt_lock. Returns 0, or -ENOMEM, -ENOLCK, -EINTR.
 */
static int zcipc_import_spare_vmas(struct zcipc_endpoint *ep)
{
	int count = READ_ONCE(ep->space.mm->map_count);
	long n;

	if (count + ZCIPC_SPARE_VMAS <= max(ep->space.known_vmas, ZCIPC_FEW_VMAS))
		return 0;
	n = zcipc_import_guard(ZCIPC_GUARD_VMAS);
	if (n < 0)
		/* Of what mlockall() would lock too much mmap() says it its way. */
		return n == -EAGAIN ? -ENOLCK : n;
	ep->space.known_vmas = min(count, READ_ONCE(ep->space.mm->map_count)) + n;
	return n < ZCIPC_SPARE_VMAS ? -ENOMEM : 0;
}

/* mmap() in place of what is there. */
static int zcipc_import_map_over(struct file *file, unsigned long addr, unsigned long len,
				 unsigned long prot, unsigned long flags, unsigned long pgoff)
{
	unsigned long ret;
	int tries = 3;

	/* It may work once the kernel has looked for memory. */
	do {
		ret = vm_mmap(file, addr, len, prot, flags | MAP_FIXED, pgoff << PAGE_SHIFT);
	} while (ret == -ENOMEM && --tries);
	if (!IS_ERR_VALUE(ret))
		return 0;
	/* Of what mlockall() would lock too much, and of what is sealed, mmap() says it its way. */
	if (ret == -EAGAIN)
		return -ENOLCK;
	return ret == -EPERM ? -EOPNOTSUPP : ret;
}

/*
 * Enters a new region, and sets @token and @id. @adoption: it is to be mapped where it is; NULL: it
 * is a file's, and maps nothing
 */
static int zcipc_import_install(struct zcipc_endpoint *ep, struct zcipc_cap *cap,
				struct zcipc_region *region, u32 rights,
				struct zcipc_adoption *adoption, u64 *token, u64 *id)
{
	unsigned long pgoff;
	int ret;

	mutex_lock(&ep->space.lock);
	ret = zcipc_cap_reserve(ep, 1, GFP_KERNEL);
	if (!ret && adoption)
		ret = zcipc_adopted_reserve(&ep->space, adoption->start, region->npages, &pgoff);
	if (ret)
		goto out;
	zcipc_region_lock_new(region);
	zcipc_cap_enter(cap, ep);
	zcipc_cap_install(cap, region, NULL, 0, region->npages, rights);
	if (adoption) {
		zcipc_slot_install(&cap->slot, &cap->extent, pgoff, 0, region->npages, true);
		cap->slot.addr = adoption->start;
		/* Nobody else can use it before its memory is where it belongs. */
		cap->extent.unready = true;
		ep->space.adoption = adoption;
	}
	mutex_unlock(&region->lock);
	*token = cap->extent.token;
	*id = region->id;
out:
	mutex_unlock(&ep->space.lock);
	return ret;
}

/* Maps what is in a range of what is being adopted. */
static int zcipc_import_map_range(struct file *file, const struct zcipc_adoption *adoption,
				  unsigned long addr, unsigned long end)
{
	const struct zcipc_slot *slot = adoption->slot;
	unsigned long pgoff = slot->pgoff + (addr >> PAGE_SHIFT) - (slot->addr >> PAGE_SHIFT);

	return addr < end ? zcipc_import_map_over(file, addr, end - addr, PROT_READ | PROT_WRITE,
						  MAP_SHARED, pgoff) : 0;
}

/*
 * Maps what is being adopted, as one VMA with as much of what is beside it as is good. If it fails
 * what is beside it is as it was, or the process is killed.
 */
static int zcipc_import_map(struct zcipc_ucmd *ucmd, struct zcipc_adoption *adoption)
{
	unsigned long addr = adoption->start, end = adoption->end;
	int ret;

	zcipc_adopted_join(&ucmd->ep->space, adoption);
	zcipc_test_point("joined");
	ret = zcipc_import_map_range(ucmd->file, adoption, adoption->start, adoption->end);
	if (!ret)
		return 0;
	if (adoption->emptied) {
		if (zcipc_import_map_range(ucmd->file, adoption, adoption->start, addr) ||
		    zcipc_import_map_range(ucmd->file, adoption, end, adoption->end))
			send_sig(SIGKILL, current, 1);
		return ret;
	}
	if (adoption->start == addr && adoption->end == end)
		return ret;
	/* Another thread has changed what is beside it. */
	adoption->start = addr;
	adoption->end = end;
	return zcipc_import_map_range(ucmd->file, adoption, addr, end);
}

/* Inserts the PTEs of what a capability maps, if it is still there, and the mmap_lock is free. */
static void zcipc_import_populate(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;

	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return;
	if (mmap_read_trylock(ep->space.mm)) {
		list_for_each_entry(slot, &cap->extent.slots, entry)
			if (!slot->view)
				zcipc_slot_populate_long(slot);
		mmap_read_unlock(ep->space.mm);
	}
	zcipc_region_unlock_put(cap->extent.region);
}

/*
 * Makes the caller's memory a region that stays where it is, and sets @token to a capability with
 * all rights, and @id. @implicit: that is to go with the mapping. No lock is held. Returns 0, or an
 * errno of struct zcipc_region_import.
 */
int zcipc_import_adopt(struct zcipc_ucmd *ucmd, unsigned long addr, unsigned long npages,
		       bool implicit, u64 *token, u64 *id)
{
	struct zcipc_adoption adoption = {
		.task = current, .start = addr, .end = addr + (npages << PAGE_SHIFT),
	};
	struct zcipc_endpoint *ep = ucmd->ep;
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	bool gone, secret = false;
	int ret;

	ret = zcipc_import_check(addr, npages, &secret);
	if (ret)
		return ret;
	region = zcipc_region_alloc(ep->space.user, npages, true);
	if (IS_ERR(region))
		return PTR_ERR(region);
	ret = zcipc_import_pin(region, 0, npages, addr, zcipc_pin_limit(), true);
	if (ret)
		goto out;
	cap = zcipc_cap_alloc(NUMA_NO_NODE);
	if (!cap) {
		ret = -ENOMEM;
		goto out;
	}
	cap->slot.secret = secret;
	adoption.slot = &cap->slot;
	ret = mutex_lock_killable(&ep->space.adopt_lock);
	if (ret)
		goto out_free;
	ret = zcipc_import_spare_vmas(ep);
	if (ret)
		goto out_unlock;
	ret = zcipc_import_install(ep, cap, region, ZCIPC_RIGHTS_ALL, &adoption, token, id);
	if (ret)
		goto out_unlock;
	ret = zcipc_import_map(ucmd, &adoption);
	/* As in zcipc_import_zap(). */
	zcipc_lru_drain();
	zcipc_test_point("adopted");
	mutex_lock(&ep->space.lock);
	ep->space.adoption = NULL;
	cap->extent.unready = false;
	/* Another thread has unmapped all of it already, and will not do so again. */
	gone = !ret && implicit && !cap->slot.nmapped;
	if (ret || gone)
		zcipc_cap_remove(cap);
	else if (implicit)
		cap->implicit = true;
	mutex_unlock(&ep->space.lock);
	cap = NULL;
	if (gone) {
		ret = -EFAULT;
	} else if (!ret && adoption.emptied) {
		zcipc_adopted_populate(&ep->space, adoption.start, adoption.end);
	} else if (!ret) {
		zcipc_import_populate(ep, *token);
	} else if (zcipc_import_restore(region, 0, npages, addr)) {
		/* mmap() takes away what is there before it can fail. */
		send_sig(SIGKILL, current, 1);
	}
out_unlock:
	mutex_unlock(&ep->space.adopt_lock);
out_free:
	zcipc_cap_free(cap);
out:
	zcipc_region_put(region);
	return ret;
}

/* Nobody has been told the token: the capability goes with the mapping, which may have gone. */
static void zcipc_import_forget(struct zcipc_endpoint *ep, u64 token)
{
	struct zcipc_cap *cap;

	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find(ep, token);
	if (!IS_ERR(cap) && (cap->extent.region->file || !cap->extent.nslots ||
			     (cap->slot.addr && !cap->slot.nmapped)))
		zcipc_cap_remove(cap);
	else if (!IS_ERR(cap))
		cap->implicit = true;
	mutex_unlock(&ep->space.lock);
}

/*
 * Replaces imported frames among @n of a capability, from @at on, by copies of them in @frames,
 * which are NULL then. Returns how many, or an errno, or 0 behind the end of the range.
 */
static long zcipc_import_copy_some(struct zcipc_endpoint *ep, u64 token, unsigned long at,
				   struct zcipc_frame **frames, unsigned long n, u64 *copied)
{
	struct zcipc_frame *frame;
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	unsigned long i;

	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find_locked(ep, ep, token);
	if (IS_ERR(cap)) {
		mutex_unlock(&ep->space.lock);
		return PTR_ERR(cap);
	}
	region = cap->extent.region;
	n = min(n, cap->extent.npages - min(at, cap->extent.npages));
	at += cap->extent.first;
	if (region->npinned && zcipc_region_count_pins(region, at, n)) {
		zcipc_region_unmap(region, at, n, NULL);
		for (i = 0; i < n; i++) {
			frame = region->frames[at + i];
			if (!zcipc_frame_is_imported(frame))
				continue;
			copy_highpage(zcipc_frame_page(frames[i]), zcipc_frame_page(frame));
			zcipc_region_set_frame(region, at + i, frames[i]);
			frames[i] = NULL;
			zcipc_frame_put(frame, region->user);
			*copied += PAGE_SIZE;
			zcipc_count(&ep->space, region, COPIED_MEMORY, PAGE_SIZE);
		}
	}
	mutex_unlock(&region->lock);
	mutex_unlock(&ep->space.lock);
	return n;
}

/* Replaces all imported frames of a capability's range by copies. */
static int zcipc_import_copy_all(struct zcipc_endpoint *ep, u64 token, u64 *copied)
{
	struct zcipc_frame *frames[ZCIPC_COPY_BATCH] = {};
	unsigned long i, at = 0;
	long n;

	do {
		/* Not under the locks: who has to free the memory may wait for them. */
		for (i = 0, n = 0; i < ZCIPC_COPY_BATCH && !n; i++) {
			if (!frames[i])
				frames[i] = zcipc_frame_alloc(GFP_KERNEL | __GFP_NOWARN,
							      NUMA_NO_NODE);
			if (!frames[i])
				n = -ENOMEM;
		}
		if (!n)
			n = zcipc_import_copy_some(ep, token, at, frames, ZCIPC_COPY_BATCH, copied);
		if (n > 0)
			at += n;
		if (n > 0 && fatal_signal_pending(current))
			n = -EINTR;
		cond_resched();
	} while (n > 0);
	for (i = 0; i < ZCIPC_COPY_BATCH; i++)
		if (frames[i])
			zcipc_frame_put(frames[i], NULL);
	return n;
}

/*
 * Copies what a capability names to the current task's memory, whatever the protection there is.
 * What has been moved away, be it in the meantime, is new memory.
 */
static int zcipc_import_fill(struct zcipc_endpoint *ep, const struct zcipc_adopted *to, u64 *copied)
{
	unsigned long addr, i = to->first;
	struct zcipc_cap *cap;
	int n;

	for (addr = to->addr; addr < to->end; addr += PAGE_SIZE, i++) {
		struct page *page = NULL;

		cond_resched();
		cap = zcipc_cap_find_region(ep, to->token);
		if (IS_ERR(cap))
			return 0;
		if (cap->extent.region->frames[i]) {
			page = zcipc_frame_page(cap->extent.region->frames[i]);
			get_page(page);
		}
		zcipc_region_unlock_put(cap->extent.region);
		if (!page)
			continue;
		n = access_process_vm(current, addr, page_address(page), PAGE_SIZE,
				      FOLL_WRITE | FOLL_FORCE);
		put_page(page);
		if (n != PAGE_SIZE)
			return fatal_signal_pending(current) ? -EINTR : -ENOMEM;
		*copied += PAGE_SIZE;
	}
	return 0;
}

/* Keeps a capability that would go with its mapping. Returns whether it would. */
static bool zcipc_import_keep(struct zcipc_endpoint *ep, u64 token)
{
	bool implicit = false;
	struct zcipc_cap *cap;

	mutex_lock(&ep->space.lock);
	cap = zcipc_cap_find(ep, token);
	if (!IS_ERR(cap))
		swap(cap->implicit, implicit);
	mutex_unlock(&ep->space.lock);
	return implicit;
}

/*
 * Makes a range of adopted memory anonymous memory again. Returns 0 or an errno. The process is
 * killed if it would have lost something.
 */
static int zcipc_import_give_back_one(struct zcipc_endpoint *ep, const struct zcipc_adopted *part,
				      u64 *copied)
{
	bool implicit = zcipc_import_keep(ep, part->token);
	struct zcipc_adopted still;
	int ret;

	ret = zcipc_import_map_over(NULL, part->addr, part->end - part->addr, part->prot,
				    MAP_PRIVATE | MAP_ANONYMOUS, 0);
	zcipc_test_point("emptied");
	/* mmap() may have taken away what was there before it failed. */
	if (ret && zcipc_adopted_find(&ep->space, part->addr, part->end, &still) &&
	    still.addr == part->addr)
		goto out;
	if (!ret)
		ret = zcipc_import_fill(ep, part, copied);
	if (ret)
		send_sig(SIGKILL, current, 1);
out:
	if (implicit)
		zcipc_import_forget(ep, part->token);
	return ret;
}

/* Makes adopted memory in a range anonymous memory again: all, or that of a capability. */
static int zcipc_import_give_back(struct zcipc_endpoint *ep, u64 token, unsigned long addr,
				  unsigned long end, u64 *copied)
{
	struct zcipc_adopted part;
	int ret = 0;

	for (; !ret && zcipc_adopted_find(&ep->space, addr, end, &part); addr = part.end)
		if (!token || part.token == token)
			ret = zcipc_import_give_back_one(ep, &part, copied);
	return ret;
}

/*
 * Makes shared memory of the current task a region, and sets @token to a capability with the rights
 * that the mapping has, and GRANT, and @id. @implicit: that is to go with the last that is derived
 * from it. No lock is held. Returns 0, or -EFAULT, -EACCES, -EOPNOTSUPP, -ENOBUFS, -EDQUOT,
 * -ENOMEM, -EINTR.
 */
int zcipc_import_file(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
		      bool implicit, u64 *token, u64 *id)
{
	struct zcipc_region *region;
	struct zcipc_cap *cap;
	unsigned long pgoff;
	struct file *file;
	u32 rights;
	int ret;

	file = zcipc_file_get(addr, npages, &pgoff, &rights);
	if (IS_ERR(file))
		return PTR_ERR(file);
	region = zcipc_region_alloc_file(ep->space.user, npages, file, pgoff);
	if (IS_ERR(region)) {
		fput(file);
		return PTR_ERR(region);
	}
	ret = -ENOMEM;
	cap = zcipc_cap_alloc(NUMA_NO_NODE);
	if (cap) {
		cap->implicit = implicit;
		ret = zcipc_import_install(ep, cap, region, rights, NULL, token, id);
		if (ret)
			zcipc_cap_free(cap);
	}
	zcipc_region_put(region);
	return ret;
}

/* ZCIPC_IOC_REGION_IMPORT */
int zcipc_import_memory(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_import *cmd = ucmd->cmd;
	u64 addr = zcipc_untagged(cmd->addr);
	int ret;

	if (!cmd->len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(cmd->len) ||
	    cmd->len >> PAGE_SHIFT > ZCIPC_MAX_REGION_PAGES ||
	    addr + cmd->len < addr || addr + cmd->len > TASK_SIZE)
		return -EINVAL;
	if (zcipc_ucmd_probe(ucmd))
		return -EFAULT;
	ret = zcipc_import_adopt(ucmd, addr, cmd->len >> PAGE_SHIFT, false, &cmd->cap,
				 &cmd->region);
	if (ret == -EOPNOTSUPP)
		ret = zcipc_import_file(ucmd->ep, addr, cmd->len >> PAGE_SHIFT, false,
					&cmd->cap, &cmd->region);
	if (ret)
		return ret;
	if (zcipc_ucmd_respond(ucmd))
		zcipc_import_forget(ucmd->ep, cmd->cap);
	return 0;
}

/* What one's own capability names: all of it is copied, and what is one's own memory given back. */
static int zcipc_import_ordinary_cap(struct zcipc_endpoint *ep, u64 token, u64 *copied)
{
	unsigned long addr, end;
	struct zcipc_cap *cap;
	int ret;

	ret = zcipc_import_copy_all(ep, token, copied);
	if (ret)
		return ret;
	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return PTR_ERR(cap);
	addr = cap->slot.addr;
	end = addr ? addr + (cap->slot.npages << PAGE_SHIFT) : 0;
	zcipc_region_unlock_put(cap->extent.region);
	ret = zcipc_import_give_back(ep, token, addr, end, copied);
	zcipc_import_populate(ep, token);
	return ret;
}

/* ZCIPC_IOC_REGION_ORDINARY */
int zcipc_import_ordinary(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_ordinary *cmd = ucmd->cmd;
	u64 addr = zcipc_untagged(cmd->addr), end = addr + cmd->len;
	int ret;

	if (cmd->cap ? cmd->addr || cmd->len :
	    !cmd->len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(cmd->len) ||
	    end < addr || end > TASK_SIZE)
		return -EINVAL;
	if (zcipc_ucmd_probe(ucmd))
		return -EFAULT;
	cmd->copied = 0;
	if (cmd->cap)
		ret = zcipc_import_ordinary_cap(ucmd->ep, cmd->cap, &cmd->copied);
	else
		ret = zcipc_import_give_back(ucmd->ep, 0, addr, end, &cmd->copied);
	if (ret)
		return ret;
	zcipc_ucmd_respond(ucmd);
	return 0;
}

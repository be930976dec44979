// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: the VMA in which an endpoint sees memory, the slots in it, and its faults. The only file
 * that touches VMAs and PTEs.
 *
 * A slot is a range of file offsets of the endpoint's own inode. Taking pages away is done by core
 * mm for such a range, in all VMAs and with all TLB flushes that are due. PTEs are inserted with
 * vm_insert_pages(), which knows how to count them, and are read-only: page_mkwrite makes
 * vma_set_page_prot() leave out the write bit. Where a slot and a frame are writable the bit is set
 * right after that.
 *
 * A PTE never shows anything but the frame that the slot's region has at that place, and is never
 * writable, nor dirty, unless slot and frame are writable: see zcipc.h for why that holds.
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>

#include "zcipc.h"

/* A fault brings this many pages. */
#define ZCIPC_FAULT_AROUND	16UL

/* Work between two calls of cond_resched(). */
#define ZCIPC_INSERT_CHUNK	512UL

u64 zcipc_slot_addr(const struct zcipc_endpoint *ep, const struct zcipc_slot *slot)
{
	return ep->window_addr + (slot->pgoff << PAGE_SHIFT);
}

static int zcipc_slot_compare(const void *key, const struct rb_node *node)
{
	const struct zcipc_slot *slot = rb_entry(node, struct zcipc_slot, node);
	unsigned long pgoff = *(const unsigned long *)key;

	if (pgoff < slot->pgoff)
		return -1;
	return pgoff >= slot->pgoff + slot->npages;
}

static bool zcipc_slot_less(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct zcipc_slot, node)->pgoff <
	       rb_entry(b, struct zcipc_slot, node)->pgoff;
}

/* The slot that occupies a page of the window, or NULL. The caller holds the endpoint's lock. */
struct zcipc_slot *zcipc_slot_find(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	struct rb_node *node = rb_find(&pgoff, &ep->slots, zcipc_slot_compare);

	lockdep_assert_held(&ep->lock);
	return node ? rb_entry(node, struct zcipc_slot, node) : NULL;
}

/**
 * zcipc_slot_reserve() - find room in the window
 * @ep: the endpoint; the caller holds its lock
 * @slot: a new slot
 * @npages: number of pages
 *
 * First fit, so that page tables which are there already are used again. zcipc_slot_install() or
 * zcipc_slot_abort() must follow.
 *
 * Return: 0, or -ENOBUFS when the window could not have room even if it were empty, -EAGAIN when
 * there is no gap that is large enough
 */
int zcipc_slot_reserve(struct zcipc_endpoint *ep, struct zcipc_slot *slot, unsigned long npages)
{
	unsigned long pgoff;

	lockdep_assert_held(&ep->lock);
	if (npages > ep->window_npages)
		return -ENOBUFS;
	pgoff = bitmap_find_next_zero_area(ep->window_used, ep->window_npages, ep->window_hint,
					   npages, 0);
	if (pgoff >= ep->window_npages)
		return -EAGAIN;
	bitmap_set(ep->window_used, pgoff, npages);
	/* Only what has no gap before it says where the first gap is. */
	if (pgoff == ep->window_hint)
		ep->window_hint += npages;
	slot->pgoff = pgoff;
	slot->npages = npages;
	return 0;
}

static void zcipc_slot_release(struct zcipc_endpoint *ep, struct zcipc_slot *slot)
{
	bitmap_clear(ep->window_used, slot->pgoff, slot->npages);
	ep->window_hint = min(ep->window_hint, slot->pgoff);
}

/* Takes zcipc_slot_reserve() back. The slot remains the caller's to free. */
void zcipc_slot_abort(struct zcipc_endpoint *ep, struct zcipc_slot *slot)
{
	zcipc_slot_release(ep, slot);
}

/**
 * zcipc_slot_install() - make a slot show a range
 * @slot: reserved; the caller still holds the endpoint's lock
 * @cap: installed; the caller holds the region's lock
 * @first: first page in the region, in the range of @cap
 * @writable: PTEs may be writable
 */
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_cap *cap, unsigned long first,
			bool writable)
{
	slot->cap = cap;
	slot->first = first;
	slot->writable = writable;
	rb_add(&slot->node, &cap->ep->slots, zcipc_slot_less);
	list_add_tail(&slot->cap_entry, &cap->slots);
	zcipc_stat_inc(MAPS);
}

/* Takes what a slot shows out of all page tables, and flushes TLBs. */
void zcipc_slot_unmap(struct zcipc_slot *slot)
{
	unmap_mapping_pages(slot->cap->ep->inode->i_mapping, slot->pgoff, slot->npages, false);
}

/**
 * zcipc_slot_remove() - remove a slot and free its place
 * @slot: shows nothing any more: a place must not be used again while PTEs are left. The caller
 *	holds the locks of endpoint and region.
 */
void zcipc_slot_remove(struct zcipc_slot *slot)
{
	struct zcipc_endpoint *ep = slot->cap->ep;

	lockdep_assert_held(&ep->lock);
	lockdep_assert_held(&slot->cap->region->lock);
	rb_erase(&slot->node, &ep->slots);
	list_del(&slot->cap_entry);
	zcipc_slot_release(ep, slot);
	kfree(slot);
	zcipc_stat_dec(MAPS);
}

/**
 * zcipc_slot_remove_at() - unmap and remove the slot that begins at an address
 * @ep: the endpoint
 * @addr: user address, page aligned
 *
 * Return: 0, or -ENOENT
 */
int zcipc_slot_remove_at(struct zcipc_endpoint *ep, u64 addr)
{
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	int ret = -ENOENT;

	mutex_lock(&ep->lock);
	slot = addr >= ep->window_addr ?
		zcipc_slot_find(ep, (addr - ep->window_addr) >> PAGE_SHIFT) : NULL;
	if (slot && zcipc_slot_addr(ep, slot) == addr) {
		region = slot->cap->region;
		mutex_lock(&region->lock);
		zcipc_slot_unmap(slot);
		zcipc_slot_remove(slot);
		mutex_unlock(&region->lock);
		zcipc_endpoint_made_room(ep);
		ret = 0;
	}
	mutex_unlock(&ep->lock);
	return ret;
}

/* Sets the write bit of a PTE just inserted, if its frame can be written to in place. */
static int zcipc_pte_make_writable(pte_t *ptep, unsigned long addr, void *data)
{
	struct vm_area_struct *vma = data;
	pte_t pte = zcipc_ptep_get(ptep);

	if (pte_present(pte) && !pte_write(pte) && zcipc_frame_exclusive(pte_page(pte)))
		set_pte_at(vma->vm_mm, addr, ptep,
			   pte_mkdirty(zcipc_pte_mkwrite(pte_mkyoung(pte))));
	return 0;
}

/**
 * zcipc_slot_insert() - insert PTEs
 * @slot: the slot; the caller holds the locks of endpoint and region
 * @vma: a part of the window; the caller holds the mmap_lock or the VMA's lock
 * @pgoff: first page in the window, in both @slot and @vma
 * @npages: number of pages, all in both
 *
 * Stops at a page that has been moved away.
 *
 * Return: 0, or what vm_insert_pages() says: -EBUSY if something is mapped already, -ENOMEM
 */
static int zcipc_slot_insert(struct zcipc_slot *slot, struct vm_area_struct *vma,
			     unsigned long pgoff, unsigned long npages)
{
	struct page **pages = slot->cap->region->pages + slot->first + pgoff - slot->pgoff;
	unsigned long addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
	unsigned long n, left;
	int ret;

	lockdep_assert_held(&slot->cap->ep->lock);
	lockdep_assert_held(&slot->cap->region->lock);
	for (n = 0; n < npages && pages[n]; n++)
		;
	if (!n)
		return 0;
	left = n;
	ret = vm_insert_pages(vma, addr, pages, &left);
	/* Also where PTEs were there before: a page may just have become writable. */
	if (slot->writable && vma->vm_flags & VM_WRITE)
		apply_to_existing_page_range(vma->vm_mm, addr, n << PAGE_SHIFT,
					     zcipc_pte_make_writable, vma);
	return ret;
}

static bool zcipc_window_owns(const struct zcipc_endpoint *ep, const struct vm_area_struct *vma);

/**
 * zcipc_slot_populate() - insert the PTEs of a new slot
 * @slot: the slot; the caller holds the mmap_lock of the endpoint's mm, and the locks of endpoint
 *	and region
 *
 * The endpoint's process need not be the current one. What cannot be inserted (no memory, the owner
 * has unmapped a part of the window) is left to faults.
 */
void zcipc_slot_populate(struct zcipc_slot *slot)
{
	struct zcipc_endpoint *ep = slot->cap->ep;
	unsigned long pgoff = slot->pgoff;
	unsigned long end = slot->pgoff + slot->npages;

	mmap_assert_locked(ep->mm);
	while (pgoff < end) {
		unsigned long addr = ep->window_addr + (pgoff << PAGE_SHIFT);
		struct vm_area_struct *vma = vma_lookup(ep->mm, addr);
		unsigned long n;

		if (!vma || !zcipc_window_owns(ep, vma) || !(vma->vm_flags & VM_READ))
			return;
		n = min3(end - pgoff, (vma->vm_end - addr) >> PAGE_SHIFT, ZCIPC_INSERT_CHUNK);
		if (zcipc_slot_insert(slot, vma, pgoff, n))
			return;
		pgoff += n;
		cond_resched();
	}
}

/*
 * A fault on the window: of a page that is not mapped, or a write to one mapped read-only. Inserts
 * the PTE itself, under the locks, instead of leaving it to core mm after they are released, when
 * the page may have been moved away.
 */
static vm_fault_t zcipc_window_resolve(struct vm_fault *vmf, bool write)
{
	struct vm_area_struct *vma = vmf->vma;
	struct zcipc_endpoint *ep = vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct zcipc_region *region;
	struct page *spare = NULL;
	struct zcipc_slot *slot;
	unsigned long index, n;
	bool again;
	int err;

	/*
	 * A child got the VMA by MADV_DOFORK: it is not ours to serve. Userfaultfd's write-protect
	 * markers take the place of PTEs, and would have to be resolved by its reader.
	 */
	if (vma->vm_mm != ep->mm || userfaultfd_wp(vma))
		return VM_FAULT_SIGBUS;
	do {
		again = false;
		mutex_lock(&ep->lock);
		slot = zcipc_slot_find(ep, vmf->pgoff);
		if (!slot || (write && !slot->writable))
			goto unlock;
		region = slot->cap->region;
		mutex_lock(&region->lock);
		zcipc_test_point("fault");
		index = slot->first + vmf->pgoff - slot->pgoff;
		if (!region->pages[index])
			goto unlock_region;
		/* A page_mkwrite caller has a reference to the page that was mapped. */
		if (write && zcipc_cow_break(region, index, &spare,
					     vmf->page == region->pages[index])) {
			again = true;
			goto unlock_region;
		}
		n = min3(slot->pgoff + slot->npages - vmf->pgoff,
			 (vma->vm_end - vmf->address) >> PAGE_SHIFT,
			 write ? 1UL : ZCIPC_FAULT_AROUND);
		err = zcipc_slot_insert(slot, vma, vmf->pgoff, n);
		ret = err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
		zcipc_stat_inc(FAULTS);
unlock_region:
		mutex_unlock(&region->lock);
unlock:
		mutex_unlock(&ep->lock);
		/* Not under the locks: who has to free the memory may wait for them. */
		if (again) {
			spare = zcipc_frame_alloc(GFP_KERNEL);
			again = spare;
		}
	} while (again);
	if (spare)
		zcipc_frame_put(spare);
	return ret;
}

static vm_fault_t zcipc_window_fault(struct vm_fault *vmf)
{
	return zcipc_window_resolve(vmf, vmf->flags & FAULT_FLAG_WRITE);
}

static vm_fault_t zcipc_window_mkwrite(struct vm_fault *vmf)
{
	return zcipc_window_resolve(vmf, true);
}

/* Maps nothing. That it exists lets newer kernels take faults under the VMA's lock alone. */
static vm_fault_t zcipc_window_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return 0;
}

/* The kernel splits the VMA, or copies it: for mremap(), which then fails, or for a child. */
static void zcipc_window_open(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;

	if (vma->vm_mm != ep->mm)
		return;
	mutex_lock(&ep->lock);
	ep->window_nvmas++;
	mutex_unlock(&ep->lock);
}

static void zcipc_window_close(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;
	bool last;

	if (vma->vm_mm != ep->mm)
		return;
	mutex_lock(&ep->lock);
	last = !--ep->window_nvmas;
	if (last && RB_EMPTY_ROOT(&ep->slots)) {
		ep->window_addr = 0;
		ep->window_npages = 0;
		kvfree(ep->window_used);
		ep->window_used = NULL;
	}
	mutex_unlock(&ep->lock);
	/* The address space goes away. A child may keep the file open for as long as it likes. */
	if (last && !atomic_read(&ep->mm->mm_users))
		zcipc_endpoint_shutdown(ep);
}

/* The place is known to peers. */
static int zcipc_window_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static const struct vm_operations_struct zcipc_window_ops = {
	.open = zcipc_window_open,
	.close = zcipc_window_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_window_fault,
	.map_pages = zcipc_window_map_pages,
	.page_mkwrite = zcipc_window_mkwrite,
};

static bool zcipc_window_owns(const struct zcipc_endpoint *ep, const struct vm_area_struct *vma)
{
	return vma->vm_ops == &zcipc_window_ops && vma->vm_private_data == ep &&
	       vma->vm_start - (vma->vm_pgoff << PAGE_SHIFT) == ep->window_addr;
}

/**
 * zcipc_window_mmap() - mmap() of an endpoint: make its window
 * @ep: the endpoint
 * @vma: the new VMA
 *
 * Context: The caller holds the mmap_lock for writing.
 * Return: 0, or -EPERM from another address space, -EINVAL for what is not a shared mapping from
 * offset 0, -EACCES for an executable one, -EBUSY if there is a window, -ENOMEM
 */
int zcipc_window_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	unsigned long npages = vma_pages(vma);
	unsigned long *used;
	int ret = 0;

	if (vma->vm_mm != ep->mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff || npages > ZCIPC_MAX_WINDOW_PAGES)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	used = kvcalloc(BITS_TO_LONGS(npages), sizeof(*used), GFP_KERNEL_ACCOUNT);
	if (!used)
		return -ENOMEM;

	mutex_lock(&ep->lock);
	if (ep->window_used) {
		ret = -EBUSY;
	} else {
		ep->window_addr = vma->vm_start;
		ep->window_npages = npages;
		ep->window_hint = 0;
		ep->window_nvmas = 1;
		swap(ep->window_used, used);
	}
	mutex_unlock(&ep->lock);
	kvfree(used);
	if (ret)
		return ret;

	/*
	 * Not inherited, not grown, not dumped: the contents are also other processes'. What is
	 * unmapped has been used once, as far as this VMA goes: VM_SEQ_READ tells core mm not to
	 * note that for page reclaim, which does not know these pages.
	 */
	zcipc_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP | VM_MIXEDMAP |
			   VM_SEQ_READ, VM_MAYEXEC);
	vma->vm_ops = &zcipc_window_ops;
	vma->vm_private_data = ep;
	return 0;
}

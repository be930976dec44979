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
#include <linux/sort.h>
#include <linux/userfaultfd_k.h>

#include "trace.h"
#include "zcipc.h"

/* A fault brings this many pages. */
#define ZCIPC_FAULT_AROUND	16UL

/* The most pages between two ranges that are unmapped together. */
#define ZCIPC_HIDE_MAX		512UL

/* And the most from the first to the last of them. */
#define ZCIPC_HIDE_SPAN		1048576UL

/* Work between two calls of cond_resched(). */
#define ZCIPC_INSERT_CHUNK	512UL

/* File offsets, in pages: each window has as many as it could use, executable mappings the rest. */
#define ZCIPC_WINDOW_SHIFT	(40 - PAGE_SHIFT)
#define ZCIPC_EXEC_START	((unsigned long)ZCIPC_WINDOW_MAX << ZCIPC_WINDOW_SHIFT)
#define ZCIPC_EXEC_END		(MAX_LFS_FILESIZE >> PAGE_SHIFT)

static_assert(ZCIPC_MAX_WINDOW_PAGES <= 1UL << ZCIPC_WINDOW_SHIFT);
static_assert(ZCIPC_WINDOW_OFFSET(1) == 1ULL << (ZCIPC_WINDOW_SHIFT + PAGE_SHIFT));

static unsigned long zcipc_window_pgoff(unsigned int cache)
{
	return (unsigned long)cache << ZCIPC_WINDOW_SHIFT;
}

/* The window that a file offset belongs to, which need not be there, or NULL. */
static struct zcipc_window *zcipc_window_at(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	unsigned long cache = pgoff >> ZCIPC_WINDOW_SHIFT;

	return cache < ZCIPC_WINDOW_MAX ? &ep->windows[cache] : NULL;
}

/* User address of an offset in a window. */
static u64 zcipc_window_addr(struct zcipc_endpoint *ep, unsigned long pgoff)
{
	const struct zcipc_window *window = zcipc_window_at(ep, pgoff);

	return window->addr + ((pgoff & ((1UL << ZCIPC_WINDOW_SHIFT) - 1)) << PAGE_SHIFT);
}

static bool zcipc_slot_is_exec(const struct zcipc_slot *slot)
{
	return slot->pgoff >= ZCIPC_EXEC_START;
}

/* Where a slot is: a user address, or the file offset of one that is executable. */
u64 zcipc_slot_addr(const struct zcipc_slot *slot)
{
	if (zcipc_slot_is_exec(slot))
		return (u64)slot->pgoff << PAGE_SHIFT;
	return zcipc_window_addr(slot->cap->ep, slot->pgoff);
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
 * zcipc_window_reserve() - find room in a window
 * @ep: the endpoint; the caller holds its lock
 * @cache: enum zcipc_cache of what is to be mapped
 * @npages: number of pages
 * @pgoff: [out] first page, as a file offset
 *
 * First fit, so that page tables which are there already are used again. zcipc_slot_install() or
 * zcipc_window_release() must follow.
 *
 * Return: 0, or -ENOBUFS when the window could not have room even if it were empty, -EAGAIN when
 * there is no gap that is large enough
 */
int zcipc_window_reserve(struct zcipc_endpoint *ep, unsigned int cache, unsigned long npages,
			 unsigned long *pgoff)
{
	struct zcipc_window *window = &ep->windows[cache];
	unsigned long start;

	lockdep_assert_held(&ep->lock);
	if (npages > window->npages)
		return -ENOBUFS;
	if (npages == 1)
		start = find_next_zero_bit(window->used, window->npages, window->hint);
	else
		start = bitmap_find_next_zero_area(window->used, window->npages, window->hint,
						   npages, 0);
	if (start >= window->npages)
		return -EAGAIN;
	if (npages == 1)
		__set_bit(start, window->used);
	else
		bitmap_set(window->used, start, npages);
	window->nused += npages;
	/* Only what has no gap before it says where the first gap is. */
	if (start == window->hint || npages == 1)
		window->hint = start + npages;
	*pgoff = zcipc_window_pgoff(cache) + start;
	return 0;
}

/* Takes zcipc_window_reserve() back. The caller holds the endpoint's lock. */
void zcipc_window_release(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages)
{
	struct zcipc_window *window = zcipc_window_at(ep, pgoff);
	unsigned long start = pgoff & ((1UL << ZCIPC_WINDOW_SHIFT) - 1);

	/* The offsets of executable mappings are not used again. */
	if (!window)
		return;
	if (npages == 1)
		__clear_bit(start, window->used);
	else
		bitmap_clear(window->used, start, npages);
	window->nused -= npages;
	window->hint = min(window->hint, start);
}

/**
 * zcipc_window_reserve_exec() - file offsets for an executable mapping
 * @ep: the endpoint; the caller holds its lock
 * @npages: number of pages
 * @pgoff: [out] first page, as a file offset
 *
 * Return: 0, or -ENOBUFS when all have been used
 */
int zcipc_window_reserve_exec(struct zcipc_endpoint *ep, unsigned long npages,
			      unsigned long *pgoff)
{
	lockdep_assert_held(&ep->lock);
	*pgoff = ep->next_exec ?: ZCIPC_EXEC_START;
	if (npages > ZCIPC_EXEC_END - *pgoff)
		return -ENOBUFS;
	ep->next_exec = *pgoff + npages;
	return 0;
}

/**
 * zcipc_slot_install() - make a slot show a range
 * @slot: not in use
 * @cap: installed; the caller holds the locks of its endpoint and of its region
 * @pgoff: reserved, at least for @npages
 * @first: first page in the region, in the range of @cap
 * @npages: number of pages
 * @writable: PTEs may be writable
 */
void zcipc_slot_install(struct zcipc_slot *slot, struct zcipc_cap *cap, unsigned long pgoff,
			unsigned long first, unsigned long npages, bool writable)
{
	slot->cap = cap;
	slot->pgoff = pgoff;
	slot->npages = npages;
	slot->first = first;
	slot->writable = writable;
	rb_add(&slot->node, &cap->ep->slots, zcipc_slot_less);
	list_add_tail(&slot->cap_entry, &cap->slots);
	cap->nslots++;
	zcipc_count(cap->ep, NULL, MAPS, 1);
}

static void zcipc_window_unmap_locked(struct zcipc_endpoint *ep, unsigned long pgoff,
				      unsigned long npages)
{
	lockdep_assert_held(&ep->hide_lock);
	unmap_mapping_pages(ep->inode->i_mapping, pgoff, npages, false);
	zcipc_stat_inc(SHOOTDOWNS);
	trace_zcipc_unmap(ep, pgoff, npages);
}

/**
 * zcipc_window_unmap() - take file offsets of an endpoint out of all page tables
 * @ep: the endpoint
 * @pgoff: the first one, in pages
 * @npages: number of pages
 *
 * TLBs are flushed when this returns.
 *
 * Context: May sleep. Who wants that they stay away holds the locks of all regions that they show.
 */
void zcipc_window_unmap(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long npages)
{
	mutex_lock(&ep->hide_lock);
	zcipc_window_unmap_locked(ep, pgoff, npages);
	mutex_unlock(&ep->hide_lock);
}

/* Takes what a slot shows out of all page tables. */
void zcipc_slot_unmap(struct zcipc_slot *slot)
{
	zcipc_window_unmap(slot->cap->ep, slot->pgoff, slot->npages);
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
	slot->cap->nslots--;
	zcipc_window_release(ep, slot->pgoff, slot->npages);
	if (slot != &slot->cap->slot)
		kfree(slot);
	zcipc_count(ep, NULL, MAPS, -1);
}

/* The window that an address is in, or NULL. */
static struct zcipc_window *zcipc_window_around(struct zcipc_endpoint *ep, unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < ZCIPC_WINDOW_MAX; i++)
		if (addr >= ep->windows[i].addr &&
		    (addr - ep->windows[i].addr) >> PAGE_SHIFT < ep->windows[i].npages)
			return &ep->windows[i];
	return NULL;
}

/* The slot that begins at a user address. The caller holds the endpoint's lock. */
static struct zcipc_slot *zcipc_slot_find_addr(struct zcipc_endpoint *ep, u64 addr)
{
	const struct zcipc_window *window = zcipc_window_around(ep, addr);

	if (!window)
		return NULL;
	return zcipc_slot_find(ep, zcipc_window_pgoff(window - ep->windows) +
			       ((addr - window->addr) >> PAGE_SHIFT));
}

/**
 * zcipc_slot_remove_at() - unmap and remove the slot that begins somewhere
 * @ep: the endpoint
 * @addr: as zcipc_slot_addr() says
 * @exec: it is executable, and @addr a file offset
 *
 * Return: 0, or -ENOENT
 */
int zcipc_slot_remove_at(struct zcipc_endpoint *ep, u64 addr, bool exec)
{
	struct zcipc_region *region;
	struct zcipc_slot *slot;
	int ret = -ENOENT;

	mutex_lock(&ep->lock);
	slot = exec ? zcipc_slot_find(ep, addr >> PAGE_SHIFT) : zcipc_slot_find_addr(ep, addr);
	if (slot && zcipc_slot_is_exec(slot) == exec && zcipc_slot_addr(slot) == addr) {
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

/**
 * struct zcipc_writable - PTEs whose write bit is to be set, if the frame allows it
 * @vma: that they are in
 * @addr: user address of the first one
 * @which: a bit for each page that has just been inserted, or NULL: see @pages
 * @pages: the frames that PTEs must have, or NULL
 */
struct zcipc_writable {
	struct vm_area_struct *vma;
	unsigned long addr;
	const unsigned long *which;
	struct page **pages;
};

static int zcipc_pte_make_writable(pte_t *ptep, unsigned long addr, void *data)
{
	const struct zcipc_writable *writable = data;
	struct vm_area_struct *vma = writable->vma;
	pte_t pte = zcipc_ptep_get(ptep);

	unsigned long i = (addr - writable->addr) >> PAGE_SHIFT;

	if (writable->which && !test_bit(i, writable->which))
		return 0;
	if (writable->pages && pte_present(pte) && pte_page(pte) != writable->pages[i])
		return 0;
	if (pte_present(pte) && !pte_write(pte) && zcipc_frame_exclusive(pte_page(pte)))
		set_pte_at(vma->vm_mm, addr, ptep,
			   pte_mkdirty(zcipc_pte_mkwrite(pte_mkyoung(pte))));
	return 0;
}

/*
 * Inserts PTEs, in a part of a window or of an executable mapping. The caller holds the mmap_lock
 * or the VMA's lock, and the locks of the endpoint and of all regions that the frames belong to.
 */
static int zcipc_vma_insert(struct vm_area_struct *vma, unsigned long pgoff, struct page **pages,
			    unsigned long npages, bool writable)
{
	unsigned long addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
	struct zcipc_writable all = { .vma = vma, .addr = addr, .pages = pages };
	unsigned long left = npages;
	int ret = vm_insert_pages(vma, addr, pages, &left);

	trace_zcipc_insert(vma->vm_private_data, pgoff, npages);
	/* Also where PTEs were there before: a page may just have become writable. */
	if (writable && vma->vm_flags & VM_WRITE)
		apply_to_existing_page_range(vma->vm_mm, addr, npages << PAGE_SHIFT,
					     zcipc_pte_make_writable, &all);
	return ret;
}

/**
 * zcipc_slot_insert() - insert PTEs
 * @slot: the slot; the caller holds the locks of endpoint and region
 * @vma: shows the slot; the caller holds the mmap_lock or the VMA's lock
 * @pgoff: first page, as a file offset, in both @slot and @vma
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
	unsigned long n;

	lockdep_assert_held(&slot->cap->ep->lock);
	lockdep_assert_held(&slot->cap->region->lock);
	for (n = 0; n < npages && pages[n]; n++)
		;
	return n ? zcipc_vma_insert(vma, pgoff, pages, n, slot->writable) : 0;
}

static bool zcipc_window_owns(struct zcipc_endpoint *ep, const struct vm_area_struct *vma);

/* The part of a window that is mapped at an address, or NULL. The caller holds the mmap_lock. */
static struct vm_area_struct *zcipc_window_lookup(struct zcipc_endpoint *ep, unsigned long addr)
{
	struct vm_area_struct *vma = vma_lookup(ep->mm, addr);

	return vma && zcipc_window_owns(ep, vma) ? vma : NULL;
}

/**
 * zcipc_window_populate() - insert PTEs of frames that slots show
 * @ep: the endpoint; the caller holds its lock and the mmap_lock of its mm
 * @pgoff: file offset, in pages, of the first one
 * @pages: the frames; the caller holds the locks of their regions
 * @npages: their number
 * @writable: of all of them
 *
 * The endpoint's process need not be the current one. What cannot be inserted (no memory, the owner
 * has unmapped a part of the window) is left to faults.
 */
void zcipc_window_populate(struct zcipc_endpoint *ep, unsigned long pgoff, struct page **pages,
			   unsigned long npages, bool writable)
{
	lockdep_assert_held(&ep->lock);
	mmap_assert_locked(ep->mm);
	while (npages) {
		unsigned long addr = zcipc_window_addr(ep, pgoff);
		struct vm_area_struct *vma = zcipc_window_lookup(ep, addr);
		unsigned long n;

		if (!vma || !(vma->vm_flags & VM_READ))
			return;
		n = min3(npages, (vma->vm_end - addr) >> PAGE_SHIFT, ZCIPC_INSERT_CHUNK);
		if (zcipc_vma_insert(vma, pgoff, pages, n, writable))
			return;
		pgoff += n;
		pages += n;
		npages -= n;
		cond_resched();
	}
}

/* Sets the write bits of what has been inserted since the last time. */
void zcipc_populate_finish(struct zcipc_populate *p)
{
	struct zcipc_writable writable = { .vma = p->vma, .which = p->writable };

	if (p->vma && p->any_writable && p->vma->vm_flags & VM_WRITE) {
		writable.addr = zcipc_window_addr(p->ep, p->start);
		apply_to_existing_page_range(p->ep->mm, writable.addr,
					     (p->end - p->start) << PAGE_SHIFT,
					     zcipc_pte_make_writable, &writable);
	}
	p->vma = NULL;
}

/**
 * zcipc_populate_add() - insert some of many PTEs, in ascending order if possible
 * @p: all zero before the first call, but for the endpoint; see zcipc_populate_finish()
 * @pgoff: file offset, in pages, of the first one
 * @pages: the frames
 * @npages: their number
 * @writable: of all of them
 *
 * As zcipc_window_populate(), but cheaper for pages that are near each other.
 */
void zcipc_populate_add(struct zcipc_populate *p, unsigned long pgoff, struct page **pages,
			unsigned long npages, bool writable)
{
	unsigned long left = npages;

	if (npages > ZCIPC_POPULATE_SPAN) {
		zcipc_window_populate(p->ep, pgoff, pages, npages, writable);
		return;
	}
	if (!p->vma || pgoff < p->end || pgoff + npages > p->limit) {
		unsigned long addr = zcipc_window_addr(p->ep, pgoff);
		struct vm_area_struct *vma;

		zcipc_populate_finish(p);
		vma = zcipc_window_lookup(p->ep, addr);
		if (!vma || !(vma->vm_flags & VM_READ))
			return;
		p->vma = vma;
		p->start = pgoff;
		p->limit = min(pgoff + ZCIPC_POPULATE_SPAN, vma->vm_pgoff + vma_pages(vma));
		p->any_writable = false;
		bitmap_zero(p->writable, ZCIPC_POPULATE_SPAN);
		if (pgoff + npages > p->limit)
			return;
	}
	vm_insert_pages(p->vma, p->vma->vm_start + ((pgoff - p->vma->vm_pgoff) << PAGE_SHIFT),
			pages, &left);
	trace_zcipc_insert(p->ep, pgoff, npages);
	p->end = pgoff + npages;
	if (writable) {
		bitmap_set(p->writable, pgoff - p->start, npages - left);
		p->any_writable = true;
	}
}

/* Inserts the PTEs of a new slot, up to a page that has been moved away. */
void zcipc_slot_populate(struct zcipc_slot *slot)
{
	struct page **pages = slot->cap->region->pages + slot->first;
	unsigned long n;

	lockdep_assert_held(&slot->cap->region->lock);
	for (n = 0; n < slot->npages && pages[n]; n++)
		;
	zcipc_window_populate(slot->cap->ep, slot->pgoff, pages, n, slot->writable);
}

/**
 * struct zcipc_hidden - PTEs that are out of their page table for a moment
 * @mm: whose
 * @addr: user address of the first page
 * @leave: a bit for each page whose PTE is left alone
 * @ptes: for each page its PTE, none if there was nothing to hide
 */
struct zcipc_hidden {
	struct mm_struct *mm;
	unsigned long addr;
	unsigned long *leave;
	pte_t *ptes;
};

static int zcipc_pte_hide(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_hidden *hidden = data;
	unsigned long i = (addr - hidden->addr) >> PAGE_SHIFT;

	if (!test_bit(i, hidden->leave) && pte_present(zcipc_ptep_get(ptep)))
		hidden->ptes[i] = ptep_get_and_clear(hidden->mm, addr, ptep);
	return 0;
}

static int zcipc_pte_restore(pte_t *ptep, unsigned long addr, void *data)
{
	struct zcipc_hidden *hidden = data;
	pte_t pte = hidden->ptes[(addr - hidden->addr) >> PAGE_SHIFT];

	if (!pte_none(pte))
		set_pte_at(hidden->mm, addr, ptep, pte);
	return 0;
}

/* Hides what is mapped in a range of a window, as far as the window has not been replaced. */
static void zcipc_window_hide(struct zcipc_endpoint *ep, unsigned long pgoff, unsigned long end,
			      struct zcipc_hidden *hidden)
{
	while (pgoff < end) {
		unsigned long addr = zcipc_window_addr(ep, pgoff);
		struct vm_area_struct *vma = zcipc_window_lookup(ep, addr);
		unsigned long n = 1;

		if (vma) {
			n = min(end - pgoff, (vma->vm_end - addr) >> PAGE_SHIFT);
			apply_to_existing_page_range(ep->mm, addr, n << PAGE_SHIFT, zcipc_pte_hide,
						     hidden);
		} else {
			cond_resched();
		}
		pgoff += n;
	}
}

/* Restores all that is hidden, one page table after the other. Those it was in are still there. */
static void zcipc_window_restore(struct zcipc_hidden *hidden, unsigned long npages)
{
	unsigned long i, first, last, next;

	for (i = 0; i < npages; i = next) {
		unsigned long addr = hidden->addr + (i << PAGE_SHIFT);

		next = min(npages, i + ((ALIGN(addr + 1, PMD_SIZE) - addr) >> PAGE_SHIFT));
		for (first = i; first < next && pte_none(hidden->ptes[first]); first++)
			;
		if (first == next)
			continue;
		for (last = next - 1; pte_none(hidden->ptes[last]); last--)
			;
		WARN_ON_ONCE(apply_to_page_range(hidden->mm, hidden->addr + (first << PAGE_SHIFT),
						 (last - first + 1) << PAGE_SHIFT,
						 zcipc_pte_restore, hidden));
	}
}

/*
 * Unmaps ranges that are near each other, in ascending order, with one call to core mm, which means
 * one flush. What lies between them is hidden from that call. Nobody misses it: faults wait for the
 * endpoint's lock, who wants to unmap what is hidden, for which he has the lock of its region,
 * waits for hide_lock, and TLB entries that are left lead to the same frames. mmap_lock and
 * endpoint's lock keep everybody away who would look at the PTEs, except core mm's DONTNEED and the
 * like, which find nothing and need not.
 */
static void zcipc_window_unmap_near(struct zcipc_endpoint *ep, const struct zcipc_range *ranges,
				    unsigned int n)
{
	unsigned long start = ranges[0].pgoff;
	unsigned long npages = ranges[n - 1].pgoff + ranges[n - 1].npages - start;
	struct zcipc_hidden hidden = { .mm = ep->mm };
	unsigned int i;

	/* Executable mappings can be anywhere. */
	if (n > 1 && npages <= ZCIPC_HIDE_SPAN && zcipc_window_at(ep, start)) {
		hidden.addr = zcipc_window_addr(ep, start);
		hidden.leave = bitmap_zalloc(npages, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		hidden.ptes = kvcalloc(npages, sizeof(*hidden.ptes),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	}
	if (hidden.ptes && hidden.leave) {
		for (i = 0; i < n; i++)
			bitmap_set(hidden.leave, ranges[i].pgoff - start, ranges[i].npages);
		mutex_lock(&ep->hide_lock);
		zcipc_window_hide(ep, start, start + npages, &hidden);
		zcipc_test_point("hidden");
		zcipc_window_unmap_locked(ep, start, npages);
		zcipc_window_restore(&hidden, npages);
		mutex_unlock(&ep->hide_lock);
	} else {
		for (i = 0; i < n; i++)
			zcipc_window_unmap(ep, ranges[i].pgoff, ranges[i].npages);
	}
	kvfree(hidden.ptes);
	bitmap_free(hidden.leave);
}

static int zcipc_range_compare(const void *a, const void *b)
{
	const struct zcipc_range *x = a, *y = b;

	return x->pgoff < y->pgoff ? -1 : x->pgoff > y->pgoff;
}

/**
 * zcipc_window_unmap_ranges() - take ranges out of page tables with as few TLB flushes as possible
 * @ep: the endpoint; the caller holds its lock and the mmap_lock of its mm
 * @ranges: the ranges, in any order and overlapping as they like; are sorted and merged
 * @n: number of ranges
 */
void zcipc_window_unmap_ranges(struct zcipc_endpoint *ep, struct zcipc_range *ranges,
			       unsigned int n)
{
	unsigned int i, first, last;

	lockdep_assert_held(&ep->lock);
	mmap_assert_locked(ep->mm);
	if (!n)
		return;
	for (i = 1; i < n && ranges[i].pgoff >= ranges[i - 1].pgoff; i++)
		;
	if (i < n)
		sort(ranges, n, sizeof(*ranges), zcipc_range_compare, NULL);
	for (first = 0, last = 0, i = 1; i < n; i++) {
		unsigned long end = ranges[last].pgoff + ranges[last].npages;
		bool same = zcipc_window_at(ep, ranges[i].pgoff) ==
			    zcipc_window_at(ep, ranges[last].pgoff);

		if (same && ranges[i].pgoff <= end) {
			end = max(end, ranges[i].pgoff + ranges[i].npages);
			ranges[last].npages = end - ranges[last].pgoff;
			continue;
		}
		/* Too far away: to hide so much would cost more than another flush. */
		if (!same || ranges[i].pgoff - end > ZCIPC_HIDE_MAX) {
			zcipc_window_unmap_near(ep, ranges + first, last - first + 1);
			first = last + 1;
		}
		ranges[++last] = ranges[i];
	}
	zcipc_window_unmap_near(ep, ranges + first, last - first + 1);
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
	unsigned int cache = ZCIPC_CACHE_DEFAULT;
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
		if (slot->cap->revoked)
			goto unlock_region;
		index = slot->first + vmf->pgoff - slot->pgoff;
		if (!region->pages[index])
			goto unlock_region;
		/* A page_mkwrite caller has a reference to the page that was mapped. */
		if (write && zcipc_cow_break(ep, region, index, &spare,
					     vmf->page == region->pages[index])) {
			again = true;
			cache = region->cache;
			goto unlock_region;
		}
		n = min3(slot->pgoff + slot->npages - vmf->pgoff,
			 (vma->vm_end - vmf->address) >> PAGE_SHIFT,
			 write ? 1UL : ZCIPC_FAULT_AROUND);
		err = zcipc_slot_insert(slot, vma, vmf->pgoff, n);
		ret = err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
		zcipc_count(ep, region, FAULTS, 1);
unlock_region:
		mutex_unlock(&region->lock);
unlock:
		mutex_unlock(&ep->lock);
		/* Not under the locks: who has to free the memory may wait for them. */
		if (again) {
			if (spare)
				zcipc_frame_put(spare);
			spare = zcipc_frame_alloc(GFP_KERNEL, NUMA_NO_NODE, cache);
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
	zcipc_window_at(ep, vma->vm_pgoff)->nvmas++;
	mutex_unlock(&ep->lock);
}

static void zcipc_window_close(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;
	struct zcipc_window *window;
	bool last;

	if (vma->vm_mm != ep->mm)
		return;
	mutex_lock(&ep->lock);
	window = zcipc_window_at(ep, vma->vm_pgoff);
	/* The offset of what 6.1 takes back when it fails to split a VMA means nothing. */
	if (vma->vm_start == vma->vm_end)
		window = zcipc_window_around(ep, vma->vm_start) ?: window;
	last = !--window->nvmas;
	if (last && !window->nused) {
		kvfree(window->used);
		memset(window, 0, sizeof(*window));
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

/* Its slot stays. But it may be the last to see that the address space goes away. */
static void zcipc_exec_close(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;

	if (vma->vm_mm == ep->mm && !atomic_read(&ep->mm->mm_users))
		zcipc_endpoint_shutdown(ep);
}

/* Never writable. */
static const struct vm_operations_struct zcipc_exec_ops = {
	.close = zcipc_exec_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_window_fault,
	.map_pages = zcipc_window_map_pages,
};

static bool zcipc_window_owns(struct zcipc_endpoint *ep, const struct vm_area_struct *vma)
{
	return vma->vm_ops == &zcipc_window_ops && vma->vm_private_data == ep &&
	       vma->vm_start == zcipc_window_addr(ep, vma->vm_pgoff);
}

/* mmap() of a window. */
static int zcipc_window_make(struct zcipc_endpoint *ep, struct vm_area_struct *vma,
			     unsigned int cache)
{
	struct zcipc_window *window = &ep->windows[cache];
	unsigned long npages = vma_pages(vma);
	unsigned long *used;
	int ret = 0;

	if (vma->vm_pgoff != zcipc_window_pgoff(cache) || npages > ZCIPC_MAX_WINDOW_PAGES)
		return -EINVAL;
	if (!zcipc_frame_can_cache(cache))
		return -EOPNOTSUPP;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	used = kvcalloc(BITS_TO_LONGS(npages), sizeof(*used), GFP_KERNEL_ACCOUNT);
	if (!used)
		return -ENOMEM;

	mutex_lock(&ep->lock);
	if (window->used) {
		ret = -EBUSY;
	} else {
		window->addr = vma->vm_start;
		window->npages = npages;
		window->nvmas = 1;
		zcipc_endpoint_seen(ep);
		swap(window->used, used);
	}
	mutex_unlock(&ep->lock);
	kvfree(used);
	if (ret)
		return ret;
	vma->vm_page_prot = zcipc_frame_pgprot(vma->vm_page_prot, cache);
	vma->vm_ops = &zcipc_window_ops;
	zcipc_vm_flags_mod(vma, 0, VM_MAYEXEC);
	return 0;
}

/* mmap() of what ZCIPC_IOC_MAP gave an offset for, or of a part of it. */
static int zcipc_window_make_exec(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	struct zcipc_slot *slot;
	int ret = -EINVAL;

	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	mutex_lock(&ep->lock);
	slot = zcipc_slot_find(ep, vma->vm_pgoff);
	if (slot && vma_pages(vma) <= slot->pgoff + slot->npages - vma->vm_pgoff) {
		vma->vm_page_prot = zcipc_frame_pgprot(vma->vm_page_prot,
						       slot->cap->region->cache);
		ret = 0;
	}
	mutex_unlock(&ep->lock);
	if (ret)
		return ret;
	vma->vm_ops = &zcipc_exec_ops;
	zcipc_vm_flags_mod(vma, 0, VM_MAYWRITE);
	return 0;
}

/**
 * zcipc_window_mmap() - mmap() of an endpoint
 * @ep: the endpoint
 * @vma: the new VMA
 *
 * Context: The caller holds the mmap_lock for writing.
 * Return: 0, or -EPERM from another address space, -EINVAL for what is not a shared mapping at an
 * offset that means something, -EACCES for a window that is executable and for executable memory
 * that is writable, -EBUSY if there is such a window, -EOPNOTSUPP for a cache policy that the
 * machine has not, -ENOMEM
 */
int zcipc_window_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	int ret;

	if (vma->vm_mm != ep->mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff < ZCIPC_EXEC_START)
		ret = zcipc_window_make(ep, vma, vma->vm_pgoff >> ZCIPC_WINDOW_SHIFT);
	else
		ret = zcipc_window_make_exec(ep, vma);
	if (ret)
		return ret;
	/*
	 * Not inherited, not grown, not dumped: the contents are also other processes'. What is
	 * unmapped has been used once, as far as this VMA goes: VM_SEQ_READ tells core mm not to
	 * note that for page reclaim, which does not know these pages.
	 */
	zcipc_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP | VM_MIXEDMAP |
			   VM_SEQ_READ, 0);
	vma->vm_private_data = ep;
	return 0;
}

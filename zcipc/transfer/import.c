// SPDX-License-Identifier: GPL-2.0
/*
 * Imported memory: the caller's own, made a region as it is.
 *
 * Its pages are pinned. They stay anonymous pages, on which core mm has its own ideas: drivers map
 * them by special PTEs only, which are not counted, so get_user_pages() does not take them. What
 * tells whether anybody else holds one is the difference between its references and those that
 * are accounted for: pins, PTEs of others and the swap cache.
 *
 * References and pins of a huge page are counted for all of it. So here is noted too which of its
 * parts we have pinned. Where a block of a region has all of them, in order, PMDs show it, which
 * are not counted either: see huge.c.
 */
#include <linux/cpu.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pkeys.h>
#include <linux/sched/isolation.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "map/pt.h"
#include "base/trace.h"
#include "zcipc.h"

/* Pages that are pinned at once. */
#define ZCIPC_PIN_BATCH		512UL

/* Pages that are copied under one round of locks. */
#define ZCIPC_COPY_BATCH	16UL

/* With no more VMAs than this a process is far from any limit (vm.max_map_count). */
#define ZCIPC_FEW_VMAS		512

/* So many are left to a process after an import, which itself can take two. */
#define ZCIPC_SPARE_VMAS	64

/* So many are tried at once. The more, the longer is the result good for. */
#define ZCIPC_GUARD_VMAS	(2UL * ZCIPC_SPARE_VMAS)

/**
 * struct zcipc_import - the frames of one call
 * @left: how many are in use
 * @user: who has been charged for this struct
 * @size: bytes of that
 * @again: a bit for each frame that is a second pin of a huge page's part
 * @frames: all that there were
 */
struct zcipc_import {
	atomic_long_t left;
	struct zcipc_user *user;
	size_t size;
	unsigned long *again;
	struct zcipc_imported frames[];
};

/**
 * struct zcipc_huge - a huge page of which parts are imported
 * @rcu: for kfree_rcu()
 * @npins: how many are imported
 * @nframes: how many frames are parts of it: more, if some are imported twice
 * @parts: whose they are; those that are not imported no region has
 * @pinned: a bit for each that is imported
 */
struct zcipc_huge {
	struct rcu_head rcu;
	unsigned int npins;
	unsigned int nframes;
	struct zcipc_parts parts;
	DECLARE_BITMAP(pinned, ZCIPC_HUGE_PAGES);
};

/* By number of the first page. The xarray's lock protects what is in it, too, but for @parts. */
static DEFINE_XARRAY(zcipc_huge_pages);

/* Makes sure that a huge page has an entry. Its pages are pinned. */
static int zcipc_huge_make(struct folio *folio)
{
	struct zcipc_huge *huge;
	int ret;

	if (folio_nr_pages(folio) > ZCIPC_HUGE_PAGES)
		return -EOPNOTSUPP;
	huge = kzalloc(sizeof(*huge), GFP_KERNEL_ACCOUNT);
	if (!huge)
		return -ENOMEM;
	zcipc_parts_init(&huge->parts, folio_nr_pages(folio), true);
	ret = xa_insert(&zcipc_huge_pages, folio_pfn(folio), huge, GFP_KERNEL_ACCOUNT);
	if (ret)
		kfree(huge);
	return ret == -EBUSY ? 0 : ret;
}

/* Whose the parts of a huge page are. The caller keeps one that is imported. */
struct zcipc_parts *zcipc_import_parts(struct folio *folio)
{
	struct zcipc_huge *huge = xa_load(&zcipc_huge_pages, folio_pfn(folio));

	return &huge->parts;
}

/*
 * Notes pins of a huge page. One that is there already is none of ours as far as anybody who looks
 * for holders goes: two regions would have the same page. Returns 0, or -EAGAIN without an entry.
 */
static int zcipc_huge_pin(struct folio *folio, struct zcipc_import *import, unsigned long at,
			  unsigned long n)
{
	unsigned int npins = 0;
	struct zcipc_huge *huge;
	unsigned long i;

	xa_lock(&zcipc_huge_pages);
	huge = xa_load(&zcipc_huge_pages, folio_pfn(folio));
	if (huge)
		huge->nframes += n;
	for (i = at; huge && i < at + n; i++) {
		if (__test_and_set_bit(folio_page_idx(folio, import->frames[i].page),
				       huge->pinned))
			__set_bit(i, import->again);
		else
			npins++;
	}
	if (npins) {
		huge->npins += npins;
		zcipc_parts_regain(&huge->parts, npins);
	}
	xa_unlock(&zcipc_huge_pages);
	if (!huge)
		return -EAGAIN;
	/* It may be that all of them are, or that these are copied before long. */
	zcipc_parts_join(&huge->parts, import->user, n, false);
	return 0;
}

/* @again: it was none of ours as far as anybody who looks for holders goes. */
static void zcipc_huge_unpin(struct folio *folio, const struct page *page, bool again)
{
	unsigned long pfn = folio_pfn(folio);
	struct zcipc_huge *huge;

	xa_lock(&zcipc_huge_pages);
	huge = xa_load(&zcipc_huge_pages, pfn);
	if (!again) {
		__clear_bit(folio_page_idx(folio, page), huge->pinned);
		huge->npins--;
		/* Nobody's region has this part, but it stays, and is pinned. */
		zcipc_parts_lose(&huge->parts, 1);
	}
	if (--huge->nframes)
		huge = NULL;
	else
		__xa_erase(&zcipc_huge_pages, pfn);
	xa_unlock(&zcipc_huge_pages);
	if (!huge)
		return;
	WARN_ON_ONCE(huge->parts.first.user || huge->parts.first.next);
	kfree_rcu(huge, rcu);
}

/* How many of the references to a huge page are ours. */
static unsigned int zcipc_huge_pins(struct folio *folio)
{
	const struct zcipc_huge *huge;
	unsigned int npins;

	rcu_read_lock();
	huge = xa_load(&zcipc_huge_pages, folio_pfn(folio));
	npins = huge ? READ_ONCE(huge->npins) : 0;
	rcu_read_unlock();
	return npins;
}

/**
 * zcipc_import_refs() - references of others
 * @frame: not mapped by any region
 * @mapped: it may still be mapped where it was imported from
 *
 * Unless @mapped, never says that there are none while there is one. Of a huge page of which a part
 * is mapped nobody can tell whose references are whose: they come and go with forks and unmaps.
 *
 * Return: how many there are, at least
 */
int zcipc_import_refs(const struct zcipc_imported *frame, bool mapped)
{
	struct folio *folio = page_folio(frame->page);
	long refs, known;

	refs = folio_ref_count(folio);
	if (!folio_test_large(folio)) {
		known = GUP_PIN_COUNTING_BIAS + folio_test_swapcache(folio);
		if (mapped)
			known += zcipc_page_mapcount(frame->page);
		return refs - known;
	}
	/* In this order: what comes or goes in between must not hide what is there. */
	smp_rmb();
	known = zcipc_folio_mapcount(folio);
	if (!mapped && (known || folio_test_swapcache(folio)))
		return 1;
	known += zcipc_huge_pins(folio);
	/* And still so: see above. */
	smp_rmb();
	if (folio_ref_count(folio) != refs)
		return 1;
	return refs - known;
}

/**
 * zcipc_import_is_free() - has nobody else a reference?
 * @frame: as for zcipc_import_refs()
 * @mapped: as for zcipc_import_refs()
 * @huge: the huge page that was last found to be free, or NULL. That it is mapped nowhere means
 *	that it stays free.
 */
bool zcipc_import_is_free(const struct zcipc_imported *frame, bool mapped, struct folio **huge)
{
	struct folio *folio = page_folio(frame->page);

	/* What nearly all are. */
	if (!folio_test_large(folio) &&
	    folio_ref_count(folio) == GUP_PIN_COUNTING_BIAS + mapped)
		return true;
	if (folio == *huge)
		return true;
	if (zcipc_import_refs(frame, mapped) > 0)
		return false;
	if (folio_test_large(folio))
		*huge = folio;
	return true;
}

static void zcipc_import_free(struct zcipc_import *import)
{
	zcipc_uncharge_overhead(import->user, import->size);
	zcipc_user_put(import->user);
	bitmap_free(import->again);
	kvfree(import);
}

/* The last region has done with a frame. */
void zcipc_import_put(struct zcipc_imported *frame)
{
	struct zcipc_import *import = frame->import;
	struct folio *folio = page_folio(frame->page);

	/* First, so that a pin that is still there is never taken for another's. */
	if (folio_test_large(folio))
		zcipc_huge_unpin(folio, frame->page,
				 test_bit(frame - import->frames, import->again));
	unpin_user_page(frame->page);
	if (atomic_long_dec_and_test(&import->left))
		zcipc_import_free(import);
}

/* Can a VMA's memory be taken away, or, with @secret, be adopted? Notes what is not for dumps. */
static int zcipc_import_check_vma(struct vm_area_struct *vma, bool *secret)
{
	/* Tags of memory (arm64) would be lost on the way. */
	if (!vma_is_anonymous(vma) || userfaultfd_armed(vma) ||
	    vma->vm_flags & (VM_SHARED | VM_SPECIAL | VM_HUGETLB | VM_MTE))
		return -EOPNOTSUPP;
	if ((vma->vm_flags & (VM_READ | VM_WRITE)) != (VM_READ | VM_WRITE))
		return -EACCES;
	/* The stack has to grow, and code to run; the new mapping has no protection key. */
	if (!secret)
		return 0;
	if (vma->vm_flags & (VM_GROWSDOWN | VM_EXEC) || vma_pkey(vma))
		return -EOPNOTSUPP;
	if (vma->vm_flags & VM_DONTDUMP)
		*secret = true;
	return 0;
}

/* As zcipc_import_check(), for a caller who holds the mmap_lock. */
static int zcipc_import_check_locked(unsigned long addr, unsigned long npages, bool *secret)
{
	unsigned long end = addr + (npages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	int ret = 0;

	while (!ret && addr < end) {
		vma = vma_lookup(current->mm, addr);
		ret = vma ? zcipc_import_check_vma(vma, secret) : -EFAULT;
		if (!ret)
			addr = vma->vm_end;
	}
	return ret;
}

/**
 * zcipc_import_check() - is memory of the current task all there, and of the right kind?
 * @addr: user address
 * @npages: how much
 * @secret: it is to be adopted; set if any of it is not to be in core dumps. NULL: to be taken
 *	away
 *
 * Context: May sleep; no lock is held.
 * Return: 0, or -EFAULT, -EACCES, -EOPNOTSUPP, -EINTR
 */
int zcipc_import_check(unsigned long addr, unsigned long npages, bool *secret)
{
	int ret = mmap_read_lock_killable(current->mm);

	if (ret)
		return ret;
	ret = zcipc_import_check_locked(addr, npages, secret);
	mmap_read_unlock(current->mm);
	return ret;
}

/**
 * zcipc_import_lock() - lock memory that is to be taken away
 * @addr: user address; the caller holds the current task's mmap_lock for writing, and none of the
 *	module's locks
 * @npages: how much
 *
 * Return: 0, or an errno of zcipc_import_check()
 */
int zcipc_import_lock(unsigned long addr, unsigned long npages)
{
	unsigned long end = addr + (npages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	int ret;

	ret = zcipc_import_check_locked(addr, npages, NULL);
	for (; !ret && addr < end; addr = vma->vm_end) {
		vma = vma_lookup(current->mm, addr);
		zcipc_pt_write_lock(vma);
	}
	return ret;
}

/**
 * zcipc_import_zap() - take imported memory away from where it was
 * @addr: user address, after zcipc_import_lock(); the mmap_lock has not been released since
 * @npages: how much
 *
 * Whoever looks there next finds new memory, which is zero. TLBs are flushed when this returns.
 */
void zcipc_import_zap(unsigned long addr, unsigned long npages)
{
	unsigned long end = addr + (npages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	bool was_locked = false;
	unsigned long next;

	for (; addr < end; addr = next) {
		vma = vma_lookup(current->mm, addr);
		next = min(end, vma->vm_end);
		was_locked |= vma->vm_flags & VM_LOCKED;
		zcipc_pt_zap_anonymous(vma, addr, (next - addr) >> PAGE_SHIFT);
		zcipc_stat_inc(SHOOTDOWNS);
	}
	/* Core mm keeps a reference to what was mlocked, until it notes that this is no more. */
	if (was_locked)
		zcipc_lru_drain();
}

/**
 * struct zcipc_found - what there was among pages that have been pinned
 * @drain: some that core mm has references to which it would give back if it were asked to
 * @huge: parts of huge ones
 */
struct zcipc_found {
	bool drain;
	bool huge;
};

/* Some pages that have been pinned become frames: returns how many, or an errno if none. */
static long zcipc_import_add(struct zcipc_import *import, unsigned long at,
			     struct zcipc_region *region, unsigned long first,
			     struct page **pages, unsigned long n, struct zcipc_found *found)
{
	unsigned long i, k;
	int ret = 0;

	for (i = 0; i < n && !ret; i = k) {
		struct folio *folio = page_folio(pages[i]);

		for (k = i; k < n && page_folio(pages[k]) == folio; k++) {
			struct zcipc_imported *frame = &import->frames[at + k];

			frame->page = pages[k];
			frame->import = import;
			atomic_long_set(&frame->state, ZCIPC_FRAME_ONE);
		}
		/* It is on its way there. */
		if (!folio_test_lru(folio))
			found->drain = true;
		/* The VMAs may have been replaced since they were looked at. */
		if (!folio_test_anon(folio) || folio_test_hugetlb(folio))
			ret = -EOPNOTSUPP;
		else if (folio_test_large(folio))
			ret = zcipc_huge_make(folio);
		/* Who has just given up the last part may have taken the entry along. */
		while (!ret && folio_test_large(folio) &&
		       zcipc_huge_pin(folio, import, at + i, k - i))
			ret = zcipc_huge_make(folio);
		if (folio_test_large(folio))
			found->huge = true;
		if (ret)
			break;
		atomic_long_add(k - i, &import->left);
		zcipc_stat_add(FRAMES, k - i);
		for (; i < k; i++) {
			region->frames[first + i] = zcipc_frame_of(&import->frames[at + i]);
			region->npinned++;
		}
	}
	if (!ret)
		return n;
	unpin_user_pages(pages + i, n - i);
	return ret;
}

/* Charges for what is kept of huge pages though it is not imported. */
static int zcipc_import_charge_rest(const struct zcipc_import *import, unsigned long npages,
				    unsigned long limit)
{
	struct folio *folio, *last = NULL;
	unsigned long i;
	int ret = 0;

	for (i = 0; i < npages && !ret; i++) {
		folio = page_folio(import->frames[i].page);
		if (folio != last && folio_test_large(folio))
			ret = zcipc_parts_charge(zcipc_import_parts(folio), import->user, limit);
		last = folio;
		if (!(i % ZCIPC_RESCHED_PAGES))
			cond_resched();
	}
	return ret;
}

static bool huge_import = true;
module_param(huge_import, bool, 0644);
MODULE_PARM_DESC(huge_import, "huge pages of imported memory are mapped as such where they can be");

/* Can a VMA, which is VM_PFNMAP or not, have PMDs of imported memory? Nobody is to hold it. */
bool zcipc_import_takes_pmds(bool pfnmap)
{
	return READ_ONCE(huge_import) &&
	       (pfnmap ? ZCIPC_UNPINNABLE_PMDS : ZCIPC_UNPINNABLE_PMDS_MIXED);
}

/* Finds blocks that are a huge page each, all in order, which a PMD can show. */
static void zcipc_import_find_blocks(struct zcipc_region *region, unsigned long first,
				     unsigned long npages)
{
	unsigned long i, at = ALIGN(first, ZCIPC_HUGE_PAGES);

	if (!ZCIPC_UNPINNABLE_PMDS || !READ_ONCE(huge_import))
		return;
	for (; at + ZCIPC_HUGE_PAGES <= first + npages; at += ZCIPC_HUGE_PAGES) {
		struct page *page = zcipc_frame_page(region->frames[at]);
		struct folio *folio = page_folio(page);

		if (folio_nr_pages(folio) != ZCIPC_HUGE_PAGES || page != &folio->page)
			continue;
		for (i = 1; i < ZCIPC_HUGE_PAGES; i++)
			if (zcipc_frame_page(region->frames[at + i]) != page + i)
				break;
		if (i == ZCIPC_HUGE_PAGES)
			zcipc_region_set_huge(region, at);
		cond_resched();
	}
}

static struct zcipc_import *zcipc_import_alloc(struct zcipc_user *user, unsigned long npages)
{
	struct zcipc_import *import;

	size_t size = struct_size(import, frames, npages);
	int ret;

	import = kvmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!import)
		return ERR_PTR(-ENOMEM);
	import->again = bitmap_zalloc(npages, GFP_KERNEL_ACCOUNT);
	ret = import->again ? 0 : -ENOMEM;
	import->size = kmalloc_size_roundup(size) + npages / BITS_PER_BYTE;
	if (!ret)
		ret = zcipc_charge_overhead(user, import->size);
	if (ret) {
		bitmap_free(import->again);
		kvfree(import);
		return ERR_PTR(ret);
	}
	/* One for as long as this takes. */
	atomic_long_set(&import->left, 1);
	import->user = zcipc_user_ref(user);
	return import;
}

static long zcipc_import_drain_cpu(void *unused)
{
	zcipc_lru_drain();
	return 0;
}

/*
 * Makes core mm give back references that it has to pages touched not long ago. Not on CPUs that
 * are to be left alone: what was touched there may be copied.
 */
static void zcipc_import_drain(void)
{
	unsigned int cpu;

	cpus_read_lock();
	for_each_cpu_and(cpu, cpu_online_mask, housekeeping_cpumask(HK_TYPE_WQ))
		work_on_cpu(cpu, zcipc_import_drain_cpu, NULL);
	cpus_read_unlock();
}

/* As zcipc_import_pin(), of memory whose pages have been charged. */
static int zcipc_import_pin_charged(struct zcipc_region *region, unsigned long first,
				    unsigned long npages, unsigned long addr, unsigned long limit,
				    bool keep)
{
	struct zcipc_import *import = zcipc_import_alloc(region->user, npages);
	struct zcipc_found found = {};
	unsigned long i = 0;
	struct page **pages;
	long n = 1;
	int ret;

	if (IS_ERR(import))
		return PTR_ERR(import);
	pages = kmalloc_array(ZCIPC_PIN_BATCH, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	ret = pages ? 0 : -ENOMEM;
	while (!ret && i < npages) {
		n = pin_user_pages_fast(addr + (i << PAGE_SHIFT), min(npages - i, ZCIPC_PIN_BATCH),
					FOLL_WRITE | FOLL_LONGTERM, pages);
		if (n > 0)
			n = zcipc_import_add(import, i, region, first + i, pages, n, &found);
		/* Another thread may have made it a region since it was looked at. */
		if (n == -EEXIST)
			ret = -EOPNOTSUPP;
		else if (n <= 0)
			ret = n ?: -EFAULT;
		else if (fatal_signal_pending(current))
			ret = -EINTR;
		else
			i += n;
		cond_resched();
	}
	if (!ret && found.huge && keep)
		ret = zcipc_import_charge_rest(import, npages, limit);
	if (!ret && found.huge)
		zcipc_import_find_blocks(region, first, npages);
	if (!ret && found.drain)
		zcipc_import_drain();
	if (atomic_long_dec_and_test(&import->left))
		zcipc_import_free(import);
	kfree(pages);
	return ret;
}

/**
 * zcipc_import_pin() - make the current task's memory a part of a region
 * @region: new, without frames in that part; nobody else knows it
 * @first: first page of the part
 * @npages: its length
 * @addr: user address of what zcipc_import_check() found to be right
 * @limit: what the region's user may have pinned
 * @keep: the region keeps parts of huge pages, so its user pays for the rest
 *
 * The memory stays where it is.
 *
 * Context: May sleep; no lock is held.
 * Return: 0, or -EFAULT, -EOPNOTSUPP, -ENOLCK, -EDQUOT, -ENOMEM, -EINTR; then zcipc_region_put()
 * unpins what was pinned
 */
int zcipc_import_pin(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     unsigned long addr, unsigned long limit, bool keep)
{
	unsigned long npinned = region->npinned;
	int ret;

	ret = zcipc_charge_pins(region->user, npages, limit);
	if (ret)
		return ret;
	ret = zcipc_import_pin_charged(region, first, npages, addr, limit, keep);
	zcipc_uncharge_pins(region->user, npages - (region->npinned - npinned));
	return ret;
}

/*
 * Puts back what has been taken away from where it was: the contents, since nobody can put the
 * pages back. Returns how many bytes are lost.
 */
unsigned long zcipc_import_restore(struct zcipc_region *region, unsigned long first,
				   unsigned long npages, unsigned long addr)
{
	unsigned long i, at, ret, lost = 0;

	for (i = 0; i < npages; i++) {
		struct page *page = zcipc_frame_page(region->frames[first + i]);

		/* It is pinned, so nobody but the caller ever maps it. */
		if (zcipc_page_mapcount(page))
			continue;
		at = addr + (i << PAGE_SHIFT);
		ret = vm_mmap(NULL, at, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, 0);
		/* It may still be there, and just be empty. */
		if (!IS_ERR_VALUE(ret) || ret == -EEXIST)
			lost += copy_to_user((void __user *)at, page_address(page), PAGE_SIZE);
		else
			lost += PAGE_SIZE;
		cond_resched();
	}
	return lost;
}

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
 * The caller holds ep->adopt_lock. Returns 0, or -ENOMEM, -ENOLCK, -EINTR.
 */
static int zcipc_import_spare_vmas(struct zcipc_endpoint *ep)
{
	int count = READ_ONCE(ep->mm->map_count);
	long n;

	if (count + ZCIPC_SPARE_VMAS <= max(ep->known_vmas, ZCIPC_FEW_VMAS))
		return 0;
	n = zcipc_import_guard(ZCIPC_GUARD_VMAS);
	if (n < 0)
		/* Of what mlockall() would lock too much mmap() says it its way. */
		return n == -EAGAIN ? -ENOLCK : n;
	ep->known_vmas = min(count, READ_ONCE(ep->mm->map_count)) + n;
	return n < ZCIPC_SPARE_VMAS ? -ENOMEM : 0;
}

/* mmap() in place of what is there. */
static int zcipc_import_map_over(struct file *file, unsigned long addr, unsigned long len,
				 unsigned long prot, unsigned long flags, unsigned long pgoff)
{
	unsigned long ret;
	int tries;

	for (tries = 0; tries < 3; tries++) {
		ret = vm_mmap(file, addr, len, prot, flags | MAP_FIXED, pgoff << PAGE_SHIFT);
		if (!IS_ERR_VALUE(ret))
			return 0;
		/* It may work now that the kernel has looked for memory. */
		if (ret != -ENOMEM)
			break;
	}
	/* Of what mlockall() would lock too much, and of what is sealed, mmap() says it its way. */
	if (ret == -EAGAIN)
		return -ENOLCK;
	return ret == -EPERM ? -EOPNOTSUPP : ret;
}

/* Enters a region that is to be mapped where it is. */
static int zcipc_import_install(struct zcipc_endpoint *ep, struct zcipc_cap *cap,
				struct zcipc_region *region, struct zcipc_adoption *adoption)
{
	unsigned long pgoff;
	int ret;

	mutex_lock(&ep->lock);
	ret = zcipc_cap_reserve(ep, 1, GFP_KERNEL);
	if (!ret)
		ret = zcipc_adopted_reserve(ep, adoption->start, region->npages, &pgoff);
	if (!ret) {
		zcipc_region_lock_new(region);
		zcipc_cap_enter(cap, ep);
		zcipc_cap_install(cap, region, NULL, 0, region->npages, ZCIPC_RIGHTS_ALL);
		zcipc_slot_install(&cap->slot, cap, pgoff, 0, region->npages, true);
		cap->slot.addr = adoption->start;
		/* Nobody else can use it before its memory is where it belongs. */
		cap->unready = true;
		ep->adoption = adoption;
		mutex_unlock(&region->lock);
	}
	mutex_unlock(&ep->lock);
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

	zcipc_adopted_join(ucmd->ep, adoption);
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
	if (addr == adoption->start && end == adoption->end)
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
	if (mmap_read_trylock(ep->mm)) {
		list_for_each_entry(slot, &cap->slots, cap_entry)
			if (!slot->view)
				zcipc_slot_populate_long(slot);
		mmap_read_unlock(ep->mm);
	}
	zcipc_region_unlock_put(cap->region);
}

/**
 * zcipc_import_adopt() - make the caller's memory a region that stays where it is
 * @ucmd: the call
 * @addr: user address
 * @npages: how much
 * @implicit: the capability is to go with the mapping
 * @token: [out] a capability with all rights
 * @id: [out] the region
 *
 * Context: May sleep; no lock is held.
 * Return: 0, or an errno of struct zcipc_region_import
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
	region = zcipc_region_alloc(ep->user, npages, true);
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
	ret = mutex_lock_killable(&ep->adopt_lock);
	if (ret)
		goto out_free;
	ret = zcipc_import_spare_vmas(ep);
	if (ret)
		goto out_unlock;
	ret = zcipc_import_install(ep, cap, region, &adoption);
	if (ret)
		goto out_unlock;
	*token = cap->token;
	*id = region->id;
	ret = zcipc_import_map(ucmd, &adoption);
	/* As in zcipc_import_zap(). */
	zcipc_lru_drain();
	zcipc_test_point("adopted");
	mutex_lock(&ep->lock);
	ep->adoption = NULL;
	cap->unready = false;
	/* Another thread has unmapped all of it already, and will not do so again. */
	gone = !ret && implicit && !cap->slot.nmapped;
	if (ret || gone)
		zcipc_cap_remove(cap);
	else if (implicit)
		cap->implicit = true;
	mutex_unlock(&ep->lock);
	cap = NULL;
	if (gone) {
		ret = -EFAULT;
	} else if (!ret && adoption.emptied) {
		zcipc_adopted_populate(ep, adoption.start, adoption.end);
	} else if (!ret) {
		zcipc_import_populate(ep, *token);
	} else if (zcipc_import_restore(region, 0, npages, addr)) {
		/* mmap() takes away what is there before it can fail. */
		send_sig(SIGKILL, current, 1);
	}
out_unlock:
	mutex_unlock(&ep->adopt_lock);
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

	mutex_lock(&ep->lock);
	cap = zcipc_cap_find(ep, token);
	if (!IS_ERR(cap) && (cap->region->file || !cap->nslots ||
			     (cap->slot.addr && !cap->slot.nmapped)))
		zcipc_cap_remove(cap);
	else if (!IS_ERR(cap))
		cap->implicit = true;
	mutex_unlock(&ep->lock);
}

/**
 * zcipc_import_memory() - ZCIPC_IOC_REGION_IMPORT
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_region_import
 */
int zcipc_import_memory(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_import *cmd = ucmd->cmd;
	u64 addr = zcipc_untagged(cmd->addr);
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (!cmd->len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(cmd->len) ||
	    cmd->len >> PAGE_SHIFT > ZCIPC_MAX_REGION_PAGES ||
	    addr + cmd->len < addr || addr + cmd->len > TASK_SIZE)
		return -EINVAL;
	ret = zcipc_ucmd_probe(ucmd);
	if (ret)
		return ret;
	ret = zcipc_import_adopt(ucmd, addr, cmd->len >> PAGE_SHIFT, false, &cmd->cap,
				 &cmd->region);
	if (ret == -EOPNOTSUPP)
		ret = zcipc_file_import(ucmd->ep, addr, cmd->len >> PAGE_SHIFT, false,
					&cmd->cap, &cmd->region);
	if (ret)
		return ret;
	/* Probed above, and too late to say anything but that it was done. */
	if (zcipc_ucmd_respond(ucmd))
		zcipc_import_forget(ucmd->ep, cmd->cap);
	return 0;
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

	mutex_lock(&ep->lock);
	cap = zcipc_cap_find_locked(ep, ep, token);
	if (IS_ERR(cap)) {
		mutex_unlock(&ep->lock);
		return PTR_ERR(cap);
	}
	region = cap->region;
	n = min(n, cap->npages - min(at, cap->npages));
	at += cap->first;
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
			zcipc_count(ep, region, COPIED_MEMORY, PAGE_SIZE);
		}
	}
	mutex_unlock(&region->lock);
	mutex_unlock(&ep->lock);
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

		mutex_lock(&ep->lock);
		cap = zcipc_cap_find_locked(ep, ep, to->token);
		if (!IS_ERR(cap)) {
			if (cap->region->frames[i]) {
				page = zcipc_frame_page(cap->region->frames[i]);
				get_page(page);
			}
			mutex_unlock(&cap->region->lock);
		}
		mutex_unlock(&ep->lock);
		cond_resched();
		if (IS_ERR(cap))
			return 0;
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

	mutex_lock(&ep->lock);
	cap = zcipc_cap_find(ep, token);
	if (!IS_ERR(cap))
		swap(cap->implicit, implicit);
	mutex_unlock(&ep->lock);
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
	if (ret && zcipc_adopted_find(ep, part->addr, part->end, &still) &&
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

	for (; !ret && zcipc_adopted_find(ep, addr, end, &part); addr = part.end)
		if (!token || part.token == token)
			ret = zcipc_import_give_back_one(ep, &part, copied);
	return ret;
}

/* What one's own capability names: all of it is copied, and what is one's own memory given back. */
static int zcipc_import_ordinary_cap(struct zcipc_endpoint *ep, u64 token, u64 *copied)
{
	unsigned long addr = 0, end = 0;
	struct zcipc_slot *slot;
	struct zcipc_cap *cap;
	int ret;

	ret = zcipc_import_copy_all(ep, token, copied);
	if (ret)
		return ret;
	cap = zcipc_cap_find_region(ep, token);
	if (IS_ERR(cap))
		return PTR_ERR(cap);
	list_for_each_entry(slot, &cap->slots, cap_entry) {
		if (!slot->addr)
			continue;
		addr = slot->addr;
		end = addr + (slot->npages << PAGE_SHIFT);
	}
	zcipc_region_unlock_put(cap->region);
	ret = zcipc_import_give_back(ep, token, addr, end, copied);
	zcipc_import_populate(ep, token);
	return ret;
}

/**
 * zcipc_import_ordinary() - ZCIPC_IOC_REGION_ORDINARY
 * @ucmd: the call
 *
 * Context: May sleep.
 * Return: 0 or an errno of struct zcipc_region_ordinary
 */
int zcipc_import_ordinary(struct zcipc_ucmd *ucmd)
{
	struct zcipc_region_ordinary *cmd = ucmd->cmd;
	u64 addr = zcipc_untagged(cmd->addr), end = addr + cmd->len;
	int ret;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (cmd->cap ? cmd->addr || cmd->len :
	    !cmd->len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(cmd->len) ||
	    end < addr || end > TASK_SIZE)
		return -EINVAL;
	ret = zcipc_ucmd_probe(ucmd);
	if (ret)
		return ret;
	cmd->copied = 0;
	if (cmd->cap)
		ret = zcipc_import_ordinary_cap(ucmd->ep, cmd->cap, &cmd->copied);
	else
		ret = zcipc_import_give_back(ucmd->ep, 0, addr, end, &cmd->copied);
	if (ret)
		return ret;
	/* Probed above, and too late to say anything but that it was done. */
	zcipc_ucmd_respond(ucmd);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Regions of files: shared memory that there is already, in memfds, tmpfs, MAP_SHARED, or the page
 * cache.
 *
 * Its pages are the file's, and core mm wants to find all mappings of them by the file: for
 * truncation, reclaim and migration. So what maps such a region, a *view*, is a VMA of the file
 * itself, with all that this means: pages come as the file gives them, and take part in all I/O.
 * It differs in two things. Its vm_file is none that was opened, but one of our own for the same
 * inode: nobody gets at the rest of the file by way of it, as remap_file_pages() would. And its
 * pages are always inserted under a lock, so that a view which is dead stays empty.
 */
#include "base/base.h"

#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/shmem_fs.h>
#include <linux/userfaultfd_k.h>

#include "mem/account.h"
#include "mem/region.h"
#include "map/file.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/slot.h"
#include "map/space.h"
#include "map/window.h"

/*
 * So many dead views of a space's may still have VMAs, which nobody but the owner can unmap: REVOKE
 * has to pass those of everybody.
 */
#define ZCIPC_MAX_DEAD_VIEWS	256U

/* What a view takes, with its file. */
#define ZCIPC_VIEW_BYTES	(kmalloc_size_roundup(sizeof(struct zcipc_view)) + 512)

static vm_fault_t zcipc_view_fault(struct vm_fault *vmf);

/* The view that a VMA shows a part of, or NULL. */
struct zcipc_view *zcipc_view_of(const struct vm_area_struct *vma)
{
	if (!vma || !vma->vm_ops || vma->vm_ops->fault != zcipc_view_fault)
		return NULL;
	return vma->vm_file->private_data;
}

/*
 * Inserts pages that the file has, unless the view is dead. Not by its own map_pages: where that is
 * another one, as XFS had, it is this one inside of a lock that sleeps.
 */
static vm_fault_t zcipc_view_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	struct zcipc_view *view = zcipc_view_of(vmf->vma);
	vm_fault_t ret = 0;

	/* A child got the VMA by MADV_DOFORK: it is not ours to serve. */
	if (vmf->vma->vm_mm != view->space->mm)
		return 0;
	spin_lock(&view->lock);
	if (!view->dead)
		ret = filemap_map_pages(vmf, start, end);
	spin_unlock(&view->lock);
	return ret;
}

/*
 * A fault: the file gets the page, which is then inserted as those around it are. Core mm would
 * insert it after we have returned, when the view may have died.
 */
static vm_fault_t zcipc_view_fault(struct vm_fault *vmf)
{
	struct zcipc_view *view = zcipc_view_of(vmf->vma);
	enum fault_flag flags = vmf->flags;
	struct folio *folio;
	vm_fault_t ret;

	/* Userfaultfd's markers take the place of PTEs: see zcipc_window_touch(). */
	if (vmf->vma->vm_mm != view->space->mm || READ_ONCE(view->dead) ||
	    userfaultfd_wp(vmf->vma))
		return VM_FAULT_SIGBUS;
	ret = view->orig->fault(vmf);
	if (ret & (VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY | VM_FAULT_DONE_COW))
		return ret;
	folio = page_folio(vmf->page);
	if (!(ret & VM_FAULT_LOCKED))
		folio_lock(folio);
	if (PageHWPoison(vmf->page))
		ret = VM_FAULT_HWPOISON;
	/* Where it is a mark for a reader who comes this way pages are not inserted. */
	folio_clear_readahead(folio);
	folio_unlock(folio);
	folio_put(folio);
	vmf->page = NULL;
	if (ret & VM_FAULT_HWPOISON)
		return ret;
	zcipc_test_point("view");
	/* It is not for us to make it dirty: a write finds it read-only, if that is to be known. */
	vmf->flags &= ~FAULT_FLAG_WRITE;
	zcipc_view_map_pages(vmf, vmf->pgoff, vmf->pgoff);
	vmf->flags = flags;
	return (ret & VM_FAULT_MAJOR) | VM_FAULT_NOPAGE;
}

/* Core mm makes the PTE writable only if it is still there. */
static vm_fault_t zcipc_view_mkwrite(struct vm_fault *vmf)
{
	return zcipc_view_of(vmf->vma)->orig->page_mkwrite(vmf);
}

static void zcipc_view_open(struct vm_area_struct *vma)
{
	struct zcipc_view *view = zcipc_view_of(vma);
	struct zcipc_space *space = view->space;

	if (view->orig->open)
		view->orig->open(vma);
	if (zcipc_pt_is_inherited(vma, space->mm))
		return;
	mutex_lock(&space->lock);
	view->nvmas++;
	mutex_unlock(&space->lock);
}

/* From here on faults bring nothing back. zcipc_file_unmap_range() must follow. */
void zcipc_view_kill(struct zcipc_view *view)
{
	spin_lock(&view->lock);
	view->dead = true;
	spin_unlock(&view->lock);
}

/* Takes a range of a file's region out of all page tables. The caller holds the region's lock. */
void zcipc_file_unmap_range(struct zcipc_region *region, unsigned long first, unsigned long npages)
{
	unmap_mapping_pages(region->file->f_mapping, region->file_pgoff + first, npages, false);
	zcipc_stat_inc(SHOOTDOWNS);
}

/* Takes what a view shows out of all page tables for good. The caller holds the region's lock. */
void zcipc_view_unmap(struct zcipc_view *view)
{
	zcipc_view_kill(view);
	zcipc_file_unmap_range(view->slot->extent->region, view->slot->first, view->npages);
}

/* Removes the slot, which is not mapped any more, or @unmap. The caller holds the space's lock. */
static void zcipc_view_remove_slot(struct zcipc_view *view, bool unmap)
{
	struct zcipc_slot *slot = view->slot;
	struct zcipc_region *region;

	if (slot)
		slot = zcipc_slot_find_locked(view->space, slot->pgoff);
	if (!slot)
		return;
	region = slot->extent->region;
	if (unmap)
		zcipc_view_unmap(view);
	zcipc_slot_remove(slot);
	mutex_unlock(&region->lock);
}

/* The last VMA has gone, or there was none in the end. The caller holds the space's lock. */
static void zcipc_view_gone(struct zcipc_view *view)
{
	/* It was dead. */
	if (!view->slot && view->nvmas)
		view->space->ndead_views--;
	view->nvmas = 0;
	zcipc_view_remove_slot(view, false);
}

static void zcipc_view_close(struct vm_area_struct *vma)
{
	struct zcipc_view *view = zcipc_view_of(vma);
	struct zcipc_space *space = view->space;

	if (view->orig->close)
		view->orig->close(vma);
	if (vma->vm_mm != space->mm)
		return;
	mutex_lock(&space->lock);
	if (view->nvmas == 1)
		zcipc_view_gone(view);
	else
		view->nvmas--;
	mutex_unlock(&space->lock);
	zcipc_space_closed(space, vma);
}

static const struct vm_operations_struct zcipc_view_ops = {
	.open = zcipc_view_open,
	.close = zcipc_view_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_view_fault,
	.map_pages = zcipc_view_map_pages,
};

/* Of a file that wants to know what is written to. */
static const struct vm_operations_struct zcipc_view_mkwrite_ops = {
	.open = zcipc_view_open,
	.close = zcipc_view_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_view_fault,
	.map_pages = zcipc_view_map_pages,
	.page_mkwrite = zcipc_view_mkwrite,
};

/* msync() is as it would be with a mapping that was not ours. */
static int zcipc_view_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct zcipc_view *view = file->private_data;

	return vfs_fsync_range(view->real, start, end, datasync);
}

static void zcipc_view_free(struct zcipc_view *view)
{
	if (view->writable)
		mapping_unmap_writable(view->real->f_mapping);
	fput(view->real);
	zcipc_uncharge_overhead(view->space->user, ZCIPC_VIEW_BYTES);
	fput(view->holder);
	kfree(view);
}

/* The last VMA has gone. */
static int zcipc_view_release(struct inode *inode, struct file *file)
{
	zcipc_view_free(file->private_data);
	return 0;
}

/* Nobody can open it, nor map it again. */
static const struct file_operations zcipc_view_fops = {
	.owner = THIS_MODULE,
	.fsync = zcipc_view_fsync,
	.release = zcipc_view_release,
};

/* Is a file sealed against writable mappings? Some kernels look only where user space maps it. */
static bool zcipc_file_is_sealed(const struct file *file)
{
	struct inode *inode = file_inode(file);

	return IS_ENABLED(CONFIG_SHMEM) && inode->i_sb->s_magic == TMPFS_MAGIC &&
	       SHMEM_I(inode)->seals & F_SEAL_FUTURE_WRITE;
}

/*
 * A view that shows nothing yet, for an endpoint whose file is @holder. It goes with its file. May
 * sleep; no lock is held. Returns the view, or -EACCES, -EDQUOT, -ENOMEM.
 */
struct zcipc_view *zcipc_file_view(struct file *holder, struct zcipc_space *space,
				   struct zcipc_region *region, unsigned long first,
				   unsigned long npages, bool writable)
{
	int ret = zcipc_charge_overhead(space->user, ZCIPC_VIEW_BYTES);
	struct zcipc_view *view;

	if (ret)
		return ERR_PTR(ret);
	view = kzalloc(sizeof(*view), GFP_KERNEL_ACCOUNT);
	if (!view) {
		zcipc_uncharge_overhead(space->user, ZCIPC_VIEW_BYTES);
		return ERR_PTR(-ENOMEM);
	}
	spin_lock_init(&view->lock);
	view->holder = get_file(holder);
	view->space = space;
	view->real = get_file(region->file);
	view->pgoff = region->file_pgoff + first;
	view->npages = npages;
	/* As long as it exists a memfd cannot be sealed against it. */
	if (writable && (zcipc_file_is_sealed(region->file) ||
			 mapping_map_writable(region->file->f_mapping))) {
		zcipc_view_free(view);
		return ERR_PTR(-EACCES);
	}
	view->writable = writable;
	view->file = zcipc_space_clone(space, region->file, writable ? O_RDWR : O_RDONLY,
				       &zcipc_view_fops);
	if (IS_ERR(view->file)) {
		/* There may be too many files. */
		zcipc_view_free(view);
		return ERR_PTR(-ENOMEM);
	}
	__module_get(THIS_MODULE);
	view->file->private_data = view;
	return view;
}

/* mmap() of a view. Returns 0, or -EACCES when the file says no, -EOPNOTSUPP, -ENOMEM. */
int zcipc_file_mmap(struct zcipc_view *view, struct vm_area_struct *vma)
{
	unsigned long never = VM_EXEC | VM_MAYEXEC;
	int ret;

	vma->vm_pgoff = view->pgoff;
	vma_set_file(vma, view->file);
	if (!view->writable)
		never |= VM_WRITE | VM_MAYWRITE;
	zcipc_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, never);
	ret = zcipc_file_do_mmap(view->real, vma);
	if (ret == -EPERM)
		return -EACCES;
	if (ret && ret != -ENOMEM)
		return -EOPNOTSUPP;
	if (ret)
		return ret;
	if (!vma->vm_ops || !vma->vm_ops->fault || !vma->vm_ops->map_pages ||
	    vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
		return -EOPNOTSUPP;
	/* Not what else there is: a NUMA policy, say, would be the file's. */
	view->orig = vma->vm_ops;
	vma->vm_ops = view->orig->page_mkwrite ? &zcipc_view_mkwrite_ops : &zcipc_view_ops;
	return 0;
}

/* May the current task map a view now? Once. The caller holds the space's lock. */
bool zcipc_file_may_mmap(struct zcipc_view *view, struct vm_area_struct *vma)
{
	if (view->mapper != current || vma_pages(vma) != view->npages)
		return false;
	view->mapper = NULL;
	view->nvmas = 1;
	return true;
}

/**
 * zcipc_file_enter() - give a view its slot
 * @view: a view that has none
 * @slot: from zcipc_slot_alloc(); the view's if this succeeds
 * @extent: what the view shows a range of; the caller holds the locks of its space and region
 * @first: first page of the range in the region
 * @pgoff: [out] where the current task can map it, as a file offset in pages
 *
 * Return: 0, and zcipc_file_map() must follow; or -ENOBUFS
 */
int zcipc_file_enter(struct zcipc_view *view, struct zcipc_slot *slot,
		     struct zcipc_extent *extent, unsigned long first, unsigned long *pgoff)
{
	if (extent->nslots >= ZCIPC_MAX_SLOTS ||
	    view->space->ndead_views >= ZCIPC_MAX_DEAD_VIEWS ||
	    zcipc_window_reserve_outside(view->space, view->npages, pgoff))
		return -ENOBUFS;
	zcipc_slot_install(slot, extent, *pgoff, first, view->npages, view->writable);
	slot->view = view;
	view->slot = slot;
	view->mapper = current;
	return 0;
}

/*
 * Maps a view in the current task's address space, after zcipc_file_enter(), and says where. May
 * sleep; no lock is held. Returns 0 or an errno of struct zcipc_map.
 */
int zcipc_file_map(struct zcipc_view *view, unsigned long pgoff, u64 *addr)
{
	struct zcipc_space *space = view->space;
	unsigned long at;
	int ret = 0;

	at = vm_mmap(view->holder, 0, view->npages << PAGE_SHIFT,
		     PROT_READ | (view->writable ? PROT_WRITE : 0), MAP_SHARED,
		     pgoff << PAGE_SHIFT);
	if (IS_ERR_VALUE(at))
		/* Of what mlockall() would lock too much mmap() says it its way. */
		ret = (long)at == -EAGAIN ? -ENOMEM : (long)at;
	mutex_lock(&space->lock);
	view->mapper = NULL;
	/* The capability has gone before mmap() came to it. */
	if (ret == -EINVAL && !view->slot)
		ret = -ESTALE;
	if (ret)
		zcipc_view_gone(view);
	else if (view->slot)
		view->slot->addr = at;
	mutex_unlock(&space->lock);
	if (!ret)
		*addr = at;
	return ret;
}

/*
 * Unmaps the view that begins at a user address of the current task, and belongs to a capability,
 * unless @token is 0. May sleep; no lock is held. Returns 0, or -ENOENT, -EINTR.
 */
int zcipc_file_unmap_at(struct zcipc_space *space, u64 addr, u64 token)
{
	struct vm_area_struct *vma;
	struct file *file = NULL;
	struct zcipc_view *view;
	unsigned long len = 0;
	int ret;

	ret = mmap_read_lock_killable(space->mm);
	if (ret)
		return ret;
	mutex_lock(&space->lock);
	vma = vma_lookup(space->mm, addr);
	view = zcipc_view_of(vma);
	if (view && view->space == space && view->slot && view->slot->addr == addr &&
	    (!token || view->slot->extent->token == token)) {
		file = get_file(view->file);
		/* By nobody else: somebody may map something there right after that. */
		view->slot->addr = 0;
		if (view->nvmas == 1)
			len = vma->vm_end - addr;
	}
	mutex_unlock(&space->lock);
	mmap_read_unlock(space->mm);
	if (!file)
		return -ENOENT;
	/*
	 * Without locks: what another thread maps there meanwhile is its own affair. The slot
	 * stays, so that the view can be revoked until it is unmapped.
	 */
	if (len)
		vm_munmap(addr, len);
	/* In pieces, or not to be unmapped: it stays as one that was revoked. */
	mutex_lock(&space->lock);
	zcipc_view_remove_slot(view, true);
	mutex_unlock(&space->lock);
	fput(file);
	return 0;
}

/*
 * Are a file's pages shared by mapping them, and there when they are needed? Not so those that
 * another process or machine serves, which may take its time, or asks who opened the file.
 */
static bool zcipc_file_can_share(const struct file *file)
{
	const struct inode *inode = file_inode(file);
	const struct super_block *sb = inode->i_sb;

	if (!S_ISREG(inode->i_mode) || IS_DAX(inode) || file->f_mapping != inode->i_mapping)
		return false;
	return sb->s_magic == TMPFS_MAGIC || sb->s_magic == RAMFS_MAGIC ||
	       (sb->s_type->fs_flags & FS_REQUIRES_DEV && sb->s_magic != FUSE_SUPER_MAGIC);
}

/*
 * May the current task write to the file? REVOKE takes a range out of everybody's page tables for a
 * moment: not out of what all programs are made of, at anybody's will. MADV_PAGEOUT asks the same.
 */
static bool zcipc_file_may_disturb(struct file *file)
{
	return file->f_mode & FMODE_WRITE || !file_permission(file, MAY_WRITE);
}

static int zcipc_file_check_vma(struct vm_area_struct *vma)
{
	if (!vma->vm_file || !(vma->vm_flags & VM_MAYSHARE) || zcipc_view_of(vma) ||
	    vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP | VM_HUGETLB) || !vma->vm_ops ||
	    !vma->vm_ops->fault || !vma->vm_ops->map_pages || userfaultfd_armed(vma) ||
	    !zcipc_file_can_share(vma->vm_file))
		return -EOPNOTSUPP;
	return vma->vm_flags & VM_READ && zcipc_file_may_disturb(vma->vm_file) ? 0 : -EACCES;
}

/**
 * zcipc_file_get() - find the file that all of a range of the current task's memory shows
 * @addr: user address
 * @npages: how much
 * @pgoff: [out] first page in the file
 * @rights: [out] READ and WRITE as the mapping has them, and GRANT
 *
 * Context: May sleep; no lock is held.
 * Return: the file with a reference, or -EFAULT, -EACCES, -EOPNOTSUPP, -EINTR
 */
struct file *zcipc_file_get(unsigned long addr, unsigned long npages, unsigned long *pgoff,
			    u32 *rights)
{
	unsigned long end = addr + (npages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	struct file *file = NULL;
	unsigned long at;
	int ret;

	*rights = ZCIPC_RIGHT_READ | ZCIPC_RIGHT_WRITE | ZCIPC_RIGHT_GRANT;
	ret = mmap_read_lock_killable(current->mm);
	if (ret)
		return ERR_PTR(ret);
	for (at = addr; !ret && at < end; at = vma->vm_end) {
		vma = vma_lookup(current->mm, at);
		ret = vma ? zcipc_file_check_vma(vma) : -EFAULT;
		if (ret)
			break;
		if (!file) {
			file = get_file(vma->vm_file);
			*pgoff = vma->vm_pgoff + ((at - vma->vm_start) >> PAGE_SHIFT);
		} else if (vma->vm_file->f_mapping != file->f_mapping ||
			   vma->vm_pgoff != *pgoff + ((at - addr) >> PAGE_SHIFT)) {
			ret = -EOPNOTSUPP;
		}
		if (!(vma->vm_flags & VM_WRITE))
			*rights &= ~ZCIPC_RIGHT_WRITE;
	}
	mmap_read_unlock(current->mm);
	if (!ret)
		return file;
	if (file)
		fput(file);
	return ERR_PTR(ret);
}

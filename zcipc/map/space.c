// SPDX-License-Identifier: GPL-2.0
/*
 * Spaces: their inodes, files of those, and their locks.
 */
#include "base/base.h"

#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "mem/account.h"
#include "map/map.h"
#include "map/pt.h"
#include "map/space.h"

static struct vfsmount *zcipc_mnt;

/*
 * An empty space: all zero but for @mm, @user and @id, which belong to the caller. Returns 0, and
 * zcipc_space_end() must follow; or -ENOMEM.
 */
int zcipc_space_begin(struct zcipc_space *space, const struct zcipc_space_ops *ops)
{
	space->ops = ops;
	mutex_init(&space->lock);
	mutex_init(&space->adopt_lock);
	init_rwsem(&space->hide_lock);
	space->slots = RB_ROOT;
	space->next_outside = ZCIPC_OUTSIDE_START;
	space->inode = alloc_anon_inode(zcipc_mnt->mnt_sb);
	if (IS_ERR(space->inode))
		return PTR_ERR(space->inode);
	i_size_write(space->inode, MAX_LFS_FILESIZE);
	return 0;
}

/* The end of a space. It has no slots. */
void zcipc_space_end(struct zcipc_space *space)
{
	int i;

	WARN_ON_ONCE(!RB_EMPTY_ROOT(&space->slots));
	for (i = 0; i < ZCIPC_WINDOW_MAX; i++)
		zcipc_window_end(space, &space->windows[i]);
	iput(space->inode);
}

/* Takes the locks of two spaces, which may be the same, in the order that everybody does. */
void zcipc_spaces_lock(struct zcipc_space *a, struct zcipc_space *b)
{
	if (a->id > b->id)
		swap(a, b);
	mutex_lock(&a->lock);
	if (a != b)
		mutex_lock_nested(&b->lock, SINGLE_DEPTH_NESTING);
}

void zcipc_spaces_unlock(struct zcipc_space *a, struct zcipc_space *b)
{
	mutex_unlock(&a->lock);
	if (a != b)
		mutex_unlock(&b->lock);
}

/* The place is known to peers. */
int zcipc_window_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/* What is counted of it does not change when the kernel splits the VMA. */
void zcipc_outside_open(struct vm_area_struct *vma)
{
	struct zcipc_space *space = vma->vm_private_data;

	zcipc_pt_is_inherited(vma, space->mm);
}

/* zcipc_region_lock(), of one that somebody else has locked. */
void zcipc_region_wait(struct zcipc_region *region, struct zcipc_space *space,
		       struct zcipc_space *other)
{
	zcipc_region_get(region);
	zcipc_spaces_unlock(space, other);
	mutex_lock(&region->lock);
	zcipc_spaces_lock(space, other);
}

static int zcipc_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, 0x7a636970) ? 0 : -ENOMEM;
}

/* No owner: the mount would keep the module from being unloaded. Open files do. */
static struct file_system_type zcipc_fs_type = {
	.name = "zcipc",
	.init_fs_context = zcipc_init_fs_context,
	.kill_sb = kill_anon_super,
};

/*
 * A file of our own for what another one has open, that is nobody's yet: alloc_file_clone(), which
 * modules cannot call. A dentry of our own would be an alias of the inode: file systems take any
 * one for the file's place in a directory, and when one of a deleted file's goes all who watch it
 * are told that it has gone. So there is one of the space's inode, which goes again.
 */
struct file *zcipc_space_clone(struct zcipc_space *space, const struct file *real, int flags,
			       const struct file_operations *fops)
{
	struct file *file;
	struct path path;

	ihold(space->inode);
	file = alloc_file_pseudo(space->inode, zcipc_mnt, "zcipc", flags, fops);
	if (IS_ERR(file)) {
		iput(space->inode);
		return file;
	}
	if (!(file->f_mode & FMODE_WRITE)) {
		i_readcount_dec(file_inode(file));
		i_readcount_inc(file_inode(real));
	}
	path = file->f_path;
	path_get(&real->f_path);
	*zcipc_file_path(file) = real->f_path;
	file->f_inode = file_inode(real);
	file->f_mapping = real->f_mapping;
	file->f_wb_err = filemap_sample_wb_err(file->f_mapping);
	file->f_sb_err = file_sample_sb_err(file);
	file_ra_state_init(&file->f_ra, file->f_mapping);
	/* Nobody opened it. */
	file->f_mode |= FMODE_NONOTIFY;
	path_put(&path);
	return file;
}

int zcipc_space_init(void)
{
	zcipc_mnt = kern_mount(&zcipc_fs_type);
	return PTR_ERR_OR_ZERO(zcipc_mnt);
}

void zcipc_space_exit(void)
{
	kern_unmount(zcipc_mnt);
}

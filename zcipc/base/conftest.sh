#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Finds out what a kernel has, and prints it as macros, for compat.h. Distributions take code from
# other versions, so what can be asked is not concluded from a version's number.
#
#	conftest.sh MODULE_SYMVERS COMPILER [FLAG]...
#
# Kbuild runs it with the compiler and the flags for the kernel's modules, before anything else. On
# a kernel that lacks what the module cannot do without it says so in one line, and fails: see
# "needs". Below "facts" each line has one: its name, and code that compiles where it is true.

set -eu
symvers=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=

# Kernels before the first are not built for. Nobody has tried those after the last.
oldest=6.1
newest=7.3

refuse() {
	echo "zcipc: $*" >&2
	exit 1
}

# --- what can be asked

# A macro's value, if there is one.
value() { # macro
	sed -n "s/^#define $1 //p" "$work/macros"
}

# Is an option of the kernel on?
option() { # CONFIG_..., what to say where it is not
	[ -n "$(value "$1")" ] || refuse "this kernel is built without $1: $2"
}

# Can modules have a symbol? What is exported to some modules by name has another column.
can_have() { # symbol
	[ -e "$work/exported" ] || awk -F '\t' '$4 ~ /^EXPORT_SYMBOL/ && $5 == "" { print $2 }' \
		"$symvers" > "$work/exported"
	grep -qxF "$1" "$work/exported"
}

# Modules need a symbol, or one of those that do the same.
missing=
symbol() { # symbol...
	for s; do
		! can_have "$s" || return 0
	done
	missing="${missing:+$missing, }$(echo "$*" | sed 's/ / or /g')"
}

# Does code compile? All are tried at the same time: see "answers". What is not declared, or of
# another type, is an error. Other warnings are not: an older compiler than the kernel's own has
# some about its headers.
wrong="-Werror=implicit-function-declaration -Werror=int-conversion"
wrong="$wrong -Werror=incompatible-pointer-types"
compiles() { # name, code
	names="$names $1"
	cat > "$work/$1.c" <<END
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#if __has_include(<linux/pagevec.h>)
#include <linux/pagevec.h>
#endif
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
int zcipc_fact(struct vm_area_struct *vma, struct vm_fault *vmf, struct folio *folio);
int zcipc_fact(struct vm_area_struct *vma, struct vm_fault *vmf, struct folio *folio)
{
	$2;
	return 0;
}
END
}

# Is there a header?
header() { # name, header
	names="$names $1"
	echo "#include <$2>" > "$work/$1.c"
}

answers() { # compiler, flags
	for n in $names; do
		{
			"$@" $wrong -fsyntax-only "$work/$n.c" > "$work/$n.log" 2>&1 &&
				: > "$work/$n.yes"
		} &
	done
	wait
	# Where even this does not compile all other answers would be wrong.
	if [ ! -e "$work/NOTHING.yes" ]; then
		grep error "$work/NOTHING.log" >&2 || cat "$work/NOTHING.log" >&2
		refuse "nothing can be compiled for this kernel"
	fi
	for n in ${names#* NOTHING}; do
		[ ! -e "$work/$n.yes" ] || echo "#define ZCIPC_HAS_$n 1"
	done
}

# --- needs

number() { # version
	echo "$1" | awk -F . '{ print $1 * 65536 + $2 * 256 }'
}

[ -s "$symvers" ] ||
	refuse "$symvers is missing: it is in the kernel's headers, or made by its build"

echo '#include <linux/version.h>' > "$work/macros.c"
"$@" -dM -E "$work/macros.c" > "$work/macros" 2> "$work/macros.log" || {
	cat "$work/macros.log" >&2
	refuse "nothing can be compiled for this kernel"
}
code=$(value LINUX_VERSION_CODE)
version=$((code / 65536)).$((code / 256 % 256))
[ "$code" -ge "$(number $oldest)" ] ||
	refuse "this is Linux $version, and older than $oldest"
[ "$code" -lt "$(($(number $newest) + 256))" ] ||
	echo "zcipc: nobody has tried it on Linux $version yet, which is newer than $newest" >&2

# Ids of endpoints have 64 bits, and are indices of an xarray.
option CONFIG_64BIT "a 32-bit kernel does not do"
# It tells when an address space ends.
option CONFIG_MMU_NOTIFIER "KVM selects it"

# What might not be exported. All the rest every driver takes for granted.
symbol access_process_vm
symbol alloc_anon_inode
symbol alloc_file_pseudo
symbol apply_to_page_range
symbol fault_in_safe_writeable
symbol file_ra_state_init
symbol filemap_map_pages
symbol find_get_pid
symbol find_vma
symbol folio_unlock
symbol __folio_put
symbol free_uid
symbol housekeeping_cpumask
symbol init_pseudo
symbol kern_mount
symbol kill_anon_super
symbol mmput_async
symbol mmu_notifier_get_locked
symbol mmu_notifier_put
symbol mmu_notifier_synchronize
symbol mtree_load
symbol pin_user_pages_fast
symbol split_page
symbol unmap_mapping_pages
symbol unpin_user_pages
symbol vfs_fsync_range
symbol vm_insert_pages
symbol vm_mmap
symbol vm_munmap
symbol vma_set_file
symbol vmalloc_to_page
symbol __folio_batch_release __pagevec_release
symbol shrinker_alloc register_shrinker
symbol work_on_cpu_key work_on_cpu
symbol zap_special_vma_range zap_vma_ptes
[ -z "$missing" ] || refuse "this kernel does not export $missing"

# --- facts

echo "/* Made by conftest.sh. */"
compiles NOTHING		''
header FOLIO_BATCH_H		linux/folio_batch.h
compiles VM_FLAGS_MOD		'vm_flags_mod(vma, 0, 0)'
compiles MKWRITE_NOVMA		'pte_mkwrite_novma(__pte(0)); pmd_mkwrite_novma(__pmd(0))'
compiles DOUBLE_MAP		'return PageDoubleMap(&folio->page)'
compiles VMA_DETACHED		'return vma->detached'
compiles VMA_REFCNT		'return refcount_read(&vma->vm_refcnt)'
compiles FILE_CONST_PATH	'vma->vm_file->__f_path = vma->vm_file->f_path'
compiles VFS_MMAP		'return vfs_mmap(vma->vm_file, vma)'
compiles MM_FLAGS_TEST		'return mm_flags_test(0, vma->vm_mm)'
compiles PAGEVEC		'return sizeof(struct pagevec)'
compiles PERCPU_RSS		'percpu_counter_add(&vma->vm_mm->rss_stat[MM_FILEPAGES], 1)'
compiles SHRINKER_ALLOC		'shrinker_free(shrinker_alloc(0, "zcipc"))'
compiles RELEASE_FAULT_LOCK	'release_fault_lock(vmf)'
compiles UNMAPPED_AREA		'return mm_get_unmapped_area(vma->vm_file, 0, 0, 0, 0)'
compiles UNMAPPED_AREA_OF	'return mm_get_unmapped_area(vma->vm_mm, vma->vm_file, 0, 0, 0, 0)'
compiles MTE_SYNC_NR		'mte_sync_tags(__pte(0), 1u)'
# From there on core mm steps over a PMD of a device's memory, and does not take it for broken.
compiles PTE_OFFSET_MAP		'(void)__pte_offset_map'
# Not every architecture has special PMDs where there are some.
compiles PMD_MKSPECIAL		'return pmd_val(pmd_mkspecial(__pmd(0))) != 0'
! can_have zap_special_vma_range || echo "#define ZCIPC_HAS_ZAP_SPECIAL 1"

answers "$@"

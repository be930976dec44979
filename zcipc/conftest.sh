#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Finds out what a kernel has, and prints it as macros, for compat.h. Distributions take code from
# other versions, so what can be asked is not concluded from a version's number.
#
#	conftest.sh MODULE_SYMVERS COMPILER [FLAG]...
#
# Kbuild runs it with the compiler and the flags for the kernel's modules. Below "facts" each line
# has one: its name, and code that compiles where it is true, or a symbol that modules can have.

set -eu
symvers=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=

# Does code compile? All are tried at the same time: see "answers".
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

# Can modules have a symbol? What is exported to some modules by name has another column.
exported() { # name, symbol
	awk -F '\t' -v s="$2" '
	$2 == s && $4 ~ /^EXPORT_SYMBOL/ && $5 == "" { n++ }
	END { exit !n }
	' "$symvers" || return 0
	echo "#define ZCIPC_HAS_$1"
}

answers() { # compiler, flags
	for n in $names; do
		{
			"$@" -Werror -fsyntax-only "$work/$n.c" > "$work/$n.log" 2>&1 &&
				: > "$work/$n.yes"
		} &
	done
	wait
	# Where even this does not compile all other answers would be wrong.
	if [ ! -e "$work/NOTHING.yes" ]; then
		cat "$work/NOTHING.log" >&2
		echo "zcipc: nothing can be compiled for this kernel" >&2
		exit 1
	fi
	for n in ${names#* NOTHING}; do
		[ ! -e "$work/$n.yes" ] || echo "#define ZCIPC_HAS_$n"
	done
}

if [ ! -s "$symvers" ]; then
	echo "zcipc: $symvers is missing: it is in the kernel's headers, or made by its build" >&2
	exit 1
fi

echo "/* Made by conftest.sh. */"

# --- facts

compiles NOTHING		''
header FOLIO_BATCH_H		linux/folio_batch.h
compiles VM_FLAGS_MOD		'vm_flags_mod(vma, 0, 0)'
compiles MKWRITE_NOVMA		'pte_mkwrite_novma(__pte(0)); pmd_mkwrite_novma(__pmd(0))'
compiles DOUBLE_MAP		'return PageDoubleMap(&folio->page)'
compiles VMA_DETACHED		'return vma->detached'
compiles VMA_REFCNT		'return refcount_read(&vma->vm_refcnt)'
compiles FILE_CONST_PATH		'vma->vm_file->__f_path = vma->vm_file->f_path'
compiles VFS_MMAP		'return vfs_mmap(vma->vm_file, vma)'
compiles MM_FLAGS_TEST		'return mm_flags_test(0, vma->vm_mm)'
compiles PAGEVEC		'return sizeof(struct pagevec)'
compiles PERCPU_RSS		'percpu_counter_add(&vma->vm_mm->rss_stat[MM_FILEPAGES], 1)'
compiles SHRINKER_ALLOC		'shrinker_free(shrinker_alloc(0, "zcipc"))'
compiles RELEASE_FAULT_LOCK	'release_fault_lock(vmf)'
compiles MTE_SYNC_NR		'mte_sync_tags(__pte(0), 1u)'
# From there on core mm steps over a PMD of a device's memory, and does not take it for broken.
compiles PTE_OFFSET_MAP		'(void)__pte_offset_map'
exported ZAP_VMA_PTES		zap_vma_ptes
exported ZAP_SPECIAL		zap_special_vma_range

answers "$@"

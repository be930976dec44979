/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between the supported kernels. No other file looks at the kernel's version.
 */
#ifndef ZCIPC_COMPAT_H
#define ZCIPC_COMPAT_H

#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "zcipc needs Linux 6.1 or later"
#endif
#ifndef CONFIG_64BIT
#error "zcipc needs a 64-bit kernel: endpoint ids are indices of an xarray"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void zcipc_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				      unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#else
#define zcipc_vm_flags_mod(vma, set, clear)	vm_flags_mod(vma, set, clear)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define zcipc_pte_mkwrite(pte)			pte_mkwrite(pte)
#define zcipc_ptep_get(ptep)			(*(ptep))
#else
/* Of a VMA that is not a shadow stack. */
#define zcipc_pte_mkwrite(pte)			pte_mkwrite_novma(pte)
#define zcipc_ptep_get(ptep)			ptep_get(ptep)
#endif

#endif /* ZCIPC_COMPAT_H */

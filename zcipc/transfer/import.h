/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes memory a region that stays where it is, and ordinary again.
 */
#ifndef ZCIPC_IMPORT_H
#define ZCIPC_IMPORT_H

#include <linux/types.h>

struct zcipc_endpoint;
struct zcipc_ucmd;

int zcipc_import_adopt(struct zcipc_ucmd *ucmd, unsigned long addr, unsigned long npages,
		       bool implicit, u64 *token, u64 *id);
void zcipc_import_populate(struct zcipc_endpoint *ep, u64 token);
void zcipc_import_forget(struct zcipc_endpoint *ep, u64 token);
int zcipc_import_copy_all(struct zcipc_endpoint *ep, u64 token, u64 *copied);
int zcipc_import_give_back(struct zcipc_endpoint *ep, u64 token, unsigned long addr,
			   unsigned long end, u64 *copied);
int zcipc_import_file(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
		      bool implicit, u64 *token, u64 *id);

#endif /* ZCIPC_IMPORT_H */

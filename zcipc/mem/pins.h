/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames that were somebody's own memory before: see pins.c.
 */
#ifndef ZCIPC_PINS_H
#define ZCIPC_PINS_H

#include "base/base.h"

struct zcipc_imported;
struct zcipc_parts;
struct zcipc_region;

int zcipc_import_refs(const struct zcipc_imported *frame, bool mapped);
bool zcipc_import_is_free(const struct zcipc_imported *frame, bool mapped, struct folio **huge);
void zcipc_import_put(struct zcipc_imported *frame);
int zcipc_import_pin(struct zcipc_region *region, unsigned long first, unsigned long npages,
		     unsigned long addr, unsigned long limit, bool keep);
bool zcipc_import_takes_pmds(bool pfnmap);
struct zcipc_parts *zcipc_import_parts(struct folio *folio);

#endif /* ZCIPC_PINS_H */

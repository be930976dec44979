/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each ioctl does: checks what user space wants, has it done, and answers. Flags that there
 * are not have been refused before, but of calls that have ZCIPC_ANY_FLAGS. Each may sleep and is
 * called without any lock; it returns 0 or an errno of its struct in include/uapi/linux/zcipc.h, or
 * -ERESTARTSYS.
 *
 * A call that cannot be undone first finds out whether the answer can be written. If that fails in
 * the end it is too late to say anything but that the call was carried out.
 */
#ifndef ZCIPC_CALLS_H
#define ZCIPC_CALLS_H

struct seq_file;
struct file;
struct zcipc_endpoint;
struct zcipc_region;
struct zcipc_ucmd;

/* cap.c */
int zcipc_cap_map_file(struct file *holder, u64 token, struct zcipc_region *region,
		       unsigned long first, unsigned long npages, bool writable, u64 *addr);
int zcipc_cap_map(struct zcipc_ucmd *ucmd);
int zcipc_cap_unmap(struct zcipc_ucmd *ucmd);
int zcipc_cap_drop(struct zcipc_ucmd *ucmd);
int zcipc_cap_drop_batch(struct zcipc_ucmd *ucmd);
int zcipc_cap_revoke(struct zcipc_ucmd *ucmd);

/* endpoint.c */
int zcipc_endpoint_config(struct zcipc_ucmd *ucmd);
int zcipc_endpoint_lookup(struct zcipc_ucmd *ucmd);
int zcipc_endpoint_info(struct zcipc_ucmd *ucmd);

/* import.c */
int zcipc_import_adopt(struct zcipc_ucmd *ucmd, unsigned long addr, unsigned long npages,
		       bool implicit, u64 *token, u64 *id);
int zcipc_import_file(struct zcipc_endpoint *ep, unsigned long addr, unsigned long npages,
		      bool implicit, u64 *token, u64 *id);
int zcipc_import_memory(struct zcipc_ucmd *ucmd);
int zcipc_import_ordinary(struct zcipc_ucmd *ucmd);

/* message.c */
int zcipc_message_recv(struct zcipc_ucmd *ucmd);
int zcipc_notify(struct zcipc_ucmd *ucmd);

/* region.c */
int zcipc_region_create(struct zcipc_ucmd *ucmd);
int zcipc_region_query(struct zcipc_ucmd *ucmd);

/* stats.c */
int zcipc_stats_get(struct zcipc_ucmd *ucmd);
void zcipc_stats_show_endpoint(struct seq_file *m, struct zcipc_endpoint *ep);
void zcipc_stats_init(void);
void zcipc_stats_hide(void);

/* transfer.c */
int zcipc_transfer(struct zcipc_ucmd *ucmd);
int zcipc_transfer_grant(struct zcipc_ucmd *ucmd);
int zcipc_transfer_batch(struct zcipc_ucmd *ucmd);

#endif /* ZCIPC_CALLS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints, one for each step of a transfer. Ids of endpoints and regions, and file offsets: no
 * addresses.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM zcipc

#if !defined(ZCIPC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ZCIPC_TRACE_H

#include <linux/tracepoint.h>

#include <linux/zcipc.h>

/* For tools that read the formats: they know the values, not their names. */
TRACE_DEFINE_ENUM(ZCIPC_MOVE);
TRACE_DEFINE_ENUM(ZCIPC_SHARE);
TRACE_DEFINE_ENUM(ZCIPC_COPY);
TRACE_DEFINE_ENUM(ZCIPC_GRANTED);
TRACE_DEFINE_ENUM(ZCIPC_REVOKED);
TRACE_DEFINE_ENUM(ZCIPC_NOTIFIED);

#define zcipc_show_type(type) \
	__print_symbolic(type, \
			 { ZCIPC_MOVE, "MOVE" }, { ZCIPC_SHARE, "SHARE" }, { ZCIPC_COPY, "COPY" }, \
			 { ZCIPC_GRANTED, "GRANT" }, { ZCIPC_REVOKED, "REVOKED" }, \
			 { ZCIPC_NOTIFIED, "NOTIFY" })

/* A transfer has been found to be possible, and all is allocated. */
TRACE_EVENT(zcipc_prepare,
	    TP_PROTO(u64 sender, u64 peer, u32 type, u64 npages),
	    TP_ARGS(sender, peer, type, npages),
	    TP_STRUCT__entry(__field(u64, sender)
			     __field(u64, peer)
			     __field(u32, type)
			     __field(u64, npages)),
	    TP_fast_assign(__entry->sender = sender;
			   __entry->peer = peer;
			   __entry->type = type;
			   __entry->npages = npages;),
	    TP_printk("sender=%llu peer=%llu type=%s pages=%llu", __entry->sender, __entry->peer,
		      zcipc_show_type(__entry->type), __entry->npages)
);

/* A transfer has been carried out. */
TRACE_EVENT(zcipc_commit,
	    TP_PROTO(u64 sender, u64 peer, u32 type, u64 region, u64 npages, u64 copied),
	    TP_ARGS(sender, peer, type, region, npages, copied),
	    TP_STRUCT__entry(__field(u64, sender)
			     __field(u64, peer)
			     __field(u32, type)
			     __field(u64, region)
			     __field(u64, npages)
			     __field(u64, copied)),
	    TP_fast_assign(__entry->sender = sender;
			   __entry->peer = peer;
			   __entry->type = type;
			   __entry->region = region;
			   __entry->npages = npages;
			   __entry->copied = copied;),
	    TP_printk("sender=%llu peer=%llu type=%s region=%llu pages=%llu copied=%llu",
		      __entry->sender, __entry->peer, zcipc_show_type(__entry->type),
		      __entry->region, __entry->npages, __entry->copied)
);

/* A peer is notified. */
TRACE_EVENT(zcipc_notify,
	    TP_PROTO(u64 sender, u64 peer, u64 region, u64 len),
	    TP_ARGS(sender, peer, region, len),
	    TP_STRUCT__entry(__field(u64, sender)
			     __field(u64, peer)
			     __field(u64, region)
			     __field(u64, len)),
	    TP_fast_assign(__entry->sender = sender;
			   __entry->peer = peer;
			   __entry->region = region;
			   __entry->len = len;),
	    TP_printk("sender=%llu peer=%llu region=%llu len=%llu", __entry->sender, __entry->peer,
		      __entry->region, __entry->len)
);

/* A transfer, grant, or notification has failed. */
TRACE_EVENT(zcipc_fail,
	    TP_PROTO(u64 sender, u64 peer, u32 type, int error),
	    TP_ARGS(sender, peer, type, error),
	    TP_STRUCT__entry(__field(u64, sender)
			     __field(u64, peer)
			     __field(u32, type)
			     __field(int, error)),
	    TP_fast_assign(__entry->sender = sender;
			   __entry->peer = peer;
			   __entry->type = type;
			   __entry->error = error;),
	    TP_printk("sender=%llu peer=%llu type=%s error=%d", __entry->sender, __entry->peer,
		      zcipc_show_type(__entry->type), __entry->error)
);

DECLARE_EVENT_CLASS(zcipc_ptes,
		    TP_PROTO(u64 endpoint, unsigned long pgoff, unsigned long npages),
		    TP_ARGS(endpoint, pgoff, npages),
		    TP_STRUCT__entry(__field(u64, endpoint)
				     __field(unsigned long, pgoff)
				     __field(unsigned long, npages)),
		    TP_fast_assign(__entry->endpoint = endpoint;
				   __entry->pgoff = pgoff;
				   __entry->npages = npages;),
		    TP_printk("endpoint=%llu pgoff=%lu pages=%lu", __entry->endpoint,
			      __entry->pgoff, __entry->npages)
);

/* File offsets of an endpoint have been taken out of its page tables, and TLBs flushed. */
DEFINE_EVENT(zcipc_ptes, zcipc_unmap,
	     TP_PROTO(u64 endpoint, unsigned long pgoff, unsigned long npages),
	     TP_ARGS(endpoint, pgoff, npages)
);

/* PTEs are inserted. */
DEFINE_EVENT(zcipc_ptes, zcipc_insert,
	     TP_PROTO(u64 endpoint, unsigned long pgoff, unsigned long npages),
	     TP_ARGS(endpoint, pgoff, npages)
);

/* A message has been received. */
TRACE_EVENT(zcipc_receive,
	    TP_PROTO(u64 endpoint, const struct zcipc_recv *cmd),
	    TP_ARGS(endpoint, cmd),
	    TP_STRUCT__entry(__field(u64, endpoint)
			     __field(u64, sender)
			     __field(u32, type)
			     __field(u64, region)
			     __field(u64, len)),
	    TP_fast_assign(__entry->endpoint = endpoint;
			   __entry->sender = cmd->sender;
			   __entry->type = cmd->type;
			   __entry->region = cmd->region;
			   __entry->len = cmd->len;),
	    TP_printk("endpoint=%llu sender=%llu type=%s region=%llu len=%llu",
		      __entry->endpoint, __entry->sender, zcipc_show_type(__entry->type),
		      __entry->region, __entry->len)
);

/* A page of a snapshot, or of what one was taken of, is written to for the first time. */
TRACE_EVENT(zcipc_cow_break,
	    TP_PROTO(u64 endpoint, u64 region, unsigned long index, bool copied),
	    TP_ARGS(endpoint, region, index, copied),
	    TP_STRUCT__entry(__field(u64, endpoint)
			     __field(u64, region)
			     __field(unsigned long, index)
			     __field(bool, copied)),
	    TP_fast_assign(__entry->endpoint = endpoint;
			   __entry->region = region;
			   __entry->index = index;
			   __entry->copied = copied;),
	    TP_printk("endpoint=%llu region=%llu page=%lu %s", __entry->endpoint, __entry->region,
		      __entry->index, __entry->copied ? "copied" : "reused")
);

/* A capability has been revoked. */
TRACE_EVENT(zcipc_revoke,
	    TP_PROTO(u64 revoker, u64 owner, u64 region),
	    TP_ARGS(revoker, owner, region),
	    TP_STRUCT__entry(__field(u64, revoker)
			     __field(u64, owner)
			     __field(u64, region)),
	    TP_fast_assign(__entry->revoker = revoker;
			   __entry->owner = owner;
			   __entry->region = region;),
	    TP_printk("revoker=%llu owner=%llu region=%llu", __entry->revoker, __entry->owner,
		      __entry->region)
);

#endif /* ZCIPC_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH base
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model of zcipc_model.c: what there is, and what becomes of it.
 */
#ifndef __SELFTEST_MODEL_STATE
#define __SELFTEST_MODEL_STATE

#include <stdbool.h>

#include <linux/zcipc.h>

#include "lib/peer.h"
#include "lib/probe.h"

#define ALL		(2 * ZCIPC_RIGHT_MOVE - 1)
#define PROCESSES	6

#define REGION_PAGES	8
#define WINDOW		48
#define SIDES		(PROCESSES + 1)		/* the first and the last are in this process */
#define CAPS		250
#define MAPS		1500
#define QUEUE		600
#define GONE		64

struct frame {
	__u64 val;
	unsigned int regions;
	bool was_shared;		/* since then nobody has written to it */
};

/* @id is 0 as long as nobody has been told. */
struct region {
	__u64 id;
	unsigned int npages;
	struct frame *frames[REGION_PAGES];
};

/* @token is 0 as long as nobody has been told. */
struct cap {
	struct side *side;
	__u64 token;
	struct region *region;
	struct cap *parent;
	unsigned int first;
	unsigned int npages;
	__u32 rights;
};

/* @addr is what the kernel calls it, @seen_at where the process sees it. */
struct map {
	struct cap *cap;
	__u64 addr;
	__u64 seen_at;
	unsigned int first;
	unsigned int npages;
	bool writable;
	bool exec;
};

/*
 * Those of one batch come in any order. @cap: NULL if the message says that it is gone.
 * @sender_rights: which the sender has again if it is returned.
 */
struct message {
	struct cap *cap;
	struct cap *about;		/* of a notification */
	unsigned int batch;
	__u32 sender_rights;
	struct zcipc_recv want;
};

/* An endpoint and its process. @dirty: pages of the window to look at after the operation. */
struct side {
	struct ep ep;
	bool alive;
	unsigned int window;
	unsigned int depth;
	struct message queue[QUEUE];
	unsigned int nqueue;
	__u64 gone[GONE];
	unsigned int ngone;
	__u64 exec_end;
	bool dirty[WINDOW];
	bool dirty_any;
	struct desk *desk;
};

extern struct side sides[SIDES];
extern struct cap *caps[CAPS + SIDES];
extern unsigned int ncaps;
extern struct map maps[MAPS];
extern unsigned int nmaps;
extern unsigned int batch;
extern __u64 version;			/* the last number that was used for anything unique */
extern __u64 dead_endpoint;
extern __u64 nregions, nframes;
extern struct zcipc_stats counted;	/* since the episode began */
extern struct zcipc_stats before;

/* Executable mappings that are gone, as they were. */
struct grave {
	struct side *side;
	__u64 seen_at;
	unsigned int npages;
};

extern struct grave graves[MAPS];
extern unsigned int ngraves;

int nr(const struct side *side);
int cap_nr(const struct cap *cap);

/* --- the model: mappings */

void dirty(const struct map *map);
void dirty_range(const struct region *region, unsigned int first, unsigned int npages);
struct map *map_add(struct cap *cap, __u64 addr, unsigned int first, unsigned int npages,
		    bool writable);
void map_del(struct map *map);
void map_del_all(const struct cap *cap);
__u64 place(const struct side *side, unsigned int npages);

/* --- the model: regions and frames */

struct frame *frame_new(__u64 val);
struct region *region_new(unsigned int npages);
void region_write(struct region *region, unsigned int page, __u64 val);
void region_learn(struct region *region, __u64 id);

/* --- the model: messages */

struct message *message_add(struct side *side, struct cap *cap, const struct zcipc_recv *want,
			    const struct side *sender);
void message_del(struct side *side, unsigned int i);
bool message_addr_right(const struct message *m, __u64 addr);

/* --- the model: capabilities */

struct cap *cap_new(struct side *side, struct region *region, struct cap *parent,
		    unsigned int first, unsigned int npages, __u32 rights);
void cap_set_token(struct cap *cap, __u64 token);
void cap_leave(struct cap *cap);
void cap_del(struct cap *cap);
bool cap_is_below(const struct cap *cap, const struct cap *root);
bool cap_is_derived_from(const struct cap *cap, const struct side *side);
void cap_kill(struct cap *cap, const struct side *revoker);
unsigned int cap_revoke(struct cap *cap, bool keep, const struct side *revoker);
struct cap *cap_find(const struct side *side, __u64 token);
bool cap_range(const struct cap *cap, __u64 offset, __u64 len, unsigned int *first,
	       unsigned int *npages);

#endif

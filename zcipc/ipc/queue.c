// SPDX-License-Identifier: GPL-2.0
/*
 * Queues of messages, and receive rings, from which the owner of an endpoint reads messages without
 * a call.
 *
 * The pages of a ring are the module's. The owner maps them read-only, but for one, in which it
 * says how far it has come: its head. That is looked at whenever somebody has the lock and needs
 * room, and counts only if it is between the last head that did and the tail. So the worst that an
 * owner can write there is that it has received what it has not, or nothing: nobody else notices.
 *
 * A message in the ring is in its list until the head is past it, or until what it tells of is gone
 * from the endpoint: then only the entry remains.
 */
#include "base/base.h"

#include <linux/pid_namespace.h>
#include <linux/user_namespace.h>
#include <linux/vmalloc.h>

#include "mem/account.h"
#include "map/pt.h"
#include "map/window.h"
#include "ipc/cap.h"
#include "ipc/queue.h"
#include "ipc/room.h"

#define ZCIPC_RING_PAGES_MAX	32UL

/**
 * struct zcipc_receive_ring - all is protected by the endpoint's lock
 * @messages: that the owner has not received, oldest first
 * @nvmas: VMAs that show a part of it
 * @npages: of @memory
 * @mask: number of entries - 1
 * @head: how many the owner has received, the last time that it was believed
 * @tail: how many have been put in
 * @memory: @theirs, a page; @shared, a page; the entries
 * @theirs: where the owner says how far it has come
 * @shared: what the owner is told, but for the entries
 */
struct zcipc_receive_ring {
	struct list_head messages;
	unsigned int nvmas;
	unsigned long npages;
	u32 mask;
	u32 head;
	u32 tail;
	void *memory;
	struct zcipc_ring_head *theirs;
	struct zcipc_ring *shared;
};

static struct zcipc_recv *zcipc_ring_entry(const struct zcipc_receive_ring *ring, u32 number)
{
	return ring->memory + 2 * PAGE_SIZE + (number & ring->mask) * ZCIPC_RING_ENTRY_SIZE;
}

/* Messages up to a number are received. */
static void zcipc_ring_receive(struct zcipc_endpoint *ep, u32 head)
{
	struct zcipc_receive_ring *ring = ep->ring;
	struct zcipc_message *msg, *next;

	ring->head = head;
	list_for_each_entry_safe(msg, next, &ring->messages, entry) {
		if ((s32)(msg->number - head) >= 0)
			break;
		zcipc_message_received(ep, msg, zcipc_ring_entry(ring, msg->number));
	}
	/* Whoever still wants a call will say so again. */
	WRITE_ONCE(ring->shared->flags, 0);
	zcipc_endpoint_made_room_in_ring(ep);
}

/* Looks at what the owner says. Returns whether it has come further. */
static __always_inline bool zcipc_ring_look(struct zcipc_endpoint *ep)
{
	struct zcipc_receive_ring *ring = ep->ring;
	/* It is done with the entries before. */
	u32 head = smp_load_acquire(&ring->theirs->head);

	if (head == ring->head || head - ring->head > ring->tail - ring->head)
		return false;
	zcipc_ring_receive(ep, head);
	return true;
}

/* Is there no room for another message? */
static bool zcipc_ring_is_full(const struct zcipc_receive_ring *ring)
{
	return ring->tail - ring->head > ring->mask;
}

/* Moves a message that waits into the ring, which is not full. */
static void zcipc_ring_put(struct zcipc_endpoint *ep, struct zcipc_message *msg)
{
	struct zcipc_receive_ring *ring = ep->ring;
	struct zcipc_recv *entry = zcipc_ring_entry(ring, ring->tail);

	static_assert(sizeof(*entry) <= ZCIPC_RING_ENTRY_SIZE);
	list_move_tail(&msg->entry, &ring->messages);
	/* All of it is written; what is behind it has been 0 from the beginning. */
	entry->size = sizeof(*entry);
	zcipc_message_describe(msg, entry);
	entry->sender_pid = pid_nr_ns(msg->pid, ns_of_pid(ep->pid));
	/* There a uid is what it is. */
	entry->sender_uid = ep->cred->user_ns == &init_user_ns ? __kuid_val(msg->uid) :
			    from_kuid_munged(ep->cred->user_ns, msg->uid);
	msg->shown = true;
	msg->number = ring->tail++;
	/* The entry is there before the tail is past it. */
	smp_store_release(&ring->shared->tail, ring->tail);
}

/* Has the owner call when it has come further. Returns whether it has just done so. */
static bool zcipc_ring_want_call(struct zcipc_endpoint *ep)
{
	WRITE_ONCE(ep->ring->shared->flags, ZCIPC_RING_CALL);
	/* The owner writes, then looks. So do we: one of us sees what the other has written. */
	smp_mb();
	return zcipc_ring_look(ep);
}

/* The oldest message of a list that is still true, or NULL. */
static struct zcipc_message *zcipc_message_valid(struct zcipc_endpoint *ep,
						 struct list_head *messages)
{
	struct zcipc_message *msg;

	while ((msg = list_first_entry_or_null(messages, struct zcipc_message, entry))) {
		if (zcipc_message_alone(msg) || !READ_ONCE(zcipc_message_cap(msg)->extent.revoked))
			break;
		/* Nor will zcipc_cap_bury() tell that it is gone. */
		msg->unheard = !msg->shown;
		zcipc_message_unqueue(ep, msg);
	}
	return msg;
}

/* Receives what the owner has received, and puts in what there is room for. There is a ring. */
static void zcipc_ring_update(struct zcipc_endpoint *ep)
{
	struct zcipc_receive_ring *ring = ep->ring;
	struct zcipc_message *msg;

	lockdep_assert_held(&ep->space.lock);
	zcipc_ring_look(ep);
	while ((msg = zcipc_message_valid(ep, &ep->messages))) {
		if (zcipc_ring_is_full(ring) && !zcipc_ring_want_call(ep))
			break;
		zcipc_ring_put(ep, msg);
	}
}

/* Appends a message that is in no list. The caller holds the lock, and has looked for room. */
void zcipc_message_queue(struct zcipc_endpoint *ep, struct zcipc_message *msg,
			 const struct zcipc_endpoint *sender)
{
	lockdep_assert_held(&ep->space.lock);
	msg->sender = sender->space.id;
	msg->pid = get_pid(sender->pid);
	msg->uid = sender->cred->euid;
	WRITE_ONCE(ep->nmessages, ep->nmessages + 1);
	zcipc_stat_inc(MESSAGES);
	list_add_tail(&msg->entry, &ep->messages);
	if (ep->ring)
		zcipc_ring_update(ep);
	if (wq_has_sleeper(&ep->recv_wait))
		wake_up(&ep->recv_wait);
}

/* The oldest message that is still true, or NULL. */
struct zcipc_message *zcipc_message_first(struct zcipc_endpoint *ep)
{
	struct zcipc_message *msg = NULL;

	if (ep->ring) {
		zcipc_ring_update(ep);
		msg = zcipc_message_valid(ep, &ep->ring->messages);
	}
	return msg ?: zcipc_message_valid(ep, &ep->messages);
}

/* Does a message wait? No lock is held. */
bool zcipc_message_waits(struct zcipc_endpoint *ep)
{
	if (READ_ONCE(ep->ring)) {
		mutex_lock(&ep->space.lock);
		if (ep->ring)
			zcipc_ring_update(ep);
		mutex_unlock(&ep->space.lock);
	}
	return READ_ONCE(ep->nmessages);
}

/* zcipc_message_room(), of an endpoint that seems to have none. */
bool zcipc_message_make_room(struct zcipc_endpoint *ep)
{
	if (!ep->ring)
		return false;
	zcipc_ring_update(ep);
	if (!zcipc_message_fits(ep) && zcipc_ring_want_call(ep))
		zcipc_ring_update(ep);
	return zcipc_message_fits(ep);
}

/* The owner is about to receive its oldest message by a call. There is a ring. */
void zcipc_ring_pass(struct zcipc_endpoint *ep, const struct zcipc_message *msg)
{
	struct zcipc_receive_ring *ring = ep->ring;

	/* Those that are in the ring come first. */
	if (list_empty(&ring->messages))
		return;
	ring->head = msg->number + 1;
	WRITE_ONCE(ring->theirs->head, ring->head);
}

/* Frees what nobody reads messages from. */
static void zcipc_ring_free(struct zcipc_endpoint *ep, struct zcipc_receive_ring *ring)
{
	zcipc_uncharge_overhead(ep->space.user, ring->npages << PAGE_SHIFT);
	vfree(ring->memory);
	kfree(ring);
}

/*
 * There is no ring any more: what the owner has not received is the first in the queue. The caller
 * holds the lock.
 */
void zcipc_ring_remove(struct zcipc_endpoint *ep)
{
	struct zcipc_receive_ring *ring = ep->ring;

	lockdep_assert_held(&ep->space.lock);
	if (!ring)
		return;
	zcipc_ring_look(ep);
	list_splice(&ring->messages, &ep->messages);
	WRITE_ONCE(ep->ring, NULL);
	/* Who has it mapped has references to the pages. */
	zcipc_ring_free(ep, ring);
}

static vm_fault_t zcipc_ring_fault(struct vm_fault *vmf)
{
	struct zcipc_endpoint *ep = vmf->vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	unsigned long page;

	/* A child got the VMA by MADV_DOFORK. */
	if (vmf->vma->vm_mm != ep->space.mm)
		return ret;
	mutex_lock(&ep->space.lock);
	/* The page that has the head comes first. */
	page = vmf->pgoff >= ZCIPC_RING_HEAD_START ? 0 : vmf->pgoff - ZCIPC_RING_START + 1;
	if (ep->ring && page < ep->ring->npages) {
		vmf->page = vmalloc_to_page(ep->ring->memory + (page << PAGE_SHIFT));
		get_page(vmf->page);
		ret = 0;
	}
	mutex_unlock(&ep->space.lock);
	return ret;
}

/* One VMA more shows a part of the ring. Returns whether there is one. */
static bool zcipc_ring_add_vma(struct zcipc_endpoint *ep)
{
	bool yes;

	mutex_lock(&ep->space.lock);
	yes = ep->ring;
	if (yes)
		ep->ring->nvmas++;
	mutex_unlock(&ep->space.lock);
	return yes;
}

/* The kernel splits the VMA, or copies it: for mremap(), which then fails, or for a child. */
static void zcipc_ring_open(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;

	if (!zcipc_pt_is_inherited(vma, ep->space.mm))
		zcipc_ring_add_vma(ep);
}

static void zcipc_ring_close(struct vm_area_struct *vma)
{
	struct zcipc_endpoint *ep = vma->vm_private_data;

	if (vma->vm_mm != ep->space.mm)
		return;
	mutex_lock(&ep->space.lock);
	if (ep->ring && !--ep->ring->nvmas)
		zcipc_ring_remove(ep);
	mutex_unlock(&ep->space.lock);
	zcipc_space_closed(&ep->space, vma);
}

static const struct vm_operations_struct zcipc_ring_ops = {
	.open = zcipc_ring_open,
	.close = zcipc_ring_close,
	.mremap = zcipc_window_mremap,
	.fault = zcipc_ring_fault,
};

/* A ring with so many pages of entries, for an endpoint. Or -EDQUOT, -ENOMEM. */
static struct zcipc_receive_ring *zcipc_ring_alloc(struct zcipc_endpoint *ep, unsigned long npages)
{
	struct zcipc_receive_ring *ring;
	int ret;

	ring = kzalloc(sizeof(*ring), GFP_KERNEL_ACCOUNT);
	if (!ring)
		return ERR_PTR(-ENOMEM);
	ring->npages = npages + 2;
	ret = zcipc_charge_overhead(ep->space.user, ring->npages << PAGE_SHIFT);
	if (ret) {
		kfree(ring);
		return ERR_PTR(ret);
	}
	ring->memory = __vmalloc(ring->npages << PAGE_SHIFT, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!ring->memory) {
		zcipc_ring_free(ep, ring);
		return ERR_PTR(-ENOMEM);
	}
	INIT_LIST_HEAD(&ring->messages);
	ring->nvmas = 1;
	ring->theirs = ring->memory;
	ring->shared = ring->memory + PAGE_SIZE;
	ring->shared->nentries = (npages << PAGE_SHIFT) / ZCIPC_RING_ENTRY_SIZE;
	ring->shared->entry_size = ZCIPC_RING_ENTRY_SIZE;
	ring->mask = ring->shared->nentries - 1;
	return ring;
}

/* mmap() of a ring, which is made by that. */
static int zcipc_ring_make(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	unsigned long npages = vma_pages(vma) - 1;
	struct zcipc_receive_ring *ring;
	int ret = 0;

	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	if (vma->vm_pgoff != ZCIPC_RING_START || !is_power_of_2(npages) ||
	    npages > ZCIPC_RING_PAGES_MAX)
		return -EINVAL;
	ring = zcipc_ring_alloc(ep, npages);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	mutex_lock(&ep->space.lock);
	if (ep->ring || ep->space.dead) {
		ret = -EBUSY;
	} else {
		WRITE_ONCE(ep->ring, ring);
		zcipc_ring_update(ep);
	}
	mutex_unlock(&ep->space.lock);
	if (ret)
		zcipc_ring_free(ep, ring);
	return ret;
}

/* mmap() of the page that has a ring's head. */
static int zcipc_ring_map_head(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff != ZCIPC_RING_HEAD_START || vma_pages(vma) != 1)
		return -EINVAL;
	return zcipc_ring_add_vma(ep) ? 0 : -EINVAL;
}

/*
 * mmap() of a ring or of its head, for a shared VMA of the endpoint's mm. The caller holds the
 * mmap_lock for writing. Returns 0, or an errno of struct zcipc_ring.
 */
int zcipc_ring_mmap(struct zcipc_endpoint *ep, struct vm_area_struct *vma)
{
	bool head = vma->vm_pgoff >= ZCIPC_RING_HEAD_START;
	int ret;

	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	ret = head ? zcipc_ring_map_head(ep, vma) : zcipc_ring_make(ep, vma);
	if (ret)
		return ret;
	zcipc_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP,
			   VM_MAYEXEC | (head ? 0 : VM_MAYWRITE));
	vma->vm_ops = &zcipc_ring_ops;
	vma->vm_private_data = ep;
	return 0;
}

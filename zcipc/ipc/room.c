// SPDX-License-Identifier: GPL-2.0
/*
 * Senders that wait for room in an endpoint: in line, one wake-up for one place.
 */
#include "base/base.h"
#include "map/window.h"
#include "ipc/queue.h"
#include "ipc/room.h"

/**
 * struct zcipc_room_wait - somebody waits for room in an endpoint
 * @wq: in ep->room_wait, in the order of the turns
 * @ep: the endpoint
 * @seq: ep->room_seq, when there was none
 * @need: how much
 */
struct zcipc_room_wait {
	struct wait_queue_entry wq;
	struct zcipc_endpoint *ep;
	u32 seq;
	struct zcipc_room need;
};

/* @key: of this window so many pages will not do, NULL: there is no telling. */
static int zcipc_room_wake(struct wait_queue_entry *wq, unsigned int mode, int flags, void *key)
{
	const struct zcipc_room_wait *wait = container_of(wq, struct zcipc_room_wait, wq);
	const struct zcipc_room *full = key;

	/* It has tried since the last change, or need not try. */
	if (!READ_ONCE(wait->ep->space.dead) && wait->seq == READ_ONCE(wait->ep->room_seq))
		return 0;
	if (full && full->window == wait->need.window && wait->need.npages >= full->npages)
		return 0;
	return autoremove_wake_function(wq, mode, flags, NULL);
}

/* Takes the place in the line that somebody has had from the beginning. */
static void zcipc_room_enqueue(struct zcipc_room_wait *wait)
{
	const struct zcipc_room_wait *other;
	struct list_head *before;

	/* Mostly it is the last one. */
	list_for_each_prev(before, &wait->ep->room_wait.head) {
		other = container_of(before, struct zcipc_room_wait, wq.entry);
		if (other->need.turn < wait->need.turn)
			break;
	}
	list_add(&wait->wq.entry, before);
}

/*
 * Wakes the first sender in the line that may have room. If the queue is full none has, and the
 * owner of a ring is asked to call when it has received something. The caller holds the lock.
 */
static void zcipc_endpoint_wake_next(struct zcipc_endpoint *ep, struct zcipc_room *full)
{
	if (wq_has_sleeper(&ep->room_wait) && zcipc_message_room(ep))
		__wake_up(&ep->room_wait, TASK_NORMAL, 1, full);
}

/*
 * A sender that had a turn has tried again what it needs, or left, and @ret came of it: wakes the
 * next one. No lock is held. One change can make room for many, or for none but the last in the
 * line. Whoever can know that there is no room is not woken.
 */
void zcipc_endpoint_pass_turn(struct zcipc_endpoint *ep, struct zcipc_room need, int ret)
{
	mutex_lock(&ep->space.lock);
	if (ret != -EAGAIN)
		need.npages = zcipc_window_room(&ep->space, need.window) + 1;
	zcipc_endpoint_wake_next(ep, &need);
	mutex_unlock(&ep->space.lock);
}

/* There is more room in window or queue. The caller holds the lock. */
void zcipc_endpoint_made_room(struct zcipc_endpoint *ep)
{
	lockdep_assert_held(&ep->space.lock);
	WRITE_ONCE(ep->room_seq, ep->room_seq + 1);
	zcipc_endpoint_wake_next(ep, NULL);
}

/**
 * zcipc_endpoint_wait_room() - wait until there is more room, or the endpoint is dead
 * @ep: the endpoint
 * @room_seq: ep->room_seq, when there was no room
 * @need: what there was no room for; @need->turn is kept from one time to the next
 *
 * Those who wait are woken one after the other. The next one is when the caller waits again: so if
 * @need->turn is set zcipc_endpoint_pass_turn() must follow, with what came of the last try.
 *
 * Return: 0, or -ERESTARTSYS
 */
int zcipc_endpoint_wait_room(struct zcipc_endpoint *ep, u32 room_seq, struct zcipc_room *need)
{
	struct zcipc_room_wait wait = { .ep = ep, .seq = room_seq };
	int ret = 0;

	if (need->turn)
		zcipc_endpoint_pass_turn(ep, *need, -EAGAIN);
	init_wait_entry(&wait.wq, WQ_FLAG_EXCLUSIVE);
	wait.wq.func = zcipc_room_wake;
	for (;;) {
		spin_lock_irq(&ep->room_wait.lock);
		if (signal_pending(current)) {
			/* Who has been woken is not in the line, and tries first. */
			list_del_init(&wait.wq.entry);
			ret = -ERESTARTSYS;
		} else {
			if (!need->turn)
				need->turn = ++ep->room_turn;
			wait.need = *need;
			if (list_empty(&wait.wq.entry))
				zcipc_room_enqueue(&wait);
			set_current_state(TASK_INTERRUPTIBLE);
		}
		spin_unlock_irq(&ep->room_wait.lock);
		if (READ_ONCE(ep->room_seq) != room_seq || READ_ONCE(ep->space.dead)) {
			ret = 0;
			break;
		}
		if (ret)
			break;
		schedule();
	}
	finish_wait(&ep->room_wait, &wait.wq);
	return ret;
}

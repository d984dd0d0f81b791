//! In one room one request at a time, in the order in which they were posted: a bot that answered two at once would
//! write them into each other, and the second without knowing what it said to the first.
//!
//! Over all workers the live seam keeps the queue ([`common::live::turns`]). Within this one there is a queue in front of
//! it, so that of all requests of a room only the first asks for the turn.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use common::{
    live::{
        Live, LiveError,
        turns::{Fence, TURN_LEASE, TurnMode, TurnRequest, TurnStatus},
    },
    retry::RetryPolicy,
    wire::Seq,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

/// How often a turn is renewed: a renewal or two may come late.
const RENEW_EVERY: Duration = Duration::from_millis(TURN_LEASE.as_millis() as u64 / 4);
/// When it is asked again whether the turn has come.
const ASK_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(20), Duration::from_millis(250));
/// How long requests before this one are waited for that nobody is at: the queue delivers those of a worker that was
/// killed within a moment, and those of one that froze after twenty seconds, which is too long for the rest of a room.
const KEEP_MAX: Duration = Duration::from_secs(10);
/// The most of a deadline that goes into such waiting.
const KEEP_SHARE: u32 = 4;

/// The rooms in which somebody waits or is being answered by this worker.
#[derive(Clone)]
pub(crate) struct Turns {
    live: Arc<dyn Live>,
    keep: Duration,
    rooms: Arc<Mutex<HashMap<String, Room>>>,
}

#[derive(Default)]
struct Room {
    waiting: BTreeSet<(Seq, Uuid)>,
    holder: Option<Uuid>,
    changed: Arc<Notify>,
}

/// A request's place in its room's queued. Dropped, it is given up here, and nobody behind it loses theirs; what the live
/// engine knows of it stays, until [`QueuedTurn::release`] or until it lapses.
pub(crate) struct QueuedTurn {
    turns: Turns,
    request: TurnRequest,
}

/// The turn, renewed until this is dropped.
pub(crate) struct Turn {
    /// The right to show and post the reply.
    pub fence: Fence,
    /// Cancelled when it was given to another.
    pub lost: CancellationToken,
    _renewing: AbortOnDropHandle<()>,
}

impl Turns {
    /// Nobody is there. A request's `deadline` bounds how long it waits for others that do not come.
    pub(crate) fn new(live: Arc<dyn Live>, deadline: Duration) -> Turns {
        Turns {
            live,
            keep: KEEP_MAX.min(deadline / KEEP_SHARE),
            rooms: Arc::default(),
        }
    }

    /// Takes a request's place in its room's queued, which is the request's own place: one that comes late stands before
    /// all that were posted after it.
    pub(crate) fn enqueue(&self, room: &str, reply: Uuid, seq: Seq, delivery: u32) -> QueuedTurn {
        let mut rooms = self.rooms();
        let queue = rooms.entry(room.to_owned()).or_default();
        queue.waiting.insert((seq, reply));
        queue.changed.notify_waiters();
        QueuedTurn {
            turns: self.clone(),
            request: TurnRequest {
                room: room.to_owned(),
                reply,
                seq,
                holder: Uuid::new_v4(),
                at_least: delivery,
            },
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock()
    }
}

impl QueuedTurn {
    /// Waits until it is this one's turn; none if the reply is in the room already. Safe to cancel, and to call again
    /// after the turn was lost.
    pub(crate) async fn wait(&mut self) -> Option<Turn> {
        self.set_holding(false);
        let mut back_off = ASK_AGAIN.back_off();
        loop {
            let changed = self.changed();
            let changed = changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_first() {
                changed.await;
                continue;
            }
            match self.asks(TurnMode::InOrder).await {
                Ok(TurnStatus::Granted(fence)) => {
                    self.set_holding(true);
                    self.request.at_least = fence.number;
                    return Some(self.renewed(fence));
                }
                Ok(TurnStatus::Answered) => return None,
                Ok(TurnStatus::Waiting) => {}
                Err(error) => {
                    tracing::debug!(room = %self.request.room, %error, "whose turn it is cannot be asked");
                }
            }
            // Somebody who stands before this one may come meanwhile.
            drop(timeout(back_off.next_pause(), changed).await);
        }
    }

    /// Asks for the right to post at once, whosever turn it is.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer.
    pub(crate) async fn take_now(&self) -> Result<TurnStatus, LiveError> {
        self.asks(TurnMode::Now).await
    }

    /// Gives the turn back without a reply; `for_good`, if the request does not come again. Takes the turn itself: renewed
    /// once more, it would be held until it lapses.
    pub(crate) async fn release(&self, turn: Option<Turn>, for_good: bool) {
        drop(turn);
        if let Err(error) = self.turns.live.release_turn(&self.request, for_good).await {
            tracing::debug!(room = %self.request.room, %error, "a turn was not given back; it will lapse");
        }
    }

    async fn asks(&self, mode: TurnMode) -> Result<TurnStatus, LiveError> {
        let Turns { live, keep, .. } = &self.turns;
        live.request_turn(&self.request, mode, *keep).await
    }

    fn renewed(&self, fence: Fence) -> Turn {
        let lost = CancellationToken::new();
        let Turns { live, keep, .. } = self.turns.clone();
        let (request, told) = (self.request.clone(), lost.clone());
        let renewing = tokio::spawn(async move {
            loop {
                sleep(RENEW_EVERY).await;
                match live.request_turn(&request, TurnMode::InOrder, keep).await {
                    Ok(TurnStatus::Granted(still)) if still == fence => {}
                    Ok(_) => return told.cancel(),
                    // Whether it was lost shows when the engine is back.
                    Err(error) => {
                        tracing::debug!(room = %request.room, %error, "a turn was not renewed");
                    }
                }
            }
        });
        Turn {
            fence,
            lost,
            _renewing: AbortOnDropHandle::new(renewing),
        }
    }

    fn changed(&self) -> Arc<Notify> {
        let rooms = self.turns.rooms();
        Arc::clone(&rooms[&self.request.room].changed)
    }

    fn is_first(&self) -> bool {
        let rooms = self.turns.rooms();
        let queue = &rooms[&self.request.room];
        let first = queue.waiting.first().map(|(_, reply)| *reply);
        queue.holder.or(first) == Some(self.request.reply)
    }

    fn set_holding(&self, yes: bool) {
        let mut rooms = self.turns.rooms();
        let Some(queue) = rooms.get_mut(&self.request.room) else {
            return;
        };
        if yes {
            queue.holder = Some(self.request.reply);
        } else if queue
            .holder
            .take_if(|reply| *reply == self.request.reply)
            .is_some()
        {
            queue.changed.notify_waiters();
        }
    }
}

impl Drop for QueuedTurn {
    fn drop(&mut self) {
        self.set_holding(false);
        let mut rooms = self.turns.rooms();
        let Some(queue) = rooms.get_mut(&self.request.room) else {
            return;
        };
        queue
            .waiting
            .remove(&(self.request.seq, self.request.reply));
        queue.changed.notify_waiters();
        if queue.waiting.is_empty() {
            rooms.remove(&self.request.room);
        }
    }
}

#[cfg(test)]
mod tests {
    use engines::embedded::EmbeddedLive;
    use futures_util::FutureExt;

    use super::*;

    fn turns() -> Turns {
        Turns::new(EmbeddedLive::new(), Duration::from_secs(60))
    }

    fn enqueue(turns: &Turns, room: &str, seq: Seq) -> QueuedTurn {
        turns.enqueue(room, Uuid::from_u128(seq.into()), seq, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_takes_turns_in_order_and_rooms_do_not_wait_for_each_other() {
        let turns = turns();
        let [mut third, mut second, mut first] = [3, 2, 1].map(|seq| enqueue(&turns, "lobby", seq));
        let mut elsewhere = enqueue(&turns, "elsewhere", 4);
        assert!(second.wait().now_or_never().is_none());
        let at_first = first.wait().await.unwrap();
        assert!(elsewhere.wait().now_or_never().is_some());
        assert!(third.wait().now_or_never().is_none());
        assert!(second.wait().now_or_never().is_none());
        first.release(Some(at_first), true).await;
        drop(first);
        assert!(third.wait().now_or_never().is_none());
        let at_second = second.wait().await.unwrap();
        second.release(Some(at_second), true).await;
        drop(second);
        third.wait().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_renewed_as_long_as_it_is_held_and_passed_on_when_it_lapses() {
        let (live, deadline) = (EmbeddedLive::new(), Duration::from_secs(60));
        let [one, two] = [(); 2].map(|()| Turns::new(live.clone(), deadline));
        let mut first = enqueue(&one, "lobby", 1);
        let mut second = enqueue(&two, "lobby", 2);
        let turn = first.wait().await.unwrap();
        assert!(timeout(10 * TURN_LEASE, second.wait()).await.is_err());
        // Its worker dies.
        drop((turn, first));
        let until = TURN_LEASE + KEEP_MAX + Duration::from_secs(1);
        let turn = timeout(until, second.wait()).await.unwrap().unwrap();
        assert!(!turn.lost.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_without_anyone_are_forgotten() {
        let turns = turns();
        for n in 0..100 {
            drop(enqueue(&turns, &format!("room-{n}"), 1));
        }
        assert!(turns.rooms().is_empty());
    }
}

//! In one room one request at a time, in the order in which they were posted: a bot that answered two at once would
//! write them into each other, and the second without knowing what it said to the first.
//!
//! Over all workers the live seam keeps the line ([`common::live::turns`]). Within this one there is a line in front of
//! it, so that of all requests of a room only the first asks for the turn.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use common::{
    live::{
        Live, LiveError,
        turns::{Fence, TURN_LEASE, TurnMode, TurnRequest, TurnStatus},
    },
    wire::Seq,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

/// How often a turn is renewed: a renewal or two may come late.
const RENEW_EVERY: Duration = Duration::from_millis(TURN_LEASE.as_millis() as u64 / 4);
/// Between two looks whether the turn has come: the first and the longest.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(20);
const LOOK_AGAIN_LONGEST: Duration = Duration::from_millis(250);
/// How long requests before this one are waited for that nobody is at: the queue delivers those of a worker that was
/// killed within a moment, and those of one that froze after twenty seconds, which is too long for the rest of a room.
const KEEP_MAX: Duration = Duration::from_secs(10);
/// The most of a deadline that goes into such waiting.
const KEEP_SHARE: u32 = 4;

/// The rooms in which somebody waits or is being answered by this worker.
#[derive(Clone)]
pub struct Turns {
    live: Arc<dyn Live>,
    keep: Duration,
    rooms: Arc<Mutex<HashMap<String, Room>>>,
}

#[derive(Default)]
struct Room {
    in_line: BTreeSet<(Seq, Uuid)>,
    at_it: Option<Uuid>,
    changed: Arc<Notify>,
}

/// A request's place in its room's line. Dropped, it is given up here, and nobody behind it loses theirs; what the live
/// engine knows of it stays, until [`InLine::leave`] or until it lapses.
pub struct InLine {
    turns: Turns,
    place: TurnRequest,
}

/// The turn, renewed until this is dropped.
pub struct Turn {
    /// The right to show and post the reply.
    pub fence: Fence,
    /// Cancelled when it was given to another.
    pub lost: CancellationToken,
    _renewing: AbortOnDropHandle<()>,
}

impl Turns {
    /// Nobody is there. A request's `deadline` bounds how long it waits for others that do not come.
    pub fn new(live: Arc<dyn Live>, deadline: Duration) -> Turns {
        Turns {
            live,
            keep: KEEP_MAX.min(deadline / KEEP_SHARE),
            rooms: Arc::default(),
        }
    }

    /// Takes a request's place in its room's line, which is the request's own place: one that comes late stands before
    /// all that were posted after it.
    pub fn line_up(&self, room: &str, reply: Uuid, seq: Seq, delivery: u32) -> InLine {
        let mut rooms = self.rooms();
        let line = rooms.entry(room.to_owned()).or_default();
        line.in_line.insert((seq, reply));
        line.changed.notify_waiters();
        InLine {
            turns: self.clone(),
            place: TurnRequest {
                room: room.to_owned(),
                reply,
                seq,
                holder: Uuid::new_v4(),
                at_least: delivery,
            },
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().expect("nothing panics while holding it")
    }
}

impl InLine {
    /// Waits until it is this one's turn; none if the reply is in the room already. Safe to cancel, and to call again
    /// after the turn was lost.
    pub async fn comes(&mut self) -> Option<Turn> {
        self.is_at_it(false);
        let mut pause = LOOK_AGAIN_FIRST;
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
                    self.is_at_it(true);
                    self.place.at_least = fence.number;
                    return Some(self.renewed(fence));
                }
                Ok(TurnStatus::Answered) => return None,
                Ok(TurnStatus::Waiting) => {}
                Err(error) => {
                    tracing::debug!(room = %self.place.room, %error, "whose turn it is cannot be asked");
                }
            }
            // Somebody who stands before this one may come meanwhile.
            drop(timeout(pause.mul_f64(rand::random_range(0.5..1.0)), changed).await);
            pause = (pause * 2).min(LOOK_AGAIN_LONGEST);
        }
    }

    /// Asks for the right to post at once, whosever turn it is.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer.
    pub async fn posts_now(&self) -> Result<TurnStatus, LiveError> {
        self.asks(TurnMode::Now).await
    }

    /// Gives the turn back without a reply; `for_good`, if the request does not come again. Takes the turn itself: renewed
    /// once more, it would be held until it lapses.
    pub async fn leave(&self, turn: Option<Turn>, for_good: bool) {
        drop(turn);
        if let Err(error) = self.turns.live.release_turn(&self.place, for_good).await {
            tracing::debug!(room = %self.place.room, %error, "a turn was not given back; it will lapse");
        }
    }

    async fn asks(&self, wish: TurnMode) -> Result<TurnStatus, LiveError> {
        let Turns { live, keep, .. } = &self.turns;
        live.request_turn(&self.place, wish, *keep).await
    }

    fn renewed(&self, fence: Fence) -> Turn {
        let lost = CancellationToken::new();
        let Turns { live, keep, .. } = self.turns.clone();
        let (place, told) = (self.place.clone(), lost.clone());
        let renewing = tokio::spawn(async move {
            loop {
                sleep(RENEW_EVERY).await;
                match live.request_turn(&place, TurnMode::InOrder, keep).await {
                    Ok(TurnStatus::Granted(still)) if still == fence => {}
                    Ok(_) => return told.cancel(),
                    // Whether it was lost shows when the engine is back.
                    Err(error) => {
                        tracing::debug!(room = %place.room, %error, "a turn was not renewed");
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
        Arc::clone(&rooms[&self.place.room].changed)
    }

    fn is_first(&self) -> bool {
        let rooms = self.turns.rooms();
        let line = &rooms[&self.place.room];
        let first = line.in_line.first().map(|(_, reply)| *reply);
        line.at_it.or(first) == Some(self.place.reply)
    }

    fn is_at_it(&self, yes: bool) {
        let mut rooms = self.turns.rooms();
        let Some(line) = rooms.get_mut(&self.place.room) else {
            return;
        };
        if yes {
            line.at_it = Some(self.place.reply);
        } else if line
            .at_it
            .take_if(|reply| *reply == self.place.reply)
            .is_some()
        {
            line.changed.notify_waiters();
        }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.is_at_it(false);
        let mut rooms = self.turns.rooms();
        let Some(line) = rooms.get_mut(&self.place.room) else {
            return;
        };
        line.in_line.remove(&(self.place.seq, self.place.reply));
        line.changed.notify_waiters();
        if line.in_line.is_empty() {
            rooms.remove(&self.place.room);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::live::embedded::EmbeddedLive;
    use futures_util::FutureExt;

    use super::*;

    fn turns() -> Turns {
        Turns::new(EmbeddedLive::new(), Duration::from_secs(60))
    }

    fn line_up(turns: &Turns, room: &str, seq: Seq) -> InLine {
        turns.line_up(room, Uuid::from_u128(seq.into()), seq, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_takes_turns_in_order_and_rooms_do_not_wait_for_each_other() {
        let turns = turns();
        let [mut third, mut second, mut first] = [3, 2, 1].map(|seq| line_up(&turns, "lobby", seq));
        let mut elsewhere = line_up(&turns, "elsewhere", 4);
        assert!(second.comes().now_or_never().is_none());
        let at_first = first.comes().await.unwrap();
        assert!(elsewhere.comes().now_or_never().is_some());
        assert!(third.comes().now_or_never().is_none());
        assert!(second.comes().now_or_never().is_none());
        first.leave(Some(at_first), true).await;
        drop(first);
        assert!(third.comes().now_or_never().is_none());
        let at_second = second.comes().await.unwrap();
        second.leave(Some(at_second), true).await;
        drop(second);
        third.comes().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_renewed_as_long_as_it_is_held_and_passed_on_when_it_lapses() {
        let (live, deadline) = (EmbeddedLive::new(), Duration::from_secs(60));
        let [one, two] = [(); 2].map(|()| Turns::new(live.clone(), deadline));
        let mut first = line_up(&one, "lobby", 1);
        let mut second = line_up(&two, "lobby", 2);
        let turn = first.comes().await.unwrap();
        assert!(timeout(10 * TURN_LEASE, second.comes()).await.is_err());
        // Its worker dies.
        drop((turn, first));
        let until = TURN_LEASE + KEEP_MAX + Duration::from_secs(1);
        let turn = timeout(until, second.comes()).await.unwrap().unwrap();
        assert!(!turn.lost.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_without_anyone_are_forgotten() {
        let turns = turns();
        for n in 0..100 {
            drop(line_up(&turns, &format!("room-{n}"), 1));
        }
        assert!(turns.rooms().is_empty());
    }
}

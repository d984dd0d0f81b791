//! In one room one request at a time, in the order in which they were posted: a bot that answered two at once would
//! write them into each other, and the second without knowing what it said to the first.
//!
//! Over all workers the live seam keeps the queue ([`common::live::turns`]). Within this one there is a queue in front of
//! it, so that of all requests of a room only the first asks for the turn.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use common::{
    live::{
        Live, LiveError,
        turns::{Fence, IN_HAND_MAX, TURN_LEASE, TurnMode, TurnRequest, TurnStatus},
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
    /// How many requests of each asker there are.
    people: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

#[derive(Default)]
struct Room {
    /// Who asked, by the request's place.
    waiting: BTreeMap<(Seq, Uuid), Arc<str>>,
    holder: Option<Uuid>,
    changed: Arc<Notify>,
}

/// What one attempt at a reply asks the live engine for, by a name of its own.
#[derive(Clone)]
pub(crate) struct Claim {
    turns: Turns,
    user: Arc<str>,
    request: TurnRequest,
}

/// A request's place in its room's queue. Dropped, it is given up here, and nobody behind it loses theirs; what the live
/// engine knows of it stays, until [`Claim::release`] or until it lapses.
pub(crate) struct QueuedTurn {
    claim: Claim,
}

/// Who of a room's queue in this worker stands before a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomPlace {
    /// How many.
    pub before: usize,
    /// How many of those have the same asker.
    pub own_before: usize,
    /// How many people ask in the room, behind it as well.
    pub users: usize,
}

/// The turn, renewed until this is dropped.
pub(crate) struct Turn {
    /// The right to show and post the reply.
    pub fence: Fence,
    /// Cancelled when it was given to another, or what was to be answered has changed.
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
            people: Arc::default(),
        }
    }

    /// Takes a request's place in its room's queue, which is the request's own place: one that comes late stands before
    /// all that were posted after it.
    pub(crate) fn enqueue(
        &self,
        room: &str,
        user: &str,
        reply: Uuid,
        seq: Seq,
        delivery: u32,
    ) -> QueuedTurn {
        let holder = Uuid::new_v4();
        let claim = self.claim(
            room,
            user,
            reply,
            seq,
            Fence {
                holder,
                number: delivery,
            },
        );
        let user = Arc::clone(&claim.user);
        *self.people.lock().entry(Arc::clone(&user)).or_default() += 1;
        let mut rooms = self.rooms();
        let queue = rooms.entry(room.to_owned()).or_default();
        queue.waiting.insert((seq, reply), user);
        queue.changed.notify_waiters();
        QueuedTurn { claim }
    }

    /// An attempt at a reply, with the fence that it has, or the least that it is to get; in nobody's queue.
    pub(crate) fn claim(
        &self,
        room: &str,
        user: &str,
        reply: Uuid,
        seq: Seq,
        Fence {
            holder,
            number: at_least,
        }: Fence,
    ) -> Claim {
        Claim {
            turns: self.clone(),
            user: user.into(),
            request: TurnRequest {
                room: room.to_owned(),
                reply,
                seq,
                holder,
                at_least,
                in_hand: Vec::new(),
            },
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock()
    }
}

impl Claim {
    /// Asks for the right to post at once, whosever turn it is.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer.
    pub(crate) async fn take_now(&self) -> Result<TurnStatus, LiveError> {
        self.asks(TurnMode::Now).await
    }

    /// Goes on with a turn that was granted to this name; none if it is another's by now.
    ///
    /// # Errors
    /// [`LiveError`] if the engine does not answer.
    pub(crate) async fn resume(&self) -> Result<Option<Turn>, LiveError> {
        match self.asks(TurnMode::InOrder).await? {
            TurnStatus::Granted(fence) if fence.number == self.request.at_least => {
                Ok(Some(self.renewed(fence)))
            }
            // Another has had it meanwhile, and it was free again: whoever offered it asks anew.
            TurnStatus::Granted(_) => {
                self.release(None, false).await;
                Ok(None)
            }
            TurnStatus::Waiting | TurnStatus::Answered => Ok(None),
        }
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
        let request = TurnRequest {
            in_hand: self.in_hand(),
            ..self.request.clone()
        };
        live.request_turn(&request, mode, *keep).await
    }

    /// What else of the room is in this worker's hands.
    fn in_hand(&self) -> Vec<Uuid> {
        let rooms = self.turns.rooms();
        let waiting = rooms
            .get(&self.request.room)
            .map(|room| room.waiting.keys());
        let replies = waiting.into_iter().flatten().map(|(_, reply)| *reply);
        let others = replies.filter(|reply| *reply != self.request.reply);
        others.take(IN_HAND_MAX).collect()
    }

    /// Where it stands in this worker's part of the room's queue.
    pub(crate) fn place(&self) -> RoomPlace {
        let rooms = self.turns.rooms();
        let TurnRequest {
            room, reply, seq, ..
        } = &self.request;
        let Some(Room { waiting, .. }) = rooms.get(room) else {
            return RoomPlace::default();
        };
        let before = || waiting.range(..(*seq, *reply)).map(|(_, user)| user);
        RoomPlace {
            before: before().count(),
            own_before: before().filter(|user| **user == self.user).count(),
            users: waiting.values().collect::<HashSet<_>>().len(),
        }
    }

    /// How many requests this worker has in hand, in all rooms: of the same asker, and of all.
    pub(crate) fn held(&self) -> (usize, usize) {
        let people = self.turns.people.lock();
        let own = people.get(&self.user).copied().unwrap_or_default();
        (own, people.values().sum())
    }

    fn renewed(&self, fence: Fence) -> Turn {
        let lost = CancellationToken::new();
        let (claim, told) = (self.clone(), lost.clone());
        let renewing = tokio::spawn(async move {
            loop {
                sleep(RENEW_EVERY).await;
                match claim.asks(TurnMode::InOrder).await {
                    Ok(TurnStatus::Granted(still)) if still == fence => {}
                    Ok(status) => {
                        // What was to be answered has changed, and nobody else has asked yet.
                        if let TurnStatus::Granted(_) = status {
                            claim.release(None, false).await;
                        }
                        return told.cancel();
                    }
                    // Whether it was lost shows when the engine is back.
                    Err(error) => {
                        tracing::debug!(room = %claim.request.room, %error, "a turn was not renewed");
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
            match self.claim.asks(TurnMode::InOrder).await {
                Ok(TurnStatus::Granted(fence)) => {
                    self.set_holding(true);
                    self.claim.request.at_least = fence.number;
                    return Some(self.claim.renewed(fence));
                }
                Ok(TurnStatus::Answered) => return None,
                Ok(TurnStatus::Waiting) => {}
                Err(error) => {
                    tracing::debug!(room = %self.claim.request.room, %error, "whose turn it is cannot be asked");
                }
            }
            // Somebody who stands before this one may come meanwhile.
            drop(timeout(back_off.next_pause(), changed).await);
        }
    }

    /// What this attempt asks by.
    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Another attempt, by another name: whoever has the turn by the present one keeps it.
    pub(crate) fn begin_anew(&mut self) {
        self.claim.request.holder = Uuid::new_v4();
    }

    fn changed(&self) -> Arc<Notify> {
        let rooms = self.claim.turns.rooms();
        Arc::clone(&rooms[&self.claim.request.room].changed)
    }

    fn is_first(&self) -> bool {
        let rooms = self.claim.turns.rooms();
        let queue = &rooms[&self.claim.request.room];
        let first = queue.waiting.keys().next().map(|(_, reply)| *reply);
        queue.holder.or(first) == Some(self.claim.request.reply)
    }

    fn set_holding(&self, yes: bool) {
        let mut rooms = self.claim.turns.rooms();
        let Some(queue) = rooms.get_mut(&self.claim.request.room) else {
            return;
        };
        if yes {
            queue.holder = Some(self.claim.request.reply);
        } else if queue
            .holder
            .take_if(|reply| *reply == self.claim.request.reply)
            .is_some()
        {
            queue.changed.notify_waiters();
        }
    }
}

impl Drop for QueuedTurn {
    fn drop(&mut self) {
        self.set_holding(false);
        let mut people = self.claim.turns.people.lock();
        if let Some(count) = people.get_mut(&self.claim.user) {
            *count -= 1;
            if *count == 0 {
                people.remove(&self.claim.user);
            }
        }
        drop(people);
        let mut rooms = self.claim.turns.rooms();
        let Some(queue) = rooms.get_mut(&self.claim.request.room) else {
            return;
        };
        queue
            .waiting
            .remove(&(self.claim.request.seq, self.claim.request.reply));
        queue.changed.notify_waiters();
        if queue.waiting.is_empty() {
            rooms.remove(&self.claim.request.room);
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
        turns.enqueue(room, "ada", Uuid::from_u128(seq.into()), seq, 1)
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
        first.claim().release(Some(at_first), true).await;
        drop(first);
        assert!(third.wait().now_or_never().is_none());
        let at_second = second.wait().await.unwrap();
        second.claim().release(Some(at_second), true).await;
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

    #[tokio::test]
    async fn a_request_knows_who_stands_before_it() {
        let turns = turns();
        let enqueue =
            |user, seq: Seq| turns.enqueue("lobby", user, Uuid::from_u128(seq.into()), seq, 1);
        let waiting = [("ada", 1), ("bob", 2), ("ada", 3), ("eve", 4)];
        let waiting = waiting.map(|(user, seq)| enqueue(user, seq));
        let place = |before, own_before| RoomPlace {
            before,
            own_before,
            users: 3,
        };
        let places = waiting.each_ref().map(|queued| queued.claim().place());
        assert_eq!(places, [place(0, 0), place(1, 0), place(2, 1), place(3, 0)]);
        assert_eq!(
            waiting.each_ref().map(|queued| queued.claim().held()),
            [(2, 4), (1, 4), (2, 4), (1, 4)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_goes_on_under_its_name_in_other_hands() {
        let (live, deadline) = (EmbeddedLive::new(), Duration::from_secs(60));
        let [one, two] = [(); 2].map(|()| Turns::new(live.clone(), deadline));
        let mut queued = enqueue(&one, "lobby", 1);
        let turn = queued.wait().await.unwrap();
        let number = turn.fence.number;
        let taken = two.claim("lobby", "ada", Uuid::from_u128(1), 1, turn.fence);
        let resumed = taken.resume().await.unwrap().unwrap();
        assert_eq!(resumed.fence, turn.fence);
        drop(turn);
        queued.begin_anew();
        assert!(timeout(10 * TURN_LEASE, queued.wait()).await.is_err());
        taken.release(Some(resumed), false).await;
        let again = queued.wait().await.unwrap();
        assert!(again.fence.number > number);
        assert!(
            taken.resume().await.unwrap().is_none(),
            "it is another's now"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_without_anyone_are_forgotten() {
        let turns = turns();
        for n in 0..100 {
            drop(enqueue(&turns, &format!("room-{n}"), 1));
        }
        assert!(turns.rooms().is_empty() && turns.people.lock().is_empty());
    }
}

//! This worker's end of the fleet's run queue ([`common::quota::run_queue`]): offers requests that have the turn, and
//! takes what is next whenever a slot is free, whosever delivery it is.

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::{
    live::turns::Fence,
    queue::Verdict,
    quota::{
        Quota, QuotaError,
        run_queue::{Offer, Place},
    },
    traces::{self, TraceContext},
    wire::{Message, Seq},
};
use parking_lot::Mutex;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::interrupts::Stop;

/// How often a worker with a free slot looks whether another has offered something, as long as there are few workers; it is
/// told at once of what it has offered itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So many workers look that often; with more of them, each looks less often.
const WORKERS_LOOKING: usize = 10;
/// How often it looks if it is the only one: another may have died and left something.
const LOOK_EVERY_ALONE: Duration = Duration::from_secs(1);
/// When it is tried again to take something, after the queue could not be asked.
const TAKE_AGAIN: Duration = Duration::from_millis(250);
/// Requests that were taken and hold no slot just now, since they wait for quota or to call again, in slots.
const WITHOUT_SLOT_PER_SLOT: usize = 4;

/// What a worker needs to answer a request that another may hold. Times are by the fleet's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    /// The message that asks. Its text is not put into the queue: whoever answers it reads what it is by then. (A worker of
    /// the version before cannot read this, and leaves it to whoever has offered it.)
    #[serde(rename = "question", alias = "message")]
    pub message: Message,
    /// Who wants it answered again, if that is not for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was asked for.
    pub asked: Seq,
    /// The id of its reply.
    pub reply: Uuid,
    /// The delivery's attempt.
    pub attempt: u32,
    /// The fence's number; its holder is the offer's id.
    pub fence: u32,
    /// When it came to whoever holds it.
    pub received: Seq,
    /// When its reply has to be posted.
    pub respond_by: Seq,
    /// The trace that it belongs to, if it is traced.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "traces::read_if_any"
    )]
    pub trace: Option<TraceContext>,
}

impl Work {
    /// Who wants this answer.
    pub(crate) fn asker(&self) -> &str {
        self.by.as_deref().unwrap_or(&self.message.sender)
    }
}

/// What this worker has offered, and what it answers.
pub(crate) struct RunQueueEnd {
    quota: Arc<dyn Quota>,
    slots: Arc<Semaphore>,
    in_hand: Arc<Semaphore>,
    /// How many one person may have in hand here, so that somebody else always finds a slot.
    per_user: usize,
    offered: Mutex<HashMap<Uuid, oneshot::Sender<Begun>>>,
    taken: Arc<Mutex<HashMap<Uuid, Taken>>>,
    something_offered: Notify,
}

struct Taken {
    reply: Uuid,
    user: String,
    stopped: Stop,
}

/// Sent to whoever offered a request when this very worker begins with it: by this they hear the end.
pub(crate) type Begun = oneshot::Receiver<Option<Verdict>>;

/// A request to be answered here, in a slot, for as long as this is kept.
pub(crate) struct Run {
    /// What is to be done.
    pub work: Work,
    /// The right to do it.
    pub fence: Fence,
    /// For its first call.
    pub slot: OwnedSemaphorePermit,
    /// Whether somebody wants it stopped.
    pub stopped: Stop,
    /// Whoever offered it, if that was here, hears the end by this.
    pub ended: Option<oneshot::Sender<Option<Verdict>>>,
    /// Keeps it among those that are answered here.
    pub entry: Entry,
}

/// One of those that are answered here.
pub(crate) struct Entry {
    id: Uuid,
    taken: Arc<Mutex<HashMap<Uuid, Taken>>>,
    _in_hand: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.taken.lock().remove(&self.id);
    }
}

impl RunQueueEnd {
    /// Of a worker that makes so many calls at a time as there are slots.
    pub(crate) fn new(quota: Arc<dyn Quota>, slots: Arc<Semaphore>) -> RunQueueEnd {
        let count = slots.available_permits();
        let for_others = (count / 4).max(1);
        RunQueueEnd {
            quota,
            slots,
            in_hand: Arc::new(Semaphore::new(count * (1 + WITHOUT_SLOT_PER_SLOT))),
            per_user: (count - for_others.min(count)).max(1),
            offered: Mutex::default(),
            taken: Arc::default(),
            something_offered: Notify::new(),
        }
    }

    /// Offers a request, by its fence. What is returned tells when this worker begins with it itself.
    ///
    /// # Errors
    /// [`QuotaError`]; somebody may answer it all the same.
    pub(crate) async fn offer(
        &self,
        work: &Work,
        fence: Fence,
    ) -> Result<oneshot::Receiver<Begun>, QuotaError> {
        let (begins, begun) = oneshot::channel();
        self.offered.lock().insert(fence.holder, begins);
        let mut shown = work.clone();
        shown.message.message.clear();
        let offer = Offer {
            place: place(work, fence),
            user: work.asker().to_owned(),
            work: serde_json::to_string(&shown).expect("strings and numbers always serialise"),
        };
        let offered = self.quota.offer(&offer).await;
        if offered.is_err() {
            self.forget(fence);
        }
        offered?;
        self.something_offered.notify_one();
        Ok(begun)
    }

    /// How many stand before an offer; none if it was taken: then nobody waits any more for it to begin here.
    ///
    /// # Errors
    /// [`QuotaError`].
    pub(crate) async fn before(
        &self,
        work: &Work,
        fence: Fence,
    ) -> Result<Option<usize>, QuotaError> {
        let before = self.quota.before(place(work, fence)).await?;
        if before.is_none() {
            self.forget(fence);
        }
        Ok(before)
    }

    /// Takes an offer back. False if it was taken, or may have been.
    pub(crate) async fn withdraw(&self, work: &Work, fence: Fence) -> bool {
        self.forget(fence);
        let withdrawn = self.quota.withdraw(place(work, fence)).await;
        withdrawn.unwrap_or(false)
    }

    /// Whoever offered this does not wait for it to begin here.
    fn forget(&self, fence: Fence) {
        self.offered.lock().remove(&fence.holder);
    }

    /// What is next, as soon as there is a slot for it; `workers` says how many there are. Safe to cancel: what was taken
    /// just then is gone, as if its worker had died.
    pub(crate) async fn next(&self, workers: impl Fn() -> usize) -> Run {
        loop {
            let in_hand = free(&self.in_hand).await;
            let slot = free(&self.slots).await;
            match self.quota.take(&self.at_their_share()).await {
                Ok(Some(offer)) => match serde_json::from_str(&offer.work) {
                    Ok(work) => return self.begin(offer.place, work, slot, in_hand),
                    Err(error) => {
                        tracing::error!(%error, "an offer that cannot be read; whoever made it offers it again");
                        continue;
                    }
                },
                Ok(None) => {
                    // Those that wait for a slot to call again are not to wait for this one.
                    drop((slot, in_hand));
                    let pause = look_every(workers());
                    drop(timeout(pause, self.something_offered.notified()).await);
                }
                Err(error) => {
                    drop((slot, in_hand));
                    tracing::debug!(%error, "what is next cannot be asked");
                    sleep(TAKE_AGAIN).await;
                }
            }
        }
    }

    /// Begins with a request that nobody else can be offered.
    pub(crate) async fn begin_here(&self, work: Work, fence: Fence) -> Run {
        let in_hand = free(&self.in_hand).await;
        let slot = free(&self.slots).await;
        self.begin(place(&work, fence), work, slot, in_hand)
    }

    /// This person wants this reply stopped. False if it is not being written here.
    pub(crate) fn stop(&self, reply: Uuid, by: &str) -> bool {
        let taken = self.taken.lock();
        let of_reply = taken.values().filter(|taken| taken.reply == reply);
        of_reply.map(|taken| taken.stopped.want(by)).count() > 0
    }

    fn begin(
        &self,
        place: Place,
        work: Work,
        slot: OwnedSemaphorePermit,
        in_hand: OwnedSemaphorePermit,
    ) -> Run {
        let stopped = Stop::default();
        let taken = Taken {
            reply: work.reply,
            user: work.asker().to_owned(),
            stopped: stopped.clone(),
        };
        self.taken.lock().insert(place.id, taken);
        let offered = self.offered.lock().remove(&place.id);
        let ended = offered.and_then(|begins| {
            let (ends, ended) = oneshot::channel();
            begins.send(ended).is_ok().then_some(ends)
        });
        Run {
            fence: Fence {
                holder: place.id,
                number: work.fence,
            },
            work,
            slot,
            stopped,
            ended,
            entry: Entry {
                id: place.id,
                taken: Arc::clone(&self.taken),
                _in_hand: in_hand,
            },
        }
    }

    /// Those who have as much in hand here as one person may.
    fn at_their_share(&self) -> Vec<String> {
        let taken = self.taken.lock();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for taken in taken.values() {
            *counts.entry(&taken.user).or_default() += 1;
        }
        let at_share = counts.iter().filter(|(_, count)| **count >= self.per_user);
        at_share.map(|(user, _)| (*user).to_owned()).collect()
    }
}

fn place(work: &Work, fence: Fence) -> Place {
    Place {
        asked: work.asked,
        id: fence.holder,
    }
}

async fn free(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = Arc::clone(permits).acquire_owned().await;
    permit.expect("it is never closed")
}

/// How long until it is looked again, spread so that workers do not look at the same time.
fn look_every(workers: usize) -> Duration {
    let pause = match workers {
        0 | 1 => LOOK_EVERY_ALONE,
        more => LOOK_EVERY * u32::try_from(more.div_ceil(WORKERS_LOOKING)).unwrap_or(u32::MAX),
    };
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use common::{quota::QuotaLimits, wire::Kind};
    use engines::embedded::EmbeddedQuota;

    use super::*;

    fn work(user: &str, seq: Seq) -> Work {
        let message = Message {
            room: "lobby".into(),
            seq,
            prev: 0,
            id: Uuid::from_u128(seq.into()),
            sender: user.into(),
            kind: Kind::User,
            message: "2+2?".into(),
            reply_to: None,
            of: None,
            stopped_by: None,
            grounding: Default::default(),
            edited: None,
            deleted: false,
        };
        Work {
            message,
            by: None,
            asked: seq,
            reply: Uuid::new_v4(),
            attempt: 1,
            fence: 1,
            received: seq,
            respond_by: seq,
            trace: None,
        }
    }

    fn fence() -> Fence {
        Fence {
            holder: Uuid::new_v4(),
            number: 1,
        }
    }

    fn ends<const N: usize>(slots: usize) -> [RunQueueEnd; N] {
        let quota: Arc<dyn Quota> = EmbeddedQuota::new(QuotaLimits::default());
        [(); N].map(|()| RunQueueEnd::new(Arc::clone(&quota), Arc::new(Semaphore::new(slots))))
    }

    #[tokio::test]
    async fn whoever_offers_hears_of_what_begins_here_and_keeps_nothing_of_what_begins_elsewhere() {
        let [here, elsewhere] = ends(4);
        let (own, own_fence) = (work("ada", 1), fence());
        let begun = here.offer(&own, own_fence).await.unwrap();
        let run = here.next(|| 2).await;
        let ended = begun.await.unwrap();
        assert_eq!(run.work.message.message, "", "whoever has it reads it");
        run.ended.unwrap().send(Some(Verdict::Ack)).unwrap();
        assert_eq!(ended.await, Ok(Some(Verdict::Ack)));

        let (other, other_fence) = (work("ada", 2), fence());
        let mut begun = here.offer(&other, other_fence).await.unwrap();
        let run = elsewhere.next(|| 2).await;
        assert!(run.ended.is_none() && run.fence == other_fence);
        assert_eq!(here.before(&other, other_fence).await.unwrap(), None);
        assert!(begun.try_recv().is_err());
        let (back, back_fence) = (work("ada", 3), fence());
        let _begun = here.offer(&back, back_fence).await.unwrap();
        assert!(here.withdraw(&back, back_fence).await);
        assert!(here.offered.lock().is_empty());
    }

    #[tokio::test]
    async fn one_person_leaves_a_slot_for_somebody_else() {
        let [end] = ends(4);
        let mut runs = Vec::new();
        for seq in 1..=4 {
            drop(end.offer(&work("ada", seq), fence()).await.unwrap());
        }
        for _ in 0..3 {
            runs.push(end.next(|| 1).await);
        }
        let next = end.next(|| 1);
        assert!(timeout(Duration::from_millis(50), next).await.is_err());
        // Whoever has another's question answered again takes of their own part.
        let again = Work {
            by: Some("eve".into()),
            ..work("ada", 9)
        };
        drop(end.offer(&again, fence()).await.unwrap());
        assert_eq!(end.next(|| 1).await.work.asker(), "eve");
        assert_eq!(runs.len(), 3);
    }
}

//! What is deleted leaves the dead letters, too, and the files of the embedded engines. Every persister sees to it by itself, and
//! knows what is deleted from the database alone: so it does not matter which of them wrote a deletion, nor who died since.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    envelope::Envelope,
    queue::{DeadLetter, Queue, QueueError, QueueName, Reviser, Revision},
    store::{Store, StoreError},
    wire::{Kind, Seq},
};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::sleep;
use uuid::Uuid;

use crate::old_messages::{Gone, OldMessages};

/// How often it is seen whether there is something to erase. A deletion's text is to be gone everywhere within a minute.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// A message by its room and id.
type Key = (String, Uuid);

/// Why nothing could be erased just now.
#[derive(Debug, thiserror::Error)]
enum EraseError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Erases what is deleted where only a persister can.
pub(crate) struct Eraser {
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    old: Arc<OldMessages>,
    /// Whether this process has done something since after which dead letters are to be looked through.
    is_due: AtomicBool,
    /// How many dead letters and how many deletions there were when all were looked through the last time; none if all were not.
    looked_through: Mutex<Option<Counted>>,
}

/// Dead letters of each queue, and deletions of messages and of rooms. While these are the same, there is nothing new to erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    letters: [usize; QueueName::ALL.len()],
    deletions: (u64, u64),
}

impl Counted {
    /// Whether so many are all that there were. What another process looks at is out of sight meanwhile, and it may have decided
    /// about that before what is deleted was.
    fn are_all(&self, seen: usize) -> bool {
        seen >= self.letters.iter().sum()
    }
}

impl Eraser {
    pub(crate) fn new(
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        old: Arc<OldMessages>,
    ) -> Eraser {
        Eraser {
            queue,
            store,
            old,
            is_due: AtomicBool::new(true),
            looked_through: Mutex::default(),
        }
    }

    /// Something was deleted, or died.
    pub(crate) fn look_again(&self) {
        self.is_due.store(true, Ordering::Release);
    }

    /// They were not all seen, and are to be looked at as if they were new.
    fn look_at_all_again(&self) {
        *self.looked_through.lock() = None;
        self.old.look_again();
        self.look_again();
    }

    /// Goes on for ever.
    pub(crate) async fn run(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            if let Err(error) = self.erase().await {
                self.look_at_all_again();
                tracing::debug!(%error, "what is deleted could not be erased everywhere; tried again in a while");
            }
        }
    }

    async fn erase(&self) -> Result<(), EraseError> {
        self.erase_letters().await?;
        self.store.clear_remains().await?;
        Ok(self.queue.clear_remains().await?)
    }

    /// Looks at dead letters only if something may have changed: whoever looks at them keeps them from an operator meanwhile.
    async fn erase_letters(&self) -> Result<(), EraseError> {
        let letters = self.queue.dead_letters();
        let mut counted = Counted {
            letters: [0; QueueName::ALL.len()],
            deletions: (0, 0),
        };
        for (queue, count) in QueueName::ALL.into_iter().zip(&mut counted.letters) {
            *count = letters.count(queue).await?;
        }
        // A broker counts what died a moment ago a little later: what is due stays so until there is something to look at.
        if counted.letters.iter().all(|count| *count == 0) {
            return Ok(());
        }
        let is_due = self.is_due.swap(false, Ordering::AcqRel);
        counted.deletions = self.store.deletions().await?;
        let before = self.looked_through.lock().replace(counted);
        let is_new = before != Some(counted);
        let may_be_deleted = counted.deletions != (0, 0) && (is_due || is_new);
        let may_be_old = self.old.has_gone() || is_new;
        if !may_be_deleted && !may_be_old {
            return Ok(());
        }
        let reviser = DeadLetterReviser {
            store: &*self.store,
            old: &self.old,
            failed: Mutex::default(),
            seen: AtomicUsize::new(0),
        };
        for queue in QueueName::ALL {
            let erased = letters.revise(queue, &reviser).await?;
            if erased > 0 {
                let queue = queue.as_str();
                tracing::info!(queue, erased, "dead letters held what is deleted");
            }
        }
        if !counted.are_all(reviser.seen.into_inner()) {
            self.look_at_all_again();
        }
        match reviser.failed.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// Asks the store about each dead letter.
struct DeadLetterReviser<'a> {
    store: &'a dyn Store,
    old: &'a OldMessages,
    failed: Mutex<Option<StoreError>>,
    /// How many it was shown.
    seen: AtomicUsize,
}

impl DeadLetterReviser<'_> {
    /// Which of these are deleted, each by itself or with its room.
    async fn deleted(&self, said: &[Key]) -> Result<HashSet<Key>, StoreError> {
        let mut deleted = self.store.deleted(said).await?;
        let rooms: Vec<&str> = said.iter().map(|(room, _)| &**room).collect();
        let gone = self.store.deleted_among(&rooms).await?;
        deleted.extend(said.iter().filter(|(room, _)| gone.contains(room)).cloned());
        Ok(deleted)
    }

    /// What is to become of one, by what is deleted and what is gone by age.
    async fn decide(&self, letter: &DeadLetter) -> Result<Revision, StoreError> {
        let places: Vec<(String, Seq)> = parts(&letter.payload).filter_map(place_of).collect();
        let places = places.iter().map(|(room, seq)| (room.as_str(), *seq));
        let gone = self.old.gone_at(places).await?;
        let left = without_gone(&letter.payload, &gone);
        let payload = left.as_ref().unwrap_or(&letter.payload);
        if payload.is_empty() {
            return Ok(Revision::Forget);
        }
        let said: Vec<Key> = parts(payload).filter_map(said_by).collect();
        let deleted = match said.is_empty() {
            true => HashSet::new(),
            false => self.deleted(&said).await?,
        };
        Ok(match (without(letter.queue, payload, &deleted), left) {
            (Revision::Leave, Some(left)) => Revision::Replace(left),
            (revision, _) => revision,
        })
    }
}

#[async_trait]
impl Reviser for DeadLetterReviser<'_> {
    async fn revise(&self, letter: &DeadLetter) -> Revision {
        self.seen.fetch_add(1, Ordering::Relaxed);
        match self.decide(letter).await {
            Ok(revision) => revision,
            Err(error) => {
                *self.failed.lock() = Some(error);
                Revision::Leave
            }
        }
    }
}

/// What travelled together became a dead letter together: one payload a line.
fn parts(payload: &Bytes) -> impl Iterator<Item = &[u8]> {
    payload
        .split(|byte| *byte == b'\n')
        .filter(|part| !part.is_empty())
}

/// Of an envelope that this process cannot read, perhaps a newer one's, only as much as says whose text it holds.
#[derive(Deserialize)]
struct AnyEnvelope {
    message: AnyMessage,
}

#[derive(Deserialize)]
struct AnyMessage {
    room: String,
    id: Uuid,
    #[serde(default)]
    of: Option<Uuid>,
    #[serde(default)]
    seq: Seq,
}

/// Which message a payload holds a text of: none if it has no text, or is nothing that could be told.
fn said_by(payload: &[u8]) -> Option<Key> {
    match Envelope::read(payload) {
        Ok(Envelope { message, .. }) if message.message.is_empty() => None,
        Ok(Envelope { message, .. }) => Some((message.room, message.of.unwrap_or(message.id))),
        Err(_) => {
            let AnyEnvelope { message } = serde_json::from_slice(payload).ok()?;
            Some((message.room, message.of.unwrap_or(message.id)))
        }
    }
}

/// Which place a payload is for, if it says so, readable or not.
fn place_of(payload: &[u8]) -> Option<(String, Seq)> {
    let AnyEnvelope { message } = serde_json::from_slice(payload).ok()?;
    (message.seq > 0).then_some((message.room, message.seq))
}

/// A dead letter without what is gone by age, if something of it is: nothing of that is to be put back.
fn without_gone(payload: &Bytes, gone: &Gone) -> Option<Bytes> {
    if gone.is_empty() {
        return None;
    }
    let is_gone =
        |part: &&[u8]| place_of(part).is_some_and(|(room, seq)| gone.has_place(&room, seq));
    let left: Vec<&[u8]> = parts(payload).filter(|part| !is_gone(part)).collect();
    (left.len() < parts(payload).count()).then(|| left.join(&b'\n').into())
}

/// A dead letter without the texts of what is deleted. A request about which there is nothing left to ask goes, and so does
/// what cannot be read; a message stays as the place that it had, to be put back as that.
fn without(queue: QueueName, payload: &Bytes, deleted: &HashSet<Key>) -> Revision {
    let (mut left, mut changed) = (Vec::new(), false);
    for part in parts(payload) {
        if !said_by(part).is_some_and(|said| deleted.contains(&said)) {
            left.push(Bytes::copy_from_slice(part));
            continue;
        }
        changed = true;
        if queue == QueueName::Persist
            && let Ok(mut envelope) = Envelope::read(part)
        {
            let message = &mut envelope.message;
            message.message.clear();
            message.deleted = message.kind != Kind::Edited;
            left.push(envelope.to_bytes());
        }
    }
    match (changed, left.is_empty()) {
        (false, _) => Revision::Leave,
        (true, true) => Revision::Forget,
        (true, false) => Revision::Replace(left.join(&b'\n').into()),
    }
}

#[cfg(test)]
mod tests {
    use common::wire::NewMessage;

    use super::*;

    fn envelope(kind: Kind, of: Option<Uuid>, text: &str) -> Envelope {
        let message = NewMessage {
            room: "lobby".into(),
            id: Uuid::now_v7(),
            sender: "ada".into(),
            kind,
            message: text.into(),
            reply_to: None,
            of,
            stopped_by: None,
            grounding: Default::default(),
        };
        Envelope::new(message.at(7, 0), None)
    }

    fn key(envelope: &Envelope) -> Key {
        ("lobby".into(), envelope.message.id)
    }

    #[test]
    fn what_another_process_was_looking_at_is_looked_at_again() {
        let counted = Counted {
            letters: [2, 3],
            deletions: (1, 0),
        };
        assert!(counted.are_all(5) && counted.are_all(6));
        assert!(!counted.are_all(4));
    }

    #[test]
    fn a_dead_letter_keeps_the_place_of_what_is_deleted_and_not_its_text() {
        let message = envelope(Kind::User, None, "secret");
        let edit = envelope(Kind::Edited, Some(message.message.id), "secret");
        let deleted = HashSet::from([key(&message)]);
        for one in [&message, &edit] {
            let Revision::Replace(left) = without(QueueName::Persist, &one.to_bytes(), &deleted)
            else {
                panic!("it is replaced");
            };
            let left_of = Envelope::read(&left).unwrap().message;
            assert_eq!((left_of.id, &*left_of.message), (one.message.id, ""));
            assert_eq!(left_of.of, one.message.of);
            assert_eq!(
                without(QueueName::Persist, &left, &deleted),
                Revision::Leave
            );
            let asked = without(QueueName::BotRequests, &one.to_bytes(), &deleted);
            assert_eq!(asked, Revision::Forget);
        }
    }

    #[test]
    fn of_what_died_together_the_others_stay_as_they_are() {
        let all = ["one", "secret", "three"].map(|text| envelope(Kind::User, None, text));
        let lines = all.each_ref().map(Envelope::to_bytes);
        let together = Bytes::from(lines.join(&b'\n'));
        let deleted = HashSet::from([key(&all[1])]);
        let Revision::Replace(left) = without(QueueName::Persist, &together, &deleted) else {
            panic!("it is replaced");
        };
        let left: Vec<&[u8]> = parts(&left).collect();
        assert_eq!((left[0], left[2]), (&*lines[0], &*lines[2]));
        assert!(Envelope::read(left[1]).unwrap().message.deleted);
        let nothing = without(QueueName::Persist, &together, &HashSet::new());
        assert_eq!(nothing, Revision::Leave);
    }

    #[test]
    fn of_what_died_together_what_is_old_goes_whether_it_can_be_read_or_not() {
        let old = envelope(Kind::User, None, "of long ago");
        let mut young = envelope(Kind::User, None, "of today");
        young.message.seq = 8;
        let newer = String::from_utf8(old.to_bytes().to_vec()).unwrap();
        let newer = newer.replace(r#""v":1"#, r#""v":9"#);
        let noise = b"not an envelope";
        let lines = [
            &*old.to_bytes(),
            &*young.to_bytes(),
            newer.as_bytes(),
            noise,
        ];
        let together = Bytes::from(lines.join(&b'\n'));
        let in_room = |room: &str| Gone([(room.to_owned(), 7)].into());
        let gone = in_room("lobby");
        let left = without_gone(&together, &gone).unwrap();
        assert_eq!(left, [lines[1], lines[3]].join(&b'\n'));
        assert_eq!(without_gone(&left, &gone), None);
        assert_eq!(without_gone(&together, &in_room("attic")), None);
        assert_eq!(without_gone(&old.to_bytes(), &gone).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_read_goes_if_it_says_whose_text_it_is() {
        let message = envelope(Kind::User, None, "secret");
        let newer = String::from_utf8(message.to_bytes().to_vec()).unwrap();
        let newer = Bytes::from(newer.replace(r#""v":1"#, r#""v":9"#));
        let deleted = HashSet::from([key(&message)]);
        assert_eq!(
            without(QueueName::Persist, &newer, &deleted),
            Revision::Forget
        );
        let noise = Bytes::from_static(b"not an envelope");
        assert_eq!(
            without(QueueName::Persist, &noise, &deleted),
            Revision::Leave
        );
    }
}

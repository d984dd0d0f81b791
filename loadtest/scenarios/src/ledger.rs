//! What people were promised, and whether it was kept: every acked message is in the history exactly once, everyone who
//! was in a room saw each message exactly once and in order, every request has exactly one reply, and what was edited or
//! deleted is in its newest state in the history and with everyone who was there.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use uuid::Uuid;

/// A message's place in its room.
pub type Seq = u64;

/// What somebody said.
pub struct Said {
    /// When it was sent for the first time.
    pub at: Instant,
    /// Whether the bot is to answer.
    pub asks: bool,
    /// The place that the ack named.
    pub acked: Option<Seq>,
}

/// An edit or a deletion that somebody sent.
pub struct Changed {
    /// The room.
    pub room: String,
    /// The message.
    pub of: Uuid,
    /// Its text from then on; none if it is deleted.
    pub text: Option<String>,
    /// When it was sent for the first time.
    pub at: Instant,
    /// The place that the ack named.
    pub acked: Option<Seq>,
}

/// What a message has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The place of the event that made it so; 0 if that is not told, as of a deletion in the history.
    pub seq: Seq,
    /// Its text; none if it is deleted.
    pub text: Option<String>,
}

/// Somebody in a room, over all their sockets.
#[derive(Default)]
pub struct Reader {
    /// Who.
    pub user: String,
    /// Where.
    pub room: String,
    /// The latest place when they came in; they are owed everything after it.
    pub from: Seq,
    /// The places of what they saw, in the order in which it came.
    pub saw: Vec<Seq>,
    /// The place of the last edit or deletion that they saw.
    pub last_event: Seq,
    /// What messages have become, as they were told.
    pub states: HashMap<Uuid, State>,
    /// Between these places they were told to load the history.
    pub told_to_load: Vec<(Seq, Seq)>,
}

impl Reader {
    /// The last place they know of.
    pub fn last(&self) -> Seq {
        let told = self.told_to_load.last().map_or(0, |(_, to)| *to);
        self.saw
            .last()
            .copied()
            .unwrap_or(0)
            .max(self.last_event)
            .max(told)
            .max(self.from)
    }

    /// They are told what has become of a message. An edit that comes after a later one, or after the deletion, changes nothing.
    pub fn is_told(&mut self, of: Uuid, state: State) {
        let known = self.states.get(&of);
        let is_news = known.is_none_or(|known| {
            known.text.is_some() && (state.text.is_none() || known.seq < state.seq)
        });
        if is_news {
            self.states.insert(of, state);
        }
    }
}

/// A message as the history has it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: Uuid,
    /// What it answers.
    pub reply_to: Option<Uuid>,
    /// Whether the bot said it.
    pub by_bot: bool,
    /// What it has become, if it was edited or deleted.
    pub state: Option<State>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// It was acked, and the history does not have it.
    Lost(Uuid),
    /// The history has it more than once.
    Twice(Uuid),
    /// The history has it at another place than the ack named.
    Moved(Uuid),
    /// The history itself is not in order.
    HistoryOutOfOrder(Uuid),
    /// Somebody did not see it.
    Unseen(Uuid, String),
    /// Somebody saw it again, or after a later one.
    SeenOutOfOrder(Uuid, String),
    /// Somebody saw something at a place where the history has nothing.
    NotKept(Seq, String),
    /// A request that was acked has no reply.
    Unanswered(Uuid),
    /// A request has more than one.
    AnsweredTwice(Uuid),
    /// The history has it in an older state than the last that was acked.
    OldInHistory(Uuid),
    /// Somebody was not told of its last state.
    OldWith(Uuid, String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Lost(id) => write!(f, "{id} was acked and is not in the history"),
            Breach::Twice(id) => write!(f, "{id} is in the history twice"),
            Breach::Moved(id) => write!(f, "{id} is not where its ack said"),
            Breach::HistoryOutOfOrder(id) => write!(f, "{id} is out of order in the history"),
            Breach::Unseen(id, user) => write!(f, "{id} was not seen by {user}"),
            Breach::SeenOutOfOrder(id, user) => {
                write!(f, "{id} came to {user} twice, or after a later one")
            }
            Breach::NotKept(seq, user) => {
                write!(f, "{user} saw place {seq}, which the history does not have")
            }
            Breach::Unanswered(id) => write!(f, "{id} asked the bot and has no reply"),
            Breach::AnsweredTwice(id) => write!(f, "{id} has more than one reply"),
            Breach::OldInHistory(id) => {
                write!(
                    f,
                    "{id} was changed, and the history has it as it was before"
                )
            }
            Breach::OldWith(id, user) => write!(f, "{id} was changed, and {user} was not told"),
        }
    }
}

/// Everything that happened in one run.
#[derive(Default)]
pub struct Entries {
    /// What was said, by id.
    pub said: HashMap<Uuid, Said>,
    /// What was edited and deleted, by the event's id.
    pub changed: HashMap<Uuid, Changed>,
    /// Everyone in a room.
    pub readers: Vec<Reader>,
    /// Which requests were answered, as their askers heard it.
    pub answered: HashSet<Uuid>,
    /// Requests of whose reply a first part was shown.
    pub drafted: HashSet<Uuid>,
    /// Frames of messages that came to anyone.
    pub deliveries: u64,
    /// How often a socket was lost or dropped and opened again.
    pub resumed: u64,
}

/// The ledger of a run, written by everyone in it.
#[derive(Default)]
pub struct Ledger(Mutex<Entries>);

impl Ledger {
    /// Opens it.
    pub fn open(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl Entries {
    /// How many messages were acked.
    pub fn acked(&self) -> usize {
        self.said
            .values()
            .filter(|said| said.acked.is_some())
            .count()
    }

    /// Requests that were acked and whose reply is still to come.
    pub fn waiting(&self) -> usize {
        let asked = self
            .said
            .iter()
            .filter(|(_, said)| said.asks && said.acked.is_some());
        asked.filter(|(id, _)| !self.answered.contains(id)).count()
    }

    /// Whether edits or deletions are not acked yet.
    pub fn is_changing(&self) -> bool {
        self.changed.values().any(|change| change.acked.is_none())
    }

    /// The place of the last edit or deletion in a room.
    pub fn last_change(&self, room: &str) -> Seq {
        let here = self.changed.values().filter(|change| change.room == room);
        here.filter_map(|change| change.acked).max().unwrap_or(0)
    }

    /// What has become of each message by what was acked, with the room. Of one that has a change without an ack nobody can
    /// tell.
    fn newest_states(&self) -> HashMap<Uuid, (&str, State)> {
        let mut newest: HashMap<Uuid, (&str, State)> = HashMap::new();
        let mut unsure = HashSet::new();
        for change in self.changed.values() {
            let Some(seq) = change.acked else {
                unsure.insert(change.of);
                continue;
            };
            let text = change.text.clone();
            let state = State { seq, text };
            let known = newest.get(&change.of).map(|(_, known)| known);
            let is_newer = known.is_none_or(|known| {
                known.text.is_some() && (state.text.is_none() || known.seq < seq)
            });
            if is_newer {
                newest.insert(change.of, (&change.room, state));
            }
        }
        newest.retain(|of, _| !unsure.contains(of));
        newest
    }

    /// What happened so far, in one line.
    pub fn summary(&self) -> String {
        let (said, acked) = (self.said.len(), self.acked());
        let asked = self.said.values().filter(|said| said.asks).count();
        let (deliveries, readers) = (self.deliveries, self.readers.len());
        let (answered, resumed) = (self.answered.len(), self.resumed);
        let changes = self.changed.len();
        let changed = self
            .changed
            .values()
            .filter(|change| change.acked.is_some());
        let changed = changed.count();
        format!(
            "{acked} of {said} messages and {changed} of {changes} edits and deletions acked, {deliveries} deliveries to {readers} readers, {answered} of {asked} \
             requests answered, {resumed} sockets lost and resumed"
        )
    }

    /// Holds what happened against the histories of the rooms.
    pub fn audit(&self, histories: &HashMap<String, Vec<Stored>>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let mut places: HashMap<Uuid, Seq> = HashMap::new();
        let mut replies: HashMap<Uuid, usize> = HashMap::new();
        for history in histories.values() {
            let mut last = 0;
            for stored in history {
                if stored.seq <= last {
                    breaches.push(Breach::HistoryOutOfOrder(stored.id));
                }
                last = stored.seq;
                if places.insert(stored.id, stored.seq).is_some() {
                    breaches.push(Breach::Twice(stored.id));
                }
                if let Some(request) = stored.reply_to.filter(|_| stored.by_bot) {
                    *replies.entry(request).or_default() += 1;
                }
            }
        }
        for (&id, said) in &self.said {
            match (said.acked, places.get(&id)) {
                (Some(_), None) => breaches.push(Breach::Lost(id)),
                (Some(acked), Some(&seq)) if acked != seq => breaches.push(Breach::Moved(id)),
                _ => {}
            }
            match replies.get(&id) {
                None if said.asks && said.acked.is_some() => breaches.push(Breach::Unanswered(id)),
                Some(2..) => breaches.push(Breach::AnsweredTwice(id)),
                _ => {}
            }
        }
        let newest = self.newest_states();
        let kept: HashMap<Uuid, &Stored> = histories
            .values()
            .flatten()
            .map(|one| (one.id, one))
            .collect();
        for (&id, (_, state)) in &newest {
            // A deletion's place is not in the history.
            let is_kept = |kept: &State| {
                kept.text == state.text && (state.text.is_none() || kept.seq == state.seq)
            };
            let kept = kept.get(&id).and_then(|kept| kept.state.as_ref());
            if !kept.is_some_and(is_kept) {
                breaches.push(Breach::OldInHistory(id));
            }
        }
        for reader in &self.readers {
            for (&id, (room, state)) in &newest {
                if *room == reader.room && reader.is_owed(state.seq) && !reader.knows(id, state) {
                    breaches.push(Breach::OldWith(id, reader.user.clone()));
                }
            }
            let history = histories.get(&reader.room).map_or(&[][..], Vec::as_slice);
            reader.audit(history, &mut breaches);
        }
        breaches
    }
}

impl Reader {
    /// Whether they are to have been told of what happened at this place.
    fn is_owed(&self, seq: Seq) -> bool {
        let told = |&(after, to): &(Seq, Seq)| after < seq && seq <= to;
        seq > self.from && !self.told_to_load.iter().any(told)
    }

    fn knows(&self, id: Uuid, state: &State) -> bool {
        let known = self.states.get(&id);
        known.is_some_and(|known| known.text == state.text)
    }

    fn audit(&self, history: &[Stored], breaches: &mut Vec<Breach>) {
        let ids: HashMap<Seq, Uuid> = history
            .iter()
            .map(|stored| (stored.seq, stored.id))
            .collect();
        let mut seen = HashSet::with_capacity(self.saw.len());
        let mut last = 0;
        for &seq in &self.saw {
            match ids.get(&seq) {
                None => breaches.push(Breach::NotKept(seq, self.user.clone())),
                Some(&id) if seq <= last => {
                    breaches.push(Breach::SeenOutOfOrder(id, self.user.clone()));
                }
                Some(_) => {}
            }
            seen.insert(seq);
            last = last.max(seq);
        }
        for stored in history.iter().filter(|stored| stored.seq > self.from) {
            if !seen.contains(&stored.seq) && self.is_owed(stored.seq) {
                breaches.push(Breach::Unseen(stored.id, self.user.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "lobby";

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn stored(seq: Seq) -> Stored {
        Stored {
            seq,
            id: id(seq.into()),
            reply_to: None,
            by_bot: false,
            state: None,
        }
    }

    fn said(asks: bool, acked: Option<Seq>) -> Said {
        Said {
            at: Instant::now(),
            asks,
            acked,
        }
    }

    fn reader(from: Seq, saw: &[Seq]) -> Reader {
        Reader {
            user: "ada".into(),
            room: ROOM.into(),
            from,
            saw: saw.to_vec(),
            ..Reader::default()
        }
    }

    fn audit(entries: &Entries, history: Vec<Stored>) -> Vec<Breach> {
        entries.audit(&HashMap::from([(ROOM.to_owned(), history)]))
    }

    #[test]
    fn a_run_in_which_everything_is_kept_has_no_breach() {
        let mut entries = Entries::default();
        entries.said.insert(id(2), said(true, Some(2)));
        entries.said.insert(id(9), said(false, None));
        entries.readers = vec![reader(0, &[1, 2, 3]), reader(2, &[3])];
        let reply = Stored {
            reply_to: Some(id(2)),
            by_bot: true,
            ..stored(3)
        };
        assert_eq!(audit(&entries, vec![stored(1), stored(2), reply]), []);
    }

    #[test]
    fn an_acked_message_is_in_the_history_once_and_in_its_place() {
        let mut entries = Entries::default();
        entries.said.insert(id(2), said(false, Some(2)));
        assert_eq!(audit(&entries, vec![]), [Breach::Lost(id(2))]);
        let again = Stored {
            id: id(2),
            ..stored(3)
        };
        let breaches = audit(&entries, vec![stored(2), again.clone()]);
        assert_eq!(breaches, [Breach::Twice(id(2)), Breach::Moved(id(2))]);
        assert_eq!(audit(&entries, vec![again]), [Breach::Moved(id(2))]);
    }

    #[test]
    fn a_reader_sees_everything_once_and_in_order() {
        let ada = || "ada".to_owned();
        let saw = |saw: &[Seq]| Entries {
            readers: vec![reader(1, saw)],
            ..Entries::default()
        };
        let history = || (1..=4).map(stored).collect::<Vec<_>>();
        assert_eq!(audit(&saw(&[2, 3, 4]), history()), []);
        assert_eq!(
            audit(&saw(&[2, 4]), history()),
            [Breach::Unseen(id(3), ada())]
        );
        for wrong in [&[2, 3, 3, 4][..], &[2, 4, 3]] {
            assert_eq!(
                audit(&saw(wrong), history()),
                [Breach::SeenOutOfOrder(id(3), ada())]
            );
        }
        assert_eq!(
            audit(&saw(&[2, 3, 4, 5]), history()),
            [Breach::NotKept(5, ada())]
        );
    }

    #[test]
    fn who_was_told_to_load_the_history_is_not_owed_that_part() {
        let mut told = reader(0, &[1, 4]);
        told.told_to_load.push((1, 3));
        assert_eq!(told.last(), 4);
        let entries = Entries {
            readers: vec![told],
            ..Entries::default()
        };
        assert_eq!(audit(&entries, (1..=4).map(stored).collect()), []);
    }

    #[test]
    fn what_was_changed_is_in_its_newest_state_everywhere() {
        let state = |seq, text: Option<&str>| State {
            seq,
            text: text.map(str::to_owned),
        };
        let changed = |of: u128, text: Option<&str>, acked| Changed {
            room: ROOM.into(),
            of: id(of),
            text: text.map(str::to_owned),
            at: Instant::now(),
            acked,
        };
        let mut entries = Entries::default();
        entries
            .changed
            .insert(id(11), changed(1, Some("once"), Some(11)));
        entries
            .changed
            .insert(id(12), changed(1, Some("twice"), Some(12)));
        entries.changed.insert(id(13), changed(2, None, Some(13)));
        entries.changed.insert(id(14), changed(3, None, None));
        assert!(entries.is_changing());
        assert_eq!(entries.last_change(ROOM), 13);
        let mut ada = reader(0, &[1, 2, 3]);
        ada.is_told(id(1), state(12, Some("twice")));
        ada.is_told(id(1), state(11, Some("once")));
        ada.is_told(id(2), state(13, None));
        ada.is_told(id(2), state(14, Some("not any more")));
        ada.last_event = 13;
        assert_eq!(ada.last(), 13);
        let mut late = reader(12, &[]);
        late.is_told(id(2), state(0, None));
        entries.readers = vec![ada, late];
        let history = |first: State, second: Option<State>| {
            let first = Stored {
                state: Some(first),
                ..stored(1)
            };
            let second = Stored {
                state: second,
                ..stored(2)
            };
            vec![first, second, stored(3)]
        };
        let good = || history(state(12, Some("twice")), Some(state(0, None)));
        assert_eq!(audit(&entries, good()), []);
        for bad in [
            history(state(11, Some("once")), Some(state(0, None))),
            history(state(11, Some("twice")), Some(state(0, None))),
        ] {
            assert_eq!(audit(&entries, bad), [Breach::OldInHistory(id(1))]);
        }
        let bad = history(state(12, Some("twice")), None);
        assert_eq!(audit(&entries, bad), [Breach::OldInHistory(id(2))]);
        entries.readers[0].states.remove(&id(1));
        let unaware = Breach::OldWith(id(1), "ada".into());
        assert_eq!(audit(&entries, good()), [unaware]);
    }

    #[test]
    fn a_request_has_exactly_one_reply() {
        let mut entries = Entries::default();
        entries.said.insert(id(1), said(true, Some(1)));
        assert_eq!(entries.waiting(), 1);
        let reply = |seq| Stored {
            reply_to: Some(id(1)),
            by_bot: true,
            ..stored(seq)
        };
        assert_eq!(
            audit(&entries, vec![stored(1)]),
            [Breach::Unanswered(id(1))]
        );
        let twice = audit(&entries, vec![stored(1), reply(2), reply(3)]);
        assert_eq!(twice, [Breach::AnsweredTwice(id(1))]);
    }
}

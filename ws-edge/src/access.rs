//! Who may see which room, remembered for a moment: a thousand people who come back to one room at once are one
//! question to the database, and a room that is busy is none.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use common::store::{Room, Store, StoreError};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

/// How long an answer is believed. A change of the room clears it at once on every edge; this is the second wall, for
/// an edge that the control message did not reach.
const FRESH: Duration = Duration::from_secs(30);

/// How long an answer is believed while the database does not answer. While it does not, nobody can change it either.
const STALE: Duration = Duration::from_secs(600);

/// The most that is remembered, counted in rooms and members; about 150 bytes each.
const REMEMBERED_MAX: usize = 200_000;

/// How often a question is asked again because the room changed while it was under way.
const ATTEMPTS_MAX: u32 = 3;

/// How long one caller waits for the database.
const STORE_TIME: Duration = Duration::from_secs(5);

/// How long one caller waits for it where an older answer is at hand: a database that hangs must not slow the chat.
const STORE_TIME_WITH_STALE: Duration = Duration::from_secs(1);

/// How long the database is not asked for a room again after it did not answer.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Answers who may see what.
pub(crate) struct Access {
    store: Arc<dyn Store>,
    remembered: Mutex<Remembered>,
}

/// Why a room is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// There is no such room, or none that this user may see.
    #[error("no such room, or none that one may see")]
    NotFound,
    /// It is not remembered, and the database does not answer.
    #[error("the database does not answer")]
    Unavailable,
}

#[derive(Default)]
struct Remembered {
    rooms: HashMap<String, Arc<Entry>>,
    /// What all of them weigh together.
    weight: usize,
}

/// One room; whoever forgets it takes the whole entry away, so an answer that was under way is not believed.
#[derive(Default)]
struct Entry {
    /// Held by the one who asks the database, while the others wait.
    asking: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Clone, Default)]
struct Known {
    room: Option<KnownRoom>,
    /// When the database last did not answer.
    failed_at: Option<Instant>,
}

#[derive(Clone)]
struct KnownRoom {
    asked_at: Instant,
    room: Arc<Room>,
    /// Who sees a private room beside its owner, or who does not see a public one. Asked for when the first who is not the
    /// owner wants to see it.
    listed: Option<Arc<HashSet<String>>>,
    /// Who has not taken their invitation yet. Asked for when the first who is not the owner joins.
    invited: Option<Arc<HashSet<String>>>,
}

type AccessResult = Result<Arc<Room>, AccessError>;

impl KnownRoom {
    /// The answer for a user; none if it would have to be known for it who is a member, or banned.
    fn answer(&self, user: &str) -> Option<AccessResult> {
        let seen = match &self.listed {
            _ if self.room.owner == user => true,
            Some(listed) => listed.contains(user) == self.room.private,
            None => return None,
        };
        Some(if seen {
            Ok(Arc::clone(&self.room))
        } else {
            Err(AccessError::NotFound)
        })
    }

    fn weight(&self) -> usize {
        let length =
            |users: &Option<Arc<HashSet<String>>>| users.as_ref().map_or(0, |users| users.len());
        1 + length(&self.listed) + length(&self.invited)
    }
}

impl Known {
    fn is_paused(&self) -> bool {
        self.failed_at
            .is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE)
    }
}

impl Entry {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Begins the pause. One that is under way is not drawn out, or callers who come all the time would never let the
    /// database be asked again.
    fn did_not_answer(&self) {
        let mut known = self.known();
        if !known.is_paused() {
            known.failed_at = Some(Instant::now());
        }
    }

    fn answer(&self, user: &str, believed_for: Duration) -> Option<AccessResult> {
        let known = self.known();
        let room = known
            .room
            .as_ref()
            .filter(|room| room.asked_at.elapsed() < believed_for)?;
        room.answer(user)
    }
}

impl Access {
    pub(crate) fn new(store: Arc<dyn Store>) -> Access {
        Access {
            store,
            remembered: Mutex::default(),
        }
    }

    /// The room, if the user may see it. The answer takes in every change that this edge had heard of when it is
    /// given. So a caller that goes on acting on it (a socket that joins) registers first and asks then: a change in
    /// between finds it either way.
    ///
    /// # Errors
    /// [`AccessError`].
    pub(crate) async fn room(&self, user: &str, room: &str) -> Result<Arc<Room>, AccessError> {
        for _ in 0..ATTEMPTS_MAX {
            let entry = self.entry(room);
            if let Some(answer) = entry.answer(user, FRESH) {
                return answer;
            }
            let stale = entry.answer(user, STALE);
            let patience = if stale.is_some() {
                STORE_TIME_WITH_STALE
            } else {
                STORE_TIME
            };
            match timeout(patience, self.ask(&entry, user, room)).await {
                Ok(Ok(answer)) if self.is_current(room, &entry) => {
                    self.drop_if_empty(room, &entry);
                    return answer;
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => {
                    entry.did_not_answer();
                    match stale {
                        Some(stale) if self.is_current(room, &entry) => return stale,
                        _ => return Err(AccessError::Unavailable),
                    }
                }
            }
        }
        Err(AccessError::Unavailable)
    }

    /// Whether the user, who sees the room, is invited to it and has not taken that yet. One question to the database for
    /// all who join a room within half a minute; not if it cannot be told just now.
    pub(crate) async fn is_invited(&self, user: &str, name: &str) -> bool {
        let entry = self.entry(name);
        let _asking = entry.asking.lock().await;
        let known = entry.known().room.clone();
        let Some(mut known) = known.filter(|known| known.asked_at.elapsed() < FRESH) else {
            return false;
        };
        if known.room.owner == user {
            return false;
        }
        if known.invited.is_none() {
            let invited = timeout(STORE_TIME, self.store.invited(name)).await;
            let Ok(Ok(invited)) = invited else {
                return false;
            };
            known.invited = Some(Arc::new(invited.into_iter().collect()));
            self.remember(name, &entry, &known);
        }
        known.invited.is_some_and(|invited| invited.contains(user))
    }

    /// Asks the database, or waits for who does.
    async fn ask(
        &self,
        entry: &Arc<Entry>,
        user: &str,
        name: &str,
    ) -> Result<AccessResult, StoreError> {
        let _asking = entry.asking.lock().await;
        if let Some(answer) = entry.answer(user, FRESH) {
            return Ok(answer);
        }
        let known = entry.known().clone();
        if known.is_paused() {
            return Err(StoreError::Unavailable(
                "it did not answer a moment ago".into(),
            ));
        }
        let known = known.room.filter(|known| known.asked_at.elapsed() < FRESH);
        let mut known = match known {
            Some(known) => known,
            None => {
                let asked_at = Instant::now();
                let Some(room) = self.store.room(name).await? else {
                    return Ok(Err(AccessError::NotFound));
                };
                KnownRoom {
                    asked_at,
                    room: Arc::new(room),
                    listed: None,
                    invited: None,
                }
            }
        };
        if known.answer(user).is_none() {
            let listed = match known.room.private {
                true => self.store.members(name).await?,
                false => self.store.bans(name).await?,
            };
            known.listed = Some(Arc::new(listed.into_iter().collect()));
        }
        self.remember(name, entry, &known);
        Ok(known.answer(user).unwrap_or(Err(AccessError::NotFound)))
    }

    fn entry(&self, room: &str) -> Arc<Entry> {
        let mut remembered = self.remembered();
        if let Some(entry) = remembered.rooms.get(room) {
            return Arc::clone(entry);
        }
        remembered.make_room();
        let entry = Arc::<Entry>::default();
        remembered.rooms.insert(room.to_owned(), Arc::clone(&entry));
        entry
    }

    fn remember(&self, name: &str, entry: &Arc<Entry>, room: &KnownRoom) {
        let mut remembered = self.remembered();
        if !remembered.holds(name, entry) {
            return;
        }
        let known = Known {
            room: Some(room.clone()),
            failed_at: None,
        };
        let before = std::mem::replace(&mut *entry.known(), known);
        let before = before.room.map_or(0, |room| room.weight());
        remembered.weight = (remembered.weight + room.weight()).saturating_sub(before);
    }

    /// Rooms that are not there are not remembered: anybody could ask for any number of them. The last one who waited
    /// for the answer drops the entry.
    fn drop_if_empty(&self, name: &str, entry: &Arc<Entry>) {
        let mut remembered = self.remembered();
        let empty = entry.known().room.is_none();
        if empty && remembered.holds(name, entry) && Arc::strong_count(entry) <= 2 {
            remembered.remove(name);
        }
    }

    fn is_current(&self, name: &str, entry: &Arc<Entry>) -> bool {
        self.remembered().holds(name, entry)
    }

    /// The room or its members changed: they are asked for again.
    pub(crate) fn forget(&self, room: &str) {
        self.remembered().remove(room);
    }

    /// Which rooms changed is not known: all are asked for again.
    pub(crate) fn forget_all(&self) {
        *self.remembered() = Remembered::default();
    }

    /// Lets go of what is too old to be believed. Called on a timer.
    pub(crate) fn upkeep(&self) {
        self.remembered().drop_older_than(STALE);
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock()
    }
}

impl Remembered {
    fn holds(&self, name: &str, entry: &Arc<Entry>) -> bool {
        self.rooms
            .get(name)
            .is_some_and(|held| Arc::ptr_eq(held, entry))
    }

    fn remove(&mut self, name: &str) {
        if let Some(entry) = self.rooms.remove(name) {
            let weight = entry.known().room.as_ref().map_or(0, KnownRoom::weight);
            self.weight = self.weight.saturating_sub(weight);
        }
    }

    fn make_room(&mut self) {
        let is_full = |this: &Self| this.weight.max(this.rooms.len()) >= REMEMBERED_MAX;
        if is_full(self) {
            self.drop_older_than(FRESH);
        }
        if is_full(self) {
            *self = Remembered::default();
        }
    }

    fn drop_older_than(&mut self, age: Duration) {
        let mut weight = 0;
        self.rooms.retain(|_, entry| {
            let known = entry.known();
            let keep = match &known.room {
                Some(room) => room.asked_at.elapsed() < age,
                // Somebody waits for its answer.
                None => Arc::strong_count(entry) > 1,
            };
            weight += known
                .room
                .as_ref()
                .filter(|_| keep)
                .map_or(0, KnownRoom::weight);
            keep
        });
        self.weight = weight;
    }
}

#[cfg(test)]
mod tests {
    use common::store::{Accounts, BotPolicy, Rooms};
    use engines::embedded::SqliteStore;
    use seam_fakes::FaultyStore;

    use super::*;

    struct Case {
        access: Arc<Access>,
        store: Arc<FaultyStore>,
        _folder: tempfile::TempDir,
    }

    impl Case {
        /// Ada's private room `den`, of which Bob is a member, and her public `lobby`.
        async fn new() -> Case {
            let folder = tempfile::tempdir().unwrap();
            let store = FaultyStore::over(SqliteStore::open(folder.path()).await.unwrap());
            for user in ["ada", "bob", "eve"] {
                store.create_user(user, "hash").await.unwrap();
            }
            for (name, private) in [("den", true), ("lobby", false)] {
                let room = Room {
                    name: name.to_owned(),
                    private,
                    bot: BotPolicy::Off,
                    owner: "ada".to_owned(),
                    ..Room::default()
                };
                store.create_room(&room).await.unwrap();
            }
            store.add_member("den", "bob").await.unwrap();
            let access = Arc::new(Access::new(Arc::<FaultyStore>::clone(&store)));
            Case {
                access,
                store,
                _folder: folder,
            }
        }

        async fn sees(&self, user: &str, room: &str) -> Result<(), AccessError> {
            self.access.room(user, room).await.map(|_| ())
        }

        /// As if everything had been asked for so long ago.
        fn ages(&self, by: Duration) {
            for entry in self.access.remembered().rooms.values() {
                let mut known = entry.known();
                known.failed_at = None;
                if let Some(room) = &mut known.room {
                    room.asked_at -= by;
                }
            }
        }
    }

    #[tokio::test]
    async fn who_may_see_what() {
        let case = Case::new().await;
        for user in ["ada", "bob", "eve"] {
            assert_eq!(case.sees(user, "lobby").await, Ok(()));
        }
        for (user, seen) in [
            ("ada", Ok(())),
            ("bob", Ok(())),
            ("eve", Err(AccessError::NotFound)),
        ] {
            assert_eq!(case.sees(user, "den").await, seen, "{user}");
        }
        assert_eq!(
            case.sees("ada", "nowhere").await,
            Err(AccessError::NotFound)
        );
        let remembered = case.access.remembered();
        assert_eq!(
            (remembered.rooms.len(), remembered.weight),
            (2, 3),
            "two rooms and one member"
        );
    }

    #[tokio::test]
    async fn what_was_heard_of_counts_at_once_and_what_was_not_after_half_a_minute() {
        let case = Case::new().await;
        assert_eq!(case.sees("bob", "den").await, Ok(()));
        case.store.remove_member("den", "bob", "bob").await.unwrap();
        assert_eq!(case.sees("bob", "den").await, Ok(()), "nobody told");
        case.access.forget("den");
        assert_eq!(case.sees("bob", "den").await, Err(AccessError::NotFound));
        case.store.add_member("den", "bob").await.unwrap();
        case.ages(FRESH);
        assert_eq!(case.sees("bob", "den").await, Ok(()));
        case.access.forget_all();
        assert_eq!(case.access.remembered().weight, 0);
    }

    #[tokio::test]
    async fn who_was_let_in_stays_in_while_the_database_is_away() {
        let case = Case::new().await;
        assert_eq!(case.sees("bob", "den").await, Ok(()));
        case.store.faults.away(true);
        case.ages(FRESH);
        assert_eq!(case.sees("bob", "den").await, Ok(()));
        assert_eq!(case.sees("eve", "den").await, Err(AccessError::NotFound));
        assert_eq!(
            case.sees("eve", "lobby").await,
            Err(AccessError::Unavailable)
        );
        case.ages(STALE);
        assert_eq!(case.sees("bob", "den").await, Err(AccessError::Unavailable));
        case.store.faults.away(false);
        case.ages(Duration::ZERO);
        assert_eq!(case.sees("bob", "den").await, Ok(()));
    }

    #[tokio::test]
    async fn many_who_ask_at_once_all_get_the_answer() {
        let case = Case::new().await;
        let asked = (0..1_000).map(|n| {
            let (access, user) = (Arc::clone(&case.access), ["ada", "bob", "eve"][n % 3]);
            let room = if n % 2 == 0 { "den" } else { "nowhere" };
            tokio::spawn(async move { (user, room, access.room(user, room).await.is_ok()) })
        });
        for answer in futures_util::future::join_all(asked).await {
            let (user, room, seen) = answer.unwrap();
            assert_eq!(seen, room == "den" && user != "eve", "{user} in {room}");
        }
        assert_eq!(
            case.access.remembered().rooms.len(),
            1,
            "rooms that are not there leave nothing"
        );
    }
}

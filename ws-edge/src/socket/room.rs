//! One room on this edge: its feed, and the sockets that read it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};

use axum::extract::ws::Utf8Bytes;
use common::live::PRESENCE_MAX_USERS;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::{sync::Notify, time::Instant};

use super::{
    feed::Feed,
    inbox::Inbox,
    ring::{Budget, Cursor, Taken},
};

/// One room on this edge.
pub(super) struct Room {
    pub(super) name: Arc<str>,
    feed: RwLock<Feed>,
    members: Mutex<Members>,
    /// Told when the feed's phase changes.
    pub(super) phase_changed: Notify,
    /// Its readers are about to be told that they lack something.
    pub(super) is_telling: AtomicBool,
    /// Held by the one who reads the past for those who come back, while the others wait for what he finds.
    pub(super) reading_back: tokio::sync::Mutex<()>,
}

/// Who reads a room.
pub(super) struct Members {
    all: Vec<Arc<Member>>,
    /// Since when there is none.
    pub(super) empty_since: Option<Instant>,
    /// The room is being given up; no one may enter.
    pub(super) closed: bool,
    /// Who is here changed since it was last announced, or somebody waits to be told who is.
    pub(super) to_announce: bool,
    pub(super) announced_at: Option<Instant>,
    /// What was announced last was not that there is nobody.
    pub(super) is_announced: bool,
}

/// One socket in one room.
pub(super) struct Member {
    pub(super) user: Arc<str>,
    sub: u32,
    inbox: Arc<Inbox>,
    /// Its index in [`Members::all`].
    index: AtomicUsize,
    /// It has been told that there is news, and has not looked yet.
    is_marked: AtomicBool,
    /// It may no longer see the room: not another frame.
    is_evicted: AtomicBool,
    /// What it was shown lacks a message whose place has passed.
    is_lacking: AtomicBool,
    /// It was told who is in the room, or does not wait to be.
    is_greeted: AtomicBool,
}

impl Room {
    /// A room that is being opened.
    pub(super) fn new(name: Arc<str>, feed: Feed) -> Room {
        Room {
            name,
            feed: RwLock::new(feed),
            members: Mutex::new(Members {
                all: Vec::new(),
                empty_since: Some(Instant::now()),
                closed: false,
                to_announce: false,
                announced_at: None,
                is_announced: false,
            }),
            phase_changed: Notify::new(),
            is_telling: AtomicBool::new(false),
            reading_back: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn feed(&self) -> RwLockReadGuard<'_, Feed> {
        self.feed.read()
    }

    pub(super) fn feed_mut(&self) -> RwLockWriteGuard<'_, Feed> {
        self.feed.write()
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock()
    }

    /// Tells every socket that there is news, those that have been told already left out. Returns how many sockets there
    /// are.
    pub(super) fn wake_all(&self) -> usize {
        let members = self.members();
        // What was put into the ring is there for all before any mark is looked at (see [`Membership::take`]).
        fence(Ordering::SeqCst);
        for member in &members.all {
            member.mark();
        }
        members.all.len()
    }

    /// Tells every socket that what it was shown lacks a message whose place has passed: its client has to load the history.
    pub(super) fn tell_lacking(&self) {
        let members = self.members();
        for member in &members.all {
            member.is_lacking.store(true, Ordering::Release);
        }
        drop(members);
        self.wake_all();
    }

    /// Lets a socket in; none if the room is being given up.
    pub(super) fn enter(
        self: &Arc<Self>,
        user: &Arc<str>,
        sub: u32,
        inbox: &Arc<Inbox>,
    ) -> Option<Membership> {
        let mut members = self.members();
        if members.closed {
            return None;
        }
        let member = Arc::new(Member {
            user: Arc::clone(user),
            sub,
            inbox: Arc::clone(inbox),
            index: AtomicUsize::new(members.all.len()),
            is_marked: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            is_lacking: AtomicBool::new(false),
            is_greeted: AtomicBool::new(true),
        });
        members.all.push(Arc::clone(&member));
        members.empty_since = None;
        Some(Membership {
            room: Arc::clone(self),
            member,
        })
    }
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Everyone in the room on this edge, by name, as far as they are announced.
    pub(super) fn users(&self) -> Vec<String> {
        let mut users = BTreeSet::new();
        for member in &self.all {
            users.insert(&*member.user);
            if users.len() > PRESENCE_MAX_USERS {
                users.pop_last();
            }
        }
        users.into_iter().map(str::to_owned).collect()
    }

    /// Those who have not been told yet who is in the room; from now on they have.
    pub(super) fn ungreeted(&self) -> Vec<Arc<Member>> {
        let fresh = self
            .all
            .iter()
            .filter(|member| !member.is_greeted.swap(true, Ordering::Relaxed));
        fresh.map(Arc::clone).collect()
    }

    /// Everyone whom `leaves` points at may no longer see the room.
    pub(super) fn evict(&self, leaves: impl Fn(&str) -> bool) -> Vec<Arc<Member>> {
        let leaving = self.all.iter().filter(|member| leaves(&member.user));
        leaving
            .filter(|member| !member.is_evicted.swap(true, Ordering::AcqRel))
            .map(Arc::clone)
            .collect()
    }
}

impl Member {
    fn mark(&self) {
        // The load first: while a socket is busy, telling it costs no write to memory that it shares.
        if !self.is_marked.load(Ordering::Relaxed) && !self.is_marked.swap(true, Ordering::AcqRel) {
            self.inbox.mark(self.sub);
        }
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(super) fn sub(&self) -> u32 {
        self.sub
    }
}

/// A socket's membership of a room; it leaves when this is dropped.
pub(super) struct Membership {
    room: Arc<Room>,
    member: Arc<Member>,
}

impl Membership {
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Asks to be told who is in the room when that is announced next.
    pub(super) fn want_greeting(&self) {
        self.member.is_greeted.store(false, Ordering::Relaxed);
    }

    /// What comes after this call marks the socket anew.
    pub(super) fn look(&self) {
        self.member.is_marked.store(false, Ordering::Release);
        // Whoever writes after we read finds the mark gone.
        fence(Ordering::SeqCst);
    }

    /// Takes what is next for this socket. What comes after this call marks it anew.
    pub(super) fn take(
        &self,
        cursor: &mut Cursor,
        budget: &mut Budget,
        batch: &mut Vec<Utf8Bytes>,
    ) -> Taken {
        self.look();
        let feed = self.room.feed();
        if self.member.is_evicted.load(Ordering::Acquire) {
            return Taken::All;
        }
        if self.member.is_lacking.swap(false, Ordering::AcqRel) {
            return Taken::Lacking;
        }
        feed.ring.take(cursor, budget, batch)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut members = self.room.members();
        let index = self.member.index.load(Ordering::Relaxed);
        members.all.swap_remove(index);
        if let Some(moved) = members.all.get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
        members.to_announce = true;
        if members.all.is_empty() {
            members.empty_since = Some(Instant::now());
        }
    }
}

//! What is old goes, a piece at a time, and stays gone. Nobody waits for a day here: what is said has an old place.

use std::num::NonZeroU32;

use common::{
    store::{RoomChanges, RoomKeeper, RoomRetention, SentAt, Store},
    wire::{Seq, now_seq},
};
use futures_util::future::join_all;
use uuid::Uuid;

use super::{
    rooms::{room, users},
    side::{Side, answered, deletes, edits, said, seqs, texts},
};

const OWNER: RoomKeeper = RoomKeeper::Owner("ada");

const DAY: Seq = 24 * 60 * 60 * 1_000_000;

/// A place of so many days ago.
fn days_ago(days: u64) -> Seq {
    now_seq() - days * DAY
}

async fn keeps(store: &dyn Store, name: &str, days: u32) {
    let changes = RoomChanges {
        retention_days: Some(NonZeroU32::new(days)),
        ..RoomChanges::default()
    };
    store.change_room(name, &changes, OWNER).await.unwrap();
}

/// What the next page of rooms says, on a server that keeps everything for ever.
async fn old_rooms(store: &dyn Store) -> Vec<(String, Seq)> {
    let page = store.take_old_rooms(now_seq(), None, 100).await.unwrap();
    assert!(!page.is_more);
    page.rooms
}

/// Takes away what a server does not keep that keeps everything for so many days.
async fn removes(store: &dyn Store, now: Seq, days: u32, limit: usize) -> u64 {
    let removed = store.remove_old("ship", now, NonZeroU32::new(days), limit);
    removed.await.unwrap()
}

/// Up to which place that is.
fn ends_at(now: Seq, days: u32) -> Seq {
    RoomRetention::default().ends_at(NonZeroU32::new(days), now)
}

async fn begin_anew(side: &Side) {
    side.execute("UPDATE sweeps SET due_at_ms = 0".to_owned())
        .await;
}

/// A room whose 25 messages and two events of long ago are to go, and two messages of lately are not.
async fn ship(side: &Side) -> Vec<Uuid> {
    let store = &side.store;
    users(side, &["ada", "bob"]).await;
    store.create_room(&room("ship", "ada")).await.unwrap();
    let old = days_ago(40);
    let mut batch: Vec<_> = (1..=25)
        .map(|n| said("ship", old + n, "a secret"))
        .collect();
    batch.push(edits(&batch[0], old + 26, "a secret as well"));
    batch.push(deletes(&batch[1], old + 27));
    batch.push(said("ship", days_ago(3), "of the other day"));
    batch.push(said("ship", now_seq(), "of today"));
    store.write(&batch).await.unwrap();
    batch.iter().map(|one| one.message.id).collect()
}

pub async fn what_is_old_goes_in_small_steps_and_is_read_no_more(side: Side) {
    let store = &*side.store;
    let ids = ship(&side).await;
    assert_eq!(old_rooms(store).await, [], "it is kept for ever");
    keeps(store, "ship", 30).await;
    begin_anew(&side).await;
    let [(name, until)] = &old_rooms(store).await[..] else {
        panic!("one room has something old");
    };
    assert_eq!(name, "ship");
    assert!(*until > days_ago(31) && *until <= days_ago(30));

    let (mut steps, mut gone) = (Vec::new(), 0);
    loop {
        let removed = removes(store, now_seq(), 0, 10).await;
        gone += removed as usize;
        let history = store.before("ship", Seq::MAX, 100).await.unwrap();
        // The two events come last, and are no messages of a page.
        assert_eq!(history.len(), 27 - gone.min(25));
        assert_eq!(history[0].prev, 0);
        let resumed = store.after("ship", 0, 100).await.unwrap();
        assert_eq!(resumed.len(), 29 - gone);
        assert_eq!(
            store.after("ship", days_ago(35), 1).await.unwrap()[0].message,
            "of the other day"
        );
        for (n, id) in ids.iter().enumerate() {
            let found = store.find("ship", *id).await.unwrap();
            let is_event = (25..27).contains(&n);
            assert!(is_event || found.is_some() == (n >= gone), "{n}");
        }
        if removed == 0 {
            assert_eq!(texts(&history), ["of the other day", "of today"]);
            assert_eq!(resumed, history);
            let of_ada = store.by_sender("ada", &SentAt::default(), 100).await;
            assert_eq!(seqs(&of_ada.unwrap().messages), seqs(&history));
            break;
        }
        steps.push(removed);
    }
    assert_eq!(steps, [10, 10, 7]);
    assert_eq!(store.gone_until("ship").await.unwrap(), *until);
    assert_eq!(
        side.count("SELECT COUNT(*) FROM messages WHERE room = 'ship'")
            .await,
        2
    );
    assert_eq!(side.count("SELECT COUNT(*) FROM message_events").await, 0);
    assert_eq!(side.count("SELECT COUNT(*) FROM message_states").await, 0);
    begin_anew(&side).await;
    assert_eq!(old_rooms(store).await, []);
}

pub async fn what_is_gone_stays_gone_whatever_is_set_later(side: Side) {
    let store = &*side.store;
    ship(&side).await;
    let now = now_seq();
    let until = ends_at(now, 30);
    while removes(store, now, 30, 100).await > 0 {}
    // Neither a longer time nor none brings back what comes late, and what came is found in the next round.
    keeps(store, "ship", 1_000).await;
    let late = said("ship", days_ago(35), "late");
    store.write(std::slice::from_ref(&late)).await.unwrap();
    assert_eq!(store.find("ship", late.message.id).await.unwrap(), None);
    assert_eq!(store.after("ship", 0, 100).await.unwrap().len(), 2);
    keeps(store, "ship", 0).await;
    assert_eq!(
        store.room("ship").await.unwrap().unwrap().retention_days,
        None
    );
    begin_anew(&side).await;
    assert_eq!(old_rooms(store).await, [("ship".to_owned(), until)]);
    assert_eq!(removes(store, now, 0, 100).await, 1);
    // Nor does a place go back.
    assert_eq!(removes(store, now - DAY, 30, 100).await, 0);
    let known = store.retention_of(&["ship", "nowhere"]).await.unwrap();
    let ship = RoomRetention {
        days: None,
        gone_until: until,
    };
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        [("ship".to_owned(), ship)]
    );
    assert_eq!(store.gone_until("nowhere").await.unwrap(), 0);
}

pub async fn whoever_keeps_it_for_longer_is_heeded_at_once(side: Side) {
    let store = &*side.store;
    ship(&side).await;
    keeps(store, "ship", 30).await;
    let now = now_seq();
    assert_eq!(removes(store, now, 0, 10).await, 10);
    let gone = store.gone_until("ship").await.unwrap();
    keeps(store, "ship", 1_000).await;
    assert_eq!(removes(store, now, 0, 10).await, 0);
    assert_eq!(store.gone_until("ship").await.unwrap(), gone);
    assert_eq!(store.after("ship", 0, 100).await.unwrap().len(), 19);
    // And whoever keeps it for less.
    keeps(store, "ship", 2).await;
    assert_eq!(removes(store, now, 0, 100).await, 18);
    assert_eq!(store.gone_until("ship").await.unwrap(), ends_at(now, 2));
}

pub async fn the_database_has_a_clock(side: Side) {
    // It may be another machine's: a test has both on one.
    let (before, now, after) = (now_seq(), side.store.clock().await.unwrap(), now_seq());
    let minute = 60 * 1_000_000;
    assert!(before - minute < now && now < after + minute, "{now}");
}

pub async fn an_edit_is_as_old_as_its_own_place(side: Side) {
    let store = &*side.store;
    users(&side, &["ada"]).await;
    store.create_room(&room("ship", "ada")).await.unwrap();
    let old = days_ago(40);
    let (one, two) = (said("ship", old, "one"), said("ship", old + 1, "a secret"));
    let edit = edits(&one, days_ago(10), "one, as of lately");
    let secret = edits(&two, days_ago(9), "the secret");
    let deletion = deletes(&two, days_ago(8));
    let all = [one, two, edit, secret.clone(), deletion];
    store.write(&all).await.unwrap();
    while removes(store, now_seq(), 30, 1).await > 0 {}
    let left = store.after("ship", 0, 100).await.unwrap();
    assert_eq!(texts(&left), ["one, as of lately", "", ""]);
    // The tombstone is there as long as something of what it covers may come late.
    store.write(&[secret]).await.unwrap();
    let has_text = "SELECT COUNT(*) FROM message_states WHERE message = 'the secret'";
    assert_eq!(side.count(has_text).await, 0);
    while removes(store, now_seq(), 5, 1).await > 0 {}
    for left in [
        "SELECT COUNT(*) FROM messages WHERE room = 'ship'",
        "SELECT COUNT(*) FROM message_events",
        "SELECT COUNT(*) FROM message_states",
    ] {
        assert_eq!(side.count(left).await, 0, "{left}");
    }
    assert_eq!(store.latest("ship").await.unwrap(), 0);
}

pub async fn a_page_of_rooms_is_told_to_one_process(side: Side) {
    let store = &*side.store;
    users(&side, &["ada"]).await;
    let names: Vec<String> = (0..7).map(|n| format!("room-{n}")).collect();
    for name in &names {
        store.create_room(&room(name, "ada")).await.unwrap();
        store
            .write(&[said(name, days_ago(9), "old")])
            .await
            .unwrap();
    }
    keeps(store, "room-3", 20).await;
    keeps(store, "room-4", 2).await;
    let days = NonZeroU32::new(5);
    // Eight rooms with ada's own; of those who ask at the same moment one has the page.
    let mut seen = Vec::new();
    for _ in 0..100 {
        let asking = (0..3).map(|_| store.take_old_rooms(now_seq(), days, 3));
        for page in join_all(asking).await {
            seen.extend(page.unwrap().rooms);
        }
    }
    seen.sort_unstable();
    let told: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(told, names, "each once, until the next round");
    for (name, until) in &seen {
        let days = if name == "room-4" { 2 } else { 5 };
        assert!(
            *until <= days_ago(days) && *until > days_ago(days + 1),
            "{name}"
        );
    }
    begin_anew(&side).await;
    let page = store.take_old_rooms(now_seq(), days, 100).await.unwrap();
    assert_eq!((page.rooms.len(), page.is_more), (7, false));
    begin_anew(&side).await;
    let of_its_own = old_rooms(store).await;
    assert_eq!(
        of_its_own.len(),
        1,
        "the server keeps everything: {of_its_own:?}"
    );
}

pub async fn a_room_that_was_deleted_meanwhile_is_left_alone(side: Side) {
    let store = &*side.store;
    ship(&side).await;
    keeps(store, "ship", 30).await;
    store.delete_room("ship", OWNER).await.unwrap();
    assert_eq!(removes(store, now_seq(), 30, 10).await, 0);
    assert_eq!(side.count("SELECT COUNT(*) FROM room_retention").await, 0);
}

pub async fn a_list_of_rooms_tells_nothing_of_what_is_gone(side: Side) {
    let store = &*side.store;
    ship(&side).await;
    let of_bob = async || {
        let rooms = store.rooms_listed("bob", None, 10).await.unwrap();
        let ship = rooms.into_iter().find(|room| room.name == "ship").unwrap();
        (ship.latest, ship.unread)
    };
    let read = common::store::ReadMark {
        user: "bob".to_owned(),
        room: "ship".to_owned(),
        seq: days_ago(50),
    };
    store.mark_read(&[read]).await.unwrap();
    assert_eq!(of_bob().await.1, 29);
    removes(store, now_seq(), 30, 100).await;
    assert_eq!(of_bob().await.1, 2);
    // All but the newest is gone, and then that too.
    removes(store, now_seq(), 1, 100).await;
    assert_eq!(of_bob().await.1, 1);
    side.execute("DELETE FROM messages WHERE message = 'of today'".to_owned())
        .await;
    assert_eq!(of_bob().await, (0, 0));
    assert_eq!(store.latest("ship").await.unwrap(), 0);
    let kept = store.rooms_kept(None, 10).await.unwrap();
    assert_eq!(kept[0].latest, 0);
}

pub async fn a_stream_is_to_be_trimmed_until_it_is(side: Side) {
    let store = &*side.store;
    ship(&side).await;
    assert_eq!(store.streams_to_trim(10).await.unwrap(), []);
    let now = now_seq();
    let (until, later) = (ends_at(now, 30), ends_at(now, 29));
    removes(store, now, 30, 100).await;
    let to_trim = [("ship".to_owned(), until)];
    assert_eq!(store.streams_to_trim(10).await.unwrap(), to_trim);
    // More has gone since.
    removes(store, now, 29, 100).await;
    store.stream_is_trimmed("ship", until).await.unwrap();
    assert_eq!(store.streams_to_trim(10).await.unwrap().len(), 1);
    store.stream_is_trimmed("ship", later).await.unwrap();
    assert_eq!(store.streams_to_trim(10).await.unwrap(), []);
}

pub async fn old_days_leave_the_log_of_replies(side: Side) {
    let store = &*side.store;
    let question = said("lobby", days_ago(500), "@bot hi");
    let old = answered(&question, days_ago(500), "hi");
    let question = said("lobby", days_ago(1), "@bot hi");
    let new = answered(&question, days_ago(1), "hi");
    store.write(&[old, new]).await.unwrap();
    for (day, swept) in [("1999-01-01", 0), ("2026-01-01", 1), ("2026-01-01", 0)] {
        assert_eq!(store.sweep_reply_log(day, 10).await.unwrap(), swept);
    }
    assert_eq!(side.count("SELECT COUNT(*) FROM replies").await, 1);
}

//! Coming back to a room.

use std::time::Duration;

use common::{
    timeline::{RESUME_MAX_MESSAGES, Resume, TimelineError},
    wire::{Message, Seq},
};
use seam_fakes::Fault;
use tokio::time::Instant;

use crate::{
    past::{Past, ROOM, ids, is_said, is_written},
    watched::Watched,
};

#[tokio::test]
async fn whoever_missed_too_much_in_a_cold_room_is_told_its_latest_place() {
    let past = Past::none().await;
    past.lies_in_store(1..=1_500).await;
    let resumed = past.timeline.resume(ROOM, 100).await.unwrap();
    let too_much = Resume {
        messages: Vec::new(),
        complete: false,
        latest: 1_500,
        bytes_read: resumed.bytes_read,
    };
    assert_eq!(resumed, too_much);
}

#[tokio::test]
async fn whoever_missed_nothing_in_a_cold_room_is_told_its_latest_place() {
    let past = Past::none().await;
    past.lies_in_store(1..=10).await;
    for after in [10, 11] {
        let resumed = past.timeline.resume(ROOM, after).await.unwrap();
        let nothing = Resume {
            messages: Vec::new(),
            complete: true,
            latest: 10,
            bytes_read: 0,
        };
        assert_eq!(resumed, nothing);
    }
}

#[tokio::test]
async fn what_is_said_in_the_middle_of_a_look_leaves_no_hole() {
    let (live, watched) = Watched::new();
    let past = Past::with(live).await;
    let mut all = past.lies_in_store([1, 2]).await;
    all.extend(past.is_said(1, 2).await);
    let (meanwhile, store) = (watched.inner.clone(), past.store.clone());
    watched.then(async move {
        // Of two writers, the one that has the second message is quicker.
        let said = is_said(&*meanwhile, 2, 0).await;
        is_written(&store, &said[1..]).await;
    });
    let resumed = past.timeline.resume(ROOM, 1).await.unwrap();
    let stream = past.live.tail(ROOM, 0, 10).await.unwrap().messages;
    all.extend_from_slice(&stream[1..]);
    assert_eq!(ids(&resumed.messages), ids(&all[1..]));
    assert_eq!((resumed.complete, resumed.latest), (true, stream[2].seq));
}

#[tokio::test]
async fn whoever_has_nothing_gets_what_was_said_before_the_database_was_away_too() {
    let past = Past::none().await;
    let mut all = past.lies_in_store([1, 2, 3]).await;
    // A cold room in which something is said while the database cannot tell what was before it.
    all.extend(past.is_said(2, 0).await);
    let resumed = past.timeline.resume(ROOM, 0).await.unwrap();
    assert_eq!(ids(&resumed.messages), ids(&all));
    assert!(resumed.complete);
}

#[tokio::test]
async fn whoever_has_nothing_gets_what_the_stream_has_while_the_database_is_away() {
    let past = Past::none().await;
    let said = past.is_said(2, 0).await;
    past.loses_its_store();
    let resumed = past.timeline.resume(ROOM, 0).await.unwrap();
    assert_eq!(resumed.messages, said);
    assert!(resumed.complete);
}

#[tokio::test]
async fn whoever_missed_too_much_is_told_so_also_while_the_database_is_behind() {
    let past = Past::none().await;
    past.lies_in_store(1..=20).await;
    let said = past.is_said(RESUME_MAX_MESSAGES, 50).await;
    let refused = past.timeline.resume(ROOM, 30).await;
    assert!(matches!(refused, Err(TimelineError::Behind)), "{refused:?}");
    let resumed = past.timeline.resume(ROOM, 10).await.unwrap();
    let too_much = Resume {
        messages: Vec::new(),
        complete: false,
        latest: said[RESUME_MAX_MESSAGES - 1].seq,
        bytes_read: resumed.bytes_read,
    };
    assert_eq!(resumed, too_much);
    let least = RESUME_MAX_MESSAGES * said[0].message.len();
    assert!(resumed.bytes_read > least, "what is not sent was read too");
}

/// The stream of a server that took over from another: it looks whole, and lacks what only the other one had.
async fn a_replaced_server(past: &Past) -> Vec<Message> {
    let mut all = past.is_said(1, 0).await;
    past.is_written(&all).await;
    all.extend(past.lies_in_store([all[0].seq + 1]).await);
    all.extend(past.is_said(1, 0).await);
    all
}

#[tokio::test]
async fn what_a_replaced_server_had_last_is_found_in_the_database_by_whoever_comes_back() {
    let past = Past::none().await;
    let all = a_replaced_server(&past).await;
    let first = all[0].seq;
    let stream = past.timeline.resume(ROOM, first).await.unwrap();
    assert_eq!(ids(&stream.messages), ids(&all[2..]));
    let whole = past.timeline.resume_whole(ROOM, first).await.unwrap();
    assert_eq!(ids(&whole.messages), ids(&all[1..]));
    assert_eq!((whole.complete, whole.latest), (true, all[2].seq));
    assert_eq!(whole.messages[1].prev, all[1].seq, "linked as they stand");
    let in_store = past
        .timeline
        .places_in_store(ROOM, 0, Seq::MAX)
        .await
        .unwrap();
    assert_eq!(in_store, [first, first + 1]);
    let in_stream = past
        .timeline
        .places_in_stream(ROOM, 0, all[2].seq)
        .await
        .unwrap();
    assert_eq!(in_stream, [first, all[2].seq]);
}

#[tokio::test]
async fn the_stream_alone_has_to_do_while_the_database_is_late_and_only_the_first_wait_for_it() {
    let past = Past::none().await;
    let all = a_replaced_server(&past).await;
    let late = Fault::Takes(Duration::from_secs(60));
    past.store.faults.on("after", late);
    tokio::time::pause();
    for patience in [3, 1] {
        let since = Instant::now();
        let resumed = past.timeline.resume_whole(ROOM, all[0].seq).await.unwrap();
        assert_eq!(ids(&resumed.messages), ids(&all[2..]));
        assert!(
            since.elapsed() < Duration::from_secs(patience),
            "{:?}",
            since.elapsed()
        );
    }
    past.loses_its_store();
    let unknown = past.timeline.resume_whole(ROOM, all[0].seq + 1).await;
    assert!(
        matches!(unknown, Err(TimelineError::Store(_))),
        "{unknown:?}"
    );
}

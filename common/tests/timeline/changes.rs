//! Edits and deletions in a past of two places: whichever of the two has heard of them, a reader sees the newest state.

use common::{
    timeline::PAGE_MAX_MESSAGES,
    wire::{Kind, Message, Seq},
};
use uuid::Uuid;

use crate::past::{Past, ROOM, ids};

/// What each message says: its text, and whether it is edited and deleted.
fn state(messages: &[Message]) -> Vec<(&str, bool, bool)> {
    let of = |message: &Message| (message.edited.is_some(), message.deleted);
    messages
        .iter()
        .map(|message| (message.message.as_str(), of(message).0, of(message).1))
        .collect()
}

/// Three messages, of which the second is edited twice and the third deleted after an edit, and the events.
async fn changed(past: &Past) -> (Vec<Message>, Vec<Message>) {
    let said = past.is_said(3, 0).await;
    let events = vec![
        past.is_changed(&said[1], Some("once")).await,
        past.is_changed(&said[2], Some("secret")).await,
        past.is_changed(&said[1], Some("twice")).await,
        past.is_changed(&said[2], None).await,
    ];
    (said, events)
}

const NEWEST: [(&str, bool, bool); 3] = [
    ("hello", false, false),
    ("twice", true, false),
    ("", false, true),
];

#[tokio::test]
async fn history_has_the_newest_state_however_far_the_database_has_come() {
    // How many of the messages and events the database has.
    for written in 0..=7 {
        let past = Past::none().await;
        let (said, events) = changed(&past).await;
        let all = [&*said, &*events].concat();
        past.is_written(&all[..written]).await;
        let pages = [
            past.timeline.before(ROOM, Seq::MAX, 50).await.unwrap(),
            past.timeline.before(ROOM, events[0].seq, 50).await.unwrap(),
            past.timeline.after(ROOM, 0, 50).await.unwrap(),
            past.timeline.after(ROOM, 0, 3).await.unwrap(),
        ];
        for page in pages {
            assert_eq!(ids(&page), ids(&said), "{written}");
            assert_eq!(
                [&state(&page)[..2], &[("", false, page[2].deleted)]].concat(),
                NEWEST,
                "{written}"
            );
            let prevs: Vec<Seq> = page.iter().map(|message| message.prev).collect();
            assert_eq!(prevs, [0, said[0].seq, said[1].seq], "{written}");
        }
        for (message, wanted) in said.iter().zip(NEWEST) {
            let found = past.timeline.find(ROOM, message.id).await.unwrap().unwrap();
            assert_eq!((&*found.message, found.deleted), (wanted.0, wanted.2));
        }
        let event = past.timeline.find(ROOM, events[2].id).await.unwrap();
        assert_eq!(event.map(|event| event.message), Some("twice".to_owned()));
    }
}

#[tokio::test]
async fn who_comes_back_is_given_events_in_their_order_and_no_text_that_is_deleted() {
    for written in 0..=7 {
        let past = Past::none().await;
        let (said, events) = changed(&past).await;
        let all = [&*said, &*events].concat();
        past.is_written(&all[..written]).await;
        let resume = past.timeline.resume_whole(ROOM, said[0].seq).await.unwrap();
        assert!(resume.complete);
        assert_eq!(ids(&resume.messages), ids(&all[1..]), "{written}");
        assert_eq!(resume.latest, events[3].seq);
        let wanted: Vec<Seq> = all[..6].iter().map(|message| message.seq).collect();
        let prevs: Vec<Seq> = resume.messages.iter().map(|message| message.prev).collect();
        assert_eq!(prevs, wanted, "{written}");
        for message in &resume.messages {
            assert_ne!(message.message, "secret", "{written}");
            let is_deleted = message.id == said[2].id;
            assert_eq!(message.deleted, is_deleted);
            assert_eq!(message.message.is_empty(), {
                is_deleted || message.kind == Kind::Deleted || message.id == events[1].id
            });
        }
    }
}

#[tokio::test]
async fn a_page_is_full_of_messages_however_many_events_there_are_among_them() {
    let past = Past::none().await;
    let said = past.is_said(30, 0).await;
    let mut all = said.clone();
    for number in 0..2 * PAGE_MAX_MESSAGES + 30 {
        let text = format!("edited {number}");
        all.push(past.is_changed(&said[number % 10], Some(&text)).await);
    }
    let late = past.is_said(1, 0).await;
    all.extend(late.clone());
    for written in [0, 30, 100, all.len()] {
        past.is_written_by_now(&all[..written]).await;
        let wanted = [&ids(&said), &*ids(&late)].concat();
        let latest = past.timeline.before(ROOM, Seq::MAX, 20).await.unwrap();
        assert_eq!(ids(&latest), wanted[11..]);
        let first = past.timeline.before(ROOM, Seq::MAX, 40).await.unwrap();
        assert_eq!(ids(&first), wanted);
        assert!(first[9].message.starts_with("edited "));
        let after = past.timeline.after(ROOM, said[24].seq, 20).await.unwrap();
        assert_eq!(ids(&after), wanted[25..]);
    }
}

#[tokio::test]
async fn a_page_is_whole_where_all_that_the_stream_still_has_are_events() {
    let past = Past::none().await;
    let stored = past.lies_in_store(1..=20).await;
    // The last that the database has is an event as well.
    let event = Message {
        kind: Kind::Edited,
        of: Some(stored[3].id),
        id: Uuid::now_v7(),
        seq: 40,
        message: "once".to_owned(),
        ..stored[3].clone()
    };
    past.is_written(&[event]).await;
    let event = past.is_changed_after(&stored[4], Some("twice"), 40).await;
    assert_eq!(event.prev, 40);
    let page = past.timeline.before(ROOM, Seq::MAX, 50).await.unwrap();
    assert_eq!(ids(&page), ids(&stored));
    assert_eq!([&*page[3].message, &*page[4].message], ["once", "twice"]);
    // But not where one is still on its way.
    let past = Past::none().await;
    past.lies_in_store(1..=20).await;
    past.is_changed_after(&stored[4], Some("twice"), 40).await;
    assert!(past.timeline.before(ROOM, Seq::MAX, 50).await.is_err());
}

#[tokio::test]
async fn what_is_missing_in_the_database_is_handed_over_as_it_is_now() {
    let past = Past::none().await;
    let (said, events) = changed(&past).await;
    let all = [&*said, &*events].concat();
    // The engine would wait for half a minute before it calls them missing; what it would hand over is in the stream.
    let tail = past.live.tail(ROOM, 0, 50).await.unwrap();
    assert_eq!(ids(&tail.messages), ids(&all));
    assert!(!past.is_whole().await);
    past.is_written(&tail.messages).await;
    assert!(past.is_whole().await);
    let page = past.timeline.before(ROOM, Seq::MAX, 50).await.unwrap();
    assert_eq!((page[1].message.as_str(), page[2].deleted), ("twice", true));
}

//! Pages of history.

use std::sync::atomic::Ordering::SeqCst;

use common::{
    timeline::{LONG_READS_AT_ONCE, PAGE_MAX_MESSAGES, TimelineError},
    wire::{Message, Seq},
};
use futures_util::future::join_all;

use crate::{
    past::{Past, ROOM, ids},
    watched::Watched,
};

/// What a page shows, or nothing if it is refused because the database is behind.
fn shown(page: Result<Vec<Message>, TimelineError>) -> Option<Vec<Message>> {
    match page {
        Ok(page) => Some(page),
        Err(TimelineError::Behind) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_page_is_refused_only_if_something_of_it_is_still_on_its_way() {
    let past = Past::none().await;
    let stored = past.lies_in_store(1..=20).await;
    // What was said at the places 21 to 50 has left the stream and has not come to the database.
    let said = past.is_said(30, 50).await;
    let before = async |before: Seq, limit: usize| {
        let page = shown(past.timeline.before(ROOM, before, limit).await);
        page.map(|page| ids(&page))
    };
    assert_eq!(before(Seq::MAX, 30).await, Some(ids(&said)));
    assert_eq!(before(Seq::MAX, 31).await, None);
    assert_eq!(before(said[5].seq, 5).await, Some(ids(&said[..5])));
    assert_eq!(before(said[5].seq, 6).await, None);
    assert_eq!(before(40, 5).await, None);
    assert_eq!(before(15, 5).await, Some(ids(&stored[9..14])));

    let after = async |after: Seq, limit: usize| {
        let page = shown(past.timeline.after(ROOM, after, limit).await);
        page.map(|page| ids(&page))
    };
    assert_eq!(after(0, 20).await, Some(ids(&stored)));
    assert_eq!(after(0, 21).await, None);
    assert_eq!(after(50, 10).await, Some(ids(&said[..10])));

    // It has come.
    let late = past.lies_in_store(21..=50).await;
    assert_eq!(before(40, 5).await, Some(ids(&late[14..19])));
    assert_eq!(
        before(Seq::MAX, 31).await,
        Some([&ids(&late[29..])[..], &ids(&said)].concat())
    );
    assert_eq!(after(0, 21).await.map(|page| page.len()), Some(21));
}

#[tokio::test]
async fn a_small_page_reads_little_of_a_long_stream() {
    let (live, watched) = Watched::new();
    let past = Past::with(live).await;
    let said = past.is_said(3_000, 0).await;
    past.is_written(&said).await;
    let little = 2 * PAGE_MAX_MESSAGES;

    let page = past.timeline.after(ROOM, 0, 1).await.unwrap();
    assert_eq!(ids(&page), ids(&said[..1]));
    assert!(watched.read.swap(0, SeqCst) <= little);

    let old = past.timeline.before(ROOM, said[60].seq, 50).await.unwrap();
    assert_eq!(ids(&old), ids(&said[10..60]));
    assert!(watched.read.swap(0, SeqCst) <= little);

    let latest = past.timeline.before(ROOM, Seq::MAX, 50).await.unwrap();
    assert_eq!(ids(&latest), ids(&said[2_950..]));
    assert!(watched.read.swap(0, SeqCst) <= little);
}

#[tokio::test]
async fn long_reads_of_streams_wait_for_each_other() {
    let (live, watched) = Watched::new();
    let past = Past::with(live).await;
    let said = past.is_said(3_000, 0).await;
    let pages = (0..50).map(|_| past.timeline.before(ROOM, Seq::MAX, 50));
    for page in join_all(pages).await {
        assert_eq!(ids(&page.unwrap()), ids(&said[2_950..]));
    }
    let at_once = watched.most_going_on.load(SeqCst);
    assert!((1..=LONG_READS_AT_ONCE).contains(&at_once), "{at_once}");
}

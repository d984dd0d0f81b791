//! What was shown and did not come to the database.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use engines::redis::{RedisLive, RedisSettings};
use private_engines::Engines;

use crate::{
    past::{Past, ROOM},
    watched::Watched,
};

#[tokio::test]
async fn the_newest_of_an_overlong_stream_is_missed_too() {
    let engines = Engines::shared().await;
    let settings = RedisSettings {
        redis_url: engines.redis_url().to_owned().into(),
        redis_prefix: engines.fresh_prefix(),
        stream_idle_seconds: Duration::from_secs(3_600),
    };
    let past = Past::with(RedisLive::connect(&settings).await.unwrap()).await;
    // Redis drops whole nodes of a stream, so some stay beyond the limit.
    let said = past.is_said(10_050, 0).await;
    let (last, others) = said.split_last().unwrap();
    past.is_written(others).await;
    let is_settled = past.timeline.repair(ROOM).await.unwrap();
    assert!(!is_settled, "the last one is not in the database");
    past.is_written(std::slice::from_ref(last)).await;
    assert!(past.timeline.repair(ROOM).await.unwrap());
}

#[tokio::test]
async fn what_was_seen_in_the_database_is_not_compared_again() {
    let (live, watched) = Watched::new();
    let past = Past::with(live).await;
    // More than is read at a time: what comes after the missing one is there, and makes nobody sure of it.
    let said = past.is_said(1_100, 0).await;
    let (before, from) = said.split_at(100);
    let (late, after) = from.split_first().unwrap();
    past.is_written(before).await;
    past.is_written(after).await;
    assert!(!past.timeline.repair(ROOM).await.unwrap());
    assert_eq!(watched.read.swap(0, SeqCst), 1_100);

    assert!(!past.timeline.repair(ROOM).await.unwrap(), "still missing");
    assert_eq!(
        watched.read.swap(0, SeqCst),
        1_000,
        "from the missing one on"
    );

    past.is_written(std::slice::from_ref(late)).await;
    assert!(past.timeline.repair(ROOM).await.unwrap());
    watched.read.store(0, SeqCst);
    let newer = past.is_said(3, 0).await;
    assert!(!past.timeline.repair(ROOM).await.unwrap());
    past.is_written(&newer).await;
    assert!(past.timeline.repair(ROOM).await.unwrap());
    assert_eq!(watched.read.load(SeqCst), 6, "the new ones, twice");
}

//! A Redis that holds its connections and says nothing.

use std::time::Duration;

use common::live::{Live, LiveError, Signal, Unsettled};
use engines::redis::RedisLive;
use private_engines::Engine;
use seam_suites::live::side::{Says, says};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    redis_faults::{own_redis, posts_again},
    side::{connect, settings},
};

/// The longest that any call may take: its own limit of 2 s, and some for a busy machine.
const LIMIT: Duration = Duration::from_millis(3_500);

async fn fails_in_time<T>(what: &str, call: impl Future<Output = Result<T, LiveError>>) {
    let since = Instant::now();
    assert!(call.await.is_err(), "{what}");
    assert!(since.elapsed() < LIMIT, "{what}: {:?}", since.elapsed());
}

/// Whoever asked for it has given up, and has perhaps had it done by the server that took over.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_not_appended_when_it_thaws() {
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "given-up:");
    let live = RedisLive::connect(&settings).await.unwrap();
    live.post(&says("lobby", "ada", "before")).await;
    engines.freeze(Engine::Redis).await;
    let since = Instant::now();
    let message = says("lobby", "ada", "given up");
    fails_in_time("append", live.append(&message, None)).await;
    // Its own limit, and what the way to the server took.
    sleep(Duration::from_millis(3_000).saturating_sub(since.elapsed())).await;
    engines.thaw(Engine::Redis).await;
    posts_again(&live, "after").await;
    let tail = live.tail("lobby", 0, 10).await.unwrap();
    let texts: Vec<&str> = tail
        .messages
        .iter()
        .map(|message| &*message.message)
        .collect();
    assert_eq!(texts, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_to_a_frozen_redis_has_a_limit_and_all_is_well_when_it_thaws() {
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "frozen:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby"]).await;
    let before = one.post(&says("lobby", "ada", "before")).await;
    bob.hears("before").await;

    engines.freeze(Engine::Redis).await;
    let frozen = Instant::now();
    let message = says("lobby", "ada", "frozen");
    let typing = Signal::Room {
        room: "lobby".into(),
        frame: "{}".into(),
    };
    let ada = ["ada".to_owned()];
    let unsettled = Unsettled {
        room: "lobby".into(),
        version: 1,
        round: 1,
    };
    tokio::join!(
        fails_in_time("append", one.append(&message, None)),
        fails_in_time("tail", one.tail("lobby", 0, 1)),
        fails_in_time("find", one.find("lobby", Uuid::now_v7())),
        fails_in_time("signal", one.signal(&typing)),
        fails_in_time("announce", one.announce("one", "lobby", &ada)),
        fails_in_time("unsettled", one.unsettled(1, "the server")),
        fails_in_time("settled", one.settled(&unsettled)),
        fails_in_time("ping", one.ping()),
    );
    let since = Instant::now();
    assert!(bob.subscriber.subscribe("attic").await.is_err());
    assert!(since.elapsed() < Duration::from_secs(7));
    // Long enough for it to be given up, and tried again.
    sleep(Duration::from_secs(10).saturating_sub(frozen.elapsed())).await;
    // By now a call does not wait any more.
    let since = Instant::now();
    assert!(one.ping().await.is_err() && since.elapsed() < Duration::from_millis(500));

    engines.thaw(Engine::Redis).await;
    let took = posts_again(&one, "thawed").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let since = Instant::now();
    bob.gap("lobby").await;
    assert!(since.elapsed() < Duration::from_secs(5));
    let tail = two.tail("lobby", before.seq, 10).await.unwrap();
    assert!(tail.reaches_back);
    assert!(
        tail.messages
            .iter()
            .any(|message| message.message == "thawed")
    );
    one.post(&says("lobby", "ada", "heard")).await;
    bob.hears("heard").await;
}

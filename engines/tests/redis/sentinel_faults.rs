//! A master that goes away, and Sentinels that make its replica the master.

use std::time::Duration;

use common::live::{Appended, Live};
use private_engines::{Engine, Engines, Sentinels};
use redis::cmd;
use tokio::time::Instant;

use crate::{
    proxy::Proxy,
    redis_faults::{by_hand, posts_again},
    side::{connect, settings},
};
use seam_suites::live::side::{Says, eventually, says};
use seam_suites::live::turns::{asks, granted, posts};

/// Sentinels of the story's own, a master and its replica; and what names them.
async fn own_sentinels() -> (Engines, Sentinels, String) {
    let engines = Engines::start_only(&[]).await;
    let sentinels = engines.start_sentinel().await;
    let addresses: Vec<String> = sentinels
        .sentinels
        .iter()
        .map(|url| host(url).to_owned())
        .collect();
    let url = named_by(&addresses, &sentinels);
    (engines, sentinels, url)
}

pub(crate) fn host(url: &str) -> &str {
    url.trim_start_matches("redis://")
}

pub(crate) fn named_by(addresses: &[String], sentinels: &Sentinels) -> String {
    format!(
        "redis-sentinel://{}/{}/0",
        addresses.join(","),
        sentinels.master_name
    )
}

async fn a_master_goes(away: impl AsyncFn(&Engines)) {
    let (engines, sentinels, url) = own_sentinels().await;
    let settings = settings(&url, "failover:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby", "attic"]).await;
    let asked = asks(&*one, "cellar", "whose turn?").await;
    let fence = granted(&*one, &asked).await;
    let before = one.post(&says("lobby", "ada", "before")).await;
    bob.hears("before").await;
    let mut replica = by_hand(&sentinels.first_replica).await;
    let mut length = cmd("XLEN");
    length.arg("failover:{lobby}:stream");
    eventually("the replica has it", async || {
        length.query_async::<u64>(&mut replica).await == Ok(1)
    })
    .await;

    away(&engines).await;
    let took = posts_again(&one, "after").await;
    println!("taken again after {took:?}");
    assert!(bob.gap("attic").await, "another server is behind it");
    assert!(bob.gap("lobby").await);
    let tail = two.tail("lobby", before.seq, 10).await.unwrap();
    assert!(tail.reaches_back);
    assert!(
        tail.messages
            .iter()
            .any(|message| message.message == "after")
    );
    one.post(&says("attic", "ada", "heard")).await;
    bob.hears("heard").await;
    // A turn outlasts the master that gave it.
    assert_eq!(granted(&*two, &asked).await, fence);
    let posted = posts(&*one, &asked, fence, "Still mine.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    // Whoever was connected to it as a replica was sent away.
    let mut master = by_hand(&sentinels.first_replica).await;
    let role: Vec<redis::Value> = cmd("ROLE").query_async(&mut master).await.unwrap();
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_master_was_killed() {
    a_master_goes(async |engines| engines.kill(Engine::SentinelMaster).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_master_froze() {
    a_master_goes(async |engines| engines.freeze(Engine::SentinelMaster).await).await;
}

/// Has the replica made the master, and returns once that is decided.
async fn fails_over(sentinels: &Sentinels) {
    let mut leader = by_hand(&sentinels.sentinels[0]).await;
    let ask = |what: &str| {
        let mut ask = cmd("SENTINEL");
        ask.arg(what).arg(&sentinels.master_name);
        ask
    };
    let new_port: u16 = sentinels
        .first_replica
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let _: String = ask("FAILOVER").query_async(&mut leader).await.unwrap();
    let where_is = ask("GET-MASTER-ADDR-BY-NAME");
    eventually("the failover is decided", async || {
        let (_, port): (String, u16) = where_is.query_async(&mut leader).await.unwrap();
        port == new_port
    })
    .await;
}

/// Nothing is wrong with the old master: it goes on taking messages for some eight seconds, and only the Sentinels say
/// that it is none any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_reaches_every_process_at_once() {
    let (_engines, sentinels, url) = own_sentinels().await;
    let settings = settings(&url, "planned:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut ears = [one.listen(&["lobby"]).await, two.listen(&["lobby"]).await];
    let before = one.post(&says("lobby", "ada", "before")).await;
    for heard in &mut ears {
        heard.hears("before").await;
    }
    fails_over(&sentinels).await;
    let since = Instant::now();
    for heard in &mut ears {
        assert!(heard.gap("lobby").await, "another server is behind it");
    }
    let took = since.elapsed();
    println!("all listen to the new master {took:?} after it was one");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let after = two.post(&says("lobby", "ada", "after")).await;
    assert_eq!(after.prev, before.seq);
    for heard in &mut ears {
        heard.hears("after").await;
    }
}

/// What the Sentinels publish gets lost, and nothing else does: nobody can tell from the subscription.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_which_nothing_is_heard_is_asked_for() {
    let (_engines, sentinels, _) = own_sentinels().await;
    let mut proxies = Vec::new();
    for sentinel in &sentinels.sentinels {
        proxies.push(Proxy::to(host(sentinel)).await);
    }
    let addresses: Vec<String> = proxies
        .iter()
        .map(|proxy| proxy.address.to_string())
        .collect();
    let live = connect(&settings(&named_by(&addresses, &sentinels), "unheard:")).await;
    let mut bob = live.listen(&["lobby"]).await;
    // Until it listens to all of them: each is asked for the master when it is found, and again by who listens.
    eventually("it listens", async || {
        proxies.iter().all(|proxy| proxy.accepted() >= 2)
    })
    .await;
    for proxy in &proxies {
        proxy.deafen();
    }
    fails_over(&sentinels).await;
    let since = Instant::now();
    assert!(bob.gap("lobby").await, "another server is behind it");
    assert!(
        since.elapsed() < Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
}

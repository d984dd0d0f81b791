//! What happens to one Redis, and that everything is well again soon after, without anybody's help.

use std::time::Duration;

use common::{
    live::{Appended, Live, LiveError, LiveEvent},
    wire::{Kind, Message, NewMessage},
};
use engines::redis::RedisLive;
use private_engines::{Engine, Engines};
use redis::{Client, aio::MultiplexedConnection, cmd};
use seam_suites::live::ears::Ears;
use seam_suites::live::side::{PATIENCE, Says, assert_linked, eventually, says};
use seam_suites::live::turns::{asks, granted, posts};
use tokio::time::Instant;

use crate::{
    proxy::Proxy,
    side::{connect, settings},
};

#[test]
fn a_prefix_that_cannot_be_used_is_refused_by_name_without_a_server() {
    let url = "redis://127.0.0.1:1";
    assert_eq!(settings(url, "chinwag:").check(), Ok(()));
    for prefix in ["chat{in}wag:", "}", "{"] {
        let refused = settings(url, prefix).check().unwrap_err();
        assert!(refused.contains("REDIS_PREFIX"), "{refused}");
    }
}

/// A Redis of the story's own.
pub(crate) async fn own_redis() -> Engines {
    Engines::start_only(&[Engine::Redis]).await
}

/// A connection of the story's own to a server.
pub(crate) async fn by_hand(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// Cuts every connection to a server but the one that says so.
pub(crate) async fn cut_connections(url: &str) {
    let mut redis = by_hand(url).await;
    for kind in ["normal", "pubsub"] {
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg(kind);
        let _: u64 = kill.query_async(&mut redis).await.unwrap();
    }
}

/// Posts until it works, and returns after how long it did.
pub(crate) async fn posts_again(live: &RedisLive, text: &str) -> Duration {
    let since = Instant::now();
    let message = says("lobby", "ada", text);
    eventually("messages are taken again", async || {
        live.append(&message, Some(0)).await.is_ok()
    })
    .await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_connections_were_cut() {
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "cut:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby"]).await;
    for round in 0..5 {
        let before = one.post(&says("lobby", "ada", "before")).await;
        bob.hears("before").await;
        cut_connections(engines.redis_url()).await;
        // What was said while nobody could hear it is found in the stream, once the gap is told.
        let unheard = format!("unheard {round}");
        posts_again(&one, &unheard).await;
        assert!(!bob.gap("lobby").await, "it is the same server");
        let missed = two.tail("lobby", before.seq, 10).await.unwrap();
        assert!(missed.reaches_back);
        assert_eq!(missed.messages[0].message, unheard);
        let after = one.post(&says("lobby", "ada", "after")).await;
        bob.hears("after").await;
        assert!(bob.waiting().is_empty(), "the gap is told once");
        assert!(after.prev > before.seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_flight_when_the_connection_was_cut_is_there_once() {
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "flight:");
    let live = connect(&settings).await;
    let since = Instant::now();
    let posting: Vec<_> = (0..20)
        .map(|number| {
            let live = live.clone();
            tokio::spawn(async move {
                for line in 0..50 {
                    let message = says("lobby", "ada", &format!("{number}: {line}"));
                    while live.append(&message, Some(0)).await.is_err() {
                        assert!(since.elapsed() < PATIENCE);
                    }
                }
            })
        })
        .collect();
    for _ in 0..10 {
        cut_connections(engines.redis_url()).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for posting in posting {
        posting.await.unwrap();
    }
    let tail = live.tail("lobby", 0, 10_000).await.unwrap();
    assert_eq!(tail.messages.len(), 1_000);
    assert_linked(&tail.messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_it_was_killed_and_came_back_with_its_data() {
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "killed:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby"]).await;
    let first = says("lobby", "ada", "first");
    let kept = one.post(&first).await;
    // Its append-only file is synced every second.
    let mut redis = by_hand(engines.redis_url()).await;
    let mut wait = cmd("BGREWRITEAOF");
    let _: String = wait.query_async(&mut redis).await.unwrap();
    wait = cmd("INFO");
    wait.arg("persistence");
    eventually("it is on disk", async || {
        let info: String = wait.query_async(&mut redis).await.unwrap();
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_last_bgrewrite_status:ok")
    })
    .await;
    engines.kill(Engine::Redis).await;

    let since = Instant::now();
    let answer = one.append(&says("lobby", "ada", "lost"), None).await;
    assert!(answer.is_err() && since.elapsed() < Duration::from_secs(3));
    assert!(one.ping().await.is_err());
    let since = Instant::now();
    assert!(two.signal(&stop()).await.is_err() && since.elapsed() < Duration::from_secs(3));
    // A room that cannot be subscribed is not subscribed later on.
    assert!(bob.subscriber.subscribe("attic").await.is_err());
    // One that was is.
    assert!(bob.subscriber.subscribe("lobby").await.is_ok());

    engines.start_engine(Engine::Redis).await;
    let took = posts_again(&one, "back").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let since = Instant::now();
    assert!(bob.gap("lobby").await, "its memory is another one");
    assert!(since.elapsed() < Duration::from_secs(5));
    eventually("the other process is back", async || {
        two.ping().await.is_ok()
    })
    .await;
    let again = two.append(&first, None).await.unwrap();
    assert_eq!(again, Appended::Known(kept));
    one.post(&says("attic", "ada", "unheard")).await;
    one.post(&says("lobby", "ada", "in the lobby")).await;
    loop {
        match bob.next().await {
            LiveEvent::Message { room, frame, .. } => {
                assert_eq!(&*room, "lobby");
                if String::from_utf8_lossy(&frame).contains("in the lobby") {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_it_came_back_empty() {
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "empty:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby"]).await;
    let mut asked = asks(&*one, "lobby", "whose turn?").await;
    let fence = granted(&*one, &asked).await;
    let before = one.post(&says("lobby", "ada", "before")).await;
    one.announce("one", "lobby", &["ada".into()]).await.unwrap();
    engines.wipe(Engine::Redis).await;
    engines.start_engine(Engine::Redis).await;

    assert!(bob.gap("lobby").await, "its memory is another one");
    let tail = two.tail("lobby", before.seq, 10).await.unwrap();
    assert_eq!((tail.reaches_back, tail.latest), (false, 0));
    let next = says("lobby", "ada", "after");
    assert_eq!(one.append(&next, None).await.unwrap(), Appended::Cold);
    let answer = one.append(&next, Some(before.seq)).await.unwrap();
    let Appended::New(after) = answer else {
        panic!("{answer:?}");
    };
    assert!(after.seq > before.seq && after.prev == before.seq);
    assert_eq!(bob.message().await, after);
    let tail = two.tail("lobby", before.seq, 10).await.unwrap();
    assert!(tail.reaches_back);
    let list = one.unsettled(10, "the server").await.unwrap();
    assert_eq!(list.len(), 1, "it was put on the list again: {list:?}");
    // Nobody has the turn there any more, until whoever had it renews it.
    assert_eq!(posts(&*one, &asked, fence, "Mine.").await, Appended::Fenced);
    asked.at_least = fence.number;
    assert_eq!(granted(&*one, &asked).await, fence);
    let posted = posts(&*one, &asked, fence, "Mine.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
}

/// Whatever a server has against writing at this moment, what is posted waits for it, and reading goes on.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_takes_no_writes_messages_wait_and_are_read() {
    let engines = own_redis().await;
    let live = connect(&settings(engines.redis_url(), "refuses:")).await;
    let first = live.post(&says("lobby", "ada", "first")).await;
    let mut redis = by_hand(engines.redis_url()).await;
    let mut set = async |name: &str, value: &str| {
        let mut set = cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        let _: String = set.query_async(&mut redis).await.unwrap();
    };
    for (name, refuses, takes) in [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")] {
        set(name, refuses).await;
        let message = says("lobby", "ada", name);
        let posting = {
            let live = live.clone();
            tokio::spawn(async move { live.append(&message, None).await })
        };
        let tail = live.tail("lobby", 0, 1).await.unwrap();
        assert_eq!(tail.messages, std::slice::from_ref(&first));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!posting.is_finished(), "{name}: it waits");
        set(name, takes).await;
        let posted = posting.await.unwrap().unwrap();
        assert!(matches!(posted, Appended::New(_)), "{name}: {posted:?}");
    }
    // And no longer than anything may take.
    set("min-replicas-to-write", "1").await;
    let since = Instant::now();
    let refused = live
        .append(&says("lobby", "ada", "refused"), None)
        .await
        .unwrap_err();
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("NOREPLICAS"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_scripts_were_flushed() {
    let engines = own_redis().await;
    let live = connect(&settings(engines.redis_url(), "flushed:")).await;
    let mut redis = by_hand(engines.redis_url()).await;
    for number in 0..3 {
        live.post(&says("lobby", "ada", &number.to_string())).await;
        let _: () = cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut redis)
            .await
            .unwrap();
        assert_eq!(
            live.announce("one", "lobby", &["ada".into()])
                .await
                .unwrap(),
            ["ada"]
        );
        let _: () = cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut redis)
            .await
            .unwrap();
    }
    let tail = live.tail("lobby", 0, 10).await.unwrap();
    assert_eq!(tail.messages.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_network_swallowed_its_connections() {
    let engines = own_redis().await;
    let proxy = Proxy::to(engines.redis_url().trim_start_matches("redis://")).await;
    let settings = settings(&format!("redis://{}", proxy.address), "swallowed:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby"]).await;
    one.post(&says("lobby", "ada", "before")).await;
    bob.hears("before").await;

    proxy.swallow();
    let since = Instant::now();
    let answer = one.append(&says("lobby", "ada", "swallowed"), None).await;
    assert!(answer.is_err() && since.elapsed() < Duration::from_secs(3));
    let took = posts_again(&one, "after").await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    bob.gap("lobby").await;
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    one.post(&says("lobby", "ada", "heard")).await;
    bob.hears("heard").await;
}

/// Commands are answered, pings too, and the server believes that it delivers: only the canary notices.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_line_has_gone_deaf() {
    let engines = own_redis().await;
    let proxy = Proxy::to(engines.redis_url().trim_start_matches("redis://")).await;
    let settings = settings(&format!("redis://{}", proxy.address), "deaf:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = two.listen(&["lobby"]).await;
    let before = one.post(&says("lobby", "ada", "before")).await;
    bob.hears("before").await;

    proxy.deafen();
    let unheard = one.post(&says("lobby", "ada", "unheard")).await;
    let since = Instant::now();
    bob.gap("lobby").await;
    assert!(since.elapsed() < Duration::from_secs(8));
    let missed = two.tail("lobby", before.seq, 10).await.unwrap();
    assert_eq!(missed.messages, [unheard]);
    one.post(&says("lobby", "ada", "heard")).await;
    bob.hears("heard").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crowd_of_rooms_was_cut_off() {
    const ROOMS: usize = 10_000;
    let engines = own_redis().await;
    let settings = settings(engines.redis_url(), "crowd:");
    let (one, two) = (connect(&settings).await, connect(&settings).await);
    let mut bob = Ears::open(&*two, 64, &[]).await;
    let since = Instant::now();
    let subscribing: Vec<_> = (0..50)
        .map(|first| {
            let subscriber = bob.subscriber.clone();
            tokio::spawn(async move {
                for number in (first..ROOMS).step_by(50) {
                    subscriber
                        .subscribe(&format!("room-{number}"))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for subscribing in subscribing {
        subscribing.await.unwrap();
    }
    println!("{ROOMS} rooms subscribed in {:?}", since.elapsed());

    let since = Instant::now();
    cut_connections(engines.redis_url()).await;
    let mut told = std::collections::HashSet::new();
    while told.len() < ROOMS {
        match bob.next().await {
            LiveEvent::Gap { room, .. } => assert!(told.insert(room), "told twice"),
            other => panic!("{other:?}"),
        }
    }
    let took = since.elapsed();
    println!("{ROOMS} rooms subscribed again in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    for number in [0, 4_711, ROOMS - 1] {
        let room = format!("room-{number}");
        let posted = one.post(&says(&room, "ada", "still there?")).await;
        assert_eq!(bob.message().await, posted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_is_said_to_be_so() {
    let engines = own_redis().await;
    let url = engines.redis_url().to_owned();
    engines.kill(Engine::Redis).await;
    let settings = settings(&url, "absent:");
    let since = Instant::now();
    assert!(RedisLive::connect(&settings).await.is_err());
    assert!(since.elapsed() < Duration::from_secs(15));
    for url in [
        "redis://",
        "http://localhost",
        "redis-sentinel://127.0.0.1:1",
    ] {
        let mut settings = settings.clone();
        settings.redis_url = url.to_owned().into();
        assert!(RedisLive::connect(&settings).await.is_err(), "{url}");
    }
    let mut settings = settings;
    settings.redis_prefix = "{tag}".into();
    assert!(RedisLive::connect(&settings).await.is_err());
}

/// For each deletion the room's stream is copied, and nobody is served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_deletes_much_of_a_full_room_waits_and_others_do_not() {
    let engines = own_redis().await;
    let live = connect(&settings(engines.redis_url(), "delete:")).await;
    let text = "much ".repeat(800);
    let mut said = Vec::new();
    for _ in 0..1_000 {
        said.push(live.post(&says("lobby", "ada", &text)).await);
    }
    let little = live.post(&says("attic", "ada", "little")).await;
    let deletion = |of: &Message| NewMessage {
        kind: Kind::Deleted,
        message: String::new(),
        of: Some(of.id),
        ..says(&of.room, "ada", "")
    };
    let mut refused = None;
    for message in &said[..100] {
        match live.append(&deletion(message), None).await.unwrap() {
            Appended::New(_) => {}
            Appended::TooSoon(wait) => {
                refused = Some((deletion(message), wait));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let (refused, wait) = refused.expect("a hundred at once are too many");
    assert!(
        wait > Duration::ZERO && wait < Duration::from_secs(10),
        "{wait:?}"
    );
    // Who talks there is not held up, nor who deletes elsewhere.
    live.post(&says("lobby", "bob", "hello")).await;
    live.post(&deletion(&little)).await;
    tokio::time::sleep(wait).await;
    live.post(&refused).await;
}

fn stop() -> common::live::Signal {
    common::live::Signal::Room {
        room: "lobby".into(),
        frame: "{}".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_message_is_not_ready_and_says_why_in_its_own_words() {
    let engines = own_redis().await;
    let url = engines.redis_url();
    let mut redis = by_hand(url).await;
    let acl = "SETUSER chat on >right resetchannels &ready:* ~ready:* +@all";
    let mut told = async |command: &str, arguments: &str| {
        let mut command = cmd(command);
        command.arg(arguments.split(' ').collect::<Vec<_>>());
        command.query_async::<()>(&mut redis).await.unwrap();
    };
    told("ACL", acl).await;
    let url = url.replace("redis://", "redis://chat:right@");
    let live = connect(&settings(&url, "ready:")).await;
    live.ping().await.unwrap();

    let says_why = async |words: &str| {
        let message = says("lobby", "ada", "hi");
        eventually(&format!("{words} is told"), async || {
            let [ready, posted] = [
                live.ping().await.err(),
                live.append(&message, Some(0)).await.err(),
            ];
            let says = |error: &Option<LiveError>| {
                let said = error.as_ref().map(ToString::to_string).unwrap_or_default();
                said.contains("Redis (REDIS_URL)") && said.matches(words).count() == 1
            };
            says(&ready) && says(&posted)
        })
        .await;
    };
    let is_well = async || eventually("it is ready", async || live.ping().await.is_ok()).await;
    told("CONFIG", "SET maxmemory-policy noeviction maxmemory 1").await;
    says_why("maxmemory").await;
    eventually_says(&live, &["OOM"]).await;
    told("CONFIG", "SET maxmemory 0").await;
    is_well().await;
    // A command that an append needs, the keys, the channels.
    for (takes, gives) in [
        ("SETUSER chat -xadd", "SETUSER chat +xadd"),
        ("SETUSER chat resetkeys ~other:*", "SETUSER chat ~ready:*"),
        ("SETUSER chat resetchannels", "SETUSER chat &ready:*"),
    ] {
        told("ACL", takes).await;
        // In the words of Redis 7, of Redis 8, and of Valkey.
        let refused = [
            "The user executing the script",
            "NOPERM",
            "ACL failure in script",
        ];
        eventually_says(&live, &refused).await;
        told("ACL", gives).await;
        is_well().await;
    }
    told("REPLICAOF", "127.0.0.1 1").await;
    eventually_says(&live, &["READONLY"]).await;
    told("REPLICAOF", "NO ONE").await;
    is_well().await;
    // The password is changed: a connection that is there goes on, a new one is refused.
    told("ACL", "SETUSER chat resetpass >changed").await;
    told("CLIENT", "KILL USER chat").await;
    eventually_says(&live, &["WRONGPASS"]).await;
    told("ACL", "SETUSER chat >right").await;
    is_well().await;
}

/// That it is not ready, and says so in one of these words of Redis.
async fn eventually_says(live: &RedisLive, words: &[&str]) {
    eventually(&format!("it says {words:?}"), async || {
        let why = live
            .ping()
            .await
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        why.contains("Redis (REDIS_URL)") && words.iter().any(|word| why.contains(word))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dangerous_about_a_server_is_seen_by_whoever_may_ask() {
    let engines = Engines::start_only(&[Engine::Redis]).await;
    let url = engines.redis_url();
    let mut redis = by_hand(url).await;
    let mut told = async |name: &str, words: &str| {
        let mut command = cmd(name);
        for word in words.split(' ') {
            command.arg(word);
        }
        let answer: String = command.query_async(&mut redis).await.unwrap();
        assert_eq!(answer, "OK", "{words}");
    };
    let live = connect(&settings(url, "seen:")).await;
    assert_eq!(live.dangers().await, [""; 0]);
    told(
        "CONFIG",
        "SET appendonly no maxmemory 1gb maxmemory-policy allkeys-lru",
    )
    .await;
    let dangers = live.dangers().await;
    assert_eq!(dangers.len(), 2, "{dangers:?}");
    assert!(dangers[0].contains("appendonly yes"), "{dangers:?}");
    assert!(dangers[1].contains("allkeys-lru"), "{dangers:?}");
    // Without the right to ask, nothing is known, and nothing is said.
    told("ACL", "SETUSER default -info -time").await;
    assert_eq!(live.dangers().await, [""; 0]);
}

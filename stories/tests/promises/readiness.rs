//! Ready means that a process can serve: one of several masters that is gone takes nobody out of a load balancer, and is
//! told; an engine that is gone as a whole does.

use std::time::Duration;

use private_engines::Engine;
use stories::{Chat, PATIENCE, Process, RedisSetup, Setup, until};
use tokio::time::{Instant, sleep};

/// Longer than an engine may be gone before a process is not ready any more, and than a look takes.
const LONG: Duration = Duration::from_secs(8);

/// Every process of a Chinwag that uses Redis.
fn on_redis(chat: &Chat) -> Vec<&Process> {
    chat.edges.iter().chain(&chat.workers).collect()
}

async fn says(process: &Process, condition: &str) {
    let what = format!("{} says `{condition}`", process.name());
    until(&what, PATIENCE, async || {
        let (_, told) = process.readiness_details().await?;
        told.contains(condition).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_masters_away_is_told_and_takes_nobody_out_of_a_load_balancer() {
    let chat = Chat::with(Setup {
        edges: 2,
        redis: RedisSetup::Cluster,
        ..Setup::default()
    })
    .await;
    let (status, told) = chat.edges[0].readiness_details().await.expect("it answers");
    assert_eq!(
        (status, told.lines().next()),
        (200, Some("ready")),
        "{told}"
    );
    says(&chat.edges[0], "live: well\nqueue: well\nstore: well").await;

    chat.redis().kill(Engine::Cluster(2)).await;
    let killed = Instant::now();
    while killed.elapsed() < LONG {
        for process in on_redis(&chat) {
            assert_eq!(process.obstacles().await, Some((200, "ready\n".into())));
        }
        sleep(Duration::from_millis(100)).await;
    }
    for process in on_redis(&chat) {
        says(process, "live: degraded: 2 of 3 Redis masters").await;
        assert!(process.metric("chinwag_engine_degraded").await >= 1.0);
        assert!(process.log().contains("an engine is degraded"));
    }

    chat.redis().start_engine(Engine::Cluster(2)).await;
    for process in on_redis(&chat) {
        says(process, "live: well").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_gone_as_a_whole_makes_those_unready_that_need_it_until_it_is_back() {
    let chat = Chat::with(Setup {
        own_engines: true,
        ..Setup::default()
    })
    .await;
    chat.engines().kill(Engine::Redis).await;
    for process in on_redis(&chat) {
        let what = format!("{} is not ready", process.name());
        until(&what, PATIENCE, async || {
            let (status, why) = process.obstacles().await?;
            (status == 503 && why.starts_with("live: ") && why.contains("Redis (REDIS_URL)"))
                .then_some(())
        })
        .await;
        says(process, "not ready\nlive: gone").await;
    }
    // What does without Redis goes on.
    assert_eq!(chat.persisters[0].readiness().await, Some(200));
    chat.engines().start_engine(Engine::Redis).await;
    for process in on_redis(&chat) {
        process.ready().await;
        says(process, "live: well").await;
    }
}

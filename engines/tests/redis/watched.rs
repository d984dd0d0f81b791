//! None of the tasks that keep Redis connected may end unnoticed.

use std::time::Duration;

use private_engines::Engines;
use seam_suites::{live::LiveUnderTest, watched::any_task_ends_the_process};

use crate::{
    sentinel_faults::{host, named_by},
    side::{Deployed, connect, settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_any_task_ends_the_process() {
    let tasks = [
        "Redis connection",
        "Redis subscriber",
        "Redis subscriptions",
        "Redis topology",
        "Redis writes",
        "live outlet",
    ];
    any_task_ends_the_process(&tasks, async || {
        let [live, _] = Deployed::Alone.open(Duration::from_secs(3_600)).await;
        let listening = live.subscriber(16);
        (live, listening)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_that_of_those_that_listen_to_sentinels() {
    let engines = Engines::shared().await;
    let sentinels = engines.start_sentinel().await;
    // One will do: they are all alike.
    let address = host(&sentinels.sentinels[0]).to_owned();
    let settings = settings(&named_by(&[address], &sentinels), &engines.fresh_prefix());
    let tasks = [
        "Redis Sentinel",
        "Redis connection",
        "Redis topology",
        "Redis writes",
    ];
    any_task_ends_the_process(&tasks, async || connect(&settings).await).await;
}

//! None of the tasks that keep Redis connected may end unnoticed.

use std::time::Duration;

use seam_suites::{live::LiveUnderTest, watched::any_task_ends_the_process};

use crate::side::Deployed;

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

//! A side of the seam whose tasks end before their time takes its process along, with the reason.

use std::{collections::BTreeSet, time::Duration};

use common::supervise::Supervisor;
use tokio::time::{sleep, timeout};

use crate::side::{Kind, PATIENCE, Side};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_any_task_of_the_embedded_side_ends_the_process() {
    end_the_process(Kind::Embedded, &["live outlet"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_any_task_of_redis_ends_the_process() {
    let tasks = [
        "Redis connection",
        "Redis subscriber",
        "Redis subscriptions",
        "Redis topology",
        "Redis writes",
        "live outlet",
    ];
    end_the_process(Kind::Redis, &tasks).await;
}

/// On this side exactly these tasks run, and each that is ended ends the process.
async fn end_the_process(kind: Kind, tasks: &[&'static str]) {
    let expected: BTreeSet<_> = tasks.iter().copied().collect();
    for task in tasks {
        let supervisor = Supervisor::default();
        let stop = supervisor.stop();
        let process = supervisor.run(async {
            let side = Side::fresh(kind).await;
            let _listening = side.one.subscriber(16);
            let running = || BTreeSet::from_iter(supervisor.tasks());
            let all_run = async {
                while running() != expected {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            assert!(timeout(PATIENCE, all_run).await.is_ok(), "{:?}", running());
            supervisor.abort(task);
            stop.cancelled().await;
            Ok(())
        });
        let ended = timeout(2 * PATIENCE, process).await.expect(task);
        let why = ended.expect_err(task).to_string();
        assert!(why.contains(&format!("`{task}` ended before")), "{why}");
    }
}

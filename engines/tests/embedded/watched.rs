//! None of the tasks of the engines inside one process may end unnoticed.

use std::time::Duration;

use seam_suites::{live::LiveUnderTest, queue::QueueUnderTest, watched::any_task_ends_the_process};

use crate::{Folder, Here};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_any_task_ends_the_process() {
    any_task_ends_the_process(&["embedded queue", "live outlet"], async || {
        let folder = Folder::fresh();
        let queue = QueueUnderTest::open(&folder).await;
        let [live, _] = LiveUnderTest::open(&Here, Duration::from_secs(3_600)).await;
        let listening = live.subscriber(16);
        (folder, queue, live, listening)
    })
    .await;
}

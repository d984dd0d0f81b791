//! An engine whose tasks end before their time takes its process along, with the reason.

use std::{collections::BTreeSet, time::Duration};

use common::supervise::Supervisor;
use tokio::time::{sleep, timeout};

/// How long tasks may take to start, and a process to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// While an engine is open exactly these tasks run, and each that is ended ends the process. What `open` returns keeps
/// the engine open.
pub async fn any_task_ends_the_process<T>(tasks: &[&'static str], open: impl AsyncFn() -> T) {
    let expected: BTreeSet<_> = tasks.iter().copied().collect();
    for task in tasks {
        let supervisor = Supervisor::default();
        let stop = supervisor.stop();
        let process = supervisor.run(async {
            let _engine = open().await;
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

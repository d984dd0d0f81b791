//! Every scenario once, for some seconds, against the all-in-one: the ledger is looked at, not the speed.

use std::{process::Stdio, time::Duration};

use stories::Chat;
use tokio::{process::Command, time::timeout};

/// Everyone a tenth as long at everything as people are.
const PACE: &str = "0.1";

/// Ten seconds of load, and all that a busy machine needs around them.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_full_of_people_come_and_go_and_every_promise_is_kept() {
    let chat = Chat::all_in_one().await;
    let host = chat.url(0);
    let run = || {
        let mut load = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        load.args(["--host", &host, "--users", "10", "--increase-rate", "5"])
            .args(["--run-time", "10s", "--no-reset-metrics"])
            .env("LOADTEST_PACE", PACE)
            .env("LOADTEST_ROOM_SIZE", "5")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        async move {
            let ended = timeout(ENDS_WITHIN, load.output()).await;
            ended.expect("it ends in time").expect("it was built")
        }
    };
    let (one, other) = tokio::join!(run(), run());
    for output in [one, other] {
        let said = String::from_utf8_lossy(&output.stdout);
        let all = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{all}");
        assert!(said.contains("every promise was kept"), "{all}");
        // Each scenario has left its rows in goose's report.
        for row in [
            "WS ack",
            "WS delivery",
            "WS bot reply",
            "WS resume",
            "the page",
            "the history",
        ] {
            assert!(said.contains(row), "no row {row:?}: {all}");
        }
    }
}

//! Telling every process of what a call has changed.

use std::{sync::Arc, time::Duration};

use common::live::{Control, Signal};
use tokio::time::Instant;

use super::Http;

/// How long a call waits for other processes to be told of a change; the telling goes on behind it.
const TELL_PATIENCE: Duration = Duration::from_secs(1);

/// How long other processes are tried to be told. Later they find out by asking again what they remember.
const TELL_TRIES: Duration = Duration::from_secs(60);

impl Http {
    /// Acts on what every process is told: here first, then everywhere. Waits only a moment for the live engine; if it
    /// is away, the telling goes on for a while behind the call.
    pub(super) async fn tell(&self, control: Control) {
        self.sockets.handle_control(&control);
        let services = Arc::clone(&self.services);
        let told = self.behind.spawn(async move {
            let signal = Signal::Control(control);
            let give_up_at = Instant::now() + TELL_TRIES;
            let mut pause = Duration::from_millis(100);
            while let Err(error) = services.live.signal(&signal).await {
                if Instant::now() + pause > give_up_at {
                    tracing::warn!(%error, ?signal, "other processes were not told");
                    return;
                }
                tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        });
        // Late is no error: it goes on.
        drop(tokio::time::timeout(TELL_PATIENCE, told).await);
    }
}

//! Telling every process of what a call has changed.

use std::{sync::Arc, time::Duration};

use common::{
    live::{Control, Signal},
    retry::{RetryPolicy, retry},
};

use super::Http;

/// How long a call waits for other processes to be told of a change; the telling goes on behind it.
const TELL_PATIENCE: Duration = Duration::from_secs(1);

/// When and for how long it is tried again to tell other processes. Later they find out by asking again what they
/// remember.
const TELL_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(5))
        .within(Duration::from_secs(60));

impl Http {
    /// Acts on what every process is told: here first, then everywhere. Waits only a moment for the live engine; if it
    /// is away, the telling goes on for a while behind the call.
    pub(super) async fn tell(&self, control: Control) {
        self.sockets.handle_control(&control);
        self.announce(control).await;
    }

    /// What every process is told, this one too: for what must be acted on once.
    pub(super) async fn announce(&self, control: Control) {
        let services = Arc::clone(&self.services);
        let told = self.behind.spawn(async move {
            let signal = Signal::Control(control);
            let tell = || services.live.signal(&signal);
            if let Err(error) = retry(TELL_AGAIN, tell, |_, _| ()).await {
                tracing::warn!(%error, ?signal, "other processes were not told");
            }
        });
        // Late is no error: it goes on.
        drop(tokio::time::timeout(TELL_PATIENCE, told).await);
    }
}

//! Lines of the log that an outage or a flood repeats for each message, call or connection: a few of a kind are written,
//! and then how many more there were. So the line that tells the cause can be found, and nobody who makes us complain
//! fills the disk. One place for all of them, libraries' too: whoever writes a line need not think of how often that may
//! happen.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::layer::{Context, Layer};

/// The most lines of a kind, that is, from one place in a program, within [`WINDOW`].
const LINES_MAX: u64 = 3;

/// After so long it is told how many were left out. While it goes on none is written, and that is told after twice as
/// long each time, up to the longest.
const WINDOW: Duration = Duration::from_secs(10);
const WINDOW_LONGEST: Duration = Duration::from_secs(60);

/// How much of a line's words is told along with how many more there were.
const WORDS_MAX_BYTES: usize = 200;

/// A line with this name (`tracing::warn!(name: EACH_LINE, …)`) is always written: tools count it, and it has a limit of
/// its own.
pub const EACH_LINE: &str = "each line";

/// The part of a log that leaves lines out. Warnings and errors alone: what goes well is told as it is.
#[derive(Clone, Default)]
pub struct RepeatedLines {
    kinds: Arc<Mutex<HashMap<(Identifier, String), Kind>>>,
}

/// Lines from one place in a program, and of one library.
struct Kind {
    began: Instant,
    window: Duration,
    lines: u64,
    /// The words of the first that was left out.
    words: String,
}

impl RepeatedLines {
    /// Tells how many lines were left out lately. A kind that was silent for long enough is written again. Called on a
    /// timer.
    pub fn tell(&self) {
        self.tell_at(Instant::now());
    }

    fn tell_at(&self, now: Instant) {
        let mut over = Vec::new();
        self.kinds.lock().retain(|_, kind| {
            if now - kind.began < kind.window {
                return true;
            }
            let left_out = kind.lines.saturating_sub(LINES_MAX);
            if left_out == 0 {
                return false;
            }
            over.push((left_out, std::mem::take(&mut kind.words)));
            kind.began = now;
            kind.window = (2 * kind.window).min(WINDOW_LONGEST);
            kind.lines = LINES_MAX;
            true
        });
        for (left_out, words) in over {
            tracing::warn!(name: EACH_LINE, left_out, "so many more lines like this: {words}");
        }
    }

    /// Starts telling, for as long as the process lives.
    ///
    /// # Panics
    /// If the system has no thread left for it.
    pub(crate) fn tell_regularly(&self) {
        let lines = self.clone();
        let tell = move || {
            loop {
                std::thread::sleep(WINDOW);
                lines.tell();
            }
        };
        let thread = std::thread::Builder::new().name("repeated lines".to_owned());
        thread
            .spawn(tell)
            .expect("a process begins with threads to spare");
    }

    fn is_written(&self, event: &Event<'_>, now: Instant) -> bool {
        let line = event.metadata();
        if *line.level() > Level::WARN || line.name() == EACH_LINE {
            return true;
        }
        let mut kinds = self.kinds.lock();
        let kind = kinds
            .entry((line.callsite(), library(event)))
            .or_insert_with(|| Kind {
                began: now,
                window: WINDOW,
                lines: 0,
                words: String::new(),
            });
        kind.lines += 1;
        if kind.lines == LINES_MAX + 1 {
            event.record(&mut Words(&mut kind.words));
        }
        kind.lines <= LINES_MAX
    }
}

impl<S: Subscriber> Layer<S> for RepeatedLines {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.is_written(event, Instant::now())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }
}

/// Which library's line it is, of those that write by the crate `log`: all of them by way of one place a level.
fn library(event: &Event<'_>) -> String {
    struct Target(String);
    impl Visit for Target {
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "log.target" {
                value.clone_into(&mut self.0);
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
    }
    let mut target = Target(String::new());
    if event.metadata().target() == "log" {
        event.record(&mut target);
    }
    target.0
}

/// Writes a line's own words down, and the cause that it names: that may be another one by now.
struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if ["message", "error", "why"].contains(&field.name()) {
            if !self.0.is_empty() {
                self.0.push_str(": ");
            }
            self.0.push_str(&format!("{value:?}"));
            let most = (0..=WORDS_MAX_BYTES).rev();
            let end = most.into_iter().find(|end| self.0.is_char_boundary(*end));
            self.0.truncate(end.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn count(&self, words: &str) -> usize {
            let log = String::from_utf8(self.0.lock().clone()).unwrap();
            log.lines().filter(|line| line.contains(words)).count()
        }
    }

    #[test]
    fn an_outage_is_a_few_lines_and_the_number_of_the_others() {
        let (log, lines) = (Log::default(), RepeatedLines::default());
        let writer = log.clone();
        let written = tracing_subscriber::fmt::layer().with_ansi(false);
        let subscriber = tracing_subscriber::registry()
            .with(written.with_writer(move || writer.clone()))
            .with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            let fails = |n| tracing::warn!(n, "a message is not kept");
            (0..1_000).for_each(fails);
            tracing::error!("something else");
            (0..1_000).for_each(|n| tracing::info!(n, "it works"));
            (0..1_000).for_each(|n| tracing::warn!(name: EACH_LINE, n, "a log-in failed"));
            assert_eq!(log.count("a message is not kept"), 3);
            lines.tell();
            assert_eq!(log.count("so many more"), 0, "it goes on");
            lines.tell_at(Instant::now() + WINDOW);
            assert_eq!(log.count("left_out=997"), 1);
            assert_eq!(
                log.count("so many more lines like this: a message is not kept"),
                1
            );
            fails(1_000);
            assert_eq!(log.count("a message is not kept"), 4, "it still goes on");
            lines.tell_at(Instant::now() + 3 * WINDOW);
            assert_eq!(log.count("left_out=1"), 1);
            lines.tell_at(Instant::now() + 7 * WINDOW);
            fails(1_001);
            assert_eq!(
                log.count("a message is not kept"),
                6,
                "that is another outage"
            );
        });
        assert_eq!(log.count("something else"), 1);
        assert_eq!(log.count("it works"), 1_000);
        assert_eq!(log.count("a log-in failed"), 1_000);
    }
}

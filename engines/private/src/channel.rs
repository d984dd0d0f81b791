//! Commands to a set, from any process: a line `ID COMMAND` into the set's FIFO, the answer in the file `answers/ID`.
//! An answer that nobody waits for any more (a test that was cancelled) is not mistaken for the next one's.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::unique_name;

/// Longer than the script itself waits for any engine, and long enough for the commands of other tests before it.
const ANSWER_LIMIT: Duration = Duration::from_secs(240);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

#[derive(Debug, Clone)]
pub(crate) struct Channel {
    control: PathBuf,
}

impl Channel {
    pub(crate) fn new(control: PathBuf) -> Channel {
        Channel { control }
    }

    /// Blocks until the answer is there. `Ok` is what follows `ok`, `Err` says what went wrong.
    pub(crate) fn ask(&self, command: &str) -> Result<String, String> {
        let id = unique_name();
        let answer = self.control.with_file_name("answers").join(&id);
        // For reading too: opening a FIFO only for writing would wait for ever if its reader has just died.
        let mut fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.control)
            .map_err(|error| {
                format!("the engines are gone ({}: {error})", self.control.display())
            })?;
        // One write of less than a page reaches the reader in one piece, whoever else writes.
        fifo.write_all(format!("{id} {command}\n").as_bytes())
            .map_err(|error| error.to_string())?;
        let asked = Instant::now();
        loop {
            // The line is whole when its end is there.
            if let Some(line) = fs::read_to_string(&answer)
                .ok()
                .as_deref()
                .and_then(|text| text.strip_suffix('\n'))
            {
                // The folder goes away with the set in any case.
                let _ = fs::remove_file(&answer);
                return match line.split_once(' ').unwrap_or((line, "")) {
                    ("ok", rest) => Ok(rest.to_owned()),
                    (_, rest) => Err(rest.to_owned()),
                };
            }
            if !self.control.exists() {
                return Err("the engines ended".to_owned());
            }
            if asked.elapsed() > ANSWER_LIMIT {
                return Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs()));
            }
            sleep(LOOK_AGAIN_AFTER);
        }
    }
}

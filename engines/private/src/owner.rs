//! Owning a set: this process holds the writing end of the pipe that is the script's standard input, and when that
//! closes the script takes everything down. The pipe is closed by the kernel even if this process is killed, and it is
//! not inherited by other processes that a test starts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

#[derive(Debug)]
pub(crate) struct Owner {
    script: Child,
    /// `None` only while it is dropped.
    lifeline: Option<ChildStdin>,
    /// The script would die of writing to a closed pipe.
    _output: BufReader<ChildStdout>,
}

impl Owner {
    /// Starts the script with the named engines (separated by commas) and whatever else, and waits for its `ready` line.
    pub(crate) fn start(only: &str, options: &[&str]) -> (Owner, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines.sh");
        let mut script = Command::new("bash")
            .arg(script)
            .args(["serve", "--only", only])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts the engines");
        let lifeline = script.stdin.take();
        let mut output = BufReader::new(script.stdout.take().expect("its output is a pipe"));
        let mut ready = String::new();
        let read = output.read_line(&mut ready);
        let owner = Owner {
            script,
            lifeline,
            _output: output,
        };
        match read {
            Ok(_) if ready.starts_with("ready ") => (owner, ready),
            Ok(_) => panic!("the engines did not start: {}", ready.trim_end()),
            Err(error) => panic!("the engines did not start: {error}"),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // Nothing to do about an error: the guard of the set sees the end of the script, too.
        let _ = self.script.wait();
    }
}

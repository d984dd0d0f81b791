//! Instructions of the hot paths, counted by callgrind: what a change did to them shows to a few per cent, however busy
//! the machine is.
//!
//! An edge with one worker thread runs under valgrind and does one thing at a time: the next is said when everyone has
//! heard what was said before. What the kernel does is not counted.

use std::{
    cell::Cell,
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{Bench, Corner, TEXT};
use crate::{
    client::{self, Socket, masked},
    processes::{self, Process},
    report,
};

/// Everything is counted so often, and the least is taken: what comes in between only adds.
const PARTS: usize = 5;

/// Messages that are sent with nobody else in the room, one at a time.
const SENDS: usize = 100;

/// Sockets that hear what is said, beside the first, whose deliveries hold what is done once for all of them.
const RECEIVERS: usize = 100;

/// How often something is said to them, for each count of messages that come at once.
const TIMES: [(usize, usize); 2] = [(1, 20), (32, 4)];

/// With fewer instructions a second nothing goes on but timers.
const QUIET: f64 = 1_000_000.0;

/// A count is worse when it is higher than the baseline by more than this part of it. Between runs of the same program
/// they differ by 0.03 at most.
const WORSE: f64 = 0.05;

/// How long anything may take before it will not come. Under valgrind everything takes some fifty times as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The dearest functions that are shown of each path.
const DEAREST: usize = 10;

/// Where the baseline is kept, and its place in the page.
const BASELINE: &str = "instructions.json";
const BEGIN: &str = "<!-- written by `bench instructions --accept` from here -->";

/// Counts, compares with the baseline, and fails if something is worse. With `accept`, what was counted is the
/// baseline from now on.
pub(crate) async fn instructions(accept: bool) -> ExitCode {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not here; it is in the Debian package `valgrind`");
        return ExitCode::FAILURE;
    }
    let counted = Bench::start(1).await.count().await;
    let baseline = report::read(BASELINE);
    let (mut is_worse, mut kept) = (false, json!({}));
    let mut table = String::from("\n| path | instructions |\n|---|---|\n");
    for (name, profile) in &counted {
        let count = profile.total();
        kept[name] = json!(count.round());
        table += &format!("| {name} | {} |\n", report::number(count));
        let verdict = match baseline[name].as_f64() {
            None => "there is no baseline".to_owned(),
            Some(before) => {
                let change = count / before - 1.0;
                is_worse |= change > WORSE;
                let verdict = if change > WORSE { ": WORSE" } else { "" };
                let before = report::number(before);
                format!("baseline {before}, {:+.1} %{verdict}", change * 100.0)
            }
        };
        println!(
            "\n{name}: {} instructions; {verdict}",
            report::number(count)
        );
        profile.print();
    }
    if accept {
        report::keep(BASELINE, &kept, BEGIN, &table);
        return ExitCode::SUCCESS;
    }
    if is_worse {
        println!(
            "\nWorse than the baseline; if that is as it is to be: bench instructions --accept"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Bench {
    /// Everything that is counted, by name.
    async fn count(&self) -> Vec<(String, Profile)> {
        let (corner, _persister) = self.kept_corner().await;
        let rooms = corner.rooms(3, "off").await;
        let counted = Counted::start(&corner).await;

        let mut sender = join(&counted.edge, &corner, &rooms[0]).await;
        let sends = counted.least(async || say_alone(&mut sender, SENDS).await);
        let send = sends.await.per(SENDS);
        let mut found = vec![("one send, nobody else in the room".to_owned(), send)];

        let mut audiences = Vec::new();
        for (room, size) in [(&rooms[1], 1), (&rooms[2], 1 + RECEIVERS)] {
            let speaker = join(&corner.edge, &corner, room).await;
            let mut receivers = Vec::new();
            for _ in 0..size {
                receivers.push(join(&counted.edge, &corner, room).await);
            }
            audiences.push((speaker, receivers));
        }
        for (at_once, times) in TIMES {
            let mut profiles = Vec::new();
            for (speaker, receivers) in &mut audiences {
                let heard =
                    counted.least(async || counted.hears(speaker, receivers, at_once, times).await);
                profiles.push(heard.await);
            }
            let all = profiles.pop().expect("two");
            let delivery = all.without(&profiles[0]).per(RECEIVERS * at_once * times);
            let name = match at_once {
                1 => "one delivery, of a message that comes alone".to_owned(),
                _ => format!("one delivery, of {at_once} messages that come at once"),
            };
            found.push((name, delivery));
        }
        found
    }
}

/// An edge under callgrind.
struct Counted {
    edge: Process,
    folder: TempDir,
    dumps: Cell<usize>,
}

impl Counted {
    async fn start(corner: &Corner) -> Counted {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let out = format!("--callgrind-out-file={}", out.display());
        let edge = processes::path("ws-edge");
        let arguments = [
            "--tool=callgrind",
            "--quiet",
            "--dump-line=no",
            "--compress-strings=no",
            "--compress-pos=no",
            &out,
            edge.to_str().expect("a path that is text"),
        ];
        let mut environment = corner.environment.clone();
        let path = std::env::var("PATH").unwrap_or_default();
        environment.push(("PATH".into(), path));
        // With two, which of them does what is chance.
        environment.push(("TOKIO_WORKER_THREADS".into(), "1".into()));
        // Filling and copying by one instruction that repeats would count each byte.
        let tunables = "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";
        environment.push(("GLIBC_TUNABLES".into(), tunables.into()));
        let counted = Counted {
            edge: Process::run(Path::new("valgrind"), &arguments, &environment),
            folder,
            dumps: Cell::new(0),
        };
        counted.edge.ready().await;
        counted
    }

    /// What it did since it was asked last.
    fn take(&self) -> Profile {
        let id = self.edge.id().to_string();
        let mut ask = Command::new("callgrind_control");
        let asked = ask.args(["--dump", &id]).output();
        let asked = asked.expect("it comes with valgrind");
        assert!(asked.status.success(), "callgrind_control: {asked:?}");
        self.dumps.set(self.dumps.get() + 1);
        let file = self.folder.path().join(format!("out.{}", self.dumps.get()));
        Profile::read(&fs::read_to_string(file).expect("callgrind wrote it"))
    }

    /// What it does while that goes on, when it has come to rest and is warm.
    async fn least(&self, mut load: impl AsyncFnMut()) -> Profile {
        load().await;
        self.settle().await;
        let mut parts = Vec::new();
        for _ in 0..PARTS {
            load().await;
            parts.push(self.take());
        }
        let least = parts
            .into_iter()
            .min_by(|one, other| one.total().total_cmp(&other.total()));
        least.expect("there are some")
    }

    /// Waits until it does nothing any more.
    async fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.take();
            sleep(Duration::from_secs(1)).await;
            if self.take().total() < QUIET {
                return;
            }
            assert!(Instant::now() < until, "the edge does not come to rest");
        }
    }

    /// So many messages come to a room at once, so often: they are said at another edge while this one stands still.
    async fn hears(
        &self,
        speaker: &mut Socket,
        receivers: &mut [Socket],
        at_once: usize,
        times: usize,
    ) {
        let frames = masked(&client::message(TEXT)).repeat(at_once);
        for _ in 0..times {
            self.signal("-STOP");
            speaker.write(&frames).await.expect("the socket is open");
            hear(speaker, at_once, at_once).await;
            self.signal("-CONT");
            for receiver in &mut *receivers {
                hear(receiver, 0, at_once).await;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.edge.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

/// Into a room, as the first of all users.
async fn join(edge: &Process, corner: &Corner, room: &str) -> Socket {
    let path = format!("/ws/chat/{room}");
    let socket = Socket::connect(edge.listen, &corner.sessions[0], &path).await;
    let mut socket = socket.expect("the socket is let in");
    socket.wait_for("joined").await.expect("the room is open");
    socket
}

/// One message after the other: the next when this one is acked and heard.
async fn say_alone(sender: &mut Socket, times: usize) {
    let frame = masked(&client::message(TEXT));
    for _ in 0..times {
        sender.write(&frame).await.expect("the socket is open");
        hear(sender, 1, 1).await;
    }
}

/// Reads until so many acks and messages have come.
async fn hear(socket: &mut Socket, acks: usize, messages: usize) {
    let mut heard = (0, 0);
    let hearing = async {
        while heard != (acks, messages) {
            let read = socket.read(|text| match text.get(9) {
                Some(b'a') => heard.0 += 1,
                Some(b'm') => heard.1 += 1,
                Some(b'e') => panic!("refused: {}", String::from_utf8_lossy(text)),
                _ => {}
            });
            read.await.expect("the socket is open");
        }
    };
    let in_time = timeout(PATIENCE, hearing).await;
    in_time.expect("what was said is heard");
}

/// Instructions by function, without those of the functions that it calls.
#[derive(Default)]
struct Profile(HashMap<String, f64>);

impl Profile {
    /// Reads what callgrind wrote, with names and places in full.
    fn read(text: &str) -> Profile {
        let (mut profile, mut function, mut is_called) = (Profile::default(), "", false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = name;
            } else if line.starts_with("calls=") {
                // The next line is what was called cost, which is counted where it is.
                is_called = true;
            } else if line.starts_with(|first: char| first.is_ascii_digit())
                && !std::mem::take(&mut is_called)
            {
                let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
                *profile.0.entry(function.to_owned()).or_default() += count.unwrap_or(0.0);
            }
        }
        profile
    }

    fn total(&self) -> f64 {
        self.0.values().sum()
    }

    fn per(mut self, things: usize) -> Profile {
        for count in self.0.values_mut() {
            *count /= things as f64;
        }
        self
    }

    fn without(mut self, other: &Profile) -> Profile {
        for (function, count) in &other.0 {
            *self.0.entry(function.clone()).or_default() -= count;
        }
        self
    }

    /// Shows the dearest functions.
    fn print(&self) {
        let mut functions: Vec<_> = self.0.iter().collect();
        functions.sort_by(|one, other| other.1.total_cmp(one.1));
        for (function, count) in functions.iter().take(DEAREST) {
            let name: String = function.chars().take(120).collect();
            println!("{:>9}  {name}", report::number(**count));
        }
    }
}

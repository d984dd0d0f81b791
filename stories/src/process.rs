//! One of Chinwag's programs as a process of its own, to be started, killed, frozen and read.

use std::{
    fs::File,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, Once, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{PATIENCE, until};

/// A program that is running, or was.
pub struct Process {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    /// Where browsers reach it, if they do.
    pub listen: SocketAddr,
    /// Where an operator reaches it.
    pub admin: SocketAddr,
}

impl Process {
    /// Starts a program. Its log goes to a file in `folder`.
    pub fn start(
        binary: &str,
        name: &str,
        version: Version,
        folder: &Path,
        environment: &[(String, String)],
    ) -> Process {
        let (listen, admin) = (free_address(), free_address());
        let mut environment = environment.to_vec();
        environment.push(("LISTEN".into(), listen.to_string()));
        environment.push(("ADMIN_LISTEN".into(), admin.to_string()));
        let log = folder.join(format!("{name}.log"));
        let binary = version.folder().join(binary);
        let process = Process {
            name: name.into(),
            binary,
            arguments: Vec::new(),
            environment,
            log,
            child: Mutex::new(None),
            listen,
            admin,
        };
        process.start_again();
        process
    }

    /// Starts a program that is not Chinwag's, at an address where its arguments have it listen.
    pub fn start_other(
        binary: &Path,
        arguments: &[&str],
        listen: SocketAddr,
        folder: &Path,
    ) -> Process {
        let name = binary.file_name().expect("a program").to_string_lossy();
        let process = Process {
            log: folder.join(format!("{name}.log")),
            name: name.into(),
            binary: binary.to_owned(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: vec![("HOME".into(), folder.to_string_lossy().into())],
            child: Mutex::new(None),
            listen,
            admin: listen,
        };
        process.start_again();
        process
    }

    /// Starts it once more, at the same addresses and with the same settings, after it has ended.
    ///
    /// # Panics
    /// If it is still running.
    pub fn start_again(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(child.is_none(), "{} is running", self.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("the folder is there");
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments);
        command.env_clear().envs(
            std::env::vars()
                .filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "TMPDIR")),
        );
        command
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let started = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.binary.display()));
        guard(&started, &self.binary);
        *child = Some(started);
    }

    /// From its next start on it is the program of this version, with the same addresses, settings and log.
    pub fn becomes(&mut self, version: Version) {
        let name = self.binary.file_name().expect("a program").to_owned();
        self.binary = version.folder().join(name);
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        let what = format!("{} is ready", self.name);
        until(&what, PATIENCE, async || {
            self.assert_running();
            (self.readiness().await == Some(200)).then_some(())
        })
        .await;
    }

    /// What `/readyz` answers; none if nobody answers.
    pub async fn readiness(&self) -> Option<u16> {
        let (status, _) = self.obstacles().await?;
        Some(status)
    }

    /// The same, and what `/readyz` says is in the way.
    pub async fn obstacles(&self) -> Option<(u16, String)> {
        self.readyz("").await
    }

    /// The same, and all that `/readyz` knows.
    pub async fn readiness_details(&self) -> Option<(u16, String)> {
        self.readyz("?verbose").await
    }

    async fn readyz(&self, query: &str) -> Option<(u16, String)> {
        let url = format!("http://{}/readyz{query}", self.admin);
        let answer = chat_client::http()
            .get(url)
            .timeout(Duration::from_secs(5))
            .send()
            .await
            .ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What the story calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a counter or gauge, summed over its labels; 0 if it has not been counted yet.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.admin);
        let answer = chat_client::http()
            .get(url)
            .send()
            .await
            .expect("the process answers");
        let text = answer.text().await.expect("text");
        let of_name = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        text.lines()
            .filter(of_name)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("not poisoned");
        let mut running = child
            .take()
            .unwrap_or_else(|| panic!("{} is not running", self.name));
        running.kill().expect("it is our own child");
        running.wait().expect("it was killed");
    }

    /// SIGTERM, and waits until it is gone.
    pub async fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        let what = format!("{} ends after SIGTERM", self.name);
        let status = until(&what, PATIENCE, async || {
            let mut child = self.child.lock().expect("not poisoned");
            child
                .as_mut()
                .expect("it is running")
                .try_wait()
                .expect("it is our own child")
        })
        .await;
        *self.child.lock().expect("not poisoned") = None;
        status
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        let child = self.child.lock().expect("not poisoned");
        let id = child
            .as_ref()
            .unwrap_or_else(|| panic!("{} is not running", self.name))
            .id();
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(id.to_string())
            .status();
        assert!(
            sent.is_ok_and(|sent| sent.success()),
            "cannot signal {}",
            self.name
        );
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let id = self
            .child
            .lock()
            .expect("not poisoned")
            .as_ref()
            .expect("it is running")
            .id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it is running");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("every process has it");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("a number")
    }

    /// All that it has logged and printed, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// # Panics
    /// If it has ended without being told to.
    pub fn assert_running(&self) {
        let mut child = self.child.lock().expect("not poisoned");
        let ended = child
            .as_mut()
            .unwrap_or_else(|| panic!("{} is not running", self.name))
            .try_wait()
            .expect("our child");
        assert!(
            ended.is_none(),
            "{} ended by itself: {ended:?}\n{}",
            self.name,
            self.log()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            let _gone = child.kill().and_then(|()| child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!(
                "--- the last lines of {} ---\n{}",
                self.name,
                last.join("\n")
            );
        }
    }
}

/// An address on loopback that nobody listens on, below the range from which clients get theirs, and outside the one
/// of the private engines. No other story of this process gets it: a program may be started there, ended and started
/// again at any time.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 11_000;
    const COUNT: usize = 8_000;
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    static START: OnceLock<usize> = OnceLock::new();
    let start = START.get_or_init(|| rand::random_range(0..COUNT));
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < COUNT, "all ports are given out");
        let port = FIRST + u16::try_from((start + given) % COUNT).expect("within the range");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Set by whoever has built the programs already, as `./test` does.
const BUILT: &str = "CHINWAG_PROGRAMS_BUILT";

/// Names the folder with the programs of the version before, as `./test upgrade` does.
const BEFORE: &str = "CHINWAG_PROGRAMS_BEFORE";

/// Which programs a story starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Those that were built with the story.
    #[default]
    Present,
    /// Those of the version before, where they were built, and that is said. Elsewhere the present ones, which is a restart of each
    /// in the order of an upgrade.
    Before,
}

impl Version {
    fn folder(self) -> PathBuf {
        match std::env::var_os(BEFORE) {
            Some(before) if self == Version::Before => before.into(),
            _ => binaries().to_owned(),
        }
    }

    /// Whether these are other programs than the present ones.
    pub fn is_another(self) -> bool {
        self == Version::Before && std::env::var_os(BEFORE).is_some()
    }
}

/// The folder of the programs, built by now: as `cargo test --workspace` builds them, so that nothing is built twice.
fn binaries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let this = std::env::current_exe().expect("a test has a path");
        let folder = this
            .ancestors()
            .nth(2)
            .expect("target/PROFILE/deps/TEST")
            .to_owned();
        if std::env::var_os(BUILT).is_some() {
            return folder;
        }
        let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        build
            .args(["build", "--quiet", "--workspace", "--all-targets"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        build.env("CARGO_TARGET_DIR", folder.parent().expect("target/PROFILE"));
        let built = build
            .status()
            .expect("cargo is there, it started this test");
        assert!(built.success(), "the programs do not build");
        folder
    })
}

/// Has a process killed when this one ends, whatever ends it: a shell waits for the end of a pipe that only this
/// process holds.
fn guard(child: &Child, binary: &Path) {
    static GUARD: OnceLock<Mutex<Child>> = OnceLock::new();
    const SCRIPT: &str = r#"
        while read -r pid binary; do pids="$pids $pid:$binary"; done
        for one in $pids; do
            [ "$(readlink "/proc/${one%%:*}/exe")" = "${one#*:}" ] && kill -9 "${one%%:*}"
        done
        true
    "#;
    let guard = GUARD.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // In a group of its own, so that an interrupt from the terminal does not end it before its work.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        Mutex::new(shell.spawn().expect("there is a shell"))
    });
    let mut guard = guard.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = guard.stdin.as_mut().expect("piped");
    writeln!(pipe, "{} {}", child.id(), binary.display())
        .expect("the guard lives as long as this process");
}

/// The most of why a story failed that is told at once.
const TOLD_AT_ONCE: usize = 2_000;

/// Tells why a story failed as soon as it did. The harness does so when all have ended, and a suite in which another one
/// hangs is ended from outside before that.
pub(crate) fn tell_failures_at_once() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |why| {
            // Not by a macro: what those print is held back.
            let told: String = why.to_string().chars().take(TOLD_AT_ONCE).collect();
            drop(writeln!(io::stderr().lock(), "{told}"));
            usual(why);
        }));
    });
}

/// Begins to run one of the programs; what it says can be read.
pub fn begin(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> Child {
    begin_version(Version::Present, binary, arguments, environment)
}

fn begin_version(
    version: Version,
    binary: &str,
    arguments: &[&str],
    environment: &[(String, String)],
) -> Child {
    let mut command = Command::new(version.folder().join(binary));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built")
}

/// Runs one of the programs to its end, and returns how it ended and all that it said.
pub fn run(
    binary: &str,
    arguments: &[&str],
    environment: &[(String, String)],
) -> (ExitStatus, String) {
    run_version(Version::Present, binary, arguments, environment)
}

/// The same with a program of this version.
pub(crate) fn run_version(
    version: Version,
    binary: &str,
    arguments: &[&str],
    environment: &[(String, String)],
) -> (ExitStatus, String) {
    let child = begin_version(version, binary, arguments, environment);
    // Both at once: what fills one pipe while the other is read waits for ever.
    let output = child.wait_with_output().expect("our child");
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(said).expect("text"))
}

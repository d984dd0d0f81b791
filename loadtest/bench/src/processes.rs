//! Processes that are measured: those started here, and the engines.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// How long a process may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Ticks of `/proc/PID/stat` in a second: the same on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A process of ours, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Where browsers reach it.
    pub listen: SocketAddr,
    /// Where an operator reaches it.
    pub admin: SocketAddr,
}

impl Process {
    /// Starts one of the programs that were built beside this one, and waits until it is ready.
    pub(crate) async fn service(binary: &str, environment: &[(String, String)]) -> Process {
        let process = Process::start(binary, &[], environment);
        process.ready().await;
        process
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        let url = format!("http://{}/readyz", self.admin);
        let ready = async || {
            let answer = reqwest::get(&url).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        let began = Instant::now();
        while !ready().await {
            assert!(began.elapsed() < START_LIMIT, "{url} does not say ready");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts one of the programs that were built beside this one and waits for nothing.
    pub(crate) fn start(
        binary: &str,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Process {
        Process::run(&path(binary), arguments, environment)
    }

    /// Starts any program and waits for nothing.
    pub(crate) fn run(
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Process {
        let (listen, admin) = (free_address(), free_address());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("LOG", "error")
            .envs(environment.iter().cloned())
            .env("LISTEN", listen.to_string())
            .env("ADMIN_LISTEN", admin.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| {
            let program = program.display();
            panic!("{program}: {error}; build with `cargo build --release --workspace --bins`")
        });
        Process {
            child,
            listen,
            admin,
        }
    }

    /// The address for calls.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Ends it at once.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("our own child");
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// CPU seconds it has used.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(self.id())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.expect("every process has it")
    }

    /// The value of one of its counters, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = reqwest::get(format!("http://{}/metrics", self.admin))
            .await
            .expect("it is running");
        let text = answer.text().await.expect("text");
        let of_name = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let values = text
            .lines()
            .filter(of_name)
            .filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }
}

/// Where one of the programs is.
pub(crate) fn path(binary: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a program has a path");
    this.with_file_name(binary)
}

/// CPU seconds that a process has used.
pub(crate) fn cpu(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name stands in brackets and may contain anything.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| {
        fields
            .get(field)
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / TICKS_A_SECOND
}

/// The process that listens on a port of loopback, of those that we may look at.
pub(crate) fn listener(port: u16) -> Option<u32> {
    let end = format!(":{port:04X}");
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| {
            let table = fs::read_to_string(table).ok()?;
            let found = table
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            let mut found = found.filter(|fields| {
                fields.len() > 9 && fields[1].ends_with(&end) && fields[3] == "0A"
            });
            found.next().map(|fields| fields[9].to_owned())
        })?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let holds = files
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket));
        holds.then_some(id)
    })
}

/// An address on loopback that nobody listens on, below the range from which clients get theirs.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(11_000..19_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

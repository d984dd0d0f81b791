//! Private Redis, RabbitMQ and MariaDB servers for tests: real ones, because the promises of this project are about
//! what happens when real ones are killed, frozen and started again.
//!
//! The work is done by `engines.sh` beside this crate, which can also be used by hand. This library owns such a set
//! from a test and commands it. [`Engines::shared`] is one set for a whole test run: take a [virtual
//! host](Engines::fresh_vhost), a [database](Engines::fresh_database) and a [prefix](Engines::fresh_prefix) of your
//! own in it, and leave its engines running. A test that kills or freezes an engine takes a set of its own with
//! [`Engines::start`].
//!
//! ```no_run
//! # async fn example() {
//! use private_engines::{Engine, Engines};
//!
//! let engines = Engines::start().await;
//! let queue = engines.fresh_vhost().await;
//! engines.kill(Engine::RabbitMq).await;
//! // ... what the services do without it ...
//! engines.start_engine(Engine::RabbitMq).await;
//! # }
//! ```
//!
//! Everything here panics when it fails, with what the engine said: a test has nothing better to do.

mod channel;
mod engine;
mod owner;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use channel::Channel;
pub use engine::{Engine, Sentinels};
use owner::Owner;

/// The variable that names a set which is already there: the line that `engines.sh` printed when it was ready.
/// `engines.sh up -- COMMAND` sets it for COMMAND.
pub const SHARED_SET_VARIABLE: &str = "CHINWAG_ENGINES";

/// A running set of engines.
///
/// Dropping a set that [`Engines::start`] made kills its engines, waits until they are gone and removes their folder
/// (some 0.2 s). The end of this process does the same, whatever ended it.
#[derive(Debug)]
pub struct Engines {
    redis_url: Option<String>,
    amqp_url: Option<String>,
    database_url: Option<String>,
    management_url: Option<String>,
    tls_ca: Option<PathBuf>,
    channel: Channel,
    /// Ends the set when it is dropped; a set from the environment is somebody else's.
    _owner: Option<Owner>,
}

impl Engines {
    /// Starts a set of its own: all three engines, empty. Some 4 s, nearly all of it RabbitMQ's.
    pub async fn start() -> Engines {
        Engines::start_only(&[Engine::Redis, Engine::RabbitMq, Engine::MariaDb]).await
    }

    /// Starts a set with only the named engines, out of Redis, RabbitMQ and MariaDB. Without RabbitMQ it takes less
    /// than a second. With none, it is there for [`start_cluster`](Self::start_cluster),
    /// [`start_sentinel`](Self::start_sentinel) and [`start_brokers`](Self::start_brokers).
    pub async fn start_only(engines: &[Engine]) -> Engines {
        Engines::start_as(engines, &[]).await
    }

    /// Starts a set of its own whose RabbitMQ has its management API. Some 3 s more than [`Engines::start`].
    pub async fn start_with_management() -> Engines {
        let all = [Engine::Redis, Engine::RabbitMq, Engine::MariaDb];
        Engines::start_as(&all, &["--management"]).await
    }

    /// Starts a set of its own that is reached by TLS, with a certificate of its [own authority](Self::tls_ca).
    pub async fn start_with_tls() -> Engines {
        let all = [Engine::Redis, Engine::RabbitMq, Engine::MariaDb];
        Engines::start_as(&all, &["--tls"]).await
    }

    async fn start_as(engines: &[Engine], options: &'static [&'static str]) -> Engines {
        let names: Vec<String> = engines.iter().map(ToString::to_string).collect();
        // Not tokio's process: a shared set outlives the runtime of the test that happened to start it.
        spawn_blocking(move || {
            let (owner, ready) = Owner::start(&names.join(","), options);
            Engines::from_ready_line(&ready, Some(owner))
        })
        .await
        .expect("a set of engines did not start")
    }

    /// The set that all tests of this run share: the one that [`SHARED_SET_VARIABLE`] names, else one that this
    /// process starts when it is first asked for and that ends with the process.
    pub async fn shared() -> &'static Engines {
        static SHARED: OnceCell<Engines> = OnceCell::const_new();
        SHARED
            .get_or_init(async || match std::env::var(SHARED_SET_VARIABLE) {
                Ok(ready) if !ready.trim().is_empty() => Engines::from_ready_line(&ready, None),
                _ => Engines::start().await,
            })
            .await
    }

    fn from_ready_line(ready: &str, owner: Option<Owner>) -> Engines {
        let value = |name: &str| {
            ready
                .split_whitespace()
                .find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
        };
        let control = value("CONTROL")
            .unwrap_or_else(|| panic!("no CONTROL in what the engines said: {ready}"));
        Engines {
            redis_url: value("REDIS_URL"),
            amqp_url: value("AMQP_URL"),
            database_url: value("DATABASE_URL"),
            management_url: value("MANAGEMENT_URL"),
            tls_ca: value("TLS_CA").map(PathBuf::from),
            channel: Channel::new(PathBuf::from(control)),
            _owner: owner,
        }
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn redis_url(&self) -> &str {
        self.redis_url
            .as_deref()
            .expect("this set was started without Redis")
    }

    /// The URL of a virtual host, `/` for the one that is always there. The user `guest` may do everything in it.
    pub fn amqp_url(&self, vhost: &str) -> String {
        let server = self
            .amqp_url
            .as_deref()
            .expect("this set was started without RabbitMQ");
        format!("{server}/{}", vhost.replace('/', "%2f"))
    }

    /// The URL of a database. Its user may do everything, also make further databases.
    pub fn database_url(&self, name: &str) -> String {
        let server = self
            .database_url
            .as_deref()
            .expect("this set was started without MariaDB");
        let Some(ca) = &self.tls_ca else {
            return format!("{server}/{name}");
        };
        format!(
            "{server}/{name}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}",
            ca.display()
        )
    }

    /// The certificate of the authority that a set [with TLS](Self::start_with_tls) has for itself, a file. `another-ca.pem` beside
    /// it is of one that has nothing to do with it.
    pub fn tls_ca(&self) -> &Path {
        self.tls_ca
            .as_deref()
            .expect("this set was started without TLS")
    }

    /// Where RabbitMQ's management API is, as `guest`.
    pub fn management_url(&self) -> &str {
        self.management_url
            .as_deref()
            .expect("this set was started without RabbitMQ's management API")
    }

    /// Makes a RabbitMQ user who may configure, write and read what these patterns match in a virtual host.
    pub async fn rabbitmq_user(
        &self,
        name: &str,
        password: &str,
        vhost: &str,
        [configure, write, read]: [&str; 3],
    ) {
        self.command(format!(
            "user {name} {password} {vhost} {configure} {write} {read}"
        ))
        .await;
    }

    /// Makes a virtual host for one test and returns its URL. Some 30 ms.
    pub async fn fresh_vhost(&self) -> String {
        let name = unique_name();
        self.command(format!("vhost {name}")).await;
        self.amqp_url(&name)
    }

    /// Makes an empty database for one test and returns its URL. Some 30 ms.
    pub async fn fresh_database(&self) -> String {
        let name = unique_name();
        self.command(format!("database {name}")).await;
        self.database_url(&name)
    }

    /// A prefix for the keys, channels or names of one test: lower-case letters, digits and `_`, at most 40 bytes,
    /// never given twice on this machine.
    pub fn fresh_prefix(&self) -> String {
        format!("{}_", unique_name())
    }

    /// SIGKILL. Returns when the process is gone.
    pub async fn kill(&self, engine: Engine) {
        self.command(format!("kill {engine}")).await;
    }

    /// An orderly shutdown. Returns when the process is gone.
    pub async fn stop(&self, engine: Engine) {
        self.command(format!("stop {engine}")).await;
    }

    /// Starts an engine again, on the same port and data. Returns when it accepts requests: at once if it was running.
    pub async fn start_engine(&self, engine: Engine) {
        self.command(format!("start {engine}")).await;
    }

    /// Kills a Redis server, if it runs, and removes its data: it comes back empty at the next start. Only for
    /// [`Engine::Redis`], [`Engine::SentinelMaster`] and [`Engine::SentinelReplica`].
    pub async fn wipe(&self, engine: Engine) {
        self.command(format!("wipe {engine}")).await;
    }

    /// Copies what Redis, or a stopped RabbitMQ, has on its disk to a folder that is not there yet: a backup.
    pub async fn save(&self, engine: Engine, folder: &Path) {
        self.command(format!("save {engine} {}", folder.display()))
            .await;
    }

    /// Gives Redis or RabbitMQ, while it is stopped, what was saved in the place of what it has.
    pub async fn load(&self, engine: Engine, folder: &Path) {
        self.command(format!("load {engine} {}", folder.display()))
            .await;
    }

    /// Writes a database to a file with these options of the dumping program.
    pub async fn dump(&self, database: &str, file: &Path, options: &str) {
        self.command(format!("dump {database} {} {options}", file.display()))
            .await;
    }

    /// Throws a database away and makes it of what was dumped.
    pub async fn undump(&self, database: &str, file: &Path) {
        self.command(format!("undump {database} {}", file.display()))
            .await;
    }

    /// Stops an engine in its tracks (SIGSTOP): its connections stay open and nothing answers. Returns when all its
    /// threads stand still.
    pub async fn freeze(&self, engine: Engine) {
        self.command(format!("freeze {engine}")).await;
    }

    /// Lets a frozen engine go on.
    pub async fn thaw(&self, engine: Engine) {
        self.command(format!("thaw {engine}")).await;
    }

    /// RabbitMQ takes nothing from now on, as if it were low on memory; or again.
    pub async fn alarm(&self, on: bool) {
        let state = if on { "on" } else { "off" };
        self.command(format!("alarm {state}")).await;
    }

    /// Starts a Redis Cluster of three masters, beside the single Redis, and returns the nodes' URLs in order. Some
    /// 2 s; when it runs already, only the nodes that are down are started.
    pub async fn start_cluster(&self) -> Vec<String> {
        let answer = self.command("start cluster".to_owned()).await;
        addresses(&answer, "cluster-")
            .map(|address| format!("redis://{address}"))
            .collect()
    }

    /// Starts a replica for each of the three nodes, 4 to 6 in their order, and returns when they are linked.
    pub async fn start_replicas(&self) -> Vec<String> {
        let answer = self.command("start replicas".to_owned()).await;
        addresses(&answer, "cluster-")
            .map(|address| format!("redis://{address}"))
            .collect()
    }

    /// Starts a Redis master, its replica and three Sentinels that watch them (quorum two, down after 1 s). Some 2 s.
    pub async fn start_sentinel(&self) -> Sentinels {
        let answer = self.command("start sentinel".to_owned()).await;
        let value = |name: &str| {
            addresses(&answer, name)
                .next()
                .expect("the answer names every node")
                .to_owned()
        };
        let url = |name: &str| format!("redis://{}", value(name));
        Sentinels {
            master_name: value("master-name"),
            sentinels: (1..=3)
                .map(|node| url(&format!("sentinel-{node}")))
                .collect(),
            first_master: url("sentinel-master"),
            first_replica: url("sentinel-replica"),
        }
    }

    /// Starts a RabbitMQ cluster of three, and returns the URLs of the virtual host `/` on each, in order. Some 10 s.
    pub async fn start_brokers(&self) -> Vec<String> {
        let answer = self.command("start brokers".to_owned()).await;
        addresses(&answer, "broker-")
            .map(|address| format!("amqp://guest:guest@{address}/%2f"))
            .collect()
    }

    /// Sends one line to `engines.sh` and returns what it answered after `ok`.
    async fn command(&self, command: String) -> String {
        let channel = self.channel.clone();
        // On a thread of its own, so that it also works on a paused clock and in a runtime with one thread.
        let answer = spawn_blocking(move || {
            channel
                .ask(&command)
                .map_err(|why| format!("{command}: {why}"))
        });
        match answer.await.expect("asking the engines does not panic") {
            Ok(answer) => answer,
            Err(why) => panic!("{why}"),
        }
    }
}

/// The values of the words `NAME...=VALUE` in an answer.
fn addresses<'a, 'n>(
    answer: &'a str,
    name: &'n str,
) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
    answer.split_whitespace().filter_map(move |word| {
        let (key, value) = word.split_once('=')?;
        key.starts_with(name).then_some(value)
    })
}

/// A name that no other test on this machine gets: process, time and a counter.
fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let micros = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros());
    format!("t{}_{:x}_{count}", std::process::id(), micros % (1 << 40))
}

//! The users of `docs/rights/`, as they stand there but for names of places: with them the services do all that they do, and
//! nothing else.

use std::{fs, path::Path};

use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueDeclareOptions},
    types::FieldTable,
};
use private_engines::Engines;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _};
use stories::{Chat, PATIENCE, Person, Setup, run, until};

/// What Chinwag's corner of the shared engines is called, and who may go there.
struct Rights {
    engines: &'static Engines,
    vhost: String,
    database: String,
    prefix: String,
}

/// A text of the documents with what is particular to a place replaced.
fn document(file: &str, places: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/rights")
        .join(file);
    let text = fs::read_to_string(path).expect("it is in the documents");
    places.iter().fold(text, |text, (here, there)| {
        assert!(text.contains(here), "{file} has no {here:?}");
        text.replace(here, there)
    })
}

/// What comes last in a URL.
fn last(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL has parts")
}

impl Rights {
    /// Users are the whole server's, so they bear the corner's name here.
    async fn give() -> Rights {
        let engines = Engines::shared().await;
        let vhost = last(&engines.fresh_vhost().await).to_owned();
        let database = last(&engines.fresh_database().await).to_owned();
        let prefix = engines.fresh_prefix();
        let rights = Rights {
            engines,
            vhost,
            database,
            prefix,
        };
        rights.in_mysql().await;
        rights.in_redis().await;
        rights.in_rabbitmq().await;
        rights
    }

    fn user(&self, role: &str) -> String {
        format!("{}{role}", self.prefix.replace('_', "-"))
    }

    async fn in_mysql(&self) {
        let user = format!("'{}", self.user(""));
        let name = format!("`{}`", self.database);
        let places = [("'chinwag-", user.as_str()), ("`chinwag`", &name)];
        let url = self.engines.database_url(&self.database);
        let mut admin = sqlx::MySqlConnection::connect(&url)
            .await
            .expect("the database is there");
        let text = document("mysql.sql", &places);
        let given = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut admin).await;
        given.expect("the rights are given");
    }

    async fn in_redis(&self) {
        let user = format!("user {}", self.user(""));
        let [keys, channels] = ["~", "&"].map(|sign| format!("{sign}{}*", self.prefix));
        let places = [
            ("user chinwag-", user.as_str()),
            ("~chinwag:*", &keys),
            ("&chinwag:*", &channels),
        ];
        let mut admin = redis_as(self.engines.redis_url()).await;
        for line in document("redis.acl", &places).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let given = redis::cmd("ACL")
                .arg("SETUSER")
                .arg(&words[1..])
                .exec_async(&mut admin)
                .await;
            given.unwrap_or_else(|why| panic!("{line}: {why}"));
        }
    }

    async fn in_rabbitmq(&self) {
        let text = document("rabbitmq.sh", &[]);
        let commands: Vec<Vec<&str>> = text
            .lines()
            .filter_map(|line| line.strip_prefix("rabbitmqctl "))
            .map(|line| line.split(' ').collect())
            .collect();
        for command in &commands {
            let ["set_permissions", "-p", "chinwag", user, patterns @ ..] = &command[..] else {
                continue;
            };
            let password = commands.iter().find_map(|other| match &other[..] {
                ["add_user", name, password] if name == user => Some(*password),
                _ => None,
            });
            let patterns: Vec<&str> = patterns
                .iter()
                .map(|pattern| pattern.trim_matches('\''))
                .collect();
            let patterns = <[&str; 3]>::try_from(patterns).expect("configure, write, read");
            let role = user.strip_prefix("chinwag-").expect("one of ours");
            self.engines
                .rabbitmq_user(
                    &self.user(role),
                    password.expect("added before"),
                    &self.vhost,
                    patterns,
                )
                .await;
        }
    }

    /// Where a service has its engines, as a user of its own.
    fn settings(&self, role: &str) -> [(&'static str, String); 4] {
        let user = self.user(role);
        let password = format!("PASSWORD-{}", role.to_uppercase());
        let as_user = |url: &str| {
            let (scheme, rest) = url.split_once("://").expect("a URL");
            let host = rest.rsplit('@').next().expect("a host");
            format!("{scheme}://{user}:{password}@{host}")
        };
        [
            ("AMQP_URL", as_user(&self.engines.amqp_url(&self.vhost))),
            (
                "DATABASE_URL",
                as_user(&self.engines.database_url(&self.database)),
            ),
            ("REDIS_URL", as_user(self.engines.redis_url())),
            ("REDIS_PREFIX", self.prefix.clone()),
        ]
    }

    fn setting(&self, role: &str, name: &str) -> String {
        let settings = self.settings(role);
        let found = settings.into_iter().find(|(known, _)| *known == name);
        found.expect("set above").1
    }
}

async fn redis_as(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    let connected = client.get_multiplexed_async_connection().await;
    connected.expect("Redis lets them in")
}

/// One of each service, each as its own user, on a schema that was made by the user who may.
async fn start(rights: &Rights) -> Chat {
    let settings = rights.settings("migrate");
    let setup = Setup {
        edges: 0,
        workers: 0,
        persisters: 0,
        // The last of a name counts: `persister migrate` runs with these.
        settings: settings
            .into_iter()
            .filter(|(name, _)| *name == "DATABASE_URL")
            .collect(),
        ..Setup::default()
    };
    let mut chat = Chat::with(setup).await;
    let of = |role| rights.settings(role);
    chat.edges = vec![chat.service("ws-edge", "edge-0", &of("edge"))];
    // With a budget a worker keeps what its calls have used. That it could not is no more than a detail to it.
    let mut worker = of("worker").to_vec();
    worker.push(("BOT_BUDGET_PERSON_DAY", "200000 tokens".to_owned()));
    worker.push(("LOG", "info,bot_worker=debug".to_owned()));
    chat.workers = vec![chat.service("bot-worker", "worker-0", &worker)];
    chat.persisters = vec![chat.service("persister", "persister-0", &of("persister"))];
    for process in [&chat.edges[0], &chat.workers[0], &chat.persisters[0]] {
        process.ready().await;
    }
    chat
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_rights_of_the_documents_services_do_all_that_they_do() {
    let rights = Rights::give().await;
    let chat = start(&rights).await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;

    // Posted, answered, edited, deleted, read, looked up, sent by HTTP; a private room and its people.
    let (said, seq) = ada.says_and_is_acked("hello").await;
    let question = bob.says("@bot what is two plus two?").await;
    let reply = bob.gets_reply_to(question).await;
    assert_eq!(reply["kind"], "bot", "{reply}");
    let edges = [chat.url(0)];
    ada.changes_until_acked(said, Some("hello all"), &edges)
        .await;
    let (unwise, _) = ada.says_and_is_acked("not for you").await;
    ada.changes_until_acked(unwise, None, &edges).await;
    ada.sends(&json!({ "type": "read", "room": "lobby", "seq": seq }))
        .await;
    let room = json!({ "name": "attic", "private": true });
    ada.post("/api/rooms", room).await.is(StatusCode::CREATED);
    ada.put("/api/rooms/attic/members/bob").await;
    let posted = json!({ "message": "by HTTP" });
    ada.post("/api/rooms/attic/messages", posted)
        .await
        .is(StatusCode::OK);
    ada.delete("/api/rooms/attic").await;
    let history = until("the edit is in the history", PATIENCE, async || {
        let history = ada.history().await;
        history
            .iter()
            .any(|message| message["message"] == "hello all")
            .then_some(history)
    })
    .await;
    assert!(!history.iter().any(|m| m["message"] == "not for you"));

    // The operator's jobs, with the persister's user.
    let mut environment = chat.environment.clone();
    environment.extend(
        rights
            .settings("persister")
            .map(|(name, value)| (name.into(), value)),
    );
    let job = |arguments: &[&str]| {
        let (status, said) = run("persister", arguments, &environment);
        assert!(status.success(), "{arguments:?}: {said}");
        said
    };
    job(&["repair"]);
    assert!(job(&["accounts", "list"]).contains("ada"));
    job(&["accounts", "invite", "--admin"]);
    job(&["accounts", "disable", "bob"]);
    assert_eq!(bob.is_closed().await, 4401);
    job(&["invites", "list"]);
    job(&["dead-letters", "list"]);
    job(&["usage"]);

    // The worker has read what was used, and has dropped the line of the call that is in the log of replies by now.
    assert!(
        chat.workers[0]
            .log()
            .contains("in the books of the budgets")
    );
    let url = rights.setting("worker", "DATABASE_URL");
    let mut database = sqlx::MySqlConnection::connect(&url)
        .await
        .expect("they are let in");
    until("no line is left of the call", PATIENCE, async || {
        let lines = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM spendings");
        let lines = lines.fetch_one(&mut database).await.expect("they may");
        (lines == 0).then_some(())
    })
    .await;

    // Whoever comes without what is in memory: what was kept is there.
    chat.edges[0].terminate().await;
    chat.edges[0].start_again();
    chat.edges[0].ready().await;
    let ada = Person::log_in(&chat.url(0), "ada").await;
    let kept = ada
        .get("/api/rooms/lobby/messages?limit=50")
        .await
        .is(StatusCode::OK)
        .body
        .to_string();
    assert!(
        kept.contains("hello all") && !kept.contains("not for you"),
        "{kept}"
    );

    for process in [&chat.edges[0], &chat.workers[0], &chat.persisters[0]] {
        let log = process.log();
        for no in ["NOPERM", "denied", "ACCESS_REFUSED", " ERROR "] {
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(no)).collect();
            assert!(lines.is_empty(), "{no}: {lines:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_rights_of_the_documents_services_do_nothing_else() {
    let rights = Rights::give().await;
    let chat = start(&rights).await;
    chat.join("lobby", ["ada"]).await;

    for (role, refused) in [
        (
            "edge",
            &[
                "CREATE TABLE mine (a INT)",
                "DROP TABLE messages",
                "SELECT * FROM mysql.user",
            ][..],
        ),
        (
            "persister",
            &[
                "CREATE TABLE mine (a INT)",
                "DROP TABLE messages",
                "SELECT * FROM mysql.user",
            ],
        ),
        (
            "worker",
            &[
                "CREATE TABLE mine (a INT)",
                "CREATE TABLE spendings (a INT)",
                "ALTER TABLE users DROP COLUMN name",
                "DROP TABLE messages",
                "DELETE FROM messages",
                "UPDATE standings SET admin = 1",
                "INSERT INTO replies SELECT * FROM replies",
                "SELECT * FROM sessions",
                "SELECT * FROM invites",
            ],
        ),
        (
            "migrate",
            &[
                "CREATE DATABASE mine",
                "SELECT * FROM mysql.user",
                "CREATE USER me",
            ],
        ),
    ] {
        let url = rights.setting(role, "DATABASE_URL");
        let mut database = sqlx::MySqlConnection::connect(&url)
            .await
            .expect("they are let in");
        for statement in refused {
            let answer = sqlx::raw_sql(*statement).execute(&mut database).await;
            let why = answer.expect_err(statement).to_string();
            assert!(why.contains("denied"), "{role}: {statement}: {why}");
        }
    }

    let admin = channel_as(&rights.engines.amqp_url(&rights.vhost)).await;
    declare(&admin, "somebody-else's").await.expect("made");
    for role in ["edge", "worker", "persister"] {
        let mut live = redis_as(&rights.setting(role, "REDIS_URL")).await;
        for refused in [
            "FLUSHALL",
            "KEYS *",
            "CONFIG GET *",
            "GET other",
            "SET other 1",
            "PUBLISH other hi",
            "ACL LIST",
            "SHUTDOWN",
            "SCRIPT FLUSH",
            "MONITOR",
            "REPLICAOF NO ONE",
        ] {
            let mut words = refused.split(' ');
            let mut command = redis::cmd(words.next().expect("a word"));
            command.arg(words.collect::<Vec<_>>());
            let answer = command.exec_async(&mut live).await;
            let why = answer.expect_err(refused).to_string();
            assert!(
                why.to_lowercase().contains("permission"),
                "{role}: {refused}: {why}"
            );
        }
        // Neither a queue of their own, nor anything of somebody else's.
        let channel = channel_as(&rights.setting(role, "AMQP_URL")).await;
        let why = declare(&channel, "mine").await.expect_err("refused");
        assert!(why.to_string().contains("ACCESS_REFUSED"), "{role}: {why}");
        let channel = channel_as(&rights.setting(role, "AMQP_URL")).await;
        let (queue, tag) = ("somebody-else's".into(), "me".into());
        let options = BasicConsumeOptions::default();
        let read = channel.basic_consume(queue, tag, options, FieldTable::default());
        let why = read.await.expect_err("refused").to_string();
        assert!(why.contains("ACCESS_REFUSED"), "{role}: {why}");
    }
}

async fn channel_as(url: &str) -> Channel {
    let connected = Connection::connect(url, ConnectionProperties::default()).await;
    let connection = connected.expect("RabbitMQ lets them in");
    connection.create_channel().await.expect("a channel")
}

async fn declare(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let options = QueueDeclareOptions::default();
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    declared.await.map(drop)
}

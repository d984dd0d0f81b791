//! Everything is lost at once, and a backup that was taken while people talked is all that there is: what was acked before it
//! began is there again, each message at its place, each question with its one answer; and whoever has seen more than the
//! backup knows is told so.

use std::{fs, path::Path};

use private_engines::{Engine, Engines};
use serde_json::Value;
use stories::{Chat, PATIENCE, Person, Setup, assert_one_order, run, until};
use uuid::Uuid;

use crate::assert_kept;

/// What the document has an operator keep of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfRedis {
    Nothing,
    /// Its file, copied after the database: it knows more than that.
    Copied,
}

/// A line of what somebody said, in its order, of which everything before `before` was acked when the backup began.
struct Said {
    acked: Vec<(Uuid, u64)>,
    before: usize,
}

impl Said {
    fn before(&self) -> &[(Uuid, u64)] {
        &self.acked[..self.before]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acked_before_a_backup_is_there_again_when_all_three_engines_are_lost() {
    everything_is_lost(OfRedis::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_redis_that_is_newer_than_the_databases_backup_brings_back_what_that_lacks() {
    everything_is_lost(OfRedis::Copied).await;
}

async fn everything_is_lost(of_redis: OfRedis) {
    let setup = Setup {
        edges: 2,
        own_engines: true,
        ..Setup::default()
    };
    let chat = Chat::with(setup).await;
    let [mut ada, carol] = chat.join("lobby", ["ada", "carol"]).await;
    let [mut bob, mut dora] = chat.join_at(1, "lobby", ["bob", "dora"]).await;
    let edges = [chat.url(0), chat.url(1)];
    dora.makes_room("den").await;
    dora.joins("den", None).await;

    // Three questions are answered, and then the model takes so long that others wait for their answer in the queue.
    let mut answered = Vec::new();
    for n in 0..3 {
        let (id, _) = dora.says_until_acked(&question(n), &edges).await;
        answered.push(dora.gets_reply_to(id).await);
    }
    chat.model.behave("delay=20s").expect("an order");
    let mut waiting = Vec::new();
    for n in 3..6 {
        waiting.push(dora.says_until_acked(&question(n), &edges).await.0);
    }

    // The backup is begun in the middle of what two people say without a pause, and is over before they end.
    let folder = tempfile::tempdir().expect("a folder");
    let backup = Backup::new(&chat, folder.path(), of_redis);
    let (begin, begun) = tokio::sync::watch::channel(false);
    let (end, ended) = tokio::sync::watch::channel(false);
    let taking = async {
        // Enough for pages of history.
        until("both have said something", PATIENCE, async || {
            (carol.messages().len() > 300).then_some(())
        })
        .await;
        begin.send_replace(true);
        backup.take().await;
        end.send_replace(true);
    };
    let ((), from_ada, from_bob) = tokio::join!(
        taking,
        talks_on(&mut ada, &edges, begun.clone(), ended.clone()),
        talks_on(&mut bob, &edges, begun, ended),
    );
    assert!(
        from_ada.before > 20 && from_bob.before > 20,
        "they talked before it: {} {}",
        from_ada.before,
        from_bob.before
    );
    let last = ada.last_seq().max(bob.last_seq());
    for process in chat
        .edges
        .iter()
        .chain(&chat.workers)
        .chain(&chat.persisters)
    {
        process.kill();
    }
    chat.model.behave("pace=1ms").expect("an order");

    backup.restore().await;
    let (migrated, said) = run("persister", &["migrate"], &chat.environment);
    assert!(migrated.success(), "persister migrate: {said}");
    for process in chat
        .persisters
        .iter()
        .chain(&chat.workers)
        .chain(&chat.edges)
    {
        process.start_again();
    }
    for process in chat
        .persisters
        .iter()
        .chain(&chat.workers)
        .chain(&chat.edges)
    {
        process.ready().await;
    }

    // Nothing that was acked before is missing or has another place, for whoever comes now.
    let mut eve = Person::register(&chat.url(1), "eve").await;
    eve.connects().await;
    eve.joins("lobby", None).await;
    assert_kept(&chat, &eve, from_ada.before()).await;
    assert_kept(&chat, &eve, from_bob.before()).await;

    // Who was there has seen more than is known now, says so, and is told to load the history; their log-in still counts.
    ada.connects().await;
    let joined = ada.joins("lobby", Some(last)).await;
    assert_eq!(joined["complete"], false, "{joined}");
    // What is said now comes after all that anybody ever saw.
    let (id, seq) = bob.says_until_acked("we are back", &edges).await;
    assert!(seq > last, "{seq} is before {last}");
    ada.hears("bob", "we are back").await;
    assert_kept(&chat, &eve, &[(id, seq)]).await;
    for person in [&ada, &bob, &eve] {
        assert_one_order(&person.messages());
    }

    // Each question has the answer that it had, or gets one: never two.
    dora.leaves();
    dora.moves_to(&chat.url(0));
    dora.room = "den".into();
    let history = until("each question has its answer", PATIENCE, async || {
        let history = dora.history().await;
        let of = |id: &Uuid| replies_to(&history, &id.to_string()).len();
        waiting.iter().all(|id| of(id) == 1).then_some(history)
    })
    .await;
    for reply in answered {
        let question = reply["reply_to"].as_str().expect("a question");
        let replies = replies_to(&history, question);
        let same = |it: &&Value| it["id"] == reply["id"] && it["seq"] == reply["seq"];
        assert_eq!(replies.len(), 1, "{replies:?}");
        assert!(replies.iter().all(same), "{replies:?} was {reply}");
    }
    let mut later = Person::from(dora.client.at(&chat.url(1)));
    later.connects().await;
    later.joins("den", None).await;
    let (id, _) = later.says_until_acked(&question(7), &edges).await;
    later.gets_reply_to(id).await;
}

fn question(n: usize) -> String {
    format!("@bot {}", crate::sum(n))
}

fn replies_to<'a>(history: &'a [Value], question: &str) -> Vec<&'a Value> {
    let is_one = |message: &&Value| message["reply_to"] == question;
    history.iter().filter(is_one).collect()
}

/// Says one thing after the other until a while after the backup has ended.
async fn talks_on(
    person: &mut Person,
    edges: &[String],
    begun: tokio::sync::watch::Receiver<bool>,
    ended: tokio::sync::watch::Receiver<bool>,
) -> Said {
    let mut said = Said {
        acked: Vec::new(),
        before: 0,
    };
    let mut after = 0;
    while after < 30 {
        let text = format!("{} says {}", person.name, said.acked.len());
        let acked = person.says_until_acked(&text, edges).await;
        said.acked.push(acked);
        if !*begun.borrow() {
            said.before = said.acked.len();
        }
        after += usize::from(*ended.borrow());
    }
    said
}

/// The backup of `docs/running.md`, with private engines in the place of a machine's.
struct Backup<'a> {
    chat: &'a Chat,
    folder: &'a Path,
    of_redis: OfRedis,
    /// What the document has the dumping program do.
    options: String,
}

impl<'a> Backup<'a> {
    fn new(chat: &'a Chat, folder: &'a Path, of_redis: OfRedis) -> Backup<'a> {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/running.md");
        let document = fs::read_to_string(document).expect("it is there");
        let options = document.lines().find_map(|line| {
            let (options, _) = line.strip_prefix("mysqldump ")?.split_once(" chinwag >")?;
            Some(options.to_owned())
        });
        // The order is the document's, as well as the options.
        let place = |words: &str| {
            let found = document.find(words);
            found.unwrap_or_else(|| panic!("the document has no {words:?}"))
        };
        let stopped = place("\nsystemctl stop rabbitmq-server\n");
        let copied = place("\ncp -a /var/lib/rabbitmq/mnesia ");
        let dumped = place("\nmysqldump ");
        let redis = place("\ncp -a /var/lib/redis/appendonlydir ");
        assert!(stopped < copied && copied < dumped && dumped < redis);
        Backup {
            chat,
            folder,
            of_redis,
            options: options.expect("the document dumps the database"),
        }
    }

    fn engines(&self) -> &Engines {
        self.chat.engines()
    }

    fn database(&self) -> &str {
        let url = self.chat.setting("DATABASE_URL");
        url.rsplit('/').next().expect("a database's name")
    }

    async fn take(&self) {
        let engines = self.engines();
        engines.stop(Engine::RabbitMq).await;
        engines
            .save(Engine::RabbitMq, &self.folder.join("rabbitmq"))
            .await;
        engines.start_engine(Engine::RabbitMq).await;
        let dump = self.folder.join("chinwag.sql");
        engines.dump(self.database(), &dump, &self.options).await;
        if self.of_redis == OfRedis::Copied {
            engines
                .save(Engine::Redis, &self.folder.join("redis"))
                .await;
        }
    }

    /// Throws away what there is, and puts back what there was.
    async fn restore(&self) {
        let engines = self.engines();
        for engine in [Engine::RabbitMq, Engine::MariaDb] {
            engines.kill(engine).await;
        }
        engines.wipe(Engine::Redis).await;
        engines
            .load(Engine::RabbitMq, &self.folder.join("rabbitmq"))
            .await;
        if self.of_redis == OfRedis::Copied {
            engines
                .load(Engine::Redis, &self.folder.join("redis"))
                .await;
        }
        for engine in [Engine::Redis, Engine::RabbitMq, Engine::MariaDb] {
            engines.start_engine(engine).await;
        }
        let dump = self.folder.join("chinwag.sql");
        engines.undump(self.database(), &dump).await;
    }
}

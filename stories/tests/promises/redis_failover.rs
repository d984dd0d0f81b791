//! Another Redis server takes over while people talk: P1, P3 and P4 with a ledger of what was acked, what is in the
//! database and what each reader who stayed was told.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use chat_client::{Client, assert_in_order};
use common::{
    store::Messages,
    wire::{Message, Seq},
};
use private_engines::{Engine, Engines};
use serde_json::Value;
use stories::{Chat, PATIENCE, Person, RedisSetup, Setup, until};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use uuid::Uuid;

const ROOMS: [&str; 3] = ["lobby", "attic", "cellar"];

/// Between two messages of one person.
const PAUSE: Duration = Duration::from_millis(80);

/// Messages that are acked before something happens, and again after that.
const ENOUGH: usize = 100;

/// How long after the last ack every reader has been told of everything, or to load the history.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

async fn on(redis: RedisSetup, edges: usize) -> Chat {
    Chat::with(Setup {
        edges,
        redis,
        ..Setup::default()
    })
    .await
}

/// Somebody at each edge speaks in each room, and somebody else only listens there.
struct Talk {
    speakers: Vec<JoinHandle<Vec<(Uuid, Seq)>>>,
    readers: Vec<Person>,
    acked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Talk {
    async fn begins(chat: &Chat) -> Talk {
        let ada = Client::register(&chat.url(0), "ada").await;
        let mut talk = Talk {
            speakers: Vec::new(),
            readers: Vec::new(),
            acked: Arc::default(),
            is_over: Arc::default(),
        };
        let mut speakers = Vec::new();
        for room in ROOMS {
            ada.makes_room(room).await;
            for edge in 0..chat.edges.len() {
                let url = chat.url(edge);
                for people in [&mut talk.readers, &mut speakers] {
                    let mut person = Person::from(ada.at(&url));
                    person.connects().await;
                    person.joins(room, None).await;
                    people.push(person);
                }
            }
        }
        // When all are there: nobody is to miss the first word.
        for speaker in speakers {
            let edges = vec![speaker.server.clone()];
            let speaking = speaks(speaker, edges, talk.acked.clone(), talk.is_over.clone());
            talk.speakers.push(tokio::spawn(speaking));
        }
        talk
    }

    /// Waits until so many more messages are acked.
    async fn goes_on(&self) {
        let enough = self.acked.load(SeqCst) + ENOUGH;
        until("people talk", Duration::from_secs(60), async || {
            (self.acked.load(SeqCst) >= enough).then_some(())
        })
        .await;
    }

    /// Everyone falls silent, and the books are balanced.
    async fn ends(self, chat: &Chat) {
        self.is_over.store(true, SeqCst);
        let mut acked: HashMap<String, Vec<(Uuid, Seq)>> = HashMap::new();
        for (at, speaker) in self.speakers.into_iter().enumerate() {
            let room = ROOMS[at / chat.edges.len()];
            acked
                .entry(room.to_owned())
                .or_default()
                .extend(speaker.await.expect("all is acked"));
        }
        let silent = Instant::now();
        let mut told_to_load = 0;
        for reader in &self.readers {
            let acked = &acked[&reader.room];
            let what = format!(
                "all {} acked messages of {} are told at {}",
                acked.len(),
                reader.room,
                reader.server
            );
            let told = until(&what, TOLD_WITHIN, async || told(reader, acked).await);
            told_to_load += usize::from(told.await);
            assert_in_order(&reader.messages());
            crate::assert_kept(chat, reader, acked).await;
            assert_told(&rows(chat, &reader.room).await, reader).await;
        }
        println!(
            "{} acked, {told_to_load} of {} readers were told to load the history, all is balanced after {:?}",
            self.acked.load(SeqCst),
            self.readers.len(),
            silent.elapsed()
        );
    }
}

async fn speaks(
    mut speaker: Person,
    edges: Vec<String>,
    acked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
) -> Vec<(Uuid, Seq)> {
    let mut said = Vec::new();
    while !is_over.load(SeqCst) {
        let n = said.len();
        // The bot writes to Redis from a process that reads nothing there.
        let text = if n % 25 == 24 {
            format!("@bot what is {n} plus {n}?")
        } else {
            format!("message {n}")
        };
        said.push(speaker.says_until_acked(&text, &edges).await);
        acked.fetch_add(1, SeqCst);
        sleep(PAUSE).await;
    }
    said
}

fn ids(messages: &[Value]) -> Vec<String> {
    messages
        .iter()
        .map(|message| message["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Whether a reader knows all of these by now, and whether by being told to load the history.
async fn told(reader: &Person, acked: &[(Uuid, Seq)]) -> Option<bool> {
    let (known, loaded) = knows(reader).await;
    acked
        .iter()
        .all(|(id, _)| known.contains(&id.to_string()))
        .then_some(loaded)
}

/// All that a reader was shown, and what is in the history if told to load it.
async fn knows(reader: &Person) -> (Vec<String>, bool) {
    let mut known = ids(&reader.messages());
    let is_told = |frame: &Value| frame["type"] == "joined" && frame["complete"] == false;
    let is_told = reader.frames().iter().any(is_told);
    if is_told {
        known.extend(ids(&reader.history().await));
    }
    (known, is_told)
}

/// Whatever is in the database was told, replies of the bot included.
async fn assert_told(rows: &[Message], reader: &Person) {
    let what = format!(
        "all {} rows of {} are told at {}",
        rows.len(),
        reader.room,
        reader.server
    );
    until(&what, TOLD_WITHIN, async || {
        let (known, _) = knows(reader).await;
        rows.iter()
            .all(|row| known.contains(&row.id.to_string()))
            .then_some(())
    })
    .await;
}

async fn rows(chat: &Chat, room: &str) -> Vec<Message> {
    let database = chat.database().await;
    let mut rows: Vec<Message> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row.seq);
        let page = database
            .after(room, after, 500)
            .await
            .expect("the database is there");
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

/// Asks a server of Redis, or a Sentinel, something.
async fn ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    try_ask(url, words).await.expect("an answer")
}

/// The same of one that may hang up: an old master sends everybody away when it becomes a replica.
async fn try_ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> redis::RedisResult<T> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut asking = redis::Cmd::new();
    for word in words {
        asking.arg(*word);
    }
    asking.query_async(&mut connection).await
}

/// Waits until the Sentinels say that the first replica is the master.
async fn the_replica_takes_over(chat: &Chat) {
    let sentinels = chat.sentinels();
    let where_is = [
        "SENTINEL",
        "GET-MASTER-ADDR-BY-NAME",
        &sentinels.master_name,
    ];
    until(
        "the replica takes over",
        Duration::from_secs(30),
        async || {
            let named = try_ask(&sentinels.sentinels[0], &where_is).await;
            let (_, port): (String, u16) = named.ok()?;
            sentinels
                .first_replica
                .ends_with(&format!(":{port}"))
                .then_some(())
        },
    )
    .await;
}

/// The old master goes on taking messages until the Sentinels turn it into a replica, some ten seconds later: whoever
/// learns of the failover by then only has spoken to nobody else meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_costs_nobody_a_message() {
    let mut chat = on(RedisSetup::Sentinels, 1).await;
    // What one process does in regular intervals the other does at other times.
    sleep(Duration::from_secs(4)).await;
    chat.edges.push(chat.service("ws-edge", "edge-1", &[]));
    chat.edges[1].ready().await;
    let talk = Talk::begins(&chat).await;
    talk.goes_on().await;
    let sentinels = chat.sentinels();
    let failover = ["SENTINEL", "FAILOVER", &sentinels.master_name];
    let _: String = ask(&sentinels.sentinels[0], &failover).await;
    the_replica_takes_over(&chat).await;
    until(
        "the old master is a replica",
        Duration::from_secs(30),
        async || {
            let role = try_ask(&sentinels.first_master, &["ROLE"]).await;
            let role: Vec<redis::Value> = role.ok()?;
            (role[0] == redis::Value::BulkString(b"slave".to_vec())).then_some(())
        },
    )
    .await;
    talk.goes_on().await;
    talk.ends(&chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_costs_nobody_a_message() {
    let chat = on(RedisSetup::Sentinels, 2).await;
    let talk = Talk::begins(&chat).await;
    talk.goes_on().await;
    chat.redis().kill(Engine::SentinelMaster).await;
    the_replica_takes_over(&chat).await;
    talk.goes_on().await;
    // And comes back as one that takes itself for the master until it is told.
    chat.redis().start_engine(Engine::SentinelMaster).await;
    talk.goes_on().await;
    talk.ends(&chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_freezes_and_thaws_costs_nobody_a_message() {
    let chat = on(RedisSetup::Sentinels, 2).await;
    let talk = Talk::begins(&chat).await;
    talk.goes_on().await;
    chat.redis().freeze(Engine::SentinelMaster).await;
    the_replica_takes_over(&chat).await;
    talk.goes_on().await;
    chat.redis().thaw(Engine::SentinelMaster).await;
    talk.goes_on().await;
    talk.ends(&chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_that_are_killed_or_freeze_cost_nobody_a_message() {
    let chat = on(RedisSetup::Cluster, 2).await;
    let talk = Talk::begins(&chat).await;
    talk.goes_on().await;
    for node in 1..=3 {
        chat.redis().kill(Engine::Cluster(node)).await;
        chat.redis().start_engine(Engine::Cluster(node)).await;
    }
    talk.goes_on().await;
    chat.redis().freeze(Engine::Cluster(1)).await;
    // Longer than a command may take: what was under way is given up, and not done when it thaws.
    sleep(Duration::from_secs(3)).await;
    chat.redis().thaw(Engine::Cluster(1)).await;
    talk.goes_on().await;
    talk.ends(&chat).await;
}

/// Waits until a node of the Cluster that was a replica is a master, and returns when.
async fn is_promoted(replica: &str) {
    until(
        "a replica takes over",
        Duration::from_secs(30),
        async || {
            let role: Vec<redis::Value> = try_ask(replica, &["ROLE"]).await.ok()?;
            (role[0] == redis::Value::BulkString(b"master".to_vec())).then_some(())
        },
    )
    .await;
}

/// Each master's replica takes over while people talk: in a Cluster the rooms of the other two go on meanwhile.
async fn replicas_of_a_cluster_take_over(
    goes_away: impl AsyncFn(&Engines, u8, &str),
    comes_back: impl AsyncFn(&Engines, u8),
) {
    let chat = on(RedisSetup::ReplicatedCluster, 2).await;
    let replicas = chat.redis().start_replicas().await;
    let talk = Talk::begins(&chat).await;
    talk.goes_on().await;
    for (node, replica) in (1..=3).zip(&replicas) {
        goes_away(chat.redis(), node, replica).await;
        is_promoted(replica).await;
        talk.goes_on().await;
        comes_back(chat.redis(), node).await;
    }
    talk.goes_on().await;
    talk.ends(&chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failovers_of_a_cluster_cost_nobody_a_message() {
    let failover = async |_: &Engines, _, replica: &str| {
        let _: String = ask(replica, &["CLUSTER", "FAILOVER"]).await;
    };
    replicas_of_a_cluster_take_over(failover, async |_, _| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_of_a_cluster_that_are_killed_cost_nobody_a_message() {
    let killed = async |redis: &Engines, node, _: &str| redis.kill(Engine::Cluster(node)).await;
    let again = async |redis: &Engines, node| redis.start_engine(Engine::Cluster(node)).await;
    replicas_of_a_cluster_take_over(killed, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_of_a_cluster_that_freeze_cost_nobody_a_message() {
    let frozen = async |redis: &Engines, node, _: &str| redis.freeze(Engine::Cluster(node)).await;
    let thawed = async |redis: &Engines, node| redis.thaw(Engine::Cluster(node)).await;
    replicas_of_a_cluster_take_over(frozen, thawed).await;
}

/// Which of a Cluster's three nodes, counted from 1, serves what has this hash tag, as private engines share the slots.
async fn node_of(redis: &str, tag: &str) -> u8 {
    let slot: u32 = ask(redis, &["CLUSTER", "KEYSLOT", tag]).await;
    1 + u8::from(slot > 5_460) + u8::from(slot > 10_922)
}

/// A master of a Cluster is away, and nobody takes its place: whatever the process keeps there, the rooms of the others do
/// not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_master_of_a_cluster_is_away_the_rooms_of_the_others_go_on() {
    const TALK: Duration = Duration::from_secs(12);
    let chat = on(RedisSetup::Cluster, 1).await;
    let hosts = chat.setting("REDIS_URL");
    let hosts = hosts.trim_start_matches("redis-cluster://");
    let asked = format!("redis://{}", hosts.split(',').next().expect("three"));
    // What was kept there for all rooms.
    let away = node_of(&asked, ":unsettled").await;
    let ada = Client::register(&chat.url(0), "ada").await;
    let (mut speakers, mut nodes) = (Vec::new(), HashSet::from([away]));
    for number in 0.. {
        if nodes.len() == 3 {
            break;
        }
        let room = format!("room-{number}");
        if nodes.insert(node_of(&asked, &room).await) {
            ada.makes_room(&room).await;
            let mut speaker = Person::from(ada.at(&chat.url(0)));
            speaker.connects().await;
            speaker.joins(&room, None).await;
            speaker.says_and_is_acked("all is well").await;
            speakers.push(speaker);
        }
    }
    chat.redis().kill(Engine::Cluster(away)).await;
    let talking = speakers.into_iter().map(|mut speaker| {
        let edges = vec![speaker.server.clone()];
        tokio::spawn(async move {
            let (since, mut longest) = (Instant::now(), Duration::ZERO);
            while since.elapsed() < TALK {
                let said = Instant::now();
                speaker.says_until_acked("on and on", &edges).await;
                longest = longest.max(said.elapsed());
                sleep(PAUSE).await;
            }
            (speaker.room.clone(), longest)
        })
    });
    for talk in talking.collect::<Vec<_>>() {
        let (room, longest) = talk.await.expect("all is acked");
        println!("{room}: the longest time to an ack was {longest:?}");
        assert!(longest < Duration::from_secs(1), "{room}: {longest:?}");
    }
}

/// What the master alone had when it went away, and one edge was not shown: the replica was cut off before. It is acked
/// and in the database, and the next message follows on what the replica has. It is shown in its order, to those who
/// stayed and to those who were away.
async fn what_one_master_alone_had(goes_away: impl AsyncFn(&Engines)) {
    let chat = on(RedisSetup::Sentinels, 2).await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let [bob, mut cleo] = chat.join_at(1, "lobby", ["bob", "cleo"]).await;
    ada.says_and_is_acked("before").await;
    bob.hears("ada", "before").await;
    let last = cleo.hears("ada", "before").await["seq"].as_u64();
    cleo.leaves();

    let master = chat.sentinels().first_master.clone();
    chat.edges[1].signal("STOP");
    chat.redis().freeze(Engine::SentinelReplica).await;
    for kind in ["replica", "pubsub", "normal"] {
        let _: u64 = ask(&master, &["CLIENT", "KILL", "TYPE", kind]).await;
    }
    let edges = [chat.url(0)];
    let alone = ada
        .says_until_acked("the master alone has this", &edges)
        .await;
    crate::assert_kept(&chat, &ada, &[alone]).await;
    goes_away(chat.redis()).await;
    chat.redis().thaw(Engine::SentinelReplica).await;
    chat.edges[1].signal("CONT");
    the_replica_takes_over(&chat).await;

    let after = ada.says_until_acked("after", &edges).await;
    bob.hears("ada", "after").await;
    let heard = bob.messages();
    assert_in_order(&heard);
    let expected = [alone.0.to_string(), after.0.to_string()];
    assert_eq!(ids(&heard)[1..], expected, "who stayed");
    cleo.connects().await;
    assert_eq!(cleo.joins("lobby", last).await["complete"], true);
    cleo.hears("ada", "after").await;
    assert_eq!(ids(&cleo.messages()), expected, "who was away");
    assert_eq!(ids(&bob.history().await)[1..], expected);
}

/// A deletion that the master alone had when it was killed: acked, and in the database. The replica has the text, and has
/// it no longer a while after it took over.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_a_killed_master_alone_had_is_done_on_the_next_one() {
    let chat = on(RedisSetup::Sentinels, 2).await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let word = format!("secret{}", Uuid::new_v4().simple());
    let (id, _) = ada.says_and_is_acked(&format!("the word is {word}")).await;
    let edges = [chat.url(0)];
    ada.changes_until_acked(id, Some(&format!("{word} it is")), &edges)
        .await;
    let (master, replica) = (
        chat.sentinels().first_master.clone(),
        chat.sentinels().first_replica.clone(),
    );
    let has_it = async || {
        let stream = format!("{}{{lobby}}:stream", chat.setting("REDIS_PREFIX"));
        let entries: redis::Value = ask(&replica, &["XRANGE", &stream, "-", "+"]).await;
        format!("{entries:?}").contains(&word)
    };
    until("the replica has it", PATIENCE, async || {
        has_it().await.then_some(())
    })
    .await;

    chat.redis().freeze(Engine::SentinelReplica).await;
    for kind in ["replica", "pubsub", "normal"] {
        let _: u64 = ask(&master, &["CLIENT", "KILL", "TYPE", kind]).await;
    }
    let deletion = ada.changes_until_acked(id, None, &edges).await;
    until("the deletion is in the database", PATIENCE, async || {
        let rows = rows(&chat, "lobby").await;
        rows.iter().any(|row| row.seq == deletion).then_some(())
    })
    .await;
    chat.redis().kill(Engine::SentinelMaster).await;
    chat.redis().thaw(Engine::SentinelReplica).await;
    the_replica_takes_over(&chat).await;
    assert!(has_it().await, "the replica has not heard of the deletion");
    until("the text is gone", Duration::from_secs(60), async || {
        (!has_it().await).then_some(())
    })
    .await;
    let edit = ada.change(Uuid::now_v7(), id, Some("the word is another"));
    ada.comes_back().await;
    ada.sends(&edit).await;
    ada.is_refused("bad_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_master_alone_had_is_shown_in_its_order() {
    what_one_master_alone_had(async |redis| redis.kill(Engine::SentinelMaster).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_master_alone_had_is_shown_in_its_order() {
    what_one_master_alone_had(async |redis| redis.freeze(Engine::SentinelMaster).await).await;
}

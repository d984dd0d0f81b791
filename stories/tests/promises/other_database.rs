//! P1 and P2 when the database is another one than before: a replica that lagged behind was promoted, or rows are gone that
//! were there.

use std::{process::Command, time::Duration};

use common::{
    live::Live,
    store::{Messages, Store},
    wire::Seq,
};
use engines::redis::{RedisLive, RedisSettings};
use private_engines::{Engine, Engines};
use stories::{Chat, Person, Proxy, Setup, run, until};
use uuid::Uuid;

use crate::talk;

/// What `mariadb` and its like are told: where the server is, and who asks.
pub(crate) fn client_flags(url: &str) -> String {
    let (host, port) = Proxy::host_of(url).split_once(':').expect("a port");
    format!(
        "--no-defaults --protocol=tcp --host={host} --port={port} --user=chinwag --password=chinwag"
    )
}

fn shell(script: &str) {
    let script = format!("set -o pipefail; {script}");
    let ran = Command::new("bash").args(["-c", &script]).output();
    let ran = ran.expect("there is a shell");
    assert!(
        ran.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// How many of these are in the database.
async fn stored(database: &impl Messages, room: &str, acked: &[(Uuid, Seq)]) -> usize {
    let ids: Vec<Uuid> = acked.iter().map(|(id, _)| *id).collect();
    database
        .existing(room, &ids)
        .await
        .map_or(0, |there| there.len())
}

/// Waits until they are, all of them.
async fn come_to_the_database(chat: &Chat, within: Duration, said: &[(&str, &[(Uuid, Seq)])]) {
    let database = chat.database().await;
    until(
        "all that was acked is in the database",
        within,
        async || {
            for (room, acked) in said {
                if stored(&*database, room, acked).await < acked.len() {
                    return None;
                }
            }
            Some(())
        },
    )
    .await;
}

/// Waits until nobody has a reason to look at any room again.
async fn all_is_settled(chat: &Chat) {
    let settings = RedisSettings {
        redis_url: chat.setting("REDIS_URL").to_owned().into(),
        redis_prefix: chat.setting("REDIS_PREFIX").to_owned(),
        stream_idle_seconds: Duration::from_secs(3_600),
    };
    let live = RedisLive::connect(&settings).await.expect("it runs");
    let server = chat.database().await.server().await.expect("it runs");
    until(
        "every room is settled",
        Duration::from_secs(120),
        async || {
            let unsettled = live.unsettled(10, &server).await.expect("it runs");
            unsettled.is_empty().then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_is_promoted() {
    let nothing_yet = Setup {
        edges: 0,
        workers: 0,
        persisters: 0,
        ..Setup::default()
    };
    let mut chat = Chat::with(nothing_yet).await;
    let primary = chat.setting("DATABASE_URL").to_owned();
    let wire = chat.database_on_a_wire().await;
    chat.edges = vec![
        chat.service("ws-edge", "edge-0", &[]),
        chat.service("ws-edge", "edge-1", &[]),
    ];
    chat.persisters = vec![chat.service("persister", "persister-0", &[])];
    for process in chat.edges.iter().chain(&chat.persisters) {
        process.ready().await;
    }
    let edges = [chat.url(0), chat.url(1)];
    let [mut ada]: [Person; 1] = chat.join("lobby", ["ada"]).await;
    let [mut bob]: [Person; 1] = chat.join_at(1, "attic", ["bob"]).await;
    let minute = Duration::from_secs(60);

    // What the replica has.
    let mut lobby = talk(&mut ada, 20, &edges).await;
    let mut attic = talk(&mut bob, 10, &edges).await;
    come_to_the_database(&chat, minute, &[("lobby", &lobby), ("attic", &attic)]).await;
    let other = Engines::start_only(&[Engine::MariaDb]).await;
    let name = primary.rsplit('/').next().expect("a database");
    let replica = other.database_url(name);
    shell(&format!(
        "mariadb-dump {} --databases {name} | mariadb {}",
        client_flags(&primary),
        client_flags(&replica)
    ));

    // And what it lacks.
    lobby.extend(talk(&mut ada, 40, &edges).await);
    attic.extend(talk(&mut bob, 30, &edges).await);
    let said: [(&str, &[_]); 2] = [("lobby", &lobby), ("attic", &attic)];
    come_to_the_database(&chat, minute, &said).await;
    all_is_settled(&chat).await;

    wire.leads_to(Proxy::host_of(&replica));
    let database = chat.database().await;
    assert_eq!(stored(&*database, "lobby", &lobby).await, 20);
    assert_eq!(stored(&*database, "attic", &attic).await, 10);
    // Nobody reads the rooms, and nobody says anything there.
    come_to_the_database(&chat, minute, &said).await;
    crate::assert_kept(&chat, &ada, &lobby).await;

    // Rows can be missing without another server's being there: a backup was restored. That, an operator has to say.
    shell(&format!(
        "mariadb {} --execute=\"DELETE FROM messages WHERE room = 'attic'\" {name}",
        client_flags(&replica)
    ));
    let (status, told) = run("persister", &["repair"], &chat.environment);
    assert!(status.success(), "{told}");
    assert!(told.contains("compared: "), "{told}");
    assert!(!told.contains("again: 0 messages"), "{told}");
    come_to_the_database(&chat, minute, &said).await;
}

//! Edits and deletions on their way from the queue to the database: in any order, with a persister that dies on either side of a
//! commit, and as dead letters. (P12 and P13, as far as the persister has to do with them.)

use std::time::Duration;

use common::{
    envelope::Envelope,
    queue::{Queue, Route},
    store::Messages,
    wire::{Kind, Message, NewMessage, Seq},
};
use engines::{
    rabbitmq::{RabbitQueue, RabbitSettings},
    sql::MySqlStore,
};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, Row as _};
use stories::{Chat, Direction, PATIENCE, Setup, run, until};
use uuid::Uuid;

const SECRET: &str = "the-word-that-must-go";

/// Engines and nobody who persists, the way into the queue, and the database.
struct Behind {
    chat: Chat,
    queue: std::sync::Arc<RabbitQueue>,
    store: std::sync::Arc<MySqlStore>,
    database: MySqlConnection,
}

impl Behind {
    async fn start() -> Behind {
        let chat = Chat::with(Setup {
            edges: 0,
            workers: 0,
            persisters: 0,
            ..Setup::default()
        })
        .await;
        let settings = RabbitSettings::at(chat.setting("AMQP_URL"));
        let queue = RabbitQueue::connect(&settings).await;
        let database = MySqlConnection::connect(chat.setting("DATABASE_URL")).await;
        Behind {
            store: chat.database().await,
            queue: queue.expect("the broker is there"),
            database: database.expect("the database is there"),
            chat,
        }
    }

    async fn publish(&self, message: &Message) {
        let payload = Envelope::new(message.clone(), None).to_bytes();
        let published = self.queue.publish(Route::Persist, 0, message.id, payload);
        published.await.expect("confirmed");
    }

    async fn execute(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        sql.execute(&mut self.database).await.expect("it is done");
    }

    async fn is_stored(&self, message: &Message) {
        until("it is in the database", PATIENCE, async || {
            let stored = self.store.existing(&message.room, &[message.id]).await;
            stored.ok()?.contains(&message.id).then_some(())
        })
        .await;
    }

    /// How many rows have the word in them.
    async fn secrets(&mut self) -> i64 {
        let count = "SELECT (SELECT COUNT(*) FROM messages WHERE message LIKE ?) + \
             (SELECT COUNT(*) FROM message_states WHERE message LIKE ?)";
        let word = format!("%{SECRET}%");
        let count = sqlx::query_scalar(count).bind(&*word).bind(&*word);
        count.fetch_one(&mut self.database).await.expect("a count")
    }

    async fn dead_letters(&self, arguments: &[&str]) -> String {
        let arguments = [&["dead-letters"], arguments].concat();
        let (_, said) = run("persister", &arguments, &self.chat.environment);
        said
    }
}

fn said(room: &str, seq: Seq, text: &str) -> Message {
    change(room, seq, Kind::User, None, text)
}

fn edit(of: &Message, seq: Seq, text: &str) -> Message {
    change(&of.room, seq, Kind::Edited, Some(of.id), text)
}

fn deletion(of: &Message, seq: Seq) -> Message {
    change(&of.room, seq, Kind::Deleted, Some(of.id), "")
}

fn change(room: &str, seq: Seq, kind: Kind, of: Option<Uuid>, text: &str) -> Message {
    let new = NewMessage {
        room: room.into(),
        id: Uuid::now_v7(),
        sender: "ada".into(),
        kind,
        message: text.into(),
        reply_to: None,
        of,
        stopped_by: None,
        grounding: Default::default(),
    };
    new.at(seq, 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_dies_on_either_side_of_each_commit_that_changes_a_message() {
    let mut behind = Behind::start().await;
    let message = said("lobby", 10, SECRET);
    let [edited, deleted] = [edit(&message, 20, SECRET), deletion(&message, 30)];

    // The deletion is first, and written, but never acked: it comes again.
    let (persister, wire) = behind.chat.service_on_a_wire("persister", "first").await;
    wire.hold(Direction::ToEngine);
    behind.publish(&deleted).await;
    behind.is_stored(&deleted).await;
    persister.kill();
    wire.cut();

    // It comes again; then the message is written, and whoever wrote it dies before it sees that it is deleted.
    let persister = behind.chat.service("persister", "second", &[]);
    persister.ready().await;
    until("the deletion came again", PATIENCE, async || {
        let again = persister.metric("chinwag_persist_duplicates_total").await;
        (again >= 1.0).then_some(())
    })
    .await;
    behind.execute("LOCK TABLES message_states WRITE").await;
    behind.publish(&message).await;
    behind.is_stored(&message).await;
    persister.kill();
    behind.execute("UNLOCK TABLES").await;
    assert_eq!(behind.secrets().await, 1, "for this moment it is there");

    // What another one is in the middle of changing, it does not finish.
    let other = said("attic", 10, SECRET);
    let others = [edit(&other, 20, SECRET), deletion(&other, 40)];
    let persister = behind.chat.service("persister", "third", &[]);
    behind.publish(&other).await;
    behind.publish(&others[0]).await;
    behind.is_stored(&others[0]).await;
    behind
        .execute("START TRANSACTION; SELECT * FROM messages WHERE room = 'attic' AND seq = 10 FOR UPDATE")
        .await;
    behind.publish(&others[1]).await;
    // The table of transactions would hold the statement too, whose bytes MySQL cannot show.
    let status = "SHOW ENGINE INNODB STATUS";
    let mut watcher = MySqlConnection::connect(behind.chat.setting("DATABASE_URL"))
        .await
        .expect("the database is there");
    for look in 0.. {
        let said = sqlx::raw_sql(status).fetch_one(&mut watcher).await;
        let said: String = said.expect("a status").get("Status");
        if said.contains("LOCK WAIT") {
            break;
        }
        assert!(look < 400, "it waits for us");
        // The server only looks again when it was not asked for 0.1 s.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    persister.kill();
    behind.execute("ROLLBACK").await;

    // The last one lives, and the edit comes last of all.
    let persister = behind.chat.service("persister", "fourth", &[]);
    persister.ready().await;
    behind.publish(&edited).await;
    for one in [&edited, &deleted, &message, &others[1]] {
        behind.is_stored(one).await;
    }
    let history = until("both are deleted", PATIENCE, async || {
        let mut history = Vec::new();
        for room in ["lobby", "attic"] {
            history.extend(behind.store.before(room, Seq::MAX, 10).await.ok()?);
        }
        history.iter().all(|one| one.deleted).then_some(history)
    })
    .await;
    assert_eq!(history.len(), 2);
    until("no row has the word", PATIENCE, async || {
        let count = "SELECT COUNT(*) FROM messages WHERE message LIKE '%the-word-that-must-go%'";
        let mut database = MySqlConnection::connect(behind.chat.setting("DATABASE_URL"))
            .await
            .ok()?;
        let count: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut database)
            .await
            .ok()?;
        (count == 0).then_some(())
    })
    .await;
    assert_eq!(behind.secrets().await, 0);
    let all = behind.store.after("lobby", 0, 10).await.expect("a page");
    let places: Vec<Seq> = all.iter().map(|one| one.seq).collect();
    assert_eq!(places, [10, 20, 30]);
    let letters = behind.dead_letters(&["list"]).await;
    assert!(letters.contains("no dead letters"), "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_lose_what_is_deleted_and_are_put_back_without_it() {
    let mut behind = Behind::start().await;
    let cursed = "CREATE TRIGGER refuses BEFORE INSERT ON messages FOR EACH ROW \
         IF NEW.message LIKE '%cursed%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this'; END IF";
    behind.execute(cursed).await;
    let text = format!("cursed {SECRET}");
    let [message, kept] = [said("lobby", 10, &text), said("lobby", 20, &text)];
    // No column is as long as this one's text.
    let too_long = edit(&message, 30, &SECRET.repeat(4_000));
    let taken = edit(&kept, 20, "its place is another's");
    let persister = behind.chat.service("persister", "persister-0", &[]);
    persister.ready().await;
    for one in [&message, &kept, &too_long] {
        behind.publish(one).await;
    }
    let there = said("lobby", 40, "there");
    behind.publish(&there).await;
    behind.publish(&Message { seq: 40, ..taken }).await;
    // The last is another's place that the edit wants.
    until("all of them are dead letters", PATIENCE, async || {
        let letters = behind.dead_letters(&["list"]).await;
        let told = |reason| letters.matches(reason).count();
        let all = told("not this") == 2
            && told("cannot be written") >= 1
            && told("this edit: another message has seq 40 of room lobby") == 1;
        all.then_some(())
    })
    .await;

    let deleted = deletion(&message, 50);
    behind.publish(&deleted).await;
    behind.is_stored(&deleted).await;
    let [id, long] = [message.id, too_long.id].map(|id| id.to_string());
    until(
        "their texts are gone",
        Duration::from_secs(60),
        async || {
            let both = [&id, &long].map(|id| ["show", id]);
            let shown = [
                behind.dead_letters(&both[0]).await,
                behind.dead_letters(&both[1]).await,
            ];
            let is_gone = |shown: &String| shown.contains("payload") && !shown.contains(SECRET);
            shown.iter().all(is_gone).then_some(())
        },
    )
    .await;
    let shown = behind.dead_letters(&["show", &id]).await;
    assert!(
        shown.contains("not this") && shown.contains(r#""deleted":true"#),
        "{shown}"
    );
    let shown = behind.dead_letters(&["show", &kept.id.to_string()]).await;
    assert!(shown.contains(SECRET), "nobody deleted that one: {shown}");

    // Whatever is put back says nothing any more.
    behind.execute("DROP TRIGGER refuses").await;
    let put_back = behind
        .dead_letters(&["replay", "persist", &id, &long])
        .await;
    assert!(put_back.contains('2'), "{put_back}");
    for one in [&message, &too_long] {
        behind.is_stored(one).await;
    }
    let all = behind.store.after("lobby", 0, 10).await.expect("a page");
    let told: Vec<_> = all.iter().map(|one| (one.seq, &*one.message)).collect();
    assert_eq!(told, [(10, ""), (30, ""), (40, "there"), (50, "")]);
    assert!(all[0].deleted);
    assert_eq!(behind.secrets().await, 0);
}

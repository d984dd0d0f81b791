//! Growing up: what was said in the all-in-one is on the services afterwards, in its order, none of it twice and none missing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use sqlx::{Connection as _, MySqlConnection};
use stories::{Chat, PATIENCE, Person, Setup, assert_one_order, run, until};
use uuid::Uuid;

fn does(binary: &str, arguments: &[&str], chat: &Chat) -> String {
    let (status, said) = run(binary, arguments, &chat.environment);
    assert!(status.success(), "{binary} {arguments:?}: {said}");
    said
}

fn refuses(binary: &str, arguments: &[&str], chat: &Chat) -> String {
    let (status, said) = run(binary, arguments, &chat.environment);
    assert!(!status.success(), "{binary} {arguments:?}: {said}");
    said
}

async fn history_of(person: &Person, room: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let path = format!("/api/rooms/{room}/messages?after={after}&limit=200");
        let page = person.client.get(&path).await;
        let page = page.body["messages"].as_array().expect("messages").clone();
        let Some(last) = page.last() else {
            return all;
        };
        after = last["seq"].as_u64().expect("a seq");
        all.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_moves_from_the_all_in_one_to_the_services_while_people_talk() {
    let small = Chat::all_in_one().await;
    let [mut ada, mut bob] = small.join("lobby", ["ada", "bob"]).await;
    let question = ada.says("@bot what is two plus two?").await;
    ada.gets_reply_to(question).await;
    let (edited, _) = bob.says_and_is_acked("teh word").await;
    let url = [small.url(0)];
    bob.changes_until_acked(edited, Some("the word"), &url)
        .await;
    let (deleted, _) = bob.says_and_is_acked("a slip of the tongue").await;
    bob.changes_until_acked(deleted, None, &url).await;
    let den = json!({ "name": "den", "private": true, "title": "The den" });
    ada.client
        .post("/api/rooms", den)
        .await
        .is(reqwest::StatusCode::CREATED);
    ada.client
        .put("/api/rooms/den/members/bob")
        .await
        .is(reqwest::StatusCode::NO_CONTENT);
    ada.client
        .put("/api/rooms/den/bans/eve")
        .await
        .is_problem(404, "not_found");
    let days = json!({ "retention_days": 300 });
    ada.client
        .patch("/api/rooms/den", days)
        .await
        .is(reqwest::StatusCode::OK);
    let token = ada
        .client
        .post("/api/tokens", json!({ "name": "a program" }))
        .await;
    let token = token.body["token"].as_str().expect("a token").to_owned();

    // What is acked when the export begins is in it, while others go on talking.
    let mut acked = Vec::new();
    for n in 0..300 {
        let id = ada.says(&format!("line {n}")).await;
        acked.push((id, ada.is_acked(id).await));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("chinwag.archive");
    let archive = path.to_str().expect("text").to_owned();
    let talking = async {
        for n in 0..300 {
            let id = bob.says(&format!("meanwhile {n}")).await;
            bob.is_acked(id).await;
        }
    };
    let exporting = tokio::task::spawn_blocking({
        let (environment, archive) = (small.environment.clone(), archive.clone());
        move || run("chinwag", &["export", &archive, "--sessions"], &environment)
    });
    let (exported, ()) = tokio::join!(exporting, talking);
    let (status, said) = exported.expect("it ends");
    assert!(status.success(), "{said}");
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        1,
        "nothing is left beside it"
    );
    let before = history_of(&ada, "lobby").await;
    small.edges[0].kill();

    // One that is cut, or changed, is told before it is believed; nor is another file one.
    let large = Chat::with(Setup::default()).await;
    let bytes = fs::read(&path).expect("it can be read");
    let bad = folder.path().join("bad");
    let bad_path = bad.to_str().expect("text").to_owned();
    let middle = bytes.len() / 2;
    let mut changed = bytes.clone();
    let word = changed
        .windows(7)
        .position(|seven| seven == b"line 42")
        .expect("it is there");
    changed[word + 5] = b'7';
    for (damaged, words) in [
        (&bytes[..middle], "cut off"),
        (&bytes[..bytes.len() - 10], "cut off"),
        (&changed[..], "damaged"),
        (&b"hello\n"[..], "no archive"),
    ] {
        fs::write(&bad, damaged).expect("written");
        let said = refuses("persister", &["import", &bad_path], &large);
        assert!(said.contains(words), "{said}");
    }
    // Killed in the middle, and again, and once more when all of it is in.
    imports_and_dies(&large, &archive).await;
    does("persister", &["import", &archive], &large);
    let again = does("persister", &["import", &archive], &large);
    assert!(again.contains("in already"), "{again}");

    let edge = large.url(0);
    let mut ada = Person::log_in(&edge, "ada").await;
    ada.room = "lobby".into();
    let kept = history_of(&ada, "lobby").await;
    assert_one_order(&kept);
    assert!(
        kept.len() >= 300 && kept[..] == before[..kept.len()],
        "what was there is as it was"
    );
    for (id, seq) in &acked {
        let times = kept
            .iter()
            .filter(|one| one["id"] == id.to_string() && one["seq"] == *seq);
        assert_eq!(times.count(), 1);
    }
    let found = |id: Uuid| {
        kept.iter()
            .find(|one| one["id"] == id.to_string())
            .expect("it is there")
    };
    assert_eq!(found(edited)["message"], "the word");
    assert_eq!(found(deleted)["deleted"], true);
    let room = ada.client.get("/api/rooms/den").await.body;
    assert_eq!(
        (&room["title"], &room["retention_days"]),
        (&json!("The den"), &json!(300))
    );
    let members = ada.client.get("/api/rooms/den/members").await.body;
    assert_eq!(members["members"], json!(["bob"]));
    let program = ada.client.with("authorization", &format!("Bearer {token}"));
    program.get("/api/me").await.is(reqwest::StatusCode::OK);

    // A client that was away for the move comes back with its last place, and the order goes on.
    let (_, last) = acked[150];
    let mut bob = Person::log_in(&edge, "bob").await;
    bob.connects().await;
    let joined = bob.joins("lobby", Some(last)).await;
    assert_eq!(joined["complete"], true, "{joined}");
    ada.connects().await;
    ada.joins("lobby", None).await;
    let (_, next) = ada.says_and_is_acked("we have moved").await;
    bob.waits_for("what is said now", |frame| frame["seq"] == next)
        .await;
    let heard = bob.messages();
    assert_one_order(&heard);
    let expected = kept
        .iter()
        .filter(|one| one["seq"].as_u64() > Some(last))
        .count();
    assert_eq!(heard.len(), expected + 1);

    // Into a server that has other people of these names nothing of it goes; and back into one process.
    let other = Chat::with(Setup::default()).await;
    Person::register(&other.url(0), "bob").await;
    let said = refuses("persister", &["import", &archive], &other);
    assert!(
        said.contains("bob") && said.contains("nothing is imported"),
        "{said}"
    );
    let ada = chat_client::Client::new(other.url(0));
    ada.logs_in("ada").await.is_problem(401, "unauthorized");
    exports_while_all_runs(&large, folder.path(), next).await;
}

/// Kills an import when some of it is in, and not all.
async fn imports_and_dies(chat: &Chat, archive: &str) {
    let connected = MySqlConnection::connect(chat.setting("DATABASE_URL")).await;
    let mut rows = connected.expect("the database is there");
    let slow = "CREATE TRIGGER slow BEFORE INSERT ON messages FOR EACH ROW \
         IF NEW.message = 'line 200' THEN SET @slept = SLEEP(3); END IF";
    sqlx::raw_sql(slow)
        .execute(&mut rows)
        .await
        .expect("the trigger is made");
    let mut import = stories::begin("persister", &["import", archive], &chat.environment);
    until("some of it is in", PATIENCE, async || {
        let members = sqlx::query_scalar("SELECT COUNT(*) FROM members");
        let members: i64 = members.fetch_one(&mut rows).await.ok()?;
        (members > 0).then_some(())
    })
    .await;
    drop(import.kill());
    drop(import.wait());
    let gone = sqlx::raw_sql("DROP TRIGGER slow").execute(&mut rows);
    gone.await.expect("the trigger is gone");
    let finished = sqlx::query_scalar("SELECT COUNT(*) FROM imports WHERE finished_at_ms IS NULL");
    let finished: i64 = finished.fetch_one(&mut rows).await.expect("a count");
    assert_eq!(finished, 1, "it was killed in the middle");
}

/// What the services export has what was acked a moment before, and goes into an all-in-one.
async fn exports_while_all_runs(chat: &Chat, folder: &Path, last: u64) {
    let path = folder.join("back");
    let archive = path.to_str().expect("text").to_owned();
    // The one who writes it down is away when the export begins.
    chat.persisters[0].kill();
    let mut eve = Person::register(&chat.url(0), "eve").await;
    eve.connects().await;
    eve.joins("lobby", None).await;
    let (id, seq) = eve.says_and_is_acked("and on we go").await;
    assert!(seq > last);
    let exporting = tokio::task::spawn_blocking({
        let (environment, archive) = (chat.environment.clone(), archive.clone());
        move || run("persister", &["export", &archive], &environment)
    });
    chat.persisters[0].start_again();
    let (status, said) = exporting.await.expect("it ends");
    assert!(status.success(), "{said}");
    let text = fs::read_to_string(&path).expect("it can be read");
    assert!(text.contains(&id.to_string()), "what was acked is in it");
    assert!(
        !text.contains("\"sessions\":{"),
        "nobody is logged in by it"
    );

    let small = Chat::all_in_one().await;
    does("chinwag", &["import", &archive], &small);
    let eve = Person::log_in(&small.url(0), "eve").await;
    let kept = history_of(&eve, "lobby").await;
    assert_eq!(kept.last().expect("a message")["seq"].as_u64(), Some(seq));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_shows_hands_over_and_deletes_rooms_while_all_runs() {
    let chat = Chat::start().await;
    let [ada, mut bob] = chat.join("ship", ["ada", "bob"]).await;
    let listed = does("persister", &["rooms", "list"], &chat);
    assert!(
        listed.contains("ship") && listed.lines().count() == 1,
        "{listed}"
    );
    let listed = does("persister", &["rooms", "list", "--json"], &chat);
    let listed: Value = serde_json::from_str(&listed).expect("a JSON object a line");
    assert_eq!(
        (&listed["name"], &listed["owner"]),
        (&json!("ship"), &json!("ada"))
    );
    for (arguments, words) in [
        (&["rooms", "show", "nowhere"][..], "no room"),
        (&["rooms", "delete", "ada"], "own room"),
        (&["rooms", "delete", "nowhere"], "no room"),
        (&["rooms", "hand-over", "ship", "nobody"], "no account"),
        (&["rooms", "hand-over", "ada", "bob"], "own room"),
    ] {
        let said = refuses("persister", arguments, &chat);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    does("persister", &["rooms", "hand-over", "ship", "bob"], &chat);
    let shown = does("persister", &["rooms", "show", "ship"], &chat);
    assert!(
        shown.contains("owner: bob") && shown.contains("members: ada"),
        "{shown}"
    );
    let topic = json!({ "topic": "ours" });
    bob.client
        .patch("/api/rooms/ship", topic.clone())
        .await
        .is(reqwest::StatusCode::OK);
    ada.client
        .patch("/api/rooms/ship", topic)
        .await
        .is_problem(403, "forbidden");

    bob.says_and_is_acked("a last word").await;
    does("persister", &["rooms", "delete", "ship"], &chat);
    let is_out = |frame: &Value| frame["type"] == "error" && frame["code"] == "not_found";
    bob.waits_for("that the room is gone", is_out).await;
    let audit = does("persister", &["accounts", "audit"], &chat);
    for deed in ["room_handed_over  ship", "room_deleted  ship"] {
        assert!(audit.contains(deed), "{audit}");
    }
}

//! What people do. Each transaction is one thing that somebody does; goose repeats it, waits in between at a human pace,
//! and reports what was measured.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chat_client::{Client, credentials};
use goose::prelude::*;
use rand::RngExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{ledger::Ledger, person::Person};

/// How long an ack is waited for before somebody says the next thing; the promise has no time limit.
const ACK_LIMIT: Duration = Duration::from_secs(30);

/// How long a reply is waited for: the bot's own deadline, and some.
const REPLY_LIMIT: Duration = Duration::from_secs(90);

/// What all people of this process share. Each process has names of its own, so that any number can run against one
/// server.
pub struct Run {
    /// What was promised.
    pub ledger: Arc<Ledger>,
    /// The server.
    pub server: OnceLock<String>,
    /// The rooms, each with somebody who is in it.
    pub rooms: Mutex<HashMap<String, Client>>,
    name: String,
    people: AtomicUsize,
    room_size: usize,
    pace: f64,
}

/// This run.
pub static RUN: LazyLock<Run> = LazyLock::new(|| {
    // No letter that looks like another's: such names are refused.
    let letters = b"abcdefghjkptuxyz";
    let letter = |_| char::from(letters[rand::rng().random_range(0..letters.len())]);
    Run {
        ledger: Arc::default(),
        server: OnceLock::new(),
        rooms: Mutex::default(),
        name: (0..8).map(letter).collect(),
        people: AtomicUsize::new(0),
        room_size: number("LOADTEST_ROOM_SIZE", 10.0) as usize,
        pace: number("LOADTEST_PACE", 1.0),
    }
});

fn number(variable: &str, default: f64) -> f64 {
    let Ok(text) = std::env::var(variable) else {
        return default;
    };
    let number = text.parse().ok().filter(|number| *number > 0.0);
    number.unwrap_or_else(|| panic!("{variable} is a number above zero, not {text:?}"))
}

/// All scenarios, with their weights.
///
/// # Errors
/// Goose's, if a wait is none.
pub fn all() -> Result<Vec<Scenario>, GooseError> {
    let wait = |least: f64, most: f64| {
        let seconds = |wait: f64| Duration::from_secs_f64(wait * RUN.pace);
        (seconds(least), seconds(most))
    };
    let scenario = |name: &str, weight: usize, (least, most), what: Transaction| {
        Scenario::new(name)
            .set_weight(weight)?
            .register_transaction(what)
            .set_wait_time(least, most)
    };
    Ok(vec![
        scenario("talker", 4, wait(1.0, 5.0), transaction!(talk))?,
        scenario("editor", 2, wait(1.0, 5.0), transaction!(edit))?,
        scenario("lurker", 2, wait(1.0, 1.0), transaction!(lurk))?,
        scenario("flapper", 2, wait(1.0, 5.0), transaction!(flap))?,
        scenario("asker", 1, wait(5.0, 15.0), transaction!(ask))?,
        scenario("browser", 1, wait(2.0, 10.0), transaction!(browse))?,
    ])
}

/// Says a line and waits until it is kept.
async fn talk(user: &mut GooseUser) -> TransactionResult {
    let person = person(user).await?;
    let line = format!("{} says {}", person.name, words());
    let id = person.says(&line, false);
    let acked = person.is_acked(id, ACK_LIMIT).await;
    report(user).await?;
    in_time(user, "ack", ACK_LIMIT, acked).await
}

/// Says something and thinks better of it at once: gives it another text, later perhaps one more, and perhaps takes it back.
async fn edit(user: &mut GooseUser) -> TransactionResult {
    let person = person(user).await?;
    let id = person.says(&format!("{} sais {}", person.name, words()), false);
    let first = person.changes(id, Some(&format!("{} says {}", person.name, words())));
    let mut acked = person.is_acked(first, ACK_LIMIT).await;
    let [again, deletes] = [(); 2].map(|()| rand::rng().random_bool(0.3));
    if again {
        let text = format!("{} meant {}", person.name, words());
        let second = person.changes(id, Some(&text));
        acked &= person.is_acked(second, ACK_LIMIT).await;
    }
    if deletes {
        let deletion = person.changes(id, None);
        acked &= person.is_acked(deletion, ACK_LIMIT).await;
    }
    report(user).await?;
    in_time(user, "ack", ACK_LIMIT, acked).await
}

/// Asks the bot and waits for its reply.
async fn ask(user: &mut GooseUser) -> TransactionResult {
    let person = person(user).await?;
    let [one, other] = [0, 0].map(|_: u8| rand::rng().random_range(1..100));
    let id = person.says(&format!("@bot what is {one} plus {other}?"), true);
    let answered = person.is_answered(id, REPLY_LIMIT).await;
    report(user).await?;
    in_time(user, "bot reply", REPLY_LIMIT, answered).await
}

/// Reads.
async fn lurk(user: &mut GooseUser) -> TransactionResult {
    person(user).await?;
    report(user).await
}

/// Says something, loses the connection at that moment or a little later, and comes back.
async fn flap(user: &mut GooseUser) -> TransactionResult {
    let person = person(user).await?;
    let (wait, away) = {
        let mut rng = rand::rng();
        (rng.random_range(0..50), rng.random_range(0..2_000))
    };
    person.says(&format!("{} is about to go", person.name), false);
    sleep(Duration::from_millis(wait)).await;
    person.vanishes(Duration::from_millis(away));
    report(user).await
}

/// Opens the page, logs in, and looks around.
async fn browse(user: &mut GooseUser) -> TransactionResult {
    if user.get_session_data::<Browser>().is_none() {
        let (client, room) = register(user).await?;
        let name = client.name;
        user.set_session_data(Browser { name, room });
    }
    let Browser { name, room } = user.get_session_data_unchecked::<Browser>().clone();
    user.get_named("/", "the page").await?;
    user.post_json("/api/login", &credentials(&name)).await?;
    user.get("/api/me").await?;
    user.get("/api/rooms").await?;
    let history = format!("/api/rooms/{room}/messages");
    user.get_named(&history, "the history").await?;
    Ok(())
}

/// Somebody without a socket.
#[derive(Clone)]
struct Browser {
    name: String,
    room: String,
}

/// The person that this user is, in their room by now.
async fn person(user: &mut GooseUser) -> Result<Person, Box<TransactionError>> {
    if user.get_session_data::<Person>().is_none() {
        let (client, room) = register(user).await?;
        let person = Person::enter(&RUN.ledger, client, room);
        user.set_session_data(person);
    }
    let person = user.get_session_data_unchecked::<Person>().clone();
    if !person.is_in(ACK_LIMIT).await {
        return Err(failed("not in the room in time"));
    }
    Ok(person)
}

/// A new account and the room it talks in.
async fn register(user: &mut GooseUser) -> Result<(Client, String), Box<TransactionError>> {
    let origin = user.base_url.origin().ascii_serialization();
    let server = RUN.server.get_or_init(|| origin);
    let number = RUN.people.fetch_add(1, Ordering::Relaxed);
    let name = format!("load-{}{number}", RUN.name);
    // By goose, which measures it.
    let answer = user.post_json("/api/register", &credentials(&name)).await?;
    let answer: Value = match answer.response {
        Ok(answer) => answer
            .json()
            .await
            .map_err(|error| failed(&error.to_string()))?,
        Err(error) => return Err(failed(&error.to_string())),
    };
    let Some(token) = answer["token"].as_str() else {
        return Err(failed(&format!("not registered: {answer}")));
    };
    let client = Client::new(server).with_token(&name, token);
    let room = format!("load-{}-r{}", RUN.name, number / RUN.room_size);
    let is_first = !RUN.rooms().contains_key(&room);
    if is_first {
        // Several may come first at once; all but one are told that it is there.
        let body = Some(json!({ "name": room }));
        match client.try_call(Method::POST, "/api/rooms", body).await {
            Ok(made) if matches!(made.status, StatusCode::CREATED | StatusCode::CONFLICT) => {}
            made => return Err(failed(&format!("no room: {made:?}"))),
        }
        RUN.rooms().insert(room.clone(), client.clone());
    }
    Ok((client, room))
}

impl Run {
    /// The rooms.
    pub fn rooms(&self) -> std::sync::MutexGuard<'_, HashMap<String, Client>> {
        self.rooms.lock().expect("nothing panics while holding it")
    }
}

/// Hands goose what was measured since.
async fn report(user: &mut GooseUser) -> TransactionResult {
    for measured in user.get_session_data_unchecked::<Person>().measured() {
        let error = measured.error.as_deref();
        user.record_custom_request_duration(
            "WS",
            measured.row,
            measured.took,
            error.is_none(),
            None,
            error,
        )
        .await?;
    }
    Ok(())
}

/// Reports what did not come in time.
async fn in_time(
    user: &mut GooseUser,
    row: &str,
    limit: Duration,
    came: bool,
) -> TransactionResult {
    if came {
        return Ok(());
    }
    user.record_custom_request_duration("WS", row, limit, false, None, Some("not in time"))
        .await
}

fn failed(why: &str) -> Box<TransactionError> {
    Box::new(TransactionError::Custom(why.to_owned()))
}

/// A few words, some of them longer than a line.
fn words() -> String {
    let count = rand::rng().random_range(1..60);
    ["so"]
        .into_iter()
        .cycle()
        .take(count)
        .collect::<Vec<_>>()
        .join(" ")
}

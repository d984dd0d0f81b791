//! More is said than can be kept: first people wait, then whoever sends most is refused, and others notice little of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chat_client::ChatSocket;
use futures_util::future::join_all;
use seam_fakes::Fault;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use crate::chat::Chat;

/// What came back to one who sends.
#[derive(Default)]
struct Answers {
    longest: Duration,
    acks: usize,
    errors: Vec<Value>,
}

/// Somebody whose messages are answered.
struct Sender {
    person: ChatSocket,
    sent: HashMap<String, Instant>,
    answers: Answers,
}

impl Sender {
    fn new(person: ChatSocket) -> Sender {
        Sender {
            person,
            sent: HashMap::new(),
            answers: Answers::default(),
        }
    }

    async fn sends_one(&mut self) {
        let id = Uuid::now_v7();
        self.sent.insert(id.to_string(), Instant::now());
        self.person.sends(json!({"message": "hi", "id": id})).await;
    }

    /// Waits for the answer to any.
    async fn hears_an_answer(&mut self) {
        loop {
            let frame = self.person.next().await.expect("the socket stays open");
            let kind = frame["type"].as_str().unwrap_or_default();
            if !matches!(kind, "ack" | "error") {
                continue;
            }
            let sent = frame["id"].as_str().and_then(|id| self.sent.remove(id));
            let sent = sent.unwrap_or_else(|| panic!("answers nothing: {frame}"));
            self.answers.longest = self.answers.longest.max(sent.elapsed());
            match kind {
                "ack" => self.answers.acks += 1,
                _ => self.answers.errors.push(frame),
            }
            return;
        }
    }

    /// Says so much, so much of it without an answer at a time.
    async fn says(mut self, count: usize, at_a_time: usize) -> Answers {
        for sent in 0..count {
            if sent >= at_a_time {
                self.hears_an_answer().await;
            }
            self.sends_one().await;
        }
        while !self.sent.is_empty() {
            self.hears_an_answer().await;
        }
        self.answers
    }
}

/// Somebody who says something now and then, and waits for its ack, until it is over.
async fn talks(person: ChatSocket, until: CancellationToken) -> Answers {
    let mut sender = Sender::new(person);
    while !until.is_cancelled() {
        sender.sends_one().await;
        sender.hears_an_answer().await;
        sleep(Duration::from_millis(50)).await;
    }
    sender.answers
}

impl Chat {
    /// Somebody in a room of their own, in which the bot is silent.
    async fn in_own_room(&self, name: &str) -> ChatSocket {
        let room = format!("of-{name}");
        self.opens(&room, false).await;
        let mut person = self.connects(name, &format!("/ws/chat/{room}")).await;
        person.hears("joined").await;
        person
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_people_in_a_hurry_wait_and_nobody_is_refused() {
    let chat = Chat::start().await;
    let mut people = Vec::new();
    for number in 0..20 {
        people.push(chat.in_own_room(&format!("person{number}")).await);
    }
    let bob = chat.in_own_room("bob").await;
    // 3,000 a second, and 5,000 wait for their ack all the time.
    let each = Fault::OneByOne(Duration::from_micros(333));
    chat.queue_faults.on("publish", each);
    let over = CancellationToken::new();
    let bob = AbortOnDropHandle::new(tokio::spawn(talks(bob, over.clone())));
    let all = people
        .into_iter()
        .map(|person| Sender::new(person).says(500, 250));
    for answers in join_all(all).await {
        assert_eq!((answers.acks, answers.errors), (500, vec![]));
        assert!(
            answers.longest < Duration::from_secs(6),
            "{:?}",
            answers.longest
        );
    }
    over.cancel();
    let bobs = bob.await.expect("he talked");
    assert_eq!(bobs.errors, Vec::<Value>::new());
    // He has one message at a time, and waits for his turn and for what is on its way.
    assert!(
        bobs.acks >= 3 && bobs.longest < Duration::from_millis(1_500),
        "{:?}",
        bobs.longest
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_times_too_much_whoever_sends_most_is_refused() {
    let chat = Chat::start_with(&["--user-messages-burst=100000"]).await;
    let mut adas = vec![chat.in_own_room("ada").await];
    for _ in 1..8 {
        let mut more = chat.connects("ada", "/ws/chat/of-ada").await;
        more.hears("joined").await;
        adas.push(more);
    }
    let bob = chat.in_own_room("bob").await;
    // 200 a second: what she says within a moment takes twenty.
    let each = Fault::OneByOne(Duration::from_millis(5));
    chat.queue_faults.on("publish", each);
    let over = CancellationToken::new();
    let bob = AbortOnDropHandle::new(tokio::spawn(talks(bob, over.clone())));
    let all = adas
        .into_iter()
        .map(|person| Sender::new(person).says(500, 500));
    let (mut acks, mut errors) = (0, Vec::new());
    for answers in join_all(all).await {
        acks += answers.acks;
        errors.extend(answers.errors);
        assert!(
            answers.longest < Duration::from_secs(30),
            "{:?}",
            answers.longest
        );
    }
    assert!(acks >= 500 && errors.len() >= 500, "{acks} acks");
    for error in &errors {
        assert_eq!(error["code"], "unavailable");
        assert!(error["retry_after_ms"].as_u64() >= Some(1_000));
    }
    over.cancel();
    let bobs = bob.await.expect("he talked");
    assert_eq!(bobs.errors, Vec::<Value>::new());
    assert!(bobs.acks >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_at_once_that_the_queue_is_gone() {
    let chat = Arc::new(Chat::start_with(&["--user-messages-burst=100000"]).await);
    let mut adas = vec![Sender::new(chat.in_own_room("ada").await)];
    let mut more = chat.connects("ada", "/ws/chat/of-ada").await;
    more.hears("joined").await;
    adas.push(Sender::new(more));
    let each = Fault::OneByOne(Duration::from_secs(3_600));
    chat.queue_faults.on("publish", each);
    for ada in &mut adas {
        for _ in 0..500 {
            ada.sends_one().await;
        }
    }
    // All that may be on its way is.
    while chat.queue_faults.calls("publish") < 256 {
        sleep(Duration::from_millis(10)).await;
    }
    let gone = Instant::now();
    chat.queue_faults.away(true);
    let first = join_all(adas.iter_mut().map(Sender::hears_an_answer));
    let told = tokio::time::timeout(Duration::from_millis(2_500), first).await;
    assert!(told.is_ok(), "{:?}", gone.elapsed());
    for ada in &adas {
        assert_eq!(ada.answers.errors[0]["code"], "unavailable");
    }
}

//! The bot in a room: one request at a time and in order, over all workers, whichever of them dies or stands still; and
//! whoever comes in the middle of an answer sees all of it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use common::{
    live::{Live, LiveEvent},
    posting::Poster,
    queue::Route,
    store::{BotPolicy, Messages, Room, Rooms},
    wire::{Kind, Message, NewMessage},
};
use engines::{
    rabbitmq::{RabbitQueue, RabbitSettings},
    redis::{RedisLive, RedisSettings},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use stories::{Chat, PATIENCE, Person, Setup, until};
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

fn words(count: usize, word: &str) -> String {
    let words: Vec<String> = (0..count).map(|n| format!("{word}-{n}")).collect();
    words.join(" ")
}

/// The drafts of the reply to a question, as heard.
fn drafts(person: &Person, question: Uuid) -> Vec<Value> {
    let mut frames = person.frames();
    frames.retain(|frame| frame["type"] == "draft" && frame["reply_to"] == question.to_string());
    frames
}

fn attempt(draft: &Value) -> u64 {
    draft["attempt"].as_u64().expect("a number")
}

/// What is on the screen after these drafts, none of which may leave a hole or come from an overtaken attempt.
fn screen(drafts: &[Value]) -> String {
    let (mut text, mut latest) = (String::new(), 0);
    for draft in drafts {
        assert!(attempt(draft) >= latest, "a late frame: {draft}");
        if attempt(draft) > latest {
            (text, latest) = (String::new(), attempt(draft));
        }
        let offset = usize::try_from(draft["offset"].as_u64().expect("a number")).expect("small");
        assert!(offset <= text.chars().count(), "a hole before {draft}");
        text =
            text.chars().take(offset).collect::<String>() + draft["text"].as_str().expect("a text");
    }
    text
}

async fn waits_for_draft(person: &Person, question: Uuid, above: u64) -> Value {
    let what = format!("{} sees a draft above {above}", person.name);
    person
        .waits_for(&what, |frame| {
            frame["type"] == "draft"
                && frame["reply_to"] == question.to_string()
                && attempt(frame) > above
        })
        .await
}

/// Somebody new at an edge, connected and in no room yet.
async fn at_the_door(chat: &Chat, edge: usize, name: &str) -> Person {
    let mut person = Person::register(&chat.url(edge), name).await;
    person.connects().await;
    person
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_in_the_middle_of_an_answer_sees_all_of_it() {
    let chat = Chat::with(Setup {
        edges: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let mut bob = at_the_door(&chat, 0, "bob").await;
    let mut eve = at_the_door(&chat, 1, "eve").await;
    let text = words(300, "wört");
    let order = format!("pace=100ms say=\"{text}\"");
    chat.model.behave_next([order.as_str()]).expect("an order");
    let question = ada.says("@bot count").await;
    waits_for_draft(&ada, question, 0).await;
    bob.joins("lobby", None).await;
    eve.joins("lobby", None).await;
    for person in [&ada, &bob, &eve] {
        let reply = person.gets_reply_to(question).await;
        assert_eq!(reply["message"], text.as_str());
        let drafts = drafts(person, question);
        assert!(drafts.len() > 1, "{} saw it grow", person.name);
        assert_eq!(drafts[0]["offset"], 0, "{}", person.name);
        assert!(text.starts_with(&screen(&drafts)), "{}", person.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_is_overtaken_and_reaches_nobody_any_more() {
    let mut chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let (still, wire) = chat.service_on_a_wire("bot-worker", "still").await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let mut eve = at_the_door(&chat, 1, "eve").await;
    let [old, new] = ["old", "new"].map(|word| words(300, word));
    let orders = [&old, &new].map(|text| format!("pace=100ms say=\"{text}\""));
    chat.model
        .behave_next(orders.each_ref().map(String::as_str))
        .expect("orders");
    let question = ada.says("@bot count").await;
    let first = waits_for_draft(&ada, question, 0).await;
    still.signal("STOP");
    // Or the broker would wait for its heartbeat.
    wire.cut();
    let other = chat.service("bot-worker", "other", &[]);
    let second = waits_for_draft(&ada, question, attempt(&first)).await;
    eve.joins("lobby", None).await;
    still.signal("CONT");
    wire.pass();
    for person in [&ada, &eve] {
        let reply = person.gets_reply_to(question).await;
        assert_eq!(reply["message"], new.as_str(), "{}", person.name);
    }
    until("the one that stood still sees it", PATIENCE, async || {
        still.log().contains("lost the turn").then_some(())
    })
    .await;
    // What it still had to say would be here before the answer to this.
    let last = ada.says("@bot what is two plus two?").await;
    for person in [&ada, &eve] {
        person.gets_reply_to(last).await;
        let drafts = drafts(person, question);
        assert!(new.starts_with(&screen(&drafts)), "{}", person.name);
        let replies = |message: &&Value| message["reply_to"] == question.to_string();
        assert_eq!(person.messages().iter().filter(replies).count(), 1);
    }
    assert!(attempt(&second) > attempt(&first));
    chat.workers.extend([still, other]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_all_workers_answers_come_in_order_and_each_knows_the_one_before() {
    const QUESTIONS: u32 = 12;
    let chat = Chat::with(Setup {
        workers: 3,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model.behave("delay=100ms pace=1ms").expect("an order");
    let mut questions = Vec::new();
    for n in 0..QUESTIONS {
        questions.push(ada.says(&format!("@bot what is {n} plus 100?")).await);
    }
    let mut replies = Vec::new();
    for question in &questions {
        replies.push(ada.gets_reply_to(*question).await);
    }
    assert!(replies.is_sorted_by_key(|reply| reply["seq"].as_u64()));
    let calls = chat.model.requests();
    assert_eq!(calls.iter().map(|call| call.under_way).max(), Some(1));
    assert_eq!(calls.len(), questions.len());
    let texts: Vec<String> = replies
        .iter()
        .map(|reply| reply["message"].to_string())
        .collect();
    for (n, call) in calls.iter().enumerate() {
        let told = call.body()["contents"].to_string();
        assert!(call.text.contains(&format!("what is {n} plus")), "{told}");
        for before in &texts[..n] {
            assert!(told.contains(before.as_str()), "{before} is not in {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_rooms_are_answered_at_the_same_time() {
    const ROOMS: usize = 8;
    let chat = Chat::with(Setup {
        workers: 2,
        settings: vec![("BOT_FIRST_TOKEN_SECONDS", "50".to_owned())],
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("room-0", ["ada"]).await;
    chat.model.behave("hang").expect("an order");
    let rooms: Vec<String> = (0..ROOMS).map(|n| format!("room-{n}")).collect();
    for room in &rooms[1..] {
        let made = ada.makes_room(room).await;
        made.is(reqwest::StatusCode::CREATED);
        ada.joins(room, None).await;
    }
    for room in rooms {
        ada.room = room;
        ada.says("@bot hello?").await;
        // It waits for its turn, in nobody's way.
        ada.says("@bot and then?").await;
    }
    let seen = chat
        .model
        .requests_when(PATIENCE, |calls| {
            calls.iter().any(|call| call.under_way == ROOMS)
        })
        .await;
    assert!(seen.is_some(), "{:?}", chat.model.requests());
    assert_eq!(chat.model.requests().len(), ROOMS, "one for each room");
}

/// The random run: the model misbehaves in half of all calls, and workers are killed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_each_have_one_reply_in_time_and_in_order() {
    const ROOMS: usize = 50;
    const REQUESTS_PER_ROOM: usize = 20;
    const ALL: usize = ROOMS * REQUESTS_PER_ROOM;
    /// Asked in one room before the first of them is answered.
    const AT_ONCE: usize = 3;
    const KILLS: usize = 6;
    const DEADLINE: Duration = Duration::from_secs(60);
    /// Beyond the deadline itself: what a busy machine needs to post a reply.
    const POSTING: Duration = Duration::from_secs(5);
    const MISBEHAVIOUR: [&str; 5] = ["429 retry=50ms", "503", "stall after=1", "cut", "empty"];

    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let settings = [
        ("BOT_CONCURRENCY", "64"),
        ("BOT_FIRST_TOKEN_SECONDS", "3"),
        ("BOT_IDLE_SECONDS", "1"),
        ("GEMINI_MODELS", "a,b,c,d"),
        ("LOG", "warn"),
    ];
    let chat = Chat::with(Setup {
        edges: 0,
        workers: 3,
        settings: settings
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
        ..Setup::default()
    })
    .await;
    let orders: Vec<&str> = (0..10_000)
        .map(|_| MISBEHAVIOUR.get(dice.random_range(0..10)).unwrap_or(&"ok"))
        .copied()
        .collect();
    chat.model.behave_next(orders).expect("orders");

    let live = RedisLive::connect(&RedisSettings {
        redis_url: chat.setting("REDIS_URL").to_owned().into(),
        redis_prefix: chat.setting("REDIS_PREFIX").to_owned(),
        stream_idle_seconds: Duration::from_secs(3_600),
    })
    .await
    .expect("Redis");
    let queue = RabbitQueue::connect(&RabbitSettings::at(chat.setting("AMQP_URL")))
        .await
        .expect("RabbitMQ");
    let store = chat.database().await;
    let poster = Poster::new(live.clone(), queue, store.clone());
    let (subscriber, mut events) = live.subscriber(8_192);
    let mut ears = HashMap::new();
    let mut asking = Vec::new();
    let answered = Arc::new(AtomicUsize::new(0));
    for n in 0..ROOMS {
        let name = format!("room-{n}");
        let room = Room {
            name: name.clone(),
            bot: BotPolicy::Always,
            owner: format!("owner-{n}"),
            ..Room::default()
        };
        store.create_room(&room).await.expect("a room");
        subscriber.subscribe(&name).await.expect("subscribed");
        let (tell, mut heard) = mpsc::unbounded_channel::<Message>();
        ears.insert(name.clone(), tell);
        let (poster, answered) = (poster.clone(), Arc::clone(&answered));
        asking.push(tokio::spawn(async move {
            let mut open: Vec<Uuid> = Vec::new();
            for n in 0..REQUESTS_PER_ROOM + AT_ONCE {
                while open.len() >= AT_ONCE || n >= REQUESTS_PER_ROOM && !open.is_empty() {
                    let message = timeout(DEADLINE + PATIENCE, heard.recv()).await;
                    let message = message.unwrap_or_else(|_| panic!("{name}: {open:?} unanswered"));
                    let reply_to = message.expect("the line is open").reply_to;
                    if let Some(at) = open.iter().position(|id| Some(*id) == reply_to) {
                        open.remove(at);
                        answered.fetch_add(1, SeqCst);
                    }
                }
                if n < REQUESTS_PER_ROOM {
                    let new = NewMessage {
                        room: name.clone(),
                        id: Uuid::now_v7(),
                        sender: "ada".into(),
                        kind: Kind::User,
                        message: format!("what is {n} plus {n}?"),
                        reply_to: None,
                        of: None,
                        stopped_by: None,
                        grounding: Default::default(),
                    };
                    open.push(new.id);
                    let posted = poster.post(new, Route::PersistAndAsk, None).await;
                    posted.expect("the engines are there");
                }
            }
        }));
    }
    let listening = {
        let live = live.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    LiveEvent::Message { room, frame, .. } => {
                        let message = Message::from_frame(&frame).expect("a message");
                        drop(ears[&*room].send(message));
                    }
                    LiveEvent::Gap { room, .. } => {
                        let tail = live.tail(&room, 0, 1_000).await.expect("Redis");
                        for message in tail.messages {
                            drop(ears[&*room].send(message));
                        }
                    }
                    _ => {}
                }
            }
        })
    };

    let began = Instant::now();
    for kill in 1..=KILLS {
        let worker = &chat.workers[dice.random_range(0..chat.workers.len())];
        until("more is answered", DEADLINE + PATIENCE, async || {
            (answered.load(SeqCst) >= kill * ALL / (KILLS + 1)).then_some(())
        })
        .await;
        worker.kill();
        worker.start_again();
    }
    for room in asking {
        room.await.expect("a room in which all is answered");
    }
    listening.abort();

    let mut outcomes: HashMap<String, usize> = HashMap::new();
    for call in chat.model.requests() {
        *outcomes.entry(call.outcome).or_default() += 1;
    }
    let (mut fallbacks, mut slowest) = (0, Duration::ZERO);
    for n in 0..ROOMS {
        let room = format!("room-{n}");
        let shown = live.tail(&room, 0, 1_000).await.expect("Redis").messages;
        let ids: Vec<Uuid> = shown.iter().map(|message| message.id).collect();
        until("all is in the database", PATIENCE, async || {
            let kept = store.existing(&room, &ids).await.ok()?;
            (kept.len() == ids.len()).then_some(())
        })
        .await;
        let kept = store.after(&room, 0, 1_000).await.expect("the database");
        assert_eq!(
            kept.iter().map(|message| message.id).collect::<Vec<_>>(),
            ids,
            "{room}"
        );
        let (requests, replies): (Vec<_>, Vec<_>) =
            shown.iter().partition(|message| message.kind == Kind::User);
        let answers: Vec<_> = replies.iter().filter_map(|reply| reply.reply_to).collect();
        let asked: Vec<_> = requests.iter().map(|request| request.id).collect();
        assert_eq!(
            answers, asked,
            "{room}, seed {seed}: each once and in order"
        );
        for (request, reply) in requests.iter().zip(&replies) {
            let took = Duration::from_micros(reply.seq - request.seq);
            assert!(took <= DEADLINE + POSTING, "{room}, seed {seed}: {took:?}");
            slowest = slowest.max(took);
            fallbacks += usize::from(reply.kind == Kind::Fallback);
        }
    }
    println!(
        "{ALL} requests in {:?}; the slowest reply took {slowest:?}, {fallbacks} were fallbacks; calls: {outcomes:?}",
        began.elapsed()
    );
    for word in ["ok", "429", "503", "stall", "cut", "empty"] {
        let is_there = outcomes.keys().any(|outcome| outcome.starts_with(word));
        assert!(is_there, "no call ended with {word}: {outcomes:?}");
    }
}

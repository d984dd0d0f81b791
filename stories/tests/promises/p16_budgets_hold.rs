//! P16: a budget is exceeded by one call at most, with any number of workers that are killed meanwhile; and what a day
//! has used is the same wherever one looks.

use std::time::Duration;

use common::store::usage::{UsageAsked, UsageBy, UsageSum};
use serde_json::Value;
use stories::{Chat, PATIENCE, Person, Process, Setup, until};

/// How long all answers may take on a busy machine.
const ALL_ANSWERS: Duration = Duration::from_secs(120);

fn worker_settings(more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let all = [("GEMINI_MODELS", "only"), ("BOT_USER_RPM", "0")];
    all.iter()
        .chain(more)
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

async fn no_workers() -> Chat {
    Chat::with(Setup {
        workers: 0,
        ..Setup::default()
    })
    .await
}

/// Each in the room of their own, where the bot answers everything.
async fn people(chat: &Chat, names: &[&str]) -> Vec<Person> {
    let mut people = Vec::new();
    for name in names {
        let mut person = Person::register(&chat.url(0), name).await;
        person.connects().await;
        person.joins(name, None).await;
        people.push(person);
    }
    people
}

async fn reply_to(person: &Person, question: uuid::Uuid) -> Value {
    until("the reply", ALL_ANSWERS, async || {
        let is_reply = |message: &Value| message["reply_to"] == question.to_string();
        person.messages().into_iter().find(is_reply)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_killed_while_they_use_a_budget_up() {
    let mut chat = no_workers().await;
    chat.model.behave("delay=200ms pace=1ms").expect("an order");
    // A call holds some 10,000 and uses some 200: while one is under way the others wait.
    let limit = 1_500;
    let settings = worker_settings(&[
        ("BOT_BUDGET_SERVER_DAY", "1500 tokens"),
        ("BOT_DEADLINE", "15"),
    ]);
    for name in ["first", "second", "third"] {
        let worker = chat.service("bot-worker", name, &settings);
        worker.ready().await;
        chat.workers.push(worker);
    }
    let names = [
        "ada", "bob", "eve", "may", "ian", "joe", "kim", "lea", "mia", "ned",
    ];
    let mut people = people(&chat, &names).await;
    let mut questions = Vec::new();
    for person in &mut people {
        questions.push(person.says("what is two plus two?").await);
    }
    let asked = chat
        .model
        .requests_when(PATIENCE, |calls| calls.len() >= 3)
        .await;
    asked.expect("the model is asked");
    // With what they hold, if they do.
    chat.workers.truncate(1);
    for (person, question) in people.iter().zip(&questions) {
        reply_to(person, *question).await;
    }
    let used = |chat: &Chat| {
        let calls = chat.model.requests().into_iter();
        let used = calls.map(|call| call.used.tokens_in + call.used.tokens_out);
        used.fold((0, 0), |(sum, most), used| (sum + used, most.max(used)))
    };
    // What was held by who is dead lapses, and what is left is used up: each has waited for that long at most.
    let ada = &mut people[0];
    until("the budget to be used up", ALL_ANSWERS, async || {
        let question = ada.says("and now?").await;
        let is_out = reply_to(ada, question).await["kind"] == "fallback";
        let usage = ada.client.get("/api/usage").await;
        let budget = &usage.body["budgets"][0];
        let in_books = budget["used"].as_u64()?;
        assert_eq!(budget["limit"], limit, "{budget}");
        (is_out && in_books >= limit).then_some(())
    })
    .await;
    let (sum, most) = used(&chat);
    assert!(
        sum < limit + most,
        "{sum} were used, by {most} at most at once"
    );
    let usage = ada.client.get("/api/usage").await;
    let in_books = usage.body["budgets"][0]["used"].as_u64();
    assert!(
        in_books >= Some(sum),
        "{in_books:?} of {sum} are in the books"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_day_is_the_same_in_log_metrics_calls_and_the_models_own_count() {
    let mut chat = no_workers().await;
    chat.model.behave("pace=1ms").expect("an order");
    let prices = ("BOT_PRICES", "only=1/2/0.1");
    let settings = worker_settings(&[
        prices,
        ("BOT_BUDGET_PERSON_MONTH", "9.99"),
        ("BOT_BUDGET_ROOM_DAY", "1.00"),
    ]);
    for name in ["first", "second"] {
        let worker = chat.service("bot-worker", name, &settings);
        worker.ready().await;
        chat.workers.push(worker);
    }
    let mut people = people(&chat, &["ada", "bob", "eve"]).await;
    for round in 0..4 {
        if round == 1 {
            // Answers that are cut or refused before the one that stands.
            chat.model
                .behave_next(["cut", "503", "429 retry=50ms"])
                .expect("orders");
        }
        let mut questions = Vec::new();
        for person in &mut people {
            questions.push(person.says("what is two plus two?").await);
        }
        for (person, question) in people.iter().zip(questions) {
            assert_eq!(reply_to(person, question).await["kind"], "bot");
        }
    }
    // All are killed in the middle of an answer: what it has used is in no log, and in nobody's memory.
    chat.model.behave("pace=2s words=30").expect("an order");
    let before = chat.model.requests().len();
    let question = people[0].says("and in words?").await;
    let begun = chat
        .model
        .requests_when(PATIENCE, |calls| calls.len() > before)
        .await;
    assert!(begun.is_some());
    let mut metrics = [0.0; 2];
    for worker in &chat.workers {
        metrics = plus(metrics, tokens_of(worker).await);
    }
    chat.workers.clear();
    chat.model.behave("pace=1ms").expect("an order");
    let third = chat.service("bot-worker", "third", &settings);
    third.ready().await;
    chat.workers.push(third);
    assert_eq!(reply_to(&people[0], question).await["kind"], "bot");
    let metrics = plus(metrics, tokens_of(&chat.workers[0]).await);

    let calls = until("the model to see who hung up", PATIENCE, async || {
        let calls = chat.model.requests();
        calls.iter().all(|call| call.ended).then_some(calls)
    })
    .await;
    let counted = calls.iter().filter(|call| !call.hung_up);
    let counted = counted.fold((0, 0), |sum, call| {
        (sum.0 + call.used.tokens_in, sum.1 + call.used.tokens_out)
    });
    assert_eq!(
        metrics,
        [counted.0 as f64, counted.1 as f64],
        "metrics and the model's own count"
    );
    let database = chat.database().await;
    let today = UsageAsked {
        by: vec![UsageBy::User],
        since: "2026-01-01".into(),
        until: "9999-12-31".into(),
    };
    let log = until("the log to be whole", PATIENCE, async || {
        let log = database.usage(&today).await.ok()?;
        (log.iter().map(|sum| sum.requests).sum::<i64>() == 13).then_some(log)
    })
    .await;
    let sum_of = |of: fn(&UsageSum) -> i64| log.iter().map(of).sum::<i64>() as u64;
    assert_eq!(
        (sum_of(|sum| sum.tokens_in), sum_of(|sum| sum.tokens_out)),
        counted,
        "{log:?}"
    );
    for (person, sum) in people.iter().zip(&log) {
        let wanted = [sum.calls, sum.tokens_in, sum.tokens_out, sum.cost_micros].map(Some);
        until("the books to say the same", PATIENCE, async || {
            let own = person.client.get("/api/usage").await;
            let own = &own.body["month"];
            let names = ["calls", "tokens_in", "tokens_out", "cost_micros"];
            (names.map(|name| own[name].as_i64()) == wanted).then_some(())
        })
        .await;
        assert_eq!(sum.cost_micros, sum.tokens_in + 2 * sum.tokens_out);
    }
}

fn plus(one: [f64; 2], other: [f64; 2]) -> [f64; 2] {
    [one[0] + other[0], one[1] + other[1]]
}

/// What a worker has counted, in and out.
async fn tokens_of(worker: &Process) -> [f64; 2] {
    let [into, out] = ["in", "out"]
        .map(|way| format!("chinwag_bot_tokens_total{{model=\"only\",way=\"{way}\"}}"));
    [worker.metric(&into).await, worker.metric(&out).await]
}

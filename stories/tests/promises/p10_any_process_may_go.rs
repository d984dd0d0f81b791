//! P10: SIGTERM drains and loses nothing; any number of each service run side by side.

use std::time::{Duration, Instant};

use stories::{Chat, PATIENCE, Person, Process, Setup, until};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_drains_and_everyone_goes_elsewhere() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, bob] = chat.join("lobby", ["ada", "bob"]).await;
    let mut said = Vec::new();
    for n in 0..100 {
        said.push(ada.says(&format!("last words {n}")).await);
    }
    let first = ada.is_acked(said[0]).await;
    let (status, code) = tokio::join!(chat.edges[0].terminate(), bob.is_closed());
    assert!(status.success(), "{status}");
    assert_eq!(code, 1012);
    // Whatever was acked is kept; whatever was not is sent again and has one place.
    let last = ada.last_seq().max(first);
    ada.moves_to(&chat.url(1));
    ada.connects().await;
    ada.joins("lobby", Some(last)).await;
    let mut acked = Vec::new();
    for (n, id) in said.iter().enumerate() {
        ada.says_as(*id, &format!("last words {n}")).await;
        acked.push((*id, ada.is_acked(*id).await));
    }
    crate::assert_kept(&chat, &ada, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_drains_and_the_answer_still_comes_once() {
    let chat = Chat::with(Setup {
        workers: 1,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model.behave("delay=1s").expect("an order");
    let mut questions = Vec::new();
    for n in 0..5 {
        questions.push(ada.says(&format!("@bot what is {n} plus {n}?")).await);
    }
    chat.model
        .requests_when(PATIENCE, |calls| !calls.is_empty())
        .await
        .expect("the model was asked");
    let status = chat.workers[0].terminate().await;
    assert!(status.success(), "{status}");
    chat.workers[0].start_again();
    for question in &questions {
        ada.gets_reply_to(*question).await;
    }
    let history = ada.history().await;
    for question in questions {
        assert_eq!(
            history
                .iter()
                .filter(|message| message["reply_to"] == question.to_string())
                .count(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_drains_and_another_goes_on() {
    let chat = Chat::with(Setup {
        workers: 0,
        persisters: 2,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let mut acked = Vec::new();
    for n in 0..100 {
        acked.push(ada.says_and_is_acked(&format!("line {n}")).await);
        if n == 50 {
            let status = chat.persisters[0].terminate().await;
            assert!(status.success(), "{status}");
        }
    }
    crate::assert_kept(&chat, &ada, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_is_stopped_without_a_database_and_hands_back_all_that_it_has() {
    use private_engines::Engine;
    let mut chat = Chat::with(Setup {
        workers: 0,
        own_engines: true,
        settings: vec![("PERSIST_BATCH_MESSAGES", "10".to_owned())],
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let mut acked = vec![ada.says_and_is_acked("before").await];
    chat.engines().kill(Engine::MariaDb).await;
    // One batch that cannot be written, one behind it, and some that nobody has looked at.
    for n in 0..50 {
        acked.push(ada.says_and_is_acked(&format!("line {n}")).await);
    }
    let persister = &chat.persisters[0];
    let status = persister.terminate().await;
    assert!(status.success(), "{status}");
    let said = persister.log();
    assert!(said.contains("stopped: nothing is in hand"), "{said}");
    chat.engines().start_engine(Engine::MariaDb).await;
    let another = chat.service("persister", "another-persister", &[]);
    chat.persisters.push(another);
    crate::assert_kept(&chat, &ada, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_stop_is_gone_in_time_though_the_broker_stands_still() {
    use private_engines::Engine;
    const DRAIN: Duration = Duration::from_secs(2);
    /// Beyond it: what a busy machine needs to end a process.
    const ENDING: Duration = Duration::from_secs(2);
    let chat = Chat::with(Setup {
        own_engines: true,
        settings: vec![("DRAIN_SECONDS", "2".to_owned())],
        ..Setup::default()
    })
    .await;
    chat.engines().freeze(Engine::RabbitMq).await;
    let told = Instant::now();
    let (worker, persister) =
        tokio::join!(chat.workers[0].terminate(), chat.persisters[0].terminate());
    assert!(
        worker.success() && persister.success(),
        "{worker} {persister}"
    );
    assert!(told.elapsed() < DRAIN + ENDING, "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn services_start_in_any_order_and_say_what_they_wait_for() {
    use private_engines::Engine;
    let mut chat = Chat::with(Setup {
        edges: 0,
        workers: 0,
        persisters: 0,
        own_engines: true,
        ..Setup::default()
    })
    .await;
    for engine in [Engine::Redis, Engine::RabbitMq, Engine::MariaDb] {
        chat.engines().stop(engine).await;
    }
    chat.edges.push(chat.service("ws-edge", "early-edge", &[]));
    chat.workers
        .push(chat.service("bot-worker", "early-worker", &[]));
    chat.persisters
        .push(chat.service("persister", "early-persister", &[]));
    for process in [&chat.edges[0], &chat.workers[0], &chat.persisters[0]] {
        until("it says what it waits for", PATIENCE, async || {
            process.log().contains("waiting for").then_some(())
        })
        .await;
        assert_eq!(process.readiness().await, Some(503));
    }
    for engine in [Engine::MariaDb, Engine::RabbitMq, Engine::Redis] {
        chat.engines().start_engine(engine).await;
    }
    for process in [&chat.edges[0], &chat.workers[0], &chat.persisters[0]] {
        process.ready().await;
    }
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let question = ada.says("@bot what is two plus two?").await;
    ada.gets_reply_to(question).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_takes_load_off_the_first() {
    let settings = vec![("BOT_CONCURRENCY", "2".to_owned())];
    let chat = Chat::with(Setup {
        workers: 2,
        settings,
        ..Setup::default()
    })
    .await;
    chat.model.behave("delay=500ms").expect("an order");
    let mut people = Vec::new();
    for n in 0..8 {
        let [person] = chat
            .join(&format!("room-{n}"), [format!("person-{n}").as_str()])
            .await;
        people.push(person);
    }
    let mut questions = Vec::new();
    for person in &mut people {
        questions.push(person.says("@bot hello").await);
    }
    for (person, question) in people.iter().zip(questions) {
        person.gets_reply_to(question).await;
    }
    let most = chat
        .model
        .requests()
        .iter()
        .map(|call| call.under_way)
        .max();
    assert!(
        most > Some(2),
        "one worker alone would never have more than 2 calls under way: {most:?}"
    );
}

/// Six people ask in six rooms, of which one worker holds all and answers one at a time; then another comes.
async fn a_backlog_and_another_worker() -> (Chat, Vec<(Person, Uuid)>, Process) {
    let chat = Chat::with(Setup {
        workers: 1,
        settings: vec![("BOT_CONCURRENCY", "1".to_owned())],
        ..Setup::default()
    })
    .await;
    chat.model.behave("delay=3s").expect("an order");
    let mut people = Vec::new();
    for name in ["ada", "bob", "cleo", "dan", "eve", "finn"] {
        let mut person = Person::register(&chat.url(0), name).await;
        person.connects().await;
        person.joins(name, None).await;
        let (question, _) = person.says_and_is_acked("what is two plus two?").await;
        people.push((person, question));
    }
    until("the worker holds all of it", PATIENCE, async || {
        let held = chat.workers[0].metric("chinwag_bot_under_way").await;
        (held >= 4.0).then_some(())
    })
    .await;
    let other = chat.service("bot-worker", "other", &[]);
    (chat, people, other)
}

async fn each_is_answered_once(people: &[(Person, Uuid)]) {
    for (person, question) in people {
        let reply = person.gets_reply_to(*question).await;
        assert_eq!(reply["kind"], "bot", "{reply}");
        let history = person.history().await;
        let replies = history
            .iter()
            .filter(|message| message["reply_to"] == question.to_string());
        assert_eq!(replies.count(), 1, "{}", person.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_worker_answers_what_another_holds() {
    let (chat, people, other) = a_backlog_and_another_worker().await;
    until("it has answered something", PATIENCE, async || {
        other.log().contains("answered").then_some(())
    })
    .await;
    each_is_answered_once(&people).await;
    assert_eq!(
        chat.model.requests().len(),
        people.len(),
        "none was asked twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_requests_is_killed_while_another_answers_one() {
    let (chat, people, other) = a_backlog_and_another_worker().await;
    let asked = |calls: &[practice_model::ReceivedCall]| calls.len() >= 2;
    chat.model
        .requests_when(PATIENCE, asked)
        .await
        .expect("both ask");
    chat.workers[0].kill();
    each_is_answered_once(&people).await;
    other.assert_running();
    let calls = chat.model.requests().len();
    assert!(
        calls <= people.len() + 1,
        "only what the killed one asked is asked again: {calls}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_what_another_holds_is_killed() {
    let (chat, people, other) = a_backlog_and_another_worker().await;
    let asked = |calls: &[practice_model::ReceivedCall]| calls.len() >= 2;
    chat.model
        .requests_when(PATIENCE, asked)
        .await
        .expect("both ask");
    other.kill();
    each_is_answered_once(&people).await;
    let calls = chat.model.requests().len();
    assert!(
        calls <= people.len() + 1,
        "only what the killed one asked is asked again: {calls}"
    );
}

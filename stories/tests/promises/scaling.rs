//! Workers come and go with what there is to do: a controller plays KEDA, with the ScaledObject of `kubernetes/` and the
//! same question to RabbitMQ's management API, and starts and stops real workers.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use private_engines::Engines;
use reqwest::StatusCode;
use serde_json::{Value, json};
use stories::{Chat, PATIENCE, Person, Setup, until};
use tokio::time::sleep;

/// How long less has to do before somebody goes: minutes in the ScaledObject, and this here.
const CALM: Duration = Duration::from_secs(3);
/// Rooms of each of the six people.
const ROOMS: usize = 4;
/// The quota of a minute and what comes after it, on a machine that does much else.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// Between two looks: the ScaledObject's `pollingInterval` here.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the ScaledObject of the workers says.
struct ScaledObject {
    queues: String,
    most: usize,
}

impl ScaledObject {
    fn of_the_workers() -> ScaledObject {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../kubernetes/components/queue-depth/scaled-objects.yaml");
        let text = fs::read_to_string(path).expect("it is there");
        let object = text
            .split("---")
            .find(|part| part.contains("kind: ScaledObject\nmetadata:\n  name: bot-worker"))
            .expect("one for the workers");
        let value = |name: &str| {
            let found = object
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
            found
                .unwrap_or_else(|| panic!("{name} is not in it"))
                .trim()
        };
        let how = ["protocol", "mode", "useRegex", "operation"].map(value);
        assert_eq!(how, ["http", "QueueLength", "\"true\"", "sum"]);
        ScaledObject {
            queues: value("queueName").trim_matches('\'').to_owned(),
            most: value("maxReplicaCount").parse().expect("a number"),
        }
    }
}

/// KEDA's question: how much lies in the queues of such names, waiting or in somebody's hands.
async fn depth(engines: &Engines, vhost: &str, queues: &str) -> Option<usize> {
    let name: String = queues.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let asked = format!("page=1&use_regex=true&pagination=false&name={name}&page_size=100");
    let url = format!("{}/api/queues/{vhost}?{asked}", engines.management_url());
    let answer = chat_client::http().get(url).send().await.ok()?;
    let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
    let queues = answer["items"].as_array()?.iter();
    let messages = queues.map(|queue| queue["messages"].as_u64());
    messages.sum::<Option<u64>>()?.try_into().ok()
}

/// Starts and stops workers until so many run as are wanted. Whoever goes is told to, and has time to drain.
async fn scale(chat: &mut Chat, wanted: usize, settings: &[(&str, String)], started: &mut usize) {
    while chat.workers.len() < wanted {
        *started += 1;
        let worker = chat.service("bot-worker", &format!("worker-{started}"), settings);
        chat.workers.push(worker);
    }
    let going = chat.workers.split_off(wanted);
    for worker in &going {
        worker.signal("TERM");
    }
    for worker in &going {
        let ended = worker.terminate().await;
        assert!(ended.success(), "{ended}: {}", worker.log());
    }
}

/// Everybody asks so many things in each of their rooms; all of it is kept when this returns.
async fn ask(people: &mut [Person], rooms: usize, times: usize, edges: &[String]) {
    let asking = people.iter_mut().map(async |person| {
        for room in 0..rooms {
            person.room = format!("{}-{room}", person.name);
            for n in 0..times {
                let question = format!("what is {n} plus {n}?");
                person.says_until_acked(&question, edges).await;
            }
        }
    });
    join_all(asking).await;
}

/// How many questions in the room they talk in have no reply yet. Each that has one has it from the model, and one alone.
async fn unanswered(person: &Person) -> usize {
    let history = person.history().await;
    let is_answered = |question: &&Value| {
        let replies = |reply: &&Value| reply["reply_to"] == question["id"];
        let replies: Vec<&Value> = history.iter().filter(replies).collect();
        assert!(replies.len() <= 1, "{question}: {replies:?}");
        replies
            .iter()
            .for_each(|reply| assert_eq!(reply["kind"], "bot", "{reply}"));
        replies.len() == 1
    };
    let questions = history.iter().filter(|message| message["kind"] == "user");
    questions.filter(|question| !is_answered(question)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_grow_from_one_to_eight_and_back_with_the_depth_of_the_queue() {
    let object = ScaledObject::of_the_workers();
    // The same rule as `value: "16"` there: as many as one worker answers at a time.
    let each: usize = 2;
    let settings = [
        ("BOT_CONCURRENCY", each.to_string()),
        ("GEMINI_MODELS", "only".to_owned()),
        ("BOT_RPM", "110".to_owned()),
        ("BOT_DEADLINE", "300".to_owned()),
    ];
    let mut chat = Chat::with(Setup {
        workers: 0,
        management: true,
        ..Setup::default()
    })
    .await;
    chat.model
        .behave("quota rpm=110 delay=1s pace=1ms")
        .expect("an order");
    let vhost = chat
        .setting("AMQP_URL")
        .rsplit('/')
        .next()
        .expect("a vhost");
    let vhost = vhost.to_owned();
    let mut people = Vec::new();
    for name in ["ada", "bob", "eve", "may", "ian", "joe"] {
        let mut person = Person::register(&chat.url(0), name).await;
        person.connects().await;
        for room in 0..ROOMS {
            let name = format!("{name}-{room}");
            let room = json!({ "name": name, "bot": "always" });
            person
                .post("/api/rooms", room)
                .await
                .is(StatusCode::CREATED);
            person.joins(&name, None).await;
        }
        people.push(person);
    }

    let edges = [chat.url(0)];
    ask(&mut people[..1], 1, 1, &edges).await;
    let (mut started, mut counts, mut high_since) = (0, vec![1], Instant::now());
    let (begun, mut is_rush) = (Instant::now(), false);
    loop {
        assert!(begun.elapsed() < RUN_LIMIT, "{counts:?}");
        if let Some(messages) = depth(chat.engines(), &vhost, &object.queues).await {
            let now = chat.workers.len();
            let wanted = messages.div_ceil(each).clamp(1, object.most);
            if wanted >= now {
                high_since = Instant::now();
            }
            // Up at once, down by one when it has been calm for a while.
            let wanted = if wanted < now && high_since.elapsed() < CALM {
                now
            } else {
                wanted.max(now.saturating_sub(1)).max(1)
            };
            scale(&mut chat, wanted, &settings, &mut started).await;
            if counts.last() != Some(&wanted) {
                counts.push(wanted);
            }
            if messages == 0 && counts.len() > 1 && wanted == 1 {
                break;
            }
        }
        if !is_rush && unanswered(&people[0]).await == 0 {
            // One worker was enough for one question; now comes a rush, with more than a minute's quota.
            assert_eq!(counts, [1]);
            is_rush = true;
            ask(&mut people, ROOMS, 5, &edges).await;
        }
        sleep(LOOK_EVERY).await;
    }
    assert_eq!(counts.iter().max(), Some(&object.most), "{counts:?}");

    for person in &mut people {
        for room in 0..ROOMS {
            person.room = format!("{}-{room}", person.name);
            until("each has its reply", PATIENCE, async || {
                (unanswered(person).await == 0).then_some(())
            })
            .await;
        }
    }
    let quota = chat.model.quota();
    assert_eq!(quota.exceeded, 0, "the quota is kept: {counts:?}");
    assert!(quota.accepted >= 121, "{quota:?}");
}

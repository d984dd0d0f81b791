//! A model that thinks: what people see of it, how long it is let think, and what that has cost; and what a room has chosen.

use bot_worker::fallback::Reason;
use common::{
    envelope::{ReplyLog, reply_id},
    live::{BotOffer, Control, Live as _, LiveEvent, turns::Turns as _},
    store::{BotChoices, ChoiceChanges, RoomChanges, RoomKeeper, Rooms as _, Thinking},
    wire::{Kind, Message, ServerFrame},
};
use serde_json::json;
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene};

/// What is shown of a request whose model thinks, by attempt.
fn thinking(seen: &[ServerFrame], question: &Message) -> Vec<u32> {
    let of = |frame: &ServerFrame| match frame {
        ServerFrame::Draft {
            reply_to,
            attempt,
            text,
            thinking: true,
            ..
        } if *reply_to == question.id => {
            assert!(text.is_empty(), "what it thinks is not shown: {text:?}");
            Some(*attempt)
        }
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

fn waiting(seen: &[ServerFrame], question: &Message) -> Vec<usize> {
    let of = |frame: &ServerFrame| match frame {
        ServerFrame::Draft {
            reply_to, waiting, ..
        } if *reply_to == question.id => *waiting,
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

/// How a reply came about, once it is in the queue.
async fn log_of(scene: &Scene, reply: &Message) -> ReplyLog {
    scene.queue.settled_when(1).await;
    let envelopes = scene.persisted();
    let mut ours = envelopes
        .into_iter()
        .filter(|one| one.message.id == reply.id);
    ours.next().unwrap().reply.unwrap()
}

async fn stop(scene: &Scene, question: &Message) {
    let (room, reply) = (question.room.clone(), reply_id(&question.room, question.id));
    let by = question.sender.clone();
    scene.control(Control::StopReply { room, reply, by }).await;
}

async fn chooses(scene: &Scene, choices: ChoiceChanges) {
    let changes = RoomChanges {
        choices,
        ..RoomChanges::default()
    };
    let changed = scene
        .store
        .change_room("lobby", &changes, RoomKeeper::Owner("ada"));
    changed.await.unwrap().unwrap();
}

#[tokio::test]
async fn that_it_thinks_is_seen_at_once_and_can_be_stopped_before_the_first_word() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave("think=60s").unwrap();
    let question = scene.asks("why?").await;
    let attempts = scene.drafts_when(|seen| {
        Some(thinking(seen, &question)).filter(|attempts| !attempts.is_empty())
    });
    assert_eq!(attempts.await, [101]);
    // Whoever joins now is told as well.
    let draft = scene.live.draft_snapshot("lobby").await.unwrap().unwrap();
    assert_eq!((draft.reply_to, &*draft.text), (question.id, ""));
    let asked = scene
        .practice
        .requests_when(PATIENCE, |calls| !calls.is_empty());
    asked.await.unwrap();
    stop(&scene, &question).await;
    let reply = scene.reply_to(&question).await;
    assert_eq!(reply.kind, Kind::Fallback);
    assert!(reply.message.starts_with("Stopped"), "{}", reply.message);
    let log = log_of(&scene, &reply).await;
    assert_eq!(log.outcome, "stopped");
    assert!(log.tokens_in > 0 && log.details.estimated, "{log:?}");
}

#[tokio::test]
async fn a_model_that_thinks_for_long_is_asked_once_whether_it_thinks_aloud_or_not() {
    // The defaults, a tenth of each: a model that thinks for 26 s, and says nothing meanwhile, has a deadline of a minute.
    for order in ["think=2600ms silent", "think=4500ms"] {
        let scene = Scene::with_worker(&["--bot-deadline", "6", "--bot-idle-seconds", "1"]).await;
        scene
            .practice
            .behave(&format!("pace=1ms say=four {order}"))
            .unwrap();
        let question = scene.asks("why?").await;
        let reply = timeout(2 * PATIENCE, scene.reply_to(&question))
            .await
            .unwrap();
        assert_eq!(
            (reply.kind, &*reply.message),
            (Kind::Bot, "four"),
            "{order}"
        );
        let calls = scene.practice.requests();
        assert_eq!(calls.len(), 1, "{order}");
        let log = log_of(&scene, &reply).await;
        let used = calls[0].used;
        assert_eq!(u64::from(log.tokens_in), used.tokens_in, "{order}");
        assert_eq!(u64::from(log.tokens_out), used.tokens_out, "{order}");
        assert_eq!(u64::from(log.details.tokens_thought), used.tokens_thought);
        assert!(used.tokens_thought > 0 && !log.details.estimated, "{log:?}");
    }
}

#[tokio::test]
async fn a_model_that_thinks_until_the_deadline_is_not_left_and_what_it_used_is_in_the_log() {
    for (order, is_estimated) in [
        ("think=30s", false),
        ("think=30s counts=last", true),
        ("think=30s silent", true),
    ] {
        let flags = ["--bot-deadline", "4", "--bot-first-token-seconds", "10"];
        let scene = Scene::with_worker(&flags).await;
        scene.practice.behave(order).unwrap();
        let question = scene.asks("why?").await;
        let reply = scene.reply_to(&question).await;
        assert_eq!(reply.kind, Kind::Fallback, "{order}");
        assert_eq!(scene.practice.requests().len(), 1, "{order}");
        let log = log_of(&scene, &reply).await;
        assert_eq!(log.outcome, Reason::TooSlow.as_str(), "{order}");
        assert!(log.tokens_in > 0, "{order}: {log:?}");
        assert_eq!(log.details.estimated, is_estimated, "{order}: {log:?}");
        let hung_up = scene
            .practice
            .requests_when(PATIENCE, |calls| calls[0].hung_up);
        let used = hung_up.await.unwrap()[0].used;
        if !order.contains("silent") {
            assert!(log.tokens_out > 0, "{order}: {log:?}");
        }
        if !is_estimated {
            assert_eq!(u64::from(log.tokens_out), used.tokens_out, "{order}");
        }
    }
}

#[tokio::test]
async fn each_attempt_is_seen_to_think_anew_under_a_higher_number() {
    let scene = Scene::with_worker(&[]).await;
    scene
        .practice
        .behave_next(["503", "pace=1ms say=four"])
        .unwrap();
    let question = scene.asks("why?").await;
    scene.reply_to(&question).await;
    assert_eq!(thinking(&scene.drafts(), &question), [101, 102]);
}

#[tokio::test]
async fn whoever_waits_is_told_how_many_are_before_them() {
    let scene = Scene::with_worker(&[]).await;
    scene.practice.behave("think=60s").unwrap();
    let mut questions = Vec::new();
    for text in ["one?", "two?", "three?"] {
        questions.push(scene.asks(text).await);
    }
    let last = &questions[2];
    let told = |wanted: usize| {
        scene.drafts_when(move |seen| (waiting(seen, last).last() == Some(&wanted)).then_some(()))
    };
    told(2).await;
    assert!(waiting(&scene.drafts(), &questions[0]).is_empty());
    stop(&scene, &questions[0]).await;
    told(1).await;
    stop(&scene, last).await;
    assert_eq!(scene.reply_to(last).await.kind, Kind::Fallback);
}

#[tokio::test]
async fn a_room_is_answered_by_the_model_that_it_has_chosen_as_long_as_there_is_one() {
    let flags = [
        "--gemini-models",
        "gemini-3.8-flash,gemini-3.5-flash=The old one",
    ];
    let scene = Scene::with_worker(&flags).await;
    scene.practice.behave("pace=1ms say=four").unwrap();
    let asked = async |choices: Option<BotChoices>| {
        if let Some(BotChoices {
            model,
            thinking,
            search,
        }) = choices
        {
            let changes = ChoiceChanges {
                model: Some(model),
                thinking: Some(thinking),
                search: Some(search),
            };
            chooses(&scene, changes).await;
        }
        let question = scene.asks("why?").await;
        scene.reply_to(&question).await;
        scene.practice.requests().pop().unwrap()
    };
    let own = |model: &str, thinking: Option<Thinking>| BotChoices {
        model: Some(model.to_owned()),
        thinking,
        search: true,
    };
    let level = "/generationConfig/thinkingConfig/thinkingLevel";
    let call = asked(None).await;
    assert_eq!(call.model, "gemini-3.8-flash");
    assert_eq!(call.body().pointer(level), Some(&json!("LOW")));
    let call = asked(Some(own("gemini-3.5-flash", Some(Thinking::High)))).await;
    assert_eq!(call.model, "gemini-3.5-flash");
    assert_eq!(call.body().pointer(level), Some(&json!("HIGH")));
    // The server does not let anybody look things up.
    assert_eq!(call.body().get("tools"), None);
    let call = asked(Some(own("gemini-1.0-gone", None))).await;
    assert_eq!(call.model, "gemini-3.8-flash", "the server's own");
    let call = asked(Some(BotChoices::default())).await;
    assert_eq!(call.model, "gemini-3.8-flash");
    assert_eq!(scene.practice.requests().len(), 4, "none was refused");
}

#[tokio::test]
async fn what_an_answer_looked_up_goes_with_it_and_its_searches_are_in_the_log() {
    let scene = Scene::with_worker(&["--bot-search", "on"]).await;
    scene
        .practice
        .behave("pace=1ms say=four search=3 reads")
        .unwrap();
    let question = scene.asks("what is new?").await;
    let reply = scene.reply_to(&question).await;
    assert!(reply.grounding.is_empty(), "the room has it off");
    let search = ChoiceChanges {
        search: Some(true),
        ..ChoiceChanges::default()
    };
    chooses(&scene, search).await;
    let question = scene.asks("and now?").await;
    let reply = scene.reply_to(&question).await;
    let titles: Vec<&str> = reply
        .grounding
        .sources
        .iter()
        .map(|one| &*one.title)
        .collect();
    assert_eq!(titles, ["Page 1", "Page 2", "Page 3", "example.org"]);
    let html = reply.grounding.suggestions.as_ref().unwrap();
    assert!(
        html.contains("query 3") && html.contains("<style>"),
        "{html}"
    );
    scene.queue.settled_when(2).await;
    let envelopes = scene.persisted();
    let kept = envelopes
        .iter()
        .find(|one| one.message.id == reply.id)
        .unwrap();
    assert_eq!(kept.message.grounding, reply.grounding);
    assert_eq!(kept.reply.as_ref().unwrap().details.searches, 3);
}

#[tokio::test]
async fn what_rooms_may_choose_is_said_to_whoever_listens() {
    let scene = Scene::set().await;
    let (_line, mut events) = scene.live.subscriber(16);
    let mut scene = scene;
    scene.start(&[
        "--bot-search",
        "on",
        "--bot-thinking",
        "high",
        "--gemini-models",
        "a=The first,b",
    ]);
    let heard = async {
        loop {
            if let Some(LiveEvent::Control(Control::BotOffers(offer))) = events.recv().await {
                return offer;
            }
        }
    };
    let BotOffer {
        models,
        thinking,
        search,
    } = timeout(PATIENCE, heard).await.unwrap();
    let models: Vec<(&str, &str)> = models.iter().map(|one| (&*one.id, &*one.name)).collect();
    assert_eq!(models, [("a", "The first"), ("b", "b")]);
    assert_eq!((thinking, search), (Thinking::High, true));
}

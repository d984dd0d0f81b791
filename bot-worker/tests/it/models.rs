//! Every line of what is known of Gemini, as the client takes it: one call, and what it says may be done next. And the
//! same over the OpenAI-compatible chat API.

use std::time::Duration;

use bot_worker::{
    fallback::Reason,
    model::{
        Advice, Finished, Model, ModelError, Prompt, Role, Turn, Usage, Wishes, gemini::Gemini,
        http::SilenceLimits, openai::OpenAi,
    },
};
use common::store::Thinking;
use practice_model::PracticeModel;

const ONCE_MORE: Advice = Advice::OnceMore;
const AGAIN: Advice = Advice::Again { after: None };

pub(crate) async fn practice() -> PracticeModel {
    // Whoever comes second finds it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    let practice = PracticeModel::start(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    practice.behave("pace=1ms").unwrap();
    practice
}

/// Tells each of these stories over both APIs.
macro_rules! over_both_apis {
    ($($story:ident),* $(,)?) => {
        mod gemini { $(
            #[tokio::test]
            async fn $story() { super::$story(super::Api::Gemini).await }
        )* }
        mod openai { $(
            #[tokio::test]
            async fn $story() { super::$story(super::Api::OpenAi).await }
        )* }
    };
}

over_both_apis!(
    an_answer_comes_in_pieces_and_says_what_it_cost,
    however_the_stream_is_cut_into_chunks_the_answer_is_the_same,
    what_is_odd_about_a_stream_costs_at_most_the_words_of_one_event,
    what_was_complete_stays_complete_whatever_becomes_of_the_connection,
    errors_say_whether_to_try_again,
    the_delay_of_a_429_is_read_wherever_it_stands,
    a_model_that_goes_silent_is_left,
    a_stream_that_breaks_off_leaves_what_came_and_is_no_answer,
    reasons_to_finish_that_are_new_count_as_an_end,
    an_answer_longer_than_a_message_is_not_read_to_its_end,
    dropping_the_call_hangs_up,
    a_model_that_thinks_aloud_is_alive_and_one_that_is_silent_is_not,
    what_was_used_is_what_the_model_counts_or_else_what_was_seen,
    a_model_that_takes_no_word_on_thinking_is_asked_without_and_that_is_remembered,
    nobody_there_is_told_apart_from_silence,
);

#[derive(Clone, Copy)]
enum Api {
    Gemini,
    OpenAi,
}

fn client(api: Api, practice: &PracticeModel, key: Option<&str>) -> Box<dyn Model> {
    let limits = SilenceLimits {
        first_token: Duration::from_secs(2),
        idle: Duration::from_millis(1_500),
    };
    let key = key.map(|key| key.to_owned().into());
    let base_url = practice.base_url();
    match api {
        Api::Gemini => {
            Box::new(Gemini::new(&base_url.parse().unwrap(), key.as_ref(), limits).unwrap())
        }
        Api::OpenAi => {
            let url = format!("{base_url}/v1").parse().unwrap();
            Box::new(OpenAi::new(&url, key.as_ref(), limits).unwrap())
        }
    }
}

fn prompt(text: &str) -> Prompt {
    let turns = vec![Turn {
        role: Role::People,
        parts: vec![format!("ada: {text}")],
    }];
    Prompt {
        system: "You are bot.".into(),
        turns,
        tokens: 10,
        enough_chars: 4_000,
        wishes: Default::default(),
    }
}

/// How one call goes under an order: the text that came, and how it ended.
async fn ask(api: Api, order: &str) -> (String, Result<Finished, ModelError>) {
    let practice = practice().await;
    let order = format!("pace=1ms {order}");
    practice
        .behave(&order)
        .unwrap_or_else(|error| panic!("{order}: {error}"));
    let (text, outcome, _) = ask_at(api, &practice).await;
    (text, outcome)
}

async fn ask_at(
    api: Api,
    practice: &PracticeModel,
) -> (String, Result<Finished, ModelError>, Usage) {
    let (mut text, mut usage) = (String::new(), Usage::default());
    let mut pieces = |piece: &str| text.push_str(piece);
    let outcome = client(api, practice, None)
        .ask("a-model", &prompt("hello"), &mut pieces, &mut usage)
        .await;
    (text, outcome, usage)
}

/// The advice and reason of an order that must fail.
async fn failure(api: Api, order: &str) -> (Advice, Reason) {
    let (text, outcome) = ask(api, order).await;
    match outcome {
        Err(error) => (error.advice, error.reason),
        Ok(finished) => panic!("{order}: {finished:?} {text:?}"),
    }
}

async fn an_answer_comes_in_pieces_and_says_what_it_cost(api: Api) {
    let practice = practice().await;
    practice
        .behave("pace=1ms say=\"zwölf 🦉 und noch ein paar Wörter mehr\"")
        .unwrap();
    let (text, outcome, usage) = ask_at(api, &practice).await;
    let finished = outcome.unwrap();
    assert_eq!(text, "zwölf 🦉 und noch ein paar Wörter mehr");
    assert!(
        finished.complete && usage.tokens_in > 0 && usage.tokens_out > 0,
        "{finished:?} {usage:?}"
    );
}

async fn however_the_stream_is_cut_into_chunks_the_answer_is_the_same(api: Api) {
    let say = "say=\"zwölf 🦉 und noch ein paar Wörter mehr\"";
    for how in [
        "split=1",
        "split=7 crlf",
        "crlf",
        "thoughts",
        "stop-every",
        "stop-early",
        "finish-apart",
    ] {
        let (text, outcome) = ask(api, &format!("{say} {how}")).await;
        assert!(
            outcome.as_ref().is_ok_and(|finished| finished.complete),
            "{how}: {outcome:?}"
        );
        assert_eq!(text, "zwölf 🦉 und noch ein paar Wörter mehr", "{how}");
    }
}

async fn what_is_odd_about_a_stream_costs_at_most_the_words_of_one_event(api: Api) {
    let say = "say=\"zwölf 🦉 und noch ein paar Wörter mehr\"";
    for odd in [
        "done",
        "parts-null",
        "candidates-null",
        "parts-null candidates-null done",
        "listed",
        "halves",
        "halves split=1",
        "content-type=\"\"",
        "content-type=text/plain",
        "content-type=application/octet-stream",
        "content-type=application/json",
        "doubled=2",
    ] {
        let (text, outcome) = ask(api, &format!("{say} {odd}")).await;
        assert!(
            outcome.as_ref().is_ok_and(|finished| finished.complete),
            "{odd}: {outcome:?}"
        );
        let text = text.replace("mehrWörter mehr", "mehr");
        assert_eq!(
            text.replace(" Wörter mehr Wörter mehr", " Wörter mehr"),
            "zwölf 🦉 und noch ein paar Wörter mehr",
            "{odd}"
        );
    }
    for (odd, wanted) in [
        ("left-out=1", "zwölf 🦉 und Wörter mehr"),
        ("garbled=1", "zwölf 🦉 und Wörter mehr"),
        ("retyped=0", " noch ein paar Wörter mehr"),
        (
            "bad-byte=0",
            "\u{fffd}wölf 🦉 und noch ein paar Wörter mehr",
        ),
    ] {
        let (text, outcome) = ask(api, &format!("{say} {odd}")).await;
        assert_eq!(text, wanted, "{odd}");
        assert!(
            outcome.as_ref().is_ok_and(|finished| finished.complete),
            "{odd}: {outcome:?}"
        );
    }
}

async fn what_was_complete_stays_complete_whatever_becomes_of_the_connection(api: Api) {
    let say = "say=\"zwölf 🦉 und noch ein paar Wörter mehr\"";
    for end in ["cut after=99", "stall after=99", "event-error=503 after=99"] {
        let (text, outcome) = ask(api, &format!("{say} {end}")).await;
        assert!(
            outcome.as_ref().is_ok_and(|finished| finished.complete),
            "{end}: {outcome:?}"
        );
        assert_eq!(text, "zwölf 🦉 und noch ein paar Wörter mehr", "{end}");
    }
}

async fn errors_say_whether_to_try_again(api: Api) {
    for (order, wanted) in [
        ("400", (Advice::GiveUp, Reason::BadRequest)),
        ("400-precondition", (Advice::GiveUp, Reason::BadRequest)),
        ("400-key", (Advice::GiveUp, Reason::Refused)),
        ("402", (Advice::GiveUp, Reason::Refused)),
        ("403", (Advice::GiveUp, Reason::Refused)),
        ("404", (Advice::NextModel, Reason::NoModel)),
        ("429-day", (Advice::NextModel, Reason::Quota)),
        ("429-all", (Advice::NextModel, Reason::Quota)),
        ("429-bare", (AGAIN, Reason::Quota)),
        ("500", (AGAIN, Reason::Broken)),
        ("503", (AGAIN, Reason::Broken)),
        ("503 array", (AGAIN, Reason::Broken)),
        ("404 array", (Advice::NextModel, Reason::NoModel)),
        ("504", (AGAIN, Reason::TooSlow)),
        ("html=502", (AGAIN, Reason::Broken)),
        ("html=200", (AGAIN, Reason::Broken)),
        ("drop", (AGAIN, Reason::Broken)),
        ("empty", (AGAIN, Reason::Broken)),
        ("no-text", (ONCE_MORE, Reason::NoWords)),
        (
            "no-text finish=MALFORMED_FUNCTION_CALL",
            (ONCE_MORE, Reason::NoWords),
        ),
        ("thoughts-only", (Advice::NextModel, Reason::Broken)),
        ("garbage", (AGAIN, Reason::Broken)),
        ("garbage after=2", (ONCE_MORE, Reason::Broken)),
        ("block", (Advice::GiveUp, Reason::Safety)),
        ("block=UNHEARD_OF", (Advice::GiveUp, Reason::Safety)),
        ("safety", (Advice::GiveUp, Reason::Safety)),
        (
            "finish=PROHIBITED_CONTENT",
            (Advice::GiveUp, Reason::Safety),
        ),
        ("event-error=503", (AGAIN, Reason::Broken)),
        ("event-error=404", (Advice::NextModel, Reason::NoModel)),
        (
            "event-error=429-day after=2",
            (Advice::NextModel, Reason::Quota),
        ),
    ] {
        assert_eq!(failure(api, order).await, wanted, "{order}");
    }
}

async fn the_delay_of_a_429_is_read_wherever_it_stands(api: Api) {
    for (order, milliseconds) in [
        ("429 retry=34.074s", 34_074),
        ("429 retry=500ms", 500),
        ("429-tokens retry=2s", 2_000),
        ("429-message retry=34.07s", 34_070),
        ("event-error=429 after=2 retry=3s", 3_000),
        ("429 array retry=4s", 4_000),
    ] {
        let wanted = Advice::Again {
            after: Some(Duration::from_millis(milliseconds)),
        };
        assert_eq!(
            failure(api, order).await,
            (wanted, Reason::Quota),
            "{order}"
        );
    }
}

async fn a_model_that_goes_silent_is_left(api: Api) {
    for order in ["hang", "delay=5s", "stall after=0", "stall after=2"] {
        assert_eq!(
            failure(api, order).await,
            (Advice::AgainElsewhereFirst, Reason::TooSlow),
            "{order}"
        );
    }
}

async fn a_stream_that_breaks_off_leaves_what_came_and_is_no_answer(api: Api) {
    for order in [
        "cut after=2",
        "cut-line after=2",
        "cut-char after=2",
        "no-finish after=2",
        "cut after=2 stop-every",
        "event-error=503 after=2",
    ] {
        let (text, outcome) = ask(
            api,
            &format!(
                "say=\"ein Satz mit Wörtern, der länger ist als drei Stücke es wären 🦉🦉\" {order}"
            ),
        )
        .await;
        let error = outcome.unwrap_err();
        let advice = if order.starts_with("no-finish") {
            ONCE_MORE
        } else {
            AGAIN
        };
        assert_eq!(
            (error.advice, error.reason),
            (advice, Reason::Broken),
            "{order}: {error}"
        );
        assert!(text.starts_with("ein Satz"), "{order}: {text:?}");
    }
}

async fn reasons_to_finish_that_are_new_count_as_an_end(api: Api) {
    for (order, complete) in [
        ("finish=UNHEARD_OF", true),
        ("finish=OTHER", true),
        ("max-tokens", false),
    ] {
        let (text, outcome) = ask(api, order).await;
        assert_eq!(
            outcome.map(|finished| finished.complete),
            Ok(complete),
            "{order}"
        );
        assert!(!text.is_empty());
    }
}

async fn an_answer_longer_than_a_message_is_not_read_to_its_end(api: Api) {
    let (text, outcome) = ask(api, "words=20000").await;
    assert!(!outcome.unwrap().complete);
    assert!(
        (4_001..8_000).contains(&text.chars().count()),
        "{}",
        text.len()
    );
}

async fn a_model_that_thinks_aloud_is_alive_and_one_that_is_silent_is_not(api: Api) {
    let say = "say=\"zwölf 🦉 und noch ein paar Wörter mehr\"";
    let (text, outcome) = ask(api, &format!("{say} think=3s")).await;
    assert!(outcome.is_ok_and(|finished| finished.complete));
    assert_eq!(text, "zwölf 🦉 und noch ein paar Wörter mehr");
    let silent = (Advice::AgainElsewhereFirst, Reason::TooSlow);
    assert_eq!(failure(api, "think=9s silent").await, silent);
}

async fn what_was_used_is_what_the_model_counts_or_else_what_was_seen(api: Api) {
    for (order, is_counted) in [
        ("", true),
        ("thoughts", true),
        ("thoughts-between", true),
        ("signature", true),
        ("think=50ms", true),
        ("think=50ms silent", true),
        ("counts=last think=50ms", true),
        ("cached=2", true),
        ("words=60 cut after=5", true),
        ("max-tokens", true),
        ("thoughts-only", true),
        ("counts=none", false),
        ("counts=none thoughts cut after=4", false),
        ("counts=last words=60 cut after=5", false),
    ] {
        let practice = practice().await;
        practice.behave(&format!("pace=1ms {order}")).unwrap();
        let (_, outcome, usage) = ask_at(api, &practice).await;
        let used = practice.used_by_model()["a-model"].used;
        // Over this API the counts come at the very end.
        let is_counted = is_counted && !(matches!(api, Api::OpenAi) && order.contains("cut"));
        assert_eq!(
            usage.is_estimated, !is_counted,
            "{order}: {usage:?} {outcome:?}"
        );
        if is_counted {
            let counted = [
                usage.tokens_in,
                usage.tokens_cached,
                usage.tokens_out,
                usage.tokens_thought,
            ];
            let wanted = [
                used.tokens_in,
                used.tokens_cached,
                used.tokens_out,
                used.tokens_thought,
            ];
            assert_eq!(counted.map(u64::from), wanted, "{order}");
        } else {
            let seen = f64::from(usage.tokens_out) / used.tokens_out as f64;
            assert!((0.5..1.5).contains(&seen), "{order}: {usage:?} {used:?}");
        }
    }
}

async fn a_model_that_takes_no_word_on_thinking_is_asked_without_and_that_is_remembered(api: Api) {
    let practice = practice().await;
    practice.behave("pace=1ms no-thinking say=four").unwrap();
    let model = client(api, &practice, None);
    for calls in [2, 3, 4] {
        let mut text = String::new();
        let mut pieces = |piece: &str| text.push_str(piece);
        let (prompt, mut usage) = (prompt("hello"), Usage::default());
        let asked = model.ask("a-model", &prompt, &mut pieces, &mut usage);
        asked.await.unwrap();
        assert_eq!((text.as_str(), practice.requests().len()), ("four", calls));
    }
    // What is wrong with the request for another reason stays wrong, and no call is spent on it again.
    practice.behave("400").unwrap();
    let (prompt, mut usage) = (prompt("hello"), Usage::default());
    let mut nothing = |_: &str| {};
    let asked = model.ask("a-model", &prompt, &mut nothing, &mut usage);
    assert_eq!(asked.await.unwrap_err().reason, Reason::BadRequest);
    assert_eq!(practice.requests().len(), 5);
}

fn wishing(thinking: Thinking, search: bool) -> Prompt {
    Prompt {
        wishes: Wishes { thinking, search },
        ..prompt("hello")
    }
}

#[tokio::test]
async fn no_model_refuses_how_it_is_asked_to_think() {
    let practice = practice().await;
    practice.behave("pace=1ms say=four").unwrap();
    let gemini = client(Api::Gemini, &practice, None);
    let mut calls = 0;
    for model in [
        "gemini-3.8-flash",
        "gemini-3.7-flash",
        "gemini-3.5-flash",
        "gemini-3.5-flash-lite",
        "gemini-2.5-flash",
        "gemini-2.5-pro",
        "gemini-2.0-flash",
        "gemini-flash-latest",
        "gemma-3-27b-it",
        "anything",
    ] {
        for thinking in Thinking::ALL {
            let prompt = wishing(thinking, false);
            let (mut nothing, mut usage) = (|_: &str| {}, Usage::default());
            let asked = gemini.ask(model, &prompt, &mut nothing, &mut usage);
            asked.await.unwrap();
            calls += 1;
            assert_eq!(practice.requests().len(), calls, "{model} {thinking:?}");
        }
    }
}

#[tokio::test]
async fn what_a_model_looks_up_comes_with_its_answer_whole_or_in_pieces() {
    for order in [
        "search=3",
        "search=3 search-pieces words=30",
        "search=3 reads tool-tokens=50",
    ] {
        let practice = practice().await;
        practice.behave(&format!("pace=1ms {order}")).unwrap();
        let gemini = client(Api::Gemini, &practice, None);
        for search in [false, true] {
            let (mut nothing, mut usage) = (|_: &str| {}, Usage::default());
            let prompt = wishing(Thinking::Low, search);
            let finished = gemini.ask("gemini-3.8-flash", &prompt, &mut nothing, &mut usage);
            let grounding = finished.await.unwrap().grounding;
            let uris: Vec<&str> = grounding.sources.iter().map(|one| &*one.uri).collect();
            let mut wanted = vec![
                "https://redirect.example/grounding/1",
                "https://redirect.example/grounding/2",
                "https://redirect.example/grounding/3",
            ];
            // What it failed to read is no source.
            wanted.extend(
                order
                    .contains("reads")
                    .then_some("https://example.org/read"),
            );
            if !search {
                wanted.clear();
            }
            assert_eq!(uris, wanted, "{order}");
            assert_eq!(grounding.suggestions.is_some(), search, "{order}");
            assert_eq!(usage.searches, if search { 3 } else { 0 }, "{order}");
        }
        let used = practice.used_by_model()["gemini-3.8-flash"].used;
        assert_eq!(used.searches, 3);
    }
}

#[tokio::test]
async fn a_model_that_takes_no_tools_answers_without_and_still_thinks() {
    let practice = practice().await;
    practice.behave("pace=1ms no-tools say=four").unwrap();
    let gemini = client(Api::Gemini, &practice, None);
    for calls in [2, 3] {
        let (mut nothing, mut usage) = (|_: &str| {}, Usage::default());
        let prompt = wishing(Thinking::High, true);
        let asked = gemini.ask("gemini-3.8-flash", &prompt, &mut nothing, &mut usage);
        assert!(asked.await.unwrap().grounding.is_empty());
        assert_eq!(practice.requests().len(), calls);
    }
    let body = practice.requests().pop().unwrap().body();
    assert_eq!(body["tools"], serde_json::Value::Null);
    assert_eq!(
        body["generationConfig"]["thinkingConfig"]["thinkingLevel"],
        "HIGH"
    );
}

#[tokio::test]
async fn the_request_is_as_gemini_wants_it() {
    let practice = practice().await;
    let mut prompt = prompt("and now?");
    prompt.turns.insert(
        0,
        Turn {
            role: Role::Model,
            parts: vec!["Hello.".into()],
        },
    );
    prompt.turns.insert(
        0,
        Turn {
            role: Role::People,
            parts: vec!["ada: hi".into(), "bob: ho".into()],
        },
    );
    client(Api::Gemini, &practice, Some("a-key"))
        .ask("a-model", &prompt, &mut |_| {}, &mut Usage::default())
        .await
        .unwrap();
    let calls = practice.requests();
    assert_eq!((calls.len(), calls[0].model.as_str()), (1, "a-model"));
    let body = calls[0].body();
    assert_eq!(
        body["systemInstruction"]["parts"][0]["text"],
        "You are bot."
    );
    let roles: Vec<&str> = body["contents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| turn["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "model", "user"]);
    assert_eq!(body["contents"][0]["parts"][0]["text"], "ada: hi\n");
    assert_eq!(body["contents"][0]["parts"][1]["text"], "bob: ho");
    assert_eq!(calls[0].text, "ada: and now?");
}

async fn dropping_the_call_hangs_up(api: Api) {
    let practice = practice().await;
    practice.behave("stall after=1").unwrap();
    let gemini = client(api, &practice, None);
    let prompt = prompt("hello");
    let mut pieces = |_: &str| {};
    let asked = tokio::time::timeout(
        Duration::from_millis(150),
        gemini.ask("a-model", &prompt, &mut pieces, &mut Usage::default()),
    )
    .await;
    assert!(asked.is_err());
    let hung_up = practice
        .requests_when(Duration::from_secs(5), |calls| calls[0].hung_up)
        .await;
    assert!(hung_up.is_some());
}

#[tokio::test]
async fn whether_a_model_is_there_can_be_checked() {
    let practice = practice().await;
    let gemini = client(Api::Gemini, &practice, None);
    assert!(gemini.check("gemini-3.5-flash").await.is_ok());
    practice.behave_for_model("gone", "404").unwrap();
    assert_eq!(
        gemini.check("gone").await.unwrap_err().reason,
        Reason::NoModel
    );
    practice.behave("403").unwrap();
    assert_eq!(
        gemini.check("gemini-3.5-flash").await.unwrap_err().reason,
        Reason::Refused
    );
    assert_eq!(practice.model_checks(), 3);
}

async fn nobody_there_is_told_apart_from_silence(api: Api) {
    let practice = practice().await;
    let gemini = client(api, &practice, None);
    practice.stop().await.unwrap();
    let error = gemini
        .ask(
            "a-model",
            &prompt("hello"),
            &mut |_| {},
            &mut Usage::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(
        (error.advice, error.status),
        (AGAIN, "unreachable"),
        "{error}"
    );
}

#[tokio::test]
async fn the_request_is_as_chat_servers_want_it() {
    let practice = practice().await;
    let mut prompt = prompt("and now?");
    for (role, part) in [(Role::Model, "Hello."), (Role::People, "bob: ho")] {
        let parts = vec![part.to_owned(), "more".to_owned()];
        prompt.turns.insert(0, Turn { role, parts });
    }
    client(Api::OpenAi, &practice, Some("a-key"))
        .ask("llama3.2:3b", &prompt, &mut |_| {}, &mut Usage::default())
        .await
        .unwrap();
    let calls = practice.requests();
    assert_eq!((calls.len(), calls[0].model.as_str()), (1, "llama3.2:3b"));
    let messages = calls[0].body()["messages"].clone();
    let said: Vec<(&str, &str)> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            let word = |name: &str| message[name].as_str().unwrap();
            (word("role"), word("content"))
        })
        .collect();
    assert_eq!(
        said,
        [
            ("system", "You are bot."),
            ("user", "bob: ho\n\nmore"),
            ("assistant", "Hello.\n\nmore"),
            ("user", "ada: and now?"),
        ]
    );
}

#[tokio::test]
async fn whether_a_chat_server_has_a_model_can_be_checked() {
    let practice = practice().await;
    let client = client(Api::OpenAi, &practice, None);
    assert!(client.check("gemini-3.5-flash").await.is_ok());
    let error = client.check("llama").await.unwrap_err();
    assert_eq!(error.reason, Reason::NoModel);
    assert!(error.detail.contains("gemini-3.5-flash"), "{error}");
}

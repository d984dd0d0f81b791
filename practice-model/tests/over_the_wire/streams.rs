//! Streams that hang, stall, break off, or are not quite what the documentation says.

use std::time::{Duration, Instant};

use crate::caller::{Caller, LIMIT, Streamed, asking, read};

const SIX: &str = r#"say="one two three four five six seven eight nine ten eleven twelve""#;

async fn streamed(order: &str) -> Streamed {
    Caller::with(order).await.stream("hi").await
}

#[tokio::test]
async fn it_hangs_until_the_caller_hangs_up() {
    for order in ["hang", "delay=1m"] {
        let caller = Caller::with(order).await;
        let request = caller.request("streamGenerateContent?alt=sse", &asking("hi"));
        let answer = tokio::spawn(request.send());
        caller
            .model
            .requests_when(LIMIT, |calls| {
                calls.len() == 1 && calls[0].outcome != "waiting"
            })
            .await
            .unwrap();
        assert!(!answer.is_finished());
        answer.abort();
        let calls = caller
            .model
            .requests_when(LIMIT, |calls| calls[0].ended)
            .await
            .expect("a hang-up is noticed");
        assert!(calls[0].hung_up, "{order}");
    }
}

#[tokio::test]
async fn it_stalls_in_the_middle_with_the_connection_open() {
    for (order, expected) in [("stall", 2), ("stall after=3", 3), ("stall after=0", 0)] {
        let caller = Caller::with(&format!("{order} {SIX}")).await;
        let mut response = caller.asks("hi").await.unwrap();
        assert_eq!(response.status(), 200);
        for _ in 0..expected {
            assert!(response.chunk().await.unwrap().is_some());
        }
        let more = tokio::time::timeout(Duration::from_millis(50), response.chunk()).await;
        assert!(more.is_err(), "{order}: nothing more, and no end");
        assert!(!caller.model.requests()[0].ended);
        drop(response);
        let calls = caller
            .model
            .requests_when(LIMIT, |calls| calls[0].ended)
            .await
            .expect("a hang-up is noticed");
        assert!(calls[0].hung_up && calls[0].outcome == "stall");
    }
}

#[tokio::test]
async fn it_is_cut_between_events() {
    let streamed = streamed(&format!("cut {SIX}")).await;
    assert!(!streamed.complete);
    assert_eq!(streamed.said(), "one two three four five six");
    assert!(streamed.finishes().iter().all(String::is_empty));
    assert!(
        !Caller::with(&format!("cut after=0 {SIX}"))
            .await
            .stream("hi")
            .await
            .complete
    );
}

#[tokio::test]
async fn it_is_cut_inside_a_line() {
    let streamed = streamed(&format!("cut-line after=1 {SIX}")).await;
    assert!(!streamed.complete);
    let text = streamed.text();
    let (whole, broken) = text.split_once("\n\n").unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&whole[6..]).is_ok());
    assert!(broken.starts_with("data: {") && !broken.contains('\n'));
}

#[tokio::test]
async fn it_is_cut_inside_a_character() {
    for order in [
        "cut-char",
        "cut-char say=\"a b c ü d e f\" after=0",
        "cut-char say=\"ü a b c d e f g h i j\"",
    ] {
        let caller = Caller::with(order).await;
        let streamed = caller.stream("hi").await;
        assert!(!streamed.complete);
        let error = String::from_utf8(streamed.bytes()).unwrap_err();
        assert_eq!(
            error.utf8_error().error_len(),
            None,
            "{order}: the last character is not whole"
        );
    }
}

#[tokio::test]
async fn it_drops_the_connection_before_any_header() {
    let caller = Caller::with("drop").await;
    assert!(caller.asks("hi").await.is_err());
    assert_eq!(caller.model.requests()[0].outcome, "drop");
    assert_eq!(caller.status("hi").await, 200);
}

#[tokio::test]
async fn an_error_can_be_an_event() {
    let only = streamed("event-error=503").await;
    assert!(only.complete && only.status == 200);
    assert_eq!(only.events()[0]["error"]["status"], "UNAVAILABLE");
    let late = streamed(&format!("event-error=429 retry=2s after=2 {SIX}")).await;
    let events = late.events();
    assert_eq!(
        (events.len(), late.said().as_str()),
        (3, "one two three four five six")
    );
    assert_eq!(events[2]["error"]["details"][2]["retryDelay"], "2s");
    let array = streamed("event-error=500 array").await;
    assert_eq!(array.events()[0][0]["error"]["code"], 500);
}

#[tokio::test]
async fn a_prompt_can_be_blocked() {
    for (order, reason) in [
        ("block", "SAFETY"),
        ("block=PROHIBITED_CONTENT", "PROHIBITED_CONTENT"),
        ("block=NEW_ONE", "NEW_ONE"),
    ] {
        let streamed = streamed(order).await;
        let events = streamed.events();
        assert_eq!(
            (
                events.len(),
                events[0]["promptFeedback"]["blockReason"].as_str()
            ),
            (1, Some(reason))
        );
        assert!(events[0].get("candidates").is_none());
    }
}

#[tokio::test]
async fn a_reply_can_end_half_way() {
    for (order, said, finish) in [
        ("safety", "one two three four five six", "SAFETY"),
        ("max-tokens after=1", "one two three", "MAX_TOKENS"),
        ("safety after=0", "", "SAFETY"),
        (
            "finish=BRAND_NEW",
            "one two three four five six seven eight nine ten eleven twelve",
            "BRAND_NEW",
        ),
        (
            "finish=RECITATION after=3",
            "one two three four five six seven eight nine",
            "RECITATION",
        ),
    ] {
        let streamed = streamed(&format!("{order} {SIX}")).await;
        assert_eq!(
            (
                streamed.said().as_str(),
                streamed.finishes().pop().unwrap().as_str()
            ),
            (said, finish),
            "{order}"
        );
        assert!(streamed.complete);
    }
}

#[tokio::test]
async fn a_finish_reason_stands_in_odd_places() {
    let finishes = async |order: &str| streamed(&format!("{order} {SIX}")).await.finishes();
    assert_eq!(finishes("ok").await, ["", "", "", "STOP"]);
    assert_eq!(
        finishes("stop-every").await,
        ["STOP", "STOP", "STOP", "STOP"]
    );
    assert_eq!(finishes("stop-early").await, ["STOP", "", "", "", ""]);
    assert_eq!(finishes("finish-apart").await, ["", "", "", "", "STOP"]);
    assert_eq!(finishes("no-finish").await, ["", "", "", ""]);
    assert_eq!(finishes("no-finish after=2").await, ["", ""]);
    let apart = streamed("finish-apart").await;
    assert!(
        apart.events().last().unwrap()["candidates"][0]
            .get("content")
            .is_none()
    );
}

#[tokio::test]
async fn thoughts_come_before_the_text() {
    let streamed = streamed(&format!("thoughts {SIX}")).await;
    let events = streamed.events();
    assert_eq!(
        events[0]["candidates"][0]["content"]["parts"][0]["thought"],
        true
    );
    assert!(!streamed.said().contains("thought"));
    assert!(
        events.last().unwrap()["usageMetadata"]["thoughtsTokenCount"]
            .as_u64()
            .unwrap()
            > 0
    );
    let only = Caller::with("thoughts-only").await.stream("hi").await;
    assert_eq!(
        (
            only.said().as_str(),
            only.finishes().pop().unwrap().as_str()
        ),
        ("", "MAX_TOKENS")
    );
    let none = Caller::with("no-text").await.stream("hi").await;
    assert_eq!(
        (none.said().as_str(), none.finishes()),
        ("", vec!["STOP".to_owned()])
    );
}

#[tokio::test]
async fn bytes_come_in_any_pieces() {
    let split = streamed("split=1 say=\"Grüß dich 👋 und so weiter\"").await;
    assert!(split.chunks.iter().all(|chunk| chunk.len() == 1));
    assert_eq!(split.said(), "Grüß dich 👋 und so weiter");
    let lines = streamed(&format!("crlf split=7 {SIX}")).await;
    assert!(lines.text().contains("\r\n\r\n") && !lines.text().replace("\r\n", "").contains('\n'));
    assert_eq!(lines.events().len(), 4);
}

#[tokio::test]
async fn long_and_slow() {
    assert_eq!(
        streamed("words=500")
            .await
            .said()
            .split_whitespace()
            .count(),
        500
    );
    let begin = Instant::now();
    let slow = streamed(&format!("pace=40ms delay=100ms {SIX}")).await;
    assert_eq!(slow.events().len(), 4);
    assert!(begin.elapsed() >= Duration::from_millis(100 + 3 * 40));
}

#[tokio::test]
async fn a_stop_cuts_what_is_under_way_and_frees_the_address() {
    let caller = Caller::with(&format!("stall {SIX}")).await;
    let response = caller.asks("hi").await.unwrap();
    let hangs = asking("x [[practice: hang]]");
    let hanging = caller.request("streamGenerateContent?alt=sse", &hangs);
    let hanging = tokio::spawn(hanging.send());
    caller
        .model
        .requests_when(LIMIT, |calls| {
            calls.len() == 2 && calls[1].outcome == "hang"
        })
        .await
        .unwrap();
    let Caller { model, client } = caller;
    let address = model.address();
    model.stop().await.unwrap();
    assert!(!read(response).await.complete);
    assert_eq!(hanging.await.unwrap().unwrap().status(), 503);
    let again = practice_model::PracticeModel::start(address).await.unwrap();
    assert_eq!(
        client
            .get(format!("{}/healthz", again.base_url()))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn streams_are_odd_as_ordered() {
    let odd = async |order: &str| streamed(&format!("{SIX} {order}")).await;
    let plain = odd("ok").await.text();
    let frames = |text: &str| text.matches("data: ").count();
    assert!(odd("done").await.text().ends_with("data: [DONE]\n\n"));
    assert!(odd("parts-null").await.text().contains("\"parts\":null"));
    assert!(
        odd("candidates-null")
            .await
            .text()
            .contains("\"candidates\":null")
    );
    assert!(odd("garbled=1").await.text().contains("%%%"));
    assert!(odd("bad-byte=1").await.bytes().contains(&0xFF));
    assert_eq!(frames(&odd("doubled=1").await.text()), frames(&plain) + 1);
    assert_eq!(frames(&odd("left-out=0").await.text()), frames(&plain) - 1);
    assert!(
        odd("retyped=0")
            .await
            .text()
            .contains("data: [\"candidates\"")
    );
    assert!(streamed("say=🦉 halves").await.text().contains(r"\udd89"));
    for (order, wanted) in [
        ("content-type=text/plain", Some("text/plain")),
        ("content-type=\"\"", None),
    ] {
        let response = Caller::with(order).await.asks("hi").await.unwrap();
        let kind = response
            .headers()
            .get("content-type")
            .map(|kind| kind.to_str().unwrap());
        assert_eq!(kind, wanted, "{order}");
    }
}

//! Orders by both ways, and the record of calls.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::caller::{Caller, asking};

#[tokio::test]
async fn by_marker_and_by_control_call() {
    let caller = Caller::new().await;
    let orders = r#"{"default": "504", "next": ["404", "ok"], "models": {"b": "403"}}"#;
    assert_eq!(caller.control("/practice/behaviour", orders).await.0, 200);
    for expected in [404, 200, 504] {
        assert_eq!(caller.status("hi").await, expected);
    }
    assert_eq!(caller.status("hi [[practice: 503]]").await, 503);
    caller
        .model
        .behave_for_model("gemini-3.5-flash", "403")
        .unwrap();
    assert_eq!(
        caller.status("hi").await,
        403,
        "the model's is the more special one"
    );
    caller
        .model
        .behave_for_model("gemini-3.5-flash", "")
        .unwrap();
    assert_eq!(caller.status("hi").await, 504);
    caller.control("/practice/reset", "").await;
    assert_eq!(caller.status("hi").await, 200);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_refused() {
    let caller = Caller::new().await;
    for bad in [
        r#"{"default": "ok", "next": ["frobnicate"]}"#,
        r#"{"dflt": "ok"}"#,
        "not json",
    ] {
        let (status, body) = caller.control("/practice/behaviour", bad).await;
        assert_eq!(status, 400, "{bad}");
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
    assert!(caller.model.behave("frobnicate").is_err());
    let said = caller.stream("hi [[practice: frobnicate]]").await.said();
    assert!(
        said.contains("practice model") && said.contains("frobnicate"),
        "{said}"
    );
}

#[tokio::test]
async fn what_was_asked_is_on_record() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let before = u64::try_from(now.as_micros()).unwrap();
    let caller = Caller::new().await;
    caller.stream("ada: first").await;
    caller.stream("ada: second [[practice: 429]]").await;
    let shown = caller.shown("/practice/requests").await;
    assert_eq!(
        (shown["received"].as_u64(), shown["model_checks"].as_u64()),
        (Some(2), Some(0))
    );
    let first = &shown["requests"][0];
    assert_eq!(first["model"], "gemini-3.5-flash");
    assert_eq!(
        (&first["hung_up"], &first["ended"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        (&first["text"], &first["outcome"]),
        (&json!("ada: first"), &json!("ok"))
    );
    assert_eq!(first["body"], asking("ada: first"));
    assert!(first["at"].as_u64().unwrap() >= before && first["took"].is_u64());
    assert_eq!(shown["requests"][1]["outcome"], "429 RESOURCE_EXHAUSTED");
    let later = caller.shown("/practice/requests?after=1").await;
    assert_eq!(later["requests"].as_array().unwrap().len(), 1);
    assert_eq!(later["requests"][0]["id"], 2);

    assert_eq!(caller.model.requests().len(), 2);
    caller.model.reset();
    assert!(caller.model.requests().is_empty());
}

#[tokio::test]
async fn it_says_what_it_is() {
    let caller = Caller::new().await;
    let page = caller.client.get(caller.url("/")).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("practice model"));
}

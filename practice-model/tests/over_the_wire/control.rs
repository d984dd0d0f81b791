//! Orders by each of the three ways, and the record of calls.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::caller::{Caller, asking};

#[tokio::test]
async fn by_marker_by_header_and_by_control_call() {
    let caller = Caller::new().await;
    assert_eq!(caller.generate("hi [[practice: 503]]").await.status(), 503);
    let by_header = caller
        .request("generateContent", &asking("hi [[practice: 503]]"))
        .header("x-practice", "500");
    assert_eq!(
        by_header.send().await.unwrap().status(),
        500,
        "the header is the more special one"
    );
    let (status, orders) = caller
        .control(
            "/practice/behaviour",
            r#"{"default": "504", "next": ["404", "ok"], "models": {"b": "403"}}"#,
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        orders,
        json!({"default": "504", "next": ["404", "ok"], "models": {"b": "403"}, "known_models": []})
    );
    for expected in [404, 200, 504, 504] {
        assert_eq!(caller.generate("hi").await.status(), expected);
    }
    caller.control("/practice/reset", "").await;
    assert_eq!(caller.generate("hi").await.status(), 200);
}

#[tokio::test]
async fn it_fails_so_often_for_the_same_prompt_and_then_goes_well() {
    let caller = Caller::new().await;
    for expected in [503, 503, 200, 200] {
        assert_eq!(
            caller
                .generate("ada: hi [[practice: 503 times=2]]")
                .await
                .status(),
            expected
        );
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_refused() {
    let caller = Caller::new().await;
    for bad in [
        r#"{"default": "frobnicate"}"#,
        r#"{"dflt": "ok"}"#,
        "not json",
    ] {
        let (status, body) = caller.control("/practice/behaviour", bad).await;
        assert_eq!(status, 400, "{bad}");
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
    assert!(caller.model.behave("frobnicate").is_err());
    let by_header = caller
        .request("generateContent", &asking("hi"))
        .header("x-practice", "frobnicate")
        .send()
        .await
        .unwrap();
    assert_eq!(by_header.status(), 400);
    let said = caller.stream("hi [[practice: frobnicate]]").await.said();
    assert!(
        said.contains("practice model") && said.contains("frobnicate"),
        "{said}"
    );
}

#[tokio::test]
async fn what_was_asked_is_on_record() {
    let before = u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_micros(),
    )
    .unwrap();
    let caller = Caller::new().await;
    caller.stream("ada: first").await;
    caller.generate("ada: second [[practice: 429]]").await;
    let shown = caller.shown("/practice/requests").await;
    assert_eq!(
        (shown["received"].as_u64(), shown["model_checks"].as_u64()),
        (Some(2), Some(0))
    );
    let first = &shown["requests"][0];
    assert_eq!(first["model"], "gemini-3.5-flash");
    assert_eq!(
        (&first["streaming"], &first["hung_up"], &first["ended"]),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!(
        (&first["text"], &first["outcome"]),
        (&json!("ada: first"), &json!("ok"))
    );
    assert_eq!(first["body"], asking("ada: first"));
    assert!(first["at"].as_u64().unwrap() >= before && first["took"].is_u64());
    assert_eq!(shown["requests"][1]["outcome"], "429 RESOURCE_EXHAUSTED");
    let later = caller.shown("/practice/requests?after=1").await;
    assert_eq!(
        (
            later["requests"].as_array().unwrap().len(),
            &later["requests"][0]["id"]
        ),
        (1, &json!(2))
    );

    assert_eq!(caller.model.requests().len(), 2);
    caller.model.reset();
    assert!(caller.model.requests().is_empty());
}

#[tokio::test]
async fn it_says_what_it_is() {
    let caller = Caller::new().await;
    let page = caller
        .client
        .get(caller.url("/"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(page.contains("practice model"));
}

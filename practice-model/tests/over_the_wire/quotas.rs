//! Quotas that are counted, for the tests of a whole fleet.

use serde_json::Value;

use crate::caller::{Caller, MODEL};

#[tokio::test]
async fn requests_beyond_the_quota_are_refused_and_counted() {
    let caller = Caller::new().await;
    caller
        .model
        .behave("pace=0ms quota rpm=3 window=1m")
        .unwrap();
    let answers = futures_util::future::join_all((0..8).map(|_| caller.generate("hi"))).await;
    let refused: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status() == 429)
        .collect();
    assert_eq!(refused.len(), 5);
    for answer in refused {
        let error: Value = answer.json().await.unwrap();
        let details = &error["error"]["details"];
        assert_eq!(
            details[0]["violations"][0]["quotaId"],
            "GenerateRequestsPerMinutePerProjectPerModel-PaidTier"
        );
        assert_eq!(details[0]["violations"][0]["quotaValue"], "3");
        let delay: f64 = details[2]["retryDelay"]
            .as_str()
            .unwrap()
            .strip_suffix('s')
            .unwrap()
            .parse()
            .unwrap();
        assert!(delay > 50.0 && delay <= 60.0, "{delay}");
    }
    let shown = caller.shown("/practice/quota").await;
    assert_eq!(
        (
            shown["exceeded"].as_u64(),
            shown["models"][MODEL]["accepted"].as_u64()
        ),
        (Some(5), Some(3))
    );
    assert_eq!(
        caller.model.quota().models[MODEL].refused_by_requests_per_minute,
        5
    );

    caller
        .control("/practice/behaviour", r#"{"default": "quota-off"}"#)
        .await;
    assert_eq!(caller.generate("hi").await.status(), 200);
    assert_eq!(
        caller.model.quota().exceeded,
        5,
        "what was counted can still be asked for"
    );
}

#[tokio::test]
async fn tokens_and_days_are_counted_by_model() {
    let caller = Caller::new().await;
    caller
        .model
        .behave_for_model(MODEL, "quota tpm=10")
        .unwrap();
    assert_eq!(
        caller.generate("exactly six tokens here.").await.status(),
        200
    );
    let error: Value = caller
        .generate("exactly six tokens here.")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        error["error"]["details"][0]["violations"][0]["quotaId"],
        "GenerateContentPaidTierInputTokensPerModelPerMinute"
    );
    caller.model.behave_for_model(MODEL, "quota rpd=1").unwrap();
    let error: Value = caller.generate("hi").await.json().await.unwrap();
    let details = error["error"]["details"].as_array().unwrap();
    assert_eq!(
        details[0]["violations"][0]["quotaId"],
        "GenerateRequestsPerDayPerProjectPerModel-PaidTier"
    );
    assert_eq!(details.len(), 2, "no RetryInfo for a day");
    let other = caller
        .client
        .post(caller.url("/v1beta/models/other:generateContent"))
        .header("x-goog-api-key", "k");
    let other = other
        .json(&crate::caller::asking("hi"))
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), 200, "another model has its own");
}

#[tokio::test]
async fn a_place_is_free_again_after_the_delay() {
    let caller = Caller::new().await;
    caller.model.behave("quota rpm=1 window=200ms").unwrap();
    assert_eq!(caller.generate("hi").await.status(), 200);
    let error: Value = caller.generate("hi").await.json().await.unwrap();
    let delay: f64 = error["error"]["details"][2]["retryDelay"]
        .as_str()
        .unwrap()
        .strip_suffix('s')
        .unwrap()
        .parse()
        .unwrap();
    assert!(delay <= 0.2);
    // The very delay that was named, as a caller keeps it.
    tokio::time::sleep(std::time::Duration::from_secs_f64(delay)).await;
    assert_eq!(caller.generate("hi").await.status(), 200);
}

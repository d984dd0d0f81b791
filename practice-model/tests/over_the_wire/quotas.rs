//! Quotas that are counted, for the tests of a whole fleet.

use serde_json::Value;

use crate::caller::Caller;

/// The quota that an error names, its limit and its delay in seconds.
fn exceeded(error: &Value) -> (&str, &str, f64) {
    let details = &error["error"]["details"];
    let violation = &details[0]["violations"][0];
    let delay = details[2]["retryDelay"].as_str().unwrap();
    (
        violation["quotaId"].as_str().unwrap(),
        violation["quotaValue"].as_str().unwrap(),
        delay.strip_suffix('s').unwrap().parse().unwrap(),
    )
}

#[tokio::test]
async fn requests_beyond_the_quota_are_refused_and_counted() {
    let caller = Caller::new().await;
    caller.model.behave("pace=0ms quota rpm=3").unwrap();
    let answers = futures_util::future::join_all((0..8).map(|_| caller.stream("hi"))).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert_eq!(refused.len(), 5);
    for answer in refused {
        let error: Value = serde_json::from_slice(&answer.bytes()).unwrap();
        let (quota, limit, delay) = exceeded(&error);
        assert_eq!(
            quota,
            "GenerateRequestsPerMinutePerProjectPerModel-PaidTier"
        );
        assert!(limit == "3" && delay > 50.0 && delay <= 60.0, "{delay}");
    }
    let shown = caller.shown("/practice/requests").await;
    assert_eq!(
        (&shown["quota"]["accepted"], &shown["quota"]["exceeded"]),
        (&3.into(), &5.into())
    );
    assert_eq!(caller.model.quota().exceeded, 5);
    caller.model.behave("pace=0ms").unwrap();
    assert_eq!(caller.status("hi").await, 200);
    assert_eq!(
        caller.model.quota().exceeded,
        5,
        "what was counted can still be asked for"
    );
}

#[tokio::test]
async fn tokens_are_counted_and_a_place_is_free_again_after_the_delay() {
    let caller = Caller::new().await;
    caller
        .model
        .behave("pace=0ms quota tpm=10 window=200ms")
        .unwrap();
    assert_eq!(caller.status("exactly six tokens here.").await, 200);
    let (_, error) = caller.error("exactly six tokens here.").await;
    let (quota, limit, delay) = exceeded(&error);
    assert_eq!(
        (quota, limit),
        ("GenerateContentPaidTierInputTokensPerModelPerMinute", "10")
    );
    assert!(delay <= 0.2);
    // The very delay that was named, as a caller keeps it.
    tokio::time::sleep(std::time::Duration::from_secs_f64(delay)).await;
    assert_eq!(caller.status("exactly six tokens here.").await, 200);
}

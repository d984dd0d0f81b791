//! Errors in Google's form, each by its word.

use serde_json::Value;

use crate::caller::{Caller, MODEL};

const WORDS: [&str; 15] = [
    "400",
    "400-precondition",
    "400-key",
    "402",
    "403",
    "404",
    "429",
    "429-tokens",
    "429-day",
    "429-all",
    "429-message",
    "429-bare",
    "500",
    "503",
    "504",
];

fn detail<'a>(error: &'a Value, kind: &str) -> Option<&'a Value> {
    let suffix = format!("google.rpc.{kind}");
    error["error"]["details"].as_array()?.iter().find(|detail| {
        detail["@type"]
            .as_str()
            .is_some_and(|name| name.ends_with(&suffix))
    })
}

fn quota_ids(error: &Value) -> Vec<&str> {
    let violations =
        detail(error, "QuotaFailure").and_then(|failure| failure["violations"].as_array());
    violations
        .into_iter()
        .flatten()
        .filter_map(|violation| violation["quotaId"].as_str())
        .collect()
}

fn retry_delay(error: &Value) -> Option<&str> {
    detail(error, "RetryInfo")?["retryDelay"].as_str()
}

#[tokio::test]
async fn every_error_has_its_code_and_status() {
    let caller = Caller::new().await;
    for word in WORDS {
        let (status, error) = caller.error(&format!("hi [[practice: {word}]]")).await;
        let code: u16 = word.split('-').next().unwrap().parse().unwrap();
        assert_eq!(
            (status, error["error"]["code"].as_u64()),
            (code, Some(code.into())),
            "{word}"
        );
        let expected = match word {
            "400-precondition" => "FAILED_PRECONDITION",
            "403" => "PERMISSION_DENIED",
            "404" => "NOT_FOUND",
            "500" => "INTERNAL",
            "503" => "UNAVAILABLE",
            "504" => "DEADLINE_EXCEEDED",
            word if word.starts_with("400") => "INVALID_ARGUMENT",
            _ => "RESOURCE_EXHAUSTED",
        };
        assert_eq!(error["error"]["status"], expected, "{word}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
        assert_eq!(
            caller.model.requests().last().unwrap().outcome,
            format!("{code} {expected}")
        );
        let event = caller
            .stream(&format!("hi [[practice: event-error={word}]]"))
            .await;
        assert_eq!((event.status, &event.events()[0]), (200, &error), "{word}");
    }
}

#[tokio::test]
async fn a_quota_per_minute_says_when_to_come_back() {
    for delay in ["2s", "34.074824224s", "900ms"] {
        let (_, error) = Caller::with(&format!("429 retry={delay}"))
            .await
            .error("hi")
            .await;
        assert_eq!(retry_delay(&error), Some(delay));
        assert_eq!(
            quota_ids(&error),
            ["GenerateRequestsPerMinutePerProjectPerModel-PaidTier"]
        );
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .contains(&format!("Please retry in {delay}."))
        );
    }
    let (_, error) = Caller::with("429-tokens").await.error("hi").await;
    assert_eq!(
        (quota_ids(&error)[0], retry_delay(&error)),
        (
            "GenerateContentPaidTierInputTokensPerModelPerMinute",
            Some("1s")
        )
    );
}

#[tokio::test]
async fn a_quota_per_day_says_so() {
    let (_, error) = Caller::with("429-day").await.error("hi").await;
    assert_eq!(
        quota_ids(&error),
        ["GenerateRequestsPerDayPerProjectPerModel-PaidTier"]
    );
    assert_eq!(retry_delay(&error), None);
    assert_eq!(
        detail(&error, "QuotaFailure").unwrap()["violations"][0]["quotaDimensions"]["model"],
        MODEL
    );
    // The trap that has been seen: a day's quota with a delay of seconds.
    let (_, error) = Caller::with("429-day retry=3s").await.error("hi").await;
    assert_eq!(retry_delay(&error), Some("3s"));
    let (_, error) = Caller::with("429-all retry=3s").await.error("hi").await;
    assert_eq!(
        (quota_ids(&error).len(), retry_delay(&error)),
        (3, Some("3s"))
    );
}

#[tokio::test]
async fn a_429_may_lack_its_details() {
    let (_, error) = Caller::with("429-message retry=34.07s")
        .await
        .error("hi")
        .await;
    assert!(error["error"].get("details").is_none());
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .ends_with("Please retry in 34.07s.")
    );
    let (_, error) = Caller::with("429-bare").await.error("hi").await;
    assert!(error["error"].get("details").is_none());
    assert!(
        !error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("retry")
    );
}

#[tokio::test]
async fn an_unknown_key_is_a_400_with_its_reason() {
    let (status, error) = Caller::with("400-key").await.error("hi").await;
    assert_eq!(
        (
            status,
            detail(&error, "ErrorInfo").unwrap()["reason"].as_str()
        ),
        (400, Some("API_KEY_INVALID"))
    );
}

#[tokio::test]
async fn an_error_may_stand_in_an_array_of_one() {
    let (status, error) = Caller::with("429 retry=2s array").await.error("hi").await;
    assert_eq!((status, error.as_array().unwrap().len()), (429, 1));
    assert_eq!(retry_delay(&error[0]), Some("2s"));
}

#[tokio::test]
async fn pages_and_garbage() {
    let page = Caller::with("html=502").await.stream("hi").await;
    assert_eq!(page.status, 502);
    assert!(page.text().starts_with("<!DOCTYPE html>"));
    let well = Caller::with("html=200").await.asks("hi").await.unwrap();
    assert_eq!(well.headers()["content-type"], "text/html; charset=UTF-8");

    let streamed = Caller::with("garbage after=1").await.stream("hi").await;
    let text = streamed.text();
    let frames: Vec<&str> = text.trim_end().split("\n\n").collect();
    assert_eq!(frames.len(), 2);
    assert!(
        serde_json::from_str::<Value>(&frames[0][6..]).is_ok()
            && serde_json::from_str::<Value>(&frames[1][6..]).is_err()
    );

    assert!(
        Caller::with("empty")
            .await
            .stream("hi")
            .await
            .bytes()
            .is_empty()
    );
}

//! Calls that go well, and those that Gemini would refuse.

use serde_json::{Value, json};

use crate::caller::{Caller, MODEL, asking, read};

#[tokio::test]
async fn a_reply_is_as_gemini_writes_it() {
    let caller = Caller::new().await;
    let response = caller
        .asks("ada: @bot what is two plus two?")
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let streamed = read(response).await;
    let said = streamed.said();
    assert!(
        said.starts_with("Hello ada! Two plus two is four (4)."),
        "{said}"
    );
    assert!(said.contains("practice model"), "{said}");
    assert_eq!(
        streamed.events()[0],
        json!({
            "candidates": [{"index": 0, "content": {"parts": [{"text": "Hello ada! Two"}], "role": "model"}}],
            "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 4, "totalTokenCount": 12},
            "modelVersion": "gemini-3.5-flash-practice",
            "responseId": "practice-00000001",
        })
    );
}

#[tokio::test]
async fn a_streamed_reply() {
    let caller = Caller::new().await;
    let streamed = caller.stream("ada: @bot good morning").await;
    assert!(streamed.complete && streamed.status == 200);
    let events = streamed.events();
    assert!(events.len() > 3);
    assert!(
        streamed
            .said()
            .starts_with("Hello ada! You said: “good morning”"),
        "{}",
        streamed.said()
    );
    let (last, before) = events.split_last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert!(
        before
            .iter()
            .all(|event| event["candidates"][0].get("finishReason").is_none())
    );
    assert!(
        last["usageMetadata"]["candidatesTokenCount"].as_u64()
            > before[0]["usageMetadata"]["candidatesTokenCount"].as_u64()
    );
    assert!(streamed.text().ends_with("\n\n") && !streamed.text().contains("[DONE]"));
    // The same to the same.
    assert_eq!(
        streamed.said(),
        caller.stream("ada: @bot good morning").await.said()
    );
}

#[tokio::test]
async fn the_callers_own_limit_is_kept() {
    let caller = Caller::new().await;
    let mut body = asking("hi [[practice: say=\"one two three four five\"]]");
    body["generationConfig"] = json!({"maxOutputTokens": 2});
    let response = caller
        .request("streamGenerateContent?alt=sse", &body)
        .send();
    let streamed = read(response.await.unwrap()).await;
    assert_eq!(streamed.said(), "one two ");
    assert_eq!(streamed.finishes().pop().unwrap(), "MAX_TOKENS");
}

#[tokio::test]
async fn a_wrong_request_is_refused_and_noted() {
    let caller = Caller::new().await;
    let wrong = json!({"contents": [{"role": "assistant", "parts": [{"text": "hi"}]}]});
    let response = caller
        .request("streamGenerateContent?alt=sse", &wrong)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["status"], "INVALID_ARGUMENT");
    assert_eq!(
        error["error"]["message"],
        "Please use a valid role: user, model."
    );
    let noted = caller.model.requests();
    assert_eq!(
        (noted[0].outcome.as_str(), noted[0].ended, noted[0].hung_up),
        ("400 INVALID_ARGUMENT", true, false)
    );
    assert_eq!(noted[0].body(), wrong);
}

#[tokio::test]
async fn the_key_belongs_into_the_header() {
    let caller = Caller::new().await;
    let url = caller.url(&format!("/v1beta/models/{MODEL}:streamGenerateContent"));
    let none = caller
        .client
        .post(&url)
        .json(&asking("hi"))
        .send()
        .await
        .unwrap();
    assert_eq!(none.status(), 403);
    let in_url = caller
        .client
        .post(format!("{url}?key=secret"))
        .header("x-goog-api-key", "k")
        .json(&asking("hi"));
    let in_url = in_url.send().await.unwrap();
    assert_eq!(in_url.status(), 400);
    assert!(in_url.text().await.unwrap().contains("no key in the URL"));
    let outcomes: Vec<_> = caller
        .model
        .requests()
        .into_iter()
        .map(|call| call.outcome)
        .collect();
    assert_eq!(outcomes, ["403 PERMISSION_DENIED", "400 INVALID_ARGUMENT"]);
}

#[tokio::test]
async fn a_stream_without_alt_sse_and_unknown_calls_are_refused() {
    let caller = Caller::new().await;
    for (method, status) in [
        ("streamGenerateContent", 400),
        ("generateContent", 404),
        ("countTokens", 404),
    ] {
        let response = caller.request(method, &asking("hi")).send().await.unwrap();
        assert_eq!(response.status(), status, "{method}");
    }
    let elsewhere = caller
        .client
        .get(caller.url("/v2/models"))
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 404);
    assert_eq!(
        elsewhere.json::<Value>().await.unwrap()["error"]["status"],
        "NOT_FOUND"
    );
}

#[tokio::test]
async fn models_are_there_until_they_retire() {
    let caller = Caller::new().await;
    let ask = async |path: &str| {
        let response = caller
            .client
            .get(caller.url(path))
            .header("x-goog-api-key", "k")
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (status, model) = ask("/v1beta/models/gemini-anything").await;
    assert_eq!(
        (status, model["name"].as_str()),
        (200, Some("models/gemini-anything"))
    );
    let (_, list) = ask("/v1/models").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 4);

    caller.model.behave_for_model("gemini-old", "404").unwrap();
    let (status, gone) = ask("/v1beta/models/gemini-old").await;
    assert_eq!(
        (status, gone["error"]["status"].as_str()),
        (404, Some("NOT_FOUND"))
    );
    caller.model.behave_for_model("gemini-new", "503").unwrap();
    assert_eq!(ask("/v1beta/models/gemini-new").await.0, 503);
    assert_eq!(caller.model.model_checks(), 4);
}

#[tokio::test]
async fn the_same_is_said_over_the_chat_api() {
    let caller = Caller::new().await;
    let said = "ada: what is two plus two?";
    let ask = async |stream: bool| {
        let messages = [json!({"role": "user", "content": said})];
        let body = json!({"model": MODEL, "messages": messages, "stream": stream});
        let request = caller.client.post(caller.url("/v1/chat/completions"));
        request.json(&body).send().await.unwrap()
    };
    assert_eq!(ask(false).await.status(), 400, "it streams only");
    let body = ask(true).await.text().await.unwrap();
    let events: Vec<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    let (done, events) = events.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let events: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let streamed: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, caller.stream(said).await.said());
    let (counts, events) = events.split_last().unwrap();
    let last = &events.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "stop");
    assert_eq!(counts["usage"]["prompt_tokens"], 7);
    assert!(counts["usage"]["completion_tokens"].as_u64() > Some(0));
}

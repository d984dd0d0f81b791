//! P6: while a worker runs, the reply comes within the deadline, whatever Gemini does.

use std::time::{Duration, Instant};

use stories::{Chat, Setup};

/// Beyond the deadline itself: what a busy machine needs to carry the reply to the browser.
const CARRYING: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_which_the_model_fails_ends_in_a_reply_in_time() {
    const DEADLINE: Duration = Duration::from_secs(6);
    let settings = vec![
        ("BOT_DEADLINE", "6".to_owned()),
        ("BOT_CONCURRENCY", "32".to_owned()),
    ];
    let chat = Chat::with(Setup {
        settings,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    let failures = [
        "400",
        "402",
        "403",
        "404",
        "429 retry=30s",
        "429-day",
        "429-message retry=20s",
        "500",
        "503",
        "504",
        "hang",
        "drop",
        "stall",
        "cut",
        "cut-line",
        "cut-char",
        "garbage",
        "html=502",
        "empty",
        "event-error=503",
        "block",
        "no-text",
        "thoughts-only",
        "safety",
        "finish=UNHEARD_OF",
        "503 array",
    ];
    let began = Instant::now();
    let mut questions = Vec::new();
    for failure in failures {
        questions.push((
            failure,
            ada.says(&format!("@bot try this [[practice: {failure}]]"))
                .await,
        ));
    }
    for (failure, question) in questions {
        let reply = ada.gets_reply_to(question).await;
        assert!(
            began.elapsed() < DEADLINE + CARRYING,
            "{failure} took {:?}",
            began.elapsed()
        );
        let kind = reply["kind"].as_str().expect("a kind");
        assert!(matches!(kind, "bot" | "fallback"), "{failure}: {reply}");
        assert!(
            !reply["message"].as_str().expect("text").trim().is_empty(),
            "{failure}: {reply}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_questions_than_the_worker_can_ask_at_once_and_a_model_that_hangs() {
    let settings = vec![
        ("BOT_DEADLINE", "5".to_owned()),
        ("BOT_CONCURRENCY", "2".to_owned()),
    ];
    let chat = Chat::with(Setup {
        settings,
        ..Setup::default()
    })
    .await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model.behave("hang").expect("an order");
    let began = Instant::now();
    let mut questions = Vec::new();
    for n in 0..40 {
        questions.push(ada.says(&format!("@bot question {n}")).await);
    }
    for question in questions {
        let reply = ada.gets_reply_to(question).await;
        assert_eq!(reply["kind"], "fallback", "{reply}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5) + CARRYING,
        "took {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_recovers_is_asked_again() {
    let chat = Chat::start().await;
    let [mut ada] = chat.join("lobby", ["ada"]).await;
    chat.model
        .behave_next(["503", "429 retry=100ms"])
        .expect("an order");
    let question = ada.says("@bot what is two plus two?").await;
    let reply = ada.gets_reply_to(question).await;
    assert_eq!(reply["kind"], "bot", "{reply}");
    assert!(
        reply["message"].as_str().expect("text").contains("four"),
        "{reply}"
    );
}

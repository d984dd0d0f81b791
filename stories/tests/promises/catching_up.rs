//! Catching up with real processes around it: what somebody has not read is summed up once, though a worker is killed
//! meanwhile.

use common::store::ReadMarks;
use serde_json::json;
use stories::{Chat, PATIENCE, Setup, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_while_it_sums_up_what_somebody_has_not_read() {
    let mut chat = Chat::with(Setup {
        workers: 1,
        ..Setup::default()
    })
    .await;
    let room = "catching-up";
    let [mut ada, mut bob] = chat.join(room, ["ada-away", "bob-here"]).await;
    let (_, read) = bob.says_and_is_acked("what ada has read").await;
    let frame = json!({"type": "read", "room": room, "seq": read});
    ada.sends(&frame).await;
    bob.says_and_is_acked("we meet at five").await;
    let database = chat.database().await;
    until("what she has read is kept", PATIENCE, async || {
        let kept = database.read_up_to("ada-away", room).await.ok()?;
        (kept == read).then_some(())
    })
    .await;
    chat.model
        .behave_next(["think=60s", "pace=1ms say=\"You meet at five.\""])
        .expect("orders");
    let question = ada.says("@bot /catchup").await;
    let asked = chat.model.requests_when(PATIENCE, |calls| calls.len() == 1);
    asked.await.expect("the model was asked");
    chat.workers[0].kill();
    let next = chat.service("bot-worker", "worker-after", &[]);
    chat.workers.push(next);
    let reply = ada.gets_reply_to(question).await;
    assert_eq!(
        (&reply["kind"], &reply["message"]),
        (&json!("bot"), &json!("You meet at five."))
    );
    let replies = ada.history().await.into_iter();
    let replies = replies.filter(|message| message["reply_to"] == question.to_string());
    assert_eq!(replies.count(), 1, "one reply");
    let calls = chat.model.requests();
    assert_eq!(calls.len(), 2);
    for call in calls {
        let told = call.body()["contents"].to_string();
        assert!(told.contains("we meet at five"), "{told}");
        assert!(!told.contains("what ada has read"), "{told}");
    }
}

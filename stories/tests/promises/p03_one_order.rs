//! P3: every client, the history and the database show the same messages in the same order.

use std::time::Duration;

use common::store::Messages;
use stories::{Chat, PATIENCE, Setup, assert_one_order, until};

#[tokio::test(flavor = "multi_thread")]
async fn four_people_at_two_edges_talk_at_once_and_all_see_one_order() {
    let chat = Chat::with(Setup {
        edges: 2,
        workers: 0,
        ..Setup::default()
    })
    .await;
    let [mut ada, mut bob] = chat.join("lobby", ["ada", "bob"]).await;
    let [mut cleo, dan] = chat.join_at(1, "lobby", ["cleo", "dan"]).await;
    const EACH: usize = 100;
    let talk = async |person: &mut stories::Person| {
        for n in 0..EACH {
            person.says(&format!("{} {n}", person.name)).await;
        }
    };
    tokio::join!(talk(&mut ada), talk(&mut bob), talk(&mut cleo));
    let mut seen = Vec::new();
    for person in [&ada, &bob, &cleo, &dan] {
        let messages = until(
            &format!("{} has heard everything", person.name),
            PATIENCE,
            async || {
                let messages = person.messages();
                (messages.len() >= 3 * EACH).then_some(messages)
            },
        )
        .await;
        assert_one_order(&messages);
        seen.push(messages);
    }
    for other in &seen[1..] {
        assert_eq!(&seen[0], other, "two people saw different rooms");
    }
    // What one person says stays in the order in which it was said.
    for name in ["ada", "bob", "cleo"] {
        let lines: Vec<_> = seen[0]
            .iter()
            .filter(|message| message["sender"] == name)
            .map(|message| message["message"].clone())
            .collect();
        let expected: Vec<_> = (0..EACH).map(|n| format!("{name} {n}")).collect();
        assert_eq!(lines, expected);
    }
    let database = chat.database().await;
    until(
        "everything is in the database",
        Duration::from_secs(60),
        async || (database.after("lobby", 0, 1_000).await.ok()?.len() == 3 * EACH).then_some(()),
    )
    .await;
    let stored: Vec<_> = database
        .after("lobby", 0, 1_000)
        .await
        .expect("the database is there");
    let stored: Vec<serde_json::Value> = stored
        .iter()
        .map(|message| serde_json::to_value(message).expect("JSON"))
        .collect();
    assert_eq!(seen[0], stored, "the database shows another room");
    assert_eq!(
        seen[0],
        dan.history().await,
        "the history shows another room"
    );
}

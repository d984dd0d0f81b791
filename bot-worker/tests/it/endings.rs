//! What happens for each way in which a model can end: the table in `docs/models.md`, line by line.

use std::time::Duration;

use common::wire::Kind;
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use crate::scene::Scene;

const TABLE: &str = include_str!("../../../docs/models.md");

/// How many lines are played at a time: they wait more than they work.
const AT_A_TIME: usize = 20;

const FLAGS: [&str; 4] = ["--bot-deadline", "12", "--bot-idle-seconds", "0.8"];

/// What a line says: the order, and then how often, by whom, how, and how it is counted.
fn lines() -> Vec<(String, [String; 4])> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|line| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        (
            cells[2].trim_matches('`').to_owned(),
            [3, 4, 5, 6].map(|at| cells[at].clone()),
        )
    });
    cells.skip(1).collect()
}

/// The same, as it comes to pass.
async fn plays(order: &str) -> [String; 4] {
    let scene = Scene::with_worker(&FLAGS).await;
    scene.practice.behave(&format!("pace=1ms {order}")).unwrap();
    let question = scene.asks("why?").await;
    let reply = timeout(Duration::from_secs(20), scene.reply_to(&question));
    let reply = reply.await.unwrap();
    scene.queue.settled_when(1).await;
    scene.assert_one_reply(&question).await;
    let envelopes = scene.persisted();
    let kept = envelopes.iter().find(|one| one.message.id == reply.id);
    let log = kept.unwrap().reply.clone().unwrap();
    let kind = match reply.kind {
        Kind::Fallback => "fallback",
        _ => "bot",
    };
    let used = log.tokens_in + log.tokens_out;
    let tokens = match (log.details.estimated, used) {
        (true, 1..) => "estimated",
        (false, 1..) => "counted",
        (_, 0) => "none",
    };
    // One that is longer than a message is not read to its end.
    let is_read = !order.contains("words=3000");
    let calls = scene.practice.requests();
    if is_read && tokens == "counted" && calls.iter().all(|call| call.ended && !call.hung_up) {
        // To the token, however the calls have failed that came to an end.
        let by_model = scene.practice.used_by_model();
        let counted: u64 = by_model
            .values()
            .map(|of| of.used.tokens_in + of.used.tokens_out)
            .sum();
        assert_eq!(u64::from(used), counted, "{order}: {log:?}");
    }
    let calls = match calls.len() {
        few @ 0..=2 => few.to_string(),
        _ => "several".to_owned(),
    };
    [calls, kind.to_owned(), log.outcome, tokens.to_owned()]
}

#[tokio::test]
async fn each_way_in_which_a_model_can_end_comes_to_what_the_table_says() {
    let lines = lines();
    assert!(lines.len() > 30, "{}", lines.len());
    let mut played = stream::iter(lines)
        .map(|(order, wanted)| async move {
            let came = plays(&order).await;
            (order, wanted, came)
        })
        .buffer_unordered(AT_A_TIME);
    let mut wrong = Vec::new();
    while let Some((order, wanted, came)) = played.next().await {
        if wanted != came {
            wrong.push(format!("{order}: {came:?} in place of {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

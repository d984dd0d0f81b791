//! What one has used of the models, and what is left: one's own, and what administrators see of others.

use std::sync::Arc;

use chat_client::Client;
use common::{
    quota::{
        QuotaLimits,
        budgets::{BudgetLimits, Budgets, CostlyCall, Spending},
    },
    wire::now_seq,
};
use engines::embedded::EmbeddedQuota;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    chat::Chat,
    edges::{DRAIN_TIME, Edges},
};

/// Of people, rooms and the server, for the day and the month.
const LIMITS: [&str; 6] = ["t1000", "-", "t500", "-", "-", "m7"];

/// What workers and edges keep in common.
struct Books {
    quota: Arc<EmbeddedQuota>,
    limits: BudgetLimits,
}

impl Books {
    /// Empty ones, and one more edge, the last, that shows them.
    async fn of(chat: &mut Edges) -> Books {
        let quota = EmbeddedQuota::new(QuotaLimits::default());
        let (edge, listener) = chat.new_edge(&[]).await;
        let edge = edge.with_budgets(quota.clone());
        let running = ws_edge::run(edge, listener, DRAIN_TIME, chat.stop.clone());
        chat.running.push(tokio::spawn(running));
        let limits = BudgetLimits::from_words(LIMITS);
        quota.keep_budgets(&limits, now_seq()).await.unwrap();
        Books { quota, limits }
    }

    /// They are whole.
    async fn filled(&self) {
        self.quota.fill(&[], now_seq()).await.unwrap();
    }

    /// A worker has asked a model for somebody.
    async fn used(&self, user: &str, room: &str, tokens: [u64; 2]) {
        let spent = Spending {
            calls: 1,
            tokens_in: tokens[0],
            tokens_out: tokens[1],
            cost_micros: 3,
        };
        let call = CostlyCall {
            id: Uuid::now_v7(),
            user,
            room,
            most: spent,
            over_by: now_seq(),
        };
        let settled = self
            .quota
            .settle(&call, Some(spent), &self.limits, now_seq());
        settled.await.unwrap();
    }
}

fn last(chat: &Chat, client: &Client) -> Client {
    client.at(chat.urls.last().unwrap())
}

/// Scope, period, used and left of each budget.
fn budgets(body: &Value) -> Vec<Value> {
    let shown = body["budgets"].as_array().unwrap().iter();
    let line = |budget: &Value| {
        json!(["scope", "period", "used", "left"].map(|field| budget[field].clone()))
    };
    shown.map(line).collect()
}

#[tokio::test]
async fn everyone_is_told_their_own_use_and_what_is_left() {
    let mut chat = Chat::start().await;
    let books = Books::of(&mut chat).await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let (ada, bob) = (last(&chat, &ada), last(&chat, &bob));
    let someone = last(&chat, &chat.someone());
    someone
        .get("/api/usage")
        .await
        .is_problem(401, "unauthorized");
    // As long as the books are not whole, nobody is told a number that is none.
    ada.get("/api/usage").await.is_problem(503, "unavailable");
    books.filled().await;
    books.used("ada", "ada", [100, 20]).await;
    books.used("bob", "lobby", [7, 8]).await;

    let own = ada.get("/api/usage").await;
    let own = &own.is(StatusCode::OK).body;
    for period in ["today", "month"] {
        let used = ["calls", "tokens_in", "tokens_out", "cost_micros"]
            .map(|field| own[period][field].clone());
        assert_eq!(json!(used), json!([1, 100, 20, 3]), "{period}");
    }
    let wanted = [
        json!(["person", "day", 120, 880]),
        json!(["server", "month", 6, 1]),
    ];
    assert_eq!(budgets(own), wanted, "{own}");
    assert!(!own.to_string().contains("bob"), "{own}");
    let others = bob.get("/api/usage").await;
    assert_eq!(others.is(StatusCode::OK).body["today"]["tokens_in"], 7);
    // Nobody asks for somebody else's here.
    let asked = bob.get("/api/usage?person=ada").await;
    assert_eq!(asked.body["today"]["tokens_in"], 7, "{}", asked.body);
}

#[tokio::test]
async fn a_rooms_is_told_to_whoever_may_see_the_room() {
    let mut chat = Chat::start().await;
    let books = Books::of(&mut chat).await;
    books.filled().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let (ada, bob) = (last(&chat, &ada), last(&chat, &bob));
    let room = json!({ "name": "secrets", "private": true });
    ada.post("/api/rooms", room).await.is(StatusCode::CREATED);
    books.used("ada", "secrets", [40, 2]).await;
    let told = ada.get("/api/usage?room=secrets").await;
    let told = budgets(&told.is(StatusCode::OK).body);
    assert!(told.contains(&json!(["room", "day", 42, 458])), "{told:?}");
    for unseen in ["secrets", "no-such-room", "..%2F"] {
        let refused = bob.get(&format!("/api/usage?room={unseen}")).await;
        refused.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn administrators_see_what_is_left_of_anybodys() {
    let mut chat = Chat::start().await;
    let books = Books::of(&mut chat).await;
    books.filled().await;
    let (ada, bob) = (chat.registers("ada").await, chat.registers("bob").await);
    let (ada, bob) = (last(&chat, &ada), last(&chat, &bob));
    chat.makes_administrator("ada").await;
    books.used("bob", "lobby", [900, 200]).await;
    let path = "/api/admin/usage?person=bob&room=lobby";
    let told = ada.get(path).await;
    let wanted = [
        json!(["person", "day", 1_100, 0]),
        json!(["room", "day", 1_100, 0]),
        json!(["server", "month", 3, 4]),
    ];
    assert_eq!(budgets(&told.is(StatusCode::OK).body), wanted);
    assert_eq!(told.body["budgets"][0]["person"], "bob");
    bob.get(path).await.is_problem(403, "forbidden");
    last(&chat, &chat.someone())
        .get(path)
        .await
        .is_problem(401, "unauthorized");
}

//! Posting: the ack, the order, and a clear no.

use std::{pin::pin, sync::Arc, time::Duration};

use chat_client::assert_in_order;
use common::{
    envelope::{Envelope, reply_id},
    queue::{QueueName, Route},
    wire::{Kind, NewMessage},
};
use seam_fakes::{Fault, Gate};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::{NoContext, Timestamp, Uuid};

use crate::{
    chat::Chat,
    edges::{DRAIN_TIME, new_message, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_lines_of_one_person_stay_in_order() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let lines: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    for line in &lines {
        ada.says(line).await;
    }
    assert_eq!(bob.hears_texts(500).await, lines);
    let mut acks = 0;
    while acks < 500 {
        match ada.next().await.unwrap()["type"].as_str().unwrap() {
            "ack" => acks += 1,
            "error" => panic!("refused"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_is_said_before_the_room_is_joined_is_heard_by_who_said_it() {
    let chat = Chat::start().await;
    let later = Duration::from_millis(300);
    chat.live.faults.on("tail", Fault::Takes(later));
    let mut ada = chat.connects("ada", "/ws/chat/lobby").await;
    // Neither waits for `joined`.
    ada.says("one").await;
    ada.says("two").await;
    assert_eq!(ada.hears("joined").await["seq"], 0);
    assert_eq!(ada.hears_texts(2).await, ["one", "two"]);
}

#[tokio::test]
async fn an_acked_message_is_in_the_queue() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let id = Uuid::now_v7();
    let reply_to = Uuid::now_v7();
    ada.sends(json!({"message": " hi ", "id": id, "reply_to": reply_to}))
        .await;
    assert_eq!(ada.hears("ack").await["id"], json!(id));
    let taken = chat.queue.consume(QueueName::Persist, 10).await;
    let delivery = taken.next().await.unwrap();
    let payload: Value = serde_json::from_slice(&delivery.payload).unwrap();
    assert_eq!(
        (&payload["message"]["id"], &payload["message"]["message"]),
        (&json!(id), &json!("hi"))
    );
    assert_eq!(payload["message"]["reply_to"], json!(reply_to));
}

#[tokio::test]
async fn the_bot_is_asked_where_the_room_says_so() {
    let chat = Chat::start().await;
    let mut ada = chat.connects("ada", "/ws/chat/ada").await;
    ada.says("anybody there?").await;
    let ack = ada.hears("ack").await;
    let taken = chat.queue.consume(QueueName::BotRequests, 10).await;
    let payload: Value = serde_json::from_slice(&taken.next().await.unwrap().payload).unwrap();
    assert_eq!(payload["message"]["id"], ack["id"]);
}

#[tokio::test]
async fn another_answer_is_asked_for_where_there_is_one() {
    let chat = Chat::start().await;
    let mut ada = chat.connects("ada", "/ws/chat/ada").await;
    ada.says("anybody there?").await;
    let question: Uuid = serde_json::from_value(ada.hears("ack").await["id"].take()).unwrap();
    let reply = chat
        .poster
        .post(
            NewMessage {
                room: "ada".into(),
                id: reply_id("ada", question),
                sender: "bot".into(),
                kind: Kind::Fallback,
                message: "not now".into(),
                reply_to: Some(question),
                of: None,
                stopped_by: None,
                grounding: Default::default(),
            },
            Route::Persist,
            None,
        )
        .await
        .unwrap()
        .message;
    let again = |room: &str, id: Uuid| json!({"type": "again", "room": room, "id": id});
    ada.sends(again("ada", reply.id)).await;
    let ack = ada.hears("ack").await;
    assert_eq!(
        (&ack["id"], &ack["seq"]),
        (&json!(reply.id), &json!(reply.seq))
    );
    let taken = chat.queue.consume(QueueName::BotRequests, 10).await;
    let first = Envelope::read(&taken.next().await.unwrap().payload).unwrap();
    let second = Envelope::read(&taken.next().await.unwrap().payload).unwrap();
    assert_eq!(second.message, first.message);
    assert_eq!(first.reply_id(), reply.id);
    assert_eq!(second.reply_id(), reply_id("ada", reply.id));
    let by = second.again.and_then(|again| again.by);
    assert_eq!(by.as_deref(), Some("ada"), "who has it answered again");

    // What is no reply of the bot, a room without it, and a room that one may not see.
    for (room, id, code) in [
        ("ada", question, "not_found"),
        ("ada", Uuid::now_v7(), "not_found"),
        ("lobby", reply.id, "forbidden"),
    ] {
        ada.sends(again(room, id)).await;
        let error = ada.hears("error").await;
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &json!(id)));
    }
    let mut eve = chat.in_lobby("eve").await;
    eve.sends(again("ada", reply.id)).await;
    assert_eq!(eve.hears("error").await["code"], "not_found");
}

#[tokio::test]
async fn the_same_id_again_is_the_same_message() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let id = Uuid::now_v7();
    ada.sends(json!({"message": "once", "id": id})).await;
    let first = ada.hears("ack").await;
    ada.sends(json!({"message": "once more", "id": id})).await;
    assert_eq!(ada.hears("ack").await, first);
    ada.says("next").await;
    assert_eq!(bob.hears_texts(2).await, ["once", "next"]);
}

#[tokio::test]
async fn another_ones_id_is_refused() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    let id = Uuid::now_v7();
    ada.sends(json!({"message": "mine", "id": id})).await;
    ada.hears("ack").await;
    bob.sends(json!({"message": "no, mine", "id": id})).await;
    let error = bob.hears("error").await;
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("bad_request"), &json!(id))
    );
}

#[tokio::test]
async fn posting_needs_a_right_and_not_a_subscription() {
    let chat = Chat::start().await;
    chat.opens("secret", true).await;
    let mut bob = chat.in_lobby("bob").await;
    let mut ada = chat.connects("ada", "/ws").await;
    ada.sends(json!({"message": "hi", "room": "lobby"})).await;
    ada.hears("ack").await;
    assert_eq!(bob.hears_texts(1).await, ["hi"]);
    for room in ["secret", "no-such-room"] {
        let id = Uuid::now_v7();
        ada.sends(json!({"message": "hi", "room": room, "id": id}))
            .await;
        let error = ada.hears("error").await;
        assert_eq!(
            (&error["code"], &error["id"]),
            (&json!("not_found"), &json!(id))
        );
    }
    ada.sends(json!({"message": "where?"})).await;
    assert_eq!(ada.is_refused().await, "bad_request");
}

#[tokio::test]
async fn who_posts_too_fast_is_told_when_to_go_on() {
    let chat = Chat::start_with(&["--user-messages-per-second=1", "--user-messages-burst=3"]).await;
    let mut ada = chat.in_lobby("ada").await;
    for n in 0..4 {
        ada.says(&n.to_string()).await;
    }
    let error = ada.hears("error").await;
    assert_eq!(error["code"], "rate_limited");
    let wait = error["retry_after_ms"].as_u64().unwrap();
    assert!((1..=1_000).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_millis(wait)).await;
    ada.says("now").await;
    while ada.hears("message").await["message"] != "now" {}
}

#[tokio::test]
async fn while_the_live_engine_is_away_the_answer_is_when_to_try_again_and_lines_do_not_swap() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    chat.live.faults.away(true);
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    for (n, id) in ids.iter().enumerate() {
        ada.sends(json!({"message": format!("line {n}"), "id": id}))
            .await;
    }
    for id in ids {
        let error = ada.hears("error").await;
        assert_eq!(
            (&error["code"], &error["id"]),
            (&json!("unavailable"), &json!(id))
        );
        assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
    }
    chat.live.faults.away(false);
    for (n, id) in ids.iter().enumerate() {
        ada.sends(json!({"message": format!("line {n}"), "id": id}))
            .await;
    }
    let heard = [bob.hears("message").await, bob.hears("message").await];
    assert_in_order(&heard);
    assert_eq!(
        [&heard[0]["message"], &heard[1]["message"]],
        ["line 0", "line 1"]
    );
}

#[tokio::test]
async fn what_stands_behind_a_failed_step_is_refused_with_it_and_does_not_overtake() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    ada.says("before").await;
    ada.hears("ack").await;
    let gate = Arc::<Gate>::default();
    let hangs = Fault::Hangs(Arc::clone(&gate));
    chat.live.faults.on_next("append_all", hangs);
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let lines = [0, 1].map(|n| json!({"message": format!("line {n}"), "id": ids[n]}));
    ada.sends(lines[0].clone()).await;
    gate.is_reached().await;
    ada.sends(lines[1].clone()).await;
    // What comes after it on the socket is answered: it stands in the line.
    ada.sends_raw("no frame").await;
    assert_eq!(ada.is_refused().await, "bad_request");
    gate.opens();
    for id in ids {
        let error = ada.hears("error").await;
        assert_eq!(
            (&error["code"], &error["id"]),
            (&json!("unavailable"), &json!(id))
        );
    }
    for line in lines {
        ada.sends(line).await;
    }
    assert_eq!(bob.hears_texts(3).await, ["before", "line 0", "line 1"]);
}

#[tokio::test]
async fn a_question_that_is_only_in_the_database_is_put_to_the_bot_when_it_is_sent_again() {
    let chat = Chat::start().await;
    let mut ada = chat.connects("ada", "/ws/chat/ada").await;
    // As after a repair of what its edge showed before it died, in a room that the live engine has forgotten.
    let question = new_message("ada", "ada", "anybody there?");
    let id = question.id;
    chat.persists(&[question.at(1_795_381_179_442_887, 0)])
        .await;
    ada.sends(json!({"message": "anybody there?", "id": id}))
        .await;
    assert_eq!(ada.hears("ack").await["seq"], 1_795_381_179_442_887_u64);
    let taken = chat.queue.consume(QueueName::BotRequests, 10).await;
    let request = Envelope::read(&taken.next().await.unwrap().payload).unwrap();
    assert_eq!(request.message.id, id);
}

#[tokio::test]
async fn an_id_that_the_room_may_have_forgotten_is_looked_for_before_it_is_taken() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut eve = chat.in_lobby("eve").await;
    let in_an_hour = Timestamp::now(NoContext).to_unix().0 + 3_600;
    let ids = [
        // It does not say when it was made.
        Uuid::new_v4(),
        // Nor does this, truly.
        Uuid::new_v7(Timestamp::from_unix(NoContext, in_an_hour, 0)),
        // Fresh, but the live engine began to remember the room only after it was made.
        Uuid::now_v7(),
    ];
    let kept = ids.map(|id| NewMessage {
        id,
        ..new_message("lobby", "ada", "said long ago")
    });
    let mut seq = 1_795_381_179_442_000_u64;
    let kept = kept.map(|message| {
        seq += 1;
        message.at(seq, seq - 1)
    });
    chat.persists(&kept).await;
    ada.says("the room is known again").await;
    let heard = eve.hears_texts(4).await;
    assert_eq!(
        heard[3], "the room is known again",
        "behind what is in the database"
    );
    ada.hears("ack").await;
    for message in kept {
        let again = json!({"message": "something else", "id": message.id});
        ada.sends(again.clone()).await;
        let ack = ada.hears("ack").await;
        assert_eq!(
            ack["seq"], message.seq,
            "the place that it has in the database"
        );
        eve.sends(again).await;
        assert_eq!(eve.is_refused().await, "bad_request", "it is another's");
    }
    ada.says("the end").await;
    assert_eq!(
        eve.hears_texts(1).await,
        ["the end"],
        "nothing else was shown"
    );
}

#[tokio::test]
async fn when_the_edge_goes_what_was_sent_is_answered_first() {
    let mut chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    for n in 0..50 {
        ada.says(&n.to_string()).await;
    }
    // All of it has been read, since the last is shown.
    while ada.hears("message").await["message"] != "49" {}
    chat.stop.cancel();
    assert_eq!(ada.is_closed().await, 1012);
    for edge in chat.edges.running.drain(..) {
        edge.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_edge_that_learns_late_that_it_is_to_go_drains_all_the_same() {
    let mut chat = Chat::start().await;
    let (client, _) = chat.logs_in("ada").await;
    // More than once: what comes first when everything has happened could be chance.
    for _ in 0..16 {
        let (edge, listener) = chat.edges.new_edge(&[]).await;
        let stop = CancellationToken::new();
        let mut running = pin!(ws_edge::run(edge, listener, DRAIN_TIME, stop.clone()));
        let client = client.at(chat.urls.last().unwrap());
        let mut ada = tokio::select! {
            ada = client.connects("/ws") => ada,
            ended = &mut running => panic!("the edge ended by itself: {ended:?}"),
        };
        stop.cancel();
        // All that serves calls has ended meanwhile.
        let address = client.server.trim_start_matches("http://");
        until("nobody listens any more", async || {
            TcpStream::connect(address).await.is_err()
        })
        .await;
        let (code, ended) = tokio::join!(ada.is_closed(), running);
        assert_eq!(code, 1012);
        ended.unwrap();
    }
}

#[tokio::test]
async fn one_posts_so_many_bytes_within_a_day() {
    let chat = Chat::start_with(&["--user-bytes-per-day=10000"]).await;
    let mut ada = chat.in_lobby("ada").await;
    let mut bob = chat.in_lobby("bob").await;
    // Bytes, not characters.
    let long = "ü".repeat(2_000);
    for _ in 0..2 {
        ada.says(&long).await;
        ada.hears("ack").await;
    }
    // What is not kept does not count, however often it is tried.
    chat.store.faults.away(true);
    for _ in 0..5 {
        let nowhere = json!({"message": "a".repeat(2_000), "room": "unheard-of"});
        ada.sends(nowhere).await;
        assert_eq!(ada.is_refused().await, "unavailable");
    }
    chat.store.faults.away(false);
    let mut again = chat.in_lobby("ada").await;
    again.says(&long).await;
    let refused = again.hears_one_of(&["ack", "error"]).await;
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("within a day"),
        "{refused}"
    );
    let wait = refused["retry_after_ms"].as_u64().unwrap();
    let day = 24 * 60 * 60 * 1_000;
    assert!((day - 60_000..=day).contains(&wait), "{wait}");
    again.says(&"a".repeat(2_000)).await;
    again.hears("ack").await;
    bob.says(&long).await;
    bob.hears("ack").await;
}

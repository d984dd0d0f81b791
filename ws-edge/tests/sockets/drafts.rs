//! A reply that is being written, for those who come in the middle: what is there so far, and then the rest without a
//! hole.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use chat_client::ChatSocket;
use common::{
    live::{
        Appended, BotRole, Live, LiveEvent, Signal,
        turns::{Draft, DraftOutcome, Fence, TurnMode, TurnRequest, TurnStatus, Turns},
    },
    wire::{Kind, NewMessage, ServerFrame},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{chat::Chat, edges::new_message};

/// A worker, at one reply.
struct Writer<'a> {
    chat: &'a Chat,
    request: Uuid,
    place: TurnRequest,
    fence: Fence,
    written: String,
}

impl<'a> Writer<'a> {
    async fn begins(chat: &'a Chat) -> Writer<'a> {
        let question = new_message("lobby", "owner", "@bot?");
        let reply = Uuid::new_v8(*Uuid::new_v4().as_bytes());
        let part = BotRole::Request(reply);
        let asked = chat.live.append_as(&question, Some(0), part).await;
        let Ok(Appended::New(asked)) = asked else {
            panic!("{asked:?}");
        };
        let place = TurnRequest {
            room: "lobby".into(),
            reply,
            seq: asked.seq,
            holder: Uuid::new_v4(),
            at_least: 1,
            in_hand: Vec::new(),
        };
        let standing = chat
            .live
            .request_turn(&place, TurnMode::InOrder, Duration::ZERO)
            .await;
        let Ok(TurnStatus::Granted(fence)) = standing else {
            panic!("{standing:?}");
        };
        Writer {
            chat,
            request: question.id,
            place,
            fence,
            written: String::new(),
        }
    }

    async fn writes(&mut self, text: &str) {
        let draft = Draft {
            room: "lobby".into(),
            reply: self.place.reply,
            reply_to: self.request,
            fence: self.fence,
            attempt: 101,
            offset: self.written.chars().count(),
            offset_bytes: self.written.len(),
            text: text.into(),
        };
        let drafted = self.chat.live.draft(&draft).await.unwrap();
        assert_eq!(drafted, DraftOutcome::Shown);
        self.written.push_str(text);
    }

    async fn posts(self) {
        let reply = NewMessage {
            id: self.place.reply,
            kind: Kind::Bot,
            reply_to: Some(self.request),
            ..new_message("lobby", "bot", &self.written)
        };
        let part = BotRole::Reply(self.fence);
        let posted = self.chat.live.append_as(&reply, None, part).await.unwrap();
        assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    }

    async fn is_heard(&self, person: &mut ChatSocket, offset: usize, text: &str) {
        let draft = person.hears("draft").await;
        let wanted = json!({
            "type": "draft", "room": "lobby", "id": self.place.reply, "reply_to": self.request,
            "attempt": 101, "offset": offset, "text": text,
        });
        assert_eq!(draft, wanted, "{}", person.name);
    }
}

async fn joins_at(chat: &Chat, edge: usize, name: &str, after: Option<u64>) -> (ChatSocket, Value) {
    let (client, _) = chat.logs_in(name).await;
    let mut person = client.at(&chat.urls[edge]).connects("/ws").await;
    let joined = person.joins("lobby", after).await;
    (person, joined)
}

#[tokio::test]
async fn who_comes_in_the_middle_at_any_edge_gets_what_is_there_and_then_the_rest() {
    let chat = Chat::start().await;
    let before = chat.says("lobby", "owner", "before").await;
    let mut ada = chat.in_lobby("ada").await;
    let mut writer = Writer::begins(&chat).await;
    writer.writes("Zwölf ").await;
    writer.writes("🦉 sit").await;
    writer.is_heard(&mut ada, 0, "Zwölf ").await;
    writer.is_heard(&mut ada, 6, "🦉 sit").await;
    // New at the same edge, at another one, and back with what was missed, at both.
    let mut late = Vec::new();
    for (edge, name, after) in [
        (0, "bob", None),
        (1, "eve", None),
        (0, "kim", Some(before.seq)),
        (1, "lou", Some(before.seq)),
    ] {
        let (mut person, joined) = joins_at(&chat, edge, name, after).await;
        assert_eq!(joined["complete"], true);
        writer.is_heard(&mut person, 0, "Zwölf 🦉 sit").await;
        late.push(person);
    }
    late.push(ada);
    writer.writes(" there").await;
    writer.writes(".").await;
    for person in &mut late {
        writer.is_heard(person, 11, " there").await;
        writer.is_heard(person, 17, ".").await;
    }
    writer.posts().await;
    for person in &mut late {
        while person.hears("message").await["message"] != "Zwölf 🦉 sit there." {}
    }
    // Nothing is left of it for whoever comes after.
    for (edge, name) in [(0, "pat"), (1, "sam")] {
        let (mut person, _) = joins_at(&chat, edge, name, None).await;
        chat.says("lobby", "owner", "after").await;
        let next = person.hears_one_of(&["draft", "message"]).await;
        assert_eq!(next["message"], "after");
    }
}

#[tokio::test]
async fn many_who_come_at_once_cost_one_look() {
    let chat = Chat::start().await;
    let mut writer = Writer::begins(&chat).await;
    writer.writes("So far").await;
    let mut everybody = Vec::new();
    let joining = (0..100).map(|n| {
        let chat = &chat;
        async move { joins_at(chat, n % 2, &format!("person-{n}"), None).await.0 }
    });
    for mut person in futures_util::future::join_all(joining).await {
        writer.is_heard(&mut person, 0, "So far").await;
        everybody.push(person);
    }
    assert_eq!(
        chat.live.faults.calls("draft_snapshot"),
        2,
        "one for each edge"
    );
    writer.writes(" so good").await;
    for person in &mut everybody {
        writer.is_heard(person, 6, " so good").await;
    }
}

#[tokio::test]
async fn a_piece_that_was_lost_is_read_and_everybody_is_whole_again() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut writer = Writer::begins(&chat).await;
    writer.writes("One").await;
    writer.is_heard(&mut ada, 0, "One").await;
    chat.live.loses_signals.store(true, SeqCst);
    writer.writes(", two").await;
    // The engine's line has been passed by this, so the piece is lost by now.
    chat.says("lobby", "owner", "meanwhile").await;
    while ada.hears("message").await["message"] != "meanwhile" {}
    chat.live.loses_signals.store(false, SeqCst);
    writer.writes(", three").await;
    writer.is_heard(&mut ada, 0, "One, two, three").await;
    // And so it is after a gap that is told.
    chat.live.loses_signals.store(true, SeqCst);
    writer.writes(", four").await;
    chat.says("lobby", "owner", "meanwhile").await;
    while ada.hears("message").await["message"] != "meanwhile" {}
    chat.live.loses_signals.store(false, SeqCst);
    let room = "lobby".into();
    chat.live
        .tells(LiveEvent::Gap {
            room,
            is_another: false,
        })
        .await;
    writer.is_heard(&mut ada, 0, "One, two, three, four").await;
    writer.writes(".").await;
    writer.is_heard(&mut ada, 21, ".").await;
}

#[tokio::test]
async fn what_an_overtaken_attempt_says_goes_to_nobody() {
    let chat = Chat::start().await;
    let mut ada = chat.in_lobby("ada").await;
    let mut writer = Writer::begins(&chat).await;
    writer.writes("New").await;
    writer.is_heard(&mut ada, 0, "New").await;
    let late = ServerFrame::Draft {
        room: "lobby".into(),
        id: writer.place.reply,
        reply_to: writer.request,
        attempt: 100,
        offset: 0,
        text: "Old".into(),
        thinking: false,
        waiting: None,
    };
    chat.signals(Signal::Room {
        room: "lobby".into(),
        frame: late.frame().into(),
    })
    .await;
    writer.writes(" text").await;
    writer.is_heard(&mut ada, 3, " text").await;
}

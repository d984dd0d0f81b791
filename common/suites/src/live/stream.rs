//! A room's recent past.

use std::{sync::Arc, time::Duration};

use common::{
    live::turns::{Draft, DraftOutcome, TurnStatus},
    live::{
        Appended, BotRole, Live, REMEMBERED_IDS_MIN_AGE, REMEMBERED_IDS_PER_ROOM,
        STREAM_MAX_MESSAGES, STREAM_MESSAGES, STREAM_MIN_AGE,
    },
    wire::{Message, Seq},
};
use uuid::Uuid;

use super::{
    settling::settle,
    side::{Says, Side, assert_linked, eventually, places, says},
    turns::{asks, granted, posts, stands},
};

pub async fn a_tail_is_what_came_after_a_place(side: Side) {
    let mut posted = Vec::new();
    for number in 0..10 {
        posted.push(
            side.one
                .post(&says("lobby", "ada", &number.to_string()))
                .await,
        );
    }
    let tail = async |after, limit| side.two.tail("lobby", after, limit).await.unwrap();
    assert_eq!(tail(0, 100).await.messages, posted);
    assert_eq!(tail(posted[3].seq, 100).await.messages, posted[4..]);
    assert_eq!(tail(posted[3].seq, 2).await.messages, posted[4..6]);
    assert_eq!(tail(posted[3].seq - 1, 1).await.messages, posted[3..4]);
    assert!(tail(posted[3].seq, 0).await.messages.is_empty());
    for after in [posted[9].seq, posted[9].seq + 1, Seq::MAX] {
        assert!(tail(after, 100).await.messages.is_empty());
    }
    for after in [0, posted[3].seq, Seq::MAX] {
        assert_eq!(tail(after, 1).await.latest, posted[9].seq);
    }
}

pub async fn a_tail_says_whether_it_links_up(side: Side) {
    let tail = async |room: &str, after| side.two.tail(room, after, 100).await.unwrap();
    // Nothing is known of the room here: the store may know more.
    assert!(!tail("lobby", 0).await.reaches_back);
    assert!(!tail("lobby", 17).await.reaches_back);

    let first = side.one.post(&says("lobby", "ada", "first")).await;
    let last = side.one.post(&says("lobby", "ada", "last")).await;
    for after in [0, first.seq, last.seq] {
        assert!(tail("lobby", after).await.reaches_back, "{after}");
    }
    // A place that nobody has had, or that this stream has lost.
    for after in [first.seq - 1, first.seq + 1, last.seq + 1] {
        assert!(!tail("lobby", after).await.reaches_back, "{after}");
    }

    let floor = first.seq - 1_000;
    let late = says("attic", "ada", "late");
    let answer = side.one.append(&late, Some(floor)).await;
    assert!(matches!(answer, Ok(Appended::New(_))));
    assert!(!tail("attic", 0).await.reaches_back);
    assert!(tail("attic", floor).await.reaches_back);
}

pub async fn a_message_is_found_by_its_id(side: Side) {
    let message = says("lobby", "ada", "where am I?");
    assert_eq!(side.two.find("lobby", message.id).await.unwrap(), None);
    let kept = side.one.post(&message).await;
    assert_eq!(
        side.two.find("lobby", message.id).await.unwrap(),
        Some(kept)
    );
    assert_eq!(side.two.find("attic", message.id).await.unwrap(), None);
    assert_eq!(side.two.find("lobby", Uuid::now_v7()).await.unwrap(), None);
}

pub async fn young_messages_stay_and_old_ones_go_beyond_a_thousand(side: Side) {
    let young = STREAM_MESSAGES + 300;
    let posted = post_many(&side.one, young).await;
    let tail = side.two.tail("lobby", 0, 20_000).await.unwrap();
    assert_eq!(places(&tail.messages), places(&posted));

    // As if the room had been silent: what comes then makes the rest old.
    let later = posted[young - 1].seq + 2 * STREAM_MIN_AGE.as_micros() as Seq;
    let late = says("lobby", "ada", "later");
    side.one.append(&late, Some(later)).await.unwrap();
    post_many(&side.one, 100).await;
    let tail = side.two.tail("lobby", 0, 20_000).await.unwrap();
    assert!(!tail.reaches_back);
    let kept = tail.messages.len();
    assert!(
        (STREAM_MESSAGES..STREAM_MESSAGES + 200).contains(&kept),
        "{kept}"
    );
    assert_linked(&tail.messages[..kept - 101]);

    // Its id is remembered for longer than its text.
    let gone = &posted[0];
    let mut again = says("lobby", "ada", "again");
    again.id = gone.id;
    let answer = side.two.append(&again, None).await.unwrap();
    assert_eq!(answer, Appended::KnownOnly(gone.seq));
    assert_eq!(side.two.find("lobby", gone.id).await.unwrap(), None);
}

pub async fn a_stream_and_its_ids_have_a_limit(side: Side) {
    let beyond = 400;
    let posted = post_many(&side.one, STREAM_MAX_MESSAGES + beyond).await;
    let tail = side.two.tail("lobby", 0, 20_000).await.unwrap();
    let kept = tail.messages.len();
    assert!(
        (STREAM_MAX_MESSAGES..STREAM_MAX_MESSAGES + 200).contains(&kept),
        "{kept}"
    );
    assert_eq!(tail.messages[..], posted[posted.len() - kept..]);

    let again = async |message: &Message| {
        let mut again = says("lobby", "ada", "again");
        again.id = message.id;
        side.two.append(&again, None).await.unwrap()
    };
    let is_known = async |message: &Message| {
        let answer = again(message).await;
        matches!(answer, Appended::Known(_) | Appended::KnownOnly(_))
    };
    assert!(is_known(&posted[0]).await, "what is young is remembered");
    // As if the room had been silent: what comes then makes the rest old.
    let later = tail.latest + 2 * REMEMBERED_IDS_MIN_AGE.as_micros() as Seq;
    let late = says("lobby", "ada", "later");
    side.one.append(&late, Some(later)).await.unwrap();
    post_many(&side.one, 100).await;
    assert!(is_known(&posted[posted.len() - REMEMBERED_IDS_PER_ROOM + 101]).await);
    assert_eq!(again(&posted[0]).await, Appended::Cold);
}

pub async fn a_silent_room_is_forgotten(side: Side) {
    let side = side.with_idle(Duration::from_millis(1_500)).await;
    let message = says("lobby", "ada", "hello?");
    side.one.post(&message).await;
    settle(&side.two, "lobby").await;
    eventually("the room is forgotten", async || {
        side.two.tail("lobby", 0, 1).await.unwrap().latest == 0
    })
    .await;
    let answer = side.two.append(&message, None).await.unwrap();
    assert_eq!(answer, Appended::Cold);
}

/// Posts so many messages, many at a time, and returns them in their order.
async fn post_many(live: &Arc<dyn Live>, count: usize) -> Vec<Message> {
    const AT_ONCE: usize = 50;
    let posting = (0..AT_ONCE).map(|lane| {
        let live = Arc::clone(live);
        tokio::spawn(async move {
            let mut posted = Vec::new();
            for _ in (lane..count).step_by(AT_ONCE) {
                posted.push(live.post(&says("lobby", "ada", "on and on")).await);
            }
            posted
        })
    });
    let mut posted = Vec::new();
    for lane in posting.collect::<Vec<_>>() {
        posted.extend(lane.await.unwrap());
    }
    posted.sort_by_key(|message| message.seq);
    assert_eq!(posted.len(), count);
    posted
}

pub async fn an_erased_room_knows_nothing_and_takes_nothing(side: Side) {
    let said = side.one.post(&says("lobby", "ada", "a secret")).await;
    let other = side.one.post(&says("attic", "ada", "kept")).await;
    let place = asks(&*side.one, "lobby", "what is it?").await;
    let fence = granted(&*side.one, &place).await;
    let draft = Draft {
        room: "lobby".into(),
        reply: place.reply,
        reply_to: Uuid::now_v7(),
        attempt: 1,
        offset: 0,
        offset_bytes: 0,
        text: "the secret".into(),
        fence,
    };
    assert_eq!(side.one.draft(&draft).await.unwrap(), DraftOutcome::Shown);
    side.one
        .announce("here", "lobby", &["ada".into()])
        .await
        .unwrap();

    for _ in 0..2 {
        side.two.erase("lobby").await.unwrap();
    }
    let tail = side.one.tail("lobby", 0, 100).await.unwrap();
    assert_eq!((tail.messages, tail.latest), (Vec::new(), 0));
    assert_eq!(side.one.find("lobby", said.id).await.unwrap(), None);
    assert_eq!(side.one.draft_snapshot("lobby").await.unwrap(), None);
    // Neither the same again, nor another, nor with a floor, nor a reply that was being written.
    let known = says("lobby", "ada", "more");
    for floor in [None, Some(0), Some(said.seq)] {
        for id in [said.id, known.id] {
            let message = common::wire::NewMessage {
                id,
                ..known.clone()
            };
            let answer = side.one.append_as(&message, floor, BotRole::None).await;
            assert_eq!(answer.unwrap(), Appended::RoomGone);
        }
    }
    assert_eq!(
        posts(&*side.one, &place, fence, "four").await,
        Appended::RoomGone
    );
    assert_eq!(side.one.draft(&draft).await.unwrap(), DraftOutcome::Fenced);
    assert_eq!(stands(&*side.one, &place).await, TurnStatus::Answered);
    let attic = side.one.tail("attic", 0, 100).await.unwrap();
    assert_eq!(attic.messages, [other]);
}

pub async fn what_is_old_leaves_the_stream_and_the_order_goes_on(side: Side) {
    let mut said = Vec::new();
    for text in ["one", "two", "three"] {
        said.push(side.one.post(&says("lobby", "ada", text)).await);
    }
    for until in [said[0].seq - 1, said[1].seq, said[1].seq, said[0].seq] {
        side.two.forget_until("lobby", until).await.unwrap();
    }
    let tail = side.one.tail("lobby", 0, 100).await.unwrap();
    assert_eq!(
        (tail.messages, tail.latest),
        (vec![said[2].clone()], said[2].seq)
    );
    assert_eq!(side.one.find("lobby", said[0].id).await.unwrap(), None);
    assert_eq!(
        side.one.find("lobby", said[2].id).await.unwrap().as_ref(),
        said.get(2)
    );
    side.two.forget_until("lobby", said[2].seq).await.unwrap();
    side.two.forget_until("attic", said[2].seq).await.unwrap();
    let tail = side.one.tail("lobby", 0, 100).await.unwrap();
    assert_eq!((tail.messages.len(), tail.latest), (0, said[2].seq));
    let next = side.one.post(&says("lobby", "ada", "four")).await;
    assert_eq!(next.prev, said[2].seq);
}

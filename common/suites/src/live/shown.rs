//! Who is subscribed is shown everything, or told that it missed something.

use std::{collections::HashMap, time::Duration};

use common::{
    live::{Control, LiveEvent, Signal},
    wire::Message,
};
use uuid::Uuid;

use super::{
    ears::Ears,
    side::{Says, Side, eventually, says},
};

pub async fn what_is_appended_after_subscribing_is_shown(side: Side) {
    let mut bob = side.two.listen(&[]).await;
    for number in 0..100 {
        let room = format!("room-{number}");
        bob.subscriber.subscribe(&room).await.unwrap();
        let posted = side.one.post(&says(&room, "ada", "at once")).await;
        assert_eq!(bob.message().await, posted);
    }
}

pub async fn a_signal_is_shown_and_not_kept(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let mut carol = side.one.listen(&["lobby"]).await;
    let typing = Signal::Room {
        room: "lobby".into(),
        frame: r#"{"type":"typing","room":"lobby","user":"ada"}"#.into(),
    };
    side.one.signal(&typing).await.unwrap();
    let posted = side.one.post(&says("lobby", "ada", "done")).await;
    for ears in [&mut bob, &mut carol] {
        assert!(ears.signal().await.contains(r#""user":"ada""#));
        assert_eq!(ears.message().await, posted);
    }
    let mut late = side.two.listen(&["lobby"]).await;
    let second = side.one.post(&says("lobby", "ada", "again")).await;
    assert_eq!(late.message().await, second);
    let tail = side.two.tail("lobby", 0, 10).await.unwrap();
    assert_eq!(tail.messages.len(), 2);
}

pub async fn a_control_reaches_every_process(side: Side) {
    let mut ears = [
        side.one.listen(&[]).await,
        side.two.listen(&["lobby"]).await,
    ];
    let control = Control::StopReply {
        room: "lobby".into(),
        reply: Uuid::now_v7(),
        by: "ada".into(),
    };
    let signal = Signal::Control(control.clone());
    // A line that has just been opened may not hear the first one.
    for ears in &mut ears {
        eventually("the control is heard", async || {
            side.one.signal(&signal).await.unwrap();
            let heard = ears.control(Duration::from_millis(200)).await;
            heard.is_some_and(|heard| heard == control)
        })
        .await;
    }
}

pub async fn after_unsubscribing_nothing_comes(side: Side) {
    let mut bob = side.two.listen(&["lobby", "attic"]).await;
    bob.subscriber.unsubscribe("lobby").await;
    bob.subscriber.unsubscribe("lobby").await;
    bob.subscriber.unsubscribe("never-heard-of").await;
    side.one.post(&says("lobby", "ada", "unheard")).await;
    let attic = side.one.post(&says("attic", "ada", "heard")).await;
    assert_eq!(bob.message().await, attic);

    bob.subscriber.subscribe("lobby").await.unwrap();
    let lobby = side.one.post(&says("lobby", "ada", "heard too")).await;
    assert_eq!(bob.message().await, lobby);
}

pub async fn rooms_come_and_go_at_will(side: Side) {
    let mut bob = side.two.listen(&[]).await;
    let people = (0..20).map(|person: u64| {
        let subscriber = bob.subscriber.clone();
        tokio::spawn(async move {
            let room = format!("room-{}", person % 4);
            for turn in 0..20 {
                if (turn + person).is_multiple_of(3) {
                    subscriber.unsubscribe(&room).await;
                } else {
                    // An unsubscription of somebody else may come first.
                    drop(subscriber.subscribe(&room).await);
                }
            }
        })
    });
    for person in people.collect::<Vec<_>>() {
        person.await.unwrap();
    }
    for number in 0..4 {
        let room = format!("room-{number}");
        bob.subscriber.subscribe(&room).await.unwrap();
        bob.subscriber.subscribe(&room).await.unwrap();
        let posted = side.one.post(&says(&room, "ada", "and now?")).await;
        assert_eq!(bob.message().await, posted);
    }
}

pub async fn a_slow_reader_is_told_one_gap_and_then_goes_on(side: Side) {
    let mut slow = Ears::open(&*side.two, 8, &["lobby"]).await;
    let mut quick = side.one.listen(&["lobby"]).await;
    // At the same server as the slow one, and told after it: what this one has, that one was sent.
    let mut beside = side.two.listen(&["lobby"]).await;
    let mut posted = Vec::new();
    for number in 0..100 {
        posted.push(
            side.one
                .post(&says("lobby", "ada", &number.to_string()))
                .await,
        );
    }
    for message in &posted {
        assert_eq!(quick.message().await, *message);
        assert_eq!(beside.message().await, *message);
    }
    eventually("the slow reader's channel is full", async || {
        slow.events.len() == 8
    })
    .await;

    let mut heard = 0;
    loop {
        match slow.next().await {
            LiveEvent::Message { seq, .. } => {
                assert_eq!(seq, posted[heard].seq);
                heard += 1;
            }
            event => {
                assert_eq!(
                    event,
                    LiveEvent::Gap {
                        room: "lobby".into(),
                        is_another: false,
                    }
                );
                break;
            }
        }
    }
    assert!((6..=8).contains(&heard), "{heard}");
    let last = posted[heard - 1].seq;
    let missed = side.two.tail("lobby", last, 1_000).await.unwrap();
    assert!(missed.reaches_back);
    assert_eq!(missed.messages, posted[heard..]);
    let next = side.one.post(&says("lobby", "ada", "and on")).await;
    // The last of them may have been on their way to its channel still, when there was room in it again.
    let mut after = slow.message().await;
    let mut late = posted[heard..].iter();
    while after != next {
        assert!(late.any(|message| *message == after), "{after:?}");
        after = slow.message().await;
    }
}

/// The whole promise at once: whoever reads the stream when told a gap has every message, in order, and none is missing
/// without a word.
pub async fn a_slow_reader_that_catches_up_misses_nothing(side: Side) {
    const ROOMS: [&str; 3] = ["lobby", "attic", "cellar"];
    let mut slow = Ears::open(&*side.two, 4, &ROOMS).await;
    let posting = ROOMS.map(|room| {
        let live = side.one.clone();
        tokio::spawn(async move {
            let mut posted = Vec::new();
            for number in 0..300 {
                posted.push(live.post(&says(room, "ada", &number.to_string())).await);
            }
            posted
        })
    });
    let mut heard: HashMap<String, Vec<Message>> = HashMap::new();
    let mut gaps = 0;
    while !ROOMS
        .iter()
        .all(|room| heard.get(*room).is_some_and(|heard| heard.len() == 300))
    {
        match slow.next().await {
            LiveEvent::Message {
                room, prev, frame, ..
            } => {
                let heard = heard.entry(room.to_string()).or_default();
                let last = heard.last().map_or(0, |last| last.seq);
                let message = Message::from_frame(&frame).unwrap();
                if message.seq > last {
                    assert_eq!(prev, last, "missed in {room} without a word");
                    heard.push(message);
                }
            }
            LiveEvent::Gap { room, .. } => {
                gaps += 1;
                let heard = heard.entry(room.to_string()).or_default();
                let last = heard.last().map_or(0, |last| last.seq);
                let missed = side.two.tail(&room, last, 1_000).await.unwrap();
                heard.extend(missed.messages);
            }
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(gaps > 0);
    for (posting, room) in posting.into_iter().zip(ROOMS) {
        assert_eq!(heard[room], posting.await.unwrap());
    }
}

pub async fn a_line_that_nobody_reads_is_closed(side: Side) {
    let bob = side.two.listen(&["lobby"]).await;
    drop(bob.events);
    side.one.post(&says("lobby", "ada", "to nobody")).await;
    assert!(bob.subscriber.subscribe("attic").await.is_err());
    bob.subscriber.unsubscribe("lobby").await;
}

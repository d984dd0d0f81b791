//! Every message has its place, and there is one order.

use std::time::Duration;

use common::{
    live::{AppendRequest, Appended, BotRole},
    wire::{Kind, NewMessage, Seq, now_seq},
};
use uuid::Uuid;

use super::side::{Says, Side, assert_linked, places, says};

pub async fn fifty_appenders_on_two_processes_make_one_strict_order(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let appenders: Vec<_> = (0..50)
        .map(|number| {
            let live = if number % 2 == 0 {
                side.one.clone()
            } else {
                side.two.clone()
            };
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for line in 0..10 {
                    let text = format!("{number}: {line}");
                    mine.push(live.post(&says("lobby", "ada", &text)).await);
                }
                mine
            })
        })
        .collect();
    let mut answered = Vec::new();
    for appender in appenders {
        let mine = appender.await.unwrap();
        assert!(mine.is_sorted_by(|a, b| a.seq < b.seq));
        answered.extend(mine);
    }
    answered.sort_by_key(|message| message.seq);
    assert_linked(&answered);

    let mut heard = Vec::new();
    for _ in 0..500 {
        heard.push(bob.message().await);
    }
    assert_eq!(heard, answered);
    let tail = side.two.tail("lobby", 0, 1_000).await.unwrap();
    assert_eq!(tail.messages, answered);
    let first = &answered[0];
    assert!(first.prev == 0 && first.seq.abs_diff(now_seq()) < 600_000_000);
}

pub async fn a_message_sent_again_keeps_its_place_and_its_first_text(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let first = says("lobby", "ada", "first");
    let kept = side.one.post(&first).await;
    side.one.post(&says("lobby", "ada", "next")).await;

    let mut second = first.clone();
    second.message = "second".into();
    for (again, floor) in [(&first, None), (&second, None), (&second, Some(now_seq()))] {
        let again = side.two.append(again, floor).await.unwrap();
        assert_eq!(again, Appended::Known(kept.clone()));
    }
    side.one.post(&says("lobby", "ada", "last")).await;
    let heard = [
        bob.message().await,
        bob.message().await,
        bob.message().await,
    ];
    assert_eq!(
        heard.each_ref().map(|message| message.message.as_str()),
        ["first", "next", "last"]
    );
}

pub async fn an_id_of_another_sender_is_taken(side: Side) {
    let message = says("lobby", "ada", "mine");
    side.one.post(&message).await;
    let mut stolen = message.clone();
    stolen.sender = "eve".into();
    let answer = side.two.append(&stolen, None).await.unwrap();
    assert_eq!(answer, Appended::Taken);
    let tail = side.two.tail("lobby", 0, 10).await.unwrap();
    assert_eq!(tail.messages.len(), 1);
}

pub async fn the_same_id_in_another_room_is_another_message(side: Side) {
    let message = says("lobby", "ada", "here");
    side.one.post(&message).await;
    let mut elsewhere = message.clone();
    elsewhere.room = "attic".into();
    let elsewhere = side.one.post(&elsewhere).await;
    assert_eq!((elsewhere.room.as_str(), elsewhere.prev), ("attic", 0));
}

pub async fn a_cold_room_waits_for_its_floor(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let message = says("lobby", "ada", "anybody?");
    for live in [&side.one, &side.two] {
        let answer = live.append(&message, None).await.unwrap();
        assert_eq!(answer, Appended::Cold);
    }
    let tail = side.one.tail("lobby", 0, 10).await.unwrap();
    assert_eq!((tail.messages.len(), tail.latest), (0, 0));

    let kept = side.one.post(&message).await;
    assert_eq!(bob.message().await, kept);
    let warm = side.two.append(&says("lobby", "bob", "me"), None).await;
    assert!(matches!(warm, Ok(Appended::New(next)) if next.prev == kept.seq));
}

pub async fn a_floor_is_where_a_cold_room_goes_on(side: Side) {
    let past = now_seq() - 1_000_000;
    let first = says("lobby", "ada", "after a restart");
    let first = side.one.append(&first, Some(past)).await.unwrap();
    let Appended::New(first) = first else {
        panic!("{first:?}");
    };
    assert_eq!(first.prev, past);
    assert!(first.seq > past);

    // A clock that was ahead, once: the order goes on all the same.
    let ahead = now_seq() + 3_600_000_000;
    let second = says("lobby", "ada", "the clock was wrong");
    let second = side.two.append(&second, Some(ahead)).await.unwrap();
    let Appended::New(second) = second else {
        panic!("{second:?}");
    };
    assert_eq!((second.prev, second.seq), (ahead, ahead + 1));

    // Whoever found the room cold at the same time has an older floor.
    let third = says("lobby", "bob", "me too");
    let third = side.two.append(&third, Some(past)).await.unwrap();
    let Appended::New(third) = third else {
        panic!("{third:?}");
    };
    assert_eq!((third.prev, third.seq), (ahead + 1, ahead + 2));
}

/// The date in a frame is computed by the engine. The floor takes it to any later time.
pub async fn a_frame_is_what_a_message_says_of_itself_at_any_time(side: Side) {
    const DAY: Seq = 86_400_000_000;
    let mut bob = side.two.listen(&["lobby"]).await;
    let mut times: Vec<Seq> = Vec::new();
    // The ends of February and of the year, in leap years, in others, and in 2100 and 2200, which are none.
    for year_2028 in [
        1_830_297_600_000_000,
        4_102_444_800_000_000,
        7_258_118_400_000_000,
    ] {
        for years in 0..5 {
            let january = year_2028 + years * 365 * DAY;
            for day in [0, 1, 57, 58, 59, 60, 61, 363, 364, 365, 366] {
                times.extend([
                    january + day * DAY - 2,
                    january + day * DAY,
                    january + day * DAY + 86_399_999_998,
                ]);
            }
        }
    }
    // And any.
    let mut any: Seq = 1;
    for _ in 0..300 {
        any = any
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        times.push(now_seq() + (any >> 11) % (9_000_000_000_000_000 - now_seq()));
    }
    times.sort_unstable();
    times.dedup();

    let mut message = says("lobby", "ada", "");
    for (number, time) in times.into_iter().enumerate() {
        message.id = Uuid::new_v4();
        message.message = format!("\"{number}\" \\ \n\t ä 😀 \u{2028} </script>");
        message.kind = [Kind::User, Kind::Bot, Kind::Fallback][number % 3];
        message.reply_to = (number % 2 == 0).then(Uuid::now_v7);
        let answer = side.one.append(&message, Some(time)).await.unwrap();
        let Appended::New(kept) = answer else {
            panic!("{answer:?}");
        };
        assert!(kept.seq > time && kept.seq <= time + 2, "{time} {kept:?}");
        // message() compares the bytes with what Message::frame writes.
        assert_eq!(bob.message().await, kept);
    }
    let tail = side.one.tail("lobby", 0, 1_000).await.unwrap();
    assert!(tail.messages.is_sorted_by(|a, b| a.seq < b.seq));
    assert_eq!(places(&tail.messages).last(), Some(&tail.latest));
}

pub async fn what_was_made_before_anything_is_remembered_is_looked_up_first(side: Side) {
    let early = says("lobby", "ada", "was it said before?");
    tokio::time::sleep(Duration::from_millis(5)).await;
    side.one.post(&says("lobby", "ada", "first")).await;
    let new = says("lobby", "ada", "new");
    for batch in [vec![&early], vec![&new, &early]] {
        let requests: Vec<AppendRequest> = batch.into_iter().map(talk).collect();
        let answers = side.two.append_all("lobby", &requests, None).await.unwrap();
        assert!(
            answers.iter().all(|answer| *answer == Appended::Cold),
            "{answers:?}"
        );
    }
    // Of a reply it is known whether it is there, and of what does not say when it was made it was asked before.
    let reply = NewMessage {
        kind: Kind::Bot,
        ..early.clone()
    };
    let unknown = NewMessage {
        id: Uuid::new_v4(),
        ..early.clone()
    };
    for message in [&reply, &unknown] {
        assert_eq!(talk(message).made, None);
    }
    let answer = side.two.append(&unknown, None).await.unwrap();
    assert!(matches!(answer, Appended::New(_)), "{answer:?}");
    // Looked up, it takes its place.
    let answer = side.two.append(&early, Some(0)).await.unwrap();
    assert!(matches!(answer, Appended::New(_)), "{answer:?}");
    assert_eq!(
        side.one.tail("lobby", 0, 10).await.unwrap().messages.len(),
        3
    );
}

fn talk(message: &NewMessage) -> AppendRequest {
    AppendRequest::new(message.clone(), BotRole::None)
}

pub async fn several_take_their_places_together_and_in_their_order(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let old = says("lobby", "ada", "long ago");
    // It was made before the first that is remembered, which is itself.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let old = side.one.post(&old).await;
    let stolen = NewMessage {
        sender: "eve".into(),
        ..says("lobby", "ada", "not mine")
    };
    let stolen = NewMessage {
        id: old.id,
        ..stolen
    };
    let twice = says("lobby", "ada", "twice");
    let again = NewMessage {
        message: "long ago, in other words".into(),
        id: old.id,
        ..says("lobby", "ada", "")
    };
    let words = ["one", "two"].map(|word| says("lobby", "bob", word));
    let offers = [&words[0], &again, &twice, &stolen, &twice, &words[1]].map(talk);
    let answers = side.one.append_all("lobby", &offers, None).await.unwrap();

    let heard = [
        bob.message().await,
        bob.message().await,
        bob.message().await,
        bob.message().await,
    ];
    assert_linked(&heard);
    let [first, one, kept, two] = heard;
    let texts = [&one, &kept, &two].map(|message| message.message.as_str());
    assert_eq!((first, texts), (old.clone(), ["one", "twice", "two"]));
    let expected = [
        Appended::New(one),
        Appended::Known(old),
        Appended::New(kept.clone()),
        Appended::Taken,
        Appended::Known(kept),
        Appended::New(two),
    ];
    assert_eq!(answers, expected);
}

pub async fn a_cold_room_takes_none_of_several(side: Side) {
    let offers = ["one", "two", "three"].map(|word| talk(&says("lobby", "ada", word)));
    let answers = side.one.append_all("lobby", &offers, None).await.unwrap();
    assert_eq!(answers, vec![Appended::Cold; 3]);
    let tail = side.one.tail("lobby", 0, 10).await.unwrap();
    assert_eq!((tail.messages.len(), tail.latest), (0, 0));

    let answers = side
        .one
        .append_all("lobby", &offers, Some(5))
        .await
        .unwrap();
    let tail = side.two.tail("lobby", 5, 10).await.unwrap();
    assert!(tail.reaches_back);
    assert_linked(&tail.messages);
    let placed: Vec<Appended> = tail.messages.into_iter().map(Appended::New).collect();
    assert_eq!(answers, placed);
}

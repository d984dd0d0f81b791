//! Every message, in its place, once.

use std::time::Duration;

use common::{
    envelope::Envelope,
    store::{WriteError, Written},
    wire::{Kind, MESSAGE_MAX_CHARS, Message, Seq},
};
use uuid::Uuid;

use super::side::{Side, answered, deletes, edits, said, said_as, seqs, texts};
use common::store::usage::{UsageAsked, UsageBy, UsageSum};

fn new(count: usize) -> Written {
    Written {
        new: count,
        conflicts: Vec::new(),
    }
}

pub async fn what_is_written_is_read_back_in_order(side: Side) {
    let store = side.store;
    let [first, second, third] = [
        said("lobby", 10, "one"),
        said("lobby", 20, "two"),
        said("lobby", 30, "three"),
    ];
    let reply = answered(&first, 40, "four");
    let batch = [
        third,
        first.clone(),
        said("other", 15, "elsewhere"),
        reply.clone(),
        second,
    ];
    assert_eq!(store.write(&batch).await.unwrap(), new(5));

    let page = store.after("lobby", 0, 100).await.unwrap();
    assert_eq!(texts(&page), ["one", "two", "three", "four"]);
    let links: Vec<(Seq, Seq)> = page
        .iter()
        .map(|message| (message.prev, message.seq))
        .collect();
    assert_eq!(links, [(0, 10), (10, 20), (20, 30), (30, 40)]);
    assert_eq!(page, store.before("lobby", Seq::MAX, 100).await.unwrap());
    assert_eq!(page[0], first.message);
    let mut bots = reply.message;
    bots.prev = 30;
    assert_eq!(page[3], bots);
    assert_eq!(page[3].kind, Kind::Bot);
    assert_eq!(store.latest("lobby").await.unwrap(), 40);
}

pub async fn pages_go_back_and_forth_without_a_gap(side: Side) {
    let store = side.store;
    let batch: Vec<Envelope> = (1..=100)
        .map(|n| said("lobby", n * 10, &n.to_string()))
        .collect();
    store.write(&batch).await.unwrap();
    store
        .write(&[said("lobbx", 5, "before"), said("lobbz", 5, "behind")])
        .await
        .unwrap();

    let mut forth = Vec::new();
    loop {
        let last = forth.last().map_or(0, |message: &Message| message.seq);
        let page = store.after("lobby", last, 7).await.unwrap();
        assert!(
            page.first().is_none_or(|message| message.prev == last),
            "a page follows on the last"
        );
        if page.is_empty() {
            break;
        }
        forth.extend(page);
    }
    let mut back = Vec::new();
    loop {
        let first = back
            .first()
            .map_or(Seq::MAX, |message: &Message| message.seq);
        let mut page = store.before("lobby", first, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        page.append(&mut back);
        back = page;
    }
    assert_eq!(forth, back);
    assert_eq!(forth.len(), 100);
    assert!(forth.windows(2).all(|pair| pair[1].prev == pair[0].seq));

    // From between two places, and from beyond the ends.
    let page = store.after("lobby", 15, 2).await.unwrap();
    assert_eq!((seqs(&page), page[0].prev), (vec![20, 30], 10));
    let page = store.before("lobby", 25, 2).await.unwrap();
    assert_eq!((seqs(&page), page[0].prev), (vec![10, 20], 0));
    assert!(store.after("lobby", 1_000, 7).await.unwrap().is_empty());
    assert!(store.after("lobby", Seq::MAX, 7).await.unwrap().is_empty());
    assert!(store.before("lobby", 10, 7).await.unwrap().is_empty());
    assert!(store.before("lobby", Seq::MAX, 0).await.unwrap().is_empty());
    assert_eq!(
        store
            .before("lobby", Seq::MAX, usize::MAX)
            .await
            .unwrap()
            .len(),
        100
    );
}

pub async fn an_empty_room_has_no_past(side: Side) {
    let store = side.store;
    assert_eq!(store.latest("lobby").await.unwrap(), 0);
    assert!(store.after("lobby", 0, 10).await.unwrap().is_empty());
    assert!(
        store
            .before("lobby", Seq::MAX, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.find("lobby", Uuid::now_v7()).await.unwrap(), None);
    assert!(store.existing("lobby", &[]).await.unwrap().is_empty());
    assert_eq!(store.write(&[]).await.unwrap(), new(0));
}

pub async fn what_is_written_again_is_left_as_it_was(side: Side) {
    let store = side.store;
    let batch: Vec<Envelope> = (1..=20).map(|n| said("lobby", n, "as it was")).collect();
    assert_eq!(store.write(&batch).await.unwrap(), new(20));
    assert_eq!(store.write(&batch).await.unwrap(), new(0));

    // The same message under another place, as after Redis came back empty: stored, so no conflict, and the first one
    // stays.
    let again = said_as("lobby", 500, batch[3].message.id, "as it was");
    assert_eq!(store.write(&[again]).await.unwrap(), new(0));
    let found = store
        .find("lobby", batch[3].message.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.seq, found.message.as_str(), found.prev),
        (4, "as it was", 0)
    );
    assert_eq!(store.latest("lobby").await.unwrap(), 20);
}

pub async fn only_what_is_missing_of_a_batch_is_written(side: Side) {
    let store = side.store;
    let batch: Vec<Envelope> = (1..=700).map(|n| said("lobby", n, "hi")).collect();
    store.write(&batch[100..333]).await.unwrap();
    assert_eq!(store.write(&batch).await.unwrap(), new(700 - 233));
    assert_eq!(
        seqs(&store.after("lobby", 0, 1_000).await.unwrap()),
        (1..=700).collect::<Vec<_>>()
    );
}

pub async fn a_batch_may_hold_a_message_twice(side: Side) {
    let store = side.store;
    let [one, two] = [said("lobby", 1, "one"), said("lobby", 2, "two")];
    let written = store
        .write(&[two.clone(), one.clone(), two.clone(), one, two])
        .await
        .unwrap();
    assert_eq!(written, new(2));
    assert_eq!(
        texts(&store.after("lobby", 0, 10).await.unwrap()),
        ["one", "two"]
    );
}

pub async fn an_id_with_two_places_is_stored_once(side: Side) {
    let store = side.store;
    let id = Uuid::now_v7();
    let batch = [
        said_as("lobby", 9, id, "hi"),
        said("lobby", 5, "between"),
        said_as("lobby", 3, id, "hi"),
    ];
    assert_eq!(store.write(&batch).await.unwrap(), new(2));
    let page = store.after("lobby", 0, 10).await.unwrap();
    assert_eq!(
        (texts(&page), seqs(&page)),
        (vec!["hi", "between"], vec![3, 5])
    );
}

pub async fn a_place_that_another_has_is_a_conflict_and_is_told(side: Side) {
    let store = side.store;
    let batch = [said("lobby", 7, "first"), said("lobby", 7, "second")];
    let written = store.write(&batch).await.unwrap();
    assert_eq!(
        written,
        Written {
            new: 1,
            conflicts: vec![1]
        }
    );
    // Told each time, not only at first.
    let written = store.write(&batch).await.unwrap();
    assert_eq!(
        written,
        Written {
            new: 0,
            conflicts: vec![1]
        }
    );
    assert_eq!(
        texts(&store.after("lobby", 0, 10).await.unwrap()),
        ["first"]
    );
    // A conflict that is stored under another place is none.
    let moved = said_as("lobby", 8, batch[1].message.id, "second");
    assert_eq!(
        store.write(&[batch[1].clone(), moved]).await.unwrap(),
        new(1)
    );
    assert_eq!(store.write(&batch).await.unwrap(), new(0));
}

pub async fn an_id_that_another_message_has_is_a_conflict_and_is_told(side: Side) {
    let store = side.store;
    let first = said("lobby", 7, "first");
    let id = first.message.id;
    let (other, same) = (
        said_as("lobby", 8, id, "something else"),
        said_as("lobby", 9, id, "first"),
    );
    let written = store.write(&[first, other.clone(), same]).await.unwrap();
    let conflict = |new, at| Written {
        new,
        conflicts: vec![at],
    };
    assert_eq!(written, conflict(1, 1));
    let written = store.write(&[said("lobby", 10, "new"), other]).await;
    assert_eq!(written.unwrap(), conflict(1, 1));
    let page = store.after("lobby", 0, 10).await.unwrap();
    assert_eq!(
        (texts(&page), seqs(&page)),
        (vec!["first", "new"], vec![7, 10])
    );
}

pub async fn conflicts_are_told_by_their_positions_in_the_batch(side: Side) {
    let store = side.store;
    let there: Vec<Envelope> = (1..=50).map(|n| said("lobby", n, "there")).collect();
    store.write(&there).await.unwrap();
    let mut batch: Vec<Envelope> = (51..=650).rev().map(|n| said("lobby", n, "new")).collect();
    batch[17] = said("lobby", 30, "intruder");
    batch[400] = there[8].clone();
    batch[599] = said("lobby", 2, "intruder");
    batch.push(said("lobby", 300, "too late for its place"));
    let written = store.write(&batch).await.unwrap();
    assert_eq!(
        written,
        Written {
            new: 597,
            conflicts: vec![17, 599, 600]
        }
    );
    let page = store.after("lobby", 0, 1_000).await.unwrap();
    assert_eq!(page.len(), 647);
    assert!(!texts(&page).contains(&"intruder"));
}

pub async fn an_id_of_another_room_suppresses_nothing(side: Side) {
    let store = side.store;
    let id = Uuid::now_v7();
    store
        .write(&[said_as("lobby", 1, id, "theirs")])
        .await
        .unwrap();
    assert_eq!(
        store
            .write(&[said_as("attic", 1, id, "mine")])
            .await
            .unwrap(),
        new(1)
    );
    let batch = [
        said_as("lobby", 1, id, "theirs"),
        said_as("cellar", 1, id, "also mine"),
    ];
    assert_eq!(store.write(&batch).await.unwrap(), new(1));
    for (room, text) in [
        ("lobby", "theirs"),
        ("attic", "mine"),
        ("cellar", "also mine"),
    ] {
        assert_eq!(store.find(room, id).await.unwrap().unwrap().message, text);
        assert_eq!(store.existing(room, &[id]).await.unwrap(), [id].into());
    }
}

pub async fn any_text_is_kept_to_the_letter(side: Side) {
    let store = side.store;
    let texts_in = [
        "\0".to_owned(),
        "a\0b\0".to_owned(),
        "tr\u{e4}iling space ".to_owned(),
        "ıİßẞ ﷺ שלום \u{202e}rtl\u{202c} مرحبا".to_owned(),
        "👩‍👩‍👧‍👦🏳️‍🌈 e\u{301} \u{feff}\u{fffe}\u{ffff}\u{10ffff}".to_owned(),
        "'; DROP TABLE messages; -- \\ \" ` % _ ?".to_owned(),
        "\u{1}\u{7f}\u{80}\r\n\t\u{2028}".to_owned(),
        "🦀".repeat(MESSAGE_MAX_CHARS),
        "\u{10ffff}".repeat(MESSAGE_MAX_CHARS),
    ];
    let batch: Vec<Envelope> = texts_in
        .iter()
        .zip(1..)
        .map(|(text, seq)| said("lobby", seq, text))
        .collect();
    assert_eq!(store.write(&batch).await.unwrap(), new(texts_in.len()));
    let page = store.after("lobby", 0, 100).await.unwrap();
    assert_eq!(
        texts(&page),
        texts_in.iter().map(String::as_str).collect::<Vec<_>>()
    );

    // A whole batch of the longest.
    let longest: Vec<Envelope> = (100..612)
        .map(|seq| said("lobby", seq, &texts_in[8]))
        .collect();
    assert_eq!(store.write(&longest).await.unwrap(), new(512));
    assert!(
        store
            .find("lobby", longest[511].message.id)
            .await
            .unwrap()
            .unwrap()
            .message
            == texts_in[8]
    );
}

pub async fn a_row_that_cannot_be_written_is_rejected_with_its_whole_batch(side: Side) {
    let store = side.store;
    let mut nobody = said("lobby", 3, "hi");
    nobody.message.sender = "n".repeat(33);
    for bad in [
        said("lobby", 3, &"x".repeat(65_536)),
        said(&"r".repeat(65), 3, "hi"),
        said("lobby", u64::MAX, "hi"),
        nobody,
    ] {
        let mut batch: Vec<Envelope> = (10..300).map(|n| said("lobby", n, "hi")).collect();
        batch.insert(200, bad);
        let rejected = store.write(&batch).await;
        assert!(
            matches!(rejected, Err(WriteError::Rejected(_))),
            "{rejected:?}"
        );
        assert_eq!(
            store.latest("lobby").await.unwrap(),
            0,
            "nothing of the batch is written"
        );
    }
    // Also where some of the batch is there already, which goes another way.
    let there = said("lobby", 1, "there");
    store.write(std::slice::from_ref(&there)).await.unwrap();
    let batch = [
        there,
        said("lobby", 2, "new"),
        said("lobby", 3, &"x".repeat(65_536)),
    ];
    let rejected = store.write(&batch).await;
    assert!(
        matches!(rejected, Err(WriteError::Rejected(_))),
        "{rejected:?}"
    );
    assert_eq!(store.latest("lobby").await.unwrap(), 1);
    assert_eq!(
        store.write(&batch[..2]).await.unwrap(),
        new(1),
        "the rest can be written"
    );
}

pub async fn batches_of_any_size_are_written(side: Side) {
    let store = side.store;
    let mut seq = 0;
    for size in [
        1, 2, 3, 15, 16, 17, 127, 128, 129, 511, 512, 513, 1_023, 1_537,
    ] {
        let batch: Vec<Envelope> = (1..=size).map(|n| said("lobby", seq + n, "hi")).collect();
        assert_eq!(store.write(&batch).await.unwrap(), new(batch.len()));
        assert_eq!(store.write(&batch).await.unwrap(), new(0));
        seq += size;
        assert_eq!(store.latest("lobby").await.unwrap(), seq);
    }
    assert_eq!(side_len(&*store).await, usize::try_from(seq).unwrap());
}

async fn side_len(store: &dyn common::store::Store) -> usize {
    store.after("lobby", 0, 1_000_000).await.unwrap().len()
}

pub async fn how_a_reply_came_about_is_kept_with_it(side: Side) {
    let store = &side.store;
    let requests: Vec<Envelope> = (1..=20).map(|n| said("lobby", n, "@bot hi")).collect();
    let replies: Vec<Envelope> = requests
        .iter()
        .zip(21..)
        .map(|(request, seq)| answered(request, seq, "hi"))
        .collect();
    let batch = [requests, replies.clone()].concat();
    // Read repair was first with one of them: it has no log.
    let repaired = Envelope::new(replies[0].message.clone(), None);
    store.write(&[repaired]).await.unwrap();
    assert_eq!(side.count("SELECT COUNT(*) FROM replies").await, 0);

    assert_eq!(store.write(&batch).await.unwrap(), new(39));
    assert_eq!(side.count("SELECT COUNT(*) FROM replies").await, 20);
    let same = "SELECT COUNT(*) FROM replies JOIN messages ON messages.room = replies.room \
                AND messages.id = replies.id AND messages.reply_to = replies.request \
                WHERE model = 'gemini-flash' AND attempts = 2 AND tokens_in = 120 AND tokens_out = 30 \
                AND user = 'ada' AND day = '1970-01-01' \
                AND first_token_ms = 400 AND total_ms = 850 AND cost_micros = 111 AND outcome = 'answered'";
    assert_eq!(side.count(same).await, 20);

    // A second attempt's log does not replace the first one's, and one without a message is none.
    let mut second = replies[0].clone();
    second.reply.as_mut().unwrap().attempts = 9;
    let intruder = answered(&said("lobby", 999, "hi"), 21, "for a place that is taken");
    let written = store.write(&[second, intruder]).await.unwrap();
    assert_eq!(
        written,
        Written {
            new: 0,
            conflicts: vec![1]
        }
    );
    assert_eq!(
        side.count("SELECT COUNT(*) FROM replies WHERE attempts = 2")
            .await,
        20
    );
    assert_eq!(side.count("SELECT COUNT(*) FROM replies").await, 20);
}

pub async fn who_stopped_a_reply_is_told_with_it(side: Side) {
    let store = &side.store;
    let request = said("lobby", 1, "@bot hi");
    let stopped = |seq: u64, by: &str| {
        let mut reply = answered(&request, seq, "what there was");
        reply.message.id = Uuid::now_v7();
        reply.message.stopped_by = Some(by.into());
        reply
    };
    let replies = [
        stopped(2, "ada"),
        stopped(3, "bob"),
        answered(&request, 4, "all of it"),
        stopped(5, "eve"),
    ];
    // Alone and without a log, as read repair hands it over; and with others, one of which is there.
    let repaired = Envelope::new(replies[0].message.clone(), None);
    store.write(&[repaired]).await.unwrap();
    let batch = [std::slice::from_ref(&request), &replies].concat();
    store.write(&batch).await.unwrap();
    store.write(&[deletes(&replies[3], 6)]).await.unwrap();
    let wanted = [None, Some("ada"), Some("bob"), None, None];
    let stoppers = |page: &[Message]| -> Vec<_> {
        let by = page.iter().map(|message| message.stopped_by.clone());
        by.collect()
    };
    let page = store.before("lobby", Seq::MAX, 10).await.unwrap();
    assert_eq!(stoppers(&page), wanted.map(|by| by.map(str::to_owned)));
    let events = store.after("lobby", 0, 10).await.unwrap();
    assert_eq!(stoppers(&events)[..5], stoppers(&page));
    let found = store.find("lobby", replies[1].message.id).await.unwrap();
    assert_eq!(found.unwrap().stopped_by.as_deref(), Some("bob"));
}

pub async fn what_was_deleted_is_told_by_when_it_was(side: Side) {
    let store = &side.store;
    let said: Vec<Envelope> = ["attic", "lobby", "attic", "lobby"]
        .iter()
        .zip(1..)
        .map(|(room, seq)| said(room, seq, "a secret"))
        .collect();
    store.write(&said).await.unwrap();
    assert_eq!(store.deleted_since(0, 10).await.unwrap(), []);
    // The second is only edited, and the last was never written.
    let never = said_as("cellar", 1, Uuid::now_v7(), "never");
    let changes = [
        edits(&said[1], 11, "once"),
        deletes(&said[2], 12),
        deletes(&said[3], 13),
        deletes(&never, 13),
        deletes(&said[0], 14),
    ];
    store.write(&changes).await.unwrap();
    let told = async |since: Seq, limit: usize| {
        let deleted = store.deleted_since(since, limit).await.unwrap();
        let ids: Vec<_> = deleted.iter().map(|one| (one.deleted, one.id)).collect();
        let rooms: Vec<_> = deleted.into_iter().map(|one| one.room).collect();
        (ids, rooms)
    };
    let (ids, rooms) = told(0, 10).await;
    assert_eq!(
        (ids[0], ids[3], ids.len()),
        ((12, said[2].message.id), (14, said[0].message.id), 4)
    );
    assert_eq!([&rooms[0], &rooms[3]], ["attic", "attic"]);
    assert_eq!(
        (told(0, 1).await.0, told(14, 10).await.0),
        (ids[..1].to_vec(), ids[3..].to_vec())
    );
    assert_eq!(told(13, 10).await.0.len(), 3);
}

pub async fn what_was_asked_of_models_is_summed_by_day_room_user_and_model(side: Side) {
    const DAY_MICROS: u64 = 24 * 3_600 * 1_000_000;
    let mut batch = Vec::new();
    // On the second day, ada asks once in the den, where the model has no price; bob's is a fallback.
    for (n, room, user, cost, outcome) in [
        (1, "lobby", "ada", Some(100), "answered"),
        (2, "lobby", "ada", Some(20), "answered"),
        (DAY_MICROS + 1, "den", "ada", None, "answered"),
        (DAY_MICROS + 2, "lobby", "bob", None, "quota"),
        (2 * DAY_MICROS + 1, "lobby", "eve", Some(9), "answered"),
    ] {
        let mut reply = answered(&said(room, n, "hi"), n, "hi");
        let log = reply.reply.as_mut().unwrap();
        (log.user, log.cost_micros, log.outcome) = (user.into(), cost, outcome.into());
        batch.push(reply);
    }
    side.store.write(&batch).await.unwrap();

    let asked = |by: &[UsageBy]| UsageAsked {
        by: by.to_vec(),
        since: "1970-01-01".into(),
        until: "1970-01-02".into(),
    };
    let sum =
        |day: &str, room: &str, user: &str, requests, answered, cost_micros, unpriced| UsageSum {
            day: day.into(),
            room: room.into(),
            user: user.into(),
            model: String::new(),
            requests,
            answered,
            calls: 2 * requests,
            tokens_in: 120 * requests,
            tokens_out: 30 * requests,
            cost_micros,
            unpriced,
        };
    assert_eq!(
        side.usage(&asked(&[])).await,
        [sum("", "", "", 4, 3, 120, 1)]
    );
    assert_eq!(
        side.usage(&asked(&[UsageBy::Day])).await,
        [
            sum("1970-01-01", "", "", 2, 2, 120, 0),
            sum("1970-01-02", "", "", 2, 1, 0, 1)
        ]
    );
    assert_eq!(
        side.usage(&asked(&[UsageBy::Room, UsageBy::User])).await,
        [
            sum("", "den", "ada", 1, 1, 0, 1),
            sum("", "lobby", "ada", 2, 2, 120, 0),
            sum("", "lobby", "bob", 1, 0, 0, 0)
        ]
    );
    let by_model = side.usage(&asked(&[UsageBy::Model])).await;
    assert_eq!((by_model.len(), &*by_model[0].model), (1, "gemini-flash"));
    let none = UsageAsked {
        by: Vec::new(),
        since: "2000-01-01".into(),
        until: "2000-01-01".into(),
    };
    assert_eq!(side.usage(&none).await[0].requests, 0);
}

pub async fn what_exists_is_told_by_its_ids(side: Side) {
    let store = side.store;
    let batch: Vec<Envelope> = (1..=600).map(|n| said("lobby", n, "hi")).collect();
    store.write(&batch).await.unwrap();
    let there: Vec<Uuid> = batch.iter().map(|envelope| envelope.message.id).collect();
    let absent: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    let asked = [there.clone(), absent.clone()].concat();
    assert_eq!(
        store.existing("lobby", &asked).await.unwrap(),
        there.into_iter().collect()
    );
    assert!(store.existing("lobby", &absent).await.unwrap().is_empty());
    assert!(store.existing("attic", &asked).await.unwrap().is_empty());
}

pub async fn a_write_that_is_cut_off_is_whole_or_not_there(side: Side) {
    let store = side.store;
    let mut cut_off = 0;
    for round in 0..100 {
        let room = format!("room-{round}");
        let batch: Vec<Envelope> = (1..=60).map(|n| said(&room, n, "hi")).collect();
        let patience = Duration::from_micros(100 * round);
        cut_off += usize::from(
            tokio::time::timeout(patience, store.write(&batch))
                .await
                .is_err(),
        );
    }
    assert!(cut_off > 0, "some were cut off");
    for round in 0..100 {
        let room = format!("room-{round}");
        let there = store.after(&room, 0, 100).await.unwrap().len();
        assert!(there == 0 || there == 60, "{there} of 60");
    }
    // Nothing is left behind that is in anyone's way.
    for round in 0..100 {
        let room = format!("room-{round}");
        store.write(&[said(&room, 1_000, "after")]).await.unwrap();
    }
}

//! Edits and deletions: whatever comes first, and however often, a message comes to the same state, and what is deleted has no
//! text anywhere.

use std::sync::Arc;

use common::{
    envelope::Envelope,
    store::{SentAt, Store, WriteError, Written, usage::UsageAsked},
    wire::{Kind, Message, Seq, Source},
};
use uuid::Uuid;

use super::side::{Side, answered, deletes, edits, erased, said, said_as, seqs, texts};

const SECRET: &str = "the-word-that-must-go";

/// How many rows hold the secret, wherever a text is kept.
async fn secrets(side: &Side) -> i64 {
    let messages = "SELECT COUNT(*) FROM messages WHERE message LIKE '%the-word-that-must-go%'";
    let states = "SELECT COUNT(*) FROM message_states WHERE message LIKE '%the-word-that-must-go%'";
    side.count(messages).await + side.count(states).await
}

async fn find(store: &Arc<dyn Store>, envelope: &Envelope) -> Message {
    let Message { room, id, .. } = &envelope.message;
    store.find(room, *id).await.unwrap().unwrap()
}

fn shuffle(batch: &mut [Envelope]) {
    batch.sort_by_cached_key(|_| Uuid::new_v4());
}

fn new(count: usize) -> Written {
    Written {
        new: count,
        conflicts: Vec::new(),
    }
}

pub async fn an_event_has_a_place_of_its_own_and_changes_its_message(side: Side) {
    let store = &side.store;
    let [one, two, three] = [
        said("lobby", 10, "one"),
        said("lobby", 20, SECRET),
        said("lobby", 30, "three"),
    ];
    let [edit, deletion] = [edits(&one, 40, "ONE"), deletes(&two, 50)];
    let last = said("lobby", 60, "last");
    let batch = [
        one,
        two.clone(),
        three,
        edit.clone(),
        deletion.clone(),
        last,
    ];
    assert_eq!(store.write(&batch).await.unwrap(), new(6));

    let all = store.after("lobby", 0, 100).await.unwrap();
    assert_eq!(seqs(&all), [10, 20, 30, 40, 50, 60]);
    assert_eq!(texts(&all), ["ONE", "", "three", "ONE", "", "last"]);
    assert!(all.windows(2).all(|pair| pair[1].prev == pair[0].seq));
    assert_eq!((all[0].edited, all[0].deleted), (Some(40), false));
    assert_eq!((all[1].edited, all[1].deleted), (None, true));
    assert_eq!((all[2].edited, all[2].deleted), (None, false));
    let mut expected = edit.message;
    expected.prev = 30;
    assert_eq!(all[3], expected);
    let mut expected = deletion.message.clone();
    expected.prev = 40;
    assert_eq!(all[4], expected);
    // Also from between, and to a limit.
    let page = store.after("lobby", 30, 2).await.unwrap();
    assert_eq!((seqs(&page), page[0].prev), (vec![40, 50], 30));

    // The history is of messages alone.
    let history = store.before("lobby", Seq::MAX, 100).await.unwrap();
    assert_eq!(seqs(&history), [10, 20, 30, 60]);
    assert_eq!(texts(&history), ["ONE", "", "three", "last"]);
    let page = store.before("lobby", 60, 2).await.unwrap();
    assert_eq!((seqs(&page), page[0].prev), (vec![20, 30], 10));

    assert_eq!(store.latest("lobby").await.unwrap(), 60);
    assert_eq!(find(store, &deletion).await.of, Some(two.message.id));
    assert!(find(store, &two).await.deleted);
    let ids = [deletion.message.id, two.message.id];
    assert_eq!(store.existing("lobby", &ids).await.unwrap(), ids.into());
    assert_eq!(secrets(&side).await, 0);
}

/// In each room the same things, written in another order and in other batches.
pub async fn edits_and_a_deletion_come_to_the_same_in_any_order_and_any_batches(side: Side) {
    let store = &side.store;
    for round in 0..40 {
        let room = format!("room-{round}");
        let [kept, gone] = [
            said(&room, 10, "first"),
            said(&room, 20, &format!("{SECRET} {round}")),
        ];
        let reply = answered(&gone, 25, SECRET);
        let mut all = vec![
            edits(&kept, 30, "second"),
            edits(&gone, 40, SECRET),
            edits(&kept, 50, "third"),
            deletes(&gone, 60),
            deletes(&reply, 65),
            // Somebody who did not know yet.
            edits(&gone, 70, SECRET),
            deletes(&gone, 80),
            kept,
            gone,
            reply,
        ];
        shuffle(&mut all);
        let size = 1 + round % all.len();
        for batch in all.chunks(size) {
            assert_eq!(store.write(batch).await.unwrap(), new(batch.len()));
        }
        let page = store.after(&room, 0, 100).await.unwrap();
        let expected = [10, 20, 25, 30, 40, 50, 60, 65, 70, 80];
        assert_eq!(seqs(&page), expected, "{round}");
        let expected = ["third", "", "", "second", "", "third", "", "", "", ""];
        assert_eq!(texts(&page), expected, "{round}");
        assert_eq!((page[0].edited, page[0].deleted), (Some(50), false));
        assert_eq!((page[1].edited, page[1].deleted), (None, true));
        assert_eq!((page[2].kind, page[2].deleted), (Kind::Bot, true));
        assert_eq!(secrets(&side).await, 0, "{round}");
    }
}

pub async fn what_comes_again_changes_nothing_once_more(side: Side) {
    let store = &side.store;
    let [kept, gone] = [said("lobby", 10, "one"), said("lobby", 20, SECRET)];
    let all = [
        edits(&kept, 30, "two"),
        edits(&gone, 40, SECRET),
        edits(&kept, 50, "three"),
        deletes(&gone, 60),
        kept,
        gone,
    ];
    store.write(&all).await.unwrap();
    let before = store.after("lobby", 0, 100).await.unwrap();
    for one in &all {
        let again = store.write(std::slice::from_ref(one)).await.unwrap();
        assert_eq!(again, new(0));
    }
    assert_eq!(store.write(&all).await.unwrap(), new(0));
    // Along with something new, which goes another way.
    let batch = [&all[..], &[said("lobby", 70, "new")]].concat();
    assert_eq!(store.write(&batch).await.unwrap(), new(1));
    let after = store.after("lobby", 0, 6).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(secrets(&side).await, 0);
}

pub async fn writers_at_the_same_time_leave_no_text_of_what_is_deleted(side: Side) {
    let store = &side.store;
    for round in 0..60 {
        let room = format!("room-{round}");
        let messages: Vec<Envelope> = (1..=8).map(|n| said(&room, n, SECRET)).collect();
        let edited: Vec<Envelope> = messages
            .iter()
            .zip(11..)
            .map(|(message, seq)| edits(message, seq, SECRET))
            .collect();
        let deleted: Vec<Envelope> = messages
            .iter()
            .zip(21..)
            .map(|(message, seq)| deletes(message, seq))
            .collect();
        // Redelivered to another, too.
        let writers = [&messages, &edited, &deleted, &messages, &deleted].map(|batch| {
            let (store, mut batch) = (store.clone(), batch.clone());
            shuffle(&mut batch);
            tokio::spawn(async move {
                let written = store.write(&batch).await.unwrap();
                assert_eq!(written.conflicts, [0; 0]);
            })
        });
        for writer in writers {
            writer.await.unwrap();
        }
        let page = store.after(&room, 0, 100).await.unwrap();
        assert_eq!(page.len(), 24);
        assert!(page.iter().all(|message| message.message.is_empty()));
        assert!(page[..8].iter().all(|message| message.deleted));
        assert_eq!(secrets(&side).await, 0, "{round}");
    }
}

pub async fn what_the_stream_has_erased_is_stored_without_its_text(side: Side) {
    let store = &side.store;
    let [gone, there] = [said("lobby", 10, SECRET), said("lobby", 20, SECRET)];
    let edit = edits(&gone, 30, SECRET);
    store.write(std::slice::from_ref(&there)).await.unwrap();
    // Read repair brings what is left of them, with a deletion that was not written yet.
    let left = [erased(&gone), erased(&there), erased(&edit)];
    assert_eq!(store.write(&left).await.unwrap(), new(2));
    let page = store.after("lobby", 0, 100).await.unwrap();
    assert_eq!(texts(&page), ["", "", ""]);
    assert!(page[0].deleted && page[1].deleted && !page[2].deleted);
    // Then come older copies.
    assert_eq!(store.write(&[gone.clone(), there]).await.unwrap(), new(0));
    assert_eq!(store.write(&[deletes(&gone, 40)]).await.unwrap(), new(1));
    assert_eq!(store.write(&[edit]).await.unwrap(), new(0));
    assert_eq!(secrets(&side).await, 0);
}

pub async fn a_text_that_was_taken_away_is_no_conflict(side: Side) {
    let store = &side.store;
    let gone = said("lobby", 10, SECRET);
    store
        .write(&[gone.clone(), deletes(&gone, 20)])
        .await
        .unwrap();
    // Its other place, as after Redis came back empty.
    let moved = said_as("lobby", 30, gone.message.id, SECRET);
    assert_eq!(store.write(&[moved, gone.clone()]).await.unwrap(), new(0));
    // But another sender's it is not.
    let mut eves = gone;
    eves.message.sender = "eve".into();
    let written = store.write(&[eves]).await.unwrap();
    assert_eq!((written.new, written.conflicts), (0, vec![0]));
    // A request that is put again in its newest state is the same request.
    let asked = said("lobby", 40, "@bot what is tow plus two?");
    let edit = edits(&asked, 50, "@bot what is two plus two?");
    store.write(&[asked.clone(), edit]).await.unwrap();
    let mut again = find(store, &asked).await;
    assert_eq!(again.edited, Some(50));
    again.prev = 0;
    let again = Envelope::new(again, None);
    assert_eq!(store.write(&[again]).await.unwrap(), new(0));
    assert_eq!(secrets(&side).await, 0);
}

pub async fn an_event_under_the_id_of_something_else_is_a_conflict(side: Side) {
    let store = &side.store;
    let [one, two] = [said("lobby", 10, "one"), said("lobby", 20, "two")];
    let deletion = deletes(&one, 30);
    store
        .write(&[one.clone(), two.clone(), deletion.clone()])
        .await
        .unwrap();
    let mut of_message = deletes(&one, 40);
    of_message.message.id = two.message.id;
    let mut of_other = deletes(&two, 50);
    of_other.message.id = deletion.message.id;
    let mut for_a_place = edits(&two, 20, "its place is taken");
    for_a_place.message.of = Some(two.message.id);
    let written = store
        .write(&[of_message, of_other, said("lobby", 60, "fine"), for_a_place])
        .await
        .unwrap();
    assert_eq!((written.new, written.conflicts), (1, vec![0, 1, 3]));
    let history = store.before("lobby", Seq::MAX, 10).await.unwrap();
    assert_eq!(texts(&history), ["", "two", "fine"]);
    assert_eq!(history[1].edited, None);
}

pub async fn an_event_changes_its_own_room_alone(side: Side) {
    let store = &side.store;
    let here = said("lobby", 10, "here");
    let there = said_as("attic", 10, here.message.id, "there");
    let elsewhere = said_as("cellar", 10, here.message.id, "elsewhere");
    let batch = [
        here.clone(),
        there.clone(),
        deletes(&there, 20),
        elsewhere.clone(),
        edits(&elsewhere, 20, "changed"),
    ];
    store.write(&batch).await.unwrap();
    assert_eq!(find(store, &here).await.message, "here");
    assert!(find(store, &there).await.deleted);
    assert_eq!(find(store, &elsewhere).await.message, "changed");
}

pub async fn many_deletions_since_the_oldest_of_a_batch_are_all_honoured(side: Side) {
    let store = &side.store;
    let messages: Vec<Envelope> = (1..=700).map(|n| said("lobby", n, SECRET)).collect();
    let deletions: Vec<Envelope> = messages[..600]
        .iter()
        .zip(1_000..)
        .map(|(message, seq)| deletes(message, seq))
        .collect();
    assert_eq!(store.write(&deletions).await.unwrap(), new(600));
    // A persister that is far behind.
    assert_eq!(store.write(&messages).await.unwrap(), new(700));
    assert_eq!(secrets(&side).await, 100);
    let page = store.after("lobby", 0, 700).await.unwrap();
    assert!(page[..600].iter().all(|message| message.deleted));
    assert!(page[600..].iter().all(|message| !message.deleted));
    let rest: Vec<Envelope> = messages[600..]
        .iter()
        .zip(2_000..)
        .map(|(message, seq)| deletes(message, seq))
        .collect();
    assert_eq!(store.write(&rest).await.unwrap(), new(100));
    assert_eq!(secrets(&side).await, 0);
}

pub async fn an_event_that_can_never_be_written_is_rejected_and_changes_nothing(side: Side) {
    let store = &side.store;
    let one = said("lobby", 10, "one");
    store.write(std::slice::from_ref(&one)).await.unwrap();
    let batch = [
        edits(&one, 20, "two"),
        edits(&one, 30, &"x".repeat(65_536)),
        edits(&one, u64::MAX, "three"),
    ];
    for bad in [&batch[..2], &batch[1..2], &batch[2..]] {
        let rejected = store.write(bad).await;
        assert!(
            matches!(rejected, Err(WriteError::Rejected(_))),
            "{rejected:?}"
        );
    }
    let history = store.before("lobby", Seq::MAX, 10).await.unwrap();
    assert_eq!(texts(&history), ["one"]);
    assert_eq!(store.write(&batch[..1]).await.unwrap(), new(1));
    assert_eq!(find(store, &one).await.message, "two");
}

pub async fn what_one_has_written_is_read_page_by_page(side: Side) {
    let store = &side.store;
    let mut all = Vec::new();
    let mut adas = Vec::new();
    for n in 1..=30_000 {
        let room = ["attic", "cellar", "lobby-2"][n as usize % 3];
        let mut one = said(room, n, "others talk");
        one.message.sender = "eve".into();
        if n % 1_000 < 3 {
            one.message.sender = "ada".into();
            one.message.message = format!("hers {n}");
            adas.push(one.clone());
        }
        all.push(one);
    }
    all.push(edits(&adas[0], 40_000, "hers, edited"));
    all.push(deletes(&adas[1], 40_001));
    all.push(answered(&adas[2], 40_002, "not hers"));
    for batch in all.chunks(3_000) {
        store.write(batch).await.unwrap();
    }
    for limit in [7, 1_000] {
        let (mut after, mut pages, mut found) = (SentAt::default(), 0, Vec::new());
        loop {
            let page = store.by_sender("ada", &after, limit).await.unwrap();
            assert!(page.messages.len() <= limit);
            found.extend(page.messages);
            pages += 1;
            let Some(next) = page.next else { break };
            assert!(next > after, "it goes on");
            after = next;
        }
        assert!(pages >= 2 && pages <= adas.len() / limit + 4, "{pages}");
        let mut expected: Vec<_> = adas.iter().map(|one| one.message.clone()).collect();
        expected[0].message = "hers, edited".into();
        expected[0].edited = Some(40_000);
        expected.remove(1);
        expected.sort_by_key(|one| (one.room.clone(), one.seq));
        assert_eq!(found, expected);
    }
    let nobody = store.by_sender("nobody", &SentAt::default(), 10).await;
    assert!(nobody.unwrap().messages.is_empty());
}

pub async fn sums_over_replies_are_the_same_when_all_is_deleted(side: Side) {
    let store = &side.store;
    let question = said("lobby", 10, SECRET);
    let reply = answered(&question, 20, SECRET);
    store
        .write(&[question.clone(), reply.clone()])
        .await
        .unwrap();
    let asked = UsageAsked {
        by: Vec::new(),
        since: "1970-01-01".into(),
        until: "1970-01-02".into(),
    };
    let before = side.usage(&asked).await;
    assert_eq!((before.len(), before[0].requests), (1, 1));
    let deletions = [deletes(&question, 30), deletes(&reply, 40)];
    store.write(&deletions).await.unwrap();
    assert_eq!(side.usage(&asked).await, before);
    assert_eq!(secrets(&side).await, 0);
    // A reply that comes after its deletion counts as well.
    let late = answered(&said("lobby", 50, "hi"), 60, SECRET);
    store.write(&[deletes(&late, 70)]).await.unwrap();
    store.write(std::slice::from_ref(&late)).await.unwrap();
    assert_eq!(side.usage(&asked).await[0].requests, 2);
    assert_eq!(secrets(&side).await, 0);
}

pub async fn what_an_answer_stands_on_is_kept_with_it_and_goes_with_it(side: Side) {
    let store = &side.store;
    let question = said("lobby", 10, "what is new?");
    let grounded = |seq: Seq, text: &str| {
        let mut answer = answered(&question, seq, text);
        let source = Source::new(SECRET, "https://example.org/a");
        answer.message.grounding.add(source.unwrap());
        let html = format!("<b>{SECRET}</b>");
        answer.message.grounding.suggest(&html);
        answer.reply.as_mut().unwrap().details.searches = 2;
        answer
    };
    let mut kept = grounded(20, "Much.");
    kept.message.id = Uuid::now_v7();
    let gone = grounded(30, "Nothing.");
    let batch = [question.clone(), kept.clone(), gone.clone()];
    store.write(&batch).await.unwrap();
    // Whatever of it comes again changes nothing.
    store.write(&[kept.clone(), gone.clone()]).await.unwrap();
    let kept = Message {
        prev: 10,
        ..kept.message
    };
    assert_eq!(
        store.after("lobby", 10, 10).await.unwrap()[0],
        kept,
        "as it was shown"
    );
    assert_eq!(
        store
            .find("lobby", kept.id)
            .await
            .unwrap()
            .unwrap()
            .grounding,
        kept.grounding
    );
    let searched =
        "SELECT CAST(SUM(searches) AS SIGNED) FROM reply_details WHERE day = '1970-01-01'";
    assert_eq!(side.count(searched).await, 4);

    let groundings =
        "SELECT COUNT(*) FROM message_groundings WHERE grounding LIKE '%the-word-that-must-go%'";
    assert_eq!(side.count(groundings).await, 2);
    let deletion = deletes(&gone, 40);
    store.write(&[deletion]).await.unwrap();
    assert_eq!(side.count(groundings).await, 1);
    // A copy that comes after it, by itself or in another place, brings nothing back.
    store.write(std::slice::from_ref(&gone)).await.unwrap();
    assert_eq!(side.count(groundings).await, 1);
    let found = find(store, &gone).await;
    assert!(found.deleted && found.grounding.is_empty(), "{found:?}");

    // And where the deletion comes first.
    let mut late = grounded(50, "Late.");
    late.message.id = Uuid::now_v7();
    store.write(&[deletes(&late, 60)]).await.unwrap();
    store.write(&[late.clone()]).await.unwrap();
    assert_eq!(side.count(groundings).await, 1);
}

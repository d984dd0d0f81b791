//! Edits and deletions: events with places of their own, and what they do to what they change.

use common::{
    envelope::reply_id,
    live::{
        AppendRequest, Appended, BotRole, Change, Live,
        turns::{DraftOutcome, Fence, TurnRequest},
    },
    wire::{Grounding, Kind, Message, NewMessage, Source},
};
use uuid::Uuid;

use super::{
    side::{Says, Side, assert_linked, says},
    turns::{draft, granted, posts},
};

/// An edit of a message by whoever wrote it.
fn edits(message: &Message, text: &str) -> NewMessage {
    NewMessage {
        kind: Kind::Edited,
        of: Some(message.id),
        ..says(&message.room, &message.sender, text)
    }
}

/// Its deletion.
fn deletes(message: &Message) -> NewMessage {
    NewMessage {
        kind: Kind::Deleted,
        of: Some(message.id),
        ..says(&message.room, &message.sender, "")
    }
}

/// Something to stand on, with what looks like the end of a frame in it.
fn grounded() -> Grounding {
    let mut grounding = Grounding::default();
    let source = Source::new("the secret\",\"message\":\"", "https://example.org/secret");
    grounding.add(source.unwrap());
    grounding.suggest("<b>the secret</b>\",\"reply_to\":\"\\");
    grounding
}

/// As it stands where its text was.
fn without_text(message: &Message) -> Message {
    Message {
        message: String::new(),
        stopped_by: None,
        grounding: Grounding::default(),
        deleted: !message.kind.is_change(),
        ..message.clone()
    }
}

async fn stream(side: &Side) -> Vec<Message> {
    let tail = side.two.tail("lobby", 0, 1_000).await.unwrap();
    assert!(tail.reaches_back);
    assert_linked(&tail.messages);
    tail.messages
}

pub async fn an_event_has_its_place_among_the_messages_and_is_shown(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let said = side.one.post(&says("lobby", "ada", "helo")).await;
    let edit = edits(&said, "hello \"Bob\" \\ \u{1F44B}");
    let [edited, next] = [
        side.one.post(&edit).await,
        side.one.post(&says("lobby", "bob", "hi")).await,
    ];
    let deleted = side.one.post(&deletes(&next)).await;
    let gone = without_text(&next);
    // message() compares the bytes with what Message::frame writes.
    for wanted in [&said, &edited, &next, &deleted] {
        assert_eq!(bob.message().await, *wanted);
    }
    assert_eq!((edited.of, edited.kind), (Some(said.id), Kind::Edited));
    assert_eq!(
        stream(&side).await,
        [said, edited.clone(), gone, deleted.clone()]
    );

    // Sent again, an event is the same one.
    let again = side.two.append(&edit, None).await.unwrap();
    assert_eq!(again, Appended::Known(edited.clone()));
    let stolen = NewMessage {
        sender: "eve".into(),
        ..edit
    };
    let stolen = side.two.append(&stolen, None).await.unwrap();
    assert_eq!(stolen, Appended::Taken);
    let found = side.two.find("lobby", edited.id).await.unwrap();
    assert_eq!(found, Some(edited));
}

pub async fn a_deletion_takes_the_text_of_the_message_and_of_its_edits(side: Side) {
    let post = async |message: &NewMessage| side.one.post(message).await;
    let before = post(&says("lobby", "ada", "before")).await;
    let question = NewMessage {
        reply_to: Some(before.id),
        grounding: grounded(),
        ..says("lobby", "ada", "the \"secret\",\"reply_to\":\"\\")
    };
    let said = post(&question).await;
    assert_eq!(stream(&side).await[1].grounding, question.grounding);
    let first = post(&edits(&said, "a secret")).await;
    let other = post(&edits(&before, "before all")).await;
    let between = post(&says("lobby", "bob", &format!("\"id\":\"{}\"", said.id))).await;
    let second = post(&edits(&said, "the secret,\"message\":\"")).await;
    let deleted = post(&deletes(&said)).await;
    let after = post(&says("lobby", "bob", "after")).await;
    let wanted = [
        before.clone(),
        without_text(&said),
        without_text(&first),
        other.clone(),
        between,
        without_text(&second),
        deleted,
        after,
    ];
    assert_eq!(stream(&side).await, wanted);
    let found = side.two.find("lobby", said.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&wanted[1]));
    // Sent again by a client that had no ack, it does not come back.
    let again = side.two.append(&question, None).await.unwrap();
    assert_eq!(again, Appended::Known(wanted[1].clone()));
    assert_eq!(
        side.two.find("lobby", before.id).await.unwrap(),
        Some(before)
    );
}

pub async fn what_is_left_of_a_stopped_reply_that_is_deleted_is_what_it_answered(side: Side) {
    let question = side.one.post(&says("lobby", "ada", "how so?")).await;
    let reply = NewMessage {
        kind: Kind::Bot,
        reply_to: Some(question.id),
        stopped_by: Some("bob".into()),
        ..says("lobby", "bot", "a secret")
    };
    let reply = side.one.post(&reply).await;
    assert_eq!(
        side.two.find("lobby", reply.id).await.unwrap(),
        Some(reply.clone())
    );
    side.one.post(&deletes(&reply)).await;
    let left = side.two.find("lobby", reply.id).await.unwrap().unwrap();
    assert_eq!(left, without_text(&reply));
    assert_eq!((left.stopped_by, left.reply_to), (None, Some(question.id)));
}

pub async fn what_has_become_of_a_message_is_told_by_its_id(side: Side) {
    let ids: [Uuid; 2] = [Uuid::now_v7(), Uuid::now_v7()];
    assert_eq!(side.two.changes("lobby", &ids).await.unwrap(), []);
    let [plain, changed, gone] = [
        side.one.post(&says("lobby", "ada", "plain")).await,
        side.one.post(&says("lobby", "ada", "one")).await,
        side.one.post(&says("lobby", "ada", "two")).await,
    ];
    side.one.post(&edits(&changed, "once")).await;
    side.one.post(&edits(&gone, "twice")).await;
    let newest = side.one.post(&edits(&changed, "newest")).await;
    let deletion = side.one.post(&deletes(&gone)).await;
    // Of one that the stream never had, or has dropped.
    let long_ago = Message {
        id: Uuid::now_v7(),
        ..plain.clone()
    };
    let late = side.one.post(&edits(&long_ago, "late")).await;
    let ids = [&plain, &changed, &gone, &long_ago].map(|message| message.id);
    let mut changes = side.two.changes("lobby", &ids).await.unwrap();
    changes.sort_by_key(|change| change.seq);
    let change = |message: &Message, event: &Message| Change {
        of: message.id,
        seq: event.seq,
        text: Some(event.message.clone()).filter(|text| !text.is_empty()),
    };
    let wanted = [
        change(&changed, &newest),
        change(&gone, &deletion),
        change(&long_ago, &late),
    ];
    assert_eq!(changes, wanted);
    assert_eq!(side.two.changes("lobby", &[]).await.unwrap(), []);
    assert_eq!(side.two.changes("attic", &ids).await.unwrap(), []);
}

pub async fn what_is_deleted_changes_no_more(side: Side) {
    let said = side.one.post(&says("lobby", "ada", "never mind")).await;
    let deletion = deletes(&said);
    let deleted = side.one.post(&deletion).await;
    for late in [edits(&said, "a secret"), deletes(&said)] {
        let answer = side.two.append(&late, None).await.unwrap();
        assert_eq!(answer, Appended::Gone);
    }
    let again = side.two.append(&deletion, None).await.unwrap();
    assert_eq!(again, Appended::Known(deleted.clone()));
    assert_eq!(stream(&side).await, [without_text(&said), deleted]);

    // Also where all come at once.
    let said = side.one.post(&says("lobby", "ada", "nor that")).await;
    let requests = [
        edits(&said, "a secret"),
        deletes(&said),
        edits(&said, "another"),
        says("lobby", "bob", "hm"),
        deletes(&said),
    ]
    .map(|message| AppendRequest::new(message, BotRole::None));
    let answers = side.one.append_all("lobby", &requests, None).await.unwrap();
    let is_new: Vec<bool> = answers
        .iter()
        .map(|answer| matches!(answer, Appended::New(_)))
        .collect();
    assert_eq!(is_new, [true, true, false, true, false]);
    assert_eq!([&answers[2], &answers[4]], [&Appended::Gone; 2]);
    let texts: Vec<String> = stream(&side)
        .await
        .into_iter()
        .map(|message| message.message)
        .collect();
    assert_eq!(texts, ["", "", "", "", "", "hm"]);
}

pub async fn what_the_store_has_as_deleted_is_taken_out_of_the_stream(side: Side) {
    let post = async |message: &NewMessage| side.one.post(message).await;
    let scrub = async |id, seq| side.two.scrub("lobby", &[(id, seq)]).await.unwrap();
    // Of a room that is not known nothing is made.
    assert_eq!(scrub(Uuid::now_v7(), 7).await, 0);
    assert_eq!(side.one.tail("lobby", 0, 10).await.unwrap().latest, 0);

    let before = post(&says("lobby", "ada", "before")).await;
    let said = post(&says("lobby", "ada", "the secret")).await;
    let edit = post(&edits(&said, "a secret")).await;
    let (_, place, fence) = being_answered(&*side.one).await;
    let mut wanted = stream(&side).await;
    // Nobody has said this here: nothing is ended for it.
    assert_eq!(scrub(Uuid::now_v7(), said.seq + 1).await, 0);
    assert_eq!(stream(&side).await, wanted);
    let shown = side.one.draft(&draft(&place, fence, 101, "Fo", "ur")).await;
    assert_eq!(shown.unwrap(), DraftOutcome::Shown);

    assert_eq!(scrub(said.id, edit.seq + 1).await, 1);
    for changed in [&said, &edit] {
        let at = wanted.iter().position(|one| one.id == changed.id).unwrap();
        wanted[at] = without_text(changed);
    }
    assert_eq!(stream(&side).await, wanted);
    let changes = side.one.changes("lobby", &[said.id]).await.unwrap();
    let deleted = Change {
        of: said.id,
        seq: edit.seq + 1,
        text: None,
    };
    assert_eq!(changes, [deleted]);
    for late in [edits(&said, "another"), deletes(&said)] {
        let answer = side.two.append(&late, None).await.unwrap();
        assert_eq!(answer, Appended::Gone);
    }
    // The answer may have been told it.
    is_over(&side, &place, fence).await;
    // What is known here is left as it is.
    assert_eq!(scrub(said.id, edit.seq + 2).await, 0);
    let deletion = post(&deletes(&before)).await;
    assert_eq!(scrub(before.id, deletion.seq).await, 0);
}

/// A question that somebody answers: it, the place in the turn queue, and the right to write.
async fn being_answered(live: &dyn Live) -> (Message, TurnRequest, Fence) {
    let question = says("lobby", "ada", "two plus two?");
    let reply = reply_id("lobby", question.id);
    let asked = live.append_as(&question, Some(0), BotRole::Request(reply));
    let Ok(Appended::New(asked)) = asked.await else {
        panic!("it was not asked");
    };
    let place = TurnRequest {
        room: "lobby".into(),
        reply,
        seq: asked.seq,
        holder: Uuid::new_v4(),
        at_least: 1,
        in_hand: Vec::new(),
    };
    let fence = granted(live, &place).await;
    let shown = live.draft(&draft(&place, fence, 101, "", "Fo")).await;
    assert_eq!(shown.unwrap(), DraftOutcome::Shown);
    (asked, place, fence)
}

/// Whoever was at it can neither show nor post anything, nothing is left of the draft, and the next one has the turn.
async fn is_over(side: &Side, place: &TurnRequest, fence: Fence) -> Fence {
    assert_eq!(side.two.draft_snapshot("lobby").await.unwrap(), None);
    let more = draft(place, fence, 101, "Fo", "ur");
    let shown = side.one.draft(&more).await.unwrap();
    assert_eq!(shown, DraftOutcome::Fenced);
    let posted = posts(&*side.one, place, fence, "Four.").await;
    assert_eq!(posted, Appended::Fenced);
    let next = TurnRequest {
        holder: Uuid::new_v4(),
        ..place.clone()
    };
    let next = granted(&*side.two, &next).await;
    assert!(next.number > fence.number);
    next
}

pub async fn an_edit_of_a_question_ends_its_answer_and_no_other(side: Side) {
    let (asked, place, fence) = being_answered(&*side.one).await;
    let other = side.one.post(&says("lobby", "bob", "hi")).await;
    side.one.post(&edits(&other, "hello")).await;
    let more = draft(&place, fence, 101, "Fo", "u");
    let shown = side.one.draft(&more).await.unwrap();
    assert_eq!(shown, DraftOutcome::Shown);
    side.one.post(&edits(&asked, "three plus three?")).await;
    let next = is_over(&side, &place, fence).await;
    let place = TurnRequest {
        holder: next.holder,
        ..place
    };
    let posted = posts(&*side.two, &place, next, "Six.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    // An edit of what has its answer changes nothing about that.
    side.one.post(&edits(&asked, "four plus four?")).await;
    assert_eq!(stream(&side).await.len(), 6);
}

pub async fn a_deletion_ends_every_answer_that_may_have_been_told_the_text(side: Side) {
    let other = side.one.post(&says("lobby", "bob", "a secret")).await;
    let (_, place, fence) = being_answered(&*side.one).await;
    side.one.post(&deletes(&other)).await;
    is_over(&side, &place, fence).await;
}

pub async fn another_answer_to_an_edited_question_ends_as_well(side: Side) {
    let (asked, place, fence) = being_answered(&*side.one).await;
    let posted = posts(&*side.one, &place, fence, "Four.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    // It is asked for once more.
    let place = TurnRequest {
        reply: reply_id("lobby", place.reply),
        seq: asked.seq + 1_000_000,
        ..place
    };
    let fence = granted(&*side.one, &place).await;
    let mut drafted = draft(&place, fence, 101, "", "Fo");
    drafted.reply_to = asked.id;
    let shown = side.one.draft(&drafted).await.unwrap();
    assert_eq!(shown, DraftOutcome::Shown);
    side.two.post(&edits(&asked, "three plus three?")).await;
    is_over(&side, &place, fence).await;
}

//! In a room one answer at a time, in the order of the questions, whoever writes them; and nobody writes who has lost
//! the right to.

use std::{sync::Arc, time::Duration};

use common::{
    live::{
        AppendRequest, Appended, BotRole, Live, LiveEvent,
        turns::{
            Draft, DraftOutcome, DraftSnapshot, FRESH_OF_LEASE, Fence, TurnMode, TurnRequest,
            TurnStatus,
        },
    },
    wire::{Kind, Message, NewMessage, ServerFrame},
};
use uuid::Uuid;

use super::side::{Says, Side, TIMINGS, eventually, says};

/// Longer than any story.
const KEEP: Duration = Duration::from_secs(600);

/// Somebody asks; returns an attempt at the reply.
pub async fn asks(live: &dyn Live, room: &str, text: &str) -> TurnRequest {
    let question = says(room, "ada", text);
    let reply = Uuid::new_v8(*Uuid::new_v4().as_bytes());
    let asked = live
        .append_as(&question, Some(0), BotRole::Request(reply))
        .await;
    let Ok(Appended::New(Message { seq, .. })) = asked else {
        panic!("{asked:?}");
    };
    TurnRequest {
        room: room.into(),
        reply,
        seq,
        holder: Uuid::new_v4(),
        at_least: 1,
        in_hand: Vec::new(),
    }
}

/// The same request, delivered to somebody else.
fn delivered_again(place: &TurnRequest) -> TurnRequest {
    TurnRequest {
        holder: Uuid::new_v4(),
        at_least: place.at_least + 1,
        ..place.clone()
    }
}

fn reply(place: &TurnRequest, text: &str) -> NewMessage {
    NewMessage {
        id: place.reply,
        kind: Kind::Bot,
        ..says(&place.room, "bot", text)
    }
}

pub async fn stands(live: &dyn Live, place: &TurnRequest) -> TurnStatus {
    live.request_turn(place, TurnMode::InOrder, KEEP)
        .await
        .unwrap()
}

pub async fn granted(live: &dyn Live, place: &TurnRequest) -> Fence {
    match stands(live, place).await {
        TurnStatus::Granted(fence) => fence,
        other => panic!("{other:?}"),
    }
}

pub async fn posts(live: &dyn Live, place: &TurnRequest, fence: Fence, text: &str) -> Appended {
    let part = BotRole::Reply(fence);
    live.append_as(&reply(place, text), Some(0), part)
        .await
        .unwrap()
}

pub fn draft(place: &TurnRequest, fence: Fence, attempt: u32, before: &str, text: &str) -> Draft {
    Draft {
        room: place.room.clone(),
        reply: place.reply,
        reply_to: Uuid::from_u128(7),
        fence,
        attempt,
        offset: before.chars().count(),
        offset_bytes: before.len(),
        text: text.into(),
    }
}

fn so_far(place: &TurnRequest, attempt: u32, text: &str) -> Option<DraftSnapshot> {
    Some(DraftSnapshot {
        reply: place.reply,
        reply_to: Uuid::from_u128(7),
        attempt,
        text: text.into(),
    })
}

/// Waits until a turn that is not renewed has lapsed.
async fn lapses() {
    tokio::time::sleep(TIMINGS.turn_lease + Duration::from_millis(50)).await;
}

pub async fn the_first_question_has_the_turn_whoever_lines_up_first(side: Side) {
    let first = asks(&*side.one, "lobby", "one?").await;
    let second = asks(&*side.two, "lobby", "two?").await;
    let elsewhere = asks(&*side.two, "attic", "and here?").await;
    assert_eq!(stands(&*side.two, &second).await, TurnStatus::Waiting);
    granted(&*side.two, &elsewhere).await;
    let fence = granted(&*side.one, &first).await;
    assert_eq!(granted(&*side.one, &first).await, fence, "renewed");
    assert_eq!(stands(&*side.two, &second).await, TurnStatus::Waiting);
    let posted = posts(&*side.one, &first, fence, "One.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    assert_eq!(stands(&*side.two, &first).await, TurnStatus::Answered);
    let fence = granted(&*side.two, &second).await;
    let posted = posts(&*side.two, &second, fence, "Two.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
}

pub async fn whoever_lost_the_turn_can_neither_post_nor_draft(side: Side) {
    let mut bob = side.two.listen(&["lobby"]).await;
    let frozen = asks(&*side.one, "lobby", "one?").await;
    bob.message().await;
    let other = delivered_again(&frozen);
    let lost = granted(&*side.one, &frozen).await;
    assert_eq!(stands(&*side.two, &other).await, TurnStatus::Waiting);
    let old = draft(&frozen, lost, 101, "", "Old t");
    assert_eq!(side.one.draft(&old).await.unwrap(), DraftOutcome::Shown);
    lapses().await;
    let fence = granted(&*side.two, &other).await;
    assert!(fence.number > lost.number);

    assert_eq!(
        posts(&*side.one, &frozen, lost, "Old text").await,
        Appended::Fenced
    );
    let late = draft(&frozen, lost, 101, "Old t", "ext");
    assert_eq!(side.one.draft(&late).await.unwrap(), DraftOutcome::Fenced);
    assert_eq!(stands(&*side.one, &frozen).await, TurnStatus::Waiting);
    let new = draft(&other, fence, 201, "", "New");
    assert_eq!(side.two.draft(&new).await.unwrap(), DraftOutcome::Shown);
    let posted = posts(&*side.two, &other, fence, "New text").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    // Also when it is posted: the reply stands, and nothing comes after it.
    let known = posts(&*side.one, &frozen, lost, "Old text").await;
    assert!(
        matches!(&known, Appended::Known(kept) if kept.message == "New text"),
        "{known:?}"
    );
    assert_eq!(side.one.draft(&late).await.unwrap(), DraftOutcome::Fenced);
    for wanted in ["Old t", "New"] {
        let LiveEvent::Signal { frame, .. } = bob.next().await else {
            panic!("not a draft");
        };
        let Ok(ServerFrame::Draft { text, .. }) = serde_json::from_slice(&frame) else {
            panic!("{frame:?}");
        };
        assert_eq!(text, wanted);
    }
    assert_eq!(bob.message().await.message, "New text");
}

pub async fn a_turn_that_nobody_else_took_is_renewed_after_it_lapsed(side: Side) {
    let place = asks(&*side.one, "lobby", "one?").await;
    let behind = asks(&*side.one, "lobby", "two?").await;
    let fence = granted(&*side.one, &place).await;
    lapses().await;
    assert_eq!(stands(&*side.two, &behind).await, TurnStatus::Waiting);
    assert_eq!(granted(&*side.one, &place).await, fence);
    let posted = posts(&*side.one, &place, fence, "One.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
}

pub async fn a_place_that_nobody_comes_to_is_kept_for_a_while(side: Side) {
    const SHORTLY: Duration = Duration::from_millis(600);
    let gone = asks(&*side.one, "lobby", "one?").await;
    let second = asks(&*side.one, "lobby", "two?").await;
    let third = asks(&*side.one, "lobby", "three?").await;
    let waits = async |place: &TurnRequest| {
        side.two
            .request_turn(place, TurnMode::InOrder, SHORTLY)
            .await
            .unwrap()
    };
    assert_eq!(waits(&third).await, TurnStatus::Waiting);
    assert_eq!(waits(&second).await, TurnStatus::Waiting);
    let lost = granted(&*side.one, &gone).await;
    lapses().await;
    assert_eq!(
        waits(&second).await,
        TurnStatus::Waiting,
        "it may come back: waited for from now on"
    );
    let mut fence = None;
    eventually("the turn is passed on", async || {
        if let TurnStatus::Granted(granted) = waits(&second).await {
            fence = Some(granted);
        }
        fence.is_some()
    })
    .await;
    assert_eq!(
        posts(&*side.one, &gone, lost, "Too late").await,
        Appended::Fenced
    );
    // It comes after all: not in between, but before those who were behind it.
    let back = delivered_again(&gone);
    assert_eq!(stands(&*side.one, &back).await, TurnStatus::Waiting);
    let posted = posts(&*side.two, &second, fence.unwrap(), "Two.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    assert_eq!(stands(&*side.two, &third).await, TurnStatus::Waiting);
    assert!(granted(&*side.one, &back).await.number > lost.number);
}

pub async fn all_that_nobody_has_in_hand_are_waited_for_at_once(side: Side) {
    const KEPT: Duration = Duration::from_secs(1);
    let waits = async |place: &TurnRequest| {
        side.two
            .request_turn(place, TurnMode::InOrder, KEPT)
            .await
            .unwrap()
    };
    let _absent = asks(&*side.one, "lobby", "one?").await;
    let mut second = asks(&*side.one, "lobby", "two?").await;
    let _absent_too = asks(&*side.one, "lobby", "three?").await;
    let fourth = asks(&*side.one, "lobby", "four?").await;
    let _behind = asks(&*side.one, "lobby", "five?").await;
    let last = asks(&*side.one, "lobby", "six?").await;
    // Whoever asks for the second has the fourth in hand, for which nobody asks.
    second.in_hand = vec![fourth.reply];
    let mut fence = None;
    eventually("the first is passed over", async || {
        assert_eq!(waits(&last).await, TurnStatus::Waiting);
        if let TurnStatus::Granted(granted) = waits(&second).await {
            fence = Some(granted);
        }
        fence.is_some()
    })
    .await;
    posts(&*side.two, &second, fence.unwrap(), "Two.").await;
    assert_eq!(
        waits(&last).await,
        TurnStatus::Waiting,
        "the fourth is there, and before it"
    );
    let fence = granted_now(
        &waits(&fourth).await,
        "the third was waited for with the first",
    );
    posts(&*side.two, &fourth, fence, "Four.").await;
    granted_now(&waits(&last).await, "and so was the fifth");
}

fn granted_now(status: &TurnStatus, why: &str) -> Fence {
    match status {
        TurnStatus::Granted(fence) => *fence,
        other => panic!("{why}: {other:?}"),
    }
}

pub async fn a_turn_is_given_back_with_or_without_the_place(side: Side) {
    let first = asks(&*side.one, "lobby", "one?").await;
    let second = asks(&*side.one, "lobby", "two?").await;
    let lost = granted(&*side.one, &first).await;
    side.one.release_turn(&first, false).await.unwrap();
    assert_eq!(
        posts(&*side.one, &first, lost, "One.").await,
        Appended::Fenced
    );
    assert_eq!(
        stands(&*side.two, &second).await,
        TurnStatus::Waiting,
        "it comes again"
    );
    let again = delivered_again(&first);
    assert!(granted(&*side.two, &again).await.number > lost.number);
    side.one.release_turn(&first, true).await.unwrap();
    assert_eq!(
        stands(&*side.two, &second).await,
        TurnStatus::Waiting,
        "only whoever has the turn can give it back"
    );
    side.two.release_turn(&again, true).await.unwrap();
    granted(&*side.two, &second).await;
}

pub async fn whoever_cannot_wait_posts_out_of_turn(side: Side) {
    let first = asks(&*side.one, "lobby", "one?").await;
    let second = asks(&*side.one, "lobby", "two?").await;
    let now = async |place: &TurnRequest| {
        side.two
            .request_turn(place, TurnMode::Now, KEEP)
            .await
            .unwrap()
    };
    let fence = granted(&*side.one, &first).await;
    assert_eq!(
        now(&delivered_again(&first)).await,
        TurnStatus::Waiting,
        "somebody is at it"
    );
    let TurnStatus::Granted(out_of_turn) = now(&second).await else {
        panic!("not granted");
    };
    let posted = posts(&*side.two, &second, out_of_turn, "No time.").await;
    assert!(matches!(posted, Appended::New(_)), "{posted:?}");
    assert_eq!(now(&second).await, TurnStatus::Answered);
    assert_eq!(granted(&*side.one, &first).await, fence, "undisturbed");
    // Whoever has not renewed it for a moment does not stand in the way, long before it lapses.
    tokio::time::sleep(TIMINGS.turn_lease.mul_f64(FRESH_OF_LEASE)).await;
    let TurnStatus::Granted(later) = now(&delivered_again(&first)).await else {
        panic!("not granted");
    };
    assert!(later.number > fence.number);
    assert_eq!(
        posts(&*side.one, &first, fence, "One.").await,
        Appended::Fenced
    );
}

pub async fn a_draft_is_kept_as_it_grows_and_goes_with_its_reply(side: Side) {
    let place = asks(&*side.one, "lobby", "one?").await;
    assert_eq!(side.two.draft_snapshot("lobby").await.unwrap(), None);
    let fence = granted(&*side.one, &place).await;
    let show = async |attempt, before: &str, text: &str| {
        let draft = draft(&place, fence, attempt, before, text);
        side.one.draft(&draft).await.unwrap()
    };
    assert_eq!(show(101, "Zw", "ölf").await, DraftOutcome::FromStart);
    assert_eq!(show(101, "", "Zwöl").await, DraftOutcome::Shown);
    // Once more, and more of it, when it was not known whether it was shown.
    assert_eq!(show(101, "Zw", "ölf 🦉").await, DraftOutcome::Shown);
    assert_eq!(show(101, "Zwölf 🦉", " is").await, DraftOutcome::Shown);
    assert_eq!(
        show(101, "Zwölf 🦉 is this ", "?").await,
        DraftOutcome::FromStart
    );
    let known = side.two.draft_snapshot("lobby").await.unwrap();
    assert_eq!(known, so_far(&place, 101, "Zwölf 🦉 is"));
    assert_eq!(show(102, "", "Again").await, DraftOutcome::Shown);
    let known = side.two.draft_snapshot("lobby").await.unwrap();
    assert_eq!(known, so_far(&place, 102, "Again"));
    assert_eq!(side.two.draft_snapshot("attic").await.unwrap(), None);
    posts(&*side.one, &place, fence, "Again and done.").await;
    assert_eq!(side.two.draft_snapshot("lobby").await.unwrap(), None);
}

/// Ten workers on two processes, none of which knows of another, at the same questions; now and then one that has the
/// turn dies of it without a word.
pub async fn replies_stand_in_the_order_of_their_questions_whoever_dies(side: Side) {
    const QUESTIONS: usize = 20;
    let mut places = Vec::new();
    for number in 0..QUESTIONS {
        places.push(asks(&*side.one, "lobby", &number.to_string()).await);
    }
    let workers = (0..10).map(|worker: usize| {
        let live = [&side.one, &side.two][worker % 2].clone();
        let places = places.clone();
        tokio::spawn(async move {
            for (number, place) in places.iter().enumerate() {
                let place = delivered_again(place);
                loop {
                    match stands(&*live, &place).await {
                        TurnStatus::Answered => break,
                        TurnStatus::Waiting => tokio::time::sleep(Duration::from_millis(5)).await,
                        // It dies of it; the tenth worker never does.
                        TurnStatus::Granted(_) if number % 10 == worker && worker < 3 => break,
                        TurnStatus::Granted(fence) => {
                            let posted = posts(&*live, &place, fence, "Done.").await;
                            assert!(matches!(posted, Appended::New(_)), "{posted:?}");
                            break;
                        }
                    }
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let tail = side.one.tail("lobby", 0, 1_000).await.unwrap();
    let replies = tail
        .messages
        .iter()
        .filter(|message| message.sender == "bot");
    let replies: Vec<Uuid> = replies.map(|message| message.id).collect();
    let wanted: Vec<Uuid> = places.iter().map(|place| place.reply).collect();
    assert_eq!(replies, wanted);
}

pub async fn questions_and_replies_may_take_their_places_with_others(side: Side) {
    let live = &side.one;
    let first = asks(&**live, "lobby", "first").await;
    let fence = granted(&**live, &first).await;
    let strange = Fence {
        number: fence.number + 1,
        ..fence
    };
    let (second, third) = (Uuid::new_v4(), Uuid::new_v4());
    let offers = [
        AppendRequest::new(says("lobby", "bob", "and now?"), BotRole::None),
        AppendRequest::new(says("lobby", "bob", "second"), BotRole::Request(second)),
        AppendRequest::new(reply(&first, "not his"), BotRole::Reply(strange)),
        AppendRequest::new(reply(&first, "answer"), BotRole::Reply(fence)),
        AppendRequest::new(says("lobby", "eve", "third"), BotRole::Request(third)),
    ];
    let answers = live.append_all("lobby", &offers, None).await.unwrap();
    let seqs: Vec<Option<u64>> = answers
        .iter()
        .map(|answer| match answer {
            Appended::New(message) => Some(message.seq),
            _ => None,
        })
        .collect();
    let [Some(_), Some(asked), None, Some(_), Some(_)] = seqs[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(answers[2], Appended::Fenced);
    // The turn has passed on to the one that asked first.
    let next = TurnRequest {
        reply: second,
        seq: asked,
        holder: Uuid::new_v4(),
        ..first
    };
    granted(&**live, &next).await;
}

pub async fn whoever_comes_while_the_model_thinks_is_told_so(side: Side) {
    let place = asks(&*side.one, "lobby", "one?").await;
    let fence = granted(&*side.one, &place).await;
    let thinks = |attempt| draft(&place, fence, attempt, "", "");
    let snapshot = || async { side.two.draft_snapshot("lobby").await.unwrap() };
    assert_eq!(snapshot().await, None);
    for attempt in [101, 101, 102] {
        let shown = side.one.draft(&thinks(attempt)).await.unwrap();
        assert_eq!(shown, DraftOutcome::Shown);
        assert_eq!(snapshot().await, so_far(&place, attempt, ""));
    }
    let words = draft(&place, fence, 102, "", "One");
    assert_eq!(side.one.draft(&words).await.unwrap(), DraftOutcome::Shown);
    assert_eq!(snapshot().await, so_far(&place, 102, "One"));
    let shown = side.one.draft(&thinks(103)).await.unwrap();
    assert_eq!(
        (shown, snapshot().await),
        (DraftOutcome::Shown, so_far(&place, 103, ""))
    );
    posts(&*side.one, &place, fence, "One.").await;
    assert_eq!(snapshot().await, None);
    assert_eq!(
        side.one.draft(&thinks(104)).await.unwrap(),
        DraftOutcome::Fenced
    );
}

pub async fn how_many_are_before_a_request_is_known(side: Side) {
    let first = asks(&*side.one, "lobby", "one?").await;
    let second = asks(&*side.two, "lobby", "two?").await;
    let third = asks(&*side.one, "lobby", "three?").await;
    let before = |place: &TurnRequest| {
        let (live, reply) = (Arc::clone(&side.two), place.reply);
        async move { live.requests_before("lobby", reply).await.unwrap() }
    };
    let fence = granted(&*side.one, &first).await;
    assert_eq!(before(&first).await, Some(0));
    assert_eq!(before(&second).await, Some(1));
    assert_eq!(before(&third).await, Some(2));
    posts(&*side.one, &first, fence, "One.").await;
    assert_eq!(before(&first).await, None);
    assert_eq!(before(&third).await, Some(1));
    let elsewhere = side.one.requests_before("attic", third.reply).await;
    assert_eq!(elsewhere.unwrap(), None);
}

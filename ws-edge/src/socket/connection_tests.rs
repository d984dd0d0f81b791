use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::rates::{BAD_FRAMES_MAX, LIMITED_FRAMES_MAX},
    *,
};

const PING: Duration = Duration::from_secs(10);

struct Story {
    connection: Connection,
    now: Instant,
    out: Vec<Output>,
}

impl Story {
    fn begin(default_room: Option<&str>) -> Story {
        let limits = ConnectionLimits {
            ping_every: PING,
            frames_per_second: 1_000,
            frames_burst: 20_000,
        };
        let (now, mut out) = (Instant::now(), Vec::new());
        let room = default_room.map(|room| (Arc::from(room), None));
        let connection = Connection::open("ada", room, limits, now, &mut out);
        Story {
            connection,
            now,
            out,
        }
    }

    fn goes_on(&mut self, input: Input<'_>) -> Vec<Output> {
        self.out.clear();
        self.connection.handle(self.now, input, &mut self.out);
        self.out.clone()
    }

    fn says(&mut self, frame: &serde_json::Value) -> Vec<Output> {
        self.goes_on(Input::Text(&frame.to_string()))
    }

    fn joins(&mut self, room: &str) -> u32 {
        match self.says(&json!({"type": "join", "room": room})).last() {
            Some(Output::Join { sub, .. }) => *sub,
            other => panic!("{other:?}"),
        }
    }

    fn waits(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.goes_on(Input::Tick)
    }
}

fn code(outputs: &[Output]) -> Option<ErrorCode> {
    outputs.iter().find_map(|output| match output {
        Output::Frame(ServerFrame::Error { code, .. }) => Some(*code),
        _ => None,
    })
}

fn closing(outputs: &[Output]) -> Option<Closing> {
    outputs.iter().find_map(|output| match output {
        Output::Close(closing) => Some(*closing),
        _ => None,
    })
}

fn refused(code: ErrorCode) -> Refusal {
    Refusal {
        code,
        message: "no".into(),
        retry_after: None,
    }
}

#[test]
fn a_socket_begins_with_welcome_and_its_own_room() {
    let story = Story::begin(Some("lobby"));
    let welcome = ServerFrame::Welcome {
        user: "ada".into(),
        protocol: 1,
        ping_ms: 10_000,
    };
    let join = Output::Join {
        sub: 1,
        room: "lobby".into(),
        after: None,
    };
    assert_eq!(story.out, [Output::Frame(welcome), join]);
}

#[test]
fn a_message_goes_to_the_room_it_names_or_to_the_sockets_own() {
    let mut story = Story::begin(Some("lobby"));
    let room = |outputs: Vec<Output>| match outputs.as_slice() {
        [Output::Post { room, .. }] => room.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(room(story.says(&json!({"message": "hi"}))), "lobby");
    assert_eq!(
        room(story.says(&json!({"message": "hi", "room": "other"}))),
        "other"
    );
    let mut story = Story::begin(None);
    let id = Uuid::now_v7();
    let outputs = story.says(&json!({"message": "hi", "id": id}));
    match outputs.as_slice() {
        [
            Output::Frame(ServerFrame::Error {
                code, id: about, ..
            }),
        ] => {
            assert_eq!((*code, *about), (ErrorCode::BadRequest, Some(id)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn joining_again_is_a_new_join_in_the_place_of_the_old_one() {
    let mut story = Story::begin(None);
    let first = story.joins("lobby");
    let outputs = story.says(&json!({"type": "join", "room": "lobby", "after": 7}));
    let second = first + 1;
    let (leave, room) = (Output::Leave { sub: first }, Arc::from("lobby"));
    let join = Output::Join {
        sub: second,
        room,
        after: Some(7),
    };
    assert_eq!(outputs, [leave, join]);
    let late = Input::Joined {
        sub: first,
        seq: 1,
        complete: true,
    };
    assert_eq!(
        story.goes_on(late),
        [],
        "the first join's answer is nobody's any more"
    );
    let leave = story.says(&json!({"type": "leave", "room": "lobby"}));
    assert_eq!(leave, [Output::Leave { sub: second }]);
    assert_eq!(story.says(&json!({"type": "leave", "room": "lobby"})), []);
}

#[test]
fn a_socket_is_in_so_many_rooms_and_no_more() {
    let mut story = Story::begin(None);
    for n in 0..ROOMS_PER_SOCKET {
        story.joins(&format!("room-{n}"));
    }
    let outputs = story.says(&json!({"type": "join", "room": "one-more"}));
    assert_eq!(code(&outputs), Some(ErrorCode::BadRequest));
    story.joins("room-5");
    story.says(&json!({"type": "leave", "room": "room-5"}));
    story.joins("one-more");
}

#[test]
fn a_room_that_is_lost_is_told_and_left() {
    let mut story = Story::begin(None);
    let sub = story.joins("lobby");
    story.goes_on(Input::Joined {
        sub,
        seq: 0,
        complete: true,
    });
    let refusal = refused(ErrorCode::NotFound);
    let outputs = story.goes_on(Input::Lost { sub, refusal });
    assert_eq!(outputs[0], Output::Leave { sub });
    assert_eq!(code(&outputs), Some(ErrorCode::NotFound));
    assert!(!story.connection.is_current(sub));
}

#[test]
fn who_posts_faster_than_it_is_kept_is_told_when_to_try_again() {
    let mut story = Story::begin(Some("lobby"));
    for _ in 0..POSTS_IN_FLIGHT_MAX {
        assert_eq!(code(&story.says(&json!({"message": "hi"}))), None);
    }
    let outputs = story.says(&json!({"message": "hi"}));
    assert!(matches!(
        outputs.as_slice(),
        [Output::Frame(ServerFrame::Error {
            code: ErrorCode::RateLimited,
            retry_after_ms: Some(1..),
            ..
        })]
    ));
    let id = Uuid::now_v7();
    let acked = story.goes_on(Input::Posted {
        id,
        bytes: 2,
        outcome: Ok(5),
    });
    assert_eq!(acked, [Output::Frame(ServerFrame::Ack { id, seq: 5 })]);
    assert_eq!(code(&story.says(&json!({"message": "hi"}))), None);
}

#[test]
fn large_messages_fill_the_same_room_sooner() {
    let mut story = Story::begin(Some("lobby"));
    let message = "ä".repeat(4_000);
    let mut posted = 0;
    while code(&story.says(&json!({"message": message}))).is_none() {
        posted += 1;
    }
    assert_eq!(posted, POSTS_BYTES_MAX / message.len());
}

#[test]
fn a_bad_frame_gets_an_error_and_a_hundred_close_the_socket() {
    let mut story = Story::begin(None);
    for _ in 1..BAD_FRAMES_MAX {
        let outputs = story.goes_on(Input::Text("{"));
        assert_eq!(code(&outputs), Some(ErrorCode::BadRequest));
        assert_eq!(closing(&outputs), None);
    }
    let outputs = story.goes_on(Input::Binary);
    assert_eq!(code(&outputs), Some(ErrorCode::BadRequest));
    assert_eq!(closing(&outputs), Some(Closing::Abuse));
    assert_eq!(story.goes_on(Input::Text("{")), [], "it is closed");
}

#[test]
fn bad_frames_are_forgiven_after_a_minute() {
    let mut story = Story::begin(None);
    for _ in 0..5 {
        for _ in 1..BAD_FRAMES_MAX {
            assert_eq!(closing(&story.goes_on(Input::Text("{"))), None);
        }
        story.now += Duration::from_secs(61);
    }
}

#[test]
fn a_flood_is_slowed_and_then_cut() {
    let mut story = Story::begin(None);
    for _ in 0..20_000 {
        assert_eq!(story.says(&json!({"type": "pong"})), []);
    }
    for _ in 1..LIMITED_FRAMES_MAX {
        let outputs = story.says(&json!({"type": "pong"}));
        assert_eq!(code(&outputs), Some(ErrorCode::RateLimited));
        assert_eq!(closing(&outputs), None);
    }
    let outputs = story.says(&json!({"type": "pong"}));
    assert_eq!(closing(&outputs), Some(Closing::Abuse));
}

#[test]
fn silence_is_asked_about_and_then_taken_for_death() {
    let mut story = Story::begin(None);
    let ping = [Output::Frame(ServerFrame::Ping)];
    assert_eq!(story.waits(PING), ping);
    story.now += Duration::from_secs(1);
    story.says(&json!({"type": "pong"}));
    assert_eq!(story.waits(PING - Duration::from_secs(1)), ping);
    assert_eq!(story.waits(PING), ping);
    assert_eq!(closing(&story.waits(PING)), Some(Closing::NoHeartbeat));
}

#[test]
fn any_frame_is_a_sign_of_life() {
    for input in [
        || Input::Control,
        || Input::Binary,
        || Input::Text("{\"type\":\"leave\",\"room\":\"lobby\"}"),
    ] {
        let mut story = Story::begin(None);
        for _ in 0..10 {
            assert_eq!(closing(&story.waits(PING)), None);
            story.goes_on(input());
        }
    }
}

#[test]
fn typing_is_passed_on_once_in_two_seconds_per_room() {
    let mut story = Story::begin(None);
    let typing = json!({"type": "typing", "room": "lobby"});
    assert_eq!(story.says(&typing).len(), 1);
    assert_eq!(story.says(&typing), []);
    assert_eq!(
        story
            .says(&json!({"type": "typing", "room": "other"}))
            .len(),
        1
    );
    story.now += TYPING_EVERY;
    assert_eq!(story.says(&typing).len(), 1);
}

#[test]
fn a_wish_for_another_answer_is_acked_with_the_place_of_the_last() {
    let mut story = Story::begin(None);
    let id = Uuid::now_v7();
    let outputs = story.says(&json!({"type": "again", "room": "lobby", "id": id}));
    let room = "lobby".to_owned();
    assert_eq!(outputs, [Output::Again { room, reply: id }]);
    let outputs = story.goes_on(Input::TaskDone {
        id: Some(id),
        outcome: Ok(Done::Acked { id, seq: 7 }),
    });
    assert_eq!(outputs, [Output::Frame(ServerFrame::Ack { id, seq: 7 })]);
}

#[test]
fn an_error_about_a_stop_names_the_reply() {
    let mut story = Story::begin(None);
    let id = Uuid::now_v7();
    let outputs = story.says(&json!({"type": "stop", "room": "lobby", "id": id}));
    let room = "lobby".to_owned();
    assert_eq!(outputs, [Output::Stop { room, reply: id }]);
    let outcome = Err(refused(ErrorCode::NotFound));
    let outputs = story.goes_on(Input::TaskDone {
        id: Some(id),
        outcome,
    });
    assert!(matches!(
        outputs.as_slice(),
        [Output::Frame(ServerFrame::Error { id: Some(about), .. })] if *about == id
    ));
}

fn any_text() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        Just("send"),
        Just("join"),
        Just("leave"),
        Just("typing"),
        Just("stop"),
        Just("pong"),
        Just("nonsense")
    ];
    let frame = (kind, "[a-z]{1,4}", any::<Option<u64>>(), any::<u128>()).prop_map(
        |(kind, room, after, id)| {
            let id = Uuid::from_u128(id);
            json!({"type": kind, "room": room, "after": after, "id": id, "message": room})
                .to_string()
        },
    );
    prop_oneof![8 => frame, 1 => any::<String>()]
}

proptest! {
    /// Whatever comes in, in whatever order: no panic, and nothing grows beyond its limit.
    #[test]
    fn nothing_that_comes_in_breaks_it(steps in proptest::collection::vec((0u8..10, any_text(), 0u32..40, 0u64..3_000), 1..400)) {
        let mut story = Story::begin(None);
        let mut answered = 0_usize;
        for (step, text, sub, wait) in steps {
            story.now += Duration::from_millis(wait);
            let outputs = match step {
                0 => story.goes_on(Input::Binary),
                1 => story.goes_on(Input::Tick),
                2 => story.goes_on(Input::Joined { sub, seq: wait, complete: true }),
                3 => story.goes_on(Input::Lost { sub, refusal: refused(ErrorCode::Unavailable) }),
                4 => story.goes_on(Input::Posted { id: Uuid::nil(), bytes: 3, outcome: Ok(wait) }),
                5 => story.goes_on(Input::TaskDone { id: None, outcome: Ok(Done::Quietly) }),
                _ => story.goes_on(Input::Text(&text)),
            };
            answered = answered.max(outputs.len());
            let connection = &story.connection;
            let rooms: HashSet<_> = connection.subs.iter().map(|known| &known.room).collect();
            prop_assert_eq!(rooms.len(), connection.subs.len());
            prop_assert!(connection.subs.len() <= ROOMS_PER_SOCKET);
            prop_assert!(connection.posts <= POSTS_IN_FLIGHT_MAX);
            prop_assert!(connection.typed.len() <= TASKS_MAX && connection.tasks <= TASKS_MAX);
        }
        prop_assert!(answered <= 3, "each input has a bounded answer");
    }
}

//! The wire, byte for byte. `golden/` holds an example of every frame in both directions and of the queue's payload; a
//! change of the wire is a change of these files, for everyone to see. The page's tests read them too.
//!
//! `UPDATE_GOLDEN=1 cargo test -p common --test wire` writes them anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use common::{
    envelope::{Again, Envelope, ReplyLog},
    wire::{ClientFrame, ErrorCode, Grounding, Kind, Message, NewMessage, ServerFrame, Source},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
const OTHER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);

fn in_golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Holds lines against a golden file; each is a name, a tab, and the exact bytes.
fn golden(name: &str, lines: &[(&str, String)]) {
    let path = in_golden(name);
    // A list with one example a line, so that a diff shows the example that changed.
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, text)| {
            let exact: Box<serde_json::value::RawValue> =
                serde_json::from_str(text).expect("an example is JSON");
            format!("  {}: {}", json!(name), exact.get())
        })
        .collect();
    let written = format!("{{\n{}\n}}\n", lines.join(",\n"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &written).expect("the golden files can be written");
    }
    let golden = fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(written, golden, "the wire is not what {name} says");
}

fn message() -> Message {
    let new = NewMessage {
        room: "lobby".into(),
        id: ID,
        sender: "ada".into(),
        kind: Kind::User,
        message: "hi \"Bob\" \\ \u{1}\n\u{1F44B}\u{2028}".into(),
        reply_to: None,
        of: None,
        stopped_by: None,
        grounding: Default::default(),
    };
    new.at(1_700_000_000_000_001, 1_700_000_000_000_000)
}

fn reply() -> Message {
    Message {
        id: OTHER,
        sender: "bot".into(),
        kind: Kind::Bot,
        message: "four".into(),
        reply_to: Some(ID),
        ..message()
    }
}

fn stopped() -> Message {
    Message {
        stopped_by: Some("ada".into()),
        ..reply()
    }
}

fn grounded() -> Message {
    let mut grounding = Grounding::default();
    let page = Source::new("A page", "https://example.org/a?b=c");
    grounding.add(page.expect("a page that may be shown"));
    grounding.suggest(
        "<style>a{color:red}</style><a href=\"https://example.org/search?q=four\">four</a>",
    );
    Message {
        grounding,
        ..reply()
    }
}

fn edited() -> Message {
    Message {
        kind: Kind::Edited,
        of: Some(OTHER),
        ..message()
    }
}

fn deleted() -> Message {
    Message {
        kind: Kind::Deleted,
        message: String::new(),
        of: Some(OTHER),
        ..message()
    }
}

#[test]
fn what_was_written_is_read_back() {
    let newest = Message {
        message: "five".into(),
        edited: Some(1_700_000_000_000_009),
        ..reply()
    };
    let gone = Message {
        message: String::new(),
        deleted: true,
        ..message()
    };
    for message in [
        message(),
        reply(),
        stopped(),
        grounded(),
        edited(),
        deleted(),
        newest,
        gone,
    ] {
        let frame = message.frame();
        assert_eq!(
            Message::from_frame(frame.as_bytes()).unwrap(),
            message,
            "{frame}"
        );
    }
    for (frame, why) in [
        (
            edited().frame().replace("edited", "message"),
            "neither `kind`",
        ),
        (
            message()
                .frame()
                .replace("\"id\"", "\"of\":null,\"id\"")
                .replace("message\",\"room", "deleted\",\"room"),
            "`of`",
        ),
    ] {
        let unread = Message::from_frame(frame.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(unread.contains(why), "{frame}: {unread}");
    }
}

#[test]
fn every_frame_of_a_client_is_read_as_it_always_was() {
    let inputs = [
        (
            "send",
            json!({"type": "send", "message": "hi", "room": "lobby", "id": ID, "reply_to": OTHER}),
        ),
        (
            "send, no answer",
            json!({"type": "send", "message": "hi", "room": "lobby", "id": ID}),
        ),
        ("send, least", json!({"message": "hi"})),
        (
            "send, trimmed",
            json!({"type": "send", "message": " \n hi \u{1F44B} \t", "room": "lobby"}),
        ),
        (
            "send, unknown fields",
            json!({"message": "hi", "room": "lobby", "colour": "red"}),
        ),
        (
            "send, nulls",
            json!({"message": "hi", "room": null, "id": null, "reply_to": null}),
        ),
        ("send, empty", json!({"message": "  "})),
        (
            "send, too long",
            json!({"message": "a".repeat(4_001), "id": ID}),
        ),
        ("send, no message", json!({"type": "send", "id": ID})),
        ("send, bad id", json!({"message": "hi", "id": "seven"})),
        (
            "send, the server's id",
            json!({"message": "hi", "id": Uuid::from_u128(0x0190_0000_0000_8000_8000_0000_0000_0001)}),
        ),
        (
            "send, bad room",
            json!({"message": "hi", "room": "The Lobby", "id": ID}),
        ),
        (
            "join",
            json!({"type": "join", "room": "lobby", "after": 1_700_000_000_000_001_u64}),
        ),
        (
            "join, from the beginning",
            json!({"type": "join", "room": "lobby", "after": 0}),
        ),
        ("join, least", json!({"type": "join", "room": "lobby"})),
        ("join, no room", json!({"type": "join"})),
        (
            "join, after a word",
            json!({"type": "join", "room": "lobby", "after": "now"}),
        ),
        ("leave", json!({"type": "leave", "room": "lobby"})),
        ("typing", json!({"type": "typing", "room": "lobby"})),
        ("stop", json!({"type": "stop", "room": "lobby", "id": ID})),
        ("stop, no id", json!({"type": "stop", "room": "lobby"})),
        ("again", json!({"type": "again", "room": "lobby", "id": ID})),
        ("again, no id", json!({"type": "again", "room": "lobby"})),
        (
            "edit",
            json!({"type": "edit", "room": "lobby", "id": ID, "of": OTHER, "message": " hello "}),
        ),
        (
            "edit, to nothing",
            json!({"type": "edit", "room": "lobby", "id": ID, "of": OTHER, "message": " \u{200b} "}),
        ),
        (
            "edit, too long",
            json!({"type": "edit", "room": "lobby", "id": ID, "of": OTHER, "message": "a".repeat(4_001)}),
        ),
        (
            "edit, no message",
            json!({"type": "edit", "room": "lobby", "id": ID, "of": OTHER}),
        ),
        (
            "edit, no id",
            json!({"type": "edit", "room": "lobby", "of": OTHER, "message": "hello"}),
        ),
        (
            "edit, of nothing",
            json!({"type": "edit", "room": "lobby", "id": ID, "message": "hello"}),
        ),
        (
            "edit, of a word",
            json!({"type": "edit", "room": "lobby", "id": ID, "of": "that one", "message": "hello"}),
        ),
        (
            "edit, the server's id",
            json!({"type": "edit", "room": "lobby", "id": Uuid::from_u128(0x0190_0000_0000_8000_8000_0000_0000_0001),
                "of": OTHER, "message": "hello"}),
        ),
        (
            "delete",
            json!({"type": "delete", "room": "lobby", "id": ID, "of": OTHER}),
        ),
        (
            "delete, no id",
            json!({"type": "delete", "room": "lobby", "of": OTHER}),
        ),
        (
            "delete, of nothing",
            json!({"type": "delete", "room": "lobby", "id": ID}),
        ),
        (
            "delete, no room",
            json!({"type": "delete", "id": ID, "of": OTHER}),
        ),
        (
            "read",
            json!({"type": "read", "room": "lobby", "seq": 1_700_000_000_000_001_u64}),
        ),
        ("read, no seq", json!({"type": "read", "room": "lobby"})),
        ("pong", json!({"type": "pong"})),
        ("unknown type", json!({"type": "shout", "room": "lobby"})),
        ("wrong type of a field", json!({"message": 5, "id": ID})),
        (
            "no object",
            json!(["send", "hi", "lobby", null, null, null]),
        ),
    ];
    let read = inputs.map(|(name, input)| {
        let frame: Value = input.clone();
        let parsed = match ClientFrame::read(&input.to_string()) {
            Ok(frame) => json!({"read": format!("{frame:?}")}),
            Err(bad) => json!({"code": bad.code, "message": bad.message, "id": bad.id}),
        };
        let shown = if frame.to_string().len() > 1_000 {
            json!("(long)")
        } else {
            frame
        };
        (name, format!("{{\"frame\": {shown}, \"is\": {parsed}}}"))
    });
    golden("client_frames.json", &read);
}

#[test]
fn every_frame_of_the_server_is_written_as_it_always_was() {
    let (room, id) = ("lobby".to_owned(), ID);
    let error = |code, id, retry_after_ms| ServerFrame::Error {
        code,
        message: "why".into(),
        id,
        retry_after_ms,
    };
    let frames = [
        (
            "welcome",
            ServerFrame::Welcome {
                user: "ada".into(),
                protocol: 1,
                ping_ms: 25_000,
            },
        ),
        (
            "joined",
            ServerFrame::Joined {
                room: room.clone(),
                seq: 1_700_000_000_000_001,
                complete: true,
            },
        ),
        (
            "joined, nothing said yet",
            ServerFrame::Joined {
                room: room.clone(),
                seq: 0,
                complete: true,
            },
        ),
        (
            "joined, too much missed",
            ServerFrame::Joined {
                room: room.clone(),
                seq: 1_700_000_000_000_001,
                complete: false,
            },
        ),
        (
            "ack",
            ServerFrame::Ack {
                id,
                seq: 1_700_000_000_000_001,
            },
        ),
        (
            "error bad_request",
            error(ErrorCode::BadRequest, Some(id), None),
        ),
        (
            "error unauthorized",
            error(ErrorCode::Unauthorized, None, None),
        ),
        ("error forbidden", error(ErrorCode::Forbidden, None, None)),
        ("error not_found", error(ErrorCode::NotFound, None, None)),
        (
            "error too_large",
            error(ErrorCode::TooLarge, Some(id), None),
        ),
        (
            "error rate_limited",
            error(ErrorCode::RateLimited, Some(id), Some(500)),
        ),
        (
            "error unavailable",
            error(ErrorCode::Unavailable, Some(id), Some(1_000)),
        ),
        (
            "draft",
            ServerFrame::Draft {
                room: room.clone(),
                id: OTHER,
                reply_to: id,
                attempt: 1,
                offset: 4,
                text: "teen".into(),
                thinking: false,
                waiting: None,
            },
        ),
        (
            "draft, thinking",
            ServerFrame::Draft {
                room: room.clone(),
                id: OTHER,
                reply_to: id,
                attempt: 1,
                offset: 0,
                text: String::new(),
                thinking: true,
                waiting: None,
            },
        ),
        (
            "draft, waiting",
            ServerFrame::Draft {
                room: room.clone(),
                id: OTHER,
                reply_to: id,
                attempt: 0,
                offset: 0,
                text: String::new(),
                thinking: false,
                waiting: Some(2),
            },
        ),
        (
            "typing",
            ServerFrame::Typing {
                room: room.clone(),
                user: "ada".into(),
            },
        ),
        (
            "presence",
            ServerFrame::Presence {
                room: room.clone(),
                users: vec!["ada".into(), "bob".into()],
            },
        ),
        (
            "invited",
            ServerFrame::Invited {
                room: room.clone(),
                by: "ada".into(),
            },
        ),
        (
            "read",
            ServerFrame::Read {
                room,
                seq: 1_700_000_000_000_001,
            },
        ),
        ("ping", ServerFrame::Ping),
    ];
    let mut lines: Vec<(&str, String)> = frames
        .iter()
        .map(|(name, frame)| (*name, frame.frame()))
        .collect();
    let fallback = Message {
        kind: Kind::Fallback,
        message: "later".into(),
        ..reply()
    };
    lines.push(("message", message().frame()));
    lines.push(("message, a reply", reply().frame()));
    lines.push(("message, a reply that was stopped", stopped().frame()));
    lines.push(("message, a fallback", fallback.frame()));
    let newest = Message {
        message: "five".into(),
        edited: Some(1_700_000_000_000_009),
        ..reply()
    };
    let gone = Message {
        message: String::new(),
        deleted: true,
        ..reply()
    };
    let grounded = grounded();
    lines.push(("message, which looked things up", grounded.frame()));
    lines.push(("message, edited since", newest.frame()));
    lines.push(("message, deleted since", gone.frame()));
    lines.push(("edited", edited().frame()));
    lines.push(("deleted", deleted().frame()));
    golden("server_frames.json", &lines);
    for (name, frame) in frames {
        let read: ServerFrame = serde_json::from_str(&frame.frame()).unwrap();
        assert_eq!(read, frame, "{name} reads back");
    }
    for message in [
        message(),
        reply(),
        fallback,
        grounded,
        newest,
        gone,
        edited(),
        deleted(),
    ] {
        assert_eq!(
            Message::from_frame(message.frame().as_bytes()).unwrap(),
            message
        );
    }
}

/// The examples of a golden file.
fn examples(name: &str) -> BTreeMap<String, Value> {
    let golden = fs::read(in_golden(name)).expect("the golden file is there");
    serde_json::from_slice(&golden).expect("the golden file is JSON")
}

/// What begins the lines of the first table under a heading of `docs/wire.md`.
fn documented(heading: &str) -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/wire.md");
    let page = fs::read_to_string(path).expect("the wire is documented");
    let section = page
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .expect("the heading is there");
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

/// The words that a type knows, which it names when it is given one that it does not.
fn known<T: DeserializeOwned>(unknown: &Value) -> BTreeSet<String> {
    let why = T::deserialize(unknown).err().expect("it is unknown");
    let why = why.to_string();
    let words = why.split('`').skip(1).step_by(2).skip(1);
    words.map(str::to_owned).collect()
}

#[test]
fn every_frame_and_every_code_has_its_example_and_its_line_in_the_documents() {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let server = examples("server_frames.json");
    let client = examples("client_frames.json");
    let types: BTreeSet<String> = server
        .values()
        .filter_map(|frame| text(&frame["type"]))
        .collect();
    let codes: BTreeSet<String> = server
        .values()
        .filter_map(|frame| text(&frame["code"]))
        .collect();
    let read: BTreeSet<String> = client
        .values()
        .filter(|example| example["is"]["read"].is_string())
        .map(|example| text(&example["frame"]["type"]).unwrap_or("send".into()))
        .collect();
    assert_eq!(types, documented("From the server"));
    assert_eq!(codes, documented("Codes"));
    assert_eq!(read, documented("From the client"));
    let mut written = known::<ServerFrame>(&json!({"type": "?"}));
    written.extend(["message", "edited", "deleted"].map(str::to_owned));
    assert_eq!(types, written);
    assert_eq!(codes, known::<ErrorCode>(&json!("?")));
}

#[test]
fn a_frame_in_two_parts_is_the_frame() {
    // Whoever gives a message its place puts a beginning to its tail; the result is the frame, byte for byte.
    for message in [
        message(),
        reply(),
        stopped(),
        grounded(),
        edited(),
        deleted(),
    ] {
        let Message {
            room,
            seq,
            prev,
            id,
            sender,
            kind,
            message: text,
            reply_to,
            of,
            stopped_by,
            grounding,
            ..
        } = message.clone();
        let new = NewMessage {
            room,
            id,
            sender,
            kind,
            message: text,
            reply_to,
            of,
            stopped_by,
            grounding,
        };
        let at = message.at();
        let head = format!(
            r#"{{"type":"{}","room":"{}","seq":{seq},"prev":{prev},"at":"{at}","#,
            kind.frame_type(),
            message.room
        );
        assert_eq!(head + &new.frame_tail(), message.frame());
    }
}

#[test]
fn the_queues_payload_is_written_and_read_as_it_always_was() {
    let log = ReplyLog {
        request: ID,
        user: "ada".into(),
        model: "gemini-practice".into(),
        attempts: 2,
        tokens_in: 120,
        tokens_out: 34,
        first_token_ms: Some(432),
        total_ms: 1_234,
        cost_micros: Some(321),
        outcome: "answered".into(),
        details: Default::default(),
    };
    let again = Again {
        after: OTHER,
        at: 1_700_000_000_000_002,
        by: Some("eve".into()),
    };
    let by_nobody = Again {
        by: None,
        ..again.clone()
    };
    let envelopes = [
        ("a message", Envelope::new(message(), None)),
        ("a reply", Envelope::new(reply(), Some(log))),
        ("a request, again", Envelope::again(message(), again)),
        (
            "a request, again, by the version before",
            Envelope::again(message(), by_nobody),
        ),
    ];
    let lines = envelopes.clone().map(|(name, envelope)| {
        (
            name,
            String::from_utf8(envelope.to_bytes().to_vec()).unwrap(),
        )
    });
    golden("queue_payloads.json", &lines);
    for (name, envelope) in envelopes {
        assert_eq!(
            Envelope::read(&envelope.to_bytes()),
            Ok(envelope),
            "{name} reads back"
        );
    }
    let of_tomorrow = Envelope {
        v: 2,
        ..Envelope::new(message(), None)
    };
    assert!(
        Envelope::read(&of_tomorrow.to_bytes())
            .unwrap_err()
            .contains("version 2")
    );
    assert!(Envelope::read(b"{}").is_err());
}

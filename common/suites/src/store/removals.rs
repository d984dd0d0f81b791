//! What is to go, and stays gone.

use std::time::Duration;

use common::{store::StoreError, wire::Seq};

use super::{
    rooms::{administers, room, users},
    side::{Side, deletes, edits, said, texts},
};
use common::store::{HandOver, RoomChanges, RoomKeeper, RoomLimits};

const OWNER: RoomKeeper = RoomKeeper::Owner("ada");

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

pub async fn a_deleted_room_goes_with_all_that_was_said_in_it(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "eve"]).await;
    for name in ["ship", "shipyard"] {
        store.create_room(&room(name, "ada")).await.unwrap();
        store.add_member(name, "bob").await.unwrap();
        store.ban(name, "eve", "ada").await.unwrap();
        let mut batch: Vec<_> = (1..=25).map(|n| said(name, n, "a secret")).collect();
        batch[24].message.stopped_by = Some("bob".into());
        let changes = [
            edits(&batch[0], 26, "a secret as well"),
            deletes(&batch[1], 27),
        ];
        store.write(&batch).await.unwrap();
        store.write(&changes).await.unwrap();
    }
    assert_eq!(store.erase_deleted("ship", 10).await.unwrap(), 0);
    assert_eq!(store.latest("ship").await.unwrap(), 27, "it is there still");

    assert!(store.delete_room("ship", OWNER).await.unwrap());
    assert!(!store.delete_room("ship", OWNER).await.unwrap());
    assert_eq!(store.room("ship").await.unwrap(), None);
    assert_eq!(store.room_seen_by("ship", "bob").await.unwrap(), None);
    assert!(store.members("ship").await.unwrap().is_empty());
    assert!(store.bans("ship").await.unwrap().is_empty());
    let deleted = store.deleted_among(&["ship", "shipyard", "nowhere"]).await;
    assert_eq!(deleted.unwrap().into_iter().collect::<Vec<_>>(), ["ship"]);

    let mut steps = Vec::new();
    loop {
        let erased = store.erase_deleted("ship", 10).await.unwrap();
        if erased == 0 {
            break;
        }
        steps.push(erased);
    }
    // 27 messages and events, and what is kept beside the two events of each, and of the last.
    assert_eq!(steps, [15, 10, 7]);
    for left in [
        "SELECT COUNT(*) FROM messages WHERE room = 'ship'",
        "SELECT COUNT(*) FROM message_events WHERE room = 'ship'",
        "SELECT COUNT(*) FROM message_states WHERE room = 'ship'",
        "SELECT COUNT(*) FROM reply_stops WHERE room = 'ship'",
    ] {
        assert_eq!(side.count(left).await, 0, "{left}");
    }
    assert_eq!(store.latest("ship").await.unwrap(), 0);
    let other = store.before("shipyard", Seq::MAX, 100).await.unwrap();
    assert_eq!(texts(&other)[2..], ["a secret"; 23]);
    assert_eq!(store.members("shipyard").await.unwrap(), ["bob"]);

    // Somebody had one of them in hand all the while.
    store.write(&[said("ship", 28, "late")]).await.unwrap();
    assert_eq!(store.erase_deleted("ship", 10).await.unwrap(), 1);
}

pub async fn the_name_of_a_deleted_room_is_nobodys(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    store.create_room(&room("ship", "ada")).await.unwrap();
    store.delete_room("ship", OWNER).await.unwrap();
    let taken = store.create_room(&room("ship", "ada")).await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    let taken = store.create_user("ship", "a hash").await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    // What looks like it is somebody else's.
    store.create_room(&room("sh1p", "ada")).await.unwrap();
}

pub async fn a_room_is_deleted_by_its_owner_or_an_administrator(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob"]).await;
    for name in ["ship", "boat"] {
        store.create_room(&room(name, "ada")).await.unwrap();
    }
    for (name, by) in [
        ("ship", RoomKeeper::Owner("bob")),
        ("ada", OWNER),
        ("ship", RoomKeeper::Administrator("bob")),
    ] {
        let refused = store.delete_room(name, by).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{name}");
    }
    assert!(!store.delete_room("No Room", OWNER).await.unwrap());
    assert!(store.delete_room("ship", OWNER).await.unwrap());
    assert_eq!(side.count("SELECT COUNT(*) FROM audit").await, 0);
    administers(&side, "bob", true).await;
    let administrator = RoomKeeper::Administrator("bob");
    let refused = store.delete_room("ada", administrator).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))));
    assert!(store.delete_room("boat", administrator).await.unwrap());
    let deleted = "SELECT COUNT(*) FROM audit WHERE deed = 'room_deleted'";
    assert_eq!(side.count(deleted).await, 1);
}

pub async fn a_deleted_room_is_looked_through_by_one_at_a_time_and_ever_more_seldom(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    let rooms = ["ship", "boat", "raft"];
    for name in rooms {
        store.create_room(&room(name, "ada")).await.unwrap();
        store.delete_room(name, OWNER).await.unwrap();
    }
    let now = now_ms();
    let due = async |at: Duration, limit| {
        let at = now + u64::try_from(at.as_millis()).unwrap();
        store.deletions_due(at, limit).await.unwrap().len()
    };
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
    assert_eq!(due(second, 10).await, 0);
    assert_eq!(due(10 * second, 2).await, 2);
    assert_eq!(due(10 * second, 10).await, 1);
    assert_eq!(due(10 * second, 10).await, 0);
    let (one, other) = tokio::join!(due(60 * second, 10), due(60 * second, 10));
    assert_eq!(one + other, 3);
    assert_eq!(due(80 * second, 10).await, 0);
    assert_eq!(due(91 * second, 10).await, 3);
    assert_eq!(due(100 * day, 10).await, 3);
    assert_eq!(due(100 * day + day / 2, 10).await, 0);
    assert_eq!(due(101 * day + second, 10).await, 3, "for ever");
}

pub async fn whoever_hands_rooms_over_makes_no_more_within_an_hour(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob"]).await;
    let limits = RoomLimits {
        owned: None,
        per_hour: std::num::NonZeroU32::new(2),
    };
    let makes = async |name, maker| store.create_room_within(&room(name, maker), limits).await;
    let old = "INSERT INTO room_makings (maker, made_at_ms, room) VALUES ('ada', 1, 'old')";
    side.execute(old.to_owned()).await;
    for name in ["ship", "boat"] {
        makes(name, "ada").await.unwrap();
        store.add_member(name, "bob").await.unwrap();
        let hand_over = HandOver {
            from: "ada".into(),
            to: "bob".into(),
            owned_max: None,
        };
        let changes = RoomChanges {
            hand_over: Some(hand_over),
            ..RoomChanges::default()
        };
        store.change_room(name, &changes, OWNER).await.unwrap();
    }
    let refused = makes("raft", "ada").await;
    assert!(
        matches!(refused, Err(StoreError::TooOften { .. })),
        "{refused:?}"
    );
    // Those are not of his making.
    makes("raft", "bob").await.unwrap();
    makes("canoe", "bob").await.unwrap();
    let kept = "SELECT COUNT(*) FROM room_makings";
    assert_eq!(
        side.count(kept).await,
        4,
        "what is not counted is forgotten"
    );
}

pub async fn whoever_deletes_rooms_makes_no_more_within_an_hour(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    let limits = RoomLimits {
        owned: std::num::NonZeroU32::new(1),
        per_hour: std::num::NonZeroU32::new(2),
    };
    for name in ["ship", "boat"] {
        let made = store.create_room_within(&room(name, "ada"), limits).await;
        made.unwrap();
        store.delete_room(name, OWNER).await.unwrap();
    }
    let refused = store.create_room_within(&room("raft", "ada"), limits).await;
    assert!(
        matches!(refused, Err(StoreError::TooOften { .. })),
        "{refused:?}"
    );
}

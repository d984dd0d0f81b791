//! Rooms and who may see them.

use common::store::{
    BotPolicy, MEMBERS_PER_ROOM, PERSONA_MAX_CHARS, ROOMS_LISTED_MAX, ROOMS_PER_OWNER, Room,
    RoomChanges, Store, StoreError,
};
use futures_util::future::join_all;

use super::side::Side;

pub fn room(name: &str, owner: &str) -> Room {
    Room {
        name: name.to_owned(),
        private: false,
        bot: BotPolicy::Mention,
        persona: String::new(),
        owner: owner.to_owned(),
    }
}

fn private(name: &str, owner: &str) -> Room {
    Room {
        private: true,
        ..room(name, owner)
    }
}

async fn users(side: &Side, names: &[&str]) {
    for name in names {
        side.store.create_user(name, "a hash").await.unwrap();
    }
}

async fn sees(store: &dyn Store, user: &str) -> Vec<String> {
    let rooms = store.rooms_seen_by(user).await.unwrap();
    rooms.into_iter().map(|room| room.name).collect()
}

pub async fn a_room_is_as_it_was_made_and_changed(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    let made = Room {
        persona: "🦜".repeat(PERSONA_MAX_CHARS),
        ..room("ship", "ada")
    };
    store.create_room(&made).await.unwrap();
    assert_eq!(store.room("ship").await.unwrap(), Some(made.clone()));

    let changed = Room {
        private: true,
        bot: BotPolicy::Off,
        persona: "A parrot.\0\u{202e}".into(),
        ..made
    };
    let changes = RoomChanges {
        private: Some(changed.private),
        bot: Some(changed.bot),
        persona: Some(changed.persona.clone()),
    };
    let nothing = RoomChanges::default();
    for changes in [&changes, &changes, &nothing] {
        let answer = store.change_room("ship", changes).await.unwrap();
        assert_eq!(answer, Some(changed.clone()));
        assert_eq!(store.room("ship").await.unwrap(), Some(changed.clone()));
    }
    let answer = store.change_room("nowhere", &changes).await.unwrap();
    assert_eq!(answer, None);
    assert_eq!(store.room("nowhere").await.unwrap(), None);
}

pub async fn changes_of_different_things_at_the_same_moment_are_all_kept(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    store.create_room(&room("ship", "ada")).await.unwrap();
    let private = is_private(true);
    let off = RoomChanges {
        bot: Some(BotPolicy::Off),
        ..RoomChanges::default()
    };
    let parrot = RoomChanges {
        persona: Some("A parrot.".into()),
        ..RoomChanges::default()
    };
    let all = [&private, &off, &parrot].map(|changes| store.change_room("ship", changes));
    for changed in join_all(all).await {
        assert!(changed.unwrap().is_some());
    }
    let changed = Room {
        private: true,
        bot: BotPolicy::Off,
        persona: "A parrot.".into(),
        ..room("ship", "ada")
    };
    assert_eq!(store.room("ship").await.unwrap(), Some(changed));
}

fn is_private(private: bool) -> RoomChanges {
    RoomChanges {
        private: Some(private),
        ..RoomChanges::default()
    }
}

pub async fn a_rooms_name_is_its_own_and_no_users(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    store.create_room(&room("room-1", "ada")).await.unwrap();
    for name in ["room-1", "ada"] {
        let taken = store.create_room(&room(name, "ada")).await;
        assert!(matches!(taken, Err(StoreError::Taken)), "{name}: {taken:?}");
    }
    // Nobody is taken for a room.
    store.create_room(&room("room-l", "ada")).await.unwrap();
    store.create_room(&room("room1", "ada")).await.unwrap();
}

pub async fn a_private_room_is_seen_by_its_owner_and_members_alone(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "eve"]).await;
    store.create_room(&private("attic", "ada")).await.unwrap();
    store.add_member("attic", "bob").await.unwrap();
    for (user, may) in [
        ("ada", true),
        ("bob", true),
        ("eve", false),
        ("nobody", false),
    ] {
        let seen = store.room_seen_by("attic", user).await.unwrap();
        assert_eq!(seen.is_some(), may, "{user}");
        assert_eq!(
            sees(store.as_ref(), user)
                .await
                .contains(&"attic".to_owned()),
            may,
            "{user}"
        );
    }
    store.remove_member("attic", "bob").await.unwrap();
    assert_eq!(store.room_seen_by("attic", "bob").await.unwrap(), None);
    assert_eq!(
        store.room_seen_by("bob", "ada").await.unwrap(),
        None,
        "bob's own room is his"
    );
}

pub async fn a_room_that_turns_private_vanishes_for_strangers(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "eve"]).await;
    store.create_room(&room("lobby", "ada")).await.unwrap();
    assert_eq!(sees(store.as_ref(), "eve").await, ["eve", "lobby"]);
    let changed = store.change_room("lobby", &is_private(true)).await;
    assert!(changed.unwrap().is_some());
    assert_eq!(sees(store.as_ref(), "eve").await, ["eve"]);
    assert_eq!(store.room_seen_by("lobby", "eve").await.unwrap(), None);
    let changed = store.change_room("lobby", &is_private(false)).await;
    assert!(changed.unwrap().is_some());
    assert!(store.room_seen_by("lobby", "eve").await.unwrap().is_some());
}

pub async fn a_user_sees_their_own_rooms_first_then_public_ones(side: Side) {
    let store = &side.store;
    users(&side, &["mia", "zoe"]).await;
    store.create_room(&room("aaa-public", "zoe")).await.unwrap();
    store.create_room(&room("zzz-of-mia", "mia")).await.unwrap();
    store
        .create_room(&private("nnn-with-mia", "zoe"))
        .await
        .unwrap();
    store
        .create_room(&room("ooo-with-mia", "zoe"))
        .await
        .unwrap();
    for name in ["nnn-with-mia", "ooo-with-mia", "zzz-of-mia"] {
        assert!(store.add_member(name, "mia").await.unwrap());
    }
    let seen = sees(store.as_ref(), "mia").await;
    assert_eq!(
        seen,
        [
            "mia",
            "nnn-with-mia",
            "ooo-with-mia",
            "zzz-of-mia",
            "aaa-public"
        ]
    );
}

pub async fn a_listing_ends_but_not_before_the_users_own(side: Side) {
    let store = &side.store;
    users(&side, &["mia"]).await;
    let rows: Vec<String> = (0..ROOMS_LISTED_MAX + 200)
        .map(|number| format!("('pub-{number:05}', 'zoe', 0, 'off', '', 0)"))
        .collect();
    side.execute(insert_rooms(&rows)).await;
    store.create_room(&room("pub-00000a", "mia")).await.unwrap();
    let seen = sees(store.as_ref(), "mia").await;
    assert_eq!(seen.len(), ROOMS_LISTED_MAX);
    assert_eq!(seen[..4], ["mia", "pub-00000a", "pub-00000", "pub-00001"]);
}

fn insert_rooms(rows: &[String]) -> String {
    let rows = rows.join(", ");
    format!("INSERT INTO rooms (name, owner, private, bot, persona, created_at_ms) VALUES {rows}")
}

pub async fn members_come_and_go(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "cleo"]).await;
    store.create_room(&private("attic", "ada")).await.unwrap();
    for user in ["cleo", "bob", "bob", "ada"] {
        assert!(store.add_member("attic", user).await.unwrap(), "{user}");
    }
    assert_eq!(
        store.members("attic").await.unwrap(),
        ["bob", "cleo"],
        "beside the owner"
    );
    assert!(!store.add_member("attic", "nobody").await.unwrap());
    assert!(!store.add_member("nowhere", "bob").await.unwrap());
    assert!(store.remove_member("attic", "bob").await.unwrap());
    assert!(!store.remove_member("attic", "bob").await.unwrap());
    assert_eq!(store.members("attic").await.unwrap(), ["cleo"]);
}

pub async fn nobody_owns_more_rooms_than_one_may(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob"]).await;
    let rows: Vec<String> = (0..ROOMS_PER_OWNER - 2)
        .map(|number| format!("('of-ada-{number}', 'ada', 0, 'off', '', 0)"))
        .collect();
    side.execute(insert_rooms(&rows)).await;
    // Two more are allowed, her own not counted, also if she asks for six at once.
    let wishes: Vec<_> = (0..6)
        .map(|number| {
            let store = store.clone();
            let wish = room(&format!("wish-{number}"), "ada");
            tokio::spawn(async move { store.create_room(&wish).await })
        })
        .collect();
    let mut full = 0;
    for wish in wishes {
        match wish.await.unwrap() {
            Ok(()) => (),
            Err(StoreError::Full(_)) => full += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(full, 4);
    assert_eq!(
        side.count("SELECT COUNT(*) FROM rooms WHERE name LIKE 'wish-%'")
            .await,
        2
    );
    store.create_room(&room("of-bob", "bob")).await.unwrap();
}

pub async fn no_room_has_more_members_than_one_may(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "cleo"]).await;
    store.create_room(&private("arena", "ada")).await.unwrap();
    let rows: Vec<String> = (0..MEMBERS_PER_ROOM - 1)
        .map(|number| format!("('arena', 'crowd-{number}')"))
        .collect();
    side.execute(format!(
        "INSERT INTO members (room, user) VALUES {}",
        rows.join(", ")
    ))
    .await;
    assert!(store.add_member("arena", "bob").await.unwrap());
    let full = store.add_member("arena", "cleo").await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    assert!(
        store.add_member("arena", "bob").await.unwrap(),
        "who is in stays in"
    );
    store.remove_member("arena", "bob").await.unwrap();
    assert!(store.add_member("arena", "cleo").await.unwrap());
}

//! Rooms and who may see them.

use std::{num::NonZeroU32, time::Duration};

use common::store::{
    Actor, BotChoices, BotPolicy, ChoiceChanges, HandOver, INVITATIONS_OPEN_BY_NEW,
    INVITATIONS_OPEN_BY_ONE, INVITATIONS_OPEN_MAX, INVITATIONS_PER_HOUR, Invited, MEMBERS_PER_ROOM,
    Membership, PERSONA_MAX_CHARS, ReadMark, Room, RoomChanges, RoomKeeper, RoomLimits,
    StandingChanges, Store, StoreError, Thinking, UNREAD_MAX,
};
use futures_util::future::join_all;

use super::side::{Side, said};

pub fn room(name: &str, owner: &str) -> Room {
    Room {
        name: name.to_owned(),
        owner: owner.to_owned(),
        ..Room::default()
    }
}

fn private(name: &str, owner: &str) -> Room {
    Room {
        private: true,
        ..room(name, owner)
    }
}

pub async fn users(side: &Side, names: &[&str]) {
    for name in names {
        side.store.create_user(name, "a hash").await.unwrap();
    }
}

const OWNER: RoomKeeper = RoomKeeper::Owner("ada");

pub async fn administers(side: &Side, user: &str, admin: bool) {
    let admin = StandingChanges {
        admin: Some(admin),
        ..StandingChanges::default()
    };
    let changed = side.store.change_standing(Actor::Operator, user, admin);
    changed.await.unwrap();
}

async fn sees(store: &dyn Store, user: &str) -> Vec<String> {
    page(store, user, None, 10_000).await
}

async fn page(store: &dyn Store, user: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let rooms = store.rooms_listed(user, after, limit).await.unwrap();
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
        title: "Das schöne Schiff 🚢".into(),
        topic: "Where we sail\nand when".into(),
        retention_days: NonZeroU32::new(30),
        choices: BotChoices {
            model: Some("gemini-3.5-flash".into()),
            thinking: Some(Thinking::High),
            search: true,
        },
        bot_answers_programs: true,
        ..made
    };
    let changes = RoomChanges {
        private: Some(changed.private),
        bot: Some(changed.bot),
        persona: Some(changed.persona.clone()),
        title: Some(changed.title.clone()),
        topic: Some(changed.topic.clone()),
        retention_days: Some(changed.retention_days),
        choices: ChoiceChanges {
            model: Some(changed.choices.model.clone()),
            thinking: Some(changed.choices.thinking),
            search: Some(true),
        },
        bot_answers_programs: Some(true),
        hand_over: None,
    };
    let nothing = RoomChanges::default();
    for changes in [&changes, &changes, &nothing] {
        let answer = store.change_room("ship", changes, OWNER).await.unwrap();
        assert_eq!(answer, Some(changed.clone()));
        assert_eq!(store.room("ship").await.unwrap(), Some(changed.clone()));
    }
    let answer = store.change_room("nowhere", &changes, OWNER).await.unwrap();
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
    let all = [&private, &off, &parrot].map(|changes| store.change_room("ship", changes, OWNER));
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

fn handed_over(from: &str, to: &str) -> RoomChanges {
    RoomChanges {
        hand_over: Some(HandOver {
            from: from.into(),
            to: to.into(),
            owned_max: NonZeroU32::new(1),
        }),
        ..RoomChanges::default()
    }
}

pub async fn a_room_is_handed_over_to_a_member_who_said_yes(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "eve", "mia"]).await;
    store.create_room(&private("den", "ada")).await.unwrap();
    store.create_room(&room("lobby", "ada")).await.unwrap();
    store.create_room(&room("ship", "mia")).await.unwrap();
    store.invite("den", "bob", "ada").await.unwrap();
    store.add_member("den", "mia").await.unwrap();
    store.ban("lobby", "eve", "ada").await.unwrap();
    let hands = async |room: &str, from: &str, to: &str| {
        let changes = RoomChanges {
            topic: Some(format!("{to}'s now")),
            ..handed_over(from, to)
        };
        let by = RoomKeeper::Owner(from);
        store.change_room(room, &changes, by).await
    };
    for (room, to) in [
        ("den", "bob"),
        ("den", "eve"),
        ("den", "nobody"),
        ("den", "No Name"),
        ("lobby", "bob"),
        ("lobby", "eve"),
    ] {
        let refused = hands(room, "ada", to).await;
        assert!(matches!(refused, Err(StoreError::NotFound(_))), "{to}");
    }
    for (room, from, to) in [("den", "mia", "bob"), ("ada", "ada", "bob")] {
        let refused = hands(room, from, to).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{from}");
    }
    let refused = hands("den", "ada", "mia").await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "she owns one");
    let den = store.room("den").await.unwrap().unwrap();
    assert_eq!((&*den.owner, &*den.topic), ("ada", ""), "all or nothing");
    assert_eq!(hands("nowhere", "ada", "bob").await.unwrap(), None);

    assert!(store.take_invitation("den", "bob").await.unwrap());
    let den = hands("den", "ada", "bob").await.unwrap().unwrap();
    assert_eq!((&*den.owner, &*den.topic), ("bob", "bob's now"));
    assert_eq!(store.members("den").await.unwrap(), ["ada", "mia"]);
    let lobby = hands("lobby", "ada", "ada").await.unwrap().unwrap();
    assert_eq!(
        (lobby.owner, lobby.topic),
        ("ada".into(), "ada's now".into())
    );
}

pub async fn an_administrator_hands_a_room_over_to_anybody_who_is_not_disabled(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "eve", "mia", "zoe"]).await;
    store.create_room(&private("den", "ada")).await.unwrap();
    store.ban("den", "eve", "ada").await.unwrap();
    administers(&side, "zoe", true).await;
    let off = StandingChanges {
        disabled: Some(true),
        ..StandingChanges::default()
    };
    let off = store.change_standing(Actor::Operator, "mia", off).await;
    off.unwrap();
    let hands = async |to: &str| {
        let zoe = RoomKeeper::Administrator("zoe");
        store.change_room("den", &handed_over("ada", to), zoe).await
    };
    for to in ["mia", "nobody"] {
        let refused = hands(to).await;
        assert!(matches!(refused, Err(StoreError::NotFound(_))), "{to}");
    }
    let refused = hands("eve").await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "banned");
    assert_eq!(hands("bob").await.unwrap().unwrap().owner, "bob");
    assert_eq!(store.members("den").await.unwrap(), ["ada"]);
}

pub async fn rights_that_were_lost_a_moment_ago_are_worth_nothing(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "eve", "mia", "zoe"]).await;
    store.create_room(&private("den", "ada")).await.unwrap();
    for user in ["bob", "mia"] {
        store.add_member("den", user).await.unwrap();
    }
    store.ban("den", "eve", "ada").await.unwrap();
    administers(&side, "mia", true).await;
    administers(&side, "zoe", true).await;
    administers(&side, "zoe", false).await;
    let (to_bob, to_mia) = (handed_over("ada", "bob"), handed_over("bob", "mia"));
    let den = store.change_room("den", &to_bob, OWNER).await.unwrap();

    let zoe = RoomKeeper::Administrator("zoe");
    let refused = [
        store
            .change_room("den", &is_private(false), OWNER)
            .await
            .map(drop),
        store.change_room("den", &to_mia, zoe).await.map(drop),
        store.delete_room("den", OWNER).await.map(drop),
        store.delete_room("den", zoe).await.map(drop),
        store.invite("den", "zoe", "ada").await.map(drop),
        store.ban("den", "mia", "ada").await.map(drop),
        store.lift_ban("den", "eve", "ada").await.map(drop),
        store.remove_member("den", "mia", "ada").await.map(drop),
        store.remove_member("den", "bob", "bob").await.map(drop),
    ];
    for (number, refused) in refused.into_iter().enumerate() {
        assert!(
            matches!(refused, Err(StoreError::Forbidden(_))),
            "{number}: {refused:?}"
        );
    }
    assert_eq!(store.room("den").await.unwrap(), den);
    assert_eq!(store.members("den").await.unwrap(), ["ada", "mia"]);
    assert_eq!(store.bans("den").await.unwrap(), ["eve"]);

    let bob = RoomKeeper::Owner("bob");
    assert!(store.remove_member("den", "mia", "bob").await.unwrap());
    assert!(store.remove_member("den", "ada", "ada").await.unwrap());
    assert!(store.lift_ban("den", "eve", "bob").await.unwrap());
    assert!(store.delete_room("den", bob).await.unwrap());
}

pub async fn of_many_hand_overs_at_once_one_is_done(side: Side) {
    let store = &side.store;
    let people = ["bob", "eve", "mia", "zoe"];
    users(&side, &["ada"]).await;
    users(&side, &people).await;
    store.create_room(&room("lobby", "ada")).await.unwrap();
    for user in people {
        assert!(store.add_member("lobby", user).await.unwrap());
    }
    let all = people.map(|to| handed_over("ada", to));
    let all = join_all(
        all.each_ref()
            .map(|to| store.change_room("lobby", to, OWNER)),
    )
    .await;
    let done: Vec<_> = all.into_iter().filter_map(Result::ok).collect();
    assert_eq!(done.len(), 1);
    assert_eq!(store.room("lobby").await.unwrap(), done[0]);
    let members = store.members("lobby").await.unwrap();
    assert!(members.len() == people.len() && members.contains(&"ada".to_owned()));
}

pub async fn who_is_banned_neither_sees_a_room_nor_is_invited(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob", "eve"]).await;
    store.create_room(&room("lobby", "ada")).await.unwrap();
    store.add_member("lobby", "bob").await.unwrap();
    for _ in 0..2 {
        assert!(store.ban("lobby", "bob", "ada").await.unwrap());
    }
    assert_eq!(store.bans("lobby").await.unwrap(), ["bob"]);
    assert!(store.members("lobby").await.unwrap().is_empty());
    assert_eq!(store.room_seen_by("lobby", "bob").await.unwrap(), None);
    assert!(store.room_seen_by("lobby", "eve").await.unwrap().is_some());
    assert_eq!(sees(&**store, "bob").await, ["bob"]);
    let refused = store.invite("lobby", "bob", "ada").await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))));
    let refused = store.add_member("lobby", "bob").await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))));
    let refused = store.ban("lobby", "ada", "ada").await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))));
    for (room, user) in [
        ("lobby", "nobody"),
        ("nowhere", "bob"),
        ("lobby", "No Name"),
    ] {
        assert!(!store.ban(room, user, "ada").await.unwrap());
    }
    assert!(store.lift_ban("lobby", "bob", "ada").await.unwrap());
    assert!(!store.lift_ban("lobby", "bob", "ada").await.unwrap());
    assert_eq!(sees(&**store, "bob").await, ["bob", "lobby"]);
    store.invite("lobby", "bob", "ada").await.unwrap();
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

pub async fn a_room_must_not_look_like_a_user_nor_a_user_like_a_room(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob"]).await;
    for name in ["b0b", "b-o-b", "bo_b"] {
        for owner in ["ada", "bob"] {
            let looks = store.create_room(&room(name, owner)).await;
            assert!(matches!(looks, Err(StoreError::Taken)), "{name}: {looks:?}");
        }
        assert_eq!(store.room(name).await.unwrap(), None, "{name}");
    }
    store.create_room(&room("lobby", "ada")).await.unwrap();
    for name in ["l0bby", "lo-bby"] {
        let looks = store.create_user(name, "a hash").await;
        assert!(matches!(looks, Err(StoreError::Taken)), "{name}: {looks:?}");
        assert_eq!(store.password_hash(name).await.unwrap(), None, "{name}");
    }
    store.create_room(&room("bobs", "ada")).await.unwrap();
    store.create_user("lobbyist", "a hash").await.unwrap();
    // Of two that come at the same moment, one has it.
    for number in 0..20 {
        let (name, looks) = (
            format!("eve{number}a"),
            room(&format!("eve-{number}-a"), "ada"),
        );
        let both = tokio::join!(
            store.create_user(&name, "a hash"),
            store.create_room(&looks)
        );
        let both = [both.0, both.1];
        let made = both.iter().filter(|made| made.is_ok()).count();
        assert_eq!(made, 1, "{name}: {both:?}");
    }
}

pub async fn a_room_that_an_older_program_made_has_a_look_in_the_end(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    store.create_room(&room("harbour", "ada")).await.unwrap();
    let rows: Vec<String> = (0..2_100)
        .map(|number| format!("('old-{number}', 'ada', 0, 'off', '', 0)"))
        .collect();
    side.execute(insert_rooms(&rows)).await;
    let mut after = String::new();
    // Another edge does so at the same time.
    while let (Ok(Some(last)), Ok(_)) =
        tokio::join!(store.note_looks(&after), store.note_looks(&after))
    {
        after = last;
    }
    assert_eq!(after, "old-999");
    let noted = "SELECT COUNT(*) FROM room_looks";
    assert_eq!(side.count(noted).await, 2_101, "one's own room has none");
    for name in ["old2099", "0ld-7"] {
        let looks = store.create_user(name, "a hash").await;
        assert!(matches!(looks, Err(StoreError::Taken)), "{name}: {looks:?}");
    }
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
    store.remove_member("attic", "bob", "bob").await.unwrap();
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
    let changed = store.change_room("lobby", &is_private(true), OWNER).await;
    assert!(changed.unwrap().is_some());
    assert_eq!(sees(store.as_ref(), "eve").await, ["eve"]);
    assert_eq!(store.room_seen_by("lobby", "eve").await.unwrap(), None);
    let changed = store.change_room("lobby", &is_private(false), OWNER).await;
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

pub async fn a_list_is_read_page_by_page(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["mia", "zoe"]).await;
    // Of every kind, so that each begins in the middle of a page.
    for number in 0..12 {
        let (name, is_private) = (format!("room-{number:02}"), number % 2 == 0);
        let owner = if number % 5 == 0 { "mia" } else { "zoe" };
        let made = Room {
            private: is_private,
            ..room(&name, owner)
        };
        store.create_room(&made).await.unwrap();
        if number % 3 == 0 {
            store.add_member(&name, "mia").await.unwrap();
        } else if number % 3 == 1 && number < 8 {
            store.invite(&name, "mia", "zoe").await.unwrap();
        }
    }
    let all = sees(store, "mia").await;
    let expected = [
        "mia", "room-00", "room-03", "room-05", "room-06", "room-09", "room-10", // in
        "room-01", "room-04", "room-07", // invited
        "room-11", // public
    ];
    assert_eq!(all, expected);
    for limit in 1..=12 {
        let mut read: Vec<String> = Vec::new();
        loop {
            let after = read.last().cloned();
            let some = page(store, "mia", after.as_deref(), limit).await;
            assert!(some.len() <= limit);
            if some.is_empty() {
                break;
            }
            read.extend(some);
        }
        assert_eq!(read, expected, "{limit} at a time");
    }
    // From rooms that are not there, which she cannot tell from those that she may not see, or that she left.
    assert_eq!(
        page(store, "mia", Some("nowhere"), 9).await,
        expected[1..10]
    );
    store.remove_member("room-06", "mia", "mia").await.unwrap();
    assert_eq!(
        page(store, "mia", Some("room-06"), 2).await,
        ["room-09", "room-10"]
    );
}

pub async fn a_list_tells_each_rooms_latest_message(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada", "bob"]).await;
    for name in ["lobby", "quiet"] {
        store.create_room(&room(name, "ada")).await.unwrap();
    }
    let batch = [
        said("lobby", 7, "hi"),
        said("lobby", 9, "ho"),
        said("lobbz", 11, "hu"),
    ];
    store.write(&batch).await.unwrap();
    for user in ["ada", "bob"] {
        let listed = store.rooms_listed(user, None, 10).await.unwrap();
        let latest = listed.iter().map(|room| (room.name.as_str(), room.latest));
        let expected = [(user, 0), ("lobby", 9), ("quiet", 0)];
        assert_eq!(latest.collect::<Vec<_>>(), expected, "{user}");
    }
}

fn read(user: &str, room: &str, seq: u64) -> ReadMark {
    ReadMark {
        user: user.into(),
        room: room.into(),
        seq,
    }
}

pub async fn a_list_tells_what_is_not_read_yet(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada", "bob"]).await;
    for name in ["lobby", "quiet", "loud", "strange"] {
        store.create_room(&room(name, "bob")).await.unwrap();
    }
    for name in ["lobby", "loud"] {
        store.add_member(name, "ada").await.unwrap();
    }
    let mut batch: Vec<_> = (1..=10).map(|n| said("lobby", n, "hers")).collect();
    for envelope in batch.iter_mut().filter(|one| one.message.seq % 2 == 0) {
        envelope.message.sender = "bob".into();
    }
    let bobs = |room: &str, seq| {
        let mut envelope = said(room, seq, "his");
        envelope.message.sender = "bob".into();
        envelope
    };
    batch.extend((1..=250).map(|n| bobs("loud", n)));
    batch.push(bobs("strange", 1));
    store.write(&batch).await.unwrap();
    let unread = async || -> Vec<(String, u64, u32)> {
        let listed = store.rooms_listed("ada", None, 100).await.unwrap();
        let listed = listed.into_iter().filter(|room| room.latest > 0);
        let what = listed.map(|room| (room.name, room.read, room.unread));
        what.collect()
    };
    let of = |name: &str, read, unread| (name.to_owned(), read, unread);
    let expected = [
        of("lobby", 0, 5),
        of("loud", 0, UNREAD_MAX),
        of("strange", 0, 0),
    ];
    assert_eq!(unread().await, expected);
    let marks = [
        read("ada", "lobby", 4),
        read("ada", "loud", 245),
        read("ada", "strange", 1),
        read("bob", "lobby", 10),
    ];
    store.mark_read(&marks).await.unwrap();
    let expected = [of("lobby", 4, 3), of("loud", 245, 5), of("strange", 1, 0)];
    assert_eq!(unread().await, expected);
    store.write(&[bobs("strange", 7)]).await.unwrap();
    store.mark_read(&[read("ada", "loud", 250)]).await.unwrap();
    let expected = [of("lobby", 4, 3), of("loud", 250, 0), of("strange", 1, 1)];
    assert_eq!(unread().await, expected);
}

pub async fn a_mark_of_what_was_read_never_goes_back(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada"]).await;
    store.create_room(&room("lobby", "ada")).await.unwrap();
    store.mark_read(&[]).await.unwrap();
    let last = async || {
        let listed = store.rooms_listed("ada", None, 100).await.unwrap();
        listed
            .iter()
            .find(|room| room.name == "lobby")
            .unwrap()
            .read
    };
    let all: Vec<_> = (1..=700)
        .map(|seq| [read("ada", "lobby", 700 - seq)])
        .collect();
    store.mark_read(&all.concat()).await.unwrap();
    assert_eq!(last().await, 699);
    join_all(all.iter().take(20).map(|mark| store.mark_read(mark))).await;
    store.mark_read(&[read("ada", "lobby", 5)]).await.unwrap();
    assert_eq!(last().await, 699);
    // As many rooms and people as one edge writes at once.
    assert_eq!(store.read_up_to("ada", "lobby").await.unwrap(), 699);
    assert_eq!(store.read_up_to("bob", "lobby").await.unwrap(), 0);
    let many: Vec<_> = (0..1_500)
        .map(|n| read("ada", &format!("room-{n}"), n))
        .collect();
    store.mark_read(&many).await.unwrap();
    assert_eq!(side.count("SELECT COUNT(*) FROM read_marks").await, 1_501);
}

pub async fn an_invitation_stands_until_it_is_taken(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada", "bob"]).await;
    store.create_room(&private("attic", "ada")).await.unwrap();
    let invite = async |user| store.invite("attic", user, "ada").await.unwrap();
    assert_eq!(invite("bob").await, Invited::Now);
    assert_eq!(invite("bob").await, Invited::Already);
    assert_eq!(invite("ada").await, Invited::Already);
    assert_eq!(invite("nobody").await, Invited::Nobody);
    let by_ada = || Some("ada".to_owned());
    let membership = async || store.membership("attic", "bob").await.unwrap();
    assert_eq!(
        membership().await,
        Some(Membership {
            invited_by: by_ada()
        })
    );
    assert!(store.room_seen_by("attic", "bob").await.unwrap().is_some());
    assert_eq!(store.members("attic").await.unwrap(), ["bob"]);
    assert_eq!(store.invited("attic").await.unwrap(), ["bob"]);
    let listed = store.rooms_listed("bob", None, 10).await.unwrap();
    let listed = listed
        .iter()
        .map(|room| (room.name.as_str(), room.invited_by.clone()));
    assert_eq!(
        listed.collect::<Vec<_>>(),
        [("bob", None), ("attic", by_ada())]
    );

    assert!(store.take_invitation("attic", "bob").await.unwrap());
    assert!(!store.take_invitation("attic", "bob").await.unwrap());
    assert_eq!(membership().await, Some(Membership { invited_by: None }));
    assert_eq!(invite("bob").await, Invited::Already);
    assert_eq!(store.invited("attic").await.unwrap(), [""; 0]);
    assert_eq!(sees(store, "bob").await, ["attic", "bob"]);
    assert_eq!(store.membership("attic", "ada").await.unwrap(), None);
}

pub async fn who_declines_is_asked_again_but_not_for_ever(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada", "bob", "eve"]).await;
    store.create_room(&private("attic", "eve")).await.unwrap();
    store.create_room(&room("barn", "eve")).await.unwrap();
    store.create_room(&room("cellar", "ada")).await.unwrap();
    for room in ["attic", "barn", "attic"] {
        assert_eq!(
            store.invite(room, "bob", "eve").await.unwrap(),
            Invited::Now
        );
        assert!(store.remove_member(room, "bob", "bob").await.unwrap());
        assert_eq!(store.membership(room, "bob").await.unwrap(), None);
        assert_eq!(store.invited(room).await.unwrap(), [""; 0]);
    }
    for room in ["attic", "barn"] {
        let again = store.invite(room, "bob", "eve").await;
        let Err(StoreError::TooOften { limit, again_in }) = again else {
            panic!("{again:?}");
        };
        assert!(limit.contains("3 times within a day"), "{limit}");
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(again_in <= day && again_in > day / 2, "{again_in:?}");
    }
    assert_eq!(sees(store, "bob").await, ["bob", "barn", "cellar"]);
    // Others may, and so may she after a day.
    assert_eq!(
        store.invite("cellar", "bob", "ada").await.unwrap(),
        Invited::Now
    );
    side.execute("UPDATE invitations SET ended_at_ms = 1 WHERE invited_by = 'eve'".to_owned())
        .await;
    assert_eq!(
        store.invite("attic", "bob", "eve").await.unwrap(),
        Invited::Now
    );
}

pub async fn nobodys_list_is_filled_with_invitations(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada", "bob", "eve"]).await;
    let rows: Vec<String> = (0..INVITATIONS_OPEN_BY_ONE + 1)
        .map(|number| format!("('of-eve-{number}', 'eve', 0, 'off', '', 0)"))
        .collect();
    side.execute(insert_rooms(&rows)).await;
    let wishes = (0..=INVITATIONS_OPEN_BY_ONE).map(|number| {
        let store = side.store.clone();
        let room = format!("of-eve-{number}");
        tokio::spawn(async move { store.invite(&room, "bob", "eve").await })
    });
    let mut full = 0;
    for wish in wishes.collect::<Vec<_>>() {
        match wish.await.unwrap() {
            Ok(Invited::Now) => (),
            Err(StoreError::Full(_)) => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(full, 1, "also if all are sent at once");
    let strangers = |others: u32| -> Vec<String> {
        (0..others)
            .map(|number| format!("('x-{number}', 'bob', 'stranger-{number}', 1, NULL, 0)"))
            .collect()
    };
    let rows = strangers(INVITATIONS_OPEN_MAX - INVITATIONS_OPEN_BY_ONE);
    side.execute(insert_invitations(&rows)).await;
    store.create_room(&private("attic", "ada")).await.unwrap();
    let full = store.invite("attic", "bob", "ada").await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    assert!(
        store.take_invitation("of-eve-0", "bob").await.unwrap()
            || store.take_invitation("of-eve-1", "bob").await.unwrap()
    );
    assert_eq!(
        store.invite("attic", "bob", "ada").await.unwrap(),
        Invited::Now
    );
}

pub async fn new_accounts_fill_half_of_a_list_of_invitations(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["ada", "bob", "eve"]).await;
    let crowd = INVITATIONS_OPEN_BY_NEW / INVITATIONS_OPEN_BY_ONE;
    let rows: Vec<String> = (0..crowd)
        .map(|number| format!("('eve-{number}', 'eve-{number}', '', {})", now_ms()))
        .collect();
    let rows = rows.join(", ");
    side.execute(format!(
        "INSERT INTO users (name, skeleton, password_hash, created_at_ms) VALUES {rows}"
    ))
    .await;
    let rows: Vec<String> = (0..INVITATIONS_OPEN_BY_NEW)
        .map(|number| {
            format!(
                "('x-{number}', 'bob', 'eve-{}', 1, NULL, 0)",
                number % crowd
            )
        })
        .collect();
    side.execute(insert_invitations(&rows)).await;
    store.create_room(&room("attic", "ada")).await.unwrap();
    let full = store.invite("attic", "bob", "ada").await;
    let Err(StoreError::Full(why)) = full else {
        panic!("{full:?}");
    };
    assert!(
        why.contains("100 invitations") && why.contains("new"),
        "{why}"
    );
    let eight_days_ago = now_ms() - 8 * 24 * 3_600_000;
    side.execute(format!(
        "UPDATE users SET created_at_ms = {eight_days_ago} WHERE name = 'ada'"
    ))
    .await;
    assert_eq!(
        store.invite("attic", "bob", "ada").await.unwrap(),
        Invited::Now
    );
    // What those wait for who have been here for a while takes nothing from who is new.
    assert!(store.remove_member("attic", "bob", "bob").await.is_ok());
    side.execute(format!(
        "UPDATE users SET created_at_ms = {eight_days_ago} WHERE name = 'eve-0'"
    ))
    .await;
    store.create_room(&room("cellar", "eve")).await.unwrap();
    assert_eq!(
        store.invite("cellar", "bob", "eve").await.unwrap(),
        Invited::Now
    );
}

pub async fn nobody_invites_the_whole_town(side: Side) {
    let store = side.store.as_ref();
    users(&side, &["bob", "eve"]).await;
    store.create_room(&room("square", "eve")).await.unwrap();
    // Half an hour ago, as far as the database knows.
    let rows: Vec<String> = (0..INVITATIONS_PER_HOUR)
        .map(|number| {
            format!(
                "('square', 'crowd-{number}', 'eve', {}, NULL, 0)",
                now_ms() - 1_800_000
            )
        })
        .collect();
    side.execute(insert_invitations(&rows)).await;
    let often = store.invite("square", "bob", "eve").await;
    let Err(StoreError::TooOften { again_in, .. }) = often else {
        panic!("{often:?}");
    };
    assert!(
        again_in.abs_diff(Duration::from_secs(1_800)) < Duration::from_secs(60),
        "{again_in:?}"
    );
    // Whoever takes it was glad of it.
    assert!(store.take_invitation("square", "crowd-7").await.unwrap());
    assert_eq!(
        store.invite("square", "bob", "eve").await.unwrap(),
        Invited::Now
    );
}

fn now_ms() -> u128 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

fn insert_invitations(rows: &[String]) -> String {
    let rows = rows.join(", ");
    format!(
        "INSERT INTO invitations (room, user, invited_by, invited_at_ms, ended_at_ms, ended_times) VALUES {rows}"
    )
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
    assert!(store.remove_member("attic", "bob", "bob").await.unwrap());
    assert!(!store.remove_member("attic", "bob", "bob").await.unwrap());
    assert_eq!(store.members("attic").await.unwrap(), ["cleo"]);
}

/// Six rooms that somebody asks for at once: how many were refused, and the last refusal.
async fn six_wishes(side: &Side, owner: &str, limits: RoomLimits) -> (usize, Option<StoreError>) {
    let wishes: Vec<_> = (0..6)
        .map(|number| {
            let store = side.store.clone();
            let wish = room(&format!("wish-{owner}-{number}"), owner);
            tokio::spawn(async move { store.create_room_within(&wish, limits).await })
        })
        .collect();
    let (mut refused, mut last) = (0, None);
    for wish in wishes {
        if let Err(error) = wish.await.unwrap() {
            (refused, last) = (refused + 1, Some(error));
        }
    }
    (refused, last)
}

pub async fn nobody_owns_more_rooms_than_one_may(side: Side) {
    users(&side, &["ada", "bob"]).await;
    let limits = RoomLimits {
        owned: NonZeroU32::new(100),
        ..RoomLimits::default()
    };
    let rows: Vec<String> = (0..98)
        .map(|number| format!("('of-ada-{number}', 'ada', 0, 'off', '', 0)"))
        .collect();
    side.execute(insert_rooms(&rows)).await;
    // Two more are allowed, her own not counted, also if she asks for six at once.
    let (refused, why) = six_wishes(&side, "ada", limits).await;
    assert_eq!(refused, 4);
    assert!(
        matches!(&why, Some(StoreError::Full(limit)) if limit.contains("100 rooms")),
        "{why:?}"
    );
    let made = "SELECT COUNT(*) FROM rooms WHERE name LIKE 'wish-%'";
    assert_eq!(side.count(made).await, 2);
    assert_eq!(six_wishes(&side, "bob", limits).await.0, 0);
    side.store
        .create_room(&room("one-more", "ada"))
        .await
        .unwrap();
}

pub async fn nobody_makes_more_rooms_within_an_hour_than_one_may(side: Side) {
    users(&side, &["ada", "bob"]).await;
    let limits = RoomLimits {
        per_hour: NonZeroU32::new(4),
        ..RoomLimits::default()
    };
    let minutes_ago = |minutes: u128| now_ms() - minutes * 60_000;
    let rows = [(1, 61), (2, 40), (3, 20)]
        .map(|(number, minutes)| format!("('ada', {}, 'of-ada-{number}')", minutes_ago(minutes)));
    let rows = rows.join(", ");
    side.execute(format!(
        "INSERT INTO room_makings (maker, made_at_ms, room) VALUES {rows}"
    ))
    .await;
    let (refused, why) = six_wishes(&side, "ada", limits).await;
    assert_eq!(refused, 4);
    let Some(StoreError::TooOften { limit, again_in }) = why else {
        panic!("{why:?}");
    };
    assert!(limit.contains("4 rooms within an hour"), "{limit}");
    let in_20_minutes = again_in.abs_diff(Duration::from_secs(20 * 60));
    assert!(in_20_minutes < Duration::from_secs(60), "{again_in:?}");
    assert_eq!(six_wishes(&side, "bob", limits).await.0, 2);
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
    store.remove_member("arena", "bob", "bob").await.unwrap();
    assert!(store.add_member("arena", "cleo").await.unwrap());
}

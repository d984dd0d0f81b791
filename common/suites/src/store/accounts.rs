//! Users and their sessions.

use std::num::NonZeroU32;

use common::store::{Actor, BotPolicy, DEVICES_PER_USER, LogIn, Session, StoreError};
use uuid::Uuid;

use super::side::Side;

pub async fn a_user_comes_with_a_room_of_their_own(side: Side) {
    let store = side.store;
    store.create_user("ada", "a hash").await.unwrap();
    assert_eq!(
        store.password_hash("ada").await.unwrap().as_deref(),
        Some("a hash")
    );
    let room = store.room("ada").await.unwrap().unwrap();
    assert_eq!(
        (room.owner.as_str(), room.private, room.bot),
        ("ada", true, BotPolicy::Always)
    );
    assert_eq!(room.persona, "");
}

pub async fn a_taken_name_is_refused_and_nothing_is_left_behind(side: Side) {
    let store = side.store;
    store.create_user("ada", "a hash").await.unwrap();
    let again = store.create_user("ada", "another hash").await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    assert_eq!(
        store.password_hash("ada").await.unwrap().as_deref(),
        Some("a hash")
    );

    // A room's name is taken too, and a user without a room of their own is not made.
    let lobby = super::rooms::room("lobby", "ada");
    store.create_room(&lobby).await.unwrap();
    let taken = store.create_user("lobby", "a hash").await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    assert_eq!(store.password_hash("lobby").await.unwrap(), None);
    store.create_user("bob", "a hash").await.unwrap();
}

pub async fn users_must_not_look_the_same(side: Side) {
    let store = side.store;
    for name in ["user1", "u-1-10"] {
        store.create_user(name, "a hash").await.unwrap();
    }
    for name in ["userl", "user-1", "user_1", "useri"] {
        let looks = store.create_user(name, "a hash").await;
        assert!(matches!(looks, Err(StoreError::Taken)), "{name}: {looks:?}");
        assert!(store.room(name).await.unwrap().is_none(), "{name}");
    }
    for name in ["user2", "u-11-0", "u-1-11"] {
        store.create_user(name, "a hash").await.unwrap();
    }
}

pub async fn a_name_nobody_can_have_is_not_found(side: Side) {
    let store = side.store;
    store.create_user("ada", "a hash").await.unwrap();
    for name in [
        "ada ",
        "ADA",
        "ada\0",
        "ädä",
        "🦀🦀🦀",
        "",
        "' OR 1=1",
        &"a".repeat(100_000),
    ] {
        assert_eq!(store.password_hash(name).await.unwrap(), None, "{name:?}");
        assert!(store.room(name).await.unwrap().is_none(), "{name:?}");
        assert!(
            store.room_seen_by(name, "ada").await.unwrap().is_none(),
            "{name:?}"
        );
        assert!(!store.add_member("ada", name).await.unwrap(), "{name:?}");
        assert!(
            !store.remove_member("ada", name, name).await.unwrap(),
            "{name:?}"
        );
    }
}

pub async fn of_many_who_want_a_name_one_gets_it(side: Side) {
    let wishes = (0..10).map(|hash| {
        let store = side.store.clone();
        tokio::spawn(async move { store.create_user("ada", &hash.to_string()).await })
    });
    let mut got = 0;
    for wish in wishes.collect::<Vec<_>>() {
        match wish.await.unwrap() {
            Ok(()) => got += 1,
            Err(StoreError::Taken) => (),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(got, 1);
}

fn session(user: &str, last_seen_at_ms: u64, expires_at_ms: u64) -> (Session, [u8; 32]) {
    let session = Session {
        id: Uuid::new_v4(),
        user: user.to_owned(),
        device: "Firefox 145 · Ünïx 🦊".to_owned(),
        created_at_ms: 1_000,
        last_seen_at_ms,
        expires_at_ms,
        is_token: false,
    };
    let mut token_hash = [0xff; 32];
    token_hash[..16].copy_from_slice(session.id.as_bytes());
    (session, token_hash)
}

pub async fn a_session_holds_until_it_expires(side: Side) {
    let store = side.store;
    let (session, token) = session("ada", 1_000, 5_000);
    store.create_session(&session, &token).await.unwrap();
    assert_eq!(store.session(&token, 4_999).await.unwrap(), Some(session));
    assert_eq!(store.session(&token, 5_000).await.unwrap(), None);
    assert_eq!(store.session(&[0; 32], 4_999).await.unwrap(), None);
}

pub async fn a_user_lists_and_ends_their_own_sessions(side: Side) {
    let store = side.store;
    let [phone, laptop, old] = [
        session("ada", 2_000, 9_000),
        session("ada", 3_000, 9_000),
        session("ada", 4_000, 5_000),
    ];
    let bobs = session("bob", 2_000, 9_000);
    for (session, token) in [&phone, &laptop, &old, &bobs] {
        store.create_session(session, token).await.unwrap();
    }
    let listed = store.sessions("ada", 6_000).await.unwrap();
    assert_eq!(
        listed,
        [laptop.0.clone(), phone.0.clone()],
        "the latest used first"
    );

    assert!(
        !store.end_session("bob", phone.0.id).await.unwrap(),
        "it is ada's"
    );
    assert!(store.end_session("ada", phone.0.id).await.unwrap());
    assert!(
        !store.end_session("ada", phone.0.id).await.unwrap(),
        "it is gone"
    );
    assert_eq!(store.session(&phone.1, 6_000).await.unwrap(), None);

    let asked = [phone.0.id, laptop.0.id, old.0.id, bobs.0.id, Uuid::new_v4()];
    let live = store.live_sessions(&asked, 6_000).await.unwrap();
    assert_eq!(live, [laptop.0.id, bobs.0.id].into());
    assert!(store.live_sessions(&[], 6_000).await.unwrap().is_empty());
    let many: Vec<Uuid> = (0..1_300)
        .map(|_| Uuid::new_v4())
        .chain([laptop.0.id])
        .collect();
    assert_eq!(
        store.live_sessions(&many, 6_000).await.unwrap(),
        [laptop.0.id].into()
    );
}

pub async fn using_a_session_puts_off_its_end(side: Side) {
    let store = side.store;
    let sessions: Vec<_> = (0..20).map(|_| session("ada", 2_000, 9_000)).collect();
    for (session, token) in &sessions {
        store.create_session(session, token).await.unwrap();
    }
    let (expired, expired_token) = session("ada", 2_000, 5_000);
    store
        .create_session(&expired, &expired_token)
        .await
        .unwrap();

    let ids: Vec<Uuid> = sessions
        .iter()
        .map(|(session, _)| session.id)
        .chain([expired.id])
        .collect();
    store
        .touch_sessions(&ids, 6_000, 20_000, None)
        .await
        .unwrap();
    store
        .touch_sessions(&[], 6_000, 20_000, None)
        .await
        .unwrap();
    for (_, token) in &sessions {
        let touched = store.session(token, 19_999).await.unwrap().unwrap();
        assert_eq!(
            (touched.last_seen_at_ms, touched.expires_at_ms),
            (6_000, 20_000)
        );
    }
    assert_eq!(
        store.session(&expired_token, 6_000).await.unwrap(),
        None,
        "what has ended stays so"
    );
}

pub async fn a_session_has_a_longest_life_however_much_it_is_used(side: Side) {
    let store = side.store;
    // Made at 1,000.
    let (session, token) = session("ada", 2_000, 9_000);
    store.create_session(&session, &token).await.unwrap();
    let touch = async |now, longest| {
        let ids = [session.id];
        store
            .touch_sessions(&ids, now, now + 10_000, Some(longest))
            .await
            .unwrap();
        store.session(&token, now).await.unwrap()
    };
    assert_eq!(touch(6_000, 30_000).await.unwrap().expires_at_ms, 16_000);
    assert_eq!(touch(7_000, 15_000).await.unwrap().expires_at_ms, 16_000);
    assert_eq!(touch(8_000, u64::MAX).await.unwrap().expires_at_ms, 18_000);
    assert_eq!(touch(9_000, 5_000).await, None, "it had its time");
}

pub async fn beyond_so_many_sessions_the_longest_unused_end(side: Side) {
    let store = &side.store;
    store.create_user("ada", "a hash").await.unwrap();
    let log_in = LogIn {
        sessions_max: NonZeroU32::new(3),
        ..LogIn::default()
    };
    let bobs = session("bob", 1, 9_000);
    store.begin_session(&bobs.0, &bobs.1, log_in).await.unwrap();
    let mut all = Vec::new();
    for last_seen in [5_000, 2_000, 4_000, 3_000, 6_000] {
        let (session, token) = session("ada", last_seen, 9_000);
        let ended = store.begin_session(&session, &token, log_in).await.unwrap();
        all.push(session);
        let expected: Vec<Uuid> = match all.len() {
            // What is new stays, however long ago it says that it was used.
            4 => vec![all[1].id],
            5 => vec![all[3].id],
            _ => Vec::new(),
        };
        assert_eq!(ended, expected);
    }
    let left = store.sessions("ada", 6_500).await.unwrap();
    assert_eq!(left, [&all[4], &all[0], &all[2]].map(Clone::clone));
    // Many at once are no way around it, and none of them fails.
    let at_once = (0..10).map(|_| {
        let (store, (session, token)) = (side.store.clone(), session("ada", 7_000, 9_000));
        tokio::spawn(async move { store.begin_session(&session, &token, log_in).await })
    });
    for one in at_once.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(store.sessions("ada", 7_500).await.unwrap().len(), 3);
    assert_eq!(store.sessions("bob", 7_500).await.unwrap().len(), 1);
}

pub async fn a_password_that_was_changed_while_it_was_looked_at_lets_nobody_in(side: Side) {
    let store = &side.store;
    store.create_user("ada", "a hash").await.unwrap();
    let log_in = async |password_hash| {
        let (session, token) = session("ada", 2_000, 9_000);
        let log_in = LogIn {
            password_hash: Some(password_hash),
            ..LogIn::default()
        };
        let begun = store.begin_session(&session, &token, log_in).await;
        begun.map(|_| session.id)
    };
    let refused = |done: Result<_, _>| assert!(matches!(done, Err(StoreError::Forbidden(_))));
    let first = log_in("a hash").await.unwrap();
    let changed = store.change_password("ada", "a hash", "another", first, None);
    assert!(changed.await.unwrap().is_some());
    refused(log_in("a hash").await.map(drop));
    let leaves = async |kept| {
        let deleted = store.delete_account(Actor::Account("ada"), "ada", Some(kept), false);
        deleted.await.map(drop)
    };
    refused(leaves("a hash").await);

    let expires_at_ms = u64::MAX / 4;
    let made = store.make_reset(Actor::Operator, "ada", &[7; 32], expires_at_ms);
    assert!(made.await.unwrap());
    store.use_reset(&[7; 32], "a third").await.unwrap();
    refused(log_in("another").await.map(drop));
    refused(leaves("another").await);
    assert!(store.sessions("ada", 2_000).await.unwrap().is_empty());
    log_in("a third").await.unwrap();
    leaves("a third").await.unwrap();
    refused(log_in("").await.map(drop));
}

pub async fn a_device_is_known_to_who_logged_in_on_it(side: Side) {
    let store = &side.store;
    let log_in = async |user: &str, device: u8, at: u64| {
        let (mut session, token) = session(user, at, at + 9_000);
        session.created_at_ms = at;
        let log_in = LogIn {
            device_hash: Some([device; 32]),
            ..LogIn::default()
        };
        store.begin_session(&session, &token, log_in).await.unwrap();
    };
    let knows = async |user, device| {
        store
            .knows_device(Some(user), &[device; 32], 500)
            .await
            .unwrap()
    };
    log_in("ada", 1, 1_000).await;
    assert!(knows("ada", 1).await);
    assert!(!knows("bob", 1).await, "it is ada's");
    let anybody = async |device, since| {
        store
            .knows_device(None, &[device; 32], since)
            .await
            .unwrap()
    };
    assert!(anybody(1, 500).await && !anybody(2, 500).await && !anybody(1, 1_000).await);
    assert!(!knows("ada", 2).await);
    assert!(!knows("ADA ", 1).await);
    assert!(
        !store
            .knows_device(Some("ada"), &[1; 32], 1_000)
            .await
            .unwrap(),
        "too long ago"
    );
    // Twenty of them, the first among them since it was used again.
    for device in 2..=DEVICES_PER_USER as u8 {
        log_in("ada", device, u64::from(device) * 1_000).await;
    }
    log_in("ada", 1, 100_000).await;
    log_in("ada", 99, 101_000).await;
    assert!(knows("ada", 1).await && knows("ada", 3).await && knows("ada", 99).await);
    assert!(!knows("ada", 2).await, "it was used longest ago");
    let count = side.count("SELECT COUNT(*) FROM devices").await;
    assert_eq!(count, i64::from(DEVICES_PER_USER));
}

pub async fn what_has_expired_is_swept(side: Side) {
    let store = &side.store;
    let [old, present] = [session("ada", 1, 5_000), session("ada", 1, 5_001)];
    for (session, token) in [&old, &present] {
        store.create_session(session, token).await.unwrap();
    }
    assert_eq!(store.sweep_sessions(5_000).await.unwrap(), 1);
    assert_eq!(store.sweep_sessions(5_000).await.unwrap(), 0);
    assert!(store.session(&present.1, 5_000).await.unwrap().is_some());
    assert_eq!(side.count("SELECT COUNT(*) FROM sessions").await, 1);
}

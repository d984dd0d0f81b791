//! The door and who keeps it: invitations, passwords, administrators, the log.

use std::time::{Duration, SystemTime};

use common::store::{
    Actor, INVITES_PER_HOUR, INVITES_STANDING_MAX, Invite, LogIn, MEMBERS_PER_ROOM, OPERATOR, Room,
    RoomChanges, RoomKeeper, Session, Standing, StandingChanges, Store, StoreError, THE_SERVER,
};
use uuid::Uuid;

use super::side::Side;

const HOUR_MS: u64 = 3_600_000;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as u64
}

pub fn invite(by: &str) -> Invite {
    Invite {
        id: Uuid::now_v7(),
        made_by: by.to_owned(),
        admin: false,
        room: None,
        uses: 1,
        used: 0,
        made_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
    }
}

/// A token's hash, another one for every number.
pub fn token(n: u8) -> [u8; 32] {
    [n; 32]
}

pub async fn session_of(store: &dyn Store, user: &str, n: u8) -> (Uuid, [u8; 32]) {
    let session = Session {
        id: Uuid::new_v4(),
        user: user.to_owned(),
        device: String::new(),
        created_at_ms: now_ms(),
        last_seen_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
        is_token: false,
    };
    let log_in = LogIn {
        device_hash: Some([n; 32]),
        ..LogIn::default()
    };
    store
        .begin_session(&session, &token(n), log_in)
        .await
        .unwrap();
    (session.id, token(n))
}

/// Accounts, the first of whom administers.
pub async fn accounts(store: &dyn Store, names: &[&str]) {
    for (n, name) in names.iter().enumerate() {
        store.create_user(name, "a hash").await.unwrap();
        if n == 0 {
            changes(store, Actor::Operator, name, Some(true), None)
                .await
                .unwrap();
        }
    }
}

async fn changes(
    store: &dyn Store,
    actor: Actor<'_>,
    user: &str,
    admin: Option<bool>,
    disabled: Option<bool>,
) -> Result<Option<(Standing, Vec<Uuid>)>, StoreError> {
    let changes = StandingChanges {
        admin,
        disabled,
        program: None,
    };
    store.change_standing(actor, user, changes).await
}

/// Checks that it was refused, with these words in it.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>, words: &str) {
    match outcome {
        Err(StoreError::Forbidden(why)) => assert!(why.contains(words), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
}

pub async fn an_invitation_lets_so_many_in_and_no_more(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada"]).await;
    let two = Invite {
        uses: 2,
        ..invite("ada")
    };
    store.make_invite(&two, &token(1)).await.unwrap();
    let comes = async |name: &str, n| {
        store
            .create_invited_user(name, "a hash", &token(n), false)
            .await
    };
    assert_eq!(comes("bob", 1).await.unwrap(), None);
    let taken = comes("bob", 1).await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    comes("carol", 1).await.unwrap();
    refused(comes("dave", 1).await, "used up");
    refused(comes("dave", 2).await, "no such invitation");
    assert_eq!(store.standing("dave").await.unwrap(), None);
    let listed = store.invites(Some("ada"), now_ms()).await.unwrap();
    assert_eq!(listed, [Invite { used: 2, ..two }]);

    let withdrawn = Invite {
        room: None,
        ..invite("ada")
    };
    store.make_invite(&withdrawn, &token(3)).await.unwrap();
    assert!(
        !store
            .withdraw_invite(Actor::Account("bob"), withdrawn.id)
            .await
            .unwrap()
    );
    assert!(
        store
            .withdraw_invite(Actor::Account("ada"), withdrawn.id)
            .await
            .unwrap()
    );
    assert!(
        !store
            .withdraw_invite(Actor::Account("ada"), withdrawn.id)
            .await
            .unwrap()
    );
    refused(comes("dave", 3).await, "withdrawn");
    let expired = Invite {
        expires_at_ms: now_ms() - 1,
        ..invite("ada")
    };
    store.make_invite(&expired, &token(4)).await.unwrap();
    refused(comes("dave", 4).await, "expired");
    assert_eq!(store.invites(None, now_ms()).await.unwrap().len(), 1);
    store.sweep_door(now_ms(), 0).await.unwrap();
    refused(comes("dave", 4).await, "no such invitation");
}

pub async fn of_two_who_come_with_the_last_use_one_gets_in(side: Side) {
    let store = &side.store;
    accounts(&**store, &["ada"]).await;
    let three = Invite {
        uses: 3,
        ..invite("ada")
    };
    store.make_invite(&three, &token(1)).await.unwrap();
    let all = (0..10).map(|n| {
        let store = store.clone();
        let name = format!("guest-{}", char::from(b'a' + n));
        tokio::spawn(async move {
            store
                .create_invited_user(&name, "a hash", &token(1), false)
                .await
        })
    });
    let mut in_by_it = 0;
    for one in all.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(_) => in_by_it += 1,
            Err(StoreError::Forbidden(_)) => (),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(in_by_it, 3);
    assert_eq!(side.count("SELECT COUNT(*) FROM users").await, 4);
}

pub async fn an_invitation_is_worth_what_its_maker_may(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob", "carol"]).await;
    let comes = async |name: &str, n, by_keepers_alone| {
        store
            .create_invited_user(name, "a hash", &token(n), by_keepers_alone)
            .await
    };
    let keeper = Invite {
        admin: true,
        ..invite("bob")
    };
    refused(
        store.make_invite(&keeper, &token(1)).await,
        "only an administrator",
    );
    refused(
        store.make_invite(&invite("nobody"), &token(1)).await,
        "only an administrator",
    );
    store.make_invite(&invite("bob"), &token(2)).await.unwrap();
    refused(comes("dave", 2, true).await, "may not let anybody in");
    // An administrator makes one; and is none any more when somebody comes with it.
    changes(store, Actor::Operator, "bob", Some(true), None)
        .await
        .unwrap();
    store.make_invite(&keeper, &token(3)).await.unwrap();
    changes(store, Actor::Operator, "bob", Some(false), None)
        .await
        .unwrap();
    refused(comes("dave", 3, false).await, "may not let anybody in");
    comes("dave", 2, false).await.unwrap();
    store.make_invite(&invite("bob"), &token(4)).await.unwrap();
    changes(store, Actor::Operator, "bob", None, Some(true))
        .await
        .unwrap();
    refused(comes("erin", 4, false).await, "may not let anybody in");

    // The operator's and administrators' are worth something also where the door is closed.
    store.make_invite(&invite("ada"), &token(5)).await.unwrap();
    comes("frank", 5, true).await.unwrap();
    let operators = Invite {
        admin: true,
        ..invite(OPERATOR)
    };
    store.make_invite(&operators, &token(6)).await.unwrap();
    comes("grace", 6, true).await.unwrap();
    assert!(store.standing("grace").await.unwrap().unwrap().admin);
    assert_eq!(
        store.standing("frank").await.unwrap(),
        Some(Standing::default())
    );

    for n in 0..INVITES_STANDING_MAX {
        let hash = token(100 + n as u8);
        store.make_invite(&invite("carol"), &hash).await.unwrap();
    }
    let full = store.make_invite(&invite("carol"), &token(99)).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
}

pub async fn the_servers_own_invitation_is_for_the_first_administrator(side: Side) {
    let store = &side.store;
    assert!(!store.has_accounts().await.unwrap());
    for n in 1..=2 {
        let first = Invite {
            admin: true,
            ..invite(THE_SERVER)
        };
        store.make_invite(&first, &token(n)).await.unwrap();
    }
    // Who comes before makes no difference: nothing else makes an administrator.
    store.create_user("early", "a hash").await.unwrap();
    assert_eq!(
        store.standing("early").await.unwrap(),
        Some(Standing::default())
    );
    assert!(store.has_accounts().await.unwrap());
    let both = [("ada", 1), ("bob", 2)].map(|(name, n)| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .create_invited_user(name, "a hash", &token(n), true)
                .await
        })
    });
    let mut first = 0;
    for one in both {
        match one.await.unwrap() {
            Ok(_) => first += 1,
            other => refused(other, "there is one"),
        }
    }
    assert_eq!(first, 1);
}

pub async fn an_invitation_may_make_one_a_member_of_a_room(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let room = |name: &str, private| Room {
        private,
        ..super::rooms::room(name, "bob")
    };
    store.create_room(&room("secrets", true)).await.unwrap();
    store.create_room(&room("lobby", false)).await.unwrap();
    let into = |by: &str, room: &str| Invite {
        room: Some(room.to_owned()),
        ..invite(by)
    };
    store
        .make_invite(&into("bob", "secrets"), &token(1))
        .await
        .unwrap();
    store
        .make_invite(&into("ada", "lobby"), &token(2))
        .await
        .unwrap();
    for (by, room) in [
        ("ada", "secrets"),
        ("bob", "bob"),
        ("ada", "bob"),
        ("bob", "nowhere"),
    ] {
        let made = store.make_invite(&into(by, room), &token(9)).await;
        refused(made, "only its owner");
    }
    let comes = async |name: &str, n| {
        store
            .create_invited_user(name, "a hash", &token(n), false)
            .await
            .unwrap()
    };
    assert_eq!(comes("carol", 1).await.as_deref(), Some("secrets"));
    assert!(
        store
            .room_seen_by("secrets", "carol")
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(comes("dave", 2).await.as_deref(), Some("lobby"));
    assert_eq!(store.members("lobby").await.unwrap(), ["dave"]);

    // Where the room is full one comes to the server all the same.
    let more = Invite {
        uses: 2,
        ..into("bob", "lobby")
    };
    store.make_invite(&more, &token(3)).await.unwrap();
    let rows: Vec<String> = (1..MEMBERS_PER_ROOM)
        .map(|number| format!("('lobby', 'crowd-{number}')"))
        .collect();
    side.execute(format!(
        "INSERT INTO members (room, user) VALUES {}",
        rows.join(", ")
    ))
    .await;
    assert_eq!(comes("erin", 3).await, None);
    assert_eq!(
        store.standing("erin").await.unwrap(),
        Some(Standing::default())
    );
}

pub async fn who_makes_and_withdraws_invitations_comes_to_an_end(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let (began, lines) = (now_ms(), store.audit(None, 10).await.unwrap());
    let makes = async |by: &str, n: u32| {
        let invite = invite(by);
        let mut hash = token(0);
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let made = store.make_invite(&invite, &hash).await;
        if made.is_ok() {
            let withdrawn = store.withdraw_invite(Actor::Account(by), invite.id).await;
            assert!(withdrawn.unwrap());
        }
        made
    };
    for n in 0..INVITES_PER_HOUR {
        makes("bob", n).await.unwrap();
    }
    let one_more = makes("bob", INVITES_PER_HOUR).await;
    assert!(matches!(one_more, Err(StoreError::Full(_))), "{one_more:?}");
    assert_eq!(store.audit(None, 10).await.unwrap(), lines);
    makes("ada", INVITES_PER_HOUR).await.unwrap();
    let told = store.audit(None, 2).await.unwrap();
    let told: Vec<_> = told.iter().map(|line| &*line.deed).collect();
    assert_eq!(told, ["withdrew an invitation", "made an invitation"]);

    let rows = async || side.count("SELECT COUNT(*) FROM invites").await;
    store.sweep_door(began - 1, began - HOUR_MS).await.unwrap();
    assert_eq!(rows().await, i64::from(INVITES_PER_HOUR) + 1);
    store
        .sweep_door(now_ms(), now_ms() + HOUR_MS)
        .await
        .unwrap();
    assert_eq!(rows().await, 0);
    assert_eq!(store.audit(None, 10).await.unwrap(), []);
}

pub async fn a_new_password_ends_the_other_sessions(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada"]).await;
    let (here, here_token) = session_of(store, "ada", 1).await;
    let (there, there_token) = session_of(store, "ada", 2).await;
    let change = async |kept, new| {
        store
            .change_password("ada", kept, new, here, Some(token(1)))
            .await
            .unwrap()
    };
    assert_eq!(
        change("another", "a new one").await,
        None,
        "it is another by now"
    );
    assert_eq!(change("a hash", "a new one").await, Some(vec![there]));
    assert_eq!(change("a hash", "a third one").await, None);
    assert_eq!(
        store.password_hash("ada").await.unwrap().as_deref(),
        Some("a new one")
    );
    assert!(
        store
            .session(&here_token, now_ms())
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .session(&there_token, now_ms())
            .await
            .unwrap()
            .is_none()
    );
    assert!(store.knows_device(Some("ada"), &token(1), 0).await.unwrap());
    assert!(!store.knows_device(Some("ada"), &token(2), 0).await.unwrap());
    let (third, _) = session_of(store, "ada", 3).await;
    let ended = store
        .end_other_sessions("ada", here, Some(token(1)))
        .await
        .unwrap();
    assert_eq!(ended, [third]);
    assert_eq!(store.sessions("ada", now_ms()).await.unwrap().len(), 1);
}

pub async fn a_link_sets_a_new_password_once(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let soon = now_ms() + HOUR_MS;
    let make = async |actor, user: &str, n, expires| {
        store.make_reset(actor, user, &token(n), expires).await
    };
    refused(
        make(Actor::Account("bob"), "ada", 1, soon).await,
        "only an administrator",
    );
    assert!(
        !make(Actor::Account("ada"), "nobody", 1, soon)
            .await
            .unwrap()
    );
    assert!(make(Actor::Account("ada"), "bob", 1, soon).await.unwrap());
    assert!(make(Actor::Operator, "bob", 2, soon).await.unwrap());
    refused(store.reset_of(&token(1)).await, "a later one");
    assert_eq!(store.reset_of(&token(2)).await.unwrap(), "bob");
    let (session, bobs) = session_of(store, "bob", 7).await;
    let by_the_link = async || store.use_reset(&token(2), "by the link").await;
    let outcomes = tokio::join!(by_the_link(), by_the_link());
    let (won, lost) = match outcomes {
        (Ok(won), lost) => (won, lost),
        (lost, Ok(won)) => (won, lost),
        both => panic!("{both:?}"),
    };
    assert_eq!(won, [session]);
    refused(lost, "used already");
    assert_eq!(
        store.password_hash("bob").await.unwrap().as_deref(),
        Some("by the link")
    );
    assert!(store.session(&bobs, now_ms()).await.unwrap().is_none());
    assert!(!store.knows_device(Some("bob"), &token(7), 0).await.unwrap());

    make(Actor::Operator, "bob", 3, now_ms() - 1).await.unwrap();
    refused(store.reset_of(&token(3)).await, "expired");
    refused(store.use_reset(&token(3), "late").await, "expired");
    make(Actor::Operator, "bob", 4, soon).await.unwrap();
    changes(store, Actor::Operator, "bob", None, Some(true))
        .await
        .unwrap();
    refused(store.reset_of(&token(4)).await, "disabled");
    refused(store.use_reset(&token(4), "late").await, "disabled");
    // Whoever administers no more has no links left.
    make(Actor::Account("ada"), "bob", 5, soon).await.unwrap();
    changes(store, Actor::Operator, "bob", Some(true), Some(false))
        .await
        .unwrap();
    changes(store, Actor::Operator, "ada", Some(false), None)
        .await
        .unwrap();
    refused(store.reset_of(&token(5)).await, "no such link");
    // A password that was changed otherwise voids the link.
    make(Actor::Operator, "bob", 4, soon).await.unwrap();
    let (session, _) = session_of(store, "bob", 8).await;
    store
        .change_password("bob", "by the link", "mine", session, None)
        .await
        .unwrap()
        .unwrap();
    refused(store.reset_of(&token(4)).await, "no such link");
}

pub async fn a_disabled_account_has_no_session_and_gets_none(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let (session, bobs) = session_of(store, "bob", 1).await;
    let before = now_ms() - 1;
    let off = changes(store, Actor::Account("ada"), "bob", None, Some(true)).await;
    let (standing, ended) = off.unwrap().unwrap();
    assert!(standing.disabled && !standing.admin && !standing.deleted);
    assert_eq!(ended, [session]);
    assert!(store.session(&bobs, now_ms()).await.unwrap().is_none());
    let late = Session {
        id: Uuid::new_v4(),
        user: "bob".to_owned(),
        device: String::new(),
        created_at_ms: now_ms(),
        last_seen_at_ms: now_ms(),
        expires_at_ms: now_ms() + HOUR_MS,
        is_token: false,
    };
    refused(store.create_session(&late, &token(2)).await, "disabled");
    let changed = store.standings_changed(before).await.unwrap();
    let at = |name: &str| {
        changed
            .iter()
            .find(|(user, _)| user == name)
            .map(|(_, at)| *at)
    };
    assert!(at("bob").is_some_and(|at| at > before), "{changed:?}");
    // A session that is there all the same, as one that a program of before has made, holds nothing.
    let on = changes(store, Actor::Operator, "bob", None, Some(false)).await;
    assert!(on.unwrap().unwrap().1.is_empty());
    store.create_session(&late, &token(2)).await.unwrap();
    side.execute("UPDATE standings SET disabled = 1 WHERE user = 'bob'".to_owned())
        .await;
    assert!(store.session(&token(2), now_ms()).await.unwrap().is_none());
    assert!(
        store
            .live_sessions(&[late.id], now_ms())
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn the_last_administrator_stays(side: Side) {
    let store = &side.store;
    accounts(&**store, &["ada", "bob"]).await;
    let ada = Actor::Account("ada");
    let change = async |actor, user: &str, admin, disabled| {
        changes(&**store, actor, user, admin, disabled).await
    };
    refused(
        change(Actor::Account("bob"), "bob", Some(true), None).await,
        "only an administrator",
    );
    for (admin, disabled) in [(Some(false), None), (None, Some(true))] {
        refused(
            change(ada, "ada", admin, disabled).await,
            "nobody would administer",
        );
    }
    refused(
        store.delete_account(ada, "ada", None, false).await,
        "nobody would administer",
    );
    change(ada, "bob", Some(true), None).await.unwrap();
    // One who is disabled does not count.
    change(ada, "bob", None, Some(true)).await.unwrap();
    refused(
        change(ada, "ada", Some(false), None).await,
        "nobody would administer",
    );
    refused(
        change(Actor::Account("bob"), "ada", None, None).await,
        "only an administrator",
    );
    change(ada, "bob", None, Some(false)).await.unwrap();
    assert_eq!(change(ada, "nobody", Some(true), None).await.unwrap(), None);
    // Both at the same moment, of each other.
    let both = [("ada", "bob"), ("bob", "ada")].map(|(actor, user)| {
        let store = store.clone();
        tokio::spawn(async move {
            changes(&*store, Actor::Account(actor), user, Some(false), None).await
        })
    });
    let mut done = 0;
    for one in both {
        match one.await.unwrap() {
            Ok(_) => done += 1,
            other => refused(other, "administrator"),
        }
    }
    assert_eq!(done, 1);
    let left = side
        .count("SELECT COUNT(*) FROM standings WHERE admin = 1 AND disabled = 0")
        .await;
    assert_eq!(left, 1);
}

pub async fn a_deleted_account_leaves_its_name_and_nothing_else(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let (session, bobs) = session_of(store, "bob", 1).await;
    store
        .create_room(&super::rooms::room("lobby", "ada"))
        .await
        .unwrap();
    store.add_member("lobby", "bob").await.unwrap();
    store.make_invite(&invite("bob"), &token(2)).await.unwrap();
    refused(
        store
            .delete_account(Actor::Account("bob"), "ada", None, false)
            .await,
        "only an administrator",
    );
    let ended = store
        .delete_account(Actor::Account("bob"), "bob", None, true)
        .await
        .unwrap();
    assert_eq!(ended, Some(vec![session]));
    assert_eq!(
        store
            .delete_account(Actor::Account("ada"), "bob", None, false)
            .await
            .unwrap(),
        None
    );
    assert!(store.session(&bobs, now_ms()).await.unwrap().is_none());
    assert_eq!(store.password_hash("bob").await.unwrap(), None);
    assert!(!store.knows_device(Some("bob"), &token(1), 0).await.unwrap());
    assert!(store.members("lobby").await.unwrap().is_empty());
    let taken = store.create_user("bob", "a hash").await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    refused(
        store
            .create_invited_user("carol", "a hash", &token(2), false)
            .await,
        "withdrawn",
    );
    refused(
        changes(store, Actor::Account("ada"), "bob", None, Some(false)).await,
        "deleted",
    );
    let listed = store.accounts_listed(None, 10).await.unwrap();
    let [ada, bob] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert!(ada.standing.admin && ada.rooms == 1 && ada.sessions == 0);
    assert!(bob.standing.deleted && bob.standing.disabled && bob.last_seen_at_ms.is_none());
    let page = store.accounts_listed(Some("ada"), 10).await.unwrap();
    assert_eq!(page, listed[1..]);
    let rooms = store.rooms_kept(None, 10).await.unwrap();
    let [lobby] = &rooms[..] else {
        panic!("{rooms:?}")
    };
    assert_eq!(
        (&*lobby.name, &*lobby.owner, lobby.members),
        ("lobby", "ada", 0)
    );
    assert!(
        store
            .rooms_kept(Some("lobby"), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn who_did_what_to_whom_is_in_the_log(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let began = now_ms();
    changes(store, Actor::Account("ada"), "bob", None, Some(true))
        .await
        .unwrap();
    changes(store, Actor::Account("ada"), "bob", None, Some(true))
        .await
        .unwrap();
    // What is refused is not done.
    changes(store, Actor::Account("bob"), "ada", None, Some(true))
        .await
        .unwrap_err();
    let lines = store.audit(None, 10).await.unwrap();
    let told = lines
        .iter()
        .map(|line| (&*line.actor, &*line.deed, &*line.subject));
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            ("ada", "disabled", "bob"),
            (OPERATOR, "made administrator", "ada")
        ]
    );
    let slack = Duration::from_secs(60).as_millis() as u64;
    assert!(lines[0].at_ms + slack >= began && lines[0].at_ms <= now_ms() + slack);
    assert_eq!(store.audit(None, 1).await.unwrap(), lines[..1]);
    assert_eq!(
        store.audit(Some(lines[0].id), 10).await.unwrap(),
        lines[1..]
    );
}

pub async fn who_leaves_with_their_messages_is_followed_by_one_process_at_a_time(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob", "carol"]).await;
    store
        .create_room(&super::rooms::room("lobby", "ada"))
        .await
        .unwrap();
    assert_eq!(store.room_names("", 2).await.unwrap(), ["ada", "bob"]);
    assert_eq!(
        store.room_names("bob", 9).await.unwrap(),
        ["carol", "lobby"]
    );
    store
        .delete_account(Actor::Operator, "carol", None, false)
        .await
        .unwrap()
        .unwrap();
    let now = now_ms() + HOUR_MS;
    let claim = async |now| store.claim_departure(now, now + 1_000, now).await.unwrap();
    assert_eq!(claim(now).await, None, "carol's stay");
    store
        .delete_account(Actor::Operator, "bob", None, true)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store.claim_departure(now, now + 1_000, 5).await.unwrap(),
        None,
        "too early"
    );
    let begun = claim(now).await.unwrap();
    assert_eq!((&*begun.user, &*begun.after_room), ("bob", ""));
    assert_eq!(claim(now + 999).await, None, "somebody goes on with it");
    store
        .departure_reached("bob", "carol", now + 2_000)
        .await
        .unwrap();
    assert_eq!(claim(now + 1_500).await, None);
    let left = claim(now + 2_000).await.unwrap();
    assert_eq!((&*left.user, &*left.after_room), ("bob", "carol"));
    store.departure_done("bob").await.unwrap();
    assert_eq!(claim(now + 9_000).await, None);
    let mut gone = store.deleted_accounts().await.unwrap();
    gone.sort();
    assert_eq!(gone, ["bob", "carol"]);
}

pub async fn what_is_a_program_is_told_and_the_bot_answers_it_where_the_room_says_so(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let program = |is: bool| StandingChanges {
        program: Some(is),
        ..StandingChanges::default()
    };
    let by_bob = store.change_standing(Actor::Account("bob"), "bob", program(true));
    refused(by_bob.await, "only an administrator");
    let programs = async || store.programs().await.unwrap();
    assert!(programs().await.is_empty());
    for is in [true, true, false, true] {
        let changed = store.change_standing(Actor::Account("ada"), "bob", program(is));
        let (standing, ended) = changed.await.unwrap().unwrap();
        assert!(standing.program == is && ended.is_empty());
        assert_eq!(programs().await.contains("bob"), is);
    }
    assert!(store.standing("bob").await.unwrap().unwrap().program);
    assert!(!store.standing("ada").await.unwrap().unwrap().program);
    let listed = store.accounts_listed(None, 10).await.unwrap();
    let listed = listed.into_iter().map(|account| account.standing.program);
    assert_eq!(listed.collect::<Vec<_>>(), [false, true]);
    let said = store.audit(None, 1).await.unwrap().remove(0);
    assert_eq!((&*said.deed, &*said.subject), ("made program", "bob"));
    // Its own room has the name of the account, and a setting of its own.
    let asks = async |room: &str| {
        store
            .room(room)
            .await
            .unwrap()
            .unwrap()
            .asks_bot("hi", true)
    };
    assert!(!asks("bob").await);
    let answered = RoomChanges {
        bot_answers_programs: Some(true),
        ..RoomChanges::default()
    };
    let owner = RoomKeeper::Owner("bob");
    let changed = store
        .change_room("bob", &answered, owner)
        .await
        .unwrap()
        .unwrap();
    assert!(changed.bot_answers_programs && changed.asks_bot("hi", true));
    assert!(asks("bob").await && !asks("ada").await);
    assert_eq!(programs().await.len(), 1);
    // Other changes leave it as it is, and so does another standing.
    let title = RoomChanges {
        title: Some("mine".to_owned()),
        ..RoomChanges::default()
    };
    store.change_room("bob", &title, owner).await.unwrap();
    changes(store, Actor::Operator, "bob", Some(true), None)
        .await
        .unwrap();
    assert!(asks("bob").await && programs().await.contains("bob"));
}

//! Identities at the provider of single sign-on.

use common::store::{
    Actor, ByInvite, IDENTITIES_PER_USER, Identity, Invite, LogIn, OPERATOR, Session,
    StandingChanges, Store, StoreError, WaysIn,
};
use futures_util::future::join_all;
use uuid::Uuid;

use super::{
    people::{accounts, invite, refused, session_of, token},
    side::Side,
};

/// In its own letters: another case, another person.
fn at(subject: &str) -> Identity<'_> {
    Identity {
        issuer: "https://id.example/team",
        subject,
    }
}

async fn leads_to(store: &dyn Store, identity: Identity<'_>) -> Option<String> {
    store.user_of_identity(identity).await.unwrap()
}

pub async fn an_identity_leads_into_one_account(side: Side) {
    let store = &*side.store;
    let make = async |name: &str, identity| {
        let made = store.create_identified_user(name, identity, None);
        made.await
    };
    assert_eq!(make("ada", at("A1")).await.unwrap(), None);
    assert_eq!(leads_to(store, at("A1")).await.as_deref(), Some("ada"));
    let elsewhere = Identity {
        issuer: "https://id.example",
        subject: "/teamA1",
    };
    for other in [at("a1"), at("A1 "), elsewhere] {
        assert_eq!(leads_to(store, other).await, None);
    }
    // Another name is not made of it, and nothing is left of the attempt; nor is a name taken over.
    let again = make("bob", at("A1")).await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    let taken = make("ada", at("A2")).await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    assert_eq!(leads_to(store, at("A2")).await, None);
    assert_eq!(make("bob", at("a1")).await.unwrap(), None);
    assert!(store.room("ada").await.unwrap().unwrap().private);
    assert_eq!(store.password_hash("ada").await.unwrap(), None);
}

pub async fn who_comes_by_an_invitation_and_an_identity_uses_both_or_none(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada"]).await;
    let admin = Invite {
        admin: true,
        ..invite("ada")
    };
    store.make_invite(&admin, &token(1)).await.unwrap();
    let comes = async |name: &str, subject: &str| {
        let hash = token(1);
        let by = ByInvite {
            token_hash: &hash,
            by_keepers_alone: true,
        };
        store
            .create_identified_user(name, at(subject), Some(by))
            .await
    };
    let taken = comes("ada", "B").await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    comes("bob", "B").await.unwrap();
    assert!(store.standing("bob").await.unwrap().unwrap().admin);
    refused(comes("carol", "C").await, "used up");
    assert_eq!(leads_to(store, at("C")).await, None);
    assert_eq!(store.standing("carol").await.unwrap(), None);
}

pub async fn of_many_who_come_with_one_identity_one_account_is_made(side: Side) {
    let store = &*side.store;
    let names: Vec<String> = (0..8).map(|n| format!("person{n}x")).collect();
    let made = names
        .iter()
        .map(|name| store.create_identified_user(name, at("one"), None));
    let made = join_all(made).await;
    assert_eq!(
        made.iter().filter(|made| made.is_ok()).count(),
        1,
        "{made:?}"
    );
    let user = leads_to(store, at("one")).await.unwrap();
    assert_eq!(store.accounts_listed(None, 10).await.unwrap().len(), 1);
    assert!(names.contains(&user));
}

pub async fn an_identity_is_linked_by_whoever_is_in_the_account(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let (adas, _) = session_of(store, "ada", 1).await;
    let (bobs, _) = session_of(store, "bob", 2).await;
    refused(store.link_identity("ada", at("A"), bobs).await, "has ended");
    refused(
        store.link_identity("ada", at("A"), Uuid::new_v4()).await,
        "has ended",
    );
    for _ in 0..2 {
        store.link_identity("ada", at("A"), adas).await.unwrap();
    }
    let others = store.link_identity("bob", at("A"), bobs).await;
    assert!(matches!(others, Err(StoreError::Taken)), "{others:?}");
    assert_eq!(leads_to(store, at("A")).await.as_deref(), Some("ada"));
    for n in 1..IDENTITIES_PER_USER {
        let subject = format!("A{n}");
        store
            .link_identity("ada", at(&subject), adas)
            .await
            .unwrap();
    }
    let full = store.link_identity("ada", at("one more"), adas).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    let listed = store.identities("ada").await.unwrap();
    assert_eq!(listed.len(), IDENTITIES_PER_USER);
    assert_eq!(listed[0].issuer, "https://id.example/team");
    // Whoever comes with one that was taken away meanwhile is not let in.
    let session = Session {
        id: Uuid::new_v4(),
        ..store.session(&token(1), 0).await.unwrap().unwrap()
    };
    let log_in = LogIn {
        identity_hash: Some(at("A").hash()),
        ..LogIn::default()
    };
    assert!(
        store
            .unlink_identity("ada", listed[0].id, false)
            .await
            .unwrap()
    );
    assert!(
        !store
            .unlink_identity("ada", listed[0].id, false)
            .await
            .unwrap()
    );
    let late = store.begin_session(&session, &token(3), log_in).await;
    refused(late, "taken away");
    assert_eq!(leads_to(store, at("A")).await, None);
}

pub async fn the_last_way_into_an_account_stays(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada"]).await;
    let (session, _) = session_of(store, "ada", 1).await;
    store.link_identity("ada", at("A"), session).await.unwrap();
    store
        .create_identified_user("bob", at("B"), None)
        .await
        .unwrap();
    let only = async |user: &str| store.identities(user).await.unwrap().remove(0).id;
    let (adas, bobs) = (only("ada").await, only("bob").await);
    refused(
        store.unlink_identity("bob", bobs, true).await,
        "nothing else",
    );
    refused(
        store.unlink_identity("ada", adas, false).await,
        "nothing else",
    );
    assert!(!store.unlink_identity("ada", bobs, true).await.unwrap());
    assert_eq!(leads_to(store, at("B")).await.as_deref(), Some("bob"));
    assert!(store.unlink_identity("ada", adas, true).await.unwrap());
}

pub async fn an_administrator_takes_any_way_in_and_is_told_what_is_left(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    store
        .create_identified_user("carol", at("C"), None)
        .await
        .unwrap();
    let (session, _) = session_of(store, "ada", 1).await;
    store.link_identity("ada", at("A"), session).await.unwrap();
    assert_eq!(store.ways_in("nobody").await.unwrap(), None);
    let ways_in = async |user| store.ways_in(user).await.unwrap().unwrap();
    assert_eq!(
        ways_in("bob").await,
        WaysIn {
            password: true,
            identities: Vec::new()
        }
    );
    let (adas, carols) = (ways_in("ada").await, ways_in("carol").await);
    assert!(adas.password && !carols.password);
    assert_eq!(adas.identities, store.identities("ada").await.unwrap());
    let (adas, carols) = (adas.identities[0].id, carols.identities[0].id);
    // Who does not administer takes nothing away, and nobody what leads elsewhere.
    refused(
        store
            .take_identity(Actor::Account("bob"), "ada", adas)
            .await,
        "only an administrator",
    );
    let take = async |user, id| {
        store
            .take_identity(Actor::Operator, user, id)
            .await
            .unwrap()
    };
    assert_eq!(take("bob", adas).await, None);
    assert_eq!(take("nobody", adas).await, None);
    let left = take("ada", adas).await.unwrap();
    assert!(left.password && left.identities.is_empty());
    assert_eq!(take("ada", adas).await, None);
    assert_eq!(leads_to(store, at("A")).await, None);
    assert_eq!(take("carol", carols).await, Some(WaysIn::default()));
    let lines = store.audit(None, 2).await.unwrap();
    for (line, of) in lines.iter().zip(["carol", "ada"]) {
        let told = (&*line.actor, &*line.deed, &*line.subject);
        assert_eq!(told, (OPERATOR, "took a single sign-on away", of));
    }
    // Who has no way in any more has one by a link.
    let link = token(3);
    let made = store.make_reset(Actor::Operator, "carol", &link, u64::MAX / 4);
    assert!(made.await.unwrap());
    store.use_reset(&link, "a hash").await.unwrap();
    assert!(ways_in("carol").await.password);
}

pub async fn a_link_to_reset_takes_away_every_other_way_in(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada", "bob"]).await;
    let (session, _) = session_of(store, "ada", 1).await;
    for subject in ["A", "B"] {
        let linked = store.link_identity("ada", at(subject), session);
        linked.await.unwrap();
    }
    let (bobs, hash) = session_of(store, "bob", 2).await;
    store.link_identity("bob", at("C"), bobs).await.unwrap();
    let bob = store.session(&hash, 0).await.unwrap().unwrap();
    let link = token(3);
    let made = store.make_reset(Actor::Operator, "ada", &link, u64::MAX / 4);
    assert!(made.await.unwrap());
    assert_eq!(leads_to(store, at("A")).await.as_deref(), Some("ada"));
    let ended = store.use_reset(&link, "another hash").await.unwrap();
    assert_eq!(ended, [session]);
    for subject in ["A", "B"] {
        assert_eq!(leads_to(store, at(subject)).await, None, "{subject}");
    }
    assert_eq!(leads_to(store, at("C")).await.as_deref(), Some("bob"));
    // Who was on the way in at this moment stays out, and links nothing any more.
    let late = Session {
        id: Uuid::new_v4(),
        user: "ada".to_owned(),
        ..bob
    };
    let log_in = LogIn {
        identity_hash: Some(at("A").hash()),
        ..LogIn::default()
    };
    let late = store.begin_session(&late, &token(4), log_in).await;
    refused(late, "taken away");
    let late = store.link_identity("ada", at("A"), session).await;
    refused(late, "has ended");
}

pub async fn an_identity_outlasts_its_account(side: Side) {
    let store = &*side.store;
    accounts(store, &["ada"]).await;
    store
        .create_identified_user("bob", at("B"), None)
        .await
        .unwrap();
    store
        .create_identified_user("carol", at("C"), None)
        .await
        .unwrap();
    let (_, hash) = session_of(store, "bob", 1).await;
    let bob = store.session(&hash, 0).await.unwrap().unwrap();
    let deleted = store.delete_account(Actor::Account("bob"), "bob", None, false);
    deleted.await.unwrap();
    let off = StandingChanges {
        disabled: Some(true),
        ..StandingChanges::default()
    };
    store
        .change_standing(Actor::Operator, "carol", off)
        .await
        .unwrap();
    for (user, subject) in [("bob", "B"), ("carol", "C")] {
        assert_eq!(leads_to(store, at(subject)).await.as_deref(), Some(user));
        let taken = store
            .create_identified_user("dave", at(subject), None)
            .await;
        assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
        let session = Session {
            id: Uuid::new_v4(),
            user: user.to_owned(),
            ..bob.clone()
        };
        let log_in = LogIn {
            identity_hash: Some(at(subject).hash()),
            ..LogIn::default()
        };
        refused(
            store.begin_session(&session, &token(9), log_in).await,
            "disabled",
        );
    }
}

pub async fn a_log_in_comes_back_once(side: Side) {
    let store = &*side.store;
    let spent = async |n| store.spend_sign_on(&token(n), 5_000).await.unwrap();
    assert_eq!(
        [spent(1).await, spent(2).await, spent(1).await],
        [true, true, false]
    );
    let both = join_all([3, 3, 3, 3].map(spent)).await;
    assert_eq!(both.iter().filter(|first| **first).count(), 1);
    store.sweep_door(4_999, 0).await.unwrap();
    assert!(!spent(1).await);
    store.sweep_door(5_000, 0).await.unwrap();
    assert!(spent(1).await);
}

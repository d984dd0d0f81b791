//! Tokens of programs.

use common::store::{Actor, ProgramToken, StandingChanges, StoreError, TOKENS_PER_USER};
use uuid::Uuid;

use super::{people::session_of, rooms::users, side::Side};

fn token(user: &str, n: u8) -> (ProgramToken, [u8; 32]) {
    let token = ProgramToken {
        id: Uuid::now_v7(),
        user: user.to_owned(),
        name: format!("Wächter {n} 🤖"),
        created_at_ms: 1_000 + u64::from(n),
        last_used_at_ms: None,
        expires_at_ms: None,
    };
    (token, [n; 32])
}

pub async fn a_token_holds_until_it_expires_or_is_revoked(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob"]).await;
    let (session, _) = session_of(&**store, "ada", 1).await;
    let (for_ever, hash) = token("ada", 1);
    let (short, short_hash) = token("ada", 2);
    let short = ProgramToken {
        expires_at_ms: Some(5_000),
        ..short
    };
    store.create_token(&for_ever, &hash, session).await.unwrap();
    store
        .create_token(&short, &short_hash, session)
        .await
        .unwrap();
    let found = async |hash, at| store.token(hash, at).await.unwrap();
    assert_eq!(found(&hash, u64::MAX).await, Some(for_ever.clone()));
    assert_eq!(found(&short_hash, 4_999).await, Some(short.clone()));
    assert_eq!(found(&short_hash, 5_000).await, None);
    assert_eq!(found(&[9; 32], 0).await, None);
    let listed = async |at| store.tokens("ada", at).await.unwrap();
    assert_eq!(listed(2_000).await, [short.clone(), for_ever.clone()]);
    assert_eq!(listed(5_000).await, std::slice::from_ref(&for_ever));
    assert!(store.tokens("bob", 0).await.unwrap().is_empty());

    let ids = [for_ever.id, short.id, Uuid::now_v7()];
    store.touch_tokens(&ids, 3_000).await.unwrap();
    assert_eq!(listed(5_000).await[0].last_used_at_ms, Some(3_000));
    let live = async |at| store.live_tokens(&ids, at).await.unwrap().len();
    assert_eq!((live(4_000).await, live(6_000).await), (2, 1));

    assert!(!store.revoke_token("bob", for_ever.id).await.unwrap());
    assert!(store.revoke_token("ada", for_ever.id).await.unwrap());
    assert!(!store.revoke_token("ada", for_ever.id).await.unwrap());
    assert_eq!(found(&hash, 2_000).await, None);
    assert_eq!(live(4_000).await, 1);
}

pub async fn a_token_of_a_disabled_account_is_worth_nothing(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    let (session, _) = session_of(&**store, "ada", 1).await;
    let (made, hash) = token("ada", 1);
    store.create_token(&made, &hash, session).await.unwrap();
    let off = StandingChanges {
        disabled: Some(true),
        ..StandingChanges::default()
    };
    let changed = store.change_standing(Actor::Operator, "ada", off).await;
    changed.unwrap();
    assert_eq!(store.token(&hash, 2_000).await.unwrap(), None);
    let live = store.live_tokens(&[made.id], 2_000).await;
    assert!(live.unwrap().is_empty());
    // And for good.
    let on = StandingChanges {
        disabled: Some(false),
        ..StandingChanges::default()
    };
    let changed = store.change_standing(Actor::Operator, "ada", on).await;
    changed.unwrap();
    assert_eq!(store.token(&hash, 2_000).await.unwrap(), None);

    // So it is when somebody else may have had the password.
    let (session, _) = session_of(&**store, "ada", 2).await;
    let (made, hash) = token("ada", 2);
    store.create_token(&made, &hash, session).await.unwrap();
    let link = [9; 32];
    store
        .make_reset(Actor::Operator, "ada", &link, u64::MAX / 4)
        .await
        .unwrap();
    let ended = store.use_reset(&link, "another hash").await.unwrap();
    assert!(ended.contains(&made.id), "its sockets are told");
    assert_eq!(store.token(&hash, 2_000).await.unwrap(), None);
}

pub async fn a_session_that_has_ended_makes_no_token(side: Side) {
    let store = &side.store;
    users(&side, &["ada", "bob"]).await;
    let (session, _) = session_of(&**store, "ada", 1).await;
    let (bobs, _) = session_of(&**store, "bob", 2).await;
    let (made, hash) = token("ada", 1);
    let refused = async |session| {
        let refused = store.create_token(&made, &hash, session).await;
        assert!(
            matches!(refused, Err(StoreError::Forbidden(_))),
            "{refused:?}"
        );
    };
    refused(bobs).await;
    assert!(store.end_session("ada", session).await.unwrap());
    refused(session).await;
    let (session, _) = session_of(&**store, "ada", 3).await;
    let off = StandingChanges {
        disabled: Some(true),
        ..StandingChanges::default()
    };
    let off = store.change_standing(Actor::Operator, "ada", off).await;
    off.unwrap();
    refused(session).await;
    assert_eq!(side.count("SELECT COUNT(*) FROM tokens").await, 0);
}

pub async fn nobody_has_more_tokens_than_one_may(side: Side) {
    let store = &side.store;
    users(&side, &["ada"]).await;
    let (session, _) = session_of(&**store, "ada", 1).await;
    for n in 0..TOKENS_PER_USER {
        let (made, hash) = token("ada", u8::try_from(n).unwrap());
        let made = ProgramToken {
            expires_at_ms: (n == 0).then_some(1_050),
            created_at_ms: 1_000,
            ..made
        };
        store.create_token(&made, &hash, session).await.unwrap();
    }
    let (late, hash) = token("ada", 200);
    let early = ProgramToken {
        created_at_ms: 1_000,
        ..late.clone()
    };
    let refused = store.create_token(&early, &hash, session).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    // One of them has expired by then.
    store.create_token(&late, &hash, session).await.unwrap();
}

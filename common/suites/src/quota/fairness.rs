//! Whose turn it is.

use std::{collections::HashMap, time::Duration};

use common::quota::{CallReport, QuotaTimings};
use tokio::time::sleep;

use super::side::{Asks, LONG, QuotaUnderTest, Side, calls, wish};

pub async fn whoever_had_least_goes_first(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(4), LONG).await;
    let mut last = None;
    for room in ["a", "b"] {
        let call = wish("flood", room, 1);
        side.one.calls(&call).await;
        last = Some(call);
    }
    for user in ["quiet", "calm"] {
        side.one.calls(&wish(user, user, 1)).await;
    }
    // All is taken. Two of the flood wait already when somebody comes who had one, and then somebody who had none.
    let flood = ["c", "d"].map(|room| wish("flood", room, 1));
    for call in &flood {
        side.one.asks(call).await.unwrap_err();
    }
    let quiet = wish("quiet", "quiet", 1);
    side.two.asks(&quiet).await.unwrap_err();
    let new = wish("new", "new", 1);
    side.two.asks(&new).await.unwrap_err();
    side.one
        .report("model", last.unwrap().id, CallReport::GivenBack)
        .await
        .unwrap();
    for later in [&flood[0], &flood[1], &quiet] {
        side.one.asks(later).await.unwrap_err();
    }
    side.two.asks(&new).await.unwrap();
}

pub async fn users_who_ask_alike_get_alike(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        window: Duration::from_secs(2),
        grace: Duration::from_secs(2),
        ..LONG
    };
    let side = Side::fresh(engine, calls(12), timings).await;
    // One has thirty rooms, two have two.
    let mut jobs = Vec::new();
    for (user, rooms) in [("flood", 30), ("ada", 2), ("bob", 2)] {
        for n in 0..rooms {
            let quota = side.one.clone();
            jobs.push(tokio::spawn(async move {
                let room = format!("{user}-{n}");
                let mut granted = 0;
                let end = tokio::time::Instant::now() + Duration::from_secs(9);
                while tokio::time::timeout_at(end, quota.calls(&wish(user, &room, 1)))
                    .await
                    .is_ok()
                {
                    granted += 1;
                }
                (user, granted)
            }));
        }
    }
    let mut granted = HashMap::<&str, u32>::new();
    for job in jobs {
        let (user, calls) = job.await.unwrap();
        *granted.entry(user).or_default() += calls;
    }
    // A third of the windows' calls is 16 to 20.
    let (flood, ada, bob) = (granted["flood"], granted["ada"], granted["bob"]);
    assert!(2 * ada >= flood && 2 * bob >= flood, "{granted:?}");
    assert!(flood > 0 && ada + bob + flood <= 12 * 6, "{granted:?}");
}

pub async fn a_busy_room_leaves_room_for_another(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(10), LONG).await;
    let mut granted = 0;
    for n in 0..20 {
        let user = format!("user-{n}");
        granted += u32::from(side.one.asks(&wish(&user, "busy", 1)).await.is_ok());
    }
    assert!((5..=7).contains(&granted), "{granted}");
    side.two
        .asks(&wish("somebody", "elsewhere", 1))
        .await
        .unwrap();
}

pub async fn who_vanishes_holds_up_nobody(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        grace: Duration::from_millis(200),
        ..LONG
    };
    let side = Side::fresh(engine, calls(1), timings).await;
    let first = wish("ada", "lobby", 1);
    side.one.calls(&first).await;
    // Had nothing yet, so it is before everybody; and is never heard of again.
    side.one.asks(&wish("ghost", "ghost", 1)).await.unwrap_err();
    side.one
        .report("model", first.id, CallReport::GivenBack)
        .await
        .unwrap();
    let bob = wish("bob", "attic", 1);
    side.two.asks(&bob).await.unwrap_err();
    sleep(Duration::from_millis(300)).await;
    side.two.calls(&bob).await;
}

pub async fn who_leaves_makes_way(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(1), LONG).await;
    let (first, ghost, bob) = (
        wish("ada", "lobby", 1),
        wish("ghost", "ghost", 1),
        wish("bob", "attic", 1),
    );
    side.one.calls(&first).await;
    side.one.asks(&ghost).await.unwrap_err();
    side.two.asks(&bob).await.unwrap_err();
    side.one
        .report("model", first.id, CallReport::GivenBack)
        .await
        .unwrap();
    side.two.asks(&bob).await.unwrap_err();
    side.one
        .report("model", ghost.id, CallReport::GivenBack)
        .await
        .unwrap();
    side.two.asks(&bob).await.unwrap();
}

pub async fn one_user_alone_does_not_take_all_at_once(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(10), LONG).await;
    let mut granted = 0;
    for n in 0..20 {
        let room = format!("room-{n}");
        granted += u32::from(side.one.asks(&wish("flood", &room, 1)).await.is_ok());
    }
    assert!((5..=7).contains(&granted), "{granted}");
    for user in ["ada", "bob"] {
        side.two.asks(&wish(user, user, 1)).await.unwrap();
    }
}

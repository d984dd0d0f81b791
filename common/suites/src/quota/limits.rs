//! How much there is.

use std::{num::NonZeroU32, time::Duration};

use common::quota::{CallReport, CallRequest, QuotaLimits, QuotaTimings, Reservation};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::side::{Asks, LONG, QuotaUnderTest, Side, calls, tokens, wish};

const MINUTE: Duration = Duration::from_secs(60);

pub async fn what_is_full_says_when_there_is_room_again(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        window: MINUTE,
        ..LONG
    };
    let side = Side::fresh(engine, calls(2), timings).await;
    let began = Instant::now();
    side.one.asks(&wish("ada", "lobby", 1)).await.unwrap();
    side.two.asks(&wish("bob", "attic", 1)).await.unwrap();
    let wait = side.two.asks(&wish("eve", "cellar", 1)).await.unwrap_err();
    assert!(
        wait <= MINUTE && wait + began.elapsed() >= MINUTE,
        "{wait:?}"
    );
    // Whoever comes after that one waits until the second call leaves; whoever is third, for another minute.
    side.one.asks(&wish("may", "garden", 1)).await.unwrap_err();
    let wait = side.one.asks(&wish("ian", "garage", 1)).await.unwrap_err();
    assert!(wait > MINUTE && wait <= 2 * MINUTE, "{wait:?}");
}

pub async fn no_window_sees_more_calls_than_its_quota(engine: &dyn QuotaUnderTest) {
    const QUOTA: usize = 20;
    let timings = QuotaTimings {
        window: Duration::from_secs(2),
        margin: Duration::from_millis(20),
        lease: Duration::from_secs(5),
        grace: Duration::from_secs(1),
        ..LONG
    };
    let side = Side::fresh(engine, calls(QUOTA as u32), timings).await;
    let jobs: Vec<_> = (0..10)
        .map(|n| {
            let quota = [&side.one, &side.two][n % 2].clone();
            tokio::spawn(async move {
                let name = format!("user-{n}");
                let mut times = Vec::new();
                for _ in 0..6 {
                    let before = Instant::now();
                    quota.calls(&wish(&name, &name, 1)).await;
                    times.push((before, Instant::now()));
                }
                times
            })
        })
        .collect();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for job in jobs {
        let times = job.await.unwrap();
        before.extend(times.iter().map(|(before, _)| *before));
        after.extend(times.iter().map(|(_, after)| *after));
    }
    // As many windows have passed as so many calls need.
    before.sort_unstable();
    after.sort_unstable();
    for (lap, ended) in after.iter().skip(QUOTA).step_by(QUOTA).enumerate() {
        assert!(*ended - before[0] >= timings.window * (lap as u32 + 1));
    }
}

pub async fn tokens_count_as_estimated_and_then_as_they_were(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, tokens(1_000), LONG).await;
    let first = wish("ada", "lobby", 600);
    side.one.calls(&first).await;
    let second = wish("bob", "attic", 600);
    side.two.asks(&second).await.unwrap_err();
    assert!(
        side.one
            .report("model", first.id, CallReport::Cost(300))
            .await
            .unwrap()
    );
    let Reservation::Granted { calls, tokens } = side.two.reserve(&second).await.unwrap() else {
        panic!("there is room now");
    };
    assert_eq!(calls, 2);
    assert!((600..=900).contains(&tokens), "{tokens}");
}

pub async fn estimates_learn_from_costs(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, tokens(1_000_000), LONG).await;
    for _ in 0..30 {
        let wish = wish("ada", "lobby", 100);
        side.one.calls(&wish).await;
        side.one
            .report("model", wish.id, CallReport::Cost(200))
            .await
            .unwrap();
    }
    let Reservation::Granted { tokens, .. } =
        side.two.reserve(&wish("bob", "attic", 100)).await.unwrap()
    else {
        panic!("there is room");
    };
    assert!((6_000 + 195..=6_000 + 201).contains(&tokens), "{tokens}");
}

pub async fn a_prompt_larger_than_the_quota_goes_when_it_is_alone(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, tokens(1_000), LONG).await;
    side.one.asks(&wish("ada", "lobby", 50_000)).await.unwrap();
    side.one.asks(&wish("bob", "attic", 1)).await.unwrap_err();
}

pub async fn a_grant_that_does_not_begin_comes_back(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        lease: Duration::from_millis(300),
        ..LONG
    };
    let side = Side::fresh(engine, calls(1), timings).await;
    let lost = wish("ada", "lobby", 1);
    side.one.asks(&lost).await.unwrap();
    let began = Instant::now();
    let next = wish("bob", "attic", 1);
    side.two.calls(&next).await;
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(
        !side
            .one
            .report("model", lost.id, CallReport::Began)
            .await
            .unwrap()
    );
    assert!(
        !side
            .one
            .report("model", lost.id, CallReport::GivenBack)
            .await
            .unwrap()
    );
    side.one.asks(&wish("eve", "cellar", 1)).await.unwrap_err();
}

pub async fn a_grant_that_began_stays_for_its_window(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        window: Duration::from_secs(2),
        lease: Duration::from_millis(200),
        grace: Duration::from_secs(1),
        ..LONG
    };
    let side = Side::fresh(engine, calls(1), timings).await;
    let before = Instant::now();
    side.one.calls(&wish("ada", "lobby", 1)).await;
    // Its caller is killed now, and never settles.
    side.two.calls(&wish("bob", "attic", 1)).await;
    assert!(before.elapsed() >= timings.window, "{:?}", before.elapsed());
}

pub async fn a_refused_call_gives_its_place_back(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(1), LONG).await;
    let (refused, bob) = (wish("ada", "lobby", 1), wish("bob", "attic", 1));
    side.one.calls(&refused).await;
    side.two.asks(&bob).await.unwrap_err();
    for is_there in [true, false] {
        let given_back = side
            .one
            .report("model", refused.id, CallReport::GivenBack)
            .await;
        assert_eq!(given_back.unwrap(), is_there);
    }
    side.one.asks(&wish("ada", "lobby", 1)).await.unwrap_err(); // bob is before her
    side.two.asks(&bob).await.unwrap();
}

pub async fn a_grant_is_granted_once(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(2), LONG).await;
    let wish = wish("ada", "lobby", 1);
    for _ in 0..3 {
        side.one.asks(&wish).await.unwrap();
    }
    let granted = side
        .two
        .reserve(&CallRequest {
            id: Uuid::now_v7(),
            user: "bob",
            room: "attic",
            ..wish
        })
        .await
        .unwrap();
    assert!(
        matches!(granted, Reservation::Granted { calls: 2, .. }),
        "{granted:?}"
    );
}

pub async fn a_pause_is_everybodys(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, QuotaLimits::default(), LONG).await;
    side.one.pause("model", MINUTE).await.unwrap();
    side.one
        .pause("model", Duration::from_secs(1))
        .await
        .unwrap();
    let wait = side.two.asks(&wish("ada", "lobby", 1)).await.unwrap_err();
    assert!(wait <= MINUTE && wait > MINUTE / 2, "{wait:?}");
    let other = CallRequest {
        model: "other",
        ..wish("ada", "lobby", 1)
    };
    side.two.asks(&other).await.unwrap();
    side.one
        .pause("other", Duration::from_millis(200))
        .await
        .unwrap();
    side.two.asks(&other).await.unwrap_err();
    sleep(Duration::from_millis(200)).await;
    side.two.asks(&other).await.unwrap();
}

pub async fn a_day_has_an_end(engine: &dyn QuotaUnderTest) {
    let limits = QuotaLimits {
        daily_calls: NonZeroU32::new(1),
        ..QuotaLimits::default()
    };
    let side = Side::fresh(engine, limits, LONG).await;
    side.one.calls(&wish("ada", "lobby", 1)).await;
    let wait = side.two.asks(&wish("bob", "attic", 1)).await.unwrap_err();
    assert!(wait <= 24 * 60 * MINUTE, "{wait:?}");
}

pub async fn models_have_a_quota_each(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, calls(1), LONG).await;
    let wish = wish("ada", "lobby", 1);
    side.one.asks(&wish).await.unwrap();
    let other = CallRequest {
        model: "other",
        ..wish
    };
    side.one.asks(&other).await.unwrap();
}

pub async fn no_limit_is_no_wait(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, QuotaLimits::default(), LONG).await;
    for _ in 0..100 {
        side.one.calls(&wish("ada", "lobby", 1_000_000)).await;
    }
}

//! How much one person may ask, and how many workers there are.

use std::{num::NonZeroU32, time::Duration};

use common::{
    quota::{QuotaLimits, QuotaTimings},
    wire::now_seq,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::side::{LONG, PATIENCE, QuotaUnderTest, Side};

const MINUTE: QuotaTimings = QuotaTimings {
    window: Duration::from_secs(60),
    ..LONG
};
const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();

pub async fn one_person_may_ask_so_often_a_minute(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, QuotaLimits::default(), MINUTE).await;
    let now = now_seq();
    let asks = async |user: &str, at| side.one.admit(user, Uuid::now_v7(), at, TWO).await.unwrap();
    assert_eq!(asks("ada", now - 30_000_000).await, None);
    assert_eq!(asks("ada", now - 1_000).await, None);
    for _ in 0..3 {
        let wait = asks("ada", now).await.unwrap();
        assert!(
            wait <= Duration::from_secs(31) && wait + PATIENCE >= Duration::from_secs(30),
            "{wait:?}"
        );
    }
    assert_eq!(asks("bob", now).await, None);
    // A minute after the first of them was posted, one more counts, whenever that is worked off.
    assert_eq!(asks("ada", now + 30_000_001).await, None);
    assert!(asks("ada", now + 30_000_002).await.is_some());
}

pub async fn a_request_that_comes_again_counts_once(engine: &dyn QuotaUnderTest) {
    let side = Side::fresh(engine, QuotaLimits::default(), MINUTE).await;
    let (now, [first, second, third]) = (now_seq(), [(); 3].map(|()| Uuid::now_v7()));
    for request in [first, first, second, first] {
        let wait = side.two.admit("ada", request, now, TWO).await.unwrap();
        assert_eq!(wait, None);
    }
    assert!(
        side.one
            .admit("ada", third, now, TWO)
            .await
            .unwrap()
            .is_some()
    );
}

pub async fn workers_are_counted_while_they_show(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        seen: Duration::from_secs(2),
        ..LONG
    };
    let side = Side::fresh(engine, QuotaLimits::default(), timings).await;
    assert_eq!(side.one.workers("one").await.unwrap().workers, 1);
    assert_eq!(side.one.workers("one").await.unwrap().workers, 1);
    let both = side.two.workers("two").await.unwrap().workers;
    assert!(both <= 2);
    let until = Instant::now() + PATIENCE;
    while side.one.workers("one").await.unwrap().workers > 1 {
        assert!(Instant::now() < until, "the other never goes");
        sleep(Duration::from_millis(50)).await;
    }
}

pub async fn it_is_known_since_when_there_has_been_a_worker(engine: &dyn QuotaUnderTest) {
    let timings = QuotaTimings {
        gap: Duration::from_secs(3),
        ..LONG
    };
    let side = Side::fresh(engine, QuotaLimits::default(), timings).await;
    let first = side.one.workers("one").await.unwrap().since;
    for (process, worker) in [
        (&side.two, "two"),
        (&side.one, "one"),
        (&side.two, "another"),
    ] {
        let fleet = process.workers(worker).await.unwrap();
        assert_eq!(fleet.since, first, "{worker} came while others were there");
        assert!(fleet.now > first);
    }
    // All of them go, and after a while one comes.
    sleep(timings.gap).await;
    let again = side.two.workers("later").await.unwrap().since;
    assert!(
        again - first > timings.gap.as_micros() as u64,
        "{first} {again}"
    );
    assert_eq!(side.one.workers("one").await.unwrap().since, again);
}

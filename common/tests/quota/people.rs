//! How much one person may ask, and how many workers there are.

use std::{num::NonZeroU32, time::Duration};

use common::{
    quota::{Limits, Timings},
    wire::now_seq,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::side::{Kind, LONG, PATIENCE, Side};

const MINUTE: Timings = Timings {
    window: Duration::from_secs(60),
    ..LONG
};
const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();

pub async fn one_person_may_ask_so_often_a_minute(kind: Kind) {
    let side = Side::fresh(kind, Limits::default(), MINUTE).await;
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

pub async fn a_request_that_comes_again_counts_once(kind: Kind) {
    let side = Side::fresh(kind, Limits::default(), MINUTE).await;
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

pub async fn workers_are_counted_while_they_show(kind: Kind) {
    let timings = Timings {
        seen: Duration::from_secs(2),
        ..LONG
    };
    let side = Side::fresh(kind, Limits::default(), timings).await;
    assert_eq!(side.one.workers("one").await.unwrap(), 1);
    assert_eq!(side.one.workers("one").await.unwrap(), 1);
    let both = side.two.workers("two").await.unwrap();
    assert!(both <= 2);
    let until = Instant::now() + PATIENCE;
    while side.one.workers("one").await.unwrap() > 1 {
        assert!(Instant::now() < until, "the other never goes");
        sleep(Duration::from_millis(50)).await;
    }
}

//! Whoever has a free slot takes what is next, whosever delivery it is; and nobody's many requests stand before another's
//! one.

use common::quota::{
    QuotaLimits,
    run_queue::{LOOKED_THROUGH, Offer, Place, RunQueue},
};
use uuid::Uuid;

use super::side::{LONG, QuotaUnderTest, Side};

async fn fresh(engine: &dyn QuotaUnderTest) -> Side {
    Side::fresh(engine, QuotaLimits::default(), LONG).await
}

async fn offers<Q: RunQueue + ?Sized>(queue: &Q, user: &str, asked: u64) -> Offer {
    let place = Place {
        asked,
        id: Uuid::new_v4(),
    };
    let offer = Offer {
        place,
        user: user.into(),
        work: format!("{{\"says\": \"{asked}\nof {user}\"}}"),
    };
    queue.offer(&offer).await.unwrap();
    offer
}

async fn taken<Q: RunQueue + ?Sized>(queue: &Q) -> Option<Offer> {
    queue.take(&[]).await.unwrap()
}

pub async fn what_one_worker_offers_another_takes_and_only_once(engine: &dyn QuotaUnderTest) {
    let side = fresh(engine).await;
    assert_eq!(taken(&*side.two).await, None);
    let offer = offers(&*side.one, "ada", 7).await;
    assert_eq!(side.two.before(offer.place).await.unwrap(), Some(0));
    assert_eq!(taken(&*side.two).await.as_ref(), Some(&offer));
    assert_eq!(taken(&*side.one).await, None);
    assert_eq!(side.one.before(offer.place).await.unwrap(), None);
    assert!(!side.one.withdraw(offer.place).await.unwrap());
}

pub async fn of_those_who_have_as_much_the_older_goes_first(engine: &dyn QuotaUnderTest) {
    let side = fresh(engine).await;
    for (user, asked) in [("eve", 1_000), ("ada", 999), ("bob", 1_001)] {
        offers(&*side.one, user, asked).await;
    }
    for wanted in ["ada", "eve", "bob"] {
        assert_eq!(taken(&*side.two).await.unwrap().user, wanted);
    }
}

pub async fn nobodys_many_stand_before_anothers_one(engine: &dyn QuotaUnderTest) {
    let side = fresh(engine).await;
    for asked in 1..=50 {
        offers(&*side.one, "flood", asked).await;
    }
    for _ in 0..3 {
        assert_eq!(taken(&*side.two).await.unwrap().user, "flood");
    }
    let one = offers(&*side.two, "ada", 100).await;
    let next = offers(&*side.two, "ada", 101).await;
    assert_eq!(side.one.before(one.place).await.unwrap(), Some(1));
    assert_eq!(side.one.before(next.place).await.unwrap(), Some(3));
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(taken(&*side.one).await.unwrap().user);
    }
    assert_eq!(users, ["flood", "ada", "flood", "ada"]);
    // Whoever had their turn stands with the others again, not before them.
    offers(&*side.one, "ada", 102).await;
    assert_eq!(taken(&*side.one).await.unwrap().user, "flood");
    assert_eq!(taken(&*side.one).await.unwrap().user, "ada");
}

pub async fn whoever_is_passed_over_keeps_their_place(engine: &dyn QuotaUnderTest) {
    let side = fresh(engine).await;
    let first = offers(&*side.one, "ada", 1).await;
    let second = offers(&*side.one, "bob", 2).await;
    let passed_over = ["ada".to_owned(), "eve".to_owned()];
    let take = async || side.two.take(&passed_over).await.unwrap();
    assert_eq!(take().await, Some(second));
    assert_eq!(take().await, None);
    assert_eq!(taken(&*side.two).await, Some(first));
    for asked in 0..LOOKED_THROUGH as u64 + 1 {
        offers(&*side.one, "ada", asked).await;
    }
    assert_eq!(take().await, None);
}

pub async fn what_is_withdrawn_is_given_to_nobody(engine: &dyn QuotaUnderTest) {
    let side = fresh(engine).await;
    let first = offers(&*side.one, "ada", 1).await;
    let second = offers(&*side.one, "ada", 2).await;
    assert!(side.two.withdraw(first.place).await.unwrap());
    assert!(!side.two.withdraw(first.place).await.unwrap());
    assert_eq!(side.two.before(first.place).await.unwrap(), None);
    assert_eq!(taken(&*side.one).await, Some(second));
    assert_eq!(taken(&*side.one).await, None);
}

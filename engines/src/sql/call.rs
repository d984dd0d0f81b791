//! One call of the store: takes a connection, runs its statements, and begins again where another transaction was in
//! the way, all within one time limit.
//!
//! Macros, not functions that take an async closure: that such a closure's future may be sent between threads cannot
//! be said of every lifetime of the connection it borrows, and the store's promise asks for it.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::{failure::Failure, limits::CALL_LIMIT};

/// Attempts beside the first at what lost against another transaction. With the back-off they take some 2 s.
const RETRIES: usize = 12;

/// Statements on a connection that is leased by `$lease`.
macro_rules! call {
    ($lease:expr, |$db:ident| $statements:block) => {
        $crate::sql::call::within_limit(async {
            let mut retries = $crate::sql::call::Retries::new();
            loop {
                let attempt = async {
                    let mut lease = $lease.await?;
                    let $db: &mut Connection = lease.connection();
                    let outcome: Result<_, $crate::sql::failure::Failure> =
                        async { $statements }.await;
                    lease.end(outcome)
                };
                match attempt.await {
                    Err($crate::sql::failure::Failure::Again(why)) => retries.wait(why).await?,
                    settled => break settled,
                }
            }
        })
    };
}

/// `reading!(store, |db| { ... })`: statements that only read.
macro_rules! reading {
    ($store:expr, |$db:ident| $statements:block) => {
        $crate::sql::call::call!($store.reader(), |$db| $statements)
    };
}

/// `writing!(store, |db| { ... })`: one statement that writes.
macro_rules! writing {
    ($store:expr, |$db:ident| $statements:block) => {
        $crate::sql::call::call!($store.writer(), |$db| $statements)
    };
}

/// `transaction!(store, |db| { ... })`: several statements, all or none; none if the block gives an error.
macro_rules! transaction {
    ($store:expr, |$db:ident| $statements:block) => {
        $crate::sql::call::call!($store.writer(), |connection| {
            use sqlx::Connection as _;
            let mut transaction = connection.begin_with(super::dialect::BEGIN).await?;
            let $db: &mut Connection = &mut transaction;
            let outcome: Result<_, $crate::sql::failure::Failure> = async { $statements }.await;
            match outcome {
                Ok(_) => transaction.commit().await?,
                // At once, so that its locks are not held until the connection is used again. A server that is away
                // does it by itself.
                Err($crate::sql::failure::Failure::Away(_)) => (),
                Err(_) => transaction.rollback().await?,
            }
            outcome
        })
    };
}

pub(super) use {call, reading, transaction, writing};

/// Ends a call that takes too long.
pub(super) async fn within_limit<T>(
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Away(format!("no answer within {CALL_LIMIT:?}"))),
    }
}

/// The waits between attempts at what lost against another transaction.
pub(super) struct Retries(ExponentialBackoff);

impl Retries {
    pub(super) fn new() -> Retries {
        let waits = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(2))
            .with_max_delay(Duration::from_millis(250))
            .with_max_times(RETRIES)
            .with_jitter();
        Retries(waits.build())
    }

    /// Waits before the next attempt; fails if there is to be none.
    pub(super) async fn wait(&mut self, why: String) -> Result<(), Failure> {
        match self.0.next() {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Err(Failure::Away(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::limits::ACQUIRE_LIMIT, *};

    #[test]
    fn attempts_come_to_an_end_before_the_call_does() {
        let waits: Vec<Duration> = Retries::new().0.collect();
        assert_eq!(waits.len(), RETRIES);
        assert!(waits.iter().sum::<Duration>() < CALL_LIMIT - ACQUIRE_LIMIT / 2);
    }
}

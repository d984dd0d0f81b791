//! One call of the store: takes a connection, runs its statements, and begins again where another transaction was in
//! the way, all within one time limit.
//!
//! Macros, not functions that take an async closure: that such a closure's future may be sent between threads cannot
//! be said of every lifetime of the connection it borrows, and the store's promise asks for it.

use std::time::Duration;

use common::retry::{Retry, RetryPolicy, Retryable, retry};

use super::{failure::Failure, limits::CALL_LIMIT};

/// Attempts at what loses against another transaction. With the pauses between them they take some 2 s.
const ATTEMPTS: usize = 18;
const BEGIN_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(2), Duration::from_millis(250)).attempts(ATTEMPTS);

/// Statements on a connection that is leased by `$lease`, and what the server is called that it leads to.
macro_rules! call {
    ($lease:expr, |$db:ident $(, $server:ident)?| $statements:block) => {
        $crate::sql::call::within_limit(super::dialect::ENGINE, || async {
            let mut lease = $lease.await?;
            $(let $server = lease.server();)?
            let $db: &mut Connection = lease.connection();
            let outcome: Result<_, $crate::sql::failure::Failure> = async { $statements }.await;
            lease.end(outcome)
        })
    };
}

/// `reading!(store, |db| { ... })`: statements that only read; `|db, server|` where it matters who answered.
macro_rules! reading {
    ($store:expr, |$db:ident $(, $server:ident)?| $statements:block) => {
        $crate::sql::call::call!($store.reader(), |$db $(, $server)?| $statements)
    };
}

/// `writing!(store, |db| { ... })`: one statement that writes.
macro_rules! writing {
    ($store:expr, |$db:ident| $statements:block) => {
        $store
            .writes
            .noted($crate::sql::call::call!($store.writer(), |$db| $statements))
    };
}

/// `transaction!(store, |db| { ... })`: several statements, all or none; none if the block gives an error.
macro_rules! transaction {
    ($store:expr, |$db:ident| $statements:block) => {
        $store.writes.noted($crate::sql::call::call!($store.writer(), |connection| {
            use sqlx::Connection as _;
            let mut transaction = connection.begin_with(super::dialect::BEGIN).await?;
            let $db: &mut Connection = &mut transaction;
            let outcome: Result<_, $crate::sql::failure::Failure> = async { $statements }.await;
            match outcome {
                Ok(_) => transaction.commit().await?,
                // At once, so that its locks are not held until the connection is used again. A server that is away
                // does it by itself.
                Err($crate::sql::failure::Failure::Away(_)
                    | $crate::sql::failure::Failure::Unexplained(_)
                    | $crate::sql::failure::Failure::ReadOnly(_)) => (),
                Err(_) => transaction.rollback().await?,
            }
            outcome
        }))
    };
}

pub(super) use {call, reading, transaction, writing};

/// Tries as often as the failures and the policy allow, and ends a call that takes too long. What it fails with names the
/// engine.
pub(super) async fn within_limit<T, F: Future<Output = Result<T, Failure>>>(
    engine: &str,
    attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    let call = retry(BEGIN_AGAIN, attempt, |_, _| ());
    let outcome = match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Away(format!("no answer within {CALL_LIMIT:?}"))),
    };
    outcome.map_err(|failure| failure.of(engine))
}

impl Retryable for Failure {
    fn retry(&self) -> Retry {
        match self {
            Failure::Again(_) => Retry::Again,
            // An engine that is away is not waited for while the caller waits.
            Failure::Away(_)
            | Failure::Unexplained(_)
            | Failure::ReadOnly(_)
            | Failure::Duplicate
            | Failure::Rejected(_)
            | Failure::Refused(_) => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::limits::ACQUIRE_LIMIT, *};

    #[test]
    fn attempts_come_to_an_end_before_the_call_does() {
        let mut back_off = BEGIN_AGAIN.back_off();
        let pauses = (1..ATTEMPTS).map(|_| back_off.next_longest());
        assert!(pauses.sum::<Duration>() < CALL_LIMIT - ACQUIRE_LIMIT / 2);
    }
}

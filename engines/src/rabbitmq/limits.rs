//! How long one step with the broker may take, and what is wrong when it does not come to pass: the kind of error is
//! read here, once, from the protocol's own codes.

use std::time::Duration;

use common::queue::QueueError;
use lapin::{
    ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
};
use tokio::time::timeout;

/// How long one question to the broker may take.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(5);

/// When another attempt makes sense while the broker is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a step was not done. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokerError {
    /// The broker is away, or stands still.
    #[error("{0}")]
    Away(String),
    /// The broker is there and has lost what was named. It is declared again.
    #[error("{0}")]
    Missing(String),
    /// The broker is there and says no: to who asks, to the virtual host, or to what is there with other properties.
    #[error("{0}")]
    Refused(String),
}

impl BrokerError {
    /// What did not answer within [`STEP_LIMIT`].
    pub(super) fn no_answer() -> BrokerError {
        BrokerError::Away(format!("no answer within {} s", STEP_LIMIT.as_secs()))
    }

    /// Whether time alone can mend it; if not, somebody has to change a setting or what is on the broker.
    pub(super) fn is_mended_by_waiting(&self) -> bool {
        !matches!(self, BrokerError::Refused(_))
    }

    /// The same kind of error, with other words.
    pub(super) fn in_words(self, words: impl FnOnce(String) -> String) -> BrokerError {
        match self {
            BrokerError::Away(why) => BrokerError::Away(words(why)),
            BrokerError::Missing(why) => BrokerError::Missing(words(why)),
            BrokerError::Refused(why) => BrokerError::Refused(words(why)),
        }
    }
}

impl From<lapin::Error> for BrokerError {
    fn from(error: lapin::Error) -> BrokerError {
        let why = error.to_string();
        match protocol_error(&error) {
            Some(
                AMQPErrorKind::Soft(
                    AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED,
                )
                | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED),
            ) => BrokerError::Refused(why),
            Some(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)) => BrokerError::Missing(why),
            _ => BrokerError::Away(why),
        }
    }
}

/// Whether the broker has something of this name with other properties than were declared.
pub(super) fn is_misdeclared(error: &lapin::Error) -> bool {
    let precondition = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
    protocol_error(error) == Some(&precondition)
}

fn protocol_error(error: &lapin::Error) -> Option<&AMQPErrorKind> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.kind()),
        _ => None,
    }
}

/// One step with the broker, ended after [`STEP_LIMIT`].
pub(super) async fn in_time<T>(
    step: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match timeout(STEP_LIMIT, step).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(BrokerError::no_answer()),
    }
}

/// The broker could not do it now.
pub(super) fn unavailable(why: impl ToString) -> QueueError {
    QueueError::Unavailable {
        why: format!("RabbitMQ (AMQP_URL): {}", why.to_string()),
        retry_after: RETRY_AFTER,
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn what_the_broker_refuses_is_not_mended_by_waiting() {
        let sorted = |kind| {
            let error = AMQPError::new(kind, "whatever it says".into());
            BrokerError::from(lapin::Error::from(ErrorKind::ProtocolError(error)))
        };
        for kind in [
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED),
        ] {
            assert!(!sorted(kind).is_mended_by_waiting());
        }
        for kind in [
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND),
            AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED),
            AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED),
        ] {
            assert!(sorted(kind).is_mended_by_waiting());
        }
        let io = lapin::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(BrokerError::from(io).is_mended_by_waiting());
    }
}

//! What every service declares on the broker, always the same, when it starts and when something of it is missing. So
//! it does not matter which one is started first, and what someone deleted is there again. Not at each connection:
//! in RabbitMQ 3.10 a binding, be it there already, is an agreement of all nodes, and waits for one that stands still.

use common::queue::{DELIVERY_LIMIT, QueueName, Route};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

use super::{
    headers::{table, text},
    limits::{BrokerError, STEP_LIMIT, is_misdeclared},
    partitions::{self, routing_key},
};

/// Where messages are published to. Direct: a routing key is a route, and nothing has to be matched.
pub(super) const EXCHANGE: &str = "chat";

/// Where dead letters are published to; the routing key is the name of the queue they were in.
pub(super) const DEAD_EXCHANGE: &str = "chat.dead";

/// An operator may browse over a dead letter this often before the broker would drop it: for ever. A limit must be
/// named, because newer brokers have one of 20 of their own.
const BROWSES_MAX: i64 = 1_000_000_000;

/// The queue that keeps a queue's dead letters.
pub(super) fn dead_queue(queue: QueueName) -> &'static str {
    match queue {
        QueueName::Persist => "persist.dead",
        QueueName::BotRequests => "bot.requests.dead",
    }
}

/// Declares all of it when a process starts. What is there already is compared, and need not be agreed upon.
///
/// # Errors
/// As [`declare`] does.
pub(super) async fn declare_at_start(
    connection: &Connection,
    partitions: usize,
) -> Result<(), BrokerError> {
    let channel = in_time("a channel", connection.create_channel()).await?;
    declare_places(&channel, partitions).await?;
    match bind_all(&channel, partitions).await {
        // Unless this is the very first start, they have been there for as long as the exchange. If not, or if there are more
        // partitions now, the first message is returned, and all is declared. (To ask whether the exchange is there would be answered with an error, which the
        // client logs as one.)
        Err(BrokerError::Away(why)) => {
            tracing::warn!(why, "RabbitMQ does not bind what is probably bound");
            Ok(())
        }
        bound => bound,
    }
}

/// Declares all of it if this broker has never heard of it. What else is missing shows when it is used.
///
/// # Errors
/// As [`declare`] does.
pub(super) async fn declare_if_lost(
    connection: &Connection,
    partitions: usize,
) -> Result<(), BrokerError> {
    if is_lost(connection).await? {
        declare(connection, partitions).await
    } else {
        Ok(())
    }
}

/// Whether the exchange is not there. Every node knows that by itself.
async fn is_lost(connection: &Connection) -> Result<bool, BrokerError> {
    let channel = in_time("a channel", connection.create_channel()).await?;
    let options = ExchangeDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let kind = ExchangeKind::Direct;
    let asked = channel.exchange_declare(EXCHANGE.into(), kind, options, FieldTable::default());
    match in_time(&format!("the exchange `{EXCHANGE}`"), asked).await {
        Err(BrokerError::Missing(_)) => Ok(true),
        answer => answer.map(|()| false),
    }
}

/// Declares all of it.
///
/// # Errors
/// [`BrokerError::Refused`], with its name, if something of this name is there with other arguments: it has to be
/// removed by hand, because it may hold messages.
pub(super) async fn declare(connection: &Connection, partitions: usize) -> Result<(), BrokerError> {
    let channel = in_time("a channel", connection.create_channel()).await?;
    declare_places(&channel, partitions).await?;
    bind_all(&channel, partitions).await
}

/// The exchanges and the queues.
async fn declare_places(channel: &Channel, partitions: usize) -> Result<(), BrokerError> {
    for exchange in [EXCHANGE, DEAD_EXCHANGE] {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let declared = channel.exchange_declare(
            exchange.into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        );
        in_time(&format!("the exchange `{exchange}`"), declared).await?;
    }
    for queue in QueueName::ALL {
        for partition in 0..partitions {
            let name = partitions::queue(queue, partition);
            declare_queue(channel, name, arguments(queue, partition)).await?;
        }
        declare_queue(channel, dead_queue(queue), dead_arguments()).await?;
    }
    Ok(())
}

async fn bind_all(channel: &Channel, partitions: usize) -> Result<(), BrokerError> {
    for queue in QueueName::ALL {
        bind(channel, DEAD_EXCHANGE, queue.as_str(), dead_queue(queue)).await?;
    }
    for partition in 0..partitions {
        for route in [Route::Persist, Route::PersistAndAsk] {
            for queue in route.queues() {
                let name = partitions::queue(*queue, partition);
                bind(channel, EXCHANGE, routing_key(route, partition), name).await?;
            }
        }
    }
    Ok(())
}

async fn declare_queue(
    channel: &Channel,
    name: &str,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(name.into(), options, arguments);
    in_time(&format!("the queue `{name}`"), declared)
        .await
        .map(drop)
}

async fn bind(
    channel: &Channel,
    exchange: &str,
    key: &str,
    queue: &str,
) -> Result<(), BrokerError> {
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(
        queue.into(),
        exchange.into(),
        key.into(),
        options,
        FieldTable::default(),
    );
    in_time(&format!("the binding of `{queue}` to `{exchange}`"), bound).await
}

/// On disk on a majority of nodes before it is confirmed; refused when full, never dropped; dead-lettered without a
/// gap in which it is in neither queue. All partitions of a queue have their dead letters in one place. The leader of the
/// first is where it was always put, on the node that declares it; those of others go to whichever node leads fewest.
fn arguments(queue: QueueName, partition: usize) -> FieldTable {
    let mut arguments = table([
        ("x-queue-type", text("quorum")),
        (
            "x-delivery-limit",
            AMQPValue::LongLongInt(i64::from(DELIVERY_LIMIT)),
        ),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(DEAD_EXCHANGE)),
        ("x-dead-letter-routing-key", text(queue.as_str())),
        ("x-dead-letter-strategy", text("at-least-once")),
    ]);
    if partition > 0 {
        arguments.insert("x-queue-leader-locator".into(), text("balanced"));
    }
    arguments
}

fn dead_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(BROWSES_MAX)),
        ("x-overflow", text("reject-publish")),
    ])
}

async fn in_time<T>(
    what: &str,
    step: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    let error = match timeout(STEP_LIMIT, step).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error,
        Err(_) => return Err(BrokerError::no_answer().in_words(|why| format!("{what}: {why}"))),
    };
    let trouble = if is_misdeclared(&error) {
        "is there with other properties than this version declares"
    } else {
        "cannot be declared"
    };
    Err(BrokerError::from(error).in_words(|why| format!("{what} {trouble}: {why}")))
}

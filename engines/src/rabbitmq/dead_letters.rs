//! The dead letters on the broker: a queue beside each queue. Browsing means fetching and giving back, so that one
//! operator at a time sees all of them; nothing is forgotten before it is somewhere else.

use std::sync::Arc;

use async_trait::async_trait;
use common::queue::{
    DELIVERY_LIMIT, DeadLetter, DeadLetters, QueueError, QueueName, Reviser, Revision,
};
use lapin::{
    BasicProperties,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongLongInt},
};
use uuid::Uuid;

use super::{
    connection::Session,
    headers::{number, table, text},
    hub::Hub,
    limits::{in_time, unavailable},
    reading::ReadingChannel,
    request::Target,
    topology::{DEAD_EXCHANGE, dead_queue},
};
use crate::letters::{exhausted, now_ms};

/// The headers of a dead letter that a consumer has given up. The broker's own have `x-death` instead.
const REASON: &str = "x-reason";
const DIED_AT: &str = "x-died-at-ms";
const ORIGINAL_QUEUE: &str = "x-original-queue";

/// A header's longest reason, in bytes: all headers of a message must fit into one frame.
const REASON_MAX: usize = 4_096;

/// Where a queue's dead letters are published to.
pub(super) fn target(queue: QueueName) -> Target {
    Target {
        exchange: DEAD_EXCHANGE,
        routing_key: queue.as_str(),
    }
}

/// The properties of a dead letter, from those of the delivery that was given up.
pub(super) fn properties(
    original: &BasicProperties,
    queue: QueueName,
    reason: &str,
) -> BasicProperties {
    let died_at = LongLongInt::try_from(now_ms()).unwrap_or(LongLongInt::MAX);
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    original.clone().with_headers(table([
        (REASON, text(reason)),
        (DIED_AT, AMQPValue::LongLongInt(died_at)),
        (ORIGINAL_QUEUE, text(queue.as_str())),
    ]))
}

pub(super) struct RabbitDeadLetters {
    pub(super) hub: Arc<Hub>,
}

#[async_trait]
impl DeadLetters for RabbitDeadLetters {
    async fn list(&self, queue: QueueName, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let mut letters = Vec::new();
        let mut browser = QueueBrowser::begin(&self.hub, queue).await?;
        while letters.len() < limit
            && let Some(message) = browser.next().await?
        {
            letters.push(read(queue, &message));
        }
        browser.end().await?;
        Ok(letters)
    }

    async fn replay(&self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError> {
        let mut count = 0;
        let mut browser = QueueBrowser::begin(&self.hub, queue).await?;
        while let Some(mut message) = browser.next().await? {
            if !is_meant(&message, ids) {
                continue;
            }
            // Through the default exchange to this queue alone: the other queues of its route have had it. To its first partition,
            // whichever it was in: nobody relies on the order of a queue.
            let target = Target {
                exchange: "",
                routing_key: queue.as_str(),
            };
            let properties = message
                .delivery
                .properties
                .clone()
                .with_headers(FieldTable::default());
            let payload = std::mem::take(&mut message.delivery.data).into();
            self.hub
                .publishers()
                .publish(target, properties, payload)
                .await?;
            browser.forget(&message).await?;
            count += 1;
        }
        browser.end().await?;
        Ok(count)
    }

    async fn discard(&self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError> {
        let mut count = 0;
        let mut browser = QueueBrowser::begin(&self.hub, queue).await?;
        while let Some(message) = browser.next().await? {
            if is_meant(&message, ids) {
                browser.forget(&message).await?;
                count += 1;
            }
        }
        browser.end().await?;
        Ok(count)
    }

    async fn count(&self, queue: QueueName) -> Result<usize, QueueError> {
        let session = self.hub.consuming().map_err(unavailable)?;
        let channel = session.reading_channel().await.map_err(unavailable)?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let name = dead_queue(queue).into();
        let asked = channel.queue_declare(name, passive, FieldTable::default());
        let declared = session.ask("how many dead letters there are", asked).await;
        let count = declared.map_err(unavailable)?.message_count();
        let closing = channel.close(200, "counted".into());
        let closed = session.ask("the end of a channel", closing).await;
        closed.map_err(unavailable)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn revise(&self, queue: QueueName, reviser: &dyn Reviser) -> Result<usize, QueueError> {
        let mut count = 0;
        let mut browser = QueueBrowser::begin(&self.hub, queue).await?;
        while let Some(message) = browser.next().await? {
            match reviser.revise(&read(queue, &message)).await {
                Revision::Leave => continue,
                Revision::Forget => (),
                // With all that is written on it. It is there twice for a moment, and never not at all.
                Revision::Replace(payload) => {
                    let properties = message.delivery.properties.clone();
                    let published =
                        self.hub
                            .publishers()
                            .publish(target(queue), properties, payload);
                    published.await?;
                }
            }
            browser.forget(&message).await?;
            count += 1;
        }
        browser.end().await?;
        Ok(count)
    }
}

/// Browses a dead-letter queue once. Whatever it has fetched and not forgotten goes back when it ends, in order.
struct QueueBrowser {
    session: Arc<Session>,
    channel: ReadingChannel,
    queue: &'static str,
    /// How many to fetch still: those that were there at the beginning.
    left: Option<u32>,
    last: u64,
}

impl QueueBrowser {
    async fn begin(hub: &Hub, queue: QueueName) -> Result<QueueBrowser, QueueError> {
        let session = hub.consuming().map_err(unavailable)?;
        let channel = session.reading_channel().await.map_err(unavailable)?;
        Ok(QueueBrowser {
            session,
            channel,
            queue: dead_queue(queue),
            left: None,
            last: 0,
        })
    }

    async fn next(&mut self) -> Result<Option<BasicGetMessage>, QueueError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let getting = self
            .channel
            .basic_get(self.queue.into(), BasicGetOptions::default());
        let got = self.session.ask("a message", getting).await;
        let got = got.map_err(unavailable)?;
        match &got {
            Some(message) => {
                let left = self.left.map_or(message.message_count, |left| left - 1);
                self.left = Some(left);
                self.last = message.delivery.delivery_tag;
            }
            None => self.left = Some(0),
        }
        Ok(got)
    }

    async fn forget(&self, message: &BasicGetMessage) -> Result<(), QueueError> {
        in_time(
            self.channel
                .basic_ack(message.delivery.delivery_tag, BasicAckOptions::default()),
        )
        .await
        .map_err(unavailable)
    }

    /// Gives back, and waits until the broker has it: whoever browses next sees all.
    async fn end(self) -> Result<(), QueueError> {
        if self.last > 0 {
            // Tag 0 means all, and is no error when none is left.
            let all = BasicNackOptions {
                multiple: true,
                requeue: true,
            };
            in_time(self.channel.basic_nack(0, all))
                .await
                .map_err(unavailable)?;
        }
        let closing = self.channel.close(200, "browsed".into());
        let closed = self.session.ask("the end of a channel", closing).await;
        closed.map_err(unavailable)
    }
}

fn is_meant(message: &BasicGetMessage, ids: &[Uuid]) -> bool {
    ids.is_empty() || ids.contains(&id(&message.delivery.properties))
}

fn id(properties: &BasicProperties) -> Uuid {
    let id = properties.message_id().as_ref();
    id.and_then(|id| Uuid::parse_str(id.as_str()).ok())
        .unwrap_or_default()
}

fn read(queue: QueueName, message: &BasicGetMessage) -> DeadLetter {
    let properties = &message.delivery.properties;
    let (reason, died_at_ms) = death(properties.headers().as_ref());
    DeadLetter {
        id: id(properties),
        queue,
        reason,
        died_at_ms,
        payload: message.delivery.data.clone().into(),
    }
}

/// Why and when: a consumer's words, else the broker's.
fn death(headers: Option<&FieldTable>) -> (String, u64) {
    let unknown = || ("for a reason that nobody wrote down".to_owned(), 0);
    let Some(headers) = headers.map(FieldTable::inner) else {
        return unknown();
    };
    if let Some(AMQPValue::LongString(reason)) = headers.get(REASON) {
        return (
            reason.to_string(),
            headers.get(DIED_AT).and_then(number).unwrap_or(0),
        );
    }
    let Some(AMQPValue::FieldArray(deaths)) = headers.get("x-death") else {
        return unknown();
    };
    let Some(AMQPValue::FieldTable(last)) = deaths.as_slice().first() else {
        return unknown();
    };
    let last = last.inner();
    let died_at_ms = last.get("time").and_then(number).unwrap_or(0) * 1_000;
    let reason = match last.get("reason") {
        Some(AMQPValue::LongString(reason)) if reason.as_bytes() == b"delivery_limit" => {
            exhausted(DELIVERY_LIMIT + 1)
        }
        Some(AMQPValue::LongString(reason)) => format!("RabbitMQ gave it up: {reason}"),
        _ => unknown().0,
    };
    (reason, died_at_ms)
}

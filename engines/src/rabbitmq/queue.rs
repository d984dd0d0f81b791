//! RabbitMQ's side of the queue: quorum queues, publisher confirms, explicit acks. Features of RabbitMQ 3.10 only.

mod addresses;
mod connection;
mod consumer;
mod dead_letters;
mod flight;
mod group;
mod publisher;
mod topology;
mod unsettled;

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use lapin::{BasicProperties, options::QueueDeclareOptions, types::FieldTable};
use secrecy::ExposeSecret;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use self::{
    connection::{Line, Role},
    consumer::{RabbitConsumer, Shared},
    dead_letters::RabbitDeadLetters,
    publisher::{Publisher, Refusal, Target},
};
use super::{Consumer, DeadLetters, Queue, QueueError, QueueName, Route, now_ms};
use crate::settings::QueueSettings;

/// How long one question to the broker may take.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// When another attempt makes sense while the broker is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The queue on RabbitMQ. Dropping it and all its consumers ends its connections; [`RabbitQueue::close`] waits.
pub struct RabbitQueue {
    hub: Arc<Hub>,
    consumers: Mutex<Vec<Weak<Shared>>>,
}

/// What the queue, its consumers and its dead letters need, all as long as any of them is there.
struct Hub {
    publisher: Publisher,
    publishing: Line,
    consuming: Line,
    epochs: Arc<AtomicU64>,
    stop: CancellationToken,
    publishing_closed: CancellationToken,
    consuming_closed: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl RabbitQueue {
    /// Whether the settings can be used, without connecting.
    ///
    /// # Errors
    /// What is wrong, without secrets.
    pub(crate) fn check(settings: &QueueSettings) -> Result<(), String> {
        addresses::parse(settings.amqp_url.expose_secret()).map(|_| ())
    }

    /// Connects to any of the hosts, declares the exchanges and queues, and from then on keeps connected.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], in words: the setting cannot be read; no host answers within 5 s each; something of
    /// the same name is there with other properties.
    pub async fn connect(settings: &QueueSettings) -> Result<Arc<RabbitQueue>, QueueError> {
        let unavailable = |why| QueueError::Unavailable {
            why,
            retry_after: RETRY_AFTER,
        };
        let addresses = addresses::parse(settings.amqp_url.expose_secret()).map_err(unavailable)?;
        let addresses: Arc<[_]> = addresses.into();
        let epochs = Arc::new(AtomicU64::new(1));
        let stop = CancellationToken::new();
        let stop_when_dropped = stop.clone().drop_guard();
        let open = async |role, closed: &CancellationToken| {
            Line::open(
                role,
                addresses.clone(),
                epochs.clone(),
                stop.clone(),
                closed.clone(),
            )
            .await
        };
        let (publishing_closed, consuming_closed) =
            (CancellationToken::new(), CancellationToken::new());
        let publishing = open(Role::Publishing, &publishing_closed)
            .await
            .map_err(unavailable)?;
        let consuming = open(Role::Consuming, &consuming_closed)
            .await
            .map_err(unavailable)?;
        let publisher = Publisher::start(publishing.clone());
        publisher.opened(STEP_LIMIT).await;
        let hub = Hub {
            publisher,
            publishing,
            consuming,
            epochs,
            stop,
            publishing_closed,
            consuming_closed,
            _stop_when_dropped: stop_when_dropped,
        };
        Ok(Arc::new(RabbitQueue {
            hub: Arc::new(hub),
            consumers: Mutex::default(),
        }))
    }

    /// Ends all consumers, waits until the broker has taken what was settled, and closes the connections. At most some
    /// 20 s; all of it at once when the broker answers.
    pub async fn close(&self) {
        let consumers: Vec<Arc<Shared>> = self
            .lock_consumers()
            .drain(..)
            .filter_map(|one| one.upgrade())
            .collect();
        join_all(consumers.iter().map(|consumer| async {
            consumer.close().await;
            consumer.flush().await;
        }))
        .await;
        self.hub.stop.cancel();
        self.hub.publishing_closed.cancelled().await;
        self.hub.consuming_closed.cancelled().await;
    }

    fn lock_consumers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Shared>>> {
        self.consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The properties of a new message.
fn properties(id: Uuid, content_type: &str) -> BasicProperties {
    BasicProperties::default()
        .with_message_id(id.to_string().into())
        .with_content_type(content_type.into())
        .with_timestamp(now_ms() / 1_000)
        .with_app_id("chinwag".into())
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, route: Route, id: Uuid, payload: Bytes) -> Result<(), QueueError> {
        let target = Target {
            exchange: topology::EXCHANGE,
            routing_key: topology::routing_key(route),
        };
        let publisher = &self.hub.publisher;
        let published = match route {
            Route::Persist => publisher.publish_in_company(target, id, payload).await,
            Route::PersistAndAsk => {
                let properties = properties(id, group::ALONE);
                publisher.publish(target, properties, payload).await
            }
        };
        match published {
            Ok(()) => Ok(()),
            Err(Refusal::Returned) => Err(QueueError::Unroutable(route)),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn consume(&self, queue: QueueName, prefetch: u16) -> Arc<dyn Consumer> {
        let (consumer, shared) = RabbitConsumer::start(self.hub.clone(), queue, prefetch);
        let mut consumers = self.lock_consumers();
        consumers.retain(|one| one.strong_count() > 0);
        consumers.push(Arc::downgrade(&shared));
        Arc::new(consumer)
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::new(RabbitDeadLetters {
            hub: self.hub.clone(),
        })
    }

    fn ready(&self) -> Result<(), QueueError> {
        match self.hub.publisher.obstacle() {
            None => Ok(()),
            Some(why) => Err(QueueError::Unavailable {
                why,
                retry_after: RETRY_AFTER,
            }),
        }
    }

    async fn ping(&self) -> Result<(), QueueError> {
        let unavailable = |why| QueueError::Unavailable {
            why,
            retry_after: RETRY_AFTER,
        };
        // Whichever connection is missing, this process does not do all of its work.
        self.hub.consuming.now().map_err(unavailable)?;
        let live = self.hub.publishing.now().map_err(unavailable)?;
        let asked = async {
            let channel = live.channel().await?;
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let declared = channel.queue_declare(
                QueueName::Persist.as_str().into(),
                options,
                FieldTable::default(),
            );
            declared.await.map(drop).map_err(|error| error.to_string())
        };
        match timeout(STEP_LIMIT, asked).await {
            Ok(answer) => answer.map_err(unavailable),
            Err(_) => Err(unavailable(format!(
                "no answer within {} s",
                STEP_LIMIT.as_secs()
            ))),
        }
    }
}

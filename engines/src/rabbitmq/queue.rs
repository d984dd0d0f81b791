//! RabbitMQ's side of the queue seam: what its parts do together.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use common::queue::{Consumer, DeadLetters, Queue, QueueError, QueueName, Route};
use futures_util::future::join_all;
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    consumer::{ChannelReaders, RabbitConsumer},
    dead_letters::RabbitDeadLetters,
    group,
    hub::Hub,
    limits::{BrokerError, STEP_LIMIT, unavailable},
    request::{PublishError, Target, properties},
    settings::RabbitSettings,
    topology,
};

/// The queue on RabbitMQ. Dropping it and all its consumers ends its connections; [`Queue::close`] waits.
pub struct RabbitQueue {
    hub: Arc<Hub>,
    consumers: Mutex<Vec<Weak<ChannelReaders>>>,
}

impl RabbitQueue {
    /// Its name, for people.
    pub const NAME: &'static str = "RabbitMQ";

    /// Connects to any of the hosts, declares the exchanges and queues, and from then on keeps connected.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], in words: the setting cannot be read; no host answers within 5 s each; something of
    /// the same name is there with other properties.
    pub async fn connect(settings: &RabbitSettings) -> Result<Arc<RabbitQueue>, QueueError> {
        Ok(Arc::new(RabbitQueue {
            hub: Arc::new(Hub::connect(settings).await?),
            consumers: Mutex::default(),
        }))
    }

    fn lock_consumers(&self) -> MutexGuard<'_, Vec<Weak<ChannelReaders>>> {
        self.consumers.lock()
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, route: Route, id: Uuid, payload: Bytes) -> Result<(), QueueError> {
        let target = Target {
            exchange: topology::EXCHANGE,
            routing_key: topology::routing_key(route),
        };
        let publishers = &self.hub.publishers;
        let published = match route {
            Route::Persist => publishers.publish_grouped(target, id, payload).await,
            Route::PersistAndAsk => {
                let properties = properties(id, group::ALONE);
                publishers.publish(target, properties, payload).await
            }
        };
        match published {
            Ok(()) => Ok(()),
            Err(PublishError::Returned) => Err(QueueError::Unroutable(route)),
            Err(error) => Err(error.into()),
        }
    }

    async fn consume(&self, queue: QueueName, prefetch: u16) -> Arc<dyn Consumer> {
        let (consumer, readers) = RabbitConsumer::start(self.hub.clone(), queue, prefetch);
        let mut consumers = self.lock_consumers();
        consumers.retain(|one| one.strong_count() > 0);
        consumers.push(Arc::downgrade(&readers));
        Arc::new(consumer)
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::new(RabbitDeadLetters {
            hub: self.hub.clone(),
        })
    }

    fn ready(&self) -> Result<(), QueueError> {
        self.hub
            .publishers
            .obstacle()
            .map_or(Ok(()), |why| Err(unavailable(why)))
    }

    async fn ping(&self) -> Result<(), QueueError> {
        // A connection that the broker holds back is not answered on, and what is known says why.
        self.ready()?;
        // Without a connection of each kind this process does not do all of its work.
        self.hub.consuming().map_err(unavailable)?;
        let session = self.hub.publishers.connection().map_err(unavailable)?;
        let asked = async {
            let channel = session.channel().await?;
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let persist = QueueName::Persist.as_str().into();
            let declared = channel.queue_declare(persist, options, FieldTable::default());
            Ok(declared.await.map(drop)?)
        };
        let answer = timeout(STEP_LIMIT, asked).await;
        answer
            .unwrap_or_else(|_| Err(BrokerError::no_answer()))
            .map_err(unavailable)
    }

    /// At most some 20 s; all of it at once when the broker answers.
    async fn close(&self) {
        let consumers: Vec<Arc<ChannelReaders>> = self
            .lock_consumers()
            .drain(..)
            .filter_map(|one| one.upgrade())
            .collect();
        join_all(consumers.iter().map(|consumer| async {
            consumer.close().await;
            consumer.flush().await;
        }))
        .await;
        self.hub.close().await;
    }
}

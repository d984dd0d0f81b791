//! RabbitMQ's side of the queue seam: what its parts do together.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{
    envelope,
    queue::{Consumer, DeadLetters, Queue, QueueError, QueueName, Route},
    traces,
};
use futures_util::future::join_all;
use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    connection::Session,
    consumer::{ChannelReaders, RabbitConsumer},
    dead_letters::RabbitDeadLetters,
    group,
    headers::{table, text},
    hub::Hub,
    limits::{BrokerError, STEP_LIMIT, unavailable},
    partitions,
    request::{PublishError, Target, properties},
    settings::RabbitSettings,
    topology,
};
use crate::letters;

/// How long it may take to count what waits.
const COUNT_LIMIT: Duration = Duration::from_millis(400);

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

/// How many messages a queue has that nobody has taken yet.
async fn length(channel: &Channel, queue: &str) -> Result<u32, BrokerError> {
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    Ok(declared.await?.message_count())
}

/// Counts what waits in the queues, in all partitions together, and their dead letters.
async fn count_waiting(session: &Session, partitions: usize) -> Result<(), BrokerError> {
    let channel = session.channel().await?;
    for queue in QueueName::ALL {
        let mut waiting = 0;
        for partition in 0..partitions {
            waiting += length(&channel, partitions::queue(queue, partition)).await?;
        }
        let dead = length(&channel, topology::dead_queue(queue)).await?;
        letters::count_waiting(queue, waiting, dead);
    }
    channel.close(200, "counted".into()).await?;
    Ok(())
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(
        &self,
        route: Route,
        partition: usize,
        id: Uuid,
        payload: Bytes,
    ) -> Result<(), QueueError> {
        if partition >= partitions::PARTITIONS_MAX {
            return Err(QueueError::Unroutable(route));
        }
        let target = Target {
            exchange: topology::EXCHANGE,
            routing_key: partitions::routing_key(route, partition),
        };
        let publishers = self.hub.publishers_to(partition);
        // One target for all that travels together.
        let is_set = partition < self.hub.set_partitions();
        let trace = match traces::is_on() {
            true => envelope::traced(&payload),
            false => None,
        };
        let published = match (route, trace) {
            (Route::Persist, None) if is_set => {
                publishers.publish_grouped(target, id, payload).await
            }
            (_, None) => {
                let properties = properties(id, group::ALONE);
                publishers.publish(target, properties, payload).await
            }
            // What is traced goes alone, so that its trace stands where others' tools look for it.
            (_, Some(trace)) => {
                let headers = table([("traceparent", text(trace))]);
                let properties = properties(id, group::ALONE).with_headers(headers);
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

    fn partitions(&self) -> usize {
        *self.hub.partitions.borrow()
    }

    fn partition_of(&self, room: &str) -> usize {
        partitions::of_room(room, self.hub.set_partitions())
    }

    fn ready(&self) -> Result<(), QueueError> {
        let obstacle = self.hub.obstacle();
        obstacle.map_or(Ok(()), |why| Err(unavailable(why)))
    }

    fn ready_in(&self, partition: usize) -> Result<(), QueueError> {
        let obstacle = self.hub.publishers_to(partition).obstacle();
        obstacle.map_or(Ok(()), |why| Err(unavailable(why)))
    }

    async fn ping(&self) -> Result<(), QueueError> {
        // A connection that the broker holds back is not answered on, and what is known says why.
        self.ready()?;
        // Without a connection of each kind this process does not do all of its work.
        self.hub.consuming().map_err(unavailable)?;
        let session = self.hub.publishers().connection().map_err(unavailable)?;
        let asked = async {
            let channel = session.channel().await?;
            length(&channel, QueueName::Persist.as_str()).await?;
            Ok(())
        };
        let answer = timeout(STEP_LIMIT, asked).await;
        answer
            .unwrap_or_else(|_| Err(BrokerError::no_answer()))
            .map_err(unavailable)?;
        // On a channel of its own, which a refusal closes: nobody needs the right to ask this.
        let partitions = *self.hub.partitions.borrow();
        drop(timeout(COUNT_LIMIT, count_waiting(&session, partitions)).await);
        Ok(())
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

//! None of the tasks that keep RabbitMQ connected may end unnoticed.

use common::queue::QueueName;
use seam_suites::{queue::QueueUnderTest, watched::any_task_ends_the_process};

use crate::side::Vhost;

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_any_task_ends_the_process() {
    let tasks = [
        "RabbitMQ connection",
        "RabbitMQ consumer",
        "RabbitMQ consumer's partitions",
        "RabbitMQ partitions",
        "RabbitMQ publisher",
    ];
    any_task_ends_the_process(&tasks, async || {
        let queue = Vhost::fresh().await.open().await;
        let consumer = queue.consume(QueueName::Persist, 1).await;
        (queue, consumer)
    })
    .await;
}

//! RabbitMQ: the promises of the queue on a broker, and what can only go wrong there.

use seam_suites::queue_suite;
use side::Vhost;

mod rabbitmq_faults;
mod rabbitmq_groups;
mod rabbitmq_partitions;
mod rabbitmq_topology;
mod rabbitmq_unread;
mod side;
mod watched;
mod wire;

queue_suite!(rabbitmq, Vhost::fresh().await);

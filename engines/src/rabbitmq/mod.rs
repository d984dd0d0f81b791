//! RabbitMQ: the queue. Quorum queues, publisher confirms, explicit acks; features of RabbitMQ 3.10 only.

mod addresses;
mod connection;
mod consumer;
mod dead_letters;
mod group;
mod headers;
mod hosts;
mod hub;
mod in_flight;
mod limits;
mod partitions;
mod publisher;
mod publishers;
mod queue;
mod reader;
mod reading;
mod request;
mod settings;
mod topology;
mod unsettled;

pub use queue::RabbitQueue;
pub use settings::RabbitSettings;

//! What the queue promises, run against both of its sides: the stories of both, and then what can only go wrong with
//! one of them.

mod embedded_faults;
mod rabbitmq_faults;
mod rabbitmq_groups;
mod rabbitmq_topology;
mod side;
mod stories;
mod watched;
mod wire;

//! Redis: what is live, and the quota. One server, a Cluster, or a server with Sentinels.

mod append;
mod budgets;
mod client;
mod dangers;
mod deployment;
mod keys;
mod live;
mod node_connection;
mod quota;
mod readiness;
mod request;
mod scripts;
mod sentinels;
mod server;
mod settings;
mod subscription;
mod topics;
mod topology_refresh;
mod unsettled;
mod urls;
mod write_batcher;

pub use live::RedisLive;
pub use quota::RedisQuota;
pub use settings::RedisSettings;

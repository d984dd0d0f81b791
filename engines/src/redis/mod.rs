//! Redis: what is live, and the quota. One server, a Cluster, or a server with Sentinels.

mod append;
mod deployment;
mod fleet;
mod gather;
mod keys;
mod line;
mod link;
mod live;
mod look;
mod quota;
mod request;
mod scripts;
mod server;
mod settings;
mod topics;
mod urls;

pub use live::RedisLive;
pub use quota::RedisQuota;
pub use settings::RedisSettings;

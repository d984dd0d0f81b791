//! Redis: the promises of the live seam and of the quota on one server and on a Cluster, and what happens to a Redis, by
//! stories that break servers of their own.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot go on has nothing better to do"
)]

use seam_suites::{live_suite, quota_suite};
use side::Deployed;

mod cluster_faults;
mod frozen;
mod proxy;
mod redis_faults;
mod sentinel_faults;
mod side;
mod watched;

mod live {
    use super::*;

    live_suite!(one_redis, Deployed::Alone);
    live_suite!(redis_cluster, Deployed::AsCluster);
}

mod quota {
    use super::*;

    quota_suite!(one_redis, Deployed::Alone);
    quota_suite!(redis_cluster, Deployed::AsCluster);
}

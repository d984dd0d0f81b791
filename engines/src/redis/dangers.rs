//! What can be seen of Redis when a service connects, and is dangerous.

use std::time::Duration;

use redis::{Value, cmd, from_redis_value};

use super::{live::RedisLive, request::Request};
use crate::dangers::{clock, is_before, now};

impl RedisLive {
    /// What is dangerous about how the servers are set, in words. What this user may not ask, or is not answered, is nothing.
    pub async fn dangers(&self) -> Vec<String> {
        let client = &self.server().client;
        let slots = client.nodes().borrow().slots.clone();
        let mut dangers = Vec::new();
        for node in slots.nodes() {
            let Some(&(slot, ..)) = slots.0.iter().find(|(_, _, owner)| *owner == node) else {
                continue;
            };
            let sections = ["server", "persistence", "memory"].map(|section| {
                let mut info = cmd("INFO");
                info.arg(section);
                info
            });
            let told = client.run(slot, Request::idempotent(sections.to_vec()));
            if let Ok(sections) = told.await {
                let sections = sections.into_iter().map(from_redis_value::<String>);
                let info: String = sections.map(Result::unwrap_or_default).collect();
                dangers.extend(of(&info).map(|what| format!("Redis {node}: {what}")));
            }
            let asked = now();
            let told = client.run(slot, Request::idempotent(vec![cmd("TIME")]));
            if let Ok(theirs) = told.await.map(|mut told| time(told.pop())) {
                let whose = format!("Redis {node}");
                dangers.extend(theirs.and_then(|theirs| clock(&whose, asked, theirs, now())));
            }
        }
        dangers
    }
}

/// What `TIME` answers.
fn time(answer: Option<Value>) -> Option<Duration> {
    let (seconds, micros): (String, String) = from_redis_value(answer?).ok()?;
    let micros = Duration::from_micros(micros.parse().ok()?);
    Some(Duration::from_secs(seconds.parse().ok()?) + micros)
}

/// What is dangerous about a server that tells this of itself.
fn of(info: &str) -> impl Iterator<Item = String> {
    let value = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let version = value("redis_version").filter(|version| is_before(version, (7, 0)));
    let version =
        version.map(|version| format!("version {version} is older than 7, which is needed"));
    let file = (value("aof_enabled") == Some("0")).then(|| {
        "it keeps no append-only file (`appendonly yes`): when it is started again, what was shown last is gone from it".to_owned()
    });
    let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction");
    let limit = value("maxmemory").filter(|limit| *limit != "0");
    let evicts = policy.zip(limit).map(|(policy, _)| {
        format!("it evicts keys when its memory is full (`maxmemory-policy {policy}`): rooms lose their order; set `noeviction`")
    });
    [version, file, evicts].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\n# Persistence\r\naof_enabled:1\r\n\
        # Memory\r\nmaxmemory:1000000\r\nmaxmemory_policy:noeviction\r\n";

    #[test]
    fn what_is_set_as_it_should_be_is_not_talked_about() {
        assert_eq!(of(GOOD).count(), 0);
        assert_eq!(of("").count(), 0, "who may not ask is not told");
        // Without a limit nothing is evicted, whatever the policy.
        let unlimited = GOOD
            .replace("1000000", "0")
            .replace("noeviction", "allkeys-lru");
        assert_eq!(of(&unlimited).count(), 0);
    }

    #[test]
    fn each_danger_is_told_with_what_to_set() {
        let bad = GOOD
            .replace("7.0.15", "6.2.7")
            .replace("aof_enabled:1", "aof_enabled:0")
            .replace("noeviction", "allkeys-lru");
        let told: Vec<String> = of(&bad).collect();
        for (what, told) in ["6.2.7", "appendonly yes", "allkeys-lru"].iter().zip(&told) {
            assert!(told.contains(what), "{told}");
        }
        assert_eq!(told.len(), 3);
    }
}

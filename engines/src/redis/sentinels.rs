//! Sentinels: which server they say is the master, whom to believe where they do not agree, and hearing of a failover
//! at once.
//!
//! All are asked together, because one that is cut off from the others goes on naming the old master: what was decided
//! last counts, and every decision has a number, the configuration epoch. Beside that each is listened to. It publishes
//! a failover, but a subscription can die without a sign, so each is also asked once a second on the same connection:
//! that shows both whether the connection is alive and what its subscription may have missed.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{
    ConnectionInfo, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection,
    from_redis_value,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    client::Nodes,
    deployment::{
        Address, CONNECT_LIMIT, LOCATE_LIMIT, Unreachable, commands, failed, limited, open,
    },
    node_connection::{GOOD, RECONNECT},
    topology_refresh::TopologyRefresh,
};

/// How often each Sentinel is asked beside what it publishes, and how long it may take to answer.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// How long the others may take once one has answered: a Sentinel whose host is gone must not delay a failover.
const OTHERS_LIMIT: Duration = Duration::from_millis(200);

/// What Sentinels publish when another server has become the master. The first of the two comes from the one that leads
/// the failover alone, as soon as the new master is one; the second from all, once the other replicas follow it.
const PUBLISHED: [&str; 2] = ["+promoted-slave", "+switch-master"];

/// The Sentinels of a deployment.
pub(super) struct Sentinels {
    pub(super) addresses: Vec<Address>,
    pub(super) service: String,
    /// What every connection to a Sentinel shares.
    pub(super) connection: ConnectionInfo,
    /// The latest decision that is known of.
    latest: Mutex<Option<Decision>>,
}

/// Who the master is, and the number of the failover, or of the setting, that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    epoch: u64,
    master: Address,
}

impl Sentinels {
    pub(super) fn new(
        addresses: Vec<Address>,
        service: String,
        connection: ConnectionInfo,
    ) -> Sentinels {
        Sentinels {
            addresses,
            service,
            connection,
            latest: Mutex::new(None),
        }
    }

    /// Asks all of them where the master is.
    ///
    /// # Errors
    /// If none can say.
    pub(super) async fn locate(&self) -> Result<Address, Unreachable> {
        let mut answers: FuturesUnordered<_> = self
            .addresses
            .iter()
            .map(|sentinel| limited(sentinel, self.ask_anew(sentinel)))
            .collect();
        let mut until = Instant::now() + LOCATE_LIMIT;
        let (mut decisions, mut why) =
            (Vec::new(), Unreachable::Unfit("no Sentinel to ask".into()));
        while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
            match answer {
                Ok(decision) => {
                    decisions.push(decision);
                    until = until.min(Instant::now() + OTHERS_LIMIT);
                }
                Err(error) => why = error,
            }
        }
        let mut latest = self.latest.lock();
        let believed = believe(latest.as_ref(), &decisions, self.addresses.len()).ok_or(why)?;
        Ok(latest.insert(believed).master.clone())
    }

    async fn ask_anew(&self, sentinel: &Address) -> Result<Decision, Unreachable> {
        let mut connection = open(&self.connection, sentinel, commands()).await?;
        self.ask(sentinel, &mut connection).await
    }

    /// The address comes from a command of its own: while a failover is under way its leader names the new master there
    /// already. Whoever may not ask for the rest still learns the address.
    async fn ask(
        &self,
        sentinel: &Address,
        connection: &mut MultiplexedConnection,
    ) -> Result<Decision, Unreachable> {
        let mut asking = Pipeline::new();
        asking
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.service);
        asking.cmd("SENTINEL").arg("MASTER").arg(&self.service);
        let answers = connection.send_packed_commands(&asking, 0, 2).await;
        let mut answers = answers
            .map_err(|source| failed(sentinel, source))?
            .into_iter();
        let mut next = || answers.next().unwrap_or_default().extract_error();
        let address = next().map_err(|source| failed(sentinel, source))?;
        let (host, port) = from_redis_value::<Option<(String, u16)>>(address)
            .map_err(|error| failed(sentinel, error.into()))?
            .ok_or_else(|| {
                Unreachable::Unfit(format!(
                    "the Sentinel at {sentinel} knows no service {}",
                    self.service
                ))
            })?;
        let master = next()
            .ok()
            .and_then(|master| from_redis_value::<HashMap<String, String>>(master).ok());
        let epoch = master.and_then(|master| master.get("config-epoch")?.parse().ok());
        Ok(Decision {
            epoch: epoch.unwrap_or(0),
            master: Address::new(&host, port),
        })
    }

    /// Has the nodes looked for whenever this Sentinel publishes, or says, that another server is the master.
    pub(super) async fn listen(
        self: Arc<Self>,
        sentinel: Address,
        nodes: watch::Receiver<Arc<Nodes>>,
        refresh: Arc<TopologyRefresh>,
    ) {
        let mut back_off = RECONNECT.back_off();
        loop {
            let since = Instant::now();
            let why = self.listen_once(&sentinel, &nodes, &refresh).await;
            tracing::debug!(%sentinel, %why, "a Sentinel is not listened to");
            if since.elapsed() >= GOOD {
                back_off.reset();
            }
            back_off.wait().await;
        }
    }

    /// Returns why it can no longer be listened to.
    async fn listen_once(
        &self,
        sentinel: &Address,
        nodes: &watch::Receiver<Arc<Nodes>>,
        refresh: &TopologyRefresh,
    ) -> Unreachable {
        let published = Arc::<Published>::default();
        let taking = {
            let (published, service) = (Arc::clone(&published), self.service.clone());
            move |pushed: PushInfo| -> Result<(), Infallible> {
                published.take(&pushed, &service);
                Ok(())
            }
        };
        let config = commands().set_push_sender(taking);
        let connecting = timeout(CONNECT_LIMIT, open(&self.connection, sentinel, config));
        let mut connection = match connecting.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return error,
            Err(_) => return Unreachable::Late(sentinel.to_string()),
        };
        // Who may not subscribe asks all the same.
        let mut subscribing = Pipeline::new();
        for channel in PUBLISHED {
            subscribing.cmd("SUBSCRIBE").arg(channel);
        }
        let subscribing = connection.send_packed_commands(&subscribing, 0, PUBLISHED.len());
        match timeout(ASK_LIMIT, subscribing).await {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => return failed(sentinel, source),
            Err(_) => return Unreachable::Late(sentinel.to_string()),
        }
        loop {
            let decision = match timeout(ASK_LIMIT, self.ask(sentinel, &mut connection)).await {
                Ok(Ok(decision)) => decision,
                Ok(Err(error)) => return error,
                Err(_) => return Unreachable::Late(sentinel.to_string()),
            };
            let is_news = nodes.borrow().slots.owner(0) != Some(&decision.master);
            if is_news && !self.is_outdated(&decision) {
                refresh.request();
            }
            tokio::select! {
                () = published.told.notified() => {
                    if published.is_broken.load(Ordering::Acquire) {
                        return Unreachable::Unfit(format!("the connection to {sentinel} broke"));
                    }
                    refresh.request();
                }
                () = sleep(ASK_EVERY.mul_f64(rand::random_range(0.9..1.1))) => {}
            }
        }
    }

    fn is_outdated(&self, decision: &Decision) -> bool {
        let latest = self.latest.lock();
        latest
            .as_ref()
            .is_some_and(|latest| latest.epoch > decision.epoch)
    }
}

/// What one Sentinel's subscription has brought.
#[derive(Default)]
struct Published {
    told: Notify,
    is_broken: AtomicBool,
}

impl Published {
    /// Called by the connection's own task: must not block.
    fn take(&self, pushed: &PushInfo, service: &str) {
        match pushed.kind {
            PushKind::Message => {
                // Both kinds name the service among other words; one Sentinel may watch over many.
                if let Some(Value::BulkString(text)) = pushed.data.get(1)
                    && text
                        .split(|&byte| byte == b' ')
                        .any(|word| word == service.as_bytes())
                {
                    self.told.notify_one();
                }
            }
            PushKind::Disconnection => {
                self.is_broken.store(true, Ordering::Release);
                self.told.notify_one();
            }
            _ => {}
        }
    }
}

/// The decision that counts: the latest of those that were given, and of several with one number the one that most have
/// given. One that is older than what is known already is that of Sentinels who were cut off, unless most of all say so:
/// then they were set up anew, and count from the beginning.
fn believe(known: Option<&Decision>, given: &[Decision], sentinels: usize) -> Option<Decision> {
    let votes = |decision: &Decision| given.iter().filter(|other| *other == decision).count();
    let latest = given
        .iter()
        .rev()
        .max_by_key(|decision| (decision.epoch, votes(decision)))?;
    match known {
        Some(known) if known.epoch > latest.epoch && given.len() * 2 <= sentinels => {
            Some(known.clone())
        }
        _ => Some(latest.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(epoch: u64, host: &str) -> Decision {
        Decision {
            epoch,
            master: Address::new(host, 6_379),
        }
    }

    #[test]
    fn what_was_decided_last_counts_whoever_answers_first() {
        let given = [says(4, "old"), says(4, "old"), says(5, "new")];
        assert_eq!(believe(None, &given, 3), Some(says(5, "new")));
        assert_eq!(believe(None, &[], 3), None);
    }

    #[test]
    fn without_numbers_most_of_them_are_right() {
        let given = [says(0, "old"), says(0, "new"), says(0, "new")];
        assert_eq!(believe(None, &given, 3), Some(says(0, "new")));
    }

    #[test]
    fn one_that_was_cut_off_does_not_bring_the_old_master_back_and_a_new_set_of_them_is_believed() {
        let known = says(5, "new");
        let cut_off = [says(4, "old")];
        assert_eq!(believe(Some(&known), &cut_off, 3), Some(known.clone()));
        let set_up_anew = [says(0, "other"), says(0, "other")];
        assert_eq!(
            believe(Some(&known), &set_up_anew, 3),
            Some(says(0, "other"))
        );
    }
}

//! The one task that reads and writes the table. What many callers ask for at the same time is done in one
//! transaction with one write to the disk, and nobody is answered before it is committed.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::queue::{DELIVERY_LIMIT, DeadLetter, QueueError, QueueName, Receipt, Route, Verdict};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use uuid::Uuid;

use super::{
    ledger::{Held, Ledger},
    table::{Durability, Opened, Size, Table},
};
use crate::{
    inbox::Inbox,
    letters::{count_waiting, exhausted, now_ms},
};

/// The most commands done in one transaction: some 10 ms of work, so that a group does not wait long for itself.
const GROUP_MAX: usize = 2_048;

/// After a failed write: how long until another attempt makes sense.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where the answer to a command goes. It may be that nobody waits for it any more.
pub(super) type Done<T> = oneshot::Sender<Result<T, QueueError>>;

pub(super) enum Command {
    Publish {
        route: Route,
        id: Uuid,
        payload: Bytes,
        done: Done<()>,
    },
    Consume {
        reader: u64,
        queue: QueueName,
        prefetch: u16,
        inbox: Arc<Inbox>,
    },
    Settle {
        reader: u64,
        receipts: Vec<Receipt>,
        verdict: Verdict,
        done: Done<()>,
    },
    Close {
        reader: u64,
        done: Done<()>,
    },
    Gone {
        reader: u64,
    },
    List {
        queue: QueueName,
        limit: usize,
        done: Done<Vec<DeadLetter>>,
    },
    Replay {
        queue: QueueName,
        ids: Vec<Uuid>,
        done: Done<usize>,
    },
    Discard {
        queue: QueueName,
        ids: Vec<Uuid>,
        done: Done<usize>,
    },
    CountDead {
        queue: QueueName,
        done: Done<usize>,
    },
    /// Gives a dead letter another payload, or none: then it goes.
    Revise {
        letter: DeadLetter,
        payload: Option<Bytes>,
        done: Done<usize>,
    },
    ClearRemains {
        done: Done<()>,
    },
    Ping {
        done: Done<()>,
    },
    Stop {
        done: Done<()>,
    },
}

/// What others may know without asking.
#[derive(Default)]
pub(super) struct Gauges {
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The last write that failed, until one succeeds.
    pub(super) trouble: Mutex<Option<(Instant, String)>>,
}

impl Gauges {
    fn grown(&self, size: Size) {
        self.rows.fetch_add(size.rows, Ordering::Relaxed);
        self.bytes.fetch_add(size.bytes, Ordering::Relaxed);
    }

    fn shrunk(&self, size: Size) {
        self.rows.fetch_sub(size.rows, Ordering::Relaxed);
        self.bytes.fetch_sub(size.bytes, Ordering::Relaxed);
    }

    fn set_trouble(&self, trouble: Option<String>) -> bool {
        let mut current = self.trouble.lock();
        let changed = current.is_some() != trouble.is_some();
        *current = trouble.map(|why| (Instant::now(), why));
        changed
    }
}

/// One transaction's worth of work.
#[derive(Default)]
struct Group {
    publishes: Vec<(Route, Uuid, Bytes)>,
    publishers: Vec<Done<()>>,
    acked: Vec<Held>,
    handed_back: Vec<Held>,
    /// With the reason.
    dead: Vec<(Vec<Held>, String)>,
    settlers: Vec<Done<()>>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.publishes.is_empty()
            && self.acked.is_empty()
            && self.handed_back.is_empty()
            && self.dead.is_empty()
    }

    fn settle(&mut self, held: Vec<Held>, verdict: Verdict) {
        match verdict {
            Verdict::Ack => self.acked.extend(held),
            Verdict::HandBack => {
                let (spent, rest): (Vec<_>, Vec<_>) = held
                    .into_iter()
                    .partition(|held| held.attempt > DELIVERY_LIMIT);
                self.handed_back.extend(rest);
                for held in spent {
                    self.dead.push((vec![held], exhausted(held.attempt)));
                }
            }
            Verdict::DeadLetter(reason) if !held.is_empty() => self.dead.push((held, reason)),
            Verdict::DeadLetter(_) => {}
        }
    }
}

/// What lay in [`QueueName::Persist`] when the folder was opened.
struct LeftOver {
    /// It has no higher position.
    last: i64,
    /// How much of it is not settled yet.
    rows: watch::Sender<u64>,
}

impl LeftOver {
    fn settled<'a>(&self, held: impl Iterator<Item = &'a Held>) {
        let of_it = |held: &&Held| held.queue == QueueName::Persist && held.position <= self.last;
        let settled = held.filter(of_it).count() as u64;
        if settled > 0 {
            self.rows
                .send_modify(|rows| *rows = rows.saturating_sub(settled));
        }
    }
}

pub(super) struct Writer {
    table: Table,
    ledger: Ledger,
    gauges: Arc<Gauges>,
    left_over: LeftOver,
    /// Held for as long as the folder is this process's.
    _lock: File,
}

impl Writer {
    /// Takes over an opened table: what was tried too often is put aside first.
    pub(super) async fn start(
        opened: Opened,
        epoch: u64,
        gauges: Arc<Gauges>,
        lock: File,
    ) -> Result<Writer, sqlx::Error> {
        let Opened {
            mut table,
            size,
            tails,
        } = opened;
        let mut change = table.change(Durability::Power).await?;
        let gone = change.bury_exhausted(DELIVERY_LIMIT, now_ms()).await?;
        change.commit().await?;
        gauges.grown(Size {
            rows: size.rows - gone.rows,
            bytes: size.bytes - gone.bytes,
        });
        let last = tails
            .iter()
            .find(|(queue, _)| *queue == QueueName::Persist)
            .map_or(0, |(_, last)| *last);
        let left_over = LeftOver {
            last,
            rows: watch::Sender::new(table.rows(QueueName::Persist).await?),
        };
        Ok(Writer {
            table,
            ledger: Ledger::new(epoch, &tails),
            gauges,
            left_over,
            _lock: lock,
        })
    }

    /// How much of what lay in [`QueueName::Persist`] at opening is not settled yet, from now on.
    pub(super) fn left_over(&self) -> watch::Receiver<u64> {
        self.left_over.rows.subscribe()
    }

    /// Works until nobody can ask any more, or someone asks to stop.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut asked = Vec::new();
        let mut stopped = None;
        while stopped.is_none() {
            let troubled = self.gauges.trouble.lock().is_some();
            let received = commands.recv_many(&mut asked, GROUP_MAX);
            // After a failed write, deliveries wait for room on the disk, of which nobody tells.
            let received = if troubled {
                timeout(RETRY_AFTER, received).await.ok()
            } else {
                Some(received.await)
            };
            if received == Some(0) {
                break;
            }
            stopped = self.work(asked.drain(..)).await;
        }
        // Closed before anyone is told that it is: the next opening may follow at once.
        let Writer {
            table,
            mut ledger,
            _lock: lock,
            ..
        } = self;
        ledger.close();
        if let Err(error) = table.close().await {
            tracing::warn!(%error, "the queue's file was not closed well; nothing is lost, the next start reads its log");
        }
        // Not by closing it: a process that is being started from here holds it open too until it is another program.
        if let Err(error) = lock.unlock() {
            tracing::warn!(%error, "the folder's lock was not given back");
        }
        if let Some(done) = stopped {
            drop(done.send(Ok(())));
        }
    }

    async fn work(&mut self, commands: impl Iterator<Item = Command>) -> Option<Done<()>> {
        let mut group = Group::default();
        let (mut closed, mut clearing) = (Vec::new(), Vec::new());
        let mut stop = None;
        for command in commands {
            match command {
                Command::Publish {
                    route,
                    id,
                    payload,
                    done,
                } => {
                    group.publishes.push((route, id, payload));
                    group.publishers.push(done);
                }
                Command::Consume {
                    reader,
                    queue,
                    prefetch,
                    inbox,
                } => {
                    self.ledger.add_reader(reader, queue, prefetch, inbox);
                }
                Command::Settle {
                    reader,
                    receipts,
                    verdict,
                    done,
                } => {
                    group.settle(self.ledger.settle(reader, &receipts), verdict);
                    group.settlers.push(done);
                }
                Command::Close { reader, done } => {
                    self.ledger.close_reader(reader);
                    closed.push(done);
                }
                Command::Gone { reader } => {
                    let left = self.ledger.remove_reader(reader);
                    group.settle(left, Verdict::HandBack);
                }
                Command::List { queue, limit, done } => {
                    let letters = self.table.dead_letters(queue, limit).await;
                    drop(done.send(letters.map_err(unavailable)));
                }
                Command::Replay { queue, ids, done } => {
                    drop(done.send(self.replay(queue, &ids).await));
                }
                Command::Discard { queue, ids, done } => {
                    drop(done.send(self.discard(queue, &ids).await));
                }
                Command::CountDead { queue, done } => {
                    let count = self.table.count_dead_letters(queue).await;
                    drop(done.send(count.map_err(unavailable)));
                }
                Command::Revise {
                    letter,
                    payload,
                    done,
                } => {
                    drop(done.send(self.revise(&letter, payload.as_deref()).await));
                }
                Command::ClearRemains { done } => clearing.push(done),
                Command::Ping { done } => {
                    let counted = self.table.count_waiting().await;
                    let counted = counted.map(|lengths| {
                        for (queue, waiting, dead) in lengths {
                            count_waiting(queue, waiting, dead);
                        }
                    });
                    drop(done.send(counted.map_err(unavailable)));
                }
                Command::Stop { done } => stop = Some(done),
            }
        }
        self.commit(group).await;
        for done in closed {
            drop(done.send(Ok(())));
        }
        for done in clearing {
            drop(done.send(self.table.clear_remains().await.map_err(unavailable)));
        }
        stop
    }

    async fn commit(&mut self, mut group: Group) {
        let tails = QueueName::ALL.map(|queue| (queue, self.ledger.appended(queue, 0)));
        let is_empty = group.is_empty();
        let troubled = match self.write(&group).await {
            Ok(()) => None,
            Err(error) => {
                // Nothing of it was done, so all of it comes again.
                for (queue, tail) in tails {
                    self.ledger.not_appended(queue, tail);
                }
                let dead = group.dead.iter().map(|(held, _)| held);
                for held in [&group.acked, &group.handed_back].into_iter().chain(dead) {
                    self.ledger.come_again(held);
                }
                let why = error.to_string();
                self.failed(error).await;
                Some(why)
            }
        };
        // That nothing could be written as well says nothing.
        let tells = troubled.is_some() || !is_empty;
        if tells && self.gauges.set_trouble(troubled.clone()) {
            match &troubled {
                Some(why) => {
                    tracing::error!(%why, "what is published is refused until the queue's file (DATA_DIR) can be written");
                }
                None => tracing::info!("the queue's file can be written again"),
            }
        }
        let answer = || match &troubled {
            None => Ok(()),
            Some(why) => Err(refused(why)),
        };
        for done in group.publishers.drain(..).chain(group.settlers.drain(..)) {
            drop(done.send(answer()));
        }
    }

    /// Writes the group, and in the same transaction what can be handed out after it.
    async fn write(&mut self, group: &Group) -> Result<(), sqlx::Error> {
        // Deliveries may come back and acks may be forgotten by a power cut: at least once. A publish may not.
        let durability = if group.publishes.is_empty() {
            Durability::Process
        } else {
            Durability::Power
        };
        if group.is_empty() && self.ledger.wanted().is_empty() {
            return Ok(());
        }
        let mut change = self.table.change(durability).await?;
        let mut appended = Vec::new();
        for (route, id, payload) in &group.publishes {
            for queue in route.queues() {
                appended.push((*queue, *id, payload.as_ref()));
            }
        }
        let tail = change.append(&appended).await?;
        change.remove(&positions(&group.acked)).await?;
        change.count_attempt(&positions(&group.handed_back)).await?;
        let died_at_ms = now_ms();
        for (held, reason) in &group.dead {
            change.bury(&positions(held), reason, died_at_ms).await?;
        }

        // From here on the ledger says what will be if the commit succeeds; where it does not, the caller undoes it.
        for (queue, _, _) in &appended {
            self.ledger.appended(*queue, tail);
        }
        self.ledger.come_again(&group.handed_back);
        let mut taken = Vec::new();
        for wanted in self.ledger.wanted() {
            let rows = change.take(&wanted).await?;
            taken.push((wanted, rows));
        }
        change.commit().await?;

        for (wanted, rows) in taken {
            self.ledger.hand_out(&wanted, rows);
        }
        let bytes = appended
            .iter()
            .map(|(_, _, payload)| payload.len() as u64)
            .sum();
        self.gauges.grown(Size {
            rows: appended.len() as u64,
            bytes,
        });
        let dead = group.dead.iter().flat_map(|(held, _)| held);
        self.left_over
            .settled(group.acked.iter().chain(dead.clone()));
        for held in group.acked.iter().chain(dead.clone()) {
            self.gauges.shrunk(Size {
                rows: 1,
                bytes: held.bytes,
            });
        }
        for held in dead {
            metrics::counter!("chinwag_queue_dead_letters_total", "queue" => held.queue.as_str())
                .increment(1);
        }
        Ok(())
    }

    async fn replay(&mut self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError> {
        let replayed = async {
            let mut change = self.table.change(Durability::Power).await?;
            let replayed = change.replay(queue, ids).await?;
            change.commit().await.map(|()| replayed)
        };
        match replayed.await {
            Ok((back, tail)) => {
                self.gauges.grown(back);
                self.ledger.appended(queue, tail);
                Ok(usize::try_from(back.rows).unwrap_or(usize::MAX))
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn discard(&mut self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError> {
        let discarded = async {
            let mut change = self.table.change(Durability::Power).await?;
            let discarded = change.discard(queue, ids).await?;
            change.commit().await.map(|()| discarded)
        };
        match discarded.await {
            Ok(count) => Ok(count),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn revise(
        &mut self,
        letter: &DeadLetter,
        payload: Option<&[u8]>,
    ) -> Result<usize, QueueError> {
        let revised = async {
            let mut change = self.table.change(Durability::Power).await?;
            let revised = change.revise(letter, payload).await?;
            change.commit().await.map(|()| revised)
        };
        match revised.await {
            Ok(count) => Ok(count),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn failed(&mut self, error: sqlx::Error) -> QueueError {
        if let Err(error) = self.table.reconnect().await {
            tracing::debug!(%error, "the queue's file cannot be opened either; the next write tries again");
        }
        unavailable(error)
    }
}

fn positions(held: &[Held]) -> Vec<i64> {
    held.iter().map(|held| held.position).collect()
}

pub(super) fn unavailable(error: sqlx::Error) -> QueueError {
    refused(error)
}

/// The queue's file is what says so.
pub(super) fn refused(why: impl std::fmt::Display) -> QueueError {
    QueueError::Unavailable {
        why: format!("the queue's file (DATA_DIR): {why}"),
        retry_after: RETRY_AFTER,
    }
}

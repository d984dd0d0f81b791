//! The embedded side of the queue: a table in the data folder, for the start with nothing else installed. It keeps the
//! same promise: what was published is on the disk, also over a power cut, and comes until it is settled.
//!
//! A folder belongs to one process at a time, so who holds which message is kept in memory (`ledger`), and one task
//! (`writer`) owns the file (`table`).

mod disk;
mod ledger;
mod table;
mod writer;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::queue::{
    Consumer, DeadLetter, DeadLetters, Delivery, Queue, QueueError, QueueName, Receipt, Reviser,
    Revision, Route, Verdict,
};
use common::supervise;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use uuid::Uuid;

use self::{
    disk::Disk,
    table::Table,
    writer::{Command, Done, Gauges, RETRY_AFTER, Writer, refused},
};
use crate::{inbox::Inbox, letters::now_ms};

/// The most messages in both queues together. A persister that stands still is noticed long before.
pub const ROWS_MAX: u64 = 1_000_000;

/// The most bytes of payload in both queues together: 1 GiB.
pub const BYTES_MAX: u64 = 1 << 30;

/// The most publishes that wait for the disk; more wait for their turn.
const PUBLISHES_WAITING_MAX: usize = 8_192;

/// How long anything may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How often another process's queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the folder's files are called.
const FILE: &str = "queue.db";
const LOCK_FILE: &str = "queue.lock";

/// The queue in a folder. Dropping it and all its consumers closes it, some time later; [`Queue::close`] waits.
pub struct EmbeddedQueue {
    commands: Commands,
    gauges: Arc<Gauges>,
    disk: Disk,
    publishing: Semaphore,
    next_reader: AtomicU64,
    left_over: watch::Receiver<u64>,
}

/// The queue in a folder that another process uses: it is only looked at.
#[derive(Debug)]
pub struct ForeignQueue {
    file: PathBuf,
}

impl ForeignQueue {
    /// Waits until what lies in [`QueueName::Persist`] by now has been settled.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if that takes longer than `patience`, or the file cannot be read.
    pub async fn is_persisted(&self, patience: Duration) -> Result<(), QueueError> {
        let in_file = |error: sqlx::Error| refused(format!("{}: {error}", self.file.display()));
        let mut look = table::Look::at(&self.file).await.map_err(in_file)?;
        let last = look.last(QueueName::Persist).await.map_err(in_file)?;
        let until = tokio::time::Instant::now() + patience;
        loop {
            let left = look.count_until(QueueName::Persist, last).await;
            let left = left.map_err(in_file)?;
            if left == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(refused(format!(
                    "{left} messages that were acked are not in the database after {patience:?}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The way to the writer.
#[derive(Clone)]
struct Commands(mpsc::UnboundedSender<Command>);

impl EmbeddedQueue {
    /// Opens the queue in this folder, which is made if it is not there. All that was not settled is delivered again.
    /// While its disk has less than `keep_free_bytes` left, [`Queue::ready`] says no; what is published all the same is
    /// what somebody has seen already, and is kept.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if another process uses the folder, or the file cannot be read or written.
    pub async fn open(
        folder: &Path,
        keep_free_bytes: u64,
    ) -> Result<Arc<EmbeddedQueue>, QueueError> {
        let said = |error: std::io::Error| refused(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(said)?;
        let lock = File::create(folder.join(LOCK_FILE)).map_err(said)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refused(format!(
                    "another chinwag uses the folder {}",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(said(error)),
        }
        let file = folder.join(FILE);
        let in_file = |error: sqlx::Error| refused(format!("{}: {error}", file.display()));
        let opened = Table::open(&file).await.map_err(in_file)?;
        let gauges = Arc::new(Gauges::default());
        // Only to tell openings apart.
        let epoch = now_ms();
        let writer = Writer::start(opened, epoch, gauges.clone(), lock)
            .await
            .map_err(in_file)?;
        let left_over = writer.left_over();
        let (commands, receiver) = mpsc::unbounded_channel();
        supervise::spawn_part("embedded queue", writer.run(receiver));
        Ok(Arc::new(EmbeddedQueue {
            commands: Commands(commands),
            gauges,
            disk: Disk::of(folder.to_owned(), keep_free_bytes),
            publishing: Semaphore::new(PUBLISHES_WAITING_MAX),
            next_reader: AtomicU64::new(1),
            left_over,
        }))
    }

    /// The queue of a folder that another process uses at this moment, to look at; none if nobody does.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the folder cannot be read.
    pub async fn of_another_process(folder: &Path) -> Result<Option<ForeignQueue>, QueueError> {
        let said = |error: std::io::Error| refused(format!("{}: {error}", folder.display()));
        let lock = match File::open(folder.join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(said(error)),
        };
        match lock.try_lock() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(ForeignQueue {
                file: folder.join(FILE),
            })),
            Err(TryLockError::Error(error)) => Err(said(error)),
        }
    }

    /// How many of the messages that lay in [`QueueName::Persist`] when the folder was opened are not settled yet: what
    /// an earlier process confirmed, and of which the store may know nothing. It ends with the queue.
    pub fn left_over(&self) -> watch::Receiver<u64> {
        self.left_over.clone()
    }

    /// Whether there is room in the file, and it can be written.
    fn writable(&self) -> Result<(), QueueError> {
        let (rows, bytes) = (
            self.gauges.rows.load(Ordering::Relaxed),
            self.gauges.bytes.load(Ordering::Relaxed),
        );
        if rows >= ROWS_MAX || bytes >= BYTES_MAX {
            return Err(refused(format!(
                "it is full: {rows} messages, {bytes} bytes"
            )));
        }
        let trouble = self.gauges.trouble.lock();
        match &*trouble {
            // Later, somebody has to try.
            Some((when, why)) if when.elapsed() < RETRY_AFTER => Err(refused(why.clone())),
            _ if self.commands.0.is_closed() => Err(refused("the queue is closed".to_owned())),
            _ => Ok(()),
        }
    }
}

impl Commands {
    async fn ask<T>(&self, command: impl FnOnce(Done<T>) -> Command) -> Result<T, QueueError> {
        let (done, answer) = oneshot::channel();
        let closed = || refused("the queue is closed".to_owned());
        self.0.send(command(done)).map_err(|_| closed())?;
        match timeout(TIME_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(refused(format!(
                "the disk did not answer within {} s",
                TIME_LIMIT.as_secs()
            ))),
        }
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn publish(
        &self,
        route: Route,
        _: usize,
        id: Uuid,
        payload: Bytes,
    ) -> Result<(), QueueError> {
        self.writable()?;
        let turn = timeout(TIME_LIMIT, self.publishing.acquire()).await;
        let _turn = turn.map_err(|_| {
            refused(format!(
                "{PUBLISHES_WAITING_MAX} messages wait for the disk"
            ))
        })?;
        self.commands
            .ask(|done| Command::Publish {
                route,
                id,
                payload,
                done,
            })
            .await
    }

    async fn consume(&self, queue: QueueName, prefetch: u16) -> Arc<dyn Consumer> {
        let reader = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::default());
        let command = Command::Consume {
            reader,
            queue,
            prefetch,
            inbox: inbox.clone(),
        };
        if self.commands.0.send(command).is_err() {
            inbox.close();
        }
        Arc::new(EmbeddedConsumer {
            reader,
            inbox,
            commands: self.commands.clone(),
        })
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::new(EmbeddedDeadLetters {
            commands: self.commands.clone(),
        })
    }

    fn ready(&self) -> Result<(), QueueError> {
        match self.disk.short() {
            Some(why) => Err(refused(why)),
            None => self.writable(),
        }
    }

    async fn ping(&self) -> Result<(), QueueError> {
        if let Some(why) = self.disk.short() {
            return Err(refused(why));
        }
        self.commands.ask(|done| Command::Ping { done }).await
    }

    async fn clear_remains(&self) -> Result<(), QueueError> {
        self.commands
            .ask(|done| Command::ClearRemains { done })
            .await
    }

    /// Does what was asked for until now, and closes the file.
    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // Errors say that it is closed already.
        let _ = self.commands.0.send(Command::Stop { done });
        let _ = closed.await;
    }
}

struct EmbeddedConsumer {
    reader: u64,
    inbox: Arc<Inbox>,
    commands: Commands,
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&self) -> Option<Delivery> {
        self.inbox.next().await
    }

    async fn settle(&self, receipts: Vec<Receipt>, verdict: Verdict) -> Result<(), QueueError> {
        let reader = self.reader;
        self.commands
            .ask(|done| Command::Settle {
                reader,
                receipts,
                verdict,
                done,
            })
            .await
    }

    async fn close(&self) {
        let reader = self.reader;
        // An error says that the whole queue is closed.
        let _ = self
            .commands
            .ask(|done| Command::Close { reader, done })
            .await;
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        // An error says that the whole queue is closed.
        let _ = self.commands.0.send(Command::Gone {
            reader: self.reader,
        });
    }
}

struct EmbeddedDeadLetters {
    commands: Commands,
}

#[async_trait]
impl DeadLetters for EmbeddedDeadLetters {
    async fn list(&self, queue: QueueName, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.commands
            .ask(|done| Command::List { queue, limit, done })
            .await
    }

    async fn replay(&self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError> {
        let ids = ids.to_vec();
        self.commands
            .ask(|done| Command::Replay { queue, ids, done })
            .await
    }

    async fn discard(&self, queue: QueueName, ids: &[Uuid]) -> Result<usize, QueueError> {
        let ids = ids.to_vec();
        self.commands
            .ask(|done| Command::Discard { queue, ids, done })
            .await
    }

    async fn count(&self, queue: QueueName) -> Result<usize, QueueError> {
        self.commands
            .ask(|done| Command::CountDead { queue, done })
            .await
    }

    async fn revise(&self, queue: QueueName, reviser: &dyn Reviser) -> Result<usize, QueueError> {
        let mut count = 0;
        for letter in self.list(queue, usize::MAX).await? {
            let payload = match reviser.revise(&letter).await {
                Revision::Leave => continue,
                Revision::Replace(payload) => Some(payload),
                Revision::Forget => None,
            };
            count += self
                .commands
                .ask(|done| Command::Revise {
                    letter,
                    payload,
                    done,
                })
                .await?;
        }
        Ok(count)
    }
}

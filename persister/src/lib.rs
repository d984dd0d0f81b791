//! The persister: takes batches from the queue `persist`, writes them to the database, then acks. Whatever dies in
//! between comes again and changes nothing, so each message is in the database exactly once.
#![warn(missing_docs)]

mod batch;
pub mod dead_letters;
pub mod usage;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use clap::Args;
use common::{
    envelope::Envelope,
    queue::{Consumer, Delivery, Queue, QueueName, Receipt, Verdict},
    store::{Store, WriteError, Written},
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use batch::{Batch, Limits};

/// What can be set about a persister. A batch is written when any of the three is reached.
#[derive(Args, Clone, Debug)]
pub struct PersisterSettings {
    /// The most messages in one statement and commit.
    #[arg(long, env = "PERSIST_BATCH_MESSAGES", default_value = "512", value_parser = clap::value_parser!(u16).range(1..=8192))]
    pub persist_batch_messages: u16,
    /// The most bytes of payload in one batch; a single larger message goes alone.
    #[arg(long, env = "PERSIST_BATCH_BYTES", default_value = "1048576")]
    pub persist_batch_bytes: usize,
    /// Milliseconds that the first message of a batch waits for others.
    #[arg(long, env = "PERSIST_BATCH_MS", default_value = "20")]
    pub persist_batch_ms: u64,
}

/// Between two attempts at a database that is away: the first and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// How many batches may be in hand, the one that is being written among them, if each message came alone. What came
/// together counts as one: at worst 32 KiB each, with the default batch 48 MiB.
const BATCHES_IN_HAND: u16 = 3;

/// Persists until `stop`. What is in hand then is written, or, if the database is away, handed back.
pub async fn run(
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    settings: &PersisterSettings,
    stop: CancellationToken,
) {
    let limits = Limits {
        messages: usize::from(settings.persist_batch_messages),
        bytes: settings.persist_batch_bytes,
    };
    let most_age = Duration::from_millis(settings.persist_batch_ms);
    let prefetch = settings
        .persist_batch_messages
        .saturating_mul(BATCHES_IN_HAND);
    let consumer = queue.consume(QueueName::Persist, prefetch).await;
    let persister = Persister {
        consumer,
        store,
        stop,
    };
    tracing::info!(prefetch, "persisting");
    while let Some(batch) = persister.collect(limits, most_age).await {
        persister.persist(batch).await;
    }
    persister.consumer.close().await;
    tracing::info!("stopped: nothing is in hand");
}

struct Persister {
    consumer: Arc<dyn Consumer>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
}

/// What came of one batch, delivery by delivery.
#[derive(Default)]
struct Outcome {
    done: Vec<Receipt>,
    dead: Vec<(Receipt, String)>,
}

impl Persister {
    /// The next batch; none once it is time to stop.
    async fn collect(&self, limits: Limits, most_age: Duration) -> Option<Batch> {
        let first = self
            .stop
            .run_until_cancelled(self.consumer.next())
            .await??;
        let full_at = Instant::now() + most_age;
        let mut batch = Batch::new(limits);
        batch.push(first);
        while !batch.is_full() && !self.stop.is_cancelled() {
            match timeout_at(full_at, self.consumer.next()).await {
                Ok(Some(delivery)) => batch.push(delivery),
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    async fn persist(&self, batch: Batch) {
        let began = Instant::now();
        let mut outcome = Outcome::default();
        let mut rows = Vec::new();
        for Delivery {
            payload, receipt, ..
        } in batch.into_deliveries()
        {
            match Envelope::read(&payload) {
                Ok(envelope) => rows.push((receipt, envelope)),
                Err(reason) => outcome.dead.push((receipt, reason)),
            }
        }
        let count = rows.len();
        self.write(rows, &mut outcome).await;
        metrics::histogram!("chinwag_persist_batch_seconds").record(began.elapsed().as_secs_f64());
        metrics::histogram!("chinwag_persist_batch_messages").record(count as f64);
        self.settle(outcome).await;
    }

    /// Writes rows in one go; where one of them can never be written, in halves, until that one is alone.
    async fn write(&self, rows: Vec<(Receipt, Envelope)>, outcome: &mut Outcome) {
        let mut pieces = vec![rows];
        while let Some(mut piece) = pieces.pop() {
            let envelopes: Vec<Envelope> =
                piece.iter().map(|(_, envelope)| envelope.clone()).collect();
            match self.write_when_possible(&envelopes).await {
                Some(Ok(written)) => note_written(&piece, &written, outcome),
                Some(Err(reason)) if piece.len() == 1 => outcome.dead.extend(
                    piece
                        .drain(..)
                        .map(|(receipt, _)| (receipt, reason.clone())),
                ),
                Some(Err(_)) => {
                    let rest = piece.split_off(piece.len() / 2);
                    pieces.extend([rest, piece]);
                }
                // Time to stop while the database is away: these go back to the queue.
                None => {
                    let receipts = piece.into_iter().map(|(receipt, _)| receipt).collect();
                    self.hand_back(receipts).await;
                }
            }
        }
    }

    /// Writes, waiting for a database that is away. `Err` with a reason if a row is refused for good; `None` if it was
    /// time to stop before the database came back.
    async fn write_when_possible(&self, envelopes: &[Envelope]) -> Option<Result<Written, String>> {
        if envelopes.is_empty() {
            return Some(Ok(Written::default()));
        }
        let back_off = ExponentialBuilder::new()
            .with_min_delay(RETRY_FIRST)
            .with_max_delay(RETRY_LONGEST);
        let mut pauses = back_off.with_jitter().without_max_times().build();
        loop {
            let why = match self.store.write(envelopes).await {
                Ok(written) => return Some(Ok(written)),
                Err(WriteError::Rejected(reason)) => return Some(Err(reason)),
                Err(WriteError::Unavailable(why)) => why,
            };
            let pause = pauses.next().unwrap_or(RETRY_LONGEST);
            metrics::counter!("chinwag_persist_waits_total").increment(1);
            tracing::warn!(%why, messages = envelopes.len(), again_in = ?pause, "the database is away; nothing is lost, the batch waits");
            self.stop
                .run_until_cancelled(tokio::time::sleep(pause))
                .await?;
        }
    }

    async fn settle(&self, outcome: Outcome) {
        for (receipt, reason) in outcome.dead {
            metrics::counter!("chinwag_persist_dead_letters_total").increment(1);
            tracing::error!(%reason, "a message cannot be written: it goes to the dead letters, see `persister dead-letters`");
            if let Err(error) = self
                .consumer
                .settle(vec![receipt], Verdict::DeadLetter(reason))
                .await
            {
                tracing::warn!(%error, "the dead letter could not be kept; it comes again");
            }
        }
        if let Err(error) = self.consumer.settle(outcome.done, Verdict::Ack).await {
            tracing::warn!(%error, "a batch is written but not acked; it comes again and changes nothing");
        }
    }

    async fn hand_back(&self, receipts: Vec<Receipt>) {
        tracing::info!(
            messages = receipts.len(),
            "handing back what could not be written before stopping"
        );
        if let Err(error) = self.consumer.settle(receipts, Verdict::HandBack).await {
            tracing::warn!(%error, "could not hand back; the queue does it by itself when this process is gone");
        }
    }
}

fn note_written(piece: &[(Receipt, Envelope)], written: &Written, outcome: &mut Outcome) {
    metrics::counter!("chinwag_persisted_messages_total").increment(written.new as u64);
    metrics::counter!("chinwag_persist_duplicates_total")
        .increment((piece.len() - written.new - written.conflicts.len()) as u64);
    for (position, (receipt, envelope)) in piece.iter().enumerate() {
        if written.conflicts.contains(&position) {
            let message = &envelope.message;
            let reason = format!(
                "place {} of room {} belongs to another message than {}",
                message.seq, message.room, message.id
            );
            outcome.dead.push((*receipt, reason));
        } else {
            outcome.done.push(*receipt);
        }
    }
}

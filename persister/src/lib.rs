//! The persister: takes batches from the queue `persist`, writes them to the database, then acks. Whatever dies in
//! between comes again and changes nothing, so each message is in the database exactly once.
#![warn(missing_docs)]

pub mod accounts;
pub mod archive;
mod batch;
pub mod dead_letters;
mod deleted_rooms;
mod erasing;
mod old_messages;
pub mod repair;
pub mod rooms;
pub mod usage;

use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::Args;
use common::{
    envelope::Envelope,
    queue::{Consumer, Queue, QueueName, Receipt, Verdict},
    retry::{GaveUp, RetryPolicy, retry_until},
    store::{Store, StoreError, WriteError, Written},
    supervise::{self, Fault},
    traces::{self, Span, SpanKind},
    wire::{Kind, Seq, now_seq},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use batch::{Batch, BatchLimits};
use deleted_rooms::DeletedRooms;
use erasing::Eraser;
pub use old_messages::Keeping;
use old_messages::{Gone, OldMessages};

/// What can be set about a persister. A batch is written when any of the three is reached.
#[derive(Args, Clone, Debug)]
pub struct PersisterSettings {
    /// The most messages in one commit.
    #[arg(long, env = "PERSIST_BATCH_MESSAGES", default_value = "1024", value_parser = clap::value_parser!(u16).range(1..=8192))]
    pub persist_batch_messages: u16,
    /// The most bytes of payload in one batch; a single larger message goes alone.
    #[arg(long, env = "PERSIST_BATCH_BYTES", default_value = "1048576")]
    pub persist_batch_bytes: usize,
    /// Milliseconds that the first message of a batch waits for others.
    #[arg(long, env = "PERSIST_BATCH_MS", default_value = "20")]
    pub persist_batch_ms: u64,
    /// How long what is old is kept.
    #[command(flatten)]
    pub keeping: Keeping,
}

impl PersisterSettings {
    /// For a process that only empties a queue, and takes nothing away.
    pub const EMPTYING: PersisterSettings = PersisterSettings {
        persist_batch_messages: 1024,
        persist_batch_bytes: 1_048_576,
        persist_batch_ms: 20,
        keeping: Keeping {
            retention_days: 0,
            reply_log_days: 0,
        },
    };
}

/// So often in a row the database refuses a batch, and takes other rows, before it counts as the batch's fault.
const REFUSALS: u32 = 3;

/// When a batch is written again after the database was away.
const WRITE_AGAIN: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(5));

/// How many batches are in hand, if each message came alone: one is written, one collected. What came together counts
/// as one: at worst 32 KiB each.
const BATCHES_IN_HAND: u16 = 2;

/// The most that is in hand. What RabbitMQ has handed to a process over a node that stands still it gives to others
/// only when it knows that the node is gone, a minute later.
const IN_HAND_MAX: u16 = 512;

/// Persists until `stop`. What is in hand then is written, or, if the database is away, handed back.
///
/// # Errors
/// [`Fault`] if messages are not collected any more, after those that were are settled.
pub async fn run(
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    settings: &PersisterSettings,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let limits = BatchLimits {
        messages: usize::from(settings.persist_batch_messages),
        bytes: settings.persist_batch_bytes,
    };
    let most_age = Duration::from_millis(settings.persist_batch_ms);
    let prefetch = settings
        .persist_batch_messages
        .saturating_mul(BATCHES_IN_HAND)
        .min(IN_HAND_MAX);
    let old = Arc::new(OldMessages::new(Arc::clone(&store), settings.keeping));
    let eraser = Arc::new(Eraser::new(
        Arc::clone(&queue),
        Arc::clone(&store),
        Arc::clone(&old),
    ));
    let persister = Persister {
        consumer: queue.consume(QueueName::Persist, prefetch).await,
        store,
        deleted_rooms: Arc::default(),
        eraser: Arc::clone(&eraser),
        old: Arc::clone(&old),
        stop: stop.clone(),
    };
    tracing::info!(prefetch, "persisting");
    let erasing = supervise::spawn_until("eraser", &stop, async move { eraser.run().await });
    let _erasing = AbortOnDropHandle::new(erasing);
    let removing = supervise::spawn_until("old messages", &stop, async move { old.run().await });
    let _removing = AbortOnDropHandle::new(removing);
    // The next batch is collected and read while one is written; one at a time is written, in their order.
    let (batches, mut collected) = mpsc::channel(1);
    let collecting = collect_all(persister.clone(), limits, most_age, batches);
    let collecting = AbortOnDropHandle::new(supervise::spawn("collector", &stop, collecting));
    let mut in_vain = false;
    while let Some(batch) = collected.recv().await {
        if in_vain {
            // The database was away when it was time to stop.
            persister.hand_back(batch.all()).await;
        } else {
            in_vain = !persister.persist(batch).await;
        }
    }
    persister.consumer.close().await;
    // A collector that died hands on as little as one that was told to stop.
    collecting.await.unwrap_or(Ok(()))?;
    tracing::info!("stopped: nothing is in hand");
    Ok(())
}

/// Passes on one batch after the other, until it is time to stop.
async fn collect_all(
    persister: Persister,
    limits: BatchLimits,
    most_age: Duration,
    batches: mpsc::Sender<Collected>,
) {
    // The permit first: what is in hand is what is written and one batch more.
    while let Ok(permit) = batches.reserve().await {
        let Some(batch) = persister.collect(limits, most_age).await else {
            return;
        };
        permit.send(Collected::read(batch));
    }
}

#[derive(Clone)]
struct Persister {
    consumer: Arc<dyn Consumer>,
    store: Arc<dyn Store>,
    deleted_rooms: Arc<DeletedRooms>,
    eraser: Arc<Eraser>,
    old: Arc<OldMessages>,
    stop: CancellationToken,
}

/// A batch, ready to be written: an envelope for each receipt, and what is none.
#[derive(Default)]
struct Collected {
    receipts: Vec<Receipt>,
    envelopes: Vec<Envelope>,
    dead: Vec<(Receipt, String)>,
    /// What only asks for another answer: the message itself was handed over when it was posted, and may have had another text.
    asked_again: Vec<Receipt>,
}

impl Collected {
    fn read(batch: Batch) -> Collected {
        let mut collected = Collected::default();
        for delivery in batch.into_deliveries() {
            match Envelope::read(&delivery.payload) {
                Ok(envelope) if envelope.again.is_some() => {
                    collected.asked_again.push(delivery.receipt);
                }
                Ok(envelope) => {
                    collected.receipts.push(delivery.receipt);
                    collected.envelopes.push(envelope);
                }
                Err(reason) => collected.dead.push((delivery.receipt, reason)),
            }
        }
        collected
    }

    /// Takes out what is for these rooms, and what is gone by age.
    fn without(self, rooms: &HashSet<String>, gone: &Gone) -> (Collected, Vec<Receipt>) {
        let mut rest = Collected {
            dead: self.dead,
            asked_again: self.asked_again,
            ..Collected::default()
        };
        let mut out = Vec::new();
        for (receipt, envelope) in self.receipts.into_iter().zip(self.envelopes) {
            if rooms.contains(&envelope.message.room) || gone.has(&envelope.message) {
                out.push(receipt);
            } else {
                rest.receipts.push(receipt);
                rest.envelopes.push(envelope);
            }
        }
        (rest, out)
    }

    fn all(self) -> Vec<Receipt> {
        let dead = self.dead.into_iter().map(|(receipt, _)| receipt);
        let rest = self.asked_again.into_iter().chain(dead);
        self.receipts.into_iter().chain(rest).collect()
    }
}

/// What came of one batch, delivery by delivery.
#[derive(Default)]
struct BatchOutcome {
    done: Vec<Receipt>,
    dead: Vec<(Receipt, String)>,
    back: Vec<Receipt>,
}

impl Persister {
    /// The next batch; none once it is time to stop.
    async fn collect(&self, limits: BatchLimits, most_age: Duration) -> Option<Batch> {
        let first = self
            .stop
            .run_until_cancelled(self.consumer.next())
            .await??;
        // One timer for the whole batch; most are there already and never look at it.
        let mut full = pin!(sleep(most_age));
        let mut batch = Batch::new(limits);
        batch.push(first);
        while !batch.is_full() && !self.stop.is_cancelled() {
            tokio::select! {
                biased;
                next = self.consumer.next() => match next {
                    Some(delivery) => batch.push(delivery),
                    None => break,
                },
                () = &mut full => break,
            }
        }
        Some(batch)
    }

    /// False if it was time to stop while the database was away.
    async fn persist(&self, batch: Collected) -> bool {
        let began = Instant::now();
        let Some((deleted, gone)) = self.not_to_be_written(&batch).await else {
            self.hand_back(batch.all()).await;
            return false;
        };
        let (batch, forgotten) = match deleted.is_empty() && gone.is_empty() {
            true => (batch, Vec::new()),
            false => batch.without(&deleted, &gone),
        };
        if !forgotten.is_empty() {
            metrics::counter!("chinwag_persist_forgotten_total").increment(forgotten.len() as u64);
        }
        tell_age(&batch.envelopes);
        let spans = spans_of(&batch.envelopes);
        let mut outcome = self.write(&batch).await;
        drop(spans);
        tell_age(&[]);
        outcome.done.extend(forgotten);
        metrics::histogram!("chinwag_persist_batch_seconds").record(began.elapsed().as_secs_f64());
        metrics::histogram!("chinwag_persist_batch_messages").record(batch.envelopes.len() as f64);
        let deletes = |envelope: &Envelope| envelope.message.kind == Kind::Deleted;
        if batch.envelopes.iter().any(deletes) {
            self.eraser.look_again();
        }
        outcome.done.extend(batch.asked_again);
        outcome.dead.extend(batch.dead);
        let in_vain = std::mem::take(&mut outcome.back);
        self.settle(outcome).await;
        let all = in_vain.is_empty();
        if !all {
            self.hand_back(in_vain).await;
        }
        all
    }

    /// Which of the batch's rooms were deleted, and what of the others is gone by age; none if it was time to stop while the
    /// database was away.
    async fn not_to_be_written(&self, batch: &Collected) -> Option<(HashSet<String>, Gone)> {
        let look = async || {
            let rooms = batch.envelopes.iter().map(|one| &*one.message.room);
            let deleted = self.deleted_rooms.among(&*self.store, rooms).await?;
            let messages = batch.envelopes.iter().map(|one| &one.message);
            Ok((deleted, self.old.gone_among(messages).await?))
        };
        let told = |error: &StoreError, again_in| {
            metrics::counter!("chinwag_persist_waits_total").increment(1);
            tracing::warn!(%error, ?again_in, "which rooms were deleted, and what is gone of others, cannot be asked; nothing is lost, it waits");
        };
        retry_until(&self.stop, WRITE_AGAIN, look, told).await.ok()
    }

    /// Writes rows in one go; where one of them can never be written, in halves, until that one is alone.
    async fn write(&self, batch: &Collected) -> BatchOutcome {
        let mut outcome = BatchOutcome::default();
        let mut pieces = vec![(0, batch.envelopes.len())];
        while let Some((start, end)) = pieces.pop() {
            let receipts = &batch.receipts[start..end];
            let envelopes = &batch.envelopes[start..end];
            match self.write_when_possible(envelopes).await {
                Ok(written) => note_written(receipts, envelopes, &written, &mut outcome),
                Err(GaveUp::Failed(error)) if end - start == 1 => {
                    outcome.dead.push((receipts[0], error.to_string()));
                }
                Err(GaveUp::Failed(_)) => {
                    let middle = usize::midpoint(start, end);
                    pieces.extend([(middle, end), (start, middle)]);
                }
                // Time to stop while the database is away: all that is left goes back to the queue.
                Err(GaveUp::Stopped(_)) => {
                    outcome.back.extend(receipts);
                    for (start, end) in pieces.drain(..) {
                        outcome.back.extend(&batch.receipts[start..end]);
                    }
                }
            }
        }
        outcome
    }

    /// Writes, waiting for a database that is away until it is time to stop. One that refuses this again and again, and
    /// meanwhile takes rows as large, is not away, whatever it says: then it is a row's fault.
    async fn write_when_possible(
        &self,
        envelopes: &[Envelope],
    ) -> Result<Written, GaveUp<WriteError>> {
        if envelopes.is_empty() {
            return Ok(Written::default());
        }
        let largest = envelopes.iter().map(|one| one.message.message.len()).max();
        let refusals = AtomicU32::new(0);
        let write = async || match self.store.write(envelopes).await {
            Err(WriteError::Unexplained(why)) => {
                if self.store.takes_rows(largest.unwrap_or(0)).await.is_err() {
                    refusals.store(0, Ordering::Relaxed);
                } else if refusals.fetch_add(1, Ordering::Relaxed) + 1 >= REFUSALS {
                    return Err(WriteError::Rejected(why));
                }
                Err(WriteError::Unexplained(why))
            }
            written => {
                refusals.store(0, Ordering::Relaxed);
                written
            }
        };
        let told = |error: &WriteError, again_in| {
            metrics::counter!("chinwag_persist_waits_total").increment(1);
            tell_age(envelopes);
            tracing::warn!(%error, messages = envelopes.len(), ?again_in, "the database does not take a batch; nothing is lost, it waits");
        };
        retry_until(&self.stop, WRITE_AGAIN, write, told).await
    }

    async fn settle(&self, outcome: BatchOutcome) {
        if !outcome.dead.is_empty() {
            // It may hold what was deleted before.
            self.eraser.look_again();
        }
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

/// One span for each message that is traced, in its own trace, and one for the batch, to which they are linked: it hangs at
/// the first of them, since a trace of its own might not be sampled.
fn spans_of(envelopes: &[Envelope]) -> Vec<Span> {
    if !traces::is_on() {
        return Vec::new();
    }
    let traced = envelopes.iter().filter(|one| one.trace.is_some());
    let mut spans: Vec<Span> = traced
        .map(|one| {
            Span::waited("queue", one.message.seq, one.trace);
            Span::child_as("persist", SpanKind::Consumer, one.trace)
        })
        .collect();
    let mut batch = Span::child("persist batch", spans.first().and_then(Span::context));
    batch.set("messaging.batch.message_count", envelopes.len() as i64);
    for span in &mut spans {
        if let (Some(one), Some(all)) = (span.context(), batch.context()) {
            batch.link(one);
            span.link(all);
        }
    }
    spans.push(batch);
    spans
}

/// How long ago something was appended, by this machine's clock.
fn seconds_since(seq: Seq) -> f64 {
    now_seq().saturating_sub(seq) as f64 / 1e6
}

/// Tells how old the oldest message is that is waited with; of none, that none is.
fn tell_age(envelopes: &[Envelope]) {
    let oldest = envelopes.iter().map(|one| one.message.seq).min();
    metrics::gauge!("chinwag_queue_age_seconds", "queue" => QueueName::Persist.as_str())
        .set(oldest.map_or(0.0, seconds_since));
}

fn note_written(
    receipts: &[Receipt],
    envelopes: &[Envelope],
    written: &Written,
    outcome: &mut BatchOutcome,
) {
    metrics::counter!("chinwag_persisted_messages_total").increment(written.new as u64);
    let shown_to_row = metrics::histogram!("chinwag_shown_to_row_seconds");
    metrics::counter!("chinwag_persist_duplicates_total")
        .increment((receipts.len() - written.new - written.conflicts.len()) as u64);
    for (position, (receipt, envelope)) in receipts.iter().zip(envelopes).enumerate() {
        if written.conflicts.contains(&position) {
            let message = &envelope.message;
            let what = match message.kind {
                Kind::Edited => "this edit: ",
                Kind::Deleted => "this deletion: ",
                _ => "",
            };
            let reason = format!(
                "{what}another message has seq {} of room {}, or the id {}",
                message.seq, message.room, message.id
            );
            outcome.dead.push((*receipt, reason));
        } else {
            let message = &envelope.message;
            shown_to_row.record(seconds_since(message.seq));
            outcome.done.push(*receipt);
        }
    }
}

//! Takes requests as they come and settles them when they are done; on the way out, finishes what it can and hands
//! back the rest.

use std::{num::NonZeroU32, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use common::{
    envelope::Envelope,
    live::{BotOffer, Control, LiveEvent, Signal},
    posting::Poster,
    queue::{Consumer, Delivery, QueueName, Receipt, Verdict},
    store::DeletedAccounts,
    supervise,
    timeline::Timeline,
    traces::{self, Span, SpanKind},
    wire::{Kind, Seq, now_seq},
};
use futures_util::FutureExt;
use metrics::{counter, gauge};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Engines,
    allowance::Allowance,
    answering::{Answering, Request},
    asking::Asking,
    deadline::{Times, reserve, time_left},
    executing::Executing,
    fallback::Reason,
    in_flight::{InFlight, Ticket},
    interrupts::{Drain, Interrupts},
    load::RecentTimes,
    model::Model,
    replies::Replies,
    run_queue::RunQueueEnd,
    running_summaries::RunningSummaries,
    settings::{ModelApi, WorkerSettings},
    spending::Budgeting,
    turns::{QueuedTurn, Turns},
};

/// The fewest requests that are held at a time, asked or waiting: each has its deadline watched here. What is held takes
/// nothing from others, since whoever has a slot answers it; and what is not held cannot be told that it waits in vain.
const PREFETCH_MIN: usize = 512;
/// How many more than may be asked at a time.
const PREFETCH_PER_SLOT: usize = 4;
/// How long the names of those who are gone are believed: so long a model may still be told one.
const NAMES_KEPT_FOR: Duration = Duration::from_secs(20);
/// The most controls that wait to be read.
const CONTROLS_WAITING_MAX: usize = 256;
/// How often a worker says what rooms may choose.
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// The most of the time for draining that is kept for handing back and for the last confirms.
const DRAIN_RESERVE_MAX: Duration = Duration::from_secs(2);

/// One bot worker.
pub(crate) struct Worker {
    answering: Answering,
    asking: Arc<Asking>,
    run_queue: Arc<RunQueueEnd>,
    executing: Arc<Executing>,
    poster: Poster,
    engines: Engines,
    in_flight: InFlight,
    turns: Turns,
    drain: Drain,
    deadline: Duration,
    drain_time: Duration,
    prefetch: u16,
    offer: BotOffer,
}

impl Worker {
    /// One that asks `model`.
    pub(crate) fn new(
        engines: Engines,
        settings: &WorkerSettings,
        model: Arc<dyn Model>,
    ) -> Worker {
        // From 0 on: whoever is alerted by fallbacks would not see the first of them come into being.
        for reason in Reason::ALL {
            counter!("chinwag_bot_requests_total", "outcome" => reason.as_str()).absolute(0);
        }
        let concurrency = settings.bot_concurrency.get();
        let prefetch = PREFETCH_MIN.max(PREFETCH_PER_SLOT * concurrency);
        let poster = Poster::new(
            Arc::clone(&engines.live),
            Arc::clone(&engines.queue),
            Arc::clone(&engines.store),
        );
        let allowance = Allowance::new(
            Arc::clone(&engines.quota),
            settings.limits(),
            NonZeroU32::new(settings.bot_user_rpm),
        );
        let budgeting = Budgeting::new(
            Arc::clone(&engines.quota),
            Arc::clone(&engines.store),
            Arc::clone(&allowance),
            settings.budgets(),
            settings.bot_prices.clone(),
        );
        let asking = Arc::new(Asking::new(
            model,
            settings.models(),
            concurrency,
            allowance,
            budgeting,
        ));
        let turns = Turns::new(Arc::clone(&engines.live), settings.bot_deadline);
        let (drain, run_queue) = (
            Drain::default(),
            RunQueueEnd::new(Arc::clone(&engines.quota), Arc::clone(asking.slots())),
        );
        let run_queue = Arc::new(run_queue);
        let timeline = Timeline::new(
            Arc::clone(&engines.live),
            Arc::clone(&engines.store),
            poster.clone(),
        );
        let replies = Arc::new(Replies {
            timeline: timeline.clone(),
            live: Arc::clone(&engines.live),
            store: Arc::clone(&engines.store),
            poster: poster.clone(),
            fallback: settings.bot_fallback.clone(),
            prices: settings.bot_prices.clone(),
        });
        let executing = Arc::new(Executing {
            engines: engines.clone(),
            replies: Arc::clone(&replies),
            timeline,
            deleted_accounts: DeletedAccounts::new(Arc::clone(&engines.store), NAMES_KEPT_FOR),
            asking: Arc::clone(&asking),
            turns: turns.clone(),
            drain: drain.clone(),
            deadline: settings.bot_deadline,
            context_tokens: settings.bot_context_tokens.get(),
            thinking: settings.bot_thinking,
            search: settings.bot_search,
            summaries: RunningSummaries::default(),
        });
        let answering = Answering {
            replies,
            asking: Arc::clone(&asking),
            run_queue: Arc::clone(&run_queue),
            executing: Arc::clone(&executing),
            concurrency,
            prefetch,
            each: RecentTimes::default(),
        };
        Worker {
            answering,
            asking,
            run_queue,
            executing,
            poster,
            engines,
            in_flight: InFlight::default(),
            turns,
            drain,
            deadline: settings.bot_deadline,
            drain_time: settings.drain_time,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            offer: BotOffer {
                models: settings.models().to_vec(),
                thinking: settings.bot_thinking,
                // Over the other API there is no way of it that servers have in common.
                search: settings.bot_search && settings.bot_model_api == ModelApi::Gemini,
            },
        }
    }

    /// Works until `stop`, and then for at most the settings' `drain_time` on what is under way.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let asking = Arc::clone(&this.asking);
        let checking = async move { asking.check().await };
        let checking = supervise::spawn_part("model check", checking);
        let listening = Arc::clone(&this).listen_for_stops();
        let listening = supervise::spawn("stop requests", &stop, listening);
        // Before the first request comes: its deadline may have begun while others ran.
        let pause = this.asking.allowance().show().await;
        let began = this.asking.allowance().now();
        let asking = Arc::clone(&this.asking);
        let keeping_up = async move { asking.allowance().keep_up(pause).await };
        let keeping_up = supervise::spawn("quota showing", &stop, keeping_up);
        // Where the books are empty, before the first call.
        this.asking.budgeting().look_after().await;
        let asking = Arc::clone(&this.asking);
        let looking_after = async move { asking.budgeting().keep_up().await };
        let looking_after = supervise::spawn("budgets", &stop, looking_after);
        let offering = supervise::spawn("bot offers", &stop, Arc::clone(&this).keep_offering());
        let consumer = this
            .engines
            .queue
            .consume(QueueName::BotRequests, this.prefetch)
            .await;
        let jobs = TaskTracker::new();
        // A connection that breaks again and again brings new requests each time, while the old ones are still here.
        let held = Arc::new(Semaphore::new(2 * usize::from(this.prefetch)));
        let next = async || {
            let held = Arc::clone(&held).acquire_owned().await.ok()?;
            Some((consumer.next().await?, held))
        };
        let executing = Arc::clone(&this).execute_offers(jobs.clone());
        let executing = supervise::spawn("run queue", &stop, executing);
        tracing::info!(prefetch = this.prefetch, "taking requests");
        while let Some(Some((delivery, held))) = stop.run_until_cancelled(next()).await {
            let job = Arc::clone(&this).take(delivery, began, Arc::clone(&consumer));
            jobs.spawn(async move {
                job.await;
                drop(held);
            });
        }
        jobs.close();
        checking.abort();
        executing.abort();
        this.finish(&jobs, consumer).await;
        listening.abort();
        offering.abort();
        keeping_up.abort();
        looking_after.abort();
    }

    /// Answers what the fleet has to be answered, as long as there is a slot.
    async fn execute_offers(self: Arc<Self>, jobs: TaskTracker) {
        loop {
            let workers = || self.asking.allowance().workers();
            let run = self.run_queue.next(workers).await;
            let executing = Arc::clone(&self.executing);
            jobs.spawn(async move { executing.execute(run).await });
        }
    }

    /// Says what rooms may choose, again and again: whoever begins to listen has it soon.
    async fn keep_offering(self: Arc<Self>) {
        loop {
            let offers = Control::BotOffers(self.offer.clone());
            if let Err(error) = self.engines.live.signal(&Signal::Control(offers)).await {
                tracing::debug!(%error, "what rooms may choose was not said; it will be");
            }
            sleep(OFFER_EVERY).await;
        }
    }

    /// Stops replies that people want stopped. A wish that is lost is as if it had come too late.
    async fn listen_for_stops(self: Arc<Self>) {
        let (_line, mut events) = self.engines.live.subscriber(CONTROLS_WAITING_MAX);
        while let Some(event) = events.recv().await {
            if let LiveEvent::Control(Control::StopReply { room, reply, by }) = event
                && (self.in_flight.stop(reply, &by) | self.run_queue.stop(reply, &by))
            {
                tracing::info!(%reply, room, "somebody stopped the reply");
            }
        }
    }

    async fn finish(&self, jobs: &TaskTracker, consumer: Arc<dyn Consumer>) {
        let drain_time = self.drain_time;
        let end = Instant::now() + drain_time;
        let reserve = (drain_time / 5).min(DRAIN_RESERVE_MAX);
        self.drain.begun.cancel();
        consumer.close().await;
        if timeout_at(end - reserve, jobs.wait()).await.is_err() {
            tracing::warn!(
                replies = jobs.len(),
                "the time for draining is up: handing back what is under way"
            );
            self.drain.over.cancel();
            // Only settling is left to do.
            drop(timeout_at(end, jobs.wait()).await);
        }
        // They end as draining begins; what their calls have used is still to be written.
        self.executing.summaries.making.close();
        drop(timeout_at(end, self.executing.summaries.making.wait()).await);
        if !self.asking.budgeting().written(end).await {
            tracing::warn!("stopped before all that calls have used was written down");
        }
        if !self.poster.drained(end).await {
            tracing::warn!(
                "stopped before the last reply was confirmed; it is shown, and its request is in the queue still"
            );
        }
    }

    /// Takes one delivery in hand, at once and in order; the future that is returned does the rest.
    fn take(
        self: Arc<Self>,
        delivery: Delivery,
        began: Seq,
        consumer: Arc<dyn Consumer>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let job = match Envelope::read(&delivery.payload) {
            Ok(envelope) if envelope.message.kind == Kind::User => {
                let reply = envelope.reply_id();
                let Envelope {
                    message,
                    again,
                    trace,
                    ..
                } = envelope;
                let asked = again.as_ref().map_or(message.seq, |again| again.at);
                let by = again.and_then(|again| again.by);
                let age = now_seq().saturating_sub(asked) as f64 / 1e6;
                gauge!("chinwag_queue_age_seconds", "queue" => QueueName::BotRequests.as_str())
                    .set(age);
                // Without a ticket it is under way already, and settled along with that.
                self.in_flight.take(reply, delivery.receipt).map(|ticket| {
                    Span::waited("queue", asked, trace);
                    let mut span = Span::child_as("answer", SpanKind::Consumer, trace);
                    span.set("attempt", i64::from(delivery.attempt));
                    let request = Request {
                        message,
                        by,
                        asked,
                        reply,
                        attempt: delivery.attempt,
                        received: Instant::now(),
                        trace: span.context(),
                    };
                    let interrupts = self.interrupts(&request, began, &ticket);
                    // What orders the queue is the time at which it was asked for.
                    let (room, asker) = (&request.message.room, request.asker());
                    let queued = self
                        .turns
                        .enqueue(room, asker, reply, asked, request.attempt);
                    Job::Answer(Box::new((request, queued, interrupts, ticket, span)))
                })
            }
            // The bot never answers a bot: two of them would never stop.
            Ok(_) => Some(Job::Settle(Verdict::Ack)),
            Err(reason) => {
                tracing::warn!(reason, "a request that cannot be read: to the dead letters");
                counter!("chinwag_bot_requests_total", "outcome" => "unreadable").increment(1);
                Some(Job::Settle(Verdict::DeadLetter(reason)))
            }
        };
        let receipt = delivery.receipt;
        async move {
            match job {
                None => {}
                Some(Job::Settle(verdict)) => settle(&*consumer, vec![receipt], verdict).await,
                Some(Job::Answer(job)) => {
                    let (request, queued, interrupts, ticket, span) = *job;
                    gauge!("chinwag_bot_under_way").increment(1);
                    let answering = self.answer(&request, queued, &interrupts);
                    let verdict = traces::within(request.trace, answering).await;
                    drop(span);
                    gauge!("chinwag_bot_under_way").decrement(1);
                    settle(&*consumer, ticket.done(), verdict).await;
                }
            }
        }
    }

    fn interrupts(&self, request: &Request, began: Seq, ticket: &Ticket) -> Interrupts {
        let allowance = self.asking.allowance();
        let fleet_since = allowance.fleet_since();
        let times = Times {
            posted: request.asked,
            began: fleet_since.map_or(began, |since| since.min(began)),
            received: allowance.now(),
            attempt: request.attempt,
        };
        let left = time_left(times, self.deadline);
        let reserve = reserve(self.deadline).min(left);
        Interrupts {
            grace: reserve / 2,
            received: request.received,
            respond_by: request.received + (left - reserve),
            deadline: self.deadline,
            stopped: ticket.stopped.clone(),
            drain: self.drain.clone(),
        }
    }

    async fn answer(
        &self,
        request: &Request,
        queued: QueuedTurn,
        interrupts: &Interrupts,
    ) -> Verdict {
        let answering = AssertUnwindSafe(self.answering.answer(request, queued, interrupts));
        answering.catch_unwind().await.unwrap_or_else(|_| {
            // Its attempts are counted by the queue, so that this ends with the fallback.
            tracing::error!(request = %request.message.id, room = %request.message.room, "answering panicked: handing back");
            Verdict::HandBack
        })
    }
}

enum Job {
    Settle(Verdict),
    Answer(Box<(Request, QueuedTurn, Interrupts, Ticket, Span)>),
}

async fn settle(consumer: &dyn Consumer, receipts: Vec<Receipt>, verdict: Verdict) {
    if let Err(error) = consumer.settle(receipts, verdict).await {
        tracing::warn!(%error, "a request could not be settled; it will come again, and its reply be found");
    }
}

//! The bot's side of the room: takes requests from the queue, asks the model, posts exactly one reply to each.
//!
//! | module | does |
//! |---|---|
//! | `worker` | takes and settles requests, drains |
//! | `answering` | one request, for as long as this worker holds its delivery |
//! | `run_queue` | offers what has the turn to the fleet, and takes what is next when there is a slot |
//! | `executing` | answers what has the turn and a slot, whosever delivery it is |
//! | `replies` | finds and posts the one reply |
//! | `asking` | asks the models, one attempt after the other |
//! | `model` | the seam to the models: Gemini, and whoever speaks the OpenAI-compatible chat API |
//! | `commands` | the bot's commands: what each replies, and does to what is told to a model later |
//! | `deadline`, `load`, `context`, `attempts`, `breaker`, `circuits`, `reply_text`, `code_blocks`, `fallback`, `prices`, `model_names` | decisions, without I/O |
//! | `running_summaries` | what stands in a long room's context for what no longer fits |
//! | `drafts` | shows a reply as it grows |
//! | `spending` | what calls cost, against the fleet's budgets |
//! | `model_pool`, `allowance`, `pace`, `turns`, `in_flight`, `interrupts` | what the requests of one worker share |
#![warn(missing_docs)]

mod allowance;
mod answering;
mod asking;
mod attempts;
mod breaker;
mod circuits;
mod code_blocks;
mod commands;
mod context;
mod deadline;
mod drafts;
mod executing;
pub mod fallback;
mod in_flight;
mod interrupts;
mod load;
pub mod model;
mod model_names;
mod model_pool;
mod pace;
mod prices;
mod programs;
mod replies;
mod reply_text;
mod run_queue;
mod running_summaries;
pub mod settings;
mod spending;
mod turns;
mod worker;

use std::sync::Arc;

use common::{live::Live, queue::Queue, quota::Quota, store::Store};
use tokio_util::sync::CancellationToken;

pub use answering::ATTEMPTS_MAX;
pub use settings::WorkerSettings;

use crate::{
    model::{
        Model,
        gemini::Gemini,
        http::{SetupError, SilenceLimits},
        openai::OpenAi,
    },
    settings::{BaseUrl, ModelApi},
    worker::Worker,
};

/// What a worker stands on.
#[derive(Clone)]
pub struct Engines {
    /// The live engine.
    pub live: Arc<dyn Live>,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What all workers may ask of the models.
    pub quota: Arc<dyn Quota>,
}

/// Why a worker cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting, by name.
    #[error("{0}")]
    Settings(String),
    /// The model's client.
    #[error(transparent)]
    Model(#[from] SetupError),
}

/// Answers requests until `stop`; then takes no more, finishes what is under way within the settings' `drain_time`, and
/// hands back the rest.
///
/// # Errors
/// [`WorkerError`], before anything is taken.
pub async fn run(
    live: Arc<dyn Live>,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    quota: Arc<dyn Quota>,
    settings: WorkerSettings,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let model = model(&settings)?;
    let engines = Engines {
        live,
        queue,
        store,
        quota,
    };
    Worker::new(engines, &settings, model).run(stop).await;
    Ok(())
}

/// Whether a worker could begin with these settings.
///
/// # Errors
/// [`WorkerError`], as from [`run`], before anything is connected to.
pub fn check_model(settings: &WorkerSettings) -> Result<(), WorkerError> {
    model(settings).map(drop)
}

fn model(settings: &WorkerSettings) -> Result<Arc<dyn Model>, WorkerError> {
    settings.check().map_err(WorkerError::Settings)?;
    let limits = SilenceLimits {
        first_token: settings.first_token(),
        idle: settings.bot_idle_seconds,
    };
    let url = |base: &BaseUrl| base.url().cloned().map_err(WorkerError::Settings);
    let model: Arc<dyn Model> = match (settings.bot_model_api, &settings.openai_base_url) {
        (ModelApi::OpenAi, Some(base)) => {
            Arc::new(OpenAi::new(&url(base)?, settings.openai_key(), limits)?)
        }
        _ => Arc::new(Gemini::new(
            &url(&settings.gemini_base_url)?,
            settings.gemini_key(),
            limits,
        )?),
    };
    Ok(model)
}

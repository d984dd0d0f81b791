//! A worker in a room, against the practice model, with the embedded engines around it.

use std::{ops::Deref, sync::Arc, time::Duration};

use bot_worker::WorkerSettings;
use clap::Parser;
use common::{
    quota::{Quota, QuotaLimits},
    wire::Message,
};
use engines::embedded::EmbeddedQuota;
use practice_model::PracticeModel;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{engines::Surroundings, models::practice};

/// How long a story waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    worker: WorkerSettings,
}

/// The settings that these flags make, for a worker that asks the practice model.
pub(crate) fn settings_for(practice: &PracticeModel, flags: &[&str]) -> WorkerSettings {
    let base_url = practice.base_url();
    let mut arguments = vec!["worker", "--gemini-base-url", &base_url];
    if !flags.contains(&"--gemini-models") {
        arguments.extend(["--gemini-models", "first,second"]);
    }
    // Stories ask faster than people.
    if !flags.contains(&"--bot-user-rpm") {
        arguments.extend(["--bot-user-rpm", "0"]);
    }
    arguments.extend(flags);
    let mut settings = Cli::parse_from(arguments).worker;
    settings.drain_time = Duration::from_secs(3);
    settings
}

/// A worker in a room, with all that is around it.
pub(crate) struct Scene {
    pub practice: PracticeModel,
    around: Surroundings,
    pub quota: Arc<dyn Quota>,
    stop: CancellationToken,
    worker: Option<JoinHandle<()>>,
}

impl Scene {
    /// Everything but the worker.
    pub(crate) async fn set() -> Scene {
        let scene = Scene {
            practice: practice().await,
            around: Surroundings::new().await,
            quota: EmbeddedQuota::new(QuotaLimits::default()),
            stop: CancellationToken::new(),
            worker: None,
        };
        scene.add_room("lobby", "").await;
        scene
    }

    pub(crate) async fn with_worker(flags: &[&str]) -> Scene {
        let mut scene = Scene::set().await;
        scene.start(flags);
        // It checks the models as it begins to take requests.
        let began = scene
            .practice
            .requests_when(PATIENCE, |_| scene.practice.model_checks() > 0);
        assert!(began.await.is_some());
        scene
    }

    pub(crate) fn start(&mut self, flags: &[&str]) {
        let settings = settings_for(&self.practice, flags);
        if !settings.limits().is_none() {
            self.quota = EmbeddedQuota::new(settings.limits());
        }
        let running = bot_worker::run(
            self.live.clone(),
            self.queue.clone(),
            self.store.clone(),
            self.quota.clone(),
            settings,
            self.stop.clone(),
        );
        self.worker = Some(tokio::spawn(async { running.await.unwrap() }));
    }

    /// Somebody asks in the lobby.
    pub(crate) async fn asks(&self, text: &str) -> Message {
        let message = self.said("lobby", "ada", text).await;
        self.deliver(&message, 1).await;
        message
    }

    /// That the request has one reply and no more.
    pub(crate) async fn assert_one_reply(&self, request: &Message) {
        let messages = self.messages(&request.room).await;
        let replies = messages
            .iter()
            .filter(|message| message.reply_to == Some(request.id));
        assert_eq!(replies.count(), 1);
    }

    /// SIGTERM, as far as the worker sees it.
    pub(crate) async fn stops(mut self) -> Scene {
        self.stop.cancel();
        let worker = self.worker.take().unwrap();
        tokio::time::timeout(Duration::from_secs(10), worker)
            .await
            .unwrap()
            .unwrap();
        self
    }
}

impl Deref for Scene {
    type Target = Surroundings;

    fn deref(&self) -> &Surroundings {
        &self.around
    }
}

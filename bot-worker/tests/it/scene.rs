//! A worker in a room, against the practice model, with engines in memory around it.

use std::{sync::Arc, time::Duration};

use bot_worker::WorkerSettings;
use clap::Parser;
use common::{
    envelope::Envelope,
    quota::{Quota, QuotaLimits},
    wire::{Kind, Message, Seq, now_seq},
};
use engines::embedded::EmbeddedQuota;
use practice_model::PracticeModel;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    engines::{FakeLive, FakeQueue, FakeStore},
    models::practice,
};

/// How long a story waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    worker: WorkerSettings,
}

/// The settings that these flags make, for a worker that asks the practice model.
pub fn settings_for(practice: &PracticeModel, flags: &[&str]) -> WorkerSettings {
    let base_url = practice.base_url();
    let mut arguments = vec!["worker", "--gemini-base-url", &base_url];
    if !flags.contains(&"--gemini-models") {
        arguments.extend(["--gemini-models", "first,second"]);
    }
    arguments.extend(flags);
    let mut settings = Cli::parse_from(arguments).worker;
    settings.drain_time = Duration::from_secs(3);
    settings
}

/// A worker in a room, with all that is around it.
pub struct Scene {
    pub practice: PracticeModel,
    pub live: Arc<FakeLive>,
    pub queue: FakeQueue,
    pub store: Arc<FakeStore>,
    pub quota: Arc<dyn Quota>,
    stop: CancellationToken,
    worker: Option<JoinHandle<()>>,
}

impl Scene {
    /// Everything but the worker.
    pub async fn set() -> Scene {
        let scene = Scene {
            practice: practice().await,
            live: Arc::default(),
            queue: FakeQueue::default(),
            store: Arc::default(),
            quota: EmbeddedQuota::new(QuotaLimits::default()),
            stop: CancellationToken::new(),
            worker: None,
        };
        scene.store.add_room("lobby", "");
        scene
            .live
            .rooms
            .lock()
            .unwrap()
            .insert("lobby".into(), Vec::new());
        scene
    }

    pub async fn with_worker(flags: &[&str]) -> Scene {
        let mut scene = Scene::set().await;
        scene.start(flags);
        // It checks the models as it begins to take requests.
        let began = scene
            .practice
            .requests_when(PATIENCE, |_| scene.practice.model_checks() > 0);
        assert!(began.await.is_some());
        scene
    }

    pub fn start(&mut self, flags: &[&str]) {
        let settings = settings_for(&self.practice, flags);
        if !settings.limits().is_none() {
            self.quota = EmbeddedQuota::new(settings.limits());
        }
        let (live, queue, store) = (
            self.live.clone(),
            Arc::new(self.queue.clone()),
            self.store.clone(),
        );
        let running = bot_worker::run(
            live,
            queue,
            store,
            self.quota.clone(),
            settings,
            self.stop.clone(),
        );
        self.worker = Some(tokio::spawn(async { running.await.unwrap() }));
    }

    /// A message that has its place in the room, in the stream alone.
    pub fn said(&self, room: &str, sender: &str, text: &str) -> Message {
        self.said_at(room, sender, text, now_seq())
    }

    pub fn said_at(&self, room: &str, sender: &str, text: &str, seq: Seq) -> Message {
        let mut rooms = self.live.rooms.lock().unwrap();
        let stream = rooms.entry(room.into()).or_default();
        let prev = stream.last().map_or(0, |message| message.seq);
        let message = Message {
            room: room.into(),
            seq: seq.max(prev + 1),
            prev,
            id: Uuid::now_v7(),
            sender: sender.into(),
            kind: if sender == "bot" {
                Kind::Bot
            } else {
                Kind::User
            },
            message: text.into(),
            reply_to: None,
        };
        stream.push(message.clone());
        message
    }

    pub fn deliver(&self, message: &Message, attempt: u32) {
        self.queue
            .deliver(Envelope::new(message.clone(), None).to_bytes(), attempt);
    }

    /// Somebody asks in the lobby.
    pub fn asks(&self, text: &str) -> Message {
        let message = self.said("lobby", "ada", text);
        self.deliver(&message, 1);
        message
    }

    pub async fn reply_to(&self, request: &Message) -> Message {
        self.live.reply_to(&request.room, request.id).await
    }

    /// How many replies the request has, and that its delivery was settled so.
    pub fn assert_one_reply(&self, request: &Message) {
        let replies = |message: &&Message| message.reply_to == Some(request.id);
        assert_eq!(
            self.live
                .messages(&request.room)
                .iter()
                .filter(replies)
                .count(),
            1
        );
    }

    /// SIGTERM, as far as the worker sees it.
    pub async fn stops(mut self) -> Scene {
        self.stop.cancel();
        let worker = self.worker.take().unwrap();
        tokio::time::timeout(Duration::from_secs(10), worker)
            .await
            .unwrap()
            .unwrap();
        self
    }
}

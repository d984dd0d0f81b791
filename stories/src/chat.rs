//! A whole Chinwag for one story: engines, the practice model, and any number of each service.

use engines::sql::{MySqlSettings, MySqlStore};
use practice_model::PracticeModel;
use private_engines::{Engines, Sentinels};
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::{Person, Process, Proxy, Version, process};

/// Which Redis a story has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisSetup {
    /// The one server of its engines.
    #[default]
    One,
    /// A master and its replica, which Sentinels watch over: its own, to be killed and frozen.
    Sentinels,
    /// A Cluster of its own.
    Cluster,
    /// The same with a replica for each of its three masters.
    ReplicatedCluster,
}

/// What a story starts with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Edges.
    pub edges: usize,
    /// Bot workers.
    pub workers: usize,
    /// Persisters.
    pub persisters: usize,
    /// Engines of its own, because the story breaks them. Otherwise a corner of the shared ones.
    pub own_engines: bool,
    /// Engines of its own, and RabbitMQ's management API with them.
    pub management: bool,
    /// Engines of its own, which are reached by TLS alone as far as the services know, with an authority of their own.
    pub tls: bool,
    /// Its Redis, if that is not one of those engines.
    pub redis: RedisSetup,
    /// Settings beyond the ordinary ones, for every process.
    pub settings: Vec<(&'static str, String)>,
    /// Which programs it starts with; what is started later is the present ones.
    pub version: Version,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            edges: 1,
            workers: 1,
            persisters: 1,
            own_engines: false,
            management: false,
            tls: false,
            redis: RedisSetup::One,
            settings: Vec::new(),
            version: Version::Present,
        }
    }
}

enum Behind {
    Shared(&'static Engines),
    Own(Box<Engines>),
    /// The all-in-one needs none.
    Nothing,
}

/// A Chinwag that is running.
pub struct Chat {
    /// What browsers connect to. Dropped first, before what it stands on.
    pub edges: Vec<Process>,
    /// The bot workers.
    pub workers: Vec<Process>,
    /// The persisters.
    pub persisters: Vec<Process>,
    /// The model that all workers ask.
    pub model: PracticeModel,
    /// What every process is started with.
    pub environment: Vec<(String, String)>,
    folder: TempDir,
    behind: Behind,
    redis: Option<OwnRedis>,
}

/// Several Redis servers that belong together, for one story.
struct OwnRedis {
    engines: Engines,
    url: String,
    sentinels: Option<Sentinels>,
}

impl OwnRedis {
    async fn start(setup: RedisSetup) -> Option<OwnRedis> {
        let hosts = |urls: &[String]| {
            let hosts: Vec<&str> = urls
                .iter()
                .map(|url| url.trim_start_matches("redis://"))
                .collect();
            hosts.join(",")
        };
        match setup {
            RedisSetup::One => None,
            RedisSetup::Cluster | RedisSetup::ReplicatedCluster => {
                let engines = Engines::start_only(&[]).await;
                let url = format!("redis-cluster://{}", hosts(&engines.start_cluster().await));
                if setup == RedisSetup::ReplicatedCluster {
                    engines.start_replicas().await;
                }
                let sentinels = None;
                Some(OwnRedis {
                    engines,
                    url,
                    sentinels,
                })
            }
            RedisSetup::Sentinels => {
                let engines = Engines::start_only(&[]).await;
                let known = engines.start_sentinel().await;
                let url = format!(
                    "redis-sentinel://{}/{}",
                    hosts(&known.sentinels),
                    known.master_name
                );
                let sentinels = Some(known);
                Some(OwnRedis {
                    engines,
                    url,
                    sentinels,
                })
            }
        }
    }
}

impl Chat {
    /// One of each service on a corner of the shared engines.
    pub async fn start() -> Chat {
        Chat::with(Setup::default()).await
    }

    /// What the setup says, ready.
    pub async fn with(setup: Setup) -> Chat {
        process::tell_failures_at_once();
        let behind = if setup.management {
            Behind::Own(Box::new(Engines::start_with_management().await))
        } else if setup.tls {
            Behind::Own(Box::new(Engines::start_with_tls().await))
        } else if setup.own_engines {
            Behind::Own(Box::new(Engines::start().await))
        } else {
            Behind::Shared(Engines::shared().await)
        };
        let engines = match &behind {
            Behind::Own(engines) => engines,
            Behind::Shared(engines) => *engines,
            Behind::Nothing => unreachable!("set above"),
        };
        let redis = OwnRedis::start(setup.redis).await;
        let redis_url = redis
            .as_ref()
            .map_or_else(|| engines.redis_url(), |own| &own.url);
        let model = practice_model().await;
        let mut environment = vec![
            ("REDIS_URL".to_owned(), redis_url.to_owned()),
            ("REDIS_PREFIX".to_owned(), engines.fresh_prefix()),
            ("AMQP_URL".to_owned(), engines.fresh_vhost().await),
            ("DATABASE_URL".to_owned(), engines.fresh_database().await),
        ];
        environment.extend(settings_for_all(&model, &setup));
        if setup.tls {
            let ca = engines.tls_ca().display().to_string();
            environment.push(("SSL_CERT_FILE".to_owned(), ca));
        }
        let (migrated, said) =
            process::run_version(setup.version, "persister", &["migrate"], &environment);
        assert!(migrated.success(), "persister migrate: {said}");
        let folder = TempDir::with_prefix("chinwag-story-").expect("a temporary folder");
        let mut chat = Chat {
            edges: Vec::new(),
            workers: Vec::new(),
            persisters: Vec::new(),
            model,
            environment,
            folder,
            behind,
            redis,
        };
        chat.edges = (0..setup.edges)
            .map(|n| chat.start_service(setup.version, "ws-edge", &format!("edge-{n}"), &[]))
            .collect();
        chat.workers = (0..setup.workers)
            .map(|n| chat.start_service(setup.version, "bot-worker", &format!("worker-{n}"), &[]))
            .collect();
        chat.persisters = (0..setup.persisters)
            .map(|n| chat.start_service(setup.version, "persister", &format!("persister-{n}"), &[]))
            .collect();
        for process in chat
            .edges
            .iter()
            .chain(&chat.workers)
            .chain(&chat.persisters)
        {
            process.ready().await;
        }
        chat
    }

    /// The all-in-one, with a data folder of its own. It is the only edge.
    pub async fn all_in_one() -> Chat {
        Chat::all_in_one_with(&[]).await
    }

    /// The same, with settings beyond the ordinary ones.
    pub async fn all_in_one_with(settings: &[(&'static str, String)]) -> Chat {
        let model = practice_model().await;
        let folder = TempDir::with_prefix("chinwag-story-").expect("a temporary folder");
        let mut environment = vec![(
            "DATA_DIR".to_owned(),
            folder.path().join("data").display().to_string(),
        )];
        let setup = Setup {
            settings: settings.to_vec(),
            ..Setup::default()
        };
        environment.extend(settings_for_all(&model, &setup));
        let (workers, persisters) = (Vec::new(), Vec::new());
        let mut chat = Chat {
            edges: Vec::new(),
            workers,
            persisters,
            model,
            environment,
            folder,
            behind: Behind::Nothing,
            redis: None,
        };
        chat.edges = vec![chat.service("chinwag", "chinwag", &[])];
        chat.edges[0].ready().await;
        chat
    }

    /// One more process, with settings of its own in the place of the common ones. Not waited for.
    pub fn service(&self, binary: &str, name: &str, settings: &[(&str, String)]) -> Process {
        self.start_service(Version::Present, binary, name, settings)
    }

    fn start_service(
        &self,
        version: Version,
        binary: &str,
        name: &str,
        settings: &[(&str, String)],
    ) -> Process {
        let mut environment = self.environment.clone();
        environment.retain(|(name, _)| settings.iter().all(|(own, _)| own != name));
        environment.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        Process::start(binary, name, version, self.folder.path(), &environment)
    }

    /// One more process, ready, and the wire on which it has RabbitMQ.
    pub async fn service_on_a_wire(&self, binary: &str, name: &str) -> (Process, Proxy) {
        let amqp = self.setting("AMQP_URL");
        let wire = Proxy::to(Proxy::host_of(amqp)).await;
        let process = self.service(binary, name, &[("AMQP_URL", wire.instead_of(amqp))]);
        process.ready().await;
        (process, wire)
    }

    /// From now on everybody who starts has the database on this wire.
    pub async fn database_on_a_wire(&mut self) -> Proxy {
        let (_, url) = self
            .environment
            .iter_mut()
            .find(|(name, _)| name == "DATABASE_URL")
            .expect("it was set");
        let wire = Proxy::to(Proxy::host_of(url)).await;
        *url = wire.instead_of(url);
        wire
    }

    /// The engines, to be killed and frozen.
    ///
    /// # Panics
    /// If the story did not ask for its own.
    pub fn engines(&self) -> &Engines {
        match &self.behind {
            Behind::Own(engines) => engines,
            _ => panic!("a story that breaks engines needs its own"),
        }
    }

    /// The story's own Redis servers, to be killed and frozen.
    ///
    /// # Panics
    /// If the story did not ask for any.
    pub fn redis(&self) -> &Engines {
        &self.redis.as_ref().expect("asked for in the setup").engines
    }

    /// Where the Sentinels are, and the servers that they watch over.
    ///
    /// # Panics
    /// If the story did not ask for them.
    pub fn sentinels(&self) -> &Sentinels {
        let redis = self.redis.as_ref().expect("asked for in the setup");
        redis.sentinels.as_ref().expect("asked for in the setup")
    }

    /// A setting that every process has.
    pub fn setting(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(setting, _)| setting == name);
        &found.unwrap_or_else(|| panic!("{name} is not set")).1
    }

    /// The base URL of an edge.
    pub fn url(&self, edge: usize) -> String {
        format!("http://{}", self.edges[edge].listen)
    }

    /// New people, connected to the first edge and in a public room, which the first of them makes unless it is there.
    pub async fn join<const N: usize>(&self, room: &str, names: [&str; N]) -> [Person; N] {
        self.join_at(0, room, names).await
    }

    /// The same at another edge.
    pub async fn join_at<const N: usize>(
        &self,
        edge: usize,
        room: &str,
        names: [&str; N],
    ) -> [Person; N] {
        let mut people = Vec::with_capacity(N);
        for name in names {
            let mut person = Person::register(&self.url(edge), name).await;
            let made = person.makes_room(room).await;
            assert!(
                matches!(made.status, StatusCode::CREATED | StatusCode::CONFLICT),
                "{made:?}"
            );
            person.connects().await;
            person.joins(room, None).await;
            people.push(person);
        }
        people
            .try_into()
            .unwrap_or_else(|_| unreachable!("one for each name"))
    }

    /// The database itself, to see what is in it without asking a service.
    pub async fn database(&self) -> std::sync::Arc<MySqlStore> {
        let database_url = self.setting("DATABASE_URL").to_owned().into();
        let settings = MySqlSettings {
            database_url,
            database_connections: 2,
        };
        MySqlStore::connect(&settings)
            .await
            .expect("the database is there")
    }
}

async fn practice_model() -> PracticeModel {
    let model = PracticeModel::start(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    // Quick, unless a story says otherwise: the default is a pace for people to watch.
    model.behave("pace=1ms").expect("an order");
    model
}

fn settings_for_all(model: &PracticeModel, setup: &Setup) -> Vec<(String, String)> {
    let mut settings = vec![
        ("GEMINI_BASE_URL".to_owned(), model.base_url()),
        ("GEMINI_API_KEY".to_owned(), "practice".to_owned()),
        (
            "GEMINI_MODELS".to_owned(),
            "practice-1,practice-2".to_owned(),
        ),
        ("LOG".to_owned(), "info".to_owned()),
        // Stories ask faster than people.
        ("BOT_USER_RPM".to_owned(), "0".to_owned()),
    ];
    settings.extend(
        setup
            .settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    settings
}

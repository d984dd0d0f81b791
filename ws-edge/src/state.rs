//! What an edge is made of, and its life from first to last.

use std::{io, sync::Arc, time::Duration};

use common::{
    admin::{Engines, Readiness},
    live::Live,
    queue::Queue,
    quota::budgets::Budgets,
    store::Store,
    supervise,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    EdgeSettings, background,
    http::{self, Http},
    services::Services,
    serving::{self, Serving},
    socket::Sockets,
};

/// One edge: what its calls and its sockets share, and each of the two.
pub struct Edge {
    services: Arc<Services>,
    sockets: Arc<Sockets>,
    http: Http,
    readiness: Readiness,
    stuck_after: Duration,
}

impl Edge {
    /// An edge on these engines. Nothing runs before [`run`].
    pub fn new(
        live: Arc<dyn Live>,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        settings: EdgeSettings,
        readiness: Readiness,
    ) -> Edge {
        readiness.started(Engines {
            live: Some(Arc::clone(&live)),
            queue: Some(Arc::clone(&queue)),
            store: Some(Arc::clone(&store)),
        });
        let stuck_after = settings.stuck_after();
        let services = Arc::new(Services::new(live, queue, store, &settings));
        let sockets = Arc::new(Sockets::new(Arc::clone(&services), &settings));
        let http = Http::new(
            Arc::clone(&services),
            Arc::clone(&sockets),
            settings,
            readiness.clone(),
        );
        Edge {
            services,
            sockets,
            http,
            readiness,
            stuck_after,
        }
    }

    /// The same, which also tells people what they have used of the models.
    #[must_use]
    pub fn with_budgets(mut self, budgets: Arc<dyn Budgets>) -> Edge {
        self.http.show_budgets(budgets);
        self
    }
}

/// Serves HTTP and WebSockets until `stop`. Then: not ready any more, no new sockets, open ones are told to go
/// elsewhere, posts under way are confirmed. Returns within `drain_within` after `stop`.
///
/// # Errors
/// If connections are not accepted any more; it has drained all the same.
pub async fn run(
    edge: Edge,
    listener: TcpListener,
    drain_within: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let Edge {
        services,
        sockets,
        http,
        readiness,
        stuck_after,
    } = edge;
    let http = Arc::new(http);
    // The background outlives the calls: a socket that is being drained is still served.
    let drained = CancellationToken::new();
    let _stop_background = drained.clone().drop_guard();
    sockets.start(&drained);
    background::start(&services, &drained);

    let serving = Serving {
        routes: http::routes(&http),
        admission: Arc::clone(&services.admission),
        stuck_after,
    };
    let serving = serving::serve(listener, serving, stop.clone());
    let mut serving = supervise::spawn("HTTP server", &stop, serving);
    let broken = tokio::select! {
        // Told to stop, serving ends too, and perhaps before this is looked at: that is no fault.
        biased;
        () = stop.cancelled() => None,
        ended = &mut serving => Some(io::Error::other(match ended {
            Ok(Err(fault)) => fault.to_string(),
            Ok(Ok(())) | Err(_) => "connections are not accepted any more".to_owned(),
        })),
    };

    let until = Instant::now() + drain_within;
    readiness.drain();
    sockets.drain(until).await;
    // What is left of the time goes to calls that are still answered, and to posts.
    let calls_done = broken.is_some() || tokio::time::timeout_at(until, &mut serving).await.is_ok();
    if !calls_done {
        tracing::warn!("calls were still under way when the time to drain was up");
        serving.abort();
    }
    let told = http.all_told(until).await;
    let posted = services.poster.drained(until).await;
    services.reading_places.write_until(until).await;
    services.sessions.upkeep_until(until).await;
    tracing::info!(posted, told, "drained");
    broken.map_or(Ok(()), Err)
}

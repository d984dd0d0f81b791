//! The loop that accepts connections. In place of axum's own, because that has no limit on how many there are and none
//! on how long one may take to say what it wants.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The most connections that are not (or not yet) WebSockets; further ones wait in the kernel's backlog. Sockets have
/// their own limit.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a connection may take for the head of a call, and how long it may idle between two: longer than the minute
/// after which most proxies let go of one, so that it is the proxy that does.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// The most bytes of a call's head, and what a connection buffers.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// How long accepting rests when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, and then until every call under way is answered. Connections that became WebSockets are not
/// waited for.
pub(crate) async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX_BYTES);
    let routes = TowerToHyperService::new(routes);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &permits)).await {
        let (permit, stream, address) = accepted;
        // Frames are small and somebody waits for each.
        drop(stream.set_nodelay(true));
        let routes = routes.clone();
        let service = service_fn(move |mut call: hyper::Request<Incoming>| {
            call.extensions_mut().insert(ConnectInfo(address));
            routes.call(call)
        });
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let stop = stop.clone();
        open.spawn(async move {
            let _permit = permit;
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %address, "a connection broke");
            }
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
}

type Accepted = (
    tokio::sync::OwnedSemaphorePermit,
    tokio::net::TcpStream,
    std::net::SocketAddr,
);

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Accepted {
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (permit, stream, address),
            // The caller went away before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            // Most likely too many open files: it gets better when others leave.
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

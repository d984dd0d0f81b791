//! The loop that accepts connections. In place of axum's own, because that has no limit on how many there are, none on
//! how many of them are one client's, and none on how long one may take to say what it wants or to take what it asked
//! for.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, header},
    response::IntoResponse,
};
use hyper::{body::Incoming, server::conn::http1, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::{Admission, Admitted, NotAdmitted},
    lingering::Lingering,
    network::{Network, network},
    problem::Problem,
    shares::Shares,
    watched_stream::WatchedStream,
};

/// How long a connection may take for the head of a call, and how long it may idle between two: longer than the minute
/// after which most proxies let go of one, so that it is the proxy that does.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// The most bytes of a call's head, and what a connection buffers.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// What the kernel keeps of what a client has not taken yet; it doubles it. Left to itself it keeps megabytes for each
/// connection, which nobody counts.
const KERNEL_BUFFER_BYTES: usize = 64 * 1024;

/// How long the kernel keeps them for a client that takes nothing, where nobody looks after it (`lingering.rs`).
const KERNEL_TIME: Duration = Duration::from_secs(60);

/// How long a connection that must make room for another may take to end what it is at.
const LEAVING_TIME: Duration = Duration::from_secs(5);

/// How long a connection that is not let in may take to ask for something, so that it can be told why.
const REFUSING_TIME: Duration = Duration::from_secs(5);

/// The most connections of one address that are told so at a time, and of all; others are just closed.
const REFUSING_OF_ONE: usize = 8;
const REFUSING_OF_ALL: usize = 500;

/// How long accepting rests when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections are served with.
pub(crate) struct Serving {
    pub(crate) routes: Router,
    pub(crate) admission: Arc<Admission>,
    /// How long a client may take nothing of an answer.
    pub(crate) stuck_after: Duration,
}

/// Serves until `stop`, and then until every call under way is answered. Connections that became WebSockets are not
/// waited for.
pub(crate) async fn serve(listener: TcpListener, serving: Serving, stop: CancellationToken) {
    let Serving {
        routes,
        admission,
        stuck_after,
    } = serving;
    bound_kernel_buffers(&listener);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX_BYTES);
    let refusing = Refusing::new();
    let lingering = Lingering::new(2 * stuck_after);
    let routes = TowerToHyperService::new(routes);
    let open = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener)).await {
        let (stream, address) = accepted;
        let Admitted { shares, place } = match admission.connection(address) {
            Ok(admitted) => admitted,
            Err(not) => {
                refusing.refuse(stream, address, not);
                continue;
            }
        };
        // Frames are small and somebody waits for each.
        drop(stream.set_nodelay(true));
        let stream = WatchedStream::new(
            stream,
            address.ip(),
            stuck_after,
            shares,
            Arc::clone(&lingering),
        );
        let bytes_read = stream.bytes_read();
        let routes = routes.clone();
        let service = service_fn(move |mut call: hyper::Request<Incoming>| {
            call.extensions_mut().insert(ConnectInfo(address));
            call.extensions_mut().insert(bytes_read.clone());
            routes.call(call)
        });
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let stop = stop.clone();
        open.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                () = place.told_to_go.cancelled() => {
                    metrics::counter!("chinwag_connections_displaced_total").increment(1);
                    connection.as_mut().graceful_shutdown();
                    timeout(LEAVING_TIME, connection).await.unwrap_or(Ok(()))
                }
            };
            drop(place);
            if let Err(error) = ended {
                tracing::debug!(%error, %address, "a connection broke");
            }
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// Every connection inherits it.
fn bound_kernel_buffers(listener: &TcpListener) {
    let time = u32::try_from(KERNEL_TIME.as_millis()).unwrap_or(u32::MAX);
    let bounded = set_socket_send_buffer_size(listener, KERNEL_BUFFER_BYTES)
        .and_then(|()| set_tcp_user_timeout(listener, time));
    if let Err(error) = bounded {
        tracing::warn!(%error, "what the kernel keeps for clients that take nothing could not be bounded");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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

/// Connections that are not let in and are told why.
struct Refusing {
    http: http1::Builder,
    of_one: Arc<Shares<Network>>,
    of_all: Arc<Shares<()>>,
}

impl Refusing {
    fn new() -> Refusing {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(REFUSING_TIME)
            .max_buf_size(HEAD_MAX_BYTES)
            .keep_alive(false);
        Refusing {
            http,
            of_one: Shares::new(REFUSING_OF_ONE),
            of_all: Shares::new(REFUSING_OF_ALL),
        }
    }

    fn refuse(&self, stream: TcpStream, address: SocketAddr, why: NotAdmitted) {
        metrics::counter!("chinwag_connections_refused_total").increment(1);
        tracing::warn!(%address, "a connection is not let in: {why}");
        let NotAdmitted::Told(problem) = why else {
            return;
        };
        let of_one = self.of_one.take(&network(address.ip()));
        let (Some(of_one), Some(of_all)) = (of_one, self.of_all.take(&())) else {
            return;
        };
        let service = service_fn(move |_: hyper::Request<Incoming>| {
            let answer = refusal(&problem);
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        // Over within two times [`REFUSING_TIME`], whatever its client does; nothing depends on how.
        tokio::spawn(async move {
            drop(timeout(2 * REFUSING_TIME, connection).await);
            drop((of_one, of_all));
        });
    }
}

fn refusal(problem: &Problem) -> axum::response::Response {
    let mut answer = problem.clone().into_response();
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

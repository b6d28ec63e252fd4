//! Taking connections: each gets a limited time to say what it wants, and all of them end when the server does.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::Server;
use crate::server::Shutdown;

/// How long to wait when the system gives no connection, for instance because all files are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until `shutdown` is asked for, then lets requests under way end in their time. Whether all of them did.
pub(crate) async fn answer(listener: TcpListener, router: &Router, shutdown: &Shutdown, settings: &Server) -> bool {
    // One version only: guessing it would wait for the first bytes without a limit.
    let mut http = http1::Builder::new();
    // Also a connection that is kept open between requests is closed after this time.
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(settings.request_seconds));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => break,
            // Forgets those that have ended.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer): (_, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                sleep(PAUSE).await;
                continue;
            }
        };
        // Answers are small: waiting for more to send would only delay them.
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(peer))));
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            tokio::select! {
                // What goes wrong on a connection, such as its end in the middle, is the other side's business.
                _ = connection.as_mut() => return,
                () = shutdown.wait() => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await.ok();
        });
    }
    drop(listener);
    let drain = Duration::from_secs(settings.drain_seconds);
    let ended = async { while connections.join_next().await.is_some() {} };
    let drained = timeout(drain, ended).await.is_ok();
    // Whoever is left would keep the database open.
    connections.shutdown().await;
    drained
}

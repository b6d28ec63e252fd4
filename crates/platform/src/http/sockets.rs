//! Socket.IO: what happens, as it happens, to ordinary clients of any language. Who connects is known before anything
//! is upgraded: every request of a transport passes the guard of its route, with the session's cookie.
//!
//! The server emits `event` with `{number, at, kind, payload}` for what is stored, `progress` with `{kind, payload}` for what is
//! not, and `gap` when some may be missing. A client emits `since` with the last number that it has seen, and is answered as
//! by `GET /api/events`: after every connection, so that nothing is missed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::App;
use super::api::events::{LIMIT, read};
use crate::accounts::{Caller, Role};
use crate::live::Delivery;
use crate::store::Store;
use crate::store::events::Audience;

/// Where clients look for it.
pub(super) const PATH: &str = "/socket.io/";
/// Connections of one session: tabs, and a script.
const MOST_OF_A_SESSION: usize = 32;
/// What a client may send at once: a number.
const MOST_BYTES: u64 = 4 << 10;
/// Messages that a slow client may be behind; what comes then it misses, and hears of a gap afterwards.
const BEHIND: usize = 1024;
/// After something was committed, sessions are looked at again within this time ...
const SOON: Duration = Duration::from_secs(1);
/// ... and in any case so often, because they also end by time.
const LATER: Duration = Duration::from_secs(15);

/// All connections.
pub(crate) struct Sockets {
    /// What is no transport does not exist.
    service: SocketIoService<Router>,
    io: SocketIo,
    present: Arc<Present>,
}

/// Who is there.
#[derive(Default)]
struct Present {
    /// In the order in which they came.
    connections: Mutex<BTreeMap<u64, Connection>>,
    /// How many came.
    came: AtomicU64,
    /// Somebody came or went.
    changed: Notify,
}

struct Connection {
    socket: SocketRef,
    caller: Caller,
    /// It was too slow for something that it should have heard, and must be told so.
    behind: bool,
}

/// Somebody with an open page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Online {
    pub(crate) username: String,
    pub(crate) role: Role,
    pub(crate) connections: usize,
}

impl Present {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn online(&self) -> Vec<Online> {
        let mut users: BTreeMap<String, Online> = BTreeMap::new();
        for Connection { caller, .. } in self.connections().values() {
            let Caller { username, role, .. } = caller;
            let new = || Online { username: username.clone(), role: *role, connections: 0 };
            users.entry(username.clone()).or_insert_with(new).connections += 1;
        }
        users.into_values().collect()
    }
}

impl Sockets {
    pub(crate) fn new(store: &Arc<Store>) -> Self {
        let (service, io) = SocketIo::builder()
            .max_payload(MOST_BYTES)
            .ws_max_message_size(MOST_BYTES as usize)
            .max_buffer_size(BEHIND)
            .build_with_inner_svc(Router::new());
        let present = Arc::<Present>::default();
        // What is registered with the library may outlive the server, which must let go of its folder.
        let (present_there, store) = (Arc::clone(&present), Arc::downgrade(store));
        // Before the client hears that it is connected: what it asks at once must find somebody who answers, and what happens
        // at once must not be lost.
        let greet = move |socket: SocketRef| {
            let allowed = may_enter(&socket, &present_there);
            if allowed.is_ok() {
                enter(&socket, &present_there, &store);
            }
            async { allowed }
        };
        let entered = |_: SocketRef| async {};
        io.ns("/", entered.with(greet));
        Self { service, io, present }
    }

    pub(crate) fn online(&self) -> Vec<Online> {
        self.present.online()
    }

    /// Ends all connections; no new ones should come.
    pub(crate) async fn close(&self) {
        self.io.close().await;
        self.present.connections().clear();
    }

    /// Hands on whatever happens to whoever may hear of it, and ends connections whose session has ended, for ever.
    pub(crate) async fn keep(app: &App) {
        tokio::join!(deliver(app), watch(app));
    }
}

async fn deliver(app: &App) {
    let present = &app.sockets.present;
    let mut heard = app.live.listen();
    loop {
        tokio::select! {
            delivery = heard.recv() => match delivery {
                Ok(delivery) => present.deliver(&delivery),
                Err(RecvError::Lagged(_)) => present.emit("gap", &json!({}), |_| true),
                Err(RecvError::Closed) => return,
            },
            () = present.changed.notified() => {
                let online = json!({ "online": present.online() });
                app.live.transient(Audience::Server, "presence.changed", online);
            }
        }
    }
}

/// Looks at the sessions soon after something has changed, and now and then.
async fn watch(app: &App) {
    let mut committed = app.store.committed();
    loop {
        // Whether something was committed or not: sessions also end by time.
        timeout(LATER, committed).await.ok();
        // From before the reading, so that whatever is committed after it is looked at, too.
        committed = app.store.committed();
        end_ended(app).await;
        sleep(SOON).await;
    }
}

impl Present {
    fn deliver(&self, delivery: &Delivery) {
        let audience = delivery.audience();
        let to = |caller: &Caller| audience.includes(caller.user_id, caller.role);
        match delivery {
            Delivery::Event(event) => self.emit("event", event, to),
            Delivery::Transient { kind, payload, .. } => {
                self.emit("progress", &json!({ "kind": kind, "payload": payload }), to);
            }
        }
    }

    fn emit(&self, name: &str, message: &impl Serialize, to: impl Fn(&Caller) -> bool) {
        for connection in self.connections().values_mut().filter(|connection| to(&connection.caller)) {
            if connection.behind && connection.socket.emit("gap", &json!({})).is_ok() {
                connection.behind = false;
            }
            connection.behind |= connection.socket.emit(name, message).is_err();
        }
    }
}

/// Ends a connection.
fn leave(socket: SocketRef) {
    // One that is too slow to hear that ends when its pings are not answered.
    socket.disconnect().ok();
}

/// Ends the connections of sessions that are no more, or whose user has another role now.
async fn end_ended(app: &App) {
    let present = &app.sockets.present;
    let callers: BTreeMap<String, Caller> = {
        let connections = present.connections();
        let callers = connections.values().map(|connection| connection.caller.clone());
        callers.map(|caller| (caller.token.expose().to_owned(), caller)).collect()
    };
    if callers.is_empty() {
        return;
    }
    // Nobody is sent away because a disk fails.
    let ended = app.accounts.ended(callers.into_values().collect()).await.unwrap_or_default();
    let sockets: Vec<SocketRef> = {
        let connections = present.connections();
        let is_ended = |connection: &&Connection| ended.iter().any(|caller| caller.token == connection.caller.token);
        connections.values().filter(is_ended).map(|connection| connection.socket.clone()).collect()
    };
    sockets.into_iter().for_each(leave);
}

/// Why somebody may not enter.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unwanted(&'static str);

/// Who sends the request that the connection begins with.
fn caller_of(socket: &SocketRef) -> Option<Caller> {
    socket.req_parts().extensions.get::<Caller>().cloned()
}

fn may_enter(socket: &SocketRef, present: &Present) -> Result<(), Unwanted> {
    // Nobody else passes the guard.
    let caller = caller_of(socket).ok_or(Unwanted("not signed in"))?;
    let connections = present.connections();
    let own = connections.values().filter(|connection| connection.caller.token == caller.token).count();
    if own < MOST_OF_A_SESSION { Ok(()) } else { Err(Unwanted("too many connections of one session")) }
}

fn enter(socket: &SocketRef, present: &Arc<Present>, store: &Weak<Store>) {
    let Some(caller) = caller_of(socket) else { return };
    let (store, asks) = (Weak::clone(store), caller.clone());
    socket.on("since", move |Data(last): Data<i64>, ack: AckSender| {
        let (store, caller) = (store.upgrade(), asks.clone());
        async move {
            let Some(store) = store else { return };
            let answer = read(&store, caller, last.max(0), LIMIT).await;
            // Where the database fails there is nothing to say: the client asks again.
            ack.send(&answer.ok()).ok();
        }
    });
    let number = present.came.fetch_add(1, Ordering::Relaxed);
    let left = Arc::clone(present);
    socket.on_disconnect(move || {
        left.connections().remove(&number);
        left.changed.notify_one();
        async {}
    });
    present.connections().insert(number, Connection { socket: socket.clone(), caller, behind: false });
    present.changed.notify_one();
}

/// A request of a transport, polling or an upgrade.
pub(super) async fn serve(State(app): State<App>, request: Request) -> Response {
    let answer = app.sockets.service.clone().oneshot(request).await;
    answer.map(|response| response.map(Body::new)).unwrap_or_else(|never| match never {})
}

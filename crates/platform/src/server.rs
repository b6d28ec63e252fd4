//! Starting, serving, draining.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounts::{AccountError, Accounts};
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::data::slices::Slices;
use crate::data::uploads::Uploads;
use crate::http::{self, App, Inner};
use crate::inference::Inferences;
use crate::jobs::Jobs;
use crate::listener;
use crate::live::Live;
use crate::machine::Watch;
use crate::mail::{Post, Rules, Sender};
use crate::store::{StorageError, Store};
use crate::training::Trainings;
use crate::users::Users;

/// Asks a server to stop. Clones ask the same server.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// From now on no new request is taken; those under way may finish.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether that was asked for.
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn wait(&self) {
        // The sender lives as long as `self`.
        self.0.subscribe().wait_for(|asked| *asked).await.ok();
    }
}

/// What there is to tell when the server answers.
#[derive(Debug)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token that makes the first administrator, while there is none.
    pub setup_token: Option<Secret>,
}

/// Why a server does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stored data cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The first administrator's token cannot be made.
    #[error("the system has no random numbers")]
    Random,
    /// The pages are broken; a fault of this program.
    #[error("the pages cannot be made")]
    Templates(#[from] minijinja::Error),
    /// Somebody else listens there, or it is not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The network or the system fails.
    #[error("the server failed")]
    Io(#[from] io::Error),
}

impl From<AccountError> for ServeError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Storage(error) => error.into(),
            // Preparing the set-up neither refuses nor hashes.
            AccountError::Random(_) | AccountError::Hash(_) | AccountError::Refused(_) => Self::Random,
        }
    }
}

/// Serves until `shutdown` is asked for and the requests under way have ended, on a runtime of its own.
///
/// # Errors
/// As [`serve`].
pub fn run(config: &Config, shutdown: &Shutdown, ready: impl FnOnce(Ready)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config, shutdown, ready))
}

/// Serves until `shutdown` is asked for; returns when the requests under way have ended, or their time has. `ready` is
/// called once, when the server answers.
///
/// # Errors
/// When the data folder cannot be used or is in use, or the address is taken.
pub async fn serve(config: &Config, shutdown: &Shutdown, ready: impl FnOnce(Ready)) -> Result<(), ServeError> {
    serve_by_clock(config, Clock::System, shutdown, ready).await
}

/// The same with another clock, which decides about limits and the times in the logs.
///
/// # Errors
/// As [`serve`].
pub async fn serve_by_clock(
    config: &Config,
    clock: Clock,
    shutdown: &Shutdown,
    ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    let started = clock.now();
    let store = Arc::new(Store::open(&config.storage.data, started)?);
    let users = Arc::new(Users::new(Arc::clone(&store), clock.clone(), &config.database)?);
    users.begin().await;
    let accounts = Accounts::new(
        Arc::clone(&store),
        Arc::clone(&users),
        clock.clone(),
        config.accounts.clone(),
        config.sessions.clone(),
        config.mail.clone(),
    );
    let post = post(config, &store, &clock)?;
    let setup_token = accounts.prepare_set_up().await?;
    let jobs = Jobs::new(&config.worker)?;
    let kept = Arc::clone(&store);
    let live = Live::start(Arc::clone(&store)).await?;
    let folder = config.storage.data.clone();
    let trainings = Trainings::start(Arc::clone(&store), clock.clone(), live.clone(), &folder, &jobs).await?;
    let inferences = Inferences::start(Arc::clone(&store), clock.clone(), live.clone(), folder, &jobs).await?;
    let folder = config.storage.data.clone();
    let uploads = Uploads::start(Arc::clone(&store), clock.clone(), folder, config.uploads.clone()).await?;
    let sockets = http::Sockets::new(&store);
    let app = App::new(Inner {
        sockets,
        machine: Watch::new(config.storage.data.clone()),
        accounts,
        live,
        inferences,
        users,
        post,
        settings: config.settings.clone(),
        store,
        clock,
        server: config.server.clone(),
        password_score: config.accounts.password_score,
        cookie_seconds: u64::from(config.sessions.absolute_hours) * 3600,
        started,
        templates: http::Templates::new()?,
        uploads,
        slices: Slices::new(config.storage.data.clone(), config.viewer.cache_mib << 20),
        jobs: jobs.clone(),
        trainings,
    });
    let address = config.server.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr()?;
    let router = http::router(&app);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    ready(Ready { address, setup_token });
    // They end with the server: whatever they are at is taken up again at the next start.
    let mut keepers = JoinSet::new();
    let (of_users, of_mails) = (app.clone(), app.clone());
    let (uploads, of_sockets) = (app.uploads.clone(), app.clone());
    keepers.spawn(async move { http::Sockets::keep(&of_sockets).await });
    keepers.spawn(async move { uploads.keep().await });
    keepers.spawn(async move { of_users.accounts.keep_users().await });
    keepers.spawn(async move {
        if let Some(post) = &of_mails.post {
            post.keep().await;
        }
    });
    let suspended = async {
        shutdown.wait().await;
        jobs.close(Duration::from_secs(config.server.drain_seconds)).await
    };
    // A connection that stays open would keep its request under way.
    let sockets_closed = async {
        shutdown.wait().await;
        app.sockets.close().await;
    };
    let (drained, suspended, ()) =
        tokio::join!(listener::answer(listener, &router, shutdown, &config.server), suspended, sockets_closed);
    keepers.shutdown().await;
    if !drained {
        tracing::warn!("some requests did not end in time and were given up");
    }
    if !suspended {
        tracing::warn!("some workers did not suspend in time and were killed");
    }
    app.live.close().await;
    drop((app, router));
    kept.release().await;
    tracing::info!("stopped");
    Ok(())
}

/// Whoever sends the mails, where there is an SMTP server.
fn post(config: &Config, store: &Arc<Store>, clock: &Clock) -> io::Result<Option<Post>> {
    if !config.mail.is_on() {
        return Ok(None);
    }
    let rules = Rules {
        base: config.server.public_url.clone(),
        link_hours: config.accounts.reset_link_hours,
        retry_hours: config.mail.retry_hours,
        per_recipient: config.mail.per_recipient,
    };
    Ok(Some(Post::new(Arc::clone(store), clock.clone(), Sender::new(&config.mail)?, rules)))
}

//! A server on a folder of its own, with a clock that tests turn.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use platform::{Clock, Config, ServeError, Shutdown, Sources};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Client;

pub(crate) const SETUP_TOKEN: &str = "set-up token of the tests";
pub(crate) const PASSWORD: &str = "copper lantern drifting 42";
pub(crate) const OTHER_PASSWORD: &str = "violet anchor humming 77";

/// The defaults, except for what makes tests slow.
pub(crate) fn config(data: PathBuf) -> Config {
    let mut config = Config::load(&Sources::default()).unwrap();
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.storage.data = data;
    config.accounts.setup_token = platform::Secret::new(SETUP_TOKEN);
    config.accounts.bcrypt_cost = 10;
    config
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) config: Config,
    pub(crate) now: Arc<AtomicI64>,
    pub(crate) folder: Arc<TempDir>,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    /// On an empty folder.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(folder.path().join("data"));
        change(&mut config);
        Self::on(folder, config, Arc::new(AtomicI64::new(1_800_000_000_000))).await
    }

    pub(crate) async fn on(folder: Arc<TempDir>, config: Config, now: Arc<AtomicI64>) -> Self {
        let (shutdown, clock) = (Shutdown::default(), Clock::Manual(Arc::clone(&now)));
        let (tell, told) = oneshot::channel();
        let (asked, settings) = (shutdown.clone(), config.clone());
        let task = tokio::spawn(async move {
            platform::serve_by_clock(&settings, clock, &asked, |ready| tell.send(ready.address).unwrap()).await
        });
        let Ok(address) = told.await else { panic!("{:?}", task.await) };
        Self { address, config, now, folder, shutdown, task }
    }

    /// With an administrator.
    pub(crate) async fn with_administrator() -> (Self, Client) {
        let server = Self::start().await;
        let administrator = server.set_up().await;
        (server, administrator)
    }

    pub(crate) async fn set_up(&self) -> Client {
        let mut client = self.client();
        let body =
            json!({ "token": SETUP_TOKEN, "username": "admin", "institution": "牵头单位", "password": PASSWORD });
        client.post("/api/setup", body).await.expect(201);
        client.sign_in("admin", PASSWORD).await.expect(201);
        client
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub(crate) async fn register(&self, username: &str) {
        let body = json!({ "username": username, "institution": "市第一医院", "password": PASSWORD });
        self.client().post("/api/accounts", body).await.expect(201);
    }

    /// An approved institution, signed in.
    pub(crate) async fn institution(&self, administrator: &mut Client, username: &str) -> Client {
        self.register(username).await;
        administrator.post(&format!("/api/accounts/{username}/approve"), json!(null)).await.expect(204);
        let mut client = self.client();
        client.sign_in(username, PASSWORD).await.expect(201);
        client
    }

    pub(crate) fn pass_minutes(&self, minutes: i64) {
        self.now.fetch_add(minutes * 60_000, Ordering::SeqCst);
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(self) -> (Arc<TempDir>, Config, Arc<AtomicI64>) {
        self.shutdown.request();
        self.task.await.unwrap().unwrap();
        (self.folder, self.config, self.now)
    }

    /// Another server on the same folder; clients keep their cookies but must learn the address.
    pub(crate) async fn restart(self) -> Self {
        let (folder, config, now) = self.stop().await;
        Self::on(folder, config, now).await
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }
}

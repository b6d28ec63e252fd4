//! A real PostgreSQL, a real PgBouncer, and a wire between them and us that can be cut.

use std::fs;
use std::io::Write;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};

use crate::peers;

pub(crate) const PASSWORD: &str = "p@ss word";
/// The same in an address.
const ENCODED: &str = "p%40ss%20word";

/// A port that nobody uses at the moment.
pub(crate) fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// PostgreSQL refuses to run as root; then somebody without rights runs it.
fn unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    #[cfg(unix)]
    if is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

#[cfg(unix)]
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn give_away(path: &Path) {
    #[cfg(unix)]
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// A cluster with one superuser, in a folder of its own.
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    pub(crate) port: u16,
}

impl Postgres {
    /// `None`, and a line that says so, where there is no PostgreSQL.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[String]) -> Option<Self> {
        let programs = peers::named("users in PostgreSQL", "FEDNODULE_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        give_away(folder.path());
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        give_away(&password);
        let mut init = unprivileged(&programs.join("initdb"), folder.path());
        init.args(["--pgdata=data", "--username=postgres", "--pwfile=password", "--auth=scram-sha-256"]);
        init.args(["--no-sync", "--encoding=UTF8", "--locale=C"]);
        let made = init.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut settings =
            fs::OpenOptions::new().append(true).open(folder.path().join("data/postgresql.conf")).unwrap();
        writeln!(settings, "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off")
            .unwrap();
        for option in options {
            writeln!(settings, "{option}").unwrap();
        }
        let postgres = Self { folder, programs, port };
        postgres.begin();
        Some(postgres)
    }

    pub(crate) fn begin(&self) {
        let started = self.control(&["--log=log", "--wait", "start"]);
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(started, "{}", log());
    }

    /// Without asking anybody who is connected.
    pub(crate) fn stop(&self) {
        assert!(self.control(&["--mode=immediate", "stop"]));
    }

    fn control(&self, arguments: &[&str]) -> bool {
        let mut control = unprivileged(&self.programs.join("pg_ctl"), self.folder.path());
        control.arg("--pgdata=data").args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        control.status().unwrap().success()
    }

    /// Puts a file where the server can read it.
    pub(crate) fn with_file(folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        give_away(&path);
        path
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(self.port, "sslmode=disable")
    }

    /// Over another port, such as that of a pooler.
    pub(crate) fn url_at(&self, port: u16, query: &str) -> String {
        format!("postgresql://postgres:{ENCODED}@localhost:{port}/postgres?{query}")
    }

    /// Somebody with a console.
    pub(crate) async fn console(&self) -> Client {
        let url = format!("postgresql://postgres:{ENCODED}@127.0.0.1:{}/postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.control(&["--mode=immediate", "stop"]);
    }
}

/// A pooler.
pub(crate) struct Bouncer {
    _folder: TempDir,
    child: Child,
    pub(crate) port: u16,
}

impl Bouncer {
    pub(crate) fn before(postgres: &Postgres, mode: &str, size: u8) -> Option<Self> {
        let program = peers::named("users behind PgBouncer", "FEDNODULE_PGBOUNCER")?;
        let folder = tempfile::tempdir().unwrap();
        give_away(folder.path());
        let port = free_port();
        Postgres::with_file(folder.path(), "users.txt", &format!("\"postgres\" \"{PASSWORD}\"\n"));
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = users.txt\npool_mode = {mode}\n\
             default_pool_size = {size}\nlogfile = log\npidfile = pid\n",
            postgres.port
        );
        Postgres::with_file(folder.path(), "settings.ini", &settings);
        let mut command = unprivileged(&program, folder.path());
        let child = command.arg("settings.ini").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Some(Self { _folder: folder, child, port })
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a wire does with what comes back from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wire {
    Passes,
    /// What is sent arrives, what is answered does not.
    SwallowsAnswers,
    /// Nothing arrives, and nobody says so.
    Dead,
}

/// A wire to a database.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<AtomicU8>,
    connections: Arc<AtomicU64>,
    /// What is sent on connections before this one waits.
    held: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(AtomicU8::new(Wire::Passes as u8));
        let (connections, held) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (shared, count, waits) = (Arc::clone(&state), Arc::clone(&connections), Arc::clone(&held));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let number = count.fetch_add(1, Ordering::SeqCst);
                let waits = Arc::clone(&waits);
                let is_held = move || number < waits.load(Ordering::SeqCst);
                tokio::spawn(pump(from_client, to_server, Arc::clone(&shared), Wire::Dead, is_held));
                tokio::spawn(pump(from_server, to_client, Arc::clone(&shared), Wire::SwallowsAnswers, || false));
            }
        });
        Self { port: own, state, connections, held }
    }

    /// What is sent on the connections that there are arrives when it is released, whoever has given it up; new ones pass.
    pub(crate) fn hold(&self) {
        self.held.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        self.held.store(0, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.state.store(wire as u8, Ordering::SeqCst);
    }
}

/// Passes on until `lost`, or worse, is the state; then reads and forgets.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    state: Arc<AtomicU8>,
    lost: Wire,
    is_held: impl Fn() -> bool,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        while is_held() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if state.load(Ordering::SeqCst) < lost as u8 && to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

//! Every single change on disk is interrupted once: by a crash that keeps what reached the operating system, by a loss
//! of power that takes all that was not made durable, and by a full disk.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use federation::*;
use transport::in_process::Outcome;
use transport::*;

use crate::support::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    Crash,
    PowerLoss,
    DiskFull,
}

enum Undo {
    Rename { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Link { to: PathBuf },
}

impl Undo {
    fn directory(&self) -> &Path {
        let (Self::Rename { to, .. } | Self::Link { to }) = self;
        to.parent().unwrap()
    }
}

#[derive(Default)]
struct State {
    operations: u64,
    dead: bool,
    /// Files whose content is not durable.
    unsynced: BTreeSet<PathBuf>,
    /// Changes of directories that are not durable.
    pending: Vec<Undo>,
}

impl State {
    fn lose_power(&mut self) {
        while let Some(change) = self.pending.pop() {
            match change {
                Undo::Link { to } => fs::remove_file(to).unwrap(),
                Undo::Rename { from, to, replaced } => {
                    fs::rename(&to, &from).unwrap();
                    if self.unsynced.remove(&to) {
                        self.unsynced.insert(from);
                    }
                    if let Some(bytes) = replaced {
                        fs::write(to, bytes).unwrap();
                    }
                }
            }
        }
        for path in std::mem::take(&mut self.unsynced) {
            let Ok(bytes) = fs::read(&path) else { continue };
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
}

struct TroubledDisk {
    state: Arc<Mutex<State>>,
    trouble: Trouble,
    at: u64,
}

impl TroubledDisk {
    /// Counts one operation; with an error if it is the troubled one, or comes after a crash.
    fn operation(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.operations += 1;
        if state.dead {
            return Err(io::Error::other("the process is dead"));
        }
        if state.operations != self.at {
            return Ok(());
        }
        match self.trouble {
            Trouble::DiskFull => return Err(io::ErrorKind::StorageFull.into()),
            Trouble::Crash => state.dead = true,
            Trouble::PowerLoss => {
                state.dead = true;
                state.lose_power();
            }
        }
        Err(io::Error::other("crash"))
    }
}

impl Disk for TroubledDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        let dead = self.state.lock().unwrap().dead;
        if let Err(error) = self.operation() {
            if !dead {
                fs::write(path, &bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        self.state.lock().unwrap().unsynced.insert(path.into());
        fs::write(path, bytes)
    }

    fn write_private(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.write(path, fill)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        self.state.lock().unwrap().unsynced.remove(path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        self.state.lock().unwrap().pending.retain(|change| change.directory() != path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation()?;
        let replaced = fs::read(to).ok();
        fs::rename(from, to)?;
        let mut state = self.state.lock().unwrap();
        if state.unsynced.remove(from) {
            state.unsynced.insert(to.into());
        }
        state.pending.push(Undo::Rename { from: from.into(), to: to.into(), replaced });
        Ok(())
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation()?;
        fs::hard_link(from, to)?;
        let mut state = self.state.lock().unwrap();
        if state.unsynced.contains(from) {
            state.unsynced.insert(to.into());
        }
        state.pending.push(Undo::Link { to: to.into() });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        fs::remove_file(path)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn temporary_files(out: &Path) -> usize {
    let mut directories = vec![out.to_owned()];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "tmp") {
                count += 1;
            }
        }
    }
    count
}

fn check_what_readers_see(out: &Path) {
    read_history(out).expect("the history always parses");
    if let Ok(bytes) = fs::read(out.join("models/session_s_federated_model.safetensors")) {
        assert_eq!(bytes.len(), 4 + 4 * DIM, "half a model is never seen");
    }
}

/// Creates the session, or opens it where an earlier attempt got far enough.
fn create_or_open(disk: impl Fn() -> Box<dyn Disk>, out: &Path) -> Result<FederatedServer, ServerError> {
    match FederatedServer::open_on(disk(), out, id("s"), Box::new(Raw)) {
        Err(ServerError::Store(StoreError::NoSession { .. })) => {
            FederatedServer::create_on(disk(), out, id("s"), &sites(), config(2, "fedadam"), initial(), Box::new(Raw))
        }
        other => other,
    }
}

fn clients_on(disk: &dyn Fn() -> Box<dyn Disk>) -> Vec<FederatedClient> {
    good_clients().into_iter().map(|client| client.on(disk())).collect()
}

fn interrupted_everywhere(trouble: Trouble) {
    let reference = undisturbed(scratch().path(), config(2, "fedadam"));
    let mut at = 0;
    loop {
        at += 1;
        let directory = scratch();
        let out = directory.path().join("out");
        let state = Arc::new(Mutex::new(State::default()));
        let disk = || Box::new(TroubledDisk { state: Arc::clone(&state), trouble, at }) as Box<dyn Disk>;
        let first = create_or_open(disk, &out).and_then(|mut server| run(&mut server, clients_on(&disk), 1));
        if state.lock().unwrap().operations < at {
            assert!(first.is_ok());
            break;
        }
        check_what_readers_see(&out);
        if let (Err(error), Trouble::DiskFull) = (&first, trouble) {
            let text = chain(error);
            assert!(text.contains("free some space"), "{text}");
            assert_eq!(temporary_files(&out), 0, "operation {at}: something half-written remains");
        }
        // The machine is well again.
        let healthy = || Box::new(TroubledDisk { state: Arc::default(), trouble, at: 0 }) as Box<dyn Disk>;
        let mut server = create_or_open(healthy, &out).unwrap();
        let outcome = run(&mut server, clients_on(&healthy), 1).unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }), "operation {at}: {outcome:?}");
        assert_eq!(server.session().model(), reference, "operation {at}");
        let model = Raw.decode(&fs::read(server.model_path()).unwrap()).unwrap();
        assert_eq!(Digest::of_values(&model), reference, "operation {at}");
        let history = read_history(&out).unwrap();
        assert_eq!(history.sessions, [server.session().record()], "operation {at}");
        assert_eq!(temporary_files(&out), 0, "operation {at}");
        let objects = fs::read_dir(out.join("sessions/s/objects")).unwrap().count();
        assert_eq!(objects, 3, "the model and the two moments of FedAdam");
    }
    assert!(at > 100, "only {at} operations were interrupted");
}

#[test]
fn a_crash_at_any_operation_changes_nothing() {
    interrupted_everywhere(Trouble::Crash);
}

#[test]
fn a_loss_of_power_at_any_operation_changes_nothing() {
    interrupted_everywhere(Trouble::PowerLoss);
}

#[test]
fn a_full_disk_at_any_operation_is_reported_and_heals() {
    interrupted_everywhere(Trouble::DiskFull);
}

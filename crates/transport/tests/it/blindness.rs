//! What a coordinator sees and stores of a session, recorded and searched: no update, no secret, nothing but noise and sums.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use federation::*;
use transport::*;

use crate::support::*;

/// Every content that was ever written, by path.
type Record = Arc<Mutex<Written>>;
type Written = Vec<(PathBuf, Vec<u8>)>;
/// By site and round.
type Learned = BTreeMap<(u32, u32), Update>;

struct RecordingDisk(Record);

impl Disk for RecordingDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        FileSystem.create_dir_all(path)
    }

    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        self.0.lock().unwrap().push((path.to_owned(), bytes.clone()));
        std::fs::write(path, bytes)
    }

    fn write_private(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.write(path, fill)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        FileSystem.sync_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.link_new(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove_file(path)
    }
}

/// Remembers what its trainer has learned in each round, which nobody else may.
struct Watched(Toy, Arc<Mutex<Learned>>);

impl LocalTrainer for Watched {
    fn train_round(
        &mut self,
        global: &GlobalModel,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> std::ops::ControlFlow<()>,
    ) -> Result<Update, TrainerError> {
        let update = self.0.train_round(global, round, hyperparameters, progress)?;
        self.1.lock().unwrap().insert((self.0.seed, round), update.clone());
        Ok(update)
    }

    fn evaluate(
        &mut self,
        global: &GlobalModel,
        progress: &mut dyn FnMut(Progress) -> std::ops::ControlFlow<()>,
    ) -> Result<Option<Evaluation>, TrainerError> {
        self.0.evaluate(global, progress)
    }
}

/// A session of eight rounds: all that was ever written, and what the sites have learned.
fn recorded(out: &Path, config: SessionConfig) -> (Written, Learned) {
    let (record, truth) = (Record::default(), Arc::new(Mutex::new(BTreeMap::new())));
    let machine = Machine::on(Box::new(RecordingDisk(Arc::clone(&record))));
    let mut server =
        FederatedServer::create_on(machine, out, id("s"), &sites(), config, initial(), Box::new(Raw)).unwrap();
    let client = |(name, seed): (&str, u32)| {
        let toy = Toy { seed, habit: Habit::None, step_time: std::time::Duration::ZERO };
        FederatedClient::new(site(name), Box::new(Watched(toy, Arc::clone(&truth))))
    };
    run(&mut server, [("a", 1), ("b", 2), ("c", 3)].map(client).into(), 1).unwrap();
    assert_eq!(server.session().phase(), Phase::Completed);
    drop(server);
    (Arc::try_unwrap(record).unwrap().into_inner().unwrap(), truth.lock().unwrap().clone())
}

/// Files of the coordinator that hold two neighbouring values of a site's update.
fn leaks(record: &[(PathBuf, Vec<u8>)], truth: &Learned) -> usize {
    let pairs = truth.values().flat_map(|update| update.delta.windows(2));
    let needles: HashSet<[u8; 8]> = pairs
        .filter(|pair| pair.iter().all(|value| *value != 0.0))
        .map(|pair| std::array::from_fn(|at| pair[at / 4].to_le_bytes()[at % 4]))
        .collect();
    let holds = |bytes: &[u8]| bytes.array_windows::<8>().any(|window| needles.contains(window));
    record.iter().filter(|(_, bytes)| holds(bytes)).count()
}

#[test]
fn the_coordinators_view_holds_no_update_and_no_secret() {
    const ROUNDS: u32 = 8;
    let out = scratch();
    let (record, truth) = recorded(out.path(), config(ROUNDS, "fedavg"));
    assert_eq!(truth.len(), 3 * ROUNDS as usize);
    let written = |part: &str| record.iter().filter(|(path, _)| path.to_string_lossy().contains(part)).count();
    assert!(written("/objects/") > 3 * ROUNDS as usize && written("session.json") > 20 * ROUNDS as usize);
    assert_eq!(leaks(&record, &truth), 0);
    for (path, bytes) in &record {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("\"num_examples\"") && !text.contains("\"metrics\""), "{}", path.display());
    }
    // The search finds what is there: sealed updates are read, and stored, one by one.
    let (sealed, open) =
        (scratch(), SessionConfig { protection: Some(Protection::Sealed), ..config(ROUNDS, "fedavg") });
    let (read, learned) = recorded(sealed.path(), open);
    assert_eq!(leaks(&read, &learned), 3 * ROUNDS as usize);

    // The keys of sites are in no file but their own.
    for name in ["a", "b", "c"] {
        let key = std::fs::read_to_string(site_folder(out.path(), &site(name)).join("identity.key")).unwrap();
        let holders = record.iter().filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&key));
        let holders: Vec<_> = holders.map(|(path, _)| path.to_string_lossy()).collect();
        assert!(holders.len() == 1 && holders[0].contains("identity.key"), "{holders:?}");
    }

    // What came of single sites is uniform: chi-square over bytes with 255 degrees of freedom, two-sided at 10⁻⁶.
    let is_words = |(path, bytes): &&(PathBuf, Vec<u8>)| {
        path.to_string_lossy().contains("/sessions/s/objects/") && bytes.len() == 4 * (DIM + 13)
    };
    let masked: Vec<_> = record.iter().filter(is_words).collect();
    assert_eq!(masked.len(), 3 * ROUNDS as usize);
    let mut counts = [0_u32; 256];
    masked.iter().flat_map(|(_, bytes)| bytes).for_each(|byte| counts[usize::from(*byte)] += 1);
    let total: u32 = counts.iter().sum();
    let expected = f64::from(total) / 256.0;
    let chi = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum::<f64>();
    assert!((155.0..385.0).contains(&chi), "chi-square {chi} over {total} bytes");
}

/// Twice the same key stream would give away the difference of what it hides.
#[test]
fn no_key_stream_is_used_twice() {
    let (out, record) = (scratch(), Record::default());
    let mut server =
        FederatedServer::create(out.path(), id("s"), &sites(), config(2, "fedavg"), initial(), Box::new(Raw)).unwrap();
    let recorded = |client: FederatedClient| client.on(Box::new(RecordingDisk(Arc::clone(&record))));
    run(&mut server, good_clients().into_iter().map(recorded).collect(), 1).unwrap();
    let mut nonces = HashSet::new();
    let record = record.lock().unwrap();
    let encrypted: Vec<_> = record.iter().filter(|(path, _)| path.to_string_lossy().contains("/sessions/")).collect();
    assert!(encrypted.len() > 30, "{} files", encrypted.len());
    for (path, bytes) in encrypted {
        assert!(nonces.insert(bytes[..12].to_vec()), "{} has the nonce of an earlier file", path.display());
    }

    let out = scratch();
    let sealed = SessionConfig { protection: Some(Protection::Sealed), ..config(1, "fedavg") };
    let hyperparameters = sealed.hyperparameters.clone();
    let mut server = FederatedServer::create(out.path(), id("s"), &sites(), sealed, initial(), Box::new(Raw)).unwrap();
    sites().into_iter().for_each(|site| drop(server.step(&Input::SiteJoined { site }).unwrap()));
    server.step(&Input::Start).unwrap().unwrap();
    let mut client = good_clients().remove(0);
    client.join(out.path(), &id("s"), server.session().roster()).unwrap();
    let announcement = server.announcement().unwrap();
    let mut keys = HashSet::new();
    for _ in 0..3 {
        let progress = &mut |_| std::ops::ControlFlow::Continue(());
        let (outcome, _) = client.train_round(server.global(), &announcement, 1, &hyperparameters, progress).unwrap();
        let Outcome::Sealed(sealed) = outcome else { panic!("{outcome:?}") };
        // The message begins with a public key that is made for it.
        assert!(keys.insert(sealed.to_bytes()[..32].to_vec()), "two sealed messages have one key");
    }
}

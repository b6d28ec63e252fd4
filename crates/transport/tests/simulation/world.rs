//! The machines, what happens to them, and what must hold meanwhile.

mod faults;
mod sites;

use std::collections::BTreeMap;
use std::fs;
use std::ops::{AddAssign, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use federation::sealing::Content;
use federation::secagg::{Manifest, Reply, Request, Roster, Stage};
use federation::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use transport::*;

use crate::ledger::Ledger;
use crate::network::{self, Message, Order, Truth};
use crate::reference::Reference;
use crate::support::{Habit, Raw, Toy, id, initial, scratch, site};
use crate::troubled_disk::{Trouble, TroubledDisk};

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// When the simulation begins, in milliseconds since 1970.
const DAWN_MS: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;
/// How long everything may take once the faults have stopped.
const PATIENCE: u64 = 8 * 3600 * SECOND;
const HEARTBEAT: u64 = 5 * SECOND;

/// How often what happened.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    fn add(&mut self, what: &'static str, number: u64) {
        *self.0.entry(what).or_default() += number;
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        other.0.into_iter().for_each(|(what, number)| self.add(what, number));
    }
}

enum Event {
    CoordinatorStarts,
    /// The coordinator goes on after an error that did not end its process.
    Resume,
    SiteStarts(usize),
    Connect(usize),
    Left(usize),
    Ordered(usize, Order, Truth),
    /// A site is through with a task, unless it died meanwhile.
    Worked(usize, u64, Order, Truth),
    Told(usize, Message, Truth),
    Heartbeat,
    Fault,
    Calm,
}

pub(crate) struct Coordinator {
    pub(crate) server: Option<FederatedServer>,
    disk: TroubledDisk,
    clock: Arc<AtomicU64>,
    /// How wrong its clock is.
    offset_ms: i64,
    /// The session as of the last step whose outputs were seen.
    acknowledged: Option<Session>,
    /// A step ended with an error since: more than what was acknowledged may be on disk.
    interrupted: bool,
    /// A file that has rotted, with its content before.
    rotten: Option<(PathBuf, Vec<u8>)>,
    /// Every task that was ever sent, for lies.
    pub(crate) orders: Vec<(usize, Order)>,
}

pub(crate) struct Site {
    pub(crate) client: Option<FederatedClient>,
    disk: TroubledDisk,
    /// Rises with every death.
    life: u64,
    connected: bool,
    /// Longest time for a task.
    pace: u64,
    /// The sum that it has joined last.
    joined: Option<Manifest>,
    /// Round and kind of its newest task that was done; evaluation comes after training.
    pub(crate) newest: Option<(u32, bool)>,
    rotten: Option<(PathBuf, Vec<u8>)>,
}

pub(crate) struct World {
    pub(crate) rng: ChaCha8Rng,
    tell: bool,
    story: Vec<String>,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    created: u64,
    pub(crate) out: PathBuf,
    _directory: TempDir,
    config: SessionConfig,
    pub(crate) names: Vec<SiteId>,
    pub(crate) coordinator: Coordinator,
    pub(crate) sites: Vec<Site>,
    roster: Option<Roster>,
    ledger: Ledger,
    reference: Reference,
    /// Models of the rounds that were committed.
    committed: Vec<Digest>,
    calm_at: u64,
    pub(crate) lying: bool,
    pub(crate) counts: Counts,
}

/// Errors with their causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl World {
    pub(crate) fn new(seed: u64, tell: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let algorithms = ["fedavg", "fedprox", "scaffold", "fedavgm", "fedadam"];
        let hyperparameters = Hyperparameters {
            rounds: rng.random_range(1..=3),
            local_epochs: 1,
            learning_rate: 0.1,
            algorithm: algorithms[rng.random_range(0..4)].parse().unwrap(),
            // Some updates are longer, and are limited.
            max_update_norm: if rng.random() { 100.0 } else { 5.0 },
            ..Hyperparameters::default()
        };
        let sealed = rng.random_range(0..10) < 3;
        let config = SessionConfig {
            hyperparameters,
            minimum_sites: rng.random_range(1..=3),
            round_deadline_s: rng.random::<bool>().then(|| rng.random_range(60..=600)),
            exchange_deadline_s: rng.random_range(20..=120),
            protection: sealed.then_some(Protection::Sealed),
            cap_largest_site: sealed && rng.random(),
            ..SessionConfig::default()
        };
        let number = rng.random_range(3..=NAMES.len());
        let names: Vec<SiteId> = NAMES[..number].iter().copied().map(site).collect();
        let directory = scratch();
        let new_site = |_| Site {
            client: None,
            disk: TroubledDisk::default(),
            life: 0,
            connected: false,
            pace: 20 * SECOND,
            joined: None,
            newest: None,
            rotten: None,
        };
        Self {
            tell,
            story: Vec::new(),
            now: 0,
            events: BTreeMap::new(),
            created: 0,
            out: directory.path().join("out"),
            _directory: directory,
            reference: Reference::new(config.clone(), names.len()),
            config,
            coordinator: Coordinator {
                server: None,
                disk: TroubledDisk::default(),
                clock: Arc::new(AtomicU64::new(DAWN_MS)),
                offset_ms: 0,
                acknowledged: None,
                interrupted: false,
                rotten: None,
                orders: Vec::new(),
            },
            sites: names.iter().map(new_site).collect(),
            names,
            roster: None,
            ledger: Ledger::default(),
            committed: Vec::new(),
            calm_at: rng.random_range(60..=600) * SECOND,
            lying: rng.random_range(0..10) < 3,
            counts: Counts::default(),
            rng,
        }
    }

    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        let line = format!("{:>9.3} {}", self.now as f64 / SECOND as f64, text());
        if self.tell {
            eprintln!("{line}");
        }
        self.story.push(line);
    }

    /// What happened last.
    pub(crate) fn story(&self) -> String {
        self.story[self.story.len().saturating_sub(40)..].join("\n")
    }

    fn later(&mut self, ms: std::ops::Range<u64>, event: Event) {
        let at = self.now + self.rng.random_range(ms);
        self.events.insert((at, self.created), event);
        self.created += 1;
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        self.counts.add(what, 1);
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.now < self.calm_at && self.rng.random_range(0..100) < percent
    }

    /// The whole seed.
    pub(crate) fn run(&mut self) {
        self.say(String::new);
        let about = format!("{} sites, lying {}, {:?}", self.names.len(), self.lying, self.config);
        self.say(|| about);
        self.later(0..1, Event::CoordinatorStarts);
        self.later(SECOND..2 * SECOND, Event::Heartbeat);
        self.later(0..10 * SECOND, Event::Fault);
        let calm_at = self.calm_at;
        self.later(calm_at..calm_at + 1, Event::Calm);
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            let time = (DAWN_MS + at).saturating_add_signed(self.coordinator.offset_ms);
            self.coordinator.clock.store(time, Ordering::Relaxed);
            if at > self.calm_at + PATIENCE {
                let session = self.coordinator.server.as_ref().map(FederatedServer::session);
                // Whoever is led away from a sum that it has signed for does not come back to it.
                if self.counts.of("attacks") > 0 && session.is_some_and(waits_for_shares) {
                    self.count("waits for sites that were led away");
                    break;
                }
                panic!("the session does not end: {:?}", session.map(Session::record));
            }
            self.happen(event);
            if self.coordinator.server.as_ref().is_some_and(|server| server.session().phase().is_over()) {
                break;
            }
        }
        self.check_the_end();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::CoordinatorStarts => self.start_coordinator(),
            Event::Resume => self.feed(&Input::Resume).map_or((), drop),
            Event::SiteStarts(i) => self.start_site(i),
            Event::Connect(i) => self.connect(i),
            Event::Left(i) => {
                if !self.sites[i].connected {
                    let (site, reason) = (self.names[i].clone(), "the connection was lost".to_owned());
                    self.feed(&Input::SiteLeft { site, reason });
                }
            }
            Event::Ordered(i, order, truth) => match &order {
                Order::Task { .. } => {
                    let (pace, life) = (self.sites[i].pace, self.sites[i].life);
                    self.later(SECOND / 10..pace, Event::Worked(i, life, order, truth));
                }
                Order::Ask(request) => {
                    if let Some((reply, words)) = self.ask(i, &network::request(request)) {
                        self.send_to_coordinator(i, Message::Replied { bytes: reply.to_bytes(), words });
                    }
                }
            },
            Event::Worked(i, life, order, truth) if self.sites[i].life == life => self.work(i, &order, truth),
            Event::Worked(..) => {}
            Event::Told(i, message, truth) => self.told(i, message, truth),
            Event::Heartbeat => self.heartbeat(),
            Event::Fault if self.now < self.calm_at => {
                self.fault();
                self.later(SECOND..20 * SECOND, Event::Fault);
            }
            Event::Fault => {}
            Event::Calm => self.calm(),
        }
    }

    fn heartbeat(&mut self) {
        self.later(HEARTBEAT..HEARTBEAT + 1, Event::Heartbeat);
        let Some(server) = &self.coordinator.server else { return };
        let session = server.session();
        if session.deadline_ms().is_some_and(|deadline| server.now_ms() >= deadline) {
            self.say(|| "a deadline has passed".into());
            self.feed(&Input::Tick);
        } else if session.phase() == Phase::Initialising {
            let present = session.sites().values().filter(|present| **present).count();
            if present >= session.needed_sites() as usize && (present == self.names.len() || self.now > 30 * SECOND) {
                self.feed(&Input::Start);
            }
        }
        for i in 0..self.sites.len() {
            self.join_again(i);
        }
    }

    /// Whoever was late is free again.
    fn join_again(&mut self, i: usize) {
        let Some(server) = &self.coordinator.server else { return };
        let present = server.session().sites().get(&self.names[i]) == Some(&true);
        if self.sites[i].connected && !present {
            self.feed(&Input::SiteJoined { site: self.names[i].clone() });
        }
    }

    // The coordinator.

    fn start_coordinator(&mut self) {
        if self.coordinator.server.is_some() {
            return;
        }
        let struck = {
            let mut state = self.coordinator.disk.state();
            state.dead = false;
            state.struck
        };
        let server = self.open_coordinator();
        match server {
            Ok(server) => {
                self.say(|| "the coordinator starts".into());
                if self.roster.is_none() {
                    self.roster = Some(server.session().roster().clone());
                    (0..self.sites.len()).for_each(|i| self.later(0..20 * SECOND, Event::SiteStarts(i)));
                }
                self.check_what_was_acknowledged(server.session());
                self.coordinator.server = Some(server);
                self.observe();
                self.feed(&Input::Resume);
                for i in 0..self.sites.len() {
                    self.later(0..5 * SECOND, Event::Connect(i));
                }
            }
            Err(error) => {
                let known = self.coordinator.acknowledged.is_some();
                assert!(
                    self.coordinator.disk.state().struck != struck,
                    "the coordinator cannot start (known {known}): {}",
                    chain(&error)
                );
                self.coordinator.interrupted = true;
                self.say(|| format!("the coordinator cannot start: {}", chain(&error)));
                self.later(SECOND..20 * SECOND, Event::CoordinatorStarts);
            }
        }
    }

    fn open_coordinator(&self) -> Result<FederatedServer, ServerError> {
        let machine = || {
            let clock = Arc::clone(&self.coordinator.clock);
            let clock = Box::new(move || clock.load(Ordering::Relaxed));
            Machine { disk: Box::new(self.coordinator.disk.clone()), clock }
        };
        match FederatedServer::open_on(machine(), &self.out, id("s"), Box::new(Raw)) {
            Err(ServerError::Store(StoreError::NoSession { .. })) if self.roster.is_none() => {
                let (config, sites) = (self.config.clone(), &self.names);
                FederatedServer::create_on(machine(), &self.out, id("s"), sites, config, initial(), Box::new(Raw))
            }
            other => other,
        }
    }

    /// Nothing that was acknowledged is missing.
    fn check_what_was_acknowledged(&self, session: &Session) {
        let Some(known) = &self.coordinator.acknowledged else { return };
        if !self.coordinator.interrupted {
            assert!(session == known, "the coordinator starts with another state than it had");
            return;
        }
        assert!(session.rounds().len() >= known.rounds().len(), "a round is lost");
        for (stored, known) in session.rounds().iter().zip(known.rounds()) {
            for (site, record) in &known.sites {
                let stored = stored.sites.get(site);
                let kept = stored.is_some_and(|stored| {
                    (record.update.is_none() || stored.update.is_some())
                        && (record.samples_at_most.is_none() || stored.samples_at_most.is_some())
                        && (record.masked.is_none() || stored.masked.is_some())
                });
                assert!(kept, "what site {site} sent for round {} was acknowledged and is missing", known.round);
            }
        }
    }

    fn kill_coordinator(&mut self) {
        self.coordinator.server = None;
        self.later(SECOND / 2..20 * SECOND, Event::CoordinatorStarts);
    }

    /// Gives the coordinator an input; whether it was taken, nothing where it could not be handled.
    fn feed(&mut self, input: &Input) -> Option<Result<(), Rejection>> {
        let server = self.coordinator.server.as_mut()?;
        let struck = self.coordinator.disk.state().struck;
        let before = server.session().clone();
        let stepped = server.step(input);
        if stepped.is_ok() && self.coordinator.disk.state().dead {
            // It died while it removed what is not needed any more: nobody hears of the step.
            self.coordinator.interrupted = true;
            self.kill_coordinator();
            return None;
        }
        match stepped {
            Ok(Ok(outputs)) => {
                let session = server.session().clone();
                self.coordinator.interrupted &= session == before;
                self.coordinator.acknowledged = Some(session);
                self.observe();
                outputs.into_iter().for_each(|output| self.carry_out(output));
                Some(Ok(()))
            }
            Ok(Err(rejection)) => Some(Err(rejection)),
            Err(error) => {
                self.coordinator.interrupted = true;
                let text = chain(&error);
                self.say(|| format!("the coordinator has trouble: {text}"));
                let (dead, now_struck) = {
                    let state = self.coordinator.disk.state();
                    (state.dead, state.struck)
                };
                if now_struck == struck && !dead {
                    self.restore_coordinator(&text);
                }
                if dead || self.rng.random() {
                    self.kill_coordinator();
                } else {
                    self.observe();
                    self.later(SECOND..10 * SECOND, Event::Resume);
                }
                None
            }
        }
    }

    /// A rotten file is the only reason for an error without trouble of the disk, and is named.
    fn restore_coordinator(&mut self, text: &str) {
        let (path, bytes) = self.coordinator.rotten.take().unwrap_or_else(|| panic!("without reason: {text}"));
        assert!(text.contains(&path.display().to_string()), "{text} does not name {}", path.display());
        fs::write(path, bytes).unwrap();
        self.count("rotten files found in use");
    }

    /// No committed round is lost or repeated, and its model is the one that the sites' updates make.
    fn observe(&mut self) {
        let Some(server) = &self.coordinator.server else { return };
        let session = server.session();
        let models: Vec<Digest> = session.rounds().iter().filter_map(|round| round.model_sha256).collect();
        assert!(models.starts_with(&self.committed), "a committed round is lost or was repeated");
        for record in &session.rounds()[self.committed.len()..models.len()] {
            let names = &self.names;
            let number = |site: &SiteId| names.iter().position(|name| name == site).unwrap();
            let expected = self.reference.advance(record, number);
            assert_eq!(record.model_sha256, Some(expected), "round {}: not the model of its survivors", record.round);
        }
        let fresh = models.len() - self.committed.len();
        self.committed = models;
        self.counts.add("rounds", fresh as u64);
    }

    fn carry_out(&mut self, output: Output) {
        self.say(|| format!("the coordinator says {output:?}").chars().take(200).collect());
        match output {
            Output::StartRound { site, round } => self.order(&site, round, Task::Training),
            Output::Evaluate { site, round } => self.order(&site, round, Task::Evaluation),
            Output::Ask { site } => {
                let Some(server) = &self.coordinator.server else { return };
                let request = server.session().request(&site).map(Request::to_bytes);
                if let (Some(request), Some(i)) = (request, self.number(&site)) {
                    self.send_to_site(i, Order::Ask(request), Truth::Honest);
                }
            }
            _ => {}
        }
    }

    fn number(&self, site: &SiteId) -> Option<usize> {
        self.names.iter().position(|name| name == site)
    }

    fn order(&mut self, site: &SiteId, round: u32, task: Task) {
        let (Some(server), Some(i)) = (&self.coordinator.server, self.number(site)) else { return };
        let global = Arc::clone(server.global());
        let digest = global.digest();
        assert!(digest == server.session().model(), "the model that is served is not the session's");
        assert!(digest == self.reference.model.digest(), "a corrupt model is served");
        let order = Order::Task { task, round, global, announcement: server.announcement().unwrap() };
        self.coordinator.orders.push((i, order.clone()));
        let (order, truth) = if self.lying && self.chance(20) { self.twist(i, order) } else { (order, Truth::Honest) };
        self.send_to_site(i, order, truth);
    }

    /// What the coordinator does with what a site sent.
    fn told(&mut self, i: usize, message: Message, truth: Truth) {
        let Some(server) = &self.coordinator.server else { return };
        let site = self.names[i].clone();
        let input = match message {
            Message::Trained { round, samples_at_most } => Input::SiteTrained { site, round, samples_at_most },
            Message::Evaluated { round } => Input::SiteEvaluated { site, round },
            Message::Sealed { round, bytes } => {
                let opened = network::sealed(&bytes).map(|sealed| server.open_sealed(&site, round, &sealed));
                match opened {
                    Some(Ok(content)) => {
                        assert!(truth != Truth::Forged, "a damaged message is opened");
                        match content {
                            Content::Update(update) => Input::UpdateReceived { site, round, update },
                            Content::Evaluation(evaluation) => Input::EvaluationReceived { site, round, evaluation },
                        }
                    }
                    Some(Err(error)) => {
                        assert!(error.to_string().contains(&format!("site {site}")), "{error} names nobody");
                        return self.refused(i, truth);
                    }
                    None => return self.refused(i, truth),
                }
            }
            Message::Replied { bytes, words } => match Reply::from_bytes(&bytes) {
                Ok(reply) => Input::Replied { site, reply, words },
                Err(_) => return self.refused(i, truth),
            },
        };
        let result = self.feed(&input);
        self.say(|| format!("site {i} tells {input:?}").chars().take(200).collect());
        match (result, truth) {
            (Some(Ok(())), Truth::Forged) => panic!("a damaged message of site {i} is taken: {input:?}"),
            (Some(Err(rejection)), truth) => {
                let site = &self.names[i];
                let over = matches!(rejection, Rejection::SessionOver { .. });
                assert!(over || rejection.to_string().contains(&format!("site {site}")), "{rejection} names nobody");
                self.say(|| format!("rejected: {rejection}"));
                self.refused(i, truth);
            }
            _ => {}
        }
        self.join_again(i);
    }

    /// Something was not taken: a damaged connection is given up, anything else was merely late.
    fn refused(&mut self, i: usize, truth: Truth) {
        if truth == Truth::Forged {
            self.count("forged or damaged messages refused");
            self.cut(i);
        }
    }

    // The network.

    fn send_to_site(&mut self, i: usize, mut order: Order, mut truth: Truth) {
        if self.chance(3) {
            self.count("messages lost");
            return self.cut(i);
        }
        if self.chance(5) {
            self.count("messages repeated");
            self.later(SECOND..60 * SECOND, Event::Ordered(i, order.clone(), truth));
        }
        if truth == Truth::Honest && self.chance(3) && order.damage(&mut self.rng) {
            self.count("messages damaged");
            truth = Truth::Forged;
        }
        let latency = self.latency();
        self.later(latency, Event::Ordered(i, order, truth));
    }

    fn send_to_coordinator(&mut self, i: usize, mut message: Message) {
        if self.chance(3) {
            self.count("messages lost");
            return self.cut(i);
        }
        if self.chance(5) {
            self.count("messages repeated");
            self.later(SECOND..60 * SECOND, Event::Told(i, message.clone(), Truth::Honest));
        }
        let mut truth = Truth::Honest;
        if self.chance(3) && message.damage(&mut self.rng) {
            self.count("messages damaged");
            truth = Truth::Forged;
        } else if self.chance(2) {
            let mut copy = message.clone();
            if copy.damage(&mut self.rng) {
                self.count("messages damaged");
                self.later(SECOND..10 * SECOND, Event::Told(i, copy, Truth::Forged));
            }
        }
        let latency = self.latency();
        self.later(latency, Event::Told(i, message, truth));
    }

    fn latency(&mut self) -> std::ops::Range<u64> {
        if self.chance(5) {
            self.count("messages delayed");
            SECOND..40 * SECOND
        } else {
            1..SECOND / 5
        }
    }

    pub(crate) fn cut(&mut self, i: usize) {
        self.count("connections cut");
        self.sites[i].connected = false;
        self.later(SECOND / 5..3 * SECOND, Event::Left(i));
        self.later(SECOND..20 * SECOND, Event::Connect(i));
    }

    fn connect(&mut self, i: usize) {
        if self.sites[i].client.is_some() && self.coordinator.server.is_some() {
            self.sites[i].connected = true;
            self.say(|| format!("site {i} connects"));
            self.feed(&Input::SiteJoined { site: self.names[i].clone() });
        }
    }

    fn check_the_end(&mut self) {
        self.calm();
        self.coordinator.server = None;
        self.coordinator.disk.state().dead = false;
        let server = self.open_coordinator().unwrap();
        let session = server.session();
        self.check_what_was_acknowledged(session);
        assert_eq!(session.model(), self.reference.model.digest(), "the final model is another one");
        let history = read_history(&self.out).unwrap();
        assert_eq!(history.sessions, [session.record()], "the history tells something else");
        assert_eq!(temporary_files(&self.out), Vec::<PathBuf>::new(), "something half-written remains");
        let sums = self.ledger.completed() as u64;
        match session.failure() {
            None if session.phase() == Phase::Completed => {
                let model = Raw.decode(&fs::read(server.model_path()).unwrap()).unwrap();
                assert_eq!(Digest::of_values(&model), session.model(), "the delivered model is another one");
                self.counts.add("completed", 1);
            }
            None => {}
            Some(FailureReason::TooFewSites { .. }) => self.counts.add("too few sites", 1),
            Some(reason) => panic!("the session failed: {reason}"),
        }
        let what = if self.lying { "seeds with lies" } else { "seeds without lies" };
        self.counts.add(what, 1);
        self.counts.add("sums unmasked", sums);
    }
}

/// Whether a sum is in its last exchange, which waits for as long as it takes.
fn waits_for_shares(session: &Session) -> bool {
    let request = session.sites().keys().find_map(|site| session.request(site));
    request.is_some_and(|request| request.stage() == Stage::Unmasking)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    files
}

/// Half-written files of the coordinator. (A site's are overwritten when it writes next.)
fn temporary_files(out: &Path) -> Vec<PathBuf> {
    let folders = [out.to_owned(), out.join("models"), out.join("sessions/s"), out.join("sessions/s/objects")];
    let all = folders.iter().flat_map(|folder| files(folder));
    all.filter(|path| path.extension().is_some_and(|end| end == "tmp")).collect()
}

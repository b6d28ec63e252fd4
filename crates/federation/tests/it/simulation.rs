//! Whole sessions on virtual time with sites that fail, leave, lie, repeat themselves and come late, and a coordinator
//! that is restarted from its stored state at any moment. Every run replays from its seed.

use std::collections::{BTreeMap, BTreeSet};

use federation::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const DEADLINE_MS: u64 = 10_000;

struct World {
    rng: ChaCha8Rng,
    config: SessionConfig,
    session: Session,
    server: Server,
    sites: BTreeMap<SiteId, LeastSquares>,
    /// What will happen: (time, order of creation) to input.
    future: BTreeMap<(u64, u64), Input>,
    created: u64,
    now: u64,
    /// Updates that were sent before, for replays.
    sent: Vec<Input>,
    trained_honestly: BTreeSet<(u32, SiteId)>,
    restarts: u32,
    rejections: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let algorithms = ["fedavg", "fedprox", "scaffold", "fedavgm", "fedadam"];
        let hyperparameters = Hyperparameters {
            rounds: rng.random_range(1..=6),
            local_epochs: rng.random_range(1..=3),
            learning_rate: 0.2,
            algorithm: algorithms[rng.random_range(0..4)].parse().unwrap(),
            ..Hyperparameters::default()
        };
        let config = SessionConfig {
            hyperparameters,
            minimum_sites: rng.random_range(1..=3),
            round_deadline_s: Some((DEADLINE_MS / 1000) as u32),
            cap_largest_site: true,
            ..sealed()
        };
        let server = Server::new(&config.hyperparameters.algorithm);
        let id = SessionId::new(format!("seed-{seed}")).unwrap();
        let session =
            Session::new(id, config.clone(), server.global.schema(), roster(), server.global.digest(), 0).unwrap();
        let sites =
            NAMES.iter().zip(0..).map(|(n, i)| (site(n), LeastSquares::new(i, 5 + 7 * i as usize, 0.3 * i as f64)));
        let sites = sites.collect();
        Self {
            rng,
            config,
            session,
            server,
            sites,
            future: BTreeMap::new(),
            created: 0,
            now: 0,
            sent: Vec::new(),
            trained_honestly: BTreeSet::new(),
            restarts: 0,
            rejections: 0,
        }
    }

    fn after(&mut self, delay_ms: u64, input: Input) {
        self.created += 1;
        self.future.insert((self.now + delay_ms, self.created), input);
    }

    fn run(&mut self) {
        for name in NAMES {
            self.step(Input::SiteJoined { site: site(name) });
        }
        self.step(Input::Start);
        while !self.session.phase().is_over() {
            assert!(self.created < 5000, "the session does not end");
            // The driver's timer, unless something happens before.
            let deadline = self.session.deadline_ms().unwrap_or(u64::MAX);
            match self.future.first_key_value() {
                Some((&(time, _), _)) if time <= deadline => {
                    self.now = self.now.max(time);
                    let (_, input) = self.future.pop_first().unwrap();
                    self.step(input);
                }
                _ => {
                    assert_ne!(deadline, u64::MAX, "nothing will ever happen");
                    self.now = self.now.max(deadline);
                    self.step(Input::Tick);
                }
            }
            if self.rng.random_bool(0.05) {
                self.restart();
            }
        }
    }

    /// Everything that is not stored is lost; what is stored must be equal after its way through JSON.
    fn restart(&mut self) {
        let stored = serde_json::to_string(&self.session).unwrap();
        let loaded: Session = serde_json::from_str(&stored).unwrap();
        assert_eq!(loaded, self.session);
        self.session = loaded;
        let state = self.server.optimizer.state().into_iter().map(<[f32]>::to_vec).collect();
        self.server.optimizer = server_optimizer(&self.config.hyperparameters.algorithm, DIM, state).unwrap();
        let needed: BTreeSet<Digest> = self.session.needed_updates().collect();
        self.server.updates.retain(|digest, _| needed.contains(digest));
        self.now += self.rng.random_range(0..3 * DEADLINE_MS);
        self.restarts += 1;
        self.step(Input::Resume);
    }

    fn step(&mut self, input: Input) {
        let before = self.session.clone();
        let outputs = match self.session.step(&input, self.now) {
            Ok(outputs) => outputs,
            Err(rejection) => {
                assert_eq!(self.session, before, "{rejection} left a trace");
                self.rejections += 1;
                // Whoever is too late comes back.
                if let (Rejection::Late { site, .. } | Rejection::WrongRound { site, .. }, true) =
                    (rejection, self.rng.random_bool(0.8))
                {
                    self.after(1, Input::SiteJoined { site });
                }
                return;
            }
        };
        for output in outputs {
            match output {
                Output::StartRound { site, round } => self.behave(site, round),
                Output::UpdateAccepted { update: digest, .. } => {
                    let Input::UpdateReceived { update, .. } = &input else { panic!("accepted without an update") };
                    assert_eq!(digest, Digest::of_values(&update.delta));
                    self.server.updates.insert(digest, update.delta.clone());
                }
                Output::AggregateReady { contributions, .. } => {
                    // The crash between the request and the answer.
                    if self.rng.random_bool(0.1) {
                        self.restart();
                        return;
                    }
                    let model = self.server.aggregate(&contributions, self.session.roster().members().len()).unwrap();
                    self.step(Input::Aggregated { model });
                }
                Output::Evaluate { site, round } => {
                    let evaluation = self.sites.get_mut(&site).unwrap().evaluate(&self.server.global, &mut never_stop);
                    let answer =
                        Input::EvaluationReceived { site: site.clone(), round, evaluation: evaluation.unwrap() };
                    let delay = self.rng.random_range(0..2000);
                    match self.rng.random_range(0..10) {
                        0 => self.after(delay, Input::SiteFailed { site, round, reason: "no disk".into() }),
                        1 => {}
                        _ => self.after(delay, answer),
                    }
                }
                Output::SiteLate { site, .. } | Output::SiteDropped { site, .. } if self.rng.random_bool(0.7) => {
                    let delay = self.rng.random_range(0..2 * DEADLINE_MS);
                    self.after(delay, Input::SiteJoined { site });
                }
                _ => {}
            }
        }
    }

    /// What the site does when it is asked to train.
    fn behave(&mut self, site: SiteId, round: u32) {
        let trainer = self.sites.get_mut(&site).unwrap();
        let hyperparameters = &self.config.hyperparameters;
        let update = trainer.train_round(&self.server.global, round, hyperparameters, &mut never_stop).unwrap();
        let honest = Input::UpdateReceived { site: site.clone(), round, update: update.clone() };
        let lie = |update: Update| Input::UpdateReceived { site: site.clone(), round, update };
        let delay = self.rng.random_range(0..8000);
        match self.rng.random_range(0..20) {
            0 => self.after(delay, Input::SiteFailed { site, round, reason: "out of memory".into() }),
            1 => self.after(delay, Input::SiteLeft { site, reason: "connection lost".into() }),
            2 => {
                let mut delta = update.delta.clone();
                delta[round as usize % DIM] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][round as usize % 3];
                self.after(delay, lie(Update { delta, ..update }));
            }
            3 => self.after(delay, lie(Update { delta: vec![0.0; DIM + 1], ..update })),
            4 => self.after(delay, lie(Update { schema_hash: Digest::of_bytes(b"other"), ..update })),
            5 => self.after(delay, lie(Update { num_examples: 0, ..update })),
            6 => {}
            7 => {
                // In time all the same when the coordinator is restarted meanwhile.
                self.trained_honestly.insert((round, site));
                self.after(DEADLINE_MS + delay, honest);
            }
            behaviour => {
                self.trained_honestly.insert((round, site));
                self.sent.push(honest.clone());
                self.after(delay, honest.clone());
                if behaviour < 12 {
                    let again = self.rng.random_range(0..2 * DEADLINE_MS);
                    self.after(again, honest);
                }
                if behaviour == 12 {
                    let old = self.sent[self.rng.next_u64() as usize % self.sent.len()].clone();
                    self.after(delay, old);
                }
            }
        }
    }

    /// The same rounds with only the sites whose updates counted, and nothing going wrong.
    fn undisturbed_with_the_same_survivors(&self) -> Digest {
        let mut server = Server::new(&self.config.hyperparameters.algorithm);
        for record in self.session.rounds() {
            let mut contributions = Vec::new();
            let survivors = || record.sites.iter().filter(|(_, s)| s.status == SiteStatus::Trained);
            let examples: Vec<u32> = survivors().map(|(site, _)| self.sites[site].rows.len() as u32).collect();
            for ((site, _), weight) in survivors().zip(site_weights(&examples, true)) {
                let mut trainer = self.sites[site].clone();
                let hyperparameters = &self.config.hyperparameters;
                let update =
                    trainer.train_round(&server.global, record.round, hyperparameters, &mut never_stop).unwrap();
                let (digest, magnitude) = (Digest::of_values(&update.delta), update.magnitude());
                contributions.push(Contribution { site: site.clone(), update: digest, weight, magnitude });
                server.updates.insert(digest, update.delta);
            }
            contributions.reverse();
            assert_eq!(
                server.aggregate(&contributions, self.session.roster().members().len()).unwrap(),
                record.model_sha256.unwrap()
            );
        }
        server.global.digest()
    }
}

#[test]
fn whatever_happens_the_model_is_that_of_the_survivors() {
    let (mut completed, mut failed, mut restarts, mut rejections) = (0, 0, 0, 0);
    let mut statuses = std::collections::HashSet::new();
    for seed in 0..1500 {
        let mut world = World::new(seed);
        world.run();
        for record in world.session.rounds() {
            for (site, outcome) in &record.sites {
                statuses.insert(std::mem::discriminant(&outcome.status));
                assert_eq!(outcome.status == SiteStatus::Trained, outcome.update.is_some(), "seed {seed}");
                if outcome.status == SiteStatus::Trained {
                    assert!(
                        world.trained_honestly.contains(&(record.round, site.clone())),
                        "seed {seed}: a liar counts"
                    );
                }
            }
        }
        match world.session.phase() {
            Phase::Completed => {
                completed += 1;
                assert_eq!(world.session.rounds().len(), world.config.hyperparameters.rounds as usize);
                assert_eq!(world.session.model(), world.undisturbed_with_the_same_survivors(), "seed {seed}");
            }
            _ => {
                failed += 1;
                let reason = world.session.failure().unwrap();
                assert!(
                    matches!(reason, FailureReason::TooFewSites { found, minimum, .. } if *found < *minimum as usize)
                );
            }
        }
        restarts += world.restarts;
        rejections += world.rejections;
    }
    // The schedules must really exercise what they are for.
    assert!(completed > 750, "only {completed} sessions completed");
    assert!(failed > 10, "only {failed} sessions failed");
    assert!(restarts > 1000 && rejections > 1000, "{restarts} restarts, {rejections} rejections");
    assert!(statuses.len() >= 5, "{} of 5 outcomes were seen", statuses.len());
}

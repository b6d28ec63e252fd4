//! Whole sessions under secure aggregation on virtual time: messages are lost, late, doubled, out of order and damaged; sites
//! and the coordinator crash before and after each of their steps is stored; clocks jump; in some runs the coordinator lies. Every run
//! replays from its seed: `FEDNODULE_SECURE_SEED=7`; `FEDNODULE_SECURE_SEEDS` says how many there are.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use federation::secagg::*;
use federation::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::*;

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// From then on nothing goes wrong any more: whatever has happened before, the session must come to an end.
const PEACE_MS: u64 = 3_600_000;

/// What a site keeps on its disk.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Stored {
    participant: Participant,
    trained: Option<(u32, Basis, Vec<f32>, u32, Totals)>,
    evaluated: Option<(u32, Basis, Totals)>,
    words: Vec<u32>,
}

struct Site {
    identity: SigningKey,
    trainer: LeastSquares,
    /// As bytes: what is not in them did not survive.
    disk: Vec<u8>,
}

/// Something on its way.
#[derive(Clone)]
enum Event {
    ToCoordinator(Input),
    Train { site: SiteId, round: u32, model: GlobalModel, basis: Basis },
    Evaluate { site: SiteId, round: u32, model: GlobalModel, basis: Basis },
    Ask { site: SiteId, request: Vec<u8> },
}

struct World {
    rng: ChaCha8Rng,
    /// How often something goes wrong, 0 to 1.
    trouble: f64,
    lies: bool,
    session: Session,
    server: Server,
    words: BTreeMap<Digest, Vec<u32>>,
    sites: BTreeMap<SiteId, Site>,
    future: BTreeMap<(u64, u64), Event>,
    created: u64,
    now: u64,
    seen: Seen,
}

/// What has happened, for the rules that must hold.
#[derive(Default)]
struct Seen {
    /// Honest updates of each round: weights and values.
    updates: BTreeMap<(u32, SiteId), (u32, Vec<f32>)>,
    /// For each sum and giver: whose seeds and whose keys it has given away.
    given: BTreeMap<([u8; 32], NodeId), [BTreeSet<NodeId>; 2]>,
    /// For each job, round and giver: the sums that it has helped to unmask.
    unmasked: BTreeMap<(String, u32, NodeId), BTreeSet<[u8; 32]>>,
    completed: BTreeMap<(u32, Purpose), Digest>,
    models: BTreeMap<u32, Digest>,
    lied: u32,
    crashes: u32,
    rejected: u32,
    refused: u32,
    given_up: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let names = &NAMES[..rng.random_range(3..=NAMES.len())];
        let algorithms = ["fedavg", "fedprox", "scaffold", "fedavgm", "fedadam"];
        let hyperparameters = Hyperparameters {
            rounds: rng.random_range(1..=3),
            local_epochs: 1,
            learning_rate: 0.2,
            algorithm: algorithms[rng.random_range(0..4)].parse().unwrap(),
            max_update_norm: 10.0,
            ..Hyperparameters::default()
        };
        let config = SessionConfig {
            hyperparameters,
            minimum_sites: rng.random_range(1..=3),
            round_deadline_s: rng.random_bool(0.7).then_some(120),
            exchange_deadline_s: 10,
            collapse_threshold: 0.0,
            ..SessionConfig::default()
        };
        let server = Server::new(&config.hyperparameters.algorithm);
        let roster = roster_of(names);
        let id = SessionId::new(format!("seed-{seed}")).unwrap();
        let session =
            Session::new(id, config, server.global.schema(), roster.clone(), server.global.digest(), 0).unwrap();
        let site_of = |(number, name): (u64, &&str)| {
            let standing = Standing {
                id: roster.id_of(&site(name)).unwrap(),
                approved_roster: roster.digest(),
                joined: BTreeMap::new(),
                unmasked: BTreeMap::new(),
            };
            let stored =
                Stored { participant: Participant::new(standing), trained: None, evaluated: None, words: Vec::new() };
            let trainer = LeastSquares::new(number, 5 + 7 * number as usize, 0.3 * number as f64);
            let disk = serde_json::to_vec(&stored).unwrap();
            (site(name), Site { identity: identity(name), trainer, disk })
        };
        let trouble = [0.0, 0.02, 0.1, 0.25][rng.random_range(0..4)];
        let lies = rng.random_bool(0.2);
        Self {
            trouble,
            lies,
            session,
            server,
            words: BTreeMap::new(),
            sites: (0..).zip(names).map(site_of).collect(),
            future: BTreeMap::new(),
            created: 0,
            now: 0,
            seen: Seen::default(),
            rng,
        }
    }

    fn goes_wrong(&mut self) -> bool {
        self.now < PEACE_MS && self.rng.random_bool(self.trouble)
    }

    /// Puts something on its way: late, twice, or never, in which case the other end notices that the line is dead.
    fn send(&mut self, event: Event) {
        let delay = if self.goes_wrong() { self.rng.random_range(0..20_000) } else { self.rng.random_range(1..50) };
        if self.goes_wrong() {
            self.at(delay + 5, event.clone());
        }
        if self.goes_wrong() {
            let site = match &event {
                Event::ToCoordinator(
                    Input::SiteTrained { site, .. } | Input::SiteEvaluated { site, .. } | Input::Replied { site, .. },
                )
                | Event::Train { site, .. }
                | Event::Evaluate { site, .. }
                | Event::Ask { site, .. } => site.clone(),
                Event::ToCoordinator(_) => return self.at(delay, event),
            };
            self.cut(site);
        } else {
            self.at(delay, event);
        }
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.created += 1;
        assert!(self.created < 60_000, "the session does not end");
        self.future.insert((self.now + delay, self.created), event);
    }

    /// The line to a site is dead for a while.
    fn cut(&mut self, site: SiteId) {
        let (noticed, back) = (self.rng.random_range(0..3_000), self.rng.random_range(3_000..30_000));
        let reason = "the line is dead".to_owned();
        self.at(noticed, Event::ToCoordinator(Input::SiteLeft { site: site.clone(), reason }));
        self.at(back, Event::ToCoordinator(Input::SiteJoined { site }));
    }

    fn run(&mut self) {
        for site in self.sites.keys().cloned().collect::<Vec<_>>() {
            self.step(Input::SiteJoined { site });
        }
        self.step(Input::Start);
        while !self.session.phase().is_over() {
            let deadline = self.session.deadline_ms().unwrap_or(u64::MAX);
            match self.future.first_key_value() {
                Some((&(time, _), _)) if time <= deadline => {
                    self.now = self.now.max(time);
                    let (_, event) = self.future.pop_first().unwrap();
                    self.happen(event);
                }
                _ if deadline != u64::MAX => {
                    self.now = self.now.max(deadline);
                    self.step(Input::Tick);
                }
                // Everybody waits for somebody: who is away comes back.
                _ => {
                    if self.lies && self.session.sites().values().all(|here| *here) {
                        // The liar has told each something else, and waits for what it will never get.
                        return self.step(Input::Cancel);
                    }
                    let away: Vec<SiteId> =
                        self.session.sites().iter().filter(|(_, here)| !**here).map(|(site, _)| site.clone()).collect();
                    assert!(!away.is_empty(), "nothing will ever happen: {:#?}", self.session);
                    self.now = self.now.max(PEACE_MS);
                    away.into_iter().for_each(|site| self.at(1, Event::ToCoordinator(Input::SiteJoined { site })));
                }
            }
            if self.goes_wrong() && self.rng.random_bool(0.2) {
                self.restart();
            }
            if self.goes_wrong() && self.rng.random_bool(0.05) {
                self.now += self.rng.random_range(0..100_000);
            }
        }
    }

    /// The coordinator loses everything that is not stored.
    fn restart(&mut self) {
        self.seen.crashes += 1;
        let stored = serde_json::to_vec(&self.session).unwrap();
        let loaded: Session = serde_json::from_slice(&stored).unwrap();
        assert!(loaded == self.session, "a stored session differs");
        self.session = loaded;
        let needed: BTreeSet<Digest> = self.session.needed_updates().collect();
        self.words.retain(|digest, _| needed.contains(digest));
        self.now += self.rng.random_range(0..5_000);
        self.step(Input::Resume);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToCoordinator(input) => self.step(input),
            Event::Train { site, round, model, basis } => self.train(site, round, &model, basis),
            Event::Evaluate { site, round, model, basis } => self.evaluate(site, round, &model, basis),
            Event::Ask { site, request } => self.answer(site, &request),
        }
    }

    fn load(&self, site: &SiteId) -> Stored {
        serde_json::from_slice(&self.sites[site].disk).unwrap()
    }

    /// Stores a site's step, unless it crashes before; whether what it says is still sent.
    fn store(&mut self, site: &SiteId, stored: &Stored) -> bool {
        let (before, after) = (self.goes_wrong(), self.goes_wrong());
        if !before {
            self.sites.get_mut(site).unwrap().disk = serde_json::to_vec(stored).unwrap();
        }
        if before || after {
            self.seen.crashes += 1;
            self.cut(site.clone());
        }
        !before && !after
    }

    fn train(&mut self, site: SiteId, round: u32, model: &GlobalModel, basis: Basis) {
        let hyperparameters = self.session.config().hyperparameters.clone();
        let trainer = &mut self.sites.get_mut(&site).unwrap().trainer;
        let mut update = trainer.train_round(model, round, &hyperparameters, &mut never_stop).unwrap();
        update.limit_norm(hyperparameters.max_update_norm, DIM);
        let (samples, totals) = (update.num_examples, Totals::of(update.num_examples, &update.metrics));
        let known = self.seen.updates.insert((round, site.clone()), (samples, update.delta.clone()));
        assert!(known.is_none_or(|known| known.1 == update.delta), "training that is done again differs");
        let mut stored = self.load(&site);
        // A late copy of an old request.
        if stored.trained.as_ref().is_some_and(|known| known.0 > round) {
            return;
        }
        stored.trained = Some((round, basis, update.delta, samples, totals));
        if self.store(&site, &stored) {
            let samples_at_most = samples.next_power_of_two();
            self.send(Event::ToCoordinator(Input::SiteTrained { site, round, samples_at_most }));
        }
    }

    fn evaluate(&mut self, site: SiteId, round: u32, model: &GlobalModel, basis: Basis) {
        let evaluation = self.sites.get_mut(&site).unwrap().trainer.evaluate(model, &mut never_stop).unwrap().unwrap();
        let mut stored = self.load(&site);
        if stored.evaluated.as_ref().is_some_and(|known| known.0 > round) {
            return;
        }
        stored.evaluated = Some((round, basis, Totals::of(evaluation.num_examples, &evaluation.metrics)));
        if self.store(&site, &stored) {
            self.send(Event::ToCoordinator(Input::SiteEvaluated { site, round }));
        }
    }

    fn answer(&mut self, site: SiteId, request: &[u8]) {
        let Ok(request) = Request::from_bytes(request) else { return };
        let mut stored = self.load(&site);
        let evaluation_job = Purpose::Evaluation.job(self.session.id());
        let job = match &request {
            Request::Join(manifest) => Some(manifest.job().to_owned()),
            _ => stored.participant.job().map(str::to_owned),
        };
        let of_updates = job.as_deref() != Some(evaluation_job.as_str());
        let trained = stored.trained.clone().filter(|_| of_updates);
        let evaluated = stored.evaluated.filter(|_| !of_updates);
        let Some(basis) = trained.as_ref().map(|own| own.1).or(evaluated.as_ref().map(|own| own.1)) else { return };
        let mut encode = |encoding: &Encoding| match (&trained, &evaluated) {
            (Some((_, _, delta, samples, totals)), _) => {
                encoding.encode(delta.iter().copied(), *samples, &totals.counters())
            }
            (_, Some((_, _, totals))) => encoding.encode([0.0_f32].into_iter(), 1, &totals.counters()),
            _ => unreachable!(),
        };
        let rng = &mut self.rng;
        let mut fill = |bytes: &mut [u8]| rng.fill_bytes(bytes);
        let identity = &self.sites[&site].identity;
        let roster = self.session.roster().clone();
        let mut around = Surroundings { roster: &roster, identity, basis, fill: &mut fill, encode: &mut encode };
        let reply = match stored.participant.answer(&request, &mut around) {
            Ok(Answer { reply, words }) => {
                if let Some(words) = words {
                    stored.words = words;
                }
                reply
            }
            Err(refusal) if refusal.is_out_of_turn() => return,
            Err(refusal) => {
                self.seen.refused += 1;
                Reply::Refused { sid: request.sid(), reason: refusal.to_string() }
            }
        };
        if !self.store(&site, &stored) {
            return;
        }
        if let Reply::Unmasking(message) = &reply {
            self.witness(&stored, message);
        }
        let words = if matches!(reply, Reply::Masked(_)) { stored.words.clone() } else { Vec::new() };
        let mut bytes = reply.to_bytes();
        if self.goes_wrong() {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.rng.random_range(0..8);
        }
        // What cannot be read is no message; the line is given up, as any carrier would.
        match Reply::from_bytes(&bytes) {
            Ok(reply) => self.send(Event::ToCoordinator(Input::Replied { site, reply, words })),
            Err(_) => self.cut(site),
        }
    }

    /// Shares that have left a site can never be taken back: these two rules are what secure aggregation is.
    fn witness(&mut self, stored: &Stored, message: &Unmasking) {
        let manifest = stored.participant.manifest().unwrap();
        let (sid, (round, _)) = (*manifest.sid(), manifest.turn());
        let [seeds, keys] = self.seen.given.entry((sid, message.id)).or_default();
        seeds.extend(message.seeds.keys());
        keys.extend(message.keys.keys());
        assert!(seeds.is_disjoint(keys), "both shares of one site were given away");
        let sums = self.seen.unmasked.entry((manifest.job().to_owned(), round, message.id)).or_default();
        sums.insert(sid);
        assert_eq!(sums.len(), 1, "a site has helped to unmask two sums of one round");
    }

    /// A request as the coordinator sends it, or as a lying one does.
    fn perhaps_a_lie(&mut self, request: &Request) -> Vec<u8> {
        if !self.lies || !self.rng.random_bool(0.15) {
            return request.to_bytes();
        }
        self.seen.lied += 1;
        let lie = match request.clone() {
            Request::Agree(sid, mut survivors) => {
                // Somebody is said to have dropped out, so that the key and the seed of one site could both be asked for.
                let victim = *survivors.0.keys().nth(self.rng.random_range(0..survivors.0.len())).unwrap();
                survivors.0.remove(&victim);
                Request::Agree(sid, survivors)
            }
            Request::Share(sid, mut all) => {
                let victim = *all.keys().nth(self.rng.random_range(0..all.len())).unwrap();
                all.remove(&victim);
                Request::Share(sid, all)
            }
            Request::Mask(sid, mut all) => {
                let victim = *all.keys().nth(self.rng.random_range(0..all.len())).unwrap();
                all.remove(&victim);
                Request::Mask(sid, all)
            }
            Request::Unmask(sid, mut all) => {
                let (liar, forged) = (*all.keys().next().unwrap(), all.values().last().unwrap().clone());
                all.insert(liar, forged);
                Request::Unmask(sid, all)
            }
            Request::Join(manifest) => {
                let text = String::from_utf8(manifest.bytes().to_vec()).unwrap();
                let other = text.replace(&self.session.model().to_string(), &Digest::of_bytes(b"lie").to_string());
                Manifest::from_bytes(other.into_bytes()).map_or(Request::Join(manifest), |m| Request::Join(Box::new(m)))
            }
        };
        lie.to_bytes()
    }

    fn step(&mut self, input: Input) {
        let before = self.session.clone();
        let outputs = match self.session.step(&input, self.now) {
            Ok(outputs) => outputs,
            Err(rejection) => {
                assert!(self.session == before, "{rejection} left a trace");
                self.seen.rejected += 1;
                match rejection {
                    Rejection::Late { site, .. } | Rejection::WrongRound { site, .. } => {
                        self.at(1, Event::ToCoordinator(Input::SiteJoined { site }));
                    }
                    // A message that was damaged on its way: no carrier keeps such a line.
                    Rejection::Sum { site, source } if source != CoordinationError::OutOfTurn => self.cut(site),
                    _ => {}
                }
                return;
            }
        };
        for output in &outputs {
            match (output, &input) {
                (Output::WordsAccepted { words: digest, .. }, Input::Replied { words, .. }) => {
                    self.words.insert(*digest, words.clone());
                }
                (Output::SumCompleted { round, purpose, sum }, _) => {
                    let known = self.seen.completed.insert((*round, *purpose), sum.sid);
                    assert!(known.is_none(), "round {round} has two sums of {purpose:?}");
                }
                (Output::Aggregated { round, model }, _) => {
                    let known = self.seen.models.insert(*round, *model);
                    assert!(known.is_none(), "round {round} was committed twice");
                }
                (Output::SumGivenUp { .. }, _) => self.seen.given_up += 1,
                // A late copy of an old request may be refused; that must not cost the site its place in a newer one.
                (Output::SiteExcluded { reason, .. }, _) => assert!(self.lies, "an honest site is left out: {reason}"),
                _ => {}
            }
        }
        // The crash between the stored step and what follows from it.
        if !outputs.is_empty() && self.goes_wrong() && self.rng.random_bool(0.3) {
            return self.restart();
        }
        for output in outputs {
            match output {
                Output::StartRound { site, round } => {
                    let (model, basis) = (self.server.global.clone(), self.session.basis());
                    self.send(Event::Train { site, round, model, basis });
                }
                Output::Evaluate { site, round } => {
                    let (model, basis) = (self.server.global.clone(), self.session.basis());
                    self.send(Event::Evaluate { site, round, model, basis });
                }
                Output::Ask { site } => {
                    if let Some(request) = self.session.request(&site).cloned() {
                        let request = self.perhaps_a_lie(&request);
                        self.send(Event::Ask { site, request });
                    }
                }
                Output::SumReady { round, purpose } => return self.unmask(round, purpose),
                Output::SiteLate { site, .. } => self.at(1_000, Event::ToCoordinator(Input::SiteJoined { site })),
                _ => {}
            }
        }
    }

    fn unmask(&mut self, round: u32, purpose: Purpose) {
        let (manifest, masks) = match self.session.masks() {
            Ok(found) => found,
            // The liar has fooled itself.
            Err(error) => {
                assert!(self.lies, "{error}");
                return self.step(Input::AggregationFailed { reason: error.to_string() });
            }
        };
        let mut sum = vec![0_u32; manifest.words()];
        for digest in masks.survivors().values() {
            let words = self.words.get(digest).expect("what was acknowledged is there");
            assert_eq!(
                Digest::of_bytes(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()),
                *digest
            );
            sum.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
        masks.take_off(&mut sum);
        let survivors: Vec<SiteId> =
            masks.survivors().keys().map(|id| self.session.roster().site(*id).unwrap().clone()).collect();
        let (encoding, counters) = (manifest.encoding(), manifest.counters());
        if purpose == Purpose::Training {
            let dimension = self.session.schema().parameter_count;
            let mut truth = vec![0_u32; dimension + 1];
            for site in &survivors {
                let (samples, delta) = &self.seen.updates[&(round, site.clone())];
                let words = encoding.encode(delta.iter().copied(), *samples, &[]).unwrap();
                truth.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
            }
            let exact = sum[..=dimension] == truth[..];
            assert!(exact || self.lies, "a wrong sum of round {round}");
            if !exact {
                return self.step(Input::AggregationFailed { reason: "noise".to_owned() });
            }
        }
        let decoded = encoding.decode(sum, counters, survivors.len());
        let Some((decoded, totals)) =
            decoded.ok().and_then(|decoded| Totals::from_counters(&decoded.counters).map(|totals| (decoded, totals)))
        else {
            assert!(self.lies, "an honest sum cannot be decoded");
            return self.step(Input::AggregationFailed { reason: "noise".to_owned() });
        };
        match purpose {
            Purpose::Evaluation => self.step(Input::EvaluationSummed { totals }),
            Purpose::Training => {
                // The crash before the new model is stored: everything is done again.
                if self.goes_wrong() && self.rng.random_bool(0.3) {
                    return self.restart();
                }
                let share = survivors.len() as f64 / self.session.roster().members().len() as f64;
                self.server.global.advance(self.server.optimizer.as_mut(), &decoded.mean, share).unwrap();
                let model = self.server.global.digest();
                self.step(Input::Summed { model, totals });
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    completed: usize,
    crashes: u32,
    lied: u32,
    given_up: u32,
    rejected: u32,
    refused: u32,
}

fn one(seed: u64, tally: &mut Tally) {
    let mut world = World::new(seed);
    world.run();
    let session = &world.session;
    let seen = &world.seen;
    let committed: Vec<u32> = seen.models.keys().copied().collect();
    assert_eq!(committed, (1..=committed.len() as u32).collect::<Vec<_>>(), "rounds are committed in order");
    for record in session.rounds() {
        assert_eq!(record.model_sha256, seen.models.get(&record.round).copied());
        for site in record.sites.values() {
            assert!(site.update.is_none() && site.evaluation.is_none(), "the coordinator knows a single site's result");
        }
        if let Some(sum) = record.sum.as_ref().filter(|sum| !sum.survivors.is_empty()) {
            assert!(sum.survivors.len() >= sum.threshold.max(LEAST_SITES));
            let known: u64 =
                sum.survivors.iter().map(|site| u64::from(seen.updates[&(record.round, site.clone())].0)).sum();
            assert_eq!(sum.totals.unwrap().samples, known);
        }
    }
    match session.phase() {
        Phase::Completed => tally.completed += 1,
        _ => {
            let reason = session.failure().unwrap();
            let nameable = match reason {
                FailureReason::TooFewSites { .. } => true,
                FailureReason::Aggregation { .. } | FailureReason::Cancelled => world.lies,
                _ => false,
            };
            assert!(nameable, "{reason}");
            // Without a deadline and without lies, everybody is waited for.
            assert!(world.lies || session.config().round_deadline_s.is_some(), "{reason}");
        }
    }
    tally.crashes += seen.crashes;
    tally.lied += seen.lied;
    tally.given_up += seen.given_up;
    tally.rejected += seen.rejected;
    tally.refused += seen.refused;
}

#[test]
fn whatever_happens_nothing_is_lost_doubled_or_revealed() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut tally = Tally::default();
    if let Some(seed) = number("FEDNODULE_SECURE_SEED") {
        return one(seed, &mut tally);
    }
    let usual = if std::env::var("CI").as_deref() == Ok("true") { 1000 } else { 200 };
    let seeds = number("FEDNODULE_SECURE_SEEDS").unwrap_or(usual);
    let start = std::time::Instant::now();
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(seed, &mut tally)));
        if let Err(panic) = run {
            eprintln!("replay with: FEDNODULE_SECURE_SEED={seed} cargo test -p federation --test it secure_simulation");
            std::panic::resume_unwind(panic);
        }
    }
    let Tally { completed, crashes, lied, given_up, rejected, refused } = tally;
    println!(
        "{seeds} sessions in {:.0} s: {completed} completed, {crashes} crashes, {lied} lies, {given_up} sums given up, {rejected} messages \
         rejected, {refused} requests refused",
        start.elapsed().as_secs_f64()
    );
    let enough = seeds / 10;
    assert!(completed as u64 > seeds / 2, "only {completed} sessions were completed");
    assert!(u64::from(crashes) > seeds && u64::from(lied) > enough && u64::from(given_up) > enough / 5);
}

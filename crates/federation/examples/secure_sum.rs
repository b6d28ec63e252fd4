//! What secure aggregation costs: masks against ChaCha20's raw key stream, memory of both roles, and whole rounds against a
//! plain sum. `cargo xtask bench --sums` builds and runs it. One thread; every figure is the least of several rounds, and what
//! is compared is measured in turns. `quick` as the only argument leaves the largest rounds out.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark: it ends where it cannot go on"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use federation::secagg::{
    Basis, Coordinator, Encoding, EncodingError, Manifest, Member, NodeId, Participant, Plan, Reply, Request, Roster,
    SignedRoster, Stage, Standing, Surroundings,
};
use federation::{Aggregator, Contribution, Digest, SigningKey, SiteId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROUNDS: usize = 5;
const MEBIBYTE: f64 = (1 << 20) as f64;

struct Federation {
    roster: Roster,
    identities: BTreeMap<NodeId, SigningKey>,
    manifest: Manifest,
    basis: Basis,
}

impl Federation {
    fn of(sites: u16, dimension: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(sites));
        let mut key = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            SigningKey::from_bytes(&bytes)
        };
        let (consortium, coordinator) = (key(), key());
        let ids = (1..=sites).map(|number| NodeId::try_from(number).unwrap());
        let identities: BTreeMap<NodeId, SigningKey> = ids.map(|id| (id, key())).collect();
        let member = |(id, key): (&NodeId, &SigningKey)| Member {
            id: *id,
            name: SiteId::new(format!("site_{id}")).unwrap(),
            public_key: Digest::from(key.verifying_key().to_bytes()),
        };
        let members = identities.iter().map(member).collect();
        let signed =
            SignedRoster::sign("benchmark", 1, None, members, &coordinator.verifying_key(), &consortium).unwrap();
        let roster = signed.verify(&consortium.verifying_key()).unwrap();
        let basis = Basis { model: Digest::of_bytes(b"model"), schema: None, config: None };
        let plan = Plan {
            federation: "benchmark".to_owned(),
            job: "benchmark".to_owned(),
            round: 1,
            attempt: 0,
            roster: roster.digest(),
            participants: identities.keys().copied().collect(),
            dimension,
            clip: 1.0,
            omega_max: 1000,
            basis,
            counters: 0,
        };
        Self { manifest: Manifest::new(&plan).unwrap(), roster, identities, basis }
    }
}

/// Where the time of a sum goes.
#[derive(Default)]
struct Spent {
    sites: Duration,
    coordinator: Duration,
}

impl Spent {
    fn total(&self) -> f64 {
        (self.sites + self.coordinator).as_secs_f64()
    }
}

fn timed<T>(into: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    *into += start.elapsed();
    done
}

/// A whole sum of updates that are all `delta`; the sum must be exact.
fn secure(federation: &Federation, delta: &[f32]) -> Spent {
    let mut spent = Spent::default();
    let Federation { roster, identities, manifest, basis } = federation;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let standing = |id: &NodeId| Standing {
        id: *id,
        approved_roster: roster.digest(),
        joined: BTreeMap::new(),
        unmasked: BTreeMap::new(),
    };
    let mut sites: BTreeMap<NodeId, Participant> =
        identities.keys().map(|id| (*id, Participant::new(standing(id)))).collect();
    let mut coordinator = Coordinator::open(manifest.clone(), roster).unwrap();
    let mut sum = vec![0_u32; manifest.words()];
    let mut request = Request::Join(Box::new(manifest.clone()));
    let sid = request.sid();
    loop {
        let stage = coordinator.stage();
        for (id, site) in &mut sites {
            let answer = timed(&mut spent.sites, || {
                let mut fill = |bytes: &mut [u8]| rng.fill_bytes(bytes);
                let mut encode = |encoding: &Encoding| -> Result<Vec<u32>, EncodingError> {
                    encoding.encode(delta.iter().copied(), 500, &[])
                };
                let identity = &identities[id];
                let mut around = Surroundings { roster, identity, basis: *basis, fill: &mut fill, encode: &mut encode };
                site.answer(&request, &mut around).unwrap()
            });
            let words = answer.words.unwrap_or_default();
            timed(&mut spent.coordinator, || match answer.reply {
                Reply::Advertisement(message) => coordinator.advertised(&message).unwrap(),
                Reply::Shares(message) => coordinator.shared(&message).unwrap(),
                Reply::Masked(message) => {
                    coordinator.masked(&message, &words).unwrap();
                    sum.iter_mut().zip(&words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
                }
                Reply::Agreement(message) => coordinator.agreed(&message).unwrap(),
                Reply::Unmasking(message) => coordinator.unmasked(&message).unwrap(),
                Reply::Refused { reason, .. } => panic!("{reason}"),
            });
        }
        let next = timed(&mut spent.coordinator, || match stage {
            Stage::Advertising => Some(Request::Share(sid, coordinator.close_advertising().unwrap())),
            Stage::Sharing => Some(Request::Mask(sid, coordinator.close_sharing().unwrap())),
            Stage::Masking => Some(Request::Agree(sid, coordinator.close_masking().unwrap())),
            Stage::Agreeing => Some(Request::Unmask(sid, coordinator.close_agreeing().unwrap())),
            Stage::Unmasking => None,
        });
        match next {
            Some(next) => request = next,
            None => break,
        }
    }
    let mean = timed(&mut spent.coordinator, || {
        coordinator.finish().unwrap().take_off(&mut sum);
        manifest.encoding().decode(sum, 0, identities.len()).unwrap().mean
    });
    let worst = mean.iter().zip(delta).map(|(mean, value)| (mean - f64::from(*value)).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-6, "the sum is off by {worst}");
    spent
}

/// The same mean of updates that the coordinator reads.
fn plain(sites: u16, delta: &[f32]) -> Duration {
    let magnitude = delta.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let contribution = |number| Contribution {
        site: SiteId::new(format!("site_{number}")).unwrap(),
        update: Digest::of_bytes(b"update"),
        weight: 500,
        magnitude,
    };
    let contributions: Vec<Contribution> = (0..sites).map(contribution).collect();
    let mut spent = Duration::ZERO;
    timed(&mut spent, || {
        let mut aggregator = Aggregator::new(delta.len(), &contributions).unwrap();
        for contribution in &contributions {
            // Every update is checked against its hash, as a driver does.
            std::hint::black_box(Digest::of_values(delta));
            aggregator.add(contribution.weight, 0, delta).unwrap();
        }
        aggregator.finish().unwrap().norm()
    });
    spent
}

fn update(dimension: usize) -> Vec<f32> {
    (0..dimension).map(|index| ((index * 37 % 1009) as f32 / 1009.0 - 0.5) * 0.1).collect()
}

fn least(mut measure: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| measure()).fold(f64::INFINITY, f64::min)
}

/// Masks of a sum of three, 20 million words each, against the raw key stream of the same bytes.
fn masks() {
    const WORDS: usize = 20_000_000;
    let federation = Federation::of(3, 64);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let masks = finished(&federation, &mut rng);
    let (mut sum, mut bytes) = (vec![0_u32; WORDS], vec![0_u8; 4 * WORDS]);
    let (mut ours, mut raw) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        masks.take_off(&mut sum);
        ours = ours.min(start.elapsed().as_secs_f64() / 3.0);
        let start = Instant::now();
        ChaCha20::new(&[1; 32].into(), &[0; 12].into()).apply_keystream(&mut bytes);
        raw = raw.min(start.elapsed().as_secs_f64());
    }
    std::hint::black_box((sum, bytes));
    println!(
        "mask of 20 M parameters: {:.1} ms, raw key stream {:.1} ms, ratio {:.2}",
        1e3 * ours,
        1e3 * raw,
        ours / raw
    );
    let delta = update(WORDS);
    let encoding = Encoding { sites: 20, clip: 1.0, exponent: federation::secagg::exponent(20, 1.0), omega_max: 1000 };
    let encode = least(|| {
        let start = Instant::now();
        std::hint::black_box(encoding.encode(delta.iter().copied(), 500, &[]).unwrap());
        start.elapsed().as_secs_f64()
    });
    println!("encoding of 20 M parameters: {:.1} ms", 1e3 * encode);
}

/// The masks of a complete small sum: their keys make masks of any length.
fn finished(federation: &Federation, rng: &mut ChaCha8Rng) -> federation::secagg::Masks {
    let Federation { roster, identities, manifest, basis } = federation;
    let mut coordinator = Coordinator::open(manifest.clone(), roster).unwrap();
    let mut sites: BTreeMap<NodeId, Participant> = BTreeMap::new();
    for id in identities.keys() {
        let approved_roster = roster.digest();
        let standing = Standing { id: *id, approved_roster, joined: BTreeMap::new(), unmasked: BTreeMap::new() };
        sites.insert(*id, Participant::new(standing));
    }
    let mut request = Request::Join(Box::new(manifest.clone()));
    let sid = request.sid();
    let values = update(manifest.dimension());
    loop {
        for (id, site) in &mut sites {
            let mut fill = |bytes: &mut [u8]| rng.fill_bytes(bytes);
            let mut encode = |encoding: &Encoding| -> Result<Vec<u32>, EncodingError> {
                encoding.encode(values.iter().copied(), 500, &[])
            };
            let identity = &identities[id];
            let mut around = Surroundings { roster, identity, basis: *basis, fill: &mut fill, encode: &mut encode };
            let answer = site.answer(&request, &mut around).unwrap();
            match answer.reply {
                Reply::Advertisement(message) => coordinator.advertised(&message).unwrap(),
                Reply::Shares(message) => coordinator.shared(&message).unwrap(),
                Reply::Masked(message) => coordinator.masked(&message, &answer.words.unwrap()).unwrap(),
                Reply::Agreement(message) => coordinator.agreed(&message).unwrap(),
                Reply::Unmasking(message) => coordinator.unmasked(&message).unwrap(),
                Reply::Refused { reason, .. } => panic!("{reason}"),
            }
        }
        request = match coordinator.stage() {
            Stage::Advertising => Request::Share(sid, coordinator.close_advertising().unwrap()),
            Stage::Sharing => Request::Mask(sid, coordinator.close_sharing().unwrap()),
            Stage::Masking => Request::Agree(sid, coordinator.close_masking().unwrap()),
            Stage::Agreeing => Request::Unmask(sid, coordinator.close_agreeing().unwrap()),
            Stage::Unmasking => return coordinator.finish().unwrap(),
        };
    }
}

/// Bytes that the process has had at most since the last reset; nothing where the system does not say.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
}

/// Peak memory of a whole sum, in vectors of 4 bytes a parameter: of the node besides nothing (its update and its words), and
/// of the coordinator for any number of sites (the words that have just come, and the running sum).
fn memory() {
    const DIMENSION: usize = 20_000_000;
    let federation = Federation::of(10, DIMENSION);
    let (before, reset) = (peak(), std::fs::write("/proc/self/clear_refs", "5"));
    let (Some(_), Ok(())) = (before, reset) else {
        eprintln!("SKIPPED: memory: this system does not tell the peak");
        return;
    };
    let base = peak().unwrap();
    let delta = update(DIMENSION);
    let spent = secure(&federation, &delta);
    let vectors = (peak().unwrap() - base) / (4.0 * DIMENSION as f64);
    println!(
        "memory of node and coordinator in one process, 10 sites, 20 M parameters: {vectors:.2} vectors at most \
         (update, words, running sum), {:.0} MiB; {:.1} s",
        vectors * 4.0 * DIMENSION as f64 / MEBIBYTE,
        spent.total()
    );
}

fn main() {
    let quick = std::env::args().nth(1).as_deref() == Some("quick");
    masks();
    memory();
    println!(
        "\n| sites | parameters | a site, s | coordinator, s | all sites and coordinator, s | plain sum, s | ratio of the coordinators |"
    );
    println!("|---|---|---|---|---|---|---|");
    let largest = if quick { BTreeSet::from([1]) } else { BTreeSet::from([1, 9]) };
    for millions in largest {
        for sites in [3_u16, 10, 20] {
            let delta = update(millions * 1_000_000);
            let federation = Federation::of(sites, delta.len());
            let (mut best, mut other) = (Spent::default(), f64::INFINITY);
            for round in 0..if millions > 1 { 2 } else { ROUNDS } {
                let spent = secure(&federation, &delta);
                if round == 0 || spent.total() < best.total() {
                    best = spent;
                }
                other = other.min(plain(sites, &delta).as_secs_f64());
            }
            let (site, coordinator) = (best.sites.as_secs_f64() / f64::from(sites), best.coordinator.as_secs_f64());
            println!(
                "| {sites} | {millions} M | {site:.3} | {coordinator:.3} | {:.3} | {other:.3} | {:.1} |",
                best.total(),
                coordinator / other
            );
        }
    }
}

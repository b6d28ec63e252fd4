//! Whole sums, honest and not. The groups are those of the design page; vectors are group 1.

mod attacks;

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::*;
use crate::{Digest, SiteId};

const VECTORS: &str = include_str!("../../tests/fixtures/secagg/vectors.json");
fn basis() -> Basis {
    Basis { model: Digest::from([0x11; 32]), schema: None, config: Some(Digest::from([0x12; 32])) }
}

/// A federation of `n` sites with its keys.
struct Consortium {
    roster: Roster,
    identities: BTreeMap<NodeId, SigningKey>,
    random: ChaCha12Rng,
}

fn id(number: u16) -> NodeId {
    NodeId::try_from(number).unwrap()
}

fn members(identities: &BTreeMap<NodeId, SigningKey>) -> Vec<Member> {
    let member = |(id, key): (&NodeId, &SigningKey)| Member {
        id: *id,
        name: SiteId::new(format!("hospital_{id}")).unwrap(),
        public_key: Digest::from(key.verifying_key().to_bytes()),
    };
    identities.iter().map(member).collect()
}

impl Consortium {
    fn of(n: u16, seed: u64) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let mut key = || {
            let mut bytes = [0; 32];
            random.fill_bytes(&mut bytes);
            SigningKey::from_bytes(&bytes)
        };
        let consortium = key();
        let identities: BTreeMap<NodeId, SigningKey> = (1..=n).map(|number| (id(number), key())).collect();
        let signed =
            SignedRoster::sign("demo", 1, None, members(&identities), &consortium.verifying_key(), &consortium)
                .unwrap();
        let roster = signed.verify(&consortium.verifying_key()).unwrap();
        Self { roster, identities, random }
    }

    fn plan(&self, dimension: usize) -> Plan {
        Plan {
            federation: "demo".to_owned(),
            job: "job".to_owned(),
            round: 1,
            attempt: 0,
            roster: self.roster.digest(),
            participants: self.identities.keys().copied().collect(),
            dimension,
            clip: 1.0,
            omega_max: 1000,
            basis: basis(),
            counters: 2,
        }
    }

    fn standing(&self, id: NodeId) -> Standing {
        let approved_roster = self.roster.digest();
        Standing { id, approved_roster, joined: BTreeMap::new(), unmasked: BTreeMap::new() }
    }

    fn standings(&self) -> BTreeMap<NodeId, Standing> {
        self.identities.keys().map(|id| (*id, self.standing(*id))).collect()
    }

    fn random(&mut self, threshold: usize) -> Randomness {
        Randomness::draw(threshold, |bytes| self.random.fill_bytes(bytes))
    }
}

/// A sum in which every message passes through its bytes.
struct Session {
    manifest: Manifest,
    coordinator: Coordinator,
    nodes: BTreeMap<NodeId, Node>,
    words: BTreeMap<NodeId, Vec<u32>>,
}

impl Session {
    fn open(consortium: &mut Consortium, plan: &Plan, standings: &mut BTreeMap<NodeId, Standing>) -> Self {
        let manifest = Manifest::new(plan).unwrap();
        let mut coordinator = Coordinator::open(manifest.clone(), &consortium.roster).unwrap();
        let (mut nodes, mut words) = (BTreeMap::new(), BTreeMap::new());
        for (id, standing) in standings {
            let random = consortium.random(manifest.threshold());
            let identity = &consortium.identities[id];
            let (node, message) =
                Node::join(manifest.clone(), &consortium.roster, standing, &basis(), random, identity).unwrap();
            coordinator.advertised(&Advertisement::from_bytes(&message.to_bytes()).unwrap()).unwrap();
            let delta: Vec<f32> = (0..plan.dimension).map(|_| consortium.random.random_range(-2.0_f32..2.0)).collect();
            let omega = consortium.random.random_range(1..=plan.omega_max);
            words.insert(*id, manifest.encoding().encode(delta.into_iter(), omega, &[7, omega / 2]).unwrap());
            nodes.insert(*id, node);
        }
        Self { manifest, coordinator, nodes, words }
    }

    fn sum_of(&self, ids: impl Iterator<Item = NodeId>) -> Vec<u32> {
        let mut sum = vec![0_u32; self.manifest.words()];
        for id in ids {
            sum.iter_mut().zip(&self.words[&id]).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
        sum
    }

    /// Runs it with sites leaving before each exchange: `leaves[k]` before R(k+1).
    fn run(
        &mut self,
        identities: &BTreeMap<NodeId, SigningKey>,
        standings: &mut BTreeMap<NodeId, Standing>,
        leaves: &[BTreeSet<NodeId>; 4],
    ) -> Result<Vec<u32>, CoordinationError> {
        let mut sum = vec![0_u32; self.manifest.words()];
        let mut here: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
        let mut leave = |round: usize| {
            here.retain(|id| !leaves[round].contains(id));
            here.clone()
        };
        let all = self.coordinator.close_advertising()?;
        for id in leave(0) {
            let message = self.nodes.get_mut(&id).unwrap().share(&all, &identities[&id]).unwrap();
            self.coordinator.shared(&Shares::from_bytes(&message.to_bytes()).unwrap())?;
        }
        let all = self.coordinator.close_sharing()?;
        for id in leave(1) {
            let mut words = self.words[&id].clone();
            let message = self.nodes.get_mut(&id).unwrap().mask(&all, &mut words, &identities[&id]).unwrap();
            self.coordinator.masked(&Masked::from_bytes(&message.to_bytes()).unwrap(), &words)?;
            sum.iter_mut().zip(&words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
        let survivors = self.coordinator.close_masking()?;
        let survivors = Survivors::from_bytes(&survivors.to_bytes()).unwrap();
        for id in leave(2) {
            let message = self.nodes.get_mut(&id).unwrap().agree(&survivors, &identities[&id]).unwrap();
            self.coordinator.agreed(&Agreement::from_bytes(&message.to_bytes()).unwrap())?;
        }
        let agreements = self.coordinator.close_agreeing()?;
        for id in leave(3) {
            let standing = standings.get_mut(&id).unwrap();
            let message = self.nodes.get_mut(&id).unwrap().unmask(&agreements, standing).unwrap();
            self.coordinator.unmasked(&Unmasking::from_bytes(&message.to_bytes()).unwrap())?;
        }
        let masks = self.coordinator.finish()?;
        masks.take_off(&mut sum);
        Ok(sum)
    }
}

// ---------------------------------------------------------------- 1: vectors

#[test]
fn the_vectors_of_the_reference_are_met_byte_for_byte() {
    let checked = vectors::check(VECTORS, None).unwrap();
    assert_eq!((checked.sites, checked.threshold, checked.dropped), (7, 5, 1));
    assert!(checked.values > 300, "{checked:?}");
}

#[test]
fn the_first_value_that_differs_is_named() {
    for (old, new, name) in [
        ("3982823090", "3982823091", "nodes.1.y[0]"),
        ("\"T2\": \"2712", "\"T2\": \"2713", "T2"),
        ("b1bc7555", "b1bc7556", "nodes.1.msg1_sha256"),
        ("\"round\\\":7", "\"round\\\":8", "sid"),
    ] {
        let changed = VECTORS.replacen(old, new, 1);
        assert_ne!(changed, VECTORS, "{old}");
        let error = vectors::check(&changed, None).unwrap_err();
        assert!(matches!(&error, vectors::VectorError::Differs { name: found, .. } if found == name), "{error}");
    }
    let error = vectors::check(VECTORS, Some("another")).unwrap_err();
    assert!(matches!(error, vectors::VectorError::Seed { .. }), "{error}");
    assert!(matches!(vectors::check("{}", None), Err(vectors::VectorError::Unreadable(_))));
}

// ---------------------------------------------------------------- 2: drop-outs

/// How many sums a property tries; the environment can ask for more.
fn cases() -> u32 {
    std::env::var("FEDNODULE_SECAGG_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever leaves when, the coordinator gets exactly the sum of those whose updates arrived, or nothing.
    #[test]
    fn a_sum_is_exact_or_given_up(n in 3_u16..=30, seed in any::<u64>(), leaving in 0_usize..10, dimension in 1_usize..40) {
        let mut consortium = Consortium::of(n, seed);
        let plan = consortium.plan(dimension);
        let mut leaves: [BTreeSet<NodeId>; 4] = Default::default();
        for _ in 0..leaving {
            leaves[consortium.random.random_range(0..4)].insert(id(consortium.random.random_range(1..=n)));
        }
        let mut standings = consortium.standings();
        let mut session = Session::open(&mut consortium, &plan, &mut standings);
        let (threshold, quorum) = (session.manifest.threshold(), session.manifest.quorum());
        let left = |rounds: usize| n as usize - leaves[..rounds].iter().flatten().collect::<BTreeSet<_>>().len();
        let possible = left(2) >= quorum && left(4) >= threshold;
        match session.run(&consortium.identities, &mut standings, &leaves) {
            Ok(sum) => {
                prop_assert!(possible);
                let survivors: Vec<NodeId> = session.coordinator.arrived().map(|(id, _)| id).collect();
                prop_assert_eq!(survivors.len(), left(2));
                prop_assert_eq!(&sum, &session.sum_of(survivors.iter().copied()));
                let decoded = session.manifest.encoding().decode(sum, 2, survivors.len()).unwrap();
                prop_assert_eq!(decoded.counters[0] as usize, 7 * survivors.len());
            }
            Err(error) => {
                prop_assert!(!possible, "{error}");
                prop_assert!(matches!(error, CoordinationError::TooFew { .. }), "{error}");
            }
        }
    }

    /// No bytes make a decoder panic; what it accepts it writes back.
    #[test]
    fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        macro_rules! both_ways {
            ($($message:ident)*) => {
                $(if let Ok(message) = $message::from_bytes(&bytes) {
                    prop_assert_eq!(message.to_bytes(), bytes.clone());
                })*
            };
        }
        both_ways!(Advertisement Shares Masked Survivors Agreement Unmasking);
        Manifest::from_bytes(bytes).ok();
    }
}

//! Checks a file of test vectors, as the protocol's reference model writes it, against this implementation.
//!
//! The reference draws the randomness of site `u` from SHA-256 of `"vec" ‖ seed ‖ "node" ‖ u ‖ counter`, its training makes
//! the update `(i − d/2) · 0.01 · u` of `100 · u` samples, and the sites that are not in `U3` drop out before R2.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::SigningKey;
use serde::Deserialize;
use serde_json::Value;

use super::manifest::Manifest;
use super::messages::NodeId;
use super::node::{Node, Randomness, Standing, pair_key, self_key, t1, t2, t3};
use super::primitives::hash;
use super::roster::Roster;
use super::{Coordinator, shamir};

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Sites.
    pub sites: usize,
    /// The threshold.
    pub threshold: usize,
    /// Sites that dropped out.
    pub dropped: usize,
    /// Values that were compared.
    pub values: usize,
}

/// Why a file does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// No file of vectors.
    #[error("this is no file of FLSA1 vectors: {0}")]
    Unreadable(String),
    /// The randomness cannot be told from the file.
    #[error(
        "the randomness of site {site} does not come from the seed {tried}: say which seed the vectors were made with"
    )]
    Seed {
        /// Which site.
        site: NodeId,
        /// What was tried.
        tried: String,
    },
    /// The first value that differs.
    #[error("{name} is {found} here, the file has {expected}")]
    Differs {
        /// Its name in the file.
        name: String,
        /// Calculated.
        found: String,
        /// In the file.
        expected: String,
    },
    /// A step that the file says succeeds does not.
    #[error("{step} fails: {reason}")]
    Refused {
        /// Which.
        step: &'static str,
        /// Why.
        reason: String,
    },
}

#[derive(Deserialize)]
struct File {
    manifest: String,
    sid: Value,
    #[serde(rename = "T1")]
    t1: Value,
    #[serde(rename = "T2")]
    t2: Value,
    #[serde(rename = "T3")]
    t3: Value,
    #[serde(rename = "U3")]
    survivors: Vec<NodeId>,
    nodes: BTreeMap<String, BTreeMap<String, Value>>,
    pair_key_1_3: Option<Value>,
    self_key_1: Option<Value>,
    sum: Value,
    sum_i32: Option<Value>,
    seed: Option<String>,
}

/// The reference's stream of bytes.
struct Stream {
    label: String,
    counter: u64,
}

impl Stream {
    fn of(seed: &str, site: NodeId) -> Self {
        Self { label: format!("{seed}node{site}"), counter: 0 }
    }

    /// It gives whole blocks of 32 bytes, of which every call of the reference takes one.
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = hash([b"vec".as_slice(), self.label.as_bytes(), &self.counter.to_le_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.counter += 1;
        }
    }
}

/// Compares, counting.
struct Comparison(usize);

impl Comparison {
    fn text(&mut self, name: impl fmt::Display, found: String, expected: &Value) -> Result<(), VectorError> {
        self.0 += 1;
        if expected.as_str() == Some(found.as_str()) {
            return Ok(());
        }
        let expected = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
        Err(VectorError::Differs { name: name.to_string(), found, expected })
    }

    fn bytes(&mut self, name: impl fmt::Display, found: &[u8], expected: &Value) -> Result<(), VectorError> {
        self.text(name, found.iter().map(|byte| format!("{byte:02x}")).collect(), expected)
    }

    fn numbers(
        &mut self,
        name: impl fmt::Display,
        found: impl ExactSizeIterator<Item = i64>,
        expected: &Value,
    ) -> Result<(), VectorError> {
        let list = expected.as_array().map(Vec::as_slice).unwrap_or_default();
        let differs = |name: String, found: String, expected: String| VectorError::Differs { name, found, expected };
        if list.len() != found.len() {
            let lengths = (format!("{} numbers", found.len()), format!("{} numbers", list.len()));
            return Err(differs(name.to_string(), lengths.0, lengths.1));
        }
        for (index, (found, expected)) in found.zip(list).enumerate() {
            self.0 += 1;
            if expected.as_i64() != Some(found) {
                return Err(differs(format!("{name}[{index}]"), found.to_string(), expected.to_string()));
            }
        }
        Ok(())
    }
}

fn refused<T, E: fmt::Display>(step: &'static str, result: Result<T, E>) -> Result<T, VectorError> {
    result.map_err(|error| VectorError::Refused { step, reason: error.to_string() })
}

/// Runs the whole protocol with the file's randomness and compares every value in it. `seed` is the one that the vectors
/// were made with; without it that of the file is taken, else those that the reference uses by itself.
///
/// # Errors
/// At the first value that differs.
pub fn check(text: &str, seed: Option<&str>) -> Result<Checked, VectorError> {
    let file: File = serde_json::from_str(text).map_err(|error| VectorError::Unreadable(error.to_string()))?;
    let mut compare = Comparison(0);
    let manifest = refused("reading the manifest", Manifest::from_bytes(file.manifest.clone().into_bytes()))?;
    compare.bytes("sid", manifest.sid(), &file.sid)?;
    let ids = manifest.participants().to_vec();
    let expected = |site: NodeId, name: &str| -> Result<Value, VectorError> {
        let value = file.nodes.get(&site.to_string()).and_then(|node| node.get(name));
        value.cloned().ok_or_else(|| VectorError::Unreadable(format!("nodes.{site}.{name} is missing")))
    };

    let size = ids.len().to_string();
    let candidates = match seed.or(file.seed.as_deref()) {
        Some(seed) => vec![seed.to_owned()],
        None => vec![String::new(), size],
    };
    let fits = |seed: &&String| {
        let mut first = [0; 32];
        Stream::of(seed, ids[0]).fill(&mut first);
        let hex: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
        expected(ids[0], "ed_sk").is_ok_and(|value| value.as_str() == Some(&hex))
    };
    let seed = candidates.iter().find(fits).ok_or_else(|| VectorError::Seed {
        site: ids[0],
        tried: candidates.iter().map(|seed| format!("{seed:?}")).collect::<Vec<_>>().join(" or "),
    })?;

    let mut identities = BTreeMap::new();
    let mut randoms = BTreeMap::new();
    for id in &ids {
        let mut stream = Stream::of(seed, *id);
        let mut identity = [0; 32];
        stream.fill(&mut identity);
        compare.bytes(format!("nodes.{id}.ed_sk"), &identity, &expected(*id, "ed_sk")?)?;
        let random = Randomness::draw(manifest.threshold(), |bytes| stream.fill(bytes));
        for (name, found) in [("c_sk", &random.box_key), ("s_sk", &random.mask_key), ("b", &random.seed)] {
            compare.bytes(format!("nodes.{id}.{name}"), found, &expected(*id, name)?)?;
        }
        identities.insert(*id, SigningKey::from_bytes(&identity));
        randoms.insert(*id, random);
    }
    let keys = identities.iter().map(|(id, identity)| (*id, identity.verifying_key()));
    let roster = Roster::unsigned(keys.collect(), manifest.roster());

    let mut coordinator = refused("opening the sum", Coordinator::open(manifest.clone(), &roster))?;
    let mut nodes = BTreeMap::new();
    let mut standings = BTreeMap::new();
    for id in &ids {
        let mut standing = Standing {
            id: *id,
            approved_roster: manifest.roster(),
            joined: BTreeMap::new(),
            unmasked: BTreeMap::new(),
        };
        let random = randoms[id].clone();
        let joined = Node::join(manifest.clone(), &roster, &mut standing, &manifest.basis(), random, &identities[id]);
        let (node, advertisement) = refused("R0", joined)?;
        compare.bytes(format!("nodes.{id}.adv"), &advertisement.signed_part(), &expected(*id, "adv")?)?;
        compare.bytes(format!("nodes.{id}.adv_sig"), &advertisement.signature, &expected(*id, "adv_sig")?)?;
        refused("R0", coordinator.advertised(&advertisement))?;
        nodes.insert(*id, node);
        standings.insert(*id, standing);
    }
    let advertisements = refused("the end of R0", coordinator.close_advertising())?;
    let t1 = t1(manifest.sid(), advertisements.values());
    compare.bytes("T1", &t1, &file.t1)?;

    for id in &ids {
        let shares = refused("R1", nodes.get_mut(id).expect("joined").share(&advertisements, &identities[id]))?;
        let digest = hash([shares.signed_part().as_slice()]);
        compare.bytes(format!("nodes.{id}.msg1_sha256"), &digest, &expected(*id, "msg1_sha256")?)?;
        let share = randoms[id].key_share(ids[0]);
        compare.bytes(format!("nodes.{id}.share_s_to_1"), &*share, &expected(*id, "share_s_to_1")?)?;
        refused("R1", coordinator.shared(&shares))?;
    }
    let shares = refused("the end of R1", coordinator.close_sharing())?;
    let digests: Vec<(NodeId, [u8; 32])> =
        shares.iter().map(|(id, shares)| (*id, hash([shares.signed_part().as_slice()]))).collect();
    let t2 = t2(&t1, digests.iter().map(|(id, digest)| (id, *digest)));
    compare.bytes("T2", &t2, &file.t2)?;
    if let (Some(expected), Some(random)) = (&file.self_key_1, randoms.values().next()) {
        compare.bytes("self_key_1", &*self_key(&t2, &random.seed, ids[0]), expected)?;
    }
    if let (Some(expected), [one, _, three, ..]) = (&file.pair_key_1_3, ids.as_slice()) {
        let shared = randoms[one].shared_with(&advertisements[three]);
        compare.bytes("pair_key_1_3", &*pair_key(&t2, &shared, *one, *three), expected)?;
    }

    let dimension = manifest.dimension();
    let mut sum = vec![0_u32; manifest.words()];
    for id in &ids {
        let number = f64::from(u16::from(*id));
        let delta: Vec<f64> = (0..dimension).map(|i| (i as f64 - dimension as f64 / 2.0) * 0.01 * number).collect();
        let encoded = manifest.encoding().encode(delta.into_iter(), 100 * u32::from(u16::from(*id)), &[]);
        let mut words = refused("encoding", encoded)?;
        compare.numbers(format!("nodes.{id}.x"), words.iter().map(|word| i64::from(*word)), &expected(*id, "x")?)?;
        let masked = refused("R2", nodes.get_mut(id).expect("joined").mask(&shares, &mut words, &identities[id]))?;
        compare.numbers(format!("nodes.{id}.y"), words.iter().map(|word| i64::from(*word)), &expected(*id, "y")?)?;
        if file.survivors.contains(id) {
            refused("R2", coordinator.masked(&masked, &words))?;
            sum.iter_mut().zip(&words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
    }
    let survivors = refused("the end of R2", coordinator.close_masking())?;
    compare.bytes("T3", &t3(&t2, &survivors), &file.t3)?;
    for id in survivors.0.keys() {
        let agreement = refused("R3", nodes.get_mut(id).expect("joined").agree(&survivors, &identities[id]))?;
        refused("R3", coordinator.agreed(&agreement))?;
    }
    let agreements = refused("the end of R3", coordinator.close_agreeing())?;
    for id in survivors.0.keys() {
        let standing = standings.get_mut(id).expect("joined");
        let unmasking = refused("R4", nodes.get_mut(id).expect("joined").unmask(&agreements, standing))?;
        refused("R4", coordinator.unmasked(&unmasking))?;
    }
    let masks = refused("unmasking", coordinator.finish())?;
    masks.take_off(&mut sum);
    compare.numbers("sum", sum.iter().map(|word| i64::from(*word)), &file.sum)?;
    if let Some(expected) = &file.sum_i32 {
        compare.numbers("sum_i32", sum.iter().map(|word| i64::from(*word as i32)), expected)?;
    }
    Ok(Checked {
        sites: ids.len(),
        threshold: manifest.threshold(),
        dropped: ids.len() - masks.survivors().len(),
        values: compare.0,
    })
}

impl Randomness {
    fn key_share(&self, to: NodeId) -> super::primitives::Secret {
        let coefficients: Vec<_> =
            self.key_coefficients.iter().map(|bytes| super::primitives::Secret::new(*bytes)).collect();
        shamir::share(&self.mask_key, &coefficients, to.x())
    }

    fn shared_with(&self, peer: &super::Advertisement) -> [u8; 32] {
        let secret = x25519_dalek::StaticSecret::from(self.mask_key);
        secret.diffie_hellman(&x25519_dalek::PublicKey::from(peer.mask_key)).to_bytes()
    }
}

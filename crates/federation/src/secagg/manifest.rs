//! What a secure sum is about: agreed on by everybody before anything is sent, and bound into every key.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::NodeId;
use super::encoding::{Encoding, exponent};
use super::primitives::hash;
use crate::Digest;

/// The name of the protocol in a manifest.
pub const PROTOCOL: &str = "FLSA1";
/// The least number of sites whose sum hides them.
pub const LEAST_SITES: usize = 3;
/// A manifest is a small text.
const MAX_BYTES: usize = 1 << 16;

/// A manifest with its bytes, which are hashed exactly as they came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Manifest {
    bytes: Vec<u8>,
    content: Content,
    sid: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    v: String,
    fed: String,
    job: String,
    round: u32,
    attempt: u32,
    /// Of the approved roster.
    roster: Digest,
    participants: Vec<NodeId>,
    t: usize,
    n_min: usize,
    d: usize,
    #[serde(rename = "C")]
    clip: f64,
    e: i32,
    omega_max: u32,
    /// Of the global model that the sites trained from.
    model: Digest,
    /// Masked counters after the samples.
    #[serde(default)]
    counters: usize,
    /// Of the tensors' names and shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Digest>,
    /// Of the training's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Digest>,
    /// Milliseconds for each exchange of messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
}

/// What an update is about: a site sums it with no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Of the global model that it was trained from.
    pub model: Digest,
    /// Of the tensors' names and shapes.
    pub schema: Option<Digest>,
    /// Of the training's configuration.
    pub config: Option<Digest>,
}

/// What a coordinator decides about a sum; the rest follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name of the federation.
    pub federation: String,
    /// Name of the training session.
    pub job: String,
    /// Its round, from 1.
    pub round: u32,
    /// From 0; a higher one after an attempt that failed.
    pub attempt: u32,
    /// Of the approved roster.
    pub roster: Digest,
    /// The sites, at least [`LEAST_SITES`].
    pub participants: BTreeSet<NodeId>,
    /// Values of an update.
    pub dimension: usize,
    /// The largest size of a weighted value.
    pub clip: f64,
    /// The largest number of samples of a site.
    pub omega_max: u32,
    /// What the updates are about.
    pub basis: Basis,
    /// Masked counters after the samples.
    pub counters: usize,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// No JSON of this protocol.
    #[error("the manifest is no {PROTOCOL} manifest: {0}")]
    Unreadable(String),
    /// A value that the protocol does not allow.
    #[error("the manifest's {field} is {found}, expected {expected}")]
    Value {
        /// Which.
        field: &'static str,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
}

impl Manifest {
    /// The manifest of a plan.
    ///
    /// # Errors
    /// When the protocol does not allow a value.
    pub fn new(plan: &Plan) -> Result<Self, ManifestError> {
        let n = plan.participants.len();
        let content = Content {
            v: PROTOCOL.to_owned(),
            fed: plan.federation.clone(),
            job: plan.job.clone(),
            round: plan.round,
            attempt: plan.attempt,
            roster: plan.roster,
            participants: plan.participants.iter().copied().collect(),
            t: least_threshold(n),
            n_min: LEAST_SITES,
            d: plan.dimension,
            clip: plan.clip,
            e: exponent(n.max(1), plan.clip),
            omega_max: plan.omega_max,
            model: plan.basis.model,
            counters: plan.counters,
            schema: plan.basis.schema,
            config: plan.basis.config,
            deadline_ms: None,
        };
        let bytes = serde_json::to_vec(&content).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
        Self::from_bytes(bytes)
    }

    /// Reads a manifest and checks everything that can be checked without knowing who reads it.
    ///
    /// # Errors
    /// When it is not one of this protocol, or holds a value that the protocol does not allow.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            let found = format!("{} bytes long, at most {MAX_BYTES} are read", bytes.len());
            return Err(ManifestError::Unreadable(found));
        }
        let content: Content =
            serde_json::from_slice(&bytes).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
        content.check()?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let sid = hash([b"FLSA1/sid".as_slice(), &length, &bytes]);
        Ok(Self { bytes, content, sid })
    }

    /// As they travel.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The session's id, in every hash of it.
    pub fn sid(&self) -> &[u8; 32] {
        &self.sid
    }

    /// Name of the training session.
    pub fn job(&self) -> &str {
        &self.content.job
    }

    /// Round and attempt: each newer pair is larger.
    pub fn turn(&self) -> (u32, u32) {
        (self.content.round, self.content.attempt)
    }

    /// Of the roster.
    pub fn roster(&self) -> Digest {
        self.content.roster
    }

    /// The sites, in order.
    pub fn participants(&self) -> &[NodeId] {
        &self.content.participants
    }

    /// Shares that give a secret.
    pub fn threshold(&self) -> usize {
        self.content.t
    }

    /// The least number of sites in any list.
    pub fn quorum(&self) -> usize {
        self.content.t.max(LEAST_SITES)
    }

    /// Values of an update.
    pub fn dimension(&self) -> usize {
        self.content.d
    }

    /// Masked counters after the samples.
    pub fn counters(&self) -> usize {
        self.content.counters
    }

    /// Words of a masked update.
    pub fn words(&self) -> usize {
        self.content.d + 1 + self.content.counters
    }

    /// What the updates are about.
    pub fn basis(&self) -> Basis {
        let Content { model, schema, config, .. } = self.content;
        Basis { model, schema, config }
    }

    /// How values become words.
    pub fn encoding(&self) -> Encoding {
        let Content { clip, e, omega_max, .. } = self.content;
        Encoding { sites: self.content.participants.len(), clip, exponent: e, omega_max }
    }
}

/// More than two thirds: two groups of that size share an honest site as long as fewer than a third lie.
pub fn least_threshold(sites: usize) -> usize {
    2 * sites / 3 + 1
}

impl Content {
    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |field, found: &dyn ToString, expected: String| {
            Err(ManifestError::Value { field, found: found.to_string(), expected })
        };
        let n = self.participants.len();
        if self.v != PROTOCOL {
            return wrong("version", &self.v, PROTOCOL.to_owned());
        }
        if self.n_min < LEAST_SITES {
            return wrong(
                "n_min",
                &self.n_min,
                format!("at least {LEAST_SITES}: a sum of fewer does not hide its parts"),
            );
        }
        if n < self.n_min {
            return wrong("number of participants", &n, format!("at least {}", self.n_min));
        }
        if !self.participants.is_sorted_by(|a, b| a < b) {
            return wrong("participants", &"a list with repetitions or out of order", "rising ids".to_owned());
        }
        if self.t < least_threshold(n) || self.t > n {
            return wrong("threshold t", &self.t, format!("{} to {n} for {n} sites", least_threshold(n)));
        }
        if !(self.clip.is_finite() && (1e-6..=1e6).contains(&self.clip)) {
            return wrong("clip C", &self.clip, "1e-6 to 1e6".to_owned());
        }
        if self.e != exponent(n, self.clip) {
            return wrong("exponent e", &self.e, exponent(n, self.clip).to_string());
        }
        if self.omega_max == 0 || n as u64 * u64::from(self.omega_max) >= 1 << 32 {
            let most = ((1_u64 << 32) - 1) / n as u64;
            return wrong("omega_max", &self.omega_max, format!("1 to {most} for {n} sites"));
        }
        if self.d == 0 || self.d > 1 << 30 {
            return wrong("dimension d", &self.d, "1 to 2^30".to_owned());
        }
        if self.counters > 64 {
            return wrong("counters", &self.counters, "at most 64".to_owned());
        }
        Ok(())
    }
}

impl TryFrom<Vec<u8>> for Manifest {
    type Error = ManifestError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        Self::from_bytes(bytes)
    }
}

impl From<Manifest> for Vec<u8> {
    fn from(manifest: Manifest) -> Self {
        manifest.bytes
    }
}

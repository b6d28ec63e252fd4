//! Who takes part in a federation: a list that the consortium signs with a key that stays off line, so that a coordinator
//! cannot invent hospitals.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::NodeId;
use super::primitives::hash;
use crate::Digest;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its number in sums.
    pub id: NodeId,
    /// The hospital.
    pub name: String,
    /// Ed25519, 64 hexadecimal digits; its private key was made at the hospital and stays there.
    pub public_key: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    federation: String,
    version: u32,
    /// Of the version before; nothing in the first.
    previous: Option<Digest>,
    members: Vec<Member>,
}

/// A list with the consortium's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRoster {
    /// JSON, hashed and signed exactly as it is.
    pub bytes: Vec<u8>,
    /// Ed25519.
    pub signature: Vec<u8>,
}

/// A list whose signature was checked.
#[derive(Debug, Clone)]
pub struct Roster {
    content: Content,
    keys: BTreeMap<NodeId, VerifyingKey>,
    digest: Digest,
}

/// Why a list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// No list of this kind.
    #[error("the roster cannot be read: {0}")]
    Unreadable(String),
    /// Not signed by the consortium.
    #[error(
        "the roster's signature is not the consortium's: ask the consortium, not the coordinator, for the right one"
    )]
    Signature,
    /// Somebody is twice in it.
    #[error("the roster has {what} twice")]
    Twice {
        /// An id or a key.
        what: String,
    },
    /// A key that is none, or a weak one.
    #[error("the public key of member {id} cannot be used")]
    Key {
        /// Whose.
        id: NodeId,
    },
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    hash([b"FLSA1/roster".as_slice(), &length, bytes])
}

impl SignedRoster {
    /// What the consortium does, off line.
    ///
    /// # Errors
    /// When the list is not sound.
    pub fn sign(
        federation: &str,
        version: u32,
        previous: Option<Digest>,
        members: Vec<Member>,
        consortium: &SigningKey,
    ) -> Result<Self, RosterError> {
        let content = Content { federation: federation.to_owned(), version, previous, members };
        let bytes = serde_json::to_vec(&content).map_err(|error| RosterError::Unreadable(error.to_string()))?;
        let signature = consortium.sign(&digest(&bytes)).to_bytes().to_vec();
        let signed = Self { bytes, signature };
        signed.verify(&consortium.verifying_key())?;
        Ok(signed)
    }

    /// The list, if the consortium has signed it.
    ///
    /// # Errors
    /// When it has not, or the list is not sound.
    pub fn verify(&self, consortium: &VerifyingKey) -> Result<Roster, RosterError> {
        let digest = digest(&self.bytes);
        let signature = Signature::from_slice(&self.signature).map_err(|_| RosterError::Signature)?;
        consortium.verify_strict(&digest, &signature).map_err(|_| RosterError::Signature)?;
        let content: Content =
            serde_json::from_slice(&self.bytes).map_err(|error| RosterError::Unreadable(error.to_string()))?;
        let mut keys: BTreeMap<NodeId, VerifyingKey> = BTreeMap::new();
        for member in &content.members {
            let key = VerifyingKey::from_bytes(member.public_key.as_bytes()).ok().filter(|key| !key.is_weak());
            let key = key.ok_or(RosterError::Key { id: member.id })?;
            if keys.values().any(|known| known == &key) {
                return Err(RosterError::Twice { what: format!("the key of member {}", member.id) });
            }
            if keys.insert(member.id, key).is_some() {
                return Err(RosterError::Twice { what: format!("member {}", member.id) });
            }
        }
        Ok(Roster { content, keys, digest: Digest::from(digest) })
    }
}

impl Roster {
    /// What a manifest names, and what administrators compare.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest's beginning, in groups that people can read to each other.
    pub fn fingerprint(&self) -> String {
        let text = self.digest.to_string();
        let groups: Vec<&str> = (0..8).map(|group| &text[4 * group..4 * group + 4]).collect();
        groups.join(" ")
    }

    /// Rises with every change.
    pub fn version(&self) -> u32 {
        self.content.version
    }

    /// Of the version before.
    pub fn previous(&self) -> Option<Digest> {
        self.content.previous
    }

    /// Everybody.
    pub fn members(&self) -> &[Member] {
        &self.content.members
    }

    /// A list that nobody has signed: the test vectors have none.
    pub(super) fn unsigned(keys: BTreeMap<NodeId, VerifyingKey>, digest: Digest) -> Self {
        let content = Content { federation: String::new(), version: 0, previous: None, members: Vec::new() };
        Self { content, keys, digest }
    }

    pub(super) fn key(&self, id: NodeId) -> Option<&VerifyingKey> {
        self.keys.get(&id)
    }
}

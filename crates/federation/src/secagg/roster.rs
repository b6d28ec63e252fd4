//! Who takes part in a federation: a list that the consortium signs with a key that stays off line, so that a coordinator
//! cannot invent hospitals.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::NodeId;
use super::primitives::hash;
use crate::{Digest, SiteId};

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its number in sums.
    pub id: NodeId,
    /// The hospital's name in sessions.
    pub name: SiteId,
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
    /// Of the coordinator: what it announces is signed with the other half.
    coordinator: Digest,
}

impl Content {
    /// The members' keys, which nobody shares.
    fn keys(&self) -> Result<BTreeMap<NodeId, VerifyingKey>, RosterError> {
        let mut keys: BTreeMap<NodeId, VerifyingKey> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for member in &self.members {
            let key = VerifyingKey::from_bytes(member.public_key.as_bytes()).ok().filter(|key| !key.is_weak());
            let key = key.ok_or(RosterError::Key { id: member.id })?;
            if keys.values().any(|known| known == &key) {
                return Err(RosterError::Twice { what: format!("the key of member {}", member.id) });
            }
            if !names.insert(&member.name) {
                return Err(RosterError::Twice { what: format!("the name of member {}", member.id) });
            }
            if keys.insert(member.id, key).is_some() {
                return Err(RosterError::Twice { what: format!("member {}", member.id) });
            }
        }
        Ok(keys)
    }
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Checked", into = "Checked")]
pub struct Roster {
    content: Content,
    keys: BTreeMap<NodeId, VerifyingKey>,
    digest: Digest,
}

/// A list as its owner keeps it after the signature was checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked {
    content: Content,
    digest: Digest,
}

impl From<Roster> for Checked {
    fn from(Roster { content, digest, .. }: Roster) -> Self {
        Self { content, digest }
    }
}

impl TryFrom<Checked> for Roster {
    type Error = RosterError;

    fn try_from(Checked { content, digest }: Checked) -> Result<Self, RosterError> {
        let keys = content.keys()?;
        Ok(Self { content, keys, digest })
    }
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
        coordinator: &VerifyingKey,
        consortium: &SigningKey,
    ) -> Result<Self, RosterError> {
        let coordinator = Digest::from(coordinator.to_bytes());
        let content = Content { federation: federation.to_owned(), version, previous, members, coordinator };
        let bytes = serde_json::to_vec(&content).map_err(|error| RosterError::Unreadable(error.to_string()))?;
        let signed = Self::sign_bytes(bytes, consortium);
        signed.verify(&consortium.verifying_key())?;
        Ok(signed)
    }

    /// Signs a list as it is; [`SignedRoster::verify`] says whether it is sound.
    pub fn sign_bytes(bytes: Vec<u8>, consortium: &SigningKey) -> Self {
        let signature = consortium.sign(&digest(&bytes)).to_bytes().to_vec();
        Self { bytes, signature }
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
        let keys = content.keys()?;
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

    /// Name of the federation.
    pub fn federation(&self) -> &str {
        &self.content.federation
    }

    /// The site's number.
    pub fn id_of(&self, site: &SiteId) -> Option<NodeId> {
        self.content.members.iter().find(|member| &member.name == site).map(|member| member.id)
    }

    /// The site with that number.
    pub fn site(&self, id: NodeId) -> Option<&SiteId> {
        self.content.members.iter().find(|member| member.id == id).map(|member| &member.name)
    }

    /// The key that the site signs with.
    pub fn key_of(&self, site: &SiteId) -> Option<&VerifyingKey> {
        self.key(self.id_of(site)?)
    }

    /// The key that the coordinator signs with; nothing where the list names none that can be used.
    pub fn coordinator(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(self.content.coordinator.as_bytes()).ok().filter(|key| !key.is_weak())
    }

    /// Everybody.
    pub fn members(&self) -> &[Member] {
        &self.content.members
    }

    /// A list that nobody has signed: the test vectors have none.
    pub(super) fn unsigned(keys: BTreeMap<NodeId, VerifyingKey>, digest: Digest) -> Self {
        let coordinator = Digest::from([0; 32]);
        let content =
            Content { federation: String::new(), version: 0, previous: None, members: Vec::new(), coordinator };
        Self { content, keys, digest }
    }

    pub(super) fn key(&self, id: NodeId) -> Option<&VerifyingKey> {
        self.keys.get(&id)
    }
}

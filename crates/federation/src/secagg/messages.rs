//! What travels in a secure sum, with its bytes: little-endian, every length known from the manifest or written before.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A site's number in sums, 1 to 255: also the place where its share is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct NodeId(u8);

/// A number that is no [`NodeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no site's number: they go from 1 to 255")]
pub struct NodeIdError(u16);

impl TryFrom<u16> for NodeId {
    type Error = NodeIdError;

    fn try_from(number: u16) -> Result<Self, NodeIdError> {
        u8::try_from(number).ok().filter(|id| *id > 0).map(Self).ok_or(NodeIdError(number))
    }
}

impl From<NodeId> for u16 {
    fn from(id: NodeId) -> Self {
        id.0.into()
    }
}

impl NodeId {
    pub(super) fn x(self) -> u8 {
        self.0
    }

    pub(super) fn bytes(self) -> [u8; 2] {
        u16::from(self.0).to_le_bytes()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ed25519 signature.
pub type SignatureBytes = [u8; 64];

/// Bytes that are no message of the kind expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {message} cannot be read: {problem}")]
pub struct MalformedMessage {
    /// The kind.
    pub message: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// R0: a site's fresh public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// Who.
    pub id: NodeId,
    /// For the boxes in which shares travel.
    pub box_key: [u8; 32],
    /// For the masks of pairs.
    pub mask_key: [u8; 32],
    /// Of the site's pinned key.
    pub signature: SignatureBytes,
}

/// R1: commitments to all shares of a site's two secrets, and the shares themselves, each in a box for its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Who.
    pub id: NodeId,
    /// Commitment to the self-mask's seed.
    pub seed_commitment: [u8; 32],
    /// For every participant of U1, the sender too.
    pub receivers: BTreeMap<NodeId, ShareFor>,
    /// Of the site's pinned key.
    pub signature: SignatureBytes,
}

/// One receiver's part of [`Shares`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFor {
    /// To the share of the mask key.
    pub key_commitment: [u8; 32],
    /// To the share of the self-mask's seed.
    pub seed_commitment: [u8; 32],
    /// Both shares, encrypted and authenticated; the sender has none for itself.
    pub sealed: Option<[u8; SEALED]>,
}

/// Two shares and an authentication tag.
pub(super) const SEALED: usize = 32 + 32 + 16;

/// R2: about a masked update, whose words travel beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// Who.
    pub id: NodeId,
    /// Number of words.
    pub words: u64,
    /// SHA-256 of the words.
    pub digest: [u8; 32],
    /// Of the site's pinned key.
    pub signature: SignatureBytes,
}

/// R3, from the coordinator: whose masked updates have arrived, with their hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivors(pub BTreeMap<NodeId, [u8; 32]>);

/// R3: a site's signature under the list of survivors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Who.
    pub id: NodeId,
    /// Of the site's pinned key.
    pub signature: SignatureBytes,
}

/// R4: the shares that take the masks off the sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmasking {
    /// Who.
    pub id: NodeId,
    /// Of the self-masks' seeds of those who survived.
    pub seeds: BTreeMap<NodeId, [u8; 32]>,
    /// Of the mask keys of those who dropped out.
    pub keys: BTreeMap<NodeId, [u8; 32]>,
}

/// Takes bytes from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    fn of(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, message }
    }

    fn malformed<T>(&self, problem: impl Into<String>) -> Result<T, MalformedMessage> {
        Err(MalformedMessage { message: self.message, problem: problem.into() })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MalformedMessage> {
        match self.bytes.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(*taken)
            }
            None => self.malformed(format!("{} bytes are left where {N} were expected", self.bytes.len())),
        }
    }

    fn id(&mut self) -> Result<NodeId, MalformedMessage> {
        let number = u16::from_le_bytes(self.take()?);
        NodeId::try_from(number).or_else(|error| self.malformed(error.to_string()))
    }

    /// Entries in rising order of their ids.
    fn map<T>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<T, MalformedMessage>,
    ) -> Result<BTreeMap<NodeId, T>, MalformedMessage> {
        let count = u16::from_le_bytes(self.take()?);
        let mut entries: BTreeMap<NodeId, T> = BTreeMap::new();
        for _ in 0..count {
            let id = self.id()?;
            if entries.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return self.malformed(format!("entry {id} is repeated or out of order"));
            }
            let value = entry(self)?;
            entries.insert(id, value);
        }
        Ok(entries)
    }

    fn end<T>(self, value: T) -> Result<T, MalformedMessage> {
        if self.bytes.is_empty() { Ok(value) } else { self.malformed(format!("{} bytes too many", self.bytes.len())) }
    }
}

fn write_map<T>(map: &BTreeMap<NodeId, T>, mut entry: impl FnMut(&mut Vec<u8>, &T), bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(map.len() as u16).to_le_bytes());
    for (id, value) in map {
        bytes.extend_from_slice(&id.bytes());
        entry(bytes, value);
    }
}

impl Advertisement {
    /// What is signed and hashed: id and keys.
    pub(super) fn signed_part(&self) -> [u8; 66] {
        let mut bytes = [0; 66];
        bytes[..2].copy_from_slice(&self.id.bytes());
        bytes[2..34].copy_from_slice(&self.box_key);
        bytes[34..].copy_from_slice(&self.mask_key);
        bytes
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.signed_part().as_slice(), &self.signature].concat()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::of("key advertisement", bytes);
        let (id, box_key, mask_key, signature) = (reader.id()?, reader.take()?, reader.take()?, reader.take()?);
        reader.end(Self { id, box_key, mask_key, signature })
    }
}

impl Shares {
    /// What is hashed: the hash is signed.
    pub(super) fn signed_part(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(34 + self.receivers.len() * (64 + SEALED));
        bytes.extend_from_slice(&self.id.bytes());
        bytes.extend_from_slice(&self.seed_commitment);
        for share in self.receivers.values() {
            bytes.extend_from_slice(&share.key_commitment);
            bytes.extend_from_slice(&share.seed_commitment);
            bytes.extend(share.sealed.iter().flatten());
        }
        bytes
    }

    /// As they travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.bytes().to_vec();
        bytes.extend_from_slice(&self.seed_commitment);
        let own = self.id;
        bytes.extend_from_slice(&(self.receivers.len() as u16).to_le_bytes());
        for (id, share) in &self.receivers {
            bytes.extend_from_slice(&id.bytes());
            bytes.extend_from_slice(&share.key_commitment);
            bytes.extend_from_slice(&share.seed_commitment);
            if *id != own {
                bytes.extend_from_slice(share.sealed.as_ref().unwrap_or(&[0; SEALED]));
            }
        }
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads them.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::of("message of shares", bytes);
        let (id, seed_commitment) = (reader.id()?, reader.take()?);
        let count = u16::from_le_bytes(reader.take()?);
        let mut receivers: BTreeMap<NodeId, ShareFor> = BTreeMap::new();
        for _ in 0..count {
            let receiver = reader.id()?;
            if receivers.last_key_value().is_some_and(|(last, _)| *last >= receiver) {
                return reader.malformed(format!("receiver {receiver} is repeated or out of order"));
            }
            let (key_commitment, seed_commitment) = (reader.take()?, reader.take()?);
            let sealed = if receiver == id { None } else { Some(reader.take()?) };
            receivers.insert(receiver, ShareFor { key_commitment, seed_commitment, sealed });
        }
        let signature = reader.take()?;
        reader.end(Self { id, seed_commitment, receivers, signature })
    }
}

impl Masked {
    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.id.bytes().as_slice(), &self.words.to_le_bytes(), &self.digest, &self.signature].concat()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::of("header of a masked update", bytes);
        let (id, words) = (reader.id()?, u64::from_le_bytes(reader.take()?));
        let (digest, signature) = (reader.take()?, reader.take()?);
        reader.end(Self { id, words, digest, signature })
    }
}

impl Survivors {
    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_map(&self.0, |bytes, digest| bytes.extend_from_slice(digest), &mut bytes);
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::of("list of survivors", bytes);
        let list = reader.map(Reader::take)?;
        reader.end(Self(list))
    }
}

impl Agreement {
    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.id.bytes().as_slice(), &self.signature].concat()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::of("agreement", bytes);
        let (id, signature) = (reader.id()?, reader.take()?);
        reader.end(Self { id, signature })
    }
}

impl Unmasking {
    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.bytes().to_vec();
        for shares in [&self.seeds, &self.keys] {
            write_map(shares, |bytes, share| bytes.extend_from_slice(share), &mut bytes);
        }
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::of("message of shares for unmasking", bytes);
        let id = reader.id()?;
        let (seeds, keys) = (reader.map(Reader::take)?, reader.map(Reader::take)?);
        reader.end(Self { id, seeds, keys })
    }
}

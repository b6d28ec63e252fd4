//! The exchanges of a sum as one pair of types: what the coordinator asks a site, and what the site replies. Whatever carries
//! them, their bytes are these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::messages::{Advertisement, Agreement, MalformedMessage, Masked, NodeId, Shares, Survivors, Unmasking};
use super::{Manifest, Stage};
use crate::Digest;

/// What the coordinator asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Packed", into = "Packed")]
pub enum Request {
    /// R0: join this sum.
    Join(Box<Manifest>),
    /// R1: share your secrets among the owners of these keys.
    Share(Sid, BTreeMap<NodeId, Advertisement>),
    /// R2: mask your update.
    Mask(Sid, BTreeMap<NodeId, Shares>),
    /// R3: sign this list.
    Agree(Sid, Survivors),
    /// R4: help to unmask the sum of those on the list that these have signed.
    Unmask(Sid, BTreeMap<NodeId, Agreement>),
}

/// Which sum a message belongs to, so that a late copy of one of an earlier attempt does no harm.
pub type Sid = Digest;

/// What a site replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// R0.
    Advertisement(Advertisement),
    /// R1.
    Shares(Shares),
    /// R2; the words travel beside it.
    Masked(Masked),
    /// R3.
    Agreement(Agreement),
    /// R4.
    Unmasking(Unmasking),
    /// The site takes no part in this sum.
    Refused {
        /// Which sum.
        sid: Sid,
        /// Why; at most so much of it travels.
        reason: String,
    },
}

/// Bytes in a JSON text: hexadecimal.
#[derive(Serialize, Deserialize)]
struct Packed(String);

impl From<Request> for Packed {
    fn from(request: Request) -> Self {
        use std::fmt::Write;
        let bytes = request.to_bytes();
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            write!(text, "{byte:02x}").expect("a String takes everything");
        }
        Self(text)
    }
}

impl TryFrom<Packed> for Request {
    type Error = MalformedMessage;

    fn try_from(Packed(text): Packed) -> Result<Self, MalformedMessage> {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let pairs = text.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
        Self::from_bytes(&bytes.ok_or_else(|| malformed("no hexadecimal text"))?)
    }
}

fn malformed(problem: impl Into<String>) -> MalformedMessage {
    MalformedMessage { message: "message of a sum", problem: problem.into() }
}

/// Entries with their lengths.
fn pack<T>(tag: u8, sid: &Sid, all: &BTreeMap<NodeId, T>, bytes: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    let mut packed = [&[tag], sid.as_bytes().as_slice()].concat();
    for entry in all.values() {
        let entry = bytes(entry);
        packed.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        packed.extend_from_slice(&entry);
    }
    packed
}

fn unpack<T>(
    mut bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, MalformedMessage>,
    id: impl Fn(&T) -> NodeId,
) -> Result<BTreeMap<NodeId, T>, MalformedMessage> {
    let mut all = BTreeMap::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (entry, rest) = rest.split_at_checked(length).ok_or_else(|| malformed("it is cut off"))?;
        let entry = read(entry)?;
        if all.last_key_value().is_some_and(|(last, _)| *last >= id(&entry)) {
            return Err(malformed(format!("entry {} is repeated or out of order", id(&entry))));
        }
        all.insert(id(&entry), entry);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(all) } else { Err(malformed("it is cut off")) }
}

fn split_sid(bytes: &[u8]) -> Result<(Sid, &[u8]), MalformedMessage> {
    let (sid, rest) = bytes.split_first_chunk::<32>().ok_or_else(|| malformed("it is cut off"))?;
    Ok((Sid::from(*sid), rest))
}

impl Request {
    /// The exchange that it belongs to.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Join(_) => Stage::Advertising,
            Self::Share(..) => Stage::Sharing,
            Self::Mask(..) => Stage::Masking,
            Self::Agree(..) => Stage::Agreeing,
            Self::Unmask(..) => Stage::Unmasking,
        }
    }

    /// The sum that it belongs to.
    pub fn sid(&self) -> Sid {
        match self {
            Self::Join(manifest) => Sid::from(*manifest.sid()),
            Self::Share(sid, _) | Self::Mask(sid, _) | Self::Agree(sid, _) | Self::Unmask(sid, _) => *sid,
        }
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Join(manifest) => [&[0], manifest.bytes()].concat(),
            Self::Share(sid, all) => pack(1, sid, all, Advertisement::to_bytes),
            Self::Mask(sid, all) => pack(2, sid, all, Shares::to_bytes),
            Self::Agree(sid, survivors) => [[3].as_slice(), sid.as_bytes(), &survivors.to_bytes()].concat(),
            Self::Unmask(sid, all) => pack(4, sid, all, Agreement::to_bytes),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let (tag, rest) = bytes.split_first().ok_or_else(|| malformed("it is empty"))?;
        if *tag == 0 {
            let manifest = Manifest::from_bytes(rest.to_vec()).map_err(|error| malformed(error.to_string()))?;
            return Ok(Self::Join(Box::new(manifest)));
        }
        let (sid, rest) = split_sid(rest)?;
        Ok(match tag {
            1 => Self::Share(sid, unpack(rest, Advertisement::from_bytes, |entry| entry.id)?),
            2 => Self::Mask(sid, unpack(rest, Shares::from_bytes, |entry| entry.id)?),
            3 => Self::Agree(sid, Survivors::from_bytes(rest)?),
            4 => Self::Unmask(sid, unpack(rest, Agreement::from_bytes, |entry| entry.id)?),
            other => return Err(malformed(format!("its kind is {other}, expected 0 to 4"))),
        })
    }

    /// What makes two requests the same.
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(&self.to_bytes())
    }
}

/// A reason is for people.
const REASON_BYTES: usize = 1000;

impl Reply {
    /// The site's number, where the reply names it.
    pub fn id(&self) -> Option<NodeId> {
        match self {
            Self::Advertisement(message) => Some(message.id),
            Self::Shares(message) => Some(message.id),
            Self::Masked(message) => Some(message.id),
            Self::Agreement(message) => Some(message.id),
            Self::Unmasking(message) => Some(message.id),
            Self::Refused { .. } => None,
        }
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (tag, bytes) = match self {
            Self::Advertisement(message) => (0, message.to_bytes()),
            Self::Shares(message) => (1, message.to_bytes()),
            Self::Masked(message) => (2, message.to_bytes()),
            Self::Agreement(message) => (3, message.to_bytes()),
            Self::Unmasking(message) => (4, message.to_bytes()),
            Self::Refused { sid, reason } => {
                let end = (0..=REASON_BYTES.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
                (5, [sid.as_bytes(), &reason.as_bytes()[..end.unwrap_or(0)]].concat())
            }
        };
        [vec![tag], bytes].concat()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let (tag, rest) = bytes.split_first().ok_or_else(|| malformed("it is empty"))?;
        Ok(match tag {
            0 => Self::Advertisement(Advertisement::from_bytes(rest)?),
            1 => Self::Shares(Shares::from_bytes(rest)?),
            2 => Self::Masked(Masked::from_bytes(rest)?),
            3 => Self::Agreement(Agreement::from_bytes(rest)?),
            4 => Self::Unmasking(Unmasking::from_bytes(rest)?),
            5 => {
                let (sid, reason) = split_sid(rest)?;
                if reason.len() > REASON_BYTES {
                    return Err(malformed(format!("its reason has {} bytes, at most {REASON_BYTES}", reason.len())));
                }
                let reason = std::str::from_utf8(reason).map_err(|_| malformed("its reason is no text"))?;
                Self::Refused { sid, reason: reason.to_owned() }
            }
            other => return Err(malformed(format!("its kind is {other}, expected 0 to 5"))),
        })
    }
}

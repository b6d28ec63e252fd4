//! The coordinator's part in a secure sum: it passes messages on, knows which masked updates have arrived, and learns the
//! masks that are left in their sum. The words themselves are its driver's: it stores those that [`Coordinator::masked`]
//! accepts, adds them up modulo 2³² and takes the [`Masks`] off, in one vector whatever the number of sites.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, StaticSecret};

use super::messages::{Advertisement, Agreement, Masked, NodeId, Shares, Survivors, Unmasking};
use super::node::{
    Of, advertisement_text, agreement_text, is_signed, masked_text, pair_key, seed_commitment, self_key,
    share_commitment, shares_text, t1, t2, t3,
};
use super::primitives::{Secret, Sign, hash, hash_of_words, mask};
use super::roster::Roster;
use super::{Manifest, shamir};
use crate::Digest;

/// Why a message is not taken, or a sum cannot go on. A message that is not taken leaves no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinationError {
    /// The manifest names another roster.
    #[error("the sum's manifest names roster {found}, this one is {own}")]
    Roster {
        /// In the manifest.
        found: Digest,
        /// Given.
        own: Digest,
    },
    /// Not a participant, or not one of those who are left.
    #[error("site {0} has no part in this exchange of the sum")]
    Unexpected(NodeId),
    /// Sent before.
    #[error("site {0} has sent this message before")]
    Repeated(NodeId),
    /// A signature that is not the named site's, or under something else.
    #[error("the signature of site {0} is not valid")]
    Signature(NodeId),
    /// An entry too many or too few.
    #[error("the message of site {0} does not have exactly one entry for each participant")]
    Entries(NodeId),
    /// The words are not those that were signed.
    #[error("the masked update of site {id} has {found} words, expected {expected}")]
    Length {
        /// Whose.
        id: NodeId,
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// The words are not those that were signed.
    #[error("the masked update of site {0} is not the one that it has signed")]
    Content(NodeId),
    /// A share that is not the one committed to.
    #[error("site {from} gives a wrong share of a secret of site {of}")]
    Share {
        /// Who gives it.
        from: NodeId,
        /// Whose secret.
        of: NodeId,
    },
    /// Shares that fit their commitments, of a secret that does not fit its own.
    #[error("the shares of site {0} do not give the secret that it has committed to: it has cheated")]
    Secret(NodeId),
    /// Too few sites are left: the sum has to be given up.
    #[error("{found} sites are left, {needed} are needed: the sum is given up, nothing of any update is known")]
    TooFew {
        /// Found.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// A message of another exchange.
    #[error("this message is not expected now")]
    OutOfTurn,
}

/// A coordinator in one sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coordinator {
    manifest: Manifest,
    keys: BTreeMap<NodeId, Digest>,
    state: State,
}

/// Which messages a sum waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// R0: public keys.
    Advertising,
    /// R1: shares of secrets.
    Sharing,
    /// R2: masked updates.
    Masking,
    /// R3: signatures under the list of survivors.
    Agreeing,
    /// R4: shares for unmasking.
    Unmasking,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Advertising { all: BTreeMap<NodeId, Vec<u8>> },
    Sharing { t1: [u8; 32], mask_keys: BTreeMap<NodeId, [u8; 32]>, all: BTreeMap<NodeId, Vec<u8>> },
    Masking(Sum),
    Agreeing { sum: Sum, t3: [u8; 32], all: BTreeMap<NodeId, Vec<u8>> },
    Unmasking { sum: Sum, all: BTreeMap<NodeId, Vec<u8>> },
}

/// Whose masked updates are there, and what it takes to unmask their sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sum {
    t2: [u8; 32],
    members: BTreeMap<NodeId, Member>,
    /// Hashes of their words.
    arrived: BTreeMap<NodeId, [u8; 32]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Member {
    mask_key: [u8; 32],
    seed_commitment: [u8; 32],
    /// To the shares of its key and of its seed.
    shares: BTreeMap<NodeId, ([u8; 32], [u8; 32])>,
}

/// The masks that are left in the sum of the survivors' words.
pub struct Masks {
    survivors: BTreeMap<NodeId, Digest>,
    keys: Vec<(Secret, Sign)>,
}

impl Masks {
    /// Whose words make the sum, with the hash of each.
    pub fn survivors(&self) -> &BTreeMap<NodeId, Digest> {
        &self.survivors
    }

    /// Makes the sum of exactly the survivors' words one that [`Encoding::decode`](super::Encoding::decode) can read.
    pub fn take_off(&self, sum: &mut [u32]) {
        for (key, sign) in &self.keys {
            mask(key, *sign, sum);
        }
    }
}

impl Coordinator {
    /// Opens a sum.
    ///
    /// # Errors
    /// When the roster is another one or lacks a participant.
    pub fn open(manifest: Manifest, roster: &Roster) -> Result<Self, CoordinationError> {
        if manifest.roster() != roster.digest() {
            return Err(CoordinationError::Roster { found: manifest.roster(), own: roster.digest() });
        }
        let mut keys = BTreeMap::new();
        for id in manifest.participants() {
            let key = roster.key(*id).ok_or(CoordinationError::Unexpected(*id))?;
            keys.insert(*id, Digest::from(key.to_bytes()));
        }
        Ok(Self { manifest, keys, state: State::Advertising { all: BTreeMap::new() } })
    }

    /// What the sum is about.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Which messages it waits for.
    pub fn stage(&self) -> Stage {
        match self.state {
            State::Advertising { .. } => Stage::Advertising,
            State::Sharing { .. } => Stage::Sharing,
            State::Masking(_) => Stage::Masking,
            State::Agreeing { .. } => Stage::Agreeing,
            State::Unmasking { .. } => Stage::Unmasking,
        }
    }

    /// Whether the masks could still be taken off if all of these never answer again.
    pub fn can_still_finish(&self, lost: &BTreeSet<NodeId>) -> bool {
        match &self.state {
            State::Unmasking { sum, all } => {
                let possible = sum.arrived.keys().filter(|id| all.contains_key(id) || !lost.contains(id));
                possible.count() >= self.manifest.threshold()
            }
            _ => true,
        }
    }

    /// Whether this site is asked something and has not answered yet.
    pub fn awaits(&self, id: NodeId) -> bool {
        match &self.state {
            State::Advertising { all } => self.keys.contains_key(&id) && !all.contains_key(&id),
            State::Sharing { mask_keys, all, .. } => mask_keys.contains_key(&id) && !all.contains_key(&id),
            State::Masking(sum) => sum.members.contains_key(&id) && !sum.arrived.contains_key(&id),
            State::Agreeing { sum, all, .. } | State::Unmasking { sum, all } => {
                sum.arrived.contains_key(&id) && !all.contains_key(&id)
            }
        }
    }

    /// Hashes of the words that have arrived and are still needed.
    pub fn arrived(&self) -> impl Iterator<Item = (NodeId, Digest)> {
        let sum = match &self.state {
            State::Masking(sum) | State::Agreeing { sum, .. } | State::Unmasking { sum, .. } => Some(sum),
            State::Advertising { .. } | State::Sharing { .. } => None,
        };
        sum.into_iter().flat_map(|sum| &sum.arrived).map(|(id, digest)| (*id, Digest::from(*digest)))
    }

    fn verify(&self, id: NodeId, text: &[u8], signature: &[u8; 64]) -> Result<(), CoordinationError> {
        let key = self.keys.get(&id).ok_or(CoordinationError::Unexpected(id))?;
        let key = VerifyingKey::from_bytes(key.as_bytes()).map_err(|_| CoordinationError::Signature(id))?;
        if is_signed(&key, text, signature) { Ok(()) } else { Err(CoordinationError::Signature(id)) }
    }

    fn enough(&self, found: usize) -> Result<(), CoordinationError> {
        let needed = self.manifest.quorum();
        if found < needed { Err(CoordinationError::TooFew { found, needed }) } else { Ok(()) }
    }

    /// R0: takes a site's public keys.
    ///
    /// # Errors
    /// When they are not its own; nothing has changed then.
    pub fn advertised(&mut self, message: &Advertisement) -> Result<(), CoordinationError> {
        let text = advertisement_text(self.manifest.sid(), message);
        self.verify(message.id, &text, &message.signature)?;
        let State::Advertising { all } = &mut self.state else { return Err(CoordinationError::OutOfTurn) };
        insert(all, message.id, message.to_bytes())
    }

    /// Ends R0: the keys for everybody who has sent some.
    ///
    /// # Errors
    /// When too few have; the sum has to be given up.
    pub fn close_advertising(&mut self) -> Result<BTreeMap<NodeId, Advertisement>, CoordinationError> {
        let State::Advertising { all } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        let all = read(all, Advertisement::from_bytes)?;
        self.enough(all.len())?;
        let mask_keys = all.iter().map(|(id, advertisement)| (*id, advertisement.mask_key)).collect();
        self.state = State::Sharing { t1: t1(self.manifest.sid(), all.values()), mask_keys, all: BTreeMap::new() };
        Ok(all)
    }

    /// R1: takes a site's shares.
    ///
    /// # Errors
    /// When they are not its own or not for everybody; nothing has changed then.
    pub fn shared(&mut self, message: &Shares) -> Result<(), CoordinationError> {
        let State::Sharing { t1, mask_keys, .. } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        if !mask_keys.contains_key(&message.id) {
            return Err(CoordinationError::Unexpected(message.id));
        }
        let digest = hash([message.signed_part().as_slice()]);
        self.verify(message.id, &shares_text(t1, &digest), &message.signature)?;
        if !message.receivers.keys().eq(mask_keys.keys()) {
            return Err(CoordinationError::Entries(message.id));
        }
        let State::Sharing { all, .. } = &mut self.state else { return Err(CoordinationError::OutOfTurn) };
        insert(all, message.id, message.to_bytes())
    }

    /// Ends R1: the shares of everybody who has sent some. Each site needs those for it and all commitments.
    ///
    /// # Errors
    /// When too few have; the sum has to be given up.
    pub fn close_sharing(&mut self) -> Result<BTreeMap<NodeId, Shares>, CoordinationError> {
        let State::Sharing { t1, mask_keys, all } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        let all = read(all, Shares::from_bytes)?;
        self.enough(all.len())?;
        let digests: BTreeMap<NodeId, [u8; 32]> =
            all.iter().map(|(id, shares)| (*id, hash([shares.signed_part().as_slice()]))).collect();
        let t2 = t2(t1, digests.iter().map(|(id, digest)| (id, *digest)));
        let member = |(id, shares): (&NodeId, &Shares)| {
            let commitments =
                shares.receivers.iter().map(|(id, share)| (*id, (share.key_commitment, share.seed_commitment)));
            let member = Member {
                mask_key: mask_keys[id],
                seed_commitment: shares.seed_commitment,
                shares: commitments.collect(),
            };
            (*id, member)
        };
        let members = all.iter().map(member).collect();
        self.state = State::Masking(Sum { t2, members, arrived: BTreeMap::new() });
        Ok(all)
    }

    /// R2: takes a site's masked update. The caller keeps its words.
    ///
    /// # Errors
    /// When it is not the one that the site has signed; nothing has changed then.
    pub fn masked(&mut self, message: &Masked, words: &[u32]) -> Result<(), CoordinationError> {
        let State::Masking(sum) = &self.state else { return Err(CoordinationError::OutOfTurn) };
        let id = message.id;
        if !sum.members.contains_key(&id) {
            return Err(CoordinationError::Unexpected(id));
        }
        if sum.arrived.get(&id).is_some_and(|known| *known != message.digest) {
            return Err(CoordinationError::Repeated(id));
        }
        // A retry after a lost answer is checked all the same: its words take the place of those that are stored.
        self.verify(id, &masked_text(&sum.t2, id, message.words, &message.digest), &message.signature)?;
        let expected = self.manifest.words();
        if words.len() != expected || message.words != expected as u64 {
            return Err(CoordinationError::Length { id, found: words.len(), expected });
        }
        if hash_of_words(words) != message.digest {
            return Err(CoordinationError::Content(id));
        }
        let State::Masking(sum) = &mut self.state else { return Err(CoordinationError::OutOfTurn) };
        sum.arrived.insert(id, message.digest);
        Ok(())
    }

    /// Ends R2: whose updates are in the sum.
    ///
    /// # Errors
    /// When too few have arrived; the sum has to be given up.
    pub fn close_masking(&mut self) -> Result<Survivors, CoordinationError> {
        let State::Masking(sum) = &self.state else { return Err(CoordinationError::OutOfTurn) };
        self.enough(sum.arrived.len())?;
        let sum = sum.clone();
        let survivors = Survivors(sum.arrived.clone());
        let t3 = t3(&sum.t2, &survivors);
        self.state = State::Agreeing { sum, t3, all: BTreeMap::new() };
        Ok(survivors)
    }

    /// R3: takes a site's signature under the list.
    ///
    /// # Errors
    /// When it is not its own or under another list; nothing has changed then.
    pub fn agreed(&mut self, message: &Agreement) -> Result<(), CoordinationError> {
        let State::Agreeing { sum, t3, .. } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        if !sum.arrived.contains_key(&message.id) {
            return Err(CoordinationError::Unexpected(message.id));
        }
        self.verify(message.id, &agreement_text(t3), &message.signature)?;
        let State::Agreeing { all, .. } = &mut self.state else { return Err(CoordinationError::OutOfTurn) };
        insert(all, message.id, message.to_bytes())
    }

    /// Ends R3: the signatures for everybody.
    ///
    /// # Errors
    /// When fewer than the threshold have signed; more may still come.
    pub fn close_agreeing(&mut self) -> Result<BTreeMap<NodeId, Agreement>, CoordinationError> {
        let State::Agreeing { sum, all, .. } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        let all = read(all, Agreement::from_bytes)?;
        let needed = self.manifest.threshold();
        if all.len() < needed {
            return Err(CoordinationError::TooFew { found: all.len(), needed });
        }
        self.state = State::Unmasking { sum: sum.clone(), all: BTreeMap::new() };
        Ok(all)
    }

    /// R4: takes a site's shares for unmasking.
    ///
    /// # Errors
    /// When one of them is not what was committed to; nothing has changed then.
    pub fn unmasked(&mut self, message: &Unmasking) -> Result<(), CoordinationError> {
        let State::Unmasking { sum, .. } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        let from = message.id;
        if !sum.arrived.contains_key(&from) {
            return Err(CoordinationError::Unexpected(from));
        }
        let survivors = sum.arrived.keys();
        let dropped = sum.members.keys().filter(|id| !sum.arrived.contains_key(id));
        if !message.seeds.keys().eq(survivors) || !message.keys.keys().eq(dropped) {
            return Err(CoordinationError::Entries(from));
        }
        let sid = self.manifest.sid();
        for (of, share, kind) in (message.seeds.iter().map(|(of, share)| (of, share, Of::Seed)))
            .chain(message.keys.iter().map(|(of, share)| (of, share, Of::Key)))
        {
            let commitment = sum.members[of].shares.get(&from).map(|(key, seed)| match kind {
                Of::Key => *key,
                Of::Seed => *seed,
            });
            if commitment != Some(share_commitment(sid, kind, *of, from, share)) {
                return Err(CoordinationError::Share { from, of: *of });
            }
        }
        let State::Unmasking { all, .. } = &mut self.state else { return Err(CoordinationError::OutOfTurn) };
        insert(all, from, message.to_bytes())
    }

    /// Whether enough shares have come.
    pub fn can_finish(&self) -> bool {
        matches!(&self.state, State::Unmasking { all, .. } if all.len() >= self.manifest.threshold())
    }

    /// The masks in the sum of the survivors' words.
    ///
    /// # Errors
    /// When too few shares have come, or a site has shared another secret than it has committed to.
    pub fn finish(&self) -> Result<Masks, CoordinationError> {
        let State::Unmasking { sum, all } = &self.state else { return Err(CoordinationError::OutOfTurn) };
        let answers = read(all, Unmasking::from_bytes)?;
        let needed = self.manifest.threshold();
        if answers.len() < needed {
            return Err(CoordinationError::TooFew { found: answers.len(), needed });
        }
        let sid = self.manifest.sid();
        let shares = |of: NodeId, pick: fn(&Unmasking) -> &BTreeMap<NodeId, [u8; 32]>| {
            let shares: Vec<(u8, &[u8; 32])> =
                answers.iter().take(needed).map(|(from, answer)| (from.x(), &pick(answer)[&of])).collect();
            shamir::combine(&shares)
        };
        let mut keys = Vec::new();
        for (id, member) in &sum.members {
            if sum.arrived.contains_key(id) {
                let seed = shares(*id, |answer| &answer.seeds);
                if seed_commitment(sid, *id, &seed) != member.seed_commitment {
                    return Err(CoordinationError::Secret(*id));
                }
                keys.push((self_key(&sum.t2, &seed, *id), Sign::Minus));
                continue;
            }
            let secret = StaticSecret::from(*shares(*id, |answer| &answer.keys));
            if PublicKey::from(&secret).to_bytes() != member.mask_key {
                return Err(CoordinationError::Secret(*id));
            }
            for survivor in sum.arrived.keys() {
                let shared = secret.diffie_hellman(&PublicKey::from(sum.members[survivor].mask_key));
                // The survivor added it where the other's number is larger.
                let sign = if survivor < id { Sign::Minus } else { Sign::Plus };
                keys.push((pair_key(&sum.t2, shared.as_bytes(), *survivor, *id), sign));
            }
        }
        Ok(Masks { survivors: self.arrived().collect(), keys })
    }
}

fn insert(all: &mut BTreeMap<NodeId, Vec<u8>>, id: NodeId, message: Vec<u8>) -> Result<(), CoordinationError> {
    match all.entry(id) {
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(message);
            Ok(())
        }
        // A retry after a lost answer.
        std::collections::btree_map::Entry::Occupied(place) if *place.get() == message => Ok(()),
        std::collections::btree_map::Entry::Occupied(_) => Err(CoordinationError::Repeated(id)),
    }
}

fn read<T, E>(
    all: &BTreeMap<NodeId, Vec<u8>>,
    message: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<BTreeMap<NodeId, T>, CoordinationError> {
    let read =
        |(id, bytes): (&NodeId, &Vec<u8>)| Ok((*id, message(bytes).map_err(|_| CoordinationError::Entries(*id))?));
    all.iter().map(read).collect()
}

//! A site's part in a secure sum.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::messages::{Advertisement, Agreement, Masked, NodeId, SEALED, ShareFor, Shares, Survivors, Unmasking};
use super::primitives::{Secret, Sign, derive, hash, hash_of_words, mask};
use super::roster::Roster;
use super::{Basis, Manifest, shamir};
use crate::Digest;

/// What a site knows before it joins a sum, and what it keeps between sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its number in the roster.
    pub id: NodeId,
    /// Of the roster that its administrator has approved.
    pub approved_roster: Digest,
    /// Round and attempt of the newest sum that it has joined in each training session.
    pub joined: BTreeMap<String, (u32, u32)>,
    /// The newest round of each training session in which it has given shares away to unmask a sum. Two sums of the same
    /// updates with different survivors would reveal the difference.
    pub unmasked: BTreeMap<String, u32>,
}

/// Why a site does not join, or ends a sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// The manifest names a roster that nobody here has approved.
    #[error("the sum uses roster {found}, approved here is {approved}: compare fingerprints with the consortium first")]
    Roster {
        /// In the manifest.
        found: Digest,
        /// Here.
        approved: Digest,
    },
    /// The site is not among the participants.
    #[error("site {0} does not take part in this sum")]
    NotInvited(NodeId),
    /// A participant is not in the roster.
    #[error("participant {0} is not in the roster: the coordinator names a hospital that the consortium does not know")]
    Stranger(NodeId),
    /// Trained from another model, or otherwise.
    #[error("the sum is about updates with another {what} than this site's")]
    Basis {
        /// What differs.
        what: &'static str,
    },
    /// Joined before, or overtaken.
    #[error("round {round}, attempt {attempt} is not newer than what this site has joined before")]
    Stale {
        /// In the manifest.
        round: u32,
        /// In the manifest.
        attempt: u32,
    },
    /// Another attempt of a round whose sum may be known already.
    #[error(
        "this site has already helped to unmask a sum of round {round}: another attempt with other survivors would reveal \
         the difference between both"
    )]
    UnmaskedBefore {
        /// The round.
        round: u32,
    },
    /// Fewer than the quorum.
    #[error("{found} sites are left, at least {needed} are needed")]
    TooFew {
        /// Found.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// Somebody who is not allowed in this list.
    #[error("site {0} is in a list where it does not belong")]
    Unexpected(NodeId),
    /// The own entry is missing or changed.
    #[error("the coordinator passes on something else than what this site sent")]
    OwnChanged,
    /// A signature that is not the named site's.
    #[error("the signature of site {0} is not valid")]
    Signature(NodeId),
    /// A key that two sites have, or that gives no secret.
    #[error("the key of site {0} cannot be used: it is repeated, or gives no secret")]
    WeakKey(NodeId),
    /// A box that cannot be opened.
    #[error("the shares of site {0} cannot be decrypted: they were changed, or are for somebody else")]
    Sealed(NodeId),
    /// A share that is not the one committed to.
    #[error("a share of site {0} is not the one that it has committed to")]
    Commitment(NodeId),
    /// A message without an entry for everybody.
    #[error("the message of site {0} does not have exactly one entry for each participant")]
    Entries(NodeId),
    /// The update is of another size.
    #[error("the update has {found} words, expected {expected}")]
    Length {
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// Not enough signatures under the list of survivors.
    #[error("{found} valid signatures under this list of survivors, {needed} are needed")]
    TooFewAgree {
        /// Found.
        found: usize,
        /// Needed.
        needed: usize,
    },
    /// Shares were given for another list.
    #[error("this site has answered another request of this sum; it answers no second one")]
    AnsweredOther,
    /// A message at the wrong time. The sum goes on.
    #[error("this message is not expected now")]
    OutOfTurn,
    /// An earlier error ended it.
    #[error("this sum has ended here")]
    Ended,
}

/// Randomness of a sum, made by the caller: every byte uniform and used once.
#[derive(Zeroize, ZeroizeOnDrop, Clone, Serialize, Deserialize)]
pub struct Randomness {
    pub(super) box_key: [u8; 32],
    pub(super) mask_key: [u8; 32],
    pub(super) seed: [u8; 32],
    pub(super) key_coefficients: Vec<[u8; 32]>,
    seed_coefficients: Vec<[u8; 32]>,
}

impl Randomness {
    /// Asks `fill` for what a sum with this threshold needs: the two key pairs, the self-mask's seed, then the coefficients
    /// of the mask key's shares and of the seed's, 32 bytes each.
    pub fn draw(threshold: usize, mut fill: impl FnMut(&mut [u8])) -> Self {
        let mut next = || {
            let mut bytes = [0; 32];
            fill(&mut bytes);
            bytes
        };
        let (box_key, mask_key, seed) = (next(), next(), next());
        let mut coefficients = || (1..threshold).map(|_| next()).collect();
        Self { box_key, mask_key, seed, key_coefficients: coefficients(), seed_coefficients: coefficients() }
    }
}

/// Both shares of a peer's secrets, or both of one's own that one keeps.
#[derive(Zeroize, ZeroizeOnDrop, Clone, Serialize, Deserialize)]
struct Pair {
    key: [u8; 32],
    seed: [u8; 32],
}

/// A site in one sum. Whoever drives it steps a copy, stores that durably (encrypted: it holds secrets), and only then sends
/// what the step gave; an error leaves nothing to store but the end.
#[derive(Clone, Serialize, Deserialize)]
pub struct Node {
    id: NodeId,
    manifest: Manifest,
    keys: BTreeMap<NodeId, Digest>,
    random: Randomness,
    state: State,
}

#[derive(Clone, Serialize, Deserialize)]
enum State {
    Advertised { own: Digest },
    Shared { t1: [u8; 32], peers: BTreeMap<NodeId, PeerKeys>, own_digest: [u8; 32], own: Pair },
    Masked { t2: [u8; 32], members: BTreeMap<NodeId, Pair>, digest: [u8; 32] },
    Agreed { t3: [u8; 32], members: BTreeMap<NodeId, Pair>, survivors: Survivors },
    Answered { t3: [u8; 32], answer: Vec<u8> },
    Ended,
}

/// The public keys of an advertisement.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct PeerKeys {
    box_key: [u8; 32],
    mask_key: [u8; 32],
}

impl std::fmt::Debug for Node {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Advertised { .. } => "advertised",
            State::Shared { .. } => "shared",
            State::Masked { .. } => "masked",
            State::Agreed { .. } => "agreed",
            State::Answered { .. } => "answered",
            State::Ended => "ended",
        };
        write!(f, "Node({}, {state})", self.id)
    }
}

fn public(secret: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

/// The secret of two key pairs, unless the other's key makes it no secret.
fn agree(secret: &[u8; 32], public: [u8; 32]) -> Option<Secret> {
    let shared = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(public));
    shared.was_contributory().then(|| Secret::new(shared.to_bytes()))
}

pub(super) fn pair_key(t2: &[u8; 32], shared: &[u8; 32], a: NodeId, b: NodeId) -> Secret {
    derive(t2, shared, &[b"FLSA1/pair", &a.min(b).bytes(), &a.max(b).bytes()])
}

pub(super) fn self_key(t2: &[u8; 32], seed: &[u8; 32], id: NodeId) -> Secret {
    derive(t2, seed, &[b"FLSA1/self", &id.bytes()])
}

pub(super) fn seed_commitment(sid: &[u8; 32], id: NodeId, seed: &[u8; 32]) -> [u8; 32] {
    hash([b"FLSA1/cB".as_slice(), sid, &id.bytes(), seed])
}

/// Which of a site's two secrets a share is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Key,
    Seed,
}

pub(super) fn share_commitment(sid: &[u8; 32], of: Of, from: NodeId, to: NodeId, share: &[u8; 32]) -> [u8; 32] {
    let label: &[u8] = match of {
        Of::Key => b"FLSA1/cs",
        Of::Seed => b"FLSA1/cb",
    };
    hash([label, sid, &from.bytes(), &to.bytes(), share])
}

pub(super) fn t1<'a>(sid: &[u8; 32], all: impl Iterator<Item = &'a Advertisement>) -> [u8; 32] {
    let parts: Vec<u8> = all.flat_map(Advertisement::signed_part).collect();
    hash([b"FLSA1/t1".as_slice(), sid, &parts])
}

pub(super) fn t2<'a>(t1: &[u8; 32], all: impl Iterator<Item = (&'a NodeId, [u8; 32])>) -> [u8; 32] {
    let parts: Vec<u8> = all.flat_map(|(id, digest)| id.bytes().into_iter().chain(digest)).collect();
    hash([b"FLSA1/t2".as_slice(), t1, &parts])
}

pub(super) fn t3(t2: &[u8; 32], survivors: &Survivors) -> [u8; 32] {
    let parts: Vec<u8> = survivors.0.iter().flat_map(|(id, digest)| id.bytes().into_iter().chain(*digest)).collect();
    hash([b"FLSA1/t3".as_slice(), t2, &parts])
}

pub(super) fn advertisement_text(sid: &[u8; 32], advertisement: &Advertisement) -> Vec<u8> {
    [b"FLSA1/adv".as_slice(), sid, &advertisement.signed_part()].concat()
}

pub(super) fn shares_text(t1: &[u8; 32], digest: &[u8; 32]) -> Vec<u8> {
    [b"FLSA1/r1".as_slice(), t1, digest].concat()
}

pub(super) fn masked_text(t2: &[u8; 32], id: NodeId, words: u64, digest: &[u8; 32]) -> Vec<u8> {
    [b"FLSA1/r2".as_slice(), t2, &id.bytes(), &words.to_le_bytes(), digest].concat()
}

pub(super) fn agreement_text(t3: &[u8; 32]) -> Vec<u8> {
    [b"FLSA1/r3".as_slice(), t3].concat()
}

pub(super) fn is_signed(key: &VerifyingKey, text: &[u8], signature: &[u8; 64]) -> bool {
    key.verify_strict(text, &Signature::from_bytes(signature)).is_ok()
}

impl Basis {
    /// Whether a sum about this takes an update that is about `own`.
    pub(super) fn expect(&self, own: &Basis) -> Result<(), Abort> {
        let parts = [
            ("global model", self.model == own.model),
            ("network", self.schema == own.schema),
            ("training configuration", self.config == own.config),
        ];
        match parts.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(Abort::Basis { what }),
            None => Ok(()),
        }
    }
}

impl Node {
    /// R0: joins a sum. `basis` is what the site's update is about.
    ///
    /// # Errors
    /// When the site does not want to take part, for its own or the others' sake.
    pub fn join(
        manifest: Manifest,
        roster: &Roster,
        standing: &mut Standing,
        basis: &Basis,
        random: Randomness,
        identity: &SigningKey,
    ) -> Result<(Self, Advertisement), Abort> {
        let id = standing.id;
        if manifest.roster() != standing.approved_roster || roster.digest() != standing.approved_roster {
            return Err(Abort::Roster { found: manifest.roster(), approved: standing.approved_roster });
        }
        if !manifest.participants().contains(&id) {
            return Err(Abort::NotInvited(id));
        }
        let (round, attempt) = manifest.turn();
        if standing.joined.get(manifest.job()).is_some_and(|joined| *joined >= (round, attempt)) {
            return Err(Abort::Stale { round, attempt });
        }
        let mut keys = BTreeMap::new();
        for member in manifest.participants() {
            let key = roster.key(*member).ok_or(Abort::Stranger(*member))?;
            keys.insert(*member, Digest::from(key.to_bytes()));
        }
        if keys.get(&id) != Some(&Digest::from(identity.verifying_key().to_bytes())) {
            return Err(Abort::Signature(id));
        }
        manifest.basis().expect(basis)?;
        if standing.unmasked.get(manifest.job()).is_some_and(|unmasked| *unmasked >= round) {
            return Err(Abort::UnmaskedBefore { round });
        }
        let mut advertisement = Advertisement {
            id,
            box_key: public(&random.box_key),
            mask_key: public(&random.mask_key),
            signature: [0; 64],
        };
        advertisement.signature = identity.sign(&advertisement_text(manifest.sid(), &advertisement)).to_bytes();
        standing.joined.insert(manifest.job().to_owned(), (round, attempt));
        let own = Digest::of_bytes(&advertisement.to_bytes());
        Ok((Self { id, manifest, keys, random, state: State::Advertised { own } }, advertisement))
    }

    /// What the sum is about.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it has ended here with an error.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Any error but a message at the wrong time ends the sum here.
    fn ended<T>(&mut self, result: Result<T, Abort>) -> Result<T, Abort> {
        if result.as_ref().is_err_and(|abort| !matches!(abort, Abort::OutOfTurn)) {
            self.random.zeroize();
            self.state = State::Ended;
        }
        result
    }

    fn out_of_turn(&self) -> Abort {
        if self.has_ended() { Abort::Ended } else { Abort::OutOfTurn }
    }

    fn key(&self, id: NodeId) -> Result<VerifyingKey, Abort> {
        let bytes = self.keys.get(&id).ok_or(Abort::Unexpected(id))?;
        VerifyingKey::from_bytes(bytes.as_bytes()).map_err(|_| Abort::Signature(id))
    }

    fn enough(&self, found: usize) -> Result<(), Abort> {
        let needed = self.manifest.quorum();
        if found < needed { Err(Abort::TooFew { found, needed }) } else { Ok(()) }
    }

    /// R1: shares its two secrets among those who have advertised keys.
    ///
    /// # Errors
    /// When the list of keys is not one that the site accepts.
    pub fn share(&mut self, all: &BTreeMap<NodeId, Advertisement>, identity: &SigningKey) -> Result<Shares, Abort> {
        let result = self.try_share(all, identity);
        self.ended(result)
    }

    fn try_share(&mut self, all: &BTreeMap<NodeId, Advertisement>, identity: &SigningKey) -> Result<Shares, Abort> {
        let State::Advertised { own } = &self.state else { return Err(self.out_of_turn()) };
        self.enough(all.len())?;
        if all.get(&self.id).is_none_or(|mine| Digest::of_bytes(&mine.to_bytes()) != *own) {
            return Err(Abort::OwnChanged);
        }
        let sid = self.manifest.sid();
        let mut seen = std::collections::BTreeSet::new();
        for (id, advertisement) in all {
            let key = self.key(*id)?;
            if advertisement.id != *id {
                return Err(Abort::Unexpected(*id));
            }
            if !is_signed(&key, &advertisement_text(sid, advertisement), &advertisement.signature) {
                return Err(Abort::Signature(*id));
            }
            if !seen.insert(advertisement.box_key) || !seen.insert(advertisement.mask_key) {
                return Err(Abort::WeakKey(*id));
            }
        }
        let t1 = t1(sid, all.values());
        let secret = |bytes: &[[u8; 32]]| bytes.iter().map(|bytes| Secret::new(*bytes)).collect::<Vec<_>>();
        let (of_key, of_seed) = (secret(&self.random.key_coefficients), secret(&self.random.seed_coefficients));
        let mut receivers = BTreeMap::new();
        let mut kept = None;
        for (id, advertisement) in all {
            let key = shamir::share(&self.random.mask_key, &of_key, id.x());
            let seed = shamir::share(&self.random.seed, &of_seed, id.x());
            let sealed = if *id == self.id {
                kept = Some(Pair { key: *key, seed: *seed });
                None
            } else {
                // A mask key that gives no secret must be found before anything is sent.
                agree(&self.random.mask_key, advertisement.mask_key).ok_or(Abort::WeakKey(*id))?;
                let shared = agree(&self.random.box_key, advertisement.box_key).ok_or(Abort::WeakKey(*id))?;
                Some(seal(&t1, sid, &shared, self.id, *id, &key, &seed)?)
            };
            receivers.insert(
                *id,
                ShareFor {
                    key_commitment: share_commitment(sid, Of::Key, self.id, *id, &key),
                    seed_commitment: share_commitment(sid, Of::Seed, self.id, *id, &seed),
                    sealed,
                },
            );
        }
        let seed_commitment = seed_commitment(sid, self.id, &self.random.seed);
        let mut shares = Shares { id: self.id, seed_commitment, receivers, signature: [0; 64] };
        let own_digest = hash([shares.signed_part().as_slice()]);
        shares.signature = identity.sign(&shares_text(&t1, &own_digest)).to_bytes();
        let keys = |a: &Advertisement| PeerKeys { box_key: a.box_key, mask_key: a.mask_key };
        let peers = all.iter().map(|(id, advertisement)| (*id, keys(advertisement))).collect();
        let own = kept.ok_or(Abort::OwnChanged)?;
        self.state = State::Shared { t1, peers, own_digest, own };
        Ok(shares)
    }

    /// R2: opens the shares of the others and masks the update in place. `words` is what
    /// [`Encoding::encode`](super::Encoding::encode) gave; afterwards it is uniformly random to whoever lacks the masks.
    ///
    /// # Errors
    /// When a share does not open or is not the one committed to; the words are then unchanged.
    pub fn mask(
        &mut self,
        all: &BTreeMap<NodeId, Shares>,
        words: &mut [u32],
        identity: &SigningKey,
    ) -> Result<Masked, Abort> {
        let result = self.try_mask(all, words, identity);
        self.ended(result)
    }

    fn try_mask(
        &mut self,
        all: &BTreeMap<NodeId, Shares>,
        words: &mut [u32],
        identity: &SigningKey,
    ) -> Result<Masked, Abort> {
        let State::Shared { t1, peers, own_digest, own } = &self.state else { return Err(self.out_of_turn()) };
        let expected = self.manifest.words();
        if words.len() != expected {
            return Err(Abort::Length { found: words.len(), expected });
        }
        self.enough(all.len())?;
        let sid = self.manifest.sid();
        let mut digests = BTreeMap::new();
        let mut members = BTreeMap::new();
        for (id, shares) in all {
            let theirs = peers.get(id).ok_or(Abort::Unexpected(*id))?;
            let digest = hash([shares.signed_part().as_slice()]);
            if shares.id != *id {
                return Err(Abort::Unexpected(*id));
            }
            if !is_signed(&self.key(*id)?, &shares_text(t1, &digest), &shares.signature) {
                return Err(Abort::Signature(*id));
            }
            if !shares.receivers.keys().eq(peers.keys()) {
                return Err(Abort::Entries(*id));
            }
            digests.insert(*id, digest);
            if *id == self.id {
                if digest != *own_digest {
                    return Err(Abort::OwnChanged);
                }
                members.insert(*id, own.clone());
                continue;
            }
            let mine = shares.receivers.get(&self.id).ok_or(Abort::Entries(*id))?;
            let sealed = mine.sealed.as_ref().ok_or(Abort::Entries(*id))?;
            let shared = agree(&self.random.box_key, theirs.box_key).ok_or(Abort::WeakKey(*id))?;
            let pair = open(t1, sid, &shared, *id, self.id, sealed)?;
            if share_commitment(sid, Of::Key, *id, self.id, &pair.key) != mine.key_commitment
                || share_commitment(sid, Of::Seed, *id, self.id, &pair.seed) != mine.seed_commitment
            {
                return Err(Abort::Commitment(*id));
            }
            members.insert(*id, pair);
        }
        if !members.contains_key(&self.id) {
            return Err(Abort::OwnChanged);
        }
        let t2 = t2(t1, digests.iter().map(|(id, digest)| (id, *digest)));
        let mut masks = vec![(self_key(&t2, &self.random.seed, self.id), Sign::Plus)];
        for id in members.keys().filter(|id| **id != self.id) {
            let shared = agree(&self.random.mask_key, peers[id].mask_key).ok_or(Abort::WeakKey(*id))?;
            let sign = if *id > self.id { Sign::Plus } else { Sign::Minus };
            masks.push((pair_key(&t2, &shared, self.id, *id), sign));
        }
        for (key, sign) in &masks {
            mask(key, *sign, words);
        }
        let digest = hash_of_words(words);
        let length = words.len() as u64;
        let signature = identity.sign(&masked_text(&t2, self.id, length, &digest)).to_bytes();
        self.state = State::Masked { t2, members, digest };
        Ok(Masked { id: self.id, words: length, digest, signature })
    }

    /// R3: signs the list of those whose masked updates have arrived.
    ///
    /// # Errors
    /// When the list is not one that the site accepts.
    pub fn agree(&mut self, survivors: &Survivors, identity: &SigningKey) -> Result<Agreement, Abort> {
        let result = self.try_agree(survivors, identity);
        self.ended(result)
    }

    fn try_agree(&mut self, survivors: &Survivors, identity: &SigningKey) -> Result<Agreement, Abort> {
        let State::Masked { t2, members, digest } = &self.state else { return Err(self.out_of_turn()) };
        if let Some(stranger) = survivors.0.keys().find(|id| !members.contains_key(id)) {
            return Err(Abort::Unexpected(*stranger));
        }
        if survivors.0.get(&self.id) != Some(digest) {
            return Err(Abort::OwnChanged);
        }
        self.enough(survivors.0.len())?;
        let t3 = t3(t2, survivors);
        let signature = identity.sign(&agreement_text(&t3)).to_bytes();
        self.state = State::Agreed { t3, members: members.clone(), survivors: survivors.clone() };
        Ok(Agreement { id: self.id, signature })
    }

    /// R4: gives the shares that take the masks off the sum: seeds of those who survived, mask keys of those who dropped
    /// out, never both of one site. The answer must be stored before it is sent; the same request gets the same answer, any
    /// other is refused for ever.
    ///
    /// # Errors
    /// When fewer sites than the threshold have signed this very list.
    pub fn unmask(
        &mut self,
        agreements: &BTreeMap<NodeId, Agreement>,
        standing: &mut Standing,
    ) -> Result<Unmasking, Abort> {
        let (t3, survivors, answered) = match &self.state {
            State::Agreed { t3, survivors, .. } => (*t3, Some(survivors), None),
            State::Answered { t3, answer } => (*t3, None, Some(answer)),
            _ => return Err(self.out_of_turn()),
        };
        let mut valid = 0;
        for (id, agreement) in agreements {
            let may = survivors.is_none_or(|survivors| survivors.0.contains_key(id));
            let signed = |key| is_signed(&key, &agreement_text(&t3), &agreement.signature);
            valid += usize::from(agreement.id == *id && may && self.key(*id).is_ok_and(signed));
        }
        let needed = self.manifest.threshold();
        if valid < needed {
            // Not the end: the coordinator may still gather more signatures. But whoever signed another list lied.
            return Err(if answered.is_some() {
                Abort::AnsweredOther
            } else {
                Abort::TooFewAgree { found: valid, needed }
            });
        }
        if let Some(answer) = answered {
            return Unmasking::from_bytes(answer).map_err(|_| Abort::Ended);
        }
        let State::Agreed { members, survivors, .. } = &self.state else { return Err(Abort::OutOfTurn) };
        let mut unmasking = Unmasking { id: self.id, seeds: BTreeMap::new(), keys: BTreeMap::new() };
        for (id, pair) in members {
            if survivors.0.contains_key(id) {
                unmasking.seeds.insert(*id, pair.seed);
            } else {
                unmasking.keys.insert(*id, pair.key);
            }
        }
        let (round, _) = self.manifest.turn();
        standing.unmasked.insert(self.manifest.job().to_owned(), round);
        self.state = State::Answered { t3, answer: unmasking.to_bytes() };
        self.random.zeroize();
        Ok(unmasking)
    }
}

fn box_cipher(t1: &[u8; 32], shared: &[u8; 32], from: NodeId, to: NodeId) -> ChaCha20Poly1305 {
    let key = derive(t1, shared, &[b"FLSA1/enc", &from.bytes(), &to.bytes()]);
    ChaCha20Poly1305::new(&Key::from(*key))
}

fn box_context(sid: &[u8; 32], from: NodeId, to: NodeId) -> Vec<u8> {
    [b"FLSA1/share".as_slice(), sid, &from.bytes(), &to.bytes()].concat()
}

fn seal(
    t1: &[u8; 32],
    sid: &[u8; 32],
    shared: &[u8; 32],
    from: NodeId,
    to: NodeId,
    key: &[u8; 32],
    seed: &[u8; 32],
) -> Result<[u8; SEALED], Abort> {
    let mut message = [key.as_slice(), seed].concat();
    // The key is used once, so a fixed nonce is safe.
    let payload = Payload { msg: &message, aad: &box_context(sid, from, to) };
    let sealed = box_cipher(t1, shared, from, to).encrypt(&Nonce::from([0; 12]), payload);
    message.zeroize();
    sealed.ok().and_then(|sealed| sealed.try_into().ok()).ok_or(Abort::Sealed(to))
}

fn open(
    t1: &[u8; 32],
    sid: &[u8; 32],
    shared: &[u8; 32],
    from: NodeId,
    to: NodeId,
    sealed: &[u8; SEALED],
) -> Result<Pair, Abort> {
    let payload = Payload { msg: sealed, aad: &box_context(sid, from, to) };
    let opened = box_cipher(t1, shared, from, to).decrypt(&Nonce::from([0; 12]), payload);
    let mut opened = opened.map_err(|_| Abort::Sealed(from))?;
    let parts = opened.split_first_chunk::<32>().and_then(|(key, rest)| Some((*key, *rest.first_chunk::<32>()?)));
    let pair = parts.map(|(key, seed)| Pair { key, seed }).ok_or(Abort::Sealed(from));
    opened.zeroize();
    pair
}

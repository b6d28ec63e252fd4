//! A site in the sums of one training session: what it replies to which request, also when a request comes twice.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use super::manifest::Basis;
use super::node::{Abort, Node, Randomness, Standing};
use super::request::{Reply, Request};
use super::roster::Roster;
use super::{Encoding, EncodingError, Manifest};
use crate::Digest;

/// Everything of a site that must outlive its process while a session runs. It holds secrets: whoever stores it encrypts it.
/// A reply may only be sent when the participant that gave it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Participant {
    standing: Standing,
    node: Option<Node>,
    last: Option<Last>,
}

/// The newest request and the bytes of the reply to it.
#[derive(Clone, Serialize, Deserialize)]
struct Last {
    request: Digest,
    reply: Vec<u8>,
}

/// What a site has at hand when it replies.
pub struct Surroundings<'a> {
    /// The roster that its administrator has approved.
    pub roster: &'a Roster,
    /// Its key.
    pub identity: &'a SigningKey,
    /// What its update is about.
    pub basis: Basis,
    /// Fills bytes with randomness.
    pub fill: &'a mut dyn FnMut(&mut [u8]),
    /// The update as words.
    pub encode: &'a mut dyn FnMut(&Encoding) -> Result<Vec<u32>, EncodingError>,
}

/// What a site sends.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message.
    pub reply: Reply,
    /// The masked words of [`Reply::Masked`], when they were just made: to be stored with the participant. A repeated request
    /// gets the stored ones.
    pub words: Option<Vec<u32>>,
}

/// Why a site does not reply as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not accept the request.
    #[error(transparent)]
    Abort(#[from] Abort),
    /// It has no update that can be summed.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

impl Refusal {
    /// Whether the request is merely old or early: nothing is to be said about it.
    pub fn is_out_of_turn(&self) -> bool {
        matches!(self, Self::Abort(Abort::OutOfTurn))
    }
}

impl Participant {
    /// A site that has joined no sum yet.
    pub fn new(standing: Standing) -> Self {
        Self { standing, node: None, last: None }
    }

    /// What it remembers of sums.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What the newest sum that it has joined is about.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.node.as_ref().map(Node::manifest)
    }

    /// Name of the sums that it belongs to.
    pub fn job(&self) -> Option<&str> {
        self.manifest().map(Manifest::job)
    }

    /// The reply to a request; the same one when the newest request comes again.
    ///
    /// # Errors
    /// When the site does not accept it. The participant must be stored all the same: the sum may have ended here.
    pub fn answer(&mut self, request: &Request, around: &mut Surroundings<'_>) -> Result<Answer, Refusal> {
        let digest = request.digest();
        if let Some(last) = self.last.as_ref().filter(|last| last.request == digest) {
            let reply = Reply::from_bytes(&last.reply).map_err(|_| Abort::Ended)?;
            return Ok(Answer { reply, words: None });
        }
        // Late copies: of a request of another sum, or to join the one that it has joined.
        let own = self.manifest().map(|manifest| Digest::from(*manifest.sid()));
        if matches!(request, Request::Join(_)) == (own == Some(request.sid())) {
            return Err(Abort::OutOfTurn.into());
        }
        let mut words = None;
        let reply = match request {
            Request::Join(manifest) => {
                let random = Randomness::draw(manifest.threshold(), &mut *around.fill);
                let standing = &mut self.standing;
                let identity = around.identity;
                let joined =
                    Node::join(Manifest::clone(manifest), around.roster, standing, &around.basis, random, identity)?;
                self.node = Some(joined.0);
                Reply::Advertisement(joined.1)
            }
            Request::Share(_, all) => Reply::Shares(self.node()?.share(all, around.identity)?),
            Request::Mask(_, all) => {
                let node = self.node()?;
                // It may have been made to train from another model since it joined.
                node.manifest().basis().expect(&around.basis)?;
                let mut masked = (around.encode)(&node.manifest().encoding())?;
                let message = node.mask(all, &mut masked, around.identity)?;
                words = Some(masked);
                Reply::Masked(message)
            }
            Request::Agree(_, survivors) => Reply::Agreement(self.node()?.agree(survivors, around.identity)?),
            Request::Unmask(_, agreements) => {
                let node = self.node.as_mut().ok_or(Abort::OutOfTurn)?;
                Reply::Unmasking(node.unmask(agreements, &mut self.standing)?)
            }
        };
        self.last = Some(Last { request: digest, reply: reply.to_bytes() });
        Ok(Answer { reply, words })
    }

    fn node(&mut self) -> Result<&mut Node, Abort> {
        self.node.as_mut().ok_or(Abort::OutOfTurn)
    }
}

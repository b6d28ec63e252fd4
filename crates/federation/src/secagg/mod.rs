//! Secure aggregation, protocol FLSA1: Bonawitz et al. 2017 (CCS, eprint 2017/281) with signatures and a consistency round
//! (its active-server form), on words modulo 2³². The coordinator learns the sum of the sites' updates and no single one;
//! sites may drop out at any time, down to the threshold.
//!
//! ```text
//!        Node                                    Coordinator
//! R0  join       ── Advertisement ──▶  advertised … close_advertising ── all ──▶
//! R1  share      ── Shares ─────────▶  shared … close_sharing ───────── all ──▶
//! R2  mask       ── Masked, words ──▶  masked … close_masking ── Survivors ────▶
//! R3  agree      ── Agreement ──────▶  agreed … close_agreeing ──────── all ──▶
//! R4  unmask     ── Unmasking ──────▶  unmasked … finish ── Masks of the sum
//! ```
//!
//! Neither side does I/O, reads a clock or draws a random number. Both are values that their drivers store: a step is taken
//! on a copy, made durable, and only then are its messages sent.
//!
//! A site trusts the consortium's signature under the [`Roster`], not the coordinator. What it signs and every key that it
//! derives contain the hashes of all that was said before, so that sites which were told different things produce masks
//! that do not cancel.

mod coordinator;
mod encoding;
mod manifest;
mod messages;
mod node;
mod participant;
mod primitives;
mod request;
mod roster;
mod shamir;
#[cfg(test)]
mod tests;
mod totals;
pub mod vectors;

pub use coordinator::{CoordinationError, Coordinator, Masks, Stage};
pub use encoding::{Decoded, Encoding, EncodingError, exponent};
pub use manifest::{Basis, LEAST_SITES, Manifest, ManifestError, PROTOCOL, Plan, least_threshold};
pub use messages::{
    Advertisement, Agreement, MalformedMessage, Masked, NodeId, NodeIdError, ShareFor, Shares, SignatureBytes,
    Survivors, Unmasking,
};
pub use node::{Abort, Node, Randomness, Standing};
pub use participant::{Answer, Participant, Refusal, Surroundings};
pub use request::{Reply, Request, Sid};
pub use roster::{Member, Roster, RosterError, SignedRoster};
pub use totals::Totals;

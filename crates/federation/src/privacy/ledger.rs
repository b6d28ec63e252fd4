//! What a site's data has cost over all sessions. Whoever trains records a round here, durably, before its update
//! leaves the site.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Accountant, DifferentialPrivacy, SampledGaussian};
use crate::SessionId;

/// Version of the records in this module; raised when a reader of the old one would misunderstand.
pub const LEDGER_SCHEMA_VERSION: u32 = 1;

/// One round of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// The session.
    pub session_id: SessionId,
    /// Its round, from 1.
    pub round: u32,
    /// What the round's update releases.
    pub mechanism: SampledGaussian,
}

/// Every round that a site has released something of, in the order of recording. The site's data is taken to be the same
/// throughout, so a scan that came later is thought to have lost more than it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Ledger {
    schema_version: u32,
    entries: Vec<LedgerEntry>,
}

/// Why a ledger cannot be read, or a round cannot take place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LedgerError {
    /// Written by another program.
    #[error(
        "the privacy ledger has schema version {found}, this program knows {LEDGER_SCHEMA_VERSION}: use a newer program"
    )]
    Version {
        /// The version that was found.
        found: u32,
    },
    /// The round stands there with other values.
    #[error(
        "the privacy ledger has round {round} of session {session_id} with other values (recorded: {recorded:?}, now: {given:?}): a round that is done again must be the same; use another session id"
    )]
    Differs {
        /// The session.
        session_id: SessionId,
        /// The round.
        round: u32,
        /// What the ledger has.
        recorded: SampledGaussian,
        /// What was to be recorded.
        given: SampledGaussian,
    },
    /// The round would cost more than is allowed.
    #[error(
        "the privacy budget does not allow this round: ε {spent:.4} is spent and {after:.4} would be after the round, the budget is {budget} at δ = {delta:e}; do not train on these scans any more, or let those responsible for the data decide on a larger budget"
    )]
    Budget {
        /// ε before the round.
        spent: f64,
        /// ε after it.
        after: f64,
        /// Largest ε that is allowed.
        budget: f64,
        /// The δ of all three.
        delta: f64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    schema_version: u32,
    entries: Vec<LedgerEntry>,
}

impl TryFrom<Unchecked> for Ledger {
    type Error = LedgerError;
    fn try_from(unchecked: Unchecked) -> Result<Self, LedgerError> {
        if unchecked.schema_version != LEDGER_SCHEMA_VERSION {
            return Err(LedgerError::Version { found: unchecked.schema_version });
        }
        let mut ledger = Self::default();
        for entry in unchecked.entries {
            ledger.record(entry)?;
        }
        Ok(ledger)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { schema_version: LEDGER_SCHEMA_VERSION, entries: Vec::new() }
    }
}

impl Ledger {
    /// What was recorded, oldest first.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// ε of everything recorded, at this δ.
    pub fn spent(&self, delta: f64) -> f64 {
        epsilon(&self.entries, delta)
    }

    /// ε at this δ once the round is recorded, too. A round that stands there already costs nothing more.
    ///
    /// # Errors
    /// [`LedgerError::Differs`].
    pub fn would_spend(&self, entry: &LedgerEntry, delta: f64) -> Result<f64, LedgerError> {
        let new = (!self.holds(entry)?).then_some(entry);
        Ok(epsilon(self.entries.iter().chain(new), delta))
    }

    /// Whether the round may take place; gives ε after it.
    ///
    /// # Errors
    /// [`LedgerError::Differs`], [`LedgerError::Budget`].
    pub fn authorise(&self, entry: &LedgerEntry, privacy: &DifferentialPrivacy) -> Result<f64, LedgerError> {
        let DifferentialPrivacy { epsilon: budget, delta, .. } = *privacy;
        let after = self.would_spend(entry, delta)?;
        if after <= budget {
            Ok(after)
        } else {
            Err(LedgerError::Budget { spent: self.spent(delta), after, budget, delta })
        }
    }

    /// Adds the round. One that is done again after a crash, with the same values, is not added twice: from the same scans,
    /// start and secret it gives the same update, and nobody learns more. With other scans it would be another release,
    /// which the ledger cannot know: that needs another session id.
    ///
    /// # Errors
    /// [`LedgerError::Differs`]; the ledger is as before.
    pub fn record(&mut self, entry: LedgerEntry) -> Result<(), LedgerError> {
        if !self.holds(&entry)? {
            self.entries.push(entry);
        }
        Ok(())
    }

    fn holds(&self, entry: &LedgerEntry) -> Result<bool, LedgerError> {
        let same_round = |e: &&LedgerEntry| e.session_id == entry.session_id && e.round == entry.round;
        match self.entries.iter().find(same_round) {
            None => Ok(false),
            Some(known) if known == entry => Ok(true),
            Some(known) => Err(LedgerError::Differs {
                session_id: entry.session_id.clone(),
                round: entry.round,
                recorded: known.mechanism,
                given: entry.mechanism,
            }),
        }
    }
}

/// Equal steps are accounted for at once: the sum over orders is what takes time.
fn epsilon<'a>(entries: impl IntoIterator<Item = &'a LedgerEntry>, delta: f64) -> f64 {
    let mut groups: BTreeMap<[u64; 2], SampledGaussian> = BTreeMap::new();
    for LedgerEntry { mechanism, .. } in entries {
        let key = [mechanism.sampling_probability(), mechanism.noise_multiplier()].map(f64::to_bits);
        groups.entry(key).and_modify(|group| *group = group.and(mechanism.steps())).or_insert(*mechanism);
    }
    let mut accountant = Accountant::default();
    groups.values().for_each(|group| accountant.compose(group));
    accountant.epsilon(delta)
}

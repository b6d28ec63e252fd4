//! The session: who takes part, what is open, what happens next.
//!
//! Rules that the transitions below keep:
//! - A site is *present* from [`Input::SiteJoined`] until it leaves or misses a deadline; then it may join again, also
//!   in the middle of a round. Whoever is present when a round starts is asked to train.
//! - A site answers a round once. Unusable content costs it the round, not the session. An exact repetition of an
//!   accepted update changes nothing and is no error.
//! - Training closes when nobody is awaited any more or the deadline has come. With fewer updates than the minimum it
//!   stays open while an absent site could still join and answer before the deadline; otherwise the session fails.
//! - Evaluation closes likewise, but needs nobody.

mod evaluating;
mod messages;
mod sum;
mod training;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use messages::{FailureReason, Input, Output, Phase, Purpose, Rejection};

use sum::Sum;

use crate::secagg::{LEAST_SITES, Roster};
use crate::{
    ConfigErrors, Digest, Protection, RoundRecord, Schema, SealedBecause, SessionConfig, SessionId, SessionRecord,
    SiteId, SiteRecord,
};

/// One training session. See the [crate](crate) for its phases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    id: SessionId,
    config: SessionConfig,
    schema: Schema,
    roster: Roster,
    phase: Phase,
    /// Decided at the start and never lowered afterwards.
    protection: Option<Protection>,
    sum: Option<Sum>,
    failure: Option<FailureReason>,
    created_ms: u64,
    finished_ms: Option<u64>,
    /// End of the current training or evaluation.
    deadline_ms: Option<u64>,
    initial_model: Digest,
    model: Digest,
    /// Every site that ever joined, and whether it is present.
    sites: BTreeMap<SiteId, bool>,
    /// Whose answer the open training or evaluation waits for.
    awaited: BTreeSet<SiteId>,
    /// The last one is open until the phase is over.
    rounds: Vec<RoundRecord>,
}

impl Session {
    /// A session in which the roster's sites can join, to train the model with that schema and hash.
    pub fn new(
        id: SessionId,
        config: SessionConfig,
        schema: Schema,
        roster: Roster,
        model: Digest,
        now_ms: u64,
    ) -> Result<Self, ConfigErrors> {
        config.validate()?;
        Ok(Self {
            id,
            config,
            schema,
            roster,
            phase: Phase::Initialising,
            protection: None,
            sum: None,
            failure: None,
            created_ms: now_ms,
            finished_ms: None,
            deadline_ms: None,
            initial_model: model,
            model,
            sites: BTreeMap::new(),
            awaited: BTreeSet::new(),
            rounds: Vec::new(),
        })
    }

    /// Takes one input. On a rejection nothing has changed.
    pub fn step(&mut self, input: &Input, now_ms: u64) -> Result<Vec<Output>, Rejection> {
        let mut outputs = Vec::new();
        match input {
            Input::Resume => self.resume(now_ms, &mut outputs),
            _ if self.phase.is_over() => {
                // A site may repeat itself because it missed our answer, even after the last round.
                if !matches!(input, Input::UpdateReceived { site, round, update } if self.is_repetition(site, *round, update))
                {
                    return Err(Rejection::SessionOver { session: self.id.clone(), phase: self.phase });
                }
            }
            Input::SiteJoined { site } => self.site_joined(site, now_ms, &mut outputs)?,
            Input::SiteLeft { site, reason } => self.site_left(site, reason, now_ms, &mut outputs)?,
            Input::Start => self.start(now_ms, &mut outputs)?,
            Input::UpdateReceived { site, round, update } => {
                self.update_received(site, *round, update, now_ms, &mut outputs)?;
            }
            Input::SiteFailed { site, round, reason } => {
                self.site_failed(site, *round, reason, now_ms, &mut outputs)?;
            }
            Input::SiteTrained { site, round, samples_at_most } => {
                self.site_trained(site, *round, *samples_at_most, now_ms, &mut outputs)?;
            }
            Input::SiteEvaluated { site, round } => self.site_evaluated(site, *round, now_ms, &mut outputs)?,
            Input::Replied { site, reply, words } => self.replied(site, reply, words, now_ms, &mut outputs)?,
            Input::Summed { model, totals } => {
                self.complete_sum(Purpose::Training, *totals, &mut outputs)?;
                self.open().training_loss = totals.loss();
                self.aggregated(*model, now_ms, &mut outputs)?;
            }
            Input::EvaluationSummed { totals } => {
                self.complete_sum(Purpose::Evaluation, *totals, &mut outputs)?;
                self.finish_round(now_ms, &mut outputs);
            }
            Input::Aggregated { model } => self.aggregated(*model, now_ms, &mut outputs)?,
            Input::AggregationFailed { reason } => {
                self.expect(Phase::Aggregating)?;
                let reason = FailureReason::Aggregation { round: self.round(), reason: bounded(reason) };
                self.fail(reason, now_ms, &mut outputs);
            }
            Input::EvaluationReceived { site, round, evaluation } => {
                self.evaluation_received(site, *round, *evaluation, now_ms, &mut outputs)?;
            }
            Input::Tick => match self.phase {
                Phase::Training => self.close_training(now_ms, &mut outputs),
                Phase::Aggregating => self.tick_sum(now_ms, &mut outputs),
                Phase::Evaluating if self.sum.is_some() => self.tick_sum(now_ms, &mut outputs),
                Phase::Evaluating => self.close_evaluation(now_ms, &mut outputs),
                _ => {}
            },
            Input::Cancel => self.fail(FailureReason::Cancelled, now_ms, &mut outputs),
        }
        Ok(outputs)
    }

    /// Name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// What the session was created with.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// What updates must look like.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Who can take part.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// How updates are protected; nothing before the start.
    pub fn protection(&self) -> Option<Protection> {
        self.protection
    }

    /// The least number of sites of a round.
    pub fn needed_sites(&self) -> u32 {
        let by_roster = || Protection::of(self.config.protection, self.roster.members().len());
        match self.protection.unwrap_or_else(by_roster) {
            Protection::SecureAggregation => self.config.minimum_sites.max(LEAST_SITES as u32),
            Protection::Sealed => self.config.minimum_sites,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&FailureReason> {
        self.failure.as_ref()
    }

    /// Hash of the newest global model.
    pub fn model(&self) -> Digest {
        self.model
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// The number of the newest round, 0 before the first.
    pub fn round(&self) -> u32 {
        self.rounds.len() as u32
    }

    /// All rounds, the open one last.
    pub fn rounds(&self) -> &[RoundRecord] {
        &self.rounds
    }

    /// Every site that ever joined, and whether it is present.
    pub fn sites(&self) -> &BTreeMap<SiteId, bool> {
        &self.sites
    }

    /// Hashes of the stored updates, or masked words, that the open round still needs.
    pub fn needed_updates(&self) -> impl Iterator<Item = Digest> {
        let open = matches!(self.phase, Phase::Training | Phase::Aggregating);
        let round = self.rounds.last().filter(|_| open);
        let updates = round.into_iter().flat_map(|r| r.sites.values()).filter_map(|s| s.update.as_ref());
        updates.map(|u| u.sha256).chain(self.needed_words())
    }

    /// The session as the training history shows it.
    pub fn record(&self) -> SessionRecord {
        SessionRecord {
            session_id: self.id.clone(),
            phase: self.phase,
            failure: self.failure.as_ref().map(ToString::to_string),
            config: self.config.clone(),
            protection: self.protection,
            sealed_because: self.sealed_because(),
            roster: Some(self.roster.digest()),
            created_ms: self.created_ms,
            finished_ms: self.finished_ms,
            initial_model_sha256: self.initial_model,
            model_sha256: self.model,
            rounds: self.rounds.clone(),
        }
    }

    fn start(&mut self, now_ms: u64, outputs: &mut Vec<Output>) -> Result<(), Rejection> {
        self.expect(Phase::Initialising)?;
        let joined = self.present().count();
        let protection = Protection::of(self.config.protection, self.roster.members().len());
        let secure = protection == Protection::SecureAggregation;
        let minimum =
            if secure { self.config.minimum_sites.max(LEAST_SITES as u32) } else { self.config.minimum_sites };
        if joined < minimum as usize {
            return Err(Rejection::TooFewSites { joined, minimum });
        }
        self.protection = Some(protection);
        self.open_round(now_ms, outputs);
        Ok(())
    }

    /// Why there is no secure aggregation.
    fn sealed_because(&self) -> Option<SealedBecause> {
        let sealed = self.protection == Some(Protection::Sealed);
        let chosen = self.config.protection == Some(Protection::Sealed);
        sealed.then_some(if chosen { SealedBecause::Chosen } else { SealedBecause::FewSites })
    }

    fn site_joined(&mut self, site: &SiteId, now_ms: u64, outputs: &mut Vec<Output>) -> Result<(), Rejection> {
        if self.roster.id_of(site).is_none() {
            return Err(Rejection::Stranger { site: site.clone(), session: self.id.clone() });
        }
        self.sites.insert(site.clone(), true);
        match self.phase {
            Phase::Training => self.joined_training(site, now_ms, outputs),
            // It lost its task in a restart.
            Phase::Evaluating if self.awaited.contains(site) => {
                outputs.push(Output::Evaluate { site: site.clone(), round: self.round() });
            }
            Phase::Aggregating | Phase::Evaluating => self.joined_sum(site, now_ms, outputs),
            _ => {}
        }
        Ok(())
    }

    fn site_left(
        &mut self,
        site: &SiteId,
        reason: &str,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        let reason = bounded(reason);
        self.sites.insert(site.clone(), false);
        outputs.push(Output::SiteDropped { site: site.clone(), reason: reason.clone() });
        if self.awaited.remove(site) {
            match self.phase {
                Phase::Training => self.dropped_training(site, reason, now_ms, outputs),
                _ => self.evaluation_missing(site, reason, now_ms, outputs),
            }
        } else {
            self.left_sum(site, now_ms, outputs);
        }
        Ok(())
    }

    fn site_failed(
        &mut self,
        site: &SiteId,
        round: u32,
        reason: &str,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        self.expect_awaited(site, round)?;
        let reason = bounded(reason);
        self.awaited.remove(site);
        outputs.push(Output::SiteExcluded { site: site.clone(), round, reason: reason.clone() });
        match self.phase {
            Phase::Training => self.failed_training(site, reason, now_ms, outputs),
            _ => self.evaluation_missing(site, reason, now_ms, outputs),
        }
        Ok(())
    }

    fn resume(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let round = self.round();
        let awaited = self.awaited.iter().cloned();
        match self.phase {
            Phase::Initialising => {}
            Phase::Training => {
                outputs.extend(awaited.map(|site| Output::StartRound { site, round }));
                self.start_clock(now_ms);
            }
            Phase::Aggregating if self.protection == Some(Protection::SecureAggregation) => {
                self.resume_sum(Purpose::Training, now_ms, outputs);
            }
            Phase::Aggregating => outputs.push(self.aggregate_ready()),
            Phase::Evaluating if self.sum.is_some() => self.resume_sum(Purpose::Evaluation, now_ms, outputs),
            Phase::Evaluating => {
                outputs.extend(awaited.map(|site| Output::Evaluate { site, round }));
                self.start_clock(now_ms);
            }
            Phase::Completed => outputs.push(Output::SessionCompleted { model: self.model }),
            Phase::Failed => {
                outputs.extend(self.failure.clone().map(|reason| Output::SessionFailed { reason }));
            }
        }
    }

    fn fail(&mut self, reason: FailureReason, now_ms: u64, outputs: &mut Vec<Output>) {
        self.phase = Phase::Failed;
        self.sum = None;
        self.failure = Some(reason.clone());
        self.finish(now_ms);
        outputs.push(Output::SessionFailed { reason });
    }

    fn finish(&mut self, now_ms: u64) {
        self.finished_ms = Some(now_ms);
        self.deadline_ms = None;
        self.awaited.clear();
    }

    fn start_clock(&mut self, now_ms: u64) {
        self.deadline_ms = self.config.round_deadline_s.map(|s| now_ms.saturating_add(u64::from(s) * 1000));
    }

    fn deadline_passed(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline| now_ms >= deadline)
    }

    fn present(&self) -> impl Iterator<Item = &SiteId> {
        self.sites.iter().filter(|(_, present)| **present).map(|(site, _)| site)
    }

    fn expect(&self, expected: Phase) -> Result<(), Rejection> {
        if self.phase == expected {
            return Ok(());
        }
        Err(Rejection::WrongPhase { session: self.id.clone(), found: self.phase, expected })
    }

    fn expect_known(&self, site: &SiteId) -> Result<(), Rejection> {
        if self.sites.contains_key(site) {
            return Ok(());
        }
        Err(Rejection::UnknownSite { site: site.clone(), session: self.id.clone() })
    }

    fn expect_awaited(&self, site: &SiteId, round: u32) -> Result<(), Rejection> {
        let current = self.round();
        let open = matches!(self.phase, Phase::Training | Phase::Evaluating);
        if round != current || !open {
            return Err(Rejection::WrongRound { site: site.clone(), found: round, current, phase: self.phase });
        }
        if !self.awaited.contains(site) {
            return Err(Rejection::NotAwaited { site: site.clone(), round });
        }
        Ok(())
    }

    /// Takes note that a site has answered, if its answer is awaited and in time.
    fn take_answer(&mut self, site: &SiteId, round: u32, phase: Phase, now_ms: u64) -> Result<(), Rejection> {
        if self.phase != phase {
            let current = self.round();
            return Err(Rejection::WrongRound { site: site.clone(), found: round, current, phase: self.phase });
        }
        self.expect_awaited(site, round)?;
        self.expect_in_time(site, now_ms)?;
        self.awaited.remove(site);
        Ok(())
    }

    fn expect_in_time(&self, site: &SiteId, now_ms: u64) -> Result<(), Rejection> {
        match self.deadline_ms {
            Some(deadline) if now_ms >= deadline => {
                Err(Rejection::Late { site: site.clone(), round: self.round(), late_ms: now_ms - deadline })
            }
            _ => Ok(()),
        }
    }

    /// What is known of a site in a round.
    fn known(&self, site: &SiteId, round: u32) -> Option<&SiteRecord> {
        self.rounds.get((round as usize).checked_sub(1)?)?.sites.get(site)
    }

    /// The open round. Every phase behind `Initialising` has one.
    fn open(&mut self) -> &mut RoundRecord {
        self.rounds.last_mut().expect("a phase with a round has opened one")
    }

    /// The record of a site that was asked to take part in the open round, as everybody who is awaited was.
    fn invited(&mut self, site: &SiteId) -> &mut SiteRecord {
        self.open().sites.get_mut(site).expect("who is awaited was invited")
    }
}

/// A reason that a site sent, cut to a length that a history can hold.
fn bounded(reason: &str) -> String {
    reason.chars().take(1000).collect()
}

//! From sites that have trained, or judged a model, to the sum of what they have, by secure aggregation.
//!
//! A sum takes those who are ready and present. Whoever does not answer one of its exchanges in time is left out of it, and
//! counts as gone until it joins again. With too few left the sum is given up, and a new attempt begins as soon as enough
//! sites are there; only the last exchange waits for as long as it takes, because sites that have answered it will not take
//! part in another attempt.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{FailureReason, Output, Phase, Purpose, Rejection, Session};
use crate::secagg::{
    Basis, CoordinationError, Coordinator, LEAST_SITES, Manifest, Masks, NodeId, Plan, Reply, Request, Stage, Totals,
};
use crate::{Digest, MaskedRecord, Protection, SessionId, SiteId, SiteStatus, SumRecord};

/// The largest bound of a site's samples: 255 of them stay below 2³².
const MOST_SAMPLES: u32 = 1 << 24;

/// A sum on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sum {
    purpose: Purpose,
    coordinator: Coordinator,
    /// What the sites are asked at the moment.
    request: Request,
    awaited: BTreeSet<SiteId>,
    /// Who has said that it takes no part in it any more.
    refused: BTreeSet<NodeId>,
}

impl Session {
    /// The request that a site has not answered yet.
    pub fn request(&self, site: &SiteId) -> Option<&Request> {
        self.sum.as_ref().filter(|sum| sum.awaited.contains(site)).map(|sum| &sum.request)
    }

    /// The masks of a complete sum, with the manifest that says how to decode it.
    ///
    /// # Errors
    /// When the sum is not complete, or a site has cheated.
    pub fn masks(&self) -> Result<(&Manifest, Masks), CoordinationError> {
        let sum = self.sum.as_ref().ok_or(CoordinationError::OutOfTurn)?;
        Ok((sum.coordinator.manifest(), sum.coordinator.finish()?))
    }

    /// Hashes of the stored words that the sum still needs.
    pub(super) fn needed_words(&self) -> impl Iterator<Item = Digest> {
        self.sum.iter().flat_map(|sum| sum.coordinator.arrived()).map(|(_, digest)| digest)
    }

    /// What the updates of the open round are about.
    pub fn basis(&self) -> Basis {
        let config = Digest::of_bytes(&serde_json::to_vec(&self.config.hyperparameters).unwrap_or_default());
        Basis { model: self.model, schema: Some(self.schema.hash), config: Some(config) }
    }

    pub(super) fn site_trained(
        &mut self,
        site: &SiteId,
        round: u32,
        samples_at_most: u32,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        self.expect_protection(site, Protection::SecureAggregation)?;
        if self.known(site, round).and_then(|record| record.samples_at_most) == Some(samples_at_most) {
            return Ok(());
        }
        self.take_answer(site, round, Phase::Training, now_ms)?;
        if samples_at_most.is_power_of_two() && samples_at_most <= MOST_SAMPLES {
            self.answered(site, SiteStatus::Trained, now_ms).samples_at_most = Some(samples_at_most);
            outputs.push(Output::SiteReady { site: site.clone(), round });
        } else {
            let reason = format!(
                "the site says that it has at most {samples_at_most} samples, expected a power of two up to {MOST_SAMPLES}"
            );
            self.answered(site, SiteStatus::Refused { reason: reason.clone() }, now_ms);
            outputs.push(Output::SiteExcluded { site: site.clone(), round, reason });
        }
        self.close_training(now_ms, outputs);
        Ok(())
    }

    pub(super) fn site_evaluated(
        &mut self,
        site: &SiteId,
        round: u32,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        self.expect_protection(site, Protection::SecureAggregation)?;
        if self.known(site, round).is_some_and(|record| record.evaluated) {
            return Ok(());
        }
        self.take_answer(site, round, Phase::Evaluating, now_ms)?;
        self.invited(site).evaluated = true;
        self.close_evaluation(now_ms, outputs);
        Ok(())
    }

    /// Sites that can take part in a sum now.
    fn ready(&self, purpose: Purpose) -> Vec<SiteId> {
        let sites = self.rounds.last().into_iter().flat_map(|round| &round.sites);
        let ready = sites.filter(|(site, record)| {
            self.sites.get(*site) == Some(&true)
                && match purpose {
                    Purpose::Training => record.status == SiteStatus::Trained,
                    Purpose::Evaluation => record.evaluated,
                }
        });
        ready.map(|(site, _)| site.clone()).collect()
    }

    /// Begins a sum if enough sites are there.
    pub(super) fn start_sum(&mut self, purpose: Purpose, now_ms: u64, outputs: &mut Vec<Output>) {
        let ready = self.ready(purpose);
        let quorum = if purpose == Purpose::Training { self.needed_sites() as usize } else { LEAST_SITES };
        if ready.len() < quorum {
            match purpose {
                Purpose::Evaluation => self.finish_round(now_ms, outputs),
                Purpose::Training => self.wait_for_sites(now_ms, outputs),
            }
            return;
        }
        match self.open_sum(purpose, &ready) {
            Ok((coordinator, record)) => {
                let request = Request::Join(Box::new(coordinator.manifest().clone()));
                let (round, sum) = (self.round(), Box::new(record.clone()));
                *self.sum_record(purpose) = Some(record);
                outputs.push(Output::SumStarted { round, purpose, sum });
                let awaited = ready.iter().cloned().collect();
                self.sum = Some(Sum { purpose, coordinator, request, awaited, refused: BTreeSet::new() });
                outputs.extend(ready.into_iter().map(|site| Output::Ask { site }));
                self.start_exchange(now_ms);
            }
            Err(reason) => {
                let reason = FailureReason::Aggregation { round: self.round(), reason };
                self.fail(reason, now_ms, outputs);
            }
        }
    }

    fn open_sum(&mut self, purpose: Purpose, ready: &[SiteId]) -> Result<(Coordinator, SumRecord), String> {
        let attempt = self.sum_record(purpose).as_ref().map_or(0, |record| record.attempt + 1);
        let id = |site| self.roster.id_of(site).ok_or_else(|| format!("site {site} is not in the roster"));
        let participants: BTreeSet<NodeId> = ready.iter().map(id).collect::<Result<_, _>>()?;
        let bounds = self.rounds.last().into_iter().flat_map(|round| round.sites.values());
        let omega_max = bounds.filter_map(|record| record.samples_at_most).max().unwrap_or(1);
        let (job, dimension, clip, omega_max) = match purpose {
            Purpose::Training => {
                let clip = self.config.hyperparameters.max_update_norm;
                (purpose.job(&self.id), self.schema.parameter_count, clip, omega_max)
            }
            Purpose::Evaluation => (purpose.job(&self.id), 1, 1.0, 1),
        };
        let plan = Plan {
            federation: self.roster.federation().to_owned(),
            job,
            round: self.round(),
            attempt,
            roster: self.roster.digest(),
            participants,
            dimension,
            clip,
            omega_max,
            basis: self.basis(),
            counters: Totals::COUNTERS,
        };
        let manifest = Manifest::new(&plan).map_err(|error| error.to_string())?;
        let record = SumRecord {
            attempt,
            sid: Digest::from(*manifest.sid()),
            threshold: manifest.threshold(),
            participants: ready.to_vec(),
            survivors: Vec::new(),
            totals: None,
            given_up: None,
        };
        let coordinator = Coordinator::open(manifest, &self.roster).map_err(|error| error.to_string())?;
        Ok((coordinator, record))
    }

    fn sum_record(&mut self, purpose: Purpose) -> &mut Option<SumRecord> {
        let round = self.open();
        match purpose {
            Purpose::Training => &mut round.sum,
            Purpose::Evaluation => &mut round.evaluation_sum,
        }
    }

    /// Nothing can be done until somebody comes back, or time is up.
    fn wait_for_sites(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let trained = self.open().sites.values().filter(|record| record.status == SiteStatus::Trained).count();
        if trained < self.needed_sites() as usize {
            let (round, minimum) = (self.round(), self.needed_sites());
            self.fail(FailureReason::TooFewSites { round, found: trained, minimum }, now_ms, outputs);
        } else if self.deadline_ms.is_none() {
            self.start_clock(now_ms);
        }
    }

    pub(super) fn replied(
        &mut self,
        site: &SiteId,
        reply: &Reply,
        words: &[u32],
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        let refused = |source| Rejection::Sum { site: site.clone(), source };
        let round = self.round();
        let own = self.roster.id_of(site);
        let sum = self.sum.as_mut().ok_or_else(|| refused(CoordinationError::OutOfTurn))?;
        if let Some(id) = reply.id().filter(|id| Some(*id) != own) {
            return Err(refused(CoordinationError::Unexpected(id)));
        }
        let purpose = sum.purpose;
        match reply {
            Reply::Advertisement(message) => sum.coordinator.advertised(message).map_err(refused)?,
            Reply::Shares(message) => sum.coordinator.shared(message).map_err(refused)?,
            Reply::Masked(message) => {
                sum.coordinator.masked(message, words).map_err(refused)?;
                let digest = Digest::from(message.digest);
                outputs.push(Output::WordsAccepted { site: site.clone(), round, words: digest });
                if purpose == Purpose::Training {
                    let masked = MaskedRecord { bytes: 4 * message.words, sha256: digest };
                    self.invited(site).masked = Some(masked);
                }
            }
            Reply::Agreement(message) => sum.coordinator.agreed(message).map_err(refused)?,
            Reply::Unmasking(message) => sum.coordinator.unmasked(message).map_err(refused)?,
            Reply::Refused { sid, .. }
                if !sum.awaited.contains(site) || sid.as_bytes() != sum.coordinator.manifest().sid() =>
            {
                return Err(refused(CoordinationError::OutOfTurn));
            }
            Reply::Refused { reason, .. } => {
                let reason = super::bounded(reason);
                outputs.push(Output::SiteExcluded { site: site.clone(), round, reason: reason.clone() });
                let record = self.invited(site);
                match purpose {
                    Purpose::Training => record.status = SiteStatus::Refused { reason },
                    Purpose::Evaluation => (record.evaluated, record.evaluation_failure) = (false, Some(reason)),
                }
            }
        }
        if let Some(sum) = &mut self.sum {
            sum.awaited.remove(site);
            sum.refused.extend(own.filter(|_| matches!(reply, Reply::Refused { .. })));
        }
        self.advance_sum(now_ms, outputs);
        Ok(())
    }

    /// Somebody left while a sum was on its way.
    pub(super) fn left_sum(&mut self, site: &SiteId, now_ms: u64, outputs: &mut Vec<Output>) {
        if self.sum.as_mut().is_some_and(|sum| sum.awaited.remove(site)) {
            self.advance_sum(now_ms, outputs);
        }
    }

    /// Somebody came while a sum was on its way, or was waited for.
    pub(super) fn joined_sum(&mut self, site: &SiteId, now_ms: u64, outputs: &mut Vec<Output>) {
        let Some(id) = self.roster.id_of(site) else { return };
        let secure = self.protection == Some(Protection::SecureAggregation);
        let enough = self.ready(Purpose::Training).len() >= self.needed_sites() as usize;
        match &mut self.sum {
            Some(sum) if sum.coordinator.awaits(id) && !sum.refused.contains(&id) => {
                sum.awaited.insert(site.clone());
                outputs.push(Output::Ask { site: site.clone() });
            }
            None if secure && enough && self.phase == Phase::Aggregating => {
                self.start_sum(Purpose::Training, now_ms, outputs);
            }
            _ => {}
        }
    }

    /// Repeats what is unanswered, after a restart.
    pub(super) fn resume_sum(&mut self, purpose: Purpose, now_ms: u64, outputs: &mut Vec<Output>) {
        match &self.sum {
            Some(sum) => {
                outputs.extend(sum.awaited.iter().cloned().map(|site| Output::Ask { site }));
                self.start_exchange(now_ms);
                self.advance_sum(now_ms, outputs);
            }
            None => {
                self.deadline_ms = None;
                self.start_sum(purpose, now_ms, outputs);
            }
        }
    }

    pub(super) fn tick_sum(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        if self.sum.is_some() {
            self.advance_sum(now_ms, outputs);
        } else if self.protection == Some(Protection::SecureAggregation) && self.deadline_passed(now_ms) {
            let found = self.ready(Purpose::Training).len();
            let (round, minimum) = (self.round(), self.needed_sites());
            self.fail(FailureReason::TooFewSites { round, found, minimum }, now_ms, outputs);
        }
    }

    /// Ends exchanges for as long as nobody has to be waited for.
    fn advance_sum(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        loop {
            let (round, overdue) = (self.round(), self.deadline_passed(now_ms));
            let Some(sum) = &mut self.sum else { return };
            let purpose = sum.purpose;
            if sum.coordinator.can_finish() {
                outputs.push(Output::SumReady { round, purpose });
                return;
            }
            if !sum.coordinator.can_still_finish(&sum.refused) {
                let reason = "too many sites refuse to take the masks off: see their reasons".to_owned();
                return self.fail(FailureReason::Aggregation { round, reason }, now_ms, outputs);
            }
            if sum.coordinator.stage() == Stage::Unmasking || !(sum.awaited.is_empty() || overdue) {
                return;
            }
            for site in std::mem::take(&mut sum.awaited) {
                self.sites.insert(site.clone(), false);
                outputs.push(Output::SiteLate { site, round });
            }
            let sid = Digest::from(*sum.coordinator.manifest().sid());
            let next = match sum.coordinator.stage() {
                Stage::Advertising => sum.coordinator.close_advertising().map(|all| Request::Share(sid, all)),
                Stage::Sharing => sum.coordinator.close_sharing().map(|all| Request::Mask(sid, all)),
                Stage::Masking => sum.coordinator.close_masking().map(|survivors| Request::Agree(sid, survivors)),
                Stage::Agreeing | Stage::Unmasking => {
                    sum.coordinator.close_agreeing().map(|all| Request::Unmask(sid, all))
                }
            };
            match next {
                Ok(request) => {
                    sum.request = request;
                    let awaited = |(site, _): &(&SiteId, &bool)| {
                        let id = self.roster.id_of(site);
                        id.is_some_and(|id| sum.coordinator.awaits(id) && !sum.refused.contains(&id))
                    };
                    let present = self.sites.iter().filter(|(_, present)| **present).filter(awaited);
                    sum.awaited = present.map(|(site, _)| site.clone()).collect();
                    outputs.extend(sum.awaited.iter().cloned().map(|site| Output::Ask { site }));
                    self.start_exchange(now_ms);
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.sum = None;
                    self.deadline_ms = None;
                    if let Some(record) = self.sum_record(purpose) {
                        record.given_up = Some(reason.clone());
                    }
                    outputs.push(Output::SumGivenUp { round, purpose, reason });
                    return match purpose {
                        Purpose::Training => self.start_sum(purpose, now_ms, outputs),
                        Purpose::Evaluation => self.finish_round(now_ms, outputs),
                    };
                }
            }
        }
    }

    /// The driver has taken the masks off.
    pub(super) fn complete_sum(
        &mut self,
        purpose: Purpose,
        totals: Totals,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        let complete = |sum: &Sum| sum.purpose == purpose && sum.coordinator.can_finish();
        if !self.sum.as_ref().is_some_and(complete) {
            let expected = if purpose == Purpose::Training { Phase::Aggregating } else { Phase::Evaluating };
            return Err(Rejection::WrongPhase { session: self.id.clone(), found: self.phase, expected });
        }
        let Some(sum) = self.sum.take() else { return Ok(()) };
        let survivors = sum.coordinator.arrived().filter_map(|(id, _)| self.roster.site(id).cloned()).collect();
        self.deadline_ms = None;
        let round = self.round();
        if let Some(record) = self.sum_record(purpose) {
            (record.survivors, record.totals) = (survivors, Some(totals));
            let sum = Box::new(record.clone());
            outputs.push(Output::SumCompleted { round, purpose, sum });
        }
        Ok(())
    }

    fn start_exchange(&mut self, now_ms: u64) {
        // Who has answered the last exchange takes part in no other attempt: it is waited for without end.
        let last = self.sum.as_ref().is_some_and(|sum| sum.coordinator.stage() == Stage::Unmasking);
        let exchange_ms = u64::from(self.config.exchange_deadline_s) * 1000;
        self.deadline_ms = (!last).then(|| now_ms.saturating_add(exchange_ms));
    }

    pub(super) fn expect_protection(&self, site: &SiteId, found: Protection) -> Result<(), Rejection> {
        match self.protection {
            Some(expected) if expected != found => Err(Rejection::Protection { site: site.clone(), expected }),
            _ => Ok(()),
        }
    }
}

impl Purpose {
    /// The name of such sums of a session in their manifests: sums of judgements are numbered apart from sums of updates.
    pub fn job(self, session: &SessionId) -> String {
        match self {
            Self::Training => session.to_string(),
            Self::Evaluation => format!("{session}/evaluation"),
        }
    }
}

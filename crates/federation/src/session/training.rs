//! From the start of a round to its accepted updates.

use std::collections::BTreeMap;

use super::evaluating::weighted_mean;
use super::{FailureReason, Output, Phase, Purpose, Rejection, Session};
use crate::{
    Contribution, Digest, Protection, RoundRecord, SiteId, SiteRecord, SiteStatus, Update, UpdateRecord, site_weights,
};

impl Session {
    pub(super) fn open_round(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        self.phase = Phase::Training;
        self.rounds.push(RoundRecord {
            round: self.round() + 1,
            started_ms: now_ms,
            training_ms: None,
            aggregation_ms: None,
            evaluation_ms: None,
            sites: BTreeMap::new(),
            sum: None,
            evaluation_sum: None,
            training_loss: None,
            evaluation_loss: None,
            foreground_probability: None,
            model_sha256: None,
        });
        self.start_clock(now_ms);
        let present: Vec<SiteId> = self.present().cloned().collect();
        for site in present {
            self.invite(site, now_ms, outputs);
        }
        self.close_training(now_ms, outputs);
    }

    fn invite(&mut self, site: SiteId, now_ms: u64, outputs: &mut Vec<Output>) {
        let record = SiteRecord {
            status: SiteStatus::Training,
            started_ms: now_ms,
            training_ms: None,
            update: None,
            masked: None,
            samples_at_most: None,
            evaluated: false,
            evaluation: None,
            evaluation_failure: None,
        };
        self.open().sites.insert(site.clone(), record);
        self.awaited.insert(site.clone());
        outputs.push(Output::StartRound { site, round: self.round() });
    }

    pub(super) fn joined_training(&mut self, site: &SiteId, now_ms: u64, outputs: &mut Vec<Output>) {
        match self.open().sites.get(site).map(|record| &record.status) {
            None | Some(SiteStatus::Dropped { .. }) => self.invite(site.clone(), now_ms, outputs),
            // It lost its task in a restart.
            Some(SiteStatus::Training) => {
                outputs.push(Output::StartRound { site: site.clone(), round: self.round() });
            }
            // It has had its chance in this round.
            Some(SiteStatus::Trained | SiteStatus::Late | SiteStatus::Failed { .. } | SiteStatus::Refused { .. }) => {}
        }
    }

    pub(super) fn dropped_training(&mut self, site: &SiteId, reason: String, now_ms: u64, outputs: &mut Vec<Output>) {
        self.answered(site, SiteStatus::Dropped { reason }, now_ms);
        self.close_training(now_ms, outputs);
    }

    pub(super) fn failed_training(&mut self, site: &SiteId, reason: String, now_ms: u64, outputs: &mut Vec<Output>) {
        self.answered(site, SiteStatus::Failed { reason }, now_ms);
        self.close_training(now_ms, outputs);
    }

    pub(super) fn update_received(
        &mut self,
        site: &SiteId,
        round: u32,
        update: &Update,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        self.expect_protection(site, Protection::Sealed)?;
        if self.is_repetition(site, round, update) {
            return Ok(());
        }
        self.take_answer(site, round, Phase::Training, now_ms)?;
        match update.check(&self.schema) {
            Ok(()) => {
                let digest = Digest::of_values(&update.delta);
                self.answered(site, SiteStatus::Trained, now_ms).update = Some(UpdateRecord {
                    num_examples: update.num_examples,
                    weight: None,
                    metrics: update.metrics,
                    sha256: digest,
                    magnitude: update.magnitude(),
                });
                outputs.push(Output::UpdateAccepted { site: site.clone(), round, update: digest });
            }
            Err(problem) => {
                let reason = problem.to_string();
                self.answered(site, SiteStatus::Refused { reason: reason.clone() }, now_ms);
                outputs.push(Output::SiteExcluded { site: site.clone(), round, reason });
            }
        }
        self.close_training(now_ms, outputs);
        Ok(())
    }

    /// Whether exactly this update was accepted before.
    pub(super) fn is_repetition(&self, site: &SiteId, round: u32, update: &Update) -> bool {
        let known = self.known(site, round).and_then(|record| record.update.as_ref());
        known.is_some_and(|known| {
            known.num_examples == update.num_examples
                && known.metrics == update.metrics
                && update.schema_hash == self.schema.hash
                && known.sha256 == Digest::of_values(&update.delta)
        })
    }

    /// Notes how the training of an invited site ended.
    pub(super) fn answered(&mut self, site: &SiteId, status: SiteStatus, now_ms: u64) -> &mut SiteRecord {
        let record = self.invited(site);
        record.training_ms = Some(now_ms.saturating_sub(record.started_ms));
        record.status = status;
        record
    }

    /// Ends the training of the round if it is time.
    pub(super) fn close_training(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let overdue = self.deadline_passed(now_ms);
        if !self.awaited.is_empty() && !overdue {
            return;
        }
        let round = self.round();
        for site in std::mem::take(&mut self.awaited) {
            self.answered(&site, SiteStatus::Late, now_ms);
            self.sites.insert(site.clone(), false);
            outputs.push(Output::SiteLate { site, round });
        }
        let quorum = self.needed_sites() as usize;
        let found = self.open().sites.values().filter(|record| record.status == SiteStatus::Trained).count();
        if found >= quorum {
            match self.protection {
                Some(Protection::SecureAggregation) => self.close_training_with_sum(now_ms, outputs),
                _ => self.close_training_with_updates(now_ms, outputs),
            }
            return;
        }
        let absent = self.sites.values().filter(|present| !**present).count();
        // Three sites are the least that hide each other: who of them drops out is waited for, if need be without end.
        let patient = self.deadline_ms.is_some() || self.protection == Some(Protection::SecureAggregation);
        let could_suffice = !overdue && patient && found + absent >= quorum;
        if !could_suffice {
            let minimum = quorum as u32;
            self.fail(FailureReason::TooFewSites { round, found, minimum }, now_ms, outputs);
        }
    }

    fn close_training_with_sum(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let round = self.open();
        round.training_ms = Some(now_ms.saturating_sub(round.started_ms));
        self.phase = Phase::Aggregating;
        self.deadline_ms = None;
        self.start_sum(Purpose::Training, now_ms, outputs);
    }

    fn close_training_with_updates(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let cap = self.config.cap_largest_site;
        let round = self.open();
        let updates = || round.sites.values().filter_map(|record| record.update.as_ref());
        let weights = site_weights(&updates().map(|u| u.num_examples).collect::<Vec<_>>(), cap);
        let metrics = weights.iter().map(|&w| w as f64).zip(updates().map(|u| &u.metrics));
        round.training_loss = weighted_mean(metrics, |m| Some(m.loss));
        round.training_ms = Some(now_ms.saturating_sub(round.started_ms));
        let updates = round.sites.values_mut().filter_map(|record| record.update.as_mut());
        for (update, weight) in updates.zip(weights) {
            update.weight = Some(weight);
        }
        self.phase = Phase::Aggregating;
        self.deadline_ms = None;
        outputs.push(self.aggregate_ready());
    }

    pub(super) fn aggregate_ready(&self) -> Output {
        let sites = self.rounds.last().into_iter().flat_map(|round| &round.sites);
        let contributions = sites.filter_map(|(site, record)| {
            let update = record.update.as_ref()?;
            let (site, weight) = (site.clone(), update.weight?);
            Some(Contribution { site, update: update.sha256, weight, magnitude: update.magnitude })
        });
        Output::AggregateReady { round: self.round(), contributions: contributions.collect() }
    }
}

//! From the new global model to the next round, or the end.

use super::{FailureReason, Output, Phase, Purpose, Rejection, Session};
use crate::{Digest, Evaluation, Metrics, Protection, SiteId, SumRecord};

impl Session {
    pub(super) fn aggregated(
        &mut self,
        model: Digest,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect(Phase::Aggregating)?;
        self.model = model;
        let round = self.open();
        round.model_sha256 = Some(model);
        round.aggregation_ms = Some(now_ms.saturating_sub(round.started_ms + round.training_ms.unwrap_or(0)));
        self.phase = Phase::Evaluating;
        self.start_clock(now_ms);
        // Who joined after the training closed has no record in this round that could hold an evaluation.
        let invited: Vec<SiteId> = self.open().sites.keys().cloned().collect();
        self.awaited = invited.into_iter().filter(|site| self.sites[site]).collect();
        let round = self.round();
        outputs.push(Output::Aggregated { round, model });
        outputs.extend(self.awaited.iter().map(|site| Output::Evaluate { site: site.clone(), round }));
        self.close_evaluation(now_ms, outputs);
        Ok(())
    }

    pub(super) fn evaluation_received(
        &mut self,
        site: &SiteId,
        round: u32,
        evaluation: Option<Evaluation>,
        now_ms: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Rejection> {
        self.expect_known(site)?;
        self.expect_protection(site, Protection::Sealed)?;
        let known = self.known(site, round).and_then(|record| record.evaluation);
        if known.is_some() && known == evaluation {
            return Ok(());
        }
        self.take_answer(site, round, Phase::Evaluating, now_ms)?;
        match evaluation.map_or(Ok(()), |e| e.check()) {
            Ok(()) => {
                self.invited(site).evaluation = evaluation;
                self.close_evaluation(now_ms, outputs);
            }
            Err(problem) => {
                let reason = problem.to_string();
                outputs.push(Output::SiteExcluded { site: site.clone(), round, reason: reason.clone() });
                self.evaluation_missing(site, reason, now_ms, outputs);
            }
        }
        Ok(())
    }

    pub(super) fn evaluation_missing(&mut self, site: &SiteId, reason: String, now_ms: u64, outputs: &mut Vec<Output>) {
        self.invited(site).evaluation_failure = Some(reason);
        self.close_evaluation(now_ms, outputs);
    }

    /// Ends the evaluation if it is time.
    pub(super) fn close_evaluation(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        if self.sum.is_some() || !self.awaited.is_empty() && !self.deadline_passed(now_ms) {
            return;
        }
        let number = self.round();
        for site in std::mem::take(&mut self.awaited) {
            self.invited(&site).evaluation_failure = Some("no answer before the deadline".into());
            self.sites.insert(site.clone(), false);
            outputs.push(Output::SiteLate { site, round: number });
        }
        if self.protection == Some(Protection::SecureAggregation) {
            self.deadline_ms = None;
            self.start_sum(Purpose::Evaluation, now_ms, outputs);
        } else {
            self.finish_round(now_ms, outputs);
        }
    }

    /// Ends the round.
    pub(super) fn finish_round(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let number = self.round();
        let round = self.open();
        let since = round.started_ms + round.training_ms.unwrap_or(0) + round.aggregation_ms.unwrap_or(0);
        round.evaluation_ms = Some(now_ms.saturating_sub(since));
        let evaluations = || {
            let evaluations = round.sites.values().filter_map(|record| record.evaluation.as_ref());
            evaluations.map(|e| (f64::from(e.num_examples), &e.metrics))
        };
        let updates = || {
            let updates = round.sites.values().filter_map(|record| record.update.as_ref());
            updates.map(|u| (u.weight.unwrap_or(0) as f64, &u.metrics))
        };
        let totals = |sum: &Option<SumRecord>| sum.as_ref().and_then(|sum| sum.totals);
        let (trained, judged) = (totals(&round.sum), totals(&round.evaluation_sum));
        let loss = weighted_mean(evaluations(), |m| Some(m.loss)).or_else(|| judged?.loss());
        let probability = weighted_mean(evaluations(), |m| m.foreground_probability)
            .or_else(|| weighted_mean(updates(), |m| m.foreground_probability))
            .or_else(|| judged?.foreground_probability())
            .or_else(|| trained?.foreground_probability());
        round.evaluation_loss = loss;
        round.foreground_probability = probability;
        outputs.push(Output::RoundCompleted { record: Box::new(round.clone()) });

        let threshold = self.config.collapse_threshold;
        match probability {
            Some(found) if number >= self.config.collapse_round && found < threshold => {
                self.fail(FailureReason::Collapsed { round: number, found, threshold }, now_ms, outputs);
            }
            _ if number == self.config.hyperparameters.rounds => {
                self.phase = Phase::Completed;
                self.finish(now_ms);
                outputs.push(Output::SessionCompleted { model: self.model });
            }
            _ => self.open_round(now_ms, outputs),
        }
    }
}

/// The mean over the sites that have the value, always summed in the same order. Weights are normalised first, so the
/// sum of finite values stays finite.
pub(super) fn weighted_mean<'a>(
    sites: impl Iterator<Item = (f64, &'a Metrics)> + Clone,
    value: impl Fn(&Metrics) -> Option<f64>,
) -> Option<f64> {
    let values = sites.filter_map(|(weight, metrics)| Some((weight, value(metrics)?)));
    let total: f64 = values.clone().map(|(weight, _)| weight).sum();
    (total > 0.0).then(|| values.map(|(weight, value)| weight / total * value).sum())
}

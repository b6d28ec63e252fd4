//! What the global model must be: computed from the sites' honest updates alone, without server, files or messages.

use std::ops::ControlFlow;
use std::time::Duration;

use federation::secagg::{Encoding, Totals, exponent};
use federation::*;

use crate::support::{Habit, Toy, initial};

/// The model of an undisturbed run whose rounds have the same survivors.
pub(crate) struct Reference {
    config: SessionConfig,
    /// Of the whole session.
    sites: usize,
    pub(crate) model: GlobalModel,
    optimizer: Box<dyn ServerOptimizer>,
}

/// What a site learns: the same whenever and however often it trains.
pub(crate) fn update(site: usize, global: &GlobalModel, round: u32, config: &SessionConfig) -> Update {
    let mut toy = Toy { seed: site as u32 + 1, habit: Habit::None, step_time: Duration::ZERO };
    let hyperparameters = &config.hyperparameters;
    let mut update = toy.train_round(global, round, hyperparameters, &mut |_| ControlFlow::Continue(())).unwrap();
    update.limit_norm(hyperparameters.max_update_norm, global.parameters.len());
    update
}

impl Reference {
    pub(crate) fn new(config: SessionConfig, sites: usize) -> Self {
        let algorithm = &config.hyperparameters.algorithm;
        let model = GlobalModel::initial(initial().parameters, initial().schema_hash, algorithm);
        let optimizer = server_optimizer(algorithm, model.parameters.len(), Vec::new()).unwrap();
        Self { config, sites, model, optimizer }
    }

    /// Goes on by a round with these sites: the hash of the new model.
    pub(crate) fn advance(&mut self, record: &RoundRecord, number: impl Fn(&SiteId) -> usize) -> Digest {
        let update = |site: &SiteId| update(number(site), &self.model, record.round, &self.config);
        let (mean, trained) = match &record.sum {
            Some(sum) => {
                let sites = sum.participants.len();
                let clip = self.config.hyperparameters.max_update_norm;
                let omega_max = record.sites.values().filter_map(|site| site.samples_at_most).max().unwrap();
                let encoding = Encoding { sites, clip, exponent: exponent(sites, clip), omega_max };
                let mut words = vec![0_u32; self.model.schema().parameter_count + 1 + Totals::COUNTERS];
                for site in &sum.survivors {
                    let update = update(site);
                    let counters = Totals::of(update.num_examples, &update.metrics).counters();
                    let own = encoding.encode(update.delta.into_iter(), update.num_examples, &counters).unwrap();
                    words.iter_mut().zip(own).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
                }
                (encoding.decode(words, Totals::COUNTERS, sum.survivors.len()).unwrap().mean, sum.survivors.len())
            }
            None => {
                let survivors: Vec<&SiteId> =
                    record.sites.iter().filter(|(_, record)| record.update.is_some()).map(|(site, _)| site).collect();
                let updates: Vec<Update> = survivors.iter().map(|site| update(site)).collect();
                let numbers: Vec<u32> = updates.iter().map(|update| update.num_examples).collect();
                let weights = site_weights(&numbers, self.config.cap_largest_site);
                let contribution = |((site, update), weight): ((&&SiteId, &Update), &u64)| Contribution {
                    site: SiteId::clone(site),
                    update: Digest::of_values(&update.delta),
                    weight: *weight,
                    magnitude: update.magnitude(),
                };
                let contributions: Vec<_> = survivors.iter().zip(&updates).zip(&weights).map(contribution).collect();
                let mut aggregator = Aggregator::new(self.model.schema().parameter_count, &contributions).unwrap();
                for (update, weight) in updates.iter().zip(weights) {
                    aggregator.add(weight, 0, &update.delta).unwrap();
                }
                (aggregator.finish().unwrap(), survivors.len())
            }
        };
        self.model.advance(self.optimizer.as_mut(), &mean, trained as f64 / self.sites as f64).unwrap();
        if record.round == self.config.hyperparameters.rounds {
            self.model.control.clear();
        }
        self.model.digest()
    }
}

//! A toy site and a driver in memory, on virtual time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ed25519_dalek::SigningKey;
use federation::secagg::{Member, NodeId, Roster, SignedRoster};
use federation::*;

pub(crate) const DIM: usize = 6;

pub(crate) fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

pub(crate) fn schema() -> Schema {
    Schema { hash: Digest::of_bytes(b"linear regression"), parameter_count: DIM }
}

/// Everybody's names, and keys that are no secret.
pub(crate) fn roster() -> Roster {
    roster_of(&["a", "b", "c", "d", "e", "f", "g"])
}

pub(crate) fn roster_of(names: &[&str]) -> Roster {
    let consortium = SigningKey::from_bytes(&[255; 32]);
    let members = (1..).zip(names.iter().copied()).map(|(number, name)| Member {
        id: NodeId::try_from(number).unwrap(),
        name: site(name),
        public_key: Digest::from(identity(name).verifying_key().to_bytes()),
    });
    let coordinator = SigningKey::from_bytes(&[254; 32]).verifying_key();
    let signed = SignedRoster::sign("tests", 1, None, members.collect(), &coordinator, &consortium).unwrap();
    signed.verify(&consortium.verifying_key()).unwrap()
}

pub(crate) fn identity(name: &str) -> SigningKey {
    SigningKey::from_bytes(Digest::of_bytes(name.as_bytes()).as_bytes())
}

/// Every update is known to the coordinator.
pub(crate) fn sealed() -> SessionConfig {
    SessionConfig { protection: Some(Protection::Sealed), ..SessionConfig::default() }
}

pub(crate) fn initial() -> GlobalModel {
    GlobalModel::initial(vec![0.25; DIM], schema().hash, &Algorithm::FedAvg)
}

/// Numbers in [-1, 1) from a seed (SplitMix64).
pub(crate) fn noise(seed: u64) -> impl Iterator<Item = f64> {
    (1u64..).map(move |i| {
        let mut z = seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / 2f64.powi(63) - 1.0
    })
}

/// Least squares on a site's rows: a quadratic whose optimum and gradient are known. One epoch is one full-batch step.
#[derive(Clone)]
pub(crate) struct LeastSquares {
    pub(crate) rows: Vec<([f64; DIM], f64)>,
    /// SCAFFOLD's control variate after each round.
    pub(crate) controls: BTreeMap<u32, Vec<f64>>,
}

impl LeastSquares {
    /// Rows around a common truth that is shifted by `shift`: sites that differ.
    pub(crate) fn new(seed: u64, rows: usize, shift: f64) -> Self {
        let mut numbers = noise(seed);
        let mut row = || {
            let x: [f64; DIM] = std::array::from_fn(|_| numbers.next().unwrap());
            let y = x.iter().enumerate().map(|(k, v)| v * (k as f64 - 2.0 + shift)).sum();
            (x, y)
        };
        Self { rows: (0..rows).map(|_| row()).collect(), controls: BTreeMap::new() }
    }

    pub(crate) fn gradient(&self, w: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; DIM];
        for (x, y) in &self.rows {
            let residual = x.iter().zip(w).map(|(a, b)| a * b).sum::<f64>() - y;
            gradient.iter_mut().zip(x).for_each(|(g, a)| *g += residual * a / self.rows.len() as f64);
        }
        gradient
    }

    pub(crate) fn loss(&self, w: &[f64]) -> f64 {
        let square = |(x, y): &([f64; DIM], f64)| (x.iter().zip(w).map(|(a, b)| a * b).sum::<f64>() - y).powi(2);
        self.rows.iter().map(square).sum::<f64>() / (2.0 * self.rows.len() as f64)
    }
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

impl LocalTrainer for LeastSquares {
    fn train_round(
        &mut self,
        global: &GlobalModel,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Update, TrainerError> {
        let start = wide(&global.parameters);
        let mut w = start.clone();
        let mu = if let Algorithm::FedProx { mu } = hyperparameters.algorithm { mu } else { 0.0 };
        let control = wide(&global.control);
        let own = self.controls.range(..round).next_back().map_or_else(|| control.clone(), |(_, own)| own.clone());
        let mut mean = vec![0.0; control.len()];
        for epoch in 0..hyperparameters.local_epochs {
            let gradient = self.gradient(&w);
            mean.iter_mut().zip(&gradient).for_each(|(m, g)| *m += g / f64::from(hyperparameters.local_epochs));
            for k in 0..DIM {
                let correction = control.get(k).map_or(0.0, |c| c - own[k]);
                w[k] -= hyperparameters.learning_rate * (gradient[k] + correction + mu * (w[k] - start[k]));
            }
            let total = u64::from(hyperparameters.local_epochs);
            if progress(Progress { done: u64::from(epoch) + 1, total, loss: None }).is_break() {
                return Err(TrainerError::Interrupted);
            }
        }
        let (after, before) = ([w.as_slice(), &mean].concat(), [start, control].concat());
        self.controls.insert(round, mean);
        Ok(Update {
            delta: after.iter().zip(&before).map(|(a, b)| (a - b) as f32).collect(),
            num_examples: self.rows.len() as u32,
            schema_hash: global.schema_hash,
            metrics: Metrics { loss: self.loss(&w), foreground_probability: Some(0.5) },
        })
    }

    fn evaluate(
        &mut self,
        global: &GlobalModel,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Evaluation>, TrainerError> {
        let metrics = Metrics { loss: self.loss(&wide(&global.parameters)), foreground_probability: None };
        Ok(Some(Evaluation { num_examples: self.rows.len() as u32, metrics }))
    }
}

/// What a driver keeps beside the session.
pub(crate) struct Server {
    pub(crate) global: GlobalModel,
    pub(crate) optimizer: Box<dyn ServerOptimizer>,
    pub(crate) updates: BTreeMap<Digest, Vec<f32>>,
}

impl Server {
    pub(crate) fn new(algorithm: &Algorithm) -> Self {
        let optimizer = server_optimizer(algorithm, DIM, Vec::new()).unwrap();
        let global = GlobalModel::initial(initial().parameters, schema().hash, algorithm);
        Self { global, optimizer, updates: BTreeMap::new() }
    }

    /// Of a session of so many sites.
    pub(crate) fn aggregate(
        &mut self,
        contributions: &[Contribution],
        sites: usize,
    ) -> Result<Digest, AggregationError> {
        let mut aggregator = Aggregator::new(self.global.schema().parameter_count, contributions)?;
        for contribution in contributions {
            aggregator.add(contribution.weight, 0, &self.updates[&contribution.update])?;
        }
        let share = contributions.len() as f64 / sites as f64;
        self.global.advance(self.optimizer.as_mut(), &aggregator.finish()?, share)?;
        Ok(self.global.digest())
    }
}

pub(crate) fn never_stop(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Runs a session whose sites all answer at once.
pub(crate) fn undisturbed(
    config: &SessionConfig,
    sites: &mut BTreeMap<SiteId, LeastSquares>,
) -> (Session, GlobalModel) {
    let mut server = Server::new(&config.hyperparameters.algorithm);
    let id = SessionId::new("undisturbed").unwrap();
    let mut session =
        Session::new(id, config.clone(), server.global.schema(), roster(), server.global.digest(), 0).unwrap();
    let mut inputs: std::collections::VecDeque<Input> =
        sites.keys().map(|site| Input::SiteJoined { site: site.clone() }).collect();
    inputs.push_back(Input::Start);
    while let Some(input) = inputs.pop_front() {
        if let Input::UpdateReceived { update, .. } = &input {
            server.updates.insert(Digest::of_values(&update.delta), update.delta.clone());
        }
        for output in session.step(&input, 0).unwrap() {
            match output {
                Output::StartRound { site, round } => {
                    let trainer = sites.get_mut(&site).unwrap();
                    let hyperparameters = &config.hyperparameters;
                    let update = trainer.train_round(&server.global, round, hyperparameters, &mut never_stop).unwrap();
                    inputs.push_back(Input::UpdateReceived { site, round, update });
                }
                Output::AggregateReady { contributions, .. } => {
                    inputs.push_back(Input::Aggregated {
                        model: server.aggregate(&contributions, session.roster().members().len()).unwrap(),
                    });
                }
                Output::Evaluate { site, round } => {
                    let evaluation = sites.get_mut(&site).unwrap().evaluate(&server.global, &mut never_stop).unwrap();
                    inputs.push_back(Input::EvaluationReceived { site, round, evaluation });
                }
                _ => {}
            }
        }
    }
    (session, server.global)
}

//! A network's parameters as one flat vector in a fixed order: what checkpoints store, what the optimiser steps, what
//! federated updates carry. Names and shapes are PyTorch's.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{DetectionMaps, Network};
use crate::training::normal;

/// One named array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Dotted path as in a PyTorch state dict.
    pub name: String,
    /// Sizes, slowest first.
    pub shape: Vec<usize>,
    /// Stepped by the optimiser; `false` for running statistics.
    pub trainable: bool,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Does it hold no value?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All parameters of a network in the order of its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSchema {
    /// In the order of the flat vector.
    pub parameters: Vec<Parameter>,
}

impl ParameterSchema {
    /// Reads names and shapes off a network.
    pub fn of(network: &Network) -> Self {
        let mut reader = Reader::default();
        visit(network, &mut reader);
        Self { parameters: reader.parameters }
    }

    /// Length of the flat vector.
    pub fn len(&self) -> usize {
        self.parameters.iter().map(Parameter::len).sum()
    }

    /// Is there no parameter?
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// The flat vector cut into its parameters.
    ///
    /// # Panics
    /// When `flat` has another length than [`ParameterSchema::len`].
    pub fn split<'a>(&'a self, flat: &'a [f32]) -> impl Iterator<Item = (&'a Parameter, &'a [f32])> {
        assert_eq!(flat.len(), self.len(), "flat parameter vector");
        let mut rest = flat;
        self.parameters.iter().map(move |p| {
            let (values, tail) = rest.split_at(p.len());
            rest = tail;
            (p, values)
        })
    }

    /// Initial values, the same for a seed on every machine: He initialisation (fan-in, He et al. 2015) for convolutions,
    /// ones and zeros for normalisations, and output biases that start the maps at a prior of 0.01 (Lin et al. 2017,
    /// section 4.1) and at a diameter of e² ≈ 7 mm.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut flat = Vec::with_capacity(self.len());
        for p in &self.parameters {
            match (p.name.rsplit('.').next().unwrap_or_default(), p.shape.len()) {
                ("weight", 2..) => {
                    // A transposed convolution stores [in, out, …], and each of its outputs sees one tap per input.
                    let transposed = p.name.starts_with("up.");
                    let fan_in: usize = if transposed { p.shape[0] } else { p.shape[1..].iter().product() };
                    let sigma = (2.0 / fan_in as f64).sqrt();
                    flat.extend((0..p.len()).map(|_| (sigma * normal(&mut rng)) as f32));
                }
                ("weight" | "running_var", _) => flat.extend(std::iter::repeat_n(1.0, p.len())),
                _ => flat.extend(std::iter::repeat_n(0.0, p.len())),
            }
            if p.name == "head.bias" {
                let start = flat.len() - p.len();
                set_prior(&mut flat[start..]);
            }
        }
        flat
    }
}

/// Logit of the prior probability 0.01.
const PRIOR_LOGIT: f32 = -4.595;

fn set_prior(head_bias: &mut [f32]) {
    if head_bias.len() == DetectionMaps::CHANNELS {
        head_bias[DetectionMaps::CENTRE] = PRIOR_LOGIT;
        head_bias[DetectionMaps::LOG_DIAMETER] = 2.0;
        head_bias[DetectionMaps::SEGMENTATION..].fill(PRIOR_LOGIT);
    } else {
        // Two classes: only the difference counts.
        head_bias[0] = -PRIOR_LOGIT / 2.0;
        head_bias[1] = PRIOR_LOGIT / 2.0;
    }
}

impl Network {
    /// All parameters, flat, in the schema's order.
    pub fn flat_parameters(&self) -> Vec<f32> {
        let mut reader = Reader { values: Some(Vec::new()), ..Reader::default() };
        visit(self, &mut reader);
        reader.values.unwrap_or_default()
    }

    /// The same network with other values.
    ///
    /// # Panics
    /// When `flat` has another length than the schema's.
    pub fn with_parameters(self, flat: &[f32]) -> Self {
        let mut writer = Writer { rest: flat };
        let network = match self {
            Self::DetectionUnet(net) => Self::DetectionUnet(net.map(&mut writer)),
            Self::ClassicUnet(net) => Self::ClassicUnet(net.map(&mut writer)),
        };
        assert!(writer.rest.is_empty(), "flat parameter vector is {} values too long", writer.rest.len());
        network
    }

    /// Gradients in the schema's order, zero where there is none.
    pub fn flat_gradients(&self, gradients: &Gradients) -> Vec<f32> {
        let mut collector = GradientCollector { gradients, flat: Vec::new() };
        match self {
            Self::DetectionUnet(net) => net.visit(&mut collector),
            Self::ClassicUnet(net) => net.visit(&mut collector),
        }
        collector.flat
    }
}

// The networks are visited below the enum, whose variant must not enter the names.
fn visit(network: &Network, visitor: &mut impl ModuleVisitor) {
    match network {
        Network::DetectionUnet(net) => net.visit(visitor),
        Network::ClassicUnet(net) => net.visit(visitor),
    }
}

#[derive(Default)]
struct Reader {
    path: Vec<String>,
    parameters: Vec<Parameter>,
    values: Option<Vec<f32>>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _: &str) {
        // Burn's batch normalisation says gamma and beta where PyTorch says weight and bias.
        self.path.push(match name {
            "gamma" => "weight".to_owned(),
            "beta" => "bias".to_owned(),
            other => other.to_owned(),
        });
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let trainable = !name.ends_with("running_mean") && !name.ends_with("running_var");
        self.parameters.push(Parameter { name, shape: param.dims().to_vec(), trainable });
        if let Some(values) = &mut self.values {
            values.extend(host(param.val()));
        }
    }
}

struct Writer<'a> {
    rest: &'a [f32],
}

impl ModuleMapper for Writer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.dims();
        let (values, rest) = self.rest.split_at(shape.iter().product());
        self.rest = rest;
        param.map(|old| {
            let new = Tensor::from_data(TensorData::new(values.to_vec(), shape), &old.device());
            new.set_require_grad(old.is_require_grad())
        })
    }
}

struct GradientCollector<'a> {
    gradients: &'a Gradients,
    flat: Vec<f32>,
}

impl ModuleVisitor for GradientCollector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match param.val().grad(self.gradients) {
            Some(gradient) => self.flat.extend(host(gradient)),
            None => self.flat.extend(std::iter::repeat_n(0.0, param.dims().iter().product())),
        }
    }
}

/// The values of a tensor, wherever it lives.
pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("tensors of this crate are f32")
}

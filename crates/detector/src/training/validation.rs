//! The loss of given weights on scans that are not trained on.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::examples::plain_example;
use super::loss::LossTerms;
use super::trainer::TrainingError;
use crate::network::{Architecture, Network, ParameterSchema, host};
use crate::plan::Plan;
use crate::prepared::PreparedScan;

/// Lung patches of a scan besides those around its nodules.
const LUNG_PATCHES: usize = 2;
/// Nodule patches of a scan, at most.
const NODULE_PATCHES: usize = 4;

/// Judges one set of weights.
pub struct Validator<'a> {
    network: Network,
    plan: &'a Plan,
    device: &'a Device,
}

impl<'a> Validator<'a> {
    /// Builds the network.
    pub fn new(
        architecture: &Architecture,
        plan: &'a Plan,
        parameters: &[f32],
        device: &'a Device,
    ) -> Result<Self, TrainingError> {
        let network = architecture.build(device)?;
        let expected = ParameterSchema::of(&network).len();
        if parameters.len() != expected {
            return Err(TrainingError::State { found: parameters.len(), expected });
        }
        Ok(Self { network: network.with_parameters(parameters).valid(), plan, device })
    }

    /// Mean loss over the same few patches of a scan every time: around its first nodules and at evenly spread places in
    /// the lungs.
    pub fn scan_loss(&self, scan: &PreparedScan) -> Result<LossTerms, TrainingError> {
        let points = scan.lung_points();
        let lungs =
            (0..LUNG_PATCHES.min(points.len())).map(|i| points[(2 * i + 1) * points.len() / (2 * LUNG_PATCHES)]);
        let places: Vec<[f64; 3]> = scan
            .nodules
            .iter()
            .take(NODULE_PATCHES)
            .map(|n| n.center_zyx)
            .chain(lungs.map(|p| p.map(f64::from)))
            .collect();
        let side = self.plan.patch_size;
        let mut losses = Vec::with_capacity(places.len());
        for place in places {
            let example = plain_example(scan, self.plan, place)?;
            let input = Tensor::from_data(TensorData::new(example.input, [1, 1, side, side, side]), self.device);
            losses.push(self.network.loss(&host(self.network.forward(input)), &[example.targets]).0);
        }
        Ok(LossTerms::mean(&losses))
    }
}

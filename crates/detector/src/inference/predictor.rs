//! The predictor: what the command line, the web platform and scripts call.

use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::Device;
use imaging::lung_mask::{LungSide, LungSource, lung_mask};
use imaging::patch_grid::Tile;
use imaging::{GeometryError, Volume};
use serde::{Deserialize, Serialize};

use super::peaks::Detection;
use super::runner::Runner;
use super::sliding::{Pass, ScanMaps};
use crate::network::{ArchitectureError, DetectionMaps};
use crate::plan::Plan;
use crate::{Architecture, ParameterSchema};

/// How much care is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Small overlap of the tiles.
    Fast,
    /// Larger overlap.
    #[default]
    Standard,
    /// As standard, and the strongest candidates are looked at again from all eight mirrored sides.
    Accurate,
}

impl Mode {
    /// Overlap at each side of a tile of `tile` voxels: as much context as the mode pays for. A share of a small tile; from
    /// 96 voxels on no more than a nodule's neighbourhood needs (16 or 24 mm), for overlap is work done again.
    fn halo(self, tile: usize) -> usize {
        match self {
            Self::Fast => (tile / 8).min(16),
            Self::Standard | Self::Accurate => (tile / 4).min(24),
        }
    }
}

/// Candidates that [`Mode::Accurate`] looks at again.
const REVIEWED: usize = 40;

/// What the caller decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PredictOptions {
    /// Speed against care.
    pub mode: Mode,
    /// Weaker detections are left out.
    pub threshold: f64,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self { mode: Mode::Standard, threshold: 0.1 }
    }
}

/// What the predictor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// To the plan's grid.
    Resampling,
    /// Finding the lungs.
    Masking,
    /// The network over the tiles.
    Inference,
    /// From maps to detections.
    Detection,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Current stage.
    pub stage: Stage,
    /// Steps of it that are done.
    pub done: usize,
    /// Steps of it.
    pub total: usize,
}

/// The result for one scan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prediction {
    /// Strongest first.
    pub detections: Vec<Detection>,
    /// The lung that each of them lies in, where that is known.
    pub lungs: Vec<Option<LungSide>>,
    /// The part of the scan that was searched, and why.
    pub searched: LungSource,
    /// Seconds of each stage.
    pub stages_s: Vec<(Stage, f64)>,
    /// Tiles looked at.
    pub tiles: usize,
}

/// Why there is no prediction.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The network's description.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Weights of another network.
    #[error(
        "the model file holds {found} parameters, its architecture has {expected}: the file is damaged or from another program"
    )]
    Parameters {
        /// In the file.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// The scan has no usable grid.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Marks nodules in scans with one set of weights.
#[derive(Debug)]
pub struct FederatedLungNodulePredictor {
    runner: Runner,
    plan: Plan,
}

impl FederatedLungNodulePredictor {
    /// Builds the network on the device.
    pub fn new(
        architecture: &Architecture,
        plan: Plan,
        parameters: &[f32],
        device: &Device,
    ) -> Result<Self, PredictError> {
        let network = architecture.build(device)?;
        let expected = ParameterSchema::of(&network).len();
        if parameters.len() != expected {
            return Err(PredictError::Parameters { found: parameters.len(), expected });
        }
        let runner = Runner::new(network.with_parameters(parameters), plan.patch_size, device);
        Ok(Self { runner, plan })
    }

    /// The network's raw maps of one patch, as [`crate::Network::forward`] describes them.
    ///
    /// # Shapes
    /// `patch`: `[s, s, s]` with the plan's patch size `s`, normalised.
    ///
    /// # Panics
    /// When the patch has another size.
    pub fn patch_maps(&self, patch: Vec<f32>) -> Vec<f32> {
        self.runner.forward(patch)
    }

    /// Finds nodules. `observer` hears of every step and can stop the work.
    pub fn predict(
        &self,
        scan: &Volume<i16>,
        options: &PredictOptions,
        observer: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Prediction, PredictError> {
        let mut clock = Clock { stages_s: Vec::new(), observer };
        let volume = clock.time(Stage::Resampling, |_| Ok(self.plan.resample(scan)?))?;
        let lungs = clock.time(Stage::Masking, |_| Ok(lung_mask(&volume, &self.plan.lungs)?))?;
        let pass = Pass {
            runner: &self.runner,
            plan: &self.plan,
            volume: &volume,
            halo: options.mode.halo(self.runner.side()),
        };
        let tiles = pass.tiles(&lungs);
        let maps = clock.time(Stage::Inference, |observer| search(&pass, &tiles, observer))?;
        let mut detections = clock.time(Stage::Detection, |_| Ok(maps.detections()))?;
        // The classic network has no centre map to look at again.
        if options.mode == Mode::Accurate && matches!(maps, ScanMaps::Centres(_)) {
            clock.time(Stage::Detection, |observer| review(&pass, &mut detections, observer))?;
        }
        detections.retain(|d| d.confidence >= options.threshold);
        let lung = |d: &Detection| lungs.lung_at(volume.geometry().index_from_world(d.center_mm_xyz));
        Ok(Prediction {
            lungs: detections.iter().map(lung).collect(),
            detections,
            searched: lungs.source,
            stages_s: clock.stages_s,
            tiles: tiles.len(),
        })
    }
}

struct Clock<'a> {
    stages_s: Vec<(Stage, f64)>,
    observer: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

type Observer<'a> = dyn FnMut(usize, usize) -> bool + 'a;

impl Clock<'_> {
    /// Runs a stage, which is told how to report steps (done, total).
    fn time<T>(
        &mut self,
        stage: Stage,
        work: impl FnOnce(&mut Observer<'_>) -> Result<T, PredictError>,
    ) -> Result<T, PredictError> {
        let observer = &mut self.observer;
        let mut report = |done, total| observer(Progress { stage, done, total }).is_continue();
        if !report(0, 1) {
            return Err(PredictError::Stopped);
        }
        let start = Instant::now();
        let result = work(&mut report)?;
        let seconds = start.elapsed().as_secs_f64();
        match self.stages_s.iter_mut().find(|(s, _)| *s == stage) {
            Some((_, sum)) => *sum += seconds,
            None => self.stages_s.push((stage, seconds)),
        }
        Ok(result)
    }
}

fn search(pass: &Pass<'_>, tiles: &[Tile], observer: &mut Observer<'_>) -> Result<ScanMaps, PredictError> {
    pass.run(tiles, |done| observer(done, tiles.len())).ok_or(PredictError::Stopped)
}

/// Confidence of the strongest candidates = mean over the eight mirrored views of a tile around each of them.
fn review(pass: &Pass<'_>, detections: &mut [Detection], observer: &mut Observer<'_>) -> Result<(), PredictError> {
    let total = detections.len().min(REVIEWED);
    for (i, detection) in detections.iter_mut().take(REVIEWED).enumerate() {
        let index = pass.volume.geometry().index_from_world(detection.center_mm_xyz);
        detection.confidence = pass.mirrored_confidence(index);
        if !observer(i + 1, total) {
            return Err(PredictError::Stopped);
        }
    }
    detections.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    Ok(())
}

impl Pass<'_> {
    /// Mean over the eight mirrored views of the highest centre probability within one cell of a voxel position.
    fn mirrored_confidence(&self, index_zyx: [f64; 3]) -> f64 {
        let n = self.runner.side() / 2;
        let cell = index_zyx.map(|v| ((v + 0.5) / 2.0).floor() as isize);
        let tile = Tile { start_zyx: cell.map(|c| c - n as isize / 2) };
        let views = self.forward_mirrored(tile);
        let sum: f64 = views
            .iter()
            .map(|(flips, maps)| {
                let centre = &maps[DetectionMaps::CENTRE * n * n * n..][..n * n * n];
                let at = |a: usize| if flips[a] { n - 1 - n / 2 } else { n / 2 };
                let around = |a: usize| at(a) - 1..=at(a) + 1;
                let cells =
                    around(0).flat_map(|z| around(1).flat_map(move |y| around(2).map(move |x| (z * n + y) * n + x)));
                let strongest = cells.map(|i| centre[i]).fold(f32::NEG_INFINITY, f32::max);
                1.0 / (1.0 + (-f64::from(strongest)).exp())
            })
            .sum();
        sum / views.len() as f64
    }
}

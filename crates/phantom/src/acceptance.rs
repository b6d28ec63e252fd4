//! Whether the phantoms are hard for the right reason: the classical detector must fail on them, and it must fail
//! because of the vessels.

use crate::baseline::log_blobs;
use crate::dataset::{DatasetSpec, series_uid};
use crate::scan::{PhantomSpec, generate};
use crate::style::Size;
use imaging::GeometryError;
use imaging::luna16::Finding;
use scoring::{Options, ScoringError, evaluate};
use serde::{Deserialize, Serialize};

/// The baseline may reach at most this CPM.
pub const MAX_BASELINE_CPM: f64 = 0.5;
/// Removing the vessels must lift the baseline's CPM by at least this.
pub const MIN_VESSEL_EFFECT: f64 = 0.2;

/// What [`acceptance`] measures; a result on synthetic phantoms (合成体模结果).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Scans of each kind.
    pub scans: usize,
    /// Nodules in them.
    pub nodules: usize,
    /// CPM of the baseline.
    pub cpm: f64,
    /// CPM of the baseline on the same scans without arteries and veins.
    pub cpm_without_vessels: f64,
    /// Share of the nodules that the baseline marks at all: an upper bound of what its ranking loses.
    pub marked: f64,
}

impl Acceptance {
    /// Whether both limits hold.
    pub fn accepted(&self) -> bool {
        self.cpm <= MAX_BASELINE_CPM && self.cpm_without_vessels - self.cpm >= MIN_VESSEL_EFFECT
    }
}

/// Why the phantoms could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum AcceptanceError {
    /// A phantom's grid cannot be resampled.
    #[error("the baseline cannot resample a phantom")]
    Resample(#[from] GeometryError),
    /// The marks cannot be scored, for instance because no scan has a nodule: ask for more scans.
    #[error("the baseline's marks cannot be scored")]
    Scoring(#[from] ScoringError),
}

/// Generates `scans` scans, over all styles in turn, with and without vessels, and scores the baseline on both.
/// `progress` hears of every scan that is done, as (done, total).
///
/// # Errors
/// [`AcceptanceError`].
pub fn acceptance(
    scans: usize,
    size: Size,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Acceptance, AcceptanceError> {
    let dataset = DatasetSpec::new(6, scans.div_ceil(6), size, seed);
    let specs: Vec<PhantomSpec> = (0..scans).map(|i| dataset.scan(i % 6, i / 6)).collect();
    let mut done = 0;
    let mut score = |vessels: bool| -> Result<_, AcceptanceError> {
        let (mut marks, mut included, mut excluded, mut uids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for spec in &specs {
            let phantom = generate(&PhantomSpec { vessels, ..*spec });
            let uid = series_uid(spec);
            let finding = |center_mm_xyz: [f64; 3], diameter_mm: f64| Finding {
                series_uid: uid.clone(),
                center_mm_xyz,
                diameter_mm,
            };
            included.extend(phantom.nodules.iter().map(|n| finding(n.center_mm_xyz, n.diameter_mm)));
            excluded.extend(phantom.excluded.iter().map(|e| finding(e.center_mm_xyz, e.diameter_mm.unwrap_or(-1.0))));
            marks.extend(log_blobs(&uid, &phantom.volume)?);
            uids.push(uid);
            done += 1;
            progress(done, 2 * scans);
        }
        Ok(evaluate(&marks, &included, &excluded, &uids, &Options { bootstraps: 0, seed: 0 })?.summary)
    };
    let with = score(true)?;
    let without = score(false)?;
    let nodules = with.true_positives + with.false_negatives;
    Ok(Acceptance {
        scans,
        nodules,
        cpm: with.cpm,
        cpm_without_vessels: without.cpm,
        marked: with.true_positives as f64 / nodules.max(1) as f64,
    })
}

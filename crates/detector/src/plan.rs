//! How a scan is brought into the network's coordinates: nnU-Net's "plan". It travels with the weights.

use imaging::lung_mask::LungMaskConfig;
use imaging::{GeometryError, Normalization, Volume, resample};
use serde::{Deserialize, Serialize};

/// Preprocessing that training and inference share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Edge of the isotropic voxels.
    pub spacing_mm: f64,
    /// From HU to network input.
    pub normalization: Normalization,
    /// Side of the cubic training patch, voxels. Group statistics depend on it, so inference uses tiles like it.
    pub patch_size: usize,
    /// Which part of a scan is searched.
    pub lungs: LungMaskConfig,
}

/// Value of everything outside the scanned field, HU.
pub(crate) const AIR_HU: i16 = -1024;

impl Plan {
    /// 1 mm voxels, the usual range of values for lungs, an adult's lungs.
    pub fn with_patch(patch_size: usize) -> Self {
        Self { spacing_mm: 1.0, normalization: Normalization::LUNG, patch_size, lungs: LungMaskConfig::default() }
    }

    /// The scan on the plan's grid: axis-aligned LPS, isotropic.
    pub fn resample(&self, scan: &Volume<i16>) -> Result<Volume<i16>, GeometryError> {
        resample::resample_isotropic(scan, self.spacing_mm)
    }
}

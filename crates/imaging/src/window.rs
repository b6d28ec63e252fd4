//! From CT values to grey levels and to network input.

use serde::{Deserialize, Serialize};

/// A display window: the CT values between black and white. The linear function is LINEAR_EXACT of DICOM PS3.3
/// C.11.2.1.3.2, `(hu - centre) / width + 1/2`, clipped to [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The CT value shown as middle grey.
    pub center_hu: f32,
    /// The distance from black to white, above 0.
    pub width_hu: f32,
}

impl Window {
    /// Lung: −1350 to 150 HU.
    pub const LUNG: Self = Self { center_hu: -600.0, width_hu: 1500.0 };
    /// Mediastinum and soft tissue: −160 to 240 HU.
    pub const MEDIASTINUM: Self = Self { center_hu: 40.0, width_hu: 400.0 };
    /// Bone: −500 to 1300 HU.
    pub const BONE: Self = Self { center_hu: 400.0, width_hu: 1800.0 };

    /// Grey level from 0 (black) to 1 (white).
    pub fn unit(&self, hu: f32) -> f32 {
        ((hu - self.center_hu) / self.width_hu + 0.5).clamp(0.0, 1.0)
    }

    /// Grey level from 0 to 255.
    pub fn gray(&self, hu: f32) -> u8 {
        (self.unit(hu) * 255.0 + 0.5) as u8
    }
}

/// Network input: CT values clipped to a range that is mapped onto [−1, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// The CT value that becomes −1, and everything below it.
    pub low_hu: f32,
    /// The CT value that becomes 1, and everything above it.
    pub high_hu: f32,
}

impl Normalization {
    /// The usual range for lung nodules: below it is only air, above it only bone and metal.
    pub const LUNG: Self = Self { low_hu: -1200.0, high_hu: 600.0 };

    /// Value in [−1, 1].
    pub fn apply(&self, hu: f32) -> f32 {
        (hu.clamp(self.low_hu, self.high_hu) - self.low_hu) / (self.high_hu - self.low_hu) * 2.0 - 1.0
    }
}

impl Default for Normalization {
    fn default() -> Self {
        Self::LUNG
    }
}

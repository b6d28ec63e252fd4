//! How the imaginary hospitals differ: scanner, protocol, dose, and what kinds of nodules they see.

use std::ops::RangeInclusive;

use crate::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// One imaginary hospital's way of scanning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HospitalStyle {
    /// Thin slices, soft kernel, standard dose.
    ThinSoft,
    /// Thin slices, sharp kernel with edge enhancement, low dose.
    LowDoseSharp,
    /// 2.5 mm slices, soft kernel, mostly with contrast medium.
    ThickSlice,
    /// Screening at low dose; half of the nodules are ground-glass or part-solid.
    GroundGlassScreening,
    /// An old scanner: blurred, streaks, padding outside the field of view, some scans stored with flipped axes.
    OldScannerStreaks,
    /// The hospital kept out of training: wide ranges of everything.
    HeldOut,
}

/// A closed range that a scan's value is drawn from uniformly.
pub type Range = (f32, f32);

/// What a hospital's scans are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StyleParameters {
    /// In-plane voxel size of a full-size scan, millimetres.
    pub spacing_xy_mm: Range,
    /// Distance between slices, millimetres.
    pub spacing_z_mm: Range,
    /// Slice thickness as a multiple of the distance between slices.
    pub thickness_ratio: f32,
    /// Standard deviation of the in-plane point spread, millimetres.
    pub blur_mm: Range,
    /// Strength of the sharp kernel's edge enhancement (0 = a soft kernel).
    pub edge: Range,
    /// Standard deviation of the noise in the middle of the body, HU.
    pub noise_hu: Range,
    /// Standard deviation of the streaks, HU.
    pub streak_hu: Range,
    /// Probability of contrast medium.
    pub contrast: f32,
    /// Weights of solid, part-solid, ground-glass and calcified nodules.
    pub nodule_mix: [f32; 4],
    /// Value of voxels outside the round field of view, HU; `None` when the scan shows air there.
    pub padding_hu: Option<i16>,
    /// Whether every fourth scan is stored with reversed x and y axes, as some of LUNA16's are.
    pub flips: bool,
}

impl HospitalStyle {
    /// All styles, the held-out one last.
    pub const ALL: [Self; 6] = [
        Self::ThinSoft,
        Self::LowDoseSharp,
        Self::ThickSlice,
        Self::GroundGlassScreening,
        Self::OldScannerStreaks,
        Self::HeldOut,
    ];

    /// Short lower-case name, used in folder names.
    pub fn name(self) -> &'static str {
        match self {
            Self::ThinSoft => "thin_soft",
            Self::LowDoseSharp => "low_dose_sharp",
            Self::ThickSlice => "thick_slice",
            Self::GroundGlassScreening => "ground_glass_screening",
            Self::OldScannerStreaks => "old_scanner_streaks",
            Self::HeldOut => "held_out",
        }
    }

    /// The ranges of this hospital. The nodule mix of the ordinary ones follows LIDC's texture and calcification
    /// ratings (74 % solid, 16 % part-solid, 10 % non-solid; 11 % calcified).
    pub fn parameters(self) -> StyleParameters {
        let usual = StyleParameters {
            spacing_xy_mm: (0.60, 0.78),
            spacing_z_mm: (1.0, 1.25),
            thickness_ratio: 1.0,
            blur_mm: (0.50, 0.62),
            edge: (0.0, 0.0),
            noise_hu: (16.0, 26.0),
            streak_hu: (0.0, 0.0),
            contrast: 0.4,
            nodule_mix: [0.65, 0.15, 0.10, 0.10],
            padding_hu: None,
            flips: false,
        };
        match self {
            Self::ThinSoft => usual,
            Self::LowDoseSharp => StyleParameters {
                spacing_xy_mm: (0.55, 0.72),
                spacing_z_mm: (0.6, 1.0),
                blur_mm: (0.38, 0.45),
                edge: (0.5, 0.9),
                noise_hu: (38.0, 60.0),
                contrast: 0.0,
                ..usual
            },
            Self::ThickSlice => StyleParameters {
                spacing_xy_mm: (0.64, 0.82),
                spacing_z_mm: (2.5, 2.5),
                blur_mm: (0.50, 0.65),
                noise_hu: (15.0, 22.0),
                contrast: 0.7,
                padding_hu: Some(-2000),
                ..usual
            },
            Self::GroundGlassScreening => {
                StyleParameters { noise_hu: (24.0, 36.0), contrast: 0.0, nodule_mix: [0.42, 0.25, 0.27, 0.06], ..usual }
            }
            Self::OldScannerStreaks => StyleParameters {
                spacing_xy_mm: (0.66, 0.90),
                spacing_z_mm: (1.5, 2.5),
                thickness_ratio: 1.3,
                blur_mm: (0.65, 0.80),
                noise_hu: (22.0, 34.0),
                streak_hu: (14.0, 28.0),
                padding_hu: Some(-3024),
                flips: true,
                ..usual
            },
            Self::HeldOut => StyleParameters {
                spacing_xy_mm: (0.46, 0.98),
                spacing_z_mm: (0.8, 2.0),
                thickness_ratio: 1.1,
                blur_mm: (0.42, 0.70),
                edge: (0.0, 0.5),
                noise_hu: (20.0, 45.0),
                streak_hu: (0.0, 6.0),
                contrast: 0.5,
                nodule_mix: [0.60, 0.18, 0.14, 0.08],
                ..usual
            },
        }
    }
}

/// Size of the imaginary patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// An adult on 512 × 512 voxels, about 300 mm high.
    Full,
    /// An eighth of an adult's volume on 176 × 144 voxels, about 130 mm high, with nodules, vessels and noise of the
    /// true size: for tests and demonstrations on a small machine.
    Small,
}

impl Size {
    /// Short lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Small => "small",
        }
    }

    /// Volume of both lungs that a sound lung mask may have, millilitres.
    pub fn lung_volume_ml(self) -> RangeInclusive<f64> {
        match self {
            Self::Full => 1500.0..=9000.0,
            Self::Small => 150.0..=9000.0,
        }
    }

    /// Voxels along y and x.
    pub(crate) fn plane(self) -> [usize; 2] {
        match self {
            Self::Full => [512, 512],
            Self::Small => [144, 176],
        }
    }

    /// Mean size of the body along x, y, z relative to the adult that the anatomy is written for.
    pub(crate) fn scale(self) -> [f32; 3] {
        match self {
            Self::Full => [1.0, 1.0, 1.0],
            Self::Small => [0.5, 0.56, 0.43],
        }
    }
}

/// The draw of one scan's protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Acquisition {
    pub(crate) spacing_xy: f32,
    pub(crate) spacing_z: f32,
    pub(crate) thickness: f32,
    pub(crate) blur: f32,
    pub(crate) edge: f32,
    pub(crate) noise: f32,
    pub(crate) streak: f32,
    pub(crate) contrast: bool,
    pub(crate) padding: Option<i16>,
    pub(crate) flipped: bool,
    /// Relative size of this patient along x, y, z.
    pub(crate) patient: [f32; 3],
}

impl Acquisition {
    pub(crate) fn draw(seed: u64, index: u64, style: HospitalStyle, size: Size) -> Self {
        let p = style.parameters();
        let mut s = Stream::new(seed, index, Purpose::Acquisition, 0);
        let mut draw = |r: Range| s.range(r.0, r.1);
        let base = size.scale();
        let lateral = draw((0.90, 1.07));
        let patient = [base[0] * lateral, base[1] * lateral * draw((0.94, 1.06)), base[2] * draw((0.92, 1.06))];
        let spacing_xy = match size {
            // The lungs, 270 mm wide in the model, must lie within the field of view.
            Size::Full => draw(p.spacing_xy_mm).max(290.0 * patient[0] / 512.0),
            Size::Small => draw((0.94, 1.12)),
        };
        // Scanners offer a few positions, not a continuum: round to 0.05 mm, three decimals in-plane.
        let spacing_z = ((draw(p.spacing_z_mm) * 20.0).round() / 20.0).max(0.6);
        Self {
            spacing_xy: (spacing_xy * 1000.0).round() / 1000.0,
            spacing_z,
            thickness: spacing_z * p.thickness_ratio,
            blur: draw(p.blur_mm),
            edge: draw(p.edge),
            noise: draw(p.noise_hu),
            streak: draw(p.streak_hu),
            contrast: draw((0.0, 1.0)) < p.contrast,
            padding: p.padding_hu,
            flipped: p.flips && index % 4 == 3,
            patient,
        }
    }
}

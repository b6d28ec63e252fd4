//! Seeded synthetic chest CT (合成体模) with exact nodule truth, in LUNA16's layout.
//!
//! A phantom is a whole adult chest — body wall, ribs, mediastinum, heart, diaphragm, lobes, airways, arteries and
//! veins — with nodules whose centroid and volume are known exactly, and with what imitates nodules. Six imaginary
//! hospitals scan it differently. No voxel of a patient is in it; statistics of LUNA16 and LIDC-IDRI are.
//!
//! The same [`PhantomSpec`] gives the same bytes on every machine and with any number of threads: randomness is
//! counter-based, transcendental functions come from `libm`, and no sum crosses a thread.

pub mod acceptance;
mod anatomy;
pub mod baseline;
mod dataset;
mod distractor;
mod distribution;
mod field;
mod lesion;
mod placement;
mod random;
mod raster;
mod scan;
mod scanner;
mod shapes;
mod style;
mod tissue;
mod tree;
mod vector;

pub use dataset::{DatasetSpec, DatasetSummary, PhantomError, Progress, series_uid, write_dataset};
pub use lesion::{Attachment, NoduleKind};
pub use scan::{Excluded, ExcludedKind, NoduleTruth, Phantom, PhantomSpec, generate};
pub use style::{HospitalStyle, Range, Size, StyleParameters};

//! LUNA16's files: the scans as they are unpacked on disk, and the tables.

mod dataset;
mod tables;

pub use dataset::{Dataset, DatasetError, DatasetProblem, Series, Tables, discover};
pub use tables::*;

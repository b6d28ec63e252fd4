//! The nodule detector: a 3D U-Net on Burn, how it is trained, and how it marks a scan.

mod device;
pub mod inference;
mod layers;
mod model;
pub mod network;
mod plan;
mod prepared;
pub mod training;

pub use burn::tensor::Device;
pub use device::{ChosenDevice, DeviceChoice, DeviceError, has_kernels};
pub use model::{Model, ModelError, Provenance, ProvenanceSignature};
pub use network::{Architecture, ArchitectureError, Network, ParameterSchema};
pub use plan::Plan;
pub use prepared::{PrepareError, PreparedScan};

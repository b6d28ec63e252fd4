//! Local training: what a hospital does with its own scans between two exchanges with the coordinator.

mod checkpoint;
mod examples;
mod loss;
mod optimizer;
mod privacy;
mod random;
mod targets;
mod trainer;
mod validation;

pub use checkpoint::CheckpointError;
pub use examples::{Place, Sampling};
pub use loss::{LossTerms, detection_loss, segmentation_loss};
pub use optimizer::{AdamW, AdamWConfig, cosine_rate};
pub use privacy::{NoiseSecret, PatientPrivacy, sampling_probability};
pub(crate) use random::normal;
pub use targets::{PatchNodule, Positive, Targets};
pub use trainer::{Correction, MAX_BATCH_SIZE, StepReport, Trainer, TrainingConfig, TrainingError, TrainingState};
pub use validation::Validator;

//! Inference: a scan in, detections out.

mod components;
mod peaks;
mod predictor;
mod runner;
mod sliding;

pub use peaks::{Detection, MAX_DETECTIONS, MIN_CONFIDENCE};
pub use predictor::{FederatedLungNodulePredictor, Mode, PredictError, PredictOptions, Prediction, Progress, Stage};

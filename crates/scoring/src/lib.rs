//! How good a detector is: the evaluation of the LUNA16 challenge.
//!
//! The rules are those of the challenge's own script `noduleCADEvaluationLUNA16.py` (A. Setio, C. Jacobs; described in
//! Setio et al., *Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules
//! in computed tomography images: the LUNA16 challenge*, Medical Image Analysis 42, 2017): a change to any of them
//! makes our numbers incomparable with published ones. They are written out at [`evaluate`].
//!
//! The crate knows tables of marks and nodules; it knows neither images nor the network that made the marks, reads no
//! file and writes none.

mod bootstrap;
mod diameter;
mod evaluation;
mod figure;
mod froc;
mod matching;

pub use bootstrap::{Band, BandPoint, CpmDifference};
pub use diameter::{DIAMETER_EDGES_MM, DiameterBin};
pub use evaluation::{Evaluation, Options, ScoringError, Summary, Unlisted, evaluate};
pub use figure::{FigureCurve, FigureLabels, froc_svg};
pub use froc::{FP_RATES, Froc, FrocPoint};
pub use matching::{MAX_MARKS_PER_SCAN, NoduleOutcome};

//! A model for other programs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weights::Overwrite;

use crate::signed::LoadError;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Its hash.
    pub sha256: String,
    /// Number of values in it.
    pub parameters: usize,
}

/// Writes the weights of a model as a `.pth` that `torch.load(weights_only=True)` reads. A file that is there stays.
pub fn export(model: &Path, to: &Path) -> Result<Exported, LoadError> {
    let model = crate::signed::load(model)?;
    let hash = model.export_pth(to, Overwrite::Refuse)?;
    Ok(Exported { path: to.to_path_buf(), sha256: weights::hex(&hash), parameters: model.parameters.len() })
}

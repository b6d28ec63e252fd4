//! A training run on disk: everything that the next step depends on, so that a resumed run gives the same bits.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weights::{FileError, Overwrite, StateDict, Tensor};

use super::examples::Place;
use super::optimizer::AdamW;
use super::trainer::{TrainingConfig, TrainingState};

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something else is in it.
    #[error("{path} is not a training checkpoint: {problem}; expected a file written by this program's training")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What does not fit in tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    version: u32,
    step: u64,
    optimizer_step: u64,
    mined: Vec<Place>,
}

const VERSION: u32 = 1;
const CONFIG_KEY: &str = "fednodule.training.config";
const PROGRESS_KEY: &str = "fednodule.training.progress";
const ABOUT_KEY: &str = "fednodule.training.about";
/// The flat vectors of a [`TrainingState`], by name.
const VECTORS: [&str; 4] = ["parameters", "ema", "first_moment", "second_moment"];
/// And one that is there where it is not empty.
const CONTROL: &str = "control";

impl TrainingState {
    /// Writes the state, the run's configuration and what the caller wants to know again; an earlier checkpoint of that
    /// name is replaced atomically.
    pub fn save(&self, config: &TrainingConfig, about: &str, path: &Path) -> Result<(), CheckpointError> {
        let content = |problem: String| CheckpointError::Content { path: path.to_path_buf(), problem };
        let mut dict = StateDict::default();
        let vectors = [&self.parameters, &self.ema, &self.optimizer.first_moment, &self.optimizer.second_moment];
        let control = [(CONTROL, &self.control)].into_iter().filter(|(_, values)| !values.is_empty());
        for (name, values) in VECTORS.into_iter().zip(vectors).chain(control) {
            let tensor = Tensor::new(vec![values.len()], values.clone());
            tensor.and_then(|tensor| dict.insert(name, tensor)).map_err(|e| content(e.to_string()))?;
        }
        let progress = Progress {
            version: VERSION,
            step: self.step,
            optimizer_step: self.optimizer.step,
            mined: self.mined.clone(),
        };
        let json = |value: serde_json::Result<String>| value.map_err(|e| content(e.to_string()));
        dict.metadata.insert(CONFIG_KEY.to_owned(), json(serde_json::to_string(config))?);
        dict.metadata.insert(PROGRESS_KEY.to_owned(), json(serde_json::to_string(&progress))?);
        dict.metadata.insert(ABOUT_KEY.to_owned(), about.to_owned());
        dict.save_safetensors(path, Overwrite::Allow)?;
        Ok(())
    }

    /// Reads what [`TrainingState::save`] wrote.
    pub fn load(path: &Path) -> Result<(Self, TrainingConfig, String), CheckpointError> {
        let content = |problem: String| CheckpointError::Content { path: path.to_path_buf(), problem };
        let dict = StateDict::load_safetensors(path)?;
        let text = |key: &str| dict.metadata.get(key).ok_or_else(|| content(format!("its metadata has no {key}")));
        let config: TrainingConfig =
            serde_json::from_str(text(CONFIG_KEY)?).map_err(|e| content(format!("its configuration: {e}")))?;
        let about = dict.metadata.get(ABOUT_KEY).cloned().unwrap_or_default();
        let progress: Progress =
            serde_json::from_str(text(PROGRESS_KEY)?).map_err(|e| content(format!("its progress: {e}")))?;
        if progress.version != VERSION {
            return Err(content(format!("it has version {}, this program reads {VERSION}", progress.version)));
        }
        let vector = |name: &str| {
            dict.get(name).map(|t| t.values().to_vec()).ok_or_else(|| content(format!("it has no tensor {name}")))
        };
        let [parameters, ema, first_moment, second_moment] =
            [vector(VECTORS[0])?, vector(VECTORS[1])?, vector(VECTORS[2])?, vector(VECTORS[3])?];
        let control = dict.get(CONTROL).map(|t| t.values().to_vec());
        if [&ema, &first_moment, &second_moment].into_iter().chain(&control).any(|v| v.len() != parameters.len()) {
            return Err(content("its vectors have different lengths".to_owned()));
        }
        let optimizer =
            AdamW { first_moment, second_moment, step: progress.optimizer_step, ..AdamW::new(config.adamw, 0) };
        let control = control.unwrap_or_default();
        Ok((Self { parameters, optimizer, ema, mined: progress.mined, step: progress.step, control }, config, about))
    }
}

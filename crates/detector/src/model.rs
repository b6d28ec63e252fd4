//! A trained model as a file: weights, the network's description and the plan together, so that a file alone is
//! enough to predict.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use weights::{FileError, Overwrite, Sha256, StateDict, Tensor};

use crate::inference::{FederatedLungNodulePredictor, PredictError};
use crate::network::{Architecture, ArchitectureError, ClassicUNet3dConfig, ParameterSchema};
use crate::plan::Plan;

/// Keys of the safetensors metadata.
const ARCHITECTURE_KEY: &str = "fednodule.architecture";
const PLAN_KEY: &str = "fednodule.plan";
const PROVENANCE_KEY: &str = "fednodule.provenance";
/// Version of the metadata; a reader refuses a newer one.
const FORMAT_KEY: &str = "fednodule.format";
const FORMAT: &str = "1";

/// Where a model comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The federated session, or how else it was trained.
    pub session: String,
    /// Rounds of the session.
    pub rounds: u32,
    /// Sites that took part.
    pub sites: Vec<String>,
    /// What a reader must know about its weakness, e.g. that it was trained on phantoms.
    pub note: String,
    /// Of a federation's coordinator; who knows federations can check it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ProvenanceSignature>,
}

/// A signature under the parameters' SHA-256 and the session's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProvenanceSignature {
    /// Ed25519 public key, hexadecimal.
    pub coordinator: String,
    /// Ed25519 signature, hexadecimal.
    pub signature: String,
}

/// Everything a prediction needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The network.
    pub architecture: Architecture,
    /// Preprocessing.
    pub plan: Plan,
    /// Weights in the order of [`ParameterSchema`].
    pub parameters: Vec<f32>,
    /// Origin.
    pub provenance: Provenance,
}

/// Why a model file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Metadata that is missing or not understood.
    #[error(
        "{path} is not a model of fednodule: its metadata entry {key} {problem}; expected a file written by fednodule train or export"
    )]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Which entry.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Tensors that are not the network's.
    #[error("{path} does not fit its network: tensor {name} {problem}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The first tensor that differs.
        name: String,
        /// How.
        problem: String,
    },
    /// Values that no network can use.
    #[error("{path}: tensor {name} holds a value that is not finite; the training diverged or the file is damaged")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Where.
        name: String,
    },
    /// The network's description.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
}

impl Model {
    /// Reads `.safetensors`, or a `.pth` state dict of the classic network.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let is_pth = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pth") || e.eq_ignore_ascii_case("pt"));
        let (dict, architecture, plan, provenance) = if is_pth {
            let dict = StateDict::load_pth(path)?;
            let architecture = Architecture::ClassicUnet(ClassicUNet3dConfig { widths: classic_widths(&dict, path)? });
            let note = "imported from a PyTorch state dict".to_owned();
            (dict, architecture, Plan::with_patch(64), Provenance { note, ..Provenance::default() })
        } else {
            let dict = StateDict::load_safetensors(path)?;
            Self::parse_metadata(dict, path)?
        };
        let schema = ParameterSchema::of(&architecture.build(&Device::flex())?);
        let parameters = flat(&dict, &schema, path)?;
        Ok(Self { architecture, plan, parameters, provenance })
    }

    /// Reads the bytes of a `.safetensors`; `path` is for messages.
    pub fn from_safetensors(bytes: &[u8], path: &Path) -> Result<Self, ModelError> {
        let decode = |source| FileError::Decode { path: path.to_path_buf(), source };
        let dict = StateDict::from_safetensors(bytes).map_err(decode)?;
        let (dict, architecture, plan, provenance) = Self::parse_metadata(dict, path)?;
        let schema = ParameterSchema::of(&architecture.build(&Device::flex())?);
        let parameters = flat(&dict, &schema, path)?;
        Ok(Self { architecture, plan, parameters, provenance })
    }

    fn parse_metadata(dict: StateDict, path: &Path) -> Result<(StateDict, Architecture, Plan, Provenance), ModelError> {
        let format = dict.metadata.get(FORMAT_KEY).map(String::as_str);
        if format != Some(FORMAT) {
            let problem = match format {
                Some(other) => {
                    format!("says version {other}, this program reads version {FORMAT}: use a newer program")
                }
                None => "is missing".to_owned(),
            };
            return Err(ModelError::Metadata { path: path.to_path_buf(), key: FORMAT_KEY, problem });
        }
        let architecture = metadata(&dict, ARCHITECTURE_KEY, path)?;
        let plan = metadata(&dict, PLAN_KEY, path)?;
        let provenance = metadata(&dict, PROVENANCE_KEY, path)?;
        Ok((dict, architecture, plan, provenance))
    }

    /// The weights by name, with the metadata that makes the file complete.
    pub fn to_state_dict(&self) -> Result<StateDict, ModelError> {
        let schema = ParameterSchema::of(&self.architecture.build(&Device::flex())?);
        let mut dict = StateDict::default();
        for (parameter, values) in schema.split(&self.parameters) {
            let tensor = Tensor::new(parameter.shape.clone(), values.to_vec());
            let inserted = tensor.and_then(|tensor| dict.insert(parameter.name.clone(), tensor));
            inserted.map_err(|e| ModelError::Tensor {
                path: PathBuf::new(),
                name: parameter.name.clone(),
                problem: e.to_string(),
            })?;
        }
        let json = |value: serde_json::Result<String>| value.expect("plain data serialises");
        dict.metadata.insert(FORMAT_KEY.to_owned(), FORMAT.to_owned());
        dict.metadata.insert(ARCHITECTURE_KEY.to_owned(), json(serde_json::to_string(&self.architecture)));
        dict.metadata.insert(PLAN_KEY.to_owned(), json(serde_json::to_string(&self.plan)));
        dict.metadata.insert(PROVENANCE_KEY.to_owned(), json(serde_json::to_string(&self.provenance)));
        Ok(dict)
    }

    /// Writes a `.safetensors`; returns the file's hash.
    pub fn save(&self, path: &Path, overwrite: Overwrite) -> Result<Sha256, ModelError> {
        Ok(self.to_state_dict()?.save_safetensors(path, overwrite)?)
    }

    /// Writes a `.pth` that `torch.load(weights_only=True)` reads; returns the file's hash.
    pub fn export_pth(&self, path: &Path, overwrite: Overwrite) -> Result<Sha256, ModelError> {
        Ok(self.to_state_dict()?.save_pth(path, overwrite)?)
    }

    /// A predictor with these weights.
    pub fn predictor(&self, device: &Device) -> Result<FederatedLungNodulePredictor, PredictError> {
        FederatedLungNodulePredictor::new(&self.architecture, self.plan.clone(), &self.parameters, device)
    }
}

fn metadata<T: for<'a> Deserialize<'a>>(dict: &StateDict, key: &'static str, path: &Path) -> Result<T, ModelError> {
    let refused = |problem| ModelError::Metadata { path: path.to_path_buf(), key, problem };
    let text = dict.metadata.get(key).ok_or_else(|| refused("is missing".to_owned()))?;
    serde_json::from_str(text).map_err(|e| refused(format!("cannot be understood: {e}")))
}

/// Tensors that PyTorch keeps beside the weights and that nothing here uses.
const IGNORED_SUFFIX: &str = "num_batches_tracked";

fn flat(dict: &StateDict, schema: &ParameterSchema, path: &Path) -> Result<Vec<f32>, ModelError> {
    let refused = |name: &str, problem: String| ModelError::Tensor { path: path.into(), name: name.into(), problem };
    let mut values = Vec::with_capacity(schema.len());
    for p in &schema.parameters {
        let tensor = dict.get(&p.name).ok_or_else(|| refused(&p.name, "is missing".to_owned()))?;
        if tensor.shape() != p.shape {
            return Err(refused(&p.name, format!("has shape {:?}, expected {:?}", tensor.shape(), p.shape)));
        }
        if !tensor.values().iter().all(|v| v.is_finite()) {
            return Err(ModelError::NotFinite { path: path.into(), name: p.name.clone() });
        }
        values.extend_from_slice(tensor.values());
    }
    let known = |name: &str| name.ends_with(IGNORED_SUFFIX) || schema.parameters.iter().any(|p| p.name == name);
    match dict.iter().find(|(name, _)| !known(name)) {
        Some((name, _)) => Err(refused(name, "is not one of the network's".to_owned())),
        None => Ok(values),
    }
}

/// The widths of a classic network, read off its first convolutions.
fn classic_widths(dict: &StateDict, path: &Path) -> Result<Vec<usize>, ModelError> {
    let width = |level: usize| dict.get(&format!("encoder.{level}.conv1.weight")).map(|t| t.shape()[0]);
    let widths: Vec<usize> = (0..).map_while(width).collect();
    if widths.is_empty() {
        let problem = "is missing: only the classic network is imported from .pth, with the names that export writes";
        return Err(ModelError::Tensor {
            path: path.to_path_buf(),
            name: "encoder.0.conv1.weight".to_owned(),
            problem: problem.to_owned(),
        });
    }
    Ok(widths)
}

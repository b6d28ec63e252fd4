//! The two networks, each described by plain data ([`Architecture`]) that travels with the weights.

mod classic;
mod packed;
mod parameters;
mod unet;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::layers::space_to_depth;
use crate::training::{LossTerms, Targets, detection_loss, segmentation_loss};

pub use classic::{ClassicUNet3d, ClassicUNet3dConfig};
pub(crate) use packed::PackedNetwork;
pub(crate) use parameters::host;
pub use parameters::{Parameter, ParameterSchema};
pub use unet::{DetectionMaps, UNet3d, UNet3dConfig};

/// Which network: everything that is needed to build it, and nothing about how it was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "snake_case", deny_unknown_fields)]
pub enum Architecture {
    /// The detector: residual U-Net on a space-to-depth stem with segmentation, centre, offset and size heads.
    DetectionUnet(UNet3dConfig),
    /// The plain full-resolution segmentation U-Net of existing checkpoints.
    ClassicUnet(ClassicUNet3dConfig),
}

/// A description that no network can be built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchitectureError {
    /// A name that is none of the presets.
    #[error("no network is called '{0}'; the names are xxs, xs, s, m, l and classic")]
    UnknownName(String),
    /// Numbers that do not fit together.
    #[error("the network's description is not usable: {0}")]
    Invalid(String),
}

impl Architecture {
    /// A preset by its name: `xxs`, `xs`, `s`, `m`, `l`, `classic`.
    pub fn by_name(name: &str) -> Result<Self, ArchitectureError> {
        Ok(match name {
            "xxs" => Self::DetectionUnet(UNet3dConfig::xxs()),
            "xs" => Self::DetectionUnet(UNet3dConfig::xs()),
            "s" => Self::DetectionUnet(UNet3dConfig::s()),
            "m" => Self::DetectionUnet(UNet3dConfig::m()),
            "l" => Self::DetectionUnet(UNet3dConfig::l()),
            "classic" => Self::ClassicUnet(ClassicUNet3dConfig::default()),
            other => return Err(ArchitectureError::UnknownName(other.to_owned())),
        })
    }

    /// The length of a patch's side must be a multiple of this.
    pub fn patch_multiple(&self) -> usize {
        match self {
            Self::DetectionUnet(config) => 1 << config.widths.len(),
            Self::ClassicUnet(config) => 1 << (config.widths.len() - 1),
        }
    }

    /// Builds the network, its weights not yet drawn ([`ParameterSchema::initial`]).
    pub fn build(&self, device: &Device) -> Result<Network, ArchitectureError> {
        Ok(match self {
            Self::DetectionUnet(config) => Network::DetectionUnet(config.init(device)?),
            Self::ClassicUnet(config) => Network::ClassicUnet(config.init(device)?),
        })
    }
}

/// A network of either architecture.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful of networks exist at a time, and Burn has no boxed modules")]
pub enum Network {
    /// See [`UNet3d`].
    DetectionUnet(UNet3d),
    /// See [`ClassicUNet3d`].
    ClassicUnet(ClassicUNet3d),
}

impl Network {
    /// The raw output maps, one cell for 2 × 2 × 2 voxels.
    ///
    /// # Shapes
    /// `[n, 1, d, h, w]` → `[n, 13, d/2, h/2, w/2]` ([`DetectionMaps`]), or for the classic network the nodule's logits
    /// (nodule minus background) of the cells' voxels, `[n, 8, d/2, h/2, w/2]`. Every side is a multiple of
    /// [`Architecture::patch_multiple`].
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        match self {
            Self::DetectionUnet(net) => net.forward(x),
            Self::ClassicUnet(net) => {
                let logits = net.forward(x);
                let [background, nodule] = [0, 1].map(|channel| logits.clone().narrow(1, channel, 1));
                space_to_depth(nodule - background)
            }
        }
    }

    /// Whether the maps of a sample do not depend on the others in its batch: groups are normalised sample by sample,
    /// batches are not.
    pub(crate) fn samples_are_independent(&self) -> bool {
        matches!(self, Self::DetectionUnet(_))
    }

    /// The loss of this network's maps, and its gradient with respect to them.
    pub(crate) fn loss(&self, maps: &[f32], targets: &[Targets]) -> (LossTerms, Vec<f32>) {
        match self {
            Self::DetectionUnet(_) => detection_loss(maps, targets),
            Self::ClassicUnet(_) => segmentation_loss(maps, targets),
        }
    }
}

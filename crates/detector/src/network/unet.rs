//! The detection network: a residual 3D U-Net whose expensive levels start at twice the voxel size.

mod packed;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::ArchitectureError;
use crate::layers::{Conv3d, GroupNorm, activate, space_to_depth, upsample2};

pub(crate) use packed::{PackedUNet3d, Workspace};

/// Widths and depths of a [`UNet3d`]; the first level is at 2 mm when the voxels are 1 mm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNet3dConfig {
    /// Channels of each level, finest first.
    pub widths: Vec<usize>,
    /// Residual blocks of each level's encoder.
    pub blocks: Vec<usize>,
    /// Channels that share one normalisation group.
    pub group_channels: usize,
}

impl UNet3dConfig {
    fn preset(widths: [usize; 4]) -> Self {
        Self { widths: widths.to_vec(), blocks: vec![1, 1, 2, 2], group_channels: 8 }
    }

    /// Three narrow levels: for tests and for demonstrations that must end in minutes.
    pub fn xxs() -> Self {
        Self { widths: vec![16, 32, 48], blocks: vec![1, 1, 1], group_channels: 8 }
    }

    /// For training on a CPU.
    pub fn xs() -> Self {
        Self::preset([16, 32, 64, 96])
    }

    /// Small.
    pub fn s() -> Self {
        Self::preset([24, 48, 96, 160])
    }

    /// The standard size.
    pub fn m() -> Self {
        Self::preset([32, 64, 128, 192])
    }

    /// For training on a GPU.
    pub fn l() -> Self {
        Self::preset([48, 96, 160, 224])
    }

    /// Builds the layers.
    pub fn init(&self, device: &Device) -> Result<UNet3d, ArchitectureError> {
        let Self { widths, blocks, group_channels } = self;
        let invalid = |what: String| Err(ArchitectureError::Invalid(what));
        if widths.len() != blocks.len() || !(2..=6).contains(&widths.len()) {
            return invalid(format!(
                "{} widths and {} block counts: 2 to 6 of each are needed",
                widths.len(),
                blocks.len()
            ));
        }
        if *group_channels == 0 || widths.iter().any(|w| w % group_channels != 0 || *w == 0 || *w > 1024) {
            return invalid(format!(
                "widths {widths:?} must be multiples of group_channels {group_channels}, 1024 at most"
            ));
        }
        if blocks.iter().any(|b| !(1..=8).contains(b)) {
            return invalid(format!("blocks {blocks:?} must each be 1 to 8"));
        }
        let unit = |channels, kernel, stride| ConvNormAct::new(channels, kernel, stride, *group_channels, device);
        Ok(UNet3d {
            stem: unit([SUB_VOXELS, widths[0]], 3, 1),
            encoder: (0..widths.len())
                .map(|level| Level {
                    down: (level > 0).then(|| unit([widths[level - 1], widths[level]], 3, 2)),
                    blocks: (0..blocks[level]).map(|_| Residual::new(widths[level], *group_channels, device)).collect(),
                })
                .collect(),
            decoder: (0..widths.len() - 1)
                .map(|level| Merge {
                    reduce: Conv3d::new([widths[level + 1], widths[level]], 1, 1, device),
                    fuse: unit([2 * widths[level], widths[level]], 3, 1),
                })
                .collect(),
            head: Conv3d::new([widths[0], DetectionMaps::CHANNELS], 1, 1, device),
        })
    }
}

/// Voxels in one cell of the output grid: 2 × 2 × 2.
const SUB_VOXELS: usize = 8;

/// What the channels of a [`UNet3d`]'s output mean. One cell of the output covers 2 × 2 × 2 input voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectionMaps;

impl DetectionMaps {
    /// Logit of the centre heat-map.
    pub const CENTRE: usize = 0;
    /// Offset of the nodule's centre from the cell's centre, in cells, along z, y, x (three channels).
    pub const OFFSET: usize = 1;
    /// ln(diameter / 1 mm).
    pub const LOG_DIAMETER: usize = 4;
    /// Logits of the nodule segmentation of the cell's eight voxels, in the order of `torch.nn.functional.pixel_unshuffle` in 3D (dz slowest).
    pub const SEGMENTATION: usize = 5;
    /// Total.
    pub const CHANNELS: usize = 5 + SUB_VOXELS;
}

/// Space-to-depth stem, residual encoder with strided convolutions, decoder of 1×1 reduction + trilinear up-sampling +
/// concatenated skip, one 1×1 head for all maps. Normalisation is by groups: statistics of batches do not average
/// between hospitals.
#[derive(Module, Debug)]
pub struct UNet3d {
    stem: ConvNormAct,
    encoder: Vec<Level>,
    decoder: Vec<Merge>,
    head: Conv3d,
}

impl UNet3d {
    /// # Shapes
    /// `[n, 1, d, h, w]` → `[n, 13, d/2, h/2, w/2]`, see [`DetectionMaps`]
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let mut x = self.stem.forward(space_to_depth(x));
        let mut skips = Vec::with_capacity(self.encoder.len());
        for level in &self.encoder {
            x = level.forward(x);
            skips.push(x.clone());
        }
        skips.pop(); // the deepest level is x itself
        for merge in self.decoder.iter().rev() {
            let skip = skips.pop().expect("one skip for every decoder level");
            x = merge.forward(x, skip);
        }
        self.head.forward(x)
    }
}

#[derive(Module, Debug)]
struct ConvNormAct {
    conv: Conv3d,
    norm: GroupNorm,
}

impl ConvNormAct {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, group_channels: usize, device: &Device) -> Self {
        Self {
            conv: Conv3d::new(channels, kernel, stride, device),
            norm: GroupNorm::new(channels[1], group_channels, true, device),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Level {
    down: Option<ConvNormAct>,
    blocks: Vec<Residual>,
}

impl Level {
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let x = match &self.down {
            Some(down) => down.forward(x),
            None => x,
        };
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

/// `x + norm(conv(act(norm(conv(x)))))`, then the activation (He et al. 2016, the original order).
#[derive(Module, Debug)]
struct Residual {
    first: ConvNormAct,
    second: Conv3d,
    norm: GroupNorm,
}

impl Residual {
    fn new(channels: usize, group_channels: usize, device: &Device) -> Self {
        Self {
            first: ConvNormAct::new([channels; 2], 3, 1, group_channels, device),
            second: Conv3d::new([channels; 2], 3, 1, device),
            norm: GroupNorm::new(channels, group_channels, false, device),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let y = self.norm.forward(self.second.forward(self.first.forward(x.clone())));
        activate(x + y)
    }
}

#[derive(Module, Debug)]
struct Merge {
    reduce: Conv3d,
    fuse: ConvNormAct,
}

impl Merge {
    fn forward(&self, deep: Tensor<5>, skip: Tensor<5>) -> Tensor<5> {
        // The 1×1 convolution comes before the up-sampling: an eighth of the work, the same result.
        let deep = upsample2(self.reduce.forward(deep));
        self.fuse.forward(Tensor::cat(vec![skip, deep], 1))
    }
}

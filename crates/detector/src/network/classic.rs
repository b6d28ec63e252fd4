//! The plain full-resolution 3D U-Net (Çiçek et al. 2016) of existing checkpoints: two 3³ convolutions with batch
//! normalisation and ReLU a level, max-pooling, transposed convolution, two output channels (background, nodule).

mod packed;

use burn::module::Module;
use burn::nn::conv::{ConvTranspose3d, ConvTranspose3dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::ArchitectureError;
use crate::layers::{Conv3d, batch_norm_relu, max_pool2, up_beside};

pub(crate) use packed::{PackedClassic, Workspace};

/// Widths of a [`ClassicUNet3d`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassicUNet3dConfig {
    /// Channels of each level, finest first.
    pub widths: Vec<usize>,
}

impl Default for ClassicUNet3dConfig {
    fn default() -> Self {
        Self { widths: vec![32, 64, 128, 256] }
    }
}

impl ClassicUNet3dConfig {
    /// Builds the layers.
    pub fn init(&self, device: &Device) -> Result<ClassicUNet3d, ArchitectureError> {
        let widths = &self.widths;
        if !(2..=6).contains(&widths.len()) || widths.iter().any(|w| !(1..=1024).contains(w)) {
            return Err(ArchitectureError::Invalid(format!(
                "widths {widths:?}: 2 to 6 values of 1 to 1024 are needed"
            )));
        }
        let inputs = std::iter::once(1).chain(widths.iter().copied());
        Ok(ClassicUNet3d {
            encoder: inputs.zip(widths).map(|(input, &width)| DoubleConv::new([input, width], device)).collect(),
            up: widths
                .windows(2)
                .map(|w| ConvTranspose3dConfig::new([w[1], w[0]], [2; 3]).with_stride([2; 3]).init(device))
                .collect(),
            decoder: widths[..widths.len() - 1].iter().map(|&w| DoubleConv::new([2 * w, w], device)).collect(),
            head: Conv3d::new([widths[0], 2], 1, 1, device),
        })
    }
}

/// See the module.
#[derive(Module, Debug)]
pub struct ClassicUNet3d {
    encoder: Vec<DoubleConv>,
    up: Vec<ConvTranspose3d>,
    decoder: Vec<DoubleConv>,
    head: Conv3d,
}

impl ClassicUNet3d {
    /// # Shapes
    /// `[n, 1, d, h, w]` → logits `[n, 2, d, h, w]`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let mut skips = Vec::with_capacity(self.up.len());
        let mut x = x;
        for (level, block) in self.encoder.iter().enumerate() {
            x = block.forward(if level == 0 { x } else { max_pool2(x) });
            skips.push(x.clone());
        }
        skips.pop();
        for ((up, block), skip) in self.up.iter().zip(&self.decoder).zip(skips).rev() {
            x = block.forward(up_beside(skip, up, x));
        }
        self.head.forward(x)
    }
}

#[derive(Module, Debug)]
struct DoubleConv {
    conv1: Conv3d,
    norm1: BatchNorm,
    conv2: Conv3d,
    norm2: BatchNorm,
}

impl DoubleConv {
    fn new(channels: [usize; 2], device: &Device) -> Self {
        let [input, output] = channels;
        Self {
            conv1: Conv3d::new([input, output], 3, 1, device),
            norm1: BatchNormConfig::new(output).init(device),
            conv2: Conv3d::new([output, output], 3, 1, device),
            norm2: BatchNormConfig::new(output).init(device),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let x = batch_norm_relu(&self.norm1, self.conv1.forward(x));
        batch_norm_relu(&self.norm2, self.conv2.forward(x))
    }
}

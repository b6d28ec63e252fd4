//! The forward pass on the CPU without gradients, over memory that is used again.

use conv3d::inference::{Activations, Conv, Finish};
use conv3d::space_to_depth::space_to_depth;

use super::{ClassicUNet3d, DoubleConv};
use crate::layers::packed_up;

/// A [`ClassicUNet3d`] with packed weights, for tiles of one size.
pub(crate) struct PackedClassic {
    encoder: Vec<[Conv; 2]>,
    up: Vec<Conv>,
    decoder: Vec<[Conv; 2]>,
    /// The nodule's logit minus the background's.
    head: Conv,
    widths: Vec<usize>,
    side: usize,
}

/// The arrays of one pass.
pub(crate) struct Workspace {
    levels: Vec<LevelArrays>,
    logits: Vec<f32>,
}

struct LevelArrays {
    input: Activations,
    inner: Activations,
    /// The level's result: on the way down the skip, on the way up the decoder's.
    value: Activations,
    up: Option<Activations>,
}

impl DoubleConv {
    fn packed(&self, dims: [usize; 3]) -> [Conv; 2] {
        [self.conv1.packed_with(&self.norm1, dims), self.conv2.packed_with(&self.norm2, dims)]
    }
}

impl ClassicUNet3d {
    /// For tiles of `side`³ voxels.
    pub(crate) fn packed(&self, side: usize) -> PackedClassic {
        let dims = |level: usize| [side >> level; 3];
        let packed = |blocks: &[DoubleConv]| blocks.iter().enumerate().map(|(l, b)| b.packed(dims(l))).collect();
        PackedClassic {
            encoder: packed(&self.encoder),
            up: self.up.iter().enumerate().map(|(l, up)| packed_up(up, dims(l + 1))).collect(),
            decoder: packed(&self.decoder),
            head: self.head.packed_difference(dims(0)),
            widths: self.encoder.iter().map(|b| b.conv2.bias.dims()[0]).collect(),
            side,
        }
    }
}

impl PackedClassic {
    pub(crate) fn workspace(&self) -> Workspace {
        let level = |(l, &width): (usize, &usize)| {
            let dims = [self.side >> l; 3];
            LevelArrays {
                input: match l.checked_sub(1) {
                    Some(finer) => Activations::new(self.widths[finer], dims),
                    None => Activations::single(dims),
                },
                inner: Activations::new(width, dims),
                value: Activations::new(width, dims),
                up: (l + 1 < self.widths.len()).then(|| Activations::new(width, dims)),
            }
        };
        let levels = self.widths.iter().enumerate().map(level).collect();
        Workspace { levels, logits: vec![0.0; self.side.pow(3)] }
    }

    /// As [`ClassicUNet3d::forward`], and then the nodule's logit minus the background's by cells of 2 × 2 × 2 voxels.
    ///
    /// # Shapes
    /// `x`: `[side, side, side]` → `[8, side/2, side/2, side/2]`
    pub(crate) fn forward(&self, x: &[f32], workspace: &mut Workspace) -> Vec<f32> {
        let Workspace { levels, logits } = workspace;
        levels[0].input.load(x);
        for (l, [first, second]) in self.encoder.iter().enumerate() {
            let (finer, rest) = levels.split_at_mut(l);
            let LevelArrays { input, inner, value, .. } = &mut rest[0];
            if let Some(finer) = finer.last() {
                finer.value.max_pool(input);
            }
            first.run(&[input], Finish::Relu, inner);
            second.run(&[inner], Finish::Relu, value);
        }
        for (l, ([first, second], expand)) in self.decoder.iter().zip(&self.up).enumerate().rev() {
            let (finer, coarser) = levels.split_at_mut(l + 1);
            let LevelArrays { inner, value, up, .. } = &mut finer[l];
            let up = up.as_mut().expect("every level but the deepest has one");
            expand.run(&[&coarser[0].value], Finish::Linear, up);
            first.run(&[value, up], Finish::Relu, inner);
            second.run(&[inner], Finish::Relu, value);
        }
        self.head.run_plain(&[&levels[0].value], logits);
        let mut maps = vec![0.0; logits.len()];
        space_to_depth(1, [self.side / 2; 3], logits, &mut maps);
        maps
    }
}

//! The forward pass on the CPU without gradients, over memory that is used again.

use std::mem::swap;

use conv3d::inference::{Activations, Conv, Finish};
use conv3d::space_to_depth::space_to_depth;

use super::{DetectionMaps, Residual, SUB_VOXELS, UNet3d};
use crate::layers::PackedUnit;

/// A [`UNet3d`] with packed weights, for tiles of one size.
pub(crate) struct PackedUNet3d {
    stem: PackedUnit,
    levels: Vec<PackedLevel>,
    merges: Vec<(Conv, PackedUnit)>,
    head: Conv,
    /// Cells along the side of every level.
    sides: Vec<usize>,
}

struct PackedLevel {
    channels: usize,
    down: Option<PackedUnit>,
    blocks: Vec<[PackedUnit; 2]>,
}

/// The arrays of one pass.
pub(crate) struct Workspace {
    cells: Vec<f32>,
    input: Activations,
    levels: Vec<LevelArrays>,
}

struct LevelArrays {
    /// The level's result: on the way down the skip, on the way up the decoder's.
    value: Activations,
    work: [Activations; 2],
    /// What goes up to the finer level.
    reduced: Option<Activations>,
}

impl UNet3d {
    /// For tiles of `side`³ voxels.
    pub(crate) fn packed(&self, side: usize) -> PackedUNet3d {
        let sides: Vec<_> = (0..self.encoder.len()).map(|level| (side / 2) >> level).collect();
        let dims = |level: usize| [sides[level]; 3];
        let block = |b: &Residual, level| {
            [
                PackedUnit::new(&b.first.conv, &b.first.norm, dims(level)),
                PackedUnit::new(&b.second, &b.norm, dims(level)),
            ]
        };
        let level = |(l, level): (usize, &super::Level)| PackedLevel {
            channels: level.blocks[0].second.bias.dims()[0],
            down: level.down.as_ref().map(|down| PackedUnit::new(&down.conv, &down.norm, dims(l - 1))),
            blocks: level.blocks.iter().map(|b| block(b, l)).collect(),
        };
        let merge = |(l, merge): (usize, &super::Merge)| {
            (merge.reduce.packed(dims(l + 1)), PackedUnit::new(&merge.fuse.conv, &merge.fuse.norm, dims(l)))
        };
        PackedUNet3d {
            stem: PackedUnit::new(&self.stem.conv, &self.stem.norm, dims(0)),
            levels: self.encoder.iter().enumerate().map(level).collect(),
            merges: self.decoder.iter().enumerate().map(merge).collect(),
            head: self.head.packed(dims(0)),
            sides,
        }
    }
}

impl PackedUNet3d {
    pub(crate) fn workspace(&self) -> Workspace {
        let array = |channels, level: usize| Activations::new(channels, [self.sides[level]; 3]);
        let level = |(l, level): (usize, &PackedLevel)| LevelArrays {
            value: array(level.channels, l),
            work: [array(level.channels, l), array(level.channels, l)],
            reduced: (l > 0).then(|| array(self.levels[l - 1].channels, l)),
        };
        Workspace {
            cells: vec![0.0; SUB_VOXELS * self.sides[0].pow(3)],
            input: array(SUB_VOXELS, 0),
            levels: self.levels.iter().enumerate().map(level).collect(),
        }
    }

    /// As [`UNet3d::forward`].
    ///
    /// # Shapes
    /// `x`: `[side, side, side]` → `[13, side/2, side/2, side/2]`
    pub(crate) fn forward(&self, x: &[f32], workspace: &mut Workspace) -> Vec<f32> {
        let Workspace { cells, input, levels } = workspace;
        space_to_depth(1, [self.sides[0]; 3], x, cells);
        input.load(cells);
        self.stem.run(&[input], None, &mut levels[0].value);
        for (l, level) in self.levels.iter().enumerate() {
            let (finer, rest) = levels.split_at_mut(l);
            let LevelArrays { value, work: [inner, result], .. } = &mut rest[0];
            if let (Some(down), Some(finer)) = (&level.down, finer.last()) {
                down.run(&[&finer.value], None, value);
            }
            for [first, second] in &level.blocks {
                first.run(&[value], None, inner);
                second.run(&[inner], Some(value), result);
                swap(value, result);
            }
        }
        for (l, (reduce, fuse)) in self.merges.iter().enumerate().rev() {
            let (finer, coarser) = levels.split_at_mut(l + 1);
            let LevelArrays { value, work: [up, result], .. } = &mut finer[l];
            let LevelArrays { value: deep, reduced, .. } = &mut coarser[0];
            let reduced = reduced.as_mut().expect("every level but the first is reduced");
            reduce.run(&[deep], Finish::Linear, reduced);
            reduced.upsample(up);
            fuse.run(&[value, up], None, result);
            swap(value, result);
        }
        let mut maps = vec![0.0; DetectionMaps::CHANNELS * self.sides[0].pow(3)];
        self.head.run_plain(&[&levels[0].value], &mut maps);
        maps
    }
}

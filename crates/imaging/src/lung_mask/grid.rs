//! Yes-or-no voxels and what can be done with them: connected parts, exact Euclidean dilation and erosion.

use rayon::prelude::*;

use crate::VoxelBox;

/// One flag per voxel, x fastest.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    pub(super) shape_zyx: [usize; 3],
    pub(super) set: Vec<bool>,
}

/// The connected parts of a mask.
pub(super) struct Parts {
    /// Number of the part from 1, 0 outside of the mask.
    pub(super) label: Vec<u32>,
    /// Number of voxels of each part; the first entry is unused.
    pub(super) size: Vec<usize>,
}

impl Mask {
    pub(super) fn count(&self) -> usize {
        self.set.iter().filter(|&&set| set).count()
    }

    pub(super) fn bounds(&self) -> Option<VoxelBox> {
        VoxelBox::around(self.shape_zyx, &self.set, |set| set)
    }

    /// Parts connected through faces. `planes` keeps every axial slice apart from the next.
    pub(super) fn parts(&self, planes: bool) -> Parts {
        let [nz, ny, nx] = self.shape_zyx;
        let mut parts = Parts { label: vec![0; self.set.len()], size: vec![0] };
        let mut open = Vec::new();
        for seed in 0..self.set.len() {
            if !self.set[seed] || parts.label[seed] != 0 {
                continue;
            }
            let number = parts.size.len() as u32;
            let mut size = 0;
            parts.label[seed] = number;
            open.push(seed);
            while let Some(at) = open.pop() {
                size += 1;
                let (z, y, x) = (at / (ny * nx), at / nx % ny, at % nx);
                let mut visit = |reachable: bool, next: usize| {
                    if reachable && self.set[next] && parts.label[next] == 0 {
                        parts.label[next] = number;
                        open.push(next);
                    }
                };
                visit(x > 0, at.wrapping_sub(1));
                visit(x + 1 < nx, at + 1);
                visit(y > 0, at.wrapping_sub(nx));
                visit(y + 1 < ny, at + nx);
                visit(z > 0 && !planes, at.wrapping_sub(ny * nx));
                visit(z + 1 < nz && !planes, at + ny * nx);
            }
            parts.size.push(size);
        }
        parts
    }

    /// The voxels of one part.
    pub(super) fn of_part(&self, parts: &Parts, number: u32) -> Self {
        Self { shape_zyx: self.shape_zyx, set: parts.label.iter().map(|&label| label == number).collect() }
    }

    pub(super) fn inverted(mut self) -> Self {
        self.set.iter_mut().for_each(|set| *set = !*set);
        self
    }

    /// A copy of a block with `margin` empty voxels around it.
    pub(super) fn cropped(&self, bounds: &VoxelBox, margin: usize) -> Self {
        let inner = bounds.shape_zyx();
        let shape_zyx = inner.map(|n| n + 2 * margin);
        let mut set = vec![false; shape_zyx.iter().product()];
        for z in 0..inner[0] {
            for y in 0..inner[1] {
                let from = ((bounds.start_zyx[0] + z) * self.shape_zyx[1] + bounds.start_zyx[1] + y)
                    * self.shape_zyx[2]
                    + bounds.start_zyx[2];
                let to = ((z + margin) * shape_zyx[1] + y + margin) * shape_zyx[2] + margin;
                set[to..to + inner[2]].copy_from_slice(&self.set[from..from + inner[2]]);
            }
        }
        Self { shape_zyx, set }
    }

    /// All voxels within `radius` voxels of a set one (exact Euclidean ball).
    pub(super) fn dilated(&self, radius: f32) -> Self {
        let set = self.squared_distance().into_iter().map(|d| d <= radius * radius).collect();
        Self { shape_zyx: self.shape_zyx, set }
    }

    /// All voxels farther than `radius` voxels from every unset one; what lies outside of the grid is no obstacle.
    pub(super) fn eroded(&self, radius: f32) -> Self {
        self.clone().inverted().dilated(radius).inverted()
    }

    /// Squared Euclidean distance to the nearest set voxel, in voxels, infinite without any: the lower envelope of
    /// parabolas along each axis in turn (Felzenszwalb and Huttenlocher, Theory of Computing 8 (2012) 415–428).
    pub(super) fn squared_distance(&self) -> Vec<f32> {
        let mut shape = self.shape_zyx;
        let mut distance: Vec<f32> = self.set.iter().map(|&set| if set { 0.0 } else { f32::INFINITY }).collect();
        for _ in 0..3 {
            let line = shape[2];
            distance.par_chunks_mut(line * shape[1]).for_each_init(
                || Envelope::new(line),
                |envelope, lines| lines.chunks_mut(line).for_each(|values| envelope.apply(values)),
            );
            // The next axis becomes the contiguous one; after three turns the order is the first again.
            (distance, shape) = turned(&distance, shape);
        }
        distance
    }
}

/// `[z, y, x]` becomes `[x, z, y]`.
fn turned(values: &[f32], [nz, ny, nx]: [usize; 3]) -> (Vec<f32>, [usize; 3]) {
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(nz * ny).enumerate().for_each(|(x, plane)| {
        for (row, value) in plane.iter_mut().enumerate() {
            *value = values[row * nx + x];
        }
    });
    (out, [nx, nz, ny])
}

/// Room for the one-dimensional transform.
struct Envelope {
    vertex: Vec<usize>,
    from: Vec<f32>,
    input: Vec<f32>,
}

impl Envelope {
    fn new(line: usize) -> Self {
        Self { vertex: Vec::with_capacity(line), from: Vec::with_capacity(line), input: Vec::with_capacity(line) }
    }

    fn apply(&mut self, values: &mut [f32]) {
        let Self { vertex, from, input } = self;
        vertex.clear();
        from.clear();
        input.clear();
        input.extend_from_slice(values);
        for (q, &height) in input.iter().enumerate() {
            if height == f32::INFINITY {
                continue;
            }
            // Where the parabola of q gets below that of the last vertex.
            let mut start = f32::NEG_INFINITY;
            while let (Some(&v), Some(&begin)) = (vertex.last(), from.last()) {
                start = ((height + (q * q) as f32) - (input[v] + (v * v) as f32)) / (2 * (q - v)) as f32;
                if start > begin {
                    break;
                }
                vertex.pop();
                from.pop();
                start = f32::NEG_INFINITY;
            }
            vertex.push(q);
            from.push(start);
        }
        let mut k = 0;
        for (q, value) in values.iter_mut().enumerate() {
            while k + 1 < vertex.len() && from[k + 1] < q as f32 {
                k += 1;
            }
            if let Some(&v) = vertex.get(k) {
                let step = q.abs_diff(v) as f32;
                *value = step * step + input[v];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask() -> impl Strategy<Value = Mask> {
        (1usize..7, 1usize..7, 1usize..7).prop_flat_map(|(nz, ny, nx)| {
            proptest::collection::vec(proptest::bool::weighted(0.2), nz * ny * nx)
                .prop_map(move |set| Mask { shape_zyx: [nz, ny, nx], set })
        })
    }

    fn index(mask: &Mask, at: usize) -> [i64; 3] {
        let [_, ny, nx] = mask.shape_zyx;
        [(at / (ny * nx)) as i64, (at / nx % ny) as i64, (at % nx) as i64]
    }

    proptest! {
        #[test]
        fn distance_is_that_of_the_nearest_set_voxel(mask in mask()) {
            for (at, &found) in mask.squared_distance().iter().enumerate() {
                let here = index(&mask, at);
                let expected = (0..mask.set.len()).filter(|&other| mask.set[other]).map(|other| {
                    let there = index(&mask, other);
                    (0..3).map(|d| (here[d] - there[d]).pow(2)).sum::<i64>() as f32
                }).fold(f32::INFINITY, f32::min);
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn parts_are_the_classes_of_touching_voxels(mask in mask()) {
            let parts = mask.parts(false);
            prop_assert_eq!(parts.size.iter().sum::<usize>(), mask.count());
            for a in 0..mask.set.len() {
                prop_assert_eq!(parts.label[a] != 0, mask.set[a]);
                for b in 0..a {
                    let (i, j) = (index(&mask, a), index(&mask, b));
                    let touching = (0..3).map(|d| (i[d] - j[d]).abs()).sum::<i64>() == 1;
                    if touching && mask.set[a] && mask.set[b] {
                        prop_assert_eq!(parts.label[a], parts.label[b]);
                    }
                }
            }
        }
    }
}

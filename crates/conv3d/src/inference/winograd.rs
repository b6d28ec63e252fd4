//! Winograd's minimal filtering F(4, 3) along the rows (Lavin and Gray 2016, section 4.1): four neighbouring outputs of a
//! three-tap filter from six products instead of twelve, half the multiply-adds of a 3³ convolution.
//!
//! A row is cut into pieces of four outputs. Each piece's six inputs `d` and each kernel row's three taps `g` are
//! transformed, the products summed over channels and the other two axes, and the sums transformed back:
//! `y = Aᵀ [(G g) ⊙ (Bᵀ d)]`. The transforms' factors cost about two bits: sums err by some 1e-6 of their scale.
//! A non-finite input spoils up to four outputs along the row instead of three.

use std::ops::Range;

use super::activations::{Activations, BLOCK, RIM, on_lanes};
use crate::kernel::Isa;
use crate::lattice::{Block, Correlation};
use crate::shape::ConvShape;

/// Outputs of a piece.
const OUTPUTS: usize = 4;
/// Inputs of a piece, and products.
const INPUTS: usize = 6;

/// Whether this is the convolution to which the method applies, and rows are long enough for it to pay.
pub(super) fn suits(shape: &ConvShape) -> bool {
    let cube = shape.kernel == [3; 3] && shape.stride == [1; 3] && shape.padding == [1; 3];
    cube && shape.in_channels > 1 && shape.input[2] > 2
}

/// Where the products are read, and what they add up to.
pub(super) fn geometry(dims: [usize; 3]) -> Correlation {
    Correlation::of_pieces(dims, INPUTS, OUTPUTS)
}

/// `G g` of every kernel row: `[…, 3]` → `[…, 6]`.
pub(super) fn weights(w: &[f32]) -> Vec<f32> {
    let (rows, _) = w.as_chunks::<3>();
    let transform = |row: &[f32; 3]| {
        let [a, b, c] = row.map(f64::from);
        let (even, wide) = ((a + c) / -6.0, (a + 4.0 * c) / 24.0);
        [a / 4.0, even - b / 6.0, even + b / 6.0, wide + b / 12.0, wide - b / 12.0, c].map(|v| v as f32)
    };
    rows.iter().flat_map(transform).collect()
}

/// `Bᵀ d` of the pieces under a box and its halo: `[block, d, 6, h, pieces, 8]`.
pub(super) fn gather(source: &Activations, channels: Range<usize>, block: Block, out: &mut [f32]) {
    let [d, h, w] = source.layout().dims;
    let ([z, y, x], [size_d, size_h, pieces]) = (block.start, block.size);
    let (rows, row) = (size_h + 2 * RIM, pieces * BLOCK);
    let mut planes = out.chunks_exact_mut(INPUTS * rows * row);
    for b in channels.start / BLOCK..channels.end.div_ceil(BLOCK) {
        for (plane, out) in (b * d + z..).zip(planes.by_ref().take(size_d + 2 * RIM)) {
            for i in 0..rows {
                let from = ((plane * h + y + i) * w + OUTPUTS * x) * BLOCK;
                let inputs = &source.data()[from..][..(w - OUTPUTS * x) * BLOCK];
                let mut phases = out.chunks_exact_mut(rows * row);
                let outputs = std::array::from_fn(|_| &mut phases.next().unwrap_or_default()[i * row..][..row]);
                Isa::detect().vectorised(
                    #[inline(always)]
                    || transform_row(inputs.as_chunks().0, outputs.map(|o| o.as_chunks_mut().0)),
                );
            }
        }
    }
}

type Voxel = [f32; BLOCK];

#[inline(always)]
fn transform_row(row: &[Voxel], [o0, o1, o2, o3, o4, o5]: [&mut [Voxel]; INPUTS]) {
    let outputs = o0.iter_mut().zip(o1).zip(o2).zip(o3).zip(o4).zip(o5);
    for (i, (((((o0, o1), o2), o3), o4), o5)) in outputs.enumerate() {
        let mut last = [[0.0; BLOCK]; INPUTS];
        let d = match row.get(OUTPUTS * i..OUTPUTS * i + INPUTS) {
            Some(inputs) => inputs,
            // the last piece goes on beyond the rim
            None => {
                last.iter_mut().zip(&row[OUTPUTS * i..]).for_each(|(last, d)| *last = *d);
                &last
            }
        };
        let each = |f: &dyn Fn(usize) -> f32| -> Voxel { std::array::from_fn(f) };
        let (even, odd) = (each(&|l| d[4][l] - 4.0 * d[2][l]), each(&|l| d[3][l] - 4.0 * d[1][l]));
        let (near, wide) = (each(&|l| d[4][l] - d[2][l]), each(&|l| 2.0 * (d[3][l] - d[1][l])));
        *o0 = each(&|l| 4.0 * d[0][l] - 5.0 * d[2][l] + d[4][l]);
        *o1 = each(&|l| even[l] + odd[l]);
        *o2 = each(&|l| even[l] - odd[l]);
        *o3 = each(&|l| near[l] + wide[l]);
        *o4 = each(&|l| near[l] - wide[l]);
        *o5 = each(&|l| 4.0 * d[1][l] - 5.0 * d[3][l] + d[5][l]);
    }
}

/// `Aᵀ m` of every piece and the bias, in place: `[piece, 6, lanes]` → `[piece, 4, lanes]`, what is left at the end unused.
pub(super) fn finish(bias: &[f32], lanes: usize, sums: &mut [f32]) {
    let blocks = lanes / BLOCK;
    let bias = bias.as_chunks::<BLOCK>().0;
    on_lanes(
        sums,
        #[inline(always)]
        |sums| {
            for piece in 0..sums.len() / (INPUTS * blocks) {
                for (b, bias) in bias.iter().enumerate().take(blocks) {
                    let m: [_; INPUTS] = std::array::from_fn(|i| sums[(piece * INPUTS + i) * blocks + b]);
                    let mut y = [[0.0; BLOCK]; OUTPUTS];
                    for l in 0..BLOCK {
                        let (s1, d1) = (m[1][l] + m[2][l], m[1][l] - m[2][l]);
                        let (s2, d2) = (m[3][l] + m[4][l], m[3][l] - m[4][l]);
                        y[0][l] = bias[l] + (m[0][l] + s1 + s2);
                        y[1][l] = bias[l] + (d1 + 2.0 * d2);
                        y[2][l] = bias[l] + (s1 + 4.0 * s2);
                        y[3][l] = bias[l] + (d1 + 8.0 * d2 + m[5][l]);
                    }
                    // overwrites inputs of this block and of this piece or earlier ones: they were read
                    for (i, y) in y.into_iter().enumerate() {
                        sums[(piece * OUTPUTS + i) * blocks + b] = y;
                    }
                }
            }
        },
    );
}

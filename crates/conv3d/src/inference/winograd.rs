//! Winograd's minimal filtering F(4, 3) along the rows (Lavin and Gray 2016, section 4.1): four neighbouring outputs of a
//! three-tap filter from six products instead of twelve, half the multiply-adds of a 3³ convolution.
//!
//! A row is cut into pieces of four outputs. Each piece's six inputs `d` and each kernel row's three taps `g` are
//! transformed, the products summed over channels and the other two axes, and the sums transformed back:
//! `y = Aᵀ [(G g) ⊙ (Bᵀ d)]`. The transforms' factors cost about two bits: sums err by some 1e-6 of their scale.
//! A non-finite input spoils up to four outputs along the row instead of three.

use std::ops::Range;

use super::activations::{Activations, BLOCK, on_lanes};
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

/// `Bᵀ d` of the pieces under a box and its halo: `[block, d, h, 6 · pieces, 8]` of `tile` voxels.
pub(super) fn gather(source: &Activations, channels: Range<usize>, block: Block, tile: [usize; 3], out: &mut [f32]) {
    let [_, h, w] = source.layout().dims;
    let [z, y, x] = block.start;
    let d = source.layout().dims[0];
    let planes = out.chunks_exact_mut(tile[1] * tile[2] * BLOCK);
    let blocks = channels.start / BLOCK..channels.end.div_ceil(BLOCK);
    let sources = blocks.flat_map(|b| (0..tile[0]).map(move |i| b * d + z + i));
    for (plane, out) in sources.zip(planes) {
        for (i, out) in out.chunks_exact_mut(tile[2] * BLOCK).enumerate() {
            let row = &source.data()[((plane * h + y + i) * w + OUTPUTS * x) * BLOCK..][..(w - OUTPUTS * x) * BLOCK];
            let row = row.as_chunks::<BLOCK>().0;
            on_lanes(
                out,
                #[inline(always)]
                |out| {
                    let mut pieces = out.as_chunks_mut::<INPUTS>().0.iter_mut().enumerate();
                    let whole = row.len().saturating_sub(INPUTS - OUTPUTS) / OUTPUTS;
                    for (i, piece) in pieces.by_ref().take(whole) {
                        transform(&row[OUTPUTS * i..], piece);
                    }
                    // a last piece that goes on beyond the rim
                    for (i, piece) in pieces {
                        let inputs: [_; INPUTS] =
                            std::array::from_fn(|k| row.get(OUTPUTS * i + k).copied().unwrap_or_default());
                        transform(&inputs, piece);
                    }
                },
            );
        }
    }
}

#[inline(always)]
fn transform(d: &[[f32; BLOCK]], out: &mut [[f32; BLOCK]; INPUTS]) {
    let d = &d[..INPUTS];
    for l in 0..BLOCK {
        let (d0, d1, d2, d3, d4, d5) = (d[0][l], d[1][l], d[2][l], d[3][l], d[4][l], d[5][l]);
        let (even, odd) = (d4 - 4.0 * d2, d3 - 4.0 * d1);
        let (near, wide) = (d4 - d2, 2.0 * (d3 - d1));
        out[0][l] = 4.0 * (d0 - d2) - (d2 - d4);
        out[1][l] = even + odd;
        out[2][l] = even - odd;
        out[3][l] = near + wide;
        out[4][l] = near - wide;
        out[5][l] = 4.0 * (d1 - d3) - (d3 - d5);
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

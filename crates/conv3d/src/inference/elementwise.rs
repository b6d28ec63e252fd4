//! The layers between convolutions.

use rayon::prelude::*;

use super::activations::{Activations, BLOCK, RIM, on_lanes};
use crate::group_norm::{GroupNorm, leaky_factor};
use crate::scratch::Scratch;
use crate::upsample::{FAR, NEAR, mix, neighbours};

impl Activations {
    /// Group normalisation from the channels' sums and sums of squares, then the sum with `residual` if there is one,
    /// then the leaky ReLU that `norm` names.
    ///
    /// # Shapes
    /// `sums`: `[channels, 2]` from [`Conv::run_summing`](super::Conv::run_summing); `gamma`, `beta`: `[channels]`
    ///
    /// # Panics
    /// Where `norm` is not for this array, or a size differs from it.
    pub fn normalise(
        &mut self,
        norm: &GroupNorm,
        sums: &[[f64; 2]],
        [gamma, beta]: [&[f32]; 2],
        residual: Option<&Self>,
    ) {
        let shape = (1, self.channels(), self.dims().iter().product());
        assert_eq!((norm.batch, norm.channels, norm.spatial), shape, "another array's normalisation");
        assert_eq!([gamma.len(), beta.len(), sums.len()], [norm.channels; 3], "parameters and sums of the channels");
        if let Some(residual) = residual {
            assert_eq!((residual.channels(), residual.layout()), (self.channels(), self.layout()), "the residual");
        }
        let affine = norm.affine_of(sums, gamma, beta);
        let slope = norm.slope.unwrap_or(1.0);
        self.for_each_row(|block, z, y, row| {
            let affine: [_; BLOCK] =
                std::array::from_fn(|lane| affine.get(block * BLOCK + lane).copied().unwrap_or_default());
            let residual = residual.map(|r| r.row(block, z, y).as_chunks::<BLOCK>().0);
            on_lanes(
                row,
                #[inline(always)]
                |row| {
                    let normal = |x: &[f32; BLOCK]| -> [f32; BLOCK] { std::array::from_fn(|i| affine[i].z(x[i])) };
                    let leaky = |z: f32| z * leaky_factor(z, slope);
                    match residual {
                        None => row.iter_mut().for_each(|x| *x = normal(x).map(leaky)),
                        Some(residual) => row.iter_mut().zip(residual).for_each(|(x, r)| {
                            let z = normal(x);
                            *x = std::array::from_fn(|i| leaky(r[i] + z[i]));
                        }),
                    }
                },
            );
        });
    }

    /// The largest of every 2³ voxels (`torch.nn.MaxPool3d(2)`); a NaN among them wins.
    ///
    /// # Panics
    /// Where `dst` has other channels, or sizes that are not half of these, rounded down.
    pub fn max_pool(&self, dst: &mut Self) {
        let expected = (self.channels(), self.dims().map(|n| n / 2), BLOCK);
        assert_eq!((dst.channels(), dst.dims(), self.layout().lanes), expected, "not half this array");
        dst.for_each_row(|block, z, y, row| {
            let fine: [_; 4] = std::array::from_fn(|i| {
                let row = self.row(block, 2 * z + i / 2, 2 * y + i % 2);
                row.as_chunks::<BLOCK>().0.as_chunks::<2>().0
            });
            on_lanes(
                row,
                #[inline(always)]
                |row| {
                    for (i, x) in row.iter_mut().enumerate() {
                        *x = fine[0][i][0];
                        let rest = [fine[0][i][1], fine[1][i][0], fine[1][i][1], fine[2][i][0]];
                        let rest = rest.iter().chain([&fine[2][i][1], &fine[3][i][0], &fine[3][i][1]]);
                        for y in rest {
                            *x = std::array::from_fn(|l| if y[l] > x[l] || y[l].is_nan() { y[l] } else { x[l] });
                        }
                    }
                },
            );
        });
    }

    /// Trilinear up-sampling by two, as [`crate::upsample::forward`].
    ///
    /// # Panics
    /// Where `dst` has other channels, or sizes that are not twice these.
    pub fn upsample(&self, dst: &mut Self) {
        let expected = (self.channels(), self.dims().map(|n| 2 * n), BLOCK);
        assert_eq!((dst.channels(), dst.dims(), self.layout().lanes), expected, "not twice this array");
        let ([coarse_d, coarse_h, coarse_w], [d, h, w]) = (self.layout().dims, dst.layout().dims);
        let (row, plane) = (coarse_w * BLOCK, coarse_h * coarse_w * BLOCK);
        let work = || Scratch::take(plane + row);
        let planes = dst.data_mut().par_chunks_mut(h * w * BLOCK).enumerate();
        planes.filter(|(i, _)| (RIM..d - RIM).contains(&(i % d))).for_each_init(work, |work, (i, fine)| {
            let (near, far) = neighbours(i % d - RIM, coarse_d - 2 * RIM);
            let planes = &self.data()[i / d * coarse_d * plane..];
            let (blend, blended_row) = work.split_at_mut(plane);
            on_lanes(
                &mut fine[RIM * w * BLOCK..(h - RIM) * w * BLOCK],
                #[inline(always)]
                |fine| {
                    mix(&planes[(near + RIM) * plane..][..plane], &planes[(far + RIM) * plane..][..plane], blend);
                    for (y, fine) in fine.chunks_exact_mut(w).enumerate() {
                        let (near, far) = neighbours(y, coarse_h - 2 * RIM);
                        mix(&blend[(near + RIM) * row..][..row], &blend[(far + RIM) * row..][..row], blended_row);
                        let coarse = &blended_row.as_chunks::<BLOCK>().0[RIM..coarse_w - RIM];
                        for (x, fine) in fine[RIM..w - RIM].iter_mut().enumerate() {
                            let (near, far) = neighbours(x, coarse.len());
                            *fine = std::array::from_fn(|l| NEAR * coarse[near][l] + FAR * coarse[far][l]);
                        }
                    }
                },
            );
        });
    }
}

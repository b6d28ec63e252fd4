//! The detection loss and its gradient with respect to the network's raw output, in closed form: one pass over the
//! maps instead of dozens of tensor operations, the same on every device. The network's own backward pass takes over
//! from there.

use rayon::prelude::*;

use super::targets::Targets;
use crate::network::DetectionMaps;

/// Weights of false positives and false negatives in the Tversky index (Salehi et al. 2017).
const TVERSKY_FP: f64 = 0.3;
const TVERSKY_FN: f64 = 0.7;
/// Keeps the Tversky index defined without positives.
const TVERSKY_SMOOTH: f64 = 1.0;
/// Focusing exponent of the segmentation's focal loss (Lin et al. 2017).
const GAMMA: f64 = 2.0;
/// The hardest negatives that count in it, for each positive voxel.
const NEGATIVES_PER_POSITIVE: usize = 100;
/// And at least so many, for patches without a nodule.
const MIN_NEGATIVES: usize = 1000;
/// Voxels of a cell.
const SUB_VOXELS: usize = DetectionMaps::CHANNELS - DetectionMaps::SEGMENTATION;
/// Weight of the size term.
const DIAMETER_WEIGHT: f64 = 0.2;

/// The parts of the loss, averaged over the batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LossTerms {
    /// The sum that is minimised.
    pub total: f64,
    /// Focal loss of the centre heat-map.
    pub centre: f64,
    /// L1 of the centre offset, in cells.
    pub offset: f64,
    /// L1 of the log diameter.
    pub diameter: f64,
    /// Tversky + focal cross-entropy of the segmentation.
    pub segmentation: f64,
    /// Nodule centres in the batch.
    pub positives: usize,
    /// Mean predicted probability at these centres: what the collapse detector watches.
    pub positive_probability: f64,
}

impl LossTerms {
    /// The mean of several losses; the probability weighs as the centres do.
    pub(crate) fn mean(losses: &[Self]) -> Self {
        let mut mean = Self::default();
        let share = 1.0 / losses.len().max(1) as f64;
        let mut probability = 0.0;
        for loss in losses {
            mean.total += share * loss.total;
            mean.centre += share * loss.centre;
            mean.offset += share * loss.offset;
            mean.diameter += share * loss.diameter;
            mean.segmentation += share * loss.segmentation;
            probability += loss.positive_probability * loss.positives as f64;
            mean.positives += loss.positives;
        }
        mean.positive_probability = probability / mean.positives.max(1) as f64;
        mean
    }
}

/// Loss of `maps` and its gradient.
///
/// Centre: the penalty-reduced focal loss of CenterNet (Zhou et al. 2019, eq. 1, α = 2, β = 4), divided by the number of
/// centres. Offset and log diameter: L1 at the centres. Segmentation: Tversky loss over the batch + focal
/// cross-entropy over the positives and the hardest negatives.
///
/// # Shapes
/// `maps` and the gradient: `[batch, 13, cells, cells, cells]`, see [`DetectionMaps`]; one target for each example.
pub fn detection_loss(maps: &[f32], targets: &[Targets]) -> (LossTerms, Vec<f32>) {
    let cells = targets.first().map_or(0, |t| t.centre.len());
    let stride = DetectionMaps::CHANNELS * cells;
    assert_eq!(maps.len(), stride * targets.len(), "maps do not match the targets");
    let mut gradient = vec![0.0; maps.len()];
    let positives: usize = targets.iter().map(|t| t.positives.len()).sum();
    let per_centre = 1.0 / positives.max(1) as f64;
    let mut terms = LossTerms { positives, ..LossTerms::default() };

    // One by one in parallel, added up in order: the same bits for any number of threads.
    let centre = DetectionMaps::CENTRE * cells;
    let focal_sums: Vec<f64> = maps
        .par_chunks_exact(stride)
        .zip(gradient.par_chunks_exact_mut(stride))
        .zip(targets)
        .map(|((maps, gradient), target)| {
            centre_focal(&maps[centre..][..cells], target, per_centre, &mut gradient[centre..][..cells])
        })
        .collect();
    terms.centre = focal_sums.iter().map(|sum| per_centre * sum).sum();
    for ((maps, gradient), target) in maps.chunks_exact(stride).zip(gradient.chunks_exact_mut(stride)).zip(targets) {
        for p in &target.positives {
            terms.positive_probability += per_centre * sigmoid(f64::from(maps[centre + p.cell]));
            for (axis, &wanted) in p.offset_zyx.iter().enumerate() {
                let i = (DetectionMaps::OFFSET + axis) * cells + p.cell;
                terms.offset += l1(maps[i], wanted, per_centre, &mut gradient[i]);
            }
            let i = DetectionMaps::LOG_DIAMETER * cells + p.cell;
            terms.diameter += l1(maps[i], p.log_diameter, DIAMETER_WEIGHT * per_centre, &mut gradient[i]);
        }
    }
    terms.segmentation = segmentation(maps, targets, DetectionMaps::CHANNELS, &mut gradient).loss;
    terms.total = terms.centre + terms.offset + terms.diameter + terms.segmentation;
    (terms, gradient)
}

/// Loss of the classic network's nodule logits, and its gradient: the segmentation part alone.
///
/// # Shapes
/// `logits` and the gradient: `[batch, 8, cells, cells, cells]`, [`crate::network::Network::forward`].
pub fn segmentation_loss(logits: &[f32], targets: &[Targets]) -> (LossTerms, Vec<f32>) {
    let mut gradient = vec![0.0; logits.len()];
    let Segmented { loss, positives, probability } = segmentation(logits, targets, SUB_VOXELS, &mut gradient);
    let terms = LossTerms {
        total: loss,
        segmentation: loss,
        positives,
        positive_probability: probability,
        ..LossTerms::default()
    };
    (terms, gradient)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn l1(value: f32, wanted: f32, weight: f64, gradient: &mut f32) -> f64 {
    let difference = f64::from(value - wanted);
    *gradient = (weight * difference.signum()) as f32;
    weight * difference.abs()
}

/// Sum over the cells; the gradient is scaled by `scale`.
fn centre_focal(logits: &[f32], target: &Targets, scale: f64, gradient: &mut [f32]) -> f64 {
    let mut sum = 0.0;
    for (i, &logit) in logits.iter().enumerate() {
        let (y, weight) = (f64::from(target.centre[i]), f64::from(target.centre_weight[i]));
        if weight == 0.0 {
            continue;
        }
        let x = f64::from(logit);
        let p = sigmoid(x);
        // d p/dx = p (1 − p); d ln p/dx = 1 − p; d ln(1 − p)/dx = −p.
        let (value, slope) = if y == 1.0 {
            let ln_p = -softplus(-x);
            let q = 1.0 - p;
            (-q * q * ln_p, 2.0 * q * q * p * ln_p - q * q * q)
        } else {
            let ln_q = -softplus(x);
            let reduced = (1.0 - y).powi(4);
            (-reduced * p * p * ln_q, reduced * p * p * (p - 2.0 * (1.0 - p) * ln_q))
        };
        sum += weight * value;
        gradient[i] = (scale * weight * slope) as f32;
    }
    sum
}

/// Focal cross-entropy of one voxel, and its derivative with respect to the logit.
fn focal(x: f64, y: f64) -> (f64, f64) {
    // One formula for both classes: z is the logit of the wrong class.
    let sign = if y >= 0.5 { -1.0 } else { 1.0 };
    let z = sign * x;
    let (wrong, cross_entropy) = (sigmoid(z), softplus(z));
    let value = wrong.powf(GAMMA) * cross_entropy;
    let slope = wrong.powf(GAMMA) * (GAMMA * (1.0 - wrong) * cross_entropy + wrong);
    (value, sign * slope)
}

struct Segmented {
    loss: f64,
    /// Voxels of nodules.
    positives: usize,
    /// Mean probability at these.
    probability: f64,
}

/// What one example adds to the segmentation's sums.
#[derive(Default)]
struct Sums {
    tp: f64,
    fp: f64,
    missed: f64,
    positive_weight: f64,
    positives: usize,
    probability: f64,
    /// Voxels outside nodules: logit, and position in the batch's maps.
    negatives: Vec<(f32, usize)>,
}

impl Sums {
    /// `logits` are an example's, from position `first` of the batch's maps.
    fn of(logits: &[f32], target: &Targets, first: usize) -> Self {
        let mut sums = Self::default();
        for (v, &logit) in logits.iter().enumerate() {
            let (y, w) = (f64::from(target.segmentation[v]), f64::from(target.segmentation_weight[v]));
            if w == 0.0 {
                continue;
            }
            let p = sigmoid(f64::from(logit));
            sums.tp += w * p * y;
            sums.fp += w * p * (1.0 - y);
            sums.missed += w * (1.0 - p) * y;
            if y >= 0.5 {
                sums.positive_weight += w;
                sums.positives += 1;
                sums.probability += p;
            } else {
                sums.negatives.push((logit, first + v));
            }
        }
        sums
    }

    /// Those of two batches.
    fn and(mut self, mut other: Self) -> Self {
        self.tp += other.tp;
        self.fp += other.fp;
        self.missed += other.missed;
        self.positive_weight += other.positive_weight;
        self.positives += other.positives;
        self.probability += other.probability;
        self.negatives.append(&mut other.negatives);
        self
    }
}

/// The last eight of `channels` maps are the segmentation's.
fn segmentation(maps: &[f32], targets: &[Targets], channels: usize, gradient: &mut [f32]) -> Segmented {
    let cells = targets.first().map_or(0, |t| t.centre.len());
    let first = (channels - SUB_VOXELS) * cells;
    let stride = channels * cells;
    assert_eq!(maps.len(), stride * targets.len(), "maps do not match the targets");

    // Examples in parallel, their sums in order: the same bits for any number of threads.
    let of = |(e, target)| Sums::of(&maps[e * stride + first..(e + 1) * stride], target, e * stride + first);
    let parts: Vec<Sums> = targets.par_iter().enumerate().map(of).collect();
    let Sums { tp, fp, missed, positive_weight, positives, probability, mut negatives } =
        parts.into_iter().fold(Sums::default(), Sums::and);

    let mut loss = 0.0;
    if positives > 0 {
        let denominator = tp + TVERSKY_FP * fp + TVERSKY_FN * missed + TVERSKY_SMOOTH;
        let index = (tp + TVERSKY_SMOOTH) / denominator;
        let slopes = |(e, gradient): (usize, &mut [f32])| -> f64 {
            let (maps, target, mut focal_sum) = (&maps[e * stride + first..], &targets[e], 0.0);
            for (v, gradient) in gradient[first..].iter_mut().enumerate() {
                let (y, w) = (f64::from(target.segmentation[v]), f64::from(target.segmentation_weight[v]));
                if w == 0.0 {
                    continue;
                }
                let x = f64::from(maps[v]);
                let p = sigmoid(x);
                let d_numerator = w * y;
                let d_denominator = w * (y + TVERSKY_FP * (1.0 - y) - TVERSKY_FN * y);
                let d_index = (d_numerator - index * d_denominator) / denominator;
                let mut slope = -d_index * p * (1.0 - p);
                if y >= 0.5 {
                    let (value, d_value) = focal(x, y);
                    focal_sum += w * value;
                    slope += w * d_value / positive_weight;
                }
                *gradient = slope as f32;
            }
            focal_sum
        };
        let focal_sums: Vec<f64> = gradient.par_chunks_exact_mut(stride).enumerate().map(slopes).collect();
        loss += 1.0 - index + focal_sums.iter().sum::<f64>() / positive_weight;
    }

    let kept = (NEGATIVES_PER_POSITIVE * positives).max(MIN_NEGATIVES).min(negatives.len());
    if kept > 0 {
        // Ties are broken by the position, so the choice does not depend on the selection's algorithm.
        negatives.select_nth_unstable_by(kept - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        negatives.truncate(kept);
        negatives.sort_unstable_by_key(|n| n.1);
        for &(logit, i) in &negatives {
            let (value, slope) = focal(f64::from(logit), 0.0);
            loss += value / kept as f64;
            gradient[i] += (slope / kept as f64) as f32;
        }
    }
    Segmented { loss, positives, probability: probability / positives.max(1) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::targets::PatchNodule;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    fn random_maps(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 6.0 - 4.0).collect()
    }

    /// Central differences in f64 arithmetic of an f32 input: 1e-2 absolute steps, 1 % agreement.
    #[test]
    fn the_gradient_is_the_derivative_of_the_loss() {
        let nodule = PatchNodule { center_zyx: [7.3, 8.1, 6.6], diameter: 7.0 };
        let finding = PatchNodule { center_zyx: [3.0, 12.0, 12.0], diameter: 4.0 };
        let targets = [Targets::new(16, &[nodule], &[finding]), Targets::new(16, &[], &[])];
        let maps = random_maps(2 * 13 * 512, 1);
        let (terms, gradient) = detection_loss(&maps, &targets);
        assert_eq!(terms.positives, 1);
        let largest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
        let mut checked = 0;
        for i in (0..maps.len()).step_by(37).chain(std::iter::once(targets[0].positives[0].cell)) {
            let h = 1e-2;
            let mut shifted = maps.clone();
            shifted[i] += h;
            let up = detection_loss(&shifted, &targets).0.total;
            shifted[i] = maps[i] - h;
            let down = detection_loss(&shifted, &targets).0.total;
            let numeric = (up - down) / (2.0 * f64::from(h));
            let difference = (numeric - f64::from(gradient[i])).abs();
            assert!(
                difference < 0.01 * numeric.abs() + 1e-5 * f64::from(largest) + 1e-7,
                "{i}: {numeric} {}",
                gradient[i]
            );
            checked += 1;
        }
        assert!(checked > 300);
    }

    #[test]
    fn following_the_gradient_reaches_the_target() {
        let nodule = PatchNodule { center_zyx: [7.3, 8.1, 6.6], diameter: 7.0 };
        let targets = [Targets::new(16, &[nodule], &[])];
        let mut maps = vec![-2.0; 13 * 512];
        let first = detection_loss(&maps, &targets).0.total;
        for _ in 0..400 {
            let (_, gradient) = detection_loss(&maps, &targets);
            maps.iter_mut().zip(gradient).for_each(|(m, g)| *m -= 0.1 * g.signum() * g.abs().sqrt());
        }
        let last = detection_loss(&maps, &targets).0;
        assert!(last.total < 0.2 * first, "{first} -> {last:?}");
        assert!(last.positive_probability > 0.9);
    }
}

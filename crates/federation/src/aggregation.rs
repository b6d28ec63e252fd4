//! The weighted mean of the sites' updates, the same to the bit in whatever order they are added.
//!
//! Floating-point addition depends on its order, integer addition does not. So every update is rounded once to a
//! fixed point and summed in `i64`: 8 bytes per parameter, twice the `f32` model, however many sites there are.
//! The session knows all weights `w` (with `W = Σw`) and the largest absolute value `C` of all accepted updates before
//! the first is added, which settles the scale: the largest power of two `2^e` with `W·(C·2^e + 0.5) ≤ 2^62`. Each term
//! is at most `C·2^e + 0.5`, so the sum cannot overflow. The mean is off by at most half a unit of the fixed point:
//! `|error| ≤ 2^-(e+1) ≤ C·W·2^-62·(1 + 2^-20)` while `W ≤ 2^40`, besides the rounding to `f64`. With a million samples
//! that is `C·2^-42`; an `f32` of that size resolves `C·2^-24`.

use serde::{Deserialize, Serialize};

use crate::{Digest, SiteId};

/// The largest total weight: 256 sites of 2^32 samples.
const MAX_TOTAL_WEIGHT: u64 = 1 << 40;

/// Weights of sites with these numbers of samples: the numbers themselves, but with three or more sites and `cap` the
/// largest is reduced to the sum of the others, one half of the total. (Of two sites one has more than half whenever
/// they differ, so a cap would only make them equal.)
pub fn site_weights(num_examples: &[u32], cap: bool) -> Vec<u64> {
    let mut weights: Vec<u64> = num_examples.iter().map(|&n| u64::from(n)).collect();
    if cap && weights.len() > 2 {
        let total: u64 = weights.iter().sum();
        for weight in &mut weights {
            *weight = (*weight).min(total - *weight);
        }
    }
    weights
}

/// One accepted update, without its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Who trained it.
    pub site: SiteId,
    /// Hash of its values.
    pub update: Digest,
    /// Weight in the mean.
    pub weight: u64,
    /// Largest absolute value.
    pub magnitude: f32,
}

/// Why updates cannot be combined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AggregationError {
    /// No weight at all.
    #[error("there is no update to aggregate")]
    Empty,
    /// The weights do not fit the fixed point.
    #[error(
        "the sites' samples sum to {0}, at most {MAX_TOTAL_WEIGHT} can be aggregated: check the sites' sample counts"
    )]
    Weight(u128),
    /// A value that was not announced by [`Contribution::magnitude`], NaN included.
    #[error("parameter {index} is {value}, above the announced largest absolute value {magnitude}")]
    Magnitude {
        /// Position in the flat vector.
        index: usize,
        /// The value.
        value: f32,
        /// What was announced.
        magnitude: f32,
    },
    /// Values beyond the end of the model.
    #[error("values {start}..{end} lie outside the model of {parameter_count} parameters")]
    Range {
        /// First position.
        start: usize,
        /// Position behind the last.
        end: usize,
        /// Length of the model.
        parameter_count: usize,
    },
    /// Values are missing or were added twice.
    #[error("{found} of {expected} weighted values were added: every contribution counts exactly once")]
    Incomplete {
        /// What was added, each value times its weight.
        found: u128,
        /// What the contributions make.
        expected: u128,
    },
    /// A secure sum that cannot be unmasked, or says something impossible.
    #[error("the secure sum cannot be used: {problem}")]
    Sum {
        /// Why.
        problem: String,
    },
    /// A mean that no updates within the limit can have.
    #[error(
        "the mean of the updates has norm {norm}, although every site limits its own to {longest}: a site does not keep to \
         the rules"
    )]
    Norm {
        /// Of the mean.
        norm: f64,
        /// The limit.
        longest: f64,
    },
    /// The new model has a value that is not finite.
    #[error(
        "parameter {index} of the new global model is {value}: lower the learning rates of the server and the sites"
    )]
    NonFiniteModel {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
}

/// Sums updates piece by piece.
pub struct Aggregator {
    sums: Vec<i64>,
    exponent: i32,
    magnitude: f32,
    total_weight: u64,
    added: u128,
}

impl Aggregator {
    /// Prepares for exactly these contributions.
    pub fn new(parameter_count: usize, contributions: &[Contribution]) -> Result<Self, AggregationError> {
        let total: u128 = contributions.iter().map(|c| u128::from(c.weight)).sum();
        let total_weight = match u64::try_from(total) {
            Ok(0) => return Err(AggregationError::Empty),
            Ok(weight) if weight <= MAX_TOTAL_WEIGHT => weight,
            _ => return Err(AggregationError::Weight(total)),
        };
        let magnitude = contributions.iter().fold(0.0f32, |largest, c| largest.max(c.magnitude));
        let exponent = exponent(total_weight, magnitude);
        Ok(Self { sums: vec![0; parameter_count], exponent, magnitude, total_weight, added: 0 })
    }

    /// Adds a piece of one update: the values from position `offset` on. Pieces may come in any order; a failed piece
    /// makes the aggregator useless.
    pub fn add(&mut self, weight: u64, offset: usize, values: &[f32]) -> Result<(), AggregationError> {
        let parameter_count = self.sums.len();
        let end = offset.saturating_add(values.len());
        let sums =
            self.sums.get_mut(offset..end).ok_or(AggregationError::Range { start: offset, end, parameter_count })?;
        if weight > self.total_weight {
            return Err(AggregationError::Weight(u128::from(weight)));
        }
        let scale = libm::scalbn(1.0, self.exponent);
        for (index, (sum, &value)) in sums.iter_mut().zip(values).enumerate() {
            if value.is_nan() || value.abs() > self.magnitude {
                let (index, magnitude) = (offset + index, self.magnitude);
                return Err(AggregationError::Magnitude { index, value, magnitude });
            }
            // The product is exact (a power of two, far from the limits of f64); only the rounding to an integer loses.
            let fixed = (f64::from(value) * scale).round_ties_even() as i64;
            // Checked all the same: a contribution that is added too often must not wrap around.
            *sum = fixed.checked_mul(weight as i64).and_then(|term| sum.checked_add(term)).ok_or(
                AggregationError::Incomplete {
                    found: self.added + u128::from(weight),
                    expected: u128::from(self.total_weight) * parameter_count as u128,
                },
            )?;
        }
        self.added += u128::from(weight) * values.len() as u128;
        Ok(())
    }

    /// The mean, once every contribution was added completely.
    pub fn finish(self) -> Result<MeanDelta, AggregationError> {
        let expected = u128::from(self.total_weight) * self.sums.len() as u128;
        if self.added != expected {
            return Err(AggregationError::Incomplete { found: self.added, expected });
        }
        let unit = libm::scalbn(1.0, -self.exponent);
        Ok(MeanDelta { sums: Sums::Wide(self.sums), unit, total_weight: self.total_weight as f64 })
    }
}

/// The largest `e` with `W·(C·2^e + 0.5) ≤ 2^62`, up to a rounding that the spare bit of `i64` absorbs.
fn exponent(total_weight: u64, magnitude: f32) -> i32 {
    if magnitude == 0.0 {
        return 0;
    }
    let room = libm::scalbn(1.0, 62) / total_weight as f64 - 0.5;
    libm::ilogb(room / f64::from(magnitude))
}

/// The weighted mean of the updates: exact sums, a unit and the weight to divide by.
pub struct MeanDelta {
    sums: Sums,
    unit: f64,
    total_weight: f64,
}

enum Sums {
    /// Of updates that were added one by one.
    Wide(Vec<i64>),
    /// Of a secure sum: two's complement.
    Words(Vec<u32>),
}

impl MeanDelta {
    /// The mean in a secure sum.
    pub(crate) fn of_words(words: Vec<u32>, unit: f64, total_weight: f64) -> Self {
        Self { sums: Sums::Words(words), unit, total_weight }
    }

    /// The mean of every parameter, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f64> {
        self.iter_from(0)
    }

    /// [`MeanDelta::iter`] from a position on.
    pub(crate) fn iter_from(&self, start: usize) -> impl ExactSizeIterator<Item = f64> {
        (start..self.parameter_count()).map(|index| match &self.sums {
            Sums::Wide(sums) => sums[index] as f64 / self.total_weight * self.unit,
            Sums::Words(words) => f64::from(words[index] as i32) * self.unit / self.total_weight,
        })
    }

    /// The Euclidean norm.
    pub fn norm(&self) -> f64 {
        self.iter().map(|value| value * value).sum::<f64>().sqrt()
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        match &self.sums {
            Sums::Wide(sums) => sums.len(),
            Sums::Words(words) => words.len(),
        }
    }
}

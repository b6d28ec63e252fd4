use federation::*;
use proptest::prelude::*;

use crate::support::site;

fn contribution(weight: u64, delta: &[f32]) -> Contribution {
    let magnitude = delta.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    Contribution { site: site("a"), update: Digest::of_values(delta), weight, magnitude }
}

fn mean(weighted: &[(u64, Vec<f32>)], order: &[usize]) -> Vec<f64> {
    let contributions: Vec<_> = weighted.iter().map(|(w, d)| contribution(*w, d)).collect();
    let mut aggregator = Aggregator::new(weighted[0].1.len(), &contributions).unwrap();
    for &index in order {
        let (weight, delta) = &weighted[index];
        // In pieces of different sizes, the last first: how the values are cut must not matter either.
        let cut = index % (delta.len() + 1);
        aggregator.add(*weight, cut, &delta[cut..]).unwrap();
        aggregator.add(*weight, 0, &delta[..cut]).unwrap();
    }
    aggregator.finish().unwrap().iter().collect()
}

/// Finite values of every size, not only those near 1.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![-1.0f32..1.0, any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |v| v.is_finite())]
}

proptest! {
    #[test]
    fn the_order_changes_no_bit_and_the_error_stays_in_its_bound(
        (weighted, order) in (1usize..9, 1usize..20).prop_flat_map(|(sites, dim)| {
            let update = (1u64..1 << 32, prop::collection::vec(value(), dim));
            (prop::collection::vec(update, sites), Just((0..sites).collect::<Vec<_>>()).prop_shuffle())
        })
    ) {
        let in_order: Vec<usize> = (0..weighted.len()).collect();
        let result = mean(&weighted, &order);
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&result), bits(&mean(&weighted, &in_order)));

        let total: f64 = weighted.iter().map(|(w, _)| *w as f64).sum();
        let largest = weighted.iter().flat_map(|(_, d)| d).fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        for (k, found) in result.iter().enumerate() {
            let expected: f64 = weighted.iter().map(|(w, d)| *w as f64 / total * f64::from(d[k])).sum();
            // The documented bound, and the rounding of both sides in f64 (at most 8 sites, 2^-52 each).
            let bound = largest * total * 2f64.powi(-62) * 1.001 + largest * 1e-14;
            prop_assert!((found - expected).abs() <= bound, "{found} instead of {expected}, bound {bound}");
        }
    }

    #[test]
    fn no_site_of_three_or_more_weighs_more_than_half(examples in prop::collection::vec(1u32.., 3..12)) {
        let weights = site_weights(&examples, true);
        let total: u64 = weights.iter().sum();
        prop_assert!(weights.iter().all(|&w| w > 0 && 2 * w <= total));
        let others: u64 = examples.iter().map(|&n| u64::from(n)).sum::<u64>();
        for (&w, &n) in weights.iter().zip(&examples) {
            prop_assert!(w == u64::from(n) || w == others - u64::from(n));
        }
    }
}

#[test]
fn weights_are_samples_where_the_cap_does_not_apply() {
    assert_eq!(site_weights(&[900, 100], true), [900, 100]);
    assert_eq!(site_weights(&[900, 100, 50], true), [150, 100, 50]);
    assert_eq!(site_weights(&[900, 100, 50], false), [900, 100, 50]);
    assert_eq!(site_weights(&[100, 100, 50], true), [100, 100, 50]);
    assert_eq!(site_weights(&[7], true), [7]);
}

#[test]
fn the_extremes_of_f32_and_of_the_weights_do_not_overflow() {
    let most = (1u64 << 40) / 4;
    for value in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 1.0] {
        let weighted: Vec<_> = (0..4).map(|_| (most, vec![value, -value])).collect();
        let result = mean(&weighted, &[2, 0, 3, 1]);
        let exact = f64::from(value);
        assert!((result[0] / exact - 1.0).abs() < 2f64.powi(-21), "{result:?} instead of ±{value:e}");
        assert_eq!(result[1], -result[0]);
    }
}

#[test]
fn what_was_not_announced_is_refused() {
    let announced = [contribution(2, &[0.5, -0.25]), contribution(1, &[0.5, 0.0])];
    let new = || Aggregator::new(2, &announced).unwrap();
    assert!(matches!(new().add(2, 0, &[0.5, f32::NAN]), Err(AggregationError::Magnitude { index: 1, .. })));
    assert!(matches!(new().add(2, 1, &[-0.75]), Err(AggregationError::Magnitude { index: 1, .. })));
    assert!(matches!(new().add(2, 1, &[0.5, 0.5]), Err(AggregationError::Range { .. })));
    assert!(matches!(new().add(2, usize::MAX, &[0.5]), Err(AggregationError::Range { .. })));
    assert!(matches!(new().add(u64::MAX, 0, &[0.5]), Err(AggregationError::Weight(_))));
    let mut one_is_missing = new();
    one_is_missing.add(2, 0, &[0.5, -0.25]).unwrap();
    assert!(matches!(one_is_missing.finish(), Err(AggregationError::Incomplete { found: 4, expected: 6 })));
    assert!(matches!(Aggregator::new(2, &[]), Err(AggregationError::Empty)));
    assert!(matches!(Aggregator::new(2, &[contribution(1 << 41, &[1.0])]), Err(AggregationError::Weight(_))));
}

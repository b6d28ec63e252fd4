//! Numbers of nodules and their diameters as in LUNA16, and shapes as LIDC's radiologists rated them.

use crate::random::Stream;

/// Quantiles 0, 1/32 … 1 of the 1186 diameters (mm) in LUNA16's `annotations.csv` (LUNA16, CC BY).
const DIAMETER_QUANTILES: [f32; 33] = [
    3.25, 3.90, 4.21, 4.37, 4.52, 4.68, 4.85, 4.97, 5.11, 5.24, 5.41, 5.59, 5.74, 5.92, 6.09, 6.27, 6.43, 6.71, 6.96,
    7.21, 7.72, 8.05, 8.51, 9.01, 9.70, 10.46, 11.48, 12.68, 14.00, 16.02, 17.97, 21.25, 32.27,
];

/// Scans of LUNA16 (of 888) with 0, 1, 2 … nodules.
const SCANS_BY_COUNT: [f32; 13] = [287.0, 310.0, 159.0, 63.0, 24.0, 23.0, 11.0, 4.0, 2.0, 4.0, 0.0, 0.0, 1.0];

/// Shares of LIDC's lobulation and spiculation ratings 1 … 5 over the annotations of LUNA16's scans (CC BY 3.0).
const LOBULATION: [f32; 5] = [0.602, 0.215, 0.106, 0.052, 0.024];
const SPICULATION: [f32; 5] = [0.684, 0.173, 0.072, 0.036, 0.035];

/// A diameter from the real distribution, between `low` and `high` millimetres.
pub(crate) fn diameter(stream: &mut Stream, low: f32, high: f32) -> f32 {
    loop {
        let t = stream.unit() * 32.0;
        let i = t as usize;
        let d = DIAMETER_QUANTILES[i] + (DIAMETER_QUANTILES[i + 1] - DIAMETER_QUANTILES[i]) * (t - i as f32);
        if (low..=high).contains(&d) {
            return d;
        }
    }
}

/// A scan's number of nodules.
pub(crate) fn nodule_count(stream: &mut Stream) -> usize {
    stream.pick(&SCANS_BY_COUNT)
}

/// A lobulation rating, 1 (none) to 5 (marked).
pub(crate) fn lobulation(stream: &mut Stream) -> usize {
    stream.pick(&LOBULATION) + 1
}

/// A spiculation rating, 1 (none) to 5 (marked).
pub(crate) fn spiculation(stream: &mut Stream) -> usize {
    stream.pick(&SPICULATION) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    /// The table against the file it was made from, if that is at hand.
    #[test]
    fn quantiles_are_those_of_luna16() {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
        let folder = std::env::var("FEDNODULE_REAL_DATA").unwrap_or_else(|_| default.to_owned());
        let path = std::path::Path::new(&folder).join("luna16/annotations.csv");
        if !path.exists() {
            assert!(std::env::var("FEDNODULE_REQUIRE_REAL_DATA").is_err(), "{} is missing", path.display());
            eprintln!("SKIPPED: {} is not there", path.display());
            return;
        }
        let rows = imaging::luna16::read_findings(&path).unwrap();
        let mut diameters: Vec<f64> = rows.iter().map(|r| r.diameter_mm).collect();
        diameters.sort_by(f64::total_cmp);
        for (i, q) in DIAMETER_QUANTILES.iter().enumerate() {
            let position = i as f64 / 32.0 * (diameters.len() - 1) as f64;
            let (low, t) = (position as usize, position.fract());
            let exact = diameters[low] + (diameters[(low + 1).min(diameters.len() - 1)] - diameters[low]) * t;
            assert!((exact - f64::from(*q)).abs() < 0.006, "quantile {i}/32 is {exact}, not {q}");
        }
    }

    #[test]
    fn draws_follow_the_table() {
        let mut stream = Stream::new(1, 2, Purpose::Nodules, 3);
        let mut drawn: Vec<f32> = (0..4000).map(|_| diameter(&mut stream, 3.0, 33.0)).collect();
        drawn.sort_by(f32::total_cmp);
        // The median of 4000 draws has a standard error below 0.05 mm.
        assert!((drawn[2000] - 6.43).abs() < 0.2, "{}", drawn[2000]);
        let mean = (0..4000).map(|_| nodule_count(&mut stream)).sum::<usize>() as f32 / 4000.0;
        assert!((mean - 1186.0 / 888.0).abs() < 0.1, "{mean}");
    }
}

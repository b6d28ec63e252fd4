//! The truth describes what is in the voxels.

use phantom::{HospitalStyle, NoduleKind, Phantom, PhantomSpec, Size, generate};

fn scans(style: HospitalStyle, indices: std::ops::Range<u64>) -> Vec<Phantom> {
    indices
        .map(|index| generate(&PhantomSpec { labels: true, ..PhantomSpec::new(5, index, style, Size::Small) }))
        .collect()
}

fn hu_at(phantom: &Phantom, point: [f64; 3]) -> i16 {
    phantom.volume.at(phantom.volume.geometry().index_from_world(point).map(|v| v.round() as usize))
}

/// Mean over the ball of half the radius: noise averages out.
fn mean_around(phantom: &Phantom, centre: [f64; 3], radius: f64) -> f64 {
    let geometry = phantom.volume.geometry();
    let [z, y, x] = geometry.index_from_world(centre).map(|v| v.round() as isize);
    let (mut sum, mut count) = (0.0, 0.0);
    for dz in -8..=8isize {
        for dy in -8..=8isize {
            for dx in -8..=8isize {
                let index = [z + dz, y + dy, x + dx];
                if (0..3).any(|i| index[i] < 0 || index[i] >= geometry.shape_zyx[i] as isize) {
                    continue;
                }
                let point = geometry.world_from_index(index.map(|v| v as f64));
                let d2: f64 = (0..3).map(|i| (point[i] - centre[i]) * (point[i] - centre[i])).sum();
                if d2 <= radius * radius {
                    sum += f64::from(phantom.volume.at(index.map(|v| v as usize)));
                    count += 1.0;
                }
            }
        }
    }
    sum / count
}

#[test]
fn nodules_are_visible_where_the_truth_says() {
    let mut seen = 0;
    for phantom in scans(HospitalStyle::ThinSoft, 0..3) {
        for nodule in &phantom.nodules {
            // A large solid nodule may be a cavity, dark in the middle.
            if nodule.kind == NoduleKind::Solid && nodule.diameter_mm > 8.0 {
                continue;
            }
            let inside = mean_around(&phantom, nodule.center_mm_xyz, (0.3 * nodule.diameter_mm).max(1.2));
            // Lung tissue lies at −890 … −780; a solid nodule of 3 mm is blurred to about −500.
            let brightest = if nodule.kind == NoduleKind::GroundGlass { -740.0 } else { -600.0 };
            assert!(inside > brightest, "{nodule:?}: {inside} HU");
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} nodules in 3 scans");
}

#[test]
fn sizes_are_those_of_luna16() {
    for style in [HospitalStyle::LowDoseSharp, HospitalStyle::HeldOut] {
        for phantom in scans(style, 0..1) {
            assert!((2..=6).contains(&phantom.nodules.len()), "{} nodules", phantom.nodules.len());
            for nodule in &phantom.nodules {
                assert!((2.9..=20.5).contains(&nodule.diameter_mm), "{nodule:?}");
            }
            assert!(!phantom.excluded.is_empty());
        }
    }
}

#[test]
fn all_lobes_are_labelled_on_their_side() {
    let phantom = scans(HospitalStyle::OldScannerStreaks, 3..4).pop().unwrap();
    let geometry = phantom.volume.geometry().clone();
    assert_eq!(geometry.direction[0][0], -1.0, "the fourth scan of the old scanner is stored flipped");
    let lobes = phantom.lobes.as_ref().unwrap();
    assert_eq!(lobes.geometry(), &geometry);
    let [nz, ny, nx] = geometry.shape_zyx;
    let mut count = [0usize; 6];
    let mut x_sum = [0.0f64; 6];
    for (i, label) in lobes.voxels().iter().enumerate() {
        count[*label as usize] += 1;
        let index = [i / (nx * ny), i / nx % ny, i % nx].map(|v| v as f64);
        x_sum[*label as usize] += geometry.world_from_index(index)[0];
    }
    assert_eq!(count.iter().sum::<usize>(), nz * ny * nx);
    let lung: usize = count[1..].iter().sum();
    for (label, &voxels) in count.iter().enumerate().skip(1) {
        assert!(voxels * 50 > lung, "lobe {label} has {voxels} of {lung} voxels");
    }
    let mean = |label: usize| x_sum[label] / count[label] as f64;
    // World x grows to the patient's left, whatever the axes of the file.
    assert!(mean(1).max(mean(2)).max(mean(3)) < mean(4).min(mean(5)));
}

#[test]
fn without_vessels_only_vessels_are_missing() {
    let spec = PhantomSpec::new(9, 0, HospitalStyle::ThinSoft, Size::Small);
    let with = generate(&spec);
    let without = generate(&PhantomSpec { vessels: false, ..spec });
    assert_eq!(with.nodules, without.nodules);
    assert_eq!(with.excluded, without.excluded);
    let (mut darker, mut brighter) = (0usize, 0usize);
    for (a, b) in with.volume.voxels().iter().zip(without.volume.voxels()) {
        darker += usize::from(i32::from(*b) < i32::from(*a) - 60);
        brighter += usize::from(i32::from(*b) > i32::from(*a) + 60);
    }
    assert!(darker > 5_000, "{darker} voxels lost a vessel");
    assert!(brighter * 50 < darker, "{brighter} voxels got brighter, {darker} darker");
}

#[test]
fn padding_lies_outside_the_field_of_view_only() {
    let phantom = generate(&PhantomSpec::new(5, 0, HospitalStyle::ThickSlice, Size::Small));
    let [nz, ny, nx] = phantom.volume.geometry().shape_zyx;
    assert_eq!(phantom.volume.at([nz / 2, 0, 0]), -2000);
    assert!(phantom.volume.at([nz / 2, ny / 2, nx / 2]) > -1025);
    assert!(hu_at(&phantom, phantom.volume.geometry().world_from_index([10.0, 70.0, 88.0])) > -1025);
}

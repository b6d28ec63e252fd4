//! What the examples share.

/// CPU seconds of this process, to the nanosecond, where `/proc` has them.
pub(crate) fn cpu_time() -> f64 {
    let of = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    1e-9 * tasks.flatten().filter_map(|t| of(t.path().join("schedstat"))).sum::<f64>()
}

/// Numbers in [−0.5, 0.5), always the same.
pub(crate) fn values(len: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..len).map(step).collect()
}

//! What a time was measured on.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// The processor as it calls itself, what it can, and how busy it is.
pub(super) fn describe() -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = field(&info, "flags").or_else(|| field(&info, "Features")).unwrap_or_default();
    let known = ["fma", "avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve"];
    let vectors: Vec<&str> = flags.split_whitespace().filter(|flag| known.contains(flag)).collect();
    json!({
        "cpu": field(&info, "model name").or_else(elsewhere),
        "vectors": vectors,
        "logical_cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "load_average": load_average(),
    })
}

/// Runnable threads over the last minute (Linux).
pub(super) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn field(info: &str, name: &str) -> Option<String> {
    let of_line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    info.lines().find_map(of_line)
}

/// macOS and Windows.
fn elsewhere() -> Option<String> {
    let sysctl = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok();
    let sysctl = sysctl.filter(|output| output.status.success());
    let name = sysctl.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
}

//! The most memory that this process has used, as the operating system counts it.

/// Starts counting anew where the system can (Linux, `proc_pid_clear_refs(5)`).
pub(crate) fn reset_peak() {
    if cfg!(target_os = "linux") {
        // Not allowed in some containers: the peak then also covers what came before.
        std::fs::write("/proc/self/clear_refs", "5").ok();
    }
}

/// The peak of the resident memory since [`reset_peak`] in bytes; nothing where the system does not tell (only Linux
/// does, as `VmHWM`).
pub(crate) fn peak_bytes() -> Option<u64> {
    parse_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n"), Some(123_456 * 1024));
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_covers_what_was_allocated() {
        let block = vec![1u8; 64 << 20];
        assert!(peak_bytes().unwrap() >= std::hint::black_box(&block).len() as u64);
    }
}

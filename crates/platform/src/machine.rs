//! The machine that the server runs on: how busy it is, and how much room it has.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// The machine at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Machine {
    cpus: usize,
    /// Of all CPUs, since this was asked last.
    cpu_percent: f32,
    memory_used_bytes: u64,
    memory_bytes: u64,
    /// Of this process; workers are processes of their own.
    own_memory_bytes: u64,
    /// Of the disk that holds the data folder.
    disk_free_bytes: u64,
    disk_bytes: u64,
    /// Graphics cards that the system tells of, by name; whether a worker can use one, the worker says.
    gpus: Vec<String>,
}

/// Watches it.
pub(crate) struct Watch {
    system: Mutex<System>,
    data: PathBuf,
    gpus: Vec<String>,
}

impl Watch {
    /// `data` is a folder on the disk that matters.
    pub(crate) fn new(data: PathBuf) -> Self {
        let mut system = System::new();
        // Percentages are of the time between two looks.
        system.refresh_cpu_usage();
        Self { system: Mutex::new(system), data, gpus: gpus() }
    }

    pub(crate) fn look(&self) -> Machine {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        system.refresh_cpu_usage();
        system.refresh_memory();
        let own = sysinfo::get_current_pid().ok();
        if let Some(own) = own {
            let memory = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), true, memory);
        }
        Machine {
            cpus: system.cpus().len(),
            cpu_percent: system.global_cpu_usage(),
            memory_used_bytes: system.used_memory(),
            memory_bytes: system.total_memory(),
            own_memory_bytes: own.and_then(|own| system.process(own)).map_or(0, |process| process.memory()),
            disk_free_bytes: fs4::available_space(&self.data).unwrap_or(0),
            disk_bytes: fs4::total_space(&self.data).unwrap_or(0),
            gpus: self.gpus.clone(),
        }
    }
}

/// What Linux tells: NVIDIA's driver by its own files, other cards by their makers' numbers.
fn gpus() -> Vec<String> {
    let entries = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let model = |path: PathBuf| {
        let about = fs::read_to_string(path.join("information")).ok()?;
        about.lines().find_map(|line| Some(line.strip_prefix("Model:")?.trim().to_owned()))
    };
    let mut found: Vec<String> = entries("/proc/driver/nvidia/gpus").filter_map(model).collect();
    let maker = |path: PathBuf| match fs::read_to_string(path.join("device/vendor")).ok()?.trim() {
        "0x1002" => Some("AMD"),
        "0x8086" => Some("Intel"),
        "0x10de" => Some("NVIDIA"),
        _ => None,
    };
    if found.is_empty() {
        let is_card = |path: &PathBuf| path.file_name().is_some_and(|name| !name.to_string_lossy().contains('-'));
        found = entries("/sys/class/drm").filter(is_card).filter_map(maker).map(str::to_owned).collect();
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_of_itself() {
        let machine = Watch::new(std::env::temp_dir()).look();
        assert!(machine.cpus > 0 && machine.memory_bytes > machine.own_memory_bytes && machine.own_memory_bytes > 0);
        assert!(machine.disk_bytes > machine.disk_free_bytes && (0.0..=100.0).contains(&machine.cpu_percent));
    }
}

//! `cargo xtask bench`: ours against Burn's own operations, PyTorch and OpenVINO in one run.
//!
//! Every contender is a process that lives through the run. A round asks one after the other for the same task, so that
//! whatever else the machine does disturbs all alike, and the fastest of a contender's rounds counts. Peak memory comes
//! from processes that do nothing else. What a network is only the workers know: crates/detector/examples/bench_worker.rs
//! and bench_worker.py.

mod machine;
mod table;
mod task;
mod worker;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::task::{Contender, Measure, Task};
use self::worker::Worker;
use crate::command::run as run_command;
use crate::peers;
use crate::programs::example;
use crate::project::Project;

/// What the caller decides.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A first look of about two minutes, without the largest tasks
    #[arg(long)]
    quick: bool,
    /// Write every number to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of every contender
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Instead: the web platform with 200 people, 20 uploads and a training at once
    #[arg(long, conflicts_with_all = ["threads", "only"])]
    load: bool,
    /// Instead: secure aggregation against raw key streams and plain sums
    #[arg(long, conflicts_with_all = ["threads", "only", "load", "json"])]
    sums: bool,
    /// Only the tasks whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// Rounds of a task: as many as fit the budget, but at least `least`.
struct Rounds {
    least: u32,
    most: u32,
    budget: Duration,
}

/// One row of the table. Arrays are in the order of [`Contender::ALL`].
struct Row {
    task: Task,
    /// Every round's seconds.
    seconds: [Vec<f64>; 5],
    /// Operations of a call, in thousand millions.
    gflop: Option<f64>,
    /// The same of a call of sgemm.
    sgemm_gflop: Option<f64>,
    /// Bytes before the task and at its peak.
    memory: [Option<[f64; 2]>; 5],
}

impl Row {
    fn least(&self, contender: Contender) -> Option<f64> {
        self.seconds[contender as usize].iter().copied().reduce(f64::min)
    }

    fn gflops(&self) -> Option<f64> {
        Some(self.gflop? / self.least(Contender::Ours)?)
    }

    fn value(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::TimeOver(other) => Some(self.least(Contender::Ours)? / self.least(other)?),
            Measure::PeakOver(other) => {
                // What a program's libraries take is not the task's: PyTorch's build with CUDA has half a gigabyte.
                let grown = |contender: Contender| self.memory[contender as usize].map(|[before, peak]| peak - before);
                Some(grown(Contender::Ours)? / grown(other)?)
            }
            Measure::OfSgemm => Some(self.gflops()? * self.least(Contender::Sgemm)? / self.sgemm_gflop?),
        }
    }
}

/// Starts workers; notes what cannot be measured, once.
struct Bench {
    binary: PathBuf,
    script: PathBuf,
    /// The interpreter, and where it finds OpenVINO.
    python: Option<(PathBuf, Option<PathBuf>)>,
    /// For logs and converted models.
    folder: PathBuf,
    threads: String,
    skipped: Vec<String>,
}

/// Measures, prints, and fails only where nothing could be measured: a slow time is a result.
/// The program itself under load; what that is stands in crates/platform/examples/load.rs.
fn load(project: &Project, options: &Options) -> Result<()> {
    let build = |arguments: &[&str]| run_command(project.cargo().args(["build", "--release"]).args(arguments));
    build(&["--package", "fednodule"])?;
    build(&["--package", "platform", "--example", "load"])?;
    let release = project.target.join("release");
    let program = |path: PathBuf| path.with_extension(std::env::consts::EXE_EXTENSION);
    let mut load = Command::new(program(release.join("examples").join("load")));
    load.current_dir(&project.root).arg(program(release.join("fednodule")));
    load.arg(if options.quick { "15" } else { "60" });
    load.arg(options.json.as_deref().unwrap_or(Path::new("-")));
    run_command(&mut load)
}

/// What secure aggregation costs; what is measured stands in crates/federation/examples/secure_sum.rs.
fn sums(project: &Project, options: &Options) -> Result<()> {
    run_command(project.cargo().args(["build", "--release", "--package", "federation", "--example", "secure_sum"]))?;
    let program = project.target.join("release").join("examples").join("secure_sum");
    let mut sums = Command::new(program.with_extension(std::env::consts::EXE_EXTENSION));
    run_command(sums.args(options.quick.then_some("quick")))
}

pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    if options.sums {
        return sums(project, options);
    }
    if options.load {
        return load(project, options);
    }
    let mut bench = Bench::prepare(project, options.threads)?;
    let machine = machine::describe();
    let versions = bench.versions();
    println!("{}", table::heading(&machine, options.threads, &versions));

    let rounds = if options.quick {
        Rounds { least: 1, most: 3, budget: Duration::from_secs(5) }
    } else {
        Rounds { least: 2, most: 7, budget: Duration::from_secs(20) }
    };
    let tasks = Task::all(options.quick).into_iter().filter(|task| task.to_string().contains(&options.only));
    let mut rows: Vec<Row> = Vec::new();
    let mut workers = bench.start_all();
    for task in tasks {
        let row = bench.measure(&mut workers, task, &rounds);
        println!("{}", table::times(&row));
        rows.push(row);
    }
    drop(workers);
    if rows.iter().any(|row| row.task.is_network()) {
        println!("\n{}", table::memory_heading());
    }
    for row in rows.iter_mut().filter(|row| row.task.is_network()) {
        row.memory = bench.peaks(row.task);
        println!("{}", table::memory(row));
    }
    println!("\n{}", table::goals(&rows));
    bench.skipped.iter().for_each(|what| println!("SKIPPED: {what}"));

    if let Some(path) = &options.json {
        let document = json!({
            "machine": machine,
            "load_average_at_end": machine::load_average(),
            "threads": options.threads,
            "quick": options.quick,
            "versions": versions,
            "tasks": rows.iter().map(in_full).collect::<Vec<_>>(),
            "skipped": bench.skipped,
        });
        fs::write(path, format!("{document:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Bench {
    fn prepare(project: &Project, threads: u32) -> Result<Self> {
        let folder = project.target.join("bench");
        // Models that another version of the networks converted must not be measured.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut skipped = Vec::new();
        let python = match peers::install(project) {
            Ok(python) => {
                let openvino = peers::install_openvino(project, &python);
                let openvino = openvino.map_err(|error| skipped.push(format!("OpenVINO: {error:#}"))).ok();
                Some((python, openvino))
            }
            Err(error) => {
                skipped.push(format!("PyTorch, OpenVINO and sgemm: {error:#}"));
                None
            }
        };
        Ok(Self {
            binary: example(project, "bench_worker")?,
            script: project.root.join("xtask").join("bench_worker.py"),
            python,
            folder,
            threads: threads.to_string(),
            skipped,
        })
    }

    fn command(&self, contender: Contender) -> Option<Command> {
        let rust = |kernels: &str| {
            let mut command = Command::new(&self.binary);
            command.env("RAYON_NUM_THREADS", &self.threads).env("FEDNODULE_KERNELS", kernels);
            command
        };
        let python = |library: &str, path: Option<&Path>| {
            let mut command = Command::new(&self.python.as_ref()?.0);
            command.arg(&self.script).args([library, &self.threads]).arg(&self.folder);
            command.env("OMP_NUM_THREADS", &self.threads).env("MKL_NUM_THREADS", &self.threads);
            command.envs(path.map(|path| ("PYTHONPATH", path)));
            Some(command)
        };
        match contender {
            Contender::Ours => Some(rust("on")),
            Contender::Flex => Some(rust("off")),
            Contender::PyTorch | Contender::Sgemm => python("torch", None),
            Contender::OpenVino => python("openvino", Some(self.python.as_ref()?.1.as_ref()?)),
        }
    }

    fn start(&mut self, contender: Contender) -> Option<Worker> {
        let log = self.folder.join(format!("{}.log", contender.name()));
        let log = File::options().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("cannot write to {}", self.folder.display()));
        let mut command = self.command(contender)?;
        self.noted(contender.name(), log.and_then(|log| Worker::start(&mut command, log)))
    }

    fn start_all(&mut self) -> [Option<Worker>; 5] {
        Contender::ALL.map(|contender| self.start(contender))
    }

    fn versions(&mut self) -> Vec<String> {
        let mut ask = |contender| {
            let answer = self.start(contender)?.ask("versions");
            self.noted("versions", answer)
        };
        [Contender::PyTorch, Contender::OpenVino].into_iter().filter_map(&mut ask).collect()
    }

    /// A value, or nothing after its reason was noted.
    fn noted<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        let note = |error| {
            let note = format!("{what}: {error:#}");
            if !self.skipped.contains(&note) {
                self.skipped.push(note);
            }
        };
        result.map_err(note).ok()
    }

    fn measure(&mut self, workers: &mut [Option<Worker>; 5], task: Task, rounds: &Rounds) -> Row {
        let mut row =
            Row { task, seconds: Default::default(), gflop: None, sgemm_gflop: None, memory: Default::default() };
        let sgemm = "sgemm@2048";
        if let Some(worker) = &mut workers[Contender::PyTorch as usize] {
            let gflop = worker.number(&format!("gflop {task}"));
            row.gflop = self.noted(&format!("operations of {task}"), gflop);
            row.sgemm_gflop = worker.number(&format!("gflop {sgemm}")).ok();
        }
        let mut asked = Contender::ALL.map(|contender| contender.can(task));
        let start = Instant::now();
        for round in 0..rounds.most {
            if round >= rounds.least && start.elapsed() > rounds.budget {
                break;
            }
            for contender in Contender::ALL {
                let (slot, asked) = (&mut workers[contender as usize], &mut asked[contender as usize]);
                let Some(worker) = slot.as_mut().filter(|_| *asked) else { continue };
                let name = if contender == Contender::Sgemm { sgemm.to_owned() } else { task.to_string() };
                let answer = worker.number(&format!("time {name}"));
                match self.noted(&format!("{} at {name}", contender.name()), answer) {
                    Some(seconds) => row.seconds[contender as usize].push(seconds),
                    None => {
                        *asked = false;
                        // It may have died, for lack of memory say; the next task finds a living one.
                        *slot = None;
                        *slot = self.start(contender);
                    }
                }
            }
        }
        row
    }

    /// Of every contender's two calls in a process of its own.
    fn peaks(&mut self, task: Task) -> [Option<[f64; 2]>; 5] {
        Contender::ALL.map(|contender| {
            if contender == Contender::Sgemm || !contender.can(task) {
                return None;
            }
            let mut worker = self.start(contender)?;
            let mut ask = || -> Result<[f64; 2]> {
                let before = worker.number("peak")?;
                worker.number(&format!("time {task}"))?;
                Ok([before, worker.number("peak")?])
            };
            let peak = ask();
            self.noted(&format!("{}'s memory at {task}", contender.name()), peak)
        })
    }
}

/// Everything that is known of a task.
fn in_full(row: &Row) -> Value {
    let contenders = Contender::ALL.iter().map(|&contender| {
        let mut seconds = row.seconds[contender as usize].clone();
        let in_order = json!(seconds);
        seconds.sort_by(f64::total_cmp);
        let memory = row.memory[contender as usize];
        let value = json!({
            "seconds": in_order,
            "least_seconds": seconds.first(),
            "median_seconds": seconds.get(seconds.len() / 2),
            "bytes_before": memory.map(|[before, _]| before),
            "peak_bytes": memory.map(|[_, peak]| peak),
        });
        (contender.name().to_owned(), value)
    });
    let goals = row.task.goals().into_iter().map(|(measure, limit)| {
        let value = row.value(measure);
        let met = value.map(|value| measure.holds(value, limit));
        json!({ "goal": format!("{measure} {limit}"), "value": value, "met": met })
    });
    let ratio = |other| row.value(Measure::TimeOver(other));
    json!({
        "task": row.task.to_string(),
        "contenders": contenders.collect::<serde_json::Map<_, _>>(),
        "ours_over_flex": ratio(Contender::Flex),
        "ours_over_pytorch": ratio(Contender::PyTorch),
        "ours_over_openvino": ratio(Contender::OpenVino),
        "gflop": row.gflop,
        "gflops": row.gflops(),
        "fraction_of_sgemm": row.value(Measure::OfSgemm),
        "peak_over_pytorch": row.value(Measure::PeakOver(Contender::PyTorch)),
        "goals": goals.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(task: Task) -> Row {
        let seconds = [vec![3.0, 2.0], vec![8.0], vec![4.0, 5.0], vec![], vec![1.0]];
        let memory = [Some([1e8, 4e8]), None, Some([4e8, 1e9]), None, None];
        Row { task, seconds, gflop: Some(200.0), sgemm_gflop: Some(125.0), memory }
    }

    #[test]
    fn ratios_are_of_the_fastest_rounds() {
        let row = row(Task::Training { network: "reference", side: 96 });
        assert_eq!(row.value(Measure::TimeOver(Contender::PyTorch)), Some(0.5));
        assert_eq!(row.value(Measure::TimeOver(Contender::OpenVino)), None);
        assert_eq!(row.value(Measure::PeakOver(Contender::PyTorch)), Some(0.5));
        assert_eq!(row.value(Measure::OfSgemm), Some(0.8));
    }

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let inference = row(Task::Inference { network: "reference", side: 96 });
        let table = table::goals(&[inference]);
        assert!(table.contains("not measured  time/OpenVINO ≤ 1"), "{table}");
        assert!(table.contains("met           time/PyTorch ≤ 0.5: 0.50"), "{table}");
        let full = in_full(&row(Task::Convolution { channels: [32, 32], side: 48, gradients: false }));
        assert_eq!(full["goals"][0]["met"], true);
        assert_eq!(full["contenders"]["ours"]["least_seconds"], 2.0);
    }

    #[test]
    fn a_quick_run_is_part_of_the_full_one() {
        let full = Task::all(false);
        assert!(Task::all(true).iter().all(|task| full.contains(task)));
    }
}

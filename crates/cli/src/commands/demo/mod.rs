//! `fednodule demo`: every command's work in one, on phantoms; with `--serve` the federated training takes place on a server.

mod server;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use detector::inference::{Mode, PredictOptions};
use detector::training::Sampling;
use detector::{Architecture, DeviceChoice, Plan};
use federation::{Hyperparameters, SessionConfig, SessionId, SiteId};
use phantom::{DatasetSpec, HospitalStyle, Size, write_dataset};
use serde_json::{Value, json};
use workflow::catalog::{Language, Message};
use workflow::predict::{PredictEvent, PredictRequest, predict};
use workflow::report::comparison;
use workflow::site::SiteRequest;
use workflow::study::{StudyEvent, StudyReport, StudyRequest, StudyRow, study};
use workflow::train::TrainRequest;

use super::train;
use crate::console::{Console, Exit, table};
use crate::{args, interrupt};

/// What a demonstration costs.
struct Scale {
    /// Scans of every hospital to train on.
    scans: usize,
    /// Whose scans, of other patients, are scored.
    scored: &'static [HospitalStyle],
    /// Scans of each of these styles.
    held_out: usize,
    hyperparameters: Hyperparameters,
}

impl Scale {
    /// Measured on two cores: a narrow network on small patches, because minutes are short; few scans a hospital, because
    /// that is why hospitals federate.
    fn new(quick: bool) -> Self {
        let usual = Hyperparameters {
            batch_size: 2,
            patch_size: 48,
            learning_rate: 4e-3,
            local_epochs: 1,
            ..Hyperparameters::default()
        };
        if quick {
            let hyperparameters = Hyperparameters { rounds: 4, patches_per_epoch: 32, ..usual };
            Self { scans: 3, scored: &TRAINING, held_out: 1, hyperparameters }
        } else {
            let hyperparameters = Hyperparameters { rounds: 20, patches_per_epoch: 60, ..usual };
            // Half of these hospitals have trained nobody.
            Self { scans: 4, scored: &HospitalStyle::ALL, held_out: 4, hyperparameters }
        }
    }
}

/// The hospitals that train: of all styles those that differ most, in dose, in nodules and in scanner.
const TRAINING: [HospitalStyle; 3] =
    [HospitalStyle::LowDoseSharp, HospitalStyle::GroundGlassScreening, HospitalStyle::OldScannerStreaks];

/// The threshold that is found in one mode is that mode's.
const MODE: Mode = Mode::Fast;

pub(crate) fn run(args: &args::Demo, console: &Console) -> anyhow::Result<Exit> {
    let stop = interrupt::listen(console)?;
    let scale = Scale::new(args.quick);
    let device = DeviceChoice::Auto.open()?;
    console.device(&device);
    let bar = console.bar();

    console.note(Message::DemoPhantoms);
    let specs = [
        ("training", DatasetSpec { sites: TRAINING.to_vec(), ..DatasetSpec::new(1, scale.scans, Size::Small, 0) }),
        (
            "held_out",
            DatasetSpec { sites: scale.scored.to_vec(), ..DatasetSpec::new(1, scale.held_out, Size::Small, 1) },
        ),
    ];
    let mut folders = Vec::new();
    for (name, spec) in &specs {
        let summary = write_dataset(&args.out.join("phantoms").join(name), spec, &mut |progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(progress.site);
        })?;
        folders.push(summary.sites);
    }
    let [(_, training_spec), _] = &specs;
    let held_out = folders.pop().unwrap_or_default();
    let sites = folders.pop().unwrap_or_default();
    let last_held_out = held_out.last().cloned().unwrap_or_default();

    let mut notes = vec![Message::NotePhantoms];
    notes.extend(args.quick.then_some(Message::NoteQuick));
    let note = notes.iter().map(|note| Language::ALL.map(|language| note.text(language)).join(" / "));
    // One line, as a server keeps it.
    let note = note.collect::<Vec<_>>().join(" ");
    let names: Vec<String> = (0..sites.len()).map(|site| training_spec.site_name(site)).collect();
    let patch_size = scale.hyperparameters.patch_size as usize;
    let mut plan = Plan::with_patch(patch_size);
    plan.lungs.volume_ml = Size::Small.lung_volume_ml();
    let watched =
        args.serve.map(|listen| server::Server::start(listen, &args.out.join("server"), &names)).transpose()?;
    if let Some(server) = &watched {
        announce(server, console);
        let launch = launch(&scale, &plan, &names, &note);
        server.train(&sites, &launch, &bar, console, stop)?;
    }
    // On a server the session is the first of its data folder, over the files that were uploaded.
    let (session, folder, out) = match &watched {
        Some(server) => ("1", Some(server.data.join("uploads")), server.data.clone()),
        None => (if args.quick { "demo-quick" } else { "demo" }, None, args.out.clone()),
    };
    let sites = names
        .iter()
        .zip(sites)
        .map(|(name, own)| {
            let uploaded = folder.as_ref().map(|uploads| uploads.join(format!("{name}_data")));
            Ok(SiteRequest { id: SiteId::new(name.as_str())?, folder: uploaded.unwrap_or(own), annotations: None })
        })
        .collect::<anyhow::Result<_>>()?;
    let training = TrainRequest {
        session: SessionId::new(session)?,
        sites,
        architecture: Architecture::by_name("xxs")?,
        plan,
        config: SessionConfig { hyperparameters: scale.hyperparameters, ..SessionConfig::default() },
        sampling: Sampling::brief(),
        initial: None,
        note,
        out,
        device: device.device,
    };
    // Every candidate counts for the curve.
    let options = PredictOptions { threshold: 0.0, mode: MODE };
    let request = StudyRequest { training, held_out, options };
    let report = study(
        &request,
        &mut |event| match event {
            StudyEvent::Training(event) => train::show(&event, &bar, console),
            StudyEvent::Step { contender, done, total, .. } => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(
                    console.text(Message::DemoStep { contender: &comparison::contender(contender, console.language) }),
                );
            }
            StudyEvent::Scoring { contender, done, total } => {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(
                    console
                        .text(Message::DemoScoring { contender: &comparison::contender(contender, console.language) }),
                );
            }
            StudyEvent::Scored(row) => bar.suspend(|| console.note(scored(row, console).as_message())),
        },
        stop,
    );
    bar.finish_and_clear();
    let report = report?;

    report.write(&args.out, console.language)?;

    let federated = report.rows.first().map(|row| row.model.clone()).unwrap_or_default();
    predict(
        &PredictRequest {
            scans: report.examples.iter().map(|example| example.path.clone()).collect(),
            model: federated.clone(),
            out: args.out.join("predictions"),
            options: PredictOptions { threshold: report.threshold, mode: MODE },
            device: DeviceChoice::Auto,
        },
        &mut |_: PredictEvent<'_>| if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) },
    )?;
    console.result(&report.document(), || summary(&report, args, &federated, console))?;
    let Some(server) = watched else { return Ok(Exit::Success) };
    // Only now: nobody may train on them.
    server.mark(&last_held_out, &console.bar())?;
    if args.exit {
        server.stop()?;
        return Ok(Exit::Success);
    }
    announce(&server, console);
    while !stop.requested() {
        std::thread::sleep(Duration::from_millis(200));
    }
    server.stop()?;
    console.note(Message::ServeStopped);
    Ok(Exit::Success)
}

/// Where the server is, and who can log in.
fn announce(server: &server::Server, console: &Console) {
    console.note(Message::ServeReady { address: &server.address });
    let accounts = std::iter::once(&server.accounts.administrator).chain(&server.accounts.hospitals);
    for account in accounts {
        console.note(Message::DemoAccount { username: &account.username, password: &account.password });
    }
}

/// The training as a server is asked for it.
fn launch(scale: &Scale, plan: &Plan, participants: &[String], note: &str) -> Value {
    let h = &scale.hyperparameters;
    json!({
        "participants": participants, "rounds": h.rounds, "local_epochs": h.local_epochs, "note": note,
        "patches_per_epoch": h.patches_per_epoch, "learning_rate": h.learning_rate, "batch_size": h.batch_size,
        "patch_size": h.patch_size, "network": "xxs", "sampling": "brief", "min_lung_ml": *plan.lungs.volume_ml.start() as u32,
    })
}

/// The tables, the result in a sentence, and where everything is.
fn summary(report: &StudyReport, args: &args::Demo, model: &Path, console: &Console) -> String {
    let tables = [
        comparison::round_table(&report.session.rounds, console.language),
        comparison::model_table(report, console.language),
    ];
    let tables = tables.map(|[titles, rows]| table(&titles.concat(), &rows));
    let files = [
        (Message::DemoModel, model.to_path_buf()),
        (Message::DemoComparison, args.out.join("comparison.html")),
        (Message::DemoFigures, args.out.join("froc.svg")),
        (Message::DemoReports, args.out.join("predictions")),
    ];
    let files = files.map(|(name, path)| console.field(name, &path.display().to_string()));
    let verdict = comparison::verdict(report, console.language).unwrap_or_default();
    [&tables.join("\n\n"), "", &verdict, &report.note, "", &files.join("\n")].join("\n")
}

/// The words of a line of the comparison.
struct Scored {
    contender: String,
    cpm: String,
    sensitivity: String,
}

impl Scored {
    fn as_message(&self) -> Message<'_> {
        Message::DemoScored { contender: &self.contender, cpm: &self.cpm, sensitivity: &self.sensitivity }
    }
}

fn scored(row: &StudyRow, console: &Console) -> Scored {
    let summary = &row.evaluation.summary;
    Scored {
        contender: comparison::contender(&row.contender, console.language),
        cpm: format!("{:.3}", summary.cpm),
        sensitivity: format!("{:.3}", summary.sensitivities[3]),
    }
}

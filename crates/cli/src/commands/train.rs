//! `fednodule train`

use std::path::Path;

use anyhow::anyhow;
use detector::training::Sampling;
use detector::{Architecture, ChosenDevice, Plan};
use federation::{DifferentialPrivacy, Hyperparameters, Purpose, SealedBecause, SessionConfig, SessionId};
use indicatif::ProgressBar;
use serde_json::json;
use transport::Event;
use transport::in_process::Outcome;
use workflow::catalog::{Language, Message};
use workflow::site::SiteRequest;
use workflow::train::{TrainEvent, TrainReport, TrainRequest, resume, train};

use crate::console::{Console, Exit};
use crate::{args, interrupt, supervised};

pub(crate) fn run(args: &args::Train, console: &Console) -> anyhow::Result<Exit> {
    let stop = interrupt::listen(console)?;
    let device = args.device.open()?;
    console.device(&device);
    let bar = console.bar();
    let mut observer = |event: TrainEvent<'_>| show(&event, &bar, console);
    let report = match &args.resume {
        Some(id) => resume(&args.out, id, &device.device, &mut observer, stop),
        None => train(&request(args, device)?, &mut observer, stop),
    };
    bar.finish_and_clear();
    finish(&report?, console)
}

fn request(args: &args::Train, device: ChosenDevice) -> anyhow::Result<TrainRequest> {
    let sites: Vec<SiteRequest> = args
        .sites
        .iter()
        .map(|site| SiteRequest {
            id: site.id.clone(),
            folder: site.folder.clone(),
            annotations: args.annotations.clone(),
        })
        .collect();
    let hyperparameters = Hyperparameters {
        rounds: args.rounds,
        local_epochs: args.local_epochs,
        patches_per_epoch: args.patches_per_epoch,
        learning_rate: args.learning_rate,
        batch_size: args.batch_size,
        patch_size: args.patch_size,
        algorithm: args.algorithm,
        seed: args.seed,
        max_update_norm: args.max_update_norm,
        differential_privacy: args.privacy_noise.map(|noise_multiplier| DifferentialPrivacy {
            noise_multiplier,
            clip_norm: args.privacy_clip,
            epsilon: args.privacy_epsilon,
            delta: args.privacy_delta,
        }),
    };
    let mut plan = Plan::with_patch(args.patch_size as usize);
    plan.lungs.volume_ml = f64::from(args.min_lung_ml)..=*plan.lungs.volume_ml.end();
    // One hospital alone is asked for by naming one.
    let fewest = sites.len().min(SessionConfig::default().minimum_sites as usize) as u32;
    let minimum_sites = args.min_sites.unwrap_or(fewest);
    let note = args.note.clone().unwrap_or_else(|| default_note(&sites));
    Ok(TrainRequest {
        session: args.session.clone().map_or_else(|| next_session(&args.out), Ok)?,
        sites,
        architecture: Architecture::by_name(&args.network)?,
        plan,
        config: SessionConfig {
            hyperparameters,
            minimum_sites,
            protection: args.protection,
            round_deadline_s: args.round_deadline,
            ..SessionConfig::default()
        },
        sampling: if args.sampling == "brief" { Sampling::brief() } else { Sampling::default() },
        initial: args.initial.clone(),
        note,
        out: args.out.clone(),
        device: device.device,
    })
}

/// The smallest number that no session in the folder has.
fn next_session(out: &Path) -> anyhow::Result<SessionId> {
    let taken = |id: &u32| out.join("sessions").join(id.to_string()).exists();
    let free = (1_u32..).find(|id| !taken(id)).ok_or_else(|| anyhow!("4294967295 sessions"))?;
    Ok(SessionId::new(free.to_string())?)
}

/// What the model's file says about its weakness, in both languages.
fn default_note(sites: &[SiteRequest]) -> String {
    let synthetic = sites.iter().any(|site| site.folder.join(".phantom").is_dir());
    let note = if synthetic { Message::NotePhantoms } else { Message::NoteUnvalidated };
    Language::ALL.map(|language| note.text(language)).join(" / ")
}

/// Shows what happens: a line for what stays of interest, the bar for the rest.
pub(crate) fn show(event: &TrainEvent<'_>, bar: &ProgressBar, console: &Console) {
    if console.supervised {
        return supervised::training(event, console);
    }
    let progress = |message: String, done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(message);
    };
    let line = |message: Message<'_>| bar.suspend(|| console.note(message));
    match event {
        TrainEvent::Preparing { site, done, total } => {
            progress(console.text(Message::SitePreparing { site: &site.as_str() }), *done as u64, *total as u64);
        }
        TrainEvent::SiteReady(site) => {
            let (id, scans, nodules) = (site.id.as_str(), site.scans.len(), site.nodules());
            line(Message::SiteReady { site: &id, scans: &scans, nodules: &nodules });
            for problem in &site.problems {
                bar.suspend(|| console.warn(&format!("{}: {}", problem.path.display(), problem.message)));
            }
            if site.unknown_series > 0 {
                let message = Message::SiteUnknownSeries { site: &id, count: &site.unknown_series };
                bar.suspend(|| console.warn(&console.text(message)));
            }
        }
        TrainEvent::SiteUnusable(error) => bar.suspend(|| console.complain(&console.record(*error))),
        TrainEvent::Session(event) => show_session(event, &progress, &line, console),
    }
}

fn show_session(event: &Event, progress: &dyn Fn(String, u64, u64), line: &dyn Fn(Message<'_>), console: &Console) {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
    match event {
        Event::Protected { sealed_because: Some(because), .. } => {
            let reason = match because {
                SealedBecause::FewSites => Message::SealedFewSites,
                SealedBecause::Chosen => Message::SealedChosen,
            };
            line(Message::SealedUpdates { reason: &console.text(reason) });
        }
        Event::Protected { .. } => {}
        Event::RoundStarted { round } => line(Message::RoundStarted { round }),
        Event::SiteProgress { site, round, done, total, loss, .. } => {
            let message = Message::SiteTraining { site: &site.as_str(), round, loss: &number(*loss) };
            progress(console.text(message), *done, *total);
        }
        Event::SiteTrained { site, metrics, epsilon, .. } => {
            if let Some(epsilon) = epsilon {
                line(Message::PrivacySpent { site: &site.as_str(), epsilon: &format!("{epsilon:.3}") });
            }
            line(Message::SiteTrained { site: &site.as_str(), loss: &format!("{:.4}", metrics.loss) });
        }
        Event::SiteExcluded { site, reason, .. }
        | Event::SiteDropped { site, reason }
        | Event::SiteRejected { site, reason } => line(Message::SiteLeftOut { site: &site.as_str(), reason }),
        Event::SiteLate { site, .. } => line(Message::SiteLate { site: &site.as_str() }),
        Event::RoundCompleted { record } => line(Message::RoundCompleted {
            round: &record.round,
            loss: &number(record.evaluation_loss.or(record.training_loss)),
            probability: &number(record.foreground_probability),
        }),
        Event::HistoryKeptAside { path } => line(Message::HistoryKeptAside { path: &path.display() }),
        Event::SumStarted { purpose: Purpose::Training, sum, .. } => line(Message::SumStarted {
            sites: &sum.participants.len(),
            threshold: &sum.threshold,
            attempt: &(sum.attempt + 1),
        }),
        Event::SumCompleted { purpose: Purpose::Training, sum, .. } => {
            line(Message::SumCompleted { sites: &sum.survivors.len() });
        }
        Event::SumGivenUp { reason, .. } => line(Message::SumGivenUp { reason }),
        Event::SumStarted { .. }
        | Event::SumCompleted { .. }
        | Event::SiteAwaitsSum { .. }
        | Event::SiteReplied { .. }
        | Event::SiteStarted { .. }
        | Event::SiteEvaluated { .. }
        | Event::Aggregated { .. }
        | Event::SessionCompleted { .. }
        | Event::SessionFailed { .. } => {}
    }
}

fn finish(report: &TrainReport, console: &Console) -> anyhow::Result<Exit> {
    let record = &report.record;
    let id = record.session_id.as_str();
    let (outcome, model, reason, exit) = match &report.outcome {
        Outcome::Completed { model } => ("completed", Some(model), None, Exit::Success),
        Outcome::Failed { reason } => ("failed", None, Some(reason.to_string()), Exit::Run),
        Outcome::Suspended => ("suspended", None, None, Exit::Interrupted),
    };
    let document = json!({
        "session_id": id, "outcome": outcome, "model": model, "model_sha256": record.model_sha256,
        "reason": reason, "session": record,
    });
    console.result(&document, || match (&report.outcome, &reason) {
        (Outcome::Completed { model }, _) => {
            console.text(Message::SessionCompleted { session: &id, path: &model.display() })
        }
        (_, Some(reason)) => console.text(Message::SessionFailed { session: &id, reason }),
        _ => console.text(Message::SessionSuspended { session: &id }),
    })?;
    Ok(exit)
}

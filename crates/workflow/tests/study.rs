//! The comparison on a pair of tiny hospitals: it is stopped in the middle, goes on, and writes what it says it writes; and
//! the round of a site that is done again.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use detector::inference::{Mode, PredictOptions};
use detector::network::UNet3dConfig;
use detector::training::Sampling;
use detector::{Architecture, Device, ParameterSchema, Plan};
use federation::{Algorithm, GlobalModel, Hyperparameters, LocalTrainer, Progress, SessionConfig, SessionId, SiteId};
use phantom::{DatasetSpec, Size, write_dataset};
use transport::Stop;
use workflow::catalog::Language;
use workflow::local::DetectorTrainer;
use workflow::site::{Site, SiteRequest};
use workflow::study::{Contender, StudyError, StudyEvent, StudyRequest, study};
use workflow::train::{TrainError, TrainRequest, train_or_resume};

fn request(folder: &Path) -> StudyRequest {
    let data = |name: &str, sites, seed| {
        let spec = DatasetSpec::new(sites, 1, Size::Small, seed);
        write_dataset(&folder.join(name), &spec, &mut |_| {}).expect("phantoms").sites
    };
    let hyperparameters = Hyperparameters {
        rounds: 2,
        local_epochs: 1,
        patches_per_epoch: 2,
        batch_size: 2,
        patch_size: 32,
        ..Hyperparameters::default()
    };
    let mut plan = Plan::with_patch(32);
    plan.lungs.volume_ml = Size::Small.lung_volume_ml();
    let sites = (1..).zip(data("training", 2, 3)).map(|(n, folder)| SiteRequest {
        id: SiteId::new(format!("site{n}")).expect("an id"),
        folder,
        annotations: None,
    });
    let network = UNet3dConfig { widths: vec![8, 8], blocks: vec![1, 1], group_channels: 8 };
    StudyRequest {
        training: TrainRequest {
            session: SessionId::new("study").expect("an id"),
            sites: sites.collect(),
            architecture: Architecture::DetectionUnet(network),
            plan,
            config: SessionConfig { hyperparameters, ..SessionConfig::default() },
            sampling: Sampling::brief(),
            initial: None,
            note: "合成体模结果".to_owned(),
            out: folder.join("out"),
            device: Device::flex(),
        },
        held_out: data("held_out", 1, 4),
        options: PredictOptions { mode: Mode::Fast, threshold: 0.0 },
    }
}

#[test]
fn a_study_that_was_stopped_goes_on_and_reports_every_contender() {
    let folder = tempfile::tempdir().unwrap();
    let request = request(folder.path());
    let stop = Stop::default();
    let mut first = Vec::new();
    let stopped = study(
        &request,
        &mut |event| {
            if let StudyEvent::Scored(row) = event {
                first.push((row.contender.clone(), row.evaluation.summary.cpm));
                if first.len() == 2 {
                    stop.suspend();
                }
            }
        },
        &stop,
    );
    assert!(matches!(stopped, Err(StudyError::Stopped)), "{stopped:?}");

    let mut trained = Vec::new();
    let report = study(
        &request,
        &mut |event| match event {
            StudyEvent::Step { contender, done: 1, .. } => trained.push(contender.clone()),
            StudyEvent::Training(event) => assert!(!format!("{event:?}").contains("SiteStarted"), "{event:?}"),
            _ => {}
        },
        &Stop::default(),
    )
    .unwrap();
    let site = |n: u32| Contender::Local(SiteId::new(format!("site{n}")).unwrap());
    let contenders: Vec<_> = report.rows.iter().map(|row| row.contender.clone()).collect();
    assert_eq!(contenders, [Contender::Federated, site(1), site(2), Contender::Pooled]);
    // What was finished is not done again, and comes out the same.
    assert_eq!(trained, [site(2), Contender::Pooled]);
    for (row, (contender, cpm)) in report.rows.iter().zip(&first) {
        assert_eq!((&row.contender, row.evaluation.summary.cpm), (contender, *cpm));
    }
    // Two rounds of one step; only the federation's steps see patches of several sites.
    let work: Vec<_> = report.rows.iter().map(|row| (row.steps, row.patches)).collect();
    assert_eq!(work, [(2, 8), (2, 4), (2, 4), (2, 4)]);

    let out = folder.path().join("report");
    report.write(&out, Language::Zh).unwrap();
    let html = std::fs::read_to_string(out.join("comparison.html")).unwrap();
    assert!(html.contains("合成体模结果") && html.contains("site1") && html.contains("data:image/png;base64"));
    for file in ["froc.svg", "froc_federated.csv", "froc_local_site1.csv", "froc_pooled.csv", "study.json"] {
        assert!(out.join(file).exists(), "{file} is missing");
    }
}

/// A site keeps its optimiser's moments between rounds, and with SCAFFOLD its control variate. A crash may come after they were kept and before the update was
/// taken: the round that is done again must start where it did the first time.
#[test]
fn a_round_that_is_done_again_gives_the_same_update() {
    let folder = tempfile::tempdir().unwrap();
    let StudyRequest { training, .. } = request(folder.path());
    let task = Arc::new(training.task().unwrap());
    let schema = ParameterSchema::of(&task.architecture.build(&Device::flex()).unwrap());
    let global = |round, algorithm: &Algorithm| {
        let initial = GlobalModel::initial(schema.initial(7), task.schema_hash, algorithm);
        GlobalModel { round, ..initial }
    };
    let site = &training.sites[0];
    let trainer = |memory: &str| {
        let site = Site::load(site, &task.plan, &folder.path().join("work"), &mut |_, _| ()).unwrap();
        DetectorTrainer::new(task.clone(), site.scans, 1, folder.path().join(memory), training.session.clone())
    };
    let mut seconds = Vec::new();
    for (algorithm, memory) in [(Algorithm::FedAvg, "memory"), (Algorithm::Scaffold, "memory with control")] {
        let h = Hyperparameters { rounds: 3, algorithm, ..training.config.hyperparameters.clone() };
        let train = |trainer: &mut DetectorTrainer, round| {
            let global = global(round - 1, &algorithm);
            trainer.train_round(&global, round, &h, &mut |_| ControlFlow::Continue(())).unwrap().delta
        };
        let mut first = trainer(memory);
        let delta = train(&mut first, 1);
        let second = train(&mut first, 2);
        assert!(train(&mut first, 2) == second, "done again by the same program");
        assert!(train(&mut trainer(memory), 2) == second, "done again after a restart");
        // The memory matters: without the first round the second is another.
        assert!(train(&mut trainer("no memory"), 2) != second);
        seconds.push((delta, second));
    }
    // In the first round nobody has a control variate, in the second it corrects every step.
    let [(avg, avg2), (scaffold, scaffold2)] = &seconds[..] else { unreachable!() };
    let n = avg.len();
    assert!(scaffold.len() == 2 * n && scaffold[..n] == avg[..] && scaffold2[..n] != avg2[..]);
    assert!(scaffold[n..].iter().any(|c| *c != 0.0) && scaffold[n..].iter().all(|c| c.is_finite()));
}

/// A round that is interrupted, by a stop or a crash, goes on where it was, to the same update.
#[test]
fn an_interrupted_round_goes_on_with_its_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let StudyRequest { training, .. } = request(folder.path());
    let task = Arc::new(training.task().unwrap());
    let schema = ParameterSchema::of(&task.architecture.build(&Device::flex()).unwrap());
    let algorithm = Algorithm::Scaffold;
    let h = Hyperparameters {
        local_epochs: 1,
        patches_per_epoch: 6,
        batch_size: 1,
        algorithm,
        ..training.config.hyperparameters.clone()
    };
    let global = GlobalModel::initial(schema.initial(7), task.schema_hash, &algorithm);
    let trainer = |memory: &Path| {
        let site = Site::load(&training.sites[0], &task.plan, &folder.path().join("work"), &mut |_, _| ()).unwrap();
        DetectorTrainer::new(task.clone(), site.scans, 1, memory.to_owned(), training.session.clone())
    };
    // Trains to its end, or until so many steps are done; which steps were made.
    let train = |mut trainer: DetectorTrainer, last: u64| {
        let mut steps = Vec::new();
        let result = trainer.train_round(&global, 1, &h, &mut |progress| {
            steps.push(progress.done);
            if progress.done == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (steps, result.ok())
    };
    let (steps, whole) = train(trainer(&folder.path().join("whole")), 0);
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    assert!(whole.is_some());

    let memory = folder.path().join("interrupted");
    let unfinished = memory.join(training.session.as_str()).join("unfinished.safetensors");
    assert_eq!(train(trainer(&memory), 2), (vec![1, 2], None));
    // This one would be asked to stop, but dies: what it keeps now and then is all there is.
    let dying = trainer(&memory).saving_every(Duration::ZERO);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut dying = dying;
        let mut step = |progress: Progress| {
            assert!(progress.done < 4, "the power fails");
            ControlFlow::Continue(())
        };
        dying.train_round(&global, 1, &h, &mut step)
    }));
    assert!(died.is_err());
    let kept = std::fs::read(&unfinished).unwrap();
    // Step 4 was lost, step 3 was kept.
    let (steps, resumed) = train(trainer(&memory), 0);
    assert_eq!(steps, [4, 5, 6]);
    assert!(resumed == whole);
    assert!(!unfinished.exists());

    // What is damaged or of another start is not gone on with.
    let memory = folder.path().join("damaged");
    std::fs::create_dir_all(memory.join(training.session.as_str())).unwrap();
    let unfinished = memory.join(training.session.as_str()).join("unfinished.safetensors");
    std::fs::write(&unfinished, &kept[..kept.len() / 2]).unwrap();
    let (steps, anew) = train(trainer(&memory), 0);
    assert!(steps.len() == 6 && anew == whole);
    // Where nothing can be kept, training goes on without.
    let memory = folder.path().join("unkeepable");
    let in_the_way = memory.join(training.session.as_str()).join("unfinished.safetensors");
    std::fs::create_dir_all(in_the_way.join("entry")).unwrap();
    let (steps, unkept) = train(trainer(&memory).saving_every(Duration::ZERO), 0);
    assert!(steps.len() == 6 && unkept == whole);
    let memory = folder.path().join("another start");
    std::fs::create_dir_all(memory.join(training.session.as_str())).unwrap();
    std::fs::write(memory.join(training.session.as_str()).join("unfinished.safetensors"), &kept).unwrap();
    let mut steps = 0;
    let other = GlobalModel { parameters: schema.initial(8), ..global.clone() };
    let mut count = |_: Progress| {
        steps += 1;
        ControlFlow::Continue(())
    };
    trainer(&memory).train_round(&other, 1, &h, &mut count).unwrap();
    assert_eq!(steps, 6);
}

#[test]
fn a_session_of_the_same_name_with_other_settings_is_not_taken_for_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let StudyRequest { training, .. } = request(folder.path());
    let go = |request: &TrainRequest| train_or_resume(request, &mut |_| {}, &Stop::default());
    let first = go(&training).unwrap();
    assert_eq!(go(&training).unwrap(), first, "the same request finds the session that is done");
    let mut other = training.clone();
    other.config.hyperparameters.learning_rate *= 2.0;
    let refused = go(&other);
    assert!(matches!(refused, Err(TrainError::OtherSession(_))), "{refused:?}");
    let mut other = training;
    other.sites.pop();
    assert!(matches!(go(&other), Err(TrainError::OtherSession(_))));
}

//! The comparison on a pair of tiny hospitals: it is stopped in the middle, goes on, and writes what it says it writes.

use std::path::Path;

use detector::inference::{Mode, PredictOptions};
use detector::network::UNet3dConfig;
use detector::training::Sampling;
use detector::{Architecture, Device, Plan};
use federation::{Hyperparameters, SessionConfig, SessionId, SiteId};
use phantom::{DatasetSpec, Size, write_dataset};
use transport::Stop;
use workflow::catalog::Language;
use workflow::site::SiteRequest;
use workflow::study::{Contender, StudyError, StudyEvent, StudyRequest, study};
use workflow::train::TrainRequest;

fn request(folder: &Path) -> StudyRequest {
    let data = |name: &str, sites, seed| {
        let spec = DatasetSpec::new(sites, 1, Size::Small, seed);
        write_dataset(&folder.join(name), &spec, &mut |_| {}).unwrap().sites
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
        id: SiteId::new(format!("site{n}")).unwrap(),
        folder,
        annotations: None,
    });
    let network = UNet3dConfig { widths: vec![8, 8], blocks: vec![1, 1], group_channels: 8 };
    StudyRequest {
        training: TrainRequest {
            session: SessionId::new("study").unwrap(),
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
    // Two rounds of one step; all sites' patches in every pooled step.
    let work: Vec<_> = report.rows.iter().map(|row| (row.steps, row.patches)).collect();
    assert_eq!(work, [(2, 8), (2, 4), (2, 4), (2, 8)]);

    let out = folder.path().join("report");
    report.write(&out, Language::Zh).unwrap();
    let html = std::fs::read_to_string(out.join("comparison.html")).unwrap();
    assert!(html.contains("合成体模结果") && html.contains("site1") && html.contains("data:image/png;base64"));
    for file in ["froc.svg", "froc_federated.csv", "froc_local_site1.csv", "froc_pooled.csv", "study.json"] {
        assert!(out.join(file).exists(), "{file} is missing");
    }
}

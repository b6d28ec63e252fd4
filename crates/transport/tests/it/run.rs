use std::num::NonZeroUsize;
use std::time::Duration;

use federation::secagg::Totals;
use federation::*;
use transport::in_process::{self, Outcome};
use transport::*;

use crate::support::*;

fn created(out: &std::path::Path, config: SessionConfig) -> FederatedServer {
    created_for(&["a", "b", "c"], out, config)
}

fn created_for(names: &[&str], out: &std::path::Path, config: SessionConfig) -> FederatedServer {
    let sites: Vec<SiteId> = names.iter().copied().map(site).collect();
    FederatedServer::create(out, id("s"), &sites, config, initial(), Box::new(Raw)).unwrap()
}

#[test]
fn the_model_does_not_depend_on_the_number_of_workers() {
    for algorithm in ["fedavg", "fedprox", "fedavgm", "fedadam"] {
        let models = [1, 2, 5].map(|workers| {
            let out = tempfile::tempdir().unwrap();
            let mut server = created(out.path(), config(3, algorithm));
            let outcome = run(&mut server, good_clients(), workers).unwrap();
            assert_eq!(outcome, Outcome::Completed { model: server.model_path() });
            server.session().model()
        });
        assert!(models.iter().all(|model| *model == models[0]), "{algorithm}");
    }
}

#[test]
fn events_tell_the_story_in_order() {
    let out = tempfile::tempdir().unwrap();
    let mut server = created(out.path(), config(1, "fedavg"));
    let (events, mut observer) = recorder();
    let one = NonZeroUsize::MIN;
    in_process::run(&mut server, good_clients(), one, &mut observer, &Stop::default()).unwrap();
    let kinds: Vec<String> = events
        .lock()
        .unwrap()
        .iter()
        .map(|event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned())
        .filter(|kind| kind != "site_progress")
        .collect();
    let expected = format!(
        "round_started protected {trained} sum_started {sum} sum_completed aggregated {evaluated} sum_started {sum} sum_completed \
         round_completed session_completed",
        trained = "site_started site_trained site_awaits_sum ".repeat(3),
        evaluated = "site_started site_evaluated ".repeat(3),
        sum = "site_replied ".repeat(15),
    );
    // A worker begins the next task while the driver still handles the last answer: compare without that freedom.
    let without = |kinds: &[String]| kinds.iter().filter(|k| *k != "site_started").cloned().collect::<Vec<_>>();
    let expected: Vec<String> = expected.split_whitespace().map(Into::into).collect();
    assert_eq!(without(&kinds), without(&expected));
    assert_eq!(kinds.iter().filter(|k| *k == "site_started").count(), 6);
    let progress =
        |event: &Event| matches!(event, Event::SiteProgress { done: 10, total: 10, task: Task::Training, .. });
    assert_eq!(events.lock().unwrap().iter().filter(|e| progress(e)).count(), 3);
}

#[test]
fn failing_panicking_and_diverging_sites_are_named_and_skipped() {
    let out = tempfile::tempdir().unwrap();
    let sites = [
        ("a", Habit::None),
        ("b", Habit::Fails),
        ("c", Habit::None),
        ("d", Habit::Panics),
        ("e", Habit::Diverges),
        ("f", Habit::None),
    ];
    let mut server = created_for(&sites.map(|(name, _)| name), out.path(), config(2, "fedavg"));
    let outcome = run(&mut server, clients(&sites), 2).unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    let history = read_history(out.path()).unwrap();
    assert_eq!(history.sessions[0].rounds.len(), 2);
    for round in &history.sessions[0].rounds {
        let status = |name: &str| round.sites[&site(name)].status.clone();
        assert_eq!(status("a"), SiteStatus::Trained);
        assert_eq!(
            status("b"),
            SiteStatus::Failed { reason: "cannot read the training data: scan 7 is missing".into() }
        );
        let panicked = "the site's trainer panicked: index out of range; restart the program to use this site again";
        assert_eq!(status("d"), SiteStatus::Failed { reason: panicked.into() });
        assert!(
            matches!(status("e"), SiteStatus::Failed { reason } if reason.starts_with("parameter 3 of the update is NaN"))
        );
        assert_eq!(round.sites[&site("d")].evaluation_failure.as_deref(), Some(panicked));
        assert!(round.sites[&site("e")].evaluated);
        assert_eq!(round.sum.as_ref().unwrap().survivors, ["a", "c", "f"].map(site));
    }
    // The model is that of the three sites that trained.
    let reference = tempfile::tempdir().unwrap();
    let mut undisturbed = created_for(&["a", "c", "f"], reference.path(), config(2, "fedavg"));
    let survivors = || {
        let toy = |seed| Box::new(Toy { seed, habit: Habit::None, step_time: Duration::ZERO });
        [("a", 1), ("c", 3), ("f", 6)].map(|(name, seed)| FederatedClient::new(site(name), toy(seed))).into()
    };
    run(&mut undisturbed, survivors(), 1).unwrap();
    assert_eq!(server.session().model(), undisturbed.session().model());
}

#[test]
fn a_session_without_enough_usable_updates_fails_with_its_reason_on_record() {
    let out = tempfile::tempdir().unwrap();
    let mut server = created_for(&["a", "b"], out.path(), config(2, "fedavg"));
    let outcome = run(&mut server, clients(&[("a", Habit::None), ("b", Habit::Fails)]), 1).unwrap();
    let reason = FailureReason::TooFewSites { round: 1, found: 1, minimum: 2 };
    assert_eq!(outcome, Outcome::Failed { reason: reason.clone() });
    assert!(!server.model_path().exists());
    let history = read_history(out.path()).unwrap();
    assert_eq!(history.sessions[0].failure, Some(reason.to_string()));
    assert_eq!(run(&mut server, Vec::new(), 1).unwrap(), Outcome::Failed { reason });
}

#[test]
fn too_few_clients_and_two_of_one_name_are_errors() {
    let out = tempfile::tempdir().unwrap();
    let mut server = created(out.path(), config(2, "fedavg"));
    let error = run(&mut server, clients(&[("a", Habit::None)]), 1).unwrap_err();
    assert!(error.to_string().starts_with("1 site(s) have joined, 3 are needed"), "{error}");
    let error = run(&mut server, clients(&[("a", Habit::None), ("a", Habit::None)]), 1).unwrap_err();
    assert_eq!(error.to_string(), "two clients are called a: give every site its own id");
    // Neither did any harm.
    assert!(matches!(run(&mut server, good_clients(), 1), Ok(Outcome::Completed { .. })));
}

#[test]
fn a_late_site_is_stopped_and_comes_back_in_a_later_round() {
    let out = tempfile::tempdir().unwrap();
    let config = SessionConfig { round_deadline_s: Some(1), ..config(3, "fedavg") };
    let mut server = created_for(&["a", "b", "c", "d"], out.path(), config);
    let slow = Habit::Slow(Duration::from_secs(60));
    let (events, mut observer) = recorder();
    let sites = clients(&[("a", Habit::None), ("b", slow), ("c", Habit::None), ("d", Habit::None)]);
    let three = NonZeroUsize::new(4).unwrap();
    let begin = std::time::Instant::now();
    let outcome = in_process::run(&mut server, sites, three, &mut observer, &Stop::default()).unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    assert!(begin.elapsed() < Duration::from_secs(30), "the late site was waited for");
    assert!(events.lock().unwrap().contains(&Event::SiteLate { site: site("b"), round: 1 }));
    let rounds = server.session().rounds();
    assert_eq!(rounds[0].sites[&site("b")].status, SiteStatus::Late);
    assert!(!rounds[1].sites.contains_key(&site("b")) || rounds[1].sites[&site("b")].status == SiteStatus::Trained);
}

#[test]
fn a_suspended_session_goes_on_and_a_cancelled_one_does_not() {
    let reference = undisturbed(tempfile::tempdir().unwrap().path(), config(3, "fedadam"));
    let out = tempfile::tempdir().unwrap();
    let mut server = created(out.path(), config(3, "fedadam"));
    let stop = Stop::default();
    let mut trained = 0;
    let mut observer = |event: &Event| {
        trained += u32::from(matches!(event, Event::SiteTrained { .. }));
        if trained == 4 {
            stop.suspend();
        }
    };
    let outcome = in_process::run(&mut server, good_clients(), NonZeroUsize::MIN, &mut observer, &stop).unwrap();
    assert_eq!((outcome, server.session().round()), (Outcome::Suspended, 2));
    drop(server);

    let mut server = FederatedServer::open(out.path(), id("s"), Box::new(Raw)).unwrap();
    let mut repeated = Vec::new();
    let mut observer = |event: &Event| {
        if let Event::SiteTrained { site, round: 2, .. } = event {
            repeated.push(site.to_string());
        }
    };
    in_process::run(&mut server, good_clients(), NonZeroUsize::MIN, &mut observer, &Stop::default()).unwrap();
    assert_eq!(repeated, ["b", "c"], "what was accepted before is not done again");
    assert_eq!(server.session().model(), reference);

    let out = tempfile::tempdir().unwrap();
    let mut server = created(out.path(), config(3, "fedadam"));
    let stop = Stop::default();
    let mut observer = |event: &Event| {
        if matches!(event, Event::SiteProgress { .. }) {
            stop.cancel();
        }
    };
    let outcome = in_process::run(&mut server, good_clients(), NonZeroUsize::MIN, &mut observer, &stop).unwrap();
    assert_eq!(outcome, Outcome::Failed { reason: FailureReason::Cancelled });
}

/// Metrics have no noise: neither a site's own nor their sums leave.
#[test]
fn with_differential_privacy_no_metric_leaves_a_site() {
    let privacy = DifferentialPrivacy { noise_multiplier: 1.0, clip_norm: 1.0, epsilon: 8.0, delta: 1e-5 };
    let mut config = config(1, "fedavg");
    config.hyperparameters.differential_privacy = Some(privacy);
    let out = tempfile::tempdir().unwrap();
    let mut server = created(out.path(), config.clone());
    assert!(matches!(run(&mut server, good_clients(), 1).unwrap(), Outcome::Completed { .. }));
    let round = &server.session().rounds()[0];
    for sum in [&round.sum, &round.evaluation_sum] {
        assert_eq!(sum.as_ref().unwrap().totals, Some(Totals::default()));
    }
    // A single site's would be read by the coordinator.
    let out = tempfile::tempdir().unwrap();
    let mut server = created_for(&["a"], out.path(), SessionConfig { minimum_sites: 1, ..config });
    run(&mut server, clients(&[("a", Habit::None)]), 1).unwrap();
    let status = &server.session().rounds()[0].sites[&site("a")].status;
    assert!(
        matches!(status, SiteStatus::Failed { reason } if reason.ends_with("secure aggregation is needed")),
        "{status:?}"
    );
}

//! Single transitions. `Training` of three sites, time in milliseconds, deadlines of ten seconds.

use federation::*;

use crate::support::{DIM, initial, roster, schema, sealed, site};

fn config() -> SessionConfig {
    SessionConfig { round_deadline_s: Some(10), cap_largest_site: true, ..sealed() }
}

fn joined(config: SessionConfig, names: &[&str]) -> Session {
    let mut session =
        Session::new(SessionId::new("s").unwrap(), config, schema(), roster(), initial().digest(), 1000).unwrap();
    for name in names {
        assert_eq!(session.step(&Input::SiteJoined { site: site(name) }, 1000), Ok(vec![]));
    }
    session
}

fn training(config: SessionConfig) -> Session {
    let mut session = joined(config, &["a", "b", "c"]);
    let started = session.step(&Input::Start, 2000).unwrap();
    assert_eq!(started, ["a", "b", "c"].map(|name| Output::StartRound { site: site(name), round: 1 }));
    session
}

fn update(value: f32) -> Update {
    Update {
        delta: vec![value; DIM],
        num_examples: 10,
        schema_hash: schema().hash,
        metrics: Metrics { loss: 0.5, foreground_probability: Some(0.3) },
    }
}

fn received(name: &str, round: u32, update: Update) -> Input {
    Input::UpdateReceived { site: site(name), round, update }
}

fn judged(name: &str, round: u32, probability: f64) -> Input {
    let metrics = Metrics { loss: 0.25, foreground_probability: Some(probability) };
    Input::EvaluationReceived { site: site(name), round, evaluation: Some(Evaluation { num_examples: 4, metrics }) }
}

fn failed(name: &str, round: u32) -> Input {
    Input::SiteFailed { site: site(name), round, reason: "out of memory".into() }
}

fn left(name: &str) -> Input {
    Input::SiteLeft { site: site(name), reason: "connection lost".into() }
}

fn new_model() -> Input {
    Input::Aggregated { model: Digest::of_bytes(b"a new model") }
}

/// Asserts that the input is rejected with this text and leaves no trace.
fn rejected(session: &mut Session, input: &Input, now_ms: u64, text: &str) {
    let before = session.clone();
    assert_eq!(session.step(input, now_ms).unwrap_err().to_string(), text);
    assert_eq!(*session, before);
}

fn status<'a>(session: &'a Session, name: &str) -> &'a SiteStatus {
    &session.rounds().last().unwrap().sites[&site(name)].status
}

#[test]
fn a_round_goes_through_all_phases() {
    let mut session = training(SessionConfig {
        hyperparameters: Hyperparameters { rounds: 1, ..Hyperparameters::default() },
        ..config()
    });
    assert_eq!((session.phase(), session.deadline_ms()), (Phase::Training, Some(12_000)));
    for (time, name) in [(3000, "c"), (4000, "a")] {
        let outputs = session.step(&received(name, 1, update(1.0)), time).unwrap();
        assert!(matches!(&outputs[..], [Output::UpdateAccepted { round: 1, .. }]), "{outputs:?}");
    }
    let outputs = session.step(&received("b", 1, Update { num_examples: 60, ..update(-2.0) }), 5000).unwrap();
    let [Output::UpdateAccepted { .. }, Output::AggregateReady { round: 1, contributions }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    let summary: Vec<_> = contributions.iter().map(|c| (c.site.as_str(), c.weight, c.magnitude)).collect();
    assert_eq!(summary, [("a", 10, 1.0), ("b", 20, 2.0), ("c", 10, 1.0)], "b is capped at one half");
    assert_eq!(session.needed_updates().count(), 3);

    let outputs = session.step(&new_model(), 5500).unwrap();
    assert_eq!(outputs[0], Output::Aggregated { round: 1, model: Digest::of_bytes(b"a new model") });
    assert_eq!(outputs[1..], ["a", "b", "c"].map(|name| Output::Evaluate { site: site(name), round: 1 }));
    assert_eq!(session.needed_updates().count(), 0);
    rejected(&mut session, &new_model(), 5600, "session s is evaluating, this needs aggregating");
    session.step(&judged("a", 1, 0.4), 6000).unwrap();
    session.step(&judged("c", 1, 0.2), 6000).unwrap();
    let none = Input::EvaluationReceived { site: site("b"), round: 1, evaluation: None };
    let outputs = session.step(&none, 7000).unwrap();
    let [Output::RoundCompleted { record }, Output::SessionCompleted { model }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*model, Digest::of_bytes(b"a new model"));
    assert_eq!((record.training_ms, record.aggregation_ms, record.evaluation_ms), (Some(3000), Some(500), Some(1500)));
    assert_eq!((record.training_loss, record.evaluation_loss), (Some(0.5), Some(0.25)));
    assert!((record.foreground_probability.unwrap() - 0.3).abs() < 1e-12);
    assert_eq!(record.sites[&site("a")].training_ms, Some(2000));
    assert_eq!((session.phase(), session.deadline_ms()), (Phase::Completed, None));
    let history = session.record();
    assert_eq!((history.finished_ms, history.model_sha256), (Some(7000), *model));
    rejected(&mut session, &left("a"), 8000, "session s is completed");
    assert_eq!(session.step(&Input::Resume, 9000), Ok(vec![Output::SessionCompleted { model: *model }]));
}

#[test]
fn a_session_needs_its_minimum_of_sites_to_start() {
    let mut session = joined(config(), &["a"]);
    rejected(
        &mut session,
        &Input::Start,
        0,
        "1 site(s) have joined, 2 are needed to start: wait for more or lower minimum_sites",
    );
    rejected(&mut session, &left("x"), 0, "site x is not part of session s: join first");
    session.step(&Input::SiteJoined { site: site("b") }, 0).unwrap();
    session.step(&Input::Start, 0).unwrap();
    rejected(&mut session, &Input::Start, 0, "session s is training, this needs initialising");
}

#[test]
fn unusable_updates_are_refused_and_named_and_the_round_goes_on() {
    let diverged = Update { delta: [vec![0.0; DIM - 1], vec![f32::NAN]].concat(), ..update(0.0) };
    let bad = [
        (
            diverged,
            "parameter 5 of the update is NaN, not a finite number: the local training diverged, lower the learning rate",
        ),
        (
            Update { delta: vec![0.0; 7], ..update(0.0) },
            "the update has 7 parameters, the global model 6: train the model of this session",
        ),
        (Update { num_examples: 0, ..update(0.0) }, "the site used 0 samples: give it data or leave it out"),
        (
            Update { metrics: Metrics { loss: f64::INFINITY, foreground_probability: None }, ..update(0.0) },
            "the reported loss is inf, not a finite number",
        ),
        (
            Update { metrics: Metrics { loss: 0.0, foreground_probability: Some(1.5) }, ..update(0.0) },
            "the reported foreground probability is 1.5, expected 0 to 1",
        ),
    ];
    for (update_of_b, expected) in bad {
        let mut session = training(config());
        session.step(&received("a", 1, update(1.0)), 3000).unwrap();
        let outputs = session.step(&received("b", 1, update_of_b), 3000).unwrap();
        assert_eq!(outputs, [Output::SiteExcluded { site: site("b"), round: 1, reason: expected.into() }]);
        assert_eq!(*status(&session, "b"), SiteStatus::Refused { reason: expected.into() });
        let correction = received("b", 1, update(1.0));
        let text = "site b is not awaited in round 1: it has answered or left; it is asked again in the next round";
        rejected(&mut session, &correction, 3000, text);
        let outputs = session.step(&received("c", 1, update(1.0)), 3000).unwrap();
        assert!(matches!(&outputs[1], Output::AggregateReady { contributions, .. } if contributions.len() == 2));
        // It can evaluate, and it trains again in the next round.
        session.step(&new_model(), 3000).unwrap();
        for name in ["a", "b"] {
            session.step(&judged(name, 1, 0.5), 3000).unwrap();
        }
        let outputs = session.step(&judged("c", 1, 0.5), 3000).unwrap();
        assert!(outputs.contains(&Output::StartRound { site: site("b"), round: 2 }));
    }
    let mut session = training(config());
    let other = Update { schema_hash: Digest::of_bytes(b"another network"), ..update(0.0) };
    let outputs = session.step(&received("a", 1, other), 3000).unwrap();
    assert!(matches!(&outputs[..], [Output::SiteExcluded { reason, .. }] if reason.contains("schema hash")));
}

#[test]
fn a_repetition_changes_nothing_and_a_contradiction_is_refused() {
    let mut session = training(config());
    session.step(&received("a", 1, update(1.0)), 3000).unwrap();
    let before = session.clone();
    assert_eq!(session.step(&received("a", 1, update(1.0)), 4000), Ok(vec![]));
    assert_eq!(session, before);
    let text = "site a is not awaited in round 1: it has answered or left; it is asked again in the next round";
    rejected(&mut session, &received("a", 1, update(2.0)), 4000, text);
    rejected(&mut session, &received("a", 1, Update { num_examples: 11, ..update(1.0) }), 4000, text);
    let other_metrics = Metrics { loss: 0.4, foreground_probability: Some(0.3) };
    rejected(&mut session, &received("a", 1, Update { metrics: other_metrics, ..update(1.0) }), 4000, text);
    rejected(
        &mut session,
        &received("b", 2, update(1.0)),
        4000,
        "site b answers round 2, but the session is training round 1: join again to take part in the next",
    );
    rejected(&mut session, &received("x", 1, update(1.0)), 4000, "site x is not part of session s: join first");
    session.step(&received("b", 1, update(1.0)), 4000).unwrap();
    session.step(&received("c", 1, update(1.0)), 4000).unwrap();
    // Also when the round has closed meanwhile.
    assert_eq!(session.step(&received("a", 1, update(1.0)), 4000), Ok(vec![]));
}

#[test]
fn late_sites_are_left_out_and_can_come_back() {
    let mut session = training(config());
    session.step(&received("a", 1, update(1.0)), 3000).unwrap();
    session.step(&received("b", 1, update(2.0)), 11_999).unwrap();
    assert_eq!(session.step(&Input::Tick, 11_999), Ok(vec![]));
    let late = received("c", 1, update(3.0));
    let text = "site c answers round 1 7 ms after the deadline: join again to take part in the next";
    rejected(&mut session, &late, 12_007, text);
    let outputs = session.step(&Input::Tick, 12_007).unwrap();
    assert_eq!(outputs[0], Output::SiteLate { site: site("c"), round: 1 });
    assert!(matches!(outputs[1], Output::AggregateReady { .. }));
    assert_eq!(*status(&session, "c"), SiteStatus::Late);
    let text = "site c answers round 1, but the session is aggregating round 1: join again to take part in the next";
    rejected(&mut session, &late, 12_100, text);
    assert_eq!(session.step(&Input::SiteJoined { site: site("c") }, 12_100), Ok(vec![]));
    let outputs = session.step(&new_model(), 12_200).unwrap();
    assert_eq!(outputs.len(), 4, "c is back and evaluates too: {outputs:?}");
    // Nobody evaluates in time: the round is complete all the same, and all three are gone.
    let outputs = session.step(&Input::Tick, 22_200).unwrap();
    assert!(matches!(&outputs[3], Output::RoundCompleted { record } if record.evaluation_loss.is_none()));
    // The next round has nobody, but waits until its deadline for somebody to come back.
    assert_eq!((session.phase(), session.round()), (Phase::Training, 2));
    for name in ["a", "b"] {
        let outputs = session.step(&Input::SiteJoined { site: site(name) }, 23_000).unwrap();
        assert_eq!(outputs, [Output::StartRound { site: site(name), round: 2 }]);
        session.step(&received(name, 2, update(1.0)), 23_000).unwrap();
    }
    assert_eq!(session.phase(), Phase::Aggregating);
}

#[test]
fn a_dropped_site_can_rejoin_the_open_round() {
    let mut session = training(config());
    let outputs = session.step(&left("b"), 3000).unwrap();
    assert_eq!(outputs, [Output::SiteDropped { site: site("b"), reason: "connection lost".into() }]);
    assert_eq!(*status(&session, "b"), SiteStatus::Dropped { reason: "connection lost".into() });
    assert!(session.step(&received("b", 1, update(1.0)), 3000).is_err());
    let join = Input::SiteJoined { site: site("b") };
    let again = [Output::StartRound { site: site("b"), round: 1 }];
    assert_eq!(session.step(&join, 4000).unwrap(), again);
    assert_eq!(session.step(&join, 4000).unwrap(), again, "it was restarted and lost its task");
    session.step(&received("b", 1, update(1.0)), 5000).unwrap();
    assert_eq!(session.step(&join, 5000), Ok(vec![]));
    assert_eq!(session.rounds()[0].sites[&site("b")].training_ms, Some(1000));
    // A site that was never there joins in the middle.
    let newcomer = session.step(&Input::SiteJoined { site: site("d") }, 5000).unwrap();
    assert_eq!(newcomer, [Output::StartRound { site: site("d"), round: 1 }]);
}

#[test]
fn one_failure_does_not_end_a_session_but_too_few_sites_do() {
    let mut session = training(SessionConfig { round_deadline_s: None, ..config() });
    let outputs = session.step(&failed("a", 1), 3000).unwrap();
    assert_eq!(outputs, [Output::SiteExcluded { site: site("a"), round: 1, reason: "out of memory".into() }]);
    session.step(&received("b", 1, update(1.0)), 3000).unwrap();
    let mut continues = session.clone();
    continues.step(&received("c", 1, update(1.0)), 3000).unwrap();
    assert_eq!(continues.phase(), Phase::Aggregating);

    let outputs = session.step(&failed("c", 1), 3000).unwrap();
    let reason = FailureReason::TooFewSites { round: 1, found: 1, minimum: 2 };
    assert_eq!(outputs[1], Output::SessionFailed { reason: reason.clone() });
    assert_eq!(
        session.record().failure.unwrap(),
        "round 1 has 1 usable update(s), 2 are needed: see the sites' reasons, bring them back or lower minimum_sites"
    );
    assert_eq!(session.step(&Input::Resume, 4000), Ok(vec![Output::SessionFailed { reason }]));
}

#[test]
fn with_a_deadline_too_few_updates_are_waited_for_only_as_long_as_they_can_come() {
    // b left and could come back before the deadline; it does not.
    let mut session = training(config());
    session.step(&received("a", 1, update(1.0)), 3000).unwrap();
    session.step(&failed("c", 1), 3000).unwrap();
    session.step(&left("b"), 3000).unwrap();
    assert_eq!(session.phase(), Phase::Training);
    session.step(&Input::Tick, 12_000).unwrap();
    assert_eq!(session.phase(), Phase::Failed);
    // b failed and will not answer this round again: waiting is in vain.
    let mut session = training(config());
    session.step(&received("a", 1, update(1.0)), 3000).unwrap();
    session.step(&failed("c", 1), 3000).unwrap();
    session.step(&failed("b", 1), 3000).unwrap();
    assert_eq!(session.phase(), Phase::Failed);
}

#[test]
fn a_collapsed_model_ends_the_session_from_the_third_round_on() {
    for (probabilities, survives) in [([0.0, 0.0, 0.06], true), ([0.9, 0.9, 0.049], false)] {
        let mut session = training(config());
        let mut outputs = Vec::new();
        for (round, probability) in (1..).zip(probabilities) {
            for name in ["a", "b", "c"] {
                session.step(&received(name, round, update(1.0)), 3000).unwrap();
            }
            session.step(&new_model(), 3000).unwrap();
            for name in ["a", "b", "c"] {
                outputs = session.step(&judged(name, round, probability), 3000).unwrap();
            }
        }
        if survives {
            assert_eq!((session.phase(), session.round()), (Phase::Training, 4));
            continue;
        }
        assert!(matches!(&outputs[..], [Output::RoundCompleted { .. }, Output::SessionFailed { .. }]));
        assert_eq!(
            session.failure().unwrap().to_string(),
            "the model has collapsed to background: after round 3 its mean probability on nodule voxels is 0.0490, below 0.05; raise the learning rate or the number of steps, or start from a trained model"
        );
    }
}

#[test]
fn cancelling_and_a_failed_aggregation_end_the_session() {
    let mut session = training(config());
    let outputs = session.step(&Input::Cancel, 3000).unwrap();
    assert_eq!(outputs, [Output::SessionFailed { reason: FailureReason::Cancelled }]);
    rejected(&mut session, &Input::Cancel, 3000, "session s is failed");

    let mut session = training(config());
    let overflow = Input::AggregationFailed { reason: "overflow".into() };
    rejected(&mut session, &overflow, 3000, "session s is training, this needs aggregating");
    for name in ["a", "b", "c"] {
        session.step(&received(name, 1, update(1.0)), 3000).unwrap();
    }
    session.step(&overflow, 3000).unwrap();
    assert_eq!(session.failure().unwrap().to_string(), "round 1 could not be aggregated: overflow");
}

#[test]
fn evaluations_are_checked_like_updates() {
    let mut session = training(config());
    for name in ["a", "b", "c"] {
        session.step(&received(name, 1, update(1.0)), 3000).unwrap();
    }
    session.step(&new_model(), 3000).unwrap();
    let outputs = session.step(&judged("a", 1, f64::NAN), 3000).unwrap();
    let reason = "the reported foreground probability is NaN, expected 0 to 1";
    assert_eq!(outputs, [Output::SiteExcluded { site: site("a"), round: 1, reason: reason.into() }]);
    session.step(&judged("b", 1, 0.5), 3000).unwrap();
    assert_eq!(session.step(&judged("b", 1, 0.5), 3000), Ok(vec![]), "a repetition");
    let text = "site b is not awaited in round 1: it has answered or left; it is asked again in the next round";
    rejected(&mut session, &judged("b", 1, 0.6), 3000, text);
    let lost_its_task = session.step(&Input::SiteJoined { site: site("c") }, 3000).unwrap();
    assert_eq!(lost_its_task, [Output::Evaluate { site: site("c"), round: 1 }]);
    let outputs = session.step(&left("c"), 3000).unwrap();
    assert!(matches!(&outputs[1], Output::RoundCompleted { record }
        if record.sites[&site("a")].evaluation_failure.as_deref() == Some(reason)
            && record.sites[&site("c")].evaluation_failure.as_deref() == Some("connection lost")));
    assert_eq!((session.phase(), session.round()), (Phase::Training, 2));
}

#[test]
fn a_resumed_session_repeats_its_requests_with_a_new_deadline() {
    let mut session = training(config());
    session.step(&received("b", 1, update(1.0)), 3000).unwrap();
    // The coordinator was away for a day: its sites are not late for that.
    let outputs = session.step(&Input::Resume, 86_400_000).unwrap();
    assert_eq!(outputs, ["a", "c"].map(|name| Output::StartRound { site: site(name), round: 1 }));
    assert_eq!(session.deadline_ms(), Some(86_410_000));
    session.step(&received("a", 1, update(1.0)), 86_400_100).unwrap();
    let ready = session.step(&received("c", 1, update(1.0)), 86_400_100).unwrap().pop().unwrap();
    assert_eq!(session.step(&Input::Resume, 86_500_000), Ok(vec![ready]));
    session.step(&new_model(), 86_500_000).unwrap();
    session.step(&judged("a", 1, 0.5), 86_500_000).unwrap();
    let outputs = session.step(&Input::Resume, 86_600_000).unwrap();
    assert_eq!(outputs, ["b", "c"].map(|name| Output::Evaluate { site: site(name), round: 1 }));
}

/// The largest bound makes the others' weights coarse, or the sum overflow: it is a power of two, and it has an end.
#[test]
fn a_site_that_exaggerates_its_samples_is_left_out() {
    for exaggerated in [1 << 25, 1 << 31, 0, 3] {
        let mut session = training(SessionConfig { protection: None, cap_largest_site: false, ..config() });
        let trained = |name: &str, samples_at_most| Input::SiteTrained { site: site(name), round: 1, samples_at_most };
        session.step(&trained("a", 1 << 24), 3000).unwrap();
        let outputs = session.step(&trained("b", exaggerated), 3000).unwrap();
        assert!(
            matches!(&outputs[..], [Output::SiteExcluded { reason, .. }] if reason.contains("expected a power of two")),
            "{exaggerated}: {outputs:?}"
        );
        assert!(matches!(status(&session, "b"), SiteStatus::Refused { .. }));
    }
}

/// Who has trained and left is no part of the sum; who does not answer one of its exchanges counts as gone.
#[test]
fn a_sum_is_of_those_who_are_present() {
    let config = SessionConfig { protection: None, cap_largest_site: false, ..config() };
    let mut session = joined(config, &["a", "b", "c", "d"]);
    session.step(&Input::Start, 2000).unwrap();
    let trained = |name: &str| Input::SiteTrained { site: site(name), round: 1, samples_at_most: 8 };
    for name in ["d", "a", "b"] {
        session.step(&trained(name), 3000).unwrap();
    }
    session.step(&left("d"), 3000).unwrap();
    let outputs = session.step(&trained("c"), 3000).unwrap();
    let asked: Vec<_> =
        outputs.iter().filter_map(|o| if let Output::Ask { site } = o { Some(site) } else { None }).collect();
    assert_eq!(asked, ["a", "b", "c"].map(site).iter().collect::<Vec<_>>());
    let started = |output: &Output| matches!(output, Output::SumStarted { sum, .. } if sum.participants.len() == 3);
    assert!(outputs.iter().any(started), "{outputs:?}");
    let deadline = session.deadline_ms().unwrap();
    let outputs = session.step(&Input::Tick, deadline).unwrap();
    assert!(outputs.iter().any(|output| matches!(output, Output::SumGivenUp { .. })), "{outputs:?}");
    assert!(session.sites().values().all(|present| !present), "nobody has answered");
}

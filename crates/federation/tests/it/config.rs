use federation::*;

#[test]
fn defaults_and_recommended_algorithms_are_valid() {
    let mut config = SessionConfig::default();
    config.validate().unwrap();
    for name in ["FedAvg", "fedprox", "SCAFFOLD", "FEDAVGM", "FedAdam"] {
        config.hyperparameters.algorithm = name.parse().unwrap();
        config.validate().unwrap();
    }
    assert_eq!(
        "krum".parse::<Algorithm>().unwrap_err().to_string(),
        "algorithm \"krum\" is not known: choose FedAvg, FedProx, SCAFFOLD, FedAvgM or FedAdam"
    );
}

#[test]
fn scaffold_does_not_go_with_differential_privacy() {
    let mut config = SessionConfig::default();
    config.hyperparameters.algorithm = Algorithm::Scaffold;
    config.hyperparameters.differential_privacy =
        Some(DifferentialPrivacy { noise_multiplier: 1.0, clip_norm: 1.0, epsilon: 3.0, delta: 1e-5 });
    let ConfigErrors(problems) = config.validate().unwrap_err();
    let fields: Vec<_> = problems.iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["hyperparameters.algorithm.Scaffold"]);
}

#[test]
fn every_problem_is_named_at_once() {
    let config = SessionConfig {
        hyperparameters: Hyperparameters {
            rounds: 21,
            local_epochs: 0,
            learning_rate: f64::NAN,
            patch_size: 65,
            algorithm: Algorithm::FedAdam { server_lr: 0.0, beta1: 1.0, beta2: 0.99, tau: 1e-3 },
            ..Hyperparameters::default()
        },
        minimum_sites: 0,
        round_deadline_s: Some(0),
        collapse_threshold: -0.1,
        ..SessionConfig::default()
    };
    let text = config.validate().unwrap_err().to_string();
    assert_eq!(
        text,
        "the session's configuration has 9 problem(s):
  hyperparameters.rounds is 21, allowed is 1 to 20: choose the number of global rounds
  hyperparameters.local_epochs is 0, allowed is 1 to 10: choose how often a site goes through its patches in a round
  hyperparameters.learning_rate is NaN, allowed is above 0, at most 1: 0.001 is a good start
  hyperparameters.patch_size is 65, allowed is a multiple of 16 from 32 to 160: 64 on a CPU, 96 to 128 on a GPU
  hyperparameters.algorithm.FedAdam.beta1 is 1, allowed is 0 to below 1: 0.9 is a good start
  hyperparameters.algorithm.FedAdam.server_lr is 0, allowed is above 0, at most 10: 0.01 is a good start
  minimum_sites is 0, allowed is 1 to 1000: a round with fewer updates does not count
  round_deadline_s is 0, allowed is 1 to 2592000 seconds, or nothing: give the time in which every site can train a round, or leave it out to wait for every site
  collapse_threshold is -0.1, allowed is 0 to below 1: 0.05 is recommended, 0 switches the check off"
    );
}

#[test]
fn the_limits_themselves_are_allowed() {
    for (rounds, local_epochs) in [(1, 1), (20, 10)] {
        let hyperparameters = Hyperparameters { rounds, local_epochs, ..Hyperparameters::default() };
        SessionConfig { hyperparameters, ..SessionConfig::default() }.validate().unwrap();
    }
    for (rounds, local_epochs) in [(0, 1), (1, 11)] {
        let hyperparameters = Hyperparameters { rounds, local_epochs, ..Hyperparameters::default() };
        SessionConfig { hyperparameters, ..SessionConfig::default() }.validate().unwrap_err();
    }
}

#[test]
fn unknown_keys_are_refused_and_missing_ones_take_their_default() {
    let parsed: SessionConfig =
        serde_json::from_str(r#"{"hyperparameters":{"rounds":3,"algorithm":{"FedProx":{"mu":0.1}}}}"#).unwrap();
    assert_eq!(parsed.hyperparameters.rounds, 3);
    assert_eq!(parsed.hyperparameters.algorithm, Algorithm::FedProx { mu: 0.1 });
    assert_eq!(parsed.minimum_sites, SessionConfig::default().minimum_sites);
    for unknown in [
        r#"{"minimum_site":3}"#,
        r#"{"hyperparameters":{"round":3}}"#,
        r#"{"hyperparameters":{"algorithm":{"FedProx":{"mu":0.1,"nu":1}}}}"#,
        r#"{"hyperparameters":{"algorithm":"Krum"}}"#,
    ] {
        let error = serde_json::from_str::<SessionConfig>(unknown).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
    }
}

#[test]
fn a_configuration_survives_json_to_the_bit() {
    for step in 1..2000u32 {
        let hyperparameters = Hyperparameters { learning_rate: 1.0 / f64::from(step), ..Hyperparameters::default() };
        let config = SessionConfig { hyperparameters, ..SessionConfig::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SessionConfig>(&text).unwrap(), config);
    }
}

#[test]
fn ids_are_safe_in_file_names() {
    for good in ["a", "2024-06_x", &"x".repeat(64)] {
        assert_eq!(SessionId::new(good).unwrap().as_str(), good);
    }
    for bad in ["", "..", "a/b", "a b", "医院", "a\0", &"x".repeat(65)] {
        let error = SessionId::new(bad).unwrap_err().to_string();
        assert!(error.contains("1 to 64 characters"), "{error}");
        assert!(serde_json::from_value::<SiteId>(bad.into()).is_err());
    }
}

#[test]
fn a_digest_is_sha256_and_survives_its_text() {
    // FIPS 180-4 example "abc"; [1.0] is the bytes 00 00 80 3f.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Digest::of_bytes(b"abc").to_string(), abc);
    assert_eq!(Digest::of_values(&[1.0]), Digest::of_bytes(&[0, 0, 0x80, 0x3f]));
    let many: Vec<f32> = (0..5000).map(|v| v as f32).collect();
    let bytes: Vec<u8> = many.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(Digest::of_values(&many), Digest::of_bytes(&bytes));
    assert_eq!(Digest::try_from(abc.to_owned()).unwrap(), Digest::of_bytes(b"abc"));
    for bad in ["", &abc[1..], &abc[2..], &abc.to_uppercase(), &format!("{abc}00"), &abc.replace('b', "g")] {
        assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

#[test]
fn a_history_of_another_version_is_not_rewritten() {
    let history = TrainingHistory { schema_version: 2, sessions: Vec::new() };
    assert_eq!(
        history.validated().unwrap_err().to_string(),
        "the training history has schema version 2, this program knows 1: use a newer program"
    );
}

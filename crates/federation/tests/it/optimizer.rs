use federation::*;
use serde::Deserialize;

use crate::support::site;

#[derive(Deserialize)]
struct Fixture {
    start: Vec<f32>,
    deltas: Vec<Vec<f32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    algorithm: Algorithm,
    rounds: Vec<Vec<f64>>,
}

fn mean_of_one(delta: &[f32]) -> MeanDelta {
    let magnitude = delta.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let one = Contribution { site: site("a"), update: Digest::of_values(delta), weight: 3, magnitude };
    let mut aggregator = Aggregator::new(delta.len(), &[one]).unwrap();
    aggregator.add(3, 0, delta).unwrap();
    aggregator.finish().unwrap()
}

/// `fixtures/generate.py`: PyTorch and numpy in f64. We keep state and model in f32, so every round may lose an ulp in
/// each: 1e-6 of a parameter of size 1 is about ten.
#[test]
fn server_optimisers_agree_with_pytorch_and_the_paper_also_after_a_restart() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/optimizers.json")).unwrap();
    assert_eq!(fixture.cases.len(), 2);
    for case in &fixture.cases {
        let mut parameters = fixture.start.clone();
        let mut optimizer = server_optimizer(&case.algorithm, parameters.len(), Vec::new()).unwrap();
        for (delta, expected) in fixture.deltas.iter().zip(&case.rounds) {
            optimizer.step(&mut parameters, &mean_of_one(delta));
            for (found, expected) in parameters.iter().zip(expected) {
                let difference = (f64::from(*found) - expected).abs();
                assert!(difference <= 1e-6 * expected.abs().max(1.0), "{:?}: {found} {expected}", case.algorithm);
            }
            let stored = optimizer.state().into_iter().map(<[f32]>::to_vec).collect();
            optimizer = server_optimizer(&case.algorithm, parameters.len(), stored).unwrap();
        }
    }
}

#[test]
fn fedavg_of_one_site_is_the_sites_model() {
    let global = [0.5f32, -3.0, 1e-3, 0.0];
    let trained = [0.53125f32, -2.75, 2e-3, -7.5e-9];
    let delta: Vec<f32> = trained.iter().zip(&global).map(|(t, g)| t - g).collect();
    let mut parameters = global;
    FedAvg.step(&mut parameters, &mean_of_one(&delta));
    assert_eq!(parameters, trained);
}

#[test]
fn a_state_of_another_algorithm_or_model_is_refused() {
    let adam: Algorithm = "fedadam".parse().unwrap();
    let error = server_optimizer(&adam, 3, vec![vec![0.0; 3]]).err().unwrap();
    assert_eq!(error.to_string(), "the stored optimiser state has vectors of lengths [3], expected 2 of length 3");
    assert!(server_optimizer(&adam, 3, vec![vec![0.0; 3], vec![0.0; 4]]).is_err());
    assert!(server_optimizer(&Algorithm::FedAvg, 3, vec![vec![0.0; 3]]).is_err());
}

#[test]
fn a_model_that_overflows_is_refused() {
    let mut global = GlobalModel::initial(vec![1.0, f32::MAX], Digest::of_bytes(b""), &Algorithm::FedAvg);
    let error = global.advance(&mut FedAvg, &mean_of_one(&[1.0, f32::MAX]), 1.0).unwrap_err();
    assert_eq!(error, AggregationError::NonFiniteModel { index: 1, value: f32::INFINITY });
}

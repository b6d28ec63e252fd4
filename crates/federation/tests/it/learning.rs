use std::collections::BTreeMap;

use federation::*;

use crate::support::*;

fn three_sites(shift: f64) -> BTreeMap<SiteId, LeastSquares> {
    [("a", 40, 0.0), ("b", 25, shift), ("c", 30, -shift)]
        .into_iter()
        .enumerate()
        .map(|(i, (name, rows, shift))| (site(name), LeastSquares::new(i as u64, rows, shift)))
        .collect()
}

fn config(algorithm: Algorithm, rounds: u32, local_epochs: u32, learning_rate: f64) -> SessionConfig {
    let hyperparameters =
        Hyperparameters { rounds, local_epochs, learning_rate, algorithm, ..Hyperparameters::default() };
    SessionConfig { hyperparameters, ..sealed() }
}

fn pooled(sites: &BTreeMap<SiteId, LeastSquares>) -> LeastSquares {
    LeastSquares { rows: sites.values().flat_map(|s| s.rows.clone()).collect(), controls: BTreeMap::new() }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn one_full_batch_step_at_every_site_is_the_centralised_step() {
    let mut sites = three_sites(0.5);
    let config = config(Algorithm::FedAvg, 1, 1, 0.1);
    let (_, model) = undisturbed(&config, &mut sites);
    let start = wide(&initial().parameters);
    let gradient = pooled(&sites).gradient(&start);
    for k in 0..DIM {
        let centralised = start[k] - 0.1 * gradient[k];
        // Deltas and the model are rounded to f32: half an ulp each.
        assert!((f64::from(model.parameters[k]) - centralised).abs() < 2e-7, "parameter {k}");
    }
}

#[test]
fn fedavg_and_the_server_optimisers_reach_the_common_optimum() {
    for algorithm in [
        Algorithm::FedAvg,
        Algorithm::FedAvgM { momentum: 0.2, server_lr: 1.0 },
        Algorithm::FedAdam { server_lr: 0.5, beta1: 0.5, beta2: 0.9, tau: 0.1 },
    ] {
        let mut sites = three_sites(0.0);
        let (session, model) = undisturbed(&config(algorithm, 20, 10, 0.9), &mut sites);
        assert_eq!(session.phase(), Phase::Completed);
        assert_eq!(session.rounds().len(), 20);
        let all = pooled(&sites);
        let (before, after) = (all.loss(&wide(&initial().parameters)), all.loss(&wide(&model.parameters)));
        assert!(after < 1e-3 * before, "{algorithm:?}: loss {before} became {after}");
        let recorded = session.rounds()[19].evaluation_loss.unwrap();
        assert!((recorded - after).abs() < 1e-9, "the history says {recorded}, the model has {after}");
    }
}

#[test]
fn fedprox_pulls_every_site_towards_the_global_model() {
    let start = wide(&initial().parameters);
    let mut moved = Vec::new();
    for mu in [0.0, 0.1, 1.0, 10.0] {
        let hyperparameters = config(Algorithm::FedProx { mu }, 1, 10, 0.05).hyperparameters;
        let mut one = LeastSquares::new(1, 30, 0.7);
        let update = one.train_round(&initial(), 1, &hyperparameters, &mut never_stop).unwrap();
        moved.push(distance(&wide(&update.delta), &[0.0; DIM]));
    }
    assert!(moved.windows(2).all(|pair| pair[1] < pair[0]), "{moved:?}");

    // Sites that differ drift apart; the proximal term leaves less of it in the global model after one round.
    let gap = |mu| {
        let mut sites = three_sites(2.0);
        let (_, model) = undisturbed(&config(Algorithm::FedProx { mu }, 1, 10, 0.5), &mut sites);
        distance(&wide(&model.parameters), &start)
    };
    assert!(gap(1.0) < gap(0.0));
    let fedavg = undisturbed(&config(Algorithm::FedAvg, 3, 5, 0.5), &mut three_sites(1.0)).1;
    let fedprox_0 = undisturbed(&config(Algorithm::FedProx { mu: 0.0 }, 3, 5, 0.5), &mut three_sites(1.0)).1;
    assert_eq!(fedavg.digest(), fedprox_0.digest());
}

/// Many steps between rounds lead every site towards its own optimum, and FedAvg to a point that is nobody's. SCAFFOLD's
/// sites go towards the common one (Karimireddy et al. 2020, figure 3), also when one is away for a round.
#[test]
fn scaffold_reaches_the_common_optimum_of_sites_that_differ() {
    let optimum = {
        let mut w = wide(&initial().parameters);
        let all = pooled(&three_sites(2.0));
        for _ in 0..10_000 {
            let gradient = all.gradient(&w);
            w.iter_mut().zip(gradient).for_each(|(w, g)| *w -= 0.5 * g);
        }
        w
    };
    let gap = |algorithm| {
        let config = config(algorithm, 20, 10, 0.3);
        let (session, model) = undisturbed(&config, &mut three_sites(2.0));
        assert_eq!(session.phase(), Phase::Completed);
        distance(&wide(&model.parameters), &optimum)
    };
    let (fedavg, scaffold) = (gap(Algorithm::FedAvg), gap(Algorithm::Scaffold));
    println!("distance to the common optimum: FedAvg {fedavg:.4}, SCAFFOLD {scaffold:.6}");
    assert!(scaffold < 0.05 * fedavg, "FedAvg {fedavg}, SCAFFOLD {scaffold}");
}

/// The server's rule by hand: weighted means, and the control variate by the share of the sites.
#[test]
fn the_control_variate_follows_the_sites_that_took_part() {
    let mut global = GlobalModel::initial(vec![1.0, 2.0], Digest::of_bytes(b""), &Algorithm::Scaffold);
    global.control = vec![0.5, -1.0];
    let updates = [(1, vec![1.0, 0.0, 0.25, 1.0]), (3, vec![-1.0, 2.0, 0.75, -1.0])];
    let contributions = updates.iter().zip(["a", "b"]).map(|((weight, delta), name)| Contribution {
        site: site(name),
        update: Digest::of_values(delta),
        weight: *weight,
        magnitude: 2.0,
    });
    let mut aggregator = Aggregator::new(4, &contributions.collect::<Vec<_>>()).unwrap();
    updates.iter().for_each(|(weight, delta)| aggregator.add(*weight, 0, delta).unwrap());
    let mut optimizer = server_optimizer(&Algorithm::Scaffold, 2, Vec::new()).unwrap();
    global.advance(optimizer.as_mut(), &aggregator.finish().unwrap(), 2.0 / 4.0).unwrap();
    assert_eq!(
        (global.parameters.as_slice(), global.control.as_slice()),
        ([0.5, 3.5].as_slice(), [0.8125, -1.25].as_slice())
    );

    let (vector, schema) = (global.vector().into_owned(), global.schema());
    assert_eq!(Digest::of_values(&vector), global.digest());
    assert!(GlobalModel::from_vector(vector, 1, &schema, &Algorithm::Scaffold) == global);
    // The finished model has none.
    let finished = GlobalModel::from_vector(vec![0.5, 3.5], 1, &schema, &Algorithm::Scaffold);
    assert!(finished.control.is_empty() && finished.parameters == global.parameters);
}

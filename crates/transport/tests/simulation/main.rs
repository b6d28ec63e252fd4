//! Whole sessions of real servers and real clients on virtual time: the network loses, delays, repeats and changes messages,
//! processes die in the middle of writes, machines lose power, disks fill, syncs fail, files rot, clocks jump, and the
//! coordinator lies. A seed decides everything but the sites' keys; docs/design/simulation.md says what must hold.
//!
//! `FEDNODULE_SIMULATION_SEEDS` is the number of seeds, `FEDNODULE_SIMULATION_SEED` runs a single one and tells its story.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and tells its story")]

#[path = "../it/support.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod support;
#[path = "../it/troubled_disk.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod troubled_disk;

mod ledger;
mod lies;
mod network;
mod reference;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Counts, World};

/// Where seeds run side by side.
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, expected a number")))
}

/// One seed; what happened, or its story up to the failure.
fn simulate(seed: u64, tell: bool) -> Result<Counts, String> {
    let mut world = World::new(seed, tell);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        format!("{}\nseed {seed}: {text}", world.story())
    })?;
    Ok(world.counts)
}

#[test]
fn sessions_hold_their_promises() {
    if let Some(seed) = number("FEDNODULE_SIMULATION_SEED") {
        let counts = simulate(seed, true).unwrap_or_else(|story| panic!("{story}"));
        eprintln!("seed {seed}: {counts:?}");
        return;
    }
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let seeds = number("FEDNODULE_SIMULATION_SEEDS").unwrap_or(if is_ci { 1000 } else { 100 });
    let start = Instant::now();
    let (next, total, failures) = (AtomicU64::new(0), Mutex::new(Counts::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // A few failures tell as much as a thousand.
                while failures.lock().unwrap().len() < 3 {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match simulate(seed, false) {
                        Ok(counts) => *total.lock().unwrap() += counts,
                        Err(story) => failures.lock().unwrap().push((seed, story)),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for (seed, story) in &failures {
        eprintln!(
            "{story}\nreplay: FEDNODULE_SIMULATION_SEED={seed} cargo test -p transport --test simulation -- --nocapture\n"
        );
    }
    let total = total.into_inner().unwrap();
    println!("{seeds} seeds in {:.1} s: {total:?}", start.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{} of {seeds} seeds fail; the commands above replay them", failures.len());
    // Otherwise nothing was tested.
    assert!(
        seeds < 100 || 2 * total.of("completed") > seeds,
        "only {} sessions of {seeds} were completed",
        total.of("completed")
    );
}

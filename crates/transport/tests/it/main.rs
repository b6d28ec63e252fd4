//! Tests of the public interface.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blindness;
mod crash;
mod run;
mod store;
mod sums;
mod support;
#[expect(dead_code, reason = "the simulation uses the rest")]
mod troubled_disk;

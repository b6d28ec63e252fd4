//! Tests of the public interface.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aggregation;
mod config;
mod learning;
mod optimizer;
mod privacy;
mod secure_simulation;
mod session;
mod simulation;
mod support;

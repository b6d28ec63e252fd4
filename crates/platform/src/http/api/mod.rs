//! The JSON API.

pub(super) mod accounts;
pub(super) mod annotations;
pub(super) mod audit;
pub(super) mod docs;
pub(super) mod events;
pub(super) mod inferences;
pub(super) mod logs;
pub(super) mod models;
pub(super) mod scans;
pub(super) mod session;
pub(super) mod settings;
pub(super) mod slices;
pub(super) mod system;
pub(super) mod trainings;
pub(super) mod uploads;

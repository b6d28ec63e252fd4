//! The whole jobs, from folders to results, that the command line and the web platform both call.
//!
//! [`train`](train::train) runs a federated session over hospitals' folders, [`predict`](predict::predict) marks scans and
//! writes reports, [`evaluate`] scores a submission, [`study`](study::study) compares federated, local and pooled
//! training. Nothing here prints; progress goes to observers, words for people come from the [`catalog`].

pub mod catalog;
pub mod central;
pub mod evaluate;
pub mod export;
pub mod failure;
pub mod files;
pub mod held_out;
pub mod local;
mod memory;
pub mod predict;
pub mod report;
pub mod signed;
pub mod site;
pub mod study;
pub mod train;

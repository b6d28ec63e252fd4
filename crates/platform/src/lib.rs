//! The web platform: accounts with roles and an audit log, as pages and a JSON API, from one program with everything in
//! it.
//!
//! Users may live in a PostgreSQL database, of which the data folder then keeps a copy; mail goes out through an SMTP server.
//!
//! [`serve`] (or [`run`], which brings its own runtime) opens the data folder of a [`Config`] and answers until a
//! [`Shutdown`] is asked for. [`verify_audit`] checks the audit log of such a folder. Nothing here knows a network: it
//! shows scans, and leaves heavy work to processes of its own.

mod accounts;
mod catalog;
mod clock;
pub mod config;
mod data;
mod http;
mod inference;
mod jobs;
mod listener;
mod live;
mod logs;
mod machine;
mod mail;
mod models;
mod server;
mod store;
mod tls;
mod token;
mod training;
mod users;

pub use accounts::{Role, Status};
pub use catalog::Language;
pub use clock::{Clock, Moment};
pub use config::{Config, ConfigError, Secret, Sources};
pub use http::openapi::openapi;
pub use http::routes::{Access, ROUTES, Route};
pub use logs::{LogError, Logs, log_to_files};
pub use server::{Ready, ServeError, Shutdown, run, serve, serve_by_clock};
pub use store::StorageError;
pub use store::audit::{AuditReport, Broken, Fault, verify_audit};

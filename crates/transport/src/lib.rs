//! Carries federation messages between the coordinator and the sites, and keeps sessions on disk.
//!
//! ```text
//!  FederatedClient ──masked or sealed──▶ in_process::run ──Input──▶ FederatedServer ──▶ federation::Session
//!   │ a LocalTrainer       ▲                  │    │                      │
//!   │                      └── GlobalModel ───┘    └─Event─▶ Observer     └─▶ {out}/sessions, training_history.json,
//!   └─▶ {out}/sites: its keys, its update        (signed)                       models
//! ```
//!
//! [`FederatedServer`] makes every step of a session durable before its consequences are visible, so a session that is
//! killed at any point resumes where it was. It knows nothing about how messages travel: that is the carrier's duty.
//! [`in_process::run`] is the carrier for one machine. Nothing here can open a CT image.

mod client;
mod disk;
pub mod in_process;
mod keys;
mod observer;
mod server;
mod store;
mod vault;

pub use client::{FederatedClient, Outcome, Own, SiteError};
pub use disk::{Disk, FileSystem};
pub use keys::{KeyError, site_folder};
pub use observer::{Event, Observer, Stop, Task};
pub use server::{Clock, FederatedServer, Machine, ModelFormat, ServerError};
pub use store::{StoreError, read_history};
pub use vault::VaultError;

//! The server as a browser and a program see it: real requests to a listening server on an empty folder.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests; a child tells its address on its output"
)]

mod accounts;
mod annotations;
mod audit;
mod bad_input;
mod browser;
mod client;
mod events;
mod inferences;
mod kill;
mod limits;
mod logs;
mod mail;
mod openapi;
mod pages;
mod peers;
mod postgres;
mod remote_users;
mod roles;
mod running;
mod scans;
mod server;
mod sessions;
mod settings;
mod slices;
mod smtp;
mod sockets;
mod trainings;
mod uploads;

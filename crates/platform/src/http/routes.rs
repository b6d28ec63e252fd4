//! Every address of the server in one table, with who may use it. The router is made from it, and so are the description
//! of the API and the test of every route with every role: what is not in the table does not exist.

use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::openapi::{Described, describe};
use super::{App, api, assets, pages, sockets};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without an account.
    Anyone,
    /// Everybody with an account in use.
    SignedIn,
    /// 服务端: administrators only.
    Server,
}

/// An address with a method.
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: fn() -> MethodRouter<App>,
    /// Of the API's routes.
    pub(super) described: Option<Described>,
}

impl Route {
    pub(super) fn handler(&self) -> MethodRouter<App> {
        (self.handler)()
    }

    /// Whether it answers with a page for people; the others speak JSON.
    pub fn is_page(&self) -> bool {
        !is_for_programs(self.path)
    }

    /// Whether it belongs to the API, whose description holds it.
    pub fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }

    /// Whether it carries Socket.IO, whose clients know no header of ours: the guard asks them for less.
    pub fn is_socket(&self) -> bool {
        self.path == sockets::PATH
    }
}

/// Whether what lies at this path speaks to programs.
pub(super) fn is_for_programs(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with(sockets::PATH)
}

macro_rules! routes {
    ($($access:ident $method:ident $path:literal $handler:expr $(, $summary:literal $($refusal:literal)*)?;)*) => {
        /// All routes.
        pub static ROUTES: &[Route] = &[
            $(Route {
                method: routes!(@name $method),
                path: $path,
                access: Access::$access,
                handler: || $method($handler),
                described: routes!(@described $handler $(, $summary $($refusal)*)?),
            },)*
        ];
    };
    (@described $handler:expr) => { None };
    (@described $handler:expr, $summary:literal $($refusal:literal)*) => {
        Some(Described {
            summary: $summary,
            refusals: &[$($refusal),*],
            handler: stringify!($handler),
            operation: |asked, answered| describe($handler, asked, answered),
        })
    };
    (@name get) => { "GET" };
    (@name post) => { "POST" };
    (@name put) => { "PUT" };
    (@name patch) => { "PATCH" };
    (@name delete) => { "DELETE" };
}

// Routes of the API have one column more: what they do, and the statuses of refusals that follow neither from who may call
// nor from what is asked for.
routes! {
    Anyone get "/setup" pages::set_up;
    Anyone get "/login" pages::login;
    Anyone get "/register" pages::register;
    Anyone get "/reset" pages::reset;
    Anyone get "/forgot" pages::forgot;
    Anyone get "/verify" pages::verify;
    Anyone get "/language/{tag}" pages::language;
    Anyone get "/assets/{version}/{name}" assets::serve;
    SignedIn get "/" pages::overview;
    SignedIn get "/account" pages::account;
    SignedIn get "/help" pages::help;
    SignedIn get "/docs" pages::docs::show;
    SignedIn get "/trainings" pages::trainings::list;
    Server get "/trainings/new" pages::trainings::launch;
    SignedIn get "/trainings/compare" pages::trainings::compare;
    SignedIn get "/trainings/{training}" pages::trainings::show;
    SignedIn get "/models" pages::trainings::models;
    SignedIn get "/inferences" pages::inferences;
    Server get "/users" pages::users;
    Server get "/audit" pages::audit;
    Server get "/settings" pages::settings;
    Server get "/logs" pages::logs;
    SignedIn get "/data" pages::data;
    SignedIn get "/scans/{id}" pages::scan;
    SignedIn get "/inferences/{id}" pages::inference;
    SignedIn get "/inferences/{id}/report" pages::report;

    SignedIn get "/socket.io/" sockets::serve;
    SignedIn post "/socket.io/" sockets::serve;

    Anyone get "/api/health" api::system::health, "Whether the server answers";
    Anyone post "/api/setup" api::accounts::set_up, "Makes the first administrator" 409 429;
    Anyone post "/api/accounts" api::accounts::register, "Registers an institution, which an administrator then approves" 409 429;
    Anyone post "/api/password-strength" api::accounts::strength, "How good a password is";
    Anyone post "/api/password-reset" api::accounts::reset, "Sets a new password with a one-time link" 429;
    Anyone post "/api/password-forgotten" api::accounts::forgot, "Sends a one-time link by mail if there is such an account" 409 429;
    Anyone post "/api/email-verification" api::accounts::verify_email, "Confirms an e-mail address with a one-time link" 409 429;
    Anyone post "/api/session" api::session::sign_in, "Signs in" 429;
    SignedIn get "/api/session" api::session::show, "Who is signed in";
    SignedIn delete "/api/session" api::session::sign_out, "Signs out";
    SignedIn put "/api/account/password" api::accounts::change_password, "Changes the caller's own password and ends all other sessions" 409 429;
    SignedIn put "/api/account/email" api::accounts::change_email, "Asks for another e-mail address, which counts once it is confirmed" 409 429;
    SignedIn get "/api/uploads" api::uploads::list, "The caller's unfinished uploads";
    SignedIn post "/api/uploads" api::uploads::plan, "Pairs files and begins an upload for each that can be a scan";
    SignedIn get "/api/uploads/{upload}" api::uploads::show, "How far an upload is; for tus, in the headers";
    SignedIn patch "/api/uploads/{upload}" api::uploads::receive, "Takes a piece of an upload, as tus 1.0 has it" 408 409 412 423 429 460 507;
    SignedIn delete "/api/uploads/{upload}" api::uploads::remove, "Forgets an unfinished upload" 409 423 429;
    SignedIn get "/api/annotations" api::annotations::show, "How many nodules are known, by whom";
    SignedIn post "/api/annotations" api::annotations::import, "Takes in a table of nodules as LUNA16 has it";
    SignedIn delete "/api/annotations" api::annotations::remove, "Forgets all nodules that the caller took in";
    Server get "/api/readiness" api::annotations::readiness, "What each institution has ready for a training";
    SignedIn get "/api/scans" api::scans::list, "The caller's own scans, the newest first";
    SignedIn delete "/api/scans/{id}" api::scans::remove, "Deletes a scan with its files" 409;
    SignedIn get "/api/scans/{id}/thumbnail.png" api::scans::thumbnail, "The middle slice as a small picture";
    SignedIn get "/api/scans/{id}" api::slices::geometry, "Where the voxels of a scan lie";
    SignedIn get "/api/scans/{id}/preview" api::slices::preview, "The whole scan, coarsely, one byte a voxel";
    SignedIn get "/api/scans/{id}/slice/{plane}/{slice}" api::slices::slice, "A slice, as CT values (little-endian int16, row by row) or as a picture" 422;
    Server get "/api/accounts" api::accounts::list, "All accounts";
    Server post "/api/accounts/{username}/approve" api::accounts::approve, "Approves a registered institution" 409;
    Server post "/api/accounts/{username}/disable" api::accounts::disable, "Puts an account out of use and ends its sessions" 409;
    Server post "/api/accounts/{username}/enable" api::accounts::enable, "Puts an account in use again" 409;
    Server post "/api/accounts/{username}/role" api::accounts::set_role, "Makes an account an administrator's or an institution's" 409;
    Server post "/api/accounts/{username}/reset-link" api::accounts::issue_reset, "Makes a one-time link for a new password, to be handed over" 409;
    Server get "/api/logs" api::logs::list, "The log of the server or of trainings, the newest lines first";
    Server get "/api/presence" api::system::presence, "Who has a page open now";
    SignedIn get "/api/events" api::events::list, "What happened since, oldest first; can wait for something to happen";
    Server get "/api/audit" api::audit::list, "The audit log, the newest entries first";
    Server get "/api/audit/verification" api::audit::verify, "Checks the whole audit log";
    SignedIn get "/api/trainings" api::trainings::list, "The trainings that the caller takes part in, or all, the newest first";
    Server post "/api/trainings" api::trainings::launch, "Puts a training into the queue";
    Server get "/api/trainings/pre-flight" api::trainings::show_pre_flight, "Who could take part in a training, and how long rounds took so far";
    SignedIn put "/api/trainings/sharing" api::trainings::share, "Whether the coordinator may see the caller's own curves, which secure aggregation hides" 403;
    SignedIn get "/api/trainings/export" api::trainings::export, "The history of trainings as a table";
    SignedIn get "/api/trainings/{training}" api::trainings::show, "All about a training";
    Server post "/api/trainings/{training}/pause" api::trainings::pause, "Pauses a training after its current step" 409;
    Server post "/api/trainings/{training}/resume" api::trainings::resume, "Goes on with a paused training" 409;
    Server post "/api/trainings/{training}/stop" api::trainings::stop, "Ends a training for good" 409;
    SignedIn get "/api/models" api::models::list, "All versions of the model";
    Server post "/api/models/{model}/promote" api::models::promote, "Puts a version in use" 409;
    Server put "/api/models/{model}/note" api::models::set_note, "Writes a note to a version" 409;
    Server get "/api/models/{model}/safetensors" api::models::safetensors, "The weights of a version as safetensors" 409;
    Server get "/api/models/{model}/pth" api::models::pth, "The weights of a version for PyTorch" 409;
    SignedIn get "/api/inferences" api::inferences::list, "The caller's own inferences, the newest first";
    SignedIn post "/api/inferences" api::inferences::submit, "Puts scans into the queue of inferences" 409;
    SignedIn get "/api/inferences/{id}" api::inferences::show, "An inference with its findings";
    SignedIn delete "/api/inferences/{id}" api::inferences::remove, "Forgets an inference that has ended" 409;
    SignedIn post "/api/inferences/{id}/cancel" api::inferences::cancel, "Takes an inference out of the queue or ends it" 409;
    SignedIn put "/api/inferences/{id}/findings/{number}/review" api::inferences::review, "What a physician says about a finding" 409;
    SignedIn get "/api/inferences/{id}/detections.csv" api::inferences::csv, "The findings as a LUNA16 submission, with a column for reviews";
    SignedIn get "/api/inferences/{id}/detections.json" api::inferences::json_file, "The inference with its findings, as a file";
    Server get "/api/system" api::system::show, "The state of the server";
    Server get "/api/settings" api::settings::show, "The settings in force; secrets are not shown";
    Server post "/api/settings/database-test" api::settings::test_database, "Tries the connection to the users' database";
    Server post "/api/settings/mail-test" api::settings::test_mail, "Tries the connection to the mail server";
    Anyone get "/api/docs" api::docs::show, "This description";
}

//! Every address of the server in one table, with who may use it. The router is made from it, and so is the test of every
//! route with every role: what is not in the table does not exist.

use axum::routing::{MethodRouter, delete, get, patch, post, put};

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
}

impl Route {
    pub(super) fn handler(&self) -> MethodRouter<App> {
        (self.handler)()
    }

    /// Whether it answers with a page for people; the others speak JSON.
    pub fn is_page(&self) -> bool {
        !is_for_programs(self.path)
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
    ($($access:ident $method:ident $path:literal $handler:expr;)*) => {
        /// All routes.
        pub static ROUTES: &[Route] = &[
            $(Route {
                method: routes!(@name $method),
                path: $path,
                access: Access::$access,
                handler: || $method($handler),
            },)*
        ];
    };
    (@name get) => { "GET" };
    (@name post) => { "POST" };
    (@name put) => { "PUT" };
    (@name patch) => { "PATCH" };
    (@name delete) => { "DELETE" };
}

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

    Anyone get "/api/health" api::system::health;
    Anyone post "/api/setup" api::accounts::set_up;
    Anyone post "/api/accounts" api::accounts::register;
    Anyone post "/api/password-strength" api::accounts::strength;
    Anyone post "/api/password-reset" api::accounts::reset;
    Anyone post "/api/password-forgotten" api::accounts::forgot;
    Anyone post "/api/email-verification" api::accounts::verify_email;
    Anyone post "/api/session" api::session::sign_in;
    SignedIn get "/api/session" api::session::show;
    SignedIn delete "/api/session" api::session::sign_out;
    SignedIn put "/api/account/password" api::accounts::change_password;
    SignedIn put "/api/account/email" api::accounts::change_email;
    SignedIn get "/api/uploads" api::uploads::list;
    SignedIn post "/api/uploads" api::uploads::plan;
    SignedIn get "/api/uploads/{id}" api::uploads::show;
    SignedIn patch "/api/uploads/{id}" api::uploads::receive;
    SignedIn delete "/api/uploads/{id}" api::uploads::remove;
    SignedIn get "/api/annotations" api::annotations::show;
    SignedIn post "/api/annotations" api::annotations::import;
    SignedIn delete "/api/annotations" api::annotations::remove;
    Server get "/api/readiness" api::annotations::readiness;
    SignedIn get "/api/scans" api::scans::list;
    SignedIn get "/api/scans/{id}" api::slices::geometry;
    SignedIn delete "/api/scans/{id}" api::scans::remove;
    SignedIn get "/api/scans/{id}/thumbnail.png" api::scans::thumbnail;
    SignedIn get "/api/scans/{id}/preview" api::slices::preview;
    SignedIn get "/api/scans/{id}/slice/{plane}/{slice}" api::slices::slice;
    Server get "/api/accounts" api::accounts::list;
    Server post "/api/accounts/{username}/approve" api::accounts::approve;
    Server post "/api/accounts/{username}/disable" api::accounts::disable;
    Server post "/api/accounts/{username}/enable" api::accounts::enable;
    Server post "/api/accounts/{username}/role" api::accounts::set_role;
    Server post "/api/accounts/{username}/reset-link" api::accounts::issue_reset;
    SignedIn get "/socket.io/" sockets::serve;
    SignedIn post "/socket.io/" sockets::serve;
    Server get "/api/logs" api::logs::list;
    Server get "/api/presence" api::system::presence;
    SignedIn get "/api/events" api::events::list;
    Server get "/api/audit" api::audit::list;
    Server get "/api/audit/verification" api::audit::verify;
    SignedIn get "/api/trainings" api::trainings::list;
    Server post "/api/trainings" api::trainings::launch;
    Server get "/api/trainings/pre-flight" api::trainings::show_pre_flight;
    SignedIn get "/api/trainings/export" api::trainings::export;
    SignedIn get "/api/trainings/{training}" api::trainings::show;
    Server post "/api/trainings/{training}/pause" api::trainings::pause;
    Server post "/api/trainings/{training}/resume" api::trainings::resume;
    Server post "/api/trainings/{training}/stop" api::trainings::stop;
    SignedIn get "/api/models" api::models::list;
    Server post "/api/models/{model}/promote" api::models::promote;
    Server put "/api/models/{model}/note" api::models::set_note;
    Server get "/api/models/{model}/safetensors" api::models::safetensors;
    Server get "/api/models/{model}/pth" api::models::pth;
    SignedIn get "/api/inferences" api::inferences::list;
    SignedIn post "/api/inferences" api::inferences::submit;
    SignedIn get "/api/inferences/{id}" api::inferences::show;
    SignedIn delete "/api/inferences/{id}" api::inferences::remove;
    SignedIn post "/api/inferences/{id}/cancel" api::inferences::cancel;
    SignedIn put "/api/inferences/{id}/findings/{number}/review" api::inferences::review;
    SignedIn get "/api/inferences/{id}/detections.csv" api::inferences::csv;
    SignedIn get "/api/inferences/{id}/detections.json" api::inferences::json_file;
    Server get "/api/system" api::system::show;
    Server get "/api/settings" api::settings::show;
    Server post "/api/settings/database-test" api::settings::test_database;
    Server post "/api/settings/mail-test" api::settings::test_mail;
}

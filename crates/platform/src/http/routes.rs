//! Every address of the server in one table, with who may use it. The router is made from it, and so is the test of every
//! route with every role: what is not in the table does not exist.

use axum::routing::{MethodRouter, delete, get, post, put};

use super::{App, api, assets, pages};

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
    /// `GET`, `POST`, `PUT` or `DELETE`.
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
        !self.path.starts_with("/api/")
    }
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
    (@name delete) => { "DELETE" };
}

routes! {
    Anyone get "/setup" pages::set_up;
    Anyone get "/login" pages::login;
    Anyone get "/register" pages::register;
    Anyone get "/reset" pages::reset;
    Anyone get "/language/{tag}" pages::language;
    Anyone get "/assets/{version}/{name}" assets::serve;
    SignedIn get "/" pages::overview;
    SignedIn get "/account" pages::account;
    SignedIn get "/inferences" pages::inferences;
    Server get "/users" pages::users;
    Server get "/audit" pages::audit;

    Anyone get "/api/health" api::system::health;
    Anyone post "/api/setup" api::accounts::set_up;
    Anyone post "/api/accounts" api::accounts::register;
    Anyone post "/api/password-strength" api::accounts::strength;
    Anyone post "/api/password-reset" api::accounts::reset;
    Anyone post "/api/session" api::session::sign_in;
    SignedIn get "/api/session" api::session::show;
    SignedIn delete "/api/session" api::session::sign_out;
    SignedIn put "/api/account/password" api::accounts::change_password;
    Server get "/api/accounts" api::accounts::list;
    Server post "/api/accounts/{username}/approve" api::accounts::approve;
    Server post "/api/accounts/{username}/disable" api::accounts::disable;
    Server post "/api/accounts/{username}/enable" api::accounts::enable;
    Server post "/api/accounts/{username}/role" api::accounts::set_role;
    Server post "/api/accounts/{username}/reset-link" api::accounts::issue_reset;
    Server get "/api/audit" api::audit::list;
    Server get "/api/audit/verification" api::audit::verify;
    SignedIn get "/api/inferences" api::inferences::list;
    SignedIn post "/api/inferences" api::inferences::submit;
    SignedIn get "/api/inferences/{id}" api::inferences::show;
    SignedIn delete "/api/inferences/{id}" api::inferences::remove;
    SignedIn post "/api/inferences/{id}/cancel" api::inferences::cancel;
    SignedIn put "/api/inferences/{id}/findings/{number}/review" api::inferences::review;
    SignedIn get "/api/inferences/{id}/detections.csv" api::inferences::csv;
    SignedIn get "/api/inferences/{id}/detections.json" api::inferences::json_file;
    Server get "/api/system" api::system::show;
}

//! What administrators do to accounts.

use rusqlite::Connection;

use super::email::event;
use super::{AccountError, Accounts, Address, Caller, Refusal, Role, Status};
use crate::catalog::Language;
use crate::store::audit::{Action, OwnedEvent};
use crate::store::mails::{self, Kind, To};
use crate::store::users::User;
use crate::store::{resets, sessions, users, verifications};
use crate::users::Planned;

/// A change of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A registered account may be used.
    Approve,
    /// An account may not be used any more, or never.
    Disable,
    /// A disabled account may be used again.
    Enable,
    /// An account gets another role.
    Become(Role),
}

impl Accounts {
    /// Changes an account. Its sessions end where it may do less than before.
    pub(crate) async fn change(
        &self,
        caller: Caller,
        username: String,
        change: Change,
        language: Language,
        address: Address,
    ) -> Result<(), AccountError> {
        let now = self.clock.now();
        let needs_both = self.mail.is_on() && self.settings.approve_always;
        let plan = move |db: &Connection| {
            let user = users::by_name(db, &username)?.ok_or(Refusal::NoSuchAccount)?;
            allowed(db, &user, change)?;
            if change == Change::Approve && needs_both && user.email.is_none() && user.email_new.is_some() {
                return Err(Refusal::NotVerifiedYet.into());
            }
            let (action, detail) = match change {
                Change::Approve => (Action::Approved, ""),
                Change::Disable => (Action::Disabled, ""),
                Change::Enable => (Action::Enabled, ""),
                Change::Become(role) => (Action::RoleChanged, role.name()),
            };
            let after = match change {
                Change::Approve | Change::Enable => User { status: Status::Active, ..user.clone() },
                Change::Disable => User { status: Status::Disabled, ..user.clone() },
                Change::Become(role) => User { role, ..user.clone() },
            };
            let event = event(action, &user.username, Some(&caller.username), address);
            Ok(Planned {
                before: Some(user),
                after,
                event: OwnedEvent { detail: detail.to_owned(), ..event },
                more: (),
            })
        };
        let tells = self.mail.is_on();
        self.users
            .change(now, plan, move |db, user, ()| {
                if matches!(change, Change::Disable | Change::Become(_)) {
                    sessions::remove_of_user(db, user.id)?;
                    resets::remove_of_user(db, user.id)?;
                    verifications::remove_of_user(db, user.id)?;
                }
                if change == Change::Approve && tells && user.email.is_some() {
                    mails::queue(db, Kind::Approved, To::Account(&user.username), language, now)?;
                }
                Ok(())
            })
            .await
    }
}

fn allowed(db: &Connection, user: &User, change: Change) -> Result<(), AccountError> {
    let fits = match change {
        Change::Approve => user.status == Status::Pending,
        Change::Disable => user.status != Status::Disabled,
        Change::Enable => user.status == Status::Disabled,
        Change::Become(role) => user.status == Status::Active && user.role != role,
    };
    if !fits {
        return Err(Refusal::NotNow { status: user.status }.into());
    }
    let stops_administrating = matches!(change, Change::Disable | Change::Become(Role::Client));
    let is_administrator = user.role == Role::Server && user.status == Status::Active;
    if stops_administrating && is_administrator && users::count(db, Role::Server, Status::Active)? == 1 {
        return Err(Refusal::LastAdministrator.into());
    }
    Ok(())
}

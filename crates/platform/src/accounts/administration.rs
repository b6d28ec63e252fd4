//! What administrators do to accounts.

use rusqlite::Connection;

use super::{AccountError, Accounts, Address, Caller, Refusal, Role, Status};
use crate::store::audit::{Action, Event, append};
use crate::store::users::User;
use crate::store::{resets, sessions, users};

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
        address: Address,
    ) -> Result<(), AccountError> {
        let now = self.clock.now();
        self.store
            .write(now, move |db| {
                let user = users::by_name(db, &username)?.ok_or(Refusal::NoSuchAccount)?;
                allowed(db, &user, change)?;
                let (action, detail) = match change {
                    Change::Approve => (Action::Approved, ""),
                    Change::Disable => (Action::Disabled, ""),
                    Change::Enable => (Action::Enabled, ""),
                    Change::Become(role) => (Action::RoleChanged, role.name()),
                };
                match change {
                    Change::Approve | Change::Enable => users::set_status(db, user.id, Status::Active, now)?,
                    Change::Disable => users::set_status(db, user.id, Status::Disabled, now)?,
                    Change::Become(role) => users::set_role(db, user.id, role, now)?,
                }
                if matches!(change, Change::Disable | Change::Become(_)) {
                    sessions::remove_of_user(db, user.id)?;
                    resets::remove_of_user(db, user.id)?;
                }
                let address = address.shown();
                let event = Event {
                    action,
                    actor: Some(&caller.username),
                    target: Some(&user.username),
                    address: Some(&address),
                    detail,
                };
                Ok(append(db, &event, now)?)
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

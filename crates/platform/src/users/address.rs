//! The address of a users' database.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// The port of Supabase's pooler in transaction mode.
const TRANSACTION_PORT: u16 = 6543;

/// Where the database is and who we are there.
#[derive(Clone)]
pub(crate) struct Address {
    pub(super) config: Config,
    /// Without the password.
    pub(super) shown: String,
    /// Whether the address itself tells of a pooler that gives every transaction another connection.
    pub(super) names_transaction_pooler: bool,
}

impl Address {
    /// `postgresql://…` as Supabase and others give it, with parameters for other programs left out. Encryption is not
    /// negotiable downwards: it is there unless `sslmode=disable` says otherwise.
    pub(crate) fn parse(text: &str) -> Result<Self, ()> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        if !base.starts_with("postgresql://") && !base.starts_with("postgres://") {
            return Err(());
        }
        let (mut mode, mut names_pooler) = (SslMode::Require, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').ok_or(())? {
                ("sslmode", "disable") => mode = SslMode::Disable,
                ("sslmode", "prefer" | "require" | "verify-ca" | "verify-full") => {}
                ("pgbouncer", value) => names_pooler = value == "true",
                ("connection_limit" | "pool_timeout" | "connect_timeout" | "application_name", _) => {}
                _ => return Err(()),
            }
        }
        let mut config: Config = base.parse().map_err(|_| ())?;
        let ([host], Some(_), Some(name)) = (config.get_hosts(), config.get_user(), config.get_dbname()) else {
            return Err(());
        };
        let host = match host {
            Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let shown = format!("{host}:{port}/{name}");
        config.ssl_mode(mode).application_name("fednodule").keepalives_idle(Duration::from_secs(60));
        Ok(Self { config, shown, names_transaction_pooler: names_pooler || port == TRANSACTION_PORT })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_supabase_gives_it() {
        let pooler =
            "postgresql://postgres.abc:p%40ss@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true";
        let address = Address::parse(pooler).unwrap();
        assert_eq!(address.shown, "aws-0-eu-central-1.pooler.supabase.com:6543/postgres");
        assert!(address.names_transaction_pooler && address.is_encrypted());
        assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
        let direct = Address::parse("postgres://u:p@db.abc.supabase.co:5432/postgres").unwrap();
        assert!(!direct.names_transaction_pooler && direct.is_encrypted());
        // Nobody gets less encryption by asking politely.
        assert!(Address::parse("postgres://u@h/d?sslmode=prefer").unwrap().is_encrypted());
        assert!(!Address::parse("postgres://u@h/d?sslmode=disable").unwrap().is_encrypted());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "mysql://u@h/d",
            "postgres://",
            "postgres://h/d",
            "postgres://u@h",
            "postgres://u@a,b/d",
            "postgres://u@h:x/d",
            "postgres://u@h/d?sslmode=allow",
            "postgres://u@h/d?options=-c",
            "postgres://u@h/d?x",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}

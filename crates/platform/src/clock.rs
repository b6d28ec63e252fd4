//! Time as an argument: limits of minutes and hours are tested in milliseconds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in milliseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// A later moment.
    pub fn plus_minutes(self, minutes: u32) -> Self {
        Self(self.0.saturating_add(i64::from(minutes) * 60_000))
    }

    /// An earlier moment.
    pub fn minus_minutes(self, minutes: u32) -> Self {
        Self(self.0.saturating_sub(i64::from(minutes) * 60_000))
    }

    /// Whole seconds from `earlier` to this, at least one.
    pub(crate) fn seconds_since(self, earlier: Self) -> u64 {
        u64::try_from((self.0.saturating_sub(earlier.0) + 999) / 1000).unwrap_or(0).max(1)
    }
}

impl fmt::Display for Moment {
    /// As RFC 3339 in UTC: `2027-05-01T09:42:10Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).map_err(|_| fmt::Error)?;
        f.write_str(&moment.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// Tells the time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// One that is set by hand, in milliseconds as [`Moment`].
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The moment that it is.
    pub fn now(&self) -> Moment {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(moment) => Moment(moment.load(Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc() {
        assert_eq!(Moment(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Moment(1_809_164_530_999).to_string(), "2027-05-01T09:42:10Z");
        assert_eq!(Moment(1500).seconds_since(Moment(0)), 2);
    }
}

//! How the sites' updates are kept from the coordinator, and from everybody else.

use serde::{Deserialize, Serialize};

use crate::secagg::LEAST_SITES;

/// What protects an update on its way. There is no third way: an update never travels in the open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// Masked: the coordinator learns the sum of at least three sites and no single update ([`secagg`](crate::secagg)).
    SecureAggregation,
    /// Encrypted to the coordinator and signed: it reads every single update, nobody else does ([`sealing`](crate::sealing)).
    Sealed,
}

/// Why a session has no secure aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SealedBecause {
    /// A sum of one or two updates hides none of them.
    #[error("secure aggregation is off: with fewer than {LEAST_SITES} sites a sum does not hide its parts")]
    FewSites,
    /// [`SessionConfig::protection`](crate::SessionConfig::protection) says so.
    #[error("secure aggregation is off: the session was created without it")]
    Chosen,
}

impl Protection {
    /// The protection of a session with so many sites in its roster, present or not: whoever is away lowers nothing.
    pub(crate) fn of(choice: Option<Self>, sites: usize) -> Self {
        choice.unwrap_or(if sites >= LEAST_SITES { Self::SecureAggregation } else { Self::Sealed })
    }
}

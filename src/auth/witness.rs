//! Who hears of tokens that were refused: the record, wherever it is kept. Nothing of a token but its key's id is ever told.

use super::{AuthError, Grants};
use crate::model::TenantId;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Why a token opened nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It is no token.
    Malformed,
    /// Its key is unknown.
    UnknownKey,
    /// Another algorithm than its key's.
    Algorithm,
    /// Its signature is wrong.
    Signature,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// It is valid for too long.
    Lifetime,
    /// Its seat was removed.
    Revoked,
    /// Its seat is in use.
    InUse,
    /// It asks for somebody invisible.
    Hidden,
    /// It names no role, or another than its seat has.
    Role,
    /// It is for another room, or for something else.
    Room,
    /// All seats are taken.
    Full,
    /// The room is not open yet.
    Early,
    /// The room is over.
    Over,
    /// The audit log takes nothing.
    Unrecorded,
}

impl Why {
    /// The reason behind an error of a token; a missing one is nobody's attempt.
    #[must_use]
    pub fn of(error: AuthError) -> Option<Self> {
        Some(match error {
            AuthError::Missing => return None,
            AuthError::Header | AuthError::Malformed => Self::Malformed,
            AuthError::UnknownKey => Self::UnknownKey,
            AuthError::Algorithm => Self::Algorithm,
            AuthError::Signature => Self::Signature,
            AuthError::Expired => Self::Expired,
            AuthError::NotYet => Self::NotYet,
            AuthError::Lifetime => Self::Lifetime,
            AuthError::Revoked => Self::Revoked,
            AuthError::Ended => Self::Over,
            AuthError::Denied => Self::Room,
            AuthError::Hidden | AuthError::Kind => Self::Hidden,
        })
    }
}

/// A token that opened nothing.
#[derive(Clone)]
pub struct RefusedToken {
    /// Where it came from.
    pub from: IpAddr,
    /// Whose it is and which key signed it, where its signature was good.
    pub bearer: Option<(TenantId, Arc<str>)>,
    /// Why.
    pub why: Why,
}

impl RefusedToken {
    /// Says whose it was, where that is known.
    #[must_use]
    pub fn new(from: IpAddr, why: Why, grants: Option<&Grants>) -> Self {
        Self { from, why, bearer: grants.map(|grants| (grants.tenant.clone(), grants.key.clone())) }
    }
}

impl fmt::Debug for RefusedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedToken").field("why", &self.why).finish_non_exhaustive()
    }
}

/// Hears of refused tokens; never waits.
pub trait Witness: Send + Sync {
    /// A token opened nothing.
    fn token_refused(&self, refused: &RefusedToken);
}

/// Nobody hears: a node without a record, a test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Witness for Nobody {
    fn token_refused(&self, _: &RefusedToken) {}
}

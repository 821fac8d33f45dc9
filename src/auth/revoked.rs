//! Which seats were removed since when: tokens issued before open nothing any more.

use super::{AuthError, Grants};
use crate::model::{Identity, RoomKey};
use std::collections::HashMap;

/// Seats kept at most; beyond that the oldest removal gives way. One entry is about 200 bytes, so this is some 13 MB.
const MAX_ENTRIES: usize = 65_536;

/// How long a removal is remembered, in seconds; longer-lived tokens of removed seats do not come back within a day.
const KEEP_S: u64 = 24 * 3600;

/// The removals this node knows of; times are seconds since the Unix epoch.
#[derive(Debug, Default)]
pub struct Revocations {
    seats: HashMap<(RoomKey, Identity), u64>,
}

impl Revocations {
    /// Refuses every token of a seat that was issued up to and including `at`.
    pub fn revoke(&mut self, room: RoomKey, identity: Identity, at: u64) {
        if self.seats.len() >= MAX_ENTRIES {
            self.make_room(at);
        }
        let entry = self.seats.entry((room, identity)).or_insert(at);
        *entry = at.max(*entry);
    }

    /// Whether a token may still be used for its room.
    ///
    /// # Errors
    /// [`AuthError::Revoked`] when its seat was removed after it was issued, or it does not say when that was.
    pub fn check(&self, grants: &Grants) -> Result<(), AuthError> {
        if self.seats.is_empty() {
            return Ok(());
        }
        match self.seats.get(&(grants.room(), grants.identity.clone())) {
            Some(at) if grants.issued_at <= *at => Err(AuthError::Revoked),
            _ => Ok(()),
        }
    }

    fn make_room(&mut self, now: u64) {
        self.seats.retain(|_, at| at.saturating_add(KEEP_S) > now);
        if self.seats.len() >= MAX_ENTRIES
            && let Some(oldest) = self.seats.iter().min_by_key(|(_, at)| **at).map(|(seat, _)| seat.clone())
        {
            self.seats.remove(&oldest);
        }
    }
}

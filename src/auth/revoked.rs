//! Which seats were removed, and which consultations ended, since when: tokens issued before open nothing any more.

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
    rooms: HashMap<RoomKey, u64>,
}

impl Revocations {
    /// Refuses every token of a seat that was issued up to and including `at`.
    pub fn revoke(&mut self, room: RoomKey, identity: Identity, at: u64) {
        make_room(&mut self.seats, at);
        let entry = self.seats.entry((room, identity)).or_insert(at);
        *entry = at.max(*entry);
    }

    /// Refuses every token of a consultation that was issued up to and including `at`: none of them opens it again.
    pub fn close(&mut self, room: RoomKey, at: u64) {
        make_room(&mut self.rooms, at);
        let entry = self.rooms.entry(room).or_insert(at);
        *entry = at.max(*entry);
    }

    /// Whether a token may still join: its seat was not removed since, nor did its consultation end.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and [`AuthError::Ended`].
    pub fn check_join(&self, grants: &Grants) -> Result<(), AuthError> {
        self.check(grants)?;
        match self.rooms.get(&grants.room()) {
            Some(at) if grants.issued_at <= *at => Err(AuthError::Ended),
            _ => Ok(()),
        }
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
}

/// Lets go of what is old where there are too many, else of the oldest.
fn make_room<K: Clone + Eq + std::hash::Hash>(kept: &mut HashMap<K, u64>, now: u64) {
    if kept.len() < MAX_ENTRIES {
        return;
    }
    kept.retain(|_, at| at.saturating_add(KEEP_S) > now);
    if kept.len() >= MAX_ENTRIES
        && let Some(oldest) = kept.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
    {
        kept.remove(&oldest);
    }
}

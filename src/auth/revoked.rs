//! Which seats were removed, and which consultations ended, since when: tokens issued before open nothing any more.

use super::{AuthError, Grants};
use crate::model::{Identity, RoomKey, RoomName, TenantId};
use serde::{Deserialize, Serialize};
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
    changed: bool,
}

/// The text they are kept as.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    seats: Vec<(String, String, String, u64)>,
    rooms: Vec<(String, String, u64)>,
}

/// A text that no node wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of removals")]
pub struct NotRemovals;

impl Revocations {
    /// Refuses every token of a seat that was issued up to and including `at`.
    pub fn revoke(&mut self, room: RoomKey, identity: Identity, at: u64) {
        make_room(&mut self.seats, at);
        self.changed = true;
        let entry = self.seats.entry((room, identity)).or_insert(at);
        *entry = at.max(*entry);
    }

    /// Refuses every token of a consultation that was issued up to and including `at`: none of them opens it again.
    pub fn close(&mut self, room: RoomKey, at: u64) {
        make_room(&mut self.rooms, at);
        self.changed = true;
        let entry = self.rooms.entry(room).or_insert(at);
        *entry = at.max(*entry);
    }

    /// All of them as text where there are new ones since it was last asked for; those that are over are left out.
    pub fn take_changed(&mut self, now: u64) -> Option<String> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let words = |room: &RoomKey| (room.tenant.as_str().to_owned(), room.name.as_str().to_owned());
        let seats = self.seats.iter().filter(|(_, at)| counts(**at, now)).map(|((room, seat), at)| {
            let (tenant, room) = words(room);
            (tenant, room, seat.as_str().to_owned(), *at)
        });
        let rooms = self.rooms.iter().filter(|(_, at)| counts(**at, now)).map(|(room, at)| {
            let (tenant, room) = words(room);
            (tenant, room, *at)
        });
        // Texts and numbers always have a text.
        serde_json::to_string(&Form { seats: seats.collect(), rooms: rooms.collect() }).ok()
    }

    /// They are to be asked for again: what was taken was not kept.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// Takes up what an earlier life of the node wrote.
    ///
    /// # Errors
    /// [`NotRemovals`] for another text, and then nothing was taken up.
    pub fn restore(&mut self, text: &str, now: u64) -> Result<(), NotRemovals> {
        let Form { seats, rooms } = serde_json::from_str(text).map_err(|_| NotRemovals)?;
        let room = |tenant: String, name: String| RoomKey { tenant: TenantId::new(tenant), name: RoomName::new(name) };
        for (tenant, name, seat, at) in seats.into_iter().filter(|entry| counts(entry.3, now)) {
            self.revoke(room(tenant, name), Identity::new(seat), at);
        }
        for (tenant, name, at) in rooms.into_iter().filter(|entry| counts(entry.2, now)) {
            self.close(room(tenant, name), at);
        }
        self.changed = false;
        Ok(())
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

/// Whether what happened then is remembered still.
fn counts(at: u64, now: u64) -> bool {
    at.saturating_add(KEEP_S) > now
}

/// Lets go of what is old where there are too many, else of the oldest.
fn make_room<K: Clone + Eq + std::hash::Hash>(kept: &mut HashMap<K, u64>, now: u64) {
    if kept.len() < MAX_ENTRIES {
        return;
    }
    kept.retain(|_, at| counts(*at, now));
    if kept.len() >= MAX_ENTRIES
        && let Some(oldest) = kept.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
    {
        kept.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomKey {
        RoomKey { tenant: TenantId::new("t"), name: RoomName::new(name) }
    }

    #[test]
    fn a_restart_forgets_no_removal_and_no_end() {
        let mut before = Revocations::default();
        assert_eq!(before.take_changed(0), None, "nobody was removed");
        before.revoke(room("a"), Identity::new("p"), 1_000);
        before.close(room("b"), 2_000);
        before.revoke(room("old"), Identity::new("p"), 10);
        let text = before.take_changed(10 + KEEP_S).expect("there are new ones");
        assert_eq!(before.take_changed(0), None, "taken once");
        let mut after = Revocations::default();
        after.restore(&text, 10 + KEEP_S).expect("its own text");
        assert_eq!(after.seats, HashMap::from([((room("a"), Identity::new("p")), 1_000)]));
        assert_eq!(after.rooms, HashMap::from([(room("b"), 2_000)]));
        assert_eq!(after.take_changed(0), None, "it is kept already");
        assert_eq!(after.restore("{}", 0), Err(NotRemovals));
    }
}

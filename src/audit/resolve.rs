//! Whose reference is it: references made anew from ids somebody names, and looked for in a log.
//!
//! A reference cannot be turned back. Who has the tenant's keys of the months that are kept can only make the references of ids
//! that the platform names, and compare. Nothing is learnt of anybody who is not named.
//!
//! Entry point: [`Resolver`].

use super::pseudonym::{Period, TenantPseudonyms};
use std::collections::HashMap;

/// Ids that may be named at once: a table of people is for the platform to keep, not for this.
pub const MOST_IDS: usize = 1_000;

/// References made at once at most, for every month and room: some 40 MB, a second.
const MOST_REFERENCES: usize = 200_000;

/// Length of the references that are looked for: a letter, a dash and 128 bits.
const LENGTH: usize = 28;

/// What is named.
#[derive(Clone, Default)]
pub struct Asked {
    /// Consultations, by the platform's id.
    pub consultations: Vec<String>,
    /// Openings of rooms, by the `sid` that clients and events told.
    pub rooms: Vec<String>,
    /// Seats, by the platform's opaque reference; looked for in the rooms.
    pub participants: Vec<String>,
}

/// More was named than is looked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many ids at once: name at most {MOST_IDS}, and fewer rooms or months at a time")]
pub struct TooMany;

/// What kind of thing an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A consultation.
    Consultation,
    /// An opening of a room.
    Room,
    /// A person or device in a room.
    Participant,
}

impl Kind {
    /// The word in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consultation => "consultation",
            Self::Room => "room",
            Self::Participant => "participant",
        }
    }
}

/// One reference that is in the log, and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    /// As it stands in the log.
    pub reference: String,
    /// What it names.
    pub kind: Kind,
    /// The id it was made of.
    pub id: String,
    /// The room, for participants.
    pub room: Option<String>,
    /// The month whose key made it.
    pub month: Period,
    /// Entries that mention it.
    pub entries: u64,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

/// Looks for the references of named ids.
pub struct Resolver {
    asked: Asked,
    /// In the order in which they were named.
    rows: Vec<Resolved>,
    by_reference: HashMap<String, usize>,
}

impl Resolver {
    /// Makes the references of every month whose key is there.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn new(keys: &[(Period, TenantPseudonyms)], asked: Asked) -> Result<Self, TooMany> {
        let Asked { consultations, rooms, participants } = &asked;
        let named = consultations.len() + rooms.len() + participants.len();
        let each = consultations.len() + rooms.len() * (1 + participants.len());
        if named > MOST_IDS || keys.len().saturating_mul(each) > MOST_REFERENCES {
            return Err(TooMany);
        }
        let mut rows = Vec::new();
        for (month, key) in keys {
            let mut row = |reference, kind, id: &String, room: Option<&String>| {
                let (id, room) = (id.clone(), room.cloned());
                rows.push(Resolved { reference, kind, id, room, month: *month, entries: 0, first: 0, last: 0 });
            };
            for id in consultations {
                row(key.consultation(id).to_text(), Kind::Consultation, id, None);
            }
            for room in rooms {
                let refs = key.room(room);
                row(refs.room().to_text(), Kind::Room, room, None);
                for id in participants {
                    row(refs.participant(id).to_text(), Kind::Participant, id, Some(room));
                }
            }
        }
        let by_reference = rows.iter().enumerate().map(|(at, row)| (row.reference.clone(), at)).collect();
        Ok(Self { asked, rows, by_reference })
    }

    /// Looks at an entry's bytes.
    pub fn look(&mut self, seq: u64, entry: &[u8]) {
        let mut seen = Vec::new();
        for piece in entry.split(|byte| *byte == b'"').filter(|piece| piece.len() == LENGTH) {
            let known = std::str::from_utf8(piece).ok().and_then(|text| self.by_reference.get(text));
            if let Some(at) = known.filter(|at| !seen.contains(*at)) {
                seen.push(*at);
            }
        }
        for at in seen {
            let Some(row) = self.rows.get_mut(at) else { continue };
            if row.entries == 0 {
                row.first = seq;
            }
            row.entries += 1;
            row.last = seq;
        }
    }

    /// What was found, and the ids of which there is no entry.
    #[must_use]
    pub fn found(self) -> (Vec<Resolved>, Vec<String>) {
        let found: Vec<_> = self.rows.into_iter().filter(|row| row.entries > 0).collect();
        let Asked { consultations, rooms, participants } = self.asked;
        let kinds = [(Kind::Consultation, consultations), (Kind::Room, rooms), (Kind::Participant, participants)];
        let named = kinds.into_iter().flat_map(|(kind, ids)| ids.into_iter().map(move |id| (kind, id)));
        let missing = named.filter(|(kind, id)| !found.iter().any(|row| row.kind == *kind && row.id == *id));
        let missing = missing.map(|(_, id)| id).collect();
        (found, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::pseudonym::{KEY_LENGTH, SecretKey};

    fn month(number: u8) -> (Period, TenantPseudonyms) {
        (Period { year: 2026, month: number }, TenantPseudonyms::new(SecretKey::new([number; KEY_LENGTH])))
    }

    fn asked(rooms: &[&str], participants: &[&str]) -> Asked {
        let own = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect();
        Asked { consultations: vec!["c-1".to_owned()], rooms: own(rooms), participants: own(participants) }
    }

    #[test]
    fn a_named_person_is_found_in_the_room_and_month_and_nobody_else_is() {
        let keys = [month(1), month(2)];
        let refs = keys[1].1.room("RM_1");
        let (patient, other) = (refs.participant("p").to_text(), refs.participant("q").to_text());
        let consult = keys[1].1.consultation("c-1").to_text();
        let entry = format!(r#"{{"actor":{{"ref":"{patient}"}},"consult":"{consult}","obj":{{"ref":"{patient}"}}}}"#);
        let mut resolver = Resolver::new(&keys, asked(&["RM_1", "RM_2"], &["p", "x"])).expect("few");
        resolver.look(7, entry.as_bytes());
        resolver.look(8, entry.replace(&patient, &other).as_bytes());
        let (found, missing) = resolver.found();
        let told: Vec<_> = found.iter().map(|row| (row.kind, row.id.as_str(), row.month.month, row.entries, row.last)).collect();
        assert_eq!(told, [(Kind::Consultation, "c-1", 2, 2, 8), (Kind::Participant, "p", 2, 1, 7)]);
        assert_eq!(found[1].reference, patient);
        assert_eq!(found[1].room.as_deref(), Some("RM_1"));
        assert_eq!(missing, ["RM_1", "RM_2", "x"]);
    }

    #[test]
    fn only_so_many_are_looked_for_at_once() {
        let ids: Vec<String> = (0..=MOST_IDS).map(|id| id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(Resolver::new(&[month(1)], asked(&[], &ids)).map(|_| ()), Err(TooMany));
        let rooms: Vec<&str> = ids.iter().copied().take(400).collect();
        assert_eq!(Resolver::new(&[month(1), month(2)], asked(&rooms, &ids[..500])).map(|_| ()), Err(TooMany));
        assert!(Resolver::new(&[month(1)], asked(&rooms[..1], &ids[..998])).is_ok());
    }
}

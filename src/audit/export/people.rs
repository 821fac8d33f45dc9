//! Who is what in a consultation: references and their roles, and what people are called where a reference would say too much.

use super::Stored;
use std::collections::BTreeMap;

/// Most people remembered: a room holds far fewer, and a log of a day is read room by room.
const MOST: usize = 65_536;

/// Roles by reference, in the order in which they appeared.
#[derive(Default)]
pub struct People {
    roles: BTreeMap<String, (String, u32)>,
    count: BTreeMap<String, u32>,
}

impl People {
    /// Notes whom an entry names.
    pub fn note(&mut self, entry: &Stored) {
        let actor = entry.actor();
        if actor.kind != "participant" {
            return;
        }
        if let Some(role) = entry.data_text("role").or(actor.role) {
            self.remember(actor.reference, role);
        }
        if entry.event() == "participant.role_changed"
            && let (Some(object), Some(role)) = (entry.object(), entry.data_text("new"))
        {
            self.remember(object.reference, role);
        }
    }

    fn remember(&mut self, reference: &str, role: &str) {
        let same = self.roles.get(reference).is_some_and(|(known, _)| known == role);
        if !same && self.roles.len() < MOST {
            let ordinal = self.count.entry(role.to_owned()).or_default();
            *ordinal = ordinal.saturating_add(1);
            self.roles.insert(reference.to_owned(), (role.to_owned(), *ordinal));
        }
    }

    /// The role of somebody.
    #[must_use]
    pub fn role(&self, reference: &str) -> Option<&str> {
        self.roles.get(reference).map(|(role, _)| role.as_str())
    }

    /// What somebody is called: the role, with a number where there are several.
    #[must_use]
    pub fn name(&self, reference: &str) -> String {
        match self.roles.get(reference) {
            Some((role, ordinal)) if self.count.get(role).is_some_and(|count| *count > 1) => format!("{role} {ordinal}"),
            Some((role, _)) => role.clone(),
            None => "a participant".to_owned(),
        }
    }
}

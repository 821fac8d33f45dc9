//! The consultation of development: one of each of three seats, arranged like any other.

use super::Register;
use super::register::Invited;
use super::words::NewConsultation;
use crate::model::roster::Role;
use crate::model::{Identity, RoomKey};

/// Who is invited.
const SEATS: [Role; 3] = [Role::Doctor, Role::Patient, Role::Companion];

impl Register {
    /// Arranges it for a day and answers the code of each seat's link; `key` signs the tokens, `now_s` is in seconds since the
    /// Unix epoch.
    pub fn arrange_demo(&self, room: &RoomKey, key: &str, now_s: u64) -> Vec<(Role, String)> {
        let asked = NewConsultation { id: Some(room.name.as_str().to_owned()), ..NewConsultation::default() };
        if self.arrange(room, asked, self.rules(&room.tenant).usual(), now_s).is_err() {
            return Vec::new();
        }
        let Some(entry) = self.find(room) else { return Vec::new() };
        let invite = |role: Role| {
            let invited = Invited {
                role,
                name: None,
                auth: None,
                legal_representative: false,
                opens_at: entry.opens_at(),
                closes_at: entry.closes_at(),
                admitted: false,
                link: None,
                issued_from: 0,
                key: key.into(),
            };
            let seat = Identity::new(format!("demo-{}", role.as_str()));
            let (_, code) = self.invite(room, &seat, invited, true, now_s).ok()?;
            Some((role, code?))
        };
        SEATS.into_iter().filter_map(invite).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomName, TenantId};

    #[test]
    fn every_seat_of_the_demo_has_a_link_that_works_at_once() {
        let register = Register::default();
        let room = RoomKey { tenant: TenantId::new("clinic"), name: RoomName::new("demo") };
        let links = register.arrange_demo(&room, "clinic", 1_000);
        assert_eq!(links.iter().map(|(role, _)| *role).collect::<Vec<_>>(), SEATS);
        for (role, code) in links {
            let (found, _, invited) = register.redeem(&code, 1_000).expect("it works");
            assert_eq!((found, invited.role), (room.clone(), role));
        }
    }
}

//! What a room decided, as events of its tenant.

use super::Register;
use super::words::RoleWord;
use crate::model::roster::LeaveReason;
use crate::model::{Identity, RoomKey, RoomSid};
use crate::relay::command::{By, Closing, Fact, Scope};
use serde_json::{Value, json};

/// The name of an event, whose seat it concerns, and more about it.
type Told<'a> = (&'static str, Option<&'a Identity>, Value);

impl Register {
    /// Adds a room's fact to the events of its tenant; facts about single tracks are left to the audit log. A consultation that
    /// was ended, or whose time was over, does not open again.
    pub fn on_fact(&self, room: &RoomKey, sid: &RoomSid, at_ms: u64, fact: &Fact) {
        if let Fact::RoomClosed { why: Closing::Ended | Closing::TimeLimit | Closing::Unrecorded, .. } = fact {
            self.end(room);
        }
        if let Fact::RoomCreated { .. } = fact {
            // With it the audit record's references can be found again: `colloque audit resolve`.
            self.tell(room, at_ms, "consultation.opened", None, Some(json!({ "sid": sid.as_str() })));
        } else if let Some((kind, seat, facts)) = told(fact) {
            let facts = (!facts.is_null()).then_some(facts);
            self.tell(room, at_ms, kind, seat, facts);
        }
    }
}

fn told(fact: &Fact) -> Option<Told<'_>> {
    coming_and_going(fact).or_else(|| deciding(fact)).or_else(|| about_the_room(fact))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other facts are told by the functions beside it, or not at all")]
fn coming_and_going(fact: &Fact) -> Option<Told<'_>> {
    Some(match fact {
        Fact::Waiting { seat, role } => ("seat.waiting", Some(seat), json!({ "role": word(*role) })),
        Fact::Admitted { seat, role, by } => ("seat.admitted", Some(seat), json!({ "role": word(*role), "by": actor(by) })),
        Fact::AdmitRefused { seat, by } => ("seat.refused", Some(seat), json!({ "by": actor(by) })),
        Fact::Joined { seat, role } => ("seat.joined", Some(seat), json!({ "role": word(*role) })),
        Fact::Resumed { seat, gap_s } => ("seat.resumed", Some(seat), json!({ "gap_s": gap_s })),
        Fact::Left { seat, why, stayed_s } => ("seat.left", Some(seat), json!({ "why": reason(*why), "stayed_s": stayed_s })),
        Fact::Removed { seat, by } => ("seat.removed", Some(seat), json!({ "by": actor(by) })),
        Fact::GateOpened { seat } => ("gate.opened", Some(seat), Value::Null),
        Fact::GateClosed { seat, why } => ("gate.closed", Some(seat), json!({ "why": why.as_str() })),
        _ => return None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other facts are told by the functions beside it, or not at all")]
fn deciding(fact: &Fact) -> Option<Told<'_>> {
    Some(match fact {
        Fact::ConsentGiven { seat, scopes, text, channel, by } => (
            "consent.given",
            Some(seat),
            json!({ "scopes": words(scopes), "text": text.as_str(), "channel": channel.as_str(), "by": actor(by) }),
        ),
        Fact::ConsentRefused { seat, scopes, by } => {
            ("consent.refused", Some(seat), json!({ "scopes": words(scopes), "by": actor(by) }))
        }
        Fact::ConsentWithdrawn { seat, scopes, by, .. } => {
            ("consent.withdrawn", Some(seat), json!({ "scopes": words(scopes), "by": actor(by) }))
        }
        Fact::IdentityAttested { seat, method, by } => {
            ("identity.attested", Some(seat), json!({ "method": method.as_str(), "by": actor(by) }))
        }
        Fact::RoleChanged { seat, old, new, by } => {
            ("seat.role_changed", Some(seat), json!({ "old": word(*old), "new": word(*new), "by": actor(by) }))
        }
        Fact::EmergencyOverride { seat, why, by } => {
            ("consent.overridden", Some(seat), json!({ "why": why.as_str(), "by": actor(by) }))
        }
        Fact::PresenceDeclared { seat, kind, count } => {
            ("presence.declared", Some(seat), json!({ "kind": word(*kind), "count": count }))
        }
        Fact::PresenceWithdrawn { seat, kind } => ("presence.withdrawn", Some(seat), json!({ "kind": word(*kind) })),
        Fact::Muted { seat, by, .. } => ("seat.muted", Some(seat), json!({ "by": actor(by) })),
        _ => return None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other facts are told by the functions beside it, or not at all")]
fn about_the_room(fact: &Fact) -> Option<Told<'_>> {
    Some(match fact {
        Fact::RoomLocked { by } => ("consultation.locked", None, json!({ "by": actor(by) })),
        Fact::RoomUnlocked { by } => ("consultation.unlocked", None, json!({ "by": actor(by) })),
        Fact::RoomExtended { ends_at_ms, by } => {
            ("consultation.extended", None, json!({ "ends_at": ends_at_ms / 1_000, "by": actor(by) }))
        }
        Fact::EndsSoon { closes_at_ms } => ("consultation.ends_soon", None, json!({ "closes_at": closes_at_ms / 1_000 })),
        Fact::RoomClosed { why, by, lasted_s, seats, peak } => (
            "consultation.closed",
            None,
            json!({ "why": closing(*why), "by": actor(by), "lasted_s": lasted_s, "seats": seats, "peak": peak }),
        ),
        Fact::AsideOpened { members, left_out, by } => {
            ("aside.started", None, json!({ "members": seats(members), "left_out": seats(left_out), "by": actor(by) }))
        }
        Fact::AsideChanged { members, left_out, by } => {
            ("aside.changed", None, json!({ "members": seats(members), "left_out": seats(left_out), "by": actor(by) }))
        }
        Fact::AsideClosed { lasted_s, by } => ("aside.ended", None, json!({ "lasted_s": lasted_s, "by": actor(by) })),
        _ => return None,
    })
}

fn word(role: crate::model::roster::Role) -> RoleWord {
    role.into()
}

fn words(scopes: &std::collections::BTreeSet<Scope>) -> Vec<String> {
    scopes.iter().map(Scope::to_string).collect()
}

fn seats(list: &[Identity]) -> Vec<&str> {
    list.iter().map(Identity::as_str).collect()
}

/// `platform`, `policy`, or the reference of a seat behind `seat:`.
fn actor(by: &By) -> String {
    match by {
        By::Platform => "platform".to_owned(),
        By::Policy => "policy".to_owned(),
        By::Seat(seat) => format!("seat:{}", seat.as_str()),
    }
}

/// Why a room closed, as a word.
fn closing(why: Closing) -> &'static str {
    match why {
        Closing::Ended => "ended",
        Closing::TimeLimit => "time_limit",
        Closing::Empty => "empty",
        Closing::NodeStopped => "node_stopped",
        Closing::Unrecorded => "unrecorded",
    }
}

/// Why a stay ended, as a word.
fn reason(why: LeaveReason) -> &'static str {
    match why {
        LeaveReason::ClientInitiated => "left",
        LeaveReason::DuplicateIdentity => "replaced",
        LeaveReason::ServerShutdown => "node_stopped",
        LeaveReason::ParticipantRemoved => "removed",
        LeaveReason::RoomDeleted => "ended",
        LeaveReason::StateMismatch => "state_mismatch",
        LeaveReason::JoinFailure => "join_failed",
        LeaveReason::SignalClose => "signal_lost",
        LeaveReason::ConnectionTimeout => "connection_lost",
        LeaveReason::MediaFailure => "media_failed",
        LeaveReason::NotAdmitted => "not_admitted",
        LeaveReason::TimeLimit => "time_limit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::roster::Role;
    use crate::model::{RoomName, TenantId, TrackSid};
    use std::time::Duration;

    #[tokio::test]
    async fn a_decision_becomes_an_event_and_a_track_does_not() {
        let register = Register::default();
        let room = RoomKey { tenant: TenantId::new("t"), name: RoomName::new("c") };
        let seat = Identity::new("p");
        let by = By::Seat(Identity::new("d"));
        let sid = RoomSid::new("RM_1");
        register.on_fact(&room, &sid, 7, &Fact::Admitted { seat: seat.clone(), role: Role::Patient, by });
        register.on_fact(&room, &sid, 8, &Fact::Unpublished { seat, track: TrackSid::new("TR") });
        let told = register.events(&room.tenant, 0, Duration::ZERO).await;
        let only = told.events.first().expect("one event");
        assert_eq!((told.events.len(), only.kind, only.at_ms, only.seat.as_deref()), (1, "seat.admitted", 7, Some("p")));
        assert_eq!(only.facts, Some(json!({ "role": "patient", "by": "seat:d" })));
    }
}

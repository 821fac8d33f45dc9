//! Turns what a consultation decides into entries of the audit record.
//!
//! Rooms speak of seats, the record of references: here, and nowhere else, one becomes the other. A chronicle keeps of each
//! room only what an entry needs and the fact does not say: roles, the kind of a track, since when somebody received it. It
//! decides nothing and writes nothing.
//!
//! Entry point: [`Chronicle::entries`].

mod following;

use crate::audit::event::Event;
use crate::audit::pseudonym::{RoomPseudonyms, TenantPseudonyms};
use crate::audit::record::{Actor, Fact as Entry, Target};
use crate::audit::types::{
    Auth, By, ChannelRef, ConsentScope, ConsultRef, Hash, Micros, ParticipantRef, RoomRef, TokenRef, Word,
};
use crate::audit::words;
use crate::consultation::{
    Assurance, By as Who, Channel, Closing, ConsultationPolicy, Emergency, Fact, Gate, IdentityCheck, Incident, Method, Scope,
};
use crate::model::roster::{LeaveReason, Role, Source};
use crate::model::{Identity, TrackSid};
use aws_lc_rs::digest;
use std::collections::{BTreeMap, HashMap};

/// One room's part of the record.
#[derive(Debug)]
pub(crate) struct Chronicle {
    tenant: Word,
    platform: Word,
    /// The tenant's key of the month the room opened in.
    keys: TenantPseudonyms,
    refs: RoomPseudonyms,
    consult: Option<ConsultRef>,
    /// Seats that came; a consultation has at most `MOST_SEATS`, an open room what its settings allow.
    seats: HashMap<Identity, SeatNote>,
    /// Tracks that are there; the shard bounds them per seat.
    tracks: HashMap<TrackSid, TrackNote>,
    /// Who receives what since when: at most seats times tracks.
    receiving: HashMap<(Identity, TrackSid), Micros>,
    /// Members of the aside that runs, and who is left out; the fact of its end names nobody.
    aside: (Vec<ParticipantRef>, Vec<ParticipantRef>),
    /// What the tracks' declarations come to; off until the first says otherwise.
    e2ee: words::E2eeState,
    /// Channels named so far.
    channels: u64,
}

#[derive(Debug, Default)]
struct SeatNote {
    role: Option<words::Role>,
    /// The last token it came with.
    token: Option<TokenRef>,
    auth: Option<Auth>,
    beside: HashMap<Role, u8>,
    /// Incidents that are not over, with when they began.
    incidents: BTreeMap<Incident, Micros>,
    /// Its camera was stopped by somebody else.
    stopped: bool,
    /// Its data channels, while its gate is open, and what it said on them.
    channel: Option<ChannelRef>,
    said: (u64, u64),
}

#[derive(Debug)]
struct TrackNote {
    kind: words::TrackKind,
    since: Micros,
    sealed: bool,
}

impl Chronicle {
    /// Begins the record of one opening of a room; `opening` must name this opening and no other, `consult` is the platform's
    /// own reference of the consultation, where it gave one.
    pub(crate) fn new(tenant: Word, platform: Word, keys: &TenantPseudonyms, opening: &str, consult: Option<&str>) -> Self {
        Self {
            tenant,
            platform,
            keys: keys.clone(),
            refs: keys.room(opening),
            consult: consult.map(|id| keys.consultation(id)),
            seats: HashMap::new(),
            tracks: HashMap::new(),
            receiving: HashMap::new(),
            aside: (Vec::new(), Vec::new()),
            e2ee: words::E2eeState::Off,
            channels: 0,
        }
    }

    /// The references of the room and of its consultation.
    pub(crate) fn place(&self) -> (RoomRef, Option<ConsultRef>) {
        (self.refs.room(), self.consult)
    }

    /// Somebody's reference in this room.
    pub(crate) fn reference(&self, seat: &Identity) -> ParticipantRef {
        self.refs.participant(seat.as_str())
    }

    /// The entries a fact makes, in order.
    pub(crate) fn entries(&mut self, fact: &Fact, at: Micros) -> Vec<Entry> {
        match fact {
            Fact::RoomCreated { .. }
            | Fact::RoomLocked { .. }
            | Fact::RoomUnlocked { .. }
            | Fact::RoomExtended { .. }
            | Fact::RoomClosed { .. } => self.of_room(fact),
            // The catalogue has no such event: the end itself is on record, and so is every move of it.
            Fact::EndsSoon { .. } => Vec::new(),
            Fact::ConsentGiven { .. }
            | Fact::ConsentRefused { .. }
            | Fact::ConsentWithdrawn { .. }
            | Fact::EmergencyOverride { .. } => self.of_consent(fact),
            Fact::AsideOpened { .. } | Fact::AsideChanged { .. } | Fact::AsideClosed { .. } => self.of_aside(fact),
            Fact::GateOpened { .. }
            | Fact::GateClosed { .. }
            | Fact::Published { .. }
            | Fact::Unpublished { .. }
            | Fact::Subscribed { .. }
            | Fact::Unsubscribed { .. }
            | Fact::Muted { .. } => self.with_data_and_e2ee(fact, at),
            Fact::IncidentStarted { .. } | Fact::IncidentEnded { .. } | Fact::ModeChanged { .. } => self.of_line(fact, at),
            Fact::DataSaid { seat, messages, bytes } => {
                self.seats.entry(seat.clone()).or_default().said = (*messages, *bytes);
                Vec::new()
            }
            Fact::TokenAccepted { .. }
            | Fact::Waiting { .. }
            | Fact::Admitted { .. }
            | Fact::AdmitRefused { .. }
            | Fact::Joined { .. } => self.of_seat(fact),
            Fact::Left { seat, .. } => {
                let mut entries = self.over(seat, at);
                entries.extend(self.of_stay(fact));
                entries
            }
            Fact::Resumed { .. }
            | Fact::Removed { .. }
            | Fact::PresenceDeclared { .. }
            | Fact::PresenceWithdrawn { .. }
            | Fact::RoleChanged { .. }
            | Fact::IdentityAttested { .. }
            | Fact::PermissionChanged { .. } => self.of_stay(fact),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    fn of_room(&self, fact: &Fact) -> Vec<Entry> {
        let room = Target::Room(self.refs.room());
        let micros = |ms: &u64| Micros(ms.saturating_mul(1_000));
        let (actor, event) = match fact {
            Fact::RoomCreated { policy } => (
                Actor::Platform(self.platform.clone()),
                Event::RoomCreated {
                    // The relay asks nobody for end-to-end encryption; what is declared is an event of its own.
                    e2ee_required: false,
                    max_participants: policy.max_seats,
                    policy_hash: hash_of(policy),
                    starts_at: policy.starts_at_ms.as_ref().map(micros),
                    ends_at: policy.ends_at_ms.as_ref().map(micros),
                },
            ),
            Fact::RoomLocked { by } => (self.actor(by), Event::RoomLocked {}),
            Fact::RoomUnlocked { by } => (self.actor(by), Event::RoomUnlocked {}),
            Fact::RoomExtended { ends_at_ms, by } => {
                (self.actor(by), Event::RoomExtended { by: self.by(by), ends_at: micros(ends_at_ms) })
            }
            Fact::RoomClosed { why, by, lasted_s, seats, peak } => {
                let why = self.end(*why, by);
                (self.actor(by), Event::RoomClosed { why, dur_s: *lasted_s, participants: *seats, peak: *peak })
            }
            _ => return Vec::new(),
        };
        let mut entries = Vec::new();
        if let Fact::RoomClosed { why: Closing::Ended | Closing::TimeLimit | Closing::Unrecorded, by, .. } = fact {
            // One entry for every token of the consultation, before its last.
            let revoked = Event::TokenRevoked { by: self.by(by), jti_ref: None };
            entries.push(self.entry(self.actor(by), Some(room.clone()), revoked));
        }
        entries.push(self.entry(actor, Some(room), event));
        entries
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    fn of_seat(&mut self, fact: &Fact) -> Vec<Entry> {
        let (actor, about, event) = match fact {
            Fact::TokenAccepted { seat, role, auth, token } => {
                let note = self.seats.entry(seat.clone()).or_default();
                (note.role, note.auth) = (Some(role_of(*role)), auth.map(auth_of));
                note.token = token.id.as_ref().map(|id| self.keys.token(id.as_bytes()));
                let event = Event::TokenAccepted {
                    auth: note.auth.clone(),
                    jti_ref: note.token,
                    // A key whose name has letters the record does not take is still the platform's.
                    kid: Word::new(&token.key).unwrap_or_else(|_| self.platform.clone()),
                    role: note.role,
                    ttl_s: token.lifetime_s,
                };
                (self.seat(seat), seat, event)
            }
            Fact::Waiting { seat, role } => {
                self.seats.entry(seat.clone()).or_default().role = Some(role_of(*role));
                (self.seat(seat), seat, Event::ParticipantWaiting { role: Some(role_of(*role)) })
            }
            Fact::Admitted { seat, role, by } => {
                self.seats.entry(seat.clone()).or_default().role = Some(role_of(*role));
                (self.actor(by), seat, Event::ParticipantAdmitted { by: self.by(by) })
            }
            Fact::AdmitRefused { seat, by } => {
                let why = if matches!(by, Who::Policy) { words::AdmitRefusal::Policy } else { words::AdmitRefusal::Declined };
                let event = Event::ParticipantAdmitRefused { why, by: self.by(by) };
                return self.with_revocation(seat, by, event);
            }
            Fact::Joined { seat, role } => {
                let note = self.seats.entry(seat.clone()).or_default();
                note.role = Some(role_of(*role));
                let (auth, role) = (note.auth.clone(), note.role);
                // The transport comes up later than the seat, so its kind is not known yet.
                let event = Event::ParticipantJoined {
                    auth,
                    role,
                    dtls_suite: None,
                    roster_rev: self.seats.len() as u64,
                    srtp_profile: None,
                    transport: None,
                };
                (self.seat(seat), seat, event)
            }
            _ => return Vec::new(),
        };
        let about = Target::Participant(self.refs.participant(about.as_str()));
        vec![self.entry(actor, Some(about), event)]
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    fn of_stay(&mut self, fact: &Fact) -> Vec<Entry> {
        let (actor, about, event) = match fact {
            Fact::Resumed { seat, gap_s } => (self.seat(seat), seat, Event::ParticipantResumed { gap_s: *gap_s }),
            Fact::Left { seat, why, stayed_s } => {
                (self.seat(seat), seat, Event::ParticipantLeft { why: left(*why), dur_s: *stayed_s })
            }
            Fact::Removed { seat, by } => {
                let why = match by {
                    Who::Policy => words::RemoveReason::Policy,
                    Who::Seat(who) if self.role(who) == Some(words::Role::Patient) => words::RemoveReason::PatientAsked,
                    Who::Seat(_) | Who::Platform => words::RemoveReason::Excluded,
                };
                return self.with_revocation(seat, by, Event::ParticipantRemoved { why, by: self.by(by) });
            }
            Fact::PresenceDeclared { seat, kind, count } => {
                self.seats.entry(seat.clone()).or_default().beside.insert(*kind, *count);
                (self.seat(seat), seat, Event::PresenceDeclared { count: *count, kind: role_of(*kind) })
            }
            Fact::PresenceWithdrawn { seat, kind } => {
                let count = self.seats.entry(seat.clone()).or_default().beside.remove(kind).unwrap_or(0);
                (self.seat(seat), seat, Event::PresenceWithdrawn { count, kind: role_of(*kind) })
            }
            Fact::RoleChanged { seat, old, new, by } => {
                self.seats.entry(seat.clone()).or_default().role = Some(role_of(*new));
                let event = Event::ParticipantRoleChanged { by: self.by(by), new: role_of(*new), old: role_of(*old) };
                (self.actor(by), seat, event)
            }
            Fact::IdentityAttested { seat, method, by } => {
                let method = match method {
                    IdentityCheck::SeenDocument => words::IdentityMethod::SeenDocument,
                    IdentityCheck::KnownPatient => words::IdentityMethod::KnownPatient,
                    IdentityCheck::QualifiedByPlatform => words::IdentityMethod::InsQualifiedByPlatform,
                    IdentityCheck::Other => words::IdentityMethod::Other,
                };
                (self.actor(by), seat, Event::IdentityAttested { method })
            }
            Fact::PermissionChanged { seat, widened, by } => {
                let perm = words::Permission::Subscribe;
                (self.actor(by), seat, Event::PermissionChanged { by: self.by(by), new: *widened, old: !*widened, perm })
            }
            _ => return Vec::new(),
        };
        let about = Target::Participant(self.refs.participant(about.as_str()));
        vec![self.entry(actor, Some(about), event)]
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    fn of_consent(&self, fact: &Fact) -> Vec<Entry> {
        let (by, seat, event) = match fact {
            Fact::ConsentGiven { seat, scopes, text, channel, by } => {
                // Text versions have the alphabet of words and are shorter than the longest.
                let Ok(text_version) = Word::new(text.as_str()) else { return Vec::new() };
                let channel = match (channel, by) {
                    (Channel::Representative, _) => words::ConsentChannel::Representative,
                    (Channel::InCall, _) => words::ConsentChannel::InCall,
                    (Channel::Token, Who::Platform) => words::ConsentChannel::Platform,
                    (Channel::Token, _) => words::ConsentChannel::Token,
                };
                let scope = scopes.iter().map(scope_of).collect();
                (by, seat, Event::ConsentGiven { by: self.by(by), channel, scope, text_version })
            }
            Fact::ConsentRefused { seat, scopes, by } => {
                (by, seat, Event::ConsentRefused { scope: scopes.iter().map(scope_of).collect() })
            }
            Fact::ConsentWithdrawn { seat, scopes, by, waited } => {
                // To the next full one: the worker reads its clock before it takes what waits, which may have come in since.
                let gate_closed_ms = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX).saturating_add(1);
                (by, seat, Event::ConsentWithdrawn { gate_closed_ms, scope: scopes.iter().map(scope_of).collect() })
            }
            Fact::EmergencyOverride { seat, why, by } => {
                let why = match why {
                    Emergency::LifeThreat => words::OverrideReason::LifeThreat,
                    Emergency::UnableToConsent => words::OverrideReason::UnableToConsent,
                    Emergency::LegalOrder => words::OverrideReason::LegalOrder,
                };
                (by, seat, Event::ConsentEmergencyOverride { why, by: self.by(by) })
            }
            _ => return Vec::new(),
        };
        let about = Target::Participant(self.refs.participant(seat.as_str()));
        vec![self.entry(self.actor(by), Some(about), event)]
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    fn of_aside(&mut self, fact: &Fact) -> Vec<Entry> {
        let named = |seats: &[Identity]| seats.iter().map(|seat| self.refs.participant(seat.as_str())).collect::<Vec<_>>();
        let (by, event) = match fact {
            Fact::AsideOpened { members, left_out, by } => {
                let (members, left_out) = (named(members), named(left_out));
                self.aside = (members.clone(), left_out.clone());
                (by, Event::RoomAsideOpened { by: self.by(by), left_out, members })
            }
            Fact::AsideChanged { members, left_out, by } => {
                let (members, left_out) = (named(members), named(left_out));
                self.aside = (members.clone(), left_out.clone());
                (by, Event::RoomAsideChanged { by: self.by(by), left_out, members })
            }
            Fact::AsideClosed { lasted_s, by } => {
                let (members, left_out) = std::mem::take(&mut self.aside);
                (by, Event::RoomAsideClosed { by: self.by(by), dur_s: *lasted_s, left_out, members })
            }
            _ => return Vec::new(),
        };
        vec![self.entry(self.actor(by), Some(Target::Room(self.refs.room())), event)]
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`entries` sorts the facts")]
    fn of_media(&mut self, fact: &Fact, at: Micros) -> Vec<Entry> {
        let track_ref = |track: &TrackSid| self.refs.track(track.as_str());
        let seconds = |since: Micros| at.secs().saturating_sub(since.secs());
        let (actor, about, event) = match fact {
            Fact::GateOpened { seat } => {
                let why = words::GateReason::Admission;
                (self.seat(seat), self.person(seat), Event::MediaGateOpened { why })
            }
            Fact::GateClosed { seat, why } => {
                let why = match why {
                    Gate::Absent => words::GateReason::Left,
                    Gate::Consent | Gate::ThirdPerson => words::GateReason::ConsentWithdrawn,
                    Gate::Admission | Gate::Open => words::GateReason::Policy,
                };
                (self.seat(seat), self.person(seat), Event::MediaGateClosed { why })
            }
            Fact::Published { seat, track, source, sealed } => {
                let (kind, named) = (kind_of(*source), track_ref(track));
                self.tracks.insert(track.clone(), TrackNote { kind, since: at, sealed: *sealed });
                (self.seat(seat), Target::Track(named), Event::MediaPublished { kind, track: named })
            }
            Fact::Unpublished { seat, track } => {
                let Some(note) = self.tracks.remove(track) else { return Vec::new() };
                let named = track_ref(track);
                let event = Event::MediaUnpublished { dur_s: seconds(note.since), kind: note.kind, track: named };
                (self.seat(seat), Target::Track(named), event)
            }
            Fact::Subscribed { seat, track, from } => {
                let Some(kind) = self.tracks.get(track).map(|note| note.kind) else { return Vec::new() };
                let named = track_ref(track);
                self.receiving.insert((seat.clone(), track.clone()), at);
                let from = self.refs.participant(from.as_str());
                (self.seat(seat), Target::Track(named), Event::MediaSubscribed { from, kinds: vec![kind], tracks: vec![named] })
            }
            Fact::Unsubscribed { seat, track, from } => {
                let Some(since) = self.receiving.remove(&(seat.clone(), track.clone())) else { return Vec::new() };
                let Some(kind) = self.tracks.get(track).map(|note| note.kind) else { return Vec::new() };
                let (from, named) = (self.refs.participant(from.as_str()), track_ref(track));
                let event = Event::MediaUnsubscribed { dur_s: seconds(since), from, kind, track: named };
                (self.seat(seat), Target::Track(named), event)
            }
            Fact::Muted { seat, track, by } => {
                let event = match self.tracks.get(track).map(|note| note.kind) {
                    Some(words::TrackKind::Audio) | None => Event::ModerationMuted { by: self.by(by) },
                    Some(_) => Event::ModerationCameraStopped { by: self.by(by) },
                };
                (self.actor(by), self.person(seat), event)
            }
            _ => return Vec::new(),
        };
        vec![self.entry(actor, Some(about), event)]
    }

    /// Who is taken out or sent away has no token any more.
    fn with_revocation(&self, seat: &Identity, by: &Who, event: Event) -> Vec<Entry> {
        let jti_ref = self.seats.get(seat).and_then(|note| note.token);
        let revoked = Event::TokenRevoked { by: self.by(by), jti_ref };
        [event, revoked].map(|event| self.entry(self.actor(by), Some(self.person(seat)), event)).into()
    }

    fn entry(&self, actor: Actor, about: Option<Target>, event: Event) -> Entry {
        let entry = Entry::of_tenant(self.tenant.clone(), actor, event).in_room(self.refs.room(), self.consult);
        match about {
            Some(about) => entry.about(about),
            None => entry,
        }
    }

    fn role(&self, seat: &Identity) -> Option<words::Role> {
        self.seats.get(seat).and_then(|note| note.role)
    }

    fn person(&self, seat: &Identity) -> Target {
        Target::Participant(self.refs.participant(seat.as_str()))
    }

    fn seat(&self, seat: &Identity) -> Actor {
        let note = self.seats.get(seat);
        Actor::Participant {
            who: self.refs.participant(seat.as_str()),
            role: note.and_then(|note| note.role),
            auth: note.and_then(|note| note.auth.clone()),
        }
    }

    fn actor(&self, by: &Who) -> Actor {
        match by {
            Who::Platform => Actor::Platform(self.platform.clone()),
            Who::Seat(seat) => self.seat(seat),
            Who::Policy => Actor::System,
        }
    }

    fn by(&self, by: &Who) -> By {
        match by {
            Who::Platform => By::Platform,
            Who::Seat(seat) => By::Participant(self.refs.participant(seat.as_str())),
            Who::Policy => By::Policy,
        }
    }

    fn end(&self, why: Closing, by: &Who) -> words::RoomEnd {
        match (why, by) {
            (Closing::TimeLimit, _) => words::RoomEnd::Expired,
            (Closing::Empty, _) => words::RoomEnd::Empty,
            (Closing::NodeStopped, _) => words::RoomEnd::NodeDrain,
            (Closing::Unrecorded, _) => words::RoomEnd::AuditGraceOver,
            (Closing::Ended, Who::Platform) => words::RoomEnd::ByPlatform,
            (Closing::Ended, Who::Seat(seat)) if self.role(seat) == Some(words::Role::Patient) => words::RoomEnd::ByPatient,
            (Closing::Ended, Who::Seat(_)) => words::RoomEnd::ByProfessional,
            (Closing::Ended, Who::Policy) => words::RoomEnd::Policy,
        }
    }
}

/// The hash of a policy: of its fields as this version of the relay writes them, so that equal rules have equal hashes.
fn hash_of(policy: &ConsultationPolicy) -> Hash {
    let mut hash = Hash([0; 32]);
    let digest = digest::digest(&digest::SHA256, format!("{policy:?}").as_bytes());
    hash.0.copy_from_slice(digest.as_ref());
    hash
}

pub(super) fn role_of(role: Role) -> words::Role {
    match role {
        Role::Doctor => words::Role::Doctor,
        Role::Colleague => words::Role::Colleague,
        Role::Companion => words::Role::Companion,
        Role::Patient => words::Role::Patient,
        Role::Relative => words::Role::Relative,
        Role::Interpreter => words::Role::Interpreter,
        Role::Trainee => words::Role::Trainee,
        Role::Support => words::Role::Support,
    }
}

fn auth_of(assurance: Assurance) -> Auth {
    let method = match assurance.method {
        Method::Psc => words::AuthMethod::Psc,
        Method::Ecps => words::AuthMethod::Ecps,
        Method::Cps => words::AuthMethod::Cps,
        Method::PlatformMfa => words::AuthMethod::PlatformMfa,
        Method::PlatformPassword => words::AuthMethod::PlatformPwd,
        Method::LinkOtp => words::AuthMethod::LinkOtp,
        Method::LinkOnly => words::AuthMethod::LinkOnly,
    };
    Auth { acr: assurance.acr, method }
}

fn scope_of(scope: &Scope) -> ConsentScope {
    match scope {
        Scope::Teleconsultation => ConsentScope::Teleconsultation,
        Scope::ThirdPerson(role) => ConsentScope::ThirdPerson(role_of(*role)),
        Scope::FileExchange => ConsentScope::FileExchange,
        Scope::Aside => ConsentScope::Aside,
    }
}

fn kind_of(source: Source) -> words::TrackKind {
    match source {
        Source::Microphone => words::TrackKind::Audio,
        Source::Camera => words::TrackKind::Video,
        Source::ScreenShare | Source::ScreenShareAudio => words::TrackKind::Screen,
        Source::Unknown => words::TrackKind::Device,
    }
}

fn left(why: LeaveReason) -> words::LeaveReason {
    match why {
        LeaveReason::ClientInitiated => words::LeaveReason::User,
        LeaveReason::DuplicateIdentity => words::LeaveReason::Replaced,
        LeaveReason::ServerShutdown => words::LeaveReason::NodeDrain,
        LeaveReason::ParticipantRemoved | LeaveReason::NotAdmitted => words::LeaveReason::Removed,
        LeaveReason::RoomDeleted => words::LeaveReason::RoomEnded,
        LeaveReason::TimeLimit => words::LeaveReason::TimeLimit,
        LeaveReason::SignalClose | LeaveReason::ConnectionTimeout => words::LeaveReason::NetworkLost,
        LeaveReason::StateMismatch | LeaveReason::JoinFailure | LeaveReason::MediaFailure => words::LeaveReason::ProtocolError,
    }
}

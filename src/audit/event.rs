//! The closed catalogue of events.
//!
//! Each event says by its type when it is recorded, what it may carry, how durable it must be before its effect
//! ([`Class`]), in whose log it stands ([`Scope`]) and what becomes of it while the log cannot be written
//! ([`Degraded`]). There is no event with free text and none can be made.

use super::Refused;
use super::field::{Chance, Field, put, take};
use super::json::{Object, Value};
use super::types::{
    AdminRef, Auth, Build, By, ChannelRef, ConsentScope, Hash, Micros, NetRef, ParticipantRef, Sandbox, TokenRef,
};
use super::types::{TrackRef, Word};
use super::words::*;

/// How durable an event is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// On disk before the effect.
    A,
    /// On disk within a second; the effect may come first.
    B,
    /// Merged with its like, on disk within a minute.
    C,
}

/// In whose log an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The operator's log of the node.
    Node,
    /// The tenant's log on this node.
    Tenant,
    /// The node's log, and the tenant's as well where one is named.
    Both,
    /// The tenant's log where one is named, else the node's.
    Either,
}

/// What becomes of an event while the log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Degraded {
    /// It would widen access, so its author is refused.
    Refuse,
    /// It narrows access or keeps a running call going, so it goes to the reserve.
    Keep,
}

/// Declares [`Event`]: `Name("text", class, scope, outcome, degraded) [why: Reason] { fields }`.
macro_rules! catalogue {
    ($(
        $(#[$doc:meta])*
        $variant:ident($name:literal, $class:ident, $scope:ident, $outcome:ident, $degraded:ident)
        $([$why:ident: $reason:ty])? { $($field:ident: $type:ty),* $(,)? }
    )*) => {
        /// What happened; fields are its `data`, and `why` is the reason in the envelope.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "a field's name, unit and type say all of it; its event's sentence says the rest")]
        pub enum Event {
            $($(#[$doc])* #[doc = concat!("`", $name, "`.")] $variant { $($why: $reason,)? $($field: $type,)* },)*
        }

        impl Event {
            /// The names of all events, in the order of the catalogue.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)* }
            }

            /// In whose log it stands.
            #[must_use]
            pub fn scope(&self) -> Scope {
                match self { $(Self::$variant { .. } => Scope::$scope,)* }
            }

            fn usual_class(&self) -> Class {
                match self { $(Self::$variant { .. } => Class::$class,)* }
            }

            fn usual_outcome(&self) -> Outcome {
                match self { $(Self::$variant { .. } => Outcome::$outcome,)* }
            }

            fn usual_degraded(&self) -> Degraded {
                match self { $(Self::$variant { .. } => Degraded::$degraded,)* }
            }

            /// The reason in the envelope, for events that have one.
            #[must_use]
            pub fn why(&self) -> Option<&'static str> {
                match self { $(Self::$variant { $($why,)? .. } => catalogue!(@why $($why)?),)* }
            }

            /// The `data` object.
            #[must_use]
            pub fn data(&self) -> Object {
                #[allow(unused_mut, reason = "an event may have no fields")]
                let mut object = Object::new();
                match self {
                    $(Self::$variant { $($field,)* .. } => { $(put(&mut object, stringify!($field), $field);)* })*
                }
                object
            }

            /// Reads an event back from its parts.
            pub(super) fn read(name: &str, why: Option<Value>, mut data: Object) -> Result<Self, Refused> {
                #[allow(unused_mut, reason = "not every event has a reason")]
                let mut why = why;
                let event = match name {
                    $($name => Self::$variant {
                        $($why: Field::read(why.take())?,)?
                        $($field: take(&mut data, stringify!($field))?,)*
                    },)*
                    _ => return Err(Refused::UnknownEvent),
                };
                if data.is_empty() && why.is_none() { Ok(event) } else { Err(Refused::UnknownField) }
            }

            /// A valid event of this name with any content, for tests and sample logs.
            #[must_use]
            pub fn sample(name: &str, chance: &mut Chance) -> Option<Self> {
                Some(match name {
                    $($name => Self::$variant {
                        $($why: <$reason>::sample(chance),)?
                        $($field: <$type>::sample(chance),)*
                    },)*
                    _ => return None,
                })
            }
        }
    };
    (@why $why:ident) => { Some($why.as_str()) };
    (@why) => { None };
}

catalogue! {
    /// Before any listener opens.
    NodeStarted("node.started", A, Node, Ok, Refuse) { build: Build, config_hash: Hash, prev_stop: PrevStop, sandbox: Sandbox }
    /// A required protection could not be applied; the process ends.
    NodeSandboxFailed("node.sandbox_failed", A, Node, Failed, Keep) { part: SandboxPart }
    /// The operator drains the node.
    NodeDraining("node.draining", A, Node, Ok, Keep) { rooms_open: u32 }
    /// The node stopped in order.
    NodeStopped("node.stopped", A, Node, Ok, Keep) { rooms_open: u32 }
    /// Before a new configuration is active; names of settings, never values.
    NodeConfigChanged("node.config_changed", A, Node, Ok, Refuse) { keys_changed: Vec<Word>, new_hash: Hash, old_hash: Hash }
    /// A key was replaced.
    NodeKeyRotated("node.key_rotated", A, Node, Ok, Refuse) { new_kid: Word, old_kid: Word, purpose: KeyUse }
    /// A link to another node is up.
    NodeLinkOpened("node.link_opened", A, Node, Ok, Refuse) { cert_serial: Word, peer_node: Word, peer_region: Word }
    /// A link to another node ended.
    NodeLinkClosed("node.link_closed", B, Node, Ok, Keep) {
        bytes_mib: u64, cert_serial: Word, dur_s: u64, peer_node: Word, peer_region: Word,
    }
    /// A link from another node was refused.
    NodeLinkRefused("node.link_refused", A, Node, Refused, Keep) [why: LinkRefusal] { peer_region: Option<Word> }

    /// A tenant is known to the node.
    TenantRegistered("tenant.registered", A, Both, Ok, Refuse) { policy_hash: Hash }
    /// A tenant's policy changed; names of settings, never values.
    TenantPolicyChanged("tenant.policy_changed", A, Both, Ok, Refuse) { keys_changed: Vec<Word>, new_hash: Hash, old_hash: Hash }
    /// A tenant may open no more rooms.
    TenantSuspended("tenant.suspended", A, Both, Ok, Keep) {}
    /// A key of a tenant was replaced.
    TenantKeyRotated("tenant.key_rotated", A, Both, Ok, Refuse) { new_kid: Word, old_kid: Word, purpose: KeyUse }

    /// Before the room's id is returned.
    RoomCreated("room.created", A, Tenant, Ok, Refuse) {
        e2ee_required: bool, ends_at: Option<Micros>, max_participants: u32, policy_hash: Hash, starts_at: Option<Micros>,
    }
    /// A room was not created.
    RoomCreateRefused("room.create_refused", B, Tenant, Refused, Keep) [why: CreateRefusal] {}
    /// No new admissions.
    RoomLocked("room.locked", A, Tenant, Ok, Keep) {}
    /// Admissions again.
    RoomUnlocked("room.unlocked", A, Tenant, Ok, Refuse) {}
    /// The end of the room moved.
    RoomExtended("room.extended", A, Tenant, Ok, Refuse) { by: By, ends_at: Micros }
    /// A private group began.
    RoomAsideOpened("room.aside_opened", A, Tenant, Ok, Refuse) { by: By, left_out: Vec<ParticipantRef>, members: Vec<ParticipantRef> }
    /// The members of a private group changed.
    RoomAsideChanged("room.aside_changed", A, Tenant, Ok, Refuse) { by: By, left_out: Vec<ParticipantRef>, members: Vec<ParticipantRef> }
    /// A private group ended.
    RoomAsideClosed("room.aside_closed", B, Tenant, Ok, Keep) {
        by: By, dur_s: u64, left_out: Vec<ParticipantRef>, members: Vec<ParticipantRef>,
    }
    /// The room ended.
    RoomClosed("room.closed", B, Tenant, Ok, Keep) [why: RoomEnd] { dur_s: u64, participants: u32, peak: u32 }
    /// A consultation report or an attestation was handed to the platform.
    RoomReportIssued("room.report_issued", B, Tenant, Ok, Keep) { sha256: Hash }

    /// Before any state of the room is shown to the bearer.
    TokenAccepted("token.accepted", A, Either, Ok, Refuse) { auth: Option<Auth>, jti_ref: Option<TokenRef>, kid: Word, role: Option<Role>, ttl_s: u64 }
    /// Tokens were refused; one event for a number of them.
    TokenRefused("token.refused", C, Either, Refused, Keep) [why: TokenRefusal] {
        count: u32, fam: u8, kid: Option<Word>, net: NetRef, window_ms: u32,
    }
    /// A token was revoked.
    TokenRevoked("token.revoked", A, Either, Ok, Keep) { by: By, jti_ref: Option<TokenRef> }

    /// Somebody is in the waiting room and sees nobody.
    ParticipantWaiting("participant.waiting", B, Tenant, Ok, Keep) { role: Option<Role> }
    /// Somebody is let in; the object is who.
    ParticipantAdmitted("participant.admitted", A, Tenant, Ok, Refuse) { by: By }
    /// Somebody who waits is turned away; the object is who.
    ParticipantAdmitRefused("participant.admit_refused", A, Tenant, Refused, Keep) [why: AdmitRefusal] { by: By }
    /// Before the first packet is forwarded either way.
    ParticipantJoined("participant.joined", A, Tenant, Ok, Refuse) {
        auth: Option<Auth>, dtls_suite: Option<DtlsSuite>, role: Option<Role>, roster_rev: u64,
        srtp_profile: Option<SrtpProfile>, transport: Option<Transport>,
    }
    /// Somebody reconnected as the same participant.
    ParticipantResumed("participant.resumed", A, Tenant, Ok, Keep) { gap_s: u64 }
    /// Somebody left.
    ParticipantLeft("participant.left", B, Tenant, Ok, Keep) [why: LeaveReason] { dur_s: u64 }
    /// Somebody was removed, which came first; the object is who.
    ParticipantRemoved("participant.removed", B, Tenant, Ok, Keep) [why: RemoveReason] { by: By }
    /// Somebody's role changed.
    ParticipantRoleChanged("participant.role_changed", A, Tenant, Ok, Refuse) { by: By, new: Role, old: Role }
    /// Persons beside a participant, off camera.
    PresenceDeclared("presence.declared", A, Tenant, Ok, Keep) { count: u8, kind: Role }
    /// Persons beside a participant are gone.
    PresenceWithdrawn("presence.withdrawn", B, Tenant, Ok, Keep) { count: u8, kind: Role }
    /// A professional states that the patient's identity was checked.
    IdentityAttested("identity.attested", B, Tenant, Ok, Keep) { method: IdentityMethod }

    /// Before the media gate opens.
    ConsentGiven("consent.given", A, Tenant, Ok, Refuse) { by: By, channel: ConsentChannel, scope: Vec<ConsentScope>, text_version: Word }
    /// Consent was asked for and not given.
    ConsentRefused("consent.refused", B, Tenant, Refused, Keep) { scope: Vec<ConsentScope> }
    /// Consent was withdrawn; the gate was shut first, after so many milliseconds.
    ConsentWithdrawn("consent.withdrawn", B, Tenant, Ok, Keep) { gate_closed_ms: u32, scope: Vec<ConsentScope> }
    /// A professional goes on without consent.
    ConsentEmergencyOverride("consent.emergency_override", A, Tenant, Ok, Refuse) [why: OverrideReason] { by: By }

    /// A participant's media may flow.
    MediaGateOpened("media.gate_opened", A, Tenant, Ok, Refuse) [why: GateReason] {}
    /// A participant's media may flow no more.
    MediaGateClosed("media.gate_closed", B, Tenant, Ok, Keep) [why: GateReason] {}
    /// A track began.
    MediaPublished("media.published", A, Tenant, Ok, Keep) { kind: TrackKind, track: TrackRef }
    /// A track ended.
    MediaUnpublished("media.unpublished", B, Tenant, Ok, Keep) { dur_s: u64, kind: TrackKind, track: TrackRef }
    /// The actor receives somebody's tracks from now on.
    MediaSubscribed("media.subscribed", A, Tenant, Ok, Keep) { from: ParticipantRef, kinds: Vec<TrackKind>, tracks: Vec<TrackRef> }
    /// The actor receives a track no more.
    MediaUnsubscribed("media.unsubscribed", B, Tenant, Ok, Keep) { dur_s: u64, from: ParticipantRef, kind: TrackKind, track: TrackRef }
    /// With or without pictures from now on.
    MediaModeChanged("media.mode_changed", B, Tenant, Ok, Keep) [why: ModeReason] { mode: MediaMode }
    /// A technical incident began.
    MediaIncidentStarted("media.incident_started", B, Tenant, Ok, Keep) { kind: IncidentKind }
    /// A technical incident ended.
    MediaIncidentEnded("media.incident_ended", B, Tenant, Ok, Keep) { dur_s: u64, kind: IncidentKind }

    /// A permission changed; durable first when it widens.
    PermissionChanged("permission.changed", A, Tenant, Ok, Refuse) { by: By, new: bool, old: bool, perm: Permission }
    /// Somebody's microphone was muted; the object is whose.
    ModerationMuted("moderation.muted", B, Tenant, Ok, Keep) { by: By }
    /// Somebody's camera was stopped; the object is whose.
    ModerationCameraStopped("moderation.camera_stopped", B, Tenant, Ok, Keep) { by: By }

    /// A data channel opened.
    DataChannelOpened("data.channel_opened", A, Tenant, Ok, Keep) { channel: ChannelRef, label: ChannelLabel }
    /// A data channel closed; the size is rounded up to a power of four.
    DataChannelClosed("data.channel_closed", B, Tenant, Ok, Keep) { bytes_kib: u64, channel: ChannelRef, label: ChannelLabel, msgs: u64 }
    /// A file went through; no name, type, hash or text.
    DataFileRelayed("data.file_relayed", B, Tenant, Ok, Keep) { complete: bool, from: ParticipantRef, size_class: SizeClass, to: Vec<ParticipantRef> }

    /// End-to-end encryption as declared or negotiated; durable first when it goes off.
    E2eeStateChanged("e2ee.state_changed", A, Tenant, Ok, Keep) { evidence: E2eeEvidence, state: E2eeState }

    /// An administrator signed in.
    AdminLogin("admin.login", A, Both, Ok, Keep) { acr: u8, method: AdminMethod }
    /// An administrator was not let in.
    AdminLoginRefused("admin.login_refused", B, Both, Refused, Keep) [why: AdminRefusal] { acr: u8, method: AdminMethod }
    /// An administrative call; durable first unless it was refused.
    AdminCall("admin.call", A, Both, Ok, Refuse) { done: bool, op: AdminOp }
    /// An administrative call that goes past a rule, by two persons.
    AdminBreakGlass("admin.break_glass", A, Both, Ok, Refuse) { op: AdminOp, second: AdminRef, ticket_ref: Word }

    /// The first entry of a log.
    AuditLogOpened("audit.log_opened", A, Either, Ok, Keep) [why: OpenReason] {
        lineage: u32, prev_lineage_root: Option<Hash>, prev_lineage_size: Option<u64>, root_key_id: Word,
    }
    /// Checkpoints are signed by this epoch's key from here on.
    AuditEpochStarted("audit.epoch_started", A, Either, Ok, Keep) { epoch: u32, kid: Word }
    /// An epoch's private key is gone.
    AuditEpochDestroyed("audit.epoch_destroyed", B, Either, Ok, Keep) { epoch: u32, kid: Word }
    /// The log is read; before the first byte is returned.
    AuditRead("audit.read", A, Either, Ok, Refuse) { by: By, filter_kind: FilterKind, from_seq: u64, to_seq: u64 }
    /// Entries of one consultation are taken out; before the first byte is returned.
    AuditExtracted("audit.extracted", A, Either, Ok, Refuse) { by: By, filter_kind: FilterKind, format: ExportFormat, from_seq: u64, to_seq: u64 }
    /// Entries go to another system; before the first byte is returned.
    AuditExported("audit.exported", A, Either, Ok, Refuse) { by: By, dest: Word, filter_kind: FilterKind, format: ExportFormat, from_seq: u64, to_seq: u64 }
    /// Pseudonyms were turned back.
    AuditResolved("audit.resolved", A, Either, Ok, Refuse) { by: By, count: u32 }
    /// Entries are about to be removed because their time is over.
    AuditPurged("audit.purged", A, Either, Ok, Refuse) {
        by: By, count: u64, from_seq: u64, last_leaf: Hash, policy: RetentionPolicy, range_root: Hash, to_seq: u64,
    }
    /// A purge was not done.
    AuditPurgeRefused("audit.purge_refused", A, Either, Refused, Keep) [why: PurgeRefusal] { by: By, from_seq: u64, to_seq: u64 }
    /// Purging is suspended.
    AuditHoldSet("audit.hold_set", A, Either, Ok, Keep) { by: By, scope: HoldScope, scope_ref: Word, until: Micros }
    /// Purging goes on.
    AuditHoldReleased("audit.hold_released", A, Either, Ok, Refuse) { by: By, scope: HoldScope, scope_ref: Word }
    /// A replica lags.
    AuditReplicaLost("audit.replica_lost", B, Either, Ok, Keep) { lag: u64, replica: Word }
    /// A replica has all again.
    AuditReplicaCaughtUp("audit.replica_caught_up", B, Either, Ok, Keep) { lag: u64, replica: Word }
    /// A torn, never acknowledged tail was cut at the start.
    AuditRecovered("audit.recovered", A, Either, Ok, Keep) { last_good_seq: Option<u64>, last_signed_seq: Option<u64>, torn_bytes: u64 }
    /// A log is not what was written.
    AuditIntegrityFailed("audit.integrity_failed", A, Either, Failed, Keep) { at_seq: u64, kind: IntegrityFault, log: Word }
    /// The log could not be written.
    AuditWriteDegraded("audit.write_degraded", A, Either, Failed, Keep) { cause: WriteFault }
    /// The log is written again; nothing of class A was lost, by construction.
    AuditWriteRestored("audit.write_restored", A, Either, Ok, Keep) { cause: WriteFault, kept_events: u64, lost_b_events: u64 }
    /// Events of one kind were merged under a flood.
    AuditSuppressed("audit.suppressed", C, Either, Ok, Keep) { count: u32, ev: Word, window_ms: u32 }

    /// The clock is not synchronised.
    TimeSyncLost("time.sync_lost", B, Node, Ok, Keep) { clk: Clock }
    /// The clock is synchronised again.
    TimeSyncRestored("time.sync_restored", B, Node, Ok, Keep) { clk: Clock }
    /// The wall clock jumped.
    TimeStepped("time.stepped", B, Node, Ok, Keep) { delta_ms: i64 }
    /// The audit file system is filling up.
    StorageLow("storage.low", A, Node, Ok, Keep) { used_percent: u8 }
    /// The audit file system is nearly full.
    StorageCritical("storage.critical", A, Node, Ok, Keep) { used_percent: u8 }
    /// The audit file system has room again.
    StorageRestored("storage.restored", A, Node, Ok, Keep) { used_percent: u8 }
    /// Somebody was slowed down.
    SecurityRateLimited("security.rate_limited", C, Node, Refused, Keep) { count: u32, fam: u8, net: NetRef, window_ms: u32 }
    /// A certificate was not the one the client had announced.
    SecurityFingerprintMismatch("security.fingerprint_mismatch", B, Either, Refused, Keep) { fam: u8, net: NetRef }
    /// A DTLS handshake failed.
    SecurityDtlsFailed("security.dtls_failed", B, Either, Failed, Keep) { fam: u8, net: NetRef }
    /// Connectivity checks were abused.
    SecurityIceAbuse("security.ice_abuse", B, Node, Refused, Keep) { count: u32, fam: u8, kind: AbuseKind, net: NetRef, window_ms: u32 }
    /// Something would have left the tenant's regions.
    SecurityResidencyBlocked("security.residency_blocked", B, Both, Refused, Keep) { region: Word }
}

impl Event {
    /// How durable it is.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "few events depend on their content; the table has the rest")]
    pub fn class(&self) -> Class {
        match self {
            Self::PermissionChanged { new: false, .. } => Class::B,
            Self::E2eeStateChanged { state: E2eeState::On, .. } => Class::B,
            Self::AdminCall { done: false, .. } => Class::B,
            // The first of its kind, source and minute is written at once.
            Self::TokenRefused { count: 1, .. } => Class::B,
            other => other.usual_class(),
        }
    }

    /// How it ended.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "few events depend on their content; the table has the rest")]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::AdminCall { done: false, .. } => Outcome::Refused,
            other => other.usual_outcome(),
        }
    }

    /// What becomes of it while the log cannot be written.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "few events depend on their content; the table has the rest")]
    pub fn degraded(&self) -> Degraded {
        match self {
            Self::PermissionChanged { new: false, .. } | Self::AdminCall { done: false, .. } => Degraded::Keep,
            // Ending and removing narrows access, whoever asks.
            Self::AdminCall { op: AdminOp::RoomEnd | AdminOp::SeatRemove | AdminOp::TrackMute | AdminOp::NodeDrain, .. } => {
                Degraded::Keep
            }
            // How running calls stand is to be seen all the same.
            Self::AdminCall {
                op: AdminOp::RoomRead | AdminOp::SeatRead | AdminOp::EventsRead | AdminOp::TimelineRead, ..
            } => Degraded::Keep,
            other => other.usual_degraded(),
        }
    }
}

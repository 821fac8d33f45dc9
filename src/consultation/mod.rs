//! People and rules: who is in a room, what each may do, and who receives whose tracks.
//!
//! This room knows no packets, no sockets and no clock: [`Room::apply`] takes a [`Command`] and the time, and answers with
//! [`Effects`] that somebody else carries out. Every decision about access is made here and only here; the packet path sees
//! nothing but the routes that follow from it.

mod act;
mod acts;
mod aside;
mod fact;
mod membership;
mod plan;
mod policy;
mod publication;
pub mod room;
mod seats;
mod subscription;
pub mod timeline;
mod views;

pub use act::{
    Act, AsideView, By, Channel, Consent, Emergency, Gate, IdentityCheck, Invitation, Overview, SeatState, SeatView, TextVersion,
};
pub use fact::{Assurance, Closing, Fact, Incident, Method, ModeCause, Token};
pub use plan::Plan;
pub use policy::{AsideRules, ConsultationPolicy, LONGEST, LONGEST_ASIDE, Loosened, MOST_SEATS, Scope, SecondUse, TenantRules};
pub use room::Room;

use crate::model::roster::{
    Attributes, ClientFacts, Encryption, LeaveAction, LeaveReason, Participant, ParticipantKind, Permissions, Source, Text,
    Track, VideoLayer,
};
use crate::model::{Codec, Identity, Instant, MediaKind, ParticipantSid, TrackCid, TrackSid};
use std::fmt;
use std::sync::Arc;

/// How a tenant's rooms behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Plain rooms, as any LiveKit application expects.
    #[default]
    Open,
    /// Consultations: every seat has a role, a waiting room and a consent gate.
    Consultation,
}

/// A member of one room, numbered for the room's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub u32);

/// A rule said no: a normal value with a stable code, mapped once by each door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The permission is missing.
    #[error("not allowed")]
    NotAllowed,
    /// No such room.
    #[error("requested room does not exist")]
    NoSuchRoom,
    /// No such participant.
    #[error("participant does not exist")]
    NoSuchParticipant,
    /// No such track.
    #[error("track does not exist")]
    NoSuchTrack,
    /// A size or count is over its limit.
    #[error("limit exceeded")]
    LimitExceeded,
    /// The same track is already announced; it waits its turn.
    #[error("queued")]
    Queued,
    /// Not a kind the relay carries.
    #[error("unsupported")]
    Unsupported,
    /// All seats are taken.
    #[error("the room is full")]
    RoomFull,
    /// The consultation requires a role in the token.
    #[error("this consultation requires a role")]
    RoleRequired,
    /// The stay to be resumed is not here.
    #[error("session not found")]
    UnknownSession,
    /// Nobody can unmute a microphone or switch on a camera from outside.
    #[error("remote unmute is not possible")]
    RemoteUnmute,
    /// The relay takes no new calls now.
    #[error("busy, try again")]
    Busy,
    /// A description that could not be negotiated.
    #[error("the offer could not be negotiated")]
    BadOffer,
    /// The room holds no consultation.
    #[error("this room is not a consultation")]
    NotAConsultation,
    /// The numbers of a policy do not fit together or are out of bounds.
    #[error("the policy cannot be met")]
    BadPolicy,
    /// No such seat.
    #[error("no such seat")]
    NoSuchSeat,
    /// The seat is expected in another role.
    #[error("the seat has another role")]
    WrongRole,
    /// The person's authentication is too weak for its role.
    #[error("stronger authentication is needed")]
    WeakAuthentication,
    /// The consultation or the seat is not open yet.
    #[error("the consultation is not open yet")]
    TooEarly,
    /// The consultation or the seat is over.
    #[error("the consultation is over")]
    TooLate,
    /// The seat was removed after the token was issued.
    #[error("this seat was removed")]
    Removed,
    /// The seat is in use, and a second use is refused.
    #[error("this seat is in use")]
    SecondUse,
    /// Nobody else is let in.
    #[error("the consultation is locked")]
    Locked,
    /// A doctor must be inside first.
    #[error("a doctor must be present first")]
    ProfessionalFirst,
    /// A patient has not agreed to this.
    #[error("the patient's consent is missing")]
    ConsentMissing,
    /// Only one aside runs at a time.
    #[error("an aside is running")]
    AsideRunning,
    /// No aside runs.
    #[error("no aside is running")]
    NoAside,
    /// The audit log takes nothing now, so nobody gets more than before.
    #[error("the audit log is not available, try again")]
    AuditUnavailable,
}

impl Refusal {
    /// A stable word for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::NoSuchRoom => "no_such_room",
            Self::NoSuchParticipant => "no_such_participant",
            Self::NoSuchTrack => "no_such_track",
            Self::LimitExceeded => "limit_exceeded",
            Self::Queued => "queued",
            Self::Unsupported => "unsupported",
            Self::RoomFull => "room_full",
            Self::RoleRequired => "role_required",
            Self::UnknownSession => "unknown_session",
            Self::RemoteUnmute => "remote_unmute",
            Self::Busy => "busy",
            Self::BadOffer => "bad_offer",
            Self::NotAConsultation => "not_a_consultation",
            Self::BadPolicy => "bad_policy",
            Self::NoSuchSeat => "no_such_seat",
            Self::WrongRole => "wrong_role",
            Self::WeakAuthentication => "weak_authentication",
            Self::TooEarly => "too_early",
            Self::TooLate => "too_late",
            Self::Removed => "removed",
            Self::SecondUse => "second_use",
            Self::Locked => "locked",
            Self::ProfessionalFirst => "professional_first",
            Self::ConsentMissing => "consent_missing",
            Self::AsideRunning => "aside_running",
            Self::NoAside => "no_aside",
            Self::AuditUnavailable => "audit_unavailable",
        }
    }
}

/// Settings of a room at its opening; `None` takes the relay's default.
#[derive(Clone, Debug, Default)]
pub struct RoomSettings {
    /// Seconds to stay open if nobody comes.
    pub empty_timeout_s: Option<u32>,
    /// Seconds to stay open after the last member left.
    pub departure_timeout_s: Option<u32>,
    /// Seats it may hold.
    pub max_participants: Option<u32>,
    /// Opaque to the relay.
    pub metadata: Option<Text>,
}

/// A seat that is taken: everything the room needs to know of a newcomer.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The id of this stay.
    pub sid: ParticipantSid,
    /// Who.
    pub identity: Identity,
    /// Display name.
    pub name: Text,
    /// Opaque to the relay.
    pub metadata: Text,
    /// Attributes of the token, client overrides already merged.
    pub attributes: Attributes,
    /// What it may do.
    pub permissions: Permissions,
    /// What sits behind it.
    pub kind: ParticipantKind,
    /// What its client said of itself.
    pub client: ClientFacts,
    /// Subscribe to everything without being asked.
    pub auto_subscribe: bool,
    /// When its token was issued, seconds since the Unix epoch; 0 where it does not say.
    pub issued_at_s: u64,
    /// What goes on record of its token.
    pub token: Token,
}

/// A client's request to publish.
#[derive(Clone)]
pub struct AddTrack {
    /// The client's id of the track.
    pub cid: TrackCid,
    /// Further ids the client announced for the same track (one per codec).
    pub codec_cids: Vec<TrackCid>,
    /// The client's name for it.
    pub name: Text,
    /// Audio or video.
    pub kind: MediaKind,
    /// Where it comes from.
    pub source: Source,
    /// Starts muted.
    pub muted: bool,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Announced layers.
    pub layers: Vec<VideoLayer>,
    /// Codec asked for.
    pub codec: Option<Codec>,
    /// Two audio channels.
    pub stereo: bool,
    /// No discontinuous transmission.
    pub disable_dtx: bool,
    /// No redundant audio.
    pub disable_red: bool,
    /// End-to-end encryption as declared.
    pub encryption: Encryption,
    /// Synchronisation group; empty takes the default of the source.
    pub stream: Text,
    /// As the client numbers them.
    pub audio_features: Vec<i32>,
    /// An existing track that gets a further codec.
    pub existing: Option<TrackSid>,
}

impl fmt::Debug for AddTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddTrack").field("kind", &self.kind).field("source", &self.source).finish_non_exhaustive()
    }
}

/// Who may receive the tracks of the one who sends this.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionPermission {
    /// Everybody, everything.
    pub all_participants: bool,
    /// Otherwise only these.
    pub participants: Vec<TrackPermission>,
}

/// What one participant may receive of a publisher.
#[derive(Clone, Debug)]
pub struct TrackPermission {
    /// The receiver's stay, where given.
    pub participant: Option<ParticipantSid>,
    /// The receiver's identity, where given.
    pub identity: Option<Identity>,
    /// All tracks.
    pub all_tracks: bool,
    /// Otherwise these.
    pub tracks: Vec<TrackSid>,
}

/// A negotiated media section that carries a member's media towards the relay.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its mid.
    pub mid: Arc<str>,
    /// Audio or video.
    pub kind: MediaKind,
    /// The track id of its `a=msid`.
    pub track_id: Option<TrackCid>,
    /// Codecs the relay would take on it, the preferred one first; never empty.
    pub codecs: Vec<Codec>,
    /// Its rids in the order of `a=simulcast:send`; empty without simulcast.
    pub rids: Vec<Arc<str>>,
}

/// Whether what happens can be put on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    /// It can.
    #[default]
    Works,
    /// It cannot: those inside are told, nobody gets more than before.
    Fails {
        /// When consultations end unless it works again, ms since the Unix epoch; `None` lets them go on.
        closes_at_ms: Option<u64>,
    },
}

/// What happens to a room.
#[derive(Debug)]
pub enum Command {
    /// Somebody takes a seat.
    Join(Box<Seat>),
    /// A member's media transport came up.
    Connected(MemberId),
    /// A member leaves, or is found gone.
    Leave {
        /// Who.
        member: MemberId,
        /// Why.
        reason: LeaveReason,
    },
    /// The platform removes a member.
    Remove(Identity),
    /// A member announces a track.
    AddTrack {
        /// Who.
        member: MemberId,
        /// The id the track gets.
        sid: TrackSid,
        /// What.
        add: Box<AddTrack>,
    },
    /// A member's media section was negotiated.
    Bind {
        /// Whose.
        member: MemberId,
        /// Which.
        section: Section,
    },
    /// A member's media section stopped.
    Unbind {
        /// Whose.
        member: MemberId,
        /// Its mid.
        mid: Arc<str>,
    },
    /// A member mutes or unmutes its own track.
    Mute {
        /// Whose.
        member: MemberId,
        /// Which.
        track: TrackSid,
        /// Muted from now on.
        muted: bool,
    },
    /// The platform mutes a track.
    MuteRemotely {
        /// Whose.
        identity: Identity,
        /// Which.
        track: TrackSid,
        /// Must be true.
        muted: bool,
    },
    /// A member, or the platform for it, subscribes or unsubscribes.
    Subscribe {
        /// Who receives.
        member: MemberId,
        /// What.
        tracks: Vec<TrackSid>,
        /// On or off.
        subscribe: bool,
    },
    /// A member decides who may receive its tracks.
    Audience {
        /// Whose tracks.
        member: MemberId,
        /// Who may.
        permission: SubscriptionPermission,
    },
    /// A member's record changes.
    UpdateRecord {
        /// Whose.
        member: MemberId,
        /// New metadata, where not empty.
        metadata: Text,
        /// New name, where not empty.
        name: Text,
        /// Merged; an empty value deletes its key.
        attributes: Attributes,
        /// Whether the member itself asks.
        by_owner: bool,
    },
    /// The platform changes what a member may do.
    Permit {
        /// Who.
        member: MemberId,
        /// The whole new set.
        permissions: Permissions,
    },
    /// Features of a member's own audio track.
    UpdateAudioTrack {
        /// Whose.
        member: MemberId,
        /// Which.
        track: TrackSid,
        /// As the client numbers them.
        features: Vec<i32>,
    },
    /// Dimensions of a member's own video track.
    UpdateVideoTrack {
        /// Whose.
        member: MemberId,
        /// Which.
        track: TrackSid,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// The platform changes the room.
    Settings(RoomSettings),
    /// The platform, or the node, ends the room.
    Close(LeaveReason),
    /// The platform opens the consultation, or changes the rules of one to which nobody has come yet.
    Open(Box<ConsultationPolicy>),
    /// Somebody acts in the consultation.
    Consult {
        /// Who.
        by: By,
        /// How.
        act: Act,
        /// Since when the relay knows that it is wanted.
        asked_at: Instant,
    },
    /// A member's signalling socket is gone; its stay goes on.
    Away(MemberId),
    /// A member has a new signalling socket for its stay.
    Back(MemberId),
    /// The roster up to a ticket has been written to a member's socket.
    Written {
        /// Whose.
        member: MemberId,
        /// The ticket of [`Effect::Receipt`].
        ticket: u64,
    },
    /// What really reaches a member of the others' tracks has changed; consultations show it to all who see the member.
    Receives {
        /// Who receives.
        member: MemberId,
        /// One entry for each track, bounded by the one who says it.
        what: Box<str>,
    },
    /// Time has passed.
    Tick,
    /// The audit log can, or cannot, be written.
    Recording(Recording),
    /// Facts that [widen](Fact::widens) could not be put on record: what they gave is taken back.
    Undo(Vec<Fact>),
}

/// Whom an effect reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every member.
    All,
    /// Every member but one.
    AllBut(MemberId),
    /// One member.
    One(MemberId),
}

/// What follows from a command, in the order in which it must be carried out.
#[derive(Debug)]
pub enum Effect {
    /// A newcomer has its seat.
    Joined(MemberId),
    /// Members learn new or changed records.
    Roster {
        /// Who.
        to: To,
        /// What.
        records: Vec<Arc<Participant>>,
    },
    /// Everybody learns the room's facts.
    RoomChanged,
    /// A track has its id.
    TrackAccepted {
        /// Whose.
        member: MemberId,
        /// The client's id.
        cid: TrackCid,
        /// Its record.
        track: Arc<Track>,
    },
    /// An announcement was refused or queued.
    TrackRefused {
        /// Whose.
        member: MemberId,
        /// Why.
        refusal: Refusal,
        /// What was asked.
        add: Box<AddTrack>,
    },
    /// A track met its media section: packets of it may be taken in.
    TrackOpened {
        /// Whose.
        member: MemberId,
        /// Its record.
        track: Arc<Track>,
    },
    /// A track is gone: its packets, caches and routes go with it.
    TrackClosed {
        /// Whose.
        member: MemberId,
        /// Which.
        track: TrackSid,
        /// Whether the relay took it down, so that the owner must be told.
        withdrawn: bool,
    },
    /// A track was muted or unmuted.
    TrackMuted {
        /// Which.
        track: TrackSid,
        /// Muted from now on.
        muted: bool,
    },
    /// The owner is asked to mute.
    MuteRequested {
        /// Whose.
        member: MemberId,
        /// Which.
        track: TrackSid,
    },
    /// A receiver gets a track from now on.
    Route {
        /// Who receives.
        receiver: MemberId,
        /// Whose track.
        publisher: MemberId,
        /// Which.
        track: TrackSid,
    },
    /// A receiver gets a track no longer.
    Unroute {
        /// Who received.
        receiver: MemberId,
        /// Which.
        track: TrackSid,
        /// Its place is kept: an aside parts the two for a while.
        rests: bool,
    },
    /// A publisher opened or closed a track for a receiver.
    SubscriptionAllowed {
        /// The receiver.
        receiver: MemberId,
        /// The publisher's stay.
        publisher: ParticipantSid,
        /// Which.
        track: TrackSid,
        /// Open from now on.
        allowed: bool,
    },
    /// A member's stay ended: its transport goes.
    Gone {
        /// Who.
        member: MemberId,
        /// Why.
        reason: LeaveReason,
        /// What its client should do.
        action: LeaveAction,
    },
    /// A member's gate: while it is shut, data held for it stays held, and what it said and is still on its way is dropped.
    Gate {
        /// Whose.
        member: MemberId,
        /// Open from now on.
        open: bool,
    },
    /// Once everything told to a member so far is written to its socket, [`Command::Written`] must say so.
    Receipt {
        /// Who.
        member: MemberId,
        /// Grows with each.
        ticket: u64,
    },
    /// Goes on record; what follows a fact that [widens](Fact::widens) waits until it is on disk, where there is an audit log.
    Record(Box<Fact>),
    /// The consultation is over: the room is not waited for.
    Closed,
}

/// What follows from one command.
pub type Effects = Vec<Effect>;

#[cfg(test)]
mod tests;

//! What a decision leaves in the record: who, what and why, never content.

use super::act::{By, Channel, Emergency, Gate, IdentityCheck, TextVersion};
use super::policy::{ConsultationPolicy, Scope};
use crate::model::roster::{LeaveReason, Role, Source};
use crate::model::{Identity, TrackSid};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happened in a consultation.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The room opened.
    RoomCreated {
        /// Its rules.
        policy: Box<ConsultationPolicy>,
    },
    /// Nobody else is let in.
    RoomLocked {
        /// By whom.
        by: By,
    },
    /// People are let in again.
    RoomUnlocked {
        /// By whom.
        by: By,
    },
    /// The end was moved.
    RoomExtended {
        /// New end, ms since the Unix epoch.
        ends_at_ms: u64,
        /// By whom.
        by: By,
    },
    /// The end is near.
    EndsSoon {
        /// When it closes, ms since the Unix epoch.
        closes_at_ms: u64,
    },
    /// A seat is expected in another role than before.
    RoleChanged {
        /// Whose.
        seat: Identity,
        /// Before.
        old: Role,
        /// From now on.
        new: Role,
        /// By whom.
        by: By,
    },
    /// A professional says that the patient's identity was checked.
    IdentityAttested {
        /// Whose.
        seat: Identity,
        /// How.
        method: IdentityCheck,
        /// By whom.
        by: By,
    },
    /// The room closed.
    RoomClosed {
        /// Why.
        why: Closing,
        /// By whom.
        by: By,
        /// Seconds it was open.
        lasted_s: u64,
        /// Seats that ever came.
        seats: u32,
        /// Most members at once.
        peak: u32,
    },
    /// A token opened a seat.
    TokenAccepted {
        /// Whose.
        seat: Identity,
        /// Its role.
        role: Role,
        /// How the person proved who it is, as the token says: method and level.
        auth: Option<Assurance>,
        /// Which key signed it, and for how long.
        token: Token,
    },
    /// A seat is in the waiting room.
    Waiting {
        /// Who.
        seat: Identity,
        /// Its role.
        role: Role,
    },
    /// A seat is let in.
    Admitted {
        /// Who.
        seat: Identity,
        /// Its role.
        role: Role,
        /// By whom.
        by: By,
    },
    /// A seat is sent away.
    AdmitRefused {
        /// Who.
        seat: Identity,
        /// By whom.
        by: By,
    },
    /// A seat is in the room: others see it.
    Joined {
        /// Who.
        seat: Identity,
        /// Its role.
        role: Role,
    },
    /// A seat came back to the stay it had.
    Resumed {
        /// Who.
        seat: Identity,
        /// Seconds it was away.
        gap_s: u64,
    },
    /// A seat's stay ended.
    Left {
        /// Who.
        seat: Identity,
        /// Why.
        why: LeaveReason,
        /// Seconds since it came.
        stayed_s: u64,
    },
    /// A seat was taken out.
    Removed {
        /// Who.
        seat: Identity,
        /// By whom.
        by: By,
    },
    /// Somebody is beside a participant, off camera.
    PresenceDeclared {
        /// Beside whom.
        seat: Identity,
        /// What they are.
        kind: Role,
        /// How many.
        count: u8,
    },
    /// They are gone.
    PresenceWithdrawn {
        /// Beside whom.
        seat: Identity,
        /// What they were.
        kind: Role,
    },
    /// A patient agreed.
    ConsentGiven {
        /// Which patient.
        seat: Identity,
        /// To what.
        scopes: BTreeSet<Scope>,
        /// Which text.
        text: TextVersion,
        /// How.
        channel: Channel,
        /// By whom.
        by: By,
    },
    /// A patient was asked and said no.
    ConsentRefused {
        /// Which patient.
        seat: Identity,
        /// To what.
        scopes: BTreeSet<Scope>,
        /// By whom.
        by: By,
    },
    /// Consent was taken back.
    ConsentWithdrawn {
        /// Which patient.
        seat: Identity,
        /// Of what.
        scopes: BTreeSet<Scope>,
        /// By whom.
        by: By,
        /// From when the relay knew it until gates were shut.
        waited: Duration,
    },
    /// A doctor goes on without consent.
    EmergencyOverride {
        /// Which patient.
        seat: Identity,
        /// Why.
        why: Emergency,
        /// By whom.
        by: By,
    },
    /// Some speak apart.
    AsideOpened {
        /// Who.
        members: Vec<Identity>,
        /// Who does not hear it.
        left_out: Vec<Identity>,
        /// By whom.
        by: By,
    },
    /// It was renewed, or somebody in it left.
    AsideChanged {
        /// Who is in it.
        members: Vec<Identity>,
        /// Who does not hear it.
        left_out: Vec<Identity>,
        /// By whom.
        by: By,
    },
    /// It ended.
    AsideClosed {
        /// Seconds it ran.
        lasted_s: u64,
        /// By whom.
        by: By,
    },
    /// Media and data may cross, to and from a seat.
    GateOpened {
        /// Whose.
        seat: Identity,
    },
    /// Nothing crosses any more.
    GateClosed {
        /// Whose.
        seat: Identity,
        /// What it waits for now.
        why: Gate,
    },
    /// A track is there.
    Published {
        /// Whose.
        seat: Identity,
        /// Which.
        track: TrackSid,
        /// Where its media comes from.
        source: Source,
        /// Encrypted from end to end, as its client declares.
        sealed: bool,
    },
    /// A track is gone.
    Unpublished {
        /// Whose.
        seat: Identity,
        /// Which.
        track: TrackSid,
    },
    /// Somebody receives a track.
    Subscribed {
        /// Who.
        seat: Identity,
        /// Which.
        track: TrackSid,
        /// Whose.
        from: Identity,
    },
    /// Somebody receives it no longer.
    Unsubscribed {
        /// Who.
        seat: Identity,
        /// Which.
        track: TrackSid,
        /// Whose.
        from: Identity,
    },
    /// A technical incident of a seat began.
    IncidentStarted {
        /// Whose.
        seat: Identity,
        /// Which.
        kind: Incident,
    },
    /// It is over.
    IncidentEnded {
        /// Whose.
        seat: Identity,
        /// Which.
        kind: Incident,
    },
    /// A seat goes on with sound alone, or has pictures again.
    ModeChanged {
        /// Whose.
        seat: Identity,
        /// Whether there are pictures from now on.
        pictures: bool,
        /// Why there are none, or were none.
        why: ModeCause,
    },
    /// What a seat said on its data channels since its gate opened; told before the gate shuts.
    DataSaid {
        /// Whose.
        seat: Identity,
        /// Messages that reached somebody.
        messages: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// What a seat may do changed.
    PermissionChanged {
        /// Whose.
        seat: Identity,
        /// Whether it may do more than before.
        widened: bool,
        /// By whom.
        by: By,
    },
    /// A track was muted by somebody else.
    Muted {
        /// Whose.
        seat: Identity,
        /// Which.
        track: TrackSid,
        /// By whom.
        by: By,
    },
}

/// What goes on record of a token; unprintable but for its lifetime.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token {
    /// The key that signed it.
    pub key: Arc<str>,
    /// The token's own id, where it has one.
    pub id: Option<Arc<str>>,
    /// Seconds from its issue until it expires.
    pub lifetime_s: u64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("lifetime_s", &self.lifetime_s).finish_non_exhaustive()
    }
}

/// A technical incident worth a line in the patient's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Incident {
    /// The seat's connection is gone.
    Reconnect,
    /// No sound from or to the seat.
    AudioLost,
    /// No picture from or to the seat.
    VideoLost,
    /// A picture stands still for the seat.
    Frozen,
    /// The seat's line is hard to follow.
    LowQuality,
}

impl Incident {
    /// Every kind, the worst first.
    pub const ALL: [Self; 5] = [Self::Reconnect, Self::AudioLost, Self::VideoLost, Self::Frozen, Self::LowQuality];

    /// The word in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::AudioLost => "audio_lost",
            Self::VideoLost => "video_lost",
            Self::Frozen => "frozen",
            Self::LowQuality => "low_quality",
        }
    }
}

/// Why a seat is without pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeCause {
    /// Its line bears none.
    Bandwidth,
    /// It shows none.
    User,
    /// Its camera brings none.
    Device,
}

impl ModeCause {
    /// The word in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bandwidth => "bandwidth",
            Self::User => "user",
            Self::Device => "device",
        }
    }
}

/// Why a consultation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closing {
    /// Somebody ended it.
    Ended,
    /// Its time was over.
    TimeLimit,
    /// Nobody was there any more, or ever came.
    Empty,
    /// The node stopped.
    NodeStopped,
    /// The audit log could not be written for longer than calls go on without it.
    Unrecorded,
}

/// How a person proved who it is: `psc:2` in a token is method `psc`, level 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assurance {
    /// The method.
    pub method: Method,
    /// The level.
    pub acr: u8,
}

/// Methods of authentication, as the platform asserts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Pro Santé Connect.
    Psc,
    /// Electronic professional card.
    Ecps,
    /// Professional card.
    Cps,
    /// The platform, with several factors.
    PlatformMfa,
    /// The platform, with a password.
    PlatformPassword,
    /// A link and a code.
    LinkOtp,
    /// A link.
    LinkOnly,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 7] =
        [Self::Psc, Self::Ecps, Self::Cps, Self::PlatformMfa, Self::PlatformPassword, Self::LinkOtp, Self::LinkOnly];

    /// The word in tokens and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Psc => "psc",
            Self::Ecps => "ecps",
            Self::Cps => "cps",
            Self::PlatformMfa => "platform_mfa",
            Self::PlatformPassword => "platform_pwd",
            Self::LinkOtp => "link_otp",
            Self::LinkOnly => "link_only",
        }
    }
}

impl Assurance {
    /// Reads `method:level`; a level above 9 or an unknown method is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (method, acr) = text.split_once(':')?;
        let method = Method::ALL.into_iter().find(|known| known.as_str() == method)?;
        let acr = acr.parse().ok().filter(|acr| *acr <= 9)?;
        Some(Self { method, acr })
    }
}

impl Fact {
    /// Whether it gives somebody more than before: then it is on disk before it has any effect.
    #[must_use]
    pub fn widens(&self) -> bool {
        match self {
            Self::RoomCreated { .. }
            | Self::RoomUnlocked { .. }
            | Self::RoomExtended { .. }
            | Self::TokenAccepted { .. }
            | Self::Admitted { .. }
            | Self::Joined { .. }
            | Self::ConsentGiven { .. }
            | Self::EmergencyOverride { .. }
            | Self::AsideOpened { .. }
            | Self::GateOpened { .. }
            | Self::RoleChanged { .. }
            | Self::Subscribed { .. } => true,
            Self::PermissionChanged { widened, .. } => *widened,
            Self::RoomLocked { .. }
            | Self::EndsSoon { .. }
            | Self::IdentityAttested { .. }
            | Self::RoomClosed { .. }
            | Self::Waiting { .. }
            | Self::AdmitRefused { .. }
            | Self::Resumed { .. }
            | Self::Left { .. }
            | Self::Removed { .. }
            | Self::PresenceDeclared { .. }
            | Self::PresenceWithdrawn { .. }
            | Self::ConsentRefused { .. }
            | Self::ConsentWithdrawn { .. }
            | Self::AsideChanged { .. }
            | Self::AsideClosed { .. }
            | Self::GateClosed { .. }
            | Self::Published { .. }
            | Self::Unpublished { .. }
            | Self::Unsubscribed { .. }
            | Self::IncidentStarted { .. }
            | Self::IncidentEnded { .. }
            | Self::ModeChanged { .. }
            | Self::DataSaid { .. }
            | Self::Muted { .. } => false,
        }
    }
}

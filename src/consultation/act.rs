//! What people and the platform do in a consultation, and how it stands.

use super::policy::{ConsultationPolicy, Scope};
use crate::model::roster::Role;
use crate::model::{Identity, TrackSid};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The tenant, with one of its keys.
    Platform,
    /// A seat, with its own token.
    Seat(Identity),
    /// The room's own rules; never accepted from outside.
    Policy,
}

/// Something that is done to a consultation; seats are named by their opaque reference (`sub` of their tokens).
#[derive(Clone, Debug)]
pub enum Act {
    /// Expects a seat. Platform or doctor.
    Invite(Invitation),
    /// Lets a seat in, now or as soon as it comes. Platform or doctor.
    Admit(Identity),
    /// Sends a waiting seat away. Platform or doctor.
    Refuse(Identity),
    /// Takes a seat out of the room and refuses its tokens issued before now. Platform, doctor, or a patient for companions and
    /// relatives.
    Remove(Identity),
    /// Records what a patient agreed to. Platform, the seat itself, or a legal representative in the room.
    Consent(Consent),
    /// Says no to what a patient was asked; what was agreed to before is taken back with it. The same as for giving.
    RefuseConsent {
        /// Whose.
        seat: Identity,
        /// To what; empty for what the policy requires.
        scopes: BTreeSet<Scope>,
    },
    /// Takes consent back: the gate is shut for the very next packet. The same as for giving.
    WithdrawConsent {
        /// Whose.
        seat: Identity,
        /// What; empty for everything.
        scopes: BTreeSet<Scope>,
    },
    /// Goes on without a patient's consent. A doctor inside, where the policy allows it.
    EmergencyOverride {
        /// Whose consent is missing.
        seat: Identity,
        /// Why.
        why: Emergency,
    },
    /// Lets some hear and see each other while the others receive nothing of it. Platform, doctor or colleague; one at a time.
    StartAside(Vec<Identity>),
    /// Lets it run for another [`AsideRules::max`](super::AsideRules::max) from now. Platform, or a professional in it.
    RenewAside,
    /// Ends it. Platform, a doctor, or anybody in it.
    EndAside,
    /// Says that somebody is beside a participant, off camera. Platform or the participant.
    DeclarePresence {
        /// Beside whom.
        seat: Identity,
        /// What they are.
        kind: Role,
        /// How many, 1 to 9.
        count: u8,
    },
    /// Says that they are gone. Platform or the participant.
    WithdrawPresence {
        /// Beside whom.
        seat: Identity,
        /// What they are.
        kind: Role,
    },
    /// States that a patient's identity was checked. Platform, or a doctor inside.
    AttestIdentity {
        /// Whose.
        seat: Identity,
        /// How.
        method: IdentityCheck,
    },
    /// Lets nobody else in. Platform or doctor.
    Lock,
    /// Ends that. Platform or doctor.
    Unlock,
    /// Moves the end. Platform or doctor.
    Extend {
        /// New end, ms since the Unix epoch.
        ends_at_ms: u64,
    },
    /// Mutes one or all tracks of a seat; nothing can unmute them but the seat. Platform or doctor.
    Mute {
        /// Whose.
        seat: Identity,
        /// Which; `None` for all.
        track: Option<TrackSid>,
    },
    /// Ends the consultation for everybody. Platform or doctor.
    Close,
}

/// A seat that is expected.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Its opaque reference.
    pub seat: Identity,
    /// Its role; a token with another one is refused.
    pub role: Role,
    /// Not before, ms since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Not after, ms since the Unix epoch.
    pub until_ms: Option<u64>,
    /// It need not wait.
    pub admitted: bool,
}

/// What a patient agreed to.
#[derive(Clone, Debug)]
pub struct Consent {
    /// The patient's seat.
    pub seat: Identity,
    /// What; empty for what the policy requires.
    pub scopes: BTreeSet<Scope>,
    /// Which text was agreed to.
    pub text: TextVersion,
    /// How.
    pub channel: Channel,
}

/// How consent was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// To the platform beforehand; it stands in the token or was posted by the platform.
    Token,
    /// In the call, by the patient.
    InCall,
    /// By a legal representative.
    Representative,
}

/// How a patient's identity was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityCheck {
    /// A document was seen.
    SeenDocument,
    /// The professional knows the patient.
    KnownPatient,
    /// The platform qualified it (INS).
    QualifiedByPlatform,
    /// Otherwise.
    Other,
}

impl IdentityCheck {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::SeenDocument, Self::KnownPatient, Self::QualifiedByPlatform, Self::Other];

    /// The word in the API and the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SeenDocument => "seen_document",
            Self::KnownPatient => "known_patient",
            Self::QualifiedByPlatform => "ins_qualified_by_platform",
            Self::Other => "other",
        }
    }

    /// Reads its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == word)
    }
}

/// Why a doctor goes on without consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emergency {
    /// A threat to life.
    LifeThreat,
    /// The patient cannot agree to anything now.
    UnableToConsent,
    /// An order of a court.
    LegalOrder,
}

impl Act {
    /// Whether it gives somebody something, so that it must wait while nothing can be put on record.
    #[must_use]
    pub fn gives(&self) -> bool {
        match self {
            Self::Invite(_)
            | Self::Admit(_)
            | Self::Consent(_)
            | Self::EmergencyOverride { .. }
            | Self::StartAside(_)
            | Self::RenewAside
            | Self::Unlock
            | Self::Extend { .. } => true,
            Self::Refuse(_)
            | Self::Remove(_)
            | Self::RefuseConsent { .. }
            | Self::WithdrawConsent { .. }
            | Self::EndAside
            | Self::DeclarePresence { .. }
            | Self::WithdrawPresence { .. }
            | Self::AttestIdentity { .. }
            | Self::Lock
            | Self::Mute { .. }
            | Self::Close => false,
        }
    }
}

impl Emergency {
    /// The word in API, attributes and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LifeThreat => "life_threat",
            Self::UnableToConsent => "unable_to_consent",
            Self::LegalOrder => "legal_order",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::LifeThreat, Self::UnableToConsent, Self::LegalOrder].into_iter().find(|why| why.as_str() == word)
    }
}

impl Channel {
    /// The word in API and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::InCall => "in_call",
            Self::Representative => "representative",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Token, Self::InCall, Self::Representative].into_iter().find(|channel| channel.as_str() == word)
    }
}

/// The version of a consent text: a short code, no prose.
#[derive(Clone, PartialEq, Eq)]
pub struct TextVersion(Arc<str>);

impl TextVersion {
    /// Longest, in bytes.
    pub const MAX: usize = 64;

    /// Reads a code of letters, digits and `._:/+=-`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte);
        ((1..=Self::MAX).contains(&text.len()) && text.bytes().all(good)).then(|| Self(text.into()))
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TextVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextVersion({} bytes)", self.0.len())
    }
}

/// How far a seat has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeatState {
    /// Expected, not here yet.
    Invited,
    /// Here and not let in.
    Waiting,
    /// Let in.
    Admitted,
    /// Gone by itself; it may come back.
    Left,
    /// Taken out, or sent away; tokens issued before open nothing.
    Removed,
}

impl SeatState {
    /// The word in API, attributes and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Waiting => "waiting",
            Self::Admitted => "admitted",
            Self::Left => "left",
            Self::Removed => "removed",
        }
    }
}

/// What a seat's gate waits for; while it is shut no packet of media or data crosses, either way, and the seat sees nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// It is open.
    Open,
    /// Somebody must let the seat in.
    Admission,
    /// The patient's consent, or that of a representative.
    Consent,
    /// The consent of the patients inside to a third person of this role.
    ThirdPerson,
    /// The seat is not here.
    Absent,
}

impl Gate {
    /// The word in API and attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Admission => "admission",
            Self::Consent => "consent",
            Self::ThirdPerson => "third_person",
            Self::Absent => "absent",
        }
    }
}

/// A consultation as the platform sees it.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its rules.
    pub policy: ConsultationPolicy,
    /// When the first came, ms since the Unix epoch.
    pub opened_at_ms: Option<u64>,
    /// When it closes at the latest, ms since the Unix epoch.
    pub closes_at_ms: u64,
    /// Nobody else is let in.
    pub locked: bool,
    /// The aside that runs.
    pub aside: Option<AsideView>,
    /// Its seats, by reference.
    pub seats: Vec<SeatView>,
}

/// An aside as the platform sees it.
#[derive(Clone, Debug)]
pub struct AsideView {
    /// Who is in it.
    pub members: Vec<Identity>,
    /// Since when, ms since the Unix epoch.
    pub since_ms: u64,
    /// Until when, unless renewed, ms since the Unix epoch.
    pub until_ms: u64,
}

/// A seat as the platform sees it.
#[derive(Clone, Debug)]
pub struct SeatView {
    /// Its opaque reference.
    pub seat: Identity,
    /// Its role.
    pub role: Role,
    /// How far it has come.
    pub state: SeatState,
    /// What its gate waits for.
    pub gate: Gate,
    /// What was agreed to.
    pub consent: BTreeSet<Scope>,
    /// Which text was agreed to.
    pub text: Option<TextVersion>,
    /// A doctor went on without consent.
    pub emergency: Option<Emergency>,
    /// Who is beside the participant, off camera.
    pub beside: Vec<(Role, u8)>,
}

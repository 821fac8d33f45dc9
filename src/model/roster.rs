//! People, tracks and permissions as the roster shows them.

use super::{Codec, Identity, MediaKind, ParticipantSid, RoomName, RoomSid, TrackCid, TrackSid};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a participant is in the consultation; one vocabulary in tokens, API, audit and docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Leads the consultation.
    Doctor,
    /// Second physician or expert.
    Colleague,
    /// Accompanying professional: nurse, pharmacist.
    Companion,
    /// The person the consultation is for.
    Patient,
    /// A relative of the patient.
    Relative,
    /// Interpreter.
    Interpreter,
    /// Trainee.
    Trainee,
    /// Technical support.
    Support,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Doctor,
        Self::Colleague,
        Self::Companion,
        Self::Patient,
        Self::Relative,
        Self::Interpreter,
        Self::Trainee,
        Self::Support,
    ];

    /// The word in tokens and attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Doctor => "doctor",
            Self::Colleague => "colleague",
            Self::Companion => "companion",
            Self::Patient => "patient",
            Self::Relative => "relative",
            Self::Interpreter => "interpreter",
            Self::Trainee => "trainee",
            Self::Support => "support",
        }
    }

    /// Reads the word of a token.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Where a track's media comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Not said.
    #[default]
    Unknown,
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen.
    ScreenShare,
    /// The sound of a shared screen.
    ScreenShareAudio,
}

/// What a seat may do; decided by its token and changed at run time by the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// May receive media and data.
    pub subscribe: bool,
    /// May publish media.
    pub publish: bool,
    /// May send data.
    pub publish_data: bool,
    /// Sources it may publish; empty means all.
    pub sources: Vec<Source>,
    /// May change its own name, metadata and attributes.
    pub update_own_metadata: bool,
}

impl Permissions {
    /// Whether a track of this source may be published.
    #[must_use]
    pub fn may_publish(&self, source: Source) -> bool {
        self.publish && (self.sources.is_empty() || self.sources.contains(&source))
    }
}

/// What kind of client sits behind a participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParticipantKind {
    /// A person.
    #[default]
    Standard,
    /// A media source that feeds a room.
    Ingress,
    /// A telephone leg.
    Sip,
    /// A program.
    Agent,
}

/// How far a participant's connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParticipantState {
    /// Signalling is up, media is not yet.
    Joined,
    /// The media transport is connected.
    Active,
    /// Gone; sent once so that everybody removes it.
    Disconnected,
}

/// Why a participant's stay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// The client said goodbye.
    ClientInitiated,
    /// The same identity joined again.
    DuplicateIdentity,
    /// This node is stopping.
    ServerShutdown,
    /// The platform removed it.
    ParticipantRemoved,
    /// The platform deleted the room.
    RoomDeleted,
    /// Client and relay disagree about what is published; a full reconnect heals it.
    StateMismatch,
    /// The join could not be completed.
    JoinFailure,
    /// Its signalling socket closed before media came up.
    SignalClose,
    /// Its transport went silent and did not come back.
    ConnectionTimeout,
    /// Its transport failed: DTLS, certificate or negotiation.
    MediaFailure,
    /// It waited and was not let in.
    NotAdmitted,
    /// The consultation, or the seat's share of it, is over.
    TimeLimit,
}

/// What the client should do after a `leave`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveAction {
    /// Stop; the session is over.
    Disconnect,
    /// Open a new signalling socket for the same stay.
    Resume,
    /// Join anew.
    Reconnect,
}

/// One quality of a video track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quality {
    /// The smallest.
    Low,
    /// The middle one.
    Medium,
    /// The largest.
    High,
}

/// One layer the publisher announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoLayer {
    /// Its place among the qualities.
    pub quality: Quality,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Target in bit/s, 0 where not said.
    pub bitrate: u32,
    /// Its rid in the SDP, once known.
    pub rid: Option<Arc<str>>,
}

/// Whether frames are encrypted end to end, as the publisher declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Not end to end.
    #[default]
    None,
    /// AES-GCM frames.
    Gcm,
    /// A scheme of the application's own.
    Custom,
}

/// A published track, as the roster shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Track {
    /// Its id.
    pub sid: TrackSid,
    /// The publisher's id of it.
    pub cid: TrackCid,
    /// The track id in the publisher's SDP, where it differs from `cid` (Firefox).
    pub sdp_cid: Option<TrackCid>,
    /// Audio or video.
    pub kind: MediaKind,
    /// Where it comes from.
    pub source: Source,
    /// The publisher's name for it.
    pub name: Arc<str>,
    /// Whether the publisher muted it.
    pub muted: bool,
    /// Pixels, 0 for audio.
    pub width: u32,
    /// Pixels, 0 for audio.
    pub height: u32,
    /// The codec, once negotiated (or as asked for before).
    pub codec: Option<Codec>,
    /// The publisher's media section, once bound.
    pub mid: Option<Arc<str>>,
    /// Announced layers, lowest quality first.
    pub layers: Vec<VideoLayer>,
    /// Whether layers come as separate RTP streams.
    pub simulcast: bool,
    /// Two audio channels.
    pub stereo: bool,
    /// No discontinuous transmission.
    pub disable_dtx: bool,
    /// No redundant audio.
    pub disable_red: bool,
    /// End-to-end encryption as declared.
    pub encryption: Encryption,
    /// Synchronisation group.
    pub stream: Arc<str>,
    /// Audio features, as the numbers the client sent; mirrored, never interpreted.
    pub audio_features: Vec<i32>,
    /// Grows with each change of this record.
    pub version: u64,
}

impl fmt::Debug for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track").field("kind", &self.kind).field("source", &self.source).finish_non_exhaustive()
    }
}

/// What a client said of itself; mirrored to others where they need it, never logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFacts {
    /// Its signalling protocol number.
    pub protocol: i32,
    /// Its client-to-client protocol number.
    pub client_protocol: i32,
    /// Its client-to-client capabilities.
    pub capabilities: Vec<i32>,
    /// Whether it is Firefox, whose SDP differs in documented ways.
    pub firefox: bool,
}

/// A participant as the roster shows it: the whole record, sent anew on each change.
#[derive(Clone, PartialEq, Eq)]
pub struct Participant {
    /// This stay.
    pub sid: ParticipantSid,
    /// Who it is.
    pub identity: Identity,
    /// Display name.
    pub name: Arc<str>,
    /// Opaque to the relay.
    pub metadata: Arc<str>,
    /// Key-value pairs; keys beginning with `consultation.` belong to the relay.
    pub attributes: BTreeMap<String, String>,
    /// How far its connection has come.
    pub state: ParticipantState,
    /// What it may do.
    pub permissions: Permissions,
    /// Its published tracks.
    pub tracks: Vec<Arc<Track>>,
    /// When this stay began, ms since the Unix epoch.
    pub joined_at_ms: u64,
    /// Grows with each change of the record, never back.
    pub version: u32,
    /// What sits behind it.
    pub kind: ParticipantKind,
    /// What its client said of itself.
    pub client: ClientFacts,
    /// Why it left, in its last record.
    pub left: Option<LeaveReason>,
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant").field("state", &self.state).field("version", &self.version).finish_non_exhaustive()
    }
}

/// A room as its members see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFacts {
    /// This opening of the room.
    pub sid: RoomSid,
    /// Its name.
    pub name: RoomName,
    /// Opaque to the relay.
    pub metadata: Text,
    /// When it opened, ms since the Unix epoch.
    pub opened_at_ms: u64,
    /// Members now.
    pub participants: u32,
    /// Members that publish something.
    pub publishers: u32,
    /// Seats it may hold; 0 means no limit.
    pub max_participants: u32,
    /// Seconds it stays open after it was created and nobody came.
    pub empty_timeout_s: u32,
    /// Seconds it stays open after the last member left.
    pub departure_timeout_s: u32,
}

/// Text of a person or platform: opaque, and redacted in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(pub Arc<str>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

/// Key-value pairs of a participant: opaque, and redacted in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(pub BTreeMap<String, String>);

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({} keys)", self.0.len())
    }
}

/// Bytes of a message between people: opaque, and redacted in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message(pub bytes::Bytes);

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.0.len())
    }
}

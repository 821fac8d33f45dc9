//! What a shard tells the doors: neutral events, no wire protocol's types.

use super::command::RefusedRequest;
pub use super::held::Ticket;
pub use crate::consultation::timeline::Figures;
pub use crate::consultation::{Fact, Refusal};
use crate::model::Instant;
use crate::model::roster::{LeaveAction, LeaveReason, Participant, Quality, RoomFacts, Source, Track};
use crate::model::{Codec, Identity, Now, ParticipantSid, RoomKey, RoomSid, TrackCid, TrackSid};
use std::fmt;
use std::sync::Arc;

/// A fact of a consultation on its way to the record.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which room.
    pub room: RoomKey,
    /// Which opening of it.
    pub sid: RoomSid,
    /// When.
    pub at: Now,
    /// What.
    pub fact: Fact,
    /// Present where effects wait until it is on disk: [`Command::Durable`](super::command::Command::Durable) or
    /// [`Command::NotDurable`](super::command::Command::NotDurable) answers it.
    pub ticket: Option<Ticket>,
}

/// What came of a consultation's media since the last of these: about one a second, and one before something ends.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Which room.
    pub room: RoomKey,
    /// Which opening of it.
    pub sid: RoomSid,
    /// When.
    pub at: Now,
    /// What reached whom.
    pub delivered: Vec<Delivered>,
    /// How the line of each seat was; empty where the last figures are less than a second old.
    pub lines: Vec<(Identity, Figures)>,
    /// What happened to seats without a decision of anybody.
    pub happened: Vec<Happened>,
}

/// A stretch in which media of one seat reached another.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Who sent it.
    pub from: Identity,
    /// Whom it reached.
    pub to: Identity,
    /// What it is.
    pub source: Source,
    /// Its first moment.
    pub since: Instant,
    /// Its last moment so far.
    pub until: Instant,
}

/// Something that happened to a seat.
#[derive(Clone, Debug)]
pub struct Happened {
    /// To whom.
    pub seat: Identity,
    /// When.
    pub at: Instant,
    /// What.
    pub what: Happening,
}

/// What can happen to a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its media is connected.
    Connected,
    /// Its media travels from another address.
    Moved,
    /// No path for its media was found.
    NoPath,
    /// A path was found, but encryption could not be agreed.
    NoHandshake,
    /// Its signalling is gone.
    SignalLost,
    /// One of its tracks is silent.
    Muted(Source),
    /// And is not any more.
    Unmuted(Source),
    /// It gets no picture of somebody: its line bears no more.
    Paused {
        /// Whose.
        from: Identity,
    },
    /// It gets that picture again.
    Resumed {
        /// Whose.
        from: Identity,
    },
}

/// Takes a session's events; the shard never waits on it.
pub trait EventSink: Send + fmt::Debug {
    /// Hands over one event, in order.
    ///
    /// # Errors
    /// [`Gone`] when the session's queue is full or its socket is closed: the shard treats the socket as lost, the participant
    /// may resume.
    fn push(&mut self, event: Event) -> Result<(), Gone>;
}

/// The session takes no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session gone")]
pub struct Gone;

/// What a session learns from its shard.
#[derive(Clone, Debug)]
pub enum Event {
    /// The join was accepted: always the first event of a joining session.
    Joined(Box<Joined>),
    /// The resume was accepted: always the first event of a resuming session.
    Resumed {
        /// The stay that goes on.
        participant: Arc<Participant>,
        /// Highest reliable data sequence received from this client.
        last_data_sequence: u32,
    },
    /// The join or resume was refused: the only event of its session.
    Rejected(Refusal),
    /// Answers an offer.
    Answer {
        /// The offer's number.
        id: u32,
        /// The description.
        sdp: Sdp,
        /// Every media section that carries a track to this client.
        tracks_by_mid: Vec<(Arc<str>, TrackSid)>,
    },
    /// Offers what a client with two peer connections receives.
    Offer {
        /// The offer's number, counted from 1.
        id: u32,
        /// The description.
        sdp: Sdp,
        /// Every media section that carries a track to this client.
        tracks_by_mid: Vec<(Arc<str>, TrackSid)>,
    },
    /// Media sections the client must add before it offers again; 0 and 0 only asks for an offer.
    SectionsWanted {
        /// Audio sections.
        audio: u32,
        /// Video sections.
        video: u32,
    },
    /// Whole records that are new or changed, its own included.
    Roster(Vec<Arc<Participant>>),
    /// Not for the client: once everything before is written to the socket, the session answers
    /// [`Request::Written`](super::command::Request::Written) with the same number.
    Receipt(u64),
    /// The room's facts changed.
    Room(RoomFacts),
    /// A track the client announced has its id.
    TrackAccepted {
        /// The client's id.
        cid: TrackCid,
        /// Its record.
        track: Arc<Track>,
    },
    /// Somebody subscribed to a track of this client for the first time.
    TrackSubscribed(TrackSid),
    /// The relay took one of the client's own tracks down.
    TrackWithdrawn(TrackSid),
    /// The platform muted one of the client's own tracks.
    MuteRequested(TrackSid),
    /// A request was refused.
    Refused {
        /// The request's number, 0 where it had none.
        request_id: u32,
        /// Why.
        refusal: Refusal,
        /// What was asked.
        request: Box<RefusedRequest>,
    },
    /// A numbered request was carried out.
    Acknowledged {
        /// The request's number.
        request_id: u32,
    },
    /// Who speaks, changes only; the loudest first.
    Speakers(Vec<Speaker>),
    /// How well each participant's line carries.
    Quality(Vec<LineQuality>),
    /// Which layers of an own track somebody wants.
    WantedLayers {
        /// Which track.
        track: TrackSid,
        /// In which codec.
        codec: Codec,
        /// The highest wanted; `None` when nobody watches.
        highest: Option<Quality>,
    },
    /// Tracks the relay paused or resumed for this client.
    StreamState(Vec<StreamState>),
    /// A publisher opened or closed a track for this client.
    SubscriptionAllowed {
        /// Whose track.
        publisher: ParticipantSid,
        /// Which.
        track: TrackSid,
        /// Open from now on.
        allowed: bool,
    },
    /// A subscription cannot be had.
    SubscriptionFailed(TrackSid),
    /// The session ends: always the last event.
    Leave {
        /// What the client should do.
        action: LeaveAction,
        /// Why.
        reason: LeaveReason,
    },
    /// Close the socket without a word (a newer session of the same stay, or a simulated fault): always the last event.
    Close,
}

/// What a client learns when it joins.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its own record.
    pub participant: Arc<Participant>,
    /// The others it may see.
    pub others: Vec<Arc<Participant>>,
    /// The room.
    pub room: RoomFacts,
    /// The client has two peer connections, and counts as connected once the one it receives on is.
    pub receives_first: bool,
    /// The client should offer at once, without waiting for something to publish.
    pub offers_now: bool,
}

/// A session description; unprintable.
#[derive(Clone, PartialEq, Eq)]
pub struct Sdp(pub String);

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sdp({} bytes)", self.0.len())
    }
}

/// A participant's voice.
#[derive(Clone, Debug, PartialEq)]
pub struct Speaker {
    /// Whose.
    pub participant: ParticipantSid,
    /// 0 (silent) to 1.
    pub level: f32,
    /// Speaking now.
    pub active: bool,
}

/// How well a participant's line carries.
#[derive(Clone, Debug, PartialEq)]
pub struct LineQuality {
    /// Whose.
    pub participant: ParticipantSid,
    /// In words.
    pub grade: Grade,
    /// 1 to 5, as a mean opinion score.
    pub score: f32,
}

/// A line's quality in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing arrives.
    Lost,
    /// Hard to follow.
    Poor,
    /// Usable.
    Good,
    /// Clean.
    Excellent,
}

/// A subscribed track that the relay paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Whose track.
    pub publisher: ParticipantSid,
    /// Which.
    pub track: TrackSid,
    /// Paused from now on.
    pub paused: bool,
}

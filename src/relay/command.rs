//! What the doors ask of a shard: neutral commands, no wire protocol's types.

use super::event::{EventSink, Ticket};
pub use crate::consultation::{
    Act, AddTrack, AsideRules, AsideView, Assurance, By, Channel, Closing, Consent, ConsultationPolicy, Emergency, Fact, Gate,
    IdentityCheck, Invitation, LONGEST, LONGEST_ASIDE, Loosened, MOST_SEATS, Method, Overview, Plan, Policy, Recording, Refusal,
    RoomSettings, Scope, SeatState, SeatView, SecondUse, SubscriptionPermission, TenantRules, TextVersion, Token,
    TrackPermission,
};
use crate::model::roster::{
    Attributes, ClientFacts, LeaveReason, Message, Participant, ParticipantKind, Permissions, Quality, RoomFacts, Text, Track,
};
use crate::model::{Identity, Instant, ParticipantSid, RoomKey, RoomName, SessionId, TenantId, TrackSid};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Hands commands to the shard that owns their room; the doors hold one of these and nothing else of the core.
pub trait Relay: Send + Sync {
    /// Sends a command towards its shard; never waits.
    ///
    /// # Errors
    /// [`Busy`] when the shard's mailbox is full or the node takes no new calls; the caller answers "busy, try again".
    fn send(&self, command: Command) -> Result<(), Busy>;

    /// Whether the node is open: it neither starts nor drains. A node that is open may be busy all the same.
    fn ready(&self) -> bool;

    /// Why no new room would be taken now, in a few words; `None` while one would be.
    fn closed(&self) -> Option<&'static str> {
        (!self.ready()).then_some("not ready")
    }

    /// Whether anybody can be given more than before: the audit log takes it. `opening` names a consultation that would open for it,
    /// where it has not yet.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`] while the log cannot be written, for openings also while its disk is nearly full.
    fn check_record(&self, opening: Option<&RoomKey>) -> Result<(), Refusal> {
        let _ = opening;
        Ok(())
    }

    /// When somebody who was refused as busy should try again; differs from call to call, so that they do not all come at once.
    fn retry_after(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// How many shards there are: how often a [`Command::ListRooms`] is answered.
    fn shards(&self) -> usize;
}

/// What a platform arranged for rooms before anybody came; the doors look there before a join.
pub trait Plans: Send + Sync {
    /// What was arranged for a room.
    fn arranged(&self, room: &RoomKey) -> Arranged;
}

/// What was arranged for a room.
#[derive(Clone, Debug)]
pub enum Arranged {
    /// Nothing: its tenant's rules hold.
    Nothing,
    /// A consultation.
    Plan(Box<Plan>),
    /// A consultation that is over.
    Over,
}

/// The shard cannot take the command now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("busy")]
pub struct Busy;

/// A request to a shard.
#[derive(Debug)]
pub enum Command {
    /// A client opens a session for a seat.
    Join(Box<Join>),
    /// A client opens a new signalling socket for a stay it already has.
    Resume(Box<Resume>),
    /// A client's message on its session.
    Request {
        /// The session's room.
        room: RoomKey,
        /// The session's stay.
        participant: ParticipantSid,
        /// The session; messages of a session that was replaced are dropped.
        session: SessionId,
        /// What it asks.
        request: Request,
    },
    /// A session's socket closed without a leave.
    SocketClosed {
        /// The session's room.
        room: RoomKey,
        /// The session's stay.
        participant: ParticipantSid,
        /// The session.
        session: SessionId,
    },
    /// The platform acts on one room.
    Admin {
        /// Which.
        room: RoomKey,
        /// How.
        action: AdminAction,
        /// Takes the answer; called exactly once, on the worker's thread, and must not block.
        reply: Reply,
    },
    /// The platform lists its rooms; sent to every shard.
    ListRooms {
        /// Whose.
        tenant: TenantId,
        /// Only these; empty means all.
        names: Vec<RoomName>,
        /// Takes each shard's part of the answer, each exactly once.
        reply: RoomsReply,
    },
    /// A fact is on disk: what waits for it is carried out.
    Durable {
        /// Which room's.
        room: RoomKey,
        /// Which.
        ticket: Ticket,
    },
    /// A fact cannot be written: what it gave is taken back.
    NotDurable {
        /// Which room's.
        room: RoomKey,
        /// Which.
        ticket: Ticket,
    },
    /// The audit log can, or cannot, be written; sent to every shard.
    Recording(Recording),
    /// The node stops: everybody leaves.
    Shutdown,
}

/// Takes the answer to an [`AdminAction`].
pub struct Reply(pub Box<dyn FnOnce(Result<AdminReply, Refusal>) + Send>);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Takes one shard's rooms.
#[derive(Clone)]
pub struct RoomsReply(pub Arc<dyn Fn(Vec<RoomFacts>) + Send + Sync>);

impl fmt::Debug for RoomsReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomsReply")
    }
}

/// Everything a door knows of a seat that joins.
#[derive(Debug)]
pub struct Join {
    /// Which room.
    pub room: RoomKey,
    /// How the tenant's rooms behave.
    pub policy: Policy,
    /// Settings for the room if this join opens it.
    pub room_settings: RoomSettings,
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
    /// The client sends `track_setting` for what it shows.
    pub adaptive_stream: bool,
    /// The client has two peer connections: it publishes on the one it offers, and receives on one the relay offers.
    pub two_connections: bool,
    /// First offer, where it came with the join.
    pub offer: Option<Offer>,
    /// Tracks to publish right away.
    pub tracks: Vec<AddTrack>,
    /// When the token was issued, seconds since the Unix epoch; 0 where it does not say.
    pub issued_at_s: u64,
    /// What goes on record of its token.
    pub token: Token,
    /// How the room opens if nobody has come to it yet.
    pub plan: Option<Box<Plan>>,
    /// The session.
    pub session: SessionId,
    /// Where its events go.
    pub events: Box<dyn EventSink>,
}

/// A new signalling socket for a stay.
#[derive(Debug)]
pub struct Resume {
    /// Which room.
    pub room: RoomKey,
    /// Who, as the token says.
    pub identity: Identity,
    /// Which stay, where the client says it.
    pub participant: Option<ParticipantSid>,
    /// When the token was issued, seconds since the Unix epoch; 0 where it does not say.
    pub issued_at_s: u64,
    /// The new session.
    pub session: SessionId,
    /// Where its events go.
    pub events: Box<dyn EventSink>,
}

/// An SDP offer and the number its answer must carry.
#[derive(Clone)]
pub struct Offer {
    /// Echoed in the answer, 0 included.
    pub id: u32,
    /// The description.
    pub sdp: String,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("id", &self.id).field("bytes", &self.sdp.len()).finish()
    }
}

/// An SDP answer and the number of the offer it answers.
#[derive(Clone)]
pub struct Answer {
    /// The offer's number; 0 from clients that do not count.
    pub id: u32,
    /// The description.
    pub sdp: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).field("bytes", &self.sdp.len()).finish()
    }
}

/// What a client asks on its session.
#[derive(Debug)]
pub enum Request {
    /// A new offer for its one peer connection, or for the one on which it publishes.
    Offer(Offer),
    /// Answers an offer of the relay's.
    Answer(Answer),
    /// A remote candidate; ICE-lite has no use for it, so only the count matters.
    Trickle,
    /// Announces a track before its media section.
    AddTrack(AddTrack),
    /// Mutes or unmutes one of its own tracks.
    Mute {
        /// Which.
        track: TrackSid,
        /// Muted from now on.
        muted: bool,
    },
    /// Subscribes to tracks or leaves them.
    Subscribe {
        /// Which.
        tracks: Vec<TrackSid>,
        /// On or off.
        subscribe: bool,
    },
    /// How a subscribed track is shown.
    TrackSetting {
        /// Which.
        tracks: Vec<TrackSid>,
        /// The wish.
        setting: TrackSetting,
    },
    /// Who may receive the tracks of the one who asks.
    SubscriptionPermission(SubscriptionPermission),
    /// What the client holds after a resume.
    SyncState(SyncState),
    /// Changes to its own record.
    UpdateMetadata {
        /// Echoed in the answer.
        request_id: u32,
        /// New metadata, where not empty.
        metadata: Text,
        /// New name, where not empty.
        name: Text,
        /// Merged; an empty value deletes its key.
        attributes: Attributes,
    },
    /// Features of one of its own audio tracks.
    UpdateAudioTrack {
        /// Which.
        track: TrackSid,
        /// As the client numbers them.
        features: Vec<i32>,
    },
    /// New dimensions of one of its own video tracks.
    UpdateVideoTrack {
        /// Which.
        track: TrackSid,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A feature the relay does not have; it is refused by name.
    Unsupported(RefusedRequest),
    /// Goodbye.
    Leave(LeaveReason),
    /// The door's own word, never a client's: everything up to [`Event::Receipt`](super::event::Event::Receipt) is written.
    Written(u64),
    /// Dev mode: a fault on purpose.
    Simulate(Simulation),
}

/// Faults a client may ask for in dev mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// Close the signalling socket without a word.
    CloseSocket,
    /// Ask for a full reconnect.
    FullReconnect,
}

/// How a receiver wants a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackSetting {
    /// Not shown now.
    pub disabled: bool,
    /// Wanted quality, used where no dimensions are given.
    pub quality: Option<Quality>,
    /// Width in pixels at which it is shown, 0 where not said.
    pub width: u32,
    /// Height in pixels at which it is shown, 0 where not said.
    pub height: u32,
    /// Frames per second wanted, 0 where not said.
    pub fps: u32,
    /// Larger comes first when the line is short.
    pub priority: u32,
}

/// What a client holds after a resume.
#[derive(Clone, Debug, Default)]
pub struct SyncState {
    /// Ids of tracks it believes it publishes.
    pub published: Vec<TrackSid>,
    /// Tracks that deviate from the automatic subscription.
    pub subscription_tracks: Vec<TrackSid>,
    /// Whether those are subscribed (otherwise they are the ones left out).
    pub subscribe: bool,
    /// Tracks it does not show now.
    pub disabled: Vec<TrackSid>,
    /// Last reliable message seen of each publisher.
    pub data_received: Vec<(ParticipantSid, u32)>,
}

/// Which client request a refusal answers.
#[derive(Clone, Debug)]
pub enum RefusedRequest {
    /// `add_track`.
    AddTrack(AddTrack),
    /// `mute`.
    Mute {
        /// Which track.
        track: TrackSid,
        /// The wish.
        muted: bool,
    },
    /// `update_metadata`.
    UpdateMetadata,
    /// Publishing a data track.
    PublishDataTrack {
        /// The client's handle.
        handle: u32,
        /// The client's name for it.
        name: Text,
    },
}

/// What the platform does to a room.
#[derive(Debug)]
pub enum AdminAction {
    /// Opens the room, or changes the settings of an open one; the tenant's rooms behave as said.
    CreateRoom(RoomSettings, Policy),
    /// Ends the room for everybody.
    DeleteRoom,
    /// Changes the room's metadata.
    UpdateRoomMetadata(Text),
    /// Lists members.
    ListParticipants,
    /// Shows one member.
    GetParticipant(Identity),
    /// Removes one member.
    RemoveParticipant(Identity),
    /// Mutes a track of a member; unmuting is refused, nobody opens a microphone from outside.
    MuteTrack {
        /// Whose.
        identity: Identity,
        /// Which.
        track: TrackSid,
        /// Must be true.
        muted: bool,
    },
    /// Changes a member's record.
    UpdateParticipant {
        /// Whose.
        identity: Identity,
        /// New metadata, where not empty.
        metadata: Text,
        /// New name, where not empty.
        name: Text,
        /// The whole new set of permissions, where given.
        permissions: Option<Permissions>,
        /// Merged; an empty value deletes its key.
        attributes: Attributes,
    },
    /// Changes what a member receives.
    UpdateSubscriptions {
        /// Whose.
        identity: Identity,
        /// Which tracks.
        tracks: Vec<TrackSid>,
        /// On or off.
        subscribe: bool,
    },
    /// Sends a data message into the room from the platform.
    SendData {
        /// The whole message, already in the data channels' format.
        message: Message,
        /// Reliable or lossy.
        reliable: bool,
        /// Receivers; empty means all.
        destinations: Vec<Identity>,
        /// The caller's number of the message: a repetition within a moment is not sent again.
        nonce: Option<[u8; 16]>,
    },
    /// Opens a consultation, or changes the rules of one to which nobody has come yet; answers [`AdminReply::Consultation`].
    OpenConsultation(Box<ConsultationPolicy>),
    /// Somebody acts in a consultation; answers [`AdminReply::Done`] once packets obey.
    Consult {
        /// Who: the platform, or a seat with its own token.
        by: By,
        /// How.
        act: Box<Act>,
        /// Since when the relay knows that it is wanted.
        asked_at: Instant,
    },
    /// Shows a consultation; answers [`AdminReply::Consultation`].
    ShowConsultation,
}

/// The answer to an [`AdminAction`].
#[derive(Debug)]
pub enum AdminReply {
    /// Done.
    Done,
    /// The room.
    Room(RoomFacts),
    /// Its members.
    Participants(Vec<Arc<Participant>>),
    /// One member.
    Participant(Arc<Participant>),
    /// One track.
    Track(Arc<Track>),
    /// A consultation.
    Consultation(Box<Overview>),
}

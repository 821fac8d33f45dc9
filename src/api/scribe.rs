//! What calls of a platform leave on record, in neutral words.
//!
//! A call that hands something out is answered, and one that gives something is carried out, once its note is durable; one that takes
//! something away is carried out first. What a consultation's own facts tell already, with its author, is not noted again. No note holds
//! anything of a request but the key that signed it, the room and the seat.
//!
//! Entry point: [`Scribe`].

use crate::auth::Grants;
use crate::model::{Identity, RoomKey, TenantId};
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A room or consultation is made.
    RoomCreate,
    /// One or all of them are shown.
    RoomRead,
    /// One is changed.
    RoomUpdate,
    /// One is ended.
    RoomEnd,
    /// A seat is invited.
    SeatInvite,
    /// Seats are shown.
    SeatRead,
    /// A seat is changed.
    SeatUpdate,
    /// A seat is taken out.
    SeatRemove,
    /// A track is muted.
    TrackMute,
    /// The platform speaks into a room.
    DataSend,
    /// A consent is recorded or taken back.
    ConsentWrite,
    /// A statement is signed.
    AttestationRead,
    /// A story is told.
    TimelineRead,
    /// Events are read.
    EventsRead,
}

/// Why something that was asked for was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotMade {
    /// The audit log takes nothing.
    Unrecorded,
    /// The node has no room for it.
    Full,
    /// The node stops or starts.
    Draining,
    /// The rules, or the caller's grants, do not allow it.
    Policy,
    /// It was not asked for in the words of the call.
    Malformed,
}

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A call that changes something.
    Change(Op),
    /// A call that hands something out; the same within a minute is noted once, and counted.
    Read(Op),
    /// A call that was refused; the first of each kind in a minute, and a count.
    Refused(Op),
    /// A room or consultation was asked for and not made; the first of each reason in a minute, and a count.
    NotMade(NotMade),
    /// A report was handed out: the SHA-256 of its bytes.
    Report([u8; 32]),
    /// Tokens issued before now open nothing any more: those of the seat, or of the whole room where none is named.
    Revoked,
}

/// One note.
#[derive(Clone)]
pub struct Note {
    /// Whose call it is.
    pub tenant: TenantId,
    /// The key that signed its token.
    pub key: Arc<str>,
    /// The room it is about.
    pub room: Option<RoomKey>,
    /// The seat it is about.
    pub seat: Option<Identity>,
    /// What it is.
    pub what: What,
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Note {
    /// A note about a call with this token.
    #[must_use]
    pub fn of(grants: &Grants, what: What) -> Self {
        Self { tenant: grants.tenant.clone(), key: grants.key.clone(), room: None, seat: None, what }
    }

    /// Says about which room.
    #[must_use]
    pub fn in_room(self, room: &RoomKey) -> Self {
        Self { room: Some(room.clone()), ..self }
    }
}

/// Called once when a note is durable, or will not be; must not block.
pub type Done = Box<dyn FnOnce(bool) + Send>;

/// Puts notes on record; never waits.
pub trait Scribe: Send + Sync {
    /// Takes a note.
    fn note(&self, note: Note, done: Done);

    /// Whether a consultation runs in this room whose own facts go on record.
    fn follows(&self, room: &RoomKey) -> bool;
}

/// Takes a note that nobody waits for.
pub fn leave(scribe: &dyn Scribe, note: Note) {
    scribe.note(note, Box::new(|_| {}));
}

/// Takes a note; whether it is durable.
pub async fn durable(scribe: &dyn Scribe, note: Note) -> bool {
    let (tell, told) = oneshot::channel();
    scribe.note(
        note,
        Box::new(move |durable| {
            // The caller may have given up.
            let _ = tell.send(durable);
        }),
    );
    told.await.unwrap_or(false)
}

/// Notes nothing, for nodes and tests without a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoScribe;

impl Scribe for NoScribe {
    fn note(&self, _: Note, done: Done) {
        done(true);
    }

    fn follows(&self, _: &RoomKey) -> bool {
        false
    }
}

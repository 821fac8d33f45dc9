//! The seam between the data channels' message format, which a door owns, and the fan-out, which the shard owns.

use crate::model::roster::Message;
use crate::model::{Identity, ParticipantSid};

/// Opens the outer envelope of data messages and stamps the sender into it; the content stays as the client sent it.
pub trait Envelope: Send + Sync {
    /// What a data channel is for, by its label; `None` for one the relay leaves alone.
    fn channel(&self, label: &str) -> Option<ChannelKind>;

    /// The label of a channel the relay opens itself.
    fn label(&self, kind: ChannelKind) -> &'static str;

    /// Checks one message of a client and stamps its true sender.
    ///
    /// # Errors
    /// [`BadEnvelope`] when the message does not parse.
    fn stamp(&self, message: &[u8], sender: &Sender<'_>) -> Result<Stamped, BadEnvelope>;
}

/// What a data channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// Messages that must arrive.
    Reliable,
    /// Messages that may be lost.
    Lossy,
}

/// Who sent a data message, as the relay knows it.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Its stay.
    pub participant: &'a ParticipantSid,
    /// Who it is.
    pub identity: &'a Identity,
    /// The channel it came on.
    pub reliable: bool,
}

/// A message that may be fanned out.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// The whole message with the sender stamped.
    pub message: Message,
    /// Receivers by identity; empty, together with `to_sids`, means all.
    pub to: Vec<Identity>,
    /// Receivers by stay (an older form).
    pub to_sids: Vec<ParticipantSid>,
    /// The client's number of a reliable message, 0 where it has none.
    pub sequence: u32,
    /// Whether the kind of content may be relayed between clients.
    pub relayed: bool,
}

/// The message's envelope does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed data message")]
pub struct BadEnvelope;

//! Ids, units and the plain facts every room of the house shares.
//!
//! Ids of people, rooms, tracks and tenants are *unprintable by type*: they have no `Display`, and their
//! `Debug` shows only the type's name, so that no log line, metric or error text can carry one by accident.
//! Reading one takes an explicit [`as_str`](Identity::as_str), which is what wire encoders do.
//!
//! This room uses nothing of ours and knows no clock, socket, lock or runtime.

pub mod counters;
mod instant;
pub mod roster;

pub use instant::Instant;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

macro_rules! opaque_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text of an id.
            #[must_use]
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text itself, for wire encoders and map keys only.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

opaque_id! {
    /// The tenant a key belongs to; rooms of two tenants never meet, whatever their names.
    TenantId;
    /// A room's name as the platform chose it.
    RoomName;
    /// A room's own id (`RM_…`), new each time the room opens.
    RoomSid;
    /// Who a seat is for: the opaque reference in the token's `sub`, unique in its room.
    Identity;
    /// One stay of a participant in a room (`PA_…`); kept over a resume, new after a rejoin.
    ParticipantSid;
    /// A published track (`TR_…`).
    TrackSid;
    /// The publisher's own id of a track, from its `add_track` request.
    TrackCid;
}

/// A room of a tenant: the key under which commands find it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomKey {
    /// Whose room it is.
    pub tenant: TenantId,
    /// The name the platform gave it.
    pub name: RoomName,
}

/// One signalling connection of a participant; a resume brings a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A worker and the shard it drives, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// The time of one step: the monotonic clock for intervals and the wall clock for what people read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time.
    pub mono: Instant,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// How a datagram came in and how the answer goes out: the local socket and address, and the far end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Index of the worker's local socket.
    pub socket: u8,
    /// The local address the datagram was sent to, where the socket is bound to a wildcard.
    pub local: Option<IpAddr>,
    /// The far end.
    pub remote: SocketAddr,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Path(…)")
    }
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A codec the relay forwards; it decodes none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Opus, 48 kHz (RFC 7587).
    Opus,
    /// Redundant audio around Opus (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// AV1 (AOMedia RTP specification).
    Av1,
}

impl Codec {
    /// Sound or pictures.
    #[must_use]
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => MediaKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        match self.kind() {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }

    /// The encoding name of its `a=rtpmap`, lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
            Self::Av1 => "av1",
        }
    }

    /// The MIME type with its registered spelling, for example `video/VP8`.
    #[must_use]
    pub fn mime(self) -> &'static str {
        match self {
            Self::Opus => "audio/opus",
            Self::Red => "audio/red",
            Self::Vp8 => "video/VP8",
            Self::Vp9 => "video/VP9",
            Self::H264 => "video/H264",
            Self::Av1 => "video/AV1",
        }
    }

    /// Reads an encoding name or MIME type, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next().unwrap_or(name);
        [Self::Opus, Self::Red, Self::Vp8, Self::Vp9, Self::H264, Self::Av1]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }
}

/// The header extensions the relay reads, rewrites or passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Extension {
    /// Media section id (RFC 9143).
    Mid,
    /// RTP stream id (RFC 8852).
    Rid,
    /// Repaired RTP stream id (RFC 8852).
    RepairedRid,
    /// Client-to-mixer audio level (RFC 6464).
    AudioLevel,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportCc,
    /// Absolute send time.
    AbsSendTime,
    /// Absolute capture time.
    AbsCaptureTime,
    /// Coordination of video orientation (3GPP TS 26.114).
    VideoOrientation,
    /// Dependency descriptor (AV1 RTP specification, appendix A).
    DependencyDescriptor,
    /// Playout delay.
    PlayoutDelay,
}

impl Extension {
    /// Every extension, in the order of its discriminant.
    pub const ALL: [Self; 10] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::TransportCc,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::VideoOrientation,
        Self::DependencyDescriptor,
        Self::PlayoutDelay,
    ];

    /// The URI of its `a=extmap`.
    #[must_use]
    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::TransportCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        }
    }

    /// Finds the extension of a URI.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }
}

/// Which id each extension has on one transport; ids are 1..=14 for one-byte and up to 255 for two-byte headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap([u8; Extension::ALL.len()]);

impl ExtensionMap {
    /// Records the id of an extension; 0 means it is not negotiated.
    pub fn set(&mut self, extension: Extension, id: u8) {
        if let Some(slot) = self.0.get_mut(extension as usize) {
            *slot = id;
        }
    }

    /// The id of an extension, where it is negotiated.
    #[must_use]
    pub fn id(&self, extension: Extension) -> Option<u8> {
        self.0.get(extension as usize).copied().filter(|id| *id != 0)
    }

    /// The extension that has an id.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<Extension> {
        if id == 0 {
            return None;
        }
        Extension::ALL.into_iter().find(|extension| self.id(*extension) == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_prints_its_text() {
        let key = RoomKey { tenant: TenantId::new("clinic"), name: RoomName::new("room-of-mme-durand") };
        let printed = format!("{key:?} {:?}", Identity::new("durand"));
        assert!(!printed.contains("clinic") && !printed.contains("durand"), "{printed}");
        assert!(printed.contains("Identity(…)"), "positive control: the type is named");
    }

    #[test]
    fn codec_names_are_read_in_any_case() {
        assert_eq!(Codec::from_name("video/VP8"), Some(Codec::Vp8));
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::from_name("video/theora"), None);
    }

    #[test]
    fn extension_ids_map_both_ways() {
        let mut map = ExtensionMap::default();
        map.set(Extension::Mid, 4);
        assert_eq!(map.id(Extension::Mid), Some(4));
        assert_eq!(map.extension(4), Some(Extension::Mid));
        assert_eq!(map.extension(0), None);
        assert_eq!(Extension::from_uri(Extension::Rid.uri()), Some(Extension::Rid));
    }
}

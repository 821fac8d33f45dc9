//! One synthetic client: its signalling, its WebRTC stack, the media it makes and what it makes of others'.

/// How pictures are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// The AV1 RTP payload specification.
    Av1,
    /// RFC 6184.
    H264,
}

/// Voice or camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A voice.
    Audio,
    /// A camera.
    Video,
}

/// Which layer a receiver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// The lowest.
    Low,
    /// The middle one.
    Medium,
    /// The highest.
    High,
    /// None: the track is switched off.
    Off,
}

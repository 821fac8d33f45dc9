//! What can happen to a seat, and whose matter it is.

use super::super::MemberId;

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Microphone.
    Audio,
    /// Camera.
    Video,
    /// Screen.
    Screen,
}

impl Kind {
    pub(super) fn device(self) -> &'static str {
        match self {
            Self::Audio => "microphone",
            Self::Video => "camera",
            Self::Screen => "screen",
        }
    }
}

/// How media travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP, because UDP did not pass.
    Tcp,
    /// Through a relay of the other side's.
    Turn,
}

/// Why a seat left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// By themselves.
    User,
    /// Nothing was heard for too long.
    NetworkLost,
    /// Removed.
    Removed,
    /// The same seat came again.
    Replaced,
    /// The consultation ended.
    Ended,
    /// The relay was stopped or moved the room.
    Relay,
}

/// Why a picture became smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepCause {
    /// The receiver's line.
    Bandwidth,
    /// The sender offers no more.
    Sender,
    /// The receiver asked for it.
    Asked,
}

/// Something that happened to a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It waits to be admitted.
    Waiting,
    /// It was admitted.
    Admitted,
    /// It was turned away.
    TurnedAway,
    /// It was resumed after its signalling was gone for so long.
    Resumed {
        /// Seconds without signalling.
        gap_s: u64,
    },
    /// It left.
    Left(Leaving),
    /// Its signalling is gone.
    SignalLost,
    /// Media is connected.
    Connected(Transport),
    /// Media travels another way, or from another address.
    Moved(Transport),
    /// No path for media was found.
    NoPath,
    /// A path was found, but encryption could not be agreed.
    NoHandshake,
    /// Consent was given.
    ConsentGiven,
    /// Consent was refused.
    ConsentRefused,
    /// Consent was withdrawn.
    ConsentWithdrawn,
    /// Its media may flow.
    GateOpened,
    /// Its media may not flow.
    GateShut,
    /// It began to send.
    Published(Kind),
    /// It stopped sending.
    Unpublished(Kind),
    /// It switched something off itself.
    Muted(Kind),
    /// It switched something on again.
    Unmuted(Kind),
    /// Somebody else switched it off.
    MutedByOther(Kind),
    /// It speaks apart with others.
    AsideEntered,
    /// It is back with everybody.
    AsideLeft,
    /// It was left out of an aside.
    LeftOut,
    /// The picture of somebody stood still for it.
    Frozen {
        /// Whose picture.
        from: MemberId,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// It receives somebody smaller.
    SteppedDown {
        /// Whose picture.
        from: MemberId,
        /// Lines of the picture now; 0 is none.
        height: u16,
        /// Why.
        cause: StepCause,
    },
    /// It receives somebody larger again.
    SteppedUp {
        /// Whose picture.
        from: MemberId,
        /// Lines of the picture now; 0 where they are not known.
        height: u16,
    },
    /// The relay had no time for it.
    RelayBusy,
}

/// Whose matter something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The ordinary course of a consultation.
    Course,
    /// The seat's own choice.
    OwnChoice,
    /// A decision of somebody else in the room.
    Decision,
    /// Consent.
    Consent,
    /// The network of the seat.
    TheirNetwork,
    /// The device or browser of the seat.
    TheirDevice,
    /// The network or device of the other side.
    OtherSide,
    /// The relay or its network.
    Relay,
}

impl Class {
    /// The word in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Course => "course",
            Self::OwnChoice => "own_choice",
            Self::Decision => "decision",
            Self::Consent => "consent",
            Self::TheirNetwork => "their_network",
            Self::TheirDevice => "their_device",
            Self::OtherSide => "other_side",
            Self::Relay => "relay",
        }
    }
}

impl Fact {
    /// The code in documents.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Admitted => "admitted",
            Self::TurnedAway => "turned_away",
            Self::Resumed { .. } => "resumed",
            Self::Left(_) => "left",
            Self::SignalLost => "signal_lost",
            Self::Connected(_) => "connected",
            Self::Moved(_) => "moved",
            Self::NoPath => "no_path",
            Self::NoHandshake => "no_handshake",
            Self::ConsentGiven => "consent_given",
            Self::ConsentRefused => "consent_refused",
            Self::ConsentWithdrawn => "consent_withdrawn",
            Self::GateOpened => "gate_opened",
            Self::GateShut => "gate_shut",
            Self::Published(_) => "published",
            Self::Unpublished(_) => "unpublished",
            Self::Muted(_) => "muted",
            Self::Unmuted(_) => "unmuted",
            Self::MutedByOther(_) => "muted_by_other",
            Self::AsideEntered => "aside_entered",
            Self::AsideLeft => "aside_left",
            Self::LeftOut => "left_out",
            Self::Frozen { .. } => "frozen",
            Self::SteppedDown { .. } => "stepped_down",
            Self::SteppedUp { .. } => "stepped_up",
            Self::RelayBusy => "relay_busy",
        }
    }

    /// Whose matter it is, as far as the fact alone says.
    pub(super) fn class(self) -> Class {
        match self {
            Self::Waiting
            | Self::Admitted
            | Self::Connected(Transport::Udp)
            | Self::GateOpened
            | Self::AsideEntered
            | Self::AsideLeft
            | Self::SteppedUp { .. }
            | Self::Left(Leaving::Ended | Leaving::Replaced) => Class::Course,
            Self::Published(_) | Self::Unpublished(_) | Self::Muted(_) | Self::Unmuted(_) | Self::Left(Leaving::User) => {
                Class::OwnChoice
            }
            Self::TurnedAway | Self::MutedByOther(_) | Self::LeftOut | Self::Left(Leaving::Removed) => Class::Decision,
            Self::ConsentGiven | Self::ConsentRefused | Self::ConsentWithdrawn | Self::GateShut => Class::Consent,
            Self::Resumed { .. }
            | Self::SignalLost
            | Self::Connected(Transport::Tcp | Transport::Turn)
            | Self::Moved(_)
            | Self::NoPath
            | Self::Left(Leaving::NetworkLost) => Class::TheirNetwork,
            Self::NoHandshake => Class::TheirDevice,
            Self::SteppedDown { cause, .. } => match cause {
                StepCause::Bandwidth => Class::TheirNetwork,
                StepCause::Sender => Class::OtherSide,
                StepCause::Asked => Class::OwnChoice,
            },
            Self::Frozen { .. } => Class::OtherSide,
            Self::RelayBusy | Self::Left(Leaving::Relay) => Class::Relay,
        }
    }

    /// Figures that are the evidence.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most facts have no figures")]
    pub(super) fn figures(self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Resumed { gap_s } => vec![("gap_s", gap_s)],
            Self::Frozen { for_ms, .. } => vec![("for_ms", for_ms)],
            Self::SteppedUp { height: 0, .. } => Vec::new(),
            Self::SteppedDown { height, .. } | Self::SteppedUp { height, .. } => vec![("height", u64::from(height))],
            _ => Vec::new(),
        }
    }

    /// Whom else it is about.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most facts are about one seat")]
    pub(super) fn other(self) -> Option<MemberId> {
        match self {
            Self::Frozen { from, .. } | Self::SteppedDown { from, .. } | Self::SteppedUp { from, .. } => Some(from),
            _ => None,
        }
    }

    /// Plain words; `who` is the seat, `other` the one it is also about.
    pub(super) fn words(self, who: &str, other: &str) -> String {
        match self {
            Self::Waiting => format!("{who} waits to be let in"),
            Self::Admitted => format!("{who} was let in"),
            Self::TurnedAway => format!("{who} was turned away"),
            Self::Resumed { gap_s } => format!("{who}'s signalling is back after {gap_s} s"),
            Self::Left(why) => leaving(who, why),
            Self::SignalLost => format!("{who}'s signalling is gone"),
            Self::Connected(way) => format!("{who}'s media is connected over {}", transport(way)),
            Self::Moved(way) => format!("{who} changed network; media goes on over {}", transport(way)),
            Self::NoPath => format!("no path for media to {who} was found: a firewall on their side is likely"),
            Self::NoHandshake => format!("{who}'s device did not agree on encryption"),
            Self::ConsentGiven => format!("{who} gave consent"),
            Self::ConsentRefused => format!("{who} refused consent"),
            Self::ConsentWithdrawn => format!("{who} withdrew consent"),
            Self::GateOpened => format!("{who}'s media may flow"),
            Self::GateShut => format!("{who}'s media may not flow: not admitted, or consent is missing"),
            Self::Published(kind) => format!("{who} switched the {} on", kind.device()),
            Self::Unpublished(kind) => format!("{who} took the {} away", kind.device()),
            Self::Muted(kind) => format!("{who}'s {} muted by themselves", kind.device()),
            Self::Unmuted(kind) => format!("{who}'s {} on again", kind.device()),
            Self::MutedByOther(kind) => format!("{who}'s {} switched off by somebody else", kind.device()),
            Self::AsideEntered => format!("{who} speaks apart"),
            Self::AsideLeft => format!("{who} is back with everybody"),
            Self::LeftOut => format!("{who} is left out of an aside"),
            Self::Frozen { for_ms, .. } => format!("the picture of {other} stood still for {who}, {for_ms} ms"),
            Self::SteppedDown { height: 0, .. } => format!("{who} receives no picture of {other}"),
            Self::SteppedDown { height, .. } => format!("{who} receives {other} smaller, {height} lines"),
            Self::SteppedUp { height: 0, .. } => format!("{who} receives the picture of {other} again"),
            Self::SteppedUp { height, .. } => format!("{who} receives {other} larger, {height} lines"),
            Self::RelayBusy => format!("the relay had no time for {who}"),
        }
    }
}

fn leaving(who: &str, why: Leaving) -> String {
    match why {
        Leaving::User => format!("{who} left"),
        Leaving::NetworkLost => format!("{who} was given up: nothing was heard for too long"),
        Leaving::Removed => format!("{who} was removed"),
        Leaving::Replaced => format!("{who} came again from elsewhere; this connection ended"),
        Leaving::Ended => format!("{who} left because the consultation ended"),
        Leaving::Relay => format!("{who} was disconnected by the relay"),
    }
}

fn transport(way: Transport) -> &'static str {
    match way {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP, because UDP did not pass",
        Transport::Turn => "TURN, because nothing direct passed",
    }
}

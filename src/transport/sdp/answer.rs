//! The answer: the offer's sections in their order, each with what the relay makes of it.

use super::local::{LocalEnd, PORT, SCTP_PORT, Text, reach};
use super::section::{Direction, OfferedCodec, Role, Section, SectionKind};
use super::{Offer, ReceiveCodecs, fmtp};
use crate::model::{Codec, MediaKind};

/// Longest data message taken where the caller does not say: the default of RFC 8841, section 6.1.
const MAX_MESSAGE_SIZE: u64 = 65_536;
/// We are the DTLS server.
const SETUP: &str = "passive";

/// What one section becomes.
///
/// A choice that the offer does not allow, such as to send where the client would send, is written as
/// [`AnswerSection::Inactive`]; a section the client rejected stays rejected.
#[derive(Clone, Default)]
pub enum AnswerSection {
    /// Kept for later, with nothing flowing.
    #[default]
    Inactive,
    /// The client's own media.
    Receive(ReceiveSection),
    /// Somebody else's media.
    Send(SendSection),
    /// Data channels.
    Application {
        /// Our SCTP port, 5000.
        sctp_port: u16,
        /// Longest message we take, in bytes.
        max_message_size: u64,
    },
    /// Port 0: a browser gives the place to another mid, so only for what is of no use at all.
    Reject,
}

/// How the client's media is received.
#[derive(Clone, Default)]
pub struct ReceiveSection {
    /// Payload types of the offer, the preferred one first; their retransmission ones are added.
    pub payload_types: Vec<u8>,
    /// Ask Opus to pause in silence (`usedtx=1`).
    pub dtx: bool,
    /// Ask Opus for stereo.
    pub stereo: bool,
    /// Ask Opus for at most this many bits per second.
    pub max_average_bitrate: Option<u32>,
}

/// How somebody else's media is sent.
#[derive(Clone)]
pub struct SendSection {
    /// Stream the client puts the track into.
    pub stream_id: String,
    /// The track.
    pub track_id: String,
    /// Canonical name, one for each publisher (RFC 7022).
    pub cname: String,
    /// The SSRC we send with.
    pub ssrc: u32,
    /// The SSRC of our retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// Payload types that may come, the retransmission ones too: those of the client's offer, or our own where we offer.
    pub payload_types: Vec<u8>,
    /// Opus comes in stereo (`sprop-stereo=1`).
    pub stereo: bool,
}

macro_rules! opaque_debug {
    ($($name:ty => $text:literal),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($text)
            }
        }
    )*};
}

opaque_debug! {
    ReceiveSection => "ReceiveSection(…)",
    SendSection => "SendSection(…)"
}

impl std::fmt::Debug for AnswerSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inactive => "Inactive",
            Self::Receive(_) => "Receive(…)",
            Self::Send(_) => "Send(…)",
            Self::Application { .. } => "Application",
            Self::Reject => "Reject",
        })
    }
}

/// What is really written for a section, after the offer had its say.
enum Written<'a> {
    Rejected,
    Data { sctp_port: u16, max_message_size: u64 },
    Media { codecs: Vec<&'a OfferedCodec>, use_of: Use<'a> },
}

#[derive(Clone, Copy)]
enum Use<'a> {
    Nothing,
    Receive(&'a ReceiveSection),
    Send(&'a SendSection),
}

/// Writes the answer to an offer (RFC 9429, section 5.3.1), with one of `sections` for each of the offer's, in its order; those
/// missing count as [`AnswerSection::Inactive`].
///
/// We are ICE-lite and the DTLS server. The transport is repeated in every section in use, for clients that read it
/// there; candidates are in the first section only, complete.
#[must_use]
pub fn write_answer(offer: &Offer, local: &LocalEnd<'_>, sections: &[AnswerSection]) -> String {
    let inactive = AnswerSection::Inactive;
    let asked = sections.iter().chain(std::iter::repeat(&inactive));
    let written: Vec<(&Section, Written<'_>)> =
        offer.sections.iter().zip(asked).map(|(section, asked)| (section, settle(section, asked))).collect();

    let mut out = local.begin(written.len());
    let in_use = || written.iter().filter(|(_, written)| !matches!(written, Written::Rejected)).map(|(section, _)| section);
    if in_use().next().is_some() {
        out.piece(format_args!("a=group:BUNDLE"));
        for section in in_use() {
            out.piece(format_args!(" {}", section.mid));
        }
        out.line(format_args!(""));
    }
    if offer.allow_mixed {
        out.line(format_args!("a=extmap-allow-mixed"));
    }
    out.line(format_args!("a=msid-semantic:WMS *"));

    let mut candidates = Some(local.candidates);
    for (section, written) in &written {
        match written {
            Written::Rejected => reject(&mut out, section),
            Written::Data { sctp_port, max_message_size } => {
                let [_, protocol, format] = &section.line;
                out.line(format_args!("m=application {PORT} {protocol} {format}"));
                local.transport(&mut out, &section.mid, SETUP);
                out.line(format_args!("a=sctp-port:{sctp_port}"));
                out.line(format_args!("a=max-message-size:{max_message_size}"));
                reach(&mut out, candidates.take());
            }
            Written::Media { codecs, use_of } => {
                media(&mut out, section, codecs, *use_of, local);
                reach(&mut out, candidates.take());
            }
        }
    }
    out.0
}

/// Brings what was asked into what the offer allows.
fn settle<'a>(section: &'a Section, asked: &'a AnswerSection) -> Written<'a> {
    if section.rejected || matches!(asked, AnswerSection::Reject) {
        return Written::Rejected;
    }
    let kind = match section.kind {
        SectionKind::Media(kind) => kind,
        SectionKind::Application => {
            let (sctp_port, max_message_size) = match asked {
                AnswerSection::Application { sctp_port, max_message_size } => (*sctp_port, *max_message_size),
                AnswerSection::Inactive | AnswerSection::Receive(_) | AnswerSection::Send(_) | AnswerSection::Reject => {
                    (SCTP_PORT, MAX_MESSAGE_SIZE)
                }
            };
            return Written::Data { sctp_port, max_message_size };
        }
        SectionKind::Other => return Written::Rejected,
    };
    let (use_of, wanted) = match asked {
        AnswerSection::Receive(receive) if section.can_receive() => (Use::Receive(receive), receive.payload_types.as_slice()),
        AnswerSection::Send(send) if section.can_send() => (Use::Send(send), send.payload_types.as_slice()),
        AnswerSection::Inactive
        | AnswerSection::Receive(_)
        | AnswerSection::Send(_)
        | AnswerSection::Application { .. }
        | AnswerSection::Reject => (Use::Nothing, [].as_slice()),
    };
    let codecs = listed(section, wanted);
    if codecs.iter().any(|codec| codec.codec.is_some_and(|codec| codec.kind() == kind)) {
        return Written::Media { codecs, use_of };
    }
    // A section keeps at least one format, or it would be rejected (RFC 3264, section 6).
    let mut codecs = listed(section, &ReceiveCodecs::default().choose(section, None));
    if codecs.is_empty() {
        codecs.extend(section.codecs.first());
    }
    if codecs.is_empty() { Written::Rejected } else { Written::Media { codecs, use_of: Use::Nothing } }
}

/// The offered formats among payload types, each codec followed by its retransmission format.
fn listed<'a>(section: &'a Section, payload_types: &[u8]) -> Vec<&'a OfferedCodec> {
    let mut codecs: Vec<&OfferedCodec> = Vec::new();
    for codec in payload_types.iter().filter_map(|payload_type| section.codec(*payload_type)) {
        let rtx = codec.rtx.and_then(|rtx| section.codec(rtx));
        for codec in std::iter::once(codec).chain(rtx) {
            if codecs.iter().all(|known| known.payload_type != codec.payload_type) {
                codecs.push(codec);
            }
        }
    }
    codecs
}

fn reject(out: &mut Text, section: &Section) {
    let [media, protocol, format] = &section.line;
    out.line(format_args!("m={media} 0 {protocol} {format}"));
    out.line(format_args!("c=IN IP4 0.0.0.0"));
    if !section.mid.is_empty() {
        out.line(format_args!("a=mid:{}", section.mid));
    }
    out.line(format_args!("a=inactive"));
}

fn media(out: &mut Text, section: &Section, codecs: &[&OfferedCodec], use_of: Use<'_>, local: &LocalEnd<'_>) {
    let [media, protocol, _] = &section.line;
    out.piece(format_args!("m={media} {PORT} {protocol}"));
    for codec in codecs {
        out.piece(format_args!(" {}", codec.payload_type));
    }
    out.line(format_args!(""));
    local.transport(out, &section.mid, SETUP);
    let direction = match use_of {
        Use::Nothing => Direction::Inactive,
        Use::Receive(_) => Direction::RecvOnly,
        Use::Send(_) => Direction::SendOnly,
    };
    extensions(out, section, use_of);
    out.line(format_args!("a={}", direction.name()));
    if let Use::Send(send) = use_of {
        out.line(format_args!("a=msid:{} {}", send.stream_id, send.track_id));
    }
    out.line(format_args!("a=rtcp-mux"));
    if section.rtcp_rsize {
        out.line(format_args!("a=rtcp-rsize"));
    }
    for codec in codecs {
        format(out, section, codec, use_of);
    }
    match use_of {
        Use::Nothing => {}
        Use::Receive(_) => simulcast(out, section),
        Use::Send(send) => streams(out, send),
    }
}

/// The header extensions agreed on: what the client may send us, and elsewhere what either side might use.
///
/// Chromium offers in later sections of a kind, and in this one ever after, only what an answer to that kind once
/// named. Were the rid left out of the places for viewers, its next camera could not be offered in simulcast.
fn extensions(out: &mut Text, section: &Section, use_of: Use<'_>) {
    let receive = section.accepted_extensions(Role::Receive);
    let send = match use_of {
        Use::Receive(_) => receive,
        Use::Nothing | Use::Send(_) => section.accepted_extensions(Role::Send),
    };
    for offered in &section.offered_extensions {
        let agreed = receive.id(offered.extension).or_else(|| send.id(offered.extension));
        if agreed != Some(offered.id) {
            continue;
        }
        match offered.direction.map(Direction::mirrored) {
            Some(way) => out.line(format_args!("a=extmap:{}/{} {}", offered.id, way.name(), offered.extension.uri())),
            None => out.line(format_args!("a=extmap:{} {}", offered.id, offered.extension.uri())),
        }
    }
    if section.allow_mixed {
        out.line(format_args!("a=extmap-allow-mixed"));
    }
}

/// One payload type: its name, the feedback both sides do, and its parameters.
fn format(out: &mut Text, section: &Section, codec: &OfferedCodec, use_of: Use<'_>) {
    let payload_type = codec.payload_type;
    // A static payload type without a map keeps none.
    if !codec.name.is_empty() {
        match codec.channels {
            Some(channels) => {
                out.line(format_args!("a=rtpmap:{payload_type} {}/{}/{channels}", codec.name, codec.clock_rate));
            }
            None => out.line(format_args!("a=rtpmap:{payload_type} {}/{}", codec.name, codec.clock_rate)),
        }
    }
    for kind in codec.feedback.iter().filter(|kind| feeds_back(section, codec, use_of, kind)) {
        out.line(format_args!("a=rtcp-fb:{payload_type} {kind}"));
    }
    let mut parameters = codec.fmtp.clone();
    if codec.codec == Some(Codec::Opus) {
        match use_of {
            Use::Nothing => {}
            Use::Receive(receive) => {
                if receive.dtx {
                    parameters = fmtp::with_param(&parameters, "usedtx", "1");
                }
                if receive.stereo {
                    parameters = fmtp::with_param(&parameters, "stereo", "1");
                }
                if let Some(bitrate) = receive.max_average_bitrate {
                    parameters = fmtp::with_param(&parameters, "maxaveragebitrate", &bitrate.to_string());
                }
            }
            Use::Send(send) => {
                if send.stereo {
                    parameters = fmtp::with_param(&parameters, "sprop-stereo", "1");
                }
            }
        }
    }
    if !parameters.is_empty() {
        out.line(format_args!("a=fmtp:{payload_type} {parameters}"));
    }
}

/// Whether we give, or listen to, a kind of feedback the client offers.
fn feeds_back(section: &Section, codec: &OfferedCodec, use_of: Use<'_>, kind: &str) -> bool {
    let video = section.media_kind() == Some(MediaKind::Video);
    match (kind, use_of) {
        ("nack", _) => true,
        ("nack pli" | "ccm fir", _) => video,
        ("transport-cc", _) => true,
        ("goog-remb", Use::Receive(_)) => video,
        // Viewers estimate in one way: from transport-wide feedback where they offer it.
        ("goog-remb", Use::Send(_) | Use::Nothing) => video && !codec.feedback.contains(&"transport-cc"),
        _ => false,
    }
}

fn simulcast(out: &mut Text, section: &Section) {
    if section.rids.is_empty() {
        return;
    }
    for rid in &section.rids {
        out.line(format_args!("a=rid:{rid} recv"));
    }
    out.line(format_args!("a=simulcast:recv {}", section.rids.join(";")));
}

/// The SSRCs we send with (RFC 5576).
pub(super) fn streams(out: &mut Text, send: &SendSection) {
    if let Some(rtx) = send.rtx_ssrc {
        out.line(format_args!("a=ssrc-group:FID {} {rtx}", send.ssrc));
    }
    for ssrc in std::iter::once(send.ssrc).chain(send.rtx_ssrc) {
        out.line(format_args!("a=ssrc:{ssrc} cname:{}", send.cname));
        out.line(format_args!("a=ssrc:{ssrc} msid:{} {}", send.stream_id, send.track_id));
    }
}

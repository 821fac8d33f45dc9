//! The relay's own offer, to clients that receive on a peer connection of its own: data channels first, then a section
//! for each track.
//!
//! Payload types and header extension ids are ours and the same in every offer, so that one number means one thing in the
//! whole bundle (RFC 9143, section 7.1.1). A section keeps its place and its mid for good; one without a track is inactive.

use std::sync::Arc;

use super::SendSection;
use super::answer::streams;
use super::local::{LocalEnd, PORT, SCTP_PORT, Text, reach};
use crate::model::{Codec, Extension, MediaKind};

/// The DTLS roles are left to the client.
const SETUP: &str = "actpass";

/// One section of the offer.
#[derive(Clone)]
pub struct OfferSection {
    /// Its mid, which never changes.
    pub mid: Arc<str>,
    /// What it carries.
    pub content: OwnSection,
}

/// What a section of the offer carries.
#[derive(Clone)]
pub enum OwnSection {
    /// Data channels.
    Data {
        /// Longest message we take, in bytes.
        max_message_size: u64,
    },
    /// A track.
    Send(SendSection),
    /// Nothing now.
    Inactive(MediaKind),
    /// Nothing for good: the client refused the section.
    Gone(MediaKind),
}

impl std::fmt::Debug for OfferSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.content {
            OwnSection::Data { .. } => "Data",
            OwnSection::Send(_) => "Send(…)",
            OwnSection::Inactive(_) => "Inactive",
            OwnSection::Gone(_) => "Gone",
        })
    }
}

impl std::fmt::Debug for OwnSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnSection(…)")
    }
}

/// A format as we number it.
struct OwnFormat {
    payload_type: u8,
    /// Payload type of its retransmissions.
    rtx: Option<u8>,
    codec: Codec,
    /// Name, clock rate and channels.
    map: &'static str,
    fmtp: &'static str,
}

const fn video(payload_type: u8, codec: Codec, map: &'static str, fmtp: &'static str) -> OwnFormat {
    OwnFormat { payload_type, rtx: Some(payload_type + 1), codec, map, fmtp }
}

const fn voice(payload_type: u8, fmtp: &'static str) -> OwnFormat {
    OwnFormat { payload_type, rtx: None, codec: Codec::Opus, map: "opus/48000/2", fmtp }
}

/// Opus as most people speak, and the same in stereo, which is a format of its own.
const MONO: u8 = 111;
const STEREO: u8 = 110;

/// The formats we send, all in the dynamic range (RFC 3551, section 3). Of H.264 each profile that browsers send is one.
const FORMATS: [OwnFormat; 11] = [
    voice(MONO, "minptime=10;useinbandfec=1"),
    voice(STEREO, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"),
    video(96, Codec::Vp8, "VP8/90000", ""),
    video(98, Codec::Vp9, "VP9/90000", "profile-id=0"),
    video(100, Codec::Vp9, "VP9/90000", "profile-id=2"),
    video(102, Codec::H264, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    video(104, Codec::H264, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"),
    video(106, Codec::H264, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
    video(112, Codec::H264, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"),
    video(114, Codec::H264, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"),
    video(116, Codec::Av1, "AV1/90000", "level-idx=5;profile=0;tier=0"),
];

/// Header extensions of our offers with their ids; those for pictures only say so.
const EXTENSIONS: [(u8, Extension, bool); 5] = [
    (1, Extension::Mid, false),
    (2, Extension::AbsCaptureTime, false),
    (3, Extension::TransportCc, true),
    (4, Extension::PlayoutDelay, true),
    (5, Extension::DependencyDescriptor, true),
];

/// Payload types to offer for a track, the preferred first, each followed by its retransmissions.
///
/// A picture is offered in its own codec, and in VP8 behind it: every client takes that, and so keeps the section for
/// another track where it does not know the codec of this one.
#[must_use]
pub fn own_payload_types(codec: Codec, stereo: bool) -> Vec<u8> {
    let own = |format: &&OwnFormat| match codec.kind() {
        MediaKind::Audio => format.payload_type == if stereo { STEREO } else { MONO },
        MediaKind::Video => format.codec == codec,
    };
    let fallback = |format: &&OwnFormat| codec.kind() == MediaKind::Video && codec != Codec::Vp8 && format.codec == Codec::Vp8;
    let formats = FORMATS.iter().filter(own).chain(FORMATS.iter().filter(fallback));
    formats.flat_map(|format| std::iter::once(format.payload_type).chain(format.rtx)).collect()
}

/// Writes an offer (RFC 9429, section 5.2). We are ICE-lite and leave the DTLS roles to the client, which has to take the
/// active one.
#[must_use]
pub fn write_offer(local: &LocalEnd<'_>, sections: &[OfferSection]) -> String {
    let mut out = local.begin(sections.len());
    out.piece(format_args!("a=group:BUNDLE"));
    for section in sections.iter().filter(|section| !matches!(section.content, OwnSection::Gone(_))) {
        out.piece(format_args!(" {}", section.mid));
    }
    out.line(format_args!(""));
    out.line(format_args!("a=extmap-allow-mixed"));
    out.line(format_args!("a=msid-semantic:WMS *"));
    let mut candidates = Some(local.candidates);
    for section in sections {
        match &section.content {
            OwnSection::Data { max_message_size } => {
                out.line(format_args!("m=application {PORT} UDP/DTLS/SCTP webrtc-datachannel"));
                local.transport(&mut out, &section.mid, SETUP);
                out.line(format_args!("a=sctp-port:{SCTP_PORT}"));
                out.line(format_args!("a=max-message-size:{max_message_size}"));
                reach(&mut out, candidates.take());
            }
            OwnSection::Send(send) => {
                media(&mut out, section, kind_of(&send.payload_types), Some(send), local);
                reach(&mut out, candidates.take());
            }
            OwnSection::Inactive(kind) => {
                media(&mut out, section, *kind, None, local);
                reach(&mut out, candidates.take());
            }
            OwnSection::Gone(kind) => {
                out.line(format_args!("m={} 0 UDP/TLS/RTP/SAVPF 0", name(*kind)));
                out.line(format_args!("c=IN IP4 0.0.0.0"));
                out.line(format_args!("a=mid:{}", section.mid));
                out.line(format_args!("a=inactive"));
            }
        }
    }
    out.0
}

fn name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

fn kind_of(payload_types: &[u8]) -> MediaKind {
    let format = FORMATS.iter().find(|format| payload_types.contains(&format.payload_type));
    format.map_or(MediaKind::Audio, |format| format.codec.kind())
}

fn media(out: &mut Text, section: &OfferSection, kind: MediaKind, send: Option<&SendSection>, local: &LocalEnd<'_>) {
    let idle = match kind {
        MediaKind::Audio => own_payload_types(Codec::Opus, false),
        MediaKind::Video => own_payload_types(Codec::Vp8, false),
    };
    let payload_types = send.map_or(idle.as_slice(), |send| &send.payload_types);
    out.piece(format_args!("m={} {PORT} UDP/TLS/RTP/SAVPF", name(kind)));
    for payload_type in payload_types {
        out.piece(format_args!(" {payload_type}"));
    }
    out.line(format_args!(""));
    local.transport(out, &section.mid, SETUP);
    for (id, extension, _) in EXTENSIONS.iter().filter(|(_, _, pictures)| !pictures || kind == MediaKind::Video) {
        out.line(format_args!("a=extmap:{id} {}", extension.uri()));
    }
    match send {
        Some(send) => {
            out.line(format_args!("a=sendonly"));
            out.line(format_args!("a=msid:{} {}", send.stream_id, send.track_id));
        }
        None => out.line(format_args!("a=inactive")),
    }
    out.line(format_args!("a=rtcp-mux"));
    out.line(format_args!("a=rtcp-rsize"));
    for format in FORMATS.iter().filter(|format| payload_types.contains(&format.payload_type)) {
        describe(out, format);
    }
    if let Some(send) = send {
        streams(out, send);
    }
}

/// One payload type with its feedback and parameters, and its retransmissions.
fn describe(out: &mut Text, format: &OwnFormat) {
    let OwnFormat { payload_type, rtx, codec, map, fmtp } = format;
    out.line(format_args!("a=rtpmap:{payload_type} {map}"));
    if codec.kind() == MediaKind::Video {
        for kind in ["transport-cc", "ccm fir", "nack", "nack pli"] {
            out.line(format_args!("a=rtcp-fb:{payload_type} {kind}"));
        }
    }
    if !fmtp.is_empty() {
        out.line(format_args!("a=fmtp:{payload_type} {fmtp}"));
    }
    if let Some(rtx) = rtx {
        out.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
        out.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sdp::{Direction, Offer, Role, SectionKind};

    fn send(codec: Codec, stereo: bool) -> SendSection {
        SendSection {
            stream_id: "PA_a|TR_b".into(),
            track_id: "TR_b".into(),
            cname: "PA_a".into(),
            ssrc: 77,
            rtx_ssrc: (codec.kind() == MediaKind::Video).then_some(78),
            payload_types: own_payload_types(codec, stereo),
            stereo,
        }
    }

    fn written(contents: Vec<OwnSection>) -> String {
        let section = |(index, content): (usize, OwnSection)| OfferSection { mid: index.to_string().into(), content };
        let sections: Vec<OfferSection> = contents.into_iter().enumerate().map(section).collect();
        let local = LocalEnd {
            session_id: 5,
            session_version: 2,
            ice_ufrag: "abcd",
            ice_pwd: "abcdefghijklmnopqrstuv",
            fingerprint: [0xAB; 32],
            candidates: &["1 1 udp 1 192.0.2.1 7882 typ host".to_owned()],
        };
        write_offer(&local, &sections)
    }

    const DATA: OwnSection = OwnSection::Data { max_message_size: 65_535 };

    #[test]
    fn our_own_reader_understands_the_offer() {
        let text = written(vec![DATA, OwnSection::Send(send(Codec::Opus, false)), OwnSection::Send(send(Codec::H264, false))]);
        let offer = Offer::parse(&text).expect("a good offer");
        let kinds: Vec<_> = offer.sections.iter().map(|section| (section.kind, section.direction)).collect();
        assert_eq!(kinds[1], (SectionKind::Media(MediaKind::Audio), Direction::SendOnly));
        assert_eq!(kinds[2], (SectionKind::Media(MediaKind::Video), Direction::SendOnly));
        assert_eq!(offer.sections[0].max_message_size, Some(65_535));
        let video = &offer.sections[2];
        assert_eq!(video.ssrcs, [77, 78]);
        assert_eq!(video.fid_pairs, [(77, 78)]);
        assert_eq!(video.msid.as_ref().map(|msid| (&*msid.stream, &*msid.track)), Some(("PA_a|TR_b", "TR_b")));
        let picked = video.pick(Codec::H264, None).expect("offered");
        assert_eq!((picked.payload_type, picked.rtx), (102, Some(103)));
        assert!(picked.feedback.contains(&"transport-cc") && picked.feedback.contains(&"nack pli"));
        assert!(video.pick(Codec::Vp8, None).is_some(), "the fallback keeps the section alive");
        assert_eq!(text.matches("a=candidate:").count(), 1);
        assert_eq!(text.matches("a=setup:actpass").count(), 3);
    }

    #[test]
    fn what_carries_nothing_keeps_its_place() {
        let text = written(vec![DATA, OwnSection::Inactive(MediaKind::Video), OwnSection::Gone(MediaKind::Audio)]);
        let offer = Offer::parse(&text).expect("a good offer");
        assert_eq!(offer.sections[1].direction, Direction::Inactive);
        assert!(offer.sections[2].rejected && !offer.sections[1].rejected);
        assert!(text.contains("a=group:BUNDLE 0 1\r\n"), "a refused section leaves the bundle");
        assert_eq!(&*offer.sections[2].mid, "2");
    }

    #[test]
    fn stereo_is_a_format_of_its_own() {
        let text = written(vec![DATA, OwnSection::Send(send(Codec::Opus, true)), OwnSection::Send(send(Codec::Opus, false))]);
        let offer = Offer::parse(&text).expect("a good offer");
        let types: Vec<_> = [1, 2].map(|index| offer.sections[index].pick(Codec::Opus, None).map(|c| c.payload_type)).into();
        assert_eq!(types, [Some(STEREO), Some(MONO)]);
        assert_eq!(text.matches("sprop-stereo=1").count(), 1);
    }

    #[test]
    fn numbers_mean_one_thing_in_every_section() {
        let mut seen: Vec<u8> = Vec::new();
        for format in &FORMATS {
            for payload_type in std::iter::once(format.payload_type).chain(format.rtx) {
                assert!((96..128).contains(&payload_type) && !seen.contains(&payload_type), "{payload_type}");
                seen.push(payload_type);
            }
        }
        let offer = Offer::parse(&written(vec![OwnSection::Send(send(Codec::Av1, false))])).expect("a good offer");
        let extensions = offer.sections[0].accepted_extensions(Role::Receive);
        assert_eq!(extensions.id(Extension::TransportCc), Some(3));
        assert_eq!(extensions.id(Extension::DependencyDescriptor), Some(5));
    }
}

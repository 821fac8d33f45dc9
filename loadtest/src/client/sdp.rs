//! Offers of a single peer connection and what of their answers matters (RFC 8866, RFC 8829).
//!
//! Media only, no data channel. The sections for receiving come first, as a pool; a track of one's own appends one.

use super::{Codec, MediaKind};
use std::fmt::Write as _;

/// Longest answer read: a room of some hundred sections stays far under it.
const MAX_ANSWER: usize = 1 << 20;

/// Payload type of Opus; video types are those of [`Codec::payload_type`].
pub(crate) const OPUS: u8 = 111;
/// Ids of header extensions, the same in every section.
pub(crate) const AUDIO_LEVEL: u8 = 1;
pub(crate) const TRANSPORT_CC: u8 = 3;
pub(crate) const MID: u8 = 4;
pub(crate) const RID: u8 = 10;
pub(crate) const REPAIRED_RID: u8 = 11;
pub(crate) const DEPENDENCY: u8 = 12;

const URIS: [(u8, &str); 6] = [
    (AUDIO_LEVEL, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
    (TRANSPORT_CC, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
    (MID, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (RID, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
    (REPAIRED_RID, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
    (DEPENDENCY, "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"),
];

const VIDEO: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

impl Codec {
    pub(crate) const fn payload_type(self) -> u8 {
        match self {
            Self::Vp8 => 96,
            Self::Vp9 => 98,
            Self::H264 => 102,
            Self::Av1 => 45,
        }
    }

    /// Of its repetitions (RFC 4588).
    pub(crate) const fn rtx_type(self) -> u8 {
        self.payload_type() + 1
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
        }
    }

    /// As in `SimulcastCodec.codec`.
    pub(crate) const fn short_name(self) -> &'static str {
        match self {
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
            Self::Av1 => "av1",
        }
    }

    const fn format(self) -> Option<&'static str> {
        match self {
            Self::Vp8 => None,
            Self::Vp9 => Some("profile-id=0"),
            Self::H264 => Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            Self::Av1 => Some("level-idx=5;profile=0;tier=0"),
        }
    }
}

/// A media section of the offers of one connection; its place in the list is its mid.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) kind: MediaKind,
    pub(crate) own: Option<Own>,
}

/// The track a section sends.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) cid: String,
    pub(crate) codec: Option<Codec>,
    /// First sendings and repetitions; written down where there is one layer only.
    pub(crate) ssrcs: Vec<(u32, u32)>,
    pub(crate) rids: Vec<&'static str>,
}

/// What an offer says of the transport.
pub(crate) struct Line<'a> {
    pub(crate) session: u64,
    pub(crate) version: u32,
    pub(crate) ufrag: &'a str,
    pub(crate) pwd: &'a str,
    pub(crate) fingerprint: &'a str,
}

/// Writes an offer.
pub(crate) fn offer(line: &Line<'_>, sections: &[Section]) -> String {
    let mut out = String::with_capacity(1_000 + 1_800 * sections.len());
    let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    let _ = write!(out, "v=0\r\no=- {} {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", line.session, line.version);
    let _ = write!(out, "a=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n", mids.join(" "));
    for (section, mid) in sections.iter().zip(&mids) {
        write_section(&mut out, line, section, mid);
    }
    out
}

fn write_section(out: &mut String, line: &Line<'_>, section: &Section, mid: &str) {
    let codecs: Vec<Codec> = match (section.kind, section.own.as_ref().and_then(|own| own.codec)) {
        (MediaKind::Audio, _) => Vec::new(),
        (MediaKind::Video, Some(codec)) => vec![codec],
        (MediaKind::Video, None) => VIDEO.to_vec(),
    };
    let audio = section.kind == MediaKind::Audio;
    let types: Vec<String> = if audio {
        vec![OPUS.to_string()]
    } else {
        codecs.iter().flat_map(|codec| [codec.payload_type().to_string(), codec.rtx_type().to_string()]).collect()
    };
    let kind = if audio { "audio" } else { "video" };
    let _ = write!(out, "m={kind} 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n", types.join(" "));
    let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n", line.ufrag, line.pwd);
    let _ = write!(out, "a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n", line.fingerprint);
    for (id, uri) in URIS.iter().filter(|(id, _)| if audio { matches!(*id, 1 | 3 | 4) } else { *id != AUDIO_LEVEL }) {
        let _ = write!(out, "a=extmap:{id} {uri}\r\n");
    }
    let _ = write!(out, "a={}\r\n", if section.own.is_some() { "sendonly" } else { "recvonly" });
    if let Some(own) = &section.own {
        let _ = write!(out, "a=msid:- {}\r\n", own.cid);
    }
    let _ = write!(out, "a=rtcp-mux\r\na=rtcp-rsize\r\n");
    if audio {
        let _ =
            write!(out, "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
    }
    for codec in codecs {
        let (pt, rtx) = (codec.payload_type(), codec.rtx_type());
        let _ =
            write!(out, "a=rtpmap:{pt} {}/90000\r\na=rtcp-fb:{pt} goog-remb\r\na=rtcp-fb:{pt} transport-cc\r\n", codec.name());
        let _ = write!(out, "a=rtcp-fb:{pt} ccm fir\r\na=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\n");
        if let Some(format) = codec.format() {
            let _ = write!(out, "a=fmtp:{pt} {format}\r\n");
        }
        let _ = write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
    }
    let Some(own) = &section.own else { return };
    if own.rids.len() > 1 {
        for rid in &own.rids {
            let _ = write!(out, "a=rid:{rid} send\r\n");
        }
        let _ = write!(out, "a=simulcast:send {}\r\n", own.rids.join(";"));
    } else if let Some((ssrc, rtx)) = own.ssrcs.first() {
        if !audio {
            let _ = write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n");
        }
        let _ = write!(out, "a=ssrc:{ssrc} cname:load\r\na=ssrc:{ssrc} msid:- {}\r\n", own.cid);
        if !audio {
            let _ = write!(out, "a=ssrc:{rtx} cname:load\r\na=ssrc:{rtx} msid:- {}\r\n", own.cid);
        }
    }
}

/// What matters of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    /// SHA-256, hexadecimal with colons.
    pub(crate) fingerprint: String,
    /// The other end is the DTLS client.
    pub(crate) active: bool,
    /// With the word `candidate:`.
    pub(crate) candidates: Vec<String>,
    /// By mid.
    pub(crate) sections: Vec<Answered>,
}

/// One section of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The other end takes what the section sends.
    pub(crate) takes: bool,
    /// The other end sends.
    pub(crate) sends: bool,
    /// Ids of header extensions, as bits.
    pub(crate) extensions: u16,
    /// Layers it wants; empty without simulcast.
    pub(crate) rids: Vec<String>,
}

#[cfg(test)]
impl Answered {
    fn has(&self, extension: u8) -> bool {
        self.extensions & (1 << extension) != 0
    }
}

/// Reads an answer; `None` when it is too long or lacks what a transport needs.
pub(crate) fn read(text: &str) -> Option<Answer> {
    if text.len() > MAX_ANSWER {
        return None;
    }
    let mut answer = Answer::default();
    for line in text.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            let refused = media.split(' ').nth(1) == Some("0");
            answer.sections.push(Answered { takes: !refused, sends: !refused, ..Answered::default() });
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else { continue };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let section = answer.sections.last_mut();
        match name {
            "ice-ufrag" => value.clone_into(&mut answer.ufrag),
            "ice-pwd" => value.clone_into(&mut answer.pwd),
            "setup" => answer.active = value == "active",
            "candidate" => {
                let line = attribute.to_owned();
                if !answer.candidates.contains(&line) {
                    answer.candidates.push(line);
                }
            }
            "fingerprint" => {
                if let Some(("sha-256", hash)) = value.split_once(' ') {
                    hash.clone_into(&mut answer.fingerprint);
                }
            }
            _ => {
                if let Some(section) = section {
                    section_line(section, name, value);
                }
            }
        }
    }
    let whole = !answer.ufrag.is_empty() && !answer.pwd.is_empty() && !answer.fingerprint.is_empty();
    whole.then_some(answer)
}

fn section_line(section: &mut Answered, name: &str, value: &str) {
    match name {
        "inactive" => (section.takes, section.sends) = (false, false),
        "recvonly" => section.sends = false,
        "sendonly" => section.takes = false,
        "extmap" => {
            let id = value.split([' ', '/']).next().and_then(|id| id.parse::<u8>().ok());
            section.extensions |= id.filter(|id| *id < 16).map_or(0, |id| 1 << id);
        }
        "simulcast" => {
            if let Some(rids) = value.strip_prefix("recv ") {
                section.rids =
                    rids.split(' ').next().unwrap_or("").split(';').map(|rid| rid.trim_start_matches('~').to_owned()).collect();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_transport_and_directions() {
        let text = "v=0\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
                    a=fingerprint:sha-256 AA:BB\r\na=setup:active\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=inactive\r\n\
                    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\na=extmap:3 urn\r\na=simulcast:recv q;h\r\n\
                    m=video 0 UDP/TLS/RTP/SAVPF 96\r\n";

        let answer = read(text).unwrap();

        assert!(answer.active);
        assert_eq!(answer.candidates.len(), 1);
        assert_eq!(
            answer.sections.iter().map(|s| (s.takes, s.sends)).collect::<Vec<_>>(),
            [(false, false), (true, false), (false, false)]
        );
        assert!(answer.sections[1].has(TRANSPORT_CC) && !answer.sections[1].has(MID));
        assert_eq!(answer.sections[1].rids, ["q", "h"]);
    }

    #[test]
    fn an_answer_without_a_transport_is_none() {
        assert_eq!(read("v=0\r\na=ice-ufrag:u\r\n"), None);
        assert_eq!(read(&"a".repeat(MAX_ANSWER + 1)), None);
    }
}

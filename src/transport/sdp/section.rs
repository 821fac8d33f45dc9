//! One media section of an offer: its codecs, header extensions, streams, and what it may become.

use std::fmt;
use std::sync::Arc;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;

use super::fmtp;
use super::offer::{has, value, values};
use super::{MAX_CODECS, MAX_EXTENSIONS, MAX_RIDS, MAX_SSRCS, MAX_TOKEN, SdpError};
use crate::model::{Codec, Extension, ExtensionMap, MediaKind};

/// Kinds of RTCP feedback the relay gives or takes (RFC 4585, RFC 5104, and two that only drafts describe).
pub const FEEDBACK: [&str; 5] = ["nack", "nack pli", "ccm fir", "transport-cc", "goog-remb"];

/// What a section is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Sound or pictures.
    Media(MediaKind),
    /// Data channels (RFC 8841).
    Application,
    /// Anything else, which is always rejected.
    Other,
}

/// Which way media flows, seen from whoever wrote it (RFC 8866, section 6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways; so is a section that does not say.
    #[default]
    SendRecv,
    /// Only out.
    SendOnly,
    /// Only in.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Reads the name of an attribute.
    fn from_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive].into_iter().find(|way| way.name() == name)
    }

    /// Its attribute.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same flow seen from the other side.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::SendRecv | Self::Inactive => self,
        }
    }
}

/// What the relay does in a section it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes the client's media.
    Receive,
    /// Sends the client somebody else's.
    Send,
}

/// The stream and the track a client names in `a=msid` (RFC 8830).
#[derive(Clone, PartialEq, Eq)]
pub struct MediaId {
    /// The stream; `-` for none.
    pub stream: Arc<str>,
    /// The track.
    pub track: Arc<str>,
}

impl fmt::Debug for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaId(…)")
    }
}

/// A payload type a client offers.
#[derive(Clone)]
pub struct OfferedCodec {
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    /// The codec, where the relay forwards it.
    pub codec: Option<Codec>,
    /// Encoding name as offered; empty for a static payload type without `a=rtpmap`.
    pub name: String,
    /// RTP clock rate in Hz; 0 where the name is empty.
    pub clock_rate: u32,
    /// Audio channels, where named.
    pub channels: Option<u8>,
    /// `a=fmtp` as offered.
    pub fmtp: String,
    /// `a=rtcp-fb` kinds as offered, those of [`FEEDBACK`] only.
    pub feedback: Vec<&'static str>,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
}

impl fmt::Debug for OfferedCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferedCodec").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// A header extension a client offers and the relay knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedExtension {
    /// Which one.
    pub extension: Extension,
    /// Its id.
    pub id: u8,
    /// Which way the client uses it; without one, the way of the section (RFC 8285, section 5).
    pub direction: Option<Direction>,
}

/// A media section as offered; nothing of its text is printed by `Debug`.
#[derive(Clone)]
pub struct Section {
    /// Media id; empty only where a rejected section has none.
    pub mid: Arc<str>,
    /// What it is about.
    pub kind: SectionKind,
    /// Offered with port 0 and not `a=bundle-only`: it is not in use and stays so.
    pub rejected: bool,
    /// Which way the client wants it.
    pub direction: Direction,
    /// Payload types in the client's order, retransmission ones too.
    pub codecs: Vec<OfferedCodec>,
    /// Ids of the header extensions the relay knows.
    pub extensions: ExtensionMap,
    /// The same with their direction, in the client's order.
    pub offered_extensions: Vec<OfferedExtension>,
    /// Simulcast streams the client would send, in the order of its `a=simulcast` line (RFC 8853).
    pub rids: Vec<Arc<str>>,
    /// The client's own name of the stream and track it sends.
    pub msid: Option<MediaId>,
    /// SSRCs announced, in their order.
    pub ssrcs: Vec<u32>,
    /// Media SSRC and its retransmission SSRC, from `a=ssrc-group:FID`.
    pub fid_pairs: Vec<(u32, u32)>,
    /// Canonical name of the sender.
    pub cname: Option<Arc<str>>,
    /// SCTP port (RFC 8841).
    pub sctp_port: Option<u16>,
    /// Longest message the client takes, in bytes; 0 is any length.
    pub max_message_size: Option<u64>,
    /// `a=rtcp-mux` offered.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` offered.
    pub rtcp_rsize: bool,
    /// `a=extmap-allow-mixed` offered for this section.
    pub(super) allow_mixed: bool,
    /// Media type, protocol and first format of the `m=` line, for the answer to a section of no use.
    pub(super) line: [String; 3],
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("kind", &self.kind)
            .field("rejected", &self.rejected)
            .field("direction", &self.direction)
            .field("codecs", &self.codecs.len())
            .field("rids", &self.rids.len())
            .finish_non_exhaustive()
    }
}

impl Section {
    /// Reads a section.
    ///
    /// `session` are the session's own attributes, whose direction is that of every section that does not say.
    pub(super) fn read(media: &MediaDescription, session: &[Attribute]) -> Result<Self, SdpError> {
        let attributes = media.attributes.as_slice();
        let name = &media.media_name;
        let kind = match name.media.as_str() {
            "audio" => SectionKind::Media(MediaKind::Audio),
            "video" => SectionKind::Media(MediaKind::Video),
            "application" => SectionKind::Application,
            _ => SectionKind::Other,
        };
        let rejected = name.port.value == 0 && !has(attributes, "bundle-only");
        let mid = match value(attributes, "mid") {
            Some(mid) if is_token(mid) => Arc::from(mid),
            Some(_) => return Err(SdpError::BadAttribute("mid")),
            None if rejected => Arc::from(""),
            None => return Err(SdpError::MissingMid),
        };
        let mut said = attributes.iter().chain(session).filter(|attribute| attribute.value.is_none());
        let direction = said.find_map(|attribute| Direction::from_name(&attribute.key)).unwrap_or_default();
        let codecs = match kind {
            SectionKind::Media(media_kind) => codecs(media_kind, &name.formats, attributes)?,
            SectionKind::Application | SectionKind::Other => Vec::new(),
        };
        let offered_extensions = extensions(attributes)?;
        let mut extensions = ExtensionMap::default();
        for offered in &offered_extensions {
            extensions.set(offered.extension, offered.id);
        }
        let streams = Streams::read(attributes)?;
        Ok(Self {
            mid,
            kind,
            rejected,
            direction,
            codecs,
            extensions,
            offered_extensions,
            rids: rids(attributes)?,
            msid: streams.msid,
            ssrcs: streams.ssrcs,
            fid_pairs: streams.fid_pairs,
            cname: streams.cname,
            sctp_port: value(attributes, "sctp-port").and_then(|port| port.trim().parse().ok()),
            max_message_size: value(attributes, "max-message-size").and_then(|size| size.trim().parse().ok()),
            rtcp_mux: has(attributes, "rtcp-mux"),
            rtcp_rsize: has(attributes, "rtcp-rsize"),
            allow_mixed: has(attributes, "extmap-allow-mixed"),
            line: [name.media.clone(), name.protos.join("/"), name.formats.first().cloned().unwrap_or_default()],
        })
    }

    /// Sound or pictures, where it is either.
    #[must_use]
    pub fn media_kind(&self) -> Option<MediaKind> {
        match self.kind {
            SectionKind::Media(kind) => Some(kind),
            SectionKind::Application | SectionKind::Other => None,
        }
    }

    /// What is offered for a payload type.
    #[must_use]
    pub fn codec(&self, payload_type: u8) -> Option<&OfferedCodec> {
        self.codecs.iter().find(|codec| codec.payload_type == payload_type)
    }

    /// The payload type this client takes a codec with.
    ///
    /// `wanted` is the `a=fmtp` of the stream's publisher: VP9 and AV1 must agree on the profile (0 where unsaid),
    /// H.264 goes to the closest format that decodes the stream's profile. Without it the plain form of the codec is
    /// meant: profile 0, and for H.264 Constrained Baseline with packetization mode 1 (RFC 7742, section 6.2).
    #[must_use]
    pub fn pick(&self, codec: Codec, wanted: Option<&str>) -> Option<&OfferedCodec> {
        let mut offered = self.codecs.iter().filter(|offered| offered.codec == Some(codec));
        let same_number = |name: &'static str| {
            let wanted = fmtp::number(wanted.unwrap_or(""), name, 0);
            move |offered: &&OfferedCodec| wanted.is_some() && fmtp::number(&offered.fmtp, name, 0) == wanted
        };
        match codec {
            Codec::Opus | Codec::Red | Codec::Vp8 => offered.next(),
            Codec::Vp9 => offered.find(same_number("profile-id")),
            Codec::Av1 => offered.find(same_number("profile")),
            Codec::H264 => {
                let wanted = wanted.unwrap_or("packetization-mode=1;profile-level-id=42e01f");
                let mut best: Option<(u32, &OfferedCodec)> = None;
                for candidate in offered {
                    let Some(score) = fmtp::h264_score(&candidate.fmtp, wanted) else { continue };
                    // Of two that suit as well the client's own order decides.
                    if best.is_none_or(|(highest, _)| score > highest) {
                        best = Some((score, candidate));
                    }
                }
                best.map(|(_, codec)| codec)
            }
        }
    }
}

/// Letters, digits and a few marks, as in RFC 8866's `token`, short enough for a header extension.
fn is_token(text: &str) -> bool {
    let mark = |byte| b"!#$%&'*+-.^_`{|}~".contains(&byte);
    !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

/// Payload types of the `m=` line with their attributes.
fn codecs(kind: MediaKind, formats: &[String], attributes: &[Attribute]) -> Result<Vec<OfferedCodec>, SdpError> {
    if formats.len() > MAX_CODECS {
        return Err(SdpError::TooMany("codecs"));
    }
    let mut codecs: Vec<OfferedCodec> = Vec::with_capacity(formats.len());
    for format in formats {
        let payload_type = format.parse().ok().filter(|number: &u8| *number < 128).ok_or(SdpError::BadAttribute("rtpmap"))?;
        if codecs.iter().any(|codec| codec.payload_type == payload_type) {
            return Err(SdpError::BadAttribute("rtpmap"));
        }
        codecs.push(OfferedCodec {
            payload_type,
            codec: None,
            name: String::new(),
            clock_rate: 0,
            channels: None,
            fmtp: String::new(),
            feedback: Vec::new(),
            rtx: None,
        });
    }
    for attribute in attributes {
        let Some((target, rest)) = attribute.value.as_deref().and_then(|value| value.split_once(' ')) else { continue };
        let number: Option<u8> = target.parse().ok();
        let is_for = |codec: &OfferedCodec| number == Some(codec.payload_type);
        match attribute.key.as_str() {
            "rtpmap" => codecs.iter_mut().filter(|codec| is_for(codec)).try_for_each(|codec| codec.name(kind, rest))?,
            "fmtp" => codecs.iter_mut().filter(|codec| is_for(codec)).for_each(|codec| rest.trim().clone_into(&mut codec.fmtp)),
            "rtcp-fb" => {
                let Some(kind) = FEEDBACK.into_iter().find(|known| *known == rest.trim()) else { continue };
                let meant = codecs.iter_mut().filter(|codec| target == "*" || is_for(codec));
                meant.filter(|codec| !codec.feedback.contains(&kind)).for_each(|codec| codec.feedback.push(kind));
            }
            _ => {}
        }
    }
    let pairs: Vec<(u8, u8)> = codecs
        .iter()
        .filter(|codec| codec.name.eq_ignore_ascii_case("rtx"))
        .filter_map(|codec| Some((fmtp::param(&codec.fmtp, "apt")?.parse().ok()?, codec.payload_type)))
        .collect();
    for codec in &mut codecs {
        codec.rtx = pairs.iter().find(|(apt, _)| *apt == codec.payload_type).map(|(_, rtx)| *rtx);
    }
    Ok(codecs)
}

impl OfferedCodec {
    /// Applies an `a=rtpmap`: name, clock rate and channels (RFC 8866, section 6.6).
    fn name(&mut self, kind: MediaKind, map: &str) -> Result<(), SdpError> {
        let mut parts = map.trim().split('/');
        let (name, rate) = parts.next().zip(parts.next()).ok_or(SdpError::BadAttribute("rtpmap"))?;
        self.clock_rate = rate.parse().map_err(|_| SdpError::BadAttribute("rtpmap"))?;
        self.channels = match parts.next() {
            Some(channels) => Some(channels.parse().map_err(|_| SdpError::BadAttribute("rtpmap"))?),
            None => None,
        };
        // `red` is also a video format, and another thing there.
        self.codec = Codec::from_name(name).filter(|codec| codec.kind() == kind && codec.clock_rate() == self.clock_rate);
        name.clone_into(&mut self.name);
        Ok(())
    }
}

/// Header extensions the relay knows; the others, and ids no packet can carry, are left out (RFC 8285, section 5).
fn extensions(attributes: &[Attribute]) -> Result<Vec<OfferedExtension>, SdpError> {
    let mut known: Vec<OfferedExtension> = Vec::new();
    for (count, map) in values(attributes, "extmap").enumerate() {
        if count >= MAX_EXTENSIONS {
            return Err(SdpError::TooMany("header extensions"));
        }
        let mut words = map.split_whitespace();
        let (head, uri) = words.next().zip(words.next()).ok_or(SdpError::BadAttribute("extmap"))?;
        let (id, direction) = match head.split_once('/') {
            Some((id, name)) => (id, Some(Direction::from_name(name).ok_or(SdpError::BadAttribute("extmap"))?)),
            None => (head, None),
        };
        let id: u16 = id.parse().map_err(|_| SdpError::BadAttribute("extmap"))?;
        // 15 ends a one-byte list; ids from 4096 on ask us to choose one, which no browser does.
        let id = u8::try_from(id).ok().filter(|id| !matches!(id, 0 | 15));
        let Some((extension, id)) = Extension::from_uri(uri).zip(id) else { continue };
        if known.iter().all(|other| other.extension != extension && other.id != id) {
            known.push(OfferedExtension { extension, id, direction });
        }
    }
    Ok(known)
}

/// Streams of `a=simulcast:send` that an `a=rid:<id> send` declares, first alternative each, pause mark left out.
fn rids(attributes: &[Attribute]) -> Result<Vec<Arc<str>>, SdpError> {
    let Some(simulcast) = value(attributes, "simulcast") else { return Ok(Vec::new()) };
    let mut words = simulcast.split_whitespace();
    let Some(list) = std::iter::from_fn(|| words.next().zip(words.next())).find(|(way, _)| *way == "send") else {
        return Ok(Vec::new());
    };
    let declared = |rid: &str| {
        values(attributes, "rid").any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(rid) && words.next() == Some("send")
        })
    };
    let mut rids: Vec<Arc<str>> = Vec::new();
    for (count, stream) in list.1.split(';').enumerate() {
        if count >= MAX_RIDS {
            return Err(SdpError::TooMany("simulcast streams"));
        }
        let rid = stream.split(',').next().unwrap_or_default();
        let rid = rid.strip_prefix('~').unwrap_or(rid);
        if !is_token(rid) || rids.iter().any(|known| &**known == rid) {
            return Err(SdpError::BadAttribute("simulcast"));
        }
        if declared(rid) {
            rids.push(rid.into());
        }
    }
    Ok(rids)
}

/// What `a=msid`, `a=ssrc` and `a=ssrc-group` say of the client's own streams (RFC 5576, RFC 8830).
#[derive(Default)]
struct Streams {
    msid: Option<MediaId>,
    ssrcs: Vec<u32>,
    fid_pairs: Vec<(u32, u32)>,
    cname: Option<Arc<str>>,
}

impl Streams {
    fn read(attributes: &[Attribute]) -> Result<Self, SdpError> {
        let mut streams = Self { msid: value(attributes, "msid").and_then(media_id), ..Self::default() };
        for line in values(attributes, "ssrc") {
            let (ssrc, rest) = line.split_once(' ').unwrap_or((line, ""));
            streams.add(ssrc)?;
            match rest.split_once(':') {
                Some(("cname", cname)) if streams.cname.is_none() => streams.cname = Some(cname.trim().into()),
                Some(("msid", id)) if streams.msid.is_none() => streams.msid = media_id(id),
                _ => {}
            }
        }
        for group in values(attributes, "ssrc-group") {
            let mut words = group.split_whitespace();
            if words.next() != Some("FID") {
                continue;
            }
            let Some((media, repair)) = words.next().zip(words.next()) else { continue };
            let pair = (streams.add(media)?, streams.add(repair)?);
            if pair.0 != pair.1 && !streams.fid_pairs.iter().any(|known| known.0 == pair.0 || known.1 == pair.1) {
                streams.fid_pairs.push(pair);
            }
        }
        Ok(streams)
    }

    fn add(&mut self, text: &str) -> Result<u32, SdpError> {
        let ssrc = text.parse().map_err(|_| SdpError::BadAttribute("ssrc"))?;
        if !self.ssrcs.contains(&ssrc) {
            if self.ssrcs.len() >= MAX_SSRCS {
                return Err(SdpError::TooMany("ssrcs"));
            }
            self.ssrcs.push(ssrc);
        }
        Ok(ssrc)
    }
}

fn media_id(text: &str) -> Option<MediaId> {
    let mut words = text.split_whitespace();
    Some(MediaId { stream: words.next()?.into(), track: words.next()?.into() })
}

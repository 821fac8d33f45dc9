//! What a fuzzer calls: one function for each reader of bytes from outside. None may panic, whatever it is given.
//!
//! `cargo test` runs them too, with seeded inputs (`tests/fuzz_bodies.rs`); `make fuzz` runs them under libFuzzer. A new reader
//! gets a function and a line in [`ALL`].
#![allow(dead_code, reason = "each target uses a part of it")]

use colloque::media::codec::inspect;
use colloque::media::packet::{AudioLevel, RtpHeader, classify};
use colloque::media::rtcp::{Rtcp, packets};
use colloque::media::rtx::parse_rtx;
use colloque::model::Instant;
use colloque::model::{Codec, Identity, ParticipantSid, Path, ShardId};
use colloque::relay::envelope::{Envelope, Sender};
use colloque::signal::livekit::{LiveKitEnvelope, codec, join};
use colloque::transport::dtls::{DtlsContext, DtlsTransport, Fingerprint, RtcDtls};
use colloque::transport::ice::{Credentials, IceLite, parse_username};
use colloque::transport::sctp::DataChannels;
use colloque::transport::sdp::{AnswerSection, LocalEnd, Offer, ReceiveCodecs, ReceiveSection, write_answer};
use colloque::transport::srtp::{Profile, SessionKeys, SrtpReceiver, SrtpSender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A body with its name.
pub(crate) type Body = (&'static str, fn(&[u8]));

/// Every body.
pub(crate) const ALL: &[Body] = &[
    ("packet", packet),
    ("rtcp", rtcp),
    ("stun", stun),
    ("dtls", dtls),
    ("sctp", sctp),
    ("sdp_offer", sdp_offer),
    ("srtp", srtp),
    ("payload", payload),
    ("signal_request", signal_request),
    ("join_request", join_request),
    ("data_envelope", data_envelope),
];

#[allow(clippy::disallowed_methods, reason = "a virtual clock starts somewhere")]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| std::time::Instant::now().into())
}

/// Cuts an input into datagrams: a length byte, taken eight times, before each.
fn datagrams(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first()?;
        let (datagram, rest) = rest.split_at(rest.len().min(usize::from(*len) * 8));
        data = rest;
        Some(datagram)
    })
}

/// RTP: header, extensions, payload, padding.
pub(crate) fn packet(data: &[u8]) {
    let _ = classify(data);
    let Ok(header) = RtpHeader::parse(data) else { return };
    for (id, value) in header.extensions(data) {
        let _ = (AudioLevel::parse(value), header.extension(data, id));
    }
    if let Ok(payload) = header.payload(data) {
        assert!(payload.len() <= data.len());
        let _ = parse_rtx(payload);
    }
}

/// RTCP: every packet of a compound and everything in it.
pub(crate) fn rtcp(data: &[u8]) {
    for packet in packets(data) {
        match packet {
            Ok(Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks, .. }) => blocks.for_each(drop),
            Ok(Rtcp::Nack { sequences, .. }) => sequences.for_each(drop),
            Ok(Rtcp::Fir { entries, .. }) => entries.for_each(drop),
            Ok(Rtcp::TransportFeedback(feedback)) => feedback.statuses().for_each(drop),
            Ok(_) | Err(_) => {}
        }
    }
}

/// STUN: the user name that is read before anything is checked, and a whole request.
pub(crate) fn stun(data: &[u8]) {
    let _ = parse_username(data);
    let mut agent = IceLite::new(Credentials::new(&mut |bytes| bytes.fill(7), ShardId(0)));
    let _ = agent.set_remote("abcd", "a password of the peer's");
    let path = Path { socket: 0, local: None, remote: ([192, 0, 2, 9], 9).into() };
    let mut answer = [0; 256];
    if let Ok(handled) = agent.handle_request(start(), path, data, &mut answer) {
        assert!(handled.answer_len <= answer.len());
    }
}

/// DTLS: datagrams into an association that has not begun.
pub(crate) fn dtls(data: &[u8]) {
    static CONTEXT: OnceLock<Arc<DtlsContext>> = OnceLock::new();
    let context = CONTEXT.get_or_init(|| Arc::new(DtlsContext::new().expect("a certificate")));
    let mut server = RtcDtls::new(context.clone(), Fingerprint::from([7; 32]));
    let mut now = start();
    let _ = server.handle_datagram(now, data);
    for datagram in datagrams(data) {
        now += Duration::from_millis(100);
        let _ = server.handle_datagram(now, datagram);
        server.handle_timeout(now);
        while server.poll_datagram().is_some() {}
        while server.poll_event().is_some() {}
    }
}

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// An SCTP packet with the right checksum (RFC 9260, appendix A).
fn sctp_packet(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend_from_slice(&tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(chunks);
    let sum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

/// An association that is up, and the tag packets to it carry.
fn associated(now: Instant) -> Option<(DataChannels, u32)> {
    let mut channels = DataChannels::new(65_535);
    let init = [1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 100, 0, 100, 0, 0, 0, 1];
    channels.handle_packet(now, &sctp_packet(0, &init));
    let answer = channels.poll_packet(now)?;
    let tag = u32::from_be_bytes(*answer.get(16..)?.first_chunk()?);
    let mut parameters = answer.get(32..)?;
    while let Some([kind, low, len_high, len_low]) = parameters.first_chunk() {
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        if [*kind, *low] == [0, 7] {
            let mut echo = vec![10, 0, *len_high, *len_low];
            echo.extend_from_slice(parameters.get(4..len)?);
            echo.resize(echo.len().next_multiple_of(4), 0);
            channels.handle_packet(now, &sctp_packet(tag, &echo));
            return Some((channels, tag));
        }
        parameters = parameters.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// SCTP: a packet as it comes, then chunks of an association that is up.
pub(crate) fn sctp(data: &[u8]) {
    let mut now = start();
    let mut fresh = DataChannels::new(65_535);
    fresh.handle_packet(now, data);
    let (mut channels, tag) = associated(now).expect("the association comes up");
    for chunks in datagrams(data) {
        now += Duration::from_millis(50);
        channels.handle_packet(now, &sctp_packet(tag, chunks));
        if channels.poll_timeout().is_some_and(|at| at <= now) {
            channels.handle_timeout(now);
        }
        while channels.poll_event().is_some() {}
        while channels.poll_packet(now).is_some() {}
    }
}

/// SDP: an offer, and the answer to it with everything used that can be.
pub(crate) fn sdp_offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(offer) = Offer::parse(text) else { return };
    let used = |section: &colloque::transport::sdp::Section| {
        if section.can_receive() {
            let payload_types = ReceiveCodecs::default().choose(section, None);
            AnswerSection::Receive(ReceiveSection { payload_types, ..ReceiveSection::default() })
        } else {
            AnswerSection::Inactive
        }
    };
    let sections: Vec<AnswerSection> = offer.sections.iter().map(used).collect();
    let local = LocalEnd {
        session_id: 1,
        session_version: 1,
        ice_ufrag: "ourufrag",
        ice_pwd: "ourpasswordourpassword",
        fingerprint: [7; 32],
        candidates: &[],
    };
    let _ = write_answer(&offer, &local, &sections);
    let _ = offer.extensions();
}

fn keys(profile: Profile) -> (SessionKeys, SessionKeys) {
    SessionKeys::split(profile, &vec![7; profile.keying_material_len()], true).expect("as long as it should be")
}

/// SRTP and SRTCP: as it comes, and sealed with the right keys, so that what is behind the tag is reached.
pub(crate) fn srtp(data: &[u8]) {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let Ok(mut receiver) = SrtpReceiver::new(keys(profile).0) else { return };
        let _ = receiver.open_rtp(&mut data.to_vec());
        let _ = receiver.open_rtcp(&mut data.to_vec());
        let Ok(mut sender) = SrtpSender::new(keys(profile).0) else { return };
        let mut sealed = data.to_vec();
        sealed.resize(data.len() + 64, 0);
        if let Ok(header) = RtpHeader::parse(data)
            && let Ok(len) = sender.seal_rtp(&mut sealed, header.header_len, data.len())
            && let Ok(opened) = receiver.open_rtp(&mut sealed[..len])
        {
            packet(&sealed[..opened.len]);
        }
        sealed[..data.len()].copy_from_slice(data);
        if let Ok(len) = sender.seal_rtcp(&mut sealed, data.len())
            && let Ok(len) = receiver.open_rtcp(&mut sealed[..len])
        {
            rtcp(&sealed[..len]);
        }
    }
}

/// Payload descriptors of every codec; the first byte says how much is the dependency descriptor.
pub(crate) fn payload(data: &[u8]) {
    let (cut, rest) = data.split_first().map_or((0, data), |(cut, rest)| (usize::from(*cut), rest));
    let (descriptor, payload) = rest.split_at(rest.len().min(cut));
    for codec in [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
        let _ = inspect(codec, payload, Some(descriptor));
        let _ = inspect(codec, rest, None);
    }
}

/// A message of a client's signalling socket.
pub(crate) fn signal_request(data: &[u8]) {
    let _ = codec::decode(data);
}

/// The parameter a client joins with.
pub(crate) fn join_request(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = join::decode(text);
    }
    let _ = join::decode(&base64(data));
}

fn base64(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in data.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let letters = (0..4).map(|n| LETTERS[(bits >> (18 - 6 * n)) as usize & 63]).take(three.len() + 1);
        text.extend(letters.map(char::from));
    }
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// A data message, whose envelope is opened and stamped.
pub(crate) fn data_envelope(data: &[u8]) {
    let (participant, identity) = (ParticipantSid::new("PA_1"), Identity::new("doctor"));
    for reliable in [true, false] {
        let sender = Sender { participant: &participant, identity: &identity, reliable };
        if let Ok(stamped) = LiveKitEnvelope.stamp(data, &sender) {
            // What was stamped once is a message still.
            assert!(LiveKitEnvelope.stamp(&stamped.message.0, &sender).is_ok() || stamped.message.0.len() > 65_535);
        }
    }
}

//! Data messages: the outer envelope is opened by cutting fields, never decoded and encoded again.
//!
//! The content of a message, unknown fields included, leaves byte for byte as it came: newer clients add fields that an
//! encoder of ours would lose. Only who sent it, on which channel, and to whom are written by the relay.

use crate::model::roster::Message;
use crate::model::{Identity, ParticipantSid};
use crate::relay::envelope::{BadEnvelope, ChannelKind, Envelope, Sender, Stamped};
use crate::wire::fields::{self, Field, Malformed, Value};
use bytes::Bytes;

/// Longest message: what clients' SCTP stacks take (they split at 64,000 bytes themselves).
const MAX_MESSAGE: usize = 65_535;

/// Receivers one message may name; larger audiences send to all.
const MAX_RECEIVERS: usize = 256;

/// Fields of `DataPacket`.
mod packet {
    pub(super) const KIND: u32 = 1;
    pub(super) const USER: u32 = 2;
    pub(super) const SPEAKER: u32 = 3;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 4;
    pub(super) const DESTINATION_IDENTITIES: u32 = 5;
    pub(super) const TRANSCRIPTION: u32 = 7;
    pub(super) const METRICS: u32 = 8;
    pub(super) const SEQUENCE: u32 = 16;
    pub(super) const PARTICIPANT_SID: u32 = 17;
}

/// Fields of `UserPacket`.
mod user {
    pub(super) const PARTICIPANT_SID: u32 = 1;
    pub(super) const DESTINATION_SIDS: u32 = 3;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 5;
    pub(super) const DESTINATION_IDENTITIES: u32 = 6;
}

/// The `DataPacket` envelope.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveKitEnvelope;

impl Envelope for LiveKitEnvelope {
    fn channel(&self, label: &str) -> Option<ChannelKind> {
        match label {
            "_reliable" => Some(ChannelKind::Reliable),
            "_lossy" => Some(ChannelKind::Lossy),
            // `_data_track` carries frames of a feature the relay does not have.
            _ => None,
        }
    }

    fn label(&self, kind: ChannelKind) -> &'static str {
        match kind {
            ChannelKind::Reliable => "_reliable",
            ChannelKind::Lossy => "_lossy",
        }
    }

    fn stamp(&self, message: &[u8], sender: &Sender<'_>) -> Result<Stamped, BadEnvelope> {
        if message.len() > MAX_MESSAGE {
            return Err(BadEnvelope);
        }
        let seen = Seen::read(message)?;
        let to = if seen.outer.is_empty() { &seen.inner } else { &seen.outer };
        // The sender's two ids twice, tags and lengths: far below this.
        let mut out = Vec::with_capacity(message.len() + 2 * (sender.identity.as_str().len() + 64) + 16);
        for field in fields::fields(message) {
            let field = field?;
            match field.number {
                packet::KIND | packet::PARTICIPANT_IDENTITY | packet::PARTICIPANT_SID | packet::DESTINATION_IDENTITIES => {}
                packet::USER => stamp_user(&mut out, bytes(&field)?, sender, to)?,
                _ => out.extend_from_slice(field.raw),
            }
        }
        for identity in to {
            fields::put_bytes(&mut out, packet::DESTINATION_IDENTITIES, identity.as_bytes());
        }
        fields::put_number(&mut out, packet::KIND, u64::from(!sender.reliable));
        fields::put_bytes(&mut out, packet::PARTICIPANT_IDENTITY, sender.identity.as_str().as_bytes());
        fields::put_bytes(&mut out, packet::PARTICIPANT_SID, sender.participant.as_str().as_bytes());
        Ok(Stamped {
            message: Message(Bytes::from(out)),
            to: to.iter().map(|identity| Identity::new(*identity)).collect(),
            to_sids: seen.sids.iter().map(|sid| ParticipantSid::new(*sid)).collect(),
            sequence: seen.sequence,
            relayed: seen.relayable,
        })
    }
}

/// What the envelope says before it is stamped.
#[derive(Default)]
struct Seen<'a> {
    outer: Vec<&'a str>,
    inner: Vec<&'a str>,
    sids: Vec<&'a str>,
    sequence: u32,
    relayable: bool,
}

impl<'a> Seen<'a> {
    fn read(message: &'a [u8]) -> Result<Self, BadEnvelope> {
        let mut seen = Self::default();
        let mut content = false;
        let mut forbidden = false;
        for field in fields::fields(message) {
            let field = field?;
            match field.number {
                packet::KIND | packet::PARTICIPANT_IDENTITY | packet::PARTICIPANT_SID => {}
                packet::DESTINATION_IDENTITIES => push(&mut seen.outer, &field)?,
                packet::SEQUENCE => seen.sequence = number(&field)?,
                // Agents' and the relay's own kinds; one of them anywhere spoils the message.
                packet::SPEAKER | packet::TRANSCRIPTION | packet::METRICS => forbidden = true,
                packet::USER => {
                    content = true;
                    seen.read_user(bytes(&field)?)?;
                }
                _ => content = true,
            }
        }
        seen.relayable = content && !forbidden;
        Ok(seen)
    }

    fn read_user(&mut self, message: &'a [u8]) -> Result<(), BadEnvelope> {
        for field in fields::fields(message) {
            let field = field?;
            match field.number {
                user::DESTINATION_SIDS => push(&mut self.sids, &field)?,
                user::DESTINATION_IDENTITIES => push(&mut self.inner, &field)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn stamp_user(out: &mut Vec<u8>, message: &[u8], sender: &Sender<'_>, to: &[&str]) -> Result<(), BadEnvelope> {
    let mut inner = Vec::with_capacity(message.len() + sender.identity.as_str().len() + 64);
    for field in fields::fields(message) {
        let field = field?;
        match field.number {
            user::PARTICIPANT_SID | user::PARTICIPANT_IDENTITY | user::DESTINATION_IDENTITIES => {}
            _ => inner.extend_from_slice(field.raw),
        }
    }
    for identity in to {
        fields::put_bytes(&mut inner, user::DESTINATION_IDENTITIES, identity.as_bytes());
    }
    fields::put_bytes(&mut inner, user::PARTICIPANT_SID, sender.participant.as_str().as_bytes());
    fields::put_bytes(&mut inner, user::PARTICIPANT_IDENTITY, sender.identity.as_str().as_bytes());
    fields::put_bytes(out, packet::USER, &inner);
    Ok(())
}

fn push<'a>(list: &mut Vec<&'a str>, field: &Field<'a>) -> Result<(), BadEnvelope> {
    let text = std::str::from_utf8(bytes(field)?).map_err(|_| BadEnvelope)?;
    if list.len() >= MAX_RECEIVERS {
        return Err(BadEnvelope);
    }
    list.push(text);
    Ok(())
}

fn bytes<'a>(field: &Field<'a>) -> Result<&'a [u8], BadEnvelope> {
    match field.value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Number(_) | Value::Fixed => Err(BadEnvelope),
    }
}

fn number(field: &Field<'_>) -> Result<u32, BadEnvelope> {
    match field.value {
        Value::Number(number) => u32::try_from(number).map_err(|_| BadEnvelope),
        Value::Bytes(_) | Value::Fixed => Err(BadEnvelope),
    }
}

impl From<Malformed> for BadEnvelope {
    fn from(_: Malformed) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_protocol as proto;
    use proptest::prelude::*;
    use prost::Message;
    use proto::data_packet::Value as Content;

    fn stamp(message: &[u8], reliable: bool) -> Result<Stamped, BadEnvelope> {
        let (participant, identity) = (ParticipantSid::new("PA_me"), Identity::new("me"));
        LiveKitEnvelope.stamp(message, &Sender { participant: &participant, identity: &identity, reliable })
    }

    #[expect(deprecated, reason = "the older form is rewritten too")]
    fn user_packet(forged: &str, to: &[&str]) -> proto::UserPacket {
        proto::UserPacket {
            participant_sid: forged.into(),
            participant_identity: forged.into(),
            payload: b"hello".to_vec(),
            destination_identities: to.iter().map(ToString::to_string).collect(),
            topic: Some("chat".into()),
            nonce: vec![7; 16],
            ..Default::default()
        }
    }

    #[test]
    #[expect(deprecated, reason = "the older form is rewritten too")]
    fn a_forged_sender_is_overwritten_inside_and_outside() {
        let packet = proto::DataPacket {
            kind: 0,
            participant_identity: "doctor".into(),
            participant_sid: "PA_doctor".into(),
            sequence: 9,
            value: Some(Content::User(user_packet("doctor", &["a", "b"]))),
            ..Default::default()
        };
        let stamped = stamp(&packet.encode_to_vec(), false).unwrap();
        let read = proto::DataPacket::decode(stamped.message.0).unwrap();
        assert_eq!((read.kind, read.participant_identity.as_str(), read.participant_sid.as_str()), (1, "me", "PA_me"));
        assert_eq!(read.destination_identities, ["a", "b"], "mirrored outwards");
        let Some(Content::User(user)) = read.value else { panic!("content kept") };
        assert_eq!((user.participant_sid.as_str(), user.participant_identity.as_str()), ("PA_me", "me"));
        assert_eq!((user.payload.as_slice(), user.topic.as_deref(), user.nonce.len()), (&b"hello"[..], Some("chat"), 16));
        assert_eq!(user.destination_identities, ["a", "b"]);
        assert_eq!((stamped.sequence, stamped.to.len(), stamped.relayed), (9, 2, true));
    }

    #[test]
    fn unknown_fields_and_unknown_content_survive() {
        let mut message = Vec::new();
        fields::put_bytes(&mut message, 99, b"from a newer client");
        let stamped = stamp(&message, true).unwrap();
        assert!(stamped.relayed);
        assert!(stamped.message.0.windows(19).any(|window| window == b"from a newer client"));
    }

    #[test]
    fn agents_and_server_kinds_are_not_relayed() {
        for number in [packet::SPEAKER, packet::TRANSCRIPTION, packet::METRICS] {
            let mut message = Vec::new();
            fields::put_bytes(&mut message, packet::USER, &[]);
            fields::put_bytes(&mut message, number, &[]);
            assert!(!stamp(&message, true).unwrap().relayed, "{number}");
        }
        assert!(!stamp(&[], true).unwrap().relayed, "nothing inside");
    }

    #[test]
    fn a_sender_written_with_a_long_tag_is_cut_as_well() {
        // Field 4 with a tag of three bytes instead of one.
        let mut message = vec![0xa2, 0x80, 0x00, 6];
        message.extend_from_slice(b"doctor");
        let read = proto::DataPacket::decode(stamp(&message, true).unwrap().message.0).unwrap();
        assert_eq!(read.participant_identity, "me");
    }

    #[test]
    fn wrong_types_and_too_many_receivers_are_malformed() {
        let mut many = Vec::new();
        for _ in 0..=MAX_RECEIVERS {
            fields::put_bytes(&mut many, packet::DESTINATION_IDENTITIES, b"x");
        }
        let (mut typed, mut sequence) = (Vec::new(), Vec::new());
        fields::put_number(&mut typed, packet::USER, 1);
        fields::put_bytes(&mut sequence, packet::SEQUENCE, b"1");
        for bad in [many, typed, sequence, vec![0x0a; MAX_MESSAGE + 1]] {
            assert!(stamp(&bad, true).is_err());
        }
    }

    proptest! {
        #[test]
        fn stamping_agrees_with_a_full_decoder(
            identity in "[a-z]{0,8}", outer in prop::collection::vec("[a-z]{1,6}", 0..4),
            payload in prop::collection::vec(any::<u8>(), 0..64), sequence: u32, lossy: bool,
        ) {
            let packet = proto::DataPacket {
                participant_identity: identity,
                destination_identities: outer.clone(),
                sequence,
                value: Some(Content::ChatMessage(proto::ChatMessage {
                    message: String::from_utf8_lossy(&payload).into_owned(), ..Default::default()
                })),
                ..Default::default()
            };
            let stamped = stamp(&packet.encode_to_vec(), !lossy).unwrap();
            let read = proto::DataPacket::decode(stamped.message.0.clone()).unwrap();
            prop_assert_eq!(read.value, packet.value);
            prop_assert_eq!(read.sequence, sequence);
            prop_assert_eq!(stamped.sequence, sequence);
            prop_assert_eq!(&read.destination_identities, &outer);
            prop_assert_eq!(read.participant_identity, "me");
            prop_assert_eq!(stamped.to.len(), outer.len());
        }

        #[test]
        fn whatever_is_stamped_has_the_true_sender(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(stamped) = stamp(&bytes, true)
                && let Ok(read) = proto::DataPacket::decode(stamped.message.0)
            {
                prop_assert_eq!(read.participant_identity, "me");
                prop_assert_eq!(read.participant_sid, "PA_me");
            }
        }

        #[test]
        fn cut_and_flipped_messages_never_panic(at in 0_usize..200, bit in 0_u8..8) {
            let packet = proto::DataPacket { value: Some(Content::User(user_packet("x", &["a"]))), ..Default::default() };
            let mut message = packet.encode_to_vec();
            let cut = message.get(..at).unwrap_or(&message).to_vec();
            let _ = stamp(&cut, true);
            if let Some(byte) = message.get_mut(at) { *byte ^= 1 << bit; }
            let _ = stamp(&message, true);
        }
    }
}

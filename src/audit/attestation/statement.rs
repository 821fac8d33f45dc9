//! What an attestation says.

use super::span::Span;
use crate::audit::types::Word;
use crate::audit::words::Role;
use serde::{Deserialize, Serialize};

/// Version of the statement's form.
pub const VERSION: u16 = 1;

/// What was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Sound.
    Audio,
    /// The picture of a person, or of an instrument.
    Video,
    /// A shared screen.
    Screen,
}

impl Modality {
    /// The word in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Screen => "screen",
        }
    }
}

/// Where a consultation was carried out and under which pseudonyms it is in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Hash of the running software.
    pub build: Word,
    /// Consultation reference of the audit log.
    pub consult: Word,
    /// Which node.
    pub node: Word,
    /// Country and site of the node.
    pub region: Word,
    /// Room reference of the audit log.
    pub room: Word,
}

/// The entries of the audit log that belong to the consultation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRange {
    /// First entry.
    pub from_seq: u64,
    /// Origin of the log.
    pub origin: Word,
    /// Last entry so far.
    pub to_seq: u64,
}

/// One seat: a pseudonym, its role and when it was present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Counted from 1 among the seats of the same role.
    pub ordinal: u16,
    /// When it was in the room.
    pub present: Vec<Span>,
    /// Its pseudonym in the audit log.
    pub r#ref: Word,
    /// Its role.
    pub role: Role,
    /// Its number in this statement, from 1.
    pub seat: u16,
}

/// Media of one kind from one seat that reached another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The seat that sent it.
    pub from: u16,
    /// When it was delivered.
    pub intervals: Vec<Span>,
    /// Which kind.
    pub kind: Modality,
    /// The seat it reached.
    pub to: u16,
    /// Sum of the intervals.
    pub total_ms: u64,
}

/// Why media did not arrive for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The sender had switched it off.
    Sender,
    /// One of the two was in an aside without the other.
    Aside,
    /// One of the two was not admitted, or consent was missing.
    Consent,
    /// Neither: the line or a device.
    Line,
}

/// A time in which media of one kind did not arrive though both seats were present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interruption {
    /// Why.
    pub cause: Cause,
    /// The seat that should have been heard or seen.
    pub from: u16,
    /// First moment.
    pub from_ms: u64,
    /// Which kind.
    pub kind: Modality,
    /// The seat that missed it.
    pub to: u16,
    /// Last moment.
    pub to_ms: u64,
}

/// What became of a consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// Given.
    Given,
    /// Refused.
    Refused,
    /// Withdrawn.
    Withdrawn,
    /// The professional went on without it, for a reason the audit log holds.
    Overridden,
}

/// One consent, as the audit log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// When.
    pub at_ms: u64,
    /// Scopes it covers.
    pub scope: Vec<Word>,
    /// Whose it is.
    pub seat: u16,
    /// Its entry in the audit log.
    pub seq: u64,
    /// What became of it.
    pub state: ConsentState,
    /// Version of the text agreed to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text_version: Option<Word>,
}

/// A time in which some seats spoke apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aside {
    /// First moment.
    pub from_ms: u64,
    /// Who.
    pub members: Vec<u16>,
    /// Last moment.
    pub to_ms: u64,
}

/// Two seats that heard or saw each other at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoWay {
    /// Milliseconds in which each heard the other.
    pub audio_ms: u64,
    /// One seat.
    pub one: u16,
    /// The other.
    pub other: u16,
    /// Milliseconds in which each saw the other.
    pub video_ms: u64,
}

/// What a payer asks first. It counts the seats of doctors and colleagues with those of patients, and no others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Whole seconds in which a doctor or colleague and a patient heard each other.
    pub audio_two_way_s: u64,
    /// Whether they saw each other for at least one second.
    pub video_two_way: bool,
    /// Whole seconds in which they saw each other.
    pub video_two_way_s: u64,
}

/// A content-free account of one consultation; times are milliseconds since it opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Times of asides.
    pub asides: Vec<Aside>,
    /// False when a bound was reached, so that something may be missing. Nothing is ever claimed too much.
    pub complete: bool,
    /// Consents, in order.
    pub consents: Vec<Consent>,
    /// What reached whom.
    pub delivered: Vec<Delivery>,
    /// How long the consultation was open.
    pub duration_ms: u64,
    /// Whether the consultation was over when this was written.
    pub ended: bool,
    /// What did not arrive though both were present.
    pub interruptions: Vec<Interruption>,
    /// When this was written.
    pub issued_at: Word,
    /// Entries of the audit log.
    pub log: LogRange,
    /// When the consultation opened, UTC.
    pub opened_at: Word,
    /// Where.
    pub place: Place,
    /// Who, by pseudonym.
    pub seats: Vec<Seat>,
    /// What a payer asks first.
    pub summary: Summary,
    /// Who heard and saw whom at the same time.
    pub two_way: Vec<TwoWay>,
    /// Version of the form.
    pub v: u16,
}

impl Statement {
    /// The one spelling of this statement: JSON with sorted keys, integers and no spaces (RFC 8785).
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // serde_json's own map is sorted by key, and `Word` lets no character in that has two spellings.
        let value = serde_json::to_value(self).expect("every field has a string key and an integer, text or list");
        value.to_string().into_bytes()
    }

    /// What a seat is called where its pseudonym would say too much: its role, with a number where there are several.
    #[must_use]
    pub fn name_of(&self, seat: u16) -> String {
        let Some(found) = self.seats.iter().find(|one| one.seat == seat) else { return format!("seat {seat}") };
        let several = self.seats.iter().filter(|one| one.role == found.role).count() > 1;
        let role = found.role.as_str();
        if several { format!("{role} {}", found.ordinal) } else { role.to_owned() }
    }
}
